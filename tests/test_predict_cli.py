import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

import kpose
from kpose.joints import BODY_13
from kpose.predictor import Predictor
from kpose.runtime import Runtime
from kpose_cli.main import main

CARD = {"skeleton": BODY_13.to_json(), "size": 32}
POSE = np.stack([np.linspace(0.1, 0.9, 13), np.linspace(0.9, 0.2, 13)], axis=1)


def answer(crops):
    """The same pose in every crop."""
    return {"keypoints": np.tile(POSE.astype(np.float32), (len(crops), 1, 1))}


@pytest.fixture(autouse=True)
def asked(monkeypatch, tmp_path):
    """Replace the model that a command loads; give the arguments it was asked with."""
    asked = []

    def load(model, flip_test):
        asked.append((model, flip_test))
        return Predictor(Runtime(answer, CARD, "keras"), flip_test)

    monkeypatch.setattr(kpose, "load", load)
    monkeypatch.chdir(tmp_path)
    return asked


def predict(*arguments):
    return CliRunner().invoke(main, ["predict", *map(str, arguments)])


def write(path, width=80, height=60):
    pixels = np.full((height, width, 3), 90, np.uint8)
    path.parent.mkdir(exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_one_picture_whole(tmp_path, asked):
    write(tmp_path / "jump.jpg")

    result = predict("jump.jpg", "--no-flip-test")

    assert result.exit_code == 0, result.output
    assert asked == [("compact", False)]
    assert result.stderr == (
        "no --box: the whole picture is taken as one person's box\n"
    )
    assert result.stdout == "1 persons in 1 pictures -> runs/predict/jump\n"
    out = tmp_path / "runs" / "predict" / "jump"
    assert sorted(p.name for p in out.iterdir()) == ["jump.png", "keypoints.jsonl"]
    (row,) = rows(out / "keypoints.jsonl")
    assert row["source"] == "jump.jpg" and row["box"] == [0, 0, 80, 60]
    assert (row["frame"], row["time_ms"], row["status"]) == (0, None, "ok")
    assert row["track_id"] is None and row["score"] is None
    assert list(row["keypoints"]) == list(BODY_13.names)
    # The square is 80 wide and starts at x = 0, y = -10.
    assert row["keypoints"]["head"] == [7.5, 61.5, None]
    assert row["keypoints"]["left_ankle"] == [71.5, 5.5, None]
    overlay = cv2.imread(str(out / "jump.png"))
    assert overlay.shape == (60, 80, 3)
    assert overlay[6, 71].tolist() == pytest.approx([255, 144, 30], abs=20)  # BGR blue


def test_box_moves_the_joints(tmp_path):
    write(tmp_path / "a.png")

    first = predict("a.png", "--box", "10,20,40,50", "--out", "-", "--no-flip-test")
    second = predict("a.png", "--box", "17,11,47,41", "--out", "-", "--no-flip-test")

    one, two = json.loads(first.stdout), json.loads(second.stdout)
    assert one["box"] == [10, 20, 40, 50]
    for name in BODY_13.names:
        (x0, y0, _), (x1, y1, _) = one["keypoints"][name], two["keypoints"][name]
        assert x1 - x0 == pytest.approx(7, abs=1e-9)
        assert y1 - y0 == pytest.approx(-9, abs=1e-9)
    assert "--box" not in first.stderr
    assert list(tmp_path.glob("runs")) == []


def test_unreadable_picture_among_good_ones(tmp_path):
    folder = tmp_path / "photos"
    write(folder / "a.jpg")
    write(folder / "c.png")
    (folder / "b.jpg").write_bytes((folder / "a.jpg").read_bytes()[:400])
    (folder / "notes.txt").touch()

    result = predict("photos", "--json", "--out", "out")

    assert result.exit_code == 1
    assert json.loads(result.stdout.splitlines()[-1]) == {
        "pictures": 3,
        "persons": 2,
        "skipped": {"unreadable": 1},
        "out": "out",
        "model": "compact",
    }
    assert "photos/b.jpg: unreadable: photos/b.jpg must be a" in result.stderr
    a, b, c = rows(tmp_path / "out" / "keypoints.jsonl")
    assert [r["status"] for r in (a, b, c)] == ["ok", "unreadable", "ok"]
    assert b["box"] is None and set(b["keypoints"].values()) == {None}
    assert sorted(p.name for p in (tmp_path / "out").glob("*.png")) == [
        "a.png",
        "c.png",
    ]


def test_json_lines_on_stdout_and_summary_last(tmp_path):
    write(tmp_path / "a.jpg")
    write(tmp_path / "b.jpg")

    result = predict("a.jpg", "b.jpg", "--out", "-", "--json")

    first, second, summary = map(json.loads, result.stdout.splitlines())
    assert (first["source"], second["source"]) == ("a.jpg", "b.jpg")
    assert summary["persons"] == 2
    plain = predict("a.jpg", "b.jpg", "--out", "-")
    assert len(plain.stdout.splitlines()) == 2
    assert plain.stderr.splitlines()[-1] == "2 persons in 2 pictures"


def test_equal_stems_get_different_overlays(tmp_path):
    write(tmp_path / "a.jpg")
    write(tmp_path / "a.png")
    write(tmp_path / "more" / "a.png")

    result = predict("a.jpg", "a.png", "more", "--out", "out")

    assert result.exit_code == 0
    names = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert names == ["a-2.png", "a-3.png", "a.png"]


def test_default_folder_is_numbered_and_never_overwritten(tmp_path):
    write(tmp_path / "set.v1" / "a.jpg")

    for name in ("set.v1", "set.v1-2", "set.v1-3"):
        assert f"-> runs/predict/{name}\n" in predict("set.v1").stdout


def test_video_gives_a_row_per_frame_and_an_overlay_clip(tmp_path):
    video = cv2.VideoWriter("clip.avi", cv2.VideoWriter.fourcc(*"MJPG"), 20, (80, 60))
    for _ in range(4):
        video.write(np.full((60, 80, 3), 90, np.uint8))
    video.release()

    result = predict("clip.avi", "--json")

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["pictures"] == 4
    out = tmp_path / "runs" / "predict" / "clip"
    lines = rows(out / "keypoints.jsonl")
    assert [(r["frame"], r["time_ms"]) for r in lines] == [
        (0, 0),
        (1, 50),
        (2, 100),
        (3, 150),
    ]
    overlay = cv2.VideoCapture(str(out / "clip.mp4"))
    assert overlay.get(cv2.CAP_PROP_FPS) == pytest.approx(20)
    frames = 0
    while overlay.read()[0]:
        frames += 1
    assert frames == 4


def test_file_that_is_no_video(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"no video")

    result = predict("clip.mp4", "--out", "out")

    assert result.exit_code == 1
    assert rows(tmp_path / "out" / "keypoints.jsonl")[0]["status"] == "unreadable"
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["keypoints.jsonl"]


def test_box_outside_a_picture(tmp_path):
    write(tmp_path / "a.jpg")

    result = predict("a.jpg", "--box", "100,100,150,150", "--out", "-")

    assert result.exit_code == 1
    assert json.loads(result.stdout)["status"] == "box_outside"
    assert "the picture has 80 x 60 pixels" in result.stderr


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ("1,2,3", "--box must be four numbers X0,Y0,X1,Y1 in pixels. Received: 1,2,3"),
        ("a,2,3,4", "--box must be four numbers"),
        ("0,0,nan,4", "--box must be four numbers"),
        ("30,0,10,40", "x0 < x1"),
        ("5,5,6,6", "side of at least 2 pixels"),
    ],
)
def test_wrong_box(tmp_path, asked, box, message):
    write(tmp_path / "a.jpg")

    result = predict("a.jpg", "--box", box)

    assert result.exit_code == 1
    assert message in result.stderr and len(result.stderr.splitlines()) == 1
    assert asked == [] and not (tmp_path / "runs").exists()


def test_out_folder_that_holds_something_else(tmp_path):
    write(tmp_path / "a.jpg")
    write(tmp_path / "out" / "holiday.jpg")

    result = predict("a.jpg", "--out", "out")

    assert result.exit_code == 1
    assert "must be new or an empty folder" in result.stderr.splitlines()[-1]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["holiday.jpg"]


def test_missing_source_and_empty_folder(tmp_path, asked):
    write(tmp_path / "a.jpg")
    (tmp_path / "empty").mkdir()

    for bad in ("b.jpg", "empty"):
        result = predict("a.jpg", bad)

        assert result.exit_code == 1
        assert bad in result.stderr and len(result.stderr.splitlines()) == 1
    assert asked == [] and not (tmp_path / "runs").exists()


def test_model_of_another_tool(tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.jpg")
    (tmp_path / "yolo.pt").write_bytes(b"PK\5\6" + b"\0" * 18)

    result = predict("a.jpg", "--model", "yolo.pt")

    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        "Error: expected a .keras file, a SavedModel folder or a .tflite file that "
        "kpose wrote, got yolo.pt, which is none of them"
    )
    assert not (tmp_path / "runs").exists()


def test_importing_kpose_and_reading_a_card_do_not_load_tensorflow():
    code = (
        "import sys, kpose, kpose.artefacts, kpose.drawing, kpose.predictor; "
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )

    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

    assert subprocess.call([sys.executable, "-c", code], env=environment) == 0
