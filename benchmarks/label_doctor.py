"""How many wrong labels ``kpose prepare --check --doctor`` finds, in LSP 1-1000.

    python benchmarks/label_doctor.py LSP --model movenet:lightning_int8.tflite

Plants mistakes into the official training set of LSP (the folder with ``joints.mat``):
left and right of 2 % of the persons are swapped, and in another 2 % one joint is moved
by 0.5 to 1.0 torso lengths, in any direction. The crops follow the planted labels, as
they would follow a user's. Prints, by seed and in the mean, how many of them are among
the 5 % of persons that are suspected. ``--model`` may be given several times. What a
model was trained on must not have the clean labels of LSP in it.

About a minute per seed and model on a busy core. Expected with MoveNet Lightning int8:
83.5 % of the planted mistakes in the mean of 5 seeds, 80 to 92 % by seed.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from kpose import label_doctor
from kpose.joints import BODY_13
from kpose.records import PersonRecord
from kpose.screening import Source
from kpose_datasets import lsp

SHARE = 0.02
"""Of the persons, swapped and shifted each."""

BUDGET = 0.05
"""Share of the persons that are suspected."""


def plant(
    records: Sequence[PersonRecord], seed: int
) -> tuple[list[PersonRecord], set[str], set[str]]:
    """Return the records with mistakes, and the ids of the swapped and shifted."""
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(records)).tolist()
    count = round(SHARE * len(records))
    changed = list(records)
    for at in order[:count]:
        record = records[at]
        swap = list(BODY_13.swap)
        joints, visible = record.joints[swap], record.visible[swap]
        changed[at] = replace(record, joints=joints, visible=visible)
    for at in order[count : 2 * count]:
        joints = records[at].joints.copy()
        a, b = BODY_13.torso
        torso = float(np.hypot(*(joints[a, :2] - joints[b, :2])))
        angle = generator.uniform(0, 2 * np.pi)
        step = np.array([np.cos(angle), np.sin(angle)]) * generator.uniform(0.5, 1.0)
        joints[generator.integers(len(joints)), :2] += step * torso
        changed[at] = replace(records[at], joints=joints)
    names = [record.id for record in records]
    return (
        changed,
        {names[at] for at in order[:count]},
        {names[at] for at in order[count : 2 * count]},
    )


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.option("--model", "models", multiple=True, required=True)
@click.option("--seeds", default=5, show_default=True)
def main(folder: Path, models: tuple[str, ...], seeds: int) -> None:
    """Run the benchmark."""
    records = [record for record in lsp.read(folder) if record.split == "train"]
    found = []
    for seed in range(seeds):
        changed, swapped, shifted = plant(records, seed)
        with tempfile.TemporaryDirectory() as parent:
            result = label_doctor.examine(
                [Source("lsp", changed, lsp.LICENCE)],
                Path(parent) / "doctor",
                models=models,
                budget=BUDGET,
                seed=seed,
            )
        judged = result["suspects"][: result["judged"]]
        suspects = {suspect["id"] for suspect in judged}
        hits = [len(planted & suspects) for planted in (swapped, shifted)]
        of = [len(swapped), len(shifted)]
        found.append([sum(hits) / sum(of), hits[0] / of[0], hits[1] / of[1]])
        click.echo(
            f"seed {seed}: {sum(hits)} of {sum(of)} planted mistakes among "
            f"{len(suspects)} suspects: {hits[0]} of {of[0]} swapped, {hits[1]} of "
            f"{of[1]} shifted"
        )
    both, swaps, shifts = 100 * np.mean(found, axis=0)
    click.echo(
        f"recall at {100 * BUDGET:.0f} %: {both:.1f} % (swapped {swaps:.1f} %, shifted "
        f"{shifts:.1f} %), mean of {seeds} seeds, {', '.join(models)}"
    )


if __name__ == "__main__":
    main()
