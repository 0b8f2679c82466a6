import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpose import faults
from kpose.faults import (
    BONE_LENGTH,
    GOOD,
    INFERRED,
    OUTSIDE,
    REASONS,
    SPEED,
    SWAPPED,
    UNTRACKED,
)
from kpose.joints import BODY_13

NAMES = {name: index for index, name in enumerate(BODY_13.names)}
WRIST, KNEE = NAMES["right_wrist"], NAMES["left_knee"]

STANDING = np.array(
    [
        [200, 100],  # head; a trunk of 60 pixels
        [179, 130],
        [172, 165],
        [168, 196],
        [221, 130],
        [228, 165],
        [232, 196],
        [187, 190],
        [185, 242],
        [184, 293],
        [213, 190],
        [215, 242],
        [216, 293],
    ],
    float,
)
TRUNK = 60.0


def standing(frames):
    return np.repeat(STANDING[None], frames, axis=0)


def find(points, states=None, seconds=None, size=None, **options):
    if states is None:
        states = np.full(points.shape[:2], 2, np.int8)
    if seconds is None:
        seconds = np.arange(len(points)) / 30
    return faults.find(points, states, seconds, size, **options)


def expected(frames, *marks):
    """All good, but for ``(frames, joints, reason)``."""
    reasons = np.zeros((frames, 13), np.int8)
    for rows, joints, reason in marks:
        reasons[np.ix_(np.atleast_1d(rows), np.atleast_1d(joints))] = reason
    return reasons


def check(points, *marks, **options):
    answer = find(points, **options)
    assert answer.dtype == np.int8
    np.testing.assert_array_equal(answer, expected(len(points), *marks))


def test_the_reasons_are_those_that_others_count():
    assert REASONS == (
        "good",
        "untracked",
        "inferred",
        "outside",
        "swapped",
        "speed",
        "bone_length",
    )
    assert REASONS[BONE_LENGTH] == "bone_length"


@pytest.mark.parametrize("frames", [0, 1, 2, 3, 40])
def test_a_person_who_stands_still_has_no_faults(frames):
    check(standing(frames))


@pytest.mark.parametrize("joint", range(13))
def test_one_jump_of_a_still_person(joint):
    points = standing(40)
    points[20, joint] += [0.3 * TRUNK, 0.2 * TRUNK]

    check(points, (20, joint, SPEED))


@pytest.mark.parametrize("first, count", [(0, 1), (0, 3), (37, 3), (39, 1), (12, 8)])
def test_a_burst_at_the_start_at_the_end_and_between(first, count):
    points = standing(40)
    points[first : first + count, WRIST] -= [0.4 * TRUNK, 0.0]

    check(points, (np.arange(first, first + count), WRIST, SPEED))


def test_two_bursts_of_two_joints_at_once():
    points = standing(60)
    points[20:26, WRIST, 1] -= 0.5 * TRUNK
    points[23:30, KNEE, 0] += 0.4 * TRUNK

    check(points, (np.arange(20, 26), WRIST, SPEED), (np.arange(23, 30), KNEE, SPEED))


@pytest.mark.parametrize("pair", faults.PAIRS.tolist())
@pytest.mark.parametrize("count", [1, 5, 40])
def test_left_and_right_exchanged(pair, count):
    points = standing(120)
    points[60 : 60 + count, pair] = points[60 : 60 + count, pair[::-1]]

    check(points, (np.arange(60, 60 + count), pair, SWAPPED))


def test_all_pairs_exchanged_for_a_while():
    points = standing(120)
    points[100:] = points[100:, list(BODY_13.swap)]

    check(points, (np.arange(100, 120), np.arange(1, 13), SWAPPED))


def test_hands_that_cross_are_not_exchanged():
    """In the middle they lie upon each other and go on as they came."""
    points = standing(40)
    way = np.linspace(-1, 1, 40)
    points[:, WRIST] = np.outer(way, [60, 0]) + np.array([200, 170])
    points[:, NAMES["left_wrist"]] = np.outer(way, [-60, 0]) + np.array([200, 170])

    # Forearms are longer than that: only what is exchanged is asked for.
    assert not (find(points) == SWAPPED).any()


def test_a_body_that_turns_around_is_not_exchanged():
    points = standing(60)
    turn = np.cos(np.linspace(0, np.pi, 60))
    points[..., 0] = 200 + turn[:, None] * (points[..., 0] - 200)

    check(points)


def after_a_gap(frames):
    """Times with a gap in the middle, over which a joint may go anywhere."""
    seconds = np.arange(frames) / 30
    seconds[frames // 2 :] += 5
    return seconds


def test_a_limb_too_long_for_seconds():
    points = standing(120)
    points[60:, WRIST, 1] += 0.8 * TRUNK

    check(points, (np.arange(60, 120), WRIST, BONE_LENGTH), seconds=after_a_gap(120))


def test_a_wrong_place_for_seconds_costs_a_few_frames_about_its_beginning():
    """Whether the joint jumped or moved in 5 frames, nothing but the limb tells."""
    points = standing(120)
    points[60:, WRIST, 1] += 0.8 * TRUNK

    answer = find(points)

    assert (answer[:, np.arange(13) != WRIST] == GOOD).all()
    assert (answer[:55, WRIST] == GOOD).all()
    assert (answer[60:, WRIST] != GOOD).all()
    assert (answer[65:, WRIST] == BONE_LENGTH).all()


def test_the_joint_between_two_long_limbs_is_the_wrong_one():
    points = standing(120)
    elbow = NAMES["right_elbow"]
    points[60:, elbow, 0] -= 1.5 * TRUNK

    check(points, (np.arange(60, 120), elbow, BONE_LENGTH), seconds=after_a_gap(120))


def test_a_limb_too_long_from_beginning_to_end():
    """The recording's own length of it is no measure then."""
    points = standing(50)
    points[:, WRIST, 1] += 1.0 * TRUNK

    check(points, (np.arange(50), WRIST, BONE_LENGTH))


def test_a_single_frame_knows_bones_only():
    points = standing(1)
    points[0, WRIST, 1] += 1.0 * TRUNK

    check(points, (0, WRIST, BONE_LENGTH))


def test_out_of_the_frame_by_half_a_pixel():
    points = standing(10) - [0, 100.5]  # pixel 0 reaches from -0.5 to 0.5
    points[4, 0, 1] = -0.51
    points[5, NAMES["left_ankle"], 1] = 193.51

    marks = (4, 0, OUTSIDE), (5, NAMES["left_ankle"], OUTSIDE)
    check(points, *marks, size=(400, 194))
    check(points)


def test_states_nan_infinities_and_zero_zero():
    points = standing(12)
    states = np.full((12, 13), 2, np.int8)
    points[1, 3] = np.nan
    points[2, 3] = np.inf
    points[3, 3] = [5, -np.inf]
    points[4, 3] = 0
    states[5, 3] = 0
    states[6, 3] = 1
    points[7, 3] = np.nan
    states[7, 3] = 1
    points[8, 3] = [500, 100]
    states[8, 3] = 1
    points[9, 3] = [500, 100]

    check(
        points,
        ([1, 2, 3, 4, 5, 7], 3, UNTRACKED),
        ([6, 8], 3, INFERRED),
        (9, 3, OUTSIDE),
        states=states,
        size=(400, 400),
    )


def test_kept_inferred_joints_are_judged_like_others():
    points = standing(40)
    states = np.full((40, 13), 2, np.int8)
    states[10:30, WRIST] = 1
    points[15:18, WRIST, 0] -= 0.5 * TRUNK

    check(points, (np.arange(10, 30), WRIST, INFERRED), states=states)
    check(
        points,
        (np.arange(15, 18), WRIST, SPEED),
        states=states,
        keep_inferred=True,
    )


def test_a_track_of_nothing():
    points = np.full((5, 13, 2), np.nan)

    check(points, (np.arange(5), np.arange(13), UNTRACKED))


def test_a_single_joint_has_no_length_to_compare_with():
    points = np.full((30, 13, 2), np.nan)
    points[:, 0] = [[x, 50] for x in np.random.default_rng(0).uniform(0, 400, 30)]

    check(points, (np.arange(30), np.arange(1, 13), UNTRACKED))


def test_a_person_who_walks_up_to_the_camera():
    """Twice as large at the end, and still measured by the trunk of that time."""
    size = np.linspace(1, 2, 90)[:, None, None]
    points = 300 + size * (standing(90) - 200)
    points[80, WRIST, 0] -= 0.5 * 2 * TRUNK

    check(points, (80, WRIST, SPEED))


def test_a_fast_wave_is_kept():
    """3 times per second, 0.3 m either way: 5.7 m/s in the middle."""
    points = standing(90)
    points[:, WRIST] = [150, 140]
    points[:, WRIST, 0] += 0.3 * 2 * TRUNK * np.sin(6 * np.pi * np.arange(90) / 30)

    assert not (find(points) == SPEED).any()


def test_pictures_that_were_not_stored_are_no_jump_of_the_body():
    points = standing(60)
    points[30:] += [40, 5]
    points[30:33, WRIST] += [30, 30]

    check(points, (np.arange(30, 33), WRIST, SPEED))


def test_after_a_gap_a_hand_may_be_anywhere():
    points = standing(40)
    points[20:, WRIST] = [150, 140]
    seconds = np.arange(40) / 30
    seconds[20:] += 2

    check(points, seconds=seconds)


@pytest.mark.parametrize("step", [0.2, 0.4])
def test_few_frames_per_second_tell_little(step):
    rng = np.random.default_rng(1)
    points = standing(50)
    points[:, WRIST] = rng.uniform([152, 145], [192, 185], (50, 2))
    points[30, NAMES["left_wrist"], 1] += 1.2 * TRUNK

    check(
        points,
        (30, NAMES["left_wrist"], BONE_LENGTH),
        seconds=np.arange(50) * step,
    )


def test_two_frames_with_the_same_time_stamp():
    points = standing(40) + np.random.default_rng(2).normal(0, 0.5, (40, 13, 2))
    seconds = np.arange(40) / 30
    seconds[11] = seconds[10]

    answer = find(points, seconds=seconds)

    assert (answer == GOOD).all()


def test_arguments_are_not_changed():
    points = standing(30)
    points[10, WRIST] += 50
    points[20:22, [2, 5]] = points[20:22, [5, 2]]
    before = points.copy()

    find(points, size=(400, 400))

    np.testing.assert_array_equal(points, before)


def bad_track(seed):
    """A person who sways, with noise and one fault of each sort."""
    rng = np.random.default_rng(seed)
    points = standing(70) + rng.normal(0, 0.6, (70, 13, 2))
    points += 8 * np.sin(np.arange(70) / 15)[:, None, None]
    joints = rng.permutation(13)
    points[10:14, joints[0]] += [30, -20]
    points[30:37, joints[1]] -= [25, 25]
    pair = faults.PAIRS[rng.integers(6)]
    points[50:55, pair] = points[50:55, pair[::-1]]
    return points


@settings(max_examples=15)
@given(
    seed=st.integers(0, 30),
    scale=st.floats(0.2, 8),
    shift=st.tuples(st.floats(-3000, 3000), st.floats(-3000, 3000)),
)
def test_place_and_size_do_not_matter(seed, scale, shift):
    points = bad_track(seed)

    answer = find(points)

    assert (answer[[10, 13, 30, 36]] == SPEED).any(axis=1).all()
    assert (answer[50:55] == SWAPPED).sum() == 10
    np.testing.assert_array_equal(find(scale * points + shift), answer)


@settings(max_examples=15)
@given(seed=st.integers(0, 100))
def test_a_mirrored_picture_has_the_mirrored_faults(seed):
    points = bad_track(seed)
    mirrored = points[:, list(BODY_13.swap)] * [-1, 1] + [399, 0]

    np.testing.assert_array_equal(find(mirrored), find(points)[:, list(BODY_13.swap)])


@settings(max_examples=15)
@given(seed=st.integers(0, 100))
def test_backwards_in_time_the_faults_are_the_same(seed):
    points = bad_track(seed)

    np.testing.assert_array_equal(find(points[::-1]), find(points)[::-1])
