"""What a report says about the whole system."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from kpose.evaluation import DEFINITION as JOINTS
from kpose.report import (
    Figured,
    Pictures,
    Section,
    Table,
    Text,
    label,
    photo,
    png,
)
from kpose.system import (
    BEST,
    DEFINITION,
    WARM_UP,
    Mistake,
    SystemScores,
    detector_table,
    joint_table,
    percent,
    time_table,
)

BOXES = (
    "Labelled persons are green, detections blue; boxes of right pairs are dashed. "
    "What is black lies outside the picture."
)


def system_sections(scores: SystemScores, facts: str = "") -> list[Section]:
    """Return the sections of a report.

    Args:
        scores: What ``kpose.system.evaluate`` returned.
        facts: How it was evaluated, and on whom.
    """
    sections: list[Section] = [
        Table("Joints", *joint_table(scores), facts),
        Text("What the numbers mean", JOINTS),
        Table(f"Detector: {scores.detector}", *detector_table(scores), DEFINITION),
        Pictures("IoU of the best detection", [plot_iou(scores)]),
        Table(
            "Time",
            *time_table(scores),
            f"{len(scores.times['total'])} of {scores.pictures} pictures, "
            f"{scores.detections / scores.pictures:.2f} detections in each; "
            f"the first {WARM_UP} are left out where there are enough. Drawing is the "
            "overlay, without writing it.",
        ),
    ]
    for title, mistakes, count, order in (
        (
            "False negatives",
            scores.missed,
            scores.pictures_with_false_negatives,
            "least IoU first",
        ),
        (
            "False positives",
            scores.false,
            scores.pictures_with_false_positives,
            "highest score first",
        ),
    ):
        if mistakes:
            shown = f"{len(mistakes)} of {count} pictures, {order}. {BOXES}"
            sections.append(Pictures(title, _photos(mistakes), shown))
    return sections


def _photos(mistakes: Sequence[Mistake]) -> list[Figured]:
    return [photo(mistake.image, mistake.caption) for mistake in mistakes]


def plot_iou(scores: SystemScores) -> Figured:
    """Plot how many persons have a best detection of which IoU."""
    figure = Figure(figsize=(7.2, 3.0), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.hist(scores.best_iou, bins=20, range=(0, 1), color="#0072B2")
    for iou in BEST:
        axes.axvline(iou, color="#1f2328", lw=0.8)
    axes.set_xlim(0, 1)
    label(axes, "IoU of the best detection", "persons")
    shares = ", ".join(f"{scores.best_over(iou):.1f} % over {iou}" for iou in BEST)
    nobody = percent(int((scores.best_iou == 0).sum()), scores.persons)
    caption = f"{shares}; {nobody:.1f} % are not touched by any."
    return Figured(png(figure), caption, "iou")
