"""``kpose experiment``: several trainings that differ in one thing, compared."""

import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


@experiment.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--init",
    default="compact",
    show_default=True,
    metavar="MODEL",
    help="The pretrained network: a .keras file, a run folder or a packaged model.",
)
@click.option(
    "--clothing",
    metavar="NAME",
    help="The clothing that is tested.  [default: the one that test persons wear]",
)
@click.option(
    "--general",
    "sets",
    multiple=True,
    metavar="NAME:PATH[@train|val|test|all]",
    help="A data set to score general skill on, repeatable, for example "
    "lsp:LSP@test.  [default: @test]",
)
@click.option(
    "--preset",
    default="clothing",
    show_default=True,
    help="A recipe of the package (clothing, finetune) or a TOML file.",
)
@click.option(
    "--epochs", type=click.IntRange(min=1), help="Of every phase, not the recipe's."
)
@click.option("--seed", type=click.IntRange(min=0), help="Instead of the recipe's.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Experiment folder."
)
@json_option
def clothing(
    data: Path,
    init: str,
    clothing: str | None,
    sets: tuple[str, ...],
    preset: str,
    epochs: int | None,
    seed: int | None,
    out: Path,
    as_json: bool,
) -> None:
    """Finetune on recordings, with and without the clothing that is tested.

    DATA is a folder that `kpose prepare` wrote of recordings tagged with clothing, test
    persons among them (NAME:PATH@all). As in the paper's section 4: phase 1 trains on
    other clothing, phase 2 goes on with the tested one, full trains on both from the
    pretrained network. The paper has 69.6 % PCK@0.2 before, 90.6 % after phase 1 and
    96.8 % after full.

    Writes results.json, report.html and its plots into --out: the scores of Table 5,
    the curves of Figure 6, and what every epoch gains in the use case and loses in
    general (--general). The same command again goes on where it stopped.
    """
    from kpose import phases
    from kpose.shards import PreparedData

    # What is wrong with the data shows before TensorFlow loads.
    phases.plan(PreparedData.open(data), clothing)
    general = _read_tests(data, sets, "--general")
    from kpose import config as recipes

    config = recipes.load(preset)
    given: dict[str, Any] = {
        key: value
        for key, value in {"epochs": epochs, "seed": seed}.items()
        if value is not None
    }
    config = dataclasses.replace(
        config, training=dataclasses.replace(config.training, **given)
    )
    from kpose import clothing as library

    # Every run traces a network of its own; TensorFlow warns of that as of a mistake.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    results = library.run(
        data,
        config,
        out,
        init=init,
        clothing=clothing,
        general=general,
        report=lambda line: click.echo(line, err=True),
    )
    header, rows = library.table(results)
    lines = [*aligned([header, *rows]), library.conclusion(results), ""]
    lines += [*library.facts(results), f"report: {out / 'report.html'}"]
    echo_summary(results, as_json, "\n".join(lines))


def _read_tests(
    data: Path, sets: tuple[str, ...], option: str = "--data"
) -> "list[Source]":
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
            f"{option} must have the joints of {data} ({', '.join(skeleton.names)}). "
            f"Received: {', '.join(found.names)}"
        )
    return sources
