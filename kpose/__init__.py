"""kpose: record your own use case, get a small and fast pose network for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kpose.detection import Detector
    from kpose.predictor import Predictor

__version__ = "0.1.0"


def load(
    model: str | Path = "compact",
    *,
    detector: str | Detector | None = None,
    flip_test: bool = True,
    min_score: float | None = None,
    follow: int = 1,
    smooth: bool = True,
) -> Predictor:
    """Return a trained model that finds people's joints: ``load().predict(source)``.

    Args:
        model: The name of a packaged model, a run folder, a ``.keras`` file, a
            SavedModel folder or a TFLite file.
        detector: Finds the people: its name, as ``kpose.detection.open`` takes it
            (``"tflite:detect.tflite"``), or a detector. None: the whole picture is one
            person's box.
        flip_test: Whether to average with the answer for the mirrored crop, which is
            more accurate and takes twice as long.
        min_score: Detector score that a new person needs; None is what the detector
            recommends.
        follow: In a video the detector looks at every ``follow``-th frame, and while
            nobody is in view; in between the last pose gives the crop.
        smooth: Whether the joints of a video are smoothed.

    Raises:
        InputError: If there is no such model or detector, or it is damaged.
    """
    # Imported here, so that `import kpose` does not load TensorFlow.
    from kpose import detection, runtime
    from kpose.predictor import Predictor

    if isinstance(detector, str):
        detector = detection.open(detector)
    return Predictor(
        runtime.open(model),
        detector,
        flip_test=flip_test,
        min_score=min_score,
        follow=follow,
        smooth=smooth,
    )
