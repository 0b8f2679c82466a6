"""The reader of NTU RGB+D, on tiny texts of its exact structure and the real files."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from kpose import images
from kpose.errors import InputError
from kpose.joints import BODY_13
from kpose.records import BadRecord, ImageRef, PersonRecord
from kpose_datasets import ntu
from kpose_datasets.takes import INFERRED, TRACKED, UNTRACKED

DATA = Path(os.environ.get("KPOSE_DATA", Path(__file__).parents[2] / "shared" / "data"))

REAL = DATA / "ntu_kinect_v2"

NAME = "S001C002P003R002A058"

ROWS = dict(
    zip(BODY_13.names, (3, 8, 9, 10, 4, 5, 6, 16, 17, 18, 12, 13, 14), strict=True)
)
"""The row of a file that each joint is, by formats.md's JointType."""

ID = "72057594037931101"


def joint_line(row, x=None, y=None, state=2):
    """Joint ``row`` lies at colour x = 1000 + 10 row, y = 500 + row."""
    x, y = (1000 + 10 * row if x is None else x), (500 + row if y is None else y)
    before = "0.2181153 0.1725972 3.785547 277.419 191.8218"
    return f"{before} {x} {y} -0.2 0.05 0.9 -0.1 {state}"


def body(identity=ID, **changes):
    """The lines of a body; ``j8=(x, y, state)`` changes joint 8."""
    lines = [f"{identity} 0 1 1 1 1 0 0.02764709 0.05745083 2", "25"]
    lines += [joint_line(row, *changes.get(f"j{row}", ())) for row in range(25)]
    return lines


def skeleton(*frames, end="\n", promised=None):
    """A file of frames, each a list of bodies."""
    lines = [str(len(frames) if promised is None else promised)]
    for bodies in frames:
        lines += [str(len(bodies)), *(line for one in bodies for line in one)]
    return end.join(lines) + end


def write(folder, text, name=NAME):
    path = folder / f"{name}.skeleton"
    path.write_bytes(text.encode())
    return path


def clip(path, frames, size=(64, 48)):
    """A video whose frame i is grey of 10 + 20 i."""
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, size)
    assert video.isOpened()
    for frame in range(frames):
        video.write(np.full((size[1], size[0], 3), 10 + 20 * frame, np.uint8))
    video.release()
    return path


def only(path, images=None):
    (take,) = ntu.takes(path, images)
    return take


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_joints_are_the_colour_pixels_of_the_right_rows(tmp_path, end):
    text = skeleton([body(j10=("nan", "inf", 2), j6=(3, 4, 1))], [], end=end)

    take = only(write(tmp_path, text))

    assert [len(bodies) for bodies in take.bodies] == [1, 0]
    seen = take.bodies[0][0]
    for index, name in enumerate(BODY_13.names):
        row = ROWS[name]
        expected = {"left_wrist": [3, 4], "right_wrist": [np.nan] * 2}.get(
            name, [1000 + 10 * row, 500 + row]
        )
        np.testing.assert_array_equal(seen.joints[index], expected)
        assert seen.states[index] == (INFERRED if name == "left_wrist" else TRACKED)
    assert (take.name, take.damaged) == (NAME, {})
    assert [problem[:18] for problem in take.problems] == ["expected the video"]


def test_what_has_no_place_is_none(tmp_path):
    changed = body(j3=("-inf", 5, 2), j8=(0, 0, 2), j9=(0, 7, 0))

    (seen,) = only(write(tmp_path, skeleton([changed]))).bodies[0]

    at = [BODY_13.names.index(n) for n in ("head", "right_shoulder", "right_elbow")]
    assert np.isnan(seen.joints[at[:2]]).all()
    assert seen.joints[at[2]].tolist() == [0, 7]
    assert seen.states[at[2]] == UNTRACKED


def test_ids_of_two_bodies_keep_their_64_bits(tmp_path):
    """As floats 72057594037931101 and ...102 are one number."""
    people = [body(ID), body("72057594037931102")]

    take = only(write(tmp_path, skeleton(people)))

    assert [one.identity for one in take.bodies[0]] == [ID, "72057594037931102"]


def test_facts_images_and_the_missing_video(tmp_path):
    path = write(tmp_path, skeleton([body()], [body()]))

    take = only(path)

    there = tmp_path / f"{NAME}_rgb.avi"
    assert take.images == [ImageRef(there, 0), ImageRef(there, 1)]
    assert take.problems == (
        f"expected the video {there}, but there is none: say where with ?images=FOLDER",
    )
    assert (take.facts.subject, take.facts.mirrored) == ("P003", "yes")
    assert take.facts.split == "train"
    (tmp_path / "recording.toml").write_text(
        f'clothing = "2"\n[{NAME}]\nsubject = "me"\nmirrored = "no"\n'
    )
    facts = only(path).facts
    assert (facts.subject, facts.clothing, facts.mirrored) == ("me", "2", "no")


def test_records_are_unmirrored_and_of_their_frame(tmp_path):
    # Pictures of 64 x 48: joints inside, 12 frames of somebody who does not move.
    places = {f"j{r}": (5 + 2 * r, 5 + r, 2) for r in range(25)}
    path = write(tmp_path, skeleton(*[[body(**places)]] * 12))
    video = clip(tmp_path / "elsewhere.avi", 12)

    records = list(ntu.read(path, video, faults="keep"))

    assert [record.image for record in records] == [
        ImageRef(video, frame, mirrored=True) for frame in range(12)
    ]
    assert len({record.id for record in records}) == 12
    for name, row in ROWS.items():
        x, y, there = records[3].joints[BODY_13.names.index(name)]
        assert (x, y, there) == (64 - 1 - (5 + 2 * row), 5 + row, 1)
    first = records[0]
    assert (first.source, first.group, first.recording) == ("ntu", NAME, NAME)
    assert (first.split, first.subject) == ("train", "P003")
    assert abs(int(images.read(records[7].image)[20, 20, 0]) - 150) < 4
    # The option is the last word.
    back = next(ntu.read(path, video, mirrored="no", faults="keep"))
    assert back.joints[0].tolist() == [5 + 2 * 3, 5 + 3, 1]


def test_persons_without_a_video_still_come(tmp_path):
    path = write(tmp_path, skeleton(*[[body()]] * 12))

    records = list(ntu.read(path))

    video = tmp_path / f"{NAME}_rgb.avi"
    assert [r.image for r in records] == [ImageRef(video, f, True) for f in range(12)]


def test_a_file_cut_short_keeps_its_whole_frames(tmp_path):
    whole = skeleton([body()], [body()], [body()])
    cut = whole[: whole.rindex("0.2181153") + 30]

    take = only(write(tmp_path, cut))

    assert len(take.bodies) == 2
    assert take.problems[0].endswith("but is cut short after 2 of 3")
    # The rest of the cut frame is no frame too many.
    assert not any("goes on" in problem for problem in take.problems)


def test_fewer_and_more_frames_than_promised_are_reported(tmp_path):
    frames = [body()], [body()]

    few = only(write(tmp_path, skeleton(*frames, promised=5), "few"))
    many = only(write(tmp_path, skeleton(*frames, promised=1), "many"))

    assert (len(few.bodies), len(many.bodies)) == (2, 1)
    assert few.problems[0].endswith("cut short after 2 of 5")
    # 1 frame count, 1 body count, 27 lines of the body.
    assert many.problems[0].endswith("after its 1 frames, but goes on at line 30")


def test_a_video_of_another_length_is_reported(tmp_path):
    clip(tmp_path / f"{NAME}_rgb.avi", 3)

    take = only(write(tmp_path, skeleton(*[[body()]] * 4)))

    assert len(take.bodies) == 4
    assert take.problems[0].endswith(f"but has 4 and {NAME}_rgb.avi 3")


def wrong(change):
    """A file of one frame after a change to the list of its lines."""
    lines = skeleton([body()]).splitlines()
    return "\n".join(change(lines)) + "\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cut short after none"),
        ("2\n1\n", "cut short after none"),
        ("many\n", "line 1 must have the number of frames"),
        (skeleton([body()] * 7), "line 2 must have the number of bodies, 0 to 6"),
        (
            wrong(lambda lines: [*lines[:3], "24", *lines[4:28]]),
            "line 4 must have the number of joints, 25. Received: '24'",
        ),
        (
            wrong(
                lambda lines: (
                    [*lines[:4], lines[4].replace("191.8218", "no"), *lines[5:]]
                )
            ),
            "line 5 must have a number, value 5 of a joint's 12. Received: 'no'",
        ),
        (
            wrong(lambda lines: [*lines[:2], "a b c d e f g h i j", *lines[3:]]),
            "line 3 must have the id of a body, a whole number. Received: 'a'",
        ),
        # Another program's file with 11 values: a quarter of the lines is missing.
        (
            wrong(lambda lines: [*lines[:4], *(s[:-2] for s in lines[4:]), *lines[4:]]),
            "must have 0, 1 or 2, the tracking state, value 12 of a joint's 12",
        ),
    ],
    ids=["empty", "only counts", "no count", "7 bodies", "24", "text", "id", "11"],
)
def test_files_that_are_no_ntu(tmp_path, text, message):
    path = write(tmp_path, text)

    with pytest.raises(InputError) as error:
        only(path)

    assert message in str(error.value)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_a_damaged_file_among_good_ones_is_counted(tmp_path):
    write(tmp_path, "no", "a")
    write(tmp_path, skeleton([body()]), "b")

    first, second = ntu.takes(tmp_path)

    assert (first.name, second.name) == ("a", "b")
    assert "line 1 must have the number of frames" in first.damaged[0]
    bad = [r for r in ntu.read(tmp_path) if isinstance(r, BadRecord)]
    assert bad[0].reason == "damaged_line"
    write(tmp_path, "no", "b")
    with pytest.raises(InputError, match=r"a\.skeleton line 1"):
        list(ntu.takes(tmp_path))


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="must be a folder of"):
        list(ntu.takes(tmp_path))
    write(tmp_path, skeleton([]), "a")
    write(tmp_path, skeleton([]), "b")
    video = clip(tmp_path / "one.avi", 1)
    with pytest.raises(InputError, match=r"videos of the 2 files .* in a folder"):
        list(ntu.takes(tmp_path, video))
    (tmp_path / "c.skeleton").write_bytes(b"\xff\xfe1")
    with pytest.raises(InputError, match=r"must be a \.skeleton file"):
        only(tmp_path / "c.skeleton")


@pytest.fixture
def real():
    if not REAL.is_dir():
        pytest.skip(f"no ntu_kinect_v2 in {DATA} (set KPOSE_DATA)")
    return REAL


def test_counts_of_the_real_files(real):
    takes = {take.name[-4:]: take for take in ntu.takes(real / "nturgb+d_skeletons")}

    counts = {k: [len(bodies) for bodies in take.bodies] for k, take in takes.items()}

    assert counts == {
        "A001": [1] * 103,
        "A011": [1] * 82,
        "A058": [2] * 70,
        "A003": [1] * 100,
        "A034": [1] * 71,
        "A017": [1] * 124,
    }
    # Nothing but the videos, which are elsewhere.
    assert all("the video" in " ".join(take.problems) for take in takes.values())
    assert all(len(take.problems) == 1 for take in takes.values())
    two = {one.identity for bodies in takes["A058"].bodies for one in bodies}
    assert two == {"72057594037944738", "72057594037944734"}
    # All 25 joints: 2,208 tracked and 367 inferred.
    text = (real / "nturgb+d_skeletons/S001C001P001R001A001.skeleton").read_text()
    lines = [line.split() for line in text.splitlines()]
    states = [line[-1] for line in lines if len(line) == 12]
    assert (states.count("2"), states.count("1")) == (2208, 367)
    ours = np.array([one.states for f in takes["A001"].bodies for one in f])
    wanted = np.reshape(states, (103, 25))[:, list(ROWS.values())].astype(int)
    np.testing.assert_array_equal(ours, wanted)


def test_the_real_clip_is_unmirrored(real):
    path = real / "nturgb+d_skeletons/S001C001P001R001A001.skeleton"

    records = list(ntu.read(path, real / "nturgb+d_rgb"))

    people = [record for record in records if isinstance(record, PersonRecord)]
    assert len(records) == 103
    assert len(people) >= 90
    # Head of the first frame: 1919 - 1039.476 of joint 3.
    np.testing.assert_allclose(people[0].joints[0, :2], [879.524, 328.9554], atol=1e-3)
    right, left = (
        np.array([r.joints[BODY_13.names.index(f"{side}_hip")] for r in people])
        for side in ("right", "left")
    )
    both = (right[:, 2] > 0) & (left[:, 2] > 0)
    assert both.sum() >= 90
    assert (right[both, 0] < left[both, 0]).all()
    assert {record.image.frame for record in people} <= set(range(103))
    picture = images.read(people[0].image)
    assert picture.shape == (1080, 1920, 3)
