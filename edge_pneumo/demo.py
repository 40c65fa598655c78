"""The whole path on made-up films: the commands that a user would type, run one after the other, and one report.

Each step is a real command of the command line, called in this process, so that TensorFlow starts once; what it prints
on stdout is kept in the output folder, under the step's name.
"""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_pneumo.edge_runtime.files import atomic_write
from edge_pneumo.errors import EdgePneumoError, UsageFault

MARKER = ".edge-pneumo-demo"
MAX_AUC_DROP = 0.03
MAX_SCORE_DROP = 0.05
"""Wider than `convert`'s own limits: a hundred films judge the demonstration, and one of them moves the AUC by this."""

Run = Callable[[Sequence[str]], int]


@dataclass(frozen=True)
class Step:
    """One command of the demonstration: a title, its arguments, and where its stdout is kept."""

    title: str
    arguments: tuple[str, ...]
    keep: str | None = None


def steps(films: int, epochs: int | None) -> list[Step]:
    """The commands, with paths relative to the output folder."""
    more = () if epochs is None else ("--epochs", str(epochs))
    limits = ("--max-auc-drop", str(MAX_AUC_DROP), "--max-score-drop", str(MAX_SCORE_DROP))
    folder = "films/stage_2_train_images"
    return [
        Step("make films", ("data", "phantom", "-o", "films", "-n", str(films), "--size", "256")),
        Step("check them", ("data", "check", "films", "--format", "json"), "check.json"),
        Step("train", ("train", "--data", "films", "--preset", "demo", "--weights", "default", "--out", "run", *more)),
        Step(
            "quantisation-aware training",
            ("quantize", "run", "--data", "films", "--out", "run-qat", "--epochs", "1", "--no-compare"),
        ),
        Step(
            "convert to int8, with proof",
            ("convert", "run-qat", "-o", "model.tflite", "--data", "films", *limits, "--format", "json"),
            "convert.json",
        ),
        Step("inspect the file", ("inspect", "model.tflite", "--format", "json"), "inspect.json"),
        Step(
            "evaluate on films not trained on",
            ("evaluate", "model.tflite", "--data", "films", "--split", "val", "--format", "json"),
            "evaluate.json",
        ),
        Step(
            "predict, with overlays",
            ("predict", folder, "--model", "model.tflite", "--format", "jsonl", "--overlay", "overlays"),
            "predictions.jsonl",
        ),
        Step(
            "benchmark",
            (
                "benchmark", "run", "-o", "benchmark.json", "--model", "model.tflite", "--data", "films",
                "--max-seconds", "4", "--cold-starts", "3", "--offline-seconds", "2", "--format", "json",
            ),
            "benchmark.stdout.json",
        ),
    ]  # fmt: skip


def run_demo(out: Path, *, films: int, epochs: int | None, say: Callable[[str], None], run: Run) -> Path:
    """Run every step in `out` and write `report.html` there.

    Parameters
    ----------
    out : output folder; made, or emptied if an earlier demonstration made it.
    films : how many films to make up.
    epochs : in place of the preset's.
    say : receives progress.
    run : runs one command line's arguments and returns its exit code; paths are relative to the current folder.

    Returns
    -------
    The report's path.

    Raises
    ------
    UsageFault : `out` holds something else. EdgePneumoError : a step failed; what it said is on stderr.
    """
    _clear(out)
    plan = steps(films, epochs)
    began = time.monotonic()
    took: list[tuple[Step, float]] = []
    with contextlib.chdir(out):
        for number, step in enumerate(plan, 1):
            say(f"\n[{number}/{len(plan) + 1}] {step.title}\n$ edge-pneumo {shlex.join(step.arguments)}")
            start = time.monotonic()
            printed = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)  # `predict` writes to its buffer
            with contextlib.redirect_stdout(printed):
                code = run(step.arguments)
            if code != 0:
                raise EdgePneumoError(f"the step '{step.title}' ended with exit code {code}; its message is above")
            if step.keep:
                with atomic_write(step.keep, "w") as stream:
                    stream.write(printed.buffer.getvalue().decode("utf-8"))
            took.append((step, time.monotonic() - start))
            say(f"    {took[-1][1]:.0f} s")
        say(f"\n[{len(plan) + 1}/{len(plan) + 1}] report")
        with atomic_write("report.html", "w") as stream:
            stream.write(report(Path(), took, time.monotonic() - began))
    return out / "report.html"


def _clear(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UsageFault(f"{out} is a file; --output names a folder")
    if out.is_dir() and any(out.iterdir()):
        if not (out / MARKER).exists():
            raise UsageFault(f"{out} is not empty and not from an earlier demonstration; give another --output")
        shutil.rmtree(out)
    with atomic_write(out / MARKER, "w") as stream:
        stream.write("made by `edge-pneumo demo`; it empties this folder when it runs again\n")


def report(folder: Path, took: Sequence[tuple[Step, float]], seconds: float) -> str:
    """The page: what was done, how it learned, the proof, films with boxes, and speed."""
    from edge_pneumo import demo_report

    documents = {
        name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("convert", "evaluate", "inspect", "benchmark")
    }
    lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [json.loads(line) for line in lines]
    return demo_report.render(folder, documents, answers, [(s.title, s.arguments, t) for s, t in took], seconds)
