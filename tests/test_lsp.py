"""The readers of LSP and LSPET, on tiny files of their exact structure."""

import os
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from kpose import label_check
from kpose.errors import InputError
from kpose_datasets import LICENCES, lsp, lspet, read_source

DATA = Path(os.environ.get("KPOSE_DATA", Path(__file__).parents[2] / "shared" / "data"))

ORDER = (
    "right_ankle right_knee right_hip left_hip left_knee left_ankle right_wrist "
    "right_elbow right_shoulder left_shoulder left_elbow left_wrist"
).split()
"""The first 12 of the 14 points, as the README of both sets lists them."""


def points(persons: int = 1) -> np.ndarray:
    """``(14, 2, persons)``: point i of person p lies at x = 10 i + p, y = 100 + i."""
    rows = np.arange(14.0)
    xy = np.stack([10 * rows, 100 + rows], axis=1)[..., None]
    return xy + np.array([1.0, 0.0])[:, None] * np.arange(persons)


def write_lsp(root: Path, xy: np.ndarray, occluded: np.ndarray) -> Path:
    joints = np.concatenate([np.moveaxis(xy, 1, 0), occluded[None]])  # (3, 14, people)
    scipy.io.savemat(root / "joints.mat", {"joints": joints})
    return root


def write_lspet(root: Path, xy: np.ndarray, annotated: np.ndarray) -> Path:
    joints = np.concatenate([xy, annotated[:, None]], axis=1)  # (14, 3, people)
    scipy.io.savemat(root / "joints.mat", {"joints": joints})
    return root


def joint(record, name):
    return record.joints[lsp.SKELETON.names.index(name)].tolist()


@pytest.mark.parametrize("name", ["lsp", "lspet"])
def test_joints_go_by_name_and_pixels_are_taken_as_they_are(tmp_path, name):
    if name == "lsp":
        records = list(lsp.read(write_lsp(tmp_path, points(2), np.zeros((14, 2)))))
    else:
        records = list(lspet.read(write_lspet(tmp_path, points(2), np.ones((14, 2)))))

    assert len(records) == 2
    for person, record in enumerate(records):
        for row, joint_name in enumerate(ORDER):
            assert joint(record, joint_name) == [10 * row + person, 100 + row, 1]
        # Neck (120, 112) and head top (130, 113): the head is the midpoint.
        assert joint(record, "head") == [125 + person, 112.5, 1]
        assert record.head_rule == "mid"
        assert record.source == name


def test_lsp_flag_1_means_occluded_and_still_annotated(tmp_path):
    occluded = np.zeros((14, 1))
    occluded[[ORDER.index("left_wrist"), lsp.NECK]] = 1

    (record,) = lsp.read(write_lsp(tmp_path, points(), occluded))

    names = lsp.SKELETON.names
    assert record.joints[:, 2].tolist() == [1] * 13
    # A head whose neck is occluded is occluded.
    assert {n for n, v in zip(names, record.visible, strict=True) if v == 0} == {
        "left_wrist",
        "head",
    }
    assert set(record.visible.tolist()) == {0, 1}
    assert record.visible.dtype == np.int8


def test_lspet_flag_1_means_annotated_and_says_nothing_of_occlusion(tmp_path):
    annotated = np.ones((14, 1))
    annotated[ORDER.index("left_wrist")] = 0
    xy = points()
    xy[ORDER.index("left_wrist")] = -37.5  # the garbage of the real file

    (record,) = lspet.read(write_lspet(tmp_path, xy, annotated))

    assert joint(record, "left_wrist") == [0, 0, 0]
    assert record.joints[:, 2].sum() == 12
    assert record.visible.tolist() == [-1] * 13


@pytest.mark.parametrize("missing", [lsp.NECK, lsp.HEAD_TOP], ids=["neck", "head top"])
def test_head_needs_neck_and_head_top(tmp_path, missing):
    annotated = np.ones((14, 1))
    annotated[missing] = 0

    (record,) = lspet.read(write_lspet(tmp_path, points(), annotated))

    assert joint(record, "head") == [0, 0, 0]
    assert record.joints[:, 2].sum() == 12


def test_official_splits_and_file_names(tmp_path):
    many = np.broadcast_to(points(), (14, 2, 1002))

    records = list(lsp.read(write_lsp(tmp_path, many, np.zeros((14, 1002)))))

    assert [r.split for r in records] == ["train"] * 1000 + ["test"] * 2
    assert [records[i].id for i in (0, 999, 1001)] == ["im0001", "im1000", "im1002"]
    assert records[999].image.path == tmp_path / "images" / "im1000.jpg"
    assert [r.group for r in records] == [r.id for r in records]


def test_lspet_is_all_training(tmp_path):
    many = np.broadcast_to(points(), (14, 2, 1002))

    records = list(lspet.read(write_lspet(tmp_path, many, np.ones((14, 1002)))))

    assert {r.split for r in records} == {"train"}
    assert records[-1].image.path == tmp_path / "images" / "im01002.jpg"


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=["nan", "inf"])
def test_non_finite_coordinates_are_left_to_the_defect(tmp_path, value):
    xy = points()
    xy[3, 1] = value

    (record,) = lsp.read(write_lsp(tmp_path, xy, np.zeros((14, 1))))

    assert record.defect() == "non_finite_joint"


def test_a_set_is_told_from_the_other_by_its_shape(tmp_path):
    write_lspet(tmp_path, points(5), np.ones((14, 5)))
    with pytest.raises(
        InputError, match=r"joints\.mat.*\(3, 14, persons\).*\(14, 3, 5"
    ):
        list(lsp.read(tmp_path))

    write_lsp(tmp_path, points(5), np.zeros((14, 5)))
    with pytest.raises(
        InputError, match=r"joints\.mat.*\(14, 3, persons\).*\(3, 14, 5"
    ):
        list(lspet.read(tmp_path))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "expected a label file"),
        (lambda path: path.write_bytes(b"not MATLAB" * 50), "must be a MATLAB file"),
        (lambda path: path.write_bytes(b""), "must be a MATLAB file"),
        (
            lambda path: scipy.io.savemat(path, {"other": np.zeros((3, 14, 2))}),
            "must have a variable 'joints'",
        ),
        (
            lambda path: scipy.io.savemat(path, {"joints": np.zeros((3, 14))}),
            r"Received: float64 \(3, 14\)",
        ),
        (
            lambda path: scipy.io.savemat(path, {"joints": np.zeros((3, 14, 0))}),
            r"Received: \w+ \(3, 14, 0\)|Received: \w+ \(0",
        ),
        (lambda path: scipy.io.savemat(path, {"joints": "text"}), "must be numbers"),
    ],
    ids=["absent", "garbage", "empty", "no variable", "flat", "no person", "text"],
)
@pytest.mark.parametrize("reader", [lsp.read, lspet.read], ids=["lsp", "lspet"])
def test_wrong_label_files_are_named(tmp_path, reader, write, message):
    write(tmp_path / "joints.mat")

    with pytest.raises(InputError, match=message) as error:
        list(reader(tmp_path))

    assert str(tmp_path / "joints.mat") in str(error.value)
    assert "\n" not in str(error.value)


def source_root(tmp_path: Path) -> Path:
    many = np.broadcast_to(points(), (14, 2, 1003))
    return write_lsp(tmp_path, many, np.zeros((14, 1003)))


@pytest.mark.parametrize(
    ("suffix", "splits", "count"),
    [
        ("", {"train"}, 1000),
        ("@train", {"train"}, 1000),
        ("@test", {"test"}, 3),
        ("@all", {"train", "test"}, 1003),
    ],
)
def test_read_source_takes_the_splits_asked_for(tmp_path, suffix, splits, count):
    source = read_source(f"lsp:{source_root(tmp_path)}{suffix}")

    assert {record.split for record in source.records} == splits
    assert len(list(source.records)) == count
    assert (source.name, source.licence) == ("lsp", LICENCES["lsp"])


def test_read_source_reads_a_path_with_an_at_sign(tmp_path):
    root = tmp_path / "me@home"
    root.mkdir()

    assert len(list(read_source(f"lsp:{source_root(root)}").records)) == 1000
    assert len(list(read_source(f"lsp:{root}@test").records)) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lsp", "NAME:PATH"),
        ("lsp:", "NAME:PATH"),
        ("nothing:{root}", "NAME one of lsp, lspet"),
        ("lsp:{root}/absent", "there is nothing"),
        ("lsp:{root}@trian", "@train, @val, @test"),
        ("lsp:{root}@val", r"split val. Received: 3 test, 1000 train"),
    ],
)
def test_read_source_refuses(tmp_path, text, message):
    root = source_root(tmp_path)

    with pytest.raises(InputError, match=message):
        read_source(text.format(root=root))


needs_data = pytest.mark.skipif(
    not (DATA / "lsp" / "joints.mat").is_file()
    or not (DATA / "lspet" / "joints.mat").is_file(),
    reason=f"the LSP and LSPET files are not in {DATA} (set KPOSE_DATA)",
)


@needs_data
def test_real_lsp_counts():
    summary = label_check.check([read_source(f"lsp:{DATA / 'lsp'}@all")])

    assert summary["labels"] == 2000
    assert (
        summary["persons"] == summary["images"] == summary["complete_persons"] == 1500
    )
    assert summary["missing_images"] == 500
    assert summary["skipped"] == {"missing_image": 500}
    assert set(summary["joints"].values()) == {1500}
    # People who face the camera are the majority: sides are not swapped.
    assert summary["right_shoulder_left"] > 0.6
    assert summary["median_torso"] == pytest.approx(47.7, abs=1)
    assert summary["joints_outside"] <= 2 / 19500


@needs_data
def test_real_lsp_test_split_has_its_absent_pictures():
    source = read_source(f"lsp:{DATA / 'lsp'}@test")

    absent = [r.id for r in source.records if not r.image.path.is_file()]

    assert len(list(source.records)) == 1000
    assert absent == [f"im{number}" for number in range(1501, 2001)]


@needs_data
def test_real_lspet_counts():
    summary = label_check.check([read_source(f"lspet:{DATA / 'lspet'}")])

    assert summary["labels"] == 10000
    assert summary["persons"] == summary["images"] == 7916
    assert summary["missing_images"] == summary["skipped"]["missing_image"] == 2084
    # All 13: every one of the 14 points (datasets/cards/lspet.md).
    assert summary["complete_persons"] == 3528
    assert summary["right_shoulder_left"] > 0.6
