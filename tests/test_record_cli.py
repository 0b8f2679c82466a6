"""``kpose record``: takes, hold-outs and what is wrong with sources and teachers."""

import json
import os
import queue
import signal
import threading
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from kpose import camera, detection, peers, sources
from kpose.joints import BODY_13, COCO_17
from kpose.runtime import Runtime
from kpose_cli.main import main
from kpose_datasets import READERS, persontracker, recorder, synthetic, takes, teachers

SIZE = (96, 120)
FRAMES = 50
FPS = 25


def record(*arguments):
    return CliRunner().invoke(main, ["record", *map(str, arguments)])


def run(*arguments):
    """Return the JSON summary of a command that must be good."""
    result = CliRunner().invoke(main, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A rendered video of two seconds, and its joints."""
    path = tmp_path_factory.mktemp("clip") / "wave.mp4"
    joints = synthetic.write_clip(
        path, seed=3, seconds=FRAMES / FPS, size=SIZE, fps=FPS
    )
    return path, joints


def coco(joints, frame, score=1.0):
    """Return a COCO result with the joints; the face is where the head is."""
    by_name = dict(zip(BODY_13.names, joints[:, :2].tolist(), strict=True))
    rows = [(*by_name.get(name, by_name["head"]), score) for name in COCO_17.names]
    flat = [float(value) for row in rows for value in row]
    return {"image_id": frame, "category_id": 1, "keypoints": flat, "score": score}


@pytest.fixture
def results(clip, tmp_path):
    """Write a COCO results file of the clip; ``change(frame, joints)`` edits it."""

    def write(change=lambda frame, joints: joints, more=()):
        rows = []
        for frame, joints in enumerate(clip[1]):
            changed = change(frame, joints.astype(np.float64))
            if changed is not None:
                rows.append(coco(changed, frame))
        path = tmp_path / "results.json"
        path.write_text(json.dumps([*rows, *more]))
        return f"coco:{path}"

    return write


def test_a_take_and_its_holdout(clip, results, tmp_path):
    def change(frame, joints):
        if frame in (3, 47):
            return None  # nobody
        if frame == 10:
            joints[BODY_13.names.index("left_wrist"), 0] += 60  # a jump
        if frame == 45:
            joints[:, 0] += 12  # not agreed upon, in the hold-out
        return joints

    summary = run(
        *("record", clip[0], "--teacher", results(change), "--out", tmp_path / "rec"),
        *("--subject", "anna", "--clothing", "red"),
    )

    # 49 steps of 40 ms: the last 15 % are 294 ms, from frame 41.65 on, and the gap is
    # as long: the take ends before frame 34.3.
    assert summary["frames"] == FRAMES
    assert (summary["kept"], summary["set_aside"]) == (34, 15)
    assert summary["dropped"] == {"nobody": 1} and summary["passed_over"] == 0
    assert summary["masked_joints"] == 1 and summary["with_others"] == 0
    assert summary["mirrored_answers"] is False
    assert summary["holdout"]["frames"] == 8
    assert summary["holdout"]["gap_ms"] == 294
    (take,) = persontracker.takes(tmp_path / "rec")
    assert take.name == f"rec/{summary['take']}" and take.problems == ()
    facts = take.facts
    assert (facts.subject, facts.clothing, facts.mirrored) == ("anna", "red", "no")
    assert facts.labelled_by == "coco:results.json" and facts.fps == FPS
    times = [40 * n for n in range(35) if n != 3]
    np.testing.assert_allclose(take.times_ms, times, atol=0.1)
    assert len(list((tmp_path / "rec" / summary["take"]).glob("*.jpg"))) == 34
    states = np.stack([bodies[0].states for bodies in take.bodies])
    wrist = BODY_13.names.index("left_wrist")
    assert np.argwhere(states != takes.TRACKED).tolist() == [[9, wrist]]
    assert states[9, wrist] == takes.INFERRED
    joints = np.stack([bodies[0].joints for bodies in take.bodies])
    truth = np.delete(clip[1][:35, :, :2], 3, axis=0)
    np.testing.assert_allclose(joints[:9, 1:], truth[:9, 1:], atol=0.01)
    kept = cv2.imread(str(take.images[-1].path))
    assert kept.shape == (SIZE[1], SIZE[0], 3)
    for picture in (summary["preview"], summary["coverage"]["picture"]):
        assert cv2.imread(picture) is not None
    tasks = json.loads(
        (tmp_path / summary["holdout"]["folder"] / "tasks.json").read_text()
    )
    names = [task["data"]["image"].rpartition("=")[2] for task in tasks]
    assert names == [f"{n:06}.jpg" for n in range(42, 50)]
    assert "above all" in tasks[3]["data"]["kpose_reason"]  # frame 45 is among them
    regions = [len(task["predictions"][0]["result"]) for task in tasks]
    assert regions == [14] * 5 + [0] + [14] * 2  # the box and every joint
    assert "draw the joints" in tasks[5]["data"]["kpose_reason"]


def submit(tasks, moves):
    """Return what Label Studio exports when a person has corrected the tasks."""
    export = []
    for number, task in enumerate(tasks):
        (prediction,) = task["predictions"]
        for item in prediction["result"]:
            if item["type"] == "keypointlabels" and item["id"] in moves:
                dx, dy = moves[item["id"]]
                item["value"]["x"] += 100 * dx / item["original_width"]
                item["value"]["y"] += 100 * dy / item["original_height"]
        annotation = {"result": prediction["result"], "was_cancelled": False}
        export.append(
            {"id": number + 1, "data": task["data"], "annotations": [annotation]}
        )
    return export


def test_corrected_joints_come_back_from_both_tools(clip, results, tmp_path):
    def on_the_left(frame, joints):
        joints[:, 0] -= 4
        return joints

    summary = run(
        "record", clip[0], "--teacher", results(on_the_left), "--out", tmp_path / "rec"
    )
    folder = tmp_path / "rec" / "holdout" / summary["take"].replace("/", "-")
    moves = {name: (4.0, 0.0) for name in BODY_13.names}
    export = tmp_path / "export.json"
    tasks = json.loads((folder / "tasks.json").read_text())
    export.write_text(json.dumps(submit(tasks, moves)))
    tree = ElementTree.parse(folder / "annotations.xml")
    for points in tree.iter("points"):
        x, y = map(float, points.get("points").split(","))
        points.set("points", f"{x + 4:.2f},{y:.2f}")
    tree.write(tmp_path / "export.xml")

    for name in ("label_studio:export.json", "cvat:export.xml"):
        reader, _, file = name.partition(":")
        data = f"{reader}:{tmp_path / file}?images={folder / 'images'}"
        assert data.rpartition("?")[2] in " ".join(summary["holdout"]["evaluate"])
        checked = run("prepare", "--data", data, "--check", "--out", tmp_path / "x")
        assert checked["persons"] == 8 and checked["missing_images"] == 0
        records = list(READERS[reader](tmp_path / file, images=folder / "images"))
        for record_, frame in zip(records, range(42, 50), strict=True):
            # Not the head: its place of COCO's face is lower.
            expected = clip[1][frame, 1:, :2]
            np.testing.assert_allclose(record_.joints[1:, :2], expected, atol=0.02)


def test_what_nobody_submitted_is_no_label(clip, results, tmp_path):
    summary = run("record", clip[0], "--teacher", results(), "--out", tmp_path / "rec")
    tasks = f"label_studio:{summary['holdout']['folder']}/tasks.json"

    result = CliRunner().invoke(
        main, ["prepare", "--data", tasks, "--check", "--out", str(tmp_path / "x")]
    )

    assert result.exit_code == 1 and "keypointlabels, but none" in result.stderr


def test_takes_add_up_and_coverage_is_of_all(clip, results, tmp_path):
    teacher = results()
    first = run("record", clip[0], "--teacher", teacher, "--out", tmp_path / "rec")
    second = run(
        *("record", clip[0], "--teacher", teacher, "--out", tmp_path / "rec"),
        *("--clothing", "blue", "--every", "2"),
    )

    assert (first["take"][-4:], second["take"][-4:]) == ("0000", "0001")
    assert (second["kept"], second["passed_over"]) == (18, 17)
    assert second["coverage"]["frames"] == 35 + 18
    found = list(persontracker.takes(tmp_path / "rec"))
    assert [take.facts.clothing for take in found] == ["", "blue"]
    assert len(list((tmp_path / "rec" / "holdout").iterdir())) == 2
    assert len(list((tmp_path / "rec").glob("preview-*.png"))) == 2


def test_too_short_leaves_nothing_and_says_why(clip, results, tmp_path):
    def mostly_jumps(frame, joints):
        joints[:, 0] += 40 * (frame % 3)
        return joints if frame > 8 else None

    result = record(
        clip[0], "--teacher", results(mostly_jumps), "--out", tmp_path / "rec"
    )

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: a take needs 10 frames")
    assert "9 nobody" in result.stderr and "disagrees" in result.stderr
    assert not (tmp_path / "rec").exists()


def test_nine_frames_are_no_take(clip, results, tmp_path):
    result = record(
        *(clip[0], "--teacher", results(), "--out", tmp_path / "rec"),
        *("--seconds", "0.32"),
    )

    assert result.exit_code == 1 and "Received: 9 frames" in result.stderr
    assert not (tmp_path / "rec").exists()


def test_the_recorded_one_of_two_people_is_the_larger(clip, results, tmp_path):
    small = [coco(joints * [0.3, 0.3, 1], n) for n, joints in enumerate(clip[1])]
    summary = run(
        "record", clip[0], "--teacher", results(more=small), "--out", tmp_path / "rec"
    )

    assert summary["with_others"] == FRAMES and summary["kept"] == 35
    (take,) = persontracker.takes(tmp_path / "rec")
    assert all(len(bodies) == 1 for bodies in take.bodies)
    np.testing.assert_allclose(
        take.bodies[20][0].joints[1:], clip[1][20, 1:, :2], atol=0.01
    )


POSE = np.zeros((13, 2), np.float32)
"""In a crop: a person who is the same in the mirror."""
for _name, _place in {
    "head": (0.5, 0.1),
    "right_shoulder": (0.3, 0.3),
    "right_elbow": (0.25, 0.45),
    "right_wrist": (0.2, 0.6),
    "right_hip": (0.4, 0.6),
    "right_knee": (0.4, 0.75),
    "right_ankle": (0.4, 0.95),
}.items():
    _at = BODY_13.names.index(_name)
    POSE[_at] = _place
    POSE[BODY_13.swap[_at]] = (1 - _place[0], _place[1])


class Network:
    """Sees ``POSE`` in every crop; what is on the right, 40 % lower, when mirrored."""

    def __init__(self, wrong=()):
        self.wrong, self.crops, self.then = wrong, 0, {}

    def __call__(self, crops):
        self.then.pop(self.crops // 2 + 1, lambda: None)()
        points = np.tile(POSE, (len(crops), 1, 1))
        self.crops += len(crops)
        mirrored = slice(len(crops) // 2, None)  # the second half, by predict_both
        for name in self.wrong:
            points[mirrored, BODY_13.names.index(name), 1] -= 0.4
        return {
            "keypoints": points,
            "confidence": np.full((len(crops), 13), 0.9, np.float32),
        }


@pytest.fixture
def network(monkeypatch):
    """Make a network the teacher of any name."""

    def use(**options):
        made = Network(**options)
        card = {"skeleton": BODY_13.to_json(), "size": 32}
        monkeypatch.setattr(peers, "open", lambda name: Runtime(made, card, "keras"))
        return made

    return use


def test_a_joint_that_the_mirrored_answer_puts_elsewhere_is_masked(
    clip, network, tmp_path
):
    # Mirrored, the right wrist is the person's left one.
    network(wrong=["right_wrist"])
    summary = run(
        *("record", clip[0], "--teacher", "nets/mine.tflite"),
        *("--out", tmp_path / "rec", "--box", "10,20,90,100"),
    )

    assert summary["mirrored_answers"] is True and summary["kept"] == 35
    assert summary["masked_joints"] == 35
    (take,) = persontracker.takes(tmp_path / "rec")
    assert take.facts.labelled_by == "mine.tflite"
    body = take.bodies[0][0]
    wrist = BODY_13.names.index("left_wrist")
    assert np.flatnonzero(body.states == takes.INFERRED).tolist() == [wrist]
    # Crop of 80 pixels at (10, 20); the wrist is the mean of both answers.
    np.testing.assert_allclose(body.joints[0], (49.5, 27.5), atol=1e-3)
    np.testing.assert_allclose(body.joints[wrist], (73.5, 51.5), atol=1e-3)


def test_without_box_the_crop_follows_the_pose(clip, network, tmp_path):
    made = network()
    teacher = teachers.open("any")
    image = np.zeros((400, 400, 3), np.uint8)
    boxes = []
    for n in range(3):
        picture = teachers.Picture("v", n, 40.0 * n, image)
        boxes.append(teacher.see(picture, image).box)

    # 0.6 x 0.85 of the whole picture, x 1.2 x 1.25; then the pose in that.
    assert boxes[0] == pytest.approx((20, -45, 380, 465), rel=1e-4)
    assert boxes[1].width == pytest.approx(510 * 0.6 * 1.5)
    assert made.crops == 2 * (2 + 1 + 1)  # each with its mirror image


def test_a_lost_person_is_looked_for_in_the_whole_picture(network):
    made = network()
    teacher = teachers.open("any")
    image = np.zeros((400, 400, 3), np.uint8)

    def see(frame):
        return teacher.see(teachers.Picture("v", frame, 40.0 * frame, image), image)

    see(0)
    made.wrong = ["left_shoulder"]
    before = made.crops
    for frame in range(1, 1 + teachers.LOST):
        see(frame)
    assert made.crops - before == 2 * teachers.LOST
    see(9)
    assert made.crops - before == 2 * teachers.LOST + 4  # whole, then nearer


class Gone:
    """A camera that gives some frames and then none any more."""

    def __init__(self, path, frames):
        self._video = cv2.VideoCapture(str(path))
        self._turn = queue.Queue()
        self.left = frames

    def open(self, index):
        return True

    def read(self):
        self._turn.get(timeout=10)
        self.left -= 1
        return self._video.read() if self.left >= 0 else (False, None)

    def release(self):
        self._video.release()

    def next(self):
        self._turn.put(None)


def test_a_camera_that_disappears_leaves_a_good_take(
    clip, network, monkeypatch, tmp_path
):
    made = network()
    gone = Gone(clip[0], 30)
    monkeypatch.setattr(cv2, "VideoCapture", lambda *path: gone)
    monkeypatch.setattr(camera, "PAUSE", 0)
    clock = iter(range(10_000))
    monkeypatch.setattr(camera.time, "monotonic", lambda: next(clock) / 25)
    shots = camera.shots

    def one_by_one(source):
        gone.next()
        for shot in shots(source):
            yield shot
            gone.next()
            if gone.left <= 0:
                for _ in range(camera.FAILURES):
                    gone.next()

    monkeypatch.setattr(camera, "shots", one_by_one)

    result = record(
        *("0", "--teacher", "any", "--out", tmp_path / "rec", "--json"),
        *("--box", "10,20,90,100"),
    )

    assert result.exit_code == 1, result.output
    assert "camera 0: the camera gives no pictures any more" in result.stderr
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary["frames"] == 31 and summary["dropped"] == {"unreadable": 1}
    assert summary["interrupted"] is True and made.crops == 60
    (take,) = persontracker.takes(tmp_path / "rec")
    assert len(take.bodies) == summary["kept"] >= 10 and take.problems == ()
    for thread in threading.enumerate():
        if thread.name == "camera":
            thread.join(5)


def test_ctrl_c_ends_a_video_and_keeps_what_was_done(clip, network, tmp_path):
    made = network()
    made.then = {30: lambda: os.kill(os.getpid(), signal.SIGINT)}

    result = record(
        *(clip[0], "--teacher", "any", "--out", tmp_path / "rec", "--json"),
        *("--box", "10,20,90,100"),
    )

    assert result.exit_code == 130, result.output
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary["interrupted"] is True and summary["frames"] == 30
    (take,) = persontracker.takes(tmp_path / "rec")
    assert len(take.bodies) == summary["kept"] and take.problems == ()
    assert summary["holdout"]["frames"] == 5


@pytest.mark.slow
def test_the_packaged_model_is_a_teacher_and_prepare_reads_its_take(tmp_path):
    video = tmp_path / "clip.mp4"
    synthetic.write_clip(video, seed=11, seconds=1.6)  # as large as the demo's
    out = tmp_path / "rec"

    summary = run("record", video, "--teacher", "compact", "--out", out)

    assert summary["frames"] == 40 and summary["kept"] >= 10
    assert (
        summary["kept"] + summary["set_aside"] + sum(summary["dropped"].values()) == 40
    )
    data = f"persontracker:{out}"
    checked = run("prepare", "--data", data, "--check", "--out", tmp_path / "x")
    assert checked["labels"] == summary["kept"] and checked["missing_images"] == 0
    assert checked["persons"] > 0


def test_a_take_is_valid_while_it_is_written(clip, results, tmp_path):
    class StopError(Exception):
        pass

    teacher = teachers.open(results())
    facts = takes.Facts(labelled_by="x", mirrored="no", fps=FPS)
    job = recorder.Recorder(tmp_path / "rec", teacher, facts)
    pictures = sources.pictures(clip[0])

    def stop(picture):
        if picture.frame == 40:
            raise StopError
        return True

    with pytest.raises(StopError):
        job.run(pictures, stop)

    (take,) = persontracker.takes(tmp_path / "rec")
    # Judged with three neighbours: frame 37 is the last; nothing is set aside yet.
    assert len(take.bodies) == 38 and take.problems == ()
    assert all(ref.path.is_file() for ref in take.images)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"annotations": []}', "must be COCO results, a list"),
        ("[]", "must be COCO results, a list"),
        ("nothing", "must be a JSON file"),
        ('[{"image_id": 0, "keypoints": [1, 2, 3]}]', "3 numbers in result 0"),
        ('[{"image_id": 0, "bbox": [1, 2, 3, 4]}]', "'bbox'"),
        (
            json.dumps([{"image_id": "a.jpg", "keypoints": [1.0] * 51}]),
            "image_id 'a.jpg'",
        ),
        (json.dumps([{"image_id": 1, "keypoints": [None] * 51}]), "keypoints [None"),
        (json.dumps([{"image_id": 1, "category_id": 3}]), "1 of other categories"),
    ],
)
def test_results_of_another_contract_are_one_line(clip, tmp_path, content, message):
    file = tmp_path / "other.json"
    file.write_text(content)

    result = record(clip[0], "--teacher", f"coco:{file}", "--out", tmp_path / "rec")

    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1 and str(file) in result.stderr
    assert message in result.stderr
    assert not (tmp_path / "rec").exists()


def test_bad_arguments(clip, results, tmp_path):
    teacher, out = results(), tmp_path / "rec"
    picture = tmp_path / "a.png"
    cv2.imwrite(str(picture), np.zeros((9, 9, 3), np.uint8))
    for arguments, message in (
        ((picture, "--teacher", teacher), "a.png, which is no video"),
        ((tmp_path, "--teacher", teacher), "one video or the number of a camera"),
        ((clip[0], "--teacher", "nobody"), "Other teachers are movenet:FILE, "),
        ((tmp_path / "no.mp4", "--teacher", teacher), "no.mp4"),
        ((0, "--teacher", teacher), "is of a video"),
        ((clip[0], "--teacher", "movenet:no.tflite"), "no.tflite"),
        ((clip[0], "--teacher", teacher, "--box", "1,1,9,9"), "says where people are"),
        ((clip[0], "--teacher", teacher, "--box", "1,1,9"), "--box must be four"),
        (
            (clip[0], "--teacher", "a", "--box", "1,1,9,9", "--detector", "whole"),
            "give one",
        ),
    ):
        result = record(*arguments, "--out", out)
        assert result.exit_code == 1, result.output
        assert message in result.stderr and result.stderr.count("\n") == 1
        assert not out.exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rec", " is a file"),
        ("rec/2026_01_01/recording.toml", "recording.toml must be a TOML file"),
        ("rec/2026_01_01/video_0000.txt", "Received: 'left' for video_0000"),
    ],
)
def test_a_folder_that_cannot_be_added_to_is_refused_first(
    clip, results, tmp_path, name, message
):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("[")
    if name.endswith(".txt"):
        (tmp_path / name).with_name("recording.toml").write_text('mirrored = "left"')
    teacher = results()
    before = sorted(tmp_path.rglob("*"))

    for out in ("rec", "rec/new") if name == "rec" else ("rec",):
        result = record(clip[0], "--teacher", teacher, "--out", tmp_path / out)

        assert result.exit_code == 1 and result.stderr.count("\n") == 1
        assert message in result.stderr
        assert sorted(tmp_path.rglob("*")) == before


def test_a_hint_is_of_the_teacher(clip, network, results, tmp_path):
    nobody = record(
        *(clip[0], "--teacher", results(lambda n, joints: None if n else joints)),
        *("--out", tmp_path / "rec"),
    )
    network()
    hints = [
        teachers.open("any", detector=detector, box=box).hint
        for detector, box in (
            (None, None),
            (None, teachers.Box(0, 0, 9, 9)),
            (detection.open("whole"), None),
        )
    ]

    assert "image_id the 0-based frame" in nobody.stderr
    assert [hint.split()[0] for hint in hints] == ["Where", "--box", "--detector"]


def test_a_camera_that_disappears_at_once_is_one_line(network, monkeypatch, tmp_path):
    network()
    image = np.zeros((40, 40, 3), np.uint8)
    shots = [sources.Picture("camera 0", n, 40.0 * n, image) for n in range(3)]
    gone = sources.Picture("camera 0", 3, 120.0, None, "gives no pictures any more")
    monkeypatch.setattr(sources, "pictures", lambda source: iter([*shots, gone]))

    result = record("0", "--teacher", "any", "--out", tmp_path / "rec")

    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    assert "camera 0: gives no pictures any more; a take needs 10" in result.stderr
    assert not (tmp_path / "rec").exists()


def test_other_categories_and_missing_faces(tmp_path):
    file = tmp_path / "results.json"
    joints = np.stack([np.linspace(10, 90, 13), np.linspace(10, 90, 13)], axis=1)
    row = coco(joints, 4)
    row["keypoints"][:15] = [0] * 15  # no face: no head
    file.write_text(json.dumps([row, {"image_id": 1, "category_id": 3}]))

    (found,) = teachers.Results(file).frames[4]

    assert np.isnan(found[0, :2]).all()
    np.testing.assert_allclose(found[1:, :2], joints[1:], rtol=1e-6)


def test_what_is_held_out_is_spread_over_a_block_of_any_length():
    span = recorder._Span()
    for n in range(1000):
        span.see(100.0 * n, kept=n >= 100)

    # From 10 s on, when the first frame was kept, to 99.9 s.
    assert span.block == pytest.approx(99_900 - 0.15 * 89_900)
    assert span.cutoff == pytest.approx(span.block - 1000)


def test_thinned_series_stay_even():
    kept = recorder._Thinned(4)
    for n in range(100):
        kept.offer(lambda n=n: n)

    assert kept.items == list(range(0, 100, 16))
