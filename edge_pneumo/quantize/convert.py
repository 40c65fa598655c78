"""A trained run -> a model file that was run on real films and compared before it got its name.

export      the float network as TFLite, once
calibrate   ranges of activations from balanced training films
quantise    the asked precision, one candidate for each calibration method
gate        the written file, run by the light runtime, beside the float model on the same films
repair      if asked for and needed: the fewest layers that must stay in float
name        only now does the file appear under its final name
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_pneumo.benchmarks.metrics import evaluate
from edge_pneumo.benchmarks.metrics.candidates import candidate_spec
from edge_pneumo.edge_runtime.bundle import Bundle, open_bundle, write_bundle
from edge_pneumo.edge_runtime.decode import RawOutputs, decode
from edge_pneumo.edge_runtime.engine import open_engine
from edge_pneumo.edge_runtime.files import check_writable
from edge_pneumo.edge_runtime.flatbuffer import read_graph
from edge_pneumo.edge_runtime.golden import make_golden
from edge_pneumo.errors import GateFailed, UsageFault
from edge_pneumo.quantize import export
from edge_pneumo.quantize.calibration import composition, film_hash
from edge_pneumo.quantize.card import model_card
from edge_pneumo.quantize.explain import Explanation, explain_layers
from edge_pneumo.quantize.gate import Limits, Proof, largest_differences, run_gate, signal_to_noise_db
from edge_pneumo.quantize.material import Say, calibration_images, engine_outputs, listed, proof_films
from edge_pneumo.quantize.metadata import describe_model, short_metrics, short_study
from edge_pneumo.quantize.post_training import PRECISIONS, check_input, check_integer, quantise_int8
from edge_pneumo.quantize.ranges import METHODS, Observed, Ranges, choose_ranges, observe
from edge_pneumo.quantize.repair import repair_int8
from edge_pneumo.quantize.rounded_model import ROUNDING_FILMS, rounded_copy
from edge_pneumo.quantize.rounding import FloatNetwork, round_weights
from edge_pneumo.train.data.film import DataSet
from edge_pneumo.train.half import default_run_path
from edge_pneumo.train.run import TrainedRun, load_run, read_json

EXPLAINED_FILMS = 4
ROUNDINGS = ("aware", "nearest")
SEVERAL = ("auto", "all")
ROUNDING = "rounding weights for what they are multiplied with"
PARITY_FILMS = 32


@dataclass(frozen=True)
class ConvertOptions:
    """How to convert.

    Attributes
    ----------
    precision : one of `post_training.PRECISIONS`.
    calibration : one of `ranges.METHODS`; "auto" to try them in turn until one passes the gate; "all" to try each and
        keep the best.
    calibration_films, seed : how many films set the ranges, and the seed of their draw.
    limits : what the gate allows.
    split : films that the gate judges on.
    rounding : "aware" rounds each weight for what it is multiplied with (rounding.py), "nearest" as TFLite does.
    per_channel : one scale for each output channel; False for accelerators that know only one a kernel.
    repair : keep as few layers as needed in float if the gate fails.
    explain : measure where the error comes from, gate passed or not.
    bootstrap : draws of the interval of a drop.
    name : of the model; None = after the recipe.
    cache_dir : decoded films, kept for the next run.
    studies : results of `benchmark study` whose summary the card tells.
    """

    precision: str = "int8"
    calibration: str = "auto"
    calibration_films: int = 120
    seed: int = 0
    limits: Limits = field(default_factory=Limits)
    split: str = "val"
    rounding: str = "aware"
    per_channel: bool = True
    repair: bool = False
    explain: bool = False
    bootstrap: int = 1000
    name: str | None = None
    cache_dir: Path | None = None
    studies: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageFault(f"unknown precision {self.precision!r}; expected one of {', '.join(PRECISIONS)}")
        if self.rounding not in ROUNDINGS:
            raise UsageFault(f"unknown rounding {self.rounding!r}; expected one of {', '.join(ROUNDINGS)}")
        if self.calibration not in (*METHODS, *SEVERAL):
            known = ", ".join((*METHODS, *SEVERAL))
            raise UsageFault(f"unknown calibration {self.calibration!r}; expected one of {known}")


@dataclass(frozen=True)
class Candidate:
    """A network that may become the file, with the ranges it was made from (none for precisions without them)."""

    tflite: bytes
    method: str | None = None
    ranges: Ranges | None = None


class GateRefusal(GateFailed):
    """The gate refused the file; `report` is the JSON of the conversion, with `worst_layers` in it."""

    def __init__(self, message: str, report: dict[str, Any]) -> None:
        super().__init__(message)
        self.report = report


def convert_run(
    run: TrainedRun | str | Path,
    out_path: str | Path,
    dataset: DataSet,
    precision: str = "int8",
    *,
    labelled: bool = True,
    options: ConvertOptions | None = None,
    say: Say = lambda sentence: None,
) -> dict[str, Any]:
    """Convert a run and prove that the file is no worse.

    Parameters
    ----------
    run : a detector run, float or quantisation-aware, or its directory.
    out_path : final name of the .tflite.
    dataset : films to calibrate on (split "train") and to be judged on (`options.split`).
    precision : overrides `options.precision`.
    labelled : False if the labels mean nothing (a plain folder of films, generated films): the gate is then parity.
    say : receives progress, one sentence at a time.

    Returns
    -------
    The JSON of `edge-pneumo convert` (docs/quantization.md lists the fields).

    Raises
    ------
    GateRefusal : the gate failed; nothing is left under `out_path`. VerificationFailed : not the network asked for.
    UsageFault, DataError, WriteFailed, MissingExtra
    """
    options = replace(options or ConvertOptions(), precision=precision)
    out_path = Path(out_path)
    check_writable(out_path)
    run = _checked_run(load_run(run) if isinstance(run, str | Path) else run, options)
    studies = [short_study(path) for path in options.studies] or _studies_of_default(run)
    spec = run.input_spec

    say(f"reading films: calibration from '{dataset.root}', judged on split '{options.split}'")
    count = options.calibration_films if precision in ("int8", "int16x8") else PARITY_FILMS
    chosen, pictures = calibration_images(dataset, count, options.seed, spec, options.cache_dir, say)
    proof, left_out = proof_films(dataset, labelled, options.split, spec, options.cache_dir)
    for sentence in left_out:
        say(sentence)

    say(f"asking the float model about {len(proof.images)} films")
    reference_model = _float_reference(run)
    reference = _keras_outputs(run, reference_model, proof.images)
    calibrated = _keras_outputs(run, reference_model, pictures)

    say(f"converting to {precision}; TensorFlow's converter takes half a minute or so")
    calibration = {"films": len(chosen), "films_sha256": film_hash(chosen), "composition": composition(chosen)}
    workshop = _Workshop(run, options, pictures, proof, reference, say)
    candidate, gate, compared = workshop.best_candidate()
    repair: dict[str, Any] | None = None
    explanation: Explanation | None = None
    if candidate.ranges is not None and (options.explain or not gate["passed"]):
        explanation = workshop.explain(candidate.ranges)
    if not gate["passed"] and options.repair and candidate.ranges is not None and explanation is not None:
        candidate, gate, repair = workshop.repair(candidate, explanation)

    calibration |= {"method": candidate.method, "seed": options.seed, "compared": compared}
    if candidate.ranges is not None or precision in ("int16x8", "dynamic"):
        calibration["rounding"] = options.rounding
    metadata = describe_model(
        run,
        name=options.name,
        precision=precision,
        metrics=workshop.measure(candidate.tflite),
        calibration=calibration,
        gate=gate,
        studies=studies,
    )
    report: dict[str, Any] = {"schema": 1, "precision": precision, "gate": gate, "calibration": calibration}
    if repair is not None:
        report["repair"] = metadata["repair"] = repair
    if explanation is not None:
        report["worst_layers"] = explanation.to_dict()["layers"][:10]
        report["explanation"] = explanation.to_dict()
    with _proved_file(out_path, candidate, run, metadata) as bundle:
        engine = open_engine(bundle.tflite, spec=spec, backend="cpu")
        say("running the written file with the light runtime")
        gate = report["gate"] = metadata["gate"] = workshop.judge(bundle.tflite)
        parity = largest_differences(calibrated, engine_outputs(engine, pictures))
        report |= {
            "tensors": read_graph(bundle.tflite).counts(),
            "parity": max(parity.values()),
            "parity_outputs": parity,
            "signal_to_noise_db": signal_to_noise_db(reference, engine_outputs(engine, proof.images)),
        }
        if not gate["passed"]:
            raise GateRefusal(_refusal(out_path, gate, explanation), report)
    card = model_card(metadata)
    final = write_bundle(out_path, candidate.tflite, metadata, card=card, golden=make_golden(candidate.tflite, spec))
    return {**report, "path": str(out_path), "bytes": out_path.stat().st_size, "sha256": final.sha256}


class _Workshop:
    """Makes and judges candidates for one run, keeping the slow parts (float bytes, observed ranges)."""

    def __init__(
        self,
        run: TrainedRun,
        options: ConvertOptions,
        pictures: Any,
        proof: Proof,
        reference: list[RawOutputs],
        say: Say,
    ) -> None:
        self.run, self.options, self.pictures, self.proof = run, options, pictures, proof
        self.reference, self.say = reference, say
        self.network = FloatNetwork(b"", {})
        self.observed: dict[int, Observed] = {}

    def best_candidate(self) -> tuple[Candidate, dict[str, Any], list[dict[str, Any]]]:
        """The candidate that passes best, its gate, and one row for each that was tried."""
        tried = []
        for candidate in self._candidates():
            gate = self.judge(candidate.tflite)
            tried.append((candidate, gate))
            self.say(f"{candidate.method or self.options.precision}: {gate['reason']}")
            if gate["passed"] and self.options.calibration == "auto":
                break
        candidate, gate = min(tried, key=lambda pair: _loss(pair[1]))
        rows = [{"method": c.method, **_summary(g), "chosen": c is candidate} for c, g in tried]
        return candidate, gate, rows

    def judge(self, tflite: bytes) -> dict[str, Any]:
        """The gate on a network, run by the light runtime."""
        engine = open_engine(tflite, spec=self.run.input_spec, backend="cpu")
        answers = engine_outputs(engine, self.proof.images)
        o = self.options
        return run_gate(
            self.reference, answers, self.proof, self.run.decode_spec, o.limits, bootstrap=o.bootstrap, seed=o.seed
        )

    def measure(self, tflite: bytes) -> dict[str, Any]:
        """The evaluator's figures of a network on the films of the proof; where these have no labels, those that
        training left of the float model."""
        if not self.proof.labelled:
            measured = self.run.path / "metrics.json"
            return short_metrics(read_json(measured)) | {"of": "float"} if measured.is_file() else {}
        engine = open_engine(tflite, spec=self.run.input_spec, backend="cpu")
        answers, spec, proof = engine_outputs(engine, self.proof.images), self.run.decode_spec, self.proof
        shown, candidates = (
            [decode(raw, one, where) for raw, where in zip(answers, proof.geometry, strict=True)]
            for one in (spec, candidate_spec(spec))
        )
        figures = evaluate(
            proof.films, shown, candidates=candidates, operating_points=spec.operating_points,
            model={"kind": self.options.precision}, data={"split": self.options.split},
            bootstrap=self.options.bootstrap, seed=self.options.seed,
        )  # fmt: skip
        return short_metrics(figures) | {"of": self.options.precision}

    def _candidates(self) -> Iterator[Candidate]:
        model, spec, precision = self.run.model, self.run.input_spec, self.options.precision
        if precision == "float32":
            yield Candidate(export.float_tflite(model))
        elif precision == "float16":
            yield Candidate(export.float16_tflite(model))
        elif precision == "dynamic":
            yield Candidate(export.dynamic_tflite(self._rounded(model)))
        elif precision == "int16x8":
            films = (spec.normalise(film[np.newaxis]) for film in self.pictures)
            yield Candidate(export.int16x8_tflite(self._rounded(model), films), "minmax")
        elif self.run.kind == "qat":
            tflite = export.qat_tflite(model)
            check_input(tflite, spec)
            check_integer(tflite)
            yield Candidate(tflite, "learnt")
        else:
            yield from self._int8_candidates()

    def _rounded(self, model: Any) -> Any:
        """The model as it is, or with its weights rounded for films, for what the converter rounds by itself."""
        if self.options.rounding == "nearest":
            return model
        self.say(ROUNDING)
        return rounded_copy(model, self.pictures[:ROUNDING_FILMS], self.run.input_spec)

    def _int8_candidates(self) -> Iterator[Candidate]:
        o, spec = self.options, self.run.input_spec
        float_bytes = export.float_tflite(self.run.model)
        self.say(f"observing activations on {len(self.pictures)} films")
        self.observed = observe(float_bytes, self.pictures, spec)
        self.network = FloatNetwork(float_bytes, {})
        if o.rounding == "aware":
            self.say(ROUNDING)
            self.network = round_weights(float_bytes, self.pictures[:ROUNDING_FILMS], spec, per_channel=o.per_channel)
        rounded = self.network.without()
        for method in METHODS if o.calibration in SEVERAL else (o.calibration,):
            ranges = choose_ranges(self.observed, method, float_bytes, spec)
            tflite = quantise_int8(rounded, ranges, spec, per_channel=o.per_channel)
            check_integer(tflite)
            yield Candidate(tflite, method, ranges)

    def explain(self, ranges: Ranges) -> Explanation:
        """Where the error of int8 comes from."""
        self.say("measuring the error of each layer alone")
        few = self.pictures[:EXPLAINED_FILMS]
        return explain_layers(
            self.network, ranges, few, self.run.input_spec, per_channel=self.options.per_channel, say=self.say
        )

    def repair(
        self, candidate: Candidate, explanation: Explanation
    ) -> tuple[Candidate, dict[str, Any], dict[str, Any]]:
        """The candidate with as few float layers as bring it through the gate, its gate, and what that costs."""
        if candidate.ranges is None:
            raise UsageFault("only post-training int8 can be repaired layer by layer")
        self.say("repairing: layers back to float, worst first")
        ranges, o = candidate.ranges, self.options

        def quantise(keep_float: list[str]) -> bytes:
            return quantise_int8(
                self.network.without(keep_float),
                ranges,
                self.run.input_spec,
                keep_float=keep_float,
                per_channel=o.per_channel,
            )

        tflite, gate, cost = repair_int8(
            candidate.tflite, quantise, self.judge, explanation, self.proof.images, self.run.input_spec, self.say
        )
        return replace(candidate, tflite=tflite), gate, cost


@contextmanager
def _proved_file(out_path: Path, candidate: Candidate, run: TrainedRun, metadata: dict[str, Any]) -> Iterator[Bundle]:
    """The candidate written beside its final name and read back; gone when the block ends."""
    temporary = out_path.with_name(f".{out_path.name}.unproved")
    try:
        write_bundle(temporary, candidate.tflite, metadata, card=model_card(metadata))
        yield open_bundle(temporary)
    finally:
        temporary.unlink(missing_ok=True)


def _checked_run(run: Any, options: ConvertOptions) -> TrainedRun:
    if not isinstance(run, TrainedRun):
        raise UsageFault("only detector runs can be converted; reference systems are for `evaluate` and the tables")
    if run.kind == "qat" and options.precision != "int8":
        raise UsageFault(
            f"a quantisation-aware run converts to int8 only, not to {options.precision}; convert the float run"
        )
    if options.explain and run.kind == "qat":
        raise UsageFault("--explain measures post-training int8 layer by layer; explain the float run's conversion")
    if options.repair and (run.kind == "qat" or options.precision != "int8"):
        raise UsageFault(
            "--repair works layer by layer on post-training int8; convert the float run at --precision int8"
        )
    return run


def _studies_of_default(run: TrainedRun) -> list[dict[str, Any]]:
    """What the embedded model's card tells of studies, where its own network is converted once more."""
    if run.path.resolve() != default_run_path().resolve():
        return []
    return open_bundle("default").metadata.get("studies", [])


def _float_reference(run: TrainedRun) -> Any:
    """The float model that a file is compared with: for a quantisation-aware run, the one it started from."""
    if run.kind == "qat":
        from edge_pneumo.quantize.qat import load_float_reference

        return load_float_reference(run)
    return run.model


def _keras_outputs(run: TrainedRun, model: Any, images: Any) -> list[RawOutputs]:
    from edge_pneumo.train.run import raw_outputs

    return raw_outputs(model, run.input_spec, images)


def _summary(gate: dict[str, Any]) -> dict[str, Any]:
    figures = {key: gate[key]["drop"] for key in ("auc", "rsna_score", "sensitivity") if key in gate}
    return {"passed": gate["passed"], "drops": figures, "probability_moved": gate["probability"]["mean"]}


def _loss(gate: dict[str, Any]) -> tuple[bool, float]:
    """Order of candidates: those that pass first, then by how little a film's probability moved.

    Drops on a hundred films jump by whole films; how far the answers moved is the finer scale of the same thing.
    """
    return not gate["passed"], gate["probability"]["mean"]


def _refusal(out_path: Path, gate: dict[str, Any], explanation: Explanation | None) -> str:
    message = f"{out_path} was not written: {gate['reason']} ({gate['films']} films)."
    if out_path.exists():
        message += " The older file of that name is left as it was."
    if explanation is None:
        return f"{message} Try --precision float16"
    worst = [f"{layer.name} ({layer.share:.0%})" for layer in explanation.layers[:3]]
    return f"{message} Most of the error comes from {listed(worst)}. Try --repair, or `quantize` first"
