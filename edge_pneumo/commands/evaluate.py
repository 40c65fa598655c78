"""`edge-pneumo evaluate`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    epilog="""\b
Examples:
  edge-pneumo evaluate default --data rsna/ --split val
  edge-pneumo evaluate runs/first --data rsna/ --split val --format json > first.json
  edge-pneumo evaluate model.tflite --data clinic/ --operating-point screening --html report.html

Figures are defined in docs/metrics.md. They hold for films like these: same hospitals, same share of disease.
"""
)
@click.argument("model", metavar="MODEL")
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    help="Labelled films: a folder or zip in any layout that `edge-pneumo data check` knows.",
)
@click.option("--split", metavar="NAME", help="Only this split (train, val, test).  [default: all films]")
@click.option(
    "--format", "output_format", type=click.Choice(["table", "json"]), default="table", show_default=True,
    help="How to print.",
)  # fmt: skip
@click.option("--operating-point", metavar="NAME", help="Threshold to judge at: screening, balanced, specific …")
@click.option(
    "--html", type=click.Path(path_type=Path),
    help="Also write a report with plots (one self-contained file); needs the extra bench.",
)  # fmt: skip
@click.option(
    "--worst", type=click.IntRange(min=0), default=0, metavar="N",
    help="List the N worst misses and false alarms by film in the report. Film names may identify patients.",
)  # fmt: skip
@click.option("--predictions", type=click.Path(path_type=Path), help="Also write each film's answer (JSON lines).")
@click.option(
    "--bootstrap", type=click.IntRange(min=0), default=1000, show_default=True, help="Resamples for the 95 % intervals."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the resampling.")
@click.option("--jobs", type=click.IntRange(min=1), help="Films at a time (.tflite only).  [default: one a core]")
def evaluate(
    model: str, data: Path, split: str | None, output_format: str, operating_point: str | None, html: Path | None,
    worst: int, predictions: Path | None, bootstrap: int, seed: int, jobs: int | None,
) -> None:  # fmt: skip
    """Measure a model on labelled films.

    MODEL is `default` (the embedded model), a .tflite made by `convert`, or a run directory made by `train` or
    `quantize` (needs the extra `train`). All are judged by the same code. Every figure comes with a 95 % interval over
    patients, and with what view position, prevalence and mean boxes alone would score.

    Ends with exit code 3 when some films were refused; the others were still judged.
    """
    from edge_pneumo.train.judge import judge, write_predictions

    if worst and html is None:
        raise click.UsageError("--worst lists films in the report: give --html REPORT.html too")
    if html is not None:
        from edge_pneumo.benchmarks.metrics.page import require_page

        require_page()  # before an hour of films, not after
    judged = judge(model, data, split, operating_point=operating_point, bootstrap=bootstrap, seed=seed, jobs=jobs)
    if output_format == "json":
        import json

        click.echo(json.dumps(judged.result, indent=1, allow_nan=False))
    else:
        from edge_pneumo.benchmarks.metrics.table import to_text

        click.echo(to_text(judged.result))
    if predictions is not None:
        write_predictions(predictions, judged)
        click.echo(f"wrote {predictions}", err=True)
    if html is not None:
        from edge_pneumo.benchmarks.metrics.page import worst_films, write_page

        write_page(html, judged.result, worst_films(judged.films, judged.answers, worst) if worst else None)
        click.echo(f"wrote {html}", err=True)
    if judged.result["refused"]:
        click.get_current_context().exit(3)
