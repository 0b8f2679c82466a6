"""``kpose studio``: recordings of rendered people, nothing downloaded."""

import re
from pathlib import Path
from typing import Any

import click

from kpose_cli.common import echo_summary, json_option, progress


def _clothings(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> list[int]:
    """Turn ``1``, ``3-5`` and ``1,7`` into numbers."""
    numbers: list[int] = []
    for text in ",".join(values).split(","):
        if not re.fullmatch(r"\d{1,3}(-\d{1,3})?", text.strip()):
            raise click.BadParameter(
                f"expected a number or a range such as 2-7. Received: {text!r}"
            )
        first, _, last = text.strip().partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def _size(
    ctx: click.Context, parameter: click.Parameter, value: str
) -> tuple[int, int]:
    """Turn ``1280x720`` into width and height."""
    width, _, height = value.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise click.BadParameter(
            f"expected WIDTHxHEIGHT such as 1280x720. Received: {value!r}"
        )
    return int(width), int(height)


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The folder to write; it must be new or empty.",
)
@click.option(
    "--clothing",
    "clothings",
    multiple=True,
    default=("1-7",),
    show_default=True,
    metavar="N|N-N",
    callback=_clothings,
    help="Sets of clothes, 1 to 7: one take for each; may be given several times.",
)
@click.option(
    "--frames",
    type=click.IntRange(min=10),
    default=200,
    show_default=True,
    help="Frames per set of clothes.",
)
@click.option(
    "--test",
    type=click.IntRange(min=0),
    default=200,
    show_default=True,
    help="Frames of one more take in the first clothes, with other gestures, held out "
    "for testing.",
)
@click.option(
    "--people",
    type=click.IntRange(1, 6),
    default=1,
    show_default=True,
    help="How many stand beside each other.",
)
@click.option(
    "--subject",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Who: the number of a body; further people have the numbers after it.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Decides the room, the colours of the clothes and the gestures.",
)
@click.option(
    "--fps",
    type=click.FloatRange(min=0.1, max=240),
    default=30.0,
    show_default=True,
    help="Frames per second; with few of them the frames differ more.",
)
@click.option(
    "--size",
    default="1280x720",
    show_default=True,
    metavar="WxH",
    callback=_size,
    help="Of the pictures in pixels.",
)
@click.option(
    "--faults",
    type=click.FloatRange(0, 0.5),
    default=0.0,
    show_default=True,
    help="Share of the joints that get a tracker's fault; the truth is kept beside.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes.  [default: one per core]",
)
@json_option
def studio(
    out: Path,
    clothings: list[int],
    frames: int,
    test: int,
    people: int,
    subject: int,
    seed: int,
    fps: float,
    size: tuple[int, int],
    faults: float,
    workers: int | None,
    as_json: bool,
) -> None:
    """Render recordings of people who make gestures, as a Kinect would see them.

    OUT becomes a PersonTracker folder (source `persontracker:OUT`) with a take for each
    set of clothes and one that is held out for testing. OUT/preview.png shows them,
    OUT/room.png is the empty room.
    """
    from kpose_datasets.studio import recording

    total = frames * len(clothings) + test
    with progress(total, "rendering") as advance:
        summary = recording.write(
            out,
            clothings=clothings,
            frames=frames,
            test=test,
            people=people,
            subject=subject,
            seed=seed,
            fps=fps,
            size=size,
            fault_share=faults,
            workers=workers,
            progress=advance,
        )
    echo_summary(summary, as_json, _text(summary))


def _text(summary: dict[str, Any]) -> str:
    joints = summary["joints"]
    held_out = sum(t["frames"] for t in summary["takes"] if t["split"] == "test")
    wrong = f", {summary['wrong']} with a fault" if summary["wrong"] else ""
    return (
        f"{summary['out']}: {len(summary['takes'])} takes, {summary['frames']} frames "
        f"({held_out} for testing), people per frame: {summary['people']}; joints: "
        f"{joints['tracked']} tracked, {joints['inferred']} inferred{wrong}\n"
        f"preview: {summary['preview']}"
    )
