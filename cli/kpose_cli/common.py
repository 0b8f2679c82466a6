"""What the commands share: ``--json``, the summary line, progress, Ctrl-C."""

import contextlib
import json
import math
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

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


class Advance(Protocol):
    """Moves a progress bar on."""

    def __call__(self, steps: int, note: str = "", total: int | None = None) -> None:
        """Move it by ``steps``, show ``note`` behind it and set its total, if given."""


@contextlib.contextmanager
def progress(total: int | None, label: str) -> Iterator[Advance]:
    """Yield ``advance(n)``, which moves a bar on stderr by ``n`` steps.

    Nothing is drawn where stdout or stderr is not a terminal.

    Args:
        total: Steps to come, None where unknown.
        label: What the user reads in front of the bar.
    """
    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        yield lambda steps, note="", total=None: None
        return
    import rich.console
    import rich.progress

    with rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TimeRemainingColumn(),
        rich.progress.TextColumn("{task.fields[note]}"),
        console=rich.console.Console(stderr=True),
    ) as bar:
        task = bar.add_task(label, total=total, note="")

        def advance(steps: int, note: str = "", total: int | None = None) -> None:
            bar.update(task, advance=steps, note=note, total=total)

        yield advance


def counted(batches: Iterable[Any], advance: Callable[[int], None]) -> Iterator[Any]:
    """Yield pairs of crops and joints ``(persons, joints, 3)``, counting persons."""
    for crops, joints in batches:
        yield crops, joints
        advance(len(joints))


@contextlib.contextmanager
def stoppable() -> Iterator[Callable[[], int]]:
    """Let Ctrl-C (or SIGTERM) ask for an end instead of ending at once.

    A second one ends at once: ``KeyboardInterrupt``.

    Yields:
        A function that returns the number of the signal that came, else 0.
    """
    came: list[int] = []

    def note(number: int, frame: object) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)

    before = {
        number: signal.signal(number, note)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield lambda: came[0] if came else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def aligned(rows: list[list[str]]) -> list[str]:
    """Return the rows as lines: the first column to the left, the others right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
