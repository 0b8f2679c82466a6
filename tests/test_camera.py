import queue
import threading

import cv2
import numpy as np
import pytest

from kpose import camera, sources
from kpose.camera import Camera
from kpose.errors import InputError


def picture(value):
    """BGR, as OpenCV gives it: the value is in the red channel."""
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[..., 2] = value
    return pixels


class FakeCamera:
    """Gives the pictures that it is fed, then fails."""

    def __init__(self, there=True):
        self.there, self.opened, self.released = there, [], False
        self.pictures = queue.Queue()
        self.ended = threading.Event()
        self.busy = False

    def open(self, index):
        self.opened.append(index)
        return self.there

    def read(self):
        if self.busy:
            self.pictures.task_done()
        self.busy = not self.ended.is_set() or not self.pictures.empty()
        pixels = self.pictures.get() if self.busy else None
        return pixels is not None, pixels

    def release(self):
        self.released = True

    def feed(self, *values):
        """Return when the last picture is read, and another one is asked for."""
        for value in values:
            self.pictures.put(None if value is None else picture(value))
        self.pictures.join()

    def end(self):
        self.ended.set()
        self.pictures.put(None)


@pytest.fixture
def fake(monkeypatch):
    fake = FakeCamera()
    monkeypatch.setattr(cv2, "VideoCapture", lambda: fake)
    monkeypatch.setattr(camera, "PAUSE", 0)
    yield fake
    for thread in threads():
        thread.join(5)


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("camera")]


def test_a_slow_consumer_gets_the_newest_frame_and_no_queue(fake):
    shots = camera.shots(Camera(3))
    feeder = threading.Thread(target=fake.feed, args=(10,))
    feeder.start()
    first = next(shots)
    feeder.join()
    fake.feed(20, 30, 40)
    second = next(shots)
    fake.feed(50)
    third = next(shots)
    fake.end()

    assert fake.opened == [3]
    assert [s.number for s in (first, second, third)] == [0, 3, 4]
    reds = [int(s.image[0, 0, 0]) for s in (first, second, third)]
    assert reds == [10, 40, 50]
    assert first.image.shape == (4, 6, 3) and first.image[0, 0].tolist() == [10, 0, 0]


def test_time_is_that_of_capture_since_the_first_frame(fake, monkeypatch):
    clock = iter([100.0, 100.04, 100.25])
    monkeypatch.setattr(camera.time, "monotonic", lambda: next(clock))
    shots = camera.shots(Camera(0))
    feeder = threading.Thread(target=fake.feed, args=(1,))
    feeder.start()
    first = next(shots)
    feeder.join()
    fake.feed(2, 3)
    last = next(shots)
    fake.end()

    assert (first.captured, first.time_ms) == (100.0, 0.0)
    assert last.captured == 100.25 and last.time_ms == pytest.approx(250)


def test_a_frame_is_given_once(fake):
    """The next one is waited for; here the camera goes away instead."""
    for value in (1, 2):
        fake.pictures.put(picture(value))
    fake.end()

    numbers = [shot.number for shot in camera.shots(Camera(0))]

    assert numbers in ([0, 1], [1])
    assert fake.released and not threads()


@pytest.mark.parametrize("stop", ["close", "exception", "garbage"])
def test_the_thread_ends_with_the_generator(monkeypatch, stop):
    class Endless(FakeCamera):
        def read(self):
            return True, picture(1)

    fake = Endless()
    monkeypatch.setattr(cv2, "VideoCapture", lambda: fake)
    shots = camera.shots(Camera(0))
    next(shots)
    assert len(threads()) == 1

    if stop == "close":
        shots.close()
    elif stop == "exception":
        with pytest.raises(KeyboardInterrupt):
            shots.throw(KeyboardInterrupt)
    else:
        del shots

    assert fake.released and not threads()


def test_some_broken_frames_are_passed_over(fake):
    bad = [None] * (camera.FAILURES - 1)
    shots = camera.shots(Camera(0))
    feeder = threading.Thread(target=fake.feed, args=(*bad, 1, *bad, 2))
    feeder.start()
    shot = next(shots)
    feeder.join()
    while shot.number < 1:
        shot = next(shots)
    fake.end()

    assert shot.image[0, 0, 0] == 2


def test_a_camera_that_goes_away_ends_the_stream_with_a_problem(fake):
    pictures = sources.pictures(Camera(0))
    feeder = threading.Thread(target=fake.feed, args=(7,))
    feeder.start()
    first = next(pictures)
    feeder.join()
    fake.end()
    (gone,) = pictures

    assert (first.source, first.frame, first.problem) == ("camera 0", 0, "")
    assert first.captured is not None and first.time_ms == 0
    assert (gone.source, gone.frame, gone.image) == ("camera 0", 1, None)
    assert gone.problem == "the camera gives no pictures any more"
    assert not threads()


def test_a_camera_that_gives_nothing(fake):
    fake.end()

    with pytest.raises(InputError, match=r"^camera 2 must give pictures, but gives"):
        next(sources.pictures(Camera(2)))

    assert not threads()


@pytest.mark.parametrize("index", [0, 5])
def test_a_camera_that_is_not_there(monkeypatch, index):
    monkeypatch.setattr(cv2, "VideoCapture", lambda: FakeCamera(there=False))

    with pytest.raises(InputError) as error:
        next(sources.pictures(Camera(index)))

    assert str(error.value) == (
        f"camera {index} must be a camera that can be opened, but there is none, or "
        "another program has it"
    )


def test_a_number_that_no_camera_can_have():
    with pytest.raises(InputError, match="camera 20240131123000 must be a camera"):
        next(sources.pictures(Camera(20240131123000)))
