"""Augmentation: pixels and joints move together; numbers belong to the sample.

A Gaussian dot is drawn at every joint of a stored crop. After the augmentation its
centre of mass must lie where the joint went.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpose import augment
from kpose.augment import Augmentation
from kpose.images import central_slice
from kpose.joints import BODY_13

SIDE, GRID = 144, 96  # stored crop and the crop whose sampling grid it is on
PAIR = (1, 0)  # swap table of two joints, right and left


def dots(joints):
    """One stored picture per joint, a dot of sigma 3 px at its place."""
    y, x = np.mgrid[:SIDE, :SIDE]
    pictures = []
    for u, v in joints:
        px, py = (np.array([u, v]) + 0.25) * GRID - 0.5
        dot = 200 * np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 3**2))
        pictures.append(np.repeat(dot[..., None], 3, axis=-1))
    return np.array(pictures, np.float32)


def centre(picture):
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]]
    weight = picture[..., 0].astype(float)
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


def moved(parameters, joints, size):
    found, _ = apply(dots(joints), np.zeros((len(joints), 2, 3)), parameters, size)
    return np.array([centre(picture) for picture in found])


def apply(images, joints, parameters, size):
    images, joints = augment.apply(images, joints, parameters, size=size, swap=PAIR)
    return np.asarray(images), np.asarray(joints)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    size=st.sampled_from([64, 96, 112]),
    u=st.floats(0.35, 0.65),
    v=st.floats(0.35, 0.65),
)
def test_a_dot_lands_where_its_joint_goes(seed, size, u, v):
    ranges = Augmentation(flip=0.5, rotation=180, scale=0.3, shift=0.1)
    parameters = augment.draw(ranges, seed, 0, [0])
    joints = np.array([[[u, v, 1], [u, v, 1]]], np.float32)

    picture = moved(parameters, [(u, v)], size)[0]
    _, joint = apply(dots([(u, v)]), joints, parameters, size)

    np.testing.assert_allclose(picture, joint[0, 0, :2] * size - 0.5, atol=0.05)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"flip": [1]}, (0.7, 0.4)),
        ({"angle": [np.pi / 2]}, (0.6, 0.3)),  # clockwise: left goes up
        ({"scale": [2]}, (0.1, 0.3)),
        ({"shift": [[0.1, -0.2]]}, (0.4, 0.2)),
        ({"flip": [1], "angle": [np.pi / 2]}, (0.6, 0.7)),  # mirrored before turning
        ({"scale": [2], "shift": [[0.1, 0]]}, (0.2, 0.3)),  # shifted after growing
    ],
    ids=["flip", "rotation", "scale", "shift", "flip+rotation", "scale+shift"],
)
def test_joints_by_hand(change, expected):
    parameters = augment.identity(1)._replace(
        **{key: np.array(value, np.float32) for key, value in change.items()}
    )
    joints = np.array([[[0.3, 0.4, 1], [0.3, 0.4, 1]]], np.float32)

    _, found = apply(np.zeros((1, SIDE, SIDE, 3), np.float32), joints, parameters, GRID)

    np.testing.assert_allclose(found[0, 0, :2], expected, atol=1e-6)


def test_flip_swaps_right_and_left():
    joints = np.array([[[0.2, 0.1, 1], [0.9, 0.3, 1]]] * 2, np.float32)
    parameters = augment.identity(2)._replace(flip=np.array([1, 0], np.float32))

    _, found = apply(np.zeros((2, SIDE, SIDE, 3), np.float32), joints, parameters, GRID)

    np.testing.assert_allclose(found[0], [[0.1, 0.3, 1], [0.8, 0.1, 1]], atol=1e-6)
    np.testing.assert_allclose(found[1], joints[1], atol=1e-6)


def test_unannotated_joints_stay_zero():
    joints = np.array([[[0.2, 0.1, 1], [0, 0, 0]]], np.float32)
    parameters = augment.identity(1)._replace(
        flip=np.ones(1, np.float32), shift=np.full((1, 2), 0.3, np.float32)
    )

    _, found = apply(np.zeros((1, SIDE, SIDE, 3), np.float32), joints, parameters, GRID)

    np.testing.assert_array_equal(found[0, 0], [0, 0, 0])  # its partner was missing
    np.testing.assert_allclose(found[0, 1], [1.1, 0.4, 1], atol=1e-6)


def test_identity_is_the_central_slice_to_the_bit():
    images = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)

    found, _ = apply(images, np.zeros((2, 2, 3)), augment.identity(2), GRID)

    np.testing.assert_array_equal(found, central_slice(images, GRID))


def test_surroundings_come_in_instead_of_black():
    images = np.full((1, SIDE, SIDE, 3), 99, np.uint8)
    parameters = augment.identity(1)._replace(scale=np.array([0.67], np.float32))

    found, _ = apply(images, np.zeros((1, 2, 3)), parameters, GRID)

    np.testing.assert_allclose(found, 99, atol=0.01)


def test_color_by_hand():
    images = np.zeros((1, SIDE, SIDE, 3), np.uint8) + np.array([10, 100, 250], np.uint8)
    parameters = augment.identity(1)._replace(
        gain=np.array([[2.0, 1.0, 1.1]], np.float32), offset=np.array([-5], np.float32)
    )

    found, _ = apply(images, np.zeros((1, 2, 3)), parameters, GRID)

    np.testing.assert_allclose(found[0, 5, 5], [15, 95, 255], atol=1e-3)


def test_cutout_hides_the_rectangle():
    parameters = augment.identity(1)._replace(
        cutout=np.array([[0.25, 0.5, 0.5, 1.0]], np.float32),
        cutout_color=np.array([[1, 2, 3]], np.float32),
    )

    found, _ = apply(
        np.full((1, SIDE, SIDE, 3), 50, np.uint8),
        np.zeros((1, 2, 3)),
        parameters,
        8 * 4,
    )

    hidden = np.zeros((32, 32), bool)
    hidden[16:, 8:16] = True
    np.testing.assert_array_equal(found[0][hidden], [[1, 2, 3]] * hidden.sum())
    np.testing.assert_allclose(found[0][~hidden], 50, atol=1e-3)


RANGES = Augmentation(0.5, 30, 0.5, 0.1, 0.3, 0.5, 0.5, 0.5, "rooms")


def test_numbers_belong_to_the_sample_not_to_the_batch():
    together = augment.draw(RANGES, 7, 3, [5, 11, 2])
    alone = augment.draw(RANGES, 7, 3, [11])

    for several, one in zip(together, alone, strict=True):
        np.testing.assert_array_equal(several[1:2], one)


def test_new_looks_leave_the_other_numbers_as_they_were():
    with_looks = augment.draw(RANGES, 7, 3, [5, 11])
    without = augment.draw(Augmentation(0.5, 30, 0.5, 0.1, 0.3, 0.5), 7, 3, [5, 11])

    assert without[8:] == (None,) * 5
    for one, other in zip(with_looks[:8], without[:8], strict=True):
        np.testing.assert_array_equal(one, other)
    # As version 0 drew them.
    assert without.angle[0] == np.float32(-0.35606623)


@pytest.mark.parametrize(
    "other", [(8, 3, [5]), (7, 4, [5]), (7, 3, [6])], ids=["seed", "epoch", "sample"]
)
def test_numbers_change_with(other):
    first = augment.draw(RANGES, 7, 3, [5])
    second = augment.draw(RANGES, *other)

    assert first.angle != second.angle
    assert (first.shift != second.shift).all()


def test_ranges_are_kept():
    drawn = augment.draw(RANGES, 0, 0, range(4000))

    assert np.abs(drawn.angle).max() == pytest.approx(np.deg2rad(30), rel=0.01)
    assert drawn.scale.min() == pytest.approx(2**-0.5, rel=0.01)
    assert drawn.scale.max() == pytest.approx(2**0.5, rel=0.01)
    assert np.abs(drawn.shift).max() == pytest.approx(0.1, rel=0.01)
    assert drawn.flip.mean() == pytest.approx(0.5, abs=0.03)
    width = drawn.cutout[:, 2] - drawn.cutout[:, 0]
    assert (width > 0).mean() == pytest.approx(0.5, abs=0.03)
    assert width.max() == pytest.approx(0.35, rel=0.01)
    assert drawn.dressed.mean() == pytest.approx(0.5, abs=0.03)
    assert drawn.moved.mean() == pytest.approx(0.5, abs=0.03)
    assert drawn.clothes.min() == pytest.approx(15, abs=1)
    assert drawn.clothes.max() == pytest.approx(235, abs=1)
    shirts = (drawn.clothes[:, 0] == drawn.clothes[:, 1]).all(axis=-1)
    assert shirts.mean() == pytest.approx(0.5, abs=0.03)
    sleeves, trousers = drawn.lengths.T
    assert (sleeves <= 1).mean() == pytest.approx(0.5, abs=0.03)
    assert (trousers <= 1).mean() == pytest.approx(0.3, abs=0.03)
    assert 0.5 <= drawn.lengths.min() < 0.51
    assert drawn.lengths.max() == np.float32(1.9)
    assert 0 <= drawn.room.min() < drawn.room.max() < 1


def test_the_13_joints_swap_by_name():
    joints = np.random.default_rng(0).uniform(0.2, 0.8, (1, 13, 3)).astype(np.float32)
    joints[..., 2] = 1
    parameters = augment.identity(1)._replace(flip=np.ones(1, np.float32))
    _, found = augment.apply(
        np.zeros((1, SIDE, SIDE, 3), np.float32),
        joints,
        parameters,
        size=GRID,
        swap=BODY_13.swap,
    )
    right, left = (BODY_13.names.index(f"{side}_wrist") for side in ("right", "left"))

    np.testing.assert_allclose(
        np.asarray(found)[0, right, 0], 1 - joints[0, left, 0], atol=1e-6
    )
