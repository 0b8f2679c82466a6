"""Pixels: decode once for training and serving, and cut crops.

Everything that leaves this module is RGB uint8 ``(height, width, 3)``; OpenCV's BGR
stays inside.
"""

import io
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from kpose.errors import InputError
from kpose.geometry import SquareCrop
from kpose.records import ImageRef

if TYPE_CHECKING:
    from kpose.video import Frame

CROP_SIZE = 224
"""Side of the network's crop in the paper (section 3.2), pixels."""

SURROUNDINGS = 1.5
"""A stored crop is this many times as wide as the crop that a network sees, so that
rotation and shrinking bring in real surroundings instead of black borders."""

MAX_PIXELS = 64_000_000
"""Pictures with more pixels are refused before they are decoded."""

FORMATS = ("PNG", "WEBP", "BMP", "TIFF", "GIF")
"""What ``decode`` takes besides JPEG, by Pillow's names."""

WARP = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP

Image = NDArray[np.uint8]


def decode(data: bytes, name: str = "image", max_pixels: int = MAX_PIXELS) -> Image:
    """Return the picture in ``data`` as ``(height, width, 3)`` RGB uint8.

    EXIF orientation is applied; grey, 16-bit, CMYK and transparent pictures come out
    as 8-bit RGB, without the alpha channel.

    Args:
        data: The bytes of a JPEG, PNG, WebP, BMP, TIFF or GIF (first frame) file.
        name: What an error calls the picture.
        max_pixels: The most pixels that are decoded, read from the header.

    Raises:
        InputError: If the bytes are not a whole picture, or it has too many pixels.
    """
    try:
        size = _header_size(data)
    except PIL.Image.DecompressionBombError as error:  # the first frame of a GIF
        raise InputError(
            f"{name} must have at most {max_pixels} pixels, but: {error}"
        ) from None
    if size is None:
        raise InputError(
            f"{name} must be a picture, but its {len(data)} bytes are none"
        )
    width, height = size
    if width * height > max_pixels:
        raise InputError(
            f"{name} must have at most {max_pixels} pixels, but has {width} x {height}"
        )
    # A file cut short gives None (docs/decisions.md), not a half grey picture.
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        raise InputError(
            f"{name} must be a whole picture, but it is cut short, damaged or of a "
            "rare kind"
        )
    return np.asarray(pixels, np.uint8)


def _header_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height by the header, None where there is none of ``FORMATS``.

    By Pillow's readers, but not by ``PIL.Image.open``: that warns of large pictures,
    which only a filter for all threads of the process can stop. A JPEG's frame is found
    here: Pillow reads all tables first, a third of the time that OpenCV needs to decode
    a small photograph.
    """
    if data[:2] == b"\xff\xd8":
        return _jpeg_size(data)
    PIL.Image.init()
    for name in FORMATS:
        reader, accepts = PIL.Image.OPEN[name]
        if accepts is None or accepts(data[:16]) is True:
            try:
                with reader(io.BytesIO(data), "") as header:
                    return header.size
            except (OSError, SyntaxError, ValueError, TypeError, KeyError, EOFError):
                return None
    return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height of a JPEG's frame.

    Segments are skipped up to the first frame header (ISO 10918-1, annex B), the one
    that libjpeg decodes; a thumbnail is inside a segment.
    """
    at = 2
    while data[at : at + 1] == b"\xff":
        marker = data[at + 1] if at + 1 < len(data) else _END
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in (0x01, *range(0xD0, 0xD8)):  # these have no length
            at += 2
        elif marker in _JPEG_FRAMES:
            size = data[at + 5 : at + 9]
            if len(size) < 4:
                return None
            return int.from_bytes(size[2:]), int.from_bytes(size[:2])
        elif marker in (_SCAN, _END):
            return None
        else:
            at += 2 + max(int.from_bytes(data[at + 2 : at + 4]), 2)
    return None


_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN, _END = 0xDA, 0xD9


def read(ref: ImageRef, max_pixels: int = MAX_PIXELS) -> Image:
    """Return the pixels of ``ref`` as ``(height, width, 3)`` RGB uint8, un-mirrored.

    Raises:
        InputError: If the file is missing, is no picture or video, or has no such
            frame.
    """
    if ref.frame is not None:
        image = _read_frame(ref.path, ref.frame, max_pixels)
    else:
        try:
            data = ref.path.read_bytes()
        except OSError as error:
            raise InputError(
                f"{ref.path} must be a readable picture: {error.strerror}"
            ) from None
        image = decode(data, str(ref.path), max_pixels)
    return np.ascontiguousarray(image[:, ::-1]) if ref.mirrored else image


def try_read(ref: ImageRef) -> Image | InputError:
    """Return what ``read`` returns, or the error that it raises."""
    try:
        return read(ref)
    except InputError as error:
        return error


class _Cursor(threading.local):
    """Where this thread is in the video that it read last.

    Seeking lands on the wrong frame in many containers, so frames are counted from the
    start; records of one video come in order, and each decodes only what is new.
    """

    file: tuple[Path, int, int] | None = None
    frames: "Iterator[Frame] | None" = None
    last: "Frame | None" = None


_cursor = _Cursor()


def _read_frame(path: Path, index: int, max_pixels: int) -> Image:
    """Return the frame that ``video.frames`` gives that number."""
    from kpose import video  # which imports this module

    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path} must be a readable video: {error.strerror}") from None
    file = (path, status.st_mtime_ns, status.st_size)
    last = _cursor.last
    if file != _cursor.file or last is None or index < last.number:
        _cursor.frames = video.frames(path, max_pixels)
        _cursor.file = file
        last = _cursor.last = next(_cursor.frames)
    assert _cursor.frames is not None
    while last.number < index:
        following = next(_cursor.frames, None)
        if following is None:
            raise InputError(
                f"{path} must be a video with a frame {index}, but has none"
            )
        last = _cursor.last = following
    if last.image is None:
        raise InputError(
            f"{path} must be a video with a whole frame {index}, but {last.problem}"
        )
    return last.image


def encode(image: Image, codec: str, quality: int) -> bytes:
    """Return ``image`` (RGB uint8) as the bytes of a ``"jpeg"`` or ``"png"`` file.

    Args:
        image: ``(height, width, 3)`` RGB uint8.
        codec: ``"jpeg"`` or ``"png"`` (lossless).
        quality: 1 to 100 for JPEG; PNG ignores it.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if codec == "jpeg" else []
    good, data = cv2.imencode(
        ".jpg" if codec == "jpeg" else ".png",
        cv2.cvtColor(image, cv2.COLOR_RGB2BGR),
        options,
    )
    if not good:
        raise InputError(f"a picture of shape {image.shape} cannot be encoded")
    return data.tobytes()


def crop(image: Image, square: SquareCrop, size: int = CROP_SIZE) -> Image:
    """Cut ``square`` out of ``image`` and resample it to ``size``, zero outside.

    It is the central slice of ``crop_with_surroundings``, so that what training reads
    from a shard and what prediction cuts from a picture are equal to the bit.

    Args:
        image: ``(height, width, 3)`` RGB uint8.
        square: The area; may leave the image on any side.
        size: Side of the result in pixels, a multiple of 4.

    Returns:
        ``(size, size, 3)`` RGB uint8. A joint at crop unit u has its centre at pixel
        ``u * size - 0.5``.
    """
    return central_slice(crop_with_surroundings(image, square, size), size)


def central_slice(stored: Image, size: int) -> Image:
    """Return the central ``size`` pixels of a ``(..., side, side, 3)`` stored crop."""
    margin = (stored.shape[-2] - size) // 2
    return stored[..., margin : margin + size, margin : margin + size, :]


def crop_with_surroundings(
    image: Image, square: SquareCrop, size: int = CROP_SIZE
) -> Image:
    """Cut ``square`` x 1.5 on the sampling grid of its ``size`` crop, zero outside.

    Bilinear (paper section 3.2: zero padding). Where the square shrinks by more than 2,
    the picture is first reduced by the integer factor floor(side / size) with an area
    mean over blocks that start at its top left corner, zero-padded to whole blocks.

    Args:
        image: ``(height, width, 3)`` RGB uint8.
        square: The area of the inner crop; may leave the image on any side.
        size: Side of the inner crop in pixels, a multiple of 4.

    Returns:
        ``(1.5 * size, 1.5 * size, 3)`` RGB uint8.

    Raises:
        InputError: If ``size`` is no multiple of 4, or the square is so large that the
            whole image is less than a pixel of the crop.
    """
    if size % 4 or size < 4:
        raise InputError(f"a crop size must be a multiple of 4. Received: {size}")
    factor = int(square.side // size) if square.side > 2 * size else 1
    if factor > max(image.shape[:2]):
        raise InputError(
            f"a square of side {square.side:.0f} must not make a picture of "
            f"{image.shape[1]} x {image.shape[0]} smaller than a pixel of its crop"
        )
    outer = square.expanded(SURROUNDINGS)
    part: NDArray[Any]
    part, left, top = _part(image, outer, factor)
    x0, y0 = (outer.x0 - left) / factor, (outer.y0 - top) / factor
    step, side = square.side / size / factor, round(size * SURROUNDINGS)
    while 2 * step < 1:
        # warpAffine rounds source positions to 1/32 pixel. That is up to 1/64 pixel of
        # bias, which an enlargement by 2 turns into 0.03 pixels of the crop and one by
        # 20 into 0.3: the joints would no longer lie where the transform says.
        times = min(2 ** math.ceil(-math.log2(2 * step)), 32)
        if times > 2:
            # Rounding to 8 bits twice moves slow gradients: 0.09 pixels of the crop.
            part = np.asarray(part, np.float32)
        part = _refined(part, times)
        x0, y0, step = (x0 + 0.5) * times + 0.5, (y0 + 0.5) * times + 0.5, step * times
    # Only what the picture reaches is sampled; photographs of one person end soon.
    columns, rows = (
        _reached(start, step, side, length)
        for start, length in ((x0, part.shape[1]), (y0, part.shape[0]))
    )
    result = np.zeros((side, side, 3), part.dtype)
    if columns and rows:
        # Output pixel i samples the image at x0 + (i + 0.5) * step - 0.5.
        x, y = (
            start + (first + 0.5) * step - 0.5
            for start, first in ((x0, columns[0]), (y0, rows[0]))
        )
        reached = result[rows.start : rows.stop, columns.start : columns.stop]
        grid = np.array([[step, 0, x], [0, step, y]], np.float64)
        cv2.warpAffine(part, grid, reached.shape[1::-1], dst=reached, flags=WARP)
    return np.asarray(
        result if result.dtype == np.uint8 else cv2.convertScaleAbs(result), np.uint8
    )


def _refined(part: NDArray[Any], times: int) -> NDArray[Any]:
    """Put ``times`` pixels, a power of 2 up to 32, into the place of one.

    Old pixels stay where they are, so that interpolating the result is interpolating
    ``part``; new ones lie at multiples of 1/32 pixel, where warpAffine is exact. A rim
    of zeros comes first: pixel i lies at i / times - 1.
    """
    height, width = part.shape[:2]
    grid = np.array([[1 / times, 0, -1], [0, 1 / times, -1]], np.float64)
    size = ((width + 1) * times + 1, (height + 1) * times + 1)
    return np.asarray(cv2.warpAffine(part, grid, size, flags=WARP))


def _reached(start: float, step: float, count: int, length: int) -> range:
    """Return the output pixels that lie less than a pixel outside the image."""
    first = math.floor((-0.5 - start) / step - 0.5) + 1
    end = math.ceil((length + 0.5 - start) / step - 0.5)
    return range(min(max(first, 0), count), min(max(end, 0), count))


def _part(image: Image, outer: SquareCrop, factor: int) -> tuple[Image, int, int]:
    """Return what ``outer`` needs of the image, reduced, and its left and top edge."""
    height, width = image.shape[:2]
    left = min(max(int(outer.x0 // factor) - 1, 0), (width - 1) // factor) * factor
    top = min(max(int(outer.y0 // factor) - 1, 0), (height - 1) // factor) * factor
    right = max(int((outer.x0 + outer.side) // factor + 2) * factor, left + 1)
    bottom = max(int((outer.y0 + outer.side) // factor + 2) * factor, top + 1)
    part = image[top:bottom, left:right]
    if factor == 1:
        return part, left, top
    whole = np.pad(
        part, ((0, -part.shape[0] % factor), (0, -part.shape[1] % factor), (0, 0))
    )
    small = (whole.shape[1] // factor, whole.shape[0] // factor)
    reduced = cv2.resize(whole, small, interpolation=cv2.INTER_AREA)
    return np.asarray(reduced, np.uint8), left, top
