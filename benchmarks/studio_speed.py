"""Speed of the studio: CPU seconds per frame of a recording, on one core.

    python benchmarks/studio_speed.py

Renders frames of one take in this process, as a worker of ``kpose studio`` does, with
motion blur and JPEG, and prints CPU time, which other programs do not change much. Two
quiet cores make 1,000 frames a minute where a frame takes 0.115 s: 0.120 s, less
what the parent process needs to write them.
"""

import time

import click
import cv2
import numpy as np

from kpose import images
from kpose_datasets.studio.recording import QUALITY, SIZE
from kpose_datasets.studio.stage import Stage


@click.command()
@click.option("--frames", type=click.IntRange(min=1), default=60, show_default=True)
@click.option("--people", type=click.IntRange(1, 6), default=1, show_default=True)
def main(frames: int, people: int) -> None:
    """Print CPU seconds per frame for each set of clothes."""
    cv2.setNumThreads(1)
    started = time.process_time()
    stage = Stage(0, SIZE)
    print(f"stage: {time.process_time() - started:.2f} s once per worker")
    seconds = []
    for clothing in range(1, 8):
        actors = stage.actors(range(1, people + 1), clothing, 0, frames / 5)
        started = time.process_time()
        for index in range(frames):
            frame = stage.shoot(np.random.default_rng(index), actors, index / 5)
            picture = np.asarray(cv2.flip(frame.image, 1), np.uint8)
            images.encode(picture, "jpeg", QUALITY)
        seconds.append((time.process_time() - started) / frames)
        print(f"clothing {clothing}: {seconds[-1]:.3f} s per frame")
    mean = float(np.mean(seconds))
    print(f"mean: {mean:.3f} s per frame, {60 / mean:.0f} frames per core and minute")


if __name__ == "__main__":
    main()
