"""PersonTracker: folders of pictures and Kinect joints, the format of recordings.

Format and traps: datasets/cards/persontracker.md.
"""

import contextlib
import datetime
import errno
import os
import re
from collections.abc import Iterator, Sequence
from io import FileIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kpose import video
from kpose.errors import InputError, ResourceError
from kpose.joints import BODY_13
from kpose.records import BadRecord, ImageRef, PersonRecord
from kpose_datasets import takes as takes_
from kpose_datasets.takes import KINECT_JOINTS, KINECT_ROWS, Body, Facts, Take

SKELETON = BODY_13

LICENCE = "persontracker: that of the user's recordings"

NAME = re.compile(r"video_\d{4,}")

DAY = re.compile(r"\d{4}_\d\d_\d\d")

PICTURE = re.compile(r"\d{6,}\.jpg")

NO_NUMBER = re.compile(r"[+-]?(1\.#[A-Z]+\d*|nan\(\w+\))", re.IGNORECASE)
"""How Microsoft's runtimes print infinities and NaNs besides ``inf`` and ``nan``."""

PERSON = 1 + 3 * KINECT_JOINTS
"""Numbers of a person: how many joints, then x, y and state of each."""


def read(
    root: Path, mirrored: str = "", inferred: str = "", faults: str = ""
) -> Iterator[PersonRecord | BadRecord]:
    """Yield every labelled person of every take, un-mirrored, see ``takes.records``.

    Args:
        root: The folder with the date folders, one of those, or a ``video_0000.txt``.
        mirrored: ``"yes"``, ``"no"`` or ``"auto"`` instead of what ``recording.toml``
            says.
        inferred: ``"keep"`` for the joints that the Kinect only inferred.
        faults: ``"keep"`` for the joints that look like mistakes of the tracker.

    Raises:
        InputError: As ``takes``, or if an option is no such word.
    """
    for take in takes(root):
        yield from takes_.records(take, "persontracker", mirrored, inferred, faults)


def takes(root: Path) -> Iterator[Take]:
    """Yield the takes in order of day and number.

    A take whose metadata cannot be read at all has no bodies, and a problem.

    Args:
        root: The folder with the date folders, one of those, or a ``video_0000.txt``.

    Raises:
        InputError: If there is no metadata, no line of any take can be read, or a
            ``recording.toml`` is wrong.
    """
    files = _files(root)
    if not files:
        raise InputError(
            f"{root} must be a folder with YYYY_MM_DD/video_0000.txt and so on, one "
            "of its date folders or such a file, but has none"
        )
    good = False
    problems: list[str] = []
    for file in files:
        take = _take(file)
        good = good or len(take.bodies) > len(take.damaged)
        problems += take.problems
        # The error below is better than a list of what cannot be used.
        if good or len(files) > 1:
            yield take
    if not good:
        raise InputError(problems[0])


def home(path: Path) -> Path:
    """Return the folder of the date folders, whatever of it is read.

    Its name is the first part of the names of takes.
    """
    path = path.resolve()
    if path.is_file():
        return path.parent.parent
    direct = any(NAME.fullmatch(one.stem) for one in path.glob("video_*.txt"))
    return path.parent if direct else path


def _files(root: Path) -> list[Path]:
    """Return the metadata files."""
    if root.is_file():
        return [root]
    found = [*root.glob("video_*.txt"), *root.glob("*/video_*.txt")]
    return sorted(one for one in found if NAME.fullmatch(one.stem) and one.is_file())


def _take(file: Path) -> Take:
    """Return the take of a metadata file."""
    place = file.resolve()
    name = f"{place.parent.parent.name}/{place.parent.name}/{place.stem}"
    bodies, damaged = _bodies(file)
    refs, problems = _pictures(file, len(bodies))
    if not bodies:
        problems.insert(0, f"{file} must have a line per frame, but is empty")
    elif len(damaged) == len(bodies):
        problems.insert(0, damaged[0])
    times, late = _times(file.with_suffix(".times.txt"), len(bodies))
    return Take(
        name=name,
        images=refs,
        bodies=bodies,
        facts=takes_.read_facts(file.parent, file.stem),
        times_ms=times,
        problems=(*problems, *late),
        damaged=damaged,
    )


def _bodies(file: Path) -> tuple[list[list[Body]], dict[int, str]]:
    """Return the bodies per line, and what is wrong with lines that have none.

    Raises:
        InputError: If the file cannot be read.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig", "replace")
    except OSError as error:
        raise InputError(f"{file} must be a readable file: {error.strerror}") from None
    lines = text.rstrip().split("\n") if text.strip() else []
    bodies: list[list[Body]] = []
    damaged: dict[int, str] = {}
    for number, line in enumerate(lines):
        try:
            bodies.append(_line(line))
        except ValueError as error:
            damaged[number] = f"{file}, line {number + 1}: {error}"
            bodies.append([])
    return bodies, damaged


def _line(line: str) -> list[Body]:
    """Return the bodies of a line.

    Raises:
        ValueError: If it is damaged: what was expected, and what came.
    """
    tokens = line.split()
    if not tokens or not tokens[0].isdecimal() or len(tokens[0]) > 4:
        came = tokens[0] if tokens else "an empty line"
        raise ValueError(f"expected the number of persons. Received: {came!r:.40}")
    count = int(tokens[0])
    joints = tokens[1] if len(tokens) > 1 else ""
    if count and joints != str(KINECT_JOINTS):
        raise ValueError(
            f"a person must have {KINECT_JOINTS} joints. Received: {joints!r:.40}"
        )
    if len(tokens) != 1 + count * PERSON:
        raise ValueError(
            f"{count} persons must have {count * PERSON} numbers. "
            f"Received: {len(tokens) - 1}"
        )
    bodies = []
    for start in range(1, len(tokens), PERSON):
        if tokens[start] != str(KINECT_JOINTS):
            raise ValueError(
                f"a person must have {KINECT_JOINTS} joints. "
                f"Received: {tokens[start]!r:.40}"
            )
        numbers = [_number(token) for token in tokens[start + 1 : start + PERSON]]
        table = np.reshape(np.array(numbers), (KINECT_JOINTS, 3))
        states = table[:, 2]
        if not np.isin(states, (0, 1, 2)).all():
            raise ValueError(
                "a tracking state must be 0, 1 or 2. Received: "
                f"{states[~np.isin(states, (0, 1, 2))][0]}"
            )
        rows = table[list(KINECT_ROWS)]
        bodies.append(takes_.body(rows[:, :2], rows[:, 2].astype(np.int8)))
    return bodies


def _number(token: str) -> float:
    """Return a number; a ValueError says which token is none."""
    try:
        return float(token)
    except ValueError:
        if NO_NUMBER.fullmatch(token):
            return np.nan
        raise ValueError(f"expected a number. Received: {token!r:.40}") from None


def _pictures(file: Path, lines: int) -> tuple[list[ImageRef], list[str]]:
    """Return the picture of each line, and whether there are as many."""
    folder, clip = file.with_suffix(""), file.with_suffix(".avi")
    if not folder.is_dir() and clip.is_file():
        refs = [ImageRef(clip, frame=number) for number in range(lines)]
        found = video.promised(clip)
        if found is None or found == lines:
            return refs, []
        return refs, [f"{lines} lines, but {found} frames in {clip.name}"]
    refs = [ImageRef(folder / f"{number:06}.jpg") for number in range(lines)]
    if not folder.is_dir():
        return refs, [
            f"expected pictures in {folder} or {clip.name}, but there are none"
        ]
    there = {one.name for one in folder.iterdir() if PICTURE.fullmatch(one.name)}
    absent = sum(ref.path.name not in there for ref in refs)
    surplus = len(there) - (lines - absent)
    if absent or surplus:
        return refs, [
            f"{lines} lines, but {len(there)} pictures: {absent} lines without a "
            f"picture, {surplus} pictures without a line"
        ]
    return refs, []


def _times(path: Path, lines: int) -> tuple[NDArray[np.float64] | None, list[str]]:
    """Return the time stamps of the lines, None where there are none, and why not."""
    if not path.is_file():
        return None, []
    try:
        stamps = np.array([float(one) for one in path.read_text("utf-8").split()])
    except (ValueError, OSError):
        return None, [f"{path.name} must have a number per line: not used"]
    # A recorder that is killed has written one more.
    stamps = stamps[:lines]
    if len(stamps) < lines:
        return None, [
            f"{path.name} has {len(stamps)} times for {lines} lines: not used"
        ]
    if not np.isfinite(stamps).all() or (np.diff(stamps) <= 0).any():
        return None, [f"{path.name} must have times that grow: not used"]
    return stamps, []


class TakeWriter:
    """Writes a take frame by frame; what is written is valid at any kill.

    A context manager, or ``close`` it. The take gets the next free number of its day.

    Args:
        root: The folder of the date folders; made where it is not there.
        facts: Written to the day's ``recording.toml`` with the first frame.
        day: ``YYYY_MM_DD``; "" for today.

    Attributes:
        name: Of the take in ``root``, e.g. ``"2026_11_24/video_0000"``.
        folder: Of its pictures.
        frames: How many are written.

    Raises:
        InputError: If ``day`` is no date, or ``recording.toml`` is wrong.
        ResourceError: If nothing can be written there.
    """

    def __init__(self, root: Path, facts: Facts, day: str = "") -> None:
        """Take a number."""
        day = day or datetime.date.today().strftime("%Y_%m_%d")
        if not DAY.fullmatch(day):
            raise InputError(f"day must be YYYY_MM_DD. Received: {day!r:.100}")
        self.frames = 0
        self._facts = facts
        self._day = root / day
        try:
            self._day.mkdir(parents=True, exist_ok=True)
            self.folder = self._reserve()
            # Without a buffer, a line is in the file as soon as it is written.
            lines, times = (
                self.folder.with_suffix(suffix).open("xb", buffering=0)
                for suffix in (".txt", ".times.txt")
            )
        except OSError as error:
            raise ResourceError(
                f"{self._day} must be a folder to write to: {error.strerror}"
            ) from None
        self._lines, self._times = lines, times
        self.name = f"{day}/{self.folder.name}"

    def __enter__(self) -> "TakeWriter":
        """Return the writer."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()

    def write(
        self, encoded_jpeg: bytes, bodies: Sequence[Body], time_ms: float
    ) -> None:
        """Append a frame.

        Args:
            encoded_jpeg: The bytes of its picture as a JPEG file.
            bodies: Who is in it, 13 joints each, in pixels of the picture.
            time_ms: When it was taken; more than that of the frame before.

        Raises:
            ResourceError: If it cannot be written; what was written stays valid.
        """
        people = [_text(body) for body in bodies]
        # A take must not be found without its facts, such as that it is for testing;
        # facts without a take would do no harm.
        if not self.frames:
            takes_.write_facts(self._day, self.folder.name, self._facts)
        path = self.folder / f"{self.frames:06}.jpg"
        line = " ".join([str(len(bodies)), *people]) + " \n"
        try:
            # The line comes last: a picture or a time without a line is left out.
            path.write_bytes(encoded_jpeg)
            _append(self._times, f"{time_ms:.3f}\n".encode())
            _append(self._lines, line.encode())
        except OSError as error:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)  # what the disk had room for
            raise ResourceError(f"{path} cannot be written: {error.strerror}") from None
        self.frames += 1

    def close(self) -> None:
        """Close the files; a take without a frame leaves none."""
        for file in (self._lines, self._times):
            file.close()
        if not self.frames:
            for file in (self._lines, self._times):
                Path(file.name).unlink(missing_ok=True)
            for picture in self.folder.glob("*.jpg") if self.folder.is_dir() else ():
                picture.unlink()
            if self.folder.is_dir():
                self.folder.rmdir()

    def _reserve(self) -> Path:
        """Make the folder of the next free number and return it."""
        known = [one.name for one in self._day.iterdir()]
        facts = self._day / takes_.FACTS_FILE
        if facts.is_file():
            known += takes_.tables(facts)
        found = [NAME.match(name) for name in known]
        number = 1 + max((int(one[0][6:]) for one in found if one), default=-1)
        while True:
            folder = self._day / f"video_{number:04}"
            try:
                folder.mkdir()
                return folder
            except FileExistsError:  # another recorder was faster
                number += 1


def _append(file: FileIO, data: bytes) -> None:
    """Write all of ``data``, or leave the file as it was."""
    end = file.tell()
    try:
        written = file.write(data)
        if written != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        file.truncate(end)
        file.seek(end)
        raise


def _text(body: Body) -> str:
    """Return a person as PersonTracker writes it."""
    words = ["0 0 0"] * KINECT_JOINTS
    for row, (x, y), state in zip(
        KINECT_ROWS, body.joints.tolist(), body.states.tolist(), strict=True
    ):
        if np.isfinite((x, y)).all():
            words[row] = f"{x:.6g} {y:.6g} {state}"
        elif state != takes_.UNTRACKED:
            words[row] = f"inf inf {state}"  # as a Kinect that cannot project it
    return f"{KINECT_JOINTS} " + " ".join(words)
