"""Films to predict on: a drawn chest that passes the door, as a picture and as DICOM with a header like RSNA's."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

MODEL = str(Path(__file__).resolve().parents[1] / "data" / "tiny.tflite")
STUDY = "1.2.276.0.7230010.3.1.2.1"


def drawn_chest(seed: int = 0, width: int = 512, height: int = 512) -> Image.Image:
    """A grey picture with what makes a chest: bright body, two dark lungs, ribs, a heart, noise."""
    random = np.random.default_rng(seed)
    picture = Image.new("L", (512, 512), 8)
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((40, 20, 472, 540), 90, fill=165)
    draw.ellipse((90, 80, 235, 420), fill=55)
    draw.ellipse((277, 80, 422, 420), fill=60)
    draw.rectangle((238, 20, 274, 512), fill=200)
    draw.ellipse((230, 240, 370, 420), fill=185)
    for y in range(100, 400, 38):
        draw.arc((80, y, 245, y + 80), 200, 340, fill=110, width=7)
        draw.arc((267, y, 432, y + 80), 200, 340, fill=110, width=7)
    x, y = random.integers(110, 180), random.integers(150, 330)
    draw.ellipse((x, y, x + 60, y + 60), fill=140)
    picture = picture.filter(ImageFilter.GaussianBlur(6)).resize((width, height))
    noisy = np.asarray(picture, np.float32) + random.normal(0, 4, (height, width))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def dicom_chest(seed: int = 0, **changes: object) -> bytes:
    """JPEG Baseline DICOM with RSNA's header, its age "32" included; `changes` set attributes, None deletes them."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGBaseline8Bit, SecondaryCaptureImageStorage

    picture = drawn_chest(seed)
    coded = io.BytesIO()
    picture.save(coded, "JPEG", quality=90)
    film = Dataset()
    film.SpecificCharacterSet = "ISO_IR 100"
    film.SOPClassUID = SecondaryCaptureImageStorage
    film.SOPInstanceUID = f"1.2.276.0.7230010.3.1.4.{seed + 1}"
    film.StudyInstanceUID, film.SeriesInstanceUID = STUDY, "1.2.276.0.7230010.3.1.3.1"
    film.StudyDate, film.StudyTime, film.AccessionNumber, film.StudyID = "19010101", "000000.00", "", ""
    film.Modality, film.ConversionType, film.BodyPartExamined, film.ViewPosition = "CR", "WSD", "CHEST", "PA"
    film.PatientName = film.PatientID = f"patient-{seed}"
    film.PatientBirthDate, film.PatientSex, film.ReferringPhysicianName = "", "F", ""
    film.add_new("PatientAge", "AS", "032Y")
    film.PixelSpacing = [0.143, 0.143]
    film.SamplesPerPixel, film.PhotometricInterpretation = 1, "MONOCHROME2"
    film.Rows, film.Columns = picture.height, picture.width
    film.BitsAllocated = film.BitsStored = 8
    film.HighBit, film.PixelRepresentation = 7, 0
    film.LossyImageCompression, film.LossyImageCompressionMethod = "01", "ISO_10918_1"
    for keyword, value in changes.items():
        if value is None:
            delattr(film, keyword)
        else:
            setattr(film, keyword, value)
    film.PixelData = encapsulate([coded.getvalue()])
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    if "SOPInstanceUID" not in film:
        film.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    buffer = io.BytesIO()
    film.save_as(buffer, enforce_file_format=True)
    data = buffer.getvalue()
    return data.replace(b"AS\x04\x00032Y", b"AS\x04\x0032  ")  # as in RSNA's files; pydicom would not write it
