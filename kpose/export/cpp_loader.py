"""Run a SavedModel in TensorFlow's C++ loader, the one that TensorFlow Serving links.

``tf.saved_model.load`` runs exports that no server can (it rebuilds the Python objects
and forgives variables that the graph cannot find), so it proves nothing. The C++ loader
is in every TensorFlow wheel; here it is called through the C API by ctypes.
"""

import ctypes
import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorflow.core.protobuf import config_pb2, saved_model_pb2

from kpose.errors import InputError, KposeError

# TF_DataType of tensorflow/c/tf_datatype.h; strings have another layout and are absent.
DTYPES = {1: np.float32, 2: np.float64, 3: np.int32, 4: np.uint8, 9: np.int64}
CODES = {np.dtype(dtype): code for code, dtype in DTYPES.items()}


class CppLoaderError(KposeError):
    """The C++ loader refused to load or to run a SavedModel."""


class _Output(ctypes.Structure):
    """``TF_Output``: one output of one operation."""

    _fields_ = (("operation", ctypes.c_void_p), ("index", ctypes.c_int))


class CppSavedModel:
    """A signature of a SavedModel in a C++ session, on the CPU.

    Args:
        path: Folder with ``saved_model.pb``.
        signature: Name of the signature.

    Attributes:
        inputs: Tensor name by input name.
        outputs: Tensor name by output name.

    Raises:
        InputError: If the folder is no SavedModel, or has no such signature.
        CppLoaderError: If the C++ loader refuses it.
    """

    def __init__(self, path: Path, signature: str = "serving_default") -> None:
        """Load the SavedModel into a session."""
        self.path = path
        self.inputs, self.outputs = _signature(path, signature)
        api = _api()
        self._graph, self._status = api.TF_NewGraph(), api.TF_NewStatus()
        options = api.TF_NewSessionOptions()
        # A check must not take the memory of a GPU that a training uses.
        config = config_pb2.ConfigProto(device_count={"GPU": 0}).SerializeToString()
        api.TF_SetConfig(options, config, len(config), self._status)
        tags = (ctypes.c_char_p * 1)(b"serve")
        self._session = api.TF_LoadSessionFromSavedModel(
            options, None, str(path).encode(), tags, 1, self._graph, None, self._status
        )
        api.TF_DeleteSessionOptions(options)
        self._check("load")

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return every output of the signature by name.

        Args:
            inputs: One array per input of the signature, of the dtype it was exported
                with.

        Raises:
            InputError: If the names are not those of the signature.
            CppLoaderError: If the session fails, as it would in a server.
        """
        if set(inputs) != set(self.inputs):
            raise InputError(
                f"{self.path} takes {', '.join(sorted(self.inputs))}. "
                f"Received: {', '.join(sorted(inputs))}"
            )
        api, names = _api(), list(self.outputs)
        feeds = (_Output * len(inputs))(*(self._output(self.inputs[n]) for n in inputs))
        values = (ctypes.c_void_p * len(inputs))(*map(_to_tensor, inputs.values()))
        fetches = (_Output * len(names))(
            *(self._output(self.outputs[n]) for n in names)
        )
        results = (ctypes.c_void_p * len(names))()
        api.TF_SessionRun(
            self._session,
            None,
            feeds,
            values,
            len(inputs),
            fetches,
            results,
            len(names),
            None,
            0,
            None,
            self._status,
        )
        for tensor in values:
            api.TF_DeleteTensor(tensor)
        self._check("run")
        return {
            name: _to_array(tensor) for name, tensor in zip(names, results, strict=True)
        }

    def __del__(self) -> None:
        """Give the session's memory back: the weights of ``linna2016`` are 378 MB."""
        if getattr(self, "_session", None):
            api = _api()
            api.TF_DeleteSession(self._session, self._status)
            api.TF_DeleteGraph(self._graph)
            api.TF_DeleteStatus(self._status)

    def _output(self, tensor: str) -> _Output:
        name, _, index = tensor.partition(":")
        operation = _api().TF_GraphOperationByName(self._graph, name.encode())
        if not operation:
            raise CppLoaderError(f"{self.path} has no operation {name} in its graph")
        return _Output(operation, int(index))

    def _check(self, action: str) -> None:
        api = _api()
        if api.TF_GetCode(self._status):
            message = api.TF_Message(self._status).decode(errors="replace")
            raise CppLoaderError(
                f"TensorFlow's C++ loader cannot {action} {self.path}: "
                f"{message.splitlines()[0]}"
            )


def _signature(path: Path, name: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the tensor names of the inputs and of the outputs, by their own names."""
    proto = saved_model_pb2.SavedModel()
    try:
        proto.ParseFromString((path / "saved_model.pb").read_bytes())
    except Exception as error:  # protobuf's DecodeError has no public name
        raise InputError(
            f"expected a SavedModel in {path}, got {type(error).__name__}: {error}"
        ) from None
    graphs = [
        graph for graph in proto.meta_graphs if "serve" in graph.meta_info_def.tags
    ]
    if not graphs or name not in graphs[0].signature_def:
        known = ", ".join(sorted(graphs[0].signature_def)) if graphs else "no graph"
        raise InputError(
            f"expected the signature {name} of a graph tagged serve in {path}, "
            f"got {known}"
        )
    signature = graphs[0].signature_def[name]
    return (
        {key: info.name for key, info in signature.inputs.items()},
        {key: info.name for key, info in signature.outputs.items()},
    )


def _to_tensor(array: NDArray[Any]) -> int:
    array = np.ascontiguousarray(array)
    if array.dtype not in CODES:
        raise InputError(
            f"an input must be one of {', '.join(str(dtype) for dtype in CODES)}. "
            f"Received: {array.dtype}"
        )
    shape = (ctypes.c_int64 * array.ndim)(*array.shape)
    tensor: int = _api().TF_AllocateTensor(
        CODES[array.dtype], shape, array.ndim, array.nbytes
    )
    ctypes.memmove(_api().TF_TensorData(tensor), array.ctypes.data, array.nbytes)
    return tensor


def _to_array(tensor: int) -> NDArray[Any]:
    """Copy a tensor of the session to numpy and free it."""
    api = _api()
    shape = [api.TF_Dim(tensor, axis) for axis in range(api.TF_NumDims(tensor))]
    data = ctypes.string_at(api.TF_TensorData(tensor), api.TF_TensorByteSize(tensor))
    dtype = DTYPES[api.TF_TensorType(tensor)]
    api.TF_DeleteTensor(tensor)
    return np.frombuffer(data, dtype).reshape(shape)


@cache
def _api() -> Any:
    """Return TensorFlow's C API with the argument types that kpose uses."""
    spec = importlib.util.find_spec("tensorflow")
    folders = (spec.submodule_search_locations if spec else None) or []
    found = [
        file for folder in folders for file in Path(folder).glob("libtensorflow_cc*")
    ]
    if not found:
        raise InputError(
            "checking a SavedModel needs libtensorflow_cc of the TensorFlow wheel "
            f"(Linux and macOS), but {', '.join(folders) or 'this Python'} has none"
        )
    library = ctypes.CDLL(str(found[0]))
    pointer, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    text, long = ctypes.c_char_p, ctypes.c_int64
    for name, result, *arguments in (
        ("TF_NewGraph", pointer),
        ("TF_DeleteGraph", None, pointer),
        ("TF_NewStatus", pointer),
        ("TF_DeleteStatus", None, pointer),
        ("TF_GetCode", number, pointer),
        ("TF_Message", text, pointer),
        ("TF_NewSessionOptions", pointer),
        ("TF_SetConfig", None, pointer, text, size, pointer),
        ("TF_DeleteSessionOptions", None, pointer),
        (
            "TF_LoadSessionFromSavedModel",
            *(pointer, pointer, pointer, text, pointer, number),
            *(pointer, pointer, pointer),
        ),
        ("TF_DeleteSession", None, pointer, pointer),
        ("TF_GraphOperationByName", pointer, pointer, text),
        (
            "TF_SessionRun",
            *(None, pointer, pointer, pointer, pointer, number, pointer, pointer),
            *(number, pointer, number, pointer, pointer),
        ),
        ("TF_AllocateTensor", pointer, number, ctypes.POINTER(long), number, size),
        ("TF_DeleteTensor", None, pointer),
        ("TF_TensorData", pointer, pointer),
        ("TF_TensorByteSize", size, pointer),
        ("TF_TensorType", number, pointer),
        ("TF_NumDims", number, pointer),
        ("TF_Dim", long, pointer, number),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
