"""How fast the input pipeline is against the training that it feeds.

    python benchmarks/pipeline_throughput.py DATA --init BACKBONE.weights.h5

DATA is a prepared folder with crops of at least 192 px. In one process, in turns: the
pipeline alone (read, decode, augment), the training step of ``compact`` on constant
tensors, and the two together. Prints images per second of each (median of the turns)
and two ratios: pipeline / training together (at least 3 wanted), and the time of the
step with the pipeline / on constant tensors (how much of the pipeline shows).
"""

import argparse
import statistics
import time
from pathlib import Path

import tensorflow as tf

from kpose import config, pipeline, training
from kpose.shards import PreparedData


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--preset", default="compact")
    parser.add_argument("--init", default="none")
    parser.add_argument("--steps", type=int, default=12, help="steps in a turn")
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()

    recipe = config.load(arguments.preset)
    data = PreparedData.open(arguments.data)
    train_ids, val_ids = training.split(data, recipe.training)
    trainer = training.Trainer(
        data, train_ids, val_ids, recipe, arguments.init, tf.distribute.get_strategy()
    )
    images, joints = next(trainer.batches(0, 0))
    trainer.step(images, joints)  # traces

    def alone(turn: int) -> None:
        batches = pipeline.training_batches(
            data,
            train_ids,
            recipe.augmentation,
            size=trainer.size,
            batch=trainer.batch,
            seed=0,
            epoch=turn,
        )
        for _ in batches.take(arguments.steps):
            pass

    def constant(turn: int) -> None:
        for _ in range(arguments.steps):
            trainer.step(images, joints)

    def together(turn: int) -> None:
        for count, batch in enumerate(trainer.batches(turn, 0), start=1):
            trainer.step(*batch)
            if count == arguments.steps:
                break

    rates: dict[str, list[float]] = {"alone": [], "constant": [], "together": []}
    for turn in range(arguments.turns):
        for name, run in (
            ("alone", alone),
            ("constant", constant),
            ("together", together),
        ):
            started = time.perf_counter()
            run(turn)
            seconds = time.perf_counter() - started
            rates[name].append(arguments.steps * trainer.batch / seconds)
    median = {name: statistics.median(values) for name, values in rates.items()}
    for name, rate in median.items():
        print(f"{name}: {rate:.1f} images/s (of {sorted(map(round, rates[name]))})")
    print(f"pipeline / training: {median['alone'] / median['together']:.2f}")
    print(
        f"step with pipeline / constant: {median['constant'] / median['together']:.2f}"
    )


if __name__ == "__main__":
    main()
