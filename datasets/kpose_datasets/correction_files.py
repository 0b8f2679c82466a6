"""The files with suspects that Label Studio and CVAT open, and their set-ups."""

from collections.abc import Sequence
from pathlib import Path

from kpose.files import write_text
from kpose.records import PersonRecord
from kpose_datasets import cvat, label_studio
from kpose_datasets.corrections import Suspect

LABEL_STUDIO, LABEL_STUDIO_CONFIG = "suspects.json", "label_studio_config.xml"
"""The tasks, and what goes into Settings > Labeling Interface > Code."""

CVAT, CVAT_CONFIG = "suspects.xml", "cvat_labels.json"
"""The annotations, and what goes into the Raw tab of the label constructor."""


def write(
    folder: Path,
    people: Sequence[tuple[PersonRecord, tuple[int, int], str, float]],
    root: Path,
) -> None:
    """Write four files into ``folder``; ``label_doctor.examine`` calls it.

    Args:
        folder: Where to.
        people: The record, width and height of its picture, reason and score of each
            suspect, in the order in which they are to be shown.
        root: The folder that has all their pictures, to be served by the tool.

    Raises:
        InputError: If a picture is not in ``root``, or is a frame or mirrored.
    """
    suspects = [
        Suspect(record, *size, reason=reason, score=score)
        for record, size, reason, score in people
    ]
    label_studio.write(folder / LABEL_STUDIO, suspects, root)
    write_text(folder / LABEL_STUDIO_CONFIG, label_studio.config())
    cvat.write(folder / CVAT, suspects, root)
    write_text(folder / CVAT_CONFIG, cvat.config())
