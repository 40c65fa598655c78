"""Training a reference system, top to bottom: films -> start -> epochs -> calibration on val -> a run directory.

The run directory is that of a detector (see train/run.py), with kind "system" in its config.json.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_pneumo import __version__
from edge_pneumo.edge_runtime.decode import DecodeSpec
from edge_pneumo.edge_runtime.preprocess import InputSpec
from edge_pneumo.errors import FilmRefused
from edge_pneumo.train.config import AugmentConfig
from edge_pneumo.train.resume import check_directory, check_recipe, load_state
from edge_pneumo.train.run import require_tensorflow, save_weights, write_decode, write_json
from edge_pneumo.train.systems.catalogue import System, find_system
from edge_pneumo.train.systems.feed import BATCH_SIZE, Pictures, Say, batches, load_pictures, outputs
from edge_pneumo.train.systems.start import Start, start_weights

if TYPE_CHECKING:
    from edge_pneumo.train.data.index import DataSet

PLATEAU = {"monitor": "val_loss", "factor": 0.5, "patience": 2, "min_lr": 1e-6}
"""Halve the rate when val_loss has not fallen for two epochs."""


def to_stderr(text: str) -> None:
    """Progress where no one asked for it elsewhere."""
    print(text, file=sys.stderr)


def train_system(
    name: str, data: DataSet, out: str | Path, *, extra: Sequence[DataSet] = (), weights: str | Path | None = None,
    epochs: int | None = None, seed: int = 0, resume: bool = False, cache_dir: Path | None = None,
    tensorboard: bool = False, say: Say = to_stderr,
) -> Path:  # fmt: skip
    """Train one of the seven systems and leave a run directory in `out`.

    Parameters
    ----------
    name : of the system, or its row in the report.
    data : films with splits `train` and `val`. `val` steers the learning rate, the calibration and the thresholds; the
        weights are those of the last epoch, so none is picked by it.
    extra : more films, all used for training, each counting by its weight.
    weights : see `start_weights`.
    epochs : None for the system's own number.
    resume : go on from the last finished epoch of `out`; nothing is done where it is finished.
    cache_dir : keeps decoded films.
    tensorboard : also write event files to `out`/tensorboard.

    Raises
    ------
    UsageFault, DataError, MissingExtra
    """
    system, out = find_system(name), Path(out)
    require_tensorflow()
    from tf_keras.utils import set_random_seed

    from edge_pneumo.train.systems.graphs import build_system

    check_directory(out, resume)
    if resume and (out / "model.weights.h5").exists():
        check_recipe(out, {"system": system.name, "epochs": epochs or system.epochs, "seed": seed})
        say(f"{out} is finished already")
        return out
    set_random_seed(seed)
    model, spec = build_system(system), InputSpec(system.size_px)
    start = start_weights(model, system, weights)
    say(f"{system.name}: {model.count_params():,} parameters, {start.sentence}")
    for warning in _warnings(system, start):
        say(f"warning: {warning}")
    films = [*data.split("train").films, *(film for one in extra for film in one.films)]
    train = load_pictures(films, spec, cache_dir, say)
    val = load_pictures(data.split("val").films, spec, cache_dir, say)
    epochs = epochs or system.epochs
    record = _record(system, spec, start, data, train, val, epochs, seed)
    say(
        f"{len(train)} films to train on, {train.labels.mean():.1%} with an opacity; on the {len(val)} val films "
        f"always answering no is {1 - val.labels.mean():.1%} accurate. Classes are not re-weighted, which keeps "
        "probabilities honest"
    )
    if not (resume and (out / "state.npz").exists()):
        write_json(out / "config.json", record)
    rows = _run_epochs(system, model, train, val, epochs, seed, out, _fingerprint(record), resume, tensorboard, say)
    _finish(system, model, val, rows, record, train, out, say)
    return out


def _warnings(system: System, start: Start) -> list[str]:
    warnings = []
    if system.frozen and not start.wanted:
        warnings.append(
            f"the features of {system.name} do not learn and are random: only the head can make use of them"
        )
    if system.start == "chexnet":
        warnings.append(
            "CheXNet was trained on NIH ChestX-ray14, and RSNA's films come from there: what is measured on them is "
            "better than it will be on new patients"
        )
    return warnings


def _record(
    system: System, spec: InputSpec, start: Start, data: DataSet, train: Pictures, val: Pictures, epochs: int, seed: int
) -> dict[str, Any]:
    import tensorflow as tf

    return {
        "kind": "system", "system": system.name, "reference": system.reference, "epochs": epochs, "seed": seed,
        "batch_size": BATCH_SIZE, "learning_rate": system.learning_rate, "reduce_on_plateau": PLATEAU,
        "augment": asdict(AugmentConfig()) if system.augmented else None, "scaling": system.scaling,
        "start": start.to_dict(), "input": asdict(spec), "version": __version__,
        "data": {
            "split_hash": data.split_hash, "train": len(train), "val": len(val),
            "train_prevalence": float(train.labels.mean()), "val_prevalence": float(val.labels.mean()),
        },
        "toolchain": {"tensorflow": tf.__version__, "numpy": np.__version__},
    }  # fmt: skip


def _fingerprint(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _run_epochs(
    system: System, model: Any, train: Pictures, val: Pictures, epochs: int, seed: int, out: Path, fingerprint: str,
    resume: bool, tensorboard: bool, say: Say,
) -> list[dict[str, Any]]:  # fmt: skip
    """Fit, keeping log and state after each epoch; the rows of the log."""
    from tf_keras import callbacks, losses, metrics, optimizers

    from edge_pneumo.train.systems.events import event_writer
    from edge_pneumo.train.systems.keeper import keeper

    steps = -(-len(train) // BATCH_SIZE)
    _quicken_batch_norm(model, steps)
    optimizer = optimizers.Adam(system.learning_rate)
    optimizer.build(model.trainable_variables)
    parts = {"image_logit": losses.BinaryCrossentropy(from_logits=True)}
    if system.one_box:
        parts["box"] = losses.Huber()
    accuracy = {"image_logit": metrics.BinaryAccuracy("accuracy", threshold=0.0)}
    model.compile(optimizer, parts, weighted_metrics=accuracy)
    plateau = callbacks.ReduceLROnPlateau(**PLATEAU)
    state = load_state(out / "state.npz", fingerprint) if resume and (out / "state.npz").exists() else None
    keep = keeper(system, val, plateau, out, fingerprint, state, epochs, say)
    first = state.epoch if state else 0
    chain = [keep.judge, plateau, keep.save]
    if tensorboard:
        chain.append(event_writer(out / "tensorboard"))
    feed = batches(train, system.scaling, AugmentConfig() if system.augmented else None, seed, first, system.one_box)
    model.fit(feed, steps_per_epoch=steps, initial_epoch=first, epochs=epochs, callbacks=chain, verbose=0)
    return keep.rows


def _quicken_batch_norm(model: Any, steps: int) -> None:
    """Let moving statistics forget their start within an epoch or so.

    Keras's momentum of .99 to .999 is meant for hundreds of steps an epoch. With a dozen, the statistics that answer on
    val would still be those of the random start when training ends.
    """
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization" and layer.trainable:
            layer.momentum = min(layer.momentum, 0.5 ** (1 / steps))


def _finish(
    system: System, model: Any, val: Pictures, rows: list[dict[str, Any]], record: dict[str, Any], train: Pictures,
    out: Path, say: Say,
) -> None:  # fmt: skip
    """Calibrate on val, measure there, draw the curves, keep the weights."""
    from edge_pneumo.benchmarks.metrics import evaluate
    from edge_pneumo.benchmarks.metrics.candidates import candidate_spec, shown
    from edge_pneumo.train.systems.curves import draw_course
    from edge_pneumo.train.systems.graphs import build_system
    from edge_pneumo.train.systems.trained import TrainedSystem

    spec = calibrate(outputs(model, val.images, system.scaling)["image_logit"], val)
    write_decode(out, spec)
    draw_course(out / "curves.svg", rows, always_no=float(1 - val.labels.mean()))
    wide = candidate_spec(spec)
    trained = TrainedSystem(out, "system", record, system, model, InputSpec(**record["input"]), wide)
    candidates = [found for _, found in trained.findings(val.films)]
    findings = [found if isinstance(found, FilmRefused) else shown(found, spec) for found in candidates]
    metrics = evaluate(
        val.films, findings, candidates=candidates, model={"kind": "system", "name": system.name},
        data={"split": "val", "split_hash": record["data"]["split_hash"]},
        operating_points=spec.operating_points, reference=train.films,
    )  # fmt: skip
    write_json(out / "metrics.json", metrics)
    bare = build_system(system)  # a compiled model would store its optimizer too, three times the size
    bare.set_weights(model.get_weights())
    save_weights(bare, out / "model.weights.h5")
    (out / "state.npz").unlink(missing_ok=True)
    auc = metrics["auc"]
    say(f"finished: AUC {auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f}) on {metrics['n']} val films")


def calibrate(logits: np.ndarray, val: Pictures) -> DecodeSpec:
    """Platt scaling and thresholds from val, as for the detector; the one box shows on films called positive.

    A system that ranks val no better than chance cannot be calibrated: Platt's slope would be 0, and all films alike.
    Its own logits stay, so that it is measured as what it is.
    """
    from edge_pneumo.benchmarks.operating import Platt, choose_operating_points, fit_operating

    groups = [film.group for film in val.films]
    platt = fit_operating(logits, np.zeros(len(logits)), val.labels, groups)
    if platt.image_weight == 0:
        platt = Platt(1.0, 0.0, 0.0)
    points = choose_operating_points(val.labels, platt.probability(logits, np.zeros(len(logits))))
    spec = platt.apply(DecodeSpec(operating_points=points, max_boxes=1))
    return DecodeSpec(**{**asdict(spec), "box_threshold": points[spec.default_operating_point]})
