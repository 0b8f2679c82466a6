"""Picture -> people -> joints in image pixels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpose import images, runtime, sources
from kpose.errors import InputError
from kpose.geometry import Box, SquareCrop
from kpose.images import Image
from kpose.joints import COCO_17, Skeleton
from kpose.runtime import Runtime
from kpose.sources import Picture

OK, UNREADABLE, OUTSIDE = "ok", "unreadable", "box_outside"
"""States of a result: joints found; the picture cannot be decoded; the box given has no
pixel of the picture."""


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """The joints of one person in one picture, or why there are none.

    Args:
        keypoints: ``(joints, 3)`` float64: x and y in image pixels (pixel centres at
            integers; may lie outside the picture), then confidence, 0 to 1 or NaN where
            the network gives none. All NaN where ``status`` is not ``"ok"``.
        skeleton: Names, sides and limbs of the joints.
        box: The person box in image pixels; None where the picture is unreadable.
        score: The detector's, None without a detector.
        source: The picture or video.
        frame: 0-based index of the frame; 0 for a picture.
        time_ms: Time of the frame in its video, None for a picture.
        track_id: The same for one person over the frames, None without tracking.
        status: ``"ok"``, ``"unreadable"`` or ``"box_outside"``.
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
    """Finds joints in pictures with one model.

    Args:
        model: A loaded model, see ``runtime.open``.
        flip_test: Whether to average with the answer for the mirrored crop
            (paper section 3.7).
    """

    def __init__(self, model: Runtime, flip_test: bool = True) -> None:
        """Take a loaded model."""
        self.model = model
        self.flip_test = flip_test
        self.skeleton = model.skeleton

    def predict_image(
        self, image: Image, boxes: Sequence[Box] | None = None
    ) -> list[Person]:
        """Return one person per box, in their order.

        Args:
            image: ``(height, width, 3)`` RGB uint8.
            boxes: Person boxes in image pixels; None is one person in the whole
                picture.

        Raises:
            InputError: If the image has another form, or a box has no area or no pixel
                of the picture.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise InputError(
                "an image must be RGB uint8 of shape (height, width, 3). "
                f"Received: {image.dtype} of shape {image.shape}"
            )
        boxes = [_whole(image)] if boxes is None else list(boxes)
        squares = [SquareCrop.around(box) for box in boxes]
        for box in boxes:
            if not _covers(box, image):
                raise InputError(
                    f"a box must cover some of the {image.shape[1]} x {image.shape[0]} "
                    f"pixels of the picture. Received: {tuple(map(float, box))}"
                )
        if not boxes:
            return []
        size = self.model.size
        crops = np.stack([images.crop(image, square, size) for square in squares])
        ask = runtime.predict_flip if self.flip_test else Runtime.predict
        answer = ask(self.model, crops)
        people = []
        for index, (box, square) in enumerate(zip(boxes, squares, strict=True)):
            keypoints = np.full((len(self.skeleton), 3), np.nan)
            keypoints[:, :2] = square.crop_to_image(answer.keypoints[index])
            if answer.confidence is not None:
                keypoints[:, 2] = answer.confidence[index]
            people.append(Person(keypoints, self.skeleton, box))
        return people

    def predict_picture(
        self, picture: Picture, boxes: Sequence[Box] | None = None
    ) -> list[Person]:
        """Return the people of a picture; what is wrong with it becomes their status.

        Args:
            picture: What ``sources.pictures`` yields.
            boxes: See ``predict_image``.
        """
        image = picture.image
        if image is None:
            people = [self._nobody(None, UNREADABLE, picture.problem)]
        else:
            boxes = [_whole(image)] if boxes is None else boxes
            inside = [box for box in boxes if _covers(box, image)]
            found = iter(self.predict_image(image, inside))
            problem = f"the picture has {image.shape[1]} x {image.shape[0]} pixels"
            people = [
                next(found)
                if _covers(box, image)
                else self._nobody(box, OUTSIDE, problem)
                for box in boxes
            ]
        return [
            replace(
                person,
                source=picture.source,
                frame=picture.frame,
                time_ms=picture.time_ms,
            )
            for person in people
        ]

    def predict(
        self, source: str | Path | Image, boxes: Sequence[Box] | None = None
    ) -> Iterator[Person]:
        """Yield the people in a picture, a folder of pictures or a video.

        A picture that cannot be read yields one person with that ``status``.

        Args:
            source: A path, or an image ``(height, width, 3)`` RGB uint8.
            boxes: Person boxes in image pixels, the same for every picture; None is one
                person in the whole picture.

        Raises:
            InputError: If there is no such file, or the folder has no picture.
        """
        if not isinstance(source, str | Path):
            yield from self.predict_image(source, boxes)
            return
        for path in sources.find([source]):
            for picture in sources.pictures(path):
                yield from self.predict_picture(picture, boxes)

    def _nobody(self, box: Box | None, status: str, problem: str) -> Person:
        keypoints = np.full((len(self.skeleton), 3), np.nan)
        return Person(keypoints, self.skeleton, box, status=status, problem=problem)


def _whole(image: Image) -> Box:
    return Box(0.0, 0.0, float(image.shape[1]), float(image.shape[0]))


def _covers(box: Box, image: Image) -> bool:
    """Return whether the box has any of the picture in it."""
    height, width = image.shape[:2]
    return box.x0 < width and box.y0 < height and box.x1 > 0 and box.y1 > 0


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
