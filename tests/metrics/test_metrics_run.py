"""A run directory through the evaluator: the same answers as the pipeline that a .tflite goes through."""

import json
from dataclasses import asdict

import pytest

from edge_pneumo.benchmarks.metrics.candidates import candidate_spec
from edge_pneumo.edge_runtime.decode import DecodeSpec
from edge_pneumo.edge_runtime.preprocess import InputSpec
from edge_pneumo.errors import DataError, FilmRefused
from edge_pneumo.train.data.phantom import make_phantom
from edge_pneumo.train.judge import judge

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An untrained detector of 64 px, as training would have left it."""
    pytest.importorskip("tf_keras")
    from edge_pneumo.train.run import build_from_config, save_weights, write_decode, write_json

    path = tmp_path_factory.mktemp("runs") / "untrained"
    path.mkdir()
    config = {
        "kind": "detector",
        "train": {"size_px": 64, "alpha": 0.35, "head_channels": 16, "dropout": 0.0},
        "input": asdict(InputSpec(64)),
        "data": {"split_hash": "of other films"},
    }
    write_json(path / "config.json", config)
    points = {"screening": 0.2, "balanced": 0.5}
    write_decode(path, DecodeSpec(operating_points=points, box_threshold=0.01, bias=2.0))
    save_weights(build_from_config(config), path / "model.weights.h5")
    return path


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    return make_phantom(tmp_path_factory.mktemp("phantom") / "films", 20, seed=2, size_px=128)


def test_a_run_is_judged_by_what_it_shows(run, films):
    from edge_pneumo.train.run import load_run

    judged = judge(run, films, operating_point="screening", bootstrap=10)
    result = judged.result
    assert (
        result["model"]["kind"] == "detector" and result["threshold"] == 0.2 and result["boxes_swept"] == "candidates"
    )
    said = [answer for _, answer in load_run(run).findings(judged.films)]
    for answer, expected in zip(judged.answers, said, strict=True):
        assert not isinstance(answer, FilmRefused) and not isinstance(expected, FilmRefused)
        assert (answer.probability, answer.boxes) == (expected.probability, expected.boxes)
        assert len(answer.boxes) <= candidate_spec(DecodeSpec()).max_boxes
    json.dumps(result, allow_nan=False)


def test_a_model_judged_on_its_own_training_films_is_told_so(run, films):
    from edge_pneumo.train.data.index import load_dataset

    config = json.loads((run / "config.json").read_text())
    config["data"]["split_hash"] = load_dataset(films).split_hash
    (run / "config.json").write_text(json.dumps(config))
    assert any("trained on" in text for text in judge(run, films, bootstrap=0).result["warnings"])
    assert not any("trained on" in text for text in judge(run, films, "val", bootstrap=0).result["warnings"])


def test_an_unfinished_run_is_named(run, films):
    (run / "model.weights.h5").rename(run / "elsewhere.h5")
    (run / "state.npz").write_bytes(b"")
    with pytest.raises(DataError, match=r"has no model\.weights\.h5\. Training did not finish"):
        judge(run, films)
