"""`edge-pneumo convert`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.command(
    epilog="""\b
Examples:
  edge-pneumo convert runs/first -o first.tflite --data rsna/
  edge-pneumo convert runs/first -o first.tflite --data rsna/ --calibration all --format json
  edge-pneumo convert runs/first -o first.tflite --data rsna/ --explain where.html --repair
  edge-pneumo convert default -o half.tflite --precision float16
"""
)
@click.argument("run", metavar="RUN")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="The .tflite file to make.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Labelled films: `train` calibrates, `val` judges. A plain folder of films calibrates and proves parity only; "
    "without --data, generated films do that.",
)
@click.option(
    "--precision",
    type=click.Choice(["int8", "int16x8", "float16", "dynamic", "float32"]),
    default="int8",
    show_default=True,
    help="int8: integer from end to end. int16x8: int8 weights, int16 activations. float16, dynamic: small weights, "
    "float arithmetic.",
)
@click.option(
    "--calibration",
    type=click.Choice(["auto", "minmax", "percentile", "mse", "all"]),
    default="auto",
    show_default=True,
    help="How the range of an activation is chosen; `auto` tries the methods in turn until one passes the gate, `all` "
    "tries each and keeps the best.",
)
@click.option(
    "--rounding",
    type=click.Choice(["aware", "nearest"]),
    default="aware",
    show_default=True,
    help="aware: weights are rounded for the inputs they meet on films; nearest: as TFLite does, and usually worse.",
)
@click.option(
    "--calibration-films", type=click.IntRange(min=1), default=120, show_default=True, help="Films to calibrate on."
)
@click.option("--split", default="val", show_default=True, help="Films that the gate judges on.")
@click.option(
    "--max-auc-drop", type=float, default=0.005, show_default=True, help="Largest drop of AUC, file against float."
)
@click.option(
    "--max-score-drop", type=float, default=0.01, show_default=True, help="Largest drop of the RSNA challenge score."
)
@click.option(
    "--max-change",
    type=float,
    default=0.02,
    show_default=True,
    help="Without labelled films: largest mean change of a film's probability.",
)
@click.option(
    "--weights-scale",
    type=click.Choice(["per-channel", "per-tensor"]),
    default="per-channel",
    show_default=True,
    help="per-tensor only for accelerators that ask for it: it costs accuracy.",
)
@click.option(
    "--explain",
    type=click.Path(path_type=Path),
    help="Write where the error comes from, layer by layer, to this .html (and a .json beside it).",
)
@click.option("--repair", is_flag=True, help="If the gate fails, keep the fewest layers in float that let it pass.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the draw of calibration films."
)
@click.option("--name", help="Name of the model in the file.  [default: after the recipe]")
@click.option(
    "--study", "studies", multiple=True, type=click.Path(path_type=Path),
    help="Result of `benchmark study` (JSON) that the model card is to tell of; may be repeated.",
)  # fmt: skip
@click.option("--also", type=click.Choice(["onnx"]), hidden=True)
@click.option(
    "--cache", "cache_dir", type=click.Path(path_type=Path), help="Keep decoded films here, for the next run."
)
@click.option(
    "--format", "output_format", type=click.Choice(["table", "json"]), default="table", show_default=True,
    help="How the result is printed.",
)  # fmt: skip
def convert(
    run: str, out: Path, data: Path | None, precision: str, calibration: str, rounding: str, calibration_films: int,
    split: str,
    max_auc_drop: float, max_score_drop: float, max_change: float, weights_scale: str, explain: Path | None,
    repair: bool, seed: int, name: str | None, studies: tuple[Path, ...], also: str | None, cache_dir: Path | None,
    output_format: str,
) -> None:  # fmt: skip
    """Make a .tflite of RUN (a run directory, float or from `quantize`, or `default`) and prove that it is no worse.

    The written file is run by the light runtime on the films of --split, side by side with the float model. If AUC or
    RSNA score falls by more than allowed, the command ends with 5, says where the error comes from (of a float
    run), and leaves nothing under the final name.
    """
    from edge_pneumo.edge_runtime.files import check_writable
    from edge_pneumo.errors import UsageFault

    if also:
        raise UsageFault("ONNX is left out: docs/quantization.md says why, and which tool makes one from our .tflite")
    if run != "default" and Path(run).suffix == ".tflite":
        raise UsageFault(f"{run} is a model file already; convert takes a run directory or `default`")
    if explain is not None and precision != "int8":
        raise UsageFault("--explain measures post-training int8; leave out --precision")
    for path in (out, explain):
        if path is not None:
            check_writable(path)
    from edge_pneumo.commands.telling import Teller
    from edge_pneumo.train.run import require_tensorflow

    require_tensorflow()
    from edge_pneumo.quantize.convert import ConvertOptions, GateRefusal, convert_run
    from edge_pneumo.quantize.gate import Limits
    from edge_pneumo.quantize.material import films_for
    from edge_pneumo.train.run import load_run

    options = ConvertOptions(
        calibration=calibration, rounding=rounding, calibration_films=calibration_films, seed=seed, split=split,
        limits=Limits(max_auc_drop, max_score_drop, max_change), per_channel=weights_scale == "per-channel",
        repair=repair, explain=explain is not None, name=name, cache_dir=cache_dir, studies=studies,
    )  # fmt: skip
    loaded, tell = load_run(run), Teller()
    with films_for(data, say=tell) as (dataset, labelled):
        try:
            report = convert_run(loaded, out, dataset, precision, labelled=labelled, options=options, say=tell)
        except GateRefusal as refusal:
            _finish(refusal.report, explain, output_format)
            raise
    _finish(report, explain, output_format)
    tell.finish()


def _finish(report: dict[str, Any], explain: Path | None, output_format: str) -> None:
    explanation = report.pop("explanation", None)
    if explain is not None and explanation is not None:
        from edge_pneumo.quantize.report import write_explanation

        for path in write_explanation(explain, explanation, report):
            _say(f"wrote {path}")
    if output_format == "json":
        click.echo(json.dumps(report, indent=1))
    else:
        _print_table(report)


def _print_table(report: dict[str, Any]) -> None:
    gate = report["gate"]
    if gate["kind"] == "accuracy":
        click.echo(f"{'':14}{'float':>9}{'converted':>11}{'drop':>9}{'95 % interval':>20}{'allowed':>9}")
    for key in ("auc", "rsna_score", "sensitivity"):
        if key in gate and gate[key]["drop"] is not None:
            f = gate[key]
            interval = "" if f["drop_low"] is None else f"{f['drop_low']:+.4f} to {f['drop_high']:+.4f}"
            allowed = "" if f["allowed"] is None else f"{f['allowed']:g}"
            click.echo(f"{key:14}{f['float']:9.4f}{f['converted']:11.4f}{f['drop']:+9.4f}{interval:>20}{allowed:>9}")
    moved = gate["probability"]
    click.echo(
        f"probability moved by {moved['mean']:.4f} on average, {moved['largest']:.4f} at most ({gate['films']} films)"
    )
    for row in report["calibration"]["compared"] if len(report["calibration"]["compared"]) > 1 else ():
        drops = ", ".join(f"{k} {v:+.4f}" for k, v in row["drops"].items() if v is not None)
        mark = "  <- chosen" if row["chosen"] else ""
        click.echo(
            f"calibration {row['method']:11} probability moved {row['probability_moved']:.4f}; drops: {drops}{mark}"
        )
    for layer in report.get("worst_layers", [])[:5]:
        click.echo(
            f"layer {layer['name']:20} {layer['share']:6.1%} of the error, {layer['snr_db']:.0f} dB, "
            f"weight spread {layer['weight_spread']:.0f}"
        )
    if "repair" in report:
        _print_repair(report["repair"])
    tensors = ", ".join(f"{count} {dtype}" for dtype, count in report.get("tensors", {}).items())
    click.echo(f"gate: {'passed' if gate['passed'] else 'FAILED'} ({gate['kind']}): {gate['reason']}")
    if "path" in report:
        click.echo(f"{report['path']}: {report['precision']}, {report['bytes']:,} bytes, {tensors}")
        click.echo(f"sha256 {report['sha256']}")


def _print_repair(repair: dict[str, Any]) -> None:
    sizes, times = repair["bytes"], repair["ms"]
    click.echo(
        f"repair: {len(repair['layers'])} layers in float ({', '.join(repair['layers'])}); "
        f"bytes {sizes['before']:,} -> {sizes['after']:,}, ms {times['before']:.2f} -> {times['after']:.2f}"
    )


def _say(sentence: str) -> None:
    click.echo(sentence, err=True)
