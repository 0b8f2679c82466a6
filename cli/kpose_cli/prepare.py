"""``kpose prepare``: label files and pictures to training data."""

from pathlib import Path
from typing import Any

import click

from kpose_cli.common import aligned, echo_summary, json_option, progress

SHOWN_SUSPECTS = 24
"""So many suspects are printed; all are in the files."""


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
    "--validation",
    metavar="N|paper",
    help="Pool everybody but test persons and hold out N fully annotated ones for "
    "validation, by source image; the rest trains, partly annotated persons too. "
    "paper: 2000.  [default: the official splits; else `kpose train` draws]",
)
@click.option(
    "--split-by",
    type=click.Choice(
        ["group", "image", "recording", "subject", "clothing", "random_frames"]
    ),
    default="group",
    show_default=True,
    help="What --validation keeps on one side. random_frames divides recordings, and "
    "every result says so.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=0,
    help="Of --validation.",
)
@click.option(
    "--split-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="CSV with a header such as id,split or recording,split; who is not in it is "
    "left out.",
)
@click.option(
    "--corrections",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Corrected suspects of the label doctor, exported by Label Studio or CVAT.",
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
@click.option(
    "--doctor",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="With --check: find likely wrong labels; write the suspects, and a picture of "
    "the 24 worst, to DIR.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="MODEL",
    help="What looks at the pictures for --doctor, repeatable: a kpose model or "
    "movenet:FILE, efficientpose:FILE (TFLite).  [default: compact]",
)
@click.option(
    "--budget",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.05,
    show_default=True,
    help="Largest share of the persons that --doctor suspects.",
)
@json_option
def prepare(
    data: tuple[str, ...],
    out: Path | None,
    size: int,
    codec: str,
    quality: int,
    detector: str | None,
    min_score: float | None,
    validation: str | None,
    split_by: str,
    seed: int,
    split_file: Path | None,
    corrections: Path | None,
    workers: int | None,
    strict: bool,
    check: bool,
    doctor: Path | None,
    models: tuple[str, ...],
    budget: float,
    as_json: bool,
) -> None:
    """Read data sets, cut a crop around each person, write training data to DATA.

    Bad records are skipped and counted by reason. DATA/dataset.json says what is in
    it; look at DATA/preview.png: a person's right side is orange, the left side blue.
    With a detector, DATA/crops.png shows how its boxes were used. With --validation the
    summary is a table of sources and splits like the paper's Table 2.

    --check --doctor DIR suspects labels: correct DIR/suspects.json in Label Studio or
    DIR/suspects.xml in CVAT, export, and give the export as --corrections.
    """
    if out is None and not check:
        raise click.UsageError("give --out DATA, or --check to only read and report")
    if check and detector is not None:
        raise click.UsageError("--check asks no detector: leave --detector out")
    if check and (validation is not None or split_file is not None):
        raise click.UsageError(
            "--check divides nobody: leave --validation and --split-file out"
        )
    if min_score is not None and detector is None:
        raise click.UsageError("--min-score needs --detector")
    if doctor is not None and not check:
        raise click.UsageError("--doctor needs --check")
    if models and doctor is None:
        raise click.UsageError("--model needs --check --doctor DIR")
    from kpose import splits
    from kpose_datasets import (
        common_skeleton,
        read_source,
        recordings,
        require_different_names,
    )

    division = splits.Division(_persons(validation), split_by, seed, split_file)
    sources = [read_source(text) for text in data]
    require_different_names(sources)
    report = recordings.report(sources)
    said = report.lines()
    extra = {"recordings": report.takes} if report.takes else {}
    changed = None
    if corrections is not None:
        from kpose_datasets.corrections import Corrected

        changed = Corrected(sources, corrections)
        sources = changed.sources
    skeleton = common_skeleton(sources)
    common: dict[str, Any] = {
        "skeleton": skeleton,
        "workers": workers,
        "strict": strict,
    }
    if doctor is not None:
        from kpose import label_doctor
        from kpose_datasets import correction_files

        with progress(None, "examining") as advance:
            summary = label_doctor.examine(
                sources,
                doctor,
                skeleton=skeleton,
                models=models or ("compact",),
                budget=budget,
                strict=strict,
                started=lambda labels: advance(0, total=labels),
                progress=advance,
                write_tools=correction_files.write,
            )
        text = "\n".join([*said, _doctor_text(summary, doctor)])
        echo_summary({**summary, **extra}, as_json, text)
        return
    if check:
        from kpose import label_check

        with progress(None, "checking") as advance:
            summary = label_check.check(
                sources,
                started=lambda labels: advance(0, total=labels),
                progress=advance,
                **common,
            )
        text = "\n".join([*said, _check_text(summary)])
        echo_summary({**summary, **extra}, as_json, text)
        return
    from kpose import examples

    assert out is not None
    with progress(None, "preparing") as advance:
        summary = examples.prepare(
            sources,
            out,
            size=size,
            codec=codec,
            quality=quality,
            detector=detector,
            min_score=min_score,
            division=division,
            started=lambda labels: advance(0, total=labels),
            progress=advance,
            **common,
        )
    sheet = out / recordings.SHEET
    shown = sheet.exists() or report.write_sheet(sheet)
    if said:
        seen = f" (look at {sheet})" if shown else ""
        many = "s" if len(report.takes) > 1 else ""
        said.append(f"{len(report.takes)} take{many}{seen}")
    text = "\n".join([*said, _prepare_text(summary, out)])
    if changed is not None:
        text = f"{changed.sentence()}\n{text}"
        summary = {**summary, "corrections": changed.counts}
    echo_summary({**summary, **extra}, as_json, text)


def _persons(validation: str | None) -> int:
    """Return how many persons ``--validation`` holds out."""
    from kpose.errors import InputError
    from kpose.splits import PAPER_VALIDATION

    if validation is None:
        return 0
    if validation == "paper":
        return PAPER_VALIDATION
    if not (validation.isdecimal() and len(validation) < 10 and int(validation)):
        raise InputError(
            "--validation must be a number of persons or paper. Received: "
            f"{validation:.100}"
        )
    return int(validation)


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
    lines += _pool_text(summary)
    lines.append(_split_text(summary))
    if summary["leak"] is not None:
        which = summary["leak"]["of"]
        of = "" if which == "validation" else f" ({which})"
        lines.append(f"{summary['leak']['sentence']}{of}")
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


def _pool_text(summary: dict[str, Any]) -> list[str]:
    """Return a table like the paper's Table 2: joints, who trains, who validates."""
    header = ["", "joints", "labels", "train, complete", "train, partly"]
    header += ["validation", "test"]
    rows = [header]
    for source in summary["sources"]:
        persons, complete = source["persons"], source["complete_persons"]
        full = complete.get("train", 0)
        joints = sum(
            count > 0 for count in summary["coverage"][source["name"]].values()
        )
        cells = [joints, source["labels"], full, persons.get("train", 0) - full]
        cells += [persons.get("val", 0), persons.get("test", 0)]
        rows.append([source["name"], *map(str, cells)])
    if len(rows) > 2:
        joints, *columns = zip(*(row[1:] for row in rows[1:]), strict=True)
        totals = [sum(map(int, column)) for column in columns]
        rows.append(["all", max(joints, key=int), *map(str, totals)])
    return aligned(rows)


def _split_text(summary: dict[str, Any]) -> str:
    """Say how the persons were divided."""
    from kpose import splits

    split = summary["split"]
    words = {
        "official": "official splits",
        "drawn": f"validation drawn by {split['by']}, seed {split['seed']}",
        "file": f"splits of {split['file']}",
    }[split["kind"]]
    if split["left_out"]:
        words += f"; {split['left_out']} persons left out"
    return "; ".join(filter(None, [words, splits.warning(split)]))


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


def _doctor_text(summary: dict[str, Any], folder: Path) -> str:
    """Return the worst suspects and where they can be corrected."""
    from kpose_datasets import correction_files as files

    lines = [summary["how"], *summary["warnings"]]
    for suspect in summary["suspects"][:SHOWN_SUSPECTS]:
        name = f"{suspect['source']} {suspect['id']}"
        lines.append(f"{suspect['score']:.2f}  {name}: {suspect['reason']}")
    if len(summary["suspects"]) > SHOWN_SUSPECTS:
        lines.append(f"... and {len(summary['suspects']) - SHOWN_SUSPECTS} more")
    kinds = ", ".join(f"{n} {kind}" for kind, n in summary["kinds"].items())
    lines.append(
        f"{len(summary['suspects'])} suspects of {summary['persons']} persons "
        f"({kinds or 'none'}){_skipped(summary['skipped'])}; look at "
        f"{folder / 'worst.png'}, correct {folder / files.LABEL_STUDIO} in Label "
        f"Studio or {folder / files.CVAT} in CVAT (pictures in "
        f"{summary['picture_folder']}) "
        "and give the export as --corrections"
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
