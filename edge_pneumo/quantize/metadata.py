"""What a model file says of itself, gathered from the run, the calibration and the gate."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edge_pneumo import __version__
from edge_pneumo.edge_runtime.bundle import describe_decode, describe_input
from edge_pneumo.errors import DataError
from edge_pneumo.quantize.card import ACKNOWLEDGEMENT, INTENDED_USE, LICENCE, SYNTHETIC_LICENCE
from edge_pneumo.train.run import TrainedRun, read_json

_TOOLS = ("tensorflow", "tf-keras", "tensorflow-model-optimization", "ai-edge-litert", "numpy")


def describe_model(
    run: TrainedRun,
    *,
    name: str | None,
    precision: str,
    metrics: dict[str, Any],
    calibration: dict[str, Any],
    gate: dict[str, Any],
    studies: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """metadata.json of a converted run; `bundle.write_bundle` adds what it reads from the network itself."""
    config = run.config
    train = config.get("train", {})
    synthetic = bool(config.get("data", {}).get("synthetic"))
    dtype = "uint8" if precision == "int8" else "float32"
    return {
        "name": name or f"edge-pneumo-{train.get('name', 'detector')}",
        "version": config.get("version", __version__),
        "precision": precision,
        "interim": bool(train.get("interim", False)),
        "input": describe_input(run.input_spec, dtype),
        "decode": describe_decode(run.decode_spec),
        "operating_points": run.decode_spec.operating_points,
        "default_operating_point": run.decode_spec.default_operating_point,
        "training_data": {
            **config.get("data", {}),
            "start": config.get("start", "unknown"),
            "acknowledgement": "generated films" if synthetic else ACKNOWLEDGEMENT,
        },
        "training": {
            "kind": run.kind,
            **{k: train[k] for k in ("alpha", "head_channels", "seed", "teachers") if k in train},
            "hidden": list(config.get("hidden", ())),
        },
        "metrics": metrics,
        "calibration": calibration,
        "gate": gate,
        "studies": list(studies),
        "toolchain": {"edge-pneumo": __version__, "python": platform.python_version(), **_versions()},
        "licence": SYNTHETIC_LICENCE if synthetic else LICENCE,
        "intended_use": INTENDED_USE,
    }


def short_metrics(metrics: dict[str, Any]) -> dict[str, Any]:
    """The evaluator's JSON without its long curves: what a model file carries."""
    wanted = (
        "n", "positives", "auc", "average_precision", "sensitivity", "specificity", "precision", "f1", "accuracy",
        "rsna_score", "ap50", "mean_iou", "ece", "froc_sensitivity", "confusion", "threshold", "subgroups", "data",
        "operating_points", "by_class", "of",
    )  # fmt: skip
    short = {key: metrics[key] for key in wanted if key in metrics}
    return short | {"reliability": metrics.get("curves", {}).get("reliability", [])}


def short_study(path: Path) -> dict[str, Any]:
    """A result of `benchmark study` without its single runs: what a model file carries.

    Raises
    ------
    DataError : it cannot be read, or is no such result.
    """
    study = read_json(path)
    try:
        rows = [{key: row[key] for key in ("name", "about", "figures")} for row in study["variants"]]
        return {key: study[key] for key in ("study", "title", "base", "judged_on", "version")} | {"variants": rows}
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: no result of `benchmark study` ({error!r} missing)") from error


def _versions() -> dict[str, str]:
    found = {}
    for package in _TOOLS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
