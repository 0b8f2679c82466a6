"""EfficientPose: the 13 joints of its 16 maps, and files that are no EfficientPose."""

import os
from pathlib import Path

import numpy as np
import pytest

from kpose import images, peers, screening
from kpose.errors import InputError
from kpose.joints import BODY_13
from kpose.peers import efficientpose
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


def peaks(places, side=20):
    """Return maps (1, side, side, 16) with one lit pixel each, at (x, y)."""
    maps = np.zeros((1, side, side, 16), np.float32)
    for index, (x, y) in enumerate(places):
        maps[0, y, x, index] = 1
    return maps


def test_each_joint_is_at_the_peak_of_its_own_map():
    # Joint i of MPII at pixel (i + 2, 17 - i).
    maps = peaks([(i + 2, 17 - i) for i in range(16)])

    said = efficientpose.body_13(maps)

    for name in BODY_13.names[1:]:
        at, row = BODY_13.names.index(name), efficientpose.NAMES.index(name)
        # The centre of pixel i of 20 is at (i + 0.5) / 20.
        expected = (row + 2.5) / 20, (17.5 - row) / 20
        np.testing.assert_allclose(said["keypoints"][0, at], expected, rtol=1e-6)
    assert said["keypoints"].shape == (1, 13, 2)
    assert said["keypoints"].dtype == said["confidence"].dtype == np.float32


def test_the_head_is_midway_between_head_top_and_neck():
    places = [(10, 10)] * 16
    places[efficientpose.NAMES.index("head_top")] = (8, 3)
    places[efficientpose.NAMES.index("upper_neck")] = (12, 9)

    said = efficientpose.body_13(peaks(places))

    # Pixel (10, 6): not the thorax, not the head top.
    np.testing.assert_allclose(said["keypoints"][0, 0], [10.5 / 20, 6.5 / 20])


def test_a_map_is_smoothed_before_its_peak_is_taken():
    # One pixel of 1 against a square of nine of 0.9: the Gaussian prefers the square.
    maps = np.zeros((1, 20, 20, 16), np.float32)
    maps[0, 4, 4] = 1
    maps[0, 11:14, 13:16] = 0.9

    said = efficientpose.body_13(maps)

    np.testing.assert_allclose(said["keypoints"][0], [[14.5 / 20, 12.5 / 20]] * 13)
    # A Gaussian of sigma 1 has 0.242 + 0.399 + 0.242 of its weight on three pixels.
    np.testing.assert_allclose(
        said["confidence"][0], 0.9 * (0.2420 + 0.3989 + 0.2420) ** 2, atol=1e-3
    )


def test_confidence_stays_within_0_and_1():
    maps = np.full((1, 8, 8, 16), 1.5, np.float32)
    maps[..., efficientpose.NAMES.index("left_knee")] = -0.5

    sure = efficientpose.body_13(maps)["confidence"][0]

    assert sure[BODY_13.names.index("left_knee")] == 0
    assert sure[BODY_13.names.index("right_knee")] == 1


def test_files_that_are_none_are_refused_by_name(tmp_path):
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(b"\x1c\0\0\0TFL3 and nothing more")

    with pytest.raises(InputError, match=r"EfficientPose's.*nobody\.tflite, but there"):
        peers.open(f"efficientpose:{tmp_path / 'nobody.tflite'}")
    with pytest.raises(InputError, match=r"interpreter loads, got .*damaged\.tflite"):
        peers.open(f"efficientpose:{damaged}")


def test_another_network_is_refused_by_its_signature():
    path = model("movenet_lightning_int8", LIGHTNING)

    with pytest.raises(
        InputError, match=r"^expected EfficientPose: .*upscaled_confs.* Received: .*\Z"
    ) as refused:
        peers.open(f"efficientpose:{path}")
    assert "\n" not in str(refused.value)


def test_the_real_network_sees_persons_of_lsp(lsp_folder):
    path = model("efficientpose_rt", "EfficientPoseRT.tflite")
    network = peers.open(f"efficientpose:{path}")
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

    assert network.size == 224 and network.flip_curve is None
    assert network.skeleton == BODY_13
    assert np.mean(np.array(errors) <= 0.2) > 0.6
    nobody = network.predict(np.zeros((0, 224, 224, 3), np.uint8))
    assert nobody.keypoints.shape == (0, 13, 2)
