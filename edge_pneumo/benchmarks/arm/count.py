"""Guest instructions by class, for a network alone and for a whole film, on the emulated boards.

Instructions, not time: no caches, no dual issue, no memory traffic (int8 moves a quarter of the bytes). Good for two
things: to see which kernels run (dot products on the Pi 5), and to notice when a change costs work.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_pneumo.benchmarks.arm.boards import BOARDS
from edge_pneumo.benchmarks.arm.estimate import estimate_ms
from edge_pneumo.benchmarks.arm.userland import PROJECT, Emulator, EmulatorUnavailable
from edge_pneumo.edge_runtime.bundle import open_bundle
from edge_pneumo.errors import VerificationFailed

UNIT = "instructions, not time"
CLASSES = ("total", "load_store", "branch", "integer", "vector", "dot", "wide_multiply", "fused_float", "other")
TOLERANCE = 0.001
WORKS = ("network", "film", "plain")


def build_plugin(emulator: Emulator) -> Path:
    """Compile the counting plugin for this host's QEMU.

    Raises
    ------
    EmulatorUnavailable : no C compiler, or a QEMU whose plugin interface is another.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise EmulatorUnavailable("counting instructions needs a C compiler. On Debian: apt-get install gcc libc6-dev")
    said = subprocess.run(["qemu-aarch64", "--version"], capture_output=True, text=True, check=True).stdout
    version = said.split("version ")[1].split()[0]
    if int(version.split(".")[0]) not in (7, 8):
        raise EmulatorUnavailable(f"the counting plugin is for QEMU 7 and 8 (Debian 12 has 7.2), this is {version}")
    plugin = emulator.work / "count.so"
    source = PROJECT / "edge_pneumo" / "benchmarks" / "data" / "count_instructions.c"
    if not plugin.is_file() or plugin.stat().st_mtime < source.stat().st_mtime:
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(plugin), str(source)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except subprocess.CalledProcessError as error:
            raise EmulatorUnavailable(
                f"{compiler} cannot compile the counting plugin: {error.stderr[-300:]}"
            ) from error
    return plugin


def count(emulator: Emulator, board: str, work: str, model: str | Path, film: Path | None = None) -> dict[str, int]:
    """Instructions of one warm run of `work` ("network", "film" or "plain") on a board, by class."""
    counts = emulator.work / f"counts-{board}-{os.getpid()}.txt"
    plugin = f"{build_plugin(emulator)},out={counts}"
    arguments = [
        "-m",
        "edge_pneumo.benchmarks.arm.guest",
        work,
        str(model if model == "default" else Path(model).resolve()),
    ]
    emulator.run(board, [*arguments, *([str(film.resolve())] if film else [])], plugin=plugin)
    lines = counts.read_text().splitlines()
    counts.unlink()
    snapshots = {int(words[0]): [int(word) for word in words[1:]] for words in map(str.split, lines)}
    before, after = sorted(snapshots)[-2:]
    return {name: b - a for name, a, b in zip(CLASSES, snapshots[before], snapshots[after], strict=True)}


def measure(
    emulator: Emulator,
    models: Iterable[str | Path],
    film: Path,
    works: Mapping[str, Sequence[str]] | None = None,
    progress: Callable[[str], object] = lambda line: None,
) -> dict[str, Any]:
    """Count instructions for every model.

    Parameters
    ----------
    models : model files, or "default"; the same network in int8 and float32 shows what int8 saves.
    film : the DICOM film of the "film" and "plain" rows.
    works : board -> which of "network", "film", "plain" to count there; all on all boards if not given.
    progress : is told what comes next.

    Returns
    -------
    `{"schema": 1, "unit", "qemu", "python", "wheels", "rows": [{"board", "model", "precision", "work", ...classes}]}`
    """
    rows = []
    for model in models:
        bundle = open_bundle(model)
        for board, chosen in (works or dict.fromkeys(BOARDS, WORKS)).items():
            for work in chosen:
                progress(f"{bundle.name}: {work} on {BOARDS[board].title}")
                counts = count(emulator, board, work, model, None if work == "network" else film)
                facts = {
                    "board": board,
                    "model": bundle.name,
                    "precision": bundle.metadata.get("precision"),
                    "work": work,
                }
                row = {**facts, "size_px": bundle.input_spec.size_px, "sha256": bundle.sha256, **counts}
                if work == "network" and row["precision"] == "int8":
                    row["estimated_ms_4_threads"] = round(estimate_ms(board, counts["total"]), 2)
                rows.append(row)
    version = subprocess.run(["qemu-aarch64", "--version"], capture_output=True, text=True, check=True).stdout
    return {
        "schema": 1,
        "unit": UNIT,
        "qemu": version.split("version ")[1].split()[0],
        "python": emulator.python,
        "wheels": list(emulator.wheels),
        "rows": rows,
    }


def same_conditions(found: dict[str, Any], committed: dict[str, Any]) -> str:
    """Why two results cannot be compared (other package versions count otherwise), or an empty text."""
    differing = [key for key in ("qemu", "python", "wheels") if found[key] != committed[key]]
    return "; ".join(f"{key}: {found[key]} here, {committed[key]} committed" for key in differing)


def compare(found: dict[str, Any], committed: dict[str, Any], tolerance: float = TOLERANCE) -> list[str]:
    """One line for every row whose total differs from the committed one by more than `tolerance`.

    Rows are the same when board, work and the model's hash agree; rows without a partner are not compared.

    Raises
    ------
    VerificationFailed : no row has a partner: there is nothing to compare.
    """
    known = {(row["board"], row["work"], row["sha256"]): row["total"] for row in committed["rows"]}
    lines, partners = [], 0
    for row in found["rows"]:
        before = known.get((row["board"], row["work"], row["sha256"]))
        if before is None:
            continue
        partners += 1
        change = row["total"] / before - 1
        if abs(change) > tolerance:
            lines.append(
                f"{row['board']} {row['work']} {row['model']}: {row['total']:,} {UNIT}; "
                f"committed: {before:,} ({change:+.2%})"
            )
    if not partners:
        raise VerificationFailed(
            "no row of the committed counts has the same board, work and model: nothing to compare with"
        )
    return lines


def to_text(result: dict[str, Any]) -> str:
    """The table: millions of instructions, one row a board and work."""
    head = f"Millions of guest {UNIT} (QEMU {result['qemu']}, one thread, warm)"
    names = ("board", "model", "precision", "work", *CLASSES)
    table: list[tuple[str, ...]] = [names]
    for row in result["rows"]:
        facts = [str(row[name]) for name in names[:4]]
        table.append((*facts, *(f"{row[name] / 1e6:.2f}" for name in CLASSES)))
    widths = [max(len(line[column]) for line in table) for column in range(len(names))]
    lines = []
    for line in table:
        facts = [f"{cell:<{width}}" for cell, width in zip(line[:4], widths[:4], strict=True)]
        numbers = [f"{cell:>{width}}" for cell, width in zip(line[4:], widths[4:], strict=True)]
        lines.append("  ".join(facts + numbers))
    guesses = [
        f"  {row['board']} {row['model']}: about {row['estimated_ms_4_threads']:.1f} ms"
        for row in result["rows"]
        if "estimated_ms_4_threads" in row
    ]
    if guesses:
        lines += [
            "ESTIMATED time of one inference on the real board, 4 threads (a fit, not a measurement: docs/arm.md):"
        ]
        lines += guesses
    return "\n".join([head, *lines])
