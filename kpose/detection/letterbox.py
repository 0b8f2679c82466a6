"""Fit a picture into a network's input without changing its proportions."""

import cv2
import numpy as np
from numpy.typing import NDArray

from kpose.images import Image

GREY = 114
"""What the rest of the input is filled with (YOLOX and MMDetection)."""


def letterbox(
    image: Image, width: int, height: int
) -> tuple[Image, NDArray[np.float64]]:
    """Return the picture in the top left corner of a grey canvas, and its scale.

    It is as large as fits, bilinear, and at least a pixel wide and high.

    Args:
        image: ``(h, w, 3)`` uint8.
        width: Of the canvas, pixels.
        height: Of the canvas, pixels.

    Returns:
        ``(height, width, 3)`` uint8, and ``(4,)``: image pixels per canvas pixel for
        x0, y0, x1, y1. The two directions differ where sizes were rounded.
    """
    h, w = image.shape[:2]
    scale = min(width / w, height / h)
    small = (max(round(w * scale), 1), max(round(h * scale), 1))
    canvas = np.full((height, width, 3), GREY, np.uint8)
    canvas[: small[1], : small[0]] = cv2.resize(
        image, small, interpolation=cv2.INTER_LINEAR
    )
    x, y = w / small[0], h / small[1]
    return canvas, np.array([x, y, x, y], np.float64)
