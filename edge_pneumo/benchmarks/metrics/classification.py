"""Film-level figures in plain numpy: ROC, precision-recall, confusion, calibration. Each takes optional weights, one
per film or one row of weights per bootstrap replicate, so that a thousand resamples are one matrix operation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

BINS = 10
"""Bins of equal width for the calibration error (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017)."""


def divide(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """`a / b` elementwise, NaN where `b` is 0: a figure without cases is unknown, not 0."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64))
    return np.divide(a, b, out=np.full(a.shape, np.nan), where=b != 0)


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a positive film scores above a negative one, ties counted half.

    Parameters
    ----------
    labels : (n,) 0 or 1.
    scores : (n,) any finite numbers, larger = more likely positive.

    Returns
    -------
    0..1, or NaN when a class is missing.
    """
    return float(weighted_auc(labels, scores, np.ones((1, np.asarray(labels).size)))[0])


def weighted_auc(labels: ArrayLike, scores: ArrayLike, weights: NDArray) -> NDArray[np.float64]:
    """AUC for each row of weights: (n,), (n,), (b, n) -> (b,); the Mann-Whitney statistic with weights."""
    labels, scores = np.asarray(labels, bool), np.asarray(scores, np.float64)
    if not labels.size:
        return np.full(len(weights), np.nan)
    order = np.argsort(scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True).nonzero()[0]  # last film of each run of equal scores
    positives = np.cumsum(np.where(labels[order], weights[:, order], 0), axis=1, dtype=np.float64)[:, last]
    negatives = np.cumsum(np.where(labels[order], 0, weights[:, order]), axis=1, dtype=np.float64)[:, last]
    step = np.diff(positives, axis=1, prepend=0)
    below = negatives - 0.5 * np.diff(negatives, axis=1, prepend=0)
    return divide((step * below).sum(axis=1), positives[:, -1] * negatives[:, -1])


def weighted_average_precision(labels: ArrayLike, scores: ArrayLike, weights: NDArray) -> NDArray[np.float64]:
    """Average precision (no interpolation, as scikit-learn's) for each row of weights: (n,), (n,), (b, n) -> (b,)."""
    labels, scores = np.asarray(labels, bool), np.asarray(scores, np.float64)
    if not labels.size:
        return np.full(len(weights), np.nan)
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True).nonzero()[0]
    true = np.cumsum(np.where(labels[order], weights[:, order], 0), axis=1, dtype=np.float64)[:, last]
    chosen = np.cumsum(weights[:, order], axis=1, dtype=np.float64)[:, last]
    precision = np.nan_to_num(divide(true, chosen))
    return divide((np.diff(true, axis=1, prepend=0) * precision).sum(axis=1), true[:, -1])


@dataclass(frozen=True)
class Curve:
    """A curve over falling thresholds: `x` and `y` in 0..1, `threshold` of each point."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    threshold: NDArray[np.float64]


def roc_curve(labels: ArrayLike, scores: ArrayLike) -> Curve:
    """False-positive rate (x) and sensitivity (y); starts at (0, 0) with threshold infinity."""
    true, false, thresholds = _cumulative(labels, scores)
    x, y = divide(false, false[-1]), divide(true, true[-1])
    return Curve(np.append(0.0, x), np.append(0.0, y), np.append(np.inf, thresholds))


def precision_recall_curve(labels: ArrayLike, scores: ArrayLike) -> Curve:
    """Recall (x) and precision (y), from the highest threshold down."""
    true, false, thresholds = _cumulative(labels, scores)
    return Curve(divide(true, true[-1]), divide(true, true + false), thresholds)


def _cumulative(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray, NDArray, NDArray]:
    """Positives and negatives at or above each distinct score, scores falling."""
    labels, scores = np.asarray(labels, bool), np.asarray(scores, np.float64)
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True).nonzero()[0]
    return np.cumsum(labels[order])[last], np.cumsum(~labels[order])[last], scores[order][last]


def rates(labels: ArrayLike, decisions: ArrayLike, weights: NDArray) -> dict[str, NDArray[np.float64]]:
    """Counts and rates of a yes/no decision for each row of weights.

    Parameters
    ----------
    labels, decisions : (n,) 0 or 1.
    weights : (b, n).

    Returns
    -------
    `tn fp fn tp` and `sensitivity specificity precision negative_predictive_value recall f1 accuracy
    balanced_accuracy`, each (b,); NaN where the denominator is 0 (precision when nothing is called positive, say).
    """
    labels, decisions = np.asarray(labels, bool), np.asarray(decisions, bool)
    cells = np.stack([~labels & ~decisions, ~labels & decisions, labels & ~decisions, labels & decisions], axis=1)
    tn, fp, fn, tp = (weights @ cells.astype(np.float64)).T
    sensitivity, specificity = divide(tp, tp + fn), divide(tn, tn + fp)
    return {
        "tn": tn,
        "fp": fp,
        "fn": fn,
        "tp": tp,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "precision": divide(tp, tp + fp),
        "negative_predictive_value": divide(tn, tn + fn),
        "recall": sensitivity,
        "f1": divide(2 * tp, 2 * tp + fp + fn),
        "accuracy": divide(tp + tn, tp + tn + fp + fn),
        "balanced_accuracy": (sensitivity + specificity) / 2,
    }


def weighted_calibration(labels: ArrayLike, probabilities: ArrayLike, weights: NDArray) -> NDArray[np.float64]:
    """Expected calibration error over `BINS` bins for each row of weights: (n,), (n,), (b, n) -> (b,)."""
    member = _bin_of(probabilities)[:, None] == np.arange(BINS)
    gap = (np.asarray(probabilities, np.float64) - np.asarray(labels, np.float64))[:, None] * member
    return divide(np.abs(weights @ gap).sum(axis=1), weights.sum(axis=1))


def reliability(labels: ArrayLike, probabilities: ArrayLike) -> list[dict[str, float]]:
    """The reliability diagram: for each bin that holds films, its edges, count, mean probability and observed rate."""
    labels, probabilities, member = np.asarray(labels, float), np.asarray(probabilities, float), _bin_of(probabilities)
    return [
        {
            "low": b / BINS,
            "high": (b + 1) / BINS,
            "n": int((member == b).sum()),
            "mean_probability": float(probabilities[member == b].mean()),
            "observed": float(labels[member == b].mean()),
        }
        for b in range(BINS)
        if (member == b).any()
    ]


def _bin_of(probabilities: ArrayLike) -> NDArray[np.int64]:
    return np.clip((np.asarray(probabilities, np.float64) * BINS).astype(np.int64), 0, BINS - 1)


def class_report(confusion: dict[str, int]) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support of each class, with macro and weighted averages, from `tn fp fn tp`.

    A class that is never predicted has precision 0 here, as scikit-learn's `classification_report(zero_division=0)`,
    so that the averages exist.
    """

    def row(hit: int, false: int, missed: int) -> dict[str, float]:
        precision = hit / (hit + false) if hit + false else 0.0
        recall = hit / (hit + missed) if hit + missed else 0.0
        f1 = 2 * hit / (2 * hit + false + missed) if hit + false + missed else 0.0
        return {"precision": precision, "recall": recall, "f1": f1, "support": hit + missed}

    tn, fp, fn, tp = (confusion[k] for k in ("tn", "fp", "fn", "tp"))
    rows = {"no-opacity": row(tn, fn, fp), "opacity": row(tp, fp, fn)}
    n = tn + fp + fn + tp

    def average(share: dict[str, float]) -> dict[str, float]:
        names = ("precision", "recall", "f1")
        return {k: sum(rows[c][k] * share[c] for c in rows) for k in names} | {"support": n}

    macro = average(dict.fromkeys(rows, 0.5))
    weighted = average({c: rows[c]["support"] / n if n else 0.0 for c in rows})
    return rows | {"macro average": macro, "weighted average": weighted}
