"""Box figures: the RSNA score and FROC worked by hand, average precision against pycocotools and faster-coco-eval."""

import contextlib
import io

import numpy as np
import pytest
from metrics_cases import clinic, finding

from edge_pneumo.benchmarks.metrics import detection, figures, rsna_score
from edge_pneumo.benchmarks.metrics.cases import pair
from edge_pneumo.benchmarks.metrics.coco import coco_summary, to_coco

TRUE = (0.0, 0.0, 100.0, 100.0)  # area 10,000
FAR = (500.0, 500.0, 600.0, 600.0)

RSNA_CASES = {
    # nothing to find, nothing said: the film is left out
    "empty": ([], [], np.nan),
    # nothing to find, something said
    "false alarm": ([], [(*TRUE, 0.9)], 0.0),
    "missed": ([TRUE], [], 0.0),
    "perfect": ([TRUE], [(*TRUE, 0.1)], 1.0),
    # IoU 5,000 / 10,000 = .50: a hit at .40 .45 .50, none at .55 … .75: 3 of 8 thresholds, each 1/1
    "half": ([TRUE], [(0, 0, 100, 50, 0.9)], 3 / 8),
    # IoU .40 exactly reaches the first threshold: 1 of 8
    "edge": ([TRUE], [(0, 0, 100, 40, 0.9)], 1 / 8),
    # one hit, one false, one missed at every threshold: 1 / (1 + 1 + 1)
    "one of each": ([TRUE, FAR], [(*TRUE, 0.9), (200, 200, 300, 300, 0.8)], 1 / 3),
    # two boxes on one opacity: the better score takes it, the other is false: 1 / 2
    "double": ([TRUE], [(*TRUE, 0.4), (*TRUE, 0.9)], 1 / 2),
    # the box of higher score (IoU .50) takes the opacity at .40 .45 .50 and leaves the perfect one false: 1/2 each;
    # above .50 it takes nothing, the perfect one does: 1/2 again. 8 x 1/2 / 8
    "greedy by score": ([TRUE], [(0, 0, 100, 50, 0.9), (*TRUE, 0.8)], 1 / 2),
    # two opacities; the first box overlaps both (IoU .60 with the lower, .45 with the upper) and takes the one it
    # overlaps more, the second finds the upper exactly: 2/2 up to .60 (5 thresholds); above, 1 / (1 + 1 + 1)
    "best overlap": (
        [(0, 0, 100, 60), (0, 45, 100, 145)],
        [(0, 30, 100, 105, 0.9), (0, 0, 100, 60, 0.8)],
        None,
    ),
}


@pytest.mark.parametrize("name", RSNA_CASES)
def test_rsna_score_of_one_film_by_hand(name):
    true, predicted, expected = RSNA_CASES[name]
    if expected is None:
        # first box is 75 high: with the upper opacity 30 / (75 + 60 - 30) = .286, with the lower 60 / (75 + 100 - 60)
        # = .522. It takes the lower up to .50: 2 hits of 2. From .55 on only the second box hits: 1 / (1 + 1 + 1).
        expected = (3 * 1 + 5 / 3) / 8
    assert detection.rsna_film_score(true, predicted) == pytest.approx(expected, nan_ok=True)


def test_rsna_score_of_films_leaves_true_negatives_out():
    # film scores 3/8, left out, 0 (false alarm): mean over two films
    true = [[TRUE], [], []]
    predicted = [[(0, 0, 100, 50, 0.9)], [], [(*FAR, 0.3)]]
    assert rsna_score(true, predicted) == pytest.approx(3 / 16)
    assert np.isnan(rsna_score([[], []], [[], []]))
    assert np.isnan(rsna_score([], []))


def test_froc_by_hand():
    # two films, three opacities; boxes by score: hit .9, false .8, hit .7, false .6, hit .5
    true = [[TRUE, FAR], [TRUE]]
    predicted = [
        [(*TRUE, 0.9), (200, 200, 300, 300, 0.8), (*FAR, 0.5)],
        [(*TRUE, 0.7), (300, 300, 400, 400, 0.6)],
    ]
    found = detection.collect(true, predicted, 0.4)
    # false boxes a film after each: 0, .5, .5, 1, 1; found: 1/3, 1/3, 2/3, 2/3, 3/3
    rates = detection.weighted_froc(found, np.ones((1, 2)), (0.125, 0.25, 0.5, 1.0, 2.0))[0]
    assert rates == pytest.approx([1 / 3, 1 / 3, 2 / 3, 1, 1])
    x, y = detection.froc_curve(found)
    assert x == pytest.approx([0, 0, 0.5, 0.5, 1, 1]) and y == pytest.approx([0, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 1])


def test_froc_shows_boxes_of_equal_score_together():
    found = detection.collect([[TRUE]], [[(*TRUE, 0.5), (*FAR, 0.5)]], 0.4)
    assert detection.weighted_froc(found, np.ones((1, 1)), (0.5, 1.0))[0] == pytest.approx([0, 1])


def test_mean_iou_by_hand():
    # the first opacity is met at IoU .50, the second missed: (.5 + 0) / 2
    found = detection.collect([[TRUE, FAR]], [[(0, 0, 100, 50, 0.9)]], 0.5)
    assert detection.weighted_mean_iou(found, np.ones((1, 1)))[0] == pytest.approx(0.25)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_average_precision_agrees_with_pycocotools_and_faster_coco_eval(seed):
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    pytest.importorskip("faster_coco_eval")
    cases = pair(*clinic(80, seed))
    truth, results = to_coco(cases)
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = coco.COCO()
        dataset.dataset = truth
        dataset.createIndex()
        judge = cocoeval.COCOeval(dataset, dataset.loadRes(results), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    ours = figures.box_measure(cases)(cases, np.ones((1, len(cases))))
    assert ours["coco_ap"][0] == pytest.approx(judge.stats[0], abs=1e-9)
    assert ours["ap50"][0] == pytest.approx(judge.stats[1], abs=1e-9)
    summary = coco_summary(cases)
    assert [summary[k] for k in ("ap", "ap50", "ap75")] == pytest.approx(list(judge.stats[:3]), abs=1e-9)


def test_a_perfect_detector_has_average_precision_one_in_coco_too():
    # COCO scores it 0 when annotation ids start at 0
    films, _ = clinic(30, 3)
    cases = pair(films, [finding(f.label, [(*box, 1.0) for box in f.boxes_xyxy]) for f in films])
    ours = figures.box_measure(cases)(cases, np.ones((1, len(cases))))
    assert ours["ap50"][0] == ours["coco_ap"][0] == ours["rsna_score"][0] == ours["mean_iou"][0] == 1
    pytest.importorskip("faster_coco_eval")
    assert coco_summary(cases)["ap50"] == 1


def test_normal_films_only_have_no_average_precision():
    films, findings = clinic(40, 4)
    chosen = [k for k, film in enumerate(films) if film.label == 0]
    cases = pair([films[k] for k in chosen], [findings[k] for k in chosen])
    ours = figures.box_measure(cases)(cases, np.ones((1, len(cases))))
    assert np.isnan(ours["ap50"][0]) and np.isnan(ours["mean_iou"][0]) and coco_summary(cases) is None
    assert ours["rsna_score"][0] == 0  # every film on which something was said scores 0


def test_positive_films_without_drawn_boxes_are_left_out_of_box_figures():
    films, findings = clinic(60, 5)
    full = pair(films, findings)
    first = int(np.flatnonzero(full.labels)[0])
    rest = pair([f for k, f in enumerate(films) if k != first], [f for k, f in enumerate(findings) if k != first])
    films[first].boxes_xyxy = ()
    cases = pair(films, findings)
    ones = np.ones((1, len(cases)))
    expected = figures.box_measure(rest)(rest, ones[:, 1:])
    assert {k: v[0] for k, v in figures.box_measure(cases)(cases, ones).items()} == pytest.approx(
        {k: v[0] for k, v in expected.items()}
    )
    assert any("no true box" in text for text in cases.warnings)
