"""New clothes and rooms: what changes colour, what keeps it, and where.

A person of flat colours stands on a flat background, so that colours are exact.
"""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpose import augment, looks
from kpose.augment import Augmentation
from kpose.errors import InputError
from kpose.joints import BODY_13, COCO_17

SIZE, SIDE = 128, 192  # of the network's picture and the stored one

JOINTS = {
    "head": (64, 18),
    "right_shoulder": (50, 36),
    "left_shoulder": (78, 36),
    "right_elbow": (36, 52),
    "left_elbow": (92, 52),
    "right_wrist": (24, 68),
    "left_wrist": (104, 68),
    "right_hip": (55, 72),
    "left_hip": (73, 72),
    "right_knee": (54, 94),
    "left_knee": (74, 94),
    "right_ankle": (54, 116),
    "left_ankle": (74, 116),
}
"""Pixels of the network's picture; the torso length is 43."""

WALL, SKIN, SHIRT, TROUSERS, SHOES = (
    (90, 120, 90),
    (200, 150, 120),
    (40, 60, 160),
    (60, 50, 45),
    (10, 10, 10),
)

CLOTHES = ((220, 40, 60), (30, 200, 90), (180, 170, 40))
"""New colours of torso, arms and legs."""


def truth(missing=(), skeleton=BODY_13):
    joints = np.zeros((1, len(skeleton), 3), np.float32)
    for name, (x, y) in JOINTS.items():
        name = "nose" if name == "head" and "head" not in skeleton.names else name
        if name not in missing:
            at = skeleton.names.index(name)
            joints[0, at] = (x + 0.5) / SIZE, (y + 0.5) / SIZE, 1
    return joints


def person():
    """Return the picture, ``(1, SIDE, SIDE, 3)``."""
    image = np.full((SIDE, SIDE, 3), WALL, np.uint8)
    margin = (SIDE - SIZE) // 2
    at = {name: (x + margin, y + margin) for name, (x, y) in JOINTS.items()}

    def limb(start, end, color, width):
        cv2.line(image, at[start], at[end], color, width)

    for side in ("right", "left"):
        limb(f"{side}_hip", f"{side}_knee", TROUSERS, 11)
        limb(f"{side}_knee", f"{side}_ankle", TROUSERS, 9)
        x, y = at[f"{side}_ankle"]
        cv2.circle(image, (x, y + 3), 4, SHOES, -1)
    corners = ("right_shoulder", "left_shoulder", "left_hip", "right_hip")
    cv2.fillPoly(image, [np.array([at[name] for name in corners])], SHIRT)
    for side in ("right", "left"):
        limb(f"{side}_shoulder", f"{side}_elbow", SHIRT, 9)
        limb(f"{side}_elbow", f"{side}_wrist", SHIRT, 7)
        x, y = at[f"{side}_wrist"]
        out = -1 if side == "right" else 1
        cv2.line(image, (x, y), (x + 4 * out, y + 5), SKIN, 6)
    cv2.circle(image, at["head"], 10, SKIN, -1)
    return image[None]


def parameters(batch=1, **changes):
    """Return those that change nothing but what ``changes`` says, for each sample."""
    arrays = {name: np.array([v] * batch, np.float32) for name, v in changes.items()}
    return augment.identity(batch)._replace(**arrays)


def dressed(clothes=CLOTHES, lengths=looks.LONG, **other):
    return parameters(dressed=1, clothes=clothes, lengths=lengths, **other)


def apply(images, joints, p, rooms=None, skeleton=BODY_13):
    found, moved = augment.apply(
        images,
        joints,
        p,
        size=SIZE,
        swap=skeleton.swap,
        names=skeleton.names,
        rooms=rooms,
    )
    return np.asarray(found), np.asarray(moved)


def between(start, end, share):
    """Return row and column of a point on a bone."""
    a, b = np.array(JOINTS[start]), np.array(JOINTS[end])
    x, y = np.rint(a + share * (b - a)).astype(int)
    return y, x


OLD = apply(person(), truth(), augment.identity(1))[0][0]

UPPER, FORE = ("right_shoulder", "right_elbow"), ("left_elbow", "left_wrist")
THIGH, SHANK = ("left_hip", "left_knee"), ("right_knee", "right_ankle")


def far():
    """Return where no part of the body is within 20 pixels."""
    bones = np.ones((SIZE, SIZE), np.uint8)
    for a, b in BODY_13.limbs:
        cv2.line(bones, JOINTS[a], JOINTS[b], 0)
    return cv2.distanceTransform(bones, cv2.DIST_L2, 5) > 20


def test_clothes_change_and_nothing_else():
    found = apply(person(), truth(), dressed())[0][0]

    # Some wall, or a neighbour, is in the mean of every part.
    for place, color in (
        (between("right_shoulder", "left_hip", 0.5), CLOTHES[0]),
        (between(*UPPER, 0.5), CLOTHES[1]),
        (between(*FORE, 0.5), CLOTHES[1]),
        (between(*THIGH, 0.5), CLOTHES[2]),
        (between(*SHANK, 0.5), CLOTHES[2]),
    ):
        np.testing.assert_allclose(found[place], color, rtol=0.1)
    x, y = JOINTS["head"]
    np.testing.assert_array_equal(
        found[y - 6 : y + 6, x - 5 : x + 6], OLD[12:24, 59:70]
    )
    for name in ("right_wrist", "left_wrist"):
        x, y = JOINTS[name]
        np.testing.assert_array_equal(found[y + 1 : y + 5, x], OLD[y + 1 : y + 5, x])
    np.testing.assert_array_equal(found[far()], OLD[far()])


def test_the_wall_beside_an_arm_keeps_its_color():
    found = apply(person(), truth(), dressed())[0][0]

    # Inside of the capsule's outer part, 1.6 x 4.3 pixels beside the bone's middle.
    y, x = between(*UPPER, 0.5)
    assert tuple(OLD[y - 5, x - 5]) == WALL
    np.testing.assert_allclose(found[y - 5, x - 5], WALL, atol=12)


def test_folds_remain():
    images = person()
    margin = (SIDE - SIZE) // 2
    x = margin + 64
    images[0, margin + 42 : margin + 68, x:] = np.where(
        images[0, margin + 42 : margin + 68, x:] == SHIRT,
        (80, 100, 200),
        images[0, margin + 42 : margin + 68, x:],
    )

    found = apply(images, truth(), dressed(((90, 60, 120),) * 3))[0][0]

    dark, light = found[55, 60], found[55, 68]
    weights = (0.299, 0.587, 0.114)
    old = [np.dot(color, weights) + 24 for color in (SHIRT, (80, 100, 200))]
    # One new colour, as much brighter as the old one was.
    np.testing.assert_allclose(light / dark, old[1] / old[0], rtol=0.01)


def test_short_sleeves_and_trousers_end():
    found = apply(person(), truth(), dressed(lengths=(0.6, 0.7)))[0][0]

    for bone, share, color in (
        (UPPER, 0.4, CLOTHES[1]),
        (UPPER, 0.9, SHIRT),
        (FORE, 0.5, SHIRT),
        (THIGH, 0.5, CLOTHES[2]),
        (THIGH, 0.95, TROUSERS),
        (SHANK, 0.5, TROUSERS),
    ):
        np.testing.assert_allclose(found[between(*bone, share)], color, rtol=0.1)


def test_without_joints_nothing_changes():
    rooms = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    p = dressed(moved=1, room=[0] * 5)

    found, joints = apply(person(), truth(JOINTS), p, rooms)

    np.testing.assert_array_equal(found[0], OLD)
    assert not joints.any()


def test_a_limb_without_its_joint_keeps_its_color():
    found = apply(person(), truth(["left_wrist"]), dressed())[0][0]

    np.testing.assert_array_equal(found[between(*FORE, 0.6)], SHIRT)
    np.testing.assert_allclose(found[between(*UPPER, 0.5)], CLOTHES[1], rtol=0.1)


def test_who_is_not_dressed_stays():
    p = dressed()._replace(dressed=np.zeros(1, np.float32))

    found = apply(person(), truth(), p)[0]

    np.testing.assert_array_equal(found[0], OLD)


def test_the_room_is_behind_the_person():
    room = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)

    found = apply(person(), truth(), parameters(moved=1, room=[0] * 5), room)[0][0]

    np.testing.assert_array_equal(found[far()], room[0][far()])
    for bone in (UPPER, FORE, THIGH, SHANK, ("right_shoulder", "left_hip")):
        for share in (0.3, 0.5, 0.7):
            place = between(*bone, share)
            np.testing.assert_array_equal(found[place], OLD[place])
    x, y = JOINTS["head"]
    np.testing.assert_array_equal(found[y - 5 : y + 5, x], OLD[y - 5 : y + 5, x])
    # The wall between arm and body has gone, though it is inside the outer parts.
    np.testing.assert_allclose(found[64, 41], room[0, 64, 41], atol=12)


def test_a_person_who_is_not_whole_stays_at_home():
    room = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    p = parameters(moved=1, room=[0] * 5)

    found = apply(person(), truth(["left_ankle"]), p, room)[0][0]

    np.testing.assert_array_equal(found, OLD)


def test_colors_change_after_the_room_came_in():
    room = np.full((1, SIZE, SIZE, 3), 100, np.uint8)
    p = parameters(moved=1, room=[0] * 5, gain=[0.5] * 3)

    found = apply(person(), truth(), p, room)[0][0]

    assert tuple(found[2, 2]) == (50, 50, 50)


def test_a_mirrored_person_gets_mirrored_clothes():
    generator = np.random.default_rng(1)
    images = np.clip(person() + generator.normal(0, 9, person().shape), 0, 255)
    images = images.astype(np.uint8)
    room = generator.integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)
    joints = truth()
    joints[0, BODY_13.names.index("left_wrist"), :2] = 0.5, 0.4  # in front of the body
    p = dressed(moved=1, room=[0] * 5)

    plain = apply(images, joints, p, room)[0]
    mirrored = p._replace(flip=np.ones(1, np.float32))
    flipped = apply(images, joints, mirrored, room[:, :, ::-1])[0]

    np.testing.assert_allclose(flipped[:, :, ::-1], plain, atol=0.05)


def test_a_sample_is_the_same_in_any_batch():
    ranges = Augmentation(0.5, 30, 0.3, 0.05, 0.2, 0.5, 1, 1, "rooms")
    rooms = [np.random.default_rng(2).integers(0, 256, (90, 120, 3), np.uint8)]
    images, joints = np.repeat(person(), 4, axis=0), np.repeat(truth(), 4, axis=0)

    def show(ids):
        p = augment.draw(ranges, 5, 1, ids)
        behind = looks.backgrounds(rooms, p, SIZE)
        return apply(images[: len(ids)], joints[: len(ids)], p, behind)[0]

    together, alone = show([9, 4, 7, 1]), show([7])

    np.testing.assert_allclose(together[2], alone[0], atol=0.01)
    assert np.abs(together[2] - together[1]).max() > 50


def test_coco_persons_can_be_dressed():
    joints = truth(skeleton=COCO_17)

    found = apply(person(), joints, dressed(), skeleton=COCO_17)[0][0]

    place = between("right_shoulder", "left_hip", 0.5)
    np.testing.assert_allclose(found[place], CLOTHES[0], rtol=0.1)


def test_a_skeleton_without_legs_is_refused():
    looks.require_body(BODY_13.names)
    looks.require_body(COCO_17.names)

    upper = [name for name in BODY_13.names if "knee" not in name and name != "head"]
    with pytest.raises(InputError, match=r"right_knee, left_knee, head \(or nose\)"):
        looks.require_body(upper)


@given(
    ends=st.lists(st.floats(0.1, 0.9), min_size=4, max_size=4),
    shift=st.floats(-0.2, 0.2),
)
def test_the_capsule_of_a_forearm(ends, shift):
    joints = truth()
    elbow, wrist = (BODY_13.names.index(f"right_{n}") for n in ("elbow", "wrist"))
    joints[0, [elbow, wrist], :2] = np.reshape(ends, (2, 2))
    joints[..., :2] += shift
    a, b = joints[0, [elbow, wrist], :2].astype(float)

    body = looks._body(joints, BODY_13.names, 32)

    units = (np.arange(32) + 0.5) / 32
    places = np.stack(np.meshgrid(units, units), -1)
    length = max(((b - a) ** 2).sum(), 1e-9)
    share = np.clip(((places - a) @ (b - a)) / length, 0, 1)
    distance = np.linalg.norm(places - a - share[..., None] * (b - a), axis=-1)
    torso = np.hypot(23, 36) / SIZE
    radii = distance.ravel() / (0.075 * torso)
    inside, around = np.asarray(body.inside)[0, 3], np.asarray(body.around)[0, 3]
    np.testing.assert_allclose(inside, np.clip(3.6 - 4 * radii, 0, 1), atol=0.02)
    np.testing.assert_allclose(around, np.clip(4 - 2.5 * radii, 0, 1), atol=0.02)


@pytest.mark.parametrize(
    ("room", "columns"),
    [
        ((0.6, 0, 0, 1, 0.9), [0, 1, 2, 3]),  # all of the height, at the left
        ((0.6, 1, 0, 1, 0.9), [4, 5, 6, 7]),
        ((0.6, 1, 0, 1, 0.1), [7, 6, 5, 4]),  # mirrored
        ((0.6, 0.5, 0, 1, 0.9), [2, 3, 4, 5]),
        ((0.1, 0, 0, 1, 0.9), [99] * 4),  # the other room
    ],
)
def test_parts_of_rooms(room, columns):
    rooms = [
        np.full((4, 8, 3), 99, np.uint8),
        np.broadcast_to(np.arange(8, dtype=np.uint8)[:, None], (4, 8, 3)),
    ]

    found = looks.backgrounds(rooms, parameters(moved=1, room=room), 4)

    np.testing.assert_array_equal(found[0, :, :, 0], [columns] * 4)


def test_who_stays_needs_no_room():
    found = looks.backgrounds([], parameters(moved=0, room=[0] * 5), 4)

    assert not found.any()
