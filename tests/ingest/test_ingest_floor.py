"""`benchmark floor`: the ratios, their arithmetic, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from ingest_films import chest, film, written
from pydicom.uid import JPEGBaseline8Bit

from edge_pneumo.benchmarks import floor
from edge_pneumo.commands.floor import floor as command
from edge_pneumo.errors import DataError

MODEL = str(Path(__file__).parents[1] / "data" / "tiny.tflite")


@pytest.fixture
def films(tmp_path):
    paths = [tmp_path / f"{seed}.dcm" for seed in range(3)]
    for seed, path in enumerate(paths):
        path.write_bytes(written(film(chest(512, seed), syntax=JPEGBaseline8Bit)))
    return paths


def test_ratio_of_sums_by_hand():
    ratio = floor.ratio_of_sums([1.0, 3.0], [2.0, 3.0])
    assert ratio["value"] == 1.25
    assert 1.0 <= ratio["low"] <= 1.25 <= ratio["high"] <= 2.0


def test_ratio_by_rounds_is_not_moved_by_a_machine_that_slows_down():
    before = [1.0, 2.0, 4.0, 8.0, 16.0]
    ratio = floor.ratio_by_rounds(before, [3 * value for value in before])
    assert ratio == {"value": 3.0, "low": 3.0, "high": 3.0}


def test_every_ratio_is_measured(films, monkeypatch):
    monkeypatch.setattr(floor, "Plan", lambda rounds: floor_plan(rounds))
    done = CliRunner().invoke(
        command, ["--model", MODEL, "--films", str(films[0].parent), "--rounds", "2", "--format", "json"]
    )
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert set(result["ratios"]) == {"warm", "cold", "memory", "two_workers"}
    assert "the usual way is left out" in done.stderr
    for ratio in result["ratios"].values():
        assert 0 < ratio["low"] <= ratio["value"] <= ratio["high"]
        assert ratio["holds"] == (
            ratio["value"] <= ratio["target"] if ratio["sense"] == "at most" else ratio["value"] >= ratio["target"]
        )
    assert result["ratios"]["memory"]["value"] < 1.25
    assert "resident memory" in floor.floor_table(result)


@pytest.mark.train
def test_the_usual_way_is_measured_with_the_default_models_own_network(films, monkeypatch):
    pytest.importorskip("tensorflow", reason="needs the extra `train`")
    monkeypatch.setattr(floor, "Plan", lambda rounds: floor_plan(rounds))
    done = CliRunner().invoke(command, ["--films", str(films[0].parent), "--rounds", "2", "--format", "json"])
    assert done.exit_code == 0, done.output
    ratios = json.loads(done.stdout)["ratios"]
    assert "target" not in ratios["usual_one"]  # Keras has every core, the product here one
    assert 1 < ratios["usual"]["low"] <= ratios["usual"]["value"] <= ratios["usual"]["high"]
    assert ratios["usual_floor"]["value"] == pytest.approx(
        ratios["usual"]["value"] * ratios["warm"]["value"], rel=1e-3
    )  # were the floor the product, every film of a folder would take that much less


def floor_plan(rounds: int, plan=floor.Plan):
    return plan(rounds=rounds, processes=1, folder_rounds=1, folder_films=8)


def test_films_without_a_jpeg_have_no_floor(tmp_path):
    path = tmp_path / "film.dcm"
    path.write_bytes(written(film()))
    with pytest.raises(DataError, match="not a JPEG Baseline DICOM film"):
        floor.code_stream(str(path))
