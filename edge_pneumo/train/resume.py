"""The state of a training run in one file, so that a killed run goes on from its last epoch."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.edge_runtime.files import atomic_write
from edge_pneumo.errors import DataError, UsageFault
from edge_pneumo.train.run import read_json

TEACHER = "teacher"
KEPT = ("state.npz", "model.weights.h5", f"{TEACHER}1")
"""What is worth going on from."""


@dataclass(frozen=True)
class State:
    """Where training stands: what was done, and the arrays to go on from. What dropout draws next is not among them."""

    stage: int
    epoch: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    arrays: dict[str, list[NDArray]] = field(default_factory=dict)
    hidden: tuple[int, ...] = ()


def save_state(path: Path, state: State, fingerprint: str) -> None:
    """Write the state whole or not at all; `fingerprint` ties it to a configuration and its films."""
    header = {
        "stage": state.stage, "epoch": state.epoch, "rows": state.rows, "hidden": state.hidden,
        "fingerprint": fingerprint,
    }  # fmt: skip
    flat: dict[str, Any] = {
        f"{group}/{n:04d}": array for group, arrays in state.arrays.items() for n, array in enumerate(arrays)
    }
    with atomic_write(path) as stream:
        np.savez(stream, header=np.array(json.dumps(header)), **flat)


def load_state(path: Path, fingerprint: str) -> State:
    """Read a state back.

    Raises
    ------
    DataError : the file is damaged. UsageFault : it belongs to another configuration or other films.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            header = json.loads(str(archive["header"]))
            arrays: dict[str, list[NDArray]] = {}
            for name in sorted(archive.files):
                group, _, number = name.partition("/")
                if number:
                    arrays.setdefault(group, []).append(archive[name])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot resume from {path}: {error}. Remove the directory and start again.") from error
    if header["fingerprint"] != fingerprint:
        raise UsageFault(
            f"{path} belongs to a run with another configuration, other films or other starting weights; "
            "resume with the options of that run, or train into another --out"
        )
    return State(header["stage"], header["epoch"], header["rows"], arrays, tuple(header["hidden"]))


def check_directory(out: Path, resume: bool) -> None:
    """UsageFault where `out` is a file, or holds a run that nobody asked to go on with."""
    if out.exists() and not out.is_dir():
        raise UsageFault(f"{out} is a file; --out names a directory")
    started = any((out / name).exists() for name in ("config.json", *KEPT))
    if started and not resume:
        raise UsageFault(f"{out} holds a run already; go on with --resume, or give another --out")


def check_recipe(out: Path, recipe: dict[str, Any], part: str | None = None) -> None:
    """UsageFault where the finished run in `out` had another recipe: fields of its config.json, or of that `part` of
    it. Those unknown to the version that wrote it are passed over."""
    config = read_json(out / "config.json")
    asked, had = json.loads(json.dumps(recipe)), config[part] if part else config
    other = [name for name in asked if name in had and asked[name] != had[name]]
    if other:
        raise UsageFault(f"{out} is finished, with another {', '.join(other)}; train into another --out")


@contextmanager
def nothing_left(out: Path) -> Iterator[None]:
    """A run that ends before its first epoch did leaves nothing that would stop the mended command."""
    made = not out.exists()
    try:
        yield
    except BaseException:
        if not any((out / name).exists() for name in KEPT):
            (out / "config.json").unlink(missing_ok=True)
            if made and out.is_dir() and not any(out.iterdir()):
                out.rmdir()
        raise
