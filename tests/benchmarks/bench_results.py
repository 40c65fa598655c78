"""Plausible result files for tests of tables, comparison and report: drawn, never measured."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_pneumo.benchmarks.stats import summarise

PARTS = {"read": 0.45, "preprocess": 0.08, "invoke": 0.42, "decode": 0.03, "write": 0.02}


def entry(
    p50_ms: float = 6.0,
    *,
    backend: str = "cpu",
    threads: int = 1,
    precision: str = "int8",
    n: int = 300,
    seed: int = 0,
    auc: float | None = None,
    films: int = 20,
    **more: Any,
) -> dict[str, Any]:
    """One entry of `results` with samples drawn around `p50_ms`."""
    rng = np.random.default_rng(seed)
    totals = p50_ms * rng.gamma(60, 1 / 60, n)
    parts = {name: totals * share for name, share in PARTS.items()}
    truth = np.random.default_rng(9).uniform(0.02, 0.98, films)
    shift = 0 if precision == "float32" else rng.normal(0, 0.01, films)
    accuracy = None
    if auc is not None:
        metric = {"value": auc, "low": auc - 0.04, "high": auc + 0.03}
        accuracy = dict.fromkeys(("auc", "rsna_score", "sensitivity", "specificity"), metric)
    return {
        "backend": backend,
        "threads": threads,
        "batch": 1,
        "reader": "ours",
        "status": "ok",
        "reason": None,
        "model": {"name": "detector", "version": "1", "sha256": "0" * 64, "precision": precision, "size_px": 256},
        "runtime": "ai-edge-litert 2.3.0",
        "software": False,
        "load_ms": 7.25,
        "bytes": 2_500_000 if precision == "int8" else 9_100_000,
        "stages_ms": {name: summarise(values) for name, values in {**parts, "total": totals}.items()},
        "samples_ms": [round(float(v), 4) for v in totals],
        "samples_by_stage_ms": {name: [round(float(v), 4) for v in values] for name, values in parts.items()},
        "films_per_second": round(1500 / p50_ms, 3),
        "offline": {"jobs": 2, "films": 500, "seconds": 3.0, "films_per_second": round(1500 / p50_ms, 3)},
        "cold_start_ms": 231.5,
        "peak_rss_mb": 63.1,
        "accuracy": accuracy,
        "unstable": None,
        "sustained": None,
        "threshold": 0.5,
        "probabilities": [round(float(v), 6) for v in np.clip(truth + shift, 0, 1)],
        **more,
    }


def cannot_run(backend: str = "gpu", reason: str = "no usable GPU") -> dict[str, Any]:
    """An entry for a backend that could not run."""
    return {
        "backend": backend,
        "threads": 1,
        "batch": 1,
        "status": "cannot-run",
        "reason": reason,
        "model": {"name": "detector"},
    }


def sustained(minutes: float = 10, heat: float = 0.2) -> dict[str, Any]:
    """A board that grows hot and slower."""
    points = [
        {
            "time_s": 6.0 * i,
            "p50_ms": round(17 * (1 + heat * i / 100), 3),
            "p99_ms": 25.0,
            "n": 300,
            "temperature_c": round(45 + 35 * (1 - 0.97**i), 1),
            "clock_mhz": 1800,
            "throttle": [],
            "power_w": None,
        }
        for i in range(1, 101)
    ]
    return {"minutes": minutes, "points": points}


def result(label: str, entries: list[dict[str, Any]], **device: Any) -> dict[str, Any]:
    """A result file."""
    return {
        "schema": 1,
        "kind": "edge-pneumo benchmark",
        "label": label,
        "edge_pneumo": "0.1.0",
        "created": "2026-11-23T09:00:00+00:00",
        "command": f"edge-pneumo benchmark run -o {label}.json",
        "settings": {},
        "films": {
            "source": "data",
            "n": 20,
            "labelled": True,
            "mean_bytes": 142_000,
            "ids": [f"{i:012x}" for i in range(20)],
        },
        "refused": {},
        "device": {
            "board": None,
            "cpu": "test CPU",
            "cpu_features": ["avx2"],
            "cores": 2,
            "clock_mhz": {"min": 2596, "max": 2596},
            "governor": "performance",
            "memory": {"total_mb": 24106, "available_mb": 20000},
            "os": "Debian GNU/Linux 12 (bookworm)",
            "temperature_c": {"before": None, "after": None},
            "throttle": {"before": None, "after": None},
            "power_w": {"before": None, "after": None},
            "gpu": [],
            **device,
        },
        "results": entries,
    }
