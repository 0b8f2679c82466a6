"""From rounded cones to depth, normals and colours, one ray per sample."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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
    length = np.float32(part.length)
    far = o - np.array([0, length, 0], np.float32)
    inner = o @ o, far @ far
    depth, kind, ray = meet(m, o, inner, length, part.radii, xs, ys[:, None])
    hit = depth < surface.depth
    t = depth[hit]
    if not len(t):
        return
    point = np.stack([o[i] + t * ray[i][hit] for i in range(3)], axis=1)
    surface.depth[hit] = t
    surface.normal[hit] = facing(point, kind[hit], length, part.radii, m)
    surface.color[hit] = part.paint(point, part.length)
    surface.part[hit] = index


def meet(
    m: Samples,
    o: Samples,
    inner: tuple[Any, Any],
    length: Any,
    radii: tuple[Any, Any],
    xs: Samples,
    ys: Samples,
) -> tuple[Samples, NDArray[np.int8], list[Samples]]:
    """Intersect rays ``(x, y, 1) * t`` from the eye with rounded cones.

    All shapes are broadcast, so that many rays meet one part, or one part at several
    moments, or many parts a few rays. float32 throughout.

    Args:
        m: ``(3, 3, ...)`` from camera axes to the part's local axes.
        o: ``(3, ...)`` the eye in local coordinates.
        inner: Squared distances of the eye from the centres of the two balls.
        length: Local y of the second ball, 0 for a single ball.
        radii: Radii of the two balls.
        xs: x of the rays.
        ys: y of the rays.

    Returns:
        t, infinite where a ray meets nothing; 0 where it meets the first ball, 1 the
        second, 2 the side; the rays in local axes.
    """
    ray = [m[i, 0] * xs + (m[i, 1] * ys + m[i, 2]) for i in range(3)]
    squared = ray[0] * ray[0] + ray[1] * ray[1] + ray[2] * ray[2]
    along = o[0] * ray[0] + o[1] * ray[1] + o[2] * ray[2]
    first, second = radii
    depth = _ball(squared, along, inner[0] - first * first)
    kind = np.zeros(depth.shape, np.int8)
    if not np.any(length):
        return depth, kind, ray
    y = length * ray[1]
    oy = length * o[1]
    t = _ball(squared, along - y, inner[1] - second * second)
    nearer = t < depth
    np.copyto(depth, t, where=nearer)
    kind[nearer] = 1
    slope = np.asarray(first - second, np.float32)
    # Not positive where one ball holds the other: then there is no side.
    rest = length * length - slope * slope
    k2 = rest * squared - y * y
    k1 = rest * along - oy * y + y * (slope * np.asarray(first, np.float32))
    k0 = rest * inner[0] - oy * oy + 2 * oy * slope * first
    k0 = k0 - length * length * first * first
    root = k1 * k1 - np.asarray(k0, np.float32) * k2
    safe = np.where(np.abs(k2) > 1e-12, k2, 1)
    t = (-np.sqrt(np.maximum(root, 0)) - k1) / safe
    place = oy - first * slope + t * y
    good = (root > 0) & (place > 0) & (place < rest) & (t > 0) & (t < depth)
    np.copyto(depth, t, where=good)
    kind[good] = 2
    return depth, kind, ray


def _ball(squared: Samples, along: Samples, excess: Any) -> Samples:
    """Return where rays enter a ball; ``excess`` is distance less radius, squared."""
    root = along * along - squared * np.asarray(excess, np.float32)
    entry = (-along - np.sqrt(np.maximum(root, 0))) / squared
    return np.asarray(np.where(root > 0, entry, np.float32(np.inf)), np.float32)


def facing(
    point: Samples,
    kind: NDArray[np.int8],
    length: Any,
    radii: tuple[float, float],
    m: Samples,
) -> Samples:
    """Return the ``(n, 3)`` unit normals of local surface points, camera axes.

    Args:
        point: ``(n, 3)`` what rays meet.
        kind: ``(n,)`` as ``meet`` gives it.
        length: Local y of the second ball.
        radii: Radii of the two balls.
        m: ``(3, 3)`` from camera axes to local axes.
    """
    normal = point.copy()
    if length > 0:
        normal[kind == 1, 1] -= length
        side = kind == 2
        # Square to the axis from the nearest point of it, tilted by the slope.
        slope = np.float32(radii[0] - radii[1])
        normal[side] *= length * length - slope * slope
        normal[side, 1] -= length * (
            length * point[side, 1] - np.float32(radii[0] * slope)
        )
    normal = normal @ m  # normals map with the inverse transpose of the axes
    normal /= np.sqrt((normal * normal).sum(axis=1, keepdims=True))
    return normal


MOMENTS = 4
"""Rays per pixel of ``expose``, each at a moment of its own."""

_SPREAD = np.array([[-0.125, -0.375], [0.375, -0.125], [0.125, 0.375], [-0.375, 0.125]])
"""Where in a pixel those rays lie (x, y): no two in one row or column."""


class Exposure(NamedTuple):
    """What the rays of all moments meet, in a window of the picture.

    ``x0`` and ``y0`` are the window's first pixel; ``depth`` ``(MOMENTS, h, w)`` metres
    along the optical axis, infinite where there is nothing; ``part`` the same of the
    index of the part, -1 for none. ``hits`` ``(n,)`` are the flat places in those where
    there is something; ``normal`` (camera axes) and ``color`` ``(n, 3)`` are of them.
    """

    x0: int
    y0: int
    depth: Samples
    part: NDArray[np.int16]
    hits: NDArray[np.intp]
    normal: Samples
    color: Samples


def expose(
    moments: Sequence[Sequence[Part]], camera: Camera, size: tuple[int, int]
) -> Exposure:
    """Cast rays at things that move while the shutter is open.

    Every pixel gets one ray per moment, each elsewhere in the pixel, so that motion
    blur costs nothing beside smooth edges.

    Args:
        moments: The parts at each of ``MOMENTS`` moments: the same ones, moved.
        camera: Where they are seen from.
        size: Width and height of the picture in pixels.
    """
    all_windows = np.stack([_windows(parts, camera, size) for parts in moments])
    starts, stops = all_windows[..., :2], all_windows[..., 2:]
    # A part that is out of sight at one moment has no window then.
    lost = np.any(stops <= starts, axis=2, keepdims=True)
    low = np.where(lost, OVERSAMPLING * max(size), starts).min(axis=0)
    high = np.where(lost, 0, stops).max(axis=0)
    windows = np.concatenate([low // OVERSAMPLING, -(-high // OVERSAMPLING)], axis=1)
    x0, y0 = windows[:, :2].min(axis=0, initial=max(size))
    x1, y1 = windows[:, 2:].max(axis=0, initial=0)
    shape = (MOMENTS, max(int(y1 - y0), 0), max(int(x1 - x0), 0))
    depth = np.full(shape, np.inf, np.float32)
    kind = np.zeros(shape, np.int8)
    index = np.full(shape, -1, np.int16)
    axes = np.array([[part.axes for part in parts] for parts in moments])
    origins = np.array([[part.origin for part in parts] for parts in moments])
    lengths = np.array(
        [[part.length for part in parts] for parts in moments], np.float32
    )
    inverse = np.linalg.inv(camera.rotation @ axes)  # (moments, parts, 3, 3)
    eyes = -np.einsum("tpij,tpj->tpi", inverse, camera.to_camera(origins))
    m, o = inverse.astype(np.float32), eyes.astype(np.float32)
    far = o - lengths[..., None] * np.array([0, 1, 0], np.float32)
    inner = (o * o).sum(axis=2), (far * far).sum(axis=2)
    xs, ys = (
        (np.arange(start, end) + _SPREAD[:, i, None] - camera.center[i]) / camera.focal
        for i, (start, end) in enumerate(((x0, x1), (y0, y1)))
    )
    xs, ys = xs.astype(np.float32), ys.astype(np.float32)

    def spread(values: Samples) -> Samples:
        """Moments last, then room for rows and columns."""
        return np.moveaxis(values, 0, -1)[..., None, None]

    for number, part in enumerate(moments[0]):
        left, top, right, bottom = (windows[number] - [x0, y0, x0, y0]).tolist()
        if right <= left or bottom <= top:
            continue
        radii = float(part.radii[0]), float(part.radii[1])
        t, which, _ = meet(
            spread(m[:, number]),
            spread(o[:, number]),
            (spread(inner[0][:, number]), spread(inner[1][:, number])),
            spread(lengths[:, number]),
            radii,
            xs[:, None, left:right],
            ys[:, top:bottom, None],
        )
        area = slice(None), slice(top, bottom), slice(left, right)
        hit = (t < depth[area]) & (t > 0)
        np.copyto(depth[area], t, where=hit)
        np.copyto(kind[area], which, where=hit)
        np.copyto(index[area], np.int16(number), where=hit)
    # What is seen is coloured once, part by part.
    hits = np.flatnonzero(index.ravel() >= 0)
    numbers = index.ravel()[hits]
    order = np.argsort(numbers, kind="stable")
    hits, numbers = hits[order], numbers[order]
    moment, place = np.divmod(hits, max(shape[1] * shape[2], 1))
    row, column = np.divmod(place, max(shape[2], 1))
    matrices = m[moment, numbers]
    ray = _times(matrices, xs[moment, column], ys[moment, row])
    point = o[moment, numbers] + depth.ravel()[hits][:, None] * ray
    first, second = np.array([part.radii for part in moments[0]], np.float32).T.reshape(
        2, -1
    )
    length, slope = lengths[moment, numbers], (first - second)[numbers]
    kinds = kind.ravel()[hits]
    normal = point.copy()
    normal[:, 1] -= np.where(kinds == 1, length, 0)
    side = kinds == 2
    tilt = length * (length * point[:, 1] - first[numbers] * slope)
    normal *= np.where(side, length * length - slope * slope, 1)[:, None]
    normal[:, 1] -= np.where(side, tilt, 0)
    # Normals map with the inverse transpose of the axes.
    normal = (
        normal[:, :1] * matrices[:, 0]
        + normal[:, 1:2] * matrices[:, 1]
        + normal[:, 2:] * matrices[:, 2]
    )
    normal /= np.sqrt((normal * normal).sum(axis=1, keepdims=True))
    color = np.empty_like(point)
    ends = np.searchsorted(numbers, np.arange(len(moments[0]) + 1))
    for number, part in enumerate(moments[0]):
        group = slice(ends[number], ends[number + 1])
        if group.start < group.stop:
            color[group] = part.paint(point[group], part.length)
    return Exposure(int(x0), int(y0), depth, index, hits, normal, color)


def _times(matrices: Samples, x: Samples, y: Samples) -> Samples:
    """Return ``(n, 3)``: each matrix times ``(x, y, 1)``."""
    return np.asarray(
        matrices[:, :, 0] * x[:, None]
        + (matrices[:, :, 1] * y[:, None] + matrices[:, :, 2]),
        np.float32,
    )


def nearest(parts: Sequence[Part], camera: Camera, spots: Floats) -> Samples:
    """Return ``(n,)``: the depth that is seen at ``(n, 2)`` image pixels, metres."""
    axes = np.array([part.axes for part in parts])
    origins = np.array([part.origin for part in parts])
    inverse = np.linalg.inv(camera.rotation @ axes)
    eyes = -np.einsum("pij,pj->pi", inverse, camera.to_camera(origins))
    lengths = np.array([part.length for part in parts], np.float32)[:, None]
    radii = np.array([part.radii for part in parts], np.float32)[..., None]
    m = np.moveaxis(inverse, 0, 2).astype(np.float32)[..., None]
    o = eyes.T.astype(np.float32)[..., None]
    far = o - lengths * np.array([0, 1, 0], np.float32)[:, None, None]
    xs, ys = ((spots - camera.center) / camera.focal).T.astype(np.float32)
    inner = (o * o).sum(axis=0), (far * far).sum(axis=0)
    depth, _, _ = meet(m, o, inner, lengths, (radii[:, 0], radii[:, 1]), xs, ys)
    return np.asarray(np.where(depth > 0, depth, np.inf).min(axis=0), np.float32)


def look_at(eye: Floats, target: Floats, roll: float = 0.0) -> Floats:
    """Return the world-to-camera rotation of a camera at ``eye``, level up to roll."""
    away = unit(target - eye)
    right = unit(np.cross(away, [0.0, 1.0, 0.0]))
    down = np.cross(away, right)
    c, s = np.cos(roll), np.sin(roll)
    return np.stack([c * right + s * down, c * down - s * right, away])
