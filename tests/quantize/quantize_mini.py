"""A detector in miniature: the real one's operators and outputs in a dozen layers, whose heads are fitted in closed
form so that it finds bright blobs. Small enough to convert in a second or two."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edge_pneumo.edge_runtime.decode import DecodeSpec
from edge_pneumo.edge_runtime.preprocess import InputSpec
from edge_pneumo.train.data.film import DataSet, Film
from edge_pneumo.train.data.headers import Facts

SIZE, GRID, STRIDE = 64, 4, 16
SPEC = InputSpec(SIZE)
DECODE = DecodeSpec(stride=STRIDE, image_weight=1.0, heat_weight=1.0, box_threshold=0.3)


def make_films(count: int, seed: int = 0, splits: tuple[str, ...] = ("train", "val")) -> DataSet:
    """Films of grey noise, every other one with one bright blob and its box; full range of greys."""
    rng = np.random.default_rng(seed)
    films = []
    for index in range(count):
        picture = rng.integers(20, 120, (SIZE, SIZE)).astype(np.uint8)
        picture[0, 0], picture[0, 1] = 0, 255
        boxes: tuple = ()
        if index % 2:
            cell = rng.integers(0, GRID, 2) * STRIDE
            picture[cell[1] + 2 : cell[1] + 14, cell[0] + 2 : cell[0] + 14] += 130
            boxes = ((float(cell[0]) + 2, float(cell[1]) + 2, float(cell[0]) + 14, float(cell[1]) + 14),)
        split = splits[0] if index < 0.6 * count else splits[-1]
        facts = Facts(view="AP" if index % 4 < 2 else "PA")
        films.append(
            Film(
                f"film{index:03d}",
                f"film{index:03d}.png",
                index % 2,
                Png(picture),
                boxes_xyxy=boxes,
                group=f"patient{index // 2}",
                split=split,
                known=facts,
            )
        )
    return DataSet(tuple(films), "blobs", "made")


class Png:
    """Gives a picture's PNG bytes; can be pickled, as Film.read must."""

    def __init__(self, picture: np.ndarray) -> None:
        self.picture = picture

    def __call__(self) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(self.picture).save(stream, "PNG")
        return stream.getvalue()


def pictures(dataset: DataSet) -> np.ndarray:
    """(n, s, s, 1) uint8."""
    return np.stack([film.read.picture for film in dataset.films])[..., np.newaxis]


def build_short():
    """The mini detector with half its layers, for what costs seconds a layer: quantisation-aware training."""
    return build_mini(short=True)


def build_mini(short: bool = False):
    """Input -> stride 16 by convolutions, a residual block and depthwise kernels -> the detector's three outputs."""
    from tf_keras import Model, initializers, layers

    def conv(x, filters, kernel, stride, name, relu=True):
        start = initializers.HeNormal(seed=len(name))
        x = layers.Conv2D(filters, kernel, stride, "same", use_bias=False, name=name, kernel_initializer=start)(x)
        x = layers.BatchNormalization(name=f"{name}_bn")(x)
        return layers.ReLU(6.0, name=f"{name}_relu")(x) if relu else x

    def depthwise(x, stride, name):
        start = initializers.HeNormal(seed=stride)
        x = layers.DepthwiseConv2D(3, stride, "same", use_bias=False, name=name, depthwise_initializer=start)(x)
        x = layers.BatchNormalization(name=f"{name}_bn")(x)
        return layers.ReLU(6.0, name=f"{name}_relu")(x)

    film = layers.Input((SIZE, SIZE, 1), name="film")
    x = conv(film, 16, 3, 2, "stem")
    x = depthwise(x, 2, "down4")
    x = start = conv(x, 12, 1, 1, "narrow4", relu=False)
    x = x if short else conv(x, 24, 1, 1, "wide4")
    x = depthwise(x, 1, "deep4")
    x = conv(x, 12, 1, 1, "again4", relu=False)
    x = layers.Add(name="joined4")([start, x])
    if short:
        x = conv(x, 48, 5, 4, "top")
    else:
        x = conv(x, 24, 1, 1, "wide8")
        x = depthwise(x, 2, "down8")
        x = depthwise(x, 2, "down16")
        x = conv(x, 48, 1, 1, "top")
    heat = layers.Conv2D(1, 1, name="heat")(x)
    ltrb = layers.Conv2D(4, 1, name="ltrb")(x)
    pooled = layers.GlobalAveragePooling2D(name="image_pool")(x)
    pooled = layers.Dropout(0.3, name="image_dropout")(pooled)
    logit = layers.Dense(1, name="image_logit")(pooled)
    return Model(film, {"image_logit": logit, "heat": heat, "ltrb": ltrb}, name="edge_pneumo_detector")


def fit_mini(dataset: DataSet, build: Callable[[], Any] = build_mini):
    """The mini detector with batch norms at their true statistics and heads by ridge regression."""
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    model = build()
    images = SPEC.normalise(pictures(dataset))
    for layer in [layer for layer in model.layers if type(layer).__name__ == "BatchNormalization"]:
        value = np.asarray(tf_keras.Model(model.input, layer.input)(images, training=False))
        gamma, beta, _, _ = layer.get_weights()
        layer.set_weights([gamma, beta + 0.5, value.mean((0, 1, 2)), value.var((0, 1, 2))])
    cells = np.asarray(tf_keras.Model(model.input, model.get_layer("top_relu").output)(images, training=False))
    there = np.zeros((len(images), GRID, GRID), np.float32)
    for index, film in enumerate(dataset.films):
        for x1, y1, _, _ in film.boxes_xyxy:
            there[index, int(y1) // STRIDE, int(x1) // STRIDE] = 1.0
    heat, bias = ridge(cells.reshape(-1, cells.shape[-1]), 8.0 * there.ravel() - 4.0)
    model.get_layer("heat").set_weights([heat.reshape(1, 1, -1, 1), np.array([bias])])
    side = np.log(6 / STRIDE)
    ltrb = model.get_layer("ltrb").get_weights()[0] * 0.01
    model.get_layer("ltrb").set_weights([ltrb, np.full(4, side, np.float32)])
    logit, bias = ridge(cells.mean((1, 2)), 4.0 * there.max((1, 2)) - 2.0)
    model.get_layer("image_logit").set_weights([logit.reshape(-1, 1), np.array([bias])])
    return model


def ridge(features: np.ndarray, target: np.ndarray, penalty: float = 1.0) -> tuple[np.ndarray, float]:
    """Least squares with a penalty on the weights, not on the offset."""
    middle, offset = features.mean(0), float(target.mean())
    centred = features - middle
    weights = np.linalg.solve(centred.T @ centred + penalty * np.eye(features.shape[1]), centred.T @ (target - offset))
    return weights.astype(np.float32), offset - float(middle @ weights)


def mini_run(model, path: Path):
    """The model as a finished run."""
    from edge_pneumo.train.run import TrainedRun

    config = {
        "kind": "detector", "version": "0.0.1", "start": "random start",
        "train": {"name": "mini", "interim": True, "size_px": SIZE, "alpha": 0.35, "head_channels": 16, "dropout": 0.3},
        "input": {"size_px": SIZE, "fill": 0, "scale": SPEC.scale, "zero_point": SPEC.zero_point},
        "data": {"split_hash": "0" * 64, "train": 24},
    }  # fmt: skip
    return TrainedRun(path, "detector", config, model, SPEC, DECODE)
