"""What a tracker does wrong: faults put into true joints, to measure filters with."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kpose.joints import BODY_13
from kpose_datasets.studio.figure import Floats

KINDS = ("none", "swap", "jump", "drift")
"""What happened to a joint. ``drift`` is the Kinect's guess of a hidden joint: it stays
where it was last seen, or glides onto the trunk."""

NONE, SWAP, JUMP, DRIFT = range(len(KINDS))

LONGEST = 8
"""Frames of the longest fault: a quarter of a second of a Kinect."""

VISIBLE = 0.1
"""A joint less than so many torso lengths from its true place is not wrong: left and
right of two joints that lie upon each other may be exchanged, and nobody sees it."""

JUMPS = (0.3, 1.0)
"""How far a joint jumps, in torso lengths."""

INFERRED, TRACKED = 1, 2

_PAIRS = np.array([(i, j) for i, j in enumerate(BODY_13.swap) if i < j], np.intp)
_HIDDEN = tuple(
    index
    for name in ("elbow", "wrist", "knee", "ankle")
    for index in BODY_13.groups[name]
)
_SHOULDERS, _HIPS = BODY_13.groups["shoulder"], BODY_13.groups["hip"]
_TRIES = 200


class Faulty(NamedTuple):
    """Joints as a bad tracker gives them.

    Args:
        points: ``(T, 13, 2)`` image pixels.
        states: ``(T, 13)`` int8: 1 inferred, 2 tracked.
        wrong: ``(T, 13)`` bool: at least ``VISIBLE`` torso lengths from the truth.
        kind: ``(T, 13)`` int8, index into ``KINDS``. A joint with a kind that is not
            ``wrong`` is too near the truth to see a fault; measures leave it out.
    """

    points: Floats
    states: NDArray[np.int8]
    wrong: NDArray[np.bool_]
    kind: NDArray[np.int8]


def inject(
    points: Floats,
    states: NDArray[np.int8],
    seed: int,
    share: float = 0.05,
    *,
    inferred_right: float = 0.0,
) -> Faulty:
    """Put faults into a track.

    ``share`` of all joints become wrong, a third of them by each kind, in runs of 1 to
    ``LONGEST`` frames. Of each kind, one half stays marked as tracked and the other is
    marked as inferred, whole runs at a time.

    Args:
        points: ``(T, 13, 2)`` true places in image pixels.
        states: ``(T, 13)``; only joints that are tracked here get a fault.
        seed: The same faults for the same seed.
        share: Wrong joints over all joints. Fewer where the track has no room for them.
        inferred_right: Share of runs of right joints that are marked as inferred, as
            a Kinect marks a hand that it hardly sees. Masking those is not a mistake
            of a filter and not its merit.

    Returns:
        New arrays; the arguments are not changed.
    """
    rng = np.random.default_rng([seed, 5])
    true, states = points, states.copy()
    points = points.copy()
    frames, joints = states.shape
    kind = np.zeros((frames, joints), np.int8)
    wrong = np.zeros((frames, joints), bool)
    free = (states == TRACKED) & np.isfinite(true).all(axis=2)
    diagonal = true[:, BODY_13.torso[0]] - true[:, BODY_13.torso[1]]
    torso = np.hypot(diagonal[:, 0], diagonal[:, 1])
    counts = np.zeros((len(KINDS), 2), int)  # by kind: marked inferred, marked tracked
    for one in (SWAP, JUMP, DRIFT) if frames else ():
        tries = 0
        while counts[one].sum() < share * frames * joints / 3 and tries < _TRIES:
            run = _run(rng, frames)
            chosen, moved = _fault(rng, one, true, torso, run)
            cell = np.ix_(run, chosen)
            away = np.hypot(*np.moveaxis(moved - true[cell], 2, 0))
            visible = away >= VISIBLE * torso[run, None]
            if not free[cell].all() or not visible.any():
                tries += 1
                continue
            tries = 0
            marked = int(counts[one, 1] <= counts[one, 0])
            points[cell], kind[cell], wrong[cell] = moved, one, visible
            states[cell] = TRACKED if marked else INFERRED
            free[cell] = False
            counts[one, marked] += int(visible.sum())
    marked = 0
    for _ in range(10 * frames * joints if inferred_right > 0 else 0):
        if marked >= inferred_right * frames * joints:
            break
        run, joint = _run(rng, frames), int(rng.choice(_HIDDEN))
        if free[run, joint].all():
            states[run, joint] = INFERRED
            free[run, joint] = False
            marked += len(run)
    return Faulty(points, states, wrong, kind)


def _run(rng: np.random.Generator, frames: int) -> NDArray[np.intp]:
    length = min(int(rng.integers(1, LONGEST + 1)), frames)
    first = int(rng.integers(frames - length + 1))
    return np.arange(first, first + length)


def _fault(
    rng: np.random.Generator,
    kind: int,
    true: Floats,
    torso: Floats,
    run: NDArray[np.intp],
) -> tuple[NDArray[np.intp], Floats]:
    """Draw a fault: the joints, and their places, ``(run, joints, 2)``."""
    if kind == SWAP:
        pair = _PAIRS[int(rng.integers(len(_PAIRS)))]
        return pair, true[np.ix_(run, pair[::-1])]
    if kind == JUMP:
        joint = int(rng.integers(true.shape[1]))
        angle = rng.uniform(0, 2 * np.pi)
        step = rng.uniform(*JUMPS) * torso[run, None]
        moved = true[run, joint] + step * [np.cos(angle), np.sin(angle)]
        return np.array([joint]), moved[:, None]
    joint = int(rng.choice(_HIDDEN))
    held = true[max(int(run[0]) - 1, 0), joint]
    place = np.repeat(held[None], len(run), axis=0)
    if rng.random() < 0.5:  # onto the trunk
        right, high = rng.uniform(0.1, 0.9, 2)
        top, low = (
            right * true[run, pair[0]] + (1 - right) * true[run, pair[1]]
            for pair in (_SHOULDERS, _HIPS)
        )
        goal = high * top + (1 - high) * low
        pull = 1 - np.exp(-np.arange(1, len(run) + 1) / rng.uniform(0.5, 3.0))
        place = place + pull[:, None] * (goal - place)
    return np.array([joint]), place[:, None]
