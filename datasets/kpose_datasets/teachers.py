"""Teachers: what labels a recording in the place of a Kinect.

A teacher is a network, asked for each frame and for its mirror image, or a COCO results
file that another program made of the same video.
"""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from kpose import agreement, detection, peers, runtime
from kpose.agreement import Answer
from kpose.detection import Detector
from kpose.errors import InputError
from kpose.files import read_json
from kpose.geometry import Box, SquareCrop, person_box
from kpose.images import Image
from kpose.joints import BODY_13, COCO_17
from kpose.peers import movenet
from kpose.predictor import Person, Predictor
from kpose.runtime import Prediction, Runtime
from kpose.sources import Picture
from kpose.stream import GROW_MS, SHRINK_MS, VISIBLE, Stream
from kpose.tracking import MEMORY_MS, Sighting, Tracker

RESULTS = "coco:"
"""What stands before the path of a COCO results file."""

PERSON = 1
"""COCO's category of people."""

LOST = 5
"""After so many frames in a row without a believable torso the whole picture is looked
at again, where no detector says where somebody is."""

SAME = 0.5
"""Intersection over union of the boxes of one person in two frames."""

ROOM = 1.25
"""Growth of the box of a pose where it says where to look next: the person moves, and
the joints that are not believed lie outside of it. With it 1.0 to 1.6 times as many
frames of four real clips are kept with MoveNet."""


class Seen(NamedTuple):
    """What a teacher sees in one frame.

    Args:
        answer: Of the person who is recorded; None where there is nobody.
        box: Where the teacher looked, image pixels.
        others: How many other people there are, as far as anybody looked for them.
    """

    answer: Answer | None
    box: Box | None = None
    others: int = 0


class Teacher(Protocol):
    """Labels the frames of one video in order.

    Attributes:
        name: What ``recording.toml`` calls it.
        mirrors: Whether it also answers for mirror images.
        hint: What a user may do where it sees nobody.
    """

    name: str
    mirrors: bool
    hint: str

    def see(self, picture: Picture, image: Image) -> Seen:
        """Return what is in the next frame, ``(height, width, 3)`` RGB uint8."""


def open(
    name: str, *, detector: Detector | None = None, box: Box | None = None
) -> Teacher:
    """Return the teacher of a name.

    Args:
        name: ``coco:RESULTS.json``, or what ``kpose.peers.open`` takes.
        detector: Finds the people; None follows one person from the whole picture on.
        box: The person's box in every frame, instead of a detector.

    Raises:
        InputError: If there is none, it is another than its name says, or it does not
            know the 13 joints.
    """
    if name.startswith(RESULTS):
        if detector is not None or box is not None:
            raise InputError(
                f"{name} says where people are: give no detector and no box"
            )
        return Results(Path(name.removeprefix(RESULTS)))
    try:
        model = peers.open(name)
    except InputError as error:
        if name.partition(":")[0] in peers.LOADERS:
            raise
        others = ", ".join(f"{contract}:FILE" for contract in peers.LOADERS)
        raise InputError(
            f"{error}. Other teachers are {others} and {RESULTS}RESULTS.json"
        ) from None
    if model.skeleton.names != BODY_13.names:
        raise InputError(
            f"a teacher must know the {len(BODY_13)} joints of kpose. Received: {name} "
            f"with {len(model.skeleton)}: {', '.join(model.skeleton.names)}"
        )
    contract, colon, path = name.rpartition(":")
    return Network(f"{contract}{colon}{Path(path).name}", model, detector, box)


class Network:
    """A network that is asked for each frame and its mirror image.

    Args:
        name: As ``Teacher.name``.
        model: The network.
        detector: See ``open``.
        box: See ``open``.
    """

    mirrors = True

    def __init__(
        self,
        name: str,
        model: Runtime,
        detector: Detector | None = None,
        box: Box | None = None,
    ) -> None:
        """Start before the first frame."""
        self.name = name
        self._predictor = _Asked(model, detector, smooth=False)
        boxes = None if box is None else [box]
        free = detector is None and box is None
        self.hint = (
            "Where somebody is in view, say where: --box or --detector"
            if free
            else "--detector must find the person"
            if box is None
            else "--box must hold the person in every frame"
        )
        self._stream = None if free else Stream(self._predictor, boxes)
        self._chosen = _Chosen()
        self._box: Box | None = None  # where the person should be, without a detector
        self._time = 0.0
        self._lost = 0

    def see(self, picture: Picture, image: Image) -> Seen:
        """Return what is in the next frame."""
        time_ms = picture.time_ms or 0.0
        self._predictor.answers.clear()
        if self._stream is None:
            return self._follow(image, time_ms)
        people = self._stream.people(image, picture)
        person = self._chosen.among(people, time_ms)
        if person is None:
            return Seen(None, others=len(people))
        return Seen(self._answer(person, image), person.box, len(people) - 1)

    def _follow(self, image: Image, time_ms: float) -> Seen:
        """Look where the last pose was; at the whole picture where it was lost."""
        box, found = self._box, None
        if box is not None:
            found = self._look(image, box)
        if found is None:
            whole = Box(0.0, 0.0, float(image.shape[1]), float(image.shape[0]))
            found = self._look(image, whole)
            box = None if found is None else _around(found)
            # A person who is small in the picture is seen well only from near.
            nearer = None if box is None else self._look(image, box)
            found = nearer or found
        if found is None:
            return Seen(None)
        answer = self._answer(found, image)
        if agreement.in_sight(answer) and _holds(answer):
            gap_ms = math.inf if self._box is None else time_ms - self._time
            self._box = _next_box(answer, found.box, gap_ms)
            self._lost = 0
        else:
            self._lost += 1
            if self._lost >= LOST:
                self._box = None
        self._time = time_ms
        return Seen(answer, found.box)

    def _look(self, image: Image, box: Box) -> Person | None:
        """Ask for the person in a box; None where it shows nothing of the picture."""
        inside = box.clipped(image.shape[1], image.shape[0])
        if not detection.croppable(box) or inside.area < VISIBLE * box.area:
            return None
        return self._predictor.ask(image, [detection.Detection(box, None)])[0]

    def _answer(self, person: Person, image: Image) -> Answer:
        assert person.box is not None
        plain, mirrored = self._predictor.answers[person.box]
        size = (image.shape[1], image.shape[0])
        confidence = person.keypoints[:, 2]
        return Answer(plain, mirrored, confidence, size, self._chosen.number)


def _next_box(answer: Answer, box: Box | None, gap_ms: float) -> Box | None:
    """Return where to look next: its edges go after the pose as in ``kpose.stream``.

    Args:
        answer: What was seen; joints that are not believed say nothing.
        box: Where.
        gap_ms: Time since the frame before; infinite at a new start.
    """
    assert answer.mirrored is not None
    length = agreement.torso(answer.points)
    believed = agreement.sure(answer)
    believed &= agreement.near(answer.plain, answer.mirrored, length)
    if believed.sum() < agreement.LEAST:
        return box
    pose = person_box(np.column_stack([answer.points, believed]))
    assert pose is not None and box is not None
    pose = pose.expanded(ROOM)
    grow, shrink = (1 - math.exp(-max(gap_ms, 0.0) / t) for t in (GROW_MS, SHRINK_MS))
    edges = []
    for new, old, outward in zip(pose, box, (-1, -1, 1, 1), strict=True):
        share = grow if (new - old) * outward > 0 else shrink
        edges.append(old + share * (new - old))
    return Box(*edges)


def _around(person: Person) -> Box | None:
    """Return the box of a pose, None where it has no area."""
    box = _box_of(person.keypoints)
    return None if box is None else box.expanded(ROOM)


def _holds(answer: Answer) -> bool:
    """Return whether the two answers have one torso."""
    assert answer.mirrored is not None
    length = agreement.torso(answer.points)
    same = agreement.near(answer.plain, answer.mirrored, length)
    return bool(same[list(BODY_13.torso)].all())


class _Asked(Predictor):
    """A predictor that keeps both answers of the flip test.

    Attributes:
        answers: By the box that was asked: ``(13, 2)`` of the picture, and of its
            mirror image brought back, image pixels.
    """

    def __init__(self, model: Runtime, detector: Detector | None, **options: Any):
        super().__init__(model, detector, **options)
        self.answers: dict[Box, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
        self._both: list[NDArray[np.float32]] = []

    def answer(self, crops: Image) -> Prediction:
        """Return the mean of both answers, as ``runtime.predict_flip``."""
        plain, mirrored = runtime.predict_both(self.model, crops)
        self._both = [plain.keypoints, mirrored.keypoints]
        return runtime.average(self.model, plain, mirrored)

    def ask(self, image: Image, found: Sequence[detection.Detection]) -> list[Person]:
        """Return one person per detection, and keep both answers."""
        people = super().ask(image, found)
        for index, (one, _) in enumerate(zip(found, people, strict=True)):
            square = SquareCrop.around(one.box)
            plain, mirrored = (square.crop_to_image(b[index]) for b in self._both)
            self.answers[one.box] = plain, mirrored
        return people


class _Chosen:
    """The one of several people who is recorded: the largest, until gone for long.

    Attributes:
        number: How many people were chosen so far, one after the other.
    """

    def __init__(self) -> None:
        self.number = 0
        self._track: int | None = None
        self._box = Box(0.0, 0.0, 0.0, 0.0)
        self._time = -math.inf

    def among(self, people: Sequence[Person], time_ms: float) -> Person | None:
        """Return the person; None while only others are there."""
        person = next((p for p in people if p.track_id == self._track), None)
        # Where two people touch, the same one may get a new track.
        person = person or max(
            (p for p in people if p.box and p.box.iou(self._box) >= SAME),
            key=lambda p: p.box.iou(self._box) if p.box else 0.0,
            default=None,
        )
        if person is None and time_ms - self._time > MEMORY_MS:
            person = max(people, key=_area, default=None)
            self.number += person is not None
        if person is not None and person.box is not None:
            self._track, self._box, self._time = person.track_id, person.box, time_ms
        return person


def _area(person: Person) -> float:
    return person.box.area if person.box is not None else 0.0


class Results:
    """A COCO results file: poses that another program saw in the same video.

    ``image_id`` is the 0-based number of the frame. Nobody can be asked for mirror
    images: the answers must agree with their neighbours in time alone.

    Args:
        path: ``[{"image_id": 0, "category_id": 1, "keypoints": [x, y, score, ...],
            "score": 0.9}, ...]`` with COCO's 17 keypoints.

    Raises:
        InputError: If the file is another.
    """

    mirrors = False

    def __init__(self, path: Path) -> None:
        """Read the file."""
        self.name = f"{RESULTS}{path.name}"
        self.hint = f"{path} must be of this video, image_id the 0-based frame"
        self.frames = _read_results(path)
        self._tracker = Tracker()
        self._chosen = _Chosen()

    def see(self, picture: Picture, image: Image) -> Seen:
        """Return what the file says about the next frame."""
        time_ms = picture.time_ms or 0.0
        size = (image.shape[1], image.shape[0])
        found = [
            Person(row, BODY_13, box)
            for row in self.frames.get(picture.frame, ())
            if (box := _box_of(row)) is not None
        ]
        self._tracker.forget(time_ms)
        # A pose with holes is compared by its box's middle there.
        sightings = [_sighting(person) for person in found]
        ids = self._tracker.match(sightings, time_ms, set())
        people = []
        for person, here, id in zip(found, sightings, ids, strict=True):
            if id is None:
                id = self._tracker.add(here, time_ms)
            else:
                self._tracker.see(id, here, time_ms)
            people.append(Person(person.keypoints, BODY_13, person.box, track_id=id))
        chosen = self._chosen.among(people, time_ms)
        if chosen is None:
            return Seen(None, others=len(people))
        points, number = chosen.keypoints, self._chosen.number
        answer = Answer(points[:, :2], None, points[:, 2], size, number)
        return Seen(answer, chosen.box, len(people) - 1)


def _box_of(row: NDArray[np.float64]) -> Box | None:
    """Return the person's box of ``(13, 3)`` points, None where it has no area."""
    known = np.isfinite(row[:, :2]).all(axis=1)
    box = person_box(np.column_stack([np.nan_to_num(row[:, :2]), known]))
    return box if box is not None and detection.croppable(box) else None


def _sighting(person: Person) -> Sighting:
    assert person.box is not None
    points = np.where(
        np.isfinite(person.keypoints[:, :2]),
        person.keypoints[:, :2],
        np.array(person.box.center),
    )
    return Sighting(person.box, points)


def _read_results(path: Path) -> dict[int, list[NDArray[np.float64]]]:
    """Return ``(13, 3)`` x, y and confidence of the people by frame, NaN for no x, y.

    Raises:
        InputError: If the file is no list of results with 17 keypoints.
    """
    rows = read_json(path)
    wanted = (
        'a list of {"image_id": frame, "keypoints": [17 x (x, y, score)], "score": s}'
    )
    if not isinstance(rows, list) or not rows:
        raise InputError(
            f"{path} must be COCO results, {wanted}. Received: {rows!r:.80}"
        )
    frames: dict[int, list[NDArray[np.float64]]] = {}
    for number, row in enumerate(rows):
        points: list[Any] = []
        frame = None
        if isinstance(row, dict):
            frame = row.get("image_id")
            given = row.get("keypoints")
            points = given if isinstance(given, list) else []
            if row.get("category_id", PERSON) != PERSON:
                continue
        if (
            len(points) != 3 * len(COCO_17)
            or not all(map(_is_number, points))
            or not isinstance(frame, int)
        ):
            came = f"{len(points)} numbers" if points else f"{row!r:.80}"
            if len(points) == 3 * len(COCO_17):
                came = f"image_id {frame!r:.20}, keypoints {points!r:.60}"
            raise InputError(
                f"{path} must be COCO results, {wanted}. Received: {came} in result "
                f"{number}"
            )
        array = np.array(points, np.float64).reshape(-1, 3)
        frames.setdefault(frame, []).append(_body(array))
    if not frames:
        raise InputError(
            f"{path} must have results of people, category_id {PERSON}. Received: "
            f"{len(rows)} of other categories"
        )
    return frames


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max  # isfinite takes no int beyond
    )


def _body(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``(13, 3)`` of COCO's 17 keypoints, those with 0, 0, 0 left out."""
    there = (points != 0).any(axis=1)
    points = points.copy()
    points[~there, :2] = np.nan
    points[:, 2] = np.clip(points[:, 2], 0, 1)  # 2 is COCO's "visible"
    face = points[: movenet.FACE]
    # The head is the middle of those points of the face that there are.
    seen = there[: movenet.FACE]
    face[~seen] = face[seen].mean(axis=0) if seen.any() else np.nan
    body = movenet.body_13(points[None][..., [1, 0, 2]])
    joints = np.concatenate(
        [body["keypoints"][0], body["confidence"][0][:, None]], axis=1
    ).astype(np.float64)
    joints[~np.isfinite(joints).all(axis=1)] = np.nan, np.nan, 0.0
    return joints
