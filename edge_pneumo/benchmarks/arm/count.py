"""Guest instructions by class, for a network alone and for a whole film, on the emulated boards.

Instructions, not time: no caches, no dual issue, no memory traffic (int8 moves a quarter of the bytes). Good for two
things: to see which kernels run (dot products on the Pi 5), and to notice when a change costs work.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_pneumo.benchmarks.arm.boards import BOARDS
from edge_pneumo.benchmarks.arm.estimate import estimate_ms
from edge_pneumo.benchmarks.arm.subject import open_subject
from edge_pneumo.benchmarks.arm.userland import PROJECT, Emulator, EmulatorUnavailable

UNIT = "instructions, not time"
CLASSES = ("total", "load_store", "branch", "integer", "vector", "dot", "wide_multiply", "fused_float", "other")
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
    """Instructions of one warm run of `work` ("network", "film", "plain" or "bare") on a board, by class."""
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
    models : model files, or "default"; the same network in int8 and float32 shows what int8 saves. A .tflite without
        our trailer gets the "network" row only.
    film : the DICOM film of the "film" and "plain" rows.
    works : board -> which of "network", "film", "plain" to count there; all on all boards if not given.
    progress : is told what comes next.

    Returns
    -------
    `{"schema": 1, "unit", "qemu", "python", "wheels", "film_sha256", "rows": [{"board", "model", "precision", "work",
    "size_px", "sha256", "network", "bare", ...classes}]}`
    """
    subjects = [open_subject(model) for model in models]  # all first: a wrong one shall not cost minutes
    rows = []
    for subject in subjects:
        for board, chosen in (works or dict.fromkeys(BOARDS, WORKS)).items():
            for work in ["network"] if subject.bare else chosen:
                progress(f"{subject.name} {subject.precision}: {work} on {BOARDS[board].title}")
                kind = "bare" if subject.bare else work
                counts = count(emulator, board, kind, subject.file, None if work == "network" else film)
                row: dict[str, Any] = {
                    "board": board,
                    "model": subject.name,
                    "precision": subject.precision,
                    "work": work,
                    "size_px": subject.size_px,
                    "sha256": subject.sha256,
                    "network": subject.network,
                    "bare": subject.bare,
                    **counts,
                }
                if work == "network" and subject.precision == "int8" and not subject.bare:
                    estimate = estimate_ms(board, counts["total"])
                    row |= {} if estimate is None else {"estimated_ms_4_threads": round(estimate, 2)}
                rows.append(row)
    version = subprocess.run(["qemu-aarch64", "--version"], capture_output=True, text=True, check=True).stdout
    return {
        "schema": 1,
        "unit": UNIT,
        "qemu": version.split("version ")[1].split()[0],
        "python": emulator.python,
        "wheels": list(emulator.wheels),
        "film_sha256": hashlib.sha256(film.read_bytes()).hexdigest(),
        "rows": rows,
    }
