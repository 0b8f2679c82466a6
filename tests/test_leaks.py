"""Leaking splits: seen when data are prepared, said in all results made of them."""

import csv
import dataclasses
import json

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from kpose import training
from kpose.joints import BODY_13
from kpose.shards import PreparedData
from kpose_cli.main import main

FRAMES, CLIPS = 16, 4


def room(seed, blocks=8, side=160):
    noise = np.random.default_rng(seed).integers(0, 256, (blocks, blocks, 3), np.uint8)
    return cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A CSV of four clips: a person who moves by a pixel per frame in each room."""
    root = tmp_path_factory.mktemp("clips")
    names = [f"{joint}_{axis}" for joint in BODY_13.names for axis in "xy"]
    with (root / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "id", "recording", "subject", *names])
        for clip in range(CLIPS):
            offsets = np.random.default_rng(clip).uniform(-25, 25, (13, 2))
            for frame in range(FRAMES):
                name = f"{clip}-{frame:02}.png"
                points = (np.array([70 + frame / 4, 80]) + offsets).round(2)
                image = room(clip)
                for x, y in points.round().astype(int).tolist():
                    cv2.circle(image, (x, y), 3, (255, 255, 255), -1)
                cv2.imwrite(str(root / name), image)
                row = [name, name, f"clip{clip}", f"person{clip // 2}"]
                writer.writerow([*row, *points.ravel().tolist()])
    return f"generic:{root / 'labels.csv'}"


def run(*words):
    result = CliRunner().invoke(main, list(map(str, words)))
    assert result.exit_code == 0, result.output
    return result


def prepare(clips, out, *words):
    common = ("--data", clips, "--out", out, "--size", 64, "--workers", 1)
    result = run("prepare", *common, *words, "--json")
    return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def random_frames(clips, tmp_path_factory):
    out = tmp_path_factory.mktemp("random") / "data"
    words = ("--validation", 12, "--split-by", "random_frames")
    return prepare(clips, out, *words), out


def test_random_frames_of_clips_are_flagged(random_frames):
    summary, _ = random_frames

    assert summary["split"]["random_frames"] is True
    assert summary["split"]["by"] == "random_frames"
    assert summary["leak"]["flagged"] is True
    assert summary["leak"]["same_group"] >= 6
    assert summary["leak"]["validation"] == 12
    assert len(summary["split"]["recordings_on_both_sides"]) == CLIPS


@pytest.mark.parametrize("by", ["recording", "subject", "group"])
def test_the_split_by_recording_is_not_flagged(clips, tmp_path, by):
    summary = prepare(clips, tmp_path / "data", "--validation", 12, "--split-by", by)

    data = PreparedData.open(tmp_path / "data")
    held_out = set(data.recording[data.split == "val"].tolist())
    trained = set(data.recording[data.split == "train"].tolist())
    assert held_out and trained and not held_out & trained
    assert len(held_out) == (2 if by == "subject" else 1)
    assert summary["split"]["random_frames"] is False
    assert summary["leak"]["flagged"] is False
    assert summary["leak"]["near"] == 0


def test_frames_at_random_must_be_asked_for_by_name(clips, tmp_path):
    words = ["prepare", "--data", clips, "--out", str(tmp_path / "data")]
    result = CliRunner().invoke(
        main, [*words, "--validation", "12", "--split-by", "image"]
    )

    assert result.exit_code == 1
    assert "must be asked for by its name, random_frames" in result.stderr


def test_a_file_that_divides_a_recording_is_labelled_too(clips, tmp_path):
    file = tmp_path / "split.csv"
    rows = [
        f"{clip}-{frame:02}.png,{'val' if frame % 4 == 0 else 'train'}"
        for clip in range(CLIPS)
        for frame in range(FRAMES)
    ]
    file.write_text("\n".join(["id,split", *rows]))

    summary = prepare(clips, tmp_path / "data", "--split-file", file)

    assert summary["split"]["random_frames"] is True
    assert summary["leak"]["flagged"] is True


def test_without_validation_persons_the_draw_of_training_is_scored(clips, tmp_path):
    summary = prepare(clips, tmp_path / "data")

    assert summary["split"]["kind"] == "official"
    assert summary["leak"]["of"].startswith("as a recipe with 32 validation persons")
    assert summary["leak"]["flagged"] is False  # it draws recordings


def train_once(data, config, run, **options):
    once = dataclasses.replace(config.training, epochs=1)
    config = dataclasses.replace(config, training=once)
    return training.train(data, config, run, **options)


def test_every_result_of_random_frames_says_so(random_frames, tiny_config, tmp_path):
    _, data = random_frames
    said = []

    summary = train_once(data, tiny_config, tmp_path / "run", report=said.append)
    report = tmp_path / "report.html"
    result = run("eval", tmp_path / "run", data, "--split", "val", "--report", report)
    found = json.loads(
        run("eval", tmp_path / "run", data, "--split", "val", "--json")
        .stdout.splitlines()[-1]
    )  # fmt: skip

    warning = "split at random over video frames"
    assert summary["leak"]["flagged"] is True
    assert any(warning in line for line in said)
    assert any("the split leaks" in line for line in said)
    assert found["random_frames"] is True
    assert found["leak_score"]["near"] == summary["leak"]["near"]
    assert found["leak_score"]["validation"] == 12
    for text in (result.stdout, report.read_text()):
        assert warning.capitalize() in text
        assert "have a near duplicate in training" in text


def test_a_model_without_its_run_folder_says_that_nothing_is_known(
    random_frames, tiny_config, tmp_path
):
    _, data = random_frames
    train_once(data, tiny_config, tmp_path / "run")
    alone = tmp_path / "alone" / "best.keras"
    alone.parent.mkdir()
    (tmp_path / "run" / "best.keras").rename(alone)

    found = run("eval", alone, data, "--split", "val").stdout

    assert "unknown without the model's run folder; in training: " in found
    assert "Split at random over video frames" in found


def test_a_damaged_record_of_the_training_pictures_is_one_line(
    random_frames, tiny_config, tmp_path
):
    _, data = random_frames
    train_once(data, tiny_config, tmp_path / "run")
    (tmp_path / "run" / "training_pictures.npz").write_bytes(b"PK\x03\x04")

    result = CliRunner().invoke(main, ["eval", str(tmp_path / "run"), str(data)])

    assert result.exit_code == 1
    assert "training_pictures.npz must be a file of `kpose train`" in result.stderr
