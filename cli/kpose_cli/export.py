"""``kpose export``: a trained model as SavedModel and TFLite."""

from pathlib import Path

import click

from kpose_cli.common import echo_summary, json_option


@click.command()
@click.argument("model")
@click.option(
    "--format",
    "form",
    type=click.Choice(["saved_model", "tflite", "all"]),
    default="all",
    show_default=True,
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="A new or empty folder.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Compare on these crops, a folder of `kpose prepare`.",
)
@json_option
def export(model: str, form: str, out: Path, data: Path | None, as_json: bool) -> None:
    """Write MODEL as SavedModel and TFLite files that answer as it does.

    MODEL is a run folder, a .keras file or the name of a packaged model. Every file is
    run and compared with MODEL first; nothing is written where one differs by more than
    0.05 px of a 224 px crop.
    """
    from kpose.export.publish import FILES, publish

    click.echo(f"exporting {model}", err=True)
    formats = list(FILES) if form == "all" else [form]
    summary = publish(model, out, formats, data)
    lines = [
        f"{out / FILES[name]}: {row['bytes'] / 1e6:.1f} MB, differs by at most "
        f"{row['max_px']:.4f} px"
        for name, row in summary["formats"].items()
    ]
    lines.append(f"compared on {summary['crops']} crops: {summary['crops_from']}")
    echo_summary(summary, as_json, "\n".join(lines))
