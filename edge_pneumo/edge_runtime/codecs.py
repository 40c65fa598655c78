"""Pixels by transfer syntax: native ones as a view of the file, rare codecs by pydicom's plug-ins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.edge_runtime import limits
from edge_pneumo.edge_runtime.dicom_header import Header
from edge_pneumo.errors import FilmRefused

if TYPE_CHECKING:
    from edge_pneumo.edge_runtime.dicom import Layout


def native(header: Header, layout: Layout, name: str) -> tuple[NDArray, NDArray[np.uint8] | None]:
    """The first frame of uncompressed pixels, not copied.

    Raises
    ------
    FilmRefused : `truncated` when the file holds fewer bytes than rows x columns need.
    """
    element = header.pixels
    fragments = header.fragments()
    if fragments:
        held = fragments[0]
    else:
        held = memoryview(b"") if element is None else header.buffer[element.start : element.end]
    if len(held) < layout.frame_bytes:
        raise FilmRefused(
            "truncated",
            f"{name}: {len(held):,} bytes of pixels, {layout.columns} x {layout.rows} pixels need {layout.frame_bytes:,}."
            " Copy it again.",
        )
    held = held[: layout.frame_bytes]
    if layout.allocated == 1:
        bits = np.unpackbits(np.frombuffer(held, np.uint8), bitorder="little")[: layout.rows * layout.columns]
        return bits.reshape(layout.rows, layout.columns), None
    kind = f"{'<' if header.little else '>'}{'i' if layout.signed else 'u'}{layout.allocated // 8}"
    return arrange(np.frombuffer(held, kind), layout)


def arrange(samples: NDArray, layout: Layout) -> tuple[NDArray, NDArray[np.uint8] | None]:
    """Flat samples of one frame -> grey (h, w) as stored, or luminance with colours (h, w, 3) uint8."""
    if layout.samples == 1:
        return samples.reshape(layout.rows, layout.columns), None
    if layout.planar:
        samples = samples.reshape(3, layout.rows, layout.columns).transpose(1, 2, 0)
    samples = samples.reshape(layout.rows, layout.columns, 3)
    colours = (samples >> max(0, layout.stored - 8)).astype(np.uint8)
    return luminance(colours), colours


def luminance(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """ITU-R BT.601 luma (h, w) of colours (h, w, 3)."""
    from PIL import Image

    return np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).convert("L"))


def by_plugin(syntax: str, stream: bytes | memoryview, layout: Layout, name: str, deadline: limits.Deadline):
    raise FilmRefused("unsupported-transfer-syntax", f"{name}: transfer syntax {syntax} is not read.")
