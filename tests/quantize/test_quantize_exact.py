"""Rewrites that must not change an answer: the grey fold of an RGB kernel, free normalisation."""

from __future__ import annotations

import numpy as np
import pytest
from quantize_mini import SPEC, pictures

pytestmark = pytest.mark.train


@pytest.fixture
def copy(mini):
    from tf_keras.models import clone_model

    model = clone_model(mini.model)
    model.set_weights(mini.model.get_weights())
    return model


def answers(model, films):
    return {name: np.asarray(value) for name, value in model(films, training=False).items()}


def same(before, after):
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, atol=2e-4 * max(1.0, float(np.abs(value).max())))


def test_normalised_depthwise_kernels_answer_the_same(copy, blobs):
    from edge_pneumo.quantize.depthwise import normalise_depthwise

    films = SPEC.normalise(pictures(blobs)[:6])
    before = answers(copy, films)
    assert normalise_depthwise(copy) == 4
    for layer in copy.layers:
        if type(layer).__name__ == "DepthwiseConv2D":
            np.testing.assert_allclose(np.abs(layer.get_weights()[0]).max(axis=(0, 1, 3)), 1, rtol=1e-6)
    same(before, answers(copy, films))


def test_three_equal_channels_fold_into_one():
    """An RGB first kernel on a grey film three times over, and its sum over channels on the film: equal answers."""
    from tf_keras import layers

    rng = np.random.default_rng(0)
    grey = rng.uniform(-1, 1, (2, 32, 32, 1)).astype(np.float32)
    colour, single = (layers.Conv2D(8, 3, 2, "same", use_bias=False) for _ in range(2))
    expected = np.asarray(colour(np.repeat(grey, 3, axis=-1)))
    single.build(grey.shape)
    single.set_weights([colour.get_weights()[0].sum(axis=2, keepdims=True)])
    np.testing.assert_allclose(np.asarray(single(grey)), expected, atol=1e-6)


def test_the_start_weights_use_that_fold(tmp_path):
    from edge_pneumo.train.detector import DetectorConfig, build_detector
    from edge_pneumo.train.weights import backbone_convolutions, load_start

    rng = np.random.default_rng(0)
    model = build_detector(DetectorConfig(size_px=32, alpha=0.35, head_channels=8))
    arrays = {}
    for index, layer in enumerate(backbone_convolutions(model)):
        shape = tuple(layer.weights[0].shape)
        kernel = rng.normal(size=(*shape[:2], 3, shape[3]) if layer.name == "stem" else shape).astype(np.float32)
        order = (2, 3, 0, 1) if type(layer).__name__ == "DepthwiseConv2D" else (3, 2, 0, 1)
        arrays[f"{index:02d}_w"] = kernel.transpose(order)
        arrays[f"{index:02d}_b"] = np.zeros(shape[2] if order[0] == 2 else shape[3], np.float32)
        if layer.name == "stem":
            stem = kernel
    np.savez(tmp_path / "start.npz", **arrays)
    load_start(model, tmp_path / "start.npz")
    np.testing.assert_allclose(model.get_layer("stem").get_weights()[0], stem.sum(axis=2, keepdims=True), rtol=1e-6)


def test_grey_levels_are_normalised_by_scale_and_zero_point_alone():
    """The int8 input's own arithmetic, (q - zero point) x scale, is `InputSpec.normalise` to the last bit."""
    levels = np.arange(256, dtype=np.uint8)
    stored = (levels.astype(np.int16) - 128).astype(np.int8)  # what QUANTIZE makes of uint8
    real = (stored.astype(np.float32) - np.float32(0)) * np.float32(1 / 127.5)
    np.testing.assert_array_equal(real, SPEC.normalise(levels))
