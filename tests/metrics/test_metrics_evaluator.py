"""The evaluator's JSON: the contract's fields, inputs that leave figures undefined, subgroups and baselines."""

import json
from dataclasses import replace

import numpy as np
import pytest
from metrics_cases import clinic, film, finding

from edge_pneumo.benchmarks.metrics import auc, evaluate
from edge_pneumo.benchmarks.metrics.subgroups import age_band
from edge_pneumo.errors import FilmRefused, UsageFault

CONTRACT = (
    *("auc", "average_precision", "sensitivity", "specificity", "precision", "recall", "f1", "accuracy"),
    *("rsna_score", "ap50", "mean_iou", "ece"),
)


def test_fields_of_the_contract():
    films, findings = clinic(80)
    result = evaluate(films, findings, bootstrap=50, model={"name": "m"}, data={"split_hash": "abc"})
    for name in CONTRACT:
        figure = result[name]
        assert figure["low"] <= figure["value"] <= figure["high"], name
    assert list(result["froc_sensitivity"]) == ["1/8", "1/4", "1/2", "1", "2"]
    assert all(set(v) == {"value", "low", "high"} for v in result["froc_sensitivity"].values())
    assert set(result["confusion"]) == {"tn", "fp", "fn", "tp"} and sum(result["confusion"].values()) == 80
    assert result["schema"] == 1 and result["n"] == 80 and result["refused"] == 0 and result["threshold"] == 0.5
    assert result["positives"] == sum(f.label for f in films) == result["classes"]["opacity"]["support"]
    assert result["model"] == {"name": "m"} and result["data"] == {"n": 80, "split_hash": "abc"}
    assert set(result["subgroups"]) == {"sex", "age_band", "view"}
    for rows in result["subgroups"].values():
        assert sum(row["n"] for row in rows.values()) == 80
        assert all({"n", "auc", "sensitivity", "specificity", "warning"} <= set(row) for row in rows.values())
    assert sum(row["n"] for row in result["by_class"].values()) == 80
    called = sum(row["called_opacity"] for row in result["by_class"].values())
    assert called == result["confusion"]["tp"] + result["confusion"]["fp"]
    json.dumps(result, allow_nan=False)  # plain JSON types, no NaN


def test_the_same_seed_gives_the_same_intervals():
    films, findings = clinic(60)
    first, again, other = (evaluate(films, findings, bootstrap=60, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first["auc"]["low"] != other["auc"]["low"] and first["auc"]["value"] == other["auc"]["value"]


def none_of(films, findings):
    return [], []


def negatives(films, findings):
    kept = [k for k, f in enumerate(films) if f.label == 0]
    return [films[k] for k in kept], [findings[k] for k in kept]


def positives(films, findings):
    kept = [k for k, f in enumerate(films) if f.label == 1]
    return [films[k] for k in kept], [findings[k] for k in kept]


def one_film(films, findings):
    return films[:1], findings[:1]


def no_boxes_said(films, findings):
    return films, [replace(f, boxes=()) for f in findings]


def no_boxes_known(films, findings):
    return [film(f.film_id, f.label, (), f.group) for f in films], findings


def all_refused(films, findings):
    return films, [FilmRefused("blank", "blank")] * len(films)


def constant(films, findings):
    return films, [finding(0.5)] * len(films)


def no_facts(films, findings):
    return [film(f.film_id, f.label, f.boxes_xyxy, f.group) for f in films], findings


@pytest.mark.parametrize(
    ("change", "null", "value"),
    [
        (none_of, ("auc", "rsna_score", "ece", "accuracy"), {}),
        (all_refused, ("auc", "rsna_score", "ece", "accuracy"), {}),
        (negatives, ("auc", "sensitivity", "ap50", "mean_iou"), {}),
        (positives, ("auc", "specificity"), {}),
        (one_film, ("auc",), {}),
        (no_boxes_said, (), {"rsna_score": 0.0, "ap50": 0.0, "mean_iou": 0.0}),
        (no_boxes_known, ("rsna_score", "ap50", "mean_iou", "coco_ap"), {}),
        (constant, (), {"auc": 0.5, "sensitivity": 1.0, "specificity": 0.0}),
        (no_facts, (), {}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_undefined_figures_are_null_and_nothing_crashes(change, null, value):
    result = evaluate(*change(*clinic(40)), bootstrap=20)
    assert all(result[name] == {"value": None, "low": None, "high": None} for name in null)
    assert {name: result[name]["value"] for name in value} == value
    assert result["warnings"] or not null
    json.dumps(result, allow_nan=False)


def test_refused_films_are_counted_and_said():
    films, findings = clinic(40)
    first_ill = next(k for k, f in enumerate(films) if f.label)
    first_well = next(k for k, f in enumerate(films) if not f.label)
    findings[first_ill] = FilmRefused("truncated", "cut short")
    findings[first_well] = FilmRefused("not-a-chest", "a knee")
    result = evaluate(films, findings, bootstrap=0)
    assert (result["n"], result["refused"], result["refused_positives"]) == (38, 2, 1)
    assert result["refused_reasons"] == {"truncated": 1, "not-a-chest": 1}
    assert any("2 films refused" in text and "1 with an opacity" in text for text in result["warnings"])


def test_a_probability_that_is_no_number_is_refused_not_averaged():
    films, findings = clinic(40)
    findings[0] = finding(float("nan"))
    result = evaluate(films, findings, bootstrap=0)
    assert result["n"] == 39 and result["refused_reasons"] == {"not-finite": 1}
    assert any("not a number" in text for text in result["warnings"])


def test_unlabelled_films_are_left_out():
    films, findings = clinic(40)
    films[0].label = -1
    result = evaluate(films, findings, bootstrap=0)
    assert result["n"] == 39 and any("without a label" in text for text in result["warnings"])


@pytest.mark.parametrize(
    ("findings", "message"),
    [
        ([finding(0.5)], "2 films but 1 findings"),
        ([finding(0.5, threshold=0.4), finding(0.5, threshold=0.6)], "2 different thresholds"),
    ],
)
def test_findings_that_do_not_fit_are_named(findings, message):
    with pytest.raises(UsageFault, match=message):
        evaluate([film("a"), film("b")], findings)


def test_operating_points_are_reported_beside_the_default():
    films, findings = clinic(80)
    result = evaluate(films, findings, bootstrap=20, operating_points={"low": 0.0, "here": 0.5, "high": 1.1})
    points = result["operating_points"]
    assert points["low"]["sensitivity"]["value"] == 1 and points["high"]["specificity"]["value"] == 1
    assert points["here"]["sensitivity"] == result["sensitivity"]
    assert points["high"]["precision"]["value"] is None  # nothing is called positive there


@pytest.mark.parametrize(
    ("age", "band"),
    [
        *[(None, "unknown"), (155, "unknown"), (-1, "unknown")],
        *[(0, "0-17"), (17.9, "0-17"), (18, "18-39"), (59, "40-59"), (80, "80+"), (119, "80+")],
    ],
)
def test_age_bands(age, band):
    assert age_band(age) == band


def worse_on_women(gap):
    """400 films; the model separates women's films less well by `gap` standard deviations."""
    rng = np.random.default_rng(0)
    films, findings = [], []
    for k in range(400):
        label, sex = int(rng.random() < 0.4), "MF"[k % 2]
        films.append(film(str(k), label, (), sex=sex, view="AP" if rng.random() < 0.5 else "PA"))
        shift = (2.0 - (gap if sex == "F" else 0)) * (label - 0.5)
        findings.append(finding(1 / (1 + np.exp(-(rng.normal() + shift)))))
    return films, findings


def test_a_subgroup_that_falls_behind_is_named():
    result = evaluate(*worse_on_women(1.6), bootstrap=300)
    assert "AUC" in result["subgroups"]["sex"]["F"]["warning"]
    assert result["subgroups"]["sex"]["M"]["warning"] is None
    assert any(text.startswith("A subgroup falls behind: sex F: AUC") for text in result["warnings"])


def test_chance_is_not_called_a_gap():
    quiet = sum(
        not any("falls behind" in text for text in evaluate(*clinic(110, seed), bootstrap=100)["warnings"])
        for seed in range(12)
    )
    assert quiet >= 11


def test_small_subgroups_are_shown_but_not_judged():
    films, findings = worse_on_women(1.6)
    keep = [k for k, f in enumerate(films) if f.sex == "M" or k < 12]
    result = evaluate([films[k] for k in keep], [findings[k] for k in keep], bootstrap=50)
    row = result["subgroups"]["sex"]["F"]
    assert row["judged"] is False and row["warning"] is None and row["n"] == 6


def test_baselines_by_hand():
    # AP: 3 of 4 ill, PA: 1 of 4: view alone ranks 3 x 3 + half of (3 x 1 + 1 x 3) of 4 x 4 pairs right = .75
    views = ["AP"] * 4 + ["PA"] * 4
    labels = [1, 1, 1, 0, 1, 0, 0, 0]
    box = (100.0, 100.0, 300.0, 300.0)
    films = [film(str(k), y, [box] if y else [], view=v) for k, (y, v) in enumerate(zip(labels, views, strict=True))]
    probabilities = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2]
    result = evaluate(films, [finding(p) for p in probabilities], bootstrap=0)
    rows = result["baselines"]
    assert rows["view"]["auc"]["value"] == pytest.approx(0.75)
    assert rows["prevalence"]["auc"]["value"] == 0.5 and rows["prevalence"]["accuracy"]["value"] == 0.5
    # the mean box is the true one: drawn down to probability p, each ill film scores 1, each well film 0.
    # gate .7: 3 / 4 (the fourth ill film is missed); gate .5: 4 / 5; lower gates add zeros
    assert rows["mean_boxes"]["gate"] == 0.5
    assert rows["mean_boxes"]["rsna_score"]["value"] == pytest.approx(0.8)
    assert rows["learnt_on"] == "these films"


def test_baselines_learn_from_reference_films_where_given():
    films, findings = clinic(60, 1)
    reference, _ = clinic(200, 2)
    rows = evaluate(films, findings, bootstrap=0, reference=reference)["baselines"]
    assert rows["learnt_on"] == "reference films"
    share = {v: np.mean([f.label for f in reference if f.view == v]) for v in ("AP", "PA")}
    assert rows["view"]["auc"]["value"] == pytest.approx(auc([f.label for f in films], [share[f.view] for f in films]))
