"""Mistakes of labels that rules find: no network is asked.

A limb far longer than it is on others, a joint outside its person's own box, a person
who is there twice, and pictures of validation or test that are in training too.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kpose import leak
from kpose.joints import Skeleton
from kpose.mistakes import pose_sizes

LIMB, OUTSIDE, DUPLICATE, NEAR_DUPLICATE = (
    "limb",
    "outside_box",
    "duplicate",
    "near_duplicate",
)
"""Kinds of findings."""

SPREADS = 6.0
"""A limb this many robust standard deviations longer than the median is too long."""

LONGER = 1.8
"""And so many times as long as the median: in a set of one pose spreads are small."""

FEWEST_LIMBS = 30
"""With fewer limbs of one kind nothing is said of their usual length."""

MARGIN = 0.15
"""A joint may lie so far outside the set's own box, in shares of its longer side: boxes
of visible parts end at an occluded hand."""

SAME = 0.08
"""Two persons of one picture are one where common joints lie this near on average, in
shares of the pose's size (the root mean square distance from its centre)."""

FEWEST_JOINTS = 3
"""With fewer joints in common nothing is said of two persons."""


class Finding(NamedTuple):
    """What a rule says of one person.

    ``score`` is 0 to 1, for an order within one kind; ``joints`` are indices.
    """

    person: int
    kind: str
    reason: str
    joints: tuple[int, ...]
    score: float


def long_limbs(joints: NDArray[np.floating], skeleton: Skeleton) -> Iterator[Finding]:
    """Yield the longest limb of every person who has one that is too long.

    Lengths are relative to the size of the pose without the limb's own ends, since a
    joint far off makes the whole pose large; limbs that look short are foreshortened
    and right.

    Args:
        joints: ``(persons, joints, 3)``, in any unit.
        skeleton: The joints.
    """
    if not skeleton.limbs:
        return
    ratios = np.full((len(joints), len(skeleton.limbs)), np.nan)
    spreads = np.zeros_like(ratios)
    for at, (a, b) in enumerate(skeleton.limb_indices):
        there = joints[..., 2] > 0
        rest = there.copy()
        rest[:, [a, b]] = False
        size = pose_sizes(joints[..., :2], rest)
        known = there[:, a] & there[:, b] & (rest.sum(axis=1) >= FEWEST_JOINTS)
        known &= size > 0
        if known.sum() < FEWEST_LIMBS:
            continue
        ends = joints[known][:, [a, b], :2]
        length = np.hypot(*(ends[:, 0] - ends[:, 1]).T) / size[known]
        usual = float(np.median(length))
        above = length[length >= usual] - usual
        spread = 1.4826 * float(np.median(above)) + 1e-6
        ratios[known, at] = length / max(usual, 1e-6)
        spreads[known, at] = (length - usual) / spread
    long = np.where((spreads > SPREADS) & (ratios > LONGER), ratios, 0)
    for person in np.flatnonzero(long.any(axis=1)).tolist():
        at = int(long[person].argmax())
        ratio = float(long[person, at])
        a, b = skeleton.limb_indices[at]
        yield Finding(
            person,
            LIMB,
            f"{skeleton.names[a]} to {skeleton.names[b]} is {ratio:.1f} x as long as "
            "usual",
            (a, b),
            1 - 1 / ratio,
        )


def outside_boxes(
    joints: NDArray[np.floating], boxes: NDArray[np.floating], skeleton: Skeleton
) -> Iterator[Finding]:
    """Yield the persons with joints outside their own box by more than ``MARGIN``.

    Args:
        joints: ``(persons, joints, 3)`` image pixels.
        boxes: ``(persons, 4)`` edges x0, y0, x1, y1; NaN where a set has none.
        skeleton: The joints.
    """
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    centres = joints[..., :2] + 0.5
    beyond = np.maximum(low - centres, centres - high).max(axis=2)
    longer = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(joints[..., 2] > 0, beyond / longer, 0)
    far = np.nan_to_num(share) > MARGIN
    for person in np.flatnonzero(far.any(axis=1)).tolist():
        found = tuple(np.flatnonzero(far[person]).tolist())
        most = float(share[person].max())
        names = ", ".join(skeleton.names[at] for at in found)
        yield Finding(
            person,
            OUTSIDE,
            f"{names} outside the person's box by {100 * most:.0f} % of its side",
            found,
            most / (1 + most),
        )


def duplicates(
    joints: NDArray[np.floating], pictures: NDArray[np.integer], names: list[str]
) -> Iterator[Finding]:
    """Yield persons who are there before: in the same picture, or joint by joint.

    Args:
        joints: ``(persons, joints, 3)`` image pixels.
        pictures: ``(persons,)``: the same number for the same picture.
        names: ``(persons,)``: what a person is called in a reason.
    """
    exact: dict[bytes, int] = {}
    people: dict[int, list[int]] = defaultdict(list)
    there = joints[..., 2] > 0
    sizes = pose_sizes(joints[..., :2], there)
    for person, picture in enumerate(pictures.tolist()):
        if there[person].sum() < FEWEST_JOINTS:
            continue
        content = np.ascontiguousarray(joints[person], np.float32).tobytes()
        key = hashlib.blake2b(content, digest_size=16).digest()
        first = exact.setdefault(key, person)
        if first != person:
            where = "" if pictures[first] == picture else " in another picture"
            reason = f"has exactly the joints of {names[first]}{where}"
            yield Finding(person, DUPLICATE, reason, (), 1.0)
            continue
        others = np.array(people[picture], np.int64)
        people[picture].append(person)
        if not len(others):
            continue
        both = there[person] & there[others]
        off = joints[person, :, :2] - joints[others, :, :2]
        far = np.hypot(off[..., 0], off[..., 1]) * both
        common = both.sum(axis=1)
        size = np.maximum(np.maximum(sizes[person], sizes[others]), 1e-6)
        apart = far.sum(axis=1) / np.maximum(common, 1) / size
        apart[common < FEWEST_JOINTS] = np.inf
        nearest = int(apart.argmin())
        if apart[nearest] < SAME:
            twin = names[others[nearest]]
            reason = f"looks like {twin} in the same picture, labelled twice"
            yield Finding(person, DUPLICATE, reason, (), 1 - float(apart[nearest]))


def near_duplicates(
    hashes: leak.Hashes,
    held_out: NDArray[np.bool_],
    names: list[str],
) -> Iterator[Finding]:
    """Yield persons of validation and test whose crop, or its mirror, is in training.

    Args:
        hashes: ``(persons, 4)`` fingerprints; all bits 0 where a crop is flat.
        held_out: ``(persons,)``: who is in validation or test.
        names: ``(persons,)``: what a person is called in a reason.
    """
    clear = hashes.any(axis=1)
    ours, theirs = np.flatnonzero(held_out & clear), np.flatnonzero(~held_out & clear)
    if not len(ours) or not len(theirs):
        return
    training = hashes[theirs]
    plain, index = leak.nearest(hashes[ours], training)
    turned, turned_index = leak.nearest(leak.mirrored(hashes[ours]), training)
    distance = np.minimum(plain, turned)
    for row in np.flatnonzero(distance <= leak.NEAR).tolist():
        mirror = bool(turned[row] < plain[row])
        twin = int(theirs[turned_index[row] if mirror else index[row]])
        what = "the mirror image of the crop of" if mirror else "the crop of"
        yield Finding(
            int(ours[row]),
            NEAR_DUPLICATE,
            f"is nearly {what} {names[twin]}, which is trained on "
            f"({distance[row]} of 256 bits differ)",
            (),
            1 - float(distance[row]) / (leak.ROWS * leak.COLUMNS),
        )
