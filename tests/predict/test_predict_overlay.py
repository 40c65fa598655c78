"""The overlay: its size, where the boxes and the heat lie, and what it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from predict_films import drawn_chest

from edge_pneumo.benchmarks.framing_check import HEADS, as_dicom
from edge_pneumo.edge_runtime.decode import Box, Finding, RawOutputs
from edge_pneumo.edge_runtime.outputs.overlay import draw_overlay, heat_of_part, render_overlay, write_overlay
from edge_pneumo.edge_runtime.predict import Detector
from edge_pneumo.edge_runtime.preprocess import Geometry, InputSpec, preprocess
from edge_pneumo.edge_runtime.radiograph import Radiograph, read_radiograph
from edge_pneumo.edge_runtime.result import FilmResult, ModelIdentity
from edge_pneumo.errors import FilmRefused


def result(boxes: tuple[Box, ...] = (), probability: float = 0.83) -> FilmResult:
    model = ModelIdentity("a model", "1", "0" * 64)
    return FilmResult("film", "ok", finding=Finding(probability, 0.41, boxes), model=model)


def film(width: int, height: int, grey: int = 90) -> Radiograph:
    return Radiograph(np.full((height, width), grey, np.uint8), width, height)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1024, 1024), (1024, 1024)), ((3000, 2500), (1024, 853)), ((128, 100), (512, 400)), ((600, 800), (600, 800))],
)
def test_size_is_limited_and_readable(size: tuple[int, int], expected: tuple[int, int]) -> None:
    picture = draw_overlay(film(*size), result())
    assert picture.width == expected[0]
    assert 0 < picture.height - expected[1] < 0.2 * max(expected)


def test_boxes_are_drawn_where_they_are() -> None:
    box = Box(200, 300, 600, 500, 0.71)
    picture = np.asarray(draw_overlay(film(1000, 1000), result((box,)))).astype(int)
    cyan = (picture[:1000, :, 2] > 230) & (picture[:1000, :, 0] < 90)
    rows, columns = np.nonzero(cyan)
    assert (columns.min(), columns.max()) == pytest.approx((200, 600), abs=3)
    assert rows.max() == pytest.approx(500, abs=3)
    assert cyan[400, 199:204].any()
    assert not cyan[400, 230:570].any()


@pytest.mark.parametrize("box", [Box(0, 0, 1000, 1000, 1.0), Box(990, 0, 1000, 4, 0.2), Box(0, 996, 3, 1000, 0.2)])
def test_boxes_at_the_edge_keep_their_label_inside(box: Box) -> None:
    picture = np.asarray(draw_overlay(film(1000, 1000), result((box,))))
    assert ((picture[:1000, :, 2] > 230) & (picture[:1000, :, 0] < 90)).sum() > 300


def test_film_without_findings_is_shown_as_it_is() -> None:
    picture = np.asarray(draw_overlay(film(600, 600), result(probability=0.1)))
    assert (picture[:600] == 90).all()


def test_heat_lies_where_the_network_looked() -> None:
    # a film twice as wide as high: the letterbox puts 16 rows of 64 above and below it, 4 cells of 16 each
    wide = film(800, 400)
    _, geometry = preprocess(wide, InputSpec(size_px=256))
    logits = np.full((16, 16), -20, np.float32)
    logits[6, 12] = 20.0
    scores = heat_of_part(RawOutputs(0.0, logits, np.zeros((16, 16, 4), np.float32)), geometry, 0.8, (400, 200))
    row, column = np.unravel_index(scores.argmax(), scores.shape)
    assert scores.max() == pytest.approx(0.8, abs=0.02)
    # cell (6, 12) covers input pixels y 96..112, x 192..208: film y 100..150 of 400, x 600..650 of 800; halved here
    assert 50 <= row < 75
    assert 300 <= column < 325
    assert scores[:, :250].max() < 0.01


def test_heat_lies_where_the_network_looked_within_a_border_and_on_a_film_that_lies(model: str) -> None:
    """One cell is hot, at the left shoulder of the upright film; the film stands in a border and lies on its side."""
    upright = drawn_chest(1, 600, 600)
    for turns, row, column in ((0, 275, 275), (1, 725, 275)):  # of 1000; numpy turns the picture
        sheet = np.ascontiguousarray(np.rot90(np.pad(np.asarray(upright), 200), turns))
        data = as_dicom(sheet, HEADS[turns])
        with Detector.open(model) as detector:
            seen = detector.examine(data, force=True)
        cells = len(seen.raw.heat)
        heat = np.full((cells, cells), -20, np.float32)
        heat[round(cells * 0.125), round(cells * 0.125)] = 20
        hot = replace(seen, raw=replace(seen.raw, heat=heat), result=result(probability=1.0))
        picture = np.asarray(render_overlay(data, hot))[:1000].astype(int)
        colour = picture[..., 0] - picture[..., 2]  # heat is red and yellow, the film grey
        y, x = np.unravel_index(colour.argmax(), colour.shape)
        assert abs(y - row) < 60
        assert abs(x - column) < 60


def test_heat_map_of_odd_sizes() -> None:
    geometry = Geometry(0.1, 0.1, 13, 0, 371, 640)
    raw = RawOutputs(0.0, np.zeros((4, 4), np.float32), np.zeros((4, 4, 4), np.float32))
    scores = heat_of_part(raw, geometry, 1.0, (37, 64))
    assert scores.shape == (64, 37)
    assert scores == pytest.approx(0.5)


def test_heat_can_be_left_out_and_eyes_get_more_pixels_than_the_network(model: str) -> None:
    with Detector.open(model) as detector:
        picture = drawn_chest(1, 1400, 1200)
        seen = detector.examine(np.asarray(picture))
        plain = np.asarray(render_overlay(np.asarray(picture), seen, heat=False)).astype(int)
        heat = np.asarray(render_overlay(np.asarray(picture), seen)).astype(int)
    shown = plain[: 1024 * 1200 // 1400, :, 0]
    reference = np.asarray(picture.resize((1024, 878), Image.Resampling.LANCZOS)).astype(int)[: shown.shape[0]]
    assert np.median(np.abs(shown - reference)) <= 2
    assert np.ptp(plain[:800], axis=2).mean() < np.ptp(heat[:800], axis=2).mean()


def test_warnings_are_written_below() -> None:
    plain, warned = (
        draw_overlay(film(600, 600), replace(result(probability=0.1), warnings=sentences))
        for sentences in ((), ("a wide border is left out " * 8, "it is turned"))
    )
    assert warned.height > plain.height + 3 * 12  # a long sentence takes several lines
    lines = np.asarray(warned)[plain.height :]
    assert (lines > 200).any(axis=(1, 2)).sum() > 20
    assert (lines[:, -8:] < 60).all()  # nothing runs off the picture


def test_a_refused_film_has_no_overlay() -> None:
    with pytest.raises(ValueError, match="refused film has no overlay"):
        draw_overlay(film(300, 300), FilmResult.refused("film", "blank", "blank"))


def test_an_overlay_is_not_read_as_another_film(tmp_path) -> None:
    data = as_dicom(np.asarray(drawn_chest()), HEADS[0])
    write_overlay(tmp_path / "o.png", data, Detector.open("default").examine(data))
    with pytest.raises(FilmRefused, match="overlay that was drawn here"):
        read_radiograph(tmp_path / "o.png", force=True)
