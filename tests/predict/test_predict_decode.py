"""`decode`: raw outputs to findings, by hand on a grid of four cells a side (cells of 16 pixels, film of 128)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_pneumo.edge_runtime.decode import DecodeSpec, RawOutputs, decode, non_maximum_suppression
from edge_pneumo.edge_runtime.preprocess import Geometry

SPEC = DecodeSpec(image_weight=0.0, heat_weight=0.0, bias=100.0, box_threshold=0.5, nms_iou=0.1, max_boxes=3)
"""The probability is 1, so that a box's score is the sigmoid of its cell's heat."""
WHOLE = Geometry(0.5, 0.5, 0, 0, 128, 128)


def logit(p: float) -> float:
    return float(np.log(p / (1 - p)))


def raw(cells: dict[tuple[int, int], tuple[float, tuple[float, float, float, float]]]) -> RawOutputs:
    """Outputs whose cells (row, column) have a score and distances left, top, right, bottom in pixels of the input."""
    heat, ltrb = np.full((4, 4), -20.0, np.float32), np.zeros((4, 4, 4), np.float32)
    for cell, (score, reach) in cells.items():
        heat[cell], ltrb[cell] = logit(score), np.log(np.array(reach) / 16)
    return RawOutputs(0.0, heat, ltrb)


def xyxy(finding) -> list[tuple[float, ...]]:
    return [(b.x1, b.y1, b.x2, b.y2) for b in finding.boxes]


def test_a_cell_becomes_a_box_in_the_frame_of_the_film():
    outputs = raw({(1, 2): (0.9, (8, 8, 16, 24))})  # centre (40, 24) of the input
    finding = decode(outputs, SPEC, WHOLE)
    assert xyxy(finding) == [(64.0, 32.0, 112.0, 96.0)]
    assert finding.boxes[0].score == pytest.approx(0.9)
    assert finding.probability == pytest.approx(1.0)
    assert xyxy(decode(outputs, replace(SPEC, box_threshold=0.95), WHOLE)) == []
    half = decode(outputs, replace(SPEC, box_scale=0.5), WHOLE)
    assert xyxy(half) == [(76.0, 48.0, 100.0, 80.0)]


def test_of_boxes_that_overlap_the_best_is_kept_and_apart_ones_stay_in_order():
    outputs = raw({(0, 0): (0.6, (8, 8, 8, 8)), (0, 1): (0.8, (20, 8, 8, 8)), (3, 3): (0.7, (8, 8, 8, 8))})
    assert [round(b.score, 6) for b in decode(outputs, SPEC, WHOLE).boxes] == [0.8, 0.7]
    assert len(decode(outputs, replace(SPEC, max_boxes=1), WHOLE).boxes) == 1
    assert len(decode(outputs, replace(SPEC, nms_iou=1.0), WHOLE).boxes) == 3


def test_a_box_is_moved_by_the_cells_that_agree_with_it():
    """Boxes (8, 8, 40, 40) at .8 and (8, 8, 40, 24), whose IoU is 1/2, at .4: below the threshold, yet a voter."""
    outputs = raw({(1, 1): (0.8, (16, 16, 16, 16)), (0, 1): (0.4, (16, 0.001, 16, 16))})
    assert xyxy(decode(outputs, SPEC, WHOLE)) == [(16.0, 16.0, 80.0, 80.0)]
    voted = decode(outputs, replace(SPEC, vote_iou=0.4), WHOLE)
    bottom = 2 * (0.64 * 40 + 0.16 * 24) / 0.8
    assert xyxy(voted) == [(16.0, 16.0, 80.0, pytest.approx(bottom, abs=0.06))]
    assert voted.boxes[0].score == pytest.approx(0.8)
    assert xyxy(decode(outputs, replace(SPEC, vote_iou=0.6), WHOLE)) == [(16.0, 16.0, 80.0, 80.0)]


def test_suppression_by_hand():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [0, 0, 0, 0]], float)
    assert non_maximum_suppression(boxes, np.array([0.5, 0.9, 0.7, 0.1]), 0.5, 10) == [1, 2, 3]
    assert non_maximum_suppression(boxes, np.array([0.5, 0.5, 0.5, 0.5]), 0.5, 1) == [0]  # ties: the first
    assert non_maximum_suppression(np.zeros((0, 4)), np.zeros(0), 0.5, 3) == []
