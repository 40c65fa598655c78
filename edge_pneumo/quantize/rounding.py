"""Rounding of weights that knows what they are multiplied with.

Rounding each weight to the nearest of 255 steps is best for that weight, not for the sum it is part of: the inputs of a
layer hang together (neighbouring pixels, channels that fire together), so one weight's error can be undone by the
others. MobileNetV2's first depthwise kernels are differences of large weights on smooth films; rounded one by one, they
answer to the film's brightness. Here the weights of an output are rounded in turn, and what each rounding costs, in
terms of the inputs seen on films, is spread over the weights still to come (Frantar et al., "GPTQ", ICLR 2023, which
builds on Hassibi & Stork, "Optimal brain surgeon", 1993). The mean error that is left goes into the bias (Nagel et al.,
"Data-free quantization", ICCV 2019, section 4.2).

The result is a float network whose weights lie on the int8 grid: the converter's own rounding then changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.edge_runtime.preprocess import InputSpec
from edge_pneumo.quantize.kernels import Kernel, kernels, with_weights
from edge_pneumo.quantize.ranges import reference_interpreter

ROWS_A_FILM = 1500
STEPS = 127
_DAMPING = 1e-4

Weights = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class FloatNetwork:
    """A float network with the rounded weights that its layers get when they are quantised.

    Attributes
    ----------
    original : TFLite bytes, from `export.float_tflite`.
    rounded : by node, kernel on the int8 grid and corrected bias; empty for rounding to nearest.
    """

    original: bytes
    rounded: Mapping[str, Weights]

    def without(self, keep_float: Collection[str] = ()) -> bytes:
        """The network with rounded weights, but for the nodes that stay in float and so keep their own."""
        chosen = {node: weights for node, weights in self.rounded.items() if node not in keep_float}
        return with_weights(self.original, chosen) if chosen else self.original


def round_weights(
    float_bytes: bytes, images: NDArray[np.uint8], spec: InputSpec, *, per_channel: bool = True
) -> FloatNetwork:
    """Round every kernel for the inputs it sees on films.

    Parameters
    ----------
    float_bytes : from `export.float_tflite`.
    images : (n, s, s, 1) uint8; two dozen are enough, each gives thousands of cells.
    per_channel : as for `post_training.quantise_int8`: the grid is one for each output channel, or one a kernel.
    """
    found = kernels(float_bytes)
    moments = _moments(float_bytes, found, images, spec)
    rounded = {}
    for kernel in found:
        second, mean = moments[kernel.node]
        weights = kernel.as_rows()
        widest = np.abs(weights).max(axis=2, keepdims=True)
        if not per_channel:
            widest = np.full_like(widest, widest.max())
        step = np.where(widest > 0, widest, 1.0) / STEPS
        values = _round_in_turn(weights, second, step)
        shift = np.einsum("bon,bn->bo", weights - values, mean).ravel()
        rounded[kernel.node] = kernel.from_rows(values), (kernel.bias + shift).astype(np.float32)
    return FloatNetwork(float_bytes, rounded)


def _round_in_turn(
    weights: NDArray[np.float64], second: NDArray[np.float64], step: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weights (b, o, n) on the grid `step` (b, o, 1), least in error for inputs with second moments (b, n, n).

    The widest weight of an output is on the grid already and stays: it is what the converter finds the step from.
    """
    count = weights.shape[2]
    trace = np.trace(second, axis1=1, axis2=2)[:, np.newaxis, np.newaxis] / count
    loss = second + np.eye(count) * (_DAMPING * trace + 1e-12)
    order = np.argsort(
        -np.mean(np.diagonal(loss, axis1=1, axis2=2), axis=0)
    )  # costly inputs first, while others can help
    loss = loss[:, order][:, :, order]
    left = weights[:, :, order].astype(np.float64)
    pinned = np.abs(left) >= STEPS * step * (1 - 1e-6)
    own = left.copy()
    spread = np.swapaxes(np.linalg.cholesky(np.linalg.inv(loss)), 1, 2)
    done = np.empty_like(left)
    for i in range(count):
        nearest = np.clip(np.round(left[:, :, i] / step[..., 0]), -STEPS, STEPS) * step[..., 0]
        done[:, :, i] = np.where(pinned[:, :, i], own[:, :, i], nearest)
        error = (left[:, :, i] - done[:, :, i]) / spread[:, i, i, np.newaxis]
        left[:, :, i + 1 :] -= error[:, :, np.newaxis] * spread[:, np.newaxis, i, i + 1 :]
    result = np.empty_like(done)
    result[:, :, order] = done
    return result


def _moments(
    float_bytes: bytes, found: tuple[Kernel, ...], images: NDArray[np.uint8], spec: InputSpec
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Second moments (b, n, n) and means (b, n) of what each kernel is multiplied with, over films."""
    interpreter = reference_interpreter(float_bytes)
    (film,) = interpreter.get_input_details()
    sums = {kernel.node: [0.0, 0.0, 0] for kernel in found}
    for image in images:
        interpreter.set_tensor(film["index"], spec.normalise(image[np.newaxis]))
        interpreter.invoke()
        for kernel in found:
            rows = kernel.input_rows(interpreter.get_tensor(kernel.input))
            stride = max(1, rows.shape[1] // ROWS_A_FILM) | 1
            rows = rows[:, ::stride].astype(np.float64)
            total = sums[kernel.node]
            total[0] = total[0] + np.swapaxes(rows, 1, 2) @ rows
            total[1] = total[1] + rows.sum(axis=1)
            total[2] += rows.shape[1]
    return {node: (second / count, first / count) for node, (second, first, count) in sums.items()}
