"""``kpose train``: what a user types, reads and gets as exit code."""

import json
import shutil

import pytest
from click.testing import CliRunner

from kpose_cli.main import main

RECIPE = """
[model]
name = "linna2016"
size = 64
width = 0.02
[training]
epochs = 1
batch = 4
optimizer = "sgd"
learning_rate = 1e-2
validation_persons = 4
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    return path


def kpose(*arguments):
    return CliRunner().invoke(main, ["train", *map(str, arguments)])


def test_a_run_and_its_summary(tiny_data, recipe, tmp_path):
    out = tmp_path / "run"

    result = kpose(tiny_data, "--preset", recipe, "--out", out, "--epochs", 2, "--json")

    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary["epochs"] == 2  # the flag wins over the file
    assert summary["train_persons"] == 20
    assert (out / "best.keras").is_file()
    assert "epochs = 2" in (out / "config.toml").read_text()

    again = kpose(
        tiny_data, "--preset", recipe, "--out", out, "--epochs", 2, "--resume"
    )
    assert again.exit_code == 0  # finished: nothing left to do
    assert "validation PCK@0.2" in again.stdout


def test_dry_run_writes_nothing(tiny_data, recipe, tmp_path):
    result = kpose(
        tiny_data, "--preset", recipe, "--out", tmp_path / "run", "--dry-run"
    )

    assert result.exit_code == 0
    assert "steps per epoch: 5" in result.stdout
    assert not (tmp_path / "run").exists()


def test_bad_calls_are_one_line_and_write_nothing(tiny_data, recipe, tmp_path):
    cut = tmp_path / "cut"
    shutil.copytree(tiny_data, cut)
    shard = sorted(cut.glob("*.tfrecord"))[0]
    shard.write_bytes(shard.read_bytes()[:-7])
    foreign = tmp_path / "foreign.keras"
    foreign.write_bytes(b"PK\3\4 but no zip")
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    run = tmp_path / "run"
    calls = {
        "no such data": [tmp_path / "nowhere", "--preset", recipe, "--out", run],
        "empty data": [tmp_path / "empty", "--preset", recipe, "--out", run],
        "cut shard": [cut, "--preset", recipe, "--out", run],
        "no recipe": [tiny_data, "--preset", "quick", "--out", run],
        "no out": [tiny_data, "--preset", recipe],
        "bad number": [tiny_data, "--preset", recipe, "--out", run, "--epochs", "0"],
        "foreign init": [
            *(tiny_data, "--preset", recipe, "--out", run, "--init", foreign)
        ],
        "full out": [tiny_data, "--preset", recipe, "--out", tmp_path / "full"],
        "nothing to resume": [tiny_data, "--preset", recipe, "--out", run, "--resume"],
    }
    expected = {
        "no such data": "nowhere",
        "empty data": "empty",
        "cut shard": shard.name,
        "no recipe": "compact",
        "no out": "--out",
        "bad number": "--epochs",
        "foreign init": "foreign.keras",
        "full out": "must be new or an empty folder",
        "nothing to resume": "run.json",
    }
    for name, call in calls.items():
        result = kpose(*call)
        assert result.exit_code == 1, name
        assert expected[name] in result.stderr, name
        assert len(result.stderr.strip().splitlines()) == 1, (name, result.stderr)
        assert not run.exists(), name
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"]
