"""A film, read: DICOM, PNG or JPEG -> `Radiograph`, or a refusal with a reason."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.errors import FilmRefused

if TYPE_CHECKING:
    from edge_pneumo.edge_runtime.framing import Framing
    from edge_pneumo.edge_runtime.grey import Picture
    from edge_pneumo.edge_runtime.limits import Deadline

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Acquisition:
    """What the header says of how a film was taken; every fact may be missing.

    `pixel_aspect` is the height of a pixel by its width.
    """

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
    orientation: str | None = None
    intent: str | None = None
    pixel_aspect: float = 1.0
    frames: int = 1


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
    framing : what of it the network is shown, and how far it is turned; None: all, as it is.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    source: str = ""
    acquisition: Acquisition = field(default_factory=Acquisition)
    warnings: tuple[str, ...] = ()
    framing: Framing | None = None


def read_radiograph(
    source: Any, *, size_px: int | None = None, name: str | None = None, force: bool = False
) -> Radiograph:
    """Read a film: DICOM, PNG or JPEG, recognised by its bytes and not by its name.

    Parameters
    ----------
    source : path (`-` is stdin), bytes, binary file, `sources.Source`, pydicom.Dataset, or grey array (h, w) of uint8
        or uint16.
    size_px : side of the network's input. JPEG pixels may then be decoded at a lower scale, never below the size the
        letterbox needs. Give it everywhere (training, calibration, prediction), so that all see identical pixels.
    name : what to call the film in messages; by default the path, or the kind of source.
    force : take what the door would refuse (a lateral film, a hand …), with a warning. What cannot be read stays
        refused.

    Raises
    ------
    FilmRefused : always, and only, when there is no film; `reason` says why. Limits of size, memory and time are in
        `limits`.
    """
    name = name or source_name(source)
    try:
        return _read(source, name, size_px, force)
    except FilmRefused:
        raise
    except MemoryError as error:
        raise FilmRefused(
            "too-large", f"{name}: not enough memory to read it. Export it at a lower resolution."
        ) from error
    except Exception as error:
        # The boundary to bytes from strangers: Pillow and the codecs have raised nearly every kind of exception on
        # damaged files, and one bad film must not stop the others.
        log.debug("%s: cannot be read", name, exc_info=True)
        raise FilmRefused(
            "unreadable", f"{name}: damaged or of an unknown kind ({type(error).__name__}: {error}). Export it again."
        ) from error


def source_name(source: Any) -> str:
    """What to call a source that came without a name."""
    if isinstance(source, (str, Path)):
        return str(source)
    return str(getattr(source, "name", None) or f"<{type(source).__name__}>")


def _read(source: Any, name: str, size_px: int | None, force: bool) -> Radiograph:
    from edge_pneumo.edge_runtime import door, door_picture, limits

    deadline = limits.Deadline.start(name)
    data = source if isinstance(source, np.ndarray) else read_bytes(source, name)
    picture, facts = _decode(data, name, size_px, deadline, force)
    deadline.check()
    turns = door.quarter_turns(facts)
    doubts, framing = door_picture.check_picture(
        picture,
        name,
        polarity_stated=facts.photometric is not None,
        frontal_stated=door.says_frontal_chest(facts),
        quarter_turns=turns,
        pixel_aspect=facts.pixel_aspect,
        force=force,
    )
    if framing is not None and size_px is not None and picture.pixels.shape[1] < picture.width:
        longest, part = max(picture.width, picture.height), max(framing.width, framing.height)
        if part < longest:  # decoded at a scale that suits the whole film; the part alone needs more pixels
            picture, _ = _decode(data, name, -(-size_px * longest // part), deadline, force)
            framing = door_picture.look(picture, turns).framing
    return Radiograph(picture.pixels, picture.width, picture.height, name, facts, picture.warnings + doubts, framing)


def _decode(
    data: bytes | NDArray, name: str, size_px: int | None, deadline: Deadline, force: bool
) -> tuple[Picture, Acquisition]:
    from edge_pneumo.edge_runtime.grey import evened

    picture, facts = _stored(data, name, size_px, deadline, force)
    return evened(picture), facts


def _stored(
    data: bytes | NDArray, name: str, size_px: int | None, deadline: Deadline, force: bool
) -> tuple[Picture, Acquisition]:
    if isinstance(data, np.ndarray):
        return _from_array(data, name), Acquisition()
    if data[:3] == b"\xff\xd8\xff":
        from edge_pneumo.edge_runtime.raster import read_jpeg

        return read_jpeg(data, name, size_px), Acquisition()
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        from edge_pneumo.edge_runtime.raster import read_png

        return read_png(data, name), Acquisition()
    from edge_pneumo.edge_runtime.dicom import read_dicom

    return read_dicom(data, name, size_px, deadline, force=force)


def read_bytes(source: Any, name: str) -> bytes:
    """All bytes of a source, at most `limits.MAX_FILE_BYTES`.

    Raises
    ------
    FilmRefused : `unreadable` (missing, no permission, empty, not a file) or `too-large`.
    """
    from edge_pneumo.edge_runtime import limits
    from edge_pneumo.edge_runtime.sources import Source

    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
    elif isinstance(source, (str, Path)):
        data = Source(name, str(source)).read()
    elif hasattr(source, "read"):
        data = source.read(limits.MAX_FILE_BYTES + 1)
    elif hasattr(source, "save_as"):  # a pydicom.Dataset; named by what it does, so that pydicom is not imported here
        buffer = io.BytesIO()
        source.save_as(buffer, enforce_file_format=True)
        data = buffer.getvalue()
    else:
        raise FilmRefused(
            "unreadable", f"{name}: {type(source).__name__} is no film; give a path, bytes, a file or an array."
        )
    if len(data) > limits.MAX_FILE_BYTES:
        raise FilmRefused(
            "too-large", f"{name}: over {limits.MAX_FILE_BYTES:,} bytes. Export the film compressed or smaller."
        )
    if not data:
        raise FilmRefused("unreadable", f"{name}: empty, 0 bytes. Copy it again.")
    return data


def _from_array(pixels: NDArray, name: str) -> Picture:
    from edge_pneumo.edge_runtime import limits
    from edge_pneumo.edge_runtime.grey import Picture, Rendering, render

    grey = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    if grey.ndim != 2 or grey.dtype not in (np.uint8, np.uint16):
        raise FilmRefused(
            "unreadable", f"{name}: array of shape {pixels.shape}, {pixels.dtype}; give grey (h, w) of uint8 or uint16."
        )
    height, width = grey.shape
    limits.check_size(width, height, grey.dtype.itemsize, name)
    bits = 8 * grey.dtype.itemsize
    shown, warnings = render(np.ascontiguousarray(grey), Rendering(allocated=bits, stored=bits, high_bit=bits - 1))
    return Picture(shown, width, height, None, warnings)
