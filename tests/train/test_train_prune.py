"""Channels taken out of a detector: which ones, what the others do instead, and what becomes of the answers."""

from __future__ import annotations

import numpy as np
import pytest

from edge_pneumo.errors import UsageFault
from edge_pneumo.train import prune as module
from edge_pneumo.train.detector import DetectorConfig, build_detector, hidden_channels
from edge_pneumo.train.prune import channel_moments, eliminate, prune

train = pytest.mark.train
SMALL = DetectorConfig(64, 0.35, head_channels=16)


def lost_by_least_squares(cells: np.ndarray, answer: np.ndarray, kept: np.ndarray) -> float:
    """Share of the answer's variance that the best linear map of the kept channels cannot give (numpy's lstsq)."""
    best = np.linalg.lstsq(cells[:, kept], answer, rcond=None)[0]
    return float(np.square(answer - cells[:, kept] @ best).sum() / np.square(answer).sum())


@pytest.fixture
def cells() -> np.ndarray:
    """(4000, 12) channels, no two alike in variance, some of them much like others."""
    rng = np.random.default_rng(0)
    free = rng.normal(size=(4000, 12)) * np.linspace(0.2, 2, 12)
    mixed = free @ (np.eye(12) + 0.4 * rng.normal(size=(12, 12)))
    return mixed - mixed.mean(0)


def test_the_first_to_go_is_the_one_that_least_squares_misses_least(cells, monkeypatch):
    monkeypatch.setattr(module, "MULTIPLE", 1)
    weights = np.random.default_rng(1).normal(size=(12, 5))
    answer = cells @ weights
    losses = [lost_by_least_squares(cells, answer, np.delete(np.arange(12), k)) for k in range(12)]
    share = (np.sort(losses)[0] + np.sort(losses)[1]) / 2  # enough for one
    kept, _ = eliminate(cells.T @ cells / len(cells), weights, share)
    assert set(range(12)) - set(kept) == {int(np.argmin(losses))}


@pytest.mark.parametrize("share", [0.01, 0.1, 0.4])
def test_what_is_left_answers_as_near_as_can_be_and_within_the_share(cells, share, monkeypatch):
    monkeypatch.setattr(module, "MULTIPLE", 1)
    weights = np.random.default_rng(1).normal(size=(12, 5))
    answer = cells @ weights
    kept, new = eliminate(cells.T @ cells / len(cells), weights, share)
    lost = np.square(answer - cells[:, kept] @ new).sum() / np.square(answer).sum()
    assert 0 < len(kept) < 12
    assert lost <= share * 1.001
    assert lost == pytest.approx(lost_by_least_squares(cells, answer, kept), rel=1e-3)


def test_channels_that_others_can_stand_in_for_go_at_no_cost():
    """Sixteen channels of which eight are sums of the other eight, and four that never move."""
    rng = np.random.default_rng(2)
    base = rng.normal(size=(3000, 8))
    cells = np.concatenate([base, base @ rng.normal(size=(8, 8)), np.zeros((3000, 4))], axis=1)
    cells -= cells.mean(0)
    weights = rng.normal(size=(20, 6))
    kept, new = eliminate(cells.T @ cells / len(cells), weights, 1e-4)
    assert len(kept) == 8
    np.testing.assert_allclose(cells[:, kept] @ new, cells @ weights, atol=0.02 * float((cells @ weights).std()))


def test_channels_are_kept_by_eights_and_all_where_none_can_go(cells):
    weights = np.random.default_rng(1).normal(size=(12, 5))
    covariance = cells.T @ cells / len(cells)
    kept, new = eliminate(covariance, weights, 0.0)
    np.testing.assert_array_equal(kept, np.arange(12))
    np.testing.assert_array_equal(new, weights)
    assert len(eliminate(covariance, weights, 0.9)[0]) == 8


def test_channel_counts_of_the_paper():
    """Table 2 of the paper: six times the bottleneck before, after a stem of 32."""
    assert hidden_channels(1.0) == (32, 96, 144, 144, *[192] * 3, *[384] * 4, *[576] * 3, *[960] * 3)


@pytest.mark.parametrize("hidden", [(16,), (0,) * 17])
def test_impossible_channel_counts_are_refused(hidden):
    with pytest.raises(UsageFault, match="hidden must name 17 numbers"):
        DetectorConfig(64, hidden=hidden)


@train
def test_a_stem_as_wide_as_the_first_bottleneck_is_not_added_to_it():
    """The paper's first block has no shortcut, whatever was taken out of the stem."""
    pytest.importorskip("tf_keras", reason="needs the extra `train`")
    hidden = list(hidden_channels(1.0))
    hidden[0] = 16
    names = {layer.name for layer in build_detector(DetectorConfig(64, hidden=tuple(hidden))).layers}
    assert "block0_add" not in names
    assert "block2_add" in names


@train
def test_moments_of_channels_are_those_of_numpy():
    pytest.importorskip("tf_keras", reason="needs the extra `train`")
    from tf_keras import Model

    model = build_detector(SMALL)
    images = np.random.default_rng(0).normal(size=(5, 64, 64, 1)).astype(np.float32)
    ((mean, covariance),) = channel_moments(model, ["block3_depthwise_relu"], images, 2)
    whole = np.asarray(Model(model.input, model.get_layer("block3_depthwise_relu").output)(images))
    flat = whole.reshape(-1, whole.shape[-1])
    np.testing.assert_allclose(mean, flat.mean(0), atol=1e-5)
    np.testing.assert_allclose(covariance, np.cov(flat.T, bias=True), atol=1e-5)


@train
def test_a_detector_without_its_idle_channels_answers_as_before():
    """Channels of the embedded detector made constant: they are found, the constants go into the bias."""
    pytest.importorskip("tf_keras", reason="needs the extra `train`")
    from edge_pneumo.train.weights import hidden_of_start, load_start

    whole = DetectorConfig(64, hidden=hidden_of_start("default"))
    model = build_detector(whole)
    load_start(model, "default")
    images = np.random.default_rng(0).uniform(-1, 1, (24, 8, 8, 1)).repeat(8, 1).repeat(8, 2).astype(np.float32)
    idle = {4: 24, 9: 64}
    for block, count in idle.items():
        norm = model.get_layer(f"block{block}_depthwise_bn")
        gamma, beta, mean, variance = norm.get_weights()
        gamma[:count], beta[:count] = 0.0, 3.0  # what comes out of the relu is 3 everywhere
        norm.set_weights([gamma, beta, mean, variance])
    smaller, shape = prune(model, whole, images, 1e-4)
    for block, count in idle.items():
        assert shape.hidden[block] <= (whole.hidden or hidden_channels(1.0))[block] - count
    for name, before in model(images, training=False).items():
        after = np.asarray(smaller(images, training=False)[name])
        assert np.square(after - before).mean() < 0.01 * np.square(before - np.mean(before)).mean()
