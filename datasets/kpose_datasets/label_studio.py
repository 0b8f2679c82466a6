"""Label Studio's JSON: a reader, and suspects out and back (datasets/cards).

Label Studio counts in per cent of the picture from edge to edge, so the centre of the
first of W pixels lies at 50 / W: x = per cent / 100 * W - 0.5.
"""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from kpose.errors import InputError
from kpose.files import read_json, write_json
from kpose.geometry import Box
from kpose.joints import BODY_13
from kpose.records import BadRecord, ImageRef, PersonRecord
from kpose_datasets.corrections import (
    BEFORE,
    COLOURS,
    ID,
    REASON,
    SCORE,
    SOURCE,
    BadLabelError,
    Correction,
    Suspect,
    remember,
    settle,
)
from kpose_datasets.joint_map import JointMap, by_names, from_toml, plain_name

SKELETON = BODY_13

LICENCE = "label_studio: that of the user's pictures and labels"

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""What a value of ``data`` ends in where none is called image."""

LOCAL_FILES = "/data/local-files/?d="
"""What Label Studio puts before the path of a picture on its own disk."""

HIDDEN, SHOWN = ("hidden", "occluded"), ("visible",)
"""Choices of a keypoint that say whether it is occluded."""

NOBODY = "not a person"
"""The choice that removes a suspect."""

POINT_SIZE = 0.6
"""Of a keypoint in Label Studio, per cent of the picture's width."""

SLACK = 1e-6
"""Per cent that a keypoint may lie outside by rounding."""


def read(
    path: Path, images: Path | None = None, joint_map: Path | None = None
) -> Iterator[PersonRecord | BadRecord]:
    """Yield every labelled person.

    Args:
        path: The JSON or JSON-MIN export.
        images: The folder of the pictures; that of ``path`` where it is None.
        joint_map: A TOML file (``joint_map.from_toml``) where the labels are not called
            as joints are.

    Raises:
        InputError: If the file is not such an export or has no keypoint, or its labels
            do not map to joints.
    """
    tasks = _tasks(path)
    names = sorted(
        {
            label
            for task in tasks
            for item in _labels(task)
            for label in _listed(item, "keypointlabels")
        }
    )
    if not names:
        raise InputError(f"{path} must have results of type keypointlabels, but none")
    points = _Points(path, images or path.parent, names, joint_map)
    for number, task in enumerate(tasks):
        yield from points.people(task, number)


class _Points:
    """From the tasks of one file to records."""

    def __init__(
        self, path: Path, images: Path, names: list[str], joint_map: Path | None
    ) -> None:
        self.path = path
        self.images = images
        self.source = f"label_studio/{path.stem}"
        # An export lists the labels that were used: a side may be missing.
        self.names = names if joint_map else [*names, *_partners(names)]
        self.map: JointMap = (
            from_toml(joint_map, self.names)
            if joint_map
            else by_names(self.names, str(path))
        )

    def people(self, task: Any, number: int) -> Iterator[PersonRecord | BadRecord]:
        """Yield the persons of a task."""
        name = f"#{number}"
        try:
            name = _task_id(task)
            reference = _reference(task)
            labels = _labels(task)
            groups = _groups(labels)
        except BadLabelError as bad:
            yield self._bad(name, bad)
            return
        for parent, items in groups.items():
            person = f"{name}/{parent}" if parent else name
            try:
                yield self._person(person, reference, items, labels, parent)
            except BadLabelError as bad:
                yield self._bad(person, bad)

    def _bad(self, name: str, bad: BadLabelError) -> BadRecord:
        detail = f"{self.path}: task {name}: {bad.detail}"
        return BadRecord(name, self.source, bad.reason, detail)

    def _person(
        self,
        name: str,
        reference: str,
        items: list[dict[str, Any]],
        others: list[dict[str, Any]],
        parent: str,
    ) -> PersonRecord:
        """Return the person of keypoints; ``others`` are all regions of the task."""
        points = np.zeros((1, len(self.names), 2))
        annotated = np.zeros((1, len(self.names)), np.bool_)
        shown = np.full((1, len(self.names)), -1, np.int8)
        marks = _marks(others)
        for item in items:
            at = self.names.index(_label(item))
            if annotated[0, at]:
                raise _twice(self.names[at], parent)
            points[0, at] = _place(item, strict=True)
            annotated[0, at] = True
            shown[0, at] = marks.get(str(item.get("id")), -1)
        return PersonRecord(
            id=name,
            image=ImageRef(_picture(self.images, reference)),
            joints=self.map.joints(points, annotated)[0],
            visible=self.map.visible(shown)[0],
            source=self.source,
            group=reference,
            split="train",
            head_rule=self.map.head_rule,
            box=_box(others, parent),
        )


def _tasks(path: Path) -> list[Any]:
    tasks = read_json(path)
    if not isinstance(tasks, list) or not tasks:
        raise InputError(
            f"{path} must be Label Studio's JSON export, a list of tasks. Received: "
            f"{tasks!r:.100}"
        )
    return tasks


def _partners(names: Sequence[str]) -> list[str]:
    """Return the joints whose other side is among ``names`` and that are not."""
    plain = {plain_name(name) for name in names}
    pairs = zip(BODY_13.names, BODY_13.swap, strict=True)
    return [
        name
        for name, swap in pairs
        if name not in plain and BODY_13.names[swap] in plain
    ]


def _task_id(task: Any) -> str:
    if not isinstance(task, dict) or task.get("id") is None:
        raise BadLabelError(
            "wrong_structure", f"expected a task with an id. Received: {task!r:.100}"
        )
    return str(task["id"])


def _labels(task: Any) -> list[dict[str, Any]]:
    """Return the results of the newest annotation that was not cancelled."""
    if not isinstance(task, dict):
        return []
    if "annotations" not in task and "data" not in task:
        return _from_min(task)
    newest = _newest(task)
    return _results(newest) if newest else []


def _newest(task: dict[str, Any]) -> dict[str, Any] | None:
    """Return the annotation of a task, None where nobody made one or all skipped it."""
    annotations = task.get("annotations")
    made = [
        annotation
        for annotation in (annotations if isinstance(annotations, list) else [])
        if isinstance(annotation, dict) and not annotation.get("was_cancelled")
    ]
    # ISO times of one server sort as text.
    return max(
        made,
        key=lambda one: str(one.get("updated_at") or one.get("created_at") or ""),
        default=None,
    )


def _results(annotation: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the regions of an annotation or prediction."""
    result = annotation.get("result")
    return [
        item
        for item in (result if isinstance(result, list) else [])
        if isinstance(item, dict) and isinstance(item.get("value"), dict)
    ]


def _from_min(task: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the regions of a JSON-MIN task as the JSON export has them."""
    return [
        {**value, "type": kind, "value": value}
        for values in task.values()
        if isinstance(values, list)
        for value in values
        if isinstance(value, dict)
        for kind in ("keypointlabels", "rectanglelabels")
        if kind in value
    ]


def _listed(item: dict[str, Any], kind: str) -> list[str]:
    """Return the labels of a region, none where it is of another type."""
    labels = item["value"].get(kind) if item.get("type") == kind else None
    return [str(label) for label in labels] if isinstance(labels, list) else []


def _label(item: dict[str, Any]) -> str:
    labels = _listed(item, "keypointlabels")
    if len(labels) != 1:
        raise BadLabelError(
            "wrong_label",
            f"a keypoint must have one label. Received: {labels or 'none'}",
        )
    return labels[0]


def _groups(items: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the keypoints of each person by the id of the box, "" for no box."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        if item.get("type") == "keypointlabels":
            groups.setdefault(str(item.get("parentID") or ""), []).append(item)
    if "" in groups and len(groups) > 1:
        raise BadLabelError(
            "keypoint_without_box",
            f"{len(groups[''])} keypoints are in no box, and the others are",
        )
    return groups


def _twice(label: str, parent: str) -> BadLabelError:
    if parent:
        return BadLabelError("keypoint_twice", f"{label!r} is twice in box {parent}")
    return BadLabelError(
        "several_people_without_boxes",
        f"{label!r} is there twice: every person needs a box that has its keypoints",
    )


def _size(item: dict[str, Any]) -> tuple[float, float]:
    """Return width and height of the picture."""
    size = item.get("original_width"), item.get("original_height")
    if not all(_is_number(side) and side > 0 for side in size):  # type: ignore[operator]
        raise BadLabelError(
            "no_picture_size",
            f"original_width and original_height must be pixels. Received: {size}",
        )
    if item.get("image_rotation"):
        raise BadLabelError(
            "picture_turned",
            "the picture was turned in Label Studio, image_rotation "
            f"{item['image_rotation']!r:.20}: save it turned and label that",
        )
    return float(size[0]), float(size[1])  # type: ignore[arg-type]


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max  # isfinite takes no int beyond
    )


def _place(item: dict[str, Any], strict: bool) -> tuple[float, float]:
    """Return x and y of a keypoint in image pixels, pixel centres at integers."""
    width, height = _size(item)
    x, y = item["value"].get("x"), item["value"].get("y")
    numbers = _is_number(x) and _is_number(y)
    if not numbers or (
        strict and not all(-SLACK <= per_cent <= 100 + SLACK for per_cent in (x, y))
    ):
        raise BadLabelError(
            "wrong_per_cent",
            f"x and y must be numbers from 0 to 100 per cent. Received: {x!r}, {y!r}",
        )
    return x / 100 * width - 0.5, y / 100 * height - 0.5


def _marks(items: list[dict[str, Any]]) -> dict[str, int]:
    """Return 0 for hidden keypoints and 1 for visible ones, by their id."""
    marks: dict[str, int] = {}
    for item in items:
        for choice in _listed(item, "choices"):
            if choice.lower() in HIDDEN + SHOWN:
                marks[str(item.get("id"))] = int(choice.lower() in SHOWN)
    return marks


def _box(items: list[dict[str, Any]], parent: str) -> Box | None:
    """Return the box called ``parent``; where nothing is, the only one there is."""
    boxes = [item for item in items if item.get("type") == "rectanglelabels"]
    named = [item for item in boxes if str(item.get("id")) == parent]
    chosen = named if parent else boxes
    if len(chosen) != 1 or chosen[0]["value"].get("rotation"):
        return None
    value = chosen[0]["value"]
    edges = [value.get(key) for key in ("x", "y", "width", "height")]
    if not all(map(_is_number, edges)):
        return None
    width, height = _size(chosen[0])
    x, w, y, h = (
        edges[at] / 100 * side
        for at, side in ((0, width), (2, width), (1, height), (3, height))
    )
    return Box(x, y, x + w, y + h)


def _reference(task: dict[str, Any]) -> str:
    """Return what the task says of its picture."""
    data = task.get("data", task)
    values = data if isinstance(data, dict) else {}
    named = values.get("image")
    others = (v for v in values.values() if str(v).lower().endswith(PICTURES))
    reference = named if isinstance(named, str) else next(others, None)
    if not isinstance(reference, str) or not reference:
        raise BadLabelError(
            "no_picture", f"data must have an image. Received: {data!r:.100}"
        )
    return reference


def _picture(images: Path, reference: str) -> Path:
    """Return the file of a picture: the first of its possible places that is there."""
    try:
        parts = urlsplit(reference)
    except ValueError as error:
        raise BadLabelError(
            "no_picture", f"the picture must be a URL or a path: {error}"
        ) from None
    if parts.scheme == "data":
        raise BadLabelError(
            "no_picture", "the picture must be a file, but is inside the task"
        )
    if "?d=" in reference:
        inside = unquote(reference.partition("?d=")[2].partition("&")[0])
        return images / inside.lstrip("/")
    inside = unquote(parts.path).lstrip("/") if parts.scheme else reference.lstrip("/")
    name = Path(inside).name
    places = [images / inside, images / name]
    if "/data/upload/" in reference:
        # Label Studio puts 8 hex digits before the name of an upload.
        places = [images / name, images / re.sub(r"^[0-9a-f]{8}-", "", name)]
    # Path.is_file raises where a name is longer than the file system allows.
    return next((place for place in places if os.path.isfile(place)), places[-1])


def config() -> str:
    """Return the labelling set-up that ``write`` needs, for Settings > Interface."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Header", value=f"${REASON}")
    ElementTree.SubElement(
        view, "Image", name="image", value="$image", zoom="true", zoomControl="true"
    )
    joints = ElementTree.SubElement(
        view, "KeyPointLabels", name="joint", toName="image", strokeWidth="3"
    )
    for name, side in zip(BODY_13.names, BODY_13.sides, strict=True):
        ElementTree.SubElement(joints, "Label", value=name, background=COLOURS[side])
    boxes = ElementTree.SubElement(view, "RectangleLabels", name="box", toName="image")
    ElementTree.SubElement(boxes, "Label", value="person", background="#808080")
    hidden = ElementTree.SubElement(
        view,
        "Choices",
        {
            **{"name": "visibility", "toName": "image", "choice": "multiple"},
            **{"perRegion": "true", "whenTagName": "joint"},
        },
    )
    ElementTree.SubElement(hidden, "Choice", value=HIDDEN[0])
    verdict = ElementTree.SubElement(
        view, "Choices", name="verdict", toName="image", choice="multiple"
    )
    ElementTree.SubElement(verdict, "Choice", value=NOBODY)
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def write(path: Path, people: Sequence[Suspect], root: Path) -> None:
    """Write one task for each suspect, its joints and box as a prediction to edit.

    Args:
        path: The JSON file, whole or not at all.
        people: In the order in which they are to be shown.
        root: Label Studio's document root (``LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT``).

    Raises:
        InputError: If a picture is not in ``root``.
    """
    write_json(path, [_task(suspect, root) for suspect in people])


def _task(suspect: Suspect, root: Path) -> dict[str, Any]:
    record = suspect.record
    return {
        "data": {
            "image": LOCAL_FILES + quote(suspect.picture(root)),
            REASON: suspect.reason,
            SCORE: float(suspect.score),
            SOURCE: record.source,
            ID: record.id,
            BEFORE: remember(record),
        },
        # A prediction leaves the task unfinished until a person submits it.
        "predictions": [{"model_version": "kpose", "result": _regions(suspect)}],
    }


def _regions(suspect: Suspect) -> list[dict[str, Any]]:
    """Return the person's box, and the keypoints in it."""
    box, record = suspect.box(), suspect.record
    picture = {
        "to_name": "image",
        "original_width": suspect.width,
        "original_height": suspect.height,
        "image_rotation": 0,
    }
    regions: list[dict[str, Any]] = []
    if box:
        place = {
            "x": 100 * box.x0 / suspect.width,
            "y": 100 * box.y0 / suspect.height,
            "width": 100 * box.width / suspect.width,
            "height": 100 * box.height / suspect.height,
            "rotation": 0,
        }
        kind = {"id": "person", "from_name": "box", "type": "rectanglelabels"}
        value = {**place, "rectanglelabels": ["person"]}
        regions.append({**kind, **picture, "value": value})
    inside = {"parentID": "person"} if box else {}
    rows = zip(BODY_13.names, record.joints.tolist(), record.visible, strict=True)
    for name, (x, y, there), shown in rows:
        if there <= 0:
            continue
        # Label Studio refuses what is outside the picture.
        place = {
            "x": min(max(100 * (x + 0.5) / suspect.width, 0.0), 100.0),
            "y": min(max(100 * (y + 0.5) / suspect.height, 0.0), 100.0),
            "width": POINT_SIZE,
        }
        point = {"id": name, "from_name": "joint", "type": "keypointlabels"}
        value = {**place, "keypointlabels": [name]}
        regions.append({**point, **picture, **inside, "value": value})
        if shown == 0:
            mark = {"id": name, "from_name": "visibility", "type": "choices"}
            value = {**place, "choices": [HIDDEN[0]]}
            regions.append({**mark, **picture, "value": value})
    return regions


def corrections(path: Path) -> Iterator[Correction]:
    """Yield the suspects of a JSON export, corrected or as they were.

    A person is removed where the choice "not a person" is set or no keypoint is left.
    A task that nobody submitted comes back as it was, or not at all where the export
    leaves it out.

    Raises:
        InputError: If the file is no JSON export, or a task that has kpose's identity
            has labels that are no joints, one joint twice, or no size.
    """
    for task in _tasks(path):
        data = task.get("data") if isinstance(task, dict) else None
        if isinstance(data, dict) and {SOURCE, ID} <= set(data):
            items = _corrected(task)
            if items is None:
                continue
            try:
                yield _correction(data, items)
            except BadLabelError as bad:
                raise InputError(
                    f"{path}: task {task.get('id')} ({data[SOURCE]} {data[ID]}): "
                    f"{bad.detail}"
                ) from None


def _corrected(task: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Return the newest annotation's regions, else the prediction's, None for neither.

    An empty annotation is one: a person deleted every region.
    """
    newest = _newest(task)
    predictions = task.get("predictions")
    if newest is None and isinstance(predictions, list):
        newest = next((one for one in predictions if isinstance(one, dict)), None)
    return None if newest is None else _results(newest)


def _correction(data: dict[str, Any], items: list[dict[str, Any]]) -> Correction:
    joints = np.zeros((len(BODY_13), 3))
    hidden = np.zeros(len(BODY_13), np.bool_)
    size = None
    marks = _marks(items)
    removed = any(NOBODY in _listed(item, "choices") for item in items)
    for item in items:
        if item.get("type") != "keypointlabels" or removed:
            continue
        at = _joint(_label(item), joints)
        joints[at] = (*_place(item, strict=False), 1)
        hidden[at] = marks.get(str(item.get("id"))) == 0
        size = _size(item)
    settled, visible = settle(str(data.get(BEFORE, "")), joints, hidden, size)
    return Correction(str(data[SOURCE]), str(data[ID]), settled, visible)


def _joint(label: str, joints: NDArray[np.float64]) -> int:
    """Return the row of a joint that has no place yet."""
    if label not in BODY_13.names:
        raise BadLabelError(
            "unknown_label",
            f"a keypoint must be one of {', '.join(BODY_13.names)}. "
            f"Received: {label!r:.100}",
        )
    at = BODY_13.names.index(label)
    if joints[at, 2] > 0:
        raise BadLabelError("keypoint_twice", f"{label!r} is there twice")
    return at
