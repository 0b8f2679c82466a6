"""Which person box a training crop is cut around: Table 1 of the paper.

Where the detector sees the person well, its box gives the crop, as it will when the
network is used; where it sees the person badly or not at all, the ground truth does; in
between both do (section 3.2).
"""

from collections.abc import Sequence

from kpose.geometry import Box

DETECTOR, GROUND_TRUTH = "detector", "ground_truth"
"""What a crop was cut around."""

LOW, HIGH = 0.5, 0.7
"""From this overlap on the detector's box is used, up to that one the ground truth.

Table 1 prints "0.5 >= IoU <= 0.7" for both boxes, read as 0.5 <= IoU <= 0.7
(docs/paper-readings.md, reading 1).
"""


def best_detection(reference: Box, found: Sequence[Box]) -> tuple[Box | None, float]:
    """Return the box with the largest IoU, the first of equals, and that IoU.

    Args:
        reference: The person's joint box x 1.2, not clipped to the picture.
        found: All boxes of the detector in the picture.

    Returns:
        None and 0 where nothing was found.
    """
    if not found:
        return None, 0.0
    best = max(found, key=reference.iou)
    return best, reference.iou(best)


def crop_boxes(iou: float) -> tuple[str, ...]:
    """Return Table 1's boxes for the IoU of the best detection, the detector's first.

    ``iou > 0.7``: the detector's alone; ``iou < 0.5``: the ground truth alone; between,
    both ends included: both.
    """
    detector = (DETECTOR,) if iou >= LOW else ()
    return detector + ((GROUND_TRUTH,) if iou <= HIGH else ())
