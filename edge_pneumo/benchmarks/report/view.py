"""Result files -> everything the page shows, as plain JSON types. No drawing and no HTML here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge_pneumo.benchmarks.pipeline import STAGES
from edge_pneumo.benchmarks.report.agreement import agreements
from edge_pneumo.benchmarks.report.clinic import clinic_row, cost_row
from edge_pneumo.benchmarks.report.options import ReportOptions
from edge_pneumo.benchmarks.report.sustained import sustained_row
from edge_pneumo.benchmarks.report.verdict import best_entry, verdict_sentences
from edge_pneumo.benchmarks.results import describe, entry_key
from edge_pneumo.benchmarks.tables import metric

PARTS = [stage for stage in STAGES if stage != "total"]


def build_view(results: Sequence[dict[str, Any]], options: ReportOptions) -> dict[str, Any]:
    """All that the page shows.

    Parameters
    ----------
    results : checked results; labels that occur twice are numbered.
    options : the clinic's figures.
    """
    results = distinct_labels(results)
    devices = [_device(result) for result in results]
    pairs = [(result, best) for result in results if (best := best_entry(result)) is not None]
    rows = [row for device in devices for row in device["rows"]]
    costs = [
        row
        for result, best in pairs
        if (row := cost_row(result["label"], best, (result["device"].get("power_w") or {}).get("after"), options))
    ]
    agreement = agreements(results)
    return {
        "title": options.title,
        "made": max((str(result["created"]) for result in results if result["created"]), default=None),
        "options": {
            "films_per_day": options.films_per_day,
            "hours_per_day": options.hours_per_day,
            "price_per_kwh": options.price_per_kwh,
            "years": options.years,
            "currency": options.currency,
        },
        "verdict": verdict_sentences(results, agreement, options),
        "devices": devices,
        "latency": [row for row in rows if row["status"] == "ok"],
        "absent": [row for row in rows if row["status"] != "ok"],
        "peers": peer_rows(results),
        "pareto": [row for row in rows if row.get("auc") is not None and not row["software"]],
        "threads": thread_scaling(rows),
        "sustained": [
            sustained_row(result["label"], entry)
            for result in results
            for entry in result["results"]
            if entry["sustained"]
        ],
        "clinic": [clinic_row(result["label"], best, options) | {"row": describe(best)} for result, best in pairs],
        "costs": costs,
        "agreement": agreement,
    }


def distinct_labels(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Results with labels made distinct: "pi", "pi (2)"."""
    seen: dict[str, int] = {}
    named = []
    for result in results:
        label = str(result.get("label") or "this device")
        seen[label] = seen.get(label, 0) + 1
        named.append({**result, "label": label if seen[label] == 1 else f"{label} ({seen[label]})"})
    return named


def _device(result: dict[str, Any]) -> dict[str, Any]:
    rows = [_row(result["label"], entry) for entry in result["results"]]
    best = best_entry(result)
    films = result["films"] or {}
    return {
        "label": result["label"],
        "facts": device_facts(result["device"]),
        "films": {key: films.get(key) for key in ("source", "n", "labelled", "mean_bytes", "split", "split_hash")},
        "created": result["created"],
        "command": result.get("command"),
        "edge_pneumo": result.get("edge_pneumo"),
        "refused": len(result.get("refused") or {}),
        "rows": rows,
        "best": _row(result["label"], best) if best else None,
    }


def _row(label: str, entry: dict[str, Any]) -> dict[str, Any]:
    """One combination, flat, with what tables and charts need; times are of one film, a batch shared out."""
    name, precision, backend, threads, batch, reader = entry_key(entry)
    row: dict[str, Any] = {
        "device": label,
        "name": describe(entry),
        "model": name,
        "precision": precision,
        "backend": backend,
        "threads": threads,
        "batch": batch,
        "reader": reader,
        "runtime": entry["runtime"],
        "status": entry["status"],
        "reason": entry["reason"],
        "software": entry["software"],
        "unstable": entry["unstable"],
        "against_cpu": entry.get("against_cpu"),
    }
    if entry["status"] != "ok":
        return row
    total = entry["stages_ms"]["total"]
    row |= {key: round(total[key] / batch, 4) for key in ("p50", "p90", "p99", "mean")} | {"n": total["n"]}
    means = {part: entry["stages_ms"][part]["mean"] for part in PARTS if part in entry["stages_ms"]}
    row |= {"stages": {part: round(mean / batch, 4) for part, mean in means.items()}}
    row |= {key: entry[key] for key in ("films_per_second", "cold_start_ms", "peak_rss_mb", "bytes")}
    row |= {"load_ms": entry.get("load_ms"), "offline_jobs": (entry.get("offline") or {}).get("jobs")}
    row |= {key: metric(entry, key) for key in ("auc", "rsna_score", "sensitivity", "specificity")}
    interval = (entry.get("accuracy") or {}).get("auc")
    row["auc_interval"] = [interval.get("low"), interval.get("high")] if isinstance(interval, dict) else None
    return row


def peer_rows(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Contestants of `benchmark peers`, with how many times longer than ours each takes."""
    return [
        {
            "device": result["label"],
            "name": entry["name"],
            "p50": entry["stages_ms"]["total"]["p50"],
            "network_p50": entry["stages_ms"]["invoke"]["p50"],
            "times": entry["times_ours"]["total"],
            "network_times": entry["times_ours"]["invoke"],
            "peak_rss_mb": entry["peak_rss_mb"],
        }
        for result in results
        for entry in result["results"]
        if entry["status"] == "ok" and entry.get("times_ours")
    ]


def device_facts(device: dict[str, Any]) -> list[list[str]]:
    """The environment as [name, value] lines; facts that the system did not tell are left out."""
    memory, clock = device.get("memory"), device.get("clock_mhz")
    total = memory.get("total_mb") if isinstance(memory, dict) else memory
    temperature, throttle = device.get("temperature_c") or {}, device.get("throttle") or {}
    after = throttle.get("after") if isinstance(throttle, dict) else None
    gpus = device.get("gpu") or []
    facts = [
        ["Board", device.get("board")],
        ["CPU", device.get("cpu")],
        ["Instruction sets", ", ".join(device.get("cpu_features") or []) or None],
        ["Cores", device.get("cores")],
        ["Clock", f"{clock['min']} to {clock['max']} MHz" if isinstance(clock, dict) else None],
        ["Governor", device.get("governor")],
        ["Memory", f"{total:,} MB" if isinstance(total, int | float) else None],
        ["System", device.get("os")],
        ["Kernel", device.get("kernel")],
        ["Python", device.get("python")],
        ["Virtual machine", "yes" if device.get("virtual") else None],
        ["GPU", ", ".join(gpu["name"] + (" (software)" if gpu.get("software") else "") for gpu in gpus) or None],
        ["Temperature", _before_after(temperature, "°C")],
        ["Throttling", ", ".join(after["flags"]) or "none" if isinstance(after, dict) else None],
        ["Power", _before_after(device.get("power_w") or {}, "W")],
    ]
    return [[str(name), str(value)] for name, value in facts if value is not None]


def _before_after(pair: Any, unit: str) -> str | None:
    if not isinstance(pair, dict) or pair.get("before") is None:
        return None
    return f"{pair['before']} {unit} before, {pair.get('after')} {unit} after"


def thread_scaling(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines of median latency against threads, for each device, model, precision and backend that has two or more."""
    lines: dict[tuple, list[list[float]]] = {}
    for row in rows:
        if row["status"] == "ok" and row["batch"] == 1 and row["reader"] == "ours" and not row["software"]:
            key = (row["device"], row["model"], row["precision"], row["backend"])
            lines.setdefault(key, []).append([row["threads"], row["p50"]])
    return [
        {"device": device, "name": f"{model} {precision} · {backend}".replace(" unknown", ""), "points": sorted(points)}
        for (device, model, precision, backend), points in lines.items()
        if len({threads for threads, _ in points}) > 1
    ]
