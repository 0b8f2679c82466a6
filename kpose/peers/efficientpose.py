"""EfficientPose's TFLite files (RT, I to IV; not the "lite" ones, scaled otherwise).

Contract: float32 ``(1, size, size, 3)`` RGB in, ImageNet's mean and standard deviation;
among the outputs float32 ``(1, S, S, 16)`` named ``upscaled_confs``: a map of the
confidence of each of MPII's 16 joints. A joint is at the maximum of its map, smoothed.
Groos, Ramampiaro, Ihlen 2021: EfficientPose.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from kpose.errors import InputError
from kpose.images import Image
from kpose.joints import BODY_13
from kpose.peers import interpreter as tflite
from kpose.runtime import Outputs, Runtime

MAPS = "upscaled_confs"
"""In the name of the output; the order of the outputs differs between files."""

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
"""ImageNet's, of RGB from 0 to 1."""

SIGMA = 1
"""Standard deviation of the Gaussian that smooths a map, pixels of the map."""

# fmt: off
NAMES = (
    "head_top", "upper_neck",
    "right_shoulder", "right_elbow", "right_wrist", "thorax",
    "left_shoulder", "left_elbow", "left_wrist", "pelvis",
    "right_hip", "right_knee", "right_ankle",
    "left_hip", "left_knee", "left_ankle",
)
"""The joints in the order of the maps; left and right are the person's own."""
# fmt: on

ROWS = [NAMES.index(name) for name in BODY_13.names[1:]]
"""Rows of ``NAMES`` that the joints after the head are."""

HEAD = [NAMES.index("head_top"), NAMES.index("upper_neck")]
"""The head is midway between these."""


def body_13(maps: NDArray[np.float32]) -> Outputs:
    """Return the 13 joints of ``(N, S, S, 16)`` maps of confidence.

    The centre of pixel i of a map is at ``(i + 0.5) / S`` crop units.
    """
    count, side = maps.shape[:2]
    points = np.zeros((count, len(NAMES), 2), np.float32)
    scores = np.zeros((count, len(NAMES)), np.float32)
    reach = 2 * 4 * SIGMA + 1
    for number, one in enumerate(maps):
        smooth = cv2.GaussianBlur(
            one, (reach, reach), SIGMA, borderType=cv2.BORDER_REFLECT
        ).reshape(-1, len(NAMES))
        best = smooth.argmax(axis=0)
        points[number] = (np.stack([best % side, best // side], axis=1) + 0.5) / side
        scores[number] = smooth.max(axis=0)
    places = np.concatenate(
        [points[:, HEAD].mean(axis=1, keepdims=True), points[:, ROWS]], axis=1
    )
    sure = np.concatenate(
        [scores[:, HEAD].mean(axis=1, keepdims=True), scores[:, ROWS]], axis=1
    )
    return {"keypoints": places, "confidence": np.clip(sure, 0, 1)}


def load(path: Path) -> Runtime:
    """Return the network of a file. Its confidence is its score, not calibrated.

    Raises:
        InputError: If there is no file, or it is none of EfficientPose.
    """
    interpreter = tflite.load(path, "EfficientPose")
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    size = int(inputs[0]["shape"][1]) if len(inputs[0]["shape"]) == 4 else 0
    maps = [one for one in outputs if MAPS in one["name"]]
    shape = list(maps[0]["shape"]) if len(maps) == 1 else []
    if (
        [list(one["shape"]) for one in inputs] != [[1, size, size, 3]]
        or inputs[0]["dtype"] is not np.float32
        or shape != [1, *shape[1:2] * 2, len(NAMES)]
    ):
        raise InputError(
            "expected EfficientPose: float32 [1, size, size, 3] in, "
            f"{MAPS} [1, S, S, {len(NAMES)}] among the outputs. Received: {path} with "
            f"{tflite.tensors(inputs)} in, {tflite.tensors(outputs)} out"
        )
    given, answer = inputs[0]["index"], maps[0]["index"]

    def run(crops: Image) -> Outputs:
        said = []
        for crop in crops:
            scaled = (crop[None].astype(np.float32) / 255 - MEAN) / DEVIATION
            interpreter.set_tensor(given, scaled)
            interpreter.invoke()
            said.append(body_13(interpreter.get_tensor(answer)))
        return {name: np.concatenate([one[name] for one in said]) for name in said[0]}

    return Runtime(run, {"skeleton": BODY_13.to_json(), "size": size}, "tflite")
