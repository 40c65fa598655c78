"""`benchmark run`: every combination asked for, one after the other, in one result file that is whole after each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge_pneumo import __version__
from edge_pneumo.benchmarks import device
from edge_pneumo.benchmarks.films import FilmSet
from edge_pneumo.benchmarks.job import Job
from edge_pneumo.benchmarks.results import SCHEMA, check, read_result, write_result
from edge_pneumo.benchmarks.session import Measurement, Progress, Settings, environment, measure_job
from edge_pneumo.edge_runtime.decode import Box, Finding
from edge_pneumo.edge_runtime.files import check_writable
from edge_pneumo.errors import FilmRefused, MissingExtra


def run_sweep(
    jobs: Sequence[Job],
    films: FilmSet,
    out: str | Path,
    settings: Settings,
    *,
    command: str = "",
    label: str | None = None,
    resume: bool = False,
    progress: Progress = lambda _: None,
    measure: Callable[..., Measurement] = measure_job,
) -> dict[str, Any]:
    """Measure jobs and write the result file after each, so that an interrupted run keeps what it has.

    Parameters
    ----------
    jobs : from `session.combinations`.
    films : what to measure with; with labels, accuracy is taken from the same answers that were timed.
    out : the result file.
    settings : how to measure.
    command : the command line, for the record.
    label : what to call this device in reports; the file's name otherwise.
    resume : take over finished combinations from `out` if it was made with the same films, settings and version.
    progress : told in a line what is being done.
    measure : `measure_job`, or a stand-in.

    Returns
    -------
    The result as written.
    """
    check_writable(Path(out))
    before = device.probe()
    facts = films.to_dict()
    kept = _finished(Path(out), facts, settings) if resume else {}
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": "edge-pneumo benchmark",
        "label": label or Path(out).stem,
        "edge_pneumo": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "settings": asdict(settings),
        "films": facts,
        "refused": {},
        "device": environment(before, before),
        "results": [],
    }
    for number, job in enumerate(jobs, 1):
        place = f"[{number}/{len(jobs)}] {Path(job.model).name} · {job.backend} · {job.threads} thr · batch {job.batch}"
        if job.key in kept:
            progress(f"{place}: kept from {out}")
            result["results"].append(kept[job.key])
            continue
        measured = measure(job, settings, collect=True, progress=lambda word, p=place: progress(f"{p}: {word}"))
        result["results"].append(_with_answers(measured, job, films, progress))
        result["results"][-1]["against_cpu"] = against_cpu(result["results"][-1], result["results"])
        result["refused"] |= {facts["ids"][index]: reason for index, reason in measured.refused.items()}
        result["device"] = environment(before, {"state": device.state()})
        write_result(out, result)
    result = check(result, str(out))
    write_result(out, result)
    return result


def _with_answers(measured: Measurement, job: Job, films: FilmSet, progress: Progress) -> dict[str, Any]:
    """The entry with the probability of every film and, with labels, the evaluator's accuracy."""
    entry = {"job": job.key, **measured.entry}
    if entry["status"] != "ok":
        return entry
    entry["probabilities"] = [
        round(measured.findings[i]["probability"], 6) if i in measured.findings else None
        for i in range(len(films.paths))
    ]
    entry["threshold"] = next((found["threshold"] for found in measured.findings.values()), None)
    if films.labelled is not None:
        entry["accuracy"], entry["accuracy_note"] = accuracy(measured, films, entry["model"])
        if entry["accuracy_note"]:
            progress(entry["accuracy_note"])
    return entry


def against_cpu(entry: dict[str, Any], others: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """How far a row's probabilities are from the cpu backend's, same model and films: {"n", "largest", "mean"}, 0..1.

    None for the cpu backend itself, or where it was not measured before.
    """
    same = [o for o in others if o["status"] == "ok" and o["backend"] == "cpu" and o["model"] == entry["model"]]
    if entry["status"] != "ok" or entry["backend"] == "cpu" or not same:
        return None
    pairs = zip(entry["probabilities"], same[0]["probabilities"], strict=True)
    differences = [abs(a - b) for a, b in pairs if a is not None and b is not None]
    if not differences:
        return None
    mean = sum(differences) / len(differences)
    return {"n": len(differences), "largest": round(max(differences), 6), "mean": round(mean, 6)}


def accuracy(measured: Measurement, films: FilmSet, model: dict[str, Any]) -> tuple[dict[str, Any] | None, str | None]:
    """The evaluator's JSON for the answers that were timed, or None and why."""
    try:
        from edge_pneumo.benchmarks.metrics import evaluate

        return evaluate(
            films.labelled or (),
            answers(measured, len(films.paths)),
            model=model,
            data=films.facts or {},
            operating_points=measured.operating_points,
            reference=films.reference,
            candidates=answers(measured, len(films.paths), "candidates"),
        ), None
    except MissingExtra as error:
        return None, f"accuracy left out: {error}"


def answers(measured: Measurement, count: int, which: str = "boxes") -> list[Finding | FilmRefused]:
    """Findings by film, as the evaluator takes them; a film that was refused gives its refusal.

    `which` names the boxes they carry: "boxes" as shown, or "candidates", which goes on below the box threshold.
    """
    found: list[Finding | FilmRefused] = []
    for index in range(count):
        if (fields := measured.findings.get(index)) is not None:
            boxes = tuple(Box(**box) for box in fields[which])
            found.append(Finding(fields["probability"], fields["threshold"], boxes))
        else:
            reason, _, message = measured.refused.get(index, "unreadable: not answered").partition(": ")
            found.append(FilmRefused(reason, message))
    return found


def _finished(path: Path, films: dict[str, Any], settings: Settings) -> dict[str, dict[str, Any]]:
    """Finished combinations of an earlier run of the same films with the same settings, by job."""
    if not path.exists():
        return {}
    old = read_result(path)
    same = (
        old.get("films", {}).get("ids") == films["ids"]
        and old.get("settings") == asdict(settings)
        and old.get("edge_pneumo") == __version__
    )
    return (
        {entry["job"]: entry for entry in old["results"] if "job" in entry and entry["status"] == "ok"} if same else {}
    )


def default_threads() -> list[int]:
    """1 and all cores (at most 4: more gain nothing at these sizes)."""
    return sorted({1, min(4, device.usable_cores())})
