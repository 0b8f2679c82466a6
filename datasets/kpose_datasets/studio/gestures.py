"""Gesture control as people do it: select, move, rotate, zoom, draw and steer.

The gestures are those that the paper's section 4 records. Hands are planned in *gesture
space*: x to the person's left from the middle of the chest, y up from the shoulders, z
to the front, in arm lengths.
"""

import numpy as np
from numpy.typing import NDArray

from kpose_datasets.studio.figure import SIDES, Floats, Pose
from kpose_datasets.studio.poses import ELBOWS, KNEES

GESTURES = ("select", "move", "rotate", "zoom", "draw", "steer")

RATE = 60
"""Samples per second of a plan."""

SHOULDER = 0.32
"""Half the distance of the shoulders, arm lengths."""

LEG = 0.86
"""Length of a leg, metres; a foot of a shorter one slips a little."""

RESTS = {
    "hang": (0.16, -0.95, 0.08),
    "hip": (-0.02, -0.68, 0.08),
    "bent": (0.08, -0.5, 0.45),
    "folded": (-0.42, -0.4, 0.4),
    "thigh": (0.05, -0.86, 0.25),
}
"""Where a hand waits: from its shoulder, x outwards, arm lengths."""

REST_SHARES = (0.58, 0.13, 0.13, 0.06, 0.1)

Plan = NDArray[np.float64]
"""``(samples, 2, 3)`` hands over time, the right one first; NaN where a hand waits."""


class GestureScript:
    """A person who makes one gesture after the other, for as long as one looks.

    All six gestures come before one is repeated. Between them the person waits, steps
    aside or turns a little. Everything is a smooth function of time.

    Args:
        rng: Draws order, hands, places, sizes and speeds.
        duration: Seconds that will be asked for.
    """

    def __init__(self, rng: np.random.Generator, duration: float) -> None:
        """Plan the gestures and the steps."""
        count = int((duration + 3) * RATE)
        hands = _smooth(_hands(rng, count).reshape(count, 6), 0.05)
        steps = _smooth(_steps(rng, count), 0.06)
        self._tracks = np.concatenate([hands, steps], axis=1)
        self._phases = rng.uniform(0, 2 * np.pi, 12)
        self._speeds = rng.uniform(0.5, 1.4, 12)

    def _at(self, time: float) -> Floats:
        """Return the tracks at ``time``: hands, spot, heading, feet."""
        place = min(max(time * RATE, 0.0), len(self._tracks) - 1.001)
        first = int(place)
        share = place - first
        low, high = self._tracks[first], self._tracks[first + 1]
        return np.asarray(low + share * (high - low), np.float64)

    def _sway(self, time: float) -> Floats:
        """Return twelve slow waves between -1 and 1: nobody stands still."""
        return np.asarray(np.sin(self._speeds * time + self._phases), np.float64)

    def heading(self, time: float) -> float:
        """Return where the person looks at ``time`` (seconds), radians."""
        return float(self._at(time)[8] + 0.04 * self._sway(time)[0])

    def spot(self, time: float) -> tuple[float, float]:
        """Return where the pelvis is at ``time`` (seconds): x and z, metres."""
        sway = self._sway(time)
        x, z = self._at(time)[6:8] + 0.012 * sway[1:3]
        return float(x), float(z)

    def pose(self, time: float) -> Pose:
        """Return the pose at ``time`` (seconds)."""
        tracks, sway = self._at(time), self._sway(time)
        hands = tracks[:6].reshape(2, 3)
        feet = tracks[9:15].reshape(2, 3)
        # Hands are where they are in the room: the shoulders under them sway.
        wrists = hands.copy()
        for i, side in enumerate(SIDES):
            wrists[i, 0] = side * hands[i, 0] - SHOULDER
        wrists += 0.008 * sway[3:9].reshape(2, 3)
        # The chest follows the hands a little, and the eyes more.
        active = np.clip((hands[:, 1] + 0.75) / 0.4, 0, 1)
        where = (active[:, None] * hands).sum(axis=0) / max(active.sum(), 1.0)
        reach = active[:, None] * hands
        twist = 0.16 * (reach[0, 2] - reach[1, 2]) + 0.22 * where[0]
        lean = 0.03 + 0.07 * max(where[2], 0) + 0.02 * sway[9]
        spot, heading = np.array(self.spot(time)), self.heading(time)
        c, s = np.cos(heading), np.sin(heading)
        ankles = np.empty((2, 3))
        for i, side in enumerate(SIDES):
            x, z = feet[i, :2] - spot
            # World to body: the hip is at side * 0.1 of it.
            ankles[i] = [
                (side * (c * x - s * z) - 0.1) / LEG,
                -0.985 + feet[i, 2],
                (s * x + c * z) / LEG,
            ]
        return Pose(
            trunk=np.array([0.02, 0.02 * sway[10], 0.0]),
            spine=np.array([lean, 0.03 * sway[11], twist]),
            gaze=np.array([0.06 - 0.22 * where[1] * active.max(), 0.0, 0.45 * where[0]])
            + 0.05 * sway[[4, 6, 8]],
            wrists=wrists,
            elbows=np.stack([ELBOWS, ELBOWS])
            + 0.25 * sway[[0, 5, 7, 2, 9, 11]].reshape(2, 3),
            ankles=ankles,
            knees=np.stack([KNEES, KNEES]),
        )


def _smooth(tracks: Floats, seconds: float) -> Floats:
    """Take corners off ``(samples, columns)`` tracks: a Gaussian of that sigma."""
    reach = int(4 * seconds * RATE)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (seconds * RATE)) ** 2)
    weights /= weights.sum()
    padded = np.pad(tracks, ((reach, reach), (0, 0)), mode="edge")
    columns = [np.convolve(column, weights, "valid") for column in padded.T]
    return np.stack(columns, axis=1)


def _ease(count: int) -> Floats:
    """Return ``(count,)`` from above 0 to 1 as a hand moves: minimum jerk."""
    t = np.arange(1, count + 1) / count
    return np.asarray(t**3 * (10 - 15 * t + 6 * t * t), np.float64)


def _samples(seconds: float) -> int:
    return max(round(seconds * RATE), 1)


def _through(values: Floats, seconds: Floats, holds: Floats) -> Floats:
    """Return a track that rests at each of ``(n, ...)`` values.

    Args:
        values: Where to be; the track starts at the first.
        seconds: ``(n - 1,)`` time from each to the next.
        holds: ``(n,)`` time at each.
    """
    parts = [np.repeat(values[:1], _samples(holds[0]), axis=0)]
    for i, wait in enumerate(holds[1:]):
        share = _ease(_samples(seconds[i])).reshape(-1, *[1] * (values.ndim - 1))
        parts.append(values[i] + share * (values[i + 1] - values[i]))
        parts.append(np.repeat(values[i + 1 : i + 2], _samples(wait), axis=0))
    return np.concatenate(parts)


def _rest(rng: np.random.Generator) -> Floats:
    """Draw where both hands wait, gesture space."""
    names = rng.choice(list(RESTS), 2, p=REST_SHARES)
    if rng.random() < 0.6 or "folded" in names:
        names[:] = names[0]
    places = np.array([RESTS[str(name)] for name in names])
    places = places + rng.normal(0, 0.04, (2, 3))
    places[:, 0] = np.array(SIDES) * (places[:, 0] + SHOULDER)
    return places


def _hands(rng: np.random.Generator, count: int) -> Plan:
    """Plan the hands for ``count`` samples."""
    rest = _rest(rng)
    now, done = rest, [np.repeat(rest[None], _samples(rng.uniform(0.1, 0.6)), axis=0)]
    total, bag = len(done[0]), list[str]()
    while total < count:
        if not bag:
            bag = [str(name) for name in rng.permutation(GESTURES)]
        plan = _gesture(rng, bag.pop())
        if rng.random() < 0.5:
            rest = _rest(rng)
        plan = np.where(np.isnan(plan), rest, plan)
        parts = [_travel(rng, now, plan[0]), plan]
        now = plan[-1]
        if rng.random() < 0.6:  # an idle pause
            parts.append(_travel(rng, now, rest))
            idle = _samples(rng.choice([rng.uniform(0.1, 0.5), rng.uniform(0.5, 1.6)]))
            parts.append(np.repeat(rest[None], idle, axis=0))
            now = rest
        done += parts
        total += sum(len(part) for part in parts)
    return np.concatenate(done)[:count]


def _travel(rng: np.random.Generator, start: Floats, end: Floats) -> Plan:
    """Move both hands, a long way faster than a short one but for longer."""
    way = float(np.linalg.norm(end - start, axis=1).max())
    count = _samples((0.22 + 0.32 * way) * np.exp(rng.normal(0, 0.2)))
    share = _ease(count)[:, None, None]
    path = start + share * (end - start)
    # Hands swing out in front of the body instead of through it.
    path[..., 2] += 0.12 * np.sin(np.pi * share[..., 0]) * way
    return np.asarray(path, np.float64)


def _spots(rng: np.random.Generator, hand: int, count: int) -> Floats:
    """Draw ``(count, 3)`` places in front that a hand reaches."""
    out = rng.uniform(-0.4, 0.6, count)
    spots = np.stack(
        [
            SIDES[hand] * (out + SHOULDER),
            rng.uniform(-0.5, 0.55, count),
            rng.uniform(0.4, 0.75, count),
        ],
        axis=1,
    )
    return np.asarray(spots, np.float64)


def _gesture(rng: np.random.Generator, name: str) -> Plan:
    """Draw a gesture of that name."""
    tempo = float(np.exp(rng.normal(0, 0.25)))
    hand = int(rng.integers(2))
    if name == "select":
        return _select(rng, hand, tempo)
    if name == "move":
        return _move(rng, hand, tempo)
    if name == "draw":
        return _draw(rng, hand, tempo)
    center = np.array(
        [rng.normal(0, 0.1), rng.uniform(-0.45, 0.3), rng.uniform(0.5, 0.7)]
    )
    if name == "zoom":
        count = int(rng.integers(3, 6))
        half = rng.uniform(0.08, 0.75, count)
        half[::2] = rng.uniform(0.08, 0.2, len(half[::2]))
        if rng.random() < 0.5:
            half = half[::-1]
        seconds = tempo * rng.uniform(0.45, 1.0, count - 1)
        radius = _through(half, seconds, rng.uniform(0.0, 0.25, count))
        angle = np.full(len(radius), rng.normal(0, 0.35))
        return _pair(center, radius, angle, rng.random() < 0.15)
    # Rotate and steer: hands opposite each other on a circle.
    steer = name == "steer"
    count = int(rng.integers(4, 8)) if steer else int(rng.integers(2, 5))
    if steer:
        turns = rng.uniform(-1.3, 1.3, count)
        turns[0] = 0.0
    else:  # there and back
        turns = rng.uniform(0.2, 1.5, count) * np.where(np.arange(count) % 2, 1, -1)
        turns *= rng.choice([-1, 1])
    seconds = tempo * (0.25 + 0.35 * np.abs(np.diff(turns)))
    angle = _through(turns, seconds, rng.uniform(0.0, 0.2 if steer else 0.4, count))
    if steer:
        center[1] = rng.uniform(-0.4, -0.1)
        radius = np.full(len(angle), rng.uniform(0.24, 0.34))
    else:
        radius = np.full(len(angle), rng.uniform(0.16, 0.45))
    plan = _pair(center, radius, angle, not steer and rng.random() < 0.25)
    if steer and rng.random() < 0.15:  # one hand on the wheel
        plan[:, 1 - hand] = np.nan
    return plan


def _pair(center: Floats, radius: Floats, angle: Floats, level: bool) -> Plan:
    """Return both hands opposite each other around ``center``.

    Args:
        center: ``(3,)``.
        radius: ``(n,)`` of each hand.
        angle: ``(n,)`` 0 has the left hand on the left; it goes up as that grows, or
            to the front where the circle is ``level``.
        level: Whether the circle lies flat, as a table does.
    """
    plan = np.empty((len(radius), 2, 3))
    plan[:] = center
    for i, side in enumerate(SIDES):
        plan[:, i, 0] += side * radius * np.cos(angle)
        plan[:, i, 2 if level else 1] += side * radius * np.sin(angle)
    if level:
        plan[..., 2] = np.clip(plan[..., 2], 0.25, 0.9)
    return plan


def _one(path: Floats, hand: int) -> Plan:
    """Return the plan of one hand; the other one waits."""
    plan = np.full((len(path), 2, 3), np.nan)
    plan[:, hand] = path
    return plan


def _select(rng: np.random.Generator, hand: int, tempo: float) -> Plan:
    """Push buttons that hang in the air."""
    points, seconds = [], []
    for spot in _spots(rng, hand, int(rng.integers(2, 5))):
        pushed = spot + np.array([0, 0, rng.uniform(0.15, 0.3)])
        points += [spot, pushed, spot]
        seconds += [rng.uniform(0.15, 0.3), rng.uniform(0.2, 0.35)]
        seconds += [rng.uniform(0.4, 0.8)]
    holds = rng.uniform(0.0, 0.2, len(points))
    return _one(_through(np.array(points), tempo * np.array(seconds[:-1]), holds), hand)


def _move(rng: np.random.Generator, hand: int, tempo: float) -> Plan:
    """Take something and put it elsewhere, with one hand or with both."""
    count = int(rng.integers(2, 4))
    spots = _spots(rng, hand, count)
    both = rng.random() < 0.4
    if both:
        spots[:, 0] *= 0.5
    way = np.linalg.norm(np.diff(spots, axis=0), axis=1)
    seconds = tempo * (0.4 + 0.7 * way)
    path = _through(spots, seconds, rng.uniform(0.1, 0.4, count))
    if not both:
        return _one(path, hand)
    half = rng.uniform(0.1, 0.35)
    plan = np.repeat(path[:, None], 2, axis=1)
    plan[..., 0] += half * np.array(SIDES)
    return plan


def _draw(rng: np.random.Generator, hand: int, tempo: float) -> Plan:
    """Draw in the air: a circle, an eight, a zigzag, a spiral or a square."""
    shape = str(rng.choice(["circle", "eight", "zigzag", "spiral", "square"]))
    loops = float(rng.uniform(1, 3))
    count = _samples(tempo * loops * rng.uniform(0.8, 1.8))
    phase = 2 * np.pi * loops * np.arange(count) / count
    if rng.random() < 0.5:
        phase = -phase
    x, y = np.cos(phase), np.sin(phase)
    if shape == "eight":
        y = np.sin(2 * phase) * 0.6
    elif shape == "zigzag":
        x, y = np.linspace(-1, 1, count), 2 / np.pi * np.arcsin(np.sin(2 * phase))
    elif shape == "spiral":
        x, y = (np.linspace(1, 0.25, count) * value for value in (x, y))
    elif shape == "square":
        wide = np.maximum(np.abs(x), np.abs(y))
        x, y = 0.8 * x / wide, 0.8 * y / wide
    size = rng.uniform(0.15, 0.42)
    path = np.repeat(_spots(rng, hand, 1), count, axis=0)
    path[:, 1] = np.clip(path[:, 1], -0.3, 0.35)
    path[:, 0] += size * x
    path[:, 1] += size * y
    return _one(path, hand)


def _steps(rng: np.random.Generator, count: int) -> Floats:
    """Plan ``(count, 9)``: pelvis x and z, heading, and x, z and lift of both feet.

    Metres and radians; the lift is in leg lengths.
    """
    tracks = np.empty((count, 9))
    stance = _stance(rng, np.zeros(2), rng.normal(0, 0.1))
    done = 0
    while done < count:
        stay = min(_samples(rng.uniform(1.2, 5.0)), count - done)
        tracks[done : done + stay] = stance
        done += stay
        # Back towards the middle of the room more often than away from it.
        spot = 0.6 * stance[:2] + rng.normal(0, [0.2, 0.09])
        spot = np.clip(spot, [-0.45, -0.25], [0.45, 0.3])
        goal = _stance(rng, spot, 0.5 * stance[2] + rng.normal(0, 0.22))
        length = _samples(rng.uniform(0.7, 1.1))
        path = _step(stance, goal, length)[: count - done]
        tracks[done : done + len(path)] = path
        done += len(path)
        stance = goal
    return tracks


def _stance(rng: np.random.Generator, spot: Floats, heading: float) -> Floats:
    """Return ``(9,)``: both feet on the floor around a spot."""
    heading = float(np.clip(heading, -0.6, 0.6))
    c, s = np.cos(heading), np.sin(heading)
    stance = np.zeros(9)
    stance[:3] = *spot, heading
    wide = rng.uniform(0.11, 0.17)
    for i, side in enumerate(SIDES):
        x, z = side * wide, rng.normal(0, 0.03)
        foot = np.array([c * x + s * z, c * z - s * x])
        stance[3 + 3 * i : 5 + 3 * i] = spot + foot
    return stance


def _step(start: Floats, end: Floats, length: int) -> Floats:
    """Move from one stance to another: the foot on that side first."""
    path = start + _ease(length)[:, None] * (end - start)
    lead = 0 if end[0] < start[0] else 1
    t = np.arange(1, length + 1) / length
    for i in range(2):
        share = np.clip(t / 0.55 if i == lead else (t - 0.45) / 0.55, 0, 1)
        eased = share**3 * (10 - 15 * share + 6 * share * share)
        columns = slice(3 + 3 * i, 5 + 3 * i)
        path[:, columns] = start[columns] + eased[:, None] * (
            end[columns] - start[columns]
        )
        path[:, 5 + 3 * i] = 0.07 * np.sin(np.pi * share)
    return path
