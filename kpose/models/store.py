"""Keep and find trained networks: ``.keras`` files with their card inside."""

import hashlib
import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import keras
import numpy as np
from numpy.typing import NDArray

import kpose
from kpose.artefacts import CARD, kind_of, packaged, read_card, resolve
from kpose.errors import InputError
from kpose.files import atomic_file
from kpose.models import heads

__all__ = [
    "average",
    "load",
    "packaged",
    "read_card",
    "resolve",
    "save",
    "weights_hash",
]

H5 = "model.weights.h5"
"""Name of the weights in Keras's zip."""


def save(
    network: keras.Model, card: dict[str, Any], path: Path, half: bool = False
) -> dict[str, Any]:
    """Write the network and its card as one ``.keras`` file, whole or not at all.

    Args:
        network: Functional and not compiled, so that no optimizer is stored.
        card: At least ``skeleton`` and ``size``. ``kpose`` (the version),
            ``parameters`` and ``sha256`` (of the weights) are set here.
        path: Ends in ``.keras``.
        half: Whether to store the weights as float16, for half the size. They load as
            float32 variables that hold the rounded values; ``sha256`` is theirs.

    Returns:
        The card as stored.

    Raises:
        InputError: If the path does not end in ``.keras``, or a weight does not fit
            float16.
    """
    if path.suffix != ".keras":
        raise InputError(f"a checkpoint must be named *.keras. Received: {path}")
    card = {
        **card,
        "kpose": kpose.__version__,
        "parameters": network.count_params(),
        "sha256": weights_hash(network, half),
    }
    with atomic_file(path) as beside:
        network.save(beside)
        if half:
            _halve(beside)
        with zipfile.ZipFile(beside, "a") as archive:
            archive.writestr(CARD, json.dumps(card, indent=1, ensure_ascii=False))
    return card


def load(model: str | Path) -> tuple[keras.Model, dict[str, Any]]:
    """Return a stored network, not compiled, and its card.

    Args:
        model: A run folder, a ``.keras`` file or the name of a packaged model.

    Raises:
        InputError: If it is no ``.keras`` file of kpose, or it is damaged.
    """
    path = resolve(model)
    if (kind := kind_of(path)) != "keras":
        raise InputError(
            "expected a .keras file, the only form whose network can be changed or "
            f"exported, got {path} (a {kind} artefact)"
        )
    card = read_card(path)
    try:
        network = _load_network(path)
    except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
        first = (str(error).strip() or repr(error)).splitlines()[0]
        raise InputError(
            f"expected a .keras file that this kpose can load, got {path} "
            f"of kpose {card.get('kpose')}: {first}"
        ) from None
    found = weights_hash(network)
    if card.get("sha256") != found:
        raise InputError(
            f"expected weights with sha256 {card.get('sha256')} in {path}, as its card "
            f"says, got {found}"
        )
    return network, card


def average(
    first: str | Path, second: str | Path, share: float, path: Path
) -> dict[str, Any]:
    """Write the network between two: every weight is ``a + share * (b - a)``.

    Between a pretrained network and what was finetuned from it lie networks that have
    some of the skill of both (Wortsman et al., WiSE-FT, 2022). Statistics of batch
    normalisation are averaged too.

    Args:
        first: A network, as for ``load``.
        second: Another one of the same architecture and joints.
        share: The part of the second, 0 to 1.
        path: Ends in ``.keras``.

    Returns:
        The card as stored. It has no scores and no calibration of the confidence, since
        those of the two do not hold here.

    Raises:
        InputError: If the two differ in more than their weights, or the share is not
            between 0 and 1.
    """
    if not 0 <= share <= 1:
        raise InputError(f"a share must be from 0 to 1. Received: {share}")
    network, card = load(first)
    other, other_card = load(second)
    for key in ("model", "skeleton", "size"):
        if card.get(key) != other_card.get(key):
            raise InputError(
                f"an average must be of networks with the same {key}. Received: "
                f"{card.get(key)!s:.100} and {other_card.get(key)!s:.100}"
            )
    for mine, its in zip(network.variables, other.variables, strict=True):
        if "float" in mine.dtype:
            a, b = (np.asarray(v, np.float64) for v in (mine, its))
            # In double precision, so that a share of 1 is the second to the bit.
            mine.assign((a + share * (b - a)).astype(np.float32))
    heads.set_calibration(network, None)
    trained = [one.get("training", {}) for one in (card, other_card)]
    both = {key: other_card[key] for key in other_card if key not in _OF_WEIGHTS}
    both["training"] = {
        "average": {
            "share": share,
            "of": [
                {"sha256": one["sha256"], "training": one.get("training", {})}
                for one in (card, other_card)
            ],
        },
        "data": _sources(trained),
        "test_persons_trained_on": sum(
            one.get("test_persons_trained_on", 0) for one in trained
        ),
    }
    return save(network, both, path)


_OF_WEIGHTS = ("confidence", "scores", "training")
"""What a card says that holds for its own weights alone."""


def _sources(trained: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the data of several trainings, an entry that they share once."""
    entries: list[dict[str, Any]] = []
    for one in trained:
        entries += [entry for entry in one.get("data", []) if entry not in entries]
    return entries


def _load_network(path: Path) -> keras.Model:
    if path.suffix == ".keras":
        return keras.saving.load_model(path, compile=False)
    # Keras goes by the name, kpose by the content.
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder) / "network.keras"
        named.symlink_to(path.resolve())
        return keras.saving.load_model(named, compile=False)


def weights_hash(network: keras.Model, half: bool = False) -> str:
    """Return the sha256 of all weights in order, as float32 bytes.

    Args:
        network: A built network.
        half: Whether to round the weights to float16 first.
    """
    digest = hashlib.sha256()
    for variable in network.weights:
        value = np.asarray(keras.ops.convert_to_numpy(variable), np.float32)
        if half:
            value = _rounded(value, variable.path).astype(np.float32)
        digest.update(value.astype("<f4").tobytes())
    return digest.hexdigest()


def _rounded(value: NDArray[np.float32], name: str) -> NDArray[np.float16]:
    if np.abs(value).max(initial=0.0) > np.finfo(np.float16).max:
        raise InputError(
            f"weights must be at most {np.finfo(np.float16).max:.0f} to be stored as "
            f"float16. Received: {np.abs(value).max()} in {name}"
        )
    return value.astype(np.float16)


def _halve(path: Path) -> None:
    """Store the float32 arrays of a ``.keras`` file as float16."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    halved = io.BytesIO()
    with (
        h5py.File(io.BytesIO(members[H5]), "r") as source,
        h5py.File(halved, "w") as target,
    ):
        _copy_halved(source, target)
    members[H5] = halved.getvalue()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def _copy_halved(source: h5py.Group, target: h5py.Group) -> None:
    target.attrs.update(source.attrs)
    for name, item in source.items():
        if isinstance(item, h5py.Group):
            _copy_halved(item, target.create_group(name))
        else:
            value = item[()]
            if value.dtype == np.float32:
                value = _rounded(value, item.name)
            target.create_dataset(name, data=value).attrs.update(item.attrs)
