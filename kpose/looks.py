"""Looks: new colours for clothes, new rooms behind persons, from the skeleton alone.

The future work of the paper's section 5: a recording has few clothes and one room, and
a network learns them. Every bone has a capsule around it. What is near the bone belongs
to that part of the body, what is beyond the capsule does not, and in between the colour
decides, on a grid of half the size.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from keras import ops
from numpy.typing import NDArray

from kpose.errors import InputError

if TYPE_CHECKING:
    from kpose.augment import Parameters

LIMB_JOINTS = tuple(
    f"{side}_{joint}"
    for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    for side in ("right", "left")
)
"""What new clothes and rooms need, besides ``head`` or ``nose``."""

LONG = (1.85, 1.9)
"""Where long sleeves and trousers end, see ``augment.Parameters``: before the hand and
the foot."""

_POINTS = {
    "neck": {"right_shoulder": 0.5, "left_shoulder": 0.5},
    "chest": {
        "right_shoulder": 0.4,
        "left_shoulder": 0.4,
        "right_hip": 0.1,
        "left_hip": 0.1,
    },
    "waist": {
        "right_shoulder": 0.1,
        "left_shoulder": 0.1,
        "right_hip": 0.4,
        "left_hip": 0.4,
    },
} | {
    f"{side}_{end}": {f"{side}_{outer}": 1 + by, f"{side}_{inner}": -by}
    for side in ("right", "left")
    for end, outer, inner, by in (
        ("fingers", "wrist", "elbow", 0.4),
        ("toes", "ankle", "knee", 0.15),
    )
}
"""Points that are sums of joints."""

_TORSO = (
    ("right_shoulder", "right_hip", 0.12),
    ("left_shoulder", "left_hip", 0.12),
    ("right_shoulder", "left_shoulder", 0.08),
    ("chest", "waist", 0.22),
)
_LIMBS = tuple(
    (f"{side}_{inner}", f"{side}_{outer}", radius)
    for inner, outer, radius in (
        ("shoulder", "elbow", 0.10),
        ("elbow", "wrist", 0.075),
        ("hip", "knee", 0.145),
        ("knee", "ankle", 0.10),
    )
    for side in ("right", "left")
)
_REST = (
    ("right_wrist", "right_fingers", 0.085),
    ("left_wrist", "left_fingers", 0.085),
    ("head", "head", 0.23),
    ("head", "neck", 0.10),
    ("right_ankle", "right_toes", 0.13),
    ("left_ankle", "left_toes", 0.13),
)
_CAPSULES = (*_TORSO, *_LIMBS, *_REST)
"""Ends of a capsule and its radius in torso lengths. The first four are the torso, then
come the regions of their own: upper arms, forearms, thighs, shanks, hands, head, neck
and feet."""

_GARMENTS = (0, 1, 1, 1, 1, 2, 2, 2, 2)
"""Which of ``Parameters.clothes`` the first nine regions wear."""

_LENGTHS = (
    (("right_shoulder", "left_hip"), 1.0),
    (("left_shoulder", "right_hip"), 1.0),
    *(((f"{side}_hip", f"{side}_knee"), 1.2) for side in ("right", "left")),
    *(((f"{side}_knee", f"{side}_ankle"), 1.2) for side in ("right", "left")),
)
"""Distances and what they are multiplied with to be torso lengths: a person who bends
towards the camera has short ones."""

_SPREAD = (12.0**2, 30.0**2)
"""Least and largest variance of a region's colour: camera noise is no edge, and a print
on a shirt does not make everything alike."""

_LUMA = np.array([[0.299], [0.587], [0.114]], np.float32)
"""Brightness of red, green and blue."""

_DARK = 24.0
"""Levels added before brightness is divided, so that black cloth made white does not
show its noise."""


def require_body(names: Sequence[str]) -> None:
    """Check that a skeleton has what new clothes and rooms need.

    Args:
        names: Of its joints.

    Raises:
        InputError: If one of ``LIMB_JOINTS`` is missing, or there is no head.
    """
    missing = [name for name in LIMB_JOINTS if name not in names]
    if not {"head", "nose"} & set(names):
        missing.append("head (or nose)")
    if missing:
        raise InputError(
            "augmentation.clothing and augmentation.background need a skeleton with "
            f"shoulders, elbows, wrists, hips, knees, ankles and head, but "
            f"{', '.join(missing)} are missing. Received: {', '.join(names)}"
        )


def backgrounds(
    rooms: Sequence[NDArray[np.uint8]], parameters: "Parameters", size: int
) -> NDArray[np.uint8]:
    """Cut a square part of a room for every sample that moves.

    Args:
        rooms: Pictures ``(height, width, 3)`` RGB uint8.
        parameters: With ``moved`` and ``room``.
        size: Side of the result in pixels.

    Returns:
        ``(batch, size, size, 3)`` uint8: of the shorter side of the picture 0.4 to all,
        anywhere in it, half of them mirrored; black for those who stay.
    """
    result = np.zeros((len(parameters.moved), size, size, 3), np.uint8)
    for row in np.flatnonzero(parameters.moved):
        which, left, top, scale, mirror = (float(v) for v in parameters.room[row])
        picture = rooms[min(int(which * len(rooms)), len(rooms) - 1)]
        height, width = picture.shape[:2]
        side = max(round((0.4 + 0.6 * scale) * min(height, width)), 1)
        x, y = round(left * (width - side)), round(top * (height - side))
        part = picture[y : y + side, x : x + side]
        how = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
        resized = cv2.resize(part, (size, size), interpolation=how)
        result[row] = resized[:, ::-1] if mirror < 0.5 else resized
    return result


def change(
    images: Any, joints: Any, p: "Parameters", names: Sequence[str], rooms: Any
) -> Any:
    """Put new rooms behind persons and new colours on their clothes.

    Args:
        images: ``(batch, size, size, 3)`` float32, RGB 0..255; ``size`` even.
        joints: ``(batch, joints, 3)`` in crop units of these pictures.
        p: With ``dressed``, ``clothes`` and ``lengths``, or ``moved``, or all of them.
        names: The skeleton's joints.
        rooms: As for ``augment.apply``.

    Returns:
        Pictures of the same shape. A part of the body keeps its colours where a joint
        of it is not annotated, and a person the room where any joint is not.
    """
    size = images.shape[1]
    grid = size // 2
    body = _body(joints, names, grid)
    small = ops.average_pool(images, 2, data_format="channels_last")
    pixels = ops.reshape(small, (-1, grid * grid, 3))
    squares = ops.sum(ops.square(pixels), axis=-1, keepdims=True)
    features = ops.concatenate([pixels, squares, ops.ones_like(squares)], axis=-1)
    seen = body.inside * _uncovered(body.inside)
    mean, variance = _mean_color(ops.matmul(seen, features))
    parts = _parts(body, _likeness(features, mean, variance), features)
    maps = []
    if p.dressed is not None:
        maps.append(_cloth(parts, body, mean, variance, p))
    if p.moved is not None:
        person = ops.expand_dims(ops.max(parts, axis=1), -1)
        maps.append((1.0 - person) * body.whole * ops.reshape(p.moved, (-1, 1, 1)))
    merged = ops.concatenate(maps, axis=-1)
    merged = ops.reshape(merged, (-1, grid, grid, merged.shape[-1]))
    merged = ops.image.resize(merged, (size, size), data_format="channels_last")
    if p.dressed is not None:
        share = merged[..., :1]
        # Without a limit, bright surroundings shine through the seam of dark cloth.
        light = ops.minimum(
            ops.sum(images * _LUMA[:, 0], axis=-1, keepdims=True),
            merged[..., 1:2] / ops.maximum(share, 1e-3),
        )
        images = (1.0 - share) * images + (light + _DARK) * merged[..., 2:5]
    if p.moved is not None:
        away = merged[..., -1:]
        images = (1.0 - away) * images + away * ops.cast(rooms, "float32")
    return images


class _Body(NamedTuple):
    """Where the parts of the body are, on a grid of ``pixels`` places.

    ``inside`` and ``around`` are ``(batch, regions, pixels)``: 1 in the inner and the
    outer part of a region, 0 where it is not and everywhere if a joint of it is not
    annotated. ``along`` is ``(batch, 8, pixels)``: 0 at the upper and 1 at the lower
    end of a limb; ``length`` ``(batch, 8, 1)``: of the limbs, in torso lengths.
    ``whole`` is ``(batch, 1, 1)``: 1 where all joints are annotated.
    """

    inside: Any
    around: Any
    along: Any
    length: Any
    whole: Any


def _body(joints: Any, names: Sequence[str], grid: int) -> _Body:
    first, needed = _weights(names, [capsule[0] for capsule in _CAPSULES])
    second, also = _weights(names, [capsule[1] for capsule in _CAPSULES])
    missing = 1.0 - joints[..., 2:]
    known = 1.0 - ops.clip(ops.matmul(needed + also, missing), 0.0, 1.0)
    torso = _torso_length(joints, names)
    known = known * ops.cast(torso > 0, "float32")
    torso = ops.maximum(torso, 1e-3)
    start, end = (ops.matmul(w, joints[..., :2]) for w in (first, second))
    axis = end - start
    squared = ops.sum(ops.square(axis), axis=-1, keepdims=True)  # (batch, capsules, 1)
    radius = torso * np.array([[c[2]] for c in _CAPSULES], np.float32)
    units = (np.arange(grid, dtype=np.float32) + 0.5) / grid
    # (batch, capsules, grid, 2): in x and in y
    away = ops.subtract(np.stack([units, units], -1), ops.expand_dims(start, 2))
    # Position along the bone and squared distance from its start are sums of a function
    # of x and one of y, so that only the sums are as large as the picture.
    step = away * ops.expand_dims(axis / ops.maximum(squared, 1e-9), 2)
    along = _outer_sum(step)
    from_start = _outer_sum(ops.square(away / ops.expand_dims(radius, 2)))
    nearest = ops.clip(along, 0.0, 1.0)
    distance = from_start + squared / ops.square(radius) * nearest * (
        nearest - 2.0 * along
    )
    distance = ops.concatenate(
        [ops.min(distance[:, :4], axis=1, keepdims=True), distance[:, 4:]], axis=1
    )
    known = ops.concatenate(
        [ops.min(known[:, :4], axis=1, keepdims=True), known[:, 4:]], axis=1
    )
    distance = ops.sqrt(ops.maximum(distance, 0.0))  # in radii
    return _Body(
        inside=known * ops.clip(3.6 - 4.0 * distance, 0.0, 1.0),
        around=known * ops.clip(4.0 - 2.5 * distance, 0.0, 1.0),
        along=along[:, 4:12],
        length=(ops.sqrt(squared) / torso)[:, 4:12],
        whole=ops.min(known, axis=1, keepdims=True),
    )


def _outer_sum(values: Any) -> Any:
    """Return ``x[i] + y[j]`` of ``(..., grid, 2)``, as ``(..., grid * grid)``."""
    total = ops.expand_dims(values[..., 0], -2) + ops.expand_dims(values[..., 1], -1)
    return ops.reshape(total, (*total.shape[:-2], -1))


def _weights(
    names: Sequence[str], points: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the share of every joint in some points and where it is not 0.

    Both ``(points, joints)``.
    """
    weights = np.zeros((len(points), len(names)), np.float32)
    for row, point in enumerate(points):
        for name, weight in _POINTS.get(point, {point: 1.0}).items():
            if name == "head" and name not in names:
                name = "nose"
            weights[row, list(names).index(name)] = weight
    return weights, np.asarray(weights != 0, np.float32)


def _torso_length(joints: Any, names: Sequence[str]) -> Any:
    """Return the largest estimate, ``(batch, 1, 1)`` crop units, 0 for none."""
    rows = [[list(names).index(name) for name in pair] for pair, _ in _LENGTHS]
    a, b = (
        ops.take(joints, np.array(r, np.int32), axis=1) for r in zip(*rows, strict=True)
    )
    lengths = ops.sqrt(ops.sum(ops.square(a - b)[..., :2], axis=-1, keepdims=True))
    factor = np.array([[times] for _, times in _LENGTHS], np.float32)
    return ops.max(factor * lengths * a[..., 2:] * b[..., 2:], axis=1, keepdims=True)


def _uncovered(inside: Any) -> Any:
    """Return how much of every region is not behind another one.

    Which is in front is not known: heads and hands are taken to be, then arms, then the
    torso.
    """
    face = 1.0 - ops.max(inside[:, 9:12], axis=1, keepdims=True)
    sleeve = face * (1.0 - ops.max(inside[:, 1:5], axis=1, keepdims=True))
    shirt = sleeve * (1.0 - inside[:, :1])
    rest = ops.ones_like(inside[:, 9:])
    return ops.concatenate(
        [
            sleeve,
            ops.repeat(face, 4, axis=1),
            ops.repeat(shirt, 4, axis=1),
            rest,
        ],
        axis=1,
    )


def _mean_color(sums: Any) -> tuple[Any, Any]:
    """Return mean ``(..., 3)`` and variance ``(..., 1)`` of weighted pixels.

    Args:
        sums: ``(..., 5)``: weighted sums of red, green, blue, their squares and 1.
    """
    moments = sums[..., :4] / ops.maximum(sums[..., 4:], 1e-3)
    mean = moments[..., :3]
    spread = moments[..., 3:] - ops.sum(ops.square(mean), axis=-1, keepdims=True)
    return mean, ops.clip(spread / 3.0, *_SPREAD)


def _likeness(features: Any, mean: Any, variance: Any) -> Any:
    """Return how like the colour of each region each pixel is, 0 to 1.

    Returns:
        ``(batch, regions, pixels)``.
    """
    own = ops.sum(ops.square(mean), axis=-1, keepdims=True)
    ones = ops.ones_like(own)
    # |x - m|^2 = -2 m x + |x|^2 + |m|^2, a product of matrices
    terms = ops.concatenate([-2.0 * mean, ones, own], axis=-1) / (-6.0 * variance)
    return ops.exp(ops.matmul(terms, ops.swapaxes(features, 1, 2)))


def _parts(body: _Body, likeness: Any, features: Any) -> Any:
    """Return how much of a pixel each region is, ``(batch, regions, pixels)``.

    All of it in the inner part, nothing beyond the outer part; between them that is
    decided by what the colour is more like: the inner part, or what is outside of all
    regions near by.
    """
    grid = round(features.shape[1] ** 0.5)
    outside = ops.expand_dims(1.0 - ops.max(body.around, axis=1), -1)
    sums = ops.reshape(features * outside, (-1, grid, grid, 5))
    sums = ops.average_pool(sums, max(grid // 8, 1), data_format="channels_last")
    for _ in range(2):
        sums = ops.average_pool(
            sums, 3, strides=1, padding="same", data_format="channels_last"
        )
    # From anywhere, where there is nothing outside near by.
    sums = sums + 1e-3 * ops.mean(sums, axis=(1, 2), keepdims=True)
    near = ops.concatenate(_mean_color(sums), axis=-1)
    near = ops.image.resize(near, (grid, grid), data_format="channels_last")
    near = ops.reshape(near, (-1, grid * grid, 4))
    away = ops.sum(ops.square(features[..., :3] - near[..., :3]), axis=-1)
    room = ops.expand_dims(ops.exp(-away / (6.0 * near[..., 3])), 1)
    own = body.around * likeness
    share = ops.clip(2.0 * own / (own + room + 0.05) - 0.5, 0.0, 1.0)
    return ops.maximum(body.inside, share * ops.clip(2.0 * body.around, 0.0, 1.0))


def _cloth(parts: Any, body: _Body, mean: Any, variance: Any, p: "Parameters") -> Any:
    """Return what new clothes are made from, ``(batch, pixels, 5)``.

    The first is how much of a pixel is cloth, and the others have been multiplied with
    it: a brightness that old cloth hardly exceeds, and a factor. The new colour is the
    factor times the old brightness plus ``_DARK``, so that folds stay.
    """
    here = parts[:, :9] * _uncovered(parts)[:, :9]
    end = ops.repeat(ops.reshape(p.lengths, (-1, 2, 1)), 4, axis=1)
    lower = np.array([[0], [0], [1], [1]] * 2, np.float32)
    end = ops.where(
        lower > 0, ops.where(end > 1, end - 1, -9.0), ops.where(end > 1, 9.0, end)
    )
    cuff = ops.clip((end - body.along) * body.length / 0.05 + 0.5, 0.0, 1.0)
    here = here * ops.concatenate([ops.ones_like(cuff[:, :1]), cuff], axis=1)
    here = here / ops.maximum(ops.sum(here, axis=1, keepdims=True), 1.0)
    here = here * ops.reshape(p.dressed, (-1, 1, 1))
    color = ops.take(p.clothes, np.array(_GARMENTS, np.int32), axis=1)
    brightness = ops.matmul(mean[:, :9], _LUMA)
    factor = color / (brightness + _DARK)
    highest = brightness + 1.4 * ops.sqrt(variance[:, :9])
    terms = [ops.ones_like(highest), highest, factor]
    return ops.matmul(ops.swapaxes(here, 1, 2), ops.concatenate(terms, axis=-1))
