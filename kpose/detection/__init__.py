"""Person detectors behind one small protocol; one file per contract."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from kpose.geometry import Box
from kpose.images import Image

FLOOR = 0.05
"""Detections below this score are never returned."""


class Detection(NamedTuple):
    """One person: the box in image pixels, and the detector's score, 0 to 1.

    The box has continuous edges and may leave the picture. The score is None where
    there is none: a whole picture, a box that the user gave.
    """

    box: Box
    score: float | None


class Detector(Protocol):
    """Finds the people in a picture.

    Attributes:
        name: As the user gave it, for example ``"tflite:detect.tflite"``.
        identity: What decides its answers, file content included.
        threshold: The score from which a detection of this contract is usable.
    """

    name: str
    identity: str
    threshold: float

    def detect(
        self, image: Image, picture: str = "", frame: int = 0
    ) -> list[Detection]:
        """Return all persons that score ``FLOOR`` or more, best first.

        Args:
            image: ``(height, width, 3)`` RGB uint8.
            picture: Name of the file, for detections that were made elsewhere.
            frame: 0-based index of the frame in it, 0 for a picture.
        """


def confident(found: Sequence[Detection], score: float) -> list[Detection]:
    """Return the detections that score at least ``score``, or have no score."""
    return [one for one in found if one.score is None or one.score >= score]
