"""Exports read back as the same data set; pre-processing steps do what their names say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from edge_pneumo.edge_runtime.radiograph import read_radiograph
from edge_pneumo.train.data.index import load_dataset
from edge_pneumo.train.data.step_probe import changed_copies, fold_scores
from edge_pneumo.train.data.steps import STEPS, otsu, stretch


def test_export_reads_back_as_the_same_films(phantom_once: Path, tmp_path: Path, cli) -> None:
    code, out, _ = cli("data", "export", phantom_once, "-o", tmp_path / "png", "--format", "json")
    before, after = load_dataset(phantom_once), load_dataset(tmp_path / "png")
    assert code == 0
    assert json.loads(out) == {"schema": 1, "films": 20, "boxes": sum(len(f.boxes_xyxy) for f in before), "refused": []}
    assert after.layout == "coco"
    again = {Path(film.film_id).name: film for film in after}
    for film in before:
        copy = again[film.film_id]
        assert (copy.label, copy.class_name, copy.boxes_xyxy, copy.group, copy.split) == (
            film.label, film.class_name, film.boxes_xyxy, film.group, film.split
        )  # fmt: skip
        assert (copy.sex, copy.age_years, copy.view) == (film.sex, film.age_years, film.view)
        np.testing.assert_array_equal(read_radiograph(copy.read()).pixels, read_radiograph(film.read()).pixels)


def test_export_resizes_films_and_boxes_alike(phantom_once: Path, tmp_path: Path, cli) -> None:
    code, _, _ = cli("data", "export", phantom_once, "-o", tmp_path, "--as", "jpg", "--size", 64, "--channels", 3)
    before = {film.film_id: film for film in load_dataset(phantom_once)}
    assert code == 0
    for film in load_dataset(tmp_path):
        with Image.open(film.path) as picture:
            assert (picture.size, picture.mode, picture.format) == ((64, 64), "RGB", "JPEG")
        expected = np.array(before[Path(film.film_id).name].boxes_xyxy) / 2
        np.testing.assert_allclose(np.array(film.boxes_xyxy), expected, atol=0.02)


def test_export_keeps_positives_that_nobody_boxed(tmp_path: Path, cli) -> None:
    for i, name in enumerate(("NORMAL/a", "PNEUMONIA/b", "NORMAL/c", "PNEUMONIA/d")):
        path = tmp_path / "in" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (160, 160), np.uint8)).save(path)
    assert cli("data", "export", tmp_path / "in", "-o", tmp_path / "out")[0] == 0
    assert sorted(film.label for film in load_dataset(tmp_path / "out")) == [0, 0, 1, 1]


def test_export_names_refused_films_and_goes_on(phantom: Path, tmp_path: Path, cli) -> None:
    bad = load_dataset(phantom).films[0]
    Path(bad.path).write_bytes(b"no film")
    code, out, _ = cli("data", "export", phantom, "-o", tmp_path / "out")
    assert code == 3
    assert "19 films" in out
    assert f"refused {bad.film_id}" in out


@pytest.mark.parametrize("step", ["rotate", "sharpen"])
def test_export_refuses_steps_that_would_spoil_boxes(phantom_once: Path, tmp_path: Path, cli, step: str) -> None:
    code, _, err = cli("data", "export", phantom_once, "-o", tmp_path / "out", "--step", step)
    assert code == 2
    assert "steps among stretch, equalise" in err


@pytest.mark.parametrize("name", list(STEPS))
def test_steps_keep_shape_and_type_and_change_something(name: str) -> None:
    rng = np.random.default_rng(4)
    film = np.clip(np.add.outer(np.arange(60), np.arange(80)) + rng.integers(0, 40, (60, 80)), 0, 255).astype(np.uint8)
    before = film.copy()
    changed = STEPS[name].apply(film, rng)
    assert (changed.shape, changed.dtype) == (film.shape, np.uint8)
    assert (changed != film).any()
    np.testing.assert_array_equal(film, before)


def test_stretch_and_morphology_by_hand() -> None:
    ramp = np.tile(np.linspace(100, 150, 101).round().astype(np.uint8), (101, 1))
    wide = stretch(ramp)
    assert (wide.min(), wide.max()) == (0, 255)
    dot = np.zeros((7, 7), np.uint8)
    dot[3, 3] = 200
    rng = np.random.default_rng(0)
    assert (STEPS["dilate"].apply(dot, rng) == 200).sum() == 9
    assert (STEPS["erode"].apply(dot, rng) == 200).sum() == 0


@pytest.mark.parametrize(("dark", "bright"), [(10, 200), (0, 255), (90, 110)])
def test_otsu_parts_two_levels(dark: int, bright: int) -> None:
    film = np.full((20, 20), dark, np.uint8)
    film[:7] = bright
    assert dark <= otsu(film) < bright


def test_probe_finds_what_is_there_and_nothing_where_nothing_is() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 300)
    group = np.arange(300) // 2
    clue = rng.standard_normal((300, 8)).astype(np.float32)
    clue[:, 0] += 2 * labels
    noise = rng.standard_normal((300, 8)).astype(np.float32)
    assert roc_auc_score(labels, fold_scores(clue, clue, None, labels, group)) > 0.85
    assert abs(roc_auc_score(labels, fold_scores(noise, noise, None, labels, group)) - 0.5) < 0.1
    assert roc_auc_score(labels, fold_scores(clue, clue, clue, labels, group)) > 0.85


def test_copies_are_the_same_each_time() -> None:
    images = np.random.default_rng(2).integers(0, 255, (3, 32, 32, 1), np.uint8)
    np.testing.assert_array_equal(changed_copies(images, STEPS["rotate"]), changed_copies(images, STEPS["rotate"]))


def test_unknown_step(phantom_once: Path, cli) -> None:
    code, _, err = cli("data", "steps", phantom_once, "--step", "sharpen")
    assert code == 2
    assert "expected stretch, equalise" in err


@pytest.mark.train
def test_probe_on_phantoms(phantom_once: Path, cli) -> None:
    code, out, _ = cli("data", "steps", phantom_once, "--weights", "none", "--size", 32, "--step", "stretch", "--step",
                       "shear", "--format", "json")  # fmt: skip
    result = json.loads(out)
    assert code == 0
    assert [step["step"] for step in result["steps"]] == ["stretch", "shear"]
    for step in result["steps"]:
        assert step["low"] <= step["high"]
        assert step["change"] == pytest.approx(step["auc"] - result["auc"], abs=2e-4)
