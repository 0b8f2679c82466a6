"""MoveNet's single-person TFLite files.

Contract: uint8 ``(1, size, size, 3)`` RGB in, float32 ``(1, 1, 17, 3)`` out: y, x and
score of COCO's 17 keypoints, 0 to 1.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kpose.errors import InputError
from kpose.images import Image
from kpose.joints import BODY_13, COCO_17
from kpose.peers import interpreter as tflite
from kpose.runtime import Outputs, Runtime

HEAD_DOWN = 0.2
"""The head is the mean of the five points of the face, moved by this share towards the
middle of the shoulders: kpose's head is midway between neck and head top."""

FACE = 5
"""The first points of COCO's 17 are those of the face."""

ROWS = [COCO_17.names.index(name) for name in BODY_13.names[1:]]
"""Rows of COCO's 17 keypoints that the joints after the head are."""

SHOULDERS = [BODY_13.names.index(f"{side}_shoulder") for side in ("right", "left")]


def body_13(points: NDArray[np.floating]) -> Outputs:
    """Return the 13 joints of ``(N, 17, 3)`` points: y, x and score of COCO's 17."""
    places = np.zeros((len(points), len(BODY_13), 2), np.float32)
    scores = np.zeros((len(points), len(BODY_13)), np.float32)
    places[:, 1:], scores[:, 1:] = points[:, ROWS, 1::-1], points[:, ROWS, 2]
    face, shoulders = points[:, :FACE, 1::-1], places[:, SHOULDERS]
    head = face.mean(axis=1)
    places[:, 0] = head + HEAD_DOWN * (shoulders.mean(axis=1) - head)
    scores[:, 0] = points[:, :FACE, 2].mean(axis=1)
    return {"keypoints": places, "confidence": scores}


def load(path: Path) -> Runtime:
    """Return the network of a file. Its confidence is its score, not calibrated.

    Raises:
        InputError: If there is no file, or it is none of MoveNet single-pose.
    """
    interpreter = tflite.load(path, "MoveNet")
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    size = int(inputs[0]["shape"][1]) if len(inputs[0]["shape"]) == 4 else 0
    if (
        [list(one["shape"]) for one in inputs] != [[1, size, size, 3]]
        or [list(one["shape"]) for one in outputs] != [[1, 1, len(COCO_17), 3]]
        or inputs[0]["dtype"] is not np.uint8
    ):
        raise InputError(
            "expected MoveNet single-pose: uint8 [1, size, size, 3] in, "
            f"[1, 1, {len(COCO_17)}, 3] out. Received: {path} with "
            f"{tflite.tensors(inputs)} in, {tflite.tensors(outputs)} out"
        )
    given, answer = inputs[0]["index"], outputs[0]["index"]

    def run(crops: Image) -> Outputs:
        points = np.zeros((len(crops), len(COCO_17), 3), np.float32)
        for number, crop in enumerate(crops):
            interpreter.set_tensor(given, np.ascontiguousarray(crop[None]))
            interpreter.invoke()
            points[number] = interpreter.get_tensor(answer)[0, 0]
        return body_13(points)

    return Runtime(run, {"skeleton": BODY_13.to_json(), "size": size}, "tflite")
