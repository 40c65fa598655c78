"""A tf_keras detector -> TFLite bytes with the signature `serving_default` and named outputs.

This is the only file that calls TensorFlow's converter. Full-integer files are not made here: `post_training.py` makes
them from the float bytes, so that one slow conversion serves every precision, calibration method and repair.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.edge_runtime.quiet import quiet_runtime

OUTPUTS = ("heat", "image_logit", "ltrb")


def float_tflite(model: Any) -> bytes:
    """The model in float32: input `film` (1, s, s, 1) float32 as `InputSpec.normalise` gives, three named outputs."""
    return _convert(model, lambda converter: None)


def float16_tflite(model: Any) -> bytes:
    """Weights stored as float16, arithmetic in float32: half the bytes, no calibration."""

    def settings(converter: Any) -> None:
        import tensorflow as tf

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]

    return _convert(model, settings)


def dynamic_tflite(model: Any) -> bytes:
    """Weights stored as int8, activations quantised at run time: a quarter of the bytes, no calibration."""

    def settings(converter: Any) -> None:
        import tensorflow as tf

        converter.optimizations = [tf.lite.Optimize.DEFAULT]

    return _convert(model, settings)


def int16x8_tflite(model: Any, films: Iterable[NDArray[np.float32]]) -> bytes:
    """int8 weights with int16 activations, for networks whose activations need finer steps than 1/256 of their range.

    Input and outputs are float32. The converter calibrates by itself (minmax) on `films`, each (1, s, s, 1).
    """

    def settings(converter: Any) -> None:
        import tensorflow as tf

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        mode = "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8"
        converter.target_spec.supported_ops = [getattr(tf.lite.OpsSet, mode)]
        converter.representative_dataset = lambda: ({"film": film} for film in films)

    return _convert(model, settings)


def qat_tflite(model: Any) -> bytes:
    """Full int8 from a quantisation-aware model: uint8 in, int8 out; every range is the one training learnt."""

    def settings(converter: Any) -> None:
        import tensorflow as tf

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.int8

    return _convert(model, settings)


def named_outputs(model: Any, film: Any) -> dict[str, Any]:
    """The detector's three outputs by name; TFMOT turns a dict of outputs into a list in alphabetical order."""
    answer = model(film, training=False)
    if not isinstance(answer, dict):
        answer = dict(zip(OUTPUTS, answer, strict=True))
    return {name: answer[name] for name in OUTPUTS}


def _convert(model: Any, settings: Callable[[Any], None]) -> bytes:
    import tensorflow as tf

    shape = (1, *model.inputs[0].shape[1:])
    signature = [tf.TensorSpec(shape, tf.float32, name="film")]
    function = tf.function(lambda film: named_outputs(model, film), input_signature=signature)
    # the converter saves what it is given: of a Keras model every layer's functions, five times the work; so it gets
    # the one function and the variables that this function needs
    holder = tf.Module()
    holder.kept = list(model.variables)
    with quiet_converter():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], holder)
        settings(converter)
        return converter.convert()


@contextmanager
def quiet_converter() -> Iterator[None]:
    """Keep the converter's log and its Python warnings off the user's terminal; what goes wrong is raised."""
    with quiet_runtime(everything=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
