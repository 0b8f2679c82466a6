"""Results in the types of other libraries, which are imported only when asked for."""

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from kpose.errors import InputError
from kpose.predictor import OK, Person


def to_supervision(people: Sequence[Person]) -> tuple[Any, Any]:
    """Return the people of one picture for Roboflow's supervision (0.29 or later).

    Row i of both is the i-th person; rows without joints (an unreadable picture, nobody
    in it) are left out. The drawing of supervision expects BGR pictures, as OpenCV.

    Args:
        people: Of one skeleton.

    Returns:
        ``supervision.KeyPoints``: ``xy`` ``(people, joints, 2)`` float32 image pixels,
        ``keypoint_confidence`` ``(people, joints)``, None where the network gives none.
        An unknown joint is 0, 0 and not ``visible``, which is how supervision leaves it
        out. And ``supervision.Detections``: ``xyxy`` boxes, ``confidence`` (None unless
        every person has a detector's score), ``class_id`` 0 and ``tracker_id`` (None
        without tracking).

    Raises:
        InputError: If supervision is not installed.
    """
    try:
        supervision = importlib.import_module("supervision")
    except ImportError as error:
        raise InputError(
            "results become supervision objects only where it is installed "
            f"(pip install supervision), but: {error}"
        ) from None
    rows = [p for p in people if p.status == OK and p.box is not None]
    if not rows:
        return supervision.KeyPoints.empty(), supervision.Detections.empty()
    points = np.stack([person.keypoints for person in rows]).astype(np.float32)
    visible = np.asarray(np.isfinite(points[..., :2]).all(axis=-1))
    confidence = np.where(visible, np.nan_to_num(points[..., 2]), 0)
    scores = [person.score for person in rows if person.score is not None]
    ids = [person.track_id for person in rows if person.track_id is not None]
    classes = np.zeros(len(rows), int)
    key_points = supervision.KeyPoints(
        xy=np.where(visible[..., None], points[..., :2], 0),
        class_id=classes,
        keypoint_confidence=(confidence if np.isfinite(points[..., 2]).any() else None),
        visible=visible,
    )
    detections = supervision.Detections(
        xyxy=np.array([person.box for person in rows], np.float32),
        confidence=np.array(scores, np.float32) if len(scores) == len(rows) else None,
        class_id=classes,
        tracker_id=np.array(ids) if len(ids) == len(rows) else None,
    )
    return key_points, detections
