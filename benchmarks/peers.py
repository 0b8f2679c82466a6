"""kpose and ready-made networks of others on the same crops: accuracy and CPU time.

    python benchmarks/peers.py --data lsp:LSP@test compact movenet:int8.tflite
    python benchmarks/peers.py runs/mine movenet:int8.tflite efficientpose:RT.tflite \
        --data 'openpose_json:cam02_json?images=cam02.mp4&confidence=0.3'

A model is one of kpose (packaged name, run folder, artefact), ``movenet:FILE`` or
``efficientpose:FILE``. Every model sees every person of each ``--data`` (all splits,
if none is named) as ``kpose eval --data`` does: cut around the ground truth x 1.2 to a
square, resized to the model's input. Peers answer one crop; kpose has a row without and
one with the flip test, whose answer is the mean over the crop and its mirror image.
``--flip-peers`` gives peers the second row too. Prints per data set PCK@0.2 and PCK@0.1
by group of joints; left and right are the person's own.

Then the CPU time of one person, all models in turns in one run, one thread each:
scaling, network and decoding, without cutting the crop. It is given in ms and as a
ratio to the first peer: compare ratios, since milliseconds differ between days. A
``.keras`` file or run folder of kpose is timed as the TFLite file that ``kpose export``
makes of it: the runtime of the peers.

Expected All, PCK@0.2 / @0.1, MoveNet Lightning int8 and EfficientPose RT: LSP 1001-1500
84.7 / 62.6 and 80.5 / 58.6; ``pose2sim_balancing`` as above, camera 2 99.0 / 88.0 and
91.4 / 86.3, camera 4 94.6 / 80.6 and 96.8 / 87.9. Crops that shrink by more than 2 are
reduced with an area mean first, as all of kpose's. Without it, one bilinear step from
1,000 px to the input, the same peers score 1 to 2 points less on these cameras (camera
2 98.1 / 87.6 and 89.3 / 84.2, camera 4 93.8 / 80.7 and 95.0 / 85.8), and MoveNet 84.9
on LSP.
"""

import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import click
import numpy as np

from kpose import artefacts, evaluation, peers, persons, runtime
from kpose.evaluation import COLUMNS, CURVE, Scores
from kpose.images import Image
from kpose.joints import BODY_13
from kpose.records import SPLITS
from kpose.runtime import Runtime
from kpose_cli.common import aligned
from kpose_datasets import read_source

THRESHOLDS = (0.2, 0.1)

CROPS = 24
"""So many crops are timed in each turn."""


def is_peer(model: str) -> bool:
    """Return whether it is the network of others."""
    return model.partition(":")[0] in peers.LOADERS


def measured(model: str, network: Runtime, data: str, flip_test: bool) -> Scores:
    """Return the scores of a network on the persons of a data set."""
    people = persons.labelled([read_source(data, SPLITS)], BODY_13)
    return evaluation.evaluate(
        network, people.batches(network.size), flip_test=flip_test
    )


def table(rows: dict[str, Scores], threshold: float) -> list[str]:
    """Return the lines of a table of PCK at a threshold, percent."""
    at = int(np.flatnonzero(np.isclose(CURVE, threshold))[0])
    header = [f"PCK@{threshold}", *COLUMNS, "All"]
    cells = [
        [name, *(f"{scores.curve[group][at]:.1f}" for group in (*COLUMNS, "all"))]
        for name, scores in rows.items()
    ]
    return aligned([header, *cells])


def one_thread(model: str, folder: Path) -> Runtime:
    """Return a network for timing: TFLite with one thread, if it can be."""
    # kpose's own TFLite files take all cores; peers take one thread.
    with mock.patch.object(os, "cpu_count", return_value=1):
        if is_peer(model):
            return peers.open(model)
        path = artefacts.resolve(model)
        if artefacts.kind_of(path) == "keras":
            from kpose.export import tflite
            from kpose.models import store

            network, card = store.load(path)
            path = folder / f"{len(list(folder.iterdir()))}.tflite"
            path.write_bytes(tflite.convert(network, card))
        return runtime.open(path)


def cpu_times(
    calls: dict[str, Callable[[], object]], turns: int
) -> dict[str, list[float]]:
    """Return the CPU time of each call in each turn, seconds, all in turns."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(turns):
        for name, call in calls.items():
            start = time.process_time()
            call()
            times[name].append(time.process_time() - start)
    return times


def crops(data: str, size: int) -> Image:
    """Return the first ``CROPS`` crops of a data set."""
    people = persons.labelled([read_source(data, SPLITS)], BODY_13)
    found = (crop for batch, _ in people.batches(size) for crop in batch)
    return np.stack(list(itertools.islice(found, CROPS)))


@click.command()
@click.argument("models", nargs=-1, required=True)
@click.option("--data", "sets", multiple=True, required=True)
@click.option("--flip-peers", is_flag=True, help="Give peers the flip test too.")
@click.option("--turns", type=click.IntRange(0), default=9, show_default=True)
def main(
    models: tuple[str, ...], sets: tuple[str, ...], flip_peers: bool, turns: int
) -> None:
    """Measure and print."""
    names = {
        model: model.partition(":")[0] if is_peer(model) else Path(model).stem
        for model in models
    }
    if len(set(names.values())) < len(models):
        names = {model: model for model in models}
    networks = {model: peers.open(model) for model in models}
    flips = {
        model: (False,) if is_peer(model) and not flip_peers else (False, True)
        for model in models
    }
    for data in sets:
        rows = {
            f"{names[model]}{', flip' if flip else ''}": measured(
                model, networks[model], data, flip
            )
            for model in models
            for flip in flips[model]
        }
        first = next(iter(rows.values()))
        left_out = f"{first.excluded_no_torso} without a torso left out"
        click.echo(f"{data}: {first.persons} persons, {left_out}")
        for threshold in THRESHOLDS:
            click.echo("\n".join(["", *table(rows, threshold)]))
        click.echo()
    if not turns:
        return
    with tempfile.TemporaryDirectory() as folder:
        timed = {model: one_thread(model, Path(folder)) for model in models}
    pictures = {size: crops(sets[0], size) for size in {n.size for n in timed.values()}}
    calls: dict[str, Callable[[], object]] = {}
    for model, network in timed.items():
        for flip in flips[model]:

            def call(network: Runtime = network, flip: bool = flip) -> None:
                for crop in pictures[network.size]:
                    if flip:
                        runtime.predict_flip(network, crop[None])
                    else:
                        network.predict(crop[None])

            calls[f"{names[model]}{', flip' if flip else ''}"] = call
    times = cpu_times(calls, turns)
    medians = {name: 1000 * statistics.median(t) / CROPS for name, t in times.items()}
    unit = next((names[m] for m in models if is_peer(m)), names[models[0]])
    cells = [[n, f"{ms:.1f}", f"{ms / medians[unit]:.2f}"] for n, ms in medians.items()]
    header = ["CPU time of one person", "ms", f"ratio to {unit}"]
    click.echo("\n".join(aligned([header, *cells])))


if __name__ == "__main__":
    main()
