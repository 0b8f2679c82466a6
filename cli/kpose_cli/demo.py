"""``kpose demo``: the whole way on rendered people, nothing downloaded."""

from pathlib import Path
from typing import Any

import click

from kpose_cli.common import echo_summary, json_option


@click.command()
@click.option(
    "--quick", is_flag=True, help="The same way with few pictures, in 90 seconds."
)
@click.option(
    "--init",
    metavar="MODEL|none",
    help="The network to start from.  [default: compact where the package has it, "
    "else none]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("runs/demo"),
    show_default=True,
    help="The folder to write; an interrupted demo in it is continued.",
)
@json_option
def demo(quick: bool, init: str | None, out: Path, as_json: bool) -> None:
    """Render recordings, then train, evaluate, export and predict on them.

    A network is pretrained on varied people and finetuned on one person who makes
    gestures in one room. OUT/report.html and OUT/overlay.png show what came of it.
    Takes under 12 minutes on two CPU cores.
    """
    from kpose_cli import walk

    plan = walk.QUICK if quick else walk.FULL
    summary = walk.walk(out, plan, init, lambda line: click.echo(line, err=True))
    echo_summary(summary, as_json, _text(summary))


def _text(summary: dict[str, Any]) -> str:
    lines = []
    for name, title in (("general", "varied people"), ("use_case", "the use case")):
        rows = summary["scores"][name]
        before, after = rows["pretrained"], rows["finetuned"]
        mean = before["mean_pose"]["pck@0.2"]["all"]
        all_joints = [mean, before["pck@0.2"]["all"], after["pck@0.2"]["all"]]
        shown = ["-" if row is None else f"{row:.1f}" for row in all_joints]
        lines.append(
            f"PCK@0.2 All on {title} ({before['persons']} persons): mean pose "
            f"{shown[0]}, pretrained {shown[1]}, finetuned {shown[2]}"
        )
    for name, row in summary["export"]["formats"].items():
        lines.append(
            f"{name}: {row['bytes'] / 1e6:.1f} MB, differs by at most "
            f"{row['max_px']:.4f} px from the network"
        )
    lines.append(
        f"report: {summary['report']}, overlay: {summary['overlay']}, "
        f"video: {summary['video']} ({summary['seconds']:.0f} s)"
    )
    return "\n".join(lines)
