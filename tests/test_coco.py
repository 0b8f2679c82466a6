"""The reader of COCO's keypoint JSON, on tiny files of its exact structure."""

import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from kpose.errors import InputError
from kpose.geometry import Box
from kpose.joints import BODY_13
from kpose.records import BadRecord, ImageRef, PersonRecord
from kpose_datasets import coco, read_source, require_different_names

DATA = Path(os.environ.get("KPOSE_DATA", Path(__file__).parents[2] / "shared" / "data"))

SAMPLES = DATA / "mmpose_samples"

COCO = (
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder "
    "left_elbow right_elbow left_wrist right_wrist left_hip right_hip left_knee "
    "right_knee left_ankle right_ankle"
).split()

CROWDPOSE = (
    "left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist "
    "left_hip right_hip left_knee right_knee left_ankle right_ankle head neck"
).split()

AIC = (
    "Right Shoulder,Right Elbow,Right Wrist,Left Shoulder,Left Elbow,Left Wrist,"
    "Right Hip,Right Knee,Right Ankle,Left Hip,Left Knee,Left Ankle,Head top,Neck"
).split(",")

JHMDB = (
    "neck belly head right_shoulder left_shoulder right_hip left_hip right_elbow "
    "left_elbow right_knee left_knee right_wrist left_wrist right_ankle left_ankle"
).split()

POSETRACK = ["nose", "head_bottom", "head_top", *COCO[3:]]


def keypoints(count: int = 17, flag: int = 2) -> list[float]:
    """Point i lies at x = 10 i, y = 100 + i."""
    return [n for i in range(count) for n in (10 * i, 100 + i, flag)]


def person(**changes) -> dict:
    annotation = {
        "id": 7,
        "image_id": 1,
        "category_id": 1,
        "keypoints": keypoints(),
        "num_keypoints": 17,
        "bbox": [10.5, 20, 30, 40],
        "area": 12.5,
        "iscrowd": 0,
    }
    return {**annotation, **changes}


def document(*people, names=COCO, images=None) -> dict:
    return {
        "images": images or [{"id": 1, "file_name": "a.jpg"}],
        "annotations": list(people),
        "categories": [{"id": 1, "name": "person", "keypoints": names}],
    }


def write(folder: Path, content, name: str = "people.json") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def joint(record, name):
    return record.joints[BODY_13.names.index(name)].tolist()


def shown(record, name):
    return int(record.visible[BODY_13.names.index(name)])


def test_joints_go_by_name_and_the_head_is_the_mean_of_the_face(tmp_path):
    path = write(tmp_path, document(person()))

    (record,) = coco.read(path)

    for name in BODY_13.names[1:]:
        row = COCO.index(name)
        assert joint(record, name) == [10 * row, 100 + row, 1]
    assert joint(record, "head") == [20, 102, 1]
    assert record.joints.dtype == np.float32
    assert (record.id, record.source, record.split) == ("7", "coco/people", "train")
    assert record.image == ImageRef(tmp_path / "a.jpg")
    assert (record.group, record.recording, record.head_rule) == ("a.jpg", "", "face")
    assert record.box == Box(10.5, 20, 40.5, 60)
    assert record.area == 12.5
    assert record.defect() is None


def test_flags_are_0_unlabelled_1_hidden_2_visible(tmp_path):
    points = keypoints()
    points[3 * COCO.index("left_wrist") : 3 * COCO.index("left_wrist") + 3] = [0, 0, 0]
    points[3 * COCO.index("right_wrist") + 2] = 1
    points[3 * COCO.index("right_hip") + 2] = 2.0
    # Garbage where it is not labelled must not reach the joint.
    points[3 * COCO.index("left_knee") : 3 * COCO.index("left_knee") + 3] = [9, 9, 0]

    (record,) = coco.read(write(tmp_path, document(person(keypoints=points))))

    assert joint(record, "left_wrist") == [0, 0, 0]
    assert joint(record, "left_knee") == [0, 0, 0]
    assert joint(record, "right_wrist") == [100, 110, 1]
    assert [shown(record, name) for name in ("left_wrist", "right_wrist")] == [-1, 0]
    assert [shown(record, name) for name in ("right_hip", "left_knee")] == [1, -1]
    assert record.joints[:, 2].sum() == 11


def test_a_file_without_a_2_does_not_say_what_is_hidden(tmp_path):
    path = write(tmp_path, document(person(keypoints=keypoints(flag=1))))

    (record,) = coco.read(path)

    assert record.joints[:, 2].sum() == 13
    assert set(record.visible.tolist()) == {-1}


@pytest.mark.parametrize(
    ("names", "head", "rule"),
    [
        (AIC, [125, 112.5, 1], "mid"),
        (POSETRACK, [15, 101.5, 1], "mid"),
        (JHMDB, [20, 102, 1], "point"),
        # Its "head" is the top of the head: points 12 and 13.
        (CROWDPOSE, [125, 112.5, 1], "mid"),
        ([*CROWDPOSE, "right_neck"], [125, 112.5, 1], "mid"),
    ],
    ids=["aic", "posetrack", "jhmdb", "crowdpose", "mpii-trb"],
)
def test_the_order_of_the_points_is_that_of_the_category(tmp_path, names, head, rule):
    one = person(keypoints=keypoints(len(names)))

    (record,) = coco.read(write(tmp_path, document(one, names=names)))

    plain = [name.lower().replace(" ", "_") for name in names]
    for name in BODY_13.names[1:]:
        row = plain.index(name)
        assert joint(record, name) == [10 * row, 100 + row, 1]
    assert joint(record, "head") == head
    assert record.head_rule == rule


def test_each_category_has_its_own_map(tmp_path):
    content = document(
        person(id=1, category_id="b", keypoints=keypoints(14)),
        person(id=2),
        person(id=3, category_id=3),
        person(id=4, category_id=4, keypoints=[1, 1, 2]),
        person(id=5, category_id="b", keypoints=keypoints(14)),
    )
    content["categories"] += [
        {"id": "b", "keypoints": AIC},
        {"id": 3, "name": "car"},
        {"id": 4, "name": "dog", "keypoints": ["tail"]},
    ]

    records = list(coco.read(write(tmp_path, content)))

    bad = [record for record in records if isinstance(record, BadRecord)]
    assert [(one.id, one.reason) for one in bad] == [
        ("3", "unknown_category"),
        ("4", "unknown_category"),
    ]
    assert "Received: 3: has no keypoints" in bad[0].detail
    assert "tail" in bad[1].detail
    people = records[2:]
    assert [(one.id, one.head_rule) for one in people] == [
        ("1", "mid"),
        ("2", "face"),
        ("5", "mid"),
    ]
    assert joint(people[0], "right_shoulder") == [0, 100, 1]
    assert joint(people[1], "right_shoulder") == [60, 106, 1]


def test_persons_of_one_picture_follow_each_other_in_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr(coco, "BLOCK", 3)
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in (30, 10, 20)]
    order = [10, 20, 30, 10, 30, 20, 10]
    people = [person(id=100 - n, image_id=i) for n, i in enumerate(order)]

    records = list(coco.read(write(tmp_path, document(*people, images=images))))

    assert [(r.group, r.id) for r in records] == [
        ("30.jpg", "98"),
        ("30.jpg", "96"),
        ("10.jpg", "100"),
        ("10.jpg", "97"),
        ("10.jpg", "94"),
        ("20.jpg", "99"),
        ("20.jpg", "95"),
    ]


def test_pictures_lie_beside_the_file_or_in_the_folder_given(tmp_path):
    images = [{"id": 1, "file_name": "val2017/a.jpg"}]
    path = write(tmp_path / "labels", document(person(), images=images))

    (beside,) = coco.read(path)
    (apart,) = coco.read(path, tmp_path / "pictures")

    assert beside.image.path == tmp_path / "labels" / "val2017" / "a.jpg"
    assert apart.image.path == tmp_path / "pictures" / "val2017" / "a.jpg"


@pytest.mark.parametrize("key", ["vid_id", "video_id"])
def test_frames_of_a_video_are_one_group(tmp_path, key):
    images = [
        {"id": 1, "file_name": "v/0.jpg", key: "0012"},
        {"id": 2, "file_name": "v/1.jpg", key: 12},
        {"id": 3, "file_name": "w/1.jpg"},
    ]
    people = [person(id=i, image_id=i) for i in (1, 2, 3)]

    records = list(coco.read(write(tmp_path, document(*people, images=images))))

    assert [(r.group, r.recording) for r in records] == [
        ("0012", "0012"),
        ("12", "12"),
        ("w/1.jpg", ""),
    ]


def test_a_name_that_says_nothing_has_its_folders_before_it(tmp_path):
    for folder, split in (("train", "train"), ("valid", "val"), ("test", "test")):
        path = write(tmp_path / folder, document(person()), "_annotations.coco.json")

        (record,) = coco.read(path)

        assert record.split == split
        assert record.source == f"coco/{folder}/_annotations.coco"
    texts = [f"coco:{path}" for path in sorted(tmp_path.glob("*/*.json"))]
    require_different_names([read_source(f"{text}@all") for text in texts])


@pytest.mark.parametrize(
    ("stem", "split"),
    [
        ("person_keypoints_val2017", "val"),
        ("person_keypoints_train2017", "train"),
        ("aic-validation", "val"),
        ("dev", "val"),
        ("test_coco", "test"),
        ("crowdpose_test", "test"),
        ("test_posetrack18_val", "val"),
        ("latest_values", "train"),
        ("mpii_trb_trainval", "train"),
    ],
)
def test_the_split_is_a_word_of_the_name(tmp_path, stem, split):
    (record,) = coco.read(write(tmp_path, document(person()), f"{stem}.json"))

    assert (record.split, record.source) == (split, f"coco/{stem}")


@pytest.mark.parametrize(
    ("changes", "reason", "message"),
    [
        ({"iscrowd": 1}, "crowd", "is a crowd"),
        ({"iscrowd": True}, "crowd", "is a crowd"),
        ({"image_id": 2}, "unknown_image", "Received: 2"),
        ({"image_id": "1"}, "unknown_image", "Received: '1'"),
        ({"image_id": True}, "unknown_image", "Received: True"),
        ({"image_id": [1]}, "unknown_image", r"Received: \[1\]"),
        ({"image_id": 5}, "unknown_image", "file_name"),
        ({"category_id": 9}, "unknown_category", "Received: 9"),
        ({"category_id": None}, "unknown_category", "Received: None"),
        ({"keypoints": None}, "missing_keypoints", "has none"),
        ({"keypoints": []}, "wrong_number_of_keypoints", "51 numbers.*Received: 0"),
        (
            {"keypoints": keypoints(133)},
            "wrong_number_of_keypoints",
            "51 numbers.*Received: 399",
        ),
        ({"keypoints": "no"}, "wrong_number_of_keypoints", "Received: 'no'"),
        ({"keypoints": [*keypoints()[:-1], "2"]}, "non_numeric_keypoints", "'2'"),
        ({"keypoints": [None, *keypoints()[1:]]}, "non_numeric_keypoints", "None"),
        ({"keypoints": [True, *keypoints()[1:]]}, "non_numeric_keypoints", "True"),
        ({"keypoints": [*keypoints()[:-1], 0.75]}, "wrong_visibility", "0.75"),
        ({"keypoints": [*keypoints()[:-1], 3]}, "wrong_visibility", "Received: 3"),
        ({"bbox": [1, 2, 3]}, "wrong_bbox", r"Received: \[1, 2, 3\]"),
        ({"bbox": [1, 2, 3, None]}, "wrong_bbox", "None"),
    ],
)
def test_a_bad_annotation_is_named_and_the_rest_goes_on(
    tmp_path, changes, reason, message
):
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 5}]
    content = document(person(**changes), person(id=8), images=images)
    path = write(tmp_path, content)

    bad, good = coco.read(path)

    assert isinstance(bad, BadRecord)
    assert (bad.id, bad.source, bad.reason) == ("7", "coco/people", reason)
    assert bad.detail.startswith(f"{path}: annotation 7 ")
    with pytest.raises(InputError, match=message):
        raise InputError(bad.detail)
    assert "\n" not in bad.detail
    assert isinstance(good, PersonRecord)
    assert good.id == "8"


def test_an_annotation_that_is_no_object_is_named_by_its_place(tmp_path):
    bad, good = coco.read(write(tmp_path, document(person(id=None), 5)))

    assert (bad.id, bad.reason) == ("annotation 1", "no_object")
    assert good.id == "annotation 0"


@pytest.mark.parametrize("given", [[0] * 51, [], None], ids=["zeros", "empty", "none"])
def test_a_person_without_keypoints_is_left_to_the_caller(tmp_path, given):
    one = person(keypoints=given, num_keypoints=0)

    (record,) = coco.read(write(tmp_path, document(one)))

    assert record.defect() == "no_joints"
    assert not record.joints.any()


def test_two_annotations_of_one_id_keep_it(tmp_path):
    records = list(coco.read(write(tmp_path, document(person(), person()))))

    assert [record.id for record in records] == ["7", "7"]


@pytest.mark.parametrize(
    "box", [None, [], [5, 5, 0, 9], [5, 5, -3, 9]], ids=["none", "empty", "0", "-3"]
)
def test_a_box_without_area_is_none(tmp_path, box):
    one = person(bbox=box, area=1e308 if box else None)

    (record,) = coco.read(write(tmp_path, document(one)))

    assert record.box is None
    assert record.area == 0


def test_numbers_too_large_are_reported_by_the_caller(tmp_path):
    points = keypoints()
    points[3 * COCO.index("left_hip")] = 1e300

    (record,) = coco.read(write(tmp_path, document(person(keypoints=points))))

    assert record.defect() == "non_finite_joint"


def test_a_byte_order_mark_is_read_over(tmp_path):
    path = tmp_path / "people.json"
    path.write_text(json.dumps(document(person())), encoding="utf-8-sig")

    assert len(list(coco.read(path))) == 1


def without(key):
    content = document(person())
    del content[key]
    return json.dumps(content).encode()


def changed(**changes):
    return json.dumps({**document(person()), **changes}).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected a COCO keypoint file"),
        (b"", "must be JSON"),
        (b'{"images": [', "must be JSON"),
        (json.dumps(document(person())).encode()[:-40], "must be JSON"),
        (json.dumps(document(person())).encode("utf-16"), "must be JSON"),
        (b'{"images": [{"id": 1, "file_name": "\xff"}]}', "must be JSON"),
        (changed(extra=float("nan")), "must be JSON"),
        (b"5", "no category"),
        (b'[{"image_id": 1, "keypoints": [], "score": 1}]', "Received: a list"),
        (b"\n [1]", "Received: a list"),
        (without("categories"), "no category"),
        (without("images"), "images that have id and file_name"),
        (without("annotations"), "annotations of persons. Received: none"),
        (changed(images={"1": "a.jpg"}), "images that have id and file_name"),
        (changed(categories=[{"id": 1}]), "Received: has no keypoints"),
        (changed(categories=[{"id": 1, "keypoints": ["tail"]}]), "Received: .*tail"),
        (
            changed(categories=[{"id": 1, "keypoints": ["left_hip", "nose"]}]),
            "both sides.*'left_hip'",
        ),
        (
            changed(categories=[{"id": 1, "keypoints": ["nose", "nose"]}]),
            "Received twice: 'nose'",
        ),
        (changed(categories=[{"id": 1}, {"id": 1}]), "two categories have the id 1"),
        (
            changed(images=[{"id": 1, "file_name": n} for n in ("a.jpg", "b.jpg")]),
            "two images have the id 1: a.jpg and b.jpg",
        ),
        (changed(annotations=[person(keypoints=[1])]), "annotation 7.*Received: 1$"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "people.json"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(InputError, match=message) as error:
        list(coco.read(path))

    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_memory_does_not_grow_with_what_is_not_used(tmp_path):
    """A segment of 400 numbers per person would be 12 kB each as Python objects."""
    path = tmp_path / "people.json"
    head, tail = json.dumps(document("HERE")).split('"HERE"')
    with path.open("w") as file:
        file.write(head)
        for number in range(2000):
            one = person(id=number, segmentation=[[0.25 + number] * 400])
            file.write((", " if number else "") + json.dumps(one))
        file.write(tail)

    tracemalloc.start()
    count = sum(1 for _ in coco.read(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert count == 2000
    assert peak < 5_000_000


@pytest.mark.parametrize(
    ("name", "people", "joints", "rule"),
    [
        ("coco/test_coco.json", 12, 146, "face"),
        ("coco/test_coco_wholebody.json", 12, 146, "face"),
        ("aic/test_aic.json", 9, 92, "mid"),
        ("crowdpose/test_crowdpose.json", 4, 43, "mid"),
        ("jhmdb/test_jhmdb_sub1.json", 3, 39, "point"),
        ("ochuman/test_ochuman.json", 5, 63, "face"),
        ("posetrack18/annotations/test_posetrack18_val.json", 14, 155, "mid"),
        ("mpii/test_mpii_trb.json", 5, 61, "mid"),
    ],
)
def test_real_files(name, people, joints, rule):
    path = SAMPLES / name
    if not path.is_file():
        pytest.skip(f"no {path} (set KPOSE_DATA)")
    images = SAMPLES / "posetrack18" if "posetrack" in name else None

    records = list(coco.read(path, images))

    usable = [record for record in records if record.defect() is None]
    assert len(usable) == people
    assert sum(record.joints[:, 2].sum() for record in usable) == joints
    assert {record.head_rule for record in records} == {rule}
    assert all(record.image.path.is_file() for record in records)
    assert len({record.id for record in records}) == len(records)
