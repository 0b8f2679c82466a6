"""The reader of Azure Kinect body tracking, with projections worked out by hand."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpose.errors import InputError
from kpose.joints import BODY_13
from kpose.records import BadRecord, ImageRef
from kpose_datasets import azure_kinect
from kpose_datasets.takes import TRACKED, UNTRACKED

K4ABT = """PELVIS SPINE_NAVEL SPINE_CHEST NECK CLAVICLE_LEFT SHOULDER_LEFT ELBOW_LEFT
WRIST_LEFT HAND_LEFT HANDTIP_LEFT THUMB_LEFT CLAVICLE_RIGHT SHOULDER_RIGHT ELBOW_RIGHT
WRIST_RIGHT HAND_RIGHT HANDTIP_RIGHT THUMB_RIGHT HIP_LEFT KNEE_LEFT ANKLE_LEFT FOOT_LEFT
HIP_RIGHT KNEE_RIGHT ANKLE_RIGHT FOOT_RIGHT HEAD NOSE EYE_LEFT EAR_LEFT EYE_RIGHT
EAR_RIGHT""".split()

THERE = {
    "head": "HEAD",
    **{
        f"{side}_{part}": f"{part}_{side}".upper()
        for side in ("right", "left")
        for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    },
}

LENS = {
    "rotation": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "translation": [0, 0, 0],
    **{"fx": 1000.0, "fy": 1000, "cx": 640, "cy": 360},
    **dict.fromkeys(("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2"), 0),
}


def calibration(folder, **changes):
    path = folder / "calibration.json"
    path.write_text(json.dumps({**LENS, **changes}))
    return path


def lens(folder, **changes):
    return azure_kinect.load_calibration(calibration(folder, **changes))


def body(names=K4ABT, identity=1, **changes):
    """Joint ``index`` lies at x = 10 index, y = -index at 1 m: 10 and -1 px apart."""
    points = [[10.0 * K4ABT.index(n), -1.0 * K4ABT.index(n), 1000.0] for n in names]
    for name, point in changes.items():
        points[names.index(name)] = point
    return {"body_id": identity, "joint_positions": points}


def frame(number, *bodies, time=None):
    return {
        "timestamp_usec": 33_333 * number if time is None else time,
        "frame_id": number,
        "num_bodies": len(bodies),
        "bodies": list(bodies),
    }


def write(folder, *frames, names=K4ABT, **changes):
    path = folder / "walk.json"
    value = {"joint_names": names, "bone_list": [], "frames": list(frames), **changes}
    path.write_text(json.dumps({k: v for k, v in value.items() if v is not None}))
    return path


def only(path, **options):
    folder = path.parent
    options.setdefault("images", folder / "walk.avi")
    if "calibration" not in options:
        options["calibration"] = calibration(folder)
    (take,) = azure_kinect.takes(path, **options)
    return take


def clip(path, frames, size=(64, 48)):
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, size)
    assert video.isOpened()
    for _ in range(frames):
        video.write(np.zeros((size[1], size[0], 3), np.uint8))
    video.release()
    return path


@pytest.mark.parametrize(
    "names", [K4ABT, K4ABT[::-1]], ids=["as the SDK", "another order"]
)
def test_joints_go_by_their_names(tmp_path, names):
    take = only(write(tmp_path, frame(0, body(names)), names=names))

    ((seen,),) = take.bodies
    for joint, name in THERE.items():
        index = K4ABT.index(name)
        expected = [640 + 10 * index, 360 - index]
        np.testing.assert_allclose(seen.joints[BODY_13.names.index(joint)], expected)
    assert seen.states.tolist() == [TRACKED] * 13
    assert seen.identity == "1"


@pytest.mark.parametrize(
    ("name", "value", "x", "y"),
    [
        ("fx", 2000, 0.2, 0.2),
        ("fy", 500, 0.1, 0.1),
        ("k1", 1, 0.105, 0.21),
        ("k2", 1, 0.10025, 0.2005),
        ("k3", 1, 0.1000125, 0.200025),
        ("k4", 1, 0.1 / 1.05, 0.2 / 1.05),
        ("k5", 1, 0.1 / 1.0025, 0.2 / 1.0025),
        ("k6", 1, 0.1 / 1.000125, 0.2 / 1.000125),
        # 2 p1 x y and p1 (r2 + 2 y2); p2 (r2 + 2 x2) and 2 p2 x y.
        ("p1", 0.01, 0.1004, 0.2013),
        ("p2", 0.01, 0.1007, 0.2004),
    ],
)
def test_each_coefficient_by_hand(tmp_path, name, value, x, y):
    """A point at x = 0.1 and y = 0.2 of its distance: r2 = 0.05."""
    pixels = lens(tmp_path, **{name: value}).project(np.array([[200.0, 400, 2000]]))

    np.testing.assert_allclose(pixels, [[640 + 1000 * x, 360 + 1000 * y]], rtol=1e-9)


def test_the_point_is_turned_and_then_moved(tmp_path):
    """A quarter turn takes x to y and y to -x; then 32 mm to the left."""
    turned = lens(
        tmp_path, rotation=[0, -1, 0, 1, 0, 0, 0, 0, 1], translation=[-32.0, 0, 500]
    )

    pixels = turned.project(np.array([[100.0, 50, 500]]))

    np.testing.assert_allclose(pixels, [[640 - 50 - 32, 360 + 100]])


@given(
    st.tuples(st.floats(-800, 800), st.floats(-500, 500), st.floats(900, 4000)),
    st.floats(-0.2, 0.2),
)
def test_the_rational_model_is_the_sdks(point, angle):
    """Brown-Conrady of transform.c, with the numbers of a real camera."""
    k1, k2, k3, k4, k5, k6 = 0.5, -2.6, 1.5, 0.38, -2.4, 1.4
    p1, p2 = 0.0006, -0.0002
    c, s = np.cos(angle), np.sin(angle)
    rotation = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    translation = np.array([-32.0, -2, 4])
    model = azure_kinect.Calibration(
        rotation,
        translation,
        np.array([[610.0, 0, 638], [0, 611, 367], [0, 0, 1]]),
        np.array([k1, k2, p1, p2, k3, k4, k5, k6]),
    )

    ((u, v),) = model.project(np.array([point]))

    x, y, z = rotation @ np.array(point) + translation
    x, y = x / z, y / z
    r2 = x * x + y * y
    d = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (
        1 + k4 * r2 + k5 * r2**2 + k6 * r2**3
    )
    xd = x * d + p2 * (r2 + 2 * x * x) + 2 * p1 * x * y
    yd = y * d + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    np.testing.assert_allclose((u, v), (610 * xd + 638, 611 * yd + 367), rtol=1e-6)


def test_what_cannot_be_projected_has_no_place(tmp_path):
    """Behind the colour camera, beside it, at the origin, or at infinity."""
    changes = {
        "HEAD": [0, 0, -1000],
        "KNEE_LEFT": [0, 0, 0],
        "KNEE_RIGHT": [5, 5, 0],
        "ELBOW_LEFT": [1e300, 0, 1e-300],
        "HIP_LEFT": [float("nan"), 0, 1000],
    }
    path = write(tmp_path, frame(0, body(**changes)))

    ((seen,),) = only(path).bodies

    at = [BODY_13.names.index(n) for n, name in THERE.items() if name in changes]
    assert len(at) == 5
    assert np.isnan(seen.joints[at]).all()
    assert (seen.states[at] == UNTRACKED).all()
    assert np.isfinite(np.delete(seen.joints, at, axis=0)).all()
    # In the colour camera's frame, not the depth camera's: moved 2 m back.
    far = calibration(tmp_path, translation=[0, 0, 2000])
    ((seen,),) = only(path, calibration=far).bodies
    np.testing.assert_allclose(seen.joints[BODY_13.names.index("head")], [640, 360])
    assert np.isnan(seen.joints[BODY_13.names.index("left_knee")]).all()


def test_beyond_the_metric_radius(tmp_path):
    points = np.array([[300.0, 400, 1000], [300, 401, 1000]])

    pixels = lens(tmp_path, metric_radius=0.5).project(points)

    assert np.isfinite(pixels[0]).all()
    assert np.isnan(pixels[1]).all()


def test_frames_and_times_are_those_of_the_file(tmp_path):
    """Captures without depth are absent: frame 2 of the video has no bodies."""
    path = write(tmp_path, frame(1, body()), frame(3), frame(4, body(), body()))

    take = only(path)

    video = tmp_path / "walk.avi"
    assert take.images == [ImageRef(video, n) for n in (1, 3, 4)]
    assert [len(bodies) for bodies in take.bodies] == [1, 0, 2]
    np.testing.assert_allclose(take.times_ms, [33.333, 99.999, 133.332])
    assert (take.name, take.problems, take.damaged) == ("walk", (), {})


def test_records(tmp_path):
    video = clip(tmp_path / "walk.avi", 12)
    (tmp_path / "recording.toml").write_text('subject = "me"\n')
    path = write(tmp_path, *[frame(n, body()) for n in range(12)])
    lens = calibration(tmp_path, cx=0, cy=40, fx=100)

    records = list(azure_kinect.read(path, video, lens, faults="keep", mirrored="no"))

    assert [r.image for r in records] == [ImageRef(video, n) for n in range(12)]
    # HEAD is joint 26: 260 mm to the right and 26 mm up at 1 m.
    assert records[0].joints[0].tolist() == [26, 14, 1]
    assert (records[0].source, records[0].group) == ("azure_kinect", "walk")
    assert (records[0].subject, records[0].head_rule) == ("me", "point")


def test_bad_bodies_and_frames_are_left_out(tmp_path):
    few = body()
    few["joint_positions"].pop()
    text = body(HEAD=[0, "0", 1])
    path = write(
        tmp_path,
        frame(0, body(identity=7), few),
        frame(1, text),
        {"frame_id": 2},
        frame(1, body()),
        frame(5, body(), time=0),
        frame(6, body()),
    )

    take = only(path)

    assert [ref.frame for ref in take.images] == [0, 1, 6]
    assert [len(bodies) for bodies in take.bodies] == [1, 0, 1]
    assert list(take.damaged) == [0, 1]
    assert "frame 0 of the list body 1 must have 32 joint_positions" in take.damaged[0]
    assert take.damaged[0].endswith("Received: 31")
    no_frame, twice, early = take.problems
    assert "frame 2 of the list must have frame_id, timestamp_usec" in no_frame
    assert "frame 3 of the list must come after frame_id 1" in twice
    assert "frame 4 of the list must come after frame_id 1 at 33.333 ms" in early


def test_without_a_calibration_it_is_refused(tmp_path):
    path = write(tmp_path, frame(0, body()))

    with pytest.raises(InputError) as error:
        list(azure_kinect.read(path, tmp_path / "walk.avi"))

    assert "has no pixel coordinates" in str(error.value)
    assert "&calibration=FILE" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k7": 0}, "k6, metric_radius, width, height. Received: k7"),
        ({"k6": None}, "k6 must be a number. Received: None"),
        ({"fx": "600"}, "fx must be a number. Received: '600'"),
        ({"cx": True}, "cx must be a number. Received: True"),
        ({"rotation": [[1, 0], [0, 1]]}, "rotation must be 9 numbers"),
        ({"rotation": [[1, 0, 0], [0, 1]]}, "rotation must be 9 numbers"),
        ({"rotation": [2, 0, 0, 0, 1, 0, 0, 0, 1]}, "rotation must turn"),
        ({"rotation": [-1, 0, 0, 0, 1, 0, 0, 0, 1]}, "rotation must turn"),
        ({"translation": [0, 1]}, "translation must be 3 numbers"),
        ({"translation": [-0.032, 0, 0.004]}, "must be in millimetres"),
        ({"width": 1280}, "width and height must be those of the colour pictures"),
        ({"width": 1280.5, "height": 720}, "Received: 1280.5 and 720"),
    ],
)
def test_calibrations_that_are_none(tmp_path, changes, message):
    path = calibration(tmp_path, **changes)

    with pytest.raises(InputError) as error:
        azure_kinect.load_calibration(path)

    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_calibrations_in_toml_and_with_keys_missing(tmp_path):
    path = tmp_path / "camera.toml"
    path.write_text("\n".join(f"{key} = {value}" for key, value in LENS.items()))

    found = azure_kinect.load_calibration(path)

    np.testing.assert_array_equal(
        found.camera, [[1000, 0, 640], [0, 1000, 360], [0, 0, 1]]
    )
    assert found.size is None
    path.write_text("fx = 3")
    with pytest.raises(InputError, match="has no rotation, translation, fy, cx"):
        azure_kinect.load_calibration(path)
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(InputError, match="must be a table"):
        azure_kinect.load_calibration(tmp_path / "list.json")
    with pytest.raises(InputError, match="expected a JSON file"):
        azure_kinect.load_calibration(tmp_path / "none.json")


def test_a_calibration_of_another_mode_is_refused(tmp_path):
    clip(tmp_path / "walk.avi", 1)
    path = write(tmp_path, frame(0, body()))

    only(path, calibration=calibration(tmp_path, width=64, height=48))

    with pytest.raises(InputError, match=r"pictures of 64 x 48.*Received: 1280 x 720"):
        only(path, calibration=calibration(tmp_path, width=1280, height=720))
    with pytest.raises(InputError, match="must be a video"):
        only(path, images=tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"joint_names": None},
            "the lists joint_names and frames. Received: bone_list",
        ),
        ({"frames": {}}, "the lists joint_names and frames"),
        (
            {"names": K4ABT[:-6]},
            "every joint once in joint_names. Received: 0 times HEAD",
        ),
        ({"names": [*K4ABT, "HEAD"]}, "Received: 2 times HEAD"),
    ],
    ids=["no names", "no frames", "no head", "two heads"],
)
def test_files_that_are_no_tracking(tmp_path, changes, message):
    with pytest.raises(InputError) as error:
        only(write(tmp_path, frame(0, body()), **changes))

    assert message in str(error.value)


def test_a_file_without_any_good_body_is_refused(tmp_path):
    few = body(K4ABT[:24])

    with pytest.raises(InputError, match=r"32 joint_positions .* Received: 24"):
        only(write(tmp_path, frame(0, few), frame(1, few)))
    (tmp_path / "cut.json").write_text('{"joint_names": ["PEL')
    with pytest.raises(InputError, match="must be a JSON file"):
        only(tmp_path / "cut.json")
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(InputError, match=r"joint_names and frames. Received: \[1\]"):
        only(tmp_path / "list.json")


def test_a_damaged_body_is_counted(tmp_path):
    clip(tmp_path / "walk.avi", 12)
    few = body(K4ABT[:24])
    frames = [frame(n, body()) for n in range(11)]
    path = write(tmp_path, *frames, frame(11, body(), few))

    records = list(
        azure_kinect.read(path, tmp_path / "walk.avi", calibration(tmp_path))
    )

    bad = [r for r in records if isinstance(r, BadRecord)]
    assert ("walk/000011", "damaged_line") in [(r.id, r.reason) for r in bad]
