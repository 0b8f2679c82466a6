"""Training recipes: one standalone TOML file each, read into frozen dataclasses.

No inheritance and no defaults that a file does not show for what it uses: a file says
all there is to know about its experiment. Unknown keys are errors.
"""

import dataclasses
import json
import tomllib
import types
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from kpose.augment import Augmentation
from kpose.errors import InputError
from kpose.splits import VALIDATION

OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("constant", "steps", "cosine")


@dataclass(frozen=True)
class Training:
    """How a network is trained.

    Args:
        epochs: Passes over the training persons.
        batch: Persons per step, over all devices.
        optimizer: ``"sgd"``: Caffe's, momentum 0.9, L2 decay in the gradient of kernels
            and twice the rate for biases (docs/paper-readings.md, reading 19).
            ``"adamw"``: decoupled decay of kernels.
        learning_rate: The highest rate.
        weight_decay: For kernels; biases and normalisation have none.
        schedule: ``"constant"``; ``"steps"``: a tenth after 70 % and again after 80 %
            of the steps; ``"cosine"``: down to 0.
        warmup_epochs: Epochs over which the rate rises from 0.
        ema: Decay of the running average of the weights that is validated and kept, 0
            for none.
        validation_persons: Fully annotated persons held out, by group, where the data
            has no validation split of its own.
        patience: Epochs without a better validation score before it stops, 0 for never.
        sigma: Width of the SimCC target in crop units; other heads ignore it.
        seed: Of initial weights, order, augmentation and held-out persons.
    """

    epochs: int
    batch: int
    optimizer: str
    learning_rate: float
    weight_decay: float = 0.0
    schedule: str = "constant"
    warmup_epochs: float = 0.0
    ema: float = 0.0
    validation_persons: int = VALIDATION
    patience: int = 0
    sigma: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        for name, allowed in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"training.{name} must be one of {', '.join(allowed)}. "
                    f"Received: {getattr(self, name)!r}"
                )
        for name in ("epochs", "batch", "learning_rate", "sigma"):
            if not getattr(self, name) > 0:
                raise InputError(
                    f"training.{name} must be positive. Received: {getattr(self, name)}"
                )
        for name in ("weight_decay", "warmup_epochs", "validation_persons", "patience"):
            if getattr(self, name) < 0:
                raise InputError(
                    f"training.{name} must not be negative. "
                    f"Received: {getattr(self, name)}"
                )
        if not 0 <= self.ema < 1:
            raise InputError(f"training.ema must be in [0, 1). Received: {self.ema}")


@dataclass(frozen=True)
class Config:
    """One experiment: the network, its training and the augmentation.

    Args:
        model: ``name`` and the options of that network's ``build``; empty where the
            network is that of ``--init``.
        training: The recipe.
        augmentation: The ranges; none by default.
    """

    training: Training
    model: dict[str, Any] = field(default_factory=dict)
    augmentation: Augmentation = field(default_factory=Augmentation)

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts, as ``from_json`` reads them."""
        value = dataclasses.asdict(self)
        # Runs that were started before there were such keys can go on.
        for key in ("clothing", "background", "rooms"):
            if not value["augmentation"][key]:
                del value["augmentation"][key]
        return value

    @classmethod
    def from_json(cls, value: Any, name: str = "config") -> "Config":
        """Return the config in nested dicts.

        Raises:
            InputError: If a table or key is unknown or missing, or a value has the
                wrong type; the message names it and ``name``.
        """
        if not isinstance(value, dict):
            raise InputError(f"{name} must have tables. Received: {value!r:.100}")
        unknown = set(value) - {"model", "training", "augmentation"}
        if unknown:
            raise InputError(
                f"{name}: tables must be model, training and augmentation. "
                f"Received: {', '.join(sorted(unknown))}"
            )
        model = value.get("model", {})
        if not isinstance(model, dict) or (model and "name" not in model):
            raise InputError(f"{name}: [model] must have a name. Received: {model!r}")
        return cls(
            _parse(Training, value.get("training", {}), f"{name}: [training]"),
            model,
            _parse(
                Augmentation, value.get("augmentation", {}), f"{name}: [augmentation]"
            ),
        )

    def to_toml(self) -> str:
        """Return the config as TOML text."""
        lines: list[str] = []
        for table, values in self.to_json().items():
            lines += ["", f"[{table}]"]
            # Strings, numbers and booleans are written alike in JSON and TOML.
            lines += [f"{key} = {json.dumps(item)}" for key, item in values.items()]
        return "\n".join(lines[1:]) + "\n"


def presets() -> list[str]:
    """Return the names of the recipes in the package."""
    folder = resources.files("kpose") / "configs"
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    )


def load(preset: str | Path) -> Config:
    """Return the recipe of that name in the package, or in that TOML file.

    Raises:
        InputError: If there is no such recipe, or the file is wrong.
    """
    if str(preset) in presets():
        text = (resources.files("kpose") / "configs" / f"{preset}.toml").read_text(
            "utf-8"
        )
    else:
        try:
            text = Path(preset).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise InputError(
                f"preset must be one of {', '.join(presets())} or a TOML file. "
                f"Received: {preset}"
            ) from None
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{preset} must be a TOML file: {error}") from None
    return Config.from_json(value, str(preset))


def _parse(kind: type, value: Any, name: str) -> Any:
    if not isinstance(value, dict):
        raise InputError(f"{name} must be a table. Received: {value!r:.100}")
    fields = {f.name: f for f in dataclasses.fields(kind)}
    unknown = set(value) - set(fields)
    if unknown:
        raise InputError(
            f"{name}: keys must be of {', '.join(fields)}. "
            f"Received: {', '.join(sorted(unknown))}"
        )
    for key, item in value.items():
        wanted = fields[key].type
        allowed = get_args(wanted) if isinstance(wanted, types.UnionType) else (wanted,)
        if float in allowed:
            allowed = (*allowed, int)
        if not isinstance(item, allowed) or isinstance(item, bool):
            names = " or ".join(t.__name__ for t in allowed)
            raise InputError(f"{name}: {key} must be {names}. Received: {item!r}")
    missing = [
        key
        for key, f in fields.items()
        if f.default is dataclasses.MISSING and key not in value
    ]
    if missing:
        raise InputError(f"{name} lacks {', '.join(missing)}")
    return kind(**value)
