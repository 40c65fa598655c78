"""A run small enough to ship: kernels as float16, so that `convert default` is a real job without films of one's own.

config.json  decode.json  metrics.json   as in any run directory
weights.half.npz                         kernels in float16; biases and batch norms, a few per cent, in float32
"""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from edge_pneumo.edge_runtime.files import atomic_write
from edge_pneumo.errors import DataError

WEIGHTS = "weights.half.npz"


def default_run_path() -> Path:
    """The float original of the embedded default model, as a run directory."""
    return Path(__file__).with_name("models") / "default"


def save_half(model: Any, source: Path, target: Path) -> Path:
    """Write a detector's weights, and the JSON files of its run directory `source`, into `target`."""
    arrays = {}
    for layer in model.layers:
        for number, value in enumerate(layer.get_weights()):
            arrays[f"{layer.name}/{number}"] = value.astype(np.float16) if value.ndim > 1 else value
    with atomic_write(target / WEIGHTS) as stream:
        np.savez_compressed(stream, **arrays)
    for name in ("config.json", "decode.json", "metrics.json"):
        if (source / name).is_file():
            with atomic_write(target / name) as stream, (source / name).open("rb") as original:
                shutil.copyfileobj(original, stream)
    return target / WEIGHTS


def load_half(model: Any, path: Path) -> None:
    """Give a detector the weights in `path`.

    Raises
    ------
    DataError : the file is damaged, or of another graph.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            for layer in model.layers:
                expected = layer.get_weights()
                if expected:
                    layer.set_weights([archive[f"{layer.name}/{n}"].astype(np.float32) for n in range(len(expected))])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot read the weights {path}: {error}; install the package again") from error
