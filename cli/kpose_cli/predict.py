"""``kpose predict``: people and their joints in pictures, videos and cameras."""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kpose_cli.common import echo_summary, json_option, progress, stoppable

if TYPE_CHECKING:
    from kpose.geometry import Box
    from kpose.predictor import Person
    from kpose.sources import Picture, Source
    from kpose_cli.common import Advance
    from kpose_cli.window import Window

NO_H264 = (
    "overlay videos are mp4v, which browsers do not play: OpenCV's wheels cannot write "
    "H.264"
)


@click.command()
@click.argument("source", nargs=-1, required=True)
@click.option(
    "--model",
    default="compact",
    show_default=True,
    help="A packaged model's name, a run folder, or a .keras, SavedModel or TFLite.",
)
@click.option(
    "--detector",
    metavar="NAME",
    help="What finds the people: tflite:PATH, rtmdet:PATH, yolox:PATH, "
    "saved_model:PATH, boxes:PATH or whole.  [default: whole, one person's box is the "
    "picture]",
)
@click.option(
    "--box",
    metavar="X0,Y0,X1,Y1",
    help="The person's box in pixels, edge to edge, instead of a detector.",
)
@click.option(
    "--min-score",
    type=click.FloatRange(0, 1),
    metavar="SCORE",
    help="Detector score that a new person needs.  [default: what suits the detector]",
)
@click.option(
    "--follow",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="K",
    help="In a video the detector looks at every K-th frame, and while nobody is in "
    "view; in between, the pose of the last frame says where people are.",
)
@click.option(
    "--smooth/--no-smooth",
    default=True,
    show_default=True,
    help="Smooth the joints of a video over time.",
)
@click.option(
    "--flip-test/--no-flip-test",
    default=True,
    show_default=True,
    help="Average with the mirrored crop: more accurate, twice the time.",
)
@click.option(
    "--max-pixels",
    type=click.IntRange(min=1),
    metavar="N",
    help="Refuse larger pictures.  [default: 64 million]",
)
@click.option(
    "--save",
    metavar="LIST",
    help="Some of jsonl,csv,coco,overlay.  [default: jsonl,overlay; of a camera jsonl]",
)
@click.option(
    "--out",
    help="A new or empty folder, or - for JSON lines on stdout.  "
    "[default: runs/predict/NAME]",
)
@click.option("--show", is_flag=True, help="Show it in a window; q or Esc ends.")
@click.option(
    "--mirror-view", is_flag=True, help="Mirror the window's picture, and only that."
)
@json_option
def predict(
    source: tuple[str, ...],
    model: str,
    detector: str | None,
    box: str | None,
    min_score: float | None,
    follow: int,
    smooth: bool,
    flip_test: bool,
    max_pixels: int | None,
    save: str | None,
    out: str | None,
    show: bool,
    mirror_view: bool,
    as_json: bool,
) -> None:
    """Find people and their joints in each SOURCE.

    SOURCE is a picture, a folder of pictures, a pattern in quotes, a video or the
    number of a camera. Writes keypoints.jsonl, one line per picture (or frame) and
    person with joints in image pixels, and an overlay of each file. Ctrl-C ends it and
    keeps what was done. Exits with 1 if something could not be read; the rest is done.
    """
    from kpose.errors import InputError

    if box is not None and detector is not None:
        raise InputError("--box and --detector both say where people are: give one")
    if min_score is not None and detector is None:
        raise InputError("--min-score needs --detector: nothing else has a score")
    if mirror_view and not show:
        raise InputError("--mirror-view changes the window, but there is no --show")
    boxes = None if box is None else [parse_box(box)]
    from kpose import sources

    found, failed = sources.find(source)
    for line in failed:
        _report(line)
    if not found:
        click.get_current_context().exit(1)
    kinds = _kinds(save, out, found)
    with contextlib.ExitStack() as stack:
        window = stack.enter_context(_window(mirror_view)) if show else None
        import kpose
        from kpose import images, prediction_files

        predictor = kpose.load(
            model,
            detector=detector,
            flip_test=flip_test,
            min_score=min_score,
            follow=follow,
            smooth=smooth,
        )
        if boxes is None and detector is None:
            note = "no --detector: the whole picture is taken as one person's box"
            click.echo(note, err=True)
        stopped = stack.enter_context(stoppable())
        advance = stack.enter_context(progress(sources.total(found), "predicting"))
        common: dict[str, Any] = {
            "boxes": boxes,
            "max_pixels": max_pixels or images.MAX_PIXELS,
            "watch": _watch(advance, window, stopped),
            "report": _report,
            "failed": failed,
        }
        if out == "-":
            summary = prediction_files.write_lines(
                predictor, found, sys.stdout, **common
            )
        else:
            first = Path(source[0]) if Path(source[0]).is_dir() else found[0]
            folder = Path(out) if out else prediction_files.default_folder(first)
            settings = {
                "sources": list(source),
                "model": model,
                "detector": detector,
                "box": None if boxes is None else [*boxes[0]],
                "min_score": predictor.min_score,
                "follow": follow,
                "smooth": smooth,
                "flip_test": flip_test,
                "max_pixels": common["max_pixels"],
            }
            summary = prediction_files.write_folder(
                predictor, found, folder, save=kinds, settings=settings, **common
            )
    summary["model"] = model
    if summary["decoded"] or summary["interrupted"]:
        streams = all(map(sources.is_stream, found))
        if out != "-" and any(folder.glob("*.mp4")):
            click.echo(NO_H264, err=True)
        text = _text(summary, "frame" if streams else "picture")
        if out != "-" or as_json:
            echo_summary(summary, as_json, text)
        else:
            click.echo(text, err=True)
    if stopped():
        click.get_current_context().exit(128 + stopped())
    if summary["failed"] or summary["skipped"]:
        click.get_current_context().exit(1)


def _kinds(save: str | None, out: str | None, found: "Sequence[Source]") -> list[str]:
    """Return what is written, in the order of the user."""
    from kpose import prediction_files
    from kpose.errors import InputError
    from kpose.sources import Camera

    if save is None:
        camera = any(isinstance(source, Camera) for source in found)
        return ["jsonl"] if camera else ["jsonl", "overlay"]
    kinds = [kind.strip() for kind in save.split(",")]
    if not set(kinds) <= set(prediction_files.KINDS):
        raise InputError(
            f"--save must be some of {','.join(prediction_files.KINDS)}. "
            f"Received: {save}"
        )
    if out == "-" and kinds != ["jsonl"]:
        raise InputError(f"--out - writes jsonl alone. Received: --save {save}")
    return kinds


def _watch(
    advance: "Advance", window: "Window | None", stopped: "Callable[[], int]"
) -> "Callable[[Picture, Sequence[Person]], bool]":
    """Return what is called after each picture and says whether to go on."""

    def watch(picture: "Picture", people: "Sequence[Person]") -> bool:
        note = ""
        if picture.captured is not None:
            note = f"{(time.monotonic() - picture.captured) * 1000:.0f} ms old"
        advance(1, note)
        if window is not None and not window.show(picture, people, note, stopped):
            return False
        return not stopped()

    return watch


def _window(mirror: bool) -> "Window":
    from kpose_cli.window import Window

    return Window(mirror)


def _text(summary: dict[str, Any], unit: str) -> str:
    """Return the line that a person reads at the end."""
    pictures, decoded = summary["pictures"], summary["decoded"]
    parts = [f"decoded {decoded:,} of {_count(pictures, unit)}"]
    parts += [f"{n:,} {reason}" for reason, n in summary["skipped"].items()]
    people = [_count(summary["persons"], "person")]
    if summary["tracks"]:
        people.append(_count(summary["tracks"], "track"))
    text = f"{', '.join(parts)}; {', '.join(people)}"
    if summary["without_people"]:
        text += f"; {_count(summary['without_people'], unit)} without people"
    if summary["failed"]:
        text += f"; {_count(len(summary['failed']), 'source')} failed"
    if summary["interrupted"]:
        text = f"interrupted after {_count(pictures, unit)}: {text}"
    return f"{text} -> {summary['out']}" if summary.get("out") else text


def _count(number: int, unit: str) -> str:
    return f"{number:,} {unit}" + ("" if number == 1 else "s")


def _report(line: str) -> None:
    click.echo(f"Error: {' '.join(line.split())}", err=True)


def parse_box(text: str) -> "Box":
    """Return the box of ``x0,y0,x1,y1``, edges in pixels."""
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
