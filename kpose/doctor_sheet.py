"""The worst suspects of ``label_doctor`` on one sheet."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from kpose import drawing, images
from kpose.files import atomic_file
from kpose.geometry import SquareCrop
from kpose.images import Image
from kpose.joints import Skeleton

SIDE, ROOM = 320, 1.2
"""Pixels of a square picture; it shows this many times the person's square."""

COLUMNS = 4
"""Pictures per row."""

LINE, LINES = 17, 3
"""Height of a line of text, and lines under a picture."""

SCALE = 0.42
"""Of the letters."""

INK, GREY, PAPER = (20, 20, 20), (110, 110, 110), (255, 255, 255)
"""RGB of text, of scores and of the ground."""

RING = (255, 0, 60)
"""RGB of the circle around a joint that is suspected."""

LEGEND = (
    "Label: orange right, blue left, green middle; circles: suspected joints. "
    "White: where the networks see the joints."
)


def tile(
    image: Image,
    square: SquareCrop,
    joints: NDArray[np.floating],
    seen: NDArray[np.floating],
    skeleton: Skeleton,
    suspected: Sequence[int],
    title: str,
    score: str,
    reason: str,
) -> Image:
    """Return one suspect: the label and the networks' answer on the person.

    Args:
        image: ``(height, width, 3)`` RGB uint8.
        square: The person's crop.
        joints: ``(joints, 3)`` label in image pixels.
        seen: ``(joints, 2)`` the networks' answer in units of ``square``.
        skeleton: The joints.
        suspected: Indices of the joints that get a circle.
        title: First line under the picture, cut to its width.
        score: At the right end of that line.
        reason: The lines below it.

    Returns:
        RGB uint8, of one size for all.
    """
    wider = square.expanded(ROOM)
    picture = images.crop(image, wider, SIDE)
    label = wider.joints_to_crop(joints).astype(np.float64)
    label[:, :2] = label[:, :2] * SIDE - 0.5
    answer = ((np.asarray(seen, np.float64) - 0.5) / ROOM + 0.5) * SIDE - 0.5
    # The label comes on top: where both agree, its colours are seen.
    picture = _thin(picture.copy(), answer, skeleton)
    picture = drawing.draw_skeleton(picture, label, skeleton)
    for at in suspected:
        if label[at, 2] > 0:
            centre = np.rint(np.clip(label[at, :2], -SIDE, 2 * SIDE)).astype(int)
            cv2.circle(picture, centre.tolist(), 9, RING, 2, cv2.LINE_AA)
    text = np.full((LINES * LINE + 6, SIDE, 3), PAPER, np.uint8)
    room = SIDE - _width(score) - 8
    _print(text, 0, 0, _cut(title, room), INK)
    _print(text, SIDE - _width(score), 0, score, GREY)
    for row, line in enumerate(_wrap(reason), start=1):
        _print(text, 0, row, line, INK)
    return np.concatenate([picture, text])


def write(path: Path, tiles: Sequence[Image]) -> None:
    """Write the tiles under a line that says what the colours mean, as PNG.

    Args:
        path: The PNG file, whole or not at all.
        tiles: What ``tile`` made, at least one.
    """
    sheet = drawing.contact_sheet(tiles, COLUMNS)
    head = np.full((LINE + 8, max(sheet.shape[1], _width(LEGEND)), 3), PAPER, np.uint8)
    _print(head, 0, 0, LEGEND, INK)
    whole = np.full((len(head) + len(sheet), head.shape[1], 3), PAPER, np.uint8)
    whole[: len(head)] = head
    whole[len(head) :, : sheet.shape[1]] = sheet
    whole = cv2.copyMakeBorder(whole, 8, 8, 8, 8, cv2.BORDER_CONSTANT, value=PAPER)
    with atomic_file(path) as beside:
        beside.write_bytes(images.encode(np.asarray(whole, np.uint8), "png", 0))


def _thin(image: Image, places: NDArray[np.float64], skeleton: Skeleton) -> Image:
    """Draw white limbs and dots with a dark edge, one pixel wide."""
    bits = drawing.SUBPIXEL_BITS
    limits = -8.0 * SIDE, 8.0 * SIDE
    fixed = np.rint(np.clip(places, *limits) * 2**bits).astype(int).tolist()
    for color, width, dot in (((0, 0, 0), 3, 3.5), ((255, 255, 255), 1, 2.5)):
        for a, b in skeleton.limb_indices:
            cv2.line(image, fixed[a], fixed[b], color, width, cv2.LINE_AA, bits)
        for centre in fixed:
            radius = round(dot * 2**bits)
            cv2.circle(image, centre, radius, color, -1, cv2.LINE_AA, bits)
    return image


def _print(image: Image, x: int, row: int, text: str, color: drawing.Color) -> None:
    at = (x, 4 + row * LINE + 11)
    cv2.putText(image, text, at, drawing.FONT, SCALE, color, 1, cv2.LINE_AA)


def _width(text: str) -> int:
    return int(cv2.getTextSize(text, drawing.FONT, SCALE, 1)[0][0]) + 2


def _cut(text: str, room: int) -> str:
    """Return the text, its middle left out where it does not fit; OpenCV has ASCII."""
    text = text.encode("ascii", "replace").decode()
    kept = len(text)
    short = text
    while kept > 8 and _width(short) > room:
        kept -= 1
        short = f"{text[: kept // 2]}...{text[len(text) - kept // 2 :]}"
    return short


def _wrap(text: str) -> list[str]:
    """Return the lines of a text, words kept whole; what is too much is left out."""
    lines = [""]
    for word in text.encode("ascii", "replace").decode().split():
        longer = f"{lines[-1]} {word}".strip()
        if _width(longer) <= SIDE or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) >= LINES:
        lines[LINES - 2] = _cut(" ".join(lines[LINES - 2 :]), SIDE)
    return lines[: LINES - 1]
