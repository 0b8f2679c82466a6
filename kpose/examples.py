"""Prepared data: person records to crops in TFRecord shards, and back, no TensorFlow.

A prepared folder holds ``shard-00000.tfrecord`` onwards, ``dataset.json`` (what is in
it, for people and programs), ``index.npz`` (one row per crop), ``preview.png`` and,
where a detector was asked, ``crops.png``.
"""

import contextlib
import fcntl
import hashlib
import json
import re
import shutil
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpose import __version__, crop_sheet, detection, drawing, images, leak
from kpose.crop_policy import DETECTOR
from kpose.errors import InputError
from kpose.files import atomic_file, read_json, write_json
from kpose.gather import Labels, gather
from kpose.geometry import Box
from kpose.joints import BODY_13, Skeleton
from kpose.records import ImageRef, PersonRecord
from kpose.screening import (
    JOINT_TOO_FAR,
    MAX_EXAMPLES,
    Advance,
    Placed,
    Source,
    bad_record,
    joint_counts,
    picture_key,
    place,
    place_all,
    place_in,
    require_usable,
    settle,
    unpack,
)
from kpose.shards import (
    HEADER,
    OVERHEAD,
    PreparedData,
    Sample,
    first_crops,
    frame,
    leak_groups,
    load_arrays,
    parse,
    read_shard,
    serialize,
)
from kpose.splits import LEFT_OUT, VALIDATION, Columns, Division, hold_out, shared
from kpose.workers import in_order

__all__ = [
    "PreparedData",
    "Sample",
    "Source",
    "parse",
    "prepare",
    "read_shard",
]

OFFICIAL = Division()
"""The splits stay as the data sets have them."""

PREVIEW_PERSONS = 32

SHEET_PERSONS = 4
"""So many persons of each row of Table 1 are in ``crops.png``."""

BUFFER = 2**20
"""Bytes that are written to a shard at a time."""


@dataclass(frozen=True)
class _Asked:
    """The detector that every process opens for itself.

    Args:
        name: As ``detection.open`` takes it.
        identity: What decides its answers.
        min_score: The score that counts as a person.
    """

    name: str
    identity: str
    min_score: float

    def find(self, record: PersonRecord, image: images.Image) -> list[Box]:
        """Return the boxes of the people that it sees in the picture of ``record``.

        Raises:
            InputError: If the file of the detector was changed.
        """
        detector, ref = _detector(self.name, self.identity), record.image
        found = detector.detect(image, str(ref.path), ref.frame or 0)
        return [box for box, _ in detection.confident(found, self.min_score)]


@cache
def _detector(name: str, identity: str) -> detection.Detector:
    """Open a detector once per process, for one thread: the processes are many."""
    detector = detection.cached(detection.open(name, threads=1))
    if detector.identity != identity:
        raise InputError(f"{name} must not change while it is used, but it did")
    return detector


@dataclass(frozen=True)
class _Settings:
    """What decides the bytes of a shard, besides its records."""

    skeleton: Skeleton
    size: int
    codec: str
    quality: int | None
    shard_records: int
    strict: bool
    asked: _Asked | None

    def to_json(self) -> dict[str, Any]:
        """Return what dataset.json and prepare.json say about it."""
        return {
            "skeleton": self.skeleton.to_json(),
            "size": self.size,
            "codec": self.codec,
            "quality": self.quality,
            "shard_records": self.shard_records,
            "strict": self.strict,
            # Not the name: it may be a path of this machine.
            "detector": self.asked
            and {"min_score": self.asked.min_score, "identity": self.asked.identity},
        }


def prepare(
    sources: Sequence[Source],
    out: Path,
    *,
    skeleton: Skeleton = BODY_13,
    size: int = images.CROP_SIZE,
    codec: str = "jpeg",
    quality: int = 95,
    shard_records: int = 512,
    detector: str | None = None,
    min_score: float | None = None,
    workers: int | None = None,
    division: Division = OFFICIAL,
    strict: bool = False,
    started: Callable[[int], None] | None = None,
    progress: Advance | None = None,
) -> dict[str, Any]:
    """Cut the crops of all records and write them to the folder ``out``.

    The bytes depend on records and settings alone, not on the number of workers. A
    killed call is continued by the next one of the same configuration; finished shards
    are kept. A finished ``out`` of the same configuration is left as it is.

    Args:
        sources: The data sets; persons keep this order.
        out: New, empty, or an unfinished or finished output of the same configuration.
        skeleton: The joints that the records have.
        size: Side of the network's crop in pixels, a multiple of 4; 1.5 times as wide
            a square is stored.
        codec: ``"jpeg"`` or ``"png"`` (lossless).
        quality: 1 to 100 for JPEG.
        shard_records: Persons per shard.
        detector: Name of a detector, as ``detection.open`` takes it: its boxes decide
            the crops, Table 1. None: all crops are cut around the ground truth.
        min_score: Score from which a detection counts; None is the detector's own
            threshold.
        workers: Processes; None for one per core. One runs in this process.
        division: Who is held out; by default the official splits stay.
        strict: Make the first bad record an error. An absent picture is not a bad
            record: label files of good sets name pictures that are not published.
        started: Called once, with the number of labels, when all are read.
        progress: Called with the number of labels done since its last call.

    Returns:
        The content of ``dataset.json``.

    Raises:
        InputError: If ``out`` holds something else, no person is usable, the persons
            cannot be divided so, or a record is bad and ``strict``; nothing is left in
            ``out`` then. If there is no such detector.
        ResourceError: If a worker process was killed.
    """
    if size % 4 or size < 4:
        raise InputError(f"a crop size must be a multiple of 4. Received: {size}")
    if codec not in ("jpeg", "png"):
        raise InputError(f"codec must be jpeg or png. Received: {codec!r}")
    if not 1 <= quality <= 100:
        raise InputError(f"quality must be 1 to 100. Received: {quality}")
    settings = _Settings(
        skeleton=skeleton,
        size=size,
        codec=codec,
        quality=quality if codec == "jpeg" else None,
        shard_records=shard_records,
        strict=strict,
        asked=_ask(detector, min_score),
    )
    ledger = _Ledger()
    if division.kind == "official":
        read = gather(sources, skeleton, strict, shard_records)
    else:
        read = gather(
            sources,
            skeleton,
            strict,
            shard_records,
            each=ledger.use,
            good=ledger.enter,
        )
    require_usable(read.records, read.tallies)
    splits = ledger.divide(division) if division.kind != "official" else None
    request = _request(read, settings, division, splits)
    summary = _finished(out, request, settings)
    if summary is not None:
        return summary
    if started is not None:
        started(read.labels)
    with _claim(out, request, settings):
        try:
            return _prepare(
                read, out, settings, division, splits, request, workers, progress
            )
        except InputError:
            shutil.rmtree(out)  # ours by the claim; a refused call leaves nothing
            raise


def _ask(name: str | None, min_score: float | None) -> _Asked | None:
    if name is None:
        if min_score is not None:
            raise InputError("a lowest score needs a detector")
        return None
    opened = detection.open(name, threads=1)
    score = opened.threshold if min_score is None else min_score
    return _Asked(name, opened.identity, score)


def _prepare(
    read: Labels,
    out: Path,
    settings: _Settings,
    division: Division,
    splits: NDArray[np.str_] | None,
    request: str,
    workers: int | None,
    progress: Advance | None,
) -> dict[str, Any]:
    shards = [out / f"shard-{number:05}.tfrecord" for number in range(len(read.chunks))]
    todo = [
        number for number, shard in enumerate(shards) if not _shard_is_finished(shard)
    ]
    advance = progress or (lambda labels: None)
    advance(read.labels - sum(read.counts[number] for number in todo))
    ends = np.cumsum(read.counts)
    divided = [None] * len(shards) if splits is None else np.split(splits, ends[:-1])
    jobs = [(shards[n], read.chunks[n], divided[n]) for n in todo]
    for done in in_order(partial(_make_shard, settings=settings), jobs, workers):
        advance(done)
    index, files, skipped = _index(shards)
    for source, reason, name in skipped:
        if reason == JOINT_TOO_FAR:
            read.tallies[source].note(reason, name)
        else:
            read.tallies[source].skip(reason, name)
    require_usable(len(index["ids"]), read.tallies)
    summary = _summary(index, files, skipped, read, settings, division, request)
    names = ["ids", "source", "group", "recording", "subject", "clothing", "split"]
    names += ["annotated", "picture"]
    names += ["shard", "offset", "length", "head_size", "area", "bits"]
    names += ["box", "iou"] if settings.asked else []
    with atomic_file(out / "index.npz") as beside:
        np.savez(beside, allow_pickle=False, **{name: index[name] for name in names})
    _write_preview(out, shards, index, settings)
    if settings.asked is not None:
        _write_crop_sheet(out, read.chunks, index, settings, settings.asked)
    write_json(out / "dataset.json", summary)
    _remove_scaffold(out)
    return summary


def _request(
    read: Labels,
    settings: _Settings,
    division: Division,
    splits: NDArray[np.str_] | None,
) -> str:
    """Return a digest of everything that decides the output's bytes."""
    digest = hashlib.sha256(__version__.encode())
    digest.update(json.dumps(settings.to_json()).encode())
    if splits is not None:
        asked = [division.kind, division.by, division.validation, division.seed]
        digest.update(json.dumps([asked, splits.tolist()]).encode())
    for name, tally in read.tallies.items():
        counts = [name, tally.licence, tally.labels, sorted(tally.skipped.items())]
        digest.update(json.dumps(counts).encode())
    digest.update(read.digest)
    return digest.hexdigest()


class _Ledger:
    """What a division must know of all persons, collected while they are read."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, ...]] = []
        self.official: list[str] = []
        self.full: list[bool] = []
        self.usable: list[bool] = []

    def enter(self, record: PersonRecord) -> None:
        """Take a person whose labels are in order."""
        ref = record.image
        image = str(ref.path) if ref.frame is None else f"{ref.path}:{ref.frame}"
        row = (record.id, record.source, record.group, image)
        self.rows.append((*row, record.recording, record.subject, record.clothing))
        self.official.append(record.split)
        self.full.append(bool((record.joints[:, 2] > 0).all()))
        self.usable.append(False)

    def use(self, record: PersonRecord) -> None:
        """Note that the picture of the last person is there."""
        self.usable[-1] = True

    def divide(self, division: Division) -> NDArray[np.str_]:
        """Return ``(usable persons,)`` splits."""
        columns = Columns(*(np.array(c, np.str_) for c in zip(*self.rows, strict=True)))
        return division.assign(
            columns,
            np.array(self.official, np.str_),
            np.array(self.full),
            np.array(self.usable),
        )


def _finished(out: Path, request: str, settings: _Settings) -> dict[str, Any] | None:
    """Return the summary in ``out`` where it is finished, None where it is to be made.

    Raises:
        InputError: If ``out`` holds anything else than output of this request.
    """
    if not out.exists():
        return None
    if not out.is_dir():
        raise InputError(f"{out} must be a folder or not exist, but is a file")
    for name in ("dataset.json", "prepare.json"):
        if (out / name).is_file():
            found = read_json(out / name)
            if not isinstance(found, dict) or found.get("request") != request:
                raise InputError(_difference(out / name, found, settings))
            if name == "prepare.json":
                return None
            PreparedData.open(out)
            _remove_scaffold(out)
            return found
    if any(out.iterdir()):
        raise InputError(f"{out} must be new or an empty folder, but it has content")
    return None


def _difference(file: Path, found: Any, settings: _Settings) -> str:
    """Say why the output beside ``file`` cannot be continued."""
    expected = (
        f"{file.parent} must be new or empty, or hold output of the same records and "
        f"settings, but its {file.name} "
    )
    if not isinstance(found, dict) or "request" not in found:
        return expected + "is no file of `kpose prepare`"
    for name, value in settings.to_json().items():
        if found.get(name) != value:
            return expected + f"has {name} {found.get(name)!r:.60}, not {value!r:.60}"
    return expected + "was made of other records or by another version"


@contextlib.contextmanager
def _claim(out: Path, request: str, settings: _Settings) -> Iterator[None]:
    """Mark ``out`` as unfinished output of ``request`` and keep other processes out."""
    out.mkdir(parents=True, exist_ok=True)
    marker = out / "prepare.json"
    if not marker.exists():
        write_json(
            marker,
            {"kpose": __version__, **settings.to_json(), "request": request},
        )
    with marker.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"{out} must have one writer, but another process prepares into it"
            ) from None
        for file in out.iterdir():
            if re.match(r"\.\d+\.", file.name):  # a killed process's atomic_file
                file.unlink()
        yield


def _remove_scaffold(out: Path) -> None:
    for file in [*out.glob("shard-*.rows.npz"), out / "prepare.json"]:
        file.unlink(missing_ok=True)


def _make_shard(
    job: tuple[Path, bytes, NDArray[np.str_] | None], settings: _Settings
) -> int:
    """Write one shard and its sidecar: the unit of work and of continuation."""
    shard, packed, splits = job
    records = unpack(packed)
    count = len(records)
    skipped: list[tuple[str, str, str]] = []
    if splits is not None:
        divided = list(zip(records, splits.tolist(), strict=True))
        skipped = [(r.source, LEFT_OUT, r.id) for r, to in divided if to == LEFT_OUT]
        records = [replace(r, split=to) for r, to in divided if to != LEFT_OUT]
    # One kind of work at a time: between two pictures, a person's small arrays are out
    # of the processor's cache, and everything about them takes four times as long.
    crops_around = [place(record) for record in records]
    last: ImageRef | None = None
    image: images.Image | InputError
    found: list[Box] = []
    kept: list[tuple[PersonRecord, Placed, bytes]] = []
    seen: list[int] = []
    bits: list[NDArray[np.uint64]] = []
    pictures: dict[tuple[str, int], None] = {}
    for record, around in zip(records, crops_around, strict=True):
        # Persons of one picture follow each other: decode and search it once.
        if last != record.image:
            last, image = record.image, images.try_read(record.image)
            if settings.asked and not isinstance(image, InputError):
                found = settings.asked.find(record, image)
        if isinstance(image, InputError):
            reason, why = "unreadable_image", str(image)
        else:
            pictures[record.source, picture_key(record.image)] = None
            placed = settle(record, around, image.shape)
            if isinstance(placed, Placed):
                crops = [placed]
                if settings.asked:
                    crops = place_all(record, placed, found, image.shape)
                for one in crops:
                    stored = images.crop_with_surroundings(
                        image, one.square, settings.size
                    )
                    encoded = images.encode(
                        stored, settings.codec, settings.quality or 0
                    )
                    kept.append((record, one, encoded))
                    network_sees = images.central_slice(stored, settings.size)
                    bits.append(leak.fingerprint(network_sees))
                    seen.append(len(found))
                    far = (record.source, JOINT_TOO_FAR, record.id)
                    skipped += [far] * one.too_far
                continue
            reason = why = placed
        if settings.strict:
            raise bad_record(record, why)
        skipped.append((record.source, reason, record.id))
    digest = hashlib.sha256()
    sizes: list[int] = []
    with atomic_file(shard) as beside, beside.open("wb", BUFFER) as file:
        for record, crop, encoded in kept:
            framed = frame(
                serialize(record, encoded, crop.joints, crop.square, crop.box, crop.iou)
            )
            file.write(framed)
            digest.update(framed)
            sizes.append(len(framed))
    lengths = np.array(sizes, np.int64)
    people = [record for record, _, _ in kept]
    sides = [crop.square.side for _, crop, _ in kept]
    with atomic_file(_sidecar(shard)) as beside:
        np.savez(
            beside,
            ids=np.array([record.id for record in people], np.str_),
            source=np.array([record.source for record in people], np.str_),
            group=np.array([record.group for record in people], np.str_),
            recording=np.array([record.recording for record in people], np.str_),
            subject=np.array([record.subject for record in people], np.str_),
            clothing=np.array([record.clothing for record in people], np.str_),
            split=np.array([record.split for record in people], np.str_),
            picture=np.array([picture_key(r.image) for r in people], np.uint64),
            joints=np.array([crop.joints for _, crop, _ in kept], np.float32).reshape(
                len(kept), len(settings.skeleton), 3
            ),
            head_size=np.array(
                [r.head_size / side for r, side in zip(people, sides, strict=True)],
                np.float32,
            ),
            area=np.array(
                [r.area / side**2 for r, side in zip(people, sides, strict=True)],
                np.float32,
            ),
            bits=np.array(bits, np.uint64).reshape(len(kept), 4),
            box=np.array([crop.box for _, crop, _ in kept], np.str_),
            iou=np.array([crop.iou or 0 for _, crop, _ in kept], np.float32),
            found=np.array(seen, np.int64),
            offset=lengths.cumsum() - lengths + HEADER,
            length=lengths - OVERHEAD,
            skipped=np.array(skipped, np.str_).reshape(-1, 3),
            pictures=np.array([key for _, key in pictures], np.uint64),
            picture_source=np.array([source for source, _ in pictures], np.str_),
            bytes=lengths.sum(),
            sha256=np.str_(digest.hexdigest()),
        )
    return count


def _sidecar(shard: Path) -> Path:
    return shard.with_suffix(".rows.npz")


def _shard_is_finished(shard: Path) -> bool:
    """Return whether the shard and its sidecar are there; the sidecar comes last."""
    try:
        return shard.stat().st_size == int(_load_sidecar(shard)["bytes"])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return False


def _load_sidecar(shard: Path) -> dict[str, NDArray[Any]]:
    return load_arrays(_sidecar(shard))


def _index(
    shards: list[Path],
) -> tuple[dict[str, NDArray[Any]], list[dict[str, Any]], list[tuple[str, str, str]]]:
    """Read the sidecars of all shards.

    Returns:
        The arrays of ``index.npz`` and more, with one entry per crop: ``joints`` is
        ``(crops, joints, 3)``; ``found`` is how many people the detector saw in the
        picture; ``first`` says whether a crop is the first of its person and ``two``
        whether there is a second after it. ``pictures`` and ``picture_source`` have an
        entry per picture that could be decoded. Then what ``dataset.json`` says of each
        shard, and (source, reason, id) of all that was skipped.
    """
    parts: dict[str, list[NDArray[Any]]] = defaultdict(list)
    files: list[dict[str, Any]] = []
    skipped: list[tuple[str, str, str]] = []
    for number, shard in enumerate(shards):
        rows = _load_sidecar(shard)
        files.append(
            {
                "file": shard.name,
                "records": len(rows["ids"]),
                "bytes": int(rows.pop("bytes")),
                "sha256": str(rows.pop("sha256")),
            }
        )
        skipped += map(tuple, rows.pop("skipped").tolist())
        rows["shard"] = np.full(len(rows["ids"]), number, np.int64)
        for name, array in rows.items():
            parts[name].append(array)
    # One array at a time, so that few are there twice.
    index = {name: np.concatenate(parts.pop(name)) for name in list(parts)}
    index["first"] = first_crops(index["ids"], index["source"])
    index["two"] = ~np.append(index["first"][1:], True)
    index["annotated"] = index["joints"][..., 2].sum(axis=1).astype(np.int64)
    return index, files, skipped


def _summary(
    index: dict[str, NDArray[Any]],
    files: list[dict[str, Any]],
    skipped: list[tuple[str, str, str]],
    read: Labels,
    settings: _Settings,
    division: Division,
    request: str,
) -> dict[str, Any]:
    """Return the content of ``dataset.json``."""
    first = index["first"]
    joints, source, split, annotated = (
        index[name][first] for name in ("joints", "source", "split", "annotated")
    )
    skeleton, tallies = settings.skeleton, read.tallies
    too_far = Counter(name for name, reason, _ in skipped if reason == JOINT_TOO_FAR)
    decoded = {
        name: len(np.unique(index["pictures"][index["picture_source"] == name]))
        for name in tallies
    }
    fingerprint = json.dumps(
        [skeleton.to_json(), settings.size, [file["sha256"] for file in files]]
    )
    complete = annotated == len(skeleton)
    return {
        "kpose": __version__,
        **settings.to_json(),
        "stored_side": round(settings.size * images.SURROUNDINGS),
        "labels": read.labels,
        "persons": len(source),
        **_crops(index, np.ones(len(first), bool), settings),
        "images": sum(decoded.values()),
        "missing_images": sum(len(tally.missing) for tally in tallies.values()),
        "sources": [
            {
                "name": name,
                "licence": tally.licence,
                "head_rule": ", ".join(sorted(tally.head_rules)),
                "labels": tally.labels,
                "images": decoded[name],
                "missing_images": len(tally.missing),
                "persons": dict(
                    sorted(Counter(split[source == name].tolist()).items())
                ),
                "complete_persons": dict(
                    sorted(Counter(split[(source == name) & complete].tolist()).items())
                ),
                "joints_too_far": too_far[name],
                **_crops(index, index["source"] == name, settings),
            }
            for name, tally in tallies.items()
        ],
        "clothing": _clothing(index),
        "split": _split(index, skipped, division),
        "leak": _leak(index, len(skeleton)),
        "joints": joint_counts(joints, skeleton),
        "coverage": {
            name: joint_counts(joints[source == name], skeleton) for name in tallies
        },
        "skipped": {name: dict(tally.skipped) for name, tally in tallies.items()},
        "skipped_examples": {
            name: dict(tally.examples) for name, tally in tallies.items()
        },
        "mean_pose": _mean_pose(index["joints"][index["split"] == "train"]),
        "shards": files,
        "fingerprint": hashlib.sha256(fingerprint.encode()).hexdigest(),
        "request": request,
    }


def _clothing(index: dict[str, NDArray[Any]]) -> dict[str, dict[str, int]]:
    """Return the number of persons by clothing, where it is known, and split."""
    clothing, split = index["clothing"][index["first"]], index["split"][index["first"]]
    return {
        name: dict(sorted(Counter(split[clothing == name].tolist()).items()))
        for name in np.unique(clothing).tolist()
        if name
    }


def _split(
    index: dict[str, NDArray[Any]],
    skipped: list[tuple[str, str, str]],
    division: Division,
) -> dict[str, Any]:
    """Return how the persons were divided; what is at random over frames says so."""
    recordings = np.char.add(np.char.add(index["source"], "/"), index["recording"])
    recordings[index["recording"] == ""] = ""
    divided = shared(index["split"], recordings)
    return {
        "kind": division.kind,
        "by": division.by if division.kind == "drawn" else None,
        "validation": division.validation or None,
        "seed": division.seed if division.kind == "drawn" else None,
        "file": division.file and division.file.name,
        "left_out": sum(reason == LEFT_OUT for _, reason, _ in skipped),
        "recordings_on_both_sides": divided[:MAX_EXAMPLES],
        "random_frames": bool(divided),
    }


def _leak(index: dict[str, NDArray[Any]], joints: int) -> dict[str, Any] | None:
    """Return the leak score of the validation persons, those of ``train`` if none.

    None where nobody is to be trained on.
    """
    train, val, how = index["split"] == "train", index["split"] == "val", "validation"
    val &= index["first"]
    if not train.any():
        return None
    if not val.any():
        full = index["first"] & (index["annotated"] == joints) & train
        wanted = min(VALIDATION, int(full.sum()) // 2)
        try:
            drawn = hold_out(
                index["source"],
                index["group"],
                index["recording"],
                full,
                index["first"],
                train,
                wanted,
                0,
            )
        except InputError:
            return None
        train, val = drawn == "train", (drawn == "val") & index["first"]
        how = f"as a recipe with {wanted} validation persons and seed 0 draws them"
    found = leak.score(index["ids"], index["bits"], train, val, leak_groups(index))
    return {"of": how, **found.to_json()}


def _crops(
    index: dict[str, NDArray[Any]], chosen: NDArray[np.bool_], settings: _Settings
) -> dict[str, Any]:
    """Return how many persons of the chosen crops are in which row of Table 1.

    ``no_detection`` are those of ``ground_truth`` in whose picture nobody was found.
    ``with_flips`` is how often the paper would have stored a crop: a flip is drawn in
    training instead (docs/paper-readings.md, reading 23).
    """
    if settings.asked is None:
        return {}
    rows = {name: int((mask & chosen).sum()) for name, mask in _rows(index).items()}
    stored = int(chosen.sum())
    nobody = rows.pop("no_detection")
    rows["ground_truth"] += nobody
    counts = rows | {"no_detection": nobody, "stored": stored, "with_flips": 2 * stored}
    return {"crops": counts}


def _rows(index: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.bool_]]:
    """Return the first crops of the persons by their row of Table 1.

    The last row is in two: pictures in which the detector finds nobody are apart.
    """
    first, two = index["first"], index["two"]
    detector = index["box"] == DETECTOR
    nobody = index["found"] == 0
    return {
        "detector": first & detector & ~two,
        "both": first & two,
        "ground_truth": first & ~detector & ~nobody,
        "no_detection": first & nobody,
    }


def _mean_pose(joints: NDArray[np.float32]) -> list[list[float] | None]:
    """Return the mean of each joint where annotated, crop units; None without any."""
    count = (joints[..., 2] > 0).sum(axis=0)
    total = joints[..., :2].sum(axis=0, dtype=np.float64)
    return [
        [round(float(value), 6) for value in xy / n] if n else None
        for xy, n in zip(total, count, strict=True)
    ]


def _write_preview(
    out: Path, shards: list[Path], index: dict[str, NDArray[Any]], settings: _Settings
) -> None:
    """Draw persons of all sources with their skeletons: a look shows swapped sides."""
    names = sorted(set(index["source"].tolist()))
    share = -(-PREVIEW_PERSONS // len(names))
    chosen: list[int] = []
    for name in names:
        persons = np.flatnonzero(index["source"] == name)
        spread = np.linspace(0, len(persons) - 1, min(share, len(persons)))
        chosen += persons[spread.round().astype(int)].tolist()
    tiles = []
    for row in chosen[:PREVIEW_PERSONS]:
        with shards[index["shard"][row]].open("rb") as file:
            file.seek(index["offset"][row])
            sample = parse(file.read(index["length"][row]))
        tile = images.central_slice(sample.image, settings.size)
        joints = sample.joints * (settings.size, settings.size, 1)
        joints[:, :2] -= 0.5  # pixel centres are integers (geometry)
        tiles.append(drawing.draw_skeleton(tile, joints, settings.skeleton))
    sheet = drawing.contact_sheet(tiles, columns=8)
    with atomic_file(out / "preview.png") as beside:
        beside.write_bytes(images.encode(sheet, "png", 0))


def _write_crop_sheet(
    out: Path,
    chunks: list[bytes],
    index: dict[str, NDArray[Any]],
    settings: _Settings,
    asked: _Asked,
) -> None:
    """Draw persons of every row of Table 1 as the paper's Figure 2 does."""
    tiles = []
    for mask in _rows(index).values():
        persons = np.flatnonzero(mask)
        spread = np.linspace(0, len(persons) - 1, min(SHEET_PERSONS, len(persons)))
        for row in persons[spread.round().astype(int)]:
            name = (str(index["source"][row]), str(index["ids"][row]))
            (record,) = (
                record
                for record in unpack(chunks[index["shard"][row]])
                if (record.source, record.id) == name
            )
            image = images.read(record.image)
            found = asked.find(record, image)
            ground_truth = place_in(record, image.shape)
            assert isinstance(ground_truth, Placed)
            crops = place_all(record, ground_truth, found, image.shape)
            tiles.append(
                crop_sheet.tile(image, record, found, crops, settings.skeleton)
            )
    sheet = drawing.contact_sheet(tiles, columns=2)
    with atomic_file(out / "crops.png") as beside:
        beside.write_bytes(images.encode(sheet, "png", 0))
