"""PersonTracker: the recorder's layout, its traps, and the writer."""

import os
from pathlib import Path

import cv2
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from kpose import images
from kpose.errors import InputError, ResourceError
from kpose.joints import BODY_13
from kpose.records import BadRecord, PersonRecord
from kpose_datasets import persontracker, read_source, require_different_names
from kpose_datasets.persontracker import TakeWriter
from kpose_datasets.takes import KINECT_ROWS, Body, Facts

DAY = "2026_11_24"

W, H = 160, 120

# A person who faces the camera, as a Kinect stores it: the right side on the right.
PERSON = np.array(
    [
        *[[80, 10]],
        *[[95, 30], [100, 45], [104, 60]],
        *[[65, 30], [60, 45], [56, 60]],
        *[[88, 60], [88, 80], [88, 100]],
        *[[72, 60], [72, 80], [72, 100]],
    ],
    np.float64,
)


def moved(x, y):
    """The person elsewhere."""
    return PERSON + np.array([x, y])


def line(*people, state=2, joints=25):
    """A line as PersonTracker writes it: 25 joints; unknown ones at 1, 1."""
    text = f"{len(people)} "
    for person in people:
        words = ["1 1 2"] * joints
        for row, (x, y) in zip(KINECT_ROWS, person, strict=True):
            if row < joints:
                words[row] = f"{x:.6g} {y:.6g} {state}"
        text += f"{joints} " + " ".join(words) + " "
    return text + "\n"


def picture(number=0, size=(W, H)):
    pixels = np.full((size[1], size[0], 3), 40 + number, np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def write(root, lines, video="video_0000", pictures=None, day=DAY):
    folder = root / day / video
    folder.mkdir(parents=True)
    for number in range(len(lines) if pictures is None else pictures):
        (folder / f"{number:06}.jpg").write_bytes(picture(number))
    (root / day / f"{video}.txt").write_text("".join(lines))
    return root


def still(count=12):
    return [line(PERSON)] * count


@pytest.fixture
def root(tmp_path):
    return write(tmp_path / "recordings", still())


def test_a_person_is_read_unmirrored_under_its_own_names(root):
    first = next(persontracker.read(root))

    assert first.id == "recordings/2026_11_24/video_0000/000000/0"
    assert first.recording == first.group == "recordings/2026_11_24/video_0000"
    assert (first.source, first.split, first.head_rule) == (
        "persontracker",
        "train",
        "point",
    )
    assert first.image.mirrored
    expected = PERSON * [-1, 1] + [W - 1, 0]
    np.testing.assert_allclose(first.joints[:, :2], expected)
    assert first.joints[:, 2].tolist() == [1] * 13
    assert first.visible.tolist() == [1] * 13
    # Whoever faces the camera has the right side on the left of the picture.
    assert first.joints[1, 0] < first.joints[4, 0]


@pytest.mark.parametrize(
    "part", ["", DAY, f"{DAY}/video_0000.txt"], ids=["root", "day", "file"]
)
def test_root_day_and_file_give_the_same_names(root, part, monkeypatch):
    ids = [r.id for r in persontracker.read(root / part)]

    assert ids == [f"recordings/{DAY}/video_0000/{n:06}/0" for n in range(12)]
    monkeypatch.chdir(root / DAY)
    assert [r.id for r in persontracker.read(Path())] == ids


def test_takes_come_by_day_and_number(tmp_path):
    for day, video in (
        (DAY, "video_0001"),
        (DAY, "video_0000"),
        ("a day", "video_7000"),
    ):
        write(tmp_path, still(), video, day=day)

    names = [take.name.split("/", 1)[1] for take in persontracker.takes(tmp_path)]

    assert names == [f"{DAY}/video_0000", f"{DAY}/video_0001", "a day/video_7000"]


def test_a_video_takes_the_place_of_the_folder(tmp_path):
    day = tmp_path / "r" / DAY
    day.mkdir(parents=True)
    codec = cv2.VideoWriter.fourcc(*"XVID")
    video = cv2.VideoWriter(str(day / "video_0000.avi"), codec, 30, (W, H))
    for number in range(12):
        video.write(np.full((H, W, 3), 20 * number, np.uint8))
    video.release()
    (day / "video_0000.txt").write_text("".join(still()))

    found = list(persontracker.read(tmp_path / "r"))
    (take,) = persontracker.takes(tmp_path / "r")

    assert [r.image.frame for r in found] == list(range(12))
    assert {r.image.path.name for r in found} == {"video_0000.avi"}
    assert abs(images.read(found[7].image).mean() - 140) < 3
    assert take.problems == ()
    (day / "video_0000.txt").write_text("".join(still(14)))
    (take,) = persontracker.takes(tmp_path / "r")
    assert take.problems == ("14 lines, but 12 frames in video_0000.avi",)


@pytest.mark.parametrize(
    "token",
    [
        *("inf", "-inf", "1.#INF", "-1.#INF", "1.#QNAN", "-1.#IND", "1.#INF00"),
        *("nan", "-nan(ind)", "1e400", "-2e8"),
    ],
)
def test_infinities_of_all_runtimes_are_joints_without_a_place(tmp_path, token):
    lines = still()
    words = lines[4].split()
    words[2 + 3 * KINECT_ROWS[3]] = token  # x of the right wrist
    lines[4] = " ".join(words) + "\n"
    root = write(tmp_path / "r", lines)

    found = list(persontracker.read(root))

    assert all(isinstance(r, PersonRecord) for r in found)
    assert found[4].joints[3].tolist() == [0, 0, 0]
    assert found[4].visible[3] == -1
    assert found[4].joints[:, 2].sum() == 12
    assert found[5].joints[:, 2].sum() == 13


def test_zero_zero_is_no_place(tmp_path):
    person = PERSON.copy()
    person[9] = 0
    root = write(tmp_path / "r", [line(person)] * 12)

    first = next(persontracker.read(root))

    assert first.joints[9].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (line(PERSON)[:-30] + "\n", "1 persons must have 76 numbers. Received: 62"),
        (line(PERSON, joints=24), "must have 25 joints. Received: '24'"),
        ("\n", "Received: 'an empty line'"),
        (line(PERSON).replace("30", "3o", 1), "expected a number. Received: '3o'"),
        (line(PERSON, state=3), "must be 0, 1 or 2. Received: 3"),
        ("-1\n", "number of persons. Received: '-1'"),
        ("many\n", "number of persons. Received: 'many'"),
        (line(PERSON).replace("\n", "7\n"), "must have 76 numbers. Received: 77"),
        ("2" + line(PERSON)[1:], "2 persons must have 152 numbers. Received: 76"),
    ],
)
def test_a_damaged_line_is_skipped_and_counted(tmp_path, bad, message):
    root = write(tmp_path / "r", [*still(5), bad, *still(7)], pictures=13)

    found = list(persontracker.read(root))

    wrong = [r for r in found if isinstance(r, BadRecord)]
    assert [r.reason for r in wrong] == ["damaged_line"]
    assert wrong[0].id == f"r/{DAY}/video_0000/000005"
    assert message in wrong[0].detail
    assert f"{root / DAY / 'video_0000.txt'}, line 6: " in wrong[0].detail
    assert len(found) == 13
    # The lines behind it keep their pictures.
    assert [r.image.path.stem for r in found[6:]] == [f"{n:06}" for n in range(6, 13)]


def test_bytes_that_are_no_utf_8_damage_their_line_alone(tmp_path):
    root = write(tmp_path / "r", still())
    file = root / DAY / "video_0000.txt"
    lines = file.read_bytes().split(b"\n")
    lines[3] = b"\xff\xfe" + lines[3]
    file.write_bytes(b"\r\n".join(lines))

    found = list(persontracker.read(root))

    assert [n for n, r in enumerate(found) if isinstance(r, BadRecord)] == [3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must have a line per frame, but is empty"),
        (" \n\n", "must have a line per frame, but is empty"),
        (line(PERSON, joints=24) * 12, "line 1: a person must have 25 joints"),
        ("hello\n", "line 1: expected the number of persons. Received: 'hello'"),
    ],
)
def test_a_file_without_a_good_line_is_refused(tmp_path, content, message):
    root = write(tmp_path / "r", [])
    file = root / DAY / "video_0000.txt"
    file.write_text(content)

    with pytest.raises(InputError) as error:
        list(persontracker.read(root))

    assert message in str(error.value)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_one_bad_take_leaves_the_others(tmp_path):
    root = write(tmp_path / "r", still())
    write(root, [line(PERSON, joints=24)] * 11, "video_0001")
    write(root, [], "video_0002")

    found = list(persontracker.read(root))
    takes = list(persontracker.takes(root))

    assert sum(isinstance(r, PersonRecord) for r in found) == 12
    assert sum(isinstance(r, BadRecord) for r in found) == 11
    assert "25 joints" in takes[1].problems[0]
    assert "is empty" in takes[2].problems[0]


def test_no_metadata_is_refused(tmp_path):
    (tmp_path / "video_0000.times.txt").write_text("1\n")

    with pytest.raises(InputError, match=r"YYYY_MM_DD/video_0000\.txt"):
        list(persontracker.read(tmp_path))


@pytest.mark.parametrize(
    ("pictures", "problem"),
    [
        (
            14,
            "12 lines, but 14 pictures: 0 lines without a picture, 2 pictures without",
        ),
        (
            10,
            "12 lines, but 10 pictures: 2 lines without a picture, 0 pictures without",
        ),
        (12, None),
    ],
)
def test_lines_and_pictures_need_not_agree(tmp_path, pictures, problem):
    root = write(tmp_path / "r", still(), pictures=pictures)

    (take,) = persontracker.takes(root)
    found = list(persontracker.read(root))

    assert len(found) == 12
    assert sum(r.image.path.exists() for r in found) == min(pictures, 12)
    assert len(take.problems) == (problem is not None)
    if problem:
        assert take.problems[0].startswith(problem)


def test_all_states_zero_is_nobody(tmp_path):
    root = write(tmp_path / "r", [*still(11), line(PERSON, state=0)])

    found = list(persontracker.read(root))

    assert (found[-1].reason, len(found)) == ("untracked_person", 12)
    root = write(tmp_path / "none", [line(PERSON, state=0)] * 12)
    with pytest.raises(InputError, match="12 untracked_person"):
        read_source(f"persontracker:{root}")


def test_nobody_in_a_frame_is_no_label(tmp_path):
    root = write(tmp_path / "r", ["0 \n", *still(11)])

    assert next(persontracker.read(root)).id[-8:] == "000001/0"


def test_people_who_change_order_are_still_two(tmp_path):
    far = moved(50, 3)
    lines = [line(PERSON, far) if n % 2 else line(far, PERSON) for n in range(12)]
    root = write(tmp_path / "r", lines)

    found = list(persontracker.read(root))

    # Linked by order, every joint would seem to jump 50 pixels, and be masked.
    assert len(found) == 24
    assert all(r.joints[:, 2].sum() == 13 for r in found)


def test_two_roots_of_one_name_are_refused(tmp_path):
    texts = []
    for place in ("a", "b"):
        write(tmp_path / place / "recordings", still())
        texts.append(f"persontracker:{tmp_path / place / 'recordings'}")
    days = [f"{texts[0]}/{DAY}", f"{texts[0]}/{DAY}/video_0000.txt"]

    with pytest.raises(InputError, match="persontracker data must have different"):
        require_different_names([read_source(text) for text in texts])
    with pytest.raises(InputError, match="persontracker data must have different"):
        require_different_names([read_source(days[1]), read_source(texts[1])])
    require_different_names([read_source(text) for text in (texts[0], *days)])


def test_options_are_read_from_the_call(root):
    source = read_source(f"persontracker:{root}?mirrored=no&inferred=keep&faults=keep")

    first = next(iter(source.records))

    assert not first.image.mirrored
    np.testing.assert_allclose(first.joints[:, :2], PERSON)
    with pytest.raises(InputError, match="mirrored must be one of auto, yes, no"):
        read_source(f"persontracker:{root}?mirrored=perhaps")


ODD = "réc ordings % # é'\"[1]*"


def test_folders_with_odd_characters(tmp_path):
    root = write(tmp_path / ODD, still())

    found = list(persontracker.read(root))

    assert found[0].recording == f"{ODD}/{DAY}/video_0000"
    assert images.read(found[3].image).shape == (H, W, 3)


# The writer


def bodies(*people):
    return [Body(person, np.full(13, 2, np.int8)) for person in people]


def test_what_is_written_is_read_back(tmp_path):
    facts = Facts("Ann", 'red "coat"', "teacher", "no", 25.0, "test")
    rng = np.random.default_rng(0)
    poses = rng.uniform([0, 0], [1279.994, 719.994], (12, 13, 2))
    with TakeWriter(tmp_path / "r", facts, DAY) as writer:
        assert writer.name == f"{DAY}/video_0000"
        for number, pose in enumerate(poses):
            states = np.arange(13).astype(np.int8) % 3
            one = Body(pose.copy(), states)
            one.joints[0] = np.nan  # state 0
            one.joints[1] = np.nan  # state 1
            writer.write(picture(number), [one, *bodies(pose)], 40.0 * number + 0.25)
        assert writer.frames == 12

    (take,) = persontracker.takes(tmp_path / "r")

    assert take.name == f"r/{DAY}/video_0000"
    assert (take.facts, take.problems, take.damaged) == (facts, (), {})
    np.testing.assert_allclose(take.times_ms, 40.0 * np.arange(12) + 0.25)
    for pose, (first, second) in zip(poses, take.bodies, strict=True):
        np.testing.assert_allclose(second.joints, pose, atol=0.01)
        np.testing.assert_allclose(first.joints[2:], pose[2:], atol=0.01)
        assert np.isnan(first.joints[:2]).all()
        assert first.states.tolist() == (np.arange(13) % 3).tolist()
    words = (tmp_path / "r" / DAY / "video_0000.txt").read_text().split("\n")[0].split()
    assert words[:2] == ["2", "25"]
    assert words[2:5] == ["0", "0", "0"]  # the base of the spine is not known


@hypothesis.given(
    st.lists(
        st.tuples(
            st.floats(-2000, 9999.99), st.floats(-2000, 9999.99), st.integers(0, 2)
        ),
        min_size=13,
        max_size=13,
    )
)
def test_a_line_holds_every_joint_to_a_hundredth_of_a_pixel(joints):
    one = Body(np.array([j[:2] for j in joints]), np.array([j[2] for j in joints]))

    (found,) = persontracker._line("1 " + persontracker._text(one))

    placed = np.isfinite(found.joints).all(axis=1)
    np.testing.assert_allclose(found.joints[placed], one.joints[placed], atol=0.01)
    # 0, 0 is no place, and with six digits so is a millionth.
    assert (np.abs(one.joints[~placed]) < 1e-6).all()
    assert found.states.tolist() == one.states.tolist()


@pytest.mark.parametrize("kept", range(0, 300, 23))
def test_a_writer_that_is_killed_leaves_a_take(tmp_path, kept):
    with TakeWriter(tmp_path / "r", Facts(), DAY) as writer:
        for number in range(12):
            writer.write(picture(), bodies(PERSON), 33.0 * number)
    # The last picture and time are there, of the last line so many bytes.
    file = tmp_path / "r" / DAY / "video_0000.txt"
    *whole, last = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*whole, last[:kept]]))

    found = list(persontracker.read(tmp_path / "r"))

    assert sum(isinstance(r, PersonRecord) for r in found) >= 11
    assert len(found) == 11 + (kept > 0)
    assert not np.isnan([r.joints for r in found if isinstance(r, PersonRecord)]).any()
    (take,) = persontracker.takes(tmp_path / "r")
    assert take.times_ms.tolist() == [33.0 * n for n in range(len(take.bodies))]


def test_a_frame_is_on_disk_before_the_next(tmp_path):
    writer = TakeWriter(tmp_path / "r", Facts(split="test"), DAY)
    for number in range(12):
        writer.write(picture(), bodies(PERSON), 33.0 * number)
    # Neither closed nor flushed by anybody else.
    found = list(persontracker.read(tmp_path / "r"))

    assert len(found) == 12
    assert {r.split for r in found} == {"test"}
    writer.close()


def test_the_next_number_of_the_day(tmp_path):
    (tmp_path / DAY).mkdir()
    (tmp_path / DAY / "video_0004.avi").touch()
    (tmp_path / DAY / "recording.toml").write_text(
        'subject = "Ann"\n[video_0007]\nsubject = "Bo"\n'
    )
    with TakeWriter(tmp_path, Facts(subject="Cy"), DAY) as writer:
        writer.write(picture(), bodies(PERSON), 0)
        with TakeWriter(tmp_path, Facts(), DAY) as other:
            other.write(picture(), bodies(PERSON), 0)

    assert writer.name == f"{DAY}/video_0008"
    assert other.name == f"{DAY}/video_0009"
    text = (tmp_path / DAY / "recording.toml").read_text()
    assert text.startswith('subject = "Ann"\n[video_0007]\nsubject = "Bo"\n\n[video_')
    subjects = [take.facts.subject for take in persontracker.takes(tmp_path)]
    assert subjects == ["Cy", ""]


def test_a_take_without_a_frame_leaves_nothing(tmp_path):
    with TakeWriter(tmp_path, Facts(), DAY):
        pass

    assert list((tmp_path / DAY).iterdir()) == []


@pytest.mark.parametrize("day", ["../x", "today", "2026_11", "2026_11_24/a"])
def test_a_day_is_a_date(tmp_path, day):
    with pytest.raises(InputError, match="YYYY_MM_DD"):
        TakeWriter(tmp_path / "r", Facts(), day)
    assert not (tmp_path / "r").exists()


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(ResourceError, match="must be a folder to write to"):
        TakeWriter(tmp_path / "file", Facts(), DAY)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_leaves_what_was_written(tmp_path):
    writer = TakeWriter(tmp_path / "r", Facts(), DAY)
    for number in range(11):
        writer.write(picture(), bodies(PERSON), 33.0 * number)
    target = writer.folder / "000011.jpg"
    target.symlink_to("/dev/full")

    with pytest.raises(ResourceError, match="No space left"):
        writer.write(picture(), bodies(PERSON), 400.0)
    assert not target.is_symlink()  # half a picture does not stay
    writer.write(picture(), bodies(PERSON), 420.0)
    writer.close()

    assert writer.frames == 12
    (take,) = persontracker.takes(tmp_path / "r")
    assert take.problems == ()
    assert len(take.bodies) == 12


@pytest.mark.parametrize(
    ("times", "problem"),
    [
        ("\n".join(map(str, range(11))), "has 11 times for 12 lines"),
        ("\n".join(["1"] * 12), "must have times that grow"),
        ("\n".join(["x"] * 12), "must have a number per line"),
        ("\n".join([*map(str, range(11)), "inf"]), "must have times that grow"),
    ],
)
def test_times_that_cannot_be_used_are_said(root, times, problem):
    (root / DAY / "video_0000.times.txt").write_text(times)

    (take,) = persontracker.takes(root)

    assert take.times_ms is None
    assert problem in take.problems[0]
    assert take.seconds()[3] == pytest.approx(0.1)


def test_joints_are_all_of_the_skeleton():
    names = (
        "SpineBase SpineMid Neck Head ShoulderLeft ElbowLeft WristLeft HandLeft "
        "ShoulderRight ElbowRight WristRight HandRight HipLeft KneeLeft AnkleLeft "
        "FootLeft HipRight KneeRight AnkleRight FootRight"
    ).split()
    found = []
    for row in KINECT_ROWS:
        part = names[row].replace("Left", "").replace("Right", "").lower()
        side = names[row][len(part) :].lower()
        found.append(f"{side}_{part}" if side else part)
    assert tuple(found) == BODY_13.names
