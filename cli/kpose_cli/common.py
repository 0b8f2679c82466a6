"""What the commands share: ``--json``, the summary line, the progress bar."""

import contextlib
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the summary as one JSON object, the last line of stdout.",
)


def echo_summary(summary: dict[str, Any], as_json: bool, text: str) -> None:
    """Print the result of a command on stdout.

    Args:
        summary: What ``--json`` prints, on one line; NaN and infinities become null.
        as_json: Whether the user gave ``--json``.
        text: What a person reads otherwise.
    """
    if as_json:
        click.echo(json.dumps(_plain(summary), ensure_ascii=False, allow_nan=False))
    else:
        click.echo(text)


def _plain(value: Any) -> Any:
    """Return ``value`` in JSON's forms: numpy numbers and paths have none, nor NaN."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):  # a numpy number
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


@contextlib.contextmanager
def progress(total: int | None, label: str) -> Iterator[Callable[[int], None]]:
    """Yield ``advance(n)``, which moves a bar on stderr by ``n`` steps.

    Nothing is drawn where stdout or stderr is not a terminal.

    Args:
        total: Steps to come, None where unknown.
        label: What the user reads in front of the bar.
    """
    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        yield lambda steps: None
        return
    import rich.console
    import rich.progress

    with rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TimeRemainingColumn(),
        console=rich.console.Console(stderr=True),
    ) as bar:
        task = bar.add_task(label, total=total)
        yield lambda steps: bar.advance(task, steps)
