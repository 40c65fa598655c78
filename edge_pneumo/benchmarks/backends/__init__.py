"""What can run the network in a benchmark: our engines, TensorFlow, and peers. A backend that cannot run here raises
`CannotRun` with the reason, which goes into the result file in place of numbers.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from edge_pneumo.benchmarks.job import Job
from edge_pneumo.errors import EdgePneumoError

if TYPE_CHECKING:  # `benchmark run --help` reads the names below, and needs neither numpy nor Pillow
    import numpy as np
    from numpy.typing import NDArray

    from edge_pneumo.edge_runtime.decode import DecodeSpec, RawOutputs
    from edge_pneumo.edge_runtime.preprocess import InputSpec

# name -> (module:function that opens it, one line for --help and the report)
BACKENDS: dict[str, tuple[str, str]] = {
    "cpu": ("litert:open_litert", "LiteRT on the CPU with XNNPACK: our runtime"),
    "cpu-no-xnnpack": ("litert:open_litert", "LiteRT on the CPU, XNNPACK off"),
    "litert-plain": ("litert:open_plain", "the plain LiteRT loop of most examples (set_tensor, invoke, get_tensor)"),
    "gpu": ("litert:open_litert", "LiteRT on the GPU (WebGPU over Vulkan)"),
    "tflite-runtime": ("litert:open_litert", "tflite-runtime 2.14 (Python 3.11, numpy<2)"),
    "keras": ("tensor_flow:open_keras", "Keras predict() on the CPU: the usual way; needs a RUN folder"),
    "tensorflow": ("tensor_flow:open_graph", "the same graph compiled by tf.function, on the CPU; needs a RUN folder"),
    "tensorflow-cuda": ("tensor_flow:open_graph", "the same on an NVIDIA GPU; needs a RUN folder"),
    "onnxruntime": ("onnx_runtime:open_onnxruntime", "ONNX Runtime on the CPU, model converted by tf2onnx"),
    "openvino": ("open_vino:open_openvino", "OpenVINO on the CPU, reads the .tflite itself"),
}


class CannotRun(EdgePneumoError):
    """This backend cannot run this model on this machine; the message says why.

    Where an extra is missing, `exit_code` is 4, and the message names the pip command.
    """

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Network(Protocol):
    """What a measurement needs of a backend."""

    def infer(self, pictures: NDArray[np.uint8]) -> list[RawOutputs]:
        """Outputs for (batch, size, size, 1) uint8 grey levels, dequantised."""
        ...


@dataclass(frozen=True)
class Opened:
    """A network ready to run, and what is known of it.

    Attributes
    ----------
    network : the network.
    input_spec, decode_spec : its contract.
    runtime : name and version of what runs it.
    model : name, version, sha256, precision, bytes, size_px.
    software : a GPU path that in truth runs on the CPU; its speed says nothing.
    """

    network: Network
    input_spec: InputSpec
    decode_spec: DecodeSpec
    runtime: str
    model: dict[str, Any]
    software: bool = False


def prepare_backend(job: Job) -> None:
    """Convert the model for a peer that needs another format, into `job.scratch`, before any clock starts.

    Raises
    ------
    CannotRun : it cannot be converted.
    """
    if job.backend == "onnxruntime" and job.scratch:
        from edge_pneumo.benchmarks.backends.onnx_runtime import convert_into

        convert_into(job)


def open_backend(job: Job) -> Opened:
    """Load the job's model into its backend.

    Raises
    ------
    CannotRun : not here, or not this model; says why.
    ModelFileError : the model file is damaged.
    """
    module, _, function = BACKENDS[job.backend][0].partition(":")
    return getattr(importlib.import_module(f"{__name__}.{module}"), function)(job)
