"""One way to ask a model for joints, whatever it is stored as."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from kpose.artefacts import Kind, kind_of, read_card, resolve
from kpose.confidence import Curve, flip_curve, flip_raw
from kpose.errors import InputError
from kpose.images import Image
from kpose.joints import Skeleton

BATCH = 32
"""Most crops in one call of a network, so that memory has a bound."""

Outputs = dict[str, NDArray[np.float32]]


class Prediction(NamedTuple):
    """What a network says about N crops.

    ``keypoints`` is ``(N, joints, 2)`` float32: x and y in crop units, which may leave
    0..1. ``confidence`` is ``(N, joints)`` float32, 0 to 1: the probability of
    ``kpose.confidence`` where the network is calibrated. None where there is none: from
    one pass of a regression head.
    """

    keypoints: NDArray[np.float32]
    confidence: NDArray[np.float32] | None


def join(predictions: Sequence[Prediction]) -> Prediction:
    """Return at least one prediction of one network as one."""
    confidences = [p.confidence for p in predictions if p.confidence is not None]
    return Prediction(
        np.concatenate([p.keypoints for p in predictions]),
        np.concatenate(confidences) if confidences else None,
    )


class Network(Protocol):
    """What can be asked: a ``Runtime`` and anything like it."""

    skeleton: Skeleton
    flip_curve: Curve | None
    """From the raw number of the flip test to the probability that a joint is right."""

    def predict(self, crops: Image) -> Prediction:
        """Return the joints in each crop, ``(N, size, size, 3)`` RGB uint8."""


class Runtime:
    """A trained model, ready to predict; ``open`` makes it.

    Args:
        run: From pixels ``(N, size, size, 3)`` uint8 to the outputs by name.
        card: What the model says about itself.
        kind: What it is stored as.

    Attributes:
        skeleton: Names, sides and limbs of the joints.
        size: Side of the crops in pixels.
        flip_curve: Calibration of the flip test, None where the model has none.
    """

    def __init__(
        self, run: Callable[[Image], Outputs], card: dict[str, Any], kind: Kind
    ) -> None:
        """Take what ``open`` loaded."""
        self._run = run
        self.card = card
        self.kind = kind
        self.skeleton = Skeleton.from_json(card["skeleton"])
        self.size = int(card["size"])
        self.flip_curve = flip_curve(card)

    def predict(self, crops: Image) -> Prediction:
        """Return the joints in each crop.

        Args:
            crops: ``(N, size, size, 3)`` RGB uint8; N may be 0.

        Raises:
            InputError: If the shape or the dtype is another.
        """
        expected = (self.size, self.size, 3)
        if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1:] != expected:
            raise InputError(
                f"crops must be uint8 of shape (N, {self.size}, {self.size}, 3). "
                f"Received: {crops.dtype} of shape {crops.shape}"
            )
        answers = [
            self._run(crops[start : start + BATCH])
            for start in range(0, len(crops), BATCH)
        ]
        if not answers:
            empty = np.zeros((0, len(self.skeleton), 2), np.float32)
            return Prediction(empty, None)
        return join([Prediction(a["keypoints"], a.get("confidence")) for a in answers])


def open(model: str | Path) -> Runtime:
    """Load a trained model.

    Args:
        model: The name of a packaged model, a run folder, a ``.keras`` file, a
            SavedModel folder or a TFLite file.

    Raises:
        InputError: If it is none of these, it is damaged, or another tool made it.
    """
    path = resolve(model)
    kind, card = kind_of(path), read_card(path)
    load = {"keras": _keras, "saved_model": _saved_model, "tflite": _tflite}[kind]
    return Runtime(load(path, card), card, kind)


def predict_flip(network: Network, crops: Image) -> Prediction:
    """Average the answers for each crop and for its mirror image (paper section 3.7).

    The mirrored answer is brought back first: x' = 1 - x in crop units, and right and
    left change places.

    The confidence goes through the network's ``flip_curve``. Without one it is the mean
    of both, and None where the head gives none.

    Args:
        network: The model.
        crops: ``(N, size, size, 3)`` RGB uint8.
    """
    return average(network, *predict_both(network, crops))


def average(network: Network, plain: Prediction, mirrored: Prediction) -> Prediction:
    """Return the flip test's answer from what ``predict_both`` returned.

    Args:
        network: The model that was asked.
        plain: Its answers for N crops.
        mirrored: Those for their mirror images, brought back.
    """
    keypoints = ((plain.keypoints + mirrored.keypoints) / 2).astype(np.float32)
    if network.flip_curve is not None:
        raw = flip_raw(plain, mirrored)
        return Prediction(keypoints, network.flip_curve(raw))
    if plain.confidence is None or mirrored.confidence is None:
        return Prediction(keypoints, None)
    confidence = (plain.confidence + mirrored.confidence) / 2
    return Prediction(keypoints, confidence.astype(np.float32))


def predict_both(network: Network, crops: Image) -> tuple[Prediction, Prediction]:
    """Return the answers for each crop and, brought back, those for its mirror image.

    Args:
        network: The model.
        crops: ``(N, size, size, 3)`` RGB uint8.
    """
    count, swap = len(crops), list(network.skeleton.swap)
    keypoints, confidence = network.predict(np.concatenate([crops, crops[:, :, ::-1]]))
    mirrored = keypoints[count:][:, swap].copy()
    mirrored[..., 0] = 1 - mirrored[..., 0]
    if confidence is None:
        return Prediction(keypoints[:count], None), Prediction(mirrored, None)
    return (
        Prediction(keypoints[:count], confidence[:count]),
        Prediction(mirrored, confidence[count:][:, swap]),
    )


def from_keras(network: Any, card: dict[str, Any]) -> Runtime:
    """Return the runtime of a Keras network that is in memory already.

    Args:
        network: A functional network of ``kpose.models``.
        card: Its card.
    """
    import tensorflow as tf

    size = int(card["size"])

    def answer(images: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = network(tf.cast(images, tf.float32), training=False)
        return {
            name: outputs[name]
            for name in ("keypoints", "confidence")
            if name in outputs
        }

    traced = tf.function(
        answer, input_signature=[tf.TensorSpec([None, size, size, 3], tf.uint8)]
    )

    def run(crops: Image) -> Outputs:
        return {name: value.numpy() for name, value in traced(crops).items()}

    return Runtime(run, card, "keras")


def _keras(path: Path, card: dict[str, Any]) -> Callable[[Image], Outputs]:
    from kpose.models import store

    network, _ = store.load(path)
    return from_keras(network, card)._run


def _saved_model(path: Path, card: dict[str, Any]) -> Callable[[Image], Outputs]:
    # The loader of the servers, not tf.saved_model.load (kpose.export.cpp_loader).
    from kpose.export.cpp_loader import CppSavedModel

    model = CppSavedModel(path)
    # Missing variables show only when the session runs.
    size = int(card["size"])
    model.run({"image": np.zeros((1, size, size, 3), np.uint8)})
    return lambda crops: model.run({"image": crops})


def _tflite(path: Path, card: dict[str, Any]) -> Callable[[Image], Outputs]:
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(str(path), num_threads=os.cpu_count())
        interpreter.allocate_tensors()
        signature = interpreter.get_signature_runner("serving_default")
        dtype = signature.get_input_details()["image"]["dtype"]
    except (ValueError, RuntimeError, KeyError) as error:
        raise InputError(
            f"expected a TFLite file that the default interpreter loads, got {path}: "
            f"{str(error).strip().splitlines()[0]}"
        ) from None

    def run(crops: Image) -> Outputs:
        # Files have a fixed batch of 1, which every phone delegate takes.
        rows = [signature(image=crop[None].astype(dtype)) for crop in crops]
        return {
            name: np.concatenate([np.asarray(row[name], np.float32) for row in rows])
            for name in rows[0]
        }

    return run
