"""Training: it learns, it can be killed, and it refuses what does not go together."""

import csv
import dataclasses
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from kpose import runtime, training
from kpose.augment import Augmentation
from kpose.config import Config, Training
from kpose.errors import InputError
from kpose.models import store
from kpose.shards import PreparedData


def weights(path):
    """Return the weights in a checkpoint, without the seeds of its dropout."""
    network, _ = store.load(path)
    return [np.asarray(v) for v in network.variables if "float" in v.dtype]


def replace(config, **changes):
    return dataclasses.replace(
        config, training=dataclasses.replace(config.training, **changes)
    )


def test_a_run_learns_and_leaves_its_files(tiny_data, tiny_config, tmp_path):
    run = tmp_path / "run"
    lines = []
    config = replace(tiny_config, epochs=6, learning_rate=3e-3)

    summary = training.train(tiny_data, config, run, report=lines.append)

    with (run / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert float(rows[-1]["loss"]) < 0.3 * float(rows[0]["loss"])
    scores = [float(row["val_pck_all"]) for row in rows]
    assert summary["pck@0.2"] == round(max(scores), 2)
    assert summary["best_epoch"] == 1 + scores.index(max(scores))
    assert (summary["train_persons"], summary["validation_persons"]) == (20, 4)
    assert len([line for line in lines if "validation PCK" in line]) == 6

    card = store.read_card(run)  # a run folder stands for its best checkpoint
    assert card["training"]["data"] == [
        {"source": "tiny", "persons": 20, "licence": "public domain"}
    ]
    assert card["training"]["epochs"] == summary["best_epoch"]
    assert card["scores"]["validation"]["pck@0.2"] == summary["pck@0.2"]
    assert json.loads((run / "versions.json").read_text())["keras"] == keras.__version__
    assert any((run / "tensorboard").iterdir())
    assert Config.from_json(card["training"]["config"]) == config
    # A regression head: calibrated by the disagreement of the flip test alone.
    assert card["confidence"]["one_pass"] is None
    assert card["confidence"]["flip_test"]["joints"] == 4 * 13
    assert runtime.open(run).flip_curve is not None


def test_a_simcc_network_is_kept_with_its_calibration(tiny_data, tmp_path, monkeypatch):
    recipe = Training(1, 4, "sgd", 1.0, validation_persons=20)
    options = {"name": "compact", "backbone": "mobilenet_v1_0.25", "size": 32}
    config = Config(training=recipe, model=options)
    data = PreparedData.open(tiny_data)
    ids = training.split(data, recipe)
    crops, joints = next(training.pipeline.samples(data, ids[1], 32))
    one_pass = {"raw": [0.0, 0.2], "probability": [0.5, 0.9]}
    fitted = {"one_pass": one_pass, "flip_test": {"raw": [0], "probability": [1]}}
    seen = []

    def calibrate(*answers):
        seen.extend(answers)
        return fitted

    def trainer(init="none"):
        return training.Trainer(data, *ids, config, init, training._strategy())

    monkeypatch.setattr(training.confidence, "calibrate", calibrate)
    first = trainer()
    _, calibrated = first.validate()
    card = {"model": options, "skeleton": data.skeleton.to_json(), "size": 32}
    first.keep(card | {"confidence": calibrated}, tmp_path / "net.keras")

    plain, mirrored = runtime.predict_both(first.runtime, crops)
    for found, wanted in zip(seen[:3], (joints, plain, mirrored), strict=True):
        np.testing.assert_array_equal(found[0], wanted[0])
    np.testing.assert_array_equal(seen[1].confidence, plain.confidence)
    assert seen[3] == data.skeleton.torso
    assert seen[4].tolist() == [f"tiny/{data.group[i]}" for i in ids[1]]
    kept = runtime.open(tmp_path / "net.keras")
    wanted = 0.5 + 2 * plain.confidence
    np.testing.assert_allclose(kept.predict(crops).confidence, wanted, atol=1e-5)
    assert kept.flip_curve == ([0], [1])
    # The training goes on with raw confidences, also one that starts from the file.
    assert first.network.get_layer("decode").calibration is None
    again = trainer(str(tmp_path / "net.keras"))
    assert again.network.get_layer("decode").calibration is None


def test_the_kept_network_has_the_score_that_was_logged(
    tiny_data, tiny_config, tmp_path
):
    """Catches keeping the raw weights where the average was validated."""
    training.train(tiny_data, replace(tiny_config, epochs=3), tmp_path / "run")
    data = PreparedData.open(tiny_data)
    _, val_ids = training.split(data, tiny_config.training)
    network, _ = store.load(tmp_path / "run" / "last.keras")
    with (tmp_path / "run" / "log.csv").open() as file:
        logged = float(list(csv.DictReader(file))[-1]["val_pixel_error"])

    from kpose import metrics, pipeline

    error = metrics.PixelError()
    for images, joints in pipeline.samples(data, val_ids, 64):
        out = network(images.astype(np.float32), training=False)
        error.update_state(joints, out["keypoints"])

    assert float(error.result()) == pytest.approx(logged, rel=1e-5)


@pytest.mark.parametrize("stop", [1, 4, 7], ids=["first", "middle", "second epoch"])
def test_interrupted_and_resumed_is_unbroken(
    tiny_data, tiny_config, tmp_path, monkeypatch, stop
):
    """Weights, optimiser, schedule, order, augmentation, dropout and best score."""
    augmented = dataclasses.replace(
        tiny_config, augmentation=training.pipeline.Augmentation(0.5, 20, 0.2, 0.1, 0.1)
    )
    training.train(tiny_data, augmented, tmp_path / "whole", deterministic=True)
    step, done = training.Trainer.step, []

    def failing(self, images, joints):
        if len(done) == stop:
            raise KeyboardInterrupt
        done.append(1)
        return step(self, images, joints)

    monkeypatch.setattr(training.Trainer, "step", failing)
    monkeypatch.setattr(training, "SAVE_SECONDS", 0)
    with pytest.raises(KeyboardInterrupt):
        training.train(tiny_data, augmented, tmp_path / "cut")
    monkeypatch.setattr(training.Trainer, "step", step)
    summary = training.train(tiny_data, augmented, tmp_path / "cut", resume=True)

    for name in ("best.keras", "last.keras"):
        for a, b in zip(
            weights(tmp_path / "whole" / name),
            weights(tmp_path / "cut" / name),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)
    whole = (tmp_path / "whole" / "log.csv").read_text().splitlines()
    cut = (tmp_path / "cut" / "log.csv").read_text().splitlines()
    kept = [not name.endswith("seconds") for name in whole[0].split(",")]
    assert kept.count(False) == 2
    for a, b in zip(whole, cut, strict=True):
        left, right = (
            list(itertools.compress(line.split(","), kept)) for line in (a, b)
        )
        assert left == right
    assert summary["epochs"] == 2


@pytest.mark.slow
def test_sigkill_at_three_random_moments(tiny_data, tmp_path):
    """The real thing: another process, SIGKILL, no chance to clean up."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        '[model]\nname = "linna2016"\nsize = 64\nwidth = 0.1\ndropout = 0.2\n'
        '[training]\nepochs = 25\nbatch = 4\noptimizer = "sgd"\nlearning_rate = 0.01\n'
        "weight_decay = 5e-4\nema = 0.9\nvalidation_persons = 4\n"
        "[augmentation]\nflip = 0.5\nrotation = 20.0\n"
    )

    def command(run, *more):
        return [
            *(sys.executable, "-m", "kpose_cli", "train", str(tiny_data)),
            *("--preset", str(recipe), "--out", str(run), "--deterministic", *more),
        ]

    started = time.monotonic()
    subprocess.run(command(tmp_path / "whole"), check=True, capture_output=True)
    seconds = time.monotonic() - started
    moments = random.Random(os.getpid())
    run = tmp_path / "cut"
    for trial in range(3):
        resume = ["--resume"] if (run / "run.json").exists() else []
        process = subprocess.Popen(
            command(run, *resume), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        time.sleep(moments.uniform(0.5, 0.9) * seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        print(f"trial {trial}: state {(run / 'resume.npz').exists()}")
    resume = ["--resume"] if (run / "run.json").exists() else []
    subprocess.run(command(run, *resume), check=True, capture_output=True)

    for a, b in zip(
        weights(tmp_path / "whole" / "last.keras"),
        weights(run / "last.keras"),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_another_skeleton_trains_and_exports(tiny_coco_data, tiny_config, tmp_path):
    training.train(tiny_coco_data, tiny_config, tmp_path / "run")

    network, card = store.load(tmp_path / "run" / "best.keras")

    assert network.output["keypoints"].shape[1:] == (17, 2)
    assert card["skeleton"]["joints"][0] == "nose"
    from kpose import runtime
    from kpose.export.publish import publish

    publish(tmp_path / "run", tmp_path / "out", ("saved_model", "tflite"))
    crops = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    expected = network(crops.astype(np.float32))["keypoints"]
    for artefact in ("saved_model", "model.tflite"):
        found = runtime.open(tmp_path / "out" / artefact).predict(crops).keypoints
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_finetuning_starts_from_the_trained_weights(tiny_data, tiny_config, tmp_path):
    training.train(tiny_data, tiny_config, tmp_path / "first")
    recipe = Config(training=Training(1, 4, "sgd", 1e-12, validation_persons=4))

    training.train(tiny_data, recipe, tmp_path / "second", init=str(tmp_path / "first"))

    for a, b in zip(
        weights(tmp_path / "first" / "best.keras"),
        weights(tmp_path / "second" / "best.keras"),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-6)
    initial = store.read_card(tmp_path / "second")["training"]["initial_weights"]
    assert initial["kind"] == "kpose"
    assert initial["training"]["data"][0]["source"] == "tiny"


def test_early_stopping(tiny_data, tiny_config, tmp_path):
    # A rate too small to change anything: no epoch is better than the first.
    config = replace(tiny_config, epochs=9, patience=2, learning_rate=1e-12, ema=0.0)

    summary = training.train(tiny_data, config, tmp_path / "run")

    assert (summary["epochs"], summary["best_epoch"]) == (3, 1)


@pytest.mark.parametrize(
    ("schedule", "warmup", "expected"),
    [
        ("constant", 0.0, {0: 1, 99: 1}),
        ("steps", 0.0, {0: 1, 69: 1, 70: 0.1, 79: 0.1, 80: 0.01, 99: 0.01}),
        ("cosine", 0.0, {0: 1, 50: 0.5, 100: 0}),
        ("cosine", 2.0, {0: 0.05, 9: 0.5, 19: 1, 60: 0.5}),
    ],
)
def test_schedules(schedule, warmup, expected):
    recipe = Training(
        10, 4, "sgd", 2.0, schedule=schedule, warmup_epochs=warmup, validation_persons=4
    )
    rate = training.Schedule(recipe, steps_per_epoch=10)

    for step, factor in expected.items():
        assert float(rate(step)) == pytest.approx(2 * factor, abs=1e-6)


def test_caffe_step_by_hand(tiny_data, tiny_config):
    """Decay of kernels in the gradient, none on biases, twice the rate for biases."""
    config = replace(
        tiny_config, optimizer="sgd", learning_rate=0.5, weight_decay=0.1, ema=0.0,
        schedule="constant", warmup_epochs=0.0,
    )  # fmt: skip
    config = dataclasses.replace(config, model={**config.model, "dropout": 0.0})
    data = PreparedData.open(tiny_data)
    train_ids, val_ids = training.split(data, config.training)
    trainer = training.Trainer(
        data, train_ids, val_ids, config, "none", training._strategy()
    )
    images, joints = next(trainer.batches(0, 0))
    import tensorflow as tf

    variables = trainer.network.trainable_variables
    with tf.GradientTape() as tape:
        loss = trainer.loss(joints, trainer.network(images)["keypoints"])
    gradients = tape.gradient(loss, variables)
    before = [np.asarray(v) for v in variables]

    found = trainer.step(images, joints)

    assert found == pytest.approx(float(loss), rel=1e-5)
    for old, gradient, new in zip(before, gradients, variables, strict=True):
        if new.path.endswith("bias"):
            expected = old - 0.5 * 2 * np.asarray(gradient)
        else:
            expected = old - 0.5 * (np.asarray(gradient) + 0.1 * old)
        np.testing.assert_allclose(np.asarray(new), expected, atol=1e-5)


def test_validation_is_drawn_from_full_persons_and_leaves_no_group(tiny_data):
    data = PreparedData.open(tiny_data)
    recipe = Training(1, 4, "sgd", 1.0, validation_persons=6)

    train_ids, val_ids = training.split(data, recipe)
    other, _ = training.split(data, dataclasses.replace(recipe, seed=1))

    assert len(val_ids) == 6
    assert (data.annotated[val_ids] == 13).all()
    assert not set(data.group[train_ids]) & set(data.group[val_ids])
    assert len(train_ids) == 18
    assert set(other) != set(train_ids)


def test_test_persons_are_refused(tiny_data, tiny_config, tmp_path):
    data = PreparedData.open(tiny_data)
    data.split[:3] = "test"

    with pytest.raises(InputError, match="no test persons to train on, but has 3"):
        training.split(data, tiny_config.training)
    train_ids, _ = training.split(data, tiny_config.training, allow_test=True)
    assert len(train_ids) == 20


def test_the_sets_own_validation_split_is_used(tiny_data, tiny_config):
    data = PreparedData.open(tiny_data)
    data.split[5:8] = "val"

    train_ids, val_ids = training.split(data, tiny_config.training)

    assert val_ids.tolist() == [5, 6, 7]
    assert len(train_ids) == 21


def test_output_with_content_is_refused(tiny_data, tiny_config, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")

    with pytest.raises(InputError, match="must be new or an empty folder"):
        training.train(tiny_data, tiny_config, tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_resume_of_another_recipe_is_refused(tiny_data, tiny_config, tmp_path):
    training.train(tiny_data, tiny_config, tmp_path / "run")
    before = (tmp_path / "run" / "resume.npz").read_bytes()

    with pytest.raises(InputError, match="--resume needs the config"):
        training.train(
            tiny_data, replace(tiny_config, batch=5), tmp_path / "run", resume=True
        )

    assert (tmp_path / "run" / "resume.npz").read_bytes() == before


def test_a_run_takes_the_persons_it_is_given_and_keeps_to_them(
    tiny_data, tiny_config, tmp_path
):
    """Catches a resume that goes on with other persons."""
    chosen = np.arange(0, 8), np.arange(8, 11)
    config = replace(tiny_config, epochs=1)

    summary = training.train(tiny_data, config, tmp_path / "run", persons=chosen)

    assert (summary["train_persons"], summary["validation_persons"]) == (8, 3)
    for persons in (None, (np.arange(0, 8), np.arange(8, 12))):
        with pytest.raises(InputError, match="--resume needs the persons"):
            training.train(
                tiny_data, config, tmp_path / "run", resume=True, persons=persons
            )
    state = training.load_state(tmp_path / "run")
    assert state.epoch == len(state.history) == 1
    assert training.is_over(state, config)
    assert not training.is_over(state, replace(config, epochs=2))


def test_resume_of_nothing_is_refused(tiny_data, tiny_config, tmp_path):
    with pytest.raises(InputError, match=r"run\.json"):
        training.train(tiny_data, tiny_config, tmp_path / "run", resume=True)
    assert not (tmp_path / "run").exists()


def test_a_damaged_state_is_refused(tiny_data, tiny_config, tmp_path):
    training.train(tiny_data, tiny_config, tmp_path / "run")
    state = tmp_path / "run" / "resume.npz"
    state.write_bytes(state.read_bytes()[:2000])

    with pytest.raises(InputError, match=r"resume\.npz must be a whole checkpoint"):
        training.train(tiny_data, tiny_config, tmp_path / "run", resume=True)


def test_init_of_another_model_is_refused(
    tiny_data, tiny_coco_data, tiny_config, tmp_path
):
    training.train(tiny_data, tiny_config, tmp_path / "run")
    wider = dataclasses.replace(tiny_config, model={**tiny_config.model, "width": 0.03})

    with pytest.raises(
        InputError, match=r"must be the model of the recipe.*width=0.03"
    ):
        training.train(tiny_data, wider, tmp_path / "a", init=str(tmp_path / "run"))
    with pytest.raises(InputError, match="must have the joints of"):
        training.train(
            tiny_coco_data, tiny_config, tmp_path / "b", init=str(tmp_path / "run")
        )
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ("missing.weights.h5", "backbone of compact, but the recipe has the model"),
        ("nothing", "there is no nothing"),
    ],
)
def test_wrong_init_is_refused(tiny_data, tiny_config, tmp_path, init, message):
    with pytest.raises(InputError, match=message):
        training.train(tiny_data, tiny_config, tmp_path / "run", init=init)
    assert not (tmp_path / "run").exists()


def test_a_recipe_without_model_needs_init(tiny_data, tiny_config, tmp_path):
    bare = dataclasses.replace(tiny_config, model={})
    with pytest.raises(InputError, match=r"without \[model\] takes the network of"):
        training.train(tiny_data, bare, tmp_path / "run")


def test_a_diverging_loss_is_an_error(tiny_data, tiny_config, tmp_path):
    config = replace(
        tiny_config, optimizer="sgd", learning_rate=1e30, warmup_epochs=0.0
    )

    with pytest.raises(InputError, match=r"lower training\.learning_rate"):
        training.train(tiny_data, config, tmp_path / "run")


def test_dry_run_counts(tiny_data, tiny_config):
    plan = training.dry_run(tiny_data, tiny_config)

    assert plan["train_persons"] == 20
    assert plan["steps_per_epoch"] == 5
    assert plan["steps"] == 10
    assert plan["peak_memory_mb"] > 0


@pytest.mark.slow
def test_the_papers_network_learns_from_one_epoch_of_lsp(lsp_folder, tmp_path):
    """98.9 M weights, real photographs, eq. 1 on persons it never saw."""
    from kpose import pipeline
    from kpose.config import load
    from kpose.examples import Source, prepare
    from kpose_datasets import lsp

    records = [record for record in lsp.read(lsp_folder) if record.split == "train"]
    prepare([Source("lsp", records, lsp.LICENCE)], tmp_path / "data", size=224)
    config = replace(load("pretrain"), epochs=1, batch=32, validation_persons=100)
    data = PreparedData.open(tmp_path / "data")
    train_ids, val_ids = training.split(data, config.training)
    trainer = training.Trainer(
        data, train_ids, val_ids, config, "none", training._strategy()
    )

    def validation_loss():
        values = []
        for images, joints in pipeline.samples(data, val_ids, 224):
            predicted = trainer.runtime.predict(images).keypoints
            values.append(len(joints) * float(trainer.loss(joints, predicted)))
        return sum(values) / len(val_ids)

    before = validation_loss()
    trainer.epoch(training.State(), tmp_path, report=print)
    after = validation_loss()

    print(f"eq. 1 on {len(val_ids)} persons: {before:.4f} before, {after:.4f} after")
    assert trainer.steps == 28
    assert after < 0.5 * before


def test_a_room_that_is_not_there_leaves_no_run_folder(
    tiny_data, tiny_config, tmp_path
):
    augmentation = Augmentation(background=0.5, rooms=str(tmp_path / "nowhere"))
    recipe = dataclasses.replace(tiny_config, augmentation=augmentation)

    with pytest.raises(InputError, match=r"augmentation\.rooms: .*nowhere"):
        training.train(tiny_data, recipe, tmp_path / "run")

    assert not (tmp_path / "run").exists()
