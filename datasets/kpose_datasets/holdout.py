"""The hold-out of a recording: frames whose joints a person corrects.

A network that learned from a teacher must not be scored by that teacher. These frames
are not trained on; Label Studio and CVAT open them with the teacher's joints to start,
and the export of either is read as a data set (``label_studio``, ``cvat``).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kpose.files import atomic_folder, write_text
from kpose.joints import BODY_13
from kpose.records import ImageRef, PersonRecord
from kpose_datasets import cvat, label_studio
from kpose_datasets.corrections import Suspect

FOLDER = "holdout"
"""In the folder of the recordings; it has a folder for each take."""

PICTURES = "images"

TASKS, TASKS_CONFIG = "tasks.json", "label_studio_config.xml"

ANNOTATIONS, ANNOTATIONS_CONFIG = "annotations.xml", "cvat_labels.json"

STEPS = "HOW_TO.txt"

TEXT = """\
{count} frames of {take}. No training sees them. Somebody corrects the joints that the
teacher ({teacher}) drew; then a score is against people, not against the teacher.

Label Studio
  1. Serve the folder {pictures}
     (LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true, and that folder as
     LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT and as source storage of local files).
  2. Settings > Labeling Interface > Code: {config}
  3. Import {tasks}, correct every frame, press Submit, export as JSON.
     Frames that were not submitted do not count.
  4. {label_studio}

CVAT
  1. A task with the labels of {cvat_config} (Raw tab) and the pictures in {pictures}
  2. Actions > Upload annotations > CVAT 1.1: {annotations}
  3. Correct every frame; export as "CVAT for images 1.1".
  4. {cvat}
  Do not evaluate on {annotations}
  itself: it has the teacher's joints.

Delete the joints of whoever cannot be seen. Left and right are the person's own.
"""


class HeldOut(NamedTuple):
    """One frame.

    Args:
        number: Of the frame in the video.
        jpeg: Its picture as the bytes of a JPEG file.
        size: Width and height in pixels.
        points: ``(13, 2)`` where the teacher sees the joints, image pixels; NaN where
            it says nothing.
        doubtful: Names of the joints that do not agree; the person looks there first.
    """

    number: int
    jpeg: bytes
    size: tuple[int, int]
    points: NDArray[np.float64]
    doubtful: Sequence[str]


def commands(folder: Path) -> tuple[str, str]:
    """Return what evaluates a model on an export of Label Studio, and of CVAT.

    Args:
        folder: What ``write`` wrote.
    """
    images = folder / PICTURES
    return (
        f"kpose eval MODEL --data 'label_studio:EXPORT.json?images={images}'",
        f"kpose eval MODEL --data 'cvat:EXPORT.xml?images={images}'",
    )


def write(folder: Path, frames: Sequence[HeldOut], take: str, teacher: str) -> None:
    """Write pictures, the files of both tools and how to use them.

    Args:
        folder: New; appears whole or not at all.
        frames: In order of time.
        take: Name of the take.
        teacher: Its name.
    """
    with atomic_folder(folder) as beside:
        pictures = beside / PICTURES
        pictures.mkdir()
        suspects = [_suspect(frame, pictures, take) for frame in frames]
        for frame, suspect in zip(frames, suspects, strict=True):
            suspect.record.image.path.write_bytes(frame.jpeg)
        label_studio.write(beside / TASKS, suspects, pictures)
        write_text(beside / TASKS_CONFIG, label_studio.config())
        cvat.write(beside / ANNOTATIONS, suspects, pictures)
        write_text(beside / ANNOTATIONS_CONFIG, cvat.config())
        first, second = commands(folder)
        text = TEXT.format(
            count=len(frames),
            take=take,
            teacher=teacher,
            pictures=folder / PICTURES,
            config=folder / TASKS_CONFIG,
            tasks=folder / TASKS,
            cvat_config=folder / ANNOTATIONS_CONFIG,
            annotations=folder / ANNOTATIONS,
            label_studio=first,
            cvat=second,
        )
        write_text(beside / STEPS, text)


def _suspect(frame: HeldOut, pictures: Path, take: str) -> Suspect:
    """Return what the writers of the tools take."""
    joints = np.zeros((len(BODY_13), 3), np.float32)
    known = np.isfinite(frame.points).all(axis=1)
    joints[known, :2], joints[known, 2] = frame.points[known], 1
    record = PersonRecord(
        id=f"{frame.number:06}",
        image=ImageRef(pictures / f"{frame.number:06}.jpg"),
        joints=joints,
        visible=np.full(len(BODY_13), -1, np.int8),
        source=f"{FOLDER}/{take}",
        group=take,
        split="test",
    )
    reason = "check every joint"
    if not known.any():
        reason = "the teacher sees nobody: draw the joints, if somebody is there"
    elif frame.doubtful:
        reason += f", above all {', '.join(frame.doubtful)}"
    share = len(frame.doubtful) / len(BODY_13)
    return Suspect(record, *frame.size, reason=reason.replace("_", " "), score=share)
