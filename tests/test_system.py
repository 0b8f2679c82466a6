"""The whole system on labelled pictures; network and detectors are known."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from kpose import report, system, system_report, video
from kpose.detection import Detection
from kpose.errors import InputError
from kpose.geometry import Box, SquareCrop, person_box
from kpose.joints import BODY_13
from kpose.predictor import Predictor
from kpose.records import ImageRef, PersonRecord
from kpose.runtime import Runtime
from kpose.screening import Source

SIZE = 32

# Shoulder, elbow, wrist, hip, knee, ankle in crop units; the left ones mirror them.
LIMBS = (
    np.array([(0.3, 0.2), (0.25, 0.4), (0.2, 0.5)]),
    np.array([(0.4, 0.5), (0.4, 0.7), (0.4, 11 / 12)]),
)

POSE = np.concatenate(
    [[(0.5, 1 / 12)]]
    + [abs(side - limb) for limb in LIMBS for side in ((0, 0), (1, 0))]
)
"""Its person box is as high as the crop and 0.72 wide, in the middle."""

SQUARE = SquareCrop(20, 20, 60)
"""Where a person is. A fifth of the torso is 5.09 pixels then."""

BOX = Box(28.4, 20, 71.6, 80)
"""The person box there."""


def shifted(box, dx):
    return Box(box.x0 + dx, box.y0, box.x1 + dx, box.y1)


@pytest.fixture(name="model")
def make_model():
    """A network that answers ``POSE`` whatever it sees."""

    def run(crops):
        return {"keypoints": np.tile(POSE.astype(np.float32), (len(crops), 1, 1))}

    return Runtime(run, {"skeleton": BODY_13.to_json(), "size": SIZE}, "keras")


class Scripted:
    """Answers with the (box, score) given for a picture, by the name of its file."""

    name, identity, threshold, given = "scripted:x", "scripted", 0.4, False

    def __init__(self, **found):
        self.found = found

    def detect(self, image, picture="", frame=0):
        found = self.found.get(picture.rpartition("/")[2].partition(".")[0], [])
        return [Detection(*one) for one in found]


def picture(folder, name):
    path = folder / f"{name}.png"
    cv2.imwrite(str(path), np.full((100, 200, 3), 90, np.uint8))
    return ImageRef(path)


def person(ref, square=SQUARE):
    """A person whom the network knows if the crop is ``square``."""
    joints = np.ones((13, 3), np.float32)
    joints[:, :2] = square.crop_to_image(POSE)
    name = f"{ref.path.stem} {ref.frame} {square.x0}"
    return PersonRecord(name, ref, joints, np.ones(13, np.int8), "tiny", name, "test")


def evaluate(model, detector, records, **options):
    return system.evaluate(model, detector, [Source("tiny", records, "")], **options)


def pck(scores, name):
    return scores.joints[name].pck["all"]


def test_the_pose_of_these_tests_has_the_box_it_says():
    box = person_box(person(ImageRef(Path("a.png"))).joints)

    np.testing.assert_allclose(box, BOX, atol=1e-4)
    np.testing.assert_allclose(SquareCrop.around(box), SQUARE, atol=1e-4)


@pytest.mark.parametrize(
    ("ious", "pairs"),
    [
        ([[0.5]], {}),
        ([[0.51]], {0: 0}),
        ([[0.6, 0.9]], {0: 1}),
        ([[0.8, 0.7], [0.9, 0.1]], {0: 1, 1: 0}),
        ([[0.8, 0.4], [0.9, 0.1]], {1: 0}),
        ([[0.7, 0.7], [0.7, 0.7]], {0: 0, 1: 1}),
    ],
    ids=["half", "more", "second box", "best pair first", "taken", "equal"],
)
def test_detections_and_persons_are_matched_one_to_one(ious, pairs):
    assert system.match(np.array(ious)) == pairs


def test_without_detections_or_persons_nothing_matches():
    assert system.match(np.zeros((2, 0))) == system.match(np.zeros((0, 2))) == {}


def test_counts_and_joints_by_hand(model, tmp_path):
    names = ("right", "off", "twice", "nobody")
    records = [person(picture(tmp_path, name)) for name in names]
    detector = Scripted(
        right=[(BOX, 0.9)],
        # 6 pixels are more than a fifth of the torso. IoU (43.2 - 6) / (43.2 + 6).
        off=[(shifted(BOX, 6), 0.9)],
        # Elsewhere, too little of the person, and under the threshold of 0.4.
        twice=[
            (shifted(BOX, 120), 0.9),
            (shifted(BOX, -5), 0.8),
            (shifted(BOX, 20), 0.5),
            (BOX, 0.39),
        ],
    )

    scores = evaluate(model, detector, records)

    assert (scores.pictures, scores.persons, scores.detections) == (4, 4, 5)
    assert (scores.false_positives, scores.false_negatives) == (2, 1)
    assert scores.pictures_with_false_positives == 1
    assert scores.pictures_with_false_negatives == 1
    expected = [1, 37.2 / 49.2, 38.2 / 48.2, 0]
    np.testing.assert_allclose(scores.best_iou, expected, atol=1e-6)
    assert (scores.best_over(0.5), scores.best_over(0.7)) == (75, 75)
    assert scores.best_over(0.78) == 50
    assert pck(scores, "ground_truth_boxes") == 100
    assert pck(scores, "found_ground_truth_boxes") == 100
    # 5 pixels are within a fifth of the torso, 6 are not; who is missed is wrong.
    assert pck(scores, "found_detector_boxes") == pytest.approx(200 / 3)
    assert pck(scores, "detector_boxes") == 50
    found = scores.joints["found_detector_boxes"]
    assert found.persons == 3 and scores.joints["detector_boxes"].persons == 4
    # Pixels of a 224 px ground-truth crop, whatever the detector's box.
    assert found.pixel_error == pytest.approx(224 * (0 + 6 + 5) / 3 / 60, abs=1e-3)
    assert scores.joints["ground_truth_boxes"].pixel_error < 1e-3
    assert np.isnan(scores.joints["detector_boxes"].pixel_error)
    assert scores.splits == {("tiny", "test"): 4}
    assert scores.min_score == 0.4 and scores.detector == "scripted:x"


def test_the_json_has_both_denominators(model, tmp_path):
    records = [person(picture(tmp_path, name)) for name in ("a", "b", "c", "d")]
    detector = Scripted(a=[(BOX, 0.9), (shifted(BOX, 60), 0.6)], b=[(BOX, 0.9)])

    found = evaluate(model, detector, records).to_json()

    assert found["false_positives"] == {
        "count": 1,
        "percent_of_detections": 33.333,
        "pictures": 1,
        "percent_of_pictures": 25,
    }
    assert found["false_negatives"] == {
        "count": 2,
        "percent_of_persons": 50,
        "pictures": 2,
        "percent_of_pictures": 50,
    }
    assert found["best_box_percent"] == {"iou>0.5": 50, "iou>0.7": 50}
    assert found["detections_per_picture"] == 0.75
    assert set(found["time_ms"]) == {*system.STAGES, "total"}
    assert set(found["time_ms"]["network"]) == {"p50", "p95"}
    assert found["joints"]["detector_boxes"]["pck@0.2"]["all"] == 50
    assert found["joints"]["detector_boxes"]["pixel_error"] is None


def test_people_of_one_picture_are_told_apart(model, tmp_path):
    ref = picture(tmp_path, "two")
    other = SquareCrop(120, 30, 60)
    records = [person(ref), person(picture(tmp_path, "one")), person(ref, other)]
    boxes = [(shifted(BOX, 100)._replace(y0=30, y1=90), 0.9), (BOX, 0.8)]

    scores = evaluate(model, Scripted(two=boxes, one=[(BOX, 0.5)]), records)

    assert (scores.pictures, scores.persons, scores.detections) == (2, 3, 3)
    assert scores.false_positives == scores.false_negatives == 0
    assert scores.names == ("two None 20", "two None 120", "one None 20")
    assert pck(scores, "detector_boxes") == 100


def test_best_box_counts_boxes_that_prediction_leaves_out(model, tmp_path):
    # The second box is the same person as the first: prediction takes the better score.
    boxes = [(shifted(BOX, 10), 0.9), (BOX, 0.8)]

    scores = evaluate(model, Scripted(a=boxes), [person(picture(tmp_path, "a"))])

    assert scores.detections == 1
    assert scores.best_iou.tolist() == pytest.approx([1])
    assert pck(scores, "detector_boxes") == 0


def test_nobody_found_at_all(model, tmp_path):
    records = [person(picture(tmp_path, "a"))]

    scores = evaluate(model, Scripted(), records)

    assert scores.false_negatives == 1 and scores.detections == 0
    assert np.isnan(pck(scores, "found_detector_boxes"))
    assert pck(scores, "detector_boxes") == 0
    assert np.isnan(scores.to_json()["false_positives"]["percent_of_detections"])
    rows = system.detector_table(scores)[1]
    assert rows[0] == ["false positives", "0", "0 detections", "-"]


@pytest.mark.parametrize("flip_test", [True, False])
def test_the_joints_are_those_of_prediction(tmp_path, flip_test):
    def run(crops):
        # The answer depends on the pixels: another cut would give another one.
        left = crops[:, :, : SIZE // 2].mean(axis=(1, 2, 3))[:, None, None] / 255
        return {"keypoints": (POSE * (0.5 + left)).astype(np.float32)}

    model = Runtime(run, {"skeleton": BODY_13.to_json(), "size": SIZE}, "keras")
    ref = picture(tmp_path, "a")
    ramp = np.tile(np.arange(200, dtype=np.uint8), (100, 1))
    image = np.stack([ramp, ramp // 2, 255 - ramp], axis=-1)
    cv2.imwrite(str(ref.path), image[..., ::-1])
    truth, box = person(ref), shifted(BOX, 3)

    scores = evaluate(model, Scripted(a=[(box, 0.9)]), [truth], flip_test=flip_test)

    predictor = Predictor(model, flip_test=flip_test)
    for name, cut in (("ground_truth_boxes", BOX), ("detector_boxes", box)):
        (expected,) = predictor.predict_image(image, [cut])
        away = np.linalg.norm(expected.keypoints[:, :2] - truth.joints[:, :2], axis=1)
        error = scores.joints[name].pixel_error
        assert error == pytest.approx(224 / 60 * away.mean(), abs=1e-3)
    assert scores.joints["detector_boxes"].pixel_error > 5


def test_unreadable_pictures_are_counted_and_not_read_for_nothing(model, tmp_path):
    bad = picture(tmp_path, "bad")
    bad.path.write_bytes(b"no picture")
    empty = person(picture(tmp_path, "empty"))
    empty.joints[:] = 0
    records = [person(ref) for ref in (picture(tmp_path, "a"), bad)]
    steps = []

    scores = evaluate(
        model,
        Scripted(a=[(BOX, 0.9)], empty=[(BOX, 0.9)]),
        [*records, empty, person(ImageRef(tmp_path / "absent.png"))],
        progress=steps.append,
    )

    assert scores.pictures == scores.persons == scores.detections == 1
    assert scores.skipped == {
        "unreadable_image": 1,
        "no_joints": 1,
        "missing_image": 1,
    }
    assert sum(steps) == 4


def test_without_a_usable_person_it_is_refused(model, tmp_path):
    bad = picture(tmp_path, "bad")
    bad.path.write_bytes(b"no picture")

    with pytest.raises(InputError, match="1 unreadable_image"):
        evaluate(model, Scripted(), [person(bad)])
    with pytest.raises(InputError, match="min_score"):
        evaluate(model, Scripted(), [person(picture(tmp_path, "a"))], min_score=1.5)


def test_frames_of_a_video_are_read_in_one_go(model, tmp_path, monkeypatch):
    path = tmp_path / "clip.avi"
    codec = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), codec, 25, (200, 100))
    for number in range(6):
        writer.write(np.full((100, 200, 3), 40 * number, np.uint8))
    writer.release()
    seen = []

    class Brightness(Scripted):
        def detect(self, image, picture="", frame=0):
            seen.append((frame, round(float(image.mean()) / 40)))
            return super().detect(image, picture, frame)

    opened = []
    read = video.frames
    monkeypatch.setattr(
        video, "frames", lambda path, most: opened.append(path) or read(path, most)
    )
    records = [person(ImageRef(path, frame)) for frame in (4, 1, 2, 6, 99)]

    scores = evaluate(model, Brightness(clip=[(BOX, 0.9)]), records)

    assert seen == [(1, 1), (2, 2), (4, 4)]
    assert scores.pictures == 3 and scores.skipped == {"unreadable_image": 2}
    assert opened == [path]
    assert pck(scores, "detector_boxes") == 100


@pytest.mark.parametrize(("given", "detections"), [(False, 1), (True, 2)])
def test_boxes_that_somebody_chose_are_not_suppressed(
    model, tmp_path, given, detections
):
    """As in prediction: two that overlap are two people."""
    scripted = Scripted(a=[(BOX, 0.9), (BOX, 0.8)])
    scripted.given = given

    scores = evaluate(model, scripted, [person(picture(tmp_path, "a"))])

    assert (scores.detections, scores.false_positives) == (detections, detections - 1)


def test_a_video_that_is_none_is_skipped(model, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    records = [person(ImageRef(tmp_path / "text.mp4", frame)) for frame in (0, 1)]

    scores = evaluate(model, Scripted(), [*records, person(picture(tmp_path, "a"))])

    assert scores.pictures == 1 and scores.skipped == {"unreadable_image": 2}


@pytest.mark.parametrize(("pictures", "timed"), [(10, 10), (11, 8)])
def test_the_first_pictures_are_left_out_of_the_times(model, tmp_path, pictures, timed):
    records = [person(picture(tmp_path, f"p{i}")) for i in range(pictures)]

    scores = evaluate(model, Scripted(), records)

    assert all(len(values) == timed for values in scores.times.values())
    assert list(scores.times) == [*system.STAGES, "total"]
    stages = sum(scores.times[stage] for stage in system.STAGES)
    np.testing.assert_allclose(scores.times["total"], stages)
    assert all((values >= 0).all() for values in scores.times.values())
    assert scores.to_json()["pictures_timed"] == timed


def test_mistakes_are_kept_worst_first_with_boxes_in_their_colours(model, tmp_path):
    names = [f"p{i:02}" for i in range(15)]
    records = [person(picture(tmp_path, name)) for name in names]
    # Seen worse and worse, and a false detection that is surer and surer.
    found = {
        name: [(shifted(BOX, 20 + i), 0.9), (shifted(BOX, 110), 0.5 + i / 50)]
        for i, name in enumerate(names[:14])
    }

    scores = evaluate(model, Scripted(**found), records)

    assert len(scores.missed) == len(scores.false) == system.SHOWN
    captions = [mistake.caption for mistake in scores.missed]
    assert captions[0] == "p14.png: nobody found"
    assert captions[1] == (
        f"p13.png: IoU {(43.2 - 33) / (43.2 + 33):.2f} of the box kept"
    )
    # The moved box is no right one either, and the surest.
    assert scores.false[0].caption.endswith(
        f": score 0.90, IoU {(43.2 - 20) / (43.2 + 20):.2f}"
    )
    tile = scores.missed[1].image
    assert tile.shape == (system.TILE, system.TILE, 3)
    scale = system.TILE / 200
    # The edges of the three boxes, half way up, in a square of 200 pixels.
    row = tile[round((50 + 50) * scale)]
    for x, color in ((28.4, system.LABELLED), (61.4, system.DETECTED)):
        near = row[round(x * scale) - 2 : round(x * scale) + 3].astype(int)
        assert (abs(near - color).sum(axis=1) < 30).any()
    assert tile[0].max() == 0  # above the picture


def test_the_report_has_tables_a_histogram_and_the_mistakes(model, tmp_path):
    records = [person(picture(tmp_path, name)) for name in ("a", "b")]
    scores = evaluate(model, Scripted(a=[(BOX, 0.9), (shifted(BOX, 60), 0.7)]), records)

    sections = system_report.system_sections(scores, "facts & more")

    titles = [section.title for section in sections]
    assert titles == [
        "Joints",
        "What the numbers mean",
        "Detector: scripted:x",
        "IoU of the best detection",
        "Time",
        "False negatives",
        "False positives",
    ]
    report.write_report(tmp_path / "report.html", "System", sections)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/') == 3
    shown = ("facts &amp; more", "missed = wrong", "b.png: nobody found", "1 of 1 ")
    for text in (*shown, "a.png: score 0.70, IoU 0.00", "50.0 % over 0.5"):
        assert text in page


def test_a_report_without_mistakes_has_no_pictures_of_them(model, tmp_path):
    scores = evaluate(model, Scripted(a=[(BOX, 0.9)]), [person(picture(tmp_path, "a"))])

    titles = [section.title for section in system_report.system_sections(scores)]

    assert titles[-1] == "Time"
