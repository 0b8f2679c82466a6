"""MoveNet's single-person TFLite files, asked as a kpose network is.

Contract: uint8 ``(1, size, size, 3)`` RGB in, float32 ``(1, 1, 17, 3)`` out: y, x and
score of COCO's 17 keypoints, 0 to 1.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpose import runtime
from kpose.errors import InputError
from kpose.images import Image
from kpose.joints import BODY_13, COCO_17
from kpose.runtime import Outputs, Runtime

PREFIX = "movenet:"
"""What stands before the path of such a file where the name of a model is wanted."""

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


def open(model: str | Path) -> Runtime:
    """Return the network of a name: ``movenet:PATH``, or what ``runtime.open`` takes.

    MoveNet's confidence is its score, not calibrated.

    Raises:
        InputError: If there is none, or it is another than its name says.
    """
    name = str(model)
    if not name.startswith(PREFIX):
        return runtime.open(model)
    interpreter, given, answer = _load(Path(name.removeprefix(PREFIX)))

    def run(crops: Image) -> Outputs:
        points = np.zeros((len(crops), len(COCO_17), 3), np.float32)
        for number, crop in enumerate(crops):
            interpreter.set_tensor(given["index"], np.ascontiguousarray(crop[None]))
            interpreter.invoke()
            points[number] = interpreter.get_tensor(answer["index"])[0, 0]
        return body_13(points)

    card = {"skeleton": BODY_13.to_json(), "size": int(given["shape"][1])}
    return Runtime(run, card, "tflite")


def _load(path: Path) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Return the interpreter of a file, and what its input and output are."""
    if not path.is_file():
        raise InputError(f"expected MoveNet's TFLite file at {path}, but there is none")
    from ai_edge_litert.interpreter import Interpreter

    try:
        # A second thread gains little on so small a network, and much is lost where
        # other work needs the core.
        interpreter = Interpreter(str(path), num_threads=1)
        interpreter.allocate_tensors()
        inputs, outputs = (
            interpreter.get_input_details(),
            interpreter.get_output_details(),
        )
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"expected a TFLite file that the default interpreter loads, got {path}: "
            f"{str(error).strip().splitlines()[0]}"
        ) from None
    if len(inputs) != 1 or len(outputs) != 1:
        raise InputError(
            "expected MoveNet single-pose with one input and one output. Received: "
            f"{path} with {len(inputs)} and {len(outputs)}"
        )
    given, answer = inputs[0], outputs[0]
    shape = [int(side) for side in given["shape"]]
    if (
        len(shape) != 4
        or shape != [1, shape[1], shape[1], 3]
        or given["dtype"] is not np.uint8
        or list(answer["shape"]) != [1, 1, len(COCO_17), 3]
    ):
        raise InputError(
            "expected MoveNet single-pose: uint8 [1, size, size, 3] in, "
            f"[1, 1, {len(COCO_17)}, 3] out. Received: {path} with "
            f"{given['dtype'].__name__} {shape} in, "
            f"{[int(side) for side in answer['shape']]} out"
        )
    return interpreter, given, answer
