"""What people do: poses drawn at random, and the gestures of the use case."""

import numpy as np
from numpy.typing import NDArray

from kpose_datasets.studio.figure import SIDES, Floats, Pose, turn

ELBOWS = np.array([0.65, -0.75, -0.45])
"""Elbows hang out and back; x counts outwards."""

KNEES = np.array([0.18, 0.1, 1.0])

ARMS: dict[str, tuple[tuple[float, float, float], float]] = {
    "hang": ((0.16, -0.95, 0.06), 0.06),
    "hip": ((-0.02, -0.68, 0.06), 0.03),
    "raised": ((0.15, 0.85, 0.1), 0.18),
    "side": ((0.92, 0.05, 0.05), 0.16),
    "forward": ((-0.15, -0.05, 0.85), 0.2),
    "wave": ((0.42, 0.48, 0.25), 0.14),
    "chest": ((-0.3, -0.35, 0.5), 0.12),
    "folded": ((-0.5, -0.36, 0.4), 0.05),
    "behind": ((-0.05, -0.72, -0.36), 0.06),
    "head": ((-0.12, 0.5, 0.12), 0.06),
    "down": ((0.0, -0.75, 0.5), 0.12),
    "bent": ((0.12, -0.5, 0.5), 0.1),
}
"""Where a wrist is from its shoulder (arm lengths, x outwards), and the spread."""

ACTIONS = {
    "stand": 0.2,
    "gesture": 0.2,
    "walk": 0.13,
    "raise": 0.08,
    "lean": 0.09,
    "sit": 0.08,
    "crouch": 0.07,
    "lunge": 0.06,
    "kick": 0.03,
    "jump": 0.03,
    "tumble": 0.03,
}
"""How often each action is drawn."""


def sample(rng: np.random.Generator, action: str | None = None) -> Pose:
    """Draw a pose, of ``action`` or of any in ``ACTIONS``."""
    if action is None:
        action = str(rng.choice(list(ACTIONS), p=list(ACTIONS.values())))
    trunk = rng.normal(0, [0.05, 0.04, 0.0])
    spine = rng.normal([0.04, 0, 0], [0.08, 0.08, 0.15])
    gaze = rng.normal([0.05, 0, 0], [0.18, 0.1, 0.35])
    ankles, knees = _legs(rng, 0.985, 0.06, 0.02), _spread(rng, [KNEES, KNEES], 0.1)
    wrists = _arms(rng, ("hang", "hip", "bent", "folded", "behind", "chest"))
    lift, seated = 0.0, False
    if action == "gesture":
        wrists = _arms(rng, tuple(ARMS) if rng.random() < 0.5 else ("wave", "forward"))
        if rng.random() < 0.35:  # anywhere that an arm can reach
            wrists[int(rng.integers(2))] = _anywhere(rng)
        if rng.random() < 0.3:
            wrists[int(rng.integers(2))] = ARMS["hang"][0]
    elif action == "raise":
        wrists = _arms(rng, ("raised", "raised", "wave", "side", "head"))
        spine[0] -= 0.08
    elif action == "walk":
        step = rng.uniform(0.12, 0.36) * rng.choice([-1, 1])
        ankles = _legs(rng, 0.97, 0.02, 0.01)
        ankles[:, 2] += [step, -step]
        swing = int(rng.integers(2))
        ankles[swing, 1] += rng.uniform(0, 0.16)
        wrists = _spread(rng, [ARMS["hang"][0]] * 2, 0.04)
        wrists[:, 2] += [-1.2 * step, 1.2 * step]
        if rng.random() < 0.4:  # running: elbows bent
            wrists[:, 1] += 0.35
            wrists[:, 2] += 0.3
            trunk[0] += 0.15
        spine[2] -= 0.5 * step
    elif action == "lean":
        trunk += rng.normal(0, [0.1, 0.14, 0.0])
        spine += rng.normal([0.35, 0, 0], [0.45, 0.28, 0.2])
        ankles = _legs(rng, 0.95, 0.16, 0.05)
        wrists = _arms(rng, ("down", "hang", "side", "raised", "hip", "forward"))
    elif action == "sit":
        ankles = _spread(rng, [[0.06, -0.5, 0.44]] * 2, 0.07)
        knees = _spread(rng, [[0.25, 0.9, 0.6]] * 2, 0.1)
        wrists = _arms(rng, ("bent", "down", "chest", "folded", "wave", "forward"))
        spine[0] += rng.uniform(-0.05, 0.3)
        lift, seated = rng.uniform(0.0, 0.06), True
    elif action == "crouch":
        low = rng.uniform(0.42, 0.8)
        ankles = _legs(rng, low, 0.14, 0.08)
        ankles[:, 2] -= 0.25 * (1 - low)
        trunk[0] += rng.uniform(0.1, 0.5)
        spine[0] += rng.uniform(0.0, 0.4)
        knees[:, 0] += rng.uniform(0, 0.5)
        wrists = _arms(rng, ("down", "forward", "hang", "bent", "chest"))
    elif action == "lunge":
        deep, wide = rng.uniform(0.65, 0.9), rng.uniform(0.3, 0.6)
        if rng.random() < 0.5:
            ankles = _spread(rng, [[0.08, -deep, wide], [0.08, -deep, -wide]], 0.04)
        else:
            ankles = _spread(rng, [[wide, -deep, 0.05], [0.2, -deep, 0.0]], 0.04)
        if rng.random() < 0.5:
            ankles = ankles[::-1].copy()
        trunk[0] += rng.uniform(-0.1, 0.35)
        wrists = np.stack([_anywhere(rng), _anywhere(rng)])
    elif action == "kick":
        leg = int(rng.integers(2))
        ankles[leg] = [rng.uniform(0, 0.5), rng.uniform(-0.7, -0.1), 0.75]
        if rng.random() < 0.3:  # the heel behind instead
            ankles[leg] = [0.08, -0.55, -0.45]
        trunk[0] -= 0.15
        wrists = np.stack([_anywhere(rng), _anywhere(rng)])
    elif action == "jump":
        ankles = _spread(rng, [[0.2, -0.75, -0.25], [0.2, -0.8, -0.1]], 0.14)
        wrists = _arms(rng, ("raised", "side", "wave"))
        lift = rng.uniform(0.05, 0.35)
    elif action == "tumble":
        trunk += rng.uniform([-0.8, -np.pi, -0.5], [1.2, np.pi, 0.5])
        # Legs are given in the frame of the whole body: turn them with the trunk.
        legs = np.stack([_anywhere(rng) * [1, -1, 1] for _ in range(2)])
        legs[:, 1] = -np.abs(legs[:, 1]) - 0.3
        ankles, knees = _with_trunk(trunk, legs), _with_trunk(trunk, knees)
        wrists = np.stack([_anywhere(rng), _anywhere(rng)])
        lift = rng.uniform(0, 0.3)
    elbows = _spread(rng, [ELBOWS, ELBOWS], 0.22)
    return Pose(trunk, spine, gaze, wrists, elbows, ankles, knees, lift, seated)


def _spread(
    rng: np.random.Generator, center: list[object] | NDArray[np.float64], scale: float
) -> Floats:
    values = np.array(center, np.float64)
    return np.asarray(values + rng.normal(0, scale, values.shape), np.float64)


def _arms(rng: np.random.Generator, names: tuple[str, ...]) -> Floats:
    pair = rng.choice(names, 2)
    if rng.random() < 0.4:  # both arms do the same
        pair[1] = pair[0]
    return np.stack([rng.normal(*ARMS[str(name)]) for name in pair])


def _legs(rng: np.random.Generator, length: float, wide: float, deep: float) -> Floats:
    """Both feet at the same height, so that both stand on the floor."""
    ankles = np.zeros((2, 3))
    ankles[:, 0] = rng.normal(0.02 + wide, 0.04, 2)
    ankles[:, 1] = -length
    ankles[:, 2] = rng.normal(0, deep, 2)
    return ankles


def _anywhere(rng: np.random.Generator) -> Floats:
    """A wrist anywhere a shoulder allows: not far across or behind the body."""
    while True:
        direction = rng.normal(0, 1, 3)
        direction /= np.linalg.norm(direction)
        if direction[2] > -0.45 and direction[0] > -0.5:
            return np.asarray(direction * rng.uniform(0.45, 1.0), np.float64)


def _with_trunk(trunk: Floats, points: Floats) -> Floats:
    """Turn ``(2, 3)`` points of the trunk's frame, x outwards, with the trunk."""
    flip = np.ones((2, 3))
    flip[:, 0] = SIDES
    return np.asarray((points * flip) @ turn(*trunk).T * flip, np.float64)


GESTURES = ("select", "wheel", "zoom", "wave", "raise")
"""The vocabulary of the use case; ``raise`` is a still hand above the head."""

REST = np.array([[0.16, -0.95, 0.08], [0.16, -0.95, 0.08]])


class Script:
    """A person who makes one gesture after the other, for as long as one looks.

    The pose is a smooth function of time, so a recording looks like a video.

    Args:
        rng: Draws the order, sides, sizes and speeds of the gestures.
        duration: Seconds that will be asked for.
    """

    def __init__(self, rng: np.random.Generator, duration: float) -> None:
        """Draw the script."""
        self._sway = rng.uniform(0, 2 * np.pi, 6)
        self._parts: list[tuple[float, float, str, int, Floats, float]] = []
        start = 0.0
        while start < duration + 4:
            length = rng.uniform(2.0, 3.5)
            name = str(rng.choice(GESTURES))
            aim = rng.normal(0, [0.14, 0.14, 0.06])
            speed = rng.uniform(3.0, 6.0)
            part = (start, length, name, int(rng.integers(2)), aim, speed)
            self._parts.append(part)
            start += length + rng.uniform(0.1, 0.7)

    def heading(self, time: float) -> float:
        """Return where the person looks at ``time`` (seconds), radians."""
        return float(0.14 * np.sin(0.31 * time + self._sway[0]))

    def spot(self, time: float) -> tuple[float, float]:
        """Return where the person stands at ``time`` (seconds): x and z, metres."""
        return (
            float(0.16 * np.sin(0.23 * time + self._sway[1])),
            float(0.12 * np.sin(0.17 * time + self._sway[2])),
        )

    def pose(self, time: float) -> Pose:
        """Return the pose at ``time`` (seconds)."""
        wrists = REST.copy()
        wrists[:, 2] += 0.02 * np.sin(0.9 * time + self._sway[3:5])
        for start, length, name, hand, aim, speed in self._parts:
            # Half a second into the gesture and half a second out of it.
            ramp = np.clip(min(time - start, start + length - time) / 0.5, 0, 1)
            weight = ramp * ramp * (3 - 2 * ramp)
            if weight > 0:
                goal = _gesture(name, hand, time - start, speed, aim)
                wrists += weight * np.where(np.isnan(goal), 0, goal - wrists)
        sway = 0.03 * np.sin(0.7 * time + self._sway)
        ankles = np.array([[0.07, -0.985, 0.02], [0.07, -0.985, -0.02]])
        return Pose(
            trunk=np.array([0.02, 0.5 * sway[0], 0.0]),
            spine=np.array([0.03 + sway[1], sway[2], 2 * sway[3]]),
            gaze=np.array([0.06, sway[4], 3 * sway[5]]),
            wrists=wrists,
            elbows=np.stack([ELBOWS, ELBOWS]),
            ankles=ankles,
            knees=np.stack([KNEES, KNEES]),
        )


def _gesture(name: str, hand: int, time: float, speed: float, aim: Floats) -> Floats:
    """Return ``(2, 3)`` wrists; NaN where an arm takes no part."""
    wrists = np.full((2, 3), np.nan)
    beat = np.sin(speed * time)
    if name == "select":  # push a button in the air
        wrists[hand] = np.array([-0.05, -0.02, 0.72 + 0.2 * beat]) + aim
    elif name == "wave":
        wrists[hand] = 0.5 * aim + [0.38 + 0.2 * beat, 0.5, 0.25]
    elif name == "raise":
        wrists[hand] = 0.5 * aim + [0.12, 0.88, 0.1]
    elif name == "zoom":  # both hands apart and together
        wrists[:] = 0.5 * aim + [0.15 + 0.32 * beat, -0.12, 0.6]
    elif name == "wheel":  # both hands on a steering wheel
        angle = 0.9 * np.sin(0.5 * speed * time)
        for i, side in enumerate(SIDES):
            up, out = side * np.sin(angle), np.cos(angle)
            wrists[i] = 0.5 * aim + [0.42 * out - 0.36, -0.22 + 0.36 * up, 0.58]
    return wrists
