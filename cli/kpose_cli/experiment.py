"""``kpose experiment``: several trainings that differ in one thing, compared."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kpose_cli.common import aligned, echo_summary, json_option

if TYPE_CHECKING:
    from kpose.screening import Source


@click.group()
def experiment() -> None:
    """Compare trainings that differ in one thing, as the paper does.

    Each is resumable: the same command again goes on where it stopped. Each takes
    --json.
    """


@experiment.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--init",
    default="none",
    show_default=True,
    help="Start from: none, imagenet (downloads the backbone), a .weights.h5 file for "
    "the backbone, or a kpose model.",
)
@click.option(
    "--preset",
    default="short",
    show_default=True,
    help="A recipe of the package (pretrain, finetune, compact, short) or a TOML file.",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Trainings of each side.",
)
@click.option(
    "--data",
    "sets",
    multiple=True,
    metavar="NAME:PATH[@train|val|test|all]",
    help="A data set to score every training on, repeatable.  [default: @test]",
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Experiment folder."
)
@json_option
def heterogeneous(
    data: Path,
    init: str,
    preset: str,
    seeds: int,
    sets: tuple[str, ...],
    out: Path,
    as_json: bool,
) -> None:
    """Train on all of DATA, and on its fully annotated persons only.

    DATA is a folder that `kpose prepare` wrote. The paper (section 3.6) has 15.7 px of
    error with all data and 16.6 px with fully annotated persons only. Both sides
    validate on the same persons and take the same number of steps. Writes results.json
    and report.html into --out; the same command again goes on where it stopped.
    """
    from kpose import config as recipes

    config = recipes.load(preset)
    tests = _read_tests(data, sets)
    from kpose import experiment as library

    # Every run traces a network of its own; TensorFlow warns of that as of a mistake.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    results = library.heterogeneous(
        data,
        config,
        out,
        init=init,
        seeds=seeds,
        tests=tests,
        report=lambda line: click.echo(line, err=True),
    )
    lines = []
    for name in results["comparison"]:
        header, rows = library.table(results, name)
        lines += [*aligned([header, *rows]), library.conclusion(results, name), ""]
    lines += [*library.facts(results), f"report: {out / 'report.html'}"]
    echo_summary(results, as_json, "\n".join(lines))


def _read_tests(data: Path, sets: tuple[str, ...]) -> "list[Source]":
    """Read the data sets, and refuse those that have other joints than DATA."""
    if not sets:
        return []
    from kpose.errors import InputError
    from kpose.shards import PreparedData
    from kpose_datasets import (
        common_skeleton,
        read_source,
        require_different_names,
    )

    skeleton = PreparedData.open(data).skeleton
    sources = [read_source(text, ("test",)) for text in sets]
    require_different_names(sources)
    found = common_skeleton(sources)
    if found.names != skeleton.names:
        raise InputError(
            f"--data must have the joints of {data} ({', '.join(skeleton.names)}). "
            f"Received: {', '.join(found.names)}"
        )
    return sources
