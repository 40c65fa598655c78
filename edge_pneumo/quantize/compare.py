"""Post-training int8 beside quantisation-aware int8: the same films, the same thresholds, both run as files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_pneumo.edge_runtime.engine import open_engine
from edge_pneumo.quantize import export
from edge_pneumo.quantize.gate import run_gate, signal_to_noise_db
from edge_pneumo.quantize.material import calibration_images, engine_outputs, proof_films
from edge_pneumo.quantize.post_training import quantise_int8
from edge_pneumo.quantize.qat import load_float_reference
from edge_pneumo.quantize.ranges import choose_ranges, observe
from edge_pneumo.quantize.rounding import round_weights
from edge_pneumo.train.data.film import DataSet
from edge_pneumo.train.run import TrainedRun, raw_outputs

CALIBRATION_FILMS, ROUNDING_FILMS = 120, 24


def compare_with_post_training(
    qat: TrainedRun,
    dataset: DataSet,
    *,
    split: str = "val",
    cache_dir: Path | None = None,
    bootstrap: int = 1000,
    say: Callable[[str], None] = lambda sentence: None,
) -> dict[str, Any]:
    """Convert the float original by calibration and the QAT run by what it learnt, and judge both.

    Returns
    -------
    `rows`, one each for "nearest" (weights rounded as TFLite does), "post-training" (rounded as `convert` does) and
    "qat": `auc`, `rsna_score`, `sensitivity` (float, converted, drop with
    interval), `probability` moved, `signal_to_noise_db` by output, `bytes`.
    """
    spec = qat.input_spec
    proof, _ = proof_films(dataset, True, split, spec, cache_dir)
    _, pictures = calibration_images(dataset, CALIBRATION_FILMS, 0, spec, cache_dir)
    original = load_float_reference(qat)
    reference = raw_outputs(original, spec, proof.images)
    say("converting the float run by calibration")
    float_bytes = export.float_tflite(original)
    ranges = choose_ranges(observe(float_bytes, pictures, spec), "minmax", float_bytes, spec)
    aware = round_weights(float_bytes, pictures[:ROUNDING_FILMS], spec).without()
    files = {
        "nearest": quantise_int8(float_bytes, ranges, spec),
        "post-training": quantise_int8(aware, ranges, spec),
    }
    say("converting the quantisation-aware run")
    files["qat"] = export.qat_tflite(qat.model)
    rows = []
    for name, tflite in files.items():
        answers = engine_outputs(open_engine(tflite, spec=spec, backend="cpu"), proof.images)
        gate = run_gate(reference, answers, proof, qat.decode_spec, bootstrap=bootstrap)
        noise = signal_to_noise_db(reference, answers)
        rows.append({"name": name, **gate, "signal_to_noise_db": noise, "bytes": len(tflite)})
    return {"schema": 1, "films": len(proof.films), "split": split, "split_hash": dataset.split_hash, "rows": rows}
