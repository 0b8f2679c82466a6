"""The clothing experiment: finetune on a use case, show what that gains and costs.

The paper's section 4 on any recordings whose clothing is known: the trainings of its
Table 4, the scores of its Table 5 and the curves of its Figure 6, and the frontier of
general against use-case skill, one point for every epoch. ``kpose.phases`` says who is
in which training. An experiment folder holds a run folder for each, ``averages`` (the
networks between), ``predictions``, ``results.json``, ``report.html`` and its plots.
"""

import dataclasses
import hashlib
import json
import shlex
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from kpose import artefacts, evaluation, experiment, metrics, runtime, splits, training
from kpose import persons as people
from kpose import report as reports
from kpose.config import Config
from kpose.errors import InputError
from kpose.files import atomic_file, write_json
from kpose.images import Image
from kpose.models import store
from kpose.phases import FULL, PHASE_1, PHASE_2, Phase, Plan, plan
from kpose.screening import Source
from kpose.shards import PreparedData, load_arrays

MEAN_POSE, PRETRAINED = "mean-pose", "pretrained"

GENERAL, USE_CASE = "general", "use-case"
"""The two sets that networks are scored on."""

TITLES = {
    MEAN_POSE: "mean pose",
    PRETRAINED: "pretrained",
    PHASE_1: "phase 1",
    PHASE_2: "phase 2",
    FULL: "full",
}

ROWS = {
    GENERAL: (MEAN_POSE, PRETRAINED, FULL),
    USE_CASE: (MEAN_POSE, PRETRAINED, PHASE_1, PHASE_2, FULL),
}
"""The rows of Table 5. The paper has no mean pose of the use case."""

SHARES = (0.25, 0.5, 0.75)
"""Parts of ``full`` in the averages with the pretrained network."""

SHOWN = 24
"""So many of the worst persons are shown."""

GROUPS = (*evaluation.COLUMNS, "all")

PAPER: dict[str, dict[str, dict[str, float]]] = {
    name: {
        network: dict(zip(GROUPS, values, strict=True))
        for network, values in rows.items()
    }
    for name, rows in {
        GENERAL: {
            MEAN_POSE: (31.1, 18.9, 8.5, 11.8, 10.0, 40.8, 33.5, 21.4),
            PRETRAINED: (84.2, 41.6, 60.5, 76.9, 72.8, 62.6, 53.7, 63.1),
            FULL: (77.5, 22.2, 42.9, 49.8, 52.5, 42.6, 38.6, 44.2),
        },
        USE_CASE: {
            PRETRAINED: (86.1, 24.5, 64.1, 86.8, 88.0, 82.5, 64.0, 69.6),
            PHASE_1: (95.3, 67.4, 87.3, 98.4, 96.3, 96.4, 95.5, 90.6),
            PHASE_2: (99.6, 88.1, 95.6, 99.9, 97.3, 98.5, 98.5, 96.6),
            FULL: (99.3, 89.2, 95.9, 99.7, 97.6, 98.5, 98.6, 96.8),
        },
    }.items()
}
"""Its Table 5: 2,000 persons of its pretraining sets, 4,000 Kinect frames."""

MEANING = (
    "Three networks are finetuned, as in Table 4 of the paper. Phase 1: from the "
    "pretrained network, on persons in other clothing than the one that is tested. "
    "Phase 2: from phase 1, on persons in that clothing. Full: from the pretrained "
    "network, on both. Tested are held-out persons in that clothing (split test), whom "
    "no training and no choice has seen. Phase 1 has not seen the clothing at all, "
    "so that it says what to expect of people dressed otherwise. Every training "
    "takes all epochs of the recipe, and the network after the last one counts: "
    "nothing is chosen on test persons, and nothing on validation persons either, "
    "which only calibrate the confidence. They wear what the phase is trained on and "
    "are the val split of the data, or else the last tenth of every take, left out of "
    "training. Every score is with the flip test (section 3.7), one crop of a person. "
    "Mean pose: the mean training joints of the pretrained network (general) or of the "
    "recordings (use case), predicted for everybody. Average s: every weight is "
    "(1 - s) x pretrained + s x full."
)

FRONTIER = (
    "Every epoch is a point: to the right is skill in general, up is skill in the use "
    "case. The averages lie between the pretrained network and full."
)

Report = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Set:
    """Persons that networks are scored on, in memory.

    Args:
        batches: Their crops, ``(n, size, size, 3)`` RGB uint8 each.
        joints: ``(persons, joints, 3)``: crop units, 1 where annotated.
        persons: Who they are.
        digest: Of crops and joints.
    """

    batches: list[Image]
    joints: NDArray[np.float32]
    persons: people.Persons
    digest: str


def run(
    data_folder: Path,
    config: Config,
    out: Path,
    *,
    init: str,
    clothing: str | None = None,
    general: Sequence[Source] = (),
    report: Report = lambda line: None,
) -> dict[str, Any]:
    """Finetune in three ways and compare the networks in the use case and in general.

    A training that finished before is not repeated, one that stopped goes on. The
    general sets may change between calls: that trains nothing anew.

    Args:
        data_folder: A folder that ``kpose prepare`` wrote, with clothing tags.
        config: The recipe of all three. Its patience does not count.
        out: The experiment's folder; new, or of the same experiment.
        init: The pretrained network: a ``.keras`` file, a run folder or the name of a
            packaged model.
        clothing: What is tested, as for ``phases.plan``.
        general: Data sets to score general skill on; none leaves that out.
        report: Called with one line of text now and then.

    Returns:
        What ``results.json`` has.

    Raises:
        InputError: If the data has not what the experiment needs, ``out`` has something
            else, or data, recipe, ``init`` and ``general`` do not go together.
    """
    data = PreparedData.open(data_folder)
    planned = plan(data, clothing)
    card = pretrained_card(init, data)
    if general:  # refuse now what is too late in an hour
        people.labelled(general, data.skeleton)
    recipe = dataclasses.replace(config.training, patience=0)
    config = dataclasses.replace(config, training=recipe)
    given, init = init, str(artefacts.resolve(init).resolve())
    out = out.resolve()  # phase 2 starts from a file in it, from any folder
    request = {
        "experiment": "clothing",
        "data": data.fingerprint,
        "recipe": config.to_json(),
        "init": experiment.init_digest(init),
        "clothing": planned.clothing,
    }
    experiment.claim(out, request)
    for phase in planned.phases:
        report(f"{TITLES[phase.name]}: {_size(data, phase)}")
    starts = {PHASE_1: init, PHASE_2: str(out / PHASE_1 / "last.keras"), FULL: init}
    for phase in planned.phases:
        experiment.train(
            data_folder,
            out / phase.name,
            config,
            starts[phase.name],
            (phase.train_ids, phase.val_ids),
            report,
            keep_epochs=True,
        )
    size = int(card["size"])
    sets = {USE_CASE: _load(people.of_crops(data, planned.test_ids), size)}
    if general:
        sets[GENERAL] = _load(people.labelled(general, data.skeleton), size)
    files = _networks(init, out, recipe.epochs, bool(general))
    scored = {}
    for name, path in files.items():
        answers = _answers(name, path, sets, out, report)
        scored[name] = {
            key: _scores(one.joints, answers[key], data) for key, one in sets.items()
        }
    poses = {GENERAL: card.get("mean_pose"), USE_CASE: data.mean_pose}
    scored[MEAN_POSE] = {
        key: _scores(one.joints, _constant(poses[key], len(one.joints)), data)
        for key, one in sets.items()
        if poses[key] is not None
    }
    results = _results(data, planned, config, card, given, out, sets, scored)
    worst = _worst(data, sets[USE_CASE], _answers(FULL, files[FULL], sets, out, report))
    write_json(out / "results.json", results)
    _write_report(out / "report.html", results, worst)
    return results


def pretrained_card(init: str, data: PreparedData) -> dict[str, Any]:
    """Return the card of the network to start from.

    Raises:
        InputError: If it is no network that can be trained on ``data``.
    """
    path = artefacts.resolve(init)
    if artefacts.kind_of(path) != "keras":
        raise InputError(
            "expected a .keras file, a run folder or a packaged model to start from. "
            f"Received: {init}"
        )
    card = artefacts.read_card(path)
    if card["skeleton"] != data.skeleton.to_json():
        raise InputError(
            f"{init} must have the joints of {data.folder}, "
            f"{', '.join(data.skeleton.names)}. Received: "
            f"{', '.join(card['skeleton']['joints'])}"
        )
    return card


def _size(data: PreparedData, phase: Phase) -> str:
    train, val = (
        int(data.first[ids].sum()) for ids in (phase.train_ids, phase.val_ids)
    )
    return (
        f"{train} persons to train on, {val} to validate on, in clothing "
        f"{', '.join(phase.clothing)}"
    )


def _load(persons: people.Persons, size: int) -> Set:
    """Read the crops of a set."""
    digest, batches, joints = hashlib.sha256(), [], []
    for crops, truth in persons.batches(size):
        digest.update(crops.tobytes())
        digest.update(truth.tobytes())
        batches.append(crops)
        joints.append(truth)
    return Set(batches, np.concatenate(joints), persons, digest.hexdigest())


def _networks(init: str, out: Path, epochs: int, between: bool) -> dict[str, Path]:
    """Return the file of every network that is scored, by its name.

    Args:
        init: The pretrained network.
        out: The experiment's folder.
        epochs: Of every training.
        between: Whether there is a frontier, with the networks of every epoch and the
            averages, which are made where they are not there.
    """
    files = {PRETRAINED: Path(init)}
    for phase in (PHASE_1, PHASE_2, FULL):
        if between:
            for epoch in range(1, epochs):
                name = training.epoch_name(epoch)
                files[f"{phase}-{Path(name).stem}"] = out / phase / name
        files[phase] = out / phase / "last.keras"
    if not between:
        return files
    for share in SHARES:
        path = out / "averages" / f"average-{share}.keras"
        if not path.is_file():
            path.parent.mkdir(exist_ok=True)
            store.average(init, files[FULL], share, path)
            experiment.free()
        files[path.stem] = path
    return files


def _answers(
    name: str, path: Path, sets: dict[str, Set], out: Path, report: Report
) -> dict[str, NDArray[np.float32]]:
    """Return the keypoints ``(persons, joints, 2)`` of a network for every set.

    They are kept in ``out``, so that only what changed is predicted again.
    """
    file = out / "predictions" / f"{name}.npz"
    sha256 = artefacts.read_card(path)["sha256"]
    keys = {key: f"{sha256} {one.digest}" for key, one in sets.items()}
    try:
        kept = load_arrays(file)
        found = {key: kept[key] for key in sets if str(kept[f"{key} of"]) == keys[key]}
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        found = {}
    if len(found) == len(sets):
        return found
    network = runtime.open(path)
    for key, one in sets.items():
        parts = [runtime.predict_flip(network, crops) for crops in one.batches]
        found[key] = runtime.join(parts).keypoints
    del network
    experiment.free()
    file.parent.mkdir(exist_ok=True)
    arrays = found | {f"{key} of": np.array(value) for key, value in keys.items()}
    with atomic_file(file) as beside, beside.open("wb") as opened:
        np.savez(opened, allow_pickle=False, **arrays)
    report(f"{name}: predicted {sum(len(one.joints) for one in sets.values())} persons")
    return found


def _constant(pose: Any, persons: int) -> NDArray[np.float32]:
    one = np.asarray(pose, np.float32)
    return np.broadcast_to(one, (persons, *one.shape))


def _scores(
    joints: NDArray[np.float32], keypoints: NDArray[np.float32], data: PreparedData
) -> dict[str, Any]:
    """Return the scores as JSON, with the curve."""
    scores = evaluation.score(joints, keypoints, data.skeleton)
    value = scores.to_json()
    kept = ["pck@0.2", "pck@0.1", "auc", "pixel_error", "joints"]
    kept += ["persons", "excluded_no_torso"]
    curve = np.round(scores.curve["all"], 3).tolist()
    return {key: value[key] for key in kept} | {"curve": curve}


def _results(
    data: PreparedData,
    planned: Plan,
    config: Config,
    card: dict[str, Any],
    given: str,
    out: Path,
    sets: dict[str, Set],
    scored: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """Return the content of ``results.json``."""
    use_case, general = sets[USE_CASE].persons, sets.get(GENERAL)
    leaks = {}
    for phase in planned.phases:
        found = people.leak_score(out / phase.name, use_case)
        assert found is not None  # the run folder has its fingerprints
        leaks[phase.name] = found.to_json() | {"examples": []}
    return {
        "experiment": "clothing",
        "clothing": planned.clothing,
        "data": {"folder": str(data.folder), "fingerprint": data.fingerprint},
        "init": {"given": given, "sha256": card["sha256"]},
        "seed": config.training.seed,
        "phases": {phase.name: _phase(data, phase, out) for phase in planned.phases},
        "untagged": planned.untagged,
        "test": {
            "persons": len(planned.test_ids),
            "joints": int(data.annotated[planned.test_ids].sum()),
            "leak": leaks,
        },
        "general": general
        and {
            "evaluated": {
                f"{a} {b}": n for (a, b), n in sorted(general.persons.splits.items())
            },
            "skipped": general.persons.skipped,
            "leak": {
                name: people.leak(found, general.persons.splits)
                for name, found in (
                    (PRETRAINED, card),
                    (FULL, artefacts.read_card(out / FULL / "last.keras")),
                )
            },
        },
        "networks": scored,
        "frontier": _frontier(scored, config.training.epochs) if general else [],
        "split": data.summary.get("split"),
        "paper": PAPER,
        "recipe": config.to_json(),
        "meaning": MEANING,
        "command": shlex.join(["kpose", *sys.argv[1:]]),
        "versions": training.versions(),
    }


def _phase(data: PreparedData, phase: Phase, out: Path) -> dict[str, Any]:
    """Return what a phase was trained on, and how long it took."""
    history = training.load_state(out / phase.name).history
    first = phase.train_ids[data.first[phase.train_ids]]
    worn, counts = np.unique(data.clothing[first], return_counts=True)
    last = history[-1]
    return {
        "clothing": {str(a): int(n) for a, n in zip(worn, counts, strict=True)},
        "persons": len(first),
        "joints": int(data.annotated[first].sum()),
        "takes": len(set(data.leak_groups[first].tolist())),
        "epochs": len(history),
        "training_seconds": round(sum(row["seconds"] for row in history), 1),
        "validation_seconds": round(
            sum(row["validation_seconds"] for row in history), 1
        ),
        "validation": {
            "persons": len(phase.val_ids),
            "pck@0.2": round(last["val_pck_all"], 3),
            "pixel_error": round(last["val_pixel_error"], 3),
            "pck@0.2_by_epoch": [round(row["val_pck_all"], 3) for row in history],
        },
    }


def _frontier(scored: dict[str, dict[str, Any]], epochs: int) -> list[dict[str, Any]]:
    """Return general and use-case PCK of every network, by the line it is on."""
    lines: dict[str, list[str]] = {}
    before = {PHASE_1: PRETRAINED, PHASE_2: PHASE_1, FULL: PRETRAINED}
    for phase, start in before.items():
        between = [
            f"{phase}-{Path(training.epoch_name(epoch)).stem}"
            for epoch in range(1, epochs)
        ]
        lines[phase] = [start, *between, phase]
    lines["average"] = [PRETRAINED, *(f"average-{share}" for share in SHARES), FULL]
    return [
        {
            "line": line,
            "network": name,
            "general": scored[name][GENERAL]["pck@0.2"]["all"],
            "use_case": scored[name][USE_CASE]["pck@0.2"]["all"],
        }
        for line, names in lines.items()
        for name in names
    ]


def table(results: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return the header and the cells of Table 5, the paper's rows below."""
    header = [evaluation.PCK_TITLE, *evaluation.COLUMNS, "All", "px"]
    scored = results["networks"]
    cells = []
    for key, networks in ROWS.items():
        for name in networks:
            if key in scored.get(name, {}):
                scores = scored[name][key]
                px = _cell(scores["pixel_error"])
                row = [f"{_set(key)}: {TITLES[name]}", *_cells(scores["pck@0.2"]), px]
                cells.append(row)
    for key, rows in PAPER.items():
        cells += [
            [f"paper, {_set(key)}: {TITLES[name]}", *_cells(values), "-"]
            for name, values in rows.items()
        ]
    return header, cells


def _set(key: str) -> str:
    return key.replace("-", " ")


def _cells(values: Mapping[str, float | None]) -> list[str]:
    return [_cell(values.get(name)) for name in GROUPS]


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def conclusion(results: dict[str, Any]) -> str:
    """Return what finetuning gained and what it cost, beside the paper's."""

    def change(key: str, first: str, last: str) -> str:
        values = [
            scores[key]["pck@0.2"]["all"]
            for scores in (results["networks"][first], results["networks"][last])
        ]
        paper = [PAPER[key][name]["all"] for name in (first, last)]
        found = " to ".join(_cell(value) for value in values)
        return f"{found} (the paper: {paper[0]} to {paper[1]})"

    parts = [f"Use case, pretrained to full: {change(USE_CASE, PRETRAINED, FULL)}"]
    if results["general"]:
        parts.append(f"in general: {change(GENERAL, PRETRAINED, FULL)}")
    parts.append(f"unseen clothing, phase 1: {change(USE_CASE, PRETRAINED, PHASE_1)}")
    return "; ".join(parts) + "."


def facts(results: dict[str, Any]) -> list[str]:
    """Return who was trained on, validated on and tested, one line each."""
    lines = []
    for name, phase in results["phases"].items():
        worn = ", ".join(f"{tag}: {n}" for tag, n in phase["clothing"].items())
        lines.append(
            f"{TITLES[name]}: {phase['persons']} persons of {phase['takes']} takes "
            f"(clothing {worn}), {phase['epochs']} epochs in "
            f"{phase['training_seconds'] / 60:.1f} min and "
            f"{phase['validation_seconds'] / 60:.1f} min of validation on "
            f"{phase['validation']['persons']} persons"
        )
    if results["untagged"]:
        lines.append(
            f"{results['untagged']} training persons whose clothing is unknown are "
            "left out"
        )
    test = results["test"]
    lines.append(
        f"use case: {test['persons']} test persons in clothing "
        f"{results['clothing']}; seed {results['seed']}; flip test"
    )
    lines += [
        f"{TITLES[name]}, test persons: {test['leak'][name]['sentence']}"
        for name in (PHASE_1, FULL)
    ]
    general = results["general"]
    if general:
        counts = [
            ", ".join(f"{n} {name}" for name, n in general[key].items()) or "none"
            for key in ("evaluated", "skipped")
        ]
        lines.append(f"general: {counts[0]}; skipped: {counts[1]}")
        lines += [
            f"general, {TITLES[name]}: not a score on new people: {leak}"
            for name, leak in general["leak"].items()
            if leak
        ]
    lines += filter(None, [splits.warning(results["split"])])
    return lines


HUES = {
    MEAN_POSE: "#8c959f",
    PRETRAINED: "#E69F00",
    PHASE_1: "#56B4E9",
    PHASE_2: "#CC79A7",
    FULL: "#0072B2",
    "average": "#009E73",
}


def _plot_curves(results: dict[str, Any]) -> reports.Figured:
    """Draw Figure 6: PCK over its threshold, dashed general, solid use case."""
    figure = Figure(figsize=(7.2, 4.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    for key, style in ((USE_CASE, "-"), (GENERAL, "--")):
        for layer, name in reversed([*enumerate(ROWS[key], start=2)]):
            if key in results["networks"].get(name, {}):
                axes.plot(
                    evaluation.CURVE,
                    results["networks"][name][key]["curve"],
                    style,
                    color=HUES[name],
                    lw=1.8,
                    zorder=layer,
                    label=f"{_set(key)}: {TITLES[name]}",
                )
    axes.axvline(metrics.THRESHOLD, color="#8c959f", lw=0.8)
    axes.set_xlim(0, float(evaluation.CURVE[-1]))
    axes.set_ylim(0, 100)
    reports.label(axes, "threshold, torso lengths", "correct keypoints, %")
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    return reports.Figured(
        reports.png(figure),
        "Figure 6 of the paper: correct keypoints over the threshold. Dashed: in "
        "general. Solid: in the use case.",
        "figure_6",
    )


def _plot_frontier(results: dict[str, Any]) -> reports.Figured:
    """Draw use-case over general PCK, a point for every epoch and average."""
    figure = Figure(figsize=(7.2, 4.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    styles = {"average": ("--", "s", "average of pretrained and full")}
    for line in (PHASE_1, PHASE_2, FULL, "average"):
        points = [point for point in results["frontier"] if point["line"] == line]
        style, marker, title = styles.get(
            line, ("-", "o", f"{TITLES.get(line)}, epochs")
        )
        x, y = ([point[key] for point in points] for key in ("general", "use_case"))
        hue = HUES[line]
        axes.plot(x, y, style, marker=marker, ms=4, lw=1.4, color=hue, label=title)
        if line == "average":
            for share, a, b in zip(SHARES, x[1:-1], y[1:-1], strict=True):
                axes.annotate(
                    f"{share:g}", (a, b), (5, 3), textcoords="offset points", fontsize=8
                )
    for name in (PRETRAINED, PHASE_1, PHASE_2, FULL):
        x, y = (
            results["networks"][name][key]["pck@0.2"]["all"]
            for key in (GENERAL, USE_CASE)
        )
        axes.scatter(
            [x],
            [y],
            s=180,
            marker="*",
            color=HUES[name],
            edgecolor="white",
            label=TITLES[name],
            zorder=3,
        )
    pck = evaluation.PCK_TITLE
    reports.label(axes, f"general {pck}, %", f"use case {pck}, %")
    axes.margins(0.1)
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    return reports.Figured(
        reports.png(figure),
        "Skill in the use case over skill in general: every epoch, and the averages.",
        "frontier",
    )


def _plot_training(results: dict[str, Any]) -> reports.Figured:
    """Draw the validation PCK of every phase over its epochs."""
    figure = Figure(figsize=(7.2, 3.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    for name, phase in results["phases"].items():
        values = phase["validation"]["pck@0.2_by_epoch"]
        epochs = range(1, len(values) + 1)
        axes.plot(epochs, values, "-o", ms=4, color=HUES[name], label=TITLES[name])
    reports.label(axes, "epoch", f"validation {evaluation.PCK_TITLE}, %")
    axes.legend(frameon=False)
    return reports.Figured(
        reports.png(figure),
        "Validation after every epoch, each phase on persons in its own clothing.",
        "training",
    )


def _worst(
    data: PreparedData, tested: Set, answers: dict[str, NDArray[np.float32]]
) -> list[reports.Figured]:
    """Return ground truth and prediction of full's worst test persons, worst first."""
    keypoints = answers[USE_CASE]
    found = np.asarray(evaluation.person_errors(tested.joints, keypoints))
    crops = np.concatenate(tested.batches)
    return [
        reports.compare(
            evaluation.Example(
                int(i), float(found[i]), crops[i], tested.joints[i], keypoints[i]
            ),
            data.skeleton,
            tested.persons.names,
        )
        for i in np.argsort(-found, kind="stable")[:SHOWN]
    ]


def _write_report(
    path: Path,
    results: dict[str, Any],
    worst: Sequence[reports.Figured],
) -> None:
    sections: list[reports.Section] = [
        reports.Table("Table 5", *table(results), conclusion(results)),
        reports.Pictures("Figure 6", [_plot_curves(results)]),
    ]
    if results["frontier"]:
        title = "General skill against use-case skill"
        sections.append(reports.Pictures(title, [_plot_frontier(results)], FRONTIER))
        sections.append(reports.Table("Points of the frontier", *_point_table(results)))
    sections += [
        reports.Text("What is compared", MEANING),
        reports.Table("Trainings", *_phase_table(results)),
        reports.Text("Persons", ". ".join(facts(results)) + "."),
        reports.Table(
            "Error of every joint, use case",
            *_joint_table(results),
            "px: mean distance on a 224 px crop.",
        ),
        reports.Pictures("Training", [_plot_training(results)]),
        reports.Pictures(
            "Worst test persons of full",
            worst,
            "Left: ground truth. Right: prediction. Orange is the person's right side, "
            "blue the left. px: mean distance on a 224 px crop.",
        ),
        reports.Terms("Definitions", evaluation.DEFINITIONS),
    ]
    shown = {key: results[key] for key in ("command", "init", "recipe", "versions")}
    text = "\n".join(f"{key}: {json.dumps(value)}" for key, value in shown.items())
    sections.append(reports.Text("How it was made", text, preformatted=True))
    title = f"kpose experiment: clothing ({results['clothing']})"
    reports.write_report(path, title, sections)


def _point_table(results: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    header = ["network", f"general {evaluation.PCK_TITLE}", "use case"]
    points = {point["network"]: point for point in results["frontier"]}
    rows = [
        [name, _cell(point["general"]), _cell(point["use_case"])]
        for name, point in points.items()
    ]
    return header, rows


def _phase_table(results: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    header = [
        "phase",
        "clothing",
        "persons",
        "epochs",
        "training min",
        "validation min",
    ]
    header += ["validation persons", f"validation {evaluation.PCK_TITLE}"]
    rows = []
    for name, phase in results["phases"].items():
        minutes = [
            f"{phase[f'{part}_seconds'] / 60:.1f}"
            for part in ("training", "validation")
        ]
        counts = [str(phase[key]) for key in ("persons", "epochs")]
        found = phase["validation"]
        scores = [str(found["persons"]), _cell(found["pck@0.2"])]
        worn = ", ".join(phase["clothing"])
        rows.append([TITLES[name], worn, *counts, *minutes, *scores])
    return header, rows


def _joint_table(results: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    names = [name for name in ROWS[USE_CASE] if name in results["networks"]]
    found = {name: results["networks"][name][USE_CASE]["joints"] for name in names}
    header = ["mean px", *(TITLES[name] for name in names)]
    rows = [
        [
            joint.replace("_", " "),
            *(_cell(found[name][joint]["mean_px"]) for name in names),
        ]
        for joint in found[PRETRAINED]
    ]
    return header, rows
