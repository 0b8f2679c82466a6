"""Prepared data -> batches: ``tf.data`` over random reads of the shards.

The order of the samples is a function of (seed, epoch), their augmentation of
(seed, epoch, sample), so that a batch is known by its number: a training that was
killed goes on at any step with exactly what it would have seen.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kpose import augment, looks, sources
from kpose import images as images_of
from kpose.augment import Augmentation, Parameters
from kpose.errors import InputError
from kpose.images import Image, central_slice
from kpose.records import ImageRef
from kpose.shards import PreparedData


def order(seed: int, epoch: int, indices: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return ``indices`` in the order of that epoch."""
    # Counter word 1 keeps these numbers apart from those that augment.draw uses.
    philox = np.random.Philox(key=seed, counter=[0, 1, epoch, 0])
    return np.random.Generator(philox).permutation(indices)


def training_batches(
    data: PreparedData,
    indices: NDArray[np.integer],
    augmentation: Augmentation,
    *,
    size: int,
    batch: int,
    seed: int,
    epoch: int,
    first_step: int = 0,
) -> tf.data.Dataset:
    """Return one epoch of augmented batches, from step ``first_step`` on.

    Args:
        data: The prepared persons.
        indices: Which of them are trained on.
        augmentation: The ranges.
        size: Side of the pictures in pixels.
        batch: Persons per batch; a last smaller batch is left out.
        seed: Of order and augmentation.
        epoch: 0-based.
        first_step: Batches of the epoch to skip, without reading them.

    Returns:
        Pictures ``(batch, size, size, 3)`` float32 RGB 0..255 and joints
        ``(batch, joints, 3)`` float32 in crop units.
    """
    rooms = require(data, augmentation, size)
    shuffled = order(seed, epoch, indices)
    # What is None is so for every sample, and does not go through the graph.
    like = augment.draw(augmentation, seed, epoch, [0])
    drawn = [name for name, value in like._asdict().items() if value is not None]
    kinds = [tf.string] + [tf.float32] * len(drawn) + [tf.uint8] * bool(rooms)

    def load(step: NDArray[np.int64]) -> tuple[Any, ...]:
        chosen = shuffled[int(step) * batch : (int(step) + 1) * batch]
        serialized = np.array([data.read(int(i)) for i in chosen], object)
        parameters = augment.draw(augmentation, seed, epoch, chosen)
        loaded = serialized, *(getattr(parameters, name) for name in drawn)
        if rooms:
            loaded = *loaded, looks.backgrounds(rooms, parameters, size)
        return loaded

    def make(step: Any) -> tuple[Any, Any]:
        # stateless: without it, op determinism runs the reads one after the other
        serialized, *rest = tf.numpy_function(load, [step], kinds, stateful=False)
        serialized.set_shape([batch])
        behind = rest.pop() if rooms else None
        if behind is not None:
            behind.set_shape((batch, size, size, 3))
        for name, value in zip(drawn, rest, strict=True):
            value.set_shape((batch, *getattr(like, name).shape[1:]))
        images, joints = _decode(data, serialized)
        return augment.apply(
            images,
            joints,
            Parameters(**dict(zip(drawn, rest, strict=True))),
            size=size,
            swap=data.skeleton.swap,
            names=data.skeleton.names,
            rooms=behind,
        )

    steps = tf.data.Dataset.range(first_step, len(indices) // batch)
    return steps.map(make, num_parallel_calls=2, deterministic=True).prefetch(2)


def require(
    data: PreparedData, augmentation: Augmentation, size: int
) -> tuple[Image, ...]:
    """Return the rooms to swap backgrounds for; none where none are swapped.

    Raises:
        InputError: If the data have no crops for that size, or not the joints for a
            change of clothes or background, or a room cannot be read.
    """
    _check_size(data, size)
    if augmentation.clothing or augmentation.background:
        looks.require_body(data.skeleton.names)
    return read_rooms(augmentation.rooms, size) if augmentation.background else ()


def read_rooms(path: str, size: int) -> tuple[Image, ...]:
    """Return the pictures of empty rooms that ``looks.backgrounds`` cuts from.

    Args:
        path: A picture or a folder of pictures; they are read in order of name.
        size: Side of the network's pictures: a room is kept no larger than what shows
            at least one pixel for one of them.

    Returns:
        RGB uint8 pictures, at least one.

    Raises:
        InputError: If there is no picture, or one cannot be read.
    """
    files, problems = sources.find([path])
    if problems:
        raise InputError(f"augmentation.rooms: {problems[0]}")
    return tuple(_room(file, size) for file in files)


@functools.lru_cache(maxsize=256)
def _room(file: sources.Source, size: int) -> Image:
    if not isinstance(file, Path):
        raise InputError(
            "augmentation.rooms must be a picture or a folder of pictures. "
            f"Received: {file}"
        )
    image = images_of.read(ImageRef(file))
    # The smallest part that is shown is 0.4 of the shorter side.
    factor = size / (0.4 * min(image.shape[:2]))
    if factor >= 1:
        return image
    width, height = (max(round(factor * n), 1) for n in image.shape[1::-1])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def samples(
    data: PreparedData, indices: NDArray[np.integer], size: int, batch: int = 32
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """Yield batches without augmentation, in the order of ``indices``.

    Where ``size`` is the crop size that was prepared, a picture is the stored central
    slice to the bit; else it is resampled (bilinear) from the stored grid.

    Yields:
        Pictures ``(n, size, size, 3)`` uint8 RGB and joints ``(n, joints, 3)`` float32
        in crop units, n at most ``batch``.
    """
    _check_size(data, size)
    for start in range(0, len(indices), batch):
        chosen = indices[start : start + batch]
        serialized = tf.constant([data.read(int(i)) for i in chosen])
        images, joints = _decode(data, serialized)
        if size == data.size:
            pixels = central_slice(images.numpy(), size)
        else:
            same = augment.identity(len(chosen))
            swap = data.skeleton.swap
            warped, _ = augment.apply(images, joints, same, size=size, swap=swap)
            pixels = np.rint(np.asarray(warped)).astype(np.uint8)
        yield pixels, joints.numpy()


def _decode(data: PreparedData, serialized: Any) -> tuple[Any, Any]:
    """Return stored pictures (uint8) and joints (float32) of serialized examples."""
    count = len(data.skeleton)
    parsed = tf.io.parse_example(
        serialized,
        {
            "image": tf.io.FixedLenFeature([], tf.string),
            "joints": tf.io.FixedLenFeature([count, 3], tf.float32),
        },
    )
    side = data.stored_side

    def picture(encoded: Any) -> Any:
        if data.summary["codec"] == "jpeg":
            # The default transform differs from OpenCV's decoder by up to 6 levels.
            pixels = tf.io.decode_jpeg(
                encoded, channels=3, dct_method="INTEGER_ACCURATE"
            )
        else:
            pixels = tf.io.decode_png(encoded, channels=3)
        return tf.ensure_shape(pixels, (side, side, 3))

    images = tf.map_fn(
        picture,
        parsed["image"],
        fn_output_signature=tf.TensorSpec((side, side, 3), tf.uint8),
    )
    return images, parsed["joints"]


def _check_size(data: PreparedData, size: int) -> None:
    if (data.stored_side - size) % 2 or size > data.stored_side:
        raise InputError(
            f"{data.folder} must be prepared with --size {size} for a network that "
            f"sees {size} pixels. Received: --size {data.size}"
        )
