"""The detection loss, on dictionaries of outputs and targets.

heat         quality focal loss (Li et al., "Generalized Focal Loss", NeurIPS 2020, eq. 4) on the boxes' gaussians, or
             the penalty-reduced focal loss of Zhou et al., "Objects as Points" (2019), eq. 1
box          1 - GIoU (Rezatofighi et al., CVPR 2019) + 0.5 x L1 of log distances, on cells near a box's centre
image        binary cross-entropy of the pooled logit with the (soft) film label
pooled_heat  the same of the heat map's smooth maximum, which decode() uses as film score
findings     binary cross-entropy of the auxiliary outputs where they are known
"""

from __future__ import annotations

from typing import Any

from edge_pneumo.train.config import LossConfig


def detection_loss(
    outputs: dict[str, Any], targets: dict[str, Any], stride: int, weights: LossConfig
) -> dict[str, Any]:
    """Scalar terms, already weighted; their sum is the loss.

    `targets`: opacity (n,), weight (n,), heat (n, g, g, 1), box (n, g, g, 4) xyxy input pixels,
    box_weight (n, g, g, 1), heat_weight (n,), findings (n, f) and findings_known (n, f).
    """
    import tensorflow as tf

    opacity, weight = targets["opacity"], targets["weight"]
    terms = {
        "heat": weights.heat * heat_loss(outputs["heat"], targets["heat"], targets["heat_weight"], weights.heat_kind),
        "box": weights.box * box_loss(outputs["ltrb"], targets["box"], targets["box_weight"], stride),
        "image": weights.image * _bce(outputs["image_logit"][:, 0], opacity, weight),
        "pooled_heat": weights.pooled_heat * _bce(smooth_maximum(outputs["heat"]), opacity, weight),
    }
    if "findings" in outputs:
        each = tf.nn.sigmoid_cross_entropy_with_logits(targets["findings"], outputs["findings"])
        known = targets["findings_known"]
        terms["findings"] = weights.findings * tf.reduce_sum(each * known) / _count(known)
    return terms


def heat_loss(logits: Any, heat: Any, film_weight: Any, kind: str = "quality") -> Any:
    """Focal loss against gaussians `heat` (n, g, g, 1) in 0..1, summed over cells, per film with boxes known.

    "quality" asks every cell for its own height (beta 2), so that a few boxes teach many cells; "centre" asks only the
    boxes' centres to be high and goes easy on their neighbours (alpha 2, beta 4).
    """
    import tensorflow as tf

    if kind == "quality":
        entropy = tf.nn.sigmoid_cross_entropy_with_logits(heat, logits)
        cells = entropy * tf.square(heat - tf.sigmoid(logits))
    else:
        p = tf.clip_by_value(tf.sigmoid(logits), 1e-4, 1 - 1e-4)
        centre = tf.cast(heat > 0.99, tf.float32)
        positive = -centre * (1 - p) ** 2 * tf.math.log(p)
        cells = positive - (1 - centre) * (1 - heat) ** 4 * p**2 * tf.math.log(1 - p)
    film = tf.reduce_sum(cells, axis=(1, 2, 3)) * film_weight
    return tf.reduce_sum(film) / _count(film_weight)


def box_loss(ltrb: Any, box: Any, weight: Any, stride: int) -> Any:
    """GIoU and log-distance loss on weighted cells; zero where a batch has no boxes."""
    import tensorflow as tf

    g = tf.shape(ltrb)[1]
    line = (tf.cast(tf.range(g), tf.float32) + 0.5) * stride
    x, y = line[None, None, :], line[None, :, None]
    reach = tf.exp(tf.clip_by_value(ltrb, -6.0, 6.0)) * stride
    left, top, right, bottom = (reach[..., k] for k in range(4))
    x1, y1, x2, y2 = (box[..., k] for k in range(4))
    true = tf.stack([x - x1, y - y1, x2 - x, y2 - y], -1)
    near = weight[..., 0]
    log_true = tf.math.log(tf.maximum(true, 1.0) / stride)
    l1 = tf.reduce_mean(tf.abs(ltrb - log_true), -1)
    px1, py1, px2, py2 = x - left, y - top, x + right, y + bottom
    overlap = tf.maximum(tf.minimum(px2, x2) - tf.maximum(px1, x1), 0) * tf.maximum(
        tf.minimum(py2, y2) - tf.maximum(py1, y1), 0
    )
    union = (px2 - px1) * (py2 - py1) + (x2 - x1) * (y2 - y1) - overlap
    hull = (tf.maximum(px2, x2) - tf.minimum(px1, x1)) * (tf.maximum(py2, y2) - tf.minimum(py1, y1))
    giou = overlap / tf.maximum(union, 1.0) - (hull - union) / tf.maximum(hull, 1.0)
    return tf.reduce_sum((1 - giou + 0.5 * l1) * near) / tf.maximum(tf.reduce_sum(near), 1.0)


def smooth_maximum(heat_logits: Any, sharpness: float = 4.0) -> Any:
    """(n, g, g, 1) logits -> (n,) log-sum-exp at `sharpness`: near the maximum, with a wider gradient."""
    import tensorflow as tf

    flat = tf.reshape(heat_logits, (tf.shape(heat_logits)[0], -1))
    return tf.reduce_logsumexp(flat * sharpness, axis=1) / sharpness


def _bce(logits: Any, labels: Any, weight: Any) -> Any:
    import tensorflow as tf

    each = tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)
    return tf.reduce_sum(each * weight) / _count(weight)


def _count(weight: Any) -> Any:
    import tensorflow as tf

    return tf.maximum(tf.reduce_sum(weight), 1.0)
