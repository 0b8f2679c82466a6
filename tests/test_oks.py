import numpy as np
import pytest
from pycocotools.cocoeval import Params

from kpose.joints import BODY_13, COCO_17
from kpose.oks import SIGMAS, average_precision

HEAD = BODY_13.names.index("head")
WRIST = BODY_13.names.index("left_wrist")
AREA = 0.25


def people(count, *annotated):
    """Persons in the middle of their crop, with only these joints annotated."""
    joints = np.zeros((count, 13, 3), np.float32)
    joints[:, list(annotated)] = 0.5, 0.5, 1
    return joints


def distance(oks, sigma=0.062, area=AREA):
    """How far off a joint is whose exp(-d^2 / (2 s^2 k^2)), k = 2 sigma, is ``oks``."""
    return float(np.sqrt(-2 * area * (2 * sigma) ** 2 * np.log(oks)))


def test_the_sigmas_are_cocos():
    published = Params(iouType="keypoints").kpt_oks_sigmas

    ours = np.zeros(17)
    for group, indices in COCO_17.groups.items():
        ours[list(indices)] = SIGMAS[group]

    np.testing.assert_allclose(ours, published, rtol=1e-12)


@pytest.mark.parametrize(
    ("oks", "expected"),
    [
        (0.49, (0, 0, 0)),
        (0.62, (30, 100, 0)),
        (0.73, (50, 100, 0)),
        (0.77, (60, 100, 100)),
    ],
    ids=["wrong", "0.50 to 0.60", "0.50 to 0.70", "0.50 to 0.75"],
)
def test_one_joint_by_hand(oks, expected):
    joints = people(1, WRIST)
    keypoints = joints[..., :2].copy()
    keypoints[0, WRIST, 1] += distance(oks)

    found = average_precision(joints, keypoints, [AREA], BODY_13)

    assert found == (*map(pytest.approx, expected), 1)


def test_pixels_and_crop_units_give_the_same():
    joints = people(1, WRIST)
    keypoints = joints[..., :2].copy()
    keypoints[0, WRIST, 0] -= distance(0.62)

    found = average_precision(
        joints * [400, 400, 1], keypoints * 400, [AREA * 400**2], BODY_13
    )

    assert found.ap == pytest.approx(30)


def test_every_joint_has_its_own_sigma():
    hip = BODY_13.names.index("right_hip")
    joints = people(2, hip)
    keypoints = joints[..., :2].copy()
    keypoints[0, hip, 0] += distance(0.51, sigma=0.107)
    keypoints[1, hip, 0] += distance(0.49, sigma=0.107)

    found = average_precision(joints[:1], keypoints[:1], [AREA], BODY_13)

    assert found.ap50 == pytest.approx(100)
    assert average_precision(joints[1:], keypoints[1:], [AREA], BODY_13).ap50 == 0


def test_oks_is_the_mean_over_annotated_joints():
    ankle = BODY_13.names.index("right_ankle")
    joints = people(1, WRIST, ankle)
    keypoints = np.full((1, 13, 2), 9.0)
    keypoints[0, [WRIST, ankle]] = 0.5
    keypoints[0, WRIST, 0] += distance(0.3)

    # (1 + 0.3) / 2 = 0.65: only what is annotated counts.
    found = average_precision(joints, keypoints, [AREA], BODY_13)

    assert found.ap == pytest.approx(40) and found.ap75 == 0


def test_the_head_is_not_compared():
    joints = people(1, WRIST, HEAD)
    keypoints = joints[..., :2].copy()
    keypoints[0, HEAD] += 1

    found = average_precision(joints, keypoints, [AREA], BODY_13)

    assert found.ap == pytest.approx(100)


@pytest.mark.parametrize(
    ("right", "expected"),
    # One of two is found, and 51 of the 101 recalls are at most a half.
    [(0.9, 100 * 51 / 101), (0.1, 50 * 51 / 101)],
    ids=["the surer one", "the other one"],
)
def test_the_score_is_the_mean_confidence(right, expected):
    joints = people(2, WRIST)
    keypoints = joints[..., :2].copy()
    keypoints[0] += 1
    confidence = np.full((2, 13), 0.5)
    confidence[1, 1:] = right
    confidence[:, HEAD] = 12, 0  # not compared

    found = average_precision(joints, keypoints, [AREA] * 2, BODY_13, confidence)

    assert found.ap == found.ap50 == found.ap75 == pytest.approx(expected)


def test_an_answer_meets_only_its_own_person():
    joints = people(2, WRIST)
    joints[1, WRIST, 0] = 0.9
    keypoints = joints[::-1, :, :2]

    assert average_precision(joints, keypoints, [AREA] * 2, BODY_13).ap == 0


@pytest.mark.parametrize("wrong", [np.nan, 1e9], ids=["nan", "far"])
def test_what_is_wrong_is_counted_whatever_it_is(wrong):
    joints = people(2, WRIST)
    keypoints = joints[..., :2].copy()
    keypoints[0] = wrong

    # Ignored instead of wrong it would leave a precision of 1.
    found = average_precision(joints, keypoints, [AREA] * 2, BODY_13)

    assert found.ap50 == pytest.approx(50 * 51 / 101)


def test_persons_without_an_area_or_a_joint_are_left_out():
    joints = people(4, WRIST)
    joints[2] = people(1, HEAD)[0]
    joints[3, HEAD] = np.nan, np.nan, 0
    keypoints = joints[..., :2].copy()
    keypoints[1:3] += 1

    found = average_precision(joints, keypoints, [AREA, 0, AREA, AREA], BODY_13)

    assert found == (*[pytest.approx(100)] * 3, 2)
    assert average_precision(joints, keypoints, np.zeros(4), BODY_13) is None
    assert average_precision(joints[:0], keypoints[:0], [], BODY_13) is None


def test_nothing_is_printed(capfd):
    joints = people(1, WRIST)

    average_precision(joints, joints[..., :2], [AREA], BODY_13)

    assert capfd.readouterr() == ("", "")
