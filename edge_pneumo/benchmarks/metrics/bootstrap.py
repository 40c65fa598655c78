"""95 % intervals by resampling patients (the cluster bootstrap): films of one patient stand or fall together.

A resample is a row of weights, how often each film was drawn; a figure is a function from rows of weights to values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.benchmarks.metrics.cases import Cases

Measure = Callable[[Cases, NDArray[np.float64]], dict[str, NDArray[np.float64]]]
"""(cases, weights (b, n)) -> name -> (b,) values, NaN where a figure does not exist."""

CELLS = 2_000_000
"""Weights held at once: bounds the memory of a bootstrap over 26,000 films to some hundred MB."""


def patient_weights(group: NDArray[np.int64], replicates: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Rows of weights (b, n) in blocks, `replicates` in all: patients drawn with replacement.

    Parameters
    ----------
    group : (n,) patient index of each film, 0..patients-1.
    """
    rng = np.random.default_rng(seed)
    patients = int(group.max()) + 1 if len(group) else 0
    block = max(1, CELLS // max(len(group), 1))
    for start in range(0, replicates, block):
        rows = min(block, replicates - start)
        drawn = rng.integers(0, max(patients, 1), (rows, patients)) + np.arange(rows)[:, None] * patients
        times = np.bincount(drawn.ravel(), minlength=rows * patients).reshape(rows, patients)
        yield times[:, group].astype(np.float64)


def resample(cases: Cases, measure: Measure, replicates: int, seed: int) -> dict[str, NDArray[np.float64]]:
    """Every figure of `measure`: name -> (1 + replicates,), the value on all films first."""
    parts = [measure(cases, np.ones((1, len(cases))))]
    if len(cases):
        parts += [measure(cases, weights) for weights in patient_weights(cases.group, replicates, seed)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def interval(samples: NDArray[np.float64], cases: int | None = None, level: float = 0.95) -> dict[str, float | None]:
    """`{"value", "low", "high"}` from a row of `resample`: the value and the percentile interval.

    null instead of NaN; no interval when the figure exists in fewer than half of the resamples.

    Parameters
    ----------
    cases : independent cases behind a share (positives behind a sensitivity). Where all are hits, or none, every
        resample says so too and the interval would be a point; the bound is then the share at which `cases` hits in a
        row still happen with probability (1 - level) / 2 (Clopper and Pearson, 1934; "rule of three").
    """
    value, replicates = float(samples[0]), samples[1:]
    if np.isnan(value):
        return {"value": None, "low": None, "high": None}
    known = replicates[~np.isnan(replicates)]
    low = high = None
    if len(known) and len(known) >= len(replicates) / 2:
        low, high = (float(q) for q in np.quantile(known, [(1 - level) / 2, (1 + level) / 2]))
        if cases and low == high and value in (0.0, 1.0):
            bound = ((1 - level) / 2) ** (1 / cases)
            low, high = (bound, 1.0) if value == 1.0 else (0.0, 1 - bound)
    return {"value": value, "low": low, "high": high}
