"""The parts of the demo that are cheap; the README's test runs all of it."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from kpose import __version__
from kpose.errors import InputError
from kpose.geometry import Box
from kpose.joints import BODY_13
from kpose.records import ImageRef, PersonRecord
from kpose.shards import PreparedData
from kpose_cli import walk
from kpose_cli.main import main

TINY = walk.Plan(
    name="tiny",
    general=10,
    use_case=10,
    seconds=0.2,
    pretrain={"epochs": 1, "batch": 4, "warmup_epochs": 0.0},
    finetune={"epochs": 1, "batch": 4, "warmup_epochs": 0.0},
    size=32,
)

SETTINGS = {"kpose": "1", "demo": "tiny", "init": "none"}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """A demo that got as far as its prepared data."""
    out = tmp_path_factory.mktemp("demo")
    walk.render(out, TINY)
    for name in (walk.GENERAL, walk.USE_CASE):
        walk.prepare(out, name, TINY.size)
    return out


def run(*arguments: str):
    return CliRunner().invoke(main, ["demo", *arguments])


def test_help_says_what_comes_and_how_long_it_takes():
    result = run("--help")
    assert result.exit_code == 0
    assert "report.html" in result.stdout and "12 minutes" in result.stdout


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_place_that_holds_something_else_is_refused_and_kept(tmp_path, kind):
    out = tmp_path / "diary"
    if kind == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "diary.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))

    result = run("--quick", "--init", "none", "--out", str(out))

    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {out} must be ")
    assert len(result.stderr.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_model_that_is_not_there_is_refused_before_anything_is_written(tmp_path):
    result = run("--init", "gpt", "--out", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert "there is no gpt" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("key", "other"), [("demo", "full"), ("init", "compact"), ("kpose", "2")]
)
def test_a_demo_of_other_settings_is_refused(tmp_path, key, other):
    assert not walk.claim(tmp_path / "out", SETTINGS, print)
    with pytest.raises(InputError, match=f"has another {key} than '{other}'"):
        walk.claim(tmp_path / "out", SETTINGS | {key: other}, print)


def test_a_damaged_marker_is_refused(tmp_path):
    for text in ("[]", "null", "{"):
        (tmp_path / walk.SETTINGS).write_text(text)
        with pytest.raises(InputError, match=r"demo\.json"):
            walk.claim(tmp_path, SETTINGS, print)


def test_an_interrupted_demo_is_continued_and_a_finished_one_told(tmp_path):
    lines: list[str] = []
    out = tmp_path / "out"
    assert walk.claim(out, SETTINGS, lines.append) is False
    assert lines == []
    assert walk.claim(out, SETTINGS, lines.append) is False
    assert lines == [f"continuing the interrupted demo in {out}"]
    (out / walk.SUMMARY).write_text("{}")
    assert walk.claim(out, SETTINGS, lines.append) is True
    assert len(lines) == 1


def test_rendering_and_preparing_go_on_where_they_stopped(drawn):
    files = [path for path in sorted(drawn.rglob("*")) if path.is_file()]
    before = [path.stat().st_mtime_ns for path in files]
    walk.render(drawn, TINY)
    walk.prepare(drawn, walk.GENERAL, TINY.size)
    assert [path.stat().st_mtime_ns for path in files] == before


def test_nobody_who_is_tested_is_trained_on(drawn):
    general = PreparedData.open(drawn / "data" / walk.GENERAL)
    assert sorted(general.split.tolist()) == ["train"] * 8 + ["val"]
    case = PreparedData.open(drawn / "data" / walk.USE_CASE)
    assert set(case.group.tolist()) == {f"recording_{i}" for i in range(4)}
    tested = walk.records(drawn, walk.USE_CASE, ("test",))
    assert {record.group for record in tested.records} == {"recording_4"}


def test_the_recipe_is_that_of_compact_with_a_shorter_training():
    from kpose import config

    whole = config.load("compact")
    recipe = walk.recipe(walk.QUICK.pretrain, {})
    assert recipe.model == {}
    assert recipe.training.epochs == 1 and recipe.training.batch == 8
    assert recipe.training.optimizer == whole.training.optimizer
    assert recipe.augmentation == whole.augmentation


def test_the_usual_box_holds_the_boxes_of_the_recordings():
    def record(x: float) -> PersonRecord:
        joints = np.zeros((13, 3), np.float32)
        joints[0] = x, 20, 1
        joints[1] = x + 99, 219, 1  # 99 x 199 pixels, grown to 118.8 x 238.8
        visible = np.ones(13, np.int8)
        ref = ImageRef(Path("a.jpg"))
        return PersonRecord("a", ref, joints, visible, "synthetic", "a", "train")

    # Of eleven boxes the one at rank 1 and the one at rank 9 are the percentiles.
    box = walk.usual_box([record(x) for x in range(11)])
    grown = 99 * 0.1
    expected = Box(1.5 - grown, 20.5 - 19.9, 108.5 + grown, 219.5 + 19.9)
    np.testing.assert_allclose(box, expected, rtol=1e-6)


class Constant:
    """A network that says the same of every crop."""

    skeleton = BODY_13
    flip_curve = None
    size = 32

    def predict(self, crops):
        from kpose.runtime import Prediction

        return Prediction(np.full((len(crops), 13, 2), 0.5, np.float32), None)


def test_both_networks_are_scored_on_the_same_test_persons(drawn):
    models = {walk.BEFORE: Constant(), walk.AFTER: Constant()}
    scores = walk.evaluate(drawn, walk.GENERAL, models)
    assert list(scores) == [walk.BEFORE, walk.AFTER]
    before, after = scores.values()
    assert before.persons == after.persons == 1
    assert before.pck == after.pck
    assert before.mean_pose is not None


ROW = {"pck@0.2": {"all": 50.0}, "persons": 7}
ROWS = {
    walk.BEFORE: ROW | {"mean_pose": {"pck@0.2": {"all": None}}},
    walk.AFTER: {"pck@0.2": {"all": 99.94}, "persons": 7},
}
SUMMARY = {
    "scores": {walk.GENERAL: ROWS, walk.USE_CASE: ROWS},
    "export": {"formats": {"tflite": {"bytes": 8_240_000, "max_px": 0.0001}}},
    "report": "r.html",
    "overlay": "o.png",
    "video": "v.mp4",
    "seconds": 61.4,
}


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_a_finished_demo_prints_its_summary_again(tmp_path, as_json):
    out = tmp_path / "out"
    settings = {"kpose": __version__, "demo": "quick", "init": "none"}
    out.mkdir()
    (out / walk.SETTINGS).write_text(json.dumps(settings))
    (out / walk.SUMMARY).write_text(json.dumps(SUMMARY))

    options = ["--json"] if as_json else []
    result = run("--quick", "--init", "none", "--out", str(out), *options)

    assert result.exit_code == 0
    assert "finished" in result.stderr
    if as_json:
        assert json.loads(result.stdout.splitlines()[-1]) == SUMMARY
        return
    first, second, third, last = result.stdout.splitlines()
    assert first == (
        "PCK@0.2 All on varied people (7 persons): mean pose -, pretrained 50.0, "
        "finetuned 99.9"
    )
    assert "the use case" in second
    assert third.startswith("tflite: 8.2 MB, differs by at most 0.0001 px")
    assert last == "report: r.html, overlay: o.png, video: v.mp4 (61 s)"
