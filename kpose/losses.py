"""The losses: eq. 1 of the paper for coordinates, and SimCC for bins.

Both take ``(batch, joints, 3)`` targets, x and y in crop units and 1 where the joint is
annotated, and return one value per sample, so that Keras's default reduction (the mean
over the batch) gives the number that the learning rates are meant for. What an
unannotated joint's x and y hold does not matter, NaN included: the targets are cleaned
*before* the difference, since ``0 * NaN`` is NaN, and so is the gradient of a ``where``
around it (docs/paper-readings.md, reading 4).
"""

from typing import Any

import keras
from keras import KerasTensor, ops

from kpose.models.heads import BIN_RANGE, bin_centres


@keras.saving.register_keras_serializable(package="kpose")
class MaskedEuclidean(keras.losses.Loss):
    """Half the squared joint distance, summed over annotated joints (eq. 1).

    ``y_true`` is ``(batch, joints, 3)``: x and y in crop units and 1 where the joint is
    annotated, else 0. ``y_pred`` is ``(batch, joints, 2)`` in crop units. N of eq. 1 is
    the batch size, as in Caffe's Euclidean loss, never the number of annotated joints
    (docs/paper-readings.md, reading 4).
    """

    def __init__(self, name: str = "masked_euclidean", **kwargs: Any) -> None:
        """Set up the loss; ``kwargs`` are those of ``keras.losses.Loss``."""
        super().__init__(name=name, **kwargs)

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """Return one loss per sample, ``(batch,)``."""
        annotated = y_true[..., 2:] > 0
        xy = ops.where(annotated, y_true[..., :2], 0.0)
        weight = ops.cast(annotated, y_pred.dtype)
        return 0.5 * ops.sum(weight * ops.square(xy - y_pred), axis=(-2, -1))


@keras.saving.register_keras_serializable(package="kpose")
class SimCCLoss(keras.losses.Loss):
    """Divergence of two 1-D distributions per joint from a Gaussian at its place.

    ``y_true`` is ``(batch, joints, 3)`` as for ``MaskedEuclidean``; ``y_pred`` is
    ``(batch, joints, 2, bins)``: the logits of x and of y over ``bin_centres(bins)``.
    Per axis it is KL(target || softmax(logits)) in nats, zero where they are equal; x
    and y are summed, the annotated joints are summed, and the sum is divided by the
    number of joints, a constant, so that a sample with few annotated joints weighs
    less, as in eq. 1. A joint outside the bins on either axis has weight 0.

    Args:
        sigma: Standard deviation of the target, crop units.
        name: Name of the loss.
        kwargs: Those of ``keras.losses.Loss``.

    Raises:
        ValueError: If ``sigma`` is not positive.
    """

    def __init__(
        self, sigma: float = 0.0125, name: str = "simcc", **kwargs: Any
    ) -> None:
        """Set up the loss."""
        super().__init__(name=name, **kwargs)
        if not sigma > 0:
            raise ValueError(f"sigma must be positive. Received: {sigma}")
        self.sigma = float(sigma)

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """Return one loss per sample, ``(batch,)``."""
        low, high = BIN_RANGE
        xy = y_true[..., :2]
        inside = ops.all((xy >= low) & (xy <= high), axis=-1)  # false for NaN
        counts = inside & (y_true[..., 2] > 0)
        xy = ops.where(counts[..., None], xy, 0.0)
        centres = ops.convert_to_tensor(bin_centres(y_pred.shape[-1]), y_pred.dtype)
        distance = (centres - xy[..., None]) / self.sigma
        log_target = ops.log_softmax(-0.5 * ops.square(distance), axis=-1)
        log_predicted = ops.log_softmax(y_pred, axis=-1)
        divergence = ops.sum(
            ops.exp(log_target) * (log_target - log_predicted), axis=(-2, -1)
        )
        weight = ops.cast(counts, y_pred.dtype)
        return ops.mean(weight * divergence, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {**super().get_config(), "sigma": self.sigma}
