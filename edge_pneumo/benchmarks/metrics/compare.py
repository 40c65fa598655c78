"""Two models on the same films: the difference of a figure with its interval, each resample drawn for both at once.

The pairing is what makes small losses visible: films hard for one model are hard for the other, and cancel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_pneumo.benchmarks.metrics import figures
from edge_pneumo.benchmarks.metrics.bootstrap import interval, resample
from edge_pneumo.benchmarks.metrics.cases import LabelledFilm, pair
from edge_pneumo.edge_runtime.decode import Finding
from edge_pneumo.errors import FilmRefused, UsageFault


def paired_difference(
    films: Sequence[LabelledFilm],
    findings_a: Sequence[Finding | FilmRefused],
    findings_b: Sequence[Finding | FilmRefused],
    metrics: Sequence[str] = ("auc", "rsna_score"),
    *,
    bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """How much model B differs from model A on the films that both answered.

    Parameters
    ----------
    films, findings_a, findings_b : one finding or refusal of each model for each film.
    metrics : names among the evaluator's film and box figures.

    Returns
    -------
    For each metric `{"a", "b", "difference": {"value", "low", "high"}, "n"}`; the difference is b - a.

    Raises
    ------
    UsageFault : an unknown metric, or lists of different lengths.
    """
    known = (*figures.FILM_FIGURES, *figures.BOX_FIGURES)
    unknown = [name for name in metrics if name not in known]
    if unknown:
        raise UsageFault(f"unknown metric {', '.join(unknown)}; choose from {', '.join(known)}")
    if not len(films) == len(findings_a) == len(findings_b):
        raise UsageFault(f"{len(films)} films, but {len(findings_a)} and {len(findings_b)} findings")
    both = [
        k
        for k, (a, b) in enumerate(zip(findings_a, findings_b, strict=True))
        if isinstance(a, Finding) and isinstance(b, Finding) and np.isfinite([a.probability, b.probability]).all()
    ]
    samples = []
    for findings in (findings_a, findings_b):
        cases = pair([films[k] for k in both], [findings[k] for k in both])
        values = resample(cases, figures.film_measure, bootstrap, seed)
        if set(metrics) & set(figures.BOX_FIGURES):
            values |= resample(cases, figures.box_measure(cases), bootstrap, seed)
        samples.append(values)
    a, b = samples
    return {
        name: {
            "a": interval(a[name])["value"],
            "b": interval(b[name])["value"],
            "difference": interval(b[name] - a[name]),
            "n": len(both),
        }
        for name in metrics
    }
