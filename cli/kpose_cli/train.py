"""``kpose train``: prepared data -> a run folder with checkpoints."""

import dataclasses
from pathlib import Path
from typing import Any

import click

from kpose_cli.common import echo_summary, json_option


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--preset",
    default="compact",
    show_default=True,
    help="A recipe of the package (pretrain, finetune, compact, short, clothing) or a "
    "TOML file.",
)
@click.option(
    "--init",
    default="none",
    show_default=True,
    help="Start from: none, imagenet (downloads the backbone), a .weights.h5 file for "
    "the backbone, or a kpose model.",
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Run folder."
)
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of the recipe's.")
@click.option("--batch", type=click.IntRange(min=1), help="Instead of the recipe's.")
@click.option(
    "--learning-rate",
    type=click.FloatRange(min=0, min_open=True),
    help="Instead of the recipe's.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Instead of the recipe's.")
@click.option(
    "--keep-general",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="FRACTION",
    help="Draw this share of every epoch's samples from --general, so that a finetuned "
    "network keeps its general skill.",
)
@click.option(
    "--general",
    type=click.Path(path_type=Path),
    metavar="DATA",
    help="The pretraining's data, prepared alike, for --keep-general.",
)
@click.option(
    "--keep-epochs", is_flag=True, help="Keep the network after every epoch, too."
)
@click.option("--resume", is_flag=True, help="Go on where the run in --out stopped.")
@click.option("--allow-test", is_flag=True, help="Train on persons of test splits too.")
@click.option("--deterministic", is_flag=True, help="Same bits every time, slower.")
@click.option("--dry-run", is_flag=True, help="Print steps, memory and time; no run.")
@json_option
def train(
    data: Path,
    preset: str,
    init: str,
    out: Path,
    epochs: int | None,
    batch: int | None,
    learning_rate: float | None,
    seed: int | None,
    keep_general: float | None,
    general: Path | None,
    keep_epochs: bool,
    resume: bool,
    allow_test: bool,
    deterministic: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Train a network on DATA, a folder that `kpose prepare` wrote."""
    if (keep_general is None) != (general is None):
        raise click.UsageError("--keep-general FRACTION and --general DATA go together")
    from kpose import config as recipes

    given: dict[str, Any] = {
        "epochs": epochs,
        "batch": batch,
        "learning_rate": learning_rate,
        "seed": seed,
    }
    config = recipes.load(preset)
    config = dataclasses.replace(
        config,
        training=dataclasses.replace(
            config.training,
            **{key: value for key, value in given.items() if value is not None},
        ),
    )
    from kpose import training

    if dry_run:
        plan = training.dry_run(
            data,
            config,
            init=init,
            allow_test=allow_test,
            general=general,
            keep_general=keep_general or 0.0,
        )
        lines = [f"{key.replace('_', ' ')}: {value:,}" for key, value in plan.items()]
        echo_summary(plan, as_json, "\n".join(lines))
        return
    summary = training.train(
        data,
        config,
        out,
        init=init,
        resume=resume,
        allow_test=allow_test,
        deterministic=deterministic,
        general=general,
        keep_general=keep_general or 0.0,
        keep_epochs=keep_epochs,
        report=lambda line: click.echo(line, err=True),
    )
    echo_summary(
        summary,
        as_json,
        f"{summary['run']}/best.keras: validation PCK@0.2 {summary['pck@0.2']} % "
        f"(epoch {summary['best_epoch']} of {summary['epochs']}), "
        f"{summary['train_persons']} persons, {summary['seconds']:.0f} s",
    )
