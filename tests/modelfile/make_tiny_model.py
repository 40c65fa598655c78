"""Make `tests/data/tiny.tflite`: a real int8 detector (64 px, alpha 0.35), untrained, with trailer and golden vectors.

    python tests/modelfile/make_tiny_model.py tests/data/tiny.tflite          needs the extra `train`

Weights are drawn at random with batch-norm statistics fitted to drawn films, so that all outputs vary with the input.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from edge_pneumo.edge_runtime.bundle import describe_decode, describe_input, write_bundle
from edge_pneumo.edge_runtime.decode import DecodeSpec
from edge_pneumo.edge_runtime.golden import golden_inputs, make_golden
from edge_pneumo.edge_runtime.preprocess import InputSpec
from edge_pneumo.train.detector import DetectorConfig, build_detector

SPEC = InputSpec(size_px=64)
OUTPUTS = ("image_logit", "heat", "ltrb")


def random_detector() -> Any:
    """An untrained detector whose outputs vary: statistics fitted, biases drawn."""
    import tf_keras

    tf_keras.utils.set_random_seed(7)
    model = build_detector(DetectorConfig(size_px=SPEC.size_px, alpha=0.35, head_channels=16))
    films = SPEC.normalise(golden_inputs(SPEC, 64, seed=1))
    for layer in model.layers:
        if layer.name.endswith("_bn"):
            layer.momentum = 0.8
    for _ in range(30):  # a training pass without an optimiser moves only the statistics
        model(films, training=True)
    random = np.random.default_rng(7)
    for name, spread, shift in (("image_logit", 0.6, 0.1), ("heat", 0.6, -1.0), ("ltrb", 0.2, 1.1)):
        kernel, bias = model.get_layer(name).get_weights()
        model.get_layer(name).set_weights([random.normal(0, spread, kernel.shape), np.full_like(bias, shift)])
    return model


def convert(model: Any, *, integer: bool = True) -> bytes:
    """A .tflite with a signature of named outputs, full integer or float32."""
    import tensorflow as tf

    shape = (1, SPEC.size_px, SPEC.size_px, 1)

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name="film")])
    def serve(film: Any) -> dict[str, Any]:
        answer = model(film, training=False)
        return {name: answer[name] for name in OUTPUTS}

    def films() -> Iterator[dict[str, Any]]:
        for grey in golden_inputs(SPEC, 32, seed=2):
            grey[0, :2, 0] = 0, 255  # the full range, so that the converter finds scale 1/127.5 and zero point 128
            yield {"film": SPEC.normalise(grey[np.newaxis])}

    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(model, folder, signatures={"serving_default": serve})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serving_default"])
        if integer:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = films
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type, converter.inference_output_type = tf.uint8, tf.int8
        return converter.convert()


def write_tiny(path: str, tflite: bytes, precision: str = "int8", dtype: str = "uint8") -> None:
    """The model file around a network of `convert`."""
    metadata = {
        "name": "tiny-test-model",
        "version": "1",
        "created": "2026-01-01T00:00:00+00:00",
        "precision": precision,
        "input": describe_input(SPEC, dtype),
        "decode": describe_decode(DecodeSpec(operating_points={"balanced": 0.5, "sensitive": 0.2})),
        "training_data": {"note": "none: random weights, for tests only"},
        "metrics": {},
        "licence": "Apache-2.0",
        "intended_use": "Tests of the model file and the runtime. It finds nothing.",
    }
    card = "# tiny-test-model\n\nRandom weights, for tests only.\n"
    write_bundle(path, tflite, metadata, card=card, golden=make_golden(tflite, SPEC))


if __name__ == "__main__":
    write_tiny(sys.argv[1], convert(random_detector()))
