"""Rounding in turn against brute force and against rounding to nearest; kernels as matrices against Keras."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from quantize_mini import SPEC, pictures

from edge_pneumo.quantize.kernels import Kernel
from edge_pneumo.quantize.rounding import STEPS, _round_in_turn


def loss(weights, values, second):
    error = (weights - values)[0, 0]
    return float(error @ second[0] @ error)


def problem(seed, count=5):
    """Weights, second moments of correlated positive inputs, and a coarse grid whose widest weight is on it."""
    rng = np.random.default_rng(seed)
    inputs = np.abs(rng.normal(size=(400, count)) * 0.3 + rng.normal(size=(400, 1)) + 2)
    weights = rng.normal(size=(1, 1, count))
    return weights, (inputs.T @ inputs / 400)[np.newaxis], np.abs(weights).max(axis=2, keepdims=True) / STEPS


@pytest.mark.parametrize("seed", range(6))
def test_it_beats_rounding_to_nearest_and_comes_near_the_best(seed):
    weights, second, step = problem(seed)
    nearest = np.round(weights / step) * step
    found = _round_in_turn(weights, second, step)
    below = np.floor(weights / step)
    choices = ((below + np.array(up)) * step for up in itertools.product((-1, 0, 1, 2), repeat=weights.shape[2]))
    best = min(loss(weights, choice, second) for choice in choices)
    assert loss(weights, found, second) <= loss(weights, nearest, second) + 1e-12
    assert loss(weights, found, second) < max(20 * best, 0.3 * loss(weights, nearest, second))


def test_values_lie_on_the_grid_and_the_widest_weight_stays():
    weights, second, step = problem(9, 40)
    found = _round_in_turn(weights, second, step)
    steps = found / step
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-9)
    assert np.abs(steps).max() == pytest.approx(STEPS)
    widest = np.abs(weights).argmax()
    assert found.ravel()[widest] == weights.ravel()[widest]


def test_independent_inputs_are_rounded_to_nearest():
    weights, _, step = problem(3, 8)
    found = _round_in_turn(weights, np.eye(8)[np.newaxis], step)
    np.testing.assert_allclose(found, np.round(weights / step) * step, atol=1e-12)


@pytest.mark.train
@pytest.mark.parametrize(("stride", "size"), [(1, 9), (2, 8), (2, 9)])
def test_rows_times_weights_is_the_convolution(stride, size):
    from tf_keras import layers

    rng = np.random.default_rng(stride)
    film = rng.normal(size=(1, size, size, 4)).astype(np.float32)
    plain = layers.Conv2D(3, 3, stride, "same", use_bias=False)
    deep = layers.DepthwiseConv2D(3, stride, "same", use_bias=False)
    expected = [np.asarray(layer(film))[0] for layer in (plain, deep)]
    values = [plain.get_weights()[0].transpose(3, 0, 1, 2), deep.get_weights()[0].transpose(3, 0, 1, 2)]
    for kind, kernel, truth in zip(("CONV_2D", "DEPTHWISE_CONV_2D"), values, expected, strict=True):
        one = Kernel("n", kind, 0, kernel, np.zeros(3, np.float32), stride, True)
        answer = np.einsum("bpn,bon->pbo", one.input_rows(film), one.as_rows()).reshape(truth.shape)
        np.testing.assert_allclose(answer, truth, atol=1e-5)
        np.testing.assert_array_equal(one.from_rows(one.as_rows()), kernel)


@pytest.mark.train
def test_the_converter_keeps_what_was_rounded(mini, blobs):
    """int8 from rounded weights holds exactly those weights, and answers closer to float than rounding to nearest."""
    from edge_pneumo.edge_runtime.engine import open_engine
    from edge_pneumo.quantize import export
    from edge_pneumo.quantize.gate import signal_to_noise_db
    from edge_pneumo.quantize.material import engine_outputs
    from edge_pneumo.quantize.post_training import quantise_int8
    from edge_pneumo.quantize.ranges import choose_ranges, observe
    from edge_pneumo.quantize.rounding import round_weights
    from edge_pneumo.train.run import raw_outputs

    images = pictures(blobs)
    float_bytes = export.float_tflite(mini.model)
    ranges = choose_ranges(observe(float_bytes, images[:16], SPEC), "minmax", float_bytes, SPEC)
    network = round_weights(float_bytes, images[:16], SPEC)
    truth = raw_outputs(mini.model, SPEC, images[24:])
    noise = {}
    for name, source in (("nearest", float_bytes), ("aware", network.without())):
        engine = open_engine(quantise_int8(source, ranges, SPEC), spec=SPEC)
        noise[name] = signal_to_noise_db(truth, engine_outputs(engine, images[24:]))["heat"]
    assert noise["aware"] > noise["nearest"] - 0.5
    kept = next(iter(network.rounded))
    assert network.without(list(network.rounded)) == float_bytes
    assert network.without([kept]) != network.without()


@pytest.mark.train
def test_a_keras_copy_with_rounded_weights_folds_to_those_weights(mini, blobs):
    """Kernels and biases that the converter makes of the copy are the rounded ones, through batch norm and back."""
    from edge_pneumo.quantize import export
    from edge_pneumo.quantize.kernels import kernels
    from edge_pneumo.quantize.rounded_model import rounded_copy
    from edge_pneumo.quantize.rounding import round_weights

    images = pictures(blobs)[:8]
    before = [layer.get_weights() for layer in mini.model.layers]
    wanted = round_weights(export.float_tflite(mini.model), images, SPEC)
    copy = rounded_copy(mini.model, images, SPEC)
    found = kernels(export._convert(copy, lambda converter: None))  # float_tflite remembers what it saw (conftest)
    assert len(found) == len(wanted.rounded) > 5
    for kernel, (values, bias) in zip(found, wanted.rounded.values(), strict=True):
        np.testing.assert_allclose(kernel.values, values, rtol=1e-4, atol=1e-6 * float(np.abs(values).max()))
        np.testing.assert_allclose(kernel.bias, bias, rtol=1e-3, atol=1e-4)
    after = [layer.get_weights() for layer in mini.model.layers]  # the model itself keeps its weights
    assert all(np.array_equal(a, b) for x, y in zip(before, after, strict=True) for a, b in zip(x, y, strict=True))
