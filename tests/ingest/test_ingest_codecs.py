"""Every way of storing pixels gives the same stored values; pydicom and hand-written encoders are the oracles."""

from __future__ import annotations

import time

import numpy as np
import pytest
from ingest_films import chest, film, j2k, jpeg, written
from ingest_lossless import encode_lossless
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from edge_pneumo.edge_runtime import codec_pool, codecs, dicom, dicom_header, jpeg_lossless, limits, rle
from edge_pneumo.edge_runtime.radiograph import read_radiograph
from edge_pneumo.errors import FilmRefused

DEEP = (chest(96).astype(np.uint16) * 16) + 7
SIGNED = (DEEP.astype(np.int16)) - 2000


def stored(data: bytes) -> np.ndarray:
    """Stored values of the first frame, as ingestion decodes them."""
    header = dicom_header.parse(data, "film")
    return codecs.decode(header, dicom.read_layout(header, "film"), None, limits.Deadline.start("film")).grey


def run_length(pixels: np.ndarray) -> bytes:
    """Run-length coded by pydicom."""
    data = film(pixels)
    data.compress(RLELossless, encoding_plugin="pydicom")
    return written(data)


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
@pytest.mark.parametrize(
    "pixels", [chest(96), DEEP, SIGNED, DEEP.astype(np.uint32) * 70000], ids=["8", "16", "s16", "32"]
)
def test_uncompressed(syntax, pixels):
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    values = pixels.astype(pixels.dtype.newbyteorder(order))
    data = film(pixels, syntax=syntax, PixelData=values.tobytes())
    np.testing.assert_array_equal(stored(written(data)), pixels)


@pytest.mark.parametrize("pixels", [chest(96), DEEP, SIGNED], ids=["8", "16", "s16"])
def test_run_length(pixels):
    np.testing.assert_array_equal(stored(run_length(pixels)), pixels)


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("restart_rows", [0, 16])
def test_lossless_jpeg_predictors(predictor, restart_rows):
    rng = np.random.default_rng(predictor)
    pixels = rng.integers(0, 4096, (40, 33)).astype(np.uint16)
    stream = encode_lossless(pixels, 12, predictor, restart_rows=restart_rows)
    decoded = jpeg_lossless.decode(stream, limits.Deadline.start("film"))
    np.testing.assert_array_equal(decoded[..., 0], pixels)


@pytest.mark.parametrize(("precision", "shift"), [(8, 0), (10, 2), (16, 0)])
def test_lossless_jpeg_precisions_and_point_transform(precision, shift):
    pixels = np.random.default_rng(1).integers(0, 1 << precision, (20, 21, 3)).astype(np.uint16)
    decoded = jpeg_lossless.decode(encode_lossless(pixels, precision, 1, shift), limits.Deadline.start("film"))
    np.testing.assert_array_equal(decoded, pixels >> shift << shift)


def test_lossless_jpeg_longer_than_one_chunk(monkeypatch):
    monkeypatch.setattr(jpeg_lossless, "CHUNK_BYTES", 100)
    decoded = jpeg_lossless.decode(encode_lossless(DEEP), limits.Deadline.start("film"))
    np.testing.assert_array_equal(decoded[..., 0], DEEP)


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEG2000Lossless])
def test_compressed_values_at_the_top_of_their_words_are_those_at_the_bottom(syntax):
    """12 bits, High Bit 15: the compressed words have 16, of which the upper 12 count."""
    top = (np.kron(DEEP, np.ones((4, 4), np.uint16)) % 4096) << 4
    stream = encode_lossless(top, 16) if syntax == JPEGLosslessSV1 else j2k(top)
    tags = {"BitsStored": 12, "HighBit": 15}
    packed = read_radiograph(written(film(top, syntax=syntax, PixelData=encapsulate([stream]), **tags)), force=True)
    plain = read_radiograph(written(film(top, **tags)), force=True)
    np.testing.assert_array_equal(packed.pixels, plain.pixels)


def test_lossless_jpeg_in_dicom():
    data = film(DEEP, syntax=JPEGLosslessSV1, PixelData=encapsulate([encode_lossless(DEEP)]), BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(stored(written(data)), DEEP)


def test_jpeg_2000_in_a_child():
    np.testing.assert_array_equal(stored(written(film(DEEP, syntax=JPEG2000Lossless, BitsStored=16))), DEEP)


def test_jpeg_in_several_fragments():
    whole = jpeg(chest())
    split = film(syntax=JPEGBaseline8Bit, PixelData=encapsulate([whole], fragments_per_frame=3))
    np.testing.assert_array_equal(stored(written(split)), stored(written(film(syntax=JPEGBaseline8Bit))))


@pytest.mark.parametrize(
    ("syntax", "module", "install"),
    [
        (JPEGLSLossless, "jpeg_ls", r"pyjpegls.*pip install 'edge-pneumo\[dicom\]'"),
        (HTJ2KLossless, "openjpeg", r"pylibjpeg-openjpeg.*pip install 'edge-pneumo\[dicom\]'"),
        (JPEGExtended12Bit, "libjpeg", "12-bit JPEG needs .*pip install pylibjpeg-libjpeg"),
    ],
)
def test_a_missing_codec_is_named(monkeypatch, syntax, module, install):
    monkeypatch.setattr(codecs, "find_spec", lambda name: None)
    stream = {
        JPEGLSLossless: b"\xff\xd8\xff\xf7\0\x0b\x08\0\x80\0\x80\1\1\x11\0\xff\xd9",
        HTJ2KLossless: j2k(chest()),
        JPEGExtended12Bit: b"\xff\xd8\xff\xc1\0\x0b\x0c\0\x80\0\x80\1\1\x11\0\xff\xda\0\0",
    }[syntax]
    with pytest.raises(FilmRefused, match=install) as caught:
        read_radiograph(written(film(syntax=syntax, PixelData=encapsulate([stream]))))
    assert caught.value.reason == "unsupported-transfer-syntax"


def test_an_unknown_syntax_is_named():
    with pytest.raises(FilmRefused, match=r"transfer syntax 1\.2\.840\.10008\.1\.2\.4\.100 is not read") as caught:
        read_radiograph(written(film(syntax=MPEG2MPML, PixelData=encapsulate([b"video"]))))
    assert caught.value.reason == "unsupported-transfer-syntax"


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEG2000Lossless])
def test_a_compressed_picture_of_another_size_is_refused(syntax):
    with pytest.raises(
        FilmRefused, match="the header says 128 x 130 pixels, the compressed picture has 128 x 128"
    ) as caught:
        read_radiograph(written(film(syntax=syntax, Rows=130)))
    assert caught.value.reason == "bad-dimensions"


def test_runs_beyond_the_picture_are_not_decoded():
    bomb = np.array([1, 64] + [0] * 14, "<u4").tobytes() + b"\x81\0" * 1_000_000
    assert len(rle.decode(bomb, 4096, 1, 1, limits.Deadline.start("film"))) == 4096


def test_a_codec_that_hangs_is_killed(monkeypatch):
    monkeypatch.setattr(codec_pool, "CHILD", "import time; time.sleep(60)")
    pool, started = codec_pool.CodecPool(), time.monotonic()
    with pytest.raises(FilmRefused, match="not read within") as caught:
        pool.decode(JPEG2000Lossless, b"x", {}, limits.Deadline.start("film", 0.3))
    assert caught.value.reason == "timeout"
    assert time.monotonic() - started < 5


def test_a_codec_that_crashes_is_replaced(monkeypatch):
    pool = codec_pool.CodecPool()
    with monkeypatch.context() as patch:
        patch.setattr(codec_pool, "CHILD", "import os; os.abort()")
        with pytest.raises(FilmRefused, match="crash") as caught:
            pool.decode(JPEG2000Lossless, b"x", {}, limits.Deadline.start("film"))
    assert caught.value.reason == "unreadable"
    with pytest.raises(FilmRefused, match="cannot be decoded"):
        pool.decode(JPEG2000Lossless, b"x", {}, limits.Deadline.start("film"))
    pool.close()


def test_jpeg_ls_without_an_end_is_truncated_and_not_searched_for():
    """CharLS reads on without end where the end-of-image marker is missing."""
    code = b"\xff\xd8\xff\xf7\0\x0b\x08\0\x80\0\x80\1\1\x11\0\xff\xda\0\x08\1\1\0\0\0\0" + bytes(100)
    data = written(film(chest(), syntax=JPEGLSLossless, PixelData=encapsulate([code])))
    with pytest.raises(FilmRefused, match="JPEG-LS pixels have no end") as caught:
        read_radiograph(data)
    assert caught.value.reason == "truncated"


def test_jpeg_ls_padded_before_its_end_marker():
    """Some encoders make the length even within the picture, which CharLS alone refuses."""
    jpeg_ls = pytest.importorskip("jpeg_ls")
    code = bytes(jpeg_ls.encode_array(chest()))
    padded = code[:-2] + b"\0" + code[-2:]
    data = written(film(chest(), syntax=JPEGLSLossless, PixelData=encapsulate([padded])))
    np.testing.assert_array_equal(read_radiograph(data).pixels, chest())
