"""`edge-pneumo quantize`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.command(
    epilog="""\b
Examples:
  edge-pneumo quantize runs/first --data rsna/ --out runs/first-qat
  edge-pneumo quantize runs/first --data rsna/ --out runs/first-qat --resume     # after a power cut
  edge-pneumo convert runs/first-qat -o first.tflite --data rsna/                # then
"""
)
@click.argument("run", metavar="RUN")
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    help="Films with splits `train` and `val`; labels only judge.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Run directory to make.")
@click.option("--epochs", type=click.IntRange(min=0), default=3, show_default=True, help="Passes over the train films.")
@click.option("--learning-rate", type=float, default=1e-5, show_default=True, help="Adam's peak rate.")
@click.option("--batch-size", type=click.IntRange(min=1), default=16, show_default=True, help="Films a step.")
@click.option(
    "--calibration-batches",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Batches that set the ranges of activations before the first step.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of order and changes.")
@click.option("--resume", is_flag=True, help="Go on from the last finished epoch of --out.")
@click.option(
    "--compare/--no-compare",
    default=True,
    show_default=True,
    help="Convert this run and its float original, and print which int8 file is closer to float.",
)
@click.option(
    "--cache", "cache_dir", type=click.Path(path_type=Path), help="Keep decoded films here, for the next run."
)
@click.option(
    "--format", "output_format", type=click.Choice(["table", "json"]), default="table", show_default=True,
    help="How the comparison is printed.",
)  # fmt: skip
def quantize(
    run: str, data: Path, out: Path, epochs: int, learning_rate: float, batch_size: int, calibration_batches: int,
    seed: int, resume: bool, compare: bool, cache_dir: Path | None, output_format: str,
) -> None:  # fmt: skip
    """Train RUN on with eight-bit rounding in it (quantisation-aware training), so that int8 costs it least.

    The rounded network learns to answer as its float original does; labels are not needed. The result is a run
    directory for `convert`. Post-training int8 (`convert` of the float run) is often as good: the comparison says.
    """
    from edge_pneumo.commands.telling import Teller
    from edge_pneumo.train.run import load_run, require_tensorflow, write_json

    require_tensorflow()
    from edge_pneumo.quantize.qat_fit import QatOptions, quantise_run
    from edge_pneumo.train.data.index import load_dataset

    dataset, tell = load_dataset(data), Teller()
    for warning in dataset.warnings:
        tell(f"{data}: {warning}")
    options = QatOptions(epochs, learning_rate, batch_size, calibration_batches, seed)
    quantise_run(load_run(run), dataset, out, options, resume=resume, cache_dir=cache_dir, say=tell)
    if not compare:
        click.echo(out)
        tell.finish()
        return
    from edge_pneumo.quantize.compare import compare_with_post_training

    result = compare_with_post_training(load_run(out), dataset, cache_dir=cache_dir, say=tell)
    write_json(out / "comparison.json", result)
    if output_format == "json":
        click.echo(json.dumps({**result, "run": str(out)}, indent=1))
    else:
        _print_table(result)
        click.echo(out)
    tell.finish()


def _print_table(result: dict[str, Any]) -> None:
    click.echo(f"{result['films']} films of split {result['split']}; interval: 95 %, paired, over patients")
    columns = f"{'AUC':>8}{'drop':>9}{'95 % interval':>20}{'RSNA':>8}{'drop':>9}{'moved':>8}{'dB heat':>9}{'bytes':>11}"
    click.echo(f"{'':15}{columns}")
    for row in result["rows"]:
        auc, score = row.get("auc"), row.get("rsna_score")
        if auc is None or score is None or auc["drop"] is None:
            click.echo(f"{row['name']:15}no labelled films of both classes; moved {row['probability']['mean']:.4f}")
            continue
        interval = f"{auc['drop_low']:+.4f} to {auc['drop_high']:+.4f}"
        rsna, fell = (score["converted"] or 0.0), (score["drop"] or 0.0)
        click.echo(
            f"{row['name']:15}{auc['converted']:8.4f}{auc['drop']:+9.4f}{interval:>20}{rsna:8.4f}{fell:+9.4f}"
            f"{row['probability']['mean']:8.4f}{row['signal_to_noise_db']['heat']:9.1f}{row['bytes']:11,}"
        )
