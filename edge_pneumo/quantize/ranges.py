"""How wide each activation is: one pass over the calibration films, then any calibration method.

minmax      the lowest and highest value seen
percentile  the central 99.99 % of the values: single bright cells no longer cost everyone their resolution
mse         the range, from 30 to 100 % of minmax, that loses least on the values seen
            (Banner et al., "Post training 4-bit quantization of convolutional networks", NeurIPS 2019, section 3)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.edge_runtime.preprocess import InputSpec
from edge_pneumo.quantize.surgery import activations, input_index

METHODS = ("minmax", "percentile", "mse")
PERCENTILE = 99.99
SAMPLES_A_FILM = 2048

Ranges = dict[int, tuple[float, float]]


@dataclass(frozen=True)
class Observed:
    """What one tensor held over the calibration films: extremes of all values, and a regular sample of them."""

    lowest: float
    highest: float
    sample: NDArray[np.float32]


def observe(
    float_bytes: bytes,
    images: NDArray[np.uint8],
    spec: InputSpec,
    seen: Callable[[int], None] = lambda count: None,
) -> dict[int, Observed]:
    """Run the float network on films and keep, for each tensor that is no constant, its range and a sample.

    Parameters
    ----------
    float_bytes : from `export.float_tflite`.
    images : (n, s, s, 1) uint8, from `preprocess`.
    seen : called with the number of films done.
    """
    interpreter = reference_interpreter(float_bytes)
    (film,) = interpreter.get_input_details()
    wanted = activations(float_bytes)
    extremes = dict.fromkeys(wanted, (np.inf, -np.inf))
    samples: dict[int, list[NDArray[np.float32]]] = {index: [] for index in wanted}
    for number, image in enumerate(images, 1):
        interpreter.set_tensor(film["index"], spec.normalise(image[np.newaxis]))
        interpreter.invoke()
        for index in wanted:
            values = interpreter.get_tensor(index).ravel()
            low, high = extremes[index]
            extremes[index] = (min(low, float(values.min())), max(high, float(values.max())))
            stride = max(1, len(values) // SAMPLES_A_FILM) | 1  # odd: not in step with the channels
            samples[index].append(values[number % stride :: stride])
        seen(number)
    return {index: Observed(*extremes[index], np.concatenate(samples[index])) for index in wanted}


def reference_interpreter(tflite: bytes, preserve: bool = True) -> Any:
    """LiteRT without delegates, every intermediate tensor kept, ready to be fed."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=tflite,
        experimental_preserve_all_tensors=preserve,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    return interpreter


def choose_ranges(observed: dict[int, Observed], method: str, float_bytes: bytes, spec: InputSpec) -> Ranges:
    """The range of each tensor by `method`; the input's is always exactly what 0..255 grey levels span."""
    find = {"minmax": _minmax, "percentile": _percentile, "mse": _least_error}[method]
    ranges = {index: _usable(*find(tensor)) for index, tensor in observed.items()}
    levels = spec.normalise(np.array([0, 255], np.uint8)).astype(np.float64)
    ranges[input_index(float_bytes)] = (float(levels[0]), float(levels[1]))
    return ranges


def _usable(low: float, high: float) -> tuple[float, float]:
    """A range that holds 0, as TFLite asks, and is not empty (a dead tensor may be 0 everywhere)."""
    low, high = min(low, 0.0), max(high, 0.0)
    return (low, high) if high - low > 1e-6 else (low, low + 1e-6)


def _minmax(tensor: Observed) -> tuple[float, float]:
    return tensor.lowest, tensor.highest


def _percentile(tensor: Observed) -> tuple[float, float]:
    tail = (100 - PERCENTILE) / 2
    low, high = np.percentile(tensor.sample, [tail, 100 - tail])
    return float(low), float(high)


def _least_error(tensor: Observed) -> tuple[float, float]:
    values = tensor.sample.astype(np.float64)
    best, best_error = (tensor.lowest, tensor.highest), np.inf
    for share in np.linspace(1.0, 0.3, 29):
        low, high = _usable(tensor.lowest * share, tensor.highest * share)
        error = float(np.mean(np.square(_rounded(values, low, high) - values)))
        if error < best_error:
            best, best_error = (low, high), error
    return best


def _rounded(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Values after a trip through 8 bits spanning low..high."""
    scale = (high - low) / 255
    zero_point = round(-low / scale)
    return (np.clip(np.round(values / scale) + zero_point, 0, 255) - zero_point) * scale
