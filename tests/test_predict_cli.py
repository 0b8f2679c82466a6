import errno
import json
import os
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

import kpose
from kpose import sources
from kpose.detection import Detection
from kpose.geometry import Box
from kpose.joints import BODY_13
from kpose.predictor import Predictor
from kpose.runtime import Runtime
from kpose.sources import Camera, Picture
from kpose_cli import predict as command
from kpose_cli.main import main

CARD = {"skeleton": BODY_13.to_json(), "size": 32, "sha256": "0" * 64}
POSE = np.stack([np.linspace(0.1, 0.9, 13), np.linspace(0.9, 0.2, 13)], axis=1)


class Model:
    """Sees the same pose in every crop; does ``then`` before the call it is asked."""

    def __init__(self):
        self.calls = 0
        self.then = {}

    def __call__(self, crops):
        self.calls += 1
        self.then.pop(self.calls, lambda: None)()
        return {"keypoints": np.tile(POSE.astype(np.float32), (len(crops), 1, 1))}


class Nobody:
    """Finds no one, or the same two people in pictures whose name has "two"."""

    name = identity = "fake:detector"
    threshold = 0.5
    given = False

    def detect(self, image, picture="", frame=0):
        if "two" not in picture:
            return []
        return [
            Detection(Box(5, 5, 35, 55), 0.875),
            Detection(Box(45, 5, 75, 55), 0.625),
        ]


@pytest.fixture
def model():
    return Model()


@pytest.fixture(autouse=True)
def asked(monkeypatch, tmp_path, model):
    """Replace the model that a command loads; give the arguments it was asked with."""
    asked = []

    def load(name, *, detector, **options):
        asked.append({"model": name, "detector": detector, **options})
        found = None if detector is None else Nobody()
        return Predictor(Runtime(model, CARD, "keras"), found, **options)

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


def write_video(path, frames=4):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20, (80, 60))
    for _ in range(frames):
        writer.write(np.full((60, 80, 3), 90, np.uint8))
    writer.release()
    return path


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def count_frames(path):
    video = cv2.VideoCapture(str(path))
    frames = 0
    while video.read()[0]:
        frames += 1
    return frames


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_one_picture_whole(tmp_path, asked):
    write(tmp_path / "jump.jpg")

    result = predict("jump.jpg", "--no-flip-test")

    assert result.exit_code == 0, result.output
    assert asked == [
        {
            "model": "compact",
            "detector": None,
            "flip_test": False,
            "min_score": None,
            "follow": 1,
            "smooth": True,
        }
    ]
    assert result.stderr == (
        "no --detector: the whole picture is taken as one person's box\n"
    )
    assert result.stdout == "decoded 1 of 1 picture; 1 person -> runs/predict/jump\n"
    out = tmp_path / "runs" / "predict" / "jump"
    assert names(out) == ["jump.png", "keypoints.jsonl", "predict.json"]
    (row,) = rows(out / "keypoints.jsonl")
    assert row["source"] == "jump.jpg" and row["box"] == [0, 0, 80, 60]
    assert (row["frame"], row["time_ms"], row["status"]) == (0, None, "ok")
    assert row["track_id"] is None and row["score"] is None
    assert list(row["keypoints"]) == list(BODY_13.names)
    # The square is 80 wide and starts at x = 0, y = -10.
    assert row["keypoints"]["head"][:2] == [7.5, 61.5]
    assert row["keypoints"]["left_ankle"][:2] == [71.5, 5.5]
    overlay = cv2.imread(str(out / "jump.png"))
    assert overlay.shape == (60, 80, 3)
    assert overlay[6, 71].tolist() == pytest.approx([255, 144, 30], abs=20)  # BGR blue


def test_options_reach_the_model_and_are_written_down(tmp_path, asked):
    write(tmp_path / "two.jpg")

    result = predict(
        *("two.jpg", "--model", "m", "--detector", "tflite:d", "--min-score", "0.7"),
        *("--follow", "30", "--no-smooth", "--max-pixels", "5000", "--out", "out"),
    )

    assert result.exit_code == 0, result.output
    options = {"flip_test": True, "min_score": 0.7, "follow": 30, "smooth": False}
    assert asked == [{"model": "m", "detector": "tflite:d", **options}]
    assert "no --detector" not in result.stderr
    written = json.loads((tmp_path / "out" / "predict.json").read_text())
    assert {key: written[key] for key in options} == options
    assert written["sources"] == ["two.jpg"] and written["model"] == "m"
    assert written["detector"] == "tflite:d" and written["box"] is None
    assert written["detector_identity"] == "fake:detector"
    assert written["model_sha256"] == "0" * 64
    assert written["max_pixels"] == 5000 and written["save"] == ["jsonl", "overlay"]
    assert written["versions"]["kpose"] == kpose.__version__
    assert written["summary"]["persons"] == 1  # 0.625 is under --min-score


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
    assert "detector" not in first.stderr
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
        "decoded": 2,
        "persons": 2,
        "tracks": 0,
        "without_people": 0,
        "skipped": {"unreadable": 1},
        "failed": [],
        "interrupted": False,
        "out": "out",
        "model": "compact",
    }
    assert "Error: photos/b.jpg: unreadable: photos/b.jpg must be a" in result.stderr
    a, b, c = rows(tmp_path / "out" / "keypoints.jsonl")
    assert [r["status"] for r in (a, b, c)] == ["ok", "unreadable", "ok"]
    assert b["box"] is None and set(b["keypoints"].values()) == {None}
    assert names(tmp_path / "out") == [
        "a.png",
        "c.png",
        "keypoints.jsonl",
        "predict.json",
    ]


def test_picture_without_people_is_a_normal_result(tmp_path):
    write(tmp_path / "empty.jpg")
    write(tmp_path / "two.jpg")

    result = predict("empty.jpg", "two.jpg", "--detector", "fake")

    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert result.stdout == (
        "decoded 2 of 2 pictures; 2 persons; 1 picture without people "
        "-> runs/predict/empty\n"
    )
    out = tmp_path / "runs" / "predict" / "empty"
    empty, left, right = rows(out / "keypoints.jsonl")
    assert empty["status"] == "no_person" and empty["box"] is None
    assert (left["score"], right["score"]) == (0.875, 0.625)
    assert (out / "empty.png").is_file()


def test_json_lines_on_stdout_and_summary_last(tmp_path):
    write(tmp_path / "a.jpg")
    write(tmp_path / "b.jpg")

    result = predict("a.jpg", "b.jpg", "--out", "-", "--json")

    first, second, summary = map(json.loads, result.stdout.splitlines())
    assert (first["source"], second["source"]) == ("a.jpg", "b.jpg")
    assert summary["persons"] == 2
    plain = predict("a.jpg", "b.jpg", "--out", "-")
    assert len(plain.stdout.splitlines()) == 2
    assert plain.stderr.splitlines()[-1] == "decoded 2 of 2 pictures; 2 persons"


def test_equal_stems_get_different_overlays(tmp_path):
    write(tmp_path / "a.jpg")
    write(tmp_path / "a.png")
    write(tmp_path / "more" / "a.png")

    result = predict("a.jpg", "a.png", "more", "--out", "out")

    assert result.exit_code == 0
    found = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert found == ["a-2.png", "a-3.png", "a.png"]


def test_default_folder_is_numbered_and_never_overwritten(tmp_path):
    write(tmp_path / "set.v1" / "a.jpg")

    for name in ("set.v1", "set.v1-2", "set.v1-3"):
        assert f"-> runs/predict/{name}\n" in predict("set.v1").stdout


def test_pattern_gives_its_pictures(tmp_path):
    for name in ("b.jpg", "a.jpg", "c.png"):
        write(tmp_path / "photos" / name)

    result = predict("photos/*.jpg", "--out", "-")

    found = [json.loads(line)["source"] for line in result.stdout.splitlines()]
    assert found == ["photos/a.jpg", "photos/b.jpg"]


def test_video_gives_a_row_per_frame_and_an_overlay_clip(tmp_path):
    write_video(tmp_path / "clip.avi")

    result = predict("clip.avi", "--json")

    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["pictures"], summary["tracks"]) == (4, 1)
    assert "mp4v" in result.stderr and "H.264" in result.stderr
    out = tmp_path / "runs" / "predict" / "clip"
    lines = rows(out / "keypoints.jsonl")
    assert [(r["frame"], r["time_ms"]) for r in lines] == [
        (0, 0),
        (1, 50),
        (2, 100),
        (3, 150),
    ]
    assert len({r["track_id"] for r in lines}) == 1
    overlay = cv2.VideoCapture(str(out / "clip.mp4"))
    assert overlay.get(cv2.CAP_PROP_FPS) == pytest.approx(20)
    assert count_frames(out / "clip.mp4") == 4


def test_several_kinds_of_output_and_no_other(tmp_path):
    write(tmp_path / "7.jpg")

    result = predict("7.jpg", "--save", "csv,coco", "--out", "out")

    assert result.exit_code == 0, result.output
    assert names(tmp_path / "out") == [
        "coco_images.json",
        "coco_results.json",
        "keypoints.csv",
        "predict.json",
    ]


@pytest.mark.parametrize(
    "bad",
    ["missing.jpg", "empty", "no_video.mp4", "notes.mp4", "none*.jpg", "97"],
    ids=["missing", "empty folder", "bytes", "text", "pattern", "camera"],
)
def test_input_that_cannot_be_read_is_one_line_and_the_others_are_done(tmp_path, bad):
    write(tmp_path / "a.jpg")
    (tmp_path / "empty").mkdir()
    (tmp_path / "no_video.mp4").touch()
    (tmp_path / "notes.mp4").write_text("a text\n" * 99)

    result = predict(bad, "a.jpg", "--out", "out", "--box", "0,0,9,9", "--json")

    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ") and bad in line
    summary = json.loads(result.stdout)
    assert summary["persons"] == 1 and len(summary["failed"]) == 1
    assert [r["source"] for r in rows(tmp_path / "out" / "keypoints.jsonl")] == [
        "a.jpg"
    ]
    alone = predict(bad, "--box", "0,0,9,9")
    assert alone.exit_code == 1 and alone.stdout == ""
    assert alone.stderr.splitlines() == [line]
    assert not (tmp_path / "runs").exists()


def test_picture_over_the_limit_is_refused_in_one_line(tmp_path):
    write(tmp_path / "a.png")

    result = predict("a.png", "--max-pixels", "4799", "--box", "0,0,9,9")

    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "a.png" in line and "80 x 60" in line
    assert not (tmp_path / "runs").exists()
    assert predict("a.png", "--max-pixels", "4800").exit_code == 0


def test_box_outside_a_picture(tmp_path):
    write(tmp_path / "a.jpg")

    result = predict("a.jpg", "--box", "100,100,150,150", "--out", "-")

    assert result.exit_code == 1
    assert json.loads(result.stdout)["status"] == "box_outside"
    assert "the picture has 80 x 60 pixels" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--box", "1,2,3"],
            "--box must be four numbers X0,Y0,X1,Y1 in pixels. Received: 1,2,3",
        ),
        (["--box", "a,2,3,4"], "--box must be four numbers"),
        (["--box", "0,0,nan,4"], "--box must be four numbers"),
        (["--box", "30,0,10,40"], "x0 < x1"),
        (["--box", "5,5,6,6"], "side of at least 2 pixels"),
        (["--box", "0,0,9,9", "--detector", "whole"], "give one"),
        (["--mirror-view"], "--show"),
        (["--save", "jsonl,bvh"], "--save must be some of jsonl,csv,coco,overlay"),
        (["--save", ""], "--save must be some of"),
        (["--save", "csv", "--out", "-"], "--out - writes jsonl alone"),
        (["--follow", "0"], "--follow"),
        (["--min-score", "1.5"], "--min-score"),
        (["--min-score", "0.5"], "--min-score needs --detector"),
        (["--max-pixels", "0"], "--max-pixels"),
    ],
)
def test_wrong_options_are_one_line(tmp_path, asked, options, message):
    write(tmp_path / "a.jpg")

    result = predict("a.jpg", *options)

    assert result.exit_code == 1
    assert message in result.stderr and len(result.stderr.splitlines()) == 1
    assert asked == [] and not (tmp_path / "runs").exists()


def test_out_folder_that_holds_something_else(tmp_path):
    write(tmp_path / "a.jpg")
    write(tmp_path / "out" / "holiday.jpg")

    result = predict("a.jpg", "--out", "out")

    assert result.exit_code == 1
    assert "must be new or an empty folder" in result.stderr.splitlines()[-1]
    assert names(tmp_path / "out") == ["holiday.jpg"]


@pytest.mark.parametrize("out", ["a.jpg", "a.jpg/out"], ids=["a file", "in a file"])
def test_output_that_cannot_be_written_is_one_line(tmp_path, out):
    write(tmp_path / "a.jpg")

    result = predict("a.jpg", "--out", out, "--box", "0,0,9,9")

    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert out in line and "folder" in line


def test_full_disk_is_one_line_and_exit_code_3(tmp_path, model):
    write_video(tmp_path / "clip.avi")

    def fill():
        raise OSError(errno.ENOSPC, "No space left on device")

    model.then[3] = fill

    result = predict("clip.avi", "--out", "out", "--box", "0,0,9,9")

    assert result.exit_code == 3
    assert "disk space" in result.stderr and len(result.stderr.splitlines()) == 1
    assert len(rows(tmp_path / "out" / "keypoints.jsonl")) == 2


def test_ctrl_c_finishes_what_was_done(tmp_path, model):
    write_video(tmp_path / "clip.avi", frames=9)
    write(tmp_path / "later.jpg")
    model.then[3] = lambda: os.kill(os.getpid(), signal.SIGINT)
    before = signal.getsignal(signal.SIGINT)  # ignored in a job of the background

    result = predict(
        *("clip.avi", "later.jpg", "--out", "out"),
        *("--save", "jsonl,csv,coco,overlay"),
    )

    assert result.exit_code == 130
    assert result.stdout == (
        "interrupted after 3 pictures: decoded 3 of 3 pictures; 3 persons, 1 track "
        "-> out\n"
    )
    out = tmp_path / "out"
    assert [r["frame"] for r in rows(out / "keypoints.jsonl")] == [0, 1, 2]
    assert len((out / "keypoints.csv").read_text().splitlines()) == 1 + 3
    assert len(json.loads((out / "coco_results.json").read_text())) == 3
    assert count_frames(out / "clip.mp4") == 3
    assert json.loads((out / "predict.json").read_text())["summary"]["interrupted"]
    assert signal.getsignal(signal.SIGINT) is before


def test_second_ctrl_c_ends_at_once_and_leaves_the_rows(tmp_path, model):
    write_video(tmp_path / "clip.avi", frames=9)

    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    model.then[3] = twice

    result = predict("clip.avi", "--out", "out")

    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == "Error: interrupted"
    assert names(tmp_path / "out") == ["keypoints.jsonl"]
    assert len(rows(tmp_path / "out" / "keypoints.jsonl")) == 2


def test_terminating_a_job_is_as_gentle(tmp_path, model):
    write_video(tmp_path / "clip.avi", frames=9)
    model.then[2] = lambda: os.kill(os.getpid(), signal.SIGTERM)

    assert predict("clip.avi", "--out", "out").exit_code == 143
    assert count_frames(tmp_path / "out" / "clip.mp4") == 2


@pytest.fixture
def camera(monkeypatch):
    """A camera of three frames, each taken a quarter of a second before it is read."""

    def frames(source, max_pixels):
        assert source == Camera(0)
        for number in range(3):
            image = np.full((60, 80, 3), 90, np.uint8)
            yield Picture("camera 0", number, 40.0 * number, image, "", 99.75)

    monkeypatch.setattr(sources, "pictures", frames)
    monkeypatch.setattr(command.time, "monotonic", lambda: 100.0)


def test_camera_writes_rows_alone_and_shows_their_age(tmp_path, camera, monkeypatch):
    notes = []

    def progress(total, label):
        assert total is None
        return command.contextlib.nullcontext(lambda n, note="": notes.append(note))

    monkeypatch.setattr(command, "progress", progress)

    result = predict("0")

    assert result.exit_code == 0, result.output
    assert notes == ["250 ms old"] * 3
    out = tmp_path / "runs" / "predict" / "camera-0"
    assert names(out) == ["keypoints.jsonl", "predict.json"]
    assert [r["time_ms"] for r in rows(out / "keypoints.jsonl")] == [0, 40, 80]


def test_no_window_without_a_display_is_one_line(tmp_path, asked, monkeypatch):
    write(tmp_path / "a.jpg")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)

    result = predict("a.jpg", "--show", "--box", "0,0,9,9")

    assert result.exit_code == 1
    assert result.stderr == (
        "Error: --show needs a display, and an OpenCV with windows (opencv-python, not "
        "-headless), but no window opens here\n"
    )
    assert asked == [] and not (tmp_path / "runs").exists()


@pytest.fixture
def screen(monkeypatch):
    """A display with a window; ``keys`` are what the user hits, -1 is nothing."""
    from kpose_cli import window

    class Screen:
        shown, keys, visible = [], [], 1

    screen = Screen()
    screen.shown, screen.keys = [], []
    done = subprocess.CompletedProcess([], 0)
    monkeypatch.setattr(window.subprocess, "run", lambda *a, **k: done)
    for name, replacement in {
        "namedWindow": lambda *a: None,
        "destroyAllWindows": lambda: None,
        "imshow": lambda title, pixels: screen.shown.append(pixels.copy()),
        "waitKey": lambda ms: screen.keys.pop(0) if screen.keys else -1,
        "getWindowProperty": lambda *a: screen.visible,
    }.items():
        monkeypatch.setattr(cv2, name, replacement)
    return screen


@pytest.mark.parametrize("key", [ord("q"), 27], ids=["q", "Esc"])
def test_key_ends_the_window_cleanly(tmp_path, camera, screen, key):
    screen.keys[:] = [-1, key]

    result = predict("0", "--show", "--out", "out")

    assert result.exit_code == 0, result.output
    assert len(screen.shown) == 2
    assert len(rows(tmp_path / "out" / "keypoints.jsonl")) == 2
    assert result.stdout.startswith("interrupted after 2 frames: ")


def test_closing_the_window_ends_cleanly(tmp_path, camera, screen):
    screen.visible = 0

    assert predict("0", "--show", "--out", "out").exit_code == 0
    assert len(screen.shown) == 1


def test_picture_stays_until_a_key_is_hit(tmp_path, screen):
    write(tmp_path / "a.jpg")
    write(tmp_path / "b.jpg")
    screen.keys[:] = [-1, -1, ord(" "), -1, ord(" ")]

    result = predict("a.jpg", "b.jpg", "--show")

    assert result.stdout.startswith("decoded 2 of 2 pictures")
    assert len(screen.shown) == 2 and screen.keys == []


def test_mirror_view_mirrors_the_window_and_nothing_else(tmp_path, screen):
    image = np.zeros((60, 80, 3), np.uint8)
    image[:, :20] = 200
    cv2.imwrite("a.png", image)
    screen.keys[:] = [ord(" ")] * 2
    options = ["a.png", "--box", "0,0,60,60", "--no-flip-test", "--show"]

    plain = predict(*options, "--out", "plain")
    mirrored = predict(*options, "--out", "mirrored", "--mirror-view")

    assert plain.exit_code == mirrored.exit_code == 0
    for name in ("keypoints.jsonl", "a.png"):
        assert (tmp_path / "plain" / name).read_bytes() == (
            tmp_path / "mirrored" / name
        ).read_bytes()
    one, two = screen.shown
    np.testing.assert_array_equal(one[3:9, 3:57], two[3:9, ::-1][:, 3:57])
    # The left ankle is at (0.9, 0.2) of the box: x 53.5, and 79 - 53.5 mirrored.
    blue = pytest.approx([255, 144, 30], abs=60)
    assert one[12, 54].tolist() == blue and two[12, 79 - 54].tolist() == blue


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
