"""The gate's second look: does the picture itself look like an upright frontal chest film? A few numbers, no network.

The picture is shrunk to 16 x 16 and freed of brightness and contrast. A linear discriminant then says how much it
looks like a frontal film (1 is typical), and its correlation with the mean film, upright, turned and with its greys
turned, says which way round it is. Both tables are fitted by `benchmarks/door_fit.py`; what they refuse is in
docs/results/door.json.
A lateral chest film may well pass: there the header must speak.
"""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_pneumo.edge_runtime.framing import (
    FLAT,
    Bands,
    Framing,
    find_bands,
    find_smooth_bands,
    framing,
    is_wide,
    joined,
    within,
)
from edge_pneumo.edge_runtime.grey import Picture
from edge_pneumo.edge_runtime.limits import MIN_SIDE_PX
from edge_pneumo.errors import FilmRefused

SIDE = 16
NO_BANDS = (0, 0, 0, 0)
SAMPLE_SIDE = 128
"""About how many rows and columns are looked at."""

BLANK_SPAN = 12
"""Grey levels between the 1st and 99th percentile under which nothing is on the film."""
COLOURED = 40
"""Difference between a pixel's channels from which it is coloured; a blue-toned film stays below."""
REFUSE_COLOURED, DOUBT_COLOURED = 0.25, 0.01
LEAST_GAIN = 0.4
"""The weakest channel against the strongest, from which a picture may have a colour cast."""
LOST_SHARE = 0.08
"""Share of rows or columns within a film that are a single grey from which some were lost; films have up to .06."""
GRADIENT = 0.08
"""Of the span of a picture of 16 x 16 parts, how far any is from a curved surface at least; in films .23 or more."""
GRAIN_SHAPES = 0.2
"""Of the variance of greys, what the means of 16 x 16 parts keep at least; all of 2,191 films at hand keep .65."""
CUT_SHARE, DOUBT_CUT_SHARE = 0.30, 0.15
"""Share of the film that is one grey at the lower edge only, and at any edge only; frontal films have at most .20,
padded ones have both edges."""
PAPER_SHARE = 0.60
"""Share of (nearly) white, within any borders, that makes a page of a picture that is no chest; one film of RSNA's has
more, so that a picture that is one gets a warning."""
LETTERED_PAPER_SHARE = 0.30
"""The same where letters had to be looked past to find a border, and what lies within is doubtful."""
DOUBT_ASPECT = 1.6
"""Longer side by shorter of what is shown; the lungs of one person are about as wide as high."""
REFUSE_LIKENESS, DOUBT_LIKENESS = 0.20, 0.35
REFUSE_LIKENESS_STATED = -0.40
"""Where the header says "chest" and "AP" or "PA", a badly exposed or collimated film is likelier than a wrong header: a
portable film of RSNA's, tilted on a black plate, has a likeness of -0.07."""
TURNED_CORRELATION, TURNED_MARGIN, INVERTED_CORRELATION = 0.40, 0.35, 0.35

# Fitted to the films of RSNA's training split and of nih-weak (docs/ingestion.md); rows of 16.
MEAN_FILM = base64.b64decode(
    "AAMIECJLfp6gglEnFQ8MCBstOEFNZoigoYpqUkdCOiNLZnJ2dHOBmpyDcnR5eG5TdI6WjHlsdpWbemdziZaReIugoo9sXG6XoXVZZIefnouTpKaL"
    "ZVVun6t7V16DoaGQj6CliGRbequ3jWNhgaCeioSZo4lqaYu5xKN4a4Keln95k6GMdnqdx9G4knyHnZBzb4+hlYmRr9PcyqyUkp2NamWKpaWiqsLe"
    "5dbAqZ+fiWFbham3vcbW6Ozh0b2uooNXUYCux9Pc5vHz6t7PvKZ8Tkl8sdLi7PP6+vLp28iqeEZEebTY6/X6//748OPPrXZCRXu12Ov1+v389/Dk"
    "0a93Qw=="
)
WEIGHTS = base64.b64decode(
    "z/O3gZvjDy4j6vG0o9r06PM43MDZBBklOBH20sLvKP68NiT41d8ULjH/4KXC8P4Kyy49FNXH9gT54cTIACkkHPxKM/X96vQkFxXjAww8PBX5UBso"
    "FtsaTCgQ39cDLToh0EQAFvnMDiET8dffIhga5dQz+//BlNPL6untzNDk/8vX6+3/sqDGxNzSs93T1+bg5eADIgL7Deru/e8SHPbf3/bY6w4NJB4Q"
    "PjoEGi8A4fQA3+sCFB0jJUJK+wnw6uD39+nq/wcDDAUGH/7/7tTO7vIKARgUDA7/FQ0YNxsK3uLu7BQ4JCYjHSM9IVJLGOPwIA1YUjMpUTEWEh5B"
    "US0NJA=="
)
TYPICAL_SCORE = 260.6
"""Median score of those films, so that 1 is typical."""


@dataclass(frozen=True)
class Look:
    """What a glance at a picture measures: `likeness` (1: typical film), correlations in -1..1, shares in 0..1.

    `shapes` is the share of the greys' variance that is left in the means of 16 x 16 parts: next to none of grain.
    `framing` says what of it to show the network (None: all, as it is), `lies` that it was found to lie on its side or
    upside down as its header says: what is measured is then of the picture turned.
    """

    likeness: float
    upright: float
    turned: float
    span: float
    coloured: float
    white: float
    one_sided: float
    cut: float
    repeated: float = 0.0
    lost: float = 0.0
    cast: bool = False
    gradient: bool = False
    aspect: float = 1.0
    shapes: float = 1.0
    striped: bool = False
    framing: Framing | None = None
    lies: bool = False


def check_picture(
    picture: Picture,
    name: str,
    *,
    polarity_stated: bool,
    frontal_stated: bool = False,
    quarter_turns: int = 0,
    pixel_aspect: float = 1.0,
    force: bool = False,
) -> tuple[tuple[str, ...], Framing | None]:
    """Weigh what the picture shows.

    Parameters
    ----------
    polarity_stated : the header says which grey is bright (DICOM). Then a picture that looks inverted is a doubt, since
        header and picture contradict each other; in a PNG or JPEG it is refused.
    frontal_stated : the header says that this is a frontal chest film; then the picture must speak louder against it.
    quarter_turns : counter-clockwise, that would make the film upright by its header. Headers lie, so it is believed
        where the picture looks more upright so turned.
    pixel_aspect : height of a pixel by its width.
    force : turn refusals into warnings.

    Returns
    -------
    Warnings, and what of the film to show the network (None: all of it, as it is).

    Raises
    ------
    FilmRefused : `blank`, `truncated`, `not-a-radiograph`, `not-a-chest` or `not-frontal`.
    """
    seen = look(picture, quarter_turns, pixel_aspect)
    reason, sentence = judge(seen, polarity_stated, frontal_stated)
    if reason is not None and not force:
        raise FilmRefused(reason, f"{name}: {sentence}. A frontal chest radiograph is read; --force overrides.")
    said = [sentence] if sentence else []
    if quarter_turns:
        said.append(_TURNED if seen.lies else _NOT_TURNED)
    shown = seen.framing
    if shown is not None and min(shown.width, shown.height) < MIN_SIDE_PX:
        sentence = f"within its border only {shown.width} x {shown.height} pixels, of at least {MIN_SIDE_PX} a side"
        if not force:
            raise FilmRefused("bad-dimensions", f"{name}: {sentence}. Give the film larger.")
        return (*said, sentence), None
    if shown is not None and (shown.width, shown.height) != (picture.width, picture.height):
        said.append(
            f"a wide border is left out; the network is shown the {shown.width} x {shown.height} "
            f"pixels within (of {picture.width} x {picture.height})"
        )
    return tuple(said), shown


_TURNED = "by its header it does not stand upright, and looks so: it is turned for the network"
_NOT_TURNED = "by its header it does not stand upright, but it looks as if it did: it is not turned"


def look(picture: Picture, quarter_turns: int = 0, pixel_aspect: float = 1.0) -> Look:
    """Measure a picture; well under a millisecond, whatever its size."""
    step = max(1, min(picture.pixels.shape) // SAMPLE_SIDE)
    sample = np.ascontiguousarray(picture.pixels[::step, ::step])
    plain, lettered = find_bands(sample), find_bands(sample, letters=True)
    bands = lettered if is_wide(lettered, sample) else plain
    more = find_smooth_bands(within(picture.pixels, bands, step), step)
    if is_wide(more, within(sample, bands)):
        bands = joined(bands, more)
    inner, tiny, lies = _glance(sample, bands, quarter_turns)
    likeness, upright, turned = compare(tiny)
    if bands != plain and likeness < DOUBT_LIKENESS:  # no chest between letters: a page has such borders too
        whole = _glance(sample, plain, quarter_turns)
        paper = _white_share(inner) > LETTERED_PAPER_SHARE
        if paper or likeness < REFUSE_LIKENESS or compare(whole[1])[0] > likeness:
            bands, (inner, tiny, lies) = plain, whole
            likeness, upright, turned = compare(tiny)
    wide = bands if is_wide(bands, sample) else NO_BANDS
    ordered = np.sort(tiny, axis=None)
    coloured, cast = (0.0, False) if picture.colours is None else _coloured_share(picture.colours)
    return Look(
        likeness=likeness,
        upright=upright,
        turned=turned,
        span=float(ordered[-3]) - float(ordered[2]),
        coloured=coloured,
        cast=cast,
        lost=_lost_share(inner),
        gradient=_is_gradient(tiny),
        white=_white_share(inner),
        aspect=_aspect(inner.shape[0] * pixel_aspect, inner.shape[1]),
        shapes=float(tiny.var() / max(inner[::3, ::3].var(), 1e-9)),
        striped=min(int(np.ptp(tiny, axis=0).max()), int(np.ptp(tiny, axis=1).max())) <= FLAT,
        one_sided=_one_sided(bands, sample.shape),
        cut=_cut_short(find_bands(sample, once=True), sample.shape) if any(plain) else 0.0,
        repeated=_repeated(sample),
        framing=framing(picture.pixels, (picture.width, picture.height), wide, step, quarter_turns if lies else 0),
        lies=lies,
    )


def _glance(
    sample: NDArray[np.uint8], bands: Bands, quarter_turns: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], bool]:
    """What lies within the bands, the same as (16, 16), turned where it looks more upright so, and whether it was."""
    inner = within(sample, bands)
    tiny = shrink(inner)
    if quarter_turns:
        turned = np.ascontiguousarray(np.rot90(tiny, quarter_turns))
        if compare(turned)[1] > compare(tiny)[1]:
            return inner, turned, True
    return inner, tiny, False


def shrink(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A grey picture (h, w) as (16, 16), each the mean of its part."""
    picture = Image.frombuffer("L", pixels.shape[::-1], pixels, "raw", "L", 0, 1)
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX))


def compare(tiny: NDArray[np.uint8]) -> tuple[float, float, float]:
    """Likeness of a (16, 16) picture, its correlation with the mean film, and the best with the mean film turned."""
    grey = tiny.ravel().astype(np.float32)
    total, *products = (_tables() @ grey).tolist()
    spread = math.sqrt(max(float(grey @ grey) - total * total / grey.size, 0.0))
    likeness, upright, *turned = [product / max(spread, 1e-9) for product in products]
    return likeness, upright, max(turned)


@cache
def _tables() -> NDArray[np.float32]:
    """Ones, the discriminant, and the mean film upright and turned, as rows (7, 256) to be multiplied with a picture.

    All but the ones sum to zero, so that the picture need not be freed of its mean.
    """
    mean = np.frombuffer(MEAN_FILM, np.uint8).reshape(SIDE, SIDE)
    turns = np.stack([mean, mean[::-1], mean[::-1, ::-1], np.rot90(mean), np.rot90(mean, -1)]).reshape(5, -1)
    centred = (turns - mean.mean()) / (mean.std() * SIDE)
    weights = np.frombuffer(WEIGHTS, np.int8) / TYPICAL_SCORE
    rows = np.concatenate([weights[np.newaxis] - weights.mean(), centred])
    return np.concatenate([np.ones((1, SIDE * SIDE)), rows]).astype(np.float32)


def judge(seen: Look, polarity_stated: bool, frontal_stated: bool = False) -> tuple[str | None, str]:
    """The verdict: a reason and a sentence; no reason: a doubt; no sentence either: a frontal chest film."""
    if seen.span < BLANK_SPAN:
        return "blank", "nothing to see on it: all one grey"
    if seen.shapes < GRAIN_SHAPES:
        if seen.white > PAPER_SHARE:
            return "not-a-radiograph", "looks like a page of paper"
        return "blank", "nothing to see on it but grain or small print"
    if seen.coloured > REFUSE_COLOURED:
        return "not-a-radiograph", f"{seen.coloured:.0%} of it is coloured"
    if seen.striped:
        return "blank", "nothing to see on it: stripes of a single grey each"
    if seen.gradient:
        return "blank", "nothing to see on it but a gradient of greys"
    if seen.cut > CUT_SHARE:
        return "truncated", f"its lower {seen.cut:.0%} is a single grey: cut off"
    if seen.repeated > CUT_SHARE:
        return "truncated", f"its lower {seen.repeated:.0%} is one row again and again: cut off"
    if -seen.upright > max(INVERTED_CORRELATION, seen.turned):
        doubt = "looks inverted (air bright, bone dark), so the finding cannot be trusted"
        return None if polarity_stated else "not-a-radiograph", doubt
    if seen.turned > TURNED_CORRELATION and seen.turned - seen.upright > TURNED_MARGIN:
        return "not-frontal", "looks upside down or lying on its side; turn it"
    if seen.likeness < (REFUSE_LIKENESS_STATED if frontal_stated else REFUSE_LIKENESS):
        if seen.white > PAPER_SHARE:
            return "not-a-radiograph", "looks like a page of paper"
        return "not-a-chest", f"does not look like a frontal chest film (likeness {seen.likeness:.2f})"
    if seen.likeness < DOUBT_LIKENESS:
        return None, f"hardly looks like a frontal chest film (likeness {seen.likeness:.2f}); check that it is one"
    if seen.aspect > DOUBT_ASPECT:
        return None, f"{seen.aspect:.1f} times as long as wide; check that it is one film and the lungs are whole"
    if seen.one_sided > DOUBT_CUT_SHARE:
        return None, f"{seen.one_sided:.0%} of it, at one edge, is empty; check that the lungs are whole"
    if seen.lost > LOST_SHARE:
        return None, f"{seen.lost:.0%} of its rows or columns are a single grey each: lost? Check the lungs"
    if seen.repeated > DOUBT_CUT_SHARE:
        return None, f"its lower {seen.repeated:.0%} is one row again and again; check that the lungs are whole"
    if seen.white > PAPER_SHARE:
        return None, "is white for the most part: a page of paper, or a washed-out film"
    if seen.coloured > DOUBT_COLOURED:
        return None, "has coloured marks on it"
    if seen.cast:
        return None, "has a colour cast; its greys are taken"
    return None, ""


def _aspect(height: float, width: float) -> float:
    return max(height, width) / min(height, width)


def _white_share(pixels: NDArray[np.uint8]) -> float:
    return np.count_nonzero(pixels > 235) / pixels.size


def _coloured_share(colours: NDArray[np.uint8]) -> tuple[float, bool]:
    """Share of (m, n, 3) that is coloured, and whether that is after a cast over all of it was taken out: a film's blue
    base, a warm lamp."""
    share = float(np.mean(np.ptp(colours, axis=2) >= COLOURED))
    if share <= DOUBT_COLOURED:
        return share, False
    sums = colours.sum(axis=(0, 1), dtype=np.float64)
    if sums.min() < sums.max() * LEAST_GAIN:
        return share, False
    left = float(np.mean(np.ptp(colours * (sums.mean() / sums), axis=2) >= COLOURED))
    return (left, share > REFUSE_COLOURED) if left < share else (share, False)


def _lost_share(inner: NDArray[np.uint8]) -> float:
    """Share of the rows or of the columns, whichever are more, that are a single grey each."""
    return max(float(np.mean(np.ptp(inner, axis=axis) <= FLAT)) for axis in (0, 1))


def _is_gradient(tiny: NDArray[np.uint8]) -> bool:
    """Whether a picture (16, 16) is nothing but a surface of the second degree."""
    grey = tiny.ravel().astype(np.float32)
    surface = _surfaces()
    rest = grey - surface @ (grey @ surface)
    return float(np.abs(rest).max()) < GRADIENT * float(np.ptp(grey))


@cache
def _surfaces() -> NDArray[np.float32]:
    """Polynomials up to the second degree over 16 x 16 parts, each at right angles to the others, as columns."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j].reshape(2, -1)
    return np.linalg.qr(np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1))[0].astype(np.float32)


def _one_sided(bands: Bands, shape: tuple[int, ...]) -> float:
    """The largest band of a single grey at one edge, less the band at the opposite edge (padding has both)."""
    top, bottom, left, right = bands
    return max(abs(top - bottom) / shape[0], abs(left - right) / shape[1])


def _cut_short(bands: Bands, shape: tuple[int, ...]) -> float:
    """The band at the bottom, less that at the top, where there is none at the sides: rows that never came.

    On a sheet the film may lie anywhere; then two sides have a band, or another than the bottom has.
    """
    top, bottom, left, right = bands
    return 0.0 if max(left, right) > 0.1 * shape[1] else (bottom - top) / shape[0]


def _repeated(sample: NDArray[np.uint8]) -> float:
    """Share of the rows, at the bottom, that are the last one again, where that is not a single grey: so some decoders
    fill what never came."""
    last = sample[-1].astype(np.int16)
    if np.abs(sample[-1 - len(sample) // 16] - last).max() > FLAT or np.ptp(last) <= FLAT:  # as of nearly all films
        return 0.0
    other = np.flatnonzero(np.abs(sample - last).max(axis=1) > FLAT)
    return 1 - (int(other[-1]) + 1 if other.size else 0) / len(sample)
