"""``kpose prepare`` from the command line, with good and bad input."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
from click.testing import CliRunner

from kpose.examples import PreparedData
from kpose_cli.main import main


def write_set(root: Path, persons: int = 5, missing: tuple[int, ...] = ()) -> Path:
    """An LSP folder; persons from 1001 on would be test persons."""
    rng = np.random.default_rng(0)
    joints = rng.uniform(20, 80, (3, 14, persons))
    joints[2] = 0
    (root / "images").mkdir(parents=True)
    scipy.io.savemat(root / "joints.mat", {"joints": joints})
    for number in range(1, persons + 1):
        if number not in missing:
            noise = rng.integers(0, 256, (6, 6, 3), np.uint8)
            path = root / "images" / f"im{number:04}.jpg"
            cv2.imwrite(str(path), cv2.resize(noise, (100, 100)))
    return root


def run(*arguments):
    return CliRunner().invoke(main, ["prepare", *map(str, arguments)])


def test_prepare_writes_data_and_says_what_was_skipped(tmp_path):
    root = write_set(tmp_path / "lsp", missing=(2,))

    result = run("--data", f"lsp:{root}", "--out", tmp_path / "out", "--workers", 1)

    assert result.exit_code == 0, result.output
    assert "lsp: 4 train; skipped 1 missing_image\n" in result.stdout
    assert f"4 persons of 5 labels in {tmp_path / 'out'}" in result.stdout
    data = PreparedData.open(tmp_path / "out")
    assert data.ids.tolist() == ["im0001", "im0003", "im0004", "im0005"]
    assert (data.size, data.summary["codec"], data.summary["quality"]) == (
        224,
        "jpeg",
        95,
    )


def test_options_reach_the_data(tmp_path):
    root = write_set(tmp_path / "lsp")

    result = run(
        *("--data", f"lsp:{root}", "--out", tmp_path / "out", "--size", 64),
        *("--codec", "png", "--workers", 1, "--strict", "--json"),
    )

    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary == json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert (summary["size"], summary["stored_side"]) == (64, 96)
    assert (summary["codec"], summary["quality"], summary["strict"]) == (
        "png",
        None,
        True,
    )


def test_a_detector_decides_the_crops(tmp_path):
    root = write_set(tmp_path / "lsp")
    boxes = tmp_path / "boxes.json"
    call = ("--data", f"lsp:{root}", "--detector", f"boxes:{boxes}", "--workers", 1)
    joints = scipy.io.loadmat(root / "joints.mat")["joints"]
    found = []
    for number, scale in enumerate((1.2, 1.0, 0.9, 0.2), start=1):
        # Shares 1, 0.83, 0.75 and 0.17 of the joint box x 1.2; nobody in picture 5.
        kept = np.delete(joints[:, :, number - 1], [12, 13], axis=1)
        head = joints[:, 12:, number - 1].mean(axis=1, keepdims=True)
        x, y, _ = np.concatenate([kept, head], axis=1)
        width, height = 1.2 * np.ptp(x), scale * np.ptp(y)
        left = (x.min() + x.max() + 1 - width) / 2
        top = (y.min() + y.max() + 1 - height) / 2
        score = 0.3 if number == 3 else 0.9
        box = [float(edge) for edge in (left, top, width, height)]
        found.append({"image_id": number, "bbox": box, "score": score})
    pictures = [{"id": n, "file_name": f"im{n:04}.jpg"} for n in range(1, 6)]
    boxes.write_text(json.dumps({"images": pictures, "annotations": found}))

    results = {
        score: run(
            *call,
            *("--out", tmp_path / f"out{score}", "--size", 32, "--min-score", score),
        )
        for score in (0.25, 0.5)
    }

    for score, counts in {0.25: (3, 2, 1), 0.5: (2, 3, 2)}.items():
        assert results[score].exit_code == 0, results[score].output
        detector, truth, nobody = counts
        assert (
            f"  crops around the detector's box for {detector} persons, both boxes for "
            f"0, the ground truth for {truth} ({nobody} of them in pictures without a "
            "detection): 5 crops, 10 with the flips of training\n"
        ) in results[score].stdout
        assert f"{tmp_path / f'out{score}' / 'crops.png'}\n" in results[score].stdout
        summary = json.loads((tmp_path / f"out{score}" / "dataset.json").read_text())
        assert summary["detector"]["min_score"] == score


def test_test_persons_stay_out_unless_asked_for(tmp_path):
    root = write_set(tmp_path / "lsp", 1003, missing=tuple(range(3, 1001)))
    counts = {"": {"train": 2}, "@test": {"test": 3}, "@all": {"test": 3, "train": 2}}

    for suffix, expected in counts.items():
        out = tmp_path / f"out{suffix}"
        result = run(
            *("--data", f"lsp:{root}{suffix}", "--out", out),
            *("--size", 32, "--workers", 1, "--json"),
        )
        summary = json.loads(result.stdout.splitlines()[-1])
        assert summary["sources"][0]["persons"] == expected


def test_check_reports_and_writes_nothing(tmp_path):
    root = write_set(tmp_path / "lsp", missing=(2,))
    broken = root / "images" / "im0004.jpg"
    broken.write_bytes(broken.read_bytes()[:-300])
    before = sorted(tmp_path.rglob("*"))

    result = run("--data", f"lsp:{root}", "--check", "--json")
    text = run("--data", f"lsp:{root}", "--check")

    assert (result.exit_code, text.exit_code) == (0, 0)
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary["labels"] == 5
    assert summary["persons"] == summary["images"] == 3
    assert summary["missing_images"] == 1
    assert summary["skipped"] == {"missing_image": 1, "unreadable_image": 1}
    assert summary["joints"]["right_wrist"] == 3
    assert text.stdout.splitlines()[-1] == (
        "3 persons of 5 labels are usable, in 3 pictures; "
        "skipped 1 missing_image, 1 unreadable_image"
    )
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "lsp:{lsp}"], "give --out DATA"),
        (["--out", "{out}"], "--data"),
        (["--data", "lsp:{none}", "--out", "{out}"], "there is nothing"),
        (["--data", "lsp:{empty}", "--out", "{out}"], "expected a label file"),
        (["--data", "lspet:{lsp}", "--out", "{out}"], "(14, 3, persons)"),
        (["--data", "who:{lsp}", "--out", "{out}"], "NAME one of lsp"),
        (["--data", "lsp:{lsp}@test", "--out", "{out}"], "Received: 5 train"),
        (["--data", "lsp:{lsp}", "--out", "{out}", "--size", "30"], "multiple of 4"),
        (["--data", "lsp:{lsp}", "--out", "{out}", "--quality", "0"], "--quality"),
        (["--data", "lsp:{lsp}", "--out", "{out}", "--codec", "gif"], "--codec"),
        (
            ["--data", "lsp:{lsp}", "--out", "{out}", "--min-score", "0.5"],
            "--min-score needs --detector",
        ),
        (
            ["--data", "lsp:{lsp}", "--check", "--detector", "whole"],
            "--check asks no detector",
        ),
        (
            ["--data", "lsp:{lsp}", "--out", "{out}", "--detector", "magic"],
            "Received: magic",
        ),
        (
            ["--data", "lsp:{lsp}", "--out", "{out}", "--detector", "tflite:{none}"],
            "there is none",
        ),
        (
            ["--data", "lsp:{lsp}", "--check", "--split-file", "{none}"],
            "--check divides nobody",
        ),
        (
            ["--data", "lsp:{lsp}", "--out", "{out}", "--validation", "9" * 5000],
            "must be a number of persons or paper. Received: 999",
        ),
        (
            ["--data", "lsp:{lsp}", "--out", "{out}", "--seed", "9" * 40],
            "--seed",
        ),
        (["--data", "lsp:{lsp}\udcff@all", "--check"], "there is nothing"),
        (["--data", "lsp:{lsp}", "--out", "{lsp}"], "must be new or an empty folder"),
        (["--data", "lsp:{lsp}", "--out", "{lsp}/joints.mat"], "but is a file"),
        (
            [
                "--data",
                "lsp:{lsp}",
                "--data",
                "lsp:{lsp}",
                "--out",
                "{out}",
                "--strict",
            ],
            "duplicate_id",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_1(tmp_path, arguments, message):
    root = write_set(tmp_path / "lsp")
    (tmp_path / "empty").mkdir()
    places = {
        "lsp": root,
        "none": tmp_path / "none",
        "empty": tmp_path / "empty",
        "out": tmp_path / "out",
    }
    before = sorted(tmp_path.rglob("*"))

    result = run(*(argument.format(**places) for argument in arguments))

    assert result.exit_code == 1
    assert result.stdout == ""
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "Traceback" not in result.stderr
    assert sorted(tmp_path.rglob("*")) == before


HEAD = "image,left_wrist_x,left_wrist_y,right_wrist_x,right_wrist_y\n"


def test_two_files_of_one_name_are_refused_and_one_file_twice_is_counted(tmp_path):
    write_set(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.csv").write_text(f"{HEAD}../images/im0001.jpg,1,2,30,9\n")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    one, other, link = (
        f"generic:{tmp_path / name / 'x.csv'}" for name in ("a", "b", "link")
    )
    before = sorted(tmp_path.rglob("*"))

    result = run("--data", one, "--data", other, "--out", tmp_path / "out")

    assert result.exit_code == 1
    assert "generic data must have different names" in result.stderr
    assert str(tmp_path / "a" / "x.csv") in result.stderr
    assert str(tmp_path / "b" / "x.csv") in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before
    for same in (one, link):
        result = run("--data", one, "--data", same, "--check")
        assert "1 persons of 2 labels are usable" in result.stdout
        assert "skipped 1 duplicate_id" in result.stdout


def test_a_name_that_is_not_utf_8_is_refused(tmp_path):
    path = tmp_path / os.fsdecode(b"\xe9.csv")
    path.write_text(f"{HEAD}a.jpg,1,2,30,9\n")

    result = run("--data", f"generic:{path}", "--check")

    assert result.exit_code == 1
    assert "must have a name in UTF-8" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda joints: np.nan, "non_finite_joint"),
        (lambda joints: np.inf, "non_finite_joint"),
        (lambda joints: 50.0, "box_without_area"),
    ],
    ids=["nan", "inf", "no area"],
)
def test_bad_labels_are_skipped_or_with_strict_refused(tmp_path, spoil, reason):
    root = write_set(tmp_path / "lsp")
    joints = scipy.io.loadmat(root / "joints.mat")["joints"]
    joints[0, :, 2] = spoil(joints)
    scipy.io.savemat(root / "joints.mat", {"joints": joints})
    call = ("--data", f"lsp:{root}", "--out", tmp_path / "out", "--workers", 1)

    strict = run(*call, "--strict")
    assert strict.exit_code == 1
    assert f"lsp im0003 ({root / 'images' / 'im0003.jpg'}): {reason}" in strict.stderr
    assert not (tmp_path / "out").exists()

    result = run(*call, "--json")
    assert result.exit_code == 0
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary["skipped"] == {"lsp": {reason: 1}}
    assert summary["persons"] == 4


def test_the_same_call_again_changes_nothing(tmp_path):
    root = write_set(tmp_path / "lsp")
    call = ("--data", f"lsp:{root}", "--out", tmp_path / "out", "--workers", 1)
    first = run(*call, "--json")
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").iterdir()}

    again = run(*call, "--json")

    assert (again.exit_code, again.stdout) == (0, first.stdout)
    assert {f: f.stat().st_mtime_ns for f in (tmp_path / "out").iterdir()} == before
    other = run(*call, "--size", 192)
    assert other.exit_code == 1
    assert "has size 224, not 192" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--doctor", "d", "--out", "o"], "--doctor needs --check"),
        (["--check", "--model", "compact"], "--model needs --check --doctor DIR"),
        (["--check", "--doctor", "d", "--budget", "0"], "budget"),
        (["--check", "--doctor", "d", "--model", "movenet:no.tflite"], "no.tflite"),
    ],
)
def test_wrong_calls_of_the_doctor_are_one_line(
    tmp_path, monkeypatch, arguments, message
):
    root = write_set(tmp_path / "lsp")
    monkeypatch.chdir(tmp_path)

    result = run("--data", f"lsp:{root}", *arguments)

    assert result.exit_code == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "d").exists()
