"""Readers: one data set per file, each a generator of ``kpose.records.PersonRecord``.

A reader yields every label in a stable order, also where the picture is absent; what
uses the records counts and skips those. A label that is no person is yielded as a
``BadRecord``.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from kpose.errors import InputError
from kpose.joints import Skeleton
from kpose.records import SPLITS, BadRecord, PersonRecord
from kpose.screening import Source
from kpose_datasets import (
    azure_kinect,
    bbc_pose,
    coco,
    cvat,
    deeplabcut,
    flic,
    generic,
    kinect,
    label_studio,
    lsp,
    lspet,
    mpii,
    ntu,
    openpose_json,
    penn_action,
    persontracker,
    synthetic,
)

Record = PersonRecord | BadRecord

MODULES: dict[str, ModuleType] = {
    "lsp": lsp,
    "lspet": lspet,
    "mpii": mpii,
    "flic": flic,
    "bbc_pose": bbc_pose,
    "coco": coco,
    "penn_action": penn_action,
    "persontracker": persontracker,
    "ntu": ntu,
    "azure_kinect": azure_kinect,
    "kinect": kinect,
    "openpose_json": openpose_json,
    "generic": generic,
    "label_studio": label_studio,
    "cvat": cvat,
    "deeplabcut": deeplabcut,
    "synthetic": synthetic,
}

READERS: dict[str, Callable[..., Iterator[Record]]] = {
    name: module.read for name, module in MODULES.items()
}

LICENCES: dict[str, str] = {name: module.LICENCE for name, module in MODULES.items()}

SKELETONS: dict[str, Skeleton] = {
    name: module.SKELETON for name, module in MODULES.items()
}

DECISIONS = ("mirrored", "inferred", "faults")
"""What a user may decide about a recording (``takes.judge``)."""

OPTIONS: dict[str, tuple[str, ...]] = {
    "mpii": ("images",),
    "flic": ("images",),
    "bbc_pose": ("images",),
    "coco": ("images",),
    "penn_action": ("images",),
    "persontracker": DECISIONS,
    "ntu": ("images", *DECISIONS),
    "azure_kinect": ("images", "calibration", *DECISIONS),
    "kinect": ("images", "map", *DECISIONS),
    "openpose_json": ("images", "confidence", "offset"),
    "generic": ("images", "map"),
    "label_studio": ("images", "map"),
    "cvat": ("images", "map"),
    "deeplabcut": ("images", "map"),
}
"""What may follow a reader's path: ``?images=PATH``, where the pictures are elsewhere,
``&map=MAP.toml``, which of the points each joint is, ``&calibration=FILE``, and words.
"""

PATHS = {"images": "images", "map": "joint_map", "calibration": "calibration"}
"""Options that are paths, and the reader's parameter."""

WORDS = ("confidence", "offset", *DECISIONS)
"""Options that are words, which the reader understands by itself."""

NAMED_BY_FILE = (
    *("coco", "openpose_json", "generic", "label_studio", "cvat", "deeplabcut"),
    *("persontracker", "azure_kinect", "kinect"),
)
"""Readers whose records are named after the file or folder that is read."""

REQUIRED = {"openpose_json": "images", "azure_kinect": "images"}
"""Readers that do not work without an option."""


@dataclass(frozen=True)
class Records:
    """The records of a reader that are of some splits, read anew for each iteration.

    Args:
        name: The reader.
        path: What it reads.
        options: Those of ``OPTIONS`` that are given.
        splits: The official splits wanted.
    """

    name: str
    path: Path
    options: Mapping[str, str]
    splits: tuple[str, ...]

    def __iter__(self) -> Iterator[Record]:
        """Read; labels that are no persons have no split and always come."""
        for record in self.all():
            if isinstance(record, BadRecord) or record.split in self.splits:
                yield record

    def all(self) -> Iterator[Record]:
        """Read the persons of all splits."""
        given = {
            PATHS.get(name, name): Path(value) if name in PATHS else value
            for name, value in self.options.items()
        }
        return READERS[self.name](self.path, **given)


def read_source(text: str, default: Sequence[str] = ("train", "val")) -> Source:
    """Return the records of ``NAME:PATH[?OPTION=VALUE&...][@train|val|test|all]``.

    Args:
        text: A reader's name, the path it reads, what the reader takes besides
            (``OPTIONS``), and the official split wanted.
        default: The splits taken where ``text`` names none.

    Raises:
        InputError: If there is no such reader or path, the labels cannot be read, or
            there is no person of the split.
    """
    name, colon, rest = text.partition(":")
    if not colon or not rest or name not in READERS:
        raise InputError(
            f"data must be NAME:PATH with NAME one of {', '.join(READERS)}. "
            f"Received: {text!r}"
        )
    places, at, wanted = rest.rpartition("@")
    if not at or wanted not in (*SPLITS, "all"):
        whole, options = _split(rest)
        there = [whole, *(v for k, v in options.items() if k == "images")]
        if at and not all(Path(place).exists() for place in there):
            raise InputError(
                f"data must end in @{', @'.join(SPLITS)}, @all or a path that exists. "
                f"Received: {text!r}"
            )
        places, splits = rest, tuple(default)
    else:
        splits = SPLITS if wanted == "all" else (wanted,)
    path, given = _split(places)
    for option in given:
        if option not in OPTIONS.get(name, ()):
            raise InputError(f"{name} data has no option {option}. Received: {text!r}")
    if name in REQUIRED and REQUIRED[name] not in given:
        raise InputError(
            f"{name} data must say where its pictures are, as "
            f"NAME:PATH?images=PATH. Received: {text!r}"
        )
    unknown = re.search(r"[?&](\w+)=", path)
    if unknown and not Path(path).exists():
        raise InputError(
            f"{name} data has no option {unknown[1]:.100}; it has "
            f"{', '.join(OPTIONS.get(name, ())) or 'none'}. Received: {text!r}"
        )
    for what, place in (("data", path), ("pictures", given.get("images"))):
        if place is not None and not Path(place).exists():
            raise InputError(f"expected {name} {what} at {place}, but there is nothing")
    if not _is_utf8(Path(path).name):
        raise InputError(f"data must have a name in UTF-8. Received: {text!r}")
    records = Records(name, Path(path), given, splits)
    _require_one(records)
    return Source(name, records, LICENCES[name])


def _is_utf8(name: str) -> bool:
    """Return whether the bytes of a file's name are UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def require_different_names(sources: Sequence[Source]) -> None:
    """Refuse different files whose persons would have the same source.

    Readers of users' files name the source after the file or folder, so that two of one
    name would take each other's persons for duplicates. The same file twice is none of
    that.

    Raises:
        InputError: If there are two such files.
    """
    found: dict[tuple[str, str], Path] = {}
    for source in sources:
        records = source.records
        if not isinstance(records, Records) or records.name not in NAMED_BY_FILE:
            continue
        path = records.path.resolve()
        # A file annotations.xml and a folder annotations have one name too.
        name = path.name if path.is_dir() else records.path.stem
        if records.name == "coco":
            name = coco.set_name(records.path)
        if records.name == "persontracker":
            path = persontracker.home(records.path)
            name = path.name
        other = found.setdefault((records.name, name), path)
        if other != path:
            raise InputError(
                f"{records.name} data must have different names, since persons are "
                f"known by the name of their file or folder. Received: {name!r:.100} "
                f"for {other} and {path}"
            )


def _split(places: str) -> tuple[str, dict[str, str]]:
    """Return the path, and the values of the options behind it."""
    names = "|".join((*PATHS, *WORDS))
    path, *options = re.split(rf"[?&]({names})=", places)
    return path, dict(zip(options[::2], options[1::2], strict=True))


def _require_one(records: Records) -> None:
    """Raise an InputError with the counts where there is no person of the splits."""
    counts: Counter[str] = Counter()
    bad: Counter[str] = Counter()
    detail = ""
    for record in records.all():
        if isinstance(record, BadRecord):
            bad[record.reason] += 1
            detail = detail or record.detail
        elif record.split in records.splits:
            return
        else:
            counts[record.split] += 1
    found = [f"{n} {split}" for split, n in sorted(counts.items())]
    found += [f"{n} {reason}" for reason, n in sorted(bad.items())]
    raise InputError(
        f"{records.name} data at {records.path} must have persons of split "
        f"{' or '.join(records.splits)}. Received: {', '.join(found) or 'no person'}"
        + (f"; the first: {detail}" if detail else "")
    )


def common_skeleton(sources: Sequence[Source]) -> Skeleton:
    """Return the skeleton of all sources.

    Raises:
        InputError: If they differ.
    """
    skeletons = {source.name: SKELETONS[source.name] for source in sources}
    first, *others = skeletons.values()
    if any(other != first for other in others):
        raise InputError(
            "the data sets must have the same joints. Received: "
            + ", ".join(f"{name} with {len(s)}" for name, s in skeletons.items())
        )
    return first
