"""Smoothing of joints over time: the One-Euro filter, on time stamps.

One-Euro (Casiez, Roussel, Vogel 2012) is a low-pass whose cutoff rises with speed: a
joint at rest stands still, a fast one is hardly delayed. Here both of its low-passes
are solved exactly for a signal that is linear between two measurements, instead of in
the usual one-step form, so that the path depends on when a joint was where and not on
how often it was measured.
"""

import math

import numpy as np
from numpy.typing import NDArray

MIN_CUTOFF = 2.0
"""Cutoff of a joint at rest, Hz."""

BETA = 10.0
"""Rise of the cutoff with speed, Hz per person size per second. A joint that moves one
person size per second lags 1 / (2 pi (2 + 10)) s = 13 ms behind."""

SPEED_CUTOFF = 2.0
"""Cutoff of the speed itself, Hz."""

MAX_GAP_MS = 500.0
"""After a longer gap the filter starts again."""


class OneEuro:
    """The filter of one person; call it with each new measurement."""

    def __init__(self) -> None:
        """Start without a measurement."""
        self._time: float | None = None
        self._measured: NDArray[np.float64]
        self._smooth: NDArray[np.float64]
        self._velocity: NDArray[np.float64]

    def __call__(
        self, points: NDArray[np.float64], time_ms: float, size: float
    ) -> NDArray[np.float64]:
        """Return the smoothed joints.

        The first measurement, and one after a gap (``MAX_GAP_MS``) or a step back in
        time, comes back as it is.

        Args:
            points: ``(joints, 2)`` measured, image pixels. A joint with a NaN comes
                back as NaN and starts again.
            time_ms: When they were measured.
            size: Length of the person in image pixels, the unit of speed, so that the
                filter does the same at any resolution.

        Returns:
            ``(joints, 2)`` image pixels.
        """
        gap = math.inf if self._time is None else time_ms - self._time
        if not 0 < gap <= MAX_GAP_MS:
            self._smooth, self._velocity = points.copy(), np.zeros_like(points)
        else:
            self._advance(points, gap / 1000, size)
        self._time, self._measured = time_ms, points.copy()
        return self._smooth.copy()

    def _advance(
        self, points: NDArray[np.float64], seconds: float, size: float
    ) -> None:
        slope = (points - self._measured) / seconds
        keep = math.exp(-2 * math.pi * SPEED_CUTOFF * seconds)
        velocity = slope + (self._velocity - slope) * keep
        speed = np.linalg.norm(velocity, axis=1, keepdims=True) / size
        delay = 1 / (2 * math.pi * (MIN_CUTOFF + BETA * speed))
        # The low-pass's answer to a ramp is the ramp, `delay` later; what it was off
        # before decays.
        behind = slope * delay
        smooth = points - behind
        smooth += (self._smooth - self._measured + behind) * np.exp(-seconds / delay)
        fresh = np.isnan(smooth).any(axis=1)
        smooth[fresh], velocity[fresh] = points[fresh], 0
        self._smooth, self._velocity = smooth, velocity
