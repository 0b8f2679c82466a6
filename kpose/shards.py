"""TFRecord shards of prepared persons, written and read without TensorFlow."""

import hashlib
import math
import os
import weakref
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import google_crc32c
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from numpy.typing import NDArray

from kpose import images
from kpose.crop_policy import GROUND_TRUTH
from kpose.errors import InputError
from kpose.files import read_json
from kpose.geometry import SquareCrop
from kpose.joints import Skeleton
from kpose.records import PersonRecord

# TFRecord: length as uint64, its checksum, the payload, the payload's checksum; all
# little-endian (tensorflow/core/lib/io/record_writer.h).
HEADER = 12
"""Bytes before a record's payload."""

OVERHEAD = HEADER + 4
"""Bytes of a record besides its payload."""


COLUMNS = (
    *("ids", "source", "group", "recording", "subject", "clothing", "split"),
    *("annotated", "shard", "offset", "length", "box", "iou"),
    *("head_size", "area", "bits"),
)
"""Arrays of ``PreparedData`` with one entry per crop that are not made from others."""

TRAINING_PICTURES = "training_pictures.npz"
"""Fingerprints of the training persons, in a run folder (``kpose.leak``)."""


class Sample(NamedTuple):
    """One crop of a prepared person.

    ``image`` is ``(stored_side, stored_side, 3)`` RGB uint8, the square times 1.5;
    ``joints`` is ``(joints, 3)`` float32: x and y in crop units of ``square``, 1 where
    annotated, else 0, 0, 0; ``visible`` is ``(joints,)`` int8: 1 visible, 0 occluded,
    -1 unknown; ``picture`` is the file name of the source image and ``square`` the crop
    in its pixels; ``box`` is ``"detector"`` or ``"ground_truth"``, what the crop was
    cut around, and ``iou`` the overlap of the best detection with the person, NaN where
    no detector was asked.
    """

    id: str
    source: str
    group: str
    split: str
    picture: str
    image: NDArray[np.uint8]
    joints: NDArray[np.float32]
    visible: NDArray[np.int8]
    square: SquareCrop
    box: str
    iou: float


class PreparedData:
    """A prepared folder, opened for reading by index.

    A person has one crop, or two that follow each other, the detector's first
    (Table 1). ``ids``, ``source``, ``group``, ``split`` (str), ``annotated`` (number of
    annotated joints), ``box``, ``iou`` (as in ``Sample``), ``first`` (whether it is the
    first crop of its person), ``shard``, ``offset`` and ``length`` (where the record's
    payload lies) are arrays with one entry per crop, and so are ``head_size`` (for
    PCKh, crop units, 0 where unknown), ``area`` (for OKS, crop units squared, 0 where
    unknown) and ``bits``, ``(crops, 4)`` uint64, the ``leak.fingerprint`` of
    the network's crop; ``recording`` is the video that a frame is of, "" for a
    photograph; ``subject`` and ``clothing`` say who it is and what they wear, "" where
    unknown. ``size`` is the side of the network's crop in pixels and ``stored_side``
    that of the stored one. ``mean_pose`` is ``(joints, 2)`` float64 in crop units, the
    crop's centre for a joint that is never annotated.
    """

    def __init__(
        self, folder: Path, summary: dict[str, Any], index: dict[str, NDArray[Any]]
    ) -> None:
        """Take what ``open`` read and checked."""
        self.folder = folder
        self.summary = summary
        self.skeleton = Skeleton.from_json(summary["skeleton"])
        self.size = int(summary["size"])
        self.stored_side = int(summary["stored_side"])
        self.sources: list[dict[str, Any]] = summary["sources"]
        self.fingerprint = str(summary["fingerprint"])
        self.mean_pose = np.array(
            [xy or [0.5, 0.5] for xy in summary["mean_pose"]], np.float64
        )
        self.files = [folder / shard["file"] for shard in summary["shards"]]
        self.ids, self.source = index["ids"], index["source"]
        self.group, self.split = index["group"], index["split"]
        self.annotated, self.shard = index["annotated"], index["shard"]
        self.offset, self.length = index["offset"], index["length"]
        count = len(self.ids)
        # Only there where a detector was asked.
        self.box = index.get("box", np.full(count, GROUND_TRUTH))
        self.iou = index.get("iou", np.full(count, np.nan, np.float32))
        # Folders of the first version lack these.
        self.head_size = index.get("head_size", np.zeros(count, np.float32))
        self.area = index.get("area", np.zeros(count, np.float32))
        self.bits = index.get("bits", np.zeros((count, 4), np.uint64))
        self.recording = index.get("recording", np.full(count, ""))
        self.subject = index.get("subject", np.full(count, ""))
        self.clothing = index.get("clothing", np.full(count, ""))
        self.first = first_crops(self.ids, self.source)
        self._descriptors = [os.open(file, os.O_RDONLY) for file in self.files]
        weakref.finalize(self, _close, self._descriptors)

    @classmethod
    def open(cls, folder: Path) -> "PreparedData":
        """Open what ``prepare`` wrote.

        Raises:
            InputError: If the folder is not prepared data or is unfinished, or a shard
                is missing or cut short.
        """
        folder = Path(folder)
        if not (folder / "dataset.json").is_file():
            state = (
                "is unfinished: run the same prepare again"
                if (folder / "prepare.json").is_file()
                else "has no dataset.json"
            )
            raise InputError(
                f"{folder} must be a folder of `kpose prepare`, but {state}"
            )
        summary = read_json(folder / "dataset.json")
        try:
            for shard in summary["shards"]:
                _require_whole(folder / shard["file"], int(shard["bytes"]))
            index = load_arrays(folder / "index.npz")
            crops = sum(int(shard["records"]) for shard in summary["shards"])
            if len(index["ids"]) != crops:
                raise InputError(
                    f"{folder / 'index.npz'} must have {crops} crops. "
                    f"Received: {len(index['ids'])}"
                )
            return cls(folder, summary, index)
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, OSError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{folder} must be a folder of `kpose prepare`, but its dataset.json "
                f"or index.npz is damaged: {error!r}"
            ) from None

    def __len__(self) -> int:
        """Return the number of crops."""
        return len(self.ids)

    @property
    def leak_groups(self) -> NDArray[np.str_]:
        """What ``leak.score`` takes as groups, ``(crops,)``."""
        return leak_groups(vars(self))

    def read(self, index: int) -> bytes:
        """Return the serialised example of one crop, for ``parse`` or TensorFlow.

        Any number of threads may read at a time.

        Raises:
            InputError: If the bytes fail their checksum.
        """
        shard, length = self.shard[index], int(self.length[index])
        data = os.pread(self._descriptors[shard], length + 4, int(self.offset[index]))
        payload = data[:length]
        if data[length:] != _checksum(payload):
            raise InputError(
                f"{self.files[shard]} is damaged: wrong checksum of {self.ids[index]}"
            )
        return payload


def joined(
    first: PreparedData, second: PreparedData, crops: NDArray[np.int64]
) -> PreparedData:
    """Return the crops of ``first`` and, after them, some of ``second``, as one.

    What is said of a folder as a whole, such as its split, is that of ``first``; the
    sources are both.

    Args:
        first: A prepared folder.
        second: Another one with the same joints, size and codec.
        crops: Indices of the crops of ``second``; one that comes twice has two indices
            in the result.

    Raises:
        InputError: If the two cannot be read alike.
    """
    settings = [
        ("joints", *(", ".join(data.skeleton.names) for data in (first, second))),
        ("size", first.size, second.size),
        ("codec", first.summary["codec"], second.summary["codec"]),
    ]
    for name, wanted, found in settings:
        if found != wanted:
            raise InputError(
                f"{second.folder} must have the {name} of {first.folder}, {wanted}. "
                f"Received: {found}"
            )
    fingerprint = hashlib.sha256(f"{first.fingerprint} {second.fingerprint}".encode())
    summary = {
        **first.summary,
        "shards": [
            {"file": str(file.resolve())} for file in first.files + second.files
        ],
        "sources": first.sources + second.sources,
        "fingerprint": fingerprint.hexdigest(),
    }
    moved = vars(second) | {"shard": second.shard + len(first.files)}
    index = {
        name: np.concatenate([vars(first)[name], moved[name][crops]])
        for name in COLUMNS
    }
    both = PreparedData(first.folder, summary, index)
    # The last person of one may be the first of the other.
    both.first = np.concatenate([first.first, second.first[crops]])
    return both


def first_crops(ids: NDArray[Any], source: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which crops are the first of their person; those of one are neighbours.

    Args:
        ids: ``(crops,)`` ids of the persons, unique in their source.
        source: ``(crops,)`` names of the data sets.
    """
    first = np.ones(len(ids), bool)
    first[1:] = (ids[1:] != ids[:-1]) | (source[1:] != source[:-1])
    return first


def leak_groups(index: dict[str, NDArray[Any]]) -> NDArray[np.str_]:
    """Return what ``leak.score`` takes as groups: recordings, else the readers' groups.

    Args:
        index: ``source``, ``group`` and ``recording``, ``(crops,)`` each.
    """
    unit = np.where(index["recording"] == "", index["group"], index["recording"])
    return np.char.add(np.char.add(index["source"], "/"), unit)


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an ``.npz`` file.

    numpy leaves the file open where it is damaged, so it is opened here.
    """
    with path.open("rb") as file, np.load(file) as arrays:
        return dict(arrays)


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _require_whole(shard: Path, size: int) -> None:
    if not shard.is_file():
        raise InputError(f"expected a shard {shard}, but there is none")
    if shard.stat().st_size != size:
        raise InputError(
            f"{shard} must have {size} bytes, but has {shard.stat().st_size}: "
            "it is cut short or was changed"
        )


def read_shard(path: Path) -> Iterator[Sample]:
    """Yield the samples of one shard, in order.

    Raises:
        InputError: If the file is missing, cut short or damaged.
    """
    return map(parse, _payloads(path))


def _checksum(data: bytes) -> bytes:
    """Return TFRecord's masked CRC-32C of ``data``."""
    crc: int = google_crc32c.value(data)
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return masked.to_bytes(4, "little")


def frame(payload: bytes) -> bytes:
    """Return ``payload`` as a TFRecord; it starts ``HEADER`` bytes in."""
    length = len(payload).to_bytes(8, "little")
    return length + _checksum(length) + payload + _checksum(payload)


def _payloads(path: Path) -> Iterator[bytes]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path} must be a readable shard: {error.strerror}") from None
    with file:
        number = 0
        while header := file.read(HEADER):
            length = header[:8]
            payload, crc = b"", b""
            if header[8:] == _checksum(length):
                payload = file.read(int.from_bytes(length, "little"))
                crc = file.read(4)
            if crc != _checksum(payload):
                raise InputError(
                    f"{path} must be a whole TFRecord file, but record {number} is cut "
                    "short or damaged"
                )
            yield payload
            number += 1


def _example_class() -> Any:
    """Declare ``tf.train.Example`` in a pool of its own.

    TensorFlow registers the same names in the default pool, and may be loaded or not.
    """
    field_type = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="kpose/example.proto", package="tensorflow", syntax="proto3"
    )
    for name, kind in (
        ("BytesList", field_type.TYPE_BYTES),
        ("FloatList", field_type.TYPE_FLOAT),
        ("Int64List", field_type.TYPE_INT64),
    ):
        message = file.message_type.add(name=name)
        message.field.add(
            name="value", number=1, type=kind, label=field_type.LABEL_REPEATED
        )
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(("Bytes", "Float", "Int64"), start=1):
        feature.field.add(
            name=f"{name.lower()}_list",
            number=number,
            type=field_type.TYPE_MESSAGE,
            type_name=f".tensorflow.{name}List",
            label=field_type.LABEL_OPTIONAL,
            oneof_index=0,
        )
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(
        name="key",
        number=1,
        type=field_type.TYPE_STRING,
        label=field_type.LABEL_OPTIONAL,
    )
    entry.field.add(
        name="value",
        number=2,
        type=field_type.TYPE_MESSAGE,
        type_name=".tensorflow.Feature",
        label=field_type.LABEL_OPTIONAL,
    )
    features.field.add(
        name="feature",
        number=1,
        type=field_type.TYPE_MESSAGE,
        type_name=".tensorflow.Features.FeatureEntry",
        label=field_type.LABEL_REPEATED,
    )
    example = file.message_type.add(name="Example")
    example.field.add(
        name="features",
        number=1,
        type=field_type.TYPE_MESSAGE,
        type_name=".tensorflow.Features",
        label=field_type.LABEL_OPTIONAL,
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName("tensorflow.Example")
    )


_Example = _example_class()


def serialize(
    record: PersonRecord,
    image: bytes,
    joints: NDArray[np.float32],
    square: SquareCrop,
    box: str,
    iou: float | None,
) -> bytes:
    """Return a crop of a person as a serialised ``tf.train.Example``.

    Args:
        record: Who it is.
        image: The encoded stored crop.
        joints: ``(joints, 3)``: x and y in crop units, 1 where annotated.
        square: The crop in image pixels.
        box: What it was cut around, ``"detector"`` or ``"ground_truth"``.
        iou: Of the best detection with the person. None where no detector was asked:
            the example then has neither ``box`` nor ``iou``.
    """
    example = _Example()
    feature = example.features.feature
    texts = {
        "image": image,
        "id": record.id.encode(),
        "source": record.source.encode(),
        "group": record.group.encode(),
        "split": record.split.encode(),
        "picture": record.image.path.name.encode(),
    }
    for name, value in texts.items():
        feature[name].bytes_list.value.append(value)
    feature["joints"].float_list.value.extend(joints.ravel().tolist())
    feature["visible"].int64_list.value.extend(record.visible.tolist())
    feature["square"].float_list.value.extend(square)
    if iou is not None:
        feature["box"].bytes_list.value.append(box.encode())
        feature["iou"].float_list.value.append(iou)
    # Maps have no order of their own: without this the bytes differ from run to run.
    serialized: bytes = example.SerializeToString(deterministic=True)
    return serialized


def parse(serialized: bytes) -> Sample:
    """Return the sample in a serialised ``tf.train.Example``.

    Raises:
        InputError: If a feature is missing or the picture cannot be decoded.
    """
    feature = _Example.FromString(serialized).features.feature
    try:
        texts = {
            name: feature[name].bytes_list.value[0]
            for name in ("image", "id", "source", "group", "split", "picture")
        }
        square = SquareCrop(*feature["square"].float_list.value)
        box, iou = GROUND_TRUTH, math.nan
        if "iou" in feature:
            box = feature["box"].bytes_list.value[0].decode()
            iou = feature["iou"].float_list.value[0]
    except (IndexError, TypeError) as error:
        raise InputError(f"expected an example of `kpose prepare`: {error}") from None
    name = texts["id"].decode()
    return Sample(
        id=name,
        source=texts["source"].decode(),
        group=texts["group"].decode(),
        split=texts["split"].decode(),
        picture=texts["picture"].decode(),
        image=images.decode(texts["image"], name),
        joints=np.array(feature["joints"].float_list.value, np.float32).reshape(-1, 3),
        visible=np.array(feature["visible"].int64_list.value, np.int8),
        square=square,
        box=box,
        iou=iou,
    )
