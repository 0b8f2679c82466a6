import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpose.errors import InputError
from kpose.geometry import (
    Box,
    SquareCrop,
    joint_box,
    mirror_joints,
    person_box,
)

PIXELS = st.floats(-2000, 6000)
SQUARES = st.builds(SquareCrop, PIXELS, PIXELS, st.floats(2, 4000))
POINTS = st.tuples(PIXELS, PIXELS)


def joints(*rows):
    return np.array(rows, np.float32)


def test_box_measures():
    box = Box(1, 2, 4, 8)

    assert (box.width, box.height, box.area, box.center) == (3, 6, 18, (2.5, 5))
    assert box.expanded(2) == Box(-0.5, -1, 5.5, 11)
    assert Box(4, 2, 1, 8).area == 0


def test_mirrored_box_counts_from_the_right_edge():
    assert Box(1, 2, 4, 8).mirrored(10) == Box(6, 2, 9, 8)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (Box(0, 0, 2, 2), 1.0),
        (Box(1, 0, 3, 2), 1 / 3),
        (Box(2, 0, 4, 2), 0.0),
        (Box(5, 5, 6, 6), 0.0),
        (Box(0.5, 0.5, 1.5, 1.5), 0.25),
        (Box(1, 1, 1, 1), 0.0),
    ],
    ids=["same", "half over", "touching", "apart", "inside", "no area"],
)
def test_iou(other, expected):
    assert Box(0, 0, 2, 2).iou(other) == pytest.approx(expected)
    assert other.iou(Box(0, 0, 2, 2)) == pytest.approx(expected)


def test_iou_of_two_boxes_without_area_is_zero():
    assert Box(1, 1, 1, 1).iou(Box(1, 1, 1, 1)) == 0


def test_square_grows_the_short_side_about_the_same_centre():
    assert SquareCrop.around(Box(10, 20, 14, 30)) == SquareCrop(7, 20, 10)
    assert SquareCrop.around(Box(10, 20, 20, 24)) == SquareCrop(10, 17, 10)


@pytest.mark.parametrize(
    "box",
    [
        Box(0, 0, 1.9, 1.9),
        Box(0, 0, 5, 0),
        Box(5, 0, 0, 5),
        Box(0, 0, float("nan"), 5),
        Box(0, 0, float("inf"), 5),
    ],
    ids=["small", "flat", "reversed", "nan", "infinite"],
)
def test_boxes_without_a_square_are_refused(box):
    with pytest.raises(InputError, match=r"side of at least 2 pixels. Received: \("):
        SquareCrop.around(box)


def test_square_as_box_and_expanded():
    square = SquareCrop(10, 20, 8)

    assert square.box == Box(10, 20, 18, 28)
    assert square.expanded(1.5) == SquareCrop(8, 18, 12)
    assert square.mirrored(100) == SquareCrop(82, 20, 8)


def test_crop_units_run_from_edge_to_edge():
    # Pixel 0 covers [0, 1): its centre is half a pixel from the left edge.
    square = SquareCrop(0, 0, 4)

    crop = square.image_to_crop(np.array([[0, 3], [-0.5, 3.5], [1.5, 1.5]]))

    np.testing.assert_array_equal(crop, [[0.125, 0.875], [0, 1], [0.5, 0.5]])


def test_image_to_crop_by_hand():
    square = SquareCrop(10, 20, 50)

    np.testing.assert_allclose(square.image_to_crop(np.array([34.5, 30])), [0.5, 0.21])
    np.testing.assert_allclose(square.crop_to_image(np.array([0.5, 0.21])), [34.5, 30])


@given(square=SQUARES, point=POINTS)
def test_crop_and_inverse_agree(square, point):
    there = square.image_to_crop(np.array(point))
    back = square.crop_to_image(there.astype(np.float32).astype(np.float64))

    np.testing.assert_allclose(square.crop_to_image(there), point, atol=1e-6)
    # What a shard keeps is float32: 0.01 px of the image wherever a joint can be in
    # the stored surroundings.
    if np.abs(there).max() <= 1.5 and square.side <= 4000:
        np.testing.assert_allclose(back, point, atol=0.01)


@given(square=SQUARES, point=POINTS, width=st.integers(1, 6000))
def test_a_mirror_is_one_minus_u(square, point, width):
    x, y = point
    u, v = square.image_to_crop(np.array([x, y]))

    mirrored = square.mirrored(width).image_to_crop(np.array([width - 1 - x, y]))

    np.testing.assert_allclose(mirrored, [1 - u, v], atol=1e-9 * max(1, abs(u)) + 1e-8)


def test_unannotated_joints_stay_zero_in_a_crop():
    square = SquareCrop(10, 10, 100)

    mapped = square.joints_to_crop(joints([59.5, 34.5, 1], [0, 0, 0], [30, 40, 0]))

    np.testing.assert_allclose(mapped, [[0.5, 0.25, 1], [0, 0, 0], [0, 0, 0]])
    assert mapped.dtype == np.float32


def test_the_tightest_box_reaches_to_pixel_centres_between_edges():
    box = joint_box(joints([10, 20, 1], [13, 21, 1], [999, 999, 0]))

    assert box == Box(10.5, 20.5, 13.5, 21.5)


def test_person_box_is_a_fifth_larger():
    box = person_box(joints([10, 20, 1], [20, 40, 1]))

    assert box == pytest.approx((9.5, 18.5, 21.5, 42.5))


def test_no_annotated_joint_has_no_box():
    assert joint_box(joints([1, 2, 0])) is None
    assert person_box(joints([1, 2, 0])) is None


def test_a_single_joint_has_a_box_without_area():
    assert joint_box(joints([3, 4, 1])) == Box(3.5, 4.5, 3.5, 4.5)


def test_mirrored_joints_change_sides():
    people = joints([10, 5, 1], [2, 6, 1], [0, 0, 0])  # head, right, left (missing)

    mirrored = mirror_joints(people, 100, (0, 2, 1))

    np.testing.assert_array_equal(mirrored, [[89, 5, 1], [0, 0, 0], [97, 6, 1]])


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 500), st.integers(0, 500), st.booleans()),
        min_size=3,
        max_size=3,
    ),
    width=st.integers(1, 1000),
)
def test_mirroring_twice_changes_nothing(rows, width):
    before = joints(*[(x, y, 1) if seen else (0, 0, 0) for x, y, seen in rows])

    after = mirror_joints(mirror_joints(before, width, (0, 2, 1)), width, (0, 2, 1))

    np.testing.assert_array_equal(after, before)


@given(
    rows=st.lists(st.tuples(PIXELS, PIXELS), min_size=2, max_size=2),
    width=st.integers(1, 2000),
)
def test_the_box_of_mirrored_joints_is_the_mirrored_box(rows, width):
    people = joints(*[(x, y, 1) for x, y in rows])

    mirrored = joint_box(mirror_joints(people, width, (1, 0)))

    assert mirrored == pytest.approx(joint_box(people).mirrored(width), abs=2e-3)
