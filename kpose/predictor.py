"""Picture -> people -> joints in image pixels."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpose import images, runtime, sources
from kpose.detection import Detection, Detector, confident, croppable
from kpose.detection.nms import nms
from kpose.detection.whole import Whole
from kpose.errors import InputError
from kpose.geometry import Box, SquareCrop
from kpose.images import Image
from kpose.joints import COCO_17, Skeleton
from kpose.runtime import Prediction, Runtime
from kpose.sources import Picture
from kpose.stream import Stream, sighting
from kpose.tracking import pose_similarity

OK, UNREADABLE, OUTSIDE = "ok", "unreadable", "box_outside"
NOBODY = "no_person"
"""States of a result: joints found; the picture cannot be decoded; the box given has no
pixel of the picture; there is nobody in it."""


DUPLICATE = 0.8
"""People whose poses are more similar than this are one person, seen twice."""


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """The joints of one person in one picture, or why there are none.

    Args:
        keypoints: ``(joints, 3)`` float64: x and y in image pixels (pixel centres at
            integers; may lie outside the picture), then confidence, 0 to 1 or NaN where
            the network gives none. All NaN where ``status`` is not ``"ok"``.
        skeleton: Names, sides and limbs of the joints.
        box: The person box in image pixels; None where the picture is unreadable or
            shows nobody.
        score: The detector's, None without a detector.
        source: The picture or video.
        frame: 0-based index of the frame; 0 for a picture.
        time_ms: Time of the frame in its video, None for a picture.
        track_id: The same for one person over the frames, None without tracking.
        status: ``"ok"``, ``"no_person"``, ``"unreadable"`` or ``"box_outside"``.
        problem: What is wrong where the status is not ``"ok"``.
    """

    keypoints: NDArray[np.float64]
    skeleton: Skeleton
    box: Box | None
    score: float | None = None
    source: str = ""
    frame: int = 0
    time_ms: float | None = None
    track_id: int | None = None
    status: str = OK
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return one row of ``keypoints.jsonl``."""
        return {
            "source": self.source,
            "frame": self.frame,
            "time_ms": None if self.time_ms is None else round(self.time_ms, 3),
            "status": self.status,
            "track_id": self.track_id,
            "box": None if self.box is None else [round(x, 3) for x in self.box],
            "score": self.score,
            "keypoints": {
                name: _point(point)
                for name, point in zip(self.skeleton.names, self.keypoints, strict=True)
            },
        }

    def to_coco(self, image_id: int = 0) -> dict[str, Any]:
        """Return one entry of a COCO keypoint result file.

        It has COCO's 17 keypoints in COCO's order; 0, 0, 0 stands for those that the
        network does not know (of the 13 joints: nose, eyes and ears; a head is no
        nose). The third number and ``score`` are confidences, 1 where there is none.

        Args:
            image_id: COCO's number of the picture.

        Raises:
            InputError: If there are no joints because the status is not ``"ok"``.
        """
        if self.status != OK or self.box is None:
            raise InputError(
                f"{self.source} has no joints to write as COCO: {self.status}"
            )
        points = self.keypoints.copy()
        points[:, 2] = np.nan_to_num(points[:, 2], nan=1.0)
        points[np.isnan(points).any(axis=1)] = 0
        by_name = dict(zip(self.skeleton.names, points.tolist(), strict=True))
        rows = [by_name.get(name, [0.0, 0.0, 0.0]) for name in COCO_17.names]
        x0, y0, x1, y1 = self.box
        return {
            "image_id": image_id,
            "category_id": 1,
            "keypoints": [round(value, 3) for row in rows for value in row],
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "score": float(points[:, 2].mean()) if self.score is None else self.score,
        }


class Predictor:
    """Finds people and their joints in pictures and videos with one model.

    Args:
        model: A loaded model, see ``runtime.open``.
        detector: Finds the people, see ``kpose.detection.open``; without one the whole
            picture is one person's box.
        flip_test: Whether to average with the answer for the mirrored crop
            (paper section 3.7).
        min_score: Detector score that a new person needs; None is what the detector
            recommends.
        follow: In a video the detector looks at every ``follow``-th frame, and when a
            person is lost or new; in between the last pose gives the crop. 1 is every
            frame.
        smooth: Whether the joints of a video are smoothed (``kpose.smoothing``).

    Raises:
        InputError: If ``follow`` is under 1, or ``min_score`` not in 0..1.
    """

    def __init__(
        self,
        model: Runtime,
        detector: Detector | None = None,
        *,
        flip_test: bool = True,
        min_score: float | None = None,
        follow: int = 1,
        smooth: bool = True,
    ) -> None:
        """Take a loaded model."""
        if follow < 1:
            raise InputError(f"follow must be 1 frame or more. Received: {follow}")
        detector = detector or Whole()
        if min_score is None:
            min_score = detector.threshold
        if not 0 <= min_score <= 1:
            raise InputError(f"min_score must be in 0..1. Received: {min_score}")
        self.model = model
        self.detector = detector
        self.flip_test = flip_test
        self.min_score = min_score
        self.follow = follow
        self.smooth = smooth
        self.skeleton = model.skeleton

    def predict_image(
        self, image: Image, boxes: Sequence[Box] | None = None
    ) -> list[Person]:
        """Return the people in a picture; none is an empty list.

        Args:
            image: ``(height, width, 3)`` RGB uint8.
            boxes: Person boxes in image pixels: one person each, in their order. None
                asks the detector; its people come best first.

        Raises:
            InputError: If the image has another form, or a box has no area or no pixel
                of the picture.
        """
        _require_image(image)
        if boxes is None:
            found = self.locate(image, least=self.min_score)
            return self.distinct(self.ask(image, found))
        for box in boxes:
            SquareCrop.around(box)  # refuses a box of no area
            if not _covers(box, image):
                raise InputError(
                    f"a box must cover some of the {image.shape[1]} x {image.shape[0]} "
                    f"pixels of the picture. Received: {tuple(map(float, box))}"
                )
        return self.ask(image, [Detection(box, None) for box in boxes])

    def locate(
        self, image: Image, picture: str = "", frame: int = 0, least: float = 0.0
    ) -> list[Detection]:
        """Return where the people are, best first.

        Args:
            image: ``(height, width, 3)`` RGB uint8.
            picture: Name of the file, and ``frame`` the index of the frame in it, for
                boxes that were made elsewhere.
            frame: See ``picture``.
            least: Smallest score.
        """
        found = [
            one
            for one in confident(self.detector.detect(image, picture, frame), least)
            if croppable(one.box) and _covers(one.box, image)
        ]
        if self.detector.given or any(one.score is None for one in found):
            return found
        # Detectors with suppression inside still leave two boxes for one person.
        boxes = np.array([one.box for one in found], np.float64).reshape(-1, 4)
        scores = np.array([one.score for one in found], np.float64)
        return [found[index] for index in nms(boxes, scores)]

    def ask(self, image: Image, found: Sequence[Detection]) -> list[Person]:
        """Return one person per detection, in their order.

        Args:
            image: ``(height, width, 3)`` RGB uint8.
            found: Boxes of at least 2 pixels that cover some of the picture.
        """
        if not found:
            return []
        squares = [SquareCrop.around(one.box) for one in found]
        answer = self.answer(self.crops(image, squares))
        people = []
        for index, (one, square) in enumerate(zip(found, squares, strict=True)):
            keypoints = np.full((len(self.skeleton), 3), np.nan)
            keypoints[:, :2] = square.crop_to_image(answer.keypoints[index])
            if answer.confidence is not None:
                keypoints[:, 2] = answer.confidence[index]
            people.append(Person(keypoints, self.skeleton, one.box, one.score))
        return people

    def crops(self, image: Image, squares: Sequence[SquareCrop]) -> Image:
        """Return ``(squares, size, size, 3)`` RGB uint8, what the network sees.

        Args:
            image: ``(height, width, 3)`` RGB uint8.
            squares: Where to look, in image pixels; may be none.
        """
        size = self.model.size
        crops = [images.crop(image, square, size) for square in squares]
        return np.array(crops, np.uint8).reshape(-1, size, size, 3)

    def answer(self, crops: Image) -> Prediction:
        """Return what the network says about crops, with the flip test where asked.

        Args:
            crops: ``(N, size, size, 3)`` RGB uint8; N may be 0.
        """
        predict = runtime.predict_flip if self.flip_test else Runtime.predict
        return predict(self.model, crops)

    def distinct(self, people: Sequence[Person]) -> list[Person]:
        """Return people without those who are somebody earlier in the list, seen twice.

        Boxes that somebody chose are one person each.
        """
        kept: list[Person] = []
        for person in people:
            here = sighting(person)
            if self.detector.given or all(
                pose_similarity(here, sighting(other)) <= DUPLICATE for other in kept
            ):
                kept.append(person)
        return kept

    def predict_picture(
        self, picture: Picture, boxes: Sequence[Box] | None = None
    ) -> list[Person]:
        """Return the people of one picture, by itself.

        What is wrong with it, or that nobody is in it, becomes the status of a row:
        there is at least one.

        Args:
            picture: What ``sources.pictures`` yields.
            boxes: See ``predict_image``.
        """
        return self._rows(picture, boxes, None)

    def predict_pictures(
        self,
        pictures: Iterable[Picture],
        stream: bool,
        boxes: Sequence[Box] | None = None,
    ) -> Iterator[tuple[Picture, list[Person]]]:
        """Yield each picture with its people, at least one row each.

        Args:
            pictures: What ``sources.pictures`` yields.
            stream: Whether they are frames that follow each other: people are numbered,
                followed and smoothed then.
            boxes: See ``predict_image``; the same for every picture.
        """
        state = Stream(self, boxes) if stream else None
        for picture in pictures:
            yield picture, self._rows(picture, boxes, state)

    def predict(
        self, source: str | Path | Image, boxes: Sequence[Box] | None = None
    ) -> Iterator[Person]:
        """Yield the people in a picture, a folder of pictures, a video or a camera.

        A picture that cannot be read, or shows nobody, yields one person with that
        ``status``.

        Args:
            source: A path, a pattern such as ``"photos/*.jpg"``, the number of a camera
                as text, or an image ``(height, width, 3)`` RGB uint8.
            boxes: Person boxes in image pixels, the same for every picture. None asks
                the detector.

        Raises:
            InputError: If there is nothing to read there.
        """
        if not isinstance(source, str | Path):
            yield from self.predict_image(source, boxes)
            return
        found, problems = sources.find([source])
        for problem in problems:
            raise InputError(problem)
        for one in found:
            pictures = sources.pictures(one)
            stream = sources.is_stream(one)
            for _, people in self.predict_pictures(pictures, stream, boxes):
                yield from people

    def _rows(
        self,
        picture: Picture,
        boxes: Sequence[Box] | None,
        stream: Stream | None,
    ) -> list[Person]:
        image = picture.image
        if image is None:
            people = [self._nobody(None, UNREADABLE, picture.problem)]
        else:
            if stream is not None:
                people = stream.people(image, picture)
            elif boxes is None:
                found = self.locate(
                    image, picture.source, picture.frame, self.min_score
                )
                people = self.distinct(self.ask(image, found))
            else:
                inside = [box for box in boxes if _covers(box, image)]
                people = self.predict_image(image, inside)
            problem = f"the picture has {image.shape[1]} x {image.shape[0]} pixels"
            for index, box in enumerate(boxes or []):
                if not _covers(box, image):
                    people.insert(index, self._nobody(box, OUTSIDE, problem))
        return [
            replace(
                person,
                source=picture.source,
                frame=picture.frame,
                time_ms=picture.time_ms,
            )
            for person in people or [self._nobody(None, NOBODY, "")]
        ]

    def _nobody(self, box: Box | None, status: str, problem: str) -> Person:
        keypoints = np.full((len(self.skeleton), 3), np.nan)
        return Person(keypoints, self.skeleton, box, status=status, problem=problem)


def _require_image(image: Image) -> None:
    if not isinstance(image, np.ndarray):
        raise InputError(
            "an image must be an array of RGB uint8, shape (height, width, 3). "
            f"Received: {type(image).__name__}"
        )
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(
            "an image must be RGB uint8 of shape (height, width, 3). "
            f"Received: {image.dtype} of shape {image.shape}"
        )


def _covers(box: Box, image: Image) -> bool:
    """Return whether the box has any of the picture in it."""
    height, width = image.shape[:2]
    return box.clipped(width, height).area > 0


def _point(point: NDArray[np.float64]) -> list[float | None] | None:
    """Return [x, y, confidence] for JSON; None for an unknown joint or confidence."""
    x, y, confidence = point.tolist()
    if not np.isfinite([x, y]).all():
        return None
    return [
        round(x, 3),
        round(y, 3),
        round(confidence, 4) if np.isfinite(confidence) else None,
    ]
