"""Small, exact edits of a TFLite flatbuffer, and the list of its layers.

TFLite's quantiser reads the range of every activation from the tensor's `min` and `max`. Writing them here, instead of
letting the converter's calibrator do it, lets one observation of the films serve every calibration method, and makes
the result the same on every run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_pneumo.edge_runtime.preprocess import InputSpec

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@dataclass(frozen=True)
class Layer:
    """One operator of a TFLite graph.

    Attributes
    ----------
    index : position in the graph.
    kind : TFLite's name of the operator, such as CONV_2D.
    name : the Keras layer it came from, unique in the graph.
    node : name of its output tensor, by which TFLite's quantiser knows it.
    output : index of its output tensor.
    weights : parameters in its constant inputs.
    """

    index: int
    kind: str
    name: str
    node: str
    output: int
    weights: int


def layers(tflite: bytes) -> tuple[Layer, ...]:
    """The operators of a float model, in order of execution."""
    graph, model = main_graph(tflite)
    found: list[Layer] = []
    taken: dict[str, int] = {}
    for index, operator in enumerate(graph.operators):
        output = int(operator.outputs[0])
        node = graph.tensors[output].name.decode()
        kind = operator_kind(model, operator)
        name = _layer_name(graph, operator, node) if kind in WEIGHTED else _keras_name(node)
        taken[name] = taken.get(name, 0) + 1
        if taken[name] > 1:
            name = f"{name}#{taken[name]}"
        constants = [graph.tensors[i] for i in operator.inputs if i >= 0 and _is_constant(model, graph.tensors[i])]
        weights = sum(int(np.prod(t.shape)) for t in constants) if kind in WEIGHTED else 0
        found.append(Layer(index, kind, name, node, output, weights))
    return tuple(found)


def activations(tflite: bytes) -> tuple[int, ...]:
    """Indices of the float tensors that hold no constant: the input, and what each layer computes."""
    graph, model = main_graph(tflite)
    from tensorflow.lite.python import schema_py_generated as schema

    is_float = schema.TensorType.FLOAT32
    return tuple(i for i, t in enumerate(graph.tensors) if t.type == is_float and not _is_constant(model, t))


def input_index(tflite: bytes) -> int:
    """Index of the input tensor."""
    graph, _ = main_graph(tflite)
    return int(graph.inputs[0])


def with_ranges(tflite: bytes, ranges: Mapping[int, tuple[float, float]]) -> bytes:
    """The same float model with the range (lowest, highest) of each tensor index in `ranges` written into it."""
    from tensorflow.lite.python import schema_py_generated as schema

    graph, model = main_graph(tflite)
    for index, (lowest, highest) in ranges.items():
        quantisation = schema.QuantizationParametersT()
        quantisation.min, quantisation.max = [float(lowest)], [float(highest)]
        graph.tensors[index].quantization = quantisation
    return as_bytes(model)


def with_uint8_input(tflite: bytes, spec: InputSpec) -> bytes:
    """An int8 model whose input is uint8 grey levels: one QUANTIZE, which only shifts by 128, is put in front."""
    from tensorflow.lite.python import schema_py_generated as schema

    graph, model = main_graph(tflite)
    inner = int(graph.inputs[0])
    outer = schema.TensorT()
    outer.name, outer.type, outer.buffer = b"film_uint8", schema.TensorType.UINT8, 0
    outer.shape = list(graph.tensors[inner].shape)
    outer.quantization = schema.QuantizationParametersT()
    outer.quantization.scale, outer.quantization.zeroPoint = [spec.scale], [spec.zero_point]
    graph.tensors.append(outer)
    position = len(graph.tensors) - 1
    shift = schema.OperatorT()
    shift.opcodeIndex, shift.inputs, shift.outputs = _quantize_code(model), [position], [inner]
    graph.operators.insert(0, shift)
    graph.inputs = [position]
    for signature in model.signatureDefs:
        for entry in signature.inputs:
            entry.tensorIndex = position
    return as_bytes(model)


def main_graph(tflite: bytes) -> tuple[Any, Any]:
    """The first graph and the whole model, as editable objects."""
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(tflite))
    return model.subgraphs[0], model


def as_bytes(model: Any) -> bytes:
    """An edited model as a flatbuffer."""
    from tensorflow.lite.tools import flatbuffer_utils

    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _is_constant(model: Any, tensor: Any) -> bool:
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def operator_kind(model: Any, operator: Any) -> str:
    """TFLite's name of an operator."""
    from tensorflow.lite.tools import flatbuffer_utils

    code = model.operatorCodes[operator.opcodeIndex]
    return flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex) or str(code.builtinCode)


def _quantize_code(model: Any) -> int:
    from tensorflow.lite.python import schema_py_generated as schema

    quantize = schema.BuiltinOperator.QUANTIZE
    for index, code in enumerate(model.operatorCodes):
        if code.builtinCode == quantize:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = quantize, quantize, 2
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _layer_name(graph: Any, operator: Any, node: str) -> str:
    """The Keras layer of a convolution: its weights bear its name, its output that of what was fused last."""
    name = _keras_name(graph.tensors[operator.inputs[1]].name.decode())
    return name if name else _keras_name(node)


def _keras_name(text: str) -> str:
    """`block1_add` of `model/block1_add/add`; of several names joined by `;`, the last."""
    parts = text.split(";")[-1].split("/")
    return parts[1] if len(parts) >= 3 else parts[0].split(":")[0]


def weight_spread(tflite: bytes) -> dict[int, float]:
    """For each operator with weights, by index: largest over median of the output channels' largest weights."""
    graph, model = main_graph(tflite)
    spread: dict[int, float] = {}
    for index, operator in enumerate(graph.operators):
        kind = operator_kind(model, operator)
        if kind not in WEIGHTED:
            continue
        tensor = graph.tensors[operator.inputs[1]]
        data = model.buffers[tensor.buffer].data
        if data is None:
            continue
        kernel = np.frombuffer(bytes(data), np.float32).reshape(tensor.shape)
        channel_axis = kernel.ndim - 1 if kind == "DEPTHWISE_CONV_2D" else 0
        largest = np.abs(kernel).max(axis=tuple(a for a in range(kernel.ndim) if a != channel_axis))
        spread[index] = float(largest.max() / max(float(np.median(largest)), 1e-12))
    return spread
