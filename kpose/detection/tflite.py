"""The four-tensor contract of SSD and EfficientDet-Lite, in LiteRT.

Input ``[1, H, W, 3]`` RGB, the picture stretched to it: uint8 0..255, or float32 scaled
to -1..1. Outputs, all float32: boxes ``[1, N, 4]`` (ymin, xmin, ymax, xmax over the
picture's height and width, may leave 0..1), classes and scores ``[1, N]``, count
``[1]``. Non-maximum suppression is inside. Class 0 is the person.

Two orders are in use: boxes, classes, scores, count (the TensorFlow 1 exporter and
TensorFlow Hub) and scores, boxes, count, classes (TensorFlow 2 and Model Maker). Boxes
and count are known by their shapes. Which of the other two are the scores is decided
once, when the file is opened, by what they say about a picture of noise: scores lie in
0..1 and fall, classes are whole numbers. Where both readings are possible (nothing
found) the place of the boxes decides.
"""

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kpose.detection import Detection, people
from kpose.errors import InputError
from kpose.files import sha256
from kpose.images import Image

PERSON = 0
"""COCO's class, counted from 0 without a background."""

EXPECTED = "the float32 outputs boxes [1, N, 4], classes [1, N], scores [1, N], count"

SCORES_BY_BOXES = {0: 2, 1: 0}
"""Where the scores stand in the two known orders, by where the boxes stand."""

SCORE_TOLERANCE = 0.01
"""A quantised score of 1 may come back as 256 / 255."""


class TFLite:
    """A TFLite file with the four outputs, see the module.

    Args:
        name: As the user gave it.
        path: The file.
        threads: The most threads, None for all cores.

    Raises:
        InputError: If the file is no TFLite file, or not of this contract.
    """

    threshold = 0.5
    given = False

    def __init__(self, name: str, path: Path, threads: int | None) -> None:
        """Load the file and look which output is what."""
        from ai_edge_litert.interpreter import Interpreter

        self.name, self.path = name, path
        try:
            self._interpreter = Interpreter(
                str(path), num_threads=threads or os.cpu_count()
            )
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise InputError(
                f"expected a TFLite file that the default interpreter loads, got "
                f"{path}: {str(error).strip().splitlines()[0]}"
            ) from None
        self.identity = f"tflite 1 {sha256(path)}"
        self._size, self._dtype = self._input()
        self._boxes, self._scores, self._classes, self._count = self._order()

    def detect(
        self, image: Image, picture: str = "", frame: int = 0
    ) -> list[Detection]:
        """Return the persons; see ``Detector.detect``."""
        outputs = self._run(image)
        rows = slice(_rows(outputs[self._count]))
        persons = outputs[self._classes][0, rows] == PERSON
        height, width = image.shape[:2]
        scale = np.array([height, width, height, width], np.float64)
        boxes = (outputs[self._boxes][0, rows] * scale)[:, [1, 0, 3, 2]]
        scores = np.minimum(outputs[self._scores][0, rows], 1)
        return people(boxes[persons], scores[persons])

    def _run(self, image: Image) -> list[NDArray[Any]]:
        """Return the outputs in the order of the file."""
        pixels: NDArray[Any]
        # Cubic, because these networks take the steps of an enlarged small picture
        # for edges (docs/decisions.md).
        pixels = cv2.resize(image, self._size, interpolation=cv2.INTER_CUBIC)
        if self._dtype == np.float32:
            pixels = (pixels.astype(np.float32) - 127.5) / 127.5
        self._interpreter.set_tensor(
            self._interpreter.get_input_details()[0]["index"], pixels[None]
        )
        self._interpreter.invoke()
        return [
            self._interpreter.get_tensor(output["index"])
            for output in self._interpreter.get_output_details()
        ]

    def _input(self) -> tuple[tuple[int, int], type[np.generic]]:
        """Return width and height, and the dtype, that the file takes."""
        inputs = self._interpreter.get_input_details()
        shape = inputs[0]["shape"].tolist() if len(inputs) == 1 else []
        image = len(shape) == 4 and shape[0] == 1 and shape[3] == 3
        if not image or (dtype := inputs[0]["dtype"]) not in (np.uint8, np.float32):
            raise InputError(
                "expected a detector with one input [1, H, W, 3] of uint8 or float32, "
                f"got {self.path} with {_listing(inputs)}"
            )
        return (shape[2], shape[1]), dtype

    def _order(self) -> tuple[int, int, int, int]:
        """Return the indices of boxes, scores, classes and count."""
        details = self._interpreter.get_output_details()
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        outputs = self._run(noise)
        boxes = [i for i, output in enumerate(outputs) if output.ndim == 3]
        count = [i for i, output in enumerate(outputs) if output.ndim < 2]
        pair = [i for i, output in enumerate(outputs) if output.ndim == 2]
        if (
            any(output.dtype != np.float32 for output in outputs)
            or (len(boxes), len(count), len(pair), len(outputs)) != (1, 1, 2, 4)
            or outputs[boxes[0]].shape != (*outputs[pair[0]].shape, 4)
            or outputs[pair[0]].shape != outputs[pair[1]].shape
        ):
            raise InputError(
                f"expected a detector with {EXPECTED} [1], got {self.path} with "
                f"{_listing(details)}"
            )
        rows = slice(_rows(outputs[count[0]]))
        readings = [
            (scores, classes)
            for scores, classes in (pair, pair[::-1])
            if _are_scores(outputs[scores][0, rows])
            and _are_classes(outputs[classes][0, rows])
        ]
        if len(readings) == 2:
            by_place = SCORES_BY_BOXES.get(boxes[0])
            readings = [reading for reading in readings if reading[0] == by_place]
        if len(readings) != 1:
            raise InputError(
                "expected an output with scores (0 to 1, falling) and one with classes "
                f"(whole numbers), but {self.path} does not show which is which in "
                f"{_listing(details)}"
            )
        (scores, classes) = readings[0]
        return boxes[0], scores, classes, count[0]


def _rows(count: NDArray[Any]) -> int:
    return max(int(count.item()), 0)


def _are_scores(values: NDArray[Any]) -> bool:
    inside = (values >= 0) & (values <= 1 + SCORE_TOLERANCE)
    return bool(inside.all() and (np.diff(values) <= 0).all())


def _are_classes(values: NDArray[Any]) -> bool:
    return bool(((values >= 0) & (values == np.round(values))).all())


def _listing(details: list[dict[str, Any]]) -> str:
    return ", ".join(
        f"{one['name']} {np.dtype(one['dtype']).name} {one['shape'].tolist()}"
        for one in details
    )
