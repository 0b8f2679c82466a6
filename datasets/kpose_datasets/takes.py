"""Takes: what a Kinect, a teacher or the studio saw of people over time.

A *take* is one video with bodies per frame, as it was recorded: joints in the pixels of
the stored pictures, which may be a mirror image, and with the tracker's faults. The
readers of recordings (``persontracker``, ``ntu``, ``azure_kinect``, ``kinect``) yield
takes; what makes person records of them is here and the same for all.
"""

import glob
import hashlib
import math
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.JpegImagePlugin
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from kpose import faults as kpose_faults
from kpose import images
from kpose.errors import InputError
from kpose.files import write_text
from kpose.joints import BODY_13
from kpose.records import SPLITS, BadRecord, ImageRef, PersonRecord

MIRRORED = ("auto", "yes", "no")

UNTRACKED, INFERRED, TRACKED = 0, 1, 2
"""The Kinect's tracking states."""

FPS = 30.0
"""Frames per second of a recording that says nothing: the Kinect's."""

KINECT_JOINTS = 25

KINECT_ROWS = (3, 8, 9, 10, 4, 5, 6, 16, 17, 18, 12, 13, 14)
"""Which of the Kinect v2's 25 joints (JointType) each of ``BODY_13`` is."""

SHORTEST = 10
"""A take of fewer frames is left out, as PersonTracker deletes it."""

FEWEST_JOINTS = 3
"""A body with fewer joints left is no person to learn from."""

LARGEST = 1e6
"""A coordinate beyond it, in pixels, is no place: a point that is next to none of the
picture's rays is projected to anywhere."""

GAP_SECONDS = 0.5
"""Who is away for longer comes back as another track."""

STEP, SPEED = 1.0, 10.0
"""A body is another person where its joints are on average further than ``STEP`` torso
lengths from a track's, and ``SPEED`` more for each second (5 m/s) since it was seen."""

CLEAR = 0.8
"""Below this share of agreement the shoulders are a weak reason to mirror or not."""

REMEMBERED = 2000
"""Tracks whose faults are remembered."""

FACTS_FILE = "recording.toml"

SHOULDERS = (
    BODY_13.names.index("right_shoulder"),
    BODY_13.names.index("left_shoulder"),
)

TRUNK = (*SHOULDERS, BODY_13.names.index("right_hip"), BODY_13.names.index("left_hip"))


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
        damaged: Frames whose labels cannot be read, and why; they have no bodies.
    """

    name: str
    images: Sequence[ImageRef]
    bodies: Sequence[Sequence[Body]]
    facts: Facts
    times_ms: NDArray[np.float64] | None = None
    problems: tuple[str, ...] = ()
    damaged: Mapping[int, str] = field(default_factory=dict)

    def seconds(self) -> NDArray[np.float64]:
        """Return the time of each frame in seconds."""
        if self.times_ms is not None:
            return self.times_ms / 1000
        return np.arange(len(self.bodies)) / self.facts.fps


def body(
    points: NDArray[np.floating], states: NDArray[np.integer], identity: str = ""
) -> Body:
    """Return a body whose points without a place are NaN.

    A Kinect puts what it cannot project at infinity, and much code writes 0, 0 for
    that: both are no place, and so is what lies a million pixels away.

    Args:
        points: ``(13, 2)`` x and y in pixels of the stored picture.
        states: ``(13,)`` tracking states.
        identity: The tracker's own name of the person.
    """
    joints = np.array(points, np.float64)
    placed = (np.abs(joints) <= LARGEST).all(axis=1) & (joints != 0).any(axis=1)
    joints[~placed] = np.nan
    return Body(joints, np.asarray(states, np.int8), identity)


def read_facts(folder: Path, video: str) -> Facts:
    """Return what ``recording.toml`` says about a take.

    It lies in ``folder`` or, where there is none, one folder above. Its keys hold for
    every take; those of the table with the name of the take come first.

    Args:
        folder: The folder of the take's labels.
        video: Name of the take in it, e.g. ``"video_0003"``.

    Raises:
        InputError: If the file is no TOML, or has a key or a value that means nothing,
            or a table for no take.
    """
    for place in (folder, folder.absolute().parent):
        path = place / FACTS_FILE
        if path.is_file():
            break
    else:
        return Facts()
    content = _toml(path)
    known = {fact.name: type(fact.default) for fact in fields(Facts)}
    special = {key: value for key, value in content.items() if isinstance(value, dict)}
    top = {key: value for key, value in content.items() if key not in special}
    for name in special:
        # A take of a PersonTracker folder may be deleted.
        if not re.fullmatch(r"video_\d{4,}", name) and not _is_take(place, name):
            raise InputError(
                f"{path}: a table must have the name of a take. Received: [{name:.100}]"
            )
    for where, table in (("", top), *((f"[{k}] ", v) for k, v in special.items())):
        for key, value in table.items():
            _require_fact(path, where, key, value, known)
    values = {**top, **special.get(video, {})}
    try:
        return Facts(**values)
    except InputError as error:
        raise InputError(f"{path}: {error} for {video}") from None


def tables(path: Path) -> list[str]:
    """Return the takes that a ``recording.toml`` has a table for.

    Raises:
        InputError: If it is no TOML.
    """
    return [name for name, value in _toml(path).items() if isinstance(value, dict)]


def _toml(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file.

    Raises:
        InputError: If it is none.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"{path} must be a TOML file: {error}") from None


def _is_take(place: Path, name: str) -> bool:
    """Return whether a file or folder here, or one folder below, is called so."""
    if "/" in name or not name.strip("."):
        return False
    stem = glob.escape(name)
    patterns = (stem, f"{stem}.*", f"*/{stem}", f"*/{stem}.*")
    return any(next(place.glob(pattern), None) for pattern in patterns)


def _require_fact(
    path: Path, where: str, key: str, value: Any, known: Mapping[str, type]
) -> None:
    """Raise an InputError where a key or the type of its value means nothing."""
    if key not in known:
        raise InputError(
            f"{path}: {where}a key must be one of {', '.join(known)}. "
            f"Received: {key:.100}"
        )
    kinds = (float, int) if known[key] is float else (known[key],)
    if not isinstance(value, kinds) or isinstance(value, bool):
        kind = "a number" if known[key] is float else "a text"
        raise InputError(
            f"{path}: {where}{key} must be {kind}. Received: {value!r:.100}"
        )


def write_facts(folder: Path, video: str, facts: Facts) -> None:
    """Add a table with the facts of a take to ``recording.toml`` in ``folder``.

    What the file says already stays as it is.

    Raises:
        InputError: If the file is no TOML, has a table of that take, or a fact is no
            text that UTF-8 can hold.
    """
    path = folder / FACTS_FILE
    before = ""
    if path.exists():
        if video in _toml(path):
            raise InputError(f"{path} must have no facts about {video}, but has some")
        before = path.read_text(encoding="utf-8-sig")
        before += "" if before.endswith("\n") or not before else "\n"
    bare = re.fullmatch(r"[A-Za-z0-9_-]+", video)
    lines = [f"[{video if bare else _quoted(video)}]"]
    for fact in fields(Facts):
        value = getattr(facts, fact.name)
        text = _quoted(value) if isinstance(value, str) else repr(float(value))
        lines.append(f"{fact.name} = {text}")
    space = "\n" if before else ""
    write_text(path, before + space + "\n".join(lines) + "\n")


def _quoted(text: str) -> str:
    """Return a TOML string.

    Raises:
        InputError: If it has half a character, which no file can hold.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"a fact must be text. Received: {text!r:.100}") from None
    escaped = (
        f"\\u{ord(c):04x}" if c < " " or c == "\x7f" else f"\\{c}" if c in '"\\' else c
        for c in text
    )
    return f'"{"".join(escaped)}"'


def link(take: Take) -> list[list[int]]:
    """Say who is who from frame to frame.

    By the tracker's identities where it gives them. Else each frame's bodies go to the
    tracks whose last joints are nearest, all together at the least cost: the order of
    the bodies says nothing.

    Returns:
        Per frame and body the number of its track, from 0; -1 for a body that has no
        place at all.
    """
    seconds = take.seconds()
    named: dict[str, int] = {}
    last: dict[int, tuple[float, NDArray[np.float64]]] = {}
    count = 0
    result = []
    for frame, bodies in enumerate(take.bodies):
        now = float(seconds[frame])
        last = {k: seen for k, seen in last.items() if now - seen[0] <= GAP_SECONDS}
        numbers = [-1] * len(bodies)
        free = []
        for index, one in enumerate(bodies):
            if one.identity:
                count += one.identity not in named
                numbers[index] = named.setdefault(one.identity, count - 1)
            elif np.isfinite(one.joints).any():
                free.append(index)
        tracks = list(last)
        if free and tracks:
            cost = np.array(
                [
                    [_distance(bodies[i].joints, last[k], now) for k in tracks]
                    for i in free
                ]
            )
            for row, column in zip(*linear_sum_assignment(cost), strict=True):
                if cost[row, column] < ANOTHER:
                    numbers[free[row]] = tracks[column]
        for index in free:
            if numbers[index] < 0:
                numbers[index] = count
                count += 1
            last[numbers[index]] = (now, bodies[index].joints)
        result.append(numbers)
    return result


ANOTHER = 1e3
"""Cost of taking a body for a track that it is too far from."""


def _distance(
    joints: NDArray[np.float64], seen: tuple[float, NDArray[np.float64]], now: float
) -> float:
    """Return the mean distance of the joints that both have, in torso lengths."""
    then, before = seen
    torso = max(_torso(joints), _torso(before))
    far = np.linalg.norm(joints - before, axis=1) / torso
    far = far[np.isfinite(far)]
    limit = STEP + SPEED * max(now - then, 0.0)
    # A single joint that flew away does not make another person.
    mean = float(np.minimum(far, 2 * limit).mean()) if len(far) else np.inf
    return mean if mean <= limit else ANOTHER


def _torso(joints: NDArray[np.float64]) -> float:
    """Return the torso length, or a third of what there is of the person."""
    right, left, right_hip, left_hip = joints[list(TRUNK)]
    across = np.linalg.norm([right - left_hip, left - right_hip], axis=1)
    across = across[np.isfinite(across)]
    placed = joints[np.isfinite(joints).all(axis=1)]
    extent = float(np.ptp(placed, axis=0).max()) / 3 if len(placed) else 0.0
    return max(float(across.max()) if len(across) else extent, 1.0)


@dataclass(frozen=True, eq=False)
class Judged:
    """What was decided about a take.

    Args:
        mirrored: Whether pictures and joints are a mirror image.
        decision: The same in words, with the reason.
        size: Width and height of the pictures; None where none can be read.
        people: Per frame and body the number of its track, from 0, -1 for none.
        reasons: Per frame and body ``(13,)`` int8 indices into ``faults.REASONS``: 0
            for a joint that is kept.
        other_size: Frames whose picture has another size.
        problems: Those of the take, and what a user should look at.
    """

    mirrored: bool
    decision: str
    size: tuple[int, int] | None
    people: Sequence[Sequence[int]]
    reasons: Sequence[Sequence[NDArray[np.int8]]]
    other_size: frozenset[int]
    problems: tuple[str, ...]

    @property
    def persons(self) -> int:
        """How many tracks there are."""
        return 1 + max(
            (max(numbers, default=-1) for numbers in self.people), default=-1
        )

    def masked(self) -> dict[str, dict[str, int]]:
        """Return by reason and name how many joints are left out."""
        rows = [row for frame in self.reasons for row in frame]
        counts: dict[str, dict[str, int]] = {}
        if not rows:
            return counts
        table = np.stack(rows)
        for index, reason in enumerate(kpose_faults.REASONS[1:], start=1):
            found = (table == index).sum(axis=0).tolist()
            if any(found):
                names = zip(BODY_13.names, found, strict=True)
                counts[reason] = {name: n for name, n in names if n}
        return counts


def judge(
    take: Take, mirrored: str = "", inferred: str = "", faults: str = ""
) -> Judged:
    """Decide whether a take is mirrored, who is who, and which joints are left out.

    Args:
        take: The take.
        mirrored: ``"yes"``, ``"no"`` or ``"auto"`` instead of what the facts say.
        inferred: ``"keep"`` for the joints that the Kinect only inferred; ``"drop"`` or
            "" not.
        faults: ``"keep"`` for the joints that look like mistakes of the tracker;
            ``"mask"`` or "" not.

    Raises:
        InputError: If an option is none of those words.
    """
    for name, value, words in (
        ("mirrored", mirrored, MIRRORED),
        ("inferred", inferred, ("drop", "keep")),
        ("faults", faults, ("mask", "keep")),
    ):
        if value and value not in words:
            raise InputError(
                f"{name} must be one of {', '.join(words)}. Received: {value!r:.100}"
            )
    flipped, decision, doubts = _mirror(take, mirrored)
    size, other = _size(take)
    people = link(take)
    reasons = _reasons(take, people, size, inferred == "keep", faults != "keep")
    problems = [*take.problems, *doubts]
    first = next(iter(take.damaged.values()), "")
    if first and first not in problems:
        problems.append(
            f"{len(take.damaged)} of {len(take.bodies)} frames are damaged; the first: "
            f"{first}"
        )
    if other:
        problems.append(f"{len(other)} pictures have another size than the first")
    return Judged(
        flipped, decision, size, people, reasons, frozenset(other), tuple(problems)
    )


def _mirror(take: Take, option: str) -> tuple[bool, str, list[str]]:
    """Return whether the take is mirrored, why, and doubts about it.

    The names of a Kinect are the person's own, so that in a mirrored picture the right
    shoulder of a person who faces the camera is on the right.
    """
    right, left = SHOULDERS
    steps = np.array(
        [
            one.joints[right, 0] - one.joints[left, 0]
            for bodies in take.bodies
            for one in bodies
            if one.states[right] == one.states[left] == TRACKED
        ]
    )
    steps = steps[np.isfinite(steps)]
    seen = bool(len(steps)) and bool(np.median(steps) > 0)
    agree = int((steps > 0).sum() if seen else (steps < 0).sum())
    counted = (
        f"the right shoulder is on the {'right' if seen else 'left'} in {agree:,} of "
        f"{len(steps):,} bodies with both tracked"
        if len(steps)
        else "nobody has both shoulders tracked"
    )
    setting = option or take.facts.mirrored
    clear = bool(len(steps)) and agree >= CLEAR * len(steps)
    flipped = seen if setting == "auto" else setting == "yes"
    doubts = []
    if setting == "auto" and not clear and any(take.bodies):
        doubts.append(
            f"whether it is mirrored is a guess ({counted}): say mirrored=yes or "
            "mirrored=no"
        )
    elif clear and flipped != seen:
        doubts.append(
            f"mirrored={setting} is right only for people seen from behind: {counted}"
        )
    how = "auto" if setting == "auto" else "option" if option else "as stated"
    words = "mirrored" if flipped else "not mirrored"
    return flipped, f"{words} ({how}: {counted})", doubts


def _size(take: Take) -> tuple[tuple[int, int] | None, list[int]]:
    """Return the size of the pictures, and the frames where it is another."""
    size = None
    for ref in take.images:
        if ref.frame is None and not ref.path.is_file():
            continue
        picture = images.try_read(ref)
        if not isinstance(picture, InputError):
            size = (picture.shape[1], picture.shape[0])
            break
        if ref.frame is not None:
            break
    other: list[int] = []
    if size is None:
        return None, other
    for frame, ref in enumerate(take.images):
        found = _header(ref.path) if ref.frame is None else None
        # A camera that turns a picture says so behind the size.
        if found is not None and found != size and found[::-1] != size:
            other.append(frame)
    return size, other


def _header(path: Path) -> tuple[int, int] | None:
    """Return width and height of a JPEG by its header, None where there is none."""
    try:
        with path.open("rb") as file, PIL.JpegImagePlugin.JpegImageFile(file) as header:
            return header.size
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, EOFError):
        return None


def _reasons(
    take: Take,
    people: Sequence[Sequence[int]],
    size: tuple[int, int] | None,
    keep_inferred: bool,
    mask_faults: bool,
) -> list[list[NDArray[np.int8]]]:
    """Return per frame and body which joints are left out, and why."""
    untracked = kpose_faults.REASONS.index("untracked")
    inferred = kpose_faults.REASONS.index("inferred")
    result: list[list[NDArray[np.int8]]] = []
    tracks: dict[int, list[tuple[int, int]]] = {}
    for frame, bodies in enumerate(take.bodies):
        result.append([])
        for index, one in enumerate(bodies):
            missing = np.isnan(one.joints).any(axis=1) | (one.states == UNTRACKED)
            why = np.where(missing, untracked, 0)
            if not keep_inferred:
                why[~missing & (one.states == INFERRED)] = inferred
            result[-1].append(why.astype(np.int8))
            if people[frame][index] >= 0:
                tracks.setdefault(people[frame][index], []).append((frame, index))
    if not mask_faults:
        return result
    seconds = take.seconds()
    for places in tracks.values():
        bodies = [take.bodies[frame][index] for frame, index in places]
        found = _find(
            np.stack([one.joints for one in bodies]),
            np.stack([one.states for one in bodies]),
            seconds[[frame for frame, _ in places]],
            size,
            keep_inferred,
        )
        for (frame, index), row in zip(places, found, strict=True):
            result[frame][index] = row
    return result


_findings: dict[bytes, NDArray[np.int8]] = {}


def _find(
    joints: NDArray[np.float64],
    states: NDArray[np.int8],
    seconds: NDArray[np.float64],
    size: tuple[int, int] | None,
    keep_inferred: bool,
) -> NDArray[np.int8]:
    """Return what ``faults.find`` says, asked once for the same track.

    A set is read more than once (is there a person, the report, the crops), and looking
    for faults takes longer than reading. The answers are small.
    """
    key = hashlib.blake2b(repr((size, keep_inferred, len(joints))).encode())
    for array in (joints, states, seconds):
        key.update(np.ascontiguousarray(array).tobytes())
    name = key.digest()
    if name not in _findings:
        if len(_findings) >= REMEMBERED:
            _findings.clear()
        _findings[name] = kpose_faults.find(
            joints, states, seconds, size, keep_inferred=keep_inferred
        )
    return _findings[name]


def records(
    take: Take,
    source: str,
    mirrored: str = "",
    inferred: str = "",
    faults: str = "",
    judged: Judged | None = None,
) -> Iterator[PersonRecord | BadRecord]:
    """Yield a record per body, un-mirrored, without the joints that are left out.

    A body is a ``BadRecord`` where the take is too short (``"take_too_short"``), the
    tracker has no joint (``"untracked_person"``), fewer than three or none of the trunk
    are left (``"too_few_joints"``), or its picture has another size than the others
    (``"other_picture_size"``); and so is a frame whose labels are damaged
    (``"damaged_line"``). Where no picture of a mirrored take can be read, nothing says
    how wide it is: its joints are then right but for a step to the side.

    Args:
        take: The take.
        source: Name of the reader.
        mirrored: As for ``judge``.
        inferred: As for ``judge``.
        faults: As for ``judge``.
        judged: What ``judge`` said, where that was asked already.

    Raises:
        InputError: If an option is no such word.
    """
    if judged is None:
        judged = judge(take, mirrored, inferred, faults)
    width = judged.size[0] if judged.size else _least_width(take)
    for frame, bodies in enumerate(take.bodies):
        name = f"{take.name}/{frame:06}"
        if frame in take.damaged:
            yield BadRecord(name, source, "damaged_line", take.damaged[frame])
        for index, one in enumerate(bodies):
            identity = f"{name}/{index}"
            why = judged.reasons[frame][index]
            bad = _bad(take, judged, frame, one, why)
            if bad is not None:
                yield BadRecord(identity, source, *bad)
                continue
            kept = why == 0
            joints = np.zeros((len(BODY_13), 3), np.float32)
            joints[kept, :2] = one.joints[kept]
            joints[kept, 2] = 1
            if judged.mirrored:
                joints[kept, 0] = width - 1 - one.joints[kept, 0]
            seen = np.where(one.states == TRACKED, 1, 0)
            image = take.images[frame]
            yield PersonRecord(
                id=identity,
                image=ImageRef(image.path, image.frame, judged.mirrored),
                joints=joints,
                visible=np.where(kept, seen, -1).astype(np.int8),
                source=source,
                group=take.name,
                split=take.facts.split,
                head_rule="point",
                recording=take.name,
                subject=take.facts.subject,
                clothing=take.facts.clothing,
            )


def _least_width(take: Take) -> int:
    """Return a width that holds all joints."""
    right = [float(np.nanmax(one.joints[:, 0], initial=0)) for one in _all(take)]
    return math.ceil(max(right, default=0.0)) + 1


def _all(take: Take) -> Iterator[Body]:
    return (one for bodies in take.bodies for one in bodies)


def _bad(
    take: Take, judged: Judged, frame: int, one: Body, why: NDArray[np.int8]
) -> tuple[str, str] | None:
    """Return reason and detail where a body cannot be used."""
    where = f"{take.name}, frame {frame}"
    if len(take.bodies) < SHORTEST:
        return "take_too_short", (
            f"{take.name} must have at least {SHORTEST} frames. Received: "
            f"{len(take.bodies)}"
        )
    if frame in judged.other_size:
        return "other_picture_size", (
            f"{where}: {take.images[frame].path} must have the size of the others, "
            f"{judged.size}"
        )
    placed = np.isfinite(one.joints).all(axis=1)
    if not (placed & (one.states != UNTRACKED)).any():
        return (
            "untracked_person",
            f"{where}: the tracker must have a joint, but has none",
        )
    kept = why == 0
    if kept.sum() < FEWEST_JOINTS or not kept[list(TRUNK)].any():
        counts = Counter(kpose_faults.REASONS[i] for i in why.tolist() if i)
        words = ", ".join(f"{n} {reason}" for reason, n in counts.most_common())
        return "too_few_joints", (
            f"{where}: {FEWEST_JOINTS} joints, one of the trunk, must be left. "
            f"Received: {int(kept.sum())} ({words} left out)"
        )
    return None
