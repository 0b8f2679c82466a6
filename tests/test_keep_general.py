"""Keeping general skill: samples mixed into every epoch, averages, kept epochs."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from kpose import replay, shards, training
from kpose.errors import InputError
from kpose.examples import Source, prepare
from kpose.joints import BODY_13
from kpose.models import store
from kpose.records import ImageRef, PersonRecord
from kpose.shards import PreparedData
from kpose_cli.main import main


def replace(config, **changes):
    return dataclasses.replace(
        config, training=dataclasses.replace(config.training, **changes)
    )


def person(folder, name, source, split, joints):
    """Write a picture of noise and return the record of somebody in it."""
    random = np.random.default_rng([*name.encode()])
    points = np.ones((joints, 3), np.float32)
    points[:, :2] = random.uniform(20, 100, (joints, 2))
    path = folder / f"{name}.png"
    cv2.imwrite(str(path), random.integers(0, 255, (120, 120, 3), np.uint8))
    visible = np.ones(joints, np.int8)
    return PersonRecord(name, ImageRef(path), points, visible, source, name, split)


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """A function that prepares persons of one split each, in a folder of its own."""

    def write(name, parts, skeleton=BODY_13, **options):
        folder = tmp_path_factory.mktemp(name)
        records = [
            person(folder, f"{split}{number:03}", name, split, len(skeleton))
            for split, count in parts.items()
            for number in range(count)
        ]
        options = {"size": 64, "codec": "png", "workers": 1} | options
        prepare([Source(name, records, f"licence of {name}")], folder / "data",
                skeleton=skeleton, shard_records=5, **options)  # fmt: skip
        return folder / "data"

    return write


@pytest.fixture(scope="module")
def general(make):
    """Nine persons to train on, between two to validate on and three to test on."""
    return make("photos", {"val": 2, "train": 9, "test": 3})


def mixed(tiny_data, general, share, own=20, seed=0):
    data, other = PreparedData.open(tiny_data), PreparedData.open(general)
    return replay.mix(data, np.arange(own), other, share, seed)


def test_joined_data_reads_as_both(tiny_data, general):
    first, second = PreparedData.open(tiny_data), PreparedData.open(general)

    both = shards.joined(first, second, np.array([4, 2, 4]))

    assert len(both) == 27
    assert [both.read(i) for i in range(24)] == [first.read(i) for i in range(24)]
    assert [both.read(i) for i in (24, 25, 26)] == [second.read(i) for i in (4, 2, 4)]
    assert both.ids[24:].tolist() == [second.ids[i] for i in (4, 2, 4)]
    assert both.split[24:].tolist() == ["train"] * 3
    np.testing.assert_array_equal(both.bits[24:], second.bits[[4, 2, 4]])
    assert both.first.all()
    assert {entry["name"] for entry in both.sources} == {"tiny", "photos"}
    assert both.fingerprint not in (first.fingerprint, second.fingerprint)
    np.testing.assert_array_equal(both.mean_pose, first.mean_pose)


def test_the_share_is_exact_and_every_own_crop_comes_once(tiny_data, general):
    """A quarter of 24 beside 18 own ones is 6."""
    mix = mixed(tiny_data, general, 0.25, own=18)

    epochs = [mix.epoch(number) for number in range(40)]

    assert mix.drawn == 6
    for epoch in epochs:
        assert len(epoch) == 24
        assert epoch[:18].tolist() == [*range(18)]
        assert len(set(epoch[18:].tolist())) == 6
    drawn = {tuple(sorted(epoch[18:].tolist())) for epoch in epochs}
    assert len(drawn) > 30  # anew for every epoch
    # Training persons alone: crops 2 to 10 of the general data.
    ids = {str(mix.data.ids[i]) for epoch in epochs for i in epoch[18:]}
    assert ids == {f"train{number:03}" for number in range(9)}
    assert set(mix.data.source[24:].tolist()) == {"photos"}


def test_an_epoch_that_needs_more_than_there_are_has_all_before_one_twice(
    tiny_data, general
):
    """Half of 40 is 20: two rounds of 9, and 2 more, each with an index of its own."""
    mix = mixed(tiny_data, general, 0.5)

    epoch = mix.epoch(3)

    assert mix.drawn == 20 and mix.pool.shape == (3, 9)
    assert len(set(epoch.tolist())) == 40
    names, counts = np.unique(mix.data.ids[epoch[20:]], return_counts=True)
    assert len(names) == 9 and sorted(counts.tolist()) == [2] * 7 + [3] * 2
    assert mix.persons(epoch).tolist() == [*range(2, 11)]
    assert mix.learned.tolist() == [*range(20), *range(24, 33)]


def test_an_epoch_is_a_function_of_seed_and_number(tiny_data, general):
    first, again = (mixed(tiny_data, general, 0.2) for _ in range(2))
    other = mixed(tiny_data, general, 0.2, seed=1)

    again.epoch(0)
    assert first.epoch(7).tolist() == again.epoch(7).tolist()
    assert first.epoch(7).tolist() != other.epoch(7).tolist()


def test_persons_with_two_crops_count_once(tiny_data, general):
    mix = mixed(tiny_data, general, 0.4)
    mix.general.first[3] = False  # crops 2 and 3 are one person

    assert mix.persons(mix.pool[0]).tolist() == [2, *range(4, 11)]


def test_what_does_not_go_together_is_refused(tiny_data, general, make, tmp_path):
    data = PreparedData.open(tiny_data)
    from kpose.joints import COCO_17

    calls = [
        (make("coco", {"train": 4}, COCO_17), 0.5, "must have the joints of .*, head"),
        (make("large", {"train": 4}, size=96), 0.5, "must have the size of .*, 64"),
        (make("lossy", {"train": 4}, codec="jpeg"), 0.5, "must have the codec of"),
        (make("tested", {"test": 4}), 0.5, "persons to train on. Received: test"),
        (tiny_data, 0.5, "of other data than .* which has the same crops"),
        (general, 0.0, "above 0 and below 1. Received: 0.0"),
        (general, 1.0, "above 0 and below 1. Received: 1.0"),
        (general, 0.01, "at least one general sample"),
    ]
    for folder, share, message in calls:
        with pytest.raises(InputError, match=message):
            replay.mix(data, np.arange(20), PreparedData.open(folder), share, 0)


@pytest.fixture
def config(tiny_config):
    """20 own crops and 13 general ones: 8 steps of 4, one is left over."""
    return replace(tiny_config, epochs=3)


def test_a_training_says_what_it_was_mixed_with(tiny_data, general, config, tmp_path):
    lines, run = [], tmp_path / "run"

    training.train(
        tiny_data,
        config,
        run,
        general=general,
        keep_general=0.4,
        keep_epochs=True,
        report=lines.append,
    )

    assert any("13 of 33 samples in every epoch are drawn from 9 persons" in line
               for line in lines)  # fmt: skip
    assert any("8 steps per epoch" in line for line in lines)
    card = store.read_card(run / "last.keras")["training"]
    assert card["data"] == [
        {"source": "tiny", "persons": 20, "licence": "public domain"},
        {
            "source": "photos",
            "persons": 9,
            "seen": 9,
            "licence": "licence of photos",
            "general": True,
        },
    ]
    assert card["keep_general"] == {"share": 0.4, "samples_per_epoch": 13}
    assert card["leak"]["training"] == 29
    pictures = np.load(run / shards.TRAINING_PICTURES)
    assert len(pictures["ids"]) == len(set(pictures["groups"].tolist())) == 29
    epochs = [store.read_card(run / f"epoch-{n:02}.keras") for n in (1, 2, 3)]
    assert [one["training"]["epochs"] for one in epochs] == [1, 2, 3]
    last = store.read_card(run / "last.keras")
    assert epochs[-1]["sha256"] == last["sha256"] != epochs[0]["sha256"]


def test_seen_counts_the_persons_that_were_drawn(tiny_data, general, tiny_config):
    """One general sample in each epoch: as many persons as different draws."""
    data = PreparedData.open(tiny_data)
    ids = training.split(data, tiny_config.training)
    mix = replay.mix(data, ids[0], PreparedData.open(general), 0.05, 0)
    trainer = training.Trainer(
        data, *ids, replace(tiny_config, batch=3), "none", training._strategy(), mix
    )
    assert (mix.drawn, trainer.steps) == (1, 7)

    drawn = [int(mix.epoch(epoch)[-1]) for epoch in range(4)]
    for epochs in (1, 2, 4):
        found = training._general(trainer, epochs)["data"][0]
        assert found["seen"] == len(set(drawn[:epochs]))


def test_interrupted_and_resumed_is_unbroken(
    tiny_data, general, config, tmp_path, monkeypatch
):
    """Also: the networks of every epoch are there, and another mix is refused."""
    call = {"general": general, "keep_general": 0.4, "keep_epochs": True}
    training.train(tiny_data, config, tmp_path / "whole", deterministic=True, **call)
    step, done = training.Trainer.step, []

    def failing(self, images, joints):
        if len(done) == 11:  # in the second epoch
            raise KeyboardInterrupt
        done.append(1)
        return step(self, images, joints)

    monkeypatch.setattr(training.Trainer, "step", failing)
    with pytest.raises(KeyboardInterrupt):
        training.train(tiny_data, config, tmp_path / "cut", **call)
    monkeypatch.setattr(training.Trainer, "step", step)
    other = call | {"keep_general": 0.3}
    with pytest.raises(InputError, match="--resume needs the general that"):
        training.train(tiny_data, config, tmp_path / "cut", resume=True, **other)
    training.train(tiny_data, config, tmp_path / "cut", resume=True, **call)

    for name in ("epoch-01", "epoch-02", "epoch-03", "best", "last"):
        found = [
            store.read_card(tmp_path / run / f"{name}.keras")["sha256"]
            for run in ("whole", "cut")
        ]
        assert found[0] == found[1], name


def kpose(*arguments):
    return CliRunner().invoke(main, ["train", *map(str, arguments)])


RECIPE = """
[model]
name = "linna2016"
size = 64
width = 0.02
[training]
epochs = 1
batch = 4
optimizer = "sgd"
learning_rate = 1e-2
validation_persons = 4
"""


def test_the_command_mixes(tiny_data, general, tmp_path):
    recipe, out = tmp_path / "recipe.toml", tmp_path / "run"
    recipe.write_text(RECIPE)
    call = [tiny_data, "--preset", recipe, "--out", out]
    mix = ["--keep-general", 0.4, "--general", general]

    plan = kpose(*call, *mix, "--dry-run", "--json")
    assert json.loads(plan.stdout.splitlines()[-1])["steps_per_epoch"] == 8
    for bad, message in (
        (["--keep-general", 0.4], "go together"),
        (["--general", general], "go together"),
        (["--keep-general", 1, "--general", general], "0<x<1"),
        (["--keep-general", 0.4, "--general", tmp_path], "has no dataset.json"),
        (["--keep-general", 0.4, "--general", tiny_data], "of other data than"),
    ):
        result = kpose(*call, *bad)
        assert result.exit_code == 1 and message in result.stderr, result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
        assert not out.exists()

    result = kpose(*call, *mix, "--keep-epochs")

    assert result.exit_code == 0, result.output
    assert "13 of 33 samples in every epoch" in result.stderr
    assert (out / "epoch-01.keras").is_file()
