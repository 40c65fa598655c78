"""COCO's own summary of the boxes, by faster-coco-eval where it is installed (extra `bench`).

The figures with intervals (`ap50`, `coco_ap`) are the same numbers from `detection.weighted_ap`; this is the reference
implementation beside them, and adds recall.
"""

from __future__ import annotations

import contextlib
import io
from importlib.util import find_spec
from typing import Any

import numpy as np

from edge_pneumo.benchmarks.metrics.cases import Cases

# positions in COCOeval.stats that mean something here; areas are left out (nearly all opacities are "large")
_STATS = {"ap": 0, "ap50": 1, "ap75": 2, "recall_1": 6, "recall_10": 7, "recall_100": 8}


def coco_summary(cases: Cases) -> dict[str, float] | None:
    """AP (IoU .50 to .95), AP50, AP75 and average recall at 1, 10 and 100 boxes a film.

    None where faster-coco-eval is not installed or there is no true box (COCO would say -1).
    """
    kept = np.flatnonzero(cases.boxed)
    if not any(len(cases.true_boxes[i]) for i in kept) or find_spec("faster_coco_eval") is None:
        return None
    from faster_coco_eval import COCO, COCOeval_faster

    truth, results = to_coco(cases)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints progress, and stdout is data
        dataset = COCO(truth)
        judge = COCOeval_faster(dataset, dataset.loadRes(results) if results else COCO(_empty(truth)), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return {name: float(judge.stats[position]) for name, position in _STATS.items()}


def to_coco(cases: Cases) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """True boxes as a COCO data set and predictions as COCO results; ids start at 1, for 0 means "no match" there."""
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    kept = np.flatnonzero(cases.boxed)
    for image_id, index in enumerate(kept, 1):
        for x1, y1, x2, y2 in cases.true_boxes[index]:
            box = [float(x1), float(y1), float(x2 - x1), float(y2 - y1)]
            row = {"id": len(annotations) + 1, "image_id": image_id, "category_id": 1, "iscrowd": 0}
            annotations.append(row | {"bbox": box, "area": box[2] * box[3]})
        for x1, y1, x2, y2, score in cases.candidate_boxes[index]:
            box = [float(x1), float(y1), float(x2 - x1), float(y2 - y1)]
            results.append({"image_id": image_id, "category_id": 1, "bbox": box, "score": float(score)})
    truth = {
        "info": {},
        "images": [{"id": image_id} for image_id in range(1, len(kept) + 1)],
        "categories": [{"id": 1, "name": "opacity"}],
        "annotations": annotations,
    }
    return truth, results


def _empty(truth: dict[str, Any]) -> dict[str, Any]:
    return {**truth, "annotations": []}
