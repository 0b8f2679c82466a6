"""Which labels can be used, and the report on them."""

import hashlib
import os
import pickle
import stat
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kpose.crop_policy import DETECTOR, GROUND_TRUTH, best_detection, crop_boxes
from kpose.errors import InputError
from kpose.geometry import Box, SquareCrop, person_box
from kpose.joints import Skeleton
from kpose.records import REMOVED, BadRecord, ImageRef, PersonRecord

MAX_EXAMPLES = 20
"""So many skipped persons are named per source and reason."""

TOO_FAR = 1.0
"""A joint more than this many crop sides outside its crop gets weight 0
(docs/paper-readings.md, reading 6)."""

JOINT_TOO_FAR = "joint_too_far"
"""What such a joint is counted as."""

TOO_LARGE = "box_too_large"
"""Why a person is skipped whose crop leaves the picture by more than the picture."""

OUTSIDE = "box_outside_image"
"""Why a person whose crop has no pixel of the picture is skipped."""

Advance = Callable[[int], None]
"""Called with the number of labels done since the last call; adds up to all labels."""


class Source(NamedTuple):
    """The records of one data set, and under which licence they are.

    ``records`` are taken as they come, each time from the first on; the caller chooses
    the splits. A ``BadRecord`` is skipped and counted.
    """

    name: str
    records: Iterable[PersonRecord | BadRecord]
    licence: str


class Placed(NamedTuple):
    """A person in its crop.

    ``joints`` is ``(joints, 3)`` float32: x and y in crop units of ``square``, 1 where
    annotated, else 0, 0, 0; ``too_far`` of them were annotated and left out. ``box`` is
    what the crop is cut around, ``iou`` that of the best detection, None where no
    detector was asked.
    """

    square: SquareCrop
    joints: NDArray[np.float32]
    too_far: int
    box: str = GROUND_TRUTH
    iou: float | None = None


@dataclass
class Tally:
    """What became of the labels of one source."""

    licence: str
    labels: int = 0
    head_rules: set[str] = field(default_factory=set)
    missing: set[int] = field(default_factory=set)
    """``picture_key`` of the pictures that are not there."""
    skipped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def skip(self, reason: str, name: str) -> None:
        """Count a person that cannot be used."""
        self.skipped[reason] += 1
        self.note(reason, name)

    def note(self, reason: str, name: str) -> None:
        """Keep the id of a person as an example of ``reason``."""
        if len(self.examples[reason]) < MAX_EXAMPLES:
            printable = name.encode(errors="backslashreplace").decode()
            self.examples[reason].append(printable)


def screen(
    sources: Sequence[Source], skeleton: Skeleton, strict: bool
) -> tuple[list[PersonRecord], dict[str, Tally]]:
    """Return the records that labels and file names allow, and the count of the rest.

    Raises:
        InputError: If a record has another number of joints, or is bad and ``strict``.
    """
    tallies: dict[str, Tally] = {}
    return [r for r, _ in usable(sources, skeleton, strict, tallies)], tallies


def usable(
    sources: Sequence[Source],
    skeleton: Skeleton,
    strict: bool,
    tallies: dict[str, Tally],
    good: Callable[[PersonRecord], None] = lambda record: None,
) -> Iterator[tuple[PersonRecord, int]]:
    """Yield the records that labels and file names allow; keep none of them.

    Args:
        sources: The data sets, read once.
        skeleton: The joints that the records must have.
        strict: Make the first bad record an error.
        tallies: By source; filled on the way.
        good: Called with every record whose labels are in order, also where the
            picture is not there.

    Yields:
        The record and the size of its picture in bytes.

    Raises:
        InputError: If a record has another number of joints, or is bad and ``strict``.
    """
    # Hashes of 64 bits instead of texts: half a million labels fit in memory, and two
    # of them collide once in a hundred million times.
    seen: set[int] = set()
    sizes: dict[int, int | None] = {}
    for source in sources:
        for record in source.records:
            tally = tallies.setdefault(record.source, Tally(source.licence))
            tally.labels += 1
            if isinstance(record, BadRecord):
                if strict and record.reason != REMOVED:
                    raise InputError(
                        f"strict: every record must be usable. Received: "
                        f"{record.source} {record.id}: {record.detail}"
                    )
                tally.skip(record.reason, record.id)
                continue
            if len(record.joints) != len(skeleton):
                raise InputError(
                    f"{record.source} {record.id} must have {len(skeleton)} joints. "
                    f"Received: {len(record.joints)}"
                )
            name = hash((record.source, record.id))
            reason = "duplicate_id" if name in seen else record.defect()
            seen.add(name)
            path = hash(record.image.path)
            if path not in sizes:
                sizes[path] = _file_size(record.image.path)
            size = sizes[path]
            if size is None:
                tally.missing.add(picture_key(record.image))
            if reason is not None:
                if strict:
                    raise bad_record(record, reason)
                tally.skip(reason, record.id)
                continue
            good(record)
            if size is None:
                tally.skip("missing_image", record.id)
                continue
            tally.head_rules.add(record.head_rule)
            yield record, size


def picture_key(ref: ImageRef) -> int:
    """Return 64 bits that are the same for the same picture, in every process."""
    text = f"{ref.path}\n{ref.frame}\n{ref.mirrored}".encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def pack(records: Sequence[PersonRecord]) -> bytes:
    """Return records as a few bytes each, for another process or for later."""
    return zlib.compress(pickle.dumps(list(records), pickle.HIGHEST_PROTOCOL), 1)


def unpack(packed: bytes) -> list[PersonRecord]:
    """Return what ``pack`` took. The bytes never come from outside this program."""
    records: list[PersonRecord] = pickle.loads(zlib.decompress(packed))
    return records


def _file_size(path: Path) -> int | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def place(record: PersonRecord) -> Placed | str:
    """Put the crop around a person that ``screen`` let through.

    The box is the set's own where it gives one, else the joints' (section 3.2).

    Returns:
        The crop, or the reason why there is none.
    """
    box = record.box or person_box(record.joints)
    assert box is not None
    square = SquareCrop.around(box)
    joints = square.joints_to_crop(record.joints)
    if record.box is None:
        return Placed(square, joints, 0)
    far = (np.abs(joints[:, :2] - 0.5) > 0.5 + TOO_FAR).any(axis=1)
    joints[far] = 0
    return Placed(square, joints, int(far.sum())) if joints.any() else "no_joints"


def place_in(record: PersonRecord, shape: tuple[int, ...]) -> Placed | str:
    """Return the crop of a person of a decoded picture, or why there is none.

    Args:
        record: The person.
        shape: Of the picture: height, width and channels.
    """
    return settle(record, place(record), shape)


def settle(
    record: PersonRecord, placed: Placed | str, shape: tuple[int, ...]
) -> Placed | str:
    """Hold what ``place`` made against the picture, once its size is known.

    A crop that is wholly outside the picture is refused, and so is the set's own box if
    it ends further outside than the picture is long: the person would be a few pixels.
    Where the set has no box, a joint that far outside would blow up the crop: it is
    left out, and counted with those that are ``TOO_FAR``.
    """
    if isinstance(placed, str):
        return placed
    if is_outside(placed.square, shape):
        return OUTSIDE
    height, width = shape[:2]
    limit = max(height, width)
    x0, y0, x1, y1 = placed.square.box
    blown_up = x0 < -limit or y0 < -limit or x1 > width + limit or y1 > height + limit
    if blown_up and record.box is not None:
        return TOO_LARGE
    if blown_up:
        x, y, annotated = record.joints.T
        far = (x < -limit) | (x > width + limit) | (y < -limit) | (y > height + limit)
        far &= annotated > 0
        if far.any():
            joints = np.where(far[:, None], 0, record.joints).astype(np.float32)
            nearer = replace(record, joints=joints)
            again = nearer.defect() or place_in(nearer, shape)
            if isinstance(again, str):
                return again
            return again._replace(too_far=again.too_far + int(far.sum()))
    return placed


def place_all(
    record: PersonRecord,
    ground_truth: Placed,
    found: Sequence[Box],
    shape: tuple[int, ...],
) -> list[Placed]:
    """Return the one or two crops that Table 1 makes of a person, the detector's first.

    A joint may lie outside the detector's crop, and is not clipped. None is ``TOO_FAR``
    away: a box with an IoU of 0.5 covers half of the joint box's width and height, and
    is as large as what it leaves out.

    Args:
        record: The person.
        ground_truth: What ``place`` made of it.
        found: The boxes of everybody whom the detector sees in the picture.
        shape: Of the decoded picture: height, width and channels.
    """
    reference = person_box(record.joints)
    assert reference is not None
    detection, iou = best_detection(reference, found)
    boxes = crop_boxes(iou)
    crops = []
    if detection is not None and DETECTOR in boxes:
        square = SquareCrop.around(detection)
        if not is_outside(square, shape):
            joints = square.joints_to_crop(record.joints)
            crops.append(Placed(square, joints, 0, DETECTOR, iou))
    if GROUND_TRUTH in boxes or not crops:
        crops.append(ground_truth._replace(iou=iou))
    return crops


def is_outside(square: SquareCrop, shape: tuple[int, ...]) -> bool:
    """Return whether no pixel of a picture of ``shape`` is in the square."""
    x0, y0, x1, y1 = square.box
    return x0 >= shape[1] or y0 >= shape[0] or x1 <= 0 or y1 <= 0


def bad_record(record: PersonRecord, reason: str) -> InputError:
    """Return the error that ``strict`` makes of a record."""
    return InputError(
        f"strict: every record must be usable. Received: {record.source} {record.id} "
        f"({record.image.path}): {reason}"
    )


def require_usable(persons: int, tallies: dict[str, Tally]) -> None:
    """Raise an InputError with the counts where no person is left."""
    if not persons:
        labels = sum(tally.labels for tally in tallies.values())
        skipped = sum((tally.skipped for tally in tallies.values()), Counter[str]())
        reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(skipped.items()))
        raise InputError(
            f"expected at least one usable person. Received: {labels} labels"
            + (f" ({reasons})" if reasons else "")
        )


def joint_counts(joints: NDArray[np.float32], skeleton: Skeleton) -> dict[str, int]:
    """Return by name how many of the ``(persons, joints, 3)`` joints are annotated."""
    counts = (joints[..., 2] > 0).sum(axis=0).tolist()
    return dict(zip(skeleton.names, counts, strict=True))
