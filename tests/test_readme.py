"""Every command of the README runs as it stands there, in order.

``quick`` shortens those that take minutes (the same path); ``slow`` runs them in full.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

SET_UP = ["python3.11 bootstrap.py demo", "python3.11 bootstrap.py test"]
"""Run by .ci/run, which starts these tests: here they would start themselves."""

SHORTER = {"train": ["--epochs", "1", "--batch", "8"]}
"""What ``quick`` adds to a command; the last of two values counts."""


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


LINES = [line for block in blocks("sh") for line in block.splitlines()]
COMMANDS = [line for line in LINES if line not in SET_UP]


def run(arguments, folder, env=(), given=None):
    """Run Python with this one's packages; the whole of its output is the message."""
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        input=None if given is None else given.read_text(encoding="utf-8"),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **dict(env)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert result.returncode == 0, f"{shlex.join(arguments)}\n{result.stdout}"
    return result.stdout


def follow(folder, quick):
    """Do what the README says, from the demo to the last command and the Python."""
    demo = ["-m", "kpose_cli", "demo", *(["--quick"] if quick else [])]
    printed = {"demo": run(demo, folder)}
    for line in COMMANDS:
        program, command, *arguments = shlex.split(line)
        if program == "python":
            sign, given = arguments
            assert sign == "<"
            printed[command] = run([str(ROOT / command)], folder, given=folder / given)
            continue
        assert program == "kpose"
        if quick:
            arguments += SHORTER.get(command, [])
        printed[command] = run(["-m", "kpose_cli", command, *arguments], folder)
    for block in blocks("python"):
        printed["python"] = run(["-c", block], folder)
    return printed


def check(folder, printed):
    """What the README says is there, is there."""
    for name in ("report.html", "overlay.png"):
        assert (folder / "runs" / "demo" / name).stat().st_size > 10_000
    assert (folder / "runs" / "data" / "preview.png").is_file()
    assert (folder / "runs" / "mine.html").is_file()
    parity = json.loads((folder / "runs" / "export" / "parity.json").read_text())
    assert set(parity["formats"]) == {"saved_model", "tflite"}
    rows = (folder / "runs" / "clip" / "keypoints.jsonl").read_text().splitlines()
    # numpy pads the shorter of its numbers.
    lines = re.findall(r"^\d+ \[.*\d *\]$", printed["python"], re.MULTILINE)
    assert len(rows) == len(lines) > 5
    assert (folder / "runs" / "recording" / "coverage.png").is_file()
    assert "missing: " in printed["record"]
    assert (folder / "runs" / "own-clip" / "keypoints.jsonl").stat().st_size > 1000
    for name in ("preview.png", "room.png"):
        assert (folder / "runs" / "studio" / name).is_file()
    for name in ("worst.png", "suspects.json", "suspects.xml"):
        assert (folder / "runs" / "doctor" / name).stat().st_size > 100
    assert "suspects of" in printed["prepare"]
    assert "mean pose" in printed["eval"]
    assert "synthetic" in printed["inspect"]
    assert printed["doctor"].splitlines()[-1].endswith("0 failed")


def test_the_set_up_commands_are_the_ones_that_ci_runs():
    ci = (ROOT / ".ci" / "run").read_text()

    assert [line for line in LINES if line in SET_UP] == SET_UP
    for line in SET_UP:
        assert line.removeprefix("python3.11 ") in ci


def test_every_command_of_kpose_is_shown():
    shown = {shlex.split(line)[1] for line in COMMANDS}

    assert shown == {
        *("record", "prepare", "train", "eval", "export", "predict", "inspect"),
        *("studio", "doctor", "examples/gesture_control.py"),
    }
    assert blocks("python")


def test_no_command_hides_in_a_block_of_another_kind():
    fences = re.findall(r"^```(.*)$", README, re.MULTILINE)

    assert set(fences) == {"sh", "python", ""}
    assert fences.count("") == fences.count("sh") + fences.count("python")


def test_the_files_it_links_to_are_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).is_file(), target


def test_the_commands_work_quickly(tmp_path):
    check(tmp_path, follow(tmp_path, quick=True))


@pytest.mark.slow
def test_the_commands_work_in_full(tmp_path):
    check(tmp_path, follow(tmp_path, quick=False))
