"""Leeds Sports Pose: 2,000 persons, 14 complete joints each (datasets/cards/lsp.md)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.io
from numpy.typing import NDArray

from kpose.errors import InputError
from kpose.joints import BODY_13
from kpose.records import ImageRef, PersonRecord
from kpose_datasets.joint_map import JointMap

SKELETON = BODY_13

LICENCE = "LSP: none stated; cite Johnson and Everingham, BMVC 2010; research only"

NECK, HEAD_TOP = 12, 13

ROWS = {
    "head": [NECK, HEAD_TOP],
    "right_ankle": [0],
    "right_knee": [1],
    "right_hip": [2],
    "left_hip": [3],
    "left_knee": [4],
    "left_ankle": [5],
    "right_wrist": [6],
    "right_elbow": [7],
    "right_shoulder": [8],
    "left_shoulder": [9],
    "left_elbow": [10],
    "left_wrist": [11],
}
"""Which of the file's 14 points a joint is, or lies midway between."""

JOINT_MAP = JointMap(ROWS)

TRAIN_IMAGES = 1000
"""Images 1 to 1000 are the official training set, the others the test set."""


def read(root: Path) -> Iterator[PersonRecord]:
    """Yield every labelled person, also those whose picture is absent.

    Args:
        root: The folder that has ``joints.mat`` and ``images/im0001.jpg`` onwards.

    Raises:
        InputError: If ``joints.mat`` is missing or is not LSP's.
    """
    labels = np.moveaxis(load_joints(root, "(3, 14, persons)", (3, 14, None)), -1, 0)
    # Pixels as they are: nothing says that they count from 1 (datasets/cards/lsp.md).
    points = labels[:, :2].swapaxes(1, 2)
    joints = JOINT_MAP.joints(points, np.ones((len(labels), 14), np.bool_))
    heads = head_sizes(points)
    # The flag is 1 where a joint is *occluded*; the README's "visibility" misleads.
    visible = JOINT_MAP.visible((labels[:, 2] != 1).astype(np.int8))
    for index in range(len(labels)):
        name = f"im{index + 1:04}"
        yield PersonRecord(
            id=name,
            image=ImageRef(root / "images" / f"{name}.jpg"),
            joints=joints[index],
            visible=visible[index],
            source="lsp",
            group=name,
            split="train" if index < TRAIN_IMAGES else "test",
            head_rule="mid",
            head_size=float(heads[index]),
        )


def head_sizes(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return ``(persons,)`` distances from neck to head top, image pixels.

    It is what PCKh compares with on LSP and LSPET, which have no head boxes.

    Args:
        points: ``(persons, 14, 2)``: x and y in image pixels.
    """
    neck, top = points[:, NECK], points[:, HEAD_TOP]
    with np.errstate(invalid="ignore"):  # what is not finite is reported later
        return np.asarray(np.linalg.norm(top - neck, axis=1), np.float64)


def load_joints(
    root: Path, expected: str, shape: tuple[int | None, ...]
) -> NDArray[np.float64]:
    """Return the variable ``joints`` of ``root/joints.mat``.

    Args:
        root: The folder of the data set.
        expected: ``shape`` in words, for the error.
        shape: Length of each axis, None where any length will do.

    Raises:
        InputError: If the file is missing, is no MATLAB file, or has another shape.
    """
    path = root / "joints.mat"
    if not path.is_file():
        raise InputError(f"expected a label file {path}, but there is none")
    try:
        joints = scipy.io.loadmat(path)["joints"]
    except KeyError:
        raise InputError(
            f"{path} must have a variable 'joints', but has none"
        ) from None
    except Exception as error:  # scipy raises a dozen kinds for a damaged file
        raise InputError(f"{path} must be a MATLAB file: {error}") from None
    if (
        joints.dtype.kind not in "fiu"
        or joints.ndim != len(shape)
        or not joints.size
        or any(
            want not in (None, got)
            for want, got in zip(shape, joints.shape, strict=True)
        )
    ):
        raise InputError(
            f"{path}: joints must be numbers of shape {expected}. Received: "
            f"{joints.dtype} {joints.shape}"
        )
    return np.asarray(joints, np.float64)
