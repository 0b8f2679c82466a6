"""Detectors of the four-tensor TFLite contract."""

import contextlib

import numpy as np
import pytest

from kpose import detection
from kpose.detection import Detection
from kpose.errors import InputError
from kpose.geometry import Box

BOXES = [
    [0.1, 0.2, 0.5, 0.8],
    [0.0, 0.0, 0.5, 0.5],
    [-0.1, 0.0, 1.0, 1.2],
    [0, 0, 1, 1],
]
SCORES = [0.875, 0.75, 0.5, 0.25]
CLASSES = [0, 16, 0, 0]

ORDERS = {
    "tensorflow_1": ["boxes", "classes", "scores", "count"],
    "tensorflow_2": ["scores", "boxes", "count", "classes"],
    "neither": ["count", "scores", "classes", "boxes"],
}


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    """Return a function that writes a TFLite file whose outputs are constants.

    The scores are multiplied by the mean of the red channel, 0 to 1.
    """
    import tensorflow as tf

    def make(name, order=ORDERS["tensorflow_1"], dtype="uint8", red=True, **replaced):
        path = tmp_path_factory.mktemp("tflite") / name
        values = {"boxes": BOXES, "classes": CLASSES, "scores": SCORES, "count": 3}
        values |= replaced

        def answer(image):
            pixels = tf.cast(image, tf.float32)
            if dtype == "float32":
                pixels = pixels * 127.5 + 127.5
            level = tf.reduce_mean(pixels[..., 0]) / 255 if red else 1.0
            # Zero, but the converter does not know: constant outputs it would merge.
            nothing = tf.minimum(tf.reduce_mean(pixels), 0.0)
            found = {
                key: tf.constant([value], tf.float32) + nothing
                for key, value in values.items()
            }
            found["scores"] *= level
            return [found[key] for key in order]

        concrete = tf.function(
            answer, input_signature=[tf.TensorSpec([1, 8, 8, 3], dtype)]
        ).get_concrete_function()
        with contextlib.redirect_stderr(None):
            data = tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert()
        path.write_bytes(data)
        return f"tflite:{path}"

    return make


def picture(red=255, height=100, width=200):
    """Return a picture of one colour: (red, 51, 0)."""
    return np.full((height, width, 3), (red, 51, 0), np.uint8)


PERSONS = [
    Detection(Box(40, 10, 160, 50), pytest.approx(0.875, abs=1e-5)),
    Detection(Box(0, -10, 240, 100), pytest.approx(0.5, abs=1e-5)),
]
"""Rows 0 and 2: row 1 is a cat, row 3 comes after the count."""


def check(found, expected=PERSONS):
    assert len(found) == len(expected)
    for one, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.box, wanted.box, atol=1e-4)
        assert one.score == wanted.score


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_each_order_of_the_outputs_gives_the_same_persons(write, order):
    check(detection.open(write("any.tflite", order)).detect(picture()))


def test_a_float_file_gets_minus_one_to_one(write):
    detector = detection.open(write("float.tflite", dtype="float32"))

    check(detector.detect(picture()))


def test_the_red_channel_comes_first(write):
    found = detection.open(write("red.tflite")).detect(picture(red=102))

    # 0.4 of 0.875 and of 0.5; green would give 0.2, blue nothing.
    assert [one.score for one in found] == pytest.approx([0.35, 0.2], abs=1e-5)


def test_scores_under_the_floor_are_left_out(write):
    found = detection.open(write("red.tflite")).detect(picture(red=20))

    assert [one.score for one in found] == pytest.approx([0.875 * 20 / 255], abs=1e-5)


@pytest.mark.parametrize(
    ("order", "known"),
    [("tensorflow_1", True), ("tensorflow_2", True), ("neither", False)],
)
def test_where_values_say_nothing_the_place_of_the_boxes_decides(write, order, known):
    # Ones and zeros can be read both ways.
    name = write(
        "flat.tflite", ORDERS[order], red=False, scores=[1] * 4, classes=[0, 0, 0, 0]
    )
    if known:
        # Read the other way, no row would score anything.
        assert len(detection.open(name).detect(picture())) == 3
    else:
        with pytest.raises(
            InputError, match=r"flat.tflite does not show which is which"
        ):
            detection.open(name)


def test_values_win_over_the_place_of_the_boxes(write):
    swapped = ["boxes", "scores", "classes", "count"]

    check(detection.open(write("swapped.tflite", swapped)).detect(picture()))


@pytest.mark.parametrize(
    "replaced",
    [
        {"scores": [0.25, 0.5, 0.75, 0.875]},  # they rise
        {"scores": [1.5, 0.75, 0.5, 0.25], "red": False},
        {"classes": [0.5, 16, 0, 0]},
    ],
    ids=["rising", "above_one", "fraction"],
)
def test_outputs_that_are_neither_scores_nor_classes_are_refused(write, replaced):
    with pytest.raises(InputError, match="expected an output with scores"):
        detection.open(write("odd.tflite", **replaced))


@pytest.mark.parametrize(
    "replaced",
    [
        {"boxes": [[0, 0, 1, 1]]},
        {"count": [[1.0]]},
        {"classes": [0, 0]},
    ],
    ids=["boxes_of_one", "count_3d", "two_classes"],
)
def test_outputs_of_other_shapes_are_refused_with_what_came(write, replaced):
    with pytest.raises(InputError, match=r"expected .* boxes \[1, N, 4\].* got .*odd"):
        detection.open(write("odd.tflite", **replaced))


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (200, 1), (2, 3)])
def test_tiny_pictures_work(write, size):
    found = detection.open(write("any.tflite")).detect(picture(255, *size))

    # Of a picture of 1 x 1, the first box has 0.6 x 0.4 pixels: nothing to crop.
    assert len(found) == {(1, 1): 0, (2, 3): 1}.get(size, 2)


def test_a_file_that_is_cut_short_is_refused(write):
    name = write("whole.tflite")
    path = name.removeprefix("tflite:")
    with open(path, "rb") as file:
        data = file.read()
    with open(path, "wb") as file:
        file.write(data[: len(data) // 2])

    with pytest.raises(InputError, match=r"expected a .*TFLite file.*whole"):
        detection.open(name)
