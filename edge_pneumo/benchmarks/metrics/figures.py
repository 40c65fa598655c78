"""The headline figures of a model as one measure: film-level, calibration and boxes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.benchmarks.metrics import classification, detection
from edge_pneumo.benchmarks.metrics.bootstrap import Measure
from edge_pneumo.benchmarks.metrics.cases import Cases

FILM_FIGURES = (
    "auc",
    "average_precision",
    "sensitivity",
    "specificity",
    "precision",
    "negative_predictive_value",
    "recall",
    "f1",
    "accuracy",
    "balanced_accuracy",
    "ece",
    "brier",
)
BOX_FIGURES = ("rsna_score", "ap50", "coco_ap", "mean_iou")
FROC_NAMES = ("1/8", "1/4", "1/2", "1", "2")
"""Names of `detection.FROC_RATES` in the JSON."""


def film_measure(cases: Cases, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """`FILM_FIGURES` and the confusion counts for each row of weights."""
    labels, probabilities = cases.labels, cases.probabilities
    found = classification.rates(labels, probabilities >= cases.threshold, weights)
    squared = (probabilities - labels) ** 2
    return found | {
        "auc": classification.weighted_auc(labels, probabilities, weights),
        "average_precision": classification.weighted_average_precision(labels, probabilities, weights),
        "ece": classification.weighted_calibration(labels, probabilities, weights),
        "brier": classification.divide(weights @ squared, weights.sum(axis=1)),
    }


def support(cases: Cases, threshold: float | None = None) -> dict[str, int]:
    """Films behind each share among the figures, for `bootstrap.interval`.

    For the AUC it is the smaller class: so many pairs share no film, and all are ranked right with probability at most
    AUC to that power.
    """
    called = cases.probabilities >= (cases.threshold if threshold is None else threshold)
    positives = int(cases.labels.sum())
    return {
        "auc": min(positives, len(cases) - positives),
        "sensitivity": positives,
        "recall": positives,
        "specificity": len(cases) - positives,
        "precision": int(called.sum()),
        "negative_predictive_value": int((~called).sum()),
        "accuracy": len(cases),
    }


def box_measure(cases: Cases) -> Measure:
    """A measure of `BOX_FIGURES` and `froc/RATE`; matches every film once, here.

    The RSNA score and mean IoU judge the boxes shown; average precision and FROC all candidates (see `candidates`).

    Films with an opacity but no true box cannot be judged and are left out; all NaN when no film has a true box and
    some have an opacity.
    """
    names = (*BOX_FIGURES, *(f"froc/{name}" for name in FROC_NAMES))
    kept = np.flatnonzero(cases.boxed)
    true, predicted = [cases.true_boxes[i] for i in kept], [cases.predicted_boxes[i] for i in kept]
    candidates = [cases.candidate_boxes[i] for i in kept]
    scores = detection.rsna_film_scores(true, predicted)
    scored = ~np.isnan(scores)
    shown = detection.collect(true, predicted, detection.FROC_IOU)
    found = detection.collect(true, candidates, detection.COCO_IOUS)
    lenient = detection.collect(true, candidates, detection.FROC_IOU)
    judged = bool(scored.any()) and (bool(found.true_count.sum()) or not cases.labels.any())

    def measure(_: Cases, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        if not judged:
            return {name: np.full(len(weights), np.nan) for name in names}
        weights = weights[:, kept]
        precision = [detection.weighted_ap(found, weights, iou) for iou in detection.COCO_IOUS]
        froc = detection.weighted_froc(lenient, weights)
        return {
            "rsna_score": classification.divide(weights @ np.where(scored, scores, 0), weights @ scored.astype(float)),
            "ap50": precision[0],
            "coco_ap": np.mean(precision, axis=0),
            "mean_iou": detection.weighted_mean_iou(shown, weights),
        } | {f"froc/{name}": froc[:, k] for k, name in enumerate(FROC_NAMES)}

    return measure


OPERATING_FIGURES = ("sensitivity", "specificity", "precision", "negative_predictive_value")


def operating_measure(points: Mapping[str, float]) -> Measure:
    """Sensitivity, specificity and predictive values at each named threshold: `NAME/sensitivity` and so on."""

    def measure(cases: Cases, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        rows: dict[str, NDArray[np.float64]] = {}
        for name, threshold in points.items():
            rates = classification.rates(cases.labels, cases.probabilities >= threshold, weights)
            rows |= {f"{name}/{figure}": rates[figure] for figure in OPERATING_FIGURES}
        return rows

    return measure
