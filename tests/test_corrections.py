"""Corrected suspects on their way back into ``kpose prepare``."""

import json
import xml.etree.ElementTree as ET

import cv2
import numpy as np
import pytest
import scipy.io
from click.testing import CliRunner

from kpose.joints import BODY_13
from kpose.shards import PreparedData, parse
from kpose_cli.main import main
from kpose_datasets import cvat, lsp
from kpose_datasets.corrections import Suspect

WRIST = BODY_13.names.index("left_wrist")


@pytest.fixture
def root(tmp_path):
    """An LSP folder of four persons, pictures of 100 x 100."""
    folder = tmp_path / "lsp"
    joints = np.random.default_rng(0).uniform(20, 80, (3, 14, 4)).round(2)
    joints[2] = 0
    (folder / "images").mkdir(parents=True)
    scipy.io.savemat(folder / "joints.mat", {"joints": joints})
    for number in range(1, 5):
        picture = np.full((100, 100, 3), 50 * number, np.uint8)
        cv2.imwrite(str(folder / "images" / f"im{number:04}.jpg"), picture)
    return folder


@pytest.fixture
def export(root, tmp_path):
    """Three suspects: the first as it was, one wrist moved, the third removed."""
    records = list(lsp.read(root))[:3]
    path = tmp_path / "suspects.xml"
    people = [Suspect(record, 100, 100, "looks odd", 0.5) for record in records]
    cvat.write(path, people, root)
    tree = ET.parse(path)
    _, second, third = tree.getroot().findall("image")
    (wrist,) = (
        point for point in second.iter("points") if point.get("label") == "left_wrist"
    )
    wrist.set("points", "10.50,20.50")
    third.remove(third.find("skeleton"))
    tree.write(path, encoding="utf-8")
    return path


def run(*words):
    return CliRunner().invoke(main, ["prepare", *map(str, words)])


def test_corrections_replace_labels(root, export, tmp_path):
    before = (root / "joints.mat").read_bytes()
    plain = run("--data", f"lsp:{root}", "--out", tmp_path / "old", "--size", 64)
    words = ["--data", f"lsp:{root}", "--corrections", export, "--size", 64]

    result = run(*words, "--out", tmp_path / "new", "--strict", "--json")

    assert plain.exit_code == result.exit_code == 0, result.output
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary["corrections"] == {"changed": 1, "removed": 1, "unchanged": 1}
    assert summary["skipped"] == {"lsp": {"removed_by_correction": 1}}
    old, new = (PreparedData.open(tmp_path / name) for name in ("old", "new"))
    assert new.ids.tolist() == ["im0001", "im0002", "im0004"]
    kept, moved = (parse(new.read(row)) for row in (0, 1))
    np.testing.assert_array_equal(kept.joints, parse(old.read(0)).joints)
    # 10.5 from the edge is the middle of pixel 10.
    found = moved.square.crop_to_image(moved.joints[WRIST, :2])
    np.testing.assert_allclose(found, (10, 20), atol=1e-4)
    assert (root / "joints.mat").read_bytes() == before


def test_the_text_says_what_was_corrected(root, export, tmp_path):
    words = ["--data", f"lsp:{root}", "--corrections", export, "--size", 64]
    result = run(*words, "--out", tmp_path / "new")

    assert "corrections of suspects.xml: 1 labels changed, 1 removed, 1 confirmed" in (
        result.stdout
    )


def test_corrections_of_nobody_are_one_line(root, export, tmp_path):
    text = export.read_text().replace("im0002", "im9999")
    export.write_text(text)
    words = ["--data", f"lsp:{root}", "--corrections", export]

    result = run(*words, "--out", tmp_path / "new")

    assert result.exit_code == 1
    assert "must correct persons of the data, but 1 of 3 are not in it" in result.stderr
    assert "lsp im9999" in result.stderr
    assert not (tmp_path / "new").exists()


def test_a_file_that_is_no_export_is_one_line(root, tmp_path):
    file = tmp_path / "a.json"
    file.write_text("{}")

    result = run("--data", f"lsp:{root}", "--check", "--corrections", file)

    assert result.exit_code == 1
    assert f"{file} must be JSON of Label Studio or XML of CVAT" in result.stderr
