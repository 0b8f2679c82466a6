"""What was left out of recordings, for a person to read and to look at."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from kpose import drawing, faults, images
from kpose.errors import InputError
from kpose.files import atomic_file
from kpose.geometry import SquareCrop, person_box
from kpose.images import Image
from kpose.joints import BODY_13
from kpose.records import BadRecord, ImageRef
from kpose.screening import Source
from kpose_datasets import DECISIONS, MODULES, PATHS, Records
from kpose_datasets.takes import Judged, Take, judge, records

SHEET = "faults.png"
"""Name of the picture that ``kpose prepare`` writes beside the data."""

SHOWN, COLUMNS = 24, 8
"""So many bodies are on the sheet, so many beside each other."""

WIDTH, HEIGHT, ROOM = 246, 328, 1.15
"""Pixels of a picture; it shows this many times the person's box."""

OUT = 0.2
"""A joint outside is shown up to this share of the picture's size away from it."""

LINE, LINES, SCALE = 16, 3, 0.4
"""Height of a line of text, lines under a picture, size of the letters."""

INK, GREY, PAPER = (20, 20, 20), (100, 100, 100), (255, 255, 255)

CROSSES = {
    "inferred": (255, 220, 0),
    "outside": (0, 230, 230),
    "swapped": (255, 60, 255),
}
"""RGB of the mark by reason; ``CROSS`` for all others."""

CROSS = (255, 30, 50)

LEGEND = (
    "What is used: orange right, blue left, green middle. Crosses: left out, with the "
    "reason. Pictures are un-mirrored."
)


class Shown(NamedTuple):
    """A body with a joint that is left out, un-mirrored.

    ``joints`` is ``(13, 2)`` float64 image pixels, NaN where there is no place;
    ``reasons`` is ``(13,)``, indices into ``faults.REASONS``.
    """

    image: ImageRef
    size: tuple[int, int]
    joints: NDArray[np.float64]
    reasons: NDArray[np.int8]
    title: str


@dataclass(frozen=True, eq=False)
class Report:
    """What became of the takes of some sources.

    Args:
        takes: What ``--json`` says about each.
        shown: The bodies of ``write_sheet``.
    """

    takes: list[dict[str, Any]]
    shown: list[Shown]

    def lines(self) -> list[str]:
        """Return a line per take, and one for each problem."""
        return [line for take in self.takes for line in _lines(take)]

    def write_sheet(self, path: Path) -> bool:
        """Draw up to 24 bodies with the joints that are left out; PNG.

        Returns:
            Whether there is anything to show; no file is written otherwise.
        """
        tiles = []
        # In the order of the files, so that a video is decoded once.
        for one in sorted(self.shown, key=lambda one: one.title):
            picture = images.try_read(one.image)
            if not isinstance(picture, InputError):
                tiles.append(_tile(picture, one))
        if not tiles:
            return False
        sheet = drawing.contact_sheet(tiles, COLUMNS)
        width = max(sheet.shape[1], _width(LEGEND))
        whole = np.full((LINE + 8 + len(sheet), width, 3), PAPER, np.uint8)
        _print(whole, 0, 0, LEGEND, INK)
        whole[LINE + 8 :, : sheet.shape[1]] = sheet
        whole = np.pad(whole, ((8, 8), (8, 8), (0, 0)), constant_values=255)
        with atomic_file(path) as beside:
            beside.write_bytes(images.encode(whole, "png", 0))
        return True


def report(sources: Sequence[Source]) -> Report:
    """Judge the takes of the sources that are recordings, as their readers do.

    Takes of splits that are not wanted are left out; other sources too.

    Raises:
        InputError: As the readers.
    """
    found: list[dict[str, Any]] = []
    shown: list[list[Shown]] = [[] for _ in faults.REASONS]
    for source in sources:
        wanted = source.records
        if not isinstance(wanted, Records) or not is_recording(wanted):
            continue
        options = {k: v for k, v in wanted.options.items() if k in DECISIONS}
        for take in _takes(wanted):
            if take.facts.split in wanted.splits:
                judged = judge(take, **options)
                found.append(_facts(take, judged, wanted.name))
                for reason, candidates in enumerate(_candidates(take, judged)):
                    shown[reason] += candidates
    return Report(found, _choose(shown))


def is_recording(wanted: Records) -> bool:
    """Return whether a reader's data are takes."""
    return hasattr(MODULES[wanted.name], "takes")


def _takes(wanted: Records) -> Iterator[Take]:
    given = {
        PATHS.get(name, name): Path(value)
        for name, value in wanted.options.items()
        if name not in DECISIONS
    }
    takes: Iterator[Take] = MODULES[wanted.name].takes(wanted.path, **given)
    return takes


def _facts(take: Take, judged: Judged, reader: str) -> dict[str, Any]:
    """Return what ``--json`` says about a take."""
    skipped = Counter(
        record.reason
        for record in records(take, reader, judged=judged)
        if isinstance(record, BadRecord)
    )
    bodies = sum(map(len, take.bodies))
    return {
        "name": _printable(take.name),
        "reader": reader,
        "mirrored": judged.mirrored,
        "decision": judged.decision,
        "size": judged.size,
        "frames": len(take.bodies),
        "bodies": bodies,
        "persons": judged.persons,
        "joints": bodies * len(BODY_13),
        "masked": judged.masked(),
        "skipped": dict(sorted(skipped.items())),
        "problems": [_printable(problem) for problem in judged.problems],
        "subject": take.facts.subject,
        "clothing": take.facts.clothing,
        "labelled_by": take.facts.labelled_by,
        "split": take.facts.split,
    }


def _printable(text: str) -> str:
    """Return a text that a terminal takes: names of folders may be no UTF-8."""
    return text.encode(errors="backslashreplace").decode()


def _lines(take: dict[str, Any]) -> Iterator[str]:
    """Yield what a person reads about a take."""
    masked = {reason: sum(n.values()) for reason, n in take["masked"].items()}
    by_reason = ", ".join(f"{n:,} {reason}" for reason, n in masked.items())
    parts = [
        f"{take['name']}: {take['decision']}",
        _count(take["frames"], "frame"),
        _count(take["persons"], "person"),
    ]
    who = [f"{key} {take[key]}" for key in ("subject", "clothing") if take[key]]
    line = ", ".join([*parts, *who, f"labelled by {take['labelled_by']}"])
    line += f"; masked {sum(masked.values()):,} of {take['joints']:,} joints"
    line += f": {by_reason}" if by_reason else ""
    if take["skipped"]:
        line += "; skipped " + ", ".join(f"{n} {r}" for r, n in take["skipped"].items())
    yield line
    for problem in take["problems"]:
        yield f"  {problem}"


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}{'' if number == 1 else 's'}"


def _candidates(take: Take, judged: Judged) -> list[list[Shown]]:
    """Return by reason some bodies of a take, spread over its time."""
    found: list[list[tuple[int, int]]] = [[] for _ in faults.REASONS]
    if judged.size is None:  # no picture can be read
        return [[] for _ in found]
    hidden = faults.REASONS.index("untracked")  # these have no place to show
    for frame, bodies in enumerate(take.bodies):
        for index in range(len(bodies)):
            for reason in {*judged.reasons[frame][index].tolist()} - {0, hidden}:
                found[reason].append((frame, index))
    width = judged.size[0]
    result: list[list[Shown]] = []
    for places in found:
        at = np.linspace(0, len(places) - 1, min(len(places), 2 * SHOWN)).round()
        result.append([])
        for frame, index in (places[int(i)] for i in at):
            joints = take.bodies[frame][index].joints.copy()
            if judged.mirrored:
                joints[:, 0] = width - 1 - joints[:, 0]
            ref = take.images[frame]
            result[-1].append(
                Shown(
                    ImageRef(ref.path, ref.frame, judged.mirrored),
                    judged.size,
                    joints,
                    judged.reasons[frame][index],
                    f"{take.name}/{frame:06}/{index}",
                )
            )
    return result


def _choose(shown: Sequence[Sequence[Shown]]) -> list[Shown]:
    """Return ``SHOWN`` bodies, as many of each reason as there are, each body once."""
    chosen: dict[str, Shown] = {}
    # Spread over all takes, the rarest reason first.
    queues = [
        [bodies[i] for i in _spread(len(bodies))]
        for bodies in sorted(shown, key=len)
        if bodies
    ]
    while any(queues) and len(chosen) < SHOWN:
        for queue in queues:
            while queue and queue[0].title in chosen:
                queue.pop(0)
            if queue and len(chosen) < SHOWN:
                one = queue.pop(0)
                chosen[one.title] = one
    return list(chosen.values())


def _spread(count: int) -> list[int]:
    """Return 0 to ``count - 1`` so that the first few lie far apart."""
    step = max(count // SHOWN, 1)
    return [at for start in range(step) for at in range(start, count, step)]


def _tile(picture: Image, one: Shown) -> Image:
    """Return the person with what is used and what is left out, and a caption."""
    width, height = one.size
    placed = np.asarray(np.isfinite(one.joints).all(axis=1), np.bool_)
    margin = np.array([width, height]) * OUT
    near = np.clip(one.joints, -margin, np.array(one.size) - 1 + margin)
    box = person_box(_flagged(near, placed))
    assert box is not None  # a joint that is left out and has a place
    side = max(box.height, box.width * HEIGHT / WIDTH, 40.0) * ROOM
    x, y = box.center
    square = SquareCrop(x - side / 2, y - side / 2, side)
    edge = (HEIGHT - WIDTH) // 2
    drawn = images.crop(picture, square, HEIGHT)[:, edge : edge + WIDTH]
    points = square.image_to_crop(near) * HEIGHT - 0.5 - np.array([edge, 0])
    drawn = drawing.draw_skeleton(drawn, _flagged(points, one.reasons == 0), BODY_13)
    taken: list[tuple[int, int]] = []
    marked = np.flatnonzero(placed & (one.reasons != 0))
    # More words would hide the person; the caption has them all.
    for at in marked if len(marked) < 5 else ():
        _name(drawn, points[at], faults.REASONS[one.reasons[at]], taken)
    for at in marked:
        _mark(drawn, points[at], faults.REASONS[one.reasons[at]])
    words: dict[str, list[str]] = {}
    for at in np.flatnonzero(one.reasons):
        reason = faults.REASONS[one.reasons[at]]
        words.setdefault(reason, []).append(BODY_13.names[at].replace("_", " "))
    text = "; ".join(f"{reason}: {', '.join(names)}" for reason, names in words.items())
    caption = np.full((LINES * LINE + 6, WIDTH, 3), PAPER, np.uint8)
    _print(caption, 0, 0, _end(one.title), INK)
    for row, line in enumerate(_wrap(text), start=1):
        _print(caption, 0, row, line, GREY)
    return np.concatenate([drawn, caption])


def _flagged(
    points: NDArray[np.float64], flags: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return ``(joints, 3)``: x, y and the flag; 0, 0 where there is no place."""
    table = np.zeros((len(points), 3))
    table[:, :2] = np.nan_to_num(points)
    table[:, 2] = flags
    return table


def _name(
    image: Image,
    point: NDArray[np.float64],
    reason: str,
    taken: list[tuple[int, int]],
) -> None:
    """Write the reason beside a joint; texts keep off each other."""
    x, y = np.rint(point).astype(int).tolist()
    left = min(max(x + 8, 2), WIDTH - _width(reason))
    top = min(max(y + 4, 10), HEIGHT - 4)
    while any(abs(top - v) < 14 and abs(left - u) < 60 for u, v in taken):
        top += 7
    taken.append((left, top))
    # A dark ground: letters of this size have no room for an outline.
    ground = image[max(top - 10, 0) : top + 4, left - 2 : left + _width(reason)]
    ground[:] = ground // 3
    color = CROSSES.get(reason, CROSS)
    cv2.putText(image, reason, (left, top), drawing.FONT, SCALE, color, 1, cv2.LINE_AA)


def _mark(image: Image, point: NDArray[np.float64], reason: str) -> None:
    """Draw a cross."""
    x, y = np.rint(point).astype(int).tolist()
    for ink, thick in (((0, 0, 0), 4), (CROSSES.get(reason, CROSS), 2)):
        for step in (1, -1):
            ends = (x - 5, y - 5 * step), (x + 5, y + 5 * step)
            cv2.line(image, *ends, ink, thick, cv2.LINE_AA)


def _print(image: Image, x: int, row: int, text: str, color: drawing.Color) -> None:
    at = (x, 4 + row * LINE + 10)
    cv2.putText(image, text, at, drawing.FONT, SCALE, color, 1, cv2.LINE_AA)


def _width(text: str) -> int:
    return int(cv2.getTextSize(text, drawing.FONT, SCALE, 1)[0][0]) + 2


def _end(text: str) -> str:
    """Return as much of the end of a text as fits; OpenCV has ASCII."""
    text = text.encode("ascii", "replace").decode()
    kept = text
    while _width(kept) > WIDTH:
        kept = "..." + kept.removeprefix("...")[1:]
    return kept


def _wrap(text: str) -> list[str]:
    """Return the lines of a text that fit under a picture."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if _width(longer) <= WIDTH:
            lines[-1] = longer
        elif len(lines) == LINES - 1:
            lines[-1] += " ..."
            break
        else:
            lines.append(word)
    return lines
