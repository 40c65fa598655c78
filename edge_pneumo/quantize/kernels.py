"""The kernels of a float TFLite network as matrices, and the inputs they are multiplied with as rows."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.quantize.surgery import WEIGHTED, as_bytes, main_graph, operator_kind

DEPTHWISE = "DEPTHWISE_CONV_2D"


@dataclass(frozen=True)
class Kernel:
    """Weights of one convolution or dense layer.

    Attributes
    ----------
    node : name of its output tensor (`surgery.Layer.node`).
    kind : TFLite's operator.
    input : index of its input tensor.
    values : (out, kh, kw, in), for depthwise (1, kh, kw, channels), for dense (out, in).
    bias : (out,).
    stride : pixels. same_padding : as TensorFlow's SAME.
    """

    node: str
    kind: str
    input: int
    values: NDArray[np.float32]
    bias: NDArray[np.float32]
    stride: int
    same_padding: bool

    def as_rows(self) -> NDArray[np.float64]:
        """(b, o, n): n weights for each of o outputs that share their inputs, in b groups that do not.

        A depthwise kernel has a group for each channel, any other kernel one group.
        """
        if self.kind == DEPTHWISE:
            rows = np.moveaxis(self.values[0], -1, 0).reshape(self.values.shape[-1], 1, -1)
        else:
            rows = self.values.reshape(1, len(self.values), -1)
        return rows.astype(np.float64)

    def from_rows(self, rows: NDArray[np.float64]) -> NDArray[np.float32]:
        """The inverse of `as_rows`."""
        if self.kind == DEPTHWISE:
            values = np.moveaxis(rows.reshape(rows.shape[0], *self.values.shape[1:3]), 0, -1)[np.newaxis]
        else:
            values = rows.reshape(self.values.shape)
        return np.ascontiguousarray(values, np.float32)

    def input_rows(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the weights meet at each position of an input (1, h, w, c) or (1, c): (b, positions, n)."""
        if self.values.ndim == 2:
            return tensor.reshape(1, 1, -1)
        patches = self._patches(tensor[0])
        if self.kind == DEPTHWISE:
            return np.moveaxis(patches, -1, 0)
        return patches.reshape(1, len(patches), -1)

    def _patches(self, film: NDArray[np.float32]) -> NDArray[np.float32]:
        """(h, w, c) -> (positions, kh x kw, c)."""
        kh, kw = self.values.shape[1:3]
        height, width = film.shape[:2]
        if self.same_padding:
            high, wide = -(-height // self.stride), -(-width // self.stride)
            pads = [max((n - 1) * self.stride + k - size, 0) for n, k, size in ((high, kh, height), (wide, kw, width))]
            film = np.pad(film, [*((p // 2, p - p // 2) for p in pads), (0, 0)])
        else:
            high, wide = (height - kh) // self.stride + 1, (width - kw) // self.stride + 1
        rows, columns = high * self.stride, wide * self.stride
        taps = [
            film[i : i + rows : self.stride, j : j + columns : self.stride][:high, :wide]
            for i in range(kh)
            for j in range(kw)
        ]
        return np.stack(taps, axis=2).reshape(high * wide, kh * kw, -1)


def kernels(tflite: bytes) -> tuple[Kernel, ...]:
    """The kernels of a float network in order; depthwise ones with more than one output a channel are left out."""
    graph, model = main_graph(tflite)
    found = []
    for operator in graph.operators:
        kind = operator_kind(model, operator)
        if kind not in WEIGHTED or len(operator.inputs) < 3 or operator.inputs[2] < 0:
            continue
        weights, bias = (graph.tensors[i] for i in operator.inputs[1:3])
        options = operator.builtinOptions
        if kind == DEPTHWISE and options.depthMultiplier != 1:
            continue
        found.append(
            Kernel(
                graph.tensors[int(operator.outputs[0])].name.decode(),
                kind,
                int(operator.inputs[0]),
                _constant(model, weights),
                _constant(model, bias),
                int(getattr(options, "strideH", 1)),
                getattr(options, "padding", 0) == 0,
            )
        )
    return tuple(found)


def with_weights(tflite: bytes, changed: Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]]) -> bytes:
    """The same network with other kernels and biases, by node; each gets a buffer of its own, since equal biases of
    several layers share one."""
    graph, model = main_graph(tflite)
    for operator in graph.operators:
        node = graph.tensors[int(operator.outputs[0])].name.decode()
        if node not in changed:
            continue
        operator.inputs = list(operator.inputs)
        for position, values in zip((1, 2), changed[node], strict=True):
            tensor = copy.copy(graph.tensors[operator.inputs[position]])
            buffer = copy.copy(model.buffers[tensor.buffer])
            buffer.data = np.frombuffer(np.ascontiguousarray(values, np.float32).tobytes(), np.uint8)
            model.buffers.append(buffer)
            tensor.buffer = len(model.buffers) - 1
            graph.tensors.append(tensor)
            operator.inputs[position] = len(graph.tensors) - 1
    return as_bytes(model)


def _constant(model: object, tensor: object) -> NDArray[np.float32]:
    data = model.buffers[tensor.buffer].data  # type: ignore[attr-defined]
    return np.frombuffer(bytes(data), np.float32).reshape(tensor.shape)  # type: ignore[attr-defined]
