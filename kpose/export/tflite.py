"""Export to a TFLite file that the default interpreter of a phone runs."""

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import flatbuffers  # type: ignore[import-untyped]
import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from tensorflow.lite.python.convert import ConverterError

from kpose.artefacts import CARD
from kpose.errors import GateError
from kpose.export import savedmodel

ALIGNMENT = 16
"""Bytes: the schema's ``force_align`` of buffers, which its Python writer ignores."""

REFUSED = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CUSTOM")
"""Builtin operations that a good export never has: variables mean that the weights are
not in the file, ``CUSTOM`` (Flex among them) that an app needs another library."""


def convert(network: keras.Model, card: dict[str, Any]) -> bytes:
    """Return the network as a float32 TFLite file with its card in the metadata.

    The file takes ``image`` float32 ``(1, size, size, 3)`` RGB 0..255, since a cast
    from uint8 is not delegated, and gives ``keypoints`` ``(1, joints, 2)``, x and y in
    crop units, and, where the head has one, ``confidence`` ``(1, joints)``.

    Args:
        network: The trained network.
        card: What the file says about itself.

    Raises:
        GateError: If the file needs more than the builtin operations.
    """
    with tempfile.TemporaryDirectory() as folder:
        served = savedmodel.module(network, tf.float32, batch=1)
        savedmodel.save_module(served, Path(folder))
        converter = tf.lite.TFLiteConverter.from_saved_model(
            folder, signature_keys=["serving_default"]
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        try:
            data = bytes(converter.convert())
        except ConverterError as error:
            lines = str(error).strip().splitlines()
            said = [line for line in lines if line.startswith(("Custom", "Flex"))]
            raise GateError(
                "the network cannot become a TFLite file of builtin operations: "
                f"{'; '.join(said or lines[:1])}"
            ) from None
    check_operations(data)
    return with_card(data, card)


def operations(data: bytes) -> dict[str, int]:
    """Return how often each operation occurs in a TFLite file, by builtin name."""
    names = {
        code: name
        for name, code in vars(schema.BuiltinOperator).items()
        if not name.startswith("_")
    }
    model = schema.Model.GetRootAs(data)
    count: Counter[str] = Counter()
    for index in range(model.SubgraphsLength()):
        graph = model.Subgraphs(index)
        for position in range(graph.OperatorsLength()):
            code = model.OperatorCodes(graph.Operators(position).OpcodeIndex())
            # Codes above 127 are only in the newer field.
            builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            count[names[builtin]] += 1
    return dict(count.most_common())


def check_operations(data: bytes) -> None:
    """Refuse a file whose weights are elsewhere or that needs other libraries.

    Raises:
        GateError: If it has one of ``REFUSED``.
    """
    found = operations(data)
    bad = [f"{found[name]} x {name}" for name in REFUSED if name in found]
    if bad:
        raise GateError(
            "a TFLite file must hold its weights and need builtin operations only, "
            f"but this one has {', '.join(bad)}"
        )


class _AlignedBuffer(schema.BufferT):
    """A buffer that is written as the schema asks: mapped weights need no copy."""

    def Pack(self, builder: Any) -> Any:
        """Write the data so that it starts at a multiple of ``ALIGNMENT``."""
        if self.data is not None:
            builder.Prep(ALIGNMENT, len(self.data))
        return super().Pack(builder)


def with_card(data: bytes, card: dict[str, Any]) -> bytes:
    """Return the TFLite file with the card as its metadata buffer ``kpose.json``."""
    model = schema.ModelT.InitFromPackedBuf(data)
    text = json.dumps(card, ensure_ascii=False).encode()
    buffers = [*model.buffers, schema.BufferT(np.frombuffer(text, np.uint8))]
    model.buffers = [_AlignedBuffer(b.data, b.offset, b.size) for b in buffers]
    model.metadata = [
        *(entry for entry in model.metadata or [] if entry.name != CARD.encode()),
        schema.MetadataT(CARD, len(buffers) - 1),
    ]
    builder = flatbuffers.Builder(len(data) + len(text) + 1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
