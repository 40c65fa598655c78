"""Starting weights: ImageNet MobileNetV2 into our grey graph, exactly, from a folded .npz or from Keras's own file.

Folding three equal channels into one is exact: with the same grey value in every channel, sum_c w_c x = (sum_c w_c) x.
The one difference is the input range: ImageNet's is x / 127.5 - 1, ours (x - 128) / 127.5, which the int8 input can
represent without rounding; the constant shift of 1/255 is left to fine-tuning.
"""

from __future__ import annotations

import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.errors import DataError, UsageFault
from edge_pneumo.train.detector import channels

KERAS_ALPHAS = (0.35, 0.5, 0.75, 1.0)
HEAD = ("lateral", "head", "heat", "ltrb", "image_", "findings")


def backbone_convolutions(model: Any) -> list[Any]:
    """Convolution layers of the backbone in order, stem to the last block."""
    names = [layer for layer in model.layers if type(layer).__name__ in ("Conv2D", "DepthwiseConv2D")]
    return [layer for layer in names if not layer.name.startswith(HEAD)]


def load_start(model: Any, source: str | Path | None) -> str:
    """Give the backbone its starting weights; returns a sentence saying what was done.

    Parameters
    ----------
    model : from `build_detector`.
    source : "none" = random; "default" = the whole embedded detector, to be fine-tuned; None = Keras's own ImageNet
        file (downloads where the network allows); a path = a RUN folder, whose detector is trained on, the folded .npz
        (arrays `NN_w`, `NN_b`) or a Keras .h5 of MobileNetV2 without top.

    Raises
    ------
    UsageFault : no weights can be had; the message says what to give.
    DataError : the file does not fit this network.
    """
    if source is not None and str(source) == "none":
        return "random start"
    if source is not None and str(source) == "default":
        _load_detector(model, "default", "the embedded default")
        return "the embedded default's weights"
    if source is not None and Path(source).is_dir():
        _load_detector(model, source, f"the run {source}")
        return f"the weights of the run {Path(source).resolve().name}"
    if source is not None and Path(source).suffix == ".npz":
        _load_folded(model, Path(source))
        return f"ImageNet start from {Path(source).name} (folded batch norm)"
    if source is not None and not Path(source).is_file():
        raise UsageFault(f"no weights file at {source}; give a .npz or Keras .h5 file, or --weights none")
    _load_keras(model, None if source is None else Path(source))
    return "ImageNet start from Keras's MobileNetV2" + ("" if source is None else f" ({Path(source).name})")


def hidden_of_start(source: str | Path | None) -> tuple[int, ...]:
    """The channels of the detector that training starts from (`DetectorConfig.hidden`); empty where it is whole."""
    from edge_pneumo.train.run import read_json, run_path

    if source is None or not run_path(source).is_dir():
        return ()
    return tuple(read_json(run_path(source) / "config.json").get("hidden", ()))


def _load_detector(model: Any, run: str | Path, called: str) -> None:
    from edge_pneumo.train.run import load_run

    trained = load_run(run)
    if getattr(trained, "kind", None) != "detector":
        raise UsageFault(f"{called} is no float detector run; --weights takes the --out of `edge-pneumo train`")
    donor = trained.model
    for layer in donor.layers:
        if layer.weights:
            target = model.get_layer(layer.name)
            if [w.shape for w in target.weights] != [w.shape for w in layer.weights]:
                raise UsageFault(
                    f"{called} does not fit this detector (layer {layer.name}: {layer.weights[0].shape} "
                    f"against {target.weights[0].shape}); keep its alpha and head_channels, or give other --weights"
                )
            target.set_weights(layer.get_weights())


def _load_folded(model: Any, path: Path) -> None:
    try:
        with path.open("rb") as stream, np.load(stream) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise UsageFault(f"no weights file at {path}; give a .npz or Keras .h5 file, or --weights none") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).partition(". ")[0]  # numpy goes on to advise unpickling
        raise DataError(f"cannot read the weights {path}: {reason}. Is it a whole .npz file?") from error
    for index, layer in enumerate(backbone_convolutions(model)):
        kernel, bias = arrays.get(f"{index:02d}_w"), arrays.get(f"{index:02d}_b")
        if kernel is None or bias is None:
            raise DataError(f"{path} has no arrays {index:02d}_w and {index:02d}_b for layer {layer.name}")
        if type(layer).__name__ == "DepthwiseConv2D":
            kernel = kernel.transpose(2, 3, 0, 1)  # (c, 1, kh, kw) -> (kh, kw, c, 1)
        else:
            kernel = kernel.transpose(2, 3, 1, 0)  # (out, in, kh, kw) -> (kh, kw, in, out)
        _set(model, layer, kernel, np.zeros_like(bias), np.ones_like(bias), np.ones_like(bias), bias, path)


def _load_keras(model: Any, path: Path | None) -> None:
    from tf_keras.applications import MobileNetV2

    alpha = _keras_alpha(model)
    try:
        with redirect_stdout(sys.stderr):  # Keras announces its download on stdout, which is ours for data
            donor = MobileNetV2((224, 224, 3), alpha, include_top=False, weights=str(path) if path else "imagenet")
    except Exception as error:  # Keras raises bare Exception for a failed download, ValueError for a wrong file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if path is not None:
            raise DataError(f"cannot read the weights {path}: {reason}. Is it MobileNetV2 alpha {alpha}?") from error
        raise UsageFault(
            f"no ImageNet weights for MobileNetV2 alpha {alpha}: {reason}. Give a local file with --weights FILE, "
            "fine-tune the embedded detector with --weights default, or start from scratch with --weights none"
        ) from error
    kinds = ("Conv2D", "DepthwiseConv2D")
    convolutions = [layer for layer in donor.layers if type(layer).__name__ in kinds]
    norms = [layer for layer in donor.layers if type(layer).__name__ == "BatchNormalization"]
    for layer, conv, norm in zip(backbone_convolutions(model), convolutions, norms, strict=False):
        gamma, beta, mean, variance = norm.get_weights()
        _set(model, layer, conv.get_weights()[0], mean, variance, gamma, beta, path or "imagenet", exact_epsilon=True)


def _keras_alpha(model: Any) -> float:
    """The width for which Keras has weights that fit `model`."""
    from tf_keras.layers import Conv2D

    found = [layer.filters for layer in backbone_convolutions(model) if isinstance(layer, Conv2D)]
    for alpha in KERAS_ALPHAS:
        if (found[0], found[-2]) == (channels(32 * alpha), channels(320 * alpha)):
            return alpha
    raise UsageFault(
        f"there are ImageNet weights for alpha {', '.join(map(str, KERAS_ALPHAS))} only; give one of those, or start "
        "from scratch with --weights none"
    )


def _set(
    model: Any,
    layer: Any,
    kernel: NDArray,
    mean: NDArray,
    variance: NDArray,
    gamma: NDArray,
    beta: NDArray,
    path: Any,
    exact_epsilon: bool = False,
) -> None:
    norm = model.get_layer(f"{layer.name}_bn")
    if layer.name == "stem" and kernel.shape[2] == 3:
        kernel = kernel.sum(axis=2, keepdims=True)
    expected = tuple(layer.weights[0].shape)
    if kernel.shape != expected:
        raise DataError(
            f"{path} does not fit layer {layer.name}: expected a kernel of {expected}, found {kernel.shape} "
            "(is it MobileNetV2 of the same alpha?)"
        )
    if not exact_epsilon:  # moving variance + epsilon must be 1 for the norm to pass the bias through
        variance = variance - norm.epsilon
    layer.set_weights([kernel])
    norm.set_weights([gamma, beta, mean, variance])


def settle_batch_norm(model: Any, images: NDArray[np.float32], batch_size: int = 16) -> None:
    """Give folded batch norms true statistics without changing the function they compute.

    A folded network has gamma 1, mean 0, variance 1, which is far from what its activations are, so training in batch
    mode would start with a jolt. For each norm: measure mean and variance of its input on `images` (n, s, s, 1), then
    set moving statistics to them, gamma to sqrt(variance + eps) x its old gain, and beta so that the output stays.
    """
    from tf_keras import Model

    norms = [layer for layer in model.layers if type(layer).__name__ == "BatchNormalization"]
    norms = [norm for norm in norms if not norm.name.startswith(HEAD)]
    probe = Model(model.input, [norm.input for norm in norms])
    sums = [np.zeros(norm.input.shape[-1]) for norm in norms]
    squares, count = [s.copy() for s in sums], 0
    for batch in _batches(images, batch_size):
        count += len(batch)
        for index, value in enumerate(probe(batch, training=False)):
            value = np.asarray(value, np.float64)
            sums[index] += value.mean(axis=(1, 2)).sum(0)
            squares[index] += np.square(value).mean(axis=(1, 2)).sum(0)
    for norm, total, square in zip(norms, sums, squares, strict=True):
        mean, variance = total / count, square / count - np.square(total / count)
        gamma, beta, old_mean, old_variance = norm.get_weights()
        gain = gamma / np.sqrt(old_variance + norm.epsilon)
        offset = beta - gain * old_mean
        variance = np.maximum(variance, 1e-6)
        norm.set_weights([gain * np.sqrt(variance + norm.epsilon), offset + gain * mean, mean, variance])


def _batches(images: NDArray, size: int) -> Iterator[NDArray]:
    for start in range(0, len(images), size):
        yield images[start : start + size]
