"""Constant load for minutes: what the page says of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge_pneumo.benchmarks.results import describe

PANELS = {"temperature_c": "°C", "clock_mhz": "MHz"}
"""What is drawn below a sustained run's latency, and its unit."""


def throttled(point: dict[str, Any]) -> bool:
    """Whether the board was slowed down at that moment; flags that say "has occurred" do not count."""
    return any("now" in flag for flag in point.get("throttle") or ())


def told(runs: Sequence[dict[str, Any]]) -> list[str]:
    """Which of `PANELS` any of the runs has numbers for."""
    return [key for key in PANELS if any(point.get(key) is not None for run in runs for point in run["points"])]


def sustained_row(label: str, entry: dict[str, Any]) -> dict[str, Any]:
    """One row's sustained load: its points, medians of the first and last third (ms), heat, clock and throttling."""
    points = entry["sustained"]["points"]
    third = max(1, len(points) // 3)
    first = sorted(point["p50_ms"] for point in points[:third])[third // 2]
    last = sorted(point["p50_ms"] for point in points[-third:])[third // 2]
    heat = [point["temperature_c"] for point in points if point.get("temperature_c") is not None]
    clock = [point["clock_mhz"] for point in points if point.get("clock_mhz") is not None]
    return {
        "device": label,
        "name": describe(entry),
        "minutes": entry["sustained"]["minutes"],
        "points": points,
        "first_ms": first,
        "last_ms": last,
        "change": round(last / first - 1, 4) if first else 0.0,
        "hottest_c": max(heat, default=None),
        "clock_mhz": [min(clock), max(clock)] if clock else None,
        "intervals": len(points),
        "throttled": sum(map(throttled, points)) if any(p.get("throttle") is not None for p in points) else None,
    }
