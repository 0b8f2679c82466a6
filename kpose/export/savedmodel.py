"""Export to a SavedModel that a model server can run."""

import json
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from kpose.artefacts import CARD

SAVE_FUNCTION = "__inference__traced_save"
"""Start of the name that TensorFlow gives the function that saves the variables."""


def write(network: keras.Model, card: dict[str, Any], folder: Path) -> None:
    """Write the SavedModel with its card in ``assets``.

    The signature ``serving_default`` takes ``image`` uint8 ``(N, size, size, 3)`` RGB
    crops and gives ``keypoints`` float32 ``(N, joints, 2)``, x and y in crop units,
    and, where the head has one, ``confidence`` float32 ``(N, joints)``. It does not
    mirror: flip averaging is the caller's.

    Args:
        network: The trained network.
        card: What the SavedModel says about itself.
        folder: New or empty; inside ``files.atomic_folder`` where it is published.
    """
    save_module(module(network, tf.uint8), folder)
    _slim(folder)
    text = json.dumps(card, indent=1, ensure_ascii=False)
    (folder / "assets").mkdir(exist_ok=True)
    (folder / "assets" / CARD).write_text(text, encoding="utf-8")


def module(
    network: keras.Model, dtype: tf.DType, batch: int | None = None
) -> tf.Module:
    """Return the network as a module whose ``serve`` is the exported function.

    Args:
        network: The trained network.
        dtype: Of the pixels, 0..255.
        batch: Fixed number of crops, None for any.
    """
    size = network.input_shape[1]
    served = tf.Module()
    # The raw variables, and only they, belong to the module. With the Keras network as
    # an attribute TensorFlow saves each weight under a second name that the graph's
    # restore does not fill: Python runs that file, a server cannot
    # (tensorflow/tensorflow#72963).
    served.weights = [variable.value for variable in network.variables]

    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        answer = network(tf.cast(image, tf.float32), training=False)
        return {
            name: tf.identity(answer[name], name=name)
            for name in ("keypoints", "confidence")
            if name in answer
        }

    served.serve = tf.function(
        serve,
        input_signature=[tf.TensorSpec([batch, size, size, 3], dtype, name="image")],
    )
    return served


def save_module(served: tf.Module, folder: Path) -> None:
    """Save the module's ``serve`` as the signature ``serving_default``."""
    tf.saved_model.save(
        served,
        str(folder),
        signatures={"serving_default": served.serve},
        options=tf.saved_model.SaveOptions(save_debug_info=False),
    )


def _slim(folder: Path) -> None:
    """Remove what a server never uses: 350 KB of ``compact``'s 940 KB of graph.

    That is the function that would save a checkpoint, and the shapes noted at every
    node, which the loader derives again.
    """
    file = folder / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for graph in (meta.graph_def for meta in saved.meta_graphs):
        functions = graph.library.function
        unused = [f for f in functions if f.signature.name.startswith(SAVE_FUNCTION)]
        names = {function.signature.name for function in unused}
        callers = [
            n for n in graph.node if "f" in n.attr and n.attr["f"].func.name in names
        ]
        for node in callers:
            graph.node.remove(node)
        for function in unused:
            functions.remove(function)
        for nodes in (graph.node, *(function.node_def for function in functions)):
            for node in nodes:
                node.attr.pop("_output_shapes", None)
    file.write_bytes(saved.SerializeToString(deterministic=True))
    # A checksum of the file as it was.
    (folder / "fingerprint.pb").unlink(missing_ok=True)
