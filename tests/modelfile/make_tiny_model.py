"""Make `tests/data/tiny.tflite`: a real int8 detector (64 px, alpha 0.35), untrained, with trailer and golden vectors.

    python tests/modelfile/make_tiny_model.py tests/data/tiny.tflite          needs the extra `train`

`--size-px 256 --alpha 1.0 --precision float32` and the like make the larger ones whose instructions docs/arm.md lists.
Weights are drawn at random with batch-norm statistics fitted to drawn films, so that all outputs vary with the input.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from edge_pneumo.edge_runtime.bundle import describe_decode, describe_input, write_bundle
from edge_pneumo.edge_runtime.decode import DecodeSpec
from edge_pneumo.edge_runtime.golden import golden_inputs, make_golden
from edge_pneumo.edge_runtime.preprocess import InputSpec
from edge_pneumo.train.detector import DetectorConfig, build_detector

OUTPUTS = ("image_logit", "heat", "ltrb")


def random_detector(config: DetectorConfig) -> Any:
    """An untrained detector whose outputs vary: statistics fitted, last layers drawn."""
    import tf_keras

    tf_keras.utils.set_random_seed(7)
    model, spec = build_detector(config), InputSpec(config.size_px)
    films = spec.normalise(golden_inputs(spec, 64 * 64 // config.size_px, seed=1))
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


def convert(model: Any, spec: InputSpec, *, integer: bool = True) -> bytes:
    """A .tflite with a signature of named outputs, full integer or float32."""
    import tensorflow as tf

    shape = (1, spec.size_px, spec.size_px, 1)

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name="film")])
    def serve(film: Any) -> dict[str, Any]:
        answer = model(film, training=False)
        return {name: answer[name] for name in OUTPUTS}

    def films() -> Iterator[dict[str, Any]]:
        for grey in golden_inputs(spec, 32, seed=2):
            grey[0, :2, 0] = 0, 255  # the full range, so that the converter finds scale 1/127.5 and zero point 128
            yield {"film": spec.normalise(grey[np.newaxis])}

    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(model, folder, signatures={"serving_default": serve})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serving_default"])
        if integer:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = films
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type, converter.inference_output_type = tf.uint8, tf.int8
        return converter.convert()


def write_model(path: str, tflite: bytes, spec: InputSpec, name: str, precision: str = "int8") -> None:
    """The model file around a network of `convert`."""
    metadata = {
        "name": name,
        "version": "1",
        "created": "2026-01-01T00:00:00+00:00",
        "precision": precision,
        "input": describe_input(spec, "uint8" if precision == "int8" else "float32"),
        "decode": describe_decode(DecodeSpec(operating_points={"balanced": 0.5, "sensitive": 0.2})),
        "training_data": {"note": "none: random weights, for tests only"},
        "metrics": {},
        "licence": "Apache-2.0",
        "intended_use": "Tests of the model file and the runtime. It finds nothing.",
    }
    card = f"# {name}\n\nRandom weights, for tests only.\n"
    write_bundle(path, tflite, metadata, card=card, golden=make_golden(tflite, spec))


def main() -> None:
    """Command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out")
    parser.add_argument("--size-px", type=int, default=64)
    parser.add_argument("--alpha", type=float, default=0.35)
    parser.add_argument("--head-channels", type=int, default=16)
    parser.add_argument("--precision", choices=["int8", "float32"], default="int8")
    parser.add_argument("--name", default="tiny-test-model")
    given = parser.parse_args()
    spec = InputSpec(size_px=given.size_px)
    config = DetectorConfig(size_px=given.size_px, alpha=given.alpha, head_channels=given.head_channels)
    network = convert(random_detector(config), spec, integer=given.precision == "int8")
    write_model(given.out, network, spec, given.name, given.precision)


if __name__ == "__main__":
    main()
