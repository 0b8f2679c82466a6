"""Networks: ``build`` makes untrained ones, ``store`` keeps and finds trained ones."""

from collections.abc import Callable
from typing import Any

from kpose.errors import InputError
from kpose.models import compact, linna2016

MODELS: dict[str, Callable[..., Any]] = {
    "compact": compact.build,
    "linna2016": linna2016.build,
}


def build(name: str, **options: Any) -> Any:
    """Return the untrained network ``name``, a functional ``keras.Model``.

    Args:
        name: ``"compact"`` or ``"linna2016"``.
        options: Arguments of that network's ``build``.

    Raises:
        InputError: If the name or an option is unknown.
    """
    if name not in MODELS:
        raise InputError(
            f"model must be one of {', '.join(MODELS)}. Received: {name!r}"
        )
    try:
        return MODELS[name](**options)
    except TypeError as error:
        raise InputError(f"model {name!r}: {error}") from None
