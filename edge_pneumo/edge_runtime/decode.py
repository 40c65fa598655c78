"""Raw outputs -> `Finding`: one calibrated probability and zero to many boxes. There is no other decode in the project.

The detector has three outputs on a grid of cells of `stride` input pixels:
    image_logit (1,)        pooled evidence for the film
    heat        (g, g)      logit that a cell is the centre region of an opacity
    ltrb        (g, g, 4)   log of the distances from the cell's centre to left, top, right, bottom, in strides
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.edge_runtime.preprocess import Geometry

MOST_CANDIDATES = 512
"""Boxes that suppression chooses among; a 14 x 14 grid has 196 cells."""


@dataclass(frozen=True)
class RawOutputs:
    """What the network says of one film, dequantised to float32."""

    image_logit: float
    heat: NDArray[np.float32]
    ltrb: NDArray[np.float32]


@dataclass(frozen=True)
class DecodeSpec:
    """How outputs become a finding; stored in the model file, fitted on validation films.

    probability = sigmoid(image_weight * image_logit + heat_weight * max(heat) + bias)   (Platt scaling, two inputs)
    box score   = sigmoid(heat) * probability

    `vote_iou`: a kept box becomes the mean of all cells' boxes that overlap it by this much or more, weighted by their
    squared scores (box voting: Gidaris & Komodakis, ICCV 2015, 3.3); 1.0 = it stays as its own cell has it.
    """

    stride: int = 16
    image_weight: float = 0.5
    heat_weight: float = 0.5
    bias: float = 0.0
    box_threshold: float = 0.15
    nms_iou: float = 0.1
    max_boxes: int = 4
    box_scale: float = 1.0
    vote_iou: float = 1.0
    operating_points: dict[str, float] = field(default_factory=lambda: {"balanced": 0.5})
    default_operating_point: str = "balanced"


@dataclass(frozen=True)
class Box:
    """A box in pixels of the source film, with its score in 0..1."""

    x1: float
    y1: float
    x2: float
    y2: float
    score: float


@dataclass(frozen=True)
class Finding:
    """The answer for one film: calibrated probability in 0..1, decision at `threshold`, boxes by falling score."""

    probability: float
    threshold: float
    boxes: tuple[Box, ...]

    @property
    def decision(self) -> str:
        """`opacity` or `no-opacity`."""
        return "opacity" if self.probability >= self.threshold else "no-opacity"


def sigmoid(x: NDArray | float) -> NDArray | float:
    """Logistic function that does not overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(x, np.float64)))


def iou_matrix(a: NDArray, b: NDArray) -> NDArray[np.float64]:
    """Intersection over union of boxes (n, 4) and (m, 4) xyxy -> (n, m); empty boxes give 0."""
    ax1, ay1, ax2, ay2 = np.asarray(a, np.float64).reshape(-1, 4).T[:, :, None]
    bx1, by1, bx2, by2 = np.asarray(b, np.float64).reshape(-1, 4).T[:, None, :]
    # side by side and not along an axis: films have a few boxes, and a call of numpy costs more than they do
    width = np.maximum(np.minimum(ax2, bx2) - np.maximum(ax1, bx1), 0.0)
    height = np.maximum(np.minimum(ay2, by2) - np.maximum(ay1, by1), 0.0)
    intersection = width * height
    area_a = np.maximum(ax2 - ax1, 0.0) * np.maximum(ay2 - ay1, 0.0)
    area_b = np.maximum(bx2 - bx1, 0.0) * np.maximum(by2 - by1, 0.0)
    union = area_a + area_b - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def non_maximum_suppression(boxes: NDArray, scores: NDArray, iou: float, limit: int) -> list[int]:
    """Indices of boxes kept greedily by falling score, none overlapping a better one by more than `iou`.

    Only the best `MOST_CANDIDATES` are considered: the time and memory that they take grow with their square.
    """
    order = np.argsort(-scores, kind="stable")[:MOST_CANDIDATES]
    apart = (iou_matrix(boxes[order], boxes[order]) <= iou).tolist()
    kept: list[int] = []
    for place in range(len(order)):
        if len(kept) == limit:
            break
        if all(apart[place][other] for other in kept):
            kept.append(place)
    return order[kept].tolist()


def film_probability(raw: RawOutputs, spec: DecodeSpec) -> float:
    """Calibrated probability of an opacity anywhere on the film."""
    logit = spec.image_weight * raw.image_logit + spec.heat_weight * float(raw.heat.max()) + spec.bias
    return float(sigmoid(logit))


def decode(raw: RawOutputs, spec: DecodeSpec, geometry: Geometry, operating_point: str | None = None) -> Finding:
    """Turn raw outputs into a finding in the frame of the source film.

    Boxes are cells whose score reaches `box_threshold`, thinned by non-maximum suppression, moved by the vote of the
    cells around, grown or shrunk about their centre by `box_scale`, and mapped back through `geometry`.
    """
    probability = film_probability(raw, spec)
    threshold = spec.operating_points[operating_point or spec.default_operating_point]
    scores = (np.asarray(sigmoid(raw.heat)) * probability).ravel()
    found = np.flatnonzero(scores >= spec.box_threshold)
    if not len(found):
        return Finding(probability, threshold, ())
    boxes = _cell_boxes(raw.ltrb, spec.stride)
    kept = found[non_maximum_suppression(boxes[found], scores[found], spec.nms_iou, spec.max_boxes)]
    chosen = boxes[kept]
    if spec.vote_iou < 1:
        say = (iou_matrix(chosen, boxes) >= spec.vote_iou) * np.square(scores)
        chosen = say @ boxes / say.sum(axis=1, keepdims=True)
    middle, half = (chosen[:, :2] + chosen[:, 2:]) / 2, (chosen[:, 2:] - chosen[:, :2]) / 2 * spec.box_scale
    source = geometry.to_source(np.concatenate([middle - half, middle + half], 1).astype(np.float32))
    answers = [
        Box(*(round(float(v), 1) for v in box), score=float(score))
        for box, score in zip(source, scores[kept], strict=True)
    ]
    return Finding(probability, threshold, tuple(b for b in answers if b.x2 > b.x1 and b.y2 > b.y1))


def _cell_boxes(ltrb: NDArray[np.float32], stride: int) -> NDArray[np.float64]:
    """The boxes (g * g, 4) xyxy in input pixels that the cells of the grid stand for, row by row."""
    centre = _centres(*ltrb.shape[:2], stride)
    reach = np.exp(np.minimum(np.maximum(ltrb.reshape(-1, 4).astype(np.float64), -6.0), 6.0)) * stride
    return np.concatenate([centre - reach[:, :2], centre + reach[:, 2:]], 1)


@cache
def _centres(rows: int, columns: int, stride: int) -> NDArray[np.float64]:
    """Centres (rows * columns, 2) of the cells, x and y in input pixels."""
    y, x = np.divmod(np.arange(rows * columns), columns)
    return (np.stack([x, y], 1) + 0.5) * stride
