"""Training: one loop over ``tf.distribute``, that a kill at any moment does not harm.

Everything that happens in a step is a function of (config, data, step): the batch, its
augmentation and the learning rate. A resumed training therefore needs only what
``resume.npz`` holds: weights, optimiser, running average, and how far it got.

A run folder holds ``config.toml`` (resolved), ``versions.json``, ``log.csv``,
``tensorboard/``, ``best.keras`` (best validation score), ``last.keras`` and
``resume.npz``.
"""

import csv
import dataclasses
import hashlib
import importlib.metadata
import io
import json
import platform
import resource
import shlex
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from numpy.typing import NDArray

import kpose
from kpose import (
    confidence,
    leak,
    losses,
    metrics,
    models,
    pipeline,
    replay,
    runtime,
    splits,
)
from kpose.config import Config, Training
from kpose.errors import InputError
from kpose.files import atomic_file, read_json, sha256, write_json, write_text
from kpose.models import heads, store
from kpose.shards import TRAINING_PICTURES, PreparedData

SAVE_SECONDS = 120.0
"""Longest time between two resumable states, so that a kill costs minutes."""

REPORT_SECONDS = 30.0
"""Time between two lines about an epoch that is still running."""

Report = Callable[[str], None]

Persons = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Indices of the crops to train on and of those to validate on."""


@dataclasses.dataclass
class State:
    """How far a training got: the part of ``resume.npz`` that is not an array.

    Args:
        epoch: Epochs finished.
        step: Steps done in the unfinished epoch.
        loss_sum: Sum of the losses of those steps.
        seconds: Time spent in those steps.
        best: Best validation PCK so far, -1 before the first.
        best_epoch: The epoch, 1-based, that had it.
        history: One row per finished epoch.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    best: float = -1.0
    best_epoch: int = 0
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)


def train(
    data_folder: Path,
    config: Config,
    run: Path,
    *,
    init: str = "none",
    resume: bool = False,
    allow_test: bool = False,
    deterministic: bool = False,
    persons: Persons | None = None,
    general: Path | None = None,
    keep_general: float = 0.0,
    keep_epochs: bool = False,
    report: Report = lambda line: None,
) -> dict[str, Any]:
    """Train a network and leave its checkpoints in ``run``.

    Args:
        data_folder: A folder that ``kpose prepare`` wrote.
        config: The recipe.
        run: The run folder; new, or of the same training with ``resume``.
        init: ``"none"``, ``"imagenet"`` (Keras downloads the backbone), a
            ``.weights.h5`` file for the backbone, or a trained kpose model.
        resume: Whether to go on where the run in ``run`` stopped.
        allow_test: Whether persons of a test split may be trained on.
        deterministic: Whether TensorFlow uses its deterministic, slower, kernels.
        persons: Whom to train and to validate on instead of what ``split`` says; a
            choice made from its answer, since nothing is checked here.
        general: A prepared folder whose training persons are mixed in.
        keep_general: Their share of the samples of every epoch, between 0 and 1; they
            are drawn anew for each. Beside them an epoch has all of the other crops.
        keep_epochs: Whether the network after every epoch is kept, as
            ``epoch-01.keras`` onwards.
        report: Called with one line of text now and then.

    Returns:
        The summary: best score and epoch, epochs, persons, seconds, paths.

    Raises:
        InputError: If the data, the config, ``init`` and ``run`` do not go together.
    """
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    started = time.monotonic()
    data = PreparedData.open(data_folder)
    train_ids, val_ids = persons or split(data, config.training, allow_test)
    mixed = _mix(data, train_ids, general, keep_general, config)
    strategy = _strategy()
    with strategy.scope():
        trainer = Trainer(data, train_ids, val_ids, config, init, strategy, mixed)
        config = trainer.config
        # What cannot work is refused before there is a run folder.
        pipeline.require(data, config.augmentation, trainer.size)
        identity = _identity(data, config, init, allow_test, persons)
        identity["general"] = mixed and [mixed.general.fingerprint, mixed.share]
        identity["keep_epochs"] = keep_epochs or None
        state = _prepare_run(run, config, identity, resume)
        if resume:
            trainer.restore(run / "resume.npz", state)
    report(
        f"{_persons(data, train_ids)} persons to train on, "
        f"{len(val_ids)} to validate on, "
        f"{trainer.steps} steps per epoch, {trainer.network.count_params():,} weights"
    )
    if mixed is not None:
        report(
            f"{mixed.drawn} of {len(train_ids) + mixed.drawn} samples in every epoch "
            f"are drawn from {_persons(mixed.data, mixed.pool[0])} persons of "
            f"{mixed.general.folder}"
        )
    if set(data.recording[val_ids]) & set(data.recording[train_ids]) - {""}:
        report(
            "validation persons are from the ends of the recordings that are trained "
            "on: there are too few recordings to hold one out"
        )
    report(trainer.leak.sentence())
    if random := splits.warning(data.summary.get("split")):
        report(random)
    trainer.keep_pictures(run / TRAINING_PICTURES)
    writer = tf.summary.create_file_writer(str(run / "tensorboard"))
    with writer.as_default():
        while not is_over(state, config):
            trainer.epoch(state, run, report)
            row = _finish_epoch(trainer, state, run, keep_epochs)
            report(_line(row, config, state))
    return {
        "run": str(run),
        "epochs": state.epoch,
        "best_epoch": state.best_epoch,
        "pck@0.2": round(state.best, 2),
        "train_persons": _persons(data, train_ids),
        "validation_persons": len(val_ids),
        "leak": trainer.leak.to_json(),
        "seconds": round(sum(row["seconds"] for row in state.history), 1),
        "seconds_this_call": round(time.monotonic() - started, 1),
    }


def dry_run(
    data_folder: Path,
    config: Config,
    *,
    init: str = "none",
    allow_test: bool = False,
    general: Path | None = None,
    keep_general: float = 0.0,
) -> dict[str, Any]:
    """Run three real steps and one validation batch, and say what a training takes.

    Returns:
        Persons, steps, measured seconds per step and in total (without validation),
        weights, and the peak memory of the process in megabytes.
    """
    data = PreparedData.open(data_folder)
    train_ids, val_ids = split(data, config.training, allow_test)
    mixed = _mix(data, train_ids, general, keep_general, config)
    strategy = _strategy()
    with strategy.scope():
        trainer = Trainer(data, train_ids, val_ids, config, init, strategy, mixed)
    batches = trainer.batches(0, 0)
    trainer.step(*next(batches))  # traces the graph
    trials = min(3, trainer.steps)
    started = time.monotonic()
    for _ in range(trials):
        trainer.step(*next(batches, None) or next(trainer.batches(0, 0)))
    seconds = (time.monotonic() - started) / trials
    total_steps = trainer.steps * trainer.config.training.epochs
    # Linux counts kilobytes, macOS bytes.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return {
        "train_persons": _persons(data, train_ids),
        "validation_persons": len(val_ids),
        "steps_per_epoch": trainer.steps,
        "steps": total_steps,
        "seconds_per_step": round(seconds, 3),
        "hours": round(total_steps * seconds / 3600, 3),
        "weights": trainer.network.count_params(),
        "peak_memory_mb": round(peak),
    }


def split(
    data: PreparedData, training: Training, allow_test: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of the crops to train on and to validate on.

    The set's own validation split where it has one; else ``validation_persons`` fully
    annotated persons are drawn (paper section 3.3), by group, and nobody of their
    groups is trained on. Of a person who has two crops both are trained on, or the
    first (the detector's) is validated on: validation counts persons. Of a few
    recordings the end of each is held out instead, see ``splits.hold_out``.

    Raises:
        InputError: If there are test persons and they are not allowed, or nobody is
            left to train or to validate on.
    """
    everyone = np.arange(len(data.split))
    test = int(((data.split == "test") & data.first).sum())
    if test and not allow_test:
        raise InputError(
            f"{data.folder} must hold no test persons to train on, but has {test}: "
            "prepare it without them, or give --allow-test"
        )
    val = (data.split == "val") & data.first
    train_mask = data.split != "val"
    if not val.any():
        full = data.first & (data.annotated == len(data.skeleton))
        try:
            drawn = splits.hold_out(
                data.source,
                data.group,
                data.recording,
                full,
                data.first,
                np.ones(len(full), bool),
                min(training.validation_persons, int(full.sum())),
                training.seed,
            )
        except InputError:
            raise InputError(
                f"{data.folder} must hold persons to train on and fully annotated ones "
                f"to validate on. Received: {int(data.first.sum())} persons, "
                f"{int(full.sum())} of them fully annotated"
            ) from None
        val, train_mask = drawn == "val", drawn == "train"
    if not train_mask.any():
        raise InputError(
            f"{data.folder} must hold persons to train on. Received: "
            f"{int(val.sum())} to validate on and nobody else"
        )
    return everyone[train_mask], everyone[val]


def _mix(
    data: PreparedData,
    train_ids: NDArray[np.int64],
    general: Path | None,
    share: float,
    config: Config,
) -> replay.Mix | None:
    if general is None:
        if share:
            raise InputError(
                f"a share of general samples ({share}) needs the general data"
            )
        return None
    opened = PreparedData.open(general)
    return replay.mix(data, train_ids, opened, share, config.training.seed)


def leak_score(
    data: PreparedData, train_ids: NDArray[np.int64], val_ids: NDArray[np.int64]
) -> leak.LeakScore:
    """Return how near the crops to validate on are to those to train on."""
    everyone = np.arange(len(data))
    masks = (np.isin(everyone, train_ids), np.isin(everyone, val_ids))
    return leak.score(data.ids, data.bits, *masks, data.leak_groups)


def _persons(data: PreparedData, ids: NDArray[np.int64]) -> int:
    """Return how many persons the crops show: both crops of one are trained on."""
    return int(data.first[ids].sum())


class Trainer:
    """The network, its optimiser and running average, and the compiled step."""

    def __init__(
        self,
        data: PreparedData,
        train_ids: NDArray[np.int64],
        val_ids: NDArray[np.int64],
        config: Config,
        init: str,
        strategy: tf.distribute.Strategy,
        mixed: replay.Mix | None = None,
    ) -> None:
        """Build everything under the scope of ``strategy``."""
        self.data = data if mixed is None else mixed.data
        self.train_ids, self.val_ids, self.mixed = train_ids, val_ids, mixed
        self.learned = train_ids if mixed is None else mixed.learned
        self.leak = leak_score(self.data, self.learned, val_ids)
        self.strategy = strategy
        keras.utils.set_random_seed(config.training.seed)
        self.network, model, self.initial = _initial_network(data, config, init)
        # Its confidence changes with its weights, and is calibrated anew.
        heads.set_calibration(self.network, None)
        self.config = config = dataclasses.replace(config, model=model)
        self.size = int(self.network.input_shape[1])
        samples = len(self.samples(0))
        self.batch = min(config.training.batch, samples)
        self.steps = samples // self.batch
        self.schedule = Schedule(config.training, self.steps)
        self.optimizer = _optimizer(config.training, self.schedule)
        self.optimizer.build(self.network.trainable_variables)
        self.simcc = "logits" in self.network.output
        self.loss: keras.losses.Loss = (
            losses.SimCCLoss(sigma=config.training.sigma)
            if self.simcc
            else losses.MaskedEuclidean()
        )
        floats = [v for v in self.network.variables if "float" in v.dtype]
        self.averaged = floats if config.training.ema else []
        self.average = [
            tf.Variable(v.value, trainable=False, dtype=v.dtype) for v in self.averaged
        ]
        self._step = tf.function(self._distributed_step, reduce_retracing=True)
        card = {"skeleton": data.skeleton.to_json(), "size": self.size}
        self.runtime = runtime.from_keras(self.network, card)

    def samples(self, epoch: int) -> NDArray[np.int64]:
        """Return the indices of the crops that an epoch has, before its shuffling."""
        return self.train_ids if self.mixed is None else self.mixed.epoch(epoch)

    def batches(self, epoch: int, first_step: int) -> Any:
        """Return an iterator over the epoch's batches from ``first_step`` on."""
        return iter(
            self.strategy.experimental_distribute_dataset(
                pipeline.training_batches(
                    self.data,
                    self.samples(epoch),
                    self.config.augmentation,
                    size=self.size,
                    batch=self.batch,
                    seed=self.config.training.seed,
                    epoch=epoch,
                    first_step=first_step,
                )
            )
        )

    def step(self, images: Any, joints: Any) -> float:
        """Train on one global batch and return its loss."""
        return float(self._step(images, joints))

    def epoch(self, state: State, run: Path, report: Report) -> None:
        """Train the rest of the epoch that ``state`` is in."""
        started = saved = said = time.monotonic()
        before = state.seconds
        for images, joints in self.batches(state.epoch, state.step):
            loss = self.step(images, joints)
            state.step += 1
            state.loss_sum += loss
            now = time.monotonic()
            state.seconds = before + now - started
            if not np.isfinite(loss):
                raise InputError(
                    f"the loss became {loss} in epoch {state.epoch + 1}, step "
                    f"{state.step}: lower training.learning_rate "
                    f"({self.config.training.learning_rate})"
                )
            if now - said > REPORT_SECONDS:
                report(
                    f"epoch {state.epoch + 1}/{self.config.training.epochs}, step "
                    f"{state.step}/{self.steps}: mean loss "
                    f"{state.loss_sum / state.step:.5g}, "
                    f"{state.seconds / state.step:.2f} s per step"
                )
                said = now
            if now - saved > SAVE_SECONDS and state.step < self.steps:
                self.save(run / "resume.npz", state)
                saved = time.monotonic()

    def validate(self) -> tuple[dict[str, float], dict[str, Any]]:
        """Score the network and calibrate its confidence on the validation persons.

        Returns:
            The scores of one pass, without flip test, and what the card says about the
            confidence, see ``confidence.calibrate``.
        """
        joints, plain, mirrored = [], [], []
        for images, truth in pipeline.samples(self.data, self.val_ids, self.size):
            joints.append(truth)
            both = runtime.predict_both(self.runtime, images)
            plain.append(both[0])
            mirrored.append(both[1])
        truth, answer = np.concatenate(joints), runtime.join(plain)
        skeleton, data, ids = self.data.skeleton, self.data, self.val_ids
        pck = metrics.pck_by_group(
            truth, answer.keypoints, skeleton.torso, skeleton.groups
        )
        error = metrics.PixelError()
        error.update_state(truth, answer.keypoints)
        scores = {f"val_pck_{name}": value for name, value in pck.items()}
        scores["val_pixel_error"] = float(error.result())
        groups = np.char.add(np.char.add(data.source[ids], "/"), data.group[ids])
        return scores, confidence.calibrate(
            truth, answer, runtime.join(mirrored), skeleton.torso, groups
        )

    def keep_pictures(self, path: Path) -> None:
        """Write the fingerprints of what is trained on, for later evaluations."""
        ids = self.learned
        with atomic_file(path) as beside:
            np.savez(
                beside,
                allow_pickle=False,
                ids=self.data.ids[ids],
                bits=self.data.bits[ids],
                groups=self.data.leak_groups[ids],
            )

    def keep(self, card: dict[str, Any], path: Path) -> None:
        """Write the network, calibrated as its card says, and the card."""
        one_pass = card["confidence"]["one_pass"]
        if one_pass is not None:
            curve = [one_pass["raw"], one_pass["probability"]]
            heads.set_calibration(self.network, curve)
        store.save(self.network, card, path)
        heads.set_calibration(self.network, None)

    def with_average(self) -> Any:
        """Return a context in which the network has the averaged weights."""
        return _Swapped(self.averaged, self.average)

    def save(self, path: Path, state: State) -> None:
        """Write everything that ``restore`` needs, whole or not at all."""
        arrays = {name: np.asarray(v) for name, v in self._variables().items()}
        state_text = np.array(json.dumps(dataclasses.asdict(state)))
        with atomic_file(path) as beside, beside.open("wb") as file:
            np.savez(file, allow_pickle=False, state=state_text, **arrays)

    def restore(self, path: Path, state: State) -> None:
        """Read what ``save`` wrote into the network, the optimiser and ``state``.

        Raises:
            InputError: If the file is damaged or of another network.
        """
        try:
            # Opened here, since numpy leaves a damaged file open.
            with path.open("rb") as file, np.load(file) as arrays:
                loaded = {name: arrays[name] for name in arrays.files}
        except FileNotFoundError:
            return  # killed before the first state was written
        except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
            raise InputError(f"{path} must be a whole checkpoint: {error}") from None
        saved = json.loads(str(loaded.pop("state")))
        variables = self._variables()
        wrong = [
            name
            for name in variables.keys() | loaded.keys()
            if name not in variables
            or name not in loaded
            or tuple(variables[name].shape) != loaded[name].shape
        ]
        if wrong:
            raise InputError(
                f"{path} must be a checkpoint of this network, but {len(wrong)} of "
                f"{len(variables)} arrays differ, {sorted(wrong)[0]} for one"
            )
        for name, variable in variables.items():
            variable.assign(loaded[name])
        for key, value in saved.items():
            setattr(state, key, value)

    def _variables(self) -> dict[str, Any]:
        named = {f"network/{i}": v for i, v in enumerate(self.network.variables)}
        named |= {f"optimizer/{i}": v for i, v in enumerate(self.optimizer.variables)}
        return named | {f"average/{i}": v for i, v in enumerate(self.average)}

    def _distributed_step(self, images: Any, joints: Any) -> Any:
        partial = self.strategy.run(self._replica_step, args=(images, joints))
        decay = self.config.training.ema
        if decay:
            # Early on the average is over fewer steps, so that it forgets the start.
            done = ops.cast(self.optimizer.iterations, "float32")
            keep = ops.minimum(decay, (1 + done) / (10 + done))
            for average, variable in zip(self.average, self.averaged, strict=True):
                average.assign_add((1 - keep) * (variable.value - average))
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, partial, axis=None)

    def _replica_step(self, images: Any, joints: Any) -> Any:
        variables = self.network.trainable_variables
        with tf.GradientTape() as tape:
            outputs = self.network(images, training=True)
            predicted = outputs["logits" if self.simcc else "keypoints"]
            # The mean over the global batch, whatever part of it this replica has.
            loss = ops.sum(self.loss.call(joints, predicted)) / self.batch
        gradients = tape.gradient(loss, variables)
        if self.config.training.optimizer == "sgd":
            gradients = self._caffe(gradients, variables)
        self.optimizer.apply(gradients, variables)
        return loss

    def _caffe(self, gradients: list[Any], variables: list[Any]) -> list[Any]:
        """Add Caffe's decay of kernels and its double rate for biases (reading 19)."""
        decay = self.config.training.weight_decay / self.strategy.num_replicas_in_sync
        return [
            2 * gradient
            if _is_bias(v)
            else gradient + decay * v
            if _decays(v)
            else gradient
            for gradient, v in zip(gradients, variables, strict=True)
        ]


class _Swapped:
    """Exchange the values of two lists of variables, and back on leaving."""

    def __init__(self, variables: list[Any], others: list[Any]) -> None:
        self.variables, self.others = variables, others

    def __enter__(self) -> None:
        self.kept = [np.asarray(v) for v in self.variables]
        for variable, other in zip(self.variables, self.others, strict=True):
            variable.assign(other)

    def __exit__(self, *error: object) -> None:
        for variable, value in zip(self.variables, self.kept, strict=True):
            variable.assign(value)


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate as a function of the step, see ``config.Training``."""

    def __init__(self, training: Training, steps_per_epoch: int) -> None:
        """Set up the curve for a training of that many steps per epoch."""
        self.training = training
        self.total = max(training.epochs * steps_per_epoch, 1)
        self.warmup = training.warmup_epochs * steps_per_epoch

    def __call__(self, step: Any) -> Any:
        """Return the rate at ``step``, 0-based."""
        t = self.training
        step = ops.cast(step, "float32")
        if t.schedule == "cosine":
            done = ops.clip(
                (step - self.warmup) / max(self.total - self.warmup, 1), 0.0, 1.0
            )
            factor = 0.5 * (1 + ops.cos(np.pi * done))
        elif t.schedule == "steps":
            # The paper names no schedule; Caffe's habit near the end (reading 19).
            factor = 1.0 - 0.9 * ops.cast(step >= 0.7 * self.total, "float32")
            factor = factor - 0.09 * ops.cast(step >= 0.8 * self.total, "float32")
        else:
            factor = ops.ones_like(step)
        if self.warmup:
            factor = ops.minimum(factor, (step + 1) / self.warmup)
        return t.learning_rate * factor

    def get_config(self) -> dict[str, Any]:
        """Return the recipe: the schedule itself is never loaded from a file."""
        return dataclasses.asdict(self.training)


def _strategy() -> tf.distribute.Strategy:
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def _is_bias(variable: Any) -> bool:
    return variable.path.rsplit("/", 1)[-1] in ("bias", "beta")


def _decays(variable: Any) -> bool:
    return "kernel" in variable.path.rsplit("/", 1)[-1]


def _optimizer(training: Training, schedule: Schedule) -> keras.optimizers.Optimizer:
    if training.optimizer == "sgd":
        return keras.optimizers.SGD(schedule, momentum=0.9)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=training.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    return optimizer


def _initial_network(
    data: PreparedData, config: Config, init: str
) -> tuple[keras.Model, dict[str, Any], dict[str, Any]]:
    """Return the network to start from, its [model] table, and where it comes from."""
    model = dict(config.model)
    backbone = init == "imagenet" or init.endswith(".weights.h5")
    if init != "none" and not backbone:
        return _trained_network(data, model, init)
    if not model:
        raise InputError(
            "a recipe without [model] takes the network of --init MODEL. "
            f"Received: --init {init}"
        )
    options = {key: value for key, value in model.items() if key != "name"}
    if backbone:
        if model["name"] != "compact":
            raise InputError(
                f"--init {init} is for the backbone of compact, but the recipe has the "
                f"model {model['name']!r}"
            )
        if init != "imagenet" and not Path(init).is_file():
            raise InputError(f"expected backbone weights at {init}: there is no file")
        options["backbone_weights"] = init
    network = models.build(model["name"], skeleton=data.skeleton, **options)
    source = {"kind": init if not init.endswith(".h5") else "file"}
    if init.endswith(".h5"):
        source |= {"file": Path(init).name, "sha256": sha256(Path(init))}
    return network, model, source


def _trained_network(
    data: PreparedData, model: dict[str, Any], init: str
) -> tuple[keras.Model, dict[str, Any], dict[str, Any]]:
    network, card = store.load(store.resolve(init))
    if model and model != card["model"]:
        raise InputError(
            f"--init {init} must be the model of the recipe, {_short(model)}, but is "
            f"{_short(card['model'])}"
        )
    if card["skeleton"] != data.skeleton.to_json():
        raise InputError(
            f"--init {init} must have the joints of {data.folder}, "
            f"{', '.join(data.skeleton.names)}, but has "
            f"{', '.join(card['skeleton']['joints'])}"
        )
    source = {"kind": "kpose", "sha256": card["sha256"]}
    return network, card["model"], source | {"training": card.get("training", {})}


def _short(model: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in model.items())


def _identity(
    data: PreparedData,
    config: Config,
    init: str,
    allow_test: bool,
    persons: Persons | None,
) -> dict[str, Any]:
    """Return what must be equal for a run to be the same run."""
    return {
        "data": data.fingerprint,
        "config": config.to_json(),
        "init": init,
        "allow_test": allow_test,
        # The fingerprint fixes the order of the crops, so their numbers name them.
        "persons": None if persons is None else _digest(persons),
    }


def _digest(persons: Persons) -> str:
    text = json.dumps([ids.tolist() for ids in persons])
    return hashlib.sha256(text.encode()).hexdigest()


def _prepare_run(
    run: Path, config: Config, identity: dict[str, Any], resume: bool
) -> State:
    """Make the run folder, or check that it is this run's."""
    if resume:
        stored = read_json(run / "run.json")
        for key, value in identity.items():
            if stored.get(key) != value:
                raise InputError(
                    f"--resume needs the {key} that {run} was started with: expected "
                    f"{stored.get(key)!s:.120}, got {value!s:.120}"
                )
        return State()
    if run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise InputError(
            f"{run} must be new or an empty folder, but it has content (--resume goes "
            "on with a run)"
        )
    write_text(run / "config.toml", config.to_toml())
    write_json(run / "versions.json", versions())
    write_json(run / "run.json", identity)
    return State()


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    packages = ("tensorflow", "keras", "numpy", "opencv-python")
    found = {name: importlib.metadata.version(name) for name in packages}
    return {
        "kpose": kpose.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        **found,
    }


def _finish_epoch(
    trainer: Trainer, state: State, run: Path, keep_epochs: bool
) -> dict[str, float]:
    """Validate, log, keep the network and the resumable state."""
    row: dict[str, float] = {
        "epoch": state.epoch + 1,
        "loss": state.loss_sum / trainer.steps,
        "learning_rate": float(trainer.schedule(trainer.optimizer.iterations - 1)),
        "seconds": round(state.seconds, 2),
    }
    started = time.monotonic()
    with trainer.with_average():
        scores, calibrated = trainer.validate()
        row |= scores
        row["validation_seconds"] = round(time.monotonic() - started, 2)
        card = _card(trainer, state, row) | {"confidence": calibrated}
        if row["val_pck_all"] > state.best:
            state.best, state.best_epoch = row["val_pck_all"], state.epoch + 1
            trainer.keep(card, run / "best.keras")
        trainer.keep(card, run / "last.keras")
        if keep_epochs:
            trainer.keep(card, run / epoch_name(state.epoch + 1))
    state.history.append(row)
    state.epoch, state.step, state.loss_sum, state.seconds = (
        state.epoch + 1,
        0,
        0.0,
        0.0,
    )
    text = io.StringIO()
    table = csv.DictWriter(text, list(row))
    table.writeheader()
    table.writerows(state.history)
    write_text(run / "log.csv", text.getvalue())
    for name, value in row.items():
        tf.summary.scalar(name, value, step=state.epoch)
    # Last: were it first, a kill in between would lose the files of this epoch.
    trainer.save(run / "resume.npz", state)
    return row


def epoch_name(epoch: int) -> str:
    """Return the name of the network that is kept after that epoch, 1-based."""
    return f"epoch-{epoch:02}.keras"


def _general(trainer: Trainer, epochs: int) -> dict[str, Any]:
    """Return what the card says about samples of general data, if there are any."""
    mixed = trainer.mixed
    if mixed is None:
        return {"data": [], "keep_general": None}
    seed, trained = trainer.config.training.seed, trainer.steps * trainer.batch
    drawn = [
        pipeline.order(seed, epoch, mixed.epoch(epoch))[:trained]
        for epoch in range(epochs)
    ]
    there, seen = mixed.persons(mixed.learned), mixed.persons(np.concatenate(drawn))
    source = mixed.general.source
    licences = {entry["name"]: entry["licence"] for entry in mixed.general.sources}
    return {
        "data": [
            {
                "source": str(name),
                "persons": int((source[there] == name).sum()),
                "seen": int((source[seen] == name).sum()),
                "licence": licences[str(name)],
                "general": True,
            }
            for name in np.unique(source[there])
        ],
        "keep_general": {"share": mixed.share, "samples_per_epoch": mixed.drawn},
    }


def _card(trainer: Trainer, state: State, row: dict[str, float]) -> dict[str, Any]:
    """Return the card of the network as it is (docs: every artefact carries one)."""
    data, config = trainer.data, trainer.config
    # Its counts are of persons; some have two crops.
    ids = trainer.train_ids[data.first[trainer.train_ids]]
    sources, counts = np.unique(data.source[ids], return_counts=True)
    licences = {source["name"]: source["licence"] for source in data.sources}
    leaking = int((data.split[ids] == "test").sum())
    rescaling = trainer.network.get_layer("normalise")
    general = _general(trainer, state.epoch + 1)
    return {
        "model": config.model,
        "head": "simcc" if trainer.simcc else "regression",
        "size": trainer.size,
        "skeleton": data.skeleton.to_json(),
        "input": {
            "order": "RGB",
            "range": [0, 255],
            "normalisation": "in the network: x * scale + offset",
            "scale": rescaling.scale,
            "offset": rescaling.offset,
        },
        "mean_pose": np.asarray(data.mean_pose).round(5).tolist(),
        "training": {
            "data": [
                {"source": str(name), "persons": int(n), "licence": licences[str(name)]}
                for name, n in zip(sources, counts, strict=True)
            ]
            + general["data"],
            "keep_general": general["keep_general"],
            "test_persons_trained_on": leaking,
            "split": data.summary.get("split"),
            "leak": trainer.leak.to_json() | {"examples": []},
            "initial_weights": trainer.initial,
            "config": config.to_json(),
            "epochs": state.epoch + 1,
            "command": shlex.join(["kpose", *sys.argv[1:]]),
            "versions": versions(),
        },
        "scores": {
            "validation": {
                "persons": len(trainer.val_ids),
                "pck@0.2": round(row["val_pck_all"], 2),
                "pixel_error": round(row["val_pixel_error"], 3),
            }
        },
    }


def load_state(run: Path) -> State:
    """Return how far the training in ``run`` got, without its arrays.

    Raises:
        InputError: If its ``resume.npz`` is damaged.
    """
    path = run / "resume.npz"
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            return State(**json.loads(str(arrays["state"])))
    except FileNotFoundError:
        return State()  # not started, or killed before the first state was written
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(f"{path} must be a whole checkpoint: {error}") from None


def is_over(state: State, config: Config) -> bool:
    """Return whether a training that got so far has nothing left to do."""
    patience = config.training.patience
    impatient = bool(patience) and state.epoch - state.best_epoch >= patience
    return impatient or state.epoch >= config.training.epochs


def _line(row: dict[str, float], config: Config, state: State) -> str:
    best = " (best)" if state.best_epoch == state.epoch else ""
    return (
        f"epoch {state.epoch}/{config.training.epochs}: loss {row['loss']:.5g}, "
        f"validation PCK@0.2 {row['val_pck_all']:.1f} %{best}, "
        f"{row['val_pixel_error']:.1f} px, {row['seconds']:.0f} s"
    )
