"""Keras and TensorFlow: the float network that was trained, run as people usually run it, and compiled."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.benchmarks.backends import CannotRun, Opened
from edge_pneumo.benchmarks.backends.litert import split_batch
from edge_pneumo.benchmarks.job import Job
from edge_pneumo.edge_runtime.decode import RawOutputs
from edge_pneumo.edge_runtime.preprocess import InputSpec


class KerasNetwork:
    """`model.predict`, as most notebooks have it."""

    def __init__(self, model: Any, spec: InputSpec) -> None:
        self._model, self._spec = model, spec

    def infer(self, pictures: NDArray[np.uint8]) -> list[RawOutputs]:
        """See `Network`."""
        out = self._model.predict(self._spec.normalise(pictures), batch_size=len(pictures), verbose=0)
        return split_batch(out["image_logit"], out["heat"], out["ltrb"])


class GraphNetwork:
    """The same model traced once by `tf.function`."""

    def __init__(self, model: Any, spec: InputSpec) -> None:
        import tensorflow as tf

        self._spec = spec
        self._call = tf.function(lambda film: model(film, training=False))

    def infer(self, pictures: NDArray[np.uint8]) -> list[RawOutputs]:
        """See `Network`."""
        out = self._call(self._spec.normalise(pictures))
        return split_batch(*(out[name].numpy() for name in ("image_logit", "heat", "ltrb")))


def open_keras(job: Job) -> Opened:
    """Keras on the CPU."""
    run, runtime, facts = load_run(job, cuda=False)
    return Opened(KerasNetwork(run.model, run.input_spec), run.input_spec, run.decode_spec, runtime, facts)


def open_graph(job: Job) -> Opened:
    """tf.function on the CPU or, for backend tensorflow-cuda, on the first NVIDIA GPU."""
    run, runtime, facts = load_run(job, cuda=job.backend == "tensorflow-cuda")
    return Opened(GraphNetwork(run.model, run.input_spec), run.input_spec, run.decode_spec, runtime, facts)


def load_run(job: Job, cuda: bool) -> tuple[Any, str, dict[str, Any]]:
    """The RUN folder's model (see `Job.run_loader`), TensorFlow's version, and the model's facts.

    Raises
    ------
    CannotRun : TensorFlow is missing, `job.model` is no RUN folder, or there is no CUDA GPU.
    """
    folder = Path(job.model)
    if job.run_loader is None or not folder.is_dir():
        raise CannotRun(
            f"{job.backend} runs the float network of a RUN folder, and {job.model} is a model file. Add --model RUN."
        )
    try:
        import tensorflow as tf
    except ImportError as error:
        raise CannotRun("TensorFlow is not installed. Run: pip install 'edge-pneumo[train]'", 4) from error
    devices = tf.config.list_physical_devices("GPU")
    if cuda and not devices:
        raise CannotRun(
            "TensorFlow sees no CUDA GPU here (needs an NVIDIA card and: pip install 'tensorflow[and-cuda]')"
        )
    if not cuda:
        tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(job.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    module, _, function = job.run_loader.partition(":")
    run = getattr(importlib.import_module(module), function)(folder)
    size = run.input_spec.size_px
    weights = sum(int(np.prod(w.shape)) for w in run.model.weights)
    facts = {
        "name": folder.name,
        "version": "",
        "sha256": None,
        "precision": "float32",
        "bytes": 4 * weights,
        "size_px": size,
    }
    return run, f"tensorflow {tf.__version__}", facts
