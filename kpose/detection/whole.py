"""No detector: the whole picture is one person's box."""

from kpose.detection import Detection, croppable
from kpose.geometry import Box
from kpose.images import Image


class Whole:
    """Answers with the whole picture, without a score.

    A picture under 2 pixels on its longest side has nobody.
    """

    name = "whole"
    identity = "whole 1"
    threshold = 0.0
    given = True

    def detect(
        self, image: Image, picture: str = "", frame: int = 0
    ) -> list[Detection]:
        """Return one box; see ``Detector.detect``."""
        height, width = image.shape[:2]
        box = Box(0.0, 0.0, float(width), float(height))
        return [Detection(box, None)] if croppable(box) else []
