"""Scenes: a person somewhere, and the picture a camera takes of it."""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from kpose.joints import BODY_13
from kpose_datasets.studio import backdrop, poses
from kpose_datasets.studio.figure import Body, Figure, Floats, place, unit
from kpose_datasets.studio.outfit import Outfit, allowances, cloth, dress, stool
from kpose_datasets.studio.raycast import OVERSAMPLING, Camera, Surface, cast, look_at


class Light(NamedTuple):
    """Where the light comes from (``(3,)`` unit vector, world) and its RGB strengths.

    ``key`` is the lamp's or sun's, ``fill`` that of everything else.
    """

    towards: Floats
    key: Floats
    fill: Floats


class Sensor(NamedTuple):
    """The faults of a camera.

    ``noise`` is in grey levels, ``blur`` a sigma in pixels, ``gain`` the exposure per
    channel and ``gamma`` the contrast of the picture.
    """

    noise: float
    blur: float
    gain: Floats
    gamma: float


@dataclass(frozen=True)
class Scene:
    """Everything in front of the camera, and the camera.

    ``backdrop`` is ``(height, width, 3)`` float32 RGB, 0 to 1.
    """

    figure: Figure
    outfit: Outfit
    camera: Camera
    backdrop: NDArray[np.float32]
    light: Light
    sensor: Sensor
    furniture: tuple[float, float, float] = (0.4, 0.3, 0.2)


class Shot(NamedTuple):
    """A picture and what is known about it.

    ``image`` is ``(height, width, 3)`` RGB uint8; ``joints`` ``(13, 3)`` float32: x, y
    in image pixels, 1; ``visible`` ``(13,)`` int8: 0 where another part of the body or
    the picture's edge hides the joint; ``mask`` ``(height, width)`` bool: the person.
    """

    image: NDArray[np.uint8]
    joints: NDArray[np.float32]
    visible: NDArray[np.int8]
    mask: NDArray[np.bool_]


def varied_scene(rng: np.random.Generator, size: tuple[int, int]) -> Scene:
    """Draw any person doing anything anywhere; ``size`` is width and height."""
    pose = poses.sample(rng)
    if rng.random() < 0.7:
        heading = rng.normal(0, 0.75)
    else:
        heading = rng.uniform(-np.pi, np.pi)
    figure = place(Body.sample(rng), pose, heading, (0.0, 0.0))
    camera = _framing(rng, figure, size)
    return Scene(
        figure=figure,
        outfit=Outfit.sample(rng),
        camera=camera,
        backdrop=backdrop.sample(rng, camera, size),
        light=draw_light(rng),
        sensor=Sensor(
            noise=float(rng.gamma(1.5, 1.6)),
            blur=float(rng.choice([0.0, rng.uniform(0.3, 1.3)])),
            gain=rng.normal(1.0, 0.1) * rng.normal(1.0, 0.035, 3),
            gamma=float(np.exp(rng.normal(0, 0.16))),
        ),
        furniture=cloth(rng),
    )


def _framing(rng: np.random.Generator, figure: Figure, size: tuple[int, int]) -> Camera:
    """Aim a camera so that the person fills a good part of the picture."""
    width, height = size
    joints = figure.joints()
    middle = (joints.min(axis=0) + joints.max(axis=0)) / 2
    away = rng.uniform(2.4, 6.5)
    high = np.clip(middle[1] + away * rng.normal(0.05, 0.16), 0.25, 4.0)
    eye = np.array([away * rng.normal(0, 0.08), high, away])
    rotation = look_at(eye, middle, rng.normal(0, 0.04))
    plain = Camera(eye, rotation, 1.0, (0.0, 0.0))
    spots = plain.project(joints)
    extent = np.ptp(spots, axis=0) + 0.35 / away  # head and feet reach further
    fill = rng.uniform(0.5, 0.92)
    focal = fill * min(width / extent[0], height / extent[1])
    # Where the body lies in the picture; rarely so far out that the edge cuts it.
    room = 0.5 * (np.array(size) - focal * extent)
    slack = 1.25 if rng.random() < 0.05 else 0.95
    shift = rng.uniform(-slack, slack, 2) * room
    if slack > 1:
        shift = np.sign(shift) * (room + focal * rng.uniform(0, 0.14) * extent)
    center = 0.5 * (np.array(size) - 1) + shift
    center -= focal * (spots.min(axis=0) + spots.max(axis=0)) / 2
    return Camera(eye, rotation, float(focal), (float(center[0]), float(center[1])))


def draw_light(rng: np.random.Generator) -> Light:
    """Draw a lamp or a sun above, roughly in front."""
    height, around = rng.uniform(0.55, 1.35), rng.uniform(-np.pi, np.pi)
    towards = np.array(
        [
            np.cos(height) * np.sin(around),
            np.sin(height),
            np.cos(height) * np.cos(around) + 0.35,
        ]
    )
    warm = np.array([1.06, 1.0, 0.92])
    key = rng.uniform(0.35, 0.95) * warm ** rng.normal(0.3, 1.0)
    fill = rng.uniform(0.35, 0.7) * warm ** rng.normal(-0.3, 0.8)
    return Light(unit(towards), key, fill)


class UseCase:
    """One person in one room who makes gestures, as a user would record it.

    Body, room and light come from ``seed`` and never change; the clothing is chosen by
    recording, and a recording is a smooth script of gestures.

    Args:
        seed: Chooses the person and the room.
        size: Width and height of the pictures.
        clothings: Number of sets of clothes.
    """

    def __init__(self, seed: int, size: tuple[int, int], clothings: int = 3) -> None:
        """Set up the room."""
        rng = np.random.default_rng([seed, 1])
        self._seed = seed
        self._body = Body.sample(rng)
        first = Outfit.sample(rng)
        # The same person in all clothes.
        self._outfits = [first] + [
            Outfit(
                **{
                    **vars(Outfit.sample(rng)),
                    "skin": first.skin,
                    "hair": first.hair,
                    "hair_style": first.hair_style,
                }
            )
            for _ in range(clothings - 1)
        ]
        width, height = size
        eye = np.array([rng.normal(0, 0.15), rng.uniform(1.2, 1.7), 3.2])
        rotation = look_at(eye, np.array([0.0, 1.05, 0.0]), rng.normal(0, 0.02))
        middle = (0.5 * (width - 1), 0.5 * (height - 1))
        self._camera = Camera(eye, rotation, 1.4 * min(size), middle)
        self._room = backdrop.room(rng, self._camera, size)
        self._light = draw_light(rng)
        self._sensor = Sensor(2.0, 0.4, np.full(3, 1.0), 1.0)

    def script(self, recording: int, duration: float) -> poses.Script:
        """Return the gestures of a recording of ``duration`` seconds."""
        return poses.Script(np.random.default_rng([self._seed, 2, recording]), duration)

    def scene(self, script: poses.Script, clothing: int, time: float) -> Scene:
        """Return what the camera sees at ``time`` (seconds)."""
        return Scene(
            figure=place(
                self._body, script.pose(time), script.heading(time), script.spot(time)
            ),
            outfit=self._outfits[clothing % len(self._outfits)],
            camera=self._camera,
            backdrop=self._room,
            light=self._light,
            sensor=self._sensor,
        )


def render_person(
    rng: np.random.Generator, scene: Scene, size: tuple[int, int]
) -> Shot:
    """Take a picture of a scene.

    Args:
        rng: Draws the sensor's noise.
        scene: What is seen.
        size: Width and height of the picture, those of the scene's backdrop.
    """
    parts = dress(scene.figure, scene.outfit)
    body = len(parts)
    if scene.figure.seated:
        parts += stool(scene.figure, scene.furniture)
    surface = cast(parts, scene.camera, size)
    points = scene.figure.joints()
    spots = scene.camera.project(points)
    joints = np.ones((len(BODY_13), 3), np.float32)
    joints[:, :2] = spots
    picture, mask = _compose(
        _shadow(scene, scene.backdrop**2), _shade(surface, scene), surface, body
    )
    return Shot(
        image=_expose(rng, picture, scene.sensor),
        joints=joints,
        visible=_visible(scene, surface, points, spots, size),
        mask=mask,
    )


def _shade(surface: Surface, scene: Scene) -> NDArray[np.float32]:
    """Return the light that leaves the surface, ``(h, w, 3)``, linear."""
    light, normal = scene.light, surface.normal
    towards = (scene.camera.rotation @ light.towards).astype(np.float32)
    up = scene.camera.rotation[:, 1].astype(np.float32)
    # Light wraps a little around edges, as it does on skin and cloth.
    key = np.maximum((normal @ towards + 0.2) / 1.2, 0)
    fill = (0.72 + 0.28 * (normal @ up)) * (0.62 - 0.38 * normal[..., 2])
    # A surface that lies behind a nearer one close by gets less light (contact shade).
    depth = np.minimum(surface.depth, 60.0)
    spread = max(
        int(0.05 * scene.camera.focal / max(float(depth.min(initial=60)), 0.5)), 1
    )
    side = 2 * OVERSAMPLING * spread + 1
    # Only nearer neighbours within arm's reach count.
    near = cv2.blur(np.minimum(depth, 20.0), (side, side))
    dark = np.clip((depth - near) / 0.25, 0, 1) * 0.45
    fill = fill * (1 - dark)
    key = key * (1 - 0.7 * dark)
    strength = key[..., None] * light.key.astype(np.float32) + fill[
        ..., None
    ] * light.fill.astype(np.float32)
    return np.asarray(surface.color**2 * strength, np.float32)


def _shadow(scene: Scene, picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Darken the floor where the body keeps the light away."""
    figure, camera = scene.figure, scene.camera
    towards = scene.light.towards
    limbs = [(figure.head, figure.hip_center, 0.2)]
    for i in range(2):
        limbs.append((figure.hips[i], figure.knees[i], 0.13))
        limbs.append((figure.knees[i], figure.toes[i], 0.1))
        limbs.append((figure.shoulders[i], figure.elbows[i], 0.09))
        limbs.append((figure.elbows[i], figure.fingers[i], 0.08))
    mask = np.zeros(picture.shape[:2], np.float32)
    for start, end, wide in limbs:
        ground = [point - towards * (point[1] / towards[1]) for point in (start, end)]
        depth = camera.to_camera(np.stack(ground))[:, 2]
        if (depth < 0.3).any():
            continue
        spots = np.clip(camera.project(np.stack(ground)), -3000, 3000)
        a, b = (tuple(int(value) for value in spot) for spot in spots)
        # The floor is seen at a slant, so shadows are thinner than what casts them.
        thick = max(int(0.6 * wide * camera.focal / depth.mean()), 1)
        cv2.line(mask, a, b, 1.0, min(thick, 255))
    sigma = max(0.035 * camera.focal / 4, 0.6)
    mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma), np.float32)
    share = float(scene.light.key.mean() / (scene.light.key + scene.light.fill).mean())
    return np.asarray(picture * (1 - 0.9 * share * mask)[..., None], np.float32)


def _compose(
    picture: NDArray[np.float32],
    light: NDArray[np.float32],
    surface: Surface,
    body: int,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Lay the oversampled surface over a picture (changed in place).

    The first ``body`` parts are the person; the second result is where it covers at
    least half of a pixel.
    """
    height, width = picture.shape[:2]
    n = OVERSAMPLING
    rows, columns = light.shape[:2]
    # Grow the window to whole pixels.
    left, top = surface.x0 // n, surface.y0 // n
    right, bottom = -(-(surface.x0 + columns) // n), -(-(surface.y0 + rows) // n)
    mask = np.zeros((height, width), bool)
    if right <= left or bottom <= top:
        return picture, mask
    padded = np.zeros(((bottom - top) * n, (right - left) * n, 5), np.float32)
    y, x = surface.y0 - top * n, surface.x0 - left * n
    inner = padded[y : y + rows, x : x + columns]
    covered = surface.part >= 0
    inner[..., :3] = light * covered[..., None]
    inner[..., 3] = covered
    inner[..., 4] = covered & (surface.part < body)
    whole = (right - left, bottom - top)
    small = cv2.resize(padded, whole, interpolation=cv2.INTER_AREA)
    mask[top:bottom, left:right] = small[..., 4] >= 0.5
    picture[top:bottom, left:right] *= 1 - small[..., 3:4]
    picture[top:bottom, left:right] += small[..., :3]
    return picture, mask


def _expose(
    rng: np.random.Generator, picture: NDArray[np.float32], sensor: Sensor
) -> NDArray[np.uint8]:
    """Turn light into pixels: exposure, blur, noise."""
    if sensor.blur > 0.2:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), sensor.blur), np.float32)
    light = np.maximum(picture * sensor.gain.astype(np.float32), 0)
    levels = 255 * light ** np.float32(0.5 * sensor.gamma)
    if sensor.noise > 0:
        grain = rng.standard_normal(levels.shape, np.float32)
        levels = levels + np.float32(sensor.noise) * grain
    return np.asarray(np.clip(np.rint(levels), 0, 255), np.uint8)


def _visible(
    scene: Scene,
    surface: Surface,
    points: Floats,
    spots: Floats,
    size: tuple[int, int],
) -> NDArray[np.int8]:
    """Return ``(13,)``: 0 where a nearer surface or the edge hides a joint."""
    limits = allowances(scene.figure)
    depths = scene.camera.to_camera(points)[:, 2]
    visible = np.ones(len(points), np.int8)
    rows, columns = surface.depth.shape
    for i, ((x, y), depth) in enumerate(zip(spots, depths, strict=True)):
        if not (-0.5 <= x <= size[0] - 0.5 and -0.5 <= y <= size[1] - 0.5):
            visible[i] = 0
            continue
        column = int((x + 0.5) * OVERSAMPLING) - surface.x0
        row = int((y + 0.5) * OVERSAMPLING) - surface.y0
        if 0 <= row < rows and 0 <= column < columns:
            visible[i] = surface.depth[row, column] >= depth - limits[i]
    return visible
