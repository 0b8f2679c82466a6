"""Makes a recording of a use case, labelled by a teacher (issue 5, ``kpose record``).

What a teacher says, and ``kpose.agreement`` believes, is written frame by frame as a
take of ``persontracker``. The end of each take is set aside for a person to correct
(``holdout``): a block of time, because neighbouring frames look the same.
"""

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from kpose import coverage, drawing, images
from kpose.agreement import KEPT, NOBODY, Answer, Judge, Judged
from kpose.coverage import Coverage
from kpose.errors import InputError
from kpose.files import atomic_file
from kpose.geometry import Box, SquareCrop
from kpose.images import Image
from kpose.joints import BODY_13
from kpose.sources import Picture
from kpose_datasets import holdout, persontracker
from kpose_datasets.holdout import HeldOut
from kpose_datasets.persontracker import TakeWriter
from kpose_datasets.takes import (
    FACTS_FILE,
    INFERRED,
    TRACKED,
    UNTRACKED,
    Body,
    Facts,
    read_facts,
    tables,
)
from kpose_datasets.teachers import Seen, Teacher

LEAST_FRAMES = 10
"""A shorter take is none: PersonTracker deletes those."""

QUALITY = 95
"""Of the JPEG files."""

SHARE, LEAST_HELD, MOST_HELD = 0.15, 5, 40
"""The last part of a take's time that is held out, and of how many frames of it the
joints are corrected: 40 are half an hour of a person's work."""

GAP_MS = 1000.0
"""Time before that part which is left out, so that its first frames have no neighbour
that was trained on. In a short take it is as long as the part itself."""

UNREADABLE, SOMEBODY_ELSE = "unreadable", "somebody_else"
SET_ASIDE, PASSED_OVER = "set_aside", "passed_over"
"""Of frames, besides the verdicts of ``kpose.agreement``: damaged; only people who are
not recorded; in the hold-out's time or the gap; kept, but not written because of
``every``."""

PREVIEWS = {True: 24, False: 16}
"""Tiles on the contact sheet: of kept frames, of dropped ones."""

TILE, COLUMNS = 240, 8
"""Pixels of a tile, and tiles per row."""

LEGEND, LEGEND_HEIGHT = (
    "Green frame: kept. Red frame: dropped, and why. Red circle: a joint that is not "
    "agreed upon, masked. Orange: the person's right, blue: left.",
    30,
)

GREEN, RED = (0, 150, 60), (215, 0, 40)


class _Line(NamedTuple):
    """A kept frame that waits until ten are sure to be in the take."""

    jpeg: bytes
    body: Body
    time_ms: float


class _Candidate(NamedTuple):
    """A frame that may be held out."""

    time_ms: float
    frame: HeldOut


@dataclass
class _Thinned:
    """Items evenly spread over a series of unknown length, at most ``2 * most``."""

    most: int
    items: list[Any] = field(default_factory=list)
    step: int = 1
    count: int = 0

    def offer(self, make: Callable[[], Any]) -> None:
        """Take the next of the series, or not."""
        if self.count % self.step == 0:
            self.items.append(make())
            if len(self.items) > 2 * self.most:
                self.items, self.step = self.items[::2], 2 * self.step
        self.count += 1


@dataclass
class _Span:
    """The time of a take, as it grows: where its hold-out would start.

    Times are of frames in which somebody is seen: who starts and ends a recording
    walks to the camera and back.
    """

    first: float | None = None
    last: float = 0.0
    block: float = 0.0
    cutoff: float = 0.0
    latest: deque[float] = field(default_factory=lambda: deque(maxlen=LEAST_HELD))

    def see(self, time_ms: float, kept: bool) -> None:
        """Note a frame in which somebody is seen; the first that is kept starts it."""
        if self.first is None and kept:
            self.first = self.block = self.cutoff = time_ms
        if self.first is None:
            return
        self.last = time_ms
        self.latest.append(time_ms)
        part = SHARE * (self.last - self.first)
        # Both only grow: what is before them stays before them.
        self.block = max(self.block, min(self.last - part, self.latest[0]))
        self.cutoff = max(self.cutoff, self.block - min(part, GAP_MS))


class Recorder:
    """Writes one take.

    Args:
        root: The folder of the recordings; earlier takes in it stay.
        teacher: Labels the frames.
        facts: About the take.
        every: Of the frames that are kept, each ``every``-th of the video is written.

    Raises:
        InputError: If ``root`` is no folder to write to, or the facts of an earlier
            take in it are wrong.
    """

    def __init__(
        self, root: Path, teacher: Teacher, facts: Facts, every: int = 1
    ) -> None:
        """Write nothing yet: a take that turns out too short leaves nothing."""
        _require_place(root)
        self.root, self.teacher, self.facts, self.every = root, teacher, facts, every
        self.others = 0
        self.problem = ""
        self._judge: Judge[tuple[Picture, Seen]] = Judge()
        self._span = _Span()
        self._log: list[tuple[float, str, int]] = []  # time, verdict, masked joints
        self._waiting: list[_Line] = []
        self._writer: TakeWriter | None = None
        self._times: list[float] = []  # of the lines
        self._candidates: list[_Candidate] = []
        self._spacing = 0.0
        self._tiles = {kept: _Thinned(most) for kept, most in PREVIEWS.items()}

    def run(
        self, pictures: Iterable[Picture], go_on: Callable[[Picture], bool]
    ) -> None:
        """Look at the frames until they end or ``go_on`` returns False.

        Args:
            pictures: The frames of one video or camera.
            go_on: Called after each.

        Raises:
            InputError: If the video or camera cannot be opened.
        """
        try:
            for picture in pictures:
                for pair in self._look(picture):
                    self._take(*pair)
                if not go_on(picture):
                    break
            for pair in self._judge.rest():
                self._take(*pair)
        finally:
            if self._writer is not None:
                self._writer.close()

    def _look(self, picture: Picture) -> Iterator[tuple[tuple[Picture, Seen], Judged]]:
        """Ask the teacher; yield the frames that can be judged by now."""
        time_ms = picture.time_ms or 0.0
        if picture.image is None:
            self.problem = self.problem or picture.problem
            self._log.append((time_ms, UNREADABLE, 0))
            return
        seen = self.teacher.see(picture, picture.image)
        self.others += seen.others > 0
        yield from self._judge.push((picture, seen), time_ms, seen.answer)

    def _take(self, what: tuple[Picture, Seen], judged: Judged) -> None:
        """Write, keep for the hold-out or drop a frame that was judged."""
        picture, seen = what
        assert picture.image is not None
        image, time_ms, verdict = picture.image, picture.time_ms or 0.0, judged.verdict
        kept = verdict == KEPT
        if verdict == NOBODY and seen.answer is None and seen.others:
            verdict = SOMEBODY_ELSE
        if kept and picture.frame % self.every:
            verdict = PASSED_OVER
        if judged.verdict != NOBODY:
            self._span.see(time_ms, kept)
        jpeg = b""
        if verdict == KEPT:
            assert seen.answer is not None
            jpeg = images.encode(image, "jpeg", QUALITY)
            self._write(_Line(jpeg, _body(seen.answer, judged.agreed), time_ms))
        masked = int((~judged.agreed).sum()) if verdict == KEPT else 0
        self._log.append((time_ms, verdict, masked))
        self._offer(picture, image, seen, judged, jpeg)
        if verdict != PASSED_OVER:
            self._tiles[kept].offer(
                lambda: (time_ms, _tile(picture.frame, image, seen, judged, verdict))
            )

    def _write(self, line: _Line) -> None:
        """Append a line to the take, once ten are before the hold-out."""
        if self._times or self._waiting:
            # Two frames of some videos have one time.
            last = self._waiting[-1].time_ms if self._waiting else self._times[-1]
            line = line._replace(time_ms=max(line.time_ms, last + 0.001))
        self._waiting.append(line)
        if self._writer is None:
            sure = sum(line.time_ms < self._span.cutoff for line in self._waiting)
            if sure < LEAST_FRAMES:
                return
            self._writer = TakeWriter(self.root, self.facts)
        for line in self._waiting:
            self._writer.write(line.jpeg, [line.body], line.time_ms)
            self._times.append(line.time_ms)
        self._waiting.clear()

    def _offer(
        self, picture: Picture, image: Image, seen: Seen, judged: Judged, jpeg: bytes
    ) -> None:
        """Remember a frame that may be held out, whatever the verdict on it."""
        time_ms, last = picture.time_ms or 0.0, self._candidates[-1:]
        if self._span.first is None or (
            last and time_ms - last[0].time_ms < self._spacing
        ):
            return
        points = np.full((len(BODY_13), 2), np.nan)
        doubtful: list[str] = []
        if judged.verdict != NOBODY and seen.answer is not None:
            points = seen.answer.points
            names = zip(BODY_13.names, judged.agreed, strict=True)
            doubtful = [name for name, agreed in names if not agreed]
        frame = HeldOut(
            picture.frame,
            jpeg or images.encode(image, "jpeg", QUALITY),
            (image.shape[1], image.shape[0]),
            points,
            doubtful,
        )
        self._candidates.append(_Candidate(time_ms, frame))
        # The block moves on with time: what is before it never comes back.
        while self._candidates[0].time_ms < self._span.block:
            self._candidates.pop(0)
        if len(self._candidates) > 4 * MOST_HELD:
            self._candidates = self._candidates[::2]
            span = self._candidates[-1].time_ms - self._candidates[0].time_ms
            self._spacing = span / (len(self._candidates) - 0.5)

    def finish(self) -> dict[str, Any]:
        """Set the hold-out aside, draw the sheets and return the summary.

        Returns:
            ``frames``; those ``kept`` (in the take), ``dropped`` (reason -> count),
            ``passed_over`` and ``set_aside`` (for the hold-out) add up to them.
            ``masked_joints`` in the kept frames, ``with_others`` (frames with more than
            one person), ``take``, ``folder``, ``holdout``, ``preview``, ``coverage``
            (of all takes in the folder).

        Raises:
            InputError: If fewer than 10 frames are kept.
        """
        verdicts: Counter[str] = Counter()
        masked = 0
        for time_ms, verdict, joints in self._log:
            aside = self._writer is not None and time_ms >= self._span.cutoff
            if aside and verdict != UNREADABLE:
                verdict = SET_ASIDE
            verdicts[verdict] += 1
            masked += joints * (verdict == KEPT)
        rest = (KEPT, SET_ASIDE, PASSED_OVER)
        dropped = {k: n for k, n in sorted(verdicts.items()) if k not in rest}
        if self._writer is None:
            raise InputError(self._too_short(verdicts[KEPT], dropped))
        lines = sum(time < self._span.cutoff for time in self._times)
        _cut(self._writer, lines)
        name = self._writer.name.replace("/", "-")
        held = self._held()
        folder = self.root / holdout.FOLDER / name
        holdout.write(folder, held, self._writer.name, self.teacher.name)
        preview = self.root / f"preview-{name}.png"
        self._preview(preview)
        covered = measure(self.root)
        plot = self.root / "coverage.png"
        with atomic_file(plot) as beside:
            title = f"{covered.frames:,} frames of {self.root.resolve().name}"
            beside.write_bytes(coverage.plot(covered, title))
        return {
            "frames": len(self._log),
            "kept": lines,
            "dropped": dropped,
            "passed_over": verdicts[PASSED_OVER],
            "set_aside": verdicts[SET_ASIDE],
            "masked_joints": masked,
            "with_others": self.others,
            "teacher": self.teacher.name,
            "mirrored_answers": self.teacher.mirrors,
            "take": self._writer.name,
            "folder": str(self._writer.folder),
            "holdout": {
                "frames": len(held),
                "folder": str(folder),
                "gap_ms": round(self._span.block - self._span.cutoff),
                "evaluate": list(holdout.commands(folder)),
            },
            "preview": str(preview),
            "coverage": {
                "frames": covered.frames,
                "picture": str(plot),
                "shares": covered.shares,
                "missing": covered.missing(),
            },
        }

    def _too_short(self, kept: int, dropped: dict[str, int]) -> str:
        """Return why there is no take."""
        reasons = [f"{n} {reason}" for reason, n in dropped.items()]
        return (
            f"a take needs {LEAST_FRAMES} frames that are kept, before the last "
            f"{SHARE:.0%} of its time and a gap, which are set aside. Received: "
            f"{len(self._log)} frames, {kept} of them kept; dropped: "
            f"{', '.join(reasons) or 'none'}; nothing is written. {self.teacher.hint}"
        )

    def _held(self) -> list[HeldOut]:
        """Return the frames that are held out, evenly spread."""
        span = self._span
        block = [c.frame for c in self._candidates if c.time_ms <= span.last]
        chosen = np.linspace(0, len(block) - 1, min(len(block), MOST_HELD))
        return [block[round(float(at))] for at in chosen]

    def _preview(self, path: Path) -> None:
        """Write the contact sheet, in order of time."""
        tiles = []
        for kept, most in PREVIEWS.items():
            found = [t for t in self._tiles[kept].items if t[0] < self._span.cutoff]
            chosen = np.linspace(0, len(found) - 1, min(len(found), most))
            tiles += [found[round(float(at))] for at in chosen]
        tiles.sort(key=lambda tile: tile[0])
        # Rows of full width, so that the legend has room.
        few = [tile for _, tile in tiles] + [np.full_like(tiles[0][1], 255)] * COLUMNS
        count = -(-len(tiles) // COLUMNS) * COLUMNS
        sheet = drawing.contact_sheet(few[:count], COLUMNS)
        head = np.full((LEGEND_HEIGHT, sheet.shape[1], 3), 255, np.uint8)
        at = (6, LEGEND_HEIGHT - 9)
        ink = (20, 20, 20)
        cv2.putText(head, LEGEND, at, drawing.FONT, 0.6, ink, 1, cv2.LINE_AA)
        sheet = np.concatenate([head, sheet])
        with atomic_file(path) as beside:
            beside.write_bytes(images.encode(sheet, "png", 0))


def _body(answer: Answer, agreed: NDArray[np.bool_]) -> Body:
    """Return what is written: joints that do not agree are only inferred."""
    known = np.isfinite(answer.points).all(axis=1)
    states = np.where(agreed, TRACKED, np.where(known, INFERRED, UNTRACKED))
    return Body(answer.points, states.astype(np.int8))


def _cut(writer: TakeWriter, lines: int) -> None:
    """Take the frames from ``lines`` on out of a take that was closed."""
    for suffix in (".txt", ".times.txt"):
        path = writer.folder.with_suffix(suffix)
        whole = path.read_bytes().splitlines(keepends=True)
        with atomic_file(path) as beside:
            beside.write_bytes(b"".join(whole[:lines]))
    # Last: a picture without a line is left out by the reader.
    for number in range(lines, writer.frames):
        (writer.folder / f"{number:06}.jpg").unlink()


def _require_place(root: Path) -> None:
    """Refuse now what would end a recording when it is made.

    Raises:
        InputError: As ``Recorder``.
    """
    place = root.absolute()
    there = next(one for one in (place, *place.parents) if one.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise InputError(
            f"{root} must be a folder to write to, but {there} is "
            f"{'read-only' if there.is_dir() else 'a file'}"
        )
    # Today's facts are added to, and the coverage is that of all takes.
    for file in sorted(root.glob(f"*/{FACTS_FILE}")):
        tables(file)
    for file in sorted(root.glob("*/video_*.txt")):
        if persontracker.NAME.fullmatch(file.stem):
            read_facts(file.parent, file.stem)


def measure(root: Path) -> Coverage:
    """Return the coverage of all takes under a folder that are not mirrored."""
    rows = [
        np.column_stack([np.nan_to_num(body.joints), body.states == TRACKED])
        for take in persontracker.takes(root)
        if take.facts.mirrored == "no"
        for bodies in take.bodies
        for body in bodies
    ]
    return coverage.measure(np.reshape(np.array(rows), (-1, len(BODY_13), 3)))


def _tile(number: int, image: Image, seen: Seen, judged: Judged, verdict: str) -> Image:
    """Return the person with the teacher's joints; those not believed have a ring."""
    height, width = image.shape[:2]
    box = seen.box or Box(0, 0, width, height)
    square = SquareCrop.around(box).expanded(1.1)
    tile = images.crop(image, square, TILE)
    if seen.answer is not None and judged.verdict != NOBODY:
        points = square.image_to_crop(seen.answer.points) * TILE - 0.5
        joints = np.column_stack([points, np.ones(len(points))])
        tile = drawing.draw_skeleton(tile, joints, BODY_13)
        for at in np.flatnonzero(~judged.agreed & np.isfinite(points).all(axis=1)):
            centre = np.rint(np.clip(points[at], -TILE, 2 * TILE)).astype(int).tolist()
            cv2.circle(tile, centre, 7, RED, 2, cv2.LINE_AA)
    kept = judged.verdict == KEPT
    tile = drawing.draw_box(tile, Box(1, 1, TILE, TILE), GREEN if kept else RED, 3)
    text = f"{number} {'kept' if kept else verdict.replace('_', ' ')}"
    return drawing.draw_label(tile, Box(2, 2, TILE, TILE), text)


def text(summary: dict[str, Any]) -> Sequence[str]:
    """Return the lines that a person reads at the end."""
    dropped = [
        f"{n:,} {reason.replace('_', ' ')}" for reason, n in summary["dropped"].items()
    ]
    parts = [f"kept {summary['kept']:,} of {summary['frames']:,} frames"]
    parts.append(f"dropped {', '.join(dropped) or 'none'}")
    if summary["passed_over"]:
        parts.append(f"{summary['passed_over']:,} passed over")
    parts.append(f"{summary['set_aside']:,} set aside")
    held = summary["holdout"]
    lines = [
        f"{'; '.join(parts)} -> {summary['folder']}",
        f"{summary['masked_joints']:,} of {13 * summary['kept']:,} joints masked: not "
        "agreed upon",
    ]
    if not summary["mirrored_answers"]:
        lines.append(
            f"{summary['teacher']} was not asked for mirror images: joints agree with "
            "their neighbours in time only"
        )
    if summary["with_others"]:
        lines.append(
            f"{summary['with_others']:,} frames have other people too: one is recorded"
        )
    lines += [
        f"hold-out: {held['frames']} frames of the end of the take, whether agreed "
        f"upon or not, {held['gap_ms'] / 1000:.1f} s after the last kept one, for a "
        f"person to correct: {held['folder']}/{holdout.STEPS}",
        f"then: {held['evaluate'][0]}",
        f"look at {summary['preview']} and {summary['coverage']['picture']}",
    ]
    return [*lines, *coverage.words(summary["coverage"]["missing"]).splitlines()]
