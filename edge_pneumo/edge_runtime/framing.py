"""What of a film the network is shown: the part within wide borders of a single grey, and upright.

A scan on a large sheet, a screenshot or a film padded to a square has borders that make the lungs smaller than the
network ever saw them, and every such border costs accuracy (docs/results/framing.json). Narrow ones, as the films that
it learnt from have, stay: what it is shown of those films must not change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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

CELLS = 64
"""About how many rows and columns the coarse picture has in which a border of grain is a smooth one."""
DENSE = 512
"""About how many pixels of a side the coarse picture is made from; grain of 1024 pixels is averaged over 64 of them."""
CURVE = 2
"""Degree of the polynomial by which the grey of a smooth border may vary along a side, as a light box's does."""

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
    kind = _LETTERED if letters else _SINGLE_GREY
    return _outer_bands(sample, kind) if once else _bands_within(sample, kind)


def find_smooth_bands(pixels: NDArray[np.uint8], step: int) -> Bands:
    """The same for borders that have grain or shade off along a side: scans, and photographs of a light box.

    Parameters
    ----------
    pixels : (h, w).

    Returns
    -------
    In rows and columns of `pixels[::step, ::step]`. Of such a border up to a sixtieth of a side stays.
    """
    skip = max(1, min(pixels.shape) // DENSE)
    dense = np.ascontiguousarray(pixels[::skip, ::skip])
    mean_of = max(1, min(dense.shape) // CELLS)
    rows, columns = (side // mean_of * mean_of for side in dense.shape)  # a cell of fewer pixels would have more grain
    picture = Image.frombuffer("L", dense.shape[::-1], dense, "raw", "L", 0, 1)
    cells = np.asarray(picture.reduce(mean_of, box=(0, 0, columns, rows)))
    if not _smooth_edges(cells):
        return 0, 0, 0, 0
    bands = _bands_within(cells, _SMOOTH)
    rests = (0, dense.shape[0] - rows, 0, dense.shape[1] - columns)
    top, bottom, left, right = (
        (band * mean_of + rest) * skip // step if band else 0 for band, rest in zip(bands, rests, strict=True)
    )
    return top, bottom, left, right


def _bands_within(sample: NDArray[np.uint8], kind: _Kind) -> Bands:
    bands: Bands = (0, 0, 0, 0)
    while any(more := _outer_bands(within(sample, bands), kind)):
        bands = joined(bands, more)
    return bands


def _outer_bands(sample: NDArray[np.uint8], kind: _Kind) -> Bands:
    found = [0, 0, 0, 0]
    for k, lines in enumerate((sample, sample.T)):
        if any(map(kind.may_be, (lines[0], lines[-1]))):  # at neither edge of most films, and this is quick
            varied = np.flatnonzero(~kind.is_border(lines))
            if kind.banners:
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


def _smooth(lines: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which of the lines (n, m) are a single grey for the most part, or a curve of greys."""
    if lines.shape[1] < CELLS // 4:  # a curve fits any few greys
        return _nearly_plain(lines)
    curves = _curves(lines.shape[1])
    grey = lines.astype(np.float32)
    rest = grey - (grey @ curves) @ curves.T  # two small products: a single large one would wake the threads of BLAS
    middle = rest.shape[1] // 2
    rest -= np.partition(rest, middle, axis=1)[:, middle : middle + 1]
    curved = np.count_nonzero(np.abs(rest) <= FLAT, axis=1) >= PLAIN_SHARE * lines.shape[1]
    return curved | _nearly_plain(lines)


def _smooth_edges(cells: NDArray[np.uint8]) -> bool:
    """Whether any edge of a picture is smooth; none of most films is, and this is quicker than all of the lines."""
    edges = cells[0], cells[-1], cells[:, 0], cells[:, -1]
    if len(edges[0]) == len(edges[2]):
        return bool(_smooth(np.stack(edges)).any())
    return any(_smooth(edge[np.newaxis]).any() for edge in edges)


@cache
def _curves(count: int) -> NDArray[np.float32]:
    """Polynomials over `count` greys in a row, each at right angles to the others, as columns."""
    powers = np.vander(np.linspace(-1, 1, count), min(CURVE, count - 1) + 1)
    return np.linalg.qr(powers)[0].astype(np.float32)


class _Kind(NamedTuple):
    """A kind of border: which lines (n, m) are one, a quick look whether a line may be, and whether lines of text apart
    from the film are left out."""

    is_border: Callable[[NDArray[np.uint8]], NDArray[np.bool_]]
    may_be: Callable[[NDArray[np.uint8]], bool]
    banners: bool


_SINGLE_GREY = _Kind(_plain, _may_be_plain, False)
_LETTERED = _Kind(_nearly_plain, _may_be_plain, True)
_SMOOTH = _Kind(_smooth, lambda line: True, True)  # `_smooth_edges` has looked before


def within(pixels: NDArray[np.uint8], bands: Bands, step: int = 1) -> NDArray[np.uint8]:
    """The picture (h, w) without its bands, which are of `pixels[::step, ::step]`."""
    if not any(bands):
        return pixels
    top, bottom, left, right = bands
    rows, columns = (len(range(0, side, step)) for side in pixels.shape)
    return np.ascontiguousarray(pixels[top * step : (rows - bottom) * step, left * step : (columns - right) * step])


def joined(outer: Bands, inner: Bands) -> Bands:
    """The bands of a picture of which `inner` are found within `outer`."""
    top, bottom, left, right = (a + b for a, b in zip(outer, inner, strict=True))
    return top, bottom, left, right


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
