"""The ``kpose`` command: finds commands by name, turns errors into exit codes."""

import errno
import importlib
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

import kpose
import kpose.errors
from kpose_cli.quiet import silence_libraries

COMMANDS = {
    "record": ("kpose_cli.record", "record", "Make a recording of your use case."),
    "studio": ("kpose_cli.studio", "studio", "Render recordings of people."),
    "prepare": ("kpose_cli.prepare", "prepare", "Read data sets and cut crops."),
    "train": ("kpose_cli.train", "train", "Train a pose network on prepared data."),
    "eval": ("kpose_cli.eval", "evaluate", "Score a model on labelled persons."),
    "export": ("kpose_cli.export", "export", "Write SavedModel or TFLite files."),
    "experiment": (
        "kpose_cli.experiment",
        "experiment",
        "Compare trainings, as the paper does.",
    ),
    "predict": ("kpose_cli.predict", "predict", "Find people's joints in pictures."),
    "inspect": ("kpose_cli.inspect", "inspect", "Show what a model or data folder is."),
    "doctor": ("kpose_cli.doctor", "doctor", "Check this machine's installation."),
    "demo": ("kpose_cli.demo", "demo", "Walk the whole way on rendered people."),
}
"""Name -> module, its click command, and the line that ``kpose --help`` shows.

``--help`` reads this table instead of the modules, so that it stays instant.
"""

INTERRUPTED = 130
"""The shell's exit code for a command that was stopped by Ctrl-C."""


@dataclass
class Settings:
    """What the user asked of the whole command line."""

    debug: bool = False


class Commands(click.Group):
    """The commands of ``COMMANDS``, imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command; None where there is no such command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        below = command.commands.values() if isinstance(command, click.Group) else ()
        for each in (command, *below):
            if all(parameter.name != "debug" for parameter in each.params):
                each.params.append(_debug_option())
        return command

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, row[-1]) for name, row in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; Ctrl-C ends it as one line."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _Interrupted("interrupted") from None

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line and exit: 0 good, 1 bad input, 2 gate, 3 resources.

        An error is one line on stderr; its traceback comes only with ``--debug``.
        """
        silence_libraries()
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, **extra)
        settings = Settings()
        try:
            code = super().main(
                args, prog_name, complete_var, False, obj=settings, **extra
            )
        except Exception as error:
            if settings.debug:
                traceback.print_exception(error)
            message, code = describe(error)
            click.echo(f"Error: {message}", err=True)
        sys.exit(code if isinstance(code, int) else 0)


class _Interrupted(click.ClickException):
    exit_code = INTERRUPTED


def describe(error: Exception) -> tuple[str, int]:
    """Return what the user reads about an error, one line, and the exit code."""
    code = 1
    if isinstance(error, click.UsageError):
        text = error.format_message()
        if error.ctx is not None:
            text += f" (try `{error.ctx.command_path} --help`)"
    elif isinstance(error, click.ClickException):
        text, code = error.format_message(), error.exit_code
    elif isinstance(error, kpose.errors.KposeError):
        text, code = str(error), error.exit_code
    elif _out_of_resources(error):
        text, code = f"out of memory or disk space: {error}".rstrip(": "), 3
    elif isinstance(error, OSError):
        named = error.filename and error.strerror
        text = f"{error.filename}: {error.strerror}" if named else str(error)
    else:
        text = f"unexpected {type(error).__name__}: {error} (`--debug` shows where)"
    return " ".join(text.split()), code


def _out_of_resources(error: Exception) -> bool:
    """TensorFlow's class goes by its name: importing it would take seconds."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    names = [cls.__name__ for cls in type(error).__mro__]
    return isinstance(error, MemoryError) or "ResourceExhaustedError" in names


def _debug(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(Settings).debug = True


def _debug_option() -> click.Option:
    return click.Option(
        ["--debug"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_debug,
        help="Show the traceback of an error.",
    )


@click.group(cls=Commands, params=[_debug_option()], invoke_without_command=True)
@click.version_option(kpose.__version__, prog_name="kpose")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Record your own use case, get a small and fast pose network for it.

    Exit codes: 0 good, 1 bad input, 2 a gate failed, 3 out of memory or disk.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
