"""Counts against earlier counts: what changed, and what cannot be compared and why."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_pneumo.benchmarks.arm.count import UNIT
from edge_pneumo.errors import InputRefused

TOLERANCE = 0.001
REFRESH = "scripts/results DATA RUN arm"


@dataclass(frozen=True)
class Comparison:
    """What came of it.

    Attributes
    ----------
    compared : rows that have a partner, as (board, work, model name).
    changed : a line for each of them whose total differs by more than the tolerance.
    left_out : a line for each row without a partner, with the reason.
    """

    compared: tuple[tuple[str, str, str], ...]
    changed: tuple[str, ...]
    left_out: tuple[str, ...]


def read_counts(path: Path) -> dict[str, Any]:
    """Read a file written by `edge-pneumo benchmark arm -o`.

    Raises
    ------
    InputRefused : not such a file.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
        for key in ("qemu", "python", "wheels"):
            found[key]
        for row in found["rows"]:
            row["board"], row["work"], row["sha256"], row["total"] + 0
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputRefused(
            f"{path}: no instruction counts ({type(error).__name__}: {error}). Give a file made by "
            "`edge-pneumo benchmark arm -o FILE`."
        ) from error
    return found


def same_conditions(found: dict[str, Any], earlier: dict[str, Any]) -> str:
    """Why two results cannot be compared (other package versions count otherwise), or an empty text."""
    differing = [key for key in ("qemu", "python", "wheels") if found[key] != earlier[key]]
    return "; ".join(f"{key}: {found[key]} here, {earlier[key]} committed" for key in differing)


def compare(found: dict[str, Any], earlier: dict[str, Any], tolerance: float = TOLERANCE) -> Comparison:
    """Compare the totals of rows that did the same work.

    A network alone is the same whatever its weights. A whole film is the same only with the same weights and the same
    film: how many boxes have to be sorted depends on them.
    """
    known = {_key(row, earlier): row["total"] for row in earlier["rows"]}
    networks = {(row["board"], row["work"], row.get("network")) for row in earlier["rows"]}
    compared, changed, left_out = [], [], []
    for row in found["rows"]:
        name = f"{row['board']} {row['work']} {row['model']} {row['precision']}"
        before = known.get(_key(row, found))
        if before is None:
            same_network = (row["board"], row["work"], row["network"]) in networks
            why = "other weights or another film" if same_network else "no such network"
            left_out.append(f"{name}: NOT COMPARED, {why} among the committed counts. To count again: {REFRESH}")
            continue
        compared.append((row["board"], row["work"], row["model"]))
        change = row["total"] / before - 1
        if abs(change) > tolerance:
            changed.append(f"{name}: {row['total']:,} {UNIT}; committed: {before:,} ({change:+.2%})")
    return Comparison(tuple(compared), tuple(changed), tuple(left_out))


def _key(row: dict[str, Any], result: dict[str, Any]) -> tuple[Any, ...]:
    """What makes two rows the same work."""
    network = (row["board"], row["work"], row.get("network"))
    return network if row["work"] == "network" else (*network, row["sha256"], result.get("film_sha256"))
