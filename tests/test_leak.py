"""The leak score: fingerprints of drawn pictures, and distances worked out by hand."""

import itertools
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpose import images, leak, screening
from kpose_datasets import lsp, openpose_json

DATA = Path(os.environ.get("KPOSE_DATA", Path(__file__).parents[2] / "shared" / "data"))

BALANCING = DATA / "pose2sim_balancing"


def scene(seed: int, size: int = 224) -> np.ndarray:
    """A picture of soft spots, no two seeds alike."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(30, 256, (12, 12, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC))


def distance(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.bitwise_count(leak.fingerprint(a) ^ leak.fingerprint(b)).sum())


def prints(*pictures: np.ndarray) -> np.ndarray:
    return np.stack([leak.fingerprint(picture) for picture in pictures])


def bits(hashes: np.ndarray) -> np.ndarray:
    return np.unpackbits(hashes.view(np.uint8)).reshape(16, 16)


# ------------------------------------------------------------------------ fingerprint


def test_a_bit_says_whether_the_right_neighbour_is_brighter():
    # 17 x 16 blocks of 10 pixels: brighter to the right in even rows, darker in odd.
    ramp = np.linspace(40, 240, 17)
    blocks = np.stack([ramp if row % 2 == 0 else ramp[::-1] for row in range(16)])
    grey = np.kron(blocks, np.ones((10, 10))).astype(np.uint8)
    picture = np.repeat(grey[..., None], 3, axis=2)

    found = leak.fingerprint(picture)

    assert found.shape == (4,) and found.dtype == np.uint64
    expected = np.repeat([[1], [0]] * 8, 16, axis=1).reshape(16, 16)
    np.testing.assert_array_equal(bits(found), expected)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: images.decode(images.encode(image[8:, 8:], "jpeg", 50)),
        lambda image: image[8:, 7:-1],
        lambda image: image[7:-1, 8:],
        lambda image: cv2.resize(image[8:, 8:], (128, 128)),
        lambda image: (0.8 * image[8:, 8:]).astype(np.uint8),
    ],
    ids=["jpeg", "left", "up", "smaller", "darker"],
)
def test_the_same_picture_stays_near_and_others_do_not(change):
    wider = [scene(seed, 232) for seed in range(20)]
    pictures = [picture[8:, 8:] for picture in wider]
    changed = [change(picture) for picture in wider]

    moved = [distance(*pair) for pair in zip(pictures, changed, strict=True)]

    assert np.median(moved) <= leak.NEAR / 2
    assert max(moved) <= leak.NEAR
    strangers = [distance(a, b) for a, b in zip(pictures, changed[1:], strict=False)]
    assert min(strangers) > 3 * leak.NEAR


def test_padding_does_not_make_strangers_alike():
    # Persons of a narrow picture: three quarters of both crops are padding.
    a, b = np.zeros((2, 224, 224, 3), np.uint8)
    a[:, 84:140], b[:, 84:140] = scene(0)[:, :56], scene(1)[:, :56]

    assert distance(a, b) > 3 * leak.NEAR
    # Compression does not hide the padding.
    again = images.decode(images.encode(a, "jpeg", 60))
    assert distance(a, again) <= leak.NEAR


def test_a_plain_background_does_not_make_strangers_alike():
    a, b = np.full((2, 224, 224, 3), 250, np.uint8)
    a[30:200, 80:150], b[30:200, 80:150] = scene(2)[:170, :70], scene(3)[:170, :70]

    assert distance(a, b) > 3 * leak.NEAR


@pytest.mark.parametrize("level", [0, 90, 255])
def test_flat_crops_have_no_fingerprint(level):
    picture = np.full((64, 64, 3), level, np.uint8)
    assert not leak.fingerprint(picture).any()
    picture[:, 30:] = 120  # nor one with a single edge
    assert not leak.fingerprint(picture).any()


@pytest.mark.parametrize("size", [17, 64, 224, 301])
def test_the_mirror_image_follows_from_the_bits(size):
    pictures = [scene(seed, size) for seed in range(8)]
    pictures[0][:, : size // 3] = 128  # equal neighbours
    pictures[1][:, : size // 3] = 0  # padding
    flipped = prints(*(np.ascontiguousarray(picture[:, ::-1]) for picture in pictures))

    found = leak.mirrored(prints(*pictures))

    assert np.bitwise_count(found ^ flipped).sum(axis=1).max() <= 1


def test_mirroring_twice_changes_nothing_and_flat_crops_stay_flat():
    hashes = np.random.default_rng(0).integers(0, 2**63, (5, 4), dtype=np.uint64)
    hashes[2] = 0

    once = leak.mirrored(hashes)

    np.testing.assert_array_equal(leak.mirrored(once), hashes)
    assert not once[2].any() and once[[0, 1, 3, 4]].any(axis=1).all()
    assert leak.mirrored(hashes[:0]).shape == (0, 4)


def test_a_view_of_a_stored_crop_has_the_fingerprint_of_its_copy():
    stored = scene(4, 336)
    view = images.central_slice(stored, 224)
    np.testing.assert_array_equal(
        leak.fingerprint(view), leak.fingerprint(np.ascontiguousarray(view))
    )


# ---------------------------------------------------------------------------- nearest


def hashes_of(*numbers: int) -> np.ndarray:
    """Fingerprints whose last word is the number."""
    return np.array([[0, 0, 0, number] for number in numbers], np.uint64)


def test_nearest_counts_the_bits_that_differ():
    ones = np.full((1, 4), 2**64 - 1, np.uint64)
    training = np.concatenate([hashes_of(0b1111, 0b0001, 0b0001), ones])

    distances, index = leak.nearest(hashes_of(0b0011, 0b0001, 0b1110), training)

    assert distances.tolist() == [1, 0, 1]
    assert index.tolist() == [1, 1, 0]  # the first of equals
    assert leak.nearest(hashes_of(0), ones)[0].tolist() == [256]


@given(
    ours=st.integers(0, 9), theirs=st.integers(1, 40), seed=st.integers(0, 2**32 - 1)
)
def test_blocks_do_not_change_what_is_nearest(ours, theirs, seed):
    generator = np.random.default_rng(seed)
    # Few values, so that there are equals in several blocks.
    a, b = (
        generator.integers(0, 4, (count, 4)).astype(np.uint64)
        for count in (ours, theirs)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leak, "BLOCK", (2, 7))
        distances, index = leak.nearest(a, b)

    every = np.bitwise_count(a[:, None] ^ b[None]).sum(axis=2)
    np.testing.assert_array_equal(index, every.argmin(axis=1))
    np.testing.assert_array_equal(distances, every.min(axis=1))


# ------------------------------------------------------------------------------ score


def four_pairs():
    """Ids, fingerprints, and masks: 4 training crops, then 4 held out.

    Of those one is a copy, one a mirror image, one a stranger and one flat.
    """
    training = [scene(seed) for seed in range(4)]
    mirror = np.ascontiguousarray(training[2][:, ::-1])
    flat = np.full((64, 64, 3), 90, np.uint8)
    hashes = prints(*training, training[1], mirror, scene(9), flat)
    held_out = np.arange(8) >= 4
    return [f"p{row}" for row in range(8)], hashes, ~held_out, held_out


def test_copies_and_mirror_images_are_found():
    found = leak.score(*four_pairs())

    assert (found.validation, found.training, found.near) == (3, 4, 2)
    assert (found.held_out, found.flat, found.minimum) == (4, 1, 0)
    copy, mirror = found.examples
    assert copy == ("p4", "p1", 0, False)
    assert (mirror.validation, mirror.training, mirror.mirrored) == ("p5", "p2", True)
    assert found.flagged  # two of three
    assert found.sentence().startswith(
        "2 of 3 validation pictures (66.7 %) have a near duplicate in training "
        "(at most 16 of 256 bits differ); median distance to the nearest "
    )
    assert "; 1 more are too flat to compare: the split leaks" in found.sentence()


def test_the_score_is_json():
    found = leak.score(*four_pairs()).to_json()

    assert json.loads(json.dumps(found)) == found
    assert found["near_bits"] == 16
    assert found["examples"][0] == {
        "validation": "p4",
        "training": "p1",
        "distance": 0,
        "mirrored": False,
    }


def words(near: int, far: int) -> tuple[np.ndarray, np.ndarray]:
    """One training crop, ``near`` crops 1 bit from it and ``far`` ones 64 or more."""
    # A pattern that is far from its own mirror image.
    one = np.packbits(np.tile([1, 1, 1, 1, 0, 1, 1, 1], 32)).view(np.uint64)
    other = one.copy()
    other[0] ^= np.uint64(1)
    off = one ^ np.array([2**64 - 1, 0, 0, 0], np.uint64)
    hashes = np.stack([one] + near * [other] + far * [off])
    return hashes, np.arange(len(hashes)) > 0


@pytest.mark.parametrize(
    ("near", "far", "same_group", "flagged"),
    [
        (45, 55, False, False),
        (46, 54, False, True),
        (5, 95, True, False),
        (6, 94, True, True),
        (6, 94, False, False),
    ],
)
def test_the_flag_goes_by_share_and_by_group(near, far, same_group, flagged):
    hashes, held_out = words(near, far)
    ids = [str(row) for row in range(len(hashes))]
    groups = ["a/r1"] + ["a/r1" if same_group else "a/r2"] * (near + far)

    found = leak.score(ids, hashes, ~held_out, held_out, groups)

    assert (found.near, found.same_group) == (near, near if same_group else 0)
    assert found.flagged is flagged
    assert ("in their own group" in found.sentence()) == same_group
    assert ("the split leaks" in found.sentence()) == flagged


def test_examples_are_the_nearest_and_no_more_than_twenty():
    hashes, held_out = words(30, 3)
    hashes[31] = hashes[0] ^ np.array([2**31 - 1, 0, 0, 0], np.uint64)  # 31 bits
    hashes[5] = hashes[0]
    ids = [str(row) for row in range(len(hashes))]

    found = leak.score(ids, hashes, ~held_out, held_out)
    few = leak.score(ids, hashes, ~held_out, held_out & (np.arange(34) > 30))

    assert len(found.examples) == 20
    assert [pair.validation for pair in found.examples[:3]] == ["5", "1", "2"]
    assert [pair.distance for pair in few.examples] == [31]
    assert few.near == 0


def test_many_are_sampled_evenly(monkeypatch):
    monkeypatch.setattr(leak, "MOST", 5)
    hashes, held_out = words(0, 21)
    hashes[1] = hashes[0]
    hashes[21] = hashes[0]

    found = leak.score([str(row) for row in range(22)], hashes, ~held_out, held_out)

    # Of rows 1 to 21: 1, 6, 11, 16 and 21.
    assert (found.validation, found.held_out, found.near) == (5, 21, 2)
    assert "; compared evenly spaced ones of 21" in found.sentence()


@pytest.mark.parametrize(("train", "val"), [(0, 3), (3, 0), (0, 0)])
def test_nobody_on_a_side_is_no_leak(train, val):
    hashes = prints(scene(0), scene(1), scene(2))
    nobody, everybody = np.zeros(3, bool), np.ones(3, bool)

    found = leak.score(
        ["a", "b", "c"],
        hashes,
        everybody if train else nobody,
        everybody if val else nobody,
    )

    assert (found.validation, found.near, found.flagged) == (0, 0, False)
    assert (found.median, found.minimum, found.examples) == (None, None, ())
    assert found.sentence() == (
        f"leak score: none of {val} validation pictures could be compared with {train} "
        "training pictures"
    )


# -------------------------------------------------------------------------- real data


def real_prints(records) -> np.ndarray:
    found = []
    for record in records:
        placed = screening.place(record)
        assert isinstance(placed, screening.Placed)
        image = images.crop(images.read(record.image), placed.square, 128)
        found.append(leak.fingerprint(image))
    return np.stack(found)


def test_real_lsp_has_three_pictures_in_both_splits(lsp_folder):
    there = [r for r in lsp.read(lsp_folder) if r.image.path.is_file()]
    held_out = np.array([record.split == "test" for record in there])

    found = leak.score([r.id for r in there], real_prints(there), ~held_out, held_out)

    assert not found.flagged
    assert found.near <= 3
    assert found.median == pytest.approx(91, abs=3)
    # Other crops were cut of them. The rest is other shots of one scene.
    assert [pair[:2] for pair in found.examples[:3]] == [
        ("im1211", "im0483"),
        ("im1366", "im0550"),
        ("im1436", "im0492"),
    ]


@pytest.mark.skipif(
    not (BALANCING / "videos" / "cam02.mp4").is_file(),
    reason=f"no pose2sim_balancing in {DATA} (set KPOSE_DATA)",
)
def test_real_random_frames_are_flagged_and_a_split_by_camera_is_not():
    recordings, hashes = [], []
    for camera in ("cam02", "cam04"):
        folder = BALANCING / "pose-associated" / f"{camera}_json"
        video = BALANCING / "videos" / f"{camera}.mp4"
        records = openpose_json.read(folder, video)
        hashes.append(real_prints(itertools.islice(records, 50)))
        recordings += [camera] * len(hashes[-1])
    names, every = np.array(recordings), np.concatenate(hashes)
    ids = [f"{camera}/{row}" for row, camera in enumerate(recordings)]
    random = np.random.default_rng(0).random(len(names)) < 0.2

    by_chance = leak.score(ids, every, ~random, random, names)
    without_groups = leak.score(ids, every, ~random, random)
    by_camera = leak.score(ids, every, names == "cam02", names == "cam04", names)

    assert by_chance.flagged and without_groups.flagged
    assert by_chance.near == by_chance.same_group > 0.5 * by_chance.validation
    assert (by_camera.near, by_camera.flagged) == (0, False)
    assert by_camera.minimum > 80
