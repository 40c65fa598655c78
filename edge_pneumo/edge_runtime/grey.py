"""Stored values -> grey levels as a reader sees them, 0 darkest to 255 brightest.

The order is the standard's (DICOM PS3.4 N.2): modality LUT, then VOI LUT or window, then MONOCHROME1 inversion.
All three are folded into one table of at most 65,536 entries, so that a film costs one look-up a pixel and no float
copy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SAMPLE_PIXELS = 1_000_000
"""About how many pixels (evenly spaced) the range of a film without a window is estimated from."""
TAIL = 0.001
"""Share of pixels ignored at either end of that range: burnt-in letters, dead detector cells."""
GAP, SPIKE, RANGE_BINS = 1 / 8, 1 / 32, 256
"""Of the whole range: the least gap, without (nearly) any pixel, between a film and what was burnt in beside it, and
the most that greys of the latter (a border, letters) differ by; measured in so many bins."""
FILLS = 0.6
"""Share of all greys that fit its bits from which on a film is taken as it is; 98 % of RSNA's 8-bit films, which are
always, use as many."""
MIN_IN_WINDOW = 0.01
"""Share of pixels a window must show as neither black nor white to be believed."""
COLOUR_SAMPLE_SIDE = 128
CHUNK_PIXELS = 1_000_000


@dataclass(frozen=True)
class Picture:
    """Decoded pixels before they become a Radiograph: grey (h, w) uint8, and the film's own size.

    `colours` is a sample (m, n, 3) uint8 of a film stored in colour, enough for the door to judge; None for a grey one.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    colours: NDArray[np.uint8] | None
    warnings: tuple[str, ...] = ()


def from_colours(picture: Image.Image) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Luminance (h, w) of a picture of any mode, and a sample of its colours: never a full copy in colour."""
    side = (min(COLOUR_SAMPLE_SIDE, picture.width), min(COLOUR_SAMPLE_SIDE, picture.height))
    sample = picture.resize(side, Image.Resampling.NEAREST).convert("RGB")
    return np.asarray(picture.convert("L")), np.asarray(sample)


@dataclass(frozen=True)
class LookUp:
    """A DICOM look-up table: entry `i` stands for input `first + i`; inputs outside take the nearest end."""

    first: int
    entries: NDArray[np.float32]
    bits: int

    def __call__(self, values: NDArray) -> NDArray[np.float32]:
        index = np.clip(np.floor(values) - self.first, 0, len(self.entries) - 1).astype(np.int64)
        return self.entries[index]


@dataclass(frozen=True)
class Rendering:
    """Everything a header says of how stored values are shown; the defaults are an 8-bit film as it is."""

    allocated: int = 8
    stored: int = 8
    high_bit: int = 7
    signed: bool = False
    slope: float = 1.0
    intercept: float = 0.0
    modality_lut: LookUp | None = None
    voi_lut: LookUp | None = None
    window: tuple[float, float] | None = None
    window_function: str = "LINEAR"
    invert: bool = False
    padding: tuple[int, int] | None = None

    @property
    def is_identity(self) -> bool:
        """True where stored 8-bit values are already grey levels."""
        return self == AS_IT_IS


AS_IT_IS = Rendering()


def stored_values(raw: NDArray, how: Rendering) -> NDArray[np.int64]:
    """Raw words -> stored values: bits outside `stored` (overlays live there) cut off, sign extended."""
    values = raw.astype(np.int64) >> max(0, how.high_bit + 1 - how.stored)
    values &= (1 << how.stored) - 1
    if how.signed:
        values -= (values >> (how.stored - 1)) << how.stored
    return values


def render(raw: NDArray, how: Rendering) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Grey levels (h, w) uint8 of a grey film, and warnings (a window that makes no sense).

    Parameters
    ----------
    raw : (h, w) integers as stored, 8, 16 or 32 bits allocated, or bool for 1 bit.
    how : what the header says. Without window and VOI LUT, 8-bit films are taken as they are, and so are deeper ones
        that use most of their range; the others are stretched over the range they use.
    """
    raw = raw.view(np.uint8) if raw.dtype == bool else raw
    if how.is_identity and raw.dtype == np.uint8:
        return raw, ()
    scale, warnings = _scale(raw, how)
    if raw.dtype.itemsize <= 2:
        words = raw.view(np.dtype(f"u{raw.dtype.itemsize}").newbyteorder(raw.dtype.byteorder))
        table = _grey(np.arange(256**raw.dtype.itemsize), how, scale)
        return look_up_bands(table, words), warnings
    out = np.empty(raw.shape, np.uint8)
    rows = max(1, CHUNK_PIXELS // raw.shape[1])
    for top in range(0, raw.shape[0], rows):
        out[top : top + rows] = _grey(raw[top : top + rows], how, scale)
    return out, warnings


def look_up_bands(table: NDArray[np.uint8], words: NDArray) -> NDArray[np.uint8]:
    """`table[words]` in bands: numpy casts indices to 8 bytes each, which a large film should not pay at once."""
    out = np.empty(words.shape, np.uint8)
    rows = max(1, CHUNK_PIXELS // words.shape[1])
    for top in range(0, words.shape[0], rows):
        np.take(table, words[top : top + rows], out=out[top : top + rows], mode="clip")
    return out


def _modality(stored: NDArray, how: Rendering) -> NDArray[np.float32]:
    if how.modality_lut is not None:
        return how.modality_lut(stored)
    return (stored * how.slope + how.intercept).astype(np.float32)


def _is_padding(stored: NDArray, how: Rendering) -> NDArray[np.bool_]:
    if how.padding is None:
        return np.zeros(stored.shape, bool)
    return (stored >= how.padding[0]) & (stored <= how.padding[1])


def _grey(raw: NDArray, how: Rendering, scale: tuple[float, float] | None) -> NDArray[np.uint8]:
    """Raw words of any shape -> grey levels; `scale` is the range shown where no VOI LUT is used."""
    stored = stored_values(raw, how)
    values = _modality(stored, how)
    if scale is None and how.voi_lut is not None:
        shown = how.voi_lut(values) / float((1 << how.voi_lut.bits) - 1)
    elif how.window is not None and how.window_function == "SIGMOID" and scale is None:
        centre, width = how.window
        shown = 0.5 * (1.0 + np.tanh(2.0 * (values - centre) / width))
    else:
        low, high = scale or (0.0, 1.0)
        shown = (values - low) / max(high - low, 1e-9)
    grey = np.clip(np.nan_to_num(shown), 0.0, 1.0) * 255.0
    grey = (255.0 - grey if how.invert else grey) + 0.5
    grey[_is_padding(stored, how)] = 0
    return grey.astype(np.uint8)


def _scale(raw: NDArray, how: Rendering) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """The range of modality values that becomes 0..255 (None: the VOI LUT or the sigmoid decides), and warnings."""
    step = max(1, int(np.sqrt(raw.size / SAMPLE_PIXELS)))
    sample = stored_values(raw[::step, ::step], how)
    sample = _modality(sample[~_is_padding(sample, how)], how)
    if not sample.size:
        return (0.0, 1.0), ()
    sample = _without_spike(sample, bright=not how.invert)
    low, high = (float(end) for end in np.quantile(sample, [TAIL, 1 - TAIL]))
    used = (low, high if high > low else low + 1)
    if how.voi_lut is not None:
        black, white = how.voi_lut(np.array(used))
        return (None, ()) if black != white else (used, ("the VOI LUT makes the film a single grey; it is not used",))
    if how.window is not None:
        ends = _window_ends(*how.window, how.window_function)
        if np.mean((sample > ends[0]) & (sample < ends[1])) < MIN_IN_WINDOW:
            return used, ("the window in the header misses nearly all pixels; it is not used",)
        return (None if how.window_function == "SIGMOID" else ends), ()
    both = _without_spike(sample, bright=how.invert)
    bits = how.stored
    if bits == 16:  # is often said of 12, beyond which a border may lie
        bits = max(int(both.max()).bit_length(), 8)
    whole = (0.0, float((1 << bits) - 1))
    plain = not how.signed and how.modality_lut is None and (how.slope, how.intercept) == (1.0, 0.0)
    if plain and (how.stored <= 8 or min(high, whole[1]) - low >= FILLS * whole[1]):
        return whole, ()
    low, high = (float(end) for end in np.quantile(both, [TAIL, 1 - TAIL]))
    return (low, high if high > low else low + 1), ()


def _without_spike(values: NDArray[np.float32], bright: bool) -> NDArray[np.float32]:
    """Values (n,) without a spike at their upper (`bright`) or lower end, far off the others: a border or letters. They
    would take the greys that the film needs.

    At the dark end of what is shown this is asked only where a film is stretched at all: films have a black border more
    often than not, and one that fills its bits is taken as it is, with 8 bits as with more.
    """
    counts, edges = np.histogram(values, RANGE_BINS)
    counts, edges = (counts, edges) if bright else (counts[::-1], -edges[::-1])
    beside = np.cumsum(counts[::-1])[::-1]  # in this bin and all beyond
    spike = RANGE_BINS - max(1, round(SPIKE * RANGE_BINS))
    gap = round(GAP * RANGE_BINS)
    few = TAIL * values.size
    if beside[spike] < 10 * few:  # letters, which have soft edges
        few = max(few, beside[spike] / 2)
    between = beside - beside[spike]  # from this bin up to the spike
    first = int(np.argmax(between <= few))  # the gap begins here
    if beside[spike] <= TAIL * values.size or spike - first < gap or first == 0:
        return values
    return values[values <= edges[first]] if bright else values[-values <= edges[first]]


def _window_ends(centre: float, width: float, function: str) -> tuple[float, float]:
    """Modality values shown as black and as white (DICOM PS3.3 C.11.2.1.2; LINEAR counts discrete levels)."""
    if function == "LINEAR":
        return centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
    return centre - width / 2, centre + width / 2
