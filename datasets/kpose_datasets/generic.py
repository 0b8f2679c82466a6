"""Any table of people: CSV, JSON or JSON lines, and a joint map in a TOML file.

Format: datasets/cards/generic.md.
"""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import ijson
import numpy as np
from numpy.typing import NDArray

from kpose.errors import InputError
from kpose.geometry import Box
from kpose.joints import BODY_13
from kpose.records import SPLITS, BadRecord, ImageRef, PersonRecord
from kpose.video import SUFFIXES as VIDEOS
from kpose_datasets.joint_map import JointMap, by_names, from_table, load_toml

SKELETON = BODY_13

LICENCE = "generic: that of the user's pictures and labels"

BOX = ("x0", "y0", "x1", "y1")

SIZE = ("width", "height")

FIELDS = (
    *("image", "frame", "id", "split", "group", "recording", "subject", "clothing"),
    *(*BOX, *SIZE),
)
"""What a row says of a person beside its points, by the names of the columns."""

PATTERNS = {"x": "{point}_x", "y": "{point}_y", "v": "{point}_v"}
"""The columns of a point."""

PIXELS = ("first", "unit", "width", "height", "mirrored", "missing")
"""The keys of a map's table ``[pixels]``."""

EMPTY = ("", "nan", "na", "null")
"""Cells, in small letters, that hold no number; pandas and R write them."""

UNLABELLED = (math.nan, math.nan, -1.0)

SHOWN = {1.0: 0.0, 2.0: 1.0}
"""COCO's flags of labelled points, and kpose's ``visible``."""

BATCH = 256
"""Persons whose joints are mapped at once, for speed."""

LONGEST_LINE = 1 << 20
"""Characters: a longer line is of a file that is no table."""


def read(
    path: Path, images: Path | None = None, joint_map: Path | None = None
) -> Iterator[PersonRecord | BadRecord]:
    """Yield every person of a table, in the order of the file.

    Args:
        path: A ``.csv``, ``.tsv``, ``.json`` or ``.jsonl`` file.
        images: The folder that the pictures are named from; None for that of ``path``.
        joint_map: A TOML file, or the name of a map that kpose ships; None for the one
            beside ``path`` with its name, if there is one.

    Raises:
        InputError: If the file or the map cannot be read, or does not say which picture
            or which joints a row has.
    """
    if not path.is_file():
        raise InputError(f"expected a table at {path}, but there is no such file")
    if images is not None and not images.is_dir():
        raise InputError(
            f"the pictures of {path} must be in a folder; name a video in the column "
            f"image. Received: {images}"
        )
    layout = _layout(path, joint_map)
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        mapping, labels = _csv_labels(path, layout)
    elif suffix in (".json", ".jsonl"):
        mapping, labels = _json_labels(path, layout)
    else:
        raise InputError(f"{path} must be a .csv, .tsv, .json or .jsonl file")
    folder = path.parent if images is None else images
    while batch := list(islice(labels, BATCH)):
        yield from _records(batch, mapping, layout, folder, f"generic/{path.stem}")


@dataclass(frozen=True, slots=True)
class Layout:
    """What a TOML file says of a table.

    Args:
        path: The file, for errors; where it would be if there is none.
        joints: Its table ``[joints]``, None where it has none.
        columns: Name in ``FIELDS`` or ``PATTERNS`` -> name or pattern of the columns.
        first: What the centre of the first pixel is called, 0 or 1.
        fraction: Whether coordinates are fractions of the picture, edge to edge.
        size: ``"width"``, ``"height"`` -> that of all pictures, in pixels.
        mirrored: Whether the pictures are stored as mirror images.
        missing: A point with one of these for both coordinates is not labelled.
    """

    path: Path
    joints: Any = None
    columns: Mapping[str, str] = field(default_factory=dict)
    first: int = 0
    fraction: bool = False
    size: Mapping[str, float] = field(default_factory=dict)
    mirrored: bool = False
    missing: Sequence[float] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """What must be known of a picture's size: parts of ``SIZE``."""
        return SIZE if self.fraction else SIZE[:1] if self.mirrored else ()

    def map_of(self, names: Sequence[str], where: str) -> JointMap:
        """Return the map of the points ``names``, by the file or by their names."""
        if self.joints is not None:
            return from_table(self.joints, names, self.path)
        try:
            return by_names(names, where)
        except InputError as error:
            raise InputError(
                f"{error}. Else a joint map must say what they are: write "
                f'{self.path} with a table [joints] and lines such as left_wrist = "LW"'
            ) from None

    def image_points(
        self, points: NDArray[np.float64], size: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return ``(persons, points, 2)`` image pixels of the file's coordinates.

        Args:
            points: ``(persons, points, 2)``.
            size: ``(persons, 2)``: width and height in pixels where they are needed.
        """
        # A joint at x lies at x + 0.5 between the edges (kpose.geometry).
        pixels = points * size[:, None] - 0.5 if self.fraction else points - self.first
        if self.mirrored:
            pixels[..., 0] = size[:, None, 0] - 1 - pixels[..., 0]
        return np.asarray(pixels, np.float64)

    def image_box(self, edges: Sequence[float], size: Sequence[float]) -> Box:
        """Return the box of the file's ``edges`` in image pixels."""
        scale = (*size, *size) if self.fraction else (1, 1, 1, 1)
        first = 0 if self.fraction else self.first
        box = Box(*(e * s - first for e, s in zip(edges, scale, strict=True)))
        return box.mirrored(size[0]) if self.mirrored else box


def _layout(path: Path, joint_map: Path | None) -> Layout:
    """Return what the map of the table ``path`` says, the defaults if it has none."""
    where = path.with_suffix(".toml") if joint_map is None else joint_map
    if joint_map is None and not where.is_file():
        return Layout(where)
    value = load_toml(where)
    _require_keys(f"{where}", value, ("joints", "columns", "pixels"))
    columns, pixels = value.get("columns", {}), value.get("pixels", {})
    _require_keys(f"{where}: [columns]", columns, (*FIELDS, *PATTERNS))
    _require_keys(f"{where}: [pixels]", pixels, PIXELS)
    for key, name in columns.items():
        if not isinstance(name, str) or not name:
            raise InputError(
                f"{where}: {key} must be the name of a column. Received: {name!r:.100}"
            )
        if key in PATTERNS and name.count("{point}") != 1:
            raise InputError(
                f"{where}: {key} must be a pattern such as {PATTERNS[key]!r}. "
                f"Received: {name!r:.100}"
            )
    unit, missing = pixels.get("unit", "pixel"), pixels.get("missing", [])
    size = {key: pixels[key] for key in SIZE if key in pixels}
    checks = {
        "first": (_is_number(pixels.get("first", 0), (0, 1)), "0 or 1"),
        "unit": (unit in ("pixel", "fraction"), '"pixel" or "fraction"'),
        "mirrored": (isinstance(pixels.get("mirrored", False), bool), "true or false"),
        "missing": (
            isinstance(missing, list) and all(map(_is_number, missing)),
            "a list of numbers such as [0, -1]",
        ),
        **{
            key: (_is_number(value) and 0 < value < 1e9, "a number of pixels")
            for key, value in size.items()
        },
    }
    for key, (good, expected) in checks.items():
        if not good:
            raise InputError(
                f"{where}: {key} must be {expected}. Received: {pixels[key]!r:.100}"
            )
    if unit == "fraction" and "first" in pixels:
        raise InputError(
            f"{where}: first must be left out where the unit is fraction. "
            f"Received: {pixels['first']}"
        )
    return Layout(
        path=where,
        joints=value.get("joints"),
        columns=columns,
        first=int(pixels.get("first", 0)),
        fraction=unit == "fraction",
        size=size,
        mirrored=pixels.get("mirrored", False),
        missing=missing,
    )


def _require_keys(where: str, table: Any, keys: Sequence[str]) -> None:
    if not isinstance(table, dict):
        raise InputError(f"{where} must be a table. Received: {table!r:.100}")
    for key in table:
        if key not in keys:
            raise InputError(f"{where} must have {', '.join(keys)}. Received: {key}")


def _is_number(value: Any, among: Sequence[int] | None = None) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and (among is None or value in among)


@dataclass(frozen=True, slots=True)
class Label:
    """A person as the file has it.

    Args:
        id: Where the file has it, the id of a person who has no other.
        where: The same with the name of the file, for errors.
        fields: Name in ``FIELDS`` -> text or JSON value.
        names: Of the points of all persons.
        points: x, y and flag of each point, text or JSON values.
        decimal_comma: Whether numbers may have a comma for a point.
    """

    id: str
    where: str
    fields: Mapping[str, Any]
    names: Sequence[str]
    points: Sequence[Sequence[Any]]
    decimal_comma: bool = False


class BadValue(Exception):
    """A value that no person can have: a ``BadRecord`` of that reason."""

    def __init__(self, reason: str, message: str) -> None:
        """Keep the reason, in snake case, beside the message."""
        super().__init__(message)
        self.reason = reason


def _csv_labels(
    path: Path, layout: Layout
) -> tuple[JointMap, Iterator[Label | BadRecord]]:
    """Return the map of a CSV file's points, and its rows."""
    delimiter = csv_delimiter(path)
    rows = csv_rows(path, delimiter)
    header = [name.strip() for name in next(rows)[1]]
    twice = [name for name in header if name and header.count(name) > 1]
    if twice:
        raise InputError(
            f"{path} must name every column once. Received twice: {twice[0]!r}"
        )
    at = {name: index for index, name in enumerate(header) if name}
    points = _point_columns(header, layout)
    taken = {name for names in points.values() for name in names}
    fields = _fields(path, layout, at, taken)
    names = list(points)
    if not names:
        raise InputError(
            f"{path} must have columns such as "
            f"{' and '.join(_patterns(layout, 'left_wrist')[:2])} for every point. "
            f"Received: {', '.join(at):.400}"
        )
    mapping = layout.map_of(names, f"the columns of {path}")
    # A point that no joint is made of may hold anything.
    places = [[at.get(name) for name in names] for names in points.values()]
    used = set(mapping.points)
    places = [place if i in used else [None] * 3 for i, place in enumerate(places)]
    columns = {key: at[name] for key, name in fields.items()}

    def labels() -> Iterator[Label | BadRecord]:
        for line, cells in rows:
            id, where = f"row {line}", f"{path.name} line {line}"
            if len(cells) < len(header) or any(cells[len(header) :]):
                few = "few" if len(cells) < len(header) else "many"
                yield BadRecord(
                    id,
                    f"generic/{path.stem}",
                    f"too_{few}_cells",
                    f"{where}: must have {len(header)} cells. Received: {len(cells)}",
                )
                continue
            yield Label(
                id,
                where,
                {key: cells[column] for key, column in columns.items()},
                names,
                [["" if i is None else cells[i] for i in place] for place in places],
                decimal_comma=delimiter != ",",
            )

    return mapping, labels()


def _patterns(layout: Layout, point: str) -> tuple[str, str, str]:
    """Return the names of the columns x, y and v of ``point``."""
    x, y, v = (
        layout.columns.get(key, pattern).replace("{point}", point)
        for key, pattern in PATTERNS.items()
    )
    return x, y, v


def _point_columns(
    header: Sequence[str], layout: Layout
) -> dict[str, tuple[str, str, str]]:
    """Return the columns x, y and v of each point; there may be no column v."""
    before, after = layout.columns.get("x", PATTERNS["x"]).split("{point}")
    points = {}
    for name in header:
        point = name[len(before) : len(name) - len(after)]
        columns = _patterns(layout, point)
        if point and columns[0] == name and columns[1] in header:
            points[point] = columns
    return points


def _fields(
    path: Path, layout: Layout, names: Iterable[str], taken: Iterable[str] = ()
) -> dict[str, str]:
    """Return which column, of ``names``, each of ``FIELDS`` is.

    Args:
        path: The table.
        layout: Where they have other names.
        names: Of the columns.
        taken: Columns of points; a point 0 may have x0 and y0, which then are no box.
    """
    known = list(names)
    fields = {}
    for key in FIELDS:
        name = layout.columns.get(key, key)
        if name in known and (key in layout.columns or name not in taken):
            fields[key] = name
        elif key in layout.columns:
            raise InputError(
                f"{layout.path}: {key} must be a column of {path}, "
                f"{', '.join(known):.400}. Received: {name!r}"
            )
    for key in ("image", *layout.needs):
        if key not in fields and key not in layout.size:
            hint = "" if key == "image" else f", or {layout.path} say it in [pixels]"
            raise InputError(
                f"{path} must have a column {key}{hint}. Received: "
                f"{', '.join(known) or 'none':.400}"
            )
    edges = [key for key in BOX if key in fields]
    if 0 < len(edges) < len(BOX):
        raise InputError(
            f"{path} must have all of the columns {', '.join(BOX)} or none. "
            f"Received: {', '.join(edges)}"
        )
    return fields


def csv_delimiter(path: Path) -> str:
    """Return comma, semicolon or tab: what the first line has most of.

    Raises:
        InputError: If the file is empty or no text.
    """
    first = next((line for line in lines(path) if line.strip()), None)
    if first is None:
        raise InputError(f"{path} must be CSV with a header, but is empty")

    def cells(delimiter: str) -> int:
        return len(next(csv.reader([first], delimiter=delimiter)))

    try:
        return max(",;\t", key=cells)
    except csv.Error as error:
        raise InputError(f"{path} line 1 must be a row of CSV, but {error}") from None


def csv_rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the line where a row starts, from 1, and its cells.

    Rows whose cells are all empty, as spreadsheets leave them, are left out.

    Raises:
        InputError: If a row is not CSV: a quote that does not close, an endless cell.
    """
    reader = csv.reader(lines(path), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(
                f"{path} line {line} must be a row of CSV, but {error}"
            ) from None
        if any(map(str.strip, cells)):
            yield line, cells


def lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file, with their ends, without a byte order mark.

    Raises:
        InputError: If the file cannot be read, is not UTF-8, or is binary.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            number = 0
            while line := file.readline(LONGEST_LINE):
                number += 1
                if "\0" in line:
                    raise InputError(
                        f"{path} must be text, but line {number} has a NUL byte"
                    )
                if len(line) == LONGEST_LINE:
                    raise InputError(
                        f"{path} must be a table, but line {number} has over "
                        f"{LONGEST_LINE - 1} characters"
                    )
                yield line
    except UnicodeDecodeError as error:
        raise InputError(_not_utf8(path) or f"{path} must be UTF-8: {error}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}") from None


def _not_utf8(path: Path) -> str | None:
    """Return which byte of a file is not UTF-8, in words; None if all are."""
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return (
                    f"{path} must be UTF-8, but line {number} has the byte "
                    f"0x{line[error.start]:02x} at offset {offset + error.start}; save "
                    "it as UTF-8"
                )
            offset += len(line)
    return None


def _json_labels(
    path: Path, layout: Layout
) -> tuple[JointMap, Iterator[Label | BadRecord]]:
    """Return the map of a JSON file's points, and its records.

    The file is read twice: the names of its points are those of all records.
    """
    for key in PATTERNS:
        if key in layout.columns:
            raise InputError(
                f"{layout.path}: [columns] must have patterns for CSV only. "
                f"Received: {key} for {path}"
            )
    items = _json_lines if path.suffix.lower() == ".jsonl" else _json_items
    found: dict[str, None] = {}
    keys: dict[str, None] = {}
    for _, item in items(path):
        if isinstance(item, dict):
            keys.update(dict.fromkeys(item))
            if isinstance(item.get("keypoints"), dict):
                found.update(dict.fromkeys(item["keypoints"]))
    if not found:
        raise InputError(
            f'{path} must have records such as {{"image": "a.jpg", "keypoints": '
            f'{{"head": [10, 20]}}}}. Received: {", ".join(keys) or "none":.200}'
        )
    fields = _fields(path, layout, keys)
    names = list(found)
    mapping = layout.map_of(names, f"the keypoints of {path}")
    made_of = set(mapping.points)
    used = [name if i in made_of else None for i, name in enumerate(names)]

    def labels() -> Iterator[Label | BadRecord]:
        for number, item in items(path):
            id = f"row {number}" if items is _json_lines else f"record {number}"
            where = f"{path.name} {id.replace('row', 'line')}"
            try:
                points = _json_points(item, used)
            except BadValue as error:
                detail = f"{where}: {error}"
                yield BadRecord(id, f"generic/{path.stem}", error.reason, detail)
                continue
            values = {key: item.get(name) for key, name in fields.items()}
            yield Label(id, where, values, names, points)

    return mapping, labels()


def _json_points(item: Any, used: Sequence[str | None]) -> list[Sequence[Any]]:
    """Return x, y and flag of each point; ``used`` has None for those left out."""
    if isinstance(item, BadValue):
        raise item
    if not isinstance(item, dict):
        raise BadValue("not_an_object", f"must be an object. Received: {item!r:.80}")
    keypoints = item.get("keypoints", ())
    if keypoints is not None and not isinstance(keypoints, dict):
        raise BadValue(
            "no_keypoints",
            'must have "keypoints": {"head": [x, y], ...}. Received: '
            + (f"{keypoints!r:.80}" if "keypoints" in item else "none"),
        )
    points: list[Sequence[Any]] = []
    for name in used:
        point = (keypoints or {}).get(name)
        if point is None:
            point = ["", ""]
        if not isinstance(point, list) or len(point) not in (2, 3):
            raise BadValue(
                "wrong_point",
                f"{name} must be [x, y], [x, y, v] or null. Received: {point!r:.80}",
            )
        points.append([*point, ""][:3])
    return points


def _json_items(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the number, from 1, and the value of each item of a JSON list."""
    try:
        with path.open("rb") as file:
            start = 3 if file.read(3) == b"\xef\xbb\xbf" else 0
            file.seek(start)
            if (first := file.read(4096).lstrip()[:1]) != b"[":
                hint = "; records line by line are .jsonl" if first == b"{" else ""
                raise InputError(
                    _not_utf8(path)
                    or f"{path} must be a JSON list of records{hint}. Received: "
                    f"{first.decode(errors='replace') or 'an empty file'}"
                )
            file.seek(start)
            yield from enumerate(ijson.items(file, "item", use_float=True), start=1)
    except (ijson.JSONError, UnicodeDecodeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            _not_utf8(path) or f"{path} must be JSON, but has a {reason}"
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}") from None


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the number, from 1, and value of each line, ``BadValue`` for no JSON."""
    for number, line in enumerate(lines(path), start=1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, BadValue("not_json", f"must be JSON, but {error}")


def _records(
    batch: Sequence[Label | BadRecord],
    mapping: JointMap,
    layout: Layout,
    folder: Path,
    source: str,
) -> Iterator[PersonRecord | BadRecord]:
    """Yield the records of ``batch``, joints of all mapped at once."""
    parsed: list[dict[str, Any] | BadRecord] = []
    points, sizes = [], []
    for label in batch:
        if isinstance(label, BadRecord):
            parsed.append(label)
            continue
        try:
            values, size = _values(label, layout, folder)
            xyv = [
                _point(label, name, point, layout)
                for name, point in zip(label.names, label.points, strict=True)
            ]
        except BadValue as error:
            detail = f"{label.where}: {error}"
            id = _id(label)
            parsed.append(BadRecord(id, source, error.reason, detail))
            continue
        parsed.append(values)
        points.append(xyv)
        sizes.append(size)
    count = len(points[0]) if points else max(mapping.points) + 1
    given = np.reshape(np.array(points, np.float64), (len(points), count, 3))
    with np.errstate(over="ignore", invalid="ignore"):  # inf is reported later
        pixels = layout.image_points(given[..., :2], np.reshape(sizes, (-1, 2)))
    annotated = ~np.isnan(given[..., 0])
    joints = iter(mapping.joints(pixels, annotated))
    visible = iter(mapping.visible(given[..., 2].astype(np.int8)))
    for item in parsed:
        if isinstance(item, BadRecord):
            yield item
            continue
        yield PersonRecord(
            joints=next(joints),
            visible=next(visible),
            source=source,
            head_rule=mapping.head_rule,
            **item,
        )


def _values(
    label: Label, layout: Layout, folder: Path
) -> tuple[dict[str, Any], tuple[float, float]]:
    """Return what a ``PersonRecord`` has beside joints, and the picture's size."""
    image = _text(label, "image").replace("\\", "/")
    if not image or "\0" in image:
        raise BadValue("no_image", f"image must name a picture. Received: {image!r}")
    frame = None
    if image.lower().endswith(VIDEOS):
        number = _number(label, "frame", label.fields.get("frame"))
        if not (number >= 0 and number.is_integer()):
            raise BadValue(
                "bad_frame",
                f"frame must be the index of a frame of {image!r:.80}, from 0. "
                f"Received: {label.fields.get('frame')!r:.80}",
            )
        frame = int(number)
    split = _text(label, "split") or "train"
    if split not in SPLITS:
        raise BadValue(
            "unknown_split",
            f"split must be {', '.join(SPLITS)} or empty. Received: {split!r:.80}",
        )
    recording = _text(label, "recording") or (image if frame is not None else "")
    size = _size(label, layout)
    values = {
        "id": _id(label),
        "image": ImageRef(folder / image, frame, layout.mirrored),
        "group": _text(label, "group") or recording or image,
        "split": split,
        "box": _box(label, layout, size),
        "recording": recording,
        "subject": _text(label, "subject"),
        "clothing": _text(label, "clothing"),
    }
    return values, size


def _id(label: Label) -> str:
    """Return the id that the file gives, on one line, else its place in the file."""
    id = label.fields.get("id")
    return " ".join(str(id).split()) or label.id if id is not None else label.id


def _text(label: Label, key: str) -> str:
    value = label.fields.get(key)
    if isinstance(value, bool | list | dict):
        raise BadValue("no_text", f"{key} must be text. Received: {value!r:.80}")
    return "" if value is None else str(value).strip()


def _size(label: Label, layout: Layout) -> tuple[float, float]:
    """Return width and height of the picture where they are needed, NaN elsewhere."""
    size = dict.fromkeys(SIZE, math.nan)
    for key in layout.needs:
        value = _number(label, key, label.fields.get(key))
        value = layout.size.get(key, value) if math.isnan(value) else value
        if not 0 < value < math.inf:
            raise BadValue(
                f"no_{key}",
                f"{key} must be that of the picture in pixels. Received: "
                f"{label.fields.get(key)!r:.80}",
            )
        size[key] = value
    return size["width"], size["height"]


def _box(label: Label, layout: Layout, size: Sequence[float]) -> Box | None:
    edges = [_number(label, key, label.fields.get(key)) for key in BOX]
    if all(map(math.isnan, edges)):
        return None
    if any(map(math.isnan, edges)):
        raise BadValue(
            "incomplete_box",
            f"{', '.join(BOX)} must all be given or all be empty. Received: "
            f"{', '.join(str(label.fields.get(key)) for key in BOX):.80}",
        )
    return layout.image_box(edges, size)


def _point(
    label: Label, name: str, values: Sequence[Any], layout: Layout
) -> tuple[float, float, float]:
    """Return x and y as the file has them, and visible; NaN, NaN and -1 for none."""
    x, y, flag = (_number(label, name, value) for value in values)
    if flag == 0:
        return UNLABELLED
    if not math.isnan(flag) and flag not in SHOWN:
        raise BadValue(
            "unknown_flag",
            f"the flag of {name} must be 0 not labelled, 1 hidden or 2 visible. "
            f"Received: {values[2]!r:.80}",
        )
    if math.isnan(x) and math.isnan(y) and math.isnan(flag):
        return UNLABELLED
    if math.isnan(x) or math.isnan(y):
        raise BadValue(
            "incomplete_point",
            f"{name} must have x and y where it is labelled. Received: "
            f"{', '.join(map(repr, values)):.80}",
        )
    if x == y and x in layout.missing:
        return UNLABELLED
    return x, y, SHOWN.get(flag, -1.0)


def _number(label: Label, what: str, value: Any) -> float:
    """Return the number in a cell or JSON value, NaN where it is empty."""
    try:
        return number(value, label.decimal_comma)
    except (ValueError, OverflowError):
        raise BadValue(
            "not_a_number", f"{what} must be a number. Received: {value!r:.80}"
        ) from None


def number(value: Any, decimal_comma: bool = False) -> float:
    """Return the number in a cell or JSON value, NaN where it is empty.

    Args:
        value: Text, a number or None.
        decimal_comma: Whether text may have a comma for a point.

    Raises:
        ValueError: If it is none.
        OverflowError: If it is too large.
    """
    if value is None:
        return math.nan
    if isinstance(value, str):
        text = value.strip().lower()
        if text in EMPTY:
            return math.nan
        if "_" in text:  # Python's own notation of digits
            raise ValueError(value)
        return float(text.replace(",", ".") if decimal_comma else text)
    if not _is_number(value):
        raise ValueError(value)
    return float(value)
