"""Predictions on disk: rows as they come, and overlays that a person can look at."""

import contextlib
import csv
import itertools
import json
import os
import platform
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import cv2
import numpy as np

import kpose
from kpose import images, sources, video
from kpose.drawing import draw_box, draw_label, draw_skeleton
from kpose.errors import InputError
from kpose.files import atomic_file, write_json
from kpose.geometry import Box
from kpose.images import MAX_PIXELS, Image
from kpose.predictor import NOBODY, OK, Person, Predictor
from kpose.sources import Camera, Picture, Source

LINES, TABLE = "keypoints.jsonl", "keypoints.csv"

BOX = ("x0", "y0", "x1", "y1")

COLUMNS = ("source", "frame", "time_ms", "status", "track_id", *BOX, "score")
"""Of the table, before three for each joint."""

COCO_RESULTS, COCO_IMAGES = "coco_results.json", "coco_images.json"

SUMMARY = "predict.json"
"""Written last: a job without it was killed."""

KINDS = ("jsonl", "csv", "coco", "overlay")
"""What ``write_folder`` can save."""

SHOWN = 0.2
"""Joints of less confidence are not drawn; the rows have them."""

Write = Callable[[Picture, Sequence[Person]], None]


def go_on(picture: Picture, people: Sequence[Person]) -> bool:
    """Return True: watch nothing, stop never."""
    return True


def be_quiet(line: str) -> None:
    """Report nothing."""


def write_folder(
    predictor: Predictor,
    found: Sequence[Source],
    out: Path,
    *,
    save: Sequence[str] = ("jsonl", "overlay"),
    boxes: Sequence[Box] | None = None,
    max_pixels: int = MAX_PIXELS,
    watch: Callable[[Picture, Sequence[Person]], bool] = go_on,
    report: Callable[[str], None] = be_quiet,
    failed: Sequence[str] = (),
    settings: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Predict ``found`` into a folder.

    Memory does not grow with the number of frames, and a job that is killed leaves the
    rows that it had. What ``save`` can name:

    - ``jsonl``: ``keypoints.jsonl``, a line for each frame and person, and one for a
      frame that is unreadable or shows nobody.
    - ``csv``: ``keypoints.csv``, the same as a table; unknown is an empty cell.
    - ``coco``: ``coco_results.json``, a COCO keypoint result list, and
      ``coco_images.json``, which says what each ``image_id`` is. That is the number
      in the file's name where all pictures have one (COCO's names), else counted
      from 1.
    - ``overlay``: ``NAME.png`` for a picture, ``NAME.mp4`` for a video.

    ``predict.json`` comes last: settings, versions, and the counts.

    Args:
        predictor: Model, detector and their settings.
        found: What to read, see ``sources.find``.
        out: New or empty. It is not left behind if no picture could be decoded.
        save: Some of ``KINDS``.
        boxes: Person boxes in image pixels, the same for every picture; None asks the
            detector.
        max_pixels: Larger pictures are refused.
        watch: Called after each picture; False ends the job, with the files finished.
        report: Called with one line about each source that cannot be read, or not all
            of it.
        failed: Lines about what was not found, for the summary.
        settings: What ``predict.json`` shall repeat.

    Returns:
        ``pictures``, of which ``decoded``; ``persons`` and their ``tracks``, pictures
        ``without_people``, ``skipped`` (reason -> count), ``failed`` (the lines about
        sources that ended with an error), ``interrupted``, and ``out``, None if nothing
        could be decoded.

    Raises:
        InputError: If ``out`` has content or cannot be made, or an overlay cannot be
            written.
    """
    unknown = [kind for kind in save if kind not in KINDS]
    if unknown or not save:
        raise InputError(
            f"save must be some of {', '.join(KINDS)}. Received: {', '.join(save)}"
        )
    job = _Job(predictor, found, boxes, max_pixels, watch, report, [*failed])
    made = _make_folder(out)
    try:
        with contextlib.ExitStack() as stack:
            writers = [stack.enter_context(w) for w in _tables(out, save, job)]
            job.run(writers, _Overlays(out) if "overlay" in save else None)
        summary = job.summary() | {"out": str(out) if job.decoded else None}
        description = {
            **(settings or {}),
            "save": list(save),
            "model_sha256": predictor.model.card.get("sha256"),
            "detector_identity": predictor.detector and predictor.detector.identity,
            "versions": {
                "kpose": kpose.__version__,
                "python": platform.python_version(),
                "numpy": np.__version__,
                "opencv": cv2.__version__,
            },
            "summary": summary,
        }
        write_json(out / SUMMARY, description)
        return summary
    finally:
        if not job.decoded:
            _remove_folder(out, made)


def write_lines(
    predictor: Predictor,
    found: Sequence[Source],
    stream: TextIO,
    *,
    boxes: Sequence[Box] | None = None,
    max_pixels: int = MAX_PIXELS,
    watch: Callable[[Picture, Sequence[Person]], bool] = go_on,
    report: Callable[[str], None] = be_quiet,
    failed: Sequence[str] = (),
) -> dict[str, Any]:
    """Predict ``found`` as JSON lines on ``stream``; see ``write_folder``."""
    job = _Job(predictor, found, boxes, max_pixels, watch, report, [*failed])
    job.run([_line_writer(stream)], None)
    return job.summary()


def overlay(image: Image, people: Sequence[Person]) -> Image:
    """Return a copy of the picture with everybody's box, skeleton, number and score."""
    for person in people:
        if person.status == OK and person.box is not None:
            image = draw_box(image, person.box)
            # A guess must not look like a joint that the network sees.
            joints = person.keypoints.copy()
            joints[joints[:, 2] < SHOWN] = np.nan
            image = draw_skeleton(image, joints, person.skeleton)
            number = "" if person.track_id is None else f"#{person.track_id}"
            score = "" if person.score is None else f"{person.score:.2f}"
            image = draw_label(image, person.box, f"{number} {score}".strip())
    return image


def default_folder(source: Source) -> Path:
    """Return ``runs/predict/NAME``, numbered if it is taken.

    Args:
        source: The first source, or the folder that it comes from.
    """
    if isinstance(source, Path) and source.is_dir():
        name = source.resolve().name
    else:
        name = _stem(source)
    folder, number = Path("runs") / "predict" / name, 1
    while folder.exists():
        number += 1
        folder = folder.with_name(f"{name}-{number}")
    return folder


class _Overlays:
    """Names and opens the overlay of each source.

    Args:
        out: Where they are put.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._names: set[str] = set()

    def open(self, source: Source) -> contextlib.AbstractContextManager[Write]:
        """Return the writer for the pictures of ``source``."""
        if sources.is_stream(source):
            path = self._out / self._unused(_stem(source), ".mp4")
            return _overlay_video(path, video.rate(source))
        path = self._out / self._unused(_stem(source), ".png")
        return contextlib.nullcontext(_picture_writer(path))

    def _unused(self, stem: str, suffix: str) -> str:
        """Return a name that no earlier file has: ``a.jpg`` and ``a.png`` differ."""
        name, number = stem + suffix, 1
        while name in self._names:
            number += 1
            name = f"{stem}-{number}{suffix}"
        self._names.add(name)
        return name


@dataclass
class _Job:
    """Predicts and counts; the first arguments are those of ``write_folder``."""

    predictor: Predictor
    found: Sequence[Source]
    boxes: Sequence[Box] | None
    max_pixels: int
    watch: Callable[[Picture, Sequence[Person]], bool]
    report: Callable[[str], None]
    failed: list[str]
    pictures: int = 0
    decoded: int = 0
    tracks: int = 0
    states: Counter[str] = field(default_factory=Counter)
    interrupted: bool = False

    def run(self, writers: Sequence[Write], overlays: _Overlays | None) -> None:
        """Write picture after picture, until ``watch`` returns False."""
        for source in self.found:
            with contextlib.ExitStack() as stack:
                both = list(writers)
                if overlays is not None:
                    both.append(stack.enter_context(overlays.open(source)))
                if not self._run_one(source, both):
                    self.interrupted = True
                    return

    def summary(self) -> dict[str, Any]:
        """Return the counts."""
        rest = {k: n for k, n in self.states.items() if k not in (OK, NOBODY)}
        return {
            "pictures": self.pictures,
            "decoded": self.decoded,
            "persons": self.states[OK],
            "tracks": self.tracks,
            "without_people": self.states[NOBODY],
            "skipped": dict(sorted(rest.items())),
            "failed": self.failed,
            "interrupted": self.interrupted,
        }

    def _run_one(self, source: Source, writers: Sequence[Write]) -> bool:
        """Write what one source gives; return whether to go on."""
        told: set[str] = set()
        tracks: set[int | None] = {None}
        for picture, people in self._results(source):
            for write in writers:
                write(picture, people)
            self.pictures += 1
            self.decoded += picture.image is not None
            for person in people:
                self.states[person.status] += 1
                self.tracks += person.track_id not in tracks
                tracks.add(person.track_id)
                # One line for the first of a video's many bad frames.
                if person.problem and person.status not in told:
                    told.add(person.status)
                    where = f", frame {picture.frame}" if picture.time_ms else ""
                    self.report(f"{source}{where}: {person.status}: {person.problem}")
            if not self.watch(picture, people):
                return False
        return True

    def _results(self, source: Source) -> Iterator[tuple[Picture, list[Person]]]:
        """Yield what one source gives; if it cannot be read, that is one line.

        Where the output cannot be written, the error is raised outside of this.
        """
        try:
            yield from self.predictor.predict_pictures(
                sources.pictures(source, self.max_pixels),
                sources.is_stream(source),
                self.boxes,
            )
        except InputError as error:
            self.failed.append(str(error))
            self.report(str(error))


def _tables(
    out: Path, save: Sequence[str], job: _Job
) -> list[contextlib.AbstractContextManager[Write]]:
    tables: list[contextlib.AbstractContextManager[Write]] = []
    if "jsonl" in save:
        tables.append(_lines(out / LINES))
    if "csv" in save:
        tables.append(_csv(out / TABLE, job.predictor.skeleton.names))
    if "coco" in save:
        tables.append(_coco(out, _image_ids(job.found)))
    return tables


def _line_writer(stream: TextIO) -> Write:
    def write(picture: Picture, people: Sequence[Person]) -> None:
        rows = (json.dumps(person.to_json(), ensure_ascii=False) for person in people)
        stream.write("".join(f"{row}\n" for row in rows))
        stream.flush()

    return write


@contextlib.contextmanager
def _lines(path: Path) -> Iterator[Write]:
    with path.open("w", encoding="utf-8") as file:
        yield _line_writer(file)


@contextlib.contextmanager
def _csv(path: Path, names: Sequence[str]) -> Iterator[Write]:
    cells = [f"{name}_{what}" for name in names for what in ("x", "y", "confidence")]
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([*COLUMNS, *cells])

        def write(picture: Picture, people: Sequence[Person]) -> None:
            for person in people:
                row = person.to_json()
                row |= dict(zip(BOX, row["box"] or [None] * 4, strict=True))
                points = row["keypoints"]
                joints = (points[name] or [None] * 3 for name in names)
                table.writerow(
                    [row[name] for name in COLUMNS] + list(itertools.chain(*joints))
                )
            file.flush()

        yield write


@contextlib.contextmanager
def _coco(out: Path, image_id: Callable[[Picture], int]) -> Iterator[Write]:
    with (
        _json_list(out / COCO_RESULTS) as add_result,
        _json_list(out / COCO_IMAGES) as add_image,
    ):

        def write(picture: Picture, people: Sequence[Person]) -> None:
            number = image_id(picture)
            add_image(
                {"id": number, "file_name": picture.source, "frame": picture.frame}
            )
            for person in people:
                if person.status == OK:
                    add_result(person.to_coco(number))

        yield write


@contextlib.contextmanager
def _json_list(path: Path) -> Iterator[Callable[[Any], None]]:
    """Yield a function that appends to a JSON list, whole after each entry."""
    with path.open("wb") as file:
        file.write(b"[\n]\n")
        comma = b""

        def add(value: Any) -> None:
            nonlocal comma
            file.seek(-len(b"\n]\n"), os.SEEK_END)
            text = json.dumps(value, ensure_ascii=False)
            file.write(comma + b"\n" + text.encode() + b"\n]\n")
            file.flush()
            comma = b","

        yield add


def _image_ids(found: Sequence[Source]) -> Callable[[Picture], int]:
    """Return what numbers the pictures: their names if they are numbers, or a count."""
    stems = [_stem(source) for source in found if not sources.is_stream(source)]
    numbers = {int(stem) for stem in stems if stem.isdecimal()}
    if len(numbers) == len(found):
        return lambda picture: int(Path(picture.source).stem)
    running = itertools.count(1)
    return lambda picture: next(running)


@contextlib.contextmanager
def _overlay_video(path: Path, fps: float) -> Iterator[Write]:
    """Yield what appends a frame to a video that appears when it is finished.

    An unreadable frame repeats the one before, or is black before the first good one,
    so that later frames keep their places.
    """
    writer: video.Writer | None = None
    shown: Image | None = None
    black = 0
    with contextlib.ExitStack() as stack:

        def write(picture: Picture, people: Sequence[Person]) -> None:
            nonlocal writer, shown, black
            if picture.image is not None:
                shown = overlay(picture.image, people)
            if shown is None:
                black += 1
                return
            if writer is None:
                beside = stack.enter_context(atomic_file(path))
                writer = stack.enter_context(video.Writer(beside, fps))
                for _ in range(black):
                    writer.write(np.zeros_like(shown))
            writer.write(shown)

        yield write


def _picture_writer(path: Path) -> Write:
    def write(picture: Picture, people: Sequence[Person]) -> None:
        if picture.image is not None:
            with atomic_file(path) as beside:
                drawn = overlay(picture.image, people)
                beside.write_bytes(images.encode(drawn, "png", 0))

    return write


def _stem(source: Source) -> str:
    return f"camera-{source.index}" if isinstance(source, Camera) else source.stem


def _make_folder(out: Path) -> list[Path]:
    """Make ``out``; return the folders that were not there, innermost first."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} must be new or an empty folder, but it is a file")
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} must be new or an empty folder, but it has content")
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out} must be a folder that can be made: {error}") from None
    return made


def _remove_folder(out: Path, made: Sequence[Path]) -> None:
    """Undo ``_make_folder``, with the empty files of a job that came to nothing."""
    for file in out.iterdir():
        file.unlink()
    with contextlib.suppress(OSError):  # another job may have put something beside
        for folder in made:
            folder.rmdir()
