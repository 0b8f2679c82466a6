"""Evaluation: scores of a model on labelled persons, as the paper gives them.

One crop of each person, without augmentation; ``kpose.persons`` says what it is cut
around. With the flip test a prediction is the average over the crop and its mirror
image (section 3.7). The metrics are those of ``kpose.metrics`` and ``kpose.oks``;
``DEFINITIONS`` says in words what they count and is printed with every table.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kpose import images, runtime
from kpose.confidence import Reliability, reliability
from kpose.crop_policy import HIGH, LOW
from kpose.errors import InputError
from kpose.images import Image
from kpose.joints import Skeleton
from kpose.metrics import (
    HEAD_THRESHOLD,
    PIXELS,
    THRESHOLD,
    area_under_curve,
    correct,
    errors,
    pck_by_group,
    pckh_by_group,
    torso_lengths,
)
from kpose.oks import AveragePrecision, average_precision
from kpose.records import BadRecord, PersonRecord
from kpose.runtime import Network, Prediction, Runtime
from kpose.screening import place_in

CURVE = np.arange(51) / 100
"""Thresholds of the PCK curve."""

PCK_TITLE, PCKH_TITLE = f"PCK@{THRESHOLD}", f"PCKh@{HEAD_THRESHOLD}"

DEFINITIONS = {
    PCK_TITLE: (
        "percentage of annotated keypoints (occluded ones too) at most "
        f"{THRESHOLD} x torso length away from the ground truth; torso length = "
        "distance from right shoulder to left hip in the ground truth of that person; "
        "All = correct / annotated keypoints. Persons without a torso are left out of "
        "PCK and counted."
    ),
    "px": f"mean distance over annotated keypoints, pixels of a {PIXELS} px crop.",
    "AUC": (
        f"area under the curve of PCK over its threshold from {CURVE[0]:g} to "
        f"{CURVE[-1]:g} torso lengths, in percent of the full area; trapezoids between "
        f"{len(CURVE)} thresholds. The same keypoints count as for PCK."
    ),
    PCKH_TITLE: (
        f"as PCK, but at most {HEAD_THRESHOLD} x head size away; needs no torso. "
        "Head size on MPII: 0.6 x diagonal of the person's head box; on LSP and LSPET, "
        "which have no head boxes: distance from neck to head top. Persons without a "
        "head size are left out of PCKh and counted. Compared are the joints of kpose. "
        "MPII's protocol leaves out pelvis and thorax, which kpose has not, but has "
        "head top and upper neck where kpose has one head: it is not the published "
        "PCKh."
    ),
    "AP": (
        "COCO's average precision in percent, by pycocotools: the mean over OKS "
        "thresholds 0.50, 0.55, ..., 0.95; AP50 and AP75 at one. OKS with COCO's "
        "sigmas and the area of the person's segment, over the joints that COCO has a "
        "sigma for: of the 13 the 12 of the limbs, not the head. The people are given: "
        "one answer per labelled person, compared with that person alone, no detector; "
        "it is not the published AP. Score = mean confidence over these joints, "
        "without confidence 1 for everybody, in the order of the data. Persons without "
        "an area or such a joint are left out of AP and counted."
    ),
}
"""What each metric counts, by its name in tables."""

DEFINITION = " ".join(f"{name}: {DEFINITIONS[name]}" for name in (PCK_TITLE, "px"))
"""Those of ``table`` in one paragraph."""

COLUMNS = ("head", "wrist", "elbow", "shoulder", "hip", "knee", "ankle")
"""Joint groups in the order of the paper's Table 5."""

WORST, BEST = 24, 12
"""So many of the worst and of the best persons are kept for the report."""

TIMED, WARM_UP = 64, 4
"""Stages are timed on so many persons, after some that set up memory and kernels."""

BINS = {
    "detector": f"detector's box, IoU > {HIGH}",
    "between": f"detector's box, IoU {LOW} to {HIGH}",
    "ground_truth": f"ground truth's, IoU < {LOW} or nothing found",
}
"""How the crop of a person was chosen (Table 1), where a detector was asked."""


class Example(NamedTuple):
    """One evaluated person, for the report.

    Args:
        position: Its place in the order of evaluation.
        error: Mean distance over its annotated joints, pixels of a 224 px crop.
        image: ``(size, size, 3)`` RGB uint8.
        joints: ``(joints, 3)`` ground truth, crop units, 1 where annotated.
        keypoints: ``(joints, 2)`` predicted, crop units.
    """

    position: int
    error: float
    image: Image
    joints: NDArray[np.float32]
    keypoints: NDArray[np.float32]


class JointScore(NamedTuple):
    """What a model scores on one joint; NaN where nothing counts.

    Args:
        name: Of the joint.
        annotated: How often it is.
        pck: PCK@0.2 in percent.
        pck_tenth: PCK@0.1 in percent.
        median_px: Median distance, pixels of a 224 px crop.
        mean_px: Mean distance, the same.
        median_torso: Median distance in torso lengths, of persons with a torso.
        mean_torso: Mean distance in torso lengths.
    """

    name: str
    annotated: int
    pck: float
    pck_tenth: float
    median_px: float
    mean_px: float
    median_torso: float
    mean_torso: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """What a model, or the mean pose, scores on some persons.

    Args:
        persons: How many were evaluated.
        excluded_no_torso: How many of them are left out of PCK.
        pck: PCK@0.2 in percent: ``"all"`` and every group of the skeleton; NaN where a
            group has no counted keypoint.
        curve: The same for every threshold of ``CURVE``, ``(51,)`` each.
        pixel_error: Mean distance over annotated joints, pixels of a 224 px crop.
        excluded_no_head_size: How many persons are left out of PCKh.
        pckh: PCKh@0.5 in percent like ``pck``; None where nobody has a head size.
        oks_ap: OKS AP in percent; None where nobody has an area.
        reliability: How often the keypoints that PCK counts are correct, by confidence;
            None where the network gives no confidence.
        joints: The scores of each joint, in the order of the skeleton.
        bins: The scores of the persons of each box policy bin (``BINS``), where a
            detector was asked.
        mean_pose: The scores of predicting the mean pose for everybody, where known.
        worst: The persons with the largest mean error, worst first.
        best: Those with the smallest, best first.
    """

    persons: int
    excluded_no_torso: int
    pck: dict[str, float]
    curve: dict[str, NDArray[np.float64]]
    pixel_error: float
    excluded_no_head_size: int
    pckh: dict[str, float] | None = None
    oks_ap: AveragePrecision | None = None
    reliability: Reliability | None = None
    joints: tuple[JointScore, ...] = ()
    bins: "dict[str, Scores]" = field(default_factory=dict)
    mean_pose: "Scores | None" = None
    worst: tuple[Example, ...] = ()
    best: tuple[Example, ...] = ()

    @property
    def auc(self) -> dict[str, float]:
        """Area under each curve, percent of the full area; NaN where there is none."""
        return {
            name: area_under_curve(CURVE, values) for name, values in self.curve.items()
        }

    @property
    def excluded_no_area(self) -> int:
        """How many persons are left out of the OKS AP."""
        return self.persons - (self.oks_ap.persons if self.oks_ap else 0)

    @property
    def calibration_error(self) -> float | None:
        """Expected calibration error of the confidences, 0 to 1."""
        return None if self.reliability is None else self.reliability.error

    def to_json(self) -> dict[str, Any]:
        """Return the scores as JSON values.

        PCK, PCKh, AUC and AP are in percent of 100, confidence and its calibration
        error are of 1; null stands for NaN, and for what neither the network nor the
        labels give.
        """
        tenth = int(np.flatnonzero(CURVE == 0.1)[0])
        value: dict[str, Any] = {
            f"pck@{THRESHOLD}": _rounded_all(self.pck),
            "pck@0.1": {name: _rounded(x[tenth]) for name, x in self.curve.items()},
            f"pckh@{HEAD_THRESHOLD}": _rounded_all(self.pckh) if self.pckh else None,
            "auc": _rounded_all(self.auc),
            "oks_ap": None,
            "pixel_error": _rounded(self.pixel_error),
            "persons": self.persons,
            "excluded_no_torso": self.excluded_no_torso,
            "excluded_no_head_size": self.excluded_no_head_size,
            "excluded_no_area": self.excluded_no_area,
            "calibration_error": None,
            "reliability": None,
        }
        if self.oks_ap is not None:
            value["oks_ap"] = _rounded_all(self.oks_ap._asdict())
        if self.reliability is not None:
            value["calibration_error"] = _rounded(self.reliability.error, 4)
            value["reliability"] = {
                "count": self.reliability.count.tolist(),
                "confidence": [_rounded(x, 4) for x in self.reliability.confidence],
                "accuracy": [_rounded(x, 4) for x in self.reliability.accuracy],
            }
        if self.joints:
            value["joints"] = {joint.name: _joint_json(joint) for joint in self.joints}
        if self.bins:
            value["bins"] = {name: part.to_json() for name, part in self.bins.items()}
        if self.mean_pose is not None:
            value["mean_pose"] = self.mean_pose.to_json()
        return value


def _joint_json(joint: JointScore) -> dict[str, float | None]:
    names = (f"pck@{THRESHOLD}", "pck@0.1", *JointScore._fields[4:])
    values = {name: _rounded(x) for name, x in zip(names, joint[2:], strict=True)}
    return {"annotated": joint.annotated, **values}


def _rounded(value: float, digits: int = 3) -> float | None:
    return round(float(value), digits) if np.isfinite(value) else None


def _rounded_all(values: dict[str, float]) -> dict[str, float | None]:
    return {name: _rounded(value) for name, value in values.items()}


def evaluate(
    network: Network,
    batches: Iterable[tuple[Image, NDArray[np.float32]]],
    *,
    flip_test: bool = True,
    mean_pose: ArrayLike | None = None,
    head_sizes: ArrayLike | None = None,
    areas: ArrayLike | None = None,
    ious: ArrayLike | None = None,
) -> Scores:
    """Return what ``network`` scores on ``batches``.

    Args:
        network: The model, as ``kpose.runtime.open`` returns it.
        batches: Images ``(persons, size, size, 3)`` RGB uint8 at the model's size, and
            joints ``(persons, joints, 3)`` in crop units, 1 where annotated.
        flip_test: Average with the prediction for the mirrored crop (section 3.7).
        mean_pose: ``(joints, 2)``, the mean of the *training* joints in crop units; its
            scores are the baseline. None where it is not known.
        head_sizes: ``(persons,)`` for PCKh, crop units, 0 where unknown; None where
            all are. Read after the last batch, so that a list may grow with them.
        areas: The same for OKS AP: areas of the segments, crop units squared.
        ious: ``(persons,)`` IoU of the best detection, for the box policy bins; NaN
            where no detector was asked. Read after the last batch.

    Raises:
        InputError: If there is no person, the joints are not those of the model, the
            skeleton has no torso, or head sizes, areas or IoUs are not one per person.
    """
    skeleton = network.skeleton
    all_joints: list[NDArray[np.float32]] = []
    predictions: list[Prediction] = []
    kept: list[Example] = []
    persons = 0
    for crops, joints in batches:
        if joints.shape[1:] != (len(skeleton), 3):
            raise InputError(
                f"joints must have shape (persons, {len(skeleton)}, 3), the joints of "
                f"the model. Received: {joints.shape}"
            )
        predicted = _answer(network, crops, flip_test)
        keypoints = np.asarray(predicted.keypoints, np.float32)
        all_joints.append(joints)
        predictions.append(Prediction(keypoints, predicted.confidence))
        mean_errors = person_errors(joints, keypoints)
        kept += [
            Example(
                persons + i, mean_errors[i], crops[i].copy(), joints[i], keypoints[i]
            )
            for i in range(len(joints))
        ]
        persons += len(joints)
        # Only the extremes stay, so that memory does not grow with the data.
        kept.sort(key=lambda example: example.error)
        if len(kept) > BEST + WORST:
            kept = kept[:BEST] + kept[-WORST:]
    if not persons:
        raise InputError("an evaluation needs at least one person. Received: none")
    truth, answer = np.concatenate(all_joints), runtime.join(predictions)
    half = min(len(kept) // 2, BEST)
    sizes = {"head_sizes": head_sizes, "areas": areas}
    return replace(
        score(truth, answer.keypoints, skeleton, answer.confidence, **sizes),
        bins={} if ious is None else _by_bin(truth, answer, skeleton, ious),
        mean_pose=None
        if mean_pose is None
        else constant(truth, mean_pose, skeleton, **sizes),
        best=tuple(kept[:half]),
        worst=tuple(kept[: half - 1 : -1][:WORST] if half else kept),
    )


def score(
    joints: ArrayLike,
    keypoints: ArrayLike,
    skeleton: Skeleton,
    confidence: ArrayLike | None = None,
    *,
    head_sizes: ArrayLike | None = None,
    areas: ArrayLike | None = None,
) -> Scores:
    """Return the scores of given keypoints.

    Args:
        joints: ``(persons, joints, 3)``: crop units, 1 where annotated.
        keypoints: ``(persons, joints, 2)`` predicted, crop units.
        skeleton: Names of the joints; needs a torso.
        confidence: ``(persons, joints)``, 0 to 1, where there is one.
        head_sizes: ``(persons,)`` for PCKh, crop units, 0 where unknown; None where
            all are.
        areas: The same for OKS AP: areas of the segments, crop units squared.

    Raises:
        InputError: If the skeleton has no torso, or head sizes or areas are not one per
            person.
    """
    truth, predicted = np.asarray(joints), np.asarray(keypoints)
    heads = _known("head sizes", head_sizes, len(truth))
    area = _known("areas", areas, len(truth))
    right, counted = map(np.asarray, correct(truth, predicted, skeleton.torso))
    good = [
        np.asarray(correct(truth, predicted, skeleton.torso, threshold)[0])
        for threshold in CURVE.tolist()
    ]
    columns = {"all": tuple(range(len(skeleton))), **skeleton.groups}
    curve = {}
    for name, indices in columns.items():
        whole = int(counted[:, indices].sum())
        parts = np.array([int(flags[:, indices].sum()) for flags in good])
        curve[name] = 100 * parts / whole if whole else np.full(len(CURVE), np.nan)
    annotated = int((truth[..., 2] > 0).sum())
    total = float(np.asarray(errors(truth, predicted)).sum(dtype=np.float64))
    return Scores(
        persons=len(truth),
        excluded_no_torso=int(
            (np.asarray(torso_lengths(truth, skeleton.torso)) <= 0).sum()
        ),
        pck=pck_by_group(truth, predicted, skeleton.torso, skeleton.groups),
        curve=curve,
        pixel_error=PIXELS * total / annotated if annotated else float("nan"),
        excluded_no_head_size=int((heads == 0).sum()),
        pckh=pckh_by_group(truth, predicted, heads, skeleton.groups)
        if heads.any()
        else None,
        oks_ap=average_precision(truth, predicted, area, skeleton, confidence),
        reliability=None
        if confidence is None
        else reliability(np.asarray(confidence)[counted], right[counted]),
        joints=tuple(_joint_scores(truth, predicted, skeleton)),
    )


def _joint_scores(
    truth: NDArray[Any], predicted: NDArray[Any], skeleton: Skeleton
) -> Iterator[JointScore]:
    distances = np.asarray(errors(truth, predicted), np.float64)
    torso = np.asarray(torso_lengths(truth, skeleton.torso), np.float64)
    near, nearer = (
        np.asarray(correct(truth, predicted, skeleton.torso, threshold)[0])
        for threshold in (THRESHOLD, 0.1)
    )
    for index, name in enumerate(skeleton.names):
        annotated = truth[:, index, 2] > 0
        counted = annotated & (torso > 0)
        pixels = PIXELS * distances[annotated, index]
        torsos = distances[counted, index] / torso[counted]
        yield JointScore(
            name,
            int(annotated.sum()),
            100 * _mean(near[counted, index]),
            100 * _mean(nearer[counted, index]),
            _median(pixels),
            _mean(pixels),
            _median(torsos),
            _mean(torsos),
        )


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _median(values: NDArray[Any]) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def _by_bin(
    truth: NDArray[Any], answer: Prediction, skeleton: Skeleton, ious: ArrayLike
) -> dict[str, Scores]:
    """Return the scores of the persons of each of ``BINS`` that has some."""
    iou = np.asarray(ious, np.float64)
    if iou.shape != (len(truth),):
        raise InputError(
            f"IoUs must be {len(truth)}, one per person. Received: shape {iou.shape}"
        )
    members = (iou > HIGH, (iou >= LOW) & (iou <= HIGH), iou < LOW)
    return {
        name: score(truth[chosen], answer.keypoints[chosen], skeleton)
        for name, chosen in zip(BINS, members, strict=True)
        if chosen.any()
    }


def _known(what: str, values: ArrayLike | None, persons: int) -> NDArray[np.float32]:
    """Return ``(persons,)`` with 0 for what is not known, not finite or negative."""
    if values is None:
        return np.zeros(persons, np.float32)
    found = np.asarray(values, np.float32)
    if found.shape != (persons,):
        raise InputError(
            f"{what} must be {persons}, one per person. Received: shape {found.shape}"
        )
    return np.where(np.isfinite(found), np.maximum(found, 0), np.float32(0))


def constant(
    joints: ArrayLike,
    pose: ArrayLike,
    skeleton: Skeleton,
    *,
    head_sizes: ArrayLike | None = None,
    areas: ArrayLike | None = None,
) -> Scores:
    """Return the scores of predicting ``pose`` ``(joints, 2)`` for everybody.

    Args:
        joints: As for ``score``, like ``skeleton``, ``head_sizes`` and ``areas``.
        pose: Crop units.
        skeleton: Names of the joints.
        head_sizes: For PCKh.
        areas: For OKS AP.

    Raises:
        InputError: If the pose has not the joints of the skeleton.
    """
    keypoints = np.asarray(pose, np.float32)
    if keypoints.shape != (len(skeleton), 2):
        raise InputError(
            f"a mean pose must have shape ({len(skeleton)}, 2). "
            f"Received: {keypoints.shape}"
        )
    shape = (len(np.asarray(joints)), *keypoints.shape)
    return score(
        joints,
        np.broadcast_to(keypoints, shape),
        skeleton,
        head_sizes=head_sizes,
        areas=areas,
    )


def person_errors(joints: ArrayLike, keypoints: ArrayLike) -> list[float]:
    """Return the mean distance of every person, pixels of a 224 px crop.

    0 for a person without an annotated joint, infinite where a prediction is NaN.

    Args:
        joints: ``(persons, joints, 3)``: crop units, 1 where annotated.
        keypoints: ``(persons, joints, 2)`` predicted, crop units.
    """
    annotated = (np.asarray(joints)[..., 2] > 0).sum(axis=1)
    total = np.asarray(errors(joints, keypoints)).sum(axis=1)
    mean = PIXELS * total / np.maximum(annotated, 1)
    return [float(value) for value in np.nan_to_num(mean, nan=np.inf, posinf=np.inf)]


def stage_times(
    network: Runtime,
    records: Iterable[PersonRecord | BadRecord],
    *,
    flip_test: bool = True,
) -> dict[str, float]:
    """Return how long each stage takes for one person, on this machine, milliseconds.

    The first ``TIMED`` usable persons are done one after another, as ``kpose predict``
    does them: the mean over all but the first ``WARM_UP``, or over all if they are no
    more.

    Args:
        network: The model, as ``kpose.runtime.open`` returns it.
        records: Labelled persons.
        flip_test: Whether the network also answers the mirrored crop.

    Returns:
        ``decode`` (reading and decoding the picture), ``crop`` and ``network``; empty
        where nobody is usable.
    """
    stages = ("decode", "crop", "network")
    return _stage_means(stages, _timed_persons(network, records, flip_test))


def _timed_persons(
    network: Runtime, records: Iterable[PersonRecord | BadRecord], flip_test: bool
) -> Iterator[tuple[float, ...]]:
    """Yield the seconds of decode, crop and network of each usable person."""
    for record in records:
        if isinstance(record, BadRecord) or not record.image.path.is_file():
            continue
        start = perf_counter()
        picture = images.try_read(record.image)
        decoded = perf_counter()
        if isinstance(picture, InputError):
            continue
        placed = place_in(record, picture.shape)
        if isinstance(placed, str):
            continue
        began = perf_counter()
        crop = images.crop(picture, placed.square, network.size)
        cut = perf_counter()
        _answer(network, crop[None], flip_test)
        yield decoded - start, cut - began, perf_counter() - cut


def stored_times(
    network: Runtime,
    batches: Iterator[tuple[Image, NDArray[np.float32]]],
    *,
    flip_test: bool = True,
) -> dict[str, float]:
    """Return what ``stage_times`` does, of crops that are stored.

    Args:
        network: The model.
        batches: As for ``evaluate``.
        flip_test: Whether the network also answers the mirrored crop.

    Returns:
        ``decode`` (reading and decoding stored crops) and ``network``.
    """

    def timed() -> Iterator[tuple[float, ...]]:
        start = perf_counter()
        for crops, _ in batches:
            decode = (perf_counter() - start) / len(crops)
            for crop in crops:
                began = perf_counter()
                _answer(network, crop[None], flip_test)
                yield decode, perf_counter() - began
            start = perf_counter()

    return _stage_means(("decode", "network"), timed())


def _stage_means(
    stages: Sequence[str], seconds: Iterator[tuple[float, ...]]
) -> dict[str, float]:
    rows = list(islice(seconds, TIMED))
    if not rows:
        return {}
    kept = rows[WARM_UP:] or rows
    means = 1000 * np.mean(kept, axis=0)
    return dict(zip(stages, means.tolist(), strict=True))


def _answer(network: Network, crops: Image, flip_test: bool) -> Prediction:
    if flip_test:
        return runtime.predict_flip(network, crops)
    return network.predict(crops)


def with_baseline(name: str, scores: Scores) -> dict[str, Scores]:
    """Return the rows of a table: the mean pose where it is known, then the model."""
    baseline = {"mean pose": scores.mean_pose} if scores.mean_pose else {}
    return {**baseline, name: scores}


def table(rows: dict[str, Scores]) -> tuple[list[str], list[list[str]]]:
    """Return the header and the cells of a table in the order of Table 5.

    The groups of another skeleton follow in their own order.

    Args:
        rows: Scores by the name of their row, all of the same skeleton.
    """
    groups = _groups(rows)
    header = [PCK_TITLE, *groups, "All", "px"]
    cells = [
        [title, *_cells(scores.pck, groups), _cell(scores.pixel_error)]
        for title, scores in rows.items()
    ]
    return header, cells


def other_table(rows: dict[str, Scores]) -> tuple[list[str], list[list[str]]]:
    """Return the header and the cells of the metrics beside PCK and pixel error.

    All in percent, over all joints; "-" where the labels have nothing for a metric.

    Args:
        rows: Scores by the name of their row.
    """
    header = ["other metrics", "AUC", PCKH_TITLE, "AP", "AP50", "AP75"]
    cells = []
    for title, scores in rows.items():
        pckh = scores.pckh["all"] if scores.pckh else np.nan
        oks = scores.oks_ap[:3] if scores.oks_ap else (np.nan,) * 3
        cells.append([title, *map(_cell, (scores.auc["all"], pckh, *oks))])
    return header, cells


def group_table(rows: dict[str, Scores]) -> tuple[list[str], list[list[str]]]:
    """Return the header and the cells of AUC and PCKh by group, columns as ``table``.

    Args:
        rows: Scores by the name of their row, all of the same skeleton.
    """
    groups = _groups(rows)
    cells = [
        [f"{metric}, {title}", *_cells(values, groups)]
        for metric in ("AUC", PCKH_TITLE)
        for title, scores in rows.items()
        if (values := scores.auc if metric == "AUC" else scores.pckh)
    ]
    return ["%", *groups, "All"], cells


def joint_table(scores: Scores) -> tuple[list[str], list[list[str]]]:
    """Return the header and the cells of the scores of each joint, in pairs.

    Args:
        scores: With ``joints``.
    """
    header = [
        *("joint", "count", PCK_TITLE, "PCK@0.1"),
        *("median px", "mean px", "median torso", "mean torso"),
    ]
    cells = [
        [
            joint.name.replace("_", " "),
            str(joint.annotated),
            *map(_cell, joint[2:6]),
            *(_cell(value, 3) for value in joint[6:]),
        ]
        for joint in by_pair(scores.joints)
    ]
    return header, cells


def by_pair(joints: Sequence[JointScore]) -> list[JointScore]:
    """Return the joints without a side, then each right one before its left one."""
    names = {joint.name: joint for joint in joints}
    paired = [
        joint
        for right, left in _pairs(names)
        for joint in (names.pop(right), names.pop(left))
    ]
    return [*names.values(), *paired]


def _pairs(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return the names of right and left that differ in nothing else."""
    known = list(names)
    pairs = [(name, f"left_{name.removeprefix('right_')}") for name in known]
    return [
        (right, left)
        for right, left in pairs
        if right.startswith("right_") and left in known
    ]


def side_table(scores: Scores) -> tuple[list[str], list[list[str]]]:
    """Return the header and the cells of right against left, by pair of joints.

    Args:
        scores: With ``joints``.
    """
    header = [f"{PCK_TITLE} and mean px", "right", "left", "right - left"]
    header += ["right px", "left px", "right - left px"]
    joints = {joint.name: joint for joint in scores.joints}
    cells = []
    for names in _pairs(joints):
        right, left = (joints[name] for name in names)
        cells.append([right.name.removeprefix("right_")])
        for a, b in ((right.pck, left.pck), (right.mean_px, left.mean_px)):
            cells[-1] += [_cell(a), _cell(b), _signed(a - b)]
    return header, cells


def bin_table(scores: Scores) -> tuple[list[str], list[list[str]]]:
    """Return the header and the cells of the scores by box policy bin.

    Args:
        scores: With ``bins``.
    """
    header, cells = table(
        {BINS[name]: part for name, part in scores.bins.items()} | {"everybody": scores}
    )
    people = [*(part.persons for part in scores.bins.values()), scores.persons]
    rows = [
        [row[0], str(count), *row[1:]] for row, count in zip(cells, people, strict=True)
    ]
    return [header[0], "persons", *header[1:]], rows


def _groups(rows: dict[str, Scores]) -> list[str]:
    names = [name for row in rows.values() for name in row.pck if name != "all"]
    return list(dict.fromkeys([*(c for c in COLUMNS if c in names), *names]))


def _cells(values: dict[str, float], groups: list[str]) -> list[str]:
    return [_cell(values[name]) for name in [*groups, "all"]]


def _cell(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else "-"


def _signed(value: float) -> str:
    # Not "-0.0".
    return f"{round(value, 1) + 0.0:+.1f}" if np.isfinite(value) else "-"
