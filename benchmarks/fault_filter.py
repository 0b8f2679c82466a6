"""How well the fault filter finds injected tracker faults, and what it masks besides.

    python benchmarks/fault_filter.py [--takes 12] [--seconds 30] [--first-seed 100]

Takes of the studio (one person each, gestures of the use case, joints only, nothing is
rendered), with ``studio.faults.inject``: 5 % of all joints wrong, a third each by
exchange of left and right, by a jump of 0.3 to 1.0 torso, by a place that stays behind
or drifts onto the trunk; in runs of 1 to 8 frames; one half marked as tracked, one half
as inferred. Gaussian jitter is added to every coordinate.

- Precision: of the joints that are masked, the share that is wrong (at least 0.1 torso
  from the truth before jitter). Joints of a fault too small to see count neither way.
- Recall: of the wrong joints, the share that is masked.
- "tracked" leaves out what is marked as inferred, which is masked for its mark. The
  recalls by kind are of wrong joints marked as tracked.
- The last rows have no faults: every masked joint is a false alarm.
"""

import argparse
import time
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from kpose import faults
from kpose.joints import BODY_13
from kpose_datasets.studio import faults as injected
from kpose_datasets.studio.scenes import UseCase
from kpose_datasets.studio.stage import Stage

SIZE = (640, 360)
FPS = 30

Floats = NDArray[np.float64]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--takes", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=30)
    # The filter's constants were chosen on the seeds 0 to 11.
    parser.add_argument("--first-seed", type=int, default=100)
    arguments = parser.parse_args()
    frames = round(arguments.seconds * FPS)
    kinds = injected.KINDS[1:]
    print("takes    fps  jitter | all faults  | tracked     | recall, tracked      |")
    print("                torso | prec. rec.  | prec. rec.  | " + "  ".join(kinds))
    for name, make in (("stage", stage_take), ("script", script_take)):
        seeds = range(arguments.first_seed, arguments.first_seed + arguments.takes)
        takes = [make(seed, frames) for seed in seeds]
        for jitter in (0.0, 0.01, 0.02):
            print(row(name, takes, 1, jitter, 0.05))
        for every in (2, 6):
            print(row(name, takes, every, 0.01, 0.05))
        for every in (1, 2, 6, 12):
            print(row(name, takes, every, 0.01, 0.0))
    one = np.concatenate(takes)
    start = time.perf_counter()
    faults.find(
        one, np.full(one.shape[:2], 2, np.int8), np.arange(len(one)) / FPS, SIZE
    )
    print(f"{len(one)} frames in {time.perf_counter() - start:.1f} s")


def stage_take(seed: int, frames: int) -> Floats:
    """Return the ``(frames, 13, 2)`` joints of a person in the studio's recordings."""
    stage = Stage(seed, SIZE)
    (actor,) = stage.actors([seed], 1, 0, frames / FPS)
    return np.stack(
        [stage.camera.project(actor.figure(i / FPS).joints()) for i in range(frames)]
    )


def script_take(seed: int, frames: int) -> Floats:
    """Return those of the other use case, whose elbows turn over at times."""
    room = UseCase(seed, SIZE)
    script = room.script(0, frames / FPS)
    scenes = (room.scene(script, 0, i / FPS) for i in range(frames))
    return np.stack([scene.camera.project(scene.figure.joints()) for scene in scenes])


def row(name: str, takes: list[Floats], every: int, jitter: float, share: float) -> str:
    """Return a line of the table."""
    total: Counter[str] = Counter()
    for seed, take in enumerate(takes):
        total += count(take[::every], seed, FPS / every, jitter, share)
    head = f"{name:7} {FPS / every:4.1f}  {jitter:5.2f}  |"
    if not share:
        alarms = 100 * total["masked good"] / total["good"]
        return f"{head} false alarms without faults: {alarms:.3f} %"

    def part(top: str, *bottom: str) -> str:
        return f"{100 * total[top] / max(sum(total[b] for b in bottom), 1):5.1f}"

    cells = [
        part("found", "found", "masked good") + " " + part("found", "wrong"),
        part("found tracked", "found tracked", "masked good")
        + " "
        + part("found tracked", "wrong tracked"),
        " ".join(part(f"found {k}", f"wrong {k}") for k in injected.KINDS[1:]),
    ]
    return f"{head} " + " | ".join(cells)


def count(
    take: Floats, seed: int, fps: float, jitter: float, share: float
) -> Counter[str]:
    """Inject, filter and count one take.

    ``masked good`` are false alarms; ``found`` and ``wrong`` also by mark and kind.
    """
    tracked = np.full(take.shape[:2], 2, np.int8)
    faulty = injected.inject(take, tracked, seed, share)
    torso = np.hypot(*(take[:, BODY_13.torso[0]] - take[:, BODY_13.torso[1]]).T)
    noise = np.random.default_rng([seed, 7]).normal(0, jitter, take.shape)
    seen = faulty.points + noise * np.median(torso)
    masked = faults.find(seen, faulty.states, np.arange(len(take)) / fps, SIZE) > 0
    good = faulty.kind == injected.NONE
    marked = faulty.states == injected.TRACKED
    cells = {
        "good": good,
        "masked good": masked & good,
        "wrong": faulty.wrong,
        "found": masked & faulty.wrong,
        "wrong tracked": faulty.wrong & marked,
        "found tracked": masked & faulty.wrong & marked,
    }
    for number, kind in enumerate(injected.KINDS[1:], start=1):
        own = (faulty.kind == number) & faulty.wrong & marked
        cells[f"wrong {kind}"], cells[f"found {kind}"] = own, masked & own
    return Counter({name: int(cell.sum()) for name, cell in cells.items()})


if __name__ == "__main__":
    main()
