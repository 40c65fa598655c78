"""The gate: what the converted file answers, beside what the float model answers on the same films.

With labelled films the question is accuracy (AUC, RSNA score); without, it is how far the answers moved. The interval
of a drop is a paired bootstrap over patients: each draw judges both models on the same films, so that what is hard for
both does not hide a difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.benchmarks.metrics.classification import weighted_auc
from edge_pneumo.benchmarks.metrics.detection import rsna_film_scores
from edge_pneumo.edge_runtime.decode import DecodeSpec, RawOutputs, decode
from edge_pneumo.edge_runtime.preprocess import Geometry
from edge_pneumo.errors import UsageFault

OUTPUTS = ("image_logit", "heat", "ltrb")


@dataclass(frozen=True)
class Limits:
    """How much a conversion may lose.

    Attributes
    ----------
    auc, rsna_score : largest drop, converted against float, on labelled films.
    probability : largest mean change of a film's probability where there are no labelled films.
    """

    auc: float = 0.005
    rsna_score: float = 0.01
    probability: float = 0.02

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not np.isfinite(value):
                raise UsageFault(f"the largest loss of {name} is {value}; expected a finite number")


@dataclass(frozen=True)
class Proof:
    """The films a conversion is judged on: pictures (n, s, s, 1) uint8, their geometry, and the films themselves."""

    images: NDArray[np.uint8]
    geometry: Sequence[Geometry]
    films: Sequence[Any]
    labelled: bool


def run_gate(
    reference: Sequence[RawOutputs],
    converted: Sequence[RawOutputs],
    proof: Proof,
    spec: DecodeSpec,
    limits: Limits = Limits(),
    *,
    bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Judge converted answers against the float model's on the same films.

    Returns
    -------
    `kind` ("accuracy" or "parity"), `passed`, `films`, `reason`; for accuracy `auc`, `rsna_score` and `sensitivity`,
    each with `float`, `converted`, `drop`, `allowed` (null: reported, not judged) and `drop_low`, `drop_high` (95 %);
    for parity `probability` with `mean`, `largest` and `allowed`.
    """
    before = [decode(raw, spec, where) for raw, where in zip(reference, proof.geometry, strict=True)]
    after = [decode(raw, spec, where) for raw, where in zip(converted, proof.geometry, strict=True)]
    p_before, p_after = (np.array([f.probability for f in found]) for found in (before, after))
    moved = np.abs(p_after - p_before)
    result: dict[str, Any] = {"kind": "accuracy" if proof.labelled else "parity", "films": len(before)}
    change = {"mean": float(moved.mean()), "largest": float(moved.max())}
    if not proof.labelled:
        passed = change["mean"] <= limits.probability
        reason = "no labelled films: judged by how far the answers moved, not by accuracy"
        if not passed:
            reason += f"; mean change of probability {change['mean']:.4f}, allowed {limits.probability:g}"
        return {**result, "passed": passed, "reason": reason, "probability": {**change, "allowed": limits.probability}}

    labels = np.array([film.label for film in proof.films])
    true = [film.boxes_xyxy for film in proof.films]
    weights = resampled([film.group or film.film_id for film in proof.films], bootstrap, seed)
    scores = [
        rsna_film_scores(true, [[(b.x1, b.y1, b.x2, b.y2, b.score) for b in f.boxes] for f in found])
        for found in (before, after)
    ]
    threshold = spec.operating_points[spec.default_operating_point]
    hits = [(p >= threshold).astype(float) for p in (p_before, p_after)]
    positive = np.where(labels == 1, 1.0, np.nan)
    score_before, score_after = (_weighted_mean(film_scores, weights) for film_scores in scores)
    found_before, found_after = (_weighted_mean(decided * positive, weights) for decided in hits)
    figures = {
        "auc": _pair(weighted_auc(labels, p_before, weights), weighted_auc(labels, p_after, weights), limits.auc),
        "rsna_score": _pair(score_before, score_after, limits.rsna_score),
        "sensitivity": _pair(found_before, found_after, None),
    }
    failed = [name for name, f in figures.items() if f["allowed"] is not None and not _within(f)]
    said = "; ".join(
        f"{name} fell by {figures[name]['drop']:.4f}, allowed {figures[name]['allowed']:g}" for name in failed
    )
    return {
        **result,
        "passed": not failed,
        "reason": said or "every drop is within what is allowed",
        "positives": int(labels.sum()),
        "operating_point": spec.default_operating_point,
        "probability": change,
        **figures,
    }


def resampled(groups: Sequence[str], draws: int, seed: int) -> NDArray[np.float64]:
    """Weights (1 + draws, n): a row of ones, then bootstrap draws of whole groups."""
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    return np.concatenate([np.ones((1, len(member))), counts[:, member].astype(np.float64)])


def largest_differences(reference: Sequence[RawOutputs], converted: Sequence[RawOutputs]) -> dict[str, float]:
    """Largest absolute difference of each output over the films, in real units."""
    pairs = list(zip(reference, converted, strict=True))
    return {name: max(float(np.abs(np.subtract(*_both(pair, name))).max()) for pair in pairs) for name in OUTPUTS}


def signal_to_noise_db(reference: Sequence[RawOutputs], converted: Sequence[RawOutputs]) -> dict[str, float]:
    """Power of each output's variation over the power of its error, in dB; 99 at most."""
    pairs = list(zip(reference, converted, strict=True))
    found = {}
    for name in OUTPUTS:
        before = np.concatenate([np.ravel(_both(pair, name)[0]) for pair in pairs]).astype(np.float64)
        after = np.concatenate([np.ravel(_both(pair, name)[1]) for pair in pairs]).astype(np.float64)
        found[name] = decibel(before.var(), float(np.mean(np.square(after - before))))
    return found


def decibel(signal: float, noise: float) -> float:
    """10 log10(signal / noise), held within -99..99."""
    return float(np.clip(10 * np.log10(max(signal, 1e-30) / max(noise, 1e-30)), -99, 99))


def _both(pair: tuple[RawOutputs, RawOutputs], name: str) -> tuple[Any, Any]:
    return getattr(pair[0], name), getattr(pair[1], name)


def _pair(before: NDArray[np.float64], after: NDArray[np.float64], allowed: float | None) -> dict[str, Any]:
    """A figure of both models (first row: all films; other rows: bootstrap draws), its drop and the drop's interval."""
    drops = before - after
    known = drops[1:][~np.isnan(drops[1:])]
    low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (np.nan, np.nan)
    values = {"float": before[0], "converted": after[0], "drop": drops[0], "drop_low": low, "drop_high": high}
    return {**{key: _number(value) for key, value in values.items()}, "allowed": allowed}


def _within(figure: dict[str, Any]) -> bool:
    return figure["drop"] is None or figure["drop"] <= figure["allowed"] + 1e-12


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _weighted_mean(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the films that have a value, for each row of weights; NaN where none has."""
    known = ~np.isnan(values)
    total = weights[:, known].sum(1)
    return np.divide(weights[:, known] @ values[known], total, out=np.full(len(weights), np.nan), where=total > 0)
