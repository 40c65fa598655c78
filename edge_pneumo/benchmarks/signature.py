"""The tensors at a .tflite's edge as other runtimes see them: they know tensor names, not TFLite's signature names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.edge_runtime.backends import OUTPUT_NAMES, TensorInfo, signature_names
from edge_pneumo.edge_runtime.engine import input_levels
from edge_pneumo.edge_runtime.preprocess import InputSpec


@dataclass(frozen=True)
class EdgeTensors:
    """How to feed another runtime, and how to read its answer.

    Attributes
    ----------
    levels : what each grey level becomes in the input, or None where it stays as it is.
    outputs : dequantisation by signature name.
    output_tensors : tensor name in the file, by signature name.
    """

    levels: NDArray | None
    outputs: dict[str, TensorInfo]
    output_tensors: dict[str, str]

    def fill(self, pictures: NDArray[np.uint8]) -> NDArray:
        """Grey levels -> the input's own numbers."""
        return pictures if self.levels is None else self.levels[pictures]

    def real(self, stored: dict[str, NDArray]) -> tuple[NDArray, NDArray, NDArray]:
        """Stored outputs by signature name -> float32 image_logit, heat and ltrb.

        A runtime that dequantises by itself answers in float32, which passes as it is.
        """
        logits, heat, ltrb = (
            value if value.dtype == np.float32 else self.outputs[name].dequantise(value)
            for name, value in ((name, stored[name]) for name in OUTPUT_NAMES)
        )
        return logits, heat, ltrb


def edge_tensors(model: bytes, spec: InputSpec) -> EdgeTensors:
    """Read the edge of a .tflite with LiteRT's interpreter.

    Raises
    ------
    ModelFileError : no signature has our outputs.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model)
    key, input_name = signature_names(interpreter.get_signature_list(), "the model")
    runner = interpreter.get_signature_runner(key)
    inputs, outputs = runner.get_input_details(), runner.get_output_details()
    infos = {
        name: TensorInfo(name, (), np.dtype(d["dtype"]).name, float(d["quantization"][0]), int(d["quantization"][1]))
        for name, d in {"input": inputs[input_name], **{n: outputs[n] for n in OUTPUT_NAMES}}.items()
    }
    return EdgeTensors(
        input_levels(infos.pop("input"), spec), infos, {name: str(outputs[name]["name"]) for name in OUTPUT_NAMES}
    )
