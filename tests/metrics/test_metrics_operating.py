"""Calibration, operating points and box settings: against scikit-learn, by hand, and on films drawn afterwards."""

from dataclasses import replace

import numpy as np
import pytest

from edge_pneumo.benchmarks.metrics import auc, rsna_score
from edge_pneumo.benchmarks.metrics.candidates import candidate_spec, shown
from edge_pneumo.benchmarks.operating import (
    Platt,
    box_scores,
    choose_box_threshold,
    choose_operating_points,
    fit_operating,
    recalibrate,
    tolerance_rank,
)
from edge_pneumo.edge_runtime.decode import DecodeSpec, RawOutputs, decode
from edge_pneumo.edge_runtime.preprocess import Geometry
from edge_pneumo.errors import DataError


def outputs(n, seed=0, prevalence=0.4):
    """Two noisy outputs that both know the label, on scales of their own."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < prevalence).astype(int)
    shared = 0.5 * rng.normal(size=n)
    image = 3 * (shared + 0.8 * labels + rng.normal(size=n)) - 2
    heat = 0.5 * (shared + 1.2 * labels + rng.normal(size=n)) - 3
    return image, heat, labels


def test_with_many_films_the_fit_is_logistic_regression():
    linear_model = pytest.importorskip("sklearn.linear_model")
    image, heat, labels = outputs(6000)
    found = fit_operating(image, heat, labels)
    expected = linear_model.LogisticRegression(C=1e6).fit(np.column_stack([image, heat]), labels)
    assert [found.image_weight, found.heat_weight] == pytest.approx(expected.coef_[0], rel=0.03, abs=0.01)
    assert found.bias == pytest.approx(expected.intercept_[0], rel=0.03)


def test_weights_are_never_negative():
    image, heat, labels = outputs(110)
    turned = fit_operating(image, -heat, labels)
    assert turned.heat_weight == 0 and turned.image_weight > 0
    useless = fit_operating(-image, -heat, labels)
    assert useless.probability(image, heat) == pytest.approx(labels.mean())  # says the prevalence, ranks nothing


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_separable_and_badly_scaled_outputs_stay_finite(scale):
    labels = np.arange(40) % 2
    found = fit_operating(scale * (labels - 0.5), labels * 2.0, labels)
    probability = found.probability(scale * (labels - 0.5), labels * 2.0)
    assert np.isfinite([found.image_weight, found.heat_weight, found.bias]).all()
    # Platt's targets: (20 + 1) / (20 + 2) and 1 / (20 + 2)
    assert probability[labels == 1] == pytest.approx(21 / 22, abs=0.01)
    assert probability[labels == 0] == pytest.approx(1 / 22, abs=0.01)


def test_a_constant_output_gets_no_say():
    _, heat, labels = outputs(110)
    assert fit_operating(np.zeros(110), heat, labels).image_weight == 0


def test_a_hundred_films_serve_the_next_thousand():
    for seed in range(5):
        image, heat, labels = outputs(110, seed)
        platt = fit_operating(image, heat, labels, [str(k // 2) for k in range(110)])
        image, heat, labels = outputs(4000, seed + 100)
        probability = platt.probability(image, heat)
        assert auc(labels, probability) > max(auc(labels, image), auc(labels, heat)) - 0.02
        assert abs(probability.mean() - labels.mean()) < 0.1


def test_prevalence_moves_the_mean_probability():
    image, heat, labels = outputs(4000, prevalence=0.4)
    rare = fit_operating(image, heat, labels, prevalence=0.1)
    image, heat, labels = outputs(4000, 1, prevalence=0.1)
    assert rare.probability(image, heat).mean() == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1]])
def test_one_class_cannot_be_calibrated(labels):
    with pytest.raises(DataError, match=r"calibration needs films with and without an opacity: found [03] with"):
        fit_operating([1, 2, 3], [1, 2, 3], labels)
    with pytest.raises(DataError, match="operating points needs films with and without"):
        choose_operating_points(labels, [0.1, 0.2, 0.3])


def test_outputs_that_are_not_finite_are_named():
    with pytest.raises(DataError, match="not finite"):
        fit_operating([1, float("nan")], [1, 2], [0, 1])


@pytest.mark.parametrize(
    ("n", "target", "confidence", "rank"),
    [
        # P(Binomial(10, .1) >= 1) = 1 - .9 ** 10 = .651: not even the lowest of ten is sure enough
        (10, 0.9, 0.75, 0),
        (10, 0.9, 0.65, 1),
        # P(Binomial(40, .1) >= 3) = 1 - .0148 - .0657 - .1423 = .777, >= 4: .577
        (40, 0.9, 0.75, 3),
        (0, 0.9, 0.75, 0),
    ],
)
def test_tolerance_rank_by_hand(n, target, confidence, rank):
    assert tolerance_rank(n, target, confidence) == rank


def test_tolerance_rank_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    for n in (25, 300, 6012):
        rank = tolerance_rank(n, 0.9, 0.75)
        assert stats.binom.sf(rank - 1, n, 0.1) >= 0.75 > stats.binom.sf(rank, n, 0.1)


def test_operating_points_hold_on_films_drawn_afterwards():
    """The promise is a share of samples: sensitivity and specificity of at least .90 in three of four."""
    rng = np.random.default_rng(0)
    kept = {"screening": 0, "specific": 0}
    for _ in range(200):
        labels = np.arange(110) < 44
        scores = 1 / (1 + np.exp(-(rng.normal(size=110) + 1.3 * labels)))
        points = choose_operating_points(labels, scores)
        later = [1 / (1 + np.exp(-(rng.normal(size=4000) + 1.3 * ill))) for ill in (1, 0)]
        kept["screening"] += (later[0] >= points["screening"]).mean() >= 0.9
        kept["specific"] += (later[1] < points["specific"]).mean() >= 0.9
        assert points["screening"] <= points["balanced"] <= points["specific"]
    assert all(0.7 <= count / 200 <= 0.95 for count in kept.values())


def test_balanced_is_near_the_best_youden_index():
    # two normals 1.5 apart: the best cut is half-way
    rng = np.random.default_rng(1)
    labels = np.arange(4000) % 2
    scores = rng.normal(size=4000) + 1.5 * labels
    probability = 1 / (1 + np.exp(-scores))
    assert choose_operating_points(labels, probability)["balanced"] == pytest.approx(1 / (1 + np.exp(-0.75)), abs=0.04)


def test_clean_separation_leaves_all_points_between_the_classes():
    points = choose_operating_points([0] * 30 + [1] * 30, [0.2] * 30 + [0.8] * 30)
    assert set(points.values()) == {0.5}


def test_recalibration_corrects_a_shifted_film_and_trusts_few_films_little():
    image, heat, labels = outputs(3000)
    truth = fit_operating(image, heat, labels)
    shifted = replace(truth.apply(DecodeSpec()), bias=truth.bias + 1.5)
    found = recalibrate(shifted, image, heat, labels)
    assert found.bias == pytest.approx(truth.bias, abs=0.1)
    assert found.image_weight / found.heat_weight == pytest.approx(truth.image_weight / truth.heat_weight)
    few = recalibrate(shifted, image[:12], heat[:12], labels[:12])
    assert 0.5 < few.heat_weight / truth.heat_weight < 1.5


def test_recalibration_refuses_labels_that_are_upside_down():
    image, heat, labels = outputs(300)
    spec = fit_operating(image, heat, labels).apply(DecodeSpec())
    with pytest.raises(DataError, match="no better than chance"):
        recalibrate(spec, image, heat, 1 - labels)


SIZE = 256
GEOMETRY = Geometry(0.25, 0.25, 0, 0, 1024, 1024)


def network(n=30, seed=0, heat=1.5):
    """Raw outputs of films with one opacity each in half of them, found with a box 20 % too large."""
    rng = np.random.default_rng(seed)
    raw, true = [], []
    for k in range(n):
        grid = rng.normal(-4, 0.5, (16, 16)).astype(np.float32)
        ltrb = np.zeros((16, 16, 4), np.float32)
        ltrb[:] = np.log(1.2 * 50 / 16)
        boxes = []
        if k % 2:
            row, column = rng.integers(4, 12, 2)
            grid[row, column] = heat
            x, y = (column + 0.5) * 16, (row + 0.5) * 16
            boxes = [tuple(4 * v for v in (x - 50, y - 50, x + 50, y + 50))]
        raw.append(RawOutputs(2.0 if k % 2 else -2.0, grid, ltrb))
        true.append(boxes)
    return raw, [GEOMETRY] * n, true


def test_box_scores_are_those_of_decode():
    raw, geometries, true = network()
    spec = Platt(1.0, 0.0, 0.0).apply(DecodeSpec())
    grid = ((0.02, 0.3, 0.9), (0.05, 0.3), (1, 3), (0.8, 1.0))
    found = box_scores(raw, geometries, true, spec, *grid)
    for t, threshold in enumerate(grid[0]):
        for n, overlap in enumerate(grid[1]):
            for m, most in enumerate(grid[2]):
                for s, scale in enumerate(grid[3]):
                    here = replace(spec, box_threshold=threshold, nms_iou=overlap, max_boxes=most, box_scale=scale)
                    boxes = [
                        [(b.x1, b.y1, b.x2, b.y2, b.score) for b in decode(r, here, g).boxes]
                        for r, g in zip(raw, geometries, strict=True)
                    ]
                    assert found[n, s, m, t] == pytest.approx(rsna_score(true, boxes)), (
                        threshold,
                        overlap,
                        most,
                        scale,
                    )


def test_box_settings_find_the_opacities_and_nothing_else():
    raw, geometries, true = network()
    spec = choose_box_threshold(raw, geometries, true, Platt(1.0, 0.0, 0.0).apply(DecodeSpec()))
    boxes = [
        [(b.x1, b.y1, b.x2, b.y2, b.score) for b in decode(r, spec, g).boxes]
        for r, g in zip(raw, geometries, strict=True)
    ]
    assert spec.box_scale < 1  # boxes were 20 % too large
    assert rsna_score(true, boxes) > 0.9


def test_box_settings_stay_where_nothing_is_found():
    raw, geometries, _ = network(heat=-4)
    true = [[(0.0, 0.0, 5.0, 5.0)] for _ in raw]
    spec = DecodeSpec()
    assert choose_box_threshold(raw, geometries, true, spec) == spec


def test_box_settings_need_boxes():
    raw, geometries, true = network()
    with pytest.raises(DataError, match="none of these films has one"):
        choose_box_threshold(raw, geometries, [[] for _ in true], DecodeSpec())


def test_candidates_hold_exactly_what_is_shown():
    raw, geometries, _ = network(heat=0.5)
    for most, threshold in ((1, 0.05), (4, 0.02), (3, 0.3)):
        spec = replace(DecodeSpec(image_weight=1.0, heat_weight=0.0), max_boxes=most, box_threshold=threshold)
        for outputs, where in zip(raw, geometries, strict=True):
            wide = decode(outputs, candidate_spec(spec), where)
            assert shown(wide, spec) == decode(outputs, spec, where)
            assert len(wide.boxes) >= len(shown(wide, spec).boxes)
