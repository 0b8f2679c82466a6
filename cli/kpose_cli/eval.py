"""``kpose eval``: what a model scores on labelled persons."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kpose_cli.common import echo_summary, json_option, progress

if TYPE_CHECKING:
    from kpose.persons import Persons

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
    "--report",
    "report_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="OUT.html",
    help="Write tables, curves and pictures as one HTML file.",
)
@json_option
def evaluate(
    model: str,
    folder: Path | None,
    sets: tuple[str, ...],
    split: str | None,
    flip_test: bool,
    report_path: Path | None,
    as_json: bool,
) -> None:
    """Score MODEL on DATA, a folder of `kpose prepare`, or on --data.

    MODEL is a run folder, an artefact or the name of a packaged model. Crops are cut
    around the ground truth and not augmented.
    """
    if (folder is None) == (not sets):
        raise click.UsageError("give either DATA or --data NAME:PATH")
    from kpose import artefacts
    from kpose import persons as people
    from kpose.errors import InputError
    from kpose.joints import Skeleton
    from kpose.shards import PreparedData

    # The cheap refusals come before TensorFlow loads and before the long work.
    card = artefacts.read_card(model)
    if folder is None:
        persons = _read_sets(sets, split)
    else:
        persons = people.prepared(PreparedData.open(folder), split)
    joints = Skeleton.from_json(card["skeleton"]).names
    if persons.skeleton.names != joints:
        raise InputError(
            f"the data must have the joints of {model} ({', '.join(joints)}). "
            f"Received: {', '.join(persons.skeleton.names)}"
        )
    from kpose import evaluation, runtime

    opened = runtime.open(model)
    with progress(persons.count, "evaluating") as advance:
        scores = evaluation.evaluate(
            opened,
            _counted(persons.batches(opened.size), advance),
            flip_test=flip_test,
            mean_pose=card.get("mean_pose"),
        )
    leak = people.leak(card, persons.splits)
    name = Path(model).name or model
    facts = _facts(persons, scores.excluded_no_torso, flip_test, leak)
    summary: dict[str, Any] = {
        "model": model,
        "data": [str(folder)] if folder else list(sets),
        "evaluated": {f"{a} {b}": n for (a, b), n in sorted(persons.splits.items())},
        "flip_test": flip_test,
        **scores.to_json(),
        "skipped": persons.skipped,
        "leak": leak,
        "definition": evaluation.DEFINITION,
    }
    header, rows = evaluation.table(evaluation.with_baseline(name, scores))
    lines = [*_aligned([header, *rows]), facts, evaluation.DEFINITION]
    if report_path is not None:
        from kpose import report

        log = artefacts.resolve(model).parent / "log.csv"
        sections = report.score_sections(
            name,
            scores,
            persons.skeleton,
            facts=facts,
            persons=persons.names,
            card=card,
            history=log if log.is_file() else None,
        )
        report.write_report(report_path, f"kpose eval: {name}", sections)
        summary["report"] = str(report_path)
        lines.append(f"report: {report_path}")
    echo_summary(summary, as_json, "\n".join(lines))


def _read_sets(sets: tuple[str, ...], split: str | None) -> "Persons":
    """Read the data sets; a split named in the text goes before ``--split``."""
    from kpose import persons
    from kpose_datasets import common_skeleton, read_source

    sources = []
    for text in sets:
        named = text.rpartition("@")[2] in SPLITS
        source = read_source(text, persons.choose_splits(split or "all", []))
        if split is None and not named:
            there = {record.split for record in source.records}
            wanted = persons.choose_splits(None, there)
            records = [record for record in source.records if record.split in wanted]
            source = source._replace(records=records)
        sources.append(source)
    return persons.labelled(sources, common_skeleton(sources))


def _counted(batches: Iterable[Any], advance: Callable[[int], None]) -> Iterator[Any]:
    for crops, joints in batches:
        yield crops, joints
        advance(len(joints))


def _facts(persons: "Persons", excluded: int, flip_test: bool, leak: str | None) -> str:
    evaluated = ", ".join(
        f"{n} {a} {b}" for (a, b), n in sorted(persons.splits.items())
    )
    skipped = ", ".join(f"{n} {reason}" for reason, n in persons.skipped.items())
    return (
        f"Persons: {evaluated}; {excluded} without a torso, not in PCK; "
        f"skipped: {skipped or 'none'}. Flip test {'on' if flip_test else 'off'}."
        + (f" Not a score on new people: {leak}." if leak else "")
    )


def _aligned(rows: list[list[str]]) -> list[str]:
    """Return the rows as lines: the first column to the left, the others right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
