"""What a latency means for a clinic: films an hour, waiting, energy and cost. Models, labelled as such on the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge_pneumo.benchmarks.report.options import ReportOptions


def waiting_s(samples_ms: Sequence[float], films_per_day: float, hours_per_day: float) -> float | None:
    """Mean wait before a film's turn, in seconds, when films arrive at random over the day and one is done at a time.

    Pollaczek-Khinchine for an M/G/1 queue: W = rate * E[S^2] / (2 (1 - load)). None when more arrive than can be done.
    """
    seconds = [ms / 1000 for ms in samples_ms]
    rate = films_per_day / (hours_per_day * 3600)
    load = rate * sum(seconds) / len(seconds)
    if load >= 1:
        return None
    return rate * sum(s * s for s in seconds) / len(seconds) / (2 * (1 - load))


def clinic_row(label: str, entry: dict[str, Any], options: ReportOptions) -> dict[str, Any]:
    """Films an hour, load, waiting time and the time for a day's films at once, for one entry."""
    mean_ms = entry["stages_ms"]["total"]["mean"] / entry["batch"]
    per_second = entry["films_per_second"] or 1000 / mean_ms
    wait = waiting_s(entry["samples_ms"], options.films_per_day, options.hours_per_day)
    return {
        "device": label,
        "films_per_hour": round(3600 * per_second),
        "busy": round(options.films_per_day * mean_ms / 1000 / (options.hours_per_day * 3600), 6),
        "wait_ms": None if wait is None else round(1000 * wait, 4),
        "backlog_s": round(options.films_per_day / per_second, 3),
    }


def cost_row(
    label: str, entry: dict[str, Any], measured_w: float | None, options: ReportOptions
) -> dict[str, Any] | None:
    """Energy and cost of 1,000 films for one entry; None where no power is known.

    `work_wh` counts only the seconds of work; `day_wh` counts a device that stays on through the opening hours.
    """
    watts = options.watts.get(label, measured_w)
    if watts is None:
        return None
    per_second = entry["films_per_second"] or 1000 / entry["stages_ms"]["total"]["mean"]
    day_wh = watts * options.hours_per_day / options.films_per_day * 1000
    row: dict[str, Any] = {
        "device": label,
        "watts": watts,
        "source": "given" if label in options.watts else "sensor",
        "work_wh": round(watts * 1000 / per_second / 3600, 4),
        "day_wh": round(day_wh, 3),
        "energy_cost": None,
        "device_cost": None,
        "cost": None,
    }
    if options.price_per_kwh is not None:
        row["energy_cost"] = round(day_wh / 1000 * options.price_per_kwh, 4)
    if label in options.device_price:
        films = options.years * 365 * options.films_per_day
        row["device_cost"] = round(options.device_price[label] / films * 1000, 4)
    known = [row[key] for key in ("energy_cost", "device_cost") if row[key] is not None]
    row["cost"] = round(sum(known), 4) if known else None
    return row
