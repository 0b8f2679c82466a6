"""OpenPose's JSON of one video or folder of pictures, 25 points of its model BODY_25B.

Format and traps: datasets/cards/openpose_json.md.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kpose.errors import InputError
from kpose.joints import BODY_13
from kpose.records import ImageRef, PersonRecord
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

CENTRED = 0.15
"""How near, in torso lengths, BODY_25's neck and hip centre lie to the middle of both
shoulders and of both hips: they are defined so. BODY_25B has other points there."""


def read(folder: Path, pictures: Path) -> Iterator[PersonRecord]:
    """Yield every labelled person; a frame without one is a record without joints.

    Args:
        folder: One JSON file per frame.
        pictures: The video, or the folder of pictures with the names of the files.

    Raises:
        InputError: If there is no such file, one is not OpenPose's, or the points are
            not BODY_25B's.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise InputError(f"{folder} must be a folder of OpenPose JSON, but has none")
    labels = [(path, _people(path)) for path in files]
    _require_body_25b(folder, np.concatenate([people for _, people in labels]))
    beside = (
        {path.stem: path for path in pictures.iterdir() if path.suffix != ".json"}
        if pictures.is_dir()
        else None
    )
    for path, people in labels:
        name = path.stem.removesuffix("_keypoints")
        image = (
            ImageRef(pictures, frame=_frame(path))
            if beside is None
            else ImageRef(beside.get(name, pictures / f"{name}.jpg"))
        )
        annotated = people[..., 2] > CONFIDENCE
        persons = JOINT_MAP.joints(people[..., :2], annotated)
        for number, joints in enumerate(persons):
            yield PersonRecord(
                id=f"{folder.name}/{name}/{number}",
                image=image,
                joints=joints,
                visible=np.full(len(SKELETON), -1, np.int8),
                source="openpose_json",
                group=folder.name,
                split="train",
                head_rule="mid",
                recording=folder.name,
            )


def _people(path: Path) -> NDArray[np.float64]:
    """Return the ``(people, 25, 3)`` points of a file; one of zeros for nobody."""
    try:
        people = json.loads(path.read_bytes())["people"]
        rows = [list(map(float, one["pose_keypoints_2d"])) for one in people if one]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} must be OpenPose's JSON with people, but {error!r}"
        ) from None
    for row in rows:
        if len(row) != 3 * POINTS:
            raise InputError(
                f"{path} must have {3 * POINTS} numbers per person, those of the "
                f"model BODY_25B. Received: {len(row)}"
            )
    # Without a row the frame would not be counted at all.
    return np.reshape(rows or [[0.0] * 3 * POINTS], (-1, POINTS, 3))


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
    off = [
        np.linalg.norm(point - (a + b) / 2, axis=1)
        for point, a, b in ((neck, *shoulders), (centre, right_hip, left_hip))
    ]
    torso = np.linalg.norm(neck - centre, axis=1)
    if np.median(np.maximum(*off) - CENTRED * torso) <= 0:
        raise InputError(
            f"{folder} must have the points of OpenPose's model BODY_25B (COCO order, "
            "then neck and top of the head), but has those of BODY_25"
        )
