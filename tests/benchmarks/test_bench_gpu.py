"""The default model on a software GPU (SwiftShader), against the CPU and against the committed figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_pneumo.benchmarks.client import Measurer
from edge_pneumo.benchmarks.films import films_in
from edge_pneumo.benchmarks.job import Job
from edge_pneumo.benchmarks.sweep import against_cpu
from edge_pneumo.benchmarks.tables import note
from edge_pneumo.edge_runtime.bundle import default_model_path
from edge_pneumo.edge_runtime.predict import Detector

SWIFTSHADER = Path("/usr/lib/chromium/vk_swiftshader_icd.json")
COMMITTED = Path(__file__).parents[2] / "docs" / "results" / "benchmark-swiftshader.json"
FILMS = films_in([Path(__file__).parents[1] / "data" / "films"])  # made up once: new ones have other bytes elsewhere
TOLERANCE = 0.03
"""In probability; docs/benchmarks.md says why. The GPU computes the int8 network in float, without rounding between the
layers, so that an output moves by a few of its 256 levels."""


@pytest.fixture(scope="module")
def on_gpu() -> dict[str, Any]:
    """Probabilities of the committed file's films, with their ids."""
    if not SWIFTSHADER.is_file():
        pytest.skip("GPU PATH NOT TESTED: no SwiftShader. On Debian: apt-get install chromium libvulkan1")
    if not default_model_path().exists():
        pytest.skip("GPU PATH NOT TESTED: no default model is embedded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VK_ICD_FILENAMES", str(SWIFTSHADER))
        with Measurer(Job("default", "gpu", films=FILMS.paths)) as measurer:
            facts = measurer.open()
            found = measurer.measure(films=len(FILMS.paths), collect=True)["findings"]
    answers = [found[str(i)]["probability"] for i in range(len(FILMS.paths))]
    return {"facts": facts, "answers": answers}


def test_the_default_model_answers_on_the_gpu_as_on_the_cpu(on_gpu: dict[str, Any]) -> None:
    assert on_gpu["facts"]["software"] is True
    with Detector.open("default") as detector:
        here = [detector.predict(path).finding.probability for path in FILMS.paths]  # pyright: ignore[reportOptionalMemberAccess]
    assert on_gpu["answers"] == pytest.approx(here, abs=TOLERANCE)


def test_the_gpu_answers_as_the_committed_figures_say(on_gpu: dict[str, Any]) -> None:
    if not COMMITTED.is_file():
        pytest.skip(f"GPU PATH NOT COMPARED: no {COMMITTED.name} yet; scripts/results makes it")
    committed = json.loads(COMMITTED.read_text("utf-8"))
    row = next(row for row in committed["results"] if row["backend"] == "gpu")
    if row["model"]["sha256"] != on_gpu["facts"]["model"]["sha256"]:
        pytest.skip("GPU PATH NOT COMPARED: another default model than the committed file's; scripts/results makes it")
    assert committed["films"]["ids"] == FILMS.to_dict()["ids"]
    assert on_gpu["answers"] == pytest.approx(row["probabilities"], abs=TOLERANCE)
    assert row["software"] is True
    assert row["against_cpu"]["largest"] <= TOLERANCE


def row(backend: str, probabilities: list[float | None]) -> dict[str, Any]:
    facts = {"model": {"sha256": "a"}, "software": False, "unstable": None, "reason": None}
    return {"status": "ok", "backend": backend, "probabilities": probabilities, **facts}


def test_distance_from_the_cpu_s_answers_by_hand() -> None:
    cpu, gpu = row("cpu", [0.25, 0.5, None, 0.75]), row("gpu", [0.25, 0.625, 0.1, None])
    assert against_cpu(gpu, [cpu, gpu]) == {"n": 2, "largest": 0.125, "mean": 0.0625}
    assert against_cpu(cpu, [cpu, gpu]) is None
    assert against_cpu(gpu, [gpu]) is None
    assert against_cpu({**gpu, "model": {"sha256": "b"}}, [cpu]) is None
    assert "within 0.125 of the CPU's on 2 films" in note({**gpu, "against_cpu": against_cpu(gpu, [cpu])})
