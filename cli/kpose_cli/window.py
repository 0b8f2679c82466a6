"""A window that shows pictures with people as they are predicted."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import cv2

from kpose import prediction_files
from kpose.drawing import draw_label
from kpose.errors import InputError
from kpose.geometry import Box
from kpose.images import Image
from kpose.predictor import Person
from kpose.sources import Picture

TITLE = "kpose"

TRIAL = f"import cv2; cv2.namedWindow({TITLE!r}); cv2.destroyAllWindows()"

END_KEYS = (ord("q"), 27)
"""q and Esc."""


class Window:
    """Shows pictures until the user has enough; use as a context manager.

    Args:
        mirror: Whether to show them as a mirror does. Names and colours of the joints
            stay the person's own.

    Raises:
        InputError: If no window opens here.
    """

    def __init__(self, mirror: bool) -> None:
        """Try it in another process: without a display, Qt ends the one that asks."""
        trial = subprocess.run([sys.executable, "-c", TRIAL], capture_output=True)
        if trial.returncode != 0:
            raise InputError(
                "--show needs a display, and an OpenCV with windows (opencv-python, "
                "not -headless), but no window opens here"
            )
        self._mirror = mirror

    def __enter__(self) -> "Window":
        """Open the window."""
        cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        cv2.destroyAllWindows()

    def show(
        self,
        picture: Picture,
        people: Sequence[Person],
        note: str,
        stopped: Callable[[], int],
    ) -> bool:
        """Show a picture; one that is no frame of a stream stays until a key is hit.

        Args:
            picture: Is left out where it is unreadable.
            people: Who is in it.
            note: Is written at the bottom.
            stopped: Whether somebody else wants to end.

        Returns:
            Whether to go on: neither q nor Esc, and the window is still there.
        """
        if picture.image is None:
            return True
        cv2.imshow(TITLE, self.draw(picture.image, people, note)[..., ::-1])
        still = picture.time_ms is None and picture.captured is None
        while True:
            try:
                key = cv2.waitKey(50 if still else 1)
                closed = cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) < 1
            except cv2.error:  # of Qt, after the last window is closed
                return False
            if closed or (key >= 0 and key & 0xFF in END_KEYS):
                return False
            if not still or key >= 0 or stopped():
                return True

    def draw(self, image: Image, people: Sequence[Person], note: str) -> Image:
        """Return what the window shows, RGB."""
        height, width = image.shape[:2]
        if self._mirror:
            image = image[:, ::-1]
            people = [_mirrored(person, width) for person in people]
        drawn = prediction_files.overlay(image, people)
        return draw_label(drawn, Box(0, height, width, height), note)


def _mirrored(person: Person, width: int) -> Person:
    """Return the person in a mirrored picture; right stays the person's right."""
    keypoints = person.keypoints.copy()
    keypoints[:, 0] = width - 1 - keypoints[:, 0]
    box = None if person.box is None else person.box.mirrored(width)
    return replace(person, keypoints=keypoints, box=box)
