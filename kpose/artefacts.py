"""Trained models on disk: which file a user means, what it is, and its card.

A model is a ``.keras`` checkpoint, a SavedModel folder or a TFLite file. What it is
follows from its content, so that it may be renamed and moved, and every form carries
the same card. Nothing here loads TensorFlow.
"""

import json
import struct
import zipfile
from pathlib import Path
from typing import Any, Literal

from kpose.errors import InputError
from kpose.joints import Skeleton

Kind = Literal["keras", "saved_model", "tflite"]

CARD = "kpose.json"
"""Name of the card in the zip of a ``.keras`` file, in the ``assets`` of a SavedModel,
and of the metadata buffer of a TFLite file."""

BEST = "best.keras"
"""The checkpoint of a run folder that stands for the run."""

WEIGHTS = Path(__file__).parent / "weights"
"""The models that come with the package, as ``NAME.keras``."""

WANTED = "a .keras file, a SavedModel folder or a .tflite file that kpose wrote"


def packaged() -> list[str]:
    """Return the names of the models that come with the package."""
    return sorted(path.stem for path in WEIGHTS.glob("*.keras"))


def resolve(model: str | Path) -> Path:
    """Return the file or folder that ``model`` means.

    Args:
        model: The name of a packaged model (it wins over a file of that name:
            ``./compact`` means the file), a run folder (its best checkpoint), or an
            artefact.

    Raises:
        InputError: If there is nothing of that name.
    """
    if str(model) in packaged():
        return WEIGHTS / f"{model}.keras"
    path = Path(model)
    if not path.exists():
        raise InputError(
            f"expected a run folder, {WANTED}, or one of the packaged models "
            f"({', '.join(packaged()) or 'none'}), but there is no {model}"
        )
    if path.is_dir() and (path / BEST).exists():
        return path / BEST
    return path


def kind_of(path: Path) -> Kind:
    """Return what the artefact is, by its content.

    Raises:
        InputError: If it is none of the three.
    """
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return "saved_model"
        raise InputError(
            f"expected {WANTED}, or a run folder with {BEST}, got the folder {path} "
            f"that holds {_listing(path)}"
        )
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise InputError(f"expected {WANTED}, got {path}: {error.strerror}") from None
    if start[4:] == b"TFL3":
        return "tflite"
    if start.startswith(b"PK\3\4"):
        return "keras"
    raise InputError(f"expected {WANTED}, got {path}, which is none of them")


def read_card(model: str | Path) -> dict[str, Any]:
    """Return the card that the model carries.

    Args:
        model: What ``resolve`` takes.

    Raises:
        InputError: If there is no model, it is damaged, or it has no card (a model of
            another tool).
    """
    path = resolve(model)
    read = {"keras": _from_zip, "saved_model": _from_assets, "tflite": _from_buffer}
    text = read[kind_of(path)](path)
    if text is None:
        raise InputError(
            f"expected a model that kpose wrote, got {path}, which has no card "
            f"({CARD}): a model of another tool?"
        )
    try:
        card = json.loads(text)
        Skeleton.from_json(card["skeleton"])
        int(card["size"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"expected a card with skeleton and size in {path}, got {error!r}"
        ) from None
    return dict(card)


def _from_zip(path: Path) -> bytes | None:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(CARD) if CARD in archive.namelist() else None
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"expected a whole .keras file, got {path}: {error}") from None


def _from_assets(path: Path) -> bytes | None:
    card = path / "assets" / CARD
    return card.read_bytes() if card.is_file() else None


def _from_buffer(path: Path) -> bytes | None:
    from ai_edge_litert.schema_py_generated import Model

    data = path.read_bytes()
    try:
        model = Model.GetRootAs(data)
        for index in range(model.MetadataLength()):
            entry = model.Metadata(index)
            if entry.Name() == CARD.encode():
                return bytes(model.Buffers(entry.Buffer()).DataAsNumpy())
    except (struct.error, IndexError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"expected a whole .tflite file, got {path} of {len(data)} bytes: {error}"
        ) from None
    return None


def _listing(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") or "nothing"
