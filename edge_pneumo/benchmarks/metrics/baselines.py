"""What needs no network at all, measured on the same films: a model is worth what it adds to these.

`prevalence`  every film gets the share of positives
`view`        every film gets the share of positives among films of its view position (AP or PA)
`mean_boxes`  the mean true box of each side, drawn on every film that the model itself calls likely enough
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.benchmarks.metrics import classification, detection
from edge_pneumo.benchmarks.metrics.bootstrap import interval, resample
from edge_pneumo.benchmarks.metrics.cases import Cases, LabelledFilm


def baselines(cases: Cases, reference: Sequence[LabelledFilm] | None, replicates: int, seed: int) -> dict[str, Any]:
    """The `baselines` object of the evaluator's JSON.

    Parameters
    ----------
    reference : films to learn the baselines from (a train split); None: the films judged, which flatters the baselines.
    """
    learnt_on = cases.films if reference is None else tuple(f for f in reference if f.label in (0, 1))
    rate = _view_rates(learnt_on)
    overall = float(np.mean([f.label for f in learnt_on])) if learnt_on else float("nan")
    by_view = np.array([rate.get(_view(film), overall) for film in cases.films], np.float64)
    boxes = mean_boxes(learnt_on)
    film_scores = np.array([detection.rsna_film_score(true, boxes) for true in cases.true_boxes], np.float64)
    gate = best_gate(cases, film_scores) if len(boxes) and cases.boxed.any() else float("nan")
    shown = cases.probabilities >= gate
    # a film without opacity that the gate leaves empty is left out of the mean, as the challenge's score has it
    counted = cases.boxed & (shown | cases.labels)
    value = np.where(shown & counted, np.nan_to_num(film_scores), 0.0)

    def measure(cases: Cases, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        share = classification.divide(weights @ cases.labels.astype(float), weights.sum(axis=1))
        both = (share > 0) & (share < 1)
        score = classification.divide(weights @ value, weights @ counted.astype(float))
        return {
            "prevalence/auc": np.where(both, 0.5, np.nan),
            "prevalence/average_precision": share,
            "prevalence/accuracy": np.maximum(share, 1 - share),
            "view/auc": classification.weighted_auc(cases.labels, by_view, weights),
            "view/average_precision": classification.weighted_average_precision(cases.labels, by_view, weights),
            "mean_boxes/rsna_score": score if not np.isnan(gate) else np.full(len(weights), np.nan),
        }

    samples = resample(cases, measure, replicates, seed)
    table: dict[str, Any] = {"learnt_on": "these films" if reference is None else "reference films"}
    for key, values in samples.items():
        name, figure = key.split("/")
        table.setdefault(name, {})[figure] = interval(values)
    table["mean_boxes"] |= {
        "boxes_xyxy": [[round(float(v), 1) for v in box[:4]] for box in boxes],
        "gate": None if np.isnan(gate) else gate,
    }
    return table


def _view(film: LabelledFilm) -> str:
    return (film.view or "unknown").upper()


def _view_rates(films: Sequence[LabelledFilm]) -> dict[str, float]:
    found: dict[str, list[int]] = {}
    for film in films:
        found.setdefault(_view(film), []).append(film.label)
    return {view: float(np.mean(labels)) for view, labels in found.items()}


def mean_boxes(films: Sequence[LabelledFilm]) -> NDArray[np.float64]:
    """The mean true box of each side of the chest: (0 to 2, 5), score 1 for the commoner side."""
    rows = [detection.true_array(film.boxes_xyxy) for film in films if len(film.boxes_xyxy)]
    if not rows:
        return np.zeros((0, 5))
    boxes = np.concatenate(rows)
    middle = (boxes[:, 0] + boxes[:, 2]) / 2
    sides = [boxes[middle < middle.mean()], boxes[middle >= middle.mean()]]
    sides = sorted((side for side in sides if len(side)), key=len, reverse=True)
    return np.array([[*side.mean(axis=0), 1.0 - 0.1 * k] for k, side in enumerate(sides)])


def best_gate(cases: Cases, film_scores: NDArray[np.float64]) -> float:
    """The probability from which to draw the boxes so that the RSNA score on these very films is best.

    Falling through the films by probability, a positive film adds its score, a negative film adds a zero to the mean.
    """
    kept = cases.boxed
    probability, labels = cases.probabilities[kept], cases.labels[kept]
    order = np.argsort(-probability, kind="stable")
    gain = np.cumsum(np.where(labels, np.nan_to_num(film_scores[kept]), 0.0)[order])
    count = labels.sum() + np.cumsum(~labels[order])
    last = np.append(np.diff(probability[order]) != 0, True)
    score = np.where(last, classification.divide(gain, count), -1.0)
    return float(probability[order][int(np.nanargmax(score))])
