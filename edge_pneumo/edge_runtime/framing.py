"""What of a film the network is shown: the part within wide borders of a single grey, and upright.

A scan on a large sheet, a screenshot or a film padded to a square has borders that make the lungs smaller than the
network ever saw them, and every such border costs accuracy (docs/results/framing.json). Narrow ones, as the films that
it learnt from have, stay: what it is shown of those films must not change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FLAT = 4
"""Grey levels within which a row or column counts as a single grey."""
PLAIN_SHARE = 0.9
"""Share of a row or column that must lie within so many of its median, where a border may have letters or grain."""
BANNER_SHARE = 0.25
"""Of the film's rows or columns: the most that lines of text apart from it may have to be left out with the border."""
BLACK = 30
"""Grey level up to which a border on the sides that the letterbox fills anyway, with black, makes no difference."""
MIN_EXTENT = 0.95
"""Share of the longer side within borders under which they are left out: a border of a tenth of the side costs .01 in
AUC and .03 in the RSNA score. 3 of RSNA's 493 films and 12 of 1,074 of NIH's have so little, none of them in `val`; the
embedded model was trained before, on those as they are."""

Bands = tuple[int, int, int, int]


@dataclass(frozen=True)
class Framing:
    """A part of a film, and how far it is turned to stand upright.

    Attributes
    ----------
    left, top, width, height : the part, in pixels of the source film.
    quarter_turns : 0..3, counter-clockwise as `numpy.rot90` turns.
    """

    left: int
    top: int
    width: int
    height: int
    quarter_turns: int = 0

    def cut(self, pixels: NDArray[np.uint8], film_width: int, film_height: int) -> NDArray[np.uint8]:
        """The part (h, w) of a film's pixels, upright. They may be fewer than the film has (see `Radiograph`)."""
        per_x, per_y = pixels.shape[1] / film_width, pixels.shape[0] / film_height
        rows = slice(round(self.top * per_y), max(1, round((self.top + self.height) * per_y)))
        columns = slice(round(self.left * per_x), max(1, round((self.left + self.width) * per_x)))
        return np.ascontiguousarray(np.rot90(pixels[rows, columns], self.quarter_turns))


def find_bands(sample: NDArray[np.uint8], *, letters: bool = False, once: bool = False) -> Bands:
    """Rows at the top and at the bottom, columns at the left and at the right of (h, w) that are a single grey each.

    What lies within is looked at again, for a black border may have a white one around it.

    Parameters
    ----------
    letters : take a row for one that is a single grey though it has small letters in it, and leave lines of text out.
    once : do not look within.
    """
    is_plain = _nearly_plain if letters else _plain
    if once:
        return _outer_bands(sample, is_plain)
    top = bottom = left = right = 0
    while any(more := _outer_bands(within(sample, (top, bottom, left, right)), is_plain)):
        top, bottom, left, right = top + more[0], bottom + more[1], left + more[2], right + more[3]
    return top, bottom, left, right


def _outer_bands(sample: NDArray[np.uint8], is_plain: Callable[[NDArray[np.uint8]], NDArray[np.bool_]]) -> Bands:
    found = [0, 0, 0, 0]
    for k, lines in enumerate((sample, sample.T)):
        if any(map(_may_be_plain, (lines[0], lines[-1]))):  # at neither edge of most films, and this is quick
            varied = np.flatnonzero(~is_plain(lines))
            if is_plain is _nearly_plain:
                varied = _without_banners(varied)
            if varied.size:
                found[2 * k], found[2 * k + 1] = int(varied[0]), len(lines) - 1 - int(varied[-1])
    return found[0], found[1], found[2], found[3]


def _without_banners(varied: NDArray[np.intp]) -> NDArray[np.intp]:
    """The longest run of lines that are not plain, where the others are short: text above or below the film."""
    runs = np.split(varied, np.flatnonzero(np.diff(varied) > 1) + 1)
    longest = max(runs, key=len)
    return longest if len(varied) - len(longest) <= BANNER_SHARE * len(longest) else varied


def _may_be_plain(line: NDArray[np.uint8]) -> bool:
    grey = sorted(line.tobytes())
    return grey[len(grey) * 9 // 10] - grey[len(grey) // 10] <= 2 * FLAT


def _plain(lines: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which of the lines (n, m) are a single grey."""
    return lines.max(axis=1) - lines.min(axis=1) <= FLAT


def _nearly_plain(lines: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which of the lines (n, m) are a single grey for the most part."""
    middle = lines.shape[1] // 2
    median = np.partition(lines, middle, axis=1)[:, middle : middle + 1].astype(np.int16)
    return np.count_nonzero(np.abs(lines - median) <= FLAT, axis=1) >= PLAIN_SHARE * lines.shape[1]


def within(sample: NDArray[np.uint8], bands: Bands) -> NDArray[np.uint8]:
    """The picture (h, w) without its bands."""
    if not any(bands):
        return sample
    top, bottom, left, right = bands
    rows, columns = sample.shape
    return np.ascontiguousarray(sample[top : rows - bottom, left : columns - right])


def is_wide(bands: Bands, sample: NDArray[np.uint8]) -> bool:
    """Whether these bands of a sample (h, w) make what is within them too small to be shown with them, or are of
    another grey than the letterbox would put there."""
    top, bottom, left, right = bands
    rows, columns = sample.shape
    if max(rows - top - bottom, columns - left - right) < MIN_EXTENT * max(rows, columns):
        return True
    for first, last, length, edges in (
        (top, bottom, rows, (sample[0], sample[-1])),
        (left, right, columns, (sample[:, 0], sample[:, -1])),
    ):
        padded = 2 * min(first, last) > (1 - MIN_EXTENT) * length  # on both sides; a film burnt out at one end is not
        if padded and min(float(np.median(edge)) for edge in edges) > BLACK:
            return True
    return False


def framing(
    pixels: NDArray[np.uint8], size: tuple[int, int], bands: Bands, step: int, quarter_turns: int
) -> Framing | None:
    """How to frame a film; None where it is shown as it is.

    Parameters
    ----------
    pixels : (h, w), maybe fewer than the film has.
    size : width and height of the film in pixels.
    bands : of `pixels[::step, ::step]`, see `find_bands`; none, where they are to stay.
    quarter_turns : those that make it upright.
    """
    rows, columns = (len(range(0, side, step)) for side in pixels.shape)
    top, bottom, left, right = bands
    if any(bands):
        part = _tight(pixels, (top, rows - bottom, left, columns - right), step)
        per_x, per_y = size[0] / pixels.shape[1], size[1] / pixels.shape[0]
        y1, y2, x1, x2 = round(part[0] * per_y), round(part[1] * per_y), round(part[2] * per_x), round(part[3] * per_x)
        return Framing(x1, y1, x2 - x1, y2 - y1, quarter_turns)
    return Framing(0, 0, *size, quarter_turns) if quarter_turns else None


def _tight(pixels: NDArray[np.uint8], sampled: Bands, step: int) -> Bands:
    """First row and end, first column and end of what is no band, to the pixel.

    A band ends somewhere between two rows of the sample: those between are looked at one by one.
    """
    rows, columns = pixels.shape
    top, left = max(0, (sampled[0] - 1) * step + 1), max(0, (sampled[2] - 1) * step + 1)
    bottom, right = min(rows, sampled[1] * step), min(columns, sampled[3] * step)
    part = pixels[top:bottom, left:right]
    above, below = (_flat_lines(lines) for lines in (part[: step - 1], part[:-step:-1]))
    before, after = (_flat_lines(lines) for lines in (part[:, : step - 1].T, part[:, :-step:-1].T))
    return top + above, bottom - below, left + before, right - after


def _flat_lines(lines: NDArray[np.uint8]) -> int:
    """How many of the first lines (n, m) are a single grey each."""
    if not lines.size:
        return 0
    flat = _nearly_plain(lines)
    return len(flat) if flat.all() else int(flat.argmin())
