"""Intervals: weighted figures against figures of films really drawn again, clusters, and differences of two models."""

import numpy as np
import pytest
from metrics_cases import clinic, film, finding

from edge_pneumo.benchmarks.metrics import bootstrap, evaluate, figures, paired_difference
from edge_pneumo.benchmarks.metrics.cases import pair
from edge_pneumo.errors import FilmRefused, UsageFault


def test_a_weight_is_a_film_drawn_again():
    """Every figure of a resample equals the figure of a data set with the drawn films copied."""
    films, findings = clinic(60, 1)
    cases = pair(films, findings)
    weights = next(bootstrap.patient_weights(cases.group, 5, seed=3))
    weighted = figures.film_measure(cases, weights) | figures.box_measure(cases)(cases, weights)
    for row, times in enumerate(weights.astype(int)):
        drawn = np.repeat(np.arange(len(films)), times)
        copy = pair([films[k] for k in drawn], [findings[k] for k in drawn])
        ones = np.ones((1, len(copy)))
        expected = figures.film_measure(copy, ones) | figures.box_measure(copy)(copy, ones)
        for name, values in expected.items():
            assert weighted[name][row] == pytest.approx(values[0], nan_ok=True), name


def test_films_of_one_patient_are_drawn_together():
    group = np.array([0, 0, 0, 1, 2, 2])
    rows = np.concatenate(list(bootstrap.patient_weights(group, 200, seed=0)))
    assert (rows[:, 0] == rows[:, 1]).all() and (rows[:, 1] == rows[:, 2]).all() and (rows[:, 4] == rows[:, 5]).all()
    patients = rows[:, [0, 3, 4]]
    assert (patients.sum(axis=1) == 3).all()  # as many patients as there are, in every draw
    assert patients.mean() == pytest.approx(1, abs=1e-9)


def test_more_films_of_the_same_patients_do_not_narrow_the_interval():
    """Copies of films bring no news; a bootstrap over films would think that they do."""
    films, findings = clinic(80, 2, films_a_patient=1)
    once = evaluate(films, findings, bootstrap=400)["auc"]
    many = evaluate(films * 5, findings * 5, bootstrap=400)["auc"]
    assert many["high"] - many["low"] == pytest.approx(once["high"] - once["low"], rel=1e-6)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    # binormal scores one standard deviation apart: AUC = Phi(1 / sqrt 2) = .7602
    truth, hits, trials = 0.7602, 0, 120
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        labels = np.arange(100) % 2
        scores = 1 / (1 + np.exp(-(rng.normal(size=100) + labels)))
        films = [film(str(k), int(label)) for k, label in enumerate(labels)]
        cases = pair(films, [finding(p) for p in scores])
        samples = bootstrap.resample(cases, figures.film_measure, 200, seed)
        found = bootstrap.interval(samples["auc"])
        hits += found["low"] <= truth <= found["high"]
    assert 0.88 <= hits / trials <= 1.0


@pytest.mark.parametrize(
    ("samples", "cases", "expected"),
    [
        # .025 ** (1 / 10) = .6915: ten of ten hits do not prove certainty
        (np.ones(50), 10, {"value": 1.0, "low": 0.6915, "high": 1.0}),
        (np.zeros(50), 10, {"value": 0.0, "low": 0.0, "high": 0.3085}),
        (np.ones(50), None, {"value": 1.0, "low": 1.0, "high": 1.0}),
        (np.array([0.5]), 10, {"value": 0.5, "low": None, "high": None}),
        (np.array([np.nan, 0.5, 0.5]), 10, {"value": None, "low": None, "high": None}),
        (np.array([0.5, np.nan, np.nan, 0.5]), 10, {"value": 0.5, "low": None, "high": None}),
    ],
)
def test_interval_of_degenerate_samples(samples, cases, expected):
    assert bootstrap.interval(samples, cases) == pytest.approx(expected, abs=1e-4)


def test_large_sets_are_drawn_in_blocks_with_the_same_result(monkeypatch):
    cases = pair(*clinic(40, 3))
    whole = np.concatenate(list(bootstrap.patient_weights(cases.group, 30, seed=1)))
    monkeypatch.setattr(bootstrap, "CELLS", 40 * 7)
    blocks = list(bootstrap.patient_weights(cases.group, 30, seed=1))
    assert [len(block) for block in blocks] == [7, 7, 7, 7, 2]
    assert np.array_equal(np.concatenate(blocks), whole)


def test_paired_difference_is_narrower_than_its_parts():
    films, a = clinic(120, 4)
    rng = np.random.default_rng(0)
    b = [finding(min(max(f.probability + rng.normal() * 0.02, 0), 1), [], f.threshold) for f in a]
    found = paired_difference(films, a, b, ("auc", "rsna_score"), bootstrap=300)
    separate = evaluate(films, a, bootstrap=300)["auc"]
    difference = found["auc"]["difference"]
    assert difference["value"] == pytest.approx(found["auc"]["b"] - found["auc"]["a"])
    assert difference["high"] - difference["low"] < 0.3 * (separate["high"] - separate["low"])
    assert found["rsna_score"]["difference"]["high"] < 0  # b shows no boxes


def test_paired_difference_uses_films_that_both_answered():
    films, a = clinic(30, 5)
    b = list(a)
    b[3] = FilmRefused("truncated", "cut")
    found = paired_difference(films, a, b, ("auc",), bootstrap=20)["auc"]
    assert found["n"] == 29 and found["difference"]["value"] == 0


def test_paired_difference_names_unknown_metrics():
    films, a = clinic(10, 6)
    with pytest.raises(UsageFault, match=r"unknown metric auk; choose from auc"):
        paired_difference(films, a, a, ("auk",))
    with pytest.raises(UsageFault, match=r"10 films, but 10 and 9 findings"):
        paired_difference(films, a, a[:9], ("auc",))
