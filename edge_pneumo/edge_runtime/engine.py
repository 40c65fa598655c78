"""One small interface to whatever runs the network: uint8 film in, `RawOutputs` out.

engine = open_engine(bundle.tflite, spec=bundle.input_spec, threads=1)
raw = engine.run(pixels[np.newaxis])
"""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.edge_runtime import backends
from edge_pneumo.edge_runtime.backends import BackendUnavailable, Runner, TensorInfo
from edge_pneumo.edge_runtime.decode import RawOutputs
from edge_pneumo.edge_runtime.preprocess import InputSpec
from edge_pneumo.errors import MissingExtra, ModelFileError, UsageFault

BACKENDS = ("auto", "cpu", "gpu", "tflite-runtime")
LITERT, TFLITE_RUNTIME = "ai_edge_litert.interpreter", "tflite_runtime.interpreter"


class Engine:
    """A network ready to run. Calls from several threads wait for one another: for speed give each thread its own.

    Attributes
    ----------
    backend : "cpu", "gpu" or "tflite-runtime": what runs, never "auto".
    threads : threads of one inference.
    input, outputs : the tensors at the model's edge.
    """

    def __init__(self, runner: Runner, spec: InputSpec, threads: int) -> None:
        expected = (1, spec.size_px, spec.size_px, 1)
        if runner.input.shape != expected:
            raise ModelFileError(
                f"the network's input has shape {runner.input.shape}, its metadata says {expected}. Convert it again."
            )
        check_outputs({name: info.shape for name, info in runner.outputs.items()})
        self.backend, self.threads, self.runtime = runner.backend, threads, runner.runtime
        self.input, self.outputs = runner.input, runner.outputs
        self._runner = runner
        self._levels = input_levels(runner.input, spec)
        self._lock = threading.Lock()

    def run_quantised(self, x: NDArray[np.uint8]) -> dict[str, NDArray]:
        """The network's outputs as it stores them (int8 for an int8 model), by signature name.

        Parameters
        ----------
        x : (1, size, size, 1) uint8 grey levels, from `preprocess`.
        """
        if x.shape != self.input.shape or x.dtype != np.uint8:
            raise ValueError(f"the network takes uint8 {self.input.shape}, found {x.dtype} {x.shape}")
        with self._lock:
            return self._runner.invoke(x if self._levels is None else self._levels[x])

    def run(self, x: NDArray[np.uint8]) -> RawOutputs:
        """The network's outputs in float32.

        Parameters
        ----------
        x : (1, size, size, 1) uint8 grey levels, from `preprocess`.

        Raises
        ------
        ModelFileError : the network answered with something that is no number.
        """
        return self.dequantise(self.run_quantised(x))

    def dequantise(self, stored: dict[str, NDArray]) -> RawOutputs:
        """What `run_quantised` gave, in float32."""
        real = {name: info.dequantise(stored[name]) for name, info in self.outputs.items()}
        for name, values in real.items():
            # a NaN is below every threshold: it would read as "no opacity"; integers have none
            if stored[name].dtype.kind == "f" and not np.isfinite(values).all():
                raise ModelFileError(f"the network's output {name} is not finite. Convert it again.")
        return RawOutputs(float(real["image_logit"].ravel()[0]), real["heat"][0, ..., 0], real["ltrb"][0])

    def details(self) -> dict[str, Any]:
        """Facts for `doctor`, benchmarks and bug reports."""
        return {
            "backend": self.backend,
            "device": self._runner.device,
            "runtime": self.runtime,
            "threads": self.threads,
            "input": _describe(self.input),
            "outputs": {name: _describe(info) for name, info in self.outputs.items()},
        }


def open_engine(
    model: bytes | str | Path,
    *,
    spec: InputSpec,
    backend: str = "auto",
    threads: int = 1,
    kernels: str = "default",
) -> Engine:
    """Load a network into a runtime.

    Parameters
    ----------
    model : the .tflite bytes, or the path of a file whose content is trusted; files from elsewhere go through
        `bundle.open_bundle` first. A zip trailer does no harm.
    spec : the input contract the network was trained with.
    backend : "auto" (LiteRT on the CPU, or tflite-runtime where LiteRT has no wheels), "cpu", "gpu", "tflite-runtime".
        The GPU is never chosen unasked: it starts slower and may round the last unit otherwise.
    threads : threads for one inference; more than there are cores only make them wait, so it is cut to that.
    kernels : "default" (with XNNPACK), "builtin" (without) or "reference" (slow and plain), to find out whose rounding
        differs; CPU only.

    Raises
    ------
    UsageFault : unknown backend or kernels, or fewer than one thread.
    MissingExtra : no runtime is installed.
    BackendUnavailable : the runtime cannot work on this machine; the message says why.
    ModelFileError : not a TFLite model, or one without our signature.
    """
    if backend not in BACKENDS:
        raise UsageFault(f"unknown backend {backend!r}; choose one of {', '.join(BACKENDS)}")
    if kernels not in backends.KERNELS:
        raise UsageFault(f"unknown kernels {kernels!r}; choose one of {', '.join(backends.KERNELS)}")
    if threads < 1:
        raise UsageFault(f"threads must be 1 or more, found {threads}")
    threads = min(threads, available_cores())
    source = model if isinstance(model, bytes) else Path(model)
    chosen = choose_backend(backend)
    if chosen == "gpu":
        return Engine(backends.GpuRunner(source), spec, threads)
    module = LITERT if chosen == "cpu" else TFLITE_RUNTIME
    runner = backends.InterpreterRunner(source, module=module, backend=chosen, threads=threads, kernels=kernels)
    return Engine(runner, spec, threads)


def choose_backend(backend: str) -> str:
    """The backend that `backend` means on this machine: "auto" prefers LiteRT.

    Raises
    ------
    MissingExtra : its package is not installed.
    """
    has_litert, has_legacy = _installed("ai_edge_litert"), _installed("tflite_runtime")
    if backend == "auto":
        if has_litert or has_legacy:
            return "cpu" if has_litert else "tflite-runtime"
        raise MissingExtra("running a model", "ai-edge-litert (or tflite-runtime)", "legacy-runtime")
    if backend == "tflite-runtime" and not has_legacy:
        raise MissingExtra("the tflite-runtime backend", "tflite-runtime (Python 3.11 or older)", "legacy-runtime")
    if backend in ("cpu", "gpu") and not has_litert:
        raise BackendUnavailable(
            f"the {backend} backend needs ai-edge-litert, which is not installed. Run: pip install ai-edge-litert"
            + (", or use --backend tflite-runtime" if has_legacy else "")
        )
    return backend


def available_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_outputs(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Cells along a side of the network's grid.

    Raises
    ------
    ModelFileError : the shapes are not (1, 1), (1, g, g, 1) and (1, g, g, 4).
    """
    heat = shapes["heat"]
    side = heat[1] if len(heat) == 4 else 0
    expected = {"image_logit": (1, 1), "heat": (1, side, side, 1), "ltrb": (1, side, side, 4)}
    wrong = [f"{name} {tuple(shapes[name])}" for name in expected if tuple(shapes[name]) != expected[name]]
    if wrong or side < 1:
        raise ModelFileError(
            f"the network's outputs have the wrong shape: {', '.join(wrong) or f'heat {heat}'}; expected image_logit "
            "(1, 1), heat (1, g, g, 1), ltrb (1, g, g, 4). Convert it again."
        )
    return side


def input_levels(info: TensorInfo, spec: InputSpec) -> NDArray | None:
    """What each of the 256 grey levels becomes in the network's input, or None where it stays as it is.

    One table serves every precision: uint8 (identity), int8, int16 and float.
    """
    real = spec.normalise(np.arange(256, dtype=np.uint8))
    if info.scale == 0.0:
        return real.astype(info.dtype)
    limits = np.iinfo(info.dtype)
    stored = np.clip(np.rint(real / np.float32(info.scale)) + info.zero_point, limits.min, limits.max).astype(
        info.dtype
    )
    return None if info.dtype == "uint8" and np.array_equal(stored, np.arange(256)) else stored


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _describe(info: TensorInfo) -> dict[str, Any]:
    return {"shape": list(info.shape), "dtype": info.dtype, "scale": info.scale, "zero_point": info.zero_point}
