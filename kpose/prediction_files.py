"""Predictions on disk: JSON lines, and overlays that a person can look at."""

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from kpose import images, sources, video
from kpose.drawing import draw_box, draw_skeleton
from kpose.files import atomic_folder
from kpose.geometry import Box
from kpose.images import Image
from kpose.predictor import OK, Person, Predictor

LINES = "keypoints.jsonl"


def write_folder(
    predictor: Predictor,
    files: Sequence[Path],
    boxes: Sequence[Box] | None,
    out: Path,
    advance: Callable[[int], None] = lambda pictures: None,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Predict ``files`` into a folder that appears whole when all are done.

    It gets ``keypoints.jsonl``, a line per picture (frame) and person, and an overlay
    per file: ``NAME.png`` of a picture, ``NAME.mp4`` of a video.

    Args:
        predictor: The model.
        files: Pictures and videos, see ``sources.find``.
        boxes: Person boxes in image pixels; None is one person in the whole picture.
        out: New or empty.
        advance: Called with 1 after each picture or frame.
        report: Called with one line for each picture that gave no joints.

    Returns:
        ``pictures``, ``persons``, ``skipped`` (reason -> count) and ``out``.

    Raises:
        InputError: If ``out`` has content, or an overlay cannot be written.
    """
    names: set[str] = set()
    with (
        atomic_folder(out) as folder,
        (folder / LINES).open("w", encoding="utf-8") as lines,
    ):
        count: Counter[str] = Counter()
        for path in files:
            suffix = ".mp4" if video.is_video(path) else ".png"
            target = folder / _unused(path.stem, suffix, names)
            show: Callable[[Image], None]
            with contextlib.ExitStack() as stack:
                if suffix == ".mp4":
                    writer = video.Writer(target, video.rate(path))
                    show = stack.enter_context(writer).write
                else:
                    show = _picture_writer(target)
                count += _predict(predictor, path, boxes, lines, advance, report, show)
    return _summary(count) | {"out": str(out)}


def write_lines(
    predictor: Predictor,
    files: Sequence[Path],
    boxes: Sequence[Box] | None,
    stream: TextIO,
    advance: Callable[[int], None] = lambda pictures: None,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Predict ``files`` as JSON lines on ``stream``; see ``write_folder``."""
    count: Counter[str] = Counter()
    for path in files:
        count += _predict(predictor, path, boxes, stream, advance, report)
    return _summary(count)


def _predict(
    predictor: Predictor,
    path: Path,
    boxes: Sequence[Box] | None,
    lines: TextIO,
    advance: Callable[[int], None],
    report: Callable[[str], None],
    show: Callable[[Image], None] = lambda image: None,
) -> Counter[str]:
    """Return how many pictures there were, and how many people of each status."""
    count: Counter[str] = Counter()
    for picture in sources.pictures(path):
        people = predictor.predict_picture(picture, boxes)
        for person in people:
            lines.write(json.dumps(person.to_json(), ensure_ascii=False) + "\n")
            if person.status != OK:
                report(f"{path}: {person.status}: {person.problem}")
        lines.flush()
        if picture.image is not None:
            show(overlay(picture.image, people))
        count.update(person.status for person in people)
        count["pictures"] += 1
        advance(1)
    return count


def overlay(image: Image, people: Sequence[Person]) -> Image:
    """Return a copy of the picture with everybody's box and skeleton."""
    for person in people:
        if person.status == OK and person.box is not None:
            image = draw_box(image, person.box)
            image = draw_skeleton(image, person.keypoints, person.skeleton)
    return image


def default_folder(source: Path) -> Path:
    """Return ``runs/predict/NAME``, numbered if it is taken.

    Args:
        source: The first file or folder that is predicted.
    """
    name = source.resolve().name if source.is_dir() else source.stem
    folder, number = Path("runs") / "predict" / name, 1
    while folder.exists():
        number += 1
        folder = folder.with_name(f"{name}-{number}")
    return folder


def _summary(count: Counter[str]) -> dict[str, Any]:
    skipped = {k: n for k, n in sorted(count.items()) if k not in (OK, "pictures")}
    return {
        "pictures": count["pictures"],
        "persons": count[OK],
        "skipped": skipped,
    }


def _unused(stem: str, suffix: str, names: set[str]) -> str:
    """Return a file name that no earlier file has: ``a.jpg`` and ``a.png`` differ."""
    name, number = stem + suffix, 1
    while name in names:
        number += 1
        name = f"{stem}-{number}{suffix}"
    names.add(name)
    return name


def _picture_writer(path: Path) -> Callable[[Image], None]:
    def write(image: Image) -> None:
        path.write_bytes(images.encode(image, "png", 0))

    return write
