"""Which greys are a film's own, and that a film of few of them is shown with more."""

from __future__ import annotations

import io

import numpy as np
import pytest
from ingest_films import chest, film, written
from PIL import Image

from edge_pneumo.edge_runtime.levels import GREYS, own_range
from edge_pneumo.edge_runtime.radiograph import read_radiograph

HUNDRED = np.arange(100, 200)


def own(pixels: np.ndarray) -> tuple[float, float]:
    values, counts = np.unique(pixels, return_counts=True)
    return own_range(values.astype(float), counts)


def evenly(low: int, high: int, count: int = 20_000) -> np.ndarray:
    return np.linspace(low, high, count).round().astype(int)


@pytest.mark.parametrize(
    ("beside", "why"),
    [
        ([], "a film alone"),
        ([4095] * 9_000, "a white border"),
        ([0] * 60_000, "a black border that is most of the picture"),
        ([0] * 9_000 + [4095] * 9_000, "both"),
        ([65535] * 150, "letters"),
        ([65535] * 9_000 + [4095] * 300, "a border and letters of another white"),
        ([0] * 15 + [65535] * 15, "dead pixels"),
        (list(range(4000, 60_000, 200)), "letters with soft edges"),
        (list(range(3000, 3100)) * 10, "uneven metal, some hundredths of the film"),
    ],
)
@pytest.mark.parametrize("mirrored", [False, True])
def test_what_lies_beside_a_film_is_not_its_own(beside, why, mirrored):
    pixels = np.concatenate([evenly(500, 1500), np.array(beside, int)])
    low, high = own(70_000 - pixels if mirrored else pixels)
    low, high = (70_000 - high, 70_000 - low) if mirrored else (low, high)
    assert low == pytest.approx(500, abs=25), why
    # soft edges count as far as half of the film's range
    assert 1480 <= high <= (2020 if "soft" in why else 1525), why


def test_two_peaks_of_one_film_are_both_its_own():
    low, high = own(np.concatenate([evenly(100, 400, 8_000), evenly(2000, 3000, 12_000)]))
    assert (low, high) == (pytest.approx(100, abs=20), pytest.approx(3000, abs=20))


def test_a_picture_of_a_few_greys_is_taken_whole():
    assert own_range(GREYS[[0, 85, 170, 255]], np.array([4, 4, 4, 4])) == (0, 255)


@pytest.mark.parametrize("form", ["png", "jpeg", "dicom", "array"])
@pytest.mark.parametrize(("share", "lift"), [(0.2, 0), (0.2, 200), (0.4, 60)])
def test_a_film_of_little_contrast_is_shown_as_its_original(form, share, lift):
    original = chest(512)
    flat = np.rint(original * share + lift).astype(np.uint8)
    stream = io.BytesIO()
    if form == "array":
        source = flat
    elif form == "dicom":
        source = written(film(flat))
    else:
        Image.fromarray(flat).save(stream, form, **({"quality": 95} if form == "jpeg" else {}))
        source = stream.getvalue()
    assert np.abs(read_radiograph(source).pixels.astype(int) - read_radiograph(original).pixels).mean() < 8


def test_a_film_that_spans_enough_greys_stays_as_it_is():
    for share in (0.65, 0.8, 1.0):
        flat = np.rint(chest(512) * share + 20 * (1 - share)).astype(np.uint8)
        np.testing.assert_array_equal(read_radiograph(written(film(flat))).pixels, flat)


def test_a_window_that_is_much_too_wide_is_narrowed_and_said():
    values = chest(256).astype(np.uint16) * 4 + 1000
    shown = read_radiograph(written(film(values, WindowCenter=2048, WindowWidth=4096)))
    assert "hardly any contrast" in " ".join(shown.warnings)
    fitting = read_radiograph(written(film(values, WindowCenter=1510, WindowWidth=1020)))
    assert np.abs(shown.pixels.astype(int) - fitting.pixels).mean() < 8


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_a_window_that_fits_a_narrow_film_is_used_though_a_border_lies_far_off(photometric):
    inverted = photometric == "MONOCHROME1"
    values = np.pad(30_000 + (255 - chest(256) if inverted else chest(256)).astype(np.uint16), 60)
    if inverted:
        values[values == 0] = 65535
    shown = read_radiograph(
        written(film(values, PhotometricInterpretation=photometric, WindowCenter=30_128, WindowWidth=256))
    )
    assert np.abs(shown.pixels[60:-60, 60:-60].astype(int) - chest(256)).max() <= 2
    assert "not used" not in " ".join(shown.warnings)


def test_far_off_modality_values_keep_their_differences():
    data = written(film(chest(256).astype(np.uint16) * 16, RescaleSlope=1, RescaleIntercept=1e9))
    assert np.abs(read_radiograph(data).pixels.astype(int) - chest(256)).mean() < 8
