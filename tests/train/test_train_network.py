"""The graph, its starting weights and the loss, against direct computation."""

import os
from pathlib import Path

import numpy as np
import pytest

from edge_pneumo.errors import DataError, UsageFault
from edge_pneumo.train.config import LossConfig
from edge_pneumo.train.detector import BLOCKS, DetectorConfig, build_detector, channels
from edge_pneumo.train.resume import State, load_state, save_state

train = pytest.mark.train


@pytest.mark.parametrize(("size", "alpha", "message"), [(200, 1.0, "multiple of 32"), (256, 1.5, "alpha must lie")])
def test_impossible_shapes_are_refused(size, alpha, message):
    with pytest.raises(UsageFault, match=message):
        DetectorConfig(size, alpha)


def test_state_comes_back_and_belongs_to_its_run(tmp_path):
    path = tmp_path / "state.npz"
    arrays = {"weights": [np.arange(n + 1) for n in range(12)], "done": [np.array(7)]}
    save_state(path, State(1, 3, [{"loss": 0.5}], arrays), "abc")
    state = load_state(path, "abc")
    assert (state.stage, state.epoch, state.rows) == (1, 3, [{"loss": 0.5}])
    for before, after in zip(arrays["weights"], state.arrays["weights"], strict=True):
        np.testing.assert_array_equal(before, after)
    with pytest.raises(UsageFault, match="another configuration"):
        load_state(path, "xyz")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="cannot resume"):
        load_state(path, "abc")


def folded_weights(path: Path, alpha: float = 1.0) -> dict[str, np.ndarray]:
    """A random MobileNetV2 in the layout of the folded file: (out, in / groups, kh, kw) kernels and biases."""
    rng, arrays, index = np.random.default_rng(0), {}, 0

    def add(out: int, into: int, k: int) -> None:
        nonlocal index
        arrays[f"{index:02d}_w"] = rng.normal(0, (2 / (into * k * k)) ** 0.5, (out, into, k, k)).astype(np.float32)
        arrays[f"{index:02d}_b"] = rng.normal(0, 0.1, out).astype(np.float32)
        index += 1

    width = channels(32 * alpha)
    add(width, 3, 3)
    for expansion, out, repeats, _ in BLOCKS:
        for _ in range(repeats):
            wide = width * expansion
            if expansion != 1:
                add(wide, width, 1)
            add(wide, 1, 3)
            width = channels(out * alpha)
            add(width, wide, 1)
    add(1280, width, 1)
    np.savez(path, **arrays)
    return arrays


def run_folded(arrays: dict[str, np.ndarray], rgb: np.ndarray) -> np.ndarray:
    """MobileNetV2's features by plain convolutions, straight from the folded arrays: the oracle."""
    import tensorflow as tf

    def conv(x, k, stride, relu):
        kernel, bias = arrays[f"{k:02d}_w"], arrays[f"{k:02d}_b"]
        if kernel.shape[1] == 1 and x.shape[-1] > 1:
            strides = (1, stride, stride, 1)
            x = tf.nn.depthwise_conv2d(x, kernel.transpose(2, 3, 0, 1), strides, "SAME") + bias
        else:
            x = tf.nn.conv2d(x, kernel.transpose(2, 3, 1, 0), stride, "SAME") + bias
        return tf.nn.relu6(x) if relu else x

    x, k = conv(tf.constant(rgb), 0, 2, True), 1
    for expansion, _, repeats, first in BLOCKS:
        for repeat in range(repeats):
            start, stride = x, first if repeat == 0 else 1
            if expansion != 1:
                x, k = conv(x, k, 1, True), k + 1
            x, k = conv(x, k, stride, True), k + 1
            x, k = conv(x, k, 1, False), k + 1
            if stride == 1 and x.shape == start.shape:
                x = x + start
    return conv(x, k, 1, True).numpy()


def _features(model):
    import tf_keras

    return tf_keras.Model(model.input, model.get_layer("top_relu").output)


@train
def test_folded_imagenet_weights_compute_what_the_folded_network_computes(tmp_path):
    from edge_pneumo.train.weights import load_start, settle_batch_norm

    arrays = folded_weights(tmp_path / "w.npz")
    model = build_detector(DetectorConfig(64))
    load_start(model, tmp_path / "w.npz")
    grey = np.random.default_rng(1).uniform(-1, 1, (4, 64, 64, 1)).astype(np.float32)
    expected = run_folded(arrays, np.repeat(grey, 3, axis=-1))
    np.testing.assert_allclose(_features(model)(grey), expected, atol=2e-3 * np.abs(expected).max())
    settle_batch_norm(model, grey, batch_size=2)
    np.testing.assert_allclose(_features(model)(grey), expected, atol=5e-3 * np.abs(expected).max())
    norm = model.get_layer("block3_expand_bn")
    import tf_keras

    inside = tf_keras.Model(model.input, norm.input)(grey).numpy()
    np.testing.assert_allclose(norm.moving_mean, inside.mean((0, 1, 2)), rtol=1e-3, atol=1e-4)


@train
def test_weights_that_do_not_fit_are_refused(tmp_path):
    from edge_pneumo.train.weights import load_start

    folded_weights(tmp_path / "half.npz", alpha=0.5)
    model = build_detector(DetectorConfig(64))
    with pytest.raises(DataError, match=r"does not fit layer stem.*expected a kernel of \(3, 3, 1, 32\)"):
        load_start(model, tmp_path / "half.npz")
    with pytest.raises(UsageFault, match="no weights file"):
        load_start(model, tmp_path / "absent.h5")
    with pytest.raises(UsageFault, match="no weights file"):
        load_start(model, tmp_path / "absent.npz")
    whole = (tmp_path / "half.npz").read_bytes()
    for name, data in (("bad.npz", b"PK nonsense"), ("cut.npz", whole[:5000]), ("nil.npz", b""), ("no.h5", b"\0")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match="cannot read the weights") as caught:
            load_start(model, tmp_path / name)
        assert "pickle.load" not in str(caught.value)
    with pytest.raises(UsageFault, match=r"ImageNet weights for alpha 0\.35, 0\.5, 0\.75, 1\.0 only"):
        load_start(build_detector(DetectorConfig(64, 0.4)), None)
    assert load_start(model, "none") == "random start"


@train
@pytest.mark.data
def test_the_real_imagenet_file_fits():
    from edge_pneumo.train.weights import load_start

    root = os.environ.get("EDGE_PNEUMO_DATA")
    path = Path(root or "").parent / "weights" / "mobilenetv2_nhwc_tf_features.npz"
    if not root or not path.is_file():
        pytest.skip("EDGE_PNEUMO_DATA is not set, or has no ../weights beside it")
    model = build_detector(DetectorConfig(96))
    load_start(model, path)
    with np.load(path) as archive:
        arrays = dict(archive)
    grey = np.random.default_rng(1).uniform(-1, 1, (2, 96, 96, 1)).astype(np.float32)
    expected = run_folded(arrays, np.repeat(grey, 3, axis=-1))
    np.testing.assert_allclose(_features(model)(grey), expected, atol=2e-3 * np.abs(expected).max())


@train
def test_the_box_loss_is_zero_on_the_truth_and_giou_beyond():
    """Exact distances cost nothing; half the width has IoU 1/2 = GIoU, so 1 - GIoU is one half."""
    from edge_pneumo.train.losses import box_loss

    box = np.broadcast_to(np.float32([16, 16, 48, 48]), (1, 4, 4, 4))
    weight = np.zeros((1, 4, 4, 1), np.float32)
    weight[0, 1, 1] = 1.0  # its centre is (24, 24): distances 8, 8, 24, 24
    exact = np.zeros((1, 4, 4, 4), np.float32)
    exact[0, 1, 1] = np.log(np.float32([8, 8, 24, 24]) / 16)
    assert float(box_loss(exact, box, weight, 16)) == pytest.approx(0.0, abs=1e-5)
    smaller = np.zeros((1, 4, 4, 4), np.float32)
    smaller[0, 1, 1] = np.log(np.float32([8, 8, 8, 24]) / 16)  # half the width: IoU 1/2, hull = union
    l1 = abs(np.log(8 / 24)) / 4
    assert float(box_loss(smaller, box, weight, 16)) == pytest.approx(0.5 + 0.5 * l1, abs=1e-4)
    assert float(box_loss(smaller, box, np.zeros_like(weight), 16)) == 0.0


@train
def test_quality_focal_loss_by_hand():
    """Li et al., NeurIPS 2020, eq. 4 with beta 2: |y - p|^2 times the cross-entropy, per cell."""
    from edge_pneumo.train.losses import heat_loss

    logits, heat = np.zeros((1, 1, 2, 1), np.float32), np.array([[[[1.0], [0.5]]]], np.float32)
    assert float(heat_loss(logits, heat, np.ones(1, np.float32))) == pytest.approx(0.25 * np.log(2))
    assert float(heat_loss(logits, heat, np.zeros(1, np.float32))) == 0.0


@train
def test_heat_by_centres_alone_by_hand():
    """Zhou et al. 2019, eq. 1: at a centre (1 - p)^2 log p, elsewhere (1 - y)^4 p^2 log(1 - p)."""
    from edge_pneumo.train.losses import heat_loss

    logits, heat = np.zeros((1, 1, 2, 1), np.float32), np.array([[[[1.0], [0.5]]]], np.float32)
    expected = 0.25 * np.log(2) + 0.5**4 * 0.25 * np.log(2)
    assert float(heat_loss(logits, heat, np.ones(1, np.float32), "centre")) == pytest.approx(expected)


@train
@pytest.mark.parametrize("kind", ["quality", "centre"])
def test_the_loss_falls_as_outputs_near_the_truth(kind):
    from edge_pneumo.train.losses import detection_loss
    from edge_pneumo.train.targets import dense_targets

    heat, box, weight = dense_targets(np.array([[16, 16, 48, 48]]), 64, 16, 0.22)
    targets = {
        "opacity": [1.0], "weight": [1.0], "heat": heat[None], "box": box[None], "box_weight": weight[None],
        "heat_weight": [1.0],
    }  # fmt: skip
    targets = {k: np.asarray(v, np.float32) for k, v in targets.items()}

    def loss(heat_logits: np.ndarray, image: float) -> float:
        outputs = {
            "heat": heat_logits,
            "ltrb": np.zeros((1, 4, 4, 4), np.float32),
            "image_logit": np.float32([[image]]),
        }
        return float(sum(detection_loss(outputs, targets, 16, LossConfig(heat_kind=kind)).values()))

    good = np.where(heat[None] > 0.99, 4.0, -4.0).astype(np.float32)
    assert loss(good, 4.0) < loss(np.zeros_like(good), 0.0) < loss(-good, -4.0)


@train
def test_outputs_and_grid_at_any_size():
    for size, alpha in ((64, 0.35), (96, 0.5)):
        model = build_detector(DetectorConfig(size, alpha, head_channels=16, findings=14))
        out = model(np.zeros((2, size, size, 1), np.float32))
        assert {k: tuple(v.shape) for k, v in out.items()} == {
            "image_logit": (2, 1), "heat": (2, size // 16, size // 16, 1), "ltrb": (2, size // 16, size // 16, 4),
            "findings": (2, 14),
        }  # fmt: skip


@train
def test_fine_tuning_starts_from_the_whole_embedded_detector():
    from edge_pneumo.train.run import load_run
    from edge_pneumo.train.weights import hidden_of_start, load_start

    donor = load_run("default")
    shape = donor.config["train"]
    model = build_detector(
        DetectorConfig(64, shape["alpha"], shape["head_channels"], findings=14, hidden=hidden_of_start("default"))
    )
    assert load_start(model, "default") == "the embedded default's weights"
    np.testing.assert_array_equal(
        model.get_layer("heat").get_weights()[0], donor.model.get_layer("heat").get_weights()[0]
    )
    with pytest.raises(UsageFault, match="does not fit this detector"):
        load_start(build_detector(DetectorConfig(64, 0.35)), "default")


@train
def test_a_run_is_trained_on_and_other_folders_are_refused(tmp_path):
    from edge_pneumo.train.half import default_run_path
    from edge_pneumo.train.run import load_run
    from edge_pneumo.train.weights import hidden_of_start, load_start

    donor = load_run("default")
    shape = donor.config["train"]
    hidden = hidden_of_start(default_run_path())
    model = build_detector(DetectorConfig(64, shape["alpha"], shape["head_channels"], hidden=hidden))
    assert "the run default" in load_start(model, default_run_path())
    for ours, theirs in zip(model.get_weights(), donor.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for kind in ("qat", "other"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "config.json").write_text(f'{{"kind": "{kind}"}}')
        with pytest.raises(DataError):
            load_start(model, tmp_path / kind)
