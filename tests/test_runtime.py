import shutil

import keras
import numpy as np
import pytest

from kpose import runtime
from kpose.confidence import Curve
from kpose.errors import InputError
from kpose.export import savedmodel, tflite
from kpose.export.cpp_loader import CppLoaderError
from kpose.joints import Skeleton
from kpose.models import store
from kpose.runtime import Prediction

SKELETON = Skeleton(("head", "right_hand", "left_hand"), (("head", "left_hand"),))
SIZE = 8
CARD = {"model": {"name": "tiny"}, "skeleton": SKELETON.to_json(), "size": SIZE}


def tiny(confidence):
    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = keras.layers.Rescaling(1 / 128, -1)(image)
    x = keras.layers.Conv2D(4, 3, activation="relu")(x)
    x = keras.layers.Dropout(0.5)(keras.layers.Flatten()(x))
    points = keras.layers.Dense(6, kernel_initializer="glorot_uniform")(x)
    outputs = {"keypoints": keras.layers.Reshape((3, 2))(points)}
    if confidence:
        outputs["confidence"] = keras.layers.Dense(3, activation="sigmoid")(x)
        outputs["logits"] = keras.layers.Dense(5)(x)
    return keras.Model(image, outputs)


@pytest.fixture(scope="module")
def crops():
    return np.random.default_rng(1).integers(0, 256, (5, SIZE, SIZE, 3), np.uint8)


@pytest.fixture(scope="module", params=[True, False], ids=["confidence", "regression"])
def stored(request, tmp_path_factory):
    """The same network in all three forms, and its own answer."""
    keras.utils.set_random_seed(3)
    network = tiny(request.param)
    folder = tmp_path_factory.mktemp("models")
    card = store.save(network, CARD, folder / "net.keras")
    savedmodel.write(network, card, folder / "saved")
    (folder / "net.tflite").write_bytes(tflite.convert(network, card))
    return folder, network, card


@pytest.mark.parametrize(
    ("name", "kind"),
    [("net.keras", "keras"), ("saved", "saved_model"), ("net.tflite", "tflite")],
)
def test_every_form_answers_as_the_network(stored, crops, name, kind, tmp_path):
    folder, network, card = stored
    # The name must not matter.
    moved = tmp_path / "renamed.bin"
    (shutil.copytree if (folder / name).is_dir() else shutil.copy)(folder / name, moved)
    wanted = network(crops.astype(np.float32), training=False)

    model = runtime.open(moved)
    got = model.predict(crops)

    assert (model.kind, model.card, model.size) == (kind, card, SIZE)
    assert model.skeleton == SKELETON
    assert got.keypoints.dtype == np.float32
    assert np.std(got.keypoints, axis=0).min() > 0.01
    np.testing.assert_allclose(got.keypoints, wanted["keypoints"], atol=1e-6)
    if "confidence" in wanted:
        np.testing.assert_allclose(got.confidence, wanted["confidence"], atol=1e-6)
    else:
        assert got.confidence is None


def test_run_folder_answers_by_its_best_checkpoint(stored, crops, tmp_path):
    folder, network, _ = stored
    shutil.copy(folder / "net.keras", tmp_path / "best.keras")

    got = runtime.open(tmp_path).predict(crops)

    wanted = network(crops.astype(np.float32), training=False)["keypoints"]
    np.testing.assert_allclose(got.keypoints, wanted, atol=1e-6)


class TestRuntime:
    def make(self, calls):
        def run(crops):
            calls.append(len(crops))
            first = crops[:, 0, 0, 0].astype(np.float32)
            return {"keypoints": np.tile(first[:, None, None], (1, 3, 2))}

        return runtime.Runtime(run, CARD, "keras")

    def test_many_crops_go_in_bounded_batches_and_keep_their_order(self):
        calls = []
        crops = np.zeros((70, SIZE, SIZE, 3), np.uint8)
        crops[:, 0, 0, 0] = np.arange(70)

        got = self.make(calls).predict(crops)

        assert calls == [32, 32, 6]
        np.testing.assert_array_equal(got.keypoints[:, 2, 1], np.arange(70))

    def test_no_crop_gives_no_row(self):
        calls = []

        got = self.make(calls).predict(np.zeros((0, SIZE, SIZE, 3), np.uint8))

        assert got.keypoints.shape == (0, 3, 2)
        assert calls == []

    @pytest.mark.parametrize(
        "crops",
        [
            np.zeros((1, SIZE, SIZE, 3), np.float32),
            np.zeros((SIZE, SIZE, 3), np.uint8),
            np.zeros((1, SIZE, SIZE + 1, 3), np.uint8),
            np.zeros((1, SIZE, SIZE, 1), np.uint8),
        ],
        ids=["float", "rank", "size", "grey"],
    )
    def test_other_crops_are_refused(self, crops):
        with pytest.raises(InputError, match=r"uint8 of shape \(N, 8, 8, 3\)\. Rec"):
            self.make([]).predict(crops)


class Asymmetric:
    """Answers one thing to a plain crop and another to a mirrored one."""

    skeleton = SKELETON

    def __init__(self, confidence=True, flip_curve=None):
        self.confidence = confidence
        self.flip_curve = flip_curve

    def predict(self, crops):
        plain = np.array([[0.5, 0.1], [0.2, 0.4], [0.8, 0.5]], np.float32)
        mirrored = np.array([[0.6, 0.3], [0.3, 0.7], [0.9, 0.6]], np.float32)
        left_dark = crops[:, 0, 0, 0] == 0
        keypoints = np.where(left_dark[:, None, None], plain, mirrored)
        sure = np.where(left_dark[:, None], [0.2, 0.4, 0.6], [0.4, 0.8, 0.2])
        return Prediction(keypoints, sure if self.confidence else None)


def test_flip_average_equals_the_hand_computation():
    crops = np.zeros((2, SIZE, SIZE, 3), np.uint8)
    crops[:, :, SIZE - 1] = 255  # dark left edge, bright right edge

    got = runtime.predict_flip(Asymmetric(), crops)

    # Mirrored back: head (0.4, 0.3), right hand = 1 - left hand = (0.1, 0.6),
    # left hand = 1 - right hand = (0.7, 0.7).
    expected = [[0.45, 0.2], [0.15, 0.5], [0.75, 0.6]]
    np.testing.assert_allclose(got.keypoints, [expected, expected], atol=1e-6)
    np.testing.assert_allclose(got.confidence, [[0.3, 0.3, 0.7]] * 2, atol=1e-6)
    assert got.keypoints.dtype == got.confidence.dtype == np.float32


def test_flip_average_without_confidence():
    crops = np.zeros((1, SIZE, SIZE, 3), np.uint8)

    assert runtime.predict_flip(Asymmetric(confidence=False), crops).confidence is None


def test_flip_test_goes_through_its_curve():
    crops = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    crops[:, :, SIZE - 1] = 255
    curve = Curve([0.2, 0.4, 0.8], [0.1, 0.6, 0.8])

    got = runtime.predict_flip(Asymmetric(flip_curve=curve), crops)

    # The means are 0.3, 0.3 and 0.7.
    np.testing.assert_allclose(got.confidence, [[0.35, 0.35, 0.75]], atol=1e-6)
    assert got.confidence.dtype == np.float32


def test_flip_test_gives_regression_a_confidence():
    crops = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    crops[:, :, SIZE - 1] = 255
    curve = Curve([0.0, 1.0], [1.0, 0.0])

    got = runtime.predict_flip(Asymmetric(confidence=False, flip_curve=curve), crops)

    # Mirrored back: (0.4, 0.3), (0.1, 0.6), (0.7, 0.7); the mean pose spans 0.6 x 0.4.
    apart = np.hypot([0.1, 0.1, 0.1], [0.2, 0.2, 0.2]) / np.hypot(0.6, 0.4)
    np.testing.assert_allclose(got.confidence, [1 - apart], atol=1e-5)


def test_the_curve_of_the_flip_test_comes_from_the_card():
    calibration = {"raw": [0.1, 0.5], "probability": [0.2, 0.9]}
    card = CARD | {"confidence": {"one_pass": None, "flip_test": calibration}}

    calibrated = runtime.Runtime(lambda crops: {}, card, "keras")

    assert calibrated.flip_curve == ([0.1, 0.5], [0.2, 0.9])
    assert runtime.Runtime(lambda crops: {}, CARD, "keras").flip_curve is None


def test_the_packaged_model_is_calibrated_as_its_card_says():
    network, card = store.load("compact")

    one_pass = card["confidence"]["one_pass"]
    decode = network.get_layer("decode")
    assert decode.calibration == [one_pass["raw"], one_pass["probability"]]
    assert card["confidence"]["flip_test"]["persons"] == 400


class TestBadModel:
    def test_missing(self, tmp_path):
        with pytest.raises(InputError, match=r"expected a run folder.*no .*nowhere"):
            runtime.open(tmp_path / "nowhere")

    def test_another_file(self, tmp_path):
        (tmp_path / "model.tflite").write_bytes(b"\xff\xd8\xff\xe0 a photograph")

        with pytest.raises(InputError, match=r"got .*model\.tflite, which is none"):
            runtime.open(tmp_path / "model.tflite")

    def test_checkpoint_of_another_tool(self, tmp_path):
        tiny(False).save(tmp_path / "other.keras")

        with pytest.raises(InputError, match=r"model of another tool\?"):
            runtime.open(tmp_path / "other.keras")

    def test_tflite_of_another_tool(self, stored, tmp_path):
        data = (stored[0] / "net.tflite").read_bytes()
        path = tmp_path / "other.tflite"
        path.write_bytes(data.replace(b"kpose.json", b"other.json"))

        with pytest.raises(InputError, match=r"other\.tflite, which has no card"):
            runtime.open(path)

    def test_saved_model_of_another_tool(self, stored, tmp_path):
        shutil.copytree(stored[0] / "saved", tmp_path / "other")
        (tmp_path / "other" / "assets" / "kpose.json").unlink()

        with pytest.raises(InputError, match="which has no card"):
            runtime.open(tmp_path / "other")

    def test_saved_model_without_its_weights(self, stored, tmp_path):
        shutil.copytree(stored[0] / "saved", tmp_path / "cut")
        shutil.rmtree(tmp_path / "cut" / "variables")

        with pytest.raises(CppLoaderError, match=r"C\+\+ loader cannot run .*cut"):
            runtime.open(tmp_path / "cut")

    def test_saved_model_cut_short(self, stored, tmp_path):
        shutil.copytree(stored[0] / "saved", tmp_path / "cut")
        file = tmp_path / "cut" / "saved_model.pb"
        file.write_bytes(file.read_bytes()[:200])

        with pytest.raises(InputError, match=r"expected .* SavedModel in .*cut") as bad:
            runtime.open(tmp_path / "cut")
        assert "\n" not in str(bad.value)

    @pytest.mark.parametrize("keep", [60, 0.5, 0.9])
    def test_tflite_cut_short(self, stored, tmp_path, keep):
        data = (stored[0] / "net.tflite").read_bytes()
        path = tmp_path / "cut.tflite"
        path.write_bytes(data[: int(keep * len(data)) if keep < 1 else keep])

        with pytest.raises(InputError, match=r"expected .*cut\.tflite") as bad:
            runtime.open(path)
        assert "\n" not in str(bad.value)
