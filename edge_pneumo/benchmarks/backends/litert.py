"""Our own engines, and the plain loop that most LiteRT examples show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.benchmarks.backends import CannotRun, Opened
from edge_pneumo.benchmarks.device import software_vulkan
from edge_pneumo.benchmarks.job import Job
from edge_pneumo.edge_runtime.backends import (
    OUTPUT_NAMES,
    BackendUnavailable,
    TensorInfo,
    package_version,
    signature_names,
)
from edge_pneumo.edge_runtime.bundle import Bundle, open_bundle
from edge_pneumo.edge_runtime.decode import RawOutputs
from edge_pneumo.edge_runtime.engine import Engine, input_levels, open_engine
from edge_pneumo.edge_runtime.preprocess import InputSpec
from edge_pneumo.errors import MissingExtra


def open_model_file(job: Job) -> Bundle:
    """The job's model file; a RUN folder, which only the Keras backends take, is no reason to end a sweep.

    Raises
    ------
    CannotRun : it is a folder.
    ModelFileError : it is damaged, or missing.
    """
    if Path(job.model).is_dir():
        raise CannotRun(
            f"{job.backend} runs .tflite files, not a RUN folder. Make one: edge-pneumo convert RUN -o MODEL.tflite"
        )
    return open_bundle(job.model)


def model_facts(bundle: Bundle) -> dict[str, Any]:
    """Name, version, sha256, precision, bytes and size_px of a model file, as result files store them."""
    return {
        "name": bundle.name,
        "version": bundle.version,
        "sha256": bundle.sha256,
        "precision": bundle.metadata.get("precision", "unknown"),
        "bytes": bundle.path.stat().st_size,
        "size_px": bundle.input_spec.size_px,
    }


def opened(bundle: Bundle, network: Any, runtime: str, software: bool = False) -> Opened:
    """An `Opened` of a network made from a model file."""
    return Opened(network, bundle.input_spec, bundle.decode_spec, runtime, model_facts(bundle), software)


class EngineNetwork:
    """`edge_runtime.engine`, one film at a time, as `predict` uses it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def infer(self, pictures: NDArray[np.uint8]) -> list[RawOutputs]:
        """See `Network`."""
        return [self._engine.run(picture[None]) for picture in pictures]


def open_litert(job: Job) -> Opened:
    """LiteRT on CPU (XNNPACK on or off) or GPU, or tflite-runtime; a batch over 1 resizes the network's input."""
    bundle = open_model_file(job)
    if job.batch > 1:
        if job.backend != "cpu":
            raise CannotRun(f"{job.backend} runs one film at a time, a batch of {job.batch} is for cpu; add --batch 1")
        return opened(bundle, PlainLiteRT(bundle.tflite, bundle.input_spec, job), "ai-edge-litert (resized input)")
    kernels = "builtin" if job.backend == "cpu-no-xnnpack" else "default"
    backend = "cpu" if job.backend == "cpu-no-xnnpack" else job.backend
    try:
        engine = open_engine(
            bundle.tflite, spec=bundle.input_spec, backend=backend, threads=job.threads, kernels=kernels
        )
    except (BackendUnavailable, MissingExtra) as error:
        raise CannotRun(str(error), 4 if isinstance(error, MissingExtra) else 2) from error
    return opened(bundle, EngineNetwork(engine), engine.runtime, backend == "gpu" and software_vulkan() is not None)


class PlainLiteRT:
    """Interpreter, set_tensor, invoke, get_tensor; float models get their input normalised by numpy."""

    def __init__(self, model: bytes, spec: InputSpec, job: Job) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_content=model, num_threads=job.threads)
        details, self._outputs = _edge_details(self._interpreter, job.model)
        self._input_index = details["index"]
        try:
            if job.batch > 1:
                shape = (job.batch, spec.size_px, spec.size_px, 1)
                self._interpreter.resize_tensor_input(self._input_index, shape, strict=False)
            self._interpreter.allocate_tensors()
            self._interpreter.invoke()  # a batch that the graph does not take fails here, not at the first film
        except (RuntimeError, ValueError) as error:
            raise CannotRun(f"LiteRT cannot run this model with a batch of {job.batch}: {error}") from error
        scale, zero_point = details["quantization"]
        info = TensorInfo("input", (1,), np.dtype(details["dtype"]).name, float(scale), int(zero_point))
        self._levels = input_levels(info, spec)

    def infer(self, pictures: NDArray[np.uint8]) -> list[RawOutputs]:
        """See `Network`."""
        self._interpreter.set_tensor(self._input_index, pictures if self._levels is None else self._levels[pictures])
        self._interpreter.invoke()
        real = {}
        for name in OUTPUT_NAMES:
            details = self._outputs[name]
            scale, zero_point = details["quantization"]
            info = TensorInfo(name, (), np.dtype(details["dtype"]).name, float(scale), int(zero_point))
            real[name] = info.dequantise(self._interpreter.get_tensor(details["index"]))
        return split_batch(real["image_logit"], real["heat"], real["ltrb"])


def _edge_details(interpreter: Any, what: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """TFLite's details of the input, and of the outputs by name.

    A function of its own, since the interpreter refuses to run while a signature runner is alive.
    """
    key, input_name = signature_names(interpreter.get_signature_list(), what)
    runner = interpreter.get_signature_runner(key)
    return runner.get_input_details()[input_name], runner.get_output_details()


def split_batch(logits: NDArray, heat: NDArray, ltrb: NDArray) -> list[RawOutputs]:
    """Batched float32 outputs -> one `RawOutputs` a film."""
    logits = logits.reshape(len(heat), -1)
    return [RawOutputs(float(logits[i, 0]), heat[i, ..., 0], ltrb[i]) for i in range(len(heat))]


def open_plain(job: Job) -> Opened:
    """The plain LiteRT loop."""
    bundle = open_model_file(job)
    try:
        network = PlainLiteRT(bundle.tflite, bundle.input_spec, job)
    except ImportError as error:
        raise CannotRun("ai-edge-litert is not installed. Run: pip install ai-edge-litert", 4) from error
    return opened(bundle, network, f"ai-edge-litert {package_version('ai-edge-litert')}")
