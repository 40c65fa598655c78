"""`benchmark peers`: our path and others on the same films in one run, taking turns, so that whatever disturbs the
machine disturbs all alike. Every contestant lives in a process of its own, opened and warmed before the first turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from edge_pneumo import __version__
from edge_pneumo.benchmarks import device
from edge_pneumo.benchmarks.backends import CannotRun, prepare_backend
from edge_pneumo.benchmarks.client import Measurer
from edge_pneumo.benchmarks.films import FilmSet
from edge_pneumo.benchmarks.job import Job
from edge_pneumo.benchmarks.pipeline import STAGES
from edge_pneumo.benchmarks.results import SCHEMA
from edge_pneumo.benchmarks.session import Progress, environment
from edge_pneumo.benchmarks.stats import summarise
from edge_pneumo.benchmarks.tables import number


@dataclass(frozen=True)
class Contestant:
    """One way to answer a film: a name for the table, and the job (None with a reason where it cannot be tried)."""

    name: str
    job: Job | None
    reason: str = ""


def contestants(
    model: str, float_model: str | None, run: str | None, *, threads: int, loader: str, scratch: str
) -> list[Contestant]:
    """Our path first, then the usual ways, then other engines behind our reader, to part reader from engine.

    Parameters
    ----------
    model : int8 model file.
    float_model : the same network as a float32 model file, or None.
    run : the RUN folder that both came from, or None.
    threads : of one inference, the same for all.
    loader, scratch : see `Job`.
    """
    base = Job(model, threads=threads, run_loader=loader, scratch=scratch)

    def with_float(name: str, backend: str) -> Contestant:
        if float_model is None:
            return Contestant(name, None, "no float model was given (--float-model)")
        return Contestant(name, replace(base, model=float_model, backend=backend, reader="plain"))

    keras = replace(base, model=run, backend="keras", reader="plain") if run else None
    return [
        Contestant("edge-pneumo int8", base),
        Contestant("plain LiteRT loop, int8", replace(base, backend="litert-plain", reader="plain")),
        with_float("plain LiteRT loop, float32", "litert-plain"),
        Contestant("Keras predict, float32", keras, "no RUN folder was given (--run)"),
        with_float("ONNX Runtime, float32", "onnxruntime"),
        Contestant("ONNX Runtime, int8", replace(base, backend="onnxruntime", reader="plain")),
        with_float("OpenVINO, float32", "openvino"),
        Contestant("OpenVINO, int8", replace(base, backend="openvino", reader="plain")),
        Contestant("OpenVINO, int8, behind our reader", replace(base, backend="openvino")),
        Contestant("ONNX Runtime, int8, behind our reader", replace(base, backend="onnxruntime")),
    ]


def run_peers(
    entrants: Sequence[Contestant],
    films: FilmSet,
    *,
    rounds: int = 20,
    block: int = 8,
    warmup_films: int = 8,
    command: str = "",
    label: str = "peers",
    progress: Progress = lambda _: None,
) -> dict[str, Any]:
    """Let contestants take turns, `block` films each, in an order that rotates from round to round.

    Returns
    -------
    A result file (`benchmark report` reads it) whose entries also carry `name` and, against the first contestant,
    `times_ours` {total, invoke}: {value, low, high}, the median over rounds of the ratio of medians within a round,
    with a 95 % bootstrap interval over rounds.
    """
    before = device.probe()
    opened: list[tuple[Contestant, Measurer, dict[str, Any]]] = []
    absent: list[dict[str, Any]] = []
    try:
        for entrant in entrants:
            progress(f"opening {entrant.name}")
            try:
                opened.append((entrant, *_open(entrant, films, warmup_films)))
            except CannotRun as error:
                absent.append(_absent(entrant, str(error)))
        turns: list[list[dict[str, Any]]] = [[] for _ in opened]
        for turn in range(rounds):
            progress(f"round {turn + 1} of {rounds}")
            for step in range(len(opened)):
                index = (turn + step) % len(opened)
                turns[index].append(opened[index][1].measure(films=block)["stages"])
        entries = [
            _entry(entrant, facts, measurer.memory(), turns[index], turns[0])
            for index, (entrant, measurer, facts) in enumerate(opened)
        ]
    finally:
        for _, measurer, _ in opened:
            measurer.close()
    return {
        "schema": SCHEMA,
        "kind": "edge-pneumo peers",
        "label": label,
        "edge_pneumo": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "settings": {"rounds": rounds, "block": block, "warmup_films": warmup_films},
        "films": films.to_dict(),
        "refused": {},
        "device": environment(before, {"state": device.state()}),
        "results": entries + absent,
    }


def _open(entrant: Contestant, films: FilmSet, warmup_films: int) -> tuple[Measurer, dict[str, Any]]:
    """Start a contestant's process and answer the same first films with each."""
    if entrant.job is None:
        raise CannotRun(entrant.reason)
    job = replace(entrant.job, films=films.paths)
    prepare_backend(job)
    measurer = Measurer(job)
    try:
        facts = measurer.open()
        measurer.measure(films=warmup_films)
    except BaseException:
        measurer.close()
        raise
    return measurer, facts


def _absent(entrant: Contestant, reason: str) -> dict[str, Any]:
    job = entrant.job or Job("", backend="keras" if "Keras" in entrant.name else "cpu")
    return {
        "name": entrant.name,
        "backend": job.backend,
        "threads": job.threads,
        "batch": 1,
        "reader": job.reader,
        "model": {"name": entrant.name},
        "status": "cannot-run",
        "reason": reason,
    }


def _entry(
    entrant: Contestant,
    facts: dict[str, Any],
    memory: float | None,
    turns: Sequence[dict[str, list[float]]],
    ours: Sequence[dict[str, list[float]]],
) -> dict[str, Any]:
    job = entrant.job or Job("")
    stages = {stage: [value for turn in turns for value in turn[stage]] for stage in STAGES}
    summary = {stage: summarise(values) for stage, values in stages.items()}
    return {
        "name": entrant.name,
        "backend": job.backend,
        "threads": job.threads,
        "batch": 1,
        "reader": job.reader,
        "status": "ok",
        "reason": None,
        **{key: facts[key] for key in ("model", "runtime", "software", "load_ms", "import_ms")},
        "bytes": facts["model"]["bytes"],
        "stages_ms": summary,
        "samples_ms": stages["total"],
        "films_per_second": round(1000 / summary["total"]["mean"], 3),
        "peak_rss_mb": memory,
        "times_ours": {stage: paired_ratio(turns, ours, stage) for stage in ("total", "invoke")},
    }


def paired_ratio(
    turns: Sequence[dict[str, list[float]]],
    ours: Sequence[dict[str, list[float]]],
    stage: str,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, float]:
    """Median over rounds of (a contestant's median / ours in that round), with a bootstrap interval over rounds."""
    pairs = zip(turns, ours, strict=True)
    ratios = np.array([np.median(turn[stage]) / np.median(base[stage]) for turn, base in pairs])
    drawn = np.random.default_rng(seed).choice(ratios, (resamples, len(ratios)))
    low, high = np.percentile(np.median(drawn, axis=1), (2.5, 97.5))
    return {"value": round(float(np.median(ratios)), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def peers_markdown(result: dict[str, Any]) -> str:
    """The ratio table as Markdown; it reads well in a terminal too."""
    heads = (
        "",
        "file to finding, ms",
        "p99, ms",
        "network, ms",
        "times ours (95 % interval)",
        "network, times ours",
        "peak MB",
    )
    lines = ["| " + " | ".join(heads) + " |", "| --- |" + " ---: |" * (len(heads) - 1)]
    notes = []
    for entry in result["results"]:
        if entry["status"] != "ok":
            notes.append(f"- {entry['name']}: cannot run here: {entry['reason']}")
            continue
        total, invoke, times = entry["stages_ms"]["total"], entry["stages_ms"]["invoke"], entry["times_ours"]
        cells = [
            entry["name"],
            number(total["p50"]),
            number(total["p99"]),
            number(invoke["p50"]),
            f"{times['total']['value']:.2f} ({times['total']['low']:.2f} to {times['total']['high']:.2f})",
            f"{times['invoke']['value']:.2f}",
            number(entry["peak_rss_mb"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"
