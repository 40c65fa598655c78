"""What is fitted after training, on labelled films that were not trained on: calibration, operating points and the
settings of the box decoder. The training calls these on its validation films, `tune` on a clinic's own.

A hundred films are few, so each fit prefers what will hold on the next hundred to what is best on these: weights are
shrunk and never negative, thresholds keep a margin for sampling error, and box settings come from a plateau of the
score, not its peak.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, lgamma, log

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_pneumo.benchmarks.metrics.detection import rsna_film_score
from edge_pneumo.edge_runtime.decode import DecodeSpec, RawOutputs, decode, sigmoid
from edge_pneumo.edge_runtime.preprocess import Geometry
from edge_pneumo.errors import DataError

SENSITIVITY_TARGET = 0.90
"""Least sensitivity of `screening` (WHO's target for a triage test)."""

SPECIFICITY_TARGET = 0.90
"""Least specificity of `specific`."""

CONFIDENCE = 0.75
"""How sure a target must be to hold on new films, given as many cases as there are."""

PRIOR = np.array([0.1, 0.9])
"""What image logit and heat maximum count before there is evidence: the maximum alone was the better score of both
detectors in docs/results/decode.json."""

BOX_THRESHOLDS = np.geomspace(0.03, 0.6, 40)
NMS_IOUS = (0.05, 0.1, 0.2, 0.3)
MAX_BOXES = (1, 2, 3, 4)
BOX_SCALES = (0.8, 0.875, 0.95, 1.0, 1.1)


@dataclass(frozen=True)
class Platt:
    """probability = sigmoid(image_weight * image_logit + heat_weight * max(heat) + bias); weights are >= 0."""

    image_weight: float
    heat_weight: float
    bias: float

    def probability(self, image_logits: ArrayLike, heat_max: ArrayLike) -> NDArray[np.float64]:
        """Calibrated probabilities (n,) of films with these outputs."""
        image, heat = np.asarray(image_logits, np.float64), np.asarray(heat_max, np.float64)
        return np.asarray(sigmoid(self.image_weight * image + self.heat_weight * heat + self.bias))

    def apply(self, spec: DecodeSpec) -> DecodeSpec:
        """`spec` with this calibration."""
        return replace(spec, image_weight=self.image_weight, heat_weight=self.heat_weight, bias=self.bias)


def fit_operating(
    image_logits: ArrayLike,
    heat_max: ArrayLike,
    labels: ArrayLike,
    groups: Sequence[str] | None = None,
    *,
    prevalence: float | None = None,
    shrink: float = 4.0,
) -> Platt:
    """Fit the two-input Platt scaling.

    First the direction (how much each output counts) by logistic regression shrunk towards `PRIOR`, weights of the
    standardised outputs; then scale and bias along it by Platt's method with his smoothed targets (Platt,
    "Probabilistic outputs for support vector machines", 1999), so that shrinkage does not make the model timid.

    Parameters
    ----------
    image_logits, heat_max : (n,) the network's `image_logit` and the largest `heat` of each film.
    labels : (n,) 0 or 1.
    groups : (n,) patient of each film; a patient with many films counts like one with few. None: films count alike.
    prevalence : share of positives where the model will work, if it is not that of these films: shifts the bias.
    shrink : strength of the pull towards `PRIOR`, in films.

    Raises
    ------
    DataError : not both classes are there, or an output is not finite.
    """
    x = np.stack([np.asarray(image_logits, np.float64), np.asarray(heat_max, np.float64)], axis=1)
    y = np.asarray(labels, np.float64)
    _need_both_classes(y, "calibration")
    if not np.isfinite(x).all():
        raise DataError("calibration: the network gave an output that is not finite; the training has diverged")
    weight = _patient_weights(groups, len(y))
    mean, spread = x.mean(axis=0), x.std(axis=0)
    usable = spread > 1e-6
    z = np.where(usable, (x - mean) / np.where(usable, spread, 1.0), 0.0)
    start = np.where(usable, PRIOR, 0.0)
    start = start / max(start.sum(), 1e-9)
    direction = _fit_direction(z, y, weight, start, shrink)
    scale, bias = _fit_platt(z @ direction, y, weight)
    weights = scale * direction / np.where(usable, spread, 1.0)
    bias = bias - float(weights @ mean)
    if prevalence is not None:
        bias += _prevalence_shift(y, weight, prevalence)
    return Platt(float(weights[0]), float(weights[1]), float(bias))


def recalibrate(
    spec: DecodeSpec,
    image_logits: ArrayLike,
    heat_max: ArrayLike,
    labels: ArrayLike,
    groups: Sequence[str] | None = None,
    *,
    prevalence: float | None = None,
) -> Platt:
    """Move a fitted calibration to other films: its logit times a slope plus a bias.

    What the two outputs weigh against each other stays, for a few dozen films cannot tell it. The slope is pulled
    towards 1 (a normal prior of standard deviation 0.5), the bias hardly (3), so that few films change little.

    Parameters
    ----------
    spec : the calibration to start from.
    image_logits, heat_max, labels, groups, prevalence : as in `fit_operating`.

    Raises
    ------
    DataError : not both classes are there, or the model ranks these films no better than chance.
    """
    y = np.asarray(labels, np.float64)
    _need_both_classes(y, "calibration")
    weight = _patient_weights(groups, len(y))
    image, heat = np.asarray(image_logits, np.float64), np.asarray(heat_max, np.float64)
    logit = spec.image_weight * image + spec.heat_weight * heat + spec.bias
    design, beta = np.column_stack([logit, np.ones(len(y))]), np.array([1.0, 0.0])
    prior, precision = beta.copy(), np.array([1 / 0.5**2, 1 / 3.0**2])
    for _ in range(100):
        p = np.asarray(sigmoid(design @ beta))
        gradient = design.T @ (weight * (p - y)) + precision * (beta - prior)
        hessian = (design.T * (weight * p * (1 - p))) @ design + np.diag(precision)
        step = np.linalg.solve(hessian, gradient)
        step *= min(1.0, 1.0 / max(float(np.abs(step).max()), 1e-12))
        beta = beta - step
        if np.abs(step).max() < 1e-9:
            break
    slope, bias = float(beta[0]), float(beta[1])
    if slope <= 0:
        raise DataError(
            "calibration: the model ranks these films no better than chance, which no calibration can mend. Check that"
            " labels and films belong together, and that these are frontal chest films of adults."
        )
    if prevalence is not None:
        bias += _prevalence_shift(y, weight, prevalence)
    return Platt(slope * spec.image_weight, slope * spec.heat_weight, slope * spec.bias + bias)


def _prevalence_shift(y: NDArray, weight: NDArray, prevalence: float) -> float:
    """What the bias gains when positives are as common as `prevalence` instead of as among these films."""
    rate = float(np.average(y, weights=weight))
    return log(prevalence / (1 - prevalence)) - log(rate / (1 - rate))


def _need_both_classes(labels: NDArray, what: str) -> None:
    positives = int(labels.sum())
    if positives == 0 or positives == len(labels):
        raise DataError(
            f"{what} needs films with and without an opacity: found {positives} with and {len(labels) - positives}"
            " without. Give a split or folder that holds both."
        )


def _patient_weights(groups: Sequence[str] | None, n: int) -> NDArray[np.float64]:
    """Weights of films, adding up to n: within a patient, weight falls with the root of the number of films."""
    if groups is None:
        return np.ones(n)
    _, member, count = np.unique(np.asarray(groups, str), return_inverse=True, return_counts=True)
    weight = 1 / np.sqrt(count[member])
    return weight * n / weight.sum()


def _fit_direction(z: NDArray, y: NDArray, weight: NDArray, start: NDArray, shrink: float) -> NDArray:
    """Penalised logistic regression with weights >= 0, summing to 1.

    The problem is convex, so its solution is the best of those with some weights held at 0 that have no negative one.
    """
    best, least = start, np.inf
    for free in ((True, True), (True, False), (False, True)):
        kept = np.array(free) & (start > 0)
        if kept.any():
            beta, loss = _fit_penalised(z, y, weight, start, shrink, kept)
            if (beta >= 0).all() and beta.sum() > 0 and loss < least:
                best, least = beta, loss
    return best / best.sum() if best.sum() > 0 else best


def _fit_penalised(
    z: NDArray, y: NDArray, weight: NDArray, start: NDArray, shrink: float, free: NDArray[np.bool_]
) -> tuple[NDArray, float]:
    """Weights and loss of logistic regression pulled towards `start`, where only `free` weights may differ from 0."""
    design = np.column_stack([z[:, free], np.ones(len(y))])
    target, penalty = np.append(start[free], 0.0), np.append(np.full(int(free.sum()), shrink), 1e-9)
    beta = target.copy()
    for _ in range(100):
        p = np.asarray(sigmoid(design @ beta))
        gradient = design.T @ (weight * (p - y)) + penalty * (beta - target)
        curvature = (design.T * np.maximum(weight * p * (1 - p), 1e-9)) @ design + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        step *= min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))  # a Newton step may overshoot on separable data
        beta = beta - step
        if np.abs(step).max() < 1e-8:
            break
    full = np.zeros(len(start))
    full[free] = beta[:-1]
    logit = design @ beta
    loss = weight @ (np.logaddexp(0, logit) - y * logit) + 0.5 * shrink * float(np.sum((full - start) ** 2))
    return full, float(loss)


def _fit_platt(score: NDArray, y: NDArray, weight: NDArray) -> tuple[float, float]:
    """Slope (>= 0) and bias of Platt's scaling with his targets (N+ + 1) / (N+ + 2) and 1 / (N- + 2)."""
    positives, negatives = float(weight @ y), float(weight @ (1 - y))
    target = np.where(y > 0, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    slope, bias = 1.0, float(np.log(positives / negatives))

    def loss(slope: float, bias: float) -> float:
        logit = slope * score + bias
        return float(weight @ (np.logaddexp(0, logit) - target * logit))

    design = np.column_stack([score, np.ones(len(y))])
    for _ in range(100):
        p = np.asarray(sigmoid(slope * score + bias))
        gradient = design.T @ (weight * (p - target))
        hessian = (design.T * np.maximum(weight * p * (1 - p), 1e-12)) @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        fraction = 1.0  # halve until the loss falls: plain Newton diverges from a poor start
        while fraction > 1e-6 and loss(slope - fraction * step[0], bias - fraction * step[1]) > loss(slope, bias):
            fraction /= 2
        slope, bias = slope - fraction * step[0], bias - fraction * step[1]
        if np.abs(fraction * step).max() < 1e-9:
            break
    if slope <= 0:  # the outputs rank films worse than chance: say the prevalence rather than turn them round
        return 0.0, float(np.log(positives / negatives))
    return float(slope), float(bias)


def choose_operating_points(
    labels: ArrayLike, probabilities: ArrayLike, *, confidence: float = CONFIDENCE
) -> dict[str, float]:
    """Thresholds on the probability for the three named operating points.

    `screening`  sensitivity of at least .90
    `balanced`   largest sensitivity + specificity (Youden's index), the median over 200 resamples
    `specific`   specificity of at least .90

    The targets are meant for new films. The k-th lowest of n positive films has a share of all positives above it
    that follows Beta(n + 1 - k, k), whatever the distribution (Wilks, "Determination of sample sizes for setting
    tolerance limits", 1941); k is the largest for which that share is at least .90 with `confidence`.

    Returns
    -------
    {"screening": t, "balanced": t, "specific": t} with screening <= balanced <= specific; a film is positive when its
    probability is >= t.

    Raises
    ------
    DataError : not both classes are there.
    """
    y, p = np.asarray(labels, bool), np.asarray(probabilities, np.float64)
    _need_both_classes(y, "choosing operating points")
    grid = np.unique(p)
    cuts = np.concatenate([[grid[0] / 2], (grid[:-1] + grid[1:]) / 2, [(grid[-1] + 1) / 2]])  # between films
    positives, negatives = np.sort(p[y]), np.sort(p[~y])[::-1]
    lowest = positives[max(tolerance_rank(len(positives), SENSITIVITY_TARGET, confidence), 1) - 1]
    highest = negatives[max(tolerance_rank(len(negatives), SPECIFICITY_TARGET, confidence), 1) - 1]
    screening, specific = float(cuts[cuts <= lowest].max()), float(cuts[cuts > highest].min())
    # where the classes part cleanly, both targets hold anywhere between the two
    screening, specific = min(screening, specific), max(screening, specific)
    balanced = float(np.clip(_youden(y, p, cuts), screening, specific))
    return {"screening": screening, "balanced": balanced, "specific": specific}


def tolerance_rank(n: int, target: float, confidence: float) -> int:
    """Largest k for which the k-th lowest of n cases keeps a share >= `target` above it with `confidence`; 0 if none.

    P(share above the k-th lowest >= target) = P(Binomial(n, 1 - target) >= k).
    """
    tail, rank = 1.0, 0
    for k in range(1, n + 1):
        chance = lgamma(n + 1) - lgamma(k) - lgamma(n - k + 2) + (k - 1) * log(1 - target) + (n - k + 1) * log(target)
        tail -= exp(chance)  # the binomial probability of k - 1, by logarithms so that a large n does not overflow
        if tail < confidence:
            break
        rank = k
    return rank


def _youden(labels: NDArray[np.bool_], probabilities: NDArray, cuts: NDArray, resamples: int = 200) -> float:
    """Median over resamples of the cut with the largest Youden index: one lucky film must not move it far."""
    order = np.argsort(-probabilities, kind="stable")
    last = np.append(np.diff(probabilities[order]) != 0, True).nonzero()[0]
    weight = np.random.default_rng(0).multinomial(len(labels), np.full(len(labels), 1 / len(labels)), resamples)
    positives = np.cumsum(weight[:, order] * labels[order], axis=1)[:, last]
    negatives = np.cumsum(weight[:, order] * ~labels[order], axis=1)[:, last]
    both = (positives[:, -1] > 0) & (negatives[:, -1] > 0)
    youden = positives[both] / positives[both, -1:] - negatives[both] / negatives[both, -1:]
    # the k-th highest distinct probability lies just above the k-th cut from the top
    return float(np.median(cuts[:-1][::-1][youden.argmax(axis=1)]))


def choose_box_threshold(
    raw: Sequence[RawOutputs],
    geometries: Sequence[Geometry],
    true_boxes: Sequence[ArrayLike],
    spec: DecodeSpec,
    *,
    thresholds: Sequence[float] = tuple(BOX_THRESHOLDS),
    nms_ious: Sequence[float] = NMS_IOUS,
    max_boxes: Sequence[int] = MAX_BOXES,
    box_scales: Sequence[float] = BOX_SCALES,
) -> DecodeSpec:
    """`spec` with the box threshold, NMS overlap, number and scale of boxes that serve the RSNA score best.

    The score over the grid is averaged with its neighbours on every axis before the best is taken: a plateau that
    many films agree on, not a spike that one film makes.

    Parameters
    ----------
    raw, geometries : outputs of the network and the geometry of each film.
    true_boxes : per film (k, 4) xyxy in source pixels; empty for none.
    spec : calibration already fitted (box scores are multiplied by the film's probability).

    Raises
    ------
    DataError : no film has a true box.
    """
    if not any(np.asarray(t).size for t in true_boxes):
        raise DataError("choosing the box threshold needs films with boxes; none of these films has one")
    scores = box_scores(raw, geometries, true_boxes, spec, thresholds, nms_ious, max_boxes, box_scales)
    even = scores
    for axis, width in enumerate((1, 1, 1, 3)):
        even = smooth(even, axis, min(width, scores.shape[axis] - 1))
    if even.max() <= 0:  # no box of this model finds anything: nothing to choose by
        return spec
    n, s, m, t = (int(i) for i in np.unravel_index(int(np.argmax(even)), even.shape))
    return replace(
        spec,
        nms_iou=float(nms_ious[n]),
        box_scale=float(box_scales[s]),
        max_boxes=int(max_boxes[m]),
        box_threshold=round(float(thresholds[t]), 4),
    )


def box_scores(
    raw: Sequence[RawOutputs],
    geometries: Sequence[Geometry],
    true_boxes: Sequence[ArrayLike],
    spec: DecodeSpec,
    thresholds: Sequence[float],
    nms_ious: Sequence[float],
    max_boxes: Sequence[int],
    box_scales: Sequence[float],
) -> NDArray[np.float64]:
    """RSNA score over the grid: (nms_ious, box_scales, max_boxes, thresholds).

    Suppression keeps boxes by falling score, so a higher threshold or a smaller number only cuts the list short: each
    film is decoded once per overlap and scale, and each prefix of its list scored once.
    """
    most, lowest, cuts = max(max_boxes), min(thresholds), np.asarray(thresholds, np.float64)
    total = np.zeros((len(nms_ious), len(box_scales), len(max_boxes), len(cuts)))
    count = np.zeros_like(total)
    for n, overlap in enumerate(nms_ious):
        for s, scale in enumerate(box_scales):
            wide = replace(spec, box_threshold=lowest, nms_iou=overlap, max_boxes=most, box_scale=scale)
            for outputs, geometry, true in zip(raw, geometries, true_boxes, strict=True):
                boxes = np.array([(b.x1, b.y1, b.x2, b.y2, b.score) for b in decode(outputs, wide, geometry).boxes])
                boxes = boxes.reshape(-1, 5)
                prefix = np.array([rsna_film_score(true, boxes[:k]) for k in range(len(boxes) + 1)])
                shown = (boxes[:, 4][:, None] >= cuts).sum(axis=0)
                value = prefix[np.minimum(shown, np.asarray(max_boxes)[:, None])]
                total[n, s] += np.nan_to_num(value)
                count[n, s] += ~np.isnan(value)
    return np.divide(total, count, out=np.zeros_like(total), where=count > 0)


def smooth(values: NDArray, axis: int, width: int) -> NDArray:
    """Moving average over `width` neighbours on each side, triangular weights, renormalised at the ends."""
    if width < 1:
        return values
    kernel = np.concatenate([np.arange(1, width + 2), np.arange(width, 0, -1)]).astype(float)

    def average(line: NDArray) -> NDArray:
        return np.convolve(line, kernel, "same") / np.convolve(np.ones(len(line)), kernel, "same")

    return np.apply_along_axis(average, axis, values) if values.shape[axis] >= len(kernel) else values
