"""Made-up films for the tests of ingestion: a chest that the door knows, wrapped by pydicom in any way."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import config
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, generate_uid

from edge_pneumo.edge_runtime.door_picture import MEAN_FILM


def chest(side: int = 128, seed: int = 0) -> NDArray[np.uint8]:
    """The door's mean film, enlarged, with noise: (side, side) uint8, levels 20..235."""
    tiny = Image.fromarray(np.frombuffer(MEAN_FILM, np.uint8).reshape(16, 16))
    film = np.asarray(tiny.resize((side, side), Image.Resampling.BICUBIC), np.float64)
    film += np.random.default_rng(seed).normal(0, 4, film.shape)
    return np.clip(20 + film * (215 / 255), 20, 235).astype(np.uint8)


def jpeg(pixels: NDArray[np.uint8], **options: Any) -> bytes:
    """Grey or RGB pixels as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **{"quality": 92} | options)
    return buffer.getvalue()


def j2k(pixels: NDArray) -> bytes:
    """Grey pixels as a lossless JPEG 2000 code stream."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG2000", no_jp2=True, irreversible=False)
    return buffer.getvalue()


def film(pixels: NDArray | None = None, *, syntax: str = ExplicitVRLittleEndian, **tags: Any) -> Dataset:
    """A chest film as pydicom writes it; `tags` are set last (None deletes), so that they can lie."""
    pixels = chest() if pixels is None else pixels
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Modality, data.BodyPartExamined, data.ViewPosition = "CR", "CHEST", "PA"
    data.PatientSex, data.PatientName, data.PatientID = "F", "Nobody^Nowhere", "none"
    data.Rows, data.Columns = pixels.shape[:2]
    data.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    data.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        data.PlanarConfiguration = 0
    bits = 8 * pixels.dtype.itemsize
    data.BitsAllocated, data.BitsStored, data.HighBit = bits, bits, bits - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    if syntax == JPEGBaseline8Bit:
        data.PixelData = encapsulate([jpeg(pixels)])
    elif syntax == JPEG2000Lossless:
        data.PixelData = encapsulate([j2k(pixels)])
    else:
        data.PixelData = pixels.tobytes()
    data["PixelData"].VR = "OB" if bits == 8 or syntax in (JPEGBaseline8Bit, JPEG2000Lossless) else "OW"
    for keyword, value in tags.items():
        if value is None:
            del data[keyword]
        else:
            setattr(data, keyword, value)
    return data


def written(data: Dataset, *, preamble: bool = True) -> bytes:
    """The bytes of a DICOM file."""
    buffer = io.BytesIO()
    with config.disable_value_validation():
        data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue() if preamble else buffer.getvalue()[132:]
