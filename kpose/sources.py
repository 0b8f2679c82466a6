"""What a user points prediction at: pictures, folders of pictures, videos."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from kpose import images, video
from kpose.errors import InputError
from kpose.images import Image
from kpose.records import ImageRef

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
"""Names that are taken for pictures in a folder."""


class Picture(NamedTuple):
    """One picture or frame of a video.

    ``image`` is ``(height, width, 3)`` RGB uint8, or None where it cannot be decoded
    and ``problem`` says why. ``frame`` is 0-based, 0 for a picture; ``time_ms`` is None
    for a picture.
    """

    source: str
    frame: int
    time_ms: float | None
    image: Image | None
    problem: str = ""


def find(sources: Sequence[str | Path]) -> list[Path]:
    """Return the files to read, in order; a folder gives its pictures, sorted by name.

    Raises:
        InputError: If there is no such file, or a folder has no picture.
    """
    files: list[Path] = []
    for source in map(Path, sources):
        if source.is_dir():
            inside = sorted(
                path
                for path in source.iterdir()
                if path.suffix.lower() in SUFFIXES and path.is_file()
            )
            if not inside:
                raise InputError(
                    f"{source} must be a folder with pictures ({' '.join(SUFFIXES)}), "
                    "but has none"
                )
            files += inside
        elif source.exists():
            files.append(source)
        else:
            raise InputError(
                f"expected a picture, a folder of pictures or a video, but there is no "
                f"{source}"
            )
    return files


def pictures(path: Path) -> Iterator[Picture]:
    """Yield the picture, or the frames of the video; one with a problem if unreadable.

    Args:
        path: What ``find`` returned.
    """
    try:
        if video.is_video(path):
            for frame in video.frames(path):
                yield Picture(str(path), *frame)
        else:
            yield Picture(str(path), 0, None, images.read(ImageRef(path)))
    except InputError as error:
        yield Picture(str(path), 0, None, None, str(error))
