"""PNG and JPEG files -> grey pixels. (JPEG inside DICOM shares `jpeg.py`.)"""

from __future__ import annotations

import io
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edge_pneumo.edge_runtime import jpeg, limits
from edge_pneumo.edge_runtime.grey import Picture, Rendering, from_colours, render
from edge_pneumo.errors import FilmRefused

if TYPE_CHECKING:
    from PIL import Image

PNG_CHANNELS = {0: 1, 2: 4, 3: 1, 4: 2, 6: 4}
"""Bytes a pixel that Pillow holds, by PNG colour type (it keeps RGB in four bytes)."""
DRAWN_BY = "edge-pneumo overlay"
"""Software in the PNG files that we draw: boxes and heat in the colours of a film must not be read as another film."""
UPRIGHT = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}
"""How EXIF orientations are undone."""


def read_jpeg(data: bytes, name: str, size_px: int | None) -> Picture:
    """A JPEG file, turned upright by its EXIF orientation.

    Raises
    ------
    FilmRefused : see `jpeg.read_facts`, `jpeg.decode` and `limits.check_size`; 12-bit and lossless JPEG is
        `unsupported-transfer-syntax`.
    """
    facts = jpeg.read_facts(data, name)
    limits.check_size(facts.width, facts.height, 1, name)
    if facts.precision != 8 or facts.process in jpeg.LOSSLESS:
        raise FilmRefused(
            "unsupported-transfer-syntax",
            f"{name}: a {facts.precision}-bit or lossless JPEG file; 8-bit JPEG is read. Convert it to PNG.",
        )
    pixels, colours = jpeg.decode(data, facts, size_px, name)
    return _upright(Picture(pixels, facts.width, facts.height, colours), facts.orientation)


def read_png(data: bytes, name: str) -> Picture:
    """A PNG file of any kind, turned upright by its eXIf chunk; 16-bit grey is shown as a DICOM film of 16 bits.

    Raises
    ------
    FilmRefused : `truncated`, `unreadable`, `too-large` or `bad-dimensions`.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngImageFile

    if len(data) < 33 or data[12:16] != b"IHDR":
        raise FilmRefused("truncated", f"{name}: the PNG ends within its header. Copy it again.")
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    depth, kind = data[24], data[25]
    limits.check_size(width, height, PNG_CHANNELS.get(kind, 4) * (2 if depth == 16 else 1), name)
    try:
        with PngImageFile(io.BytesIO(data)) as picture:
            if picture.info.get("Software") == DRAWN_BY:
                raise FilmRefused("not-a-radiograph", f"{name}: an overlay that was drawn here. Give the film itself.")
            grey = _grey(picture, width, height)
            return _upright(grey, jpeg.exif_orientation(picture.info.get("exif", b"")[len(b"Exif\0\0") :]))
    except (OSError, SyntaxError, ValueError, zlib.error, Image.DecompressionBombError) as error:
        cut = isinstance(error, OSError) and ("truncated" in str(error) or "Truncated" in str(error))
        raise FilmRefused(
            "truncated" if cut else "unreadable",
            f"{name}: the PNG cannot be decoded ({error}). Copy or export it again.",
        ) from error


def _grey(picture: Image.Image, width: int, height: int) -> Picture:
    if picture.mode.startswith("I"):
        deep = np.asarray(picture).astype(np.uint16, copy=False)
        pixels, warnings = render(deep, Rendering(allocated=16, stored=16, high_bit=15))
        return Picture(pixels, width, height, None, warnings)
    if picture.mode in ("1", "L", "LA"):
        return Picture(np.asarray(picture.convert("L")), width, height, None)
    pixels, colours = from_colours(picture)
    return Picture(pixels, width, height, colours)


def _upright(picture: Picture, orientation: int) -> Picture:
    turn = UPRIGHT.get(orientation)
    if turn is None:
        return picture
    across = (picture.height, picture.width) if orientation >= 5 else (picture.width, picture.height)
    return replace(picture, pixels=np.ascontiguousarray(turn(picture.pixels)), width=across[0], height=across[1])
