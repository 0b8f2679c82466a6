"""Experiments: who is in which arm, equal steps, going on after a stop, refusals."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from kpose import experiment, training
from kpose.errors import InputError
from kpose.models import store
from kpose.shards import PreparedData
from kpose_cli.main import main


def replace(config, **changes):
    return dataclasses.replace(
        config, training=dataclasses.replace(config.training, **changes)
    )


def numbers(results):
    """Return the scores of every run."""
    return [
        (row["run"], row["seed"], row["epochs"], row["steps"], row["validation"])
        for row in results["runs"]
    ]


def test_the_arms_differ_in_partly_annotated_persons_alone(tiny_data, tiny_config):
    """Every fourth of the 24 persons is partly annotated; 4 full ones are held out."""
    data = PreparedData.open(tiny_data)
    config = replace(tiny_config, epochs=3, patience=1)

    (everyone, full), val_ids = experiment.plan(data, config)

    train_ids, wanted = training.split(data, config.training)
    assert val_ids.tolist() == wanted.tolist() and len(val_ids) == 4
    assert everyone.train_ids.tolist() == train_ids.tolist()
    partly = set(range(3, 24, 4))
    assert set(everyone.train_ids) == set(range(24)) - set(val_ids)
    assert set(full.train_ids) == set(range(24)) - set(val_ids) - partly
    # 20 persons: 3 epochs of 5 steps of 4; 14 persons: 5 epochs of 3 steps.
    assert (everyone.steps_per_epoch, everyone.config.training.epochs) == (5, 3)
    assert (full.steps_per_epoch, full.config.training.epochs) == (3, 5)
    assert everyone.steps == full.steps == 15
    assert everyone.config.training.warmup_epochs * 5 == pytest.approx(2.5)
    assert full.config.training.warmup_epochs * 3 == pytest.approx(2.5)
    rates = [
        [float(training.Schedule(arm.config.training, arm.steps_per_epoch)(step))
         for step in range(16)]
        for arm in (everyone, full)
    ]  # fmt: skip
    np.testing.assert_allclose(*rates, rtol=1e-6)
    # Else the arms would stop at different steps.
    assert everyone.config.training.patience == full.config.training.patience == 0


def test_a_stopped_experiment_goes_on_to_the_same_numbers(
    tiny_data, tiny_config, tmp_path, monkeypatch
):
    """Also: a run after others in one process is the run of a fresh one."""
    tf.config.experimental.enable_op_determinism()
    config = replace(tiny_config, epochs=3)
    lines = []
    whole = experiment.heterogeneous(
        tiny_data, config, tmp_path / "whole", seeds=2, report=lines.append
    )
    assert [row["run"] for row in whole["runs"]] == [
        "all-0",
        "full-0",
        "all-1",
        "full-1",
    ]
    assert [row["steps"] for row in whole["runs"]] == [15] * 4
    assert [line for line in lines if line.startswith("full-1: epoch 5/5")]

    step, done = training.Trainer.step, []

    def failing(self, images, joints):
        if len(done) == 24:  # in full-0, after its third epoch
            raise KeyboardInterrupt
        done.append(1)
        return step(self, images, joints)

    monkeypatch.setattr(training.Trainer, "step", failing)
    with pytest.raises(KeyboardInterrupt):
        experiment.heterogeneous(tiny_data, config, tmp_path / "cut", seeds=2)
    monkeypatch.setattr(training.Trainer, "step", step)
    assert not (tmp_path / "cut" / "results.json").exists()
    # What a kill leaves that comes while a run's folder is made.
    (tmp_path / "cut" / "all-1").mkdir()
    (tmp_path / "cut" / "all-1" / "config.toml").write_text("")
    finished = (tmp_path / "cut" / "all-0" / "last.keras").read_bytes()
    lines.clear()
    experiment.heterogeneous(
        tiny_data, config, tmp_path / "cut", seeds=2, report=lines.append
    )

    assert "all-0: finished before" in lines
    assert (tmp_path / "cut" / "all-0" / "last.keras").read_bytes() == finished
    assert not [line for line in lines if line.startswith("full-0: epoch 1/")]
    again = json.loads((tmp_path / "cut" / "results.json").read_text())
    assert numbers(again) == numbers(whole)
    assert again["comparison"] == whole["comparison"]

    # Alone, without the experiment around it.
    data = PreparedData.open(tiny_data)
    (_, full), val_ids = experiment.plan(data, config)
    keras.backend.clear_session()
    training.train(
        tiny_data,
        replace(full.config, seed=1),
        tmp_path / "alone",
        persons=(full.train_ids, val_ids),
    )
    last = training.load_state(tmp_path / "alone").history[-1]
    assert last["val_pixel_error"] == numbers(whole)[3][4]["pixel_error"]


def test_every_run_has_the_persons_of_its_arm(tiny_data, tiny_config, tmp_path):
    config = replace(tiny_config, epochs=1)

    results = experiment.heterogeneous(tiny_data, config, tmp_path / "out", seeds=1)

    arms = results["arms"]
    assert (arms["all"]["persons"], arms["full"]["persons"]) == (20, 14)
    assert (arms["all"]["joints"], arms["full"]["joints"]) == (
        14 * 13 + 6 * 12,
        14 * 13,
    )
    assert results["validation"]["persons"] == 4
    for name, count in (("all", 20), ("full", 14)):
        card = store.read_card(tmp_path / "out" / f"{name}-0" / "last.keras")
        assert card["training"]["data"][0]["persons"] == count
        assert card["scores"]["validation"]["persons"] == 4
    html = (tmp_path / "out" / "report.html").read_text()
    assert (
        "fully annotated only" in html and "15.7" in html and "data:image/png" in html
    )


def test_the_comparison_by_hand():
    rows = [
        {"arm": arm, "seed": seed, "validation": {"pixel_error": px, "pck@0.2": pck}}
        for seed, arm, px, pck in (
            (0, "all", 9.0, 80.0),
            (0, "full", 10.0, 75.0),
            (1, "all", 11.0, 70.0),
            (1, "full", 10.0, 77.0),
        )
    ]

    found = experiment.compare(rows, "validation")

    assert found["all"]["pixel_error"] == {"mean": 10.0, "min": 9.0, "max": 11.0}
    assert found["full"]["pck@0.2"] == {"mean": 76.0, "min": 75.0, "max": 77.0}
    assert found["error_reduction_percent"] == 0
    assert found["error_reduction_percent_by_seed"] == [10.0, -10.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 5}, "another recipe: training batch 4 there, 5 asked for"),
        ({"seed": 3}, "another recipe: training seed 0 there, 3 asked for"),
    ],
    ids=["batch", "seed"],
)
def test_another_experiment_in_the_folder_is_refused(
    tiny_data, tiny_config, tmp_path, change, message
):
    data = PreparedData.open(tiny_data)
    request = experiment._request(data, tiny_config, "none", 3)
    experiment.claim(tmp_path / "out", request)
    (tmp_path / "out" / "all-0").mkdir()

    with pytest.raises(InputError, match=message):
        experiment.heterogeneous(
            tiny_data, replace(tiny_config, **change), tmp_path / "out"
        )
    with pytest.raises(InputError, match="another seeds: 3 there, 2 asked for"):
        experiment.heterogeneous(tiny_data, tiny_config, tmp_path / "out", seeds=2)
    assert not list((tmp_path / "out" / "all-0").iterdir())


def test_a_call_refused_before_any_training_leaves_the_folder_free(
    tiny_data, tiny_config, tmp_path
):
    """Here the backbone's weights do not go with the recipe's network."""
    weights, out = tmp_path / "a.weights.h5", tmp_path / "out"
    weights.write_bytes(b"weights")
    with pytest.raises(InputError, match="is for the backbone of compact"):
        experiment.heterogeneous(tiny_data, tiny_config, out, init=str(weights))
    data = PreparedData.open(tiny_data)

    experiment.claim(out, experiment._request(data, tiny_config, "none", 3))

    assert json.loads((out / "experiment.json").read_text())["init"] == "none"


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


def kpose(*arguments):
    arguments = ["experiment", "heterogeneous", *map(str, arguments)]
    return CliRunner().invoke(main, arguments)


def test_the_command_prints_table_and_json(tiny_data, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    call = (tiny_data, "--preset", recipe, "--seeds", 1, "--out", tmp_path / "out")

    result = kpose(*call)

    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    header = "validation px min max PCK@0.2 min max"
    assert lines[0].split() == header.split()
    assert lines[1].startswith("all data ")
    assert lines[2].startswith("fully annotated only ")
    assert lines[4].split()[:5] == ["paper,", "fully", "annotated", "only", "16.6"]
    assert "The paper: 5.4 %." in lines[5]
    assert "all-0: epoch 1/1: loss" in result.stderr

    again = kpose(*call, "--json")
    summary = json.loads(again.stdout.splitlines()[-1])
    assert (
        summary["comparison"]
        == json.loads((tmp_path / "out" / "results.json").read_text())["comparison"]
    )
    assert "full-0: finished before" in again.stderr


def test_bad_calls_are_one_line_and_write_nothing(tiny_data, tmp_path, monkeypatch):
    recipe, large = tmp_path / "recipe.toml", tmp_path / "large.toml"
    recipe.write_text(RECIPE)
    large.write_text(RECIPE.replace("batch = 4", "batch = 15"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    out = tmp_path / "out"
    calls = {
        "no folder of `kpose prepare`|has no dataset.json": [tmp_path, "--out", out],
        "a batch of fully annotated persons to train on, 15, beside the 4": [
            *(tiny_data, "--preset", large, "--out", out)
        ],
        "must be new, an empty folder or one of this experiment": [
            *(tiny_data, "--preset", recipe, "--out", tmp_path / "full")
        ],
        "there is no file": [
            *(tiny_data, "--preset", recipe, "--out", out, "--init", "a.weights.h5")
        ],
        "data must be NAME:PATH": [
            *(tiny_data, "--preset", recipe, "--out", out, "--data", "none:here")
        ],
        "--seeds": [tiny_data, "--out", out, "--seeds", "0"],
    }
    for message, call in calls.items():
        result = kpose(*call)
        assert result.exit_code == 1, message
        assert message.split("|")[-1] in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
        assert not out.exists(), message
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"]


def test_data_without_partly_annotated_persons_is_refused(tiny_data, tiny_config):
    data = PreparedData.open(tiny_data)
    data.annotated[:] = 13

    with pytest.raises(InputError, match="partly annotated persons to train on"):
        experiment.plan(data, tiny_config)
