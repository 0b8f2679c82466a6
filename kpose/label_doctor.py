"""Likely wrong labels: what ``kpose prepare --check --doctor`` writes.

Networks look at every person, ``mistakes`` judges how well the labels agree with them,
and ``label_rules`` finds what needs no network. Suspects come in two lists. *Judged*
ones are the most likely wrong by the networks, at most ``budget`` of the persons. Those
*by rule* are counted apart, at most as many of each kind, so that a set full of
duplicates does not eat the budget.
"""

import csv
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kpose import (
    __version__,
    doctor_sheet,
    images,
    label_rules,
    leak,
    mistakes,
    peers,
)
from kpose.errors import InputError
from kpose.files import atomic_folder, write_json
from kpose.gather import Labels, gather
from kpose.geometry import SquareCrop
from kpose.images import Image
from kpose.joints import BODY_13, Skeleton
from kpose.label_rules import Finding
from kpose.mistakes import Answers, Verdict
from kpose.records import ImageRef, PersonRecord
from kpose.runtime import Network, predict_both
from kpose.screening import (
    Advance,
    Placed,
    Source,
    bad_record,
    picture_key,
    place_in,
    require_usable,
    unpack,
)

SCALES = (1.0, 1.15)
"""Crops that a network is asked for are these times the label's square."""

UPRIGHT = 1.3
"""One more crop, this many times the square, is turned so that the torso is upright."""

BATCH = 32
"""Persons whose crops are in memory at a time."""

CHUNK = 512
"""Labels that are unpacked at a time."""

WORST = 24
"""So many suspects are drawn."""

FINGERPRINTED = 128
"""Side of the crop that is compared between splits, pixels (``leak.NEAR``)."""

SWAP, JOINT = "swap", "joint"
"""Kinds of judged suspects."""

CLEAR = 0.5
"""Joints are named where they are at least this likely wrong, the likeliest always."""

CLEARLY = 0.25
"""A part that would fit better by this many torso lengths, if its sides were swapped,
is called swapped, whatever made the person a suspect."""

MOST_NAMED = 3
"""At most so many joints of a judged suspect are named."""

CSV, SHEET, SUMMARY, FRAMES = "suspects.csv", "worst.png", "doctor.json", "frames"
"""Files and the folder in ``out``."""

PARTS = {"shoulder": "arms", "hip": "legs"}
"""What ``mistakes.parts`` are called, by the joint that all hangs from."""

LEARNED = (
    "classifiers learned from mistakes planted into these labels, "
    f"{mistakes.FOLDS}-fold: nobody was judged by one that had seen them"
)
RULE = (
    f"fewer than {mistakes.FEWEST} persons, too few to learn from: ranked by the "
    "distance between label and network relative to how sure the network is"
)

WriteTools = Callable[
    [Path, Sequence[tuple[PersonRecord, tuple[int, int], str, float]], Path], None
]
"""Writes the files of labelling tools: ``(folder, suspects, root)``. A suspect is the
record, width and height of its picture, reason and score; all pictures are in ``root``.
``kpose_datasets.correction_files.write`` is one."""


@dataclass(frozen=True)
class Suspect:
    """A label that is likely wrong.

    Args:
        source: Of the record.
        id: Of the record.
        picture: Path of the picture or video.
        frame: Index of the frame in a video, else None.
        split: Of the record.
        kind: One word: ``swap``, ``joint`` (judged); ``limb``, ``outside_box``,
            ``duplicate``, ``near_duplicate`` (by rule).
        reason: One line for a person.
        joints: Names of the joints that it is about.
        score: 0 to 1. Judged: how likely the label is wrong, if mistakes were as
            frequent as ``mistakes.EXPECTED`` says. By rule: an order within a kind.
    """

    source: str
    id: str
    picture: str
    frame: int | None
    split: str
    kind: str
    reason: str
    joints: tuple[str, ...]
    score: float


def examine(
    sources: Sequence[Source],
    out: Path,
    *,
    skeleton: Skeleton = BODY_13,
    models: Sequence[str | Network],
    budget: float = 0.05,
    seed: int = 0,
    strict: bool = False,
    started: Callable[[int], None] | None = None,
    progress: Advance | None = None,
    write_tools: WriteTools | None = None,
) -> dict[str, Any]:
    """Find the labels that are likely wrong and write them into ``out``.

    Of every person only numbers are kept, no pixels: some 500 bytes, and as much again
    for each network. Users' files are not changed.

    Args:
        sources: The data sets.
        out: New or an empty folder; appears whole or not at all. It gets
            ``suspects.csv`` (all of them, with numbers), ``worst.png`` (24 of them
            drawn), ``doctor.json`` (how it was done), ``frames/`` (pictures of suspects
            that are frames of a video or mirrored) and what ``write_tools`` writes.
        skeleton: The joints of records and networks.
        models: What ``peers.open`` takes, or networks with a ``size``.
        budget: Share of the persons that are judged suspects, over 0 to 1.
        seed: Decides which mistakes are planted to learn from.
        strict: Make the first bad record an error.
        started: Called once, with the number of labels, when all are read.
        progress: Called with the number of labels done since its last call.
        write_tools: Writes the files that labelling tools open.

    Returns:
        What ``doctor.json`` holds, and ``suspects``: all of them as dicts of
        ``Suspect``, judged ones first, the likeliest first in each kind.

    Raises:
        InputError: If an argument cannot work, no label can be used, ``out`` has
            content, or a record is bad and ``strict``.
    """
    if not 0 < budget <= 1:
        raise InputError(f"budget must be over 0, to 1. Received: {budget}")
    networks = _networks(models, skeleton)
    with atomic_folder(out) as folder:
        splits: set[str] = set()
        read = gather(
            sources, skeleton, strict, CHUNK, each=lambda r: splits.add(r.split)
        )
        if started is not None:
            started(read.labels)
        advance = progress or (lambda labels: None)
        advance(read.labels - read.records)
        hashed = "train" in splits and len(splits) > 1
        seen = _Seen(len(networks))
        for batch in _ahead(_batches(read, networks, skeleton, hashed, strict)):
            _ask(batch, networks, seen)
            for reason, record in batch.skipped:
                read.tallies[record.source].skip(reason, record.id)
            advance(len(batch.people) + len(batch.skipped))
        require_usable(len(seen), read.tallies)
        joints, answers = seen.crop_joints(), seen.answers()
        verdict = mistakes.judge(joints, answers, skeleton, seed)
        places = mistakes.consensus(answers)
        most = max(1, round(budget * len(seen)))
        judged = _judged(verdict, joints, places, len(networks), skeleton, most)
        findings = _merge(judged, _by_rule(seen, skeleton), most)
        records = _records(read, [seen.where[one.person] for one in findings])
        suspects = [
            _suspect(*pair, skeleton) for pair in zip(findings, records, strict=True)
        ]
        _write_csv(folder / CSV, suspects, findings, verdict, skeleton)
        _write_sheet(
            folder / SHEET, suspects, findings, records, seen, places, skeleton
        )
        shown = _save_frames(records, folder, out.resolve())
        root = _common_folder(shown)
        warnings = _trained_on(networks, list(read.tallies))
        if write_tools is not None and skeleton.names == BODY_13.names:
            sizes = [seen.sizes[one.person] for one in findings]
            rows = zip(shown, sizes, suspects, strict=True)
            people = [(record, size, s.reason, s.score) for record, size, s in rows]
            write_tools(folder, people, root)
        elif write_tools is not None:
            warnings.append(
                "no files for labelling tools: they are for the joints "
                + ", ".join(BODY_13.names)
            )
        summary = {
            "kpose": __version__,
            "models": [name for name, _ in networks],
            "warnings": warnings,
            "seed": seed,
            "budget": budget,
            **_counts(read, len(seen)),
            "learned": verdict.learned,
            "how": LEARNED if verdict.learned else RULE,
            "judged": len(judged),
            "kinds": dict(Counter(suspect.kind for suspect in suspects)),
            "picture_folder": str(root),
            "files": sorted({SUMMARY, *(path.name for path in folder.iterdir())}),
        }
        write_json(folder / SUMMARY, summary)
    return {**summary, "suspects": [asdict(suspect) for suspect in suspects]}


def _counts(read: Labels, persons: int) -> dict[str, Any]:
    skipped = sum((tally.skipped for tally in read.tallies.values()), Counter[str]())
    return {
        "sources": list(read.tallies),
        "labels": read.labels,
        "persons": persons,
        "skipped": dict(skipped),
    }


def _write_sheet(
    path: Path,
    suspects: Sequence[Suspect],
    findings: Sequence[Finding],
    records: Sequence[PersonRecord],
    seen: "_Seen",
    places: NDArray[np.float32],
    skeleton: Skeleton,
) -> None:
    """Draw the first ``WORST`` suspects."""
    tiles = []
    rows = list(zip(suspects, findings, records, strict=True))[:WORST]
    for number, (suspect, finding, record) in enumerate(rows, start=1):
        tiles.append(
            doctor_sheet.tile(
                images.read(record.image),
                seen.square(finding.person),
                record.joints,
                places[finding.person],
                skeleton,
                finding.joints,
                f"{number}  {record.source} {record.id}",
                f"{suspect.score:.2f}",
                suspect.reason,
            )
        )
    doctor_sheet.write(path, tiles)


def _suspect(finding: Finding, record: PersonRecord, skeleton: Skeleton) -> Suspect:
    return Suspect(
        source=record.source,
        id=record.id,
        picture=str(record.image.path),
        frame=record.image.frame,
        split=record.split,
        kind=finding.kind,
        reason=finding.reason,
        joints=tuple(skeleton.names[at] for at in finding.joints),
        score=round(finding.score, 6),
    )


@dataclass(eq=False)
class _Person:
    """A record on its way to the networks."""

    record: PersonRecord
    where: tuple[int, int]
    square: SquareCrop
    size: tuple[int, int]
    fingerprint: leak.Hashes
    crops: list[list[tuple[Image, NDArray[np.float64]]]]
    """By network: each crop, and the ``(2, 3)`` map from its units to the square's."""


@dataclass(eq=False)
class _Batch:
    """Persons whose crops are cut, and those of whom there are none."""

    people: list[_Person] = field(default_factory=list)
    skipped: list[tuple[str, PersonRecord]] = field(default_factory=list)


class _Seen:
    """What is kept of every person: no pixels.

    Args:
        networks: How many are asked.
    """

    def __init__(self, networks: int) -> None:
        self.where: list[tuple[int, int]] = []
        self.names: list[str] = []
        self.splits: list[str] = []
        self.pictures: list[int] = []
        self.sizes: list[tuple[int, int]] = []
        self._joints: list[NDArray[np.float32]] = []
        self._squares: list[NDArray[np.float64]] = []
        self._boxes: list[NDArray[np.float64]] = []
        self._hashes: list[leak.Hashes] = []
        self._places: list[list[NDArray[np.float16]]] = [[] for _ in range(networks)]
        self._confidence: list[list[NDArray[np.float16]]] = [
            [] for _ in range(networks)
        ]

    def __len__(self) -> int:
        """Return the number of persons."""
        return len(self.where)

    def add(self, people: Sequence[_Person]) -> None:
        """Keep the numbers of some persons."""
        for person in people:
            record = person.record
            self.where.append(person.where)
            self.names.append(f"{record.source} {record.id}")
            self.splits.append(record.split)
            self.pictures.append(picture_key(record.image))
            self.sizes.append(person.size)
        boxes = [person.record.box or (np.nan,) * 4 for person in people]
        self._joints.append(np.stack([person.record.joints for person in people]))
        self._squares.append(np.array([person.square for person in people]))
        self._boxes.append(np.array(boxes, np.float64))
        self._hashes.append(np.stack([person.fingerprint for person in people]))

    def answer(
        self, network: int, places: NDArray[Any], confidence: NDArray[Any]
    ) -> None:
        """Keep what a network says of some persons, ``(persons, passes, joints, ...)``.

        Half precision is a thousandth of a crop here.
        """
        self._places[network].append(np.clip(places, -9, 9).astype(np.float16))
        self._confidence[network].append(confidence.astype(np.float16))

    def answers(self) -> list[Answers]:
        """Return what each network says."""
        rows = zip(self._places, self._confidence, strict=True)
        return [Answers(np.concatenate(p), np.concatenate(c)) for p, c in rows]

    def joints(self) -> NDArray[np.float32]:
        """Return ``(persons, joints, 3)`` image pixels."""
        return np.concatenate(self._joints)

    def square(self, person: int) -> SquareCrop:
        """Return the crop of a person."""
        return SquareCrop(*self.squares()[person].tolist())

    def squares(self) -> NDArray[np.float64]:
        """Return ``(persons, 3)``: left and top edge and side, image pixels."""
        return np.concatenate(self._squares)

    def boxes(self) -> NDArray[np.float64]:
        """Return ``(persons, 4)`` edges, NaN where a set has no boxes."""
        return np.concatenate(self._boxes)

    def hashes(self) -> leak.Hashes:
        """Return ``(persons, 4)`` fingerprints."""
        return np.concatenate(self._hashes)

    def crop_joints(self) -> NDArray[np.float32]:
        """Return ``(persons, joints, 3)`` in units of each person's square."""
        joints, squares = self.joints(), self.squares()
        places = (joints[..., :2] + 0.5 - squares[:, None, :2]) / squares[:, None, 2:]
        there = joints[..., 2:] > 0
        return np.concatenate([np.where(there, places, 0), there], -1).astype(
            np.float32
        )


def _networks(
    models: Sequence[str | Network], skeleton: Skeleton
) -> list[tuple[str, Any]]:
    """Return name and network of each model."""
    if not models:
        raise InputError("expected at least one model that looks at the labels")
    networks = []
    for model in models:
        network: Network = peers.open(model) if isinstance(model, str) else model
        if network.skeleton.names != skeleton.names:
            raise InputError(
                "a network must have the joints of the labels "
                f"({', '.join(skeleton.names)}). "
                f"Received: {model} with {', '.join(network.skeleton.names)}"
            )
        name = model if isinstance(model, str) else type(model).__name__
        networks.append((name, network))
    return networks


def _batches(
    read: Labels,
    networks: Sequence[tuple[str, Any]],
    skeleton: Skeleton,
    hashed: bool,
    strict: bool,
) -> Iterator[_Batch]:
    """Yield all persons with their crops, a few at a time."""
    last: ImageRef | None = None
    image: Image | InputError | None = None
    for chunk, packed in enumerate(read.chunks):
        batch = _Batch()
        for row, record in enumerate(unpack(packed)):
            if last != record.image or image is None:
                last, image = record.image, images.try_read(record.image)
            placed: Placed | str = "unreadable_image"
            if not isinstance(image, InputError):
                placed = place_in(record, image.shape)
            if isinstance(placed, str) or isinstance(image, InputError):
                if strict:
                    raise bad_record(record, str(placed))
                batch.skipped.append((str(placed), record))
                continue
            batch.people.append(
                _cut(record, (chunk, row), placed, image, networks, skeleton, hashed)
            )
            if len(batch.people) == BATCH:
                yield batch
                batch = _Batch()
        yield batch


def _cut(
    record: PersonRecord,
    where: tuple[int, int],
    placed: Placed,
    image: Image,
    networks: Sequence[tuple[str, Any]],
    skeleton: Skeleton,
    hashed: bool,
) -> _Person:
    """Cut the crops of a person."""
    turn = _lean(record.joints, skeleton)
    square, height, width = placed.square, *image.shape[:2]
    return _Person(
        record,
        where,
        square,
        (width, height),
        leak.fingerprint(images.crop(image, square, FINGERPRINTED))
        if hashed
        else np.zeros(4, np.uint64),
        [
            [
                *(_crop(image, square, scale, 0, network.size) for scale in SCALES),
                _crop(image, square, UPRIGHT, turn, network.size),
            ]
            for _, network in networks
        ],
    )


def _lean(joints: NDArray[np.floating], skeleton: Skeleton) -> float:
    """Return by how much the torso leans to the right, radians; 0 where unknown.

    From the middle of the hips to that of the shoulders, so that a swap of left and
    right does not matter.
    """
    ends = [skeleton.groups.get(name, ()) for name in ("shoulder", "hip")]
    if not all(ends) or not all(joints[list(end), 2].all() for end in ends):
        return 0.0
    up = joints[list(ends[0]), :2].mean(axis=0) - joints[list(ends[1]), :2].mean(axis=0)
    return float(np.arctan2(up[0], -up[1]))


def _crop(
    image: Image, square: SquareCrop, scale: float, turn: float, size: int
) -> tuple[Image, NDArray[np.float64]]:
    """Return a crop, turned about its centre, and the map from it to the square.

    What leans by ``turn`` radians to the right is upright in it.
    """
    cos, sin = np.cos(turn), np.sin(turn)
    back = np.array([[cos, -sin], [sin, cos]])
    to_square = np.concatenate(
        [back * scale, 0.5 - back.sum(1, keepdims=True) * scale / 2], 1
    )
    wider = square.expanded(scale)
    if turn == 0:
        return images.crop(image, wider, size), to_square
    stored = images.crop_with_surroundings(image, wider, size)
    centre, middle = (stored.shape[0] - 1) / 2, (size - 1) / 2
    shift = centre - back.sum(axis=1, keepdims=True) * middle
    grid = np.concatenate([back, shift], axis=1)
    return (
        np.asarray(cv2.warpAffine(stored, grid, (size, size), flags=images.WARP)),
        to_square,
    )


def _ahead(batches: Iterator[_Batch]) -> Iterator[_Batch]:
    """Yield the batches; the next one is made in a thread meanwhile.

    OpenCV decodes and cuts without Python's lock.
    """
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch


def _ask(batch: _Batch, networks: Sequence[tuple[str, Any]], seen: _Seen) -> None:
    """Let all networks look at all crops of a batch."""
    if not batch.people:
        return
    seen.add(batch.people)
    for at, (_, network) in enumerate(networks):
        places, confidence = [], []
        for crops in zip(*(person.crops[at] for person in batch.people), strict=True):
            to_square = np.stack([back for _, back in crops])[:, None]
            for said in predict_both(network, np.stack([crop for crop, _ in crops])):
                xy = said.keypoints[..., None, :]
                places.append((to_square[..., :2] * xy).sum(-1) + to_square[..., 2])
                confidence.append(
                    np.ones(said.keypoints.shape[:2])
                    if said.confidence is None
                    else said.confidence
                )
        seen.answer(at, np.stack(places, axis=1), np.stack(confidence, axis=1))


def _judged(
    verdict: Verdict,
    joints: NDArray[np.float32],
    places: NDArray[np.float32],
    networks: int,
    skeleton: Skeleton,
    most: int,
) -> list[Finding]:
    """Return the persons who are most likely wrong by the networks, worst first."""
    torso = mistakes.torso_lengths(joints, skeleton)
    findings = []
    for person in np.argsort(-verdict.score, kind="stable")[:most].tolist():
        labels, likely = joints[person], verdict.joint[person]
        off = _distances(labels, places[person], float(torso[person]))
        swapped = _swapped_parts(off, labels[:, 2] > 0, skeleton, CLEARLY)
        if verdict.swap[person] >= likely.max() or swapped:
            kind = SWAP
            reason, about = _swap_reason(off, labels[:, 2] > 0, skeleton)
        else:
            kind = JOINT
            order = np.argsort(-likely, kind="stable")[:MOST_NAMED].tolist()
            also = (at for at in order[1:] if likely[at] >= CLEAR)
            about = (order[0], *also)
            reason = _joint_reason(off, about, networks, skeleton)
        score = float(verdict.score[person])
        findings.append(Finding(person, kind, reason, about, score))
    return findings


def _distances(
    labels: NDArray[np.float32], seen: NDArray[np.float32], torso: float
) -> NDArray[np.float64]:
    """Return ``(joints, joints)`` torso lengths from label to where each is seen."""
    steps = labels[:, None, :2] - seen[None]
    return np.asarray(np.hypot(*np.moveaxis(steps, -1, 0)) / max(torso, 1e-6))


def _swapped_parts(
    off: NDArray[np.float64],
    there: NDArray[np.bool_],
    skeleton: Skeleton,
    least: float,
) -> list[tuple[int, ...]]:
    """Return the parts that swapped would fit better, by over ``least`` torso lengths.

    In the mean of their joints; an error over 1 counts as 1.
    """
    rows = np.arange(len(there))
    own, other = (np.minimum(off[rows, to], 1) for to in (rows, list(skeleton.swap)))
    found = []
    for part in mistakes.parts(skeleton):
        at = [joint for joint in part if there[joint]]
        if at and float((own - other)[at].mean()) > least:
            found.append(part)
    return found


def _swap_reason(
    off: NDArray[np.float64], there: NDArray[np.bool_], skeleton: Skeleton
) -> tuple[str, tuple[int, ...]]:
    """Return that the sides of a person look swapped, and which joints that is about.

    Parts are named where the sides of only some of them look swapped.
    """
    parts = mistakes.parts(skeleton) or [tuple(range(len(there)))]
    better = _swapped_parts(off, there, skeleton, 0)
    about = sorted(at for part in better or parts for at in part if there[at])
    text = "left and right look swapped"
    if better and len(better) < len(parts):
        text += f" ({', '.join(_part_name(part, skeleton) for part in better)})"
    return text, tuple(about)


def _part_name(part: Sequence[int], skeleton: Skeleton) -> str:
    """Return "arms", "legs", or the joints of a part."""
    groups = [name for name, at in skeleton.groups.items() if set(at) <= set(part)]
    return PARTS.get(groups[0], ", ".join(groups)) if groups else "a part"


def _joint_reason(
    off: NDArray[np.float64],
    about: Sequence[int],
    networks: int,
    skeleton: Skeleton,
) -> str:
    """Return how far joints are from where the networks see them."""
    texts = []
    for at in about:
        text = f"{skeleton.names[at]} is {min(off[at, at], 99):.1f}"
        partner = skeleton.swap[at]
        if partner != at and off[at, partner] < min(0.3, off[at, at] / 2):
            text += f" (at {skeleton.names[partner]})"
        texts.append(text)
    who = {1: "the network sees", 2: "two networks see"}.get(
        networks, f"{networks} networks see"
    )
    it = "it" if len(about) == 1 else "them"
    return f"{', '.join(texts)} torso lengths from where {who} {it}"


def _by_rule(seen: _Seen, skeleton: Skeleton) -> list[Finding]:
    """Return what the rules say, kind by kind, worst first in each."""
    joints = seen.joints()
    held_out = np.array([split != "train" for split in seen.splits])
    kinds: list[Iterator[Finding]] = [
        label_rules.long_limbs(joints, skeleton),
        label_rules.outside_boxes(joints, seen.boxes(), skeleton),
        label_rules.duplicates(joints, np.array(seen.pictures, np.uint64), seen.names),
        label_rules.near_duplicates(seen.hashes(), held_out, seen.names),
    ]
    return [
        finding
        for kind in kinds
        for finding in sorted(kind, key=lambda one: -one.score)
    ]


def _merge(
    judged: Sequence[Finding], ruled: Sequence[Finding], most: int
) -> list[Finding]:
    """Return every person once: judged ones, then those that only rules found.

    Further reasons join the first. At most ``most`` of each rule.
    """
    merged = {finding.person: finding for finding in judged}
    counts: Counter[str] = Counter()
    for finding in ruled:
        before = merged.get(finding.person)
        if before is not None:
            reason = f"{before.reason}; {finding.reason}"
            about = tuple(dict.fromkeys((*before.joints, *finding.joints)))
            merged[finding.person] = before._replace(reason=reason, joints=about)
        elif counts[finding.kind] < most:
            counts[finding.kind] += 1
            merged[finding.person] = finding
    return list(merged.values())


def _records(read: Labels, where: Sequence[tuple[int, int]]) -> list[PersonRecord]:
    """Return the records at some places of the packed chunks."""
    wanted: dict[int, list[int]] = defaultdict(list)
    for at, (chunk, _) in enumerate(where):
        wanted[chunk].append(at)
    found: dict[int, PersonRecord] = {}
    for chunk, rows in wanted.items():
        records = unpack(read.chunks[chunk])
        found |= {at: records[where[at][1]] for at in rows}
    return [found[at] for at in range(len(where))]


def _save_frames(
    records: Sequence[PersonRecord], folder: Path, out: Path
) -> list[PersonRecord]:
    """Save the pictures that a labelling tool could not show.

    Those are frames of videos and mirrored pictures. Where there are some, or the
    pictures have no folder in common that could be served, all are saved.

    Returns:
        The records, with the saved picture at its place in ``out`` as theirs.
    """
    shown = list(records)
    root = _common_folder(records)
    apart = [r.image.frame is not None or r.image.mirrored for r in records]
    if not any(apart) and root != Path(root.anchor):
        return shown
    saved: dict[ImageRef, Path] = {}
    # In order, since a video is decoded from its start.
    order = sorted(
        range(len(records)),
        key=lambda at: (str(records[at].image.path), records[at].image.frame or 0),
    )
    for at in order:
        ref = records[at].image
        if ref not in saved:
            (folder / FRAMES).mkdir(exist_ok=True)
            if apart[at]:
                name = f"{len(saved):05}.png"
                data = images.encode(images.read(ref), "png", 0)
            else:
                name = f"{len(saved):05}{ref.path.suffix}"
                data = ref.path.read_bytes()
            (folder / FRAMES / name).write_bytes(data)
            saved[ref] = out / FRAMES / name
        shown[at] = replace(shown[at], image=ImageRef(saved[ref]))
    return shown


def _common_folder(records: Sequence[PersonRecord]) -> Path:
    """Return the deepest folder that has the pictures of all records."""
    folders = {str(record.image.path.resolve().parent) for record in records}
    return Path(os.path.commonpath(folders))


def _write_csv(
    path: Path,
    suspects: Sequence[Suspect],
    findings: Sequence[Finding],
    verdict: Verdict,
    skeleton: Skeleton,
) -> None:
    """Write all suspects with the judgement of each joint."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        about = [field.name for field in fields(Suspect)]
        table.writerow([*about, "swap", *(f"{name}_wrong" for name in skeleton.names)])
        for suspect, finding in zip(suspects, findings, strict=True):
            row = asdict(suspect) | {"joints": " ".join(suspect.joints)}
            row["score"] = f"{suspect.score:.4f}"
            judged = [verdict.swap[finding.person], *verdict.joint[finding.person]]
            table.writerow([*row.values(), *(f"{one:.4f}" for one in judged)])


def _trained_on(
    networks: Sequence[tuple[str, Any]], sources: Sequence[str]
) -> list[str]:
    """Return a sentence for each network that learned from these labels."""
    lines = []
    for name, network in networks:
        training = getattr(network, "card", {}).get("training") or {}
        known = {str(row.get("source")) for row in training.get("data") or []}
        if both := sorted(known & set(sources)):
            lines.append(
                f"{name} was trained on labels of {', '.join(both)}, so it may repeat "
                "their mistakes"
            )
    return lines
