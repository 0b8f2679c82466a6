"""Checks an installed wheel, from a folder that is not the checkout."""

import importlib
import importlib.metadata
import sys
from pathlib import Path

import kpose
import kpose.artefacts
import kpose.config
import kpose_cli
import kpose_datasets

for package in (kpose, kpose_cli, kpose_datasets):
    file = str(package.__file__)
    assert file.startswith(sys.prefix), f"expected it in {sys.prefix}, got {file}"
    assert Path(file).with_name("py.typed").is_file() or package is not kpose

# The folders of the checkout that hold the packages must not come along: they would
# overwrite other people's packages of these names.
for name in ("datasets", "cli", "serving", "bootstrap"):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        continue
    raise AssertionError(f"`import {name}` must fail where only kpose is installed")

checkout = Path(__file__).resolve().parents[1]
for package, folder, pattern in (
    (kpose, "kpose", "configs/*.toml"),
    (kpose, "kpose", "weights/*"),
    (kpose_datasets, "datasets/kpose_datasets", "maps/*.toml"),
):
    wanted = {path.name for path in (checkout / folder).glob(pattern)}
    found = {path.name for path in Path(str(package.__file__)).parent.glob(pattern)}
    assert wanted, f"{folder}/{pattern}: nothing in the checkout"
    assert found == wanted, f"{pattern}: expected {wanted}, got {found}"
for preset in kpose.config.presets():
    kpose.config.load(preset)
for model in kpose.artefacts.packaged():
    kpose.artefacts.read_card(model)
assert importlib.metadata.version("kpose") == kpose.__version__
print(
    f"kpose {kpose.__version__} in {Path(str(kpose.__file__)).parent}: "
    f"recipes {', '.join(kpose.config.presets())}; "
    f"models {', '.join(kpose.artefacts.packaged()) or 'none'}"
)
