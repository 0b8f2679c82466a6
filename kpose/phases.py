"""Who is trained on in which phase of the clothing experiment (paper Table 4).

The persons of a prepared folder who wear the clothing that is tested and those who wear
another one are trained on apart and together. No TensorFlow here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kpose import splits
from kpose.errors import InputError
from kpose.shards import PreparedData

PHASE_1, PHASE_2, FULL = "phase-1", "phase-2", "full"
"""The phases; their run folders are named so."""


@dataclass(frozen=True, eq=False)
class Phase:
    """One finetuning.

    Args:
        name: ``PHASE_1``, ``PHASE_2`` or ``FULL``.
        clothing: What its persons wear, sorted.
        train_ids: Indices of the crops that are trained on.
        val_ids: Indices of the crops that are validated on, one of each person.
    """

    name: str
    clothing: tuple[str, ...]
    train_ids: NDArray[np.int64]
    val_ids: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Plan:
    """Who is tested and who is trained on.

    Args:
        clothing: What is tested.
        test_ids: Indices of the crops that are tested on, one of each person.
        phases: Phase 1, phase 2 and full.
        untagged: Training persons whose clothing is unknown: in no phase.
    """

    clothing: str
    test_ids: NDArray[np.int64]
    phases: tuple[Phase, Phase, Phase]
    untagged: int


def plan(data: PreparedData, clothing: str | None = None) -> Plan:
    """Divide the persons as Table 4 does.

    Test persons are those of the test split who wear ``clothing``. Phase 1 has the
    training persons who wear something else, phase 2 those who wear it, and full both.
    Each validates on persons of its own clothing: those of the val split, or, where
    that has none, the last tenth of every take, which is then not trained on.

    Args:
        data: Persons with clothing tags.
        clothing: What is tested. None where test persons wear one clothing alone.

    Raises:
        InputError: If there is no such clothing, or nobody to test, to train or to
            validate on in a phase.
    """
    tags = sorted(set(data.clothing.tolist()) - {""})
    if not tags:
        raise InputError(
            f"{data.folder} must have persons whose clothing is known (clothing in "
            f"recording.toml). Received: {int(data.first.sum())} persons without a tag"
        )
    clothing = _tested(data, clothing, tags)
    is_test = (data.split == "test") & data.first & (data.clothing == clothing)
    tagged = data.clothing != ""
    train_ids, val_ids = {}, {}
    for name, chosen in (
        (PHASE_1, tagged & (data.clothing != clothing)),
        (PHASE_2, data.clothing == clothing),
    ):
        what = clothing if name == PHASE_2 else f"anything but {clothing}"
        train_ids[name], val_ids[name] = _divide(data, chosen, what)
    for ids in (train_ids, val_ids):
        ids[FULL] = np.sort(np.concatenate([ids[PHASE_1], ids[PHASE_2]]))
    phases = [
        Phase(
            name,
            tuple(sorted(set(data.clothing[train_ids[name]].tolist()))),
            train_ids[name],
            val_ids[name],
        )
        for name in (PHASE_1, PHASE_2, FULL)
    ]
    untagged = int((data.first & ~tagged & (data.split == "train")).sum())
    return Plan(
        clothing,
        np.flatnonzero(is_test),
        (phases[0], phases[1], phases[2]),
        untagged,
    )


def _tested(data: PreparedData, clothing: str | None, tags: list[str]) -> str:
    """Return the clothing that is tested."""
    if clothing is not None and clothing not in tags:
        raise InputError(
            f"clothing must be one of {', '.join(tags)}, those of {data.folder}. "
            f"Received: {clothing!r:.100}"
        )
    is_test = data.split == "test"
    if not is_test.any():
        raise InputError(
            f"{data.folder} must have held-out persons of split test: prepare it with "
            "NAME:PATH@all. Received: none"
        )
    worn = sorted(set(data.clothing[is_test].tolist()) - {""})
    if not worn or (clothing is not None and clothing not in worn):
        raise InputError(
            f"{data.folder} must have test persons who wear "
            f"{clothing or 'known clothing'}. Received: test persons in "
            f"{', '.join(worn) or 'unknown clothing'}"
        )
    if clothing is None and len(worn) > 1:
        raise InputError(
            f"give the clothing that is tested, since the test persons of "
            f"{data.folder} wear {len(worn)}: {', '.join(worn)}"
        )
    return clothing or worn[0]


def _divide(
    data: PreparedData, chosen: NDArray[np.bool_], what: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the crops to train and to validate on among those chosen."""
    train = chosen & (data.split == "train")
    val = chosen & (data.split == "val") & data.first
    if not val.any():
        # Photographs in one clothing are one take, too.
        take = np.where(data.recording == "", data.clothing, data.recording)
        take = np.char.add(np.char.add(data.source, "/"), take)
        held_out = splits.ends(take, data.first, train)
        train, val = train & ~held_out, held_out & data.first
    if not (train.any() and val.any()):
        raise InputError(
            f"{data.folder} must have persons to train and to validate on who wear "
            f"{what}. Received: {int((train & data.first).sum())} and {int(val.sum())}"
        )
    return np.flatnonzero(train), np.flatnonzero(val)
