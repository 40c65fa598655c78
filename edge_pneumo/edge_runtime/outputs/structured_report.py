"""Comprehensive 3D SR after TID 1500, as IHE's AI Results profile asks: probability and boxes for machines.

The report holds one measurement group about the whole film (TID 1501: opacity present or absent, probability,
threshold), and one planar region a box (TID 1410: its corners on the film, score).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_pneumo import __version__
from edge_pneumo.edge_runtime.outputs.dicom import (
    MANUFACTURER,
    PRODUCT,
    RESEARCH_ONLY,
    device_uid,
    equipment,
    new_uid,
    series,
)

if TYPE_CHECKING:
    import highdicom as hd
    from pydicom.dataset import Dataset

    from edge_pneumo.edge_runtime.decode import Box, Finding
    from edge_pneumo.edge_runtime.result import FilmResult, ModelIdentity


def build_sr(evidence: Dataset, result: FilmResult) -> Dataset:
    """The structured report of an answered film.

    Parameters
    ----------
    evidence : the film's header (`evidence.read_evidence`).
    result : the answer; boxes in pixels of the film.
    """
    import highdicom as hd
    from pydicom.sr.codedict import codes

    finding, model = result.finding, result.model
    if finding is None or model is None:
        raise ValueError("a refused film has no report")
    observer = hd.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=device_uid(model),
            name=PRODUCT,
            manufacturer_name=MANUFACTURER,
            model_name=f"{model.name} {model.version}",
            serial_number=model.sha256,
        ),
    )
    algorithm = _algorithm(model, finding, result.warnings)
    groups = [_film_group(evidence, finding, algorithm)]
    groups += [_box_group(evidence, number, box, algorithm) for number, box in enumerate(finding.boxes, 1)]
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=hd.sr.CodedConcept("399208008", "SCT", "Plain chest X-ray"),
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
        language_of_content_item_and_descendants=hd.sr.LanguageOfContentItemAndDescendants(
            hd.sr.CodedConcept("en-US", "RFC5646", "English (United States)")
        ),
        referenced_images=[_library_entry(evidence)],
    )
    return hd.sr.Comprehensive3DSR(
        evidence=[evidence],
        content=report,
        is_complete=True,
        is_final=False,  # preliminary: nobody has looked at it
        is_verified=False,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        **series("sr"),
        **equipment(model),
    )


def _library_entry(evidence: Dataset) -> Dataset:
    """The film as highdicom's image library takes it: for Modality CR and DX it demands an orientation and a spacing,
    which many films (and all of RSNA's) lack; those are then listed without these descriptors (TID 1601 alone).
    """
    import copy

    if evidence.get("PatientOrientation") and evidence.get("ImagerPixelSpacing"):
        return evidence
    entry = copy.copy(evidence)
    entry.Modality = "OT"
    return entry


def _algorithm(model: ModelIdentity, finding: Finding, warnings: tuple[str, ...]) -> hd.sr.AlgorithmIdentification:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    return hd.sr.AlgorithmIdentification(
        name=f"{PRODUCT} {model.name}",
        version=model.version,
        family=codes.DCM.ArtificialIntelligence,
        manufacturer=MANUFACTURER,
        parameters=[
            f"sha256={model.sha256}",
            f"threshold={finding.threshold!r}",
            f"software={PRODUCT} {__version__}",
            RESEARCH_ONLY,
            *(f"warning: {sentence.encode('ascii', 'replace').decode()}" for sentence in warnings),
        ],
    )


def _probability(value: float, algorithm: hd.sr.AlgorithmIdentification | None = None) -> hd.sr.Measurement:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    return hd.sr.Measurement(
        name=codes.DCM.Probability, value=round(value, 6), unit=codes.UCUM.NoUnits, algorithm_id=algorithm
    )


def _film_group(
    evidence: Dataset, finding: Finding, algorithm: hd.sr.AlgorithmIdentification
) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    present = finding.decision == "opacity"
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=new_uid(), identifier="film"),
        finding_type=codes.DCM.Opacity,
        algorithm_id=algorithm,
        finding_sites=[hd.sr.FindingSite(codes.SCT.Lung)],
        measurements=[_probability(finding.probability)],
        qualitative_evaluations=[
            hd.sr.QualitativeEvaluation(
                name=codes.DCM.PresenceOfProperty, value=codes.DCM.Present if present else codes.DCM.Absent
            )
        ],
        source_images=[hd.sr.SourceImageForMeasurementGroup(evidence.SOPClassUID, evidence.SOPInstanceUID)],
    )


def _box_group(
    evidence: Dataset, number: int, box: Box, algorithm: hd.sr.AlgorithmIdentification
) -> hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    import highdicom as hd
    import numpy as np
    from pydicom.sr.codedict import codes

    # PS3.3 C.18.6.1.1: column\row, 0.0\0.0 is the top left corner of the first pixel: our own frame
    corners = [(box.x1, box.y1), (box.x2, box.y1), (box.x2, box.y2), (box.x1, box.y2), (box.x1, box.y1)]
    region = hd.sr.ImageRegion(
        graphic_type=hd.sr.GraphicTypeValues.POLYLINE,
        graphic_data=np.array(corners, np.float32),
        source_image=hd.sr.SourceImageForRegion(evidence.SOPClassUID, evidence.SOPInstanceUID),
    )
    return hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=new_uid(), identifier=f"box {number}"),
        referenced_region=region,
        finding_type=codes.DCM.Opacity,
        algorithm_id=algorithm,
        finding_sites=[hd.sr.FindingSite(codes.SCT.Lung)],
        measurements=[_probability(box.score)],
    )
