"""Labelled persons to evaluate on: of a prepared folder, or of data sets read directly.

Crops are not augmented. Those of a data set are cut around the ground truth (section
3.2). Those of a prepared folder are the stored ones, one of each person: where a
detector was asked, the detector's if its IoU is at least 0.5.
"""

import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpose import images
from kpose.errors import InputError
from kpose.images import Image
from kpose.joints import Skeleton
from kpose.leak import LeakScore, fingerprint, score
from kpose.records import SPLITS, ImageRef
from kpose.screening import Source, Tally, place_in, require_usable, screen
from kpose.shards import TRAINING_PICTURES, PreparedData, load_arrays

BATCH = 32


@dataclass
class Persons:
    """Labelled persons to evaluate on.

    Args:
        skeleton: Their joints.
        count: How many there are at most; pictures may turn out to be unreadable.
        batches: Given the side of the crops in pixels, yields crops ``(n, side, side,
            3)`` RGB uint8 and joints ``(n, joints, 3)`` in crop units.
        names: Their names; grows with what ``batches`` yields.
        head_sizes: For PCKh, crop units, 0 where unknown; grows likewise.
        areas: For OKS AP, of their segments, crop units squared, 0 where unknown; grows
            likewise.
        bits: ``(4,)`` uint64 each, ``leak.fingerprint`` of the crops; grows likewise.
        groups: What frames of one recording share (``shards.leak_groups``); likewise.
        splits: How many of each (source, official split); grows likewise.
        tallies: What was skipped, by source; grows likewise.
    """

    skeleton: Skeleton
    count: int
    batches: Callable[[int], Iterator[tuple[Image, NDArray[np.float32]]]]
    names: list[str] = field(default_factory=list)
    head_sizes: list[float] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)
    bits: list[NDArray[np.uint64]] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    splits: Counter[tuple[str, str]] = field(default_factory=Counter)
    tallies: dict[str, Tally] = field(default_factory=dict)

    @property
    def skipped(self) -> dict[str, int]:
        """How many labels were skipped, by reason."""
        return dict(sum((t.skipped for t in self.tallies.values()), Counter[str]()))


def prepared(data: PreparedData, split: str | None) -> Persons:
    """Return persons of prepared data, each with its first crop.

    That is the only one, around the ground truth, where no detector was asked. Else it
    is the detector's where its IoU is at least 0.5, as the network will see the person,
    and the ground truth's where it is less; nobody counts twice.

    Args:
        data: The prepared folder, opened.
        split: As for ``choose_splits``.

    Raises:
        InputError: If there is no person of that split.
    """
    wanted = choose_splits(split, data.split.tolist())
    indices = np.flatnonzero(np.isin(data.split, wanted) & data.first)
    if not len(indices):
        raise InputError(
            f"{data.folder} must have persons of split {split}. Received: "
            f"{', '.join(sorted(set(data.split.tolist())))}"
        )
    return of_crops(data, indices)


def of_crops(data: PreparedData, indices: NDArray[np.int64]) -> Persons:
    """Return the persons of some crops of prepared data.

    Args:
        data: The prepared folder, opened.
        indices: Of the crops, one of each person.
    """

    def batches(size: int) -> Iterator[tuple[Image, NDArray[np.float32]]]:
        # Loads TensorFlow.
        from kpose.pipeline import samples

        return samples(data, indices, size)

    people = [(str(data.source[i]), str(data.split[i])) for i in indices]
    return Persons(
        data.skeleton,
        len(indices),
        batches,
        names=[str(data.ids[i]) for i in indices],
        head_sizes=data.head_size[indices].tolist(),
        areas=data.area[indices].tolist(),
        bits=list(data.bits[indices]),
        groups=data.leak_groups[indices].tolist(),
        splits=Counter(people),
    )


def labelled(sources: Sequence[Source], skeleton: Skeleton) -> Persons:
    """Return persons read from their data sets, crops cut around the ground truth.

    They are those of ``kpose prepare`` without a detector.

    Args:
        sources: The data sets.
        skeleton: Their joints.

    Raises:
        InputError: If no person is usable.
    """
    screened, tallies = screen(sources, skeleton, strict=False)
    require_usable(len(screened), tallies)

    def crops(size: int) -> Iterator[tuple[Image, NDArray[np.float32]]]:
        last: tuple[ImageRef, Image | InputError] | None = None
        for record in screened:
            # Persons of one picture follow each other: decode it once.
            if last is None or last[0] != record.image:
                last = record.image, images.try_read(record.image)
            picture = last[1]
            if isinstance(picture, InputError):
                tallies[record.source].skip("unreadable_image", record.id)
                continue
            placed = place_in(record, picture.shape)
            if isinstance(placed, str):
                tallies[record.source].skip(placed, record.id)
                continue
            side = placed.square.side
            persons.names.append(record.id)
            persons.head_sizes.append(record.head_size / side)
            persons.areas.append(record.area / side**2)
            unit = record.recording or record.group
            persons.groups.append(f"{record.source}/{unit}")
            persons.splits[record.source, record.split] += 1
            crop = images.crop(picture, placed.square, size)
            persons.bits.append(fingerprint(crop))
            yield crop, placed.joints
        require_usable(len(persons.names), tallies)

    def batches(size: int) -> Iterator[tuple[Image, NDArray[np.float32]]]:
        iterator = crops(size)
        while batch := list(islice(iterator, BATCH)):
            yield np.stack([crop for crop, _ in batch]), np.stack([j for _, j in batch])

    persons = Persons(skeleton, len(screened), batches, tallies=tallies)
    return persons


def choose_splits(split: str | None, there: Iterable[str]) -> tuple[str, ...]:
    """Return the official splits that are evaluated.

    Args:
        split: ``"train"``, ``"val"``, ``"test"``, ``"all"``, or None: test where the
            data has it, else all.
        there: The splits of the persons.
    """
    if split is None:
        split = "test" if "test" in there else "all"
    return SPLITS if split == "all" else (split,)


def leak_score(folder: Path, persons: Persons) -> LeakScore | None:
    """Return how near evaluated persons are to those that a run was trained on.

    Args:
        folder: The run folder.
        persons: Whose batches have all been read.

    Returns:
        None where the folder does not say what was trained on, as no exported model
        does.
    """
    path = folder / TRAINING_PICTURES
    if not path.is_file():
        return None
    try:
        trained = load_arrays(path)
        names = [trained[name] for name in ("ids", "bits", "groups")]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} must be a file of `kpose train`: {error!r}") from None
    ids, bits, groups = names
    count = len(persons.names)
    held_out = np.arange(count + len(ids)) < count
    return score(
        np.concatenate([np.array(persons.names, np.str_), ids]),
        np.concatenate([np.array(persons.bits, np.uint64).reshape(count, 4), bits]),
        ~held_out,
        held_out,
        np.concatenate([np.array(persons.groups, np.str_), groups]),
    )


def leak(card: dict[str, Any], splits: Iterable[tuple[str, str]]) -> str | None:
    """Return in words why a score says nothing about new people, None where it does.

    Args:
        card: The model's card.
        splits: The (source, official split) of every person evaluated.
    """
    training = card.get("training", {})
    trained = {source["source"] for source in training.get("data", [])}
    seen = sorted(
        {
            f"{source} {split}"
            for source, split in splits
            if source in trained
            and (split != "test" or training.get("test_persons_trained_on"))
        }
    )
    if not seen:
        return None
    return f"the model was trained or chosen on persons of {', '.join(seen)}"
