"""Where the error of int8 comes from: each layer quantised alone, all others in float, worst first.

For one layer at a time the network is quantised with every other layer kept in float and run on a few films, so that
what is measured is what TFLite's own kernels do to that layer:

    snr_db        signal to noise at the layer's own output: is the layer damaged?
    final_snr_db  signal to noise at the network's outputs: does that matter?
    share         this layer's part of the summed error at the outputs
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.edge_runtime.preprocess import InputSpec
from edge_pneumo.quantize.gate import OUTPUTS, decibel
from edge_pneumo.quantize.material import Say
from edge_pneumo.quantize.post_training import quantise_alone
from edge_pneumo.quantize.ranges import Ranges, reference_interpreter
from edge_pneumo.quantize.rounding import FloatNetwork
from edge_pneumo.quantize.surgery import Layer, layers, weight_spread


@dataclass(frozen=True)
class LayerError:
    """One layer's error when it alone is quantised.

    Attributes
    ----------
    name, kind, node : see `surgery.Layer`.
    snr_db, final_snr_db : dB at the layer's own output and at the network's; 99 = no error.
    share : 0..1 of the summed error at the network's outputs.
    weight_spread : largest over median of the channels' largest weights (1 for layers without weights): far above 10
        with one scale a kernel, most channels are rounded to nothing.
    weights : parameters.
    """

    name: str
    kind: str
    node: str
    snr_db: float
    final_snr_db: float
    share: float
    weight_spread: float
    weights: int


@dataclass(frozen=True)
class Explanation:
    """The layers by falling share, and on how many films they were measured."""

    layers: tuple[LayerError, ...]
    films: int

    def to_dict(self) -> dict[str, Any]:
        """JSON: `films` and `layers`, worst first, numbers rounded to what they mean."""
        rows = [
            {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(layer).items()} for layer in self.layers
        ]
        return {"films": self.films, "layers": rows}


def explain_layers(
    network: FloatNetwork,
    ranges: Ranges,
    images: NDArray[np.uint8],
    spec: InputSpec,
    *,
    per_channel: bool = True,
    say: Say = lambda sentence: None,
) -> Explanation:
    """Quantise each layer alone and measure what it does.

    Parameters
    ----------
    network : the float network, with the rounded weights that quantised layers get.
    ranges, per_channel : as for `post_training.quantise_int8`.
    images : (n, s, s, 1) uint8; a handful is enough, since each holds thousands of cells.
    """
    found = layers(network.original)
    films = [spec.normalise(image[np.newaxis]) for image in images]
    truth = _run_films(network.original, films, {layer.node: layer.node for layer in found})
    spread = weight_spread(network.original)
    errors = []
    for number, layer in enumerate(found, 1):
        others = [other.node for other in found if other.index != layer.index]
        alone = quantise_alone(network.without(others), ranges, others, per_channel=per_channel)
        answers = _run_films(alone, films, {layer.node: layer.node})
        errors.append(_layer_error(layer, truth, answers, spread.get(layer.index, 1.0)))
        if number % 20 == 0:
            say(f"measured {number} of {len(found)} layers")
    total = sum(error for _, error in errors) or 1.0
    ranked = sorted(((e, LayerError(**facts, share=e / total)) for facts, e in errors), key=lambda pair: -pair[0])
    return Explanation(tuple(layer for _, layer in ranked), len(images))


Answers = list[dict[str, NDArray[np.float64]]]


def _layer_error(layer: Layer, truth: Answers, answers: Answers, spread: float) -> tuple[dict[str, Any], float]:
    """Facts of a layer and its error at the network's outputs, each output measured in its own variance."""
    own = _power(truth, answers, layer.node) if layer.node in answers[0] else (1.0, 0.0)
    relative = []
    for name in OUTPUTS:
        signal, noise = _power(truth, answers, name)
        relative.append(noise / max(signal, 1e-12))
    error = float(np.mean(relative))
    facts = {"name": layer.name, "kind": layer.kind, "node": layer.node, "weights": layer.weights}
    measured = {"snr_db": decibel(*own), "final_snr_db": decibel(1.0, error), "weight_spread": spread}
    return {**facts, **measured}, error


def _power(truth: Answers, answers: Answers, key: str) -> tuple[float, float]:
    """Variance of the true values and mean square of the error, over all films."""
    before = np.concatenate([film[key].ravel() for film in truth])
    after = np.concatenate([film[key].ravel() for film in answers])
    return float(before.var()), float(np.mean(np.square(after - before)))


def _run_films(tflite: bytes, films: Sequence[NDArray[np.float32]], wanted: dict[str, str]) -> Answers:
    """The outputs by signature name and the wanted inner tensors by node, dequantised, for each film."""
    interpreter = reference_interpreter(tflite)
    (signature,) = interpreter.get_signature_list().values()
    runner = interpreter.get_signature_runner()
    by_name: dict[str, dict[str, Any]] = {}
    for detail in interpreter.get_tensor_details():
        if detail["name"] in wanted and (detail["name"] not in by_name or detail["dtype"] is np.int8):
            by_name[detail["name"]] = detail
    answers = []
    for film in films:
        outputs = runner(**{signature["inputs"][0]: film})
        answer = {name: np.asarray(value, np.float64) for name, value in outputs.items()}
        for node, detail in by_name.items():
            answer[node] = _real(interpreter.get_tensor(detail["index"]), detail)
        answers.append(answer)
    return answers


def _real(values: NDArray, detail: dict[str, Any]) -> NDArray[np.float64]:
    scale, zero_point = detail["quantization"]
    return (values.astype(np.float64) - zero_point) * scale if scale else values.astype(np.float64)
