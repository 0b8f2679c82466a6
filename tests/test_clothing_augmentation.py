"""The benchmark of new looks: who is in it, what its arms differ in, and going on."""

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from kpose.augment import Augmentation
from kpose.config import Config, Training
from kpose.examples import Source, prepare
from kpose.records import ImageRef, PersonRecord


@pytest.fixture(scope="module")
def benchmark():
    """The script, as a module."""
    path = Path(__file__).parents[1] / "benchmarks" / "clothing_augmentation.py"
    spec = importlib.util.spec_from_file_location("clothing_augmentation", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and named tuples look there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Prepared takes in two clothings, a test take in one of them, and a room."""
    folder = tmp_path_factory.mktemp("takes")
    random = np.random.default_rng(0)
    records = []
    for take, worn, split, frames in (
        ("a", "1", "train", 10),
        ("b", "2", "train", 20),
        ("c", "1", "test", 4),
    ):
        for number in range(frames):
            joints = np.ones((13, 3), np.float32)
            joints[:, :2] = random.uniform(20, 100, (13, 2))
            path = folder / f"{take}{number}.png"
            cv2.imwrite(str(path), random.integers(0, 256, (120, 120, 3), np.uint8))
            records.append(
                PersonRecord(
                    path.stem,
                    ImageRef(path),
                    joints,
                    np.ones(13, np.int8),
                    "takes",
                    take,
                    split,
                    recording=take,
                    clothing=worn,
                )
            )
    sources = [Source("takes", records, "public domain")]
    prepare(sources, folder / "data", size=64, codec="png", workers=1)
    cv2.imwrite(str(folder / "room.png"), np.full((50, 60, 3), 200, np.uint8))
    return folder


RECIPE = Config(
    Training(epochs=1, batch=8, optimizer="adamw", learning_rate=1e-3),
    {"name": "linna2016", "size": 64, "width": 0.02},
    Augmentation(flip=0.5, rotation=30),
)


def test_the_arms_differ_in_looks_alone(benchmark):
    planned = benchmark.runs(RECIPE, 0.4, "room.png", 2)

    assert [(run.arm, run.seed) for run in planned] == [
        (arm, seed)
        for seed in (0, 1)
        for arm in ("none", "clothing", "clothing+background")
    ]
    looks = [
        (run.config.augmentation.clothing, run.config.augmentation.background)
        for run in planned[:3]
    ]
    assert looks == [(0, 0), (0.4, 0), (0.4, 0.4)]
    for run in planned:
        same = dataclasses.replace(
            run.config.augmentation, clothing=0, background=0, rooms=""
        )
        assert same == RECIPE.augmentation
        assert run.config.training.seed == run.seed
    assert len(benchmark.runs(RECIPE, 0.4, None, 2)) == 4


def test_the_table_by_hand(benchmark):
    scored = [
        {
            "arm": "none",
            "pck@0.2": {"all": a, "wrist": 50.0},
            "pck@0.1": {"all": 40.0},
            "pixel_error": 9.0,
        }
        for a in (80.0, 83.0, 89.0)
    ]

    table = benchmark.summary(scored)

    assert table["none"]["All"] == {"mean": 84, "min": 80, "max": 89, "seeds": 3}
    assert "84.00 (80.00-89.00)" in benchmark.lines(table)[1]


@pytest.mark.slow  # three trainings
def test_it_trains_scores_and_goes_on(benchmark, folder, tmp_path, capsys, monkeypatch):
    arguments = (folder / "data", tmp_path / "out", "none", str(folder / "room.png"))

    result = benchmark.measure(*arguments, RECIPE, None, 0.5, 1)

    said = capsys.readouterr().out
    assert "18 persons in 2 to train on, 4 in 1 to test on" in said
    assert list(result) == ["none", "clothing", "clothing+background"]
    written = json.loads((tmp_path / "out" / "results.json").read_text())
    assert written["clothing"] == "1"
    assert [run["arm"] for run in written["runs"]] == list(result)

    def train(*arguments):
        raise AssertionError("everything was trained before")

    monkeypatch.setattr(benchmark.experiment, "train", train)
    assert benchmark.measure(*arguments, RECIPE, None, 0.5, 1) == result


def test_bad_input_is_one_line(benchmark, folder, tmp_path):
    answer = CliRunner().invoke(
        benchmark.main,
        [
            *(str(folder / "data"), "--out", str(tmp_path / "out")),
            *("--init", "none", "--rooms", str(tmp_path / "none")),
        ],
    )

    assert answer.exit_code == 1
    assert "augmentation.rooms: " in answer.output
    assert not (tmp_path / "out").exists()
