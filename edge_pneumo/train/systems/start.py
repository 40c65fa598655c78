"""Where a system's weights come from before training: ImageNet, a file, or nowhere; and what of a file was used."""

from __future__ import annotations

import hashlib
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_pneumo.errors import DataError, UsageFault
from edge_pneumo.train.systems.catalogue import System
from edge_pneumo.train.systems.weightfiles import Named, read_named

HEADS = ("image_logit", "box")
"""Layers that are ours in every graph; they start random unless the file is of the same system."""


class NoWeights(UsageFault):
    """The weights that a system should start from cannot be had here."""


_LEAST_MATCHED = 0.95
_PATIENCE_S = 20.0
_SHOWN = 4


@dataclass(frozen=True)
class Start:
    """What a system started from.

    Attributes
    ----------
    source : in words.
    sha256 : of the file, or None.
    matched, wanted : feature variables that were set, and all there are.
    missing : feature variables that kept their random start.
    unused : arrays of the file that have no place in the graph.
    """

    source: str
    sha256: str | None = None
    matched: int = 0
    wanted: int = 0
    missing: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """What was matched, for people."""
        if not self.wanted:
            return self.source
        text = f"{self.source}: {self.matched} of {self.wanted} feature variables matched"
        if self.missing:
            text += f"; left random: {_few(self.missing)}"
        if self.unused:
            text += f"; not used from the file: {_few(self.unused)}"
        return text

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as config.json keeps it."""
        return asdict(self) | {"sentence": self.sentence}


def start_weights(model: Any, system: System, weights: str | Path | None) -> Start:
    """Give a graph from `build_system` its starting weights.

    Parameters
    ----------
    weights : "none" for a random start; a file (see `weightfiles`); None for the system's own way: Keras's ImageNet
        weights, downloaded where the network allows, or a random start for the systems that have no other.

    Raises
    ------
    NoWeights : they cannot be had; the message says what to give. UsageFault : no such file.
    DataError : the file is damaged or of another network.
    """
    if weights is not None and str(weights) != "none":
        return _from_file(model, Path(weights))
    if system.start == "chexnet":
        raise NoWeights(
            f"{system.name} starts from CheXNet's weights, which are not downloaded for you. Give the file with "
            "--weights FILE: PyTorch's (model.pth.tar of arnoweng/CheXNet, or a torchvision DenseNet-121 state dict) "
            "or Keras's .h5 (of brucechou1983/CheXNet-Keras). For the same network without them: --system densenet121"
        )
    if weights is None and system.start == "imagenet":
        return _from_keras_download(model, system)
    return Start("random start")


def _from_file(model: Any, path: Path) -> Start:
    if not path.is_file():
        raise UsageFault(f"no weights file at {path}; give a Keras .h5, PyTorch or folded .npz file, or --weights none")
    named = read_named(path, model)
    matched, missing, misfits = assign(model, named)
    wanted = len(_features(model))
    if matched < _LEAST_MATCHED * wanted:
        raise DataError(
            f"{path} ({named.maker}) does not hold the features of {model.name}: expected {wanted} variables such as "
            f"{_few(missing)}; found {matched} of them, and {len(named.unused)} others"
            + (f" such as {_few(named.unused)}" if named.unused else "")
            + (f"; of another shape: {_few(misfits)}" if misfits else "")
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Start(f"{path.name} ({named.maker})", digest, matched, wanted, missing, named.unused)


def assign(model: Any, named: Named) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
    """Set the variables that `named` has in the right shape.

    Returns
    -------
    How many feature variables were set, those that were not, and arrays of another shape in words.
    """
    features = {id(variable) for variable in _features(model)}
    matched, missing, misfits = 0, [], []
    for variable in model.weights:
        array = named.arrays.get(variable.name)
        if array is not None and array.shape != tuple(variable.shape):
            misfits.append(f"{variable.name} {tuple(variable.shape)} in the graph, {array.shape} in the file")
            array = None
        if array is not None:
            variable.assign(np.asarray(array, np.float32))
        if id(variable) in features:
            matched += array is not None
            if array is None:
                missing.append(variable.name)
    return matched, tuple(missing), tuple(misfits)


def _features(model: Any) -> list[Any]:
    return [variable for layer in model.layers if layer.name not in HEADS for variable in layer.weights]


def _from_keras_download(model: Any, system: System) -> Start:
    from tf_keras import applications

    maker = {1: applications.DenseNet121, 5: applications.MobileNetV2, 6: applications.MobileNet,
             7: applications.MobileNetV2}[system.reference]  # fmt: skip
    try:
        with _impatient(_PATIENCE_S), redirect_stdout(sys.stderr):  # Keras announces downloads on stdout
            donor = maker(include_top=False, weights="imagenet", input_shape=model.input_shape[1:])
    except Exception as error:  # Keras raises a bare Exception for a failed download
        raise NoWeights(
            f"no ImageNet weights for {system.name}: {str(error).splitlines()[0]}. Give a local file with "
            "--weights FILE, or start from scratch with --weights none"
        ) from error
    named = Named("Keras", {variable.name: variable.numpy() for variable in donor.weights}, ())
    matched, missing, _ = assign(model, named)
    return Start("ImageNet (Keras's download)", None, matched, len(_features(model)), missing)


@contextmanager
def _impatient(seconds: float) -> Iterator[None]:
    """Let network connections fail after `seconds` of silence: Keras's download would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
