"""A Keras detector whose weights are rounded for the films they meet (`rounding.py`), batch norm unfolded again.

For whatever rounds weights by itself, and to the nearest step: TFLite's converter where it calibrates alone (int16x8,
dynamic), and TFMOT at the start of quantisation-aware training, where nearest costs more than training wins back. The
weights found here lie on the grid that they use, one step for each output channel, so that their rounding changes
nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.edge_runtime.preprocess import InputSpec
from edge_pneumo.quantize import export
from edge_pneumo.quantize.rounding import round_weights
from edge_pneumo.quantize.surgery import layers

ROUNDING_FILMS = 24


def rounded_copy(model: Any, images: NDArray[np.uint8], spec: InputSpec) -> Any:
    """A copy of a float detector with rounded weights; see `round_in_place`."""
    import tf_keras

    copy = tf_keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    round_in_place(copy, images, spec)
    return copy


def round_in_place(model: Any, images: NDArray[np.uint8], spec: InputSpec) -> int:
    """Put weights that are rounded for films into a float detector; returns how many layers got them.

    A kernel is rounded as it will run, with batch norm folded in, and then unfolded: kernel' = rounded / gain. What the
    mean error of rounding adds to the folded bias goes into the batch norm's offset.

    Parameters
    ----------
    model : a float detector. For TFMOT its depthwise kernels must be normalised (`depthwise.normalise_depthwise`).
    images : (n, s, s, 1) uint8 films; two dozen are enough.
    """
    network = round_weights(export.float_tflite(model), images, spec)
    names = {layer.node: layer.name for layer in layers(network.original)}
    for node, (kernel, bias) in network.rounded.items():
        layer = model.get_layer(names[node])
        kernel = np.moveaxis(kernel, 0, -1)  # TFLite has a kernel's outputs first, Keras last
        norm = _norm_after(layer)
        if norm is None:
            layer.set_weights([kernel, bias])
            continue
        gamma, _, mean, variance = norm.get_weights()
        gain = gamma / np.sqrt(variance + norm.epsilon)
        divisor = np.where(gain == 0, 1.0, gain)  # of a channel that batch norm silences any kernel will do
        if type(layer).__name__ == "DepthwiseConv2D":
            divisor = divisor[:, np.newaxis]
        layer.set_weights([(kernel / divisor).astype(np.float32)])
        norm.set_weights([gamma, (bias + mean * gain).astype(np.float32), mean, variance])
    return len(network.rounded)


def _norm_after(layer: Any) -> Any:
    """The batch norm that the converter folds into this layer, or None."""
    followers = [node.outbound_layer for node in layer.outbound_nodes]
    return followers[0] if len(followers) == 1 and type(followers[0]).__name__ == "BatchNormalization" else None
