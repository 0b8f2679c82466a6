"""The TensorFlow Object Detection API: a SavedModel in TensorFlow's C++ loader.

The signature ``serving_default`` takes ``input_tensor`` (TensorFlow 2) or ``inputs``
(TensorFlow 1, the age of the paper's Faster R-CNN): uint8 ``[1, H, W, 3]`` RGB, in any
size. It gives float32 ``detection_boxes`` ``[1, N, 4]`` (ymin, xmin, ymax, xmax over
the picture's height and width), ``detection_classes`` and ``detection_scores``
``[1, N]`` and ``num_detections`` ``[1]``. Non-maximum suppression is inside. Class 1 is
the person.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpose.detection import Detection, people
from kpose.errors import InputError
from kpose.export.cpp_loader import CppLoaderError, CppSavedModel
from kpose.files import sha256
from kpose.images import Image

INPUTS = ("input_tensor", "inputs")

BOXES, CLASSES = "detection_boxes", "detection_classes"
SCORES, COUNT = "detection_scores", "num_detections"
OUTPUTS = (BOXES, CLASSES, SCORES, COUNT)

PERSON = 1
"""COCO's number."""


class SavedModel:
    """A SavedModel of the Object Detection API, see the module.

    Args:
        name: As the user gave it.
        path: The folder with ``saved_model.pb``.

    Raises:
        InputError: If the folder is no SavedModel, or not of this contract.
    """

    threshold = 0.5
    given = False

    def __init__(self, name: str, path: Path) -> None:
        """Load the folder and try it on a black picture."""
        self.name = name
        try:
            self._model = CppSavedModel(path)
            self._check_names(path)
            # The session computes what is asked for; masks and anchors are large.
            self._model.outputs = {key: self._model.outputs[key] for key in OUTPUTS}
            outputs = self._run(np.zeros((64, 64, 3), np.uint8))
        except CppLoaderError as error:
            raise InputError(str(error)) from None
        self.identity = f"saved_model 1 {_folder_sha256(path)}"
        boxes, rows = outputs[BOXES].shape, outputs[SCORES].shape
        if len(rows) != 2 or boxes != (*rows, 4) or outputs[CLASSES].shape != rows:
            raise InputError(
                f"expected {BOXES} [1, N, 4], {CLASSES} and {SCORES} [1, N] from "
                f"{path}, got {boxes}, {outputs[CLASSES].shape} and {rows}"
            )

    def detect(
        self, image: Image, picture: str = "", frame: int = 0
    ) -> list[Detection]:
        """Return the persons; see ``Detector.detect``."""
        outputs = self._run(image)
        rows = slice(int(outputs[COUNT].item()))
        persons = outputs[CLASSES][0, rows] == PERSON
        height, width = image.shape[:2]
        scale = np.array([height, width, height, width], np.float64)
        boxes = (outputs[BOXES][0, rows] * scale)[:, [1, 0, 3, 2]]
        return people(boxes[persons], outputs[SCORES][0, rows][persons])

    def _run(self, image: Image) -> dict[str, NDArray[Any]]:
        return self._model.run({next(iter(self._model.inputs)): image[None]})

    def _check_names(self, path: Path) -> None:
        inputs, outputs = set(self._model.inputs), set(self._model.outputs)
        if len(inputs) != 1 or not inputs <= set(INPUTS) or not outputs >= set(OUTPUTS):
            raise InputError(
                f"expected a SavedModel of the Object Detection API ({INPUTS[0]} -> "
                f"{', '.join(OUTPUTS)}), got {path} with "
                f"{', '.join(sorted(inputs))} -> {', '.join(sorted(outputs))}"
            )


def _folder_sha256(path: Path) -> str:
    """Return one hash of the names and bytes of what decides the answers."""
    files = [path / "saved_model.pb", *sorted((path / "variables").glob("*"))]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name} {sha256(file)}\n".encode())
    return digest.hexdigest()
