"""Compressed and uncompressed pixels -> stored values, by transfer syntax.

uncompressed, deflated          a view of the file                        base install
JPEG Baseline, Extended 8 bit   Pillow, at the smallest sufficient scale  base install (`jpeg.py`)
JPEG Lossless                   numpy                                     base install (`jpeg_lossless.py`)
RLE                             bounded PackBits                          base install (`rle.py`)
JPEG 2000                       Pillow or pylibjpeg-openjpeg, in a child  base install where Pillow has OpenJPEG
HTJ2K, JPEG-LS                  pylibjpeg-openjpeg, pyjpegls, in a child  extra `dicom`
JPEG Extended 12 bit            pylibjpeg-libjpeg (GPL), in a child       installed by the user
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.edge_runtime import jpeg, limits
from edge_pneumo.edge_runtime.dicom_header import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, Header
from edge_pneumo.edge_runtime.grey import from_colours
from edge_pneumo.errors import FilmRefused, MissingExtra

if TYPE_CHECKING:
    from edge_pneumo.edge_runtime.dicom import Layout

NATIVE = frozenset({"", IMPLICIT_LITTLE, EXPLICIT_LITTLE, DEFLATED, EXPLICIT_BIG, "1.2.840.10008.1.2.1.98"})
JPEG_DCT = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"})
JPEG_LOSSLESS = frozenset({"1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"})
JPEG_LS = frozenset({"1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"})
JPEG_2000 = frozenset({"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"})
HTJ2K = frozenset({"1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"})
DEFLATED_FRAME = "1.2.840.10008.1.2.8.1"
RLE = "1.2.840.10008.1.2.5"
ROWS_AT_ONCE = 512
J2K_START = b"\xff\x4f\xff\x51"
END_OF_IMAGE = b"\xff\xd9"


@dataclass(frozen=True)
class Stored:
    """Pixels of one frame: grey (h, w), stored values or grey levels; a sample of the colours where there are any.

    `shifted` says that values lie below `high_bit` as the header has it; codecs give them at the bottom of the word.
    """

    grey: NDArray
    colours: NDArray[np.uint8] | None = None
    shifted: bool = False


def decode(header: Header, layout: Layout, size_px: int | None, deadline: limits.Deadline) -> Stored:
    """Decode the first frame, after checking that the compressed picture is as large as the header says.

    Parameters
    ----------
    size_px : side of the network's input; JPEG may be decoded at a lower scale that is still sufficient.

    Raises
    ------
    FilmRefused : `truncated`, `unreadable`, `bad-dimensions`, `too-large`, `timeout`, or
        `unsupported-transfer-syntax`, which names the package to install where one helps.
    """
    syntax, name = header.syntax, deadline.name
    if syntax in NATIVE:
        return from_samples(_native_frame(header, layout, name), layout, header.little)
    stream = _code_stream(header, name)
    if syntax == DEFLATED_FRAME:
        frame = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream, layout.frame_bytes)
        return from_samples(_whole(memoryview(frame), layout, name), layout, little=True)
    if syntax == RLE:
        from edge_pneumo.edge_runtime import rle

        sample_bytes = (layout.allocated + 7) // 8
        pixels = layout.rows * layout.columns if layout.allocated > 1 else (layout.rows * layout.columns + 7) // 8
        planes = rle.decode(stream, pixels, layout.samples, sample_bytes, deadline)
        return from_samples(memoryview(planes), layout, little=True, planar=True)
    if syntax in JPEG_DCT | JPEG_LOSSLESS | JPEG_LS:
        facts = jpeg.read_facts(stream, name)
        _check_stream(facts.width, facts.height, layout, name)
        if facts.process in jpeg.LOSSLESS and syntax not in JPEG_LS:
            from edge_pneumo.edge_runtime import jpeg_lossless

            return from_array(jpeg_lossless.decode(stream, deadline), layout)
        if facts.precision == 8 and syntax in JPEG_DCT:
            return Stored(*jpeg.decode(stream, facts, size_px, name))
        if syntax in JPEG_LS and END_OF_IMAGE not in bytes(stream):  # CharLS searches for it without end
            raise FilmRefused("truncated", f"{name}: its JPEG-LS pixels have no end. Copy it again.")
    elif syntax in JPEG_2000 | HTJ2K:
        _check_stream(*_jpeg_2000_size(stream, name), layout, name)
    return _by_plugin(syntax, stream, layout, deadline)


def _native_frame(header: Header, layout: Layout, name: str) -> memoryview:
    """The bytes of the first uncompressed frame, not copied."""
    element, fragments = header.pixels, header.fragments()
    if fragments:
        held = fragments[0]
    else:
        held = memoryview(b"") if element is None else header.buffer[element.start : element.end]
    return _whole(held, layout, name)


def _whole(held: memoryview, layout: Layout, name: str) -> memoryview:
    """As many bytes as a frame needs."""
    if len(held) < layout.frame_bytes:
        raise FilmRefused(
            "truncated",
            f"{name}: {len(held):,} bytes of pixels; {layout.columns} x {layout.rows} pixels need"
            f" {layout.frame_bytes:,}. Copy it again.",
        )
    return held[: layout.frame_bytes]


def _code_stream(header: Header, name: str) -> bytes | memoryview:
    """The compressed bytes of the first frame."""
    fragments = header.fragments()
    if not fragments or not len(fragments[0]):
        raise FilmRefused("truncated", f"{name}: its compressed Pixel Data is empty. Copy or export it again.")
    if len(fragments) == 1 or (header.integer(0x00280008) or 1) > 1:
        return fragments[0]
    return b"".join(fragments)


def from_samples(frame: memoryview, layout: Layout, little: bool, planar: bool | None = None) -> Stored:
    """The bytes of one uncompressed frame as pixels; `planar` None: as the header says."""
    if layout.allocated == 1:
        bits = np.unpackbits(np.frombuffer(frame, np.uint8), bitorder="little")[: layout.rows * layout.columns]
        return Stored(bits.reshape(layout.rows, layout.columns), shifted=True)
    kind = f"{'<' if little else '>'}{'i' if layout.signed else 'u'}{layout.allocated // 8}"
    samples = np.frombuffer(frame, kind)
    if layout.samples == 1:
        return Stored(samples.reshape(layout.rows, layout.columns), shifted=True)
    if layout.photometric == "YBR_FULL_422":
        return Stored(samples.reshape(layout.rows, layout.columns, 2)[..., 0].astype(np.uint8))
    if layout.planar if planar is None else planar:
        colours = samples.reshape(3, layout.rows, layout.columns).transpose(1, 2, 0)
    else:
        colours = samples.reshape(layout.rows, layout.columns, 3)
    return from_array(colours, layout, is_ybr=layout.photometric.startswith("YBR"))


def from_array(array: NDArray, layout: Layout, is_ybr: bool = False) -> Stored:
    """Decoded samples (h, w), (h, w, 1) or (h, w, 3) as pixels; colours are cut to their upper 8 bits."""
    if array.ndim == 2 or array.shape[2] == 1:
        return Stored(array.reshape(array.shape[:2]))
    from PIL import Image

    grey, samples = np.empty(array.shape[:2], np.uint8), []
    for top in range(0, len(array), ROWS_AT_ONCE):  # in bands: a film in colour should not be held three times
        band = np.ascontiguousarray((array[top : top + ROWS_AT_ONCE] >> max(0, layout.stored - 8)).astype(np.uint8))
        picture = Image.frombuffer("YCbCr" if is_ybr else "RGB", band.shape[1::-1], band, "raw")
        grey[top : top + ROWS_AT_ONCE], sample = from_colours(picture)
        samples.append(sample)
    return Stored(grey, np.concatenate(samples))


def _check_stream(width: int, height: int, layout: Layout, name: str) -> None:
    """Refuse compressed pixels that are not the size the header says: boxes would lie in the wrong place."""
    if (width, height) != (layout.columns, layout.rows):
        raise FilmRefused(
            "bad-dimensions",
            f"{name}: the header says {layout.columns} x {layout.rows} pixels, the compressed picture has {width} x"
            f" {height}. Export it again.",
        )


def _jpeg_2000_size(stream: bytes | memoryview, name: str) -> tuple[int, int]:
    """Width and height of a JPEG 2000 code stream (ITU-T T.800 A.5.1), bare or in a JP2 file."""
    head = bytes(stream[:65536])
    start = head.find(J2K_START)
    if start < 0 or len(head) < start + 40:
        raise FilmRefused(
            "truncated", f"{name}: its JPEG 2000 pixels end within their header. Copy or export it again."
        )
    right, bottom, left, top = (int.from_bytes(head[start + 8 + i : start + 12 + i], "big") for i in (0, 4, 8, 12))
    return right - left, bottom - top


def missing_package(syntax: str) -> str | None:
    """What to install so that a syntax is read, as a sentence; None when nothing is missing.

    Raises
    ------
    KeyError : no package reads this syntax.
    """
    if syntax in JPEG_DCT:
        wanted = "12-bit JPEG needs pylibjpeg-libjpeg (GPL), which is not installed. Run: pip install pylibjpeg-libjpeg"
        return None if find_spec("libjpeg") else wanted
    if find_spec("gdcm") is not None and syntax not in HTJ2K:
        return None
    if syntax in JPEG_2000 and _pillow_has_openjpeg():
        return None
    module, package = {
        **dict.fromkeys(JPEG_2000 | HTJ2K, ("openjpeg", "pylibjpeg-openjpeg")),
        **dict.fromkeys(JPEG_LS, ("jpeg_ls", "pyjpegls")),
    }[syntax]
    return None if find_spec(module) else str(MissingExtra(f"transfer syntax {syntax}", package, "dicom"))


def _pillow_has_openjpeg() -> bool:
    from PIL import features

    return bool(features.check("jpg_2000"))


def _by_plugin(syntax: str, stream: bytes | memoryview, layout: Layout, deadline: limits.Deadline) -> Stored:
    name = deadline.name
    if syntax not in JPEG_DCT | JPEG_LS | JPEG_2000 | HTJ2K:
        raise FilmRefused(
            "unsupported-transfer-syntax", f"{name}: transfer syntax {syntax} is not read. Export it uncompressed."
        )
    missing = missing_package(syntax)
    if missing:
        raise FilmRefused("unsupported-transfer-syntax", f"{name}: {missing}")
    if layout.rows * layout.columns > limits.MAX_CODEC_PIXELS:
        raise FilmRefused(
            "too-large",
            f"{name}: {layout.columns} x {layout.rows} pixels; of this transfer syntax at most"
            f" {limits.MAX_CODEC_PIXELS:,} pixels are read. Export it uncompressed.",
        )
    from edge_pneumo.edge_runtime.codec_pool import POOL

    options = {
        "rows": layout.rows,
        "columns": layout.columns,
        "samples_per_pixel": layout.samples,
        "bits_allocated": layout.allocated,
        "bits_stored": layout.stored,
        "pixel_representation": int(layout.signed),
        "photometric_interpretation": layout.photometric,
        "planar_configuration": int(layout.planar),
        "number_of_frames": 1,
        "pixel_keyword": "PixelData",
    }
    return from_array(POOL.decode(syntax, stream, options, deadline), layout)
