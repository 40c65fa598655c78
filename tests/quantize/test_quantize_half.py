"""A run in half precision: what the package ships as the float original of its default model."""

from __future__ import annotations

import json

import numpy as np
import pytest
from quantize_mini import SPEC, build_mini, pictures

from edge_pneumo.errors import DataError, UsageFault

pytestmark = pytest.mark.train


@pytest.fixture
def shipped(mini, tmp_path):
    from dataclasses import asdict

    from edge_pneumo.train.half import save_half
    from edge_pneumo.train.run import write_json

    source, target = tmp_path / "run", tmp_path / "default"
    source.mkdir()
    write_json(source / "config.json", mini.config)
    write_json(source / "decode.json", asdict(mini.decode_spec))
    save_half(mini.model, source, target)
    return target


def test_half_a_run_answers_nearly_as_the_whole(shipped, mini, blobs, monkeypatch):
    from edge_pneumo.train import run

    monkeypatch.setattr(run, "build_from_config", lambda config: build_mini())
    monkeypatch.setattr(run, "default_run_path", lambda: shipped)
    loaded = run.load_run("default")
    films = SPEC.normalise(pictures(blobs)[:4])
    before, after = mini.model(films, training=False), loaded.model(films, training=False)
    for name in before:
        spread = float(np.std(before[name])) + 1e-6
        assert float(np.abs(np.asarray(before[name]) - np.asarray(after[name])).max()) < 0.05 * max(spread, 1.0)
    assert loaded.kind == "detector" and loaded.decode_spec == mini.decode_spec
    assert json.loads((shipped / "config.json").read_text())["train"]["name"] == "mini"


def test_a_cut_file_is_said(shipped):
    from edge_pneumo.train.half import WEIGHTS, load_half

    path = shipped / WEIGHTS
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match="cannot read the weights"):
        load_half(build_mini(), path)


def test_a_package_without_the_default_says_so(tmp_path, monkeypatch):
    from edge_pneumo.train import run

    monkeypatch.setattr(run, "default_run_path", lambda: tmp_path / "none")
    with pytest.raises(UsageFault, match="no run directory"):
        run.load_run("default")
