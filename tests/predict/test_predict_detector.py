"""The Python API: one film, many films, threads, refusals, the contract's object."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from predict_films import dicom_chest, drawn_chest

from edge_pneumo.edge_runtime.predict import Detector
from edge_pneumo.errors import FilmRefused, UsageFault


@pytest.fixture(scope="module")
def detector():
    from predict_films import MODEL

    with Detector.open(MODEL) as opened:
        yield opened


def answers(result) -> dict:
    """What must not depend on how a film was handed over."""
    return {k: v for k, v in result.to_dict().items() if k in ("probability", "boxes", "decision", "image")}


def test_every_kind_of_source_gives_the_same_answer(detector: Detector, tmp_path: Path) -> None:
    data = dicom_chest(5)
    path = tmp_path / "film.dcm"
    path.write_bytes(data)
    dataset = pydicom.dcmread(path)
    expected = answers(detector.predict(path))
    for source in (str(path), data, dataset, BytesIO(data)):
        assert answers(detector.predict(source)) == expected


def test_png_bytes_and_array_give_the_same_answer(detector: Detector) -> None:
    picture = drawn_chest(6)
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    assert answers(detector.predict(buffer.getvalue())) == answers(detector.predict(np.asarray(picture)))


def test_the_object_is_the_contracts(detector: Detector, tmp_path: Path) -> None:
    path = tmp_path / "film.dcm"
    path.write_bytes(dicom_chest(7))
    found = json.loads(json.dumps(detector.predict(path).to_dict()))
    assert list(found) == [
        *("schema", "file", "status", "probability", "decision", "threshold", "boxes", "image", "sop_instance_uid"),
        *("model", "timing_ms", "warnings"),
    ]
    assert (found["schema"], found["file"], found["status"]) == (1, str(path), "ok")
    assert found["image"] == {
        "width": 512,
        "height": 512,
        "photometric": "MONOCHROME2",
        "transfer_syntax": "1.2.840.10008.1.2.4.50",
    }
    assert found["sop_instance_uid"] == "1.2.276.0.7230010.3.1.4.8"
    assert found["model"]["sha256"] == detector.bundle.sha256
    assert set(found["timing_ms"]) == {"read", "preprocess", "invoke", "decode", "total"}
    stages = sum(ms for stage, ms in found["timing_ms"].items() if stage != "total")
    assert stages == pytest.approx(found["timing_ms"]["total"], abs=0.01)
    assert 0 <= found["probability"] <= 1
    assert found["decision"] == ("opacity" if found["probability"] >= found["threshold"] else "no-opacity")
    for box in found["boxes"]:
        assert set(box) == {"x", "y", "width", "height", "score"}
        assert 0 <= box["x"] < box["x"] + box["width"] <= 512.1
        assert 0 <= box["y"] < box["y"] + box["height"] <= 512.1


@pytest.mark.parametrize(
    ("source", "reason", "message"),
    [
        (b"not a film at all", "not-dicom", "<bytes>"),
        (b"", "unreadable", "empty"),
        ("/no/such/film.dcm", "unreadable", "/no/such/film.dcm"),
        (np.zeros((300, 300), np.uint8), "blank", "<ndarray>"),
        (np.zeros((3, 3, 3, 3)), "unreadable", "shape"),
        (object(), "unreadable", "object"),
    ],
)
def test_a_bad_film_is_refused_and_raises_nothing(detector: Detector, source, reason: str, message: str) -> None:
    result = detector.predict(source)
    assert (result.status, result.reason, result.ok) == ("refused", reason, False)
    assert message in (result.message or "")
    assert list(result.to_dict()) == ["schema", "file", "status", "reason", "message"]
    assert (result.probability, result.decision, result.boxes) == (None, None, ())
    with pytest.raises(FilmRefused):
        detector.examine(source)


def test_operating_points(detector: Detector) -> None:
    film = np.asarray(drawn_chest(8))
    for name, threshold in detector.operating_points.items():
        assert detector.predict(film, operating_point=name).to_dict()["threshold"] == threshold
    with pytest.raises(UsageFault, match="no operating point 'none'; choose one of: balanced"):
        detector.predict(film, operating_point="none")


def test_threads_share_a_detector(detector: Detector) -> None:
    pictures = [np.asarray(drawn_chest(seed)) for seed in range(6)] * 4
    alone = [answers(detector.predict(p)) for p in pictures]
    with ThreadPoolExecutor(4) as threads:
        together = [answers(r) for r in threads.map(detector.predict, pictures)]
    assert together == alone


def test_many_in_this_process_keep_order_and_are_lazy(detector: Detector) -> None:
    taken: list[int] = []

    def sources():
        for seed in range(5):
            taken.append(seed)
            yield np.asarray(drawn_chest(seed))

    results = detector.predict_many(sources())
    first = next(results)
    assert taken == [0]
    assert answers(first) == answers(detector.predict(np.asarray(drawn_chest(0))))
    assert len(list(results)) == 4


def test_many_in_workers_give_the_same(detector: Detector, films: Path) -> None:
    sources = [films / "a.dcm", (films / "b.png").read_bytes(), np.asarray(drawn_chest(9)), films / "missing.dcm"]
    pooled = list(detector.predict_many(sources, jobs=2))
    assert [r.file for r in pooled] == [str(films / "a.dcm"), "<bytes>", "<ndarray>", str(films / "missing.dcm")]
    assert [answers(r) for r in pooled[:3]] == [answers(detector.predict(s)) for s in sources[:3]]
    assert pooled[3].reason == "unreadable"


def test_bad_arguments() -> None:
    from predict_films import MODEL

    with pytest.raises(UsageFault, match="threads must be at least 1"):
        Detector.open(MODEL, threads=0)
    with pytest.raises(UsageFault, match="backend"):
        Detector.open(MODEL, backend="abacus")
    with pytest.raises(UsageFault, match="no such model file"):
        Detector.open("/no/such/model.tflite")
    with Detector.open(MODEL) as opened, pytest.raises(UsageFault, match="jobs must be at least 1"):
        opened.predict_many([], jobs=0)


def test_a_closed_detector_can_be_used_again(model: str) -> None:
    with Detector.open(model) as opened:
        before = answers(opened.predict(np.asarray(drawn_chest(1))))
    assert answers(opened.predict(np.asarray(drawn_chest(1)))) == before


def test_no_film_is_changed(detector: Detector) -> None:
    film = np.asarray(drawn_chest(2)).copy()
    kept = film.copy()
    detector.predict(film)
    np.testing.assert_array_equal(film, kept)
