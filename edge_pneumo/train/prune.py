"""Channels that films hardly use, taken out of a trained detector: it gets faster, and what they did is done by others.

Between the linear bottlenecks of MobileNetV2 lie six times as many channels, learnt on coloured things. On grey films
many of them say nothing, or what others say. For each block the covariance of these channels is measured on films; then
one after the other that channel goes whose loss, after the others' weights were set anew to make up for it by least
squares, changes the block's linear answer least. That is the optimal brain surgeon (Hassibi and Stork, NIPS 1993) for
whole channels, on reconstruction (He et al., "Channel pruning", ICCV 2017). A few epochs afterwards win back the rest.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.train.detector import DetectorConfig, build_detector, hidden_channels

MULTIPLE = 8
"""Channels are kept by eights, which vector units fill."""


def prune(
    model: Any, shape: DetectorConfig, images: NDArray[np.float32], share: float, batch_size: int = 8
) -> tuple[Any, DetectorConfig]:
    """A smaller detector that answers almost the same.

    Parameters
    ----------
    model, shape : from `build_detector`.
    images : (n, s, s, 1) float32 as `InputSpec.normalise` gives, to measure on; a hundred films are plenty.
    share : of the variance of each block's linear answer over films and places, how much may be lost, 0 to 1.

    Returns
    -------
    The new detector with its weights, and its shape.
    """
    count = len(hidden_channels(shape.alpha))
    measured = channel_moments(model, [f"block{n}_depthwise_relu" for n in range(count)], images, batch_size)
    changed: dict[str, list[NDArray]] = {}
    hidden = []
    for number, (mean, covariance) in enumerate(measured):
        name = f"block{number}"
        kernel = model.get_layer(f"{name}_project").get_weights()[0]
        norm = model.get_layer(f"{name}_project_bn")
        gamma, beta, centre, variance = norm.get_weights()
        gain = gamma / np.sqrt(variance + norm.epsilon)
        old = kernel[0, 0].astype(np.float64)
        kept, scaled = eliminate(covariance, old * gain, share)
        new = scaled / np.where(gain == 0, 1, gain)
        before = "stem" if number == 0 else f"{name}_expand"
        for layer in (before, f"{name}_depthwise"):
            weights = model.get_layer(layer).get_weights()[0]
            changed[layer] = [weights[:, :, kept] if layer.endswith("depthwise") else weights[..., kept]]
            changed[f"{layer}_bn"] = [value[kept] for value in model.get_layer(f"{layer}_bn").get_weights()]
        changed[f"{name}_project"] = [new[None, None]]
        changed[f"{name}_project_bn"] = [gamma, beta, centre + mean[kept] @ new - mean @ old, variance]
        hidden.append(len(kept))
    smaller = replace(shape, hidden=tuple(hidden))
    result = build_detector(smaller)
    for layer in result.layers:
        if layer.weights:
            layer.set_weights(changed.get(layer.name) or model.get_layer(layer.name).get_weights())
    return result, smaller


def channel_moments(
    model: Any, layers: list[str], images: NDArray[np.float32], batch_size: int
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Mean (c,) and covariance (c, c) of each layer's channels over films and places."""
    from tf_keras import Model

    probe = Model(model.input, {name: model.get_layer(name).output for name in layers})
    sums: dict[str, Any] = dict.fromkeys(layers, 0.0)
    squares: dict[str, Any] = dict.fromkeys(layers, 0.0)
    counts = dict.fromkeys(layers, 0)
    for start in range(0, len(images), batch_size):
        for name, value in probe(images[start : start + batch_size], training=False).items():
            cells = np.asarray(value, np.float64).reshape(-1, value.shape[-1])
            counts[name] += len(cells)
            sums[name] = sums[name] + cells.sum(0)
            squares[name] = squares[name] + cells.T @ cells
    means = {name: sums[name] / counts[name] for name in layers}
    return [(means[name], squares[name] / counts[name] - np.outer(means[name], means[name])) for name in layers]


def eliminate(
    covariance: NDArray[np.float64], weights: NDArray[np.float64], share: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Which channels to keep, and the weights with which they come nearest to the answer of all.

    Parameters
    ----------
    covariance : (c, c) of the channels.
    weights : (c, k) of the linear answer.
    share : of the answer's variance (summed over its k parts) that may be lost.

    Returns
    -------
    kept (m,) ascending, weights (m, k), with m a multiple of `MULTIPLE`, or all channels.
    """
    kept, weights = np.arange(len(covariance)), weights.copy()
    allowed = share * float(np.einsum("ik,ij,jk->", weights, covariance, weights, optimize=True))
    best = kept, weights
    # channels that never move have no variance: without a trace of some the inverse would not exist
    inverse = np.linalg.inv(covariance + 1e-6 * max(float(covariance.diagonal().mean()), 1e-12) * np.eye(len(kept)))
    lost = 0.0
    while len(kept) > MULTIPLE:
        free = inverse.diagonal()
        costs = np.square(weights).sum(1) / free
        worst = int(costs.argmin())
        lost += float(costs[worst])
        if lost > allowed:
            break
        rest = np.arange(len(kept)) != worst
        towards = inverse[:, worst] / free[worst]
        weights = (weights - np.outer(towards, weights[worst]))[rest]
        inverse = (inverse - np.outer(towards, inverse[worst]))[np.ix_(rest, rest)]
        kept = kept[rest]
        if len(kept) % MULTIPLE == 0:
            best = kept, weights
    return best
