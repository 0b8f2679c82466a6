"""Throughput of ``kpose prepare`` with two workers against one, in one run.

    python benchmarks/prepare_workers.py --data lsp:LSP --data lspet:LSPET

Prepares the same data in turns with one worker and with two and prints the best
throughput of each and the ratio. Start-up of the worker processes, reading the labels
and writing the shards are all counted.
"""

import tempfile
from pathlib import Path

import click
import numpy as np
from prepare_throughput import timed

from kpose.examples import prepare
from kpose_datasets import read_source


@click.command()
@click.option("--data", multiple=True, required=True, metavar="NAME:PATH[@SPLIT]")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
def main(data: tuple[str, ...], rounds: int) -> None:
    """Print persons per second with one and with two workers, and the ratio."""
    sources = [read_source(text) for text in data]
    seconds: dict[int, list[float]] = {1: [], 2: []}
    persons = 0
    for _ in range(rounds):
        for workers, times in seconds.items():
            with tempfile.TemporaryDirectory() as folder:

                def run(workers: int = workers, folder: str = folder) -> None:
                    nonlocal persons
                    out = Path(folder) / "out"
                    persons = prepare(sources, out, workers=workers)["persons"]

                times.append(timed(run)[0])
    best = {workers: np.min(times) for workers, times in seconds.items()}
    for workers, wall in best.items():
        print(f"  {workers} workers: {wall:6.2f} s, {persons / wall:6.0f} persons/s")
    print(f"two workers / one: {best[1] / best[2]:.2f} ({persons} persons)")


if __name__ == "__main__":
    main()
