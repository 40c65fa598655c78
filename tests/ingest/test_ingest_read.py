"""`read_radiograph`: every kind of source, what it says of a film, and why it refuses."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import tracemalloc

import numpy as np
import pydicom
import pytest
from ingest_films import chest, film, jpeg, written
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit

from edge_pneumo.edge_runtime import dicom_header, limits
from edge_pneumo.edge_runtime.preprocess import InputSpec, preprocess
from edge_pneumo.edge_runtime.radiograph import read_radiograph
from edge_pneumo.errors import FilmRefused


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def item(**tags: str) -> list[Dataset]:
    code = Dataset()
    for keyword, value in tags.items():
        setattr(code, keyword, value)
    return [code]


FILM = written(film())


@pytest.mark.parametrize(
    "source",
    [FILM, bytearray(FILM), io.BytesIO(FILM), film(), chest(), png(chest()), FILM[132:]],
    ids=["bytes", "bytearray", "file", "Dataset", "array", "png", "no preamble"],
)
def test_sources_give_the_same_pixels(source):
    read = read_radiograph(source)
    np.testing.assert_array_equal(read.pixels, chest())
    assert (read.width, read.height, read.warnings) == (128, 128, ())


@pytest.mark.parametrize(("side", "size_px"), [(1024, 256), (1024, 128), (512, 128)])
def test_a_film_looks_the_same_as_jpeg_and_with_all_its_pixels(side, size_px):
    """JPEG is decoded at a lower scale, all pixels are averaged down: neither may be the sharper one."""
    packed = jpeg(chest(side), quality=98)
    whole = np.asarray(Image.open(io.BytesIO(packed)))
    spec = InputSpec(size_px)
    scaled, averaged = (
        preprocess(read_radiograph(source, size_px=size_px), spec)[0][..., 0].astype(float)
        for source in (packed, whole)
    )
    assert np.abs(scaled - averaged).mean() < 0.8
    grain = [float(np.diff(one, 2, axis=0).std()) for one in (scaled, averaged)]
    assert grain[1] == pytest.approx(grain[0], rel=0.1)


def test_paths_and_stdin(tmp_path):
    path = tmp_path / "film"
    path.write_bytes(FILM)
    assert read_radiograph(path).source == str(path)
    program = "from edge_pneumo.edge_runtime.radiograph import read_radiograph as r; print(r('-').pixels.sum())"
    done = subprocess.run([sys.executable, "-c", program], input=FILM, capture_output=True, check=True)
    assert int(done.stdout) == chest().sum()


@pytest.mark.parametrize("kind", ["png", "rgb png", "palette png", "array"])
def test_sixteen_bits_and_colour_modes(kind):
    deep = chest().astype(np.uint16) * 128
    source = {
        "png": png(deep),
        "array": deep,
        "rgb png": png(np.repeat(chest()[..., None], 3, 2)),
        "palette png": png(np.asarray(Image.fromarray(chest()).convert("P").convert("L"))),
    }[kind]
    read = read_radiograph(source)
    assert read.pixels.dtype == np.uint8
    assert np.corrcoef(read.pixels.ravel(), chest().ravel())[0, 1] > 0.999


@pytest.mark.parametrize("kind", ["jpeg", "png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation, kind):
    upright = chest(128)[:, :96]
    undo = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
    }[orientation]  # fmt: skip
    stored = Image.fromarray(upright) if undo is None else Image.fromarray(upright).transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    if kind == "png":
        stream = io.BytesIO()
        stored.save(stream, "PNG", exif=exif)
        read = read_radiograph(stream.getvalue())
    else:
        read = read_radiograph(jpeg(np.asarray(stored), exif=exif.tobytes(), quality=98))
    assert (read.width, read.height) == (96, 128)
    assert np.abs(read.pixels.astype(int) - upright).mean() < 3


def test_a_jpeg_is_decoded_no_larger_than_needed():
    data = written(film(chest(1024), syntax=JPEGBaseline8Bit))
    read = read_radiograph(data, size_px=224)
    assert read.pixels.shape == (256, 256)
    assert (read.width, read.height) == (1024, 1024)


@pytest.mark.parametrize("size_px", [None, 224])
def test_training_and_clinic_see_identical_pixels(tmp_path, size_px):
    """The cache of training reads bytes, the clinic a path, the API a Dataset: one function, one result."""
    data = written(film(chest(512), syntax=JPEGBaseline8Bit))
    path = tmp_path / "a.dcm"
    path.write_bytes(data)
    spec = InputSpec(size_px=224)
    ways = [read_radiograph(s, size_px=size_px) for s in (data, path, pydicom.dcmread(path), io.BytesIO(data))]
    tensors = [preprocess(way, spec)[0] for way in ways]
    for tensor in tensors[1:]:
        np.testing.assert_array_equal(tensor, tensors[0])


def test_facts_of_the_header():
    facts = read_radiograph(written(film(ViewPosition="AP"))).acquisition
    assert (facts.modality, facts.body_part, facts.view, facts.sex) == ("CR", "CHEST", "AP", "F")
    assert (facts.photometric, facts.bits_stored, facts.transfer_syntax) == ("MONOCHROME2", 8, "1.2.840.10008.1.2.1")


@pytest.mark.parametrize(
    ("age", "years"), [("32", 32.0), ("032Y", 32.0), ("006M", 0.5), ("", None), ("old", None), ("148", 148.0)]
)
def test_ages_as_rsna_writes_them(age, years):
    with pydicom.config.disable_value_validation():
        data = film()
        data.PatientAge = age
    assert read_radiograph(written(data)).acquisition.age_years == years


def test_header_reader_agrees_with_pydicom_on_nested_sequences():
    data = film(syntax=ImplicitVRLittleEndian)
    data.AnatomicRegionSequence = item(CodeMeaning="Chest")
    data.ReferencedImageSequence = item(ReferencedSOPInstanceUID="1.2.3")
    data["ReferencedImageSequence"].is_undefined_length = True
    data.ReferencedImageSequence[0].PurposeOfReferenceCodeSequence = item(CodeValue="1")
    data.ReferencedImageSequence[0]["PurposeOfReferenceCodeSequence"].is_undefined_length = True
    data.ReferencedImageSequence[0].is_undefined_length_sequence_item = True
    header = dicom_header.parse(written(data), "film")
    again = pydicom.dcmread(io.BytesIO(written(data)))
    assert list(header.elements) == [int(e.tag) for e in again]
    region = header.first_item(0x00082218)
    assert region is not None
    assert region.text(0x00080104) == "Chest"


REFUSALS = [
    (b"", "unreadable", "empty, 0 bytes"),
    (b"%PDF-1.4 a report", "not-dicom", "neither DICOM, PNG nor JPEG"),
    (written(film(PixelData=None)), "no-pixels", r"no Pixel Data \(7FE0,0010\)"),
    (FILM[:-4000], "truncated", "12,384 bytes of pixels; 128 x 128 pixels need 16,384"),
    (FILM[:400], "truncated", "ends before its pixels"),
    (FILM[:140], "truncated", "ends"),
    (written(film(Rows=0)), "bad-dimensions", "128 columns x 0 rows"),
    (written(film(Rows=None)), "bad-dimensions", "128 columns x 0 rows"),
    (written(film(Rows=500)), "truncated", "128 x 500 pixels need 64,000"),
    (written(film(Rows=32)), "bad-dimensions", "128 x 32 pixels; a film has at least 64 x 64"),
    (written(film(Rows=1280)), "bad-dimensions", "is a strip"),
    (written(film(Rows=60000, Columns=60000)), "too-large", "60000 x 60000 pixels"),
    (written(film(BitsAllocated=12)), "unreadable", "8 bits in 12"),
    (written(film(SamplesPerPixel=7)), "unreadable", "7 samples a pixel"),
    (png(chest(32)), "bad-dimensions", "32 x 32"),
    (png(chest())[:-900], "truncated", "the PNG cannot be decoded"),
    (png(chest())[:20], "truncated", "ends within its header"),
    (jpeg(chest())[:-900], "truncated", "its JPEG cannot be decoded"),
    (jpeg(chest())[:30], "truncated", "ends before the size"),
    (np.zeros((4, 4, 4), np.uint8), "unreadable", r"array of shape \(4, 4, 4\)"),
    (np.zeros((99, 99)), "unreadable", "float64"),
    (42, "unreadable", "int is no film"),
    ("/no/such/film.dcm", "unreadable", "No such file"),
]


@pytest.mark.parametrize(("source", "reason", "message"), REFUSALS, ids=[f"{r[1]}-{i}" for i, r in enumerate(REFUSALS)])
def test_refusals(source, reason, message):
    with pytest.raises(FilmRefused, match=message) as caught:
        read_radiograph(source)
    assert caught.value.reason == reason


def test_lengths_of_four_gigabytes_cost_nothing():
    at = FILM.index(struct.pack("<HH", 0x7FE0, 0x0010))
    lie = FILM[: at + 8] + b"\xfe\xff\xff\xff" + FILM[at + 12 :]
    tracemalloc.start()
    np.testing.assert_array_equal(read_radiograph(lie).pixels, chest())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000


def test_deflate_that_swells_is_stopped(monkeypatch):
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", 100_000)
    data = written(film(np.zeros((400, 400), np.uint8), syntax=DeflatedExplicitVRLittleEndian))
    assert len(data) < 10_000
    with pytest.raises(FilmRefused, match="inflates to over 100,000 bytes") as caught:
        read_radiograph(data)
    assert caught.value.reason == "too-large"


def test_files_beyond_the_limit_are_not_read(monkeypatch, tmp_path):
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", 1000)
    path = tmp_path / "large.dcm"
    path.write_bytes(FILM)
    with pytest.raises(FilmRefused, match="over 1,000 bytes") as caught:
        read_radiograph(path)
    assert caught.value.reason == "too-large"


def test_a_header_of_ten_million_elements_is_refused():
    start = FILM.index(b"\x28\0\x02\0US")
    with pytest.raises(FilmRefused, match="over 100,000 elements") as caught:
        read_radiograph(FILM[:start] + b"\x09\0\1\0LO\0\0" * 120_000 + FILM[start:])
    assert caught.value.reason == "unreadable"


def test_progressive_jpeg_with_endless_scans_is_refused():
    data = jpeg(chest(), progressive=True)
    scan = data.rindex(b"\xff\xda")
    with pytest.raises(FilmRefused, match="over 100 scans") as caught:
        read_radiograph(data[:scan] + data[scan:-2] * 101 + b"\xff\xd9")
    assert caught.value.reason == "too-large"


def test_pydicom_is_not_imported_for_common_films(tmp_path):
    for name, data in {"a.dcm": FILM, "b.dcm": written(film(syntax=JPEGBaseline8Bit)), "c.png": png(chest())}.items():
        (tmp_path / name).write_bytes(data)
    program = (
        "import sys, pathlib; from edge_pneumo.edge_runtime.radiograph import read_radiograph\n"
        "for p in sorted(pathlib.Path(sys.argv[1]).iterdir()): read_radiograph(p)\n"
        "print(sorted({'pydicom', 'tensorflow', 'zipfile'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, check=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
