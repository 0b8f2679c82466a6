"""Non-maximum suppression: one box per person where a network gives many."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

OVERLAP = 0.5
"""Boxes that overlap a better one by more are left out (intersection over union)."""


def nms(
    boxes: NDArray[Any], scores: NDArray[Any], overlap: float = OVERLAP
) -> NDArray[np.intp]:
    """Return the indices of the boxes that stay, best first (greedy).

    Args:
        boxes: ``(N, 4)``: x0, y0, x1, y1.
        scores: ``(N,)``; of equal ones the first wins.
        overlap: Intersection over union above which the worse box goes.
    """
    order = np.argsort(-scores, kind="stable")
    areas = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[order, :2])
        high = np.minimum(boxes[best, 2:], boxes[order, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        # As a product, so that boxes without an area need no division by zero.
        order = order[shared <= overlap * (areas[best] + areas[order] - shared)]
    return np.array(kept, np.intp)
