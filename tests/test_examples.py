"""Prepared data: what is written, continued, refused and read back."""

import dataclasses
import fcntl
import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from kpose import detection, examples, images
from kpose.detection import Detection
from kpose.errors import InputError
from kpose.examples import PreparedData, Source, parse, prepare, read_shard
from kpose.geometry import Box, SquareCrop, person_box
from kpose.joints import BODY_13, COCO_17
from kpose.label_check import check
from kpose.records import ImageRef, PersonRecord

ROOT = Path(__file__).parents[1]


def picture(path: Path, width: int = 90, height: int = 120, seed: int = 0) -> Path:
    """A smooth picture, different for each seed; not a lossless one."""
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.resize(noise, (width, height)))
    return path


def person(folder: Path, number: int, **changes) -> PersonRecord:
    """A person in its own picture: all joints annotated, spread over 40 x 60 px."""
    rng = np.random.default_rng(number)
    joints = np.ones((13, 3), np.float32)
    joints[:, :2] = rng.uniform((20, 30), (60, 90), (13, 2))
    values = {
        "id": f"p{number}",
        "image": ImageRef(picture(folder / f"p{number}.jpg", seed=number)),
        "joints": joints,
        "visible": rng.integers(-1, 2, 13).astype(np.int8),
        "source": "tiny",
        "group": f"g{number // 2}",
        "split": "train",
    }
    return PersonRecord(**{**values, **changes})


def people(folder: Path, count: int = 5) -> list[Source]:
    return [Source("tiny", [person(folder, n) for n in range(count)], "CC0")]


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


# What a folder holds


def test_the_folder_and_its_summary(tmp_path):
    records = [person(tmp_path / "in", n) for n in range(4)]
    half = records[1].joints.copy()
    half[5:] = 0
    records[1] = dataclasses.replace(records[1], joints=half, split="val")
    other = person(tmp_path / "in", 9, source="other", head_rule="face")
    sources = [Source("tiny", records, "CC0"), Source("other", [other], "MIT")]

    summary = prepare(sources, tmp_path / "out", shard_records=2, workers=1)

    assert sorted(content(tmp_path / "out")) == [
        "dataset.json",
        "index.npz",
        "preview.png",
        "shard-00000.tfrecord",
        "shard-00001.tfrecord",
        "shard-00002.tfrecord",
    ]
    assert summary == json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert summary["skeleton"] == BODY_13.to_json()
    assert (summary["size"], summary["stored_side"]) == (224, 336)
    assert (summary["codec"], summary["quality"]) == ("jpeg", 95)
    assert (summary["labels"], summary["persons"], summary["images"]) == (5, 5, 5)
    assert summary["sources"] == [
        {
            "name": "tiny",
            "licence": "CC0",
            "head_rule": "mid",
            "labels": 4,
            "images": 4,
            "missing_images": 0,
            "persons": {"train": 3, "val": 1},
            "complete_persons": {"train": 3},
            "joints_too_far": 0,
        },
        {
            "name": "other",
            "licence": "MIT",
            "head_rule": "face",
            "labels": 1,
            "images": 1,
            "missing_images": 0,
            "persons": {"train": 1},
            "complete_persons": {"train": 1},
            "joints_too_far": 0,
        },
    ]
    assert summary["coverage"]["tiny"]["head"] == 4
    assert summary["coverage"]["tiny"]["left_ankle"] == 3
    assert summary["coverage"]["other"]["left_ankle"] == 1
    assert summary["joints"]["left_ankle"] == 4
    assert summary["skipped"] == {"tiny": {}, "other": {}}
    for shard in summary["shards"]:
        data = (tmp_path / "out" / shard["file"]).read_bytes()
        assert shard["bytes"] == len(data)
        assert shard["sha256"] == hashlib.sha256(data).hexdigest()
    assert [shard["records"] for shard in summary["shards"]] == [2, 2, 1]


def test_open_gives_the_persons_in_input_order(tmp_path):
    records = [person(tmp_path / "in", n) for n in range(5)]
    records[3] = dataclasses.replace(records[3], split="test", source="other")
    prepare([Source("tiny", records, "CC0")], tmp_path / "out", shard_records=2)

    data = PreparedData.open(tmp_path / "out")

    assert len(data) == 5
    assert data.ids.tolist() == ["p0", "p1", "p2", "p3", "p4"]
    assert data.group.tolist() == ["g0", "g0", "g1", "g1", "g2"]
    assert data.split.tolist() == ["train"] * 3 + ["test", "train"]
    assert data.source.tolist() == ["tiny"] * 3 + ["other", "tiny"]
    assert data.annotated.tolist() == [13] * 5
    assert data.shard.tolist() == [0, 0, 1, 1, 2]
    assert (data.size, data.stored_side, data.skeleton) == (224, 336, BODY_13)
    assert [source["name"] for source in data.sources] == ["tiny", "other"]
    shards = [tmp_path / "out" / f"shard-0000{n}.tfrecord" for n in range(3)]
    by_shard = [sample for shard in shards for sample in read_shard(shard)]
    for index, (sample, record) in enumerate(zip(by_shard, records, strict=True)):
        by_index = parse(data.read(index))
        for one, other in zip(sample, by_index, strict=True):
            np.testing.assert_array_equal(one, other)
        assert sample[:5] == (
            record.id,
            record.source,
            record.group,
            record.split,
            record.image.path.name,
        )
        np.testing.assert_array_equal(sample.visible, record.visible)
        assert sample.visible.dtype == np.int8
        assert sample.joints.dtype == np.float32


def test_mean_pose_is_that_of_annotated_training_joints(tmp_path):
    a, b, c = (person(tmp_path / "in", n) for n in range(3))
    joints = a.joints.copy()
    joints[0] = 0
    a = dataclasses.replace(a, joints=joints)
    b.joints[1] = joints[1] = c.joints[1] = 0  # no training person has joint 1
    c = dataclasses.replace(c, split="val")
    expected = [
        SquareCrop.around(person_box(r.joints)).joints_to_crop(r.joints) for r in (a, b)
    ]

    prepare([Source("tiny", [a, b, c], "")], tmp_path / "out", workers=1)

    data = PreparedData.open(tmp_path / "out")
    np.testing.assert_allclose(data.mean_pose[0], expected[1][0, :2], atol=1e-6)
    assert data.mean_pose[1].tolist() == [0.5, 0.5]
    assert data.summary["mean_pose"][1] is None
    np.testing.assert_allclose(
        data.mean_pose[2], (expected[0][2, :2] + expected[1][2, :2]) / 2, atol=1e-6
    )


def test_another_skeleton_is_data(tmp_path):
    joints = np.ones((17, 3), np.float32)
    joints[:, :2] = np.random.default_rng(0).uniform(20, 80, (17, 2))
    record = person(tmp_path / "in", 0, joints=joints, visible=np.full(17, -1, np.int8))

    prepare(
        [Source("tiny", [record], "")], tmp_path / "out", skeleton=COCO_17, workers=1
    )

    data = PreparedData.open(tmp_path / "out")
    assert data.skeleton == COCO_17
    assert data.mean_pose.shape == (17, 2)
    assert parse(data.read(0)).joints.shape == (17, 3)
    with pytest.raises(InputError, match=r"must have 13 joints\. Received: 17"):
        prepare([Source("tiny", [record], "")], tmp_path / "no", skeleton=BODY_13)
    assert not (tmp_path / "no").exists()


def test_preview_shows_every_source(tmp_path):
    sources = people(tmp_path / "in", 40)
    sources.append(Source("b", [person(tmp_path / "in", 50, source="b")], ""))

    prepare(sources, tmp_path / "out", size=32, workers=1)

    sheet = images.decode((tmp_path / "out" / "preview.png").read_bytes())
    # 16 of the first source and the only one of the second: 17 tiles in rows of 8.
    gap = 4
    assert sheet.shape == (3 * 32 + 2 * gap, 8 * 32 + 7 * gap, 3)


# Geometry


@pytest.mark.parametrize("size", [192, 224])
def test_central_slice_of_the_stored_crop_is_the_evaluation_crop(tmp_path, size):
    inside, leaving = person(tmp_path / "in", 0), person(tmp_path / "in", 1)
    leaving.joints[:, :2] += (-30, 50)  # over the left and the lower edge
    big = person(
        tmp_path / "in",
        2,
        image=ImageRef(picture(tmp_path / "big.jpg", 1300, 1100)),
        joints=inside.joints * (17, 13, 1),  # reduced by an area mean first
    )
    records = [inside, leaving, dataclasses.replace(big, joints=big.joints + 0)]

    prepare(
        [Source("tiny", records, "")],
        tmp_path / "out",
        size=size,
        codec="png",
        workers=1,
    )

    data = PreparedData.open(tmp_path / "out")
    for index, record in enumerate(records):
        sample = parse(data.read(index))
        square = SquareCrop.around(person_box(record.joints))
        expected = images.crop(images.read(record.image), square, size)
        assert sample.image.shape == (size * 3 // 2, size * 3 // 2, 3)
        assert expected.any()
        np.testing.assert_array_equal(
            images.central_slice(sample.image, size), expected
        )
        np.testing.assert_allclose(sample.square, square, rtol=1e-6)


def test_joints_are_in_crop_units_of_any_size(tmp_path):
    joints = np.zeros((13, 3), np.float32)
    joints[1], joints[10] = (29.5, 39.5, 1), (49.5, 89.5, 1)  # box 30..50 x 40..90
    record = person(tmp_path / "in", 0, joints=joints)

    for size in (192, 224):
        out = tmp_path / str(size)
        prepare([Source("tiny", [record], "")], out, size=size, workers=1)

        # x 1.2 gives 28..52 x 35..95, squared to side 60 around (40, 65).
        (sample,) = read_shard(out / "shard-00000.tfrecord")
        assert sample.square == pytest.approx((10, 35, 60))
        expected = np.zeros((13, 3))
        expected[1] = (20 / 60, 5 / 60, 1)
        expected[10] = (40 / 60, 55 / 60, 1)
        np.testing.assert_allclose(sample.joints, expected, atol=1e-7)


def test_the_sets_own_box_is_taken_and_far_joints_are_left_out(tmp_path):
    record = person(tmp_path / "in", 0, box=Box(40, 40, 60, 60))
    record.joints[:, :2] = 49.5
    # A joint exactly one side (20 px) outside stays; half a pixel more is too far.
    record.joints[1, :2], record.joints[2, :2] = (19.5, 49.5), (49.5, 80.0)

    summary = prepare([Source("tiny", [record], "")], tmp_path / "out", workers=1)

    (sample,) = read_shard(tmp_path / "out" / "shard-00000.tfrecord")
    assert sample.square == (40, 40, 20)
    assert sample.joints[0].tolist() == [0.5, 0.5, 1]
    assert sample.joints[1].tolist() == [-1, 0.5, 1]
    assert sample.joints[2].tolist() == [0, 0, 0]
    assert summary["sources"][0]["joints_too_far"] == 1
    assert summary["skipped"] == {"tiny": {}}
    assert summary["skipped_examples"] == {"tiny": {"joint_too_far": ["p0"]}}
    assert PreparedData.open(tmp_path / "out").annotated.tolist() == [12]
    assert check([Source("tiny", [record], "")])["joints_too_far"] == 1


# Table 1


class FakeDetector:
    """Knows the boxes of each picture by its file name; counts what it is asked."""

    name, identity, threshold, given = "fake", "fake 1", 0.5, False

    def __init__(self):
        self.boxes: dict[str, list[Detection]] = {}
        self.asked: list[str] = []

    def detect(self, image, picture="", frame=0):
        assert image.dtype == np.uint8 and image.shape[2] == 3
        self.asked.append(Path(picture).name)
        return self.boxes.get(Path(picture).name, [])


@pytest.fixture
def detector(monkeypatch):
    fake = FakeDetector()
    monkeypatch.setattr(detection, "open", lambda name, threads=None: fake)
    monkeypatch.setattr(detection, "cached", lambda detector: detector, raising=False)
    monkeypatch.setattr(examples, "_detector", lambda name, identity: fake)
    return fake


def spanning(folder: Path, number: int, **changes) -> PersonRecord:
    """A person whose joint box x 1.2 is 15..75 x 15..75, for boxes of a known IoU."""
    record = person(folder, number, **changes)
    record.joints[:, :2] = 45
    record.joints[0, :2], record.joints[12, :2] = 19.5, 69.5
    return record


def overlapping(percent: float) -> Box:
    """A box inside 15..75 x 15..75 that covers ``percent`` of it."""
    return Box(15, 15, 75, 15 + 0.6 * percent)


def table_1(folder: Path, detector: FakeDetector) -> Source:
    """A person for each row and border of Table 1, named after the IoU."""
    overlaps = {"49": 49, "50": 50, "60": 60, "70": 70, "71": 71, "none": None}
    records = []
    for number, (name, percent) in enumerate(overlaps.items()):
        record = spanning(folder, number, id=name)
        if percent:
            # The best by score is not the best by overlap.
            detector.boxes[record.image.path.name] = [
                Detection(Box(0, 0, 20, 20), 0.9),
                Detection(overlapping(percent), 0.5),
            ]
        records.append(record)
    return Source("tiny", records, "CC0")


def test_table_1_decides_the_stored_crops(tmp_path, detector):
    source = table_1(tmp_path / "in", detector)
    records = {record.id: record for record in source.records}

    summary = prepare(
        [source], tmp_path / "out", codec="png", detector="fake", workers=1
    )

    data = PreparedData.open(tmp_path / "out")
    assert list(zip(data.ids.tolist(), data.box.tolist(), strict=True)) == [
        ("49", "ground_truth"),
        ("50", "detector"),
        ("50", "ground_truth"),
        ("60", "detector"),
        ("60", "ground_truth"),
        ("70", "detector"),
        ("70", "ground_truth"),
        ("71", "detector"),
        ("none", "ground_truth"),
    ]
    overlaps = [0.49, *[0.5] * 2, *[0.6] * 2, *[0.7] * 2, 0.71, 0]
    assert data.iou.tolist() == pytest.approx(overlaps)
    assert data.first.tolist() == [
        True,
        True,
        False,
        True,
        False,
        True,
        False,
        True,
        True,
    ]
    for index, name in enumerate(data.ids.tolist()):
        sample, record = parse(data.read(index)), records[name]
        box = person_box(record.joints)
        if sample.box == "detector":
            box = overlapping(int(name))
        square = SquareCrop.around(box)
        assert (sample.id, sample.box) == (name, data.box[index])
        assert sample.iou == data.iou[index]
        assert sample.square == pytest.approx(square)
        np.testing.assert_array_equal(
            sample.joints, square.joints_to_crop(record.joints)
        )
        np.testing.assert_array_equal(
            images.central_slice(sample.image, 224),
            images.crop(images.read(record.image), square),
        )
    counts = {
        "detector": 1,
        "both": 3,
        "ground_truth": 2,
        "no_detection": 1,
        "stored": 9,
        "with_flips": 18,
    }
    assert summary["crops"] == summary["sources"][0]["crops"] == counts
    assert summary["persons"] == 6
    assert summary["sources"][0]["persons"] == {"train": 6}
    assert summary["joints"]["head"] == summary["coverage"]["tiny"]["head"] == 6
    assert summary["detector"] == {"min_score": 0.5, "identity": "fake 1"}
    assert [shard["records"] for shard in summary["shards"]] == [9]
    heads = [parse(data.read(index)).joints[0, :2] for index in range(9)]
    np.testing.assert_allclose(data.mean_pose[0], np.mean(heads, axis=0), atol=1e-5)
    sheet = images.decode((tmp_path / "out" / "crops.png").read_bytes())
    assert len(sheet) == 3 * (18 + 288) + 2 * 4  # six persons in rows of two


def test_counts_of_table_1_are_by_source(tmp_path, detector):
    other = spanning(tmp_path / "in", 9, source="other")
    sources = [table_1(tmp_path / "in", detector), Source("other", [other], "")]

    summary = prepare(
        sources, tmp_path / "out", size=32, shard_records=2, detector="fake", workers=1
    )

    both, one = (source["crops"] for source in summary["sources"])
    assert (both["detector"], both["both"], both["ground_truth"]) == (1, 3, 2)
    assert (one["stored"], one["ground_truth"], one["no_detection"]) == (1, 1, 1)
    assert (summary["crops"]["stored"], summary["crops"]["no_detection"]) == (10, 2)


def test_detections_under_the_lowest_score_do_not_count(tmp_path, detector):
    record = spanning(tmp_path / "in", 0)
    detector.boxes["p0.jpg"] = [
        Detection(overlapping(60), 0.8),
        Detection(overlapping(90), 0.5),
        Detection(overlapping(99), 0.49),
    ]
    detector.boxes["p1.jpg"] = [Detection(overlapping(60), None)]
    records = [record, spanning(tmp_path / "in", 1)]
    found = {}

    for score in (None, 0.49, 0.51, 0.9):
        out = tmp_path / str(score)
        prepare(
            [Source("tiny", records, "")], out,
            size=32, detector="fake", min_score=score, workers=1,
        )  # fmt: skip
        data = PreparedData.open(out)
        found[score] = data.iou[data.first].tolist()

    expected = {None: [0.9, 0.6], 0.49: [0.99, 0.6], 0.51: [0.6, 0.6], 0.9: [0, 0.6]}
    assert {score: pytest.approx(ious) for score, ious in expected.items()} == found


def test_a_picture_of_several_persons_is_searched_once(tmp_path, detector):
    group = [spanning(tmp_path / "in", 0, id=name) for name in "abc"]
    for number, record in enumerate(group):
        record.joints[:, 0] += 3 * number
    alone = spanning(tmp_path / "in", 1)
    detector.boxes["p0.jpg"] = [
        Detection(Box(15 + 3 * number, 15, 75 + 3 * number, 75), 0.9)
        for number in (2, 1, 0)
    ]

    prepare(
        [Source("tiny", [*group, alone], "")], tmp_path / "out", size=32,
        detector="fake", workers=1,
    )  # fmt: skip

    # Then the sheet: a row of Table 1 after the other, four persons each.
    assert detector.asked[:2] == ["p0.jpg", "p1.jpg"]
    data = PreparedData.open(tmp_path / "out")
    assert data.iou.tolist() == [1, 1, 1, 0]  # each its own, whatever the order


def test_a_person_that_is_skipped_without_a_detector_is_skipped_with_it(
    tmp_path, detector
):
    records = [person(tmp_path / "in", 0), *bad_people(tmp_path / "in").values()]
    for record in records:
        detector.boxes[record.image.path.name] = [Detection(Box(10, 10, 80, 110), 0.9)]

    plain = prepare([Source("tiny", records, "")], tmp_path / "a", workers=1)
    summary = prepare(
        [Source("tiny", records, "")], tmp_path / "b", detector="fake", workers=1
    )

    assert summary["skipped"] == plain["skipped"]
    assert summary["persons"] == plain["persons"] == 1


def test_without_a_detector_no_byte_says_anything_of_boxes(tmp_path):
    summary = prepare(people(tmp_path / "in", 2), tmp_path / "out", workers=1)

    data = PreparedData.open(tmp_path / "out")
    assert summary["detector"] is None
    assert "crops" not in summary and "crops" not in summary["sources"][0]
    with np.load(tmp_path / "out" / "index.npz") as index:
        assert not {"box", "iou"} & set(index.files)
    assert b"iou" not in data.read(0)
    assert data.box.tolist() == ["ground_truth"] * 2
    assert np.isnan(data.iou).all() and data.first.all()
    sample = parse(data.read(0))
    assert sample.box == "ground_truth" and np.isnan(sample.iou)


def test_bytes_with_a_detector_do_not_depend_on_workers_or_an_interruption(tmp_path):
    sources = [Source("tiny", [spanning(tmp_path / "in", n) for n in range(6)], "")]
    options = {"size": 32, "shard_records": 2, "detector": "whole"}
    for workers in (1, 2):
        prepare(sources, tmp_path / str(workers), workers=workers, **options)
    steps = []

    def interrupt(done):
        steps.append(done)
        if len(steps) == 2:
            raise KeyboardInterrupt

    out = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        prepare(sources, out, workers=1, progress=interrupt, **options)
    assert (out / "shard-00000.rows.npz").exists()
    assert not (out / "dataset.json").exists()
    with pytest.raises(InputError, match=r"has detector \{'min_score': 0\.0, .*0\.2"):
        prepare(sources, out, workers=1, min_score=0.2, **options)
    with pytest.raises(InputError, match=r"has detector \{.*, not None"):
        prepare(sources, out, workers=1, size=32, shard_records=2)
    prepare(sources, out, workers=1, **options)

    assert content(tmp_path / "1") == content(tmp_path / "2") == content(out)
    assert "crops.png" in content(out)


def test_another_detector_file_is_another_configuration(tmp_path, detector):
    sources = [table_1(tmp_path / "in", detector)]
    prepare(sources, tmp_path / "out", size=32, detector="fake", workers=1)
    detector.identity = "fake 2"

    with pytest.raises(InputError, match=r"has detector .*fake 1.*, not .*fake 2"):
        prepare(sources, tmp_path / "out", size=32, detector="fake", workers=1)


def test_a_detector_that_changes_meanwhile_is_refused(monkeypatch):
    fake = FakeDetector()
    monkeypatch.setattr(detection, "open", lambda name, threads=None: fake)
    monkeypatch.setattr(detection, "cached", lambda detector: detector, raising=False)

    assert examples._detector("changing", "fake 1") is fake
    with pytest.raises(InputError, match="changing must not change while it is used"):
        examples._detector("changing", "fake 2")


def test_an_unknown_detector_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match="Received: who:knows"):
        prepare(people(tmp_path / "in", 1), tmp_path / "out", detector="who:knows")
    with pytest.raises(InputError, match="a lowest score needs a detector"):
        prepare(people(tmp_path / "in", 1), tmp_path / "out", min_score=0.5)

    assert not (tmp_path / "out").exists()


# Shards and TensorFlow


@pytest.mark.parametrize("codec", ["jpeg", "png"])
def test_tensorflow_reads_the_same(tmp_path, codec):
    tf = pytest.importorskip("tensorflow")
    prepare(people(tmp_path / "in", 3), tmp_path / "out", size=64, codec=codec)
    shard = tmp_path / "out" / "shard-00000.tfrecord"
    texts = ("id", "source", "group", "split", "picture")
    spec = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "joints": tf.io.FixedLenFeature([13 * 3], tf.float32),
        "visible": tf.io.FixedLenFeature([13], tf.int64),
        "square": tf.io.FixedLenFeature([3], tf.float32),
        **{name: tf.io.FixedLenFeature([], tf.string) for name in texts},
    }

    serialized = list(tf.data.TFRecordDataset(str(shard)).as_numpy_iterator())

    data = PreparedData.open(tmp_path / "out")
    assert serialized == [data.read(index) for index in range(3)]
    for sample, one in zip(read_shard(shard), serialized, strict=True):
        example = tf.io.parse_single_example(one, spec)
        if codec == "jpeg":
            image = tf.io.decode_jpeg(example["image"], dct_method="INTEGER_ACCURATE")
        else:
            image = tf.io.decode_png(example["image"])
        np.testing.assert_array_equal(image, sample.image)
        np.testing.assert_array_equal(
            np.reshape(example["joints"], (13, 3)), sample.joints
        )
        np.testing.assert_array_equal(example["visible"], sample.visible)
        assert tuple(example["square"].numpy().tolist()) == sample.square
        for name in texts:
            assert example[name].numpy().decode() == getattr(sample, name)


def test_no_tensorflow_is_imported():
    code = "import sys, kpose.examples; sys.exit('tensorflow' in sys.modules)"

    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("cut", [1, 4, 5, 1000], ids=lambda cut: f"{cut} bytes")
def test_a_shard_cut_short_is_refused(tmp_path, cut):
    prepare(people(tmp_path / "in", 3), tmp_path / "out", workers=1)
    shard = tmp_path / "out" / "shard-00000.tfrecord"
    os.truncate(shard, shard.stat().st_size - cut)

    with pytest.raises(InputError, match=r"shard-00000\.tfrecord.*cut short"):
        PreparedData.open(tmp_path / "out")
    with pytest.raises(
        InputError, match=r"shard-00000\.tfrecord.*record 2 is cut short"
    ):
        list(read_shard(shard))


def test_a_missing_shard_is_refused(tmp_path):
    prepare(people(tmp_path / "in", 3), tmp_path / "out", shard_records=2, workers=1)
    (tmp_path / "out" / "shard-00001.tfrecord").unlink()

    with pytest.raises(InputError, match=r"shard-00001\.tfrecord, but there is none"):
        PreparedData.open(tmp_path / "out")
    with pytest.raises(InputError, match=r"shard-00001\.tfrecord"):
        list(read_shard(tmp_path / "out" / "shard-00001.tfrecord"))


def test_a_changed_byte_is_refused_when_it_is_read(tmp_path):
    prepare(people(tmp_path / "in", 3), tmp_path / "out", workers=1)
    shard = tmp_path / "out" / "shard-00000.tfrecord"
    data = PreparedData.open(tmp_path / "out")
    damaged = bytearray(shard.read_bytes())
    damaged[data.offset[1] + 100] ^= 1
    shard.write_bytes(damaged)

    data = PreparedData.open(tmp_path / "out")

    assert parse(data.read(0)).id == "p0"
    with pytest.raises(InputError, match=r"shard-00000\.tfrecord.*checksum of p1"):
        data.read(1)
    with pytest.raises(InputError, match="record 1"):
        list(read_shard(shard))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda out: (out / "dataset.json").unlink(), "has no dataset.json"),
        (lambda out: (out / "dataset.json").write_text("{"), "must be a JSON file"),
        (lambda out: (out / "dataset.json").write_text("{}"), "damaged: KeyError"),
        (lambda out: (out / "dataset.json").write_text("[]"), "damaged: TypeError"),
        (lambda out: (out / "index.npz").unlink(), "damaged: FileNotFoundError"),
        (lambda out: (out / "index.npz").write_bytes(b"PK\3\4"), "damaged: BadZip"),
        (
            lambda out: np.savez(out / "index.npz", ids=np.array(["p0"])),
            "must have 3 crops. Received: 1",
        ),
    ],
)
def test_a_damaged_folder_is_refused(tmp_path, spoil, message):
    prepare(people(tmp_path / "in", 3), tmp_path / "out", workers=1)
    spoil(tmp_path / "out")

    with pytest.raises(InputError, match=message) as error:
        PreparedData.open(tmp_path / "out")

    assert str(tmp_path / "out") in str(error.value)


def test_parse_refuses_another_example():
    with pytest.raises(InputError, match="expected an example of `kpose prepare`"):
        parse(b"")


# Bad records


def bad_people(folder: Path) -> dict[str, PersonRecord]:
    """One bad person per reason, by reason."""
    good = [person(folder, n) for n in range(10, 18)]
    cut = good[0].image.path
    cut.write_bytes(cut.read_bytes()[:-200])
    nan, inf = good[1].joints.copy(), good[2].joints.copy()
    nan[4, 0], inf[12, 1] = np.nan, -np.inf
    flat = good[4].joints.copy()
    flat[:, 1] = 50
    return {
        "unreadable_image": good[0],
        "non_finite_joint": dataclasses.replace(good[1], joints=nan),
        "non_finite_joint ": dataclasses.replace(good[2], joints=inf),
        "no_joints": dataclasses.replace(good[3], joints=good[3].joints * 0),
        "box_without_area": dataclasses.replace(good[4], joints=flat),
        "box_without_area ": dataclasses.replace(good[5], box=Box(9, 9, 9, 30)),
        "box_outside_image": dataclasses.replace(good[6], joints=good[6].joints + 200),
        "duplicate_id": dataclasses.replace(good[7], id="p0"),
    }


def test_bad_records_are_skipped_and_counted(tmp_path):
    missing = [
        person(tmp_path / "in", n, image=ImageRef(tmp_path / "no.jpg"))
        for n in range(100, 125)
    ]
    records = [
        *[person(tmp_path / "in", n) for n in range(3)],
        *bad_people(tmp_path / "in").values(),
        *missing,
    ]
    sources = [Source("tiny", records, "")]
    counts = {
        "non_finite_joint": 2,
        "no_joints": 1,
        "box_without_area": 2,
        "duplicate_id": 1,
        "missing_image": 25,
        "unreadable_image": 1,
        "box_outside_image": 1,
    }

    report = check(sources)
    summary = prepare(sources, tmp_path / "out", shard_records=4, workers=1)

    assert report["skipped"] == counts
    assert summary["skipped"] == {"tiny": counts}
    for found in (report, summary):
        assert (found["labels"], found["persons"]) == (36, 3)
        assert found["missing_images"] == 1
        assert found["joints"]["head"] == 3
        assert found["skipped_examples"]["tiny"]["non_finite_joint"] == ["p11", "p12"]
        assert found["skipped_examples"]["tiny"]["unreadable_image"] == ["p10"]
        assert len(found["skipped_examples"]["tiny"]["missing_image"]) == 20
    # The pictures of usable labels that could be decoded; that of the person outside
    # its picture counts.
    assert report["images"] == summary["images"] == 4
    data = PreparedData.open(tmp_path / "out")
    assert data.ids.tolist() == ["p0", "p1", "p2"]
    assert parse(data.read(0)).picture == "p0.jpg"


@pytest.mark.parametrize(
    ("reason", "workers"),
    [
        ("unreadable_image", 1),
        ("unreadable_image", 2),
        ("non_finite_joint", 1),
        ("no_joints", 1),
        ("box_without_area", 1),
        ("box_outside_image", 1),
        ("duplicate_id", 1),
    ],
)
def test_strict_makes_the_first_bad_record_an_error(tmp_path, reason, workers):
    bad = bad_people(tmp_path / "in")[reason]
    records = [*[person(tmp_path / "in", n) for n in range(3)], bad]
    sources = [Source("tiny", records, "")]
    why = "cut short" if reason == "unreadable_image" else reason

    with pytest.raises(InputError, match=f"tiny {bad.id} .*{why}") as error:
        prepare(
            sources, tmp_path / "out", strict=True, shard_records=2, workers=workers
        )
    assert str(bad.image.path) in str(error.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match=f"tiny {bad.id} .*{why}"):
        check(sources, strict=True)


def test_strict_does_not_mind_absent_pictures(tmp_path):
    absent = person(tmp_path / "in", 7, image=ImageRef(tmp_path / "no.jpg"))
    sources = [Source("tiny", [absent, person(tmp_path / "in", 0)], "")]

    assert check(sources, strict=True)["persons"] == 1
    summary = prepare(sources, tmp_path / "out", strict=True, workers=1)
    assert (summary["persons"], summary["missing_images"]) == (1, 1)


@pytest.mark.parametrize("reason", ["no_joints", "unreadable_image"])
def test_no_usable_person_is_an_error(tmp_path, reason):
    sources = [Source("tiny", [bad_people(tmp_path / "in")[reason]], "")]

    for call in (check, lambda s: prepare(s, tmp_path / "out", workers=1)):
        with pytest.raises(InputError, match=rf"Received: 1 labels \(1 {reason}\)"):
            call(sources)

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 225}, "multiple of 4. Received: 225"),
        ({"size": 0}, "multiple of 4. Received: 0"),
        ({"codec": "webp"}, "jpeg or png. Received: 'webp'"),
        ({"quality": 101}, "1 to 100. Received: 101"),
    ],
)
def test_wrong_settings_are_refused(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        prepare(people(tmp_path / "in", 1), tmp_path / "out", **options)

    assert not (tmp_path / "out").exists()


# The report


def test_check_reports_by_hand_made_numbers(tmp_path):
    records = [person(tmp_path / "in", n) for n in range(3)]
    names = BODY_13.names
    right, left = names.index("right_shoulder"), names.index("left_shoulder")
    hip = names.index("left_hip")
    for record, torso, facing in zip(records, (3, 4, 10), (1, 1, -1), strict=True):
        record.joints[right, :2] = (40, 50)
        record.joints[left, :2] = (40 + 5 * facing, 50)
        record.joints[hip, :2] = (40, 50 + torso)
    records[2].joints[0, :2] = (89.6, 60)  # the picture's last pixel ends at 89.5
    records[1].joints[0, :2] = (89.4, 60)
    records[0].joints[0] = 0
    before = sorted(tmp_path.rglob("*"))

    report = check([Source("tiny", records, "")])

    assert report["complete_persons"] == 2
    assert report["joints"]["head"] == 2
    assert report["joints_outside"] == pytest.approx(1 / 38, abs=1e-6)
    assert report["median_torso"] == 4
    assert report["right_shoulder_left"] == pytest.approx(2 / 3, abs=1e-4)
    assert [row["id"] for row in report["example_rows"]] == ["p0", "p1", "p2"]
    assert report["example_rows"][0]["joints"]["head"] is None
    assert report["example_rows"][1]["joints"]["head"] == [89.4, 60]
    assert sorted(tmp_path.rglob("*")) == before
    json.dumps(report)


def test_progress_adds_up_to_all_labels(tmp_path):
    records = [
        *[person(tmp_path / "in", n) for n in range(3)],
        *bad_people(tmp_path / "in").values(),
    ]
    sources = [Source("tiny", records, "")]

    for call in (
        lambda progress: check(sources, progress=progress),
        lambda progress: prepare(
            sources, tmp_path / "out", shard_records=2, workers=1, progress=progress
        ),
    ):
        steps = []
        call(steps.append)
        assert sum(steps) == len(records)
        assert len(steps) > 1


# Continuing, and the bytes


def test_bytes_do_not_depend_on_the_number_of_workers(tmp_path):
    sources = people(tmp_path / "in", 7)

    for workers in (1, 2):
        prepare(sources, tmp_path / str(workers), shard_records=2, workers=workers)

    assert content(tmp_path / "1") == content(tmp_path / "2")


def killed_prepare(tmp_path: Path, sources: list[Source], workers: int) -> None:
    """Run ``prepare`` in a process that kills itself when its first shard is done."""
    (tmp_path / "sources.pickle").write_bytes(pickle.dumps(sources))
    script = tmp_path / "script.py"
    script.write_text(
        "import os, pathlib, pickle, signal, sys\n"
        "from kpose.examples import prepare\n"
        "here = pathlib.Path(sys.argv[1])\n"
        "steps = []\n"
        "def kill_at_first_shard(done):\n"
        "    steps.append(done)\n"
        "    if len(steps) == 2:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "if __name__ == '__main__':\n"
        "    sources = pickle.loads((here / 'sources.pickle').read_bytes())\n"
        "    prepare(sources, here / 'out', shard_records=2,\n"
        "            workers=int(sys.argv[2]), progress=kill_at_first_shard)\n"
    )
    process = subprocess.run(
        [sys.executable, script, tmp_path, str(workers)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        # The pipe ends when the last worker does: an orphan would run into the timeout.
        stdout=subprocess.PIPE,
        timeout=60,
    )
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_prepare_is_continued(tmp_path, workers):
    sources = people(tmp_path / "in", 8)
    out = tmp_path / "out"
    prepare(sources, tmp_path / "unbroken", shard_records=2, workers=1)

    killed_prepare(tmp_path, sources, workers)

    finished = {
        file.name: file.stat().st_ino
        for file in out.glob("*.tfrecord")
        if file.with_suffix(".rows.npz").exists()
    }
    assert 1 <= len(finished)
    if workers == 1:
        assert list(finished) == ["shard-00000.tfrecord"]
    with pytest.raises(InputError, match="unfinished: run the same prepare again"):
        PreparedData.open(out)
    (out / ".123.shard-00003.tfrecord").write_bytes(b"what a killed writer left")
    with (out / "prepare.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process prepares into it"):
            prepare(sources, out, shard_records=2, workers=1)
    with pytest.raises(InputError, match="has quality 95, not 90"):
        prepare(sources, out, shard_records=2, workers=1, quality=90)

    summary = prepare(sources, out, shard_records=2, workers=1)

    assert content(out) == content(tmp_path / "unbroken")
    assert summary["persons"] == 8
    for name, inode in finished.items():
        assert (out / name).stat().st_ino == inode, "a finished shard was made again"


def test_a_shard_without_its_rows_is_made_again(tmp_path):
    sources = people(tmp_path / "in", 8)
    prepare(sources, tmp_path / "unbroken", shard_records=2, workers=1)
    killed_prepare(tmp_path, sources, 1)
    shard = tmp_path / "out" / "shard-00000.tfrecord"
    os.truncate(shard, 10)

    prepare(sources, tmp_path / "out", shard_records=2, workers=1)

    assert content(tmp_path / "out") == content(tmp_path / "unbroken")


def test_a_finished_output_is_left_as_it_is(tmp_path):
    sources, out = people(tmp_path / "in", 3), tmp_path / "out"
    summary = prepare(sources, out, workers=1)
    before = {file: file.stat().st_mtime_ns for file in out.iterdir()}
    # A kill between the last two steps leaves these.
    (out / "prepare.json").write_text("{}")
    (out / "shard-00000.rows.npz").write_bytes(b"")

    assert prepare(sources, out, workers=1) == summary

    assert {file: file.stat().st_mtime_ns for file in out.iterdir()} == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: (s, {"size": 192}), "dataset.json has size 224, not 192"),
        (lambda s: (s, {"codec": "png"}), "has codec 'jpeg', not 'png'"),
        (lambda s: (s, {"strict": True}), "has strict False, not True"),
        (lambda s: ([s[0]._replace(records=s[0].records[:2])], {}), "other records"),
        (lambda s: ([s[0]._replace(licence="MIT")], {}), "other records"),
    ],
    ids=["size", "codec", "strict", "fewer records", "licence"],
)
def test_output_of_another_configuration_is_refused(tmp_path, change, message):
    sources, out = people(tmp_path / "in", 3), tmp_path / "out"
    prepare(sources, out, workers=1)
    before = content(out)
    sources, options = change(sources)

    with pytest.raises(InputError, match=message):
        prepare(sources, out, workers=1, **options)

    assert content(out) == before


def test_a_picture_that_appeared_is_another_configuration(tmp_path):
    late = person(tmp_path / "in", 7)
    data = late.image.path.read_bytes()
    late.image.path.unlink()
    sources = [Source("tiny", [person(tmp_path / "in", 0), late], "")]
    prepare(sources, tmp_path / "out", workers=1)
    late.image.path.write_bytes(data)

    with pytest.raises(InputError, match="other records"):
        prepare(sources, tmp_path / "out", workers=1)


def test_foreign_content_is_refused(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")

    with pytest.raises(InputError, match=f"{out} must be new or an empty folder"):
        prepare(people(tmp_path / "in", 1), out, workers=1)
    with pytest.raises(
        InputError, match="must be a folder or not exist, but is a file"
    ):
        prepare(people(tmp_path / "in", 1), out / "thesis.tex", workers=1)
    (out / "dataset.json").write_text('{"name": "mine"}')
    with pytest.raises(InputError, match="is no file of `kpose prepare`"):
        prepare(people(tmp_path / "in", 1), out, workers=1)

    assert sorted(content(out)) == ["dataset.json", "thesis.tex"]


def test_fingerprint_follows_the_content(tmp_path):
    sources = people(tmp_path / "in", 3)
    prints = set()
    for name, options in {
        "a": {},
        "b": {},
        "c": {"size": 192},
        "d": {"quality": 90},
    }.items():
        prepare(sources, tmp_path / name, workers=1, **options)
        prints.add(PreparedData.open(tmp_path / name).fingerprint)

    assert len(prints) == 3


def test_public_names():
    assert set(examples.__all__) >= {"prepare", "read_shard", "PreparedData"}
