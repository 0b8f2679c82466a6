"""Likely wrong labels on their way to a labelling tool, and what comes back from it.

``label_studio`` and ``cvat`` write the file that a person opens and read the tool's
export; what both need, and which of the two a file is, is here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kpose.errors import InputError
from kpose.geometry import Box, person_box
from kpose.joints import BODY_13
from kpose.records import REMOVED, BadRecord, PersonRecord
from kpose.screening import Source

SOURCE, ID = "kpose_source", "kpose_id"
"""Names under which a file carries ``PersonRecord.source`` and ``id``."""

REASON, SCORE = "kpose_reason", "kpose_score"
"""Names under which a file says why a label is in it."""

BEFORE = "kpose_joints"
"""Name under which a file carries the joints as they were (``remember``)."""

UNMOVED = 0.01
"""A joint this near its old place, in pixels, was not moved: CVAT rounds to 0.01."""


COLOURS = {"right": "#ff8000", "left": "#0080ff", "middle": "#00b050"}
"""Of the joints in a tool, by ``Skeleton.sides``; as kpose draws them."""


class BadLabelError(Exception):
    """A label in a tool's file that is no person.

    Args:
        reason: As ``BadRecord.reason``.
        detail: What was expected and what came, without the names of file and record.
    """

    def __init__(self, reason: str, detail: str) -> None:
        """Keep both."""
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True, eq=False)
class Suspect:
    """A label that is likely wrong.

    Args:
        record: The person. Its picture must be a file of its own, no frame of a video.
        width: Of the picture, pixels.
        height: Of the picture, pixels.
        reason: One line for the person who corrects it.
        score: How likely it is wrong; the higher, the likelier.

    Raises:
        InputError: If the picture has no area, is a frame of a video or is mirrored: a
            tool could not show the pixels that the joints are of.
    """

    record: PersonRecord
    width: int
    height: int
    reason: str
    score: float

    def __post_init__(self) -> None:
        """Refuse pixels that a labelling tool cannot show."""
        record, name = self.record, f"{self.record.source} {self.record.id}"
        if self.width < 1 or self.height < 1:
            raise InputError(
                "a picture must be at least 1 pixel wide and high. Received: "
                f"{self.width} x {self.height} for {name}"
            )
        if record.image.frame is not None or record.image.mirrored:
            raise InputError(
                "labels can be corrected in pictures, not in frames of a video or "
                f"mirrored pictures. Received: {record.image.path} for {name}"
            )

    def box(self) -> Box | None:
        """Return the person's box inside the picture, None where nothing is left."""
        box = self.record.box or person_box(self.record.joints)
        inside = box.clipped(self.width, self.height) if box else None
        return inside if inside and inside.area > 0 else None

    def picture(self, root: Path) -> str:
        """Return the picture's path relative to ``root``, with forward slashes.

        Raises:
            InputError: If the picture is not in ``root``.
        """
        path = self.record.image.path
        try:
            return path.resolve().relative_to(root.resolve()).as_posix()
        except ValueError:
            raise InputError(
                f"the pictures must be in {root}. Received: {path} for "
                f"{self.record.source} {self.record.id}"
            ) from None


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    """The label of one person after a tool.

    Args:
        source: That of the ``PersonRecord``.
        id: That of the ``PersonRecord``.
        joints: ``(13, 3)`` float32 image pixels as ``PersonRecord.joints``; None where
            the person was removed. A joint that nobody moved is exactly as it was.
        visible: ``(13,)`` int8 as ``PersonRecord.visible``.
    """

    source: str
    id: str
    joints: NDArray[np.float32] | None
    visible: NDArray[np.int8]


def read(path: Path) -> dict[tuple[str, str], Correction]:
    """Return the corrections in an export of Label Studio (JSON) or CVAT (XML).

    Args:
        path: The export; or the file that kpose wrote, in which nothing is corrected.

    Returns:
        By source and id of the person.

    Raises:
        InputError: If the file is neither, has no person of kpose, or one twice.
    """
    # Both modules import this one.
    from kpose_datasets import cvat, label_studio

    readers = {b"[": label_studio.corrections, b"<": cvat.corrections}
    start = _start(path)
    if start not in readers:
        hint = "a ZIP archive: unpack it first" if start == b"P" else repr(start)
        raise InputError(
            f"{path} must be JSON of Label Studio or XML of CVAT. Received: {hint}"
        )
    return _by_person(path, readers[start](path))


def _start(path: Path) -> bytes:
    """Return the first byte of a file that is no space; empty where there is none."""
    try:
        with path.open("rb") as file:
            return file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    except FileNotFoundError:
        raise InputError(
            f"expected corrections at {path}, but there is nothing"
        ) from None
    except OSError as error:
        raise InputError(f"{path} must be a file of corrections: {error}") from None


def _by_person(
    path: Path, corrections: Iterator[Correction]
) -> dict[tuple[str, str], Correction]:
    found: dict[tuple[str, str], Correction] = {}
    for correction in corrections:
        key = correction.source, correction.id
        if key in found:
            raise InputError(
                f"{path} must have every person once. Received twice: {' '.join(key)}"
            )
        found[key] = correction
    if not found:
        raise InputError(
            f"{path} must have {SOURCE} and {ID}, as the file that kpose wrote, but no "
            "person in it has them"
        )
    return found


def remember(record: PersonRecord) -> str:
    """Return the joints as text that a tool carries along: ``x,y,visible;...``.

    An unannotated joint has no x and y. Tools round, and Label Studio shows nothing
    outside the picture; from this a joint that nobody moved is restored exactly.
    """
    return ";".join(
        f"{x!s},{y!s},{shown}" if there > 0 else f",,{shown}"
        for (x, y, there), shown in zip(record.joints, record.visible, strict=True)
    )


def settle(
    before: str,
    joints: NDArray[np.float64],
    hidden: NDArray[np.bool_],
    size: tuple[float, float] | None = None,
) -> tuple[NDArray[np.float32] | None, NDArray[np.int8]]:
    """Return the joints and visibility of a ``Correction``.

    Args:
        before: What ``remember`` returned; other text where the tool lost it.
        joints: ``(13, 3)`` as they are in the tool: x and y in image pixels, 1 where
            annotated.
        hidden: ``(13,)``, those that the tool marks as occluded.
        size: Width and height of the picture, where the tool moved joints outside into
            it.
    """
    old, shown = _recall(before)
    there, was = joints[:, 2] > 0, old[:, 2] > 0
    places = old[:, :2].astype(np.float64)
    if size:
        places = np.clip(places, -0.5, np.subtract(size, 0.5))
    unmoved = there & was & (np.abs(joints[:, :2] - places) <= UNMOVED).all(axis=1)
    settled = np.where(unmoved[:, None], old, joints).astype(np.float32)
    settled[~there] = 0
    marked = np.where(hidden, 0, np.where(shown < 0, -1, 1))
    absent = np.where(was, -1, shown)
    visible = np.where(there, marked, absent).astype(np.int8)
    return (settled if there.any() else None), visible


def _recall(text: str) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Return what ``remember`` wrote: joints and visibility."""
    joints = np.zeros((len(BODY_13), 3), np.float32)
    visible = np.ones(len(BODY_13), np.int8)
    try:
        rows = [row.split(",") for row in text.split(";")]
        for at, (x, y, shown) in zip(range(len(BODY_13)), rows, strict=True):
            visible[at] = int(shown)
            if x:
                joints[at] = np.float32(x), np.float32(y), 1
    except (ValueError, OverflowError):  # a person edited it, or a tool cut it off
        return np.zeros_like(joints), np.ones_like(visible)
    return joints, visible


class Corrected:
    """Data sets with the corrections of a file in the place of the old labels.

    A person whom the file does not name is unchanged; one who was removed becomes a
    ``BadRecord``. A correction of somebody who is not there is an error, raised when
    all sources were read.

    Args:
        sources: The data sets.
        path: As ``read`` takes it.

    Raises:
        InputError: As ``read``.
    """

    def __init__(self, sources: Sequence[Source], path: Path) -> None:
        """Read the corrections."""
        self.path = path
        self.corrections = read(path)
        self.sources = [
            source._replace(records=_Reread(self, source, last=source is sources[-1]))
            for source in sources
        ]
        self._used: set[tuple[str, str]] = set()
        self._changed: set[tuple[str, str]] = set()
        self._removed: set[tuple[str, str]] = set()

    @property
    def counts(self) -> dict[str, int]:
        """How many labels were changed, removed, and left as they were."""
        changed, removed = len(self._changed), len(self._removed)
        same = len(self._used) - changed - removed
        return {"changed": changed, "removed": removed, "unchanged": same}

    def sentence(self) -> str:
        """Return the counts in words."""
        counts = self.counts
        return (
            f"corrections of {self.path.name}: {counts['changed']} labels changed, "
            f"{counts['removed']} removed, {counts['unchanged']} confirmed"
        )

    def apply(self, record: PersonRecord) -> PersonRecord | BadRecord:
        """Return a record as it is after the corrections."""
        key = (record.source, record.id)
        correction = self.corrections.get(key)
        if correction is None:
            return record
        self._used.add(key)
        if correction.joints is None:
            self._removed.add(key)
            return BadRecord(
                record.id, record.source, REMOVED, f"removed in {self.path}"
            )
        if not np.array_equal(correction.joints, record.joints):
            self._changed.add(key)
        return replace(record, joints=correction.joints, visible=correction.visible)

    def require_all_used(self) -> None:
        """Raise an InputError where a correction is of nobody."""
        nobody = [key for key in self.corrections if key not in self._used]
        if nobody:
            named = ", ".join(" ".join(key) for key in nobody[:5])
            raise InputError(
                f"{self.path} must correct persons of the data, but {len(nobody)} of "
                f"{len(self.corrections)} are not in it (or not in the splits asked "
                f"for): {named:.200}"
            )


@dataclass(frozen=True)
class _Reread:
    """The records of a source after the corrections, anew for each iteration."""

    corrected: Corrected
    source: Source
    last: bool

    def __iter__(self) -> Iterator[PersonRecord | BadRecord]:
        for record in self.source.records:
            if isinstance(record, BadRecord):
                yield record
            else:
                yield self.corrected.apply(record)
        if self.last:
            self.corrected.require_all_used()
