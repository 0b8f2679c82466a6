"""Any table of a Kinect: CSV, JSON or JSON lines, and a map in a TOML file.

Format and traps: datasets/cards/kinect.md.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import time as clock
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpose import video
from kpose.errors import InputError
from kpose.files import read_json
from kpose.images import try_read
from kpose.joints import BODY_13
from kpose.records import BadRecord, ImageRef, PersonRecord
from kpose_datasets import takes as recordings
from kpose_datasets.generic import BadValue, csv_delimiter, csv_rows, lines, number
from kpose_datasets.joint_map import JointMap, by_names, from_table, load_toml
from kpose_datasets.persontracker import NO_NUMBER
from kpose_datasets.takes import INFERRED, TRACKED, UNTRACKED, Body, Take

SKELETON = BODY_13

LICENCE = "kinect: that of the user's recordings"

JOINT_TYPES = (
    *("SpineBase", "SpineMid", "Neck", "Head"),
    *("ShoulderLeft", "ElbowLeft", "WristLeft", "HandLeft"),
    *("ShoulderRight", "ElbowRight", "WristRight", "HandRight"),
    *("HipLeft", "KneeLeft", "AnkleLeft", "FootLeft"),
    *("HipRight", "KneeRight", "AnkleRight", "FootRight"),
    *("SpineShoulder", "HandTipLeft", "ThumbLeft", "HandTipRight", "ThumbRight"),
)
"""The joints of a Kinect v2 by their numbers."""

COLUMNS = (
    *("frame", "person", "joint", "x", "y", "state", "time"),
    *("bodies", "joints", "tracked"),
)
"""The keys of a map's table ``[columns]``; the last three are for JSON."""

STATES = {
    "untracked": ["0", "NotTracked", "Untracked", "false"],
    "inferred": ["1", "Inferred"],
    "tracked": ["2", "Tracked", "true"],
}
"""What the states are called where a map has no table ``[states]``."""

CODES = {"untracked": UNTRACKED, "inferred": INFERRED, "tracked": TRACKED}

TIMES = {"s": 1e3, "ms": 1.0, "us": 1e-3, "100ns": 1e-4, "clock": math.nan}
"""Milliseconds per unit of time; a clock is text such as 18:02:33.125."""

KINECT2 = {
    "columns": {
        "person": "trackingId",
        "x": "colorX",
        "y": "colorY",
        "state": "trackingState",
        "tracked": "tracked",
    },
    "pixels": {"unit": "fraction"},
}
"""The map of JSON that has none: what kinect2 for Node gives."""

METRES = 10.0
"""Coordinates that all lie so near 0 are metres, not pixels."""

ONLY_3D = "positions in 3-D alone cannot be used: kpose does not guess a calibration"

Floats = NDArray[np.float64]
Point = tuple[float, float, int]


def takes(
    path: Path, images: Path | None = None, joint_map: Path | None = None
) -> Iterator[Take]:
    """Yield the take of one table.

    A row that cannot be used is left out: its frame is damaged, or it is a problem of
    the take.

    Args:
        path: A ``.csv``, ``.tsv``, ``.json`` or ``.jsonl`` file.
        images: The video of the colour frames; None for the one beside ``path`` with
            its name.
        joint_map: The TOML file that says what the columns are; None for the one
            beside ``path`` with its name, or the layout of kinect2 for Node in JSON.

    Raises:
        InputError: If the file, the map or a state in it cannot be understood, there
            are no colour coordinates, or nothing can be used.
    """
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".tsv", ".json", ".jsonl"):
        raise InputError(f"{path} must be a .csv, .tsv, .json or .jsonl file")
    is_json = suffix.startswith(".json")
    layout = _layout(path, joint_map, is_json)
    clip = _video(path, images)
    size = _size(layout, clip)
    table = _Table(path)
    if is_json:
        _read_json(table, layout)
    elif "joint" in layout.columns:
        _read_long(table, layout)
    else:
        _read_wide(table, layout)
    yield _take(table, layout, clip, size)


def read(
    path: Path,
    images: Path | None = None,
    joint_map: Path | None = None,
    mirrored: str = "",
    inferred: str = "",
    faults: str = "",
) -> Iterator[PersonRecord | BadRecord]:
    """Yield every body of every frame, un-mirrored, without the tracker's faults.

    Args:
        path: As of ``takes``.
        images: As of ``takes``.
        joint_map: As of ``takes``.
        mirrored: As of ``kpose_datasets.takes.records``.
        inferred: As there.
        faults: As there.

    Raises:
        InputError: As ``takes``, or if an option means nothing.
    """
    for take in takes(path, images, joint_map):
        yield from recordings.records(
            take, "kinect", mirrored=mirrored, inferred=inferred, faults=faults
        )


@dataclass(frozen=True)
class Layout:
    """What a map says of a table.

    Args:
        path: The map, for errors.
        columns: Key in ``COLUMNS`` -> name or pattern of the columns, or the number of
            the column in a table without a header.
        joints: Its table ``[joints]``, None where it has none.
        states: State as text, see ``_plain`` -> code.
        fraction: Whether coordinates are pixels over the size of the picture.
        size: Width and height of the picture that coordinates are of, if it says.
        first: Number of the first frame of the video.
        time_unit: Key in ``TIMES``.
    """

    path: Path
    columns: Mapping[str, str | int]
    joints: Any
    states: Mapping[str, int]
    fraction: bool
    size: tuple[int, int] | None
    first: int
    time_unit: str

    def point(self, name: Any) -> str:
        """Return the name of a point as the map has it, or as JointType has it."""
        text = str(name).strip()
        if self.joints is not None:
            return text
        text = text.removeprefix("JointType_")
        if text.isdecimal() and len(text) < 3 and int(text) < len(JOINT_TYPES):
            return JOINT_TYPES[int(text)]
        return text

    def state(self, value: Any, where: str) -> int:
        """Return the code of a state; nothing is not tracked."""
        text = _plain(value)
        if text in self.states:
            return self.states[text]
        if text == "":
            return UNTRACKED
        raise InputError(
            f"{where}: the state must be one of {', '.join(self.states)} as "
            f"{self.path} has them in [states]. Received: {value!r:.80}"
        )

    def milliseconds(self, value: Any, decimal_comma: bool = False) -> float:
        """Return a time stamp in milliseconds, NaN for none."""
        try:
            if self.time_unit == "clock" and str(value or "").strip():
                at = clock.fromisoformat(str(value).strip())
                minutes = 60 * at.hour + at.minute
                return 6e4 * minutes + 1e3 * at.second + at.microsecond / 1e3
            found = number(value, decimal_comma) * TIMES[self.time_unit]
        except (ValueError, OverflowError):
            raise BadValue(
                "bad_time",
                f"time must be in {self.time_unit}, see [frames]. Received: "
                f"{value!r:.80}",
            ) from None
        return found if abs(found) < 1e18 else math.nan


def _plain(value: Any) -> str:
    """Return a state as text in small letters: ``"Not tracked"`` is ``nottracked``."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = re.sub(r"[\s_-]", "", "" if value is None else str(value).lower())
    return text.removeprefix("trackingstate")


def _layout(path: Path, joint_map: Path | None, is_json: bool) -> Layout:
    """Return what the map of ``path`` says."""
    where = path.with_suffix(".toml") if joint_map is None else joint_map
    if joint_map is not None or where.is_file():
        value: Mapping[str, Any] = load_toml(where)
    elif is_json:
        value = KINECT2
    else:
        raise InputError(
            f"{path} has no colour coordinates that kpose knows: say in a map, as "
            "?map=MAP.toml, which columns are x and y in the colour picture; "
            f"{ONLY_3D}"
        )
    _require_keys(where, value, ("columns", "joints", "states", "pixels", "frames"))
    tables = {
        key: value.get(key, {}) for key in ("columns", "states", "pixels", "frames")
    }
    _require_keys(where, tables["columns"], COLUMNS, "[columns] ")
    _require_keys(where, tables["states"], tuple(CODES), "[states] ")
    _require_keys(where, tables["pixels"], ("unit", "width", "height"), "[pixels] ")
    _require_keys(where, tables["frames"], ("first", "time"), "[frames] ")
    unit = tables["pixels"].get("unit", "pixel")
    first = tables["frames"].get("first", 0)
    time_unit = tables["frames"].get("time", "ms")
    for key, one, expected, good in (
        ("unit", unit, '"pixel" or "fraction"', unit in ("pixel", "fraction")),
        ("first", first, "a whole number", type(first) is int and abs(first) < 1 << 32),
        ("time", time_unit, f"one of {', '.join(TIMES)}", time_unit in list(TIMES)),
    ):
        if not good:
            raise InputError(
                f"{where}: {key} must be {expected}. Received: {one!r:.80}"
            )
    return Layout(
        path=where,
        columns=_columns(where, tables["columns"], is_json),
        joints=value.get("joints"),
        states=_states(where, tables["states"] or STATES),
        fraction=unit == "fraction",
        size=_size_of(where, tables["pixels"]),
        first=first,
        time_unit=time_unit,
    )


def _require_keys(path: Path, table: Any, keys: Sequence[str], name: str = "") -> None:
    if not isinstance(table, dict):
        raise InputError(f"{path}: {name}must be a table. Received: {table!r:.80}")
    for key in table:
        if key not in keys:
            raise InputError(
                f"{path}: {name}must have {', '.join(keys)}. Received: {key}"
            )


def _columns(path: Path, table: Mapping[str, Any], is_json: bool) -> dict[str, Any]:
    """Return the table ``[columns]`` after a look at it."""
    needed = ("x", "y") if is_json or "joint" not in table else ("x", "y", "frame")
    for key in needed:
        if key in table:
            continue
        reason = f"If there is none, {ONLY_3D}"
        if key == "frame":
            reason = "A row is a joint, so it must say of which frame"
        raise InputError(
            f"{path}: [columns] must say which is {key}"
            f"{'' if key == 'frame' else ' in the colour picture'}. "
            f"Received: {', '.join(table) or 'nothing'}. {reason}"
        )
    kinds = {type(value) for value in table.values()}
    by_number = kinds == {int} and not is_json and "joint" in table
    if kinds != {str} and not (by_number and min(table.values()) >= 0):
        raise InputError(
            f"{path}: [columns] must have names, or only numbers from 0 where a table "
            f"has a row per joint and no header. Received: {dict(table)!r:.200}"
        )
    if not is_json and "joint" not in table:
        for key in ("x", "y", *(("state",) if "state" in table else ())):
            if table[key].count("{point}") != 1:
                raise InputError(
                    f"{path}: {key} must be a pattern such as '{{point}}_{key}', or "
                    "joint be said where a row is a joint. Received: "
                    f"{table[key]!r:.80}"
                )
    return dict(table)


def _states(path: Path, table: Mapping[str, Any]) -> dict[str, int]:
    """Return the code of each state's text."""
    states: dict[str, int] = {}
    for key, values in table.items():
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, dict | list) or states.get(_plain(value)) not in (
                None,
                CODES[key],
            ):
                raise InputError(
                    f"{path}: [states] must have each text or number once. "
                    f"Received: {value!r:.80} for {key}"
                )
            states[_plain(value)] = CODES[key]
    return states


def _size_of(path: Path, table: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the size in the table ``[pixels]``."""
    if "width" not in table and "height" not in table:
        return None
    size = table.get("width"), table.get("height")
    if any(type(side) is not int or not 0 < side < 1 << 20 for side in size):
        raise InputError(
            f"{path}: width and height must be those of the colour picture in pixels, "
            f"both or none. Received: {size[0]!r:.80} and {size[1]!r:.80}"
        )
    return table["width"], table["height"]


def _video(path: Path, images: Path | None) -> Path:
    """Return the video of a table."""
    if images is not None:
        if images.is_dir():
            raise InputError(
                f"{path} must have a video as its pictures. Received: {images}"
            )
        return images
    beside = [path.with_suffix(suffix) for suffix in video.SUFFIXES]
    found = next((one for one in beside if one.is_file()), None)
    if found is None:
        raise InputError(
            f"{path} must have the video of its colour frames beside it as "
            f"{beside[0].name}, or be read as PATH?images=VIDEO"
        )
    return found


def _size(layout: Layout, clip: Path) -> tuple[int, int] | None:
    """Return width and height of the pictures, None where nothing says them."""
    first = try_read(ImageRef(clip, 0))
    if isinstance(first, InputError):
        if layout.fraction and layout.size is None:
            raise InputError(
                f"{layout.path} must have width and height in [pixels] where the unit "
                f"is fraction and the video cannot be read: {first}"
            )
        return layout.size
    height, width = first.shape[:2]
    if layout.size not in (None, (width, height)):
        raise InputError(
            f"{layout.path}: width and height must be those of {clip}, {width} x "
            f"{height}. Received: {layout.size}"
        )
    return width, height


@dataclass
class _Frame:
    """What a table says of one frame."""

    time_ms: float = math.nan
    people: dict[str, dict[str, Point]] = field(default_factory=dict)


@dataclass
class _Table:
    """What is read so far.

    Attributes:
        frames: By the frame's index in the video.
        damaged: Of these frames something cannot be used; the first reason of each.
        problems: What cannot be used and is of no known frame.
        points: Names of all points, in the order in which they come.
    """

    path: Path
    frames: dict[int, _Frame] = field(default_factory=dict)
    damaged: dict[int, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    points: dict[str, None] = field(default_factory=dict)

    def add(self, frame: int, person: str, point: str, value: Point) -> None:
        """Add a point that is not there yet."""
        points = self.frames[frame].people.setdefault(person, {})
        if point in points:
            raise BadValue(
                "twice", f"person {person!r} must have {point} once in a frame"
            )
        points[point] = value
        self.points[point] = None

    @contextmanager
    def row(self, where: str, frame: int) -> Iterator[None]:
        """Note the bad value of a row of a frame, and go on."""
        self.frames.setdefault(frame, _Frame())
        try:
            yield
        except BadValue as error:
            self.damaged.setdefault(frame, f"{where}: {error}")


def _read_long(table: _Table, layout: Layout) -> None:
    """Read a CSV file with a row per joint."""
    delimiter = csv_delimiter(table.path)
    comma = delimiter != ","
    rows = csv_rows(table.path, delimiter)
    names = layout.columns
    if any(isinstance(name, str) for name in names.values()):
        at = _by_header(table.path, layout, next(rows)[1])
    else:
        at = {key: int(column) for key, column in names.items()}
    for line, cells in rows:
        where = f"{table.path} line {line}"
        try:
            if len(cells) <= max(at.values()):
                raise BadValue(
                    "too_few_cells",
                    f"must have {max(at.values()) + 1} cells. Received: {len(cells)}",
                )
            row = {key: cells[column] for key, column in at.items()}
            frame = _frame_number(row["frame"], layout)
        except BadValue as error:
            table.problems.append(f"{where}: {error}")
            continue
        with table.row(where, frame):
            _set_time(table.frames[frame], row.get("time"), layout, comma)
            state = layout.state(row["state"], where) if "state" in row else TRACKED
            value = (_number(row["x"], comma), _number(row["y"], comma), state)
            person = row.get("person", "").strip()
            table.add(frame, person, layout.point(row["joint"]), value)


def _read_wide(table: _Table, layout: Layout) -> None:
    """Read a CSV file with a row per person, or per frame where no column has it."""
    delimiter = csv_delimiter(table.path)
    comma = delimiter != ","
    rows = csv_rows(table.path, delimiter)
    header = [name.strip() for name in next(rows)[1]]
    points = _point_columns(header, layout)
    if not points:
        raise _no_colour(table.path, layout, header)
    others = ("frame", "person", "time")
    at = _by_header(table.path, layout, header, others)
    for count, (line, cells) in enumerate(rows):
        where = f"{table.path} line {line}"
        try:
            if len(cells) < len(header):
                raise BadValue(
                    "too_few_cells",
                    f"must have {len(header)} cells. Received: {len(cells)}",
                )
            frame = (
                _frame_number(cells[at["frame"]], layout) if "frame" in at else count
            )
        except BadValue as error:
            table.problems.append(f"{where}: {error}")
            continue
        with table.row(where, frame):
            time = cells[at["time"]] if "time" in at else None
            _set_time(table.frames[frame], time, layout, comma)
            person = cells[at["person"]].strip() if "person" in at else ""
            values = {
                name: (
                    _number(cells[x], comma),
                    _number(cells[y], comma),
                    TRACKED if state is None else layout.state(cells[state], where),
                )
                for name, (x, y, state) in points.items()
            }
            for name, value in values.items():
                table.add(frame, person, name, value)


def _point_columns(
    header: Sequence[str], layout: Layout
) -> dict[str, tuple[int, int, int | None]]:
    """Return the columns of x, y and state of each point, by its name."""
    at = {name: index for index, name in enumerate(header)}
    patterns = {
        k: str(layout.columns[k]) for k in ("x", "y", "state") if k in layout.columns
    }
    before, after = patterns["x"].split("{point}")
    points = {}
    for name in header:
        point = name[len(before) : len(name) - len(after)]
        named = {k: one.replace("{point}", point) for k, one in patterns.items()}
        if point and named["x"] == name and named["y"] in at:
            state = at.get(named["state"]) if "state" in named else None
            if "state" in named and state is None:
                raise InputError(
                    f"{layout.path}: state must be a column of every point. Received: "
                    f"none {named['state']!r}"
                )
            points[layout.point(point)] = at[name], at[named["y"]], state
    return points


def _by_header(
    path: Path, layout: Layout, header: Sequence[str], keys: Sequence[str] = COLUMNS
) -> dict[str, int]:
    """Return the number of each column that the map names."""
    names = [name.strip() for name in header]
    at = {}
    # Without x and y nothing else matters.
    for key in sorted(layout.columns, key=("x", "y").__contains__, reverse=True):
        name = layout.columns[key]
        if key not in keys:
            continue
        if names.count(str(name)) != 1:
            if key in ("x", "y"):
                raise _no_colour(path, layout, names)
            raise InputError(
                f"{layout.path}: {key} must be one column of {path}, "
                f"{', '.join(names):.300}. Received: {name!r:.80}"
            )
        at[key] = names.index(str(name))
    return at


def _no_colour(path: Path, layout: Layout, header: Sequence[str]) -> InputError:
    """Return the error of a table without colour coordinates."""
    return InputError(
        f"{path} has no colour coordinates, columns {layout.columns['x']} and "
        f"{layout.columns['y']}: {ONLY_3D}. Received: {', '.join(header):.200}"
    )


def _frame_number(value: Any, layout: Layout) -> int:
    try:
        found = number(value) - layout.first
    except (ValueError, OverflowError):
        found = math.nan
    if not (0 <= found < video.MOST_FRAMES and found.is_integer()):
        raise BadValue(
            "bad_frame",
            f"frame must be a whole number from {layout.first}. "
            f"Received: {value!r:.80}",
        )
    return int(found)


def _set_time(frame: _Frame, value: Any, layout: Layout, comma: bool = False) -> None:
    """Set the time of a frame where nothing said it before."""
    if value is not None and math.isnan(frame.time_ms):
        frame.time_ms = layout.milliseconds(value, comma)


def _number(value: Any, decimal_comma: bool = False) -> float:
    """Return a coordinate, NaN for none, infinities and what Microsoft's C++ prints."""
    if isinstance(value, str) and (NO_NUMBER.fullmatch(value.strip()) or "∞" in value):
        return math.nan
    try:
        return number(value, decimal_comma)
    except (ValueError, OverflowError):
        raise BadValue(
            "not_a_number", f"x and y must be numbers. Received: {value!r:.80}"
        ) from None


def _read_json(table: _Table, layout: Layout) -> None:
    """Read JSON: frames that have bodies that have joints."""
    columns = {key: str(name) for key, name in layout.columns.items()}
    columns = {"bodies": "bodies", "joints": "joints", **columns}
    keys: dict[str, None] = {}
    for count, (where, item) in enumerate(_json_frames(table.path, columns["bodies"])):
        given = item if isinstance(item, dict) else {}
        bodies = given.get(columns["bodies"])
        try:
            if not isinstance(bodies, list):
                raise BadValue(
                    "no_bodies",
                    f"must have a list {columns['bodies']}. Received: {item!r:.80}",
                )
            frame = count
            if "frame" in columns:
                frame = _frame_number(given.get(columns["frame"]), layout)
        except BadValue as error:
            table.problems.append(f"{where}: {error}")
            continue
        with table.row(where, frame):
            if "time" in columns:
                _set_time(table.frames[frame], given.get(columns["time"]), layout)
        for nth, body in enumerate(bodies):
            place = f"{where} body {nth}"
            with table.row(place, frame):
                points = _json_points(body, columns, layout, place, keys)
                name = body.get(columns["person"]) if "person" in columns else None
                # Bodies without a name are told apart by their place in the frame.
                person = f"{NAMELESS}{nth}" if name in (None, "") else str(name)
                for point, value in points.items():
                    table.add(frame, person, point, value)
    if keys and not {columns["x"], columns["y"]} <= set(keys):
        raise _no_colour(table.path, layout, list(keys))


NAMELESS = "\0"
"""Before the place of a body in its frame, where it has no name."""


def _json_frames(path: Path, bodies: str) -> Iterator[tuple[str, Any]]:
    """Yield where each frame is, for errors, and its value."""
    if path.suffix.lower() == ".jsonl":
        for number, line in enumerate(lines(path), start=1):
            if line.strip():
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError) as error:
                    value = f"no JSON, {error}"
                yield f"{path} line {number}", value
        return
    value = read_json(path)
    if isinstance(value, dict):
        value = [value] if bodies in value else value.get("frames")
    if not isinstance(value, list):
        raise InputError(
            f"{path} must be a JSON list of frames, or an object with the list frames"
        )
    for index, item in enumerate(value):
        yield f"{path} frame {index}", item


def _json_points(
    body: Any,
    columns: Mapping[str, str],
    layout: Layout,
    where: str,
    keys: dict[str, None],
) -> dict[str, Point]:
    """Return the points of a body, none where it is not tracked; adds to ``keys``."""
    if not isinstance(body, dict):
        raise BadValue("no_body", f"must be an object. Received: {body!r:.80}")
    if "tracked" in columns:
        flag = _plain(body.get(columns["tracked"]))
        if flag in ("", "0", "false"):
            return {}
    given = body.get(columns["joints"])
    if isinstance(given, dict):
        items = list(given.items())
    elif isinstance(given, list) and "joint" in columns:
        key = columns["joint"]
        items = [(j.get(key) if isinstance(j, dict) else None, j) for j in given]
    elif isinstance(given, list) and len(given) == len(JOINT_TYPES):
        items = list(zip(JOINT_TYPES, given, strict=True))
    else:
        came = len(given) if isinstance(given, list) else f"{given!r:.80}"
        raise BadValue(
            "wrong_number_of_joints",
            f"must have {len(JOINT_TYPES)} {columns['joints']}. Received: {came}",
        )
    points: dict[str, Point] = {}
    for name, joint in items:
        if not isinstance(joint, dict):
            raise BadValue(
                "no_joint", f"a joint must be an object. Received: {joint!r:.80}"
            )
        keys.update(dict.fromkeys(joint))
        x, y = (_number(joint.get(columns[key])) for key in ("x", "y"))
        state = TRACKED
        if "state" in columns:
            state = layout.state(joint.get(columns["state"]), where)
        point = layout.point(name)
        if point in points:
            raise BadValue("twice", f"must have {point} once")
        points[point] = x, y, state
    return points


def _take(
    table: _Table, layout: Layout, clip: Path, size: tuple[int, int] | None
) -> Take:
    """Return the take of a table that is read."""
    wrong = [*table.problems, *table.damaged.values()]
    people = [
        (frame, name, points)
        for frame in sorted(table.frames)
        for name, points in table.frames[frame].people.items()
    ]
    if not people:
        raise InputError(wrong[0] if wrong else f"{table.path} must have a body")
    names = list(table.points)
    where = f"the joints of {table.path}"
    mapping = (
        by_names(names, where)
        if layout.joints is None
        else from_table(layout.joints, names, layout.path)
    )
    nothing = (math.nan, math.nan, UNTRACKED)
    values = np.array(
        [[points.get(name, nothing) for name in names] for _, _, points in people],
        np.float64,
    )
    if layout.fraction:
        assert size is not None
        # The programs divide the Kinect's pixels, whose centres are integers.
        values[..., :2] *= size
    else:
        _require_pixels(table.path, values[..., :2], layout)
    bodies: dict[int, list[Body]] = {frame: [] for frame in sorted(table.frames)}
    found = _joints(values, mapping)
    for (frame, name, _), joints, states in zip(people, *found, strict=True):
        known = "" if name.startswith(NAMELESS) else name
        bodies[frame].append(recordings.body(joints, states, known))
    facts = recordings.read_facts(table.path.parent, table.path.stem)
    times, problem = _times(table, list(bodies), facts.fps)
    return Take(
        name=table.path.stem,
        images=[ImageRef(clip, frame) for frame in bodies],
        bodies=list(bodies.values()),
        facts=facts,
        times_ms=times,
        problems=(*table.problems, *problem),
        damaged={
            index: table.damaged[frame]
            for index, frame in enumerate(bodies)
            if frame in table.damaged
        },
    )


def _joints(values: Floats, mapping: JointMap) -> tuple[Floats, NDArray[np.int8]]:
    """Return ``(persons, 13, 2)`` joints and ``(persons, 13)`` states.

    A joint of several points is as well tracked as the worst of them.

    Args:
        values: ``(persons, points, 3)``: x and y in pixels, and state.
        mapping: Of the points.
    """
    points, states = values[..., :2], values[..., 2]
    with np.errstate(invalid="ignore"):
        placed = (np.abs(points) <= recordings.LARGEST).all(-1) & (points != 0).any(-1)
    found = mapping.joints(points, placed & (states >= INFERRED))
    tracked = mapping.joints(points, placed & (states == TRACKED))[..., 2] > 0
    known = found[..., 2] > 0
    joints = np.where(known[..., None], found[..., :2].astype(np.float64), np.nan)
    code = np.where(tracked, TRACKED, np.where(known, INFERRED, UNTRACKED))
    return joints, code.astype(np.int8)


def _require_pixels(path: Path, points: Floats, layout: Layout) -> None:
    """Refuse coordinates that are metres or fractions."""
    sizes = np.abs(points[np.isfinite(points)])
    if len(sizes) and sizes.max() < METRES:
        raise InputError(
            f"{path} has no colour coordinates: {layout.columns['x']} and "
            f'{layout.columns["y"]} must be pixels (or unit = "fraction" be said), but '
            f"none is over {sizes.max():.3g}; {ONLY_3D}"
        )


def _times(
    table: _Table, frames: Sequence[int], fps: float
) -> tuple[Floats, tuple[str, ...]]:
    """Return the time of each frame in milliseconds, and what is wrong with them."""
    by_rate = np.array(frames, np.float64) * 1000 / fps
    given = np.array([table.frames[frame].time_ms for frame in frames], np.float64)
    if np.isnan(given).all():
        return by_rate, ()
    if np.isnan(given).any() or (np.diff(given) <= 0).any():
        return by_rate, (
            f"{table.path} must have times that grow with the frame; taken are "
            f"{fps:g} frames per second",
        )
    return given, ()
