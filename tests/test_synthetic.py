import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpose import images
from kpose.errors import InputError
from kpose.joints import BODY_13
from kpose.records import ImageRef
from kpose_datasets import READERS, synthetic
from kpose_datasets.studio import poses
from kpose_datasets.studio.figure import Body, Figure, place, two_bones
from kpose_datasets.studio.outfit import Outfit, plain
from kpose_datasets.studio.raycast import Camera, ball, cast, look_at
from kpose_datasets.studio.scenes import (
    Light,
    Scene,
    Sensor,
    UseCase,
    render_person,
    varied_scene,
)

SIZE = (160, 200)
JOINT = {name: index for index, name in enumerate(BODY_13.names)}

STANDING = poses.Pose(
    trunk=np.zeros(3),
    spine=np.zeros(3),
    gaze=np.zeros(3),
    wrists=np.array([[0.4, -0.85, 0.0], [0.4, -0.85, 0.0]]),
    elbows=np.stack([poses.ELBOWS, poses.ELBOWS]),
    ankles=np.array([[0.1, -0.98, 0.0], [0.1, -0.98, 0.0]]),
    knees=np.stack([poses.KNEES, poses.KNEES]),
)


def scene(figure: Figure, hair: str = "short") -> Scene:
    """A figure 4 m in front of a grey wall, without noise or blur."""
    eye = np.array([0.0, 1.0, 4.0])
    camera = Camera(eye, look_at(eye, np.array([0.0, 1.0, 0.0])), 380.0, (79.5, 99.5))
    outfit = Outfit.sample(np.random.default_rng(3))
    outfit = Outfit(
        **{**vars(outfit), "hair_style": hair, "skin": (0.9, 0.7, 0.6)}
        | {"hair": (0.1, 0.05, 0.0), "skirt": 0.0}
    )
    return Scene(
        figure=figure,
        outfit=outfit,
        camera=camera,
        backdrop=np.full((SIZE[1], SIZE[0], 3), 0.5, np.float32),
        light=Light(np.array([0.0, 0.6, 0.8]), np.full(3, 0.7), np.full(3, 0.4)),
        sensor=Sensor(noise=0.0, blur=0.0, gain=np.ones(3), gamma=1.0),
    )


def body() -> Body:
    return Body.sample(np.random.default_rng(1))


def turned(heading: float, pose: poses.Pose = STANDING) -> Figure:
    return place(body(), pose, heading, (0.0, 0.0))


def shoot(figure: Figure):
    return render_person(np.random.default_rng(0), scene(figure), SIZE)


def folder_bytes(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("look", synthetic.LOOKS)
def test_the_seed_decides_every_byte(tmp_path, look):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        synthetic.write(
            tmp_path / name, count=4, seed=seed, look=look, size=(64, 80), workers=1
        )
    a, b, c = (folder_bytes(tmp_path / name) for name in "abc")
    assert a == b
    assert a.keys() == c.keys() and len(a) == 5
    assert all(a[name] != c[name] for name in a)


def test_the_number_of_workers_decides_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "CHUNK", 3)
    calls: list[int] = []
    for workers in (1, 2):
        synthetic.write(
            tmp_path / str(workers),
            count=5,
            seed=1,
            size=(64, 80),
            workers=workers,
            progress=calls.append,
        )
    assert folder_bytes(tmp_path / "1") == folder_bytes(tmp_path / "2")
    assert calls == [3, 2, 3, 2]


@pytest.mark.parametrize("spot", [(0.0, 1.0, 0.0), (0.41, 1.33, -1.2), (-0.3, 0.6, 1)])
def test_a_ball_is_drawn_around_its_projection(spot):
    # Catches a half-pixel shift, a mirrored axis and a wrong focal length.
    eye = np.array([0.2, 1.3, 4.0])
    rotation = look_at(eye, np.array([0.0, 1.0, 0.0]), 0.3)
    camera = Camera(eye, rotation, 400.0, (70.25, 101.5))
    point = np.array(spot)
    paint = plain((0.5, 0.5, 0.5))

    surface = cast([ball(point, np.eye(3), [0.05] * 3, paint)], camera, SIZE)

    rows, columns = np.nonzero(surface.part == 0)
    x = (columns.mean() + surface.x0 + 0.5) / 2 - 0.5
    y = (rows.mean() + surface.y0 + 0.5) / 2 - 0.5
    np.testing.assert_allclose([x, y], camera.project(point), atol=0.15)
    # Its near side is its radius before its centre.
    depth = camera.to_camera(point)[2]
    assert surface.depth.min() == pytest.approx(depth - 0.05, abs=1e-3)


def test_visible_joints_lie_on_the_person():
    rng = np.random.default_rng(0)
    checked = 0
    for _ in range(25):
        shot = render_person(rng, varied_scene(rng, SIZE), SIZE)
        assert shot.image.shape == (200, 160, 3) and shot.image.dtype == np.uint8
        for (x, y, annotated), visible in zip(shot.joints, shot.visible, strict=True):
            assert annotated == 1
            if visible:
                checked += 1
                # One pixel of play where a thin wrist is cut by the sampling.
                row, column = round(y), round(x)
                near = shot.mask[max(row - 1, 0) : row + 2, max(column - 1, 0) :]
                assert near[:, :3].any()
    assert checked > 200


def test_a_person_who_faces_the_camera_has_the_right_side_on_the_left_of_the_image():
    front, back = shoot(turned(0.0)), shoot(turned(math.pi))
    for name in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle"):
        right, left = JOINT[f"right_{name}"], JOINT[f"left_{name}"]
        assert front.joints[right, 0] < front.joints[left, 0] - 5
        assert back.joints[right, 0] > back.joints[left, 0] + 5


def test_a_turn_to_the_left_brings_the_right_side_to_the_camera():
    figure = turned(math.pi / 2)
    right = figure.shoulders[0], figure.hips[0], figure.ankles[0]
    left = figure.shoulders[1], figure.hips[1], figure.ankles[1]
    for near, far in zip(right, left, strict=True):
        assert near[2] > far[2]
    assert figure.toes[0, 0] > figure.ankles[0, 0]  # looks to the image's right


def test_all_joints_of_an_open_frontal_figure_are_visible():
    assert shoot(turned(0.0)).visible.tolist() == [1] * 13
    assert shoot(turned(math.pi)).visible.tolist() == [1] * 13


def test_the_far_side_of_a_figure_seen_from_the_side_is_hidden():
    arms_close = STANDING._replace(wrists=np.array([[0.0, -0.95, 0.0]] * 2))
    legs_close = arms_close._replace(ankles=np.array([[0.0, -0.98, 0.0]] * 2))
    visible = shoot(turned(math.pi / 2, legs_close)).visible
    hidden = {name for name, index in JOINT.items() if not visible[index]}
    assert {"left_shoulder", "left_elbow", "left_hip", "left_knee"} <= hidden
    assert not {"head", "right_shoulder", "right_elbow", "right_knee"} & hidden


def test_a_hand_behind_the_back_is_hidden_and_one_before_the_chest_is_not():
    wrists = np.array([[-0.3, -0.6, -0.4], [-0.3, -0.4, 0.5]])
    visible = shoot(turned(0.0, STANDING._replace(wrists=wrists))).visible
    assert not visible[JOINT["right_wrist"]]
    assert visible[JOINT["left_wrist"]]


def test_a_joint_outside_the_picture_is_not_visible():
    figure = place(body(), STANDING, 0.0, (-0.85, 0.0))  # half out on the left
    shot = shoot(figure)
    outside = shot.joints[:, 0] < -0.5
    assert outside.any() and not outside.all()
    assert not shot.visible[outside].any()


def test_front_and_back_of_the_head_differ():
    def head_color(heading: float):
        shot = shoot(turned(heading))
        x, y = np.rint(shot.joints[JOINT["head"], :2]).astype(int)
        return shot.image[y - 2 : y + 3, x - 2 : x + 3].mean()

    assert head_color(0.0) > 1.5 * head_color(math.pi)  # light skin, dark hair


@settings(deadline=None)
@given(
    goal=st.tuples(*[st.floats(-1.5, 1.5)] * 3),
    pole=st.sampled_from([(0.0, 0.0, 1.0), (0.5, -0.7, -0.4), (0.0, -1.0, 0.0)]),
)
def test_bones_keep_their_lengths_and_reach_what_is_in_reach(goal, pole):
    start = np.array([0.1, 0.2, 0.3])
    target = start + np.array(goal)
    middle, end = two_bones(start, target, np.array(pole), 0.4, 0.3)

    assert np.linalg.norm(middle - start) == pytest.approx(0.4)
    assert np.linalg.norm(end - middle) == pytest.approx(0.3)
    distance = np.linalg.norm(target - start)
    if 0.24 < distance < 0.69:
        np.testing.assert_allclose(end, target, atol=1e-9)
        # The middle joint sticks out towards the pole, not away from it.
        axis = (target - start) / distance
        assert (middle - start - ((middle - start) @ axis) * axis) @ pole > -1e-9


def test_all_figures_stand_on_the_floor_or_above_it():
    rng = np.random.default_rng(5)
    for action in 4 * list(poses.ACTIONS):
        pose = poses.sample(rng, action)
        figure = place(Body.sample(rng), pose, rng.uniform(-3, 3), (0.3, -0.2))
        assert np.isfinite(figure.joints()).all()
        assert figure.joints()[:, 1].min() > 0
        lowest = min(figure.ankles[:, 1].min(), figure.knees[:, 1].min())
        assert lowest < 0.2 + pose.lift or action == "tumble"


def test_reading_gives_back_what_was_drawn(tmp_path):
    folder = tmp_path / "rendered"
    synthetic.write(folder, count=10, seed=4, size=SIZE, workers=1)
    records = list(READERS["synthetic"](folder))

    assert [record.id for record in records] == [f"{i:06}" for i in range(10)]
    assert [record.split for record in records] == ["train"] * 8 + ["val", "test"]
    assert len({record.group for record in records}) == 10
    for index, record in enumerate(records):
        rng = np.random.default_rng([4, 0, index])
        shot_scene = varied_scene(rng, SIZE)
        rng.integers(60, 96)
        shot = render_person(rng, shot_scene, SIZE)
        np.testing.assert_allclose(record.joints, shot.joints, atol=0.01)
        np.testing.assert_array_equal(record.visible, shot.visible)
        assert record.defect() is None
        assert record.image == ImageRef(folder / "images" / f"{index:06}.jpg")
        assert (record.source, record.head_rule) == ("synthetic", "point")
        x0, y0, x1, y1 = (int(edge) for edge in record.box)
        assert shot.mask[y0:y1, x0:x1].sum() == shot.mask.sum()
        assert shot.mask[y0].any() and shot.mask[:, x1 - 1].any()
        # JPEG changes pixels a little, and only a little.
        pixels = images.read(record.image).astype(float)
        assert np.abs(pixels - shot.image).mean() < 12


def test_recordings_of_the_use_case_never_share_a_split(tmp_path):
    synthetic.write(
        tmp_path / "use", count=11, seed=0, look="use_case", size=(64, 80), workers=1
    )
    records = list(synthetic.read(tmp_path / "use"))
    splits: dict[str, set[str]] = {}
    for record in records:
        splits.setdefault(record.group, set()).add(record.split)
    assert [len(value) for value in splits.values()] == [1] * 5
    assert {next(iter(value)) for value in splits.values()} == {"train", "val", "test"}


def test_the_use_case_is_one_person_in_one_room_who_moves():
    use_case = UseCase(7, SIZE)
    script = use_case.script(0, 10.0)
    first, later = (use_case.scene(script, 0, time) for time in (0.0, 3.0))
    assert first.figure.body == later.figure.body
    assert first.backdrop is later.backdrop and first.camera is later.camera
    assert np.abs(first.figure.joints() - later.figure.joints()).max() > 0.02
    step = use_case.scene(script, 0, 3.0 + 1 / synthetic.FPS)
    assert np.abs(step.figure.joints() - later.figure.joints()).max() < 0.12
    other = use_case.scene(script, 1, 0.0)
    assert other.outfit != first.outfit
    assert other.outfit.skin == first.outfit.skin


def test_a_clip_shows_the_person_of_the_recordings(tmp_path):
    path = tmp_path / "clip.mp4"
    joints = synthetic.write_clip(path, seed=7, seconds=0.4, size=SIZE)
    assert joints.shape == (10, 13, 3)

    video = cv2.VideoCapture(str(path))
    frames = []
    while (frame := video.read())[0]:
        frames.append(frame[1])
    video.release()
    assert len(frames) == 10 and frames[0].shape == (200, 160, 3)
    # The room of the recordings, so not mirrored and not in BGR.
    use_case = UseCase(7, SIZE)
    room = 255 * use_case.scene(use_case.script(0, 1.0), 0, 0.0).backdrop[:20, :20]
    corner = frames[0][:20, :20, ::-1].mean(axis=(0, 1))
    np.testing.assert_allclose(corner, room.mean(axis=(0, 1)), atol=8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"look": "wild"}, "look must be one of varied, use_case. Received: 'wild'"),
        ({"count": 0}, "count must be at least 1"),
        ({"seed": -1}, "seed at least 0"),
        ({"size": (63, 80)}, "size 63 x 80"),
    ],
    ids=["look", "count", "seed", "size"],
)
def test_arguments_that_cannot_work_leave_nothing(tmp_path, arguments, message):
    good = {"count": 1, "seed": 0, "look": "varied", "size": (64, 80)}
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        synthetic.write(tmp_path / "out", **(good | arguments))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_content_is_refused_and_kept(tmp_path):
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(InputError, match="must be new or an empty folder"):
        synthetic.write(tmp_path, count=1, seed=0, size=(64, 80))
    assert [path.name for path in tmp_path.iterdir()] == ["diary.txt"]


def test_a_clip_of_another_format_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"must be named \*\.mp4"):
        synthetic.write_clip(tmp_path / "clip.avi", seed=0)
    assert list(tmp_path.iterdir()) == []


def broken(row: dict, **changes: object) -> str:
    return json.dumps({**row, **changes})


@pytest.mark.parametrize(
    "damage",
    [
        lambda line, row: line[: len(line) // 2],
        lambda line, row: "[]",
        lambda line, row: "null",
        lambda line, row: "",
        lambda line, row: broken(row, joints={"head": [1, 2]}),
        lambda line, row: broken(row, joints={name: [1, 2, 3] for name in JOINT}),
        lambda line, row: broken(row, joints=dict.fromkeys(JOINT, "here")),
        lambda line, row: broken(row, joints={name: [10**400, 1] for name in JOINT}),
        lambda line, row: broken(row, visible={}),
        lambda line, row: broken(row, visible=dict.fromkeys(JOINT, 300)),
        lambda line, row: "[" * 100000,
        lambda line, row: broken(row, split="holdout"),
        lambda line, row: broken(row, box=[1, 2, 3]),
        lambda line, row: json.dumps({k: v for k, v in row.items() if k != "picture"}),
    ],
    ids=[
        "cut",
        "list",
        "null",
        "empty",
        "joint missing",
        "three numbers",
        "words",
        "huge",
        "visible",
        "visible 300",
        "deep",
        "split",
        "box",
        "key missing",
    ],
)
def test_a_damaged_line_is_named(tmp_path, damage):
    synthetic.write(tmp_path / "out", count=2, seed=0, size=(64, 80), workers=1)
    path = tmp_path / "out" / "people.jsonl"
    first, second = path.read_text().splitlines()
    path.write_text(f"{first}\n{damage(second, json.loads(second))}\n")

    records = synthetic.read(tmp_path / "out")
    assert next(records).id == "000000"
    with pytest.raises(InputError, match=r"people\.jsonl:2 must be a person"):
        next(records)


def test_numbers_too_large_are_reported_by_the_caller(tmp_path):
    synthetic.write(tmp_path / "out", count=1, seed=0, size=(64, 80), workers=1)
    path = tmp_path / "out" / "people.jsonl"
    row = json.loads(path.read_text())
    row["joints"]["head"][0] = 1e300
    path.write_text(json.dumps(row))

    (record,) = synthetic.read(tmp_path / "out")

    assert record.defect() == "non_finite_joint"


def test_a_missing_label_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"expected a label file .*people\.jsonl"):
        next(synthetic.read(tmp_path))
    (tmp_path / "people.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="must be a text file"):
        next(synthetic.read(tmp_path))


def test_a_coordinate_that_is_no_number_is_left_to_prepare(tmp_path):
    synthetic.write(tmp_path / "out", count=1, seed=0, size=(64, 80), workers=1)
    path = tmp_path / "out" / "people.jsonl"
    row = json.loads(path.read_text())
    row["joints"]["head"] = [float("nan"), 1.0]
    path.write_text(json.dumps(row) + "\n")
    assert next(synthetic.read(tmp_path / "out")).defect() == "non_finite_joint"
