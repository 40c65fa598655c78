"""Results as rows: for the terminal, CSV and Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from edge_pneumo.benchmarks.results import entry_key

COLUMNS: tuple[str, ...] = (
    "device",
    "model",
    "precision",
    "backend",
    "threads",
    "batch",
    "p50_ms",
    "p90_ms",
    "p99_ms",
    "mean_ms",
    "n",
    "invoke_p50_ms",
    "films_per_second",
    "cold_start_ms",
    "load_ms",
    "peak_rss_mb",
    "bytes",
    "auc",
    "rsna_score",
    "note",
)


def rows(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One flat row for each entry of each result file, with the keys of `COLUMNS`; None where nothing was measured."""
    flat = []
    for result in results:
        for entry in result["results"]:
            name, precision, backend, threads, batch, reader = entry_key(entry)
            row: dict[str, Any] = dict.fromkeys(COLUMNS)
            row |= {"device": result["label"], "model": name, "precision": precision, "backend": backend}
            row |= {"threads": threads, "batch": batch, "note": note(entry)}
            if reader != "ours":
                row["backend"] = f"{backend} ({reader} reader)"
            if entry["status"] == "ok":
                total, invoke = entry["stages_ms"]["total"], entry["stages_ms"].get("invoke", {})
                row |= {f"{field}_ms": total[field] for field in ("p50", "p90", "p99", "mean")} | {"n": total["n"]}
                row |= {"invoke_p50_ms": invoke.get("p50"), "load_ms": entry.get("load_ms")}
                row |= {key: entry[key] for key in ("films_per_second", "cold_start_ms", "peak_rss_mb", "bytes")}
                row |= {key: metric(entry, key) for key in ("auc", "rsna_score")}
            flat.append(row)
    return flat


def metric(entry: dict[str, Any], name: str) -> float | None:
    """A value of the evaluator's JSON, if accuracy was measured."""
    found = (entry.get("accuracy") or {}).get(name)
    return found.get("value") if isinstance(found, dict) else None


def note(entry: dict[str, Any]) -> str:
    """What a reader must know of a row: it did not run, it is software, it is unstable."""
    words = []
    if entry["status"] != "ok":
        words.append(f"cannot run: {entry['reason']}")
    if entry["software"]:
        words.append("software GPU: proves that the path works, says nothing of speed")
    if entry["backend"] == "gpu" and entry.get("against_cpu"):
        found = entry["against_cpu"]
        words.append(f"probabilities within {found['largest']:.3g} of the CPU's on {found['n']} films")
    if entry["unstable"]:
        words.append(f"unstable: {entry['unstable']['reason']}. {entry['unstable'].get('next', '')}".strip())
    return "; ".join(words)


def to_csv(results: Sequence[dict[str, Any]]) -> str:
    """All rows and columns as CSV."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(COLUMNS), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows(results))
    return out.getvalue()


def to_markdown(results: Sequence[dict[str, Any]]) -> str:
    """The columns that fit a page, as a Markdown table, with notes below."""
    shown = {
        "device": "device",
        "model": "model",
        "precision": "precision",
        "backend": "backend",
        "threads": "threads",
        "p50_ms": "p50 ms",
        "p99_ms": "p99 ms",
        "invoke_p50_ms": "network ms",
        "films_per_second": "films/s",
        "cold_start_ms": "cold start ms",
        "peak_rss_mb": "peak MB",
        "auc": "AUC",
    }
    flat = rows(results)
    if any(row["batch"] != 1 for row in flat):
        shown["batch"] = "batch"
    lines = ["| " + " | ".join(shown.values()) + " |", "|" + " --- |" * len(shown)]
    notes = []
    for row in flat:
        mark = ""
        if row["note"]:
            notes.append(row["note"])
            mark = f" [{len(notes)}]"
        cells = [number(row[key]) for key in shown]
        cells[3] += mark
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, *(f"\n[{i}] {text}" for i, text in enumerate(notes, 1))]) + "\n"


def text_table(results: Sequence[dict[str, Any]]) -> str:
    """The main columns with aligned borders of spaces, for a terminal; notes below."""
    shown = (
        "model",
        "backend",
        "threads",
        "p50_ms",
        "p99_ms",
        "invoke_p50_ms",
        "films_per_second",
        "cold_start_ms",
        "peak_rss_mb",
    )
    heads = ("model", "backend", "thr", "p50 ms", "p99 ms", "network ms", "films/s", "cold ms", "peak MB")
    flat = rows(results)
    cells = [[number(row[key]) for key in shown] for row in flat]
    for row, line in zip(flat, cells, strict=True):
        if row["precision"] != "unknown":
            line[0] = f"{line[0]} {row['precision']}"
        if row["batch"] != 1:
            line[1] += f" batch {row['batch']}"
    widths = [max(len(line[i]) for line in [list(heads), *cells]) for i in range(len(heads))]
    lines = [
        "  ".join(
            text.ljust(width) if i < 2 else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in [list(heads), *cells]
    ]
    notes = [
        f"{line[0]} · {line[1]} · {line[2]}: {row['note']}"
        for row, line in zip(flat, cells, strict=True)
        if row["note"]
    ]
    return "\n".join([*lines, *notes]) + "\n"


def number(value: Any) -> str:
    """A cell: three significant digits for measured numbers, a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)
