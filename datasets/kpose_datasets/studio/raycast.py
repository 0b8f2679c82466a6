"""From rounded cones to depth, normals and colours, one ray per sample."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kpose_datasets.studio.figure import Floats, across, unit

Samples = NDArray[np.float32]

Paint = Callable[[Samples, float], Samples]
"""Colour of surface points: ``(n, 3)`` local points of a part and its length (local y
of the second ball) -> ``(n, 3)`` RGB, 0 to 1."""

OVERSAMPLING = 2
"""Rays per pixel along each axis."""


class Part(NamedTuple):
    """A rounded cone: two balls and what lies between, possibly flattened.

    Args:
        origin: ``(3,)`` centre of the first ball, metres.
        axes: ``(3, 3)`` columns: the local x, y and z axis; their lengths scale the
            part, so that a ball becomes an ellipsoid.
        length: Local y of the second ball, 0 for a single ball.
        radii: Radii of the two balls, local units.
        paint: The colours.
    """

    origin: Floats
    axes: Floats
    length: float
    radii: tuple[float, float]
    paint: Paint


class Camera(NamedTuple):
    """A pinhole: ``eye`` in world metres, ``(3, 3)`` world-to-camera rotation.

    ``focal`` and ``center`` (x, y of the optical axis) are in image pixels.
    """

    eye: Floats
    rotation: Floats
    focal: float
    center: tuple[float, float]

    def to_camera(self, points: Floats) -> Floats:
        """Map ``(..., 3)`` world points to camera metres (x right, y down, z away)."""
        return np.asarray((points - self.eye) @ self.rotation.T, np.float64)

    def project(self, points: Floats) -> Floats:
        """Map ``(..., 3)`` world points to ``(..., 2)`` image pixels."""
        x, y, z = np.moveaxis(self.to_camera(points), -1, 0)
        return np.stack(
            [
                self.focal * x / z + self.center[0],
                self.focal * y / z + self.center[1],
            ],
            axis=-1,
        )


class Surface(NamedTuple):
    """What the rays meet, in a window of the oversampled picture.

    ``x0`` and ``y0`` are the window's first sample; ``depth`` is metres along the
    optical axis, infinite where there is nothing; ``normal`` in camera axes; ``part``
    the index of the part, -1 for none.
    """

    x0: int
    y0: int
    depth: Samples
    normal: Samples
    color: Samples
    part: NDArray[np.int16]


def limb(
    start: Floats,
    end: Floats,
    radii: tuple[float, float],
    paint: Paint,
    front: Floats,
    flat: float = 1.0,
) -> Part:
    """Return the rounded cone from ``start`` to ``end`` (world metres).

    Args:
        start: ``(3,)`` centre of the first ball.
        end: ``(3,)`` centre of the second ball.
        radii: Radii of the balls, metres.
        paint: The colours.
        front: ``(3,)`` the direction that local z takes, and in which ``flat`` acts.
        flat: Thickness along ``front`` relative to the width.
    """
    length = float(np.linalg.norm(end - start))
    y = (end - start) / length
    z = across(front, y)
    return Part(
        start, np.stack([np.cross(y, z), y, flat * z], axis=1), length, radii, paint
    )


def ball(center: Floats, frame: Floats, half: Sequence[float], paint: Paint) -> Part:
    """Return the ellipsoid with half axes ``half`` along the columns of ``frame``."""
    return Part(center, frame * np.asarray(half), 0.0, (1.0, 1.0), paint)


def cast(parts: Sequence[Part], camera: Camera, size: tuple[int, int]) -> Surface:
    """Return the nearest surface along every ray of a picture's window.

    Args:
        parts: The body, world metres.
        camera: Where it is seen from.
        size: Width and height of the picture in pixels; samples lie at
            ``(i + 0.5) / 2 - 0.5`` pixels.
    """
    windows = _windows(parts, camera, size)
    x0, y0 = windows[:, :2].min(axis=0, initial=2 * max(size))
    x1, y1 = windows[:, 2:].max(axis=0, initial=0)
    shape = (max(y1 - y0, 0), max(x1 - x0, 0))
    surface = Surface(
        int(x0),
        int(y0),
        np.full(shape, np.inf, np.float32),
        np.zeros((*shape, 3), np.float32),
        np.zeros((*shape, 3), np.float32),
        np.full(shape, -1, np.int16),
    )
    for index, (part, window) in enumerate(zip(parts, windows, strict=True)):
        left, top, right, bottom = window.tolist()
        if right <= left or bottom <= top:
            continue
        matrix = np.asarray(np.linalg.inv(camera.rotation @ part.axes), np.float64)
        xs = (np.arange(left, right) + 0.5) / OVERSAMPLING - 0.5 - camera.center[0]
        ys = (np.arange(top, bottom) + 0.5) / OVERSAMPLING - 0.5 - camera.center[1]
        area = slice(top - y0, bottom - y0), slice(left - x0, right - x0)
        _draw(
            part,
            index,
            matrix,
            matrix @ -camera.to_camera(part.origin),
            (xs / camera.focal).astype(np.float32),
            (ys / camera.focal).astype(np.float32),
            Surface(
                left,
                top,
                surface.depth[area],
                surface.normal[area],
                surface.color[area],
                surface.part[area],
            ),
        )
    return surface


def _windows(
    parts: Sequence[Part], camera: Camera, size: tuple[int, int]
) -> NDArray[np.int64]:
    """Return ``(parts, 4)``: the samples that each part can touch.

    The columns are left, top, right, bottom, the last two exclusive.
    """
    origins = np.array([part.origin for part in parts]).reshape(-1, 1, 3)
    axes = np.array([part.axes for part in parts]).reshape(-1, 3, 3)
    lengths = np.array([part.length for part in parts])
    radii = np.array([part.radii for part in parts]).reshape(-1, 2, 1)
    reach = np.linalg.norm(axes, axis=1).max(axis=1, initial=0)
    ends = np.stack([0 * lengths, lengths], axis=1)[..., None] * axes[:, None, :, 1]
    centers = camera.to_camera(origins + ends)  # (parts, 2 balls, 3)
    grow = radii * reach[:, None, None]
    near = centers[..., 2:] - grow
    # The box around each ball, seen from its near and its far side.
    corners = np.stack(
        [
            (centers[..., :2] + sign * grow) / np.maximum(z, 0.05)
            for sign in (-1, 1)
            for z in (near, centers[..., 2:] + grow)
        ]
    )
    spots = corners * camera.focal + camera.center
    low = np.floor((spots.min(axis=(0, 2)) + 0.5) * OVERSAMPLING - 0.5)
    high = np.ceil((spots.max(axis=(0, 2)) + 0.5) * OVERSAMPLING - 0.5) + 1
    limit = np.array(size) * OVERSAMPLING
    windows = np.concatenate([np.clip(low, 0, limit), np.clip(high, 0, limit)], axis=1)
    # A part that reaches the eye has no picture.
    windows[(near < 0.05).any(axis=(1, 2)), 2:] = 0
    return windows.astype(np.int64)


def _draw(
    part: Part,
    index: int,
    matrix: Floats,
    origin: Floats,
    xs: Samples,
    ys: Samples,
    surface: Surface,
) -> None:
    """Intersect the rays ``(x, y, 1) * t`` of a window with one part.

    Args:
        part: What is drawn.
        index: Its number.
        matrix: ``(3, 3)`` from camera axes to the part's local axes.
        origin: ``(3,)`` the eye in local coordinates.
        xs: ``(w,)`` x of the rays.
        ys: ``(h,)`` y of the rays.
        surface: The buffers of the window, changed in place.
    """
    m = matrix.astype(np.float32)
    o = origin.astype(np.float32)
    ray = [m[i, 0] * xs + (m[i, 1] * ys + m[i, 2])[:, None] for i in range(3)]
    squared = ray[0] * ray[0] + ray[1] * ray[1] + ray[2] * ray[2]
    along = o[0] * ray[0] + o[1] * ray[1] + o[2] * ray[2]
    (first, second), length = part.radii, np.float32(part.length)
    beyond = np.float32(np.inf)
    root = along * along - squared * np.float32(o @ o - first * first)
    depth = np.where(
        root > 0, (-along - np.sqrt(np.maximum(root, 0))) / squared, beyond
    )
    kind = np.zeros(depth.shape, np.int8)
    if length > 0:
        o2 = o - np.array([0, length, 0], np.float32)
        along2 = along - length * ray[1]
        root = along2 * along2 - squared * np.float32(o2 @ o2 - second * second)
        t = np.where(
            root > 0, (-along2 - np.sqrt(np.maximum(root, 0))) / squared, beyond
        )
        nearer = t < depth
        depth[nearer] = t[nearer]
        kind[nearer] = 1
        slope = np.float32(first - second)
        rest = np.float32(length * length - slope * slope)
        if rest > 0:
            y = length * ray[1]
            oy = length * o[1]
            k2 = rest * squared - y * y
            k1 = rest * along - oy * y + y * (slope * np.float32(first))
            k0 = np.float32(
                rest * (o @ o)
                - oy * oy
                + 2 * oy * slope * first
                - length * length * first * first
            )
            root = k1 * k1 - k0 * k2
            safe = np.where(np.abs(k2) > 1e-12, k2, 1)
            t = (-np.sqrt(np.maximum(root, 0)) - k1) / safe
            place = oy - first * slope + t * y
            good = (root > 0) & (place > 0) & (place < rest) & (t > 0) & (t < depth)
            depth[good] = t[good]
            kind[good] = 2
    hit = depth < surface.depth
    t = depth[hit]
    if not len(t):
        return
    kinds = kind[hit]
    point = np.stack([o[i] + t * ray[i][hit] for i in range(3)], axis=1)
    normal = point.copy()
    if length > 0:
        normal[kinds == 1, 1] -= length
        side = kinds == 2
        # Square to the axis from the nearest point of it, tilted by the slope.
        tilt = length * (length * point[side, 1] - np.float32(first * slope))
        normal[side] *= rest
        normal[side, 1] -= tilt
    normal = normal @ m  # normals map with the inverse transpose of the axes
    normal /= np.sqrt((normal * normal).sum(axis=1, keepdims=True))
    surface.depth[hit] = t
    surface.normal[hit] = normal
    surface.color[hit] = part.paint(point, part.length)
    surface.part[hit] = index


def look_at(eye: Floats, target: Floats, roll: float = 0.0) -> Floats:
    """Return the world-to-camera rotation of a camera at ``eye``, level up to roll."""
    away = unit(target - eye)
    right = unit(np.cross(away, [0.0, 1.0, 0.0]))
    down = np.cross(away, right)
    c, s = np.cos(roll), np.sin(roll)
    return np.stack([c * right + s * down, c * down - s * right, away])
