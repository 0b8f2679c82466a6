"""What --check says of labels with and without pictures; joints far outside."""

import json

import cv2
import numpy as np
import pytest
import scipy.io
from click.testing import CliRunner

from kpose.errors import InputError
from kpose.examples import PreparedData, prepare
from kpose.gather import gather
from kpose.geometry import Box
from kpose.joints import BODY_13
from kpose.label_check import check
from kpose.records import REMOVED, BadRecord, ImageRef, PersonRecord
from kpose.screening import Source, screen
from kpose_cli.main import main


def person(folder, number, there=True, **changes):
    """13 joints on a line down a picture of 100 x 120."""
    path = folder / f"{number}.png"
    if there:
        noise = np.random.default_rng(number).integers(0, 256, (12, 10, 3), np.uint8)
        cv2.imwrite(str(path), cv2.resize(noise, (100, 120)))
    joints = np.ones((13, 3), np.float32)
    joints[:, 0] = 30 + 3 * np.arange(13)
    joints[:, 1] = 10 + 8 * np.arange(13)
    values = {
        "id": f"p{number}",
        "image": ImageRef(path),
        "joints": joints,
        "visible": np.ones(13, np.int8),
        "source": "tiny",
        "group": f"p{number}",
        "split": "train",
    }
    return PersonRecord(**{**values, **changes})


BAD = BadRecord("bad", "tiny", "wrong_number_of_keypoints", "a.json: record 7 has 3")


def test_labels_without_pictures_are_counted(tmp_path):
    absent = [person(tmp_path, n, there=False) for n in range(3)]
    absent[1].joints[4] = 0
    found = check([Source("tiny", [*absent, BAD], "CC0")], workers=1)

    assert (found["labels"], found["persons"], found["images"]) == (4, 0, 0)
    assert found["missing_images"] == 3
    assert found["skipped"] == {"missing_image": 3, "wrong_number_of_keypoints": 1}
    assert found["joints"]["head"] == 0
    assert found["label_joints"]["head"] == 3
    assert found["label_joints"][BODY_13.names[4]] == 2
    assert (found["complete_labels"], found["complete_persons"]) == (2, 0)
    assert found["joints_outside"] is None
    # From right shoulder (row 1) to left hip (row 10): 9 steps of (3, 8).
    assert found["median_torso"] == pytest.approx(9 * np.hypot(3, 8), abs=1e-3)
    assert [row["id"] for row in found["example_rows"]] == ["p0", "p1", "p2"]


def test_every_source_has_its_own_row(tmp_path):
    one = [person(tmp_path, n) for n in range(2)]
    other = [person(tmp_path, 7, source="other"), person(tmp_path, 8, False)]
    sources = [Source("tiny", [*one, BAD], "CC0"), Source("other", other, "MIT")]

    found = check(sources, workers=1)

    rows = {row["name"]: row for row in found["sources"]}
    assert rows["tiny"]["labels"] == 4  # the absent one of the second set is "tiny" too
    assert rows["tiny"]["persons"] == 2
    assert rows["other"]["persons"] == rows["other"]["labels"] == 1
    assert found["persons"] == 3
    assert found["skipped"] == {"missing_image": 1, "wrong_number_of_keypoints": 1}


def test_workers_do_not_change_the_report(tmp_path, monkeypatch):
    monkeypatch.setattr("kpose.label_check.CHUNK", 2)
    people = [person(tmp_path, n) for n in range(5)]
    (tmp_path / "3.png").write_bytes(b"no picture")
    sources = [Source("tiny", people, "CC0")]

    one, two = (check(sources, workers=workers) for workers in (1, 2))

    assert one == two
    assert one["skipped"] == {"unreadable_image": 1}
    assert (one["persons"], one["images"]) == (4, 4)


def test_strict_stops_at_a_bad_label_and_names_the_record(tmp_path):
    sources = [Source("tiny", [person(tmp_path, 0), BAD], "CC0")]

    for call in (
        lambda: check(sources, strict=True, workers=1),
        lambda: prepare(sources, tmp_path / "out", strict=True, workers=1),
        lambda: screen(sources, BODY_13, strict=True),
    ):
        with pytest.raises(InputError, match=r"tiny bad: a\.json: record 7 has 3"):
            call()
    assert not (tmp_path / "out").exists()


def test_a_person_removed_on_purpose_is_no_mistake(tmp_path):
    removed = BadRecord("gone", "tiny", REMOVED, "removed in a.json")
    sources = [Source("tiny", [person(tmp_path, 0), removed], "CC0")]

    assert check(sources, strict=True, workers=1)["skipped"] == {REMOVED: 1}


def test_bad_labels_are_listed_in_the_summary(tmp_path):
    sources = [Source("tiny", [person(tmp_path, 0), BAD], "CC0")]

    summary = prepare(sources, tmp_path / "out", size=64, workers=1)

    assert summary["skipped"] == {"tiny": {"wrong_number_of_keypoints": 1}}
    assert summary["skipped_examples"]["tiny"]["wrong_number_of_keypoints"] == ["bad"]
    assert (summary["labels"], summary["persons"]) == (2, 1)


def test_a_joint_a_picture_away_does_not_blow_up_the_crop(tmp_path):
    good, bad, edge = (person(tmp_path, n) for n in range(3))
    bad.joints[12, :2] = (400, 60)  # the picture is 120 long and ends at 100
    edge.joints[12, :2] = (219, 60)  # within its length

    sources = [Source("tiny", [good, bad, edge], "CC0")]
    summary = prepare(sources, tmp_path / "out", size=64, codec="png", workers=1)

    data = PreparedData.open(tmp_path / "out")
    assert data.annotated.tolist() == [13, 12, 13]
    assert summary["sources"][0]["joints_too_far"] == 1
    assert summary["skipped_examples"]["tiny"]["joint_too_far"] == ["p1"]
    assert check(sources, workers=1)["joints_too_far"] == 1
    # Without that joint the box is that of the other twelve: they fill 1 / 1.2.
    from kpose.shards import parse

    joints = parse(data.read(1)).joints
    assert np.ptp(joints[:12, 1]) == pytest.approx(1 / 1.2, abs=1e-5)


def test_a_box_far_larger_than_the_picture_is_skipped(tmp_path):
    # 120 high: up to 120 pixels outside on every side are taken.
    boxes = [Box(-10, 0, 100, 240), Box(-10, 0, 100, 380), Box(0, 0, 1e300, 1e300)]
    people = [person(tmp_path, n, box=box) for n, box in enumerate(boxes)]
    sources = [Source("tiny", people, "CC0")]

    summary = prepare(sources, tmp_path / "out", size=64, workers=1)

    assert summary["skipped_examples"]["tiny"] == {"box_too_large": ["p1", "p2"]}
    assert summary["persons"] == 1
    assert check(sources, workers=1)["skipped"] == {"box_too_large": 2}


def test_names_that_no_file_can_hold_are_skipped_and_named(tmp_path):
    half = [person(tmp_path, 1, id="\ud800"), person(tmp_path, 2, False, id="a\0")]
    image = ImageRef(tmp_path / "\ud800" / "a\0")
    bad = BadRecord("\udcff", "tiny", "odd", "a.json: record 3")
    people = [person(tmp_path, 0), *half, person(tmp_path, 3, image=image), bad]
    sources = [Source("tiny", people, "CC0")]

    prepare(sources, tmp_path / "out", size=64, workers=1)

    summary = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert summary["skipped"] == {"tiny": {"name_not_text": 3, "odd": 1}}
    examples = summary["skipped_examples"]["tiny"]
    assert examples == {"name_not_text": ["\\ud800", "a\0", "p3"], "odd": ["\\udcff"]}
    found = check(sources, workers=1)
    assert (found["labels"], found["missing_images"]) == (5, 2)


def test_huge_coordinates_do_not_overflow_the_report(tmp_path):
    wide = person(tmp_path, 0, there=False)
    wide.joints[1, 0], wide.joints[4, 0], wide.joints[10, 0] = 3e38, -3e38, -3e38

    found = check([Source("tiny", [wide], "CC0")], workers=1)

    assert found["median_torso"] == pytest.approx(6e38)


def test_a_person_of_far_joints_only_is_outside(tmp_path):
    far = person(tmp_path, 0)
    far.joints[:, :2] += 1000
    sources = [Source("tiny", [far, person(tmp_path, 1)], "CC0")]

    summary = prepare(sources, tmp_path / "out", size=64, workers=1)

    assert summary["skipped"] == {"tiny": {"box_outside_image": 1}}


def test_gathered_labels_are_packed_in_order(tmp_path):
    from kpose.screening import unpack

    people = [person(tmp_path, n) for n in range(5)]
    read = gather([Source("tiny", people, "CC0")], BODY_13, False, 2)

    assert (read.counts, read.labels, read.records) == ([2, 2, 1], 5, 5)
    back = [record for chunk in read.chunks for record in unpack(chunk)]
    assert [record.id for record in back] == ["p0", "p1", "p2", "p3", "p4"]
    np.testing.assert_array_equal(back[3].joints, people[3].joints)
    assert back[3].image == people[3].image


@pytest.mark.parametrize(
    "change",
    [{"head_size": 3.0}, {"area": 5.0}, {"recording": "a"}, {"split": "val"}],
    ids=str,
)
def test_the_digest_follows_what_is_said_of_a_person(tmp_path, change):
    plain = gather([Source("t", [person(tmp_path, 0)], "")], BODY_13, False, 2)
    other = person(tmp_path, 0, **change)
    changed = gather([Source("t", [other], "")], BODY_13, False, 2)

    assert plain.digest != changed.digest


def test_head_size_and_area_are_in_crop_units(tmp_path):
    one = person(tmp_path, 0, head_size=24.0, area=1152.0)
    prepare([Source("tiny", [one], "CC0")], tmp_path / "out", size=64, workers=1)

    data = PreparedData.open(tmp_path / "out")

    side = 1.2 * 96  # 12 steps of 8 pixels, the longer side
    assert data.head_size[0] == pytest.approx(24 / side, rel=1e-6)
    assert data.area[0] == pytest.approx(1152 / side**2, rel=1e-6)


def lsp_set(root, missing=()):
    """An LSP folder of five persons."""
    joints = np.random.default_rng(0).uniform(20, 80, (3, 14, 5))
    joints[2] = 0
    (root / "images").mkdir(parents=True)
    scipy.io.savemat(root / "joints.mat", {"joints": joints})
    for number in set(range(1, 6)) - set(missing):
        picture = np.full((100, 100, 3), 40 * number, np.uint8)
        cv2.imwrite(str(root / "images" / f"im{number:04}.jpg"), picture)
    return root


def test_the_command_prints_a_table_per_source(tmp_path):
    root = lsp_set(tmp_path / "lsp", missing=(2,))
    result = CliRunner().invoke(main, ["prepare", "--check", "--data", f"lsp:{root}"])

    assert result.exit_code == 0, result.output
    assert "lsp: 5 labels, 4 usable persons in 4 pictures; skipped 1 missing_image" in (
        result.stdout
    )
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["head", "5", "4"] in rows
    assert result.stdout.splitlines()[-1].startswith("4 persons of 5 labels are usable")


def test_json_is_the_last_line(tmp_path):
    root = lsp_set(tmp_path / "lsp")
    words = ["prepare", "--check", "--json", "--data", f"lsp:{root}"]
    found = json.loads(CliRunner().invoke(main, words).stdout.splitlines()[-1])

    assert {
        "labels",
        "persons",
        "images",
        "missing_images",
        "skipped",
        "joints",
    } <= set(found)
