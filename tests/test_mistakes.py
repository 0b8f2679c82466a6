"""Planted mistakes, and what is judged a mistake, on made-up poses and answers."""

import numpy as np
import pytest

from kpose import mistakes
from kpose.joints import BODY_13, COCO_17, Skeleton
from kpose.mistakes import Answers

STANDING = np.array(
    [
        (0.50, 0.10),
        (0.42, 0.25),
        (0.36, 0.38),
        (0.32, 0.50),
        (0.58, 0.25),
        (0.64, 0.38),
        (0.68, 0.50),
        (0.45, 0.55),
        (0.44, 0.72),
        (0.43, 0.90),
        (0.55, 0.55),
        (0.56, 0.72),
        (0.57, 0.90),
    ]
)
"""Someone who faces the camera, crop units."""

WRIST = BODY_13.names.index("left_wrist")


def people(count, seed=0, noise=0.01):
    """Labels that are right, and answers of one network in four passes."""
    generator = np.random.default_rng(seed)
    poses = STANDING + generator.normal(0, 0.03, (count, 13, 2))
    joints = np.ones((count, 13, 3), np.float32)
    joints[..., :2] = poses
    places = poses[:, None] + generator.normal(0, noise, (count, 4, 13, 2))
    return joints, Answers(places, generator.uniform(0.5, 0.9, (count, 4, 13)))


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(mistakes, "PLANTED", 2000)
    monkeypatch.setattr(mistakes, "FOLDS", 2)


def test_arms_and_legs_are_found_from_the_limbs():
    for skeleton in (BODY_13, COCO_17):
        names = [
            {skeleton.names[at].split("_")[1] for at in part}
            for part in mistakes.parts(skeleton)
        ]
        assert names == [{"shoulder", "elbow", "wrist"}, {"hip", "knee", "ankle"}]
        assert [len(part) for part in mistakes.parts(skeleton)] == [6, 6]
    assert mistakes.parts(Skeleton(("head", "tail"), (("head", "tail"),))) == []


def test_planted_mistakes_are_told():
    joints, _ = people(400)
    torso = mistakes.torso_lengths(joints, BODY_13)

    planted = mistakes.plant(joints, torso, BODY_13, np.random.default_rng(3))

    whole = (planted.joints == joints[:, list(BODY_13.swap)]).all(axis=(1, 2))
    assert 0.15 < whole.mean() < 0.35
    assert (whole <= planted.swapped).all() and planted.swapped.sum() > whole.sum()
    assert 0.35 < planted.moved.any(axis=1).mean() < 0.55
    assert not (planted.swapped & planted.moved.any(axis=1)).any()
    step = np.hypot(*(planted.joints - joints)[planted.moved][:, :2].T)
    lengths = step / torso[planted.moved.any(axis=1)]
    assert lengths.min() >= 0.44 and lengths.max() <= 1.06
    untouched = ~planted.swapped & ~planted.moved.any(axis=1)
    np.testing.assert_array_equal(planted.joints[untouched], joints[untouched])


def test_a_joint_that_is_not_annotated_is_not_moved():
    joints, _ = people(200)
    joints[:, 1:] = 0

    planted = mistakes.plant(
        joints, np.ones(200), BODY_13, np.random.default_rng(0), (0, 0, 1)
    )

    assert planted.moved[:, 0].all() and not planted.moved[:, 1:].any()
    assert not planted.joints[:, 1:].any()


def test_torso_lengths_where_it_is_foreshortened_or_unknown():
    joints, _ = people(9)
    joints[..., :2] = STANDING
    whole = np.hypot(0.13, 0.30)  # right shoulder to left hip
    joints[1, BODY_13.torso[0], 2] = 0
    joints[2, BODY_13.torso[0], :2] = joints[2, BODY_13.torso[1], :2]

    lengths = mistakes.torso_lengths(joints, BODY_13)

    np.testing.assert_allclose(lengths[0], whole, rtol=1e-5)
    np.testing.assert_allclose(lengths[1], whole, rtol=0.1)
    np.testing.assert_allclose(lengths[2], whole / 3, rtol=0.1)


@pytest.mark.parametrize("count", [40, 320], ids=["by rule", "learned"])
def test_a_swapped_person_and_a_moved_joint_come_first(count):
    joints, answers = people(count)
    joints[7] = joints[7, list(BODY_13.swap)]
    joints[11, WRIST, :2] += (0.2, -0.1)  # 0.7 torso lengths

    verdict = mistakes.judge(joints, [answers], BODY_13)

    assert verdict.learned == (count == 320)
    assert set(np.argsort(-verdict.score)[:2].tolist()) == {7, 11}
    assert verdict.swap.argmax() == 7 and verdict.swap[11] < 0.5
    assert verdict.joint[11].argmax() == WRIST
    others = np.delete(verdict.score, [7, 11])
    assert verdict.score[[7, 11]].min() > 0.2 > 4 * np.median(others)


@pytest.mark.parametrize("count", [40, 320], ids=["by rule", "learned"])
def test_joints_that_lack_are_not_suspected(count):
    joints, answers = people(count)
    joints[3, 7:] = 0  # legs
    joints[4, 1:] = 0  # all but the head
    joints[5, ::2] = 0
    joints[: count // 4, 9] = 0
    joints[11, WRIST, :2] += (0.2, -0.1)

    verdict = mistakes.judge(joints, [answers], BODY_13)

    assert np.isfinite(verdict.score).all()
    assert not verdict.joint[joints[..., 2] == 0].any()
    assert verdict.score[[3, 4, 5]].max() < verdict.score[11]
    assert verdict.score.argmax() == 11


def test_what_a_network_always_misses_says_little():
    joints, answers = people(320)
    places = answers.places.copy()
    noise = np.random.default_rng(5).normal(0, 0.08, (320, 1, 2))
    places[:, :, 3] += noise  # the right wrist, alike in all passes
    places[:, :, 9] += (0.1, 0)  # an ankle that it sees elsewhere
    joints[11, WRIST, :2] += (0.2, -0.1)

    verdict = mistakes.judge(
        joints, [Answers(places, answers.confidence)], BODY_13, seed=1
    )

    assert verdict.score.argmax() == 11
    assert np.median(verdict.joint[:, 9]) < 0.01


def test_two_networks_and_another_skeleton():
    joints = np.ones((320, 17, 3), np.float32)
    generator = np.random.default_rng(0)
    place = generator.uniform(0, 1, (17, 2))
    joints[..., :2] = place + generator.normal(0, 0.03, (320, 17, 2))
    joints[2] = joints[2, list(COCO_17.swap)]
    truth = joints[..., :2].copy()
    truth[2] = truth[2, list(COCO_17.swap)]
    answers = [
        Answers(
            truth[:, None] + generator.normal(0, 0.01, (320, 2, 17, 2)),
            np.full((320, 2, 17), 0.7),
        )
        for _ in range(2)
    ]

    verdict = mistakes.judge(joints, answers, COCO_17)

    assert verdict.score.argmax() == 2
    np.testing.assert_allclose(mistakes.consensus(answers), truth, atol=0.05)


def test_a_seed_gives_one_verdict():
    joints, answers = people(300, noise=0.05)

    first, second, other = (
        mistakes.judge(joints, [answers], BODY_13, seed) for seed in (1, 1, 2)
    )

    np.testing.assert_allclose(first.score, second.score, rtol=1e-4)
    assert np.abs(first.score - other.score).max() > 1e-3
