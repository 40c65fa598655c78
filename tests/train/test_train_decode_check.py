"""What the decoder's settings are worth: on outputs whose right answer is known."""

from __future__ import annotations

import numpy as np

from edge_pneumo.edge_runtime.decode import DecodeSpec, RawOutputs
from edge_pneumo.edge_runtime.preprocess import Geometry
from edge_pneumo.train.decode_check import box_settings, film_scores


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
