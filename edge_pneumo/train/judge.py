"""Any model on any labelled films, through the one evaluator: what `edge-pneumo evaluate` runs.

Needs TensorFlow only for a run directory; a .tflite is judged by the clinic's own pipeline.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_pneumo.benchmarks.answers import examine_films
from edge_pneumo.benchmarks.metrics import evaluate
from edge_pneumo.benchmarks.metrics.candidates import candidate_spec, shown
from edge_pneumo.edge_runtime.decode import Finding, decode
from edge_pneumo.edge_runtime.files import atomic_write
from edge_pneumo.edge_runtime.predict import Detector
from edge_pneumo.edge_runtime.result import box_to_dict
from edge_pneumo.errors import DataError, FilmRefused, UsageFault
from edge_pneumo.progress import watched
from edge_pneumo.train.data.index import DataSet, load_dataset
from edge_pneumo.train.data.seen import count_met
from edge_pneumo.train.run import load_run

if TYPE_CHECKING:
    from edge_pneumo.train.data.film import Film

Answer = Finding | FilmRefused


@dataclass(frozen=True)
class Judged:
    """The evaluator's JSON, and the films and answers that it came from."""

    result: dict[str, Any]
    films: tuple[Film, ...]
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Model:
    """A model of any kind, as the evaluator needs it.

    Attributes
    ----------
    facts : what the result says of it: name, version, kind, sha256 …
    operating_points : name -> threshold on the probability.
    default_point : the name that counts when none is asked for.
    trained_on : hash of the data set and splits that it was trained on; None when not known.
    met : marks (see data/seen.py) of the films that it was "trained" on and its thresholds were "chosen" or "tuned" on,
        where known.
    answer : films -> answers, in order.
    """

    facts: dict[str, Any]
    operating_points: dict[str, float]
    default_point: str
    trained_on: str | None
    source: Any
    met: dict[str, str] = field(default_factory=dict)

    def answers(self, films: Sequence[Film], jobs: int | None = None) -> Iterator[Answer]:
        """One finding or refusal for each film, in order, made at the default operating point."""
        for answer, _ in self.answers_and_candidates(films, jobs):
            yield answer

    def answers_and_candidates(self, films: Sequence[Film], jobs: int | None = None) -> Iterator[tuple[Answer, Answer]]:
        """For each film what the model shows, and the same with boxes before the threshold."""
        spec = self.source.decode_spec
        wide = candidate_spec(spec)
        if isinstance(self.source, Detector):
            for seen in examine_films(self.source, films, jobs=jobs):
                if isinstance(seen, FilmRefused):
                    yield seen, seen
                else:
                    yield decode(seen.raw, spec, seen.geometry), decode(seen.raw, wide, seen.geometry)
        else:  # a detector's run or a reference system's: both show what reaches `box_threshold`
            for _, answer in replace(self.source, decode_spec=wide).findings(films):
                yield (answer if isinstance(answer, FilmRefused) else shown(answer, spec)), answer


def open_model(model: str | Path) -> Model:
    """Open `default`, a .tflite or a run directory.

    Raises
    ------
    UsageFault : nothing is there. ModelFileError : the .tflite is damaged. DataError : the run is not finished.
    MissingExtra : a run without TensorFlow.
    """
    path = Path(model)
    if model != "default" and path.is_dir():
        if not (path / "config.json").is_file():  # before TensorFlow is loaded, which takes seconds
            raise DataError(
                f"{path} is not a finished run directory: it has no config.json. Give the --out of `edge-pneumo train`."
            )
        run = load_run(path)
        spec, weights = run.decode_spec, path / "model.weights.h5"
        facts: dict[str, Any] = {"name": path.resolve().name, "kind": run.kind, "path": str(path)}
        if weights.is_file():
            facts["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
        trained_on = run.config.get("data", {}).get("split_hash")
        met = _met(run.config.get("data", {}))
        return Model(facts, dict(spec.operating_points), spec.default_operating_point, trained_on, run, met)
    if model != "default" and not path.exists():
        raise UsageFault(
            f"no model at {path}. Give `default`, a .tflite made by `edge-pneumo convert`, or a run directory made by"
            " `edge-pneumo train`."
        )
    detector = Detector.open(model)
    bundle, spec = detector.bundle, detector.decode_spec
    facts = {"name": bundle.name, "version": bundle.version, "kind": "tflite", "sha256": bundle.sha256}
    facts |= {"precision": bundle.metadata.get("precision"), "path": str(model)}
    data, tuned = bundle.metadata.get("training_data") or {}, bundle.metadata.get("tuned") or {}
    met = _met(data, tuned.get("data", {}))
    return Model(
        facts, dict(spec.operating_points), spec.default_operating_point, data.get("split_hash"), detector, met
    )


def _met(data: dict[str, Any], tuned: dict[str, Any] | None = None) -> dict[str, str]:
    """Marks of the films a model has met. Thresholds that were tuned are no longer those chosen on `val`."""
    marks = data.get("marks") or {}
    if tuned:
        return {"trained": marks.get("train", ""), "tuned": (tuned.get("marks") or {}).get("tuned", "")}
    return {"trained": marks.get("train", ""), "chosen": marks.get("val", "")}


def judge(
    model: str | Path,
    data: str | Path,
    split: str | None = None,
    *,
    operating_point: str | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    jobs: int | None = None,
) -> Judged:
    """Evaluate a model on labelled films.

    Parameters
    ----------
    model : `default`, a .tflite, or a run directory.
    data : a data set in any layout that `load_dataset` knows.
    split : only these films; None for all.
    operating_point : threshold to judge at; None for the model's default.
    bootstrap, seed : of the intervals, see `evaluate`.
    jobs : films at a time, for a .tflite.

    Raises
    ------
    UsageFault, ModelFileError, MissingExtra : see `open_model`; or no such operating point.
    DataError : the data set cannot be used, or has no film in that split.
    """
    dataset = load_dataset(data)
    chosen = dataset if split is None else dataset.split(split)
    if not len(chosen):
        raise DataError(f"{data}: no labelled film to evaluate on. `edge-pneumo data check {data}` says what is there.")
    opened = open_model(model)
    point = operating_point or opened.default_point
    if point not in opened.operating_points:
        known = ", ".join(opened.operating_points)
        raise UsageFault(f"{model} has no operating point {point!r}; choose one of: {known}")
    threshold = opened.operating_points[point]
    pairs = list(watched(opened.answers_and_candidates(chosen.films, jobs), len(chosen), "evaluating"))
    answers = tuple(
        answer if isinstance(answer, FilmRefused) else replace(answer, threshold=threshold) for answer, _ in pairs
    )
    reference = [film for film in dataset if film.split == "train"]
    apart = bool(reference) and all(film.split != "train" for film in chosen)
    result = evaluate(
        chosen.films,
        answers,
        bootstrap=bootstrap,
        seed=seed,
        model=opened.facts | {"operating_point": point},
        data={"path": str(data), "layout": dataset.layout, "split": split or "all", "split_hash": dataset.split_hash},
        operating_points=opened.operating_points,
        reference=reference if apart else None,
        candidates=[candidate for _, candidate in pairs],
    )
    result["warnings"] += [f"{data}: {text}" for text in dataset.warnings]
    if drawn := dataset.split_warning(split):
        result["warnings"].append(drawn)
    result["warnings"] += _met_before(opened, chosen, dataset.split_hash)
    return Judged(result, chosen.films, answers)


def _met_before(model: Model, chosen: DataSet, split_hash: str) -> list[str]:
    """Sentences about films that are no honest test, since the model has met them."""
    trained = count_met(chosen, model.met.get("trained", ""))
    if not trained and model.trained_on == split_hash:  # an older file, without marks
        trained = sum(film.split == "train" for film in chosen)
    lines = []
    if trained:
        lines.append(
            f"The model was trained on {trained} of these {len(chosen)} films: the figures flatter it. Judge it on "
            "films that it has not met (--split val, where these are split as they were)."
        )
    for deed in ("chosen", "tuned"):
        if met := count_met(chosen, model.met.get(deed, "")):
            lines.append(
                f"The model's thresholds were {deed} on {met} of these {len(chosen)} films, which flatters everything "
                "but AUC and average precision."
            )
    return lines


def write_predictions(path: str | Path, judged: Judged) -> None:
    """Write each film's label and answer as JSON lines; film names may identify patients."""
    with atomic_write(path, "w") as stream:
        for film, answer in zip(judged.films, judged.answers, strict=True):
            row: dict[str, Any] = {"schema": 1, "film_id": film.film_id, "label": film.label, "split": film.split}
            if isinstance(answer, FilmRefused):
                row |= {"status": "refused", "reason": answer.reason, "message": str(answer)}
            else:
                row |= {
                    "status": "ok",
                    "probability": answer.probability,
                    "decision": answer.decision,
                    "threshold": answer.threshold,
                    "boxes": [box_to_dict(box) for box in answer.boxes],
                }
            stream.write(json.dumps(row) + "\n")
