"""Stored values -> grey levels as a reader sees them, 0 darkest to 255 brightest.

The order is the standard's (DICOM PS3.4 N.2): modality LUT, then VOI LUT or window, then MONOCHROME1 inversion.
All three are folded into one table of at most 65,536 entries, so that a film costs one look-up a pixel and no float
copy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_pneumo.edge_runtime.levels import FLAT, flat_range, own_range, spread

SAMPLE_PIXELS = 250_000
"""About how many pixels (evenly spaced) the range of a film is estimated from."""
MIN_IN_WINDOW, DOUBT_IN_WINDOW = 0.1, 0.6
"""Share of a film that a window must show as neither black nor white to be used, and not to be warned of. One for bones
or the mediastinum makes the lungs black; one without the outer quarters of a film's range keeps .62 in the median."""
FILLS = 0.6
"""Share of all greys that fit its bits from which on a deep film without a window is taken as it is: a little more than
`FLAT`, for these bits are often a guess. 98 % of RSNA's 8-bit films use as many."""
SINGLE_GREY = 0.02
"""Share of all greys under which a window or VOI LUT leaves nothing to see."""
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


def evened(picture: Picture) -> Picture:
    """The picture with its greys spread over 0..255 if they span too few of them for the network (`levels.FLAT`)."""
    flat = flat_range(picture.pixels)
    return picture if flat is None else replace(picture, pixels=look_up_bands(spread(*flat), picture.pixels))


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
    windows: tuple[tuple[float, float], ...] = ()
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
    how : what the header says. Where that leaves the film less than `levels.FLAT` of all greys, it is stretched over
        them (but for 8-bit films that need no rendering: see `evened`).
    """
    raw = raw.view(np.uint8) if raw.dtype == bool else raw
    if how.is_identity and raw.dtype == np.uint8:
        return raw, ()
    scale, stretch, warnings = _scale(raw, how)
    if raw.dtype.itemsize <= 2:
        words = raw.view(np.dtype(f"u{raw.dtype.itemsize}").newbyteorder(raw.dtype.byteorder))
        table = _grey(np.arange(256**raw.dtype.itemsize), how, scale, stretch)
        return look_up_bands(table, words), warnings
    out = np.empty(raw.shape, np.uint8)
    rows = max(1, CHUNK_PIXELS // raw.shape[1])
    for top in range(0, raw.shape[0], rows):
        out[top : top + rows] = _grey(raw[top : top + rows], how, scale, stretch)
    return out, warnings


def look_up_bands(table: NDArray[np.uint8], words: NDArray) -> NDArray[np.uint8]:
    """`table[words]` in bands: numpy casts indices to 8 bytes each, which a large film should not pay at once."""
    out = np.empty(words.shape, np.uint8)
    rows = max(1, CHUNK_PIXELS // words.shape[1])
    for top in range(0, words.shape[0], rows):
        np.take(table, words[top : top + rows], out=out[top : top + rows], mode="clip")
    return out


def _modality(stored: NDArray, how: Rendering) -> NDArray[np.floating]:
    if how.modality_lut is not None:
        return how.modality_lut(stored)
    return stored * how.slope + how.intercept


def _is_padding(stored: NDArray, how: Rendering) -> NDArray[np.bool_]:
    if how.padding is None:
        return np.zeros(stored.shape, bool)
    return (stored >= how.padding[0]) & (stored <= how.padding[1])


def _grey(
    raw: NDArray, how: Rendering, scale: tuple[float, float] | None, stretch: tuple[float, float]
) -> NDArray[np.uint8]:
    """Raw words of any shape -> grey levels; `scale` is the range shown where neither VOI LUT nor sigmoid decides, of
    which the part `stretch` (in 0..1) becomes 0..255."""
    stored = stored_values(raw, how)
    black, white = stretch
    shown = (_shown(_modality(stored, how), how, scale) - black) / (white - black)
    grey = np.clip(shown, 0.0, 1.0) * 255.0
    grey = (255.0 - grey if how.invert else grey) + 0.5
    grey[_is_padding(stored, how)] = 0
    return grey.astype(np.uint8)


def _shown(values: NDArray, how: Rendering, scale: tuple[float, float] | None) -> NDArray[np.floating]:
    """Modality values -> 0 (black) to 1 (white), before any inversion."""
    if scale is None and how.voi_lut is not None:
        shown = how.voi_lut(values) / float((1 << how.voi_lut.bits) - 1)
    elif how.windows and how.window_function == "SIGMOID" and scale is None:
        centre, width = how.windows[0]
        shown = 0.5 * (1.0 + np.tanh(2.0 * (values - centre) / width))
    else:
        low, high = scale or (0.0, 1.0)
        shown = (values - low) / max(high - low, 1e-9)
    return np.clip(np.nan_to_num(shown), 0.0, 1.0)


def _scale(raw: NDArray, how: Rendering) -> tuple[tuple[float, float] | None, tuple[float, float], tuple[str, ...]]:
    """The range of modality values that is shown (None: the VOI LUT or the sigmoid decides), the part of what is shown
    that becomes 0..255, and warnings."""
    whole = (0.0, 1.0)
    values, counts = _histogram(raw, how)
    if not len(values):
        return whole, whole, ()
    low, high = own_range(values, counts)
    used = (low, high if high > low else low + 1)
    said = "VOI LUT" if how.voi_lut is not None else "window in the header" if how.windows else ""
    scale: tuple[float, float] | None = None
    kept = 1.0
    if how.windows and how.voi_lut is None:
        own = slice(*np.searchsorted(values, [low, np.nextafter(high, np.inf)]))
        scale, kept = _best_window(values[own], counts[own], how)
    elif not said:
        if how.signed or how.modality_lut is not None or (how.slope, how.intercept) != (1.0, 0.0):
            return used, whole, ()
        bits = how.stored
        if bits == 16:  # is often said of 12, beyond which a border may lie
            bits = max(int(high).bit_length(), 8)
        scale = (0.0, float((1 << bits) - 1))
    black, white = sorted(_shown(np.array([low, high]), how, scale).tolist())
    if said and white - black < SINGLE_GREY:
        return used, whole, (f"the {said} makes the film a single grey; it is not used",)
    if kept < MIN_IN_WINDOW:
        return used, whole, (f"the {said} misses nearly all of the film; it is not used",)
    warnings: tuple[str, ...] = ()
    if kept < DOUBT_IN_WINDOW:
        warnings = (f"the {said} makes {1 - kept:.0%} of the film black or white; check that it is for lungs",)
    if white - black >= (FLAT if said or how.stored <= 8 else FILLS):
        return scale, whole, warnings
    if not said:
        return used, whole, ()
    warnings += (f"the {said} leaves the film with hardly any contrast; it is shown with more",)
    return scale, (black, white), warnings


def _best_window(
    values: NDArray[np.floating], counts: NDArray[np.int64], how: Rendering
) -> tuple[tuple[float, float] | None, float]:
    """The range of the first window that is not to be warned of, or else of the one that shows most (None: a sigmoid
    decides), and the share of the pixels that it shows as neither black nor white."""
    best: tuple[tuple[float, float] | None, float] = (None, -1.0)
    sigmoid = how.window_function == "SIGMOID"
    for window in how.windows[:1] if sigmoid else how.windows:
        scale = None if sigmoid else _window_ends(*window, how.window_function)
        shown = _shown(values, how, scale)
        kept = float(counts[(shown > 1 / 512) & (shown < 511 / 512)].sum() / counts.sum())
        if kept >= DOUBT_IN_WINDOW:
            return scale, kept
        best = max(best, (scale, kept), key=lambda found: found[1])
    return best


def _histogram(raw: NDArray, how: Rendering) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """Modality values (n,), ascending, that a film has (a sample of it; padding left out), and how many pixels each."""
    step = max(1, int(np.sqrt(raw.size / SAMPLE_PIXELS)))
    sample = np.ascontiguousarray(raw[::step, ::step])
    if raw.dtype.itemsize <= 2:
        words = sample.view(np.dtype(f"u{raw.dtype.itemsize}").newbyteorder(raw.dtype.byteorder))
        counts = np.bincount(words.ravel(), minlength=1)
        found = np.flatnonzero(counts)
        counts = counts[found]
    else:
        found, counts = np.unique(sample, return_counts=True)
    stored = stored_values(found, how)
    film = ~_is_padding(stored, how)
    values = _modality(stored[film], how)
    finite = np.isfinite(values)
    order = np.argsort(values[finite], kind="stable")
    return values[finite][order], counts[film][finite][order]


def _window_ends(centre: float, width: float, function: str) -> tuple[float, float]:
    """Modality values shown as black and as white (DICOM PS3.3 C.11.2.1.2; LINEAR counts discrete levels)."""
    if function == "LINEAR":
        return centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
    return centre - width / 2, centre + width / 2
