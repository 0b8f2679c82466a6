"""Read and write video files frame by frame. OpenCV's BGR stops here."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from kpose.errors import InputError
from kpose.images import Image

SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
"""Names that are taken for videos."""


class Frame(NamedTuple):
    """One frame: 0-based number, its time in milliseconds, RGB uint8 pixels."""

    number: int
    time_ms: float
    image: Image


def is_video(path: Path) -> bool:
    """Return whether the name is that of a video."""
    return path.suffix.lower() in SUFFIXES


def frames(path: Path) -> Iterator[Frame]:
    """Yield the frames of a video in order.

    The times are those of the container, not index / fps: frame rates vary.

    Raises:
        InputError: If the file is no video, or has no frame.
    """
    video = cv2.VideoCapture(str(path))
    try:
        number = 0
        while True:
            good, pixels = video.read()
            if not good:
                break
            image = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
            yield Frame(number, float(video.get(cv2.CAP_PROP_POS_MSEC)), image)
            number += 1
        if number == 0:
            raise InputError(f"{path} must be a video, but no frame can be decoded")
    finally:
        video.release()


def rate(path: Path) -> float:
    """Return the frames per second that the container gives, 25 where it gives none."""
    video = cv2.VideoCapture(str(path))
    fps = video.get(cv2.CAP_PROP_FPS)
    video.release()
    return float(fps) if np.isfinite(fps) and fps > 0 else 25.0


class Writer:
    """Writes an mp4 video; use as a context manager.

    Args:
        path: Ends in ``.mp4``.
        fps: Frames per second.
    """

    def __init__(self, path: Path, fps: float) -> None:
        """Open nothing yet: the first picture gives the size."""
        self.path, self.fps = path, fps
        self._video: cv2.VideoWriter | None = None

    def __enter__(self) -> "Writer":
        """Return the writer."""
        return self

    def __exit__(self, *error: object) -> None:
        """Finish the file."""
        if self._video is not None:
            self._video.release()

    def write(self, image: Image) -> None:
        """Append an RGB uint8 picture; all have the size of the first.

        Raises:
            InputError: If OpenCV cannot write such a file.
        """
        if self._video is None:
            # H.264 is not in OpenCV's wheels: it would write nothing, silently.
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            size = (image.shape[1], image.shape[0])
            self._video = cv2.VideoWriter(str(self.path), codec, self.fps, size)
            if not self._video.isOpened():
                raise InputError(
                    f"{self.path} of {size[0]} x {size[1]} pixels at {self.fps} frames "
                    "per second cannot be written by OpenCV (mp4v)"
                )
        self._video.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
