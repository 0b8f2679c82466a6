"""PCK, PCKh, AUC and pixel error: what a pose network is judged by.

PCK (paper section 4): a keypoint is correct if its distance to the ground truth is at
most ``threshold`` (0.2) times the torso length of that person, the distance from right
shoulder to left hip in the ground truth. Occluded but annotated keypoints count. A
person without a torso (one of the two joints unannotated, or no distance between them)
is left out, and counted. "All" is correct / annotated keypoints: joint-weighted
(docs/paper-readings.md, readings 16 and 17). Results are percentages of 100.

PCKh is the same with at most 0.5 times the head size of that person, AUC the area under
the curve of PCK over its threshold. OKS AP is in ``kpose.oks``.

The functions take numpy arrays or backend tensors and compute in float32, so that a
metric in a training step and an evaluation afterwards agree to the last keypoint.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, ops
from numpy.typing import ArrayLike

THRESHOLD = 0.2
"""Fraction of the torso length (paper section 4)."""

HEAD_THRESHOLD = 0.5
"""Fraction of the head size, as MPII's PCKh@0.5."""

PIXELS = 224
"""The pixel error is in pixels of a crop of this side, whatever the network's own."""


def errors(joints: ArrayLike, keypoints: ArrayLike) -> KerasTensor:
    """Return the Euclidean distances ``(persons, joints)``, crop units.

    They are 0 where the joint is unannotated.

    Args:
        joints: ``(persons, joints, 3)``: x and y in crop units, 1 where annotated.
        keypoints: ``(persons, joints, 2)`` predicted, crop units.
    """
    truth = ops.convert_to_tensor(joints, "float32")
    predicted = ops.convert_to_tensor(keypoints, "float32")
    # Cleaned before the difference: an unannotated x or y may hold anything.
    difference = ops.where(truth[..., 2:] > 0, truth[..., :2] - predicted, 0.0)
    return ops.sqrt(ops.sum(ops.square(difference), axis=-1))


def torso_lengths(joints: ArrayLike, torso: Sequence[int]) -> KerasTensor:
    """Return the torso lengths ``(persons,)``, crop units; 0 where there is none.

    Args:
        joints: ``(persons, joints, 3)``: x and y in crop units, 1 where annotated.
        torso: Indices of the two joints (``Skeleton.torso``).
    """
    truth = ops.convert_to_tensor(joints, "float32")
    a, b = truth[:, torso[0]], truth[:, torso[1]]
    annotated = (a[:, 2:] > 0) & (b[:, 2:] > 0)
    difference = ops.where(annotated, a[:, :2] - b[:, :2], 0.0)
    return ops.sqrt(ops.sum(ops.square(difference), axis=-1))


def within(
    joints: ArrayLike, keypoints: ArrayLike, lengths: ArrayLike, threshold: float
) -> tuple[KerasTensor, KerasTensor]:
    """Return which keypoints are near enough, and which count at all.

    Args:
        joints: ``(persons, joints, 3)``: x and y in crop units, 1 where annotated.
        keypoints: ``(persons, joints, 2)`` predicted, crop units. NaN is not near.
        lengths: ``(persons,)`` what distances are compared with, crop units; a person
            with 0 does not count.
        threshold: Fraction of the length; a distance equal to it is near enough.

    Returns:
        Two bool arrays ``(persons, joints)``. A keypoint counts if it is annotated and
        the person has a length; only such a keypoint is ever near enough.
    """
    truth = ops.convert_to_tensor(joints, "float32")
    unit = ops.convert_to_tensor(lengths, "float32")[:, None]
    counted = (truth[..., 2] > 0) & (unit > 0)
    return (errors(truth, keypoints) <= threshold * unit) & counted, counted


def correct(
    joints: ArrayLike,
    keypoints: ArrayLike,
    torso: Sequence[int],
    threshold: float = THRESHOLD,
) -> tuple[KerasTensor, KerasTensor]:
    """Return which keypoints are correct, and which count at all.

    Args:
        joints: ``(persons, joints, 3)``: x and y in crop units, 1 where annotated.
        keypoints: ``(persons, joints, 2)`` predicted, crop units. NaN is not correct.
        torso: Indices of the two torso joints (``Skeleton.torso``).
        threshold: Fraction of the torso length; a distance equal to it is correct.

    Returns:
        Two bool arrays ``(persons, joints)``. A keypoint counts if it is annotated and
        the person has a torso; only such a keypoint is ever correct.
    """
    return within(joints, keypoints, torso_lengths(joints, torso), threshold)


def pck_by_group(
    joints: ArrayLike,
    keypoints: ArrayLike,
    torso: Sequence[int],
    groups: dict[str, tuple[int, ...]],
    threshold: float = THRESHOLD,
) -> dict[str, float]:
    """Return PCK in percent: ``"all"`` and one value per group of joints.

    A group without any counted keypoint is NaN.

    Args:
        joints: ``(persons, joints, 3)``: x and y in crop units, 1 where annotated.
        keypoints: ``(persons, joints, 2)`` predicted, crop units.
        torso: Indices of the two torso joints.
        groups: Joint indices by name (``Skeleton.groups``).
        threshold: Fraction of the torso length.
    """
    return _by_group(correct(joints, keypoints, torso, threshold), groups)


def pckh_by_group(
    joints: ArrayLike,
    keypoints: ArrayLike,
    head_sizes: ArrayLike,
    groups: dict[str, tuple[int, ...]],
    threshold: float = HEAD_THRESHOLD,
) -> dict[str, float]:
    """Return PCKh in percent: ``"all"`` and one value per group of joints.

    A group without any counted keypoint is NaN. A torso is not needed.

    Args:
        joints: ``(persons, joints, 3)``: x and y in crop units, 1 where annotated.
        keypoints: ``(persons, joints, 2)`` predicted, crop units.
        head_sizes: ``(persons,)`` crop units; a person with 0 is left out.
        groups: Joint indices by name (``Skeleton.groups``).
        threshold: Fraction of the head size.
    """
    return _by_group(within(joints, keypoints, head_sizes, threshold), groups)


def area_under_curve(thresholds: ArrayLike, values: ArrayLike) -> float:
    """Return the area under a curve over that of 100 % everywhere, in percent.

    By trapezoids. NaN where a value is.

    Args:
        thresholds: ``(points,)``, rising.
        values: ``(points,)`` percentages of 100.
    """
    x, y = np.asarray(thresholds, np.float64), np.asarray(values, np.float64)
    return float(np.trapezoid(y, x) / (x[-1] - x[0]))


def _by_group(
    flags: tuple[KerasTensor, KerasTensor], groups: dict[str, tuple[int, ...]]
) -> dict[str, float]:
    """Return the percentages of what ``within`` returned."""
    good, counted = (
        np.asarray(ops.convert_to_numpy(flag)).sum(axis=0) for flag in flags
    )
    columns = {"all": tuple(range(len(counted))), **groups}
    return {
        name: _percent(good[list(indices)].sum(), counted[list(indices)].sum())
        for name, indices in columns.items()
    }


def _percent(part: int, whole: int) -> float:
    return 100.0 * int(part) / int(whole) if whole else float("nan")


@keras.saving.register_keras_serializable(package="kpose")
class PCK(keras.metrics.Metric):
    """Percentage of correct keypoints, joint-weighted, over all batches seen.

    ``y_true`` is ``(batch, joints, 3)``: x and y in crop units and 1 where annotated;
    ``y_pred`` is ``(batch, joints, 2)``. See ``correct`` for what counts. The result is
    0 to 100, and 0 before anything counted.

    Args:
        torso: Indices of the two torso joints (``Skeleton.torso``).
        threshold: Fraction of the torso length.
        joints: Indices of the joints to count, None for all.
        name: Name of the metric.
        kwargs: Those of ``keras.metrics.Metric``.
    """

    def __init__(
        self,
        torso: Sequence[int],
        threshold: float = THRESHOLD,
        joints: Sequence[int] | None = None,
        name: str = "pck",
        **kwargs: Any,
    ) -> None:
        """Set up the two counters."""
        super().__init__(name=name, **kwargs)
        self.torso = (int(torso[0]), int(torso[1]))
        self.threshold = float(threshold)
        self.joints = None if joints is None else tuple(int(i) for i in joints)
        self.correct = self.add_variable(shape=(), initializer="zeros", name="correct")
        self.counted = self.add_variable(shape=(), initializer="zeros", name="counted")

    def update_state(self, y_true: ArrayLike, y_pred: ArrayLike) -> None:
        """Count one batch."""
        good, counted = correct(y_true, y_pred, self.torso, self.threshold)
        if self.joints is not None:
            good = ops.take(good, self.joints, axis=1)
            counted = ops.take(counted, self.joints, axis=1)
        self.correct.assign_add(ops.sum(ops.cast(good, self.dtype)))
        self.counted.assign_add(ops.sum(ops.cast(counted, self.dtype)))

    def result(self) -> KerasTensor:
        """Return the percentage, 0 to 100."""
        return 100.0 * self.correct / ops.maximum(self.counted, 1.0)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            **super().get_config(),
            "torso": list(self.torso),
            "threshold": self.threshold,
            "joints": None if self.joints is None else list(self.joints),
        }


@keras.saving.register_keras_serializable(package="kpose")
class PixelError(keras.metrics.Metric):
    """Mean Euclidean error over annotated joints, in pixels of the 224 crop.

    ``y_true`` and ``y_pred`` as for ``PCK``. It needs no torso, so every person with an
    annotated joint counts (docs/paper-readings.md, reading 29).
    """

    def __init__(self, name: str = "pixel_error", **kwargs: Any) -> None:
        """Set up the sum and the counter; ``kwargs`` are those of ``Metric``."""
        super().__init__(name=name, **kwargs)
        self.total = self.add_variable(shape=(), initializer="zeros", name="total")
        self.counted = self.add_variable(shape=(), initializer="zeros", name="counted")

    def update_state(self, y_true: ArrayLike, y_pred: ArrayLike) -> None:
        """Add one batch."""
        truth = ops.convert_to_tensor(y_true, "float32")
        self.total.assign_add(ops.sum(errors(truth, y_pred)))
        self.counted.assign_add(ops.sum(ops.cast(truth[..., 2] > 0, self.dtype)))

    def result(self) -> KerasTensor:
        """Return the mean error in pixels; 0 before anything counted."""
        return PIXELS * self.total / ops.maximum(self.counted, 1.0)
