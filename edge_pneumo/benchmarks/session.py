"""Measure one combination of model, backend, threads and batch, from cold start to sustained load."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_pneumo.benchmarks import device, power
from edge_pneumo.benchmarks.backends import CannotRun, prepare_backend
from edge_pneumo.benchmarks.client import Measurer
from edge_pneumo.benchmarks.job import Job
from edge_pneumo.benchmarks.pipeline import STAGES
from edge_pneumo.benchmarks.stats import StopRule, instability, summarise

SLICE_S = 0.25
"""Between slices the stop rule is asked; each slice is one request to the measuring process."""


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes
    ----------
    rule : when single-stream measuring stops.
    warmup_films, warmup_seconds : answered first and kept apart: both must be reached.
    cold_starts : fresh processes to time; 0 leaves it out.
    offline_seconds : length of the throughput run; 0 leaves it out.
    jobs : processes at once in the throughput run; None for cores / threads.
    minutes : length of the sustained run; 0 leaves it out.
    """

    rule: StopRule = field(default_factory=StopRule)
    warmup_films: int = 5
    warmup_seconds: float = 0.5
    cold_starts: int = 5
    offline_seconds: float = 3.0
    jobs: int | None = None
    minutes: float = 0.0


@dataclass
class Measurement:
    """What `measure_job` gives: the entry of the result file, and findings by index of the film where asked for.

    `operating_points` are the model's (name -> threshold): the evaluator reports at each.
    """

    entry: dict[str, Any]
    findings: dict[int, dict[str, Any]] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    operating_points: dict[str, float] = field(default_factory=dict)


Progress = Callable[[str], None]


def measure_job(
    job: Job, settings: Settings, *, collect: bool = False, progress: Progress = lambda _: None
) -> Measurement:
    """Measure one combination. One that cannot run gives an entry with `status` "cannot-run" and `reason`.

    Parameters
    ----------
    job : what to measure; its films are on a disk.
    settings : how.
    collect : keep the findings of every film, and go on until each film was answered at least once.
    progress : told in a word what is being done.

    Raises
    ------
    EdgePneumoError : the model file is damaged, or none of the films can be read.
    """
    base = {"backend": job.backend, "threads": job.threads, "batch": job.batch, "reader": job.reader}
    try:
        progress("loading")
        prepare_backend(job)
        with Measurer(job) as measurer:
            facts = measurer.open()
            measurement = _measure_open(measurer, settings, collect, progress)
        measurement.operating_points = facts["operating_points"]
        measurement.entry = {
            **base,
            "status": "ok",
            "reason": None,
            **{key: facts[key] for key in ("model", "runtime", "software", "load_ms", "import_ms")},
            "bytes": facts["model"]["bytes"],
            **measurement.entry,
        }
        if settings.cold_starts:
            progress("cold starts")
            measurement.entry |= cold_starts(job, settings.cold_starts)
        if settings.offline_seconds:
            progress("throughput")
            offline = throughput(job, settings)
            measurement.entry |= {"films_per_second": offline["films_per_second"], "offline": offline}
        return measurement
    except CannotRun as error:
        why = {"status": "cannot-run", "reason": str(error), "exit_code": error.exit_code}
        return Measurement({**base, "model": {"name": Path(job.model).name}, **why})


def _measure_open(measurer: Measurer, settings: Settings, collect: bool, progress: Progress) -> Measurement:
    """Warm-up, single stream, memory and sustained load of an opened model."""
    before = device.state()
    progress("warming up")
    warm = measurer.measure(seconds=settings.warmup_seconds, films=settings.warmup_films)
    progress("measuring")
    energy, busy, own, begin = (
        power.energy_uj(),
        device.busy_seconds(),
        warm["cpu_s"] + time.process_time(),
        time.monotonic(),
    )
    stages: dict[str, list[float]] = {stage: [] for stage in STAGES}
    findings: dict[int, dict[str, Any]] = {}
    refused: dict[int, str] = {}
    elapsed = 0.0
    covered = not collect
    while True:
        part = measurer.measure(seconds=SLICE_S, films=1, collect=not covered)
        for stage in STAGES:
            stages[stage] += part["stages"][stage]
        elapsed += part["seconds"]
        findings.update({int(i): f for i, f in part["findings"].items() if int(i) not in findings})
        refused.update({int(i): reason for i, reason in part["refused"].items()})
        covered = covered or len(findings) + len(refused) >= len(measurer.job.films)
        if covered and settings.rule.satisfied(stages["total"], elapsed):
            break
    wall = time.monotonic() - begin
    others = others_cores(busy, device.busy_seconds(), part["cpu_s"] + time.process_time() - own, wall)
    joules = _joules(energy, power.energy_uj())
    after = device.state()
    totals = stages["total"]
    films = len(totals) * measurer.job.batch
    entry = {
        "stages_ms": {stage: summarise(values) for stage, values in stages.items()},
        "samples_ms": totals,
        "samples_by_stage_ms": {stage: values for stage, values in stages.items() if stage != "total"},
        "warmup_ms": warm["stages"]["total"],
        "films_per_second": round(films / elapsed, 3),
        "offline": None,
        "cold_start_ms": None,
        "peak_rss_mb": measurer.memory(),
        "energy_j_per_film": round(joules / films, 5) if joules else None,
        "state": {"before": before, "after": after},
        "accuracy": None,
        "unstable": instability(
            totals,
            settings.rule,
            others_cores=others,
            throttled=[flag for flag in (after["throttle"] or {}).get("flags", ()) if "now" in flag],
        ),
        "others_cores": others,
        "sustained": None,
    }
    if settings.minutes:
        entry["sustained"] = sustain(measurer, settings.minutes, progress)
        entry["peak_rss_mb"] = measurer.memory()
    return Measurement(entry, findings, refused)


def sustain(measurer: Measurer, minutes: float, progress: Progress = lambda _: None) -> dict[str, Any]:
    """Latency, temperature, clock and throttle flags against time under constant load, about 300 points."""
    total_s = 60 * minutes
    step_s = max(SLICE_S, total_s / 300)
    begin = time.monotonic()
    points: list[dict[str, Any]] = []
    while (passed := time.monotonic() - begin) < total_s:
        part = measurer.measure(seconds=min(step_s, max(0.01, total_s - passed)), films=1)
        now, summary = device.state(), summarise(part["stages"]["total"])
        points.append(
            {
                "time_s": round(time.monotonic() - begin, 2),
                "p50_ms": summary["p50"],
                "p99_ms": summary["p99"],
                "n": summary["n"],
                "temperature_c": now["temperature_c"],
                "clock_mhz": now["clock_mhz"],
                "throttle": (now["throttle"] or {}).get("flags"),
                "power_w": now["power_w"],
            }
        )
        progress(f"sustained {passed / 60:.1f} of {minutes:g} min")
    return {"minutes": minutes, "points": points}


def cold_starts(job: Job, repeats: int) -> dict[str, Any]:
    """Milliseconds from starting a fresh process until its first film is answered; files are in the system's cache.

    Returns
    -------
    `cold_start_ms` (median) and `cold_start` (samples and the medians of its parts: interpreter and imports, load,
    first film).
    """
    samples: list[float] = []
    parts: dict[str, list[float]] = {"imports": [], "load": [], "first_film": []}
    for _ in range(repeats):
        with Measurer(job) as measurer:
            facts = measurer.open()
            first = measurer.measure(films=1)["stages"]["total"][0]
            wall = 1000 * (time.monotonic() - measurer.spawned_s)
        samples.append(round(wall, 3))
        parts["load"].append(facts["load_ms"])
        parts["first_film"].append(first)
        parts["imports"].append(wall - facts["load_ms"] - first)
    summary = summarise(samples)
    return {
        "cold_start_ms": summary["p50"],
        "cold_start": {
            "samples_ms": samples,
            "parts_ms": {name: summarise(values)["p50"] for name, values in parts.items()},
        },
    }


def throughput(job: Job, settings: Settings) -> dict[str, Any]:
    """Films a second when all films are there at once: as many processes as cores, each with the job's threads."""
    jobs = settings.jobs or max(1, device.usable_cores() // job.threads)
    if job.backend in ("gpu", "tensorflow-cuda"):
        jobs = 1
    measurers = [Measurer(job) for _ in range(jobs)]
    try:
        for measurer in measurers:
            measurer.open()
            measurer.measure(seconds=settings.warmup_seconds, films=settings.warmup_films)
        begin = time.monotonic()
        for measurer in measurers:
            measurer.send({"op": "measure", "seconds": settings.offline_seconds, "films": 1})
        films = sum(measurer.receive()["films"] for measurer in measurers)
        wall = time.monotonic() - begin
    finally:
        for measurer in measurers:
            measurer.close()
    return {"jobs": jobs, "films": films, "seconds": round(wall, 3), "films_per_second": round(films / wall, 3)}


def others_cores(before: float | None, after: float | None, own_s: float, wall_s: float) -> float | None:
    """Cores that processes other than ours kept busy over `wall_s` seconds; None where the system does not tell."""
    if before is None or after is None or wall_s <= 0:
        return None
    return round(max(0.0, after - before - own_s) / wall_s, 2)


def _joules(before: int | None, after: int | None) -> float | None:
    """Energy between two readings of the counters; None where they cannot be read or wrapped around."""
    if before is None or after is None or after <= before:
        return None
    return (after - before) / 1e6


def environment(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The device entry of a result file: the probe, with temperature and throttle flags before and after."""
    start, end = before["state"], after["state"]
    return {
        **{key: value for key, value in before.items() if key != "state"},
        "temperature_c": {"before": start["temperature_c"], "after": end["temperature_c"]},
        "throttle": {"before": start["throttle"], "after": end["throttle"]},
        "clock_now_mhz": {"before": start["clock_mhz"], "after": end["clock_mhz"]},
        "power_w": {"before": start["power_w"], "after": end["power_w"]},
        "battery": {"before": start["battery"], "after": end["battery"]},
    }


def combinations(
    models: Sequence[str],
    backends: Sequence[str],
    threads: Sequence[int],
    batches: Sequence[int],
    films: Sequence[str],
    run_loader: str | None = None,
    scratch: str = "",
) -> list[Job]:
    """Every model x backend x threads x batch, in that order."""
    return [
        Job(model, backend, count, batch, tuple(films), run_loader=run_loader, scratch=scratch)
        for model in models
        for backend in backends
        for count in threads
        for batch in batches
    ]
