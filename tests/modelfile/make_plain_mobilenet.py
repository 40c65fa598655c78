"""Make a bare int8 MobileNetV2 (224 px, random weights): the network that others publish times of.

    python tests/modelfile/make_plain_mobilenet.py plain.tflite               needs the extra `train`

`edge-pneumo benchmark arm` counts it beside our detector: the anchor of its estimates (docs/arm.md).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

SIZE_PX, CLASSES = 224, 2


def make() -> bytes:
    """The network as a .tflite without our trailer, int8 from end to end."""
    import tensorflow as tf
    import tf_keras

    tf_keras.utils.set_random_seed(7)
    random = np.random.default_rng(7)
    shape = (SIZE_PX, SIZE_PX, 1)
    model = tf_keras.applications.MobileNetV2(input_shape=shape, weights=None, classes=CLASSES)
    for layer in model.layers:  # the converter leaves out a bias of zeros, which no trained network has
        weights = layer.get_weights()
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            weights[1] = random.normal(0, 0.3, weights[1].shape)
        elif isinstance(layer, tf_keras.layers.Dense):
            weights[1] = random.normal(0, 0.1, weights[1].shape)
        layer.set_weights(weights)

    def films() -> Iterator[list[np.ndarray]]:
        for _ in range(8):
            yield [random.uniform(-1, 1, (1, *shape)).astype(np.float32)]

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = films
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(make())
