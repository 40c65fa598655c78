"""Stored values to grey levels: modality LUT, then VOI LUT or window, then polarity; hand-computed cases."""

from __future__ import annotations

import numpy as np
import pytest
from ingest_films import chest, film, written
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence

from edge_pneumo.edge_runtime import codecs, dicom, dicom_header, limits
from edge_pneumo.edge_runtime.grey import Rendering, render

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
SIGNED_RAMP = RAMP.astype(np.int16) - 1000


def shown(data: Dataset) -> tuple[np.ndarray, tuple[str, ...]]:
    """Grey levels of an uncompressed film, without the door."""
    header = dicom_header.parse(written(data), "film")
    layout = dicom.read_layout(header, "film")
    how, warnings = dicom.rendering(header, layout)
    pixels, doubts = render(codecs.decode(header, layout, None, limits.Deadline.start("film")).grey, how)
    return pixels, warnings + doubts


def lut(entries: list[int], first: int, bits: int) -> Sequence:
    item = Dataset()
    item.add_new(0x00283002, "US", [len(entries), first, bits])
    item.add_new(0x00283006, "OW", np.array(entries, "<u2").tobytes())
    return Sequence([item])


@pytest.mark.parametrize("ramp", [RAMP, SIGNED_RAMP], ids=["unsigned", "signed"])
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (2.5, -300)])
def test_windows_are_pydicoms(ramp, function, slope, intercept):
    data = film(
        ramp, BitsStored=16, HighBit=15, RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="US",
        WindowCenter=[1200, 40], WindowWidth=[1500, 400], VOILUTFunction=function,
    )  # fmt: skip
    values = apply_voi_lut(apply_modality_lut(ramp, data), data).astype(float)
    low, high = (
        (slope * v + intercept for v in (-32768, 32767))
        if ramp.dtype.kind == "i"
        else (intercept, slope * 65535 + intercept)
    )
    pixels, warnings = shown(data)
    assert np.abs(pixels - (values - low) / (high - low) * 255).max() <= 1.0
    assert all("check that it is for lungs" in sentence for sentence in warnings)


def test_a_window_that_leaves_most_of_the_film_black_or_white_is_used_with_a_doubt():
    pixels, warnings = shown(film(RAMP, BitsStored=12, HighBit=11, WindowCenter=2600, WindowWidth=1200))
    assert (pixels[0, 0], pixels[40, 40], pixels[-1, -1]) == (0, 128, 255)
    assert "71% of the film black or white; check that it is for lungs" in warnings[0]


def test_of_several_windows_the_first_that_shows_the_film_is_taken():
    windows = {"WindowCenter": [2600, 2048, 1024], "WindowWidth": [1200, 4096, 4096]}
    pixels, warnings = shown(film(RAMP, BitsStored=12, HighBit=11, **windows))
    assert np.abs(pixels - RAMP / 4095 * 255).max() <= 1
    assert warnings == ()


def test_modality_lut_comes_before_voi_lut_comes_before_polarity():
    data = film(
        np.array([[0, 1, 2, 3]] * 4, np.uint8),
        ModalityLUTSequence=lut([10, 11, 12, 13], 0, 8),
        VOILUTSequence=lut([0, 85, 170, 255], 10, 8),
        PhotometricInterpretation="MONOCHROME1",
    )
    data.ModalityLUTSequence[0].ModalityLUTType = "US"
    assert shown(data)[0][0].tolist() == [255, 170, 85, 0]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_monochrome1_is_inverted(photometric):
    pixels, _ = shown(film(chest(), PhotometricInterpretation=photometric))
    np.testing.assert_array_equal(pixels, 255 - chest() if photometric == "MONOCHROME1" else chest())


def test_overlays_in_unused_bits_are_ignored():
    with_overlay = RAMP | np.uint16(0x8000)
    with_overlay[::2] |= 0x4000
    clean, _ = shown(film(RAMP, BitsStored=12, HighBit=11))
    np.testing.assert_array_equal(shown(film(with_overlay, BitsStored=12, HighBit=11))[0], clean)


def test_values_below_a_high_bit():
    clean, _ = shown(film(RAMP, BitsStored=12, HighBit=11))
    np.testing.assert_array_equal(shown(film(RAMP << 4, BitsStored=12, HighBit=15))[0], clean)


def test_padding_is_black_and_does_not_count():
    padded = RAMP // 4 + 500
    padded[:20] = 65535
    pixels, _ = shown(film(padded, PixelPaddingValue=65535, PhotometricInterpretation="MONOCHROME1"))
    assert pixels[:20].max() == 0
    assert pixels[20, 0] == 255
    assert pixels[-1, -1] == 0


def test_without_a_window_deep_films_that_use_little_of_their_range_are_stretched():
    pixels, _ = shown(film(RAMP // 4 + 500))
    assert pixels.min() == 0
    assert pixels.max() == 255


@pytest.mark.parametrize(("stored", "white"), [(10, 1023), (12, 4095), (16, 4095), (16, 65535)])
def test_without_a_window_a_film_looks_the_same_at_any_depth(stored, white):
    """A real film hardly ever uses all greys, so a stretch would change what an 8-bit copy of it does not."""
    grey = (chest() * 0.8 + 20).astype(np.uint8)
    deep = np.rint(grey / 255 * white).astype(np.uint16)
    pixels, _ = shown(film(deep, BitsStored=stored, HighBit=stored - 1))
    assert np.abs(pixels.astype(int) - grey).max() <= 1


@pytest.mark.parametrize(
    ("tags", "warning"),
    [
        ({"WindowCenter": 60000, "WindowWidth": 10}, "a single grey"),
        ({"WindowCenter": 2000, "WindowWidth": 10}, "misses nearly all of the film"),
        ({"WindowCenter": 1e9, "WindowWidth": 3e9}, "a single grey"),
        ({"VOILUTSequence": lut([7, 7], 0, 8)}, "a single grey"),
        ({"RescaleSlope": 0, "RescaleIntercept": 5}, "rescale slope 0"),
    ],
)
def test_senseless_settings_are_said_and_not_used(tags, warning):
    pixels, warnings = shown(film(RAMP, **tags))
    assert warning in " ".join(warnings)
    assert np.ptp(pixels) == 255


def test_large_deep_films_are_shown_in_bands():
    raw = np.random.default_rng(0).integers(-(2**31), 2**31, (1200, 900)).astype(np.int32)
    pixels, _ = render(
        raw,
        Rendering(
            allocated=32, stored=32, high_bit=31, signed=True, windows=((0.0, 2.0**32),), window_function="LINEAR_EXACT"
        ),
    )
    assert np.abs(pixels - (raw / 2.0**32 + 0.5) * 255).max() <= 0.51


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
@pytest.mark.parametrize("bright", [True, False])
@pytest.mark.parametrize(("top", "bits"), [(4095, 16), (2500, 12), (2047, 12)])
def test_a_border_takes_no_greys_from_the_film(photometric, bright, top, bits):
    """12 bits said to be 16, or a film that uses half its range: white beside it, or black, must not make it darker."""
    values = np.round(chest(256) * (top / 255)).astype(np.uint16)
    most = (1 << bits) - 1
    if photometric == "MONOCHROME1":
        values = (top if bits == 16 else most) - values
    inverted = photometric == "MONOCHROME1"
    border = most if bright != inverted else 0
    tags = {"PhotometricInterpretation": photometric, "BitsStored": bits, "HighBit": bits - 1}
    bare, _ = shown(film(values, **tags))
    bordered, _ = shown(film(np.pad(values, 100, constant_values=border), **tags))
    if bright or bits == 16:  # with black it is taken as it is, as with 8 bits
        assert np.abs(bordered[100:-100, 100:-100].astype(int) - bare).mean() < 1.5
    assert (bordered[:100] == (255 if bright else 0)).all()


def test_letters_brighter_than_the_film_take_no_greys_from_it():
    values = chest(256).astype(np.uint16) * 16
    lettered = values.copy()
    lettered[5:20, 5:35] = 65535
    lettered[5:20, 4:34:6] = 30000  # their soft edges
    pixels, _ = shown(film(lettered))
    assert np.abs(pixels[40:].astype(int) - shown(film(values))[0][40:]).max() <= 3
