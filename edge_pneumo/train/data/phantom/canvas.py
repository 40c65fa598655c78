"""A drawing surface in the patient's frame, however the film lies.

The frame: x from -1 (left of the film) to 1, y from -1 (top) to 1. A canvas turns, scales and shifts it, so that bodies
are drawn as if every patient stood straight.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFilter

Mask = NDArray[np.floating]
"""(px, px) float32, 0 nothing to 1 full."""

Shape = tuple[Sequence | NDArray, float, float]
"""Points (n, 2), width in units of the frame (0: a filled outline), value 0..1."""


@dataclass(frozen=True)
class Canvas:
    """Where the patient's frame lies on a square grid.

    Attributes
    ----------
    px : side of the grid.
    turn_deg : rotation of the patient; scale and shift in units of the frame.
    """

    px: int = 512
    turn_deg: float = 0.0
    scale: float = 1.0
    shift_x: float = 0.0
    shift_y: float = 0.0

    @cached_property
    def frame(self) -> tuple[Mask, Mask]:
        """x and y of the patient's frame at every pixel."""
        at = (np.arange(self.px, dtype=np.float32) + 0.5) * (2 / self.px) - 1
        u, v = (at - self.shift_x)[None, :], (at - self.shift_y)[:, None]
        cos, sin = self._turn
        return (u * cos + v * sin) / self.scale, (v * cos - u * sin) / self.scale

    @property
    def _turn(self) -> tuple[np.float32, np.float32]:
        angle = math.radians(self.turn_deg)
        return np.float32(math.cos(angle)), np.float32(math.sin(angle))

    def to_px(self, points: ArrayLike) -> list[tuple[float, float]]:
        """Points (n, 2) of the frame -> pixels of the grid."""
        x, y = np.asarray(points, float).reshape(-1, 2).T * self.scale
        cos, sin = self._turn
        u, v = x * cos - y * sin + self.shift_x, x * sin + y * cos + self.shift_y
        half = self.px / 2
        return list(zip(((u + 1) * half).tolist(), ((v + 1) * half).tolist(), strict=True))

    def fill(self, *outlines: Sequence | NDArray, blur: float = 0.0) -> Mask:
        """Filled outlines, each (n, 2); `blur` in thousandths of the film's side."""
        return self.draw([(outline, 0.0, 1.0) for outline in outlines], blur=blur)

    def draw(self, shapes: Sequence[Shape], *, blur: float = 0.0) -> Mask:
        """Lines and filled outlines, later ones over earlier."""
        picture = Image.new("L", (self.px, self.px))
        pen = ImageDraw.Draw(picture)
        places = self.to_px(np.concatenate([np.asarray(points, float) for points, _, _ in shapes]))  # once: much faster
        start = 0
        for points, width, value in shapes:
            end = start + len(points)
            ink, thick = min(255, round(255 * value)), max(1, round(width * self.scale * self.px / 2))
            if width == 0:
                pen.polygon(places[start:end], fill=ink)
            else:
                pen.line(places[start:end], fill=ink, width=thick, joint="curve" if thick > 4 else None)
            start = end
        if blur > 0:
            # A box of the Gaussian's width: a third of its time, and nobody sees the difference under the grain.
            picture = picture.filter(ImageFilter.BoxBlur(1.7 * blur * self.px / 1000))
        return np.asarray(picture, np.float32) * np.float32(1 / 255)

    def blob(self, x: float, y: float, radius_x: float, radius_y: float, edge: float = 0.15) -> Mask:
        """An ellipse whose border fades over `edge` of its radius."""
        fx, fy = self.frame
        away = np.sqrt(((fx - x) / radius_x) ** 2 + ((fy - y) / radius_y) ** 2)
        return np.clip((1 - away) / edge + 0.5, 0, 1)


def cloud(rng: np.random.Generator, px: int, cells: int) -> Mask:
    """Smooth noise (px, px) of mean 0 and deviation about 1, with lumps of px/cells and finer ones in it."""
    sheet = _cloud_sheet(px, cells)
    y, x = rng.integers(0, px, 2)
    window = sheet[y : y + px, x : x + px]
    return window[:: 1 if rng.random() < 0.5 else -1, :: 1 if rng.random() < 0.5 else -1]


@lru_cache(maxsize=8)
def _cloud_sheet(px: int, cells: int) -> Mask:
    """A sheet twice as wide, made once; films take different windows of it."""
    rng = np.random.default_rng([20180826, px, cells])
    total = np.zeros((2 * px, 2 * px), np.float32)
    for octave in range(3):
        n = 2 * cells << octave
        coarse = Image.fromarray(rng.standard_normal((n, n), np.float32))
        total += np.asarray(coarse.resize(total.shape, Image.Resampling.BICUBIC)) * np.float32(0.6**octave)
    total /= total.std()
    total.setflags(write=False)
    return total
