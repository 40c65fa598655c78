"""A guess at milliseconds on a real board from counted instructions, fitted to published latencies. An estimate, not a
measurement: it knows nothing of caches, memory, heat or your power supply.

One number a board: how many of these instructions a second the board got through when others measured it. Published:
MobileNetV2 1.0 at 224 px, int8, four threads (XNNPACK's README, table "Raspberry Pi": 3+ and 4; for the Pi 5 about 4 ms
is reported). Counted: the same network by this recipe (rows `mobilenetv2-224` of docs/results/arm-instructions.json).
"""

from __future__ import annotations

from dataclasses import dataclass

THREADS = 4
FACTOR = 1.5
"""How far off the guess may well be. A judgement: with one published time a board, nothing can be fitted to it."""
NEAR = 2.0
"""A network of less than half or more than twice the published one's instructions gets no guess: another case."""


@dataclass(frozen=True)
class Reference:
    """What one board was seen to do: `published_ms` with four threads, for `counted` instructions."""

    published_ms: float
    counted: float


REFERENCES = {
    "pi3": Reference(published_ms=30.0, counted=129.08e6),
    "pi4": Reference(published_ms=17.0, counted=113.37e6),
    "pi5": Reference(published_ms=4.0, counted=49.09e6),
}


def estimate_ms(board: str, instructions: int) -> float | None:
    """Estimated milliseconds of one int8 inference on a real board with four threads; None too far from what is known.

    Parameters
    ----------
    instructions : of the network alone, int8, as `count.count` gives them for one thread.
    """
    reference = REFERENCES[board]
    ratio = instructions / reference.counted
    return reference.published_ms * ratio if 1 / NEAR <= ratio <= NEAR else None
