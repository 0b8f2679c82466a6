import numpy as np
import pytest

from kpose import drawing
from kpose.errors import InputError
from kpose.geometry import Box
from kpose.joints import Skeleton

ARMS = Skeleton(
    names=("neck", "right_hand", "left_hand"),
    limbs=(("neck", "right_hand"), ("neck", "left_hand"), ("right_hand", "left_hand")),
)
ORANGE, BLUE, GREEN = (255, 140, 0), (30, 144, 255), (50, 205, 50)


def close_to(color):
    """Anti-aliased lines lose a few grey levels at their centre."""
    return pytest.approx(color, abs=20)


@pytest.fixture
def black():
    return np.zeros((60, 80, 3), np.uint8)


def test_sides_have_their_colours(black):
    joints = np.array([[40, 10, 1], [10, 50, 1], [70, 50, 1]], np.float32)

    drawn = drawing.draw_skeleton(black, joints, ARMS)

    assert tuple(drawn[10, 40]) == GREEN
    assert tuple(drawn[50, 10]) == ORANGE
    assert tuple(drawn[50, 70]) == BLUE
    assert drawn[30, 25].tolist() == close_to(
        ORANGE
    )  # half way from neck to right hand
    assert drawn[30, 55].tolist() == close_to(BLUE)
    assert drawn[50, 40].tolist() == close_to(GREEN)  # a limb between the sides


def test_the_picture_given_is_not_changed(black):
    joints = np.array([[40, 10, 1], [10, 50, 1], [70, 50, 1]], np.float32)

    drawing.draw_skeleton(black, joints, ARMS)

    assert not black.any()


@pytest.mark.parametrize(
    "absent",
    [[0, 0, 0], [np.nan, np.nan, 1], [np.inf, 5, 1], [10, 50, 0]],
    ids=["unannotated", "nan", "infinite", "flag"],
)
def test_absent_joint_and_its_limbs_are_left_out(black, absent):
    joints = np.array([[40, 10, 1], absent, [70, 50, 1]], np.float32)

    drawn = drawing.draw_skeleton(black, joints, ARMS)

    assert drawn[30, 55].tolist() == close_to(BLUE)
    assert not drawn[:, :30].any()


def test_nan_confidence_is_drawn(black):
    joints = np.array([[40, 10, np.nan], [10, 50, np.nan], [70, 50, np.nan]])

    assert tuple(drawing.draw_skeleton(black, joints, ARMS)[50, 10]) == ORANGE


def test_nothing_to_draw_gives_a_copy(black):
    drawn = drawing.draw_skeleton(black, np.zeros((3, 3)), ARMS)

    assert drawn is not black
    assert not drawn.any()


def test_joint_far_outside_does_not_overflow(black):
    joints = np.array([[40, 10, 1], [1e12, -1e12, 1], [70, 50, 1]])

    assert drawing.draw_skeleton(black, joints, ARMS)[30, 55].any()


def test_joint_dot_is_centred_on_its_sub_pixel_place(black):
    joints = np.array([[40.5, 20.5, 1], [0, 0, 0], [0, 0, 0]])

    weight = drawing.draw_skeleton(black, joints, ARMS)[..., 1].astype(float)

    ys, xs = np.mgrid[:60, :80]
    assert (weight * xs).sum() / weight.sum() == pytest.approx(40.5, abs=0.05)
    assert (weight * ys).sum() / weight.sum() == pytest.approx(20.5, abs=0.05)


def test_wrong_number_of_joints_is_refused(black):
    with pytest.raises(InputError, match=r"shape \(3, 3\)\. Received: \(2, 3\)"):
        drawing.draw_skeleton(black, np.zeros((2, 3)), ARMS)


def test_read_only_and_reversed_views_are_accepted(black):
    view = black[:, ::-1]
    view.flags.writeable = False
    joints = np.array([[40, 10, 1], [10, 50, 1], [70, 50, 1]], np.float32)

    assert tuple(drawing.draw_skeleton(view, joints, ARMS)[50, 10]) == ORANGE


def test_box_frame_lies_on_the_first_and_last_pixel_it_covers(black):
    drawn = drawing.draw_box(black, Box(10.5, 20.5, 30.5, 40.5))

    assert drawn[20:41, 10].all() and drawn[20:41, 30].all()
    assert not drawn[:, 9].any() and not drawn[:, 31].any()
    assert not drawn[19].any() and not drawn[41].any()


def test_box_has_its_colour_and_width(black):
    drawn = drawing.draw_box(black, Box(10.5, 20.5, 30.5, 40.5), (255, 0, 9), width=3)

    assert (drawn[25:36, 9:12] == (255, 0, 9)).all()
    assert not drawn[25:36, :8].any() and not drawn[25:36, 13:28].any()


def test_dashes_lie_on_the_frame_with_gaps_as_long(black):
    box = Box(10.5, 20.5, 30.5, 40.5)

    dashed = drawing.draw_box(black, box, dashed=True)

    frame = drawing.draw_box(black, box)
    assert not dashed[~frame.any(axis=-1)].any()
    expected = np.tile([True] * 5 + [False] * 5, 3)[:19]  # the corner ends the line
    for line in (dashed[20, 10:29], dashed[40, 10:29]):
        assert (line.any(axis=-1) == expected).all()
    for line in (dashed[20:39, 10], dashed[20:39, 30]):
        assert (line.any(axis=-1) == expected).all()


def test_skeleton_in_one_colour(black):
    joints = np.array([[40, 10, 1], [10, 50, 1], [70, 50, 1]], np.float32)

    drawn = drawing.draw_skeleton(black, joints, ARMS, (0, 220, 0))

    assert drawn[..., 1].any() and not drawn[..., [0, 2]].any()


def test_contact_sheet_places_pictures_row_by_row():
    pictures = [np.full((2, 3, 3), value, np.uint8) for value in (10, 20, 30)]

    sheet = drawing.contact_sheet(pictures, columns=2)

    assert sheet.shape == (2 + 4 + 2, 3 + 4 + 3, 3)
    assert (sheet[:2, :3] == 10).all() and (sheet[:2, 7:] == 20).all()
    assert (sheet[6:, :3] == 30).all()
    assert (sheet[6:, 3:] == 255).all() and (sheet[2:6] == 255).all()


def test_contact_sheet_of_fewer_pictures_than_columns_and_mixed_sizes():
    small, large = np.zeros((1, 1, 3), np.uint8), np.zeros((2, 2, 3), np.uint8)

    sheet = drawing.contact_sheet([small, large], columns=8)

    assert sheet.shape == (2, 2 + 4 + 2, 3)
    assert (sheet[1, :2] == 255).all()


@pytest.mark.parametrize(("count", "columns"), [(0, 2), (2, 0)])
def test_empty_contact_sheet_is_refused(count, columns):
    with pytest.raises(InputError, match="at least one picture and one column"):
        drawing.contact_sheet([np.zeros((1, 1, 3), np.uint8)] * count, columns)


def test_label_stands_above_the_left_corner_of_its_box():
    grey = np.full((100, 200, 3), 128, np.uint8)

    drawn = drawing.draw_label(grey, Box(50, 60, 90, 95), "#3 0.87")

    assert (drawn[60:] == 128).all() and (drawn[:, :50] == 128).all()
    assert tuple(drawn[59, 50]) == (0, 0, 0)  # the ground touches the box
    assert drawn[45:60, 50:110].max() > 200  # white letters
    assert (grey == 128).all()


@pytest.mark.parametrize(
    "box",
    [(-500, -500, 10, 10), (1e6, 1e6, 2e6, 2e6), (195, 2, 230, 40), (0, 99.9, 9, 120)],
    ids=["left top", "right bottom", "right edge", "below"],
)
def test_label_outside_is_moved_into_the_picture_whole(box):
    grey = np.full((100, 200, 3), 128, np.uint8)
    inside = drawing.draw_label(grey, Box(50, 60, 90, 95), "#3 0.87")

    drawn = drawing.draw_label(grey, Box(*box), "#3 0.87")

    # The same pixels, elsewhere.
    assert (drawn != 128).any(axis=-1).sum() == (inside != 128).any(axis=-1).sum()
    assert drawn.sum() == inside.sum()


def test_empty_label_and_label_larger_than_the_picture():
    tiny = np.full((4, 4, 3), 128, np.uint8)

    assert (drawing.draw_label(tiny, Box(0, 0, 4, 4), "") == tiny).all()
    assert drawing.draw_label(tiny, Box(0, 0, 4, 4), "#3 0.87").shape == (4, 4, 3)
