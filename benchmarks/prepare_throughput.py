"""How fast ``prepare`` is, against a bare loop of OpenCV over the same files.

    python benchmarks/prepare_throughput.py --data lsp:DIR --data lspet:DIR

Both sides run in turn, several times, over the same pictures with the same number of
fresh processes: ``kpose.examples.prepare`` (all of it: checks, process start, crops,
shards, index, preview) and a loop of ``cv2.imread``, ``cv2.warpAffine`` to 336 pixels
and ``cv2.imencode``, whose result is thrown away. The ratio of the best rounds, by wall
time and by CPU time (which other programs on the machine disturb less), is printed;
at least 0.8 is wanted.
"""

import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from kpose.examples import prepare
from kpose.geometry import SquareCrop, person_box
from kpose.images import CROP_SIZE, SURROUNDINGS
from kpose_datasets import read_source

SIDE = round(CROP_SIZE * SURROUNDINGS)

CHUNK = 512
"""Pictures per task, as persons per shard."""


def bare(tasks: list[tuple[str, NDArray[np.float64]]]) -> int:
    """Decode, warp and encode; return the bytes made."""
    cv2.setNumThreads(1)
    done = 0
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for path, grid in tasks:
        image = cv2.imread(path)
        assert image is not None
        crop = cv2.warpAffine(image, grid, (SIDE, SIDE), flags=flags)
        done += len(cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, 95])[1])
    return done


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its children that have ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(
            resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
    )


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Return the wall and CPU seconds of a call."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    call()
    return time.perf_counter() - wall, cpu_seconds() - cpu


@click.command()
@click.option("--data", multiple=True, required=True, metavar="NAME:PATH[@SPLIT]")
@click.option("--workers", type=click.IntRange(min=1), default=os.cpu_count())
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
def main(data: tuple[str, ...], workers: int, rounds: int) -> None:
    """Print persons per second of both, and the ratio."""
    sources = [read_source(text) for text in data]
    tasks = []
    for source in sources:
        for record in source.records:
            box = person_box(record.joints)
            if box is None or record.defect() or not record.image.path.is_file():
                continue
            x0, y0, side = SquareCrop.around(box).expanded(SURROUNDINGS)
            step = side / SIDE
            grid = np.array(
                [[step, 0, x0 + step / 2 - 0.5], [0, step, y0 + step / 2 - 0.5]]
            )
            tasks.append((str(record.image.path), grid))
    chunks = [tasks[i : i + CHUNK] for i in range(0, len(tasks), CHUNK)]

    def run_bare() -> None:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
            sum(pool.map(bare, chunks))

    def run_prepare() -> None:
        with tempfile.TemporaryDirectory() as folder:
            summary = prepare(sources, Path(folder) / "out", workers=workers)
        assert summary["persons"] == len(tasks)

    times: dict[str, list[tuple[float, float]]] = {"bare": [], "prepare": []}
    for _ in range(rounds):
        times["bare"].append(timed(run_bare))
        times["prepare"].append(timed(run_prepare))
    best = {name: np.min(rows, axis=0) for name, rows in times.items()}
    print(f"{len(tasks)} persons, {workers} processes, {rounds} rounds, best of each:")
    for name, (wall, cpu) in best.items():
        print(
            f"  {name:8} {wall:6.2f} s wall, {cpu:6.2f} s CPU, "
            f"{len(tasks) / wall:7.0f} persons/s"
        )
    wall, cpu = best["bare"] / best["prepare"]
    print(f"prepare / bare throughput: {wall:.3f} by wall time, {cpu:.3f} by CPU time")


if __name__ == "__main__":
    main()
