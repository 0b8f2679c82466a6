"""MoveNet: the 13 joints of its 17 keypoints, and files that are no MoveNet."""

import os
from pathlib import Path

import numpy as np
import pytest

from kpose import images, peers, screening
from kpose.errors import InputError
from kpose.joints import BODY_13, COCO_17
from kpose.peers import movenet
from kpose_datasets import lsp

MODELS = Path(
    os.environ.get("KPOSE_MODELS", Path(__file__).parents[2] / "shared" / "models")
)

LIGHTNING = "lite-model_movenet_singlepose_lightning_tflite_int8_4.tflite"


def model(folder, name):
    path = MODELS / folder / name
    if not path.is_file():
        pytest.skip(f"no {folder}/{name} in {MODELS} (set KPOSE_MODELS)")
    return path


def test_joints_keep_their_side_and_x_comes_first():
    # Keypoint i of COCO at y = i / 100, x = i / 50, score i / 20.
    rows = np.arange(17.0)
    points = np.stack([rows / 100, rows / 50, rows / 20], axis=1)[None]

    said = movenet.body_13(points)

    for name in BODY_13.names[1:]:
        at, row = BODY_13.names.index(name), COCO_17.names.index(name)
        np.testing.assert_allclose(said["keypoints"][0, at], [row / 50, row / 100])
        np.testing.assert_allclose(said["confidence"][0, at], row / 20, rtol=1e-6)


def test_the_head_is_a_fifth_of_the_way_from_face_to_shoulders():
    points = np.zeros((1, 17, 3))
    points[0, :5, 0] = 0.2  # y of nose, eyes and ears
    points[0, :5, 1] = [0.5, 0.4, 0.6, 0.3, 0.7]
    points[0, :5, 2] = [1, 0.5, 0.5, 0, 0]
    for side, x in (("left", 0.9), ("right", 0.5)):
        points[0, COCO_17.names.index(f"{side}_shoulder")] = 0.6, x, 1

    said = movenet.body_13(points)

    # Face (0.5, 0.2), middle of the shoulders (0.7, 0.6).
    np.testing.assert_allclose(said["keypoints"][0, 0], [0.54, 0.28], rtol=1e-6)
    np.testing.assert_allclose(said["confidence"][0, 0], 0.4, rtol=1e-6)


def test_a_file_that_is_none_is_refused_by_name(tmp_path):
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(b"\x1c\0\0\0TFL3 and nothing more")

    with pytest.raises(InputError, match=r"nobody\.tflite, but there is none"):
        peers.open(f"movenet:{tmp_path / 'nobody.tflite'}")
    with pytest.raises(InputError, match=r"interpreter loads, got .*damaged\.tflite"):
        peers.open(f"movenet:{damaged}")


def test_a_name_without_the_prefix_is_a_model_of_kpose(tmp_path):
    with pytest.raises(InputError, match="there is no"):
        peers.open(str(tmp_path / "nothing"))


def test_another_network_is_refused_by_its_signature():
    path = model("efficientpose_rt", "EfficientPoseRT.tflite")

    with pytest.raises(InputError, match=r"MoveNet single-pose.*EfficientPoseRT"):
        peers.open(f"movenet:{path}")


def test_the_real_network_sees_a_person_of_lsp(lsp_folder):
    network = peers.open(f"movenet:{model('movenet_lightning_int8', LIGHTNING)}")
    errors = []
    for record in (r for r, _ in zip(lsp.read(lsp_folder), range(8), strict=False)):
        if not record.image.path.is_file():
            pytest.skip(f"no {record.image.path}")
        square = screening.place(record).square
        crop = images.crop(images.read(record.image), square, network.size)
        said = network.predict(crop[None])
        label = square.joints_to_crop(record.joints)[:, :2]
        a, b = BODY_13.torso
        torso = np.hypot(*(label[a] - label[b]))
        errors += (np.hypot(*(said.keypoints[0] - label).T) / torso).tolist()

    assert network.size == 192 and network.flip_curve is None
    assert np.mean(np.array(errors) <= 0.2) > 0.7
    assert network.predict(np.zeros((0, 192, 192, 3), np.uint8)).keypoints.shape == (
        0,
        13,
        2,
    )
    with pytest.raises(InputError, match=r"crops must be uint8 of shape \(N, 192"):
        network.predict(np.zeros((1, 64, 64, 3), np.uint8))
