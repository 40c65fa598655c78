"""Film-level figures against scikit-learn and by hand."""

import numpy as np
import pytest

from edge_pneumo.benchmarks.metrics import auc, classification

sklearn_metrics = pytest.importorskip("sklearn.metrics")

RNG = np.random.default_rng(7)


def scores(kind, n=200):
    labels = RNG.integers(0, 2, n)
    raw = RNG.normal(size=n) + labels
    return labels, {"spread": raw, "tied": np.round(raw), "constant": np.zeros(n), "reversed": -raw}[kind]


@pytest.mark.parametrize("kind", ["spread", "tied", "constant", "reversed"])
@pytest.mark.parametrize("weighted", [False, True])
def test_auc_and_average_precision_agree_with_scikit_learn(kind, weighted):
    labels, values = scores(kind)
    weights = RNG.integers(0, 4, (3, len(labels))).astype(float) if weighted else np.ones((1, len(labels)))
    aucs = classification.weighted_auc(labels, values, weights)
    precisions = classification.weighted_average_precision(labels, values, weights)
    for row, found_auc, found_precision in zip(weights, aucs, precisions, strict=True):
        assert found_auc == pytest.approx(sklearn_metrics.roc_auc_score(labels, values, sample_weight=row))
        expected = sklearn_metrics.average_precision_score(labels, values, sample_weight=row)
        assert found_precision == pytest.approx(expected)
    if not weighted:
        assert auc(labels, values) == pytest.approx(aucs[0])


@pytest.mark.parametrize("kind", ["spread", "tied", "constant"])
def test_curves_pass_through_scikit_learns_points(kind):
    labels, values = scores(kind)
    roc = classification.roc_curve(labels, values)
    x, y, _ = sklearn_metrics.roc_curve(labels, values, drop_intermediate=False)
    assert np.allclose(roc.x, x) and np.allclose(roc.y, y)
    found = classification.precision_recall_curve(labels, values)
    precision, recall, _ = sklearn_metrics.precision_recall_curve(labels, values)
    assert np.allclose(found.y, precision[:-1][::-1]) and np.allclose(found.x, recall[:-1][::-1])


@pytest.mark.parametrize("threshold", [-9, -0.5, 0.7, 9])
def test_rates_and_class_report_agree_with_scikit_learn(threshold):
    labels, values = scores("spread")
    decisions = values >= threshold
    rates = {k: v[0] for k, v in classification.rates(labels, decisions, np.ones((1, len(labels)))).items()}
    tn, fp, fn, tp = sklearn_metrics.confusion_matrix(labels, decisions).ravel()
    assert [rates[k] for k in ("tn", "fp", "fn", "tp")] == [tn, fp, fn, tp]
    assert rates["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(labels, decisions))
    assert rates["balanced_accuracy"] == pytest.approx(sklearn_metrics.balanced_accuracy_score(labels, decisions))
    assert rates["f1"] == pytest.approx(sklearn_metrics.f1_score(labels, decisions))
    report = sklearn_metrics.classification_report(
        labels, decisions, target_names=["no-opacity", "opacity"], output_dict=True, zero_division=0
    )
    found = classification.class_report({k: int(rates[k]) for k in ("tn", "fp", "fn", "tp")})
    names = {"macro average": "macro avg", "weighted average": "weighted avg"}
    for name, row in found.items():
        expected = report[names.get(name, name)]
        assert row == pytest.approx({k.replace("-score", ""): v for k, v in expected.items()})


def test_rates_without_cases_are_unknown_not_zero():
    rates = classification.rates([0, 0], [0, 0], np.ones((1, 2)))
    assert np.isnan(rates["sensitivity"]) and np.isnan(rates["precision"]) and rates["specificity"] == 1


@pytest.mark.parametrize("labels", [[], [0, 0], [1, 1, 1]])
def test_auc_of_one_class_is_nan(labels):
    assert np.isnan(auc(labels, np.arange(len(labels))))


def test_calibration_error_by_hand():
    # bin 0.2-0.3: three films said .2, .22, .24, one of them ill: |.66 - 1| / 4 films
    # bin 0.9-1.0: one film said 1.0, ill: no error.       ECE = (|.66 - 1| + 0) / 4 = .085
    labels, probabilities = [0, 1, 0, 1], [0.2, 0.22, 0.24, 1.0]
    assert classification.weighted_calibration(labels, probabilities, np.ones((1, 4)))[0] == pytest.approx(0.085)
    rows = classification.reliability(labels, probabilities)
    assert [(row["n"], round(row["observed"], 3)) for row in rows] == [(3, 0.333), (1, 1.0)]
