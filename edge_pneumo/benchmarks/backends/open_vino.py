"""OpenVINO as a peer: it reads the same .tflite, int8 or float, so the weights are the same bytes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.benchmarks.backends import CannotRun, Opened
from edge_pneumo.benchmarks.backends.litert import open_model_file, opened, split_batch
from edge_pneumo.benchmarks.job import Job
from edge_pneumo.benchmarks.signature import EdgeTensors, edge_tensors
from edge_pneumo.edge_runtime.decode import RawOutputs
from edge_pneumo.edge_runtime.preprocess import InputSpec

# Without the precision hint OpenVINO computes float models in bfloat16 where the CPU can: no longer the same model
OPTIONS = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}


class OpenVinoNetwork:
    """A compiled model with one infer request, optimised for latency."""

    def __init__(self, model: bytes, spec: InputSpec, job: Job) -> None:
        import openvino

        self._edge: EdgeTensors = edge_tensors(model, spec)
        core = openvino.Core()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.tflite"
            path.write_bytes(model)
            try:
                network = core.read_model(path)
                if job.batch > 1:
                    network.reshape([job.batch, spec.size_px, spec.size_px, 1])
                compiled = core.compile_model(network, "CPU", {**OPTIONS, "INFERENCE_NUM_THREADS": job.threads})
            except RuntimeError as error:
                raise CannotRun(f"OpenVINO cannot run this model: {str(error).strip().splitlines()[-1]}") from error
        self._request: Any = compiled.create_infer_request()
        self._ports = {name: _port(compiled, tensor) for name, tensor in self._edge.output_tensors.items()}

    def infer(self, pictures: NDArray[np.uint8]) -> list[RawOutputs]:
        """See `Network`."""
        self._request.infer([self._edge.fill(pictures)])
        stored = {name: self._request.get_tensor(port).data for name, port in self._ports.items()}
        return split_batch(*self._edge.real(stored))


def _port(compiled: Any, tensor_name: str) -> Any:
    for port in compiled.outputs:
        if tensor_name in port.get_names():
            return port
    known = [sorted(port.get_names()) for port in compiled.outputs]
    raise CannotRun(f"OpenVINO renamed the model's outputs: expected {tensor_name!r}, found {known}")


def open_openvino(job: Job) -> Opened:
    """OpenVINO on the CPU."""
    bundle = open_model_file(job)
    try:
        from openvino import get_version
    except ImportError as error:
        raise CannotRun("OpenVINO is not installed. Run: pip install 'edge-pneumo[peers]'", 4) from error
    return opened(
        bundle, OpenVinoNetwork(bundle.tflite, bundle.input_spec, job), f"openvino {get_version().split('-')[0]}"
    )
