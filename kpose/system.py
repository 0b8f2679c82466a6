"""The whole system on labelled pictures: who is found, and how well their joints are.

Nobody tells the network where the people are. The detector's boxes are compared with
the labelled persons (paper section 3.1), the joints are scored with both kinds of box
on the same persons, and every stage is timed as ``kpose predict`` would run it.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kpose import drawing, images
from kpose.detection import Detection, Detector, confident
from kpose.errors import InputError
from kpose.evaluation import Scores, score, table
from kpose.geometry import Box, SquareCrop, person_box
from kpose.images import Image
from kpose.predictor import Predictor
from kpose.records import ImageRef, PersonRecord
from kpose.runtime import Runtime
from kpose.screening import (
    Placed,
    Source,
    Tally,
    place_in,
    require_usable,
    screen,
)

RIGHT = 0.5
"""A detection with this IoU or less is false (paper section 3.1)."""

BEST = (0.5, 0.7)
"""The share of persons whose best detection has a larger IoU is given for these."""

DEFINITION = (
    f"A detection is right where its IoU with a labelled person is over {RIGHT}; one "
    "detection for one person, best IoU first. A person's box is that of the annotated "
    "joints x 1.2, not clipped to the picture. The other detections are false "
    "positives, people in view without a label and second boxes of one person among "
    "them; persons without a right detection are false negatives. Best box: the "
    "detector's box with the largest IoU, whoever else it belongs to, also where a "
    "better box of the same person goes before it."
)

ROWS = {
    "ground_truth_boxes": "ground-truth boxes",
    "found_ground_truth_boxes": "the same, persons found",
    "found_detector_boxes": "detector boxes, persons found",
    "detector_boxes": "detector boxes, missed = wrong",
}
"""What the joints are scored with, and how a table calls it."""

JOINT_KEYS = ("pck@0.2", "pck@0.1", "pixel_error", "persons", "excluded_no_torso")

STAGES = ("decode", "detect", "crop", "network", "uncrop", "draw")

WARM_UP = 3
"""The first pictures are not in the times: memory and kernels are set up then."""

ENOUGH = 10
"""Up to so many pictures all are in the times."""

SHOWN = 12
"""So many pictures with missed people, and with false detections, are kept."""

TILE = 320
"""Side of such a picture in the report, pixels."""

LABELLED, DETECTED = (40, 180, 60), (30, 100, 255)
"""Colours of the boxes in them, RGB."""


class Mistake(NamedTuple):
    """A picture with a missed person or a false detection, for the report.

    Args:
        weight: The larger, the earlier it is shown.
        image: ``(320, 320, 3)`` RGB uint8 with the boxes drawn.
        caption: What it is.
    """

    weight: float
    image: Image
    caption: str


@dataclass(frozen=True, kw_only=True, eq=False)
class SystemScores:
    """What detector and network score together.

    Args:
        detector: Name of the detector.
        min_score: Detections under it are not used.
        pictures: How many have a usable labelled person; only these are read.
        persons: Labelled persons in them.
        detections: Detections in them that prediction uses (``Predictor.locate``).
        false_positives: Detections that are not right.
        false_negatives: Persons without a right detection.
        pictures_with_false_positives: Pictures with at least one.
        pictures_with_false_negatives: Pictures with at least one.
        best_iou: ``(persons,)`` largest IoU with a box of the detector, 0 without any.
        joints: Scores of the joints by the keys of ``ROWS``, all in crop units of the
            ground-truth crops.
        times: Milliseconds per picture of each of ``STAGES`` and ``"total"``, without
            the warm-up, ``(pictures,)`` each.
        names: Ids of the persons, in the order of ``best_iou``.
        splits: How many persons of each (source, official split).
        skipped: How many labels were skipped, by reason.
        missed: Pictures with false negatives, least IoU first.
        false: Pictures with false positives, highest score first.
    """

    detector: str
    min_score: float
    pictures: int
    persons: int
    detections: int
    false_positives: int
    false_negatives: int
    pictures_with_false_positives: int
    pictures_with_false_negatives: int
    best_iou: NDArray[np.float64]
    joints: dict[str, Scores]
    times: dict[str, NDArray[np.float64]]
    names: tuple[str, ...]
    splits: Counter[tuple[str, str]]
    skipped: dict[str, int]
    missed: tuple[Mistake, ...] = ()
    false: tuple[Mistake, ...] = ()

    def best_over(self, iou: float) -> float:
        """Return the percentage of persons whose best detection has a larger IoU."""
        return percent(int((self.best_iou > iou).sum()), self.persons)

    def to_json(self) -> dict[str, Any]:
        """Return the scores as JSON values; percentages of 100."""
        return {
            "detector": self.detector,
            "min_score": self.min_score,
            "pictures": self.pictures,
            "persons": self.persons,
            "detections": self.detections,
            "false_positives": {
                "count": self.false_positives,
                "percent_of_detections": percent(self.false_positives, self.detections),
                "pictures": self.pictures_with_false_positives,
                "percent_of_pictures": percent(
                    self.pictures_with_false_positives, self.pictures
                ),
            },
            "false_negatives": {
                "count": self.false_negatives,
                "percent_of_persons": percent(self.false_negatives, self.persons),
                "pictures": self.pictures_with_false_negatives,
                "percent_of_pictures": percent(
                    self.pictures_with_false_negatives, self.pictures
                ),
            },
            "best_box_percent": {f"iou>{iou}": self.best_over(iou) for iou in BEST},
            "joints": {name: _joints(scores) for name, scores in self.joints.items()},
            "time_ms": {
                stage: {
                    f"p{rank}": round(float(np.percentile(values, rank)), 3)
                    for rank in (50, 95)
                }
                for stage, values in self.times.items()
            },
            "pictures_timed": len(self.times["total"]),
            "detections_per_picture": round(self.detections / self.pictures, 3),
        }


def _joints(scores: Scores) -> dict[str, Any]:
    """Return the scores as JSON values; confidence is not scored here."""
    value = scores.to_json()
    return {name: value[name] for name in JOINT_KEYS}


def percent(part: int, whole: int) -> float:
    """Return ``part`` of ``whole`` in percent, NaN of nothing."""
    return round(100 * part / whole, 3) if whole else float("nan")


def joint_table(scores: SystemScores) -> tuple[list[str], list[list[str]]]:
    """Return the header and the cells of the scores of the joints."""
    return table({title: scores.joints[key] for key, title in ROWS.items()})


def detector_table(scores: SystemScores) -> tuple[list[str], list[list[str]]]:
    """Return the header and the cells of what the detector scores."""
    counts = [
        ("false positives", scores.false_positives, "detections", scores.detections),
        ("false negatives", scores.false_negatives, "persons", scores.persons),
        (
            "with false positives",
            scores.pictures_with_false_positives,
            "pictures",
            scores.pictures,
        ),
        (
            "with false negatives",
            scores.pictures_with_false_negatives,
            "pictures",
            scores.pictures,
        ),
        *(
            (
                f"best box IoU > {iou}",
                int((scores.best_iou > iou).sum()),
                "persons",
                scores.persons,
            )
            for iou in BEST
        ),
    ]
    return ["detector", "count", "of", "%"], [
        [title, str(part), f"{whole} {what}", _cell(percent(part, whole))]
        for title, part, what, whole in counts
    ]


def time_table(scores: SystemScores) -> tuple[list[str], list[list[str]]]:
    """Return the header and the cells of the times."""
    return ["ms per picture", "p50", "p95"], [
        [stage, *(f"{np.percentile(values, rank):.1f}" for rank in (50, 95))]
        for stage, values in scores.times.items()
    ]


def _cell(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "-"


class _Person(NamedTuple):
    record: PersonRecord
    box: Box
    placed: Placed


def evaluate(
    model: Runtime,
    detector: Detector,
    data: Sequence[Source],
    *,
    min_score: float | None = None,
    flip_test: bool = True,
    progress: Callable[[int], None] | None = None,
) -> SystemScores:
    """Return what the detector and the model score on whole pictures.

    Pictures without a usable label are not read; those that cannot be decoded are
    skipped and counted.

    Args:
        model: The network.
        detector: Finds the people; asked once per picture, so that its time is known.
        data: The data sets; their joints are those of the model.
        min_score: Smallest score of a detection; None is what the detector recommends.
        flip_test: Average with the prediction for the mirrored crop (section 3.7).
        progress: Called with the number of labels done since the last call.

    Raises:
        InputError: If no person is usable, or ``min_score`` is not in 0..1.
    """
    answers = _Answers(detector)
    predictor = Predictor(model, answers, flip_test=flip_test, min_score=min_score)
    records, tallies = screen(data, model.skeleton, strict=False)
    require_usable(len(records), tallies)
    by_picture: dict[ImageRef, list[PersonRecord]] = {}
    for record in records:
        by_picture.setdefault(record.image, []).append(record)
    run = _Run(predictor, answers)
    advance = progress or (lambda labels: None)
    advance(sum(tally.labels for tally in tallies.values()) - len(records))
    for ref, image, decode in _decoded(list(by_picture)):
        people = _placed(by_picture[ref], image, tallies)
        if image is not None and people:
            run.picture(ref, image, people, decode)
        advance(len(by_picture[ref]))
    require_usable(len(run.people), tallies)
    return run.scores(tallies)


def match(ious: NDArray[np.float64]) -> dict[int, int]:
    """Return the right detection of each person that has one.

    The pair with the largest IoU first, the first of equals; at 0.5 it ends.

    Args:
        ious: ``(persons, detections)``.
    """
    pairs: dict[int, int] = {}
    left = np.where(ious > RIGHT, ious, 0)
    while left.any():
        person, detection = np.unravel_index(int(left.argmax()), left.shape)
        pairs[int(person)] = int(detection)
        left[person], left[:, detection] = 0, 0
    return pairs


class _Answers:
    """A detector that keeps its last answer: prediction uses only a part of it."""

    def __init__(self, detector: Detector) -> None:
        self.name, self.identity = detector.name, detector.identity
        self.threshold, self.given = detector.threshold, detector.given
        self.last: list[Detection] = []
        self._detector = detector

    def detect(
        self, image: Image, picture: str = "", frame: int = 0
    ) -> list[Detection]:
        self.last = self._detector.detect(image, picture, frame)
        return self.last


class _Run:
    """Collects over the pictures what ``SystemScores`` has."""

    def __init__(self, predictor: Predictor, answers: _Answers) -> None:
        self.predictor = predictor
        self.answers = answers
        self.people: list[_Person] = []
        self.best: list[float] = []
        self.truth: list[NDArray[np.float32]] = []
        self.there: list[bool] = []
        # Keypoints of the persons by ground-truth box and by detector box, crop units
        # of the ground truth; NaN where nobody was found.
        self.given: list[NDArray[np.float64]] = []
        self.found: list[NDArray[np.float64]] = []
        self.times: list[list[float]] = []
        self.counts: Counter[str] = Counter()
        self.missed: list[Mistake] = []
        self.false: list[Mistake] = []

    def picture(
        self, ref: ImageRef, image: Image, people: list[_Person], decode: float
    ) -> None:
        """Find, match and time the people of one picture."""
        skeleton = self.predictor.skeleton
        marks = [perf_counter()]
        found = self.predictor.locate(
            image, str(ref.path), ref.frame or 0, self.predictor.min_score
        )
        marks.append(perf_counter())
        squares = [SquareCrop.around(one.box) for one in found]
        crops = self.predictor.crops(image, squares)
        marks.append(perf_counter())
        answers = self.predictor.answer(crops).keypoints
        marks.append(perf_counter())
        keypoints = [
            square.crop_to_image(answer)
            for square, answer in zip(squares, answers, strict=True)
        ]
        marks.append(perf_counter())
        drawn = image
        for one, points in zip(found, keypoints, strict=True):
            joints = np.column_stack([points, np.ones(len(points))])
            drawn = drawing.draw_box(drawn, one.box)
            drawn = drawing.draw_skeleton(drawn, joints, skeleton)
        marks.append(perf_counter())
        stages = [1000 * (end - start) for start, end in pairwise(marks)]
        self.times.append([1000 * decode, *stages])

        ious = np.array(
            [[person.box.iou(one.box) for one in found] for person in people],
            np.float64,
        ).reshape(len(people), len(found))
        pairs = match(ious)
        truths = [one.placed.square for one in people]
        given = self.predictor.answer(self.predictor.crops(image, truths)).keypoints
        seen = confident(self.answers.last, self.predictor.min_score)
        for index, person in enumerate(people):
            self.people.append(person)
            self.best.append(max((person.box.iou(one.box) for one in seen), default=0))
            self.truth.append(person.placed.joints)
            self.given.append(np.asarray(given[index], np.float64))
            self.there.append(index in pairs)
            self.found.append(
                person.placed.square.image_to_crop(keypoints[pairs[index]])
                if index in pairs
                else np.full((len(skeleton), 2), np.nan)
            )
        self.counts["detections"] += len(found)
        self.counts["false_positives"] += len(found) - len(pairs)
        self.counts["false_negatives"] += len(people) - len(pairs)
        self.counts["pictures_with_false_positives"] += len(found) > len(pairs)
        self.counts["pictures_with_false_negatives"] += len(people) > len(pairs)
        self._show(ref, image, people, found, ious, pairs)

    def scores(self, tallies: dict[str, Tally]) -> SystemScores:
        """Return the scores of all pictures."""
        skeleton = self.predictor.skeleton
        truth, given = np.stack(self.truth), np.stack(self.given)
        found = np.stack(self.found)
        there = np.array(self.there)
        times = np.array(self.times)
        if len(times) > ENOUGH:
            times = times[WARM_UP:]
        return SystemScores(
            detector=self.answers.name,
            min_score=self.predictor.min_score,
            pictures=len(self.times),
            persons=len(self.people),
            detections=self.counts["detections"],
            false_positives=self.counts["false_positives"],
            false_negatives=self.counts["false_negatives"],
            pictures_with_false_positives=self.counts["pictures_with_false_positives"],
            pictures_with_false_negatives=self.counts["pictures_with_false_negatives"],
            best_iou=np.array(self.best),
            joints={
                "ground_truth_boxes": score(truth, given, skeleton),
                "found_ground_truth_boxes": score(truth[there], given[there], skeleton),
                "found_detector_boxes": score(truth[there], found[there], skeleton),
                "detector_boxes": score(truth, found, skeleton),
            },
            times={
                **dict(zip(STAGES, times.T, strict=True)),
                "total": times.sum(axis=1),
            },
            names=tuple(person.record.id for person in self.people),
            splits=Counter(
                (person.record.source, person.record.split) for person in self.people
            ),
            skipped=dict(sum((t.skipped for t in tallies.values()), Counter[str]())),
            missed=tuple(self.missed),
            false=tuple(self.false),
        )

    def _show(
        self,
        ref: ImageRef,
        image: Image,
        people: list[_Person],
        found: list[Detection],
        ious: NDArray[np.float64],
        pairs: dict[int, int],
    ) -> None:
        """Keep a picture with a mistake if it is among the most telling."""
        missed = [i for i in range(len(people)) if i not in pairs]
        false = [i for i in range(len(found)) if i not in pairs.values()]
        name = ref.path.name + ("" if ref.frame is None else f" frame {ref.frame}")
        draw = partial(_tile, image, people, found, missed, false)
        if missed:
            least = min(float(ious[i].max(initial=0)) for i in missed)
            why = f"IoU {least:.2f} of the box kept" if found else "nobody found"
            _keep(self.missed, 1 - least, f"{name}: {why}", draw)
        if false:
            best = max(false, key=lambda i: _certainty(found[i]))
            sure, iou = _certainty(found[best]), float(ious[:, best].max())
            _keep(self.false, sure, f"{name}: score {sure:.2f}, IoU {iou:.2f}", draw)


def _certainty(detection: Detection) -> float:
    return 1.0 if detection.score is None else detection.score


def _keep(
    kept: list[Mistake], weight: float, caption: str, draw: Callable[[], Image]
) -> None:
    """Put a picture into the list, drawn then, if it is among the first ``SHOWN``."""
    if len(kept) < SHOWN or weight > kept[-1].weight:
        kept.append(Mistake(weight, draw(), caption))
        kept.sort(key=lambda mistake: -mistake.weight)
        del kept[SHOWN:]


def _tile(
    image: Image,
    people: list[_Person],
    found: list[Detection],
    missed: list[int],
    false: list[int],
) -> Image:
    """Draw the boxes into the picture, black around it where boxes leave it.

    Labelled persons are green, detections blue; those of right pairs are dashed.
    """
    height, width = image.shape[:2]
    boxes = [*(person.box for person in people), *(one.box for one in found)]
    edges = np.array([(0, 0, width, height), *boxes])
    view = SquareCrop.around(Box(*edges[:, :2].min(axis=0), *edges[:, 2:].max(axis=0)))
    tile = images.crop(image, view, TILE)
    solid = [i in missed for i in range(len(people))]
    solid += [i in false for i in range(len(found))]
    for index, box in enumerate(boxes):
        color = LABELLED if index < len(people) else DETECTED
        scaled = (np.array(box) - [view.x0, view.y0] * 2) * TILE / view.side
        tile = drawing.draw_box(
            tile, Box(*scaled.tolist()), color, width=2, dashed=not solid[index]
        )
    return tile


def _placed(
    records: list[PersonRecord], image: Image | None, tallies: dict[str, Tally]
) -> list[_Person]:
    """Return the usable persons of a picture and count the others."""
    people = []
    for record in records:
        placed = "unreadable_image" if image is None else place_in(record, image.shape)
        if isinstance(placed, str):
            tallies[record.source].skip(placed, record.id)
            continue
        box = person_box(record.joints)
        assert box is not None  # screen lets nobody through without a joint
        people.append(_Person(record, box, placed))
    return people


def _decoded(
    refs: Sequence[ImageRef],
) -> Iterator[tuple[ImageRef, Image | None, float]]:
    """Yield each picture, None where it cannot be decoded, and the seconds it took.

    The frames of a video come in their order, so that it is read once.
    """
    place: dict[Path, int] = {}
    for ref in refs:
        place.setdefault(ref.path, len(place))
    for ref in sorted(refs, key=lambda ref: (place[ref.path], ref.frame or 0)):
        start = perf_counter()
        try:
            image = images.read(ref)
        except InputError:
            image = None
        yield ref, image, perf_counter() - start
