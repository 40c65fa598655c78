"""Boxes before the box threshold: what average precision and FROC are read from.

Both sweep over every threshold, so they are defined on all boxes that a model can offer. What the product shows is cut
at one threshold; on those boxes both would end where the threshold is, and say more of the threshold than of the model.
"""

from __future__ import annotations

from dataclasses import replace

from edge_pneumo.edge_runtime.decode import DecodeSpec, Finding

LEAST_SCORE = 0.001
MOST_BOXES = 20
"""Boxes a film; an opacity film has one to four, and FROC asks for two false ones at most."""


def candidate_spec(spec: DecodeSpec) -> DecodeSpec:
    """`spec` that lets nearly every box through; suppression and scale stay."""
    return replace(spec, box_threshold=min(LEAST_SCORE, spec.box_threshold), max_boxes=max(MOST_BOXES, spec.max_boxes))


def shown(candidates: Finding, spec: DecodeSpec) -> Finding:
    """What `spec` shows of a finding that was decoded with `candidate_spec(spec)`.

    Suppression goes by falling score, so a higher threshold or a smaller number of boxes only cuts the list short.
    """
    boxes = tuple(box for box in candidates.boxes if box.score >= spec.box_threshold)
    return replace(candidates, boxes=boxes[: spec.max_boxes])
