import keras
import numpy as np
import pytest
import tensorflow as tf

from kpose.joints import BODY_13
from kpose.metrics import (
    PCK,
    PixelError,
    area_under_curve,
    correct,
    errors,
    pck_by_group,
    pckh_by_group,
    torso_lengths,
    within,
)

TORSO = (0, 1)  # of the three-joint persons below
GROUPS = {"trunk": (0, 1), "hand": (2,)}


def person(hand=(0.5, 0.25, 1), shoulder=(0.25, 0.25, 1), hip=(0.25, 0.75, 1)):
    """A torso 0.5 long, so that the threshold 0.25 is exactly 0.125."""
    return [shoulder, hip, hand]


def moved(joints, index, dx, dy=0.0):
    keypoints = np.asarray(joints, np.float32)[..., :2].copy()
    keypoints[..., index, :] += [dx, dy]
    return keypoints


def test_errors_are_euclidean_and_zero_where_unannotated():
    joints = np.array([person(), person(hand=(np.nan, np.nan, 0))], np.float32)
    keypoints = np.array([person(), person()], np.float32)[..., :2] + [0.03, 0.04]

    found = np.asarray(errors(joints, keypoints))

    np.testing.assert_allclose(found[0], 0.05, rtol=1e-5)
    np.testing.assert_allclose(found[1, :2], 0.05, rtol=1e-5)
    assert found[1, 2] == 0


@pytest.mark.parametrize(
    ("shoulder", "hip", "expected"),
    [
        ((0.1, 0.1, 1), (0.4, 0.5, 1), 0.5),
        ((0.1, 0.1, 0), (0.4, 0.5, 1), 0),
        ((0.1, 0.1, 1), (np.nan, np.nan, 0), 0),
        ((0.1, 0.1, 1), (0.1, 0.1, 1), 0),
    ],
    ids=["3-4-5", "no shoulder", "no hip", "no distance"],
)
def test_torso_lengths(shoulder, hip, expected):
    joints = np.array([person(shoulder=shoulder, hip=hip)], np.float32)

    np.testing.assert_allclose(torso_lengths(joints, TORSO), [expected], rtol=1e-6)


@pytest.mark.parametrize(
    ("dx", "expected"),
    [(0.125, True), (-0.125, True), (0.125 + 2**-20, False), (np.nan, False)],
    ids=["at", "at, other side", "just beyond", "nan"],
)
def test_a_distance_equal_to_the_threshold_is_correct(dx, expected):
    joints = np.array([person()], np.float32)

    good, counted = correct(joints, moved(joints, 2, dx), TORSO, threshold=0.25)

    assert np.asarray(good).tolist() == [[True, True, expected]]
    assert np.asarray(counted).all()


def test_both_axes_count():
    joints = np.array([person()], np.float32)

    good, _ = correct(joints, moved(joints, 2, 0.1, 0.1), TORSO, threshold=0.25)

    assert not good[0, 2]  # 0.1414 away although each axis is within 0.125


def test_persons_without_a_torso_and_unannotated_joints_do_not_count():
    joints = np.array(
        [
            person(shoulder=(0, 0, 0)),
            person(shoulder=(0.25, 0.75, 1)),
            person(hand=(0, 0, 0)),
        ],
        np.float32,
    )

    good, counted = correct(joints, joints[..., :2], TORSO)

    expected = [[False] * 3, [False] * 3, [True, True, False]]
    assert np.asarray(counted).tolist() == expected
    assert np.asarray(good).tolist() == expected


def test_groups_and_all_are_correct_over_annotated_keypoints():
    joints = np.array(
        [person(), person(), person(), person(hand=(0, 0, 0))], np.float32
    )
    keypoints = joints[..., :2].copy()
    keypoints[0, 2] += 0.5
    keypoints[1, 2] += 0.5
    keypoints[2, 0] += 0.5

    found = pck_by_group(joints, keypoints, TORSO, GROUPS)

    # 8 correct of 11 annotated; the mean of the groups would be 60.4.
    assert found == pytest.approx(
        {"all": 100 * 8 / 11, "trunk": 100 * 7 / 8, "hand": 100 / 3}
    )


def test_a_group_that_nobody_has_is_nan():
    joints = np.array([person(hand=(0, 0, 0))], np.float32)

    found = pck_by_group(joints, joints[..., :2], TORSO, GROUPS)

    assert found["all"] == 100 and np.isnan(found["hand"])


def test_all_reproduces_the_papers_table_5():
    # The pre-trained network on 2000 pictures: its seven groups give its All, 63.1.
    row = {
        "head": 84.2,
        "wrist": 41.6,
        "elbow": 60.5,
        "shoulder": 76.9,
        "hip": 72.8,
        "knee": 62.6,
        "ankle": 53.7,
    }
    rng = np.random.default_rng(5)
    joints = np.ones((1000, 13, 3), np.float32)
    joints[..., :2] = rng.uniform(0.1, 0.9, (1000, 13, 2))
    joints[:, BODY_13.torso[0], :2] = 0.25
    joints[:, BODY_13.torso[1], :2] = 0.75
    keypoints = joints[..., :2].copy()
    for group, percent in row.items():
        for index in BODY_13.groups[group]:
            keypoints[round(10 * percent) :, index] += 0.5

    found = pck_by_group(joints, keypoints, BODY_13.torso, BODY_13.groups)

    assert found.pop("all") == pytest.approx(63.1, abs=0.05)
    assert found == pytest.approx(row)


@pytest.mark.parametrize(
    ("dx", "expected"),
    [(0.125, True), (0.125 + 2**-20, False), (np.nan, False)],
    ids=["at", "just beyond", "nan"],
)
def test_half_a_head_size_is_correct(dx, expected):
    joints = np.array([person()], np.float32)

    good, counted = within(joints, moved(joints, 2, dx), [0.25], 0.5)

    assert np.asarray(good).tolist() == [[True, True, expected]]
    assert np.asarray(counted).all()


def test_pckh_counts_persons_with_a_head_size_and_needs_no_torso():
    joints = np.array(
        [
            person(),
            person(),
            person(shoulder=(0, 0, 0)),
            person(hand=(0, 0, 0)),
        ],
        np.float32,
    )
    keypoints = joints[..., :2].copy()
    keypoints[0, 0] += [0, 0.25]  # just near enough
    keypoints[0, 2] += [0.3, 0]
    keypoints[1] += 0.3  # no head size: none of its joints counts
    keypoints[2, 2] += [0.3, 0]
    keypoints[3, 0] += [0.3, 0]

    found = pckh_by_group(joints, keypoints, [0.5, 0, 0.75, 0.5], GROUPS)

    # Each person has its own limit: 0.25, none, 0.375, 0.25.
    assert found == pytest.approx(
        {"all": 100 * 5 / 7, "trunk": 100 * 4 / 5, "hand": 100 * 1 / 2}
    )


def test_a_group_without_a_head_size_is_nan():
    joints = np.array([person(hand=(0, 0, 0)), person()], np.float32)

    found = pckh_by_group(joints, joints[..., :2], [0.1, 0], GROUPS)

    assert found["trunk"] == 100 and np.isnan(found["hand"])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([100] * 51, 100),
        # From the 26th of 50 equal parts on, and half of the one before it.
        ([0] * 25 + [100] * 26, 51),
        (np.linspace(0, 100, 51), 50),
        ([0] * 50 + [100], 1),
        ([np.nan] * 51, np.nan),
    ],
    ids=["full", "step", "ramp", "last", "nan"],
)
def test_area_under_curve(values, expected):
    found = area_under_curve(np.arange(51) / 100, values)

    assert found == pytest.approx(expected, nan_ok=True)


def some(persons, seed=3):
    rng = np.random.default_rng(seed)
    joints = rng.uniform(0, 1, (persons, 13, 3)).astype(np.float32)
    joints[..., 2] = rng.uniform(size=(persons, 13)) < 0.8
    keypoints = joints[..., :2] + rng.normal(0, 0.1, (persons, 13, 2))
    return joints, keypoints.astype(np.float32)


@pytest.mark.parametrize(
    "indices", [None, BODY_13.groups["wrist"]], ids=["all", "wrist"]
)
def test_pck_over_batches_equals_one_shot(indices):
    joints, keypoints = some(50)
    metric = PCK(BODY_13.torso, joints=indices)

    for start in range(0, 50, 16):
        metric.update_state(joints[start : start + 16], keypoints[start : start + 16])

    expected = pck_by_group(joints, keypoints, BODY_13.torso, BODY_13.groups)
    assert 0 < expected["all"] < 100
    assert float(metric.result()) == pytest.approx(
        expected["all" if indices is None else "wrist"], rel=1e-6
    )


def test_pixel_error_over_batches_equals_one_shot():
    joints, keypoints = some(50)
    streaming, at_once = PixelError(), PixelError()

    for start in range(0, 50, 16):
        streaming.update_state(
            joints[start : start + 16], keypoints[start : start + 16]
        )
    at_once.update_state(joints, keypoints)

    np.testing.assert_allclose(streaming.result(), at_once.result(), rtol=1e-6)


def test_pixel_error_by_hand():
    joints = np.array([person(), person(hand=(np.nan, np.nan, 0))], np.float32)
    keypoints = np.array([person(), person()], np.float32)[..., :2]
    keypoints[0, 2] += [0.375, 0.5]  # 0.625 of a crop
    keypoints[1, 2] += 9

    metric = PixelError()
    metric.update_state(joints, keypoints)

    # Five annotated joints, one of them 0.625 * 224 = 140 pixels off.
    assert float(metric.result()) == pytest.approx(28)


def test_persons_without_a_torso_have_a_pixel_error():
    joints = np.array([person(shoulder=(0, 0, 0))], np.float32)

    metric = PixelError()
    metric.update_state(joints, moved(joints, 2, 0.5))

    assert float(metric.result()) == pytest.approx(56)  # 112 over two joints


@pytest.mark.parametrize(
    "metric",
    [PCK(TORSO, threshold=0.1, joints=(2,), name="hand"), PixelError()],
    ids=["pck", "pixel_error"],
)
def test_metrics_reset_and_survive_saving(metric):
    joints = np.array([person()], np.float32)
    assert float(metric.result()) == 0
    metric.update_state(joints, moved(joints, 2, 0.01))
    assert float(metric.result()) > 0

    again = keras.metrics.deserialize(keras.metrics.serialize(metric))
    metric.reset_state()

    assert float(metric.result()) == 0
    assert type(again) is type(metric)
    assert again.get_config() == metric.get_config()
    assert float(again.result()) == 0


@pytest.mark.parametrize("kind", [lambda: PCK(BODY_13.torso), PixelError])
def test_metrics_work_in_a_graph(kind):
    joints, keypoints = some(8)
    eager, traced = kind(), kind()
    eager.update_state(joints, keypoints)

    tf.function(traced.update_state)(tf.constant(joints), tf.constant(keypoints))

    np.testing.assert_allclose(traced.result(), eager.result(), rtol=1e-6)
