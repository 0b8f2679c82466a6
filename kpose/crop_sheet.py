"""How the crops of a person were chosen, drawn like the paper's Figure 2."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from kpose import drawing, images
from kpose.crop_policy import best_detection
from kpose.geometry import Box, person_box
from kpose.images import Image
from kpose.joints import Skeleton
from kpose.records import PersonRecord
from kpose.screening import Placed

GREEN, BLUE, RED = (0, 220, 0), (70, 130, 255), (255, 40, 40)

HEIGHT, WIDTH = 288, 432
"""Pixels that a picture is fitted into; crops are squares of this height."""

CAPTION, MARGIN = 18, 24
"""Height of the line of text above a picture; white pixels after the last crop."""


class View(NamedTuple):
    """A part of the image plane, enlarged: (x0, y0) is its left and top edge."""

    x0: float
    y0: float
    scale: float

    def box(self, box: Box) -> Box:
        """Map a box from image pixels to pixels of the view."""
        x0, y0, x1, y1 = ((np.reshape(box, (2, 2)) - self[:2]) * self.scale).ravel()
        return Box(float(x0), float(y0), float(x1), float(y1))

    def joints(self, joints: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map ``(joints, 3)`` joints from image pixels to pixels of the view."""
        moved = np.array(joints, np.float64)
        moved[:, :2] = (moved[:, :2] + 0.5 - self[:2]) * self.scale - 0.5
        return moved


def tile(
    image: Image,
    record: PersonRecord,
    found: Sequence[Box],
    crops: Sequence[Placed],
    skeleton: Skeleton,
) -> Image:
    """Return the picture with all boxes, and the crops beside it.

    In the picture the ground truth and its box x 1.2 are green, the detected boxes blue
    with the IoU of the best one at its top left corner, and the crops red and dashed.
    Black beyond the edge of the picture is the zero padding of the crops.

    Args:
        image: ``(height, width, 3)`` RGB uint8.
        record: The person.
        found: All boxes of the detector in the picture.
        crops: The one or two crops of the person.
        skeleton: The person's joints.

    Returns:
        RGB uint8, of one size for all persons.
    """
    reference = person_box(record.joints)
    assert reference is not None
    best, iou = best_detection(reference, found)
    view, drawn = show(image, [crop.square.box for crop in crops])
    for box in found:
        drawn = drawing.draw_box(drawn, view.box(box), BLUE)
    drawn = drawing.draw_box(drawn, view.box(reference), GREEN, width=2)
    drawn = drawing.draw_skeleton(drawn, view.joints(record.joints), skeleton, GREEN)
    for crop in crops:
        square = view.box(crop.square.box)
        drawn = drawing.draw_box(drawn, square, RED, width=2, dashed=True)
    if best is not None:
        drawn = drawing.draw_box(drawn, view.box(best), BLUE, width=2)
        drawn = drawing.draw_label(drawn, view.box(best), f"{iou:.2f}")
    width = WIDTH + 2 * (drawing.GAP + HEIGHT) + MARGIN
    whole = np.full((CAPTION + HEIGHT, width, 3), 255, np.uint8)
    whole[CAPTION : CAPTION + len(drawn), : drawn.shape[1]] = drawn
    what = f"IoU {iou:.2f}" if found else "nobody found"
    whole = _caption(whole, 0, f"{record.source} {record.id}: {what}")
    for number, crop in enumerate(crops):
        left = WIDTH + drawing.GAP + number * (HEIGHT + drawing.GAP)
        pixels = images.crop(image, crop.square, HEIGHT)
        whole[CAPTION:, left : left + HEIGHT] = pixels
        whole = _caption(whole, left, crop.box.replace("_", " "))
    return whole


def show(image: Image, squares: Sequence[Box]) -> tuple[View, Image]:
    """Return the picture and what the squares reach beyond it, black, and its view.

    It is as large as ``WIDTH`` x ``HEIGHT`` allows; beyond the picture at most half the
    picture is shown.
    """
    height, width = image.shape[:2]
    picture = Box(0, 0, width, height)
    limit = picture.expanded(2)
    corners = np.array([picture, *squares])
    x0, y0 = np.maximum(corners[:, :2].min(axis=0), limit[:2]).tolist()
    x1, y1 = np.minimum(corners[:, 2:].max(axis=0), limit[2:]).tolist()
    view = View(x0, y0, min(WIDTH / (x1 - x0), HEIGHT / (y1 - y0)))
    right, bottom = view.box(Box(x0, y0, x1, y1))[2:]
    left, top = (round(edge) for edge in view.box(picture)[:2])
    fit = max(round(width * view.scale), 1), max(round(height * view.scale), 1)
    small = cv2.resize(image, fit, interpolation=cv2.INTER_AREA)
    drawn = np.zeros((max(round(bottom), 1), max(round(right), 1), 3), np.uint8)
    part = drawn[top : top + fit[1], left : left + fit[0]]
    part[:] = small[: part.shape[0], : part.shape[1]]
    return view, drawn


def _caption(whole: Image, left: int, text: str) -> Image:
    """Write ``text`` into the line above what starts at column ``left``."""
    at = Box(left, CAPTION, left, CAPTION)
    return drawing.draw_label(whole, at, text)
