import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpose import images
from kpose.errors import InputError
from kpose.geometry import SquareCrop
from kpose.records import ImageRef

RNG = np.random.default_rng(2016)
NOISE = RNG.integers(0, 256, (90, 120, 3), np.uint8)


def smooth(height, width):
    """A picture whose bilinear samples differ little between neighbours."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 9 + y / 13), np.cos(x / 11 - y / 7), np.sin((x + y) / 15)]
    return np.rint(127.5 + 120 * np.stack(waves, -1)).astype(np.uint8)


def reference(image, square, size):
    """The rule of crop_with_surroundings, sample by sample in float64."""
    outer = square.expanded(1.5)
    factor = square.side // size if square.side / size > 2 else 1
    blocks = np.zeros([int(-(-n // factor)) for n in image.shape[:2]] + [3])
    for y, x in np.ndindex(image.shape[:2]):
        blocks[int(y // factor), int(x // factor)] += image[y, x] / factor**2
    i = np.arange(round(1.5 * size)) + 0.5
    step = square.side / size / factor
    y, x = (start / factor + i * step - 0.5 for start in (outer.y0, outer.x0))
    down = np.maximum(0, 1 - abs(y[:, None] - np.arange(blocks.shape[0])))
    across = np.maximum(0, 1 - abs(x[:, None] - np.arange(blocks.shape[1])))
    return np.einsum("yi,ijc,xj->yxc", down, blocks, across, optimize=True)


def dot(width, height, x, y, sigma):
    """A Gaussian dot, and its centre: drawing in 8 bits moves it a little."""
    across = np.exp(-((np.arange(width) - x) ** 2) / (2 * sigma**2))
    down = np.exp(-((np.arange(height) - y) ** 2) / (2 * sigma**2))
    image = np.rint(250 * down[:, None] * across).astype(np.uint8)
    return np.repeat(image[..., None], 3, axis=-1), centroid(image)


def centroid(image):
    grey = image.reshape(*image.shape[:2], -1)[..., 0].astype(np.float64)
    y, x = np.mgrid[: grey.shape[0], : grey.shape[1]]
    return np.array([(grey * x).sum(), (grey * y).sum()]) / grey.sum()


def distance_of_a_dot(scale, extra, joint, place):
    """Draw a dot, cut a crop, return how far the dot is from where it should be.

    Args:
        scale: Source pixels per pixel of the crop.
        extra: Width and height of the picture beyond the dot's, shares of the square.
        joint: Where in the picture the dot lies, 0 to 1 of where it fits.
        place: Where in the stored crop it lies; the square may leave the picture.
    """
    size = 224 if scale < 1 else 64  # a dot of 1 source pixel needs room enlarged
    side = scale * size
    sigma = max(1.5 * scale, 1.0)
    margin = 3.6 * sigma + 2  # beyond it 250 * exp(-r^2 / 2 sigma^2) rounds to 0
    width, height = (int(2 * margin + share * side) + 3 for share in extra)
    x = margin + joint[0] * (width - 1 - 2 * margin)
    y = margin + joint[1] * (height - 1 - 2 * margin)
    image, centre = dot(width, height, x, y, sigma)
    edge = (margin + 2 * scale) / side
    u = -0.25 + edge + np.array(place) * (1.5 - 2 * edge)
    square = SquareCrop(*(centre + 0.5 - u * side), side)

    crop = images.crop_with_surroundings(image, square, size)

    expected = (square.image_to_crop(centre) + 0.25) * size - 0.5
    return np.abs(centroid(crop) - expected).max()


SHARES = st.tuples(st.floats(0, 1), st.floats(0, 1))


@settings(max_examples=150)
@given(
    scale=st.floats(np.log(1 / 20), np.log(12)).map(np.exp),
    extra=SHARES,
    joint=SHARES,
    place=SHARES,
)
def test_a_dot_lands_where_the_transform_says(scale, extra, joint, place):
    assert distance_of_a_dot(scale, extra, joint, place) <= 0.05


@pytest.mark.parametrize("enlarged", [20, 16, 8, 4, 3.2, 2, 1])
def test_dots_land_there_also_where_rounding_adds_up(enlarged):
    """At such scales all samples of a crop are rounded in the same direction."""
    shares = np.random.default_rng(1).random((100, 3, 2))

    distances = [distance_of_a_dot(1 / enlarged, *row) for row in shares]

    assert max(distances) <= 0.05


@pytest.mark.parametrize("size", [64, 192, 224])
@pytest.mark.parametrize("step", [0.21, 0.9, 1.4, 2.6])
def test_the_inner_crop_is_the_central_slice_to_the_bit(step, size):
    square = SquareCrop(11.3 - step * size / 3, -7.7, step * size)

    stored = images.crop_with_surroundings(NOISE, square, size)
    crop = images.crop(NOISE, square, size)

    assert stored.shape == (size * 3 // 2, size * 3 // 2, 3)
    assert crop.shape == (size, size, 3)
    assert crop.any()
    edge = size // 4
    np.testing.assert_array_equal(crop, stored[edge:-edge, edge:-edge])
    np.testing.assert_array_equal(
        images.central_slice(np.stack([stored, stored]), size)[1], crop
    )


def test_a_square_on_the_pixel_grid_copies_pixels():
    crop = images.crop(NOISE, SquareCrop(10, 20, 64), 64)

    np.testing.assert_array_equal(crop, NOISE[20:84, 10:74])


@pytest.mark.parametrize(
    "ratio", [0.05, 0.3, 0.5, 1.0, 1.7, 2.0, 2.01, 2.99, 3.0, 3.5, 7.3]
)
def test_resampling_follows_the_rule(ratio):
    size = 32
    image = smooth(170, 230)
    square = SquareCrop(20.3, -0.37 * ratio * size, ratio * size)

    crop = images.crop_with_surroundings(image, square, size)

    difference = np.abs(crop - reference(image, square, size))
    # Positions are rounded to 1/32 px: at the picture's edge 255 / 64 grey levels.
    assert difference.max() <= 5
    assert difference.mean() < 0.5


@pytest.mark.parametrize(("ratio", "reduced"), [(2.0, False), (2.01, True)])
def test_the_area_mean_begins_above_two(ratio, reduced):
    """Single bright pixels in noise are gone after an area mean, not before it."""
    image = smooth(170, 230)
    image[::2, ::2] = 255 - image[::2, ::2] // 2
    square = SquareCrop(20, 10, ratio * 64)

    crop = images.crop_with_surroundings(image, square, 64)

    difference = np.abs(crop - reference(image, square, 64))
    assert difference.mean() < 1.5
    plain = cv2.warpAffine(
        image,
        np.array(
            [
                [ratio, 0, 20 - 16 * ratio + ratio / 2 - 0.5],
                [0, ratio, 10 - 16 * ratio + ratio / 2 - 0.5],
            ]
        ),
        (96, 96),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )
    assert (np.abs(crop - plain.astype(float)).mean() > 5) == reduced


def test_a_uniform_picture_stays_uniform_and_its_surroundings_are_zero():
    white = np.full((50, 40, 3), 255, np.uint8)

    crop = images.crop_with_surroundings(white, SquareCrop(-30, -20, 100), 100)

    inside = crop[45:95, 55:95]  # the outer square begins at -55, -45
    assert (inside == 255).all()
    assert crop.sum() == inside.sum()


@pytest.mark.parametrize("step", [0.1, 1.0, 3.0])
@pytest.mark.parametrize(
    ("x", "y"),
    [(-1000, 0), (1000, 0), (0, -1000), (0, 1000)],
    ids=["left", "right", "above", "below"],
)
def test_a_square_beside_the_picture_is_black(x, y, step):
    image = np.full((90, 120, 3), 255, np.uint8)

    crop = images.crop_with_surroundings(image, SquareCrop(x, y, 32 * step), 32)

    assert crop.shape == (48, 48, 3)
    assert not crop.any()


@settings(max_examples=60)
@given(
    scale=st.floats(np.log(1 / 20), np.log(12)).map(np.exp),
    corner=st.tuples(st.floats(-1.2, 1.2), st.floats(-1.2, 1.2)),
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_any_square_gives_a_crop_of_any_picture(scale, corner, shape):
    side = 16 * scale
    square = SquareCrop(corner[0] * side, corner[1] * side, side)
    image = np.full((*shape, 3), 200, np.uint8)
    if scale > 2 and side // 16 > max(shape):
        with pytest.raises(InputError, match="smaller than a pixel"):
            images.crop_with_surroundings(image, square, 16)
        return

    crop = images.crop_with_surroundings(image, square, 16)

    assert crop.shape == (24, 24, 3)
    assert crop.max() <= 200  # nothing is invented


@pytest.mark.parametrize(
    ("ratio", "tolerance"),
    [(0.05, 1), (0.4, 1), (1.0, 1), (1.7, 3), (2.0, 3), (3.2, 3)],
)
def test_the_mirrored_picture_gives_the_mirrored_crop(ratio, tolerance):
    """Where blocks of the area mean fit the width, only rounding differs."""
    image = smooth(170, 231)  # 231 = 3 * 77
    square = SquareCrop(20.3, 11.7, ratio * 32)

    crop = images.crop(image, square, 32).astype(int)
    mirrored = images.crop(image[:, ::-1].copy(), square.mirrored(231), 32).astype(int)

    assert np.abs(crop - mirrored[:, ::-1]).max() <= tolerance


@pytest.mark.parametrize("size", [0, 2, 30, 225])
def test_sizes_without_a_central_slice_are_refused(size):
    with pytest.raises(InputError, match=f"multiple of 4. Received: {size}"):
        images.crop(NOISE, SquareCrop(0, 0, 50), size)


def test_a_square_that_makes_the_picture_vanish_is_refused():
    with pytest.raises(InputError, match="120 x 90 smaller than a pixel"):
        images.crop(NOISE, SquareCrop(0, 0, 1e9), 224)


# Decoding


def picture(image, kind, **options):
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def quarters():
    """24 x 16 with red, green, blue and white corners, in blocks that JPEG keeps."""
    image = np.zeros((16, 24, 3), np.uint8)
    image[:8, :12] = (250, 10, 10)
    image[:8, 12:] = (10, 250, 10)
    image[8:, :12] = (10, 10, 250)
    image[8:, 12:] = (250, 250, 250)
    return image


UPRIGHT = PIL.Image.fromarray(quarters())

# What a camera stores, so that a viewer who obeys the tag sees the upright picture.
STORED = {
    1: UPRIGHT,
    2: UPRIGHT.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT),
    3: UPRIGHT.transpose(PIL.Image.Transpose.ROTATE_180),
    4: UPRIGHT.transpose(PIL.Image.Transpose.FLIP_TOP_BOTTOM),
    5: UPRIGHT.transpose(PIL.Image.Transpose.TRANSPOSE),
    6: UPRIGHT.transpose(PIL.Image.Transpose.ROTATE_90),
    7: UPRIGHT.transpose(PIL.Image.Transpose.TRANSVERSE),
    8: UPRIGHT.transpose(PIL.Image.Transpose.ROTATE_270),
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_decodes_upright(orientation):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0, "exif": exif}
    data = picture(STORED[orientation], "JPEG", **options)

    decoded = images.decode(data)

    assert decoded.shape == (16, 24, 3)
    assert np.abs(decoded.astype(int) - quarters()).max() <= 12


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_files_keep_every_pixel_as_rgb(kind):
    data = picture(PIL.Image.fromarray(NOISE), kind)

    decoded = images.decode(data)

    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, NOISE)


def test_grey_becomes_rgb():
    grey = NOISE[..., 0]

    decoded = images.decode(picture(PIL.Image.fromarray(grey), "PNG"))

    np.testing.assert_array_equal(decoded, np.repeat(grey[..., None], 3, axis=-1))


def test_transparency_is_dropped():
    image = np.dstack([NOISE, np.full(NOISE.shape[:2], 7, np.uint8)])

    decoded = images.decode(picture(PIL.Image.fromarray(image), "PNG"))

    np.testing.assert_array_equal(decoded, NOISE)


def test_sixteen_bits_become_eight():
    deep = np.array([[0, 255, 256, 65535]], np.uint16)

    decoded = images.decode(cv2.imencode(".png", deep)[1].tobytes())

    np.testing.assert_array_equal(decoded[0, :, 0], [0, 0, 1, 255])
    assert decoded.shape == (1, 4, 3)


@pytest.mark.parametrize("kind", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_keep_their_upper_eight(kind, channels):
    deep = NOISE[..., :channels].astype(np.uint16) * 257  # 0 to 65535

    decoded = images.decode(cv2.imencode(kind, deep[..., ::-1])[1].tobytes())

    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(
        decoded, np.broadcast_to(NOISE[..., :channels], NOISE.shape)
    )


def test_an_animated_gif_gives_its_first_frame():
    frames = [
        PIL.Image.fromarray(np.full((5, 7, 3), color, np.uint8))
        for color in ((255, 0, 0), (0, 255, 0), (0, 0, 255))
    ]

    decoded = images.decode(
        picture(frames[0], "GIF", save_all=True, append_images=frames[1:])
    )

    np.testing.assert_array_equal(decoded, np.full((5, 7, 3), (255, 0, 0), np.uint8))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_a_black_picture_is_a_picture(kind):
    black = np.zeros((48, 64, 3), np.uint8)

    decoded = images.decode(picture(PIL.Image.fromarray(black), kind))

    np.testing.assert_array_equal(decoded, black)


def test_cmyk_becomes_rgb():
    data = picture(UPRIGHT.convert("CMYK"), "JPEG", quality=100, subsampling=0)

    decoded = images.decode(data)

    assert np.abs(decoded.astype(int) - quarters()).max() <= 12


def test_one_pixel_is_a_picture():
    data = picture(PIL.Image.fromarray(np.full((1, 1, 3), 9, np.uint8)), "PNG")

    decoded = images.decode(data)

    np.testing.assert_array_equal(decoded, [[[9, 9, 9]]])
    assert images.crop(decoded, SquareCrop(-1, -1, 4), 4).sum() == 27


PHOTO = PIL.Image.fromarray(smooth(90, 120))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_a_file_cut_short_is_refused(kind, share):
    data = picture(PHOTO, kind)

    with pytest.raises(InputError, match=r"^cut\.img must be a"):
        images.decode(data[: int(share * len(data))], "cut.img")


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_cut_after_its_thumbnail_is_refused(progressive):
    """The thumbnail in the header is a whole picture of its own."""
    small = picture(PHOTO.resize((40, 30)), "JPEG")
    whole = picture(PHOTO, "JPEG", progressive=progressive)
    segment = b"\xff\xe2" + (len(small) + 2).to_bytes(2, "big") + small
    data = whole[:2] + segment + whole[2:]
    assert images.decode(data).shape == (90, 120, 3)

    for cut in (3, 50, 900):
        with pytest.raises(InputError, match="cut short, damaged"):
            images.decode(data[:-cut])


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
def test_a_jpeg_without_its_last_bytes_is_whole_or_refused(cut):
    """All pixels come before the end marker: never grey rows, whatever is cut."""
    data = picture(PHOTO, "JPEG")
    try:
        decoded = images.decode(data[:-cut])
    except InputError:
        return

    np.testing.assert_array_equal(decoded, images.decode(data))


def test_bytes_after_the_end_are_allowed():
    """Phones append a film, which may hold any marker."""
    for kind in ("JPEG", "PNG"):
        data = picture(PHOTO, kind) + b"film \xff\xda" * 20

        assert images.decode(data).shape == (90, 120, 3)


@pytest.mark.parametrize(
    "data", [b"", b"hello\n" * 100, b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"]
)
def test_what_is_no_picture_is_refused(data):
    with pytest.raises(InputError, match=f"must be a picture.* {len(data)} bytes"):
        images.decode(data, "a.jpg")


@settings(max_examples=150)
@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"]),
    places=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=12
    ),
    share=st.floats(0, 1),
)
def test_damaged_bytes_give_a_picture_or_an_input_error(kind, places, share):
    data = bytearray(picture(PHOTO.resize((40, 30)), kind))
    for place, value in places:
        data[int(place * len(data))] = value
    try:
        decoded = images.decode(bytes(data[: int(share * len(data))]), max_pixels=9000)
    except InputError:
        return
    assert decoded.ndim == 3
    assert decoded.shape[2] == 3
    assert decoded.shape[0] * decoded.shape[1] <= 9000


def header_of(width, height):
    """A PNG that says how large it is and holds no pixels."""

    def chunk(kind, body):
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("width", "height"),
    [(8001, 8000), (10_000, 9_500), (100_000, 100_000)],
    ids=["over kpose's limit", "Pillow warns", "Pillow refuses"],
)
def test_too_many_pixels_are_refused_before_they_are_decoded(
    monkeypatch, width, height
):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))

    with pytest.raises(
        InputError, match=r"^big\.png must have at most 64000000 pixels"
    ):
        images.decode(header_of(width, height), "big.png")


def jpeg(**options):
    file = io.BytesIO()
    PIL.Image.fromarray(NOISE).save(file, "JPEG", **options)
    return file.getvalue()


def with_thumbnail():
    """A JPEG whose EXIF holds a smaller one, frame header and all."""
    small = io.BytesIO()
    PIL.Image.fromarray(NOISE[:8, :8]).save(small, "JPEG")
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + small.getvalue()
    return jpeg(exif=exif)


def with_fill_bytes():
    data = jpeg()
    frame = data.index(b"\xff\xc0")
    return data[:frame] + b"\xff\xff" + data[frame:]


@pytest.mark.parametrize(
    "make",
    [
        jpeg,
        lambda: jpeg(progressive=True),
        lambda: jpeg(optimize=True, comment=b"\xff\xc0\0\x11\x08\0\1\0\1"),
        with_thumbnail,
        with_fill_bytes,
    ],
    ids=["baseline", "progressive", "comment", "thumbnail", "fill bytes"],
)
def test_the_size_of_a_jpeg_is_that_of_its_frame(monkeypatch, make):
    data = make()

    assert images.decode(data, max_pixels=90 * 120).shape == (90, 120, 3)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(InputError, match="at most 10799 pixels, but has 120 x 90"):
        images.decode(data, max_pixels=90 * 120 - 1)


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (300, 2)])
@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("PNG", "RGBA", {}),
        ("PNG", "P", {}),
        ("GIF", "P", {}),
        ("BMP", "RGB", {}),
        ("BMP", "L", {}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGB", {"lossless": True}),
        ("WEBP", "RGB", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}),
        ("TIFF", "RGB", {}),
        ("TIFF", "L", {"compression": "tiff_lzw"}),
    ],
)
def test_the_size_is_known_from_the_header(monkeypatch, size, kind, mode, options):
    data = picture(PHOTO.resize(size).convert(mode), kind, **options)
    pixels = size[0] * size[1]

    assert images.decode(data, max_pixels=pixels).shape == (size[1], size[0], 3)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(InputError, match=f", but has {size[0]} x {size[1]}$"):
        images.decode(data, max_pixels=pixels - 1)


def test_a_gif_whose_first_frame_is_huge_is_refused():
    """Pillow itself stops at 179 million pixels, by an error of its own."""
    data = bytearray(picture(PHOTO.resize((30, 20)).convert("P"), "GIF"))
    frame = data.index(b"," + struct.pack("<4H", 0, 0, 30, 20))
    data[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"

    with pytest.raises(InputError, match=r"^a\.gif must have at most 64000000 pixels"):
        images.decode(bytes(data), "a.gif")


@pytest.mark.parametrize("end", [2, 3, 4, 11, 20, 30, 160])
def test_a_jpeg_that_ends_in_its_header_is_refused(end):
    with pytest.raises(InputError, match=r"a\.jpg must be a"):
        images.decode(jpeg()[:end], "a.jpg")


def test_the_limit_itself_is_allowed():
    data = picture(PIL.Image.fromarray(NOISE), "PNG")

    assert images.decode(data, max_pixels=90 * 120).shape == NOISE.shape
    with pytest.raises(InputError, match="at most 10799 pixels, but has 120 x 90"):
        images.decode(data, max_pixels=90 * 120 - 1)


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {}),
        ("RGB", {"progressive": True}),
        ("L", {}),
        ("CMYK", {}),
        ("RGB", {"comment": b"\xff\xc0 is no frame header here"}),
    ],
    ids=["baseline", "progressive", "grey", "cmyk", "comment"],
)
def test_the_size_of_a_jpeg_is_its_frames(monkeypatch, mode, options):
    """Not the thumbnail's, and known before a pixel is decoded."""
    thumbnail = picture(PHOTO.resize((40, 30)), "JPEG")
    whole = picture(PHOTO.convert(mode), "JPEG", **options)
    segment = b"\xff\xe2" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    data = whole[:2] + segment + whole[2:]

    assert images.decode(data, max_pixels=90 * 120).shape == (90, 120, 3)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(InputError, match="at most 10799 pixels, but has 120 x 90"):
        images.decode(data, max_pixels=90 * 120 - 1)


def test_png_round_trip_is_exact_and_jpeg_is_close():
    image = smooth(32, 48)

    png = images.decode(images.encode(image, "png", 0))
    jpeg = images.decode(images.encode(image, "jpeg", 95))

    np.testing.assert_array_equal(png, image)
    assert np.abs(jpeg.astype(int) - image).mean() < 3
    assert images.encode(image, "jpeg", 95)[:2] == b"\xff\xd8"
    assert len(images.encode(image, "jpeg", 30)) < len(images.encode(image, "jpeg", 95))


def test_read_takes_a_file_and_unmirrors_it(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(images.encode(NOISE, "png", 0))

    np.testing.assert_array_equal(images.read(ImageRef(path)), NOISE)
    np.testing.assert_array_equal(
        images.read(ImageRef(path, mirrored=True)), NOISE[:, ::-1]
    )


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_read_names_the_file_it_cannot_read(tmp_path, make):
    path = tmp_path / "a.png"
    make(path)

    with pytest.raises(InputError, match=r"a\.png must be a readable picture"):
        images.read(ImageRef(path))


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    assert writer.isOpened()
    for index in range(5):
        frame = np.full((48, 64, 3), 40 * index + 20, np.uint8)
        frame[:, :32, 2] = 255  # red, on the left, in OpenCV's order
        writer.write(frame)
    writer.release()
    return path


@pytest.mark.parametrize("index", [0, 1, 4])
def test_read_finds_a_frame_by_its_index(video, index):
    frame = images.read(ImageRef(video, frame=index)).astype(int)

    assert abs(frame[24, 50].mean() - (40 * index + 20)) < 4
    assert frame[24, 10, 0] > 240  # red first


def test_read_unmirrors_a_frame(video):
    frame = images.read(ImageRef(video, frame=1, mirrored=True)).astype(int)

    assert frame[24, 50, 0] > 240
    assert frame[24, 10, 0] < 80


@pytest.mark.parametrize(
    "order", [[0, 1, 2, 3, 4], [4, 3, 3, 0, 0, 2, 4, 1], [2, 2, 2, 4]]
)
def test_frames_read_in_any_order_are_those_of_the_video(video, order):
    capture = cv2.VideoCapture(str(video))
    frames = [capture.read()[1][..., ::-1] for _ in range(5)]

    for index in order:
        found = images.read(ImageRef(video, frame=index))
        np.testing.assert_array_equal(found, frames[index])


def test_frames_in_order_are_decoded_once(monkeypatch, video, tmp_path):
    """Several persons of each frame, and a picture in between."""
    copy = tmp_path / "copy.avi"
    copy.write_bytes(video.read_bytes())
    opened = []
    real = cv2.VideoCapture
    monkeypatch.setattr(
        cv2, "VideoCapture", lambda path: opened.append(path) or real(path)
    )
    (tmp_path / "a.png").write_bytes(images.encode(NOISE, "png", 0))

    for index in (0, 0, 1, 3, 3, 4):
        images.read(ImageRef(copy, frame=index))
        images.read(ImageRef(tmp_path / "a.png"))
    assert opened == [str(copy)]
    images.read(ImageRef(copy, frame=1))
    assert opened == [str(copy)] * 2


def test_a_video_that_changed_is_opened_again(video, tmp_path):
    path = tmp_path / "clip.avi"
    path.write_bytes(video.read_bytes())
    images.read(ImageRef(path, frame=2))

    path.write_bytes(b"no video any more")

    with pytest.raises(InputError, match="must be a video, but no frame"):
        images.read(ImageRef(path, frame=3))


def test_threads_that_read_one_video_do_not_disturb_each_other(video):
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(
            lambda index: images.read(ImageRef(video, frame=index))[24, 50].mean(),
            [0, 4, 1, 3, 2] * 8,
        )

    expected = [20, 180, 60, 140, 100] * 8
    np.testing.assert_allclose(list(found), expected, atol=4)


def test_read_refuses_a_frame_that_is_not_there(video, tmp_path):
    with pytest.raises(InputError, match="with a frame 5, but has none"):
        images.read(ImageRef(video, frame=5))
    (tmp_path / "a.mp4").write_bytes(b"no video")
    for name, message in (("a.mp4", "must be a video"), ("b.mp4", "No such file")):
        with pytest.raises(InputError, match=message):
            images.read(ImageRef(tmp_path / name, frame=0))
