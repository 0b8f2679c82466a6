"""Which of a teacher's answers can be believed: they agree with two others.

A teacher makes mistakes, and a network that learns from it learns those too. What a
teacher gets right it says again when it is asked otherwise: for the mirrored picture,
and in the frames before and after. Joints that are said once only are masked, and
frames with too few joints are dropped (issue 5, ``kpose record``).
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from kpose.joints import BODY_13

AGREE = 0.2
"""Torso lengths between two answers that mean the same place: further apart, one of
them is wrong by PCK@0.2, the measure of the paper (section 4)."""

SURE = 0.2
"""A joint of less confidence is a guess, as in ``prediction_files.SHOWN``: a network
guesses the knees that are outside the picture in the same way every time."""

LEAST = 8
"""Joints that must agree: head, shoulders, elbows, wrists and one hip are 8, so that
somebody behind a table can be recorded."""

REACH, REACH_MS = 3, 250.0
"""Neighbours on each side that smooth a frame, and how far away they may be: a wave has
3 periods a second, and a parabola follows no more than half of one."""

GUESS = AGREE / 4
"""Torso lengths at which a neighbour counts half in the smoothing: the scatter of a
good teacher."""

ROUNDS = 8
"""Of reweighting; the weights stand still by then."""

KEPT = ""
NOBODY, DISAGREES, TOO_FEW = "nobody", "disagrees", "too_few_joints"
"""Verdicts on a frame: it is kept; the teacher sees nobody; the torso or all but 7
joints do not agree; the teacher is sure of fewer joints than that inside the
picture."""


class Answer(NamedTuple):
    """What a teacher says about one person in one frame.

    Args:
        plain: ``(13, 2)`` float64, x and y in image pixels; NaN where it says nothing.
        mirrored: The same for the mirrored picture, brought back; None where the
            teacher was not asked.
        confidence: ``(13,)`` 0 to 1; NaN where the teacher gives none.
        size: Width and height of the picture.
        person: Number of the person; another person's frames are no neighbours.
    """

    plain: NDArray[np.float64]
    mirrored: NDArray[np.float64] | None
    confidence: NDArray[np.float64]
    size: tuple[int, int]
    person: int = 0

    @property
    def points(self) -> NDArray[np.float64]:
        """Return ``(13, 2)`` image pixels: the mean of both (paper section 3.7)."""
        return self.plain if self.mirrored is None else (self.plain + self.mirrored) / 2


class Judged(NamedTuple):
    """What is believed of an answer.

    Args:
        agreed: ``(13,)`` bool, the joints to learn from.
        verdict: ``KEPT`` or why the frame is dropped.
    """

    agreed: NDArray[np.bool_]
    verdict: str


def torso(points: NDArray[np.float64]) -> float:
    """Return the length from right shoulder to left hip of ``(13, 2)`` points."""
    a, b = BODY_13.torso
    return float(np.hypot(*(points[a] - points[b])))


def in_sight(answer: Answer) -> bool:
    """Return whether the teacher sees somebody, by the mean of its confidence."""
    known = answer.confidence[np.isfinite(answer.confidence)]
    return not len(known) or float(known.mean()) >= SURE


def sure(answer: Answer) -> NDArray[np.bool_]:
    """Return ``(13,)`` bool: the joints that the teacher sees, inside the picture."""
    inside = (answer.points >= -0.5) & (answer.points <= np.subtract(answer.size, 0.5))
    # NaN is not inside; a confidence that is not given forbids nothing.
    return np.asarray(inside.all(axis=1) & ~(answer.confidence < SURE), np.bool_)


def near(
    a: NDArray[np.float64], b: NDArray[np.float64], length: float
) -> NDArray[np.bool_]:
    """Return which of ``(13, 2)`` points are at most ``AGREE * length`` apart."""
    return np.asarray(np.linalg.norm(a - b, axis=1) <= AGREE * length, np.bool_)


def judge(answer: Answer | None, smoothed: NDArray[np.float64]) -> Judged:
    """Return which joints of an answer agree with the two others.

    A joint without neighbours in time needs the mirrored answer alone; without either
    there is nothing that it could agree with.

    Args:
        answer: The teacher's, None where it sees nobody.
        smoothed: ``(13, 2)`` what ``smooth`` returned, image pixels.
    """
    nothing = np.zeros(len(BODY_13), np.bool_)
    if answer is None or not in_sight(answer):
        return Judged(nothing, NOBODY)
    points, seen = answer.points, sure(answer)
    if not _enough(seen):
        return Judged(nothing, TOO_FEW)
    length = torso(points)
    alone = np.isnan(smoothed).any(axis=1)
    agreed = seen & (alone | near(points, smoothed, length))
    if answer.mirrored is None:
        agreed &= ~alone
    else:
        agreed &= near(answer.plain, answer.mirrored, length)
    return Judged(agreed, KEPT if _enough(agreed) else DISAGREES)


def _enough(joints: NDArray[np.bool_]) -> bool:
    """Return whether there are enough joints, and a torso among them."""
    return bool(joints.sum() >= LEAST and joints[list(BODY_13.torso)].all())


def smooth(
    points: NDArray[np.float64], times_ms: NDArray[np.float64], at: int
) -> NDArray[np.float64]:
    """Return where the joints of a frame should be by the frames around it.

    A parabola over time through the frame and its neighbours, a straight line where
    there are fewer than 5 of them; the further a frame lies from it, the less it counts
    (Cauchy's weights), so that a jump changes neither its own place nor the places of
    its neighbours. A parabola, because the mean or median of a fast wrist is not on its
    path.

    Args:
        points: ``(frames, 13, 2)`` image pixels in order, NaN where unknown.
        times_ms: ``(frames,)`` increasing.
        at: Index of the frame.

    Returns:
        ``(13, 2)`` image pixels; NaN where a joint has fewer than two neighbours.
    """
    first = max(at - REACH, 0)
    times = times_ms[first : at + REACH + 1] - times_ms[at]
    close = np.abs(times) <= REACH_MS
    times, near_by = times[close] / REACH_MS, points[first : at + REACH + 1][close]
    known = np.isfinite(near_by).all(axis=2)  # (frames, 13)
    count = known.sum(axis=0)
    values = np.where(known[:, :, None], near_by, 0.0)
    scale = GUESS * max(torso(points[at]), 1.0)
    if not np.isfinite(scale):
        return np.full_like(points[at], np.nan)
    powers = times[:, None] ** np.arange(3)  # 1, t, t^2
    used = np.where(count[:, None] >= 5, [1.0, 1.0, 1.0], [1.0, 1.0, 0.0])
    terms = powers[:, None] * used  # (frames, 13, 3)
    weights = known.astype(np.float64)
    # Keeps the equations solvable where a term is unused or a joint unknown.
    ridge = np.eye(3) * 1e-9
    fit = np.zeros((len(count), 3, 2))
    for _ in range(ROUNDS):
        weighted = terms * weights[:, :, None]
        left = np.einsum("tji,tjk->jik", weighted, terms) + ridge
        fit = np.linalg.solve(left, np.einsum("tji,tjc->jic", weighted, values))
        off = np.linalg.norm(values - np.einsum("tji,jic->tjc", terms, fit), axis=2)
        weights = known / (1 + (off / scale) ** 2)
    return np.asarray(np.where(count[:, None] >= 3, fit[:, 0], np.nan), np.float64)


Item = TypeVar("Item")


class Judge(Generic[Item]):
    """Judges the frames of one video in order, each when its neighbours are known.

    Whatever is pushed with an answer comes back with what is believed of it, up to
    ``REACH`` frames later.
    """

    def __init__(self) -> None:
        """Start before the first frame."""
        self._frames: deque[tuple[Item, float, Answer | None]] = deque()
        self._next = 0  # index in ``_frames`` of the frame to be judged next

    def push(
        self, item: Item, time_ms: float, answer: Answer | None
    ) -> Iterator[tuple[Item, Judged]]:
        """Add the next frame; yield those that can be judged.

        Args:
            item: What comes back.
            time_ms: When the frame is shown.
            answer: The teacher's, None where it sees nobody.
        """
        self._frames.append((item, time_ms, answer))
        if len(self._frames) > self._next + REACH:
            yield self._judge()

    def rest(self) -> Iterator[tuple[Item, Judged]]:
        """Yield the frames that wait for neighbours that will not come."""
        while self._next < len(self._frames):
            yield self._judge()

    def _judge(self) -> tuple[Item, Judged]:
        item, _, answer = self._frames[self._next]
        judged = judge(answer, _smoothed(self._frames, self._next))
        if self._next == REACH:
            self._frames.popleft()
        else:
            self._next += 1
        return item, judged


def _smoothed(
    frames: Sequence[tuple[object, float, Answer | None]], at: int
) -> NDArray[np.float64]:
    """Return ``smooth`` of a frame by those frames that show the same person."""
    here = frames[at][2]
    nowhere = np.full((len(BODY_13), 2), np.nan)
    if here is None:
        return nowhere
    points = [
        nowhere if other is None or other.person != here.person else other.points
        for _, _, other in frames
    ]
    times = np.array([time for _, time, _ in frames])
    return smooth(np.stack(points), times, at)
