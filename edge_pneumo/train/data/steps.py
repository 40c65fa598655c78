"""Pre-processing steps that the reference report names and the detector does without, each as one small function.

They are here to be measured (`data steps`) and to be had (`data export --step`), not because they help: what the
detector does to a film is in `edge_runtime.preprocess`, what training does is in `train.augment`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

Grey = NDArray[np.uint8]
"""(h, w) uint8."""


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes
    ----------
    about : one line for people.
    apply : a film and a source of randomness -> the changed film, of the same shape.
    random : True for a change drawn anew for each film (augmentation); False for one done to every film alike.
    moves : True when pixels change their place, so that boxes would have to follow.
    """

    about: str
    apply: Callable[[Grey, np.random.Generator], Grey]
    random: bool = False
    moves: bool = False


def stretch(film: Grey) -> Grey:
    """Contrast stretching: the 1st and 99th percentile become black and white."""
    low, high = np.percentile(film, (1, 99))
    return np.rint(np.clip((film - low) * (255 / max(high - low, 1)), 0, 255)).astype(np.uint8)


def equalise(film: Grey) -> Grey:
    """Histogram equalisation."""
    return np.asarray(ImageOps.equalize(Image.fromarray(film)))


def otsu(film: Grey) -> int:
    """Grey level that parts a film's histogram best in two (Otsu, IEEE Trans. SMC 9, 1979)."""
    counts = np.bincount(film.ravel(), minlength=256).astype(float)
    below, mass = np.cumsum(counts), np.cumsum(counts * np.arange(256))
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = (mass[-1] * below / below[-1] - mass) ** 2 / (below * (below[-1] - below))
    return int(np.nanargmax(np.where(np.isfinite(spread), spread, -1)))


def _threshold(film: Grey) -> Grey:
    return np.where(film > otsu(film), film, 0).astype(np.uint8)


def _filtered(film: Grey, kernel: ImageFilter.Filter) -> Grey:
    return np.asarray(Image.fromarray(film).filter(kernel))


def _mask(film: Grey) -> Grey:
    y, x = np.ogrid[-1 : 1 : film.shape[0] * 1j, -1 : 1 : film.shape[1] * 1j]
    return np.where((x / 0.85) ** 2 + (y / 0.85) ** 2 < 1, film, 0).astype(np.uint8)


def _affine(film: Grey, matrix: NDArray[np.float64]) -> Grey:
    """Move pixels by a 2 x 2 matrix about the centre."""
    height, width = film.shape
    centre = np.array([width / 2, height / 2])
    inverse = np.linalg.inv(matrix)
    offset = centre - inverse @ centre
    numbers = (*inverse[0], offset[0], *inverse[1], offset[1])
    picture = Image.fromarray(film)
    return np.asarray(picture.transform((width, height), Image.Transform.AFFINE, numbers, Image.Resampling.BILINEAR))


def _rotate(film: Grey, rng: np.random.Generator) -> Grey:
    angle = np.deg2rad(rng.uniform(-10, 10))
    return _affine(film, np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]))


def _shear(film: Grey, rng: np.random.Generator) -> Grey:
    return _affine(film, np.array([[1, rng.uniform(-0.2, 0.2)], [0, 1]]))


def _crop(film: Grey, rng: np.random.Generator) -> Grey:
    share = rng.uniform(0.8, 1.0)
    height, width = (round(side * share) for side in film.shape)
    y, x = rng.integers(0, film.shape[0] - height + 1), rng.integers(0, film.shape[1] - width + 1)
    cut = Image.fromarray(film[y : y + height, x : x + width])
    return np.asarray(cut.resize(film.shape[::-1], Image.Resampling.BILINEAR))


def _shift(film: Grey, rng: np.random.Generator) -> Grey:
    down, right = (round(rng.uniform(-0.06, 0.06) * side) for side in film.shape)
    moved = np.zeros_like(film)
    moved[max(0, down) : film.shape[0] + min(0, down), max(0, right) : film.shape[1] + min(0, right)] = film[
        max(0, -down) : film.shape[0] - max(0, down), max(0, -right) : film.shape[1] - max(0, right)
    ]
    return moved


STEPS: dict[str, Step] = {
    "stretch": Step("contrast stretching, 1st to 99th percentile", lambda film, _: stretch(film)),
    "equalise": Step("histogram equalisation", lambda film, _: equalise(film)),
    "threshold": Step("black below Otsu's threshold", lambda film, _: _threshold(film)),
    "erode": Step("erosion, 3 x 3", lambda film, _: _filtered(film, ImageFilter.MinFilter(3))),
    "dilate": Step("dilation, 3 x 3", lambda film, _: _filtered(film, ImageFilter.MaxFilter(3))),
    "mask": Step("black outside an ellipse", lambda film, _: _mask(film)),
    "rotate": Step("rotation within 10 degrees", _rotate, random=True, moves=True),
    "flip-horizontal": Step("left-right mirror", lambda film, _: film[:, ::-1], random=True, moves=True),
    "flip-vertical": Step("upside down", lambda film, _: film[::-1], random=True, moves=True),
    "shear": Step("shear within 0.2", _shear, random=True, moves=True),
    "shift": Step("shift within 6 % of the side", _shift, random=True, moves=True),
    "crop": Step("random crop of 80 to 100 % of the side, grown back", _crop, random=True, moves=True),
}
