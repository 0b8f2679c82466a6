"""An ONNX network with one picture as input, in onnxruntime on the CPU."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpose.errors import InputError


class OnnxNetwork:
    """A network ``[1, 3, H, W]`` float32 -> outputs.

    Args:
        path: The ``.onnx`` file.
        threads: The most threads, None for all cores.
        usual: Height and width where the file takes any.

    Attributes:
        path: The file.
        height: Of the input, pixels.
        width: Of the input, pixels.

    Raises:
        InputError: If the file is no ONNX file, or has other inputs.
    """

    def __init__(self, path: Path, threads: int | None, usual: int) -> None:
        """Load the file."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        # Waiting threads sleep: spinning doubles the CPU time of a small network.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # warnings about foreign files help nobody
        self.path = path
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors have no common base
            raise InputError(
                f"expected an ONNX file that onnxruntime loads, got {path}: "
                f"{str(error).strip().splitlines()[0]}"
            ) from None
        inputs = self._session.get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        image = len(shape) == 4 and shape[1] == 3 and inputs[0].type == "tensor(float)"
        if not image:
            raise InputError(
                f"expected a detector with one input [1, 3, H, W] of float, got {path} "
                f"with {_listing(inputs)}"
            )
        # Free dimensions are names or None.
        self.height, self.width = (
            size if isinstance(size, int) and size > 0 else usual for size in shape[2:]
        )

    def run(self, pixels: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """Return the outputs by name, in the order of the file.

        Args:
            pixels: ``(height, width, 3)``, as the network wants them.
        """
        name = self._session.get_inputs()[0].name
        batch = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])
        names = [output.name for output in self._session.get_outputs()]
        return dict(zip(names, self._session.run(None, {name: batch}), strict=True))

    def probe(self) -> dict[str, NDArray[Any]]:
        """Return the outputs for noise: their shapes, without free dimensions.

        Raises:
            InputError: If the network does not run.
        """
        shape = (self.height, self.width, 3)
        noise = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
        try:
            return self.run(noise)
        except Exception as error:  # as above
            raise InputError(
                f"expected a detector for pictures of {self.width} x {self.height} in "
                f"{self.path}, got: {str(error).strip().splitlines()[0]}"
            ) from None


def _listing(nodes: list[Any]) -> str:
    return ", ".join(f"{one.name} {one.type} {one.shape}" for one in nodes)


def listing(outputs: dict[str, NDArray[Any]]) -> str:
    """Return names, types and shapes of the outputs, for messages."""
    return ", ".join(
        f"{name} {value.dtype} {list(value.shape)}" for name, value in outputs.items()
    )
