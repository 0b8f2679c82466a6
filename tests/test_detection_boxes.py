"""Boxes made elsewhere, found by the name of the picture."""

import json

import numpy as np
import pytest

from kpose import detection
from kpose.detection import Detection
from kpose.errors import InputError
from kpose.geometry import Box
from kpose.joints import BODY_13
from kpose.predictor import Person

PICTURE = np.zeros((8, 8, 3), np.uint8)


@pytest.fixture
def opened(tmp_path):
    """Return a function that writes a file and opens it as a detector."""

    def write(value, lines=False):
        path = tmp_path / "boxes.json"
        if lines:
            path.write_text("".join(json.dumps(row) + "\n" for row in value))
        else:
            path.write_text(json.dumps(value))
        return detection.open(f"boxes:{path}")

    return write


def coco(*names, **annotations):
    """Return a COCO file with pictures 1, 2, ... and a box of 10 x 20 in each."""
    return {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(names, 1)],
        "annotations": [
            {"image_id": i, "bbox": [i, 2, 10, 20], **annotations}
            for i, _ in enumerate(names, 1)
        ],
    }


def left(found):
    """Return the left edge of the only box: the number of its picture."""
    ((box, _),) = found
    return box.x0


def test_a_coco_box_is_x_y_width_height_and_keeps_its_score(opened):
    found = opened(coco("a.jpg", score=0.25)).detect(PICTURE, "a.jpg")

    assert found == [Detection(Box(1, 2, 11, 22), 0.25)]


def test_a_coco_box_without_a_score_has_none(opened):
    detector = opened(coco("a.jpg"))

    assert detector.detect(PICTURE, "a.jpg") == [Detection(Box(1, 2, 11, 22), None)]
    assert detector.threshold == 0


def test_boxes_come_best_first_and_not_below_the_floor(opened):
    value = coco("a.jpg")
    value["annotations"] = [
        {"image_id": 1, "bbox": [x, 0, 9, 9], "score": score}
        for x, score in ((1, 0.5), (2, 0.04), (3, 0.9))
    ]

    found = opened(value).detect(PICTURE, "a.jpg")

    assert [one.box.x0 for one in found] == [3, 1]


def test_only_persons_that_are_no_crowd_count(opened):
    value = coco("a.jpg")
    value["categories"] = [{"id": 7, "name": "person"}, {"id": 1, "name": "bicycle"}]
    value["annotations"] = [
        {"image_id": 1, "bbox": [x, 0, 9, 9], "category_id": category, "iscrowd": crowd}
        for x, category, crowd in ((1, 1, 0), (2, 7, 0), (3, 7, 1))
    ]

    assert left(opened(value).detect(PICTURE, "a.jpg")) == 2


def test_category_1_is_the_person_where_the_file_does_not_say(opened):
    assert len(opened(coco("a.jpg", category_id=1)).detect(PICTURE, "a.jpg")) == 1
    assert len(opened(coco("a.jpg", category_id=2)).detect(PICTURE, "a.jpg")) == 0


@pytest.mark.parametrize(
    ("picture", "number"),
    [
        ("/data/one/a.jpg", 1),
        ("/data/two/a.jpg", 2),
        ("two/a.jpg", 2),
        ("/data/other/b.jpg", 3),
        ("b.jpg", 3),
        ("./b.jpg", 3),
    ],
)
def test_the_longest_common_end_of_the_path_decides(opened, picture, number):
    detector = opened(coco("one/a.jpg", "two/a.jpg", "two/b.jpg"))

    assert left(detector.detect(PICTURE, picture)) == number


@pytest.mark.parametrize("picture", ["a.jpg", "three/a.jpg"])
def test_a_name_that_may_mean_two_pictures_is_refused(opened, picture):
    detector = opened(coco("one/a.jpg", "two/a.jpg"))

    with pytest.raises(InputError, match=rf"{picture} in .*got one/a.jpg, two/a.jpg:"):
        detector.detect(PICTURE, picture)


@pytest.mark.parametrize("picture", ["b.jpg", "a.png", "xa.jpg", "", "camera 0"])
def test_a_name_that_the_file_does_not_have_is_refused(opened, picture):
    with pytest.raises(InputError, match=r"but it has other names \(1\): a\.jpg$"):
        opened(coco("a.jpg")).detect(PICTURE, picture)


def test_a_picture_that_is_listed_without_a_box_has_nobody(opened):
    value = coco("a.jpg", "b.jpg")
    del value["annotations"][1]

    assert opened(value).detect(PICTURE, "b.jpg") == []


def row(source, frame, box, score=0.5):
    return {"source": source, "frame": frame, "box": box, "score": score}


def test_lines_of_predict_tell_the_frames_of_a_video_apart(opened):
    rows = [
        row("in/clip.mp4", 0, [1, 2, 11, 22], 0.5),
        row("in/clip.mp4", 0, [3, 2, 11, 22], 0.75),
        row("in/clip.mp4", 1, None, None),
        row("in/clip.mp4", 2, [5, 2, 11, 22], None),
    ]
    detector = opened(rows, lines=True)

    assert [detector.detect(PICTURE, "clip.mp4", frame) for frame in range(4)] == [
        [Detection(Box(3, 2, 11, 22), 0.75), Detection(Box(1, 2, 11, 22), 0.5)],
        [],
        [Detection(Box(5, 2, 11, 22), None)],
        [],
    ]


def test_what_a_prediction_writes_is_read_again(opened):
    box = Box(1.25, 2.5, 30.125, 40)
    person = Person(np.zeros((13, 3)), BODY_13, box, 0.5, "in/a.jpg")

    found = opened([person.to_json()], lines=True).detect(PICTURE, "in/a.jpg")

    assert found == [Detection(box, 0.5)]


@pytest.mark.parametrize(
    "value",
    [
        {"info": {}},
        {"images": []},
        {"images": [{"id": 1}], "annotations": []},
        coco("a.jpg", bbox=[1, 2, 3]),
        coco("a.jpg", bbox=[1, 2, 3, "wide"]),
        coco("a.jpg", image_id=9),
        [{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}],
        [row("a.jpg", 0, [1, 2, 3])],
        [row("a.jpg", None, [1, 2, 3, 4])],
        [row("a.jpg", float("inf"), [1, 2, 3, 4])],
        coco(),
        [],
        [1, 2],
        3,
    ],
)
def test_other_json_is_refused_in_one_line(opened, value):
    with pytest.raises(InputError, match=r"^expected a COCO file .* got .*json: .+$"):
        opened(value)
