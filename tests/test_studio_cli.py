"""``kpose studio`` from the command line, with good and bad input."""

import json

import pytest
from click.testing import CliRunner

from kpose_cli.main import main
from kpose_datasets import persontracker


def run(*arguments):
    return CliRunner().invoke(main, ["studio", *map(str, arguments)])


SMALL = ("--size", "64x64", "--frames", 10, "--workers", 1)


def test_studio_writes_takes_and_says_how_many(tmp_path):
    out = tmp_path / "rec"
    result = run(
        "--out", out, "--clothing", "2-3", "--clothing", 7, "--test", 11, *SMALL
    )

    assert result.exit_code == 0, result.output
    assert f"{out}: 4 takes, 41 frames (11 for testing)" in result.stdout
    assert (out / "preview.png").is_file()
    takes = list(persontracker.takes(out))
    assert [take.facts.clothing for take in takes] == ["2", "3", "7", "2"]
    assert [take.facts.split for take in takes] == [*["train"] * 3, "test"]
    assert [len(take.bodies) for take in takes] == [10, 10, 10, 11]


def test_json_has_the_counts(tmp_path):
    result = run(
        *("--out", tmp_path / "rec", "--clothing", 1, "--test", 0, "--people", 2),
        *("--subject", 4, "--seed", 5, "--fps", 5, "--faults", 0.1, "--json", *SMALL),
    )

    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary["takes"] == [
        {"name": "2026_01_01/video_0000", "clothing": 1, "split": "train", "frames": 10}
    ]
    assert summary["people"] == 2 and summary["wrong"] > 0
    assert sum(summary["joints"].values()) == 10 * 2 * 13
    (take,) = persontracker.takes(tmp_path / "rec")
    assert (take.facts.subject, take.facts.fps) == ("4+5", 5.0)
    assert [len(bodies) for bodies in take.bodies] == [2] * 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--clothing", "red"), "expected a number or a range such as 2-7"),
        (("--clothing", "6-8"), "clothing must be one of 1 to 7. Received: 8"),
        (("--clothing", "1", "--clothing", "1"), "clothings must differ"),
        (("--clothing", "5-2"), "of a range the smaller first"),
        (("--size", "720p"), "expected WIDTHxHEIGHT such as 1280x720"),
        (("--test", 3), "test 3"),
        (("--frames", 9), "9 is not in the range x>=10"),
    ],
    ids=["word", "too high", "twice", "backwards", "size", "short test", "frames"],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, arguments, message):
    result = run("--out", tmp_path / "rec", *arguments)

    assert result.exit_code in (1, 2)
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
