"""One training step and one epoch: two Adam rates (backbone, new layers), cosine decay, averaged weights.

A batch of films that are kept apart is normalised by its own mean and variance like any other, but does not move the
statistics that the finished detector normalises by: those are of films as it will meet them (compare the auxiliary
batch norm of Xie et al., "Adversarial Examples Improve Image Recognition", CVPR 2020).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.progress import watched
from edge_pneumo.train.config import Stage, TrainConfig
from edge_pneumo.train.feed import Batch
from edge_pneumo.train.losses import detection_loss
from edge_pneumo.train.teach import lessons, taught_loss
from edge_pneumo.train.weights import HEAD

TELL_EVERY_S = 60.0
"""How often a long epoch says how far it is where no bar can be drawn: a log of hours, not of a job's minute."""


class Stepper:
    """Steps a model through a stage and keeps the exponential average of its weights (Polyak averaging)."""

    def __init__(
        self, model: Any, stage: Stage, config: TrainConfig, stride: int, total_steps: int, warmup_steps: float,
        teachers: Sequence[Any] = (),
    ) -> None:  # fmt: skip
        import tensorflow as tf
        import tf_keras

        self.model, self.config, self.teachers = model, config, teachers
        self.average = [np.array(w) for w in model.get_weights()]
        frozen = ("stem", *(f"block{n}_" for n in range(stage.freeze_blocks))) if stage.freeze_blocks else ()
        for layer in model.layers:
            layer.trainable = not (frozen and layer.name.startswith(frozen))
        head = [v for layer in model.layers if layer.name.startswith(HEAD) for v in layer.trainable_variables]
        known = {id(v) for v in head}
        body = [v for v in model.trainable_variables if id(v) not in known]
        self.groups = [(body, stage.learning_rate), (head, stage.head_rate)]
        self.optimizers = [tf_keras.optimizers.Adam(rate, clipnorm=5.0) for _, rate in self.groups]
        for optimizer, (variables, _) in zip(self.optimizers, self.groups, strict=True):
            optimizer.build(variables)
        self.total, self.warmup, self.done = total_steps, warmup_steps, 0
        self.shadow = [tf.Variable(tf.constant(w), trainable=False) for w in self.average]
        self.moving = [v for layer in model.layers for v in layer.weights if "moving_" in v.name]
        self.step = tf.function(self._step, reduce_retracing=True)
        self.stride = stride

    def _step(self, images: Any, targets: dict[str, Any], decay: Any, apart: bool) -> dict[str, Any]:
        import tensorflow as tf

        before = [tf.identity(v) for v in self.moving] if apart else []
        lesson = lessons(self.teachers, images) if self.teachers else None
        with tf.GradientTape() as tape:
            outputs = self.model(images, training=True)
            terms = detection_loss(outputs, targets, self.stride, self.config.loss)
            if lesson is not None:
                weights = self.config.loss
                for name, term in taught_loss(outputs, lesson).items():
                    terms[name] = (1 - weights.taught) * terms[name] + weights.taught * getattr(weights, name) * term
            loss = tf.add_n(list(terms.values()))
        variables = [v for group, _ in self.groups for v in group]
        gradients = tape.gradient(loss, variables)
        first = len(self.groups[0][0])
        self.optimizers[0].apply_gradients(zip(gradients[:first], variables[:first], strict=True))
        self.optimizers[1].apply_gradients(zip(gradients[first:], variables[first:], strict=True))
        for variable, value in zip(self.moving, before, strict=False):
            variable.assign(value)
        for average, weight in zip(self.shadow, self.model.weights, strict=True):
            average.assign(decay * average + (1 - decay) * weight)
        return {**terms, "loss": loss}

    def rate(self) -> float:
        """Fraction of the peak rate at this step: linear warm-up, then cosine to 2 %."""
        if self.done < self.warmup:
            return (self.done + 1) / (self.warmup + 1)
        progress = (self.done - self.warmup) / max(self.total - self.warmup, 1)
        return 0.02 + 0.98 * 0.5 * (1 + float(np.cos(np.pi * min(progress, 1.0))))

    def run_epoch(self, batches: Iterable[Batch], steps: int, title: str) -> dict[str, float]:
        """Train on the batches; mean of each loss term."""
        import tensorflow as tf

        for variable, value in zip(self.shadow, self.average, strict=True):
            variable.assign(value)
        sums: dict[str, float] = {}
        count = 0
        for images, targets, apart in watched(batches, steps, title, every_s=TELL_EVERY_S):
            for optimizer, (_, peak) in zip(self.optimizers, self.groups, strict=True):
                optimizer.learning_rate.assign(peak * self.rate())
            decay = min(self.config.ema, (1 + self.done) / (10 + self.done))
            constants = {name: tf.constant(value) for name, value in targets.items()}
            terms = self.step(tf.constant(images), constants, tf.constant(decay, tf.float32), apart)
            self.done, count = self.done + 1, count + 1
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + float(value)
        self.average = [v.numpy() for v in self.shadow]
        return {name: value / count for name, value in sums.items()}

    def state(self) -> dict[str, list[NDArray]]:
        """Arrays that a resumed stage needs, beside the weights."""
        arrays = {f"optimizer{n}": [v.numpy() for v in o.variables] for n, o in enumerate(self.optimizers)}
        return {**arrays, "done": [np.array(self.done)]}

    def restore(self, arrays: dict[str, list[NDArray]]) -> None:
        """Take up such arrays again."""
        for n, optimizer in enumerate(self.optimizers):
            for variable, value in zip(optimizer.variables, arrays[f"optimizer{n}"], strict=True):
                variable.assign(value)
        self.done = int(arrays["done"][0])
