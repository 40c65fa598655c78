"""The seven graphs, as flat functional tf_keras models: float32 (n, s, s, 3) -> {"image_logit": (n, 1)}, and for the
system with a box {"box": (n, 4)}: x1, y1, x2, y2 as fractions of the input's side.

The heads give logits, not sigmoids: the same parameters, and the loss does not lose digits near 0 and 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge_pneumo.train.systems.catalogue import System

DROPOUT = 0.3
"""The report names its dropout layers, not their rates; this is ours."""


def build_system(system: System) -> Any:
    """Build the graph of a system with random weights; frozen features are already marked as not trainable."""
    return builder_of(system)(system)


def builder_of(system: System) -> Callable[[System], Any]:
    """The function that builds a system; rows 1 and 2 are one graph with different weights."""
    return {
        1: _densenet, 2: _densenet, 3: _fcnn, 4: _cnn, 5: _mobilenet_v2, 6: _mobilenet_v1, 7: _mobilenet_v2,
    }[system.reference]  # fmt: skip


def _densenet(system: System) -> Any:
    from tf_keras.applications import DenseNet121

    return _pooled_head(DenseNet121(include_top=False, weights=None, input_shape=_shape(system)), system, DROPOUT)


def _mobilenet_v1(system: System) -> Any:
    from tf_keras.applications import MobileNet

    return _pooled_head(MobileNet(include_top=False, weights=None, input_shape=_shape(system)), system, DROPOUT)


def _mobilenet_v2(system: System) -> Any:
    from tf_keras.applications import MobileNetV2

    trunk = MobileNetV2(include_top=False, weights=None, input_shape=_shape(system))
    trunk.trainable = False  # also keeps its batch norms on their stored statistics
    return _pooled_head(trunk, system, 0.0)


def _pooled_head(trunk: Any, system: System, dropout: float) -> Any:
    from tf_keras import Model, layers

    x = layers.GlobalAveragePooling2D(name="pool")(trunk.output)
    if dropout:
        x = layers.Dropout(dropout, name="dropout")(x)
    outputs = {"image_logit": layers.Dense(1, name="image_logit")(x)}
    if system.one_box:
        flat = layers.Flatten(name="flatten")(trunk.output)
        # 20,480 weights on every corner: from a random start the corners begin a film's side apart; at the rate that
        # suits the other head each step throws them as far again. Zeros, and (by Adam's nature) a tenth of the rate.
        small = layers.Rescaling(0.1, name="slow")(flat)
        outputs["box"] = layers.Dense(4, kernel_initializer="zeros", name="box")(small)
    return Model(trunk.input, outputs, name=_graph_name(system))


def _fcnn(system: System) -> Any:
    from tf_keras import Model, layers

    film = layers.Input(_shape(system), name="film")
    x = layers.Flatten(name="flatten")(film)
    x = layers.Dense(128, "relu", name="dense128")(x)
    return Model(film, {"image_logit": layers.Dense(1, name="image_logit")(x)}, name=_graph_name(system))


def _cnn(system: System) -> Any:
    from tf_keras import Model, layers

    film = layers.Input(_shape(system), name="film")
    x = layers.Conv2D(32, 3, activation="relu", name="conv1")(film)
    x = layers.MaxPooling2D(2, name="pool1")(x)
    x = layers.Conv2D(32, 3, activation="relu", name="conv2")(x)
    x = layers.MaxPooling2D(2, name="pool2")(x)
    x = layers.Dropout(DROPOUT, name="dropout2")(x)
    x = layers.Conv2D(64, 3, activation="relu", name="conv3")(x)
    x = layers.Conv2D(128, 3, activation="relu", name="conv4")(x)
    x = layers.BatchNormalization(name="conv4_bn")(x)
    x = layers.MaxPooling2D(2, name="pool4")(x)
    x = layers.Dropout(DROPOUT, name="dropout4")(x)
    x = layers.Flatten(name="flatten")(x)
    for width in (512, 128):
        x = layers.Dense(width, "relu", name=f"dense{width}")(x)
        x = layers.BatchNormalization(name=f"dense{width}_bn")(x)
        x = layers.Dropout(DROPOUT, name=f"dense{width}_dropout")(x)
    return Model(film, {"image_logit": layers.Dense(1, name="image_logit")(x)}, name=_graph_name(system))


def _shape(system: System) -> tuple[int, int, int]:
    return (system.size_px, system.size_px, 3)


def _graph_name(system: System) -> str:
    return system.name.replace("-", "_")
