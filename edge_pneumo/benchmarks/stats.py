"""Order statistics, intervals and the verdict "unstable" for repeated timings.

Latencies are skewed and have outliers, so the centre is the median, its interval comes from order statistics (no
normal distribution assumed), and ratios are bootstrapped over blocks, since neighbouring samples resemble each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

DRIFT_LIMIT = 0.10
"""Relative difference of the medians of the first and last third from which a run counts as drifting."""

TAIL_LIMIT = 3.0
"""p99 / p50 from which something else is running, or the clock is changing."""


OTHERS_LIMIT = 0.2
"""Cores kept busy by other processes from which they get in the way."""


@dataclass(frozen=True)
class StopRule:
    """When to stop measuring.

    Attributes
    ----------
    relative_interval : stop once the 95 % interval of the median is within this fraction of it, on either side.
    min_seconds, max_seconds : never before, never after.
    min_samples : percentiles of fewer samples say little; 30 at least.
    """

    relative_interval: float = 0.02
    min_seconds: float = 2.0
    max_seconds: float = 20.0
    min_samples: int = 30

    def satisfied(self, samples_ms: Sequence[float], elapsed_s: float) -> bool:
        """Whether measuring may end now."""
        if elapsed_s >= self.max_seconds:
            return bool(len(samples_ms))
        enough = elapsed_s >= self.min_seconds and len(samples_ms) >= self.min_samples
        return enough and relative_half_width(samples_ms) <= self.relative_interval


def summarise(samples_ms: Sequence[float]) -> dict[str, float | int]:
    """p50, p90, p99, mean (ms, rounded to 0.1 microsecond) and n of a stage, as the result file stores it."""
    values = np.asarray(samples_ms, np.float64)
    if not values.size:
        raise ValueError("no samples to summarise")
    p50, p90, p99 = np.percentile(values, (50, 90, 99))
    return {
        "p50": round(float(p50), 4),
        "p90": round(float(p90), 4),
        "p99": round(float(p99), 4),
        "mean": round(float(values.mean()), 4),
        "n": int(values.size),
    }


def median_interval(samples: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Distribution-free interval of the median, from the binomial's normal approximation of ranks.

    David & Nagaraja, "Order Statistics", 3rd edition, section 7.1. Samples are taken as independent.
    """
    values = np.sort(np.asarray(samples, np.float64))
    n = len(values)
    if n < 2:
        value = float(values[0]) if n else math.nan
        return value, value
    z = {0.9: 1.645, 0.95: 1.96, 0.99: 2.576}[confidence]
    reach = z * math.sqrt(n) / 2
    low, high = max(0, math.floor(n / 2 - reach)), min(n - 1, math.ceil(n / 2 + reach))
    return float(values[low]), float(values[high])


def relative_half_width(samples: Sequence[float]) -> float:
    """Larger distance from the median to an end of its 95 % interval, over the median; infinite for under 2 samples."""
    if len(samples) < 2:
        return math.inf
    middle = float(np.median(samples))
    low, high = median_interval(samples)
    return max(high - middle, middle - low) / middle if middle > 0 else math.inf


def drift(samples: Sequence[float]) -> float:
    """(median of the last third) / (median of the first third) - 1; 0 for under 30 samples."""
    third = len(samples) // 3
    if third < 10:
        return 0.0
    first, last = float(np.median(samples[:third])), float(np.median(samples[-third:]))
    return last / first - 1 if first > 0 else 0.0


def block_bootstrap_medians(samples: Sequence[float], rounds: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Medians of `rounds` resamples made of blocks of about sqrt(n) neighbours (Künsch, Ann. Statist. 17, 1989)."""
    values = np.asarray(samples, np.float64)
    n = len(values)
    block = max(1, math.isqrt(n))
    starts = rng.integers(0, n - block + 1, (rounds, math.ceil(n / block)))
    picked = (starts[..., None] + np.arange(block)).reshape(rounds, -1)[:, :n]
    return np.median(values[picked], axis=1)


def ratio_of_medians(
    before: Sequence[float], after: Sequence[float], *, rounds: int = 2000, seed: int = 0
) -> dict[str, float]:
    """median(after) / median(before) with a 95 % block-bootstrap interval: `value`, `low`, `high`."""
    if not len(before) or not len(after):
        raise ValueError("a ratio needs samples on both sides")
    rng = np.random.default_rng(seed)
    ratios = block_bootstrap_medians(after, rounds, rng) / block_bootstrap_medians(before, rounds, rng)
    low, high = np.percentile(ratios, (2.5, 97.5))
    value = float(np.median(after) / np.median(before))
    return {"value": round(value, 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def instability(
    samples_ms: Sequence[float],
    rule: StopRule,
    *,
    others_cores: float | None = None,
    throttled: Sequence[str] = (),
) -> dict[str, Any] | None:
    """Why these timings should not be trusted, or None.

    Parameters
    ----------
    samples_ms : totals in the order they were measured.
    others_cores : cores that other processes kept busy meanwhile, if known.
    throttled : throttle flags that were set during the run.

    Returns
    -------
    {"reason": one sentence or more, "next": what to do, as a sentence}, or None when nothing is wrong.
    """
    found: list[tuple[str, str]] = []
    width, change = relative_half_width(samples_ms), drift(samples_ms)
    tail = float(np.percentile(samples_ms, 99) / np.median(samples_ms))
    if throttled:
        found.append(
            (f"the board throttled ({', '.join(throttled)})", "Use a better power supply and cooling, then run again.")
        )
    if others_cores is not None and others_cores > OTHERS_LIMIT:
        found.append((f"other processes kept {others_cores:.1f} cores busy", "Stop other work, then run again."))
    if abs(change) > DRIFT_LIMIT:
        word = "slower" if change > 0 else "faster"
        found.append(
            (
                f"it became {abs(change):.0%} {word} from the first third to the last",
                "Add --minutes 10 to see where it settles.",
            )
        )
    if width > rule.relative_interval:
        found.append(
            (
                f"the median is known to ±{width:.1%} only, asked was ±{rule.relative_interval:.1%}",
                f"Add --max-seconds {math.ceil(3 * rule.max_seconds)}.",
            )
        )
    if tail > TAIL_LIMIT:
        found.append(
            (
                f"p99 is {tail:.1f} times the median",
                "Stop other work or fix the clock (governor performance), then run again.",
            )
        )
    if not found:
        return None
    return {"reason": "; ".join(reason for reason, _ in found), "next": found[0][1]}
