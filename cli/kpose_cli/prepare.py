"""``kpose prepare``: label files and pictures to training data."""

from pathlib import Path
from typing import Any

import click

from kpose_cli.common import echo_summary, json_option, progress


@click.command()
@click.option(
    "--data",
    multiple=True,
    required=True,
    metavar="NAME:PATH[@train|val|test|all]",
    help="A data set to read, repeatable; train and val persons unless you name a "
    "split. NAME is the reader, for example lsp.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DATA",
    help="The folder to write; an unfinished one of the same call is continued.",
)
@click.option(
    "--size",
    type=click.IntRange(min=4),
    default=224,
    show_default=True,
    help="Side of the network's crop in pixels, a multiple of 4; 1.5 times as wide a "
    "square is stored.",
)
@click.option(
    "--codec",
    type=click.Choice(["jpeg", "png"]),
    default="jpeg",
    show_default=True,
    help="How crops are stored; png is lossless.",
)
@click.option(
    "--quality",
    type=click.IntRange(1, 100),
    default=95,
    show_default=True,
    help="JPEG quality.",
)
@click.option(
    "--detector",
    metavar="CONTRACT:PATH",
    help="Cut crops as the paper's Table 1 says: around this detector's box where it "
    "has the person, around the ground truth where not, around both in between. "
    "[default: around the ground truth]",
)
@click.option(
    "--min-score",
    type=click.FloatRange(0, 1),
    help="Score from which a detection counts.  [default: the detector's]",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes.  [default: one per core]",
)
@click.option(
    "--strict",
    is_flag=True,
    help="Stop at the first bad record. Absent pictures are counted all the same.",
)
@click.option("--check", is_flag=True, help="Read and report only, write nothing.")
@json_option
def prepare(
    data: tuple[str, ...],
    out: Path | None,
    size: int,
    codec: str,
    quality: int,
    detector: str | None,
    min_score: float | None,
    workers: int | None,
    strict: bool,
    check: bool,
    as_json: bool,
) -> None:
    """Read data sets, cut a crop around each person, write training data to DATA.

    Bad records are skipped and counted by reason. DATA/dataset.json says what is in
    it; look at DATA/preview.png: a person's right side is orange, the left side blue.
    With a detector, DATA/crops.png shows how its boxes were used.
    """
    if out is None and not check:
        raise click.UsageError("give --out DATA, or --check to only read and report")
    if check and detector is not None:
        raise click.UsageError("--check asks no detector: leave --detector out")
    if min_score is not None and detector is None:
        raise click.UsageError("--min-score needs --detector")
    from kpose import examples, label_check
    from kpose_datasets import common_skeleton, read_source

    sources = [read_source(text) for text in data]
    skeleton = common_skeleton(sources)
    if check:
        with progress(None, "checking") as advance:
            summary = label_check.check(
                sources,
                skeleton,
                strict,
                workers=workers,
                started=lambda labels: advance(0, total=labels),
                progress=advance,
            )
        echo_summary(summary, as_json, _check_text(summary))
        return
    assert out is not None
    with progress(None, "preparing") as advance:
        summary = examples.prepare(
            sources,
            out,
            skeleton=skeleton,
            size=size,
            codec=codec,
            quality=quality,
            detector=detector,
            min_score=min_score,
            workers=workers,
            strict=strict,
            started=lambda labels: advance(0, total=labels),
            progress=advance,
        )
    echo_summary(summary, as_json, _prepare_text(summary, out))


def _prepare_text(summary: dict[str, Any], out: Path) -> str:
    lines = []
    for source in summary["sources"]:
        persons = ", ".join(f"{n} {split}" for split, n in source["persons"].items())
        skipped = summary["skipped"][source["name"]]
        lines.append(f"{source['name']}: {persons or 'no persons'}{_skipped(skipped)}")
        if source["joints_too_far"]:
            lines[-1] += f"; {source['joints_too_far']} joints too far away left out"
        if "crops" in source:
            lines.append(f"  {_crops_text(source['crops'])}")
    megabytes = sum(shard["bytes"] for shard in summary["shards"]) / 1e6
    lines.append(
        f"{summary['persons']} persons of {summary['labels']} labels in {out} "
        f"({len(summary['shards'])} shards, {megabytes:.1f} MB); "
        f"look at {out / 'preview.png'}"
    )
    if "crops" in summary:
        lines[-1] += f" and {out / 'crops.png'}"
        lines.insert(-1, f"all: {_crops_text(summary['crops'])}")
    return "\n".join(lines)


def _crops_text(crops: dict[str, int]) -> str:
    """Say how many persons are in each row of Table 1, and how many crops they have."""
    return (
        f"crops around the detector's box for {crops['detector']} persons, both boxes "
        f"for {crops['both']}, the ground truth for {crops['ground_truth']} "
        f"({crops['no_detection']} of them in pictures without a detection): "
        f"{crops['stored']} crops, {crops['with_flips']} with the flips of training"
    )


def _check_text(summary: dict[str, Any]) -> str:
    lines = []
    for source in summary["sources"]:
        lines += _source_text(source)
    lines.append(
        f"{summary['persons']} persons of {summary['labels']} labels are usable, in "
        f"{summary['images']} pictures{_skipped(summary['skipped'])}"
    )
    return "\n".join(lines)


def _source_text(source: dict[str, Any]) -> list[str]:
    """Return the self-checks of one data set."""
    width = max(len(name) for name in source["joints"])
    lines = [
        f"{source['name']}: {source['labels']} labels, {source['persons']} usable "
        f"persons in {source['images']} pictures{_skipped(source['skipped'])}",
        f"  {'':{width}} {'labels':>8} {'persons':>8}",
    ]
    lines += [
        f"  {name:{width}} {source['label_joints'][name]:>8} {persons:>8}"
        for name, persons in source["joints"].items()
    ]
    lines.append(
        f"  {'all of them':{width}} {source['complete_labels']:>8} "
        f"{source['complete_persons']:>8}"
    )
    if source["joints_outside"] is not None:
        lines.append(
            f"  annotated joints outside the picture: {source['joints_outside']:.2%}"
        )
    if source["joints_too_far"]:
        lines.append(f"  too far outside to be used: {source['joints_too_far']} joints")
    lines.append(f"  labels with a NaN or an infinity: {source['non_finite']:.2%}")
    if source["median_torso"] is not None:
        lines.append(f"  median torso: {source['median_torso']:.1f} px")
    if source["right_shoulder_left"] is not None:
        lines.append(
            "  right shoulder left of the left one, as in people who face the camera: "
            f"{source['right_shoulder_left']:.1%}"
        )
    for row in source["example_rows"]:
        lines.append(f"  example: {row['id']} {row['joints']}")
    return lines


def _skipped(reasons: dict[str, int]) -> str:
    if not reasons:
        return ""
    return "; skipped " + ", ".join(f"{n} {reason}" for reason, n in reasons.items())
