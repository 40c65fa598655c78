"""A DICOM file -> `Picture` and `Acquisition`: header, door, size, then pixels by the cheapest way that is exact."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_pneumo.edge_runtime import codecs, dicom_header, door, limits
from edge_pneumo.edge_runtime.dicom_header import Header
from edge_pneumo.edge_runtime.grey import COLOUR_SAMPLE_SIDE, LookUp, Picture, Rendering, look_up_bands, render
from edge_pneumo.edge_runtime.radiograph import Acquisition
from edge_pneumo.errors import FilmRefused

AGE_UNITS = {"": 1.0, "Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
SPACINGS = (0x00280030, 0x00181164, 0x00182010, 0x00280034)
"""Pixel Spacing, Imager Pixel Spacing, Nominal Scanned Pixel Spacing, Pixel Aspect Ratio: each down, then across."""
MAX_WINDOWS = 8
SQUARE, MAX_ASPECT = 0.01, 2.5
"""Pixels are square within this; and a header that says that they are longer than so many times is not believed."""


@dataclass(frozen=True)
class Layout:
    """How pixels are stored, from group 0028."""

    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    high_bit: int
    signed: bool
    planar: bool
    photometric: str

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame without compression."""
        return (self.rows * self.columns * self.samples * self.allocated + 7) // 8


def read_dicom(
    data: bytes, name: str, size_px: int | None, deadline: limits.Deadline, *, force: bool
) -> tuple[Picture, Acquisition]:
    """Read one frame of a DICOM file as a grey picture in display polarity.

    Raises
    ------
    FilmRefused : any reason; the header is judged before the pixels are looked for, and sizes before they are decoded.
    """
    header = dicom_header.parse(data, name)
    facts = acquisition(header)
    if header.pixels is None:
        if header.cut:
            raise FilmRefused("truncated", f"{name}: the file ends before its pixels. Copy it again.")
        raise FilmRefused(
            "no-pixels", f"{name}: no Pixel Data (7FE0,0010): a report or index, not a film. Give the film."
        )
    warnings = door.check_header(facts, name, force=force)
    layout = read_layout(header, name)
    limits.check_size(layout.columns, layout.rows, layout.samples * layout.allocated / 8, name)
    how, remarks = rendering(header, layout)
    if size_px is not None:  # of the axis with fewer pixels as many are needed
        size_px = math.ceil(size_px * max(facts.pixel_aspect, 1 / facts.pixel_aspect))
    stored = codecs.decode(header, layout, size_px, deadline)
    pixels, colours = stored.grey, stored.colours
    if layout.photometric == "PALETTE COLOR":
        pixels, colours = from_palette(header, pixels, name)
    elif colours is None:
        fits = layout.signed or int(pixels.max(initial=0)) >> layout.stored == 0
        if not stored.shifted and how.high_bit != layout.stored - 1 and fits:  # else the writer left them at the top
            how = replace(how, high_bit=layout.stored - 1)
        pixels, doubts = render(pixels, how)
        remarks += doubts
    return Picture(pixels, layout.columns, layout.rows, colours, warnings + remarks), facts


def acquisition(header: Header) -> Acquisition:
    """The facts of a header that the door and the report use; nothing that identifies a patient."""
    region, view_code = header.first_item(0x00082218), header.first_item(0x00540220)
    age = re.match(r"(\d{1,3})\s*([YMWD]?)", header.text(0x00101010) or "")
    return Acquisition(
        modality=header.text(0x00080060),
        body_part=header.text(0x00180015) or (region and region.text(0x00080104)),
        view=header.text(0x00185101) or (view_code and view_code.text(0x00080104)),
        sex=header.text(0x00100040),
        age_years=float(age[1]) * AGE_UNITS[age[2]] if age else None,
        photometric=header.text(0x00280004),
        transfer_syntax=header.syntax or None,
        bits_stored=header.integer(0x00280101),
        sop_class_uid=header.text(0x00080016),
        sop_instance_uid=header.text(0x00080018),
        orientation=header.text(0x00200020),
        intent=header.text(0x00080068),
        pixel_aspect=pixel_aspect(header),
        frames=max(1, header.integer(0x00280008) or 1),
    )


def pixel_aspect(header: Header) -> float:
    """Height of a pixel by its width (DICOM PS3.3, 10.7 and C.7.6.3.1.7); 1.0 where the header says nothing that can be
    believed, or next to nothing."""
    for tag in SPACINGS:
        numbers = header.decimals(tag)[:2]
        if len(numbers) == 2 and min(numbers) > 0:
            ratio = numbers[0] / numbers[1]
            return ratio if abs(ratio - 1) > SQUARE and 1 / MAX_ASPECT <= ratio <= MAX_ASPECT else 1.0
    return 1.0


def read_layout(header: Header, name: str) -> Layout:
    """Group 0028, checked.

    Raises
    ------
    FilmRefused : `bad-dimensions` without rows or columns, `unreadable` for bits and samples that cannot be.
    """
    rows, columns = header.integer(0x00280010) or 0, header.integer(0x00280011) or 0
    if rows <= 0 or columns <= 0:
        raise FilmRefused("bad-dimensions", f"{name}: {columns} columns x {rows} rows in its header. Export it again.")
    allocated = header.integer(0x00280100) or 8
    stored = header.integer(0x00280101) or allocated
    samples = header.integer(0x00280002) or 1
    if allocated not in (1, 8, 16, 32) or not 0 < stored <= allocated or samples not in (1, 3):
        raise FilmRefused(
            "unreadable",
            f"{name}: {samples} samples a pixel of {stored} bits in {allocated}; 1 or 3 of 1, 8, 16 or 32 bits are"
            " read. Export it again.",
        )
    high_bit = header.integer(0x00280102)
    return Layout(
        rows=rows,
        columns=columns,
        samples=samples,
        allocated=allocated,
        stored=stored,
        high_bit=high_bit if high_bit is not None and stored - 1 <= high_bit < allocated else stored - 1,
        signed=header.integer(0x00280103) == 1,
        planar=header.integer(0x00280006) == 1,
        photometric=(header.text(0x00280004) or "MONOCHROME2").upper(),
    )


def rendering(header: Header, layout: Layout) -> tuple[Rendering, tuple[str, ...]]:
    """How stored values become grey, and warnings about headers that contradict themselves."""
    warnings: tuple[str, ...] = ()
    slope, intercept = header.decimals(0x00281053)[:1], header.decimals(0x00281052)[:1]
    if slope and slope[0] == 0:
        slope, warnings = (), ("rescale slope 0 makes no sense and is not used",)
    centres, widths = header.decimals(0x00281050), header.decimals(0x00281051)
    windows = tuple((c, w) for c, w in zip(centres, widths, strict=False) if w >= 1 or (w > 0 and w != int(w)))
    padding = header.integer(0x00280120)
    limit = header.integer(0x00280121)
    ends = [
        v * (slope[0] if slope else 1.0) + (intercept[0] if intercept else 0.0) for v in (0, (1 << layout.stored) - 1)
    ]
    span = None if padding is None else tuple(sorted((padding, padding if limit is None else limit)))
    return (
        Rendering(
            allocated=layout.allocated,
            stored=layout.stored,
            high_bit=layout.high_bit,
            signed=layout.signed,
            slope=slope[0] if slope else 1.0,
            intercept=intercept[0] if intercept else 0.0,
            modality_lut=look_up(header.first_item(0x00283000), layout.signed),
            voi_lut=look_up(header.first_item(0x00283010), layout.signed or min(ends) < 0),
            windows=windows[:MAX_WINDOWS],
            window_function=(header.text(0x00281056) or "LINEAR").upper(),
            invert=layout.photometric == "MONOCHROME1",
            padding=span,  # type: ignore[arg-type]
        ),
        warnings,
    )


def look_up(item: Header | None, signed: bool, descriptor: int = 0x00283002, data: int = 0x00283006) -> LookUp | None:
    """A table from its descriptor and data (of a LUT sequence's item); None where it is missing or makes no sense."""
    if item is None:
        return None
    order = "<" if item.little else ">"
    raw = item.raw(descriptor)[:6]
    if len(raw) < 6:
        return None
    count, first, bits = (int(v) for v in np.frombuffer(raw, f"{order}u2"))
    count = count or 65536
    first = first - 65536 if signed and first > 32767 else first
    element = item.elements.get(data)
    raw = b"" if element is None else bytes(item.buffer[element.start : min(element.end, element.start + 2 * count)])
    words = f"{order}u2" if len(raw) >= 2 * count else "u1"
    entries = np.frombuffer(raw[: len(raw) // np.dtype(words).itemsize * np.dtype(words).itemsize], words)
    if len(entries) < count or not 1 <= bits <= 16:
        return None
    bits = max(bits, int(entries.max()).bit_length())
    return LookUp(first, entries[:count].astype(np.float32), bits)


def from_palette(header: Header, indices: NDArray, name: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Luminance (h, w) of a PALETTE COLOR picture, and a sample of its colours.

    Raises
    ------
    FilmRefused : `unreadable` without the three tables (segmented ones are not read: no radiograph has them).
    """
    every = np.arange(256**indices.dtype.itemsize)
    channels = []
    for descriptor, data in ((0x00281101, 0x00281201), (0x00281102, 0x00281202), (0x00281103, 0x00281203)):
        table = look_up(header, signed=False, descriptor=descriptor, data=data)
        if table is None or indices.dtype.itemsize > 2:
            raise FilmRefused("unreadable", f"{name}: PALETTE COLOR without colour tables. Export it as MONOCHROME2.")
        channels.append((table(every) * (255.0 / ((1 << table.bits) - 1))).astype(np.uint8))
    colours = np.stack(channels, axis=1)
    grey = np.asarray(Image.fromarray(colours[np.newaxis]).convert("L"))[0]
    step = max(1, min(indices.shape) // COLOUR_SAMPLE_SIDE)
    return look_up_bands(grey, indices), colours[indices[::step, ::step]]
