"""Secondary capture: the overlay picture as a DICOM image, for viewers that draw neither SR nor presentation states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_pneumo.edge_runtime.outputs.dicom import RESEARCH_ONLY, equipment, series, summary
from edge_pneumo.edge_runtime.outputs.overlay import render_overlay

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from edge_pneumo.edge_runtime.predict import Examination, FilmSource


def build_capture(evidence: Dataset, source: FilmSource, examination: Examination, *, heat: bool = True) -> Dataset:
    """The overlay of an examined film as an uncompressed RGB secondary capture image."""
    import highdicom as hd
    import numpy as np
    import pydicom

    result = examination.result
    if result.model is None:
        raise ValueError("a refused film has no capture")
    orientation = evidence.get("PatientOrientation") or None
    image = hd.sc.SCImage.from_ref_dataset(
        ref_dataset=evidence,
        pixel_array=np.asarray(render_overlay(source, examination, heat=heat)),
        photometric_interpretation=hd.PhotometricInterpretationValues.RGB,
        bits_allocated=8,
        coordinate_system=hd.CoordinateSystemNames.PATIENT,
        patient_orientation=tuple(orientation) if orientation else ("L", "F"),
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        **series("sc"),
        **equipment(result.model),
    )
    if not orientation:
        image["PatientOrientation"].value = None  # the film does not say; we do not guess
    if evidence.get("BodyPartExamined") == "CHEST":
        image.BodyPartExamined = "CHEST"
    else:  # type 2C: where no body part says that it is unpaired, an empty side must be there
        image["Laterality"] = pydicom.DataElement("Laterality", "CS", None)
    image.BurnedInAnnotation = "YES"
    image.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    image.DerivationDescription = f"{summary(result)}. {RESEARCH_ONLY}"
    for keyword in ("PatientAge", "StudyDescription", "IssuerOfPatientID"):
        if keyword in evidence:
            setattr(image, keyword, evidence.get(keyword))
    for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if keyword in evidence:  # once lossy, always lossy (PS3.3 C.7.6.1.1.5)
            setattr(image, keyword, evidence.get(keyword))
    reference = pydicom.Dataset()
    reference.ReferencedSOPClassUID = evidence.SOPClassUID
    reference.ReferencedSOPInstanceUID = evidence.SOPInstanceUID
    image.SourceImageSequence = [reference]
    return image
