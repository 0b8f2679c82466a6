"""What all detectors share: names, the whole picture, what is usable, overlaps."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpose import artefacts, detection
from kpose.detection import Detection
from kpose.detection.letterbox import letterbox
from kpose.detection.nms import nms
from kpose.errors import InputError
from kpose.geometry import Box

PICTURE = np.zeros((4, 6, 3), np.uint8)


def test_no_runtime_loads_before_a_detector_is_opened():
    heavy = "{'tensorflow', 'onnxruntime', 'ai_edge_litert'} & set(sys.modules)"
    code = (
        "import sys; from kpose import detection; detection.open('whole'); "
        f"sys.exit(str({heavy}) if {heavy} else 0)"
    )

    subprocess.run([sys.executable, "-c", code], check=True)


def test_whole_is_the_box_of_the_picture_without_a_score():
    detector = detection.open("whole")

    assert detector.detect(PICTURE) == [Detection(Box(0, 0, 6, 4), None)]
    assert (detector.name, detector.threshold) == ("whole", 0)


@pytest.mark.parametrize(
    ("height", "width", "persons"), [(1, 1, 0), (1, 2, 1), (2, 1, 1), (300, 1, 1)]
)
def test_whole_finds_nobody_in_one_pixel(height, width, persons):
    found = detection.open("whole").detect(np.zeros((height, width, 3), np.uint8))

    assert len(found) == persons


@pytest.mark.parametrize("name", ["", "tflite", "tflite:", "hog:file", "whole:file"])
def test_other_names_are_refused_with_the_known_contracts(name):
    known = "whole or one of tflite, rtmdet, yolox, saved_model, boxes with :PATH"

    with pytest.raises(InputError, match=f"{known}. Received: {name}$"):
        detection.open(name)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"detector's file at .*no.tflite, but there"):
        detection.open(f"tflite:{tmp_path / 'no.tflite'}")


def test_a_folder_for_a_file_and_a_file_for_a_folder_are_refused(tmp_path):
    file = tmp_path / "file"
    file.touch()

    with pytest.raises(
        InputError, match=f"a file for rtmdet, got the folder {tmp_path}"
    ):
        detection.open(f"rtmdet:{tmp_path}")
    with pytest.raises(
        InputError, match=f"a folder for saved_model, got the file {file}"
    ):
        detection.open(f"saved_model:{file}")


@pytest.mark.parametrize("contract", ["tflite", "rtmdet", "yolox", "boxes"])
def test_a_pose_model_of_kpose_is_named_as_such(contract):
    model = artefacts.resolve("compact")

    with pytest.raises(InputError, match=r"compact\.keras, but it is a pose model"):
        detection.open(f"{contract}:{model}")


@pytest.mark.parametrize("contract", ["tflite", "rtmdet", "yolox", "boxes"])
def test_a_text_file_is_refused_in_one_line(tmp_path, contract):
    path = tmp_path / "notes.txt"
    path.write_text("nothing\nof use\n")

    with pytest.raises(InputError, match=r"^expected .*, got .*notes\.txt: .+$"):
        detection.open(f"{contract}:{path}")


def test_usable_persons_come_best_first_and_croppable():
    good = Box(0, 0, 10, 10)
    outside = Box(-50, -50, -20, -10)
    found = [
        Detection(good, 0.05),
        Detection(good, 0.049),
        Detection(outside, 0.9),
        Detection(good, 0.9),
        Detection(good, None),
        Detection(Box(0, 0, 1.9, 1.9), 0.9),
        Detection(Box(5, 0, 5, 10), 0.9),
        Detection(Box(5, 0, 4, 10), 0.9),
        Detection(Box(0, 0, float("nan"), 10), 0.9),
        Detection(Box(0, 0, float("inf"), 10), 0.9),
        Detection(good, float("nan")),
    ]

    assert detection.usable(found) == [found[4], found[2], found[3], found[0]]


def test_confident_keeps_the_threshold_itself_and_boxes_without_score():
    found = [Detection(Box(0, 0, 9, 9), score) for score in (0.6, 0.5, 0.49, None)]

    assert detection.confident(found, 0.5) == [found[0], found[1], found[3]]


# Next to a box of 10 x 10, one of the same size at a distance of x has an intersection
# over union of (10 - x) / (10 + x): 0.5 at 10 / 3, 0.6 at 2.5.
@pytest.mark.parametrize(
    ("distance", "overlap", "kept"),
    [(2.5, 0.6, [1, 0]), (2.5, 0.59, [1]), (3.4, 0.5, [1, 0]), (3.3, 0.5, [1])],
)
def test_a_box_goes_where_it_overlaps_a_better_one_by_more(distance, overlap, kept):
    boxes = np.array([[distance, 0, 10 + distance, 10], [0, 0, 10, 10]], float)

    assert nms(boxes, np.array([0.5, 0.6]), overlap).tolist() == kept


def test_a_box_that_went_suppresses_nothing():
    # The second overlaps the first, the third only the second.
    boxes = np.array([[0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10]], float)

    assert nms(boxes, np.array([0.9, 0.8, 0.7])).tolist() == [0, 2]


def test_no_boxes_leave_none():
    assert nms(np.zeros((0, 4)), np.zeros(0)).tolist() == []


def test_boxes_without_an_area_stay_and_suppress_nothing():
    boxes = np.array([[5, 5, 5, 5], [5, 5, 5, 5], [0, 0, 10, 10]], float)

    assert nms(boxes, np.array([0.9, 0.8, 0.7])).tolist() == [0, 1, 2]


boxes_lists = st.lists(
    st.tuples(*[st.integers(0, 20)] * 2, *[st.integers(1, 20)] * 2, st.floats(0, 1)),
    max_size=12,
)


@given(boxes_lists)
def test_what_stays_overlaps_little_and_what_goes_overlaps_something_better(rows):
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h, _ in rows]).reshape(-1, 4)
    scores = np.array([row[4] for row in rows])

    kept = nms(boxes, scores).tolist()

    as_boxes = [Box(*map(float, box)) for box in boxes]
    for one in range(len(rows)):
        better = [k for k in kept if k != one and scores[k] >= scores[one]]
        overlaps = [as_boxes[one].iou(as_boxes[k]) for k in better]
        if one in kept:
            others = [as_boxes[one].iou(as_boxes[k]) for k in kept if k != one]
            assert all(iou <= 0.5 + 1e-9 for iou in others)
        else:
            assert any(iou > 0.5 - 1e-9 for iou in overlaps)


def test_a_wide_picture_fills_the_width_and_the_rest_is_grey():
    canvas, scale = letterbox(np.full((10, 40, 3), 200, np.uint8), 20, 20)

    assert (canvas[:5] == 200).all()
    assert (canvas[5:] == 114).all()
    assert scale.tolist() == [2, 2, 2, 2]


def test_a_tall_picture_is_enlarged_to_the_height():
    canvas, scale = letterbox(np.full((10, 5, 3), 200, np.uint8), 16, 20)

    assert (canvas[:, :10] == 200).all()
    assert (canvas[:, 10:] == 114).all()
    assert scale.tolist() == [0.5, 0.5, 0.5, 0.5]


@given(st.integers(1, 300), st.integers(1, 300))
def test_the_scale_takes_the_corner_of_the_picture_back_to_its_size(height, width):
    image = np.zeros((height, width, 3), np.uint8)

    canvas, scale = letterbox(image, 32, 24)

    filled = (canvas == 0).all(axis=2)
    corner = np.array([filled.any(axis=0).sum(), filled.any(axis=1).sum()])
    np.testing.assert_allclose(corner * scale[:2], [width, height], rtol=1e-12)
    assert canvas.shape == (24, 32, 3)
