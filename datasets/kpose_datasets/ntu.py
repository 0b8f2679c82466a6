"""NTU RGB+D: the skeletons of Kinect v2 and the colour videos.

Format and traps: datasets/cards/ntu.md.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from kpose import video
from kpose.errors import InputError
from kpose.joints import BODY_13
from kpose.records import BadRecord, ImageRef, PersonRecord
from kpose_datasets import takes as recordings
from kpose_datasets.takes import KINECT_ROWS, Body, Take

SKELETON = BODY_13

LICENCE = "ntu: registered academic use only, no redistribution of frames or joints"

JOINTS, VALUES = 25, 12
"""Of a body: joints in the order of JointType, and numbers of each."""

X, Y, STATE = 5, 6, 11
"""Of the numbers of a joint: colour pixels of 1920 x 1080, and the tracking state."""

BODY = 10
"""Values of a body before its joints; the first is its id."""

MOST_BODIES = 6
"""A Kinect tracks no more."""

PERFORMER = re.compile(r"S\d{3}C\d{3}(P\d{3})R\d{3}A\d{3}")
"""Setup, camera, performer, replication and action in the name of a file."""


def takes(path: Path, images: Path | None = None) -> Iterator[Take]:
    """Yield the take of every ``.skeleton`` file, in the order of their names.

    In a folder a file that cannot be used is a take of one damaged frame.

    Args:
        path: A ``.skeleton`` file or the folder of them.
        images: The folder of the videos ``NAME_rgb.avi``, or the video of one file;
            None where they lie beside the files.

    Raises:
        InputError: If there is no such file, none can be used, or one video is given
            for several files.
    """
    files = sorted(path.glob("*.skeleton")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path} must be a folder of .skeleton files, but has none")
    if images is not None and not images.is_dir() and len(files) > 1:
        raise InputError(
            f"the videos of the {len(files)} files in {path} must be in a folder. "
            f"Received: {images}"
        )
    errors: list[InputError] = []
    for file in files:
        try:
            take = _take(file, images)
        except InputError as error:
            errors.append(error)
            if len(errors) == len(files):
                raise errors[0] from None
            first = ImageRef(_video(file, images), 0)
            take = Take(file.stem, [first], [()], _facts(file), damaged={0: str(error)})
        yield take


def read(
    path: Path,
    images: Path | None = None,
    mirrored: str = "",
    inferred: str = "",
    faults: str = "",
) -> Iterator[PersonRecord | BadRecord]:
    """Yield every body of every frame, un-mirrored, without the tracker's faults.

    A body whose video is not there is yielded too.

    Args:
        path: As of ``takes``.
        images: As of ``takes``.
        mirrored: As of ``kpose_datasets.takes.records``; "" is ``"yes"`` here.
        inferred: As there.
        faults: As there.

    Raises:
        InputError: As ``takes``, or if an option means nothing.
    """
    for take in takes(path, images):
        yield from recordings.records(
            take, "ntu", mirrored=mirrored, inferred=inferred, faults=faults
        )


def _facts(path: Path) -> recordings.Facts:
    """Return what is known of a file: the videos of the set are all mirrored."""
    facts = recordings.read_facts(path.parent, path.stem)
    performer = PERFORMER.match(path.stem)
    return replace(
        facts,
        subject=facts.subject or (performer[1] if performer else ""),
        mirrored="yes" if facts.mirrored == "auto" else facts.mirrored,
    )


def _video(path: Path, images: Path | None) -> Path:
    """Return the video of a file, which may not be there."""
    if images is not None and not images.is_dir():
        return images
    return (path.parent if images is None else images) / f"{path.stem}_rgb.avi"


def _take(path: Path, images: Path | None) -> Take:
    clip = _video(path, images)
    frames, problems = _frames(path)
    if clip.is_file():
        promised = video.promised(clip)
        if promised is not None and promised != len(frames):
            problems.append(
                f"{path} must have a frame for each of its video, but has "
                f"{len(frames)} and {clip.name} {promised}"
            )
    else:
        problems.append(
            f"expected the video {clip}, but there is none: say where with "
            "?images=FOLDER"
        )
    return Take(
        name=path.stem,
        images=[ImageRef(clip, frame) for frame in range(len(frames))],
        bodies=frames,
        facts=_facts(path),
        problems=tuple(problems),
    )


class _CutShort(Exception):
    """The tokens end inside a frame."""


def _frames(path: Path) -> tuple[list[list[Body]], list[str]]:
    """Return the whole frames of a file, and what is wrong with it."""
    tokens = _Tokens(path)
    problems = []
    frames: list[list[Body]] = []
    try:
        promised = tokens.count("frames", range(1_000_000_000))
        while len(frames) < promised:
            frames.append(_bodies(tokens))
    except _CutShort:
        problem = f"{path} must have as many frames as it says, but is cut short after "
        if not frames:
            raise InputError(f"{problem}none") from None
        problems.append(f"{problem}{len(frames)} of {promised}")
        return frames, problems
    if tokens.left:
        problems.append(
            f"{path} must end after its {len(frames)} frames, but goes on at line "
            f"{tokens.line()}"
        )
    return frames, problems


def _bodies(tokens: "_Tokens") -> list[Body]:
    """Read one frame."""
    bodies = []
    for _ in range(tokens.count("bodies", range(MOST_BODIES + 1))):
        identity = tokens.take(BODY)[0]
        # Over 53 bits: as a float two persons would become one.
        if not identity.isdecimal():
            raise tokens.error("the id of a body, a whole number", identity, -BODY)
        tokens.count("joints", range(JOINTS, JOINTS + 1))
        bodies.append(_body(tokens, identity))
    return bodies


def _body(tokens: "_Tokens", identity: str) -> Body:
    """Read the 25 lines of a body's joints."""
    size = JOINTS * VALUES
    given = tokens.take(size)
    numbers = np.empty(size, np.float64)
    for index, token in enumerate(given):
        try:
            numbers[index] = float(token)
        except ValueError:
            expected = f"a number, value {index % VALUES + 1} of a joint's {VALUES}"
            raise tokens.error(expected, token, index - size) from None
    values = numbers.reshape(JOINTS, VALUES)
    wrong = np.flatnonzero(~np.isin(values[:, STATE], (0, 1, 2)))
    if len(wrong):
        index = int(wrong[0]) * VALUES + STATE
        expected = (
            f"0, 1 or 2, the tracking state, value {VALUES} of a joint's {VALUES}"
        )
        raise tokens.error(expected, given[index], index - size)
    chosen = values[list(KINECT_ROWS)]
    states = chosen[:, STATE].astype(np.int8)
    return recordings.body(chosen[:, [X, Y]], states, identity)


class _Tokens:
    """The words of a file, one after the other: line ends are CRLF or LF."""

    def __init__(self, path: Path) -> None:
        try:
            self._text = path.read_text(encoding="ascii")
        except (OSError, ValueError) as error:
            raise InputError(f"{path} must be a .skeleton file: {error}") from None
        self._path = path
        self._tokens = self._text.split()
        self._at = 0

    @property
    def left(self) -> int:
        """How many tokens are not taken yet."""
        return len(self._tokens) - self._at

    def take(self, count: int) -> list[str]:
        """Return the next tokens."""
        if self.left < count:
            raise _CutShort
        self._at += count
        return self._tokens[self._at - count : self._at]

    def count(self, what: str, among: range) -> int:
        """Return the next token, a number of ``what`` in ``among``."""
        (token,) = self.take(1)
        number = int(token) if token.isdecimal() and len(token) < 10 else -1
        if number not in among:
            some = f"{among[0]}" if len(among) == 1 else f"{among[0]} to {among[-1]}"
            raise self.error(f"the number of {what}, {some}", token, -1)
        return number

    def error(self, expected: str, came: str, back: int) -> InputError:
        """Return the error of a token, ``back`` from the place that is reached."""
        return InputError(
            f"{self._path} line {self.line(back)} must have {expected}. "
            f"Received: {came!r:.80}"
        )

    def line(self, back: int = 0) -> int:
        """Return the line, from 1, of a token ``back`` from the place reached."""
        lines = self._text.splitlines()
        reached = np.cumsum([len(line.split()) for line in lines])
        return 1 + int(np.searchsorted(reached, self._at + back, side="right"))
