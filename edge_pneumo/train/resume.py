"""The state of a training run in one file, so that a killed run goes on from its last epoch."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.edge_runtime.files import atomic_write
from edge_pneumo.errors import DataError, UsageFault


@dataclass(frozen=True)
class State:
    """Where training stands: what was done, and every array that the next step depends on."""

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
