"""Person detectors behind one small protocol; one file per contract.

A detector is named ``contract:PATH``: ``tflite:detect.tflite``. Importing this loads no
TensorFlow, LiteRT or onnxruntime; ``open`` does.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from kpose.artefacts import read_card
from kpose.errors import InputError
from kpose.geometry import Box, SquareCrop
from kpose.images import Image

FLOOR = 0.05
"""Detections below this score are never returned."""

CONTRACTS = "tflite:PATH, rtmdet:PATH, yolox:PATH or whole"
"""What ``open`` takes, for messages."""


class Detection(NamedTuple):
    """One person: the box in image pixels, and the detector's score, 0 to 1.

    The box has continuous edges and may leave the picture: nothing is clipped. The
    score is None where there is none: a whole picture, a box that the user gave.
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


def open(name: str, threads: int | None = None) -> Detector:
    """Return the detector that ``name`` means.

    Args:
        name: ``"contract:PATH"``, or ``"whole"``.
        threads: The most threads that one picture may use, None for all cores.

    Raises:
        InputError: If there is no such contract or file, or the file is not of that
            contract (a pose model, for example).
    """
    contract, _, text = name.partition(":")
    path = Path(text)
    if name == "whole":
        from kpose.detection.whole import Whole

        return Whole()
    if contract not in ("tflite", "rtmdet", "yolox") or not text:
        raise InputError(f"a detector must be {CONTRACTS}. Received: {name}")
    if not path.exists():
        raise InputError(
            f"expected the file of a detector at {path}, but there is none"
        )
    if _is_pose_model(path):
        raise InputError(
            f"expected a person detector in {path}, but it is a pose model of kpose"
        )
    if contract == "rtmdet":
        from kpose.detection.rtmdet import RTMDet

        return RTMDet(name, path, threads)
    if contract == "yolox":
        from kpose.detection.yolox import YOLOX

        return YOLOX(name, path, threads)
    from kpose.detection.tflite import TFLite

    return TFLite(name, path, threads)


def _is_pose_model(path: Path) -> bool:
    try:
        read_card(path)
    except InputError:
        return False
    return True


def confident(found: Sequence[Detection], score: float) -> list[Detection]:
    """Return the detections that score at least ``score``, or have no score."""
    return [one for one in found if one.score is None or one.score >= score]


def people(boxes: NDArray[Any], scores: NDArray[Any]) -> list[Detection]:
    """Return the rows that are usable persons, best first, equal scores in their order.

    Left out are scores under ``FLOOR`` and boxes that no crop can be cut for: edges
    that are not finite, no area, under 2 pixels on the longest side.

    Args:
        boxes: ``(N, 4)``: x0, y0, x1, y1 in image pixels.
        scores: ``(N,)``, 0 to 1.
    """
    found = []
    for index in np.argsort(-scores, kind="stable"):
        box = Box(*boxes[index].tolist())
        if scores[index] >= FLOOR and croppable(box):
            found.append(Detection(box, float(scores[index])))
    return found


def croppable(box: Box) -> bool:
    """Return whether ``SquareCrop.around`` takes the box."""
    try:
        SquareCrop.around(box)
    except InputError:
        return False
    return True
