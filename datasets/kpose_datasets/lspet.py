"""Leeds Sports Pose Extended: 10,000 persons by crowd workers (docs/formats.md 4)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kpose.joints import BODY_13
from kpose.records import ImageRef, PersonRecord
from kpose_datasets.lsp import load_joints, to_skeleton

SKELETON = BODY_13

LICENCE = "LSPET: none stated; cite Johnson and Everingham, CVPR 2011; research only"


def read(root: Path) -> Iterator[PersonRecord]:
    """Yield every labelled person, also those whose picture is absent.

    Args:
        root: The folder that has ``joints.mat`` and ``images/im00001.jpg`` onwards.

    Raises:
        InputError: If ``joints.mat`` is missing or is not LSPET's.
    """
    labels = load_joints(root, "(14, 3, persons)", (14, 3, None))
    for number, person in enumerate(np.moveaxis(labels, -1, 0), start=1):
        # The flag is 1 where a joint is *annotated*, the opposite of LSP's meaning;
        # the coordinates of the others are garbage. Nothing tells occluded ones apart.
        yield PersonRecord(
            id=f"im{number:05}",
            image=ImageRef(root / "images" / f"im{number:05}.jpg"),
            joints=to_skeleton(person[:, :2], (person[:, 2] == 1).astype(np.float32)),
            visible=np.full(len(SKELETON), -1, np.int8),
            source="lspet",
            group=f"im{number:05}",
            split="train",
            head_rule="mid",
        )
