"""Export a network in several formats, check each one, publish all or nothing."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kpose import pipeline, runtime
from kpose.confidence import MEANING, is_calibrated
from kpose.errors import GateError, InputError, KposeError
from kpose.export import parity, savedmodel, tflite
from kpose.files import atomic_folder, write_json
from kpose.images import Image
from kpose.models import store
from kpose.shards import PreparedData

FILES = {"saved_model": "saved_model", "tflite": "model.tflite"}
"""Name of each format's artefact in the folder of an export."""

CROPS = 200
"""Most crops of a data set that are compared on."""

MADE_CROPS = 16
"""Crops that are compared on where there is no data."""


def publish(
    model: str | Path, out: Path, formats: Sequence[str], data: Path | None = None
) -> dict[str, Any]:
    """Write ``model`` to the folder ``out`` in each of ``formats``.

    The folder gets ``saved_model/``, ``model.tflite``, ``card.json`` and
    ``parity.json``. It appears whole, after every artefact has run in its own runtime
    (the SavedModel in TensorFlow's C++ loader) and agreed with the network.

    Args:
        model: A run folder, a ``.keras`` file or the name of a packaged model.
        out: New or empty.
        formats: Keys of ``FILES``.
        data: A folder of ``kpose prepare`` whose crops are compared on; None compares
            on pictures that kpose makes.

    Returns:
        What ``parity.json`` holds, and ``out``.

    Raises:
        InputError: If the model cannot be loaded, the data are of other joints, or
            ``out`` has content.
        GateError: If an artefact does not run or answers differently.
    """
    unknown = [name for name in formats if name not in FILES]
    if unknown or not formats:
        raise InputError(
            f"formats must be some of {', '.join(FILES)}. Received: {list(formats)}"
        )
    out = out.resolve()
    with atomic_folder(out) as folder, _exact_floats():
        network, card = store.load(model)
        reference = runtime.from_keras(network, card)
        crops, origin = (
            _data_crops(data, reference)
            if data is not None
            else (
                parity.made_crops(reference.size, MADE_CROPS),
                "smooth random pictures (real ones: --data)",
            )
        )
        report: dict[str, Any] = {
            "reference": "keras",
            "sha256": card["sha256"],
            "crops": len(crops),
            "crops_from": origin,
            "limit_px": parity.LIMIT,
            "formats": {},
        }
        for name in formats:
            target = folder / FILES[name]
            own_card = card | {"artefact": _describe(name, network, reference)}
            if name == "saved_model":
                savedmodel.write(network, own_card, target)
            else:
                data_bytes = tflite.convert(network, own_card)
                target.write_bytes(data_bytes)
                del data_bytes  # 396 MB of linna2016
            row: dict[str, Any] = check(reference, target, crops)
            row["bytes"] = _size(target)
            if name == "tflite":
                row["operations"] = tflite.operations(target.read_bytes())
            report["formats"][name] = row
        write_json(folder / "card.json", card)
        write_json(folder / "parity.json", report)
    return report | {"out": str(out)}


def check(reference: runtime.Network, artefact: Path, crops: Image) -> dict[str, float]:
    """Run an artefact in its own runtime and compare it with the network.

    Args:
        reference: The Keras network.
        artefact: A SavedModel folder or a TFLite file.
        crops: ``(N, size, size, 3)`` RGB uint8.

    Returns:
        The differences, see ``parity.compare``.

    Raises:
        GateError: If it does not run, or a joint lies too far away.
    """
    name = artefact.name
    try:
        answers = runtime.open(artefact)
        differences = parity.compare(reference, {name: answers}, crops)
    except GateError:
        raise
    except KposeError as error:
        raise GateError(f"the export does not run: {error}") from None
    parity.require(differences)
    return differences[name]


def _describe(
    name: str, network: Any, reference: runtime.Runtime
) -> dict[str, dict[str, str] | str]:
    """Return what the artefact's card says about its inputs and outputs."""
    size, joints = reference.size, len(reference.skeleton)
    dtype, rows = ("uint8", "N") if name == "saved_model" else ("float32", "1")
    confidence = f"float32 [{rows}, {joints}], 0..1: " + (
        MEANING if is_calibrated(reference.card) else "not calibrated"
    )
    return {
        "format": name,
        "inputs": {"image": f"{dtype} [{rows}, {size}, {size}, 3], RGB 0..255"},
        "outputs": {
            "keypoints": f"float32 [{rows}, {joints}, 2], x and y in 0..1 of the crop",
            "confidence": confidence
            if "confidence" in network.output
            else "none: one pass of this head gives no confidence",
        },
    }


def _data_crops(folder: Path, reference: runtime.Runtime) -> tuple[Image, str]:
    """Return up to ``CROPS`` crops of prepared data, and where they come from.

    One of each person, so that the report may say persons.
    """
    data = PreparedData.open(folder)
    if data.skeleton.names != reference.skeleton.names:
        raise InputError(
            f"expected the joints {', '.join(reference.skeleton.names)} in {folder}, "
            f"got {', '.join(data.skeleton.names)}"
        )
    chosen = np.flatnonzero((data.split == "val") & data.first)
    kind = "validation persons"
    if not len(chosen):
        chosen, kind = np.flatnonzero(data.first), "persons"
    if len(chosen) > CROPS:
        chosen = chosen[np.linspace(0, len(chosen) - 1, CROPS).astype(int)]
    batches = [images for images, _ in pipeline.samples(data, chosen, reference.size)]
    return np.concatenate(batches), f"{len(chosen)} {kind} of {folder}"


def _size(artefact: Path) -> int:
    files = artefact.rglob("*") if artefact.is_dir() else [artefact]
    return sum(file.stat().st_size for file in files if file.is_file())


@contextlib.contextmanager
def _exact_floats() -> Iterator[None]:
    """Keep a GPU from rounding the reference to TensorFloat-32's 10 bits."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)
