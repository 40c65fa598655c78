"""What the variants of a study weigh and cost once they are int8: bytes, milliseconds of one inference, accuracy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edge_pneumo.edge_runtime.bundle import open_bundle
from edge_pneumo.edge_runtime.engine import Engine, open_engine
from edge_pneumo.quantize.convert import ConvertOptions, convert_run
from edge_pneumo.quantize.gate import Limits
from edge_pneumo.quantize.material import median_ms
from edge_pneumo.train.data.film import DataSet

ROUNDS = 7
ANY_LOSS = Limits(1.0, 1.0, 1.0)
"""A study shows what a variant loses; nobody is to use the file."""
Say = Callable[[str], None]


def add_sizes(
    result: dict[str, Any], runs: dict[str, Path], dataset: DataSet, cache_dir: Path | None, say: Say
) -> None:
    """Convert one run of every variant and put what it costs into the study's result, as `int8` in its row.

    Parameters
    ----------
    result : of `run_study`; changed in place.
    runs : name of a variant -> its run directory; the .tflite is left in it.

    Notes
    -----
    All files are timed in turn, a few times over, on one thread: other work on the machine slows all of them alike.
    """
    engines: dict[str, Engine] = {}
    for row in result["variants"]:
        path = runs[row["name"]] / "int8.tflite"
        say(f"{row['name']}: converting to int8")
        options = ConvertOptions(cache_dir=cache_dir, limits=ANY_LOSS)
        convert_run(runs[row["name"]], path, dataset, "int8", options=options, say=say)
        bundle = open_bundle(path)
        judged = {name: bundle.metadata["gate"][name]["converted"] for name in ("auc", "rsna_score")}
        row["int8"] = {"bytes": path.stat().st_size, **judged}
        engines[row["name"]] = open_engine(bundle.tflite, spec=bundle.input_spec, backend="cpu")
    times: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(ROUNDS):
        for name, engine in engines.items():
            grey = np.random.default_rng(0).integers(0, 256, engine.input.shape, np.uint8)
            times[name].append(median_ms(engine, grey))
    for row in result["variants"]:
        if row["name"] in times:
            row["int8"]["invoke_ms"] = round(float(np.median(times[row["name"]])), 3)
