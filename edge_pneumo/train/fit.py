"""Training a detector: films -> stages of epochs -> averaged weights -> decode fitted on val -> a run directory."""

from __future__ import annotations

import csv
import hashlib
import json
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_pneumo import __version__
from edge_pneumo.edge_runtime.decode import DecodeSpec, RawOutputs
from edge_pneumo.edge_runtime.files import atomic_write
from edge_pneumo.edge_runtime.preprocess import Geometry, InputSpec
from edge_pneumo.errors import DataError, UsageFault
from edge_pneumo.train.config import Stage, TrainConfig
from edge_pneumo.train.data.seen import film_marks
from edge_pneumo.train.detector import DetectorConfig, build_detector
from edge_pneumo.train.feed import FilmSource, TrainingSet, one_epoch
from edge_pneumo.train.labels import AUXILIARY, FINDINGS, film_label, of_class
from edge_pneumo.train.masked import check_masked
from edge_pneumo.train.resume import TEACHER, State, check_directory, check_recipe, load_state, nothing_left, save_state
from edge_pneumo.train.run import raw_outputs, require_tensorflow, save_weights, write_decode, write_json
from edge_pneumo.train.teach import load_teachers, teacher_recipes
from edge_pneumo.train.weights import hidden_of_start, load_start, settle_batch_norm

if TYPE_CHECKING:
    from edge_pneumo.train.data.index import DataSet, Film

STRIDE = 16
PRUNE_FILMS = 128
Say = Callable[[str], None]


@dataclass(frozen=True)
class Validation:
    """Validation films, preprocessed at the detector's size."""

    films: Sequence[Film]
    images: NDArray[np.uint8]
    geometries: Sequence[Geometry]


def train_detector(
    config: TrainConfig, data: DataSet, out: Path, *, extra: Sequence[DataSet] = (), masked: Sequence[Path] = (),
    weights: str | Path | None = None, resume: bool = False, cache_dir: Path | None = None, say: Say = print,
) -> Path:  # fmt: skip
    """Train a detector and leave a run directory in `out`.

    Parameters
    ----------
    data : films with splits `train` and `val`; only `val` is used to choose anything.
    extra : weakly labelled films, all used for training.
    masked : folders of lung-masked films, for stages that ask for them.
    weights : "none", a file, or None for Keras's own ImageNet weights.
    say : receives progress, one sentence at a time.

    Raises
    ------
    UsageFault, DataError, MissingExtra
    """
    out = Path(out)
    check_directory(out, resume)
    masked_films = check_masked(masked)
    if not masked and all(stage.films == "masked" for stage in config.stages):
        raise UsageFault(f"every stage of the recipe {config.name} needs lung-masked films; give --masked DIR")
    if resume and (out / "model.weights.h5").exists() and not (out / "state.npz").exists():
        check_recipe(out, config.to_dict(), "train")
        say(f"{out} is finished already")
        return out
    require_tensorflow()
    with nothing_left(out):
        _train(config, data, out, extra, masked, masked_films, weights, resume, cache_dir, say)
    return out


def _train(
    config: TrainConfig, data: DataSet, out: Path, extra: Sequence[DataSet], masked: Sequence[Path], masked_films: int,
    weights: str | Path | None, resume: bool, cache_dir: Path | None, say: Say,
) -> None:  # fmt: skip
    import tensorflow as tf

    places = [out / f"{TEACHER}{number}" for number in range(1, config.teachers + 1)]
    for place, recipe in zip(places, teacher_recipes(config), strict=True):
        train_detector(
            recipe, data, place, extra=extra, masked=masked, weights=weights, resume=resume, cache_dir=cache_dir,
            say=_signed(place.name, say),
        )  # fmt: skip
    tf.keras.utils.set_random_seed(config.seed)
    spec = InputSpec(config.size_px)
    train, weak = data.split("train"), _others([film for one in extra for film in one.films], data, say)
    labels = {film.label for film in train.films}
    if labels != {0, 1}:
        raise DataError(f"the train split needs films with and without opacities, found labels {sorted(labels)}")
    findings = _auxiliary_outputs(config, [*train.films, *weak])
    shape = DetectorConfig(
        config.size_px, config.alpha, config.head_channels, findings, config.dropout, hidden_of_start(weights)
    )
    model = build_detector(shape)
    start = load_start(model, weights)
    say(f"detector: {model.count_params():,} parameters, {start}")
    record = {
        "kind": "detector", "train": config.to_dict(), "findings": findings, "start": start, "version": __version__,
        "input": {"size_px": spec.size_px, "fill": spec.fill, "scale": spec.scale, "zero_point": spec.zero_point},
        "data": {
            "split_hash": data.split_hash, "train": len(train), "weak": len(weak), "masked": masked_films,
            "marks": {name: film_marks(films) for name, films in (("train", train), ("val", data.split("val")))},
        },
        "toolchain": {"tensorflow": tf.__version__, "numpy": np.__version__}, "hidden": shape.hidden,
    }  # fmt: skip
    fingerprint = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
    validation = load_validation(data, spec, cache_dir, say)
    fitting = _Fitting(config, model, shape, spec, out, fingerprint, say, places)
    if resume and (out / "state.npz").exists():
        fitting.restore(load_state(out / "state.npz", fingerprint))
    else:
        if resume:
            say("nothing to go on from: beginning with the first epoch")
        write_json(out / "config.json", record)
    films, shown = None, None
    for number, stage in enumerate(config.stages):
        if number < fitting.stage:
            continue
        if stage.films == "masked" and not masked:
            say(f"stage {stage.name} left out: no --masked folder was given")
            fitting.stage = number + 1
            continue
        if stage.films == "mixed" and not masked:
            say(f"stage {stage.name}: no --masked folder was given, so it shows whole films alone")
        if films is None or shown is not stage:
            judged = {film.group for film in validation.films if film.group}
            films, shown = _films_of_stage(stage, config, train.films, weak, masked, judged, cache_dir, say), stage
        if not fitting.rows and start.startswith("ImageNet"):
            settle_batch_norm(model, spec_of(stage, config).normalise(films.sources[0].images[:128]))
        fitting.run_stage(number, stage, films, validation)
    fitting.finish(validation, record)


def _signed(name: str, say: Say) -> Say:
    from edge_pneumo.train.data.cache import LeftOut

    # a film that is left out is left out for teachers and pupil alike, and named once
    return lambda sentence: say(sentence if isinstance(sentence, LeftOut) else f"{name}: {sentence}")


def _auxiliary_outputs(config: TrainConfig, films: Sequence[Film]) -> int:
    """How many of `AUXILIARY` there is something to learn about."""
    if not config.loss.findings:
        return 0
    if config.loss.normal and any(of_class(film.class_name) is not None for film in films):
        return len(AUXILIARY)
    return len(FINDINGS) if any(film.findings is not None for film in films) else 0


def _others(weak: Sequence[Film], data: DataSet, say: Say) -> list[Film]:
    """Weak films without those of patients who are judged on: another film of theirs would flatter the figures."""
    judged = {film.group for film in data.split("val").films}
    kept = [film for film in weak if film.group not in judged]
    if len(kept) < len(weak):
        say(f"{len(weak) - len(kept)} weak films left out: their patients are in val")
    return kept


def spec_of(stage: Stage, config: TrainConfig) -> InputSpec:
    """The input contract of a stage."""
    return InputSpec(stage.size_px or config.size_px)


def load_validation(data: DataSet, spec: InputSpec, cache_dir: Path | None, say: Say) -> Validation:
    """Read the validation films; DataError where there are none to choose by."""
    from edge_pneumo.train.data.cache import LeftOut, load_images

    films = data.split("val").films
    images, geometries, kept, refused = load_images(films, spec, cache_dir)
    for one in refused:
        say(LeftOut.of(one))
    films = [films[k] for k in kept]
    if len({film.label for film in films}) < 2:
        raise DataError("the val split needs readable films with and without opacities: check splits.csv")
    return Validation(films, images, geometries)


def _films_of_stage(
    stage: Stage, config: TrainConfig, labelled: Sequence[Film], weak: Sequence[Film], masked: Sequence[Path],
    judged: Collection[str], cache_dir: Path | None, say: Say,
) -> TrainingSet:  # fmt: skip
    sets = []
    if stage.films != "masked":
        sets.append(_load(labelled, stage, config, stage.labelled_repeat, cache_dir, say))
        if weak:
            sets.append(_load(weak, stage, config, 1, cache_dir, say))
    if stage.films != "all" and masked:
        from edge_pneumo.train.masked import load_masked, load_surroundings

        spec = spec_of(stage, config)
        around = load_surroundings([*labelled, *weak], spec, cache_dir)
        sets.append(load_masked(masked, spec, around, say, without=judged, apart=stage.apart))
    return TrainingSet(sets)


def _load(
    films: Sequence[Film], stage: Stage, config: TrainConfig, repeat: int, cache_dir: Path | None, say: Say
) -> FilmSource:
    from edge_pneumo.train.data.cache import LeftOut, load_images

    images, geometries, kept, refused = load_images(films, spec_of(stage, config), cache_dir)
    for one in refused:
        say(LeftOut.of(one))
    if len(kept) < len(films) / 2:
        raise DataError(f"only {len(kept)} of {len(films)} films could be read; the first: {refused[0][1]}")
    labels = [
        film_label(films[k], g, config.loss.weak_box, config.loss.weak_film)
        for k, g in zip(kept, geometries, strict=True)
    ]
    return FilmSource(images, labels, repeat)


class _Fitting:
    """A model on its way: optimizers, averaged weights and the log, which resume together."""

    def __init__(
        self, config: TrainConfig, model: Any, shape: DetectorConfig, spec: InputSpec, out: Path, fingerprint: str,
        say: Say, teachers: Sequence[Path] = (),
    ) -> None:  # fmt: skip
        self.teachers = teachers
        self.config, self.model, self.shape, self.spec = config, model, shape, spec
        self.out, self.fingerprint, self.say = out, fingerprint, say
        self.stage, self.epoch, self.rows = 0, 0, []
        self.average = [np.array(w) for w in model.get_weights()]
        self.pending: State | None = None

    def restore(self, state: State) -> None:
        self.stage, self.epoch, self.rows, self.pending = state.stage, state.epoch, state.rows, state
        if state.hidden != self.shape.hidden:
            self.shape = replace(self.shape, hidden=state.hidden)
            self.model = build_detector(self.shape)
        self.model.set_weights(state.arrays["weights"])
        self.average = state.arrays["average"]
        self.say(f"resumed after epoch {self.epoch} of stage {self.config.stages[self.stage].name}")

    def run_stage(self, number: int, stage: Stage, films: TrainingSet, validation: Validation) -> None:
        from edge_pneumo.train.step import Stepper

        spec = spec_of(stage, self.config)
        if self.epoch == 0 and stage.prune:
            self._prune(stage, spec, films.sources[0].images, validation)
        model = self.model
        if spec.size_px != self.spec.size_px:
            model = build_detector(replace(self.shape, size_px=spec.size_px))
            model.set_weights(self.model.get_weights())
        steps = max(len(films) // stage.batch_size, 1)
        stepper = Stepper(
            model, stage, self.config, STRIDE, steps * stage.epochs, steps * stage.warmup_epochs,
            load_teachers(self.teachers, spec.size_px),
        )  # fmt: skip
        stepper.average = self.average
        if self.pending is not None and self.epoch > 0:
            stepper.restore(self.pending.arrays)
        self.pending = None
        while self.epoch < stage.epochs:
            began = time.monotonic()
            feed = one_epoch(
                films, spec, STRIDE, stage.batch_size, self.config.augment, self.config.loss.gaussian,
                (self.config.seed, number, self.epoch), self.shape.findings,
            )  # fmt: skip
            losses = stepper.run_epoch(feed, steps, f"{stage.name} {self.epoch + 1}/{stage.epochs}")
            self.average = stepper.average
            self.model.set_weights(model.get_weights())
            self.epoch += 1
            row = {"stage": stage.name, "epoch": self.epoch, **losses, **self._judge(validation)}
            row["seconds"] = round(time.monotonic() - began, 1)
            self.rows.append(row)
            self._tell(row, stage)
            arrays = {"weights": self.model.get_weights(), "average": self.average, **stepper.state()}
            state = State(self.stage, self.epoch, self.rows, arrays, self.shape.hidden)
            save_state(self.out / "state.npz", state, self.fingerprint)
            write_log(self.out / "log.csv", self.rows)
        self.stage, self.epoch = number + 1, 0
        self.model.set_weights(self.average)

    def _prune(self, stage: Stage, spec: InputSpec, images: NDArray[np.uint8], validation: Validation) -> None:
        """Take out the channels that the stage can do without, measured on films spread over all."""
        from edge_pneumo.train.prune import prune

        some = images[:: max(len(images) // PRUNE_FILMS, 1)][:PRUNE_FILMS]
        whole, before = self.model.count_params(), self._judge(validation)["val_auc_heat"]
        model = build_detector(replace(self.shape, size_px=spec.size_px))
        model.set_weights(self.model.get_weights())
        smaller, shape = prune(model, replace(self.shape, size_px=spec.size_px), spec.normalise(some), stage.prune)
        self.shape = replace(shape, size_px=self.shape.size_px)
        self.model = build_detector(self.shape)
        self.model.set_weights(smaller.get_weights())
        self.average = self.model.get_weights()
        self.say(
            f"{stage.name}: channels taken out for {stage.prune:.1%} of each block's variance; "
            f"{whole:,} parameters before, {self.model.count_params():,} now; "
            f"val AUC heat {before:.3f} before, {self._judge(validation)['val_auc_heat']:.3f} now"
        )

    def _judge(self, validation: Validation) -> dict[str, float]:
        from edge_pneumo.benchmarks.metrics import auc

        kept = self.model.get_weights()
        self.model.set_weights(self.average)
        raw = raw_outputs(self.model, self.spec, validation.images)
        self.model.set_weights(kept)
        labels = np.array([film.label for film in validation.films])
        heat = np.array([r.heat.max() for r in raw])
        image = np.array([r.image_logit for r in raw])
        return {"val_auc_heat": auc(labels, heat), "val_auc_image": auc(labels, image)}

    def _tell(self, row: dict[str, Any], stage: Stage) -> None:
        left = (stage.epochs - self.epoch) * row["seconds"]
        count = len(self.config.stages)
        stages = f" (stage {self.stage + 1} of {count})" if count > 1 else ""
        self.say(
            f"{row['stage']} {self.epoch}/{stage.epochs}: loss {row['loss']:.3f}, "
            f"val AUC heat {row['val_auc_heat']:.3f} image {row['val_auc_image']:.3f}, "
            f"{row['seconds']:.0f} s, about {left / 60:.1f} min of this stage left{stages}"
        )

    def finish(self, validation: Validation, record: dict[str, Any]) -> None:
        """Keep the averaged weights, fit decode on val, measure there, draw the curves."""
        from edge_pneumo.train.curves import draw_curves

        self.model.set_weights(self.average)
        model = build_detector(replace(self.shape, findings=0))
        copy_by_name(self.model, model)
        raw = raw_outputs(model, self.spec, validation.images)
        spec, metrics = fit_decode(raw, validation, record)
        write_decode(self.out, spec)
        write_json(self.out / "metrics.json", metrics)
        write_json(self.out / "config.json", {**record, "hidden": self.shape.hidden})
        draw_curves(self.out / "curves.svg", self.rows)
        save_weights(model, self.out / "model.weights.h5")
        (self.out / "state.npz").unlink(missing_ok=True)
        figures = {name: metrics[name]["value"] for name in ("auc", "rsna_score")}
        summary = ", ".join(f"{name} {value:.3f}" for name, value in figures.items() if value is not None)
        self.say(f"finished: on {metrics['n']} val films {summary} (thresholds chosen on the same films)")


def copy_by_name(source: Any, target: Any) -> None:
    """Copy weights between two graphs that share layer names."""
    for layer in target.layers:
        if layer.weights:
            layer.set_weights(source.get_layer(layer.name).get_weights())


def fit_decode(
    raw: Sequence[RawOutputs], validation: Validation, record: dict[str, Any]
) -> tuple[DecodeSpec, dict[str, Any]]:
    """Calibration, operating points and box threshold from validation films, and what they give there."""
    from edge_pneumo.benchmarks.metrics import evaluate
    from edge_pneumo.benchmarks.metrics.candidates import candidate_spec
    from edge_pneumo.benchmarks.operating import choose_box_threshold, choose_operating_points, fit_operating
    from edge_pneumo.edge_runtime.decode import decode

    films, spec = validation.films, DecodeSpec(stride=STRIDE, vote_iou=0.5)
    labels = np.array([film.label for film in films])
    image, heat = np.array([r.image_logit for r in raw]), np.array([r.heat.max() for r in raw])
    platt = fit_operating(image, heat, labels, [film.group for film in films])
    points = choose_operating_points(labels, platt.probability(image, heat))
    spec = replace(platt.apply(spec), operating_points=points, default_operating_point="balanced")
    if any(film.boxes_xyxy for film in films):
        boxes = [np.array(film.boxes_xyxy, np.float32).reshape(-1, 4) for film in films]
        spec = choose_box_threshold(raw, validation.geometries, boxes, spec)
    found, candidates = (
        [decode(r, s, g) for r, g in zip(raw, validation.geometries, strict=True)] for s in (spec, candidate_spec(spec))
    )
    return spec, evaluate(
        films, found, candidates=candidates, operating_points=spec.operating_points,
        model={"kind": record["kind"]}, data={"split": "val", "split_hash": record["data"]["split_hash"]},
    )  # fmt: skip


def write_log(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the log of epochs as CSV."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with atomic_write(path, "w") as stream:
        table = csv.DictWriter(stream, columns)
        table.writeheader()
        table.writerows(rows)
