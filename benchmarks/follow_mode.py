"""What follow mode costs and loses on a labelled video of one person.

    python benchmarks/follow_mode.py VIDEO JSON_FOLDER --detector tflite:detect.tflite

VIDEO is one of ``pose2sim_balancing``'s and JSON_FOLDER its ``pose-associated`` labels
(OpenPose JSON, BODY_25B). Prints three things:

- CPU time per frame of ``kpose predict --follow K``, without writing files, over that
  of decode, crop and network alone (at most 1.15 wanted), in turns in one process;
- PCK@0.2 of following and of detecting in every frame, of the person nearest to the
  label, without smoothing (within 1 point wanted);
- after how many frames a person who left and came back elsewhere is found again (at
  most K wanted), in a clip spliced of the video's frames, black ones, and frames moved
  by a quarter of their width.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kpose import detection, runtime, sources
from kpose.detection import Detection
from kpose.evaluation import score
from kpose.geometry import Box, person_box
from kpose.predictor import OK, Person, Predictor
from kpose.sources import Picture
from kpose_datasets import openpose_json

AWAY = range(40, 70)
"""Frames of the spliced clip in which nobody is there."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("video", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--detector", required=True)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--follow", type=int, default=30)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--flip-test", action="store_true")
    arguments = parser.parse_args()

    model = runtime.open(arguments.model)
    # One thread each, so that CPU time counts work and not threads that wait.
    detector = detection.open(arguments.detector, threads=1)
    labels = {
        record.image.frame: record.joints
        for record in openpose_json.read(arguments.labels, arguments.video)
        if record.joints.any()
    }

    def predictor(follow: int, smooth: bool) -> Predictor:
        return Predictor(
            model,
            detector,
            flip_test=arguments.flip_test,
            follow=follow,
            smooth=smooth,
        )

    follow, every = predictor(arguments.follow, False), predictor(1, False)
    smooth = predictor(arguments.follow, True)
    boxes = {frame: person_box(joints) for frame, joints in labels.items()}

    def alone() -> None:
        for picture in sources.pictures(arguments.video):
            box = boxes.get(picture.frame)
            if picture.image is not None and box is not None:
                follow.ask(picture.image, [Detection(box, None)])

    def following() -> None:
        for _ in watch(smooth, arguments.video):
            pass

    alone(), following()  # traces
    base, whole = [], []
    for _ in range(arguments.turns):
        base.append(cpu_ms(alone) / len(labels))
        whole.append(cpu_ms(following) / len(labels))
    ratio = statistics.median(whole) / statistics.median(base)
    print(
        f"CPU ms per frame: {statistics.median(whole):.1f} following, "
        f"{statistics.median(base):.1f} decode + crop + network: {ratio:.2f} x"
    )
    for name, one in (("every frame", every), ("following", follow)):
        print(f"PCK@0.2, detector in {name}: {pck(one, arguments.video, labels):.1f}")
    print(
        f"PCK@0.2, following and smoothed: {pck(smooth, arguments.video, labels):.1f}"
    )
    print(f"found again after {recovery(follow, arguments.video)} frames")


def watch(predictor: Predictor, video: Path) -> Iterator[tuple[Picture, list[Person]]]:
    """Yield the frames with their people."""
    return predictor.predict_pictures(sources.pictures(video), stream=True)


def cpu_ms(work: Callable[[], None]) -> float:
    """Return the CPU time of all threads, milliseconds."""
    start = time.process_time()
    work()
    return 1000 * (time.process_time() - start)


def pck(
    predictor: Predictor, video: Path, labels: dict[int | None, NDArray[np.float32]]
) -> float:
    """Return PCK@0.2 over the labelled frames; nobody there is all wrong."""
    truth, found = [], []
    for picture, people in watch(predictor, video):
        if picture.frame not in labels:
            continue
        joints = labels[picture.frame]
        box = person_box(joints)
        assert box is not None
        there = [person for person in people if person.status == OK]
        nearest = max(there, key=lambda p: overlap(p, box), default=None)
        truth.append(joints)
        found.append(
            np.full((len(joints), 2), np.inf)
            if nearest is None
            else nearest.keypoints[:, :2]
        )
    return score(np.array(truth), np.array(found), openpose_json.SKELETON).pck["all"]


def overlap(person: Person, box: Box) -> float:
    """Return the intersection over union of a person's box and ``box``."""
    return 0.0 if person.box is None else person.box.iou(box)


def recovery(predictor: Predictor, video: Path) -> int | None:
    """Return how many frames after coming back a person is seen, None for never."""

    def spliced() -> Iterator[Picture]:
        for picture in sources.pictures(video):
            image = picture.image
            assert image is not None
            if picture.frame in AWAY:
                image = np.zeros_like(image)
            elif picture.frame >= AWAY.stop:
                image = np.roll(image, image.shape[1] // 4, axis=1)
            yield picture._replace(image=image)

    for picture, people in predictor.predict_pictures(spliced(), stream=True):
        seen = any(person.status == OK for person in people)
        if picture.frame == AWAY.stop - 1 and seen:
            print("somebody is seen in a black frame")
        if picture.frame >= AWAY.stop and seen:
            return picture.frame - AWAY.stop
    return None


if __name__ == "__main__":
    main()
