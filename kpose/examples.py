"""Prepared data: person records to crops in TFRecord shards, and back, no TensorFlow.

A prepared folder holds ``shard-00000.tfrecord`` onwards, ``dataset.json`` (what is in
it, for people and programs), ``index.npz`` (one row per person) and ``preview.png``.
"""

import contextlib
import fcntl
import hashlib
import json
import multiprocessing
import os
import re
import shutil
import threading
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import google_crc32c
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from numpy.typing import NDArray

from kpose import __version__, drawing, images
from kpose.errors import InputError, ResourceError
from kpose.files import atomic_file, read_json, write_json
from kpose.geometry import Box, SquareCrop, person_box
from kpose.joints import BODY_13, Skeleton
from kpose.records import ImageRef, PersonRecord

MAX_EXAMPLES = 20
"""So many skipped persons are named per source and reason."""

PREVIEW_PERSONS = 32

TOO_FAR = 1.0
"""A joint more than this many crop sides outside its crop gets weight 0
(docs/paper-readings.md 6)."""

Progress = Callable[[int, int], None]
"""Called with the persons done so far and the persons in all."""


class Source(NamedTuple):
    """The records of one data set, and under which licence they are.

    ``records`` are taken as they come; the caller chooses the splits.
    """

    name: str
    records: Sequence[PersonRecord]
    licence: str


class Sample(NamedTuple):
    """One prepared person.

    ``image`` is ``(stored_side, stored_side, 3)`` RGB uint8, the square times 1.5;
    ``joints`` is ``(joints, 3)`` float32: x and y in crop units of ``square``, 1 where
    annotated, else 0, 0, 0; ``visible`` is ``(joints,)`` int8: 1 visible, 0 occluded,
    -1 unknown; ``picture`` is the file name of the source image and ``square`` the crop
    in its pixels.
    """

    id: str
    source: str
    group: str
    split: str
    picture: str
    image: NDArray[np.uint8]
    joints: NDArray[np.float32]
    visible: NDArray[np.int8]
    square: SquareCrop


@dataclass(frozen=True)
class _Settings:
    """What decides the bytes of a shard, besides its records."""

    skeleton: Skeleton
    size: int
    codec: str
    quality: int
    shard_records: int
    strict: bool


@dataclass
class _Tally:
    """What became of the labels of one source."""

    licence: str
    labels: int = 0
    head_rules: set[str] = field(default_factory=set)
    pictures: set[ImageRef] = field(default_factory=set)
    missing: set[ImageRef] = field(default_factory=set)
    skipped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def skip(self, reason: str, name: str) -> None:
        self.skipped[reason] += 1
        self.note(reason, name)

    def note(self, reason: str, name: str) -> None:
        if len(self.examples[reason]) < MAX_EXAMPLES:
            self.examples[reason].append(name)


def prepare(
    sources: Sequence[Source],
    out: Path,
    *,
    skeleton: Skeleton = BODY_13,
    size: int = images.CROP_SIZE,
    codec: str = "jpeg",
    quality: int = 95,
    shard_records: int = 512,
    workers: int | None = None,
    strict: bool = False,
    progress: Progress | None = None,
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
        workers: Processes; None for one per core. One runs in this process.
        strict: Make the first bad record an error. An absent picture is not a bad
            record: label files of good sets name pictures that are not published.
        progress: Called now and then with persons done and persons in all.

    Returns:
        The content of ``dataset.json``.

    Raises:
        InputError: If ``out`` holds something else, no person is usable, or a record
            is bad and ``strict``; nothing is left in ``out`` then.
        ResourceError: If a worker process was killed.
    """
    if size % 4 or size < 4:
        raise InputError(f"a crop size must be a multiple of 4. Received: {size}")
    if codec not in ("jpeg", "png"):
        raise InputError(f"codec must be jpeg or png. Received: {codec!r}")
    if not 1 <= quality <= 100:
        raise InputError(f"quality must be 1 to 100. Received: {quality}")
    settings = _Settings(skeleton, size, codec, quality, shard_records, strict)
    records, tallies = _screen(sources, skeleton, strict)
    request = _request(records, tallies, settings)
    summary = _finished(out, request)
    if summary is not None:
        return summary
    _require_usable(len(records), tallies)
    with _claim(out, request):
        try:
            return _prepare(records, tallies, out, settings, request, workers, progress)
        except InputError:
            shutil.rmtree(out)  # ours by the claim; a refused call leaves nothing
            raise


def _prepare(
    records: list[PersonRecord],
    tallies: dict[str, _Tally],
    out: Path,
    settings: _Settings,
    request: str,
    workers: int | None,
    progress: Progress | None,
) -> dict[str, Any]:
    step = settings.shard_records
    chunks = [records[start : start + step] for start in range(0, len(records), step)]
    shards = [out / f"shard-{number:05}.tfrecord" for number in range(len(chunks))]
    todo = [
        (shard, chunk)
        for shard, chunk in zip(shards, chunks, strict=True)
        if not _shard_is_finished(shard)
    ]
    done = len(records) - sum(len(chunk) for _, chunk in todo)
    for persons in _run(todo, settings, workers or os.cpu_count() or 1):
        done += persons
        if progress:
            progress(done, len(records))
    rows = [_load_sidecar(shard) for shard in shards]
    for row in rows:
        for source, reason, name in row["skipped"].tolist():
            if reason == "joint_too_far":
                tallies[source].note(reason, name)
            else:
                tallies[source].skip(reason, name)
    persons = sum(len(row["ids"]) for row in rows)
    _require_usable(persons, tallies)
    index = _index(rows)
    summary = _summary(index, rows, shards, tallies, settings, request)
    with atomic_file(out / "index.npz") as beside:
        np.savez(beside, **{k: v for k, v in index.items() if k != "joints"})
    _write_preview(out, shards, index, settings)
    write_json(out / "dataset.json", summary)
    _remove_scaffold(out)
    return summary


def check(
    sources: Sequence[Source],
    skeleton: Skeleton = BODY_13,
    strict: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Read all labels and pictures and report, write nothing.

    Returns:
        ``labels`` (persons in the label files), ``persons`` (usable ones), ``images``
        (their distinct pictures), ``missing_images``, ``skipped`` ({reason: persons};
        with ``persons`` it adds up to ``labels``), ``joints`` ({name: annotated}), and
        self-checks over the usable persons: ``complete_persons`` (all joints
        annotated), ``joints_outside`` (share of annotated joints outside the picture),
        ``median_torso`` (pixels), ``right_shoulder_left`` (share of persons whose right
        shoulder is left of the left one in the picture: over half in pictures that are
        not mirrored, of people who face the camera) and three ``example_rows``.

    Raises:
        InputError: If no person is usable, or a record is bad and ``strict``.
    """
    records, tallies = _screen(sources, skeleton, strict)
    _require_usable(len(records), tallies)
    by_picture: dict[ImageRef, list[PersonRecord]] = {}
    for record in records:
        by_picture.setdefault(record.image, []).append(record)
    usable, outside = [], 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # OpenCV decodes without the interpreter's lock, so threads are enough here.
        for (ref, persons), shape in zip(
            by_picture.items(), pool.map(_shape, by_picture), strict=True
        ):
            if isinstance(shape, InputError):
                if strict:
                    raise _bad_record(persons[0], str(shape))
                for record in persons:
                    tallies[record.source].skip("unreadable_image", record.id)
                tallies[persons[0].source].pictures.discard(ref)
                continue
            for record in persons:
                usable.append(record)
                x, y, annotated = record.joints.T
                inside = (x >= -0.5) & (y >= -0.5)
                inside &= (x < shape[1] - 0.5) & (y < shape[0] - 0.5)
                outside += int((~inside & (annotated > 0)).sum())
            if progress:
                progress(len(usable), len(records))
    _require_usable(len(usable), tallies)
    joints = np.stack([record.joints for record in usable])
    annotated = joints[..., 2] > 0
    return {
        "labels": sum(tally.labels for tally in tallies.values()),
        "persons": len(usable),
        "images": sum(len(tally.pictures) for tally in tallies.values()),
        "missing_images": sum(len(tally.missing) for tally in tallies.values()),
        "skipped": dict(sum((t.skipped for t in tallies.values()), Counter())),
        "skipped_examples": {name: dict(t.examples) for name, t in tallies.items()},
        "joints": _joint_counts(joints, skeleton),
        "complete_persons": int(annotated.all(axis=1).sum()),
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


def _shape(ref: ImageRef) -> tuple[int, ...] | InputError:
    try:
        return images.read(ref).shape
    except InputError as error:
        return error


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


def _screen(
    sources: Sequence[Source], skeleton: Skeleton, strict: bool
) -> tuple[list[PersonRecord], dict[str, _Tally]]:
    """Return the records that labels and file names allow, and the count of the rest.

    Raises:
        InputError: If a record has another number of joints, or is bad and ``strict``.
    """
    usable: list[PersonRecord] = []
    tallies: dict[str, _Tally] = {}
    seen: set[tuple[str, str]] = set()
    exists: dict[Path, bool] = {}
    for source in sources:
        for record in source.records:
            if len(record.joints) != len(skeleton):
                raise InputError(
                    f"{record.source} {record.id} must have {len(skeleton)} joints. "
                    f"Received: {len(record.joints)}"
                )
            tally = tallies.setdefault(record.source, _Tally(source.licence))
            tally.labels += 1
            path = record.image.path
            if path not in exists:
                exists[path] = path.is_file()
            key = (record.source, record.id)
            if key in seen:
                reason: str | None = "duplicate_id"
            elif not exists[path]:
                tally.skip("missing_image", record.id)
                tally.missing.add(record.image)
                continue
            else:
                reason = record.defect()
            seen.add(key)
            if reason is None:
                tally.head_rules.add(record.head_rule)
                tally.pictures.add(record.image)
                usable.append(record)
            elif strict:
                raise _bad_record(record, reason)
            else:
                tally.skip(reason, record.id)
    return usable, tallies


def _bad_record(record: PersonRecord, reason: str) -> InputError:
    return InputError(
        f"strict: every record must be usable. Received: {record.source} {record.id} "
        f"({record.image.path}): {reason}"
    )


def _require_usable(persons: int, tallies: dict[str, _Tally]) -> None:
    if not persons:
        labels = sum(tally.labels for tally in tallies.values())
        skipped = sum((tally.skipped for tally in tallies.values()), Counter[str]())
        reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(skipped.items()))
        raise InputError(
            f"expected at least one usable person. Received: {labels} labels"
            + (f" ({reasons})" if reasons else "")
        )


def _request(
    records: list[PersonRecord], tallies: dict[str, _Tally], settings: _Settings
) -> str:
    """Return a digest of everything that decides the output's bytes.

    Of the pictures only names and sizes enter: hashing their bytes would take as long
    as the work itself.
    """
    digest = hashlib.sha256(__version__.encode())
    digest.update(json.dumps(asdict(settings), sort_keys=True).encode())
    for name, tally in tallies.items():
        counts = [name, tally.licence, tally.labels, sorted(tally.skipped.items())]
        digest.update(json.dumps(counts).encode())
    for record in records:
        ref = record.image
        row = (record.id, record.source, record.group, record.split, record.head_rule)
        size = ref.path.stat().st_size
        picture = (str(ref.path.resolve()), size, ref.frame, ref.mirrored)
        digest.update(repr((row, picture, record.box)).encode())
        digest.update(record.joints.tobytes() + record.visible.tobytes())
    return digest.hexdigest()


def _finished(out: Path, request: str) -> dict[str, Any] | None:
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
                raise InputError(
                    f"{out} must be new or empty, or hold output of the same records "
                    f"and settings, but its {name} is of others"
                )
            if name == "prepare.json":
                return None
            PreparedData.open(out)
            _remove_scaffold(out)
            return found
    if any(out.iterdir()):
        raise InputError(f"{out} must be new or an empty folder, but it has content")
    return None


@contextlib.contextmanager
def _claim(out: Path, request: str) -> Iterator[None]:
    """Mark ``out`` as unfinished output of ``request`` and keep other processes out."""
    out.mkdir(parents=True, exist_ok=True)
    marker = out / "prepare.json"
    if not marker.exists():
        write_json(marker, {"kpose": __version__, "request": request})
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


def _run(
    todo: list[tuple[Path, list[PersonRecord]]], settings: _Settings, workers: int
) -> Iterator[int]:
    """Make the shards in ``todo``, yield the number of records of each one made."""
    if workers == 1 or len(todo) < 2:
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            for shard, chunk in todo:
                yield _make_shard(shard, chunk, settings)
        finally:
            cv2.setNumThreads(threads)
        return
    # Not fork: TensorFlow's threads in this process do not survive it.
    with ProcessPoolExecutor(
        min(workers, len(todo)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
    ) as pool:
        futures: list[Future[int]] = [
            pool.submit(_make_shard, shard, chunk, settings) for shard, chunk in todo
        ]
        try:
            for future in futures:
                yield future.result()
        except BrokenProcessPool:
            raise ResourceError(
                "a worker process was killed, as happens when memory runs out; "
                "run the same command again to continue, with fewer workers"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """One thread per process; end when the parent is killed, instead of waiting."""
    cv2.setNumThreads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _make_shard(shard: Path, records: list[PersonRecord], settings: _Settings) -> int:
    """Write one shard and its sidecar: the unit of work and of continuation."""
    kept: list[tuple[PersonRecord, NDArray[np.float32], int, int]] = []
    skipped: list[tuple[str, str, str]] = []
    digest = hashlib.sha256()
    offset = 0
    last: tuple[ImageRef, images.Image | InputError] | None = None
    with atomic_file(shard) as beside, beside.open("wb") as file:
        for record in records:
            # Persons of one picture follow each other: decode it once.
            if last is None or last[0] != record.image:
                last = record.image, _read(record.image)
            image = last[1]
            reason = "unreadable_image"
            if not isinstance(image, InputError):
                square = SquareCrop.around(_box(record))
                reason = "" if _overlap(square, image) else "box_outside_image"
                joints, far = _crop_joints(record, square)
                if not joints[:, 2].any():
                    reason = "no_joints"
            if reason:
                if settings.strict:
                    why = str(image) if isinstance(image, InputError) else reason
                    raise _bad_record(record, why)
                skipped.append((record.source, reason, record.id))
                continue
            assert not isinstance(image, InputError)
            skipped += [(record.source, "joint_too_far", record.id)] * far
            payload = _serialize(record, image, joints, square, settings)
            frame = _frame(payload)
            file.write(frame)
            digest.update(frame)
            kept.append((record, joints, offset + _HEADER, len(payload)))
            offset += len(frame)
    people = [record for record, _, _, _ in kept]
    with atomic_file(_sidecar(shard)) as beside:
        np.savez(
            beside,
            ids=np.array([record.id for record in people], np.str_),
            source=np.array([record.source for record in people], np.str_),
            group=np.array([record.group for record in people], np.str_),
            split=np.array([record.split for record in people], np.str_),
            joints=np.array([joints for _, joints, _, _ in kept], np.float32).reshape(
                len(kept), len(settings.skeleton), 3
            ),
            offset=np.array([start for _, _, start, _ in kept], np.int64),
            length=np.array([length for _, _, _, length in kept], np.int64),
            skipped=np.array(skipped, np.str_).reshape(-1, 3),
            bytes=np.int64(offset),
            sha256=np.str_(digest.hexdigest()),
        )
    return len(records)


def _read(ref: ImageRef) -> images.Image | InputError:
    try:
        return images.read(ref)
    except InputError as error:
        return error


def _box(record: PersonRecord) -> Box:
    """Return the set's own person box, else the joints' box x 1.2 (section 3.2)."""
    box = record.box or person_box(record.joints)
    assert box is not None  # _screen dropped persons without joints
    return box


def _overlap(square: SquareCrop, image: images.Image) -> bool:
    height, width = image.shape[:2]
    return (
        square.x0 < width
        and square.y0 < height
        and square.x0 + square.side > 0
        and square.y0 + square.side > 0
    )


def _crop_joints(
    record: PersonRecord, square: SquareCrop
) -> tuple[NDArray[np.float32], int]:
    """Return the joints in crop units, and how many were too far away to be kept."""
    joints = square.joints_to_crop(record.joints)
    far = (np.abs(joints[:, :2] - 0.5) > 0.5 + TOO_FAR).any(axis=1)
    joints[far] = 0
    return joints, int(far.sum())


def _sidecar(shard: Path) -> Path:
    return shard.with_suffix(".rows.npz")


def _shard_is_finished(shard: Path) -> bool:
    """Return whether the shard and its sidecar are there; the sidecar comes last."""
    try:
        return shard.stat().st_size == int(_load_sidecar(shard)["bytes"])
    except (OSError, KeyError, ValueError):
        return False


def _load_sidecar(shard: Path) -> dict[str, NDArray[Any]]:
    with np.load(_sidecar(shard)) as file:
        return dict(file)


def _index(rows: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Return the arrays of ``index.npz``, and the joints ``(persons, joints, 3)``."""
    names = ("ids", "source", "group", "split", "offset", "length", "joints")
    index = {name: np.concatenate([row[name] for row in rows]) for name in names}
    index["shard"] = np.repeat(
        np.arange(len(rows)), [len(row["ids"]) for row in rows]
    ).astype(np.int64)
    index["annotated"] = index["joints"][..., 2].sum(axis=1).astype(np.int64)
    return index


def _joint_counts(joints: NDArray[np.float32], skeleton: Skeleton) -> dict[str, int]:
    counts = (joints[..., 2] > 0).sum(axis=0).tolist()
    return dict(zip(skeleton.names, counts, strict=True))


def _summary(
    index: dict[str, NDArray[Any]],
    rows: list[dict[str, NDArray[Any]]],
    shards: list[Path],
    tallies: dict[str, _Tally],
    settings: _Settings,
    request: str,
) -> dict[str, Any]:
    """Return the content of ``dataset.json``."""
    joints, source, split = index["joints"], index["source"], index["split"]
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
        "skeleton": skeleton.to_json(),
        "size": settings.size,
        "stored_side": round(settings.size * images.SURROUNDINGS),
        "codec": settings.codec,
        "quality": settings.quality if settings.codec == "jpeg" else None,
        "labels": sum(tally.labels for tally in tallies.values()),
        "persons": len(source),
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
                "persons": dict(sorted(Counter(split[source == name].tolist()).items())),
                "joints_too_far": too_far[name],
            }
            for name, tally in tallies.items()
        ],
        "joints": _joint_counts(joints, skeleton),
        "coverage": {
            name: _joint_counts(joints[source == name], skeleton) for name in tallies
        },
        "skipped": {name: dict(tally.skipped) for name, tally in tallies.items()},
        "skipped_examples": {
            name: dict(tally.examples) for name, tally in tallies.items()
        },
        "mean_pose": _mean_pose(joints[split == "train"]),
        "shards": files,
        "fingerprint": hashlib.sha256(fingerprint.encode()).hexdigest(),
        "request": request,
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
        joints = sample.joints * np.float32([settings.size, settings.size, 1])
        joints[:, :2] -= 0.5  # pixel centres are integers (geometry)
        tiles.append(drawing.draw_skeleton(tile, joints, settings.skeleton))
    sheet = drawing.contact_sheet(tiles, columns=8)
    with atomic_file(out / "preview.png") as beside:
        beside.write_bytes(images.encode(sheet, "png", 0))


class PreparedData:
    """A prepared folder, opened for reading by index.

    ``ids``, ``source``, ``group``, ``split`` (str), ``annotated`` (number of annotated
    joints), ``shard``, ``offset`` and ``length`` (where the record's payload lies) are
    arrays with one entry per person. ``size`` is the side of the network's crop in
    pixels and ``stored_side`` that of the stored one. ``mean_pose`` is ``(joints, 2)``
    float64 in crop units, the crop's centre for a joint that is never annotated.
    """

    def __init__(
        self, folder: Path, summary: dict[str, Any], index: dict[str, NDArray[Any]]
    ) -> None:
        """Take what ``open`` read and checked."""
        self.folder = folder
        self.summary = summary
        self.skeleton = Skeleton.from_json(summary["skeleton"])
        self.size = int(summary["size"])
        self.stored_side = int(summary["stored_side"])
        self.sources: list[dict[str, Any]] = summary["sources"]
        self.fingerprint = str(summary["fingerprint"])
        self.mean_pose = np.array(
            [xy or [0.5, 0.5] for xy in summary["mean_pose"]], np.float64
        )
        self.files = [folder / shard["file"] for shard in summary["shards"]]
        self.ids, self.source = index["ids"], index["source"]
        self.group, self.split = index["group"], index["split"]
        self.annotated, self.shard = index["annotated"], index["shard"]
        self.offset, self.length = index["offset"], index["length"]
        self._descriptors = [os.open(file, os.O_RDONLY) for file in self.files]
        weakref.finalize(self, _close, self._descriptors)

    @classmethod
    def open(cls, folder: Path) -> "PreparedData":
        """Open what ``prepare`` wrote.

        Raises:
            InputError: If the folder is not prepared data or is unfinished, or a shard
                is missing or cut short.
        """
        folder = Path(folder)
        if not (folder / "dataset.json").is_file():
            state = (
                "is unfinished: run the same prepare again"
                if (folder / "prepare.json").is_file()
                else "has no dataset.json"
            )
            raise InputError(f"{folder} must be a folder of `kpose prepare`, but {state}")
        summary = read_json(folder / "dataset.json")
        try:
            for shard in summary["shards"]:
                _require_whole(folder / shard["file"], int(shard["bytes"]))
            with np.load(folder / "index.npz") as file:
                index = dict(file)
            if len(index["ids"]) != summary["persons"]:
                raise InputError(
                    f"{folder / 'index.npz'} must have {summary['persons']} persons. "
                    f"Received: {len(index['ids'])}"
                )
            return cls(folder, summary, index)
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise InputError(
                f"{folder} must be a folder of `kpose prepare`, but its dataset.json or "
                f"index.npz is damaged: {error!r}"
            ) from None

    def __len__(self) -> int:
        """Return the number of persons."""
        return len(self.ids)

    def read(self, index: int) -> bytes:
        """Return the serialised example of one person, for ``parse`` or TensorFlow.

        Any number of threads may read at a time.

        Raises:
            InputError: If the bytes fail their checksum.
        """
        shard, length = self.shard[index], int(self.length[index])
        data = os.pread(self._descriptors[shard], length + 4, int(self.offset[index]))
        payload = data[:length]
        if data[length:] != _checksum(payload):
            raise InputError(
                f"{self.files[shard]} is damaged: wrong checksum of {self.ids[index]}"
            )
        return payload


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _require_whole(shard: Path, size: int) -> None:
    if not shard.is_file():
        raise InputError(f"expected a shard {shard}, but there is none")
    if shard.stat().st_size != size:
        raise InputError(
            f"{shard} must have {size} bytes, but has {shard.stat().st_size}: "
            "it is cut short or was changed"
        )


def read_shard(path: Path) -> Iterator[Sample]:
    """Yield the samples of one shard, in order.

    Raises:
        InputError: If the file is missing, cut short or damaged.
    """
    return map(parse, _payloads(path))


# TFRecord: length as uint64, its checksum, the payload, the payload's checksum; all
# little-endian (tensorflow/core/lib/io/record_writer.h).
_HEADER = 12


def _checksum(data: bytes) -> bytes:
    """Return TFRecord's masked CRC-32C of ``data``."""
    crc = google_crc32c.value(data)
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return masked.to_bytes(4, "little")


def _frame(payload: bytes) -> bytes:
    length = len(payload).to_bytes(8, "little")
    return length + _checksum(length) + payload + _checksum(payload)


def _payloads(path: Path) -> Iterator[bytes]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path} must be a readable shard: {error.strerror}") from None
    with file:
        number = 0
        while header := file.read(_HEADER):
            length = header[:8]
            payload, crc = b"", b""
            if header[8:] == _checksum(length):
                payload = file.read(int.from_bytes(length, "little"))
                crc = file.read(4)
            if crc != _checksum(payload):
                raise InputError(
                    f"{path} must be a whole TFRecord file, but record {number} is cut "
                    "short or damaged"
                )
            yield payload
            number += 1


def _example_class() -> Any:
    """Declare ``tf.train.Example`` in a pool of its own.

    TensorFlow registers the same names in the default pool, and may be loaded or not.
    """
    field_type = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="kpose/example.proto", package="tensorflow", syntax="proto3"
    )
    for name, kind in (
        ("BytesList", field_type.TYPE_BYTES),
        ("FloatList", field_type.TYPE_FLOAT),
        ("Int64List", field_type.TYPE_INT64),
    ):
        message = file.message_type.add(name=name)
        message.field.add(
            name="value", number=1, type=kind, label=field_type.LABEL_REPEATED
        )
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(("Bytes", "Float", "Int64"), start=1):
        feature.field.add(
            name=f"{name.lower()}_list",
            number=number,
            type=field_type.TYPE_MESSAGE,
            type_name=f".tensorflow.{name}List",
            label=field_type.LABEL_OPTIONAL,
            oneof_index=0,
        )
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(
        name="key",
        number=1,
        type=field_type.TYPE_STRING,
        label=field_type.LABEL_OPTIONAL,
    )
    entry.field.add(
        name="value",
        number=2,
        type=field_type.TYPE_MESSAGE,
        type_name=".tensorflow.Feature",
        label=field_type.LABEL_OPTIONAL,
    )
    features.field.add(
        name="feature",
        number=1,
        type=field_type.TYPE_MESSAGE,
        type_name=".tensorflow.Features.FeatureEntry",
        label=field_type.LABEL_REPEATED,
    )
    example = file.message_type.add(name="Example")
    example.field.add(
        name="features",
        number=1,
        type=field_type.TYPE_MESSAGE,
        type_name=".tensorflow.Features",
        label=field_type.LABEL_OPTIONAL,
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName("tensorflow.Example")
    )


_Example = _example_class()


def _serialize(
    record: PersonRecord,
    image: images.Image,
    joints: NDArray[np.float32],
    square: SquareCrop,
    settings: _Settings,
) -> bytes:
    stored = images.crop_with_surroundings(image, square, settings.size)
    example = _Example()
    feature = example.features.feature
    texts = {
        "image": images.encode(stored, settings.codec, settings.quality),
        "id": record.id.encode(),
        "source": record.source.encode(),
        "group": record.group.encode(),
        "split": record.split.encode(),
        "picture": record.image.path.name.encode(),
    }
    for name, value in texts.items():
        feature[name].bytes_list.value.append(value)
    feature["joints"].float_list.value.extend(joints.ravel().tolist())
    feature["visible"].int64_list.value.extend(record.visible.tolist())
    feature["square"].float_list.value.extend(square)
    # Maps have no order of their own: without this the bytes differ from run to run.
    return bytes(example.SerializeToString(deterministic=True))


def parse(serialized: bytes) -> Sample:
    """Return the sample in a serialised ``tf.train.Example``.

    Raises:
        InputError: If a feature is missing or the picture cannot be decoded.
    """
    feature = _Example.FromString(serialized).features.feature
    try:
        texts = {
            name: feature[name].bytes_list.value[0]
            for name in ("image", "id", "source", "group", "split", "picture")
        }
        square = SquareCrop(*feature["square"].float_list.value)
    except (IndexError, TypeError) as error:
        raise InputError(f"expected an example of `kpose prepare`: {error}") from None
    name = texts["id"].decode()
    return Sample(
        id=name,
        source=texts["source"].decode(),
        group=texts["group"].decode(),
        split=texts["split"].decode(),
        picture=texts["picture"].decode(),
        image=images.decode(texts["image"], name),
        joints=np.array(feature["joints"].float_list.value, np.float32).reshape(-1, 3),
        visible=np.array(feature["visible"].int64_list.value, np.int8),
        square=square,
    )
