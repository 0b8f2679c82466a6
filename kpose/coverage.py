"""Which places hands and feet were in, and which a recording lacks.

A network is good at what it has seen. Wrists are measured from the shoulders and ankles
from the hips, in torso lengths, so that people of any size and distance count alike.
Which way is outside is told by the shoulders (hips), so that it does not matter whether
the face or the back is seen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray

from kpose.joints import BODY_13
from kpose.report import png

WRISTS, ANKLES = ("right_wrist", "left_wrist"), ("right_ankle", "left_ankle")

SECTORS = {
    "wrist": (
        "above the shoulder",
        "out to the side",
        "hanging down",
        "across the body",
        "in front of the shoulder or chest",
    ),
    "ankle": ("below the hip", "out to the side", "across the other leg", "lifted"),
}
"""Where a wrist and an ankle can be, in the words of the user."""

LEAST = 0.01
"""Share of the frames under which a sector is missing."""

NARROW = 0.15
"""Torso lengths between the shoulders (hips), across the picture, under which a person
is seen from the side, where neither outside nor across can be told."""

CHEST = 0.45
"""Torso lengths between shoulder and wrist under which the hand is in front of the
shoulder: an arm is about as long as the torso, so it is bent or points at the
camera."""

UP, ACROSS, DOWN = 45.0, 135.0, -45.0
"""Angles at the shoulder in degrees, 0 outside and 90 up: the hand is above from ``UP``
to ``ACROSS``, outside from ``DOWN`` to ``UP``, and hangs below ``DOWN``."""

FAR_SIDE = -120.0
"""Below it, up to ``ACROSS``, it is across the body: a hand that hangs before the other
thigh is at -115."""

LIFTED, STRETCHED = 0.8, 90
"""Share of a stretched leg, measured downwards from hip to ankle, under which the foot
is lifted, or the person sits. The leg is stretched at that percentile of the recording:
how long it is depends on where the camera stands."""

SELDOM = 0.2
"""A joint that is labelled in a smaller share of the frames is not looked at closer."""

ASIDE, CROSSED = 18.0, -12.0
"""Degrees of a leg from straight down, outwards: above the first the foot is out to the
side, below the second it is in front of the other leg or beyond."""

OFTEN = 0.5
"""A joint of the outline is labelled in a larger share of the frames."""

REACH = 2.2
"""Torso lengths that the map shows in each direction."""

CELLS = 44
"""Cells of the map in each direction: 0.1 torso lengths."""


@dataclass(frozen=True)
class Coverage:
    """Where the hands and feet of a recording were.

    Args:
        frames: How many frames were looked at.
        places: By joint ``(n, 2)`` x and y from the middle of the shoulders or hips, in
            torso lengths as seen in the picture, y down.
        shares: By joint the share of the frames in each of ``SECTORS``; those in which
            the joint is not labelled, or a person is seen from the side, are in none.
        pose: ``(13, 2)`` the median pose from the middle of the shoulders, in torso
            lengths; NaN for a joint that is seldom labelled.
        leg: Torso lengths from hip to ankle, downwards, of a stretched leg; NaN without
            one.
    """

    frames: int
    places: Mapping[str, NDArray[np.float64]]
    shares: Mapping[str, Mapping[str, float]]
    pose: NDArray[np.float64]
    leg: float

    def missing(self) -> list[str]:
        """Return what is missing, one line for each joint that lacks something."""
        lines = []
        for joint, shares in self.shares.items():
            name = joint.replace("_", " ")
            count = len(self.places[joint])
            if count <= SELDOM * self.frames:
                lines.append(f"{name}: labelled in {count} of {self.frames} frames")
                continue
            never = [sector for sector, share in shares.items() if share == 0]
            seldom = [s for s, share in shares.items() if 0 < share < LEAST]
            parts = [f"never {', '.join(never)}"] if never else []
            parts += [f"hardly ever {', '.join(seldom)}"] if seldom else []
            if parts:
                lines.append(f"{name}: {'; '.join(parts)}")
        return lines


def measure(joints: NDArray[np.floating]) -> Coverage:
    """Return where hands and feet are.

    Frames without right shoulder and left hip, the torso, have no unit and count for
    nothing but their number.

    Args:
        joints: ``(frames, 13, 3)``: x and y in image pixels, 1 where labelled.
    """
    joints = np.asarray(joints, np.float64).reshape(-1, len(BODY_13), 3)
    points = np.where(joints[..., 2:] > 0, joints[..., :2], np.nan)
    a, b = BODY_13.torso
    unit = np.linalg.norm(points[:, a] - points[:, b], axis=1)
    points = points / np.where(unit > 0, unit, np.nan)[:, None, None]
    leg = _leg_length(points)
    places, shares = {}, {}
    for name in (*WRISTS, *ANKLES):
        kind = name.partition("_")[2]
        root = "shoulder" if kind == "wrist" else "hip"
        own, other, end = _root(points, name, root)
        place = end - (own + other) / 2
        places[name] = place[np.isfinite(place).all(axis=1)]
        if kind == "wrist":
            sectors = _wrist(own, other, end)
        else:
            sectors = _ankle(own, other, end, leg)
        counts = [
            int((sectors == number).sum()) for number in range(len(SECTORS[kind]))
        ]
        frames = max(len(joints), 1)
        shares[name] = {
            sector: count / frames
            for sector, count in zip(SECTORS[kind], counts, strict=True)
        }
    return Coverage(len(joints), places, shares, _median_pose(points), leg)


def _root(
    points: NDArray[np.float64], name: str, root: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return ``(frames, 2)`` of the root on the own side, on the other, and the end."""
    side = name.partition("_")[0]
    far = "left" if side == "right" else "right"
    rows = [BODY_13.names.index(n) for n in (f"{side}_{root}", f"{far}_{root}", name)]
    return points[:, rows[0]], points[:, rows[1]], points[:, rows[2]]


def _outward(
    own: NDArray[np.float64], other: NDArray[np.float64], end: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how far the end is outside and below its root, NaN seen from the side."""
    across = own[:, 0] - other[:, 0]
    sign = np.where(np.abs(across) < NARROW, np.nan, np.sign(across))
    return (end[:, 0] - own[:, 0]) * sign, end[:, 1] - own[:, 1]


def _wrist(
    own: NDArray[np.float64], other: NDArray[np.float64], end: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return the index of each frame's sector, -1 for none."""
    out, down = _outward(own, other, end)
    angle = np.degrees(np.arctan2(-down, out))
    sector = np.select(
        [
            np.isnan(angle),
            np.hypot(out, down) < CHEST,
            (angle > UP) & (angle <= ACROSS),
            (angle > DOWN) & (angle <= UP),
            (angle > FAR_SIDE) & (angle <= DOWN),
        ],
        [-1, 4, 0, 1, 2],
        3,
    )
    return np.asarray(sector, np.int64)


def _leg_length(points: NDArray[np.float64]) -> float:
    """Return the length of a stretched leg downwards, NaN where there is none."""
    rows = [
        [BODY_13.names.index(n) for n in (a, a.replace("ankle", "hip"))] for a in ANKLES
    ]
    drops = np.concatenate([points[:, a, 1] - points[:, hip, 1] for a, hip in rows])
    drops = drops[np.isfinite(drops)]
    return float(np.percentile(drops, STRETCHED)) if len(drops) else np.nan


def _ankle(
    own: NDArray[np.float64],
    other: NDArray[np.float64],
    end: NDArray[np.float64],
    leg: float,
) -> NDArray[np.int64]:
    """Return the index of each frame's sector, -1 for none."""
    out, down = _outward(own, other, end)
    angle = np.degrees(np.arctan2(out, down))
    sector = np.select(
        [np.isnan(angle), down < LIFTED * leg, angle > ASIDE, angle < CROSSED],
        [-1, 3, 1, 2],
        0,
    )
    return np.asarray(sector, np.int64)


def _median_pose(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``(13, 2)`` from the middle of the shoulders, NaN where seldom known."""
    shoulders = [BODY_13.names.index(f"{side}_shoulder") for side in ("right", "left")]
    moved = points - points[:, shoulders].mean(axis=1, keepdims=True)
    pose = np.full((len(BODY_13), 2), np.nan)
    for at in range(len(BODY_13)):
        known = moved[np.isfinite(moved[:, at]).all(axis=1), at]
        if len(known) > OFTEN * len(points):
            pose[at] = np.median(known, axis=0)
    return pose


def plot(coverage: Coverage, title: str) -> bytes:
    """Return the map as a PNG, a panel for each wrist and ankle as the camera sees it.

    Args:
        coverage: What ``measure`` returned.
        title: Headline.
    """
    figure = Figure(figsize=(9, 9.6), dpi=120, layout="constrained")
    figure.suptitle(title, fontsize=12)
    panels = figure.subplots(2, 2)
    # Where a person who faces the camera has them: the right hand on the left.
    for axes, name in zip(panels.flat, (*WRISTS, *ANKLES), strict=True):
        _panel(axes, name, coverage)
    return png(figure)


def _panel(axes: Axes, name: str, coverage: Coverage) -> None:
    kind = name.partition("_")[2]
    root = "shoulder" if kind == "wrist" else "hip"
    names = BODY_13.names
    rows = [names.index(f"{side}_{root}") for side in ("right", "left")]
    pose = coverage.pose - coverage.pose[rows].mean(axis=0)
    middle = 0.35 if kind == "wrist" else 0.6  # the panel shows more below than above
    places = coverage.places[name]
    edges = np.linspace(-REACH, REACH, CELLS + 1)
    counts, _, _ = np.histogram2d(
        places[:, 1], places[:, 0], bins=(edges + middle, edges)
    )
    shown = np.ma.masked_equal(np.log1p(counts), 0)
    axes.pcolormesh(edges, edges + middle, shown, cmap="YlOrRd", vmin=0)
    for a, b in BODY_13.limb_indices:
        ends = pose[[a, b]]
        axes.plot(ends[:, 0], ends[:, 1], color="#57606a", lw=2.2, alpha=0.6)
    if np.isfinite(pose[0]).all():
        head = (float(pose[0, 0]), float(pose[0, 1]))
        axes.add_patch(Circle(head, 0.22, fill=False, color="#57606a", lw=2, alpha=0.6))
    own = pose[names.index(f"{name.partition('_')[0]}_{root}")]
    if np.isfinite(own).all() and len(places) > SELDOM * coverage.frames:
        _sectors(axes, coverage, name, own)
    axes.set_title(f"{name.replace('_', ' ')}  ({len(places):,} frames)", fontsize=11)
    axes.set_xlim(-REACH, REACH)
    axes.set_ylim(middle + REACH, middle - REACH)
    axes.set_aspect("equal")
    axes.set_xlabel("torso lengths, as the camera sees it", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(color="#eaeef2", lw=0.6)
    axes.set_axisbelow(True)


def _sectors(
    axes: Axes, coverage: Coverage, name: str, own: NDArray[np.float64]
) -> None:
    """Draw the borders of the sectors around ``own``, and how much is in each."""
    side = -1.0 if own[0] < 0 else 1.0
    shares = coverage.shares[name]
    dash: dict[str, Any] = {"color": "#0072B2", "lw": 0.9, "ls": (0, (4, 3))}
    if name in WRISTS:
        for degrees in (UP, ACROSS, DOWN, FAR_SIDE):
            ray = np.array(
                [side * np.cos(np.radians(degrees)), -np.sin(np.radians(degrees))]
            )
            start, end = own + CHEST * ray, own + 4 * REACH * ray
            axes.plot(*zip(start, end, strict=True), **dash)
        circle = Circle((float(own[0]), float(own[1])), CHEST, fill=False)
        circle.set(edgecolor="#0072B2", linewidth=0.9, linestyle=(0, (4, 3)))
        axes.add_patch(circle)
        spots = [(0.0, -1.35), (1.3, 0.0), (0.15, 2.0), (-1.75, 0.0), (-1.5, -0.9)]
        corner = own + CHEST * np.array([-side, -1.0]) * np.sqrt(0.5)
        spot = own + np.array([-1.5 * side, -0.9])
        axes.plot(*zip(corner, spot, strict=True), color="#0072B2", lw=0.9)
    else:
        drop = LIFTED * np.nan_to_num(coverage.leg, nan=1.0)
        height = own[1] + drop
        axes.plot([-2 * REACH, 2 * REACH], [height, height], **dash)
        for degrees in (ASIDE, CROSSED):
            x, y = side * np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
            start, end = own + np.array([x, y]) * drop / y, own + np.array([x, y]) * 9
            axes.plot(*zip(start, end, strict=True), **dash)
        spots = [(0.05, 2.2), (1.25, 1.9), (-1.1, 1.9), (0.6, 0.2)]
    for (sector, share), (out, down) in zip(shares.items(), spots, strict=True):
        missing = share < LEAST
        number = "< 1 %" if 0 < share < LEAST else f"{100 * share:.0f} %"
        axes.text(
            float(own[0] + side * out),
            float(own[1] + down),
            f"{_short(sector)}\n{number}",
            ha="center",
            va="center",
            fontsize=7.5,
            clip_on=True,
            color="#b00020" if missing else "#0b3d91",
            fontweight="bold" if missing else "normal",
            bbox={"facecolor": "white", "alpha": 0.7, "lw": 0, "pad": 1.5},
        )


def _short(sector: str) -> str:
    """Return a sector in the words that fit on the map."""
    return sector.split(" or ")[0].replace(" the other leg", "").replace(" the", "")


def words(lines: Sequence[str]) -> str:
    """Return the lines of ``Coverage.missing`` as one text."""
    return "\n".join(f"missing: {line}" for line in lines) or "missing: nothing"
