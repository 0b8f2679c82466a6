"""The reader of DeepLabCut's labels, on tiny files of their exact structure."""

import pytest

from kpose.errors import InputError
from kpose.joints import BODY_13
from kpose.records import BadRecord, ImageRef, PersonRecord
from kpose_datasets import deeplabcut

NAMES = BODY_13.names

PARTS = ("Left Wrist", "RWrist")
"""Body parts whose names are those of joints."""


def label_file(rows, parts=PARTS, individuals=None, index=3, scorer="me", coords="xy"):
    """The text of a label file.

    ``rows``: one list per picture: its path, then the cells. ``individuals``: who has
    which body parts. ``index``: columns that name the picture, 3 since version 2.2.
    """
    who = {"": parts} if individuals is None else individuals
    columns = [(one, part, c) for one in who for part in who[one] for c in coords]
    blank = [""] * (index - 1)
    header = [
        ["scorer", *blank, *[scorer for _ in columns]],
        ["individuals", *blank, *[one for one, _, _ in columns]],
        ["bodyparts", *blank, *[part for _, part, _ in columns]],
        ["coords", *blank, *[c for _, _, c in columns]],
    ]
    if individuals is None:
        del header[1]
    body = [
        [*(picture.split("/") if index == 3 else [picture]), *map(str, cells)]
        for picture, *cells in rows
    ]
    return "\n".join(map(",".join, header + body)) + "\n"


def project(root, videos, name="CollectedData_me.csv"):
    """Write a project: video -> text of its label file."""
    for video, text in videos.items():
        folder = root / "labeled-data" / video
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return root


def wrists(record):
    return [
        record.joints[NAMES.index(f"{side}_wrist")].tolist()
        for side in ("left", "right")
    ]


def single(picture="labeled-data/clip/img001.png", **keys):
    return label_file([[picture, 1.5, 2, 3, 4]], **keys)


def one_file(folder, text, name="CollectedData_me.csv"):
    path = folder / name
    path.write_text(text)
    return path


def refused(path, match, **options):
    with pytest.raises(InputError, match=match) as error:
        list(deeplabcut.read(path, **options))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("index", "separator"),
    [(3, "/"), (1, "/"), (1, "\\")],
    ids=["2.2", "older", "older, Windows"],
)
def test_one_animal(tmp_path, index, separator):
    picture = separator.join(["labeled-data", "clip", "img001.png"])
    picture = picture if index == 1 else picture.replace("\\", "/")
    root = project(tmp_path / "demo", {"clip": single(picture, index=index)})

    (record,) = deeplabcut.read(root)

    assert wrists(record) == [[1.5, 2, 1], [3, 4, 1]]
    assert record.joints[:, 2].sum() == 2
    assert set(record.visible.tolist()) == {-1}
    assert record.image == ImageRef(root / "labeled-data" / "clip" / "img001.png")
    assert (record.id, record.source) == ("clip/img001.png", "deeplabcut/demo")
    assert (record.group, record.recording, record.split) == ("clip", "clip", "train")
    assert record.box is None


def test_empty_cells_are_not_labelled(tmp_path):
    rows = [
        ["labeled-data/clip/img001.png", 1, 2, "", ""],
        ["labeled-data/clip/img002.png", "", "", "", ""],
        ["labeled-data/clip/img003.png", 0, 0, "nan", "nan"],
    ]
    root = project(tmp_path, {"clip": label_file(rows)})

    first, second, third = deeplabcut.read(root)

    assert wrists(first) == [[1, 2, 1], [0, 0, 0]]
    # A frame of one animal without a label is a label without joints.
    assert second.defect() == "no_joints"
    # The corner of a picture is a place as any other.
    assert wrists(third) == [[0, 0, 1], [0, 0, 0]]


def test_several_individuals(tmp_path):
    who = {"anna": PARTS, "bert": PARTS, "single": ("box_corner",)}
    rows = [
        ["labeled-data/clip/img001.png", 1, 2, 3, 4, 5, 6, "", "", 90, 91],
        ["labeled-data/clip/img002.png", "", "", "", "", 7, 8, 9, 10, 90, 91],
        ["labeled-data/clip/img003.png", "", "", "", "", "", "", "", "", 90, 91],
    ]
    root = project(tmp_path, {"clip": label_file(rows, individuals=who)})

    records = list(deeplabcut.read(root))

    # Who has no label is not there, and the points of the room are nobody's.
    assert [(r.id, *wrists(r)) for r in records] == [
        ("clip/img001.png/anna", [1, 2, 1], [3, 4, 1]),
        ("clip/img001.png/bert", [5, 6, 1], [0, 0, 0]),
        ("clip/img002.png/bert", [7, 8, 1], [9, 10, 1]),
    ]
    assert records[0].image == records[1].image


def test_a_project_is_all_its_videos(tmp_path):
    videos = {name: single(f"labeled-data/{name}/img1.png") for name in ("b", "a", "c")}
    root = project(tmp_path, videos)
    # Copies: cropped frames, and what the converters keep of the labels before them.
    project(tmp_path, {"a_cropped": single("labeled-data/a_cropped/img1.png")})
    project(tmp_path, {"a": single()}, "CollectedData_mesingleanimal.csv")
    project(tmp_path, {"b": single()}, "CollectedData_mewindows.csv")
    (root / "labeled-data" / "unlabelled").mkdir()

    records = list(deeplabcut.read(root))

    assert [r.id for r in records] == ["a/img1.png", "b/img1.png", "c/img1.png"]


def test_labels_of_two_scorers_are_not_two_persons(tmp_path):
    root = project(tmp_path, {"clip": single()})
    project(tmp_path, {"clip": single(scorer="you")}, "CollectedData_you.csv")

    refused(root, r"one scorer.*CollectedData_me\.csv, CollectedData_you\.csv")

    path = root / "labeled-data" / "clip" / "CollectedData_you.csv"
    (record,) = deeplabcut.read(path)
    assert record.source == "deeplabcut/CollectedData_you"
    assert record.image.path == root / "labeled-data" / "clip" / "img001.png"


def test_pictures_elsewhere(tmp_path):
    path = one_file(tmp_path, single())
    (tmp_path / "frames").mkdir()
    other = project(tmp_path / "other", {"clip": single()})

    images = [None, tmp_path / "frames", other]
    found = [next(deeplabcut.read(path, folder)).image.path for folder in images]

    end = ("clip", "img001.png")
    assert found == [
        tmp_path.joinpath(*end),
        (tmp_path / "frames").joinpath(*end),
        (other / "labeled-data").joinpath(*end),
    ]


def test_a_joint_map_names_other_body_parts(tmp_path):
    parts = ("Stirn", "Kinn")
    path = one_file(tmp_path, single(parts=parts))
    toml = tmp_path / "map.toml"
    toml.write_text('[joints]\nhead = ["Stirn", "Kinn"]\n')

    (record,) = deeplabcut.read(path, joint_map=toml)

    # (1.5, 2) and (3, 4): the head lies midway.
    assert record.joints[0].tolist() == [2.25, 3, 1]
    assert record.head_rule == "mid"
    refused(path, "the bodyparts of .*me.csv must name at least one.*map in map=")
    toml.write_text('[joints]\nhead = "Nase"\n')
    refused(path, "data, Stirn, Kinn. Received: 'Nase'", joint_map=toml)
    refused(path, "no.toml, but there is none", joint_map=tmp_path / "no.toml")


def test_semicolons_and_decimal_commas_of_a_spreadsheet(tmp_path):
    text = single().replace(",", ";").replace(".5", ",5")

    (record,) = deeplabcut.read(one_file(tmp_path, "\ufeff" + text))

    assert wrists(record) == [[1.5, 2, 1], [3, 4, 1]]


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        (
            "labeled-data,clip,a.png,1",
            "too_few_cells",
            "must have 7 cells. Received: 4",
        ),
        (
            "labeled-data,clip,a.png,1,2,3,4,5",
            "too_many_cells",
            "must have 7 cells. Received: 8",
        ),
        (",,,1,2,3,4", "no_image", "Received: '//'"),
        ("labeled-data,clip,,1,2,3,4", "no_image", "Received: 'labeled-data/clip/'"),
        (",,a.png,1,2,3,4", "no_image", "Received: '//a.png'"),
        ("labeled-data,clip,a.png,1,,3,4", "wrong_point", "Received: '1', ''"),
        ("labeled-data,clip,a.png,1,2,3,x", "wrong_point", "Received: '3', 'x'"),
    ],
)
def test_bad_rows_are_named_and_the_rest_goes_on(tmp_path, row, reason, detail):
    root = project(tmp_path, {"clip": single() + row + "\n"})

    good, fault = deeplabcut.read(root)

    assert isinstance(good, PersonRecord)
    assert isinstance(fault, BadRecord)
    assert fault.reason == reason
    assert fault.detail.startswith("clip/CollectedData_me.csv line 5: ")
    assert fault.detail.endswith(detail)


def test_a_bad_individual_leaves_the_others(tmp_path):
    who = {"anna": PARTS, "bert": PARTS}
    rows = [["labeled-data/clip/img001.png", 1, "x", 3, 4, 5, 6, 7, 8]]

    anna, bert = deeplabcut.read(one_file(tmp_path, label_file(rows, individuals=who)))

    assert (anna.id, anna.reason) == ("clip/img001.png/anna", "wrong_point")
    assert "line 5: anna: Left Wrist must have" in anna.detail
    assert wrists(bert) == [[5, 6, 1], [7, 8, 1]]


@pytest.mark.parametrize("value", ["inf", "1e300"])
def test_non_finite_numbers_are_left_to_the_defect(tmp_path, value):
    rows = [["labeled-data/clip/img001.png", value, 2, 3, 4]]

    (record,) = deeplabcut.read(one_file(tmp_path, label_file(rows)))

    assert record.defect() == "non_finite_joint"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("image,a_x,a_y\na.png,1,2\n", "rows that begin with scorer.*Received: image"),
        ("scorer,me\nbodyparts,a\n", "rows that begin with scorer, bodyparts, coords"),
        (
            label_file(
                [["0", 1, 2, 0.9]],
                ("LWrist",),
                index=1,
                coords=["x", "y", "likelihood"],
            ),
            "Received: predictions of a network",
        ),
        (
            single(coords=["x", "z"]),
            "one x and one y .* Left Wrist z' in column 5|'Left Wrist z'",
        ),
        (single(coords=["x"]), "only x for 'Left Wrist'"),
        (single(parts=("a", "a")), "one x and one y"),
        (single(parts=("LWrist", "nose")), "'left_wrist' without 'right_wrist'"),
        (single(parts=("LWrist", "left wrist")), "twice: 'left_wrist'"),
        (single().replace("Left Wrist,Left Wrist", "Left Wrist"), "as many bodyparts"),
        (
            label_file(
                [["labeled-data/v/a.png", 1, 2]], individuals={"single": ("lwrist",)}
            ),
            "must name at least one",
        ),
        (single() + '"labeled-data', "line 5 must be a row of CSV"),
        (single() + "\0", "line 5 has a NUL byte"),
    ],
    ids=[
        *("empty", "other", "no coords", "predictions", "z", "no y", "part twice"),
        *("one side", "joint twice", "short", "nobody", "quote", "nul"),
    ],
)
def test_files_without_labels(tmp_path, text, message):
    path = one_file(tmp_path, text)

    assert str(path) in refused(path, message)


def test_not_utf_8(tmp_path):
    path = tmp_path / "CollectedData_me.csv"
    path.write_bytes(single(scorer="J\u00fcrg").encode("latin-1"))

    refused(path, "UTF-8, but line 1 has the byte 0xfc at offset 10")


def test_places_that_are_none(tmp_path):
    path = one_file(tmp_path, single())

    refused(tmp_path / "no.csv", "no.csv, but there is nothing")
    refused(tmp_path, "must be a DeepLabCut project, but has no labeled-data/VIDEO")
    refused(path, "must be in a folder", images=path)
