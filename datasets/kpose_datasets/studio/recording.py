"""Recordings of rendered people, as a Kinect and PersonTracker would have made them.

One take per set of clothes, and one of the first clothes with other gestures that is
held out for testing: the paper's Table 3.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from kpose import images
from kpose.drawing import contact_sheet, draw_label, draw_skeleton
from kpose.errors import InputError
from kpose.files import atomic_folder
from kpose.geometry import Box
from kpose.joints import BODY_13
from kpose.workers import in_order
from kpose_datasets.persontracker import TakeWriter
from kpose_datasets.studio import faults
from kpose_datasets.studio.stage import Stage
from kpose_datasets.studio.wardrobe import CLOTHINGS
from kpose_datasets.takes import FPS, INFERRED, SHORTEST, TRACKED, Body, Facts

SIZE = (1280, 720)
"""Width and height of PersonTracker's pictures."""

DAY = "2026_01_01"
"""The date folder: the bytes do not depend on when they are made."""

PEOPLE = range(1, 7)
"""A Kinect tracks at most six."""

PREVIEW = "preview.png"

ROOM = "room.png"
"""The empty room, not mirrored, for ``augmentation.rooms``."""

QUALITY = 88
"""Of the JPEG files."""

CHUNK = 16
"""Frames per task of a worker process."""

CELL = 640
"""Width of a picture of the preview."""


class _Chunk(NamedTuple):
    """Some frames of a take."""

    take: int
    clothing: int
    first: int
    frames: int
    duration: float


def write(
    out: Path,
    *,
    clothings: Sequence[int] = CLOTHINGS,
    frames: int = 200,
    test: int = 200,
    people: int = 1,
    subject: int = 1,
    seed: int = 0,
    fps: float = FPS,
    size: tuple[int, int] = SIZE,
    fault_share: float = 0.0,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Render recordings into the new folder ``out``.

    The bytes depend on the arguments up to ``fault_share`` alone. Pictures and joints
    are mirrored, as a Kinect's are; a joint that is hidden or out of the picture is
    *inferred*, at its true place. ``preview.png`` shows a frame of each take, not
    mirrored.

    Args:
        out: New or an empty folder; appears whole or not at all.
        clothings: Sets of clothes, 1 to 7: one take for each.
        frames: Per set of clothes, at least 10.
        test: Frames of another take in the first of ``clothings``, held out for
            testing; 0 for none.
        people: How many stand beside each other, up to 6; all are labelled.
        subject: Number of the first person; the others have the numbers after it.
        seed: Decides the room, the colours of the clothes and the gestures.
        fps: Frames per second. A low one makes frames of few seconds differ more.
        size: Width and height of the pictures in pixels, at least 64.
        fault_share: Share of the joints that get a tracker's fault
            (``faults.inject``). Then ``video_0000.truth.npz`` beside each take has
            ``points`` ``(frames, people, 13, 2)``, the true places in the stored
            picture, and ``wrong`` and ``kind`` ``(frames, people, 13)``.
        workers: Processes; None for one per core.
        progress: Called with the number of frames done since its last call.

    Returns:
        A summary: ``takes`` (name, clothing, split, frames), ``frames``, ``people``,
        ``joints`` (tracked and inferred ones), ``wrong`` (joints with a fault).

    Raises:
        InputError: If an argument cannot work, or ``out`` has content.
        ResourceError: If a worker process was killed, or the disk is full.
    """
    _check(clothings, frames, test, people, subject, seed, size, fault_share)
    plan = [(clothing, frames, "train") for clothing in clothings]
    if test:
        plan.append((clothings[0], test, "test"))
    subjects = range(subject, subject + people)
    chunks = [
        _Chunk(take, clothing, first, min(CHUNK, count - first), count / fps)
        for take, (clothing, count, _) in enumerate(plan)
        for first in range(0, count, CHUNK)
    ]
    task = partial(_render, seed=seed, subjects=subjects, fps=fps, size=size)
    takes: list[dict[str, Any]] = []
    tracked, wrong = np.zeros(3, int), 0
    shown = []
    with atomic_folder(out) as folder:
        rendered = (frame for part in in_order(task, chunks, workers) for frame in part)
        for take, (clothing, count, split) in enumerate(plan):
            facts = Facts(
                subject="+".join(str(each) for each in subjects),
                clothing=str(clothing),
                labelled_by="studio",
                mirrored="yes",
                fps=fps,
                split=split,
            )
            faulty = None
            if fault_share:
                chunk = _Chunk(take, clothing, 0, count, count / fps)
                points, states = _labels(chunk, seed, subjects, fps, size)
                faulty = _inject(points, states, [seed, take], fault_share)
            with TakeWriter(folder, facts, DAY) as writer:
                for index in range(count):
                    data, points, states = next(rendered)
                    if faulty is not None:
                        points, states = faulty.points[index], faulty.states[index]
                        wrong += int(faulty.wrong[index].sum())
                    bodies = [
                        Body(joints, state, str(person))
                        for person, (joints, state) in enumerate(
                            zip(points, states, strict=True)
                        )
                    ]
                    writer.write(data, bodies, 1000 * index / fps)
                    tracked += np.bincount(states.ravel(), minlength=3)
                    if index == count // 2:
                        title = f"clothing {clothing}, {split}"
                        shown.append(_cell(data, points, states, title))
                    if progress is not None:
                        progress(1)
                if faulty is not None:
                    truth = writer.folder.with_suffix(".truth.npz")
                    np.savez(
                        truth, points=faulty.true, wrong=faulty.wrong, kind=faulty.kind
                    )
                takes.append(
                    {
                        "name": writer.name,
                        "clothing": clothing,
                        "split": split,
                        "frames": count,
                    }
                )
        sheet = contact_sheet(shown, min(len(shown), 3))
        (folder / PREVIEW).write_bytes(images.encode(sheet, "png", 0))
        empty = Stage(seed, size).empty
        (folder / ROOM).write_bytes(images.encode(empty, "png", 0))
    return {
        "out": str(out),
        "takes": takes,
        "frames": sum(count for _, count, _ in plan),
        "people": people,
        "joints": {
            "tracked": int(tracked[TRACKED]),
            "inferred": int(tracked[INFERRED]),
        },
        "wrong": wrong,
        "preview": str(out / PREVIEW),
        "room": str(out / ROOM),
    }


def _check(
    clothings: Sequence[int],
    frames: int,
    test: int,
    people: int,
    subject: int,
    seed: int,
    size: tuple[int, int],
    fault_share: float,
) -> None:
    """Refuse what cannot work."""
    for each in clothings:
        if each not in CLOTHINGS:
            raise InputError(f"clothing must be one of 1 to 7. Received: {each}")
    if not clothings:
        raise InputError(
            "clothing must be one or more of 1 to 7, of a range the smaller first. "
            "Received: none"
        )
    if len(set(clothings)) < len(clothings):
        raise InputError(f"clothings must differ. Received: {list(clothings)}")
    if people not in PEOPLE:
        raise InputError(f"people must be 1 to {PEOPLE[-1]}. Received: {people}")
    # PersonTracker deletes shorter takes, and its reader leaves them out.
    if frames < SHORTEST or (test < SHORTEST and test != 0):
        raise InputError(
            f"frames must be at least {SHORTEST}, and test too, or 0. Received: frames "
            f"{frames}, test {test}"
        )
    if subject < 0 or seed < 0 or min(size) < 64:
        raise InputError(
            "subject and seed must be at least 0 and size at least 64 x 64. Received: "
            f"subject {subject}, seed {seed}, size {size[0]} x {size[1]}"
        )
    if not 0 <= fault_share <= 0.5:
        raise InputError(f"faults must be 0 to 0.5. Received: {fault_share}")


@lru_cache(maxsize=1)
def _stage(seed: int, size: tuple[int, int]) -> Stage:
    """A worker keeps its stage between tasks."""
    return Stage(seed, size)


def _render(
    chunk: _Chunk,
    *,
    seed: int,
    subjects: Sequence[int],
    fps: float,
    size: tuple[int, int],
) -> list[tuple[bytes, NDArray[np.float64], NDArray[np.int8]]]:
    """Return the JPEG file, joints and states of each frame of a chunk, mirrored."""
    stage = _stage(seed, size)
    actors = stage.actors(subjects, chunk.clothing, chunk.take, chunk.duration)
    done = []
    for index in range(chunk.first, chunk.first + chunk.frames):
        rng = np.random.default_rng([seed, 14, chunk.take, index])
        frame = stage.shoot(rng, actors, index / fps)
        picture = np.asarray(cv2.flip(frame.image, 1), np.uint8)
        points, states = _as_kinect(frame.joints, frame.visible, size)
        done.append((images.encode(picture, "jpeg", QUALITY), points, states))
    return done


def _as_kinect(
    joints: NDArray[np.float64], visible: NDArray[np.bool_], size: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """Return places in the mirrored picture, and tracking states."""
    points = joints.copy()
    points[..., 0] = size[0] - 1 - points[..., 0]
    return points, np.where(visible, TRACKED, INFERRED).astype(np.int8)


def _labels(
    chunk: _Chunk,
    seed: int,
    subjects: Sequence[int],
    fps: float,
    size: tuple[int, int],
) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """Return what ``_render`` does without the pictures, stacked over the frames."""
    stage = _stage(seed, size)
    actors = stage.actors(subjects, chunk.clothing, chunk.take, chunk.duration)
    pairs = [
        _as_kinect(*stage.labels(actors, index / fps), size)
        for index in range(chunk.first, chunk.first + chunk.frames)
    ]
    return np.stack([pair[0] for pair in pairs]), np.stack([pair[1] for pair in pairs])


class _Faulty(NamedTuple):
    """A take as a bad tracker gives it, frames first, then people."""

    true: NDArray[np.float64]
    points: NDArray[np.float64]
    states: NDArray[np.int8]
    wrong: NDArray[np.bool_]
    kind: NDArray[np.int8]


def _inject(
    points: NDArray[np.float64],
    states: NDArray[np.int8],
    seed: Sequence[int],
    share: float,
) -> _Faulty:
    """Put faults into the track of each person."""
    tracks = []
    for person in range(points.shape[1]):
        (own,) = np.random.SeedSequence([*seed, person]).generate_state(1).tolist()
        tracks.append(faults.inject(points[:, person], states[:, person], own, share))
    fields = [np.stack(column, axis=1) for column in zip(*tracks, strict=True)]
    return _Faulty(points, *fields)


def _cell(
    data: bytes,
    points: NDArray[np.float64],
    states: NDArray[np.int8],
    title: str,
) -> images.Image:
    """Return a picture of the preview: not mirrored, with what the tracker says."""
    picture = np.asarray(cv2.flip(images.decode(data), 1), np.uint8)
    height, width = picture.shape[:2]
    scale = CELL / width
    size = (CELL, max(round(scale * height), 1))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    picture = np.asarray(cv2.resize(picture, size, interpolation=way), np.uint8)
    for joints, state in zip(points, states, strict=True):
        shown = np.ones((len(BODY_13), 3))
        shown[:, 0] = scale * (width - 0.5 - joints[:, 0]) - 0.5
        shown[:, 1] = scale * (joints[:, 1] + 0.5) - 0.5
        shown[:, 2] = state == TRACKED
        picture = draw_skeleton(picture, shown, BODY_13)
    return draw_label(picture, Box(0.0, 0.0, 1.0, 1.0), title)
