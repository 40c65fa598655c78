"""`convert` and `quantize` on the command line: help without TensorFlow, wrong usage, missing extra."""

from __future__ import annotations

import subprocess
import sys

import pytest


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge_pneumo", *arguments], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("command", ["convert", "quantize"])
def test_help_teaches_and_imports_no_tensorflow(command):
    program = (
        "import sys\nfrom edge_pneumo.cli import main\n"
        f"try:\n    main(['{command}', '--help'])\nexcept SystemExit as end:\n"
        "    heavy = sorted({m.split('.')[0] for m in sys.modules} & {'tensorflow', 'tf_keras', 'matplotlib'})\n"
        "    print('HEAVY', heavy, end.code)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert "HEAVY [] 0" in done.stdout and "Examples:" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["convert", "model.tflite", "-o", "x.tflite"], "is a model file already"),
        (
            ["convert", "run", "-o", "x.tflite", "--precision", "float16", "--explain", "e.html"],
            "measures post-training",
        ),
        (["convert", "run", "-o", "x.tflite", "--also", "onnx"], "ONNX is left out"),
        (["convert", "run", "-o", "x.tflite", "--precision", "int4"], "int4"),
        (["convert", "run"], "Missing option"),
        (["convert", "run", "-o", "."], "is a folder"),
        (["convert", "run", "-o", "x.tflite", "--explain", "."], "is a folder"),
        (["quantize", "run", "--out", "x"], "Missing option '--data'"),
    ],
)
def test_wrong_usage_ends_with_2(arguments, message):
    done = call(*arguments)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
