"""Ready-made pose networks of others, asked as a kpose network is.

Each file of this package is one contract. kpose is measured against them on the same
crops, and they are teachers where a recording has no labels. None of their files is
part of kpose; their confidence is their own score, not calibrated.
"""

from pathlib import Path

from kpose import runtime
from kpose.peers import efficientpose, movenet
from kpose.runtime import Runtime

LOADERS = {"movenet": movenet.load, "efficientpose": efficientpose.load}
"""What stands before the ``:`` of a name, and what reads the file behind it."""


def open(model: str | Path) -> Runtime:
    """Return the network of a name.

    Args:
        model: ``movenet:FILE`` or ``efficientpose:FILE``, or what ``runtime.open``
            takes: the name of a packaged model, a run folder, an artefact.

    Raises:
        InputError: If there is none, or it is another than its name says.
    """
    contract, colon, path = str(model).partition(":")
    if colon and contract in LOADERS:
        return LOADERS[contract](Path(path))
    return runtime.open(model)
