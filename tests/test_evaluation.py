import dataclasses
import json

import numpy as np
import pytest

from kpose import evaluation, images
from kpose.confidence import Curve
from kpose.errors import InputError
from kpose.evaluation import (
    BEST,
    CURVE,
    WORST,
    evaluate,
    group_table,
    other_table,
    score,
    table,
    with_baseline,
)
from kpose.joints import BODY_13, COCO_17, Skeleton
from kpose.records import BadRecord, ImageRef, PersonRecord
from kpose.runtime import Prediction

ROWS = list(BODY_13.names)
SHOULDER, HIP = BODY_13.torso


def truth(persons, seed=0):
    """Complete persons with a torso of exactly 0.5 crop units."""
    rng = np.random.default_rng(seed)
    joints = np.ones((persons, 13, 3), np.float32)
    joints[..., :2] = rng.uniform(0.2, 0.8, (persons, 13, 2))
    joints[:, SHOULDER, :2] = 0.25, 0.25
    joints[:, HIP, :2] = 0.25, 0.75
    return joints


class Fake:
    """Answers from a list of keypoints; the crops say which by their first pixel."""

    skeleton = BODY_13
    flip_curve = None

    def __init__(self, keypoints, confidence=None):
        self.keypoints = np.asarray(keypoints, np.float32)
        self.confidence = confidence
        self.calls = []

    def predict(self, crops):
        self.calls.append(crops)
        # Red is the person's number; the left column tells a crop from its mirror.
        numbers = crops[..., 0].max(axis=(1, 2)).astype(int)
        confidence = None if self.confidence is None else self.confidence[numbers]
        return Prediction(self.keypoints[numbers], confidence)


def batches(joints, size=4):
    for start in range(0, len(joints), size):
        part = joints[start : start + size]
        crops = np.zeros((len(part), 8, 8, 3), np.uint8)
        crops[:, :, 0, 0] = np.arange(start, start + len(part))[:, None]
        yield crops, part


def test_a_perfect_model_has_full_scores_over_uneven_batches():
    joints = truth(10)

    found = evaluate(Fake(joints[..., :2]), batches(joints), flip_test=False)

    assert found.persons == 10 and found.excluded_no_torso == 0
    assert found.pixel_error == 0
    assert set(found.pck) == {"all", *BODY_13.groups}
    assert set(found.pck.values()) == {100.0}
    assert found.mean_pose is None


def test_scores_by_hand():
    joints = truth(4)
    joints[3, SHOULDER] = 0  # no torso: out of PCK, in the pixel error
    keypoints = joints[..., :2].copy()
    wrist, ankle = ROWS.index("left_wrist"), ROWS.index("right_ankle")
    keypoints[0, wrist, 0] += 0.25  # half a torso
    keypoints[1, ankle, 1] += 0.0625  # an eighth of a torso
    keypoints[3, wrist] += 10

    found = evaluate(Fake(keypoints), batches(joints, 3), flip_test=False)

    assert (found.persons, found.excluded_no_torso) == (4, 1)
    assert found.pck["all"] == pytest.approx(100 * 38 / 39)
    assert found.pck["wrist"] == pytest.approx(100 * 5 / 6)
    assert found.pck["ankle"] == 100
    # 224 px are one crop unit; 13 * 3 + 12 joints are annotated.
    pixels = 224 * (0.25 + 0.0625 + 10 * 2**0.5) / 51
    assert found.pixel_error == pytest.approx(pixels, rel=1e-6)
    assert found.to_json()["pck@0.1"]["ankle"] == pytest.approx(100 * 5 / 6, abs=1e-3)


def test_the_curve_steps_where_the_joint_is():
    joints = truth(1)
    keypoints = joints[..., :2].copy()
    keypoints[0, ROWS.index("head"), 0] += 0.125  # a quarter of a torso

    curve = score(joints, keypoints, BODY_13).curve

    assert CURVE[0] == 0 and CURVE[-1] == 0.5 and len(CURVE) == 51
    np.testing.assert_array_equal(curve["head"], np.where(CURVE >= 0.25, 100, 0))
    np.testing.assert_array_equal(curve["hip"], 100)
    np.testing.assert_allclose(
        curve["all"], np.where(CURVE >= 0.25, 100, 100 * 12 / 13)
    )


def test_the_curve_passes_through_the_scores():
    joints = truth(30)
    keypoints = joints[..., :2] + np.random.default_rng(1).normal(0, 0.08, (30, 13, 2))

    found = score(joints, keypoints, BODY_13)

    at = {name: values[20] for name, values in found.curve.items()}
    assert 10 < at["all"] < 90
    assert at == pytest.approx(found.pck)


def test_the_area_under_the_curve_by_group():
    joints = truth(2)
    joints[:, ROWS.index("right_knee")] = joints[:, ROWS.index("left_knee")] = 0
    keypoints = joints[..., :2].copy()
    keypoints[:, ROWS.index("head"), 0] += 0.125  # a quarter of a torso
    keypoints[:, ROWS.index("left_hip"), 0] += 1

    found = score(joints, keypoints, BODY_13)

    # Of 50 parts the last 25 are full and the one before them is half full.
    assert found.auc["head"] == pytest.approx(51)
    assert found.auc["hip"] == pytest.approx(50)
    assert found.auc["all"] == pytest.approx((51 + 9 * 100) / 11)
    assert np.isnan(found.auc["knee"])
    assert found.to_json()["auc"]["knee"] is None


def sized(persons=4):
    """Persons of whom the first two have a head size and the last two an area.

    A third of the head size of the first and all of that of the second is how far off
    their heads are; the last one is wholly wrong.
    """
    joints = truth(persons)
    keypoints = joints[..., :2].copy()
    keypoints[0, ROWS.index("head"), 0] += 0.0625
    keypoints[1, ROWS.index("head"), 0] += 0.25
    keypoints[3] += 1
    return joints, keypoints, [0.1875, 0.25, 0, 0], [0, 0, 0.2, 0.2]


def test_head_sizes_and_areas_that_grow_with_the_batches():
    joints, keypoints, heads, areas = sized()
    head_sizes, grown = [], []

    def growing():
        for start, batch in enumerate(batches(joints, 1)):
            head_sizes.append(heads[start])
            grown.append(areas[start])
            yield batch

    found = evaluate(
        Fake(keypoints),
        growing(),
        flip_test=False,
        mean_pose=joints[0, :, :2],
        head_sizes=head_sizes,
        areas=grown,
    )

    assert (found.excluded_no_head_size, found.excluded_no_area) == (2, 2)
    assert found.pckh["all"] == pytest.approx(100 * 25 / 26)
    assert (found.pckh["head"], found.pckh["wrist"]) == (50, 100)
    # One of two is right, before the wrong one: 51 of 101 recalls have precision 1.
    ap = 100 * 51 / 101
    assert found.oks_ap == (*[pytest.approx(ap)] * 3, 2)
    value = found.to_json()
    assert value["pckh@0.5"]["head"] == 50
    assert value["oks_ap"] == {
        **{name: round(ap, 3) for name in ("ap", "ap50", "ap75")},
        "persons": 2,
    }
    assert (value["excluded_no_head_size"], value["excluded_no_area"]) == (2, 2)
    # The mean pose is that of the first person, and is scored on the same ones.
    assert found.mean_pose.excluded_no_head_size == 2
    assert found.mean_pose.pckh["all"] >= 50
    assert found.mean_pose.oks_ap.persons == 2


def test_confidence_orders_the_answers_of_the_average_precision():
    joints, keypoints, _, areas = sized()
    confidence = np.full((4, 13), 0.5)
    confidence[3] = 0.9

    found = score(joints, keypoints, BODY_13, confidence, areas=areas)

    assert found.oks_ap.ap == pytest.approx(50 * 51 / 101)


@pytest.mark.parametrize("unknown", [0, np.nan, np.inf, -1])
def test_what_nobody_has_is_not_scored(unknown):
    joints = truth(2)

    found = score(
        joints,
        joints[..., :2],
        BODY_13,
        head_sizes=[unknown] * 2,
        areas=[unknown] * 2,
    )

    assert found.pckh is None and found.oks_ap is None
    assert (found.excluded_no_head_size, found.excluded_no_area) == (2, 2)
    value = found.to_json()
    assert value["pckh@0.5"] is None and value["oks_ap"] is None
    assert value["auc"]["all"] == 100


def test_flip_test_averages_with_the_mirrored_crop():
    joints = truth(1)
    joints[0, ROWS.index("left_wrist"), :2] = 0.75, 0.5
    answer = joints[0, :, :2].copy()
    mirrored = answer[list(BODY_13.swap)] * [-1, 1] + [1, 0]  # what a mirror shows
    mirrored[ROWS.index("right_wrist"), 0] += 0.125  # the left one, in the mirror

    class Model:
        skeleton = BODY_13
        flip_curve = None

        def predict(self, crops):
            flipped = crops[:, 0, 0, 0] == 0
            keypoints = np.where(flipped[:, None, None], mirrored, answer)
            return Prediction(keypoints.astype(np.float32), None)

    crops = np.zeros((1, 8, 8, 3), np.uint8)
    crops[:, :, 0] = 255  # bright at the left

    plain = evaluate(Model(), [(crops, joints)], flip_test=False)
    found = evaluate(Model(), [(crops, joints)], flip_test=True)

    assert plain.pixel_error == 0
    # The two answers for one of 13 joints are 0.125 apart: the mean is 0.0625 off.
    assert found.pixel_error == pytest.approx(224 * 0.0625 / 13, rel=1e-5)


def test_the_mean_pose_is_the_baseline():
    joints = truth(3)
    keypoints = joints[..., :2]

    found = evaluate(
        Fake(keypoints), batches(joints), flip_test=False, mean_pose=keypoints[1]
    )

    assert found.pck["all"] == 100
    expected = score(joints, np.stack([keypoints[1]] * 3), BODY_13)
    assert found.mean_pose.pck == expected.pck
    assert found.mean_pose.pixel_error == expected.pixel_error > 0


def test_best_and_worst_persons_are_found_over_batches():
    count = 40
    joints = truth(count)
    shift = np.random.default_rng(4).permutation(count) / 1000
    keypoints = joints[..., :2].copy()
    keypoints[..., 0] += shift[:, None]

    found = evaluate(Fake(keypoints), batches(joints, 7), flip_test=False)

    order = np.argsort(shift)
    assert [e.position for e in found.best] == order[:BEST].tolist()
    assert [e.position for e in found.worst] == order[::-1][:WORST].tolist()
    worst = found.worst[0]
    assert worst.error == pytest.approx(224 * 0.039, rel=1e-4)
    assert worst.image.max() == worst.position
    np.testing.assert_array_equal(worst.joints, joints[worst.position])
    np.testing.assert_array_equal(worst.keypoints, keypoints[worst.position])


@pytest.mark.parametrize(
    ("persons", "best", "worst"), [(1, [], [0]), (2, [0], [1]), (3, [0], [2, 1])]
)
def test_few_persons_are_best_or_worst_not_both(persons, best, worst):
    joints = truth(persons)
    keypoints = joints[..., :2] + np.arange(persons)[:, None, None] / 100

    found = evaluate(Fake(keypoints), batches(joints), flip_test=False)

    assert [e.position for e in found.best] == best
    assert [e.position for e in found.worst] == worst


def test_a_nan_prediction_is_wrong_and_the_worst():
    joints = truth(3)
    keypoints = joints[..., :2].copy()
    keypoints[1, 0] = np.nan

    found = evaluate(Fake(keypoints), batches(joints), flip_test=False)

    assert found.pck["head"] == pytest.approx(100 * 2 / 3)
    assert found.worst[0].position == 1
    assert found.to_json()["pixel_error"] is None


def test_json_has_the_promised_form():
    joints = truth(2)
    joints[:, ROWS.index("head")] = 0

    found = evaluate(
        Fake(joints[..., :2]),
        batches(joints),
        flip_test=False,
        mean_pose=np.full((13, 2), 0.5),
    ).to_json()

    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["pck@0.2"] == {
        "all": 100,
        "head": None,
        **{name: 100 for name in BODY_13.groups if name != "head"},
    }
    assert (found["pixel_error"], found["persons"]) == (0, 2)
    assert found["excluded_no_torso"] == 0
    assert set(found["mean_pose"]) == set(found) - {"mean_pose"}


def test_confidences_are_held_against_what_pck_counts():
    joints = truth(4)
    joints[3, SHOULDER] = 0  # no torso: not counted
    joints[0, ROWS.index("head")] = 0
    keypoints = joints[..., :2].copy()
    keypoints[1] += 1
    confidence = np.full((4, 13), 0.85, np.float32)
    confidence[1] = 0.35
    confidence[3] = 0.05

    found = evaluate(Fake(keypoints, confidence), batches(joints, 3), flip_test=False)

    assert found.reliability.count.tolist() == [0, 0, 0, 13, 0, 0, 0, 0, 25, 0]
    assert found.calibration_error == pytest.approx((13 * 0.35 + 25 * 0.15) / 38)
    value = found.to_json()
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    assert value["calibration_error"] == pytest.approx(0.2184)
    assert value["reliability"]["accuracy"][3] == 0
    assert value["reliability"]["accuracy"][8] == 1
    assert value["reliability"]["confidence"][8] == 0.85
    assert value["reliability"]["confidence"][0] is None


def test_the_flip_test_has_its_own_calibration():
    joints = truth(2)
    model = Fake(joints[..., :2], np.full((2, 13), 0.2, np.float32))
    model.flip_curve = Curve([0.1, 0.3], [0.5, 0.7])

    plain = evaluate(model, batches(joints), flip_test=False)
    flipped = evaluate(model, batches(joints), flip_test=True)

    assert np.nanmean(plain.reliability.confidence) == pytest.approx(0.2)
    assert np.nanmean(flipped.reliability.confidence) == pytest.approx(0.6)


def test_without_confidence_there_is_no_calibration_error():
    joints = truth(2)

    found = evaluate(Fake(joints[..., :2]), batches(joints), flip_test=False)

    assert found.reliability is None and found.calibration_error is None
    assert found.to_json()["calibration_error"] is None


def test_tables_are_in_the_order_of_table_5():
    joints = truth(2)
    joints[:, ROWS.index("head")] = 0
    scores = evaluate(
        Fake(joints[..., :2]),
        batches(joints),
        flip_test=False,
        mean_pose=np.full((13, 2), 9),
    )

    header, rows = table(with_baseline("compact", scores))

    assert header == [
        "PCK@0.2",
        "head",
        "wrist",
        "elbow",
        "shoulder",
        "hip",
        "knee",
        "ankle",
        "All",
        "px",
    ]
    assert rows[1] == ["compact", "-", *["100.0"] * 7, "0.0"]
    assert rows[0][:-1] == ["mean pose", "-", *["0.0"] * 7]


def test_the_other_metrics_have_a_table_of_their_own():
    joints, keypoints, heads, areas = sized()
    known = score(joints, keypoints, BODY_13, head_sizes=heads, areas=areas)
    unknown = score(joints, joints[..., :2], BODY_13)

    header, rows = other_table({"a": known, "b": unknown})

    assert header == ["other metrics", "AUC", "PCKh@0.5", "AP", "AP50", "AP75"]
    assert rows[0][2:] == ["96.2", "50.5", "50.5", "50.5"]
    assert rows[1] == ["b", "100.0", "-", "-", "-", "-"]


def test_auc_and_pckh_by_group_are_in_the_order_of_table_5():
    joints, keypoints, heads, _ = sized()
    known = score(joints, keypoints, BODY_13, head_sizes=heads)
    unknown = score(joints, joints[..., :2], BODY_13)

    header, rows = group_table({"a": known, "b": unknown})

    assert header == ["%", *evaluation.COLUMNS, "All"]
    assert [row[0] for row in rows] == ["AUC, a", "AUC, b", "PCKh@0.5, a"]
    assert rows[1][1:] == ["100.0"] * 8
    assert rows[2][1:] == ["50.0", *["100.0"] * 6, "96.2"]


def test_another_skeleton_keeps_its_own_groups_after_those_of_table_5():
    joints = np.ones((1, 17, 3), np.float32)
    joints[0, COCO_17.torso[0], :2] = 0.5
    scores = score(joints, joints[..., :2], COCO_17)

    header, _ = table({"m": scores})

    assert header[1:3] == ["wrist", "elbow"]
    assert header[-5:] == ["nose", "eye", "ear", "All", "px"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: evaluate(Fake([]), []), "at least one person"),
        (
            lambda: evaluate(Fake([]), [(np.zeros((1, 8, 8, 3)), np.ones((1, 17, 3)))]),
            r"\(persons, 13, 3\).*Received: \(1, 17, 3\)",
        ),
        (
            lambda: evaluation.constant(truth(1), np.zeros((17, 2)), BODY_13),
            r"shape \(13, 2\)\. Received: \(17, 2\)",
        ),
        (
            lambda: score(np.ones((1, 1, 3)), np.ones((1, 1, 2)), Skeleton(("a",), ())),
            "right_shoulder and left_hip",
        ),
        (
            lambda: score(truth(2), truth(2)[..., :2], BODY_13, head_sizes=[1]),
            r"head sizes must be 2, one per person\. Received: shape \(1,\)",
        ),
        (
            lambda: score(truth(2), truth(2)[..., :2], BODY_13, areas=[]),
            r"areas must be 2, one per person\. Received: shape \(0,\)",
        ),
    ],
    ids=[
        "nobody",
        "other joints",
        "other mean pose",
        "no torso",
        "head sizes",
        "areas",
    ],
)
def test_wrong_calls_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_every_column_has_a_definition():
    joints = truth(1)
    scores = {"a": score(joints, joints[..., :2], BODY_13)}
    columns = [*table(scores)[0], *other_table(scores)[0][1:]]
    names = [name for name in columns if name not in (*evaluation.COLUMNS, "All")]

    assert set(names) - {"AP50", "AP75"} == set(evaluation.DEFINITIONS)
    assert "AP50 and AP75" in evaluation.DEFINITIONS["AP"]


def test_the_definition_says_what_counts():
    for words in ("torso", "right shoulder to left hip", "occluded", "0.2", "224"):
        assert words in evaluation.DEFINITION


def one_torso_off(*offsets):
    """Return truth and answer: the right wrist is off by so many torsos (0.5 units)."""
    joints = truth(len(offsets))
    keypoints = joints[..., :2].copy()
    keypoints[:, ROWS.index("right_wrist"), 0] += np.array(offsets) / 2
    return joints, keypoints


def test_each_joint_has_its_own_errors():
    joints, keypoints = one_torso_off(0.05, 0.15, 0.25, 0.75)
    joints[3, ROWS.index("left_knee")] = 0

    found = {joint.name: joint for joint in score(joints, keypoints, BODY_13).joints}

    wrist = found["right_wrist"]
    assert list(found) == ROWS
    assert (wrist.annotated, wrist.pck, wrist.pck_tenth) == (4, 50, 25)
    assert wrist.median_torso == pytest.approx(0.2)
    assert wrist.mean_torso == pytest.approx(0.3)
    assert wrist.median_px == pytest.approx(224 * 0.1, rel=1e-5)
    assert wrist.mean_px == pytest.approx(224 * 0.15, rel=1e-5)
    assert found["left_wrist"][1:] == (4, 100, 100, 0, 0, 0, 0)
    assert found["left_knee"].annotated == 3


def test_a_joint_that_is_never_annotated_has_no_errors_and_no_torso_no_pck():
    joints, keypoints = one_torso_off(0.1)
    joints[:, ROWS.index("head")] = 0
    joints[:, HIP] = 0

    found = score(joints, keypoints, BODY_13)

    head, wrist = found.joints[0], found.joints[ROWS.index("right_wrist")]
    assert head.annotated == 0 and np.isnan(head[2:]).all()
    assert wrist.mean_px == pytest.approx(224 * 0.05, rel=1e-4)
    assert np.isnan([wrist.pck, wrist.pck_tenth, *wrist[6:]]).all()
    assert evaluation.joint_table(found)[1][0] == ["head", "0", *["-"] * 6]
    json.dumps(found.to_json(), allow_nan=False)


def test_the_tables_of_joints_put_right_beside_left():
    found = score(*one_torso_off(0.05, 0.25), BODY_13)

    header, cells = evaluation.joint_table(found)
    sides = {row[0]: row[1:] for row in evaluation.side_table(found)[1]}

    assert [row[0] for row in cells[:3]] == ["head", "right shoulder", "left shoulder"]
    assert len(cells) == 13 and len(header) == len(cells[0]) == 8
    right = [row for row in cells if row[0] == "right wrist"]
    assert right == [
        ["right wrist", "2", "50.0", "50.0", "16.8", "16.8", "0.150", "0.150"]
    ]
    assert list(sides) == ["shoulder", "elbow", "wrist", "hip", "knee", "ankle"]
    assert sides["wrist"] == ["50.0", "100.0", "-50.0", "16.8", "0.0", "+16.8"]


def test_persons_are_binned_by_the_box_policy():
    # Table 1: both ends of 0.5 to 0.7 are in between.
    joints, keypoints = one_torso_off(0, 0.25, 0, 0.25, 0.25, 0)
    ious = [0.71, 0.7, 0.5, 0.49, 0, np.nan]
    ious = np.array(ious, np.float64)

    found = evaluate(Fake(keypoints), batches(joints), flip_test=False, ious=ious)
    header, cells = evaluation.bin_table(found)

    assert {name: part.persons for name, part in found.bins.items()} == {
        "detector": 1,
        "between": 2,
        "ground_truth": 2,
    }
    assert found.bins["detector"].pck["wrist"] == 100
    assert found.bins["between"].pck["wrist"] == 75
    assert found.bins["ground_truth"].pck["wrist"] == 50
    assert header[:3] == ["PCK@0.2", "persons", "head"]
    assert [row[1] for row in cells] == ["1", "2", "2", "6"]
    assert [row[3] for row in cells] == ["100.0", "75.0", "50.0", "75.0"]
    assert set(found.to_json()["bins"]) == set(found.bins)


def test_without_a_detector_there_are_no_bins_and_ious_must_fit():
    joints, keypoints = one_torso_off(0, 0)

    def ask(ious):
        network = Fake(keypoints)
        return evaluate(network, batches(joints), flip_test=False, ious=ious)

    assert ask([np.nan, np.nan]).bins == {} and ask(None).bins == {}
    with pytest.raises(InputError, match=r"IoUs must be 2, one per person"):
        ask([0.5])


def test_stages_are_timed_on_usable_persons_only(tmp_path):
    picture = tmp_path / "good.png"
    picture.write_bytes(images.encode(np.zeros((40, 30, 3), np.uint8), "png", 0))
    joints = np.ones((13, 3), np.float32)
    joints[:, :2] = np.linspace(5, 25, 13)[:, None]
    visible = np.ones(13, np.int8)
    good = PersonRecord("a", ImageRef(picture), joints, visible, "tiny", "a", "test")
    missing = dataclasses.replace(good, image=ImageRef(tmp_path / "gone.png"))
    (tmp_path / "bad.png").write_bytes(b"no picture")
    unreadable = dataclasses.replace(good, image=ImageRef(tmp_path / "bad.png"))
    bad = BadRecord("x", "tiny", "few_joints", "")
    network = Fake(np.zeros((200, 13, 2)))
    network.size = 8
    asked = []
    network.predict = lambda crops: (
        asked.append(crops.shape),
        Prediction(np.zeros((len(crops), 13, 2), np.float32), None),
    )[1]

    found = evaluation.stage_times(
        network, [bad, missing, unreadable, *[good] * 70], flip_test=False
    )
    flipped = len(asked)
    evaluation.stage_times(network, [good])

    assert list(found) == ["decode", "crop", "network"]
    assert all(ms > 0 for ms in found.values())
    assert flipped == evaluation.TIMED and set(asked[:flipped]) == {(1, 8, 8, 3)}
    assert asked[flipped:] == [(2, 8, 8, 3)]  # with its mirror image
    assert evaluation.stage_times(network, [bad]) == {}
    stored = evaluation.stored_times(network, iter(batches(truth(3))), flip_test=False)
    assert list(stored) == ["decode", "network"]
