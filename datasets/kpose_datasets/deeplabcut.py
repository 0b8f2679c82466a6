"""The labels of a DeepLabCut project: ``CollectedData_SCORER.csv``.

Format and traps: datasets/cards/deeplabcut.md.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kpose.errors import InputError
from kpose.joints import BODY_13
from kpose.records import BadRecord, ImageRef, PersonRecord
from kpose_datasets.generic import csv_delimiter, csv_rows, number
from kpose_datasets.joint_map import JointMap, by_names, from_toml

SKELETON = BODY_13

LICENCE = "deeplabcut: that of the user's pictures and labels"

SINGLE = ("scorer", "bodyparts", "coords")

MULTI = ("scorer", "individuals", "bodyparts", "coords")
"""First cells of the header of a project with several individuals."""

UNIQUE = "single"
"""The individual under which such a project has points that are nobody's."""

BACKUPS = ("singleanimal", "multianimal", "windows", "unix")
"""How names of copies end that DeepLabCut's converters leave beside the labels."""


def read(
    path: Path, images: Path | None = None, joint_map: Path | None = None
) -> Iterator[PersonRecord | BadRecord]:
    """Yield every labelled person; a frame of one animal also without a label.

    Args:
        path: A ``CollectedData_SCORER.csv``, or a project, the folder that has
            ``labeled-data/VIDEO/CollectedData_SCORER.csv``.
        images: A folder with ``labeled-data/VIDEO/img001.png`` or ``VIDEO/img001.png``
            where the pictures are not in the project.
        joint_map: A TOML file as ``joint_map.from_toml`` reads it; None where the body
            parts have the names of joints.

    Raises:
        InputError: If there is no such file, or one has not the labels of a project.
    """
    if images is not None and not images.is_dir():
        raise InputError(f"the pictures of {path} must be in a folder, not at {images}")
    if path.is_dir():
        files, source = _files(path), f"deeplabcut/{path.resolve().name}"
    elif path.is_file():
        files, source = [path], f"deeplabcut/{path.stem}"
    else:
        raise InputError(f"expected DeepLabCut labels at {path}, but there is nothing")
    for file in files:
        project = path if path.is_dir() else _project(path)
        yield from _persons(file, _pictures(images or project), joint_map, source)


def _files(project: Path) -> list[Path]:
    """Return the label file of each video of a project."""
    files = []
    for folder in sorted((project / "labeled-data").glob("*")):
        # Copies of the frames of another folder; DeepLabCut leaves them out as well.
        if folder.name.endswith("_cropped"):
            continue
        found = sorted(folder.glob("CollectedData_*.csv"))
        found = [file for file in found if not file.stem.endswith(BACKUPS)] or found
        if len(found) > 1:
            raise InputError(
                f"{folder} must have the labels of one scorer; read the file that you "
                f"want. Received: {', '.join(file.name for file in found)}"
            )
        files += found
    if not files:
        raise InputError(
            f"{project} must be a DeepLabCut project, but has no "
            "labeled-data/VIDEO/CollectedData_SCORER.csv"
        )
    return files


def _project(file: Path) -> Path:
    """Return the nearest folder above ``file`` that has labeled-data, else its own."""
    folders = file.absolute().parents
    return next((f for f in folders if (f / "labeled-data").is_dir()), file.parent)


def _pictures(folder: Path) -> Path:
    """Return the folder that has a folder of pictures for each video."""
    inner = folder / "labeled-data"
    return inner if inner.is_dir() else folder


@dataclass(frozen=True, slots=True)
class Header:
    """The columns of a label file.

    Args:
        index: How many columns name the picture, 1 or 3.
        width: How many columns there are.
        individuals: One "" where the file has one animal.
        bodyparts: The points of the individuals.
        columns: Individual, body part and ``"x"`` or ``"y"`` -> column.
    """

    index: int
    width: int
    individuals: Sequence[str]
    bodyparts: Sequence[str]
    columns: dict[tuple[str, str, str], int]


def _header(file: Path, rows: Iterator[tuple[int, list[str]]]) -> Header:
    """Return what the first three or four rows say, and take them off ``rows``."""
    header: dict[str, list[str]] = {}
    for _, cells in rows:
        header[cells[0].strip()] = [cell.strip() for cell in cells]
        if "coords" in header or len(header) == len(MULTI):
            break
    if tuple(header) not in (SINGLE, MULTI):
        raise InputError(
            f"{file} must have rows that begin with {', '.join(SINGLE)} or "
            f"{', '.join(MULTI)}. Received: {', '.join(header):.200}"
        )
    coords, bodyparts = header["coords"], header["bodyparts"]
    individuals = header.get("individuals", [""] * len(coords))
    if "likelihood" in coords:
        raise InputError(
            f"{file} must be labels, CollectedData_SCORER.csv. Received: predictions "
            "of a network, with a likelihood"
        )
    if not len(coords) == len(bodyparts) == len(individuals):
        raise InputError(
            f"{file} must have as many {', '.join(list(header)[1:-1])} as coords. "
            f"Received: {len(bodyparts)} bodyparts, {len(coords)} coords"
        )
    index = 3 if coords[1:3] == ["", ""] else 1
    columns: dict[tuple[str, str, str], int] = {}
    for column in range(index, len(coords)):
        key = (individuals[column], bodyparts[column], coords[column])
        if key in columns or coords[column] not in ("x", "y"):
            raise InputError(
                f"{file} must have one x and one y for every body part. Received: "
                f"{' '.join(key).strip()!r:.100} in column {column + 1}"
            )
        columns[key] = column
    for one, part, coord in columns:
        if (one, part, "y" if coord == "x" else "x") not in columns:
            raise InputError(
                f"{file} must have one x and one y for every body part. Received: only "
                f"{coord} for {part!r:.100}"
            )
    unique = UNIQUE if "individuals" in header else None
    animals = {key: column for key, column in columns.items() if key[0] != unique}
    return Header(
        index=index,
        width=len(coords),
        individuals=list(dict.fromkeys(one for one, _, _ in animals)),
        bodyparts=list(dict.fromkeys(part for _, part, _ in animals)),
        columns=animals,
    )


def _joint_map(file: Path, header: Header, joint_map: Path | None) -> JointMap:
    if joint_map is not None:
        return from_toml(joint_map, header.bodyparts)
    try:
        return by_names(header.bodyparts, f"the bodyparts of {file}")
    except InputError as error:
        raise InputError(f"{error}. Else name a joint map in map=") from None


def _persons(
    file: Path, pictures: Path, joint_map: Path | None, source: str
) -> Iterator[PersonRecord | BadRecord]:
    """Yield the persons of one label file."""
    delimiter = csv_delimiter(file)
    rows = csv_rows(file, delimiter)
    header = _header(file, rows)
    mapping = _joint_map(file, header, joint_map)
    # Every video of a project has a file of the same name.
    folder = file.absolute().parent.name
    for line, cells in rows:
        where = f"{folder}/{file.name} line {line}"
        fault = _fault(header, cells)
        if fault is not None:
            reason, message = fault
            detail = f"{where}: {message}"
            yield BadRecord(f"{folder}/row {line}", source, reason, detail)
            continue
        # Windows writes the path of the picture with backslashes.
        names = "/".join(cells[: header.index]).replace("\\", "/").split("/")
        video, name = names[-2:]
        labelled = []
        for individual in header.individuals:
            id = "/".join(filter(None, (video, name, individual)))
            try:
                points = _points(header, individual, cells, delimiter != ",")
            except ValueError as error:
                detail = f"{where}: {individual or name}: {error}"
                yield BadRecord(id, source, "wrong_point", detail)
                continue
            # Who has no label is not in the picture, unless nobody else can be.
            if not individual or not np.isnan(points).all():
                labelled.append((id, points))
        if not labelled:
            continue
        stacked = np.stack([points for _, points in labelled])
        joints = mapping.joints(stacked, ~np.isnan(stacked[..., 0]))
        for (id, _), of_person in zip(labelled, joints, strict=True):
            yield PersonRecord(
                id=id,
                image=ImageRef(pictures / video / name),
                joints=of_person,
                visible=np.full(len(SKELETON), -1, np.int8),
                source=source,
                group=video,
                split="train",
                head_rule=mapping.head_rule,
                recording=video,
            )


def _fault(header: Header, cells: Sequence[str]) -> tuple[str, str] | None:
    """Return why a row has no persons, reason and message; None where it may."""
    if len(cells) < header.width or any(cells[header.width :]):
        few = "few" if len(cells) < header.width else "many"
        message = f"must have {header.width} cells. Received: {len(cells)}"
        return f"too_{few}_cells", message
    path = "/".join(cells[: header.index]).replace("\\", "/")
    if len([name for name in path.split("/") if name.strip()]) < 2 or path[-1] == "/":
        return "no_image", f"must name labeled-data/VIDEO/PICTURE. Received: {path!r}"
    return None


def _points(
    header: Header, individual: str, cells: Sequence[str], decimal_comma: bool
) -> NDArray[np.float64]:
    """Return the ``(bodyparts, 2)`` points of an individual, NaN for no label.

    Raises:
        ValueError: If a cell is no number, or only one of x and y is there.
    """
    points = np.full((len(header.bodyparts), 2), np.nan)
    for row, part in enumerate(header.bodyparts):
        if (individual, part, "x") not in header.columns:
            continue
        x, y = (cells[header.columns[individual, part, coord]] for coord in "xy")
        try:
            points[row] = number(x, decimal_comma), number(y, decimal_comma)
            whole = np.isnan(points[row]).sum() != 1
        except ValueError:
            whole = False
        if not whole:
            raise ValueError(
                f"{part} must have two numbers or none. Received: {x!r:.40}, {y!r:.40}"
            )
    return points
