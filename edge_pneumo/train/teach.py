"""A detector taught by others: besides the labels of films it is told what detectors of other seeds say of the
very picture that it sees, changed as it is (Hinton et al., "Distilling the knowledge in a neural network", 2015; Beyer
et al., "Knowledge distillation: a good teacher is patient and consistent", CVPR 2022).

Radiologists' boxes are loose and their borderline films a toss-up. The mean of several detectors says how sure one may
be of a film and of each place on it, where a label says yes or no; and it says so of films without labels too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_pneumo.train.config import TrainConfig
from edge_pneumo.train.losses import heat_loss, smooth_maximum

SEEDS_APART = 1000
"""Between a detector's seed and its teachers', so that seeds 0, 1, 2 … share no teacher."""


def teacher_recipes(config: TrainConfig) -> list[TrainConfig]:
    """How the teachers of a detector are trained: as it is, but untaught, from other seeds, and without the stages that
    are for the pupil alone."""
    stages = tuple(stage for stage in config.stages if not stage.pupil)
    return [
        replace(config, teachers=0, seed=(config.seed + SEEDS_APART * number) % 2**32, stages=stages)
        for number in range(1, config.teachers + 1)
    ]


def load_teachers(places: Sequence[Path], size_px: int) -> list[Any]:
    """The detectors of finished runs, for films of side `size_px`; a network's weights do not depend on it."""
    from edge_pneumo.train.run import build_from_config, load_run

    teachers = []
    for place in places:
        run = load_run(place)
        recipe = {**run.config, "train": {**run.config["train"], "size_px": size_px}}
        teacher = build_from_config(recipe)
        teacher.set_weights(run.model.get_weights())
        teacher.trainable = False
        teachers.append(teacher)
    return teachers


def lessons(teachers: Sequence[Callable[..., Any]], images: Any) -> dict[str, Any]:
    """What teachers say of pictures (n, s, s, 1), on average: `heat` (n, g, g, 1), `image` and `pooled_heat` (n,) as
    probabilities, `ltrb` (n, g, g, 4) as log distances."""
    import tensorflow as tf

    said = [teacher(images, training=False) for teacher in teachers]

    def mean(values: list[Any]) -> Any:
        return tf.stop_gradient(tf.add_n(values) / len(values))

    return {
        "heat": mean([tf.sigmoid(one["heat"]) for one in said]),
        "image": mean([tf.sigmoid(one["image_logit"][:, 0]) for one in said]),
        "pooled_heat": mean([tf.sigmoid(smooth_maximum(one["heat"])) for one in said]),
        "ltrb": mean([one["ltrb"] for one in said]),
    }


def taught_loss(outputs: dict[str, Any], lesson: dict[str, Any]) -> dict[str, Any]:
    """How far a detector's outputs are from a lesson; the same terms as `detection_loss`, not weighted.

    The box term is the L1 of log distances where teachers see the centre of an opacity.
    """
    import tensorflow as tf

    def entropy(truth: Any, logit: Any) -> Any:
        return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(truth, logit))

    heat = lesson["heat"]
    far = tf.reduce_mean(tf.abs(outputs["ltrb"] - lesson["ltrb"]), -1, keepdims=True)
    return {
        "heat": heat_loss(outputs["heat"], heat, tf.ones(tf.shape(heat)[:1])),
        "box": tf.reduce_sum(far * heat) / tf.maximum(tf.reduce_sum(heat), 1.0),
        "image": entropy(lesson["image"], outputs["image_logit"][:, 0]),
        "pooled_heat": entropy(lesson["pooled_heat"], smooth_maximum(outputs["heat"])),
    }
