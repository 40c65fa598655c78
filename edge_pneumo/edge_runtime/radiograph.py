"""A film, read: DICOM, PNG or JPEG -> `Radiograph`, or a refusal with a reason."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Acquisition:
    """What the header says of how a film was taken; every fact may be missing."""

    modality: str | None = None
    body_part: str | None = None
    view: str | None = None
    sex: str | None = None
    age_years: float | None = None
    photometric: str | None = None
    transfer_syntax: str | None = None
    bits_stored: int | None = None
    sop_class_uid: str | None = None
    sop_instance_uid: str | None = None


@dataclass(frozen=True)
class Radiograph:
    """A grey film in display polarity (air dark, bone bright).

    Attributes
    ----------
    pixels : (h, w) uint8, 0 darkest to 255 brightest. May be smaller than the film by an integer DCT scale or a resize
        (never smaller than asked for): `width` and `height` say what the film itself has.
    width, height : pixels of the source film; boxes are reported in this frame.
    source : where it came from, for messages.
    acquisition : header facts.
    warnings : sentences for the user; the film was read all the same.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    source: str = ""
    acquisition: Acquisition = field(default_factory=Acquisition)
    warnings: tuple[str, ...] = ()
