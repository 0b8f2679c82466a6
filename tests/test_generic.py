"""The reader of any table of people, on tiny files."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from kpose.errors import InputError
from kpose.geometry import Box
from kpose.joints import BODY_13
from kpose.records import BadRecord, ImageRef, PersonRecord
from kpose_datasets import generic, lsp
from kpose_datasets.joint_map import MAPS, from_toml

DATA = Path(os.environ.get("KPOSE_DATA", Path(__file__).parents[2] / "shared" / "data"))

NAMES = BODY_13.names

SHOULDERS = '[joints]\nright_shoulder = "R"\nleft_shoulder = "L"\n'
"""A map of two points, R and L."""

HEADER = "image,R_x,R_y,L_x,L_y"


def table(folder, text, name="people.csv", toml=None):
    """Write a table, and beside it the map ``toml``."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    if toml is not None:
        path.with_suffix(".toml").write_text(toml)
    return path


def joint(record, name):
    return record.joints[NAMES.index(name)].tolist()


def shoulders(record):
    return joint(record, "right_shoulder"), joint(record, "left_shoulder")


def full(offset=0):
    """Cells of all 13 joints: joint i lies at x = 10 i, y = 100 + i, visible."""
    return [f"{v}" for i in range(13) for v in (10 * i + offset, 100 + i, 2)]


FULL = [f"{name}_{c}" for name in NAMES for c in "xyv"]


def refused(path, match, **options):
    with pytest.raises(InputError, match=match) as error:
        list(generic.read(path, **options))
    assert "\n" not in str(error.value)
    return str(error.value)


def bad(path):
    """The only bad record of a table, which must have one good person beside it."""
    records = list(generic.read(path))
    (fault,) = (r for r in records if isinstance(r, BadRecord))
    assert sum(isinstance(r, PersonRecord) for r in records) == 1
    assert "\n" not in fault.detail
    return fault


def test_columns_named_after_the_joints_need_no_map(tmp_path):
    path = table(tmp_path, f"image,{','.join(FULL)}\na/b.jpg,{','.join(full())}\n")

    (record,) = generic.read(path)

    for i, name in enumerate(NAMES):
        assert joint(record, name) == [10 * i, 100 + i, 1]
    assert record.visible.tolist() == [1] * 13
    assert record.image == ImageRef(tmp_path / "a" / "b.jpg")
    assert (record.id, record.source, record.group) == (
        "row 2",
        "generic/people",
        "a/b.jpg",
    )
    assert (record.split, record.head_rule, record.box) == ("train", "point", None)
    assert (record.recording, record.subject, record.clothing) == ("", "", "")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"], ids=["comma", "semi", "tab"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["no mark", "mark"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["unix", "windows", "mac"])
def test_spreadsheets_of_every_kind(tmp_path, delimiter, mark, end):
    cells = [HEADER.split(","), ["ä b.jpg", "1.5", "2", "3", "4"], [""] * 5]
    text = mark + end.join(map(delimiter.join, cells)) + end

    (record,) = generic.read(table(tmp_path, text, toml=SHOULDERS))

    assert shoulders(record) == ([1.5, 2, 1], [3, 4, 1])
    assert record.image.path == tmp_path / "ä b.jpg"
    assert record.visible.tolist() == [-1] * 13


def test_a_decimal_comma_is_one_where_it_parts_no_cells(tmp_path):
    text = HEADER.replace(",", ";") + "\na,b.jpg;1,5;2;3;4\n"

    (record,) = generic.read(table(tmp_path, text, toml=SHOULDERS))

    assert shoulders(record)[0] == [1.5, 2, 1]
    assert record.image.path.name == "a,b.jpg"
    # Between commas "1,234" may as well be a thousand.
    text = f'{HEADER}\na.jpg,"1,234",2,3,4\nb.jpg,1,2,3,4\n'
    assert bad(table(tmp_path, text, toml=SHOULDERS)).reason == "not_a_number"


def test_empty_cells_and_flags_say_what_is_labelled(tmp_path):
    columns = "image,R_x,R_y,R_v,L_x,L_y,L_v"
    rows = [
        "a.jpg,1,2,2,3,4,1",  # visible, hidden
        "a.jpg,1,2,0,,,0",  # not labelled, whatever the numbers
        "a.jpg,,,,3,4,",  # empty; unknown whether it is visible
        "a.jpg,nan,NaN,,NA,NA,",
    ]
    path = table(tmp_path, "\n".join([columns, *rows]), toml=SHOULDERS)

    records = list(generic.read(path))

    none, both = [0, 0, 0], ([1, 2, 1], [3, 4, 1])
    assert [shoulders(r) for r in records] == [
        both,
        (none, none),
        (none, both[1]),
        (none, none),
    ]
    right, left = NAMES.index("right_shoulder"), NAMES.index("left_shoulder")
    flags = [(int(r.visible[right]), int(r.visible[left])) for r in records]
    assert flags == [(1, 0), (-1, -1), (-1, -1), (-1, -1)]
    assert [r.defect() for r in records][1::2] == ["no_joints", "no_joints"]


def test_optional_columns(tmp_path):
    columns = "id,split,group,recording,subject,clothing,x0,y0,x1,y1"
    rows = [
        "a.jpg,1,2,3,4,p1,test,g,r,s,c,10,20,30,60",
        "b.jpg,1,2,3,4,,,,,,,,,,",
        "b.jpg,1,2,3,4,p1,val,,r2,,,,,,",
    ]
    text = "\n".join([f"{HEADER},{columns}", *rows])

    first, second, third = generic.read(table(tmp_path, text, toml=SHOULDERS), tmp_path)

    assert (first.id, first.split, first.group, first.recording) == (
        "p1",
        "test",
        "g",
        "r",
    )
    assert (first.subject, first.clothing) == ("s", "c")
    assert first.box == Box(10, 20, 30, 60)
    assert (second.id, second.split, second.group, second.box) == (
        "row 3",
        "train",
        "b.jpg",
        None,
    )
    # A second label with an id is yielded: the caller skips and counts it. Frames of a
    # recording stay together.
    assert (third.id, third.group) == ("p1", "r2")


def test_frames_of_a_video_are_one_group(tmp_path):
    text = (
        "image,frame,R_x,R_y,L_x,L_y\nday\\clip.MP4,7,1,2,3,4\nstill_7.jpg,7,1,2,3,4\n"
    )

    video, still = generic.read(table(tmp_path, text, toml=SHOULDERS))

    assert video.image == ImageRef(tmp_path / "day" / "clip.MP4", frame=7)
    assert video.group == video.recording == "day/clip.MP4"
    # The number of a picture that was cut out of a video is no frame of the picture.
    assert still.image == ImageRef(tmp_path / "still_7.jpg")


def test_columns_of_any_name(tmp_path):
    toml = (
        "[columns]\nimage = 'File'\nx0 = 'left'\nx = 'x{point}'\ny = 'y{point}'\n"
        "[joints]\nright_shoulder = '0'\nleft_shoulder = '1'\nhead = ['2', '3']\n"
    )
    columns = "File,x0,y0,x1,y1,x2,y2,x3,y3,x4,y4"
    row = "a.jpg,1,2,3,4,5,6,7,8,no number,"

    # x0, y0, x1, y1 are points here, so they are no box.
    path = table(tmp_path, f"{columns}\n{row}", toml=toml.replace("x0 = 'left'\n", ""))
    (record,) = generic.read(path)

    assert shoulders(record) == ([1, 2, 1], [3, 4, 1])
    assert joint(record, "head") == [6, 7, 1]
    assert (record.head_rule, record.box) == ("mid", None)
    assert "no number" not in refused(
        table(tmp_path, f"{columns}\n{row}", toml=toml),
        r"people.toml: x0 must be a column of .*people.csv, File.* Received: 'left'",
    )


def test_a_head_of_face_points_is_their_mean(tmp_path):
    toml = SHOULDERS + 'head = ["Nose", "LEye", "REye"]\n'
    columns = f"{HEADER},Nose_x,Nose_y,LEye_x,LEye_y,REye_x,REye_y"
    rows = ["a.jpg,1,2,3,4,10,10,13,8,,", "a.jpg,1,2,3,4,,,13,8,,"]

    records = list(
        generic.read(table(tmp_path, "\n".join([columns, *rows]), toml=toml))
    )

    # Nose and one eye: (11.5, 9). One eye alone is no head.
    assert [joint(r, "head") for r in records] == [[11.5, 9, 1], [0, 0, 0]]
    assert {r.head_rule for r in records} == {"face"}


@pytest.mark.parametrize(
    ("pixels", "right", "left", "box"),
    [
        ("", [4, 8], [6, 10], (2, 4, 8, 12)),
        ("first = 1", [3, 7], [5, 9], (1, 3, 7, 11)),
        # 100 wide: x' = 99 - x; edges: x' = 100 - x.
        ("mirrored = true\nwidth = 100", [95, 8], [93, 10], (92, 4, 98, 12)),
        (
            "mirrored = true\nfirst = 1\nwidth = 100",
            [96, 7],
            [94, 9],
            (93, 3, 99, 11),
        ),
        ("missing = [-1, 4]", [4, 8], [6, 10], (2, 4, 8, 12)),
    ],
    ids=["plain", "first 1", "mirrored", "mirrored, first 1", "not both"],
)
def test_pixels(tmp_path, pixels, right, left, box):
    text = f"{HEADER},x0,y0,x1,y1\na.jpg,4,8,6,10,2,4,8,12\n"

    path = table(tmp_path, text, toml=f"{SHOULDERS}[pixels]\n{pixels}\n")
    (record,) = generic.read(path)

    assert shoulders(record) == ([*right, 1], [*left, 1])
    assert record.box == Box(*box)
    assert record.image.mirrored == ("mirrored" in pixels)


def test_fractions_go_from_edge_to_edge(tmp_path):
    # The middle of 200 x 100 pixels is (99.5, 49.5), of 100 x 50 (49.5, 24.5).
    toml = f'{SHOULDERS}[pixels]\nunit = "fraction"\nwidth = 200\nheight = 100\n'
    rows = ["a.jpg,.5,.5,0,1,.25,.5,.5,1,,", "a.jpg,.5,.5,0,1,.25,.5,.5,1,100,50"]
    text = "\n".join([f"{HEADER},x0,y0,x1,y1,width,height", *rows])

    first, second = generic.read(table(tmp_path, text, toml=toml))

    assert shoulders(first) == ([99.5, 49.5, 1], [-0.5, 99.5, 1])
    assert first.box == Box(50, 50, 100, 100)
    assert shoulders(second) == ([49.5, 24.5, 1], [-0.5, 49.5, 1])


def test_numbers_that_mean_not_labelled(tmp_path):
    text = f"{HEADER}\na.jpg,-1,-1,0,0\na.jpg,0,-1,0,5\n"
    path = table(tmp_path, text, toml=f"{SHOULDERS}[pixels]\nmissing = [-1, 0]\n")

    first, second = generic.read(path)

    assert first.defect() == "no_joints"
    assert shoulders(second) == ([0, -1, 1], [0, 5, 1])


def test_a_table_of_bad_rows_only(tmp_path):
    path = table(tmp_path, f"{HEADER}\na.jpg,1,?,3,4\n", toml=SHOULDERS)

    (fault,) = generic.read(path)

    assert fault.reason == "not_a_number"


@pytest.mark.parametrize("value", ["inf", "-inf", "1e300"])
def test_non_finite_numbers_are_left_to_the_defect(tmp_path, value):
    text = f"{HEADER}\na.jpg,{value},2,3,4\n"

    (record,) = generic.read(table(tmp_path, text, toml=SHOULDERS))

    assert record.defect() == "non_finite_joint"


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        ("a.jpg,1,2", "too_few_cells", "must have 8 cells. Received: 3"),
        ("a.jpg,1,2,3,4,,,,9", "too_many_cells", "must have 8 cells. Received: 9"),
        ("a.jpg,1,zwei,3,4,,,", "not_a_number", "R must be a number. Received: 'zwei'"),
        ("a.jpg,1_0,2,3,4,,,", "not_a_number", "Received: '1_0'"),
        ("a.jpg,1,,3,4,,,", "incomplete_point", "Received: '1', '', ''"),
        ("a.jpg,,,3,4,2,,", "incomplete_point", "Received: '', '', '2'"),
        ("a.jpg,1,2,3,4,3,,", "unknown_flag", "2 visible. Received: '3'"),
        ("a.jpg,1,2,3,4,,tset,", "unknown_split", "Received: 'tset'"),
        (" ,1,2,3,4,,,", "no_image", "Received: ''"),
        ("a.mp4,1,2,3,4,,,", "bad_frame", "of 'a.mp4', from 0. Received: ''"),
        ("a.mp4,1,2,3,4,,,1.5", "bad_frame", "Received: '1.5'"),
        ("a.mp4,1,2,3,4,,,-1", "bad_frame", "Received: '-1'"),
        ("a.mp4,1,2,3,4,,,inf", "bad_frame", "Received: 'inf'"),
    ],
)
def test_bad_rows_are_named_and_the_rest_goes_on(tmp_path, row, reason, detail):
    good = "a.jpg,1,2,3,4,2,val,"
    text = f"image,R_x,R_y,L_x,L_y,R_v,split,frame\n\n{row}\n{good}\n"

    fault = bad(table(tmp_path, text, toml=SHOULDERS))

    assert (fault.reason, fault.id) == (reason, "row 3")
    assert fault.detail.startswith("people.csv line 3: ")
    assert fault.detail.endswith(detail)
    assert fault.source == "generic/people"


@pytest.mark.parametrize(
    ("cells", "reason"),
    [("1,2,3,,50", "incomplete_box"), ("1,2,3,4,", "no_width"), (",,,,0", "no_width")],
)
def test_bad_boxes_and_sizes(tmp_path, cells, reason):
    text = f"{HEADER},x0,y0,x1,y1,width\na.jpg,1,2,3,4,{cells}\na.jpg,1,2,3,4,,,,,50\n"

    fault = bad(table(tmp_path, text, toml=f"{SHOULDERS}[pixels]\nmirrored = true\n"))

    assert fault.reason == reason


def test_many_rows_keep_their_order(tmp_path):
    # More than two batches, a bad row at the end of the first.
    rows = [f"a.jpg,{i},1,{i},2" for i in range(600)]
    rows[generic.BATCH - 1] = "a.jpg,x,1,2,3"

    records = list(
        generic.read(table(tmp_path, "\n".join([HEADER, *rows]), toml=SHOULDERS))
    )

    assert [r.id for r in records] == [f"row {i + 2}" for i in range(600)]
    assert isinstance(records[generic.BATCH - 1], BadRecord)
    assert all(
        joint(r, "right_shoulder")[0] == i
        for i, r in enumerate(records)
        if isinstance(r, PersonRecord)
    )


def test_line_numbers_count_lines_in_quotes(tmp_path):
    text = f'{HEADER},note\na.jpg,1,2,3,4,"two\nlines"\nb.jpg,1,2,3,4,\n'

    records = list(generic.read(table(tmp_path, text, toml=SHOULDERS)))

    assert [r.id for r in records] == ["row 2", "row 4"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "with a header, but is empty"),
        (b"\n\n", "with a header, but is empty"),
        (b"name,R_x,R_y,L_x,L_y\n", "must have a column image. Received: name, R_x"),
        (b"image,a,b\n", "columns such as left_wrist_x and left_wrist_y"),
        (b"image,R_x,R_y,L_x\n", "must be made of the points of the data, R. .*'L'"),
        (b"image,R_x,R_x,R_y\n", "name every column once. Received twice: 'R_x'"),
        (b"image,R_x,R_y,L_x,L_y,x0,x1\n", "x0, y0, x1, y1 or none. Received: x0, x1"),
        (
            f"{HEADER}\n\u00e4.jpg".encode("latin-1"),
            "UTF-8, but line 2 has the byte 0xe4 at offset 22",
        ),
        (HEADER.encode("utf-16"), "UTF-8, but line 1 has the byte 0xff at offset 0"),
        (f"{HEADER}\na.jpg,1\0".encode(), "line 2 has a NUL byte"),
        (
            f'{HEADER}\na.jpg,1,2,3,4\n"b.jpg,1,2,3,4\nc.jpg,1,2,3,4'.encode(),
            "line 3 must be a row of CSV",
        ),
        (
            f"{HEADER}\n{'a' * 140000}.jpg,1,2,3,4".encode(),
            "line 2 must be a row of CSV, but field larger",
        ),
        (b"a" * (generic.LONGEST_LINE + 1), "line 1 has over"),
    ],
    ids=[
        *("empty", "blank", "image", "points", "one coordinate", "twice", "half a box"),
        *("latin", "utf-16", "nul", "quote", "huge", "one line"),
    ],
)
def test_files_that_are_no_table(tmp_path, content, message):
    path = table(tmp_path, content, toml=SHOULDERS)

    assert str(tmp_path) in refused(path, message)


def test_an_encoding_error_far_down_is_found(tmp_path):
    rows = "\n".join(["a.jpg,1,2,3,4"] * 5000)
    text = f"{HEADER}\n{rows}\n".encode() + b"\xff.jpg,1,2,3,4\n"

    refused(table(tmp_path, text, toml=SHOULDERS), "line 5002 has the byte 0xff")


def test_without_map_and_names_it_says_what_to_write(tmp_path):
    path = table(tmp_path, f"{HEADER}\na.jpg,1,2,3,4\n")

    message = refused(path, r"the columns of .*people.csv must name at least one of")

    assert f"write {tmp_path / 'people.toml'} with a table [joints]" in message


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("joints", "people.toml must be a TOML file"),
        ("[joints]\n", r"must have a table \[joints\] with lines"),
        ("[joints]\nnose = 'R'", "must map head, .* Received: 'nose'"),
        ("[joints]\nleft_hip = 'L'", "'left_hip' without 'right_hip'"),
        ("[joints]\nleft_hip = 'L'\nright_hip = 'L'", "two sides to different points"),
        (
            "[joints]\nleft_hip = ['L', 'R']\nright_hip = ['R', 'L']",
            "two sides to different points",
        ),
        (f"a = {'[' * 5000}", "people.toml must be a TOML file"),
        (f"a = {'9' * 5000}", "people.toml must be a TOML file"),
        ("[joints]\nleft_hip = 'L'\nright_hip = 'Q'", "R, L. Received: 'Q'"),
        ("[joints]\nhead = [['L']]", r"Received: \['L'\]"),
        ("[joints]\nhead = 3", "a point or a list of points. Received: 3"),
        (f"{SHOULDERS}[pixel]\n", "joints, columns, pixels. Received: pixel"),
        (f"pixels = 3\n{SHOULDERS}", r"\[pixels\] must be a table. Received: 3"),
        (f"{SHOULDERS}[pixels]\nbase = 1", r"\[pixels\] must have first.*ed: base"),
        (f"{SHOULDERS}[pixels]\nfirst = 2", "first must be 0 or 1. Received: 2"),
        (f"{SHOULDERS}[pixels]\nfirst = true", "first must be 0 or 1. Received: True"),
        (f"{SHOULDERS}[pixels]\nunit = 'mm'", "Received: 'mm'"),
        (f"{SHOULDERS}[pixels]\nwidth = 0", "width must be a number of pixels"),
        (f"{SHOULDERS}[pixels]\nwidth = inf", "width must be a number of pixels"),
        (f"{SHOULDERS}[pixels]\nmirrored = 1", "true or false. Received: 1"),
        (f"{SHOULDERS}[pixels]\nmissing = -1", "a list of numbers"),
        (f"{SHOULDERS}[pixels]\nmirrored = true", r"a column width, or .*people.toml"),
        (f"{SHOULDERS}[pixels]\nunit = 'fraction'", "must have a column width"),
        (
            f"{SHOULDERS}[pixels]\nunit = 'fraction'\nfirst = 1",
            "first must be left out where the unit is fraction",
        ),
        (f"{SHOULDERS}[columns]\npicture = 'a'", r"\[columns\] must have image"),
        (f"{SHOULDERS}[columns]\nimage = 3", "the name of a column. Received: 3"),
        (f"{SHOULDERS}[columns]\nx = 'x'", "such as '{point}_x'. Received: 'x'"),
        (f"{SHOULDERS}[columns]\nsplit = 'set'", "split must be a column.*'set'"),
    ],
)
def test_maps_that_are_none(tmp_path, toml, message):
    path = table(tmp_path, f"{HEADER}\na.jpg,1,2,3,4\n", toml=toml)

    assert "people.toml" in refused(path, message)


def test_places_that_are_none(tmp_path):
    path = table(tmp_path, f"{HEADER}\na.jpg,1,2,3,4\n", toml=SHOULDERS)

    refused(tmp_path / "no.csv", "no.csv, but there is no such file")
    refused(tmp_path, "but there is no such file")
    refused(table(tmp_path, "", "people.xlsx"), "must be a .csv, .tsv, .json or .jsonl")
    refused(path, "in a folder; name a video in", images=path)
    refused(path, "no.toml, but there is none", joint_map=tmp_path / "no.toml")
    refused(path, "fashion_poze, but", joint_map=Path("fashion_poze"))


def test_pictures_and_map_elsewhere(tmp_path):
    (tmp_path / "maps").mkdir()
    path = table(tmp_path, f"{HEADER}\na.jpg,1,2,3,4\n")
    mapping = table(tmp_path / "maps", SHOULDERS.replace("shoulder", "hip"), "m.toml")

    (record,) = generic.read(path, tmp_path / "maps", mapping)

    assert joint(record, "right_hip") == [1, 2, 1]
    assert record.image.path == tmp_path / "maps" / "a.jpg"


def person(**keys):
    return {"image": "a.jpg", "keypoints": {"R": [1, 2], "L": [3.5, 4, 1]}} | keys


def write_json(folder, records, name="people.json", toml=SHOULDERS):
    text = (
        json.dumps(records, indent=1)
        if name.endswith(".json")
        else "\n\n".join(map(json.dumps, records))
    )
    return table(folder, text, name, toml)


@pytest.mark.parametrize("name", ["people.json", "people.jsonl"])
def test_json(tmp_path, name):
    records = [
        person(id=7, split="val", x0=1, y0=2, x1=3.5, y1=9, subject=None),
        person(keypoints={"R": None, "other": "whatever"}, image="c.avi", frame=3),
        person(keypoints=None),
    ]

    first, second, third = generic.read(write_json(tmp_path, records, name))

    assert shoulders(first) == ([1, 2, 1], [3.5, 4, 1])
    visible = first.visible[
        [NAMES.index("right_shoulder"), NAMES.index("left_shoulder")]
    ]
    assert visible.tolist() == [-1, 0]
    assert (first.id, first.split, first.subject) == ("7", "val", "")
    assert first.box == Box(1, 2, 3.5, 9)
    assert second.image == ImageRef(tmp_path / "c.avi", frame=3)
    assert second.defect() == third.defect() == "no_joints"
    # Blank lines count: ids are places in the file.
    ids = ["record 2", "record 3"] if name == "people.json" else ["row 3", "row 5"]
    assert [second.id, third.id] == ids


def test_json_points_are_those_of_all_records(tmp_path):
    records = [
        person(keypoints={"left_wrist": [1, 2]}),
        person(keypoints={"right_wrist": [3, 4]}),
    ]

    first, second = generic.read(write_json(tmp_path, records, toml=None))

    assert joint(first, "left_wrist") == [1, 2, 1]
    assert joint(second, "right_wrist") == [3, 4, 1]


@pytest.mark.parametrize(
    ("record", "reason", "detail"),
    [
        ([1], "not_an_object", r"Received: [1]"),
        ({"image": "a.jpg"}, "no_keypoints", "Received: none"),
        (person(keypoints=[1, 2, 2]), "no_keypoints", "Received: [1, 2, 2]"),
        (person(keypoints={"R": [1]}), "wrong_point", "Received: [1]"),
        (person(keypoints={"R": {"x": 1}}), "wrong_point", "Received: {'x': 1}"),
        (person(keypoints={"R": [True, 1]}), "not_a_number", "Received: True"),
        (person(keypoints={"R": [[1], 1]}), "not_a_number", "Received: [1]"),
        (person(keypoints={"R": [1, None]}), "incomplete_point", "1, None, ''"),
        (person(image=None), "no_image", "Received: ''"),
        (person(image="a\0.jpg"), "no_image", r"Received: 'a\x00.jpg'"),
        (person(image=["a.jpg"]), "no_text", "Received: ['a.jpg']"),
        (person(split=True), "no_text", "Received: True"),
    ],
)
@pytest.mark.parametrize("name", ["people.json", "people.jsonl"])
def test_bad_json_records(tmp_path, record, reason, detail, name):
    fault = bad(write_json(tmp_path, [record, person()], name))

    assert fault.reason == reason
    where = "people.json record 1: " if name == "people.json" else "people.jsonl line 1"
    assert fault.detail.startswith(where)
    assert fault.detail.endswith(detail)


def test_a_bad_line_of_json_is_one_bad_record(tmp_path):
    lines = ["{", json.dumps(person()), "[" * 100000]
    path = table(tmp_path, "\n".join(lines), "people.jsonl", SHOULDERS)

    records = list(generic.read(path))

    assert [getattr(r, "reason", None) for r in records] == [
        "not_json",
        None,
        "not_json",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a JSON list of records. Received: an empty file"),
        (b'{"image": "a.jpg"}', "records line by line are .jsonl. Received: {"),
        (b"image,R_x", "a JSON list of records. Received: i"),
        (b"[]", "must have records such as"),
        (b'[{"image": "a.jpg"}]', "must have records such as .* Received: image"),
        (b'[{"keypoints": {"R": [1, 2], "L": [1, 3]}}]', "must have a column image"),
        (b'[{"image": "a.jpg", "keypoints": {"R": [1, 2]}}]', "Received: 'L'"),
        (b'[{"image": "a.jpg", "keypoints": {"R": [1,', "must be JSON, but has a"),
        (b'[{"image": "a.jpg"} {}]', "must be JSON, but has a"),
        (rb'[{"image": "\udcff"}]', "must be JSON, but has a"),
        (
            b'[{"image": "\xe4.jpg"}]',
            "UTF-8, but line 1 has the byte 0xe4 at offset 12",
        ),
        (
            '[{"image": "a.jpg"}]'.encode("utf-16"),
            "UTF-8, but line 1 has the byte 0xff",
        ),
    ],
)
def test_files_that_are_no_json(tmp_path, content, message):
    path = table(tmp_path, content, "people.json", SHOULDERS)

    assert str(tmp_path) in refused(path, message)


def test_json_with_a_byte_order_mark(tmp_path):
    text = "\ufeff \n" + json.dumps([person()])

    (record,) = generic.read(table(tmp_path, text, "people.json", SHOULDERS))

    assert shoulders(record) == ([1, 2, 1], [3.5, 4, 1])


def test_patterns_are_for_csv(tmp_path):
    toml = f"{SHOULDERS}[columns]\nx = '{{point}}x'\n"

    refused(write_json(tmp_path, [person()], toml=toml), "patterns for CSV only")


def test_the_map_of_fashion_pose_wants_its_13_points(tmp_path):
    path = table(tmp_path, f"image,{','.join(FULL)}\na.jpg,{','.join(full())}\n")

    (record,) = generic.read(path, joint_map=Path("fashion_pose"))

    assert record.joints[:, :2].tolist() == [[10 * i, 100 + i] for i in range(13)]
    assert record.head_rule == "point"
    missing = table(tmp_path, "image,head_x,head_y\na.jpg,1,2\n", "few.csv")
    refused(
        missing,
        "made of the points of the data, head",
        joint_map=Path("fashion_pose"),
    )


@pytest.mark.parametrize("path", sorted(MAPS.glob("*.toml")), ids=lambda p: p.stem)
def test_shipped_maps_map_every_joint(path):
    mapping = from_toml(Path(path.stem), NAMES)

    assert set(mapping.rows) == set(NAMES)
    points = np.zeros((1, 13, 2))
    assert mapping.joints(points, np.ones((1, 13), bool))[..., 2].all()


@pytest.mark.skipif(
    not (DATA / "lsp" / "joints.mat").is_file(),
    reason=f"the LSP file is not in {DATA} (set KPOSE_DATA)",
)
def test_real_lsp_through_a_german_spreadsheet(tmp_path):
    order = sorted(set(lsp.ROWS) - {"head"}, key=lambda name: lsp.ROWS[name])
    labels = lsp.load_joints(DATA / "lsp", "", (3, 14, None))
    columns = [f"{name}_{c}" for name in [*order, "neck", "head_top"] for c in "xyv"]
    rows = [["image", "split", *columns]]
    wanted = list(lsp.read(DATA / "lsp"))
    for record, (x, y, occluded) in zip(
        wanted, np.moveaxis(labels, -1, 0), strict=True
    ):
        cells = np.stack([x, y, 2 - occluded], axis=1).ravel()
        rows.append([record.image.path.name, record.split, *map(str, cells.tolist())])
    text = "\r\n".join(";".join(row) for row in rows)
    text = re.sub(r"(?<=\d)\.(?=\d)", ",", text)

    found = list(
        generic.read(table(tmp_path, text.encode("utf-8-sig")), DATA / "lsp" / "images")
    )

    assert len(found) == len(wanted) == 2000
    for record, expected in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(record.joints, expected.joints)
        np.testing.assert_array_equal(record.visible, expected.visible)
        assert (record.image, record.split) == (expected.image, expected.split)
        assert record.head_rule == "mid"
