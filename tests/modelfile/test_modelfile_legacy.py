"""tflite-runtime, the fallback for 32-bit and old systems, for real: `scripts/test-legacy` makes the environment."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_pneumo.edge_runtime.bundle import Bundle, open_bundle
from edge_pneumo.edge_runtime.doctor import examine
from edge_pneumo.edge_runtime.engine import choose_backend, open_engine
from edge_pneumo.edge_runtime.golden import check_golden

if importlib.util.find_spec("tflite_runtime") is None:
    pytest.skip("LEGACY RUNTIME NOT TESTED here: run scripts/test-legacy", allow_module_level=True)

# what tflite-runtime 2.14 writes when the interpreter is built; the wheel's business, not ours
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_it_is_chosen_where_litert_is_missing() -> None:
    assert np.__version__.startswith("1.")
    assert choose_backend("auto") == "tflite-runtime"


def test_a_model_file_opens_and_runs(tiny: Bundle, tiny_path: Path) -> None:
    bundle = open_bundle(tiny_path)  # with its trial run in a child
    golden = bundle.golden
    assert golden is not None
    engine = open_engine(bundle.tflite, spec=bundle.input_spec)
    assert engine.details()["runtime"].startswith("tflite-runtime 2.14")
    plain = check_golden(engine, golden)
    reference = check_golden(open_engine(bundle.tflite, spec=bundle.input_spec, kernels="reference"), golden)
    assert plain.vectors == reference.vectors == 4
    assert not plain.bit_exact and not reference.bit_exact  # no XNNPACK for int8 here: other rounding, as doctor says


def test_doctor_says_that_the_bits_are_others(tiny_path: Path) -> None:
    golden = next(check for check in examine(tiny_path)["checks"] if check["name"] == "golden")
    assert "tflite-runtime runs int8 without XNNPACK" in golden["found"]


def test_predict_reads_a_film(tiny_path: Path) -> None:
    film = Path(__file__).parents[1] / "data" / "phantom.dcm"
    command = [
        sys.executable,
        "-m",
        "edge_pneumo",
        "predict",
        str(film),
        "--model",
        str(tiny_path),
        "--format",
        "jsonl",
    ]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout)["status"] == "ok"
