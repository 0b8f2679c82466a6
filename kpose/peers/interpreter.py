"""The interpreter of a peer's TFLite file."""

from pathlib import Path
from typing import Any

from kpose.errors import InputError


def load(path: Path, network: str) -> Any:
    """Return the interpreter of a TFLite file, its tensors allocated.

    Args:
        path: The file.
        network: What it should hold, for the message.

    Raises:
        InputError: If there is no file, or it is not one that the interpreter loads.
    """
    if not path.is_file():
        raise InputError(
            f"expected {network}'s TFLite file at {path}, but there is none"
        )
    from ai_edge_litert.interpreter import Interpreter

    try:
        # A second thread gains little on so small a network, and much is lost where
        # other work needs the core.
        interpreter = Interpreter(str(path), num_threads=1)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"expected a TFLite file that the default interpreter loads, got {path}: "
            f"{str(error).strip().splitlines()[0]}"
        ) from None
    return interpreter


def tensors(details: list[dict[str, Any]]) -> str:
    """Return inputs or outputs in words, for messages: name, type and shape of each."""
    return ", ".join(
        f"{one['name']} {one['dtype'].__name__} {[int(side) for side in one['shape']]}"
        for one in details
    )
