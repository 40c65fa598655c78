"""LiteRT's GPU path, on SwiftShader (in Debian's chromium) where there is no card: the numbers, not the speed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SWIFTSHADER = Path("/usr/lib/chromium/vk_swiftshader_icd.json")
CODE = """
import json, sys
from edge_pneumo.edge_runtime.bundle import open_bundle
from edge_pneumo.edge_runtime.engine import open_engine
from edge_pneumo.edge_runtime.golden import check_golden
bundle = open_bundle(sys.argv[1], trial=False)
engine = open_engine(bundle.tflite, spec=bundle.input_spec, backend="gpu")
result = check_golden(engine, bundle.golden)
print(json.dumps({"details": engine.details(), "largest": result.largest, "vectors": result.vectors}))
"""


def run_on_gpu(model: Path, driver: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "VK_ICD_FILENAMES": driver, "VK_DRIVER_FILES": driver}
    command = [sys.executable, "-c", CODE, str(model)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(autouse=True)
def litert_installed() -> None:
    if importlib.util.find_spec("ai_edge_litert") is None:
        pytest.skip("ai-edge-litert is not installed")


def test_gpu_outputs_are_the_cpu_s_to_one_unit(tiny_path: Path) -> None:
    if not SWIFTSHADER.exists():
        pytest.skip("GPU PATH NOT TESTED: no SwiftShader. On Debian: apt-get install chromium libvulkan1")
    child = run_on_gpu(tiny_path, str(SWIFTSHADER))
    if "no Vulkan library" in child.stderr:
        pytest.skip("GPU PATH NOT TESTED: no libvulkan.so.1. On Debian: apt-get install libvulkan1")
    assert child.returncode == 0, child.stderr
    report = json.loads(child.stdout)  # LiteRT's GPU part logs to standard output: nothing of it may come through
    assert report["details"]["backend"] == "gpu"
    assert "SwiftShader" in report["details"]["device"]
    assert "adapterType=CPU" in report["details"]["device"]  # the mark by which benchmarks leave its speed out
    assert report["vectors"] == 4
    assert report["largest"] <= 1


def test_no_gpu_says_what_to_install(tiny_path: Path) -> None:
    child = run_on_gpu(tiny_path, "/nonexistent.json")
    assert child.returncode == 1
    last = [line for line in child.stderr.splitlines() if "BackendUnavailable" in line][-1]
    assert "the gpu backend has no usable GPU" in last
    assert "libvulkan1" in last and "--backend cpu" in last
