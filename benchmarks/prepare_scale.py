"""Memory of ``kpose prepare`` on half a million persons, CSV and COCO.

    python benchmarks/prepare_scale.py --format coco
    python benchmarks/prepare_scale.py --format generic

Writes a label file of 500,000 persons over 1,000 small pictures, in no order, prepares
it with ``--size 64`` and prints the largest sum of resident memory of the command and
its workers (from /proc, every 50 ms, shared pages counted in each process), the time
and the persons per second. Linux only. ``--check`` measures the report instead.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from kpose.joints import BODY_13

PICTURES = 1000


def write_pictures(folder: Path) -> list[str]:
    """Write small smooth pictures, all different."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    names = []
    for number in range(PICTURES):
        noise = generator.integers(0, 256, (8, 8, 3), np.uint8)
        names.append(f"{number:05}.jpg")
        cv2.imwrite(str(folder / names[-1]), cv2.resize(noise, (160, 120)))
    return names


def people(
    count: int, names: list[str]
) -> Iterator[tuple[int, str, NDArray[np.float64]]]:
    """Yield (number, picture, joints) of persons whose every third lacks the legs."""
    generator = np.random.default_rng(1)
    for number in range(count):
        joints = np.ones((13, 3))
        joints[:, :2] = generator.uniform((20, 10), (140, 110), (13, 2)).round(2)
        if number % 3 == 0:
            joints[[8, 9, 11, 12]] = 0
        yield number, names[int(generator.integers(len(names)))], joints


def write_csv(path: Path, count: int, names: list[str]) -> None:
    """Write the persons as kpose's own CSV."""
    columns = [f"{name}_{axis}" for name in BODY_13.names for axis in "xy"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "id", *columns])
        for number, picture, joints in people(count, names):
            cells = [
                cell
                for x, y, there in joints.tolist()
                for cell in ((x, y) if there else ("", ""))
            ]
            writer.writerow([picture, number, *cells])


def write_coco(path: Path, count: int, names: list[str]) -> None:
    """Write the persons as a COCO keypoint file."""
    ids = {name: number for number, name in enumerate(names)}
    head = {
        "images": [
            {"id": number, "file_name": name, "width": 160, "height": 120}
            for name, number in ids.items()
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": BODY_13.names}],
    }
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(head)[:-1] + ', "annotations": [')
        for number, picture, joints in people(count, names):
            joints[:, 2] *= 2
            row = {
                "id": number,
                "image_id": ids[picture],
                "category_id": 1,
                "iscrowd": 0,
                "keypoints": joints.ravel().tolist(),
                "num_keypoints": int((joints[:, 2] > 0).sum()),
                "bbox": [10, 5, 140, 110],
                "area": 9000.0,
            }
            file.write(("," if number else "") + "\n" + json.dumps(row))
        file.write("]}\n")


def resident(pid: int) -> int:
    """Return the bytes of resident memory of a process and all its descendants."""
    total = 0
    for task in [pid, *descendants(pid)]:
        try:
            pages = int(Path(f"/proc/{task}/statm").read_text().split()[1])
        except (OSError, IndexError):
            continue  # ended meanwhile
        total += pages * os.sysconf("SC_PAGE_SIZE")
    return total


def descendants(pid: int) -> list[int]:
    """Return the process ids below one."""
    found = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(word) for word in tasks.read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [child, *descendants(child)]
    return found


@click.command()
@click.option("--format", "kind", type=click.Choice(["coco", "generic"]), required=True)
@click.option("--persons", default=500_000, show_default=True)
@click.option("--workers", default=os.cpu_count(), show_default=True)
@click.option("--check", is_flag=True)
def main(kind: str, persons: int, workers: int, check: bool) -> None:
    """Print the peak memory of one call."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        names = write_pictures(folder / "images")
        labels = folder / ("labels.json" if kind == "coco" else "labels.csv")
        (write_coco if kind == "coco" else write_csv)(labels, persons, names)
        print(f"{persons} persons, {labels.stat().st_size / 1e6:.0f} MB of {kind}")
        command = [sys.executable, "-m", "kpose_cli", "prepare", "--json"]
        command += ["--data", f"{kind}:{labels}?images={folder / 'images'}"]
        command += ["--workers", str(workers)]
        command += ["--check"] if check else ["--size", "64"]
        command += [] if check else ["--out", str(folder / "data")]
        started, peak = time.monotonic(), 0
        # Not a pipe: nobody would read it while the command still runs.
        printed = folder / "summary.json"
        with printed.open("w") as stdout:
            process = subprocess.Popen(command, stdout=stdout)
            while process.poll() is None:
                peak = max(peak, resident(process.pid))
                time.sleep(0.05)
        summary = json.loads(printed.read_text().splitlines()[-1])
        seconds = time.monotonic() - started
        if process.returncode or summary["persons"] != persons:
            sys.exit(f"the call failed: {summary}")
    print(
        f"peak {peak / 1e6:.0f} MB, command and {workers} workers; {seconds:.0f} s, "
        f"{persons / seconds:.0f} persons/s"
    )


if __name__ == "__main__":
    main()
