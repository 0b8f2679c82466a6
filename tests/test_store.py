import json
import zipfile

import h5py
import keras
import numpy as np
import pytest

from kpose import artefacts
from kpose.errors import InputError
from kpose.joints import BODY_13
from kpose.models import store

CARD = {"model": {"name": "tiny"}, "skeleton": BODY_13.to_json(), "size": 8}


@pytest.fixture(scope="module")
def network():
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(4, 3, name="conv")(image)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Dropout(0.5)(keras.layers.Flatten()(x))
    x = keras.layers.Dense(26)(x)
    keypoints = keras.layers.Reshape((13, 2), name="keypoints")(x)
    net = keras.Model(image, {"keypoints": keypoints})
    random = np.random.default_rng(0)
    net.set_weights([random.normal(size=w.shape) for w in net.get_weights()])
    return net


def test_what_is_saved_loads_equal(network, tmp_path):
    path = tmp_path / "net.keras"

    stored = store.save(network, CARD, path)
    loaded, card = store.load(path)

    for before, after in zip(network.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert card == stored
    assert card["model"] == {"name": "tiny"}
    assert card["kpose"] == "0.1.0"
    assert card["parameters"] == 3 * 3 * 3 * 4 + 4 + 4 * 4 + (6 * 6 * 4 + 1) * 26
    assert card["sha256"] == store.weights_hash(network)


def test_the_card_given_is_not_changed(network, tmp_path):
    store.save(network, CARD, tmp_path / "net.keras")

    assert "sha256" not in CARD


def test_keras_alone_loads_the_file(network, tmp_path):
    store.save(network, CARD, tmp_path / "net.keras")

    loaded = keras.saving.load_model(tmp_path / "net.keras")

    np.testing.assert_array_equal(loaded.get_weights()[0], network.get_weights()[0])


def test_the_card_is_read_without_the_weights(network, tmp_path):
    path = tmp_path / "net.keras"
    store.save(network, CARD, path)
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("kpose.json")) == store.read_card(path)


def test_half_stores_float16_and_loads_the_rounded_values_as_float32(network, tmp_path):
    whole, half = tmp_path / "whole.keras", tmp_path / "half.keras"
    store.save(network, CARD, whole)

    card = store.save(network, CARD, half, half=True)
    loaded, _ = store.load(half)

    with zipfile.ZipFile(half) as archive, archive.open("model.weights.h5") as file:
        stored = []
        h5py.File(file, "r").visititems(
            lambda name, item: stored.append(getattr(item, "dtype", None))
        )
    assert stored.count(np.dtype(np.float16)) == len(network.weights)
    assert np.dtype(np.float32) not in stored
    for before, after in zip(network.weights, loaded.weights, strict=True):
        assert after.dtype == "float32"
        rounded = before.numpy().astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(after.numpy(), rounded)
    assert not np.array_equal(network.get_weights()[0], loaded.get_weights()[0])
    assert card["sha256"] == store.weights_hash(loaded)
    assert half.stat().st_size < whole.stat().st_size - 7000  # 3,886 weights, 2 bytes


def test_weight_beyond_float16_is_refused_and_leaves_nothing(network, tmp_path):
    net = keras.models.clone_model(network)
    net.set_weights([np.full(w.shape, 7e4) for w in net.get_weights()])

    with pytest.raises(InputError, match=r"at most 65504 .* 70000.* in .*conv"):
        store.save(net, CARD, tmp_path / "net.keras", half=True)

    assert list(tmp_path.iterdir()) == []


def test_failed_save_keeps_the_old_file(network, tmp_path, monkeypatch):
    path = tmp_path / "net.keras"
    store.save(network, CARD, path)
    before = path.read_bytes()

    class Broken(type(network)):
        def save(self, path):
            path.write_bytes(b"half a fi")
            raise OSError("disk full")

    monkeypatch.setattr(network, "__class__", Broken)
    with pytest.raises(OSError, match="disk full"):
        store.save(network, CARD, path)

    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_name_must_end_in_keras(network, tmp_path):
    with pytest.raises(InputError, match=r"must be named \*\.keras"):
        store.save(network, CARD, tmp_path / "net.h5")


def test_exchanged_weights_do_not_pass_for_the_cards(network, tmp_path):
    other = keras.models.clone_model(network)
    store.save(network, CARD, tmp_path / "a.keras")
    store.save(other, CARD, tmp_path / "b.keras")
    with zipfile.ZipFile(tmp_path / "b.keras") as archive:
        foreign = archive.read("model.weights.h5")
    with (
        zipfile.ZipFile(tmp_path / "a.keras") as archive,
        zipfile.ZipFile(tmp_path / "mixed.keras", "w") as mixed,
    ):
        for name in archive.namelist():
            data = foreign if name == "model.weights.h5" else archive.read(name)
            mixed.writestr(name, data)

    with pytest.raises(InputError, match=r"expected weights with sha256 .*, got"):
        store.load(tmp_path / "mixed.keras")


def test_checkpoint_of_another_tool_is_refused_in_one_line(network, tmp_path):
    path = tmp_path / "foreign.keras"
    network.save(path)

    with pytest.raises(InputError, match=r"that kpose wrote.*foreign\.keras.*no card"):
        store.load(path)


@pytest.mark.parametrize("keep", [0, 3, 100, 0.5, 0.99])
def test_file_cut_short_is_refused_in_one_line(network, tmp_path, keep):
    path = tmp_path / "net.keras"
    store.save(network, CARD, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])

    with pytest.raises(InputError, match=r"expected .*net\.keras") as caught:
        store.load(path)

    assert "\n" not in str(caught.value)


def test_flipped_byte_in_the_weights_is_refused(network, tmp_path):
    path = tmp_path / "net.keras"
    store.save(network, CARD, path)
    data = bytearray(path.read_bytes())
    value = np.float32(network.get_weights()[0].ravel()[5]).tobytes()
    data[data.index(value)] ^= 1
    path.write_bytes(data)

    with pytest.raises(InputError, match=r"expected .*net\.keras"):
        store.load(path)


def test_other_artefact_is_no_network_to_load(tmp_path):
    (tmp_path / "saved_model.pb").touch()

    with pytest.raises(InputError, match=r"expected a \.keras file.*saved_model"):
        store.load(tmp_path)


class TestResolve:
    def test_run_folder_means_its_best_checkpoint(self, tmp_path):
        (tmp_path / "best.keras").touch()
        (tmp_path / "last.keras").touch()

        assert store.resolve(tmp_path) == tmp_path / "best.keras"

    def test_file_means_itself(self, tmp_path):
        (tmp_path / "last.keras").touch()

        assert store.resolve(str(tmp_path / "last.keras")) == tmp_path / "last.keras"

    def test_packaged_name(self, tmp_path, monkeypatch):
        monkeypatch.setattr(artefacts, "WEIGHTS", tmp_path)
        (tmp_path / "small.keras").touch()
        (tmp_path / "compact.keras").touch()
        monkeypatch.chdir(tmp_path)

        assert store.packaged() == ["compact", "small"]
        assert store.resolve("compact") == tmp_path / "compact.keras"

    def test_path_beats_packaged_name_when_written_as_one(self, tmp_path, monkeypatch):
        monkeypatch.setattr(artefacts, "WEIGHTS", tmp_path)
        (tmp_path / "compact.keras").touch()
        (tmp_path / "runs" / "compact").mkdir(parents=True)
        (tmp_path / "runs" / "compact" / "best.keras").touch()
        monkeypatch.chdir(tmp_path / "runs")

        found = store.resolve("./compact")

        assert found.resolve() == tmp_path / "runs" / "compact" / "best.keras"

    def test_nothing_of_that_name(self, tmp_path, monkeypatch):
        monkeypatch.setattr(artefacts, "WEIGHTS", tmp_path)
        (tmp_path / "compact.keras").touch()

        with pytest.raises(
            InputError, match=r"packaged models \(compact\).* no nimble"
        ):
            store.resolve("nimble")


class TestKind:
    @pytest.mark.parametrize(
        ("content", "kind"),
        [(b"PK\3\4....", "keras"), (b"\x1c\0\0\0TFL3", "tflite")],
    )
    def test_by_content_whatever_the_name(self, tmp_path, content, kind):
        path = tmp_path / "model.jpg"
        path.write_bytes(content)

        assert artefacts.kind_of(path) == kind

    @pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"TFL3", b"PK"])
    def test_anything_else_is_refused(self, tmp_path, content):
        path = tmp_path / "model.keras"
        path.write_bytes(content)

        with pytest.raises(InputError, match=r"got .*model\.keras, which is none"):
            artefacts.kind_of(path)

    def test_folder_of_something_else_is_refused_with_what_it_holds(self, tmp_path):
        (tmp_path / "photos.zip").touch()

        with pytest.raises(InputError, match=r"the folder .* that holds photos\.zip"):
            artefacts.kind_of(tmp_path)

    @pytest.mark.parametrize(
        "card",
        ["{", "[]", "{}", '{"skeleton": {"joints": ["head"], "limbs": []}}'],
        ids=["no json", "list", "empty", "no size"],
    )
    def test_card_that_is_none_is_refused(self, tmp_path, card):
        (tmp_path / "saved_model.pb").touch()
        (tmp_path / "assets").mkdir()
        (tmp_path / "assets" / "kpose.json").write_text(card)

        with pytest.raises(InputError, match="expected a card with skeleton and size"):
            artefacts.read_card(tmp_path)

    def test_damaged_tflite_is_refused(self, tmp_path):
        path = tmp_path / "model.tflite"
        path.write_bytes(b"\xff\xff\xff\x7fTFL3" + b"\xff" * 50)

        with pytest.raises(InputError, match=r"whole \.tflite file, got .* 58 bytes"):
            artefacts.read_card(path)


def filled(network, value, tmp_path, name, **card):
    """Store the network with ``value`` for every weight."""
    network.set_weights([np.full(w.shape, value) for w in network.get_weights()])
    path = tmp_path / f"{name}.keras"
    store.save(network, CARD | card, path)
    return path


def test_the_average_by_hand(network, tmp_path):
    """Also those of the statistics of batch normalisation; seeds of dropout stay."""
    trained = {"data": [{"source": "lsp", "persons": 9, "licence": "a"}]}
    more = {"data": [*trained["data"], {"source": "me", "persons": 2, "licence": "b"}]}
    before = network.get_weights()
    try:
        first = filled(network, 1.0, tmp_path, "first", training=trained)
        second = filled(
            network,
            5.0,
            tmp_path,
            "second",
            training=more | {"test_persons_trained_on": 3},
            scores={"validation": {"pck@0.2": 99}},
            confidence={"one_pass": None},
        )
    finally:
        network.set_weights(before)

    card = store.average(first, second, 0.25, tmp_path / "between.keras")
    loaded, stored = store.load(tmp_path / "between.keras")

    assert card == stored
    floats = [np.asarray(v) for v in loaded.variables if "float" in v.dtype]
    assert len(floats) == 8
    for values in floats:
        np.testing.assert_array_equal(values, np.full(values.shape, 2.0, np.float32))
    assert "scores" not in card and "confidence" not in card
    assert card["training"]["data"] == more["data"]
    assert card["training"]["test_persons_trained_on"] == 3
    said = card["training"]["average"]
    assert said["share"] == 0.25
    assert [one["sha256"] for one in said["of"]] == [
        store.read_card(path)["sha256"] for path in (first, second)
    ]


@pytest.mark.parametrize("share", [0, 1])
def test_the_ends_of_an_average_are_the_networks(network, tmp_path, share):
    store.save(network, CARD, tmp_path / "0.keras")
    before = network.get_weights()
    network.set_weights([1e-3 * w + 1 / 3 for w in before])
    store.save(network, CARD, tmp_path / "1.keras")
    network.set_weights(before)

    store.average(tmp_path / "0.keras", tmp_path / "1.keras", share,
                  tmp_path / "end.keras")  # fmt: skip

    end, wanted = (
        store.read_card(tmp_path / f"{name}.keras")["sha256"] for name in ("end", share)
    )
    assert end == wanted


def test_an_average_of_different_networks_is_refused(network, tmp_path):
    store.save(network, CARD, tmp_path / "a.keras")
    store.save(network, CARD | {"model": {"name": "b"}}, tmp_path / "b.keras")

    with pytest.raises(InputError, match="networks with the same model"):
        store.average(tmp_path / "a.keras", tmp_path / "b.keras", 0.5,
                      tmp_path / "c.keras")  # fmt: skip
    with pytest.raises(InputError, match=r"from 0 to 1. Received: 1.5"):
        store.average(tmp_path / "a.keras", tmp_path / "a.keras", 1.5,
                      tmp_path / "c.keras")  # fmt: skip
    assert not (tmp_path / "c.keras").exists()
