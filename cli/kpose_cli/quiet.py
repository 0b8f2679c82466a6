"""Keeps the chatter of TensorFlow and OpenCV off a command's stderr.

A command's stderr is for its own messages: an error is one line there. TensorFlow 2.21
writes six lines while it is imported (oneDNN, missing CUDA drivers), from C++ code that
does not read ``TF_CPP_MIN_LOG_LEVEL`` yet; OpenCV and FFmpeg write several about each
damaged file, which kpose reports itself.
"""

import contextlib
import importlib.util
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


def silence_libraries() -> None:
    """Make this process and its children import TensorFlow and OpenCV quietly.

    Each of the three environment variables, where the user set it, stays as it is.
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # Pillow warns of headers that kpose refuses, or that OpenCV reads all the same, and
    # logs some; what nobody handles, Python prints.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    if "TF_CPP_MIN_LOG_LEVEL" not in os.environ and "tensorflow" not in sys.modules:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        sys.meta_path.insert(0, _TensorFlowFinder())


class _TensorFlowFinder:
    """Finds TensorFlow once, with a loader that holds stderr back."""

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def run_quietly(module: ModuleType) -> None:
                with _stderr_held():
                    run(module)

            # An instance attribute, so that only this one import is changed.
            spec.loader.exec_module = run_quietly  # type: ignore[method-assign]
        return spec


@contextlib.contextmanager
def _stderr_held() -> Iterator[None]:
    """Keep what C++ code writes to stderr; show it only if the block fails."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(terminal, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
