"""Which joints of a tracker are wrong, seen from one person's track alone.

A Kinect marks joints that it does not see, but it also exchanges left and right, lets a
joint jump away for some frames, or lets it drift onto the trunk, and calls it tracked.
``find`` names the joints that a network must not learn from. No picture is looked at:
what counts is that a body has inertia and that its bones do not grow.

All lengths are relative to the length of the trunk at that time, so that a person near
the camera, or one who walks towards it, is judged as any other.

The filter sees what changes within half a second. What is wrong for longer and fits a
body, such as a hand that rests on the wrong hip for a minute, it cannot tell; and the
fewer frames per second, the less is impossible (at 5 fps only limbs that are too long).
"""

from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from kpose.joints import BODY_13

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

REASONS = (
    "good",
    "untracked",
    "inferred",
    "outside",
    "swapped",
    "speed",
    "bone_length",
)
"""What ``find`` answers with: an index into these names. The first that holds wins."""

GOOD, UNTRACKED, INFERRED, OUTSIDE, SWAPPED, SPEED, BONE_LENGTH = range(len(REASONS))

PAIRS = np.array([(i, j) for i, j in enumerate(BODY_13.swap) if i < j], np.intp)
"""``(6, 2)``: the joints that can be exchanged, right and left."""

LENGTHS = {
    ("head", "shoulder"): 0.72,
    ("shoulder", "shoulder"): 0.7,
    ("shoulder", "elbow"): 0.6,
    ("elbow", "wrist"): 0.52,
    ("shoulder", "hip"): 1.02,
    ("hip", "hip"): 0.42,
    ("hip", "knee"): 0.87,
    ("knee", "ankle"): 0.85,
}
"""Limbs of an adult, from joint to joint, over the way from the middle of the shoulders
to the middle of the hips: the unit of length here, about 0.5 m."""

MIN_NOISE, MAX_NOISE = 0.02, 0.2
"""Limits of the standard deviation of a good joint, which is measured per joint."""

ACCELERATION = 25.0
"""Typical largest acceleration of a joint, units per second squared: a hand that waves
twice per second, 0.1 m either way, has 30."""

START_SPEED = 4.0
"""Typical speed of a joint whose past is not known, units per second."""

SKIP, OPEN, BREAK = 3.0, 8.0, 45.0
"""Costs, in squared standard deviations over two: of a frame in which a joint is
wrong, of the first of several such frames (one half at either end of the track), and of
a joint that from now on is somewhere else."""

REACH = 16
"""A track goes on over up to ``REACH - 1`` wrong samples."""

REACH_SECONDS = 0.5
"""And over wrong ones for so long: afterwards a body may be anywhere."""

SWITCH, EXCHANGED, SURPRISE = 10.0, 0.3, 20.0
"""Costs of a pair that begins or ends to be exchanged, of a frame in which it is, and
the most that one joint of one frame can count: it may be wrong in another way."""

TOO_LONG = 1.35
"""A limb longer than so many times its usual length is wrong."""


def find(
    points: Floats,
    states: NDArray[np.int8],
    seconds: Floats,
    size: tuple[int, int] | None,
    *,
    keep_inferred: bool = False,
) -> NDArray[np.int8]:
    """Return what is wrong with each joint of a track.

    The answer does not depend on where the person is, how large, or which way round the
    picture is, apart from its edge and the point 0, 0.

    Args:
        points: ``(T, 13, 2)`` image pixels in the order of ``kpose.joints.BODY_13``,
            NaN where there is none.
        states: ``(T, 13)``: 0 untracked, 1 inferred, 2 tracked.
        seconds: ``(T,)`` time of each frame, rising; gaps are allowed.
        size: Width and height of the picture; None where it is not known.
        keep_inferred: Judge inferred joints as tracked ones are.

    Returns:
        ``(T, 13)`` index into ``REASONS``; 0 is a good joint.
    """
    points = np.asarray(points, np.float64)
    reasons = _unseen(points, states, size, keep_inferred)
    if not (reasons == GOOD).any():
        return reasons
    # Two frames at the same time would make every motion infinitely fast.
    seconds = np.cumsum(np.maximum(np.diff(seconds, prepend=seconds[0]), 1e-3))
    seen = np.where((reasons == GOOD)[..., None], points, np.nan)
    seen /= _unit(seen, seconds)[:, None, None]
    seen -= _travel(seen)[:, None]
    noise = _noise(seen, seconds)

    swapped = _swapped(seen, seconds, noise)
    for number, pair in enumerate(PAIRS):
        rows = np.flatnonzero(swapped[:, number])
        seen[np.ix_(rows, pair)] = seen[np.ix_(rows, pair[::-1])]
        reasons[np.ix_(rows, pair)] = SWAPPED

    jumps = _jumps(seen, seconds, noise)
    reasons[jumps & (reasons == GOOD)] = SPEED
    seen[jumps] = np.nan
    reasons[_too_long(seen, seconds) & (reasons == GOOD)] = BONE_LENGTH
    return reasons


def _unseen(
    points: Floats,
    states: NDArray[np.int8],
    size: tuple[int, int] | None,
    keep_inferred: bool,
) -> NDArray[np.int8]:
    """Return the reasons that a joint shows by itself."""
    finite = np.isfinite(points).all(axis=2)
    reasons = np.zeros(states.shape, np.int8)
    if size is not None:
        # Pixel i covers i - 0.5 to i + 0.5.
        inside = (points >= -0.5) & (points <= np.array(size) - 0.5)
        reasons[~inside.all(axis=2)] = OUTSIDE
    if not keep_inferred:
        reasons[states == 1] = INFERRED
    # Much software writes 0, 0 for a joint that has no place.
    reasons[(states == 0) | ~finite | (points == 0).all(axis=2)] = UNTRACKED
    return reasons


def _adult() -> tuple[NDArray[np.intp], Floats]:
    """Return ``(limbs, 2)`` joints, the outer one last, and ``(limbs,)`` lengths."""
    lengths = []
    for limb in BODY_13.limb_indices:
        a, b = (BODY_13.names[i].split("_")[-1] for i in limb)
        lengths.append(LENGTHS[a, b])
    return np.array(BODY_13.limb_indices, np.intp), np.array(lengths)


LIMBS, ADULT = _adult()


def _limb_lengths(points: Floats) -> Floats:
    """Return ``(T, limbs)``, NaN where an end is missing."""
    ends = points[:, LIMBS[:, 0]] - points[:, LIMBS[:, 1]]
    return np.asarray(np.hypot(ends[..., 0], ends[..., 1]), np.float64)


def _unit(points: Floats, seconds: Floats) -> Floats:
    """Return ``(T,)``: the length of the trunk in pixels, as if seen from the front."""
    ratios = np.sort(np.nan_to_num(_limb_lengths(points) / ADULT, nan=0.0), axis=1)
    # A limb looks short when it points at the camera and long when it is wrong, and an
    # exchange makes four of them long: take one that is long, but not of the longest.
    rank = np.maximum((ratios > 0).sum(axis=1) * 5 // len(LIMBS), 1)
    unit = ratios[np.arange(len(ratios)), -rank]
    known = unit > 0
    if not known.any():
        return np.full(len(points), np.inf)  # nothing to compare a motion with
    unit = np.interp(seconds, seconds[known], unit[known])
    unit = np.median(_windows(unit, seconds, 1.0), axis=1)
    # Without steps, which would look like jumps of the joints.
    return np.asarray(_windows(unit, seconds, 0.5).mean(axis=1), np.float64)


def _windows(values: Floats, seconds: Floats, reach: float) -> Floats:
    """Return ``(T, n)``: each value and those ``reach`` seconds about it."""
    if len(values) < 2:
        return values[:, None]
    half = int(np.clip(reach / np.median(np.diff(seconds)), 2, 30))
    padded = np.pad(values, half, mode="edge")
    return sliding_window_view(padded, 2 * half + 1)


def _travel(points: Floats) -> Floats:
    """Return ``(T, 2)``: the way of the whole body.

    Steps of the person, of the camera, or over pictures that were not stored are not
    faults of a joint.
    """
    frames = np.flatnonzero(np.isfinite(points[..., 0]).any(axis=1))
    steps = np.zeros((len(points), 2))
    for last, now in pairwise(frames):
        moves = points[now] - points[last]
        moves = moves[np.isfinite(moves[:, 0])]
        if len(moves) > 4:  # of fewer, one that is wrong would move the middle
            steps[now] = np.median(moves, axis=0)
    return np.cumsum(steps, axis=0)


def _bend(before: Floats, now: Floats, after: Floats, q: Floats) -> Floats:
    """Return the squared distance from where a steady motion would have led.

    ``q`` is the time from ``now`` to ``after`` over that from ``before`` to ``now``.
    """
    rest = after - now - q[..., None] * (now - before)
    return np.asarray((rest**2).sum(axis=-1), np.float64)


def _spread(noise: Floats, g: Floats, h: Floats) -> Floats:
    """Return the variance of ``_bend``: noise, and the acceleration of a gesture.

    ``g`` and ``h`` are the times before and after the middle of the three samples.
    """
    q = h / g
    bent = 0.5 * ACCELERATION * h * (h + g)
    return np.asarray(noise**2 * (1 + (1 + q) ** 2 + q**2) + bent**2, np.float64)


def _noise(points: Floats, seconds: Floats) -> Floats:
    """Return ``(13,)``: how much each joint trembles, standard deviation."""
    noise = np.full(points.shape[1], MIN_NOISE)
    for j in range(len(noise)):
        there = np.isfinite(points[:, j, 0])
        if there.sum() < 10:
            continue
        p, steps = points[there, j], np.diff(seconds[there])
        q = steps[1:] / steps[:-1]
        bend = _bend(p[:-2], p[1:-1], p[2:], q) / (1 + (1 + q) ** 2 + q**2)
        # The median of x^2 + y^2 is 1.386 variances; gestures and faults are the
        # exception.
        noise[j] = 1.2 * np.sqrt(np.median(bend) / 1.386)
    return np.asarray(np.clip(noise, MIN_NOISE, MAX_NOISE), np.float64)


def _swapped(points: Floats, seconds: Floats, noise: Floats) -> Bools:
    """Return ``(T, pairs)``: frames in which right and left are exchanged.

    Dynamic programming over what a pair is in two frames that follow each other. Where
    nothing else tells, the longer time is the right way round.
    """
    swapped = np.zeros((len(points), len(PAIRS)), bool)
    for number, pair in enumerate(PAIRS):
        rows = np.flatnonzero(np.isfinite(points[:, pair, 0]).all(axis=1))
        if len(rows) < 3:
            continue
        both, steps = points[np.ix_(rows, pair)], np.diff(seconds[rows])
        swapped[rows, number] = _exchanges(both, steps, float(noise[pair].max()))
    return swapped


def _exchanges(both: Floats, steps: Floats, noise: float) -> Bools:
    """Return ``(n,)`` for the ``(n, 2, 2)`` places of a pair."""
    n = len(both)
    g, h = steps[:-1], steps[1:]
    spread = _spread(np.array(noise), g, h)
    # cost[t, a, b, c]: of frames t, t + 1 and t + 2, exchanged or not.
    cost = np.zeros((n - 2, 2, 2, 2))
    turned = (both, both[:, ::-1])
    for a, b, c in np.ndindex(2, 2, 2):
        bend = _bend(turned[a][:-2], turned[b][1:-1], turned[c][2:], (h / g)[:, None])
        cost[:, a, b, c] = np.minimum(bend / spread[:, None] / 2, SURPRISE).sum(axis=1)
        cost[:, a, b, c] += EXCHANGED * c
        # After a gap a tracker may have changed its mind for nothing.
        cost[:, a, b, c] += np.where(h < REACH_SECONDS, SWITCH * (b != c), 0.0)
    total = np.array([[0.0, SWITCH + EXCHANGED], [SWITCH, 0.0]])
    total[1] += EXCHANGED
    back = np.zeros((n - 2, 2, 2), np.int8)
    for t in range(n - 2):
        ways = total[:, :, None] + cost[t]
        back[t] = np.argmin(ways, axis=0)
        total = np.minimum(ways[0], ways[1])
    answer = np.zeros(n, bool)
    b, c = np.unravel_index(int(np.argmin(total)), (2, 2))
    answer[-2:] = b, c
    for t in range(n - 3, -1, -1):
        b, c = back[t, b, c], b
        answer[t] = b
    return answer


def _jumps(points: Floats, seconds: Floats, noise: Floats) -> Bools:
    """Return ``(T, 13)``: joints that leave the track of their neighbours in time."""
    there = np.isfinite(points[..., 0])
    counts = there.sum(axis=0)
    # Each joint has its own gaps: lay the samples of all side by side.
    shape = (int(counts.max()), points.shape[1])
    track = np.zeros((*shape, 2))
    # Beyond the end of a track time goes on, so that nothing is divided by zero.
    times = np.repeat(seconds[-1] + 1.0 + np.arange(shape[0])[:, None], shape[1], 1)
    for j, count in enumerate(counts):
        track[:count, j] = points[there[:, j], j]
        times[:count, j] = seconds[there[:, j]]
    kept = _tracks(track, times, counts, noise)
    wrong = np.zeros(there.shape, bool)
    for j, count in enumerate(counts):
        good = kept[:count, j]
        _keep_fast_moves(good, track[:count, j])
        wrong[there[:, j], j] = ~good
    return wrong


def _tracks(
    track: Floats, times: Floats, counts: NDArray[np.intp], noise: Floats
) -> Bools:
    """Return ``(n, joints)``: the samples of the smoothest track through most of them.

    Dynamic programming over pairs of samples that follow each other in the track; what
    lies between the two is wrong.

    Args:
        track: ``(n, joints, 2)`` places of each joint.
        times: ``(n, joints)`` seconds, rising.
        counts: How many of the samples each joint has.
        noise: ``(joints,)`` standard deviations.
    """
    n, joints = times.shape
    # Rows before the first sample stand for nothing; no track goes through them.
    rows = 2 * REACH
    places = np.concatenate([np.zeros((rows, joints, 2)), track])
    past = times[0].min() - 1.0 - np.arange(rows)[::-1, None]
    clock = np.concatenate([np.repeat(past, joints, axis=1), times])
    # cost[row, k, j]: of joint j's best track that ends with this row and k rows before
    # it; k = 0: with this row, from where it begins anew.
    cost = np.full((n + rows, REACH + 1, joints), np.inf)
    back = np.zeros((n + rows, REACH + 1, joints), np.int8)
    origin = np.full((n, joints), -1)
    steps = np.arange(1, REACH + 1)
    gap = np.where(steps > 1, OPEN + SKIP * (steps - 1), 0.0)[:, None]
    missed, source = np.zeros(joints), np.full(joints, -1)
    for i in range(n):
        row = i + rows
        last = row - steps
        before = last[:, None] - steps
        h = clock[row] - clock[last]
        g = clock[last][:, None] - clock[before]
        bend = _bend(places[before], places[last][:, None], places[row], h[:, None] / g)
        total = np.empty((REACH, REACH + 1, joints))
        total[:, 1:] = bend / _spread(noise, g, h[:, None]) / 2
        move = ((places[row] - places[last]) ** 2).sum(axis=2)
        total[:, 0] = move / (2 * noise**2 + (START_SPEED * h) ** 2) / 2
        total += cost[last]
        pick = np.argmin(total, axis=1)
        best = np.take_along_axis(total, pick[:, None], axis=1)[:, 0] + gap
        best[clock[row - 1] - clock[last + 1] > REACH_SECONDS] = np.inf
        cost[row, 0], origin[i] = missed, source
        cost[row, 1:], back[row, 1:] = best, pick
        anew = cost[row].min(axis=0) + BREAK
        missed = missed + (SKIP if i else 0.5 * OPEN + SKIP)
        source = np.where(anew < missed, i, source)
        missed = np.minimum(anew, missed)
    kept = np.zeros((n, joints), bool)
    way = np.argmin(cost[rows:], axis=1)
    least = cost[rows:].min(axis=1)
    for j, count in enumerate(counts):
        after = count - 1 - np.arange(count)
        ends = least[:count, j] + np.where(after > 0, 0.5 * OPEN + SKIP * after, 0.0)
        i = int(np.argmin(ends)) if count else -1
        k = int(way[i, j])
        while i >= 0:
            kept[i, j] = True
            if k:
                i, k = i - k, int(back[i + rows, k, j])
            else:
                i = int(origin[i, j])
                k = int(way[i, j])
    return kept


def _keep_fast_moves(good: Bools, track: Floats) -> None:
    """Take back what lies on a straight way from one good sample to the next.

    A joint that moves on very fast is not smooth, but nor does it come back. What stays
    behind and then catches up at once is wrong; so there must be places on the way.
    """
    edges = np.flatnonzero(good)
    for first, last in pairwise(edges):
        if last - first < 2:
            continue
        steps = np.diff(track[first : last + 1], axis=0)
        lengths = np.hypot(steps[:, 0], steps[:, 1])
        far = float(np.hypot(*(track[last] - track[first])))
        if far > 0 and lengths.sum() < 1.5 * far and lengths.max() < 0.75 * far:
            good[first:last] = True


def _too_long(points: Floats, seconds: Floats) -> Bools:
    """Return ``(T, 13)``: joints that make limbs longer than they can be."""
    lengths = _limb_lengths(points)
    usual = np.zeros(len(LIMBS))
    for limb, values in enumerate(lengths.T):
        known = values[np.isfinite(values)]
        if len(known):
            usual[limb] = np.quantile(known, 0.9)
    # A limb that points at the camera most of the time is longer than it looks, and one
    # that is wrong most of the time is shorter.
    longs = lengths > TOO_LONG * np.clip(usual, 0.85 * ADULT, 1.2 * ADULT)
    wrong = np.zeros(points.shape[:2], bool)
    rows = np.flatnonzero(longs.any(axis=1))
    if not len(rows):
        return wrong
    away = _away(points, seconds)
    ends = np.zeros((len(LIMBS), points.shape[1]))
    for limb, (inner, outer) in enumerate(LIMBS):
        ends[limb, inner] = 1.0
        ends[limb, outer] = 1.0 if inner == BODY_13.swap[outer] else 1.01
    while len(rows):
        # The joint of the most such limbs is it, and of two the one that is farther
        # from where it mostly is, or else the outer one; the other may be innocent.
        votes = longs[rows] @ ends
        votes += np.where(votes > 0, away[rows], 0)
        worst = votes > votes.max(axis=1, keepdims=True) - 1e-6
        wrong[rows] |= worst
        longs[rows] &= (worst @ ends.T) == 0
        rows = rows[longs[rows].any(axis=1)]
    return wrong


def _away(points: Floats, seconds: Floats) -> Floats:
    """Return ``(T, 13)``, at most 0.9: how far a joint is from where it mostly is."""
    away = np.zeros(points.shape[:2])
    for j in range(points.shape[1]):
        there = np.isfinite(points[:, j, 0])
        if there.any():
            p, t = points[there, j], seconds[there]
            middle = np.stack(
                [np.median(_windows(p[:, i], t, 0.5), axis=1) for i in range(2)], axis=1
            )
            away[there, j] = np.hypot(*(p - middle).T)
    return np.minimum(away, 0.9)
