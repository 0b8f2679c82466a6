"""Calibration: curves, their fit and their error by hand."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpose import confidence
from kpose.confidence import Curve, calibrate, fit, flip_raw, reliability

TORSO = (0, 1)


class TestCurve:
    def test_is_linear_between_knots_and_flat_beyond(self):
        curve = Curve([0.2, 0.4, 0.8], [0.1, 0.5, 0.9])

        found = curve(np.array([[0.0, 0.2, 0.3], [0.4, 0.7, 1.0]]))

        np.testing.assert_allclose(found, [[0.1, 0.1, 0.3], [0.5, 0.8, 0.9]], atol=1e-6)
        assert found.dtype == np.float32

    def test_comes_from_the_card_as_json(self):
        card = {"confidence": {"flip_test": {"raw": [0, 1], "probability": [0.2, 0.7]}}}

        curve = confidence.flip_curve(json.loads(json.dumps(card)))

        assert curve == ([0, 1], [0.2, 0.7])
        assert confidence.is_calibrated(card)

    @pytest.mark.parametrize(
        "card", [{}, {"confidence": {"one_pass": None, "flip_test": None}}]
    )
    def test_of_a_model_that_is_not_calibrated_is_none(self, card):
        assert confidence.flip_curve(card) is None
        assert not confidence.is_calibrated(card)


class TestReliability:
    def test_by_hand(self):
        found = reliability([0.05, 0.31, 0.39, 0.95, 1.0], [0, 1, 0, 1, 1])

        assert found.count.tolist() == [1, 0, 0, 2, 0, 0, 0, 0, 0, 2]
        np.testing.assert_allclose(found.confidence[[0, 3, 9]], [0.05, 0.35, 0.975])
        np.testing.assert_allclose(found.accuracy[[0, 3, 9]], [0, 0.5, 1])
        assert np.isnan(found.accuracy[1]) and np.isnan(found.confidence[1])
        # One keypoint is 0.05 off, two 0.15, two 0.025.
        assert found.error == pytest.approx((0.05 + 2 * 0.15 + 2 * 0.025) / 5)

    def test_over_and_under_confidence_do_not_cancel_between_bins(self):
        found = reliability([0.2, 0.8], [1, 0])

        assert found.error == pytest.approx(0.8)

    def test_of_nothing_has_no_error(self):
        assert np.isnan(reliability([], []).error)

    def test_a_nan_is_no_confidence(self):
        found = reliability([np.nan, 0.95], [False, True])

        assert found.count[0] == found.count[9] == 1
        assert found.error == pytest.approx(0.025)


class TestFit:
    def test_bins_are_means_and_shares(self):
        raw = np.repeat([0.1, 0.3, 0.6], 10)
        correct = np.concatenate([np.arange(10) < n for n in (2, 5, 9)])
        shuffled = np.random.default_rng(0).permutation(30)

        found = fit(raw[shuffled], correct[shuffled])

        # 2, 5 and 9 of 10, and one more of each kind.
        assert found == ([0.1, 0.3, 0.6], [0.25, 0.5, 0.83333])

    def test_a_falling_share_is_pooled(self):
        raw = np.repeat([0.1, 0.3, 0.6, 0.7], 10)
        correct = np.concatenate([np.arange(10) < n for n in (2, 8, 4, 9)])

        # 9 / 12 and 5 / 12 meet at 7 / 12.
        assert fit(raw, correct).probability == [0.25, 0.58333, 0.58333, 0.83333]

    def test_it_falls_where_less_is_better(self):
        raw = np.repeat([0.1, 0.3, 0.6], 10)
        correct = np.concatenate([np.arange(10) < n for n in (9, 5, 2)])

        falling = fit(raw, correct, increasing=False)
        assert falling == ([0.1, 0.3, 0.6], [0.83333, 0.5, 0.25])
        assert fit(raw, correct).probability == pytest.approx([19 / 36] * 3, abs=1e-5)

    def test_equal_numbers_are_one_knot(self):
        raw = np.concatenate([np.zeros(30), np.ones(10)])
        correct = np.concatenate([np.arange(30) < 6, np.ones(10)])

        assert fit(raw, correct) == ([0, 1], [0.21875, 0.91667])

    def test_numbers_that_are_none_are_left_out(self):
        raw = np.concatenate([np.repeat([0.1, 0.3], 10), np.full(10, np.nan)])
        correct = np.concatenate([np.arange(10) < n for n in (2, 5, 10)])

        assert fit(raw, correct) == ([0.1, 0.3], [0.25, 0.5])

    @pytest.mark.parametrize("raw", [np.arange(19), np.full(100, 0.5), []])
    def test_too_little_gives_no_curve(self, raw):
        assert fit(raw, np.ones(len(raw))) is None

    def test_it_finds_the_probabilities_that_drew_the_data(self):
        random = np.random.default_rng(3)
        raw = random.uniform(0, 0.5, 20000)

        found = fit(raw, random.uniform(size=20000) < (2 * raw) ** 2)

        assert len(found.raw) == confidence.KNOTS
        middle = np.linspace(0.05, 0.45, 9)
        np.testing.assert_allclose(found(middle), (2 * middle) ** 2, atol=0.04)

    @given(
        st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=20, max_size=200),
        st.booleans(),
    )
    def test_it_is_a_monotone_probability(self, pairs, increasing):
        raw, correct = zip(*pairs, strict=True)

        found = fit(raw, correct, increasing)

        if found is not None:
            assert np.all(np.diff(found.raw) > 0)
            steps = np.diff(found.probability)
            assert np.all(steps >= 0 if increasing else steps <= 0)
            assert 0 < min(found.probability) <= max(found.probability) < 1


class TestFlipRaw:
    def points(self, *shift):
        """A pose with the corners (0, 0) and (0.3, 0.4): a diagonal of 0.5."""
        pose = np.array([[[0.0, 0.0], [0.3, 0.4], [0.1, 0.2]]], np.float32)
        return pose + np.array(shift, np.float32).reshape(1, -1, 2)

    def test_two_confidences_are_averaged(self):
        first = self.points(0, 0), np.float32([[0.2, 0.4, 1.0]])
        second = self.points(0.3, 0.3), np.float32([[0.6, 0.4, 0.0]])

        np.testing.assert_allclose(flip_raw(first, second), [[0.4, 0.4, 0.5]])

    def test_distances_are_relative_to_the_pose(self):
        first = self.points(0, 0), None
        second = self.points(0, 0, 0, 0, 0.03, 0.04), None

        np.testing.assert_allclose(flip_raw(first, second), [[0, 0, 0.1]], atol=1e-6)
        smaller = [(answer[0] / 3, None) for answer in (first, second)]
        np.testing.assert_allclose(flip_raw(*smaller), [[0, 0, 0.1]], atol=1e-6)

    def test_a_pose_of_one_point_is_no_division_by_zero(self):
        first = np.full((1, 3, 2), 0.25, np.float32), None
        second = np.full((1, 3, 2), 0.75, np.float32), None

        assert flip_raw(first, second).min() > 1e5


def people(count, seed=0):
    """Persons of 13 joints with a torso of 0.5, and answers whose error is known.

    Returns joints, keypoints and raw confidences; joint j of confidence c lies within
    0.2 torso with probability 2c.
    """
    random = np.random.default_rng(seed)
    joints = np.ones((count, 13, 3), np.float32)
    joints[..., :2] = random.uniform(0.2, 0.8, (count, 13, 2))
    joints[:, 0, :2], joints[:, 1, :2] = (0.25, 0.25), (0.25, 0.75)
    raw = random.uniform(0, 0.5, (count, 13)).astype(np.float32)
    keypoints = joints[..., :2].copy()
    keypoints[..., 0] += np.where(random.uniform(size=raw.shape) < 2 * raw, 0.05, 0.15)
    return joints, keypoints, raw


class TestCalibrate:
    def test_both_curves_of_a_head_with_confidence(self):
        joints, keypoints, raw = people(400)
        answer = keypoints, raw

        found = calibrate(joints, answer, answer, TORSO, np.arange(400))

        one, flip = found["one_pass"], found["flip_test"]
        assert (one["persons"], one["joints"]) == (400, 5200)
        np.testing.assert_allclose(
            one["probability"], 2 * np.array(one["raw"]), atol=0.08
        )
        # Both answers are equal, so that the second curve has nothing left to do.
        np.testing.assert_allclose(flip["probability"], flip["raw"], atol=0.03)
        assert 0 < one["ece"] < 0.03
        assert 0 < flip["ece"] < 0.03
        assert json.loads(json.dumps(found, allow_nan=False)) == found

    def test_the_flip_test_is_fitted_on_the_averaged_keypoints(self):
        joints, keypoints, raw = people(100)
        other = 2 * joints[..., :2] - keypoints  # wrong by as much on the other side

        found = calibrate(joints, (keypoints, raw), (other, raw), TORSO, np.arange(100))

        assert min(found["flip_test"]["probability"]) > 0.98
        assert min(found["one_pass"]["probability"]) < 0.2

    def test_regression_has_a_curve_over_the_disagreement_only(self):
        joints, keypoints, raw = people(400)
        # As far apart as unlikely to be right, to both sides of the same mean.
        apart = np.stack([np.zeros_like(raw), 0.1 * (0.5 - raw)], axis=-1)

        found = calibrate(
            joints,
            (keypoints + apart, None),
            (keypoints - apart, None),
            TORSO,
            np.arange(400),
        )

        assert found["one_pass"] is None
        flip = found["flip_test"]
        assert flip["probability"][0] > 0.9 > 0.2 > flip["probability"][-1]
        assert np.all(np.diff(flip["probability"]) <= 0)

    def test_unannotated_joints_and_persons_without_torso_are_left_out(self):
        joints, keypoints, raw = people(200)
        joints[:20, TORSO[1]] = 0
        joints[20:60, 5] = 0
        keypoints[:20], keypoints[20:60, 5] = 9, 9  # they would be wrong
        raw[:20], raw[20:60, 5] = 0.9, 0.9

        found = calibrate(joints, (keypoints, raw), (keypoints, raw), TORSO, range(200))

        one = found["one_pass"]
        assert (one["persons"], one["joints"]) == (180, 180 * 13 - 40)
        assert one["raw"][-1] < 0.5

    def test_the_error_is_measured_on_other_groups(self):
        """Half of the groups are sure and wrong: in-sample it would look fine."""
        joints, keypoints, raw = people(200)
        groups = np.repeat([f"g{i:02}" for i in range(20)], 10)
        wrong = np.isin(groups, np.unique(groups)[::2])
        keypoints[wrong] += 1
        keypoints[~wrong] = joints[~wrong, :, :2]

        found = calibrate(joints, (keypoints, raw), (keypoints, raw), TORSO, groups)

        assert found["one_pass"]["ece"] > 0.95

    def test_few_joints_have_a_curve_without_error_or_none(self):
        joints, keypoints, raw = people(2)
        answer = keypoints, raw

        few = calibrate(joints, answer, answer, TORSO, ["a", "b"])
        none = calibrate(joints, answer, answer, (2, 2), ["a", "b"])

        assert few["one_pass"]["joints"] == 26
        assert few["one_pass"]["ece"] is None
        assert (none["one_pass"], none["flip_test"]) == (None, None)

    def test_a_network_without_any_idea_is_not_calibrated(self):
        joints, keypoints, raw = people(30)  # 15 bins of 26
        keypoints += 1  # never right: the first curve is flat, no second one fits
        answer = keypoints, raw

        found = calibrate(joints, answer, answer, TORSO, np.arange(30))

        assert (found["one_pass"], found["flip_test"]) == (None, None)
