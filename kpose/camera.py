"""The newest frame of a camera."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np

from kpose.errors import InputError
from kpose.images import Image

FAILURES = 20
"""A camera that fails so often in a row has gone; cheap ones give a broken frame now
and then, the first ones above all."""

PAUSE = 0.05
"""Seconds between two attempts after a failure."""


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera by its number, 0 is the first."""

    index: int

    def __str__(self) -> str:
        """Return what messages and rows call it."""
        return f"camera {self.index}"


class Shot(NamedTuple):
    """One frame of a camera.

    ``number`` counts the frames since the start, those that were not asked for in time
    included; ``time_ms`` is the time since the first frame; ``captured`` is
    ``time.monotonic()`` when the frame had left the camera, in seconds.
    """

    number: int
    time_ms: float
    image: Image
    captured: float


def shots(camera: Camera) -> Iterator[Shot]:
    """Yield the newest frame each time one is asked for, never the same one twice.

    A thread reads all frames and keeps the last one; it ends when this generator is
    closed. The generator ends when the camera has gone.

    Raises:
        InputError: If there is no such camera, or it gives no frame.
    """
    # A larger number is none to OpenCV, which takes a C int.
    video = cv2.VideoCapture()
    if camera.index > 0xFFFF or not video.open(camera.index):
        raise InputError(
            f"{camera} must be a camera that can be opened, but there is none, or "
            "another program has it"
        )
    reader = _Reader(video)
    try:
        shot = None
        while (shot := reader.newer(shot)) is not None:
            yield shot
        if reader.first is None:
            raise InputError(f"{camera} must give pictures, but gives none")
    finally:
        reader.stop()


class _Reader:
    """A thread that reads a camera and keeps its newest frame."""

    def __init__(self, video: cv2.VideoCapture) -> None:
        self.first: float | None = None
        self._video = video
        self._newest: tuple[int, float, Any] | None = None
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        # A daemon, because a driver may hang in read() for ever.
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self._thread.start()

    def newer(self, last: Shot | None) -> Shot | None:
        """Wait for a frame after ``last``; None when none will come."""
        seen = -1 if last is None else last.number
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._stopping.is_set()
                    or (self._newest is not None and self._newest[0] > seen)
                )
            )
            newest = self._newest
        if newest is None or newest[0] == seen:
            return None
        number, captured, pixels = newest
        assert self.first is not None
        return Shot(
            number,
            1000 * (captured - self.first),
            np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8),
            captured,
        )

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join(timeout=2)

    def _run(self) -> None:
        number = failures = 0
        try:
            while failures < FAILURES and not self._stopping.is_set():
                good, pixels = self._video.read()
                if not good:
                    failures += 1
                    self._stopping.wait(PAUSE)
                    continue
                captured, failures = time.monotonic(), 0
                with self._changed:
                    if self.first is None:
                        self.first = captured
                    self._newest = number, captured, pixels
                    self._changed.notify()
                number += 1
        finally:
            self._video.release()
            with self._changed:
                self._stopping.set()
                self._changed.notify()
