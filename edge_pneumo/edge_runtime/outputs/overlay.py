"""The overlay: the film with the boxes, the heat map from the detector's own centre map, and a caption."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from edge_pneumo.edge_runtime.decode import RawOutputs, sigmoid
from edge_pneumo.edge_runtime.files import atomic_write
from edge_pneumo.edge_runtime.preprocess import Geometry
from edge_pneumo.edge_runtime.radiograph import Radiograph
from edge_pneumo.edge_runtime.raster import DRAWN_BY
from edge_pneumo.edge_runtime.result import FilmResult

if TYPE_CHECKING:
    from edge_pneumo.edge_runtime.decode import Box
    from edge_pneumo.edge_runtime.predict import Examination, FilmSource

MAX_SIDE_PX = 1024  # the film's longer side in the picture
MIN_SIDE_PX = 512  # smaller films are enlarged, so that the text has room
DISCLAIMER = "research use only - not a medical device"

_CYAN, _INK, _PAPER, _GREY = (64, 224, 255), (12, 14, 18), (240, 240, 240), (165, 170, 180)
# position in 0..1, red, green, blue, opacity in 0..1: dark to bright like the score, so that it reads in grey print too
_HEAT_STOPS = np.array(
    [
        (0.00, 70, 10, 110, 0.00),
        (0.05, 90, 15, 110, 0.12),
        (0.30, 190, 50, 80, 0.38),
        (0.60, 245, 130, 30, 0.50),
        (1.00, 255, 240, 130, 0.60),
    ]
)


def heat_map(examination: Examination, size: tuple[int, int]) -> NDArray[np.float32]:
    """Where the network looked: the score a box centred at each pixel of the film would get.

    Parameters
    ----------
    size : (width, height) of the map in pixels; the film's own, or fewer.

    Returns
    -------
    (height, width) float32 in 0..1, interpolated linearly between cells; 0 in borders that the network was not shown.
    """
    film, where = examination.film, examination.geometry
    x1, x2 = (int(size[0] * edge / film.width) for edge in (where.left, where.left + where.width))
    y1, y2 = (int(size[1] * edge / film.height) for edge in (where.top, where.top + where.height))
    whole = np.zeros(size[::-1], np.float32)
    if x2 > x1 and y2 > y1:
        probability = examination.result.probability or 0.0
        whole[y1:y2, x1:x2] = heat_of_part(examination.raw, where, probability, (x2 - x1, y2 - y1))
    return whole


def heat_of_part(raw: RawOutputs, geometry: Geometry, probability: float, size: tuple[int, int]) -> NDArray[np.float32]:
    """The map of the part of a film that the network was shown, as it lies on the film.

    Parameters
    ----------
    raw : the network's outputs; its `heat` grid covers the square input.
    geometry : where that part lies in the square.
    probability : of the film, in 0..1; a box's score is sigmoid(heat) x probability.
    size : (width, height) of the map in pixels.
    """
    cells_y, cells_x = raw.heat.shape
    film_w, film_h = geometry.upright[0] * geometry.scale_x, geometry.upright[1] * geometry.scale_y
    side = max(film_w, film_h)  # the letterbox fits the longer side exactly
    per_x, per_y = cells_x / side, cells_y / side
    left, top = geometry.pad_x * per_x, geometry.pad_y * per_y
    area = (left, top, min(cells_x, left + film_w * per_x), min(cells_y, top + film_h * per_y))
    scores = Image.fromarray((np.asarray(sigmoid(raw.heat)) * probability).astype(np.float32))
    upright = (size[1], size[0]) if geometry.quarter_turns % 2 else size
    shown = np.asarray(scores.resize(upright, Image.Resampling.BILINEAR, box=area)).clip(0, 1)
    return np.rot90(shown, -geometry.quarter_turns)


def draw_overlay(film: Radiograph, result: FilmResult, scores: NDArray[np.float32] | None = None) -> Image.Image:
    """Draw a picture that explains a result.

    Parameters
    ----------
    film : the film in display polarity, at the resolution to show.
    result : an answered film; boxes in source pixels.
    scores : (h, w) heat map in 0..1 of any size, or None for none.

    Returns
    -------
    RGB picture: the film with its longer side in 512..1024 pixels, and a caption below it.
    """
    scale = min(max(max(film.width, film.height), MIN_SIDE_PX), MAX_SIDE_PX) / max(film.width, film.height)
    size = max(1, round(film.width * scale)), max(1, round(film.height * scale))
    picture = Image.fromarray(film.pixels).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0).convert("RGB")
    if scores is not None:
        picture.paste(_coloured(scores).resize(size, Image.Resampling.BILINEAR), mask=_opacity(scores, size))
    draw = ImageDraw.Draw(picture)
    for box in reversed(result.boxes):  # the best box is drawn last, on top
        _draw_box(draw, box, (size[0] / film.width, size[1] / film.height), size)
    return _with_caption(picture, result, heat=scores is not None)


def render_overlay(source: FilmSource, examination: Examination, *, heat: bool = True) -> Image.Image:
    """The overlay of an examined film. The film is read again where the network needed fewer pixels than eyes do."""
    from edge_pneumo.edge_runtime.radiograph import read_radiograph

    result, film = examination.result, examination.film
    if max(film.pixels.shape) < min(MAX_SIDE_PX, max(film.width, film.height)):
        film = read_radiograph(source, size_px=MAX_SIDE_PX, name=result.file, force=True)
    scores = None
    if heat:
        longest = max(film.width, film.height)
        grid = max(MIN_SIDE_PX * film.width // longest, 1), max(MIN_SIDE_PX * film.height // longest, 1)
        scores = heat_map(examination, grid)
    return draw_overlay(film, result, scores)


def write_overlay(path: str | Path, source: FilmSource, examination: Examination, *, heat: bool = True) -> None:
    """Write the overlay as PNG.

    Raises
    ------
    WriteFailed : no space or no permission; nothing is left under `path`.
    """
    picture = render_overlay(source, examination, heat=heat)
    marks = PngInfo()
    marks.add_text("Software", DRAWN_BY)
    with atomic_write(path) as stream:
        # compression level 6 takes far longer, for a few per cent fewer bytes
        picture.save(stream, "PNG", pnginfo=marks, compress_level=3)


def _levels(scores: NDArray[np.float32], column: int) -> NDArray[np.float64]:
    return np.interp(scores, _HEAT_STOPS[:, 0], _HEAT_STOPS[:, column])


def _coloured(scores: NDArray[np.float32]) -> Image.Image:
    return Image.fromarray(np.stack([_levels(scores, c) for c in (1, 2, 3)], axis=-1).astype(np.uint8))


def _opacity(scores: NDArray[np.float32], size: tuple[int, int]) -> Image.Image:
    alpha = Image.fromarray((_levels(scores, 4) * 255).astype(np.uint8))
    return alpha.resize(size, Image.Resampling.BILINEAR)


def _draw_box(draw: ImageDraw.ImageDraw, box: Box, scale: tuple[float, float], size: tuple[int, int]) -> None:
    line = max(2, max(size) // 350)
    x1, y1 = box.x1 * scale[0], box.y1 * scale[1]
    x2, y2 = box.x2 * scale[0], box.y2 * scale[1]
    # the dark edge keeps the line visible on white
    draw.rectangle((x1 - line, y1 - line, x2 + line, y2 + line), outline=_INK, width=3 * line)
    draw.rectangle((x1, y1, x2, y2), outline=_CYAN, width=line)
    font = ImageFont.load_default(max(12, max(size) // 48))
    text = f"{box.score:.2f}"
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 4 * line, bottom - top + 4 * line
    tag_x = min(max(0, x1), size[0] - width)
    tag_y = y1 - height if y1 >= height else y1 + line  # above the box, or inside it at the film's edge
    draw.rectangle((tag_x, tag_y, tag_x + width, tag_y + height), fill=_CYAN)
    draw.text((tag_x + 2 * line - left, tag_y + 2 * line - top), text, font=font, fill=_INK)


def _with_caption(picture: Image.Image, result: FilmResult, *, heat: bool) -> Image.Image:
    """The picture with two lines of text and the heat map's scale below, and what the user was warned of."""
    finding, model = result.finding, result.model
    if finding is None or model is None:
        raise ValueError("a refused film has no overlay")
    words = "opacity" if finding.decision == "opacity" else "no opacity"
    first = f"{words}: probability {finding.probability:.2f}, threshold {finding.threshold:.2f}"
    second = f"{DISCLAIMER} · {model.name} {model.version}"
    width = picture.width
    margin = max(8, width // 64)
    bar = max(60, width // 8) if heat else 0
    room = width - 2 * margin - (bar + 2 * margin if heat else 0)
    big = _fitting(first, room, max(16, max(picture.size) // 36))
    small = _fitting(second, room, max(12, max(picture.size) // 52))
    line_height = [int(font.size * 1.4) for font in (big, small)]
    warned = ImageFont.load_default(max(12, max(picture.size) // 60))
    lines = [line for sentence in result.warnings for line in _wrapped(f"! {sentence}", warned, width - 2 * margin)]
    step = int(warned.size * 1.3)  # type: ignore[union-attr]
    height = sum(line_height) + len(lines) * step + 2 * margin
    canvas = Image.new("RGB", (width, picture.height + height), _INK)
    canvas.paste(picture, (0, 0))
    draw = ImageDraw.Draw(canvas)
    top = picture.height + margin
    draw.text((margin, top), first, font=big, fill=_CYAN if finding.decision == "opacity" else _PAPER)
    draw.text((margin, top + line_height[0]), second, font=small, fill=_GREY)
    for k, line in enumerate(lines):
        draw.text((margin, top + sum(line_height) + k * step), line, font=warned, fill=_PAPER)
    if heat:
        _draw_scale(canvas, (width - margin - bar, top, width - margin, top + line_height[0]), small)
    return canvas


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """The text in lines that fit `width` pixels, broken between words."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _draw_scale(canvas: Image.Image, area: tuple[int, int, int, int], font: ImageFont.FreeTypeFont) -> None:
    """A colour bar from score 0 to 1, its colours as they look on a dark film."""
    left, top, right, bottom = area
    ramp = np.linspace(0, 1, right - left, dtype=np.float32)[None].repeat(max(4, (bottom - top) // 2), axis=0)
    canvas.paste(_coloured(ramp), (left, top + (bottom - top) // 4))
    draw = ImageDraw.Draw(canvas)
    draw.text((left, bottom), "0", font=font, fill=_GREY)
    draw.text(((left + right) / 2, bottom), "score", font=font, fill=_GREY, anchor="ma")
    draw.text((right, bottom), "1", font=font, fill=_GREY, anchor="ra")


def _fitting(text: str, width: int, size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own scalable font, at most `size` px high and small enough for `text` to fit `width`."""
    font = ImageFont.load_default(size)
    length = font.getlength(text)
    if length > width:
        font = ImageFont.load_default(max(6, int(size * width / length)))
    return font  # type: ignore[return-value]
