"""Bring an int8 network back through the gate with the fewest layers in float, and say what that costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.edge_runtime.engine import open_engine
from edge_pneumo.edge_runtime.preprocess import InputSpec
from edge_pneumo.quantize.explain import Explanation
from edge_pneumo.quantize.material import Say, listed, median_ms

ONE_BY_ONE = 8


def repair_int8(
    broken: bytes,
    quantise: Callable[[list[str]], bytes],
    judge: Callable[[bytes], dict[str, Any]],
    explanation: Explanation,
    images: NDArray[np.uint8],
    spec: InputSpec,
    say: Say,
) -> tuple[bytes, dict[str, Any], dict[str, Any]]:
    """Greedy: layers go back to float worst first until the gate passes; then each is tried without, least first.

    Parameters
    ----------
    broken : the int8 network that failed.
    quantise : makes an int8 network that keeps the given nodes in float.
    judge : the gate of a network.
    explanation : the order.
    images : films (n, s, s, 1) uint8 to time the networks with.

    Returns
    -------
    The network, its gate, and `layers` kept in float, `passed`, `bytes` and `ms` before and after. Where even all
    layers in float do not pass, the network is the last one tried and its gate has not passed.
    """
    worst = explanation.layers
    count, kept, tflite, gate = 0, [], broken, judge(broken)
    while not gate["passed"] and count < len(worst):
        count = min(count + 1 if count < ONE_BY_ONE else count * 2, len(worst))
        kept = list(worst[:count])
        tflite = quantise([layer.node for layer in kept])
        gate = judge(tflite)
        say(f"{count} layers in float ({listed([layer.name for layer in kept], 3)}): {gate['reason']}")
    if gate["passed"]:
        for layer in reversed(kept[:]):
            fewer = [other for other in kept if other is not layer]
            attempt = quantise([other.node for other in fewer])
            verdict = judge(attempt)
            if verdict["passed"]:
                kept, tflite, gate = fewer, attempt, verdict
    cost = {
        "passed": gate["passed"],
        "layers": [layer.name for layer in kept],
        "bytes": {"before": len(broken), "after": len(tflite)},
        "ms": {
            "before": round(median_ms(open_engine(broken, spec=spec, backend="cpu"), images), 3),
            "after": round(median_ms(open_engine(tflite, spec=spec, backend="cpu"), images), 3),
        },
    }
    return tflite, gate, cost
