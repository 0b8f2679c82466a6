"""Replay: samples of the pretraining in every epoch, so that old skill is kept.

Finetuning makes a network better at a use case and worse at everything else (paper
Table 5: 63.1 to 44.2). A share of samples from general data in every epoch holds
against that. No TensorFlow here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kpose.errors import InputError
from kpose.shards import PreparedData, joined


@dataclass(frozen=True)
class Mix:
    """The crops of a training and those of general data, as one.

    Args:
        data: Both, joined.
        own: Indices of the training's own crops: each comes once in every epoch.
        pool: ``(rounds, crops)`` indices of the training crops of the general data;
            rows are the same crops again, for an epoch that needs more than there are,
            so that each time has its own augmentation.
        drawn: How many of ``pool`` an epoch has.
        seed: Of the draw.
        general: The general data alone.
        share: What was asked for: the drawn part of an epoch.
    """

    data: PreparedData
    own: NDArray[np.int64]
    pool: NDArray[np.int64]
    drawn: int
    seed: int
    general: PreparedData
    share: float

    def epoch(self, number: int) -> NDArray[np.int64]:
        """Return the indices of one epoch, own crops first.

        The same crop does not come again before all others have come.

        Args:
            number: 0-based; the draw is a function of it and the seed.
        """
        whole = self.pool[:-1].ravel()
        # The last counter word keeps these numbers apart: no sample has that number.
        philox = np.random.Philox(key=self.seed, counter=[0, 0, number, 2**32])
        shuffled = np.random.Generator(philox).permutation(self.pool[-1])
        rest = shuffled[: self.drawn - len(whole)]
        return np.concatenate([self.own, whole, rest])

    @property
    def learned(self) -> NDArray[np.int64]:
        """Indices of every crop that may be trained on, each once."""
        return np.concatenate([self.own, self.pool[0]])

    def persons(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the first crop, an index of ``general``, of each general person.

        Args:
            indices: Of crops in ``data``; own ones do not count.
        """
        start, crops = self.pool[0, 0], self.pool.shape[1]
        places = (indices[indices >= start] - start) % crops
        training = _training_crops(self.general)
        first = np.flatnonzero(self.general.first)
        person = np.cumsum(self.general.first) - 1
        found: NDArray[np.int64] = first[np.unique(person[training[places]])]
        return found


def mix(
    data: PreparedData,
    own: NDArray[np.int64],
    general: PreparedData,
    share: float,
    seed: int,
) -> Mix:
    """Return the crops of a training with a share of general ones in every epoch.

    Args:
        data: The training's own data.
        own: Indices of the crops of it that are trained on.
        general: Other data with the same joints, size and codec; its training persons
            are drawn from.
        share: Of the samples of an epoch, between 0 and 1.
        seed: Of the draw.

    Raises:
        InputError: If the share is not between 0 and 1, the two do not go together, or
            ``general`` has nobody to train on.
    """
    if not 0 < share < 1:
        raise InputError(
            f"the share of general samples must be above 0 and below 1. "
            f"Received: {share}"
        )
    if general.fingerprint == data.fingerprint:
        raise InputError(
            f"general samples must be of other data than {data.folder}. "
            f"Received: {general.folder}, which has the same crops"
        )
    drawn = round(len(own) * share / (1 - share))
    if not drawn:
        raise InputError(
            f"a share of {share} beside {len(own)} crops must be at least one general "
            "sample in every epoch. Received: a share that rounds to none"
        )
    crops = _training_crops(general)
    if not len(crops):
        raise InputError(
            f"{general.folder} must have persons to train on. Received: "
            f"{', '.join(sorted(set(general.split.tolist()))) or 'nobody'} persons only"
        )
    rounds = -(-drawn // len(crops))
    both = joined(data, general, np.tile(crops, rounds))
    pool = len(data) + np.arange(rounds * len(crops)).reshape(rounds, len(crops))
    return Mix(both, own, pool, drawn, seed, general, share)


def _training_crops(general: PreparedData) -> NDArray[np.int64]:
    return np.flatnonzero(general.split == "train")
