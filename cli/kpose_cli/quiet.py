"""Keeps the chatter of TensorFlow, LiteRT and OpenCV off a command's stderr.

A command's stderr is for its own messages: an error is one line there. TensorFlow 2.21
writes six lines while it is imported (oneDNN, missing CUDA drivers), from C++ code that
does not read ``TF_CPP_MIN_LOG_LEVEL`` yet; OpenCV and FFmpeg write several about each
damaged file, which kpose reports itself.
"""

import contextlib
import functools
import importlib.util
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


def silence_libraries() -> None:
    """Make this process and its children import TensorFlow and OpenCV quietly.

    Each of the environment variables, where the user set it, stays as it is.
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # OpenCV's own AVI reader, the last that is asked, writes a line for a cut file.
    os.environ.setdefault("OPENCV_VIDEOIO_PRIORITY_CV_MJPEG", "0")
    # Pillow warns of headers that kpose refuses, or that OpenCV reads all the same, and
    # logs some; what nobody handles, Python prints.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    if "TF_CPP_MIN_LOG_LEVEL" not in os.environ and "tensorflow" not in sys.modules:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        sys.meta_path.insert(0, _Finder("tensorflow", _import_quietly))
    if "ai_edge_litert.interpreter" not in sys.modules:
        sys.meta_path.insert(0, _Finder("ai_edge_litert.interpreter", _load_quietly))


Load = Callable[[ModuleType], None]


class _Finder:
    """Finds one module once, with a loader of our own around its loader.

    Args:
        name: Of the module.
        around: Called with the module's loader and the module.
    """

    def __init__(self, name: str, around: Callable[[Load, ModuleType], None]) -> None:
        self._name = name
        self._around = around

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            run = functools.partial(self._around, spec.loader.exec_module)
            # An instance attribute, so that only this one import is changed.
            spec.loader.exec_module = run  # type: ignore[method-assign]
        return spec


def _import_quietly(load: Load, module: ModuleType) -> None:
    with _stderr_held():
        load(module)


def _load_quietly(load: Load, module: ModuleType) -> None:
    """Import LiteRT; its interpreters do not say which delegate they made."""
    load(module)
    allocate = module.Interpreter.allocate_tensors

    def allocate_quietly(interpreter: object) -> None:
        with _stderr_held(show=False):  # an error has it all in its message
            allocate(interpreter)

    module.Interpreter.allocate_tensors = allocate_quietly


@contextlib.contextmanager
def _stderr_held(show: bool = True) -> Iterator[None]:
    """Keep what C++ code writes to stderr.

    Args:
        show: Whether to show it if the block fails.
    """
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:  # not Ctrl-C
            if show:
                held.seek(0)
                os.write(terminal, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
