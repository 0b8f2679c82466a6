"""FLIC: frames of Hollywood films, upper bodies with 11 points.

Formats, and the 5 % seen from behind: datasets/cards/flic.md.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpose.errors import InputError
from kpose.joints import BODY_13
from kpose.records import BadRecord, ImageRef, PersonRecord
from kpose_datasets.joint_map import JointMap
from kpose_datasets.mpii import (
    HDF5,
    MATLAB,
    Bad,
    Label,
    by_picture,
    first_bytes,
    load_h5,
    load_mat,
    mat_field,
)

SKELETON = BODY_13

LICENCE = "FLIC: research only; cite Sapp and Taskar, CVPR 2013"

POINTS = 11

ROWS = {
    "left_shoulder": [0],
    "left_elbow": [1],
    "left_wrist": [2],
    "right_shoulder": [3],
    "right_elbow": [4],
    "right_wrist": [5],
    "left_hip": [6],
    "right_hip": [7],
}
"""Which of the 11 labelled points a joint is."""

LEFT_EYE, RIGHT_EYE, NOSE = 8, 9, 10

JOINT_MAP = JointMap(ROWS, (NOSE, LEFT_EYE, RIGHT_EYE, None, None), "face")

SWAP = [3, 4, 5, 0, 1, 2, 7, 6, 9, 8, 10]
"""For each point the one of the other side."""

COLUMNS = 29

LABELLED = [0, 1, 2, 3, 4, 5, 6, 9, 12, 13, 16]
"""Which columns of ``coords`` are the 11 points."""

PERSON_CENTRIC = "_personcentric"
"""How the names of files end that have the sides of people seen from behind right."""

SAME = 1.5
"""Two labels of a person differ by less, pixels: more than what counting from 0 or
from 1 makes."""


def read(path: Path, images: Path | None = None) -> Iterator[PersonRecord | BadRecord]:
    """Yield every labelled person, also those whose picture is absent.

    Args:
        path: ``examples.mat``, an ``.h5`` file, or a folder with ``examples.mat`` or
            else with ``.h5`` files, of which the person-centric ones are taken.
        images: The folder of the pictures; None: ``images`` beside the labels.

    Raises:
        InputError: If there is no label file, or one is not FLIC's.
    """
    for file in _label_files(path) if path.is_dir() else [path]:
        pictures = images if images is not None else file.parent / "images"
        head = first_bytes(file)
        if head.startswith(HDF5):
            yield from by_picture(_read_h5(file, pictures))
        elif head.startswith(MATLAB):
            yield from by_picture(_read_mat(file, pictures))
        else:
            raise InputError(
                f"{file} must be FLIC's labels, MATLAB or HDF5. Received: {head[:20]!r}"
            )


def _label_files(folder: Path) -> list[Path]:
    """Return the label files of a folder."""
    if (folder / "examples.mat").is_file():
        return [folder / "examples.mat"]
    files = sorted(folder.glob("*.h5"))
    if not files:
        raise InputError(
            f"{folder} must have examples.mat or the files train.h5 and valid.h5, but "
            "has neither"
        )
    better = {path.stem.removesuffix(PERSON_CENTRIC): path for path in files}
    for path in files:
        if path.stem.endswith(PERSON_CENTRIC):
            better[path.stem.removesuffix(PERSON_CENTRIC)] = path
    return list(better.values())


def _person(
    name: str, image: Path, split: str, points: NDArray[np.float64]
) -> PersonRecord:
    """Return the record of ``(11, 2)`` points, pixels that count from 0."""
    annotated = ~np.asarray(np.isnan(points).any(axis=1))
    return PersonRecord(
        id=name,
        image=ImageRef(image),
        joints=JOINT_MAP.joints(points[None], annotated[None])[0],
        # Every label says visible, also of wrists behind a back.
        visible=np.full(len(SKELETON), -1, np.int8),
        source="flic",
        group=image.name,
        split=split,
        head_rule="face",
    )


def _read_h5(path: Path, pictures: Path) -> Iterator[Label]:
    """Yield the persons of a file of the stacked hourglass network."""
    arrays = load_h5(path, POINTS)
    # What the file calls validation is the test set.
    test = any(word in path.stem.lower() for word in ("valid", "test"))
    numbers = arrays.get("index", np.arange(len(arrays["part"])))
    for image, number, points in zip(
        arrays["imgname"], numbers.tolist(), arrays["part"], strict=True
    ):
        points[(points == 0).all(axis=1)] = np.nan
        yield _person(
            f"{Path(image).stem}/{number:g}",
            pictures / image,
            "test" if test else "train",
            points,
        )


def _read_mat(path: Path, pictures: Path) -> Iterator[Label]:
    """Yield the persons of ``examples.mat``."""
    examples = np.atleast_1d(load_mat(path, "examples"))
    if not len(examples) or not hasattr(examples[0], "coords"):
        raise InputError(
            f"{path}: examples must be structs with filepath, coords, istrain and "
            f"istest. Received: {examples.dtype} {examples.shape}"
        )
    sides = _person_centric(path.parent)
    for index, example in enumerate(examples):
        image = mat_field(example, "filepath")
        name = f"examples/{index}"
        try:
            if not isinstance(image, str) or not image:
                raise Bad(
                    "missing_field", f"filepath must be a name. Received: {image!r}"
                )
            # The index is the one that the .h5 files have, so that ids are the same.
            name = f"{Path(image).stem}/{index}"
            points = _mat_points(example)
        except Bad as bad:
            yield bad.record(name, "flic", f"{path}: examples({index + 1})")
            continue
        if _seen_from_behind(points, sides.get(image, [])):
            points = points[SWAP]
        test = _says_yes(example, "istest")
        # MATLAB's pixels count from 1.
        yield _person(name, pictures / image, "test" if test else "train", points - 1)


def _says_yes(example: Any, name: str) -> bool:
    """Return a flag of an example, False where it has none."""
    value = mat_field(example, name)
    return value is not None and bool(np.any(value))


def _mat_points(example: Any) -> NDArray[np.float64]:
    """Return the 11 points of an example as they are stored."""
    for flag, reason in (("isbad", "marked_bad"), ("isunchecked", "unchecked")):
        if _says_yes(example, flag):
            raise Bad(reason, f"expected a label with {flag} 0. Received: 1")
    coords = np.asarray(getattr(example, "coords", None))
    if coords.shape != (2, COLUMNS) or coords.dtype.kind not in "fiu":
        raise Bad(
            "wrong_number_of_points",
            f"coords must be numbers (2, {COLUMNS}). "
            f"Received: {coords.dtype} {coords.shape}",
        )
    return np.asarray(coords[:, LABELLED].T, np.float64)


def _person_centric(folder: Path) -> dict[str, list[NDArray[np.float64]]]:
    """Return the labels of the person-centric files of a folder, by picture."""
    labels: dict[str, list[NDArray[np.float64]]] = {}
    for path in sorted(folder.glob(f"*{PERSON_CENTRIC}.h5")):
        arrays = load_h5(path, POINTS)
        for image, points in zip(arrays["imgname"], arrays["part"], strict=True):
            labels.setdefault(image, []).append(points)
    return labels


def _seen_from_behind(
    points: NDArray[np.float64], labels: list[NDArray[np.float64]]
) -> bool:
    """Return whether the sides must change places, by the labels of the picture.

    Only where a label has all 11 points where these are, on the other side, and none
    has them as they are: whoever is not found for certain stays as labelled.
    """

    def found(these: NDArray[np.float64]) -> bool:
        return any(bool((np.abs(these - label) < SAME).all()) for label in labels)

    return not found(points) and found(points[SWAP])
