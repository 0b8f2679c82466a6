"""CVAT: its exports, and suspects written, corrected and read back."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from kpose.errors import InputError
from kpose.geometry import Box
from kpose.joints import BODY_13
from kpose.records import BadRecord, ImageRef, PersonRecord
from kpose_datasets import corrections, cvat
from kpose_datasets.corrections import Suspect

META = "<meta><task><id>9</id><name>walk</name><mode>annotation</mode></task></meta>"


def points(label, xy, outside=0, occluded=0):
    return (
        f'<points label="{label}" source="manual" outside="{outside}" '
        f'occluded="{occluded}" points="{xy}"></points>'
    )


def skeleton(*inside, label="person", more=""):
    return (
        f'<skeleton label="{label}" source="manual" z_order="0" {more}>'
        f"{''.join(inside)}</skeleton>"
    )


def box(xtl, ytl, xbr, ybr, more=""):
    return (
        f'<box label="box" source="manual" occluded="0" xtl="{xtl}" ytl="{ytl}" '
        f'xbr="{xbr}" ybr="{ybr}" z_order="0" {more}></box>'
    )


def image(*inside, name="a.jpg", number=0, more=""):
    return (
        f'<image id="{number}" name="{name}" {more} width="200" height="100">'
        f"{''.join(inside)}</image>"
    )


def export(folder: Path, *images, name="annotations.xml") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>'
        f"{META}{''.join(images)}</annotations>"
    )
    return path


def joint(record, name):
    return record.joints[BODY_13.names.index(name)].tolist()


def shown(record, name):
    return record.visible[BODY_13.names.index(name)]


WRISTS = (
    points("left wrist", "0.50,0.50"),
    points("right wrist", "100.00,50.00", occluded=1),
    points("left knee", "70.00,50.00", outside=1),
    points("right knee", "72.00,50.00"),
)


def test_pixels_count_from_the_edge_and_outside_is_not_labelled(tmp_path):
    path = export(tmp_path / "walk", image(skeleton(*WRISTS)))

    for place in (path, path.parent):
        (record,) = cvat.read(place)

        assert joint(record, "left_wrist") == [0, 0, 1]
        assert joint(record, "right_wrist") == [99.5, 49.5, 1]
        assert joint(record, "left_knee") == [0, 0, 0]
        assert record.joints[:, 2].sum() == 3
        assert (shown(record, "left_wrist"), shown(record, "right_wrist")) == (1, 0)
        assert shown(record, "head") == -1
        assert record.source == f"cvat/{place.stem}"
    assert (record.id, record.group) == ("a.jpg/0", "a.jpg")
    assert (record.split, record.recording, record.box) == ("train", "", None)
    assert record.image == ImageRef(tmp_path / "walk" / "a.jpg")


def test_a_skeleton_without_a_point_is_a_person_without_joints(tmp_path):
    gone = skeleton(*(points(f"{s} hip", "1,1", outside=1) for s in ("left", "right")))

    (record,) = cvat.read(export(tmp_path, image(gone)))

    assert record.defect() == "no_joints"


def test_people_of_one_picture_and_their_boxes(tmp_path):
    path = export(
        tmp_path,
        image(
            box(20, 10, 90, 95, more='group_id="4"'),
            skeleton(points("head", "30,20"), more='group_id="5"'),
            skeleton(points("head", "130,20"), more='group_id="4"'),
            box(1, 1, 9, 9, more='group_id="5" rotation="30.00"'),
            skeleton(points("head", "150,20")),
        ),
        image(skeleton(points("head", "7,8")), name="sub/b.jpg", number=1),
    )

    records = list(cvat.read(path, tmp_path / "pictures"))

    assert [r.id for r in records] == ["a.jpg/0", "a.jpg/1", "a.jpg/2", "sub/b.jpg/0"]
    boxes = [r.box for r in records]
    assert boxes == [None, Box(20, 10, 90, 95), None, None]
    assert records[3].image.path == tmp_path / "pictures" / "sub" / "b.jpg"
    assert [r.group for r in records] == ["a.jpg", "a.jpg", "a.jpg", "sub/b.jpg"]


def test_pictures_lie_beside_the_file_in_images(tmp_path):
    (tmp_path / "images").mkdir()
    path = export(tmp_path, image(skeleton(points("head", "1,1"))))

    (record,) = cvat.read(path)

    assert record.image.path == tmp_path / "images" / "a.jpg"


def test_tasks_of_a_project_may_share_names(tmp_path):
    head = skeleton(points("head", "1,1"))
    pair = (image(head, more=f'subset="default" task_id="{n}"') for n in (3, 4))

    records = list(cvat.read(export(tmp_path, *pair)))

    assert [record.id for record in records] == ["3/a.jpg/0", "4/a.jpg/0"]


def test_frames_of_a_video_are_one_recording(tmp_path):
    head = skeleton(points("head", "1,1"))
    frames = [image(head, name=f"frame_{n:06}", number=n) for n in (0, 30)]
    path = export(tmp_path, *frames, name="walk.xml")
    (tmp_path / "walk.mp4").touch()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "frame_000030.PNG").touch()

    video = list(cvat.read(path, tmp_path / "walk.mp4"))
    folder = list(cvat.read(path))

    assert [r.image.frame for r in video] == [0, 30]
    assert {r.image.path for r in video} == {tmp_path / "walk.mp4"}
    names = [r.image.path.name for r in folder]
    assert names == ["frame_000000.png", "frame_000030.PNG"]
    assert {(r.group, r.recording) for r in video + folder} == {("walk", "walk")}


@pytest.mark.parametrize("name", ["**a", "a[1]", "x" * 300 + "/a"])
def test_names_of_frames_are_no_patterns(tmp_path, name):
    pictures = tmp_path / "images"
    pictures.mkdir()
    (pictures / "a1.png").touch()
    (pictures / "a[1].png").touch()
    path = export(tmp_path, image(GOOD, name=name))

    (record,) = cvat.read(path)

    assert record.image.path == pictures / f"{name}.png"


def test_numbers_too_large_are_reported_by_the_caller(tmp_path):
    path = export(tmp_path, image(skeleton(points("head", "1e300,1"))))

    (record,) = cvat.read(path)

    assert record.defect() == "non_finite_joint"


def test_points_go_by_a_joint_map(tmp_path):
    (tmp_path / "map.toml").write_text('[joints]\nhead = ["7", "8"]\n')
    path = export(tmp_path, image(skeleton(points("7", "10,20"), points("8", "20,10"))))

    (record,) = cvat.read(path, joint_map=tmp_path / "map.toml")

    assert joint(record, "head") == [14.5, 14.5, 1]
    assert record.head_rule == "mid"


def test_skeletons_called_person_are_taken_where_there_are_others(tmp_path):
    hand = skeleton(points("thumb", "1,1"), label="hand")
    path = export(tmp_path, image(hand, skeleton(points("head", "2,2"))))

    (record,) = cvat.read(path)

    assert (record.id, joint(record, "head")) == ("a.jpg/0", [1.5, 1.5, 1])


GOOD = skeleton(points("head", "1,1"))


@pytest.mark.parametrize(
    ("bad", "reason", "detail"),
    [
        (
            (points("head", "1,1"), points("head", "2,1")),
            "keypoint_twice",
            "'head' is there twice",
        ),
        ((points("head", "1"),), "wrong_point", "Received: '1'"),
        ((points("head", "1,2;3,4"),), "wrong_point", "Received: '1,2;3,4'"),
        ((points("head", "nan,2"),), "wrong_point", "Received: 'nan,2'"),
        (('<points label="head"/>',), "wrong_point", "Received: None"),
    ],
)
def test_a_bad_skeleton_is_named_and_the_rest_goes_on(tmp_path, bad, reason, detail):
    path = export(tmp_path, image(GOOD, skeleton(*bad), GOOD))

    first, wrong, last = cvat.read(path)

    assert (first.id, last.id) == ("a.jpg/0", "a.jpg/2")
    assert isinstance(wrong, BadRecord)
    assert (wrong.id, wrong.source, wrong.reason) == (
        "a.jpg/1",
        "cvat/annotations",
        reason,
    )
    assert detail in wrong.detail
    assert wrong.detail.startswith(f"{path}: skeleton a.jpg/1: ")


def test_an_image_needs_a_name_and_a_frame_a_number(tmp_path):
    video = tmp_path / "a.mp4"
    video.touch()
    path = export(tmp_path, image(GOOD, name=""), image(GOOD, number="x"))

    first, second = cvat.read(path, video)

    assert (first.reason, second.reason) == ("no_picture", "no_frame")


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'
    "<annotations>&b;</annotations>"
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected CVAT's XML"),
        (b"", "must be XML"),
        (b"<annotations><image>", "must be XML: no element found"),
        (b"<annotations></meta></annotations>", "must be XML: mismatched tag"),
        (BOMB.encode(), "must not define entities: EntitiesForbidden"),
        (
            '<?xml version="1.0" encoding="utf-8"?><annotations>ä</annotations>'.encode(
                "latin-1"
            ),
            "must be XML: not well-formed",
        ),
        (b'<?xml version="1.0" encoding="x-no"?><annotations/>', "must be XML"),
        (b"<html></html>", "annotations. Received: 'html'"),
        (b"<annotations><meta/></annotations>", "must have a skeleton, but has none"),
        (
            b'<annotations><track id="0"><skeleton/></track></annotations>',
            'exported as "CVAT for images 1.1", but is "CVAT for video 1.1"',
        ),
        (
            b'<annotations><image><skeleton label="a"/><skeleton label="b"/></image>'
            b"</annotations>",
            "of one label, or of one called person. Received: a, b",
        ),
        (
            f"<annotations>{image(skeleton(points('hat', '1,1')))}</annotations>",
            "must name at least one of head.*hat",
        ),
        (
            f"<annotations>{image(skeleton(points('left hip', '1,1')))}</annotations>",
            "both sides or none.*'left_hip' without 'right_hip'",
        ),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "annotations.xml"
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    with pytest.raises(InputError, match=message) as error:
        list(cvat.read(tmp_path))

    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


# Suspects out and back.


def person(folder: Path, name="im1", picture="a&b.jpg", there=1) -> PersonRecord:
    joints = np.ones((13, 3), np.float32)
    joints[:, 0] = 10 + 7.123 * np.arange(13)
    joints[:, 1] = 20 + 3.3456 * np.arange(13)
    joints[5] = 0  # left elbow: never labelled
    joints[12, :2] = 203.25, 99.75  # left ankle: outside the picture
    visible = np.full(13, there, np.int8)
    visible[3] = 0  # right wrist
    image = ImageRef(folder / "set" / picture)
    return PersonRecord(name, image, joints, visible, "lsp", name, "train")


def suspect(folder: Path, name="im1", **more) -> Suspect:
    return Suspect(person(folder, name, **more), 200, 100, "<legs> swapped", 0.8)


def written(folder: Path, *people) -> ElementTree.Element:
    cvat.write(folder / "out.xml", people, folder)
    return ElementTree.parse(folder / "out.xml").getroot()


def exported(root: ElementTree.Element) -> ElementTree.Element:
    """What CVAT exports after the file was uploaded and nothing changed.

    It rounds every number to 0.01 and says for itself where shapes come from.
    """
    for shape in root.iter():
        for key in ("xtl", "ytl", "xbr", "ybr"):
            if key in shape.attrib:
                shape.set(key, f"{float(shape.get(key)):.2f}")
        if "points" in shape.attrib:
            x, y = map(float, shape.get("points").split(","))
            shape.set("points", f"{x:.2f},{y:.2f}")
    return root


def back(folder: Path, root: ElementTree.Element) -> dict:
    path = folder / "annotations.xml"
    ElementTree.ElementTree(root).write(path, "utf-8", xml_declaration=True)
    return corrections.read(path)


def point(root, label):
    return root.find(f".//points[@label='{label}']")


@pytest.mark.parametrize("there", [1, 0, -1])
def test_what_nobody_changed_comes_back_exactly(tmp_path, there):
    people = [
        suspect(tmp_path, "im1", there=there),
        suspect(tmp_path, "im2"),
        suspect(tmp_path, "im3", picture="c.jpg"),
    ]
    root = written(tmp_path, *people)

    for found in (
        corrections.read(tmp_path / "out.xml"),
        back(tmp_path, exported(root)),
    ):
        assert list(found) == [("lsp", "im1"), ("lsp", "im2"), ("lsp", "im3")]
        for one in people:
            correction = found["lsp", one.record.id]
            assert np.array_equal(correction.joints, one.record.joints)
            assert np.array_equal(correction.visible, one.record.visible)
            assert correction.joints.dtype == np.float32


def test_suspects_of_one_picture_are_in_one_image(tmp_path):
    people = [suspect(tmp_path, "im1"), suspect(tmp_path, "im2")]
    root = written(tmp_path, *people, suspect(tmp_path, "im3", picture="c.jpg"))

    images = root.findall("image")
    assert [(i.get("id"), i.get("name")) for i in images] == [
        ("0", "set/a&b.jpg"),
        ("1", "set/c.jpg"),
    ]
    assert [len(i.findall("skeleton")) for i in images] == [2, 1]
    assert [s.get("group_id") for s in root.iter("skeleton")] == ["1", "2", "3"]
    assert [s.get("group_id") for s in root.iter("box")] == ["1", "2", "3"]
    # Joints from (10, 20) to (203.25, 99.75), the box 1.2 times as large, cut off.
    edges = [float(images[0].find("box").get(e)) for e in ("xtl", "xbr", "ybr")]
    assert edges == [0, 200, 100]
    attributes = {a.get("name"): a.text for a in images[0].find("skeleton")[-5:]}
    assert attributes["kpose_reason"] == "<legs> swapped"
    assert (attributes["kpose_source"], attributes["kpose_id"]) == ("lsp", "im1")
    assert point(root, "right_wrist").get("occluded") == "1"
    assert point(root, "head").get("points") == "10.5,20.5"
    elbow = point(root, "left_elbow")
    assert (elbow.get("outside"), elbow.get("occluded")) == ("1", "0")


def test_the_round_trip_of_a_moved_joint_is_a_thousandth_of_a_pixel(tmp_path):
    root = written(tmp_path, suspect(tmp_path))
    point(root, "head").set("points", "78.20,20.52")

    found = back(tmp_path, root)["lsp", "im1"]

    before = suspect(tmp_path).record.joints
    np.testing.assert_allclose(found.joints[0], [77.7, 20.02, 1], atol=1e-3)
    assert np.array_equal(found.joints[1:], before[1:])


def test_joints_are_added_removed_hidden_and_shown(tmp_path):
    root = exported(written(tmp_path, suspect(tmp_path, there=-1)))
    point(root, "head").set("outside", "1")
    point(root, "left_elbow").set("outside", "0")
    point(root, "left_elbow").set("points", "30.00,40.00")
    point(root, "left_hip").set("occluded", "1")
    point(root, "right_wrist").set("occluded", "0")

    found = back(tmp_path, root)["lsp", "im1"]

    rows = dict(zip(BODY_13.names, found.joints.tolist(), strict=True))
    seen = dict(zip(BODY_13.names, found.visible.tolist(), strict=True))
    assert rows["head"] == [0, 0, 0]
    assert rows["left_elbow"] == [29.5, 39.5, 1]
    assert (seen["left_hip"], seen["right_wrist"], seen["left_knee"]) == (0, 1, -1)


@pytest.mark.parametrize("how", ["skeleton", "points"])
def test_a_person_is_removed(tmp_path, how):
    root = written(tmp_path, suspect(tmp_path), suspect(tmp_path, "im2"))
    first = root.find("image/skeleton")
    if how == "skeleton":
        root.find("image").remove(first)
    for one in first.iter("points"):
        one.set("outside", "1")

    found = back(tmp_path, root)

    assert found["lsp", "im1"].joints is None
    assert np.array_equal(found["lsp", "im2"].joints, person(tmp_path).joints)


def test_a_person_without_box_and_skeleton_is_left_alone(tmp_path):
    root = written(tmp_path, suspect(tmp_path), suspect(tmp_path, "im2"))
    first = root.find("image")
    first.remove(first.find("box"))
    first.remove(first.find("skeleton"))

    assert list(back(tmp_path, root)) == [("lsp", "im2")]


def drawn_anew(root: ElementTree.Element, number: int) -> None:
    """Skeletons that a person deleted and drew again have empty attributes."""
    for one in list(root.iter("skeleton"))[:number]:
        for attribute in one.findall("attribute"):
            attribute.text = ""
        one.attrib.pop("group_id")


def test_a_skeleton_drawn_anew_belongs_to_the_box_without_one(tmp_path):
    root = written(tmp_path, suspect(tmp_path), suspect(tmp_path, "im2"))
    drawn_anew(root, 1)
    point(root, "head").set("points", "50.50,60.50")

    found = back(tmp_path, root)

    assert found["lsp", "im1"].joints[0].tolist() == [50, 60, 1]
    assert found["lsp", "im2"].joints[0].tolist() == [10, 20, 1]


def test_a_person_whom_somebody_added_is_no_correction(tmp_path):
    root = written(tmp_path, suspect(tmp_path))
    root.find("image").append(ElementTree.fromstring(GOOD))

    assert list(back(tmp_path, root)) == [("lsp", "im1")]


def spoil(how: str, root: ElementTree.Element) -> None:
    if how == "label":
        point(root, "head").set("label", "hat")
    elif how == "twice":
        point(root, "right_hip").set("label", "head")
    elif how == "place":
        point(root, "head").set("points", "1")
    elif how == "duplicate":
        root.find("image").append(root.find("image/skeleton"))
    elif how == "unclear":
        drawn_anew(root, 2)
    else:
        for name in ("kpose_id", "kpose_source"):
            for one in root.findall(f".//attribute[@name='{name}']"):
                one.text = None


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            "label",
            r"image set/a&b.jpg \(lsp im1\): a point must be one of.*Received: 'hat'",
        ),
        ("twice", r"\(lsp im1\): 'head' is there twice"),
        ("place", r"\(lsp im1\): 'head' must be at one point x,y. Received: '1'"),
        ("duplicate", "every person once. Received twice: lsp im1"),
        (
            "unclear",
            "2 skeletons without kpose_id and 2 boxes without a skeleton: copy",
        ),
        ("identity", "must have kpose_source and kpose_id"),
    ],
)
def test_corrections_that_are_not_clear_are_refused(tmp_path, how, message):
    root = written(tmp_path, suspect(tmp_path), suspect(tmp_path, "im2"))
    spoil(how, root)

    with pytest.raises(InputError, match=message) as error:
        back(tmp_path, root)

    assert str(tmp_path / "annotations.xml") in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(BOMB, "must not define entities"), ("<annotations><image>", "must be XML")],
)
def test_bad_xml_is_no_correction(tmp_path, content, message):
    (tmp_path / "x.xml").write_text(content)

    with pytest.raises(InputError, match=message) as error:
        corrections.read(tmp_path / "x.xml")

    assert str(tmp_path / "x.xml") in str(error.value)


def test_the_set_up_has_the_labels_that_the_file_uses(tmp_path):
    root = written(tmp_path, suspect(tmp_path))

    skeleton_label, box_label = json.loads(cvat.config())

    assert skeleton_label["type"] == "skeleton"
    assert {skeleton_label["name"]} == {s.get("label") for s in root.iter("skeleton")}
    assert {box_label["name"]} == {b.get("label") for b in root.iter("box")}
    for label, shape in ((skeleton_label, "skeleton"), (box_label, "box")):
        specified = [attribute["name"] for attribute in label["attributes"]]
        element = root.find(f"image/{shape}")
        assert specified == [a.get("name") for a in element.findall("attribute")]
    sublabels = [label["name"] for label in skeleton_label["sublabels"]]
    assert sublabels == list(BODY_13.names)
    drawing = ElementTree.fromstring(f"<svg>{skeleton_label['svg']}</svg>")
    circles = {c.get("data-label-name"): c for c in drawing.iter("circle")}
    assert list(circles) == sublabels
    nodes = {c.get("data-node-id"): name for name, c in circles.items()}
    limbs = [
        (nodes[line.get("data-node-from")], nodes[line.get("data-node-to")])
        for line in drawing.iter("line")
    ]
    assert limbs == list(BODY_13.limbs)
    # A person who faces the camera: the right side is on the left of the picture.
    for name in sublabels:
        if name.startswith("right_"):
            left = circles[name.replace("right", "left")]
            assert float(circles[name].get("cx")) < float(left.get("cx"))


def test_pictures_must_be_in_the_root(tmp_path):
    with pytest.raises(InputError, match=r"must be in .*other.*a&b\.jpg for lsp im1"):
        cvat.write(tmp_path / "out.xml", [suspect(tmp_path)], tmp_path / "other")

    assert not (tmp_path / "out.xml").exists()
