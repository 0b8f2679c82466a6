"""CVAT's XML "CVAT for images 1.1": a reader, and suspects out and back.

CVAT counts pixels from the picture's edge, so the centre of the first pixel lies at
0.5: x = points - 0.5. Format and steps: datasets/cards/cvat.md.
"""

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, iterparse

from kpose.errors import InputError
from kpose.files import write_text
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
from kpose_datasets.joint_map import JointMap, by_names, from_toml

SKELETON = BODY_13

LICENCE = "cvat: that of the user's pictures and labels"

PERSON, BOX = "person", "box"
"""Labels of the skeleton and of the person's box in ``config``."""

LAYOUT = {
    "head": (50, 8),
    "right_shoulder": (38, 24),
    "right_elbow": (30, 40),
    "right_wrist": (26, 55),
    "left_shoulder": (62, 24),
    "left_elbow": (70, 40),
    "left_wrist": (74, 55),
    "right_hip": (42, 54),
    "right_knee": (40, 74),
    "right_ankle": (39, 94),
    "left_hip": (58, 54),
    "left_knee": (60, 74),
    "left_ankle": (61, 94),
}
"""Where a new skeleton has its joints, per cent: a person who faces the camera."""


def read(
    path: Path, images: Path | None = None, joint_map: Path | None = None
) -> Iterator[PersonRecord | BadRecord]:
    """Yield every skeleton.

    Args:
        path: ``annotations.xml``, or the folder of the unpacked export that has it.
        images: The folder of the pictures, or the video of which the images are frames;
            where it is None the folder ``images`` beside the file, else the file's own.
        joint_map: A TOML file (``joint_map.from_toml``) where the points are not called
            as joints are.

    Raises:
        InputError: If the file is not "CVAT for images 1.1" or has no skeleton, or its
            points do not map to joints.
    """
    file = path / "annotations.xml" if path.is_dir() else path
    beside = file.parent / "images"
    pictures = images or (beside if beside.is_dir() else file.parent)
    source = f"cvat/{path.stem}"
    label, names = _points(file)
    made = from_toml(joint_map, names) if joint_map else by_names(names, str(file))
    people = _People(source, path.stem, pictures, names, made)
    for image in _images(file):
        skeletons = [one for one in image.iter("skeleton") if _is(one, label)]
        for number, skeleton in enumerate(skeletons):
            name = f"{image.get('name')}/{number}"
            if task := image.get("task_id"):  # two tasks of a project may share names
                name = f"{task}/{name}"
            try:
                yield people.person(name, image, skeleton)
            except BadLabelError as bad:
                detail = f"{file}: skeleton {name}: {bad.detail}"
                yield BadRecord(name, source, bad.reason, detail)


@dataclass(frozen=True)
class _People:
    """From the skeletons of one file to records."""

    source: str
    recording: str
    pictures: Path
    names: list[str]
    made: JointMap

    def person(self, name: str, image: Element, skeleton: Element) -> PersonRecord:
        """Return the person of a skeleton."""
        points = np.zeros((1, len(self.names), 2))
        annotated = np.zeros((1, len(self.names)), np.bool_)
        shown = np.ones((1, len(self.names)), np.int8)
        for label, (x, y), hidden in _places(skeleton):
            at = self.names.index(label)
            points[0, at], annotated[0, at], shown[0, at] = (x, y), True, not hidden
        picture = _picture(image, self.pictures)
        title = str(image.get("name"))
        # Frames of a video have no suffix; one next to the other they look the same.
        task = [image.get("task_id"), self.recording]
        recording = "" if Path(title).suffix else "/".join(filter(None, task))
        return PersonRecord(
            id=name,
            image=picture,
            joints=self.made.joints(points, annotated)[0],
            visible=self.made.visible(shown)[0],
            source=self.source,
            group=recording or title,
            split="train",
            head_rule=self.made.head_rule,
            box=_box(image, skeleton.get("group_id")),
            recording=recording,
        )


def _images(path: Path) -> Iterator[Element]:
    """Yield the elements ``image`` of a file, one in memory at a time."""
    try:
        with path.open("rb") as file:
            events = iterparse(file, events=("start", "end"))
            _, root = next(events)
            if root.tag != "annotations":
                raise InputError(
                    f"{path} must be CVAT's XML with annotations. "
                    f"Received: {root.tag!r:.100}"
                )
            for event, element in events:
                if event == "start" and element.tag == "track":
                    raise InputError(
                        f'{path} must be exported as "CVAT for images 1.1", but is '
                        '"CVAT for video 1.1"'
                    )
                if event == "end" and element.tag == "image":
                    yield element
                    root.clear()
    except FileNotFoundError:
        raise InputError(f"expected CVAT's XML at {path}, but there is none") from None
    except DefusedXmlException as error:
        raise InputError(
            f"{path} must not define entities: {type(error).__name__}"
        ) from None
    except (ParseError, OSError, LookupError, ValueError, StopIteration) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} must be XML: {error}") from None


def _is(skeleton: Element, label: str) -> bool:
    return skeleton.get("label") == label


def _points(path: Path) -> tuple[str, list[str]]:
    """Return the skeletons' label, and the points of all skeletons that have it."""
    found: dict[str, dict[str, None]] = {}
    for image in _images(path):
        for skeleton in image.iter("skeleton"):
            names = found.setdefault(str(skeleton.get("label")), {})
            names.update((str(p.get("label")), None) for p in skeleton.iter("points"))
    if not found:
        raise InputError(f"{path} must have a skeleton, but has none")
    label = next(iter(found)) if len(found) == 1 else PERSON
    if label not in found:
        raise InputError(
            f"{path} must have skeletons of one label, or of one called {PERSON}. "
            f"Received: {', '.join(found):.100}"
        )
    return label, list(found[label])


def _places(
    skeleton: Element,
) -> Iterator[tuple[str, tuple[float, float], bool]]:
    """Yield label, place and whether it is occluded of the points that are not outside.

    A place is in image pixels, pixel centres at integers.
    """
    seen = set()
    for point in skeleton.iter("points"):
        label = str(point.get("label"))
        if label in seen:
            raise BadLabelError("keypoint_twice", f"{label!r} is there twice")
        seen.add(label)
        if point.get("outside") != "1":
            yield label, _place(label, point.get("points")), _hidden(point)


def _hidden(point: Element) -> bool:
    return point.get("occluded") == "1"


def _place(label: str, text: str | None) -> tuple[float, float]:
    try:
        x, y = map(float, str(text).split(","))
    except ValueError:
        x = y = math.nan
    if not math.isfinite(x) or not math.isfinite(y):
        raise BadLabelError(
            "wrong_point", f"{label!r} must be at one point x,y. Received: {text!r:.50}"
        )
    return x - 0.5, y - 0.5


def _picture(image: Element, pictures: Path) -> ImageRef:
    """Return where the pixels of an image are."""
    name = image.get("name")
    if not name:
        raise BadLabelError("no_picture", "an image must have a name")
    if pictures.is_file():
        try:
            return ImageRef(pictures, frame=int(str(image.get("id"))))
        except ValueError:
            raise BadLabelError(
                "no_frame",
                "an image of a video must have the index of its frame as id. "
                f"Received: {image.get('id')!r}",
            ) from None
    path = pictures / name
    if path.suffix:
        return ImageRef(path)
    # Frames of a video are exported under a suffix that the XML leaves out.
    there = os.path.isdir(path.parent)  # Path.is_dir raises where a name is too long
    saved = sorted(path.parent.glob(f"{escape(path.name)}.*")) if there else []
    return ImageRef(saved[0] if saved else path.with_suffix(".png"))


def _box(image: Element, group: str | None) -> Box | None:
    """Return the box that is in one group with a skeleton."""
    if not group:
        return None
    boxes = [box for box in image.iter("box") if box.get("group_id") == group]
    if len(boxes) != 1 or boxes[0].get("rotation"):
        return None
    try:
        edges = [float(boxes[0].get(edge, "")) for edge in ("xtl", "ytl", "xbr", "ybr")]
    except ValueError:
        return None
    return Box(*edges)


def config() -> str:
    """Return the labels that ``write`` needs, for the Raw tab of the constructor."""
    carried = [
        {
            **{"name": name, "input_type": "text", "mutable": False},
            **{"values": [""], "default_value": ""},
        }
        for name in (REASON, SCORE, SOURCE, ID, BEFORE)
    ]
    sides = zip(BODY_13.names, BODY_13.sides, strict=True)
    labels = [
        {
            "name": PERSON,
            "type": "skeleton",
            "color": "#808080",
            "attributes": carried,
            "sublabels": [
                {
                    "name": name,
                    "type": "points",
                    "color": COLOURS[side],
                    "attributes": [],
                }
                for name, side in sides
            ],
            "svg": _drawing(),
        },
        {
            "name": BOX,
            "type": "rectangle",
            "color": "#808080",
            "attributes": carried,
        },
    ]
    return json.dumps(labels, indent=1) + "\n"


def _drawing() -> str:
    """Return the SVG of the skeleton: limbs as lines, joints as numbered circles."""
    number = {name: at + 1 for at, name in enumerate(BODY_13.names)}
    lines = [
        f'<line x1="{LAYOUT[a][0]}" y1="{LAYOUT[a][1]}" x2="{LAYOUT[b][0]}" '
        f'y2="{LAYOUT[b][1]}" stroke="black" data-type="edge" '
        f'data-node-from="{number[a]}" stroke-width="0.5" '
        f'data-node-to="{number[b]}"></line>'
        for a, b in BODY_13.limbs
    ]
    circles = [
        f'<circle r="1.5" stroke="black" fill="{COLOURS[side]}" '
        f'cx="{LAYOUT[name][0]}" cy="{LAYOUT[name][1]}" stroke-width="0.1" '
        f'data-type="element node" data-element-id="{number[name]}" '
        f'data-node-id="{number[name]}" data-label-name="{name}"></circle>'
        for name, side in zip(BODY_13.names, BODY_13.sides, strict=True)
    ]
    return "".join([*lines, *circles])


def write(path: Path, people: Sequence[Suspect], root: Path) -> None:
    """Write the suspects as skeletons, each with its person's box in one group.

    Args:
        path: The XML file, whole or not at all.
        people: Suspects of one picture come under one image.
        root: The folder of the pictures; the names in CVAT are relative to it.

    Raises:
        InputError: If a picture is not in ``root``.
    """
    annotations = Element("annotations")
    SubElement(annotations, "version").text = "1.1"
    task = SubElement(SubElement(annotations, "meta"), "task")
    images: dict[str, Element] = {}
    for group, suspect in enumerate(people, start=1):
        name = suspect.picture(root)
        if name not in images:
            size = {"width": str(suspect.width), "height": str(suspect.height)}
            images[name] = SubElement(
                annotations, "image", {"id": str(len(images)), "name": name, **size}
            )
        _add(images[name], suspect, str(group))
    SubElement(task, "size").text = str(len(images))
    SubElement(task, "mode").text = "annotation"
    indent(annotations)
    write_text(
        path,
        '<?xml version="1.0" encoding="utf-8"?>\n'
        + tostring(annotations, encoding="unicode")
        + "\n",
    )


def _add(image: Element, suspect: Suspect, group: str) -> None:
    """Add a suspect's box and skeleton to an image."""
    record, box = suspect.record, suspect.box()
    shape = {"source": "file", "z_order": "0", "group_id": group}
    if box:
        sides = zip(
            ("xtl", "ytl", "xbr", "ybr"), map(str, map(float, box)), strict=True
        )
        rectangle = {"label": BOX, "occluded": "0", **dict(sides), **shape}
        _carry(SubElement(image, "box", rectangle), suspect)
    skeleton = SubElement(image, "skeleton", {"label": PERSON, **shape})
    # A point that is not there needs a place from which it can be taken.
    spare = box.center if box else (suspect.width / 2, suspect.height / 2)
    rows = zip(BODY_13.names, record.joints.tolist(), record.visible, strict=True)
    for name, (x, y, there), shown in rows:
        place = (x + 0.5, y + 0.5) if there > 0 else spare
        SubElement(
            skeleton,
            "points",
            {
                "label": name,
                "source": "file",
                "outside": str(int(there <= 0)),
                "occluded": str(int(there > 0 and shown == 0)),
                "points": f"{place[0]},{place[1]}",
            },
        )
    _carry(skeleton, suspect)


def _carry(shape: Element, suspect: Suspect) -> None:
    """Add what must survive the tool as attributes."""
    carried = {
        REASON: suspect.reason,
        SCORE: f"{suspect.score:.4g}",
        SOURCE: suspect.record.source,
        ID: suspect.record.id,
        BEFORE: remember(suspect.record),
    }
    for name, value in carried.items():
        SubElement(shape, "attribute", name=name).text = value


def corrections(path: Path) -> Iterator[Correction]:
    """Yield the suspects of an export, corrected or as they were.

    A person is removed where the skeleton was deleted and the box is there, or all its
    points are outside. A skeleton drawn anew belongs to the box that has none, where
    there is one of each in the picture.

    Raises:
        InputError: If the file is not "CVAT for images 1.1", points are no joints or
            are there twice, or it is not clear which person a skeleton is.
    """
    for image in _images(path):
        where = f"{path}: image {image.get('name')}"
        shapes = list(image.iter("skeleton"))
        boxes = {_identity(box): box for box in image.iter("box")}
        boxes.pop(None, None)
        skeletons = [(_identity(one), one) for one in shapes]
        named = {identity for identity, _ in skeletons}
        alone = [identity for identity in boxes if identity not in named]
        drawn = [one for identity, one in skeletons if identity is None]
        if alone and drawn and (len(alone), len(drawn)) != (1, 1):
            raise InputError(
                f"{where} has {len(drawn)} skeletons without {ID} and {len(alone)} "
                f"boxes without a skeleton: copy {SOURCE} and {ID} from the boxes"
            )
        if alone and drawn:
            skeletons.append((alone[0], drawn[0]))
        for identity, skeleton in skeletons:
            if identity is not None:
                carriers = [skeleton, boxes.get(identity, skeleton)]
                yield _correction(where, identity, skeleton, carriers)
        for identity in [] if drawn else alone:
            nobody = np.full(len(BODY_13), -1, np.int8)
            yield Correction(*identity, joints=None, visible=nobody)  # type: ignore[misc]


def _attributes(shape: Element) -> dict[str, str]:
    return {
        str(attribute.get("name")): attribute.text or ""
        for attribute in shape.findall("attribute")
    }


def _identity(shape: Element) -> tuple[str, str] | None:
    """Return source and id of the person, None where a shape has not both."""
    attributes = _attributes(shape)
    source, person = attributes.get(SOURCE, ""), attributes.get(ID, "")
    return (source, person) if source and person else None


def _correction(
    where: str,
    identity: tuple[str, str],
    skeleton: Element,
    carriers: Sequence[Element],
) -> Correction:
    joints = np.zeros((len(BODY_13), 3))
    hidden = np.zeros(len(BODY_13), np.bool_)
    try:
        for label, (x, y), occluded in _places(skeleton):
            if label not in BODY_13.names:
                raise BadLabelError(
                    "unknown_label",
                    f"a point must be one of {', '.join(BODY_13.names)}. "
                    f"Received: {label!r:.100}",
                )
            at = BODY_13.names.index(label)
            joints[at], hidden[at] = (x, y, 1), occluded
    except BadLabelError as bad:
        raise InputError(f"{where} ({' '.join(identity)}): {bad.detail}") from None
    texts = [_attributes(carrier).get(BEFORE, "") for carrier in carriers]
    settled, visible = settle(next(filter(None, texts), ""), joints, hidden)
    return Correction(*identity, joints=settled, visible=visible)
