"""The label doctor, on drawn people and a network that sees their dots."""

import csv
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from kpose import images, label_doctor, label_rules, mistakes, runtime
from kpose.errors import InputError
from kpose.geometry import Box
from kpose.joints import BODY_13, COCO_17
from kpose.records import BadRecord, ImageRef, PersonRecord
from kpose.runtime import Prediction
from kpose.screening import Source
from kpose_datasets import correction_files, corrections

WRIST, ELBOW = (BODY_13.names.index(f"left_{name}") for name in ("wrist", "elbow"))

SWAP = list(BODY_13.swap)

POSE = np.array(
    "80 20  65 40  52 60  45 84  95 40  108 60  115 84 "
    " 70 88  68 118  66 146  90 88  92 118  94 146".split(),
    np.float64,
).reshape(13, 2)
"""Someone who faces the camera in a picture of 160 x 160 pixels."""


class Dots:
    """Sees the colour of each joint's dot, and by the ground's red what is mirrored."""

    skeleton = BODY_13
    size = 96
    flip_curve = None

    def __init__(self, error=0.0):
        self.card = {"training": {"data": [{"source": "drawn"}]}}
        self.error = error

    def predict(self, crops):
        places = np.full((len(crops), 13, 2), 0.5, np.float32)
        for number, crop in enumerate(crops.astype(int)):
            red, green, blue = np.moveaxis(crop, -1, 0)
            ground = np.where((green == 0) & (blue == 0), red, 0)
            columns = np.flatnonzero(ground.any(axis=0))
            if not len(columns):
                continue
            mirrored = ground[:, columns[0]].max() > ground[:, columns[-1]].max()
            for joint in range(13):
                seen = (blue > 235) & (np.abs(green - (20 + 18 * joint)) < 6)
                if seen.any():
                    y, x = np.argwhere(seen).mean(axis=0)
                    at = SWAP[joint] if mirrored else joint
                    places[number, at] = (x + 0.5) / 96, (y + 0.5) / 96
        return Prediction(places, np.full((len(crops), 13), 0.8, np.float32))


def draw(joints, size=160):
    image = np.zeros((size, size, 3), np.uint8)
    image[..., 0] = np.linspace(10, 200, size).astype(np.uint8)
    for joint, (x, y) in enumerate(np.rint(joints[:, :2]).astype(int).tolist()):
        color = (0, 20 + 18 * joint, 255)
        cv2.rectangle(image, (x - 3, y - 3), (x + 3, y + 3), color, -1)
    return image


def people(folder, count, split="train", seed=0):
    """Drawn people whose labels are right."""
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(seed)
    records = []
    for number in range(count):
        joints = np.ones((13, 3), np.float32)
        joints[:, :2] = POSE + generator.integers(-2, 3, (13, 2))
        joints[:, :2] += generator.integers(-5, 6, 2)
        path = folder / f"{split}{number:03}.png"
        data = images.encode(draw(joints), "png", 0)
        path.write_bytes(data)
        shown = np.ones(13, np.int8)
        records.append(
            PersonRecord(path.stem, ImageRef(path), joints, shown, "drawn", "g", split)
        )
    return records


def with_joints(record, joints, **more):
    return replace(record, joints=np.asarray(joints, np.float32), **more)


def moved(record, joint, step):
    joints = record.joints.copy()
    joints[joint, :2] += step
    return with_joints(record, joints)


def run(records, out, **more):
    arguments = {"models": [Dots()], "budget": 0.1} | more
    return label_doctor.examine([Source("drawn", records, "none")], out, **arguments)


@pytest.fixture
def mixed(tmp_path):
    """40 persons, some of them wrong: [4] swapped, [9] with a moved wrist."""
    records = people(tmp_path / "pictures", 40)
    records[4] = with_joints(records[4], records[4].joints[SWAP])
    records[9] = moved(records[9], WRIST, (-30, 25))
    return records


def test_a_swap_and_a_moved_joint_come_first_with_reasons(mixed, tmp_path):
    result = run(mixed, tmp_path / "out")

    swap, joint = result["suspects"][:2]
    if swap["kind"] != "swap":
        swap, joint = joint, swap
    assert (swap["id"], swap["kind"]) == ("train004", "swap")
    assert swap["reason"] == "left and right look swapped"
    assert (joint["id"], joint["kind"]) == ("train009", "joint")
    assert joint["joints"][0] == "left_wrist"
    # 39 pixels; from right shoulder to left hip it is 54.
    assert joint["reason"].startswith("left_wrist is 0.")
    assert "torso lengths from where the network sees it" in joint["reason"]
    assert result["judged"] == 4 == round(0.1 * 40)
    assert not result["learned"] and "too few" in result["how"]
    scores = [suspect["score"] for suspect in result["suspects"][:4]]
    assert scores == sorted(scores, reverse=True) and scores[1] > 3 * scores[2]


def test_swapped_legs_are_called_so(mixed, tmp_path):
    joints = mixed[20].joints.copy()
    legs = [at for at, name in enumerate(BODY_13.names) if at >= 7]
    joints[legs] = joints[[SWAP[at] for at in legs]]
    mixed[20] = with_joints(mixed[20], joints)

    result = run(mixed, tmp_path / "out")

    by_id = {suspect["id"]: suspect for suspect in result["suspects"]}
    found = by_id["train020"]
    assert found["reason"] == "left and right look swapped (legs)"
    assert found["joints"] == tuple(BODY_13.names[at] for at in legs)


def test_what_is_in_the_folder(mixed, tmp_path):
    out = tmp_path / "out"

    result = run(mixed, out, write_tools=correction_files.write)

    names = (
        "cvat_labels.json doctor.json label_studio_config.xml suspects.csv "
        "suspects.json suspects.xml worst.png"
    ).split()
    assert sorted(path.name for path in out.iterdir()) == names
    summary = json.loads((out / "doctor.json").read_text())
    assert summary == {k: v for k, v in result.items() if k != "suspects"}
    assert summary["picture_folder"] == str(tmp_path / "pictures")
    assert summary["persons"] == 40 and summary["models"] == ["Dots"]
    assert "Dots was trained on labels of drawn" in summary["warnings"][0]
    with (out / "suspects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [one["id"] for one in result["suspects"]]
    assert float(rows[0]["score"]) == pytest.approx(
        result["suspects"][0]["score"], abs=1e-4
    )
    assert {f"{name}_wrong" for name in BODY_13.names} < set(rows[0])
    sheet = images.decode((out / "worst.png").read_bytes())
    assert sheet.shape[1] > 4 * 320


def test_corrections_read_back_what_was_written(mixed, tmp_path):
    mixed[9].joints[3] = 0
    out = tmp_path / "out"
    result = run(mixed, out, write_tools=correction_files.write)
    by_id = {record.id: record for record in mixed}

    for name in ("suspects.json", "suspects.xml"):
        read = corrections.read(out / name)

        assert len(read) == len(result["suspects"])
        for (source, person), correction in read.items():
            assert source == "drawn"
            np.testing.assert_array_equal(correction.joints, by_id[person].joints)


def test_a_frame_of_a_video_and_a_mirrored_picture_are_saved(
    tmp_path, variable_rate_clip
):
    records = people(tmp_path / "pictures", 20)
    frames = [draw(record.joints) for record in records[:3]]
    clip = tmp_path / "pictures" / "clip.mp4"
    variable_rate_clip(clip, frames, [0, 40, 80])
    records[1] = with_joints(
        records[1], records[1].joints[SWAP], image=ImageRef(clip, frame=1)
    )
    mirror = tmp_path / "pictures" / "mirror.png"
    mirror.write_bytes(images.encode(frames[2][:, ::-1], "png", 0))
    records[2] = replace(
        moved(records[2], WRIST, (-30, 25)), image=ImageRef(mirror, mirrored=True)
    )
    out = tmp_path / "out"

    run(records, out, budget=0.2, write_tools=correction_files.write)

    summary = json.loads((out / "doctor.json").read_text())
    assert summary["picture_folder"] == str(out / "frames")
    tasks = json.loads((out / "suspects.json").read_text())
    pictures = {
        task["data"]["kpose_id"]: out / "frames" / task["data"]["image"].split("?d=")[1]
        for task in tasks
    }
    # The others too: a tool serves one folder.
    assert len(pictures) == len(list((out / "frames").iterdir())) == 4
    frame, turned = (
        images.decode(pictures[name].read_bytes()) for name in ("train001", "train002")
    )
    np.testing.assert_array_equal(frame, images.read(ImageRef(clip, frame=1)))
    np.testing.assert_array_equal(turned, frames[2])
    (other, *_) = (r for r in records if r.id in pictures and r.image.frame is None
                   and not r.image.mirrored)  # fmt: skip
    assert pictures[other.id].read_bytes() == other.image.path.read_bytes()
    read = corrections.read(out / "suspects.json")
    np.testing.assert_array_equal(read["drawn", "train001"].joints, records[1].joints)


def test_rules_find_what_needs_no_network(tmp_path):
    records = people(tmp_path / "pictures", 40)
    box = Box(40, 10, 125, 155)
    records[3] = replace(records[3], box=Box(40, 10, 84, 155))
    records[5] = replace(records[5], box=box)
    again = with_joints(records[7], records[7].joints + np.float32([1, 1, 0]), id="b")
    copied = with_joints(records[12], records[8].joints)
    records[12] = copied
    records.insert(8, again)

    result = run(records, tmp_path / "out", budget=0.025)

    kinds = {one["id"]: one for one in result["suspects"]}
    assert kinds["train003"]["kind"] == "outside_box"
    assert "left_wrist" in kinds["train003"]["joints"]
    twice = [one for one in result["suspects"] if "drawn train007" in one["reason"]]
    assert [one["id"] for one in twice] == ["b"]
    assert "labelled twice" in twice[0]["reason"]
    same = kinds["train012"]["reason"]
    assert "exactly the joints of drawn train008 in another picture" in same
    assert "train005" not in kinds and result["judged"] == 1


def test_a_limb_is_long_only_against_the_set():
    generator = np.random.default_rng(0)
    joints = np.ones((60, 13, 3))
    joints[..., :2] = POSE + generator.normal(0, 2, (60, 13, 2))
    joints[30:, :, :2] *= 5  # the same people from near by
    # left_elbow to left_wrist: (7, 24), 25 pixels; here 3 times that.
    joints[6, WRIST, :2] = joints[6, ELBOW, :2] + np.array([21, 72])
    joints[7, 4:] = 0

    found = list(label_rules.long_limbs(joints, BODY_13))

    assert [one.person for one in found] == [6]
    assert found[0].joints == (ELBOW, WRIST)
    assert found[0].reason in {
        f"left_elbow to left_wrist is {ratio:.1f} x as long as usual"
        for ratio in np.arange(2.7, 3.35, 0.1)
    }


def test_pictures_in_two_splits_are_found(tmp_path):
    generator = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    records = people(folder, 12) + people(folder, 3, "val", seed=1)
    for record in records:
        coarse = generator.integers(30, 256, (12, 12, 3), np.uint8)
        scene = cv2.resize(coarse, (160, 160), interpolation=cv2.INTER_CUBIC)
        record.image.path.write_bytes(images.encode(scene, "png", 0))
    data = records[2].image.path.read_bytes()
    records[13].image.path.write_bytes(data)
    records[13] = with_joints(records[13], records[2].joints + np.float32([0.5, 0, 0]))

    result = run(records, tmp_path / "out", budget=0.01)

    reasons = [one for one in result["suspects"] if "trained on" in one["reason"]]
    assert [one["id"] for one in reasons] == ["val001"]
    assert "the crop of drawn train002" in reasons[0]["reason"]


def test_what_was_not_annotated_is_not_suspected(mixed, tmp_path):
    for at in (15, 16, 17):
        mixed[at].joints[7:] = 0
    mixed[18].joints[1:] = 0
    mixed[18].joints[9] = (66, 146, 1)

    result = run(mixed, tmp_path / "out", budget=0.05)

    assert {one["id"] for one in result["suspects"][:2]} == {"train004", "train009"}


def test_learned_verdicts_are_the_same_again(tmp_path, monkeypatch):
    monkeypatch.setattr(mistakes, "FEWEST", 60)
    monkeypatch.setattr(mistakes, "PLANTED", 1500)
    monkeypatch.setattr(mistakes, "FOLDS", 2)
    records = people(tmp_path / "pictures", 60)
    records[4] = with_joints(records[4], records[4].joints[SWAP])
    done = []

    first, second = (
        run(records, tmp_path / name, budget=0.05, progress=done.append)
        for name in ("one", "two")
    )

    assert first["learned"] and "planted" in first["how"]
    assert first["suspects"][0]["id"] == "train004"
    ids = [[one["id"] for one in result["suspects"]] for result in (first, second)]
    assert ids[0] == ids[1]
    assert sum(done) == 2 * 60


def test_bad_records_are_counted_and_the_rest_goes_on(mixed, tmp_path):
    mixed[0].image.path.write_bytes(b"no picture")
    mixed[1] = replace(mixed[1], image=ImageRef(tmp_path / "absent.png"))
    bad = BadRecord("x", "drawn", "wrong_point", "somewhere")
    done = []

    result = run([*mixed, bad], tmp_path / "out", progress=done.append)

    assert result["skipped"] == {
        "unreadable_image": 1,
        "missing_image": 1,
        "wrong_point": 1,
    }
    assert result["persons"] == 38 and result["labels"] == 41 == sum(done)
    with pytest.raises(InputError, match=r"strict: .*train000"):
        run(mixed, tmp_path / "strict", strict=True)
    assert not (tmp_path / "strict").exists()


def test_what_cannot_work_is_refused(mixed, tmp_path):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine.txt").write_text("mine")
    other = Dots()
    other.skeleton = COCO_17

    with pytest.raises(InputError, match="new or an empty folder"):
        run(mixed, taken)
    with pytest.raises(InputError, match=r"budget must be over 0.*Received: 0"):
        run(mixed, tmp_path / "out", budget=0)
    with pytest.raises(InputError, match="at least one model"):
        run(mixed, tmp_path / "out", models=[])
    with pytest.raises(InputError, match=r"joints of the labels.*nose"):
        run(mixed, tmp_path / "out", models=[other])
    assert (taken / "mine.txt").read_text() == "mine"


def test_turned_crops_map_back():
    joints = np.ones((13, 3), np.float32)
    joints[:, :2] = POSE
    turned = joints.copy()
    turned[:, 0], turned[:, 1] = 159 - POSE[:, 1], POSE[:, 0]  # head to the right
    image = np.ascontiguousarray(np.rot90(draw(joints), -1))
    record = PersonRecord(
        "p",
        ImageRef("p.png"),
        turned,
        np.ones(13, np.int8),
        "drawn",
        "g",
        "train",
    )
    lean = label_doctor._lean(turned, BODY_13)
    square = label_doctor.place_in(record, image.shape).square

    crop, back = label_doctor._crop(image, square, 1.3, lean, Dots.size)

    assert lean == pytest.approx(np.pi / 2, abs=0.05)
    said = runtime.predict_both(Dots(), crop[None])[0].keypoints[0]
    places = said @ back[:, :2].T + back[:, 2]
    np.testing.assert_allclose(places, square.joints_to_crop(turned)[:, :2], atol=0.02)
    # The head, x = 80 and y = 20 when upright, is on top in the turned crop.
    assert said[0, 1] < said[1:, 1].min()
