"""Who counts how often where persons have two crops: training and evaluation."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import tensorflow as tf

from kpose import artefacts, detection, examples, persons, training
from kpose.config import Training
from kpose.detection import Detection
from kpose.errors import InputError
from kpose.examples import Source, prepare
from kpose.export import publish
from kpose.geometry import person_box
from kpose.joints import BODY_13
from kpose.records import ImageRef, PersonRecord
from kpose.shards import PreparedData

RECIPE = Training(1, 4, "sgd", 1.0, validation_persons=5)
SHARES = (0.9, 0.6, 0.6, 0.1)
"""Of the joint box, by person in turns: the detector's alone, both, both, the other."""


class Partly:
    """Sees a share of each person's box, which depends on the person."""

    name, identity, threshold, given = "partly", "partly 1", 0.5, False

    def __init__(self, records):
        self.boxes = {}
        for number, record in enumerate(records):
            box = person_box(record.joints)
            low = box.y0 + box.height * SHARES[number % 4]
            self.boxes[record.image.path.name] = box._replace(y1=low)

    def detect(self, image, picture="", frame=0):
        return [Detection(self.boxes[Path(picture).name], 0.9)]


def person(folder, number):
    """Every fourth person is not fully annotated."""
    generator = np.random.default_rng(number)
    path = folder / f"{number:02}.png"
    cv2.imwrite(str(path), generator.integers(0, 256, (160, 120, 3), np.uint8))
    joints = np.ones((13, 3), np.float32)
    joints[:, :2] = generator.uniform((20, 20), (100, 140), (13, 2))
    if number % 4 == 3:
        joints[3] = 0
    visible = np.ones(13, np.int8)
    group = f"g{number // 2}"
    return PersonRecord(
        path.stem, ImageRef(path), joints, visible, "tiny", group, "train"
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """24 persons, two of each group, every second one with two crops."""
    root = tmp_path_factory.mktemp("two")
    records = [person(root, number) for number in range(24)]
    partly = Partly(records)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detection, "open", lambda name, threads=None: partly)
        patch.setattr(examples, "_detector", lambda name, identity: partly)
        prepare(
            [Source("tiny", records, "public domain")], root / "data",
            size=64, codec="png", workers=1, detector="partly",
        )  # fmt: skip
    return root / "data"


@pytest.fixture
def data(folder):
    opened = PreparedData.open(folder)
    assert (len(opened), opened.first.sum()) == (36, 24)
    return opened


def test_validation_counts_persons_and_both_crops_stay_on_a_side(data):
    train_ids, val_ids = training.split(data, RECIPE)

    # Whole groups are drawn, of 1 or 2 fully annotated persons (every fourth is not).
    assert 5 <= len(set(data.ids[val_ids])) == len(val_ids) <= 6
    assert data.first[val_ids].all()
    assert (data.annotated[val_ids] == 13).all()
    assert not set(data.group[train_ids]) & set(data.group[val_ids])
    held_out = np.isin(data.group, data.group[val_ids])
    assert train_ids.tolist() == np.flatnonzero(~held_out).tolist()
    assert (~data.first[train_ids]).any()


def test_a_training_counts_persons(folder, data, tiny_config, tmp_path):
    config = dataclasses.replace(
        tiny_config, training=dataclasses.replace(tiny_config.training, epochs=1)
    )
    train_ids, _ = training.split(data, config.training)
    persons_there = len(set(data.ids[train_ids]))
    lines = []

    plan = training.dry_run(folder, config)
    summary = training.train(folder, config, tmp_path / "run", report=lines.append)
    card = artefacts.read_card(tmp_path / "run")["training"]

    assert persons_there < len(train_ids)
    assert plan["train_persons"] == summary["train_persons"] == persons_there
    assert lines[0].startswith(f"{persons_there} persons to train on, ")
    assert [source["persons"] for source in card["data"]] == [persons_there]
    # An epoch is all crops.
    assert plan["steps_per_epoch"] == len(train_ids) // config.training.batch


def test_the_card_counts_test_persons_not_their_crops(data, tiny_config):
    data.split[:5] = "test"
    ids = training.split(data, tiny_config.training, allow_test=True)
    strategy = tf.distribute.get_strategy()
    trainer = training.Trainer(data, *ids, tiny_config, "none", strategy)
    row = {"val_pck_all": 0.0, "val_pixel_error": 0.0}

    card = training._card(trainer, training.State(), row)["training"]

    wanted = set(data.ids[ids[0]]) & set(data.ids[:5])
    assert card["test_persons_trained_on"] == len(wanted)
    assert len(wanted) < (data.split[ids[0]] == "test").sum()


def test_an_export_is_compared_on_one_crop_of_a_person(folder):
    network = SimpleNamespace(skeleton=BODY_13, size=64)

    crops, origin = publish._data_crops(folder, network)

    assert len(crops) == 24
    assert origin == f"24 persons of {folder}"


def test_both_crops_of_the_sets_own_validation_persons_are_not_trained_on(data):
    data.split[:5] = "val"  # one crop, two, two

    train_ids, val_ids = training.split(data, RECIPE)

    assert data.first[:5].tolist() == [True, True, False, True, False]
    assert val_ids.tolist() == [0, 1, 3]
    assert train_ids.tolist() == list(range(5, 36))


def test_the_refusal_of_test_persons_counts_persons(data):
    data.split[:5] = "test"

    with pytest.raises(InputError, match="no test persons to train on, but has 3"):
        training.split(data, RECIPE)


def test_evaluation_takes_one_crop_of_a_person_the_detectors_if_it_is_good(data):
    people = persons.prepared(data, "all")

    assert people.count == len(people.names) == len(set(people.names)) == 24
    assert people.splits == {("tiny", "train"): 24}
    chosen = np.flatnonzero(data.first)
    assert data.box[chosen].tolist() == [*["detector"] * 3, "ground_truth"] * 6
    joints = np.concatenate([joints for _, joints in people.batches(64)])
    stored = [examples.parse(data.read(int(index))).joints for index in chosen]
    np.testing.assert_array_equal(joints, stored)
