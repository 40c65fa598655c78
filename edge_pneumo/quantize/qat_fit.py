"""Quantisation-aware training: the rounded network learns to answer as its float original does.

The loss is the distance to the float model's own outputs on changed training films (distillation). It needs no label,
cannot over-fit the few boxes there are, and asks exactly what is wanted: that int8 says what float says.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pneumo import __version__
from edge_pneumo.edge_runtime.decode import decode
from edge_pneumo.edge_runtime.preprocess import InputSpec
from edge_pneumo.errors import UsageFault
from edge_pneumo.quantize.export import OUTPUTS
from edge_pneumo.quantize.gate import Proof
from edge_pneumo.quantize.material import calibration_images, proof_films
from edge_pneumo.quantize.qat import FLOAT_WEIGHTS, quantise_aware, set_ranges
from edge_pneumo.quantize.rounded_model import ROUNDING_FILMS, round_in_place
from edge_pneumo.train.augment import augment
from edge_pneumo.train.config import AugmentConfig
from edge_pneumo.train.data.film import DataSet
from edge_pneumo.train.fit import write_log
from edge_pneumo.train.resume import State, check_recipe, load_state, save_state
from edge_pneumo.train.run import (
    TrainedRun,
    load_run,
    raw_outputs,
    save_weights,
    write_decode,
    write_json,
)

Say = Callable[[str], None]
_ALL = 10**9


@dataclass(frozen=True)
class QatOptions:
    """How to train.

    Attributes
    ----------
    epochs : passes over the training films.
    learning_rate : Adam's peak rate; cosine to 2 %.
    batch_size : films a step.
    calibration_batches : batches that set the ranges before the first step.
    seed : order and changes of films.
    split : films by which the best epoch is chosen.
    """

    epochs: int = 3
    learning_rate: float = 1e-5
    batch_size: int = 16
    calibration_batches: int = 8
    seed: int = 0
    split: str = "val"

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < np.inf:
            raise UsageFault(f"the learning rate is {self.learning_rate}; expected a number above 0")


def quantise_run(
    run: TrainedRun | str | Path,
    dataset: DataSet,
    out: str | Path,
    options: QatOptions | None = None,
    *,
    resume: bool = False,
    cache_dir: Path | None = None,
    say: Say = lambda sentence: None,
) -> Path:
    """Train a float run with eight-bit rounding; leave a run directory that `load_run` and `convert` accept.

    Parameters
    ----------
    run : a float detector run, or its directory.
    dataset : films; "train" is trained on, `options.split` chooses the best epoch. Labels are not used to train.
    out : the new run directory.
    resume : go on from the last finished epoch in `out`.

    Raises
    ------
    UsageFault, DataError, MissingExtra, WriteFailed
    """
    options, out = options or QatOptions(), Path(out)
    run = _checked(load_run(run) if isinstance(run, str | Path) else run, out, resume)
    import tf_keras

    tf_keras.utils.set_random_seed(options.seed)
    spec = run.input_spec
    record = _record(run, dataset, options)
    fingerprint = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
    if resume and (out / "model.weights.h5").exists():
        check_recipe(out, record["qat"], "qat")
        say(f"{out} is finished already")
        return out
    state = load_state(out / "state.npz", fingerprint) if resume and (out / "state.npz").exists() else None
    _, images = calibration_images(dataset, _ALL, options.seed, spec, cache_dir, say)
    proof, left_out = proof_films(dataset, True, options.split, spec, cache_dir)
    for sentence in left_out:
        say(sentence)

    write_json(out / "config.json", record)
    write_decode(out, run.decode_spec)

    def rounded(copy: Any) -> None:
        if state is None:  # else its weights are those of the epoch that it goes on from
            say("rounding weights for what they are multiplied with")
            round_in_place(copy, images[:ROUNDING_FILMS], spec)

    student = quantise_aware(run.model, rounded)
    fitting = _Fitting(student, run.model, options, spec, images, proof.images)
    if state is None:
        size = options.batch_size
        batches = [spec.normalise(images[i : i + size]) for i in range(0, len(images), size)]
        count = set_ranges(student, run.model, spec, batches[: options.calibration_batches])
        say(f"{count} activation ranges set from {min(len(batches), options.calibration_batches)} batches")
        fitting.keep_if_best(0)
        say(f"before training: distance to float {fitting.best:.5f}")
    else:
        fitting.restore(state)
        say(f"resumed after epoch {fitting.epoch}")
    while fitting.epoch < options.epochs:
        row = fitting.run_epoch()
        say(
            f"epoch {row['epoch']}/{options.epochs}: loss {row['loss']:.5f}, distance to float on {options.split} "
            f"{row['val_distance']:.5f}{' (best)' if row['best'] else ''}, {row['seconds']:.0f} s"
        )
        save_state(out / "state.npz", fitting.state(), fingerprint)
        write_log(out / "log.csv", fitting.rows)
    student.set_weights(fitting.best_weights)
    save_weights(run.model, out / FLOAT_WEIGHTS)
    write_json(out / "metrics.json", _measure(student, run, proof, dataset, options))
    save_weights(student, out / "model.weights.h5")
    (out / "state.npz").unlink(missing_ok=True)
    return out


class _Fitting:
    """A student on its way to its teacher; everything that resumes together."""

    def __init__(
        self,
        student: Any,
        teacher: Any,
        options: QatOptions,
        spec: InputSpec,
        images: NDArray[np.uint8],
        val_images: NDArray[np.uint8],
    ) -> None:
        import tensorflow as tf
        import tf_keras

        self.student, self.teacher, self.options, self.spec = student, teacher, options, spec
        self.images, self.val_images = images, val_images
        self.epoch, self.rows = 0, []
        self.best, self.best_weights = np.inf, [np.array(w) for w in student.get_weights()]
        self.steps = max(len(images) // options.batch_size, 1)
        self.optimizer = tf_keras.optimizers.Adam(options.learning_rate, clipnorm=1.0)
        self.optimizer.build(student.trainable_variables)
        sample = teacher(spec.normalise(images[: 2 * options.batch_size]), training=False)
        self.variance = {name: float(np.var(sample[name])) + 1e-6 for name in OUTPUTS}
        self.step = tf.function(self._step, reduce_retracing=True)
        self.measure = tf.function(self._measure, reduce_retracing=True)

    def _step(self, images: Any) -> Any:
        import tensorflow as tf

        target = self.teacher(images, training=False)
        with tf.GradientTape() as tape:
            loss = distance(self.student(images, training=True), target, self.variance)
        variables = self.student.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    def _measure(self, images: Any) -> Any:
        target = self.teacher(images, training=False)
        return distance(self.student(images, training=False), target, self.variance)

    def keep_if_best(self, epoch: int) -> dict[str, Any]:
        """Measure on the validation films; keep the weights if they are the best so far."""
        size = self.options.batch_size
        found = [
            float(self.measure(self.spec.normalise(self.val_images[i : i + size]))) * len(self.val_images[i : i + size])
            for i in range(0, len(self.val_images), size)
        ]
        value = sum(found) / len(self.val_images)
        best = value < self.best
        if best:
            self.best, self.best_weights = value, [np.array(w) for w in self.student.get_weights()]
        return {"epoch": epoch, "val_distance": value, "best": best}

    def run_epoch(self) -> dict[str, Any]:
        """One pass over the training films in a new order, each changed anew."""
        from tqdm import tqdm

        began = time.monotonic()
        losses = []
        batches = self._batches(self.epoch)
        bar = tqdm(batches, f"epoch {self.epoch + 1}", self.steps, leave=False, disable=not sys.stderr.isatty())
        for number, batch in enumerate(bar):
            done = self.epoch * self.steps + number
            progress = done / (self.options.epochs * self.steps)
            rate = self.options.learning_rate * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * progress)))
            self.optimizer.learning_rate.assign(rate)
            losses.append(float(self.step(batch)))
        # weight ranges follow the weights of the step before; one more pass brings them up to date
        self.student(self.spec.normalise(self.images[: self.options.batch_size]), training=True)
        self.epoch += 1
        row = {"loss": float(np.mean(losses)), **self.keep_if_best(self.epoch)}
        row = {"epoch": self.epoch, **row, "seconds": round(time.monotonic() - began, 1)}
        self.rows.append(row)
        return row

    def _batches(self, epoch: int) -> Any:
        import tensorflow as tf

        rng = np.random.default_rng([self.options.seed, epoch])
        order = rng.permutation(len(self.images))
        no_boxes = np.zeros((0, 4), np.float32)
        size = self.options.batch_size
        for start in range(0, self.steps * size, size):
            chosen = order[start : start + size]
            changed = [augment(self.images[i, ..., 0], no_boxes, rng, AugmentConfig())[0] for i in chosen]
            yield tf.constant(self.spec.normalise(np.stack(changed)[..., np.newaxis]))

    def state(self) -> State:
        """Everything that a resumed run needs."""
        arrays = {
            "weights": self.student.get_weights(),
            "best": self.best_weights,
            "optimizer": [v.numpy() for v in self.optimizer.variables],
            "value": [np.array(self.best)],
        }
        return State(0, self.epoch, self.rows, arrays)

    def restore(self, state: State) -> None:
        """Take such a state up again."""
        self.epoch, self.rows = state.epoch, list(state.rows)
        self.student.set_weights(state.arrays["weights"])
        self.best, self.best_weights = float(state.arrays["value"][0]), state.arrays["best"]
        for variable, value in zip(self.optimizer.variables, state.arrays["optimizer"], strict=True):
            variable.assign(value)


def distance(student: dict[str, Any], teacher: dict[str, Any], variance: dict[str, float]) -> Any:
    """Mean squared difference of the outputs, each in units of its variance.

    Cells count by 1 + 20 x their heat's sigmoid: a film is nearly all background, and findings are made of the rest.
    """
    import tensorflow as tf

    weight = 1.0 + 20.0 * tf.sigmoid(teacher["heat"])
    weight = weight / tf.reduce_mean(weight)
    heat = tf.reduce_mean(weight * tf.square(student["heat"] - teacher["heat"])) / variance["heat"]
    ltrb = tf.reduce_mean(weight * tf.square(student["ltrb"] - teacher["ltrb"])) / variance["ltrb"]
    logit = tf.reduce_mean(tf.square(student["image_logit"] - teacher["image_logit"])) / variance["image_logit"]
    return (heat + ltrb + logit) / 3.0


def _checked(run: Any, out: Path, resume: bool) -> TrainedRun:
    if not isinstance(run, TrainedRun) or run.kind != "detector":
        kind = getattr(run, "kind", "system")
        raise UsageFault(f"quantize starts from a float detector run; this one is of kind '{kind}'")
    if out.exists() and not out.is_dir():
        raise UsageFault(f"{out} is a file; --out names a directory")
    if out.exists() and out.resolve() == run.path.resolve():
        raise UsageFault(f"--out {out} is the float run itself; name another directory")
    if not resume and any((out / name).exists() for name in ("config.json", "state.npz")):
        raise UsageFault(f"{out} holds a run already; go on with --resume, or give another --out")
    return run


def _record(run: TrainedRun, dataset: DataSet, options: QatOptions) -> dict[str, Any]:
    return {
        **run.config,
        "kind": "qat",
        "version": run.config.get("version", __version__),
        "qat": {**asdict(options), "source": run.path.name, "split_hash": dataset.split_hash},
    }


def _measure(student: Any, run: TrainedRun, proof: Proof, dataset: DataSet, options: QatOptions) -> dict[str, Any]:
    """The evaluator's JSON of the rounded network on the validation films."""
    from edge_pneumo.benchmarks.metrics import evaluate
    from edge_pneumo.benchmarks.metrics.candidates import candidate_spec

    raw, spec = raw_outputs(student, run.input_spec, proof.images), run.decode_spec
    found, candidates = (
        [decode(r, s, g) for r, g in zip(raw, proof.geometry, strict=True)] for s in (spec, candidate_spec(spec))
    )
    data = {"split": options.split, "split_hash": dataset.split_hash}
    return evaluate(
        list(proof.films), found, candidates=candidates, operating_points=spec.operating_points,
        model={"kind": "qat"}, data=data,
    )  # fmt: skip
