import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from click.testing import CliRunner

import kpose.models
from kpose import artefacts, runtime
from kpose.errors import GateError, InputError
from kpose.export import parity, publish, savedmodel, tflite
from kpose.export.cpp_loader import CppLoaderError, CppSavedModel
from kpose.joints import BODY_13, COCO_17
from kpose.models import heads, store
from kpose.runtime import Prediction
from kpose_cli.main import main

SIZE = 64


def awaken(network, crops):
    """Make an untrained network answer differently to each crop.

    Batch normalisation takes the statistics of the crops, as after a training; the
    last layers get weights that matter.
    """
    random = np.random.default_rng(0)
    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
        if layer.name in ("head_bins", "joints", "fc8"):
            kernel, bias = layer.get_weights()
            kernel = random.normal(size=kernel.shape) / kernel.shape[0] ** 0.5
            layer.set_weights([kernel, bias])
    network(crops.astype(np.float32), training=True)
    return network


@pytest.fixture(scope="module")
def crops():
    return parity.made_crops(SIZE, 6)


@pytest.fixture(scope="module")
def simcc(crops):
    """A compact network of 17 joints with SimCC head."""
    options = {"backbone": "mobilenet_v1_0.25", "size": SIZE, "skeleton": COCO_17}
    return awaken(kpose.models.build("compact", head="simcc", **options), crops)


@pytest.fixture(scope="module")
def checkpoint(simcc, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "best.keras"
    card = {"model": {"name": "compact"}, "skeleton": COCO_17.to_json(), "size": SIZE}
    store.save(simcc, card | {"scores": {"pck@0.2": {"all": 66.6}}}, path)
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A checkpoint of three layers, which takes a second to export."""
    image = keras.Input((16, 16, 3), name="image")
    x = keras.layers.Rescaling(1 / 128, -1)(image)
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.2)(x)
    network = keras.Model(image, heads.simcc(x, 13, 20, 1.0))
    awaken(network, parity.made_crops(16, 6))
    path = tmp_path_factory.mktemp("tiny") / "net.keras"
    card = {"model": {"name": "tiny"}, "skeleton": BODY_13.to_json(), "size": 16}
    store.save(network, card, path)
    return path


@pytest.fixture(scope="module")
def exported(checkpoint, tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "out"
    report = publish.publish(checkpoint, out, ["saved_model", "tflite"])
    return out, report


class TestPublish:
    def test_everything_is_there_and_agrees(self, exported):
        out, report = exported

        assert sorted(path.name for path in out.iterdir()) == [
            "card.json",
            "model.tflite",
            "parity.json",
            "saved_model",
        ]
        assert [p.name for p in out.parent.iterdir()] == ["out"]  # nothing half made
        assert json.loads((out / "parity.json").read_text()) == {
            key: value for key, value in report.items() if key != "out"
        }
        for row in report["formats"].values():
            assert row["max_px"] < 0.02
            assert row["spread_px"] > 0.5  # the answers differ, so agreeing means much
        assert report["formats"]["saved_model"]["confidence_max"] < 1e-4

    def test_artefacts_equal_keras_on_new_crops(self, exported, simcc):
        fresh = np.random.default_rng(5).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)
        wanted = simcc(fresh.astype(np.float32), training=False)

        for name in ("saved_model", "model.tflite"):
            got = runtime.open(exported[0] / name).predict(fresh)

            assert got.keypoints.shape == (3, 17, 2)
            np.testing.assert_allclose(got.keypoints, wanted["keypoints"], atol=5e-5)
            np.testing.assert_allclose(got.confidence, wanted["confidence"], atol=1e-4)

    def test_every_artefact_carries_the_card(self, exported, checkpoint):
        out, _ = exported
        card = artefacts.read_card(checkpoint)

        assert json.loads((out / "card.json").read_text()) == card
        for name in ("saved_model", "model.tflite"):
            own = artefacts.read_card(out / name)
            about = own.pop("artefact")
            assert own == card
            assert about["outputs"]["confidence"].endswith("17], 0..1: not calibrated")

    def test_saved_model_signature(self, exported):
        saved = CppSavedModel(exported[0] / "saved_model")
        row = saved.run({"image": np.zeros((1, SIZE, SIZE, 3), np.uint8)})

        assert set(saved.inputs) == {"image"}
        assert {k: (v.dtype, v.shape) for k, v in row.items()} == {
            "keypoints": (np.float32, (1, 17, 2)),
            "confidence": (np.float32, (1, 17)),
        }

    def test_tflite_takes_floats_and_needs_builtin_operations_only(self, exported):
        data = (exported[0] / "model.tflite").read_bytes()
        from ai_edge_litert.interpreter import Interpreter

        runner = Interpreter(model_content=data).get_signature_runner("serving_default")
        details = runner.get_input_details()["image"]
        found = tflite.operations(data)

        assert details["dtype"] == np.float32
        assert details["shape"].tolist() == [1, SIZE, SIZE, 3]
        assert set(runner.get_output_details()) == {"keypoints", "confidence"}
        assert found["DEPTHWISE_CONV_2D"] >= 13
        assert not set(found) & {"CUSTOM", "VAR_HANDLE", "READ_VARIABLE", "CAST"}
        assert not [name for name in found if "ARG_MAX" in name or "TOPK" in name]

    def test_tflite_buffers_stay_aligned(self, exported):
        data = (exported[0] / "model.tflite").read_bytes()
        model, start = schema.Model.GetRootAs(data), np.frombuffer(data, np.uint8)
        buffers = [model.Buffers(i) for i in range(model.BuffersLength())]

        places = [
            b.DataAsNumpy().ctypes.data - start.ctypes.data
            for b in buffers
            if not b.DataIsNone()
        ]

        assert len(places) > 20
        assert {place % 16 for place in places} == {0}

    def test_existing_output_is_kept(self, tiny, tmp_path):
        (tmp_path / "thesis.tex").touch()

        with pytest.raises(InputError, match="must be new or an empty folder"):
            publish.publish(tiny, tmp_path, ["tflite"])

        assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]

    @pytest.mark.parametrize("formats", [[], ["coreml"], ["tflite", "coreml"]])
    def test_unknown_format(self, tiny, tmp_path, formats):
        with pytest.raises(InputError, match="some of saved_model, tflite"):
            publish.publish(tiny, tmp_path / "out", formats)

    def test_compares_on_the_crops_of_a_data_set(self, tiny_data, tmp_path):
        image = keras.Input((SIZE, SIZE, 3), name="image")
        x = keras.layers.Conv2D(2, 8, strides=8)(image)
        network = keras.Model(image, heads.regression(x, 13))
        card = {"model": {}, "skeleton": BODY_13.to_json(), "size": SIZE}
        store.save(network, card, tmp_path / "net.keras")

        report = publish.publish(
            tmp_path / "net.keras", tmp_path / "out", ["saved_model"], tiny_data
        )

        assert report["crops"] == 24
        assert report["crops_from"] == f"24 persons of {tiny_data}"
        saved = tmp_path / "out" / "saved_model"
        assert set(CppSavedModel(saved).outputs) == {"keypoints"}
        about = artefacts.read_card(saved)["artefact"]
        assert about["outputs"]["confidence"] == (
            "none: one pass of this head gives no confidence"
        )

    def test_data_of_other_joints_is_refused(self, checkpoint, tiny_data, tmp_path):
        with pytest.raises(InputError, match="expected the joints nose, left_eye"):
            publish.publish(checkpoint, tmp_path / "out", ["tflite"], tiny_data)

        assert list(tmp_path.iterdir()) == []


def test_every_artefact_gives_the_calibrated_confidence(tiny, tmp_path):
    """In the graph for one pass, by the card for the flip test; never twice."""
    network, card = store.load(tiny)
    made = parity.made_crops(16, 8)
    raw = np.asarray(network(made.astype(np.float32))["confidence"])
    curve = [np.quantile(raw, [0, 0.3, 0.7, 1]).tolist(), [0.1, 0.3, 0.4, 0.9]]
    flip = {"raw": [0.1, 0.9], "probability": [0.0, 1.0]}
    one_pass = {"raw": curve[0], "probability": curve[1]}
    heads.set_calibration(network, curve)
    calibrated = tmp_path / "net.keras"
    card = card | {"confidence": {"one_pass": one_pass, "flip_test": flip}}
    stored = store.save(network, card, calibrated)
    publish.publish(calibrated, tmp_path / "out", ["saved_model", "tflite"])

    models = [
        runtime.open(path)
        for path in (
            calibrated,
            tmp_path / "out" / "saved_model",
            tmp_path / "out" / "model.tflite",
        )
    ]

    assert stored["sha256"] == artefacts.read_card(tiny)["sha256"]
    first = runtime.predict_both(models[0], made)
    mean = (first[0].confidence + first[1].confidence) / 2
    for model in models:
        found = model.predict(made).confidence
        np.testing.assert_allclose(found, np.interp(raw, *curve), atol=1e-4)
        both = runtime.predict_flip(model, made).confidence
        np.testing.assert_allclose(both, (mean - 0.1) / 0.8, atol=2e-4)
    about = artefacts.read_card(tmp_path / "out" / "model.tflite")["artefact"]
    assert about["outputs"]["confidence"].endswith("0.2 torso lengths of the truth")
    found = tflite.operations((tmp_path / "out" / "model.tflite").read_bytes())
    assert not set(found) & {"CUSTOM", "GATHER", "WHERE", "SELECT", "SELECT_V2"}


def test_weights_are_stored_once(crops, tmp_path):
    network = kpose.models.build("compact")

    savedmodel.write(network, {}, tmp_path)

    bytes_on_disk = sum(f.stat().st_size for f in tmp_path.rglob("*") if f.is_file())
    assert 1.0 < bytes_on_disk / (4 * network.count_params()) <= 1.1


def test_the_papers_network_exports(tmp_path):
    network = kpose.models.build("linna2016", width=0.05)
    made = parity.made_crops(224, 3)
    awaken(network, made)
    card = {"model": {}, "skeleton": BODY_13.to_json(), "size": 224}
    store.save(network, card, tmp_path / "net.keras")

    report = publish.publish(
        tmp_path / "net.keras", tmp_path / "out", ["saved_model", "tflite"]
    )

    rows = report["formats"]
    assert max(row["max_px"] for row in rows.values()) < 0.02
    assert rows["tflite"]["spread_px"] > 0.1
    assert rows["saved_model"]["bytes"] <= 1.1 * 4 * network.count_params()


class TestMutations:
    """A wrong export is refused, and nothing appears."""

    def refused(self, tiny, out, formats=("saved_model",)):
        with pytest.raises(GateError) as caught:
            publish.publish(tiny, out, formats)
        assert not out.exists()
        assert list(out.parent.iterdir()) == []
        return str(caught.value)

    def mutate(self, monkeypatch, change):
        """Export what ``change`` makes of the network's call."""
        module = savedmodel.module

        def changed(network, *args, **kwargs):
            class Wrong:
                variables = network.variables
                input_shape = network.input_shape

                def __call__(self, image, training):
                    return change(network, image)

            return module(Wrong(), *args, **kwargs)

        monkeypatch.setattr(savedmodel, "module", changed)

    def test_keras_model_as_attribute(self, tiny, tmp_path, monkeypatch):
        """Python's loader runs this one; a server does not (traps: issue 72963)."""
        module = savedmodel.module

        def tracked(network, *args, **kwargs):
            served = module(network, *args, **kwargs)
            del served.weights
            served.network = network
            return served

        monkeypatch.setattr(savedmodel, "module", tracked)

        message = self.refused(tiny, tmp_path / "out")
        assert "does not run: TensorFlow's C++ loader cannot run" in message
        message = self.refused(tiny, tmp_path / "out", ["tflite"])
        assert "VAR_HANDLE" in message

    @pytest.mark.parametrize(
        "change",
        [
            lambda net, image: net(image[..., ::-1]),
            lambda net, image: net(image / 2),
            lambda net, image: net(image + 10),
            lambda net, image: net(tf.roll(image, 1, axis=2)),
            lambda net, image: net(image[:, :, ::-1]),
            lambda net, image: net(image, training=True),
            lambda net, image: (
                (answer := net(image)) | {"keypoints": answer["keypoints"][:, ::-1]}
            ),
            lambda net, image: (
                (answer := net(image)) | {"keypoints": answer["keypoints"] + 0.5 / 224}
            ),
            lambda net, image: (
                (answer := net(image))
                | {"keypoints": answer["keypoints"] * float("nan")}
            ),
            lambda net, image: {"keypoints": net(image)["keypoints"]},
        ],
        ids=[
            "bgr",
            "scale",
            "mean",
            "one pixel",
            "mirror",
            "training mode",
            "joint order",
            "half a pixel",
            "nan",
            "no confidence",
        ],
    )
    def test_wrong_answers(self, tiny, tmp_path, monkeypatch, change):
        self.mutate(monkeypatch, change)

        message = self.refused(tiny, tmp_path / "out")

        assert "agree with the network to 0.05 px" in message or "confidence" in message

    def test_operation_that_needs_another_library(self, tiny, tmp_path, monkeypatch):
        def sorted_twice(net, image):
            answer = net(image)
            return answer | {"keypoints": tf.linalg.pinv(answer["keypoints"])}

        self.mutate(monkeypatch, sorted_twice)

        message = self.refused(tiny, tmp_path / "out", ["tflite"])
        assert "builtin operations" in message and "\n" not in message


class TestParity:
    def answers(self, keypoints, confidence=None):
        class Fixed:
            def predict(self, crops):
                return Prediction(np.float32(keypoints), confidence)

        return Fixed()

    def test_distances_are_pixels_of_the_224_crop(self):
        reference = self.answers([[[0.5, 0.5], [0.2, 0.2]], [[0.1, 0.5], [0.2, 0.4]]])
        other = self.answers(
            [[[0.5 + 3 / 224, 0.5 + 4 / 224], [0.2, 0.2]], [[0.1, 0.5], [0.2, 0.4]]]
        )

        row = parity.compare(reference, {"other": other}, np.zeros((2, 4, 4, 3)))[
            "other"
        ]

        assert row["max_px"] == pytest.approx(5, abs=1e-4)
        assert row["mean_px"] == pytest.approx(5 / 4, abs=1e-4)
        assert row["p99_px"] == pytest.approx(5 * 0.97, abs=1e-4)  # of 4 values
        assert row["confidence_max"] == 0
        # Standard deviations 0.2, 0, 0, 0.1 of the reference's numbers.
        assert row["spread_px"] == pytest.approx(224 * 0.3 / 4, abs=1e-3)

    def test_confidence_counts_in_the_report(self):
        points = [[[0.5, 0.5]]]
        a = self.answers(points, np.float32([[0.5]]))
        b = self.answers(points, np.float32([[0.75]]))

        row = parity.compare(a, {"b": b}, np.zeros((1, 4, 4, 3)))["b"]

        assert row["confidence_max"] == pytest.approx(0.25)

    @pytest.mark.parametrize(
        ("max_px", "good"),
        [(0.0, True), (0.05, True), (0.0501, False), (float("nan"), False)],
    )
    def test_limit(self, max_px, good):
        rows = {"fine": {"max_px": 0.01}, "tested": {"max_px": max_px}}

        if good:
            parity.require(rows)
        else:
            with pytest.raises(GateError, match=r"do not: tested by up to") as caught:
                parity.require(rows)
            assert "fine" not in str(caught.value)

    def test_made_crops_use_the_range_and_differ(self):
        made = parity.made_crops(64, 4)

        assert made.shape == (4, 64, 64, 3) and made.dtype == np.uint8
        assert made.min() == 0 and made.max() == 255
        assert 100 < made.mean() < 155
        assert len({crop.tobytes() for crop in made}) == 4
        np.testing.assert_array_equal(made, parity.made_crops(64, 4))


@pytest.fixture(scope="module", name="saved")
def tiny_saved_model(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cpp") / "saved_model"
    savedmodel.write(*store.load(tiny), folder)
    return folder


class TestCppLoader:
    def test_wrong_shape_is_one_line(self, saved):
        wrong = np.zeros((1, 8, 16, 3), np.uint8)

        with pytest.raises(CppLoaderError, match=r"cannot run .*saved_model") as caught:
            CppSavedModel(saved).run({"image": wrong})
        assert "\n" not in str(caught.value)

    def test_it_runs_again_after_an_error(self, saved):
        model = CppSavedModel(saved)
        with pytest.raises(CppLoaderError):
            model.run({"image": np.zeros((1, 2, 2, 3), np.float32)})

        model.run({"image": np.zeros((1, 16, 16, 3), np.uint8)})

    def test_unknown_input(self, saved):
        with pytest.raises(InputError, match=r"takes image\. Received: picture"):
            CppSavedModel(saved).run({"picture": np.zeros((1, 16, 16, 3), np.uint8)})

    def test_dtype_without_a_code(self, saved):
        with pytest.raises(InputError, match=r"must be one of.*Received: complex64"):
            CppSavedModel(saved).run({"image": np.zeros((1, 2), np.complex64)})

    def test_unknown_signature_names_the_known(self, saved):
        with pytest.raises(InputError, match=r"signature predict .*, got .*serving_de"):
            CppSavedModel(saved, "predict")

    def test_strided_input(self, saved):
        model, crops = CppSavedModel(saved), parity.made_crops(16, 3)

        mirrored = model.run({"image": crops[:, :, ::-1]})["keypoints"]

        copied = model.run({"image": crops[:, :, ::-1].copy()})["keypoints"]
        np.testing.assert_array_equal(mirrored, copied)

    def test_no_saved_model(self, tmp_path):
        with pytest.raises(InputError, match="expected a SavedModel in"):
            CppSavedModel(tmp_path)

    def test_python_can_load_the_slimmed_file(self, saved):
        loaded, crops = tf.saved_model.load(str(saved)), parity.made_crops(16, 3)

        got = loaded.signatures["serving_default"](image=tf.constant(crops))

        wanted = CppSavedModel(saved).run({"image": crops})
        np.testing.assert_allclose(got["keypoints"], wanted["keypoints"], atol=1e-6)


class TestCommand:
    def run(self, *arguments):
        return CliRunner().invoke(main, ["export", *map(str, arguments)])

    def test_run_folder_to_saved_model(self, tiny, tmp_path):
        run, out = tmp_path / "run", tmp_path / "out"
        run.mkdir()
        shutil.copy(tiny, run / "best.keras")

        result = self.run(run, "--format", "saved_model", "--out", out, "--json")

        assert result.exit_code == 0, result.output
        summary = json.loads(result.stdout.splitlines()[-1])
        assert summary["out"] == str(out)
        assert list(summary["formats"]) == ["saved_model"]
        assert summary["crops_from"] == "smooth random pictures (real ones: --data)"
        assert (out / "saved_model" / "saved_model.pb").is_file()
        assert not (out / "model.tflite").exists()

    def test_failed_gate_is_exit_code_2(self, tiny, tmp_path, monkeypatch):
        monkeypatch.setattr(parity, "LIMIT", -1.0)

        result = self.run(tiny, "--format", "saved_model", "--out", tmp_path / "out")

        assert result.exit_code == 2
        assert result.stderr.splitlines()[-1].startswith("Error: exports must agree")
        assert list(tmp_path.iterdir()) == []

    def test_foreign_checkpoint_is_exit_code_1(self, simcc, tmp_path):
        simcc.save(tmp_path / "other.keras")

        result = self.run(tmp_path / "other.keras", "--out", tmp_path / "out")

        assert result.exit_code == 1
        assert "model of another tool?" in result.stderr.splitlines()[-1]
        assert not (tmp_path / "out").exists()

    def test_an_export_is_no_network_to_export(self, exported, tmp_path):
        result = self.run(exported[0] / "model.tflite", "--out", tmp_path / "out")

        assert result.exit_code == 1
        assert "(a tflite artefact)" in result.stderr


class TestInspect:
    def run(self, *arguments):
        return CliRunner().invoke(main, ["inspect", *map(str, arguments)])

    def test_same_card_for_all_forms_also_renamed(self, exported, checkpoint, tmp_path):
        shutil.copytree(exported[0] / "saved_model", tmp_path / "3")
        shutil.copy(exported[0] / "model.tflite", tmp_path / "pose.bin")
        shutil.copy(checkpoint, tmp_path / "net.zip")
        kinds, cards = [], []

        for name in ("3", "pose.bin", "net.zip"):
            result = self.run(tmp_path / name, "--json")
            assert result.exit_code == 0, result.output
            card = json.loads(result.stdout)
            assert card.pop("file") == str(tmp_path / name)
            kinds.append(card.pop("kind"))
            card.pop("artefact", None)
            cards.append(card)

        assert kinds == ["saved_model", "tflite", "keras"]
        assert cards[0] == cards[1] == cards[2]
        assert cards[0]["scores"] == {"pck@0.2": {"all": 66.6}}

    def test_for_reading(self, checkpoint):
        result = self.run(checkpoint)

        assert result.exit_code == 0
        assert "\nkind: keras\n" in result.stdout
        assert "  joints: nose, left_eye, " in result.stdout
        assert "scores:\n  pck@0.2:\n    all: 66.6\n" in result.stdout

    def test_list_names_the_packaged_models(self, tmp_path, monkeypatch):
        monkeypatch.setattr(artefacts, "WEIGHTS", tmp_path)
        (tmp_path / "compact.keras").touch()

        assert self.run("--list").stdout == "compact\n"
        assert json.loads(self.run("--list", "--json").stdout) == {
            "models": ["compact"]
        }

    def test_data_folder(self, tiny_data):
        result = self.run(tiny_data, "--json")

        assert json.loads(result.stdout)["persons"] == 24

    def test_nothing_to_inspect(self, tmp_path):
        assert self.run().exit_code == 1
        assert self.run(tmp_path / "no").exit_code == 1
        assert self.run(tmp_path).exit_code == 1
