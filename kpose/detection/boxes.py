"""Boxes that were made elsewhere, in a JSON file; people are found by name.

Two forms, told apart by their content:

- COCO: ``images`` (``id``, ``file_name``) and ``annotations`` (``image_id``, ``bbox``
  x, y, width, height, optionally ``score``). Only the category called ``person`` counts
  (1 where the file has no categories); crowds (``iscrowd``) do not.
- The JSON lines that ``kpose predict`` writes (``source``, ``frame``, ``box`` x0, y0,
  x1, y1, ``score``): the form for videos.

A picture means the entry whose path has the most trailing parts in common with its own,
at least the file name: ``photos/a.jpg`` finds ``data/photos/a.jpg`` before ``b/a.jpg``.
Two that fit equally well are refused, and so is a name that the file does not have: it
is almost always the wrong file. A picture without people is one that the file lists
(under ``images``, or in a row without a box) and has no box for, and a frame of a known
video without a row has nobody.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from kpose.detection import Detection, usable
from kpose.errors import InputError
from kpose.files import sha256
from kpose.geometry import Box
from kpose.images import Image

WANTED = (
    "a COCO file (images with file_name, annotations with bbox) or the JSON lines of "
    "kpose predict (source, frame, box, score)"
)

Frames = Mapping[int, list[Detection]]


class BoxFile:
    """A file of boxes, see the module.

    Args:
        name: As the user gave it.
        path: The file.

    Raises:
        InputError: If the file is neither form.
    """

    threshold = 0.0
    given = True

    def __init__(self, name: str, path: Path) -> None:
        """Read the file."""
        self.name, self.path = name, path
        self.identity = f"boxes 1 {sha256(path)}"
        self._pictures = _read(path)
        self._by_file_name: dict[str, list[str]] = defaultdict(list)
        for known in self._pictures:
            self._by_file_name[PurePath(known).name].append(known)

    def detect(
        self, image: Image, picture: str = "", frame: int = 0
    ) -> list[Detection]:
        """Return the persons in ``frame`` of ``picture``; see ``Detector.detect``.

        Raises:
            InputError: If the file has no such picture, or it may mean several.
        """
        return list(self._pictures[self._entry(picture)].get(frame, []))

    def _entry(self, picture: str) -> str:
        found = self._by_file_name.get(PurePath(picture).name, [])
        common = [_common(known, picture) for known in found]
        best = [
            known
            for known, parts in zip(found, common, strict=True)
            if parts == max(common)
        ]
        if len(best) == 1:
            return best[0]
        if best:
            raise InputError(
                f"expected one entry for {picture} in {self.path}, got "
                f"{', '.join(sorted(best)[:3])}: which of them?"
            )
        raise InputError(
            f"expected {picture} in {self.path}, but it has other names "
            f"({len(self._pictures)}): {', '.join(sorted(self._pictures)[:3])}"
        )


def _common(one: str, other: str) -> int:
    """Return how many trailing parts two paths have in common."""
    pairs = zip(
        reversed(PurePath(one).parts), reversed(PurePath(other).parts), strict=False
    )
    count = 0
    for a, b in pairs:
        if a != b:
            break
        count += 1
    return count


def _read(path: Path) -> dict[str, Frames]:
    """Return the persons by picture and frame."""
    pictures: dict[str, dict[int, list[Detection]]] = {}
    try:
        for picture, frame, found in _rows(path.read_text(encoding="utf-8")):
            frames = pictures.setdefault(picture, {})
            if found is not None:
                frames.setdefault(frame, []).append(found)
    except (
        *(ValueError, KeyError, TypeError, AttributeError, OSError),
        *(OverflowError, RecursionError),
    ) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise InputError(f"expected {WANTED}, got {path}: {reason}") from None
    if not pictures:
        raise InputError(f"expected {WANTED}, got {path}: no picture")
    return {
        picture: {frame: usable(found) for frame, found in frames.items()}
        for picture, frames in pictures.items()
    }


Row = tuple[str, int, Detection | None]
"""Picture, frame, and a person in it."""


def _rows(text: str) -> Iterator[Row]:
    try:
        value = json.loads(text)
    except ValueError:
        value = [json.loads(line) for line in text.splitlines() if line.strip()]
    if isinstance(value, dict) and "images" in value:
        yield from _coco(value)
        return
    for row in [value] if isinstance(value, dict) else value:
        box = row["box"] and Box(*map(float, row["box"]))
        found = Detection(box, _score(row)) if box else None
        yield PurePath(row["source"]).as_posix(), int(row["frame"]), found


def _coco(value: dict[str, Any]) -> Iterator[Row]:
    names = {image["id"]: str(image["file_name"]) for image in value["images"]}
    categories = value.get("categories", [{"id": 1, "name": "person"}])
    persons = {one["id"] for one in categories if one["name"] == "person"}
    for name in names.values():
        yield name, 0, None
    for one in value["annotations"]:
        if one.get("category_id", 1) in persons and not one.get("iscrowd"):
            x, y, width, height = map(float, one["bbox"])
            box = Box(x, y, x + width, y + height)
            yield names[one["image_id"]], 0, Detection(box, _score(one))


def _score(row: dict[str, Any]) -> float | None:
    score = row.get("score")
    return None if score is None else float(score)
