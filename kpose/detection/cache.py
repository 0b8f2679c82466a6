"""Detections on disk, so that a picture goes through a detector once.

The key is what the answer depends on: the decoded pixels and the detector's identity.
Renamed and copied pictures are known again; another file, contract or decode is not.
"""

import contextlib
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kpose.detection import Detection, Detector
from kpose.errors import InputError
from kpose.geometry import Box
from kpose.images import Image

FILE = "detections.sqlite"

WAIT = 60
"""Seconds that a process waits while others write."""

TABLE = """
CREATE TABLE IF NOT EXISTS detections (
    identity TEXT NOT NULL, pixels BLOB NOT NULL, answer TEXT NOT NULL,
    PRIMARY KEY (identity, pixels)
) WITHOUT ROWID
"""


def default_folder() -> Path:
    """Return ``kpose`` in the user's folder for caches (XDG Base Directory)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kpose"


class Cached:
    """A detector and its answers on disk.

    Several processes may use one file at once. An object belongs to the process that
    made it: a worker makes its own.

    Args:
        detector: What finds the people.
        folder: Where the file lies.

    Raises:
        InputError: If the file there cannot be used (damaged, not writable).
    """

    def __init__(self, detector: Detector, folder: Path) -> None:
        """Open or make the file."""
        self.name = detector.name
        self.identity = detector.identity
        self.threshold, self.given = detector.threshold, detector.given
        self._detector = detector
        self._path = folder / FILE
        with self._clear_errors():
            folder.mkdir(parents=True, exist_ok=True)
            # isolation_level None commits each row; sqlite3 locks by itself.
            self._file = sqlite3.connect(
                self._path, WAIT, isolation_level=None, check_same_thread=False
            )
            # Readers go on while one writes, and no row waits for the disk.
            self._file.execute("PRAGMA journal_mode = WAL")
            self._file.execute("PRAGMA synchronous = NORMAL")
            self._file.execute(TABLE)

    def detect(
        self, image: Image, picture: str = "", frame: int = 0
    ) -> list[Detection]:
        """Return the persons, from disk where known; see ``Detector.detect``."""
        key = (self.identity, _digest(image))
        with self._clear_errors():
            row = self._file.execute(
                "SELECT answer FROM detections WHERE identity = ? AND pixels = ?", key
            ).fetchone()
        if row is not None:
            return [Detection(Box(*box), score) for box, score in json.loads(row[0])]
        found = self._detector.detect(image, picture, frame)
        with self._clear_errors():
            self._file.execute(
                "INSERT OR REPLACE INTO detections VALUES (?, ?, ?)",
                (*key, json.dumps(found)),
            )
        return found

    @contextlib.contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise InputError(
                f"expected to keep detections in {self._path}, got: {error} (if it is "
                "damaged, delete it; XDG_CACHE_HOME names another folder)"
            ) from None


def _digest(image: Image) -> bytes:
    """Return a hash of the pixels; 2 x 3 and 3 x 2 pixels differ."""
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.digest()
