"""Framing: of a film with wide borders the network is shown the part within, of one that lies, the upright film; boxes
come back in the film's own pixels."""

from __future__ import annotations

import io

import numpy as np
import pytest
from ingest_films import chest, film, jpeg, written
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from edge_pneumo.benchmarks.framing_check import HEADS, as_dicom
from edge_pneumo.edge_runtime.framing import Framing, find_bands
from edge_pneumo.edge_runtime.preprocess import Geometry, InputSpec, preprocess
from edge_pneumo.edge_runtime.radiograph import Radiograph, read_radiograph
from edge_pneumo.errors import FilmRefused

SPEC = InputSpec(128)


def shown(source, size_px: int = 128):
    return preprocess(read_radiograph(source, size_px=size_px), InputSpec(size_px))


@pytest.mark.parametrize("grey", [0, 90, 255])
@pytest.mark.parametrize("border", [(60, 60, 60, 60), (300, 300, 300, 300), (0, 0, 256, 256), (30, 90, 40, 100)])
def test_a_border_changes_nothing_of_what_the_network_is_shown(border, grey):
    top, bottom, left, right = border
    bordered = np.pad(chest(512), ((top, bottom), (left, right)), constant_values=grey)
    read = read_radiograph(bordered)
    assert read.framing == Framing(left, top, 512, 512)
    assert (read.width, read.height) == (512 + left + right, 512 + top + bottom)  # the film stays what it is
    assert any("512 x 512" in sentence for sentence in read.warnings)
    tensor, geometry = preprocess(read, SPEC)
    np.testing.assert_array_equal(tensor, shown(chest(512))[0])
    assert geometry.to_source([[0, 0, 64, 128]])[0] == pytest.approx([left, top, left + 256, top + 512])


def test_narrow_borders_are_shown_as_in_the_films_it_learnt_from():
    bordered = np.pad(chest(512), 10)
    read = read_radiograph(bordered)
    assert read.framing is None
    assert read.warnings == ()


def test_a_border_within_a_border():
    """A black border with a white one around it, and a thin frame around both."""
    sheet = np.pad(np.pad(np.pad(chest(512), 100), 80, constant_values=255), 4)
    assert read_radiograph(sheet).framing == Framing(184, 184, 512, 512)


@pytest.mark.parametrize("grey", [0, 255])
def test_letters_and_a_banner_do_not_keep_a_border(grey):
    bordered = np.pad(chest(512), 200, constant_values=grey)
    bordered[40:60, 300:380] = 255 - grey
    assert read_radiograph(bordered).framing == Framing(200, 200, 512, 512)
    bordered[40:70, 20:-20:2] = 255 - grey  # a line of text from one side to the other
    bordered[-60:-40, 20:400:3] = 255 - grey
    assert read_radiograph(bordered).framing == Framing(200, 200, 512, 512)


def test_what_takes_much_of_the_border_stays():
    """Half a film more below the film: as likely two films on one sheet as text."""
    bordered = np.pad(chest(512), 200)
    bordered[750:900, 200:712] = chest(512)[:150]
    assert read_radiograph(bordered, force=True).framing.height > 600


def test_a_film_that_takes_less_than_a_tenth_of_a_sheet_is_not_taken_for_letters():
    assert read_radiograph(np.pad(chest(256), 1400)).framing == Framing(1400, 1400, 256, 256)


def test_a_scan_with_grain_in_its_border():
    grain = np.random.default_rng(0).normal(0, 2, (912, 912))
    sheet = np.clip(np.pad(chest(512), 200, constant_values=230) + grain, 0, 255).astype(np.uint8)
    assert read_radiograph(sheet).framing == Framing(200, 200, 512, 512)


def on_a_sheet(pads, grey: float, grain: float = 0.0, shade: float = 0.0, picture=None):
    """A film on a sheet with grain (standard deviation) that gets darker by `shade` towards the middle of its sides."""
    picture = chest(512) if picture is None else picture
    top, bottom, left, right = pads
    rows, columns = picture.shape[0] + top + bottom, picture.shape[1] + left + right
    darker = np.linspace(-1, 1, rows)[:, np.newaxis] ** 2 + np.linspace(-1, 1, columns) ** 2
    sheet = grey - shade * darker + np.random.default_rng(0).normal(0, grain, (rows, columns))
    sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return np.clip(np.rint(sheet), 0, 255).astype(np.uint8)


def close_to(found: Framing, left: int, top: int, side: int, within: int) -> bool:
    edges = (found.left, found.top, found.left + found.width, found.top + found.height)
    return all(abs(a - b) <= within for a, b in zip(edges, (left, top, left + side, top + side), strict=True))


@pytest.mark.parametrize(
    ("grey", "grain", "shade"), [(60, 8, 0), (128, 16, 0), (0, 10, 0), (200, 25, 0), (230, 0, 30), (230, 5, 30)]
)
def test_borders_with_grain_or_shade_are_left_out_up_to_a_cell(grey, grain, shade):
    read = read_radiograph(on_a_sheet((200, 200, 200, 200), grey, grain, shade))
    assert close_to(read.framing, 200, 200, 512, within=912 // 60)
    assert any("wide border is left out" in sentence for sentence in read.warnings)


def test_a_border_with_grain_in_a_black_one_and_letters_in_it():
    sheet = on_a_sheet((150, 150, 150, 150), 200, 8)
    sheet[30:50, 300:360] = 0
    assert close_to(read_radiograph(np.pad(sheet, 100)).framing, 250, 250, 512, within=17)


@pytest.mark.parametrize("pads", [(0, 400, 0, 400), (0, 300, 0, 0)])
def test_a_film_in_a_corner_of_a_sheet_with_grain_is_answered_with_a_doubt(pads):
    read = read_radiograph(on_a_sheet(pads, 60, 8))
    assert close_to(read.framing, 0, 0, 512, within=15)
    assert any("lungs are whole" in sentence for sentence in read.warnings)


def test_a_film_with_grain_all_over_keeps_its_edges():
    grain = np.random.default_rng(0).normal(0, 12, (512, 512))
    noisy = np.clip(chest(512) + grain, 0, 255).astype(np.uint8)
    assert read_radiograph(noisy).framing is None


@pytest.mark.parametrize("sd", [5, 20, 60])
@pytest.mark.parametrize("side", [300, 600, 1024])
def test_grain_alone_is_no_film(side, sd):
    grain = np.clip(np.random.default_rng(sd).normal(128, sd, (side, side)), 0, 255).astype(np.uint8)
    with pytest.raises(FilmRefused) as refused:
        read_radiograph(grain)
    assert refused.value.reason == "blank"


@pytest.mark.parametrize("where", [(0, 700, 0, 700), (700, 0, 0, 700), (0, 0, 600, 0), (600, 0, 0, 0)])
def test_a_film_in_the_corner_of_a_sheet_or_at_one_side_is_answered_with_a_doubt(where):
    top, bottom, left, right = where
    read = read_radiograph(np.pad(chest(512), ((top, bottom), (left, right)), constant_values=255))
    assert read.framing == Framing(left, top, 512, 512)
    assert "check that the lungs are whole" in read.warnings[0]


@pytest.mark.parametrize(("grey", "shown"), [(255, Framing(162, 0, 400, 724)), (0, None)])
def test_a_portrait_film_padded_to_a_square(grey, shown):
    """With black it is what the letterbox would make of it; white would stay as it is."""
    pixels = np.asarray(Image.fromarray(chest(724)).resize((400, 724)))
    assert read_radiograph(np.pad(pixels, ((0, 0), (162, 162)), constant_values=grey)).framing == shown


def test_too_little_within_a_border_is_refused_as_it_is_without():
    with pytest.raises(FilmRefused, match="within its border only 60 x 60 pixels") as caught:
        read_radiograph(np.pad(chest(60), 100))
    assert caught.value.reason == "bad-dimensions"
    assert read_radiograph(np.pad(chest(60), 100), force=True).framing is None
    assert read_radiograph(np.pad(chest(64), 100)).framing == Framing(100, 100, 64, 64)


def test_a_jpeg_with_a_wide_border_is_decoded_with_as_many_pixels_as_the_part_needs():
    """For the whole sheet an eighth of its pixels would do, which would leave the part 64 of the 128 wanted."""
    packed = jpeg(np.pad(chest(512), 256), quality=98)
    assert read_radiograph(packed, size_px=128).pixels.shape == (256, 256)
    scaled, geometry = shown(packed)
    whole, _ = shown(np.asarray(Image.open(io.BytesIO(packed))))
    assert np.abs(scaled.astype(float) - whole).mean() < 1.5
    assert geometry.to_source([[0, 0, 128, 128]])[0] == pytest.approx([256, 256, 768, 768], abs=8)


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("border", [0, 100])
def test_a_film_that_lies_as_its_header_says_is_turned(turns, border):
    pixels = np.pad(chest(384)[:, :320], border)
    lying = written(film(np.ascontiguousarray(np.rot90(pixels, turns)), PatientOrientation=HEADS[turns].split("\\")))
    read = read_radiograph(lying)
    assert read.framing.quarter_turns == (4 - turns) % 4
    assert "it is turned" in " ".join(read.warnings)
    tensor, geometry = preprocess(read, SPEC)
    np.testing.assert_array_equal(tensor, shown(chest(384)[:, :320])[0])
    # The upper left quarter of the film, as it lies in the file: numpy says where.
    marked = np.zeros(pixels.shape)
    marked[border : border + 192, border : border + 160] = 1
    rows, columns = np.nonzero(np.rot90(marked, turns))
    there = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    width = round(320 * 128 / 384)
    pad = (128 - width) // 2
    assert geometry.to_source([[pad, 0, pad + width / 2, 64]])[0] == pytest.approx(there, abs=0.1)
    assert geometry.to_input([there])[0] == pytest.approx([pad, 0, pad + width / 2, 64], abs=0.1)


@pytest.mark.parametrize("orientation", ["F\\R", "H\\L", "L\\H", "R\\H"])
def test_a_header_that_lies_turns_nothing(orientation):
    read = read_radiograph(written(film(chest(256), PatientOrientation=orientation.split("\\"))))
    assert read.framing is None
    assert "it is not turned" in " ".join(read.warnings)
    assert read_radiograph(written(film(chest(256), PatientOrientation=["L", "F"]))).warnings == ()


def test_jpeg_in_dicom_that_lies_in_a_border():
    pixels = np.ascontiguousarray(np.rot90(np.pad(chest(512), 256)))
    lying = written(film(pixels, syntax=JPEGBaseline8Bit, PatientOrientation=["F", "R"]))
    tensor, geometry = shown(lying)
    assert np.abs(tensor.astype(float) - shown(chest(512))[0]).mean() < 4
    assert geometry.quarter_turns == 3


@pytest.mark.parametrize("turns", range(4))
def test_boxes_there_and_back(turns):
    where = Geometry(0.25, 0.5, 7, 3, 300, 200, 40, 50, turns)
    boxes = np.float32([[60, 70, 160, 110], [40, 50, 340, 250]])
    assert where.to_source(where.to_input(boxes)) == pytest.approx(boxes, abs=1e-3)
    beyond = where.to_source([[-1000, -1000, 1000, 1000]])[0]
    assert beyond.tolist() == [40, 50, 340, 250]  # never into the border, nor off the film


def test_a_radiograph_made_by_hand_is_shown_whole():
    bordered = np.pad(chest(512), 300)
    tensor, geometry = preprocess(Radiograph(bordered, 1112, 1112), SPEC)
    assert (tensor[:30] == 0).all()
    assert geometry.to_source([[0, 0, 128, 128]])[0].tolist() == [0, 0, 1112, 1112]


def test_bands_of_a_picture_without_any_contrast():
    assert find_bands(np.zeros((20, 30), np.uint8)) == (0, 0, 0, 0)


def test_films_of_the_benchmark_say_how_they_lie():
    read = read_radiograph(as_dicom(np.rot90(chest(256)).copy(), HEADS[1]))
    assert read.framing == Framing(0, 0, 256, 256, 3)


ROWS_HALVED = chest(512)[::2]  # 256 x 512, each pixel twice as high as wide


@pytest.mark.parametrize(
    "tags",
    [
        {"PixelSpacing": [0.286, 0.143]},
        {"ImagerPixelSpacing": [0.2, 0.1]},
        {"PixelAspectRatio": [2, 1]},
        {"PixelSpacing": [0.286, 0.143], "PixelAspectRatio": [1, 1]},  # the spacing is what counts
    ],
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGBaseline8Bit])
def test_pixels_that_are_not_square_are_shown_as_the_film_was(tags, syntax):
    read = read_radiograph(written(film(ROWS_HALVED, syntax=syntax, **tags)), size_px=128)
    assert (read.width, read.height) == (512, 256)
    assert not any("as long as wide" in sentence for sentence in read.warnings)
    tensor, geometry = preprocess(read, SPEC)
    assert np.abs(tensor.astype(int) - shown(chest(512))[0].astype(int)).mean() < 4
    assert geometry.to_source([[32, 64, 64, 128]])[0] == pytest.approx([128, 128, 256, 256])


def test_pixels_that_are_not_square_of_a_film_that_lies():
    lying = np.ascontiguousarray(np.rot90(ROWS_HALVED))  # 512 x 256: each pixel now twice as wide as high
    data = as_dicom(lying, HEADS[1], PixelSpacing=[0.143, 0.286])
    read = read_radiograph(data, size_px=128)
    assert read.framing.quarter_turns == 3
    tensor, geometry = preprocess(read, SPEC)
    assert np.abs(tensor.astype(int) - shown(chest(512))[0].astype(int)).mean() < 4
    box = np.array([[32, 64, 64, 128]], np.float32)
    assert geometry.to_input(geometry.to_source(box))[0] == pytest.approx(box[0])


@pytest.mark.parametrize(
    "tags", [{"PixelSpacing": [0.2, 0.0]}, {"PixelSpacing": [9, 1]}, {"PixelSpacing": [0.1434, 0.143]}, {}]
)
def test_spacings_that_cannot_be_or_hardly_differ_change_nothing(tags):
    read = read_radiograph(written(film(**tags)))
    np.testing.assert_array_equal(preprocess(read, SPEC)[0], preprocess(read_radiograph(written(film())), SPEC)[0])
