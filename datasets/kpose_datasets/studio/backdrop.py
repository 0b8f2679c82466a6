"""What is behind a person: rooms, streets and meadows, textures, clutter."""

import cv2
import numpy as np
from numpy.typing import NDArray

from kpose_datasets.studio.figure import Floats
from kpose_datasets.studio.outfit import cloth
from kpose_datasets.studio.raycast import Camera

Picture = NDArray[np.float32]
"""``(height, width, 3)`` RGB, 0 to 1."""


def sample(rng: np.random.Generator, camera: Camera, size: tuple[int, int]) -> Picture:
    """Draw a backdrop of any kind for a camera; ``size`` is width and height."""
    kind = rng.choice(["room", "outdoors", "clutter", "texture"], p=_KINDS)
    if kind == "room":
        return room(rng, camera, size)
    if kind == "outdoors":
        return _outdoors(rng, camera, size)
    picture = _texture(rng, size)
    return _clutter(rng, picture) if kind == "clutter" else picture


_KINDS = [0.45, 0.25, 0.18, 0.12]


def noise(rng: np.random.Generator, size: tuple[int, int], cells: float) -> Picture:
    """Return ``(height, width)`` smooth noise of about unit variance.

    Args:
        rng: Draws the noise.
        size: Width and height.
        cells: Number of bumps over the longer side.
    """
    width, height = size
    pitch = max(width, height) / cells
    grid = rng.normal(0, 1, (int(height / pitch) + 3, int(width / pitch) + 3))
    wide = cv2.resize(
        grid.astype(np.float32),
        (int(grid.shape[1] * pitch) + 1, int(grid.shape[0] * pitch) + 1),
        interpolation=cv2.INTER_CUBIC,
    )
    return np.asarray(wide[:height, :width], np.float32)


def _rays(camera: Camera, size: tuple[int, int]) -> tuple[Picture, Picture, Picture]:
    """Return x, y, z of the rays of all pixels in world axes, ``(height, width)``."""
    width, height = size
    x = ((np.arange(width, dtype=np.float32) - camera.center[0]) / camera.focal)[None]
    y = (np.arange(height, dtype=np.float32) - camera.center[1]) / camera.focal
    r = camera.rotation.astype(np.float32)
    right, up, near = (
        r[0, i] * x.astype(np.float32) + (r[1, i] * y + r[2, i])[:, None]
        for i in range(3)
    )
    return right, up, near


def _color(rng: np.random.Generator, low: float, high: float, vivid: float) -> Floats:
    grey = rng.uniform(low, high)
    return np.clip(grey * (1 + vivid * rng.normal(0, 1, 3)), 0.02, 0.98)


def room(rng: np.random.Generator, camera: Camera, size: tuple[int, int]) -> Picture:
    """Draw a room: floor, walls, skirting, a window, pictures, doors and furniture."""
    dx, dy, dz = _rays(camera, size)
    ex, ey, ez = camera.eye
    back = -rng.uniform(0.8, 3.2)
    sides = rng.uniform(1.3, 3.5), rng.uniform(1.3, 3.5)
    ceiling = rng.uniform(2.4, 3.2)
    # Distance along each ray to the five planes; the nearest in front counts.
    ahead = np.float32(1e-6)
    planes = np.stack(
        [
            ey / np.maximum(-dy, ahead),
            (ceiling - ey) / np.maximum(dy, ahead),
            (ez - back) / np.maximum(-dz, ahead),
            (sides[0] + ex) / np.maximum(-dx, ahead),
            (sides[1] - ex) / np.maximum(dx, ahead),
        ],
        dtype=np.float32,
    )
    which = planes.argmin(axis=0)
    t = np.minimum(planes.min(axis=0), 50)
    x, y, z = (
        np.asarray(e + t * d, np.float32)
        for e, d in zip((ex, ey, ez), (dx, dy, dz), strict=True)
    )
    wall = _color(rng, 0.35, 0.92, 0.08)
    top = _color(rng, 0.75, 0.95, 0.02)
    shades = rng.uniform(0.72, 1.05, 2)
    plane_colors = np.stack([wall, top, wall, shades[0] * wall, shades[1] * wall])
    colors = plane_colors.astype(np.float32)[which]
    on_floor = which == 0
    colors[on_floor] = _floor(rng, x[on_floor], z[on_floor])
    on_wall = which == 2
    if rng.random() < 0.25:  # wallpaper
        stripes = np.sin(x * rng.uniform(8, 40)) > 0
        colors[on_wall & stripes] *= rng.uniform(0.8, 0.95)
    for _ in range(int(rng.integers(0, 5))):  # doors, windows, pictures, shelves
        left, wide = rng.uniform(-sides[0], sides[1]), rng.uniform(0.3, 1.4)
        low = rng.choice([0.0, rng.uniform(0.6, 1.6)])
        high = low + rng.uniform(0.4, 2.0)
        inside = on_wall & (x > left) & (x < left + wide) & (y > low) & (y < high)
        rim = inside & ~(
            (x > left + 0.05)
            & (x < left + wide - 0.05)
            & (y > low + 0.05)
            & (y < high - 0.05)
        )
        colors[inside] = _color(rng, 0.15, 1.0, 0.25)
        if rng.random() < 0.4:
            bars = (
                np.sin(x * rng.uniform(10, 60)) * np.sin(y * rng.uniform(5, 40)) > 0.3
            )
            colors[inside & bars] = _color(rng, 0.1, 0.9, 0.3)
        colors[rim] = _color(rng, 0.1, 0.9, 0.1)
    colors[(which >= 2) & (y < rng.uniform(0.0, 0.12))] *= rng.uniform(0.4, 1.1)
    # Corners are darker than open walls.
    edge = np.minimum(np.abs(z - back), np.minimum(x + sides[0], sides[1] - x))
    corner = np.clip(np.minimum(edge, np.abs(y)) / 0.5, 0, 1)
    colors *= (0.86 + 0.14 * corner)[..., None]
    picture = np.ascontiguousarray(colors, np.float32)
    for _ in range(int(rng.integers(0, 5))):
        spot = np.array(
            [rng.uniform(-sides[0], sides[1]), 0, rng.uniform(back + 0.2, -0.55)]
        )
        box = rng.uniform([0.3, 0.25, 0.2], [1.4, 1.5, 0.5])
        _furniture(picture, camera, spot, box, _color(rng, 0.1, 0.85, 0.2))
    return _uneven(rng, picture)


def _floor(rng: np.random.Generator, x: Picture, z: Picture) -> Floats:
    """Return ``(n, 3)`` colours of the floor at ``(n,)`` points."""
    first, second = _color(rng, 0.2, 0.8, 0.12), rng.uniform(0.75, 1.1)
    kind = rng.choice(["plain", "tiles", "planks", "rug"])
    scale = rng.uniform(1.5, 7)
    shade = np.ones_like(x)
    if kind == "tiles":
        shade[(np.floor(x * scale) + np.floor(z * scale)) % 2 > 0] = second
    elif kind == "planks":
        row = np.floor(x * scale)
        shade = 0.88 + 0.12 * np.sin(row * 12.9898 + 4.1 * np.floor(z + row * 0.37))
    colors = np.asarray(first * shade[..., None], np.float64)
    if kind == "rug":
        half = rng.uniform(0.6, 1.5, 2)
        inside = (np.abs(x) < half[0]) & (np.abs(z) < half[1])
        colors[inside] = cloth(rng)
    return colors


def _furniture(
    picture: Picture, camera: Camera, spot: Floats, box: Floats, color: Floats
) -> None:
    """Draw a block on the floor: the front, the top and one side."""
    x, _, z = spot
    wide, _, deep = box
    unit_cube = [[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    corner = np.array(unit_cube) * box
    corner += np.array([x - wide / 2, 0, z - deep / 2])
    if (camera.to_camera(corner)[:, 2] < 0.2).any():
        return
    spots = camera.project(corner)
    faces = [((1, 3, 7, 5), 1.0), ((2, 3, 7, 6), 1.25)]
    side = (0, 1, 3, 2) if x > camera.eye[0] else (4, 5, 7, 6)
    faces.insert(0, (side, 0.7))
    for face, light in faces:
        points = np.clip(spots[list(face)], -4000, 4000)
        shade = tuple(np.clip(color * light, 0, 1).tolist())
        fixed = np.round(points * 16).astype(np.int32)
        cv2.fillConvexPoly(picture, fixed, shade, cv2.LINE_8, 4)


def _outdoors(
    rng: np.random.Generator, camera: Camera, size: tuple[int, int]
) -> Picture:
    """Draw sky, ground to the horizon, hills, houses and bushes."""
    dx, dy, dz = _rays(camera, size)
    up = dy / np.sqrt(dx * dx + dy * dy + dz * dz)
    zenith, horizon = _color(rng, 0.4, 0.8, 0.1), _color(rng, 0.7, 0.95, 0.04)
    zenith[2] = min(zenith[2] * 1.3, 1.0)
    share = np.clip(up * 2.2, 0, 1)[..., None]
    colors = horizon * (1 - share) + zenith * share
    clouds = noise(rng, size, rng.uniform(3, 9))
    colors += (0.05 * rng.random() * clouds * (up > 0))[..., None]
    greens = np.array([rng.uniform(0.2, 0.5), rng.uniform(0.3, 0.6), 0.2])
    ground = greens if rng.random() < 0.55 else _color(rng, 0.3, 0.75, 0.08)
    below = up < 0
    far = np.clip(-up * 3, 0, 1)[..., None]
    grain = noise(rng, size, rng.uniform(20, 120)) * rng.uniform(0.02, 0.12)
    field = ground * (0.8 + 0.2 * far) * (1 + grain[..., None])
    colors[below] = field[below]
    picture = np.ascontiguousarray(np.clip(colors, 0, 1), np.float32)
    width, height = size
    far_away = camera.project(np.array([0.0, camera.eye[1], -1e4]))
    line = float(np.clip(far_away[1], -height, 2 * height))
    unit_size = 0.12 * height * rng.uniform(0.6, 2.0)
    for _ in range(int(rng.integers(2, 14))):
        x, tall = rng.uniform(0, width), unit_size * rng.uniform(0.3, 2.2)
        if rng.random() < 0.5:
            color = greens * rng.uniform(0.35, 0.9)
            for _ in range(5):
                spot = (int(x + rng.normal(0, 0.4 * tall)), int(line - 0.4 * tall))
                half = (int(0.5 * tall) + 1, int(0.55 * tall * rng.uniform(0.5, 1)) + 1)
                tint = tuple((color * rng.uniform(0.8, 1.2)).tolist())
                cv2.ellipse(picture, spot, half, 0, 0, 360, tint, -1, cv2.LINE_8)
        else:
            color = _color(rng, 0.3, 0.85, 0.15)
            half_wide = tall * rng.uniform(0.3, 0.8)
            a = (int(x - half_wide), int(line - tall))
            b = (int(x + half_wide), int(line + 2))
            cv2.rectangle(picture, a, b, color.tolist(), -1)
            pitch = max(tall / 5, 4)
            for i in range(int(2 * half_wide / pitch)):
                for j in range(4):
                    c = (int(a[0] + (i + 0.25) * pitch), int(a[1] + (j + 0.3) * pitch))
                    d = (int(c[0] + 0.5 * pitch), int(c[1] + 0.55 * pitch))
                    cv2.rectangle(picture, c, d, (color * 0.5).tolist(), -1)
    if rng.random() < 0.5:  # out of focus
        picture = np.asarray(
            cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.5, 4)), np.float32
        )
    return _uneven(rng, picture)


def _texture(rng: np.random.Generator, size: tuple[int, int]) -> Picture:
    """Draw a gradient with noise of several scales in a few colours."""
    width, height = size
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:height, 0:width]
    share = 0.5 + 0.5 * (
        np.cos(angle) * (2 * x / width - 1) + np.sin(angle) * (2 * y / height - 1)
    )
    share = np.clip(share + rng.uniform(0, 0.8) * noise(rng, size, 4), 0, 1)[..., None]
    picture = (
        _color(rng, 0.1, 0.9, 0.2) * (1 - share) + _color(rng, 0.1, 0.9, 0.2) * share
    )
    for cells in (8, 24, 80):
        tint = rng.normal(0, rng.uniform(0.01, 0.09), 3)
        picture = picture + noise(rng, size, cells)[..., None] * tint
    return np.asarray(np.clip(picture, 0, 1), np.float32)


def _clutter(rng: np.random.Generator, picture: Picture) -> Picture:
    """Draw boxes, discs, polygons and limb-like strokes over a picture."""
    height, width = picture.shape[:2]
    picture = np.ascontiguousarray(picture)
    for _ in range(int(rng.integers(6, 40))):
        color = cloth(rng)
        x, y = int(rng.uniform(0, width)), int(rng.uniform(0, height))
        size = rng.gamma(2.0, 0.07 * width) + 3
        kind = rng.integers(4)
        if kind == 0:
            far = (int(x + size), int(y + size * rng.uniform(0.3, 3)))
            cv2.rectangle(picture, (x, y), far, color, -1)
        elif kind == 1:
            half = (int(size / 2), int(size * rng.uniform(0.2, 0.6)))
            turned = rng.uniform(0, 180)
            cv2.ellipse(picture, (x, y), half, turned, 0, 360, color, -1, cv2.LINE_AA)
        elif kind == 2:
            points = rng.normal([x, y], size / 2, (4, 2)).astype(np.int32)
            hull = cv2.convexHull(points)
            cv2.fillConvexPoly(picture, hull, color, cv2.LINE_AA)
        else:
            end = (int(x + rng.normal(0, 2 * size)), int(y + rng.normal(0, 2 * size)))
            thick = int(rng.uniform(1, 24))
            cv2.line(picture, (x, y), end, color, thick, cv2.LINE_AA)
    return _uneven(rng, picture)


def _uneven(rng: np.random.Generator, picture: Picture) -> Picture:
    """Let light fall unevenly and take the flatness off all surfaces."""
    size = picture.shape[1], picture.shape[0]
    light = 1 + rng.uniform(0.02, 0.1) * noise(rng, size, rng.uniform(2, 5))
    light += rng.uniform(0.0, 0.04) * noise(rng, size, rng.uniform(40, 150))
    return np.asarray(np.clip(picture * light[..., None], 0, 1), np.float32)
