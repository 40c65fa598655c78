"""The runtimes that can execute a model: LiteRT on CPU, LiteRT on GPU, tflite-runtime. Each is a `Runner`; only
`engine.open_engine` chooses among them.

Tensors are bound by signature name: the order of TFLite's outputs is not stable (tensorflow#33303, #55242).
"""

from __future__ import annotations

import importlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.edge_runtime.quiet import quiet_runtime
from edge_pneumo.errors import ModelFileError, UsageFault

if TYPE_CHECKING:
    from edge_pneumo.edge_runtime.flatbuffer import Graph

OUTPUT_NAMES = ("image_logit", "heat", "ltrb")
KERNELS = ("default", "builtin", "reference")


class BackendUnavailable(UsageFault):
    """A runtime cannot run this model on this machine; the message says why, and what to use instead."""


@dataclass(frozen=True)
class TensorInfo:
    """One tensor at the model's edge: real = (q - zero_point) * scale; `scale` is 0 where it is not quantised."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0

    def dequantise(self, q: NDArray) -> NDArray[np.float32]:
        """Stored numbers -> float32."""
        if self.scale == 0.0:
            return q.astype(np.float32)
        return (q.astype(np.int32) - self.zero_point).astype(np.float32) * np.float32(self.scale)


class Runner(Protocol):
    """What an engine needs of a runtime."""

    backend: str
    runtime: str
    device: str
    input: TensorInfo
    outputs: dict[str, TensorInfo]

    def invoke(self, tensor: NDArray) -> dict[str, NDArray]:
        """Run the network on a tensor of the input's own dtype; returned arrays belong to the caller."""
        ...


def signature_names(signatures: Mapping[str, Any], what: str) -> tuple[str, str]:
    """The one signature that has our three outputs, and the name of its one input.

    Raises
    ------
    ModelFileError : no signature has them.
    """
    for key, sides in signatures.items():
        if set(OUTPUT_NAMES) <= set(sides["outputs"]) and len(sides["inputs"]) == 1:
            return key, next(iter(sides["inputs"]))
    found = {key: sorted(sides["outputs"]) for key, sides in signatures.items()} or "no signature at all"
    raise ModelFileError(
        f"{what}: expected a TFLite signature with one input and the outputs {', '.join(OUTPUT_NAMES)}; found {found}. "
        "Make the file with `edge-pneumo convert`."
    )


class InterpreterRunner:
    """The classic TFLite interpreter, from LiteRT (`ai_edge_litert`) or from tflite-runtime."""

    def __init__(
        self, model: bytes | Path, *, module: str, backend: str, threads: int, kernels: str = "default"
    ) -> None:
        package = "ai-edge-litert" if module.startswith("ai_edge_litert") else "tflite-runtime"
        try:
            api = importlib.import_module(module)
        except ImportError as error:  # an old glibc, a wheel for another processor, tflite-runtime's NumPy 1 interface
            raise BackendUnavailable(
                f"{package} is installed but cannot be imported: {str(error).splitlines()[0]}. "
                f"Run: pip install --force-reinstall {package}"
            ) from error
        resolver = {
            "default": api.OpResolverType.AUTO,
            "builtin": api.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            "reference": api.OpResolverType.BUILTIN_REF,
        }[kernels]
        source = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
        what = "the model" if isinstance(model, bytes) else str(model)
        try:
            with quiet_runtime():
                self._interpreter = api.Interpreter(
                    **source, num_threads=threads, experimental_op_resolver_type=resolver
                )
                self._interpreter.allocate_tensors()
            key, input_name = signature_names(self._interpreter.get_signature_list(), what)
            runner = self._interpreter.get_signature_runner(key)
            inputs, outputs = runner.get_input_details(), runner.get_output_details()
        except SystemError as error:  # tflite-runtime 2.14 imports under NumPy 2 and dies here
            raise BackendUnavailable(
                f"{package} cannot build an interpreter under NumPy {np.__version__}: it needs numpy<2. "
                "Run: pip install 'edge-pneumo[legacy-runtime]'"
            ) from error
        except (ValueError, RuntimeError) as error:
            raise ModelFileError(
                f"{what}: {package} does not accept it as a TFLite model ({str(error).strip().splitlines()[0]}). "
                "Convert or copy the model again."
            ) from error
        self.backend, self.device = backend, platform.machine()
        self.runtime = f"{package} {package_version(package)}"
        self.input = _tensor_info(input_name, inputs[input_name])
        self.outputs = {name: _tensor_info(name, outputs[name]) for name in OUTPUT_NAMES}
        self._input_index = int(inputs[input_name]["index"])
        self._output_index = {name: int(outputs[name]["index"]) for name in OUTPUT_NAMES}

    def invoke(self, tensor: NDArray) -> dict[str, NDArray]:
        """See `Runner`."""
        self._interpreter.set_tensor(self._input_index, tensor)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._output_index.items()}


class GpuRunner:
    """LiteRT's `CompiledModel` on a GPU: WebGPU over Vulkan on Linux (also a Raspberry Pi 5), Metal on macOS."""

    backend = "gpu"

    def __init__(self, model: bytes | Path) -> None:
        try:
            from ai_edge_litert.compiled_model import CompiledModel
            from ai_edge_litert.hardware_accelerator import HardwareAccelerator
        except ImportError as error:
            raise BackendUnavailable(
                "the gpu backend needs ai-edge-litert 2.1 or newer, which is not installed here. "
                "Run: pip install 'ai-edge-litert>=2.1'"
            ) from error
        log: list[str] = []
        try:
            with quiet_runtime(everything=True) as log:
                self._compile(CompiledModel, HardwareAccelerator.GPU, model)
        except (RuntimeError, ValueError) as error:
            raise BackendUnavailable(_why_no_gpu(log)) from error
        self.runtime = f"ai-edge-litert {package_version('ai-edge-litert')}"
        # WebGPU names the adapter; SwiftShader and the like say adapterType=CPU: such a speed is no GPU's
        adapters = [line.partition("Selected adapter: ")[2] for line in log if "Selected adapter: " in line]
        self.device = adapters[0] if adapters else "unknown GPU"

    def _compile(self, api: Any, accelerator: Any, model: bytes | Path) -> None:
        if isinstance(model, bytes):
            self._model = api.from_buffer(model, hardware_accel=accelerator)
        else:
            self._model = api.from_file(str(model), hardware_accel=accelerator)
        if not self._model.is_fully_accelerated():
            raise BackendUnavailable(
                "the gpu backend: this GPU cannot run every layer of the model, and part of it would run elsewhere "
                "without a word. Use --backend cpu."
            )
        signatures = self._model.get_signature_list()
        self._key, name = signature_names(signatures, "the model")
        self._inputs = {name: self._model.create_input_buffer_by_name(self._key, name)}
        self._outputs = {
            name: self._model.create_output_buffer_by_name(self._key, name) for name in signatures[self._key]["outputs"]
        }
        from edge_pneumo.edge_runtime.flatbuffer import read_graph

        # CompiledModel knows shapes and dtypes but not scales: they are read from the file itself
        graph = read_graph(model if isinstance(model, bytes) else model.read_bytes())
        self.input = _from_graph(graph, next(iter(self._inputs)))
        self.outputs = {name: _from_graph(graph, name) for name in OUTPUT_NAMES}
        self.invoke(np.zeros(self.input.shape, self.input.dtype))  # the first run compiles shaders, and logs

    def invoke(self, tensor: NDArray) -> dict[str, NDArray]:
        """See `Runner`."""
        next(iter(self._inputs.values())).write(tensor)
        self._model.run_by_name(self._key, self._inputs, self._outputs)
        return {
            name: np.asarray(self._outputs[name].read(int(np.prod(info.shape)), np.dtype(info.dtype))).reshape(
                info.shape
            )
            for name, info in self.outputs.items()
        }


def package_version(package: str) -> str:
    """Installed version of a distribution, or "unknown"."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _why_no_gpu(log: list[str]) -> str:
    """A message in place of LiteRT's forty lines."""
    install = "apt-get install libvulkan1 mesa-vulkan-drivers (or the card maker's driver)"
    if any("libvulkan" in line and "Couldn't load" in line for line in log):
        reason = f"there is no Vulkan library (libvulkan.so.1). Run: {install}"
    elif any("No adapters found" in line for line in log):
        reason = f"Vulkan is there, but no driver offers a GPU that WebGPU can use. Run: {install}"
    else:
        errors = [line for line in log if "ERROR" in line or line.startswith("E0000")] or ["it gave no reason"]
        reason = f"LiteRT could not compile the model for it: {errors[-1][:200]}"
    return f"the gpu backend has no usable GPU: {reason}; or use --backend cpu."


def _from_graph(graph: Graph, name: str) -> TensorInfo:
    tensor = graph.tensor(name)
    scale, zero_point = (tensor.scales[0], tensor.zero_points[0]) if tensor.scales else (0.0, 0)
    return TensorInfo(name, tensor.shape, tensor.dtype, scale, zero_point)


def _tensor_info(name: str, details: Mapping[str, Any]) -> TensorInfo:
    scale, zero_point = details.get("quantization", (0.0, 0))
    dtype = np.dtype(details["dtype"]).name
    return TensorInfo(name, tuple(int(n) for n in details["shape"]), dtype, float(scale), int(zero_point))
