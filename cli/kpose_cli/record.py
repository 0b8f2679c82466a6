"""``kpose record``: a recording of the user's own use case, labelled by a teacher."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kpose_cli.common import echo_summary, json_option, progress, stoppable
from kpose_cli.predict import parse_box

if TYPE_CHECKING:
    from kpose.sources import Picture, Source


@click.command()
@click.argument("source")
@click.option(
    "--teacher",
    required=True,
    metavar="TEACHER",
    help="What labels the frames: a packaged model's name, a run folder or an "
    "artefact, movenet:FILE, efficientpose:FILE, or coco:RESULTS.json with what "
    "another program saw in the video (image_id is the 0-based frame).",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="REC",
    help="The folder of your recordings; a take is added.",
)
@click.option(
    "--detector",
    metavar="NAME",
    help="What finds the person in every frame, as for `kpose predict`; of several "
    "people the largest is followed.  [default: follow one person's pose]",
)
@click.option(
    "--box",
    metavar="X0,Y0,X1,Y1",
    help="The person's box in pixels, edge to edge, instead of a detector.",
)
@click.option("--subject", default="", help="Who is seen, for splits by person.")
@click.option("--clothing", default="", help="What the person wears.")
@click.option(
    "--every",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Write each N-th frame only.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="End after that time.  [default: Ctrl-C, or the end of the video]",
)
@json_option
def record(
    source: str,
    teacher: str,
    out: Path,
    detector: str | None,
    box: str | None,
    subject: str,
    clothing: str,
    every: int,
    seconds: float | None,
    as_json: bool,
) -> None:
    """Record SOURCE, a video or the number of a camera.

    A teacher stands in for a Kinect. A frame is kept where it agrees with itself: on
    the mirrored picture, and with the frames before and after. Joints that do not agree
    are masked. The end of each take is held out for a person to correct, so that
    scores are against people. Ctrl-C ends a camera, and everything is written.
    """
    from kpose import sources, video
    from kpose.errors import InputError

    if box is not None and detector is not None:
        raise InputError("--box and --detector both say where people are: give one")
    place = None if box is None else parse_box(box)
    given = _source(source)
    camera = isinstance(given, sources.Camera)
    from kpose_datasets import recorder, teachers
    from kpose_datasets.takes import Facts

    if camera and teacher.startswith(teachers.RESULTS):
        raise InputError(f"{teacher} is of a video, and SOURCE is a camera")
    finder = None
    if detector is not None:
        from kpose import detection

        finder = detection.open(detector)
    opened = teachers.open(teacher, detector=finder, box=place)
    facts = Facts(
        subject=subject,
        clothing=clothing,
        labelled_by=opened.name,
        mirrored="no",
        fps=video.rate(given),
    )
    job = recorder.Recorder(out, opened, facts, every)
    lost = ""
    with stoppable() as stopped, progress(sources.total([given]), "recording") as step:

        def go_on(picture: "Picture") -> bool:
            nonlocal lost
            step(1)
            if camera and picture.image is None:
                lost = picture.problem
            late = seconds is not None and (picture.time_ms or 0) >= 1000 * seconds
            return not stopped() and not late

        job.run(sources.pictures(given), go_on)
        signal = stopped()
    try:
        summary = job.finish()
    except InputError as error:
        raise InputError(f"{given}: {lost}; {error}" if lost else str(error)) from None
    if lost:
        click.echo(f"Error: {given}: {lost}", err=True)
    summary["interrupted"] = bool(signal) or bool(lost)
    echo_summary(summary, as_json, "\n".join(recorder.text(summary)))
    # Ctrl-C is how a camera's recording ends; a video's was not done.
    if signal and not camera:
        sys.exit(128 + signal)
    if lost:
        sys.exit(1)


def _source(text: str) -> "Source":
    """Return the one video or camera that ``text`` names."""
    from kpose import sources
    from kpose.errors import InputError

    found, problems = sources.find([text])
    if problems:
        raise InputError(problems[0])
    if len(found) != 1 or not sources.is_stream(found[0]):
        which = f" with {len(found)} pictures or videos" if len(found) > 1 else ""
        raise InputError(
            f"SOURCE must be one video or the number of a camera. Received: {text}"
            f"{which or ', which is no video'}"
        )
    return found[0]
