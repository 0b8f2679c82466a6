import sys

import numpy as np
import pytest

from kpose.errors import InputError
from kpose.geometry import Box
from kpose.interop import to_supervision
from kpose.joints import Skeleton
from kpose.predictor import NOBODY, Person

ARM = Skeleton(names=("elbow", "wrist"), limbs=(("elbow", "wrist"),))


def person(points, box=(1, 2, 31, 42), **values):
    return Person(np.array(points, float), ARM, box and Box(*box), **values)


@pytest.fixture
def supervision():
    return pytest.importorskip(
        "supervision", reason="supervision is not installed (optional)"
    )


def test_people_become_key_points_and_detections(supervision):
    people = [
        person([[3, 4, 0.9], [5.5, 6, 0.2]], score=0.75, track_id=7),
        person([[0.5, -1, 0.4], [8, 9, 0.6]], (0, 0, 9, 9), score=0.5, track_id=2),
    ]

    key_points, detections = to_supervision(people)

    assert isinstance(key_points, supervision.KeyPoints)
    assert key_points.xy.tolist() == [[[3, 4], [5.5, 6]], [[0.5, -1], [8, 9]]]
    np.testing.assert_allclose(
        key_points.keypoint_confidence, [[0.9, 0.2], [0.4, 0.6]], rtol=1e-6
    )
    assert key_points.visible.all() and key_points.class_id.tolist() == [0, 0]
    assert isinstance(detections, supervision.Detections)
    assert detections.xyxy.tolist() == [[1, 2, 31, 42], [0, 0, 9, 9]]
    assert detections.confidence.tolist() == [0.75, 0.5]
    assert detections.tracker_id.tolist() == [7, 2]
    assert detections.class_id.tolist() == [0, 0]


def test_unknown_joint_is_invisible_and_not_drawn(supervision):
    nan = np.nan
    people = [person([[30, 30, 0.9], [nan, nan, nan]], score=0.5)]

    key_points, detections = to_supervision(people)

    assert key_points.xy.tolist() == [[[30, 30], [0, 0]]]
    assert key_points.visible.tolist() == [[True, False]]
    assert key_points.keypoint_confidence[0, 1] == 0
    assert detections.tracker_id is None
    black = np.zeros((60, 60, 3), np.uint8)
    drawn = supervision.VertexAnnotator(radius=3).annotate(black.copy(), key_points)
    assert drawn[30, 30].any() and not drawn[:10, :10].any()


def test_without_confidence_and_scores_there_are_none(supervision):
    key_points, detections = to_supervision(
        [person([[3, 4, np.nan], [5, 6, np.nan]], score=None, track_id=1)]
    )

    assert key_points.keypoint_confidence is None
    assert detections.confidence is None
    assert key_points.visible.all()
    assert detections.tracker_id.tolist() == [1]


def test_a_picture_without_people_is_empty(supervision):
    nobody = person([[np.nan] * 3] * 2, None, status=NOBODY)

    key_points, detections = to_supervision([nobody])

    assert len(key_points) == 0 and len(detections) == 0


def test_without_supervision_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)

    with pytest.raises(InputError, match="pip install supervision") as error:
        to_supervision([])

    assert "\n" not in str(error.value)
