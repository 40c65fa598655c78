"""The detector with eight-bit rounding in its forward pass (TFMOT), made from a float run and read from a QAT run.

TFMOT's defaults lose .02 to .04 of AUC on this network. What mends that, in this order: depthwise kernels normalised
per channel (TFMOT gives such a kernel one scale), ranges set from films before the first step (TFMOT starts every
activation at -6..6 and moves there by a thousandth a step), the input's range fixed to that of grey levels, batch
norm's statistics frozen so that what is trained is what will be folded, and no dropout: its noise on the image logit is
a hundred times the rounding that is to be learnt away.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.edge_runtime.preprocess import InputSpec
from edge_pneumo.errors import DataError, MissingExtra, UsageFault
from edge_pneumo.quantize.depthwise import normalise_depthwise
from edge_pneumo.quantize.export import OUTPUTS
from edge_pneumo.train.run import TrainedRun, build_from_config, load_weights, read_json

FLOAT_WEIGHTS = "float.weights.h5"
PREFIX = "quant_"


def check_quantisable(model: Any) -> None:
    """Say in our words what TFMOT would refuse cryptically.

    Raises
    ------
    UsageFault : not a flat functional tf_keras graph of layers that TFMOT knows. MissingExtra : no TFMOT.
    """
    import tf_keras

    registry = _registry()
    if not isinstance(model, tf_keras.Model):
        raise UsageFault(
            f"quantisation-aware training needs a tf_keras model, found {type(model).__module__}."
            f"{type(model).__name__}; build it with `import tf_keras`, not with Keras 3"
        )
    if isinstance(model, tf_keras.Sequential) or not getattr(model, "_is_graph_network", False):
        raise UsageFault(
            f"'{model.name}' is a {'Sequential' if isinstance(model, tf_keras.Sequential) else 'subclassed'} model; "
            "quantisation-aware training needs a functional one: tf_keras.Model(inputs, outputs)"
        )
    for layer in model.layers:
        if isinstance(layer, tf_keras.Model):
            raise UsageFault(
                f"layer '{layer.name}' is itself a model; TFMOT takes flat graphs only: put its layers into one "
                "functional graph, as train/detector.py does"
            )
        if isinstance(layer, tf_keras.layers.InputLayer):
            continue
        if len(layer.inbound_nodes) > 1:
            raise UsageFault(
                f"layer '{layer.name}' is used {len(layer.inbound_nodes)} times; TFMOT cannot share layers"
            )
        if not registry.supports(layer) and not _folds(layer):
            raise UsageFault(
                f"layer '{layer.name}' ({type(layer).__name__}) has no eight-bit form in TFMOT; replace it, or use "
                "post-training int8 (`edge-pneumo convert`)"
            )


def _folds(layer: Any) -> bool:
    """A batch norm that the converter folds into the convolution before it."""
    sources = layer.inbound_nodes[0].inbound_layers
    return type(layer).__name__ == "BatchNormalization" and type(sources).__name__ in ("Conv2D", "DepthwiseConv2D")


def _registry() -> Any:
    """TFMOT's list of layers with an eight-bit form."""
    _tfmot()
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import default_8bit_quantize_registry

    return default_8bit_quantize_registry.Default8BitQuantizeRegistry()


def _tfmot() -> Any:
    """TensorFlow Model Optimization, without the warning about distutils that its import gives."""
    from importlib.util import find_spec

    if find_spec("tensorflow_model_optimization") is None:
        raise MissingExtra("quantisation-aware training", "tensorflow-model-optimization", "train")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            import tensorflow_model_optimization as tfmot
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith("distutils"):
                raise
            package = "setuptools (for distutils, which Python has no more)"
            raise MissingExtra("quantisation-aware training", package, "train") from error
    return tfmot


def quantise_aware(model: Any, prepare: Callable[[Any], object] | None = None) -> Any:
    """A copy of a float detector that rounds as int8 will; outputs a dict. Ranges are still to be set.

    Parameters
    ----------
    prepare : changes the float copy in place before it is wrapped, as `rounded_model.round_in_place` does.
    """
    import tf_keras

    check_quantisable(model)

    def still(layer: Any) -> Any:
        facts = layer.get_config()
        return type(layer).from_config({**facts, "rate": 0.0} if "rate" in facts else facts)

    copy = tf_keras.models.clone_model(model, clone_function=still)
    copy.set_weights(model.get_weights())
    normalise_depthwise(copy)
    if prepare is not None:
        prepare(copy)
    return _wrapped(tf_keras, copy)


def _wrapped(tf_keras: Any, model: Any) -> Any:
    quantised = _tfmot().quantization.keras.quantize_model(model)
    for layer in quantised.layers:
        if type(getattr(layer, "layer", None)).__name__ == "BatchNormalization":
            layer.trainable = False
    outputs = dict(zip(sorted(model.output_names), quantised.outputs, strict=True))
    return tf_keras.Model(quantised.inputs, {name: outputs[name] for name in OUTPUTS}, name=model.name)


def set_ranges(quantised: Any, model: Any, spec: InputSpec, batches: list[NDArray[np.float32]]) -> int:
    """Set every activation's range to what the float model shows on films; returns how many there are.

    The range is from the lowest to the highest value seen, as for post-training int8; with the mean over batches of
    each, the embedded default started further from float. Weight ranges are set by one forward pass in training mode.

    Parameters
    ----------
    quantised, model : from `quantise_aware`, and the float model it was made from.
    batches : normalised films (n, s, s, 1).
    """
    import tf_keras

    found = {}
    for layer in quantised.layers:
        if layer.name.startswith(PREFIX):
            pair = [w for w in layer.weights if w.name.rsplit("/", 1)[-1].startswith(("output_m", "post_activation_m"))]
            if pair:
                found[layer.name.removeprefix(PREFIX)] = pair
    names = sorted(found)
    probe = tf_keras.Model(model.input, [model.get_layer(name).output for name in names])
    lows, highs = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    for batch in batches:
        for index, value in enumerate(probe(batch, training=False)):
            lows[index] = min(lows[index], float(np.min(value)))
            highs[index] = max(highs[index], float(np.max(value)))
    for name, low, high in zip(names, lows, highs, strict=True):
        for variable in found[name]:
            lowest = variable.name.rsplit("/", 1)[-1].split(":")[0].endswith("min")
            variable.assign(min(low, 0.0) if lowest else max(high, 1e-3))
    fix_input_range(quantised, spec)
    quantised(batches[0][:1], training=True)
    return len(names)


def fix_input_range(quantised: Any, spec: InputSpec) -> None:
    """The input's range is that of grey levels 0..255, exactly: scale and zero point are then those of the contract."""
    levels = spec.normalise(np.array([0, 255], np.uint8))
    layer = next(layer for layer in quantised.layers if type(layer).__name__ == "QuantizeLayer")
    for variable in layer.weights:
        kind = variable.name.split(":")[0].rsplit("_", 1)[-1]
        if kind in ("min", "max"):
            variable.assign(float(levels[0 if kind == "min" else 1]))


def load_qat_model(path: Path) -> Any:
    """The quantisation-aware model of a run directory.

    Raises
    ------
    DataError : the weights are damaged or of another graph. MissingExtra : no TFMOT.
    """
    import tf_keras

    model = build_from_config(_without_dropout(read_json(Path(path) / "config.json")))
    quantised = _wrapped(tf_keras, model)
    load_weights(quantised, Path(path) / "model.weights.h5")
    return quantised


def load_float_reference(run: TrainedRun) -> Any:
    """The float model that a QAT run started from, kept in its directory: what its file is compared with.

    Raises
    ------
    DataError : the file is missing or damaged.
    """
    weights = run.path / FLOAT_WEIGHTS
    if not weights.is_file():
        raise DataError(f"{run.path} has no {FLOAT_WEIGHTS}, the float model to compare with; run `quantize` again")
    model = build_from_config(_without_dropout(run.config))
    load_weights(model, weights)
    return model


def _without_dropout(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "train": {**config["train"], "dropout": 0.0}}
