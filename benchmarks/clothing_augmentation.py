"""What clothing and background augmentation gain on people dressed otherwise.

    kpose studio --out recordings
    kpose prepare --data persontracker:recordings --size 192 --out runs/recordings
    python benchmarks/clothing_augmentation.py runs/recordings --out runs/looks \
        --init BACKBONE.weights.h5 --rooms recordings/room.png

Trains the recipe ``short`` on the training persons who wear something else than the
test persons do (phase 1 of ``kpose experiment clothing``) and tests on the test
persons, whose clothing no training has seen. Three arms differ in the augmentation
alone: none (of looks; the recipe's geometry and colour stay), clothing, and clothing
and background. Every seed changes the weights of the head, the order and the
augmentation, alike in every arm. Scores are of the network after the last epoch, with
the flip test: nothing is chosen on anybody.

``--rooms`` is a picture or a folder of pictures of the empty room that was recorded in;
without it the third arm is left out. Asked again with the same ``--out`` it goes on
where it stopped. Prints the mean of the seeds and their range, and writes
``results.json``.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from kpose import config as recipes
from kpose import evaluation, experiment, pipeline, runtime
from kpose import persons as people
from kpose.augment import Augmentation
from kpose.config import Config
from kpose.errors import InputError
from kpose.files import read_json, write_json
from kpose.phases import plan
from kpose.shards import PreparedData

COLUMNS = {
    "All": ("pck@0.2", "all"),
    "wrist": ("pck@0.2", "wrist"),
    "All at 0.1": ("pck@0.1", "all"),
    "pixel error": ("pixel_error",),
}
"""Of the table, and the keys that lead to them in the scores."""


class Run(NamedTuple):
    """One training."""

    arm: str
    seed: int
    config: Config


def arms(
    base: Augmentation, share: float, rooms: str | None
) -> dict[str, Augmentation]:
    """Return the augmentation of every arm.

    Args:
        base: Of the recipe.
        share: Probability of other clothes, and of another background.
        rooms: For the third arm; None leaves it out.
    """
    found = {
        "none": dataclasses.replace(base, clothing=0.0, background=0.0, rooms=""),
        "clothing": dataclasses.replace(base, clothing=share, background=0.0, rooms=""),
    }
    if rooms is not None:
        found["clothing+background"] = dataclasses.replace(
            base, clothing=share, background=share, rooms=rooms
        )
    return found


def runs(recipe: Config, share: float, rooms: str | None, seeds: int) -> list[Run]:
    """Return the trainings, all arms of a seed before the next seed."""
    training = dataclasses.replace(recipe.training, patience=0)
    return [
        Run(
            arm,
            seed,
            dataclasses.replace(
                recipe,
                training=dataclasses.replace(training, seed=training.seed + seed),
                augmentation=augmentation,
            ),
        )
        for seed in range(seeds)
        for arm, augmentation in arms(recipe.augmentation, share, rooms).items()
    ]


def summary(scored: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return mean, min and max over the seeds, by arm and column."""
    table: dict[str, dict[str, Any]] = {}
    for arm in dict.fromkeys(scores["arm"] for scores in scored):
        table[arm] = {}
        for name, keys in COLUMNS.items():
            values = [_at(one, keys) for one in scored if one["arm"] == arm]
            table[arm][name] = {
                "mean": round(float(np.mean(values)), 3),
                "min": min(values),
                "max": max(values),
                "seeds": len(values),
            }
    return table


def _at(value: Any, keys: Sequence[str]) -> float:
    for key in keys:
        value = value[key]
    return float(value)


def lines(table: dict[str, dict[str, Any]]) -> list[str]:
    """Return the table as text: mean (min to max)."""
    rows = [f"{'':20}" + "".join(f"{name:>24}" for name in COLUMNS)]
    for arm, cells in table.items():
        texts = [
            f"{c['mean']:.2f} ({c['min']:.2f}-{c['max']:.2f})" for c in cells.values()
        ]
        rows.append(f"{arm:20}" + "".join(f"{text:>24}" for text in texts))
    return rows


def score(path: Path, persons: people.Persons) -> dict[str, Any]:
    """Return the scores of a network on the test persons, with the flip test."""
    network = runtime.open(path)
    size = int(network.card["size"])
    batches = list(persons.batches(size))
    answers = [runtime.predict_flip(network, crops) for crops, _ in batches]
    joints = np.concatenate([truth for _, truth in batches])
    found = evaluation.score(joints, runtime.join(answers).keypoints, persons.skeleton)
    return found.to_json()


@click.command(help=__doc__)
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--init", required=True, help="Backbone weights or a trained model.")
@click.option("--rooms", help="Picture or folder of pictures of the empty room.")
@click.option("--recipe", "name", default="short", show_default=True)
@click.option("--clothing", help="What is tested; default: what test persons wear.")
@click.option("--share", default=0.5, show_default=True, type=click.FloatRange(0, 1))
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1))
def main(
    data: Path,
    out: Path,
    init: str,
    rooms: str | None,
    name: str,
    clothing: str | None,
    share: float,
    seeds: int,
) -> None:
    """Run the benchmark."""
    try:
        measure(data, out, init, rooms, recipes.load(name), clothing, share, seeds)
    except InputError as error:
        raise click.ClickException(str(error)) from None


def measure(
    folder: Path,
    out: Path,
    init: str,
    rooms: str | None,
    recipe: Config,
    clothing: str | None,
    share: float,
    seeds: int,
) -> dict[str, dict[str, Any]]:
    """Train and score what has not been, and return the summary."""
    data = PreparedData.open(folder)
    planned = plan(data, clothing)
    phase = planned.phases[0]
    if rooms is not None:
        pipeline.read_rooms(rooms, data.size)  # refuse now what is too late in an hour
    # Not the seeds: more of them go on where fewer stopped.
    request = {
        "benchmark": "clothing_augmentation",
        "data": data.fingerprint,
        "recipe": recipe.to_json(),
        "init": experiment.init_digest(init),
        "clothing": planned.clothing,
        "share": share,
    }
    experiment.claim(out, request)
    tested = people.of_crops(data, planned.test_ids)
    click.echo(
        f"{len(phase.train_ids)} persons in {', '.join(phase.clothing)} to train on, "
        f"{len(planned.test_ids)} in {planned.clothing} to test on"
    )
    scored = []
    for run in runs(recipe, share, rooms, seeds):
        path = out / f"{run.arm}-{run.seed}"
        kept = path / "scores.json"
        if not kept.is_file():
            persons = (phase.train_ids, phase.val_ids)
            experiment.train(folder, path, run.config, init, persons, click.echo)
            scores = score(path / "last.keras", tested)
            write_json(kept, {"arm": run.arm, "seed": run.seed} | scores)
            experiment.free()
        scored.append(read_json(kept))
        last = summary(scored[-1:])[run.arm]
        cells = ", ".join(f"{key} {value['mean']:.2f}" for key, value in last.items())
        click.echo(f"{path.name}: {cells}")
    result = summary(scored)
    write_json(
        out / "results.json",
        request
        | {
            "trained": len(phase.train_ids),
            "tested": len(planned.test_ids),
            "rooms": rooms,
            "summary": result,
            "runs": scored,
        },
    )
    click.echo("\n".join(lines(result)))
    return result


if __name__ == "__main__":
    main()
