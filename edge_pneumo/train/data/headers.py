"""Header facts of a film, read without its pixels: sex, age, view and size."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Protocol, runtime_checkable

from PIL import Image, UnidentifiedImageError
from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.tag import Tag

_TAGS = {
    "sex": Tag("PatientSex"),
    "age": Tag("PatientAge"),
    "view": Tag("ViewPosition"),
    "rows": Tag("Rows"),
    "columns": Tag("Columns"),
}
_UNREADABLE = (
    *(OSError, ValueError, KeyError, EOFError, NotImplementedError),
    *(InvalidDicomError, UnidentifiedImageError, zipfile.BadZipFile, zlib.error),
)
_AGE = re.compile(r"0*(\d+(?:\.\d+)?)([DWMY]?)$", re.IGNORECASE)
_UNITS_A_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0, "": 1.0}


@dataclass(frozen=True)
class Facts:
    """What is known of a film beside its label. Sizes are in pixels, 0 when unknown."""

    sex: str | None = None
    age_years: float | None = None
    view: str | None = None
    age_text: str = ""  # as stated, for ages that cannot be parsed
    width: int = 0
    height: int = 0


@runtime_checkable
class Opener(Protocol):
    """A source of bytes that can also be read in part."""

    def open(self) -> BinaryIO: ...


def parse_age(text: str) -> float | None:
    """Age in years from DICOM's "032Y", "010M", "003W" or RSNA's bare "32"; None when it is neither."""
    match = _AGE.match(text.strip())
    return float(match[1]) / _UNITS_A_YEAR[match[2].upper()] if match else None


def parse_sex(text: str) -> str | None:
    """ "M", "F" or "O" from the usual spellings; None when not stated."""
    letter = text.strip()[:1].upper()
    return letter if letter in ("M", "F", "O") else None


def read_facts(read: Callable[[], bytes]) -> Facts:
    """Facts of one film; empty ones when its header cannot be read (its pixels will be refused with a reason)."""
    try:
        with read.open() if isinstance(read, Opener) else io.BytesIO(read()) as stream:
            start = stream.read(132)
            stream.seek(0)
            return _dicom_facts(stream) if start[128:] == b"DICM" else _picture_facts(stream)
    except _UNREADABLE:
        return Facts()


def _dicom_facts(stream: BinaryIO) -> Facts:
    header = dcmread(stream, stop_before_pixels=True, specific_tags=list(_TAGS.values()))

    def raw(name: str) -> bytes:
        # The raw element: RSNA's age "32" is not a valid AS, and turning it into one would warn for every film.
        element = header.get_item(_TAGS[name])
        value = element.value if element is not None else b""
        return value if isinstance(value, bytes) else str(value or "").encode()

    def number(name: str) -> int:
        value = raw(name)
        little = header.original_encoding[1] is not False
        return int.from_bytes(value[:2], "little" if little else "big") if len(value) == 2 else 0

    def text(name: str) -> str:
        return raw(name).decode("latin-1").strip(" \0")

    age = text("age")
    return Facts(parse_sex(text("sex")), parse_age(age), text("view") or None, age, number("columns"), number("rows"))


def _picture_facts(stream: BinaryIO) -> Facts:
    with Image.open(stream) as picture:
        return Facts(width=picture.width, height=picture.height)
