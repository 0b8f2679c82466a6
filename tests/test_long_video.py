"""Memory of a long job, with the real network, detectors and codecs."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

import kpose
from kpose import prediction_files

FRAMES = 20_000
MEGABYTE = 2**20


@pytest.fixture
def long_clip(tmp_path):
    """A figure that walks to and fro, small so that it is soon written."""
    path = tmp_path / "long.mp4"
    codec = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(path), codec, 30, (160, 120))
    assert writer.isOpened()
    for number in range(FRAMES):
        image = np.full((120, 160, 3), 60, np.uint8)
        x = 80 + round(50 * np.sin(number / 40))
        cv2.rectangle(image, (x - 10, 40), (x + 10, 110), (40, 90, 200), -1)
        cv2.circle(image, (x, 28), 10, (150, 180, 220), -1)
        writer.write(image)
    writer.release()
    return path


@pytest.fixture
def detector():
    """SSD where it is there, to be in the memory too; else the whole picture."""
    root = Path(
        os.environ.get("KPOSE_MODELS", Path(__file__).parents[2] / "shared" / "models")
    )
    path = root / "ssd_mobilenet_v1_coco_quant" / "detect.tflite"
    return f"tflite:{path}" if path.is_file() else None


def resident():
    """Return the resident memory of this process in bytes (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_memory_does_not_grow_over_twenty_thousand_frames(
    long_clip, detector, tmp_path
):
    predictor = kpose.load(
        "compact", detector=detector, flip_test=False, follow=10, min_score=0.1
    )
    memory = []

    def watch(picture, people):
        if picture.frame % 1000 == 999:
            memory.append(resident())
        return True

    summary = prediction_files.write_folder(
        predictor,
        [long_clip],
        tmp_path / "out",
        save=prediction_files.KINDS,
        watch=watch,
    )

    print([round(size / MEGABYTE, 1) for size in memory], summary)
    assert summary["decoded"] == FRAMES
    lines = (tmp_path / "out" / "keypoints.jsonl").read_text().splitlines()
    assert len(lines) >= FRAMES
    assert max(memory[1:]) - memory[0] < 20 * MEGABYTE
