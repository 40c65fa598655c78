"""The door: what a header says against a film, and what a glance at the picture says."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from ingest_films import chest, film, written
from PIL import Image

from edge_pneumo.benchmarks.door_check import DISTORTIONS, check_folder, made_up, verdict
from edge_pneumo.edge_runtime import door
from edge_pneumo.edge_runtime.radiograph import Acquisition, read_radiograph
from edge_pneumo.errors import FilmRefused

SC, DX, CT = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.2"
REFUSED = [
    ({"modality": "CT"}, "not-a-radiograph"),
    ({"modality": "MR", "body_part": "CHEST"}, "not-a-radiograph"),
    ({"sop_class_uid": CT}, "not-a-radiograph"),
    ({"sop_class_uid": DX.rpartition(".")[0] + ".2"}, "not-a-radiograph"),
    ({"modality": "CR", "frames": 2}, "multi-frame"),
    ({"modality": "DX", "body_part": "HAND"}, "not-a-chest"),
    ({"body_part": "CSPINE"}, "not-a-chest"),
    ({"body_part": "L SPINE"}, "not-a-chest"),
    ({"body_part": "extremity"}, "not-a-chest"),
    ({"view": "LL"}, "not-frontal"),
    ({"view": "LATERAL"}, "not-frontal"),
    ({"view": "left lateral"}, "not-frontal"),
    ({"view": "RAO"}, "not-frontal"),
    ({"orientation": "A\\F"}, "not-frontal"),
    ({"modality": "CT", "body_part": "HAND", "frames": 9}, "not-a-radiograph"),
]
TAKEN = [
    {},
    {"modality": "CR", "sop_class_uid": SC, "body_part": "CHEST", "view": "PA"},
    {"modality": "DX", "sop_class_uid": DX, "body_part": "Thorax", "view": "AP"},
    {"modality": "CR", "body_part": "PORT CHEST", "view": "antero-posterior"},
    {"view": "PA", "orientation": "L\\F"},
    {"view": "PA", "orientation": "P\\F"},
]
DOUBTED = [
    ({"modality": "OT"}, "modality OT"),
    ({"body_part": "TRUNK"}, "body part TRUNK"),
    ({"view": "RLD"}, "lying patient"),
    ({"view": "XX"}, "view XX"),
    ({"intent": "FOR PROCESSING"}, "FOR PRESENTATION"),
]


@pytest.mark.parametrize(("facts", "reason"), REFUSED)
def test_headers_that_refuse(facts, reason):
    with pytest.raises(FilmRefused, match="--force overrides") as caught:
        door.check_header(Acquisition(**facts), "film")
    assert caught.value.reason == reason
    assert door.check_header(Acquisition(**facts), "film", force=True)


@pytest.mark.parametrize("facts", TAKEN)
def test_headers_that_pass(facts):
    assert door.check_header(Acquisition(**facts), "film") == ()


@pytest.mark.parametrize(("facts", "warning"), DOUBTED)
def test_headers_that_warn(facts, warning):
    assert warning in door.check_header(Acquisition(**facts), "film")[0]


@pytest.mark.parametrize(
    ("distortion", "reasons"),
    [
        ("upside down", {"not-frontal"}),
        ("turned by 180 degrees", {"not-frontal"}),
        ("on its left side", {"not-frontal", "not-a-chest"}),
        ("on its right side", {"not-frontal", "not-a-chest"}),
        ("inverted", {"not-a-radiograph"}),
        ("lower half missing", {"truncated"}),
        ("blank", {"blank"}),
    ],
)
def test_distorted_chests(distortion, reasons):
    assert verdict(DISTORTIONS[distortion](chest())) in reasons


@pytest.mark.parametrize(("kept", "answer"), [(0.5, "truncated"), (0.65, "truncated"), (0.8, "warn"), (0.95, "pass")])
def test_rows_that_never_came_filled_with_the_last_one(kept, answer):
    rows = int(kept * len(chest()))
    assert verdict(np.pad(chest()[:rows], ((0, len(chest()) - rows), (0, 0)), mode="edge")) == answer


def test_the_chest_itself_passes():
    assert verdict(chest()) == "pass"


@pytest.mark.parametrize("grey", [0, 255])
@pytest.mark.parametrize("sides", [(0, 1, 0, 0), (1, 0, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (1, 1, 1, 1)])
def test_borders_of_one_grey_do_not_make_a_chest_something_else(sides, grey):
    """A quarter of the film's height at one end looked like an upside-down film; round about, like no chest."""
    top, bottom, left, right = (side * len(chest()) // 4 for side in sides)
    bordered = np.pad(chest(), ((top, bottom), (left, right)), constant_values=grey)
    assert verdict(bordered) == ("pass" if all(sides) else "warn")  # at one edge only: are the lungs whole?


@pytest.mark.parametrize("border", [0, 60])
@pytest.mark.parametrize("turned", [False, True])
def test_stripes_of_a_single_grey_are_no_film(border, turned):
    stripes = np.repeat(np.array([[40], [90], [200], [120]], np.uint8), 64, axis=0).repeat(256, axis=1)
    stripes = np.pad(stripes, border)
    assert verdict(np.ascontiguousarray(stripes.T) if turned else stripes) == "blank"


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("grey", [0, 128])
def test_rows_or_columns_lost_within_a_film_are_doubted(axis, grey):
    holed = chest(512)
    where = [slice(None), slice(None)]
    where[axis] = slice(230, 300)
    holed[tuple(where)] = grey
    assert "lost?" in " ".join(read_radiograph(holed, force=True).warnings)


@pytest.mark.parametrize("tilt", [(1, 0), (0.3, 1), (-1, 1)])
def test_a_gradient_is_no_film(tilt):
    y, x = np.mgrid[0:400, 0:400] / 399
    slope = tilt[0] * y + tilt[1] * x
    grey = ((slope - slope.min()) / np.ptp(slope) * 255).astype(np.uint8)
    assert verdict(grey) == "blank"
    assert verdict(grey // 4 + (chest(400) // 4) * 3) == "pass"  # a film lit from one side


def coloured(gains: tuple[float, float, float]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray((chest(512)[..., None] * np.array(gains)).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("gains", [(0.75, 0.9, 1.0), (0.5, 0.7, 1), (1, 0.9, 0.65), (0.7, 0.85, 1)])
def test_a_colour_cast_over_all_of_a_photograph_is_taken_with_a_doubt(gains):
    """The blue base of a film, a warm lamp."""
    read = read_radiograph(coloured(gains))
    assert read.warnings == ("has a colour cast; its greys are taken",)


def test_colours_that_differ_from_place_to_place_are_refused():
    shades = np.stack([chest(512), np.roll(chest(512), 200, 0), np.rot90(chest(512))], axis=-1)
    buffer = io.BytesIO()
    Image.fromarray(shades).save(buffer, "PNG")
    with pytest.raises(FilmRefused, match="coloured"):
        read_radiograph(buffer.getvalue())


def test_a_part_twice_as_wide_as_high_is_doubted():
    assert "2.0 times as long as wide" in " ".join(read_radiograph(chest(512)[100:356]).warnings)


@pytest.mark.parametrize("kind", made_up())
def test_made_up_pictures_hardly_pass(kind):
    answers = [verdict(p) for p in made_up()[kind]]
    assert "pass" not in answers
    assert answers.count("warn") <= len(answers) // 10


def test_colours_refuse_and_grey_rgb_does_not():
    grey = np.repeat(chest()[..., None], 3, axis=2)
    read_radiograph(written(film(grey)))
    red = grey.copy()
    red[..., 1:] //= 3
    with pytest.raises(FilmRefused, match="coloured") as caught:
        read_radiograph(written(film(red)))
    assert caught.value.reason == "not-a-radiograph"


def test_a_header_that_contradicts_the_picture_is_a_doubt():
    """With the polarity stated an inverted look may be the header's fault or the film's: it passes, with a warning."""
    read = read_radiograph(written(film(PhotometricInterpretation="MONOCHROME1")))
    assert "looks inverted" in read.warnings[0]
    with pytest.raises(FilmRefused, match="looks inverted"):
        read_radiograph(255 - chest())


def test_force_takes_and_warns_but_does_not_mend():
    forced = read_radiograph(written(film(Modality="CT", ViewPosition="LL")), force=True)
    assert len(forced.warnings) == 2
    with pytest.raises(FilmRefused, match="0 rows"):
        read_radiograph(written(film(Rows=0)), force=True)


@pytest.mark.data
@pytest.mark.parametrize(("folder", "share"), [("rsna-mini/stage_2_train_images", 0.01), ("kermany/test", 0.01)])
def test_real_films_pass(folder, share):
    root = os.environ.get("EDGE_PNEUMO_DATA")
    if not root:
        pytest.skip("EDGE_PNEUMO_DATA is not set")
    assert check_folder(str(Path(root, folder)))["refused_share"] < share
