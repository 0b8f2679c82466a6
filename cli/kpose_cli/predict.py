"""``kpose predict``: joints in pictures and videos."""

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kpose_cli.common import echo_summary, json_option, progress

if TYPE_CHECKING:
    from kpose.geometry import Box


@click.command()
@click.argument("source", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--model",
    default="compact",
    show_default=True,
    help="A packaged model's name, a run folder, or a .keras, SavedModel or TFLite.",
)
@click.option(
    "--box",
    metavar="X0,Y0,X1,Y1",
    help="The person's box in pixels, edge to edge.  [default: the whole picture]",
)
@click.option(
    "--flip-test/--no-flip-test",
    default=True,
    show_default=True,
    help="Average with the mirrored crop: more accurate, twice the time.",
)
@click.option(
    "--out",
    help="A new or empty folder, or - for JSON lines on stdout.  "
    "[default: runs/predict/NAME]",
)
@json_option
def predict(
    source: tuple[Path, ...],
    model: str,
    box: str | None,
    flip_test: bool,
    out: str | None,
    as_json: bool,
) -> None:
    """Find the joints of the person in each SOURCE.

    SOURCE is a picture, a folder of pictures or a video. Writes keypoints.jsonl, one
    line per picture (or frame) and person with joints in image pixels, and an overlay
    per file. Exits with 1 if a picture could not be read; the others are done.
    """
    boxes = None if box is None else [_box(box)]
    from kpose import sources

    files = sources.find(source)
    if boxes is None:
        click.echo("no --box: the whole picture is taken as one person's box", err=True)
    import kpose
    from kpose import prediction_files, video

    predictor = kpose.load(model, flip_test=flip_test)
    total = None if any(map(video.is_video, files)) else len(files)
    with progress(total, "predicting") as advance:
        if out == "-":
            summary = prediction_files.write_lines(
                predictor, files, boxes, sys.stdout, advance, _report
            )
        else:
            folder = Path(out) if out else prediction_files.default_folder(source[0])
            summary = prediction_files.write_folder(
                predictor, files, boxes, folder, advance, _report
            )
    text = f"{summary['persons']} persons in {summary['pictures']} pictures"
    for reason, count in summary["skipped"].items():
        text += f", {count} {reason}"
    if out != "-":
        text += f" -> {summary['out']}"
    if out != "-" or as_json:
        echo_summary(summary | {"model": model}, as_json, text)
    else:
        click.echo(text, err=True)
    if summary["skipped"]:
        click.get_current_context().exit(1)


def _report(line: str) -> None:
    click.echo(line, err=True)


def _box(text: str) -> "Box":
    from kpose.errors import InputError
    from kpose.geometry import Box, SquareCrop

    try:
        edges = [float(part) for part in text.split(",")]
    except ValueError:
        edges = []
    if len(edges) != 4 or not all(map(math.isfinite, edges)):
        raise InputError(
            f"--box must be four numbers X0,Y0,X1,Y1 in pixels. Received: {text}"
        )
    box = Box(*edges)
    SquareCrop.around(box)  # refuses a box of no area
    return box
