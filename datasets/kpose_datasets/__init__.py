"""Readers: one data set per file, each a generator of ``kpose.records.PersonRecord``.

A reader yields every label in a stable order, also where the picture is absent; what
uses the records counts and skips those.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from kpose.joints import Skeleton
from kpose.records import PersonRecord
from kpose_datasets import lsp, lspet

READERS: dict[str, Callable[[Path], Iterator[PersonRecord]]] = {
    "lsp": lsp.read,
    "lspet": lspet.read,
}

LICENCES: dict[str, str] = {
    "lsp": lsp.LICENCE,
    "lspet": lspet.LICENCE,
}

SKELETONS: dict[str, Skeleton] = {
    "lsp": lsp.SKELETON,
    "lspet": lspet.SKELETON,
}
