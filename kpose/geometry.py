"""Boxes and square crops: the one definition of every coordinate in kpose.

Two spaces only. *Image*: float pixels, x right, y down, joints with pixel centres at
integers (as OpenCV and COCO), boxes with continuous edges where pixel i covers
[i, i + 1). *Crop*: 0 to 1 from edge to edge of a square, so that a mirror is exactly
``1 - u``. A joint at x therefore lies at x + 0.5 between box edges.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kpose.errors import InputError

GROUND_TRUTH_EXPANSION = 1.2
"""Growth of the tightest joint box (paper section 3.2)."""


class Box(NamedTuple):
    """Left, top, right and bottom edges in image pixels; may leave the image."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        """Horizontal extent in image pixels."""
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        """Vertical extent in image pixels."""
        return self.y1 - self.y0

    @property
    def area(self) -> float:
        """Area in square pixels, 0 where an extent is not positive."""
        return max(self.width, 0.0) * max(self.height, 0.0)

    @property
    def center(self) -> tuple[float, float]:
        """Centre (x, y) between the edges."""
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    def expanded(self, factor: float) -> "Box":
        """Return the box with width and height times ``factor``, same centre."""
        (x, y), w, h = self.center, self.width * factor / 2, self.height * factor / 2
        return Box(x - w, y - h, x + w, y + h)

    def mirrored(self, width: float) -> "Box":
        """Return the box in the mirror image of a picture ``width`` pixels wide."""
        return Box(width - self.x1, self.y0, width - self.x0, self.y1)

    def clipped(self, width: float, height: float) -> "Box":
        """Return the part inside a picture; its area is 0 where there is none."""
        return Box(
            max(self.x0, 0.0),
            max(self.y0, 0.0),
            min(self.x1, width),
            min(self.y1, height),
        )

    def iou(self, other: "Box") -> float:
        """Return intersection over union with ``other``, 0 to 1."""
        overlap = Box(
            max(self.x0, other.x0),
            max(self.y0, other.y0),
            min(self.x1, other.x1),
            min(self.y1, other.y1),
        ).area
        union = self.area + other.area - overlap
        return overlap / union if union > 0 else 0.0


class SquareCrop(NamedTuple):
    """A square of the image, the area that a network sees; may leave the image.

    ``x0`` and ``y0`` are its left and top edge and ``side`` its length, image pixels.
    """

    x0: float
    y0: float
    side: float

    @classmethod
    def around(cls, box: Box) -> "SquareCrop":
        """Grow the shortest side of ``box`` to the longest, same centre (section 3.2).

        Raises:
            InputError: If the box is not finite or its longest side is under 2 pixels
                (docs/paper-readings.md, reading 3).
        """
        side = max(box.width, box.height)
        finite = all(math.isfinite(edge) for edge in box)
        if not finite or side < 2 or min(box.width, box.height) <= 0:
            raise InputError(
                "a box must have finite edges x0 < x1, y0 < y1 and a side of at least "
                f"2 pixels. Received: {tuple(float(edge) for edge in box)}"
            )
        x, y = box.center
        return cls(x - side / 2, y - side / 2, side)

    @property
    def box(self) -> Box:
        """The square as a box."""
        return Box(self.x0, self.y0, self.x0 + self.side, self.y0 + self.side)

    def expanded(self, factor: float) -> "SquareCrop":
        """Return the square with its side times ``factor``, same centre."""
        grow = self.side * (factor - 1) / 2
        return SquareCrop(self.x0 - grow, self.y0 - grow, self.side * factor)

    def mirrored(self, width: float) -> "SquareCrop":
        """Return the square in the mirror image of a picture ``width`` pixels wide."""
        return SquareCrop(width - self.x0 - self.side, self.y0, self.side)

    def image_to_crop(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map ``(..., 2)`` joints from image pixels to crop units, unclipped."""
        origin = np.array([self.x0, self.y0], np.float64)
        return (np.asarray(points, np.float64) + 0.5 - origin) / self.side

    def crop_to_image(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map ``(..., 2)`` joints from crop units to image pixels."""
        origin = np.array([self.x0, self.y0], np.float64)
        return np.asarray(points, np.float64) * self.side + origin - 0.5

    def joints_to_crop(self, joints: NDArray[np.floating]) -> NDArray[np.float32]:
        """Map ``(..., 3)`` joints (x, y, annotated); unannotated ones stay 0, 0, 0."""
        joints = np.asarray(joints)
        annotated = joints[..., 2:] > 0
        mapped = np.zeros(joints.shape, np.float32)
        mapped[..., :2] = np.where(annotated, self.image_to_crop(joints[..., :2]), 0)
        mapped[..., 2:] = annotated
        return mapped


def joint_box(joints: NDArray[np.floating]) -> Box | None:
    """Return the tightest box of the annotated joints, None where there is none.

    Args:
        joints: ``(joints, 3)``: x and y in image pixels, 1 where annotated.
    """
    joints = np.asarray(joints)
    points = joints[joints[:, 2] > 0, :2]
    if not len(points):
        return None
    (x0, y0), (x1, y1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return Box(x0 + 0.5, y0 + 0.5, x1 + 0.5, y1 + 0.5)


def person_box(joints: NDArray[np.floating]) -> Box | None:
    """Return the ground-truth person box: the tightest joint box x 1.2 (section 3.2).

    Args:
        joints: ``(joints, 3)``: x and y in image pixels, 1 where annotated.
    """
    tight = joint_box(joints)
    return tight.expanded(GROUND_TRUTH_EXPANSION) if tight else None


def mirror_joints(
    joints: NDArray[np.floating], width: float, swap: tuple[int, ...]
) -> NDArray[np.float32]:
    """Return ``(joints, 3)`` joints of a mirrored image: x' = width - 1 - x.

    Right and left change places (``swap``), so the names stay the person's own.
    Unannotated joints stay 0, 0, 0.
    """
    mirrored = np.asarray(joints, np.float32)[list(swap)].copy()
    mirrored[:, 0] = width - 1 - mirrored[:, 0]
    return np.asarray(np.where(mirrored[:, 2:] > 0, mirrored, 0), np.float32)
