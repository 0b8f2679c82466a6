"""Experiments: several trainings that differ in one thing, compared as in the paper.

An experiment folder holds ``experiment.json`` (what was asked for), a run folder of
``kpose.training`` for every training, and at the end ``results.json`` and
``report.html``. Asked again it goes on where it stopped.
"""

import dataclasses
import gc
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from kpose import artefacts, evaluation, runtime, splits, training
from kpose import persons as people
from kpose import report as reports
from kpose.config import Config
from kpose.errors import InputError
from kpose.files import read_json, sha256, write_json
from kpose.metrics import PIXELS, THRESHOLD
from kpose.screening import Source
from kpose.shards import PreparedData

ALL, FULL = "all", "full"
"""The arms of ``heterogeneous``; the names of their runs start so."""

TITLES = {ALL: "all data", FULL: "fully annotated only"}

PAPER: dict[str, Any] = {
    ALL: {"pixel_error": 15.7, "persons": 112_174},
    FULL: {"pixel_error": 16.6, "persons": 66_598},
    "error_reduction_percent": 5.4,
}
"""Section 3.6: errors on its validation pictures, after pre-training."""

MEANING = (
    "Two trainings are compared, as in section 3.6 of the paper. All data: every "
    "training person, the loss counts the joints that are annotated (eq. 1). Fully "
    "annotated only: the persons who have every joint. Both validate on the same "
    "persons, of whose pictures neither trains on any; both take the same number of "
    "steps, up to a part of an epoch, with the same learning rate over them, so that "
    "data is compared and not computation. Seeds change the initial weights of the "
    "head, the order and the augmentation. Scores are those after the last epoch: "
    "nothing is chosen on the validation persons. "
    f"px: mean distance over annotated joints, pixels of a {PIXELS} px crop, without "
    "flip test. Less error: (fully annotated only - all data) / fully annotated only."
)

Report = Callable[[str], None]


@dataclass(frozen=True)
class Arm:
    """One side of a comparison.

    Args:
        name: ``ALL`` or ``FULL``.
        config: Its recipe, of the first seed.
        train_ids: Indices of the crops that are trained on.
        steps_per_epoch: Steps of the recipe's batch in one epoch.
    """

    name: str
    config: Config
    train_ids: NDArray[np.int64]
    steps_per_epoch: int

    @property
    def steps(self) -> int:
        """Steps of a whole training."""
        return self.config.training.epochs * self.steps_per_epoch


class Run(NamedTuple):
    """One training of an arm, in the folder ``path``."""

    arm: Arm
    seed: int
    config: Config
    path: Path


def heterogeneous(
    data_folder: Path,
    config: Config,
    out: Path,
    *,
    init: str = "none",
    seeds: int = 3,
    tests: Sequence[Source] = (),
    report: Report = lambda line: None,
) -> dict[str, Any]:
    """Train on all data and on fully annotated persons only, and compare the errors.

    A training that finished before is not repeated, one that stopped goes on.

    Args:
        data_folder: A folder that ``kpose prepare`` wrote.
        config: The recipe of both. Its patience does not count: both take all steps.
        out: The experiment's folder; new, or of the same experiment.
        init: As for ``training.train``.
        seeds: Trainings of each arm; the recipe's seed and those that follow it.
        tests: Data sets with the joints of the data to score every training on, too.
        report: Called with one line of text now and then.

    Returns:
        What ``results.json`` has.

    Raises:
        InputError: If there is nothing to compare, ``out`` has something else, or
            the data, the recipe and ``init`` do not go together.
    """
    if seeds < 1:
        raise InputError(f"seeds must be at least 1. Received: {seeds}")
    data = PreparedData.open(data_folder)
    if tests:  # refuse now what is too late in hours
        people.labelled(tests, data.skeleton)
    arms, val_ids = plan(data, config)
    if Path(init).is_file():
        init = str(Path(init).resolve())  # the same file from another folder
    claim(out, _request(data, config, init, seeds))
    for arm in arms:
        report(f"{TITLES[arm.name]}: {_size(data, arm)}")
    # Arms alternate, so that an experiment that is not finished is balanced.
    runs = [_run(arm, number, out) for number in range(seeds) for arm in arms]
    for run in runs:
        persons = (run.arm.train_ids, val_ids)
        train(data_folder, run.path, run.config, init, persons, report)
    rows = [_row(run, data, tests, report) for run in runs]
    results = _results(data, arms, val_ids, rows, config, init, bool(tests))
    write_json(out / "results.json", results)
    _write_report(out / "report.html", results, runs)
    return results


def plan(
    data: PreparedData, config: Config
) -> tuple[tuple[Arm, Arm], NDArray[np.int64]]:
    """Return the two arms, all data first, and the crops that both validate on.

    Raises:
        InputError: If no training person is partly annotated, or the fully annotated
            ones do not fill a batch.
    """
    recipe = dataclasses.replace(config.training, patience=0)
    train_ids, val_ids = training.split(data, recipe)
    is_full = data.annotated[train_ids] == len(data.skeleton)
    full_ids = train_ids[is_full]
    if is_full.all():
        raise InputError(
            f"{data.folder} must have partly annotated persons to train on, else both "
            f"sides are the same. Received: {len(full_ids)} persons with all "
            f"{len(data.skeleton)} joints"
        )
    if len(full_ids) < recipe.batch:
        raise InputError(
            f"{data.folder} must have a batch of fully annotated persons to train on, "
            f"{recipe.batch}, beside the {len(val_ids)} that are validated on. "
            f"Received: {len(full_ids)}"
        )
    steps = len(train_ids) // recipe.batch
    full_steps = len(full_ids) // recipe.batch
    longer = dataclasses.replace(
        recipe,
        epochs=round(recipe.epochs * steps / full_steps),
        # As many steps of warm-up, too.
        warmup_epochs=recipe.warmup_epochs * steps / full_steps,
    )
    arms = (
        Arm(ALL, dataclasses.replace(config, training=recipe), train_ids, steps),
        Arm(FULL, dataclasses.replace(config, training=longer), full_ids, full_steps),
    )
    return arms, val_ids


def _run(arm: Arm, number: int, out: Path) -> Run:
    seed = arm.config.training.seed + number
    recipe = dataclasses.replace(arm.config.training, seed=seed)
    config = dataclasses.replace(arm.config, training=recipe)
    return Run(arm, seed, config, out / f"{arm.name}-{number}")


def _request(
    data: PreparedData, config: Config, init: str, seeds: int
) -> dict[str, Any]:
    """Return what must be equal for an experiment to be the same experiment."""
    return {
        "experiment": "heterogeneous",
        "data": data.fingerprint,
        "recipe": config.to_json(),
        "init": init_digest(init),
        "seeds": seeds,
    }


def init_digest(init: str) -> str:
    """Return what tells initial weights from others: a word, or a file's sha256."""
    if init in ("none", "imagenet"):
        return init
    path = Path(init) if init.endswith(".weights.h5") else artefacts.resolve(init)
    if not path.is_file():
        raise InputError(f"expected initial weights at {init}: there is no file")
    return sha256(path)


def claim(out: Path, request: dict[str, Any]) -> None:
    """Make the experiment's folder, or check that it is this experiment's."""
    path = out / "experiment.json"
    # Alone it is of a call that was refused before anything was trained.
    if path.is_file() and len(list(out.iterdir())) > 1:
        stored = read_json(path)
        for key, value in request.items():
            found = stored.get(key) if isinstance(stored, dict) else None
            if found != value:
                raise InputError(
                    f"{out} has an experiment with another {key}: "
                    f"{_difference(found, value)}; give a new folder"
                )
        return
    if out.exists() and (
        not out.is_dir() or any(entry != path for entry in out.iterdir())
    ):
        raise InputError(
            f"{out} must be new, an empty folder or one of this experiment, but it has "
            "other content"
        )
    write_json(path, request)


def _difference(stored: Any, value: Any, name: str = "") -> str:
    """Say where two values differ; of tables, at the first key that does."""
    if isinstance(stored, dict) and isinstance(value, dict):
        for key in stored.keys() | value.keys():
            if stored.get(key) != value.get(key):
                return _difference(stored.get(key), value.get(key), f"{name}{key} ")
    return f"{name}{stored!s:.80} there, {value!s:.80} asked for"


def train(
    data_folder: Path,
    run: Path,
    config: Config,
    init: str,
    persons: training.Persons,
    report: Report,
    **options: Any,
) -> None:
    """Train, go on with, or skip one run of an experiment.

    Args:
        data_folder: A prepared folder.
        run: The run folder; its name is before every line that is reported.
        config: The recipe.
        init: As for ``training.train``, like ``options``.
        persons: Whom to train and to validate on.
        report: Called with one line of text now and then.
        options: What ``training.train`` takes besides.
    """
    state = training.load_state(run)
    if training.is_over(state, config):
        report(f"{run.name}: finished before")
        return
    started = (run / "run.json").is_file()
    if not started:
        clear_start(run)
    training.train(
        data_folder,
        config,
        run,
        init=init,
        resume=started,
        persons=persons,
        report=lambda line: report(f"{run.name}: {line}"),
        **options,
    )
    free()


def clear_start(run: Path) -> None:
    """Remove what a kill left before ``run.json``, the last file of a start."""
    for file in ("config.toml", "versions.json", "run.json"):
        for path in run.glob(f"*{file}"):
            path.unlink()


def free() -> None:
    """Let go of the last network, so that memory does not grow with the runs."""
    keras.backend.clear_session()
    gc.collect()


def _row(
    run: Run, data: PreparedData, tests: Sequence[Source], report: Report
) -> dict[str, Any]:
    """Return the scores of one finished run."""
    state = training.load_state(run.path)
    last = state.history[-1]
    row: dict[str, Any] = {
        "run": run.path.name,
        "arm": run.arm.name,
        "seed": run.seed,
        "epochs": state.epoch,
        "steps": state.epoch * run.arm.steps_per_epoch,
        "seconds": round(sum(epoch["seconds"] for epoch in state.history), 1),
        "validation": {
            "pixel_error": last["val_pixel_error"],
            f"pck@{THRESHOLD}": last["val_pck_all"],
        },
    }
    if tests:
        row["test"] = _test(run, data, tests)
        report(f"{run.path.name}: {row['test']['pixel_error']:.2f} px on test persons")
    return row


def _test(run: Run, data: PreparedData, tests: Sequence[Source]) -> dict[str, Any]:
    """Return the scores of one finished run on data sets, without flip test."""
    network = runtime.open(run.path / "last.keras")
    persons = people.labelled(tests, data.skeleton)
    scores = evaluation.evaluate(
        network, persons.batches(network.size), flip_test=False
    )
    seen = people.leak(network.card, persons.splits)
    del network
    free()
    return {
        "pixel_error": scores.pixel_error,
        f"pck@{THRESHOLD}": scores.pck["all"],
        "persons": scores.persons,
        "evaluated": {f"{a} {b}": n for (a, b), n in sorted(persons.splits.items())},
        "skipped": persons.skipped,
        "leak": seen,
    }


def _results(
    data: PreparedData,
    arms: Sequence[Arm],
    val_ids: NDArray[np.int64],
    rows: Sequence[dict[str, Any]],
    config: Config,
    init: str,
    tested: bool,
) -> dict[str, Any]:
    sets = ["validation", "test"] if tested else ["validation"]
    return {
        "experiment": "heterogeneous",
        "data": {"folder": str(data.folder), "fingerprint": data.fingerprint},
        "init": {"given": init, "sha256": init_digest(init)},
        "arms": {
            arm.name: {
                "title": TITLES[arm.name],
                **_counts(data, arm.train_ids),
                "epochs": arm.config.training.epochs,
                "steps_per_epoch": arm.steps_per_epoch,
                "steps": arm.steps,
            }
            for arm in arms
        },
        "validation": _counts(data, val_ids),
        "leak": training.leak_score(data, arms[0].train_ids, val_ids).to_json(),
        "split": data.summary.get("split"),
        "runs": list(rows),
        "comparison": {name: compare(rows, name) for name in sets},
        "paper": PAPER,
        "recipe": config.to_json(),
        "meaning": MEANING,
        "command": shlex.join(["kpose", *sys.argv[1:]]),
        "versions": training.versions(),
    }


def _counts(data: PreparedData, ids: NDArray[np.int64]) -> dict[str, Any]:
    """Return how many persons and annotated joints the crops show, by source too."""
    first = ids[data.first[ids]]
    names, counts = np.unique(data.source[first], return_counts=True)
    return {
        "persons": len(first),
        "joints": int(data.annotated[first].sum()),
        "sources": {str(a): int(n) for a, n in zip(names, counts, strict=True)},
    }


def compare(rows: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    """Return the statistics over seeds, and how much less error all data gives.

    Args:
        rows: Runs with ``arm``, ``seed`` and the scores under ``name``.
        name: ``"validation"`` or ``"test"``.

    Returns:
        Mean, min and max of both scores for each arm; the reduction of the pixel error
        in percent of the error of ``FULL``, of the means and for each seed, negative
        where all data is worse.
    """
    result: dict[str, Any] = {}
    errors: dict[str, list[float]] = {}
    for arm in (ALL, FULL):
        scores = [row[name] for row in rows if row["arm"] == arm]
        errors[arm] = [score["pixel_error"] for score in scores]
        pck = f"pck@{THRESHOLD}"
        result[arm] = {
            "pixel_error": _spread(errors[arm]),
            pck: _spread([score[pck] for score in scores]),
        }
    means = [result[arm]["pixel_error"]["mean"] for arm in (ALL, FULL)]
    result["error_reduction_percent"] = _reduction(*means)
    result["error_reduction_percent_by_seed"] = [
        _reduction(a, f) for a, f in zip(errors[ALL], errors[FULL], strict=True)
    ]
    return result


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "mean": float(np.mean(values)),
        "min": float(min(values)),
        "max": float(max(values)),
    }


def _reduction(all_error: float, full_error: float) -> float:
    return 100 * (full_error - all_error) / full_error


def table(results: dict[str, Any], name: str) -> tuple[list[str], list[list[str]]]:
    """Return the header and the cells of one comparison, the paper's below it.

    Args:
        results: What ``heterogeneous`` returned.
        name: ``"validation"`` or ``"test"``.
    """
    header = [name, "px", "min", "max", f"PCK@{THRESHOLD}", "min", "max"]
    cells = []
    for arm in (ALL, FULL):
        scores = results["comparison"][name][arm].values()
        numbers = [score[key] for score in scores for key in ("mean", "min", "max")]
        cells.append([TITLES[arm], *(f"{number:.2f}" for number in numbers)])
    for arm in (ALL, FULL):
        error = f"{PAPER[arm]['pixel_error']:.1f}"
        cells.append([f"paper, {TITLES[arm]}", error, *["-"] * 5])
    return header, cells


def conclusion(results: dict[str, Any], name: str) -> str:
    """Return the difference in words, beside the paper's."""
    found = results["comparison"][name]
    by_seed = found["error_reduction_percent_by_seed"]
    parts = ", ".join(f"{value:.1f}" for value in by_seed)
    return (
        f"Less error with all data, {name}: {found['error_reduction_percent']:.1f} % "
        f"(by seed: {parts}). The paper: {PAPER['error_reduction_percent']} %."
    )


def facts(results: dict[str, Any]) -> list[str]:
    """Return what was trained and validated on, one line each."""
    lines = [
        f"{arm['title']}: {arm['persons']} persons with {arm['joints']} joints, "
        f"{arm['epochs']} epochs of {arm['steps_per_epoch']} steps = {arm['steps']}"
        for arm in results["arms"].values()
    ]
    val = results["validation"]
    lines.append(
        f"validation: {val['persons']} persons with {val['joints']} joints, the same "
        "for every run"
    )
    lines.append(results["leak"]["sentence"])
    lines += filter(None, [splits.warning(results["split"])])
    test = results["runs"][0].get("test")
    if test is not None:
        evaluated = ", ".join(f"{n} {name}" for name, n in test["evaluated"].items())
        skipped = ", ".join(f"{n} {name}" for name, n in test["skipped"].items())
        lines.append(f"test: {evaluated}; skipped: {skipped or 'none'}; no flip test")
        if test["leak"]:
            lines.append(f"test: not a score on new people: {test['leak']}")
    return lines


def _size(data: PreparedData, arm: Arm) -> str:
    counts = _counts(data, arm.train_ids)
    return (
        f"{counts['persons']} persons with {counts['joints']} joints, "
        f"{arm.config.training.epochs} epochs of {arm.steps_per_epoch} steps"
    )


def _write_report(path: Path, results: dict[str, Any], runs: Sequence[Run]) -> None:
    sections: list[reports.Section] = []
    for name in results["comparison"]:
        header, rows = table(results, name)
        sections.append(
            reports.Table(name.capitalize(), header, rows, conclusion(results, name))
        )
    sections.append(reports.Text("What is compared", MEANING))
    sections.append(reports.Text("Persons", ". ".join(facts(results)) + "."))
    header, rows = _run_table(results)
    sections.append(reports.Table("Runs", header, rows))
    sections.append(reports.Pictures("Training", [_plot(runs)]))
    shown = {key: results[key] for key in ("command", "recipe", "versions")}
    text = "\n".join(f"{key}: {value}" for key, value in shown.items())
    sections.append(reports.Text("How it was made", text, preformatted=True))
    reports.write_report(path, "kpose experiment: heterogeneous", sections)


def _run_table(results: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    sets = list(results["comparison"])
    header = ["run", "seed", "steps", "seconds"]
    header += [f"{name} {score}" for name in sets for score in ("px", "PCK")]
    rows = []
    for run in results["runs"]:
        scores = [value for name in sets for value in list(run[name].values())[:2]]
        counts = [str(run["seed"]), str(run["steps"]), f"{run['seconds']:.0f}"]
        rows.append([run["run"], *counts, *(f"{value:.2f}" for value in scores)])
    return header, rows


def _plot(runs: Sequence[Run]) -> reports.Figured:
    """Plot the validation error of every run over its steps."""
    hues = {ALL: "#0072B2", FULL: "#E69F00"}
    figure = Figure(figsize=(7.2, 3.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    for index, run in enumerate(runs):
        history = training.load_state(run.path).history
        steps = [row["epoch"] * run.arm.steps_per_epoch for row in history]
        values = [row["val_pixel_error"] for row in history]
        name = TITLES[run.arm.name] if index < 2 else None
        axes.plot(steps, values, "-o", ms=3, color=hues[run.arm.name], label=name)
    reports.label(axes, "step", "validation error, px")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return reports.Figured(
        reports.png(figure), "Validation error of every run over its steps.", "error"
    )
