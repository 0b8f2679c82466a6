"""Bodies and poses: where the joints of a person are in the world."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SIDES = (-1.0, 1.0)
"""Sign of x in the body frame: the person's right side first, then the left."""


@dataclass(frozen=True)
class Body:
    """Lengths between joints and girths (radii) of one person, metres."""

    spine: float
    neck: float
    head: float
    shoulders: float
    hips: float
    upper_arm: float
    forearm: float
    hand: float
    thigh: float
    shin: float
    foot: float
    chest: float
    waist: float
    seat: float
    arm: float
    leg: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "Body":
        """Draw an adult: tall or short, slim or heavy, long or short of limb."""
        size = rng.normal(1.0, 0.05)
        weight = np.clip(rng.normal(1.0, 0.14), 0.75, 1.45)
        build = rng.normal(1.0, 0.06)

        def length(metres: float, spread: float = 0.05) -> float:
            return float(metres * size * np.clip(rng.normal(1, spread), 0.85, 1.15))

        return cls(
            spine=length(0.50, 0.04),
            neck=length(0.20, 0.04),
            head=length(0.115, 0.03),
            shoulders=length(0.175) * build,
            hips=length(0.105) * (0.6 + 0.4 * weight),
            upper_arm=length(0.295),
            forearm=length(0.255),
            hand=length(0.10),
            thigh=length(0.435),
            shin=length(0.425),
            foot=length(0.15),
            chest=length(0.145) * (0.6 + 0.4 * weight) * build,
            waist=length(0.132) * weight,
            seat=length(0.125) * weight,
            arm=length(0.047) * (0.4 + 0.6 * weight),
            leg=length(0.078) * (0.4 + 0.6 * weight),
        )


class Pose(NamedTuple):
    """How a body is bent. Angles in radians; each pair is right, then left.

    Hands and feet are given by where they are, as for a person, and elbows and knees
    follow. ``x`` counts outwards from the body on either side.

    Args:
        trunk: ``(3,)`` pitch (forwards), roll (to the left), twist of the whole body.
        spine: ``(3,)`` the same, of the chest against the pelvis.
        gaze: ``(3,)`` the same, of the head against the chest.
        wrists: ``(2, 3)`` from the shoulder in the chest's frame, in arm lengths.
        elbows: ``(2, 3)`` where elbows point to, chest's frame.
        ankles: ``(2, 3)`` from the hip in the frame of the whole body, leg lengths.
        knees: ``(2, 3)`` where knees point to, frame of the whole body.
        lift: Height of the lowest point of the body above the floor, metres.
        seated: True where a stool belongs under the pelvis.
    """

    trunk: Floats
    spine: Floats
    gaze: Floats
    wrists: Floats
    elbows: Floats
    ankles: Floats
    knees: Floats
    lift: float = 0.0
    seated: bool = False


class Figure(NamedTuple):
    """A posed body in world metres.

    ``pelvis``, ``chest`` and ``skull`` are ``(3, 3)`` frames whose columns are the
    part's left, up and front; points are ``(3,)``, pairs ``(2, 3)`` right first.
    """

    body: Body
    pelvis: Floats
    chest: Floats
    skull: Floats
    hip_center: Floats
    waist: Floats
    neck: Floats
    head: Floats
    shoulders: Floats
    elbows: Floats
    wrists: Floats
    fingers: Floats
    hips: Floats
    knees: Floats
    ankles: Floats
    toes: Floats
    seated: bool

    def joints(self) -> Floats:
        """Return the ``(13, 3)`` joints in the order of ``kpose.joints.BODY_13``."""
        arms = np.stack([self.shoulders, self.elbows, self.wrists], axis=1)
        legs = np.stack([self.hips, self.knees, self.ankles], axis=1)
        return np.concatenate([self.head[None], arms.reshape(6, 3), legs.reshape(6, 3)])


def turn(pitch: float, roll: float, yaw: float) -> Floats:
    """Return the ``(3, 3)`` rotation: pitch forwards, roll to the left, then yaw."""
    cx, sx, cz, sz = np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    cy, sy = np.cos(yaw), np.sin(yaw)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_z = np.array([[cz, sz, 0], [-sz, cz, 0], [0, 0, 1]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return np.asarray(about_y @ about_z @ about_x, np.float64)


def unit(vector: Floats) -> Floats:
    """Return ``vector`` with length 1."""
    return np.asarray(vector / np.linalg.norm(vector), np.float64)


def across(vector: Floats, axis: Floats) -> Floats:
    """Return the part of ``vector`` at right angles to the unit ``axis``, length 1."""
    rest = vector - (vector @ axis) * axis
    if np.linalg.norm(rest) < 1e-6:
        rest = np.cross(axis, [0.31, 0.23, 0.92])
    return unit(rest)


def place(body: Body, pose: Pose, heading: float, spot: tuple[float, float]) -> Figure:
    """Return the joints of ``body`` in ``pose``, the lowest point on the floor.

    Args:
        body: The person.
        pose: What the person does.
        heading: 0 looks at the camera; positive turns to the person's left.
        spot: x and z of the pelvis on the floor, metres.
    """
    whole = turn(0, 0, heading)
    pelvis = whole @ turn(*pose.trunk)
    # The spine bends in its middle and at its end, as a back does.
    middle = pelvis @ turn(*(pose.spine * 0.5))
    chest = pelvis @ turn(*pose.spine)
    skull = chest @ turn(*pose.gaze)
    hip_center = np.zeros(3)
    waist = pelvis @ [0, 0.36 * body.spine, 0.01]
    neck = waist + (0.4 * middle + 0.6 * chest) @ [0, 0.64 * body.spine, -0.01]
    head = neck + (0.5 * chest + 0.5 * skull) @ [0, body.neck, 0.025]
    shoulders, elbows, wrists, fingers = (np.zeros((2, 3)) for _ in range(4))
    hips, knees, ankles, toes = (np.zeros((2, 3)) for _ in range(4))
    for i, side in enumerate(SIDES):
        flip = np.array([side, 1, 1])
        # A raised hand takes the shoulder with it.
        raised = 0.12 * max(pose.wrists[i, 1], 0) * body.shoulders
        shoulders[i] = neck + chest @ [side * (body.shoulders - raised), raised, 0]
        hips[i] = pelvis @ [side * body.hips, 0, 0]
        reach = body.thigh + body.shin
        knees[i], ankles[i] = two_bones(
            hips[i],
            hips[i] + whole @ (pose.ankles[i] * flip * reach),
            whole @ (pose.knees[i] * flip),
            body.thigh,
            body.shin,
        )
        down = unit(ankles[i] - knees[i])
        front = across(whole @ (pose.knees[i] * flip) + 0.3 * whole[:, 2], down)
        toes[i] = ankles[i] + body.foot * unit(front + 0.28 * down)
    lowest = min(
        ankles[:, 1].min() - 0.07,
        toes[:, 1].min() - 0.035,
        knees[:, 1].min() - 0.8 * body.leg,
        head[1] - body.head,
        hip_center[1] - body.seat,
        neck[1] - body.chest,
    )
    for i, side in enumerate(SIDES):
        flip = np.array([side, 1, 1])
        reach = body.upper_arm + body.forearm
        goal = shoulders[i] + chest @ (
            _out_of_trunk(body, pose.wrists[i] * reach) * flip
        )
        for _ in range(3):
            elbows[i], wrists[i] = two_bones(
                shoulders[i],
                goal,
                chest @ (pose.elbows[i] * flip),
                body.upper_arm,
                body.forearm,
            )
            along = unit(wrists[i] - elbows[i])
            fingers[i] = wrists[i] + body.hand * unit(along + 0.15 * chest[:, 2])
            # A hand that would reach through the floor stays above it.
            under = lowest + 0.03 - min(fingers[i, 1], wrists[i, 1], elbows[i, 1])
            if under <= 0:
                break
            goal = wrists[i] + [0, 1.3 * under, 0]
    move = np.array([spot[0], pose.lift - lowest, spot[1]])
    return Figure(
        body=body,
        pelvis=pelvis,
        chest=chest,
        skull=skull,
        hip_center=hip_center + move,
        waist=waist + move,
        neck=neck + move,
        head=head + move,
        shoulders=shoulders + move,
        elbows=elbows + move,
        wrists=wrists + move,
        fingers=fingers + move,
        hips=hips + move,
        knees=knees + move,
        ankles=ankles + move,
        toes=toes + move,
        seated=pose.seated,
    )


def _out_of_trunk(body: Body, wrist: Floats) -> Floats:
    """Move a wrist that would be inside the trunk or the head out of it.

    Args:
        body: The person.
        wrist: ``(3,)`` from the shoulder in the chest's frame, x outwards, metres.
    """
    clear = wrist.copy()
    x = wrist[0] + body.shoulders  # from the middle of the body
    if wrist[1] > -1.25 * body.spine and wrist[1] < 0.06:
        wide, deep = 1.12 * body.chest + 0.05, 0.72 * body.chest + 0.06
    elif 0.06 <= wrist[1] < 0.42:
        wide = deep = body.head + 0.05
    else:
        return clear
    inside = (x / wide) ** 2 + (wrist[2] / deep) ** 2
    if inside < 1:
        depth = deep * np.sqrt(max(1 - (x / wide) ** 2, 0))
        clear[2] = depth if wrist[2] >= -0.03 else -depth
    return clear


def two_bones(
    start: Floats, goal: Floats, pole: Floats, first: float, second: float
) -> tuple[Floats, Floats]:
    """Return the middle joint and the end of two bones that reach for ``goal``.

    Args:
        start: ``(3,)`` where the first bone begins.
        goal: ``(3,)`` where the second bone should end; brought within reach.
        pole: ``(3,)`` the direction in which the middle joint sticks out.
        first: Length of the first bone.
        second: Length of the second bone.
    """
    away = goal - start
    distance = float(np.linalg.norm(away))
    axis = away / distance if distance > 1e-6 else np.array([0.0, -1.0, 0.0])
    # A knee or an elbow bends by at most about 145 degrees.
    nearest = math.sqrt(first**2 + second**2 - 2 * first * second * math.cos(0.6))
    span = min(max(distance, nearest), 0.998 * (first + second))
    along = (first**2 - second**2 + span**2) / (2 * span)
    out = math.sqrt(max(first**2 - along**2, 0.0))
    return start + along * axis + out * across(pole, axis), start + span * axis
