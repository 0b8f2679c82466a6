"""BBC Pose: 20 videos of sign language interpreters, 7 joints of the upper body.

Format and traps: datasets/cards/bbc_pose.md.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray

from kpose.errors import InputError
from kpose.joints import BODY_13
from kpose.records import BadRecord, ImageRef, PersonRecord
from kpose_datasets.joint_map import JointMap

SKELETON = BODY_13

LICENCE = (
    "BBC Pose: frames are the BBC's, for research only; cite Charles, Pfister, Magee, "
    "Hogg and Zisserman, BMVC 2013"
)

POINTS = 7

ROWS = {
    "head": [0],
    "right_wrist": [1],
    "left_wrist": [2],
    "right_elbow": [3],
    "left_elbow": [4],
    "right_shoulder": [5],
    "left_shoulder": [6],
}
"""Which of the file's 7 points a joint is."""

JOINT_MAP = JointMap(ROWS, head_rule="point")

VIDEOS = 20
"""What comes after these in the file belongs to Extended BBC Pose."""

LAST_TRAIN, LAST_VAL = 10, 15

AUTOMATIC = (("train_frames", "frames"), 3), (("train_joints", "locs"), 4)
"""Names of the fields of frame numbers and joints, and their place, from 0."""

MANUAL = (("test_frames",), None), (("test_joints",), None)
"""Those of the labels made by hand; read by name only."""

RESULTS = (("gt",), 0), (("frames",), 1), (("videos",), 2)
"""Those of ``results.mat``: joints, frame numbers and video numbers."""

Fields = tuple[tuple[tuple[str, ...], int | None], ...]


def read(path: Path, images: Path | None = None) -> Iterator[PersonRecord | BadRecord]:
    """Yield every labelled frame; of validation and test those labelled by hand.

    Args:
        path: The folder that has ``code/bbcpose.mat``, or ``bbcpose.mat`` itself.
        images: The folder that has ``1/25.jpg``; None for ``path``.

    Raises:
        InputError: If ``bbcpose.mat`` is missing or is not BBC Pose's, or
            ``results.mat`` beside it is not.
    """
    file = path / "code" / "bbcpose.mat"
    file = file if file.is_file() else path / "bbcpose.mat"
    if not file.is_file():
        raise InputError(
            f"expected a label file {path / 'code' / 'bbcpose.mat'}, but there is none"
        )
    folder = path if images is None else images
    results = file.with_name("results.mat")
    truth = _results(results) if results.is_file() else {}
    videos = _structs(file, "bbcpose")[:VIDEOS]
    for number, video in enumerate(videos, start=1):
        manual = _fields(video, MANUAL) if number > LAST_TRAIN else None
        automatic = _fields(video, AUTOMATIC)
        if manual is not None and manual[1].size:
            yield from _records(number, manual, folder, file)
        elif number > LAST_TRAIN and number in truth:
            yield from _records(number, truth[number], folder, results)
        elif automatic is not None:
            yield from _records(number, automatic, folder, file)
        else:
            raise InputError(
                f"{file}: video {number} must have fields with frame numbers and "
                f"joints. Received: {', '.join(video.dtype.names)}"
            )
    for number in sorted(set(truth) - set(range(1, len(videos) + 1))):
        yield BadRecord(
            f"{number}",
            "bbc_pose",
            "unknown_video",
            f"{results}: a frame must be of video 1 to {len(videos)}. "
            f"Received: {number}",
        )


def _records(
    video: int,
    labels: list[NDArray[np.float64]],
    folder: Path,
    file: Path,
) -> Iterator[PersonRecord | BadRecord]:
    """Yield the person of each frame.

    Args:
        video: Its number, from 1.
        labels: Numbers of the frames, in any shape, and ``(2, 7, frames)`` joints in
            pixels from 1, of one frame maybe without the last axis.
        folder: The folder of the pictures.
        file: The label file, for errors.
    """
    name, (frames, points) = f"{video}", labels
    points = points[..., None] if points.ndim == 2 else points
    if points.shape != (2, POINTS, frames.size):
        if points.size or frames.size:
            yield BadRecord(
                name,
                "bbc_pose",
                "count_mismatch",
                f"{file}: video {video} must have joints of shape (2, {POINTS}, "
                f"frames) for {frames.size} frames. Received: {points.shape}",
            )
        return
    given = points.transpose(2, 1, 0)
    # Pixels count from 1, so that (0, 0) is no place; NaN is left to the caller.
    joints = JOINT_MAP.joints(given - 1, (given != 0).any(axis=2))
    for row, frame in enumerate(frames.ravel().tolist()):
        if not float(frame).is_integer():
            yield BadRecord(
                f"{name}/{frame}",
                "bbc_pose",
                "wrong_frame_number",
                f"{file}: frame {row} of video {video} must have a whole number. "
                f"Received: {frame}",
            )
            continue
        yield PersonRecord(
            id=f"{name}/{int(frame)}",
            image=ImageRef(folder / name / f"{int(frame)}.jpg"),
            joints=joints[row],
            visible=np.full(len(SKELETON), -1, np.int8),
            source="bbc_pose",
            group=name,
            split=_split(video),
            head_rule="point",
            recording=name,
        )


def _split(video: int) -> str:
    """Return the official split of a video."""
    if video <= LAST_TRAIN:
        return "train"
    return "val" if video <= LAST_VAL else "test"


def _structs(path: Path, name: str) -> list[Any]:
    """Return the elements of a struct array.

    Raises:
        InputError: If the file is no MATLAB file or has no such struct.
    """
    try:
        content = scipy.io.loadmat(path)
    except Exception as error:  # scipy raises a dozen kinds for a damaged file
        raise InputError(f"{path} must be a MATLAB file: {error!r:.200}") from None
    if name not in content:
        raise InputError(f"{path} must have a variable {name!r}, but has none")
    array = content[name]
    if not array.dtype.names or not array.size:
        raise InputError(
            f"{path}: {name} must be an array of structs. Received: {array.dtype} "
            f"{array.shape}"
        )
    return list(array.ravel())


def _fields(struct: Any, wanted: Fields) -> list[NDArray[np.float64]] | None:
    """Return fields by name, or by place where none has the name.

    None where one is missing or is not made of numbers.
    """
    names = struct.dtype.names
    found = []
    for group, place in wanted:
        name = next((one for one in group if one in names), None)
        if name is None and place is not None and place < len(names):
            name = names[place]
        value = None if name is None else np.asarray(struct[name])
        if value is None or value.dtype.kind not in "fiu":
            return None
        found.append(value.astype(np.float64))
    return found


def _results(path: Path) -> dict[int, list[NDArray[np.float64]]]:
    """Return frame numbers and joints by video.

    Raises:
        InputError: If the file is not BBC Pose's, or its fields differ in length.
    """
    fields = _fields(_structs(path, "results")[0], RESULTS)
    if fields is None:
        raise InputError(
            f"{path}: results must have joints, frame numbers and video numbers"
        )
    points, frames, videos = fields
    points = points[..., None] if points.ndim == 2 else points
    frames, videos = frames.ravel(), videos.ravel()
    if not points.shape[-1] == len(frames) == len(videos):
        raise InputError(
            f"{path}: results must have as many frame numbers and video numbers as "
            f"joints. Received: {len(frames)}, {len(videos)}, {points.shape[-1]}"
        )
    return {
        int(number): [frames[videos == number], points[..., videos == number]]
        for number in np.unique(videos[np.isfinite(videos)])
    }
