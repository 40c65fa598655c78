"""The header of a DICOM file: where the pixels are, and the few facts about them that matter. No pixel is touched.

Why not pydicom here: hostile or damaged bytes must neither raise, hang, copy gigabytes (deflate) nor print warnings
(RSNA's ages are "32"), and importing pydicom costs as much time as reading thirty films. Tests hold this reader against
pydicom.
Values are kept as spans of the file; names and other identifiers of the patient are never decoded.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

from edge_pneumo.edge_runtime import limits
from edge_pneumo.errors import FilmRefused

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"

UNDEFINED = 0xFFFFFFFF
LONG_LENGTH = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
TRANSFER_SYNTAX = 0x00020010
PIXELS, FLOAT_PIXELS, DOUBLE_PIXELS = 0x7FE00010, 0x7FE00008, 0x7FE00009
MAX_DEPTH = 32


class Element(NamedTuple):
    """One data element: `start` and `end` of its value in the buffer; `cut` where the file ends within the value."""

    tag: int
    vr: bytes
    start: int
    end: int
    encapsulated: bool = False
    cut: bool = False


@dataclass(frozen=True)
class Header:
    """Top-level elements of a data set by tag, over the (inflated) bytes of the file."""

    buffer: memoryview
    syntax: str
    little: bool
    explicit: bool
    elements: dict[int, Element]
    cut: bool

    @property
    def pixels(self) -> Element | None:
        """The Pixel Data element, if there is one."""
        return self.elements.get(PIXELS)

    def raw(self, tag: int) -> bytes:
        """The bytes of a value, empty when there is none (at most 64 KiB of it: no fact is longer)."""
        element = self.elements.get(tag)
        return b"" if element is None else bytes(self.buffer[element.start : min(element.end, element.start + 65536)])

    def text(self, tag: int) -> str | None:
        """A value as text without padding; None when missing or empty. Only for tags whose values are plain ASCII."""
        return self.raw(tag).decode("ascii", "replace").strip(" \0") or None

    def integer(self, tag: int) -> int | None:
        """A value as one integer, whatever value representation the file claims for it; None when it is none."""
        raw = self.raw(tag)
        element = self.elements.get(tag)
        if element is not None and element.vr not in (b"IS", b"DS") and len(raw) in (2, 4):
            return int.from_bytes(raw, "little" if self.little else "big", signed=element.vr in (b"SS", b"SL"))
        match = re.match(rb"\s*([+-]?\d{1,10})(?:\.0*)?\s*(?:\\|\0|$)", raw)
        return int(match[1]) if match else None

    def decimals(self, tag: int) -> tuple[float, ...]:
        """The finite numbers of a decimal string (or a binary float value), as many as come before a bad one."""
        element, numbers = self.elements.get(tag), []
        raw = self.raw(tag)
        if element is not None and element.vr in (b"FD", b"FL"):
            size, code = (8, "d") if element.vr == b"FD" else (4, "f")
            order = "<" if self.little else ">"
            values = (v[0] for v in struct.iter_unpack(order + code, raw[: len(raw) // size * size]))
            return tuple(takewhile(math.isfinite, values))
        for part in raw.decode("ascii", "replace").split("\\"):
            try:
                number = float(part.strip(" \0"))
            except ValueError:
                break
            if not math.isfinite(number):
                break
            numbers.append(number)
        return tuple(numbers)

    def first_item(self, tag: int) -> Header | None:
        """The first item of a sequence, as a header of its own; None when missing or empty."""
        element = self.elements.get(tag)
        if element is None or element.end - element.start < 8:
            return None
        order = "<" if self.little else ">"
        group, number, length = struct.unpack_from(order + "HHI", self.buffer, element.start)
        if (group << 16 | number) != ITEM:
            return None
        start = element.start + 8
        end = element.end if length == UNDEFINED else min(element.end, start + length)
        elements, cut = _collect(self.buffer, start, end, self.explicit and element.vr != b"UN", self.little, "")
        return Header(self.buffer, self.syntax, self.little, self.explicit, elements, cut)

    def fragments(self) -> list[memoryview]:
        """The fragments of encapsulated pixel data, without the offset table; the last may be cut short."""
        element, found = self.pixels, []
        if element is None or not element.encapsulated:
            return []
        position = element.start
        while position + 8 <= element.end:
            group, number, length = struct.unpack_from("<HHI", self.buffer, position)
            if (group << 16 | number) != ITEM:
                break
            found.append(self.buffer[position + 8 : min(element.end, position + 8 + length)])
            position += 8 + length
        return found[1:]


def looks_like_dicom(data: bytes | memoryview) -> bool:
    """Whether bytes are a DICOM file, with its preamble or (as older exports have it) without."""
    if bytes(data[128:132]) == b"DICM":
        return True
    if len(data) < 12 or bytes(data[:4]) not in _FIRST_TAGS:
        return False
    vr, length = bytes(data[4:6]), int.from_bytes(data[4:8], "little")
    return (vr.isalpha() and vr.isupper()) or length < 1024


_FIRST_TAGS = frozenset(
    struct.pack(order + "HH", group, number)
    for order in "<>"
    for group, number in (
        (2, 0),
        (2, 1),
        (2, 2),
        (2, 0x10),
        (8, 0),
        (8, 1),
        (8, 5),
        (8, 8),
        (8, 0x12),
        (8, 0x16),
        (8, 0x18),
    )
)


def parse(data: bytes, name: str) -> Header:
    """Read the header of a DICOM file.

    Raises
    ------
    FilmRefused : `not-dicom`, `truncated`, `too-large` (deflate that swells, too many elements), `unreadable`.
    """
    if data[:2] == b"PK":
        raise FilmRefused(
            "not-dicom",
            f"{name}: a zip file within a zip file, or a damaged or empty one. Unpack it, or copy it again.",
        )
    if not looks_like_dicom(data):
        raise FilmRefused(
            "not-dicom", f"{name}: neither DICOM, PNG nor JPEG. Give a radiograph in one of these formats."
        )
    view = memoryview(data)
    position = 132 if bytes(view[128:132]) == b"DICM" else 0
    syntax = ""
    for element in _Walk(view, len(view), True, True, name).elements(position):
        if element.tag >> 16 != 2:
            break
        if element.tag == TRANSFER_SYNTAX:
            syntax = bytes(view[element.start : element.end]).decode("ascii", "replace").strip(" \0")
        position = element.end
    if position >= len(view):
        raise FilmRefused("truncated", f"{name}: the file ends after its first header. Copy it again.")
    syntax = syntax or _guess_syntax(view, position)
    if syntax == DEFLATED:
        view, position = memoryview(_inflate(view[position:], name)), 0
    little, explicit = syntax != EXPLICIT_BIG, syntax != IMPLICIT_LITTLE
    if explicit and not bytes(view[position + 4 : position + 6]).isalpha() and little:
        explicit = False  # the file meta information lies; seen in the wild
    elements, cut = _collect(view, position, len(view), explicit, little, name)
    return Header(view, syntax, little, explicit, elements, cut)


def _guess_syntax(view: memoryview, position: int) -> str:
    big = view[position] == 0 and view[position + 1 : position + 2] == b"\x08"
    if not bytes(view[position + 4 : position + 6]).isalpha():
        return IMPLICIT_LITTLE
    return EXPLICIT_BIG if big else EXPLICIT_LITTLE


def _inflate(packed: memoryview, name: str) -> bytes:
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = engine.decompress(packed, limits.MAX_FILE_BYTES)
    except zlib.error as error:
        raise FilmRefused(
            "unreadable", f"{name}: its deflated data set is damaged ({error}). Copy it again."
        ) from error
    if engine.unconsumed_tail:
        raise FilmRefused(
            "too-large", f"{name}: inflates to over {limits.MAX_FILE_BYTES:,} bytes. Export it as JPEG or smaller."
        )
    return data


def _collect(
    view: memoryview, start: int, end: int, explicit: bool, little: bool, name: str
) -> tuple[dict[int, Element], bool]:
    """Elements by tag, and whether the bytes ended within one. Nothing after the pixels is of interest."""
    elements: dict[int, Element] = {}
    for element in _Walk(view, end, explicit, little, name).elements(start):
        if element.tag == ITEM_END:
            break
        elements.setdefault(element.tag, element)
        if element.tag == PIXELS or element.cut:
            return elements, element.cut
    return elements, False


class _Walk:
    """One pass over data elements, which remembers how many there were: a file of ten million must not hang."""

    def __init__(self, view: memoryview, end: int, explicit: bool, little: bool, name: str) -> None:
        order = "<" if little else ">"
        self.view, self.end, self.explicit, self.name = view, end, explicit, name
        self.start = struct.Struct(order + "HH2sH").unpack_from
        self.long = struct.Struct(order + "I").unpack_from
        self.left = limits.MAX_ELEMENTS

    def head(self, position: int, explicit: bool) -> tuple[int, bytes, int, int]:
        """Tag, value representation (empty: implicit), length of the value and where it starts."""
        self.left -= 1
        if self.left < 0:
            raise FilmRefused(
                "unreadable", f"{self.name}: over {limits.MAX_ELEMENTS:,} elements in its header. Export it again."
            )
        group, number, vr, short = self.start(self.view, position)
        tag = group << 16 | number
        if not explicit or group == 0xFFFE:
            return tag, b"", self.long(self.view, position + 4)[0], position + 8
        if vr in LONG_LENGTH:
            if position + 12 > self.end:
                return tag, vr, self.end, position + 8
            return tag, vr, self.long(self.view, position + 8)[0], position + 12
        if vr.isalpha():
            return tag, vr, short, position + 8
        # A value representation that is none: then four bytes of length follow the tag.
        return tag, vr, self.long(self.view, position + 4)[0], position + 8

    def elements(self, position: int) -> Iterator[Element]:
        """Top-level elements; values are skipped, sequences of undefined length are walked to their end."""
        while position + 8 <= self.end:
            tag, vr, length, start = self.head(position, self.explicit)
            if length == UNDEFINED:
                position, whole = self.skip_items(start, self.explicit and vr != b"UN", 0)
                yield Element(tag, vr, start, position, tag == PIXELS, not whole and tag != PIXELS)
            else:
                position = start + length
                yield Element(tag, vr, start, min(self.end, position), False, position > self.end)

    def skip_items(self, position: int, explicit: bool, depth: int) -> tuple[int, bool]:
        """End of a sequence (or of encapsulated pixels) of undefined length, and whether its delimiter was there."""
        while position + 8 <= self.end:
            tag, _, length, position = self.head(position, explicit=False)
            if tag == SEQUENCE_END:
                return position, True
            if tag != ITEM or depth > MAX_DEPTH:
                return self.end, False
            position = self.skip_item(position, explicit, depth + 1) if length == UNDEFINED else position + length
        return self.end, False

    def skip_item(self, position: int, explicit: bool, depth: int) -> int:
        """End of an item of undefined length: past its delimiter."""
        while position + 8 <= self.end:
            tag, vr, length, position = self.head(position, explicit)
            if tag == ITEM_END:
                return position
            if length == UNDEFINED:
                position, _ = self.skip_items(position, explicit and vr != b"UN", depth)
            else:
                position += length
        return self.end
