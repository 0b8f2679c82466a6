"""The report of what was left out of recordings, in words and in a picture."""

import json

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from kpose import images
from kpose.examples import PreparedData
from kpose.joints import BODY_13
from kpose.shards import parse
from kpose_cli.main import main
from kpose_datasets import read_source, recordings
from kpose_datasets.persontracker import TakeWriter
from kpose_datasets.takes import Body, Facts

DAY = "2026_11_24"

W, H = 160, 120

WHITE = (250, 250, 250)

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

RED = np.array([230, 20, 20])


def picture(joints=PERSON):
    """A grey room with a red patch on the right hand, as stored: mirrored."""
    pixels = np.full((H, W, 3), 60, np.uint8)
    x, y = joints[3].astype(int)
    pixels[y - 4 : y + 5, x - 4 : x + 5] = RED
    return images.encode(pixels, "jpeg", 98)


def record(root, frames=12, facts=None, inferred=(), people=1):
    """A recording in which the left wrist is inferred in some frames."""
    with TakeWriter(root, facts or Facts(), DAY) as writer:
        for number in range(frames):
            states = np.full(13, 2, np.int8)
            if number in inferred:
                states[6] = 1
            bodies = [
                Body(PERSON + np.array([40.0 * n, 0]), states) for n in range(people)
            ]
            writer.write(picture(), bodies, 1000 / 30 * number)
    return root


def run(*arguments):
    return CliRunner().invoke(main, ["prepare", *map(str, arguments)])


def source(root, rest=""):
    return read_source(f"persontracker:{root}{rest}")


def test_facts_of_a_take(tmp_path):
    facts = Facts("Ann", "red", "movenet", "auto", 30.0, "val")
    root = record(tmp_path / "r", facts=facts, inferred=(2, 3, 7))

    (found,) = recordings.report([source(root)]).takes

    assert found == {
        "name": f"r/{DAY}/video_0000",
        "reader": "persontracker",
        "mirrored": True,
        "decision": "mirrored (auto: the right shoulder is on the right in 12 of 12 "
        "bodies with both tracked)",
        "size": (W, H),
        "frames": 12,
        "bodies": 12,
        "persons": 1,
        "joints": 156,
        "masked": {"inferred": {"left_wrist": 3}},
        "skipped": {},
        "problems": [],
        "subject": "Ann",
        "clothing": "red",
        "labelled_by": "movenet",
        "split": "val",
    }


def test_lines_are_what_a_person_reads(tmp_path):
    root = record(tmp_path / "r", inferred=(1,), people=2)
    record(root, frames=9, facts=Facts(subject="Bo", clothing="red"))
    (root / DAY / "video_0001" / "000020.jpg").write_bytes(picture())

    lines = recordings.report([source(root)]).lines()

    shoulders = "the right shoulder is on the right in"
    assert lines == [
        f"r/{DAY}/video_0000: mirrored (auto: {shoulders} 24 of 24 bodies with both "
        "tracked), 12 frames, 2 persons, labelled by kinect; masked 2 of 312 joints: "
        "2 inferred",
        f"r/{DAY}/video_0001: mirrored (auto: {shoulders} 9 of 9 bodies with both "
        "tracked), 9 frames, 1 person, subject Bo, clothing red, labelled by kinect; "
        "masked 0 of 117 joints; skipped 9 take_too_short",
        "  9 lines, but 10 pictures: 0 lines without a picture, 1 pictures without a "
        "line",
    ]


def test_only_wanted_splits_and_recordings_are_reported(tmp_path):
    root = record(tmp_path / "r", facts=Facts(split="test"))
    record(root)

    def names(rest):
        takes = recordings.report([source(root, rest)]).takes
        return [take["name"][-1] for take in takes]

    assert names("") == ["1"]
    assert names("@test") == ["0"]
    assert names("@all") == ["0", "1"]
    table = "image,left_wrist_x,left_wrist_y,right_wrist_x,right_wrist_y\na.jpg,1,2,3,4"
    (tmp_path / "x.csv").write_text(table)
    generic = read_source(f"generic:{tmp_path / 'x.csv'}")
    assert recordings.report([generic]).takes == []


def test_the_sheet_shows_crosses_unmirrored(tmp_path):
    root = record(tmp_path / "r", inferred=range(4))

    report = recordings.report([source(root)])
    assert report.write_sheet(tmp_path / "faults.png")

    assert len(report.shown) == 4
    left_wrist = report.shown[0].joints[6]
    assert left_wrist.tolist() == [W - 1 - 56, 60]  # the other side of what is stored
    sheet = cv2.imread(str(tmp_path / "faults.png"), cv2.IMREAD_COLOR_RGB).astype(int)
    tile = sheet[: 40 + recordings.HEIGHT, : recordings.WIDTH]
    yellow = (np.abs(tile - recordings.CROSSES["inferred"]).sum(axis=2) < 40).nonzero()
    red = (np.abs(tile - RED).sum(axis=2) < 60).nonzero()
    assert len(yellow[0]) > 30 and len(red[0]) > 30
    # The person's right hand is on the left of the picture, the left one on the right.
    assert red[1].mean() < yellow[1].mean() - 50


def test_no_sheet_without_a_mark_or_a_picture(tmp_path):
    root = record(tmp_path / "good")
    assert not recordings.report([source(root)]).write_sheet(tmp_path / "a.png")
    bad = record(tmp_path / "bad", inferred=(1,))
    for path in bad.rglob("*.jpg"):
        path.unlink()

    assert not recordings.report([source(bad)]).write_sheet(tmp_path / "a.png")

    assert not (tmp_path / "a.png").exists()


def test_24_are_shown_of_every_reason_and_take(tmp_path):
    root = record(tmp_path / "r", frames=60, inferred=range(60))
    record(root, frames=60, inferred=range(60))
    folder = root / DAY
    # In one frame the right ankle is out of the picture.
    lines = (folder / "video_0001.txt").read_text().splitlines(keepends=True)
    lines[30] = lines[30].replace("88 100 2", "88 125 2")
    (folder / "video_0001.txt").write_text("".join(lines))

    shown = recordings.report([source(root)]).shown

    assert len({one.title for one in shown}) == len(shown) == recordings.SHOWN
    assert f"r/{DAY}/video_0001/000030/0" in {one.title for one in shown}
    frames = {
        take: [int(one.title.split("/")[-2]) for one in shown if take in one.title]
        for take in ("video_0000", "video_0001")
    }
    for numbers in frames.values():
        assert len(numbers) >= 8
        assert max(numbers) - min(numbers) > 40


@pytest.mark.parametrize("far", [(1e5, 60), (-1e5, -1e5), (np.inf, 3), (159, 119)])
def test_a_joint_far_away_can_be_drawn(tmp_path, far):
    joints = PERSON.copy()
    joints[9] = far
    with TakeWriter(tmp_path / "r", Facts(), DAY) as writer:
        for number in range(12):
            states = np.full(13, 2, np.int8)
            states[6] = 1
            place = joints if number == 5 else PERSON
            writer.write(picture(), [Body(place, states)], 33.0 * number)

    assert recordings.report([source(tmp_path / "r")]).write_sheet(tmp_path / "a.png")


# ``kpose prepare``


def test_prepare_makes_crops_whose_joints_are_on_the_pixels(tmp_path):
    root = record(tmp_path / "r", inferred=(4,))

    result = run(
        *("--data", f"persontracker:{root}", "--out", tmp_path / "out", "--size", 64),
        *("--codec", "png", "--workers", 1, "--json"),
    )

    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout.splitlines()[-1])
    assert [take["masked"] for take in summary["recordings"]] == [
        {"inferred": {"left_wrist": 1}}
    ]
    assert summary["persons"] == 12
    assert (tmp_path / "out" / "faults.png").is_file()
    data = PreparedData.open(tmp_path / "out")
    for row in range(12):
        sample = parse(data.read(row))
        crop = images.central_slice(sample.image, 64).astype(int)
        red = np.argwhere(np.abs(crop - RED).sum(axis=2) < 80).mean(axis=0)
        joints = sample.joints[:, :2] * 64 - 0.5
        np.testing.assert_allclose(red[::-1], joints[3], atol=0.5)
        assert joints[1, 0] < joints[4, 0]
        assert sample.joints[6, 2] == (row != 4)


def test_prepare_says_first_what_was_decided(tmp_path):
    root = record(tmp_path / "r", inferred=(4,))
    call = (
        "--data",
        f"persontracker:{root}",
        "--out",
        tmp_path / "out",
        "--workers",
        1,
    )

    result = run(*call)

    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"r/{DAY}/video_0000: mirrored (auto: ")
    assert lines[1] == f"1 take (look at {tmp_path / 'out' / 'faults.png'})"
    assert lines[2] == "persontracker: 12 train"
    before = {f: f.stat().st_mtime_ns for f in (tmp_path / "out").iterdir()}
    assert run(*call).stdout == result.stdout
    assert {f: f.stat().st_mtime_ns for f in (tmp_path / "out").iterdir()} == before


def test_check_reports_and_writes_nothing(tmp_path):
    root = record(tmp_path / "r", inferred=(4,))
    before = sorted(tmp_path.rglob("*"))

    text = run("--data", f"persontracker:{root}", "--check", "--workers", 1)
    result = run("--data", f"persontracker:{root}", "--check", "--workers", 1, "--json")

    assert text.stdout.startswith(f"r/{DAY}/video_0000: mirrored (auto: ")
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary["recordings"][0]["masked"] == {"inferred": {"left_wrist": 1}}
    assert summary["joints"]["left_wrist"] == 11
    assert sorted(tmp_path.rglob("*")) == before


def test_joints_of_the_record_lie_on_the_pixels(tmp_path):
    root = record(tmp_path / "r")

    for one in source(root).records:
        pixels = images.read(one.image).astype(int)
        red = np.argwhere(np.abs(pixels - RED).sum(axis=2) < 60).mean(axis=0)
        hand = one.joints[BODY_13.names.index("right_wrist"), :2]
        np.testing.assert_allclose(red[::-1], hand, atol=0.3)
