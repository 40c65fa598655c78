"""What DICOM outputs need to know of the film they speak of: its patient, study and identity, made valid.

Tolerant on read, strict on write: headers in the field carry ages like "32", dates like "1901", names in any character
set and identifiers that are too long. What can be mended is mended, what cannot is left empty, and a film that nothing
can refer to is refused.
"""

from __future__ import annotations

import math
import re
import uuid
import warnings
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_pneumo.edge_runtime.sources import Source
from edge_pneumo.errors import InputRefused

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from edge_pneumo.edge_runtime.predict import FilmSource

# Patient, General Study, Patient Study; what every new object of the study repeats. Empty where the film has nothing.
REPEATED = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "StudyID",
    "ReferringPhysicianName",
)
REPEATED_IF_THERE = (
    "IssuerOfPatientID",
    "PatientAge",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "StudyDescription",
)
# How the film is shown, and what the outputs' image modules must say of it.
IMAGE = (
    "Modality",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "ModalityLUTSequence",
    "WindowCenter",
    "WindowWidth",
    "WindowCenterWidthExplanation",
    "VOILUTFunction",
    "VOILUTSequence",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "PatientOrientation",
    "BodyPartExamined",
    "ViewPosition",
    "Laterality",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
IDENTITY = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")

_LONGEST = {"SH": 16, "CS": 16, "LO": 64, "PN": 64}  # PS3.5 table 6.2-1, characters
_PATTERNS = {
    "DA": r"(?:1[89]|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])",
    "TM": r"(?:[01]\d|2[0-3])(?:[0-5]\d(?:[0-5]\d(?:\.\d{1,6})?)?)?",
    "CS": r"[A-Z0-9_ ]{1,16}",
}
_NUMBERS = {"DS", "IS", "US"}
_TEXTS = {"AE", "AS", "CS", "DA", "LO", "LT", "SH", "ST", "TM", "UC", "UI", "UT"}
_DERIVED = uuid.UUID("5f0a1f3e-6a3c-5d55-9a38-1d0f9b6d2c11")


def read_evidence(source: FilmSource, name: str) -> Dataset:
    """The header of a DICOM film as a data set whose values are all valid, text in UTF-8.

    Parameters
    ----------
    source : path, bytes or pydicom Dataset.
    name : what to call the film in messages.

    Raises
    ------
    InputRefused : not DICOM, or without the identity that an object must refer to.
    """
    with warnings.catch_warnings():  # pydicom's remarks on values that are left out below
        warnings.simplefilter("ignore")
        return _evidence(_read_header(source, name), name)


def _evidence(found: Dataset, name: str) -> Dataset:
    header = _empty_dataset()
    for keyword in (*REPEATED, *REPEATED_IF_THERE, *IMAGE, *IDENTITY):
        value = _valid(found, keyword)
        if value is not None:
            setattr(header, keyword, value)
        elif keyword in REPEATED:
            setattr(header, keyword, None)
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        if keyword not in header:
            raise InputRefused(
                f"{name} has no {keyword}, so no DICOM object can refer to it. "
                "Leave out --sr, --gsps and --sc for it, or mend its header."
            )
    if not header.PatientID and found.get("PatientID"):
        raise InputRefused(
            f"{name}: the Patient ID is not valid (more than 64 characters, or control characters), and a DICOM object "
            "under another one would be filed under another patient. Mend the header first."
        )
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        if keyword not in header:  # the same for every object about this film, so that they stay together
            derived = uuid.uuid5(_DERIVED, f"{keyword} {header.SOPInstanceUID}")
            setattr(header, keyword, f"2.25.{derived.int}")
    if not _has_window(header):
        for keyword in ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction"):
            header.pop(keyword, None)
    header.SpecificCharacterSet = "ISO_IR 192"
    return header


def _empty_dataset() -> Dataset:
    from pydicom.dataset import Dataset

    return Dataset()


def _read_header(source: FilmSource, name: str) -> Dataset:
    import pydicom
    from pydicom.datadict import tag_for_keyword

    if isinstance(source, pydicom.Dataset):
        return source
    if isinstance(source, Source):
        source = source.read() if source.member else source.path
    if not isinstance(source, str | Path | bytes):
        raise InputRefused(f"{name}: DICOM outputs need a DICOM film, found an array.")
    tags: list[Any] = [
        tag_for_keyword(k) for k in ("SpecificCharacterSet", *REPEATED, *REPEATED_IF_THERE, *IMAGE, *IDENTITY)
    ]
    try:
        stream = BytesIO(source) if isinstance(source, bytes) else source
        header = pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=tags)
        _drop_unreadable(header)
        header.decode()
    except Exception as error:  # bytes from strangers: pydicom raises nearly every kind on damaged values
        raise InputRefused(f"{name}: the header cannot be copied into a DICOM object ({_line(error)}).") from error
    meta = getattr(header, "file_meta", None)
    for keyword in ("SOPClassUID", "SOPInstanceUID"):  # the file's own header says it again
        if not header.get(keyword) and meta is not None and meta.get(f"MediaStorage{keyword}"):
            setattr(header, keyword, meta.get(f"MediaStorage{keyword}"))
    return header


def _valid(header: Dataset, keyword: str) -> Any:
    """A value that the standard allows for this attribute, made from the header's; None where there is none."""
    from pydicom.datadict import dictionary_VR

    try:
        element = header.get_item(keyword) and header[keyword]
    except Exception:  # a value that pydicom cannot convert, in one of its many ways to say so
        return None
    if not element or element.is_empty:
        return None
    value, vr = element.value, dictionary_VR(keyword)
    # the file claims another kind: who knows what it means, unless both are plain text
    if vr != element.VR and not {element.VR, vr} <= _TEXTS:
        return None
    if vr in _NUMBERS and not _are_numbers(value):
        return None
    if keyword == "PatientAge":
        return _age(str(value))
    if keyword == "PatientSex":
        return value if value in ("M", "F", "O") else None
    if vr == "UI":
        return str(value) if re.fullmatch(r"[0-9.]{1,64}", str(value)) else None
    if vr in ("DA", "TM"):
        return str(value) if re.fullmatch(_PATTERNS[vr], str(value)) else None
    if vr in ("SH", "LO", "PN"):
        return _text(str(value), _LONGEST[vr], cut=keyword.endswith("Description"), groups=vr == "PN")
    if vr == "CS":
        parts = [str(part) for part in ([value] if isinstance(value, str) else value)]
        return parts if all(re.fullmatch(_PATTERNS["CS"], part) for part in parts) else None
    return value


def _drop_unreadable(header: Dataset) -> None:
    """Leave out top-level values that pydicom cannot convert, so that they do not spoil the others."""
    for tag in list(header.keys()):
        try:
            header[tag]  # converts it
        except Exception:
            if tag == 0x00100020:  # an object without the Patient ID that the film has would be filed elsewhere
                raise
            del header[tag]


def _are_numbers(value: Any) -> bool:
    try:
        return all(math.isfinite(float(part)) for part in ([value] if isinstance(value, str | int | float) else value))
    except (TypeError, ValueError):
        return False


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _has_window(header: Dataset) -> bool:
    """True when every window is one (PS3.3 C.11.2.1.2: widths of at least 1; real headers have 0)."""
    centers, widths = header.get("WindowCenter"), header.get("WindowWidth")
    if centers is None or widths is None:
        return False
    listed = widths if isinstance(widths, Iterable) else [widths]
    return all(float(width) >= 1 for width in listed)


def _age(text: str) -> str | None:
    """RSNA's "32" -> "032Y"; what is no age is left out."""
    match = re.fullmatch(r"\s*(\d{1,3})\s*([DWMY]?)\s*", text)
    return f"{int(match[1]):03d}{match[2] or 'Y'}" if match else None


def _text(text: str, longest: int, *, cut: bool, groups: bool) -> str | None:
    text = text.strip()
    too_long = any(len(part) > longest for part in (text.split("=") if groups else [text]))
    if not text or not text.isprintable() or "\\" in text or (too_long and not cut):
        return None
    # a description is cut by bytes: the standard counts characters, but programs (dciodvfy for one) count bytes
    return text.encode()[:longest].decode(errors="ignore").strip() if cut else text
