"""Box figures in plain numpy: the RSNA challenge score, matched IoU, COCO-style average precision and FROC.

Boxes are xyxy in pixels of the source film; predictions carry a score in a fifth column. Figures are built from one
small table per film, so that a bootstrap over films only re-weights and never re-matches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_pneumo.benchmarks.metrics.classification import divide
from edge_pneumo.edge_runtime.decode import iou_matrix

RSNA_IOUS = np.arange(8, 16) / 20
"""IoU thresholds of the RSNA Pneumonia Detection Challenge: .40, .45 … .75."""

COCO_IOUS = np.arange(10, 20) / 20
"""IoU thresholds of COCO's AP: .50, .55 … .95."""

FROC_IOU = 0.4
"""A box counts as found in the FROC from the challenge's lowest IoU on."""

FROC_RATES = (0.125, 0.25, 0.5, 1.0, 2.0)
"""False boxes per film at which the FROC is read."""

_TIE = 1e-9  # an IoU that equals a threshold reaches it, whatever the rounding


def true_array(boxes: ArrayLike) -> NDArray[np.float64]:
    """True boxes of a film as (k, 4) float64."""
    return np.asarray(boxes, np.float64).reshape(-1, 4)


def predicted_array(boxes: ArrayLike) -> NDArray[np.float64]:
    """Predicted boxes of a film as (k, 5) float64 by falling score."""
    array = np.asarray(boxes, np.float64).reshape(-1, 5)
    return array[np.argsort(-array[:, 4], kind="stable")]


def match(overlap: NDArray[np.float64], iou: float) -> NDArray[np.int64]:
    """Pair predictions with true boxes, greedily by falling score.

    Parameters
    ----------
    overlap : (predictions by falling score, true boxes) IoU.
    iou : least overlap of a pair.

    Returns
    -------
    (predictions,) index of the true box each one took, -1 for none. A prediction takes the free true box it overlaps
    most; of equals the last, as COCO does.
    """
    taken = np.full(overlap.shape[0], -1, np.int64)
    free = np.ones(overlap.shape[1], bool)
    for row, values in enumerate(overlap):
        candidates = np.where(free, values, -1.0)
        if candidates.size and candidates.max() >= iou - _TIE:
            taken[row] = len(candidates) - 1 - int(np.argmax(candidates[::-1]))
            free[taken[row]] = False
    return taken


def rsna_film_score(true_boxes: ArrayLike, predicted_boxes: ArrayLike) -> float:
    """Score of one film in the RSNA challenge: TP / (TP + FP + FN) averaged over IoU .40 to .75.

    NaN (left out of the mean) for a film without true boxes on which nothing is predicted; 0 if something is.
    """
    true, predicted = true_array(true_boxes), predicted_array(predicted_boxes)
    if not len(true):
        return 0.0 if len(predicted) else float("nan")
    if not len(predicted):
        return 0.0
    overlap = iou_matrix(predicted[:, :4], true)
    hits = np.array([(match(overlap, t) >= 0).sum() for t in RSNA_IOUS])
    return float(np.mean(hits / (len(true) + len(predicted) - hits)))


def rsna_film_scores(true_boxes: Sequence[ArrayLike], predicted_boxes: Sequence[ArrayLike]) -> NDArray[np.float64]:
    """`rsna_film_score` of each film: (n,), NaN where a film is left out."""
    pairs = zip(true_boxes, predicted_boxes, strict=True)
    return np.array([rsna_film_score(t, p) for t, p in pairs], np.float64)


def rsna_score(true_boxes: Sequence[ArrayLike], predicted_boxes: Sequence[ArrayLike]) -> float:
    """The RSNA Pneumonia Detection Challenge's score of a set of films.

    Parameters
    ----------
    true_boxes : per film (k, 4) x1, y1, x2, y2; empty for a film without an opacity.
    predicted_boxes : per film (k, 5) x1, y1, x2, y2, score.

    Returns
    -------
    0..1, or NaN if every film is left out (no true boxes anywhere and nothing predicted).
    """
    scores = rsna_film_scores(true_boxes, predicted_boxes)
    scored = scores[~np.isnan(scores)]
    return float(scored.mean()) if len(scored) else float("nan")


@dataclass(frozen=True)
class Detections:
    """All predictions of a set of films by falling score, matched at several IoUs.

    Attributes
    ----------
    film : (d,) index of the film of each prediction.
    score : (d,) falling.
    hit : (t, d) whether the prediction found a true box at each of `ious`.
    ious : (t,).
    true_count : (n,) true boxes of each film.
    iou_sum : (n,) sum over the true boxes of the IoU with the prediction matched to each (0 when missed; any overlap
        counts).
    """

    film: NDArray[np.int64]
    score: NDArray[np.float64]
    hit: NDArray[np.bool_]
    ious: NDArray[np.float64]
    true_count: NDArray[np.int64]
    iou_sum: NDArray[np.float64]


def collect(true_boxes: Sequence[ArrayLike], predicted_boxes: Sequence[ArrayLike], ious: ArrayLike) -> Detections:
    """Match every film's predictions once; see `Detections`."""
    ious = np.atleast_1d(np.asarray(ious, np.float64))
    films, scores, hits, counts, sums = [], [], [], [], []
    for index, (raw_true, raw_predicted) in enumerate(zip(true_boxes, predicted_boxes, strict=True)):
        true, predicted = true_array(raw_true), predicted_array(raw_predicted)
        overlap = iou_matrix(predicted[:, :4], true)
        pairs = match(overlap, 1e-6)
        counts.append(len(true))
        sums.append(float(overlap[pairs >= 0, pairs[pairs >= 0]].sum()))
        if len(predicted):
            films.append(np.full(len(predicted), index))
            scores.append(predicted[:, 4])
            hits.append(np.stack([match(overlap, t) >= 0 for t in ious]))
    film = np.concatenate(films) if films else np.zeros(0, np.int64)
    score = np.concatenate(scores) if scores else np.zeros(0)
    hit = np.concatenate(hits, axis=1) if hits else np.zeros((len(ious), 0), bool)
    order = np.argsort(-score, kind="stable")
    return Detections(film[order], score[order], hit[:, order], ious, np.array(counts, np.int64), np.array(sums, float))


def weighted_mean_iou(found: Detections, weights: NDArray) -> NDArray[np.float64]:
    """Mean over true boxes of the IoU with their matched prediction, 0 when missed: (b, n) -> (b,)."""
    return divide(weights @ found.iou_sum, weights @ found.true_count.astype(np.float64))


def weighted_ap(found: Detections, weights: NDArray, iou: float) -> NDArray[np.float64]:
    """COCO's average precision (101 recall points, precision made monotone) at one IoU: (b, n) -> (b,).

    NaN where no film has a true box (COCO's -1).
    """
    level = int(np.flatnonzero(np.isclose(found.ious, iou))[0])
    wanted = weights @ found.true_count.astype(np.float64)
    weight = weights[:, found.film]
    true = np.cumsum(weight * found.hit[level], axis=1, dtype=np.float64)
    precision = np.nan_to_num(divide(true, np.cumsum(weight, axis=1, dtype=np.float64)))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    points = np.linspace(0, 1, 101)
    result = np.full(len(weights), np.nan)
    for row in np.flatnonzero(wanted > 0):
        at = np.searchsorted(true[row] / wanted[row], points - 1e-12, side="left")
        result[row] = np.append(precision[row], 0.0)[at].mean()
    return result


def weighted_froc(
    found: Detections, weights: NDArray, false_rates: Sequence[float] = FROC_RATES
) -> NDArray[np.float64]:
    """Share of true boxes found while false boxes per film stay at or below each rate: (b, n) -> (b, rates).

    The curve is a staircase: no interpolation. Where the model shows fewer false boxes than a rate allows, its last
    point counts. Matching is at the first of `found.ious`.
    """
    wanted, films = weights @ found.true_count.astype(np.float64), weights.sum(axis=1)
    weight = weights[:, found.film]
    true = np.cumsum(weight * found.hit[0], axis=1, dtype=np.float64)
    false = np.cumsum(weight * ~found.hit[0], axis=1, dtype=np.float64)
    # boxes of equal score appear together: only the last of a run is a point of the curve
    last = np.append(np.diff(found.score) != 0, True) if len(found.score) else np.zeros(0, bool)
    true, false = true[:, last], false[:, last]
    result = np.zeros((len(weights), len(false_rates)))
    for column, rate in enumerate(false_rates):
        allowed = false <= rate * films[:, None] + 1e-9
        result[:, column] = divide(np.where(allowed, true, 0).max(axis=1, initial=0), wanted)
    return result


def froc_curve(found: Detections) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False boxes per film and share of true boxes found, over falling scores; starts at (0, 0)."""
    last = np.append(np.diff(found.score) != 0, True) if len(found.score) else np.zeros(0, bool)
    true, false = np.cumsum(found.hit[0])[last], np.cumsum(~found.hit[0])[last]
    films, wanted = max(len(found.true_count), 1), max(int(found.true_count.sum()), 1)
    return np.append(0.0, false / films), np.append(0.0, true / wanted)
