"""Result files: read, check, write. Readers accept every older schema and fields they do not know.

Schema history:
    0  no `schema` field; what the contract names and nothing more
    1  adds schema, created, settings, films, and in each result status, reason, model, offline, cold_start, sustained
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edge_pneumo.edge_runtime.files import atomic_write
from edge_pneumo.errors import InputRefused

SCHEMA = 1
STAGE_FIELDS = ("p50", "p90", "p99", "mean", "n")


def write_result(path: str | Path, result: dict[str, Any]) -> None:
    """Write a result file, whole or not at all; lists of samples stay on one line, so that people can read it."""
    with atomic_write(path, "w") as stream:
        stream.write(dump(result))


def dump(result: dict[str, Any]) -> str:
    """JSON with an indent for objects and none for lists of numbers."""
    return _dump(result, 0) + "\n"


def _dump(value: Any, depth: int) -> str:
    pad, end = "  " * (depth + 1), "  " * depth
    if isinstance(value, dict) and value:
        flat = json.dumps(value, ensure_ascii=False)
        if len(flat) + 2 * depth <= 110 and not any(isinstance(v, dict) for v in value.values()):
            return flat
        inner = ",\n".join(f"{pad}{json.dumps(str(key))}: {_dump(item, depth + 1)}" for key, item in value.items())
        return f"{{\n{inner}\n{end}}}"
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return "[\n" + ",\n".join(pad + _dump(item, depth + 1) for item in value) + f"\n{end}]"
    return json.dumps(value, ensure_ascii=False)


def read_result(path: str | Path) -> dict[str, Any]:
    """Read a result file and bring it to the newest schema.

    Raises
    ------
    InputRefused : missing, not JSON (cut short?), not a benchmark result, or of a newer schema.
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise InputRefused(
            f"{path}: cannot be read: {reason}. Give a file made by `edge-pneumo benchmark run`."
        ) from error
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputRefused(
            f"{path}: not a whole JSON file (line {error.lineno}, column {error.colno}: {error.msg}); "
            "it may be cut short. "
            "Copy it again or measure again."
        ) from error
    if isinstance(data, dict):
        data.setdefault("label", path.stem)
    return check(data, str(path))


def check(data: Any, what: str) -> dict[str, Any]:
    """Check the shape of a result and fill in what older schemas left out.

    Raises
    ------
    InputRefused : see `read_result`.
    """
    if (
        not isinstance(data, dict)
        or not isinstance(data.get("results"), list)
        or not isinstance(data.get("device"), dict)
    ):
        raise InputRefused(
            f"{what}: no benchmark result: expected an object with `device` and `results`. "
            "Give a file made by `edge-pneumo benchmark run`."
        )
    schema = data.get("schema", 0)
    if not isinstance(schema, int) or schema > SCHEMA:
        raise InputRefused(f"{what}: schema {schema!r}; this version reads up to {SCHEMA}. Upgrade edge-pneumo.")
    entries = [_check_entry(entry, f"{what}: results[{index}]") for index, entry in enumerate(data["results"])]
    named = {key: one_line(data[key]) for key in ("label", "command") if data.get(key) is not None}
    return {"created": None, "films": {}, "settings": {}, **data, **named, "schema": SCHEMA, "results": entries}


def one_line(name: Any) -> str:
    """A name as one line without control characters: it goes into tables, charts and terminals."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(name)).split())


def _check_entry(entry: Any, what: str) -> dict[str, Any]:
    if not isinstance(entry, dict) or not isinstance(entry.get("backend"), str):
        raise InputRefused(f"{what}: expected an object with `backend`, found {type(entry).__name__}")
    model = entry.get("model")
    entry = {
        "status": "ok",
        "reason": None,
        "threads": 1,
        "batch": 1,
        "runtime": None,
        "software": False,
        "unstable": None,
        "accuracy": None,
        "sustained": None,
        "cold_start_ms": None,
        "peak_rss_mb": None,
        "films_per_second": None,
        "bytes": None,
        "probabilities": None,
        "against_cpu": None,
        **entry,
        "model": model if isinstance(model, dict) else {"name": str(model or "unknown")},
    }
    if "name" in entry["model"]:
        entry["model"] = {**entry["model"], "name": one_line(entry["model"]["name"])}
    if entry["status"] != "ok":
        return entry
    stages = entry.get("stages_ms")
    total = stages.get("total") if isinstance(stages, dict) else None
    if not isinstance(total, dict) or any(not isinstance(total.get(f), int | float) for f in STAGE_FIELDS):
        raise InputRefused(f"{what}: stages_ms.total needs {', '.join(STAGE_FIELDS)}; the file is damaged or foreign")
    samples = entry.get("samples_ms")
    if not isinstance(samples, list) or not samples or any(not isinstance(s, int | float) for s in samples):
        raise InputRefused(f"{what}: samples_ms needs the raw totals in milliseconds; the file is damaged or foreign")
    return entry


def entry_key(entry: dict[str, Any]) -> tuple[str, str, str, int, int, str]:
    """What makes two entries the same combination: model name, precision, backend, threads, batch, reader."""
    model = entry["model"]
    return (
        str(model.get("name", model.get("file"))),
        str(model.get("precision", "unknown")),
        entry["backend"],
        int(entry["threads"]),
        int(entry["batch"]),
        str(entry.get("reader", "ours")),
    )


def describe(entry: dict[str, Any]) -> str:
    """A short name for a combination: "default int8 · cpu · 1 thread"."""
    name, precision, backend, threads, batch, reader = entry_key(entry)
    words = [f"{name} {precision}".replace(" unknown", ""), backend, f"{threads} thread{'s' * (threads != 1)}"]
    if batch != 1:
        words.append(f"batch {batch}")
    if reader != "ours":
        words.append(f"{reader} reader")
    return " · ".join(words)
