"""What a user points prediction at: pictures, folders, globs, videos, cameras."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from kpose import camera, images, video
from kpose.camera import Camera as Camera
from kpose.errors import InputError
from kpose.images import MAX_PIXELS, Image
from kpose.records import ImageRef

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
"""Names that are taken for pictures in a folder."""

Source = Path | Camera


class Picture(NamedTuple):
    """One picture or frame of a video or camera.

    Attributes:
        source: The file, or ``camera 0``.
        frame: 0-based; 0 for a picture. A camera's frames that came while nobody
            asked are counted too.
        time_ms: When the frame is shown, by the container; for a camera since its first
            frame; None for a picture.
        image: ``(height, width, 3)`` RGB uint8; None where there is none.
        problem: Why ``image`` is None.
        captured: ``time.monotonic()`` when the frame left the camera, in seconds; None
            for files.
    """

    source: str
    frame: int
    time_ms: float | None
    image: Image | None
    problem: str = ""
    captured: float | None = None


def find(texts: Sequence[str | Path]) -> tuple[list[Source], list[str]]:
    """Return what to read, in order, and what is wrong with the rest.

    Each text is, in this order: a file (of any name); a folder, which gives its
    pictures; digits, the number of a camera; a pattern with ``*``, ``?``, ``[...]`` or
    ``**`` (folders inside folders), which gives the pictures and videos that match.
    Both are sorted by name.

    Returns:
        The sources, and one line for each text that names none.
    """
    found: list[Source] = []
    problems = []
    for text in map(str, texts):
        try:
            found += _expand(text)
        except InputError as error:
            problems.append(str(error))
    return found, problems


def _expand(text: str) -> Sequence[Source]:
    if os.path.isdir(text):
        try:
            inside = sorted(path for path in Path(text).iterdir() if _is_picture(path))
        except OSError as error:
            raise InputError(
                f"{text} must be a readable folder: {error.strerror}"
            ) from None
        if not inside:
            raise InputError(
                f"{text} must be a folder with pictures ({' '.join(SUFFIXES)}), but "
                "has none"
            )
        return inside
    if os.path.exists(text):
        return [Path(text)]
    if text.isascii() and text.isdigit():
        return [Camera(int(text))]
    if glob.has_magic(text):
        matches = map(Path, sorted(glob.glob(text, recursive=True)))
        files = [
            path
            for path in matches
            if _is_picture(path) or (video.is_video(path) and path.is_file())
        ]
        if not files:
            raise InputError(f"{text} must match pictures or videos, but matches none")
        return files
    raise InputError(
        "expected a picture, a folder of pictures, a video or a camera's number, but "
        f"there is no {text}"
    )


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def is_stream(source: Source) -> bool:
    """Return whether frames follow each other in time: a video or a camera."""
    return isinstance(source, Camera) or video.is_video(source)


def pictures(source: Source, max_pixels: int = MAX_PIXELS) -> Iterator[Picture]:
    """Yield the picture, or every frame of the video, or a camera's newest frames.

    What cannot be decoded is a ``Picture`` without image, at its place; see
    ``video.frames``. A camera that goes away ends with one.

    Args:
        source: What ``find`` returned.
        max_pixels: The most pixels that a picture may have, by its header.

    Raises:
        InputError: At the first ``next()``, if a video or camera cannot be opened or
            has no frame.
    """
    name = str(source)
    if isinstance(source, Camera):
        shot = None
        for shot in camera.shots(source):
            yield Picture(
                name, shot.number, shot.time_ms, shot.image, captured=shot.captured
            )
        if shot is not None:
            gone = "the camera gives no pictures any more"
            yield Picture(name, shot.number + 1, shot.time_ms, None, gone)
    elif video.is_video(source):
        for frame in video.frames(source, max_pixels):
            yield Picture(name, *frame)
    else:
        try:
            image = images.read(ImageRef(source), max_pixels)
        except InputError as error:
            yield Picture(name, 0, None, None, str(error))
        else:
            yield Picture(name, 0, None, image)


def total(sources: Sequence[Source]) -> int | None:
    """Return how many pictures and frames to expect, by the containers' hints.

    Returns:
        None with a camera, or with a video that does not say.
    """
    count = 0
    for source in sources:
        if isinstance(source, Camera):
            return None
        frames = video.promised(source) if video.is_video(source) else 1
        if frames is None:
            return None
        count += frames
    return count
