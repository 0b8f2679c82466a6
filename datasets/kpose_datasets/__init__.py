"""Readers: one data set per file, each a generator of ``kpose.records.PersonRecord``.

A reader yields every label in a stable order, also where the picture is absent; what
uses the records counts and skips those.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from kpose.errors import InputError
from kpose.examples import Source
from kpose.joints import Skeleton
from kpose.records import SPLITS, PersonRecord
from kpose_datasets import lsp, lspet, openpose_json, synthetic

READERS: dict[str, Callable[..., Iterator[PersonRecord]]] = {
    "lsp": lsp.read,
    "lspet": lspet.read,
    "openpose_json": openpose_json.read,
    "synthetic": synthetic.read,
}

LABELS_APART = ("openpose_json",)
"""Readers whose pictures are elsewhere; they take the path of ``?images=`` too."""

IMAGES = "?images="
"""What stands between the path of the labels and that of the pictures."""

LICENCES: dict[str, str] = {
    "lsp": lsp.LICENCE,
    "lspet": lspet.LICENCE,
    "openpose_json": openpose_json.LICENCE,
    "synthetic": synthetic.LICENCE,
}

SKELETONS: dict[str, Skeleton] = {
    "lsp": lsp.SKELETON,
    "lspet": lspet.SKELETON,
    "openpose_json": openpose_json.SKELETON,
    "synthetic": synthetic.SKELETON,
}


def read_source(text: str, default: Sequence[str] = ("train", "val")) -> Source:
    """Return the records of ``NAME:PATH[?images=PATH][@train|val|test|all]``.

    Args:
        text: A reader's name, the path it reads, the video or folder of the pictures
            where they are elsewhere, and the official split wanted.
        default: The splits taken where ``text`` names none.

    Raises:
        InputError: If there is no such reader or path, or no person of the split.
    """
    name, colon, rest = text.partition(":")
    if not colon or not rest or name not in READERS:
        raise InputError(
            f"data must be NAME:PATH with NAME one of {', '.join(READERS)}. "
            f"Received: {text!r}"
        )
    places, at, wanted = rest.rpartition("@")
    if not at or wanted not in (*SPLITS, "all"):
        if at and not all(Path(place).exists() for place in rest.split(IMAGES)):
            raise InputError(
                f"data must end in @{', @'.join(SPLITS)}, @all or a path that exists. "
                f"Received: {text!r}"
            )
        places, splits = rest, tuple(default)
    else:
        splits = SPLITS if wanted == "all" else (wanted,)
    path, *pictures = map(Path, places.split(IMAGES, 1))
    for place in (path, *pictures):
        if not place.exists():
            raise InputError(f"expected {name} data at {place}, but there is nothing")
    if bool(pictures) != (name in LABELS_APART):
        raise InputError(
            f"{name} data must {'' if name in LABELS_APART else 'not '}say where its "
            f"pictures are, as NAME:PATH{IMAGES}PATH. Received: {text!r}"
        )
    records = list(READERS[name](path, *pictures))
    chosen = [record for record in records if record.split in splits]
    if not chosen:
        counts = Counter(record.split for record in records)
        found = ", ".join(f"{n} {split}" for split, n in sorted(counts.items()))
        raise InputError(
            f"{name} data at {path} must have persons of split {' or '.join(splits)}. "
            f"Received: {found or 'no person'}"
        )
    return Source(name, chosen, LICENCES[name])


def common_skeleton(sources: Sequence[Source]) -> Skeleton:
    """Return the skeleton of all sources.

    Raises:
        InputError: If they differ.
    """
    skeletons = {name: SKELETONS[name] for name, _, _ in sources}
    first, *others = skeletons.values()
    if any(other != first for other in others):
        raise InputError(
            "the data sets must have the same joints. Received: "
            + ", ".join(f"{name} with {len(s)}" for name, s in skeletons.items())
        )
    return first
