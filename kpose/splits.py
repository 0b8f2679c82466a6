"""Who is trained on and who is held out: by key, by lot or by a file of the user.

A *key* is what must stay on one side: a picture, a recording, a subject, or what else
``BY`` names. Everything here depends on names and seeds alone, never on the order in
which records come.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpose.errors import InputError
from kpose.records import SPLITS

BY = ("group", "image", "recording", "subject", "clothing", "random_frames")
"""What a split can keep together. ``random_frames`` keeps nothing together but the
persons of one frame, and its scores mean little: neighbouring frames are alike."""

RANDOM_FRAMES = "random_frames"

VALIDATION = 400
"""So many persons most recipes hold out."""

PAPER_VALIDATION = 2000
"""So many the paper held out (section 3.3, Table 2)."""

LAST_PART = 0.1
"""So much of the end of every take is held out where no whole one can be."""

RECORDED_PART = 0.2
"""Of recordings, no more than this part of the fully annotated persons is asked for."""

LARGEST_PART = 1 / 3
"""The largest part of the persons of recordings that whole ones are held out for."""

LEFT_OUT = "left_out"
"""The split of persons who are neither trained on nor validated or tested on."""

MAX_NAMED = 5
"""So many rows of a split file are named in an error."""

Strings = NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Columns:
    """What is known about persons, ``(persons,)`` strings each, "" where it is not.

    Args:
        id: As ``PersonRecord.id``.
        source: As ``PersonRecord.source``.
        group: As ``PersonRecord.group``.
        image: One name per picture or frame of a video, unique in its source.
        recording: As ``PersonRecord.recording``.
        subject: As ``PersonRecord.subject``.
        clothing: As ``PersonRecord.clothing``.

    Raises:
        InputError: If the columns have different lengths.
    """

    id: Strings
    source: Strings
    group: Strings
    image: Strings
    recording: Strings
    subject: Strings
    clothing: Strings

    def __post_init__(self) -> None:
        """Refuse columns of different lengths."""
        lengths = {name: len(column) for name, column in vars(self).items()}
        if len(set(lengths.values())) > 1:
            raise InputError(f"columns must be equally long. Received: {lengths}")

    @classmethod
    def of(
        cls,
        *,
        id: Sequence[str] | Strings,
        source: Sequence[str] | Strings,
        group: Sequence[str] | Strings,
        image: Sequence[str] | Strings,
        recording: Sequence[str] | Strings | None = None,
        subject: Sequence[str] | Strings | None = None,
        clothing: Sequence[str] | Strings | None = None,
    ) -> "Columns":
        """Take lists or arrays; a column that is None is "" for everybody."""
        unknown = [""] * len(id)
        given = (
            id,
            source,
            group,
            image,
            unknown if recording is None else recording,
            unknown if subject is None else subject,
            unknown if clothing is None else clothing,
        )
        return cls(*(np.asarray(column, np.str_) for column in given))


def keys(by: str, columns: Columns) -> Strings:
    """Return ``(persons,)`` keys: persons of one key must stay on one side.

    A key is the source, a slash and what ``by`` names, so that subject 1 of one set is
    not subject 1 of another. ``"group"`` gives what ``training.split`` always used.

    Args:
        by: One of ``BY``. ``"image"`` is for photographs: frames of a recording must
            be asked for as ``"random_frames"``.
        columns: Of the persons.

    Raises:
        InputError: If ``by`` is unknown, a person lacks what it names, or it is
            ``"image"`` and a picture is a frame of a recording.
    """
    if by not in BY:
        raise InputError(
            f"a split must be by one of {', '.join(BY)}. Received: {by!r:.100}"
        )
    if by == "image" and (frames := columns.recording != "").any():
        first = int(np.argmax(frames))
        raise InputError(
            f"a split by image must be of photographs, but {_name(columns, first)} is "
            f"a frame of the recording {columns.recording[first]!s:.100}: it would be "
            "a random split over video frames, which must be asked for by its name, "
            f"{RANDOM_FRAMES}"
        )
    field = "image" if by == RANDOM_FRAMES else by
    column: Strings = getattr(columns, field)
    lacking = column == ""
    if lacking.any():
        raise InputError(
            f"a split by {by} must know the {field} of every person, but "
            f"{_name(columns, int(np.argmax(lacking)))} has none "
            f"({int(lacking.sum())} of {len(lacking)} have none)"
        )
    return np.char.add(np.char.add(columns.source, "/"), column)


def _name(columns: Columns, row: int) -> str:
    return f"{columns.source[row]!s:.100} {columns.id[row]!s:.100}"


def hold_out(
    sources: Strings,
    groups: Strings,
    recordings: Strings,
    full: NDArray[np.bool_],
    first: NDArray[np.bool_],
    eligible: NDArray[np.bool_],
    persons: int,
    seed: int,
) -> Strings:
    """Hold out validation persons where the data say nothing about it.

    Fully annotated persons are drawn by group, see ``draw``; of recordings at most
    ``RECORDED_PART``. Where recordings are so few that this takes more than
    ``LARGEST_PART`` of the persons or leaves nobody, the end of every recording is held
    out instead, see ``ends``.

    Args:
        sources: ``(crops,)``, like all that follow: ``PersonRecord.source``.
        groups: ``PersonRecord.group``.
        recordings: ``PersonRecord.recording``.
        full: Whether all joints of a person are annotated, on its first crop only.
        first: Whether it is the first crop of its person.
        eligible: False for persons of an official test split.
        persons: The fewest to draw.
        seed: Decides who is drawn.

    Returns:
        ``(crops,)``: as ``draw``.

    Raises:
        InputError: As ``draw``, where the persons are not all of recordings.
    """
    recorded = bool((recordings[eligible] != "").all() and eligible.any())
    if recorded:
        persons = min(persons, max(int(RECORDED_PART * (full & eligible).sum()), 1))
    try:
        drawn = draw(
            np.char.add(np.char.add(sources, "/"), groups),
            full,
            eligible,
            persons,
            seed,
        )
    except InputError:
        if not recorded:
            raise
    else:
        part = (drawn[first & eligible] != "train").mean()
        if not recorded or part <= LARGEST_PART:
            return drawn
    takes = np.char.add(np.char.add(sources, "/"), recordings)
    held_out = ends(takes, first, eligible)
    split = np.where(held_out, np.where(first, "val", LEFT_OUT), "train")
    return np.asarray(np.where(eligible, split, "test"), np.str_)


def ends(
    takes: Strings, first: NDArray[np.bool_], chosen: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return which crops are of the last tenth of the persons of their take.

    They are neighbours of what is trained on at the cut alone: held out one by one, all
    would be.

    Args:
        takes: ``(crops,)``: the take of each; crops are in the order of their takes.
        first: ``(crops,)``: whether it is the first crop of its person.
        chosen: ``(crops,)``: those to choose from.
    """
    held_out = np.zeros(len(takes), bool)
    for name in np.unique(takes[chosen]):
        crops = np.flatnonzero(chosen & (takes == name))
        person = np.cumsum(first[crops]) - 1
        count = int(person[-1]) + 1
        kept = count - max(round(LAST_PART * count), 1) if count > 1 else count
        held_out[crops[person >= kept]] = True
    return held_out


def draw(
    keys: Strings,
    full: NDArray[np.bool_],
    eligible: NDArray[np.bool_],
    persons: int,
    seed: int,
) -> Strings:
    """Hold out fully annotated persons for validation (paper section 3.3).

    Keys are drawn until they have at least ``persons`` fully annotated persons. The
    order depends on ``seed`` and on which keys have such persons, not on the order of
    the records. All this happens before augmentation, so that no flip and no second
    crop of a validation person is trained on (docs/paper-readings.md, reading 12).

    Args:
        keys: ``(persons,)``: what ``keys`` returns.
        full: ``(persons,)``: whether all joints are annotated. Where a person has two
            rows, one per crop, of the first only: persons are counted.
        eligible: ``(persons,)``: False for persons of an official test split. They are
            not drawn, and keep it.
        persons: The fewest to hold out; the paper's number is 2000.
        seed: Decides the order of the keys.

    Returns:
        ``(persons,)``: ``"val"`` for fully annotated persons of a drawn key,
        ``"left_out"`` for the other persons of it, ``"train"`` for everybody else and
        ``"test"`` where not ``eligible``.

    Raises:
        InputError: If ``persons`` is not positive, there are too few fully annotated
            persons, or nobody is left to train on.
    """
    candidates = full & eligible
    there = int(candidates.sum())
    if persons < 1:
        raise InputError(f"validation must hold out somebody. Received: {persons}")
    if there < persons:
        raise InputError(
            f"validation must hold out {persons} fully annotated persons, but only "
            f"{there} of the {int(eligible.sum())} who may be drawn are"
        )
    # Sorted names, not file order, so that preparing in another order keeps them.
    names, counts = np.unique(keys[candidates], return_counts=True)
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(len(names))
    enough = int(np.searchsorted(np.cumsum(counts[order]), persons)) + 1
    drawn = np.isin(keys, names[order[:enough]])
    splits = np.full(len(keys), "train", "<U8")
    splits[drawn] = LEFT_OUT
    splits[drawn & full] = "val"
    splits[~eligible] = "test"
    if not (splits == "train").any():
        raise InputError(
            f"validation must leave somebody to train on, but {persons} persons are "
            f"asked for and the {enough} keys that have them have everybody"
        )
    return splits


def shared(splits: Strings, names: Strings) -> list[str]:
    """Return the names, e.g. of recordings, that are trained on and held out.

    "" is no name. A split file can divide a recording at random: a result of such a
    split must say so, as one by ``"random_frames"``.

    Args:
        splits: ``(persons,)``: as ``draw`` returns them.
        names: ``(persons,)``.
    """
    held_out = (splits == "val") | (splits == "test")
    both = np.intersect1d(names[splits == "train"], names[held_out])
    return [str(name) for name in both if name]


@dataclass(frozen=True)
class Division:
    """How the persons of ``kpose prepare`` are divided, as the user asks.

    Without ``validation`` and ``file`` the official splits stay, and ``kpose train``
    draws its validation persons where there are none.

    Args:
        validation: Hold out so many fully annotated persons (``draw``), 0 for none. The
            official train and val splits become one pool; the test split stays.
        by: What is drawn and stays on one side, one of ``BY``.
        seed: Of the draw.
        file: A split file instead of a draw.

    Raises:
        InputError: If both are asked for, or ``by`` is unknown.
    """

    validation: int = 0
    by: str = "group"
    seed: int = 0
    file: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what does not go together."""
        if self.by not in BY:
            raise InputError(
                f"a split must be by one of {', '.join(BY)}. Received: {self.by!r:.100}"
            )
        if self.file is not None and (self.validation or self.by != "group"):
            raise InputError("a split is drawn, or comes from a file: not both")
        if self.by != "group" and not self.validation:
            raise InputError(
                f"a split by {self.by} must say how many fully annotated persons it "
                "holds out for validation"
            )

    @property
    def kind(self) -> str:
        """``"official"``, ``"drawn"`` or ``"file"``."""
        return "file" if self.file else "drawn" if self.validation else "official"

    def assign(
        self,
        columns: Columns,
        official: Strings,
        full: NDArray[np.bool_],
        usable: NDArray[np.bool_],
    ) -> Strings:
        """Return ``(usable persons,)`` splits; ``"left_out"`` for nobody's.

        Args:
            columns: Of all persons whose labels are in order.
            official: ``(persons,)``: their official splits.
            full: ``(persons,)``: whether all joints are annotated.
            usable: ``(persons,)``: whose pictures are there.

        Raises:
            InputError: As ``keys``, ``draw`` and ``read_file``; and if the file trains
                on persons of an official test split.
        """
        if self.file is not None:
            splits = read_file(self.file).assign(columns)
            taken = (official == "test") & (splits != "test") & (splits != LEFT_OUT)
            if taken.any():
                first = int(np.argmax(taken))
                raise InputError(
                    f"{self.file} must leave the official test persons in test, but "
                    f"has {_name(columns, first)} in {splits[first]}"
                )
            return splits[usable]
        chosen = Columns(*(column[usable] for column in vars(columns).values()))
        eligible = official[usable] != "test"
        names = keys(self.by, chosen)
        return draw(names, full[usable], eligible, self.validation, self.seed)


def warning(division: dict[str, Any] | None) -> str | None:
    """Return what every result of a split at random over frames says, None for others.

    Args:
        division: ``split`` of a ``dataset.json`` or of a card; None where unknown.
    """
    if not division or not division["random_frames"]:
        return None
    names = division["recordings_on_both_sides"]
    more = ", ..." if len(names) > MAX_NAMED else ""
    return (
        "split at random over video frames: frames of the same recordings are trained "
        f"on and held out ({', '.join(names[:MAX_NAMED])}{more}), so that scores say "
        "nothing about new recordings"
    )


COLUMNS = ("id", "image", "group", "recording", "subject", "clothing")
"""What the first column of a split file can be."""


@dataclass(frozen=True)
class SplitFile:
    """A user's file that says who is in which split.

    Args:
        path: The file, for errors.
        key: What its first column is, one of ``COLUMNS``.
        splits: (source, name) -> split; the source is "" in a file without sources.
        lines: (source, name) -> the first line that has it, 1-based.
    """

    path: Path
    key: str
    splits: dict[tuple[str, str], str]
    lines: dict[tuple[str, str], int]

    def assign(self, columns: Columns) -> Strings:
        """Return ``(persons,)`` splits; ``"left_out"`` for whom the file does not name.

        Args:
            columns: Of all labelled persons, also of those whose picture is missing: a
                row about one of them is no mistake.

        Raises:
            InputError: If a row names nobody, or a file without sources names
                something that several sources have.
        """
        with_source = any(source for source, _ in self.splits)
        names = getattr(columns, self.key).tolist()
        sources = columns.source.tolist()
        found: dict[tuple[str, str], set[str]] = {}
        result = np.full(len(names), LEFT_OUT, "<U8")
        for row, (source, name) in enumerate(zip(sources, names, strict=True)):
            entry = (source if with_source else "", name)
            if entry in self.splits:
                result[row] = self.splits[entry]
                found.setdefault(entry, set()).add(source)
        self._require_one_source(found)
        self._require_persons(found)
        return result

    def _require_one_source(self, found: dict[tuple[str, str], set[str]]) -> None:
        for entry, sources in found.items():
            if len(sources) > 1:
                raise InputError(
                    f"{self.path}:{self.lines[entry]} must name one {self.key}, but "
                    f"{entry[1]!r:.100} is in {', '.join(sorted(sources)):.200}: give "
                    "the file a third column, source"
                )

    def _require_persons(self, found: dict[tuple[str, str], set[str]]) -> None:
        nobody = [entry for entry in self.splits if entry not in found]
        if nobody:
            named = ", ".join(
                f"{'/'.join(filter(None, entry)):.100} (line {self.lines[entry]})"
                for entry in nobody[:MAX_NAMED]
            )
            more = ", ..." if len(nobody) > MAX_NAMED else ""
            raise InputError(
                f"{self.path} must name persons of the data by their {self.key}, but "
                f"{len(nobody)} of {len(self.splits)} name nobody: {named}{more}"
            )

    def counts(self) -> dict[str, int]:
        """Return how many names the file puts into each split."""
        return dict(Counter(self.splits.values()))


def read_file(path: Path) -> SplitFile:
    """Read a split file.

    It is a CSV file with the header ``KEY,split`` or ``KEY,split,source``: KEY is one
    of ``COLUMNS`` and split train, val or test. A byte order mark, blank lines and a
    row that comes twice are allowed.

    Raises:
        InputError: If the file cannot be read, has another header or no row, or a row
            has an unknown split, an empty field, or another split than before.
    """
    rows = _rows(path)
    header = next(rows, (1, []))[1]
    if header[:1] and header[0] in COLUMNS and header[1:] == ["split"]:
        width = 2
    elif header[:1] and header[0] in COLUMNS and header[1:] == ["split", "source"]:
        width = 3
    else:
        raise InputError(
            f"{path}:1 must be a header such as id,split or id,split,source; the first "
            f"is one of {', '.join(COLUMNS)}. Received: {','.join(header)!r:.100}"
        )
    splits: dict[tuple[str, str], str] = {}
    lines: dict[tuple[str, str], int] = {}
    for line, row in rows:
        if len(row) != width or not all(row):
            raise InputError(
                f"{path}:{line} must have {width} fields that are not empty. "
                f"Received: {','.join(row)!r:.100}"
            )
        name, split = row[:2]
        entry = (row[2] if width == 3 else "", name)
        if split not in SPLITS:
            raise InputError(
                f"{path}:{line} must have a split of {', '.join(SPLITS)}. "
                f"Received: {split!r:.100}"
            )
        if splits.setdefault(entry, split) != split:
            raise InputError(
                f"{path}:{line} must put {name!r:.100} into one split, but says "
                f"{split} and line {lines[entry]} {splits[entry]}"
            )
        lines.setdefault(entry, line)
    if not splits:
        raise InputError(f"{path} must have a row after its header, but has none")
    return SplitFile(path, header[0], splits, lines)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the fields, without outer spaces, of each row."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"expected a split file {path}, but there is none") from None
    except OSError as error:
        raise InputError(
            f"{path} must be a readable split file: {error.strerror}"
        ) from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line} must be UTF-8, but is not") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, [field.strip() for field in row]
    except csv.Error as error:
        raise InputError(
            f"{path}:{reader.line_num} must be a row of a CSV file: {error}"
        ) from None
