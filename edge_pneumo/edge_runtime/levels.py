"""Which grey levels are a film's own, among those of borders, letters and dead pixels; and whether they are too few.

What the network was taught spans most of the greys. A film that spans few (a wide window, an export of another range, a
photograph) is read much worse, and nothing about the answer shows it; docs/results/contrast.json says how much.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BINS = 256
TAIL = 0.001
"""Share of pixels ignored at either end: small letters, dead detector cells."""
GAP = 1 / 8
"""Of the range: the least stretch with (nearly) no pixel in it that parts a film from a border or from letters."""
SINGLE_GREY = 1 / 16
"""Of the spread of the film: the most that the greys of a border spread."""
FEW = 0.05
"""Share of pixels up to which what lies beyond a gap may spread as it likes: letters, metal."""
LEAST_GREYS = 16
"""How many different greys a film has at least; a page of letters has fewer."""
MARKS, REACH = 0.02, 0.5
"""Share of pixels at either end that may be letters with soft edges, and how far beyond the others, as a share of their
range, such pixels count."""
FLAT = 0.53
"""Share of all greys under which a film is stretched over all: of the 493 + 1,074 films that taught and judged the
network one spans less."""
BLANK = 12 / 255
"""Share of all greys under which there is nothing to stretch."""
SAMPLE_SIDE = 128
GREYS = np.arange(256.0)

Counts = NDArray[np.int64]


def own_range(values: NDArray, counts: Counts) -> tuple[float, float]:
    """The lowest and highest value that are the film's own.

    Parameters
    ----------
    values, counts : (n,) ascending values and how many pixels have each; at least one pixel.

    Borders are values of (nearly) a single grey, far off all others, at either end; of letters and metal only what lies
    within `REACH` counts.
    """
    low, high = 0, len(values)
    for _ in range(3):  # letters, a border, and another colour of border
        low, high = _within_tails(counts, low, high)
        part = _split(values[low:high], counts[low:high])
        if part is None:
            break
        low, high = low + part[0], low + part[1]
    low, high = _within_tails(counts, low, high)
    values = values[low:high]
    darkest, brightest = _quantiles(values, counts[low:high], (MARKS, 1 - MARKS))
    reach = REACH * (brightest - darkest)
    return max(float(values[0]), darkest - reach), min(float(values[-1]), brightest + reach)


def flat_range(pixels: NDArray[np.uint8]) -> tuple[float, float] | None:
    """The greys (0..255) that a picture (h, w) spans if they are too few for the network; None if it may stay."""
    step = max(1, min(pixels.shape) // SAMPLE_SIDE)
    counts = np.bincount(pixels[::step, ::step].ravel(), minlength=256)
    if np.count_nonzero(counts > TAIL / 2 * counts.sum()) >= FLAT * 256:  # nearly all films, and no border or letters
        return None
    low, high = own_range(GREYS, counts)
    return (low, high) if BLANK <= (high - low) / 255 < FLAT else None


def spread(low: float, high: float) -> NDArray[np.uint8]:
    """A table (256,) that spreads the greys from `low` to `high` over 0..255."""
    return (np.clip((GREYS - low) * (255 / (high - low)), 0, 255) + 0.5).astype(np.uint8)


def _within_tails(counts: Counts, low: int, high: int) -> tuple[int, int]:
    """Of the values from `low` up to `high`, where those begin and end that are not in the tails."""
    cumulated = np.cumsum(counts[low:high])
    first, last = np.searchsorted(cumulated, [TAIL * cumulated[-1], (1 - TAIL) * cumulated[-1]])
    return low + int(first), low + max(int(last), int(first)) + 1


def _quantiles(values: NDArray, counts: Counts, shares: tuple[float, float]) -> tuple[float, float]:
    cumulated = np.cumsum(counts)
    low, high = values[np.searchsorted(cumulated, np.multiply(shares, cumulated[-1]))]
    return float(low), float(high)


def _split(values: NDArray, counts: Counts) -> tuple[int, int] | None:
    """Begin and end of what is left when a border or letters are taken off; None where there are none."""
    whole = float(values[-1]) - float(values[0])
    if whole <= 0:
        return None
    bins = ((values - values[0]) * ((BINS - 1) / whole)).astype(np.int64)
    below = np.concatenate([[0], np.cumsum(np.bincount(bins, counts, BINS))])  # pixels under each bin
    ends = np.searchsorted(below, below[:-1] + TAIL * below[-1], side="right") - 1
    runs = ends - np.arange(BINS)  # bins from each on that together have nearly no pixel
    start = int(np.argmax(runs))
    if runs[start] < GAP * BINS:
        return None
    dark, bright = slice(0, np.searchsorted(bins, start)), slice(np.searchsorted(bins, ends[start]), len(values))
    # the film is where most pixels are that differ from the commonest grey: in a border none does, letters are few
    varied = [int(counts[side].sum() - counts[side].max(initial=0)) for side in (dark, bright)]
    film, other = (dark, bright) if varied[0] >= varied[1] else (bright, dark)
    if np.count_nonzero(counts[film]) < LEAST_GREYS:
        return None
    if counts[other].sum() > FEW * below[-1]:
        spreads = [np.subtract(*_quantiles(values[side], counts[side], (0.95, 0.05))) for side in (other, film)]
        if spreads[0] > SINGLE_GREY * spreads[1]:
            return None  # two peaks of one film
    return int(film.start), int(film.stop)
