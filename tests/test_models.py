"""Networks: the shapes and counts of docs/decisions.md, and the decode by hand."""

import keras
import numpy as np
import pytest
from keras import ops

from kpose import models
from kpose.errors import InputError
from kpose.joints import BODY_13, COCO_17
from kpose.models import compact, heads, linna2016

# Output of every layer of the paper's network that changes a shape (VGG_CNN_S body with
# Caffe's rounding up in the pools).
LINNA_SHAPES = {
    "conv1": (109, 109, 96),
    "lrn1": (109, 109, 96),
    "pool1": (37, 37, 96),
    "conv2": (33, 33, 256),
    "pool2": (17, 17, 256),
    "conv3": (17, 17, 512),
    "conv4": (17, 17, 512),
    "conv5": (17, 17, 512),
    "pool5": (6, 6, 512),
    "flatten": (18432,),
    "fc6": (4096,),
    "fc7": (4096,),
    "fc8": (26,),
    "keypoints": (13, 2),
}
LINNA_WEIGHTS = {
    "conv1": 14_208,
    "conv2": 614_656,
    "conv3": 1_180_160,
    "conv4": 2_359_808,
    "conv5": 2_359_808,
    "fc6": 75_501_568,
    "fc7": 16_781_312,
    "fc8": 106_522,
}


def test_linna2016_has_the_published_shapes_and_weights():
    network = models.build("linna2016")

    shapes = {name: network.get_layer(name).output.shape[1:] for name in LINNA_SHAPES}
    weights = {name: network.get_layer(name).count_params() for name in LINNA_WEIGHTS}

    assert shapes == LINNA_SHAPES
    assert weights == LINNA_WEIGHTS
    assert network.count_params() == 98_918_042


def test_linna2016_starts_as_caffe_does():
    network = models.build("linna2016", width=0.25)
    for name in ("conv1", "conv3", "fc6"):
        kernel, bias = network.get_layer(name).get_weights()
        limit = np.sqrt(3 / np.prod(kernel.shape[:-1]))  # Caffe's Xavier: fan in only
        assert np.abs(kernel).max() <= limit * (1 + 1e-6)  # a float32 beside a float64
        assert np.abs(kernel).max() > 0.98 * limit  # Glorot's would be narrower
        assert not bias.any()


@pytest.mark.parametrize("lrn", [True, False])
@pytest.mark.parametrize("dropout", [0.5, 0.0])
def test_linna2016_switches(lrn, dropout):
    names = [
        layer.name
        for layer in models.build(
            "linna2016", width=0.02, lrn=lrn, dropout=dropout
        ).layers
    ]

    assert ("lrn1" in names) == lrn
    assert ("fc6_drop" in names) == ("fc7_drop" in names) == bool(dropout)


def test_linna2016_normalises_as_the_paper():
    network = models.build("linna2016", width=0.02)
    normalise = network.get_layer("normalise")

    scaled = ops.convert_to_numpy(normalise(np.array([0.0, 127.0, 255.0])))

    np.testing.assert_allclose(scaled, [-127 / 128, 0, 1], atol=1e-6)


def test_lrn_is_caffes():
    x = np.random.default_rng(0).uniform(0, 60, (1, 1, 2, 9)).astype(np.float32)
    expected = np.empty_like(x)
    for channel in range(9):
        near = x[..., max(channel - 2, 0) : channel + 3]
        total = 2 + 5e-4 / 5 * np.square(near).sum(axis=-1)
        expected[..., channel] = x[..., channel] * total**-0.75

    found = linna2016.LocalResponseNormalization()(x)

    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, rtol=1e-5)


def test_caffe_pooling_hangs_over_right_and_bottom():
    x = np.arange(1, 17, dtype=np.float32).reshape(1, 4, 4, 1)  # 4 = 3 + 1 left over
    image = keras.Input((4, 4, 1))
    pooled = keras.Model(image, linna2016._caffe_pool(image, "pool", 3))(x)

    # Windows are columns 0-2 and 3; TensorFlow's "same" would pad the left as well.
    np.testing.assert_array_equal(
        ops.convert_to_numpy(pooled)[0, :, :, 0], [[11, 12], [15, 16]]
    )


def test_compact_contract_simcc():
    network = compact.build(size=64, backbone="mobilenet_v2_0.35")

    out = network(np.zeros((2, 64, 64, 3), np.float32))

    assert {name: tuple(value.shape) for name, value in out.items()} == {
        "keypoints": (2, 13, 2),
        "confidence": (2, 13),
        "logits": (2, 13, 2, 80),  # one bin per pixel over 1.25 crops
    }


def test_compact_contract_regression_starts_at_the_centre():
    network = compact.build(
        size=64, backbone="mobilenet_v1_0.25", head="regression", skeleton=COCO_17
    )

    out = network(np.full((1, 64, 64, 3), 127.5, np.float32))

    assert {name: tuple(value.shape) for name, value in out.items()} == {
        "keypoints": (1, 17, 2)
    }
    np.testing.assert_allclose(out["keypoints"], 0.5, atol=0.25)


def test_compact_normalises_as_keras_applications():
    network = compact.build(size=32, backbone="mobilenet_v1_0.25")
    normalise = network.get_layer("normalise")

    scaled = ops.convert_to_numpy(normalise(np.array([0.0, 127.5, 255.0])))

    np.testing.assert_allclose(scaled, [-1, 0, 1], atol=1e-6)


@pytest.mark.parametrize("backbone", list(compact.BACKBONES))
def test_early_layers_are_frozen_only_with_their_weights(backbone, tmp_path):
    family, alpha = compact.BACKBONES[backbone]
    source = getattr(keras.applications, family)(
        alpha=alpha, include_top=False, weights=None, input_shape=(32, 32, 3)
    )
    path = tmp_path / "net.weights.h5"
    source.save_weights(path)

    loaded = compact.build(size=32, backbone=backbone, backbone_weights=path)
    random = compact.build(size=32, backbone=backbone)

    inner = loaded.get_layer("backbone")
    early = compact.EARLY[family]
    names = [layer.name for layer in inner.layers]
    frozen = [layer.name for layer in inner.layers if not layer.trainable]
    assert frozen == names[: names.index(early) + 1]
    assert all(layer.trainable for layer in random.get_layer("backbone").layers)
    first = next(layer for layer in inner.layers if layer.weights)
    original = source.get_layer(first.name)
    np.testing.assert_array_equal(first.get_weights()[0], original.get_weights()[0])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet", {}, "model must be one of compact, linna2016"),
        ("compact", {"width": 2}, "width"),
        ("compact", {"backbone": "vgg"}, "backbone must be one of"),
        ("compact", {"head": "heatmap"}, "head must be simcc or regression"),
        ("compact", {"size": 100}, "multiple of 32"),
    ],
)
def test_wrong_networks_are_refused(name, options, message):
    with pytest.raises(InputError, match=message):
        models.build(name, **options)


def test_wrong_backbone_weights_are_refused(tmp_path):
    path = tmp_path / "net.weights.h5"
    keras.applications.MobileNet(
        alpha=0.25, include_top=False, weights=None, input_shape=(32, 32, 3)
    ).save_weights(path)

    with pytest.raises(InputError, match=r"net\.weights\.h5 must hold weights of Mobi"):
        compact.build(size=32, backbone="mobilenet_v2_0.35", backbone_weights=path)


def test_bins_cover_the_range():
    centres = heads.bin_centres(5)

    np.testing.assert_allclose(centres, [0.0, 0.25, 0.5, 0.75, 1.0], atol=1e-7)


def test_decode_is_the_expectation():
    logits = np.log(np.array([[[[1, 2, 1, 0.5, 0.5], [1, 1, 1, 1, 1]]]], np.float32))

    keypoints, _ = heads.SimCCDecode()(logits)

    # x: (0 * 1 + 0.25 * 2 + 0.5 * 1 + 0.75 * 0.5 + 1 * 0.5) / 5; y: the middle.
    np.testing.assert_allclose(keypoints, [[[1.875 / 5, 0.5]]], atol=1e-6)


def test_sharper_decode_follows_the_main_mode():
    logits = np.log(np.array([[[[6, 1e-6, 1e-6, 1e-6, 4]] * 2]], np.float32))

    plain, _ = heads.SimCCDecode()(logits)
    sharp, _ = heads.SimCCDecode(sharpness=8.0)(logits)

    np.testing.assert_allclose(plain[0, 0, 0], 0.4, atol=1e-4)
    weight = 4**8 / (6**8 + 4**8)
    np.testing.assert_allclose(sharp[0, 0, 0], weight, atol=1e-4)


def test_confidence_is_the_mass_around_the_answer():
    # 25 bins of 0.05: all mass of x in one bin, y split over two ends.
    logits = np.full((1, 1, 2, 25), -40, np.float32)
    logits[0, 0, 0, 12] = 0
    logits[0, 0, 1, [0, 24]] = 0

    _, confidence = heads.SimCCDecode()(logits)
    logits[0, 0, 1] = logits[0, 0, 0]
    _, sure = heads.SimCCDecode()(logits)

    np.testing.assert_allclose(confidence, 0, atol=1e-6)  # nothing at the middle of y
    np.testing.assert_allclose(sure, 1, atol=1e-6)


def peaks(*heights):
    """Return logits ``(1, joints, 2, 25)`` whose raw confidences are ``heights``.

    So much of the mass is in the middle bin; the rest lies at both ends, far away.
    """
    mass = np.full((1, len(heights), 2, 25), 1e-12)
    for joint, height in enumerate(heights):
        mass[0, joint, :, 12] = height
        mass[0, joint, :, [0, 24]] = (1 - height) / 2
    return np.log(mass).astype(np.float32)


def test_calibration_is_a_curve_through_its_knots():
    logits = peaks(0.1, 0.25, 0.4, 0.5, 0.65, 0.75, 0.9)
    curve = [[0.2, 0.3, 0.5, 0.5001, 0.8], [0.05, 0.05, 0.45, 0.6, 0.9]]

    raw = heads.SimCCDecode()(logits)
    keypoints, confidence = heads.SimCCDecode(calibration=curve)(logits)

    np.testing.assert_allclose(raw[1][0], [0.1, 0.25, 0.4, 0.5, 0.65, 0.75, 0.9], 1e-5)
    np.testing.assert_allclose(confidence, np.interp(raw[1], *curve), atol=2e-3)
    np.testing.assert_allclose(confidence[0, :3], [0.05, 0.05, 0.25], atol=1e-5)
    np.testing.assert_allclose(confidence[0, -1], 0.9, atol=1e-6)
    np.testing.assert_array_equal(keypoints, raw[0])


def test_a_calibrated_confidence_is_never_above_1():
    curve = [[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.1, 0.23, 0.37, 0.52, 0.61, 1.0]]

    _, confidence = heads.SimCCDecode(calibration=curve)(peaks(0.59, 0.6, 0.7, 0.999))

    assert ops.max(confidence) <= 1
    np.testing.assert_allclose(confidence[0, 1:], 1, atol=1e-4)


def test_calibration_survives_a_round_trip_and_can_be_taken_back(tmp_path):
    network = compact.build(size=32, backbone="mobilenet_v1_0.25")
    crops = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    raw = network(crops)["confidence"]
    low, high = float(ops.min(raw)) - 0.01, float(ops.max(raw)) + 0.01

    heads.set_calibration(network, [[low, high], [0.25, 0.75]])
    network.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    heads.set_calibration(network, None)

    expected = 0.25 + 0.5 * (raw - low) / (high - low)
    np.testing.assert_allclose(loaded(crops)["confidence"], expected, atol=1e-5)
    np.testing.assert_array_equal(network(crops)["confidence"], raw)


def test_a_regression_head_has_nothing_to_calibrate():
    network = compact.build(size=32, backbone="mobilenet_v1_0.25", head="regression")

    heads.set_calibration(network, [[0, 1], [0, 1]])

    assert set(network(np.zeros((1, 32, 32, 3), np.float32))) == {"keypoints"}


def test_decode_survives_a_round_trip(tmp_path):
    network = compact.build(
        size=32, backbone="mobilenet_v1_0.25", sharpness=3.0, skeleton=BODY_13
    )
    network.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    x = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)).astype(np.float32)

    assert loaded.get_layer("decode").sharpness == 3.0
    np.testing.assert_array_equal(network(x)["keypoints"], loaded(x)["keypoints"])
