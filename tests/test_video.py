import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpose import video
from kpose.camera import Camera
from kpose.errors import InputError

COUNT = 30


def grey(value, width=64, height=48):
    return np.full((height, width, 3), value, np.uint8)


def pictures(count=COUNT):
    """Number n has the grey level 40 + 6 * n and noise, which takes bytes."""
    noise = np.random.default_rng(0).integers(-30, 31, (count, 48, 64, 3))
    level = 40 + 6 * np.arange(count)
    return list((level[:, None, None, None] + noise).astype(np.uint8))


def write(path, codec, count=COUNT, fps=25):
    file = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (64, 48))
    assert file.isOpened()
    for image in pictures(count):
        file.write(image)
    file.release()
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return {
        "avi": write(folder / "clip.avi", "MJPG"),
        "mp4": write(folder / "clip.mp4", "mp4v"),
        "mkv": write(folder / "clip.mkv", "mp4v"),
        "webm": write(folder / "clip.webm", "VP80"),
    }


def levels(frames):
    """Return the number that a frame shows, None for a missing one."""
    return [
        None if f.image is None else round((f.image.mean() - 40) / 6) for f in frames
    ]


def moov_first(data, changed_mp4):
    """Put an mp4's table before its pictures, as for the web."""
    start = data.index(b"mdat") - 4
    table = start + int.from_bytes(data[start : start + 4], "big")
    length = len(data) - table

    def moved(old):
        return old[:8] + b"".join(
            struct.pack(">I", int.from_bytes(old[at : at + 4], "big") + length)
            for at in range(8, len(old), 4)
        )

    moov = changed_mp4(data[table:], {b"stco": moved})
    return data[:start] + moov + data[start:table]


def samples(data):
    """Return the place and length of each frame's bytes in an mp4."""
    at = data.rindex(b"stsz") + 12
    count = int.from_bytes(data[at : at + 4], "big")
    lengths = struct.unpack(f">{count}I", data[at + 4 : at + 4 + 4 * count])
    place = data.index(b"mdat") + 4
    return [(place + sum(lengths[:n]), lengths[n]) for n in range(count)]


def without(path, numbers):
    """Overwrite frames of an mp4 with zeros."""
    data = bytearray(path.read_bytes())
    for number in numbers:
        place, length = samples(bytes(data))[number]
        data[place : place + length] = bytes(length)
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["avi", "mp4", "mkv", "webm"])
def test_a_whole_video_gives_its_frames_and_times(clips, kind):
    frames = list(video.frames(clips[kind]))

    assert [f.number for f in frames] == list(range(COUNT))
    assert levels(frames) == list(range(COUNT))
    assert [f.time_ms for f in frames] == pytest.approx([40 * n for n in range(COUNT)])
    assert {f.problem for f in frames} == {""}
    assert frames[0].image.shape == (48, 64, 3) and frames[0].image.dtype == np.uint8


def test_pixels_are_red_first(tmp_path):
    image = grey(0)
    image[..., 0] = 200
    with video.Writer(tmp_path / "red.mp4", 25) as writer:
        writer.write(image)

    (frame,) = video.frames(tmp_path / "red.mp4")

    assert np.abs(frame.image.astype(int) - (200, 0, 0)).max() <= 6


VARIABLE = [0, 33, 66, 200, 233.367, 400, 433, 900]


def test_times_of_a_variable_rate_are_right_to_a_millisecond(
    tmp_path, variable_rate_clip
):
    path = tmp_path / "clip.mp4"
    variable_rate_clip(path, pictures(8), VARIABLE)

    frames = list(video.frames(path))

    assert [f.time_ms for f in frames] == pytest.approx(VARIABLE, abs=0.01)
    assert levels(frames) == list(range(8))
    # The mean rate: eight frames in 900 ms and a last one of 467 ms.
    assert video.rate(path) == pytest.approx(8 / 1.367, rel=1e-3)


@pytest.mark.parametrize("pauses", [[12], [3, 20], [1]])
def test_a_pause_is_no_missing_frame(tmp_path, variable_rate_clip, pauses):
    """A camera that drops frames leaves gaps on the grid of its rate."""
    times, time = [], 0
    for number in range(COUNT):
        time += 40 * 5 if number in pauses else 40
        times.append(time - 40)
    path = tmp_path / "clip.mp4"
    variable_rate_clip(path, pictures(), times)

    frames = list(video.frames(path))

    assert levels(frames) == list(range(COUNT))
    assert [f.time_ms for f in frames] == pytest.approx(times, abs=0.01)


@pytest.mark.parametrize("share", [0.5, 0.8])
@pytest.mark.parametrize("kind", ["avi", "mp4", "mkv", "webm"])
def test_a_cut_video_gives_its_good_frames_and_the_missing_ones(
    tmp_path, clips, changed_mp4, kind, share
):
    path = tmp_path / f"cut.{kind}"
    data = clips[kind].read_bytes()
    if kind == "mp4":
        data = moov_first(data, changed_mp4)
    path.write_bytes(data[: int(share * len(data))])
    whole = list(video.frames(clips[kind]))

    frames = list(video.frames(path))

    assert [f.number for f in frames] == list(range(COUNT))
    assert [f.time_ms for f in frames] == pytest.approx([40 * n for n in range(COUNT)])
    good = sum(f.image is not None for f in frames)
    assert 2 < good < COUNT
    for n in range(good - 1):  # the last one may be cut
        np.testing.assert_array_equal(frames[n].image, whole[n].image)
    for frame in frames[good:]:
        assert (
            frame.image is None and frame.problem == "the frame is damaged or missing"
        )


def test_a_cut_mp4_without_its_table_is_refused(tmp_path, clips):
    """OpenCV and phones write the table behind the frames."""
    data = clips["mp4"].read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(data[: len(data) // 2])

    with pytest.raises(InputError) as error:
        next(video.frames(path))

    assert str(error.value) == (
        f"{path} must be a whole video, but it is cut short: no frame can be decoded"
    )


@pytest.mark.parametrize("bad", [[5], [5, 6, 7], [1, 2, 20, 29], [0, 1]])
def test_frames_that_cannot_be_decoded_have_their_number_and_time(tmp_path, clips, bad):
    path = tmp_path / "clip.mp4"
    path.write_bytes(clips["mp4"].read_bytes())
    without(path, bad)

    frames = list(video.frames(path))

    assert [f.number for f in frames] == list(range(COUNT))
    assert [f.number for f in frames if f.image is None] == bad
    assert [f.time_ms for f in frames] == pytest.approx([40 * n for n in range(COUNT)])


def test_a_damaged_frame_of_a_variable_rate(tmp_path, variable_rate_clip):
    path = tmp_path / "clip.mp4"
    variable_rate_clip(path, pictures(8), VARIABLE)
    without(path, [3])

    frames = list(video.frames(path))

    assert [f.number for f in frames if f.image is None] == [3]
    # In the middle between its neighbours, its own time is lost.
    times = [*VARIABLE[:3], (66 + 233.367) / 2, *VARIABLE[4:]]
    assert [f.time_ms for f in frames] == pytest.approx(times, abs=0.01)


def test_a_trimmed_mp4_has_no_missing_frames(tmp_path, clips, changed_mp4):
    """Its container still promises what an edit list leaves out."""
    path = tmp_path / "trimmed.mp4"
    data = clips["mp4"].read_bytes()
    edit = struct.pack(">IIIiI", 0, 1, 400, 0, 0x10000)  # 400 ms from 0
    path.write_bytes(changed_mp4(data, {b"elst": lambda old: edit}))

    frames = list(video.frames(path))

    assert video.promised(path) == COUNT
    assert levels(frames) == list(range(10))


def test_a_matroska_file_that_does_not_say_how_long_it_is(tmp_path, clips):
    """A program that streams leaves its length open: it cannot be cut short."""
    data = bytearray(clips["mkv"].read_bytes())
    segment = data.index(b"\x18\x53\x80\x67") + 4
    assert data[segment] == 1  # a length of 8 bytes
    data[segment : segment + 8] = b"\x01" + b"\xff" * 7
    path = tmp_path / "live.mkv"
    path.write_bytes(data[: len(data) // 2])

    frames = list(video.frames(path))

    assert 2 < len(frames) < COUNT
    assert levels(frames) == list(range(len(frames)))


def header_only(path):
    write(path, "MJPG", count=0)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_text("this is a text\n" * 100),
        lambda path: path.touch(),
        header_only,
        lambda path: path.mkdir(),
        lambda path: None,
    ],
    ids=["text", "empty", "no frames", "folder", "nothing"],
)
@pytest.mark.parametrize("name", ["a.mp4", "clip01.avi"])
def test_what_is_no_video_is_refused(tmp_path, make, name):
    if make is header_only:
        name = name.replace("mp4", "avi")
    make(tmp_path / name)

    with pytest.raises(InputError) as error:
        next(video.frames(tmp_path / name))

    assert str(error.value) == (
        f"{tmp_path / name} must be a video, but no frame can be decoded"
    )
    assert video.promised(tmp_path / name) in (0, None)


def test_frames_of_too_many_pixels_are_refused(clips):
    assert len(list(video.frames(clips["mp4"], max_pixels=64 * 48))) == COUNT
    with pytest.raises(InputError, match=r"of at most 3071 pixels, but has 64 x 48$"):
        next(video.frames(clips["mp4"], max_pixels=64 * 48 - 1))


class Script:
    """A capture that gives what it is told: a time stamp, or None for a failure."""

    def __init__(self, stamps, promised, fps=25):
        self.stamps, self.now = list(stamps), 0
        self.values = {
            cv2.CAP_PROP_FRAME_COUNT: promised,
            cv2.CAP_PROP_FPS: fps,
            cv2.CAP_PROP_FRAME_WIDTH: 2,
            cv2.CAP_PROP_FRAME_HEIGHT: 2,
        }

    def read(self):
        stamp = self.stamps.pop(0) if self.stamps else None
        if stamp is None:
            return False, None
        self.now = stamp
        return True, np.zeros((2, 2, 3), np.uint8)

    def get(self, name):
        return self.now if name == cv2.CAP_PROP_POS_MSEC else self.values[name]

    def release(self):
        pass


def run(path, *arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cv2, "VideoCapture", lambda _: Script(*arguments))
        frames = list(video.frames(path))
    assert [f.number for f in frames] == list(range(len(frames)))
    times = [f.time_ms for f in frames]
    assert times == sorted(times)
    return times, [f.number for f in frames if f.image is None]


@pytest.fixture
def avi(tmp_path):
    path = tmp_path / "a.avi"
    path.write_bytes(b"RIFF\0\0\0\0AVI LIST")
    return path


MP4 = Path("missing.mp4")


def test_a_decoder_that_holds_frames_back_fails_before_it_gives_them():
    """H.264 with frames 4, 5 and 6 damaged: 2 and 3 come after the failures."""
    stamps = [0, 40, None, None, None, 80, 120, 280, 320]

    assert run(MP4, stamps, 9) == ([40 * n for n in range(9)], [4, 5, 6])


def test_frames_that_are_lost_without_a_failure_are_seen_once_something_failed():
    stamps = [0, 40, 80, None, 280, 400]

    times, bad = run(MP4, stamps, 11)

    assert times == pytest.approx([40 * n for n in range(11)])
    assert bad == [3, 4, 5, 6, 8, 9]


def test_a_frame_that_comes_after_its_time_is_left_out():
    stamps = [0, 40, None, 200, 120, 160, 240]

    assert run(MP4, stamps, 7) == ([40 * n for n in range(7)], [2, 3, 4])


def test_an_avi_whose_decoder_holds_frames_back_has_times_from_zero(avi):
    """OpenCV's stamps are two frames late and end with zeros (measured)."""
    stamps = [80, 120, 160, 200, 240, 0, 0]

    assert run(avi, stamps, 7) == ([40 * n for n in range(7)], [])


def test_frames_that_repeat_in_an_avi_are_not_missing(avi):
    """It counts every fifth twice, and has no bytes for the second one."""
    stamps = [40 * n for n in range(20) if n % 5 != 3]

    assert run(avi, stamps, 20) == (stamps, [])


def test_an_avi_that_lost_bytes_in_its_middle_has_missing_frames_at_its_end(avi):
    assert run(avi, [0, 40, 80], 5) == ([0, 40, 80, 120, 160], [3, 4])


@pytest.mark.parametrize("promised", [-1, 0, 2, 1e18, float("nan")])
def test_a_promise_that_means_nothing_is_not_believed(promised):
    assert run(MP4, [0, 40, 80], promised) == ([0, 40, 80], [])


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_without_a_rate_there_are_still_time_stamps(fps):
    assert run(MP4, [0, 10, 500], 3, fps) == ([0, 10, 500], [])


@given(
    stamps=st.lists(st.none() | st.floats(0, 1000), max_size=20),
    promised=st.integers(-1, 30),
    fps=st.sampled_from([0.0, 1.0, 25.0, 240.0]),
)
def test_any_stamps_give_rows_in_order_and_never_more_than_promised(
    stamps, promised, fps
):
    try:
        times, bad = run(MP4, stamps, promised, fps)
    except InputError:
        return

    given = sum(stamp is not None for stamp in stamps)
    assert len(times) - len(bad) <= given
    if None not in stamps:
        assert bad == []
    if promised > 0:
        assert len(times) <= max(promised, given)


@pytest.mark.parametrize("size", [(64, 48), (65, 48), (64, 47), (1, 1), (3, 5)])
def test_written_videos_have_every_column_and_row(tmp_path, size):
    width, height = size
    with video.Writer(tmp_path / "a.mp4", 12.5) as writer:
        for _ in range(3):
            writer.write(grey(120, width, height))

    frames = list(video.frames(tmp_path / "a.mp4"))

    assert [f.time_ms for f in frames] == pytest.approx([0, 80, 160])
    for frame in frames:
        assert frame.image.shape == (height + height % 2, width + width % 2, 3)
        assert np.abs(frame.image.astype(int) - 120).max() <= 4


@pytest.mark.parametrize(("width", "height"), [(128, 96), (32, 24), (256, 48)])
def test_a_picture_of_another_size_is_scaled_to_fit(tmp_path, width, height):
    with video.Writer(tmp_path / "a.mp4", 25) as writer:
        writer.write(grey(250))
        writer.write(grey(120, width, height))

    _, second = video.frames(tmp_path / "a.mp4")

    assert second.image.shape == (48, 64, 3)
    assert abs(int(second.image[4, 32, 0]) - 120) < 9
    bottom = second.image[40, 32, 0]
    assert bottom < 9 if width == 256 else abs(int(bottom) - 120) < 9


def test_the_codec_is_mp4v(tmp_path):
    with video.Writer(tmp_path / "a.mp4", 25) as writer:
        writer.write(grey(0))

    capture = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    assert code.to_bytes(4, "little") in (b"mp4v", b"FMP4")


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    path = tmp_path / "no folder" / "a.mp4"

    with pytest.raises(InputError) as error, video.Writer(path, 25) as writer:
        writer.write(grey(0))

    assert str(error.value).startswith(f"{path} must be a file that can be written")
    assert "64 x 48 pixels at 25 frames per second" in str(error.value)


def test_a_video_that_did_not_reach_the_disk_is_noticed(tmp_path):
    path = tmp_path / "a.mp4"
    with pytest.raises(InputError, match=r"must hold the 2 frames .* holds 0: is the"):
        with video.Writer(path, 25) as writer:
            writer.write(grey(0))
            writer.write(grey(0))
            release = writer._video.release
            writer._video = type(
                "Full", (), {"release": lambda _: (release(), path.write_bytes(b""))}
            )()


def test_an_error_inside_the_block_is_not_hidden(tmp_path):
    path = tmp_path / "a.mp4"
    with pytest.raises(KeyboardInterrupt), video.Writer(path, 25) as writer:
        writer.write(grey(0))
        raise KeyboardInterrupt

    assert len(list(video.frames(path))) == 1


def test_a_writer_without_pictures_writes_nothing(tmp_path):
    with video.Writer(tmp_path / "a.mp4", 25):
        pass

    assert list(tmp_path.iterdir()) == []


def test_rates_are_what_a_writer_can_take(clips, tmp_path):
    assert video.rate(clips["avi"]) == 25
    assert video.rate(tmp_path / "missing.mp4") == 25
    assert video.rate(Camera(0)) == 25
    for fps, expected in ((0.1, 1), (60, 60), (1e6, 240)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cv2, "VideoCapture", lambda _, fps=fps: Script([], 0, fps))
            assert video.rate(Path("a.mp4")) == expected


def test_promises(clips, tmp_path):
    assert video.promised(clips["avi"]) == video.promised(clips["mkv"]) == COUNT
    assert video.promised(write(tmp_path / "no.avi", "MJPG", count=0)) is None
    assert video.promised(tmp_path / "missing.mp4") == 0


def test_the_street_video_has_205_frames(real_videos):
    frames = [
        (f.number, f.time_ms, f.problem)
        for f in video.frames(real_videos / "openpose_video.avi")
    ]

    assert frames == [(n, pytest.approx(20 * n), "") for n in range(205)]


def test_real_avi_files(real_videos):
    """One counts frames that repeat, the other's decoder holds two frames back."""
    path = sorted((real_videos / "jhmdb" / "clap").glob("*.avi"))[0]
    assert video.promised(path) == 48
    frames = list(video.frames(path))
    assert len(frames) == 40 and all(f.image is not None for f in frames)
    assert frames[3].time_ms == pytest.approx(4000 / 30)

    held = [f.time_ms for f in video.frames(real_videos / "ntu_sample_two_people.avi")]
    assert held == pytest.approx([n * 1000 / 30 for n in range(72)])
