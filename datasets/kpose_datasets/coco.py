"""COCO's keypoint JSON, and the sets that use it: AIC, CrowdPose, PoseTrack18 and more.

Format and traps: datasets/cards/coco.md.
"""

import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import ijson
import numpy as np
from numpy.typing import NDArray

from kpose.errors import InputError
from kpose.geometry import Box
from kpose.joints import BODY_13
from kpose.records import BadRecord, ImageRef, PersonRecord
from kpose_datasets.joint_map import JointMap, by_names

SKELETON = BODY_13

LICENCE = (
    "coco: that of the file; COCO's own labels are CC BY 4.0, cite Lin et al., ECCV "
    "2014; the pictures have their own terms"
)

LARGEST_AREA = 1e12
"""An area from here on is no number of pixels of a picture."""

BLOCK = 4096
"""Persons mapped at once."""

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Words of a file's name, and the split that they say."""

CROWDPOSE = (
    "left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist "
    "left_hip right_hip left_knee right_knee left_ankle right_ankle head neck"
).split()
"""CrowdPose's keypoints, of which ``"head"`` is the top of the head; those of MPII-TRB
begin so too. JHMDB's is its centre (datasets/cards/coco.md)."""

VIDEO_KEYS = ("video_id", "vid_id")
"""What a picture that is a frame calls its video."""


class Unusable(Exception):
    """An annotation that is no person: ``args`` are the reason and what is wrong."""


class Pictures(NamedTuple):
    """The list ``images``: the place of each id in it, then file names and videos."""

    rows: dict[int | str, int]
    files: list[str]
    videos: list[str]


class Category(NamedTuple):
    """An entry of ``categories``: its map, or why it has none."""

    points: int
    joint_map: JointMap | None
    why: str = ""


class Person(NamedTuple):
    """An annotation. ``numbers``: the edges of the box, 0 for none, and the area."""

    id: int | str
    picture: int
    category: int | str
    keypoints: NDArray[np.float64]
    numbers: tuple[float, ...]


class Block(NamedTuple):
    """Some persons as arrays, so that half a million fit into memory."""

    ids: NDArray[Any]
    pictures: NDArray[np.int32]
    categories: list[int | str]
    joints: NDArray[np.float32]
    visible: NDArray[np.int8]
    numbers: NDArray[np.float64]


@dataclass
class People:
    """The persons of a file, in its order."""

    categories: dict[int | str, Category]
    blocks: list[Block] = field(default_factory=list)
    pending: list[Person] = field(default_factory=list)
    shows: bool = False
    """Whether a keypoint is said to be visible."""

    def add(self, person: Person) -> None:
        """Keep a person."""
        self.pending.append(person)
        if len(self.pending) == BLOCK:
            self.flush()

    def flush(self) -> None:
        """Map the persons that wait for it."""
        people, count = self.pending, len(self.pending)
        ids = [person.id for person in people]
        joints = np.zeros((count, len(SKELETON), 3), np.float32)
        visible = np.full((count, len(SKELETON)), -1, np.int8)
        for key in {person.category for person in people}:
            rows = [row for row in range(count) if people[row].category == key]
            joint_map = self.categories[key].joint_map
            assert joint_map is not None  # a person of another category is unusable
            points = np.stack([people[row].keypoints for row in rows])
            flags = points[..., 2].astype(np.int8)
            self.shows |= bool((flags == 2).any())
            joints[rows] = joint_map.joints(points[..., :2], flags > 0)
            visible[rows] = joint_map.visible(flags - np.int8(1))
        block = Block(
            np.array(ids, np.int64 if {*map(type, ids)} <= {int} else np.object_),
            np.array([person.picture for person in people], np.int32),
            [person.category for person in people],
            joints,
            visible,
            np.array([person.numbers for person in people], np.float64),
        )
        self.blocks.append(block)
        self.pending = []

    def by_picture(self) -> Iterator[tuple[Block, int]]:
        """Yield block and row of every person, those of one picture one by one."""
        self.flush()
        pictures = np.concatenate([block.pictures for block in self.blocks])
        for place in np.argsort(pictures, kind="stable"):
            yield self.blocks[place // BLOCK], place % BLOCK


def read(path: Path, images: Path | None = None) -> Iterator[PersonRecord | BadRecord]:
    """Yield every annotation: first those that cannot be used, then by picture.

    The file is read in passes and never as a whole.

    Args:
        path: The JSON file.
        images: The folder that the file's ``file_name`` start from; None for that of
            the JSON file.

    Raises:
        InputError: If the file is missing or no COCO keypoint file, no category has
            keypoints that make a joint, or no annotation can be used.
    """
    _require_object(path)
    categories = _categories(path)
    pictures = _pictures(path)
    people = People(categories)
    source, first, found = f"coco/{set_name(path)}", "", 0
    for number, value in enumerate(_items(path, "annotations")):
        key = _key(value, "id")
        key = f"annotation {number}" if key is None else key
        try:
            people.add(_person(key, value, pictures, categories))
            found += 1
        except Unusable as error:
            reason, detail = error.args
            detail = f"{path}: annotation {key} {detail}"
            first = first or detail
            yield BadRecord(str(key), source, reason, detail)
    if not found:
        raise InputError(
            f"{path} must have annotations of persons. Received: {first or 'none'}"
        )
    split = _split(path)
    folder = path.parent if images is None else images
    for block, row in people.by_picture():
        *edges, area = block.numbers[row].tolist()
        box = Box(*edges)
        picture = block.pictures[row]
        name, video = pictures.files[picture], pictures.videos[picture]
        joint_map = categories[block.categories[row]].joint_map
        visible = block.visible[row].copy()
        # PoseTrack18 writes 1 for all: it does not say which are hidden.
        yield PersonRecord(
            id=str(block.ids[row]),
            image=ImageRef(folder / name),
            joints=block.joints[row].copy(),
            visible=visible if people.shows else np.full_like(visible, -1),
            source=source,
            group=video or name,
            split=split,
            head_rule=joint_map.head_rule if joint_map else "",
            box=box if box.area > 0 else None,
            area=area,
            recording=video,
        )


def _require_object(path: Path) -> None:
    """Refuse what is no file, and a list: the results of a model."""
    if not path.is_file():
        raise InputError(f"expected a COCO keypoint file {path}, but there is none")
    with path.open("rb") as file:
        start = file.read(4096).removeprefix(BOM_UTF8).lstrip()
    if start.startswith(b"["):
        raise InputError(
            f"{path} must be a COCO keypoint file, an object with images, annotations "
            "and categories. Received: a list, as a file of results or detections is"
        )


def _items(path: Path, name: str) -> Iterator[Any]:
    """Yield the entries of a list of the file."""
    try:
        with path.open("rb") as file:
            marked = file.read(len(BOM_UTF8)) == BOM_UTF8
            file.seek(len(BOM_UTF8) if marked else 0)
            yield from ijson.items(file, f"{name}.item", use_float=True)
    except (OSError, ijson.JSONError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise InputError(f"{path} must be JSON, but: {line:.300}") from None


def _key(value: Any, name: str) -> int | str | None:
    """Return an id of an entry, None where it is missing or of another type."""
    key = value.get(name) if isinstance(value, dict) else None
    return key if type(key) in (int, str) else None


def _categories(path: Path) -> dict[int | str, Category]:
    """Return the categories by id.

    Raises:
        InputError: If none has keypoints that make a joint, or two have one id.
    """
    categories: dict[int | str, Category] = {}
    for value in _items(path, "categories"):
        key = _key(value, "id")
        if key is None:
            continue
        if key in categories:
            raise InputError(f"{path}: two categories have the id {key!r}")
        names = value.get("keypoints")
        if not isinstance(names, list) or not names:
            categories[key] = Category(0, None, "has no keypoints")
            continue
        if names[: len(CROWDPOSE)] == CROWDPOSE:
            names = ["head_top" if name == "head" else name for name in names]
        where = f"{path}: category {value.get('name', key)!r:.80}"
        try:
            categories[key] = Category(len(names), by_names(names, where))
        except InputError as error:
            categories[key] = Category(len(names), None, str(error))
    if not any(category.joint_map for category in categories.values()):
        why = "; ".join(category.why for category in categories.values())
        raise InputError(
            f"{path} must be a COCO keypoint file, with a category that lists its "
            f"keypoints. Received: {why or 'no category'}"
        )
    return categories


def _pictures(path: Path) -> Pictures:
    """Return the pictures.

    Raises:
        InputError: If there is none with an id and a file name, or one id has two.
    """
    pictures = Pictures({}, [], [])
    videos: dict[str, str] = {}
    for value in _items(path, "images"):
        key = _key(value, "id")
        name = value.get("file_name") if key is not None else None
        if key is None or not isinstance(name, str) or not name:
            continue  # its annotations are of an unknown picture
        row = pictures.rows.setdefault(key, len(pictures.files))
        if row < len(pictures.files):
            if pictures.files[row] == name:
                continue
            raise InputError(
                f"{path}: two images have the id {key!r}: {pictures.files[row]} and "
                f"{name}"
            )
        pictures.files.append(name)
        found = [_key(value, word) for word in VIDEO_KEYS]
        video = next((str(one) for one in found if one is not None), "")
        pictures.videos.append(videos.setdefault(video, video))  # one text per video
    if not pictures.files:
        raise InputError(
            f"{path} must be a COCO keypoint file, with images that have id and "
            "file_name, but has none"
        )
    return pictures


def _person(
    key: int | str,
    value: Any,
    pictures: Pictures,
    categories: dict[int | str, Category],
) -> Person:
    """Return an annotation.

    Raises:
        Unusable: If it is a crowd, or something in it is missing or wrong.
    """
    if not isinstance(value, dict):
        raise Unusable("no_object", f"must be an object. Received: {value!r:.80}")
    if value.get("iscrowd"):
        raise Unusable("crowd", "is a crowd, not a person")
    image = _key(value, "image_id")
    if image is None or image not in pictures.rows:
        raise Unusable(
            "unknown_image",
            "must have the image_id of a picture with a file_name. "
            f"Received: {value.get('image_id')!r:.80}",
        )
    kind = _key(value, "category_id")
    category = None if kind is None else categories.get(kind)
    if kind is None or category is None or category.joint_map is None:
        why = f": {category.why}" if category else ""
        raise Unusable(
            "unknown_category",
            "must have the category_id of a category with keypoints. "
            f"Received: {value.get('category_id')!r:.80}{why}",
        )
    keypoints = _keypoints(value, category.points)
    numbers = (*_edges(value), _area(value))
    return Person(key, pictures.rows[image], kind, keypoints, numbers)


def _keypoints(value: dict[str, Any], points: int) -> NDArray[np.float64]:
    """Return ``(points, 3)``: x, y and 0 not labelled, 1 hidden, 2 visible."""
    given = value.get("keypoints")
    if not given and value.get("num_keypoints") == 0:
        return np.zeros((points, 3))
    if given is None:
        raise Unusable("missing_keypoints", "must have keypoints, but has none")
    if not isinstance(given, list) or len(given) != 3 * points:
        raise Unusable(
            "wrong_number_of_keypoints",
            f"must have {3 * points} numbers of keypoints, 3 for each of its category. "
            f"Received: {len(given) if isinstance(given, list) else repr(given)[:80]}",
        )
    numbers = _numbers(given)
    if numbers is None:
        wrong = next(one for one in given if type(one) not in (int, float))
        raise Unusable(
            "non_numeric_keypoints",
            f"must have numbers as keypoints. Received: {wrong!r:.80}",
        )
    odd = {*given[2::3]} - {0, 1, 2}
    if odd:
        raise Unusable(
            "wrong_visibility",
            "must say 0 (not labelled), 1 (hidden) or 2 (visible) of each keypoint. "
            f"Received: {min(odd):g}",
        )
    return numbers.reshape(points, 3)


def _edges(value: dict[str, Any]) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom edge of the box; zeros where it has none."""
    given = value.get("bbox")
    if not given:
        return 0.0, 0.0, 0.0, 0.0
    numbers = _numbers(given)
    if numbers is None or len(numbers) != 4:
        raise Unusable(
            "wrong_bbox", f"must have 4 numbers as bbox. Received: {given!r:.80}"
        )
    x, y, width, height = numbers.tolist()
    return x, y, x + width, y + height


def _area(value: dict[str, Any]) -> float:
    """Return the area of the segment in square pixels, 0 where it is not known."""
    numbers = _numbers([value.get("area")])
    area = 0.0 if numbers is None else float(numbers[0])
    return area if 0 < area < LARGEST_AREA else 0.0


def _numbers(given: Any) -> NDArray[np.float64] | None:
    """Return a list of numbers, None where it is something else."""
    if not isinstance(given, list) or not {*map(type, given)} <= {int, float}:
        return None
    try:
        return np.array(given, np.float64)
    except OverflowError:
        return None


def set_name(path: Path) -> str:
    """Return what a file's persons are known by: its name without the suffix.

    With its folder's before it where the name says nothing: Roboflow exports
    ``train/_annotations.coco.json``, ``valid/_annotations.coco.json`` and so on.
    """
    if path.stem.startswith("_"):
        return f"{path.resolve().parent.name}/{path.stem}"
    return path.stem


def _split(path: Path) -> str:
    """Return the split that the name says, ``"train"`` where it says none."""
    words = re.findall("[a-z]+", set_name(path).lower())
    found = [SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS]
    return found[-1] if found else "train"
