"""Detectors of others, on photographs: a wrong decode shows here."""

import os
from pathlib import Path

import numpy as np
import pytest

from kpose import detection, images
from kpose.errors import InputError
from kpose.geometry import Box, person_box
from kpose_datasets import lsp

NAMES = {
    "tflite": "ssd_mobilenet_v1_coco_quant/detect.tflite",
    "rtmdet": "rtmdet_nano/rtmdet-nano.onnx",
    "yolox": "yolox_nano_b/yolox_nano.onnx",
}

MOVENET = "lite-model_movenet_singlepose_lightning_tflite_int8_4.tflite"


@pytest.fixture(scope="module")
def models_folder():
    """The models of others, in ``KPOSE_MODELS`` or ``../shared/models``."""
    root = Path(
        os.environ.get("KPOSE_MODELS", Path(__file__).parents[2] / "shared" / "models")
    )
    missing = [
        name
        for name in (*NAMES.values(), f"movenet_lightning_int8/{MOVENET}")
        if not (root / name).exists()
    ]
    if missing:
        pytest.skip(f"no {missing[0]} in {root} (set KPOSE_MODELS)")
    return root


@pytest.fixture(scope="module")
def people(lsp_folder):
    """The first ten test pictures of LSP, and the box of the labelled person."""
    records = [person for person in lsp.read(lsp_folder) if person.split == "test"][:10]
    return [(images.read(one.image), person_box(one.joints)) for one in records]


def best(found, box):
    """Return score and overlap of the detection that fits ``box`` best."""
    return max(((one.box.iou(box), one.score) for one in found), default=(0, 0))


# Mean overlap and mean score of the best boxes. With red and blue swapped the scores
# are 0.75, 0.67 and 0.75; with x and y swapped the overlaps fall.
@pytest.mark.parametrize(
    ("contract", "overlap", "score"),
    [("tflite", 0.83, 0.78), ("rtmdet", 0.87, 0.74), ("yolox", 0.83, 0.83)],
)
def test_the_labelled_people_are_found(models_folder, people, contract, overlap, score):
    detector = detection.open(f"{contract}:{models_folder / NAMES[contract]}")

    rows = [best(detector.detect(image), box) for image, box in people]

    overlaps, scores = np.transpose(rows)
    assert overlaps.min() > 0.6
    assert overlaps.mean() == pytest.approx(overlap, abs=0.02)
    assert scores.mean() == pytest.approx(score, abs=0.015)


@pytest.mark.parametrize("contract", NAMES)
@pytest.mark.parametrize("size", [(1, 1), (480, 1), (1, 640), (480, 640)])
def test_black_and_tiny_pictures_have_nobody(models_folder, contract, size):
    detector = detection.open(f"{contract}:{models_folder / NAMES[contract]}")

    found = detector.detect(np.zeros((*size, 3), np.uint8))

    assert detection.confident(found, detector.threshold) == []
    assert all(isinstance(one.box, Box) and 0.05 <= one.score <= 1 for one in found)


@pytest.mark.parametrize("contract", NAMES)
def test_a_pose_model_of_others_is_refused(models_folder, contract):
    path = models_folder / "movenet_lightning_int8" / MOVENET

    with pytest.raises(InputError, match=r"^expected .*movenet_singlepose.*"):
        detection.open(f"{contract}:{path}")


@pytest.mark.parametrize(
    ("contract", "other"), [("rtmdet", "yolox"), ("yolox", "rtmdet")]
)
def test_a_detector_of_another_contract_is_refused(models_folder, contract, other):
    with pytest.raises(InputError, match=r"^expected .* output.*, got .*float32 \[1, "):
        detection.open(f"{contract}:{models_folder / NAMES[other]}")
