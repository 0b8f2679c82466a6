"""OpenPose's JSON of one video or folder of pictures, 25 points of its model BODY_25B.

Format and traps: datasets/cards/openpose_json.md.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpose.errors import InputError
from kpose.joints import BODY_13
from kpose.records import BadRecord, ImageRef, PersonRecord
from kpose_datasets.joint_map import JointMap

SKELETON = BODY_13

LICENCE = "openpose_json: that of the user's pictures; labels made by OpenPose"

POINTS = 25

ROWS = {
    "head": [17, 18],  # upper neck and top of the head
    "left_shoulder": [5],
    "right_shoulder": [6],
    "left_elbow": [7],
    "right_elbow": [8],
    "left_wrist": [9],
    "right_wrist": [10],
    "left_hip": [11],
    "right_hip": [12],
    "left_knee": [13],
    "right_knee": [14],
    "left_ankle": [15],
    "right_ankle": [16],
}
"""Which of BODY_25B's points a joint is, or lies midway between."""

JOINT_MAP = JointMap(ROWS)

CONFIDENCE = 0.2
"""A point is annotated where OpenPose's confidence is over this."""

LARGEST = 1 << 64
"""JSON's whole numbers have no end, and from somewhere on no float64 holds them."""

CENTRED = 0.15
"""How near, in torso lengths, BODY_25's neck and hip centre lie to the middle of both
shoulders and of both hips: they are defined so. BODY_25B has other points there."""


class Damaged(Exception):
    """A file or a person that cannot be used: ``args`` are the reason and what came."""


def read(
    folder: Path, images: Path, confidence: str = str(CONFIDENCE), offset: str = "0"
) -> Iterator[PersonRecord | BadRecord]:
    """Yield every labelled person; a frame without one is a record without joints.

    A damaged file, or a person with another number of points, in a good folder is a
    ``BadRecord``.

    Args:
        folder: One JSON file per frame.
        images: The video, or the folder of pictures with the names of the files.
        confidence: A point is annotated where OpenPose's is over this, 0 to 1.
        offset: How many frames of the video later the picture of a label is, where both
            were counted differently; a whole number. Frames that are not there are
            skipped and counted.

    Raises:
        InputError: If there is no such file, no person in any can be used, the points
            are not BODY_25B's, or an option is no such number.
    """
    least, later = _confidence(confidence), _offset(offset)
    if later and images.is_dir():
        raise InputError(
            f"offset counts frames of a video, but {images} is a folder of pictures. "
            f"Received: {offset}"
        )
    files = sorted(folder.glob("*.json"))
    if not files:
        raise InputError(f"{folder} must be a folder of OpenPose JSON, but has none")
    labels = [(path, _people(path)) for path in files]
    everyone = [one for _, found in labels for one in found]
    people = [one for one in everyone if not isinstance(one, Damaged)]
    if not people:
        raise next(InputError(e.args[1]) for e in everyone if isinstance(e, Damaged))
    _require_body_25b(folder, np.stack(people))
    beside = (
        {path.stem: path for path in images.iterdir() if path.suffix != ".json"}
        if images.is_dir()
        else None
    )
    for path, found in labels:
        name = path.stem.removesuffix("_keypoints")
        for number, points in enumerate(found):
            identity = f"{folder.name}/{name}/{number}"
            if isinstance(points, Damaged):
                yield BadRecord(identity, "openpose_json", *points.args)
                continue
            if beside is None and _frame(path) + later < 0:
                detail = f"{path}: its frame {_frame(path) + later} is before the first"
                yield BadRecord(identity, "openpose_json", "no_such_frame", detail)
                continue
            image = (
                ImageRef(images, frame=_frame(path) + later)
                if beside is None
                else ImageRef(beside.get(name, images / f"{name}.jpg"))
            )
            annotated = points[None, :, 2] > least
            yield PersonRecord(
                id=identity,
                image=image,
                joints=JOINT_MAP.joints(points[None, :, :2], annotated)[0],
                visible=np.full(len(SKELETON), -1, np.int8),
                source="openpose_json",
                group=folder.name,
                split="train",
                head_rule="mid",
                recording=folder.name,
            )


def _confidence(text: str) -> float:
    try:
        least = float(text)
    except ValueError:
        least = -1.0
    if not 0 <= least < 1:
        raise InputError(f"confidence must be a number from 0 to 1. Received: {text!r}")
    return least


def _offset(text: str) -> int:
    if not re.fullmatch(r"-?\d{1,6}", text):
        raise InputError(
            f"offset must be a whole number of frames. Received: {text!r:.100}"
        )
    return int(text)


def _people(path: Path) -> list[NDArray[np.float64] | Damaged]:
    """Return ``(25, 3)`` points for each person of a file; zeros for nobody."""
    try:
        people = json.loads(path.read_bytes())["people"]
        given = [one.get("pose_keypoints_2d") for one in people if one]
    except (
        *(OSError, ValueError, KeyError, TypeError, AttributeError),
        RecursionError,
    ) as error:
        detail = f"{path} must be OpenPose's JSON with people, but {error!r:.200}"
        return [Damaged("damaged_file", detail)]
    # Without a row the frame would not be counted at all.
    rows = [_points(path, number, row) for number, row in enumerate(given)]
    return rows or [np.zeros((POINTS, 3))]


def _points(path: Path, number: int, row: Any) -> NDArray[np.float64] | Damaged:
    """Return the ``(25, 3)`` points of a person."""
    where = f"{path}: person {number} must have {3 * POINTS} pose_keypoints_2d"
    if not isinstance(row, list) or len(row) != 3 * POINTS:
        came = len(row) if isinstance(row, list) else f"{row!r:.80}"
        detail = f"{where}, numbers of the model BODY_25B. Received: {came}"
        return Damaged("wrong_number_of_keypoints", detail)
    wrong = [
        one
        for one in row
        if type(one) is not float and not (type(one) is int and abs(one) < LARGEST)
    ]
    if wrong:
        detail = f"{where}, all numbers. Received: {wrong[0]!r:.80}"
        return Damaged("non_numeric_keypoints", detail)
    return np.reshape(np.array(row, np.float64), (POINTS, 3))


def _frame(path: Path) -> int:
    """Return the index of a file's frame: the last digits of its name."""
    digits = re.findall(r"\d+", path.stem)
    if not digits:
        raise InputError(
            f"{path} must have the number of its frame in its name, but has no digit"
        )
    return int(digits[-1])


def _require_body_25b(folder: Path, people: NDArray[np.float64]) -> None:
    """Refuse BODY_25, which has as many points in another order."""
    # By BODY_25's order: neck, both shoulders, centre of the hips, both hips.
    used = people[:, [1, 2, 5, 8, 9, 12]]
    neck, *shoulders, centre, right_hip, left_hip = used[
        (used[..., 2] > CONFIDENCE).all(axis=1), :, :2
    ].swapaxes(0, 1)
    if not len(neck):
        return
    with np.errstate(over="ignore", invalid="ignore"):  # inf is reported later
        off = [
            np.linalg.norm(point - (a + b) / 2, axis=1)
            for point, a, b in ((neck, *shoulders), (centre, right_hip, left_hip))
        ]
        torso = np.linalg.norm(neck - centre, axis=1)
        beyond = np.maximum(*off) - CENTRED * torso
    beyond = beyond[np.isfinite(beyond)]
    if len(beyond) and np.median(beyond) <= 0:
        raise InputError(
            f"{folder} must have the points of OpenPose's model BODY_25B (COCO order, "
            "then neck and top of the head), but has those of BODY_25"
        )
