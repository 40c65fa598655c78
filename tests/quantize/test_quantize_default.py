"""`convert default` on real films: what the package promises of its own model."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_pneumo.edge_runtime.bundle import open_bundle
from edge_pneumo.edge_runtime.engine import open_engine
from edge_pneumo.edge_runtime.flatbuffer import read_graph
from edge_pneumo.edge_runtime.golden import check_golden

pytestmark = [pytest.mark.train, pytest.mark.data, pytest.mark.slow]


def test_the_default_at_int8_is_no_worse_than_float(tmp_path):
    pytest.importorskip("tensorflow", reason="needs the extra `train`")
    root = os.environ.get("EDGE_PNEUMO_DATA")
    if not root:
        pytest.skip("EDGE_PNEUMO_DATA is not set")
    out = tmp_path / "default.tflite"
    command = [sys.executable, "-m", "edge_pneumo", "convert", "default", "-o", str(out), "--format", "json"]
    done = subprocess.run(
        [*command, "--data", str(Path(root) / "rsna-mini")], capture_output=True, text=True, timeout=600, check=True
    )
    report = json.loads(done.stdout)
    gate = report["gate"]
    assert gate["passed"] and gate["kind"] == "accuracy" and gate["films"] == 110
    assert gate["auc"]["drop"] <= 0.005 and gate["rsna_score"]["drop"] <= 0.01
    assert report["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    made, shipped = open_bundle(out), open_bundle("default")
    assert read_graph(made.tflite).float_tensors() == ()
    assert made.decode_spec == shipped.decode_spec and made.input_spec == shipped.input_spec
    assert check_golden(open_engine(made.tflite, spec=made.input_spec), made.golden).bit_exact
