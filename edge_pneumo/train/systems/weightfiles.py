"""A weights file of any maker -> named arrays for one of the graphs.

    Keras .h5         weights or whole model, TF-Keras and Keras 2 (`layer_names`) or Keras 3 (`layers/.../vars`)
    PyTorch           a DenseNet-121 state dict with torchvision's names, such as CheXNet's `model.pth.tar`
    folded .npz       MobileNetV2 with its batch norms folded into `NN_w` (out, in / groups, kh, kw) and `NN_b`

The maker is told by the file's first bytes and names, not by its ending.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.errors import DataError
from edge_pneumo.train.systems.torchfile import read_torch_tensors

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
CONVOLUTIONS = ("Conv2D", "DepthwiseConv2D")


@dataclass(frozen=True)
class Named:
    """Arrays by the graph's own variable names.

    Attributes
    ----------
    maker : "Keras", "PyTorch" or "folded".
    arrays : variable name, such as "conv1/conv/kernel:0" -> array in Keras's layout.
    unused : names in the file that the graph has no place for.
    """

    maker: str
    arrays: dict[str, NDArray]
    unused: tuple[str, ...]


def read_named(path: Path, model: Any) -> Named:
    """Read `path` for `model`.

    Raises
    ------
    DataError : the file is damaged, of no known maker, or of another kind of network.
    """
    try:
        with path.open("rb") as stream:
            first = stream.read(8)
    except OSError as error:
        raise DataError(f"cannot read the weights {path}: {error.strerror}") from error
    if first == HDF5_SIGNATURE:
        return _from_keras(path, model)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
        if any(re.fullmatch(r"\d\d_w\.npy", name) for name in members):
            return _from_folded(path, model)
        if "model.weights.h5" in members:
            raise DataError(f"{path} is a .keras archive: unpack it and give the model.weights.h5 inside")
    return _from_torch(path, model)


def _from_torch(path: Path, model: Any) -> Named:
    known = {variable.name for variable in model.weights}
    arrays, unused = {}, []
    for name, array in read_torch_tensors(path).items():
        if name.endswith("num_batches_tracked"):  # a counter that Keras does not keep
            continue
        target = densenet_variable(name)
        if target in known:
            arrays[target] = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
        else:
            unused.append(name)
    return Named("PyTorch", arrays, tuple(unused))


_BATCH_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def densenet_variable(name: str) -> str | None:
    """torchvision's name of a DenseNet feature variable -> Keras's, or None.

    Names before torchvision 0.2.2 (`norm.1` for `norm1`) and any prefix (`module.densenet121.`) are accepted.
    """
    found = re.search(r"(?:^|\.)features\.(.+)\.(\w+)$", name)
    if not found:
        return None
    place, leaf = found.groups()
    place = re.sub(r"\.(norm|conv)\.(\d)$", r".\1\2", place)
    if inner := re.fullmatch(r"denseblock(\d)\.denselayer(\d+)\.(norm|conv)([12])", place):
        block, layer, kind, step = inner.groups()
        number = int(step) - 1 if kind == "norm" else int(step)
        layer_name = f"conv{int(block) + 1}_block{layer}_{number}_{'bn' if kind == 'norm' else 'conv'}"
    elif between := re.fullmatch(r"transition(\d)\.(norm|conv)", place):
        layer_name = f"pool{int(between[1]) + 1}_{'bn' if between[2] == 'norm' else 'conv'}"
    else:
        layer_name = {"conv0": "conv1/conv", "norm0": "conv1/bn", "norm5": "bn"}.get(place, "")
    if not layer_name:
        return None
    if layer_name.endswith("conv"):
        return f"{layer_name}/kernel:0" if leaf == "weight" else None
    return f"{layer_name}/{_BATCH_NORM[leaf]}:0" if leaf in _BATCH_NORM else None


def _from_folded(path: Path, model: Any) -> Named:
    try:
        with np.load(path, allow_pickle=False) as archive:
            held = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot read the weights {path}: {error}") from error
    convolutions = [layer for layer in model.layers if type(layer).__name__ in CONVOLUTIONS]
    norms = [layer for layer in model.layers if type(layer).__name__ == "BatchNormalization"]
    if not convolutions or len(convolutions) != len(norms) or any(layer.use_bias for layer in convolutions):
        raise DataError(f"{path} holds a folded MobileNetV2, which does not fit {model.name}")
    arrays: dict[str, NDArray] = {}
    for index, (convolution, norm) in enumerate(zip(convolutions, norms, strict=True)):
        kernel, bias = held.pop(f"{index:02d}_w", None), held.pop(f"{index:02d}_b", None)
        if kernel is None or bias is None:
            raise DataError(f"{path} has no arrays {index:02d}_w and {index:02d}_b, for layer {convolution.name}")
        depthwise = type(convolution).__name__ == "DepthwiseConv2D"
        arrays[convolution.weights[0].name] = (
            kernel.transpose(2, 3, 0, 1) if depthwise else kernel.transpose(2, 3, 1, 0)
        )
        arrays |= _pass_through(norm, bias)
    return Named("folded", arrays, tuple(held))


def _pass_through(norm: Any, bias: NDArray) -> dict[str, NDArray]:
    """Batch norm that only adds `bias`: gamma / sqrt(variance + epsilon) = 1, mean 0."""
    gamma, beta, mean, variance = (variable.name for variable in norm.weights)
    ones = np.ones_like(bias)
    return {gamma: ones, beta: bias, mean: 0 * ones, variance: ones - np.float32(norm.epsilon)}


def _from_keras(path: Path, model: Any) -> Named:
    import h5py

    try:
        with h5py.File(path, "r") as archive:
            root = archive.get("model_weights", archive)
            by_layer = any(name.startswith("layer_names") for name in root.attrs)
            held = dict(_legacy_arrays(root) if by_layer else _keras3_arrays(archive))
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise DataError(f"cannot read the weights {path}: {error}") from error
    arrays: dict[str, NDArray] = {}
    names = {v.name: v.name for v in model.weights} if by_layer else _keras3_names(model)
    for stored, target in names.items():
        if stored in held:
            arrays[target] = held.pop(stored)
    return Named("Keras", arrays, tuple(held))


def _legacy_arrays(root: Any) -> Iterator[tuple[str, NDArray]]:
    """Variables of a file written layer by layer; a model used as a layer is one group with its own names."""
    for layer in _attribute(root, "layer_names"):
        for name in _attribute(root[layer], "weight_names"):
            yield name, np.asarray(root[layer][name])


def _attribute(group: Any, name: str) -> list[str]:
    """A list of names, which Keras cuts into `name0`, `name1` … when it is long."""
    parts = [name] if name in group.attrs else sorted(
        (key for key in group.attrs if re.fullmatch(rf"{name}\d+", key)), key=lambda key: int(key[len(name) :])
    )  # fmt: skip
    values = [value for part in parts for value in group.attrs[part]]
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _keras3_arrays(archive: Any) -> Iterator[tuple[str, NDArray]]:
    """Variables as "conv2d_3/vars/0", wherever the layers lie in the file."""
    found: list[str] = []
    archive.visit(found.append)
    for name in found:
        if (place := re.search(r"([^/]+/vars/\d+)$", name)) and not name.startswith("optimizer"):
            yield place[1], np.asarray(archive[name])


def _keras3_names(model: Any) -> dict[str, str]:
    """Keras 3's name in the file -> variable: layers are numbered by class in the order of the graph."""
    counts: dict[str, int] = {}
    names = {}
    for layer in model.layers:
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(layer).__name__).lower()
        number = counts.get(kind, 0)
        counts[kind] = number + 1
        for index, variable in enumerate(layer.weights):
            names[f"{kind}{f'_{number}' if number else ''}/vars/{index}"] = variable.name
    return names
