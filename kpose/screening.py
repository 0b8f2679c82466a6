"""Which labels can be used, and the report on them."""

import os
import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kpose import images
from kpose.crop_policy import DETECTOR, GROUND_TRUTH, best_detection, crop_boxes
from kpose.errors import InputError
from kpose.geometry import Box, SquareCrop, person_box
from kpose.joints import BODY_13, Skeleton
from kpose.records import ImageRef, PersonRecord

MAX_EXAMPLES = 20
"""So many skipped persons are named per source and reason."""

TOO_FAR = 1.0
"""A joint more than this many crop sides outside its crop gets weight 0
(docs/paper-readings.md, reading 6)."""

OUTSIDE = "box_outside_image"
"""Why a person whose crop has no pixel of the picture is skipped."""

Advance = Callable[[int], None]
"""Called with the number of labels done since the last call; adds up to all labels."""


class Source(NamedTuple):
    """The records of one data set, and under which licence they are.

    ``records`` are taken as they come; the caller chooses the splits.
    """

    name: str
    records: Sequence[PersonRecord]
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
    pictures: dict[ImageRef, int] = field(default_factory=dict)
    """Size of the file, in bytes, of each picture that is used."""
    missing: set[ImageRef] = field(default_factory=set)
    skipped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def skip(self, reason: str, name: str) -> None:
        """Count a person that cannot be used."""
        self.skipped[reason] += 1
        self.note(reason, name)

    def note(self, reason: str, name: str) -> None:
        """Keep the id of a person as an example of ``reason``."""
        if len(self.examples[reason]) < MAX_EXAMPLES:
            self.examples[reason].append(name)


def check(
    sources: Sequence[Source],
    skeleton: Skeleton = BODY_13,
    strict: bool = False,
    progress: Advance | None = None,
) -> dict[str, Any]:
    """Read all labels and pictures and report, write nothing.

    Returns:
        ``labels`` (persons in the label files), ``persons`` (usable ones), ``images``
        (their distinct pictures), ``missing_images``, ``skipped`` ({reason: persons};
        with ``persons`` it adds up to ``labels``), ``joints`` ({name: annotated}), and
        self-checks over the usable persons: ``complete_persons`` (all joints
        annotated), ``joints_too_far`` (joints more than a crop side outside the crop,
        which ``prepare`` leaves out), ``joints_outside`` (share of annotated joints
        outside the picture),
        ``median_torso`` (pixels), ``right_shoulder_left`` (share of persons whose right
        shoulder is left of the left one in the picture: over half in pictures that are
        not mirrored, of people who face the camera) and three ``example_rows``.

    Raises:
        InputError: If no person is usable, or a record is bad and ``strict``.
    """
    records, tallies = screen(sources, skeleton, strict)
    require_usable(len(records), tallies)
    by_picture: dict[ImageRef, list[PersonRecord]] = {}
    for record in records:
        by_picture.setdefault(record.image, []).append(record)
    usable: list[PersonRecord] = []
    outside = too_far = 0
    advance = progress or (lambda labels: None)
    advance(sum(tally.labels for tally in tallies.values()) - len(records))
    for ref, persons in by_picture.items():
        advance(len(persons))
        try:
            shape = images.read(ref).shape
        except InputError as error:
            if strict:
                raise bad_record(persons[0], str(error)) from None
            for record in persons:
                tallies[record.source].skip("unreadable_image", record.id)
            tallies[persons[0].source].pictures.pop(ref)
            continue
        for record in persons:
            placed = place_in(record, shape)
            if isinstance(placed, str):
                if strict:
                    raise bad_record(record, placed)
                tallies[record.source].skip(placed, record.id)
                continue
            usable.append(record)
            too_far += placed.too_far
            x, y, annotated = record.joints.T
            inside = (x >= -0.5) & (y >= -0.5)
            inside &= (x < shape[1] - 0.5) & (y < shape[0] - 0.5)
            outside += int((~inside & (annotated > 0)).sum())
    require_usable(len(usable), tallies)
    joints = np.stack([record.joints for record in usable])
    annotated = joints[..., 2] > 0
    return {
        "labels": sum(tally.labels for tally in tallies.values()),
        "persons": len(usable),
        "images": sum(len(tally.pictures) for tally in tallies.values()),
        "missing_images": sum(len(tally.missing) for tally in tallies.values()),
        "skipped": dict(sum((t.skipped for t in tallies.values()), Counter())),
        "skipped_examples": {name: dict(t.examples) for name, t in tallies.items()},
        "joints": joint_counts(joints, skeleton),
        "complete_persons": int(annotated.all(axis=1).sum()),
        "joints_too_far": too_far,
        "joints_outside": round(outside / int(annotated.sum()), 6),
        **_torso_checks(joints, skeleton),
        "example_rows": [
            {
                "id": record.id,
                "source": record.source,
                "split": record.split,
                "picture": record.image.path.name,
                "joints": {
                    name: [round(float(x), 2), round(float(y), 2)] if flag else None
                    for name, (x, y, flag) in zip(
                        skeleton.names, record.joints, strict=True
                    )
                },
            }
            for record in usable[:3]
        ],
    }


def _torso_checks(
    joints: NDArray[np.float32], skeleton: Skeleton
) -> dict[str, float | None]:
    """Return the mirror test and the median torso, None without the joints for them."""
    checks: dict[str, float | None] = {
        "median_torso": None,
        "right_shoulder_left": None,
    }
    for name, pair in (
        ("median_torso", ("right_shoulder", "left_hip")),
        ("right_shoulder_left", ("right_shoulder", "left_shoulder")),
    ):
        if not set(pair) <= set(skeleton.names):
            continue
        a, b = (joints[:, skeleton.names.index(joint)] for joint in pair)
        both = (a[:, 2] > 0) & (b[:, 2] > 0)
        if both.any():
            offset = (b - a)[both, :2]
            value = (
                np.median(np.hypot(*offset.T))
                if name == "median_torso"
                else (offset[:, 0] > 0).mean()
            )
            checks[name] = round(float(value), 4)
    return checks


def screen(
    sources: Sequence[Source], skeleton: Skeleton, strict: bool
) -> tuple[list[PersonRecord], dict[str, Tally]]:
    """Return the records that labels and file names allow, and the count of the rest.

    Raises:
        InputError: If a record has another number of joints, or is bad and ``strict``.
    """
    usable: list[PersonRecord] = []
    tallies: dict[str, Tally] = {}
    seen: set[tuple[str, str]] = set()
    sizes: dict[Path, int | None] = {}
    for source in sources:
        for record in source.records:
            if len(record.joints) != len(skeleton):
                raise InputError(
                    f"{record.source} {record.id} must have {len(skeleton)} joints. "
                    f"Received: {len(record.joints)}"
                )
            tally = tallies.setdefault(record.source, Tally(source.licence))
            tally.labels += 1
            path = record.image.path
            if path not in sizes:
                sizes[path] = _file_size(path)
            size = sizes[path]
            if size is None:
                tally.skip("missing_image", record.id)
                tally.missing.add(record.image)
                continue
            key = (record.source, record.id)
            reason = "duplicate_id" if key in seen else record.defect()
            seen.add(key)
            if reason is None:
                tally.head_rules.add(record.head_rule)
                tally.pictures[record.image] = size
                usable.append(record)
            elif strict:
                raise bad_record(record, reason)
            else:
                tally.skip(reason, record.id)
    return usable, tallies


def _file_size(path: Path) -> int | None:
    try:
        found = os.stat(path)
    except OSError:
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
    """Do what ``place`` does, and refuse a crop that is wholly outside the picture.

    Args:
        record: The person.
        shape: Of the decoded picture: height, width and channels.
    """
    placed = place(record)
    if isinstance(placed, Placed) and is_outside(placed.square, shape):
        return OUTSIDE
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
