"""Reports: one HTML file each, everything inline, no scripts.

A report opens without a network, on a phone too, and can be sent as one attachment.
"""

import base64
import csv
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kpose import drawing, images
from kpose.confidence import MEANING, Reliability, is_calibrated
from kpose.errors import InputError
from kpose.evaluation import (
    COLUMNS,
    CURVE,
    DEFINITIONS,
    Example,
    Scores,
    group_table,
    other_table,
    table,
    with_baseline,
)
from kpose.files import write_text
from kpose.joints import Skeleton
from kpose.metrics import THRESHOLD

RELIABILITY = (
    f"A calibrated confidence is the {MEANING}. Above: the share of correct keypoints "
    "at each confidence; on the dotted line they agree. Below: how many keypoints have "
    "it. Expected calibration error: the distance between the two, averaged over "
    "keypoints."
)

# Okabe and Ito: seven hues that colour-blind readers tell apart.
HUES = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#0072B2", "#D55E00", "#9A8A00")


@dataclass(frozen=True)
class Text:
    """A paragraph; ``preformatted`` keeps lines and spaces and folds it away."""

    title: str
    text: str
    preformatted: bool = False


@dataclass(frozen=True)
class Terms:
    """What terms mean, one line each."""

    title: str
    terms: Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header; the first column is text, the others numbers."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


class Figured(NamedTuple):
    """The bytes of a PNG or JPEG file, and what it shows in words."""

    data: bytes
    caption: str


@dataclass(frozen=True)
class Pictures:
    """Pictures with captions, side by side where the screen is wide enough."""

    title: str
    pictures: Sequence[Figured]
    note: str = ""


Section = Text | Terms | Table | Pictures

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem;
  max-width: 60rem; color: #1f2328; background: #fff; }
h1 { font-size: 1.6rem; line-height: 1.2; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p, figcaption, summary, dd { color: #4a5158; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid #d8dee4;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
dt { font-weight: 600; }
dd { margin: 0 0 .5rem; }
.grid { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 18rem), 1fr)); }
.grid.one { grid-template-columns: 1fr; }
figure { margin: 0; }
figcaption { font-size: .85rem; }
img { max-width: 100%; height: auto; display: block; }
pre { overflow-x: auto; background: #f6f8fa; padding: .75rem; font-size: .8rem; }
"""


def write_report(path: Path, title: str, sections: Sequence[Section]) -> None:
    """Write a report as one HTML file, whole or not at all.

    Args:
        path: The file.
        title: Its headline.
        sections: What follows, in order.
    """
    body = "\n".join(_section(section) for section in sections)
    write_text(
        path,
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<h1>{html.escape(title)}</h1>\n{body}\n</body>\n</html>\n",
    )


def _section(section: Section) -> str:
    parts = [f"<h2>{html.escape(section.title)}</h2>"]
    if isinstance(section, Text):
        text = html.escape(section.text)
        parts.append(
            f"<details><summary>show</summary><pre>{text}</pre></details>"
            if section.preformatted
            else f"<p>{text}</p>"
        )
        return "\n".join(parts)
    if isinstance(section, Terms):
        terms = "\n".join(
            f"<dt>{html.escape(term)}</dt><dd>{html.escape(meaning)}</dd>"
            for term, meaning in section.terms.items()
        )
        parts.append(f"<dl>\n{terms}\n</dl>")
        return "\n".join(parts)
    if isinstance(section, Table):
        head = _row("th", section.header)
        rows = "\n".join(_row("td", row) for row in section.rows)
        parts.append(
            f'<div class="scroll"><table>\n<thead>{head}</thead>\n'
            f"<tbody>\n{rows}\n</tbody>\n</table></div>"
        )
    else:
        one = " one" if len(section.pictures) == 1 else ""
        parts.append(f'<div class="grid{one}">')
        parts += [_figure(picture) for picture in section.pictures]
        parts.append("</div>")
    if section.note:
        parts.append(f"<p>{html.escape(section.note)}</p>")
    return "\n".join(parts)


def _row(cell: str, values: Sequence[str]) -> str:
    cells = "".join(f"<{cell}>{html.escape(value)}</{cell}>" for value in values)
    return f"<tr>{cells}</tr>"


def _figure(picture: Figured) -> str:
    kind = "png" if picture.data.startswith(b"\x89PNG") else "jpeg"
    data = base64.b64encode(picture.data).decode()
    caption = html.escape(picture.caption)
    return (
        f'<figure><img src="data:image/{kind};base64,{data}" alt="{caption}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def photo(image: images.Image, caption: str) -> Figured:
    """Return an RGB uint8 picture as one for a report."""
    return Figured(images.encode(image, "jpeg", 88), caption)


def score_sections(
    name: str,
    scores: Scores,
    skeleton: Skeleton,
    *,
    facts: str = "",
    persons: Sequence[str] = (),
    card: dict[str, Any] | None = None,
    history: Path | None = None,
) -> list[Section]:
    """Return what a report says about the evaluation of one model.

    Args:
        name: The model, as its row in the table is called.
        scores: What ``kpose.evaluation.evaluate`` returned.
        skeleton: Joints of the model.
        facts: How it was evaluated, and on whom.
        persons: Names of the persons in the order of evaluation, for the captions.
        card: The model's card.
        history: ``log.csv`` of the training run.
    """
    rows = with_baseline(name, scores)
    sections: list[Section] = [
        Table("Scores", *table(rows), facts),
        Table("Other metrics", *other_table(rows)),
        Table("AUC and PCKh by joint", *group_table(rows)),
        Terms("Definitions", DEFINITIONS),
        Pictures("PCK curve", [plot_curve(name, scores)]),
    ]
    if scores.reliability is not None:
        calibrated = is_calibrated(card or {})
        plot = plot_reliability(scores.reliability, calibrated)
        sections.append(Pictures("Confidence", [plot], RELIABILITY))
    if history is not None:
        sections.append(Pictures("Training", [plot_history(history)]))
    note = (
        "Left: ground truth. Right: prediction. Orange is the person's right side, "
        "blue the left. px: mean distance on a 224 px crop."
    )
    for title, shown in (("Worst", scores.worst), ("Best", scores.best)):
        if shown:
            pictures = [compare(example, skeleton, persons) for example in shown]
            sections.append(Pictures(f"{title} persons", pictures, note))
    if card is not None:
        text = json.dumps(card, indent=1, ensure_ascii=False)
        sections.append(Text("Model card", text, preformatted=True))
    return sections


def compare(example: Example, skeleton: Skeleton, persons: Sequence[str]) -> Figured:
    """Return ground truth and prediction of one person side by side."""
    size = example.image.shape[0]
    annotated = example.joints[:, 2:]
    panels = []
    for points in (example.joints[:, :2], example.keypoints):
        # A joint at crop unit u has its centre at pixel u * size - 0.5.
        joints = np.concatenate([points * size - 0.5, annotated], axis=1)
        panels.append(drawing.draw_skeleton(example.image, joints, skeleton))
    name = persons[example.position] if persons else f"person {example.position + 1}"
    return photo(
        drawing.contact_sheet(panels, columns=2), f"{name}: {example.error:.1f} px"
    )


def plot_curve(name: str, scores: Scores) -> Figured:
    """Plot PCK over the threshold: All, every group of joints, and the mean pose."""
    figure = Figure(figsize=(7.2, 4.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    groups = [group for group in scores.curve if group != "all"]
    groups.sort(key=lambda g: COLUMNS.index(g) if g in COLUMNS else len(COLUMNS))
    for index, group in enumerate(groups):
        hue = HUES[index % len(HUES)]
        style = "-" if index < len(HUES) else "--"
        axes.plot(CURVE, scores.curve[group], style, color=hue, lw=1.2, label=group)
    axes.plot(CURVE, scores.curve["all"], color="#1f2328", lw=2.6, label=f"{name}: All")
    if scores.mean_pose:
        values = scores.mean_pose.curve["all"]
        axes.plot(CURVE, values, ":", color="#6e7781", lw=2.0, label="mean pose: All")
    axes.axvline(THRESHOLD, color="#8c959f", lw=0.8)
    axes.set_xlim(0, float(CURVE[-1]))
    axes.set_ylim(0, 100)
    label(axes, "threshold, torso lengths", "correct keypoints, %")
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    best = f"{scores.pck['all']:.1f} % at {THRESHOLD} torso lengths"
    return Figured(png(figure), f"Correct keypoints over the threshold: {best}.")


def plot_reliability(found: Reliability, calibrated: bool) -> Figured:
    """Plot the share of correct keypoints over the confidence, and its histogram.

    Args:
        found: The bins.
        calibrated: Whether the model says that its confidences are probabilities.
    """
    figure = Figure(figsize=(7.2, 4.8), dpi=150, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 100], ":", color="#6e7781", lw=2.0)
    upper.plot(found.confidence, 100 * found.accuracy, "-o", color="#0072B2", ms=5)
    upper.set_ylim(0, 100)
    label(upper, "", "correct keypoints, %")
    edges = np.linspace(0, 1, len(found.count) + 1)
    lower.stairs(found.count, edges, fill=True, color="#56B4E9")
    lower.set_xlim(0, 1)
    label(lower, "confidence" if calibrated else "confidence, not calibrated", "count")
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    total = int(found.count.sum())
    caption = (
        f"Confidence of {total} keypoints: expected calibration error "
        f"{100 * found.error:.1f} %"
    )
    return Figured(png(figure), f"{caption}{'' if calibrated else '; not calibrated'}.")


def plot_history(log: Path) -> Figured:
    """Plot the loss and the validation PCK of a training over its epochs.

    Args:
        log: CSV with the columns ``epoch``, ``loss`` and ``val_pck_all``.

    Raises:
        InputError: If a column is missing or holds something else than numbers.
    """
    try:
        with log.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        columns = {
            name: [float(row[name]) for row in rows]
            for name in ("epoch", "loss", "val_pck_all")
        }
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{log} must be a CSV file with the columns epoch, loss and val_pck_all, "
            f"but {error!r}"
        ) from None
    figure = Figure(figsize=(7.2, 3.0), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(columns["epoch"], columns["loss"], "-o", ms=3, color="#1f2328")
    label(left, "epoch", "training loss")
    left.set_ylim(bottom=0)
    right.plot(columns["epoch"], columns["val_pck_all"], "-o", ms=3, color="#1f2328")
    label(right, "epoch", f"validation PCK@{THRESHOLD}, %")
    right.set_ylim(0, 100)
    epochs = len(rows)
    return Figured(png(figure), f"Training loss and validation PCK of {epochs} epochs.")


def label(axes: Axes, x: str, y: str) -> None:
    """Name the axes of a plot and draw a quiet grid."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if x == "epoch":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="#eaeef2", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def png(figure: Figure) -> bytes:
    """Return the figure as the bytes of a PNG."""
    # A Figure of its own has matplotlib's Agg canvas and no pyplot state.
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return data.getvalue()
