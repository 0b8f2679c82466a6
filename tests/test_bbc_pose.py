"""The reader of BBC Pose, on tiny files of its structure: no real ones are at hand."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from kpose.errors import InputError
from kpose.joints import BODY_13
from kpose.records import BadRecord, ImageRef
from kpose_datasets import bbc_pose

ORDER = (
    "head right_wrist left_wrist right_elbow left_elbow right_shoulder left_shoulder"
).split()

NAMES = (
    "videoName type source train_frames train_joints test_frames test_joints"
).split()

FIRST = "videoName type source frameids locs".split()
"""Of the first release: frame numbers are read by place there."""


def points(frames: int, base: float = 0) -> np.ndarray:
    """``(2, 7, frames)``: joint i of frame t lies at x = 11 + 10 i + t, y = 101 + i."""
    x = np.add.outer(11 + base + 10.0 * np.arange(7), np.arange(frames))
    y = np.add.outer(101.0 + np.arange(7), np.zeros(frames))
    return np.stack([x, y])


def structs(videos, names) -> np.ndarray:
    array = np.empty((1, len(videos)), [(name, "O") for name in names])
    for number, values in enumerate(videos):
        array[0, number] = ("a", "b", "c", *values)
    return array


def manual(train, test=()) -> list:
    """The four fields of a video from its automatic and its manual frame numbers."""
    return [
        np.array([train], np.float64),
        points(len(train)),
        np.array([test], np.float64),
        points(len(test), 1000),
    ]


def write(root: Path, videos, names=NAMES, results=None) -> Path:
    (root / "code").mkdir(parents=True, exist_ok=True)
    content = {"bbcpose": structs(videos, names)}
    scipy.io.savemat(root / "code" / "bbcpose.mat", content)
    if results is not None:
        scipy.io.savemat(root / "code" / "results.mat", {"results": results})
    return root


def joint(record, name):
    return record.joints[BODY_13.names.index(name)].tolist()


def test_joints_are_in_pixels_from_0_and_there_are_no_hips(tmp_path):
    root = write(tmp_path, [manual([25, 31])])

    records = list(bbc_pose.read(root))

    assert [record.id for record in records] == ["1/25", "1/31"]
    for frame, record in enumerate(records):
        for row, name in enumerate(ORDER):
            assert joint(record, name) == [10 + 10 * row + frame, 100 + row, 1]
        assert record.joints[:, 2].sum() == 7
        assert set(record.visible.tolist()) == {-1}
        assert (record.group, record.recording, record.split) == ("1", "1", "train")
        assert (record.source, record.head_rule) == ("bbc_pose", "point")
        assert record.box is None
        assert record.defect() is None
    assert records[1].image == ImageRef(tmp_path / "1" / "31.jpg")


def test_pictures_may_be_elsewhere_and_labels_beside(tmp_path):
    root = write(tmp_path / "set", [manual([25])])

    (apart,) = bbc_pose.read(root, tmp_path / "frames")
    (beside,) = bbc_pose.read(root / "code")

    assert apart.image.path == tmp_path / "frames" / "1" / "25.jpg"
    assert beside.image.path == root / "code" / "1" / "25.jpg"


def test_splits_go_by_the_number_of_the_video(tmp_path):
    root = write(tmp_path, [manual([number]) for number in range(1, 24)])

    records = list(bbc_pose.read(root))

    # Videos 21 and on are Extended BBC Pose.
    assert [record.id for record in records] == [f"{n}/{n}" for n in range(1, 21)]
    assert [record.split for record in records] == (
        ["train"] * 10 + ["val"] * 5 + ["test"] * 5
    )


def test_validation_and_test_take_what_was_labelled_by_hand(tmp_path):
    videos = [manual([1, 2], [9])] * 11

    records = [r for r in bbc_pose.read(write(tmp_path, videos)) if r.group != "2"]

    assert [r.id for r in records if r.group == "10"] == ["10/1", "10/2"]
    assert [r.id for r in records if r.group == "11"] == ["11/9"]
    assert joint(records[-1], "head") == [1010, 100, 1]


def test_the_first_release_is_read_by_place_with_the_results(tmp_path):
    videos = [[np.array([[5, 6]]), points(2)] for _ in range(20)]
    results = np.empty((1, 1), [(name, "O") for name in ("gt", "b", "c")])
    results[0, 0] = (points(3, 500), np.array([[7, 8, 9]]), np.array([[16, 20, 16]]))

    records = list(bbc_pose.read(write(tmp_path, videos, FIRST, results)))

    found = {n: [r.id for r in records if r.group == str(n)] for n in (1, 15, 16, 20)}
    assert found == {
        1: ["1/5", "1/6"],
        15: ["15/5", "15/6"],
        16: ["16/7", "16/9"],
        20: ["20/8"],
    }
    heads = {record.id: joint(record, "head") for record in records}
    assert heads["16/9"] == [512, 100, 1]
    assert heads["20/8"] == [511, 100, 1]
    assert heads["15/6"] == [11, 100, 1]


def test_one_frame_may_lack_its_axis(tmp_path):
    video = [np.array([[5.0]]), points(1)[..., 0], np.zeros((0, 0)), np.zeros((0, 0))]

    (record,) = bbc_pose.read(write(tmp_path, [video]))

    assert joint(record, "left_shoulder") == [70, 106, 1]


def test_a_joint_at_0_is_missing_and_nan_is_left_to_the_caller(tmp_path):
    video = manual([1, 2])
    video[1][:, ORDER.index("left_wrist"), 0] = 0
    video[1][0, ORDER.index("left_wrist"), 1] = np.nan

    first, second = bbc_pose.read(write(tmp_path, [video]))

    assert joint(first, "left_wrist") == [0, 0, 0]
    assert first.joints[:, 2].sum() == 6
    assert second.defect() == "non_finite_joint"


def test_a_bad_video_or_frame_is_named_and_the_rest_goes_on(tmp_path):
    short, odd = manual([1, 2]), manual([3, 4.5, 6])
    short[1] = points(3)
    root = write(tmp_path, [short, odd])

    records = list(bbc_pose.read(root))

    file = root / "code" / "bbcpose.mat"
    assert records[0] == BadRecord(
        "1",
        "bbc_pose",
        "count_mismatch",
        f"{file}: video 1 must have joints of shape (2, 7, frames) for 2 frames. "
        "Received: (2, 7, 3)",
    )
    assert [record.id for record in records[1:]] == ["2/3", "2/4.5", "2/6"]
    assert records[2].reason == "wrong_frame_number"
    assert "frame 1 of video 2" in records[2].detail


def test_results_of_an_unknown_video_are_named(tmp_path):
    results = np.empty((1, 1), [(name, "O") for name in ("gt", "b", "c")])
    results[0, 0] = (points(2), np.array([[7, 8]]), np.array([[0, 21]]))

    good, *bad = bbc_pose.read(write(tmp_path, [manual([1])], NAMES, results))

    assert good.id == "1/1"
    assert [(one.id, one.reason) for one in bad] == [
        ("0", "unknown_video"),
        ("21", "unknown_video"),
    ]
    assert "video 1 to 1. Received: 0" in bad[0].detail


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected a label file"),
        (b"", "must be a MATLAB file"),
        (b"not MATLAB" * 50, "must be a MATLAB file"),
        ({"other": 1}, "must have a variable 'bbcpose'"),
        ({"bbcpose": np.zeros((3, 4))}, "must be an array of structs"),
        ({"bbcpose": "text"}, "must be an array of structs"),
        ({"bbcpose": structs([[], []], NAMES[:3])}, "video 1 must have fields"),
        ({"bbcpose": structs([["x", "y"]], FIRST)}, "video 1 must have fields"),
    ],
    ids=["absent", "empty", "garbage", "other", "numbers", "text", "few", "no numbers"],
)
def test_other_files_are_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "code" / "bbcpose.mat"
    path.parent.mkdir()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        scipy.io.savemat(path, content)

    with pytest.raises(InputError, match=message) as error:
        list(bbc_pose.read(tmp_path))

    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((points(2), np.array([[1, 2]])), "must have joints, frame numbers and"),
        ((points(2), np.array([[1]]), np.array([[1, 2]])), "Received: 1, 2, 2"),
    ],
    ids=["few", "mismatch"],
)
def test_other_results_are_refused(tmp_path, fields, message):
    results = np.empty((1, 1), [(name, "O") for name in "gbc"[: len(fields)]])
    results[0, 0] = fields
    root = write(tmp_path, [manual([1])], NAMES, results)

    with pytest.raises(InputError, match=f"results.mat.*{message}"):
        list(bbc_pose.read(root))
