"""From the points of a data set to kpose's joints: by row, by name or by a TOML file.

Every reader whose points are not already kpose's joints maps them here, so that the
head and what "annotated" means are defined once.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpose.errors import InputError
from kpose.joints import BODY_13, Skeleton

FACE = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
"""The points of a face, of which the head is made where a set has no better one."""

HEAD_TOPS = ("head_top", "top_head", "top_of_head", "headtop")

MAPS = Path(__file__).parent / "maps"
"""The joint maps that kpose ships, each for tables made as its comments say."""

NECKS = ("neck", "upper_neck", "head_bottom")
"""Points between head and shoulders, by the names that data sets give them."""


@dataclass(frozen=True)
class JointMap:
    """Which points of a data set each joint is made of.

    Args:
        rows: Joint name -> indices of points. The joint is their mean, and annotated
            where all of them are. A joint without an entry is never annotated.
        face: Indices of nose, left eye, right eye, left ear and right ear, None for a
            point that the set has not; only where the head is made of the face. The
            head is then the mean of the points that are annotated, and needs the nose,
            both eyes or both ears.
        head_rule: As ``PersonRecord.head_rule``.
        skeleton: The joints that are made.

    Raises:
        InputError: If a joint is unknown, or is mapped and its mirror partner is not,
            or both are mapped to the same points.
    """

    rows: Mapping[str, Sequence[int]]
    face: Sequence[int | None] = ()
    head_rule: str = "mid"
    skeleton: Skeleton = field(default=BODY_13)

    def __post_init__(self) -> None:
        """Refuse unknown joints and pairs of which only one side is mapped."""
        names = self.skeleton.names
        for name in self.rows:
            if name not in names:
                raise InputError(
                    f"a joint map must map {', '.join(names)}. Received: {name!r}"
                )
            partner = names[self.skeleton.swap[names.index(name)]]
            if partner not in self.rows:
                raise InputError(
                    f"a joint map must map both sides or none. Received: {name!r} "
                    f"without {partner!r}"
                )
            if partner != name and set(self.rows[name]) == set(self.rows[partner]):
                raise InputError(
                    "a joint map must map the two sides to different points. "
                    f"Received: the same for {name!r} and {partner!r}"
                )

    @property
    def points(self) -> list[int]:
        """Indices of the points that a joint is made of."""
        made_of = {row for rows in self.rows.values() for row in rows}
        return sorted(made_of | {row for row in self.face if row is not None})

    def joints(
        self, points: NDArray[np.floating], annotated: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """Return the joints of persons.

        Args:
            points: ``(persons, points, 2)``: x and y in image pixels; anything where a
                point is not annotated.
            annotated: ``(persons, points)``.

        Returns:
            ``(persons, joints, 3)`` float32: x and y in image pixels, 1 where
            annotated, else 0, 0, 0.
        """
        skeleton = self.skeleton
        joints = np.zeros((len(points), len(skeleton), 3), np.float32)
        # Numbers over the range of float32 become inf, which the caller reports.
        with np.errstate(over="ignore", invalid="ignore"):
            for name, rows in self.rows.items():
                chosen = list(rows)
                there = annotated[:, chosen].all(axis=1)
                at = skeleton.names.index(name)
                joints[there, at, :2] = points[there][:, chosen].mean(axis=1)
                joints[there, at, 2] = 1
            if self.face:
                head = skeleton.names.index("head")
                joints[:, head] = self._face(points, annotated)
        return joints

    def visible(self, shown: NDArray[np.integer]) -> NDArray[np.int8]:
        """Return ``(persons, joints)`` int8: 1 visible, 0 occluded, -1 unknown.

        A joint made of several points is visible where all of them are, occluded where
        one is. It is unknown where it is not mapped, or one of its points is unknown
        and none occluded.

        Args:
            shown: ``(persons, points)``: the same for points.
        """
        visible = np.full((len(shown), len(self.skeleton)), -1, np.int8)
        made = {name: list(rows) for name, rows in self.rows.items()}
        if self.face:
            made["head"] = [row for row in self.face if row is not None]
        for name, rows in made.items():
            worst = np.where((shown[:, rows] == 0).any(axis=1), 0, 1)
            unknown = (shown[:, rows] < 0).any(axis=1) & (worst == 1)
            visible[:, self.skeleton.names.index(name)] = np.where(unknown, -1, worst)
        return visible

    def _face(
        self, points: NDArray[np.floating], annotated: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """Return ``(persons, 3)`` heads, the mean of the annotated points of a face."""
        rows = [row for row in self.face if row is not None]
        there = {row: annotated[:, row] for row in rows}
        nobody = np.zeros(len(points), bool)
        nose, *pairs = (nobody if row is None else there[row] for row in self.face)
        enough = nose | (pairs[0] & pairs[1]) | (pairs[2] & pairs[3])
        used = annotated[:, rows, None]
        cleaned = np.where(used, points[:, rows], 0)
        head = np.zeros((len(points), 3), np.float32)
        count = np.maximum(used.sum(axis=1), 1)
        head[:, :2] = np.where(enough[:, None], cleaned.sum(axis=1) / count, 0)
        head[:, 2] = enough
        return head


def by_names(names: Sequence[str], where: str) -> JointMap:
    """Return the map of points that have names, as COCO's categories list them.

    Limb joints go by their names in any usual spelling (``"left_wrist"``, ``"Left
    Wrist"``, ``"LWrist"``, ``"l_wrist"``). The head is a point called head, else the
    middle of neck and head top (section 3.5), else the face.

    Args:
        names: One per point, in the order of the points.
        where: What names them, for errors.

    Raises:
        InputError: If a name occurs twice, no joint is among them, or only one side of
            a pair is.
    """
    plain = [plain_name(name) for name in names]
    twice = sorted({name for name in plain if plain.count(name) > 1})
    if twice:
        raise InputError(
            f"{where} must name every keypoint once. Received twice: {twice[0]!r}"
        )
    at = {name: row for row, name in enumerate(plain)}
    rows = {name: [at[name]] for name in BODY_13.names if name in at}
    tops = [at[name] for name in HEAD_TOPS if name in at]
    necks = [at[name] for name in NECKS if name in at]
    face: list[int | None] = []
    rule = "point"
    if "head" not in rows and tops and necks:
        rows["head"], rule = [necks[0], tops[0]], "mid"
    elif "head" not in rows and set(FACE) & set(at):
        face, rule = [at.get(name) for name in FACE], "face"
    if not rows and not face:
        raise InputError(
            f"{where} must name at least one of {', '.join(BODY_13.names)}. "
            f"Received: {', '.join(map(str, names)) or 'no keypoint'}"
        )
    try:
        return JointMap(rows, face, rule)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def plain_name(name: str) -> str:
    """Return a point's name in kpose's spelling: ``"LWrist"`` is ``"left_wrist"``."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(name).strip())
    text = re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")
    match = re.fullmatch(r"(l|r|left|right)_?(.+)|(.+)_(l|r|left|right)", text)
    if match:
        side = match[1] or match[4]
        part = match[2] or match[3]
        if part in PARTS:
            return f"{'left' if side[0] == 'l' else 'right'}_{PARTS[part]}"
    return text


PARTS = {
    **{
        part: part
        for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle", "eye", "ear")
    },
    **{"sho": "shoulder", "elb": "elbow", "wri": "wrist"},
    **{"kne": "knee", "ank": "ankle"},
}
"""What comes after left or right in the name of a point, and kpose's word for it."""


def from_toml(path: Path, names: Sequence[str]) -> JointMap:
    """Return the map in a TOML file.

    Its table ``[joints]`` has a point for every joint, or a list of points whose middle
    the joint is: ``left_wrist = "LWri"``, ``head = ["Neck", "HeadTop"]``. A head that
    is made of points of a face is the mean of those that are annotated.

    Args:
        path: The file, or the name of one in ``maps`` without its suffix.
        names: The points of the data, in their order.

    Raises:
        InputError: If the file cannot be read or has no such table, or names a joint or
            a point that there is not, or only one side of a pair.
    """
    return from_table(load_toml(path).get("joints"), names, path)


def load_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file.

    Args:
        path: The file, or the name of one in ``maps`` without its suffix.

    Raises:
        InputError: If the file cannot be read.
    """
    shipped = MAPS / f"{path}.toml"
    if len(path.parts) == 1 and shipped.is_file():
        path = shipped
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"expected a TOML file at {path}, but there is none") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} must be a TOML file: {error}") from None


def from_table(table: Any, names: Sequence[str], path: Path) -> JointMap:
    """Return the map in the table ``[joints]`` of a TOML file, as ``from_toml`` does.

    Args:
        table: The table, None where the file has none.
        names: The points of the data, in their order.
        path: The file, for errors.

    Raises:
        InputError: As ``from_toml``.
    """
    if not isinstance(table, dict) or not table:
        raise InputError(
            f'{path} must have a table [joints] with lines such as left_wrist = "LWri"'
        )
    at = {name: row for row, name in enumerate(names)}
    rows: dict[str, list[int]] = {}
    for joint, made_of in table.items():
        points = [made_of] if isinstance(made_of, str) else made_of
        if not isinstance(points, list) or not points:
            raise InputError(
                f"{path}: {joint} must be a point or a list of points. "
                f"Received: {made_of!r:.100}"
            )
        for point in points:
            if not isinstance(point, str) or point not in at:
                raise InputError(
                    f"{path}: {joint} must be made of the points of the data, "
                    f"{', '.join(map(str, names)):.400}. Received: {point!r:.100}"
                )
        rows[joint] = [at[point] for point in points]
    head = rows.get("head", [])
    of_face = {plain_name(names[row]): row for row in head}
    face: list[int | None] = []
    rule = "mid" if len(head) > 1 else "point"
    if head and set(of_face) <= set(FACE):
        face, rule = [of_face.get(name) for name in FACE], "face"
        del rows["head"]
    try:
        return JointMap(rows, face, rule)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
