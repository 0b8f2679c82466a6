"""Detections on disk."""

import multiprocessing
import sqlite3

import numpy as np
import pytest

from kpose import detection
from kpose.detection import Detection
from kpose.detection.cache import FILE
from kpose.errors import InputError
from kpose.geometry import Box

PICTURE = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)


class Counting:
    """A detector that counts how often it is asked."""

    name = "counting:file"
    threshold = 0.25
    given = False

    def __init__(self, identity="one"):
        self.identity = identity
        self.asked = 0

    def detect(self, image, picture="", frame=0):
        self.asked += 1
        mean = float(image.mean()) / 3
        return [
            Detection(Box(-mean, 0.1, 1 / 3, 4.0), 1 / 3),
            Detection(Box(0, 0, 9, 9), None),
        ]


def test_a_picture_goes_through_the_detector_once(tmp_path):
    detector = Counting()
    first = detection.cached(detector, tmp_path).detect(PICTURE, "a.jpg")
    second = detection.cached(detector, tmp_path).detect(PICTURE.copy(), "b.jpg", 5)

    assert detector.asked == 1
    assert first == second == Counting().detect(PICTURE)
    assert isinstance(second[0].box, Box)


def test_nobody_is_an_answer_too(tmp_path):
    class Nobody(Counting):
        def detect(self, image, picture="", frame=0):
            super().detect(image)
            return []

    detector = Nobody()
    cached = detection.cached(detector, tmp_path)

    assert [cached.detect(PICTURE), cached.detect(PICTURE)] == [[], []]
    assert detector.asked == 1


@pytest.mark.parametrize(
    "other",
    [PICTURE + 1, PICTURE.reshape(4, 2, 3), PICTURE[:, ::-1]],
    ids=["pixels", "shape", "mirrored"],
)
def test_another_picture_is_asked_for(tmp_path, other):
    detector = Counting()
    cached = detection.cached(detector, tmp_path)
    cached.detect(PICTURE)

    assert cached.detect(other) == Counting().detect(other)
    assert detector.asked == 2


def test_another_detector_is_asked(tmp_path):
    detection.cached(Counting("one"), tmp_path).detect(PICTURE)
    other = Counting("two")
    detection.cached(other, tmp_path).detect(PICTURE)

    assert other.asked == 1


def test_it_says_who_it_is_like_the_detector(tmp_path):
    cached = detection.cached(Counting(), tmp_path)

    assert (cached.name, cached.identity, cached.threshold) == (
        "counting:file",
        "one",
        0.25,
    )


def test_whole_and_boxes_need_no_cache(tmp_path):
    path = tmp_path / "boxes.json"
    path.write_text('{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": []}')

    for name in ("whole", f"boxes:{path}"):
        detector = detection.open(name)
        assert detection.cached(detector, tmp_path) is detector
    assert not (tmp_path / FILE).exists()


def test_the_default_folder_is_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    detection.cached(Counting()).detect(PICTURE)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    detection.cached(Counting()).detect(PICTURE)

    assert (tmp_path / "xdg" / "kpose" / FILE).is_file()
    assert (tmp_path / "home" / ".cache" / "kpose" / FILE).is_file()


def test_a_damaged_file_is_one_line_that_says_what_to_do(tmp_path):
    (tmp_path / FILE).write_bytes(b"no database" * 100)

    with pytest.raises(InputError, match=rf"^expected .*{FILE}, got: .* delete it"):
        detection.cached(Counting(), tmp_path)


def test_a_file_that_breaks_later_is_the_same_line(tmp_path):
    cached = detection.cached(Counting(), tmp_path)
    with sqlite3.connect(tmp_path / FILE) as other:
        other.execute("DROP TABLE detections")
    other.close()

    with pytest.raises(InputError, match=rf"^expected .*{FILE}, got: no such table"):
        cached.detect(PICTURE)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(InputError, match=r"^expected .*file.*, got: .*"):
        detection.cached(Counting(), tmp_path / "file" / "folder")


def _fill(folder, seed):
    cached = detection.cached(Counting(), folder)
    generator = np.random.default_rng(seed)
    for _ in range(50):
        cached.detect(generator.integers(0, 256, (4, 4, 3), np.uint8))


def test_several_processes_write_one_new_file_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_fill, args=(tmp_path, n)) for n in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert [worker.exitcode for worker in workers] == [0, 0]
    with sqlite3.connect(tmp_path / FILE) as file:
        assert file.execute("SELECT count(*) FROM detections").fetchone() == (100,)
    file.close()
