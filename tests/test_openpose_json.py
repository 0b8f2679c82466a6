"""The reader of OpenPose's JSON, on tiny files of its exact structure."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from kpose import screening
from kpose.errors import InputError
from kpose.joints import BODY_13
from kpose.records import BadRecord, ImageRef
from kpose_datasets import LICENCES, openpose_json, read_source

DATA = Path(os.environ.get("KPOSE_DATA", Path(__file__).parents[2] / "shared" / "data"))

BALANCING = DATA / "pose2sim_balancing"

BODY_25B = (
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder "
    "left_elbow right_elbow left_wrist right_wrist left_hip right_hip left_knee "
    "right_knee left_ankle right_ankle upper_neck head_top"
).split()
"""The first 19 of the 25 points, as OpenPose lists them."""

BODY_25 = (
    "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow "
    "left_wrist middle_hip right_hip right_knee right_ankle left_hip left_knee "
    "left_ankle right_eye left_eye right_ear left_ear"
).split()


def person(confidence: float = 0.9) -> np.ndarray:
    """``(25, 3)``: point i lies at x = 10 i, y = 100 + i."""
    rows = np.arange(25.0)
    return np.stack([10 * rows, 100 + rows, np.full(25, confidence)], axis=1)


def write(folder: Path, people: dict[str, list]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, found in people.items():
        rows = [
            {"pose_keypoints_2d": np.asarray(one).ravel().tolist()} if len(one) else {}
            for one in found
        ]
        (folder / name).write_text(json.dumps({"version": 1.3, "people": rows}))
    return folder


def joint(record, name):
    return record.joints[BODY_13.names.index(name)].tolist()


def test_joints_go_by_name_and_the_head_is_between_neck_and_top(tmp_path):
    folder = write(tmp_path / "cam1_json", {"cam1.0007.json": [person()]})
    (tmp_path / "cam1.mp4").touch()

    (record,) = openpose_json.read(folder, tmp_path / "cam1.mp4")

    for name in BODY_13.names[1:]:
        row = BODY_25B.index(name)
        assert joint(record, name) == [10 * row, 100 + row, 1]
    assert joint(record, "head") == [175, 117.5, 1]
    assert record.image == ImageRef(tmp_path / "cam1.mp4", frame=7)
    assert record.id == "cam1_json/cam1.0007/0"
    assert (record.group, record.split, record.head_rule) == (
        "cam1_json",
        "train",
        "mid",
    )
    assert set(record.visible.tolist()) == {-1}


def test_a_point_needs_a_confidence_over_a_fifth(tmp_path):
    points = person()
    points[BODY_25B.index("left_wrist"), 2] = 0.2
    points[BODY_25B.index("right_wrist"), 2] = 0.21
    points[BODY_25B.index("head_top")] = 0
    folder = write(tmp_path / "json", {"a_0.json": [points]})

    (record,) = openpose_json.read(folder, tmp_path)

    assert joint(record, "left_wrist") == [0, 0, 0]
    assert joint(record, "head") == [0, 0, 0]
    assert joint(record, "right_wrist") == [100, 110, 1]
    assert record.joints[:, 2].sum() == 11


def test_frames_without_people_are_counted_as_labels_without_joints(tmp_path):
    files = {
        "f_000000000000_keypoints.json": [person(), person()],
        "f_000000000001_keypoints.json": [[]],
        "f_000000000012_keypoints.json": [],
        "f_000000000013_keypoints.json": [[], person()],
    }
    folder = write(tmp_path / "json", files)
    (tmp_path / "clip.avi").touch()

    records = list(openpose_json.read(folder, tmp_path / "clip.avi"))

    assert [record.image.frame for record in records] == [0, 0, 1, 12, 13]
    assert [record.defect() for record in records] == [
        None,
        None,
        "no_joints",
        "no_joints",
        None,
    ]
    assert len({record.id for record in records}) == 5


def test_pictures_of_a_folder_have_the_names_of_the_files(tmp_path):
    names = ("a_keypoints.json", "b.json", "c_keypoints.json")
    folder = write(tmp_path, {name: [person()] for name in names})
    for name in ("a.png", "b.jpg"):
        (tmp_path / name).touch()

    source = read_source(f"openpose_json:{folder}?images={folder}")

    paths = [record.image.path.name for record in source.records]
    assert paths == ["a.png", "b.jpg", "c.jpg"]
    assert all(record.image.frame is None for record in source.records)
    assert source.licence == LICENCES["openpose_json"]
    _, tallies = screening.screen([source], BODY_13, strict=False)
    assert tallies["openpose_json"].skipped == {"missing_image": 1}


def as_body_25(points: np.ndarray) -> np.ndarray:
    """The same person as the model BODY_25 would write it."""

    def place(name):
        if name in BODY_25B:
            return points[BODY_25B.index(name)]
        pair = ("right_hip", "left_hip")
        pair = ("right_shoulder", "left_shoulder") if name == "neck" else pair
        return np.mean([points[BODY_25B.index(one)] for one in pair], axis=0)

    return np.concatenate([[place(name) for name in BODY_25], points[19:]])


def standing() -> np.ndarray:
    points = person()
    places = {
        **{"nose": (100, 40), "left_eye": (106, 36), "right_eye": (94, 36)},
        **{"left_ear": (112, 38), "right_ear": (88, 38)},
        **{"left_shoulder": (130, 70), "right_shoulder": (70, 70)},
        **{"left_elbow": (140, 110), "right_elbow": (60, 110)},
        **{"left_wrist": (140, 150), "right_wrist": (60, 150)},
        **{"left_hip": (118, 160), "right_hip": (82, 160)},
        **{"left_knee": (118, 220), "right_knee": (82, 220)},
        **{"left_ankle": (118, 280), "right_ankle": (82, 280)},
        **{"upper_neck": (100, 60), "head_top": (100, 15)},
    }
    for name, place in places.items():
        points[BODY_25B.index(name), :2] = place
    return points


def test_body_25_is_told_apart_and_refused(tmp_path):
    good = write(tmp_path / "b", {"0.json": [standing()]})
    other = write(tmp_path / "a", {"0.json": [as_body_25(standing())]})

    assert len(list(openpose_json.read(good, tmp_path))) == 1
    with pytest.raises(InputError, match="has those of BODY_25"):
        list(openpose_json.read(other, tmp_path))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("0.json", '{"people": [{"pose_keypoints_2d": [1, 2, 3]}]}', "Received: 3"),
        ("0.json", '{"people": [{"other": [1]}]}', "pose_keypoints_2d"),
        ("0.json", '{"people": [{"pose_keypoints_2d": "no"}]}', "Received: 'no'"),
        ("0.json", '{"people": 5}', "people"),
        ("0.json", '{"people": [5]}', "people"),
        ("0.json", '{"persons": []}', "people"),
        ("0.json", "[]", "people"),
        ("0.json", "{", "people"),
        ("zero.json", '{"people": []}', "no digit"),
        ("0.txt", "", "has none"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, name, content, message):
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / name).write_text(content)
    (tmp_path / "a.mp4").touch()

    with pytest.raises(InputError, match=message) as error:
        list(openpose_json.read(tmp_path / "json", tmp_path / "a.mp4"))

    assert str(tmp_path / "json") in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "reason", "message"),
    [
        (b"{", "damaged_file", "JSON with people"),
        (b"", "damaged_file", "JSON with people"),
        (b"\xff\xfe{", "damaged_file", "JSON with people"),
        (b'{"persons": []}', "damaged_file", "'people'"),
        (
            b'{"people": [{"pose_keypoints_2d": [1, 2, 3]}]}',
            "wrong_number_of_keypoints",
            "person 0 must have 75 pose_keypoints_2d.* Received: 3",
        ),
        (b'{"people": [{"hand": 1}]}', "wrong_number_of_keypoints", "Received: None"),
        (
            b'{"people": [{"pose_keypoints_2d": [%s, "x"]}]}' % b",".join([b"1"] * 74),
            "non_numeric_keypoints",
            "Received: 'x'",
        ),
        (
            b'{"people": [{"pose_keypoints_2d": [%s]}]}'
            % b",".join([b"1" + b"0" * 400] * 75),
            "non_numeric_keypoints",
            "Received: 10000",
        ),
        (b"[" * 100000, "damaged_file", "RecursionError"),
    ],
    ids=[
        *("cut", "empty", "utf-16", "other", "few", "no points", "text", "huge"),
        "deep",
    ],
)
def test_a_damaged_file_in_a_good_folder_is_one_bad_record(
    tmp_path, content, reason, message
):
    folder = write(tmp_path / "json", {"a_0.json": [person()], "a_2.json": [person()]})
    (folder / "a_1.json").write_bytes(content)

    first, bad, last = openpose_json.read(folder, tmp_path)

    assert (first.id, last.id) == ("json/a_0/0", "json/a_2/0")
    assert isinstance(bad, BadRecord)
    assert (bad.id, bad.source, bad.reason) == ("json/a_1/0", "openpose_json", reason)
    assert re.search(message, bad.detail)
    assert str(folder / "a_1.json") in bad.detail
    assert "\n" not in bad.detail


@pytest.mark.parametrize("value", [np.inf, 1e300])
def test_numbers_too_large_are_reported_by_the_caller(tmp_path, value):
    wrong = person()
    wrong[[1, 5, 17], 0], wrong[[6, 18], 0] = value, -value
    folder = write(tmp_path / "json", {"0.json": [person(), wrong]})

    good, bad = openpose_json.read(folder, tmp_path)

    assert (good.defect(), bad.defect()) == (None, "non_finite_joint")


def test_a_bad_person_leaves_the_others_of_the_frame(tmp_path):
    folder = write(
        tmp_path / "json", {"a_0.json": [person(), np.zeros(72), person() + 1]}
    )

    good, bad, other = openpose_json.read(folder, tmp_path)

    assert bad.detail.endswith("numbers of the model BODY_25B. Received: 72")
    assert [record.id for record in (good, bad, other)] == [
        "json/a_0/0",
        "json/a_0/1",
        "json/a_0/2",
    ]
    assert joint(other, "left_shoulder") == [51, 106, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("openpose_json:{root}/json", "must say where its pictures are"),
        ("openpose_json:{root}/json@train", "must say where its pictures are"),
        (
            "openpose_json:{root}/json?images={root}/b.mp4",
            "expected openpose_json pictures at .*b.mp4, but there is",
        ),
        ("openpose_json:{root}/no?images={root}/a.mp4", "no, but there is"),
        ("openpose_json:{root}/json?images={root}/a.mp4@test", "persons of split test"),
        ("openpose_json:{root}/json?images={root}/a.mp4@tset", "must end in @train"),
        ("lsp:{root}/json?images={root}/a.mp4", "has no option"),
        ("lsp:{root}/json?image=a.mp4", "lsp data has no option image; it has none"),
        (
            "persontracker:{root}/json?mirror=yes",
            "no option mirror; it has mirrored, inferred, faults",
        ),
    ],
)
def test_the_place_of_the_pictures_is_asked_for(tmp_path, text, message):
    write(tmp_path / "json", {"0.json": [person()]})
    (tmp_path / "a.mp4").touch()

    with pytest.raises(InputError, match=message):
        read_source(text.format(root=tmp_path))


def test_paths_with_an_at_sign_are_read(tmp_path):
    root = tmp_path / "me@home"
    write(root / "json", {"0.json": [person()]})
    (root / "a.mp4").touch()

    for suffix in ("", "@train", "@all"):
        text = f"openpose_json:{root}/json?images={root}/a.mp4{suffix}"
        assert len(list(read_source(text).records)) == 1


@pytest.mark.skipif(
    not (BALANCING / "videos" / "cam03.mp4").is_file(),
    reason=f"no pose2sim_balancing in {DATA} (set KPOSE_DATA)",
)
def test_real_recording():
    folder = BALANCING / "pose-associated" / "cam03_json"
    video = BALANCING / "videos" / "cam03.mp4"

    source = read_source(f"openpose_json:{folder}?images={video}")
    records, tallies = screening.screen([source], BODY_13, strict=False)

    assert len(list(source.records)) == 100
    assert len(records) == 99
    assert tallies["openpose_json"].skipped == {"no_joints": 1}
    assert [record.image.frame for record in source.records] == list(range(100))
    # He is seen from behind: the right shoulder is on the right.
    joints = np.stack([record.joints for record in records])
    right, left = (
        joints[:, BODY_13.names.index(name)]
        for name in ("right_shoulder", "left_shoulder")
    )
    both = (right[:, 2] > 0) & (left[:, 2] > 0)
    assert (right[both, 0] > left[both, 0]).mean() > 0.9


def test_a_label_can_be_of_a_later_frame(tmp_path):
    write(tmp_path / "json", {"a_0.json": [person()], "a_7.json": [person()]})
    (tmp_path / "a.mp4").touch()

    def frames(offset):
        found = openpose_json.read(tmp_path / "json", tmp_path / "a.mp4", offset=offset)
        return [
            one.reason if isinstance(one, BadRecord) else one.image.frame
            for one in found
        ]

    assert frames("0") == [0, 7]
    assert frames("1") == [1, 8]
    assert frames("-2") == ["no_such_frame", 5]
    with pytest.raises(InputError, match="offset must be a whole number of frames"):
        frames("1.5")


def test_a_point_is_annotated_over_the_confidence_that_is_given(tmp_path):
    write(tmp_path / "json", {"0.json": [person()]})
    (tmp_path / "a.mp4").touch()

    def annotated(confidence):
        (one,) = openpose_json.read(
            tmp_path / "json", tmp_path / "a.mp4", confidence=confidence
        )
        return int(one.joints[:, 2].sum())

    assert annotated("0.2") > 0
    assert annotated("0.99") == 0
    with pytest.raises(InputError, match="confidence must be a number from 0 to 1"):
        annotated("2")
