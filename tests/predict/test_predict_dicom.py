"""SR, presentation state and secondary capture: judged by dciodvfy, DCMTK and highdicom's own reader."""

from __future__ import annotations

import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from predict_films import STUDY, dicom_chest, drawn_chest
from pydicom.sr.codedict import codes

from edge_pneumo.edge_runtime.outputs import SUFFIXES, write_output
from edge_pneumo.edge_runtime.outputs.evidence import read_evidence
from edge_pneumo.edge_runtime.predict import Detector
from edge_pneumo.errors import InputRefused

highdicom = pytest.importorskip("highdicom", reason="DICOM outputs need the extra `dicom`")
KINDS = ("sr", "gsps", "sc")
CHANGES: dict[str, dict] = {
    "as RSNA's": {},
    "MONOCHROME1": {"PhotometricInterpretation": "MONOCHROME1"},
    "no study, no patient": dict.fromkeys(
        ("StudyInstanceUID", "SeriesInstanceUID", "PatientID", "PatientName", "PatientSex", "StudyDate")
    ),
    "digital radiography": {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1",
        "Modality": "DX",
        "PatientOrientation": ["L", "F"],
        "ImagerPixelSpacing": [0.2, 0.2],
        "WindowCenter": "128",
        "WindowWidth": "256",
        "RescaleSlope": "1",
        "RescaleIntercept": "0",
    },
    "no window, no body part": {"WindowCenter": "0", "WindowWidth": "0", "BodyPartExamined": None},
    "another alphabet": {
        "SpecificCharacterSet": "ISO_IR 144",
        "PatientName": "Люкceмбypг^Poзa",
        "PatientID": "Люк-1",
        "StudyDescription": "Грудь " * 12,
    },
    "names too long": {"AccessionNumber": "A" * 17, "StudyID": "S" * 20},
}


@pytest.fixture(scope="module")
def detector():
    from predict_films import MODEL

    with Detector.open(MODEL) as opened:
        yield opened


@pytest.fixture(params=CHANGES, ids=str)
def film(request: pytest.FixtureRequest) -> bytes:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom says that the header is as wrong as it is meant to be
        return dicom_chest(1, **CHANGES[request.param])


def write(detector: Detector, source, kind: str, folder: Path) -> Path:
    path = folder / f"film{SUFFIXES[kind]}"
    write_output(kind, path, source, detector.examine(source))
    return path


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (apt-get install dicom3tools dcmtk): DICOM outputs are NOT verified here")
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_dciodvfy_finds_no_error(detector: Detector, film: bytes, kind: str, tmp_path: Path) -> None:
    path = write(detector, film, kind, tmp_path)
    judged = subprocess.run([tool("dciodvfy"), "-new", path], capture_output=True, text=True, check=False)
    assert [line for line in judged.stderr.splitlines() if line.startswith(("Error", "Abort"))] == []
    assert judged.returncode == 0


@pytest.mark.parametrize(
    ("kind", "program"), [("sr", "dsrdump"), ("sr", "dcmdump"), ("gsps", "dcmdump"), ("sc", "dcmdump")]
)
def test_dcmtk_opens_them(detector: Detector, film: bytes, kind: str, program: str, tmp_path: Path) -> None:
    path = write(detector, film, kind, tmp_path)
    dumped = subprocess.run([tool(program), path], capture_output=True, text=True, errors="replace", check=False)
    assert dumped.returncode == 0
    assert "E: " not in dumped.stderr
    assert ("Imaging Measurement Report" if program == "dsrdump" else "edge-pneumo") in dumped.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_same_study_and_patient_new_series_right_reference(detector: Detector, kind: str, tmp_path: Path) -> None:
    source = dicom_chest(3)
    film = pydicom.dcmread(BytesIO(source), stop_before_pixels=True)
    first, second = (pydicom.dcmread(write(detector, source, kind, tmp_path)) for _ in range(2))
    assert first.StudyInstanceUID == film.StudyInstanceUID == STUDY
    assert (first.PatientID, str(first.PatientName), first.PatientSex) == ("patient-3", "patient-3", "F")
    assert first.PatientAge == "032Y"
    assert first.StudyDate == "19010101"
    assert len({film.SeriesInstanceUID, first.SeriesInstanceUID, second.SeriesInstanceUID}) == 3
    assert len({film.SOPInstanceUID, first.SOPInstanceUID, second.SOPInstanceUID}) == 3
    referred = {element.value for element in first.iterall() if element.keyword == "ReferencedSOPInstanceUID"}
    assert referred == {film.SOPInstanceUID}
    assert first.Manufacturer == "edge-pneumo project"
    assert first.DeviceSerialNumber == detector.model.sha256
    assert f"{detector.model.name} {detector.model.version}" in first.SoftwareVersions


def test_report_says_what_the_user_is_warned_of(detector: Detector, tmp_path: Path) -> None:
    path = write(detector, dicom_chest(4, PatientOrientation=["F", "R"]), "sr", tmp_path)
    texts = [element.value for element in pydicom.dcmread(path).iterall() if element.keyword == "TextValue"]
    assert any(text.startswith("warning: by its header it does not stand upright") for text in texts)


def test_report_says_what_the_result_says(detector: Detector, tmp_path: Path) -> None:
    source = dicom_chest(4)
    result = detector.predict(source)
    assert result.boxes, "this film is meant to have boxes"
    report = highdicom.sr.srread(str(write(detector, source, "sr", tmp_path)))
    content = highdicom.sr.MeasurementReport.from_sequence([report])
    whole = content.get_image_measurement_groups()
    assert len(whole) == 1
    assert whole[0].get_measurements()[0].value == pytest.approx(result.probability, abs=1e-6)
    present = whole[0].get_qualitative_evaluations(name=codes.DCM.PresenceOfProperty)[0].value.meaning
    assert present == ("Present" if result.decision == "opacity" else "Absent")
    regions = content.get_planar_roi_measurement_groups()
    assert len(regions) == len(result.boxes)
    for group, box in zip(regions, result.boxes, strict=True):
        corners = group.roi.value
        assert np.allclose([*corners.min(axis=0), *corners.max(axis=0)], [box.x1, box.y1, box.x2, box.y2], atol=0.06)
        assert group.get_measurements()[0].value == pytest.approx(box.score, abs=1e-6)
    text = " ".join(str(e.value) for e in report.iterall() if e.keyword == "TextValue")
    assert f"sha256={detector.model.sha256}" in text
    assert f"edge-pneumo {detector.model.name}" in text
    assert report.PreliminaryFlag == "PRELIMINARY"


@pytest.mark.parametrize(("photometric", "shape"), [("MONOCHROME1", "INVERSE"), ("MONOCHROME2", "IDENTITY")])
def test_presentation_state_draws_the_boxes_and_keeps_the_polarity(
    detector: Detector, photometric: str, shape: str, tmp_path: Path
) -> None:
    source = dicom_chest(4, PhotometricInterpretation=photometric)
    result = detector.predict(source)
    state = pydicom.dcmread(write(detector, source, "gsps", tmp_path))
    assert state.PresentationLUTShape == shape
    annotation = state.GraphicAnnotationSequence[0]
    drawn = [np.reshape(g.GraphicData, (-1, 2)) for g in annotation.get("GraphicObjectSequence", [])]
    assert [[*d.min(axis=0), *d.max(axis=0)] for d in drawn] == [
        pytest.approx([b.x1, b.y1, b.x2, b.y2], abs=0.06) for b in result.boxes
    ]
    texts = [t.UnformattedTextValue for t in annotation.TextObjectSequence]
    assert any("Research use only" in t for t in texts)


def test_what_the_user_is_warned_of_is_in_the_presentation_state(detector: Detector, tmp_path: Path) -> None:
    film = pydicom.dcmread(BytesIO(dicom_chest(5)))
    film.ViewPosition = "RLD"
    stream = BytesIO()
    film.save_as(stream)
    state = pydicom.dcmread(write(detector, stream.getvalue(), "gsps", tmp_path))
    first, *others = state.GraphicAnnotationSequence[0].TextObjectSequence
    assert "Research use only" in first.UnformattedTextValue
    warned = next(text for text in others if "lying patient" in text.UnformattedTextValue)
    assert warned.BoundingBoxTopLeftHandCorner[1] >= first.BoundingBoxBottomRightHandCorner[1]


def test_capture_is_the_overlay(detector: Detector, tmp_path: Path) -> None:
    from edge_pneumo.edge_runtime.outputs.overlay import render_overlay

    source = dicom_chest(5)
    capture = pydicom.dcmread(write(detector, source, "sc", tmp_path))
    np.testing.assert_array_equal(capture.pixel_array, np.asarray(render_overlay(source, detector.examine(source))))
    assert (capture.BurnedInAnnotation, capture.LossyImageCompression) == ("YES", "01")


def test_a_film_whose_data_set_is_at_hand(detector: Detector, tmp_path: Path) -> None:
    film = pydicom.dcmread(BytesIO(dicom_chest(6)))
    assert pydicom.dcmread(write(detector, film, "sr", tmp_path)).StudyInstanceUID == STUDY


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_has_no_patient_to_report_on(detector: Detector, kind: str, tmp_path: Path) -> None:
    buffer = BytesIO()
    drawn_chest(1).save(buffer, "PNG")
    with pytest.raises(InputRefused, match=f"DICOM outputs \\(--{kind}\\) need a DICOM film: a PNG or JPEG names no"):
        write(detector, buffer.getvalue(), kind, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_files_own_header_names_the_film_too() -> None:
    assert read_evidence(dicom_chest(1, SOPInstanceUID=None), "film").SOPInstanceUID == "1.2.3"


@pytest.mark.parametrize(
    ("age", "expected"), [(b"32  ", "032Y"), (b"032Y", "032Y"), (b"155 ", "155Y"), (b"6M  ", "006M"), (b"old ", None)]
)
def test_ages(age: bytes, expected: str | None) -> None:
    film = dicom_chest(1).replace(b"AS\x04\x0032  ", b"AS\x04\x00" + age)
    assert read_evidence(film, "film").get("PatientAge") == expected


@pytest.mark.parametrize("vr", [b"FD", b"ZZ", b"UI", b"SQ", b"AT", b"PN", b"US"])
@pytest.mark.parametrize("keyword", ["Modality", "PatientID", "PixelSpacing", "Rows", "LossyImageCompressionMethod"])
def test_a_wrong_value_representation_is_no_bug(
    detector: Detector, keyword: str, vr: bytes, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    """Written without that value, or refused in a sentence: pydicom's own errors and warnings stay inside."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    film = dicom_chest(1, PixelSpacing=[0.14, 0.14], LossyImageCompressionMethod="ISO_10918_1")
    tag = int(tag_for_keyword(keyword) or 0)
    name = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
    assert name + dictionary_VR(tag).encode() in film
    film = film.replace(name + dictionary_VR(tag).encode(), name + vr)
    try:
        evidence = read_evidence(film, "film")
    except InputRefused as refusal:
        assert "film" in str(refusal)
    else:
        assert keyword not in evidence or str(evidence[keyword].VR) == dictionary_VR(tag)
    assert not recwarn.list


def test_another_patients_identifier_is_never_made_up() -> None:
    film = pydicom.Dataset()
    film.SOPClassUID, film.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
    film.add(pydicom.DataElement("PatientID", "LO", "P" * 65, validation_mode=0))
    with pytest.raises(InputRefused, match="Patient ID is not valid"):
        read_evidence(film, "film")
