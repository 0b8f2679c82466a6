"""MPII Human Pose: the official file and its four common conversions.

Formats and traps: datasets/cards/mpii.md.
"""

import csv
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import scipy.io
from numpy.typing import NDArray

from kpose.errors import InputError
from kpose.joints import BODY_13
from kpose.records import BadRecord, ImageRef, PersonRecord
from kpose_datasets.joint_map import JointMap

SKELETON = BODY_13

LICENCE = (
    "MPII: Simplified BSD text, labels for research; "
    "cite Andriluka et al., CVPR 2014; research only"
)

POINTS = 16

ROWS = {
    "head": [8, 9],  # upper neck and top of the head
    "right_ankle": [0],
    "right_knee": [1],
    "right_hip": [2],
    "left_hip": [3],
    "left_knee": [4],
    "left_ankle": [5],
    "right_wrist": [10],
    "right_elbow": [11],
    "right_shoulder": [12],
    "left_shoulder": [13],
    "left_elbow": [14],
    "left_wrist": [15],
}
"""Which of MPII's 16 points a joint is, or lies midway between."""

JOINT_MAP = JointMap(ROWS)

HEAD_SIZE = 0.6
"""Length that PCKh compares with, in diagonals of the head box."""

LARGEST_HEAD = 1e6
"""A length from here on is no number of pixels of a picture."""

OFFICIAL = "mpii_human_pose"
"""How the name of the official file begins."""

SUFFIXES = (".mat", ".json", ".h5", ".csv")

MATLAB, HDF5 = b"MATLAB", b"\x89HDF\r\n\x1a\n"
"""How files of the two kinds begin."""

Label = PersonRecord | BadRecord


class Bad(ValueError):
    """A label that is no person; says why, the caller says which.

    Args:
        reason: As that of a ``BadRecord``.
        text: What was expected and what came.
    """

    def __init__(self, reason: str, text: str) -> None:
        """Keep the reason beside the text."""
        super().__init__(text)
        self.reason = reason

    def record(self, name: str, source: str, where: str) -> BadRecord:
        """Return the ``BadRecord`` of the label ``name`` that lies at ``where``."""
        return BadRecord(name, source, self.reason, f"{where}: {self}")


def read(path: Path, images: Path | None = None) -> Iterator[PersonRecord | BadRecord]:
    """Yield every labelled person, also those whose picture is absent.

    Args:
        path: A label file (official ``.mat``, HRNet or CPM JSON, Hourglass ``.h5``,
            CSV; told apart by what is in it), or a folder with one of them. The
            official one is taken where it is among several.
        images: The folder of the pictures; None: ``images`` beside the labels, or
            where the labels are.

    Raises:
        InputError: If there is no label file, several, or one that is not MPII's.
    """
    path = _label_file(path) if path.is_dir() else path
    pictures = _pictures(path.parent, images)
    head = first_bytes(path)
    if head.startswith(HDF5):
        labels = _read_h5(path, pictures)
    elif head.startswith(MATLAB):
        labels = _read_mat(path, pictures)
    elif head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"[", b"{"):
        labels = _read_json(path, pictures)
    else:
        labels = _read_csv(path, pictures)
    yield from by_picture(labels)


def by_picture(labels: Iterable[Label]) -> Iterator[Label]:
    """Yield the labels of each picture one after the other, pictures as they came.

    The picture is what stands before the last slash of an id.
    """
    pictures: dict[str, list[Label]] = {}
    for label in labels:
        pictures.setdefault(label.id.rpartition("/")[0], []).append(label)
    for same in pictures.values():
        yield from same


def first_bytes(path: Path) -> bytes:
    """Return how a label file begins.

    Raises:
        InputError: If there is no such file, or it cannot be read.
    """
    if not path.is_file():
        raise InputError(f"expected a label file {path}, but there is none")
    try:
        with path.open("rb") as file:
            return file.read(64)
    except OSError as error:
        raise InputError(f"{path} must be readable, but {error}") from None


def load_mat(path: Path, variable: str) -> Any:
    """Return a variable of a MATLAB file: structs as objects, no axes of length 1.

    Raises:
        InputError: If it is no MATLAB file or has no such variable.
    """
    try:
        return scipy.io.loadmat(
            path, struct_as_record=False, squeeze_me=True, variable_names=[variable]
        )[variable]
    except KeyError:
        raise InputError(
            f"{path} must have a variable {variable!r}, but has none"
        ) from None
    except Exception as error:  # scipy raises a dozen kinds for a damaged file
        raise InputError(f"{path} must be a MATLAB file: {_one_line(error)}") from None


def mat_field(struct: Any, name: str) -> Any:
    """Return a field of a MATLAB struct, None where it is not there or is empty."""
    value = getattr(struct, name, None)
    return None if value is None or np.size(value) == 0 else value


def load_h5(path: Path, points: int) -> dict[str, NDArray[Any]]:
    """Return the arrays of a label file of the stacked hourglass network.

    ``part`` is ``(persons, points, 2)`` float64 and ``imgname`` ``(persons,)`` str.

    Raises:
        InputError: If it is no such file, or its arrays differ in length.
    """
    try:
        with h5py.File(path, "r") as file:
            arrays = {
                name: np.asarray(item[()])
                for name, item in file.items()
                if isinstance(item, h5py.Dataset)
            }
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise InputError(f"{path} must be an HDF5 file: {_one_line(error)}") from None
    part = arrays.get("part", np.zeros(0))
    if part.ndim != 3 or part.shape[1:] != (points, 2) or part.dtype.kind not in "fiu":
        raise InputError(
            f"{path} must have an array part of shape (persons, {points}, 2). "
            f"Received: {part.dtype} {part.shape if 'part' in arrays else 'none'}"
        )
    arrays |= {"part": part.astype(np.float64), "imgname": _h5_names(path, arrays)}
    one, each = (len(part),), (len(part), points)
    shapes = {"imgname": one, "person": one, "index": one, "normalize": one}
    for name, shape in {**shapes, "visible": each}.items():
        got = arrays.get(name)
        if got is None:
            continue
        if got.shape != shape or got.dtype.kind not in (
            "O" if name == "imgname" else "fiu"
        ):
            raise InputError(
                f"{path}: {name} must have shape {shape}, as part has persons. "
                f"Received: {got.dtype} {got.shape}"
            )
    return arrays


def _h5_names(path: Path, arrays: dict[str, NDArray[Any]]) -> NDArray[np.object_]:
    """Return the names of the pictures, from the list beside the file if need be."""
    stored = arrays.get("imgname", np.zeros(0))
    try:
        names = [_text(name) for name in np.atleast_1d(stored)]
        if not names or not all(names):
            beside = path.with_name(f"{path.stem}_images.txt")
            names = beside.read_text(encoding="utf-8").split()
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(
            f"{path} must have names of pictures as text in imgname, or beside it in "
            f"{path.stem}_images.txt, but {_one_line(error)}"
        ) from None
    return np.array(names, object)


def _text(name: Any) -> str:
    """Return a name that HDF5 stores as bytes, as text or as padded character codes."""
    if isinstance(name, np.ndarray):
        name = "".join(chr(int(code)) for code in name.ravel() if code != 0)
    if isinstance(name, bytes):
        name = name.decode("utf-8")
    return str(name).strip("\0 ")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _label_file(folder: Path) -> Path:
    """Return the label file of a folder."""
    files = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    if not files and (folder / "annot").is_dir():
        return _label_file(folder / "annot")
    official = [
        path
        for path in files
        if path.suffix == ".mat" and path.name.startswith(OFFICIAL)
    ]
    if len(official or files) != 1:
        found = ", ".join(path.name for path in official or files)
        raise InputError(
            f"{folder} must have one label file, {OFFICIAL}_v1_u12_1.mat or one with "
            f"suffix {', '.join(SUFFIXES)}; name the file instead. "
            f"Received: {found or 'none'}"
        )
    return (official or files)[0]


def _pictures(folder: Path, images: Path | None) -> Path:
    """Return the folder of the pictures of labels that lie in ``folder``."""
    if images is not None:
        return images
    if not (folder / "images").is_dir():
        if next(folder.glob("*.jpg"), None):
            return folder
        if folder.name == "annot":  # HRNet's layout
            return folder.parent / "images"
    return folder / "images"


def _person(
    name: str,
    image: Path,
    split: str,
    points: NDArray[np.float64],
    annotated: NDArray[np.bool_],
    shown: NDArray[np.int8],
    head_size: float = 0.0,
) -> PersonRecord:
    """Return the record of ``(16, 2)`` points, pixels that count from 1."""
    joints = JOINT_MAP.joints((points - 1)[None], annotated[None])[0]
    visible = JOINT_MAP.visible(np.where(annotated, shown, -1)[None])[0]
    return PersonRecord(
        id=name,
        image=ImageRef(image),
        joints=joints,
        visible=np.where(joints[:, 2] > 0, visible, -1).astype(np.int8),
        source="mpii",
        group=image.name,
        split=split,
        head_rule="mid",
        head_size=head_size,
    )


def _stem(name: str) -> str:
    """Return the name of a picture without its suffix."""
    return name.rpartition(".")[0] or name


def _named_split(path: Path) -> str:
    """Return the split that the name of a converted file says."""
    name = path.stem.lower()
    return next((word for word in ("train", "val", "test") if word in name), "train")


def _array(value: Any, shape: tuple[int, ...], what: str) -> NDArray[np.float64]:
    """Return numbers of a JSON or CSV file, None as NaN."""
    try:
        numbers = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise Bad(
            "wrong_points", f"{what} must be numbers {shape}. Received: {value!r:.100}"
        ) from None
    if numbers.shape != shape:
        raise Bad(
            "wrong_number_of_points",
            f"{what} must be numbers {shape}. Received: {numbers.shape}",
        )
    return numbers


def _read_mat(path: Path, pictures: Path) -> Iterator[Label]:
    """Yield the persons of the official file."""
    release = load_mat(path, "RELEASE")
    images = np.atleast_1d(getattr(release, "annolist", np.zeros(0)))
    train = np.atleast_1d(getattr(release, "img_train", np.zeros(0)))
    if not len(images) or len(images) != len(train):
        raise InputError(
            f"{path}: RELEASE must have annolist and img_train of the same length. "
            f"Received: {len(images)} and {len(train)}"
        )
    if train.ndim != 1 or train.dtype.kind not in "fiub":
        raise InputError(
            f"{path}: img_train must be one number for each picture. Received: "
            f"{train.dtype} {train.shape}"
        )
    for index, (annotation, is_train) in enumerate(
        zip(images, train, strict=True), start=1
    ):
        image = mat_field(mat_field(annotation, "image"), "name")
        if not isinstance(image, str) or not image:
            yield BadRecord(
                f"annolist({index})",
                "mpii",
                "missing_field",
                f"{path}: annolist({index}) must have image.name. Received: {image!r}",
            )
            continue
        split = "train" if is_train == 1 else "test"
        people = mat_field(annotation, "annorect")
        people = [] if people is None else np.atleast_1d(people)
        for number, rectangle in enumerate(people, start=1):
            name = f"{_stem(image)}/{number}"
            try:
                points, annotated, shown = _mat_points(rectangle)
            except Bad as bad:
                where = f"{path}: annolist({index}).annorect({number}) of {image}"
                yield bad.record(name, "mpii", where)
                continue
            yield _person(
                name,
                pictures / image,
                split,
                points,
                annotated,
                shown,
                _head_size(rectangle),
            )


def _mat_points(
    rectangle: Any,
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int8]]:
    """Return points, which of them are annotated and which visible, of a rectangle."""
    found = mat_field(mat_field(rectangle, "annopoints"), "point")
    if found is None:
        raise Bad("no_annotation", "expected annopoints.point, but there is none")
    points = np.zeros((POINTS, 2), np.float64)
    annotated = np.zeros(POINTS, np.bool_)
    shown = np.full(POINTS, -1, np.int8)
    for point in np.atleast_1d(found):
        values = [mat_field(point, name) for name in ("id", "x", "y")]
        try:
            row, x, y = map(float, values)
        except (TypeError, ValueError):
            raise Bad(
                "wrong_points",
                f"a point must have numbers id, x and y. Received: {values!r:.100}",
            ) from None
        if row not in range(POINTS):
            raise Bad(
                "point_out_of_range",
                f"the id of a point must be 0 to {POINTS - 1}. Received: {row:g}",
            )
        at = int(row)
        if annotated[at]:
            raise Bad("point_twice", f"expected every id once. Received twice: {at}")
        points[at], annotated[at] = (x, y), True
        # A number or a character; neck and head top have none: they count as visible.
        shown[at] = str(mat_field(point, "is_visible")) not in ("0", "0.0")
    return points, annotated, shown


def _head_size(rectangle: Any) -> float:
    """Return 0.6 x the diagonal of the head box, image pixels; 0 without one."""
    try:
        x1, y1, x2, y2 = (
            float(mat_field(rectangle, name)) for name in ("x1", "y1", "x2", "y2")
        )
    except (TypeError, ValueError):
        return 0.0
    size = HEAD_SIZE * math.hypot(x2 - x1, y2 - y1)
    return size if size < LARGEST_HEAD else 0.0


def _read_h5(path: Path, pictures: Path) -> Iterator[Label]:
    """Yield the persons of a file of the stacked hourglass network."""
    arrays = load_h5(path, POINTS)
    part, images = arrays["part"], arrays["imgname"].tolist()
    annotated = (part != 0).any(axis=2)
    visible = arrays.get("visible", np.full(part.shape[:2], -1))
    shown = np.sign(np.nan_to_num(visible, nan=-1)).astype(np.int8)
    heads = arrays.get("normalize", np.zeros(len(part)))
    heads = np.where((heads > 0) & (heads < LARGEST_HEAD), heads, 0)
    # Counted from 0; the official rectangles and CPM's people count from 1.
    numbers = (
        (arrays["person"] + 1).tolist() if "person" in arrays else _occurrences(images)
    )
    split = _named_split(path)
    for row, image in enumerate(images):
        yield _person(
            f"{_stem(image)}/{numbers[row]:g}",
            pictures / image,
            split,
            part[row],
            annotated[row],
            shown[row],
            float(heads[row]),
        )


def _occurrences(images: Sequence[Any]) -> list[int]:
    """Return for every label its number among those of its picture, from 1."""
    seen: Counter[str] = Counter()
    numbers = []
    for image in images:
        seen[str(image)] += 1
        numbers.append(seen[str(image)])
    return numbers


def _read_json(path: Path, pictures: Path) -> Iterator[Label]:
    """Yield the persons of HRNet's or CPM's JSON."""
    try:
        people = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} must be JSON: {_one_line(error)}") from None
    if isinstance(people, dict) and "root" in people:  # as CPM's MATLAB writes it
        people = people["root"]
    if not isinstance(people, list):
        raise InputError(
            f"{path} must be a list of persons, as HRNet and CPM have it. Received: "
            f"{', '.join(people) if isinstance(people, dict) else people!r:.100}"
        )
    people = [one if isinstance(one, dict) else {} for one in people]
    if not any("joints" in one or "joint_self" in one for one in people):
        raise InputError(
            f"{path} must be a list of persons with joints (HRNet) or joint_self "
            f"(CPM). Received: {len(people)} persons with "
            f"{', '.join(sorted({key for one in people for key in one})) or '-':.200}"
        )
    images = [one.get("img_paths", one.get("image")) for one in people]
    numbers = _occurrences(images)
    split = _named_split(path)
    for row, (one, image) in enumerate(zip(people, images, strict=True)):
        where = f"{path}: record {row} of {image}"
        name = f"record_{row}"
        try:
            if not isinstance(image, str) or not image:
                raise Bad(
                    "missing_field",
                    f"image or img_paths must be a name. Received: {image!r:.100}",
                )
            name = f"{_stem(image)}/{_number(one, numbers[row])}"
            if "joint_self" in one:
                yield _cpm_person(name, pictures / image, one)
            else:
                yield _hrnet_person(name, pictures / image, split, one)
        except Bad as bad:
            yield bad.record(name, "mpii", where)


def _number(one: dict[str, Any], occurrence: int) -> str:
    """Return the number of a person among those of the picture."""
    number = one.get("people_index", occurrence)  # CPM's is 1.0 in some files
    return f"{number:g}" if isinstance(number, float) else str(number)


def _hrnet_person(
    name: str, image: Path, split: str, one: dict[str, Any]
) -> PersonRecord:
    """Return a person of HRNet's JSON."""
    if "joints" not in one:
        raise Bad("no_annotation", "expected joints, but there are none")
    points = _array(one["joints"], (POINTS, 2), "joints")
    given = _array(one.get("joints_vis"), (POINTS,), "joints_vis") > 0
    # 0 is said of joints that are missing, then at -1, -1 or 0, 0, and of occluded
    # ones; 1 of joints that the official file calls occluded too.
    annotated = given | (points > 0).all(axis=1)
    shown = np.where(given, -1, 0).astype(np.int8)
    return _person(name, image, split, points, annotated, shown)


def _cpm_person(name: str, image: Path, one: dict[str, Any]) -> PersonRecord:
    """Return the person that a record of CPM's JSON is about.

    Those in ``joint_others`` have records of their own.
    """
    dataset = one.get("dataset", "MPI")
    if not str(dataset).startswith("MPI"):
        raise Bad("other_data_set", f"dataset must be MPI. Received: {dataset!r:.100}")
    points = _array(one["joint_self"], (POINTS, 3), "joint_self")
    # x, y, 0 is an occluded joint; only 0, 0, 0 is missing.
    annotated = (points != 0).any(axis=1)
    shown = (points[:, 2] != 0).astype(np.int8)
    split = "val" if one.get("isValidation") == 1 else "train"
    return _person(name, image, split, points[:, :2], annotated, shown)


def _read_csv(path: Path, pictures: Path) -> Iterator[Label]:
    """Yield the persons of lines with a picture's name and 16 x (x, y)."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [line for line in csv.reader(file) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} must be MPII labels: {_one_line(error)}") from None
    fields = 1 + 2 * POINTS
    if not lines or len(lines[0]) != fields:
        raise InputError(
            f"{path} must be MPII labels: MATLAB, HDF5, JSON, or lines of {fields} "
            f"values. Received: {','.join(lines[0])[:100] if lines else 'no line'!r}"
        )
    numbers = _occurrences([line[0] for line in lines])
    everything = np.ones(POINTS, np.bool_)
    unknown = np.full(POINTS, -1, np.int8)
    split = _named_split(path)
    for row, (image, *values) in enumerate(lines, start=1):
        name = f"{_stem(image)}/{numbers[row - 1]}"
        try:
            points = _array(values, (2 * POINTS,), "the values").reshape(-1, 2)
        except Bad as bad:
            yield bad.record(name, "mpii", f"{path}: line {row}, {image}")
            continue
        yield _person(name, pictures / image, split, points, everything, unknown)
