"""Rewrites of the float network that change no answer but make it kinder to eight bits.

normalise_depthwise    for training with TFMOT, which gives a depthwise kernel one scale although its channels differ
                       a hundredfold: each channel's largest weight becomes 1, and batch norm takes the factor over.
equalise_bottlenecks   for any int8: the channels of a linear bottleneck get equal ranges (Nagel et al., "Data-free
                       quantization through weight equalization and bias correction", ICCV 2019, section 4.1), since an
                       activation has one scale for all its channels. Only bottlenecks: through ReLU6 it is not exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_LARGEST_FACTOR = 256.0


def normalise_depthwise(model: Any) -> int:
    """Scale each depthwise channel so that its largest weight is 1, in place; returns how many kernels there were.

    y = gamma (k x - mean) / sqrt(var + eps) + beta stays the same if k, mean are divided by s and gamma, rewritten for
    the variance (var + eps) / s^2, takes up what is left.
    """
    count = 0
    for layer in model.layers:
        if type(layer).__name__ != "DepthwiseConv2D":
            continue
        norm = _norm_after(layer)
        kernel = layer.get_weights()[0]
        largest = np.abs(kernel).max(axis=(0, 1, 3))
        factor = np.where(largest > 0, largest, 1.0)
        layer.set_weights([kernel / factor[:, np.newaxis]])
        gamma, beta, mean, variance = norm.get_weights()
        scaled = np.maximum((variance + norm.epsilon) / factor**2 - norm.epsilon, 0.0)
        gain = gamma / np.sqrt(variance + norm.epsilon) * factor
        norm.set_weights([gain * np.sqrt(scaled + norm.epsilon), beta, mean / factor, scaled])
        count += 1
    return count


def equalise_bottlenecks(model: Any, images: NDArray[np.float32]) -> int:
    """Give the channels of each linear bottleneck equal ranges, in place; returns how many bottlenecks there were.

    Parameters
    ----------
    images : (n, s, s, 1) float32 normalised films on which the ranges are measured.
    """
    groups = _bottlenecks(model)
    ranges = _channel_ranges(model, [norm for producers, _ in groups for norm in producers], images)
    for producers, consumers in groups:
        widest = np.max([ranges[norm.name] for norm in producers], axis=0)
        known = widest > 0
        factor = np.ones_like(widest)
        factor[known] = np.clip(
            np.exp(np.log(widest[known]).mean()) / widest[known], 1 / _LARGEST_FACTOR, _LARGEST_FACTOR
        )
        for norm in producers:
            gamma, beta, mean, variance = norm.get_weights()
            norm.set_weights([gamma * factor, beta * factor, mean, variance])
        for layer in consumers:
            kernel, *rest = layer.get_weights()
            layer.set_weights([kernel / factor[:, np.newaxis], *rest])
    return len(groups)


def _norm_after(layer: Any) -> Any:
    (follower,) = _followers(layer)
    return follower


def _followers(layer: Any) -> list[Any]:
    return [node.outbound_layer for node in layer.outbound_nodes]


def _kind(layer: Any) -> str:
    return type(layer).__name__


def _bottlenecks(model: Any) -> list[tuple[list[Any], list[Any]]]:
    """(batch norms that write it, convolutions that read it) of each tensor that no activation touches.

    Residual additions tie what they join to one scale, so that a chain of them is one bottleneck.
    """
    known = {id(layer) for layer in model.layers}
    groups: list[tuple[list[Any], list[Any]]] = []
    placed: set[int] = set()
    for layer in model.layers:
        if _kind(layer) != "BatchNormalization" or id(layer) in placed:
            continue
        producers, consumers, open_ends = [layer], [], [layer]
        exact = True
        seen = {id(layer)}
        while open_ends:
            for follower in _followers(open_ends.pop()):
                if id(follower) not in known or id(follower) in seen:
                    continue
                seen.add(id(follower))
                if _kind(follower) == "Add":
                    open_ends.append(follower)
                    for source in follower.inbound_nodes[0].inbound_layers:
                        if id(source) in seen:
                            continue
                        seen.add(id(source))
                        open_ends.append(source)
                        exact &= _kind(source) in ("BatchNormalization", "Add")
                        if _kind(source) == "BatchNormalization":
                            producers.append(source)
                elif _kind(follower) == "Conv2D":
                    consumers.append(follower)
                else:
                    exact = False  # an activation, or an output: scaling would change what is computed
        placed |= {id(norm) for norm in producers}
        if exact and consumers:
            groups.append((producers, consumers))
    return groups


def _channel_ranges(model: Any, norms: list[Any], images: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    """Largest absolute value of each channel of each norm's output over the films."""
    from tf_keras import Model

    probe = Model(model.input, [norm.output for norm in norms])
    largest = {norm.name: np.zeros(norm.output.shape[-1]) for norm in norms}
    for start in range(0, len(images), 8):
        for norm, value in zip(norms, probe(images[start : start + 8], training=False), strict=True):
            largest[norm.name] = np.maximum(largest[norm.name], np.abs(np.asarray(value)).max(axis=(0, 1, 2)))
    return largest
