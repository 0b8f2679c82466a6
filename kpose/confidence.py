"""What a confidence means, and how it becomes true: calibration on labelled persons.

A confidence is the probability that the joint lies within 0.2 torso lengths of the
truth, the distance that PCK calls correct (paper section 4). It comes from a raw
number, which rises (or falls) with that probability, through a curve fitted on persons
that the network was not trained on. Nothing here loads TensorFlow but ``calibrate``.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

MEANING = "probability that the joint is within 0.2 torso lengths of the truth"

BINS = 10
"""Equal bins of confidence in a reliability diagram, as is usual for its error."""

KNOTS = 15
"""Most knots of a curve."""

JOINTS_PER_KNOT = 10
"""Fewest joints whose share of correct ones makes a knot."""

Answer = tuple[NDArray[np.float32], NDArray[np.float32] | None]
"""Keypoints ``(persons, joints, 2)`` in crop units, and the confidence that the network
gives them, ``(persons, joints)``, or None."""


class Curve(NamedTuple):
    """A piecewise linear map from raw numbers to probabilities, flat beyond its ends.

    ``raw`` rises strictly; ``probability`` only rises or only falls.
    """

    raw: list[float]
    probability: list[float]

    def __call__(self, raw: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the probabilities of raw numbers, in their shape."""
        return np.asarray(np.interp(raw, *self), np.float32)


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often keypoints of one confidence are correct.

    Three arrays ``(BINS,)`` over equal bins of confidence from 0 to 1: the number of
    keypoints, their mean confidence and the share of correct ones (both NaN where a bin
    is empty).
    """

    count: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def error(self) -> float:
        """Expected calibration error, 0 to 1; NaN without keypoints.

        The distance between confidence and accuracy, averaged over the keypoints
        (Guo et al. 2017).
        """
        if not self.count.sum():
            return float("nan")
        distance = np.nan_to_num(np.abs(self.confidence - self.accuracy))
        return float(np.average(distance, weights=self.count))


def reliability(confidence: ArrayLike, correct: ArrayLike) -> Reliability:
    """Return how often keypoints of one confidence are correct.

    Args:
        confidence: ``(keypoints,)``, 0 to 1; NaN counts as 0.
        correct: ``(keypoints,)`` bool.
    """
    said = np.nan_to_num(np.asarray(confidence, np.float64))
    right = np.asarray(correct, np.float64)
    bins = np.clip((said * BINS).astype(int), 0, BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    with np.errstate(invalid="ignore"):
        return Reliability(
            count,
            np.bincount(bins, said, BINS) / count,
            np.bincount(bins, right, BINS) / count,
        )


def fit(raw: ArrayLike, correct: ArrayLike, increasing: bool = True) -> Curve | None:
    """Return the curve from raw numbers to the probability of being correct.

    Isotonic regression on bins of equally many keypoints, joined by straight lines, so
    that it is monotone, that no single keypoint decides a knot, and that it never says
    0 or 1.

    Args:
        raw: ``(keypoints,)``; a NaN is left out.
        correct: ``(keypoints,)`` bool.
        increasing: Whether a larger raw number means more probable.

    Returns:
        At most ``KNOTS`` knots, or None where there are too few different keypoints.
    """
    # Half a second that only training pays.
    from scipy.optimize import isotonic_regression

    number, right = np.asarray(raw, np.float64), np.asarray(correct, np.float64)
    finite = np.isfinite(number)
    number, right = number[finite], right[finite]
    bins = min(KNOTS, len(number) // JOINTS_PER_KNOT)
    if bins < 2:
        return None
    parts = np.array_split(np.argsort(number, kind="stable"), bins)
    # Rounded, so that bins of (almost) one number become one knot.
    means = np.round([number[part].mean() for part in parts], 5)
    knots, knot = np.unique(means, return_inverse=True)
    if len(knots) < 2:
        return None
    weights = np.bincount(knot, [len(part) for part in parts])
    # Laplace's rule of succession: ten of ten are not certainty.
    successes = np.bincount(knot, [right[part].sum() for part in parts])
    shares = (successes + 1) / (weights + 2)
    fitted = isotonic_regression(shares, weights=weights, increasing=increasing).x
    return Curve(knots.tolist(), fitted.round(5).tolist())


def flip_raw(plain: Answer, mirrored: Answer) -> NDArray[np.float64]:
    """Return the raw number of the flip test for each joint, ``(persons, joints)``.

    The mean of both confidences, which rises with the probability, or where the head
    gives none, how far the two answers lie apart, which falls: relative to the diagonal
    of the predicted pose, so that it does not matter how much room the crop leaves.

    Args:
        plain: The answers for the crops.
        mirrored: Those for the mirrored crops, brought back.
    """
    if plain[1] is not None and mirrored[1] is not None:
        return np.asarray((plain[1] + mirrored[1]) / 2, np.float64)
    a, b = plain[0].astype(np.float64), mirrored[0].astype(np.float64)
    extent = np.linalg.norm(np.ptp((a + b) / 2, axis=1), axis=-1)
    distance = np.linalg.norm(a - b, axis=-1)
    # A pose of one point has no size: the least probable.
    return np.asarray(distance / np.maximum(extent, 1e-6)[:, None])


def flip_curve(card: dict[str, Any]) -> Curve | None:
    """Return the curve of the flip test in a model's card, None if not calibrated."""
    stored = (card.get("confidence") or {}).get("flip_test")
    return None if stored is None else Curve(stored["raw"], stored["probability"])


def is_calibrated(card: dict[str, Any]) -> bool:
    """Return whether a model's card says that its confidences are probabilities."""
    return flip_curve(card) is not None


def calibrate(
    joints: NDArray[np.float32],
    plain: Answer,
    mirrored: Answer,
    torso: tuple[int, int],
    groups: ArrayLike,
) -> dict[str, Any]:
    """Fit the curves of one pass and of the flip test.

    Args:
        joints: ``(persons, joints, 3)``: crop units, 1 where annotated.
        plain: The network's answers for the crops, not calibrated.
        mirrored: Those for the mirrored crops, brought back.
        torso: Indices of the two torso joints (``Skeleton.torso``).
        groups: ``(persons,)``: persons of one group are never on both sides of the
            cross-validation.

    Returns:
        What the card says: ``one_pass`` (None where the head gives no confidence) and
        ``flip_test``, each with ``raw`` and ``probability`` (the curve), ``persons``
        and ``joints`` it was fitted on, and ``ece``, the expected calibration error on
        persons it was not fitted on (2-fold; None where there are too few). Both are
        None where there are too few joints, or all answers are alike.
    """
    # Loads TensorFlow.
    from kpose.metrics import correct

    averaged = (plain[0] + mirrored[0]) / 2
    right = [np.asarray(correct(joints, k, torso)[0]) for k in (plain[0], averaged)]
    counted = np.asarray(correct(joints, averaged, torso)[1])
    one_pass = None
    if plain[1] is not None and mirrored[1] is not None:
        one_pass = _fit_card(plain[1], right[0], counted, groups, increasing=True)
        if one_pass is None:
            return {"meaning": MEANING, "one_pass": None, "flip_test": None}
        curve = Curve(one_pass["raw"], one_pass["probability"])
        plain, mirrored = (plain[0], curve(plain[1])), (mirrored[0], curve(mirrored[1]))
    flip_test = _fit_card(
        flip_raw(plain, mirrored),
        right[1],
        counted,
        groups,
        increasing=one_pass is not None,
    )
    if flip_test is None:
        one_pass = None
    return {"meaning": MEANING, "one_pass": one_pass, "flip_test": flip_test}


def _fit_card(
    raw: NDArray[np.floating],
    correct: NDArray[np.bool_],
    counted: NDArray[np.bool_],
    groups: ArrayLike,
    *,
    increasing: bool,
) -> dict[str, Any] | None:
    """Fit one curve, and again on each half of the groups to measure its error."""
    curve = fit(raw[counted], correct[counted], increasing)
    if curve is None:
        return None
    half = np.unique(np.asarray(groups), return_inverse=True)[1] % 2 == 0
    said = np.zeros(raw.shape)
    error: float | None = None
    halves = [
        fit(raw[part][counted[part]], correct[part][counted[part]], increasing)
        for part in (half, ~half)
    ]
    if halves[0] is not None and halves[1] is not None:
        said[~half], said[half] = halves[0](raw[~half]), halves[1](raw[half])
        error = round(reliability(said[counted], correct[counted]).error, 4)
    return {
        "raw": curve.raw,
        "probability": curve.probability,
        "persons": int(counted.any(axis=1).sum()),
        "joints": int(counted.sum()),
        "ece": error,
    }
