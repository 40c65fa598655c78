"""JPEG by libjpeg (Pillow): checked before it is decoded, and decoded no larger than needed.

libjpeg can leave out detail while it decodes (the DCT scales 1/2, 1/4, 1/8), which costs a fraction of decoding
everything and shrinking it afterwards. Pillow calls this `draft`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.edge_runtime import limits
from edge_pneumo.edge_runtime.grey import from_colours
from edge_pneumo.errors import FilmRefused

START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
"""0xF7 is JPEG-LS, whose segments are laid out alike."""
LOSSLESS = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
LONE_MARKERS = frozenset({0x01, *range(0xD0, 0xD8)})
EXIF, PHOTOSHOP = 0xE1, 0xED


@dataclass(frozen=True)
class JpegFacts:
    """What the segments before the first scan say. `process` is the start-of-frame marker, 0xC0 for baseline."""

    width: int
    height: int
    components: int
    precision: int
    process: int
    orientation: int
    remarks: tuple[tuple[int, int], ...]
    """Spans of EXIF and Photoshop segments: they bear no pixels, and Pillow would parse them, slowly, with warnings."""


def read_facts(data: bytes | memoryview, name: str) -> JpegFacts:
    """Walk the segments of a JPEG up to its first scan.

    Raises
    ------
    FilmRefused : `unreadable` (no JPEG, or no frame before the scan) or `truncated`.
    """
    view, position, orientation, remarks, frame = memoryview(data), 2, 1, [], None
    if bytes(view[:2]) != b"\xff\xd8":
        raise FilmRefused(
            "unreadable", f"{name}: its JPEG does not begin with a start-of-image marker. Export it again."
        )
    while position + 4 <= len(view):
        if view[position] != 0xFF:
            raise FilmRefused("unreadable", f"{name}: damaged JPEG, no marker at byte {position}. Export it again.")
        marker = view[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker in LONE_MARKERS:
            position += 2
            continue
        if marker in (0xDA, 0xD9):
            break
        length = int.from_bytes(view[position + 2 : position + 4], "big")
        body = view[position + 4 : position + 2 + length]
        if marker in START_OF_FRAME and len(body) >= 6:
            frame = marker, body[0], int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big"), body[5]
        elif marker in (EXIF, PHOTOSHOP):
            remarks.append((position, position + 2 + length))
            if marker == EXIF and bytes(body[:6]) == b"Exif\0\0":
                orientation = exif_orientation(bytes(body[6:]))
        position += 2 + max(length, 2)
    if frame is None:
        reason = "truncated" if position + 4 > len(view) else "unreadable"
        raise FilmRefused(reason, f"{name}: its JPEG ends before the size of the picture. Copy or export it again.")
    process, precision, height, width, components = frame
    return JpegFacts(width, height, components, precision, process, orientation, tuple(remarks))


def exif_orientation(tiff: bytes) -> int:
    """Tag 0x0112 of an EXIF block's first directory, 1 (upright) when it is not there or makes no sense."""
    order = {b"II": "little", b"MM": "big"}.get(tiff[:2])
    if order is None:
        return 1

    def number(start: int, size: int) -> int:
        return int.from_bytes(tiff[start : start + size], order)  # type: ignore[arg-type]

    directory = number(4, 4)
    for entry in range(min(number(directory, 2), 64)):
        start = directory + 2 + 12 * entry
        if number(start, 2) == 0x0112:
            value = number(start + 8, 2)
            return value if 1 <= value <= 8 else 1
    return 1


def decode(
    data: bytes | memoryview, facts: JpegFacts, size_px: int | None, name: str
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Decode an 8-bit DCT JPEG to grey.

    Parameters
    ----------
    data : the whole JPEG. facts : from `read_facts`, already checked against `limits`.
    size_px : side of the square the film will be fitted into; None decodes every pixel.

    Returns
    -------
    Grey (h, w) uint8, and for a colour film a sample of its colours (None for a grey one).

    Raises
    ------
    FilmRefused : `truncated`, `unreadable` or `too-large` (too many scans).
    """
    from PIL import Image
    from PIL.JpegImagePlugin import JpegImageFile

    if facts.process in PROGRESSIVE and bytes(data).count(b"\xff\xda") > limits.MAX_SCANS:
        raise FilmRefused(
            "too-large", f"{name}: over {limits.MAX_SCANS} scans in its JPEG. Export it as baseline JPEG."
        )
    for start, end in reversed(facts.remarks):
        data = b"".join((data[:start], data[end:]))
    try:
        # The plug-in itself, not Image.open: no search for formats, no warnings about sizes we have checked already.
        with JpegImageFile(io.BytesIO(data)) as picture:
            if size_px is not None:
                scale = size_px / max(facts.width, facts.height)
                wanted = max(1, round(facts.width * scale)), max(1, round(facts.height * scale))
                picture.draft(None, wanted)  # type: ignore[arg-type]
            if picture.mode == "L":
                grey = np.frombuffer(picture.tobytes(), np.uint8)  # what asarray does, without its detours
                return grey.reshape(picture.height, picture.width), None
            return from_colours(picture)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        cut = "truncated" in str(error)
        raise FilmRefused(
            "truncated" if cut else "unreadable",
            f"{name}: its JPEG cannot be decoded ({error}). Copy or export it again.",
        ) from error
