"""A stand-in for `train.run.load_run` that a measuring process imports by name: an untrained detector of 64 px."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from edge_pneumo.edge_runtime.decode import DecodeSpec
from edge_pneumo.edge_runtime.preprocess import InputSpec
from edge_pneumo.train.detector import DetectorConfig, build_detector


def load_tiny(folder: Path) -> SimpleNamespace:
    """What a benchmark needs of a `TrainedRun`."""
    model = build_detector(DetectorConfig(size_px=64, alpha=0.35, head_channels=16))
    return SimpleNamespace(path=folder, model=model, input_spec=InputSpec(size_px=64), decode_spec=DecodeSpec())
