"""The one evaluator: labelled films and findings in, the contract's `evaluate` object out.

It does not know what made the findings: a float run, a QAT run, a .tflite file or a peer are judged alike.
Every figure is defined, with its source, in docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.benchmarks.metrics import baselines, classification, coco, detection, figures, subgroups
from edge_pneumo.benchmarks.metrics.bootstrap import interval, resample
from edge_pneumo.benchmarks.metrics.cases import Cases, LabelledFilm, pair
from edge_pneumo.edge_runtime.decode import Finding
from edge_pneumo.errors import FilmRefused

CURVE_POINTS = 200
"""Most points of a curve in the JSON; more cannot be seen."""

HISTOGRAM_BINS = 20

FROC_END = 4.0
"""False boxes a film at which the FROC curve ends; nobody looks at more."""


def evaluate(
    films: Sequence[LabelledFilm],
    findings: Sequence[Finding | FilmRefused],
    *,
    bootstrap: int = 1000,
    seed: int = 0,
    model: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    operating_points: Mapping[str, float] | None = None,
    reference: Sequence[LabelledFilm] | None = None,
    candidates: Sequence[Finding | FilmRefused] | None = None,
) -> dict[str, Any]:
    """Judge findings by the films' labels.

    Parameters
    ----------
    films : labelled films; a label that is not 0 or 1 leaves the film out.
    findings : one for each film: a `Finding`, or the `FilmRefused` that it was answered with.
    bootstrap : resamples of patients for the 95 % intervals; 0 for none.
    seed : of the resampling; the same seed gives the same intervals.
    model, data : facts to carry into the result (name, sha256; folder, split, hash of the split).
    operating_points : name -> threshold, to report sensitivity and specificity at each.
    reference : films that the trivial baselines learn from (the train split); None: from `films` themselves.
    candidates : the same findings with boxes before the threshold (decoded with `candidates.candidate_spec`), for
        average precision and FROC; None: from the boxes of `findings`, which ends both at the threshold.

    Returns
    -------
    The contract's `evaluate` object (docs/metrics.md lists its fields): plain JSON types, null where a figure does not
    exist, with a sentence in `warnings`.

    Raises
    ------
    UsageFault : findings and films do not pair up.
    """
    cases = pair(films, findings, candidates)
    groups = subgroups.members(cases)
    boxes, points = figures.box_measure(cases), figures.operating_measure(operating_points or {})
    parts = (figures.film_measure, boxes, points, subgroups.subgroup_measure(groups))

    def measure(cases: Cases, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return {name: values for part in parts for name, values in part(cases, weights).items()}

    samples = resample(cases, measure, bootstrap, seed)
    confusion = {name: int(np.nan_to_num(samples[name][0])) for name in ("tn", "fp", "fn", "tp")}
    table, behind = subgroups.summarise(cases, groups, samples)
    positives, support = int(cases.labels.sum()), figures.support(cases)
    return {
        "schema": 1,
        "n": len(cases),
        "positives": positives,
        "prevalence": positives / len(cases) if len(cases) else None,
        "patients": len(np.unique(cases.group)),
        **{name: interval(samples[name], support.get(name)) for name in (*figures.FILM_FIGURES, *figures.BOX_FIGURES)},
        "froc_sensitivity": {name: interval(samples[f"froc/{name}"]) for name in figures.FROC_NAMES},
        "confusion": confusion,
        "threshold": None if np.isnan(cases.threshold) else cases.threshold,
        "operating_points": _operating(cases, operating_points or {}, samples),
        "boxes_swept": "shown" if candidates is None else "candidates",
        "coco": coco.coco_summary(cases),
        "classes": classification.class_report(confusion),
        "subgroups": table,
        "by_class": _by_class(cases),
        "baselines": baselines.baselines(cases, reference, bootstrap, seed),
        "curves": _curves(cases),
        "model": dict(model or {}),
        "data": {"n": len(films), **dict(data or {})},
        "refused": sum(cases.refused.values()),
        "refused_reasons": cases.refused,
        "refused_positives": cases.refused_positives,
        "bootstrap": {"replicates": bootstrap, "seed": seed, "level": 0.95, "unit": "patient"},
        "warnings": [*cases.warnings, *behind],
    }


def _operating(
    cases: Cases, points: Mapping[str, float], samples: Mapping[str, NDArray[np.float64]]
) -> dict[str, dict[str, Any]]:
    table: dict[str, dict[str, Any]] = {}
    for point, threshold in points.items():
        support = figures.support(cases, threshold)
        rows = {name: interval(samples[f"{point}/{name}"], support[name]) for name in figures.OPERATING_FIGURES}
        table[point] = {"threshold": threshold, **rows}
    return table


def _by_class(cases: Cases) -> dict[str, dict[str, int]]:
    """For each word that the data set has for its films: how many there are, and how many were called opacity."""
    table: dict[str, dict[str, int]] = {}
    for film, probability in zip(cases.films, cases.probabilities, strict=True):
        row = table.setdefault(getattr(film, "class_name", None) or "not named", {"n": 0, "called_opacity": 0})
        row["n"] += 1
        row["called_opacity"] += int(probability >= cases.threshold)
    return dict(sorted(table.items()))


def _curves(cases: Cases) -> dict[str, Any]:
    """Points of the plots: `roc`, `precision_recall`, `froc` as x and y, `histogram`, and the bins of `reliability`."""
    curves: dict[str, Any] = {"roc": None, "precision_recall": None, "froc": None, "histogram": None, "reliability": []}
    if len(cases) and 0 < cases.labels.sum() < len(cases):
        roc = classification.roc_curve(cases.labels, cases.probabilities)
        recall = classification.precision_recall_curve(cases.labels, cases.probabilities)
        curves |= {"roc": _thin(roc.x, roc.y), "precision_recall": _thin(recall.x, recall.y)}
    if len(cases):
        curves["reliability"] = classification.reliability(cases.labels, cases.probabilities)
        curves["histogram"] = _histogram(cases)
    kept = np.flatnonzero(cases.boxed)
    true = [cases.true_boxes[i] for i in kept]
    if any(len(t) for t in true):
        found = detection.collect(true, [cases.candidate_boxes[i] for i in kept], detection.FROC_IOU)
        x, y = detection.froc_curve(found)
        curves["froc"] = _thin(x[x <= FROC_END], y[x <= FROC_END])
    return curves


def _histogram(cases: Cases) -> dict[str, list]:
    """Films by probability, in `HISTOGRAM_BINS` bins, apart for films with and without an opacity."""
    edges = np.linspace(0, 1, HISTOGRAM_BINS + 1)
    positive, negative = (np.histogram(cases.probabilities[cases.labels == label], edges)[0] for label in (True, False))
    return {"edges": edges.round(5).tolist(), "positive": positive.tolist(), "negative": negative.tolist()}


def _thin(x: NDArray[np.float64], y: NDArray[np.float64]) -> dict[str, list[float]]:
    """At most `CURVE_POINTS` points, both ends kept, rounded to five places."""
    at = np.unique(np.linspace(0, len(x) - 1, min(len(x), CURVE_POINTS)).round().astype(int))
    return {"x": x[at].round(5).tolist(), "y": y[at].round(5).tolist()}
