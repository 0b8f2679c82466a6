"""Skeletons: joint names, and everything that derives from the names.

The skeleton is data. It travels in ``dataset.json`` and in every model card; swap
table, sides, groups and array shapes come from the names, so that another set of
joints needs no code. Right and left are the person's own.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kpose.errors import InputError

TORSO = ("right_shoulder", "left_hip")
"""The two joints whose distance is the torso length of PCK (paper section 4)."""


@dataclass(frozen=True)
class Skeleton:
    """Names of the joints in array order, and the limbs that connect them.

    Args:
        names: One per joint. A name that starts with ``right_`` needs a partner that
            starts with ``left_`` and the reverse; any other joint is its own mirror.
        limbs: Pairs of names, for drawing and for limb lengths.

    Raises:
        InputError: If a name occurs twice or has no partner, or a limb names an
            unknown joint.
    """

    names: tuple[str, ...]
    limbs: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        """Refuse names and limbs that do not fit together."""
        if not self.names or len(set(self.names)) != len(self.names):
            raise InputError(
                f"joint names must be at least one and unique. Received: {self.names}"
            )
        for name in self.names:
            if _mirror_name(name) not in self.names:
                raise InputError(
                    f"joint {name!r} needs its partner {_mirror_name(name)!r}. "
                    f"Received: {', '.join(self.names)}"
                )
        for limb in self.limbs:
            if len(limb) != 2 or not set(limb) <= set(self.names):
                raise InputError(
                    f"a limb must be two of {', '.join(self.names)}. Received: {limb}"
                )

    def __len__(self) -> int:
        """Return the number of joints."""
        return len(self.names)

    @cached_property
    def swap(self) -> tuple[int, ...]:
        """For each joint the index of its mirror partner (its own if it has none)."""
        return tuple(self.names.index(_mirror_name(name)) for name in self.names)

    @cached_property
    def sides(self) -> tuple[str, ...]:
        """``"right"``, ``"left"`` or ``"middle"`` for each joint."""
        return tuple(_side(name) for name in self.names)

    @cached_property
    def groups(self) -> dict[str, tuple[int, ...]]:
        """Joint indices by name without its side, in order of first appearance.

        The 13 joints give the seven columns of the paper's Table 5 (head, shoulder,
        elbow, wrist, hip, knee, ankle).
        """
        groups: dict[str, tuple[int, ...]] = {}
        for index, name in enumerate(self.names):
            group = name.removeprefix("right_").removeprefix("left_")
            groups[group] = (*groups.get(group, ()), index)
        return groups

    @cached_property
    def limb_indices(self) -> tuple[tuple[int, int], ...]:
        """The limbs as pairs of joint indices."""
        return tuple((self.names.index(a), self.names.index(b)) for a, b in self.limbs)

    @cached_property
    def torso(self) -> tuple[int, int]:
        """Indices of right shoulder and left hip (paper section 4).

        Raises:
            InputError: If the skeleton has not both.
        """
        if not set(TORSO) <= set(self.names):
            raise InputError(
                f"PCK needs the joints {' and '.join(TORSO)}. "
                f"Received: {', '.join(self.names)}"
            )
        return self.names.index(TORSO[0]), self.names.index(TORSO[1])

    def to_json(self) -> dict[str, Any]:
        """Return what ``from_json`` reads."""
        return {
            "joints": list(self.names),
            "limbs": [list(limb) for limb in self.limbs],
        }

    @classmethod
    def from_json(cls, value: Any) -> "Skeleton":
        """Return the skeleton that ``to_json`` wrote.

        Raises:
            InputError: If ``value`` has not the two lists of names.
        """
        try:
            names = tuple(str(name) for name in value["joints"])
            limbs = tuple((str(a), str(b)) for a, b in value["limbs"])
        except (KeyError, TypeError, ValueError):
            raise InputError(
                'a skeleton must be {"joints": [name, ...], "limbs": [[name, name], '
                f"...]}}. Received: {value!r:.200}"
            ) from None
        return cls(names, limbs)


def _side(name: str) -> str:
    for side in ("right", "left"):
        if name.startswith(f"{side}_"):
            return side
    return "middle"


def _mirror_name(name: str) -> str:
    other = {"right": "left_", "left": "right_", "middle": ""}[_side(name)]
    return other + name.removeprefix("right_").removeprefix("left_")


BODY_13 = Skeleton(
    names=(
        "head",
        "right_shoulder",
        "right_elbow",
        "right_wrist",
        "left_shoulder",
        "left_elbow",
        "left_wrist",
        "right_hip",
        "right_knee",
        "right_ankle",
        "left_hip",
        "left_knee",
        "left_ankle",
    ),
    limbs=(
        ("head", "right_shoulder"),
        ("head", "left_shoulder"),
        ("right_shoulder", "left_shoulder"),
        ("right_shoulder", "right_elbow"),
        ("right_elbow", "right_wrist"),
        ("left_shoulder", "left_elbow"),
        ("left_elbow", "left_wrist"),
        ("right_shoulder", "right_hip"),
        ("left_shoulder", "left_hip"),
        ("right_hip", "left_hip"),
        ("right_hip", "right_knee"),
        ("right_knee", "right_ankle"),
        ("left_hip", "left_knee"),
        ("left_knee", "left_ankle"),
    ),
)
"""The paper's 13 joints (section 3.5), the default everywhere."""

COCO_17 = Skeleton(
    names=(
        "nose",
        "left_eye",
        "right_eye",
        "left_ear",
        "right_ear",
        "left_shoulder",
        "right_shoulder",
        "left_elbow",
        "right_elbow",
        "left_wrist",
        "right_wrist",
        "left_hip",
        "right_hip",
        "left_knee",
        "right_knee",
        "left_ankle",
        "right_ankle",
    ),
    limbs=(
        ("nose", "left_eye"),
        ("nose", "right_eye"),
        ("left_eye", "left_ear"),
        ("right_eye", "right_ear"),
        ("left_shoulder", "right_shoulder"),
        ("left_shoulder", "left_elbow"),
        ("left_elbow", "left_wrist"),
        ("right_shoulder", "right_elbow"),
        ("right_elbow", "right_wrist"),
        ("left_shoulder", "left_hip"),
        ("right_shoulder", "right_hip"),
        ("left_hip", "right_hip"),
        ("left_hip", "left_knee"),
        ("left_knee", "left_ankle"),
        ("right_hip", "right_knee"),
        ("right_knee", "right_ankle"),
    ),
)
"""COCO's 17 keypoints in COCO's order."""
