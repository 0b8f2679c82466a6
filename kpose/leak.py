"""Leak score: are validation pictures near duplicates of training pictures?

A *fingerprint* is 256 bits of a person's crop, and the *distance* of two the number of
bits that differ: about 123 for two crops that have nothing to do with each other.
``score`` finds the nearest training crop of every validation crop.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from kpose.images import Image

Hashes = NDArray[np.uint64]

ROWS = COLUMNS = 16
"""Bits of a fingerprint from top to bottom and from left to right."""

LIT = 16
"""A grey level up to this may be the black border of a crop, stored as JPEG."""

FINE = 96
"""A crop at least twice as long is first reduced to about so many pixels: it takes the
time of few and says the same."""

PLAIN = 0.5
"""What differs from the border by no more standard deviations of the crop's grey levels
is plain, like it."""

INSIDE = 0.04
"""An outer row or column with a smaller share of pixels that are not plain is cut."""

CONTRAST = 1.0
"""Neighbours that differ by no more grey levels are taken for equally bright."""

FEWEST = 64
"""A crop with fewer neighbours that differ has no fingerprint."""

NEAR = 16
"""A distance up to this is a near duplicate: the same picture, a neighbouring frame of
a video, or the same pose at the same spot of a room.

Measured on crops of 128 pixels around the readers' boxes: the distance from each
validation crop to the nearest training crop or its mirror image.

=================================================== ======== ==================
validation against training                         median   share within NEAR
=================================================== ======== ==================
LSP: official test (500) against train (1,000)      90       0 %
LSP (1,500) against LSPET (7,916)                   87       0 %
real clip, 60 fps, 4 cameras: random fifth          12-13    60-71 %
its last fifth against the rest, by camera          92-101   0, 5, 0, 0 %
each camera against the other three                 101-103  0 %
rendered clips, 25 fps: random fifth                6        94 %
their last fifth against the rest                   80 9 22  0, 90, 30 %
each clip against the other two                     44-68    0 %
rendered recordings, 300 pictures: random fifth     14       58 %
each recording against the other four               28-34    0-13 %
rendered recordings, 1,500 pictures: random fifth   15       57 %
each recording against the other four               20-25    9-32 %
=================================================== ======== ==================

Pictures of the rendered recordings are 0.4 s apart and show one person in one room, who
often stands at rest: what is near between recordings is the pose at rest. In the last
fifth of the clip with 90 % the person stands still.

Three pictures are in both official splits of LSP. Other crops were cut of them, which
differ by 22, 23 and 30 bits: they are not counted, but ``score`` names them. The next
pairs, from 32 bits on, are other shots of one scene, and strangers begin at 59."""

FLAGGED_GROUP = 0.05
"""A split is flagged where more validation crops than this share have a near duplicate
in their own group. Where groups are recordings, a split by recording has none."""

FLAGGED = 0.45
"""It is also flagged where more than this share have one anywhere: between the 32 % of
other recordings in one room and the 57 % of random frames (``NEAR``)."""

MOST = 5000
"""At most so many validation crops are compared."""

MAX_EXAMPLES = 20
"""So many pairs are named."""

BLOCK = (64, 4096)
"""Validation and training crops compared at a time: what fits a processor's cache."""


def _ties() -> NDArray[np.bool_]:
    half = np.random.Generator(np.random.Philox(key=0)).random((ROWS, COLUMNS // 2))
    bits = half < 0.5
    return np.concatenate([bits, ~bits[:, ::-1]], axis=1)


TIES = _ties()
"""``(16, 16)``: the bits of neighbours that are equally bright. Its mirror image is its
opposite, as it is for all other bits, so that ``mirrored`` is exact."""


def fingerprint(image: Image) -> Hashes:
    """Return the fingerprint of a person's crop, what the network sees.

    A difference hash: the grey crop is reduced to 17 x 16 area means, and a bit says
    whether the right neighbour is brighter. It changes little with size, brightness,
    contrast and compression.

    Equally bright neighbours agree in every picture, so strangers would be near where
    much of their crops is even. Three things are done against that. The zero padding
    around a picture is cut off: with it LSP's strangers come as near as 19 bits,
    without it 59. So is what is plain around a person: rendered strangers before white
    come as near as 15 bits with it, 36 without. And a crop that is nearly flat even
    then has no fingerprint: its bits are all 0, and ``score`` does not compare it.

    Where an outer row is just about plain, a little more or less is cut: a crop of LSP
    that is written as JPEG of quality 95 and read again moves by 4 bits in the median,
    but 1 in 100 by more than 42. Such a duplicate is not found. Takes 0.1 ms.

    Args:
        image: ``(height, width, 3)`` RGB uint8, of any size.

    Returns:
        ``(4,)`` uint64, rows from top to bottom.
    """
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    shrink = max(grey.shape) // FINE
    if shrink > 1:
        smaller = (grey.shape[1] // shrink, grey.shape[0] // shrink)
        grey = np.asarray(cv2.resize(grey, smaller, interpolation=cv2.INTER_AREA))
    grey = _without_border(grey)
    size = (COLUMNS + 1, ROWS)
    means = cv2.resize(grey.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    steps = np.diff(means, axis=1)
    equal = np.abs(steps) <= CONTRAST
    if ROWS * COLUMNS - int(equal.sum()) < FEWEST:
        return np.zeros(4, np.uint64)
    return np.packbits(np.where(equal, TIES, steps > 0)).view(np.uint64)


def _without_border(grey: NDArray[Any]) -> NDArray[Any]:
    """Cut off the zero padding around a picture, then what is plain around a person.

    Neither rule is "any": compression puts a few brighter pixels into the padding.
    """
    lit = _counts(grey > LIT)
    grey = grey[tuple(_span(counts, counts.max() / 4) for counts in lit)]
    edges = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    off = cv2.absdiff(grey, np.full_like(grey, int(np.median(edges))))
    other = _counts(off > PLAIN * float(cv2.meanStdDev(grey)[1][0, 0]))
    height, width = grey.shape
    return grey[_span(other[0], INSIDE * width), _span(other[1], INSIDE * height)]


def _counts(marked: NDArray[np.bool_]) -> list[NDArray[Any]]:
    """Return how many pixels of each row, and of each column, are marked."""
    pixels = np.ascontiguousarray(marked).view(np.uint8)
    return [
        np.asarray(cv2.reduce(pixels, axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S)).ravel()
        for axis in (1, 0)
    ]


def _span(counts: NDArray[Any], fewest: float) -> slice:
    """Return from the first to the last line with at least ``fewest``, else all."""
    kept = np.flatnonzero(counts >= fewest)
    return slice(kept[0], kept[-1] + 1) if len(kept) else slice(None)


def mirrored(hashes: Hashes) -> Hashes:
    """Return the fingerprints ``(n, 4)`` of the mirrored crops.

    Left and right neighbour change places: bits are reversed in each row and inverted.
    Equal to ``fingerprint`` of the mirrored pixels but for rounding, where a step lies
    within a rounding error of ``CONTRAST``.
    """
    bits = np.unpackbits(np.ascontiguousarray(hashes).view(np.uint8), axis=1)
    turned = 1 - bits.reshape(-1, ROWS, COLUMNS)[:, :, ::-1]
    packed = np.packbits(turned.reshape(-1, ROWS * COLUMNS), axis=1).view(np.uint64)
    return np.where(_is_flat(hashes)[:, None], hashes, packed)


def _is_flat(hashes: Hashes) -> NDArray[np.bool_]:
    return np.asarray(~hashes.any(axis=1), np.bool_)


def nearest(
    validation: Hashes, training: Hashes
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the distance and index of the nearest training crop, the first of equals.

    Compared in blocks: beside a copy of both arguments it needs 5 MB. 2,000 against
    500,000 take 3 s on one core (measured; ``score`` needs it twice).

    Args:
        validation: ``(n, 4)`` uint64.
        training: ``(m, 4)`` uint64, at least one.

    Returns:
        ``(n,)`` bits that differ, 0 to 256, and ``(n,)`` indices into ``training``.
    """
    distance = np.full(len(validation), ROWS * COLUMNS + 1, np.int64)
    index = np.zeros(len(validation), np.int64)
    ours, theirs = (np.ascontiguousarray(part.T) for part in (validation, training))
    height, width = BLOCK
    for left in range(0, len(training), width):
        block = theirs[:, None, left : left + width]
        for top in range(0, len(validation), height):
            rows = slice(top, top + height)
            bits = np.bitwise_count(ours[0, rows, None] ^ block[0]).astype(np.uint16)
            for word in range(1, 4):
                bits += np.bitwise_count(ours[word, rows, None] ^ block[word])
            best = bits.argmin(axis=1)
            found = bits[np.arange(len(best)), best]
            nearer = found < distance[rows]
            distance[rows][nearer] = found[nearer]
            index[rows][nearer] = best[nearer] + left
    return distance, index


class Pair(NamedTuple):
    """A validation crop and the training crop nearest to it.

    ``mirrored`` says that one is near to the mirror image of the other.
    """

    validation: str
    training: str
    distance: int
    mirrored: bool


@dataclass(frozen=True)
class LeakScore:
    """How near validation crops are to training crops.

    Args:
        validation: Crops held out that were compared.
        training: Crops that they were compared with.
        near: Crops held out whose nearest training crop, or its mirror image, differs
            by at most ``NEAR`` bits.
        same_group: How many of ``near`` are in the same group as that crop; 0 where no
            groups are known.
        median: Median distance to the nearest training crop, None without crops.
        minimum: The least such distance, None without crops.
        held_out: All crops held out: more than ``validation`` where there were more
            than ``MOST``, or some are flat.
        flat: Of those chosen to be compared, how many are too flat for it.
        examples: The nearest pairs of at most twice ``NEAR`` bits, nearest first: those
            over ``NEAR`` are worth a look.
        flagged: Whether a score on this validation set says little about new pictures.
    """

    validation: int
    training: int
    near: int
    same_group: int
    median: float | None
    minimum: int | None
    held_out: int
    flat: int
    examples: tuple[Pair, ...]
    flagged: bool

    def to_json(self) -> dict[str, Any]:
        """Return the fields, the threshold and the sentence, as JSON has them."""
        pairs = [pair._asdict() for pair in self.examples]
        return dataclasses.asdict(self) | {
            "examples": pairs,
            "near_bits": NEAR,
            "sentence": self.sentence(),
        }

    def sentence(self) -> str:
        """Return the score in words, one line."""
        if not self.validation:
            return (
                f"leak score: none of {self.held_out} validation pictures could be "
                f"compared with {self.training} training pictures"
            )
        line = (
            f"{self.near} of {self.validation} validation pictures "
            f"({100 * self.near / self.validation:.1f} %) have a near duplicate in "
            f"training (at most {NEAR} of {ROWS * COLUMNS} bits differ)"
        )
        if self.same_group:
            line += f", {self.same_group} of them in their own group"
        line += f"; median distance to the nearest {self.median:g} bits"
        if self.held_out - self.flat > self.validation:
            line += f"; compared evenly spaced ones of {self.held_out}"
        if self.flat:
            line += f"; {self.flat} more are too flat to compare"
        if self.flagged:
            line += ": the split leaks, scores on it say little about new pictures"
        return line


def score(
    ids: Sequence[str] | NDArray[np.str_],
    hashes: Hashes,
    train_mask: NDArray[np.bool_],
    val_mask: NDArray[np.bool_],
    groups: Sequence[str] | NDArray[np.str_] | None = None,
) -> LeakScore:
    """Compare validation crops, or their mirror images, with all training crops.

    Args:
        ids: One per crop, for ``examples``.
        hashes: ``(crops, 4)``: their fingerprints.
        train_mask: ``(crops,)``: which are trained on.
        val_mask: ``(crops,)``: which are held out. ``MOST`` of them, evenly spaced, are
            compared where there are more.
        groups: What frames of one recording share, with the source in it.
    """
    flat = _is_flat(hashes)
    held_out = np.flatnonzero(val_mask)
    chosen = held_out
    if len(chosen) > MOST:
        chosen = chosen[np.linspace(0, len(chosen) - 1, MOST).astype(np.int64)]
    validation = chosen[~flat[chosen]]
    training = np.flatnonzero(train_mask & ~flat)
    if not len(training):
        validation = validation[:0]
    distance, index, turned = _nearest_either_way(hashes[validation], hashes[training])
    near = distance <= NEAR
    same = np.zeros(len(near), bool)
    if groups is not None and len(validation):
        names = np.asarray(groups, np.str_)
        same = near & (names[validation] == names[training[index]])
    order = np.argsort(distance, kind="stable")[:MAX_EXAMPLES].tolist()
    pairs = tuple(
        Pair(
            str(ids[validation[row]]),
            str(ids[training[index[row]]]),
            int(distance[row]),
            bool(turned[row]),
        )
        for row in order
        if distance[row] <= 2 * NEAR
    )
    return LeakScore(
        validation=len(validation),
        training=len(training),
        near=int(near.sum()),
        same_group=int(same.sum()),
        median=float(np.median(distance)) if len(distance) else None,
        minimum=int(distance.min()) if len(distance) else None,
        held_out=len(held_out),
        flat=int(flat[chosen].sum()),
        examples=pairs,
        flagged=bool(
            near.sum() > FLAGGED * len(near) or same.sum() > FLAGGED_GROUP * len(near)
        ),
    )


def _nearest_either_way(
    validation: Hashes, training: Hashes
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return what ``nearest`` does, and whether the mirror image is what is near."""
    plain, index = nearest(validation, training)
    flipped, flipped_index = nearest(mirrored(validation), training)
    turned = flipped < plain
    return (
        np.where(turned, flipped, plain),
        np.where(turned, flipped_index, index),
        turned,
    )
