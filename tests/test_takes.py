"""Takes: facts, who is who, the mirror decision, and records of bodies."""

import cv2
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from kpose import images
from kpose.errors import InputError
from kpose.faults import REASONS
from kpose.records import BadRecord, ImageRef, PersonRecord
from kpose_datasets import takes
from kpose_datasets.takes import (
    Body,
    Facts,
    Take,
    body,
    judge,
    link,
    read_facts,
    records,
    write_facts,
)

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

TORSO = float(np.hypot(95 - 72, 60 - 30))

UNMIRRORED = PERSON * [-1, 1] + [W - 1, 0]


def moved(x, y):
    """The person elsewhere."""
    return PERSON + np.array([x, y])


def seen(joints=PERSON, state=2, identity="", **states):
    """A body; ``states`` by index of the joint, as ``s3=1``."""
    every = np.full(13, state, np.int8)
    for name, value in states.items():
        every[int(name[1:])] = value
    return body(np.array(joints, np.float64), every, identity)


@pytest.fixture
def still(tmp_path):
    """A function that makes a take of frames, each a list of bodies."""

    def make(frames, facts=None, size=(W, H), **more):
        refs = []
        for number in range(len(frames)):
            path = tmp_path / f"{number:06}.png"
            if not path.exists():
                cv2.imwrite(str(path), np.zeros((size[1], size[0], 3), np.uint8))
            refs.append(ImageRef(path))
        return Take("t", refs, frames, facts or Facts(), **more)

    return make


# recording.toml


def facts_of(folder, text, video="video_0003"):
    (folder / "recording.toml").write_text(text, encoding="utf-8")
    return read_facts(folder, video)


def test_facts_hold_for_all_takes_but_those_with_a_table(tmp_path):
    text = (
        'subject = "Ann"\nclothing = "red"\nfps = 25\nmirrored = "yes"\n'
        '[video_0003]\nclothing = "blue"\nsplit = "test"\nlabelled_by = "hand"\n'
    )

    assert facts_of(tmp_path, text) == Facts("Ann", "blue", "hand", "yes", 25, "test")
    assert read_facts(tmp_path, "video_0004") == Facts(
        "Ann", "red", "kinect", "yes", 25
    )


def test_facts_lie_beside_the_labels_or_one_folder_above(tmp_path):
    day = tmp_path / "day"
    day.mkdir()
    assert read_facts(day, "video_0000") == Facts()
    (tmp_path / "recording.toml").write_text('subject = "above"')
    assert read_facts(day, "video_0000").subject == "above"
    assert facts_of(day, 'clothing = "red"') == Facts(clothing="red")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('cloth = "red"', "a key must be one of subject, clothing, labelled_by, "),
        ('[video_0003]\ncloth = "red"', "[video_0003] a key must be one of subject"),
        ('[video_0009]\ncloth = "red"', "[video_0009] a key must be one of subject"),
        ("subject = 7", "subject must be a text. Received: 7"),
        ('fps = "30"', "fps must be a number. Received: '30'"),
        ("fps = true", "fps must be a number. Received: True"),
        ("fps = 0", "fps must be positive. Received: 0"),
        ("fps = nan", "fps must be positive. Received: nan"),
        ("mirrored = true", "mirrored must be a text. Received: True"),
        (
            'mirrored = "left"',
            "mirrored must be one of auto, yes, no. Received: 'left'",
        ),
        ('split = "all"', "split must be one of train, val, test. Received: 'all'"),
        ("subject = ", "must be a TOML file"),
        ('[vidoe_0003]\nsplit = "test"', "name of a take. Received: [vidoe_0003]"),
        ('[vide]\nsubject = "a"', "name of a take. Received: [vide]"),
        ('[video_3]\nsubject = "a"', "name of a take. Received: [video_3]"),
        ('[".."]\nsubject = "a"', "name of a take. Received: [..]"),
        ('subject = ["a"]', "subject must be a text. Received: ['a']"),
    ],
)
def test_a_wrong_fact_names_file_and_key(tmp_path, text, message):
    with pytest.raises(InputError) as error:
        facts_of(tmp_path, text)

    assert message in str(error.value)
    assert str(tmp_path / "recording.toml") in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_utf_8_is_refused(tmp_path):
    (tmp_path / "recording.toml").write_bytes(b'subject = "\xe9"')

    with pytest.raises(InputError, match=r"recording\.toml must be a TOML file"):
        read_facts(tmp_path, "video_0000")


def test_tables_may_name_takes_of_any_reader_and_deleted_ones(tmp_path):
    (tmp_path / "S001.skeleton").touch()

    assert facts_of(tmp_path, '[S001]\nsubject = "P"', "S001").subject == "P"
    with pytest.raises(InputError, match=r"Received: \[S00\]"):
        facts_of(tmp_path, '[S00]\nsubject = "P"', "S001")
    assert facts_of(tmp_path, '[video_9999]\nsubject = "P"') == Facts()


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@hypothesis.settings(max_examples=25)
@hypothesis.given(
    st.builds(
        Facts,
        subject=words,
        clothing=words,
        labelled_by=words,
        mirrored=st.sampled_from(["auto", "yes", "no"]),
        fps=st.floats(0.01, 9999),
        split=st.sampled_from(["train", "val", "test"]),
    )
)
def test_facts_are_read_as_they_were_written(tmp_path_factory, facts):
    folder = tmp_path_factory.mktemp("facts")
    (folder / "recording.toml").write_text('# mine\nsubject = "all"')

    write_facts(folder, "video_0003", facts)
    write_facts(folder, "video_0004", Facts())

    assert read_facts(folder, "video_0003") == facts
    assert read_facts(folder, "video_0004") == Facts()
    assert read_facts(folder, "video_0005") == Facts(subject="all")
    assert (folder / "recording.toml").read_text().startswith("# mine\n")


def test_facts_are_not_written_twice_nor_half_a_character(tmp_path):
    write_facts(tmp_path, "video_0000", Facts())
    before = (tmp_path / "recording.toml").read_text()

    with pytest.raises(InputError, match="must have no facts about video_0000"):
        write_facts(tmp_path, "video_0000", Facts(subject="x"))
    with pytest.raises(InputError, match="must be text"):
        write_facts(tmp_path, "video_0001", Facts(subject="\ud800"))
    assert (tmp_path / "recording.toml").read_text() == before


# Who is who


def test_no_place_is_nan():
    joints = PERSON.copy()
    joints[0] = np.inf, 5
    joints[1] = 0, 0
    joints[2] = 0, 7
    joints[3] = 5, -2e6

    found = np.isnan(body(joints, np.full(13, 2)).joints).any(axis=1)

    assert found.tolist() == [True, True, False, True] + [False] * 9


def test_bodies_that_change_order_keep_their_tracks(still):
    frames = [[seen(moved(n, 0)), seen(moved(55 - n, 0))] for n in range(4)]
    frames[2].reverse()

    assert link(still(frames)) == [[0, 1], [0, 1], [1, 0], [0, 1]]


def test_all_are_linked_together_at_the_least_cost(still):
    # One by one, the first would take the second's track, which is nearer to it.
    first = [seen(PERSON), seen(moved(20, 0))]
    then = [seen(moved(11, 0)), seen(moved(31, 0))]

    assert link(still([first, then])) == [[0, 1], [0, 1]]


def test_a_joint_that_flew_away_makes_no_other_person(still):
    wild = PERSON.copy()
    wild[3] = 9e5, 9e5

    assert link(still([[seen()], [seen(wild)], [seen()]])) == [[0], [0], [0]]


def test_another_place_or_a_long_absence_makes_another_track(still):
    away = [seen(moved(3 * TORSO, 0))]
    assert link(still([[seen()], away])) == [[0], [1]]
    # Half a second is 15 frames.
    assert link(still([[seen()], *[[]] * 13, [seen()]]))[-1] == [0]
    assert link(still([[seen()], *[[]] * 16, [seen()]]))[-1] == [1]


def test_time_stamps_count_for_absence(still):
    frames = [[seen()], [seen()]]

    assert link(still(frames, times_ms=np.array([0.0, 900.0]))) == [[0], [1]]


def test_the_trackers_own_identities_are_believed(still):
    one, other = seen(identity="72"), seen(moved(50, 0), identity="9")
    frames = [[one, other], [other, one], *[[]] * 40, [other]]

    assert link(still(frames))[-1] == [1]
    assert link(still(frames))[:2] == [[0, 1], [1, 0]]


def test_a_body_without_a_place_is_nobody(still):
    nothing = seen(np.full((13, 2), np.nan), state=0)

    assert link(still([[nothing, seen()]])) == [[-1, 0]]
    assert judge(still([[nothing, seen()]])).persons == 1


# The mirror decision


@pytest.mark.parametrize(
    ("option", "fact", "joints", "mirrored", "words"),
    [
        (
            "",
            "auto",
            PERSON,
            True,
            "mirrored (auto: the right shoulder is on the right ",
        ),
        (
            "",
            "auto",
            UNMIRRORED,
            False,
            "not mirrored (auto: the right shoulder is on ",
        ),
        ("", "no", PERSON, False, "not mirrored (as stated: the right shoulder is on "),
        ("", "yes", UNMIRRORED, True, "mirrored (as stated: the right shoulder is on "),
        ("yes", "no", PERSON, True, "mirrored (option: the right shoulder is on the "),
        ("no", "yes", PERSON, False, "not mirrored (option: the right shoulder is on "),
        ("auto", "no", PERSON, True, "mirrored (auto: the right shoulder is on the "),
    ],
)
def test_option_before_facts_before_shoulders(
    still, option, fact, joints, mirrored, words
):
    judged = judge(still([[seen(joints)]] * 12, Facts(mirrored=fact)), option)

    assert judged.mirrored == mirrored
    assert judged.decision.startswith(words)
    assert judged.decision.endswith(" in 12 of 12 bodies with both tracked)")
    shoulders_say = joints is PERSON
    assert len(judged.problems) == (mirrored != shoulders_say)


def test_inferred_shoulders_do_not_decide(still):
    # Three are tracked and face the camera; nine are inferred and seem to turn round.
    frames = [[seen()]] * 3 + [[seen(UNMIRRORED, s1=1)]] * 9

    judged = judge(still(frames))

    assert judged.mirrored
    assert "in 3 of 3 bodies" in judged.decision


def test_shoulders_that_disagree_are_said(still):
    judged = judge(still([[seen()]] * 7 + [[seen(UNMIRRORED)]] * 5))

    assert judged.mirrored
    assert "in 7 of 12 bodies" in judged.decision
    assert "is a guess" in judged.problems[-1]


def test_without_shoulders_it_is_not_mirrored(still):
    judged = judge(still([[seen(state=1)]] * 12))

    assert not judged.mirrored
    assert judged.decision == "not mirrored (auto: nobody has both shoulders tracked)"
    assert "mirrored=yes or mirrored=no" in judged.problems[-1]


@pytest.mark.parametrize("name", ["mirrored", "inferred", "faults"])
def test_options_are_words(still, name):
    with pytest.raises(InputError, match=f"{name} must be one of"):
        judge(still([[seen()]]), **{name: "true"})


# Records


def test_joints_and_pixels_are_unmirrored_together(tmp_path):
    # A red hand on the right of what is stored: the right hand of a mirrored person.
    pixels = np.zeros((H, W, 3), np.uint8)
    x, y = PERSON[3].astype(int)
    pixels[y - 2 : y + 3, x - 2 : x + 3] = (0, 0, 255)  # BGR
    cv2.imwrite(str(tmp_path / "p.png"), pixels)
    take = Take("t", [ImageRef(tmp_path / "p.png")] * 12, [[seen()]] * 12, Facts())

    first = next(records(take, "s"))
    picture = images.read(first.image)

    assert first.joints[3].tolist() == [W - 1 - 104, 60, 1]
    red = np.argwhere(picture[..., 0] > 200).mean(axis=0)
    np.testing.assert_allclose(red[::-1], first.joints[3, :2])
    assert first.joints[3, 0] < first.joints[6, 0]


def test_an_unmirrored_take_stays_as_it_is(still):
    first = next(records(still([[seen(UNMIRRORED)]] * 12), "s"))

    assert not first.image.mirrored
    np.testing.assert_allclose(first.joints[:, :2], UNMIRRORED)


def test_records_carry_what_is_known(still):
    facts = Facts("Ann", "red", split="val")

    found = list(
        records(still([[], [seen(), seen(moved(40, 0))], *[[]] * 9], facts), "s")
    )

    assert [r.id for r in found] == ["t/000001/0", "t/000001/1"]
    for one in found:
        assert (one.source, one.subject, one.clothing, one.split) == (
            *("s", "Ann", "red", "val"),
        )
        assert one.group == one.recording == "t"
        assert one.head_rule == "point"


@pytest.mark.parametrize(
    ("inferred", "kept", "visible"), [("", 0, -1), ("drop", 0, -1), ("keep", 1, 0)]
)
def test_inferred_joints_are_left_out_unless_kept(still, inferred, kept, visible):
    take = still([[seen(s6=1, s12=0)]] * 12)

    first = next(records(take, "s", inferred=inferred))

    assert first.joints[6].tolist() == ([W - 1 - 56, 60, 1] if kept else [0, 0, 0])
    assert first.joints[12].tolist() == [0, 0, 0]
    assert first.visible.tolist() == [1] * 6 + [visible] + [1] * 5 + [-1]
    masked = judge(take, inferred=inferred).masked()
    expected = {"untracked": {"left_ankle": 12}}
    if not kept:
        expected["inferred"] = {"left_wrist": 12}
    assert masked == expected


def test_faults_are_left_out_unless_kept(still):
    jump = PERSON.copy()
    jump[3] -= [0, 50]
    frames = [[seen(jump if n == 10 else PERSON)] for n in range(20)]

    masked = list(records(still(frames), "s"))
    kept = list(records(still(frames), "s", faults="keep"))

    assert masked[10].joints[3].tolist() == [0, 0, 0]
    assert masked[9].joints[3, 2] == masked[11].joints[3, 2] == 1
    np.testing.assert_allclose(kept[10].joints[3], [W - 1 - 104, 10, 1])


def test_each_person_is_judged_alone(still):
    # Were they one track, every joint would jump by 55 pixels in every frame.
    frames = [[seen(), seen(moved(55, 0))][:: 1 if n % 2 else -1] for n in range(12)]

    judged = judge(still(frames))

    assert judged.persons == 2
    assert judged.masked() == {}


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (seen(state=0), "untracked_person"),
        (seen(np.zeros((13, 2))), "untracked_person"),
        (seen(state=1), "too_few_joints"),
        (seen(state=0, s1=2, s4=2), "too_few_joints"),
        (seen(state=0, s0=2, s2=2, s3=2), "too_few_joints"),  # none of the trunk
        (seen(state=0, s1=2, s2=2, s3=2), None),
    ],
)
def test_a_body_of_too_little_is_skipped(still, one, reason):
    found = list(records(still([[one]] * 12), "s"))

    assert len(found) == 12
    for record in found:
        if reason is None:
            assert isinstance(record, PersonRecord)
        else:
            assert isinstance(record, BadRecord)
            assert record.reason == reason
            assert "t, frame " in record.detail


@pytest.mark.parametrize(("count", "good"), [(9, False), (10, True)])
def test_a_take_of_nine_frames_is_left_out(still, count, good):
    found = list(records(still([[seen()]] * count), "s"))

    assert len(found) == count
    assert all(isinstance(one, PersonRecord) for one in found) == good
    if not good:
        assert {one.reason for one in found} == {"take_too_short"}
        assert "at least 10 frames. Received: 9" in found[0].detail


def test_a_damaged_frame_is_counted(still):
    take = still([[seen()]] * 4 + [[]] + [[seen()]] * 7, damaged={4: "why"})

    bad = [r for r in records(take, "s") if isinstance(r, BadRecord)]

    assert bad == [BadRecord("t/000004", "s", "damaged_line", "why")]
    assert "1 of 12 frames are damaged; the first: why" in judge(take).problems


def test_a_picture_of_another_size_has_other_joints(tmp_path):
    refs = []
    for number in range(12):
        refs.append(ImageRef(tmp_path / f"{number}.jpg"))
        size = (H, W + 20) if number == 7 else (H, W)
        cv2.imwrite(str(refs[-1].path), np.zeros((*size, 3), np.uint8))
    take = Take("t", refs, [[seen()]] * 12, Facts())

    found = list(records(take, "s"))

    assert [n for n, r in enumerate(found) if isinstance(r, BadRecord)] == [7]
    assert found[7].reason == "other_picture_size"
    assert "1 pictures have another size" in judge(take).problems[0]


def test_absent_pictures_leave_labels(tmp_path):
    refs = [ImageRef(tmp_path / f"{number}.jpg") for number in range(12)]
    take = Take("t", refs, [[seen()]] * 12, Facts())

    found = list(records(take, "s"))

    assert judge(take).size is None
    assert all(isinstance(one, PersonRecord) for one in found)
    # The least width that holds all joints is 105.
    np.testing.assert_allclose(found[0].joints[:, 0], 104 - PERSON[:, 0])
    cv2.imwrite(str(refs[5].path), np.zeros((H, W, 3), np.uint8))
    assert judge(take).size == (W, H)
    assert next(records(take, "s")).joints[3].tolist() == [W - 1 - 104, 60, 1]


@hypothesis.given(
    st.lists(
        st.tuples(st.floats(0, W - 1), st.floats(0, H - 1)), min_size=13, max_size=13
    )
)
def test_unmirroring_is_its_own_inverse(tmp_path_factory, joints):
    points = np.array(joints) + 1e-3
    path = tmp_path_factory.getbasetemp() / "inverse.png"
    if not path.exists():
        cv2.imwrite(str(path), np.zeros((H, W, 3), np.uint8))
    refs = [ImageRef(path)] * 10

    def unmirrored(points):
        take = Take("t", refs, [[seen(points)]] * 10, Facts())
        one = next(records(take, "s", mirrored="yes", faults="keep"))
        return one.joints[:, :2].astype(np.float64)

    np.testing.assert_allclose(unmirrored(unmirrored(points)), points, atol=1e-4)


def test_seconds_are_the_time_stamps_or_the_rate(still):
    assert still([[]] * 3, Facts(fps=10)).seconds().tolist() == [0, 0.1, 0.2]
    stamps = np.array([0.0, 40.0, 90.0])
    assert still([[]] * 3, times_ms=stamps).seconds().tolist() == [0, 0.04, 0.09]


def test_faults_are_looked_for_at_the_time_of_each_frame(still, monkeypatch):
    asked = []

    def find(points, states, seconds, size, keep_inferred):
        asked.append((points.shape, seconds.tolist(), size, keep_inferred))
        return np.zeros(states.shape, np.int8)

    monkeypatch.setattr(takes.kpose_faults, "find", find)
    other = seen(moved(50, 0), identity="b")
    frames = [[seen(identity="a")], [other], [other, seen(identity="a")]]
    take = still(frames, times_ms=np.array([0.0, 123.0, 456.0]))

    judge(take, inferred="keep")
    judge(take, inferred="keep")

    assert asked == [
        ((2, 13, 2), [0, 0.456], (W, H), True),
        ((2, 13, 2), [0.123, 0.456], (W, H), True),
    ]


def test_reasons_are_those_of_the_filter(still):
    judged = judge(still([[seen(s6=1)]] * 12))

    (row,) = judged.reasons[0]
    assert REASONS[row[6]] == "inferred"
    assert isinstance(seen(), Body)
