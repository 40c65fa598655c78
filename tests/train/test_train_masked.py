"""Lung-masked films: what is read, what fills the outside, and what of a film is taught."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_pneumo.edge_runtime.preprocess import InputSpec
from edge_pneumo.errors import DataError
from edge_pneumo.train.data.film import Film
from edge_pneumo.train.data.headers import Facts
from edge_pneumo.train.masked import Surroundings, check_masked, load_masked, load_surroundings
from edge_pneumo.train.study_share import share_of_masked

LABELS = "patientId,x,y,width,height,Target\na,100,100,200,200,1\nb,,,,,0\n"
INDEX = "patientId,class\na,Lung Opacity\nb,Normal\n"


def masked(folder: Path):
    around = Surroundings(np.full((1, 64, 64, 1), 200, np.uint8), [("", False)])
    return load_masked([folder], InputSpec(64), around, lambda sentence: None)


@pytest.mark.parametrize(
    ("labels", "index", "pictures", "message"),
    [
        (None, INDEX, "ab", r"no table of boxes; looked for"),
        (LABELS.replace("width,", "w,"), INDEX, "ab", r"labels\.csv: missing column width"),
        (LABELS.replace("200", "wide"), INDEX, "ab", r"labels\.csv \(a\): expected numbers for the box"),
        (LABELS, None, "ab", r"index\.csv: cannot be read"),
        (LABELS, INDEX.replace("class", "kind"), "ab", r"index\.csv: missing column class"),
        (LABELS, "patientId,class\n", "ab", r"index\.csv: no films"),
        (LABELS, INDEX, "a", r"b\.jpg: cannot be read \(No such file"),
        (LABELS, INDEX, "aX", r"b\.jpg: cannot be read \(cannot identify"),
    ],
)
def test_masked_films_that_cannot_be_used_are_named(labels, index, pictures, message, tmp_path):
    (tmp_path / "images").mkdir()
    for name, text in (("labels.csv", labels), ("index.csv", index)):
        if text is not None:
            (tmp_path / name).write_text(text)
    for name in pictures:
        if name == "X":
            (tmp_path / "images" / "b.jpg").write_bytes(b"not a picture")
        else:
            Image.new("L", (64, 64), 90).save(tmp_path / "images" / f"{name}.jpg")
    with pytest.raises(DataError, match=message):
        masked(tmp_path)


def test_masked_films_are_read_with_their_boxes(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels.csv").write_text(LABELS)
    (tmp_path / "index.csv").write_text(INDEX)
    for name in "ab":
        Image.new("L", (128, 128), 90).save(tmp_path / "images" / f"{name}.jpg")
    read = masked(tmp_path)
    assert read.images.shape == (2, 64, 64, 1)
    assert [label.opacity for label in read.labels] == [1.0, 0.0]
    np.testing.assert_allclose(read.labels[0].boxes_xyxy, [[6.25, 6.25, 18.75, 18.75]])


def test_a_masked_film_is_filled_anew_each_time_outside_its_mask_only(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels.csv").write_text(LABELS)
    (tmp_path / "index.csv").write_text(INDEX)
    lung = np.zeros((64, 64), np.uint8)
    lung[:, :32] = 90  # box of a: x 6 to 19, all of it in the lung
    for name in "ab":
        Image.fromarray(lung).save(tmp_path / "images" / f"{name}.jpg", quality=100)
    read = masked(tmp_path)
    rng = np.random.default_rng(0)
    shown = [read.film(0, rng) for _ in range(20)]
    for picture, label in shown:
        np.testing.assert_array_equal(picture[8:-8, :24], read.images[0, 8:-8, :24, 0])
        assert (len(label.boxes_xyxy), label.boxes_known, label.weight) == (1, True, 1.0)
    assert len({picture[:, 36:].tobytes() for picture, _ in shown}) > 3


def test_surroundings_look_as_they_would_in_the_film_and_leave_no_dark_seam(tmp_path):
    masked_films(tmp_path, [("a", "7", "Normal")])
    levels = np.random.default_rng(1).normal(120, 12, (64, 64)).clip(60, 180).astype(np.uint8)
    blurred = np.zeros((64, 64), np.uint8)
    blurred[:, :32] = levels[:, :32]
    blurred[:, 30:33] = [[60, 20, 11]]  # what JPEG leaves at the mask's edge
    blurred[32, 10] = 0  # a dark speck within the lung
    Image.fromarray(blurred).save(tmp_path / "images" / "a.png")
    (tmp_path / "images" / "a.png").replace(tmp_path / "images" / "a.jpg")
    other = np.random.default_rng(2).normal(60, 10, (1, 64, 64, 1)).clip(20, 100).astype(np.uint8)
    read = load_masked([tmp_path], InputSpec(64), Surroundings(other, [("", False)]), lambda sentence: None)
    fade = read.lungs[0]
    assert (fade[:, :20] == 255).all()  # the dark speck too
    assert fade[:, 32:].max() < 8
    assert (np.diff(fade[20].astype(int)) <= 0).all()
    matched = 0
    for seed in range(30):
        picture, _ = read.film(0, np.random.default_rng(seed))
        outside = picture[:, 36:].astype(float)
        if not outside.std():
            continue  # filled with grey
        like = max(np.corrcoef(outside.ravel(), way[0, :, 36:, 0].ravel())[0, 1] for way in (other, other[:, :, ::-1]))
        if like > 0.99:  # filled with the other film: its greys moved from about 60 to this lung's 120
            matched += 1
            assert abs(outside.mean() - 120) < 5
            assert 9 < outside.std() < 16
            assert picture[:, 24:40].min() > 60  # no seam
    assert matched > 10


def grey_png(level: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (64, 64), level).save(file, "png")
    return file.getvalue()


def test_surroundings_are_of_films_without_anything_that_may_be_an_opacity():
    facts = Facts(None, None, "AP", "")
    films = [
        Film("a", "a.png", 1, partial(grey_png, 1), class_name="Lung Opacity", known=facts),
        Film("b", "b.png", 0, partial(grey_png, 2), class_name="Normal", known=facts),
        Film("c", "c.png", 0, partial(grey_png, 3), class_name="Normal", findings=(), known=facts),
        Film("d", "d.png", 0, partial(grey_png, 4), class_name="No Lung Opacity / Not Normal", findings=("Mass",)),
        Film("e", "e.png", 0, partial(grey_png, 5), class_name="No Lung Opacity / Not Normal", findings=("Hernia",),
             known=replace(facts, view=None)),
    ]  # fmt: skip
    around = load_surroundings(films, InputSpec(64), None)
    assert around.images[:, 32, 32, 0].tolist() == [2, 3, 5]
    assert around.kinds == [("AP", True), ("AP", True), ("", False)]


def test_surroundings_are_of_the_same_view_and_health_where_there_are_enough(tmp_path):
    masked_films(tmp_path, [("a", "7", "Normal"), ("b", "8", "Lung Opacity"), ("c", "9", "Lung Opacity")])
    views = {"a": "PA", "b": "PA", "c": "AP"}
    rows = (tmp_path / "index.csv").read_text().splitlines()
    rows = [rows[0] + ",view", *(f"{row},{views[row[0]]}" for row in rows[1:])]
    (tmp_path / "index.csv").write_text("\n".join(rows))
    kinds = [("PA", True)] * 20 + [("PA", False)] * 19 + [("AP", False)] * 2
    images = np.arange(41, dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(64, 1).repeat(64, 2)
    read = load_masked([tmp_path], InputSpec(64), Surroundings(images, kinds), lambda sentence: None)
    used = {kind: images[:, 0, 0, 0].tolist() for kind, images in read.like.items()}
    assert used == {
        ("PA", True): list(range(20)), ("PA", False): list(range(39)), ("AP", False): list(range(41)),
    }  # fmt: skip


def test_a_box_outside_the_mask_is_not_taught(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels.csv").write_text(LABELS)
    (tmp_path / "index.csv").write_text(INDEX)
    lung = np.zeros((64, 64), np.uint8)
    lung[:, 32:] = 90
    for name in "ab":
        Image.fromarray(lung).save(tmp_path / "images" / f"{name}.jpg", quality=100)
    _, label = masked(tmp_path).film(0, np.random.default_rng(0))
    assert (len(label.boxes_xyxy), label.boxes_known, label.weight) == (0, False, 0.0)


def masked_films(folder: Path, rows: list[tuple[str, str, str]]) -> None:
    """A folder of masked films: (name, patient, class)."""
    (folder / "images").mkdir(parents=True)
    (folder / "labels.csv").write_text(LABELS.splitlines()[0] + "\n")
    lines = ["patientId,nih_patient,class", *(",".join(row) for row in rows)]
    (folder / "index.csv").write_text("\n".join(lines))
    for name, *_ in rows:
        Image.new("L", (64, 64), 90).save(folder / "images" / f"{name}.jpg")


def test_masked_films_of_patients_who_are_judged_are_left_out(tmp_path):
    masked_films(tmp_path, [("a", "7", "Normal"), ("b", "8", "Lung Opacity"), ("c", "7", "Normal")])
    said: list[str] = []
    nothing = Surroundings(np.zeros((0, 64, 64, 1), np.uint8), [])
    read = load_masked([tmp_path], InputSpec(64), nothing, said.append, without={"7"})
    assert [label.opacity for label in read.labels] == [1.0]
    assert said[0].endswith("2 of patients who are judged on left out")
    with pytest.raises(DataError, match="none is left"):
        load_masked([tmp_path], InputSpec(64), nothing, said.append, without={"7", "8"})


def test_a_share_of_masked_films_keeps_patients_together_and_lies_within_larger_shares(tmp_path):
    films, some = tmp_path / "films", 40
    masked_films(films, [(f"f{k}", f"p{k // 2}", "Normal") for k in range(some)])
    kept = []
    for share in (0.25, 0.5):
        place = tmp_path / f"share{share}"
        for _ in range(2):  # a study that goes on finds its folders there
            (folder,) = share_of_masked([films], share, place)
        read = masked(folder)
        rows = (folder / "index.csv").read_text().splitlines()[1:]
        kept.append({row.split(",")[0] for row in rows})
        assert len(read.labels) == len(rows) == check_masked([folder])
        assert all((f"f{k}" in kept[-1]) == (f"f{k + 1}" in kept[-1]) for k in range(0, some, 2))
    assert set() < kept[0] < kept[1] < {f"f{k}" for k in range(some)}
    assert share_of_masked([films], 1.0, tmp_path / "all") == [films]
    with pytest.raises(DataError, match=r"no index\.csv"):
        share_of_masked([tmp_path], 0.5, tmp_path / "none")
