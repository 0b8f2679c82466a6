"""The sheet that shows how crops were chosen."""

from pathlib import Path

import numpy as np

from kpose import crop_sheet
from kpose.crop_sheet import BLUE, CAPTION, GREEN, HEIGHT, RED, WIDTH
from kpose.geometry import Box, SquareCrop
from kpose.joints import BODY_13
from kpose.records import ImageRef, PersonRecord
from kpose.screening import Placed


def has(pixels, color):
    return bool((pixels == color).all(axis=-1).any())


def test_what_a_square_reaches_beyond_the_picture_is_black():
    image = np.full((100, 200, 3), 255, np.uint8)

    view, shown = crop_sheet.show(image, [Box(-50, 0, 50, 100)])

    # 250 x 100 pixels in 432 x 288.
    assert view == (-50, 0, WIDTH / 250)
    assert shown.shape == (round(100 * WIDTH / 250), WIDTH, 3)
    edge = round(50 * WIDTH / 250)
    assert not shown[:, :edge].any() and shown[:, edge:].all()
    assert view.box(Box(-50, 0, 200, 100))[2:] == (WIDTH, 100 * WIDTH / 250)
    joint = view.joints(np.array([[-50, -0.5, 1.0]]))
    np.testing.assert_allclose(joint, [[0.5 * view.scale - 0.5, -0.5, 1]])


def test_at_most_half_a_picture_is_shown_beyond_it():
    image = np.full((100, 200, 3), 255, np.uint8)

    view, shown = crop_sheet.show(image, [Box(-5000, -5000, 5000, 5000)])

    assert (view.x0, view.y0) == (-100, -50)
    assert shown.shape[:2] == (216, 432)


def test_a_tile_has_all_boxes_and_one_square_per_crop():
    image = np.full((100, 100, 3), 90, np.uint8)
    joints = np.zeros((13, 3), np.float32)
    joints[0], joints[12] = (30, 30, 1), (60, 60, 1)
    record = PersonRecord(
        "p", ImageRef(Path("p.png")), joints, np.ones(13, np.int8), "s", "g", "train"
    )
    crops = [
        Placed(SquareCrop(20, 20, side), joints, 0, box)
        for side, box in ((40, "detector"), (50, "ground_truth"))
    ]

    both = crop_sheet.tile(image, record, [Box(20, 20, 60, 60)], crops, BODY_13)
    one = crop_sheet.tile(image, record, [], crops[1:], BODY_13)

    assert both.shape == one.shape
    picture = slice(CAPTION, None), slice(0, HEIGHT)
    assert all(has(both[picture], color) for color in (GREEN, BLUE, RED))
    assert has(one[picture], GREEN) and has(one[picture], RED)
    assert not has(one[picture], BLUE)
    right = WIDTH + 4 + HEIGHT + 4
    assert (both[CAPTION:, right : right + HEIGHT] == 90).all()
    assert (one[CAPTION:, right:] == 255).all()
