"""The reader of Kinect tables, on tiny files of the layouts that it must read."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from kpose.errors import InputError
from kpose.joints import BODY_13
from kpose.records import BadRecord, ImageRef
from kpose_datasets import kinect
from kpose_datasets.kinect import JOINT_TYPES
from kpose_datasets.takes import INFERRED, TRACKED, UNTRACKED

DATA = Path(os.environ.get("KPOSE_DATA", Path(__file__).parents[2] / "shared" / "data"))

ROWS = dict(
    zip(BODY_13.names, (3, 8, 9, 10, 4, 5, 6, 16, 17, 18, 12, 13, 14), strict=True)
)

YOGA = """
[columns]
person = 0
time = 1
joint = 2
state = 3
frame = 4
x = 5
y = 6

[frames]
first = 1
time = "clock"
"""
"""Kinect-Yoga-Repo's joints.csv: no header; frames count from 1, times are clocks."""

LONG = """
[columns]
frame = "Frame"
person = "Body"
joint = "Joint"
x = "ColorX"
y = "ColorY"
state = "State"
"""

WIDE = """
[columns]
frame = "frame"
x = "{point}.u"
y = "{point}.v"
state = "{point}.s"
"""


def write(folder, text, toml=None, name="walk.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    if toml is not None:
        (folder / "walk.toml").write_text(toml, encoding="utf-8")
    return path


def clip(path, frames, size=(64, 48)):
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, size)
    assert video.isOpened()
    for _ in range(frames):
        video.write(np.zeros((size[1], size[0], 3), np.uint8))
    video.release()
    return path


def only(path, images=None, joint_map=None):
    (take,) = kinect.takes(path, images or path.parent / "none.avi", joint_map)
    return take


def where(row):
    return 900.25 + 10 * row, 500.5 + row


def yoga(frame, person=0, time="18:02:33.125000", end="\r\r\n", **changes):
    """The rows of a person: csv.writer on Windows, in text mode, ends them so."""
    lines = []
    for row, name in enumerate(JOINT_TYPES):
        x, y, state = changes.get(name, (*where(row), "tracked"))
        cells = (person, time, f"JointType_{name}", state, frame, x, y)
        lines.append(",".join(map(str, (*cells, 0.1, 0.2, 3.5, 0, 0, 0, 1))))
    return end.join(lines) + end


def joints_of(body):
    return dict(zip(BODY_13.names, body.joints.tolist(), strict=True))


def state_of(body, name):
    return body.states[BODY_13.names.index(name)]


def test_rows_per_joint_without_a_header(tmp_path):
    """Kinect-Yoga-Repo."""
    text = yoga(1, ElbowLeft=(700, 600, "inferred")) + yoga(3, time="18:02:33.2")
    path = write(tmp_path, text + yoga(3, person=4, time="18:02:33.9"), YOGA)
    video = tmp_path / "color.avi"

    take = only(path, video)

    assert take.images == [ImageRef(video, 0), ImageRef(video, 2)]
    assert [[one.identity for one in b] for b in take.bodies] == [["0"], ["0", "4"]]
    seen = take.bodies[0][0]
    for name, row in ROWS.items():
        expected = (700, 600) if name == "left_elbow" else where(row)
        np.testing.assert_array_equal(joints_of(seen)[name], expected)
    assert state_of(seen, "left_elbow") == INFERRED
    assert (seen.states == TRACKED).sum() == 12
    milliseconds = (18 * 60 + 2) * 60_000 + 33_000
    np.testing.assert_allclose(take.times_ms, [milliseconds + 125, milliseconds + 200])
    assert (take.problems, take.damaged) == ((), {})


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("names", [str, JOINT_TYPES.__getitem__], ids=["0", "Name"])
def test_rows_per_joint_with_a_header(tmp_path, end, names):
    rows = ["Body,Joint,Frame,State,Z,ColorX,ColorY"]
    rows += [
        f"72057594037931102,{names(row)},5,{row % 3},3.5,{x},{y}"
        for row, (x, y) in enumerate(map(where, range(25)))
    ]

    take = only(write(tmp_path, end.join(rows) + end, LONG))

    ((seen,),) = take.bodies
    assert seen.identity == "72057594037931102"
    assert take.images[0].frame == 5
    # 1000 / 30 per frame: nothing says the time.
    np.testing.assert_allclose(take.times_ms, [5000 / 30])
    for name, row in ROWS.items():
        state = row % 3
        assert state_of(seen, name) == state
        expected = where(row) if state else [np.nan, np.nan]
        np.testing.assert_array_equal(joints_of(seen)[name], expected)


def test_no_number_is_no_place(tmp_path):
    none = {
        "Head": ("Infinity", 5),
        "ElbowLeft": ("-inf", "-inf"),
        "ElbowRight": ("1.#INF", 9),
        "WristLeft": ("nan", "NaN"),
        "WristRight": (0, 0),
        "KneeLeft": ("", ""),
        "KneeRight": ("-∞", "∞"),
        "HipLeft": ("1e9", 3),
    }
    changes = {name: (*place, "tracked") for name, place in none.items()}
    changes["HipRight"] = (0, 7, "tracked")

    ((seen,),) = only(write(tmp_path, yoga(1, **changes), YOGA)).bodies

    at = [i for i, n in enumerate(BODY_13.names) if JOINT_TYPES[ROWS[n]] in none]
    assert len(at) == 8
    assert np.isnan(seen.joints[at]).all()
    assert (seen.states[at] == UNTRACKED).all()
    assert joints_of(seen)["right_hip"] == [0, 7]
    assert state_of(seen, "right_hip") == TRACKED


def wide(rows, names=("Head", "ShoulderLeft", "ShoulderRight"), sep=","):
    header = ["frame", *(f"{n}.{c}" for n in names for c in "uvs")]
    return "\n".join(sep.join(map(str, line)) for line in [header, *rows]) + "\n"


def test_columns_per_joint(tmp_path):
    row = [2, 10, 20, 2, 30.5, 40.25, 1, 50, 60, 0]

    take = only(write(tmp_path, wide([row]), WIDE))

    ((seen,),) = take.bodies
    assert take.images[0].frame == 2
    assert joints_of(seen)["head"] == [10, 20]
    assert joints_of(seen)["left_shoulder"] == [30.5, 40.25]
    assert np.isnan(joints_of(seen)["right_shoulder"]).all()
    assert seen.states[[0, 1, 4]].tolist() == [TRACKED, UNTRACKED, INFERRED]
    assert (np.delete(seen.states, [0, 1, 4]) == UNTRACKED).all()


def test_a_row_is_a_frame_where_no_column_says_it(tmp_path):
    toml = WIDE.replace('frame = "frame"\n', "").replace('state = "{point}.s"\n', "")
    rows = [[7, 10, 20, 0, 30, 40, 0, 50, 60, 0]] * 2

    take = only(write(tmp_path, wide(rows), toml))

    assert [ref.frame for ref in take.images] == [0, 1]
    assert (take.bodies[1][0].states[[0, 1, 4]] == TRACKED).all()


def test_semicolons_commas_and_names_of_other_programs(tmp_path):
    toml = WIDE + '[joints]\nhead = ["Kopf", "Hals"]\n[states]\ntracked = "ja"\n'
    toml += 'inferred = ["na ja"]\nuntracked = ["nein", ""]\n'
    names = ("Kopf", "Hals")
    rows = [
        [0, "100,5", 20, "ja", "101,5", 30, "Na ja"],
        [1, "100,5", 20, "ja", "101,5", 30, "nein"],
    ]

    first, second = only(write(tmp_path, wide(rows, names, ";"), toml)).bodies

    assert joints_of(first[0])["head"] == [101, 25]
    assert state_of(first[0], "head") == INFERRED  # the worse of the two
    assert state_of(second[0], "head") == UNTRACKED


def kinect2(tracked=True, identity=72057594037931102, joints=25, **changes):
    """A body as kinect2 for Node gives it: fractions of 1920 x 1080."""
    found = []
    for row in range(joints):
        x, y = where(row)
        joint = {
            **{"depthX": 0.5, "depthY": 0.4, "colorX": x / 1920, "colorY": y / 1080},
            **{"cameraX": 0.1, "cameraY": 0.2, "cameraZ": 3.5, "trackingState": 2},
        }
        found.append({**joint, **changes.get(JOINT_TYPES[row], {})})
    name = {} if identity is None else {"trackingId": identity}
    return {"bodyIndex": 3, "tracked": tracked, **name, "joints": found}


SIZE = '[pixels]\nunit = "fraction"\nwidth = 1920\nheight = 1080\n'

NODE = (
    '[columns]\nperson = "trackingId"\nx = "colorX"\ny = "colorY"\n'
    'state = "trackingState"\ntracked = "tracked"\n' + SIZE
)


@pytest.mark.parametrize("name", ["walk.json", "walk.jsonl"])
def test_json_of_kinect2(tmp_path, name):
    nowhere = {"colorX": float("-inf"), "colorY": float("inf")}
    frames = [
        {"bodies": [kinect2(tracked=False, identity=0), kinect2(Head=nowhere)]},
        {"bodies": []},
        {"bodies": [kinect2(ElbowLeft={"trackingState": 1}), kinect2(identity=8)]},
    ]
    text = json.dumps(frames)
    if name.endswith("l"):
        text = "\n".join(map(json.dumps, frames)) + "\n"

    take = only(write(tmp_path, text, NODE, name))

    assert [ref.frame for ref in take.images] == [0, 1, 2]
    ids = [[one.identity for one in bodies] for bodies in take.bodies]
    assert ids == [["72057594037931102"], [], ["72057594037931102", "8"]]
    first, second = take.bodies[0][0], take.bodies[2][0]
    assert state_of(first, "head") == UNTRACKED
    assert state_of(second, "left_elbow") == INFERRED
    for joint, row in ROWS.items():
        np.testing.assert_allclose(joints_of(second)[joint], where(row), atol=1e-3)


def test_json_needs_no_map_where_the_video_says_the_size(tmp_path):
    """Fractions are the Kinect's pixels over the width: 0.5 is pixel 32 of 64."""
    clip(tmp_path / "walk.avi", 12)
    half = {"colorX": 0.5, "colorY": 0.25}
    frames = [{"bodies": [kinect2(Head=half)]} for _ in range(12)]
    path = write(tmp_path, json.dumps({"frames": frames}), name="walk.json")

    records = list(kinect.read(path, mirrored="yes", faults="keep"))

    assert [r.image for r in records] == [
        ImageRef(tmp_path / "walk.avi", n, mirrored=True) for n in range(12)
    ]
    assert records[0].joints[0].tolist() == [64 - 1 - 32, 12, 1]
    assert (records[0].source, records[0].group) == ("kinect", "walk")


def test_json_bodies_without_names_and_joints_by_name(tmp_path):
    toml = NODE.replace('person = "trackingId"\n', 'joint = "type"\nframe = "n"\n')
    bodies = [kinect2(identity=None), kinect2(identity=None)]
    for body in bodies:
        for row, joint in enumerate(body["joints"]):
            joint["type"] = 24 - row

    take = only(
        write(tmp_path, json.dumps([{"n": 9, "bodies": bodies}]), toml, "a.json"),
        joint_map=tmp_path / "walk.toml",
    )

    assert take.images[0].frame == 9
    assert [one.identity for one in take.bodies[0]] == ["", ""]
    head = joints_of(take.bodies[0][0])["head"]
    np.testing.assert_allclose(head, where(24 - 3), atol=1e-3)


def test_bad_rows_are_left_out_and_their_frames_damaged(tmp_path):
    lines = (yoga(1, end="\n") + yoga(2, end="\n") + yoga(3, end="\n")).splitlines()
    lines[3] = lines[3].replace("930.25", "wide")  # the head of frame 1
    lines[30] = lines[29]  # twice in frame 2
    lines[52] = "0,18:02:33,JointType_Neck"
    lines[53] = lines[53].replace(",3,930.25", ",x,930.25")

    take = only(write(tmp_path, "\n".join(lines), YOGA))

    head = [state_of(bodies[0], "head") for bodies in take.bodies]
    assert head == [UNTRACKED, TRACKED, UNTRACKED]
    assert list(take.damaged) == [0, 1]
    assert take.damaged[0].endswith(
        "walk.csv line 4: x and y must be numbers. Received: 'wide'"
    )
    assert "line 31: person '0' must have ShoulderLeft once" in take.damaged[1]
    cells, frame, times = take.problems
    assert cells.endswith("line 53: must have 7 cells. Received: 3")
    assert frame.endswith("line 54: frame must be a whole number from 1. Received: 'x'")
    assert "times that grow with the frame; taken are 30 frames" in times


def test_damaged_json_is_left_out(tmp_path):
    frames = [
        {"bodies": [kinect2(joints=24), kinect2(identity=5)]},
        {"people": []},
        {"bodies": [7]},
    ]
    text = "\n".join([*map(json.dumps, frames), "{", ""])

    take = only(write(tmp_path, text, NODE, "walk.jsonl"))

    assert [len(bodies) for bodies in take.bodies] == [1, 0]
    assert [ref.frame for ref in take.images] == [0, 2]
    assert take.damaged[0].endswith("body 0: must have 25 joints. Received: 24")
    assert "line 3 body 0: must be an object. Received: 7" in take.damaged[1]
    assert "line 2: must have a list bodies" in take.problems[0]
    assert "line 4: must have a list bodies. Received: 'no JSON" in take.problems[1]


def test_damaged_frames_are_counted(tmp_path):
    clip(tmp_path / "walk.avi", 12)
    text = "".join(yoga(n + 1, end="\n") for n in range(12))
    text = text.replace("930.25", "wide", 1)
    path = write(tmp_path, text, YOGA)

    records = list(kinect.read(path))

    bad = [(r.id, r.reason) for r in records if isinstance(r, BadRecord)]
    assert ("walk/000000", "damaged_line") in bad


@pytest.mark.parametrize(
    "toml", [None, LONG, WIDE, YOGA], ids="none long wide yoga".split()
)
def test_a_table_in_3d_only_is_refused(tmp_path, toml):
    """LabanotationSuite's: no header; a time, then x, y, z and state in metres."""
    row = "31867373716," + "0.0710328,-0.600598,0.978207,1," * 25
    path = write(tmp_path, f"{row}\n{row}\n", toml)

    with pytest.raises(InputError) as error:
        only(path)

    assert "kpose does not guess a calibration" in str(error.value) or toml == YOGA
    assert "\n" not in str(error.value)


def test_the_real_table_in_3d_is_refused(tmp_path):
    path = DATA / "kinect_v2_csv" / "labanotation_joints.csv"
    if not path.is_file():
        pytest.skip(f"no kinect_v2_csv in {DATA} (set KPOSE_DATA)")

    with pytest.raises(InputError, match="kpose does not guess a calibration"):
        only(path)
    (tmp_path / "map.toml").write_text(WIDE)
    with pytest.raises(InputError, match="has no colour coordinates"):
        only(path, joint_map=tmp_path / "map.toml")


def test_positions_in_metres_are_refused(tmp_path):
    """DumpKinectSkeleton: a map can call positions x and y, but they are no pixels."""
    text = "Frame,Body,Joint,State,ColorX,ColorY\n0,1,3,2,0.12,-0.81\n0,1,4,2,-9.9,1\n"

    with pytest.raises(InputError, match=r"none is over 9\.9; positions in 3-D alone"):
        only(
            write(tmp_path, text.replace("4,2", "8,2"), LONG + '[joints]\nhead = "3"\n')
        )
    frames = [{"bodies": [{"joints": [{"cameraX": 0.1, "cameraY": 0.2}] * 25}]}]
    for body in frames[0]["bodies"]:
        body["tracked"] = True
    with pytest.raises(
        InputError, match=r"columns colorX and colorY.*cameraX, cameraY"
    ):
        only(write(tmp_path, json.dumps(frames), NODE, "walk.json"))


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        (LONG.replace('x = "ColorX"', ""), "must say which is x in the colour picture"),
        (LONG.replace('frame = "Frame"', ""), "must say which is frame. Received"),
        (LONG.replace('"Body"', '"Who"'), "person must be one column of"),
        (LONG.replace('"ColorY"', "6"), "only numbers from 0"),
        (YOGA.replace("x = 5", "x = -5"), "only numbers from 0"),
        (WIDE.replace("{point}.u", "u"), "x must be a pattern such as '{point}_x'"),
        (LONG + 'confidence = "c"', "[columns] must have frame, person, joint"),
        (LONG + "[colours]", "must have columns, joints, states, pixels, frames"),
        (LONG + '[pixels]\nunit = "m"', 'unit must be "pixel" or "fraction"'),
        (LONG + "[pixels]\nwidth = 1920", "width and height must be those"),
        (LONG + "[frames]\nfirst = 1.5", "first must be a whole number"),
        (LONG + '[frames]\ntime = "h"', "time must be one of s, ms, us, 100ns, clock"),
        (LONG + "[states]\ntracked = [2]\ninferred = [2]", "each text or number once"),
        (
            LONG + "[states]\nseen = 2",
            "[states] must have untracked, inferred, tracked",
        ),
        (LONG + '[states]\ntracked = "T"', "line 2: the state must be one of t"),
        (LONG + '[joints]\nhead = "Kopf"', "head must be made of the points"),
        ("columns = 3", "[columns] must be a table"),
        ("columns", "must be a TOML file"),
        (
            LONG + '[pixels]\nunit = "fraction"',
            "must have width and height in [pixels]",
        ),
    ],
)
def test_maps_that_are_none(tmp_path, toml, message):
    text = "Frame,Body,Joint,State,ColorX,ColorY\n0,1,Head,2,100,200\n"

    with pytest.raises(InputError) as error:
        only(write(tmp_path, text, toml))

    assert message in str(error.value)
    assert "walk" in str(error.value)
    assert "\n" not in str(error.value)


def test_pictures_of_a_table(tmp_path):
    text = "Frame,Body,Joint,State,ColorX,ColorY\n0,1,Head,2,100,200\n"
    path = write(tmp_path, text, LONG)

    with pytest.raises(InputError, match=r"beside it as walk\.mp4, or be read as"):
        list(kinect.takes(path))
    with pytest.raises(InputError, match="must have a video as its pictures"):
        only(path, tmp_path)
    video = clip(tmp_path / "walk.avi", 1)
    (take,) = kinect.takes(path)
    assert take.images == [ImageRef(video, 0)]
    write(tmp_path, text, LONG + "[pixels]\nwidth = 1920\nheight = 1080\n")
    with pytest.raises(InputError, match=r"those of .*walk\.avi, 64 x 48"):
        list(kinect.takes(path))


def test_tables_that_are_none(tmp_path):
    with pytest.raises(InputError, match=r"must be a \.csv, \.tsv, \.json or \.jsonl"):
        only(tmp_path / "walk.txt")
    header = "Frame,Body,Joint,State,ColorX,ColorY\n"
    with pytest.raises(InputError, match="must have a body"):
        only(write(tmp_path, header, LONG))
    with pytest.raises(InputError, match=r"line 2: frame must be a whole number"):
        only(write(tmp_path, header + "-1,1,Head,2,100,200\n", LONG))
    with pytest.raises(InputError, match="but is empty"):
        only(write(tmp_path, "", LONG))
    with pytest.raises(InputError, match="must be a JSON list of frames"):
        only(write(tmp_path, "3", NODE, "walk.json"))
    with pytest.raises(InputError, match="cannot be read"):
        write(tmp_path, "", LONG)
        only(tmp_path / "gone.csv", joint_map=tmp_path / "walk.toml")
