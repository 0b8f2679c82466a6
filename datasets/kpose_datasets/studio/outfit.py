"""What a body looks like: skin, hair, face and clothes as painted rounded cones."""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from kpose_datasets.studio.figure import SIDES, Figure
from kpose_datasets.studio.raycast import Paint, Part, Samples, ball, limb

Color = tuple[float, float, float]

SKINS: tuple[Color, ...] = (
    (0.96, 0.80, 0.69),
    (0.91, 0.71, 0.57),
    (0.85, 0.64, 0.48),
    (0.74, 0.53, 0.37),
    (0.58, 0.39, 0.26),
    (0.42, 0.28, 0.19),
    (0.31, 0.20, 0.14),
)
HAIRS: tuple[Color, ...] = (
    (0.07, 0.06, 0.06),
    (0.17, 0.11, 0.08),
    (0.30, 0.19, 0.11),
    (0.45, 0.30, 0.16),
    (0.74, 0.58, 0.33),
    (0.52, 0.22, 0.10),
    (0.62, 0.61, 0.60),
)
PATTERNS = ("plain", "stripes", "pinstripes", "check", "print", "halves")


@dataclass(frozen=True)
class Outfit:
    """Colours (RGB 0 to 1) and cuts of one person's looks.

    ``sleeves`` is where the shirt ends on the arm and ``trousers`` where the trousers
    end on the leg: 0 at shoulder or hip, 1 at elbow or knee, 2 at wrist or ankle.
    ``skirt`` is the same for a skirt or a dress, 0 for none. ``loose`` is how far the
    cloth stands off the body and ``hem`` where the shirt ends above the hips, metres.
    A ``bell`` is a skirt that falls in folds between the legs too.
    """

    skin: Color
    hair: Color
    hair_style: str
    shirt: Color
    shirt_second: Color
    pattern: str
    sleeves: float
    bottom: Color
    trousers: float
    skirt: float
    shoes: Color
    stripe: bool
    loose: float
    hem: float
    bell: bool = False

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "Outfit":
        """Draw a person's skin, hair and clothes."""
        skirt = float(rng.uniform(0.5, 1.2)) if rng.random() < 0.14 else 0.0
        shirt, bottom = cloth(rng), cloth(rng)
        if skirt and rng.random() < 0.6:
            bottom = shirt  # a dress
        return cls(
            skin=_near(rng, SKINS[int(rng.integers(len(SKINS)))], 0.03),
            hair=_near(rng, HAIRS[int(rng.integers(len(HAIRS)))], 0.03),
            hair_style=str(
                rng.choice(
                    ["short", "long", "bald", "cap", "bun"],
                    p=[0.46, 0.24, 0.1, 0.12, 0.08],
                )
            ),
            shirt=shirt,
            shirt_second=cloth(rng),
            pattern=str(rng.choice(PATTERNS, p=[0.55, 0.12, 0.06, 0.07, 0.12, 0.08])),
            sleeves=float(rng.choice([0.0, 0.45, 0.6, 1.5, 1.95], p=_SLEEVES)),
            bottom=bottom,
            trousers=float(rng.choice([0.4, 0.75, 1.4, 1.95], p=_TROUSERS)),
            skirt=skirt,
            shoes=cloth(rng),
            stripe=bool(rng.random() < 0.12),
            loose=float(rng.uniform(0.0, 0.014)),
            hem=float(rng.uniform(0.0, 0.09)),
        )


_SLEEVES = [0.12, 0.28, 0.1, 0.1, 0.4]
_TROUSERS = [0.1, 0.22, 0.06, 0.62]


def cloth(rng: np.random.Generator) -> Color:
    """Draw a colour of clothing: a third of them black, white or grey."""
    if rng.random() < 0.34:
        grey = float(rng.choice([0.06, 0.14, 0.3, 0.5, 0.75, 0.93]))
        return _near(rng, (grey, grey, grey), 0.03)
    hue, strength, value = (
        rng.random(),
        rng.uniform(0.25, 0.95),
        rng.uniform(0.15, 0.95),
    )
    if rng.random() < 0.3:  # denim and navy are common
        hue, strength = rng.normal(0.61, 0.03), rng.uniform(0.3, 0.7)
    # A hue wheel of three cosines: smooth, and no conversion needed.
    wheel = 0.5 + 0.5 * np.cos(2 * np.pi * (hue + np.array([0, -1, 1]) / 3))
    return _near(rng, tuple(value * (1 - strength + strength * wheel)), 0.02)


def _near(rng: np.random.Generator, color: Color, scale: float) -> Color:
    red, green, blue = np.clip(rng.normal(color, scale), 0.02, 0.98).tolist()
    return red, green, blue


@cache
def _tile() -> Samples:
    """A 128 x 128 tile of smooth cloth noise around 1 that wraps."""
    noise = np.random.default_rng(7).normal(0, 1, (128, 128)).astype(np.float32)
    total = np.zeros_like(noise)
    for sigma, weight in ((1, 0.5), (4, 1.0), (9, 1.0)):
        # Three by three tiles, so that the middle one wraps.
        smooth = cv2.GaussianBlur(np.tile(noise, (3, 3)), (0, 0), sigma)
        smooth = smooth[128:256, 128:256]
        total += weight * smooth / smooth.std()
    return np.asarray(1 + 0.035 * total, np.float32)


def _angle(p: Samples) -> Samples:
    return np.asarray(np.arctan2(p[:, 0], p[:, 2]), np.float32)


def _woven(p: Samples, colors: Samples) -> Samples:
    """Folds and unevenness that stay on the cloth when the body moves."""
    u = (_angle(p) * (64 / np.pi)).astype(np.int32) & 127
    v = (p[:, 1] * 260).astype(np.int32) & 127
    return np.asarray(colors * _tile()[v, u, None], np.float32)


def plain(color: Color) -> Paint:
    """Return a paint of one colour."""
    value = np.array(color, np.float32)

    def paint(p: Samples, length: float) -> Samples:
        return _woven(p, np.broadcast_to(value, p.shape))

    return paint


def cut(inner: Paint, outer: Color, at: float) -> Paint:
    """Return a paint that changes to ``outer`` at the fraction ``at`` of the length."""
    value = np.array(outer, np.float32)

    def paint(p: Samples, length: float) -> Samples:
        colors = inner(p, length).copy()
        colors[p[:, 1] > at * length] = value
        return colors

    return paint


def below(upper: Paint, lower: Paint, at: float) -> Paint:
    """Return a paint that is ``lower`` where local y is under ``at``."""

    def paint(p: Samples, length: float) -> Samples:
        under = (p[:, 1] < at)[:, None]
        return np.where(under, lower(p, length), upper(p, length))

    return paint


def _banded(base: Paint, color: Color, half_width: float) -> Paint:
    """Return ``base`` with a stripe down the outer sides."""
    value = np.array(color, np.float32)

    def paint(p: Samples, length: float) -> Samples:
        colors = base(p, length).copy()
        colors[np.abs(np.abs(_angle(p)) - np.pi / 2) < half_width] = value
        return colors

    return paint


def patterned(outfit: Outfit, trunk: bool) -> Paint:
    """Return the paint of the shirt on the upper trunk or elsewhere."""
    first = np.array(outfit.shirt, np.float32)
    second = np.array(outfit.shirt_second, np.float32)
    pattern = outfit.pattern

    def paint(p: Samples, length: float) -> Samples:
        if pattern == "stripes":
            mark = np.sin(p[:, 1] * 95) > 0
        elif pattern == "pinstripes":
            mark = np.sin(_angle(p) * 18) > 0.7
        elif pattern == "check":
            mark = (np.sin(p[:, 1] * 70) > 0) ^ (np.sin(_angle(p) * 9) > 0)
        elif pattern == "print":
            # A blotch on the chest only; back and sleeves stay plain.
            mark = (p[:, 2] > 0) & trunk
            mark &= (np.abs(p[:, 0]) < 0.075) & (np.abs(p[:, 1] - 0.22) < 0.07)
            mark &= np.sin(p[:, 0] * 160) * np.sin(p[:, 1] * 120 + 1) > -0.4
        elif pattern == "halves":
            mark = p[:, 2] < -0.3 * np.abs(p[:, 0])
        else:
            mark = np.zeros(len(p), bool)
        return _woven(p, np.where(mark[:, None], second, first))

    return paint


def face(outfit: Outfit) -> Paint:
    """Return the paint of the head: hairline, eyes, brows and mouth on its front."""
    skin = np.array(outfit.skin, np.float32)
    hair = np.array(outfit.hair, np.float32)
    lips = skin * np.array([0.82, 0.5, 0.5], np.float32)
    bald = outfit.hair_style == "bald"

    def paint(p: Samples, length: float) -> Samples:
        # Local axes are half axes: the surface is the unit ball, z to the front.
        x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
        colors = np.repeat(skin[None], len(p), axis=0)
        front = z > 0
        colors[front & (((x - 0.0) / 0.3) ** 2 + ((y + 0.5) / 0.075) ** 2 < 1)] = lips
        colors[front & (((x - 0.38) / 0.17) ** 2 + ((y - 0.1) / 0.1) ** 2 < 1)] = 0.93
        colors[front & (((x - 0.38) / 0.09) ** 2 + ((y - 0.1) / 0.1) ** 2 < 1)] = 0.08
        brow = front & (((x - 0.4) / 0.24) ** 2 + ((y - 0.3) / 0.06) ** 2 < 1)
        colors[brow] = hair * 0.8
        if not bald:
            line = 0.62 - 0.5 * np.maximum(x - 0.45, 0) - 1.7 * np.maximum(0.25 - z, 0)
            colors[y > line] = hair
        return colors

    return paint


def dress(figure: Figure, outfit: Outfit) -> list[Part]:
    """Return the parts of a figure in its clothes, world metres."""
    body, chest, pelvis = figure.body, figure.chest, figure.pelvis
    shirt, skin = patterned(outfit, trunk=False), plain(outfit.skin)
    bottom = plain(outfit.bottom)
    loose = outfit.loose
    front = chest[:, 2]
    top = figure.neck - chest @ [0, 0.11, 0.0]
    parts = [
        # The trunk: seat, belly, rib cage and the yoke of the shoulders.
        limb(
            figure.hips[0] + pelvis @ [0.025, 0.0, -0.02],
            figure.hips[1] + pelvis @ [-0.025, 0.0, -0.02],
            (0.72 * body.seat + loose, 0.72 * body.seat + loose),
            bottom,
            pelvis[:, 1],
        ),
        limb(
            figure.hip_center + 0.02 * pelvis[:, 1],
            figure.waist + 0.04 * pelvis[:, 1],
            (body.hips + 0.062 + loose, body.waist + loose),
            below(shirt, bottom, outfit.hem),
            pelvis[:, 2],
            flat=0.74,
        ),
        limb(
            figure.waist - 0.02 * pelvis[:, 1],
            top,
            (body.waist + loose, body.chest + loose),
            patterned(outfit, trunk=True),
            front,
            flat=0.72,
        ),
        limb(
            figure.shoulders[0] + chest @ [0.03, 0.0, 0],
            figure.shoulders[1] - chest @ [0.03, 0.0, 0],
            (body.arm + 0.02, body.arm + 0.02),
            plain(outfit.shirt),
            front,
        ),
        limb(
            figure.neck - 0.02 * chest[:, 1],
            figure.head - figure.skull @ [0, 0.04, 0.015],
            (0.058, 0.05),
            skin,
            front,
        ),
    ]
    parts += _head(figure, outfit)
    for i in range(2):
        parts += _arm(figure, outfit, i, shirt)
        parts += _leg(figure, outfit, i, bottom)
    if outfit.skirt:
        parts += _skirt(figure, outfit)
    return parts


def _head(figure: Figure, outfit: Outfit) -> list[Part]:
    size, skull, head = figure.body.head, figure.skull, figure.head
    hair = plain(outfit.hair)
    half = np.array([0.7, 1.0, 0.84]) * size
    parts = [
        ball(head, skull, half.tolist(), face(outfit)),
        ball(
            head + skull @ [0, -0.1 * size, 0.86 * size],
            skull,
            (0.12 * size, 0.2 * size, 0.16 * size),
            plain(outfit.skin),
        ),
    ]
    for side in SIDES:
        parts.append(
            ball(
                head + skull @ [0.7 * side * size, 0, -0.05 * size],
                skull,
                (0.09 * size, 0.24 * size, 0.16 * size),
                plain(outfit.skin),
            )
        )
    if outfit.hair_style != "bald":
        crown = head + skull @ [0, 0.13 * size, -0.17 * size]
        parts.append(ball(crown, skull, (half * [1.06, 0.98, 0.92]).tolist(), hair))
    if outfit.hair_style == "long":
        parts.append(
            limb(
                head - skull @ [0, 0, 0.4 * size],
                figure.neck + skull @ [0, -0.06, -0.07],
                (0.74 * size, 0.55 * size),
                hair,
                skull[:, 2],
                flat=0.6,
            )
        )
    elif outfit.hair_style == "bun":
        knot = head + skull @ [0, 0.55 * size, -0.85 * size]
        parts.append(ball(knot, skull, (0.36 * size,) * 3, hair))
    elif outfit.hair_style == "cap":
        cap = plain(outfit.shirt_second)
        crown = head + skull @ [0, 0.3 * size, -0.05 * size]
        parts.append(ball(crown, skull, (half * [1.1, 0.82, 1.08]).tolist(), cap))
        peak = head + skull @ [0, 0.5 * size, 0.95 * size]
        parts.append(ball(peak, skull, (0.55 * size, 0.07 * size, 0.5 * size), cap))
    return parts


def _sleeved(inner: Paint, skin: Color, end: float, bone: int) -> Paint:
    """Return the paint of the first (0) or second (1) bone of a covered limb."""
    if end >= bone + 1:
        return inner
    return cut(inner, skin, end - bone) if end > bone else plain(skin)


def _arm(figure: Figure, outfit: Outfit, i: int, shirt: Paint) -> list[Part]:
    body, front = figure.body, figure.chest[:, 2]
    shoulder, elbow = figure.shoulders[i], figure.elbows[i]
    wrist, finger = figure.wrists[i], figure.fingers[i]
    skin = plain(outfit.skin)
    thick = body.arm + (0.6 * outfit.loose if outfit.sleeves > 0.9 else 0.0)
    upper = _sleeved(shirt, outfit.skin, max(outfit.sleeves, 0.08), 0)
    lower = _sleeved(shirt, outfit.skin, outfit.sleeves, 1)
    parts = [
        limb(shoulder, elbow, (thick + 0.008, 0.84 * thick), upper, front),
        limb(elbow, wrist, (0.84 * thick, 0.6 * thick), lower, front),
        limb(wrist + 0.15 * (finger - wrist), finger, (0.034, 0.026), skin, front, 0.7),
    ]
    if 0.2 < outfit.sleeves < 1:  # a short sleeve stands off the arm
        hem = shoulder + outfit.sleeves * (elbow - shoulder)
        wide = thick + 0.012 + outfit.loose
        parts.append(limb(shoulder, hem, (wide, wide), shirt, front))
    thumb = wrist + 0.5 * (finger - wrist) + 0.045 * figure.chest[:, 2]
    parts.append(limb(wrist, thumb, (0.022, 0.016), skin, front))
    return parts


def _leg(figure: Figure, outfit: Outfit, i: int, bottom: Paint) -> list[Part]:
    body, front = figure.body, figure.pelvis[:, 2]
    hip, knee = figure.hips[i], figure.knees[i]
    ankle, toe = figure.ankles[i], figure.toes[i]
    end = 0.0 if outfit.skirt else outfit.trousers
    if outfit.stripe:
        bottom = _banded(bottom, outfit.shirt_second, 0.25)
    upper = _sleeved(bottom, outfit.skin, end, 0)
    lower = _sleeved(bottom, outfit.skin, end, 1)
    wide = 0.5 * outfit.loose if end > 1 else 0.0
    thick = body.leg
    down = (ankle - knee) / np.linalg.norm(ankle - knee)
    heel = ankle + 0.035 * down - 0.15 * (toe - ankle)
    shoes = plain(outfit.shoes)
    parts = [
        limb(hip, knee, (1.1 * thick + wide, 0.76 * thick + wide), upper, front),
        limb(knee, ankle, (0.74 * thick + wide, 0.5 * thick + wide), lower, front),
        limb(heel, toe, (0.046, 0.036), shoes, down, 0.9),
        limb(ankle, heel, (0.5 * thick, 0.044), shoes, front),
    ]
    if 0.2 < end < 1.0:  # shorts stand off the leg
        hem = hip + end * (knee - hip)
        parts.append(
            limb(
                hip,
                hem,
                (1.1 * thick + outfit.loose + 0.01, thick + outfit.loose + 0.012),
                bottom,
                front,
            )
        )
    return parts


def _skirt(figure: Figure, outfit: Outfit) -> list[Part]:
    """A skirt covers both thighs and what is between them."""
    body, front = figure.body, figure.pelvis[:, 2]
    bottom = plain(outfit.bottom)
    hems = []
    for hip, knee, ankle in zip(figure.hips, figure.knees, figure.ankles, strict=True):
        hem = hip + min(outfit.skirt, 1) * (knee - hip)
        hems.append(hem + max(outfit.skirt - 1, 0) * (ankle - knee))
    flare = body.leg + 0.035
    parts = [
        limb(hip, hem, (1.12 * body.leg + 0.012, flare), bottom, front)
        for hip, hem in zip(figure.hips, hems, strict=True)
    ]
    if outfit.bell:
        wide = (1.12 * body.leg + 0.012, flare)
        for share in (0.25, 0.5, 0.75):
            a, b = (
                pair[0] + share * (pair[1] - pair[0]) for pair in (figure.hips, hems)
            )
            parts.append(limb(a, b, wide, bottom, front))
    elif np.linalg.norm(hems[0] - hems[1]) > 1e-3:
        for share in (0.55, 0.8, 1.0):
            a, b = (h + share * (e - h) for h, e in zip(figure.hips, hems, strict=True))
            parts.append(limb(a, b, (flare - 0.01, flare - 0.01), bottom, front))
    return parts


def stool(figure: Figure, color: Color) -> list[Part]:
    """Return a stool under the pelvis that reaches to the floor."""
    seat = figure.hip_center - np.array([0, figure.body.seat + 0.03, 0])
    floor = np.array([seat[0], 0.02, seat[2]])
    if seat[1] < 0.12:
        return []
    wood = plain(color)
    flat = np.eye(3)
    return [
        ball(seat, flat, (0.21, 0.04, 0.21), wood),
        limb(floor, seat, (0.04, 0.04), wood, np.array([0.0, 0, 1])),
        ball(floor, flat, (0.18, 0.03, 0.18), wood),
    ]


def allowances(figure: Figure) -> NDArray[np.float64]:
    """Return ``(13,)``: how far a body's own surface lies before each joint, metres.

    What is nearer to the camera than that hides the joint.
    """
    body = figure.body
    arm = [body.chest + 0.03, body.arm + 0.05, 0.6 * body.arm + 0.05]
    leg = [body.seat + 0.06, body.leg + 0.05, 0.6 * body.leg + 0.06]
    return np.array([body.head + 0.05, *arm, *arm, *leg, *leg])
