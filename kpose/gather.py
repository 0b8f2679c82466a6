"""Read the labels of all sources once and keep them in little memory.

Half a million persons take some hundred megabytes: the records wait packed, a shard's
worth each, for the process that cuts their crops.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from kpose.joints import Skeleton
from kpose.records import PersonRecord
from kpose.screening import Source, Tally, pack, usable


@dataclass
class Labels:
    """The usable labels of all sources, in order.

    Args:
        chunks: ``screening.pack`` of the records of each shard.
        counts: How many records each chunk has.
        tallies: What became of all labels, by source.
        digest: Of everything in the records and of the names and sizes of their
            pictures. Hashing the pictures' bytes would take as long as the work.
    """

    chunks: list[bytes]
    counts: list[int]
    tallies: dict[str, Tally]
    digest: bytes

    @property
    def labels(self) -> int:
        """How many labels there are, usable or not."""
        return sum(tally.labels for tally in self.tallies.values())

    @property
    def records(self) -> int:
        """How many of them are usable, as far as labels and file names tell."""
        return sum(self.counts)


def gather(
    sources: Sequence[Source],
    skeleton: Skeleton,
    strict: bool,
    per_chunk: int,
    each: Callable[[PersonRecord], None] = lambda record: None,
    good: Callable[[PersonRecord], None] = lambda record: None,
) -> Labels:
    """Read the sources.

    Args:
        sources: The data sets.
        skeleton: The joints that the records must have.
        strict: Make the first bad record an error.
        per_chunk: Records per chunk.
        each: Called with every usable record.
        good: Called with every record whose labels are in order, also where the
            picture is not there.

    Raises:
        InputError: If a source cannot be read, or a record is bad and ``strict``.
    """
    tallies: dict[str, Tally] = {}
    digest = hashlib.sha256()

    def records() -> Iterator[PersonRecord]:
        for record, size in usable(sources, skeleton, strict, tallies, good):
            digest.update(_identity(record, size))
            each(record)
            yield record

    chunks, counts = [], []
    chunk: list[PersonRecord] = []
    for record in records():
        chunk.append(record)
        if len(chunk) == per_chunk:
            chunks.append(pack(chunk))
            counts.append(len(chunk))
            chunk = []
    if chunk:
        chunks.append(pack(chunk))
        counts.append(len(chunk))
    return Labels(chunks, counts, tallies, digest.digest())


def _identity(record: PersonRecord, size: int) -> bytes:
    """Return bytes that differ where the crop, or what is said of it, may differ."""
    ref = record.image
    picture = (os.path.abspath(ref.path), size, ref.frame, ref.mirrored)
    words = (record.id, record.source, record.group, record.split, record.head_rule)
    more = (record.box, record.head_size, record.area)
    where = (record.recording, record.subject, record.clothing)
    text = repr((picture, words, more, where)).encode(errors="surrogatepass")
    return text + record.joints.tobytes() + record.visible.tobytes()
