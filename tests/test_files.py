import os
import stat

import pytest

from kpose import files
from kpose.errors import InputError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_its_block_ends(tmp_path):
    path = tmp_path / "new" / "a.txt"

    with files.atomic_file(path) as beside:
        beside.write_text("whole")
        assert not path.exists()
        assert beside.suffix == ".txt"

    assert path.read_text() == "whole"
    assert names(path.parent) == ["a.txt"]


def test_an_error_keeps_the_old_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    with pytest.raises(RuntimeError), files.atomic_file(path) as beside:
        beside.write_text("half")
        raise RuntimeError

    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_appears_when_its_block_ends(tmp_path):
    path = tmp_path / "new" / "model"

    with files.atomic_folder(path) as beside:
        (beside / "inside").mkdir()
        (beside / "inside" / "a.txt").write_text("whole")
        assert not path.exists()

    assert (path / "inside" / "a.txt").read_text() == "whole"
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert names(path.parent) == ["model"]


def test_an_error_leaves_no_folder(tmp_path):
    with pytest.raises(RuntimeError), files.atomic_folder(tmp_path / "a") as beside:
        (beside / "half").write_text("")
        raise RuntimeError

    assert names(tmp_path) == []


def test_an_empty_folder_may_be_filled(tmp_path):
    (tmp_path / "a").mkdir()

    with files.atomic_folder(tmp_path / "a") as beside:
        (beside / "b").write_text("")

    assert names(tmp_path / "a") == ["b"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_has_content_is_never_replaced_by_a_folder(tmp_path, kind):
    path = tmp_path / "a"
    if kind == "file":
        path.write_text("precious")
    else:
        path.mkdir()
        (path / "precious").write_text("")

    with (
        pytest.raises(InputError, match=r"a must be new or an empty folder"),
        files.atomic_folder(path),
    ):
        pytest.fail("the block must not run")

    assert path.exists()
    assert names(tmp_path) == ["a"]


def test_bytes_are_on_disk_before_the_name_is(tmp_path, monkeypatch):
    events = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append("sync"), sync(fd)))
    monkeypatch.setattr(
        os, "replace", lambda *paths: (events.append("rename"), replace(*paths))
    )

    files.write_text(tmp_path / "a", "whole")

    assert events == ["sync", "rename", "sync"]


def test_json_round_trip_keeps_letters_and_order(tmp_path):
    value = {"b": [1, 2.5, None], "a": "Jyväskylä"}

    files.write_json(tmp_path / "a.json", value)

    assert files.read_json(tmp_path / "a.json") == value
    assert list(files.read_json(tmp_path / "a.json")) == ["b", "a"]
    assert "Jyväskylä" in (tmp_path / "a.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected a JSON file at .*a.json, but there is none"),
        (b"{", "a.json must be a JSON file"),
        (b"\xff\xfe\x00", "a.json must be a JSON file"),
    ],
    ids=["missing", "cut short", "binary"],
)
def test_reading_what_is_not_json_names_the_file(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)

    with pytest.raises(InputError, match=message):
        files.read_json(tmp_path / "a.json")


def test_a_folder_is_not_json(tmp_path):
    with pytest.raises(InputError, match="must be a JSON file"):
        files.read_json(tmp_path)
