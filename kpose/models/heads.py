"""Coordinate heads and their decode: the one way from features to joints.

A head ends in the dict that every kpose network returns:

* ``keypoints`` ``(batch, joints, 2)`` float32, x and y in crop units;
* SimCC also ``confidence`` ``(batch, joints)``, 0 to 1, and ``logits``
  ``(batch, joints, 2, bins)``, the scores of the x bins and of the y bins.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

BIN_RANGE = (-0.125, 1.125)
"""Crop units that the SimCC bins cover: a box may cut a hand off, so a little more than
the crop."""

CONFIDENCE_WINDOW = 0.03
"""Standard deviation, in crop units, of the window in which probability counts as
agreement with the decoded joint."""


def bin_centres(bins: int) -> NDArray[np.float32]:
    """Return the centres of ``bins`` equal bins over ``BIN_RANGE``, crop units."""
    low, high = BIN_RANGE
    return (low + (np.arange(bins) + 0.5) * (high - low) / bins).astype(np.float32)


@keras.saving.register_keras_serializable(package="kpose")
class SimCCDecode(keras.layers.Layer):
    """Joints and confidence from the scores of x and y bins (SimCC).

    The joint is the expectation of the bin centres under ``softmax(sharpness *
    logits)``: smooth where an argmax would jump between bins at a near-tie, and built
    from ops that every accelerator has. The raw confidence is the probability (at
    sharpness 1) that lies around the decoded joint, the smaller one of x and y.

    Args:
        sharpness: Inverse temperature of the softmax. Above 1 the answer follows the
            main mode where the distribution has several.
        calibration: Raw confidences and their probabilities, the knots of a curve of
            ``kpose.confidence``; None leaves the confidence raw. It is part of the
            graph, so that every artefact gives probabilities.
    """

    def __init__(
        self,
        sharpness: float = 1.0,
        calibration: Sequence[Sequence[float]] | None = None,
        **kwargs: Any,
    ) -> None:
        """Set up the layer."""
        super().__init__(**kwargs)
        self.sharpness = sharpness
        self.calibration = calibration

    def call(self, logits: Any) -> tuple[Any, Any]:
        """Decode ``(batch, joints, 2, bins)`` logits.

        Returns:
            Keypoints ``(batch, joints, 2)`` in crop units and confidence
            ``(batch, joints)``, 0 to 1.
        """
        centres = bin_centres(logits.shape[-1])
        sharp = ops.softmax(self.sharpness * logits, axis=-1)
        keypoints = ops.sum(sharp * centres, axis=-1)
        distance = (centres - ops.expand_dims(keypoints, -1)) / CONFIDENCE_WINDOW
        window = ops.exp(-0.5 * ops.square(distance))
        inside = ops.sum(ops.softmax(logits, axis=-1) * window, axis=-1)
        confidence = ops.minimum(inside[..., 0], inside[..., 1])
        if self.calibration is not None:
            confidence = _piecewise_linear(confidence, *self.calibration)
        return keypoints, confidence

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {
            **super().get_config(),
            "sharpness": self.sharpness,
            "calibration": self.calibration,
        }


def _piecewise_linear(x: Any, knots: Sequence[float], values: Sequence[float]) -> Any:
    """Interpolate between knots with basic ops, flat beyond the ends.

    A sum of ramps from 0 to 1, one per interval: unlike a sum of slopes it loses no
    digits where knots are close, and stays monotone.
    """
    at, value = np.asarray(knots, np.float32), np.asarray(values, np.float32)
    ramps = ops.clip((ops.expand_dims(x, -1) - at[:-1]) * (1 / np.diff(at)), 0.0, 1.0)
    # The sum may end a rounding above the last value.
    return ops.minimum(value[0] + ops.sum(ramps * np.diff(value), axis=-1), 1.0)


def set_calibration(
    network: keras.Model, calibration: Sequence[Sequence[float]] | None
) -> None:
    """Change the calibration of a network's SimCC decode; of other heads nothing.

    A ``tf.function`` that was traced before keeps the old one.
    """
    for layer in network.layers:
        if isinstance(layer, SimCCDecode):
            layer.calibration = calibration


def regression(features: Any, joints: int) -> dict[str, Any]:
    """End a network in the paper's regression layer (section 3.5): linear x and y.

    Args:
        features: ``(batch, height, width, channels)``.
        joints: Number of joints.
    """
    x = keras.layers.Conv2D(32, 1, name="head_reduce")(features)
    x = keras.layers.ReLU(name="head_relu")(x)
    x = keras.layers.Flatten(name="head_flatten")(x)
    # It starts with every joint at the middle of the crop.
    middle = keras.initializers.Constant(0.5)
    x = keras.layers.Dense(2 * joints, bias_initializer=middle, name="joints")(x)
    return {"keypoints": keras.layers.Reshape((joints, 2), name="keypoints")(x)}


def simcc(features: Any, joints: int, bins: int, sharpness: float) -> dict[str, Any]:
    """End a network in two classifications per joint, over x bins and over y bins.

    SimCC (Li et al. 2022) in the form of RTMPose: one map per joint, flattened, then
    dense layers that all joints share.

    Args:
        features: ``(batch, height, width, channels)``.
        joints: Number of joints.
        bins: Bins per axis.
        sharpness: See ``SimCCDecode``.
    """
    height, width = features.shape[1:3]
    x = keras.layers.Conv2D(joints, 1, name="head_maps")(features)
    x = keras.layers.Reshape((height * width, joints), name="head_flatten")(x)
    x = keras.layers.Permute((2, 1), name="head_joints_first")(x)
    x = keras.layers.Dense(256, activation="relu", name="head_hidden")(x)
    x = keras.layers.Dense(2 * bins, name="head_bins")(x)
    logits = keras.layers.Reshape((joints, 2, bins), name="logits")(x)
    keypoints, confidence = SimCCDecode(sharpness, name="decode")(logits)
    return {"keypoints": keypoints, "confidence": confidence, "logits": logits}
