"""Radiograph -> network input, and the way back for boxes. Used by training, calibration, evaluation, prediction and
benchmark alike: there is no other preprocess in the project.

What is shown of the film (all of it but wide borders, upright: `framing`) is scaled to fit a square of `size_px`
(aspect kept, by the header's where its pixels are not square), centred, and the rest filled with black (0). Pixels are
averaged over the area that becomes one (a box filter), as JPEG's own scaling does: a film must get the same answer
whether it comes as JPEG or with all its pixels, and what a wider filter blurs, the network reads as disease.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_pneumo.edge_runtime.framing import Framing
from edge_pneumo.edge_runtime.radiograph import Radiograph


@dataclass(frozen=True)
class InputSpec:
    """The input contract of a model, as its metadata stores it.

    Attributes
    ----------
    size_px : side of the square input, a multiple of 32.
    fill : grey level of the letterbox, 0..255.
    scale, zero_point : real = (grey - zero_point) * scale. With 1/127.5 and 128 the int8 converter finds exactly these
        from inputs that span 0..255, so normalisation costs nothing at run time.
    """

    size_px: int
    fill: int = 0
    scale: float = 1 / 127.5
    zero_point: int = 128

    def normalise(self, grey: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Grey levels 0..255 -> float32 the network was trained on (about -1..1)."""
        return (grey.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)


@dataclass(frozen=True)
class Geometry:
    """Where the film lies in the input: of the part that is shown, turned upright, input = part * scale + pad, in
    pixels, per axis.

    Attributes
    ----------
    scale_x, scale_y, pad_x, pad_y : along the axes of the input.
    width, height, left, top : the part of the film that is shown, in pixels of the source film.
    quarter_turns : counter-clockwise, from the film to the input.
    """

    scale_x: float
    scale_y: float
    pad_x: int
    pad_y: int
    width: int
    height: int
    left: int = 0
    top: int = 0
    quarter_turns: int = 0

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height of the part as it is shown, turned."""
        return (self.height, self.width) if self.quarter_turns % 2 else (self.width, self.height)

    @property
    def _corner(self) -> NDArray[np.float32]:
        return np.array([self.left, self.top, self.left, self.top], np.float32)

    def to_source(self, boxes_xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes (n, 4) xyxy in input pixels -> source pixels, clipped to the part of the film that is shown."""
        boxes = np.asarray(boxes_xyxy, np.float32).reshape(-1, 4).copy()
        width, height = self.upright
        boxes[:, 0::2] = np.clip((boxes[:, 0::2] - self.pad_x) / self.scale_x, 0, width)
        boxes[:, 1::2] = np.clip((boxes[:, 1::2] - self.pad_y) / self.scale_y, 0, height)
        boxes = turned_boxes(boxes, width, height, -self.quarter_turns % 4)
        return boxes + self._corner

    def to_input(self, boxes_xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes (n, 4) xyxy in source pixels -> input pixels."""
        boxes = np.asarray(boxes_xyxy, np.float32).reshape(-1, 4)
        boxes = boxes - self._corner
        boxes = turned_boxes(boxes, self.width, self.height, self.quarter_turns)
        boxes[:, 0::2] = boxes[:, 0::2] * self.scale_x + self.pad_x
        boxes[:, 1::2] = boxes[:, 1::2] * self.scale_y + self.pad_y
        return boxes


def turned_boxes(boxes: NDArray[np.float32], width: int, height: int, quarter_turns: int) -> NDArray[np.float32]:
    """Boxes (n, 4) xyxy on a picture of `width` x `height`, where they are once it is turned counter-clockwise."""
    for _ in range(quarter_turns):
        x1, y1, x2, y2 = boxes.T
        boxes = np.stack([y1, width - x2, y2, width - x1], axis=1)
        width, height = height, width
    return boxes


def fit(width: float, height: float, size_px: int) -> tuple[int, int]:
    """Width and height that fit a square of `size_px`, aspect kept, at least 1."""
    longest = max(width, height)
    return max(1, round(width * size_px / longest)), max(1, round(height * size_px / longest))


def preprocess(film: Radiograph, spec: InputSpec) -> tuple[NDArray[np.uint8], Geometry]:
    """Letterbox a film to the network's input.

    Returns
    -------
    (size, size, 1) uint8 grey levels, and the geometry that maps boxes back to the source film.
    """
    size = spec.size_px
    part = film.framing or Framing(0, 0, film.width, film.height)
    pixels = film.pixels if film.framing is None else part.cut(film.pixels, film.width, film.height)
    geometry = Geometry(1.0, 1.0, 0, 0, part.width, part.height, part.left, part.top, part.quarter_turns)
    tall = film.acquisition.pixel_aspect
    across, down = geometry.upright
    width, height = fit(across, down * (1 / tall if part.quarter_turns % 2 else tall), size)
    if pixels.shape != (height, width):
        smaller = pixels.shape[1] > width and pixels.shape[0] >= height
        kind = Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR
        pixels = np.asarray(Image.fromarray(pixels).resize((width, height), kind))
    pad_x, pad_y = (size - width) // 2, (size - height) // 2
    scale_x, scale_y = width / across, height / down
    geometry = replace(geometry, scale_x=scale_x, scale_y=scale_y, pad_x=pad_x, pad_y=pad_y)
    if (width, height) == (size, size):
        return pixels[..., np.newaxis], geometry
    canvas = np.full((size, size, 1), spec.fill, np.uint8)
    canvas[pad_y : pad_y + height, pad_x : pad_x + width, 0] = pixels
    return canvas, geometry
