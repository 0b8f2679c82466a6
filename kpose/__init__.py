"""kpose: record your own use case, get a small and fast pose network for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kpose.predictor import Predictor

__version__ = "0.1.0"


def load(model: str | Path = "compact", *, flip_test: bool = True) -> Predictor:
    """Return a trained model that finds people's joints: ``load().predict(source)``.

    Args:
        model: The name of a packaged model, a run folder, a ``.keras`` file, a
            SavedModel folder or a TFLite file.
        flip_test: Whether to average with the answer for the mirrored crop, which is
            more accurate and takes twice as long.

    Raises:
        InputError: If there is no such model, or it is damaged.
    """
    # Imported here, so that `import kpose` does not load TensorFlow.
    from kpose import runtime
    from kpose.predictor import Predictor

    return Predictor(runtime.open(model), flip_test)
