"""A JPEG -> a DICOM file with the headers of RSNA's films, oddities and all."""

from __future__ import annotations

import hashlib
import io

from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEGBaseline8Bit, SecondaryCaptureImageStorage


def film_bytes(
    jpeg: bytes, *, film_id: str, size_px: int, sex: str, age_years: int, view: str, photometric: str
) -> bytes:
    """A DICOM file as the challenge has them: Secondary Capture class, modality CR, JPEG Baseline, age as "32".

    UIDs are derived from `film_id` (2.25.<number>, DICOM PS3.5 B.2), so that they are the same on every run.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = _uid(film_id, "film")
    meta.TransferSyntaxUID = JPEGBaseline8Bit
    film = FileDataset("", {}, preamble=b"\0" * 128, file_meta=meta)
    film.SpecificCharacterSet = "ISO_IR 100"
    film.SOPClassUID = SecondaryCaptureImageStorage
    film.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    film.StudyDate, film.StudyTime = "19010101", "000000.00"
    film.AccessionNumber = film.ReferringPhysicianName = film.StudyID = film.PatientBirthDate = ""
    film.Modality, film.ConversionType, film.BodyPartExamined = "CR", "WSD", "CHEST"
    film.SeriesDescription = f"view: {view}"
    film.PatientName = film.PatientID = film_id
    film.PatientSex = sex
    # RSNA wrote ages as "32", which is no valid Age String ("032Y"); readers have to cope, so ours are made to.
    film.add(DataElement(0x00101010, "AS", str(age_years), validation_mode=config.IGNORE))
    film.ViewPosition, film.PatientOrientation = view, ""
    film.StudyInstanceUID, film.SeriesInstanceUID = _uid(film_id, "study"), _uid(film_id, "series")
    film.SeriesNumber = film.InstanceNumber = 1
    film.SamplesPerPixel, film.PhotometricInterpretation = 1, photometric
    film.Rows = film.Columns = size_px
    film.PixelSpacing = [round(350 / size_px, 4)] * 2
    film.BitsAllocated = film.BitsStored = 8
    film.HighBit, film.PixelRepresentation = 7, 0
    film.LossyImageCompression, film.LossyImageCompressionMethod = "01", "ISO_10918_1"
    film.PixelData = encapsulate([jpeg])
    film["PixelData"].VR = "OB"
    stream = io.BytesIO()
    film.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _uid(film_id: str, what: str) -> UID:
    number = int.from_bytes(hashlib.sha256(f"{film_id}:{what}".encode()).digest()[:16], "big")
    return UID(f"2.25.{number}")
