"""Who is who from frame to frame: people get numbers by box and pose.

No appearance is used: two people who change places while nobody sees them change
numbers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from kpose.geometry import Box

SAME_PERSON = 0.3
"""Least similarity, 0 to 1, of a person and a track."""

MEMORY_MS = 1000.0
"""A person who is away for longer comes back under a new number."""

EXTRAPOLATION_MS = 300.0
"""A track that is away is thought to go on at its speed for so long, then to stand."""

KERNEL = 0.15
"""Distance, in person sizes, at which a joint's similarity falls to exp(-1/2)."""

VELOCITY_MS = 200.0
"""Time constant of a track's velocity."""


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """A person in one frame.

    ``box`` is the person's box and ``points`` ``(joints, 2)`` the joints, both in image
    pixels.
    """

    box: Box
    points: NDArray[np.float64]

    def moved(self, dx: float, dy: float) -> "Sighting":
        """Return the same person ``dx`` pixels to the right and ``dy`` down."""
        x0, y0, x1, y1 = self.box
        box = Box(x0 + dx, y0 + dy, x1 + dx, y1 + dy)
        return Sighting(box, self.points + np.array([dx, dy]))


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """A numbered person: last seen where, when, and moving at what velocity.

    ``velocity`` is (x, y) in pixels per millisecond.
    """

    id: int
    seen: Sighting
    time_ms: float
    velocity: tuple[float, float] = (0.0, 0.0)

    def expected(self, time_ms: float) -> Sighting:
        """Return where the person should be by now."""
        away = min(max(time_ms - self.time_ms, 0.0), EXTRAPOLATION_MS)
        return self.seen.moved(self.velocity[0] * away, self.velocity[1] * away)


class Tracker:
    """Numbers people over the frames of one video.

    Attributes:
        tracks: Everybody who is remembered, by number.
    """

    def __init__(self) -> None:
        """Start without people; the first is number 1."""
        self.tracks: dict[int, Track] = {}
        self._last = 0

    def match(
        self, sightings: Sequence[Sighting], time_ms: float, taken: set[int]
    ) -> list[int | None]:
        """Return the number of the track that each person is, None for a new one.

        Every track is given to one person at most, so that the sum of similarities is
        the largest. Nothing is changed.

        Args:
            sightings: The people of one frame.
            time_ms: When.
            taken: Numbers of tracks that nobody may get.
        """
        candidates = [
            track
            for track in self.tracks.values()
            if track.id not in taken and time_ms - track.time_ms <= MEMORY_MS
        ]
        ids: list[int | None] = [None] * len(sightings)
        if not candidates or not sightings:
            return ids
        expected = [track.expected(time_ms) for track in candidates]
        matrix = np.array([[similarity(s, e) for e in expected] for s in sightings])
        # Below the limit all are alike: none may push a good pair aside.
        # A broken network's NaN is like nobody.
        matrix[~(matrix >= SAME_PERSON)] = 0
        for row, column in zip(
            *linear_sum_assignment(matrix, maximize=True), strict=True
        ):
            if matrix[row, column] > 0:
                ids[row] = candidates[column].id
        return ids

    def add(self, sighting: Sighting, time_ms: float) -> int:
        """Remember a new person and return the number."""
        self._last += 1
        self.tracks[self._last] = Track(self._last, sighting, time_ms)
        return self._last

    def see(self, id: int, sighting: Sighting, time_ms: float) -> None:
        """Note where a known person is by now."""
        track = self.tracks[id]
        velocity = track.velocity
        if (gap := time_ms - track.time_ms) > 0:
            # Joints tell more of a motion than the edges of a box.
            dx, dy = np.median(sighting.points - track.seen.points, axis=0).tolist()
            share = 1 - math.exp(-gap / VELOCITY_MS)
            velocity = (
                velocity[0] + share * (dx / gap - velocity[0]),
                velocity[1] + share * (dy / gap - velocity[1]),
            )
        self.tracks[id] = Track(id, sighting, time_ms, velocity)

    def forget(self, time_ms: float) -> list[int]:
        """Drop whoever is away for longer than ``MEMORY_MS``; return their numbers."""
        gone = [
            track.id
            for track in self.tracks.values()
            if not -MEMORY_MS <= time_ms - track.time_ms <= MEMORY_MS
        ]
        for id in gone:
            del self.tracks[id]
        return gone


def similarity(a: Sighting, b: Sighting) -> float:
    """Return how likely two sightings are of one person, 0 to 1.

    It is the mean of the boxes' intersection over union and of the similarity of the
    poses.
    """
    return (a.box.iou(b.box) + pose_similarity(a, b)) / 2


def pose_similarity(a: Sighting, b: Sighting) -> float:
    """Return the mean over the joints of a Gaussian of their distance, 0 to 1.

    Like COCO's object keypoint similarity, with one width for all joints: ``KERNEL``
    times the longest side of the smaller box.
    """
    size = min(max(a.box.width, a.box.height), max(b.box.width, b.box.height))
    squared = np.square(a.points - b.points).sum(axis=1)
    return float(np.exp(-squared / (2 * (KERNEL * size) ** 2)).mean())
