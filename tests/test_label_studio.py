"""Label Studio: its exports, and suspects written, corrected and read back."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from kpose.errors import InputError
from kpose.geometry import Box
from kpose.joints import BODY_13
from kpose.records import BadRecord, ImageRef, PersonRecord
from kpose_datasets import corrections, label_studio
from kpose_datasets.corrections import Suspect

SIZE = {"original_width": 200, "original_height": 100, "image_rotation": 0}
"""One per cent is 2 pixels across and 1 pixel down."""


def keypoint(label, x, y, **more):
    value = {"x": x, "y": y, "width": 0.5, "keypointlabels": [label]}
    names = {"id": f"r-{label}", "from_name": "kp", "to_name": "img"}
    return {**SIZE, **names, "type": "keypointlabels", "value": value, **more}


def rectangle(name, x, y, width, height, **more):
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": 0, **more}
    value["rectanglelabels"] = ["person"]
    return {**SIZE, "id": name, "type": "rectanglelabels", "value": value}


def choice(region, text):
    value = {"x": 1, "y": 1, "width": 0.5, "choices": [text]}
    return {**SIZE, "id": region, "type": "choices", "value": value}


def annotation(*result, **more):
    return {
        **{"id": 7, "completed_by": 1, "result": list(result), "was_cancelled": False},
        **{"ground_truth": False, "created_at": "2026-03-01T10:00:00.000000Z"},
        **{"updated_at": "2026-03-01T10:00:00.000000Z", **more},
    }


def task(*annotations, image="/data/upload/1/0123abcd-photo.jpg", number=12, **more):
    return {
        **{"id": number, "data": {"image": image}, "annotations": list(annotations)},
        **{"predictions": [], "drafts": [], "meta": {}, "project": 1, **more},
    }


def export(folder: Path, *tasks) -> Path:
    path = folder / "project-1.json"
    path.write_text(json.dumps(tasks))
    return path


def joint(record, name):
    return record.joints[BODY_13.names.index(name)].tolist()


WRISTS = (keypoint("left_wrist", 50, 50), keypoint("Right Wrist", 0.25, 0.5))


def test_per_cent_run_from_edge_to_edge(tmp_path):
    path = export(tmp_path, task(annotation(*WRISTS)))

    (record,) = label_studio.read(path)

    # Half of 200 x 100 is the edge between two pixels; 0.25 and 0.5 per cent are half
    # a pixel, the centre of the first.
    assert joint(record, "left_wrist") == [99.5, 49.5, 1]
    assert joint(record, "right_wrist") == [0, 0, 1]
    assert record.joints[:, 2].sum() == 2
    assert record.visible.tolist() == [-1] * 13
    assert (record.id, record.source) == ("12", "label_studio/project-1")
    assert record.group == "/data/upload/1/0123abcd-photo.jpg"
    assert (record.split, record.recording, record.box) == ("train", "", None)


def test_a_box_holds_the_keypoints_of_its_person(tmp_path):
    result = [
        rectangle("a", 10, 20, 30, 40),
        keypoint("head", 20, 30, parentID="a"),
        rectangle("b", 60, 10, 20, 50, rotation=12),
        keypoint("head", 70, 20, parentID="b"),
        rectangle("empty", 0, 0, 5, 5),
    ]

    first, second = label_studio.read(export(tmp_path, task(annotation(*result))))

    assert (first.id, second.id) == ("12/a", "12/b")
    assert joint(first, "head") == [39.5, 29.5, 1]
    assert joint(second, "head") == [139.5, 19.5, 1]
    assert first.box == Box(20, 20, 80, 60)
    assert second.box is None  # turned: its edges are no box of the picture
    assert (first.head_rule, first.group) == ("point", second.group)


def test_the_only_box_is_that_of_keypoints_without_a_parent(tmp_path):
    result = [rectangle("a", 10, 20, 30, 40), keypoint("head", 20, 30)]

    (record,) = label_studio.read(export(tmp_path, task(annotation(*result))))

    assert record.box == Box(20, 20, 80, 60)
    assert record.id == "12"


def test_choices_of_a_keypoint_say_whether_it_is_occluded(tmp_path):
    points = [keypoint(name, 10, 10) for name in ("head", "left_hip", "right_hip")]
    marks = [choice("r-head", "Occluded"), choice("r-left_hip", "visible")]
    path = export(tmp_path, task(annotation(*points, *marks)))

    (record,) = label_studio.read(path)

    shown = dict(zip(BODY_13.names, record.visible.tolist(), strict=True))
    assert (shown["head"], shown["left_hip"], shown["right_hip"]) == (0, 1, -1)


def test_the_newest_annotation_that_was_not_skipped_counts(tmp_path):
    old = annotation(keypoint("head", 10, 10), updated_at="2026-03-01T10:00:00.0Z")
    new = annotation(keypoint("head", 20, 10), updated_at="2026-03-02T10:00:00.0Z")
    skipped = annotation(
        keypoint("head", 30, 10), updated_at="2026-03-03T1", was_cancelled=True
    )
    guess = {"result": [keypoint("head", 40, 10)], "model_version": "m"}
    tasks = [
        task(new, old, skipped, predictions=[guess]),
        task(skipped, number=13),
        task(number=14, predictions=[guess]),
    ]

    records = list(label_studio.read(export(tmp_path, *tasks)))

    # Tasks 13 and 14 have no label of a person.
    assert [record.id for record in records] == ["12"]
    assert joint(records[0], "head") == [39.5, 9.5, 1]


def test_json_min_has_the_newest_annotation_first(tmp_path):
    point = {"x": 50, "y": 50, "width": 0.5, "keypointlabels": ["head"], **SIZE}
    path = tmp_path / "min.json"
    one = {"image": "/data/upload/1/0123abcd-photo.jpg", "id": 3, "annotator": 1}
    path.write_text(json.dumps([{**one, "kp": [point], "annotation_id": 9}]))

    (record,) = label_studio.read(path)

    assert record.id == "3"
    assert joint(record, "head") == [99.5, 49.5, 1]
    assert record.image.path == tmp_path / "photo.jpg"


@pytest.mark.parametrize(
    ("reference", "there", "expected"),
    [
        ("/data/upload/1/0123abcd-photo.jpg", [], "photo.jpg"),
        ("/data/upload/1/0123abcd-photo.jpg", ["photo.jpg"], "photo.jpg"),
        (
            "/data/upload/1/0123abcd-photo.jpg",
            ["photo.jpg", "0123abcd-photo.jpg"],
            "0123abcd-photo.jpg",
        ),
        ("/data/local-files/?d=set%201/a%26b.jpg", [], "set 1/a&b.jpg"),
        ("/data/local-files/?d=/set/a.jpg", ["a.jpg"], "set/a.jpg"),
        ("https://host.org/x/a%20b.jpg?size=2", [], "a b.jpg"),
        ("s3://bucket/x/a.jpg", ["x/a.jpg", "a.jpg"], "x/a.jpg"),
        ("s3://bucket/x/a.jpg", [], "a.jpg"),
        ("x/a.jpg", ["x/a.jpg"], "x/a.jpg"),
    ],
)
def test_pictures_are_found_by_what_the_task_says(tmp_path, reference, there, expected):
    images = tmp_path / "pictures"
    for name in there:
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        (images / name).touch()
    path = export(tmp_path, task(annotation(*WRISTS), image=reference))

    (record,) = label_studio.read(path, images)

    assert record.image == ImageRef(images / expected)


def test_labels_go_by_a_joint_map(tmp_path):
    (tmp_path / "map.toml").write_text(
        '[joints]\nhead = ["Neck", "Top"]\nleft_knee = "K1"\nright_knee = "K2"\n'
    )
    names = {"Neck": 10, "Top": 20, "K1": 30, "K2": 40}
    points = [keypoint(name, x, 50) for name, x in names.items()]
    path = export(tmp_path, task(annotation(*points)))

    (record,) = label_studio.read(path, joint_map=tmp_path / "map.toml")

    assert joint(record, "head") == [29.5, 49.5, 1]  # the middle of 19.5 and 39.5
    assert joint(record, "right_knee") == [79.5, 49.5, 1]
    assert record.head_rule == "mid"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[joints]\nnose = "Neck"\n', "must map head, .*Received: 'nose'"),
        ('[joints]\nleft_knee = "Neck"\n', "both sides or none"),
        ('[joints]\nhead = "Nose"\n', "points of the data, Neck.*Received: 'Nose'"),
        ("[joints", "must be a TOML file"),
    ],
)
def test_a_joint_map_that_does_not_fit_is_refused(tmp_path, text, message):
    (tmp_path / "map.toml").write_text(text)
    path = export(tmp_path, task(annotation(keypoint("Neck", 10, 10))))

    with pytest.raises(InputError, match=message) as error:
        list(label_studio.read(path, joint_map=tmp_path / "map.toml"))

    assert str(tmp_path / "map.toml") in str(error.value)
    assert "\n" not in str(error.value)


GOOD = keypoint("head", 10, 10)


@pytest.mark.parametrize(
    ("bad", "name", "reason", "detail"),
    [
        (
            task(annotation(GOOD, keypoint("head", 20, 10)), number=5),
            "5",
            "several_people_without_boxes",
            "'head' is there twice: every person needs a box",
        ),
        (
            task(
                annotation(
                    keypoint("head", 1, 1, parentID="a"),
                    keypoint("head", 2, 1, parentID="a"),
                ),
                number=5,
            ),
            "5/a",
            "keypoint_twice",
            "'head' is twice in box a",
        ),
        (
            task(annotation(GOOD, keypoint("head", 2, 1, parentID="a")), number=5),
            "5",
            "keypoint_without_box",
            "1 keypoints are in no box",
        ),
        (
            task(annotation(keypoint("head", 101, 10)), number=5),
            "5",
            "wrong_per_cent",
            "from 0 to 100 per cent. Received: 101, 10",
        ),
        (
            task(annotation(keypoint("head", float("nan"), 10)), number=5),
            "5",
            "wrong_per_cent",
            "Received: nan, 10",
        ),
        (
            task(annotation(keypoint("head", "10", None)), number=5),
            "5",
            "wrong_per_cent",
            "Received: '10', None",
        ),
        (
            task(annotation(keypoint("head", 10**400, 1)), number=5),
            "5",
            "wrong_per_cent",
            "from 0 to 100 per cent",
        ),
        (
            task(annotation(GOOD), image="http://[half/a.jpg", number=5),
            "5",
            "no_picture",
            "must be a URL or a path: Invalid IPv6 URL",
        ),
        (
            task(annotation(GOOD), image="data:image/png;base64,AA", number=5),
            "5",
            "no_picture",
            "is inside the task",
        ),
        (
            task(annotation({**GOOD, "original_width": None}), number=5),
            "5",
            "no_picture_size",
            "Received: (None, 100)",
        ),
        (
            task(annotation({**GOOD, "original_height": 0}), number=5),
            "5",
            "no_picture_size",
            "Received: (200, 0)",
        ),
        (
            task(annotation({**GOOD, "image_rotation": 90}), number=5),
            "5",
            "picture_turned",
            "image_rotation 90",
        ),
        (
            task(
                annotation({**GOOD, "value": {"x": 1, "y": 1, "keypointlabels": []}}),
                number=5,
            ),
            "5",
            "wrong_label",
            "Received: none",
        ),
        (
            task(annotation(GOOD), number=5, data={"text": "no picture"}),
            "5",
            "no_picture",
            "data must have an image",
        ),
        ({**task(annotation(GOOD)), "id": None}, "#1", "wrong_structure", "an id"),
        ("task", "#1", "wrong_structure", "Received: 'task'"),
    ],
)
def test_a_bad_task_is_named_and_the_rest_goes_on(tmp_path, bad, name, reason, detail):
    tasks = (task(annotation(GOOD)), bad, task(annotation(GOOD), number=20))
    path = export(tmp_path, *tasks)

    first, wrong, last = label_studio.read(path)

    assert (first.id, last.id) == ("12", "20")
    assert isinstance(wrong, BadRecord)
    assert (wrong.id, wrong.source) == (name, "label_studio/project-1")
    assert wrong.reason == reason
    assert detail in wrong.detail
    assert wrong.detail.startswith(f"{path}: task {name}: ")


@pytest.mark.parametrize("name", ["x" * 5000, "a\0.jpg", "\ud800.jpg"])
def test_a_name_that_no_file_can_have_is_an_absent_picture(tmp_path, name):
    path = export(tmp_path, task(annotation(GOOD), image=name))

    (record,) = label_studio.read(path)

    assert record.image.path == tmp_path / name


def test_a_picture_too_wide_is_reported_by_the_caller(tmp_path):
    path = export(tmp_path, task(annotation({**GOOD, "original_width": 1e308})))

    (record,) = label_studio.read(path)

    assert record.defect() == "non_finite_joint"


def test_a_task_that_is_there_twice_keeps_its_id(tmp_path):
    path = export(tmp_path, task(annotation(GOOD)), task(annotation(GOOD)))

    assert [record.id for record in label_studio.read(path)] == ["12", "12"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected a JSON file"),
        (b"{", "must be a JSON file"),
        (b"\xff\xfe[\x00]\x00", "must be a JSON file"),
        (b"[" * 100000, "must be a JSON file"),
        (b"[]", "a list of tasks. Received: \\[\\]"),
        (b'{"tasks": []}', "a list of tasks"),
        (b'[1, {"id": 1, "data": {}, "annotations": 3}]', "type keypointlabels"),
        (
            json.dumps([task(annotation(keypoint("hat", 1, 1)))]).encode(),
            "at least one",
        ),
        (
            json.dumps(
                [task(annotation(keypoint("head", 1, 1), keypoint("Head", 2, 1)))]
            ).encode(),
            "every keypoint once. Received twice: 'head'",
        ),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "x.json"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(InputError, match=message) as error:
        list(label_studio.read(path))

    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


# Suspects out and back.


def person(folder: Path, name="im1", picture="a&b 1.jpg", shown=1) -> PersonRecord:
    joints = np.ones((13, 3), np.float32)
    joints[:, 0] = 10 + 7.123 * np.arange(13)
    joints[:, 1] = 20 + 3.3 * np.arange(13)
    joints[5] = 0  # left elbow: never labelled
    joints[12, :2] = 203.25, 99.75  # left ankle: outside the picture
    visible = np.full(13, shown, np.int8)
    visible[3] = 0  # right wrist
    image = ImageRef(folder / "set" / picture)
    return PersonRecord(name, image, joints, visible, "lsp", name, "train")


def suspect(folder: Path, name="im1", **more) -> Suspect:
    return Suspect(person(folder, name, **more), 200, 100, "legs look swapped", 0.8)


def written(folder: Path, *people) -> list:
    label_studio.write(folder / "out.json", people, folder)
    return json.loads((folder / "out.json").read_text())


def submitted(tasks: list) -> list:
    """What Label Studio exports after a person submitted every task unchanged.

    The regions move from the prediction to an annotation and get an origin; the task
    gets numbers and times.
    """
    return [
        {
            **task(annotation(*one["predictions"][0]["result"]), number=number),
            "data": one["data"],
            "predictions": [],
        }
        for number, one in enumerate(tasks, start=40)
    ]


def regions(one: dict) -> list:
    return one["annotations"][0]["result"]


def back(folder: Path, tasks: list) -> dict:
    return corrections.read(export(folder, *tasks))


def same(correction, record) -> bool:
    return np.array_equal(correction.joints, record.joints) and np.array_equal(
        correction.visible, record.visible
    )


@pytest.mark.parametrize("shown", [1, 0, -1])
def test_what_nobody_changed_comes_back_exactly(tmp_path, shown):
    people = [suspect(tmp_path, name, shown=shown) for name in ("im1", "im2")]
    tasks = written(tmp_path, *people)

    for export_of in (tasks, submitted(tasks)):
        found = back(tmp_path, export_of)
        assert list(found) == [("lsp", "im1"), ("lsp", "im2")]
        assert all(same(found["lsp", p.record.id], p.record) for p in people)
    assert found["lsp", "im1"].joints.dtype == np.float32
    assert found["lsp", "im1"].visible.dtype == np.int8


def test_a_task_says_what_a_person_needs(tmp_path):
    (one,) = written(tmp_path, suspect(tmp_path))

    assert one["data"] == {
        "image": "/data/local-files/?d=set/a%26b%201.jpg",
        "kpose_reason": "legs look swapped",
        "kpose_score": 0.8,
        "kpose_source": "lsp",
        "kpose_id": "im1",
        "kpose_joints": corrections.remember(suspect(tmp_path).record),
    }
    assert "annotations" not in one  # not finished before a person looked at it
    box, *points = one["predictions"][0]["result"]
    assert box["id"] == "person"
    # Joints from (10, 20) to (203.25, 99.75), the box 1.2 times as large, cut off at
    # the picture's edges.
    assert box["value"]["x"] == 0
    assert box["value"]["x"] + box["value"]["width"] == pytest.approx(100)
    assert box["value"]["y"] == pytest.approx(60.375 - 1.2 * 79.75 / 2, abs=1e-4)
    labels = [p["value"].get("keypointlabels", ["-"])[0] for p in points]
    assert sorted(labels) == sorted({*BODY_13.names} - {"left_elbow"} | {"-"})
    assert labels[4] == "-"  # the mark of the right wrist follows it
    assert points[4]["id"] == "right_wrist"
    assert points[4]["value"]["choices"] == ["hidden"]
    assert all(p.get("parentID", "person") == "person" for p in points)
    head = points[0]["value"]
    assert (head["x"], head["y"]) == pytest.approx((100 * 10.5 / 200, 20.5))
    # Label Studio refuses points outside the picture.
    assert points[-1]["value"]["x"] == points[-1]["value"]["y"] == 100


def test_the_round_trip_of_a_moved_joint_is_a_thousandth_of_a_pixel(tmp_path):
    tasks = submitted(written(tmp_path, suspect(tmp_path)))
    ankle = regions(tasks[0])[-1]["value"]
    head = regions(tasks[0])[1]["value"]
    head["x"], ankle["x"] = 100 * (77.7 + 0.5) / 200, 50

    found = back(tmp_path, tasks)["lsp", "im1"]

    before = suspect(tmp_path).record.joints
    np.testing.assert_allclose(found.joints[0], [77.7, 20, 1], atol=1e-3)
    # Dragged into the picture: y is the edge where it was shown, not where it was.
    np.testing.assert_allclose(found.joints[12], [99.5, 99.5, 1], atol=1e-3)
    assert np.array_equal(found.joints[1:12], before[1:12])


def test_joints_are_added_removed_hidden_and_shown(tmp_path):
    tasks = submitted(written(tmp_path, suspect(tmp_path, shown=-1)))
    result = regions(tasks[0])
    kept = [one for one in result if one["id"] != "head" and one["type"] != "choices"]
    new = {**keypoint("left_elbow", 50, 50), "id": "Xy12"}
    tasks[0]["annotations"][0]["result"] = [*kept, new, choice("left_hip", "hidden")]

    found = back(tmp_path, tasks)["lsp", "im1"]

    rows = dict(zip(BODY_13.names, found.joints.tolist(), strict=True))
    shown = dict(zip(BODY_13.names, found.visible.tolist(), strict=True))
    assert rows["head"] == [0, 0, 0]
    assert rows["left_elbow"] == [99.5, 49.5, 1]
    assert (shown["left_hip"], shown["right_wrist"], shown["left_knee"]) == (0, 1, -1)


@pytest.mark.parametrize("how", ["choice", "no region", "no keypoint"])
def test_a_person_is_removed(tmp_path, how):
    tasks = submitted(written(tmp_path, suspect(tmp_path)))
    result = regions(tasks[0])
    if how == "choice":
        value = {"choices": ["not a person"]}
        verdict = {"id": "v1", "from_name": "verdict", "type": "choices"}
        result.append({**verdict, "to_name": "image", "value": value})
    else:
        del result[how == "no keypoint" :]

    assert back(tmp_path, tasks)["lsp", "im1"].joints is None


def test_skipped_tasks_and_strangers_are_left_alone(tmp_path):
    tasks = submitted(written(tmp_path, suspect(tmp_path), suspect(tmp_path, "im2")))
    tasks[1]["annotations"][0]["was_cancelled"] = True

    found = back(tmp_path, [*tasks, task(annotation(GOOD), number=1), "text"])

    assert list(found) == [("lsp", "im1")]


def test_numbers_that_a_person_edited_in_the_data_do_not_matter(tmp_path):
    tasks = submitted(written(tmp_path, suspect(tmp_path)))
    tasks[0]["data"]["kpose_joints"] = "1,2;3"

    found = back(tmp_path, tasks)["lsp", "im1"]

    before = suspect(tmp_path).record.joints
    np.testing.assert_allclose(found.joints[:12], before[:12], atol=1e-4)
    assert found.visible.tolist() == [1, 1, 1, 0, *[1] * 9]


def spoil(how: str, tasks: list) -> None:
    result = regions(tasks[0])
    if how == "label":
        result[1]["value"]["keypointlabels"] = ["hat"]
    elif how == "twice":
        result.append({**result[1], "id": "again"})
    elif how == "size":
        del result[1]["original_width"]
    elif how == "number":
        result[1]["value"]["x"] = None
    elif how == "duplicate":
        tasks.append({**tasks[0], "id": 99})
    else:
        del tasks[0]["data"]["kpose_id"]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("label", "task 40 \\(lsp im1\\): a keypoint must be one of.*'hat'"),
        ("twice", "task 40 \\(lsp im1\\): 'head' is there twice"),
        ("size", "original_width and original_height must be pixels"),
        ("number", "must be numbers.*Received: None"),
        ("duplicate", "every person once. Received twice: lsp im1"),
        ("identity", "must have kpose_source and kpose_id"),
    ],
)
def test_corrections_that_are_not_clear_are_refused(tmp_path, how, message):
    tasks = submitted(written(tmp_path, suspect(tmp_path)))
    spoil(how, tasks)

    with pytest.raises(InputError, match=message) as error:
        back(tmp_path, tasks)

    assert str(tmp_path / "project-1.json") in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected corrections at"),
        (b"", "JSON of Label Studio or XML of CVAT. Received: b''"),
        (b"PK\x03\x04", "a ZIP archive: unpack it first"),
        (b"a,b\n", "JSON of Label Studio or XML of CVAT"),
        (b"[1", "must be a JSON file"),
    ],
)
def test_other_files_are_no_corrections(tmp_path, content, message):
    path = tmp_path / "x"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(InputError, match=message) as error:
        corrections.read(path)

    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_is_no_correction(tmp_path):
    with pytest.raises(InputError, match="must be a file of corrections"):
        corrections.read(tmp_path)


def test_the_set_up_has_the_names_that_tasks_use(tmp_path):
    view = ElementTree.fromstring(label_studio.config())
    (one,) = written(tmp_path, suspect(tmp_path))

    controls = {e.get("name"): e for e in view if e.get("toName") == "image"}
    for region in one["predictions"][0]["result"]:
        values = {e.get("value") for e in controls[region["from_name"]]}
        assert set(region["value"][region["type"]]) <= values
        assert controls[region["from_name"]].tag.lower() == region["type"]
    labels = [e.get("value") for e in controls["joint"]]
    assert labels == list(BODY_13.names)
    shown = {e.get("value") for e in view if e.tag in ("Header", "Image")}
    assert shown == {"$image", "$kpose_reason"}
    assert shown <= {f"${name}" for name in one["data"]}


@pytest.mark.parametrize(
    ("image", "size", "message"),
    [
        (ImageRef(Path("a.mp4"), frame=3), (200, 100), "frames of a video.*a.mp4"),
        (ImageRef(Path("a.jpg"), mirrored=True), (200, 100), "mirrored pictures"),
        (ImageRef(Path("a.jpg")), (0, 100), "at least 1 pixel.*0 x 100 for lsp im1"),
    ],
)
def test_only_pictures_can_be_corrected(image, size, message):
    joints, visible = np.zeros((13, 3), np.float32), np.zeros(13, np.int8)
    record = PersonRecord("im1", image, joints, visible, "lsp", "im1", "train")

    with pytest.raises(InputError, match=message):
        Suspect(record, *size, "why", 1.0)


def test_pictures_must_be_in_the_document_root(tmp_path):
    with pytest.raises(InputError, match=r"must be in .*other.*a&b 1\.jpg for lsp im1"):
        label_studio.write(
            tmp_path / "out.json", [suspect(tmp_path)], tmp_path / "other"
        )

    assert not (tmp_path / "out.json").exists()
