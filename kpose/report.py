"""Reports: one HTML file each, everything inline, no scripts.

A report opens without a network, on a phone too, and can be sent as one attachment.
Its plots lie beside it as PNG files too.
"""

import base64
import csv
import html
import io
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
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
    TIMED,
    WARM_UP,
    Example,
    Scores,
    bin_table,
    by_pair,
    group_table,
    joint_table,
    other_table,
    side_table,
    table,
    with_baseline,
)
from kpose.files import atomic_folder, write_text
from kpose.joints import Skeleton
from kpose.metrics import THRESHOLD

RELIABILITY = (
    f"A calibrated confidence is the {MEANING}. Above: the share of correct keypoints "
    "at each confidence; on the dotted line they agree. Below: how many keypoints have "
    "it. Expected calibration error: the distance between the two, averaged over "
    "keypoints."
)

PER_JOINT = (
    "Distance between prediction and ground truth. px: pixels of a 224 px crop. torso: "
    "torso lengths, of persons with a torso. PCK as under Scores."
)

SIDES = (
    "A network that sees both sides alike has differences near 0; many more errors on "
    "one side are a sign of data that show it less."
)

POLICY = (
    "By the box that the crop of a person was cut around (Table 1 of the paper). IoU: "
    "of the ground truth's box with the detector's best."
)

STAGES = {
    "decode": "reading and decoding the picture",
    "crop": "cutting and resampling the crop",
    "network": "the network",
}

COLOURS = {"right": "#E69F00", "left": "#0072B2"}
"""Of bars, by side, as drawn poses have them; other joints are grey."""

WIDTH, DPI = 5.4, 200
"""Of plots, inches and pixels per inch: the letters are readable on a phone too."""

LARGEST = 224
"""Side of a person's picture in a report, pixels at most."""

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
    """The bytes of a PNG or JPEG file, and what it shows in words.

    One with a ``name`` is written beside the report too: ``NAME.png``.
    """

    data: bytes
    caption: str
    name: str = ""


@dataclass(frozen=True)
class Pictures:
    """Pictures with captions, side by side where the screen is wide enough."""

    title: str
    pictures: Sequence[Figured]
    note: str = ""


Section = Text | Terms | Table | Pictures

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem;
  max-width: 64rem; color: #1f2328; background: #fff; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0 1rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; padding-top: .5rem;
  border-top: 1px solid #d8dee4; }
p, figcaption, summary, dd { color: #4a5158; }
p { font-size: .9rem; max-width: 46rem; }
nav { display: flex; flex-wrap: wrap; gap: .4rem; }
nav a { font-size: .85rem; padding: .25rem .6rem; border-radius: 1rem;
  background: #eef2f6; color: #0b4f8a; text-decoration: none; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums;
  font-size: .9rem; overflow-wrap: normal; }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid #d8dee4;
  white-space: nowrap; }
th { white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0;
  background: #fff; }
tbody tr:nth-child(even) td { background: #f6f8fa; }
dt { font-weight: 600; }
dd { margin: 0 0 .5rem; font-size: .9rem; max-width: 46rem; }
.grid { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 18rem), 1fr)); }
figure { margin: 0; }
figcaption { font-size: .85rem; }
img { width: 100%; height: auto; display: block; }
pre { overflow-x: auto; background: #f6f8fa; padding: .75rem; font-size: .8rem;
  overflow-wrap: normal; }
.grid.one { grid-template-columns: minmax(0, 44rem); }
@media (max-width: 30rem) { body { padding: .75rem; } table { font-size: .74rem; }
  th, td { padding: .3rem .2rem; }
  th:first-child, td:first-child { white-space: normal; min-width: 5.6rem; } }
"""

LINKED = 4
"""A report of more sections starts with links to them."""


def write_report(path: Path, title: str, sections: Sequence[Section]) -> None:
    """Write a report as one HTML file, whole or not at all, and its plots beside it.

    Pictures that have a name go to the folder ``plots_folder(path)`` too, as PNG files;
    of two with one name the second is ``NAME_2.png``. An older report's folder is
    replaced.

    Args:
        path: The file.
        title: Its headline.
        sections: What follows, in order.

    Raises:
        InputError: If that folder holds something else than plots.
    """
    links = "".join(
        f'<a href="#s{number}">{html.escape(section.title)}</a>'
        for number, section in enumerate(sections)
    )
    nav = f"<nav>{links}</nav>\n" if len(sections) > LINKED else ""
    body = "\n".join(_section(section, f"s{i}") for i, section in enumerate(sections))
    text = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<h1>{html.escape(title)}</h1>\n{nav}{body}\n</body>\n</html>\n"
    )
    _write_plots(plots_folder(path), sections)
    write_text(path, text)


def plots_folder(path: Path) -> Path:
    """Return the folder of a report's plots: ``OUT_plots`` beside ``OUT.html``.

    Raises:
        InputError: If it is there and holds something else than PNG files, so that a
            new report must not replace it.
    """
    folder = path.with_name(f"{path.stem}_plots")
    if folder.exists() and (
        not folder.is_dir() or any(file.suffix != ".png" for file in folder.iterdir())
    ):
        raise InputError(f"{folder} must hold nothing but the plots of an older report")
    return folder


def _write_plots(folder: Path, sections: Sequence[Section]) -> None:
    """Write the pictures that have a name; the folder appears whole or not at all."""
    plots: dict[str, bytes] = {}
    for section in sections:
        for picture in section.pictures if isinstance(section, Pictures) else ():
            name, number = picture.name, 1
            while name in plots:
                number += 1
                name = f"{picture.name}_{number}"
            if name:
                plots[name] = picture.data
    old = folder.with_name(f".{os.getpid()}.{folder.name}")
    if folder.exists():
        folder.rename(old)
    if plots:
        with atomic_folder(folder) as new:
            for name, data in plots.items():
                (new / f"{name}.png").write_bytes(data)
    shutil.rmtree(old, ignore_errors=True)


def _section(section: Section, anchor: str) -> str:
    parts = [f'<h2 id="{anchor}">{html.escape(section.title)}</h2>']
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
    leak: str = "",
    times: Mapping[str, float] | None = None,
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
        leak: How near the persons are to those of the training, in words.
        times: What ``evaluation.stage_times`` returned.
    """
    rows = with_baseline(name, scores)
    sections: list[Section] = [
        Table("Scores", *table(rows), facts),
        Pictures("PCK curve", [plot_curve(name, scores)]),
    ]
    if scores.joints:
        sections += [
            Table("Each joint", *joint_table(scores), PER_JOINT),
            Pictures("Errors by joint", [plot_joints(scores)]),
            Table("Right and left", *side_table(scores), SIDES),
        ]
    if scores.bins:
        sections.append(Table("Box policy", *bin_table(scores), POLICY))
    if leak:
        sections.append(Text("Leak score", f"{leak[:1].upper()}{leak[1:]}."))
    if scores.reliability is not None:
        calibrated = is_calibrated(card or {})
        plot = plot_reliability(scores.reliability, calibrated)
        sections.append(Pictures("Confidence", [plot], RELIABILITY))
    if times:
        sections.append(_time_table(times))
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
    sections += [
        Table("Other metrics", *other_table(rows)),
        Table("AUC and PCKh by joint", *group_table(rows)),
        Terms("Definitions", DEFINITIONS),
    ]
    if card is not None:
        text = json.dumps(card, indent=1, ensure_ascii=False)
        sections.append(Text("Model card", text, preformatted=True))
    return sections


def _time_table(times: Mapping[str, float]) -> Table:
    rows = [[STAGES[stage], f"{ms:.1f}"] for stage, ms in times.items()]
    rows.append(["together", f"{sum(times.values()):.1f}"])
    return Table(
        "Time per stage",
        ["one person at a time", "mean ms"],
        rows,
        f"Measured in this run, on this machine, beside whatever else it did: up to "
        f"{TIMED} persons, without the first {WARM_UP}. The network answers as it was "
        "evaluated, with the flip test twice.",
    )


def compare(example: Example, skeleton: Skeleton, persons: Sequence[str]) -> Figured:
    """Return ground truth and prediction of one person side by side."""
    # Crops larger than this only make the file large.
    image = example.image
    if len(image) > LARGEST:
        image = np.asarray(
            cv2.resize(image, (LARGEST, LARGEST), interpolation=cv2.INTER_AREA)
        )
    size = len(image)
    annotated = example.joints[:, 2:]
    panels = []
    for points in (example.joints[:, :2], example.keypoints):
        # A joint at crop unit u has its centre at pixel u * size - 0.5.
        joints = np.concatenate([points * size - 0.5, annotated], axis=1)
        panels.append(drawing.draw_skeleton(image, joints, skeleton))
    name = persons[example.position] if persons else f"person {example.position + 1}"
    return photo(
        drawing.contact_sheet(panels, columns=2), f"{name}: {example.error:.1f} px"
    )


def plot_curve(name: str, scores: Scores) -> Figured:
    """Plot PCK over the threshold: All, every group of joints, and the mean pose."""
    figure = Figure(figsize=(WIDTH, 4.4), dpi=DPI, layout="constrained")
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
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    best = f"{scores.pck['all']:.1f} % at {THRESHOLD} torso lengths"
    caption = f"Correct keypoints over the threshold: {best}."
    return Figured(png(figure), caption, "pck_curve")


def plot_joints(scores: Scores) -> Figured:
    """Plot median and mean distance of each joint, and the share of correct ones."""
    joints = by_pair(scores.joints)
    height = 0.9 + 0.26 * len(joints)
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    rows = np.arange(len(joints))
    sides = [joint.name.partition("_")[0] for joint in joints]
    hues = [COLOURS.get(side, "#6e7781") for side in sides]
    left.barh(rows, [joint.median_px for joint in joints], 0.6, color=hues)
    means = [joint.mean_px for joint in joints]
    left.plot(means, rows, "|", color="#1f2328", ms=9, mew=2)
    left.set_yticks(rows, [joint.name.replace("_", " ") for joint in joints])
    left.invert_yaxis()
    label(left, "median and mean (line), px", "")
    left.set_xlim(left=0)
    right.barh(rows, [joint.pck for joint in joints], 0.6, color=hues, alpha=0.45)
    right.barh(rows, [joint.pck_tenth for joint in joints], 0.6, color=hues)
    label(right, "PCK@0.1 (dark) and @0.2, %", "")
    right.set_xlim(0, 100)
    return Figured(
        png(figure),
        "Distances, pixels of a 224 px crop, and correct keypoints of each joint. "
        "Orange is the person's right side, blue the left.",
        "joints",
    )


def plot_reliability(found: Reliability, calibrated: bool) -> Figured:
    """Plot the share of correct keypoints over the confidence, and its histogram.

    Args:
        found: The bins.
        calibrated: Whether the model says that its confidences are probabilities.
    """
    figure = Figure(figsize=(WIDTH, 4.2), dpi=DPI, layout="constrained")
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
    caption += "." if calibrated else "; not calibrated."
    return Figured(png(figure), caption, "confidence")


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
    figure = Figure(figsize=(WIDTH, 2.6), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(columns["epoch"], columns["loss"], "-o", ms=3, color="#1f2328")
    label(left, "epoch", "training loss")
    left.set_ylim(bottom=0)
    right.plot(columns["epoch"], columns["val_pck_all"], "-o", ms=3, color="#1f2328")
    label(right, "epoch", f"validation PCK@{THRESHOLD}, %")
    right.set_ylim(0, 100)
    caption = f"Training loss and validation PCK of {len(rows)} epochs."
    return Figured(png(figure), caption, "training")


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
