"""Prepared data: person records to crops in TFRecord shards, and back, no TensorFlow.

A prepared folder holds ``shard-00000.tfrecord`` onwards, ``dataset.json`` (what is in
it, for people and programs), ``index.npz`` (one row per crop), ``preview.png`` and,
where a detector was asked, ``crops.png``.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpose import __version__, crop_sheet, detection, drawing, images
from kpose.crop_policy import DETECTOR
from kpose.errors import InputError
from kpose.files import atomic_file, read_json, write_json
from kpose.geometry import Box, SquareCrop
from kpose.joints import BODY_13, Skeleton
from kpose.records import ImageRef, PersonRecord
from kpose.screening import (
    OUTSIDE,
    Advance,
    Placed,
    Source,
    Tally,
    bad_record,
    check,
    is_outside,
    joint_counts,
    place,
    place_all,
    require_usable,
    screen,
)
from kpose.shards import (
    HEADER,
    OVERHEAD,
    PreparedData,
    Sample,
    first_crops,
    frame,
    load_arrays,
    parse,
    read_shard,
    serialize,
)
from kpose.workers import in_order

__all__ = [
    "PreparedData",
    "Sample",
    "Source",
    "check",
    "parse",
    "prepare",
    "read_shard",
]

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
    strict: bool = False,
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
        strict: Make the first bad record an error. An absent picture is not a bad
            record: label files of good sets name pictures that are not published.
        progress: Called with the number of labels done since its last call.

    Returns:
        The content of ``dataset.json``.

    Raises:
        InputError: If ``out`` holds something else, no person is usable, or a record
            is bad and ``strict``; nothing is left in ``out`` then. If there is no such
            detector.
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
    records, tallies = screen(sources, skeleton, strict)
    request = _request(records, tallies, settings)
    summary = _finished(out, request, settings)
    if summary is not None:
        return summary
    require_usable(len(records), tallies)
    with _claim(out, request, settings):
        try:
            return _prepare(records, tallies, out, settings, request, workers, progress)
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
    records: list[PersonRecord],
    tallies: dict[str, Tally],
    out: Path,
    settings: _Settings,
    request: str,
    workers: int | None,
    progress: Advance | None,
) -> dict[str, Any]:
    step = settings.shard_records
    chunks = [records[start : start + step] for start in range(0, len(records), step)]
    shards = [out / f"shard-{number:05}.tfrecord" for number in range(len(chunks))]
    todo = [
        (shard, chunk)
        for shard, chunk in zip(shards, chunks, strict=True)
        if not _shard_is_finished(shard)
    ]
    advance = progress or (lambda labels: None)
    labels = sum(tally.labels for tally in tallies.values())
    advance(labels - sum(len(chunk) for _, chunk in todo))
    for done in in_order(partial(_make_shard, settings=settings), todo, workers):
        advance(done)
    rows = [_load_sidecar(shard) for shard in shards]
    pictures = {(record.source, record.id): record.image for record in records}
    for row in rows:
        for source, reason, name in row["skipped"].tolist():
            if reason == "joint_too_far":
                tallies[source].note(reason, name)
            else:
                tallies[source].skip(reason, name)
            if reason == "unreadable_image":
                tallies[source].pictures.pop(pictures[source, name], None)
    require_usable(sum(len(row["ids"]) for row in rows), tallies)
    index = _index(rows)
    summary = _summary(index, rows, shards, tallies, settings, request)
    names = ["ids", "source", "group", "split", "annotated"]
    names += ["shard", "offset", "length"]
    names += ["box", "iou"] if settings.asked else []
    with atomic_file(out / "index.npz") as beside:
        np.savez(beside, allow_pickle=False, **{name: index[name] for name in names})
    _write_preview(out, shards, index, settings)
    if settings.asked is not None:
        _write_crop_sheet(out, records, index, settings, settings.asked)
    write_json(out / "dataset.json", summary)
    _remove_scaffold(out)
    return summary


def _request(
    records: list[PersonRecord], tallies: dict[str, Tally], settings: _Settings
) -> str:
    """Return a digest of everything that decides the output's bytes.

    Of the pictures only names and sizes enter: hashing their bytes would take as long
    as the work itself.
    """
    digest = hashlib.sha256(__version__.encode())
    digest.update(json.dumps(settings.to_json()).encode())
    for name, tally in tallies.items():
        counts = [name, tally.licence, tally.labels, sorted(tally.skipped.items())]
        digest.update(json.dumps(counts).encode())
    for record in records:
        ref = record.image
        row = (record.id, record.source, record.group, record.split, record.head_rule)
        size = tallies[record.source].pictures[ref]
        picture = (os.path.abspath(ref.path), size, ref.frame, ref.mirrored)
        digest.update(repr((row, picture, record.box)).encode())
        digest.update(record.joints.tobytes() + record.visible.tobytes())
    return digest.hexdigest()


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


def _make_shard(job: tuple[Path, list[PersonRecord]], settings: _Settings) -> int:
    """Write one shard and its sidecar: the unit of work and of continuation."""
    shard, records = job
    # One kind of work at a time: between two pictures, a person's small arrays are out
    # of the processor's cache, and everything about them takes four times as long.
    placed = [place(record) for record in records]
    last: ImageRef | None = None
    image: images.Image | InputError
    found: list[Box] = []
    kept: list[tuple[PersonRecord, Placed, bytes]] = []
    seen: list[int] = []
    skipped: list[tuple[str, str, str]] = []
    for record, crop in zip(records, placed, strict=True):
        # Persons of one picture follow each other: decode and search it once.
        if last != record.image:
            last, image = record.image, images.try_read(record.image)
            if settings.asked and not isinstance(image, InputError):
                found = settings.asked.find(record, image)
        if isinstance(image, InputError):
            reason, why = "unreadable_image", str(image)
        elif isinstance(crop, str):
            reason = why = crop
        elif is_outside(crop.square, image.shape):
            reason = why = OUTSIDE
        else:
            crops = [crop]
            if settings.asked:
                crops = place_all(record, crop, found, image.shape)
            for one in crops:
                kept.append((record, one, _encode(image, one.square, settings)))
                seen.append(len(found))
                far = (record.source, "joint_too_far", record.id)
                skipped += [far] * one.too_far
            continue
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
    with atomic_file(_sidecar(shard)) as beside:
        np.savez(
            beside,
            ids=np.array([record.id for record in people], np.str_),
            source=np.array([record.source for record in people], np.str_),
            group=np.array([record.group for record in people], np.str_),
            split=np.array([record.split for record in people], np.str_),
            joints=np.array([crop.joints for _, crop, _ in kept], np.float32).reshape(
                len(kept), len(settings.skeleton), 3
            ),
            box=np.array([crop.box for _, crop, _ in kept], np.str_),
            iou=np.array([crop.iou or 0 for _, crop, _ in kept], np.float32),
            found=np.array(seen, np.int64),
            offset=lengths.cumsum() - lengths + HEADER,
            length=lengths - OVERHEAD,
            skipped=np.array(skipped, np.str_).reshape(-1, 3),
            bytes=lengths.sum(),
            sha256=np.str_(digest.hexdigest()),
        )
    return len(records)


def _encode(image: images.Image, square: SquareCrop, settings: _Settings) -> bytes:
    crop = images.crop_with_surroundings(image, square, settings.size)
    return images.encode(crop, settings.codec, settings.quality or 0)


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


def _index(rows: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Return the arrays of ``index.npz`` and four more, with one entry per crop.

    ``joints`` is ``(crops, joints, 3)``; ``found`` is how many people the detector saw
    in the picture; ``first`` says whether a crop is the first of its person and ``two``
    whether there is a second after it.
    """
    texts, numbers = ("ids", "source", "group", "split", "box"), ("iou", "found")
    names = (*texts, *numbers, "offset", "length", "joints")
    index = {name: np.concatenate([row[name] for row in rows]) for name in names}
    index["first"] = first_crops(index["ids"], index["source"])
    index["two"] = ~np.append(index["first"][1:], True)
    index["shard"] = np.repeat(
        np.arange(len(rows)), [len(row["ids"]) for row in rows]
    ).astype(np.int64)
    index["annotated"] = index["joints"][..., 2].sum(axis=1).astype(np.int64)
    return index


def _summary(
    index: dict[str, NDArray[Any]],
    rows: list[dict[str, NDArray[Any]]],
    shards: list[Path],
    tallies: dict[str, Tally],
    settings: _Settings,
    request: str,
) -> dict[str, Any]:
    """Return the content of ``dataset.json``."""
    first = index["first"]
    joints, source, split = (
        index[name][first] for name in ("joints", "source", "split")
    )
    skeleton = settings.skeleton
    too_far = Counter(
        str(name)
        for row in rows
        for name, reason, _ in row["skipped"]
        if reason == "joint_too_far"
    )
    files = [
        {
            "file": shard.name,
            "records": len(row["ids"]),
            "bytes": int(row["bytes"]),
            "sha256": str(row["sha256"]),
        }
        for shard, row in zip(shards, rows, strict=True)
    ]
    fingerprint = json.dumps(
        [skeleton.to_json(), settings.size, [file["sha256"] for file in files]]
    )
    return {
        "kpose": __version__,
        **settings.to_json(),
        "stored_side": round(settings.size * images.SURROUNDINGS),
        "labels": sum(tally.labels for tally in tallies.values()),
        "persons": len(source),
        **_crops(index, np.ones(len(first), bool), settings),
        "images": sum(len(tally.pictures) for tally in tallies.values()),
        "missing_images": sum(len(tally.missing) for tally in tallies.values()),
        "sources": [
            {
                "name": name,
                "licence": tally.licence,
                "head_rule": ", ".join(sorted(tally.head_rules)),
                "labels": tally.labels,
                "images": len(tally.pictures),
                "missing_images": len(tally.missing),
                "persons": dict(
                    sorted(Counter(split[source == name].tolist()).items())
                ),
                "joints_too_far": too_far[name],
                **_crops(index, index["source"] == name, settings),
            }
            for name, tally in tallies.items()
        ],
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
    records: list[PersonRecord],
    index: dict[str, NDArray[Any]],
    settings: _Settings,
    asked: _Asked,
) -> None:
    """Draw persons of every row of Table 1 as the paper's Figure 2 does."""
    by_name = {(record.source, record.id): record for record in records}
    tiles = []
    for mask in _rows(index).values():
        persons = np.flatnonzero(mask)
        spread = np.linspace(0, len(persons) - 1, min(SHEET_PERSONS, len(persons)))
        for row in persons[spread.round().astype(int)]:
            record = by_name[str(index["source"][row]), str(index["ids"][row])]
            image = images.read(record.image)
            found = asked.find(record, image)
            ground_truth = place(record)
            assert isinstance(ground_truth, Placed)
            crops = place_all(record, ground_truth, found, image.shape)
            tiles.append(
                crop_sheet.tile(image, record, found, crops, settings.skeleton)
            )
    sheet = drawing.contact_sheet(tiles, columns=2)
    with atomic_file(out / "crops.png") as beside:
        beside.write_bytes(images.encode(sheet, "png", 0))
