"""Penn Action: 2,326 videos of sports, 13 joints in each frame.

Format and traps: datasets/cards/penn_action.md.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray

from kpose.errors import InputError
from kpose.geometry import Box
from kpose.joints import BODY_13
from kpose.records import BadRecord, ImageRef, PersonRecord
from kpose_datasets.joint_map import JointMap

SKELETON = BODY_13

LICENCE = (
    "Penn Action: none stated; cite Zhang, Zhu and Derpanis, ICCV 2013; research only"
)

POINTS = 13

ROWS = {
    "head": [0],
    "right_shoulder": [1],
    "left_shoulder": [2],
    "right_elbow": [3],
    "left_elbow": [4],
    "right_wrist": [5],
    "left_wrist": [6],
    "right_hip": [7],
    "left_hip": [8],
    "right_knee": [9],
    "left_knee": [10],
    "right_ankle": [11],
    "left_ankle": [12],
}
"""Which column a joint is. The README calls column 1 the left shoulder and so on, but
those are the person's right side (datasets/cards/penn_action.md)."""

JOINT_MAP = JointMap(ROWS, head_rule="point")

CORNER = 5.0
"""A joint that is out of the frame is not visible and put at x = y, this near 0."""


def read(path: Path, images: Path | None = None) -> Iterator[PersonRecord | BadRecord]:
    """Yield a record per frame; a video with a damaged label file is a ``BadRecord``.

    Args:
        path: The folder that has ``labels/0001.mat`` and so on, or ``labels`` itself.
        images: The folder that has ``0001/000001.jpg``; None for ``frames`` beside
            ``labels``.

    Raises:
        InputError: If there is no label file, or none can be read.
    """
    labels = path / "labels" if (path / "labels").is_dir() else path
    files = sorted(labels.glob("*.mat"))
    if not files:
        raise InputError(
            f"{path} must be a folder with labels/0001.mat and so on, but has none"
        )
    frames = labels.parent / "frames" if images is None else images
    errors: list[InputError] = []
    for file in files:
        try:
            records = _video(file, frames / file.stem)
        except InputError as error:
            errors.append(error)
            yield BadRecord(file.stem, "penn_action", "damaged_file", str(error))
            continue
        yield from records
    if len(errors) == len(files):
        raise errors[0]


def _video(path: Path, frames: Path) -> list[PersonRecord]:
    """Return the person of each frame.

    Raises:
        InputError: If the label file is no MATLAB file, or an array is missing or has
            another shape than the others.
    """
    try:
        content = scipy.io.loadmat(path)
    except Exception as error:  # scipy raises a dozen kinds for a damaged file
        raise InputError(f"{path} must be a MATLAB file: {error!r:.200}") from None
    # x may be uint8; nframes is left unread: of 300 frames it would be 44 in a uint8.
    x, y, shown = (_numbers(path, content, name) for name in ("x", "y", "visibility"))
    if x.ndim != 2 or x.shape[1] != POINTS or not len(x):
        raise InputError(
            f"{path}: x must have shape (frames, {POINTS}). Received: {x.shape}"
        )
    for name, array in (("y", y), ("visibility", shown)):
        if array.shape != x.shape:
            raise InputError(
                f"{path}: {name} must have the shape of x, {x.shape}. "
                f"Received: {array.shape}"
            )
    train = _numbers(path, content, "train").ravel().tolist()
    if train not in ([1], [-1]):
        raise InputError(f"{path}: train must be 1 or -1. Received: {train!r:.80}")
    hidden = shown == 0
    annotated = ~(hidden & (x == y) & (x < CORNER))
    joints = JOINT_MAP.joints(np.stack([x, y], axis=2), annotated)
    flags = np.where(annotated, np.where(hidden, 0, 1), -1).astype(np.int8)
    visible = JOINT_MAP.visible(flags)
    boxes = _boxes(path, content)
    return [
        PersonRecord(
            id=f"{path.stem}/{row + 1:06}",
            image=ImageRef(frames / f"{row + 1:06}.jpg"),
            joints=joints[row],
            visible=visible[row],
            source="penn_action",
            group=path.stem,
            split="train" if train == [1] else "test",
            head_rule="point",
            box=boxes[row] if row < len(boxes) else None,
            recording=path.stem,
        )
        for row in range(len(x))
    ]


def _numbers(path: Path, content: dict[str, Any], name: str) -> NDArray[np.float64]:
    """Return an array of the file.

    Raises:
        InputError: If there is none, or it is not made of numbers.
    """
    if name not in content:
        raise InputError(f"{path} must have a variable {name!r}, but has none")
    array = content[name]
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise InputError(f"{path}: {name} must be numbers. Received: {kind}")
    return np.asarray(array, np.float64)


def _boxes(path: Path, content: dict[str, Any]) -> list[Box | None]:
    """Return the boxes, None for one without area; some videos have too few."""
    if "bbox" not in content:
        return []
    edges = _numbers(path, content, "bbox")
    if not edges.size:
        return []
    if edges.ndim != 2 or edges.shape[1] != 4:
        raise InputError(
            f"{path}: bbox must have shape (frames, 4). Received: {edges.shape}"
        )
    boxes = [Box(*row) for row in edges.tolist()]
    return [box if box.area > 0 else None for box in boxes]
