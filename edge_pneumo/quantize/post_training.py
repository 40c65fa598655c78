"""Float TFLite bytes + ranges -> integer TFLite bytes, and the proof that they are integer from end to end."""

from __future__ import annotations

from collections.abc import Collection

from edge_pneumo.edge_runtime.flatbuffer import read_graph
from edge_pneumo.edge_runtime.preprocess import InputSpec
from edge_pneumo.errors import VerificationFailed
from edge_pneumo.quantize.export import quiet_converter
from edge_pneumo.quantize.ranges import Ranges
from edge_pneumo.quantize.surgery import with_ranges, with_uint8_input

PRECISIONS = ("int8", "int16x8", "float16", "dynamic", "float32")


def quantise_int8(
    float_bytes: bytes,
    ranges: Ranges,
    spec: InputSpec,
    *,
    keep_float: Collection[str] = (),
    per_channel: bool = True,
) -> bytes:
    """int8 weights and activations, uint8 input, int8 outputs.

    Parameters
    ----------
    float_bytes : from `export.float_tflite`.
    ranges : of every tensor that is no constant, from `ranges.choose_ranges`.
    keep_float : nodes (`Layer.node`) that stay in float32, at the price of a conversion on either side.
    per_channel : one scale for each output channel of a convolution; False = one for the whole kernel, which some
        accelerators ask for and MobileNet's depthwise kernels bear badly.

    Raises
    ------
    VerificationFailed : the input's quantisation is not the one in `spec`.
    """
    import tensorflow as tf
    from tensorflow.lite.python.convert import mlir_quantize

    with quiet_converter():
        quantised = mlir_quantize(
            with_ranges(float_bytes, ranges),
            disable_per_channel=not per_channel,
            fully_quantize=True,
            input_data_type=tf.int8,
            output_data_type=tf.int8,
            denylisted_nodes=sorted(keep_float),
        )
    quantised = with_uint8_input(quantised, spec)
    check_input(quantised, spec)
    return quantised


def quantise_alone(
    float_bytes: bytes, ranges: Ranges, keep_float: Collection[str], *, per_channel: bool = True
) -> bytes:
    """Float input and outputs, everything in `keep_float` in float32: to see what the remaining layers do alone."""
    from tensorflow.lite.python.convert import mlir_quantize

    with quiet_converter():
        return mlir_quantize(
            with_ranges(float_bytes, ranges),
            disable_per_channel=not per_channel,
            denylisted_nodes=sorted(keep_float),
        )


def check_input(tflite: bytes, spec: InputSpec) -> None:
    """Raise VerificationFailed unless the input is uint8 with the scale and zero point of `spec`, and the int8 tensor
    behind it the same shifted by 128: otherwise grey levels would be rounded, or mean something else."""
    graph = read_graph(tflite)
    film = graph.tensors[graph.inputs[0]]
    inner = [t for t in graph.tensors if t.dtype == "int8" and t.shape == film.shape and t.zero_points]
    wanted = {"uint8": (film, spec.zero_point), "int8": (inner[0] if inner else film, spec.zero_point - 128)}
    for dtype, (tensor, zero_point) in wanted.items():
        exact = len(tensor.scales) == 1 and abs(tensor.scales[0] - spec.scale) <= 1e-6 * spec.scale
        if tensor.dtype != dtype or not exact or tensor.zero_points != (zero_point,):
            raise VerificationFailed(
                f"the converted input is {tensor.dtype}, scale {tensor.scales}, zero point {tensor.zero_points}; "
                f"expected {dtype}, scale {spec.scale:.9g}, zero point {zero_point}: its range was not that of grey "
                "levels 0..255. Convert from a run whose input contract is this one"
            )


def check_integer(tflite: bytes, keep_float: Collection[str] = ()) -> None:
    """Raise VerificationFailed if a float tensor is left between input and outputs, though none was asked for."""
    left = read_graph(tflite).float_tensors()
    if left and not keep_float:
        raise VerificationFailed(
            f"{len(left)} float tensors are left in what should be an integer network, the first: {left[0]}. "
            "A layer has no int8 kernel; see docs/quantization.md"
        )
