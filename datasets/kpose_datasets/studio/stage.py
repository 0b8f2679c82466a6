"""A stage: people in one room before a camera, and the pictures it takes over time.

What ``scenes`` does for single pictures, for recordings: everything that does not move
is drawn once, people may be several, and the shutter is open for a while.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from kpose_datasets.studio import backdrop, wardrobe
from kpose_datasets.studio.figure import Body, Figure, Floats, place
from kpose_datasets.studio.gestures import GestureScript
from kpose_datasets.studio.outfit import Outfit, allowances, dress
from kpose_datasets.studio.raycast import (
    MOMENTS,
    Camera,
    Exposure,
    Part,
    expose,
    look_at,
    nearest,
)
from kpose_datasets.studio.scenes import Light, draw_light

SHUTTER = 1 / 50
"""Seconds that the shutter is open."""

NOISE = 2.2
"""Of the sensor, grey levels."""

BLUR = 0.55
"""Of the lens: a sigma in pixels."""

SHIFTS = 64
"""The table of noise is larger than a picture by so many pixels, for as many places."""

APART = 0.85
"""Metres between people who stand beside each other."""


class Actor(NamedTuple):
    """One person of a take: body, clothes, gestures, and where that person stands."""

    body: Body
    outfit: Outfit
    script: GestureScript
    mark: tuple[float, float]

    def figure(self, time: float) -> Figure:
        """Return the person at ``time`` (seconds)."""
        x, z = self.script.spot(time)
        spot = self.mark[0] + x, self.mark[1] + z
        return place(self.body, self.script.pose(time), self.script.heading(time), spot)


class Frame(NamedTuple):
    """A picture and what is known about it.

    ``image`` is ``(height, width, 3)`` RGB uint8, not mirrored; ``joints``
    ``(people, 13, 2)`` float64 image pixels; ``visible`` ``(people, 13)`` bool: False
    where something hides the joint or it lies outside the picture; ``masks``
    ``(people, height, width)`` bool: where each covers at least half of a pixel.
    """

    image: NDArray[np.uint8]
    joints: Floats
    visible: NDArray[np.bool_]
    masks: NDArray[np.bool_]


class Stage:
    """A room with its light and camera.

    Args:
        seed: Chooses them, and the wardrobe.
        size: Width and height of the pictures.
    """

    def __init__(self, seed: int, size: tuple[int, int]) -> None:
        """Set up the room and take its empty picture."""
        rng = np.random.default_rng([seed, 10])
        self.seed, self.size = seed, size
        width, height = size
        # A Kinect on a shelf: its focal length is 0.98 picture heights.
        eye = np.array([rng.normal(0, 0.08), rng.uniform(1.0, 1.35), 2.75])
        rotation = look_at(eye, np.array([0.0, 1.0, 0.0]), rng.normal(0, 0.01))
        focal = 0.98 * min(height, 0.75 * width)
        middle = (0.5 * (width - 1), 0.5 * (height - 1))
        self.camera = Camera(eye, rotation, focal, middle)
        room = backdrop.room(rng, self.camera, size)
        self.light: Light = draw_light(rng)
        self._light = room * room
        self._empty = _levels(_blurred(self._light, BLUR))
        grain = rng.standard_normal((height + SHIFTS, width + SHIFTS, 3), np.float32)
        # A sensor's colours are interpolated: its noise is not white.
        grain = 0.6 * grain + 0.8 * _blurred(grain, 0.8) / 0.35
        levels = np.rint(NOISE / grain.std() * grain)
        self._brighter = np.clip(levels, 0, 255).astype(np.uint8)
        self._darker = np.clip(-levels, 0, 255).astype(np.uint8)

    @property
    def empty(self) -> NDArray[np.uint8]:
        """The room without people, ``(height, width, 3)`` RGB uint8, without noise."""
        return self._empty.copy()

    def actors(
        self, subjects: Sequence[int], clothing: int, take: int, duration: float
    ) -> list[Actor]:
        """Return the people of a take.

        Args:
            subjects: Their numbers: each has a body, skin and hair of its own.
            clothing: 1 to 7: which of their clothes they wear.
            take: Chooses the gestures.
            duration: Seconds that will be asked for.
        """
        actors = []
        for i, subject in enumerate(subjects):
            rng = np.random.default_rng([subject, 21])
            body, look = Body.sample(rng), Outfit.sample(rng)
            # One behind the other a little, so that they hide each other at times.
            x = APART * (i - 0.5 * (len(subjects) - 1))
            mark = (x, -0.45 * (i % 2))
            script = np.random.default_rng([self.seed, 12, subject, take])
            clothes = wardrobe.outfit(look, clothing, [self.seed, 13, i])
            actors.append(Actor(body, clothes, GestureScript(script, duration), mark))
        return actors

    def labels(
        self, actors: Sequence[Actor], time: float
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """Return ``joints`` and ``visible`` of a ``Frame``."""
        figures = [actor.figure(time) for actor in actors]
        parts = [
            part
            for actor, figure in zip(actors, figures, strict=True)
            for part in dress(figure, actor.outfit)
        ]
        points = np.stack([figure.joints() for figure in figures])
        spots = self.camera.project(points)
        limits = np.stack(
            [
                allowances(figure) + actor.outfit.loose
                for actor, figure in zip(actors, figures, strict=True)
            ]
        )
        seen = nearest(parts, self.camera, spots.reshape(-1, 2)).reshape(limits.shape)
        edge = np.array(self.size) - 0.5
        inside = ((spots >= -0.5) & (spots <= edge)).all(axis=-1)
        depths = self.camera.to_camera(points)[..., 2]
        return spots, inside & (seen >= depths - limits)

    def shoot(
        self, rng: np.random.Generator, actors: Sequence[Actor], time: float
    ) -> Frame:
        """Take a picture; the joints are those of the middle of its exposure.

        Args:
            rng: Draws the sensor's noise.
            actors: Who is there.
            time: Seconds from the start of the take.
        """
        open_at = SHUTTER * ((np.arange(MOMENTS) + 0.5) / MOMENTS - 0.5)
        moments: list[list[Part]] = []
        counts: list[int] = []
        for offset in open_at.tolist():
            dressed = [
                dress(actor.figure(time + offset), actor.outfit) for actor in actors
            ]
            counts = [len(parts) for parts in dressed]
            moments.append([part for parts in dressed for part in parts])
        exposure = expose(moments, self.camera, self.size)
        joints, visible = self.labels(actors, time)
        image = self._empty.copy()
        masks = np.zeros((len(actors), *image.shape[:2]), bool)
        self._develop(image, exposure, [actor.figure(time) for actor in actors])
        rows, columns = exposure.part.shape[1:]
        area = (
            slice(exposure.y0, exposure.y0 + rows),
            slice(exposure.x0, exposure.x0 + columns),
        )
        first = 0
        for mask, count in zip(masks, counts, strict=True):
            own = (exposure.part >= first) & (exposure.part < first + count)
            mask[area] = 2 * own.sum(axis=0) >= MOMENTS
            first += count
        x, y = rng.integers(0, SHIFTS + 1, 2)
        where = slice(y, y + image.shape[0]), slice(x, x + image.shape[1])
        noisy = cv2.subtract(cv2.add(image, self._brighter[where]), self._darker[where])
        return Frame(np.asarray(noisy, np.uint8), joints, visible, masks)

    def _develop(
        self,
        image: NDArray[np.uint8],
        exposure: Exposure,
        figures: Sequence[Figure],
    ) -> None:
        """Draw the people and their shadows over the empty room, in place."""
        moments, rows, columns = exposure.part.shape
        light = np.zeros((moments * rows * columns, 3), np.float32)
        light[exposure.hits] = self._shade(exposure)
        light = light.reshape(moments, rows, columns, 3).sum(axis=0) / MOMENTS
        covered = (exposure.part >= 0).sum(axis=0, dtype=np.float32) / MOMENTS
        shadow, left, top = self._shadow(figures)
        # The window of everything that differs from the empty room.
        margin = 4
        x0 = max(min(exposure.x0, left) - margin, 0)
        y0 = max(min(exposure.y0, top) - margin, 0)
        x1 = max(exposure.x0 + columns, left + shadow.shape[1]) + margin
        y1 = max(exposure.y0 + rows, top + shadow.shape[0]) + margin
        x1, y1 = min(x1, self.size[0]), min(y1, self.size[1])
        picture = self._light[y0:y1, x0:x1].copy()
        shaded = picture[top - y0 :, left - x0 :][: shadow.shape[0], : shadow.shape[1]]
        shaded *= shadow[..., None]
        inner = picture[exposure.y0 - y0 :, exposure.x0 - x0 :][:rows, :columns]
        inner *= (1 - covered)[..., None]
        inner += light
        image[y0:y1, x0:x1] = _levels(_blurred(picture, BLUR))

    def _shade(self, exposure: Exposure) -> NDArray[np.float32]:
        """Return the light that leaves each hit, ``(n, 3)``, linear."""
        camera, light, normal = self.camera, self.light, exposure.normal
        towards = (camera.rotation @ light.towards).astype(np.float32)
        up = camera.rotation[:, 1].astype(np.float32)

        def along(axis: NDArray[np.float32]) -> NDArray[np.float32]:
            # Not a matrix product: its last bit may depend on the machine's threads.
            return np.asarray(
                normal[:, 0] * axis[0]
                + normal[:, 1] * axis[1]
                + normal[:, 2] * axis[2],
                np.float32,
            )

        key = np.maximum((along(towards) + 0.2) / 1.2, 0)
        fill = (0.72 + 0.28 * along(up)) * (0.62 - 0.38 * normal[:, 2])
        # A surface close behind a nearer one gets less light (contact shade).
        depth = exposure.depth
        closest = max(float(depth.min(initial=20)), 0.5)
        side = 2 * max(int(0.05 * camera.focal / closest), 1) + 1
        near = (
            np.stack([cv2.blur(np.minimum(each, 20.0), (side, side)) for each in depth])
            if depth.size
            else depth
        )
        hits = exposure.hits
        behind = depth.ravel()[hits] - near.ravel()[hits]
        dark = np.clip(behind / 0.25, 0, 1) * 0.45
        fill = fill * (1 - dark)
        key = key * (1 - 0.7 * dark)
        strength = key[:, None] * light.key.astype(np.float32)
        strength += fill[:, None] * light.fill.astype(np.float32)
        return np.asarray(exposure.color * exposure.color * strength, np.float32)

    def _shadow(
        self, figures: Sequence[Figure]
    ) -> tuple[NDArray[np.float32], int, int]:
        """Return how much light the floor keeps, and the window's left and top.

        A shadow is soft, so it is drawn at a quarter of the size.
        """
        width, height = self.size
        towards, camera = self.light.towards, self.camera
        mask = np.zeros((-(-height // 4), -(-width // 4)), np.float32)
        for figure in figures:
            limbs = [(figure.head, figure.hip_center, 0.2)]
            for i in range(2):
                limbs.append((figure.hips[i], figure.knees[i], 0.13))
                limbs.append((figure.knees[i], figure.toes[i], 0.1))
                limbs.append((figure.shoulders[i], figure.elbows[i], 0.09))
                limbs.append((figure.elbows[i], figure.fingers[i], 0.08))
            casts = [(start, end, wide, towards) for start, end, wide in limbs]
            # Under the soles no light comes from anywhere.
            up = np.array([0.0, 1.0, 0.0])
            for ankle, toe in zip(figure.ankles, figure.toes, strict=True):
                casts.append((ankle, toe, 0.22, up))
            for start, end, wide, away in casts:
                ends = np.stack([start, end])
                ground = ends - away * (ends[:, 1:2] / away[1])
                depth = camera.to_camera(ground)[:, 2]
                if (depth < 0.3).any():
                    continue
                spots = np.clip(camera.project(ground), -3000, 3000)
                a, b = np.rint(spots / 4 * 16).astype(int).tolist()
                # The floor is seen at a slant: shadows are thinner than limbs.
                thick = max(round(0.6 * wide * camera.focal / depth.mean() / 4), 1)
                cv2.line(mask, a, b, 1.0, min(thick, 255), cv2.LINE_8, 4)
        mask = _blurred(mask, max(0.035 * camera.focal / 4 / 4, 0.6))
        columns, rows = (np.flatnonzero((mask > 1e-3).any(axis=i)) for i in (0, 1))
        if not len(columns):
            return np.ones((0, 0), np.float32), width, height
        left, top = int(columns[0]), int(rows[0])
        mask = mask[top : rows[-1] + 1, left : columns[-1] + 1]
        mask = np.pad(mask, 1)
        left, top = left - 1, top - 1
        grown = cv2.resize(mask, None, fx=4, fy=4, interpolation=cv2.INTER_LINEAR)
        cut_x, cut_y = max(-4 * left, 0), max(-4 * top, 0)
        grown = grown[cut_y : height - 4 * top, cut_x : width - 4 * left]
        key, fill = self.light.key, self.light.fill
        share = float(key.mean() / (key + fill).mean())
        kept = 1 - np.float32(0.9 * share) * grown
        return np.asarray(kept, np.float32), 4 * left + cut_x, 4 * top + cut_y


def _blurred(values: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), np.float32)


def _levels(light: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Turn linear light into grey levels."""
    levels = np.sqrt(np.maximum(light, 0), dtype=np.float32)
    levels *= 255
    return np.asarray(cv2.convertScaleAbs(levels), np.uint8)
