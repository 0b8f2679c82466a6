"""Recordings that the studio renders: what is drawn is what the labels say."""

import tomllib
from pathlib import Path

import cv2
import numpy as np
import pytest

from kpose import images
from kpose.errors import InputError
from kpose.joints import BODY_13
from kpose_datasets import persontracker
from kpose_datasets.studio import faults, recording, stage, wardrobe
from kpose_datasets.studio.gestures import GESTURES, GestureScript, _gesture, _through
from kpose_datasets.studio.outfit import Outfit, plain
from kpose_datasets.studio.raycast import MOMENTS, Camera, ball, expose, limb, nearest
from kpose_datasets.studio.stage import SHUTTER, Stage
from kpose_datasets.takes import INFERRED, TRACKED

SIZE = (200, 112)
JOINT = {name: index for index, name in enumerate(BODY_13.names)}
LEVEL = np.diag([1.0, -1.0, -1.0])
GREY = plain((0.5, 0.5, 0.5))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Two takes of two people, one of them held out."""
    out = tmp_path_factory.mktemp("studio") / "rec"
    summary = recording.write(
        out,
        clothings=[3],
        frames=12,
        test=10,
        people=2,
        subject=5,
        seed=4,
        fps=5,
        size=SIZE,
        workers=1,
    )
    return out, summary


def folder_bytes(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def frames_of(take: int, count: int, fps: float = 5):
    """What the stage shows, rendered once more."""
    room = Stage(4, SIZE)
    actors = room.actors([5, 6], 3, take, count / fps)
    for index in range(count):
        rng = np.random.default_rng([4, 14, take, index])
        yield room.shoot(rng, actors, index / fps)


def test_a_folder_that_is_read_back_has_the_joints_that_were_drawn(recorded):
    takes = list(persontracker.takes(recorded[0]))

    assert [len(take.bodies) for take in takes] == [12, 10]
    hidden = 0
    for number, take in enumerate(takes):
        shown = frames_of(number, len(take.bodies))
        for frame, bodies in zip(shown, take.bodies, strict=True):
            assert len(bodies) == 2
            for person, body in enumerate(bodies):
                joints = body.joints.copy()
                joints[:, 0] = SIZE[0] - 1 - joints[:, 0]
                np.testing.assert_allclose(joints, frame.joints[person], atol=0.01)
                states = np.where(frame.visible[person], TRACKED, INFERRED)
                assert body.states.tolist() == states.tolist()
                hidden += int((states == INFERRED).sum())
    assert hidden > 0
    np.testing.assert_allclose(takes[1].times_ms, 200.0 * np.arange(10))


def test_records_show_the_picture_that_was_rendered_and_not_its_mirror(recorded):
    records = list(persontracker.read(recorded[0]))

    assert len(records) == 2 * (12 + 10)
    first = next(frames_of(0, 12))
    pixels = images.read(records[0].image).astype(float)
    assert np.abs(pixels - first.image).mean() < 5
    assert np.abs(pixels[:, ::-1] - first.image).mean() > 15
    kept = records[0].joints[:, 2] == 1
    assert kept.sum() > 8
    np.testing.assert_allclose(
        records[0].joints[kept, :2], first.joints[0][kept], atol=0.01
    )


def test_visible_joints_lie_on_their_own_person():
    checked = 0
    for frame in frames_of(0, 12):
        for joints, visible, mask in zip(
            frame.joints, frame.visible, frame.masks, strict=True
        ):
            for (x, y), seen in zip(joints, visible, strict=True):
                if seen:
                    checked += 1
                    # One pixel of play where a thin wrist is cut by the sampling.
                    row, column = round(y), round(x)
                    near = mask[max(row - 1, 0) : row + 2, max(column - 1, 0) :]
                    assert near[:, :3].any()
        assert not (frame.masks[0] & frame.masks[1]).any()
    assert checked > 200


def test_the_facts_say_who_wears_what_and_what_is_held_out(recorded):
    out, summary = recorded
    facts = tomllib.loads((out / recording.DAY / "recording.toml").read_text())

    common = {"subject": "5+6", "clothing": "3", "labelled_by": "studio"}
    common |= {"mirrored": "yes", "fps": 5.0}
    assert facts == {
        "video_0000": {**common, "split": "train"},
        "video_0001": {**common, "split": "test"},
    }
    assert summary["frames"] == 22 and summary["people"] == 2
    assert sum(summary["joints"].values()) == 22 * 2 * 13
    assert [take["split"] for take in summary["takes"]] == ["train", "test"]
    train, test = persontracker.takes(out)
    moved = [
        np.abs(a[0].joints - b[0].joints).max()
        for a, b in zip(train.bodies, test.bodies, strict=False)
    ]
    assert np.median(moved) > 5  # other gestures


def test_the_preview_is_not_mirrored(recorded):
    out, _ = recorded
    sheet = images.decode((out / recording.PREVIEW).read_bytes())
    assert sheet.shape == (round(112 * 3.2), 2 * 640 + 4, 3)
    cell = sheet[:, :320].astype(int)  # the person on the left faces the camera
    orange = (cell == [255, 140, 0]).all(axis=2)
    blue = (cell == [30, 144, 255]).all(axis=2)
    assert orange.any() and blue.any()
    assert np.nonzero(orange)[1].mean() < np.nonzero(blue)[1].mean()


def test_the_seed_decides_every_byte_and_the_workers_none(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "CHUNK", 4)
    done: list[int] = []
    small = {"clothings": [1], "frames": 10, "test": 0, "size": (64, 64)}
    for name, seed, workers in (("a", 1, 1), ("b", 1, 2), ("c", 2, 1)):
        recording.write(
            tmp_path / name,
            **small,
            seed=seed,
            workers=workers,
            progress=done.append,
        )
    a, b, c = (folder_bytes(tmp_path / name) for name in "abc")
    assert a == b
    assert a.keys() == c.keys()
    assert a[f"{recording.DAY}/video_0000.txt"] != c[f"{recording.DAY}/video_0000.txt"]
    assert sum(done) == 30


def test_faults_are_in_the_file_and_the_truth_is_beside_it(tmp_path):
    common = {"clothings": [2], "frames": 40, "test": 0, "size": (64, 64), "seed": 3}
    recording.write(tmp_path / "clean", **common, workers=1)
    summary = recording.write(
        tmp_path / "bad", **common, people=1, fault_share=0.1, workers=1
    )

    (clean,) = persontracker.takes(tmp_path / "clean")
    (bad,) = persontracker.takes(tmp_path / "bad")
    with np.load(tmp_path / "bad" / recording.DAY / "video_0000.truth.npz") as truth:
        points, wrong, kind = truth["points"], truth["wrong"], truth["kind"]
    assert points.shape == (40, 1, 13, 2) and wrong.shape == (40, 1, 13)
    true = np.stack([bodies[0].joints for bodies in clean.bodies])
    told = np.stack([bodies[0].joints for bodies in bad.bodies])
    np.testing.assert_allclose(points[:, 0], true, atol=0.01)
    moved = np.abs(told - true).max(axis=2) > 0.01
    assert (moved == (kind[:, 0] != faults.NONE)).mean() > 0.99
    assert (moved | ~wrong[:, 0]).all()
    assert wrong.sum() == summary["wrong"] > 20
    # The pictures are the same.
    a, b = (folder_bytes(tmp_path / name) for name in ("clean", "bad"))
    assert all(a[name] == b[name] for name in a if name.endswith(".jpg"))


def test_a_person_hides_the_one_behind():
    room = Stage(0, SIZE)
    front, back = room.actors([1, 1], 1, 0, 5.0)
    alone = back._replace(mark=(0.0, -0.6))
    _, before = room.labels([alone], 1.0)
    _, after = room.labels([front._replace(mark=(0.0, 0.3)), alone], 1.0)

    assert before[0].sum() >= 11
    trunk = [JOINT[f"{side}_hip"] for side in ("left", "right")]
    assert not after[1][trunk].any()
    assert after[0].sum() >= 11


def test_a_joint_outside_the_picture_is_not_visible():
    room = Stage(0, SIZE)
    (actor,) = room.actors([1], 1, 0, 5.0)
    joints, visible = room.labels([actor._replace(mark=(-2.6, 0.0))], 1.0)
    outside = joints[0, :, 0] < -0.5
    assert outside.any()
    assert not visible[0][outside].any()


@pytest.mark.parametrize("spot", [(0.0, 1.0, 0.0), (0.41, 1.33, -1.2), (0.1, 0.9, 1)])
def test_a_still_ball_is_drawn_around_its_projection(spot):
    # Catches a half-pixel shift, and rays that do not spread evenly over a pixel.
    camera = Camera(np.array([0.2, 1.3, 4.0]), LEVEL, 400.0, (70.25, 101.5))
    part = ball(np.array(spot), np.eye(3), [0.06] * 3, GREY)

    shown = expose([[part]] * MOMENTS, camera, (160, 200))

    cover = (shown.part >= 0).sum(axis=0)
    rows, columns = np.mgrid[: cover.shape[0], : cover.shape[1]]
    x = (columns * cover).sum() / cover.sum() + shown.x0
    y = (rows * cover).sum() / cover.sum() + shown.y0
    np.testing.assert_allclose([x, y], camera.project(part.origin), atol=0.15)
    depth = camera.to_camera(part.origin)[2]
    assert shown.depth.min() == pytest.approx(depth - 0.06, abs=1e-3)
    assert nearest([part], camera, camera.project(part.origin)[None]) == pytest.approx(
        depth - 0.06, abs=1e-2
    )


def test_a_moving_ball_is_smeared_along_its_way():
    camera = Camera(np.array([0.0, 0.0, 4.0]), LEVEL, 400.0, (79.5, 49.5))
    moments = [
        [ball(np.array([x, 0.0, 0.0]), np.eye(3), [0.05] * 3, GREY)]
        for x in (-0.15, -0.05, 0.05, 0.15)
    ]
    shown = expose(moments, camera, (160, 100))
    cover = (shown.part >= 0).sum(axis=0)

    # Balls of 10 pixels beside each other: everywhere once, nowhere all the time.
    assert cover.max() <= 2
    row = cover[round(49.5) - shown.y0]
    assert (row > 0).sum() == pytest.approx(40, abs=2)


def test_rays_meet_the_nearer_part_in_every_way_of_casting():
    rng = np.random.default_rng(0)
    camera = Camera(np.array([0.0, 0.0, 3.0]), LEVEL, 150.0, (49.5, 49.5))
    parts = [
        limb(*rng.uniform(-0.6, 0.6, (2, 3)), (0.2, 0.1), GREY, rng.normal(0, 1, 3))
        for _ in range(4)
    ]
    shown = expose([parts] * MOMENTS, camera, (100, 100))
    rows, columns = np.nonzero((shown.part >= 0).all(axis=0))
    spots = np.stack([columns + shown.x0, rows + shown.y0], axis=1)
    # The mean of four places around it is the depth in the middle of a pixel.
    flat = np.ptp(shown.depth[:, rows, columns], axis=0) < 0.01
    assert flat.sum() > 300
    np.testing.assert_allclose(
        nearest(parts, camera, spots.astype(float))[flat],
        shown.depth[:, rows, columns].mean(axis=0)[flat],
        atol=0.005,
    )
    # Normals look to the eye.
    depth = shown.depth.ravel()[shown.hits]
    assert np.isfinite(depth).all()
    assert (shown.normal[:, 2] < 0.5).all()
    np.testing.assert_allclose(np.linalg.norm(shown.normal, axis=1), 1, atol=1e-4)


def test_a_fast_hand_is_blurred_and_a_still_one_is_not(monkeypatch):
    room = Stage(0, (640, 360))
    (actor,) = room.actors([1], 1, 0, 30.0)
    times = np.arange(0.5, 30, 0.05)
    ahead = [actor.figure(time + SHUTTER / 2).wrists for time in times]
    behind = [actor.figure(time - SHUTTER / 2).wrists for time in times]
    way = np.linalg.norm(np.subtract(ahead, behind), axis=2).max(axis=1)
    assert way.max() > 0.02 and way.min() < 0.002

    def changed(time: float) -> int:
        """Pixels that the open shutter changes."""
        pictures = []
        for seconds in (SHUTTER, 0.0):
            monkeypatch.setattr(stage, "SHUTTER", seconds)
            shot = room.shoot(np.random.default_rng(0), [actor], time)
            pictures.append(shot.image.astype(int))
        return int((np.abs(pictures[0] - pictures[1]).max(axis=2) > 20).sum())

    assert changed(times[way.argmax()]) > 40
    assert changed(times[way.argmin()]) < 5


def test_seven_clothings_are_seven_looks_that_stay():
    look = Outfit.sample(np.random.default_rng(1))
    for seed in range(5):
        worn = [wardrobe.outfit(look, number, [seed, 13, 0]) for number in range(1, 8)]
        again = [wardrobe.outfit(look, number, [seed, 13, 0]) for number in range(1, 8)]
        assert worn == again
        assert len({(w.pattern, w.sleeves, w.trousers, w.skirt) for w in worn}) >= 6
        assert {(w.skin, w.hair, w.hair_style) for w in worn} == {
            (look.skin, look.hair, look.hair_style)
        }
        colors = np.array([(*w.shirt, *w.shirt_second, *w.bottom) for w in worn])
        apart = np.linalg.norm(colors[:, None] - colors[None], axis=2)
        assert apart[np.triu_indices(7, 1)].min() > 0.25
        other = wardrobe.outfit(look, 1, [seed + 10, 13, 0])
        assert other.shirt != worn[0].shirt


def test_a_subject_has_one_body_in_every_room_and_take():
    one, two, other = (
        Stage(seed, SIZE).actors([subject], 1, take, 5.0)[0]
        for seed, subject, take in ((0, 1, 0), (9, 1, 3), (0, 2, 0))
    )
    assert one.body == two.body != other.body
    assert one.outfit.skin == two.outfit.skin != other.outfit.skin


@pytest.mark.parametrize("name", GESTURES)
def test_every_gesture_moves_a_hand_within_reach(name):
    both = 0
    for seed in range(30):
        plan = _gesture(np.random.default_rng(seed), name)
        assert plan.shape[1:] == (2, 3) and len(plan) > 15
        moved = np.ptp(plan, axis=0).max(axis=1)
        taking_part = ~np.isnan(plan).any(axis=(0, 2))
        assert (np.isnan(plan).all(axis=(0, 2)) | taking_part).all()
        assert np.nanmax(moved) > 0.05
        assert np.nanmax(np.abs(plan)) < 1.6
        assert np.nanmin(plan[..., 2]) > 0.1  # in front of the body
        both += int(taking_part.all())
    expected = {"select": 0, "draw": 0, "rotate": 30, "zoom": 30}
    assert both == expected.get(name, both)
    if name in ("move", "steer"):
        assert 0 < both < 30


def test_a_track_rests_where_it_shall():
    track = _through(np.array([0.0, 1.0]), np.array([0.5]), np.array([0.1, 0.2]))
    # 6 samples at 0, 30 on the way, 12 at 1.
    assert len(track) == 48
    assert (track[:6] == 0).all() and (track[35:] == 1).all()
    assert track[20] == pytest.approx(0.5)  # half of the way in half of the time
    assert (np.diff(track) >= 0).all()


def test_people_move_as_people_do():
    room = Stage(0, SIZE)
    for take in range(2):
        (actor,) = room.actors([1], 1, take, 40.0)
        times = np.arange(0, 40, 1 / 30)
        joints = np.stack([actor.figure(time).joints() for time in times])
        speed = 30 * np.linalg.norm(np.diff(joints, axis=0), axis=2)
        assert speed.max() < 6  # metres per second; a fast hand makes 3
        wrists = [JOINT["left_wrist"], JOINT["right_wrist"]]
        ankles = [JOINT["left_ankle"], JOINT["right_ankle"]]
        assert (speed[:, wrists].max(axis=0) > 1).all()
        # Feet stand still most of the time, and step now and then.
        assert np.median(speed[:, ankles]) < 0.03
        assert speed[:, ankles].max() > 0.3
        assert np.ptp(joints[:, JOINT["head"], 0]) > 0.15
        # The arms get everywhere in front: high, low and to the side.
        low, high = np.percentile(joints[:, wrists, 1], [5, 95])
        assert high - low > 0.5


def test_a_script_is_decided_by_its_seed():
    one, same, other = (
        GestureScript(np.random.default_rng(seed), 5.0) for seed in (1, 1, 2)
    )
    assert (one.pose(2.3).wrists == same.pose(2.3).wrists).all()
    assert (one.pose(2.3).wrists != other.pose(2.3).wrists).any()
    one.pose(-1.0), one.pose(99.0)  # ends stand still instead of failing


def test_pictures_of_one_frame_differ_by_noise_only():
    room = Stage(0, SIZE)
    actors = room.actors([1], 1, 0, 5.0)
    a, b = (
        room.shoot(np.random.default_rng(seed), actors, 1.0).image for seed in (1, 2)
    )
    noise = (a.astype(float) - b) / np.sqrt(2)
    assert 1.5 < noise.std() < 3
    assert abs(noise.mean()) < 0.05
    smooth = cv2.blur(noise, (15, 15))
    assert np.abs(smooth).max() < 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clothings": [8]}, "clothing must be one of 1 to 7. Received: 8"),
        ({"clothings": []}, "one or more of 1 to 7, of a range the smaller first"),
        ({"clothings": [2, 2]}, r"clothings must differ. Received: \[2, 2\]"),
        ({"frames": 9}, "frames must be at least 10, .* Received: frames 9"),
        ({"test": 5}, "test too, or 0. Received: frames 10, test 5"),
        ({"people": 7}, "people must be 1 to 6. Received: 7"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"size": (63, 80)}, "size 63 x 80"),
        ({"fault_share": 0.6}, "faults must be 0 to 0.5. Received: 0.6"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_arguments_that_cannot_work_leave_nothing(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        recording.write(tmp_path / "out", **{"frames": 10, "test": 0, **arguments})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_content_is_refused_and_kept(tmp_path):
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(InputError, match="must be new or an empty folder"):
        recording.write(tmp_path, frames=10, size=(64, 64))
    assert [path.name for path in tmp_path.iterdir()] == ["diary.txt"]
