"""What the decoder's settings are worth: on outputs whose right answer is known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from edge_pneumo.edge_runtime.decode import DecodeSpec, RawOutputs
from edge_pneumo.edge_runtime.preprocess import Geometry
from edge_pneumo.train import decode_check
from edge_pneumo.train.data.film import DataSet, Film
from edge_pneumo.train.decode_check import Judged, box_settings, check, film_scores, mean_of


def outputs(label: int, image: float) -> RawOutputs:
    """A film of 64 pixels with a box over its whole middle where `label` is 1, and a pooled logit that says `image`."""
    heat, ltrb = np.full((4, 4), -4.0, np.float32), np.full((4, 4, 4), np.log(1.5), np.float32)
    heat[1, 1] = 4.0 * label - 2.0
    return RawOutputs(image, heat, ltrb)


def test_the_score_that_tells_more_has_the_higher_auc():
    labels = np.arange(40) % 2
    noise = np.random.default_rng(0).normal(size=40)
    raw = [outputs(int(label), float(value)) for label, value in zip(labels, noise, strict=True)]
    found = film_scores(raw, raw, labels)
    assert found["pooled logit 0"] == found["mean with the mirrored film"] == 1.0
    assert found["pooled logit 1"] < 0.8 < found["pooled logit 0.25"]


def test_true_boxes_score_best_at_their_own_size():
    raw, where = [outputs(k % 2, 0.0) for k in range(8)], Geometry(1.0, 1.0, 0, 0, 64, 64)
    middle, reach = 24.0, 24.0
    true = [[(middle - reach, middle - reach, middle + reach, middle + reach)] * (k % 2) for k in range(8)]
    spec = DecodeSpec(image_weight=0.0, heat_weight=1.0, max_boxes=1)
    found = box_settings(raw, [where] * 8, true, spec)
    assert found["no voting"] == found["voting from IoU 0.5"] == 1.0
    assert found["voting from IoU 0.5, sides x 0.9"] == 1.0  # IoU .81 is past every threshold of the score


def test_a_bright_cell_alone_counts_less_where_several_cells_make_the_score():
    labels = np.array([1, 0] * 6)
    raw = [outputs(0, 0.0) for _ in labels]
    for one, label in zip(raw, labels, strict=True):
        one.heat[2, 2:] = 2.0 if label else -4.0
        one.heat[0, 0] = 0.0 if label else 3.0  # one hot cell on every film without an opacity
    found = film_scores(raw, raw, labels)
    assert found["pooled logit 0"] == 0.0
    assert found["mean of the 2 highest cells"] == 1.0


def test_the_mean_of_several_detectors_is_the_mean_of_what_each_says():
    films, spec = object(), DecodeSpec()
    one, other = outputs(1, 2.0), outputs(0, -1.0)
    both = mean_of([Judged(films, [one], [other], spec), Judged(films, [other], [other], spec)])
    assert both.films is films and both.raw[0].image_logit == 0.5
    assert both.raw[0].heat[1, 1] == 0.0 and both.raw[0].heat[0, 0] == -4.0
    np.testing.assert_allclose(both.raw[0].ltrb, one.ltrb, rtol=1e-6)
    assert both.mirrored[0].image_logit == -1.0


def test_each_fold_is_judged_by_its_own_run_and_the_figures_are_the_mean_of_the_folds(monkeypatch):
    pytest.importorskip("sklearn", reason="folds need the extra bench")
    films = [Film(f"f{k}", "", k % 2, bytes, split="train", group=f"p{k}") for k in range(24)]
    asked = []

    def judge(path, data, cache_dir):
        asked.append(path)
        val = data.split("val").films
        right = path in ("runs/good/seed3-fold0", "runs/good/seed3-fold1")
        raw = [outputs(film.label if right else 1 - film.label, 0.0) for film in val]
        where = [Geometry(1.0, 1.0, 0, 0, 64, 64)] * len(val)
        return Judged(SimpleNamespace(films=val, geometries=where), raw, raw, DecodeSpec())

    monkeypatch.setattr(decode_check, "judge", judge)
    good, bad, both = check(("runs/good", "runs/bad"), DataSet(tuple(films)), 2, 3, None)
    assert asked == [f"runs/{name}/seed3-fold{fold}" for fold in (0, 1) for name in ("good", "bad")]
    assert [row["n"] for row in (good, bad, both)] == [24, 24, 24]
    assert good["auc"]["pooled logit 0"] == 1.0 and bad["auc"]["pooled logit 0"] == 0.0
    assert both["run"] == "mean of the 2" and both["auc"]["pooled logit 0"] == 0.5
