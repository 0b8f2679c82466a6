"""Which joints of a teacher are believed, on answers made by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpose import agreement
from kpose.agreement import Answer, Judge
from kpose.joints import BODY_13

SIZE = (200, 300)
TORSO = 50.0


def pose(dx=0.0, dy=0.0):
    """Return 13 points; right shoulder (70, 80) to left hip (100, 120) is 50."""
    at = BODY_13.names.index
    points = np.stack([np.linspace(60, 110, 13), np.linspace(50, 250, 13)], axis=1)
    points[at("right_shoulder")] = 70, 80
    points[at("left_hip")] = 100, 120
    return points + np.array([dx, dy])


def answer(plain=None, mirrored=None, confidence=1.0, **more):
    plain = pose() if plain is None else plain
    mirrored = plain.copy() if mirrored is None else mirrored
    return Answer(plain, mirrored, np.full(13, float(confidence)), SIZE, **more)


NOWHERE = np.full((13, 2), np.nan)


def moved(joint, torsos):
    points = pose()
    points[BODY_13.names.index(joint), 0] += torsos * TORSO
    return points


def names(mask):
    return [name for name, value in zip(BODY_13.names, mask, strict=True) if value]


@pytest.mark.parametrize(("torsos", "masked"), [(0.19, []), (0.3, ["left_wrist"])])
def test_a_joint_of_the_mirrored_answer_that_is_off_is_masked(torsos, masked):
    judged = agreement.judge(answer(mirrored=moved("left_wrist", torsos)), NOWHERE)

    assert judged.verdict == agreement.KEPT
    assert names(~judged.agreed) == masked


@pytest.mark.parametrize(("torsos", "masked"), [(0.19, []), (0.21, ["head"])])
def test_a_joint_that_is_not_on_its_path_is_masked(torsos, masked):
    judged = agreement.judge(answer(), moved("head", torsos))

    assert names(~judged.agreed) == masked


def test_a_torso_that_disagrees_drops_the_frame():
    judged = agreement.judge(answer(mirrored=moved("left_hip", 0.3)), NOWHERE)

    assert judged.verdict == agreement.DISAGREES


@pytest.mark.parametrize(
    ("count", "verdict"), [(5, agreement.KEPT), (6, agreement.DISAGREES)]
)
def test_eight_joints_are_enough_and_seven_are_not(count, verdict):
    mirrored = pose()
    torso = set(BODY_13.torso)
    for at in [at for at in range(13) if at not in torso][:count]:
        mirrored[at] += TORSO

    judged = agreement.judge(answer(mirrored=mirrored), NOWHERE)

    assert judged.verdict == verdict and judged.agreed.sum() == 13 - count


def test_guesses_and_places_outside_the_picture_are_not_believed():
    confidence = np.ones(13)
    confidence[BODY_13.names.index("left_ankle")] = 0.19
    points = pose()
    points[BODY_13.names.index("right_ankle")] = 199.6, 100  # the last pixel is 199

    judged = agreement.judge(Answer(points, points, confidence, SIZE), NOWHERE)

    assert names(~judged.agreed) == ["right_ankle", "left_ankle"]


def test_reasons_tell_nobody_from_somebody_who_is_cut_off():
    assert agreement.judge(None, NOWHERE).verdict == agreement.NOBODY
    unsure = agreement.judge(answer(confidence=0.1), NOWHERE)
    assert unsure.verdict == agreement.NOBODY
    below = agreement.judge(answer(pose(dy=170)), NOWHERE)  # hips and legs outside
    assert below.verdict == agreement.TOO_FEW
    silent = agreement.judge(answer(confidence=np.nan), NOWHERE)
    assert silent.verdict == agreement.KEPT  # no confidence forbids nothing


def test_without_mirrored_answer_neighbours_must_agree():
    alone = Answer(pose(), None, np.ones(13), SIZE)

    assert agreement.judge(alone, NOWHERE).verdict == agreement.DISAGREES
    assert agreement.judge(alone, pose()).agreed.all()
    smoothed = pose()
    smoothed[0] = np.nan  # the head has no neighbours
    assert names(~agreement.judge(alone, smoothed).agreed) == ["head"]


def track(frames):
    """Return a pose that moves on a parabola: (frames, 13, 2), and its times."""
    steps = np.arange(frames, dtype=float)
    points = np.stack([pose(3 * t, 0.5 * t * t) for t in steps])
    return points, steps * 40


def test_a_parabola_is_its_own_smoothing():
    points, times = track(9)

    for at in (0, 1, 4, 8):
        smoothed = agreement.smooth(points, times, at)
        # At the ends a straight line through four frames is fitted.
        tolerance = 0.2 * TORSO if at in (0, 8) else 0.01
        np.testing.assert_allclose(smoothed, points[at], atol=tolerance)


def test_a_jump_changes_neither_its_place_nor_its_neighbours():
    points, times = track(9)
    true = points.copy()
    points[4, 0, 0] += 0.3 * TORSO

    for at in range(9):
        off = np.linalg.norm(agreement.smooth(points, times, at) - true[at], axis=1)
        assert off[0] < 0.05 * TORSO if at in range(1, 8) else off[0] < 0.2 * TORSO


def test_far_neighbours_and_single_ones_say_nothing():
    points, times = track(3)

    assert np.isnan(agreement.smooth(points[:2], times[:2], 0)).all()
    slow = times * 10  # 400 ms apart
    assert np.isnan(agreement.smooth(points, slow, 1)).all()
    assert np.isfinite(agreement.smooth(points, times, 1)).all()


@given(st.integers(0, 12), st.floats(0.5, 4))
def test_smoothing_does_not_depend_on_the_size_of_the_picture(joint, scale):
    points, times = track(7)
    points[3, joint] += 20.0

    once = agreement.smooth(points, times, 3)
    scaled = agreement.smooth(points * scale, times, 3)

    np.testing.assert_allclose(scaled, once * scale, rtol=1e-5)


def judged(frames):
    """Return what comes of ``(time, answer)`` frames, in order."""
    judge, came = Judge(), []
    for number, (time, one) in enumerate(frames):
        came += judge.push(number, time, one)
    return came + list(judge.rest())


def test_frames_come_back_in_order_each_once_and_three_late():
    judge = Judge()

    late = [list(judge.push(n, 40 * n, answer())) for n in range(10)]

    assert [[item for item, _ in one] for one in late] == [[], [], []] + [
        [n] for n in range(7)
    ]
    assert [item for item, _ in judge.rest()] == [7, 8, 9]


def test_a_teacher_that_says_the_same_wrong_thing_mirrored_is_found_by_its_neighbours():
    frames = [(40 * n, answer()) for n in range(9)]
    wrong = moved("right_wrist", 0.5)
    frames[4] = (160, answer(wrong, wrong.copy()))

    came = judged(frames)

    masked = [names(~one.agreed) for _, one in came]
    assert masked == [[]] * 4 + [["right_wrist"]] + [[]] * 4


def test_another_person_is_no_neighbour():
    frames = [(40 * n, answer(pose(30.0 * (n % 2)), person=n % 2)) for n in range(9)]

    assert all(one.agreed.all() for _, one in judged(frames))
    mixed = [(t, a._replace(person=0)) for t, a in frames]
    assert not all(one.agreed.all() for _, one in judged(mixed))


def test_frames_without_somebody_are_no_neighbours():
    frames = [(40 * n, answer() if n != 2 else None) for n in range(5)]

    verdicts = [one.verdict for _, one in judged(frames)]

    assert verdicts == [agreement.KEPT] * 2 + [agreement.NOBODY] + [agreement.KEPT] * 2
