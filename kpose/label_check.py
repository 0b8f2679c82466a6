"""What ``kpose prepare --check`` says of labels: read all, write nothing."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpose import images
from kpose.errors import InputError
from kpose.gather import Labels, gather
from kpose.joints import BODY_13, Skeleton
from kpose.records import ImageRef, PersonRecord
from kpose.screening import (
    Advance,
    Source,
    bad_record,
    picture_key,
    place_in,
    require_usable,
    unpack,
)
from kpose.workers import in_order

CHUNK = 512
"""Labels that a process looks at in one go."""

EXAMPLES = 3
"""Rows of each source that are printed."""

MIRROR_PAIR = ("right_shoulder", "left_shoulder")
"""Whose order from left to right tells mirrored pictures."""


def check(
    sources: Sequence[Source],
    skeleton: Skeleton = BODY_13,
    strict: bool = False,
    *,
    workers: int | None = None,
    started: Callable[[int], None] | None = None,
    progress: Advance | None = None,
) -> dict[str, Any]:
    """Read all labels and pictures and report, write nothing.

    Labels whose picture is not there are counted too, so that a set of labels alone can
    be checked.

    Args:
        sources: The data sets.
        skeleton: The joints that the records have.
        strict: Make the first bad record an error.
        workers: Processes; None for one per core.
        started: Called once, with the number of labels, when all are read.
        progress: Called with the number of labels done since its last call.

    Returns:
        ``labels`` (persons in the label files), ``persons`` (usable ones), ``images``
        (their distinct pictures), ``missing_images``, ``skipped`` ({reason: persons};
        with ``persons`` it adds up to ``labels``), ``joints`` ({name: annotated}) and,
        over the usable persons, ``complete_persons`` (all joints annotated),
        ``joints_too_far`` (which ``prepare`` leaves out) and ``joints_outside`` (share
        of annotated joints outside the picture).

        Over all labels in order, with a picture or without: ``label_joints`` ({name:
        annotated}), ``complete_labels``, ``median_torso`` (pixels),
        ``right_shoulder_left`` (share of persons whose right shoulder is left of the
        left one in the picture: over half in pictures that are not mirrored, of people
        who face the camera), ``non_finite`` (share of labels with a NaN or infinity)
        and three ``example_rows``. ``sources`` has all of it by source.

    Raises:
        InputError: If no label is in order, no picture can be used though some are
            there, or a record is bad and ``strict``.
    """
    facts: dict[str, _Facts] = defaultdict(lambda: _Facts(skeleton))
    read = gather(
        sources, skeleton, strict, CHUNK, good=lambda r: facts[r.source].add(r)
    )
    if started is not None:
        started(read.labels)
    advance = progress or (lambda labels: None)
    advance(read.labels - read.records)
    seen: dict[str, _Seen] = defaultdict(lambda: _Seen(len(skeleton)))
    look = partial(_look, joints=len(skeleton), strict=strict)
    for number, found in enumerate(in_order(look, read.chunks, workers)):
        for name, part in found.items():
            seen[name].join(part)
            for reason, person in part.skipped:
                read.tallies[name].skip(reason, person)
        advance(read.counts[number])
    persons = sum(part.persons for part in seen.values())
    if not any(tally.skipped["missing_image"] for tally in read.tallies.values()):
        require_usable(persons, read.tallies)
    if not facts:
        require_usable(0, read.tallies)
    rows = [
        {"name": name, **_report(name, read, seen[name], facts[name], skeleton)}
        for name in read.tallies
    ]
    total = _Seen(len(skeleton))
    everything = _Facts(skeleton)
    for name in read.tallies:
        total.join(seen[name])
        everything.join(facts[name])
    skipped = sum((tally.skipped for tally in read.tallies.values()), Counter[str]())
    return {
        **_counts(total, everything, read.labels, dict(skipped), skeleton),
        "missing_images": sum(row["missing_images"] for row in rows),
        "skipped_examples": {
            name: dict(tally.examples) for name, tally in read.tallies.items()
        },
        "example_rows": everything.examples[:EXAMPLES],
        "sources": rows,
    }


@dataclass
class _Seen:
    """What the pictures of usable persons told.

    Args:
        joints: How many there are.
    """

    joints: int
    persons: int = 0
    complete: int = 0
    outside: int = 0
    too_far: int = 0
    annotated: NDArray[np.int64] = field(init=False)
    pictures: set[int] = field(default_factory=set)
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin with no joint."""
        self.annotated = np.zeros(self.joints, np.int64)

    def join(self, other: "_Seen") -> None:
        """Add what another process saw."""
        self.persons += other.persons
        self.complete += other.complete
        self.outside += other.outside
        self.too_far += other.too_far
        self.annotated += other.annotated
        self.pictures |= other.pictures


class _Facts:
    """What the labels tell without their pictures; in blocks, for little memory."""

    def __init__(self, skeleton: Skeleton) -> None:
        self.skeleton = skeleton
        self.labels = self.complete = 0
        self.annotated = np.zeros(len(skeleton), np.int64)
        self.torsos: list[NDArray[np.float64]] = []
        self.facing: list[NDArray[np.float64]] = []
        self.examples: list[dict[str, Any]] = []
        self._block: list[NDArray[np.float32]] = []

    def add(self, record: PersonRecord) -> None:
        """Take one label."""
        if len(self.examples) < EXAMPLES:
            self.examples.append(_example(record, self.skeleton))
        self._block.append(record.joints)
        if len(self._block) == 4096:
            self.flush()

    def join(self, other: "_Facts") -> None:
        """Take all labels of another source."""
        for facts in (self, other):
            facts.flush()
        self.labels += other.labels
        self.complete += other.complete
        self.annotated += other.annotated
        self.torsos += other.torsos
        self.facing += other.facing
        self.examples += other.examples

    def flush(self) -> None:
        """Count the labels of the block."""
        if not self._block:
            return
        joints = np.stack(self._block)
        self._block = []
        annotated = joints[..., 2] > 0
        self.labels += len(joints)
        self.complete += int(annotated.all(axis=1).sum())
        self.annotated += annotated.sum(axis=0)
        names = self.skeleton.names
        if {"right_shoulder", "left_hip"} <= set(names):
            offset = _between(joints, *self.skeleton.torso)
            self.torsos.append(np.hypot(*offset.T))
        if set(MIRROR_PAIR) <= set(names):
            pair = (names.index(name) for name in MIRROR_PAIR)
            self.facing.append(_between(joints, *pair)[:, 0])


def _between(joints: NDArray[np.float32], a: int, b: int) -> NDArray[np.float64]:
    """Return ``(n, 2)``: from joint a to joint b where both are annotated, pixels."""
    both = (joints[:, a, 2] > 0) & (joints[:, b, 2] > 0)
    chosen = joints[both, :, :2].astype(np.float64)  # float32 would overflow
    return np.asarray(chosen[:, b] - chosen[:, a])


def _look(packed: bytes, joints: int, strict: bool) -> dict[str, _Seen]:
    """Decode the pictures of some persons and place their crops."""
    seen: dict[str, _Seen] = defaultdict(lambda: _Seen(joints))
    last: ImageRef | None = None
    image: images.Image | InputError
    for record in unpack(packed):
        found = seen[record.source]
        if last != record.image:
            last, image = record.image, images.try_read(record.image)
        if isinstance(image, InputError):
            if strict:
                raise bad_record(record, str(image))
            found.skipped.append(("unreadable_image", record.id))
            continue
        found.pictures.add(picture_key(record.image))
        placed = place_in(record, image.shape)
        if isinstance(placed, str):
            if strict:
                raise bad_record(record, placed)
            found.skipped.append((placed, record.id))
            continue
        x, y, annotated = record.joints.T
        inside = (x >= -0.5) & (y >= -0.5)
        inside &= (x < image.shape[1] - 0.5) & (y < image.shape[0] - 0.5)
        found.persons += 1
        found.complete += bool(annotated.all())
        found.outside += int((~inside & (annotated > 0)).sum())
        found.too_far += placed.too_far
        found.annotated += annotated > 0
    return dict(seen)


def _report(
    name: str, read: Labels, seen: _Seen, facts: _Facts, skeleton: Skeleton
) -> dict[str, Any]:
    tally = read.tallies[name]
    facts.flush()
    return {
        **_counts(seen, facts, tally.labels, dict(tally.skipped), skeleton),
        "missing_images": len(tally.missing),
        "licence": tally.licence,
        "example_rows": facts.examples,
    }


def _counts(
    seen: _Seen,
    facts: _Facts,
    labels: int,
    skipped: dict[str, int],
    skeleton: Skeleton,
) -> dict[str, Any]:
    annotated = int(seen.annotated.sum())
    torsos = np.concatenate([np.zeros(0), *facts.torsos])
    facing = np.concatenate([np.zeros(0), *facts.facing])
    return {
        "labels": labels,
        "persons": seen.persons,
        "images": len(seen.pictures),
        "skipped": skipped,
        "joints": dict(zip(skeleton.names, seen.annotated.tolist(), strict=True)),
        "complete_persons": seen.complete,
        "joints_too_far": seen.too_far,
        "joints_outside": round(seen.outside / annotated, 6) if annotated else None,
        "label_joints": dict(
            zip(skeleton.names, facts.annotated.tolist(), strict=True)
        ),
        "complete_labels": facts.complete,
        "median_torso": round(float(np.median(torsos)), 4) if len(torsos) else None,
        "right_shoulder_left": round(float((facing > 0).mean()), 4)
        if len(facing)
        else None,
        "non_finite": round(skipped.get("non_finite_joint", 0) / labels, 6)
        if labels
        else None,
    }


def _example(record: PersonRecord, skeleton: Skeleton) -> dict[str, Any]:
    return {
        "id": record.id,
        "source": record.source,
        "split": record.split,
        "picture": record.image.path.name,
        "joints": {
            name: [round(float(x), 2), round(float(y), 2)] if flag else None
            for name, (x, y, flag) in zip(skeleton.names, record.joints, strict=True)
        },
    }
