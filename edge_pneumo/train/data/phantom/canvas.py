"""A drawing surface in the patient's frame, however the film lies.

The frame: x from -1 (left of the film) to 1, y from -1 (top) to 1. A canvas turns, scales and shifts it, so that bodies
are drawn as if every patient stood straight.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFilter

Mask = NDArray[np.float32]
"""(px, px) float32, 0 nothing to 1 full."""


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

    def fill(self, *outlines: ArrayLike, blur: float = 0.0) -> Mask:
        """Filled outlines, each (n, 2); `blur` in thousandths of the film's side."""
        picture = Image.new("L", (self.px, self.px))
        pen = ImageDraw.Draw(picture)
        for outline in outlines:
            pen.polygon(self.to_px(outline), fill=255)
        return self._soft(picture, blur)

    def strokes(self, lines: Sequence[tuple[ArrayLike, float, float]], *, blur: float = 0.0) -> Mask:
        """Lines as (points, width in frame units, value 0..1), later ones over earlier."""
        picture = Image.new("L", (self.px, self.px))
        pen = ImageDraw.Draw(picture)
        for points, width, value in lines:
            thick = max(1, round(width * self.scale * self.px / 2))
            pen.line(self.to_px(points), fill=round(255 * value), width=thick, joint="curve")
        return self._soft(picture, blur)

    def blob(self, x: float, y: float, radius_x: float, radius_y: float, edge: float = 0.15) -> Mask:
        """An ellipse whose border fades over `edge` of its radius."""
        fx, fy = self.frame
        away = np.sqrt(((fx - x) / radius_x) ** 2 + ((fy - y) / radius_y) ** 2)
        return np.clip((1 - away) / edge + 0.5, 0, 1)

    def _soft(self, picture: Image.Image, blur: float) -> Mask:
        if blur > 0:
            picture = picture.filter(ImageFilter.GaussianBlur(blur * self.px / 1000))
        return np.asarray(picture, np.float32) * np.float32(1 / 255)


def cloud(rng: np.random.Generator, px: int, cells: int, octaves: int = 3) -> Mask:
    """Smooth noise (px, px) of mean 0 and deviation about 1, with lumps of px/cells and finer ones in it."""
    total = np.zeros((px, px), np.float32)
    for octave in range(octaves):
        n = cells << octave
        coarse = Image.fromarray(rng.standard_normal((n + 3, n + 3), np.float32))
        total += np.asarray(coarse.resize((px, px), Image.Resampling.BICUBIC)) * np.float32(0.6**octave)
    return total / max(float(total.std()), 1e-6)
