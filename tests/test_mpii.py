"""The reader of MPII, on tiny files in the structure of each of its forms."""

import json
import math
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from kpose.errors import InputError
from kpose.joints import BODY_13
from kpose.records import BadRecord
from kpose_datasets import mpii

DATA = Path(os.environ.get("KPOSE_DATA", Path(__file__).parents[2] / "shared" / "data"))

MAT = "mpii_human_pose_v1_u12_1.mat"

ORDER = (
    "right_ankle right_knee right_hip left_hip left_knee left_ankle pelvis thorax "
    "upper_neck head_top right_wrist right_elbow right_shoulder left_shoulder "
    "left_elbow left_wrist"
).split()
"""The 16 points, as MPII's README lists their ids."""

EMPTY, ONES = np.zeros((0, 0)), np.ones((2, 2))


def points(x: float = 0) -> list[list[float]]:
    """Point i lies at pixel (10 i + x, 100 + i) that counts from 0; as stored: + 1."""
    return [[10.0 * row + x + 1, 101.0 + row] for row in range(16)]


def structs(rows: list[dict]) -> np.ndarray:
    """A MATLAB struct array; a field that a row has not is empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    array = np.zeros(len(rows), [(name, object) for name in names])
    for at, row in enumerate(rows):
        for name in names:
            array[name][at] = row.get(name, EMPTY)
    return array


def mat_points(chosen=range(16), x: float = 0, **visible) -> dict:
    rows = []
    for row in chosen:
        px, py = points(x)[row]
        # Neck and head top have no flag in the official file.
        flag = EMPTY if row in (8, 9) else 1.0
        flag = visible.get(ORDER[row], flag)
        rows.append({"x": px, "y": py, "id": float(row), "is_visible": flag})
    return {"point": structs(rows)}


def rectangle(annopoints=None, **more) -> dict:
    head = {"x1": 10.0, "y1": 20.0, "x2": 40.0, "y2": 60.0}
    where = {"scale": 2.5, "objpos": {"x": 50.0, "y": 60.0}}
    given = {} if annopoints is None else {"annopoints": annopoints}
    return {**head, **given, **where, **more}


def write_mat(root: Path, pictures: dict[str, list[dict]], train=None) -> Path:
    annolist = [
        {
            "image": {"name": name},
            "annorect": structs(people) if people else EMPTY,
            "frame_sec": 12.0,
            "vididx": 3.0,
        }
        for name, people in pictures.items()
    ]
    release = {
        "annolist": structs(annolist),
        "img_train": np.array(train or [1] * len(annolist)),
        "version": "12",
        "single_person": np.array([1.0] * len(annolist)),
    }
    scipy.io.savemat(root / MAT, {"RELEASE": release})
    return root


def joint(record, name):
    return record.joints[BODY_13.names.index(name)].tolist()


def shown(record, name):
    return record.visible[BODY_13.names.index(name)]


def assert_all_joints(record, x: float = 0):
    for row, name in enumerate(ORDER):
        if name in BODY_13.names:
            assert joint(record, name) == [10 * row + x, 100 + row, 1], name
    # Between neck (80, 108) and head top (90, 109).
    assert joint(record, "head") == [85 + x, 108.5, 1]
    assert record.head_rule == "mid"
    assert record.source == "mpii"
    assert record.box is None
    assert record.recording == ""


def test_the_official_file_is_read_by_id_and_from_1(tmp_path):
    # Backwards: who goes by the position of a point has all of them wrong.
    backwards = rectangle(mat_points(range(15, -1, -1)))
    write_mat(tmp_path, {"0001.jpg": [backwards, rectangle(mat_points(x=5))]})

    first, second = mpii.read(tmp_path)

    assert_all_joints(first)
    assert_all_joints(second, 5)
    assert (first.id, second.id) == ("0001/1", "0001/2")
    assert first.group == second.group == "0001.jpg"
    assert first.image.path == tmp_path / "images" / "0001.jpg"
    assert first.split == "train"
    # The head box is 30 x 40.
    assert first.head_size == pytest.approx(0.6 * 50)


@pytest.mark.parametrize(
    ("flag", "expected"),
    [("0", 0), ("1", 1), (0.0, 0), (1.0, 1), (False, 0), (np.uint8(0), 0), (EMPTY, 1)],
    ids=["character 0", "character 1", "0", "1", "logical", "uint8", "empty"],
)
def test_only_0_says_occluded_and_is_annotated(tmp_path, flag, expected):
    people = [rectangle(mat_points(left_wrist=flag, upper_neck=flag))]

    (record,) = mpii.read(write_mat(tmp_path, {"a.jpg": people}))

    assert shown(record, "left_wrist") == shown(record, "head") == expected
    assert shown(record, "right_wrist") == 1
    assert_all_joints(record)


def test_points_without_any_flag_are_visible(tmp_path):
    rows = [{"x": x, "y": y, "id": float(row)} for row, (x, y) in enumerate(points())]

    (record,) = mpii.read(
        write_mat(tmp_path, {"a.jpg": [rectangle({"point": structs(rows)})]})
    )

    assert set(record.visible.tolist()) == {1}


def test_points_that_are_not_there_are_not_annotated(tmp_path):
    people = [rectangle(mat_points([ORDER.index("left_knee"), 9]))]

    (record,) = mpii.read(write_mat(tmp_path, {"a.jpg": people}))

    assert joint(record, "left_knee") == [40, 104, 1]
    assert record.joints[:, 2].sum() == 1  # a head needs its neck too
    assert joint(record, "head") == [0, 0, 0]
    assert shown(record, "head") == shown(record, "right_knee") == -1


def test_rectangles_without_points_are_counted_and_the_rest_goes_on(tmp_path):
    pictures = {
        "train.jpg": [rectangle(), rectangle(mat_points())],
        "nobody.jpg": [],
        "test.jpg": [{"scale": 2.0, "objpos": {"x": 1.0, "y": 2.0}}],
        "labelled.jpg": [rectangle(mat_points([3]), x1=EMPTY)],
    }
    write_mat(tmp_path, pictures, [1, 1, 0, 0])

    labels = list(mpii.read(tmp_path))

    ids = [label.id for label in labels]
    assert ids == ["train/1", "train/2", "test/1", "labelled/1"]
    bad = [label for label in labels if isinstance(label, BadRecord)]
    assert [label.id for label in bad] == ["train/1", "test/1"]
    assert {label.reason for label in bad} == {"no_annotation"}
    assert str(tmp_path / MAT) in bad[1].detail
    assert "annolist(3).annorect(1) of test.jpg" in bad[1].detail
    assert [labels[1].split, labels[3].split] == ["train", "test"]
    assert labels[3].head_size == 0


@pytest.mark.parametrize(
    ("point", "reason"),
    [
        ({"x": 1.0, "y": 2.0, "id": 16.0}, "point_out_of_range"),
        ({"x": 1.0, "y": 2.0, "id": -1.0}, "point_out_of_range"),
        ({"x": 1.0, "y": 2.0, "id": 0.0}, "point_twice"),
        ({"x": 1.0, "y": EMPTY, "id": 3.0}, "wrong_points"),
        ({"x": 1.0, "y": 2.0, "id": "knee"}, "wrong_points"),
    ],
    ids=["16", "negative", "twice", "no y", "text"],
)
def test_wrong_points_are_bad_records(tmp_path, point, reason):
    good = {"x": 1.0, "y": 2.0, "id": 0.0}
    people = [rectangle({"point": structs([good, point])}), rectangle(mat_points())]

    bad, record = mpii.read(write_mat(tmp_path, {"a.jpg": people}))

    assert (bad.reason, bad.id) == (reason, "a/1")
    assert str(tmp_path / MAT) in bad.detail
    assert "\n" not in bad.detail
    assert_all_joints(record)


@pytest.mark.parametrize("value", [1e300, np.inf])
def test_numbers_too_large_are_reported_by_the_caller(tmp_path, value):
    given = mat_points()
    given["point"]["x"][8], given["point"]["x"][9] = value, -value
    given["point"]["x"][12] = value

    (record,) = mpii.read(write_mat(tmp_path, {"a.jpg": [rectangle(given, x1=value)]}))

    assert record.defect() == "non_finite_joint"
    assert record.head_size == 0


def test_an_image_without_a_name_and_one_that_comes_twice(tmp_path):
    write_mat(tmp_path, {"a.jpg": [rectangle(mat_points())]})
    release = scipy.io.loadmat(tmp_path / MAT)["RELEASE"]
    annolist = release["annolist"][0, 0]
    twice = np.concatenate([annolist, annolist, annolist], axis=1)
    twice[0, 2] = twice[0, 2].copy()
    twice[0, 2]["image"] = {"name": ""}
    scipy.io.savemat(
        tmp_path / MAT, {"RELEASE": {"annolist": twice, "img_train": [1, 1, 1]}}
    )

    labels = list(mpii.read(tmp_path))

    # The caller skips the second one as "duplicate_id".
    assert [label.id for label in labels] == ["a/1", "a/1", "annolist(3)"]
    assert labels[2].reason == "missing_field"


def test_non_finite_coordinates_are_left_to_the_defect(tmp_path):
    rows = [{"x": np.nan, "y": 2.0, "id": 0.0, "is_visible": 1.0}]

    (record,) = mpii.read(
        write_mat(tmp_path, {"a.jpg": [rectangle({"point": structs(rows)})]})
    )

    assert record.defect() == "non_finite_joint"


def write_json(path: Path, people) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(people))
    return path


def hrnet(image: str = "a.jpg", **more) -> dict:
    return {
        "image": image,
        "joints": points(),
        "joints_vis": [1] * 16,
        "center": [50.0, 60.0],
        "scale": 2.5,
        **more,
    }


def test_hrnet_json(tmp_path):
    hidden = points()
    hidden[0] = [-1.0, -1.0]
    hidden[1] = [0.0, 0.0]
    hidden[10] = [-4.0, 50.0]
    flags = [0, 0, 0] + [1] * 13
    people = [hrnet(), hrnet("b.jpg"), hrnet(joints=hidden, joints_vis=flags)]
    path = write_json(tmp_path / "annot" / "valid.json", people)

    first, second, third = mpii.read(path)

    assert_all_joints(first)
    # 1 is said of joints that are occluded in the official file, too.
    assert set(first.visible.tolist()) == {-1}
    # Persons of one picture follow each other.
    assert [first.id, second.id, third.id] == ["a/1", "a/2", "b/1"]
    assert joint(second, "right_ankle") == joint(second, "right_knee") == [0, 0, 0]
    assert joint(second, "right_hip") == [20, 102, 1]
    assert shown(second, "right_hip") == 0
    # Annotated left of the picture: a flag of 1 counts.
    assert joint(second, "right_wrist") == [-5, 49, 1]
    assert first.split == "val"
    assert first.head_size == 0
    assert first.image.path == tmp_path / "images" / "a.jpg"


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.json", "train"),
        ("trainval.json", "train"),
        ("mpii_validation.json", "val"),
        ("test_mpii.json", "test"),
        ("other.json", "train"),
    ],
)
def test_the_name_of_a_conversion_says_the_split(tmp_path, name, split):
    (record,) = mpii.read(write_json(tmp_path / name, [hrnet()]))

    assert record.split == split


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"joints": points()[:15]}, "wrong_number_of_points"),
        ({"joints": [["a", "b"]] * 16}, "wrong_points"),
        ({"joints": [[1, 2]] * 15 + [[1]]}, "wrong_points"),
        ({"joints": [[10**400, 2]] * 16}, "wrong_points"),
        ({"joints_vis": [10**400] * 16}, "wrong_points"),
        ({"joints_vis": [1] * 15}, "wrong_number_of_points"),
        ({"joints_vis": None}, "wrong_number_of_points"),
        ({"image": 7}, "missing_field"),
        ({"image": ""}, "missing_field"),
    ],
)
def test_bad_records_of_json_name_file_and_record(tmp_path, change, reason):
    path = write_json(tmp_path / "train.json", [hrnet("b.jpg"), hrnet(**change)])

    good, bad = mpii.read(path)

    assert_all_joints(good)
    assert (bad.reason, bad.source) == (reason, "mpii")
    assert f"{path}: record 1" in bad.detail


def test_a_person_without_joints_in_json(tmp_path):
    unlabelled = hrnet("b.jpg")
    del unlabelled["joints"]
    nothing = hrnet("c.jpg", joints=[[0, 0]] * 16, joints_vis=[0] * 16)
    path = write_json(tmp_path / "train.json", [hrnet(), unlabelled, nothing, 5])

    good, bad, empty, other = mpii.read(path)

    assert good.defect() is None
    assert (bad.id, bad.reason) == ("b/1", "no_annotation")
    assert empty.defect() == "no_joints"
    assert not empty.joints.any()
    assert (other.id, other.reason) == ("record_3", "missing_field")


def cpm(image: str = "a.jpg", **more) -> dict:
    return {
        "dataset": "MPI",
        "isValidation": 0.0,
        "img_paths": image,
        "objpos": [50.0, 60.0],
        "joint_self": [[x, y, 1.0] for x, y in points()],
        "scale_provided": 2.5,
        "joint_others": [[1.0, 1.0, 1.0]] * 16,
        "people_index": 2.0,
        "annolist_index": 5.0,
        "numOtherPeople": 1.0,
        **more,
    }


def test_cpm_json_only_0_0_0_is_missing_and_others_have_their_own_records(tmp_path):
    labels = [[x, y, 1.0] for x, y in points()]
    labels[ORDER.index("left_wrist")][2] = 0
    labels[ORDER.index("right_ankle")] = [0.0, 0.0, 0.0]
    people = [cpm(joint_self=labels), cpm(isValidation=1.0, people_index=4)]
    path = write_json(tmp_path / "mpii_annotations.json", people)

    first, second = mpii.read(path)

    assert joint(first, "left_wrist") == [150, 115, 1]
    assert shown(first, "left_wrist") == 0
    assert shown(first, "left_elbow") == 1
    assert joint(first, "right_ankle") == [0, 0, 0]
    assert shown(first, "right_ankle") == -1
    assert_all_joints(second)
    assert (first.split, second.split) == ("train", "val")
    assert (first.id, second.id) == ("a/2", "a/4")


def test_cpm_json_in_an_object_root_and_of_other_data_sets(tmp_path):
    people = {"root": [cpm(), cpm("b.jpg", dataset="LEEDS")]}

    good, bad = mpii.read(write_json(tmp_path / "mpi.json", people))

    assert_all_joints(good)
    assert (bad.id, bad.reason) == ("b/2", "other_data_set")


def write_h5(path: Path, persons: int = 3, **more) -> Path:
    part = np.stack([points(row) for row in range(persons)])
    arrays = {
        "imgname": np.array([b"a.jpg", b"b.jpg", b"a.jpg"][:persons]),
        "part": part,
        "visible": np.ones((persons, 16)),
        "center": np.zeros((persons, 2)),
        "scale": np.ones(persons),
        "normalize": np.array([30.0, 31.0, 32.0][:persons]),
        "person": np.array([0.0, 0.0, 1.0][:persons]),
        **more,
    }
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            if value is not None:
                file[name] = value
    return path


def test_hourglass_h5(tmp_path):
    part = np.stack([points(row) for row in range(3)])
    part[0, 0] = 0
    part[0, 1] = [0, 50]
    visible = np.ones((3, 16))
    visible[0, [0, 15]] = 0
    write_h5(tmp_path / "valid.h5", part=part, visible=visible)

    first, third, second = mpii.read(tmp_path)

    assert joint(first, "right_ankle") == [0, 0, 0]
    assert shown(first, "right_ankle") == -1
    # Only both zero is missing: this one lies at the edge of the picture.
    assert joint(first, "right_knee") == [-1, 49, 1]
    assert joint(first, "left_wrist") == [150, 115, 1]
    assert shown(first, "left_wrist") == 0
    assert_all_joints(second, 1)
    assert_all_joints(third, 2)
    assert [first.id, second.id, third.id] == ["a/1", "b/1", "a/2"]
    assert [first.head_size, third.head_size] == [30, 32]
    assert first.split == "val"


@pytest.mark.parametrize("stored", ["codes", "bytes", "text", "none", "blank"])
def test_names_of_hourglass_files_in_every_form(tmp_path, stored):
    codes = np.zeros((3, 16))
    for row, name in enumerate(("a.jpg", "b.jpg", "a.jpg")):
        codes[row, : len(name)] = [ord(letter) for letter in name]
    names = {
        "codes": codes,
        "bytes": np.array([b"a.jpg\0\0\0", b"b.jpg", b"a.jpg"]),
        "text": ["a.jpg", "b.jpg", "a.jpg"],
        "none": None,
        "blank": np.zeros((3, 16)),
    }
    write_h5(tmp_path / "train.h5", imgname=names[stored], person=None)
    if stored in ("none", "blank"):
        (tmp_path / "train_images.txt").write_text("a.jpg\nb.jpg\na.jpg\n")

    records = list(mpii.read(tmp_path / "train.h5"))

    assert [record.id for record in records] == ["a/1", "a/2", "b/1"]
    assert_all_joints(records[2], 1)


def test_a_person_may_have_any_number(tmp_path):
    people = [hrnet(people_index=number) for number in (1.0, 2, 10**400)]

    ids = [record.id for record in mpii.read(write_json(tmp_path / "a.json", people))]

    assert ids == ["a/1", "a/2", f"a/{10**400}"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"part": None}, r"part of shape \(persons, 16, 2\)"),
        ({"part": np.zeros((3, 11, 2))}, r"\(persons, 16, 2\).*\(3, 11, 2\)"),
        ({"visible": np.ones((3, 11))}, r"visible must have shape \(3, 16\)"),
        ({"imgname": np.array([b"a.jpg", b"b.jpg"])}, r"imgname .*\(3,\).*\(2,\)"),
        ({"imgname": np.array([b"\xff.jpg"] * 3)}, "text in imgname"),
        ({"imgname": None}, r"train_images\.txt"),
        ({"normalize": np.ones(2)}, r"normalize must have shape \(3,\)"),
        ({"person": np.array([b"a"] * 3)}, r"person must have shape \(3,\)"),
    ],
)
def test_wrong_hourglass_files_are_refused_in_one_line(tmp_path, more, message):
    path = write_h5(tmp_path / "train.h5", **more)

    with pytest.raises(InputError, match=message) as error:
        list(mpii.read(path))

    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_csv_lines_of_a_name_and_16_points(tmp_path):
    line = ",".join(str(value) for point in points() for value in point)
    path = tmp_path / "test_joints.csv"
    path.write_text(f"a.jpg,{line}\nb.jpg,{line}\na.jpg,{line},9\na.jpg,{line}\n")

    first, bad, again, other = mpii.read(path)

    assert_all_joints(first)
    assert set(first.visible.tolist()) == {-1}
    assert [first.id, bad.id, again.id, other.id] == ["a/1", "a/2", "a/3", "b/1"]
    assert bad.reason == "wrong_number_of_points"
    assert f"{path}: line 3, a.jpg" in bad.detail
    assert first.split == "test"


def test_the_form_is_found_from_the_content(tmp_path):
    write_h5(tmp_path / "train.h5").rename(tmp_path / "labels.bin")
    write_json(tmp_path / "labels.txt", [hrnet()])
    (tmp_path / "bom.txt").write_text(json.dumps([hrnet()]), encoding="utf-8-sig")
    write_mat(tmp_path, {"a.jpg": [rectangle(mat_points())]})
    (tmp_path / MAT).rename(tmp_path / "labels.dat")

    for name in ("labels.bin", "labels.txt", "bom.txt", "labels.dat"):
        assert_all_joints(next(mpii.read(tmp_path / name)))


def test_a_folder_has_one_label_file_or_the_official_one(tmp_path):
    with pytest.raises(InputError, match="Received: none"):
        list(mpii.read(tmp_path))
    write_json(tmp_path / "train.json", [hrnet(), hrnet()])
    assert len(list(mpii.read(tmp_path))) == 2
    write_json(tmp_path / "valid.json", [hrnet()])
    with pytest.raises(InputError, match=r"train\.json, valid\.json") as error:
        list(mpii.read(tmp_path))
    assert str(tmp_path) in str(error.value)
    write_mat(tmp_path, {"a.jpg": [rectangle(mat_points())]})
    assert len(list(mpii.read(tmp_path))) == 1


def test_where_the_pictures_are(tmp_path):
    path = write_json(tmp_path / "labels" / "train.json", [hrnet()])

    def folder(images=None):
        return next(mpii.read(path, images)).image.path.parent

    assert folder() == tmp_path / "labels" / "images"
    (path.parent / "a.jpg").touch()
    assert folder() == tmp_path / "labels"
    (path.parent / "images").mkdir()
    assert folder() == tmp_path / "labels" / "images"
    assert folder(tmp_path / "else") == tmp_path / "else"


def save(**variables):
    return lambda path: scipy.io.savemat(path, variables)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "expected a label file"),
        (lambda path: path.write_bytes(b""), "Received: 'no line'"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00garbage"), "must be MPII labels"),
        (lambda path: path.write_text("a,1,2\n"), "lines of 33 values"),
        (lambda path: path.write_bytes(b"MATLAB 5.0" + b"x" * 200), "a MATLAB file"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\nx"), "an HDF5 file"),
        (lambda path: path.write_text("[{"), "must be JSON"),
        (lambda path: path.write_bytes(b'["\xff"]'), "must be JSON"),
        (lambda path: path.write_text("[]"), "Received: 0 persons"),
        (lambda path: path.write_text('[{"a": 1}]'), "1 persons with a"),
        (
            lambda path: path.write_text(json.dumps([{"k" * 5000: 1}])),
            r"1 persons with k{200}$",
        ),
        (lambda path: path.write_text('{"images": []}'), "Received: 'images'"),
        (save(joints=np.zeros((3, 14, 2))), "must have a variable 'RELEASE'"),
        (save(RELEASE=np.zeros(3)), "annolist and img_train"),
        (save(RELEASE={"annolist": EMPTY, "img_train": [1]}), "Received: 0 and 1"),
        (
            save(RELEASE={"annolist": structs([{"a": 1}] * 3), "img_train": [1, 0]}),
            "Received: 3 and 2",
        ),
        (
            save(RELEASE={"annolist": structs([{"a": 1}] * 2), "img_train": ONES}),
            r"img_train must be one number .* Received: float64 \(2, 2\)",
        ),
        (
            save(RELEASE={"annolist": structs([{"a": 1}]), "img_train": "yes"}),
            "img_train must be one number",
        ),
    ],
)
def test_wrong_files_are_refused_in_one_line(tmp_path, write, message):
    path = tmp_path / "labels.mat"
    write(path)

    with pytest.raises(InputError, match=message) as error:
        list(mpii.read(path))

    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def needs(*parts: str):
    return pytest.mark.skipif(
        not DATA.joinpath(*parts).exists(),
        reason=f"no {'/'.join(parts)} in {DATA} (set KPOSE_DATA)",
    )


@needs("mpii_sample_reconstructed")
@needs("mmpose_samples", "mpii", "test_mpii.json")
def test_real_mat_and_json_have_the_same_persons():
    mat = list(mpii.read(DATA / "mpii_sample_reconstructed"))
    hrnet = list(mpii.read(DATA / "mmpose_samples" / "mpii" / "test_mpii.json"))

    assert [record.id for record in mat] == [record.id for record in hrnet]
    assert len(mat) == 5
    for one, other in zip(mat, hrnet, strict=True):
        np.testing.assert_array_equal(one.joints, other.joints)
        assert one.image.path.is_file()
        assert other.image.path.is_file()
        # The head box runs from the neck to the top of the head.
        assert math.isfinite(one.head_size)
        assert one.head_size > 0


@pytest.fixture(scope="module")
def hourglass():
    path = DATA / "mpii_annotations" / "valid.h5"
    if not path.is_file():
        pytest.skip(f"no mpii_annotations/valid.h5 in {DATA} (set KPOSE_DATA)")
    return list(mpii.read(path))


def test_real_hourglass_counts(hourglass):
    records = hourglass

    assert len(records) == len({record.id for record in records}) == 2958
    assert len({record.group for record in records}) == 2729
    joints = np.stack([record.joints for record in records])
    names = BODY_13.names
    counts = dict(zip(names, joints[..., 2].sum(axis=0).astype(int), strict=True))
    assert counts["head"] == 2932
    assert counts["left_wrist"] == 2909
    assert counts["right_ankle"] == 2115
    assert {record.split for record in records} == {"val"}
    assert all(record.defect() is None for record in records)
    # Most people face the camera: their right shoulder is on the left.
    both = (joints[:, [1, 4], 2] > 0).all(axis=1)
    assert (joints[both, 1, 0] < joints[both, 4, 0]).mean() > 0.6


@needs("mmpose_samples", "mpii", "test_mpii.json")
def test_real_hourglass_file_agrees_with_json_on_limbs(hourglass):
    persons = {record.id: record for record in hourglass}

    for record in mpii.read(DATA / "mmpose_samples" / "mpii" / "test_mpii.json"):
        other = persons[record.id].joints
        # The hourglass file has no fractions, which only necks and head tops have.
        np.testing.assert_array_equal(record.joints[1:], other[1:])
        np.testing.assert_allclose(record.joints[0], other[0], atol=1)


@needs("mpii_annotations", "test_joints.csv")
def test_real_csv_counts():
    records = list(mpii.read(DATA / "mpii_annotations" / "test_joints.csv"))

    assert len(records) == len({record.id for record in records}) == 1991
    assert len({record.group for record in records}) == 1833
    assert all(record.joints[:, 2].all() for record in records)
