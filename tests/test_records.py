from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kpose.errors import InputError
from kpose.geometry import Box
from kpose.records import ImageRef, PersonRecord

GOOD = np.array([[10, 10, 1], [20, 30, 1], [0, 0, 0]], np.float32)


def person(joints=GOOD, visible=None, split="train", box=None):
    joints = np.asarray(joints, np.float32)
    if visible is None:
        visible = np.ones(len(joints), np.int8)
    ref = ImageRef(Path("im0001.jpg"))
    return PersonRecord("im0001", ref, joints, visible, "lsp", "im0001", split, box=box)


def with_value(row, column, value):
    joints = GOOD.copy()
    joints[row, column] = value
    return joints


@pytest.mark.parametrize(
    ("joints", "visible", "split", "message"),
    [
        (np.zeros((3, 2)), None, "train", r"\(joints, 3\). Received: \(3, 2\) for lsp"),
        (np.zeros(3), None, "train", r"Received: \(3,\) for lsp im0001"),
        (GOOD, np.ones(2, np.int8), "train", r"shape \(3,\). Received: \(2,\)"),
        (GOOD, None, "training", "train, val, test. Received: 'training' for lsp"),
    ],
    ids=["no flags", "one joint", "visible", "split"],
)
def test_arrays_of_another_shape_are_refused(joints, visible, split, message):
    with pytest.raises(InputError, match=message):
        person(joints, visible, split)


@pytest.mark.parametrize(
    ("joints", "box", "expected"),
    [
        (GOOD, None, None),
        (GOOD, Box(0, 0, 50, 50), None),
        (with_value(0, 0, np.nan), None, "non_finite_joint"),
        (with_value(1, 1, -np.inf), None, "non_finite_joint"),
        (with_value(2, 2, np.nan), None, "non_finite_joint"),
        (with_value(2, 0, np.nan), None, None),
        (GOOD * [1, 1, 0], None, "no_joints"),
        (GOOD, Box(0, 0, np.nan, 50), "non_finite_joint"),
        (GOOD, Box(-1.7e308, 0, 1.7e308, 50), "non_finite_joint"),
        (GOOD, Box(10, 0, 10, 50), "box_without_area"),
        (GOOD, Box(30, 0, 10, 50), "box_without_area"),
        (GOOD, Box(0, 0, 1.5, 1.9), "box_without_area"),
        ([[5, 5, 1], [0, 0, 0]], None, "box_without_area"),
        ([[5, 5, 1], [5, 50, 1]], None, "box_without_area"),
        ([[5, 5, 1], [6, 6, 1]], None, "box_without_area"),
        ([[5, 5, 1], [6, 7, 1]], None, None),
    ],
    ids=[
        *("good", "good with a box", "nan", "infinite", "nan flag"),
        *("nan where nothing is annotated", "none annotated", "nan in the box"),
        "endless box",
        *("flat box", "reversed box", "box under 2 px", "one joint"),
        *("joints on a line", "1.2 px", "2.4 px"),
    ],
)
def test_defects(joints, box, expected):
    assert person(joints, box=box).defect() == expected


@pytest.mark.parametrize(
    "change",
    [
        {"id": "\ud800"},
        {"id": "a\0"},
        {"group": "\udcff"},
        {"subject": "\ud800"},
        {"image": ImageRef(Path("\ud800.jpg"))},
        {"image": ImageRef(Path("a\0.jpg"))},
    ],
    ids=ascii,
)
def test_names_that_no_file_can_hold_are_a_defect(change):
    assert replace(person(), **change).defect() == "name_not_text"
    assert replace(person(), id="\U0001f600 \u65e5").defect() is None


def test_a_picture_is_neither_a_frame_nor_mirrored_unless_said():
    ref = ImageRef(Path("a.jpg"))

    assert ref.frame is None
    assert not ref.mirrored
    assert person().head_rule == "mid"
