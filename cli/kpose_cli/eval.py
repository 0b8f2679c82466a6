"""``kpose eval``: what a model scores on labelled persons."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kpose_cli.common import aligned, counted, echo_summary, json_option, progress

if TYPE_CHECKING:
    from collections import Counter

    import numpy as np
    from numpy.typing import NDArray

    from kpose.joints import Skeleton
    from kpose.leak import LeakScore
    from kpose.screening import Source
    from kpose.shards import PreparedData

SPLITS = ("train", "val", "test", "all")


@click.command("eval")
@click.argument("model")
@click.argument(
    "folder", metavar="[DATA]", required=False, type=click.Path(path_type=Path)
)
@click.option(
    "--data",
    "sets",
    multiple=True,
    metavar="NAME:PATH[@train|val|test|all]",
    help="A data set to read directly instead of DATA, repeatable.",
)
@click.option(
    "--split",
    type=click.Choice(SPLITS),
    help="Which persons.  [default: test where the data has them, else all]",
)
@click.option(
    "--flip-test/--no-flip-test",
    default=True,
    show_default=True,
    help="Average with the prediction for the mirrored crop.",
)
@click.option(
    "--system",
    "whole_system",
    is_flag=True,
    help="Score detector and network together on whole pictures (with --data).",
)
@click.option(
    "--detector",
    metavar="NAME[:PATH]",
    help="Finds the people for --system, as for `kpose predict`.  [default: whole]",
)
@click.option(
    "--min-score",
    type=click.FloatRange(0, 1),
    help="Smallest score of a detection.  [default: that of the detector]",
)
@click.option(
    "--report",
    "report_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="OUT.html",
    help="Write tables, curves and pictures as one HTML file, and the plots as PNG "
    "files beside it, in OUT_plots.",
)
@json_option
def evaluate(
    model: str,
    folder: Path | None,
    sets: tuple[str, ...],
    split: str | None,
    flip_test: bool,
    whole_system: bool,
    detector: str | None,
    min_score: float | None,
    report_path: Path | None,
    as_json: bool,
) -> None:
    """Score MODEL on DATA, a folder of `kpose prepare`, or on --data.

    MODEL is a run folder, an artefact or the name of a packaged model. Crops are not
    augmented. Those of --data are cut around the ground truth; those of DATA are as
    stored, one per person: with `prepare --detector` the detector's where its IoU is at
    least 0.5. With --system the detector finds the people too, and every stage is
    timed.
    """
    if (folder is None) == (not sets):
        raise click.UsageError("give either DATA or --data NAME:PATH")
    if not whole_system and (detector is not None or min_score is not None):
        raise click.UsageError("--detector and --min-score need --system")
    if whole_system and folder is not None:
        raise click.UsageError("--system needs whole pictures: give --data NAME:PATH")
    from kpose import artefacts

    # The cheap refusals come before TensorFlow loads and before the long work.
    card = artefacts.read_card(model)
    if report_path is not None:
        from kpose import report

        report.plots_folder(report_path)
    if whole_system:
        lines, summary = _score_system(
            model,
            card,
            _read_sets(sets, split),
            detector or "whole",
            min_score,
            flip_test,
            report_path,
        )
    else:
        lines, summary = _score_joints(
            model, card, folder, sets, split, flip_test, report_path
        )
    data = [str(folder)] if folder else list(sets)
    echo_summary({"model": model, "data": data, **summary}, as_json, "\n".join(lines))


def _score_joints(
    model: str,
    card: dict[str, Any],
    folder: Path | None,
    sets: tuple[str, ...],
    split: str | None,
    flip_test: bool,
    report_path: Path | None,
) -> tuple[list[str], dict[str, Any]]:
    """Return what a person reads, and the summary, of one crop per person."""
    from kpose import artefacts
    from kpose import persons as people
    from kpose.shards import PreparedData

    data = None if folder is None else PreparedData.open(folder)
    if data is None:
        sources = _read_sets(sets, split)
        persons = people.labelled(sources, _skeleton(model, card, sources))
    else:
        persons = people.prepared(data, split)
        _require_joints(model, card, persons.skeleton)
    from kpose import evaluation, runtime

    opened = runtime.open(model)
    with progress(persons.count, "evaluating") as advance:
        scores = evaluation.evaluate(
            opened,
            counted(persons.batches(opened.size), advance),
            flip_test=flip_test,
            mean_pose=card.get("mean_pose"),
            head_sizes=persons.head_sizes,
            areas=persons.areas,
            ious=None if data is None else _ious(data, split),
        )
    leak = people.leak(card, persons.splits)
    run = artefacts.resolve(model).parent
    near = people.leak_score(run, persons)
    name = Path(model).name or model
    excluded = {
        "without a torso, not in PCK": scores.excluded_no_torso,
        "without a head size, not in PCKh": scores.excluded_no_head_size,
        "without an area or a joint for OKS, not in AP": scores.excluded_no_area,
    }
    facts = _facts(persons.splits, persons.skipped, excluded, flip_test, leak)
    warnings = _split_warnings(card, data)
    facts = _with_sentences(facts, [_leak_text(near, card), *warnings])
    definitions = [f"{term}: {text}" for term, text in evaluation.DEFINITIONS.items()]
    summary: dict[str, Any] = {
        "evaluated": _evaluated(persons.splits),
        "flip_test": flip_test,
        **scores.to_json(),
        "skipped": persons.skipped,
        "leak": leak,
        "leak_score": None if near is None else near.to_json(),
        "random_frames": bool(warnings),
        "definition": " ".join(definitions),
    }
    rows = evaluation.with_baseline(name, scores)
    lines = []
    for table in (evaluation.table, evaluation.other_table):
        header, cells = table(rows)
        lines += [*aligned([header, *cells]), ""]
    if scores.bins:
        header, cells = evaluation.bin_table(scores)
        lines += [*aligned([header, *cells]), ""]
    lines += [facts, *definitions]
    if report_path is not None:
        from kpose import report

        if data is None:
            records = (record for source in sources for record in source.records)
            times = evaluation.stage_times(opened, records, flip_test=flip_test)
        else:
            stored = people.prepared(data, split).batches(opened.size)
            times = evaluation.stored_times(opened, stored, flip_test=flip_test)
        summary["time_ms"] = {stage: round(ms, 3) for stage, ms in times.items()}
        log = run / "log.csv"
        sections = report.score_sections(
            name,
            scores,
            persons.skeleton,
            facts=facts,
            persons=persons.names,
            card=card,
            history=log if log.is_file() else None,
            leak=_leak_text(near, card),
            times=times,
        )
        report.write_report(report_path, f"kpose eval: {name}", sections)
        summary["report"] = str(report_path)
        lines.append(f"report: {report_path}")
    return lines, summary


def _score_system(
    model: str,
    card: dict[str, Any],
    sources: "list[Source]",
    detector: str,
    min_score: float | None,
    flip_test: bool,
    report_path: Path | None,
) -> tuple[list[str], dict[str, Any]]:
    """Return what a person reads, and the summary, of detector and network together."""
    _skeleton(model, card, sources)
    from kpose import detection

    finder = detection.open(detector)
    from kpose import evaluation, runtime, system
    from kpose import persons as people

    opened = runtime.open(model)
    with progress(None, "evaluating") as advance:
        scores = system.evaluate(
            opened,
            finder,
            sources,
            min_score=min_score,
            flip_test=flip_test,
            progress=advance,
        )
    leak = people.leak(card, scores.splits)
    no_torso = scores.joints["detector_boxes"].excluded_no_torso
    excluded = {"without a torso, not in PCK": no_torso}
    facts = (
        f"{scores.pictures} pictures, detector {scores.detector} from score "
        f"{scores.min_score:g}. "
        + _facts(scores.splits, scores.skipped, excluded, flip_test, leak)
    )
    facts = _with_sentences(facts, [_leak_text(None, card), *_split_warnings(card)])
    summary: dict[str, Any] = {
        "evaluated": _evaluated(scores.splits),
        "flip_test": flip_test,
        **scores.to_json(),
        "skipped": scores.skipped,
        "leak": leak,
        "definition": f"{evaluation.DEFINITION} {system.DEFINITION}",
    }
    lines = [facts]
    for table in (system.joint_table, system.detector_table, system.time_table):
        header, rows = table(scores)
        lines += ["", *aligned([header, *rows])]
    lines += ["", evaluation.DEFINITION, system.DEFINITION]
    if report_path is not None:
        from kpose import report, system_report

        title = f"kpose eval --system: {Path(model).name or model}"
        sections = system_report.system_sections(scores, facts)
        report.write_report(report_path, title, sections)
        summary["report"] = str(report_path)
        lines.append(f"report: {report_path}")
    return lines, summary


def _ious(data: "PreparedData", split: str | None) -> "NDArray[np.float32]":
    """Return the IoU of each person's best detection, NaN where nobody asked one.

    In the order of ``persons.prepared``.
    """
    import numpy as np

    from kpose.persons import choose_splits

    wanted = choose_splits(split, data.split.tolist())
    found = data.iou[np.isin(data.split, wanted) & data.first]
    return np.asarray(found, np.float32)


def _read_sets(sets: tuple[str, ...], split: str | None) -> "list[Source]":
    """Read the data sets; a split named in the text goes before ``--split``."""
    from kpose import persons
    from kpose.records import PersonRecord
    from kpose_datasets import read_source, require_different_names

    sources = []
    for text in sets:
        named = text.rpartition("@")[2] in SPLITS
        source = read_source(text, persons.choose_splits(split or "all", []))
        if split is None and not named:
            there = {
                record.split
                for record in source.records
                if isinstance(record, PersonRecord)
            }
            source = read_source(text, persons.choose_splits(None, there))
        sources.append(source)
    require_different_names(sources)
    return sources


def _skeleton(model: str, card: dict[str, Any], sources: "list[Source]") -> "Skeleton":
    """Return the joints of the data sets, which are those of the model."""
    from kpose_datasets import common_skeleton

    skeleton = common_skeleton(sources)
    _require_joints(model, card, skeleton)
    return skeleton


def _require_joints(model: str, card: dict[str, Any], skeleton: "Skeleton") -> None:
    from kpose.errors import InputError
    from kpose.joints import Skeleton

    joints = Skeleton.from_json(card["skeleton"]).names
    if skeleton.names != joints:
        raise InputError(
            f"the data must have the joints of {model} ({', '.join(joints)}). "
            f"Received: {', '.join(skeleton.names)}"
        )


def _evaluated(splits: "Counter[tuple[str, str]]") -> dict[str, int]:
    return {f"{source} {split}": n for (source, split), n in sorted(splits.items())}


def _leak_text(near: "LeakScore | None", card: dict[str, Any]) -> str:
    """Return the leak score in words: of these persons, else that of the training."""
    if near is not None:
        return near.sentence()
    words = "leak score of these pictures: unknown without the model's run folder"
    known = card.get("training", {}).get("leak")
    return f"{words}; in training: {known['sentence']}" if known else words


def _with_sentences(text: str, more: list[str]) -> str:
    return " ".join([text, *(f"{line[:1].upper()}{line[1:]}." for line in more)])


def _split_warnings(
    card: dict[str, Any], data: "PreparedData | None" = None
) -> list[str]:
    """Return what results of splits at random over video frames must say."""
    from kpose import splits

    divisions = [card.get("training", {}).get("split")]
    divisions.append(data.summary.get("split") if data is not None else None)
    found = filter(None, map(splits.warning, divisions))
    return list(dict.fromkeys(found))


def _facts(
    splits: "Counter[tuple[str, str]]",
    skipped: dict[str, int],
    excluded: dict[str, int],
    flip_test: bool,
    leak: str | None,
) -> str:
    evaluated = ", ".join(f"{n} {name}" for name, n in _evaluated(splits).items())
    reasons = ", ".join(f"{n} {reason}" for reason, n in skipped.items())
    left_out = "; ".join(f"{n} {why}" for why, n in excluded.items())
    return (
        f"Persons: {evaluated}; {left_out}; "
        f"skipped: {reasons or 'none'}. Flip test {'on' if flip_test else 'off'}."
        + (f" Not a score on new people: {leak}." if leak else "")
    )
