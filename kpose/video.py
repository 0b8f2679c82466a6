"""Read and write video files frame by frame. OpenCV's BGR stops here."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from kpose.camera import Camera
from kpose.errors import InputError
from kpose.images import MAX_PIXELS, Image

SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
"""Names that are taken for videos."""

RATE = 25.0
"""Frames per second where nothing says how many there are."""

FAILURES = 100_000
"""So many damaged frames in a row are the end of a video."""

MOST_FRAMES = 10_000_000
"""A container that promises more (46 hours at 60 per second) is not believed."""

ROUNDING = 1.01
"""Milliseconds; Matroska rounds its time stamps to one."""


class Frame(NamedTuple):
    """One frame: 0-based number, its time in milliseconds, RGB uint8 pixels.

    ``image`` is None where the frame is damaged or missing, and ``problem`` says so;
    its time is then that of its place between its neighbours.
    """

    number: int
    time_ms: float
    image: Image | None
    problem: str = ""


def is_video(path: Path) -> bool:
    """Return whether the name is that of a video."""
    return path.suffix.lower() in SUFFIXES


def frames(path: Path, max_pixels: int = MAX_PIXELS) -> Iterator[Frame]:
    """Yield the frames of a video in order, also those that cannot be decoded.

    The times are those of the container, not number / fps: frame rates vary.

    OpenCV leaves out what it cannot decode, and what a container promises is only a
    hint: a trimmed mp4 promises the frames that were cut off, the sound of a Matroska
    file may be longer than its frames, an AVI counts frames that repeat, and time
    stamps have gaps where a camera dropped frames. So a frame counts as missing where

    - decoding failed: as many as attempts failed, or as many as the time stamps leave
      out where their rate is constant; never more than promised;
    - the container promises it after the last one, and decoding failed before, or the
      file is shorter than it says (mp4, mov, mkv, webm), or it is an AVI.

    Data that is lost in the middle of a Matroska file or an AVI leaves no trace but the
    time stamps or the count, and the frames after it have smaller numbers.

    Args:
        path: The video.
        max_pixels: The most pixels that a frame may have.

    Raises:
        InputError: If the file is no video, or has no frame, or too large ones.
    """
    video = cv2.VideoCapture(str(path))
    try:
        width, height = (int(video.get(side)) for side in _SIDES)
        if width * height > max_pixels:
            raise InputError(
                f"{path} must have frames of at most {max_pixels} pixels, but has "
                f"{width} x {height}"
            )
        track = _Track(path, video)
        while track.may_go_on():
            good, pixels = video.read()
            if not good:
                track.failures += 1
                continue
            stamp = video.get(cv2.CAP_PROP_POS_MSEC)
            if track.is_past(stamp):
                continue
            yield from track.up_to(stamp)
            image = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
            yield Frame(track.number, track.time, image)
            track.number += 1
        if track.number == 0:
            rest = (
                "whole video, but it is cut short:" if _is_cut(path) else "video, but"
            )
            raise InputError(f"{path} must be a {rest} no frame can be decoded")
        yield from track.rest()
    finally:
        video.release()


_SIDES = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)


class _Track:
    """Numbers and times of the frames of one video, those that are missing included.

    Attributes:
        number: Of the next frame.
        time: Of the frame before, in milliseconds.
        failures: Attempts to decode that failed since that frame. In the middle of a
            video each stands for one frame; at its end there is no end of them.
    """

    def __init__(self, path: Path, video: cv2.VideoCapture) -> None:
        fps = video.get(cv2.CAP_PROP_FPS)
        self.number = self.failures = 0
        self._path = path
        self._promised = _promised(video)
        self._period = 1000 / (fps if 0 < fps < np.inf else RATE)
        self.time = -self._period
        self._avi = _starts_with(path)[8:12] == b"AVI "
        self._late = 0.0  # milliseconds by which all stamps are late
        self._constant = True
        self._shortest = self._period  # step so far
        self._failed = 0  # failures whose frames are not placed yet
        self._damaged = False

    def may_go_on(self) -> bool:
        """Return whether a frame may come after ``failures``."""
        left = min(self._promised - self.number, FAILURES)
        return self.failures <= max(left, 0)

    def is_past(self, stamp: float) -> bool:
        """Return whether the decoder, after damage, gives a frame too late."""
        damaged = self._damaged or self.failures > 0
        return damaged and not self._avi and stamp <= self.time

    def up_to(self, stamp: float) -> Iterator[Frame]:
        """Go on to the frame at ``stamp``, by way of the missing frames before it."""
        self._failed += self.failures
        self._damaged |= self.failures > 0
        self.failures = 0
        start, self.time = self.time, self._time(stamp)
        missing = self._missing(self.time - start)
        if self._promised:
            missing = min(missing, max(self._promised - self.number - 1, 0))
        self._failed = max(self._failed - missing, 0)
        for nth in range(1, missing + 1):
            part = nth / (missing + 1)
            yield self._lost(max(start + part * (self.time - start), 0.0))

    def rest(self) -> Iterator[Frame]:
        """Yield what the container promises after the last frame, see ``frames``."""
        missing = self._promised - self.number
        if self._avi:
            # It also promises those that repeat, which have a time but are no frames.
            covered = round(self.time / self._period) + 1
            missing = min(missing, self._promised - covered)
        elif not self._damaged and not _is_cut(self._path):
            missing = 0
        for _ in range(missing):
            self.time += self._period
            yield self._lost(self.time)

    def _time(self, stamp: float) -> float:
        """Return when the frame is shown."""
        if not self._avi:
            return max(stamp, self.time)
        # AVI has no stamps: OpenCV gives that of the data which the decoder took last,
        # too late by the frames that it holds back, and 0 for those at the end.
        if self.number == 0 and not self._damaged:
            self._late = stamp
        time = stamp - self._late
        return time if time > self.time + self._period / 2 else self.time + self._period

    def _missing(self, step: float) -> int:
        """Return how many frames there are between two, ``step`` milliseconds apart."""
        whole = round(step / self._period)
        on_grid = abs(step - whole * self._period) <= ROUNDING
        if self._damaged and self._constant and on_grid:
            return max(whole - 1, 0)
        # A decoder that holds frames back gives some of those before the damage after
        # it failed: the missing ones lie where the time jumps.
        if self._failed:
            return self._failed if step > 1.5 * self._shortest else 0
        if self.number:
            self._constant &= on_grid and whole == 1
            self._shortest = min(self._shortest, step)
        return 0

    def _lost(self, time: float) -> Frame:
        self.number += 1
        return Frame(self.number - 1, time, None, "the frame is damaged or missing")


def _promised(video: cv2.VideoCapture) -> int:
    """Return how many frames the container promises, 0 if it does not say."""
    count = video.get(cv2.CAP_PROP_FRAME_COUNT)
    return int(count) if 0 < count <= MOST_FRAMES else 0


def _starts_with(path: Path) -> bytes:
    """Return the first 64 bytes of a file, none where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(64)
    except OSError:
        return b""


def _is_cut(path: Path) -> bool:
    """Return whether an mp4, mov, mkv or webm file ends before it says that it does."""
    head = _starts_with(path)
    if head[:4] == b"\x1a\x45\xdf\xa3":  # Matroska: a header, then one segment
        at, length = _matroska_length(head, 4)
        at, length = _matroska_length(head, at + length + 4)
        return at + length > path.stat().st_size
    if head[4:8] != b"ftyp":
        return False
    at, end = 0, path.stat().st_size
    with path.open("rb") as file:
        while at < end:
            file.seek(at)
            box = file.read(16)
            length = int.from_bytes(box[:4])
            if length == 1:
                length = int.from_bytes(box[8:])
            if length < 8:  # 0 is "to the end of the file"
                return False
            at += length
    return at > end


def _matroska_length(head: bytes, at: int) -> tuple[int, int]:
    """Return where an element's content starts and its length, 0 where unknown.

    RFC 8794, section 4: as many leading zero bits as there are bytes after the first.
    """
    first = head[at] if at < len(head) else 0
    size = 9 - first.bit_length()
    most = (1 << 7 * size) - 1
    length = int.from_bytes(head[at : at + size]) & most
    return at + size, 0 if length == most else length


def promised(path: Path) -> int | None:
    """Return how many frames the container promises: a hint.

    Returns:
        None where it promises nothing; 0 where the file is no video.
    """
    video = cv2.VideoCapture(str(path))
    count = _promised(video) if video.isOpened() else 0
    unknown = video.isOpened() and count == 0
    video.release()
    return None if unknown else count


def rate(source: Path | Camera) -> float:
    """Return the mean frames per second that a container gives.

    25 where it gives none and for a camera, whose rate is that of the work on it; 1 to
    240 in any case, so that a ``Writer`` can take it.
    """
    if isinstance(source, Camera):
        return RATE
    video = cv2.VideoCapture(str(source))
    fps = video.get(cv2.CAP_PROP_FPS)
    video.release()
    return min(max(fps, 1.0), 240.0) if 0 < fps < np.inf else RATE


class Writer:
    """Writes an mp4 video; use as a context manager.

    The codec is MPEG-4 part 2 (``mp4v``): OpenCV's wheels have no encoder for H.264 and
    say nothing when they are asked for one. Most players show it, most browsers do not.

    The rate is constant: a video of variable rate plays at the speed of its mean.
    Pictures of odd width or height get one more column or row, because the codec would
    drop the last; a picture of another size than the first is scaled to fit into it,
    black around.

    Args:
        path: Ends in ``.mp4``.
        fps: Frames per second, see ``rate``.
    """

    def __init__(self, path: Path, fps: float) -> None:
        """Open nothing yet: the first picture gives the size."""
        self.path, self.fps = path, fps
        self._video: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._written = 0

    def __enter__(self) -> "Writer":
        """Return the writer."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Finish the file.

        Raises:
            InputError: If it does not hold what was written, because the disk is full.
        """
        if self._video is None:
            return
        self._video.release()
        found = promised(self.path)
        if kind is None and found != self._written:
            raise InputError(
                f"{self.path} must hold the {self._written} frames that were written, "
                f"but holds {found}: is the disk full?"
            )

    def write(self, image: Image) -> None:
        """Append an RGB uint8 picture.

        Raises:
            InputError: If OpenCV cannot write such a file.
        """
        height, width = image.shape[:2]
        if self._video is None:
            self._size = (width, height)
            even = (width + width % 2, height + height % 2)
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            self._video = cv2.VideoWriter(str(self.path), codec, self.fps, even)
            if not self._video.isOpened():
                self._video = None
                raise InputError(
                    f"{self.path} must be a file that can be written, but OpenCV "
                    f"cannot write {width} x {height} pixels at {self.fps} frames per "
                    "second there (mp4v)"
                )
        if (width, height) != self._size:
            scale = min(self._size[0] / width, self._size[1] / height)
            fit = np.array([[scale, 0, 0], [0, scale, 0]], np.float64)
            image = np.asarray(cv2.warpAffine(image, fit, self._size), np.uint8)
            width, height = self._size
        if width % 2 or height % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
        self._video.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        self._written += 1
