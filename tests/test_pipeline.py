"""Batches: the order, what a batch depends on, and pixels without augmentation."""

import cv2
import numpy as np
import pytest

from kpose import pipeline
from kpose.augment import Augmentation
from kpose.errors import InputError
from kpose.images import central_slice
from kpose.shards import PreparedData, read_shard

STRONG = Augmentation(
    flip=0.5, rotation=30, scale=0.3, shift=0.1, color=0.2, cutout=0.5
)


@pytest.fixture
def data(tiny_data):
    return PreparedData.open(tiny_data)


def epoch(data, augmentation=STRONG, *, seed=0, epoch=0, first_step=0, indices=None):
    indices = np.arange(len(data.ids)) if indices is None else indices
    dataset = pipeline.training_batches(
        data,
        indices,
        augmentation,
        size=64,
        batch=5,
        seed=seed,
        epoch=epoch,
        first_step=first_step,
    )
    return [(images.numpy(), joints.numpy()) for images, joints in dataset]


def test_samples_are_the_stored_central_slices(data, tiny_data):
    stored = [
        s for path in sorted(tiny_data.glob("*.tfrecord")) for s in read_shard(path)
    ]

    found = list(pipeline.samples(data, np.array([20, 3, 7]), 64, batch=2))

    assert [len(images) for images, _ in found] == [2, 1]
    for index, image, joints in zip(
        [20, 3, 7],
        np.concatenate([images for images, _ in found]),
        np.concatenate([joints for _, joints in found]),
        strict=True,
    ):
        np.testing.assert_array_equal(image, central_slice(stored[index].image, 64))
        np.testing.assert_array_equal(joints, stored[index].joints)


def test_another_size_shows_the_same_area(data):
    same, _ = next(pipeline.samples(data, np.arange(4), 64))
    smaller, _ = next(pipeline.samples(data, np.arange(4), 32))

    assert smaller.shape == (4, 32, 32, 3)
    # Bilinear at half the grid is the mean of 2 x 2 pixels: the same picture.
    halved = same.reshape(4, 32, 2, 32, 2, 3).mean(axis=(2, 4))
    assert np.abs(halved - smaller).max() <= 1


def test_without_augmentation_training_sees_the_evaluation_crop(data):
    shown = epoch(data, Augmentation())
    order = pipeline.order(0, 0, np.arange(len(data.ids)))

    for step, (images, joints) in enumerate(shown):
        chosen = order[step * 5 : step * 5 + 5]
        expected, truth = next(pipeline.samples(data, chosen, 64))
        np.testing.assert_array_equal(images, expected)
        np.testing.assert_allclose(joints, truth, atol=1e-6)


def test_an_epoch_shows_everyone_once_and_drops_the_rest(data):
    order = pipeline.order(3, 1, np.arange(len(data.ids)))

    assert sorted(order) == list(range(24))
    assert len(epoch(data)) == 4  # 24 // 5


def test_a_batch_depends_on_seed_and_epoch_alone(data):
    first, again = epoch(data), epoch(data)
    for (images, joints), (images2, joints2) in zip(first, again, strict=True):
        np.testing.assert_array_equal(images, images2)
        np.testing.assert_array_equal(joints, joints2)

    assert (first[0][0] != epoch(data, epoch=1)[0][0]).any()
    assert (first[0][0] != epoch(data, seed=1)[0][0]).any()


def test_starting_late_is_the_tail_of_the_epoch(data):
    whole, tail = epoch(data), epoch(data, first_step=2)

    assert len(tail) == 2
    for (images, joints), (images2, joints2) in zip(whole[2:], tail, strict=True):
        np.testing.assert_array_equal(images, images2)
        np.testing.assert_array_equal(joints, joints2)


def test_sizes_off_the_grid_are_refused(data):
    with pytest.raises(InputError, match="must be prepared with --size 63"):
        next(pipeline.samples(data, np.arange(2), 63))
    with pytest.raises(InputError, match="must be prepared with --size 128"):
        next(pipeline.samples(data, np.arange(2), 128))


@pytest.fixture
def rooms(tmp_path):
    """A folder with one picture, of a colour that no other picture has."""
    folder = tmp_path / "rooms"
    folder.mkdir()
    cv2.imwrite(
        str(folder / "empty.png"), np.full((300, 400, 3), (250, 3, 7), np.uint8)
    )
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_new_looks_belong_to_the_sample(data, rooms):
    looks = Augmentation(clothing=0.5, background=0.5, rooms=str(rooms))

    first, again = epoch(data, looks), epoch(data, looks, first_step=2)

    for (images, _), (images2, _) in zip(first[2:], again, strict=True):
        np.testing.assert_array_equal(images, images2)
    shown = np.concatenate([images for images, _ in first])
    moved = (shown[:, 0, 0] == (7, 3, 250)).all(axis=-1)
    assert 0 < moved.sum() < len(moved)
    # Partly annotated persons stay, see conftest.
    joints = np.concatenate([joints for _, joints in first])
    assert not moved[(joints[..., 2] == 0).any(axis=-1)].any()


def test_rooms_are_kept_small(rooms):
    (room,) = pipeline.read_rooms(str(rooms), 64)

    assert room.shape == (160, 213, 3)  # 0.4 of 160 is 64
    (whole,) = pipeline.read_rooms(str(rooms / "empty.png"), 128)
    assert whole.shape == (300, 400, 3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none", "augmentation.rooms: .* there is no .*none"),
        (".", "augmentation.rooms: .* must be a folder with pictures"),
        ("rooms/notes.txt", "notes.txt must be a picture"),
        ("0", "must be a picture or a folder of pictures. Received: camera 0"),
    ],
)
def test_rooms_that_are_none_are_refused(data, rooms, name, message):
    path = name if name == "0" else str(rooms.parent / name)

    with pytest.raises(InputError, match=message):
        epoch(data, Augmentation(background=1, rooms=path))
