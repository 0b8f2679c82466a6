"""RTMDet, the person detector of OpenMMLab, as an ONNX file.

Input ``[1, 3, H, W]`` float32 BGR, less the mean and divided by the deviation of
ImageNet, the picture in the top left corner (``letterbox``). Two forms of output, told
apart when the file is opened:

- Raw: one map ``[1, h, w, 5]`` per stride. The first channel is the logit of a person,
  the others the distances to left, top, right and bottom in input pixels from the
  corner of the cell (column * stride, row * stride).
- As MMDeploy exports it, with non-maximum suppression inside: ``dets`` ``[1, N, 5]``
  (x0, y0, x1, y1 in input pixels, score) and ``labels`` ``[1, N]``, 0 for a person.
"""

from collections.abc import Callable
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

MEAN = np.array([103.53, 116.28, 123.675], np.float32)
"""Of blue, green and red."""

DEVIATION = np.array([57.375, 57.12, 58.395], np.float32)
"""Of blue, green and red."""

USUAL = 320
"""Input pixels where the file takes any size: those of RTMDet-nano for persons."""

PERSON = 0

Rows = tuple[NDArray[Any], NDArray[Any]]
"""Boxes ``(N, 4)`` in input pixels, and their scores ``(N,)``."""


class RTMDet:
    """An ONNX file of RTMDet, see the module.

    Args:
        name: As the user gave it.
        path: The file.
        threads: The most threads, None for all cores.

    Raises:
        InputError: If the file is no ONNX file, or not of this contract.
    """

    threshold = 0.25
    given = False

    def __init__(self, name: str, path: Path, threads: int | None) -> None:
        """Load the file and look which form it has."""
        self.name = name
        self.identity = f"rtmdet 1 {sha256(path)}"
        self._network = OnnxNetwork(path, threads, USUAL)
        self._decode = self._form()

    def detect(
        self, image: Image, picture: str = "", frame: int = 0
    ) -> list[Detection]:
        """Return the persons; see ``Detector.detect``."""
        size = self._network.width, self._network.height
        canvas, scale = letterbox(image, *size)
        pixels = (canvas[..., ::-1].astype(np.float32) - MEAN) / DEVIATION
        boxes, scores = self._decode(self._network.run(pixels))
        return people(boxes * scale, scores)

    def _form(self) -> Callable[[dict[str, NDArray[Any]]], Rows]:
        outputs = self._network.probe()
        if set(outputs) >= {"dets", "labels"}:
            rows = outputs["labels"].shape
            if len(rows) == 2 and outputs["dets"].shape == (*rows, 5):
                return suppressed
        elif all(self._is_map(value) for value in outputs.values()):
            return self._raw
        raise InputError(
            "expected RTMDet's outputs, maps [1, h, w, 5] or dets [1, N, 5] and labels "
            f"[1, N], got {self._network.path} with {listing(outputs)}"
        )

    def _is_map(self, value: NDArray[Any]) -> bool:
        height, width = self._network.height, self._network.width
        if value.ndim != 4 or value.shape[0] != 1 or value.shape[3] != 5:
            return False
        stride = height // value.shape[1]
        return stride > 0 and value.shape[1:3] == (height // stride, width // stride)

    def _raw(self, outputs: dict[str, NDArray[Any]]) -> Rows:
        rows = [
            cells(value[0], self._network.height // value.shape[1])
            for value in outputs.values()
        ]
        boxes, scores = (np.concatenate(part) for part in zip(*rows, strict=True))
        kept = nms(boxes, scores)
        return boxes[kept], scores[kept]


def cells(values: NDArray[Any], stride: int) -> Rows:
    """Return what the cells of one raw map say that score ``FLOOR`` or more.

    Args:
        values: ``(h, w, 5)``: logit, left, top, right, bottom.
        stride: Input pixels per cell.
    """
    scores = 1 / (1 + np.exp(-values[..., 0].astype(np.float64)))
    y, x = np.nonzero(scores >= FLOOR)
    left, top, right, bottom = values[y, x, 1:].T
    x0, y0 = x * stride, y * stride
    boxes = np.stack([x0 - left, y0 - top, x0 + right, y0 + bottom], axis=1)
    return boxes, scores[y, x]


def suppressed(outputs: dict[str, NDArray[Any]]) -> Rows:
    """Return the persons of MMDeploy's form; empty rows have a score of 0."""
    dets = outputs["dets"][0]
    persons = dets[outputs["labels"][0] == PERSON]
    return persons[:, :4], persons[:, 4]
