"""A channel with a hundredfold weight range: refused with one scale a kernel, explained where it is, repaired."""

from __future__ import annotations

import numpy as np
import pytest
from quantize_mini import fit_mini, mini_run, pictures

from edge_pneumo.edge_runtime.bundle import open_bundle
from edge_pneumo.edge_runtime.flatbuffer import read_graph

pytestmark = pytest.mark.train

PLANTED = "down8"


@pytest.fixture(scope="module")
def planted(blobs, tmp_path_factory):
    """The mini run with one depthwise channel a hundred times wider; nobody reads that channel, so float is as good."""
    model = fit_mini(blobs)
    layer = model.get_layer(PLANTED)
    kernel = layer.get_weights()[0]
    kernel[:, :, 0] *= 100 * np.abs(kernel).max() / np.abs(kernel[:, :, 0]).max()
    layer.set_weights([kernel])
    reader = model.get_layer("down16")
    weights = reader.get_weights()[0]
    weights[:, :, 0] = 0
    reader.set_weights([weights])
    return mini_run(_refit(model, blobs), tmp_path_factory.mktemp("planted"))


def _refit(model, blobs):
    from quantize_mini import GRID, SPEC, STRIDE, ridge
    from tf_keras import Model

    images = SPEC.normalise(pictures(blobs))
    cells = np.asarray(Model(model.input, model.get_layer("top_relu").output)(images, training=False))
    there = np.zeros((len(images), GRID, GRID), np.float32)
    for index, film in enumerate(blobs.films):
        for x1, y1, _, _ in film.boxes_xyxy:
            there[index, int(y1) // STRIDE, int(x1) // STRIDE] = 1.0
    heat, bias = ridge(cells.reshape(-1, cells.shape[-1]), 8.0 * there.ravel() - 4.0)
    model.get_layer("heat").set_weights([heat.reshape(1, 1, -1, 1), np.array([bias])])
    logit, bias = ridge(cells.mean((1, 2)), 4.0 * there.max((1, 2)) - 2.0)
    model.get_layer("image_logit").set_weights([logit.reshape(-1, 1), np.array([bias])])
    return model


def options(**changes):
    from edge_pneumo.quantize.convert import ConvertOptions

    return ConvertOptions(calibration_films=8, bootstrap=20, per_channel=False, **changes)


def test_the_collapse_is_refused_and_explained(planted, blobs, tmp_path):
    from edge_pneumo.quantize.convert import GateRefusal, convert_run

    with pytest.raises(GateRefusal, match=f"was not written.*{PLANTED}") as caught:
        convert_run(planted, tmp_path / "m.tflite", blobs, options=options())
    assert caught.value.exit_code == 5
    assert list(tmp_path.iterdir()) == []
    worst = caught.value.report["worst_layers"][0]
    assert worst["name"] == PLANTED and worst["share"] > 0.5 and worst["weight_spread"] > 50
    assert caught.value.report["gate"]["passed"] is False


def test_one_scale_a_channel_does_not_mind(planted, blobs, tmp_path):
    from edge_pneumo.quantize.convert import ConvertOptions, convert_run

    report = convert_run(
        planted, tmp_path / "m.tflite", blobs, options=ConvertOptions(calibration_films=8, bootstrap=20)
    )
    assert report["gate"]["passed"]


def test_repair_keeps_the_fewest_layers_in_float(planted, blobs, tmp_path):
    from edge_pneumo.quantize.convert import convert_run

    report = convert_run(planted, tmp_path / "m.tflite", blobs, options=options(repair=True))
    assert report["gate"]["passed"]
    assert report["repair"]["layers"] == [PLANTED]
    assert report["repair"]["bytes"]["after"] > report["repair"]["bytes"]["before"]
    assert report["repair"]["ms"]["after"] > 0
    left = read_graph((tmp_path / "m.tflite").read_bytes()).float_tensors()
    assert 0 < len(left) <= 6  # the layer's weights, bias, and the tensors either side
    assert open_bundle(tmp_path / "m.tflite").metadata["repair"]["layers"] == [PLANTED]
