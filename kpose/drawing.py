"""Skeletons on pictures, and contact sheets. RGB uint8 in, RGB uint8 out.

The person's right side is orange, the left side blue and the middle green, so that
swapped sides show at a glance.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from kpose.errors import InputError
from kpose.geometry import Box
from kpose.images import Image
from kpose.joints import Skeleton

COLORS = {"right": (255, 140, 0), "left": (30, 144, 255), "middle": (50, 205, 50)}
"""RGB by side of the person."""

GAP = 4
"""White pixels between the pictures of a contact sheet."""

SUBPIXEL_BITS = 4
"""Fraction bits of OpenCV's fixed-point coordinates."""

FONT = cv2.FONT_HERSHEY_SIMPLEX
"""Of labels."""

DASH = 5
"""Length of a dash, and of the gap after it, in line widths."""

Color = tuple[int, int, int]
"""RGB, 0 to 255."""


def draw_skeleton(
    image: Image,
    joints: NDArray[np.floating],
    skeleton: Skeleton,
    color: Color | None = None,
) -> Image:
    """Return a copy of ``image`` with limbs and joints drawn.

    A joint is left out where x or y is not finite or its third value is 0 (not
    annotated); a NaN there (a network without confidence) is drawn. Line width follows
    the size of the person.

    Args:
        image: ``(height, width, 3)`` RGB uint8.
        joints: ``(joints, 3)``: x and y in image pixels, then the annotated flag or the
            confidence.
        skeleton: Names, sides and limbs of the joints.
        color: One colour for all instead of one by side.

    Returns:
        ``(height, width, 3)`` RGB uint8.

    Raises:
        InputError: If the joints are not those of the skeleton.
    """
    joints = np.asarray(joints, np.float64)
    if joints.shape != (len(skeleton), 3):
        raise InputError(
            f"joints must have shape ({len(skeleton)}, 3). Received: {joints.shape}"
        )
    drawn = np.array(image, np.uint8, order="C")
    shown = np.isfinite(joints[:, :2]).all(axis=1) & (joints[:, 2] != 0)
    if not shown.any():
        return drawn
    # Far outside the picture OpenCV's fixed-point coordinates would overflow.
    limit = 8.0 * max(image.shape[:2])
    points = np.clip(np.nan_to_num(joints[:, :2]), -limit, limit)
    width = max(1, round(np.ptp(points[shown], axis=0).max() / 90))
    fixed = np.rint(points * 2**SUBPIXEL_BITS).astype(int).tolist()
    for a, b in skeleton.limb_indices:
        if shown[a] and shown[b]:
            line = color or COLORS[_limb_side(skeleton.sides[a], skeleton.sides[b])]
            cv2.line(drawn, fixed[a], fixed[b], line, width, cv2.LINE_AA, SUBPIXEL_BITS)
    for index in np.flatnonzero(shown):
        radius = (width + 1) << SUBPIXEL_BITS
        dot = color or COLORS[skeleton.sides[index]]
        cv2.circle(drawn, fixed[index], radius, dot, -1, cv2.LINE_AA, SUBPIXEL_BITS)
    return drawn


def draw_box(
    image: Image,
    box: Box,
    color: Color = (255, 255, 255),
    width: int = 1,
    dashed: bool = False,
) -> Image:
    """Return a copy of ``image`` with the edges of ``box`` as a frame.

    Args:
        image: ``(height, width, 3)`` RGB uint8.
        box: Edges in image pixels; what lies outside the picture is not drawn.
        color: Of the frame.
        width: Of its lines in pixels.
        dashed: Whether the lines have gaps.
    """
    drawn = np.array(image, np.uint8, order="C")
    limit = 8.0 * max(image.shape[:2])
    # Edge x lies at x - 0.5 where pixel centres are at integers.
    x0, y0, x1, y1 = np.rint(np.clip(box, -limit, limit) - 0.5).astype(int).tolist()
    if not dashed:
        cv2.rectangle(drawn, (x0, y0), (x1, y1), color, width)
        return drawn
    dash = DASH * width
    for x in range(x0, x1 + 1, 2 * dash):
        end = min(x + dash - 1, x1)
        for y in (y0, y1):
            cv2.line(drawn, (x, y), (end, y), color, width)
    for y in range(y0, y1 + 1, 2 * dash):
        end = min(y + dash - 1, y1)
        for x in (x0, x1):
            cv2.line(drawn, (x, y), (x, end), color, width)
    return drawn


def draw_label(image: Image, box: Box, text: str) -> Image:
    """Return a copy of ``image`` with white text on black above the corner of ``box``.

    It is moved into the picture where it would leave it.

    Args:
        image: ``(height, width, 3)`` RGB uint8.
        box: Its top left corner counts, in image pixels.
        text: ASCII; empty draws nothing.
    """
    drawn = np.array(image, np.uint8, order="C")
    if not text:
        return drawn
    height, width = image.shape[:2]
    scale = max(0.4, height / 1500)
    thickness = max(1, round(scale * 1.5))
    (w, h), below = cv2.getTextSize(text, FONT, scale, thickness)
    # Left and bottom edge of the ground, on whole pixels.
    x = int(np.clip(box.x0, 0, max(width - w, 0)))
    y = int(np.clip(box.y0, min(h + below, height), height))
    drawn[max(y - h - below, 0) : y, x : x + w] = 0
    white = (255, 255, 255)
    at = (x, y - below)
    cv2.putText(drawn, text, at, FONT, scale, white, thickness, cv2.LINE_AA)
    return drawn


def contact_sheet(images: Sequence[Image], columns: int) -> Image:
    """Return the pictures side by side, row by row, with white gaps.

    Args:
        images: At least one ``(height, width, 3)`` RGB uint8 picture; smaller ones are
            put at the top left of their cell.
        columns: Pictures per row; fewer pictures than that make one short row.

    Returns:
        RGB uint8.

    Raises:
        InputError: If there is no picture or no column.
    """
    if not len(images) or columns < 1:
        raise InputError(
            "a contact sheet needs at least one picture and one column. "
            f"Received: {len(images)} pictures, {columns} columns"
        )
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    height = max(image.shape[0] for image in images)
    width = max(image.shape[1] for image in images)
    sheet = np.full(
        (rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 255, np.uint8
    )
    for index, image in enumerate(images):
        y = index // columns * (height + GAP)
        x = index % columns * (width + GAP)
        sheet[y : y + image.shape[0], x : x + image.shape[1]] = image
    return sheet


def _limb_side(a: str, b: str) -> str:
    """Return the side of a limb: that of its ends, middle where they disagree."""
    sides = {a, b} - {"middle"}
    return sides.pop() if len(sides) == 1 else "middle"
