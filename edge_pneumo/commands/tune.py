"""`edge-pneumo tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command(
    epilog="""\b
Examples:
  edge-pneumo tune default --data clinic/ -o clinic.tflite
  edge-pneumo tune model.tflite --data clinic/ --prevalence 0.08 --default-point screening -o clinic.tflite
  edge-pneumo evaluate clinic.tflite --data other-films/      # judge it on films it was not tuned on

The simplest data set: a folder with NORMAL/ and PNEUMONIA/ inside (see docs/data.md for the others).
"""
)
@click.argument("model", metavar="MODEL")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Labelled films, in any known layout.")
@click.option("--out", "-o", required=True, type=click.Path(path_type=Path), help="The new model file.")
@click.option("--split", metavar="NAME", help="Only this split of the films.  [default: all films]")
@click.option(
    "--default-point", metavar="NAME", help="What `predict` uses unless told otherwise.  [default: the model's]"
)
@click.option(
    "--prevalence", type=float, metavar="P",
    help="Share of films with an opacity in daily work (0 to 1), if the labelled films were picked.",
)  # fmt: skip
@click.option(
    "--format", "output_format", type=click.Choice(["table", "json"]), default="table", show_default=True,
    help="How to print.",
)  # fmt: skip
@click.option(
    "--bootstrap", type=click.IntRange(min=0), default=1000, show_default=True, help="Resamples for the 95 % intervals."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the resampling.")
@click.option("--jobs", type=click.IntRange(min=1), help="Films at a time.  [default: one a core]")
def tune(
    model: str, data: Path, out: Path, split: str | None, default_point: str | None, prevalence: float | None,
    output_format: str, bootstrap: int, seed: int, jobs: int | None,
) -> None:  # fmt: skip
    """Fit a model's probabilities and thresholds to your own labelled films.

    A few dozen films with and without an opacity do; the network itself is not trained and stays the same. MODEL is
    `default` or a .tflite made by `convert`; the result is a new model file. Sensitivity and specificity are
    cross-validated by patient, with 95 % intervals: read those before you trust a threshold.
    """
    from edge_pneumo.train.tune import tune as run

    result = run(
        model, data, out, split=split, default_point=default_point, prevalence=prevalence, bootstrap=bootstrap,
        seed=seed, jobs=jobs,
    )  # fmt: skip
    if output_format == "json":
        import json

        click.echo(json.dumps(result, indent=1, allow_nan=False))
    else:
        click.echo(_table(result))
    if result["refused"]:
        click.get_current_context().exit(3)


def _table(result: dict[str, Any]) -> str:
    from edge_pneumo.benchmarks.metrics.table import spell

    data, calibration = result["data"], result["calibration"]
    name = f"{result['model']['name']} {result['model']['version']}"
    lines = [
        f"{name} on {data['films']} films of {data['patients']} patients, {data['positives']} with an opacity",
        f"AUC {spell(result['auc'])}; calibration error {spell(calibration['ece_before'])} before, "
        f"{spell(calibration['ece_after'])} after",
        "",
        f"{'operating point':16} {'before':>7}  {'threshold':24} {'sensitivity':24} specificity (cross-validated)",
    ]
    for name, row in result["operating_points"].items():
        before = "-" if row["before"] is None else f"{row['before']:.3f}"
        cells = " ".join(f"{spell(row[key]):24}" for key in ("threshold", "sensitivity", "specificity"))
        mark = " (default)" if name == result["default_operating_point"] else ""
        lines.append(f"{name:16} {before:>7}  {cells.rstrip()}{mark}")
    boxes = result["box_threshold"]
    lines += ["", f"box threshold {boxes['before']:.3f} before, {boxes['after']:.3f} after"]
    lines += [f"warning: {text}" for text in result["warnings"]]
    return "\n".join([*lines, f"wrote {result['out']['path']} ({result['out']['version']})"])
