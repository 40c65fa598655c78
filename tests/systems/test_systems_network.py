"""The seven graphs and their starting weights, against the report's table and direct computation."""

import os
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from edge_pneumo.errors import DataError, UsageFault
from edge_pneumo.train.systems import find_system, list_systems
from edge_pneumo.train.systems.graphs import build_system
from edge_pneumo.train.systems.start import NoWeights, start_weights

pytestmark = pytest.mark.train

REPORT = {  # row: input side, parameters, trainable
    1: (224, 7_038_529, 6_954_881), 2: (224, 7_038_529, 6_954_881), 3: (128, 6_291_713, 6_291_713),
    4: (128, 11_247_457, 11_245_921), 5: (128, 2_259_265, 1_281), 6: (224, 3_229_889, 3_208_001),
    7: (128, 2_341_189, 83_205),
}  # fmt: skip


def test_parameters_equal_the_reports_table_to_the_unit():
    rows = list_systems()
    found = {row["reference"]: (row["input"], row["parameters"], row["trainable"]) for row in rows if row["reference"]}
    assert found == {number: ([side, side, 3], total, free) for number, (side, total, free) in REPORT.items()}
    ours = [row for row in rows if row["reference"] is None]
    assert [row["name"] for row in ours] == ["detector"] and ours[0]["input"][2] == 1


@pytest.fixture(scope="module")
def folded(tmp_path_factory) -> Path:
    """A random MobileNetV2 in the layout of the folded file."""
    rng, arrays = np.random.default_rng(0), {}
    model = build_system(find_system("mobilenetv2-transfer"))
    kinds = ("Conv2D", "DepthwiseConv2D")
    for index, layer in enumerate(layer for layer in model.layers if type(layer).__name__ in kinds):
        height, width, first, second = layer.weights[0].shape
        depthwise = type(layer).__name__ == "DepthwiseConv2D"
        shape = (first, 1, height, width) if depthwise else (second, first, height, width)
        arrays[f"{index:02d}_w"] = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)
        arrays[f"{index:02d}_b"] = rng.normal(0, 0.1, shape[0]).astype(np.float32)
    path = tmp_path_factory.mktemp("folded") / "features.npz"
    np.savez(path, **arrays)
    return path


def folded_features(path: Path, x: np.ndarray) -> np.ndarray:
    """The folded network run directly: MobileNetV2's table, one convolution and bias after the other, SAME padding."""
    import tensorflow as tf

    arrays, number = np.load(path), 0

    def convolve(x, stride, relu=True):
        nonlocal number
        kernel, bias = arrays[f"{number:02d}_w"], arrays[f"{number:02d}_b"]
        number += 1
        if kernel.shape[1] == 1 and kernel.shape[2] == 3:
            x = tf.nn.depthwise_conv2d(x, kernel.transpose(2, 3, 0, 1), (1, stride, stride, 1), "SAME")
        else:
            x = tf.nn.conv2d(x, kernel.transpose(2, 3, 1, 0), stride, "SAME")
        return tf.nn.relu6(x + bias) if relu else x + bias

    x = convolve(x, 2)
    for expand, width, repeats, stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for repeat in range(repeats):
            step, before = stride if repeat == 0 else 1, x
            if expand > 1:
                x = convolve(x, 1)
            x = convolve(convolve(x, step), 1, relu=False)
            if step == 1 and before.shape[-1] == width:
                x = x + before
    return convolve(x, 1).numpy().mean((1, 2))


def pooled(model, x: np.ndarray) -> np.ndarray:
    from tf_keras import Model

    return Model(model.input, model.get_layer("pool").output)(x, training=False).numpy()


def check_folded(path: Path) -> None:
    model = build_system(find_system("mobilenetv2-transfer"))
    start = start_weights(model, find_system("mobilenetv2-transfer"), path)
    assert (start.matched, start.wanted, start.missing, start.unused) == (260, 260, (), ())
    x = np.random.default_rng(1).uniform(-1, 1, (2, 128, 128, 3)).astype(np.float32)
    expected = folded_features(path, x)
    np.testing.assert_allclose(pooled(model, x), expected, atol=2e-4 * np.abs(expected).max())


def test_folded_weights_give_the_features_of_the_folded_network(folded):
    check_folded(folded)


@pytest.mark.data
def test_imagenet_weights_give_the_features_of_the_folded_network():
    data = os.environ.get("EDGE_PNEUMO_DATA")
    path = Path(data or ".").parent / "weights" / "mobilenetv2_nhwc_tf_features.npz"
    if data is None or not path.is_file():
        pytest.skip("EDGE_PNEUMO_DATA is not set, or there is no ../weights beside it")
    check_folded(path)


def torchvision_densenet() -> dict[str, tuple[int, ...]]:
    """Names and shapes of torchvision's DenseNet-121 (growth 32, blocks of 6, 12, 24 and 16), in its order."""
    names: dict[str, tuple[int, ...]] = {"features.conv0.weight": (64, 3, 7, 7)}

    def norm(name: str, width: int) -> None:
        names.update({f"{name}.{leaf}": (width,) for leaf in ("weight", "bias", "running_mean", "running_var")})
        names[f"{name}.num_batches_tracked"] = ()

    norm("features.norm0", 64)
    width = 64
    for block, layers in enumerate((6, 12, 24, 16), start=1):
        for layer in range(1, layers + 1):
            place = f"features.denseblock{block}.denselayer{layer}"
            norm(f"{place}.norm1", width)
            names[f"{place}.conv1.weight"] = (128, width, 1, 1)
            norm(f"{place}.norm2", 128)
            names[f"{place}.conv2.weight"] = (32, 128, 3, 3)
            width += 32
        if block < 4:
            norm(f"features.transition{block}.norm", width)
            names[f"features.transition{block}.conv.weight"] = (width // 2, width, 1, 1)
            width //= 2
    norm("features.norm5", width)
    return names | {"classifier.weight": (14, width), "classifier.bias": (14,)}


def save_as_torch(path: Path, state: dict[str, np.ndarray]) -> None:
    """Write what torch.save writes, with stand-ins for the few names of PyTorch that the pickle mentions."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2(*_):
        raise AssertionError("reading a file must not call this")

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})
    storages: list[bytes] = []

    class Storage:
        def __init__(self, array: np.ndarray) -> None:
            self.key, self.numel = str(len(storages)), array.size
            storages.append(np.ascontiguousarray(array, "<f4").tobytes())

    class Tensor:
        def __init__(self, array: np.ndarray) -> None:
            self.array = array

        def __reduce__(self):
            steps = tuple(int(step) // 4 for step in np.array(self.array, "<f4", order="C").strides)
            return _rebuild_tensor_v2, (Storage(self.array), 0, self.array.shape, steps, False, OrderedDict())

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return ("storage", torch.FloatStorage, obj.key, "cpu", obj.numel) if isinstance(obj, Storage) else None

    with zipfile.ZipFile(path, "w") as archive, pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch", torch)
        patch.setitem(sys.modules, "torch._utils", utils)
        with archive.open("archive/data.pkl", "w") as stream:
            Pickler(stream, 2).dump({"state_dict": {name: Tensor(array) for name, array in state.items()}})
        for key, numbers in enumerate(storages):
            archive.writestr(f"archive/data/{key}", numbers)


@pytest.fixture(scope="module")
def chexnet() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    return {name: rng.random(shape, np.float32) for name, shape in torchvision_densenet().items()}


@pytest.fixture(scope="module")
def densenet():
    return build_system(find_system("densenet121-chexnet"))


def test_pytorch_chexnet_weights_land_in_their_places(tmp_path, chexnet, densenet):
    path = tmp_path / "model.pth.tar"
    save_as_torch(path, {f"module.densenet121.{name}": array for name, array in chexnet.items()})
    start = start_weights(densenet, find_system("densenet121-chexnet"), path)
    assert (start.matched, start.wanted, start.missing) == (604, 604, ())
    assert [name.rpartition(".")[2] for name in start.unused] == ["weight", "bias"]
    assert "604 of 604 feature variables matched; not used" in start.sentence
    kernels = [layer.get_weights()[0] for layer in densenet.layers if type(layer).__name__ == "Conv2D"]
    given = [array.transpose(2, 3, 1, 0) for array in chexnet.values() if array.ndim == 4]
    for kernel, expected in zip(kernels, given, strict=True):  # both list the network from its start
        np.testing.assert_array_equal(kernel, expected)
    norms = [layer.get_weights() for layer in densenet.layers if type(layer).__name__ == "BatchNormalization"]
    leaves = ("weight", "bias", "running_mean", "running_var")
    places = [name.removesuffix(".running_mean") for name in chexnet if name.endswith("running_mean")]
    for norm, place in zip(norms, places, strict=True):
        for array, leaf in zip(norm, leaves, strict=True):
            np.testing.assert_array_equal(array, chexnet[f"{place}.{leaf}"])


def test_another_network_is_refused_and_a_missing_layer_is_named(tmp_path, chexnet, densenet):
    system = find_system("densenet121-chexnet")
    path = tmp_path / "resnet.pth"
    save_as_torch(path, {"layer1.0.conv1.weight": np.zeros((4, 4, 3, 3)), "fc.bias": np.zeros(3)})
    with pytest.raises(DataError, match=r"does not hold the features .* expected 604 .* found 0 .*layer1\.0\.conv1"):
        start_weights(densenet, system, path)
    save_as_torch(path, {name: array for name, array in chexnet.items() if "norm5" not in name})
    start = start_weights(densenet, system, path)
    assert start.matched == 600 and start.missing[0] == "bn/gamma:0" and "left random: bn/gamma:0" in start.sentence
    grey = dict(chexnet) | {"features.conv0.weight": np.zeros((64, 1, 7, 7), np.float32)}
    save_as_torch(path, grey)
    assert start_weights(densenet, system, path).missing == ("conv1/conv/kernel:0",)


@pytest.mark.parametrize("weights", [None, "none"])
def test_chexnet_without_a_file_says_what_to_bring(weights, densenet):
    with pytest.raises(NoWeights, match=r"--weights FILE: PyTorch's .* or Keras's \.h5"):
        start_weights(densenet, find_system("densenet121-chexnet"), weights)


@pytest.fixture(scope="module")
def donor(folded):
    system = find_system("mobilenetv2-transfer")
    model = build_system(system)
    start_weights(model, system, folded)
    return model


@pytest.mark.parametrize("form", ["weights.h5", "whole.h5", "new.weights.h5"])
def test_keras_files_of_every_form(form, tmp_path, donor):
    system, path = find_system("mobilenetv2-transfer"), tmp_path / form
    model = build_system(system)
    if form == "whole.h5":
        with pytest.warns(UserWarning, match="HDF5"):
            donor.save(path)
    else:
        donor.save_weights(path)
    start = start_weights(model, system, path)
    assert (start.matched, start.wanted) == (260, 260)
    for given, found in zip(donor.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(given, found)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89HDF\r\n\x1a\nbroken", "cannot read the weights"),
        (b"hello", "cannot be read as a PyTorch file"),
        (b"", "cannot be read as a PyTorch file"),
    ],
)
def test_a_damaged_file_is_refused(content, message, tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(content)
    system = find_system("fcnn")
    with pytest.raises(DataError, match=message):
        start_weights(build_system(system), system, path)


def test_a_folded_file_fits_only_its_own_network(folded):
    system = find_system("fcnn")
    with pytest.raises(DataError, match="folded MobileNetV2, which does not fit fcnn"):
        start_weights(build_system(system), system, folded)
    with pytest.raises(UsageFault, match="no weights file at"):
        start_weights(build_system(system), system, folded.with_name("absent.npz"))


def test_a_failed_download_says_what_to_do(monkeypatch):
    from tf_keras import applications

    def offline(**_):
        raise Exception("URL fetch failure on https://example.org/x.h5: None -- Name or service not known")  # as Keras

    monkeypatch.setattr(applications, "MobileNetV2", offline)
    system = find_system("mobilenetv2-transfer")
    with pytest.raises(NoWeights, match=r"URL fetch failure.* Give a local file with --weights FILE, or .*none"):
        start_weights(types.SimpleNamespace(input_shape=(None, 128, 128, 3)), system, None)
