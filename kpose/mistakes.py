"""How likely is a label wrong? By what networks see, learned from planted mistakes.

Most labels of a set are right. So mistakes are planted into them (left and right
swapped, one joint moved), small classifiers learn from a few numbers how a planted
mistake differs from the rest, and then judge the labels as they are. Nobody is judged
by a classifier that was trained on them (``FOLDS``). The networks' own errors need not
be known: a joint that a network often misses, such as a wrist, is missed beside right
labels too, and the classifiers learn how little that says.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kpose.joints import Skeleton

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

FEWEST = 300
"""With fewer persons nothing is learned: ``judge`` ranks by ``_by_rule``."""

FOLDS = 5
"""Each fifth of the persons is judged by classifiers trained on the others."""

MOST_PERSONS = 3000
"""At most so many persons of a fold are trained on."""

PLANTED = 24_000
"""So many persons with and without planted mistakes a classifier sees per fold."""

TRUST = 4
"""Passes are averaged with weights of their confidence to this power."""

SHIFT = (0.45, 1.05)
"""A planted shift is so many torso lengths long, in any direction."""

SWAPPED, PART_SWAPPED, SHIFTED = 0.25, 0.05, 0.45
"""Shares of persons that get a mistake while classifiers are trained."""

EXPECTED = 0.02
"""Share of persons who are taken to be swapped, and of whom one joint is taken to be
misplaced: what a probability is set to, since more mistakes are planted."""

CAP = 0.6
"""An error over this share of the pose size counts as this much in a mean: one wild
answer must not outweigh all others."""

RATE = 3e-3
"""Learning rate; a tenth of it in a second epoch."""

BATCH = 512
"""Rows in one step of training."""

BLOCK = 1024
"""Persons whose features are computed at a time."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What one network says about each person, in several passes.

    Args:
        places: ``(persons, passes, joints, 2)``: x and y in crop units of the label's
            crop, those of mirrored passes brought back.
        confidence: ``(persons, passes, joints)``, 0 to 1.
    """

    places: NDArray[np.floating]
    confidence: NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Verdict:
    """How likely each label is wrong.

    Args:
        swap: ``(persons,)``: that left and right are swapped, 0 to 1.
        joint: ``(persons, joints)``: that the joint is misplaced, 0 to 1; 0 where it is
            not annotated.
        learned: Whether classifiers judged; else the plain rule.
    """

    swap: Floats
    joint: Floats
    learned: bool

    @property
    def score(self) -> Floats:
        """``(persons,)``: that anything is wrong, the mistakes taken as independent."""
        right = (1 - self.swap) * np.prod(1 - self.joint, axis=1)
        return np.asarray(1 - right, np.float32)


def parts(skeleton: Skeleton) -> list[tuple[int, ...]]:
    """Return the parts whose sides are swapped together: arms, legs.

    A part is a pair of joints with a limb between its two sides (shoulders, hips) and
    all pairs that hang from it.
    """
    pair = [tuple(sorted((at, other))) for at, other in enumerate(skeleton.swap)]
    limbs = [(pair[a], pair[b]) for a, b in skeleton.limb_indices]
    paired = {two for two in pair if two[0] != two[1]}
    found = {two: [two] for two in sorted({a for a, b in limbs if a == b} & paired)}
    root = {two: two for two in found}
    waiting = list(found)
    while waiting:
        here = waiting.pop(0)
        for a, b in limbs:
            for one, other in ((a, b), (b, a)):
                if one == here and other in paired and other not in root:
                    root[other] = root[here]
                    found[root[here]].append(other)
                    waiting.append(other)
    return [tuple(sorted(at for two in part for at in two)) for part in found.values()]


@dataclass(frozen=True, eq=False)
class Planted:
    """Labels with mistakes in them.

    Args:
        joints: ``(persons, joints, 3)``.
        swapped: ``(persons,)``: of whom joints were swapped.
        moved: ``(persons, joints)``: which were moved.
    """

    joints: Floats
    swapped: Bools
    moved: Bools


def plant(
    joints: NDArray[np.floating],
    torso: NDArray[np.floating],
    skeleton: Skeleton,
    generator: np.random.Generator,
    shares: tuple[float, float, float] = (SWAPPED, PART_SWAPPED, SHIFTED),
    shift: tuple[float, float] = SHIFT,
) -> Planted:
    """Return the labels with random mistakes, at most one per person.

    Args:
        joints: ``(persons, joints, 3)``: x, y and 1 where annotated.
        torso: ``(persons,)``: the length that ``shift`` counts in, in units of x and y.
        skeleton: The joints.
        generator: Decides all of it.
        shares: Of persons who are swapped as a whole, in one of ``parts``, and of whom
            one joint is moved.
        shift: How far a joint is moved, least and most.
    """
    count, width = joints.shape[:2]
    result = np.array(joints, np.float32)
    limits = np.cumsum(shares)
    lot = generator.random(count)
    kind = np.searchsorted(limits, lot, side="right")
    choices = parts(skeleton) or [tuple(range(width))]
    part = generator.integers(len(choices), size=count)
    order = np.tile(np.arange(width), (count, 1))
    order[kind == 0] = skeleton.swap
    for at, chosen in enumerate(choices):
        rows = np.flatnonzero((kind == 1) & (part == at))
        order[rows[:, None], list(chosen)] = np.asarray(skeleton.swap)[list(chosen)]
    result = np.take_along_axis(result, order[..., None], axis=1)
    swapped = (result != joints).any(axis=(1, 2))
    # An annotated joint of each person: the one with the greatest random number.
    which = (generator.random((count, width)) * (joints[..., 2] > 0)).argmax(axis=1)
    angle, length = (
        generator.uniform(0, 2 * np.pi, count),
        generator.uniform(*shift, count) * torso,
    )
    moved = np.zeros((count, width), np.bool_)
    rows = np.flatnonzero((kind == 2) & (joints[..., 2] > 0).any(axis=1))
    moved[rows, which[rows]] = True
    step = np.stack([np.cos(angle), np.sin(angle)], axis=1) * length[:, None]
    result[rows, which[rows], :2] += step[rows]
    return Planted(result, swapped, moved)


def torso_lengths(joints: NDArray[np.floating], skeleton: Skeleton) -> Floats:
    """Return ``(persons,)`` torso lengths, plausible also where joints lack.

    Where it is unknown, or foreshortened to less than a third of what is usual for the
    pose, it is estimated from the pose's size.
    """
    there = joints[..., 2] > 0
    size = pose_sizes(joints[..., :2], there)
    a, b = _torso(skeleton)
    known = there[:, a] & there[:, b] & (size > 0)
    length = np.hypot(*(joints[:, a, :2] - joints[:, b, :2]).T)
    usual = float(np.median(length[known] / size[known])) if known.any() else 1.0
    length = np.where(known, np.maximum(length, usual * size / 3), usual * size)
    return np.asarray(length, np.float32)


def _torso(skeleton: Skeleton) -> tuple[int, int]:
    try:
        return skeleton.torso
    except ValueError:
        return 0, len(skeleton) - 1


def pose_sizes(places: NDArray[np.floating], there: Bools) -> Floats:
    """Return ``(persons,)``: root mean square distance of joints from their centre.

    Args:
        places: ``(persons, joints, 2)``, in any unit.
        there: ``(persons, joints)``: which count; the size is 0 where none does.
    """
    weight = there[..., None] / np.maximum(there.sum(axis=1), 1)[:, None, None]
    centre = (places * weight).sum(axis=1, keepdims=True)
    squares = (((places - centre) ** 2) * weight).sum(axis=(1, 2))
    return np.asarray(np.sqrt(squares), np.float32)


@dataclass(frozen=True, eq=False)
class _View:
    """What one network says, its passes averaged; crop units.

    ``places`` is ``(persons, joints, 2)``; ``spread`` of the passes and ``confidence``
    are ``(persons, joints)``.
    """

    places: Floats
    spread: Floats
    confidence: Floats

    def rows(self, chosen: NDArray[np.int64]) -> "_View":
        """Return some of the persons."""
        return _View(self.places[chosen], self.spread[chosen], self.confidence[chosen])


def _view(answers: Answers) -> _View:
    """Average the passes, some persons at a time: they are kept in half precision."""
    count = len(answers.places)
    views = [
        _average(Answers(answers.places[rows], answers.confidence[rows]))
        for rows in (slice(at, at + BLOCK) for at in range(0, count, BLOCK))
    ]
    return _View(
        np.concatenate([view.places for view in views]),
        np.concatenate([view.spread for view in views]),
        np.concatenate([view.confidence for view in views]),
    )


def _average(answers: Answers) -> _View:
    places = np.asarray(answers.places, np.float32)
    confidence = np.asarray(answers.confidence, np.float32)
    weight = (np.maximum(confidence, 0) + 1e-3) ** TRUST
    weight = weight / weight.sum(axis=1, keepdims=True)
    middle = (places * weight[..., None]).sum(axis=1)
    off = ((places - middle[:, None]) ** 2).sum(axis=-1)
    spread = np.sqrt((off * weight).sum(axis=1))
    return _View(middle, spread, confidence.mean(axis=1))


def consensus(answers: Sequence[Answers]) -> Floats:
    """Return ``(persons, joints, 2)`` crop units: where the networks see the joints."""
    return np.asarray(np.mean([_view(one).places for one in answers], 0), np.float32)


class _Features:
    """From labels and answers to the few numbers that the classifiers see.

    Lengths are in shares of the pose's size. ``fit`` takes medians of the labels, so
    that the mistakes in them do not matter.

    Args:
        skeleton: The joints.
        views: What each network says of all persons.
    """

    def __init__(self, skeleton: Skeleton, views: Sequence[_View]) -> None:
        self.views = views
        count = len(skeleton)
        self.swap = np.array(skeleton.swap)
        self.paired = self.swap != np.arange(count)
        limbs = np.array(skeleton.limb_indices, np.int64).reshape(-1, 2)
        self.a, self.b = limbs.T
        self.ends = np.zeros((count, len(limbs)), np.bool_)
        self.ends[self.a, np.arange(len(limbs))] = True
        self.ends[self.b, np.arange(len(limbs))] = True
        self.near = np.zeros((count, count), np.bool_)
        self.near[self.a, self.b] = self.near[self.b, self.a] = True
        everything = tuple(np.flatnonzero(self.paired).tolist())
        across = self.near[np.arange(count), self.swap] & self.paired
        self.roots = tuple(np.flatnonzero(across).tolist())
        self.sets = [one for one in (everything, *parts(skeleton), self.roots) if one]

    def fit(self, joints: Floats) -> "_Features":
        """Take the usual limb lengths and the usual offset of label and answer.

        A network's hip is not where annotators put theirs.
        """
        places, there = joints[..., :2], joints[..., 2] > 0
        size = self._sizes(places, there, self.views)
        lengths = np.where(self._known(there), self._log_limbs(places, size), np.nan)
        self.usual = np.zeros(len(self.a), np.float32)
        self.limb_spread = np.ones(len(self.a), np.float32)
        for at, length in enumerate(lengths.T):
            known = length[np.isfinite(length)]
            if len(known):
                self.usual[at] = np.median(known)
                off = np.median(np.abs(known - self.usual[at]))
                self.limb_spread[at] = 1.4826 * off + 0.05
        self.offsets = []
        for view in self.views:
            off = (places - view.places) / size[:, None, None]
            offset = np.zeros(off.shape[1:], np.float32)
            for at in np.flatnonzero(there.any(axis=0)).tolist():
                offset[at] = np.median(off[there[:, at], at], axis=0)
            self.offsets.append(offset)
        return self

    def __call__(
        self, joints: Floats, chosen: NDArray[np.int64]
    ) -> tuple[Floats, Floats]:
        """Return the features of each joint and of each person.

        Args:
            joints: ``(n, joints, 3)`` labels in crop units.
            chosen: ``(n,)``: which persons they are of.

        Returns:
            ``(n, joints, f)`` and ``(n, g)``. An unannotated joint has features too,
            which mean nothing.
        """
        blocks = [
            self._block(joints[at : at + BLOCK], chosen[at : at + BLOCK])
            for at in range(0, len(joints), BLOCK)
        ]
        by_joint, by_person = zip(*blocks, strict=True)
        return np.concatenate(by_joint), np.concatenate(by_person)

    def _block(
        self, joints: Floats, chosen: NDArray[np.int64]
    ) -> tuple[Floats, Floats]:
        places, there = joints[..., :2], joints[..., 2] > 0
        views = [view.rows(chosen) for view in self.views]
        size = self._sizes(places, there, views)
        by_joint = self._limb_features(places, there, size, views)
        by_person: list[Floats] = []
        for view, offset in zip(views, self.offsets, strict=True):
            to_own = (places - view.places) / size[:, None, None]
            to_other = (places - view.places[:, self.swap]) / size[:, None, None]
            own, other = _length(to_own), _length(to_other)
            by_joint += self._joint_features(to_own, own, other, there)
            between = places[:, :, None] - view.places[:, None]
            nearest = _length(between).min(axis=2) / size[:, None]
            spread = view.spread / size[:, None]
            by_joint += [
                np.log(_length(to_own - offset) + 0.02),
                np.log(nearest + 0.02),
                np.log(spread + 0.01),
                view.confidence,
            ]
            by_person += self._swap_features(own, other, view.confidence, there)
            by_person += [view.confidence.mean(axis=1)]
            by_person += [np.log(spread.mean(axis=1) + 0.01)]
            by_person += self._widths(view.places, np.ones_like(there), size)
        by_person += self._widths(places, there, size)
        if len(views) > 1:
            middle = np.mean([view.places for view in views], axis=0)
            off = [_length(view.places - middle) for view in views]
            by_joint.append(np.log(np.mean(off, axis=0) / size[:, None] + 0.02))
        which = np.broadcast_to(
            np.eye(there.shape[1], dtype=np.float32), (*there.shape, there.shape[1])
        )
        numbers = np.stack(by_joint, axis=-1)
        return (
            np.concatenate([numbers, which], axis=-1).astype(np.float32),
            np.stack(by_person, axis=-1).astype(np.float32),
        )

    def _sizes(self, places: Floats, there: Bools, views: Sequence[_View]) -> Floats:
        """Return ``(n,)`` sizes of the poses: median of label and networks.

        Where few joints are annotated, the label's size is what it would be of all.
        """
        everything = np.ones_like(there)
        whole = np.stack([pose_sizes(view.places, everything) for view in views])
        part = np.stack([pose_sizes(view.places, there) for view in views])
        grown = np.minimum(np.mean(whole / np.maximum(part, 1e-3), axis=0), 3)
        label = pose_sizes(places, there) * grown
        label = np.where(there.sum(axis=1) > 2, label, whole.mean(axis=0))
        size = np.median([*whole, label], axis=0)
        return np.asarray(np.maximum(size, 1e-3), np.float32)

    def _known(self, there: Bools) -> Bools:
        return there[:, self.a] & there[:, self.b]

    def _log_limbs(self, places: Floats, size: Floats) -> Floats:
        length = _length(places[:, self.a] - places[:, self.b])
        return np.asarray(np.log(length / size[:, None] + 0.03), np.float32)

    def _limb_features(
        self, places: Floats, there: Bools, size: Floats, views: Sequence[_View]
    ) -> list[Floats]:
        """Return by joint how unusual its limbs are, and how unlike the networks'."""
        if not len(self.a):
            return []
        known, log = self._known(there), self._log_limbs(places, size)
        unusual = np.where(known, (log - self.usual) / self.limb_spread, 0)
        unlike = [log - self._log_limbs(view.places, size) for view in views]
        features = []
        for row in (unusual, *(np.where(known, one, 0) for one in unlike)):
            by_joint = np.clip(np.where(self.ends, row[:, None], 0), -6, 6)
            features += [by_joint.max(axis=2), by_joint.min(axis=2)]
        return features

    def _joint_features(
        self, to_own: Floats, own: Floats, other: Floats, there: Bools
    ) -> list[Floats]:
        """Return by joint its error and what the errors around it say.

        ``to_own`` is from the network's answer to the label, ``own`` its length and
        ``other`` the distance to the answer for the mirror partner.
        """
        capped = np.where(there, np.minimum(own, CAP), 0)
        others = np.maximum(there.sum(axis=1, keepdims=True) - there, 1)
        rest = (capped.sum(axis=1, keepdims=True) - capped) / others
        near = self.near & there[:, None]
        some, count = near.any(axis=2), np.maximum(near.sum(axis=2), 1)
        around = np.where(some, (near * capped[:, None]).sum(axis=2) / count, rest)
        # A limb that is moved as a whole is wrong at one end: the joint's own error
        # goes along with its neighbour's.
        apart = _length(to_own[:, :, None] - to_own[:, None])
        along = np.where(some, np.where(near, apart, 9).min(axis=2), own)
        return [
            np.log(own + 0.02),
            np.minimum(own, 2),
            np.log(other + 0.02),
            rest,
            np.minimum(own / (rest + 0.1), 6),
            around,
            np.log(along + 0.02),
        ]

    def _swap_features(
        self, own: Floats, other: Floats, confidence: Floats, there: Bools
    ) -> list[Floats]:
        """Return by person how well labels and swapped labels fit, part by part."""
        own, other = np.minimum(own, 0.8), np.minimum(other, 0.8)
        better = other - own
        features = []
        for chosen in self.sets:
            at = list(chosen)
            weight = there[:, at].astype(np.float32)
            features += [_mean(one[:, at], weight) for one in (own, other, better)]
            features.append(_mean(better[:, at], weight * confidence[:, at]))
        sides = np.sort(np.where(there & self.paired, better, 0), axis=1)
        return features + [
            sides[:, int(share * (sides.shape[1] - 1))]
            for share in (0.1, 0.25, 0.5, 0.75, 0.9)
        ]

    def _widths(self, places: Floats, there: Bools, size: Floats) -> list[Floats]:
        """Return signed widths of shoulders and hips: from behind they are turned."""
        return [
            np.where(
                there[:, at] & there[:, self.swap[at]],
                (places[:, at, 0] - places[:, self.swap[at], 0]) / size,
                0,
            )
            for at in self.roots
            if at < self.swap[at]
        ]


def _length(steps: Floats) -> Floats:
    """Return the lengths of ``(..., 2)`` steps."""
    return np.asarray(np.hypot(steps[..., 0], steps[..., 1]), np.float32)


def _mean(values: Floats, weight: Floats) -> Floats:
    """Return weighted means of rows, 0 where nothing has weight."""
    total = np.maximum(weight.sum(axis=1), 1e-6)
    return np.asarray((values * weight).sum(axis=1) / total, np.float32)


def judge(
    joints: Floats, answers: Sequence[Answers], skeleton: Skeleton, seed: int = 0
) -> Verdict:
    """Return how likely each label is wrong.

    Ten seconds of one core for 1,000 persons, and little more for ten times as many
    (``MOST_PERSONS``, ``PLANTED``).

    Args:
        joints: ``(persons, joints, 3)``: x and y in crop units, 1 where annotated.
        answers: What each network says, at least one.
        skeleton: The joints.
        seed: Decides what is planted and where training starts.
    """
    views = [_view(one) for one in answers]
    joints = np.asarray(joints, np.float32)
    if len(joints) < FEWEST:
        return _by_rule(joints, views, skeleton)
    features = _Features(skeleton, views).fit(joints)
    generator = np.random.default_rng([seed, 0])
    fold = generator.permutation(len(joints)) % FOLDS
    swap = np.zeros(len(joints), np.float32)
    wrong = np.zeros(joints.shape[:2], np.float32)
    by_joint, by_person = features(joints[:1], np.zeros(1, np.int64))
    of_joint = _Classifier(by_joint.shape[-1], EXPECTED / len(skeleton), 1)
    of_person = _Classifier(by_person.shape[-1], EXPECTED, 2)
    for number in range(FOLDS):
        others = generator.permutation(np.flatnonzero(fold != number))[:MOST_PERSONS]
        by_joint, moved, by_person, swapped = _lessons(
            features, joints, others, skeleton, generator
        )
        of_joint.learn(by_joint, moved, generator)
        of_person.learn(by_person, swapped, generator)
        judged = np.flatnonzero(fold == number)
        for at in range(0, len(judged), BLOCK):
            rows = judged[at : at + BLOCK]
            by_joint, by_person = features(joints[rows], rows)
            flat = by_joint.reshape(-1, by_joint.shape[-1])
            wrong[rows] = of_joint(flat).reshape(by_joint.shape[:2])
            swap[rows] = of_person(by_person)
    return Verdict(swap, np.where(joints[..., 2] > 0, wrong, 0), True)


def _lessons(
    features: _Features,
    joints: Floats,
    chosen: NDArray[np.int64],
    skeleton: Skeleton,
    generator: np.random.Generator,
) -> tuple[Floats, Bools, Floats, Bools]:
    """Plant mistakes into the labels of the chosen, again and again.

    Returns:
        Features of joints and whether they were moved, features of persons and whether
        they were swapped.
    """
    torso = torso_lengths(joints[chosen], skeleton)
    rounds = []
    for _ in range(max(1, round(PLANTED / len(chosen)))):
        planted = plant(joints[chosen], torso, skeleton, generator)
        by_joint, by_person = features(planted.joints, chosen)
        # Joints of the swapped are neither right nor moved.
        used = (planted.joints[..., 2] > 0) & ~planted.swapped[:, None]
        rounds.append((by_joint[used], planted.moved[used], by_person, planted.swapped))
    of_joint, moved, of_person, swapped = map(np.concatenate, zip(*rounds, strict=True))
    return of_joint, moved, of_person, swapped


class _Classifier:
    """A small network from features to how likely a label is wrong.

    It is built once and learns anew for each fold: building takes longer.

    Args:
        width: Number of features.
        expected: Share of mistakes that its probabilities are set to.
        epochs: How often it sees each row.
    """

    def __init__(self, width: int, expected: float, epochs: int) -> None:
        import keras
        import tensorflow as tf

        self._expected, self._epochs = expected, epochs
        self._network = keras.Sequential(
            [
                keras.layers.Input((width,)),
                keras.layers.Dense(64, "relu"),
                keras.layers.Dense(32, "relu"),
                keras.layers.Dense(1),
            ]
        )
        self._network.compile(
            keras.optimizers.AdamW(RATE, weight_decay=0.01),
            keras.losses.BinaryCrossentropy(from_logits=True),
        )
        self._network.optimizer.build(self._network.trainable_variables)
        self._logits = tf.function(
            lambda x: self._network(x, training=False),
            input_signature=[tf.TensorSpec([None, width], tf.float32)],
        )

    def learn(
        self, features: Floats, wrong: Bools, generator: np.random.Generator
    ) -> None:
        """Forget what was learned, and learn from ``(n, f)`` features."""
        optimizer = self._network.optimizer
        for variable in optimizer.variables:
            variable.assign(np.zeros(variable.shape, variable.dtype))
        weights = []
        for shape in (weight.shape for weight in self._network.weights):
            limit = np.sqrt(6 / sum(shape)) if len(shape) == 2 else 0  # Glorot
            weights.append(generator.uniform(-limit, limit, shape).astype(np.float32))
        self._network.set_weights(weights)
        self._mean, self._spread = features.mean(axis=0), features.std(axis=0) + 1e-3
        rows = (features - self._mean) / self._spread
        for epoch in range(self._epochs):
            optimizer.learning_rate = RATE / 10**epoch
            order = generator.permutation(len(rows))
            # A last, smaller batch would trace anew.
            order = order[: max(len(rows) // BATCH, 1) * BATCH]
            self._network.fit(
                rows[order],
                wrong[order].astype(np.float32),
                batch_size=BATCH,
                verbose=0,
                shuffle=False,
            )
        share = float(np.clip(wrong.mean(), 1e-6, 1 - 1e-6))
        self._shift = _logit(self._expected) - _logit(share)

    def __call__(self, features: Floats) -> Floats:
        """Return ``(n,)``: how likely each of ``(n, f)`` is wrong."""
        logits = self._logits((features - self._mean) / self._spread).numpy()[:, 0]
        logits = np.clip(logits + self._shift, -30, 30)
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


def _logit(share: float) -> float:
    return float(np.log(share / (1 - share)))


def _by_rule(joints: Floats, views: Sequence[_View], skeleton: Skeleton) -> Verdict:
    """Judge without learning, for few persons.

    A joint by its error in units of what is usual for so sure a network, a swap by
    whether swapped labels fit better.
    """
    features = _Features(skeleton, views).fit(joints)
    places, there = joints[..., :2], joints[..., 2] > 0
    size = features._sizes(places, there, views)[:, None]
    errors, gains = [], []
    for view in views:
        own = _length(places - view.places) / size
        other = _length(places - view.places[:, features.swap]) / size
        doubt = 0.1 + view.spread / size + 0.3 * (1 - view.confidence)
        errors.append(own / doubt)
        better = np.minimum(own, CAP) - np.minimum(other, CAP)
        gains.append(_mean(better, (there & features.paired).astype(np.float32)))
    error = np.where(there, np.mean(errors, axis=0), 0)
    gain = np.mean(gains, axis=0)
    # 4 doubts, and a gain of a sixth of the pose size, are as likely wrong as right.
    return Verdict(
        np.asarray(1 / (1 + np.exp(-(gain - 0.16) / 0.03)), np.float32),
        np.asarray(np.where(there, error**4 / (error**4 + 4.0**4), 0), np.float32),
        False,
    )
