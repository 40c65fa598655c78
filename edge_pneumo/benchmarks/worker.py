"""A measuring process: `python -m edge_pneumo.benchmarks.worker`. One JSON request a line in, one JSON answer a line
out. Every combination gets a fresh one, so that memory, thread pools and start-up are its own, a crash ends one row
and not the run, and peers in one table do not share a process.

Requests: {"op": "open", "job": …}, {"op": "measure", "seconds", "films", "collect"}, {"op": "memory"}, {"op": "quit"}.
Answers: {"ok": true, …} or {"ok": false, "kind": "cannot-run|refused|failed", "reason": …}.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

STARTED = time.perf_counter()

from edge_pneumo.benchmarks.backends import CannotRun, Opened, open_backend  # noqa: E402 - the clock comes first
from edge_pneumo.benchmarks.job import Job  # noqa: E402
from edge_pneumo.benchmarks.pipeline import STAGES, Timed, run_films  # noqa: E402
from edge_pneumo.edge_runtime.decode import DecodeSpec, decode  # noqa: E402
from edge_pneumo.errors import EdgePneumoError, FilmRefused  # noqa: E402

IMPORTED = time.perf_counter()


class Worker:
    """Answers requests about one job. State: the opened network, the place in the list of films, refused films."""

    def __init__(self) -> None:
        self._opened: Opened | None = None
        self._job = Job("")
        self._next = 0
        self._refused: dict[int, str] = {}

    def open(self, request: dict[str, Any]) -> dict[str, Any]:
        """Load the model."""
        self._job = Job.from_dict(request["job"])
        begin = time.perf_counter()
        self._opened = open_backend(self._job)
        return {
            "load_ms": _ms(time.perf_counter() - begin),
            "import_ms": _ms(IMPORTED - STARTED),
            "runtime": self._opened.runtime,
            "software": self._opened.software,
            "model": self._opened.model,
            "operating_points": dict(self._opened.decode_spec.operating_points),
        }

    def measure(self, request: dict[str, Any]) -> dict[str, Any]:
        """Measure batches until `seconds` have passed and at least `films` films were answered.

        `collect` asks for the findings too, by index of the film, with the boxes below the box threshold
        (`candidates`), which average precision and FROC are read from; they are decoded off the clock.
        """
        if self._opened is None:
            raise ValueError("measure comes after open")
        seconds, films = float(request.get("seconds", 0)), int(request.get("films", 1))
        stages: dict[str, list[float]] = {stage: [] for stage in STAGES}
        findings: dict[int, dict[str, Any]] = {}
        done, begin = 0, time.perf_counter()
        while time.perf_counter() - begin < seconds or done < films:
            picked = self._pick()
            try:
                timed = run_films([self._job.films[i] for i in picked], self._opened, self._job.reader)
            except FilmRefused as refusal:
                self._refuse(picked, refusal)
                done += len(picked)
                continue
            for stage in STAGES:
                stages[stage].append(round(timed.stages_ms[stage], 4))
            if request.get("collect"):
                findings.update(_collected(picked, timed, self._opened.decode_spec))
            done += len(picked)
        elapsed = time.perf_counter() - begin
        answered = len(stages["total"]) * self._job.batch
        return {
            "stages": stages,
            "seconds": elapsed,
            "cpu_s": time.process_time(),
            "films": answered,
            "findings": findings,
            "refused": self._refused,
        }

    def memory(self, _: dict[str, Any]) -> dict[str, Any]:
        """Peak resident memory of this process."""
        return {"peak_rss_mb": peak_rss_mb()}

    def _pick(self) -> list[int]:
        """Indices of the next films, round and round, without those that were refused."""
        total, picked = len(self._job.films), []
        if len(self._refused) == total:
            reasons = sorted(set(self._refused.values()))
            raise FilmRefused("unreadable", f"none of the {total} films can be read: {'; '.join(reasons[:3])}")
        while len(picked) < self._job.batch:
            if self._next not in self._refused:
                picked.append(self._next)
            self._next = (self._next + 1) % total
        return picked

    def _refuse(self, picked: list[int], refusal: FilmRefused) -> None:
        """Leave a refused film out from now on; in a batch, find out which one it was."""
        if len(picked) == 1:
            self._refused[picked[0]] = f"{refusal.reason}: {refusal}"
            return
        from edge_pneumo.edge_runtime.radiograph import read_radiograph

        for index in picked:
            try:
                read_radiograph(self._job.films[index])
            except FilmRefused as error:
                self._refused[index] = f"{error.reason}: {error}"


def _collected(picked: list[int], timed: Timed, spec: DecodeSpec) -> dict[int, dict[str, Any]]:
    """Findings by index of the film, as plain JSON types; each with its `candidates`, a list of boxes."""
    from edge_pneumo.benchmarks.metrics.candidates import candidate_spec  # here, or it would weigh on every cold start

    wide, found = candidate_spec(spec), {}
    for i, finding, raw, geometry in zip(picked, timed.findings, timed.raws, timed.geometries, strict=True):
        candidates = decode(raw, wide, geometry).boxes
        found[i] = {**asdict(finding), "candidates": [asdict(box) for box in candidates]}
    return found


def peak_rss_mb() -> float | None:
    """Peak resident memory in MB (10^6 bytes), from /proc; `ru_maxrss` would count the parent's from before exec.

    None where the system has no /proc.
    """
    try:
        with Path("/proc/self/status").open(encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return round(int(line.split()[1]) * 1024 / 1e6, 1)
    except OSError:
        pass
    return None


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 3)


def serve(requests: IO[str], answers: IO[str]) -> None:
    """Answer requests until `quit` or the end of input."""
    worker = Worker()
    operations = {"open": worker.open, "measure": worker.measure, "memory": worker.memory}
    for line in requests:
        request = json.loads(line)
        if request["op"] == "quit":
            return
        try:
            answer = {"ok": True, **operations[request["op"]](request)}
        except CannotRun as error:
            answer = {"ok": False, "kind": "cannot-run", "exit_code": error.exit_code, "reason": str(error)}
        except EdgePneumoError as error:
            answer = {"ok": False, "kind": "refused", "exit_code": error.exit_code, "reason": str(error)}
        except Exception as error:  # a process boundary: a foreign runtime may raise anything
            traceback.print_exc()
            answer = {"ok": False, "kind": "failed", "reason": f"{type(error).__name__}: {str(error).strip()[:500]}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main() -> None:
    """Keep stdout for answers: libraries that print go to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(sys.stdin, answers)


if __name__ == "__main__":
    main()
