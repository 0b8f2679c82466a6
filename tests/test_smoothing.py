import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpose.smoothing import BETA, MAX_GAP_MS, MIN_CUTOFF, OneEuro

SIZE = 200.0


def motion(time_ms):
    """A wrist that waves: 60 pixels left and right, once a second."""
    t = time_ms / 1000
    return np.array([[100 + 60 * np.sin(2 * np.pi * t), 50 + 20 * np.cos(4 * t)]])


def path(times, points=motion, size=SIZE):
    smooth = OneEuro()
    return np.array([smooth(points(t), t, size)[0] for t in times])


def test_the_first_measurement_comes_back_and_is_not_changed_in_place():
    points = np.array([[3.0, 4.0], [5.0, 6.0]])
    smooth = OneEuro()

    first = smooth(points, 1000.0, SIZE)
    first += 100  # what the caller does with the answer must not matter
    second = smooth(points, 1040.0, SIZE)

    np.testing.assert_array_equal(points, [[3, 4], [5, 6]])
    np.testing.assert_allclose(second, points)


def test_a_joint_at_rest_forgets_an_error_at_the_lowest_cutoff():
    """By hand: a step of 1 pixel over 1 ms, then rest."""
    smooth = OneEuro()
    smooth(np.array([[0.0, 0.0]]), 0.0, 1e9)  # so large that speed counts as nothing
    smooth(np.array([[1.0, 0.0]]), 1.0, 1e9)
    after = smooth(np.array([[1.0, 0.0]]), 101.0, 1e9)

    # The step ends within 0.7 % of where it began, then decays over 100 ms.
    tau = 1 / (2 * np.pi * MIN_CUTOFF)
    assert 1 - after[0, 0] == pytest.approx(np.exp(-0.1 / tau), rel=0.01)
    assert after[0, 1] == 0


def test_a_steady_motion_is_followed_with_the_lag_of_its_speed():
    """After a while the answer is the ramp, 1 / (2 pi cutoff) late."""
    speed = 0.4 * SIZE  # pixels per second

    def ramp(t):
        return np.array([[speed * t / 1000, 0.0]])

    times = np.arange(0, 4000, 20.0)
    lag_ms = times[-1] - path(times, ramp)[-1, 0] / speed * 1000

    assert lag_ms == pytest.approx(1000 / (2 * np.pi * (MIN_CUTOFF + BETA * 0.4)))


def test_the_path_does_not_depend_on_how_often_a_motion_is_measured():
    """30 frames per second and 15 to 55 ms at random, against 240 per second.

    Tolerance: 1.5 pixels of a motion 120 wide. A filter that goes by frame count is
    three times as far off where the frames are irregular.
    """
    size = 1000.0  # a motion that is slow for the person, so that the filter works
    fine = np.arange(0, 3000, 1000 / 240)
    reference = path(fine, size=size)
    gaps = np.random.default_rng(0).uniform(15, 55, 80)
    regular = np.arange(0, 3000, 100 / 3)
    irregular = np.concatenate([[0], gaps.cumsum()])

    for times in (regular, irregular):
        there = np.stack([np.interp(times, fine, xy) for xy in reference.T], axis=1)
        off = np.linalg.norm(path(times, size=size) - there, axis=1)
        assert off.max() < 1.5

    counter = OneEuro()
    counting = [
        counter(motion(t), 100 / 3 * i, size)[0] for i, t in enumerate(irregular)
    ]
    assert np.linalg.norm(counting - there, axis=1).max() > 4


def test_noise_of_a_joint_at_rest_shrinks():
    noise = np.random.default_rng(0).normal(0, 1, (300, 1, 2))
    smooth = OneEuro()

    answers = [smooth(n, 33.0 * i, SIZE) for i, n in enumerate(noise)]

    assert np.std(answers) < 0.6 * np.std(noise)


@pytest.mark.parametrize("gap", [MAX_GAP_MS + 1, 0.0, -40.0])
def test_it_starts_again_after_a_gap_or_a_step_back_in_time(gap):
    smooth = OneEuro()
    smooth(np.array([[0.0, 0.0]]), 1000.0, SIZE)

    after = smooth(np.array([[90.0, 9.0]]), 1000.0 + gap, SIZE)

    np.testing.assert_array_equal(after, [[90, 9]])


def test_a_gap_that_is_just_short_enough_is_smoothed():
    smooth = OneEuro()
    smooth(np.array([[0.0, 0.0]]), 1000.0, SIZE)

    after = smooth(np.array([[90.0, 9.0]]), 1000.0 + MAX_GAP_MS, SIZE)

    assert 0 < after[0, 0] < 90


def test_an_unknown_joint_stays_unknown_and_starts_again_alone():
    smooth = OneEuro()
    smooth(np.array([[0.0, 0.0], [7.0, 7.0]]), 0.0, SIZE)
    missing = smooth(np.array([[np.nan, np.nan], [7.0, 7.0]]), 40.0, SIZE)
    back = smooth(np.array([[30.0, 30.0], [7.0, 7.0]]), 80.0, SIZE)
    then = smooth(np.array([[60.0, 30.0], [7.0, 7.0]]), 120.0, SIZE)

    assert np.isnan(missing[0]).all()
    np.testing.assert_allclose([missing[1], back[1]], [[7, 7]] * 2)
    np.testing.assert_allclose(back[0], [30, 30])
    assert 30 < then[0, 0] < 60


@given(factor=st.floats(0.1, 10), step=st.floats(5, 200))
def test_resolution_does_not_change_what_is_smoothed(factor, step):
    times = np.arange(0, 1000, step)
    small, large = OneEuro(), OneEuro()

    for t in times:
        one = small(motion(t), t, SIZE)
        other = large(motion(t) * factor, t, SIZE * factor)

    np.testing.assert_allclose(other, one * factor, rtol=1e-9)
