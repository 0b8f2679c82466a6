"""People of one video or camera, frame after frame.

Where the detector looks at every frame, this adds numbers and smoothing. In follow mode
the pose of the last frame gives the next crop, and the detector, several times as
expensive as the network, looks only now and then.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from kpose.detection import Detection, croppable
from kpose.geometry import Box, person_box
from kpose.images import Image
from kpose.smoothing import OneEuro
from kpose.sources import Picture
from kpose.tracking import MEMORY_MS, Sighting, Tracker

if TYPE_CHECKING:
    from kpose.predictor import Person, Predictor

WEAK = 0.5
"""A detection with at least this share of the score that a new person needs keeps a
known one, until such detections alone have kept the person for ``MEMORY_MS``."""

NEAR = 0.3
"""Least intersection over union of a weak detection and the person it keeps."""

COVERED = 0.5
"""A weak detection that overlaps a good one by this much says nothing more."""

FALLEN = 0.7
"""A followed person is doubtful where the confidence is below this share of what it was
when the detector last saw the person."""

UNSEEN = 2
"""A followed person whom the detector misses so many times in a row is gone."""

VISIBLE = 0.25
"""A followed box with less of its area in the picture is not looked at."""

SHRUNK = 0.4
"""Nor is one whose longest side is less of what it was at the last detection."""

GROW_MS, SHRINK_MS = 45.0, 150.0
"""Time constants at which the edges of a followed box go after the pose. Outward fast,
so that no arm is cut off; inward slowly, so that a pose that has collapsed does not
take the box with it (docs/decisions.md)."""


@dataclass
class _Followed:
    """What is known of a person from frame to frame.

    ``box`` is where to look next and ``time_ms`` when that was found out; ``side``, the
    longest of the box, and ``confidence`` are what they were when the detector last saw
    the person, ``unseen`` is how many times in a row it has missed the person.
    """

    box: Box
    time_ms: float
    side: float
    confidence: float
    score: float | None
    unseen: int = 0

    def can_be_followed(self, image: Image) -> bool:
        """Return whether the box still makes sense: in the picture, and not shrunk.

        A pose that has collapsed takes its box along, smaller in every frame.
        """
        height, width = image.shape[:2]
        return (
            croppable(self.box)
            and self.box.clipped(width, height).area >= VISIBLE * self.box.area
            and max(self.box.width, self.box.height) >= SHRUNK * self.side
        )


class Stream:
    """Finds people in the frames of one video, in order.

    Args:
        predictor: Model, detector and settings.
        boxes: Person boxes that are the same in every frame, instead of a detector.
    """

    def __init__(self, predictor: "Predictor", boxes: Sequence[Box] | None) -> None:
        """Start before the first frame."""
        self._predictor = predictor
        self._boxes = boxes
        self._tracker = Tracker()
        self._followed: dict[int, _Followed] = {}  # who was in the last frame
        self._weak_since: dict[int, float] = {}  # whom weak detections alone keep
        self._filters: dict[int, OneEuro] = {}
        self._since_detection = 0

    def people(self, image: Image, picture: Picture) -> "list[Person]":
        """Return the people of the next frame, in the order of their numbers.

        Args:
            image: Its pixels, ``(height, width, 3)`` RGB uint8.
            picture: Which frame it is, and when.
        """
        # Without a clock there is nothing to go by but the order.
        time_ms = picture.frame * 40.0 if picture.time_ms is None else picture.time_ms
        for id in self._tracker.forget(time_ms):
            for memory in (self._followed, self._weak_since, self._filters):
                memory.pop(id, None)
        self._since_detection += 1
        seen = None
        if self._boxes is not None:
            seen = self._given(image, self._boxes)
        elif self._since_detection < self._predictor.follow:
            seen = self._follow(image)
        if seen is None:
            seen = self._detect(image, picture, time_ms)
        seen.sort(key=_number_of)
        if self._boxes is None:
            self._remember(seen, time_ms)
        return [self._smooth(person, time_ms) for person in seen]

    def _given(self, image: Image, boxes: Sequence[Box]) -> "list[Person]":
        """Look into the user's boxes that show some of the picture: one person each."""
        height, width = image.shape[:2]
        inside = {
            number: Detection(box, None)
            for number, box in enumerate(boxes, start=1)
            if box.clipped(width, height).area > 0
        }
        people = self._predictor.ask(image, list(inside.values()))
        return [replace(p, track_id=n) for n, p in zip(inside, people, strict=True)]

    def _follow(self, image: Image) -> "list[Person] | None":
        """Look where people should be; None if there is none, or a doubtful one."""
        known = self._followed.values()
        if not known or not all(one.can_be_followed(image) for one in known):
            return None
        people = self._look(image, list(self._followed))
        return (
            None
            if any(map(self._doubtful, people))
            else self._predictor.distinct(people)
        )

    def _detect(self, image: Image, picture: Picture, time_ms: float) -> "list[Person]":
        """Look at the whole frame, and at whoever was followed and is not found."""
        self._since_detection = 0
        strong, weak = self._candidates(image, picture, time_ms)
        people = self._predictor.ask(image, [*strong, *weak])
        found = self._number(
            self._predictor.distinct(people[: len(strong)]), time_ms, set()
        )
        taken = {_number_of(person) for person in found}
        for id in taken:
            self._weak_since.pop(id, None)
        known = self._number(people[len(strong) :], time_ms, taken, fresh=False)
        for person in known:
            self._weak_since.setdefault(_number_of(person), time_ms)
        found += known
        taken = {_number_of(person) for person in found}
        missed = [
            id
            for id, followed in self._followed.items()
            if id not in taken
            and followed.unseen + 1 < UNSEEN
            and followed.can_be_followed(image)
            and not self._predictor.detector.given
        ]
        looked_for = self._look(image, missed)
        kept = [person for person in looked_for if not self._doubtful(person)]
        for person in kept:
            self._followed[_number_of(person)].unseen += 1
        for id in taken:  # seen by the detector: a new start
            self._followed.pop(id, None)
        return self._predictor.distinct([*found, *kept])

    def _look(self, image: Image, ids: Sequence[int]) -> "list[Person]":
        """Ask the network about followed people, where they should be."""
        found = [Detection(self._followed[i].box, self._followed[i].score) for i in ids]
        people = self._predictor.ask(image, found)
        return [replace(p, track_id=id) for id, p in zip(ids, people, strict=True)]

    def _candidates(
        self, image: Image, picture: Picture, time_ms: float
    ) -> tuple[list[Detection], list[Detection]]:
        """Return detections good enough for anybody, and those for known people."""
        predictor = self._predictor
        least = predictor.min_score
        found = predictor.locate(image, picture.source, picture.frame, WEAK * least)
        strong = [one for one in found if one.score is None or one.score >= least]
        expected = [
            track.expected(time_ms).box
            for track in self._tracker.tracks.values()
            if time_ms - self._weak_since.get(track.id, time_ms) <= MEMORY_MS
        ]
        weak = [
            one
            for one in found
            if one not in strong
            and any(one.box.iou(box) >= NEAR for box in expected)
            and all(one.box.iou(other.box) < COVERED for other in strong)
        ]
        return strong, weak

    def _number(
        self,
        people: "Sequence[Person]",
        time_ms: float,
        taken: set[int],
        fresh: bool = True,
    ) -> "list[Person]":
        """Return people with their numbers; unknown ones only where ``fresh``."""
        sightings = [sighting(person) for person in people]
        ids = self._tracker.match(sightings, time_ms, taken)
        numbered = []
        for person, here, id in zip(people, sightings, ids, strict=True):
            if id is None and fresh:
                id = self._tracker.add(here, time_ms)
            if id is not None:
                numbered.append(replace(person, track_id=id))
        return numbered

    def _remember(self, seen: "Sequence[Person]", time_ms: float) -> None:
        """Note where people are and where to look next; the others are not followed."""
        followed = {}
        for person in seen:
            id = _number_of(person)
            self._tracker.see(id, sighting(person), time_ms)
            known = self._followed.get(id)
            assert person.box is not None
            if known is None:
                confidence = _confidence(person)
                side = max(person.box.width, person.box.height)
                known = _Followed(person.box, time_ms, side, confidence, person.score)
            known.box = _next_box(person, time_ms - known.time_ms)
            known.time_ms = time_ms
            followed[id] = known
        self._followed = followed

    def _smooth(self, person: "Person", time_ms: float) -> "Person":
        if not self._predictor.smooth:
            return person
        assert person.box is not None
        filter = self._filters.setdefault(_number_of(person), OneEuro())
        size = max(person.box.width, person.box.height)
        keypoints = person.keypoints.copy()
        keypoints[:, :2] = filter(keypoints[:, :2], time_ms, size)
        return replace(person, keypoints=keypoints)

    def _doubtful(self, person: "Person") -> bool:
        """Return whether a followed person is probably not there any more."""
        before = self._followed[_number_of(person)].confidence
        return _confidence(person) < FALLEN * before


def _number_of(person: "Person") -> int:
    assert person.track_id is not None
    return person.track_id


def _next_box(person: "Person", gap_ms: float) -> Box:
    """Return where to look for a person in the next frame, image pixels.

    Args:
        person: The person in this frame, and the box that was looked at.
        gap_ms: Time since the frame before, 0 at a new start.
    """
    assert person.box is not None
    joints = np.ones((len(person.keypoints), 3))
    joints[:, :2] = person.keypoints[:, :2]
    pose = person_box(joints)
    assert pose is not None
    grow, shrink = (1 - math.exp(-max(gap_ms, 0.0) / t) for t in (GROW_MS, SHRINK_MS))
    edges = []
    for new, old, outward in zip(pose, person.box, (-1, -1, 1, 1), strict=True):
        share = grow if (new - old) * outward > 0 else shrink
        edges.append(old + share * (new - old))
    return Box(*edges)


def sighting(person: "Person") -> Sighting:
    """Return where a person is, for comparing."""
    assert person.box is not None
    return Sighting(person.box, person.keypoints[:, :2])


def _confidence(person: "Person") -> float:
    """Return the mean over the joints, 1 where the network gives none."""
    mean = float(person.keypoints[:, 2].mean())
    return mean if math.isfinite(mean) else 1.0
