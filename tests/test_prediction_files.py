import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from kpose import prediction_files, sources, video
from kpose.errors import InputError
from kpose.geometry import Box
from kpose.joints import Skeleton
from kpose.predictor import NOBODY, OK, UNREADABLE, Person
from kpose.sources import Picture

ARM = Skeleton(names=("elbow", "wrist"), limbs=(("elbow", "wrist"),))
NAN = [[np.nan] * 3] * 2
GREY = np.full((48, 64, 3), 90, np.uint8)


class Card:
    def __init__(self):
        self.card = {"sha256": "ab"}


class Fake:
    """Gives the people that a script says: a list for each picture."""

    skeleton, model, detector = ARM, Card(), None

    def __init__(self, script):
        self.script = list(script)

    def predict_pictures(self, pictures, stream, boxes=None):
        for picture in pictures:
            people = self.script.pop(0)
            if isinstance(people, Exception):
                raise people
            rows = [
                Person(
                    np.array(points, float),
                    ARM,
                    box and Box(*box),
                    score,
                    picture.source,
                    picture.frame,
                    picture.time_ms,
                    id,
                    status,
                    picture.problem,
                )
                for status, points, box, score, id in people
            ]
            yield picture, rows


def somebody(id=None, score=0.5, x=10.0):
    return (OK, [[x, 20.25, 0.875], [x + 5, np.nan, 0.5]], (4, 8, 40, 44), score, id)


EMPTY = (NOBODY, NAN, None, None, None)
BROKEN = (UNREADABLE, NAN, None, None, None)


@pytest.fixture
def clip(monkeypatch):
    """Make ``sources`` read a video of pictures made here."""

    def make(images, name="clip.mp4"):
        def pictures(source, max_pixels):
            for frame, image in enumerate(images):
                problem = "cannot be decoded" if image is None else ""
                yield Picture(str(source), frame, 40.0 * frame, image, problem)

        monkeypatch.setattr(sources, "pictures", pictures)
        monkeypatch.setattr(video, "rate", lambda source: 25.0)
        return Path(name)

    return make


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def read_frames(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (answer := capture.read())[0]:
        frames.append(answer[1])
    return frames


def test_every_frame_has_a_row_and_is_counted(clip, tmp_path):
    source = clip([GREY, None, GREY, None, GREY])
    people = [
        [somebody(1), somebody(2)],
        [BROKEN],
        [EMPTY],
        [BROKEN],
        [somebody(2), somebody(3)],
    ]
    told = []

    summary = prediction_files.write_folder(
        Fake(people), [source], tmp_path / "out", report=told.append
    )

    assert summary == {
        "pictures": 5,
        "decoded": 3,
        "persons": 4,
        "tracks": 3,
        "without_people": 1,
        "skipped": {"unreadable": 2},
        "failed": [],
        "interrupted": False,
        "out": str(tmp_path / "out"),
    }
    # Once, not per frame.
    assert told == ["clip.mp4, frame 1: unreadable: cannot be decoded"]
    assert [
        (row["frame"], row["time_ms"], row["status"], row["track_id"])
        for row in rows(tmp_path / "out" / "keypoints.jsonl")
    ] == [
        (0, 0, "ok", 1),
        (0, 0, "ok", 2),
        (1, 40, "unreadable", None),
        (2, 80, "no_person", None),
        (3, 120, "unreadable", None),
        (4, 160, "ok", 2),
        (4, 160, "ok", 3),
    ]


def test_the_table_has_empty_cells_for_what_is_unknown(clip, tmp_path):
    source = clip([GREY, GREY], 'a "b", c.mp4')
    script = [[somebody(7)], [EMPTY]]

    prediction_files.write_folder(
        Fake(script), [source], tmp_path / "out", save=["csv"]
    )

    assert (tmp_path / "out" / "keypoints.csv").read_text() == (
        "source,frame,time_ms,status,track_id,x0,y0,x1,y1,score,"
        "elbow_x,elbow_y,elbow_confidence,wrist_x,wrist_y,wrist_confidence\n"
        '"a ""b"", c.mp4",0,0.0,ok,7,4,8,40,44,0.5,10.0,20.25,0.875,,,\n'
        '"a ""b"", c.mp4",1,40.0,no_person,,,,,,,,,,,,\n'
    )


def write_pictures(folder, *names):
    folder.mkdir(exist_ok=True)
    paths = [folder / name for name in names]
    for path in paths:
        cv2.imwrite(str(path), GREY)
    return paths


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (("000000000139.jpg", "000000000285.png"), [139, 285]),
        (("139.jpg", "b.jpg"), [1, 2]),
        (("7.jpg", "007.jpg"), [1, 2]),
    ],
    ids=["numbers", "a name", "the same number"],
)
def test_coco_files_number_the_pictures(tmp_path, names, ids):
    script = [[EMPTY], [(OK, [[1, 2, 0.5], [3, 4, 1]], (4, 8, 40, 44), 0.5, None)]]

    prediction_files.write_folder(
        Fake(script),
        write_pictures(tmp_path / "in", *names),
        tmp_path / "out",
        save=["coco"],
    )

    images = json.loads((tmp_path / "out" / "coco_images.json").read_text())
    assert images == [
        {"id": id, "file_name": str(tmp_path / "in" / name), "frame": 0}
        for id, name in zip(ids, names, strict=True)
    ]
    (result,) = json.loads((tmp_path / "out" / "coco_results.json").read_text())
    assert result["image_id"] == ids[1] and result["category_id"] == 1
    assert result["bbox"] == [4, 8, 36, 36] and result["score"] == 0.5
    assert len(result["keypoints"]) == 51


def test_frames_of_a_video_with_a_number_for_a_name_are_counted(clip, tmp_path):
    source = clip([GREY, GREY], "7.mp4")

    prediction_files.write_folder(
        Fake([[EMPTY], [EMPTY]]), [source], tmp_path / "out", save=["coco"]
    )

    images = json.loads((tmp_path / "out" / "coco_images.json").read_text())
    assert [(row["id"], row["frame"]) for row in images] == [(1, 0), (2, 1)]
    assert json.loads((tmp_path / "out" / "coco_results.json").read_text()) == []


def test_what_a_killed_job_leaves_is_whole_after_each_frame(clip, tmp_path):
    """Looks at the files from within: a kill would leave them so."""
    source, out = clip([GREY] * 3), tmp_path / "out"
    person = (OK, [[1, 2, 0.5], [3, 4, 1]], (4, 8, 40, 44), 0.5, 1)
    seen = []

    def watch(picture, people):
        table = (out / "keypoints.csv").read_text()
        assert table.endswith("\n")
        seen.append(
            (
                len(rows(out / "keypoints.jsonl")),
                len(table.splitlines()) - 1,
                len(json.loads((out / "coco_results.json").read_text())),
                len(json.loads((out / "coco_images.json").read_text())),
            )
        )
        assert not (out / "clip.mp4").exists() and not (out / "predict.json").exists()
        return True

    prediction_files.write_folder(
        Fake([[person]] * 3),
        [source],
        out,
        save=["jsonl", "csv", "coco", "overlay"],
        watch=watch,
    )

    assert seen == [(n, n, n, n) for n in (1, 2, 3)]
    assert (out / "clip.mp4").exists() and (out / "predict.json").exists()
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_unreadable_frame_repeats_the_one_before_in_the_overlay(clip, tmp_path):
    white = np.full_like(GREY, 255)
    source = clip([None, white, None, GREY])

    prediction_files.write_folder(
        Fake([[BROKEN], [EMPTY], [BROKEN], [EMPTY]]), [source], tmp_path / "out"
    )

    frames = read_frames(tmp_path / "out" / "clip.mp4")
    # Black before the first good one: every frame keeps its place.
    assert [round(float(f.mean()), -1) for f in frames] == [0, 250, 250, 90]


def test_overlay_names_everybody(clip, tmp_path):
    source = clip([GREY])
    script = [[somebody(3, 0.5)]]
    out = tmp_path / "out"

    prediction_files.write_folder(Fake(script), [source], out)

    drawn = prediction_files.overlay(
        GREY, [Person(np.array(NAN), ARM, Box(4, 40, 40, 60), 0.5, track_id=3)]
    )
    only_score = prediction_files.overlay(
        GREY, [Person(np.array(NAN), ARM, Box(4, 40, 40, 60), 0.5)]
    )
    bare = prediction_files.overlay(
        GREY, [Person(np.array(NAN), ARM, Box(4, 40, 40, 60))]
    )
    black = [
        int((image == 0).all(axis=-1).sum()) for image in (drawn, only_score, bare)
    ]
    assert black[0] > black[1] > black[2] == 0
    assert len(read_frames(out / "clip.mp4")) == 1


def test_stopping_finishes_the_files(clip, tmp_path):
    source, out = clip([GREY] * 9), tmp_path / "out"

    summary = prediction_files.write_folder(
        Fake([[EMPTY]] * 9),
        [source, Path("later.mp4")],
        out,
        watch=lambda picture, people: picture.frame < 2,
    )

    assert summary["interrupted"] and summary["pictures"] == 3
    assert len(read_frames(out / "clip.mp4")) == 3
    assert json.loads((out / "predict.json").read_text())["summary"] == summary


def test_error_leaves_the_rows_and_no_half_overlay(clip, tmp_path):
    source, out = clip([GREY] * 3), tmp_path / "out"

    with pytest.raises(MemoryError):
        prediction_files.write_folder(
            Fake([[EMPTY], [EMPTY], MemoryError()]), [source], out
        )

    assert [path.name for path in out.iterdir()] == ["keypoints.jsonl"]
    assert len(rows(out / "keypoints.jsonl")) == 2


def test_source_that_fails_is_told_and_the_next_is_done(clip, tmp_path):
    source = clip([GREY])
    told = []

    summary = prediction_files.write_folder(
        Fake([InputError("first.mp4 has no frame"), [somebody(1)]]),
        [Path("first.mp4"), source],
        tmp_path / "out",
        report=told.append,
    )

    assert told == summary["failed"] == ["first.mp4 has no frame"]
    assert summary["persons"] == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "clip.mp4",
        "keypoints.jsonl",
        "predict.json",
    ]


@pytest.mark.parametrize("there", [True, False], ids=["empty before", "new"])
def test_nothing_decoded_leaves_the_disk_as_it_was(clip, tmp_path, there):
    source, out = clip([None, None]), tmp_path / "runs" / "out"
    if there:
        out.mkdir(parents=True)

    summary = prediction_files.write_folder(Fake([[BROKEN]] * 2), [source], out)

    assert summary["out"] is None and summary["skipped"] == {"unreadable": 2}
    assert out.exists() == there
    assert (tmp_path / "runs").exists() == there
    assert not there or list(out.iterdir()) == []


def test_overlay_that_cannot_be_written_ends_the_job(clip, tmp_path, monkeypatch):
    """It is no fault of the source, so the next one would fail as well."""
    source = clip([GREY])

    class Closed:
        def __init__(self, *arguments):
            pass

        def isOpened(self):
            return False

        def release(self):
            pass

    monkeypatch.setattr(cv2, "VideoWriter", Closed)
    Closed.fourcc = staticmethod(lambda *letters: 0)

    with pytest.raises(InputError, match="mp4v"):
        prediction_files.write_folder(Fake([[EMPTY]]), [source], tmp_path / "out")


def test_wrong_kind_is_refused(tmp_path):
    with pytest.raises(InputError, match="some of jsonl, csv, coco, overlay"):
        prediction_files.write_folder(Fake([]), [], tmp_path / "out", save=["h5"])


def test_lines_go_to_a_stream_as_they_come(clip):
    source, stream = clip([GREY] * 2), io.StringIO()
    seen = []

    def watch(picture, people):
        seen.append(len(stream.getvalue().splitlines()))
        return True

    prediction_files.write_lines(
        Fake([[somebody(1)], [somebody(1)]]), [source], stream, watch=watch
    )

    assert seen == [1, 2]
