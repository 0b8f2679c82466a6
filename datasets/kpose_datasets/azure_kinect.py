"""Azure Kinect: bodies in 3-D by Microsoft's offline processor, and a colour video.

Format and traps: datasets/cards/azure_kinect.md.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kpose.errors import InputError
from kpose.files import read_json
from kpose.images import try_read
from kpose.joints import BODY_13
from kpose.records import BadRecord, ImageRef, PersonRecord
from kpose_datasets import takes as recordings
from kpose_datasets.joint_map import load_toml
from kpose_datasets.takes import TRACKED, UNTRACKED, Body, Take

SKELETON = BODY_13

LICENCE = "azure_kinect: that of the user's recordings"

NAMES = (
    "HEAD",
    *("SHOULDER_RIGHT", "ELBOW_RIGHT", "WRIST_RIGHT"),
    *("SHOULDER_LEFT", "ELBOW_LEFT", "WRIST_LEFT"),
    *("HIP_RIGHT", "KNEE_RIGHT", "ANKLE_RIGHT"),
    *("HIP_LEFT", "KNEE_LEFT", "ANKLE_LEFT"),
)
"""k4abt's names of the joints of ``BODY_13``, in its order."""

DISTORTION = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
"""The rational model's coefficients in OpenCV's order."""

NUMBERS = ("fx", "fy", "cx", "cy", *DISTORTION)

OPTIONAL = ("metric_radius", "width", "height")

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Calibration:
    """The colour camera as the Azure Kinect SDK describes it.

    Args:
        rotation: ``(3, 3)`` float64, from the depth camera's axes to the colour
            camera's.
        translation: ``(3,)`` float64, millimetres.
        camera: ``(3, 3)`` float64: fx, fy, cx and cy in pixels, pixel centres at
            integers.
        distortion: ``(8,)`` float64 in the order of ``DISTORTION``.
        radius: Points farther from the axis, in units of the distance, cannot be
            projected (``metric_radius``).
        size: Width and height of the colour pictures; None where it is not said.
    """

    rotation: Floats
    translation: Floats
    camera: Floats
    distortion: Floats
    radius: float = math.inf
    size: tuple[int, int] | None = None

    def project(self, points: Floats) -> Floats:
        """Return where points lie in the colour picture.

        Args:
            points: ``(n, 3)``: x right, y down, z forward in millimetres, in the depth
                camera's frame.

        Returns:
            ``(n, 2)`` x and y in pixels; NaN for what lies behind the camera or beyond
            ``radius``, and for the origin, which k4abt writes for nothing.
        """
        seen = points @ self.rotation.T + self.translation
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            off_axis = np.hypot(seen[:, 0], seen[:, 1]) / seen[:, 2]
            good = np.isfinite(seen).all(axis=1) & (seen[:, 2] > 0)
            good &= (off_axis <= self.radius) & (points != 0).any(axis=1)
        pixels = np.full((len(points), 2), np.nan)
        if good.any():
            still = np.zeros(3)
            found, _ = cv2.projectPoints(
                seen[good], still, still, self.camera, self.distortion
            )
            pixels[good] = found[:, 0]
        pixels[~np.isfinite(pixels).all(axis=1)] = np.nan
        return pixels


def load_calibration(path: Path) -> Calibration:
    """Return the calibration in a ``.toml`` or JSON file.

    Raises:
        InputError: If the file cannot be read, or a key is unknown, missing or wrong.
    """
    table = load_toml(path) if path.suffix.lower() == ".toml" else read_json(path)
    if not isinstance(table, dict):
        raise InputError(f"{path} must be a table. Received: {table!r:.80}")
    required = ("rotation", "translation", *NUMBERS)
    for key in table:
        if key not in (*required, *OPTIONAL):
            raise InputError(
                f"{path} must have {', '.join((*required, *OPTIONAL))}. Received: {key}"
            )
    missing = [key for key in required if key not in table]
    if missing:
        raise InputError(
            f"{path} must have {', '.join(required)} (0 for no distortion), but has no "
            f"{', '.join(missing)}"
        )
    number = {key: float(_array(path, key, table[key], 1)[0]) for key in NUMBERS}
    rotation = _array(path, "rotation", table["rotation"], 9).reshape(3, 3)
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3) or (
        np.linalg.det(rotation) < 0
    ):
        raise InputError(
            f"{path}: rotation must turn the depth camera's axes into the colour "
            f"camera's. Received: {table['rotation']}"
        )
    translation = _array(path, "translation", table["translation"], 3)
    # The raw calibration and some wrappers of the SDK have metres.
    if 0 < np.linalg.norm(translation) < 1:
        raise InputError(
            f"{path}: translation must be in millimetres, about 32 on an Azure Kinect. "
            f"Received: {table['translation']}"
        )
    fx, fy, cx, cy = (number[key] for key in NUMBERS[:4])
    radius = table.get("metric_radius", math.inf)
    return Calibration(
        rotation=rotation,
        translation=translation,
        camera=np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64),
        distortion=np.array([number[key] for key in DISTORTION], np.float64),
        radius=float(_array(path, "metric_radius", radius, 1)[0]),
        size=_size(path, table),
    )


def _array(path: Path, key: str, value: Any, count: int) -> Floats:
    """Return ``(count,)`` numbers; 9 may be three rows of three."""
    shape = "a number" if count == 1 else f"{count} numbers"
    try:
        array = np.array(value)
    except ValueError:  # rows of different lengths
        array = np.array(None)
    good = array.dtype.kind in "if" and array.size == count
    if not good or np.isnan(array).any():
        raise InputError(f"{path}: {key} must be {shape}. Received: {value!r:.100}")
    return array.astype(np.float64).ravel()


def _size(path: Path, table: dict[str, Any]) -> tuple[int, int] | None:
    if "width" not in table and "height" not in table:
        return None
    size = table.get("width"), table.get("height")
    if any(type(side) is not int or side < 1 for side in size):
        raise InputError(
            f"{path}: width and height must be those of the colour pictures, both or "
            f"none. Received: {size[0]!r:.80} and {size[1]!r:.80}"
        )
    return table["width"], table["height"]


def takes(path: Path, images: Path, calibration: Path | None = None) -> Iterator[Take]:
    """Yield the take of one JSON file of the offline processor.

    A frame that cannot be used is left out, and a problem of the take; one with a body
    that cannot be used is damaged.

    Args:
        path: The JSON file.
        images: The video of the colour frames.
        calibration: The file of ``load_calibration``.

    Raises:
        InputError: If there is no calibration, it is of pictures of another size, or
            nothing in the file can be used.
    """
    if calibration is None:
        raise InputError(
            f"{path} has no pixel coordinates, only positions in 3-D: say the colour "
            "camera's calibration as &calibration=FILE; kpose does not guess it"
        )
    lens = load_calibration(calibration)
    if images.is_dir():
        raise InputError(f"the pictures of {path} must be a video. Received: {images}")
    _require_size(lens, calibration, images)
    frames, problems, damaged = _frames(path)
    wrong = [*problems, *damaged.values()]
    if wrong and not any(frame.bodies for frame in frames):
        raise InputError(wrong[0])
    points = [body for frame in frames for _, body in frame.bodies]
    everyone = np.reshape(np.array(points, np.float64), (-1, 3))
    pixels = iter(lens.project(everyone).reshape(-1, len(NAMES), 2))
    yield Take(
        name=path.stem,
        images=[ImageRef(images, frame.number) for frame in frames],
        bodies=[
            [_body(next(pixels), identity) for identity, _ in frame.bodies]
            for frame in frames
        ],
        facts=recordings.read_facts(path.parent, path.stem),
        times_ms=np.array([frame.time_ms for frame in frames], np.float64),
        problems=tuple(problems),
        damaged=damaged,
    )


def read(
    path: Path,
    images: Path,
    calibration: Path | None = None,
    mirrored: str = "",
    inferred: str = "",
    faults: str = "",
) -> Iterator[PersonRecord | BadRecord]:
    """Yield every body of every frame, without the tracker's faults.

    Args:
        path: As of ``takes``.
        images: As of ``takes``.
        calibration: As of ``takes``.
        mirrored: As of ``kpose_datasets.takes.records``.
        inferred: As there.
        faults: As there.

    Raises:
        InputError: As ``takes``, or if an option means nothing.
    """
    for take in takes(path, images, calibration):
        yield from recordings.records(
            take, "azure_kinect", mirrored=mirrored, inferred=inferred, faults=faults
        )


def _body(pixels: Floats, identity: str) -> Body:
    # The file has no states: k4abt gives every joint of a body a place.
    nowhere = np.isnan(pixels).any(axis=1)
    return recordings.body(pixels, np.where(nowhere, UNTRACKED, TRACKED), identity)


def _require_size(lens: Calibration, calibration: Path, images: Path) -> None:
    """Refuse a calibration that is of another mode of the colour camera."""
    if lens.size is None:
        return
    first = try_read(ImageRef(images, 0))
    if isinstance(first, InputError):  # every record of it is skipped and counted
        return
    height, width = first.shape[:2]
    if lens.size != (width, height):
        raise InputError(
            f"{calibration} must be of pictures of {width} x {height}, as {images} "
            f"has. Received: {lens.size[0]} x {lens.size[1]}"
        )


@dataclass(frozen=True, eq=False)
class _Frame:
    """A frame: its number, time, and per body the id and 13 positions, mm."""

    number: int
    time_ms: float
    bodies: list[tuple[str, Floats]]


def _frames(path: Path) -> tuple[list[_Frame], list[str], dict[int, str]]:
    """Return the frames of a file in order, and what cannot be used.

    Returns:
        The frames; what is no frame; which frames have a body that is left out.
    """
    value = read_json(path)
    given = value if isinstance(value, dict) else {}
    names, items = given.get("joint_names"), given.get("frames")
    if not isinstance(names, list) or not isinstance(items, list):
        raise InputError(
            f"{path} must be JSON of the offline processor with the lists joint_names "
            f"and frames. Received: {', '.join(given) or repr(value):.200}"
        )
    missing = [name for name in NAMES if names.count(name) != 1]
    if missing:
        raise InputError(
            f"{path} must have every joint once in joint_names. Received: "
            f"{names.count(missing[0])} times {missing[0]}"
        )
    rows = [names.index(name) for name in NAMES]
    frames: list[_Frame] = []
    problems: list[str] = []
    damaged: dict[int, str] = {}
    for index, item in enumerate(items):
        where = f"{path} frame {index} of the list"
        try:
            frame = _frame(where, item, frames[-1] if frames else None)
        except InputError as error:
            problems.append(str(error))
            continue
        for nth, body in enumerate(item["bodies"]):
            try:
                frame.bodies.append(_positions(f"{where} body {nth}", body, names))
            except InputError as error:
                damaged.setdefault(len(frames), str(error))
        frames.append(frame)
    for frame in frames:
        frame.bodies[:] = [(name, points[rows]) for name, points in frame.bodies]
    return frames, problems, damaged


def _frame(where: str, item: Any, before: _Frame | None) -> _Frame:
    """Return a frame without its bodies."""
    given = item if isinstance(item, dict) else {}
    number, time = given.get("frame_id", -1), given.get("timestamp_usec", math.nan)
    good = type(number) is int and type(time) in (int, float)
    if not good or not abs(time) < 1e18 or not isinstance(given.get("bodies"), list):
        raise InputError(
            f"{where} must have frame_id, timestamp_usec and bodies. Received: "
            f"{item!r:.80}"
        )
    last = (-1, -math.inf) if before is None else (before.number, before.time_ms)
    if number <= last[0] or time / 1000 <= last[1]:
        raise InputError(
            f"{where} must come after frame_id {last[0]} at {last[1]} ms. Received: "
            f"frame_id {number} at {time / 1000} ms"
        )
    return _Frame(number, time / 1000, [])


def _positions(where: str, body: Any, names: list[Any]) -> tuple[str, Floats]:
    """Return the id of a body and its ``(joints, 3)`` positions in millimetres."""
    given = body.get("joint_positions") if isinstance(body, dict) else None
    try:
        points = np.array(given)
    except ValueError:  # rows of different lengths
        points = np.array(None)
    if points.shape != (len(names), 3) or points.dtype.kind not in "if":
        came = len(given) if isinstance(given, list) else f"{given!r:.80}"
        raise InputError(
            f"{where} must have {len(names)} joint_positions of 3 numbers, as many as "
            f"joint_names. Received: {came}"
        )
    identity = body.get("body_id")
    return "" if identity is None else str(identity), points.astype(np.float64)
