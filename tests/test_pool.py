"""The pool of section 3.3: sources with different joints, from files to weights."""

import csv
import json

import cv2
import h5py
import numpy as np
import pytest
import scipy.io
import tensorflow as tf
from click.testing import CliRunner

from kpose import losses, models, pipeline
from kpose.augment import Augmentation
from kpose.joints import BODY_13
from kpose.shards import PreparedData
from kpose_cli.main import main

COCO = (
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder "
    "left_elbow right_elbow left_wrist right_wrist left_hip right_hip left_knee "
    "right_knee left_ankle right_ankle"
).split()

AIC = (
    "right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist "
    "right_hip right_knee right_ankle left_hip left_knee left_ankle head_top neck"
).split()

LEGS = ("right_knee", "right_ankle", "left_knee", "left_ankle")


def picture(path, seed):
    noise = np.random.default_rng(seed).integers(0, 256, (12, 10, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.resize(noise, (100, 120)))


def points(seed, count):
    return np.random.default_rng(seed).uniform((20, 20), (80, 100), (count, 2)).round(1)


def write_lsp(root, persons=4):
    """14 points, all of them."""
    joints = np.zeros((3, 14, persons))
    for number in range(persons):
        joints[:2, :, number] = points(number, 14).T
        picture(root / "images" / f"im{number + 1:04}.jpg", number)
    scipy.io.savemat(root / "joints.mat", {"joints": joints})
    return f"lsp:{root}"


def write_coco(path, names, persons, missing=()):
    """One person per picture; the points of ``missing`` have v = 0."""
    annotations, pictures = [], []
    for number in range(persons):
        triples = [[*xy, 2] for xy in points(10 + number, len(names)).tolist()]
        for name in missing:
            triples[names.index(name)] = [0, 0, 0]
        file_name = f"{path.stem}-{number}.jpg"
        picture(path.parent / file_name, 10 + number)
        pictures.append({"id": number, "file_name": file_name})
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "keypoints": [n for triple in triples for n in triple],
                "iscrowd": 0,
            }
        )
    category = {"id": 1, "name": "person", "keypoints": names}
    value = {"images": pictures, "annotations": annotations, "categories": [category]}
    path.write_text(json.dumps(value))
    return f"coco:{path}"


def write_flic(root, persons):
    """11 points of the upper body; no knees, no ankles."""
    root.mkdir()
    part = np.stack([points(30 + number, 11) for number in range(persons)])
    with h5py.File(root / "train.h5", "w") as file:
        file["part"] = part
        file["visible"] = np.ones((persons, 11))
        file["center"] = part.mean(axis=1)
        file["scale"] = np.ones(persons)
        file["torsoangle"] = np.zeros(persons)
        names = [f"film-{number:08}.jpg" for number in range(persons)]
        codes = np.zeros((persons, 32))
        for row, name in enumerate(names):
            codes[row, : len(name)] = [ord(letter) for letter in name]
            picture(root / "images" / name, 30 + row)
        file["imgname"] = codes
    return f"flic:{root / 'train.h5'}?images={root / 'images'}"


def write_bbc_like(root, persons):
    """A CSV of seven joints: head, wrists, elbows, shoulders."""
    root.mkdir()
    names = ["head", *(f"{s}_{p}" for p in ("wrist", "elbow", "shoulder")
             for s in ("right", "left"))]  # fmt: skip
    with (root / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "id", *(f"{n}_{a}" for n in names for a in "xy")])
        for number in range(persons):
            picture(root / f"{number}.png", 50 + number)
            xy = points(50 + number, 7).ravel().tolist()
            writer.writerow([f"{number}.png", number, *xy])
    return f"generic:{root / 'labels.csv'}"


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    return [
        write_lsp(root / "lsp"),
        write_coco(root / "people.json", COCO, 3, missing=("left_ankle", "nose")),
        write_coco(root / "aic.json", AIC, 2, missing=("head_top",)),
        write_flic(root / "flic", 5),
        write_bbc_like(root / "bbc", 6),
    ]


def run(sources, out, *arguments):
    data = [word for source in sources for word in ("--data", source)]
    words = [*data, "--out", str(out), "--size", "64", "--codec", "png", "--workers"]
    return CliRunner().invoke(main, ["prepare", *words, "1", *map(str, arguments)])


def test_one_call_mixes_five_sources_and_counts_every_joint(sources, tmp_path):
    result = run(sources, tmp_path / "out", "--json")

    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout.splitlines()[-1])
    every = dict.fromkeys(BODY_13.names, 1)
    upper = every | dict.fromkeys(LEGS, 0)
    by_hand = {
        "lsp": (4, every),
        # The face has eyes and ears without the nose: a head. One ankle is not there.
        "coco/people": (3, every | {"left_ankle": 0}),
        "coco/aic": (2, every | {"head": 0}),  # no middle without its top
        "flic": (5, upper),
        "generic/labels": (6, upper | {"right_hip": 0, "left_hip": 0}),
    }
    assert summary["coverage"] == {
        name: {joint: persons * there for joint, there in joints.items()}
        for name, (persons, joints) in by_hand.items()
    }
    assert summary["joints"]["head"] == 4 + 3 + 5 + 6
    assert summary["joints"]["left_ankle"] == 4 + 2
    assert summary["joints"]["left_hip"] == 4 + 3 + 2 + 5
    assert summary["persons"] == summary["labels"] == 20


def test_the_pool_holds_out_complete_persons_of_any_source(sources, tmp_path):
    result = run(sources, tmp_path / "out", "--validation", 2, "--seed", 3, "--json")
    again = run(sources[::-1], tmp_path / "again", "--validation", 2, "--seed", 3)

    assert result.exit_code == again.exit_code == 0, result.output
    summary = json.loads(result.stdout.splitlines()[-1])
    data, other = (PreparedData.open(tmp_path / name) for name in ("out", "again"))
    held_out = sorted(data.ids[data.split == "val"].tolist())
    assert len(held_out) == 2
    assert (data.annotated[data.split == "val"] == 13).all()
    # The order of the sources does not decide who is drawn.
    assert sorted(other.ids[other.split == "val"].tolist()) == held_out
    assert summary["split"]["kind"] == "drawn"
    assert summary["split"]["validation"] == 2
    assert (data.split == "train").sum() == 18
    assert "lsp" in again.stdout and "validation drawn by group, seed 3" in again.stdout
    # Two of four complete persons train; all 16 partly annotated ones do.
    table = [line.split() for line in again.stdout.splitlines()]
    assert ["all", "13", "20", "2", "16", "2", "0"] in table
    assert ["flic", "9", "5", "0", "5", "0", "0"] in table


def test_more_complete_persons_than_there_are_is_one_line(sources, tmp_path):
    result = run(sources, tmp_path / "out", "--validation", "paper")

    assert result.exit_code == 1
    assert "must hold out 2000 fully annotated persons, but only 4 of" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--validation", "many"], "a number of persons or paper. Received: many"),
        (["--validation", "0"], "a number of persons or paper. Received: 0"),
        (["--split-by", "subject"], "must say how many fully annotated persons"),
        (["--validation", "1", "--split-by", "subject"], "has none"),
    ],
)
def test_divisions_that_cannot_be(sources, tmp_path, arguments, message):
    result = run(sources, tmp_path / "out", *arguments)

    assert result.exit_code == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_split_file_decides_and_leaves_the_others_out(sources, tmp_path):
    file = tmp_path / "split.csv"
    file.write_text("id,split\nim0001,val\nim0002,train\nim0004,test\n")

    result = run(sources[:1], tmp_path / "out", "--split-file", file, "--json")

    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout.splitlines()[-1])
    data = PreparedData.open(tmp_path / "out")
    found = dict(zip(data.ids.tolist(), data.split.tolist(), strict=True))
    assert found == {"im0001": "val", "im0002": "train", "im0004": "test"}
    assert summary["skipped"] == {"lsp": {"left_out": 1}}
    assert summary["split"]["file"] == "split.csv"


def test_an_official_test_person_is_not_trained_on(sources, tmp_path):
    root = tmp_path / "lsp"
    write_lsp(root, persons=1001)
    file = tmp_path / "split.csv"
    file.write_text("id,split\nim0001,val\nim1001,train\n")

    result = run([f"lsp:{root}@all"], tmp_path / "out", "--split-file", file)

    assert result.exit_code == 1
    assert "official test persons in test, but has lsp im1001 in train" in result.stderr


@pytest.mark.parametrize("kind", ["regression", "simcc"])
def test_no_gradient_reaches_what_is_not_annotated(sources, tmp_path, kind):
    """From the files to the weights: upper bodies do not teach legs anything."""
    upper_bodies = [source for source in sources if source.startswith("flic")]
    assert run(upper_bodies, tmp_path / "out").exit_code == 0
    data = PreparedData.open(tmp_path / "out")
    strong = Augmentation(flip=0.5, rotation=40, scale=0.3, shift=0.05, color=0.2)
    images, joints = next(
        iter(
            pipeline.training_batches(
                data, np.arange(5), strong, size=64, batch=5, seed=0, epoch=0
            )
        )
    )
    if kind == "regression":
        network = models.build("linna2016", size=64, width=0.02, dropout=0.0)
        loss, output = losses.MaskedEuclidean(), "keypoints"
    else:
        network = models.build(
            "compact", backbone="mobilenet_v1_0.25", head="simcc", size=64
        )
        loss, output = losses.SimCCLoss(sigma=0.02), "logits"

    with tf.GradientTape() as tape:
        predicted = network(images, training=True)[output]
        tape.watch(predicted)
        total = tf.reduce_sum(loss.call(joints, predicted))
    weights = network.get_layer("fc8").kernel if kind == "regression" else None
    wanted = [predicted] if weights is None else [predicted, weights.value]
    gradients = tape.gradient(total, wanted)

    legs = [BODY_13.names.index(name) for name in LEGS]
    others = [i for i in range(13) if i not in legs]
    by_joint = np.abs(gradients[0].numpy()).reshape(5, 13, -1).sum(axis=(0, 2))
    assert np.isfinite(by_joint).all()
    np.testing.assert_array_equal(by_joint[legs], 0)
    assert (by_joint[others] > 0).all()
    if weights is not None:  # the columns of the last layer: x and y of each joint
        columns = np.abs(gradients[1].numpy()).reshape(-1, 13, 2).sum(axis=(0, 2))
        np.testing.assert_array_equal(columns[legs], 0)
        assert (columns[others] > 0).any()


def test_a_joint_without_labels_keeps_its_weights_in_training(sources, tmp_path):
    """The whole command line: what trains on upper bodies leaves the legs' weights."""
    flic = [source for source in sources if source.startswith("flic")]
    assert run(flic, tmp_path / "out").exit_code == 0
    data = PreparedData.open(tmp_path / "out")
    network = models.build("linna2016", size=64, width=0.02, dropout=0.0)
    before = network.get_layer("fc8").get_weights()
    from keras import optimizers

    optimizer = optimizers.SGD(1e-2, momentum=0.9)
    batches = pipeline.training_batches(
        data, np.arange(5), Augmentation(flip=0.5), size=64, batch=5, seed=0, epoch=0
    )
    for images, joints in batches:
        with tf.GradientTape() as tape:
            loss = losses.MaskedEuclidean()(joints, network(images)["keypoints"])
        gradients = tape.gradient(loss, [v.value for v in network.trainable_variables])
        optimizer.apply(gradients, network.trainable_variables)
    after = network.get_layer("fc8").get_weights()

    moved = [
        np.abs(new - old).reshape(-1, 13, 2).sum(axis=(0, 2))
        for old, new in zip(before, after, strict=True)
    ]
    legs = [BODY_13.names.index(name) for name in LEGS]
    for part in moved:
        np.testing.assert_array_equal(part[legs], 0)
    assert (np.delete(moved[1], legs) > 0).all()
