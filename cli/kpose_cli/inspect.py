"""``kpose inspect``: the card of a model, whatever it is stored as."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from kpose_cli.common import echo_summary, json_option


@click.command()
@click.argument("model", required=False)
@click.option("--list", "listing", is_flag=True, help="Name the packaged models.")
@json_option
def inspect(model: str | None, listing: bool, as_json: bool) -> None:
    """Show what MODEL is: its joints, input, training data, licences and scores.

    MODEL is the name of a packaged model, a run folder, a .keras file, a SavedModel
    folder or a TFLite file; or a data folder of `kpose prepare`.
    """
    from kpose import artefacts

    if listing:
        names = artefacts.packaged()
        echo_summary({"models": names}, as_json, "\n".join(names) or "none")
        return
    if model is None:
        raise click.UsageError("needs a MODEL, or --list")
    if (Path(model) / "dataset.json").is_file():
        from kpose.files import read_json

        shown = read_json(Path(model) / "dataset.json")
    else:
        path = artefacts.resolve(model)
        shown = {"file": str(path), "kind": artefacts.kind_of(path)}
        shown |= artefacts.read_card(path)
    echo_summary(shown, as_json, "\n".join(_lines(shown)))


def _lines(value: dict[str, Any], indent: str = "") -> Iterator[str]:
    """Lay a card out for reading: nested objects indented, lists on one line."""
    for key, item in value.items():
        if isinstance(item, dict):
            yield f"{indent}{key}:"
            yield from _lines(item, indent + "  ")
        elif isinstance(item, list) and item and isinstance(item[0], dict):
            yield f"{indent}{key}:"
            for entry in item:
                yield f"{indent}  - {_flat(entry)}"
        else:
            yield f"{indent}{key}: {_flat(item)}"


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_flat(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(
            "-".join(map(_flat, item)) if isinstance(item, list) else _flat(item)
            for item in value
        )
    return value if isinstance(value, str) else json.dumps(value)
