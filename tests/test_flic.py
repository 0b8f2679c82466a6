"""The reader of FLIC, on tiny files of its structures."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from kpose.errors import InputError
from kpose.joints import BODY_13
from kpose.records import BadRecord
from kpose_datasets import flic

DATA = Path(os.environ.get("KPOSE_DATA", Path(__file__).parents[2] / "shared" / "data"))

REAL = DATA / "flic_annotations"

COLUMNS = (
    "left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist "
    "left_hip left_knee left_ankle right_hip right_knee right_ankle left_eye right_eye "
    "left_ear right_ear nose"
).split()
"""The first 17 of the 29 columns of ``coords``."""

H5_ORDER = (
    "left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist "
    "left_hip right_hip left_eye right_eye nose"
).split()

PLACES = {
    **{"left_shoulder": (130, 70), "right_shoulder": (70, 72)},
    **{"left_elbow": (140, 110), "right_elbow": (60, 112)},
    **{"left_wrist": (142, 150), "right_wrist": (58, 152)},
    **{"left_hip": (118, 160), "right_hip": (82, 162)},
    **{"left_eye": (106, 36), "right_eye": (94, 38), "nose": (100, 43)},
}
"""A person who faces the camera, pixels that count from 0."""

HEAD = [100, 39, 1]
"""The mean of both eyes and the nose."""

LIMBS = [name for name in PLACES if name in BODY_13.names]


def other_side(name: str) -> str:
    left = name.startswith("left_")
    swapped = name.removeprefix("left_").removeprefix("right_")
    return name if name == "nose" else f"{'right' if left else 'left'}_{swapped}"


FROM_BEHIND = {name: PLACES[other_side(name)] for name in PLACES}
"""The same places with the sides that are right if the person looks away."""


def example(filepath: str = "film-00000001.jpg", places=PLACES, **more) -> dict:
    """One element of ``examples``: fields in the official order, pixels from 1."""
    coords = np.full((2, 29), np.nan)
    for name, (x, y) in places.items():
        coords[:, COLUMNS.index(name)] = x + 1, y + 1
    return {
        "poselet_hit_idx": np.arange(3.0),
        "moviename": "film",
        "coords": coords,
        "filepath": filepath,
        "imgdims": [480.0, 720.0, 3.0],
        "currframe": 1.0,
        "torsobox": [1.0, 2.0, 3.0, 4.0],
        "istrain": 1.0,
        "istest": 0.0,
        **more,
    }


def write_mat(root: Path, examples: list[dict]) -> Path:
    array = np.zeros((1, len(examples)), [(name, object) for name in examples[0]])
    for at, one in enumerate(examples):
        for name, value in one.items():
            array[name][0, at] = value
    scipy.io.savemat(root / "examples.mat", {"examples": array})
    return root


def write_h5(path: Path, people: list[tuple[str, dict]], **more) -> Path:
    part = np.array([[who[name] for name in H5_ORDER] for _, who in people], float)
    arrays = {
        "imgname": np.array([name.encode() for name, _ in people]),
        "part": part,
        "visible": np.ones(part.shape[:2]),
        "index": np.arange(len(people)),
        "person": np.zeros(len(people), int),
        **more,
    }
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            if value is not None:
                file[name] = value
    return path


def joint(record, name):
    return record.joints[BODY_13.names.index(name)].tolist()


def assert_person(record, places=PLACES):
    for name in LIMBS:
        assert joint(record, name) == [*places[name], 1], name
    assert joint(record, "head") == HEAD
    # Nobody labelled knees and ankles.
    assert record.joints[:, 2].sum() == 9
    assert set(record.visible.tolist()) == {-1}
    assert (record.source, record.head_rule) == ("flic", "face")
    assert record.box is None


def test_examples_mat_goes_by_column_and_from_1(tmp_path):
    examples = [
        example(),
        example("film-00000011.jpg", istrain=0.0, istest=1.0),
        example(),
    ]

    first, third, second = flic.read(write_mat(tmp_path, examples))

    for record in (first, second, third):
        assert_person(record)
    # Persons of one frame follow each other; the index is that of the .h5 files.
    assert [first.id, third.id] == ["film-00000001/0", "film-00000001/2"]
    assert second.id == "film-00000011/1"
    assert (first.split, second.split, third.split) == ("train", "test", "train")
    assert first.group == third.group == "film-00000001.jpg"
    assert first.image.path == tmp_path / "images" / "film-00000001.jpg"
    elsewhere = next(flic.read(tmp_path / "examples.mat", tmp_path / "frames"))
    assert elsewhere.image.path == tmp_path / "frames" / "film-00000001.jpg"


def test_flags_as_logicals_and_as_bytes(tmp_path):
    examples = [
        example(istrain=np.uint8(0), istest=np.uint8(1)),
        example(istrain=False, istest=True),
        example(istrain=np.zeros((0, 0)), istest=np.zeros((0, 0))),
    ]

    records = flic.read(write_mat(tmp_path, examples))

    assert [record.split for record in records] == ["test", "test", "train"]


@pytest.mark.parametrize(
    ("missing", "head"),
    [
        (["nose"], [100, 37, 1]),
        (["left_eye"], [97, 40.5, 1]),
        (["left_eye", "nose"], [0, 0, 0]),
    ],
    ids=["nose", "eye", "nose and eye"],
)
def test_the_head_is_the_mean_of_the_face(tmp_path, missing, head):
    seen = {name: place for name, place in PLACES.items() if name not in missing}

    (record,) = flic.read(write_mat(tmp_path, [example(places=seen)]))

    assert joint(record, "head") == head


def test_nan_is_missing_and_infinity_a_defect(tmp_path):
    no_wrist = {**PLACES, "left_wrist": (np.nan, np.nan)}
    wrong = {**PLACES, "left_wrist": (np.inf, 5)}
    nobody = dict.fromkeys(PLACES, (np.nan, np.nan))
    examples = [example(places=places) for places in (no_wrist, wrong, nobody)]

    first, second, third = flic.read(write_mat(tmp_path, examples))

    assert joint(first, "left_wrist") == [0, 0, 0]
    assert joint(first, "left_elbow") == [140, 110, 1]
    assert second.defect() == "non_finite_joint"
    assert third.defect() == "no_joints"


def test_flic_full_drops_bad_and_unchecked(tmp_path):
    examples = [
        example(isbad=0.0, isunchecked=0.0),
        example(isbad=1.0, isunchecked=0.0),
        example(isbad=0.0, isunchecked=1.0),
    ]

    good, bad, unchecked = flic.read(write_mat(tmp_path, examples))

    assert_person(good)
    assert (bad.id, bad.reason) == ("film-00000001/1", "marked_bad")
    assert (unchecked.id, unchecked.reason) == ("film-00000001/2", "unchecked")
    assert f"{tmp_path / 'examples.mat'}: examples(2)" in bad.detail


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"coords": np.zeros((2, 11))}, "wrong_number_of_points"),
        ({"coords": np.zeros((0, 0))}, "wrong_number_of_points"),
        ({"coords": "text"}, "wrong_number_of_points"),
        ({"filepath": np.zeros((0, 0))}, "missing_field"),
        ({"filepath": ""}, "missing_field"),
    ],
)
def test_bad_examples_name_file_and_record(tmp_path, change, reason):
    labels = list(flic.read(write_mat(tmp_path, [example(), example(**change)])))

    good, bad = labels
    assert_person(good)
    assert isinstance(bad, BadRecord)
    assert bad.reason == reason
    assert f"{tmp_path / 'examples.mat'}: examples(2)" in bad.detail
    assert "\n" not in bad.detail


def test_a_folder_of_h5_files_has_the_sides_of_the_person_centric_ones(tmp_path):
    write_h5(tmp_path / "train.h5", [("a.jpg", PLACES), ("b.jpg", PLACES)])
    write_h5(
        tmp_path / "train_personcentric.h5", [("a.jpg", PLACES), ("b.jpg", FROM_BEHIND)]
    )
    write_h5(tmp_path / "valid.h5", [("c.jpg", PLACES)], index=np.array([2]))

    first, second, test = flic.read(tmp_path)

    assert_person(first)
    assert_person(second, FROM_BEHIND)
    assert_person(test)
    assert [first.id, second.id, test.id] == ["a/0", "b/1", "c/2"]
    # What the file calls validation is FLIC's test set.
    assert [first.split, second.split, test.split] == ["train", "train", "test"]


def test_one_h5_file_is_read_as_it_is(tmp_path):
    write_h5(tmp_path / "train_personcentric.h5", [("a.jpg", FROM_BEHIND)])
    unseen = {**PLACES, "left_hip": (0, 0)}
    people = [("a.jpg", PLACES), ("a.jpg", unseen)]

    first, second = flic.read(write_h5(tmp_path / "train.h5", people, index=None))

    assert_person(first)
    assert joint(second, "left_hip") == [0, 0, 0]
    assert (first.id, second.id) == ("a/0", "a/1")


def moved(places: dict, by: float) -> dict:
    return {name: (x + by, y) for name, (x, y) in places.items()}


def test_examples_mat_takes_sides_only_where_the_labels_correspond(tmp_path):
    near, far = moved(PLACES, 300), moved(PLACES, 40)
    write_mat(
        tmp_path,
        [
            example("facing.jpg"),
            example("behind.jpg"),
            example("behind.jpg", places=near),
            example("elsewhere.jpg"),
            example("far.jpg"),
        ],
    )
    write_h5(
        tmp_path / "train_personcentric.h5",
        [
            ("facing.jpg", PLACES),
            # Stored as in examples.mat, from 1.
            ("behind.jpg", moved(FROM_BEHIND, 1)),
            ("behind.jpg", near),
            ("far.jpg", {name: far[other_side(name)] for name in far}),
        ],
    )

    facing, behind, beside, elsewhere, other = flic.read(tmp_path)

    assert_person(facing)
    assert_person(behind, FROM_BEHIND)
    # In the same picture, but not the person with the swapped sides.
    assert joint(beside, "left_shoulder") == [430, 70, 1]
    assert_person(elsewhere)
    # The person-centric label of that name is not of this person.
    assert_person(other)


def test_files_of_the_stacked_hourglass_network_without_names(tmp_path):
    path = write_h5(tmp_path / "valid.h5", [("", PLACES)], imgname=None)
    with pytest.raises(InputError, match=r"valid_images\.txt"):
        list(flic.read(path))
    (tmp_path / "valid_images.txt").write_text("a.jpg\nb.jpg\n")
    with pytest.raises(InputError, match=r"imgname must have shape \(1,\).*\(2,\)"):
        list(flic.read(path))
    (tmp_path / "valid_images.txt").write_text("a.jpg\n")

    (record,) = flic.read(path)

    assert record.id == "a/0"


def save(**variables):
    return lambda path: scipy.io.savemat(path, variables)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "expected a label file"),
        (lambda path: path.write_bytes(b""), "must be FLIC's labels"),
        (lambda path: path.write_text("name,1,2\n"), "must be FLIC's labels"),
        (lambda path: path.write_bytes(b"MATLAB 5.0" + b"x" * 200), "a MATLAB file"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\nx"), "an HDF5 file"),
        (save(joints=np.zeros((3, 14, 2))), "must have a variable 'examples'"),
        (save(examples=np.zeros((2, 29))), "filepath, coords"),
        (save(examples=np.zeros((0, 0))), "filepath, coords"),
        (
            lambda path: write_h5(path, [("a", PLACES)], part=np.zeros((1, 16, 2))),
            r"\(persons, 11, 2\).*\(1, 16, 2\)",
        ),
    ],
)
def test_wrong_files_are_refused_in_one_line(tmp_path, write, message):
    path = tmp_path / "labels.bin"
    write(path)
    if not path.exists() and (tmp_path / "labels.bin.mat").exists():
        (tmp_path / "labels.bin.mat").rename(path)

    with pytest.raises(InputError, match=message) as error:
        list(flic.read(path))

    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_without_labels(tmp_path):
    with pytest.raises(InputError, match="has neither") as error:
        list(flic.read(tmp_path))

    assert str(tmp_path) in str(error.value)


needs_data = pytest.mark.skipif(
    not (REAL / "train_personcentric.h5").is_file(),
    reason=f"no flic_annotations in {DATA} (set KPOSE_DATA)",
)


@needs_data
def test_real_counts():
    records = list(flic.read(REAL))

    splits = [record.split for record in records]
    assert (splits.count("train"), splits.count("test")) == (3987, 1016)
    assert len({record.id for record in records}) == 5003
    # Two frames have persons in both splits.
    assert len({record.group for record in records}) == 3628 + 926 - 2
    annotated = np.stack([record.joints[:, 2] for record in records])
    names = BODY_13.names
    complete = [annotated[:, names.index(name)].all() for name in (*LIMBS, "head")]
    assert all(complete)
    assert annotated.sum() == 9 * 5003
    assert all(record.defect() is None for record in records)


@needs_data
@pytest.mark.parametrize(("name", "swapped"), [("train", 199), ("valid", 48)])
def test_real_sides_of_people_seen_from_behind(name, swapped):
    original, better = (
        np.stack([record.joints for record in flic.read(REAL / file)])
        for file in (f"{name}.h5", f"{name}_personcentric.h5")
    )

    differ = (original != better).any(axis=(1, 2))

    assert differ.sum() == swapped
    np.testing.assert_array_equal(
        original[differ][:, list(BODY_13.swap)], better[differ]
    )
    # The original has everybody face the camera: left is on the right of the picture.
    left, right = (
        BODY_13.names.index(f"{side}_shoulder") for side in ("left", "right")
    )
    assert (original[:, left, 0] > original[:, right, 0]).all()
