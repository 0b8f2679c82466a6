"""Detectors of the TensorFlow Object Detection API."""

import numpy as np
import pytest
import tensorflow as tf

from kpose import detection
from kpose.detection import Detection
from kpose.errors import InputError
from kpose.geometry import Box

FOUND = {
    "detection_boxes": [
        [0.1, 0.2, 0.5, 0.8],
        [0, 0, 0.5, 0.5],
        [-0.1, 0, 1, 1.2],
        [0, 0, 1, 1],
    ],
    "detection_classes": [1, 18, 1, 1],
    "detection_scores": [0.875, 0.75, 0.5, 0.25],
}


@pytest.fixture(scope="module")
def save(tmp_path_factory):
    """Return a function that writes a SavedModel with the signature of the API.

    Scores are multiplied by the red of the first pixel, 0 to 1. Three of four rows
    count.
    """

    def write(input_name="input_tensor", dtype=tf.uint8, batch=1, left_out=(), **other):
        module = tf.Module()
        spec = tf.TensorSpec([batch, None, None, 3], dtype, name=input_name)

        @tf.function(input_signature=[spec])
        def answer(image):
            image = tf.cast(tf.ensure_shape(image, [1, None, None, 3]), tf.float32)
            found = {
                key: tf.constant([value], tf.float32)
                for key, value in (FOUND | other).items()
            }
            found["detection_scores"] *= image[0, 0, 0, 0] / 255
            found["num_detections"] = tf.constant([3.0])
            # More than the contract asks for, as real files have.
            found["raw_detection_scores"] = tf.zeros([1, 9, 91])
            return {key: value for key, value in found.items() if key not in left_out}

        folder = tmp_path_factory.mktemp("saved") / "model"
        module.answer = answer
        tf.saved_model.save(module, str(folder), {"serving_default": answer})
        return folder

    return write


def picture(red, height=100, width=200):
    return np.full((height, width, 3), (red, 0, 255), np.uint8)


@pytest.mark.parametrize("input_name", ["input_tensor", "inputs"])
def test_persons_are_class_1_in_the_pixels_of_the_picture(save, input_name):
    detector = detection.open(f"saved_model:{save(input_name)}")

    found = detector.detect(picture(255))

    assert [one.score for one in found] == pytest.approx([0.875, 0.5])
    boxes = np.array([one.box for one in found])
    expected = [(40, 10, 160, 50), (0, -10, 240, 100)]
    np.testing.assert_allclose(boxes, expected, atol=1e-4)
    assert detector.threshold == 0.5


def test_the_red_channel_comes_first(save):
    found = detection.open(f"saved_model:{save()}").detect(picture(51))

    assert [one.score for one in found] == pytest.approx([0.175, 0.1])


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (2, 3)])
def test_tiny_pictures_work(save, size):
    found = detection.open(f"saved_model:{save()}").detect(picture(255, *size))

    assert all(isinstance(one, Detection) and isinstance(one.box, Box) for one in found)
    assert bool(found) == (size != (1, 1))


def test_the_identity_follows_the_content(save):
    one, other = save(), save(detection_classes=[1, 1, 1, 1])
    opened = [detection.open(f"saved_model:{path}") for path in (one, one, other)]

    assert opened[0].identity == opened[1].identity != opened[2].identity


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"input_name": "image"}, r"with image -> detection_boxes"),
        ({"left_out": ["num_detections"]}, r"num_detections\), got .* input_tensor ->"),
        ({"dtype": tf.float32}, r"C\+\+ loader cannot run"),
        ({"detection_classes": [1, 1]}, r"expected detection_boxes \[1, N, 4\]"),
    ],
    ids=["input", "output", "float", "shapes"],
)
def test_other_signatures_are_refused_with_what_came(save, changes, what):
    path = save(**changes)

    with pytest.raises(InputError, match=what):
        detection.open(f"saved_model:{path}")


def test_a_folder_that_is_no_saved_model_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"expected a SavedModel in"):
        detection.open(f"saved_model:{tmp_path}")
