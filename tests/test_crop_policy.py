"""Table 1: which box a training crop is cut around."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpose.crop_policy import DETECTOR, GROUND_TRUTH, best_detection, crop_boxes
from kpose.geometry import Box, SquareCrop, person_box
from kpose.records import ImageRef, PersonRecord
from kpose.screening import TOO_FAR, Placed, place, place_all

SHAPE = (200, 200, 3)
REFERENCE = Box(0, 0, 10, 10)


def person(x0=40.0, y0=40.0, side=50.0, box=None):
    """A person whose joints span a square; its box x 1.2 has exact edges."""
    joints = np.zeros((13, 3), np.float32)
    joints[0], joints[12] = (
        (x0 - 0.5, y0 - 0.5, 1),
        (x0 + side - 0.5, y0 + side - 0.5, 1),
    )
    return PersonRecord(
        "p", ImageRef(Path("p.png")), joints, np.ones(13, np.int8), "s", "g", "train",
        box=box,
    )  # fmt: skip


def crops(record, found, shape=SHAPE):
    ground_truth = place(record)
    assert isinstance(ground_truth, Placed)
    return place_all(record, ground_truth, found, shape)


@pytest.mark.parametrize(
    ("height", "expected"),
    [
        (49, (GROUND_TRUTH,)),
        (50, (DETECTOR, GROUND_TRUTH)),
        (60, (DETECTOR, GROUND_TRUTH)),
        (70, (DETECTOR, GROUND_TRUTH)),
        (71, (DETECTOR,)),
        (100, (DETECTOR,)),
    ],
)
def test_boxes_by_the_overlap_of_the_best_detection(height, expected):
    """Catches > for >=: 50 and 70 give 0.5 and 0.7 to the last bit."""
    _, iou = best_detection(Box(0, 0, 100, 100), [Box(0, 0, 100, height)])

    assert iou == height / 100
    assert crop_boxes(iou) == expected


def test_without_a_detection_the_ground_truth_is_used():
    assert best_detection(REFERENCE, []) == (None, 0)
    assert crop_boxes(0) == (GROUND_TRUTH,)


@given(st.integers(0, 1000))
def test_every_overlap_has_its_row(thousandths):
    found = [Box(0, 0, 1000, thousandths)]

    boxes = crop_boxes(best_detection(Box(0, 0, 1000, 1000), found)[1])

    assert (DETECTOR in boxes) == (thousandths >= 500)
    assert (GROUND_TRUTH in boxes) == (thousandths <= 700)


@given(
    st.lists(
        st.builds(
            lambda x, y, w, h: Box(x, y, x + w, y + h),
            *[st.integers(-20, 20)] * 2,
            *[st.integers(1, 30)] * 2,
        ),
        min_size=1,
        max_size=6,
    )
)
def test_the_best_detection_overlaps_most_whatever_the_order(found):
    """Catches the first, which has the highest score, taken for the best."""
    best, iou = best_detection(REFERENCE, found)

    assert best in found
    assert iou == REFERENCE.iou(best) == max(map(REFERENCE.iou, found))
    assert best_detection(REFERENCE, found[::-1])[1] == iou


def test_the_first_of_equal_detections_is_taken():
    found = [Box(0, 0, 10, 6), Box(0, 4, 10, 10)]

    assert best_detection(REFERENCE, found)[0] is found[0]


@pytest.mark.parametrize(
    ("height", "boxes"),
    [
        (29.4, (GROUND_TRUTH,)),  # IoU 0.49
        (30, (DETECTOR, GROUND_TRUTH)),
        (36, (DETECTOR, GROUND_TRUTH)),
        (42, (DETECTOR, GROUND_TRUTH)),
        (42.6, (DETECTOR,)),
    ],
)
def test_crops_of_a_person_by_overlap(height, boxes):
    record = person()  # box x 1.2: 35..95
    detection = Box(35, 35, 95, 35 + height)

    found = crops(record, [Box(0, 0, 9, 9), detection])

    assert tuple(crop.box for crop in found) == boxes
    assert [crop.iou for crop in found] == pytest.approx([height / 60] * len(boxes))
    squares = {DETECTOR: SquareCrop.around(detection), GROUND_TRUTH: (35, 35, 60)}
    for crop in found:
        assert crop.square == squares[crop.box]
        expected = crop.square.joints_to_crop(record.joints)
        np.testing.assert_array_equal(crop.joints, expected)


def test_joints_outside_a_detector_crop_are_not_clipped():
    (crop, _) = crops(person(), [Box(35, 35, 65, 95)])  # the left half, IoU 0.5

    assert crop.square == (20, 35, 60)
    assert crop.joints[12].tolist() == pytest.approx([70 / 60, 55 / 60, 1])
    assert crop.too_far == 0


def test_the_reference_is_not_clipped_to_the_picture():
    record = person(x0=-20.0)  # box x 1.2: -25..35, of which 0..35 in the picture
    inside = Box(0, 35, 35, 95)

    (only, other) = crops(record, [inside])

    # 35 / 60; clipped it would be 1 and the detector's box alone.
    assert only.iou == other.iou == pytest.approx(35 / 60)


def test_the_joints_and_not_the_sets_own_box_are_compared():
    """Section 3.2; the set's own box still gives the ground-truth crop."""
    record = person(box=Box(0, 0, 100, 100))

    (detector,) = crops(record, [Box(35, 35, 95, 95)])
    (own,) = crops(record, [Box(0, 0, 100, 100)])  # 0.36 of the joint box's square

    assert (detector.box, detector.iou) == (DETECTOR, 1)
    assert (own.box, own.square) == (GROUND_TRUTH, (0, 0, 100))
    assert own.iou == pytest.approx(0.36)


def test_a_detector_crop_without_a_pixel_gives_way_to_the_ground_truth():
    record = person(x0=165.0, side=100.0)  # box x 1.2: 155..275, 30..150

    # Its square begins at 163.5, the picture ends at 160.
    found = crops(record, [Box(172, 30, 275, 150)], (200, 160, 3))

    assert [crop.box for crop in found] == [GROUND_TRUTH]
    assert found[0].iou == pytest.approx(103 / 120)


@given(
    st.integers(-30, 30), st.integers(-30, 30), st.integers(20, 90), st.integers(20, 90)
)
def test_a_person_always_has_crops_with_all_joints(dx, dy, width, height):
    record = person()
    detection = Box(35 + dx, 35 + dy, 35 + dx + width, 35 + dy + height)

    found = crops(record, [detection])

    iou = person_box(record.joints).iou(detection)
    assert len(found) == (2 if 0.5 <= iou <= 0.7 else 1)
    for crop in found:
        assert (crop.joints[[0, 12], 2] == 1).all()
        # At most one side outside: none of them would be left out (reading 6).
        assert np.abs(crop.joints[[0, 12], :2] - 0.5).max() < 0.5 + TOO_FAR
        np.testing.assert_allclose(
            crop.square.crop_to_image(crop.joints[[0, 12], :2]),
            record.joints[[0, 12], :2],
            atol=1e-4,
        )
