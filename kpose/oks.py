"""OKS average precision, COCO's measure, for persons whose segment has a known area.

OKS (object keypoint similarity) of an answer is the mean over a person's annotated
joints of exp(-d^2 / (2 s^2 k^2)): d is the distance, s^2 the area of the person's
segment and k twice the joint's sigma, which is how far annotators of COCO disagree.
An answer with an OKS of at least the threshold is right; AP is the area under precision
over recall as the answers come in order of their score. pycocotools computes it.
"""

import contextlib
import io
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kpose.joints import Skeleton

SIGMAS = {
    "nose": 0.026,
    "eye": 0.025,
    "ear": 0.035,
    "shoulder": 0.079,
    "elbow": 0.072,
    "wrist": 0.062,
    "hip": 0.107,
    "knee": 0.087,
    "ankle": 0.089,
}
"""COCO's published sigmas by joint group. The head of the 13 joints has none."""

PERSON = 1
"""The only category."""


class AveragePrecision(NamedTuple):
    """OKS AP in percent of 100.

    ``ap`` is the mean over the OKS thresholds 0.5, 0.55, ..., 0.95, ``ap50`` and
    ``ap75`` are at one of them; ``persons`` is how many were compared.
    """

    ap: float
    ap50: float
    ap75: float
    persons: int


def average_precision(
    joints: ArrayLike,
    keypoints: ArrayLike,
    areas: ArrayLike,
    skeleton: Skeleton,
    confidence: ArrayLike | None = None,
) -> AveragePrecision | None:
    """Return the AP of one answer for each person; nobody else is in its picture.

    OKS has no unit, so crop units do as well as pixels. Joints that COCO has no sigma
    for are left out.

    Args:
        joints: ``(persons, joints, 3)``: crop units, 1 where annotated.
        keypoints: ``(persons, joints, 2)`` predicted, crop units. A NaN is far away.
        areas: ``(persons,)`` of the segments, crop units squared. A person with 0 is
            left out, as is one without a joint to compare.
        skeleton: Names of the joints.
        confidence: ``(persons, joints)``, 0 to 1; the mean over the joints compared is
            the score of an answer. Without it all scores are 1, and answers come in
            the order of the persons.

    Returns:
        None where nobody is left.
    """
    sigmas = {
        index: SIGMAS[group]
        for group, indices in skeleton.groups.items()
        if group in SIGMAS
        for index in indices
    }
    chosen = sorted(sigmas)
    truth = np.asarray(joints, np.float64)[:, chosen]
    annotated = truth[..., 2] > 0
    area = np.asarray(areas, np.float64)
    persons = np.flatnonzero((area > 0) & annotated.any(axis=1))
    if not len(persons):
        return None
    answer = np.asarray(keypoints, np.float64)[:, chosen]
    # pycocotools takes an OKS of NaN for a match, and has no trouble with infinity.
    answer = np.where(np.isnan(answer), np.inf, answer)
    scores = np.ones(len(area))
    if confidence is not None:
        scores = np.nan_to_num(np.asarray(confidence)[:, chosen]).mean(axis=1)
    people, answers = (
        [
            {
                "id": number,  # 0 would count as no match
                "image_id": number,
                "category_id": PERSON,
                "keypoints": np.column_stack([points[row], annotated[row]]).ravel(),
                "num_keypoints": int(annotated[row].sum()),
                "area": area[row],
                "bbox": [0, 0, 1, 1],  # only for persons without joints
                "iscrowd": 0,
                "score": scores[row],
            }
            for number, row in enumerate(persons, start=1)
        ]
        for points in (np.where(annotated[..., None], truth[..., :2], 0), answer)
    )
    precision = _precision(people, answers, np.array([sigmas[i] for i in chosen]))
    return AveragePrecision(
        100 * float(precision.mean()),
        100 * float(precision[0].mean()),
        100 * float(precision[5].mean()),
        len(persons),
    )


def _precision(
    people: list[dict[str, Any]],
    answers: list[dict[str, Any]],
    sigmas: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the precision ``(10, 101)`` at COCO's OKS thresholds and recalls."""
    # Loaded only where somebody has an area.
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        sets = []
        for annotations in (people, answers):
            coco = COCO()
            coco.dataset = {
                "images": [{"id": one["id"]} for one in annotations],
                "categories": [{"id": PERSON, "name": "person"}],
                "annotations": annotations,
            }
            coco.createIndex()
            sets.append(coco)
        run = COCOeval(*sets, iouType="keypoints")
        run.params.kpt_oks_sigmas = sigmas
        # COCO's ranges are of square pixels.
        run.params.areaRng, run.params.areaRngLbl = [[0, np.inf]], ["all"]
        run.evaluate()
        run.accumulate()
    return np.asarray(run.eval["precision"][:, :, 0, 0, 0], np.float64)
