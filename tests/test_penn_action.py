"""The reader of Penn Action, on tiny files of its exact structure."""

import os
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from scipy.sparse import csc_matrix

from kpose.errors import InputError
from kpose.geometry import Box
from kpose.joints import BODY_13
from kpose.records import BadRecord, ImageRef
from kpose_datasets import penn_action

DATA = Path(os.environ.get("KPOSE_DATA", Path(__file__).parents[2] / "shared" / "data"))

SAMPLE = DATA / "penn_action_labels_sample"

README = (
    "head left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist "
    "left_hip right_hip left_knee right_knee left_ankle right_ankle"
).split()
"""The columns as the set's README names them; its sides are the wrong way round."""


def column(joint: str) -> int:
    swapped = {"left": "right", "right": "left"}
    side, _, part = joint.partition("_")
    return README.index(f"{swapped[side]}_{part}" if part else joint)


def video(frames: int = 3, **changes) -> dict:
    """Joint i of frame t lies at x = 20 + 10 i + t, y = 100 + i + t."""
    grid = np.add.outer(np.arange(frames), 10.0 * np.arange(13))
    content = {
        "action": "bowl",
        "pose": "back",
        "x": 20 + grid,
        "y": 100 + np.add.outer(np.arange(frames), np.arange(13.0)),
        "visibility": np.ones((frames, 13), np.uint8),
        "train": np.array([[1]], np.int32),
        "bbox": np.tile([10.5, 90.0, 150.0, 120.25], (frames, 1)),
        "dimensions": np.array([[270, 480, frames]], np.uint16),
        "nframes": np.array([[frames % 256]], np.uint8),
    }
    return {k: v for k, v in {**content, **changes}.items() if v is not None}


def write(root: Path, **videos) -> Path:
    (root / "labels").mkdir(parents=True, exist_ok=True)
    for name, content in videos.items():
        scipy.io.savemat(root / "labels" / f"{name.strip('_')}.mat", content)
    return root


def joint(record, name):
    return record.joints[BODY_13.names.index(name)].tolist()


def test_sides_are_the_persons_own_and_pixels_are_taken_as_they_are(tmp_path):
    records = list(penn_action.read(write(tmp_path, _0007=video())))

    assert [record.id for record in records] == [
        "0007/000001",
        "0007/000002",
        "0007/000003",
    ]
    for frame, record in enumerate(records):
        for name in BODY_13.names:
            at = column(name)
            assert joint(record, name) == [20 + 10 * at + frame, 100 + at + frame, 1]
        assert record.box == Box(10.5, 90, 150, 120.25)
        assert (record.group, record.recording, record.split) == ("0007",) * 2 + (
            "train",
        )
        assert (record.source, record.head_rule) == ("penn_action", "point")
        assert record.defect() is None
    assert records[2].image == ImageRef(tmp_path / "frames" / "0007" / "000003.jpg")


def test_a_hidden_joint_is_annotated_and_one_out_of_the_frame_is_not(tmp_path):
    content = video(1)
    hidden, outside, corner = map(column, ("left_hip", "right_knee", "left_knee"))
    content["visibility"][0, [hidden, outside]] = 0
    # Out of the frame: (1, 1) of the enlarged picture that was annotated.
    content["x"][0, outside] = content["y"][0, outside] = 2 / 3
    # One that is seen there is a joint.
    content["x"][0, corner] = content["y"][0, corner] = 1

    (record,) = penn_action.read(write(tmp_path, _0001=content))

    names = BODY_13.names
    assert joint(record, "left_hip") == [20 + 10 * hidden, 100 + hidden, 1]
    assert joint(record, "right_knee") == [0, 0, 0]
    assert joint(record, "left_knee") == [1, 1, 1]
    shown = dict(zip(names, record.visible.tolist(), strict=True))
    assert (shown["left_hip"], shown["right_knee"], shown["left_knee"]) == (0, -1, 1)
    assert sum(record.visible == 1) == 11


def test_300_frames_do_not_wrap_and_uint8_coordinates_are_numbers(tmp_path):
    x = np.full((300, 13), 255, np.uint8)
    y = np.full((300, 13), 1, np.uint8)

    records = list(penn_action.read(write(tmp_path, _0001=video(300, x=x, y=y))))

    assert len(records) == 300
    assert records[-1].id == "0001/000300"
    assert joint(records[-1], "head") == [255, 1, 1]


@pytest.mark.parametrize(
    ("rows", "boxes"),
    [(0, [0, 0, 0]), (2, [1, 1, 0]), (3, [1, 1, 1]), (5, [1, 1, 1]), (None, [0, 0, 0])],
)
def test_boxes_may_be_fewer_or_more_than_frames(tmp_path, rows, boxes):
    bbox = None if rows is None else np.tile([1.0, 2, 30, 40], (rows, 1))

    records = list(penn_action.read(write(tmp_path, _0001=video(bbox=bbox))))

    assert [record.box is not None for record in records] == [bool(b) for b in boxes]


def test_a_box_without_area_is_none(tmp_path):
    bbox = np.array([[1.0, 2, 1, 40], [30, 2, 1, 40], [np.nan, 2, 3, 40]])

    records = list(penn_action.read(write(tmp_path, _0001=video(bbox=bbox))))

    assert [record.box for record in records] == [None] * 3


def test_the_split_is_that_of_the_video(tmp_path):
    root = write(tmp_path, _0002=video(1, train=-1), _0001=video(1))

    assert [(r.group, r.split) for r in penn_action.read(root)] == [
        ("0001", "train"),
        ("0002", "test"),
    ]


def test_the_labels_may_stand_alone_and_the_frames_elsewhere(tmp_path):
    root = write(tmp_path, _0001=video(1))

    (alone,) = penn_action.read(root / "labels")
    (apart,) = penn_action.read(root, tmp_path / "other")

    assert alone.image.path == tmp_path / "frames" / "0001" / "000001.jpg"
    assert apart.image.path == tmp_path / "other" / "0001" / "000001.jpg"


def test_non_finite_coordinates_are_left_to_the_caller(tmp_path):
    content = video(2)
    content["x"][0, 3:5] = np.nan, 1e300

    bad, good = penn_action.read(write(tmp_path, _0001=content))

    assert bad.defect() == "non_finite_joint"
    assert good.defect() is None


BAD = [
    ({"x": None}, "must have a variable 'x'"),
    ({"y": None}, "must have a variable 'y'"),
    ({"visibility": None}, "must have a variable 'visibility'"),
    ({"train": None}, "must have a variable 'train'"),
    (
        {"x": np.zeros((3, 14))},
        r"x must have shape \(frames, 13\). Received: \(3, 14\)",
    ),
    ({"x": np.zeros((0, 13))}, r"Received: \(0, 13\)"),
    ({"y": np.zeros((2, 13))}, r"y must have the shape of x, .*Received: \(2, 13\)"),
    ({"visibility": np.zeros((4, 13))}, r"visibility must .*Received: \(4, 13\)"),
    ({"x": "text"}, "x must be numbers"),
    ({"x": csc_matrix(np.ones((3, 13)))}, "x must be numbers. Received: csc"),
    ({"train": 0}, r"train must be 1 or -1. Received: \[0.0\]"),
    ({"bbox": np.zeros((3, 5))}, r"bbox must have shape .*Received: \(3, 5\)"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_a_damaged_video_is_named_and_the_others_go_on(tmp_path, changes, message):
    root = write(tmp_path, _0001=video(**changes), _0002=video(1))

    bad, good = penn_action.read(root)

    assert isinstance(bad, BadRecord)
    assert (bad.id, bad.source, bad.reason) == ("0001", "penn_action", "damaged_file")
    with pytest.raises(InputError, match=message):
        raise InputError(bad.detail)
    assert str(root / "labels" / "0001.mat") in bad.detail
    assert "\n" not in bad.detail
    assert good.id == "0002/000001"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "must be a folder with labels/0001.mat"),
        (b"", "must be a MATLAB file"),
        (b"not MATLAB" * 50, "must be a MATLAB file"),
    ],
    ids=["absent", "empty", "garbage"],
)
def test_a_set_without_a_good_file_is_refused_in_one_line(tmp_path, content, message):
    (tmp_path / "labels").mkdir()
    if content is not None:
        (tmp_path / "labels" / "0001.mat").write_bytes(content)

    with pytest.raises(InputError, match=message) as error:
        list(penn_action.read(tmp_path))

    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def real():
    if not (SAMPLE / "labels").is_dir():
        pytest.skip(f"no penn_action_labels_sample in {DATA} (set KPOSE_DATA)")
    return list(penn_action.read(SAMPLE))


def test_real_counts(real):
    assert len(real) == 1677
    assert len({record.group for record in real}) == 24
    assert sum(record.split == "train" for record in real) == 774
    annotated = np.stack([record.joints[:, 2] for record in real])
    visible = np.stack([record.visible for record in real])
    assert annotated.sum() == 20875
    assert (visible[annotated > 0] == 0).sum() == 2590
    assert (annotated.sum(axis=1) == 13).sum() == 1319
    assert all(record.box for record in real)
    assert all(record.defect() is None for record in real)


def sides(records, joints=("shoulder", "hip")) -> float:
    """Share of pairs of which the right joint is on the left of the picture."""
    xy = np.stack([record.joints for record in records])
    right, left = (
        np.concatenate([xy[:, BODY_13.names.index(f"{side}_{j}")] for j in joints])
        for side in ("right", "left")
    )
    both = (right[:, 2] > 0) & (left[:, 2] > 0)
    return float((right[both, 0] < left[both, 0]).mean())


def test_real_sides_are_the_persons_own(real):
    """People seen from the front have their right side on the left of the picture."""
    poses = {
        path.stem: str(scipy.io.loadmat(path)["pose"][0])
        for path in (SAMPLE / "labels").glob("*.mat")
    }
    front = [record for record in real if poses[record.group] == "front"]
    bowlers = [record for record in real if record.group in ("0501", "0601")]

    assert len({record.group for record in front}) == 10
    assert sides(front) > 0.95
    # They walk away from the camera.
    assert sides(bowlers) < 0.2
