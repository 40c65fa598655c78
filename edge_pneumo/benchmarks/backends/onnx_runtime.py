"""ONNX Runtime as a peer. tf2onnx converts the same .tflite, int8 (as QuantizeLinear / DequantizeLinear pairs, which
ONNX Runtime fuses) or float; the conversion happens before any clock starts.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.benchmarks.backends import CannotRun, Opened
from edge_pneumo.benchmarks.backends.litert import open_model_file, opened, split_batch
from edge_pneumo.benchmarks.job import Job
from edge_pneumo.benchmarks.signature import edge_tensors
from edge_pneumo.edge_runtime.decode import RawOutputs
from edge_pneumo.edge_runtime.preprocess import InputSpec

OPSET = 17


class OnnxNetwork:
    """An inference session on the CPU with the threads asked for."""

    def __init__(self, model: bytes, onnx: bytes, spec: InputSpec, job: Job) -> None:
        import onnxruntime

        self._edge = edge_tensors(model, spec)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = job.threads, 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        known = {output.name for output in self._session.get_outputs()}
        self._names = dict(self._edge.output_tensors)
        if missing := set(self._names.values()) - known:
            raise CannotRun(f"tf2onnx renamed the model's outputs: expected {sorted(missing)}, found {sorted(known)}")

    def infer(self, pictures: NDArray[np.uint8]) -> list[RawOutputs]:
        """See `Network`."""
        answers = self._session.run(list(self._names.values()), {self._input: self._edge.fill(pictures)})
        return split_batch(*self._edge.real(dict(zip(self._names, answers, strict=True))))


def to_onnx(tflite: bytes) -> bytes:
    """Convert by tf2onnx in a process of its own, since it loads TensorFlow, which must not weigh on the measurement.

    Raises
    ------
    CannotRun : tf2onnx is missing or does not take the model; its last line is in the message.
    """
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name) / "model.tflite", Path(name) / "model.onnx"
        source.write_bytes(tflite)
        command = [
            sys.executable,
            "-m",
            "tf2onnx.convert",
            "--tflite",
            source,
            "--output",
            target,
            "--opset",
            str(OPSET),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not target.is_file():
            lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
            raise CannotRun(f"tf2onnx cannot convert this model to ONNX: {lines[-1]}")
        return target.read_bytes()


def convert_into(job: Job) -> bytes:
    """The ONNX model of a job, converted once and kept in its scratch folder."""
    check_possible(job)
    bundle = open_model_file(job)
    kept = Path(job.scratch) / f"{bundle.sha256}.onnx" if job.scratch else None
    if kept is not None and kept.is_file():
        return kept.read_bytes()
    onnx = to_onnx(bundle.tflite)
    if kept is not None:
        kept.write_bytes(onnx)
    return onnx


def check_possible(job: Job) -> None:
    """Raise CannotRun where ONNX Runtime cannot run the job, and say why."""
    if job.batch > 1:
        raise CannotRun("the converted ONNX model has a fixed batch of 1; add --batch 1")
    for package in ("onnxruntime", "tf2onnx", "tensorflow"):
        if find_spec(package) is None:
            raise CannotRun(f"{package} is not installed. Run: pip install 'edge-pneumo[peers,train]'", 4)


def open_onnxruntime(job: Job) -> Opened:
    """ONNX Runtime on the CPU."""
    onnx = convert_into(job)
    import onnxruntime

    bundle = open_model_file(job)
    network = OnnxNetwork(bundle.tflite, onnx, bundle.input_spec, job)
    return opened(bundle, network, f"onnxruntime {onnxruntime.__version__}")
