"""The example of gestures, on lines made by hand and on a walk through the program."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kpose.geometry import Box
from kpose.joints import BODY_13
from kpose.predictor import Person

EXAMPLE = Path(__file__).parents[1] / "examples" / "gesture_control.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("gesture_control", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Facing the camera: the person's left is at the right of the picture. The torso, right
# shoulder to left hip, is hypot(60, 80) = 100 px; the shoulders are at y = 100.
STANDING = {
    "head": (330, 60),
    "right_shoulder": (300, 100),
    "left_shoulder": (360, 100),
    "right_elbow": (290, 140),
    "left_elbow": (370, 140),
    "right_wrist": (290, 190),
    "left_wrist": (370, 190),
    "right_hip": (300, 180),
    "left_hip": (360, 180),
    "right_knee": (300, 250),
    "left_knee": (360, 250),
    "right_ankle": (300, 320),
    "left_ankle": (360, 320),
}


def line(time_ms, track=1, *, unsure=(), missing=(), mirrored=False, **moved):
    """Return a line of kpose: STANDING, with joints moved, unsure or null."""
    points = {}
    for name in BODY_13.names:
        x, y = moved.get(name, STANDING[name])
        confidence = 0.1 if name in unsure else 0.9
        x = 640 - x if mirrored else x
        points[name] = None if name in missing else [x, y, confidence]
    row = {"source": "0", "frame": 0, "time_ms": time_ms, "status": "ok"}
    row |= {"track_id": track, "box": [0, 0, 640, 360], "score": None}
    return json.dumps(row | {"keypoints": points})


def nobody(time_ms):
    row = {"source": "0", "frame": 0, "time_ms": time_ms, "status": "no_person"}
    row |= {"track_id": None, "box": None, "score": None}
    return json.dumps(row | {"keypoints": dict.fromkeys(BODY_13.names)})


def swipe(side, xs, y=150, **options):
    """Return lines in which a hand moves through xs, one each 100 ms."""
    return [
        line(100 * number, **{f"{side}_wrist": (x, y)}, **options)
        for number, x in enumerate(xs)
    ]


def test_standing_is_no_gesture(example):
    assert list(example.gestures(line(33.3 * n) for n in range(30))) == []


def test_a_raised_hand_is_told_once_until_it_comes_down(example):
    heights = [190, 59, 40, 61, 59, 101, 59]  # head at 60, shoulders at 100
    lines = [line(n * 1000, left_wrist=(370, y)) for n, y in enumerate(heights)]

    assert list(example.gestures(lines)) == [
        {"time_ms": 1000, "track_id": 1, "gesture": "raise_hand", "hand": "left"},
        {"time_ms": 6000, "track_id": 1, "gesture": "raise_hand", "hand": "left"},
    ]


def test_both_hands_are_told_and_unknown_ones_are_not(example):
    up = {"left_wrist": (370, 50), "right_wrist": (290, 50)}

    told = [event["hand"] for event in example.gestures([line(0, **up)])]
    without = [line(0, missing=["left_wrist"], unsure=["right_wrist"], **up)]
    headless = [line(0, missing=["head"], **up)]
    no_torso = [line(0, missing=["left_hip"], **up)]

    assert told == ["left", "right"]
    assert list(example.gestures(without)) == []
    assert list(example.gestures(headless)) == []
    assert list(example.gestures(no_torso)) == []


@pytest.mark.parametrize(
    ("xs", "mirrored", "direction"),
    [
        ([250, 280, 305, 331], False, "left"),  # 81 px of 100 towards the own left
        ([331, 300, 250], False, "right"),
        ([250, 280, 305, 331], True, "left"),  # seen from behind
    ],
)
def test_a_swipe_goes_to_the_persons_own_side(example, xs, mirrored, direction):
    events = list(example.gestures(swipe("right", xs, mirrored=mirrored)))

    last = 100 * (len(xs) - 1)
    assert events == [
        {
            "time_ms": last,
            "track_id": 1,
            "gesture": "swipe",
            "hand": "right",
            "direction": direction,
        }
    ]


@pytest.mark.parametrize(
    "lines",
    [
        swipe("right", [250, 280, 305, 329]),  # 79 px: not far enough
        swipe("right", range(250, 331, 10)),  # 80 px, but in 800 ms
        swipe("right", [250, 331], y=171),  # lower than the waist
        swipe("right", [250, 331], missing=["right_shoulder"]),
        # As far down as to the side: an arm that is let down.
        [line(0, right_wrist=(250, 105)), line(100, right_wrist=(335, 150))],
        # The person walks: shoulders and hand move alike.
        [
            line(100 * n, **{k: (x + 50 * n, y - 20) for k, (x, y) in STANDING.items()})
            for n in range(6)
        ],
    ],
)
def test_what_is_no_swipe(example, lines):
    assert list(example.gestures(lines)) == []


def test_the_hand_that_goes_back_swipes_again_only_later(example):
    there, back = [250, 331], [331, 250]
    xs = [*there, *back, *[250] * 6, *there]  # back after 300 ms, again after 1100 ms

    events = list(example.gestures(swipe("right", xs)))

    assert [(e["time_ms"], e["direction"]) for e in events] == [
        (100, "left"),
        (1100, "left"),
    ]


def test_a_frame_without_the_hand_does_not_end_a_swipe(example):
    lines = swipe("right", [250, 290, 331])
    lines[1] = line(100, missing=["right_wrist"])
    lines.insert(2, nobody(150))

    assert [event["gesture"] for event in example.gestures(lines)] == ["swipe"]


def test_the_wheel_tells_its_angle_when_it_turns(example):
    def hold(time_ms, rise, **more):
        # 100 px apart; the left hand is higher by twice the rise.
        left, right = (380, 140 - rise), (280, 140 + rise)
        return line(time_ms, left_wrist=left, right_wrist=right, **more)

    lines = [
        hold(0, 0),
        hold(100, 4),  # atan(8 / 100) = 4.6 degrees: less than a step
        hold(200, 5),  # 5.7 degrees: to the right
        hold(300, -25),  # atan(50 / 100) = 26.6 degrees to the left
        line(400),  # hands down
        hold(500, -25),
        hold(600, -25, missing=["left_wrist"]),
        hold(700, -25, mirrored=True),
    ]

    events = [(e["time_ms"], e["degrees"]) for e in example.gestures(lines)]

    assert events == [(0, 0), (200, 6), (300, -27), (500, -27), (700, -27)]


def test_hands_that_are_close_or_crossed_hold_no_wheel(example):
    close = line(0, left_wrist=(350, 140), right_wrist=(310, 140))
    crossed = line(1000, left_wrist=(280, 140), right_wrist=(380, 140))

    assert list(example.gestures([close, crossed])) == []


def test_people_do_not_share_their_hands(example):
    lines = [
        line(0, 1, right_wrist=(250, 150)),
        line(0, 2, right_wrist=(331, 150)),
        line(0, None, right_wrist=(250, 50)),  # without tracking: nobody
        line(100, 2, right_wrist=(331, 50)),
        line(100, 1, right_wrist=(250, 50)),
    ]

    assert [
        (e["track_id"], e["gesture"], e["hand"]) for e in example.gestures(lines)
    ] == [(2, "raise_hand", "right"), (1, "raise_hand", "right")]


def test_lines_of_the_program_itself_are_understood(example):
    """Catches a name in the lines that changes."""
    points = np.full((13, 3), np.nan)  # a network without confidence
    points[:, :2] = [STANDING[name] for name in BODY_13.names]
    points[BODY_13.names.index("left_wrist")] = 370, 40, 0.8
    points[BODY_13.names.index("right_ankle")] = np.nan
    box = Box(0, 0, 640, 360)
    person = Person(points, BODY_13, box, source="0", time_ms=40.0, track_id=3)
    none = Person(np.full((13, 3), np.nan), BODY_13, None, status="no_person")
    lines = [json.dumps(one.to_json()) for one in (none, person)]

    assert list(example.gestures(lines)) == [
        {"time_ms": 40.0, "track_id": 3, "gesture": "raise_hand", "hand": "left"}
    ]


def test_it_reads_standard_input_and_prints_one_line_per_event():
    lines = [nobody(0), line(40, right_wrist=(290, 40)), line(80)]

    result = subprocess.run(
        [sys.executable, str(EXAMPLE)],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=True,
    )

    assert result.stdout == (
        '{"time_ms": 40, "track_id": 1, "gesture": "raise_hand", "hand": "right"}\n'
    )
    assert result.stderr == ""


def test_it_is_as_short_as_promised():
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) <= 60
