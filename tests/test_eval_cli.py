"""``kpose eval`` from the command line, and the persons it reads."""

import dataclasses
import json
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
import scipy.io
from click.testing import CliRunner

import kpose_datasets
from kpose import persons
from kpose.evaluation import DEFINITIONS
from kpose.geometry import Box, SquareCrop, person_box
from kpose.joints import BODY_13, COCO_17
from kpose.models import store
from kpose.screening import Source
from kpose.shards import PreparedData
from kpose_cli.main import main

SIZE = 32

POSE = np.random.default_rng(8).uniform(0.2, 0.8, (17, 2)).round(3)


@pytest.fixture(scope="module", name="model")
def make_model(tmp_path_factory):
    """A run folder with a network that answers ``POSE`` whatever it sees."""
    run = tmp_path_factory.mktemp("models") / "constant"
    return write_model(run, training={"data": [{"source": "lsp", "persons": 2}]})


def write_model(run, skeleton=BODY_13, **card):
    joints = len(skeleton)
    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = keras.layers.Dense(
        2 * joints,
        kernel_initializer="zeros",
        bias_initializer=keras.initializers.Constant(POSE[:joints].ravel()),
    )(keras.layers.GlobalAveragePooling2D()(image))
    keypoints = keras.layers.Reshape((joints, 2), name="keypoints")(x)
    card = {
        "skeleton": skeleton.to_json(),
        "size": SIZE,
        "mean_pose": POSE[:joints].tolist(),
        **card,
    }
    network = keras.Model(image, {"keypoints": keypoints})
    store.save(network, card, run / "best.keras")
    return run


def write_set(root: Path, numbers, labels: int | None = None) -> Path:
    """An LSP folder with these pictures; persons from 1001 on are test persons."""
    rng = np.random.default_rng(0)
    joints = rng.uniform(10, 90, (3, 14, labels or max(numbers)))
    joints[2] = 0
    (root / "images").mkdir(parents=True)
    scipy.io.savemat(root / "joints.mat", {"joints": joints})
    for number in numbers:
        noise = rng.integers(0, 256, (6, 6, 3), np.uint8)
        path = root / "images" / f"im{number:04}.jpg"
        cv2.imwrite(str(path), cv2.resize(noise, (100, 100)))
    return root


@pytest.fixture(scope="module", name="root")
def make_root(tmp_path_factory):
    """Pictures of two train and three test persons of 1005; one cannot be read."""
    root = write_set(
        tmp_path_factory.mktemp("sets") / "lsp", (1, 2, 1001, 1002, 1003), labels=1005
    )
    (root / "images" / "im1004.jpg").write_bytes(b"no picture")
    return root


def run(*arguments):
    return CliRunner().invoke(main, ["eval", *map(str, arguments)])


def summary(*arguments):
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.splitlines()[-1])


def test_a_set_is_read_directly_test_persons_first(model, root):
    found = summary(model, "--data", f"lsp:{root}", "--no-flip-test")

    assert found["evaluated"] == {"lsp test": 3}
    assert found["persons"] == 3
    assert found["skipped"] == {"missing_image": 1, "unreadable_image": 1}
    assert found["flip_test"] is False and found["leak"] is None
    for words in ("right shoulder to left hip", "head size", "trapezoids", "OKS"):
        assert words in found["definition"]
    assert found["oks_ap"] is None and found["excluded_no_area"] == 3
    assert 0 < found["auc"]["all"] < 100
    # The network answers the mean pose: the two rows are one.
    assert 0 < found["pixel_error"] < 224
    baseline = found["mean_pose"]
    assert found["pixel_error"] == pytest.approx(baseline["pixel_error"], abs=2e-3)
    assert found["pck@0.2"] == baseline["pck@0.2"]


def test_the_table_has_the_rows_and_columns_of_table_5(model, root):
    result = run(model, "--data", f"lsp:{root}")

    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    header = "PCK@0.2 head wrist elbow shoulder hip knee ankle All px"
    assert lines[0].split() == header.split()
    other = "other metrics AUC PCKh@0.5 AP AP50 AP75"
    assert lines[4].split() == other.split()
    assert lines[1].startswith("mean pose ") and lines[2].startswith("constant ")
    assert len({len(line) for line in lines[:3]}) == 1
    assert lines[5].startswith("mean pose ") and lines[6].startswith("constant ")
    assert lines[6].split()[3:] == ["-", "-", "-"]
    assert "3 lsp test" in lines[8] and "1 unreadable_image" in lines[8]
    assert "0 without a torso, not in PCK; 0 without a head size" in lines[8]
    assert "3 without an area or a joint for OKS, not in AP" in lines[8]
    assert "Flip test on" in lines[8]
    assert lines[9].startswith("PCK@0.2: percentage of annotated keypoints")
    assert [line.split(":")[0] for line in lines[9:]] == list(DEFINITIONS)


def test_the_flip_test_averages_the_constant_answer_with_its_mirror(model, root):
    found = summary(model, "--data", f"lsp:{root}")

    mirrored = POSE[list(BODY_13.swap)] * [-1, 1] + [1, 0]
    averaged = (POSE[:13] + mirrored) / 2
    source = kpose_datasets.read_source(f"lsp:{root}@test")
    people = persons.labelled([source], BODY_13)
    joints = np.concatenate([joints for _, joints in people.batches(SIZE)])
    expected = 224 * np.linalg.norm(joints[..., :2] - averaged, axis=-1).mean()
    assert found["pixel_error"] == pytest.approx(expected, abs=2e-3)
    assert found["flip_test"] is True


def test_head_sizes_are_those_of_the_picture(model, root):
    found = summary(model, "--data", f"lsp:{root}", "--no-flip-test")

    labels = scipy.io.loadmat(root / "joints.mat")["joints"]
    near = 0
    for record in kpose_datasets.read_source(f"lsp:{root}@test").records:
        row = int(record.id.removeprefix("im")) - 1
        if row > 1002:
            continue  # no picture, or none that can be read
        square = SquareCrop.around(person_box(record.joints))
        off = square.crop_to_image(POSE[:13]) - record.joints[:, :2]
        neck, top = labels[:2, 12, row], labels[:2, 13, row]
        limit = 0.5 * np.linalg.norm(top - neck)
        near += int((np.linalg.norm(off, axis=1) <= limit).sum())
    assert 0 < near < 39
    assert found["pckh@0.5"]["all"] == pytest.approx(100 * near / 39, abs=1e-3)
    assert found["excluded_no_head_size"] == 0


def test_head_sizes_and_areas_are_in_the_units_of_each_crop(root):
    first, second = list(kpose_datasets.read_source(f"lsp:{root}@train").records)[:2]
    records = [
        dataclasses.replace(first, box=Box(0, 0, 100, 50), head_size=20.0),
        dataclasses.replace(second, box=Box(30, 20, 80, 60), area=500.0, head_size=0),
    ]
    people = persons.labelled([Source("mine", records, "none")], BODY_13)

    for _ in people.batches(SIZE):
        pass

    assert people.head_sizes == pytest.approx([20 / 100, 0])
    assert people.areas == pytest.approx([0, 500 / 50**2])


@pytest.mark.parametrize(
    ("suffix", "split", "expected"),
    [
        ("", "train", {"lsp train": 2}),
        ("@train", None, {"lsp train": 2}),
        ("@train", "test", {"lsp train": 2}),
        ("@all", None, {"lsp test": 3, "lsp train": 2}),
        ("", "all", {"lsp test": 3, "lsp train": 2}),
    ],
)
def test_splits_and_leaks(model, root, suffix, split, expected):
    options = ["--split", split] if split else []

    found = summary(model, "--data", f"lsp:{root}{suffix}", *options)

    assert found["evaluated"] == expected
    assert found["leak"] == "the model was trained or chosen on persons of lsp train"


def test_test_persons_that_were_trained_on_are_a_leak():
    card = {"training": {"data": [{"source": "lsp"}], "test_persons_trained_on": 3}}

    assert persons.leak(card, [("lsp", "test")]).endswith("persons of lsp test")
    assert persons.leak(card, [("lspet", "train")]) is None
    assert persons.leak({}, [("lsp", "train")]) is None


def prepare(root, out, size, split="all", *options):
    arguments = ["--size", str(size), "--codec", "png", "--workers", "1", *options]
    result = CliRunner().invoke(
        main,
        ["prepare", "--data", f"lsp:{root}@{split}", "--out", str(out), *arguments],
    )
    assert result.exit_code == 0, result.output
    return out


def test_prepared_data_and_the_set_itself_give_the_same_crops(root, tmp_path):
    data = PreparedData.open(prepare(root, tmp_path / "data", SIZE))
    source = kpose_datasets.read_source(f"lsp:{root}@all")

    stored = persons.prepared(data, "all")
    direct = persons.labelled([source], BODY_13)

    (pixels, joints), (other_pixels, other_joints) = (
        [np.concatenate(arrays) for arrays in zip(*people.batches(SIZE), strict=True)]
        for people in (stored, direct)
    )
    np.testing.assert_array_equal(pixels, other_pixels)
    np.testing.assert_array_equal(joints, other_joints)
    assert stored.names == direct.names
    assert stored.names == ["im0001", "im0002", "im1001", "im1002", "im1003"]
    np.testing.assert_allclose(stored.head_sizes, direct.head_sizes, rtol=1e-6)
    assert min(direct.head_sizes) > 0 and stored.areas == direct.areas == [0] * 5
    assert stored.splits == direct.splits == {("lsp", "train"): 2, ("lsp", "test"): 3}


def test_prepared_data_scores_like_the_set_itself(model, root, tmp_path):
    direct = summary(model, "--data", f"lsp:{root}")

    for size in (SIZE, 64):  # the network's own, and another
        data = prepare(root, tmp_path / f"data{size}", size)
        found = summary(model, data)
        for key in ("pck@0.2", "pixel_error", "persons", "evaluated", "mean_pose"):
            assert found[key] == direct[key]
        assert found["pckh@0.5"] == direct["pckh@0.5"]


def test_without_test_persons_all_are_taken(model, root, tmp_path):
    found = summary(model, prepare(root, tmp_path / "data", SIZE, split="train"))

    assert found["evaluated"] == {"lsp train": 2}
    assert found["leak"]


def test_the_report_has_pictures_names_and_the_training(root, tmp_path):
    model = write_model(tmp_path / "run", model="constant <1>")
    (model / "log.csv").write_text("epoch,loss,val_pck_all\n1,2,10\n2,1,20\n")
    out = tmp_path / "deep" / "report.html"

    found = summary(model, "--data", f"lsp:{root}", "--report", out)

    assert found["report"] == str(out)
    page = out.read_text(encoding="utf-8")
    assert page.count("<img") == page.count('src="data:image/') == 3 + 3
    plots = sorted(file.name for file in (tmp_path / "deep/report_plots").iterdir())
    assert plots == ["joints.png", "pck_curve.png", "training.png"]
    assert list(found["time_ms"]) == ["decode", "crop", "network"]
    assert "Time per stage" in page and "cutting and resampling" in page
    assert "Box policy" not in page  # no detector was asked
    for shown in ("im1001: ", "im1002: ", "im1003: ", "2 epochs", "constant &lt;1&gt;"):
        assert shown in page


def test_prepared_data_are_binned_by_the_box_of_the_crop(model, root, tmp_path):
    # The whole picture is the detector's box: the persons fill most of it.
    data = prepare(root, tmp_path / "data", SIZE, "all", "--detector", "whole")
    out = tmp_path / "report.html"

    found = summary(model, data, "--split", "all", "--report", out)
    lines = run(model, data, "--split", "all").stdout.splitlines()

    stored = PreparedData.open(data)
    iou = stored.iou[stored.first]
    assert len(iou) == 5
    expected = {
        "detector": int((iou > 0.7).sum()),
        "between": int(((iou >= 0.5) & (iou <= 0.7)).sum()),
        "ground_truth": int((iou < 0.5).sum()),
    }
    persons_in = {name: part["persons"] for name, part in found["bins"].items()}
    assert persons_in == {name: count for name, count in expected.items() if count}
    (row,) = [line for line in lines if line.startswith("detector's box, IoU > 0.7 ")]
    assert row.split()[5] == str(expected["detector"])
    page = out.read_text(encoding="utf-8")
    assert "Box policy" in page and "detector&#x27;s box, IoU &gt; 0.7" in page
    assert list(found["time_ms"]) == ["decode", "network"]


def test_bins_are_of_the_persons_that_are_scored(model, root, tmp_path):
    data = prepare(root, tmp_path / "data", SIZE, "all", "--detector", "whole")
    one = summary(model, data, "--split", "test")

    stored = PreparedData.open(data)
    chosen = stored.first & (stored.split == "test")
    assert sum(part["persons"] for part in one["bins"].values()) == chosen.sum() == 3


def test_a_folder_of_other_things_is_no_place_for_plots(model, root, tmp_path):
    (tmp_path / "out_plots").mkdir()
    (tmp_path / "out_plots" / "mine.txt").touch()

    result = run(model, "--data", f"lsp:{root}", "--report", tmp_path / "out.html")

    assert result.exit_code == 1
    assert "out_plots must hold nothing but the plots" in result.output
    assert "evaluat" not in result.output and not (tmp_path / "out.html").exists()


def test_the_system_is_scored_on_whole_pictures(model, root, tmp_path):
    out = tmp_path / "system.html"

    found = summary(model, "--system", "--data", f"lsp:{root}", "--report", out)

    assert found["detector"] == "whole" and found["min_score"] == 0
    assert found["pictures"] == found["persons"] == found["detections"] == 3
    assert found["evaluated"] == {"lsp test": 3}
    assert found["skipped"] == {"missing_image": 1, "unreadable_image": 1}
    # Ground-truth crops are those of an evaluation without the detector.
    crops = summary(model, "--data", f"lsp:{root}")
    scores = found["joints"]["ground_truth_boxes"]
    assert scores["pck@0.2"] == crops["pck@0.2"]
    assert scores["pixel_error"] == crops["pixel_error"]
    wrong = found["false_negatives"]["count"]
    assert found["joints"]["found_detector_boxes"]["persons"] == 3 - wrong
    assert found["joints"]["detector_boxes"]["persons"] == 3
    assert found["time_ms"]["total"]["p50"] > 0 and found["pictures_timed"] == 3
    assert found["leak"] is None and found["report"] == str(out)
    assert "<h1>kpose eval --system: constant</h1>" in out.read_text(encoding="utf-8")


def test_the_system_prints_its_tables(model, root):
    result = run(model, "--system", "--data", f"lsp:{root}@all", "--no-flip-test")

    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("5 pictures, detector whole from score 0. Persons: ")
    assert "Flip test off. Not a score on new people" in lines[0]
    for start in (
        *("PCK@0.2 ", "ground-truth boxes ", "detector boxes, missed = wrong "),
        *("detector ", "false positives ", "with false negatives ", "best box IoU > "),
        *("ms per picture ", "decode ", "network ", "total "),
    ):
        assert any(line.startswith(start) for line in lines), start


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Missing argument 'MODEL'"),
        (("{model}",), "give either DATA or --data"),
        (("{model}", "{tmp}", "--data", "lsp:{root}"), "give either DATA or --data"),
        (("{tmp}/none", "--data", "lsp:{root}"), "there is no"),
        (("{tmp}", "--data", "lsp:{root}"), "best.keras"),
        (("{model}", "{tmp}/none"), "must be a folder of `kpose prepare`"),
        (("{model}", "--data", "lsp:{tmp}/none"), "there is nothing"),
        (("{model}", "--data", "flickr:{root}"), "NAME one of lsp"),
        (("{model}", "--data", "lsp:{root}@val"), "persons of split val"),
        (("{model}", "--data", "lsp:{root}", "--split", "val"), "of split val"),
        (("{model}", "--data", "lsp:{root}", "--report", "{tmp}"), "is a directory"),
        (("{model}", "--data", "lsp:{root}", "--detector", "whole"), "need --system"),
        (("{model}", "--data", "lsp:{root}", "--min-score", "0"), "need --system"),
        (("{model}", "{tmp}", "--system"), "--system needs whole pictures"),
        (
            ("{model}", "--data", "lsp:{root}", "--system", "--detector", "eyes:x"),
            "a detector must be",
        ),
        (
            ("{model}", "--data", "lsp:{root}", "--system", "--min-score", "2"),
            "2.0 is not in the range",
        ),
    ],
    ids=[
        "nothing",
        "no data",
        "two data",
        "no model",
        "folder without a model",
        "no folder",
        "no set",
        "unknown set",
        "named split",
        "split",
        "report is a folder",
        "detector alone",
        "score alone",
        "system of crops",
        "no detector",
        "score",
    ],
)
def test_bad_calls_are_one_line(model, root, tmp_path, arguments, message):
    names = {"model": model, "root": root, "tmp": tmp_path}

    result = run(*(argument.format(**names) for argument in arguments))

    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr
    assert result.stdout == ""
    assert not list(tmp_path.iterdir())


def test_a_prepared_folder_without_the_split_is_refused(model, root, tmp_path):
    data = prepare(root, tmp_path / "data", SIZE, split="train")

    result = run(model, data, "--split", "val", "--report", tmp_path / "report.html")

    assert result.exit_code == 1
    assert "must have persons of split val. Received: train" in result.stderr
    assert not (tmp_path / "report.html").exists()


def test_data_of_another_skeleton_is_refused(root, tmp_path):
    model = write_model(tmp_path / "coco", COCO_17)

    result = run(model, "--data", f"lsp:{root}")

    assert result.exit_code == 1
    assert "must have the joints of" in result.stderr
    assert "nose" in result.stderr and "Received: head" in result.stderr


def test_a_set_without_readable_pictures_is_refused(model, tmp_path):
    root = write_set(tmp_path / "lsp", (1, 2, 3))
    for path in (root / "images").iterdir():
        path.write_bytes(b"")

    result = run(model, "--data", f"lsp:{root}")

    assert result.exit_code == 1
    assert "3 unreadable_image" in result.stderr
