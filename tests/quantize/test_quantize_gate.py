"""The gate's arithmetic, the choice of calibration films, the card and the page: no TensorFlow."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from edge_pneumo.edge_runtime.decode import DecodeSpec, RawOutputs
from edge_pneumo.edge_runtime.preprocess import Geometry
from edge_pneumo.errors import DataError, UsageFault
from edge_pneumo.quantize.calibration import choose_calibration, composition, film_hash
from edge_pneumo.quantize.card import model_card
from edge_pneumo.quantize.gate import (
    Limits,
    Proof,
    decibel,
    largest_differences,
    resampled,
    run_gate,
    signal_to_noise_db,
)
from edge_pneumo.quantize.ranges import Observed, _least_error, _minmax, _percentile
from edge_pneumo.quantize.report import explanation_page, write_explanation

DECODE = DecodeSpec(image_weight=1.0, heat_weight=0.0, box_threshold=0.3)
SQUARE = Geometry(1.0, 1.0, 0, 0, 64, 64)


def film(index, label, view="AP", boxes=()):
    return SimpleNamespace(film_id=f"f{index:03d}", label=label, view=view, boxes_xyxy=boxes, group=f"g{index // 2}")


def raw(logit, heat=-9.0):
    """An answer with one hot cell at row 1, column 1, whose box is 8..40 in both axes."""
    grid = np.full((4, 4), -9.0, np.float32)
    grid[1, 1] = heat
    return RawOutputs(logit, grid, np.zeros((4, 4, 4), np.float32))


def proof_of(labels, boxes=None, labelled=True):
    boxes = boxes or [((8.0, 8.0, 40.0, 40.0),) if label else () for label in labels]
    films = [film(i, label, boxes=b) for i, (label, b) in enumerate(zip(labels, boxes, strict=True))]
    return Proof(np.zeros((len(films), 64, 64, 1), np.uint8), [SQUARE] * len(films), films, labelled)


LABELS = [0, 1] * 10
GOOD = [raw(3.0 if label else -3.0, 5.0 if label else -9.0) for label in LABELS]


def test_equal_answers_pass_with_no_drop_and_no_width():
    gate = run_gate(GOOD, GOOD, proof_of(LABELS), DECODE, bootstrap=50)
    assert gate["passed"] and gate["kind"] == "accuracy" and gate["films"] == 20 and gate["positives"] == 10
    for name in ("auc", "rsna_score", "sensitivity"):
        figure = gate[name]
        assert figure["drop"] == figure["drop_low"] == figure["drop_high"] == 0
    assert gate["auc"]["float"] == 1.0 and gate["sensitivity"]["float"] == 1.0
    assert gate["sensitivity"]["allowed"] is None


@pytest.mark.parametrize(
    ("index", "answer", "reason"),
    [
        (1, raw(-4.0, 5.0), "auc fell by 0.1000, allowed 0.005"),
        (1, raw(3.0, -9.0), "rsna_score fell by"),
    ],
)
def test_one_film_of_twenty_is_too_much(index, answer, reason):
    worse = [*GOOD]
    worse[index] = answer
    gate = run_gate(GOOD, worse, proof_of(LABELS), DECODE, bootstrap=50)
    assert not gate["passed"] and reason in gate["reason"]
    wide = run_gate(GOOD, worse, proof_of(LABELS), DECODE, Limits(0.2, 0.2), bootstrap=50)
    assert wide["passed"] and wide["auc"]["allowed"] == 0.2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_limit_is_a_finite_number(value):
    with pytest.raises(UsageFault, match="expected a finite number"):
        Limits(auc=value)


def test_getting_better_is_no_failure():
    worse = [raw(0.0, -9.0) for _ in GOOD]
    gate = run_gate(worse, GOOD, proof_of(LABELS), DECODE, bootstrap=20)
    assert gate["passed"] and gate["auc"]["drop"] < 0 and gate["rsna_score"]["drop"] < 0


def test_without_labels_the_question_is_how_far_answers_moved():
    shifted = [RawOutputs(a.image_logit + 0.5, a.heat, a.ltrb) for a in GOOD]
    gate = run_gate(GOOD, shifted, proof_of(LABELS, labelled=False), DECODE)
    assert not gate["passed"] and gate["kind"] == "parity" and "auc" not in gate
    expected = np.mean([abs(1 / (1 + np.exp(-a.image_logit - 0.5)) - 1 / (1 + np.exp(-a.image_logit))) for a in GOOD])
    assert gate["probability"]["mean"] == pytest.approx(expected)
    assert run_gate(GOOD, GOOD, proof_of(LABELS, labelled=False), DECODE)["passed"]


def test_no_box_anywhere_leaves_the_score_unknown_and_unjudged():
    quiet = [raw(a.image_logit) for a in GOOD]
    gate = run_gate(quiet, quiet, proof_of(LABELS, boxes=[()] * 20), DECODE, bootstrap=10)
    assert gate["passed"] and gate["rsna_score"]["drop"] is None
    json.dumps(gate, allow_nan=False)


def test_draws_take_whole_patients():
    weights = resampled(["a", "a", "b", "c"], 200, 0)
    assert weights.shape == (201, 4) and (weights[0] == 1).all()
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[1:, [0, 2, 3]].sum(1) == 3).all()


def test_differences_and_noise():
    near = [RawOutputs(a.image_logit + 0.25, a.heat, a.ltrb + 1) for a in GOOD]
    assert largest_differences(GOOD, near) == {"image_logit": 0.25, "heat": 0.0, "ltrb": 1.0}
    noise = signal_to_noise_db(GOOD, near)
    assert noise["heat"] == 99 and noise["image_logit"] == pytest.approx(10 * np.log10(9 / 0.0625))
    assert decibel(0.0, 1.0) == -99


def test_calibration_films_are_balanced_and_drawn_by_seed():
    films = [film(i, int(i < 60), "AP" if i % 3 else "PA") for i in range(300)]
    chosen = choose_calibration(films, 80, seed=3)
    assert len(chosen) == 80
    counts = composition(chosen)
    assert counts == {"no-opacity/AP": 20, "no-opacity/PA": 20, "opacity/AP": 20, "opacity/PA": 20}
    assert film_hash(chosen) == film_hash(choose_calibration(films[::-1], 80, seed=3))
    assert film_hash(chosen) != film_hash(choose_calibration(films, 80, seed=4))


def test_a_rare_kind_of_film_is_taken_whole():
    films = [film(i, int(i < 3), "AP" if i < 290 else None) for i in range(300)]
    chosen = choose_calibration(films, 60)
    assert composition(chosen)["opacity/AP"] == 3 and composition(chosen)["no-opacity/unknown"] == 10
    assert len(choose_calibration(films[:20], 60)) == 20


def test_too_few_calibration_films_are_refused():
    with pytest.raises(DataError, match="at least 8 films, found 3"):
        choose_calibration([film(i, 0) for i in range(3)], 120)


def test_calibration_methods_differ_on_an_outlier():
    values = np.random.default_rng(0).normal(size=50_000).astype(np.float32)
    tensor = Observed(-60.0, 60.0, np.append(values, [60.0, -60.0]).astype(np.float32))
    assert _minmax(tensor) == (-60.0, 60.0)
    low, high = _percentile(tensor)
    assert -6 < low < -3 and 3 < high < 6
    low, high = _least_error(tensor)
    assert -60 < low < -6 and 6 < high < 60  # 30 % of minmax is as far as it looks


METADATA = {
    "name": "m", "version": "1", "precision": "int8", "interim": True, "intended_use": "Not a medical device.",
    "licence": "non-commercial", "input": {"size_px": 256}, "operating_points": {"balanced": 0.4},
    "default_operating_point": "balanced", "training_data": {"train": 383, "acknowledgement": "NIH"},
    "metrics": {
        "n": 110, "positives": 44, "auc": {"value": 0.81, "low": 0.72, "high": 0.89},
        "rsna_score": {"value": None, "low": None, "high": None},
        "of": "int8",
        "subgroups": {"sex": {"F": {
            "n": 50, "auc": {"value": 0.8}, "sensitivity": {"value": 0.5, "low": 0.3, "high": 0.7}, "judged": False,
            "warning": "sex F: sensitivity 0.50 against 0.90 on the other films",
        }}},
        "operating_points": {"screening": {
            "threshold": 0.17, "sensitivity": {"value": 0.9, "low": 0.8, "high": 1.0}, "specificity": {"value": 0.4},
        }},
        "reliability": [
            {"low": 0.0, "high": 0.1, "n": 12, "mean_probability": 0.06, "observed": 0.25},
            {"low": 0.1, "high": 0.2, "n": 0, "mean_probability": None, "observed": None},
        ],
        "by_class": {"Normal": {"n": 30, "called_opacity": 4}},
    },
    "studies": [{
        "study": "folds", "title": "Five folds", "base": "default", "judged_on": "5 folds by patient", "variants": [{
            "name": "joint", "about": "", "figures": {
                "auc": {"mean": 0.8, "least": 0.78, "most": 0.83, "seeds": 3},
                "rsna_score": {"mean": 0.2, "least": 0.15, "most": 0.25, "seeds": 3},
            },
        }],
    }],
    "calibration": {"films": 120, "method": "minmax"},
    "gate": {
        "kind": "accuracy", "films": 110, "reason": "fine", "auc": {"float": 0.8, "converted": 0.799, "drop": 0.001},
    },
}  # fmt: skip


def test_the_card_says_what_must_be_said():
    card = model_card(METADATA)
    for text in (
        "Not a medical device",
        "non-commercial",
        "Interim",
        "0.810 (0.720 to 0.890)",
        "This file (int8) on the validation films (110 films, 44 with an opacity)",
        "| sex F (too few to judge) | 50 | 0.800 | 0.500 (0.300 to 0.700) | - |",
        "- A subgroup falls behind: sex F: sensitivity 0.50 against 0.90",
        "| screening | 0.170 | 0.900 (0.800 to 1.000) | 0.400 |",
        "| 0.0 to 0.1 | 12 | 0.06 | 0.25 | ##### |",
        "- Normal: 4 of 30 films called opacity",
        "## Five folds",
        "| joint | 3 | 0.800 (0.780 to 0.830) | 0.200 (0.150 to 0.250) |",
    ):
        assert text in card
    assert "RSNA challenge score" not in card  # not measured, so not in the table
    bare = model_card({**METADATA, "interim": False, "metrics": {}, "training_data": {}})
    assert "Interim" not in bare and "Not measured on labelled films" in bare


def test_the_card_says_how_many_channels_were_taken_out():
    """Only where some were: a whole network's card is silent."""
    from edge_pneumo.train.detector import hidden_channels

    whole = hidden_channels(0.35)
    training = {"alpha": 0.35, "hidden": [16, *[8] * 16]}
    card = model_card({**METADATA, "training": training})
    assert f"{sum(whole) - 144:,} of the {sum(whole):,} channels between its narrow layers taken out" in card
    assert "taken out" not in model_card({**METADATA, "training": {**training, "hidden": list(whole)}})
    assert "taken out" not in model_card({**METADATA, "training": {**training, "hidden": []}})


def test_the_card_says_how_many_taught_the_detector():
    assert "taught by 2 of other seeds" in model_card({**METADATA, "training": {"alpha": 0.35, "teachers": 2}})
    assert "taught" not in model_card({**METADATA, "training": {"alpha": 0.35, "teachers": 0}})


LAYER = {
    "name": "a<b", "kind": "CONV_2D", "node": "n", "snr_db": 9.0, "final_snr_db": 3.0, "share": 0.9,
    "weight_spread": 120.0, "weights": 9,
}  # fmt: skip


def test_the_page_is_whole_and_safe(tmp_path):
    explanation = {"films": 4, "layers": [LAYER]}
    cost = {"passed": True, "layers": ["a<b"], "bytes": {"before": 10, "after": 20}, "ms": {"before": 1, "after": 2}}
    report = {"gate": {"passed": False, "reason": "auc fell <x>"}, "repair": cost}
    page = explanation_page(explanation, report)
    assert "a&lt;b" in page and "<x>" not in page and "http" not in page.replace("http-equiv", "")
    html, data = write_explanation(tmp_path / "where.html", explanation, report)
    document = json.loads(data.read_text())
    assert html.name == "where.html" and document["schema"] == 1 and document["layers"][0]["share"] == 0.9
