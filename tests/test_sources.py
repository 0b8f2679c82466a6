import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from kpose import images, sources, video
from kpose.camera import Camera
from kpose.errors import InputError
from kpose.sources import Picture

RED = np.full((4, 6, 3), (200, 0, 0), np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Pictures, a video of 3 frames and other files, seen from inside."""
    monkeypatch.chdir(tmp_path)
    for name in ("b.png", "a.PNG", "more/deep/c.png", "more/d.png", "7", "x[1].png"):
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(images.encode(RED, "png", 0))
    Path("notes.txt").touch()
    Path("empty").mkdir()
    Path("only.png").mkdir()
    clip("clip.avi", 3)
    return tmp_path


def clip(path, count):
    file = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for _ in range(count):
        file.write(np.zeros((48, 64, 3), np.uint8))
    file.release()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("b.png", ["b.png"]),
        ("notes.txt", ["notes.txt"]),
        (Path("clip.avi"), ["clip.avi"]),
        (".", ["a.PNG", "b.png", "x[1].png"]),
        ("more", ["more/d.png"]),
        ("*", ["a.PNG", "b.png", "clip.avi", "x[1].png"]),
        ("?.png", ["b.png"]),
        ("[ab].*", ["a.PNG", "b.png"]),
        ("more/**/*.png", ["more/d.png", "more/deep/c.png"]),
        ("**/[cd]*", ["clip.avi", "more/d.png", "more/deep/c.png"]),
        ("x[1].png", ["x[1].png"]),
        ("7", ["7"]),
    ],
)
def test_files_folders_and_patterns(folder, text, expected):
    assert sources.find([text]) == ([Path(name) for name in expected], [])


@pytest.mark.parametrize(("text", "index"), [("0", 0), ("12", 12), (Path("3"), 3)])
def test_digits_that_are_no_file_are_a_camera(folder, text, index):
    assert sources.find([text]) == ([Camera(index)], [])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("empty", "empty must be a folder with pictures (.jpg .jpeg .png .bmp .webp "
            ".tif .tiff .gif), but has none"),
        ("more/deep/none", "expected a picture, a folder of pictures, a video or a "
            "camera's number, but there is no more/deep/none"),
        ("*.txt", "*.txt must match pictures or videos, but matches none"),
        ("only*", "only* must match pictures or videos, but matches none"),
        ("-1", "expected a picture, a folder of pictures, a video or a camera's "
            "number, but there is no -1"),
        ("²", "expected a picture, a folder of pictures, a video or a camera's "
            "number, but there is no ²"),
    ],
)  # fmt: skip
def test_what_names_nothing_is_said_and_the_others_are_found(folder, text, problem):
    found, problems = sources.find(["b.png", text, "0"])

    assert found == [Path("b.png"), Camera(0)]
    assert problems == [problem]


def test_names_that_no_system_allows_name_nothing():
    found, problems = sources.find(["a" * 5000, "a\0b"])

    assert found == [] and len(problems) == 2


def test_a_folder_that_may_not_be_read(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)

    expected = ["more must be a readable folder: Permission denied"]
    assert sources.find(["more"]) == ([], expected)


def test_streams_are_videos_and_cameras():
    assert sources.is_stream(Camera(0)) and sources.is_stream(Path("a.MP4"))
    assert not sources.is_stream(Path("a.gif"))


def test_a_picture(folder):
    (picture,) = sources.pictures(Path("b.png"))

    np.testing.assert_array_equal(picture.image, RED)
    assert picture._replace(image=None) == Picture("b.png", 0, None, None, "", None)


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: None])
def test_an_unreadable_picture_is_a_picture_with_a_problem(folder, make):
    make(Path("bad.jpg"))

    (picture,) = sources.pictures(Path("bad.jpg"))

    assert (picture.source, picture.frame, picture.image) == ("bad.jpg", 0, None)
    assert picture.problem.startswith("bad.jpg must be a ")
    assert "\n" not in picture.problem


def huge(width, height):
    """A PNG that says how large it is and holds no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = b""
    for chunk in (header, b"IDAT"):
        length, check = len(chunk) - 4, zlib.crc32(chunk)
        chunks += struct.pack(">I", length) + chunk + struct.pack(">I", check)
    return b"\x89PNG\r\n\x1a\n" + chunks


def test_the_most_pixels_reach_the_decoders(folder, monkeypatch):
    Path("huge.png").write_bytes(huge(8001, 8000))
    (picture,) = sources.pictures(Path("b.png"), max_pixels=24)
    assert picture.image is not None

    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    for name, most, size in (
        ("huge.png", sources.MAX_PIXELS, "8001 x 8000"),
        ("b.png", 23, "6 x 4"),
    ):
        (picture,) = sources.pictures(Path(name), max_pixels=most)
        assert picture.image is None
        assert picture.problem == (
            f"{name} must have at most {most} pixels, but has {size}"
        )
    with pytest.raises(InputError, match=r"clip\.avi must have frames of at most 99 "):
        next(sources.pictures(Path("clip.avi"), max_pixels=99))


def test_a_video_gives_every_frame(folder):
    pictures = list(sources.pictures(Path("clip.avi")))

    assert [(p.source, p.frame, p.problem, p.captured) for p in pictures] == [
        ("clip.avi", number, "", None) for number in range(3)
    ]
    assert [p.time_ms for p in pictures] == [0, 40, 80]
    assert all(p.image.shape == (48, 64, 3) for p in pictures)


def test_a_damaged_frame_is_a_picture_with_a_problem(folder, monkeypatch):
    frames = [
        video.Frame(0, 0.0, RED),
        video.Frame(1, 40.0, None, "the frame is damaged or missing"),
    ]
    monkeypatch.setattr(video, "frames", lambda path, most: iter(frames))

    _, bad = sources.pictures(Path("clip.avi"))

    assert bad == Picture(
        "clip.avi", 1, 40.0, None, "the frame is damaged or missing", None
    )


def test_a_text_that_is_called_a_video_is_refused_at_once(folder):
    Path("text.mp4").write_text("no video\n" * 50)
    pictures = sources.pictures(Path("text.mp4"))

    with pytest.raises(InputError, match=r"^text\.mp4 must be a video, but no frame"):
        next(pictures)


def test_the_total_counts_pictures_and_promised_frames(folder):
    clip("none.avi", 0)
    Path("text.mp4").write_text("no video\n" * 50)

    assert sources.total([]) == 0
    assert sources.total([Path("b.png"), Path("clip.avi"), Path("text.mp4")]) == 4
    assert sources.total([Path("b.png"), Path("none.avi")]) is None
    assert sources.total([Path("b.png"), Camera(0)]) is None
