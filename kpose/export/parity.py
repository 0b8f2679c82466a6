"""Whether an artefact answers as the network it was made from, on real pixels."""

from collections.abc import Mapping

import numpy as np

from kpose.errors import GateError
from kpose.images import CROP_SIZE, Image
from kpose.runtime import Network

LIMIT = 0.05
"""Largest difference of any joint, pixels of the 224 crop."""


def compare(
    reference: Network, artefacts: Mapping[str, Network], crops: Image
) -> dict[str, dict[str, float]]:
    """Return how far the artefacts' joints lie from those of the reference.

    Args:
        reference: The Keras network.
        artefacts: What was exported, by name.
        crops: ``(N, size, size, 3)`` RGB uint8, at least one.

    Returns:
        For each artefact ``max_px``, ``mean_px`` and ``p99_px``, distances in pixels of
        the 224 crop over all joints of all crops, ``confidence_max``, the largest
        difference in confidence (0 where the head gives none), and ``spread_px``, how
        far the reference's own answers vary from crop to crop (standard deviation): a
        network that says the same to every crop is easy to agree with.

    Raises:
        GateError: If only one of the two gives a confidence.
    """
    wanted = reference.predict(crops)
    spread = CROP_SIZE * wanted.keypoints.std(axis=0).mean()
    result = {}
    for name, artefact in artefacts.items():
        got = artefact.predict(crops)
        if (got.confidence is None) != (wanted.confidence is None):
            raise GateError(
                f"{name} and the network differ in whether they give a confidence"
            )
        distance = CROP_SIZE * np.linalg.norm(
            got.keypoints.astype(np.float64) - wanted.keypoints, axis=-1
        )
        confidence = 0.0
        if got.confidence is not None and wanted.confidence is not None:
            confidence = float(np.abs(got.confidence - wanted.confidence).max())
        result[name] = {
            "max_px": float(distance.max()),
            "mean_px": float(distance.mean()),
            "p99_px": float(np.percentile(distance, 99)),
            "confidence_max": confidence,
            "spread_px": float(spread),
        }
    return result


def require(differences: Mapping[str, Mapping[str, float]]) -> None:
    """Refuse artefacts that answer differently.

    Args:
        differences: What ``compare`` returned.

    Raises:
        GateError: If a joint of one lies more than ``LIMIT`` away, or is no number.
    """
    bad = [
        f"{name} by up to {row['max_px']:.3g} px"
        for name, row in differences.items()
        if not row["max_px"] <= LIMIT  # also refuses NaN
    ]
    if bad:
        raise GateError(
            f"exports must agree with the network to {LIMIT} px of the {CROP_SIZE} px "
            f"crop, but these do not: {', '.join(bad)}"
        )


def made_crops(size: int, count: int) -> Image:
    """Return crops to compare on where no data is at hand.

    They are smooth random fields: like photographs, and unlike white noise, they have
    structure at every scale, so that the layers work in the range they were trained in.

    Args:
        size: Side in pixels.
        count: How many.

    Returns:
        ``(count, size, size, 3)`` RGB uint8, the same in every run.
    """
    import cv2

    random = np.random.default_rng(0)
    crops = np.zeros((count, size, size, 3))
    for crop in crops:
        for cells in (2, 5, 12, 30, 70):
            field = random.normal(size=(cells, cells, 3))
            crop += cv2.resize(field, (size, size), interpolation=cv2.INTER_CUBIC)
    crops = 127 + 45 * crops / crops.std(axis=(1, 2, 3), keepdims=True)
    return np.asarray(crops.clip(0, 255), np.uint8)
