"""The results table: the seven systems and our detector, trained and judged on the same films by the same code.

A row is written as soon as it is done. A table that was interrupted goes on where it stood: finished rows are kept, and
a run that was cut short resumes from its last epoch.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_pneumo import __version__
from edge_pneumo.edge_runtime.files import atomic_write
from edge_pneumo.errors import InputRefused, UsageFault
from edge_pneumo.train.config import PRESETS
from edge_pneumo.train.run import read_json, write_json
from edge_pneumo.train.systems.catalogue import SYSTEMS, find_system
from edge_pneumo.train.systems.fit import to_stderr, train_system
from edge_pneumo.train.systems.start import NoWeights

if TYPE_CHECKING:
    from edge_pneumo.train.data.film import DataSet

DETECTOR = "detector"
FIGURES = (
    "auc", "average_precision", "accuracy", "sensitivity", "specificity", "precision", "recall", "f1", "rsna_score",
    "ap50", "mean_iou", "ece",
)  # fmt: skip
SECOND_DOMAIN = (3, 4, 5)
"""Rows of the report whose 94 to 99 % look like the paediatric set's."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What a table is made of.

    Attributes
    ----------
    data : folder or zip with train and val splits; every system and the detector.
    kermany : the paediatric folder of classes, for `SECOND_DOMAIN`; None to leave it out.
    systems : names to run; () for all seven and the detector.
    split : what `data` is judged on.
    epochs : name -> epochs; a system that is not named trains for its own number.
    weights : name -> file or "none".
    detector : preset to train, or a run directory or .tflite that is finished.
    seed, bootstrap : of training; resamples of the intervals.
    """

    data: Path
    kermany: Path | None = None
    systems: tuple[str, ...] = ()
    split: str = "val"
    epochs: dict[str, int] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)
    detector: str = "quick"
    seed: int = 0
    bootstrap: int = 1000

    def __post_init__(self) -> None:
        known = {system.name for system in SYSTEMS} | {DETECTOR}
        for name in (*self.systems, *self.epochs, *self.weights):
            if name not in known:
                raise UsageFault(f"no system {name!r}; expected one of {', '.join(sorted(known))}")


@dataclass(frozen=True)
class Job:
    """One row: a system on one data set, judged on one of its splits."""

    name: str
    path: Path
    data: DataSet
    split: str
    epochs: int | None
    weights: str | None

    @property
    def data_name(self) -> str:
        """The data set's folder, without the way to it."""
        return self.path.resolve().name


def jobs_of(plan: Plan) -> list[Job]:
    """The rows of a table in order.

    Raises
    ------
    DataError : a data set cannot be used.
    """
    from edge_pneumo.train.data.index import load_dataset

    def job(name: str, path: Path, data: DataSet, split: str) -> Job:
        return Job(name, path, data, split, plan.epochs.get(name), plan.weights.get(name))

    wanted = plan.systems or (*(system.name for system in SYSTEMS), DETECTOR)
    adults = load_dataset(plan.data)
    jobs = [job(name, plan.data, adults, plan.split) for name in wanted]
    if plan.kermany is not None:
        children = load_dataset(plan.kermany)
        split = "test" if "test" in children.split_sizes else "val"
        again = [name for name in wanted if name != DETECTOR and find_system(name).reference in SECOND_DOMAIN]
        jobs += [job(name, plan.kermany, children, split) for name in again]
    return jobs


def make_table(plan: Plan, out: Path, runs: Path, say: Say = to_stderr) -> dict[str, Any]:
    """Train and judge every row that is not there yet; leaves systems.json and systems.md in `out`.

    Parameters
    ----------
    runs : keeps the run directories.

    Returns
    -------
    The table, as systems.json has it. A row's `status` is "done", "not run" (its weights cannot be had) or "failed"
    (with a `reason`).
    """
    jobs = jobs_of(plan)
    facts = _data_facts(jobs, runs / "cache")
    rows = _finished_rows(out / "systems.json")
    table: dict[str, Any] = {}
    for number, job in enumerate(jobs):
        key = _fingerprint(job, plan)
        if key in rows:
            say(f"row {number + 1}/{len(jobs)}: {job.name} on {job.data_name} is there already")
        else:
            say(f"row {number + 1}/{len(jobs)}: {job.name} on {job.data_name}")
            rows[key] = _row(job, plan, runs, key, say)
        done = [rows[_fingerprint(other, plan)] for other in jobs if _fingerprint(other, plan) in rows]
        table = _table(plan, facts, len(jobs), done)
        write_json(out / "systems.json", table)
        _write_text(out / "systems.md", table)
    return table


def _finished_rows(path: Path) -> dict[str, dict[str, Any]]:
    """Rows of an earlier table that need not be made again."""
    if not path.exists():
        return {}
    return {row["fingerprint"]: row for row in read_json(path)["rows"] if row["status"] == "done"}


def _fingerprint(job: Job, plan: Plan) -> str:
    """Changes with everything that decides a row."""
    facts = [job.name, job.data.split_hash, job.split, job.epochs, plan.seed, plan.bootstrap]
    if job.weights not in (None, "none"):
        facts.append(_digest(Path(job.weights)))
    if job.name == DETECTOR:
        facts.append(plan.detector)
    return hashlib.sha256(json.dumps([*facts, job.weights == "none"]).encode()).hexdigest()[:16]


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UsageFault(f"cannot read the weights {path}: {error.strerror}") from error


def _row(job: Job, plan: Plan, runs: Path, key: str, say: Say) -> dict[str, Any]:
    row: dict[str, Any] = {"fingerprint": key, "system": job.name, "data": job.data_name, "judged_on": job.split}
    if job.name != DETECTOR:
        system = find_system(job.name)
        row |= {"reference": system.reference, "title": system.title, "reported": system.reported}
    else:
        row |= {"reference": None, "title": "our detector", "reported": {}}
    try:
        row |= _detector_facts(job, plan, runs, key, say) if job.name == DETECTOR else _system_facts(
            job, plan, runs, key, say
        )  # fmt: skip
        return row | _judged(Path(row.pop("model")), job, plan, say) | {"status": "done"}
    except NoWeights as fault:
        say(f"{job.name} is not run: {fault}")
        return row | {"status": "not run", "reason": str(fault)}
    except InputRefused as error:
        say(f"{job.name} failed: {error}")
        return row | {"status": "failed", "reason": str(error)}


def _system_facts(job: Job, plan: Plan, runs: Path, key: str, say: Say) -> dict[str, Any]:
    """Train a system, from scratch where ImageNet's weights cannot be downloaded."""
    run = runs / f"{job.name}-{key}"
    settings = {"epochs": job.epochs, "seed": plan.seed, "resume": True, "cache_dir": runs / "cache", "say": say}
    try:
        train_system(job.name, job.data, run, weights=job.weights, **settings)
    except NoWeights as fault:
        if find_system(job.name).start != "imagenet":
            raise
        say(f"{fault}: this row starts from scratch and says so")
        train_system(job.name, job.data, run, weights="none", **settings)
    config = read_json(run / "config.json")
    return {"model": str(run), "start": config["start"]["sentence"], "epochs": config["epochs"], **_cost(run)}


def _detector_facts(job: Job, plan: Plan, runs: Path, key: str, say: Say) -> dict[str, Any]:
    """Train the detector by a preset, or take a finished one."""
    if plan.detector not in PRESETS:
        model = Path(plan.detector)
        if not model.exists():
            raise UsageFault(f"--detector {plan.detector}: neither a preset ({', '.join(PRESETS)}) nor a model")
        start = "trained beforehand; see its own record"
        cost = _cost(model) if model.is_dir() else {"file_bytes": model.stat().st_size}
        return {"model": str(model), "start": start, **cost}
    from edge_pneumo.train.config import preset
    from edge_pneumo.train.fit import train_detector

    run, config = runs / f"{DETECTOR}-{key}", preset(plan.detector, epochs=job.epochs, seed=plan.seed)
    settings = {"resume": True, "cache_dir": runs / "cache", "say": say}
    train_detector(config, job.data, run, weights=job.weights, **settings)
    record = read_json(run / "config.json")
    epochs = sum(stage["epochs"] for stage in record["train"]["stages"])
    return {"model": str(run), "preset": plan.detector, "start": record["start"], "epochs": epochs, **_cost(run)}


def _cost(run: Path) -> dict[str, Any]:
    """Size and training time of a run."""
    from edge_pneumo.train.run import load_run

    model = load_run(run).model
    with (run / "log.csv").open(newline="", encoding="utf-8") as stream:
        seconds = sum(float(line["seconds"]) for line in csv.DictReader(stream))
    return {
        "input": [int(side) for side in model.input_shape[1:]], "parameters": int(model.count_params()),
        "trainable": sum(int(w.shape.num_elements()) for w in model.trainable_weights),
        "file_bytes": (run / "model.weights.h5").stat().st_size, "train_seconds": round(seconds, 1),
    }  # fmt: skip


def _judged(model: Path, job: Job, plan: Plan, say: Say) -> dict[str, Any]:
    """The evaluator's figures on the judged split, and the time that a film took from file to answer."""
    from edge_pneumo.benchmarks.metrics import evaluate
    from edge_pneumo.train.judge import open_model

    opened, films = open_model(str(model)), job.data.split(job.split).films
    began = time.perf_counter()
    pairs = list(opened.answers_and_candidates(films))
    seconds = time.perf_counter() - began
    reference = job.data.split("train").films
    answers, candidates = ([pair[side] for pair in pairs] for side in (0, 1))
    result = evaluate(
        films, answers, candidates=candidates, bootstrap=plan.bootstrap, seed=plan.seed, reference=reference
    )
    kept = (
        *FIGURES, "n", "positives", "patients", "refused", "confusion", "threshold", "classes", "subgroups",
        "baselines",
    )  # fmt: skip
    auc, accuracy = result["auc"]["value"], result["accuracy"]["value"]
    say(f"{job.name} on {job.data_name}/{job.split}: AUC {auc:.3f}, accuracy {accuracy:.3f}")
    return {"ms_per_film": round(1000 * seconds / len(films), 1), **{name: result[name] for name in kept}}


def _data_facts(jobs: Sequence[Job], cache_dir: Path) -> dict[str, dict[str, Any]]:
    """What the table says of each data set."""
    from edge_pneumo.train.systems.trivial import middle_auc

    facts: dict[str, dict[str, Any]] = {}
    for job in jobs:
        if job.data_name not in facts:
            train, judged = job.data.split("train"), job.data.split(job.split)
            facts[job.data_name] = {
                "split_hash": job.data.split_hash, "judged_on": job.split,
                "train": len(train), "train_prevalence": train.prevalence,
                "judged": len(judged), "judged_prevalence": judged.prevalence,
                "middle_brightness_auc": middle_auc(job.data, job.split, cache_dir),
            }  # fmt: skip
    return facts


def _table(plan: Plan, facts: dict[str, Any], planned: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    machine = {"cores": os.cpu_count(), "architecture": platform.machine()}
    return {
        "schema": 1, "version": __version__, "seed": plan.seed, "bootstrap": plan.bootstrap, "machine": machine,
        "data": facts, "complete": len(rows) == planned, "rows": rows,
    }  # fmt: skip


def _write_text(path: Path, table: dict[str, Any]) -> None:
    from edge_pneumo.train.systems.text import to_markdown

    with atomic_write(path, "w") as stream:
        stream.write(to_markdown(table))
