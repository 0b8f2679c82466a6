"""Where hands and feet are, by hand: the torso is 100 pixels."""

import io

import numpy as np
import PIL.Image
import pytest

from kpose import coverage
from kpose.joints import BODY_13

FRONT = {
    "head": (100, 60),
    "right_shoulder": (70, 100),
    "right_elbow": (65, 140),
    "right_wrist": (60, 190),
    "left_shoulder": (130, 100),
    "left_elbow": (135, 140),
    "left_wrist": (140, 190),
    "right_hip": (70, 180),
    "right_knee": (70, 250),
    "right_ankle": (70, 330),
    "left_hip": (130, 180),
    "left_knee": (130, 250),
    "left_ankle": (130, 330),
}
"""Right shoulder to left hip: (60, 80), 100 pixels. A person who faces the camera."""


def frame(absent=(), **changed):
    joints = np.ones((13, 3))
    joints[:, :2] = [{**FRONT, **changed}[name] for name in BODY_13.names]
    for name in absent:
        joints[BODY_13.names.index(name)] = 0
    return joints


def sector(joint, **changed):
    """Return the one sector that the joint of a frame is in, None for none."""
    shares = coverage.measure(frame(**changed)[None]).shares[joint]
    assert sum(shares.values()) in (0, 1)
    return next((name for name, share in shares.items() if share), None)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ((60, 190), "hanging down"),
        ((70, 10), "above the shoulder"),
        ((110, 30), "above the shoulder"),
        ((0, 100), "out to the side"),
        ((0, 165), "out to the side"),  # 43 degrees below the horizontal
        ((5, 170), "hanging down"),  # 47
        ((150, 110), "across the body"),
        ((150, 50), "across the body"),  # the far shoulder, 32 degrees up
        ((75, 120), "in front of the shoulder or chest"),
        ((70, 146), "hanging down"),  # 0.46 torso lengths away
    ],
)
def test_sectors_of_the_right_wrist(place, expected):
    assert sector("right_wrist", right_wrist=place) == expected


def test_the_left_side_and_the_back_are_mirror_images():
    assert sector("left_wrist", left_wrist=(200, 100)) == "out to the side"
    back = {
        name: FRONT[BODY_13.names[BODY_13.swap[BODY_13.names.index(name)]]]
        for name in BODY_13.names
    }
    assert sector("right_wrist", **{**back, "right_wrist": (220, 100)}) == (
        "out to the side"
    )
    assert sector("right_wrist", **{**back, "right_wrist": (40, 100)}) == (
        "across the body"
    )


def test_from_the_side_there_is_no_outside():
    turned = {"right_shoulder": (100, 100), "left_shoulder": (110, 100)}

    assert sector("right_wrist", **turned, right_wrist=(200, 100)) is None


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ((70, 330), "below the hip"),
        ((10, 320), "out to the side"),
        ((130, 330), "across the other leg"),
        ((75, 290), "lifted"),  # 110 of 150
        ((75, 305), "below the hip"),  # 125 of 150
    ],
)
def test_sectors_of_the_right_ankle_by_the_other_leg(place, expected):
    assert sector("right_ankle", right_ankle=place) == expected


def test_missing_in_words():
    frames = [frame(absent=["left_ankle"])] * 150
    frames.append(frame(absent=["left_ankle"], right_wrist=(0, 100)))
    for place in ((75, 120), (70, 10), (150, 110)):
        frames += [frame(absent=["left_ankle"], right_wrist=place)] * 10

    found = coverage.measure(np.stack(frames))

    assert found.frames == 181
    assert found.missing() == [
        "right wrist: hardly ever out to the side",
        "left wrist: never above the shoulder, out to the side, across the body, "
        "in front of the shoulder or chest",
        "right ankle: never out to the side, across the other leg, lifted",
        "left ankle: labelled in 0 of 181 frames",
    ]


def test_places_are_in_torso_lengths_from_the_middle():
    found = coverage.measure(np.stack([frame(), 3 * frame(), frame(["left_hip"])]))

    # Middle of the shoulders (100, 100); of the hips (100, 180). No torso, no unit.
    np.testing.assert_allclose(found.places["right_wrist"], [[-0.4, 0.9]] * 2)
    np.testing.assert_allclose(found.places["left_ankle"], [[0.3, 1.5]] * 2)
    np.testing.assert_allclose(found.pose[0], [0, -0.4])
    assert found.leg == pytest.approx(1.5)


@pytest.mark.parametrize(
    "frames", [np.zeros((0, 13, 3)), np.zeros((4, 13, 3)), np.stack([frame()] * 3)]
)
def test_the_map_is_drawn_also_of_nothing(frames):
    found = coverage.measure(frames)

    picture = PIL.Image.open(io.BytesIO(coverage.plot(found, "a title")))

    assert picture.size[0] > 900
    assert len(found.missing()) == 4
