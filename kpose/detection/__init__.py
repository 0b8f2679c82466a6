"""Person detectors behind one small protocol; one file per contract.

A detector is named ``contract:PATH``: ``tflite:detect.tflite``. Importing this loads no
TensorFlow, LiteRT or onnxruntime; ``open`` does.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from kpose.artefacts import read_card
from kpose.errors import InputError
from kpose.geometry import Box, SquareCrop
from kpose.images import Image

FLOOR = 0.05
"""Detections below this score are never returned."""

CONTRACTS = ("tflite", "rtmdet", "yolox", "saved_model", "boxes")
"""The kinds of files that ``open`` takes."""


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
        given: Whether it repeats boxes that somebody chose: each of them is a person
            then, and nobody else is.
    """

    name: str
    identity: str
    threshold: float
    given: bool

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
        threads: The most threads that one picture may use, None for all cores. A
            SavedModel takes what it likes.

    Raises:
        InputError: If there is no such contract or file, or the file is not of that
            contract (a pose model, for example).
    """
    contract, _, text = name.partition(":")
    if name == "whole":
        from kpose.detection.whole import Whole

        return Whole()
    if contract not in CONTRACTS or not text:
        raise InputError(
            f"a detector must be whole or one of {', '.join(CONTRACTS)} with :PATH. "
            f"Received: {name}"
        )
    path = Path(text)
    if not path.exists():
        raise InputError(f"expected a detector's file at {path}, but there is none")
    if (contract == "saved_model") != path.is_dir():
        wanted, got = ("file", "folder") if path.is_dir() else ("folder", "file")
        raise InputError(f"expected a {wanted} for {contract}, got the {got} {path}")
    if _is_pose_model(path):
        raise InputError(
            f"expected a person detector in {path}, but it is a pose model of kpose"
        )
    # Each loads its runtime only here.
    if contract == "tflite":
        from kpose.detection.tflite import TFLite

        return TFLite(name, path, threads)
    if contract == "rtmdet":
        from kpose.detection.rtmdet import RTMDet

        return RTMDet(name, path, threads)
    if contract == "yolox":
        from kpose.detection.yolox import YOLOX

        return YOLOX(name, path, threads)
    if contract == "saved_model":
        from kpose.detection.saved_model import SavedModel

        return SavedModel(name, path)
    from kpose.detection.boxes import BoxFile

    return BoxFile(name, path)


def _is_pose_model(path: Path) -> bool:
    try:
        read_card(path)
    except InputError:
        return False
    return True


def cached(detector: Detector, folder: Path | None = None) -> Detector:
    """Return the detector with a memory on disk, see ``kpose.detection.cache``.

    ``boxes`` and ``whole`` come back as they are: there is nothing to save, and what a
    box file answers depends on the picture's name.

    Args:
        detector: What finds the people.
        folder: Where ``detections.sqlite`` lies, made where absent; None is
            ``kpose`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.

    Raises:
        InputError: If the file there cannot be used (damaged, not writable).
    """
    from kpose.detection import cache

    if detector.given:
        return detector
    return cache.Cached(detector, folder or cache.default_folder())


def confident(found: Sequence[Detection], score: float) -> list[Detection]:
    """Return the detections that score at least ``score``, or have no score."""
    return [one for one in found if one.score is None or one.score >= score]


def people(boxes: NDArray[Any], scores: NDArray[Any]) -> list[Detection]:
    """Return what a network found as ``usable`` persons.

    Args:
        boxes: ``(N, 4)``: x0, y0, x1, y1 in image pixels.
        scores: ``(N,)``, 0 to 1.
    """
    rows = zip(boxes.tolist(), scores.tolist(), strict=True)
    return usable(Detection(Box(*box), score) for box, score in rows)


def usable(found: Iterable[Detection]) -> list[Detection]:
    """Return the persons that a detector may answer with, best first.

    Equal scores stay in their order; no score comes before any. Left out are scores
    under ``FLOOR`` and boxes that no crop can be cut for.
    """
    good = [one for one in found if one.score is None or one.score >= FLOOR]
    good = [one for one in good if croppable(one.box)]
    return sorted(good, key=lambda one: -math.inf if one.score is None else -one.score)


def croppable(box: Box) -> bool:
    """Return whether ``SquareCrop.around`` takes the box."""
    try:
        SquareCrop.around(box)
    except InputError:
        return False
    return True
