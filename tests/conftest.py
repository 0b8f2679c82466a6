"""Fixtures that several test files share."""

import os
import struct
from pathlib import Path

import cv2
import hypothesis
import numpy as np
import pytest

from kpose.config import Config, Training
from kpose.examples import Source, prepare
from kpose.joints import BODY_13, COCO_17
from kpose.records import ImageRef, PersonRecord

# The same examples in every run, on machines of any speed. New ones:
# `pytest --hypothesis-profile default`.
hypothesis.settings.register_profile("kpose", deadline=None, derandomize=True)
hypothesis.settings.load_profile("kpose")


def draw_people(folder, count, skeleton, split="train"):
    """Write ``count`` pictures with a dot per joint and return their records."""
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(len(skeleton))
    # A row of joints down the middle, so that there is a pose to learn.
    base = np.stack(
        [
            60 + 20 * (np.arange(len(skeleton)) % 3 - 1),
            np.linspace(20, 140, len(skeleton)),
        ],
        axis=1,
    )
    records = []
    for number in range(count):
        joints = np.ones((len(skeleton), 3), np.float32)
        joints[:, :2] = base + generator.uniform(-6, 6, base.shape)
        image = generator.integers(0, 90, (160, 120, 3), np.uint8)
        for index, (x, y) in enumerate(joints[:, :2]):
            color = (255, 40 + 12 * index, 255 - 12 * index)
            cv2.circle(image, (round(float(x)), round(float(y))), 4, color, -1)
        path = folder / f"{split}{number:03}.png"
        cv2.imwrite(str(path), image)
        if number % 4 == 3:
            joints[3] = 0  # partly annotated
        visible = np.ones(len(skeleton), np.int8)
        records.append(
            PersonRecord(
                path.stem, ImageRef(path), joints, visible, "tiny", path.stem, split
            )
        )
    return records


@pytest.fixture(scope="session")
def lsp_folder():
    """The Leeds Sports Pose folder, in ``KPOSE_DATA`` or ``../shared/data``."""
    root = Path(
        os.environ.get("KPOSE_DATA", Path(__file__).parents[2] / "shared" / "data")
    )
    if not (root / "lsp" / "joints.mat").is_file():
        pytest.skip(f"no lsp/joints.mat in {root} (set KPOSE_DATA)")
    return root / "lsp"


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    """A prepared folder of 24 persons with 13 joints, crops of 64 px, lossless."""
    folder = tmp_path_factory.mktemp("tiny")
    source = Source(
        "tiny", draw_people(folder / "images", 24, BODY_13), "public domain"
    )
    prepare([source], folder / "data", size=64, codec="png", workers=1, shard_records=9)
    return folder / "data"


@pytest.fixture(scope="session")
def tiny_coco_data(tmp_path_factory):
    """The same with COCO's 17 keypoints."""
    folder = tmp_path_factory.mktemp("tiny17")
    source = Source(
        "tiny", draw_people(folder / "images", 16, COCO_17), "public domain"
    )
    prepare(
        [source],
        folder / "data",
        skeleton=COCO_17,
        size=64,
        codec="png",
        workers=1,
    )
    return folder / "data"


@pytest.fixture
def tiny_config():
    """A training of seconds: a narrow ``linna2016`` on 64 px crops."""
    return Config(
        training=Training(
            epochs=2,
            batch=4,
            optimizer="adamw",
            learning_rate=1e-3,
            weight_decay=0.01,
            schedule="cosine",
            warmup_epochs=0.5,
            ema=0.9,
            validation_persons=4,
        ),
        model={"name": "linna2016", "size": 64, "width": 0.02, "dropout": 0.2},
    )


@pytest.fixture(scope="session")
def real_videos():
    """The folder of real videos, in ``KPOSE_DATA`` or ``../shared/data``."""
    root = Path(
        os.environ.get("KPOSE_DATA", Path(__file__).parents[2] / "shared" / "data")
    )
    if not (root / "videos").is_dir():
        pytest.skip(f"no videos in {root} (set KPOSE_DATA)")
    return root / "videos"


def change_mp4(data, changes):
    """Return an mp4 whose boxes are changed, with the lengths around them put right.

    Args:
        data: The file.
        changes: Kind -> function from the old content to the new one, None for no box.
    """
    result = b""
    while data:
        length = int.from_bytes(data[:4], "big")
        kind, content, data = data[4:8], data[8:length], data[length:]
        if kind in (b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl"):
            content = change_mp4(content, changes)
        content = changes.get(kind, lambda same: same)(content)
        if content is not None:
            result += struct.pack(">I4s", 8 + len(content), kind) + content
    return result


@pytest.fixture(scope="session")
def changed_mp4():
    """The function ``change_mp4``."""
    return change_mp4


@pytest.fixture(scope="session")
def variable_rate_clip():
    """A function that writes an mp4 with the frames and times that it is given.

    ``variable_rate_clip(path, frames, times_ms)``: frames are RGB uint8 of one even
    size, the first time is 0. The last frame is shown as long as the one before it.
    """

    def write(path, frames, times_ms):
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        size = frames[0].shape[1::-1]
        video = cv2.VideoWriter(str(path), codec, 25, size)
        assert video.isOpened()
        for frame in frames:
            video.write(np.ascontiguousarray(frame[..., ::-1]))
        video.release()
        assert len(times_ms) == len(frames) > 1
        assert times_ms[0] == 0
        # OpenCV writes constant rates only: its table of durations is replaced.
        microseconds = np.rint(1000 * np.asarray(times_ms, np.float64)).astype(int)
        steps = np.diff(microseconds).tolist()
        steps.append(steps[-1])
        table = struct.pack(">II", 0, len(steps))
        table += b"".join(struct.pack(">II", 1, step) for step in steps)
        scale = struct.pack(">II", 1_000_000, sum(steps))
        changes = {
            b"stts": lambda old: table,
            b"mdhd": lambda old: old[:12] + scale + old[20:],
            b"edts": lambda old: None,
        }
        path.write_bytes(change_mp4(path.read_bytes(), changes))

    return write
