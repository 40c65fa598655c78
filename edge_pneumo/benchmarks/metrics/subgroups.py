"""Figures by sex, age band and view position, and a warning where a subgroup falls behind the rest.

A subgroup is compared with all other films, on the same resamples. It is warned of when the gap is both too large for
chance (one-sided, Holm's correction over all comparisons: Holm, "A simple sequentially rejective multiple test
procedure", 1979) and large enough to matter. Small subgroups are shown but not judged: silence about them is not a
clean bill, so they say so.
"""

from __future__ import annotations

from collections.abc import Callable
from math import erfc, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.benchmarks.metrics import classification, figures
from edge_pneumo.benchmarks.metrics.bootstrap import Measure, interval
from edge_pneumo.benchmarks.metrics.cases import Cases, LabelledFilm

AGE_BANDS = ((0, 18), (18, 40), (40, 60), (60, 80), (80, 120))
"""Years, upper end excluded; outside 0..120 the age cannot be and counts as unknown."""

LEAST_FILMS = 8
"""Films with and without an opacity that a subgroup, and the rest, need to be judged."""

LEAST_GAP = 0.03
"""Gap in AUC or sensitivity below which a difference does not matter, however certain."""

SIGNIFICANCE = 0.05
COMPARED = ("auc", "sensitivity")
FIGURES = ("auc", "sensitivity", "specificity")


def age_band(age_years: float | None) -> str:
    """`40-59` and so on, or `unknown`."""
    for low, high in AGE_BANDS:
        if age_years is not None and low <= age_years < high:
            return f"{low}-{high - 1}" if high < 120 else f"{low}+"
    return "unknown"


def _word(value: str | None) -> str:
    return value.strip().upper() if value and value.strip() else "unknown"


ATTRIBUTES: dict[str, Callable[[LabelledFilm], str]] = {
    "sex": lambda film: _word(film.sex),
    "age_band": lambda film: age_band(film.age_years),
    "view": lambda film: _word(film.view),
}


def members(cases: Cases) -> dict[tuple[str, str], NDArray[np.bool_]]:
    """(attribute, value) -> (n,) which films are in that subgroup; values in order."""
    found = {}
    for attribute, read in ATTRIBUTES.items():
        values = np.array([read(film) for film in cases.films], dtype=object)
        found |= {(attribute, value): values == value for value in sorted(set(values), key=_rank)}
    return found


def _rank(value: str) -> tuple[bool, int, str]:
    """Age bands by age, words by alphabet, `unknown` last."""
    first = value.rstrip("+").split("-")[0]
    return value == "unknown", int(first) if first.isdigit() else 0, value


def subgroup_measure(groups: dict[tuple[str, str], NDArray[np.bool_]]) -> Measure:
    """`ATTRIBUTE/VALUE/figure` of each subgroup, and `…/rest/figure` of all other films."""

    def of(cases: Cases, mask: NDArray[np.bool_], weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        labels, probabilities, weights = cases.labels[mask], cases.probabilities[mask], weights[:, mask]
        rates = classification.rates(labels, probabilities >= cases.threshold, weights)
        auc = classification.weighted_auc(labels, probabilities, weights)
        return {"auc": auc, "sensitivity": rates["sensitivity"], "specificity": rates["specificity"]}

    def measure(cases: Cases, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        rows: dict[str, NDArray[np.float64]] = {}
        for (attribute, value), mask in groups.items():
            rows |= {f"{attribute}/{value}/{k}": v for k, v in of(cases, mask, weights).items()}
            rows |= {f"{attribute}/{value}/rest/{k}": v for k, v in of(cases, ~mask, weights).items()}
        return rows

    return measure


def summarise(
    cases: Cases, groups: dict[tuple[str, str], NDArray[np.bool_]], samples: dict[str, NDArray[np.float64]]
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The `subgroups` object of the evaluator's JSON, and warnings for subgroups that fall behind."""
    table: dict[str, dict[str, Any]] = {attribute: {} for attribute in ATTRIBUTES}
    tests: list[tuple[float, float, str, str, str]] = []  # p, gap, attribute, value, figure
    for (attribute, value), mask in groups.items():
        key = f"{attribute}/{value}"
        positives, rest = int(cases.labels[mask].sum()), int(cases.labels[~mask].sum())
        counts = (positives, int(mask.sum()) - positives, rest, int((~mask).sum()) - rest)
        judged = min(counts) >= LEAST_FILMS and value != "unknown" and len(samples[f"{key}/auc"]) > 1
        row: dict[str, Any] = {"n": int(mask.sum()), "positives": positives}
        support = figures.support(cases.subset(mask))
        row |= {figure: interval(samples[f"{key}/{figure}"], support[figure]) for figure in FIGURES}
        table[attribute][value] = row | {"judged": judged, "warning": None}
        if judged:
            for figure in COMPARED:
                gaps = samples[f"{key}/{figure}"] - samples[f"{key}/rest/{figure}"]
                p, gap = _behind(gaps, _spread_if_equal(figure, samples[figure][0], counts))
                tests.append((p, gap, attribute, value, figure))
    warnings = []
    for rank, (p, gap, attribute, value, figure) in enumerate(sorted(tests)):
        if p > SIGNIFICANCE / (len(tests) - rank):
            break
        if gap > -LEAST_GAP:
            continue
        here, rest = (samples[f"{attribute}/{value}{part}/{figure}"][0] for part in ("", "/rest"))
        text = f"{attribute} {value}: {_NAMES[figure]} {here:.2f} against {rest:.2f} on the other films"
        row = table[attribute][value]
        row["warning"] = f"{row['warning']}; {text}" if row["warning"] else text
        warnings.append(f"A subgroup falls behind: {text} ({-gap:.2f} lower, p = {p:.1g}).")
    return table, warnings


_NAMES = {"auc": "AUC", "sensitivity": "sensitivity"}


def _behind(differences: NDArray[np.float64], least_spread: float) -> tuple[float, float]:
    """One-sided p that the subgroup is no worse, and the gap; normal approximation.

    The spread is the bootstrap's, but no less than that of two equally good groups of these sizes: the bootstrap of a
    few films that happen to agree is too sure of itself.
    """
    gap, resampled = float(differences[0]), differences[1:]
    resampled = resampled[~np.isnan(resampled)]
    if len(resampled) < 2 or np.isnan(gap):
        return 1.0, gap
    spread = max(float(resampled.std(ddof=1)), least_spread, 1e-9)
    return 0.5 * erfc(-gap / spread / sqrt(2)), gap


def _spread_if_equal(figure: str, value: float, counts: tuple[int, int, int, int]) -> float:
    """Standard error of the gap between two groups that are both as good as all films together.

    Parameters
    ----------
    value : the figure on all films.
    counts : films with and without an opacity in the subgroup, then in the rest.
    """
    if figure == "sensitivity":
        return sqrt(value * (1 - value) * (1 / counts[0] + 1 / counts[2]))
    return sqrt(sum(_auc_variance(value, *pair) for pair in (counts[:2], counts[2:])))


def _auc_variance(auc: float, positives: int, negatives: int) -> float:
    """Variance of an AUC (Hanley and McNeil, Radiology 143:29, 1982, equation 2)."""
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (positives - 1) * (q1 - auc**2) + (negatives - 1) * (q2 - auc**2)
    return spread / (positives * negatives)
