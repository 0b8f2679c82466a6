"""Takes: what a Kinect, a teacher or the studio saw of people over time.

A *take* is one video with bodies per frame, as it was recorded: joints in the pixels of
the stored pictures, which may be a mirror image, and with the tracker's faults. The
readers of recordings (``persontracker``, ``ntu``, ``azure_kinect``, ``kinect``) yield
takes; what makes person records of them is here and the same for all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kpose.errors import InputError
from kpose.records import SPLITS, ImageRef

MIRRORED = ("auto", "yes", "no")

UNTRACKED, INFERRED, TRACKED = 0, 1, 2
"""The Kinect's tracking states."""

FPS = 30.0
"""Frames per second of a recording that says nothing: the Kinect's."""


class Body(NamedTuple):
    """One person in one frame, as the tracker saw it.

    Args:
        joints: ``(13, 2)`` float64, x and y in pixels of the stored picture (pixel
            centres at integers); NaN where the tracker gives no place.
        states: ``(13,)`` int8: ``UNTRACKED``, ``INFERRED`` or ``TRACKED``.
        identity: The tracker's own name of the person, "" where it gives none.
    """

    joints: NDArray[np.float64]
    states: NDArray[np.int8]
    identity: str = ""


@dataclass(frozen=True)
class Facts:
    """What ``recording.toml`` says about a take.

    Args:
        subject: Who is seen; "" where it is not known.
        clothing: What the person wears; "" where it is not known.
        labelled_by: ``"kinect"``, the name of a teacher, ``"studio"`` or ``"hand"``.
        mirrored: Whether pictures and joints are a mirror image: ``"yes"``, ``"no"`` or
            ``"auto"``, decided by the shoulders.
        fps: Frames per second, where there are no time stamps.
        split: ``"train"``, ``"val"`` or ``"test"``.

    Raises:
        InputError: If a value is none of those.
    """

    subject: str = ""
    clothing: str = ""
    labelled_by: str = "kinect"
    mirrored: str = "auto"
    fps: float = FPS
    split: str = "train"

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        if self.mirrored not in MIRRORED:
            raise InputError(
                f"mirrored must be one of {', '.join(MIRRORED)}. "
                f"Received: {self.mirrored!r}"
            )
        if self.split not in SPLITS:
            raise InputError(
                f"split must be one of {', '.join(SPLITS)}. Received: {self.split!r}"
            )
        if not 0 < self.fps < 10_000:
            raise InputError(f"fps must be positive. Received: {self.fps}")


@dataclass(frozen=True, eq=False)
class Take:
    """One take.

    Args:
        name: Unique in its source, e.g. ``"recordings/2026_11_24/video_0000"``.
        images: Per frame, as stored: ``mirrored`` is False.
        bodies: Per frame the bodies, in the order of the file.
        facts: What is known about it.
        times_ms: ``(frames,)`` float64 time stamps; None where there are none, then
            frames follow each other at ``facts.fps``.
        problems: What was wrong with its files, one line each; it was left out.
    """

    name: str
    images: Sequence[ImageRef]
    bodies: Sequence[Sequence[Body]]
    facts: Facts
    times_ms: NDArray[np.float64] | None = None
    problems: tuple[str, ...] = ()

    def seconds(self) -> NDArray[np.float64]:
        """Return the time of each frame in seconds."""
        if self.times_ms is not None:
            return self.times_ms / 1000
        return np.arange(len(self.bodies)) / self.facts.fps
