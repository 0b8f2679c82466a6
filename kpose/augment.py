"""Augmentation: ``draw`` the parameters, ``apply`` them. Two pure functions.

The parameters of a sample are a function of (seed, epoch, sample id) and of nothing
else: not of the batch it falls in, the worker that draws it, or what ran before. (A
generator with a state, ``keras.random`` inside ``Dataset.map`` for one, repeats or
reorders its numbers.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from keras import ops
from numpy.typing import NDArray

from kpose import looks
from kpose.errors import InputError
from kpose.images import SURROUNDINGS


@dataclass(frozen=True)
class Augmentation:
    """How far a sample may be changed. The default changes nothing.

    Args:
        flip: Probability of a mirror image (the paper doubles every image, section 3.2;
            0.5 is the same in expectation).
        rotation: Largest angle in degrees, either way.
        scale: Largest change of size: the factor is 2 ** uniform(-scale, scale).
        shift: Largest translation in crop sides, either way, per axis.
        color: Largest change of contrast, brightness and each channel, a fraction.
        cutout: Probability that a rectangle of a random colour hides a part.
        clothing: Probability that the clothes get other colours (the future work of
            paper section 5): torso, arms and legs, where the skeleton says they are.
        background: Probability that what is not the person becomes a part of a picture
            in ``rooms``.
        rooms: A picture of the user's empty room, or a folder of such pictures.
    """

    flip: float = 0.0
    rotation: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    color: float = 0.0
    cutout: float = 0.0
    clothing: float = 0.0
    background: float = 0.0
    rooms: str = ""

    def __post_init__(self) -> None:
        """Refuse probabilities that are none, and new backgrounds without pictures."""
        for name in ("clothing", "background"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(
                    f"augmentation.{name} must be a probability, 0 to 1. "
                    f"Received: {getattr(self, name)}"
                )
        if self.background and not self.rooms:
            raise InputError(
                "augmentation.background needs augmentation.rooms, a picture or a "
                "folder of pictures of empty rooms. Received: none"
            )


class Parameters(NamedTuple):
    """What happens to each sample of a batch; float32 arrays, first axis the batch."""

    flip: Any
    """``(batch,)``: 1 mirrors, before anything else."""
    angle: Any
    """``(batch,)``: rotation in radians, clockwise on the picture."""
    scale: Any
    """``(batch,)``: size of the person after / before."""
    shift: Any
    """``(batch, 2)``: movement of the person in crop sides, after scale and angle."""
    gain: Any
    """``(batch, 3)``: factor on the red, green and blue values."""
    offset: Any
    """``(batch,)``: added to every value, of 0..255."""
    cutout: Any
    """``(batch, 4)``: x0, y0, x1, y1 of the hidden rectangle in crop units."""
    cutout_color: Any
    """``(batch, 3)``: its colour, 0..255."""
    dressed: Any = None
    """``(batch,)``: 1 gives the clothes other colours. None, as the next two, where no
    sample's clothes ever change."""
    clothes: Any = None
    """``(batch, 3, 3)``: the mean colour of torso, arms and legs after that, 0..255."""
    lengths: Any = None
    """``(batch, 2)``: where sleeves and trousers end: 0 at shoulder and hip, 1 at elbow
    and knee, 2 at wrist and ankle."""
    moved: Any = None
    """``(batch,)``: 1 moves the person into a room. None, as the next, where nobody
    ever moves."""
    room: Any = None
    """``(batch, 5)``: which room, left, top, size and mirroring of the part that is
    shown, each 0..1; see ``looks.backgrounds``."""


def identity(batch: int) -> Parameters:
    """Return the parameters that change nothing, for ``batch`` samples."""
    return draw(Augmentation(), 0, 0, range(batch))


def draw(
    augmentation: Augmentation, seed: int, epoch: int, sample_ids: Sequence[int] | Any
) -> Parameters:
    """Draw the parameters of some samples from a counter-based generator.

    Args:
        augmentation: The ranges.
        seed: Of the training.
        epoch: 0-based.
        sample_ids: Non-negative integers that identify samples in the data set.

    Returns:
        Parameters whose row i depends on ``sample_ids[i]``, ``seed`` and ``epoch``.
    """
    a = augmentation
    # Later ones stand last, so that the first 20 are what they always were.
    count = 40 if a.clothing or a.background else 20
    uniform = np.stack(
        [
            np.random.Generator(
                np.random.Philox(key=seed, counter=[0, 0, epoch, int(sample)])
            ).random(count)
            for sample in sample_ids
        ]
    )
    signed = 2 * uniform - 1
    size = 0.1 + 0.25 * uniform[:, 10:12]
    middle = uniform[:, 12:14]
    hidden = uniform[:, 14:15] < a.cutout
    contrast = 1 + a.color * signed[:, 5]
    # Contrast turns about middle grey, so that dark pictures do not get darker still.
    parameters = Parameters(
        flip=uniform[:, 0] < a.flip,
        angle=np.deg2rad(a.rotation) * signed[:, 1],
        scale=2.0 ** (a.scale * signed[:, 2]),
        shift=a.shift * signed[:, 3:5],
        gain=contrast[:, None] * (1 + a.color * signed[:, 6:9]),
        offset=127.5 * (1 - contrast) + 127.5 * a.color * signed[:, 9],
        cutout=np.where(hidden, np.hstack([middle - size / 2, middle + size / 2]), 0),
        cutout_color=255 * uniform[:, 15:18],
    )
    if a.clothing:
        parameters = parameters._replace(
            dressed=uniform[:, 20] < a.clothing,
            clothes=_new_clothes(uniform[:, 21:31]),
            lengths=_new_lengths(uniform[:, 31:34]),
        )
    if a.background:
        parameters = parameters._replace(
            moved=uniform[:, 34] < a.background, room=uniform[:, 35:40]
        )
    return Parameters(
        *(v if v is None else np.asarray(v, np.float32) for v in parameters)
    )


def _new_clothes(uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return colours of torso, arms and legs; sleeves are the shirt's, half the time.

    Args:
        uniform: ``(batch, 10)``.
    """
    colors = 15 + 220 * uniform[:, :9].reshape(-1, 3, 3)
    colors[:, 1] = np.where(uniform[:, 9:] < 0.5, colors[:, 0], colors[:, 1])
    return colors


def _new_lengths(uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where sleeves and trousers end.

    Args:
        uniform: ``(batch, 3)``: how long the short ones are, sleeves, trousers.
    """
    short = 0.5 + 0.5 * uniform[:, :1]
    return np.where(uniform[:, 1:] < (0.5, 0.3), short, looks.LONG)


def apply(
    images: Any,
    joints: Any,
    parameters: Parameters,
    *,
    size: int,
    swap: Sequence[int],
    names: Sequence[str] = (),
    rooms: Any = None,
) -> tuple[Any, Any]:
    """Change pictures and joints by the same parameters.

    One bilinear warp makes the geometry, also where ``size`` is not the grid that the
    pictures were stored on; it finds real surroundings in the margin of the stored crop
    and zeros beyond.

    Args:
        images: ``(batch, side, side, 3)`` stored crops, RGB 0..255, any real dtype.
        joints: ``(batch, joints, 3)``: x and y in crop units, 1 where annotated.
        parameters: From ``draw``.
        size: Side of the result in pixels; ``side - size`` must be even.
        swap: The skeleton's swap table, for mirrored samples.
        names: The skeleton's joints; only new clothes and rooms need them, see
            ``looks.require_body``.
        rooms: ``(batch, size, size, 3)``, from ``looks.backgrounds``; only where
            ``parameters.moved`` is given.

    Returns:
        Images ``(batch, size, size, 3)`` float32, 0..255, and joints
        ``(batch, joints, 3)`` float32 in crop units, not clipped; an unannotated joint
        stays 0, 0, 0.
    """
    p = Parameters(
        *(v if v is None else ops.convert_to_tensor(v, "float32") for v in parameters)
    )
    warped, moved = _warp(images, p, size), _move(joints, p, swap)
    if p.dressed is not None or p.moved is not None:
        warped = looks.change(warped, moved, p, names, rooms)
    color = ops.expand_dims(ops.expand_dims(p.gain, 1), 1) * warped
    color = color + ops.reshape(p.offset, (-1, 1, 1, 1))
    color = ops.clip(color, 0.0, 255.0)
    return _cut_out(color, p, size), moved


def _matrices(p: Parameters) -> tuple[Any, Any]:
    """Return (cos, sin) of the angle, each divided by the scale: the inverse map."""
    return ops.cos(p.angle) / p.scale, ops.sin(p.angle) / p.scale


def _warp(images: Any, p: Parameters, size: int) -> Any:
    side = images.shape[1]
    grid = side / SURROUNDINGS  # pixels per crop side in the stored picture
    cos, sin = _matrices(p)
    mirror = 1.0 - 2.0 * p.flip
    # Output pixel q of a picture as large as the input, whose centre is sliced later:
    # crop unit v = (q + centre) / size + 0.5 with centre = 0.5 - side / 2. The source
    # unit is 0.5 + M^-1 (v - 0.5 - shift), mirrored, at pixel grid * (u + 0.25) - 0.5.
    step, centre = grid / size, 0.5 - side / 2
    x, y = centre - size * p.shift[:, 0], centre - size * p.shift[:, 1]
    middle = (side - 1) / 2
    zeros = ops.zeros_like(cos)
    transforms = ops.stack(
        [
            mirror * step * cos,
            mirror * step * sin,
            mirror * step * (cos * x + sin * y) + middle,
            -step * sin,
            step * cos,
            step * (cos * y - sin * x) + middle,
            zeros,
            zeros,
        ],
        axis=1,
    )
    warped = ops.image.affine_transform(
        ops.cast(images, "float32"),
        transforms,
        interpolation="bilinear",
        fill_mode="constant",
        data_format="channels_last",
    )
    margin = (side - size) // 2
    return warped[:, margin : margin + size, margin : margin + size]


def _move(joints: Any, p: Parameters, swap: Sequence[int]) -> Any:
    joints = ops.cast(joints, "float32")
    flip = ops.reshape(p.flip, (-1, 1, 1))
    swapped = ops.take(joints, np.asarray(swap, np.int32), axis=1)
    joints = ops.where(flip > 0, swapped, joints)
    annotated = joints[..., 2:]
    centred = joints[..., :2] - 0.5
    centred = centred * ops.concatenate([1 - 2 * flip, ops.ones_like(flip)], axis=-1)
    cos = ops.reshape(ops.cos(p.angle) * p.scale, (-1, 1))
    sin = ops.reshape(ops.sin(p.angle) * p.scale, (-1, 1))
    moved = ops.stack(
        [
            cos * centred[..., 0] - sin * centred[..., 1],
            sin * centred[..., 0] + cos * centred[..., 1],
        ],
        axis=-1,
    )
    moved = moved + ops.expand_dims(p.shift, 1) + 0.5
    return ops.concatenate([ops.where(annotated > 0, moved, 0.0), annotated], axis=-1)


def _cut_out(images: Any, p: Parameters, size: int) -> Any:
    units = (np.arange(size, dtype=np.float32) + 0.5) / size
    x = ops.reshape(ops.convert_to_tensor(units), (1, 1, size, 1))
    y = ops.reshape(x, (1, size, 1, 1))
    x0, y0, x1, y1 = (ops.reshape(p.cutout[:, i], (-1, 1, 1, 1)) for i in range(4))
    inside = ops.logical_and(
        ops.logical_and(x >= x0, x < x1), ops.logical_and(y >= y0, y < y1)
    )
    color = ops.expand_dims(ops.expand_dims(p.cutout_color, 1), 1)
    return ops.where(inside, color, images)
