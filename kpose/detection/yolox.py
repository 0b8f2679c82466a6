"""YOLOX, trained on COCO, as an ONNX file.

Input ``[1, 3, H, W]`` float32 BGR, 0 to 255 as it is, the picture in the top left
corner (``letterbox``). Output ``[1, cells, 5 + classes]``, the cells of strides 8, 16
and 32, each row by row: x and y of the centre in cells from the corner of the cell,
logarithms of width and height in cells, probability that there is an object, and of
each class. The score of a person is the product of the two.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpose.detection import FLOOR, Detection, people
from kpose.detection.letterbox import letterbox
from kpose.detection.nms import nms
from kpose.detection.onnx_network import OnnxNetwork, listing
from kpose.errors import InputError
from kpose.files import sha256
from kpose.images import Image

STRIDES = (8, 16, 32)

USUAL = 416
"""Input pixels where the file takes any size: those of YOLOX-nano and -tiny."""

OBJECT, PERSON = 4, 5
"""Columns of the two probabilities."""

LARGEST_RAW = 50
"""Raw numbers are cells and logarithms; decoded ones are hundreds of pixels."""


class YOLOX:
    """An ONNX file of YOLOX, see the module.

    Args:
        name: As the user gave it.
        path: The file.
        threads: The most threads, None for all cores.

    Raises:
        InputError: If the file is no ONNX file, or not of this contract.
    """

    threshold = 0.3
    given = False

    def __init__(self, name: str, path: Path, threads: int | None) -> None:
        """Load the file and check its output."""
        self.name = name
        self.identity = f"yolox 1 {sha256(path)}"
        self._network = OnnxNetwork(path, threads, USUAL)
        self._cells = grid(self._network.height, self._network.width)
        outputs = self._network.probe()
        values = next(iter(outputs.values()))
        if (
            len(outputs) != 1
            or values.ndim != 3
            or values.shape[:2] != (1, len(self._cells))
            or values.shape[2] <= PERSON
            or np.abs(values[..., :OBJECT]).max() > LARGEST_RAW
        ):
            raise InputError(
                f"expected YOLOX's raw output [1, {len(self._cells)}, 5 + classes], "
                f"boxes not decoded, got {path} with {listing(outputs)}"
            )

    def detect(
        self, image: Image, picture: str = "", frame: int = 0
    ) -> list[Detection]:
        """Return the persons; see ``Detector.detect``."""
        size = self._network.width, self._network.height
        canvas, scale = letterbox(image, *size)
        outputs = self._network.run(canvas[..., ::-1].astype(np.float32))
        boxes, scores = decode(next(iter(outputs.values()))[0], self._cells)
        kept = nms(boxes, scores)
        return people(boxes[kept] * scale, scores[kept])


def grid(height: int, width: int) -> NDArray[np.float64]:
    """Return column, row and stride of each cell, ``(cells, 3)``, in their order."""
    levels = []
    for stride in STRIDES:
        rows, columns = np.indices((height // stride, width // stride))
        level = [columns.ravel(), rows.ravel(), np.full(rows.size, stride)]
        levels.append(np.stack(level, axis=1))
    return np.concatenate(levels).astype(np.float64)


def decode(
    values: NDArray[Any], cells: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return boxes in input pixels and scores of the persons from ``FLOOR`` on.

    Args:
        values: ``(cells, 5 + classes)``, raw.
        cells: What ``grid`` returns.
    """
    scores = values[:, OBJECT] * values[:, PERSON]
    found = scores >= FLOOR
    values, cells, scores = values[found], cells[found], scores[found]
    strides = cells[:, 2:]
    centers = (values[:, :2] + cells[:, :2]) * strides
    halves = np.exp(values[:, 2:4].astype(np.float64)) * strides / 2
    return np.concatenate([centers - halves, centers + halves], axis=1), scores
