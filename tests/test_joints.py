import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpose.errors import InputError
from kpose.joints import BODY_13, COCO_17, Skeleton

NAMES = (
    "head",
    *("right_shoulder", "right_elbow", "right_wrist"),
    *("left_shoulder", "left_elbow", "left_wrist"),
    *("right_hip", "right_knee", "right_ankle"),
    *("left_hip", "left_knee", "left_ankle"),
)


def test_the_papers_joints_stand_in_the_papers_order():
    assert BODY_13.names == NAMES
    assert len(BODY_13) == 13
    assert BODY_13.swap == (0, 4, 5, 6, 1, 2, 3, 10, 11, 12, 7, 8, 9)
    assert BODY_13.torso == (1, 10)
    assert BODY_13.limb_indices[0] == (0, 1)
    assert len(BODY_13.limb_indices) == 14


def test_sides_are_read_from_the_names():
    assert BODY_13.sides == (
        *("middle", "right", "right", "right", "left", "left", "left"),
        *("right", "right", "right", "left", "left", "left"),
    )


def test_groups_are_the_columns_of_table_5():
    assert BODY_13.groups == {
        "head": (0,),
        "shoulder": (1, 4),
        "elbow": (2, 5),
        "wrist": (3, 6),
        "hip": (7, 10),
        "knee": (8, 11),
        "ankle": (9, 12),
    }


def test_coco_is_cocos_order_and_mirrors_by_name():
    assert len(COCO_17) == 17
    assert COCO_17.names[:3] == ("nose", "left_eye", "right_eye")
    assert COCO_17.names[-2:] == ("left_ankle", "right_ankle")
    swap = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
    assert COCO_17.swap == swap
    assert COCO_17.torso == (6, 11)
    assert len(COCO_17.limbs) == 16


def test_a_name_that_only_contains_a_side_is_its_own_mirror():
    skeleton = Skeleton(("upright_spine", "neck_left_over"), ())

    assert skeleton.swap == (0, 1)
    assert skeleton.sides == ("middle", "middle")


@given(
    parts=st.lists(
        st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=6, unique=True
    ),
    order=st.randoms(use_true_random=False),
)
def test_swapping_twice_changes_nothing_and_swaps_names(parts, order):
    names = [f"{side}_{part}" for part in parts for side in ("left", "right")]
    names.append("middle")
    order.shuffle(names)

    skeleton = Skeleton(tuple(names), ())

    assert [skeleton.swap[i] for i in skeleton.swap] == list(range(len(names)))
    for name, partner in zip(names, skeleton.swap, strict=True):
        expected = {"l": "right_" + name[5:], "r": "left_" + name[6:], "m": name}
        assert names[partner] == expected[name[0]]


@pytest.mark.parametrize(
    ("names", "limbs", "message"),
    [
        (("right_hip",), (), "'right_hip' needs its partner 'left_hip'"),
        (("left_a", "right_b"), (), "'left_a' needs its partner 'right_a'"),
        (("head", "head"), (), "unique"),
        ((), (), "at least one"),
        (("head", "neck"), (("head", "tail"),), "two of head, neck"),
        (("head", "neck"), (("head",),), "two of head, neck"),
    ],
    ids=["no left", "no right", "twice", "none", "unknown limb", "half a limb"],
)
def test_names_that_do_not_fit_together_are_refused(names, limbs, message):
    with pytest.raises(InputError, match=message):
        Skeleton(names, limbs)


def test_a_skeleton_without_torso_joints_has_no_pck_torso():
    with pytest.raises(InputError, match="right_shoulder and left_hip"):
        _ = Skeleton(("right_shoulder", "left_shoulder"), ()).torso


@pytest.mark.parametrize("skeleton", [BODY_13, COCO_17], ids=["body", "coco"])
def test_json_keeps_everything(skeleton):
    again = Skeleton.from_json(skeleton.to_json())

    assert again == skeleton
    assert again.swap == skeleton.swap


@pytest.mark.parametrize(
    "value",
    [None, {}, {"joints": ["head"]}, {"joints": ["head"], "limbs": [["head"]]}, []],
    ids=["null", "empty", "no limbs", "half a limb", "list"],
)
def test_json_of_another_shape_is_refused(value):
    with pytest.raises(InputError, match="a skeleton must be"):
        Skeleton.from_json(value)
