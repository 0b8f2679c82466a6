"""Rendered people: recordings whose joints are known exactly, and their reader.

A folder holds ``images/000000.jpg`` onwards and ``people.jsonl``, one line per person.
It is drawn by ``kpose_datasets.studio`` and needs no download.
"""

import json
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kpose import images
from kpose.errors import InputError
from kpose.files import atomic_file, atomic_folder
from kpose.geometry import Box
from kpose.joints import BODY_13
from kpose.records import ImageRef, PersonRecord
from kpose.workers import in_order
from kpose_datasets.studio.scenes import (
    Scene,
    Shot,
    UseCase,
    render_person,
    varied_scene,
)

__all__ = ["LICENCE", "SKELETON", "read", "render_person", "write", "write_clip"]

SKELETON = BODY_13

LICENCE = "synthetic: rendered by kpose, Apache-2.0"

LABELS = "people.jsonl"

LOOKS = ("varied", "use_case")

SIZE = (320, 400)
"""Width and height of the pictures, pixels."""

FPS = 25.0
"""Frames per second of a clip."""

STRIDE = 0.4
"""Seconds between two pictures of a use-case recording, so that they differ."""

RECORDINGS = (("train", 0), ("train", 1), ("train", 2), ("val", 0), ("test", 1))
"""Split and clothing of the recordings of the use case: what is tested is another
recording of clothes that were trained on, as in the paper's section 4."""

CLIP = len(RECORDINGS)
"""Number of the recording that ``write_clip`` shows: in no split."""

CHUNK = 32
"""Pictures per task of a worker process."""


def write(
    out: Path,
    *,
    count: int,
    seed: int,
    look: str = "varied",
    size: tuple[int, int] = SIZE,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Render ``count`` pictures of one person each into the new folder ``out``.

    The bytes depend on ``count``, ``seed``, ``look`` and ``size`` alone. ``"varied"``:
    other people in other poses and places every time, 8 of 10 for training, 1 each for
    validation and test. ``"use_case"``: what a user would record: one person in one
    room who makes gestures, in the recordings of ``RECORDINGS``.

    Args:
        out: New or an empty folder; appears whole or not at all.
        count: Number of pictures.
        seed: Decides everything that is drawn.
        look: ``"varied"`` or ``"use_case"``.
        size: Width and height of the pictures in pixels, at least 64.
        workers: Processes; None for one per core. One renders in this process.
        progress: Called with the number of pictures done since its last call.

    Raises:
        InputError: If an argument cannot work, or ``out`` has content.
        ResourceError: If a worker process was killed.
    """
    if look not in LOOKS:
        raise InputError(f"look must be one of {', '.join(LOOKS)}. Received: {look!r}")
    if count < 1 or seed < 0 or min(size) < 64:
        raise InputError(
            "count must be at least 1, seed at least 0 and size at least 64 x 64. "
            f"Received: count {count}, seed {seed}, size {size[0]} x {size[1]}"
        )
    with atomic_folder(out) as folder:
        (folder / "images").mkdir()
        task = partial(
            _render, folder=folder, count=count, seed=seed, look=look, size=size
        )
        chunks = [
            range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)
        ]
        lines: list[str] = []
        for part in in_order(task, chunks, workers):
            lines += part
            if progress is not None:
                progress(len(part))
        (folder / LABELS).write_text("".join(lines), encoding="utf-8")


def _render(
    chunk: range,
    *,
    folder: Path,
    count: int,
    seed: int,
    look: str,
    size: tuple[int, int],
) -> list[str]:
    """Write the pictures of a chunk, return their lines of the label file."""
    lines = []
    use_case = UseCase(seed, size) if look == "use_case" else None
    for index in chunk:
        rng = np.random.default_rng([seed, 0, index])
        if use_case is not None:
            scene, split, group = _frame(use_case, index, count)
            quality = 90
        else:
            scene = varied_scene(rng, size)
            split = {8: "val", 9: "test"}.get(index % 10, "train")
            group = f"{index:06}"
            quality = int(rng.integers(60, 96))
        shot = render_person(rng, scene, size)
        picture = f"images/{index:06}.jpg"
        (folder / picture).write_bytes(images.encode(shot.image, "jpeg", quality))
        lines.append(_line(f"{index:06}", picture, shot, split, group))
    return lines


def _frame(use_case: UseCase, index: int, count: int) -> tuple[Scene, str, str]:
    """Return picture ``index`` of ``count`` of the use case, its split and group."""
    recording = index * len(RECORDINGS) // count
    first = -(-recording * count // len(RECORDINGS))
    split, clothing = RECORDINGS[recording]
    duration = STRIDE * math.ceil(count / len(RECORDINGS))
    script = use_case.script(recording, duration)
    scene = use_case.scene(script, clothing, STRIDE * (index - first))
    return scene, split, f"recording_{recording}"


def _line(name: str, picture: str, shot: Shot, split: str, group: str) -> str:
    box = _mask_box(shot.mask)
    points = zip(SKELETON.names, shot.joints[:, :2].tolist(), strict=True)
    row = {
        "id": name,
        "picture": picture,
        "joints": {joint: [round(x, 3), round(y, 3)] for joint, (x, y) in points},
        "visible": dict(zip(SKELETON.names, shot.visible.tolist(), strict=True)),
        "split": split,
        "group": group,
        "box": list(box) if box else None,
    }
    return json.dumps(row) + "\n"


def _mask_box(mask: NDArray[np.bool_]) -> Box | None:
    """Return the edges of the pixels of a mask, None where it has none."""
    if not mask.any():
        return None
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return Box(
        float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
    )


def write_clip(
    out: Path,
    *,
    seed: int,
    seconds: float = 4.0,
    size: tuple[int, int] = SIZE,
    fps: float = FPS,
) -> NDArray[np.float32]:
    """Render a video of the use case of ``seed``: gestures that ``write`` has not.

    Args:
        out: The ``.mp4`` file; appears whole or not at all.
        seed: That of ``write``: the same person in the same room.
        seconds: Length of the video.
        size: Width and height in pixels.
        fps: Frames per second.

    Returns:
        ``(frames, 13, 3)`` float32 joints: x and y in image pixels, 1.

    Raises:
        InputError: If the file name is wrong or OpenCV cannot write such a video.
    """
    frames = round(seconds * fps)
    if out.suffix != ".mp4" or frames < 1:
        raise InputError(
            "a clip must be named *.mp4 and have at least one frame. "
            f"Received: {out}, {frames} frames"
        )
    use_case = UseCase(seed, size)
    script = use_case.script(CLIP, seconds)
    joints = []
    with atomic_file(out) as beside:
        # OpenCV says nothing when it cannot write: it has to be asked.
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        writer = cv2.VideoWriter(str(beside), codec, fps, size)
        if not writer.isOpened():
            raise InputError(f"expected an OpenCV that writes mp4v video to {out}")
        for index in range(frames):
            rng = np.random.default_rng([seed, 3, index])
            # Two seconds in, so that the clip starts with a gesture under way.
            shot = render_person(rng, use_case.scene(script, 0, 1 + index / fps), size)
            writer.write(cv2.cvtColor(shot.image, cv2.COLOR_RGB2BGR))
            joints.append(shot.joints)
        writer.release()
    return np.stack(joints)


def read(root: Path) -> Iterator[PersonRecord]:
    """Yield every person of a folder that ``write`` made.

    Args:
        root: The folder that has ``people.jsonl``.

    Raises:
        InputError: If the label file is missing or a line of it is damaged; the message
            names file and line.
    """
    path = root / LABELS
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError(f"expected a label file {path}, but there is none") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} must be a text file: {error}") from None
    for number, line in enumerate(lines, start=1):
        try:
            record = _record(root, json.loads(line))
        except (
            *(ValueError, KeyError, TypeError, AttributeError),
            *(OverflowError, RecursionError),
        ) as error:
            raise InputError(
                f"{path}:{number} must be a person with id, picture, joints, visible, "
                f"split, group and box: {error!r:.100}. Received: {line:.60}"
            ) from None
        yield record


def _record(root: Path, row: dict[str, Any]) -> PersonRecord:
    names = SKELETON.names
    if set(row["joints"]) != set(names):
        raise ValueError(f"joints are {', '.join(row['joints'])}")
    joints = np.ones((len(names), 3), np.float32)
    with np.errstate(over="ignore"):  # inf is reported later
        joints[:, :2] = [row["joints"][name] for name in names]
    box = row["box"]
    return PersonRecord(
        id=str(row["id"]),
        image=ImageRef(root / str(row["picture"])),
        joints=joints,
        visible=np.array([row["visible"][name] for name in names], np.int8),
        source="synthetic",
        group=str(row["group"]),
        split=str(row["split"]),
        head_rule="point",
        box=None if box is None else Box(*(float(edge) for edge in box)),
    )
