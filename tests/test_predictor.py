import cv2
import numpy as np
import pytest

import kpose
from kpose import images
from kpose.detection import Detection
from kpose.errors import InputError
from kpose.geometry import Box, SquareCrop
from kpose.joints import BODY_13, COCO_17, Skeleton
from kpose.predictor import Person, Predictor
from kpose.runtime import Runtime
from kpose.sources import Picture

SIZE = 224
DOTS = Skeleton(("red", "green", "blue"), (("red", "green"), ("green", "blue")))
CARD = {"skeleton": DOTS.to_json(), "size": SIZE}
AT = np.array([[60.25, 50.5], [81.5, 95.75], [101.0, 70.0]])
BOX = Box(40, 30, 120, 110)


def find_dots(crops, floor=0):
    """A network that knows the answer: the centre of mass of each colour."""
    light = (crops.astype(np.float64) - floor).clip(0).transpose(0, 3, 1, 2)
    mass = light.sum(axis=(2, 3))
    centres = (np.arange(SIZE) + 0.5) / SIZE
    x = (light.sum(axis=2) * centres).sum(axis=2) / mass
    y = (light.sum(axis=3) * centres).sum(axis=2) / mass
    return {
        "keypoints": np.stack([x, y], axis=-1).astype(np.float32),
        "confidence": np.full(mass.shape, 0.75, np.float32),
    }


def draw(points=AT, shape=(160, 200)):
    """A picture with a soft dot of each colour, centred on the point."""
    ys, xs = np.mgrid[: shape[0], : shape[1]]
    layers = [
        255 * np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * 3**2)) for x, y in points
    ]
    return np.rint(np.stack(layers, axis=-1)).astype(np.uint8)


@pytest.fixture(params=[False, True], ids=["plain", "flip"])
def predictor(request):
    return Predictor(Runtime(find_dots, CARD, "keras"), flip_test=request.param)


def test_joints_are_found_where_they_are_in_the_image(predictor):
    (person,) = predictor.predict_image(draw(), [BOX])

    np.testing.assert_allclose(person.keypoints[:, :2], AT, atol=0.05)
    np.testing.assert_allclose(person.keypoints[:, 2], 0.75)
    assert person.box == BOX
    assert (person.status, person.score, person.track_id) == ("ok", None, None)


@pytest.mark.parametrize(
    "box",
    [
        Box(43.7, 28.2, 131.4, 119.9),
        Box(-20, 0, 190, 140),
        Box(50, 35, 115, 105),
        Box(-400, -300, 500, 450),
    ],
    ids=["fraction", "out of the image", "small", "reduced first"],
)
def test_any_box_around_the_person_gives_the_same_joints(predictor, box):
    (person,) = predictor.predict_image(draw(), [box])

    np.testing.assert_allclose(person.keypoints[:, :2], AT, atol=0.1)


def test_picture_and_box_shifted_together_shift_the_joints_by_exactly_that(predictor):
    (before,) = predictor.predict_image(draw(), [BOX])
    shifted = np.zeros((160, 200, 3), np.uint8)
    shifted[9:, 17:] = draw()[:-9, :-17]

    (after,) = predictor.predict_image(shifted, [Box(57, 39, 137, 119)])

    np.testing.assert_allclose(
        after.keypoints[:, :2] - before.keypoints[:, :2], [[17, 9]] * 3, atol=1e-9
    )


def test_crop_units_come_back_by_the_inverse_of_the_crop():
    answer = np.array([[[0.0, 0.0], [1.0, 0.5], [-0.1, 1.2]]], np.float32)
    model = Runtime(lambda crops: {"keypoints": answer}, CARD, "keras")

    (person,) = Predictor(model, flip_test=False).predict_image(
        np.zeros((100, 100, 3), np.uint8), [Box(10, 20, 50, 40)]
    )

    # The square is 40 wide around (30, 30): x0 = 10, y0 = 10; centres at integers.
    expected = [[9.5, 9.5], [49.5, 29.5], [5.5, 57.5]]
    np.testing.assert_allclose(person.keypoints[:, :2], expected, atol=1e-5)
    assert np.isnan(person.keypoints[:, 2]).all()


def test_network_sees_the_crop_of_the_geometry():
    seen = []
    model = Runtime(lambda crops: seen.append(crops) or find_dots(crops), CARD, "keras")

    Predictor(model, flip_test=False).predict_image(draw(), [BOX])

    np.testing.assert_array_equal(
        seen[0], images.crop(draw(), SquareCrop.around(BOX), SIZE)[None]
    )


def test_whole_picture_is_the_default(predictor):
    (person,) = predictor.predict_image(draw())

    assert person.box == Box(0, 0, 200, 160)
    np.testing.assert_allclose(person.keypoints[:, :2], AT, atol=0.05)


def test_people_come_in_the_order_of_their_boxes(predictor):
    image = draw(shape=(160, 420))
    image[:, 220:] = draw(AT + [[0, 20]] * 3)[:, :200]
    far = Box(260, 50, 340, 130)

    first, second = predictor.predict_image(image, [far, BOX])

    np.testing.assert_allclose(first.keypoints[:, :2], AT + [[220, 20]] * 3, atol=0.05)
    np.testing.assert_allclose(second.keypoints[:, :2], AT, atol=0.05)
    assert predictor.predict_image(image, []) == []


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (Box(200, 0, 260, 60), "must cover some of the 200 x 160 pixels"),
        (Box(0, -60, 60, 0), "must cover some"),
        (Box(50, 50, 50, 90), "x0 < x1"),
        (Box(50, 50, 40, 90), "x0 < x1"),
        (Box(0, 0, float("nan"), 90), "finite"),
    ],
)
def test_box_that_shows_nobody_is_refused(predictor, box, message):
    with pytest.raises(InputError, match=message):
        predictor.predict_image(draw(), [box])


@pytest.mark.parametrize(
    "image",
    [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3)), np.zeros((9, 9, 4), np.uint8)],
)
def test_other_arrays_are_refused(predictor, image):
    with pytest.raises(InputError, match="RGB uint8 of shape"):
        predictor.predict_image(image)


def write_png(path, image):
    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


class TestPredict:
    def test_array(self, predictor):
        (person,) = predictor.predict(draw())

        np.testing.assert_allclose(person.keypoints[:, :2], AT, atol=0.05)

    def test_folder_in_order_of_names_with_an_unreadable_picture(
        self, predictor, tmp_path
    ):
        write_png(tmp_path / "c.PNG", draw())
        write_png(tmp_path / "a.png", draw(AT + 5))
        (tmp_path / "b.jpg").write_bytes(b"no picture")
        (tmp_path / "labels.txt").write_text("not read")

        a, b, c = predictor.predict(str(tmp_path))

        assert [p.status for p in (a, b, c)] == ["ok", "unreadable", "ok"]
        np.testing.assert_allclose(a.keypoints[:, :2], AT + 5, atol=0.05)
        np.testing.assert_allclose(c.keypoints[:, :2], AT, atol=0.05)
        assert c.source == str(tmp_path / "c.PNG")
        assert b.box is None and np.isnan(b.keypoints).all()
        assert "must be a picture" in b.problem

    def test_box_outside_one_of_the_pictures(self, predictor, tmp_path):
        write_png(tmp_path / "a.png", draw())
        write_png(tmp_path / "b.png", np.zeros((20, 20, 3), np.uint8))

        a, b = predictor.predict(tmp_path, [BOX])

        assert (a.status, b.status) == ("ok", "box_outside")
        assert b.box == BOX and np.isnan(b.keypoints).all()
        assert b.problem == "the picture has 20 x 20 pixels"

    def test_boxes_inside_and_outside_keep_their_order(self, predictor, tmp_path):
        write_png(tmp_path / "a.png", draw())
        outside = Box(500, 500, 600, 600)

        people = list(predictor.predict(tmp_path / "a.png", [outside, BOX]))

        assert [person.status for person in people] == ["box_outside", "ok"]
        assert [person.box for person in people] == [outside, BOX]

    def test_video_frames_have_their_number_and_time(self, tmp_path):
        # The codec leaves a little of each colour everywhere.
        model = Runtime(lambda x: find_dots(x, 40), CARD, "keras")
        predictor = Predictor(model, smooth=False)
        path = tmp_path / "clip.avi"
        video = cv2.VideoWriter(
            str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (200, 160)
        )
        assert video.isOpened()
        for step in range(3):
            video.write(draw(AT + 4 * step)[..., ::-1])
        video.release()

        people = list(predictor.predict(path))

        assert [person.frame for person in people] == [0, 1, 2]
        assert [person.time_ms for person in people] == [0, 100, 200]
        assert [person.track_id for person in people] == [1, 1, 1]
        for step, person in enumerate(people):
            found = person.keypoints[:, :2]
            np.testing.assert_allclose(found, AT + 4 * step, atol=1)

    def test_missing_and_empty(self, predictor, tmp_path):
        with pytest.raises(
            InputError, match=r"expected a picture.*there is no .*x\.jpg"
        ):
            list(predictor.predict(tmp_path / "x.jpg"))
        with pytest.raises(InputError, match="must be a folder with pictures"):
            list(predictor.predict(tmp_path))


class Boxes:
    """A detector that answers what it was made with."""

    name, identity, threshold, given = "boxes", "boxes", 0.5, False

    def __init__(self, *found):
        self.found = list(found)

    def detect(self, image, picture="", frame=0):
        return self.found


class TestDetector:
    def locate(self, *found, **options):
        model = Runtime(find_dots, CARD, "keras")
        predictor = Predictor(model, Boxes(*found), **options)
        return predictor.locate(draw(), least=predictor.min_score)

    def test_people_are_where_the_detector_says_best_first(self):
        model = Runtime(find_dots, CARD, "keras")
        wide = Box(-20, 0, 190, 140)
        detector = Boxes(Detection(BOX, 0.9), Detection(wide, 0.6))

        (person,) = Predictor(model, detector).predict_image(draw())

        # Both boxes are around one person: the better stays.
        assert person.box == BOX and person.score == 0.9
        np.testing.assert_allclose(person.keypoints[:, :2], AT, atol=0.05)

    def test_scores_below_the_least_do_not_count(self):
        far = Box(150, 30, 190, 110)
        strong, weak = Detection(BOX, 0.5), Detection(far, 0.499)

        assert self.locate(strong, weak) == [strong]
        assert self.locate(strong, weak, min_score=0.4) == [strong, weak]

    def test_boxes_that_overlap_by_more_than_a_half_are_one_person(self):
        """Widths 80 and 40 in the same 80 x 80: IoU 0.5 stays, more does not."""
        half = Detection(Box(40, 30, 80, 110), 0.8)
        more = Detection(Box(40, 30, 81, 110), 0.8)

        assert len(self.locate(Detection(BOX, 0.9), half)) == 2
        assert len(self.locate(Detection(BOX, 0.9), more)) == 1

    def test_boxes_without_a_score_all_count(self):
        twice = [Detection(BOX, None), Detection(BOX, None)]

        assert self.locate(*twice) == twice

    def test_boxes_outside_the_picture_and_slivers_are_nobody(self):
        outside = Detection(Box(200, 0, 260, 60), 0.9)
        sliver = Detection(Box(10, 10, 11.5, 11.5), 0.9)

        assert self.locate(outside, sliver) == []

    def test_a_picture_without_people_has_one_row_that_says_so(self):
        predictor = Predictor(Runtime(find_dots, CARD, "keras"), Boxes())
        assert predictor.predict_image(draw()) == []

        (row,) = predictor.predict_picture(Picture("a.jpg", 0, None, draw()))

        assert (row.status, row.box, row.score) == ("no_person", None, None)
        assert row.to_json()["keypoints"] == {"red": None, "green": None, "blue": None}


class TestPerson:
    def test_an_unknown_joint_is_zero_in_coco_which_has_no_nan(self):
        keypoints = np.full((13, 3), 0.5)
        keypoints[BODY_13.names.index("left_wrist")] = np.nan
        person = Person(keypoints, BODY_13, Box(0, 0, 2, 2))

        points = np.reshape(person.to_coco()["keypoints"], (17, 3))

        assert points[COCO_17.names.index("left_wrist")].tolist() == [0, 0, 0]
        assert points[COCO_17.names.index("left_elbow")].tolist() == [0.5, 0.5, 0.5]

    def test_json_row(self):
        keypoints = np.array([[1.23456, -2, 0.987654], [3, 4, np.nan], [np.nan] * 3])
        box = Box(0.12345, 1, 2, 3)
        person = Person(keypoints, DOTS, box, None, "a.mp4", 7, 233.33333, None)

        assert person.to_json() == {
            "source": "a.mp4",
            "frame": 7,
            "time_ms": 233.333,
            "status": "ok",
            "track_id": None,
            "box": [0.123, 1, 2, 3],
            "score": None,
            "keypoints": {"red": [1.235, -2.0, 0.9877], "green": [3, 4, None]}
            | {"blue": None},
        }

    def test_coco_has_17_keypoints_in_its_own_order(self):
        keypoints = np.stack(
            [np.arange(13), np.arange(13) * 10, np.arange(13) / 20], axis=1
        )
        person = Person(keypoints, BODY_13, Box(1, 2, 11, 32))

        row = person.to_coco(image_id=42)

        assert row["image_id"] == 42 and row["category_id"] == 1
        assert row["bbox"] == [1, 2, 10, 30]
        assert len(row["keypoints"]) == 51
        assert row["keypoints"][:15] == [0] * 15  # nose, eyes, ears
        assert row["keypoints"][15:18] == [4, 40, 0.2]  # left shoulder
        assert row["keypoints"][18:21] == [1, 10, 0.05]  # right shoulder
        assert row["keypoints"][48:] == [9, 90, 0.45]  # right ankle
        assert row["score"] == pytest.approx(0.3)

    def test_coco_without_confidence(self):
        keypoints = np.full((13, 3), np.nan)
        keypoints[:, :2] = 5

        row = Person(keypoints, BODY_13, Box(0, 0, 9, 9), score=0.25).to_coco()

        assert row["keypoints"][-3:] == [5, 5, 1]
        assert row["score"] == 0.25

    def test_nobody_is_no_coco_row(self):
        nobody = Person(np.full((3, 3), np.nan), DOTS, None, status="unreadable")

        with pytest.raises(InputError, match="no joints to write as COCO: unreadable"):
            nobody.to_coco()


def test_load_opens_a_model_by_path(tmp_path):
    with pytest.raises(InputError, match="nothing-there"):
        kpose.load(tmp_path / "nothing-there")
