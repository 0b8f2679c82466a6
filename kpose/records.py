"""``PersonRecord``: what every reader yields, and nothing dataset-specific after it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kpose.errors import InputError
from kpose.geometry import Box, person_box

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class ImageRef:
    """Where the pixels of a person are.

    Args:
        path: A picture, or a video where ``frame`` is given.
        frame: Index of the frame in a video, 0-based; None for a picture.
        mirrored: True where the stored pixels are a mirror image (Kinect). The decoder
            flips them; joints and boxes of the record are of the flipped picture.
    """

    path: Path
    frame: int | None = None
    mirrored: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class PersonRecord:
    """One labelled person.

    Args:
        id: Unique in its source, stable over runs, e.g. ``"im0001"``.
        image: The picture the person is in.
        joints: ``(joints, 3)`` float32: x and y in image pixels (pixel centres at
            integers), 1 where annotated; an unannotated joint is 0, 0, 0.
        visible: ``(joints,)`` int8: 1 visible, 0 occluded, -1 unknown.
        source: Name of the data set, e.g. ``"lsp"``.
        group: Persons of one group never go to different splits: the source image,
            the subject or the recording.
        split: The set's official split: ``"train"``, ``"val"`` or ``"test"``.
        head_rule: How the head joint came about: ``"mid"`` (of neck
            and head top), ``"point"`` (labelled as such) or ``"face"``.
        box: The set's own person box, or None.
        head_size: Length that PCKh compares with, image pixels, as the set defines it
            (MPII: 0.6 x the diagonal of the head box); 0 where it is not known.
        area: Of the person's segment, square image pixels, for OKS; 0 where it is not
            known.
        recording: Which video or take the picture is a frame of; "" for a photograph.
        subject: Who the person is; "" where it is not known.
        clothing: What the person wears; "" where it is not known.

    Raises:
        InputError: If an array has the wrong shape, or the split is unknown. Wrong
            *values* (NaN, no joint at all) are left to ``defect``.
    """

    id: str
    image: ImageRef
    joints: NDArray[np.float32]
    visible: NDArray[np.int8]
    source: str
    group: str
    split: str
    head_rule: str = "mid"
    box: Box | None = None
    head_size: float = 0.0
    area: float = 0.0
    recording: str = ""
    subject: str = ""
    clothing: str = ""

    def __post_init__(self) -> None:
        """Refuse arrays of the wrong shape."""
        if self.joints.ndim != 2 or self.joints.shape[1] != 3:
            raise InputError(
                "joints must have shape (joints, 3). Received: "
                f"{self.joints.shape} for {self.source} {self.id}"
            )
        if self.visible.shape != self.joints.shape[:1]:
            raise InputError(
                f"visible must have shape {self.joints.shape[:1]}. Received: "
                f"{self.visible.shape} for {self.source} {self.id}"
            )
        if self.split not in SPLITS:
            raise InputError(
                f"split must be one of {', '.join(SPLITS)}. Received: "
                f"{self.split!r} for {self.source} {self.id}"
            )

    def defect(self) -> str | None:
        """Return why the labels cannot be used, None where they can.

        ``"name_not_text"``: an id or another name has half a character or a NUL, so
        that no file can hold it.
        ``"non_finite_joint"``: an annotated joint or the box has a NaN or an infinity.
        ``"no_joints"``: nothing is annotated. ``"box_without_area"``: the box given, or
        the box of the joints, has no area or is under 2 pixels
        (docs/paper-readings.md, reading 3).
        """
        names = (self.id, self.source, self.group, self.image.path.name)
        more = (self.recording, self.subject, self.clothing)
        if not all(map(_is_text, (*names, *more))):
            return "name_not_text"
        joints = self.joints[self.joints[:, 2] > 0]
        if not np.isfinite(joints).all() or not np.isfinite(self.joints[:, 2]).all():
            return "non_finite_joint"
        if not len(joints):
            return "no_joints"
        if self.box is not None:
            extent = (self.box.width, self.box.height)
            if not np.isfinite((*self.box, *extent)).all():
                return "non_finite_joint"
        for box in (self.box, person_box(joints)):
            if box is not None and (box.area <= 0 or max(box.width, box.height) < 2):
                return "box_without_area"
        return None


def _is_text(name: str) -> bool:
    """Return whether UTF-8 can hold a name and numpy keeps it: JSON allows more."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in name


REMOVED = "removed_by_correction"
"""Why a label is skipped that a person removed on purpose: no mistake of the set."""


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A label of a good set that is no person: it is skipped and counted.

    Readers yield it in the place of the person. A file that cannot be read at all is an
    ``InputError`` instead.

    Args:
        id: As that of a ``PersonRecord``.
        source: Name of the data set.
        reason: A few words in snake case, the same for every label of that kind, e.g.
            ``"wrong_number_of_keypoints"``.
        detail: One line: which file and record, what was expected, what came.
    """

    id: str
    source: str
    reason: str
    detail: str
