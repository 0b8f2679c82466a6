import dataclasses
import json

import numpy as np
import pytest

from kpose import detection
from kpose.detection import Detection
from kpose.errors import InputError
from kpose.geometry import Box
from kpose.joints import Skeleton
from kpose.predictor import Predictor
from kpose.runtime import Runtime
from kpose.sources import Picture

SIZE = 64
BODY = Skeleton(("head", "middle", "feet"), (("head", "middle"), ("middle", "feet")))
CARD = {"skeleton": BODY.to_json(), "size": SIZE}
HEIGHT, WIDTH = 120, 300
HALF = (10, 20)  # a person is a bright rectangle of 20 x 40 pixels


def draw(*centres, level=250):
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for x, y in centres:
        x0, x1 = max(x - HALF[0], 0), max(x + HALF[0], 0)
        image[y - HALF[1] : y + HALF[1], x0:x1] = level
    return image


def find_body(crops):
    """A network that knows the answer: the middle of the light, and its extent.

    It takes the light nearest to the middle of the crop. The confidence is the
    brightness there, near 0 in the dark.
    """
    keypoints, confidence = [], []
    for crop in crops[..., 0].astype(float):
        lit = crop > 100
        columns = np.flatnonzero(lit.any(axis=0))
        runs = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)
        run = min(runs, key=lambda r: abs(r.mean() - SIZE / 2) if len(r) else np.inf)
        if not len(run):
            keypoints.append([[0.5, 0.3], [0.5, 0.5], [0.5, 0.7]])
            confidence.append([0.1] * 3)
            continue
        rows = np.flatnonzero(lit[:, run].any(axis=1))
        x = (run[0] + run[-1] + 1) / 2 / SIZE
        top, bottom = rows[0] / SIZE, (rows[-1] + 1) / SIZE
        left, right = run[0] / SIZE, (run[-1] + 1) / SIZE
        keypoints.append([[left, top], [x, (top + bottom) / 2], [right, bottom]])
        confidence.append([crop[lit].mean() / 255] * 3)
    return {
        "keypoints": np.array(keypoints, np.float32),
        "confidence": np.array(confidence, np.float32),
    }


class Eyes:
    """A detector that finds bright columns, and counts how often it looks."""

    name, identity, threshold, given = "eyes", "eyes", 0.5, False

    def __init__(self, score=lambda frame: 0.9):
        self.score, self.frames = score, []

    def detect(self, image, picture="", frame=0):
        self.frames.append(frame)
        columns = np.flatnonzero((image[..., 0] > 100).any(axis=0))
        runs = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)
        found = []
        for run in runs:
            if len(run):
                rows = np.flatnonzero((image[:, run, 0] > 100).any(axis=1))
                box = Box(run[0], rows[0], run[-1] + 1, rows[-1] + 1)
                found.append(Detection(box, self.score(frame)))
        return found


def predictor(detector, **options):
    model = Runtime(find_body, CARD, "keras")
    options = {"flip_test": False, "smooth": False} | options
    return Predictor(model, detector, **options)


def watch(asked, images, step=40.0, boxes=None):
    """Return the rows of each frame."""
    pictures = [Picture("clip", i, i * step, image) for i, image in enumerate(images)]
    return [rows for _, rows in asked.predict_pictures(pictures, True, boxes)]


def numbers(frames):
    return [[person.track_id for person in rows] for rows in frames]


def test_people_keep_their_numbers_and_come_in_that_order():
    images = [draw((40 + 3 * i, 60), (250 - 3 * i, 60)) for i in range(20)]

    frames = watch(predictor(Eyes()), images)

    assert numbers(frames) == [[1, 2]] * 20
    assert frames[-1][0].keypoints[1, 0] == pytest.approx(96.5, abs=0.5)
    assert frames[-1][1].keypoints[1, 0] == pytest.approx(192.5, abs=0.5)
    assert [person.frame for person in frames[7]] == [7, 7]
    assert frames[7][0].time_ms == 280


def test_the_same_without_following_is_what_each_picture_gives():
    images = [draw((40 + 3 * i, 60)) for i in range(5)]
    asked = predictor(Eyes())

    frames = watch(asked, images)

    for image, (person,) in zip(images, frames, strict=True):
        (alone,) = asked.predict_image(image)
        np.testing.assert_array_equal(person.keypoints, alone.keypoints)
        assert person.box == alone.box and person.score == 0.9


def test_following_asks_the_detector_every_k_frames_and_stays_on_the_person():
    eyes = Eyes()
    images = [draw((40 + 3 * i, 60)) for i in range(25)]

    frames = watch(predictor(eyes, follow=10), images)

    assert eyes.frames == [0, 10, 20]
    assert numbers(frames) == [[1]] * 25
    middle = [rows[0].keypoints[1, 0] for rows in frames]
    np.testing.assert_allclose(middle, 39.5 + 3 * np.arange(25), atol=0.6)


def test_somebody_who_leaves_is_noticed_at_once_and_back_within_k_frames():
    """Frames 8 to 14 are dark; the person comes back elsewhere."""
    eyes = Eyes()
    images = [draw((60, 60))] * 8 + [draw()] * 7 + [draw((220, 60))] * 10

    frames = watch(predictor(eyes, follow=10), images)

    assert [rows[0].status for rows in frames[:8]] == ["ok"] * 8
    assert [rows[0].status for rows in frames[8:15]] == ["no_person"] * 7
    assert frames[8][0].box is None and np.isnan(frames[8][0].keypoints).all()
    assert [rows[0].status for rows in frames[15:]] == ["ok"] * 10
    # It looks in the frame of the doubt, in every one without people, then follows.
    assert eyes.frames == [0, *range(8, 16)]
    assert frames[15][0].keypoints[1, 0] == pytest.approx(219.5, abs=0.6)


def test_a_newcomer_is_seen_at_the_next_detection():
    images = [draw((60, 60))] * 5 + [draw((60, 60), (220, 60))] * 10

    frames = watch(predictor(Eyes(), follow=10), images)

    assert numbers(frames) == [[1]] * 10 + [[1, 2]] * 5


def test_walking_out_of_the_picture_ends_following():
    images = [draw((max(60 - 6 * i, -20), 60)) for i in range(20)]

    frames = watch(predictor(Eyes(), follow=30), images)

    assert numbers(frames)[:9] == [[1]] * 9
    assert frames[-1][0].status == "no_person"


def test_one_missed_detection_is_bridged_and_two_are_not():
    """The detector is blind in frame 3, and again from 6 on; the network is not."""
    eyes = Eyes(score=lambda frame: 0.1 if frame == 3 or frame >= 6 else 0.9)

    frames = watch(predictor(eyes), [draw((60, 60))] * 9)

    assert numbers(frames) == [[1]] * 7 + [[None]] * 2
    assert [rows[0].status for rows in frames[5:]] == ["ok", "ok"] + ["no_person"] * 2


def test_a_weak_detection_keeps_a_known_person_and_makes_no_new_one():
    eyes = Eyes(score=lambda frame: 0.9 if frame == 0 else 0.3)

    known = watch(predictor(eyes), [draw((60, 60))] * 6)
    new = watch(predictor(Eyes(score=lambda frame: 0.3)), [draw((60, 60))] * 2)

    assert numbers(known) == [[1]] * 6
    assert known[3][0].score == 0.3
    assert numbers(new) == [[None]] * 2


def test_weak_detections_alone_keep_nobody_for_ever():
    """After a second of them the person is gone; the network still sees."""
    eyes = Eyes(score=lambda frame: 0.9 if frame == 0 else 0.3)

    frames = watch(predictor(eyes), [draw((60, 60))] * 30)

    # From frame 1 on; 25 more of 40 ms are a second, and one is bridged.
    assert numbers(frames) == [[1]] * 28 + [[None]] * 2


def test_a_weak_detection_keeps_a_person_who_was_followed_for_longer_than_that():
    """30 frames of 40 ms between two looks are more than a second."""
    eyes = Eyes(score=lambda frame: 0.9 if frame == 0 else 0.3)

    frames = watch(predictor(eyes, follow=30), [draw((60, 60))] * 31)

    assert eyes.frames == [0, 30]
    # Kept by the detection: bridged, the score would be the old one.
    assert frames[30][0].track_id == 1 and frames[30][0].score == 0.3


def test_boxes_of_a_file_are_the_people_and_nobody_else(tmp_path):
    """Also two that overlap; and a frame without a box has nobody."""
    rows = [
        {"source": "clip", "frame": 0, "box": [40, 30, 80, 90], "score": 0.9},
        {"source": "clip", "frame": 0, "box": [41, 30, 81, 90], "score": 0.8},
        {"source": "clip", "frame": 2, "box": [40, 30, 80, 90], "score": 0.1},
    ]
    path = tmp_path / "boxes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = predictor(detection.open(f"boxes:{path}"))

    frames = watch(asked, [draw((60, 60))] * 4)

    assert [[p.score for p in rows] for rows in frames] == [
        [0.9, 0.8],
        [None],
        [0.1],
        [None],
    ]
    assert [rows[0].status for rows in frames] == ["ok", "no_person", "ok", "no_person"]


def test_one_person_seen_twice_is_one():
    class Double(Eyes):
        def detect(self, image, picture="", frame=0):
            (one,) = super().detect(image, picture, frame)
            return [one, Detection(one.box.expanded(1.3), 0.8)]

    frames = watch(predictor(Double()), [draw((60, 60))] * 3)

    assert numbers(frames) == [[1]] * 3
    assert frames[2][0].score == 0.9
    assert len(predictor(Double()).predict_image(draw((60, 60)))) == 1


def test_a_cut_to_another_scene_gives_other_numbers():
    """Same clip, but the clock jumps by more than anybody is remembered."""
    pictures = [
        Picture("clip", i, time, draw((60, 60)))
        for i, time in enumerate([0.0, 40.0, 1200.0, 1240.0])
    ]

    rows = [r for _, r in predictor(Eyes()).predict_pictures(pictures, True)]

    assert numbers(rows) == [[1], [1], [2], [2]]


def test_an_unreadable_frame_has_its_row_and_people_go_on():
    images = [draw((60, 60)), None, draw((63, 60))]
    pictures = [
        Picture("clip", i, 40.0 * i, image, "" if image is not None else "damaged")
        for i, image in enumerate(images)
    ]

    rows = [r for _, r in predictor(Eyes()).predict_pictures(pictures, True)]

    assert numbers(rows) == [[1], [None], [1]]
    assert rows[1][0].status == "unreadable" and rows[1][0].problem == "damaged"
    assert (rows[1][0].frame, rows[1][0].time_ms) == (1, 40.0)


def test_smoothing_is_per_person_and_only_where_asked():
    """The person jumps by 8 pixels between two places; smoothed, less."""
    images = [draw((60 + 8 * (i % 2), 60), (220, 60)) for i in range(12)]

    rough = watch(predictor(Eyes()), images)
    smooth = watch(predictor(Eyes(), smooth=True), images)

    def spread(frames, index):
        return np.ptp([rows[index].keypoints[1, 0] for rows in frames[4:]])

    assert spread(rough, 0) == pytest.approx(8, abs=0.6)
    assert spread(smooth, 0) < 6
    assert spread(smooth, 1) < 0.1
    assert numbers(smooth) == [[1, 2]] * 12


def test_without_a_detector_the_whole_picture_is_one_person():
    frames = watch(predictor(None), [draw((60, 60))] * 3)

    assert numbers(frames) == [[1]] * 3
    assert frames[2][0].box == Box(0, 0, WIDTH, HEIGHT)
    assert frames[2][0].score is None


def test_boxes_that_the_user_gave_stay_where_they_are():
    boxes = [Box(30, 20, 90, 110), Box(190, 20, 250, 110), Box(400, 0, 450, 50)]
    eyes = Eyes()
    images = [draw((60 + i, 60), (220, 60)) for i in range(4)]

    frames = watch(predictor(eyes, follow=30), images, boxes=boxes)

    assert eyes.frames == []
    assert numbers(frames) == [[1, 2, None]] * 4
    assert [person.box for person in frames[3]] == boxes
    assert frames[3][2].status == "box_outside"


def test_boxes_that_the_user_gave_are_one_person_each_even_if_alike():
    boxes = [Box(400, 0, 450, 50), Box(30, 20, 90, 110), Box(31, 20, 91, 110)]

    (rows,) = watch(predictor(None), [draw((60, 60))], boxes=boxes)

    assert [person.box for person in rows] == boxes
    assert [person.track_id for person in rows] == [None, 2, 3]


def test_a_pose_that_collapses_does_not_take_its_box_to_nothing():
    """Every answer is half as large as its crop, and sure of itself."""

    def collapsed(crops):
        pose = np.array([[0.4, 0.4], [0.5, 0.5], [0.6, 0.6]], np.float32)
        return {
            "keypoints": np.tile(pose, (len(crops), 1, 1)),
            "confidence": np.ones((len(crops), 3), np.float32),
        }

    eyes = Eyes()
    asked = Predictor(
        Runtime(collapsed, CARD, "keras"), eyes, flip_test=False, follow=60
    )

    frames = watch(asked, [draw((60, 60))] * 100)

    assert [rows[0].status for rows in frames] == ["ok"] * 100
    assert min(rows[0].box.height for rows in frames) >= 0.4 * 40
    assert 2 < len(eyes.frames) < 30


def test_a_network_that_answers_nan_ends_nothing():
    def broken(crops):
        return {"keypoints": np.full((len(crops), 3, 2), np.nan, np.float32)}

    asked = Predictor(Runtime(broken, CARD, "keras"), Eyes(), flip_test=False, follow=5)

    frames = watch(asked, [draw((60, 60))] * 4)

    assert [len(rows) for rows in frames] == [1] * 4
    assert frames[3][0].to_json()["keypoints"]["head"] is None


def test_a_network_without_confidence_is_followed_too():
    def without(crops):
        return {"keypoints": find_body(crops)["keypoints"]}

    eyes = Eyes()
    asked = Predictor(Runtime(without, CARD, "keras"), eyes, flip_test=False, follow=5)

    frames = watch(asked, [draw((60, 60))] * 11)

    assert eyes.frames == [0, 5, 10]
    assert numbers(frames) == [[1]] * 11


def test_a_picture_of_one_pixel_shows_nobody():
    (row,) = predictor(None).predict_picture(
        Picture("dot.png", 0, None, np.zeros((1, 1, 3), np.uint8))
    )

    assert row.status == "no_person" and row.box is None and row.source == "dot.png"


def test_pictures_that_do_not_follow_each_other_get_no_numbers():
    pictures = [Picture(f"{i}.jpg", 0, None, draw((60, 60))) for i in range(2)]

    rows = [r for _, r in predictor(Eyes()).predict_pictures(pictures, False)]

    assert numbers(rows) == [[None], [None]]


@pytest.mark.parametrize("options", [{"follow": 0}, {"min_score": 1.5}])
def test_settings_that_make_no_sense_are_refused(options):
    with pytest.raises(InputError, match="must be"):
        predictor(Eyes(), **options)


def test_rows_are_never_shared_between_frames():
    """Whoever changes a result must not change the next one."""
    asked = predictor(Eyes(), smooth=True)
    pictures = [Picture("clip", i, 40.0 * i, draw((60, 60))) for i in range(3)]

    places = []
    for _, (person,) in asked.predict_pictures(pictures, True):
        places.append(person.keypoints[1].copy())
        person.keypoints[:] = -1

    np.testing.assert_allclose(places[2], places[0], atol=1e-6)
    assert dataclasses.is_dataclass(person)
