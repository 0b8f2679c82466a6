"""Leeds Sports Pose Extended: 10,000 persons by crowd workers.

Format and traps: datasets/cards/lspet.md.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kpose.joints import BODY_13
from kpose.records import ImageRef, PersonRecord
from kpose_datasets.lsp import HEAD_TOP, JOINT_MAP, NECK, head_sizes, load_joints

SKELETON = BODY_13

LICENCE = "LSPET: none stated; cite Johnson and Everingham, CVPR 2011; research only"


def read(root: Path) -> Iterator[PersonRecord]:
    """Yield every labelled person, also those whose picture is absent.

    Args:
        root: The folder that has ``joints.mat`` and ``images/im00001.jpg`` onwards.

    Raises:
        InputError: If ``joints.mat`` is missing or is not LSPET's.
    """
    labels = np.moveaxis(load_joints(root, "(14, 3, persons)", (14, 3, None)), -1, 0)
    # The flag is 1 where a joint is *annotated*, the opposite of LSP's meaning; the
    # coordinates of the others are garbage. Nothing tells occluded ones apart.
    annotated = labels[..., 2] == 1
    joints = JOINT_MAP.joints(labels[..., :2], annotated)
    both = annotated[:, [NECK, HEAD_TOP]].all(axis=1)
    heads = np.where(both, head_sizes(labels[..., :2]), 0)
    for index in range(len(labels)):
        name = f"im{index + 1:05}"
        yield PersonRecord(
            id=name,
            image=ImageRef(root / "images" / f"{name}.jpg"),
            joints=joints[index],
            visible=np.full(len(SKELETON), -1, np.int8),
            source="lspet",
            group=name,
            split="train",
            head_rule="mid",
            head_size=float(heads[index]),
        )
