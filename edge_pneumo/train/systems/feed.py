"""Films -> batches of the reference systems: the runtime's own reading and preprocess at the system's size, then three
equal channels in the range that the system expects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.edge_runtime.preprocess import Geometry, InputSpec
from edge_pneumo.errors import DataError
from edge_pneumo.train.augment import augment
from edge_pneumo.train.config import AugmentConfig

if TYPE_CHECKING:
    from edge_pneumo.train.data.index import Film

BATCH_SIZE = 32
"""Films a step, as in the report."""

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_SPREAD = np.array([0.229, 0.224, 0.225], np.float32)

Say = Callable[[str], None]


def to_network(grey: NDArray[np.uint8], scaling: str) -> NDArray[np.float32]:
    """Grey levels (n, s, s, 1) uint8 -> (n, s, s, 3) float32.

    `scaling` is "unit" (0..1), "symmetric" (-1..1, MobileNet's) or "imagenet" (mean 0 and spread 1 of each of
    ImageNet's channels, DenseNet's).
    """
    value = np.repeat(grey.astype(np.float32), 3, axis=-1)
    if scaling == "unit":
        return value / np.float32(255)
    if scaling == "symmetric":
        return value / np.float32(127.5) - 1
    return (value / np.float32(255) - IMAGENET_MEAN) / IMAGENET_SPREAD


@dataclass(frozen=True)
class Pictures:
    """Films in memory, ready for a network.

    Attributes
    ----------
    films : those that could be read.
    images : (n, s, s, 1) uint8.
    labels, weights : (n,) float32.
    boxes : (n, 4) float32, the largest true box of each film as fractions of the side; zeros where there is none.
    boxed : (n,) float32, 1 where there is one.
    """

    films: Sequence[Film]
    images: NDArray[np.uint8]
    labels: NDArray[np.float32]
    weights: NDArray[np.float32]
    boxes: NDArray[np.float32]
    boxed: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.films)


def load_pictures(films: Sequence[Film], spec: InputSpec, cache_dir: Path | None, say: Say) -> Pictures:
    """Read films; one that cannot be read is left out and named.

    Raises
    ------
    DataError : not both classes are among them.
    """
    from edge_pneumo.train.data.cache import LeftOut, load_images

    images, geometries, kept, refused = load_images(films, spec, cache_dir)
    for one in refused:
        say(LeftOut.of(one))
    read = [films[index] for index in kept]
    labels = np.array([film.label for film in read], np.float32)
    if set(labels) != {0.0, 1.0}:
        splits = ", ".join(sorted({str(film.split) for film in films}))
        raise DataError(
            f"films with and without opacities are needed, found only labels {sorted(set(labels))} in {splits}"
        )
    boxes = np.zeros((len(read), 4), np.float32)
    boxed = np.zeros(len(read), np.float32)
    for row, (film, geometry) in enumerate(zip(read, geometries, strict=True)):
        if film.boxes_xyxy:
            boxes[row], boxed[row] = largest_box(film, geometry) / spec.size_px, 1.0
    return Pictures(read, images, labels, np.array([film.weight for film in read], np.float32), boxes, boxed)


def largest_box(film: Film, geometry: Geometry) -> NDArray[np.float32]:
    """The largest true box (4,) xyxy in input pixels: the one that a system with a single box is asked for."""
    boxes = np.array(film.boxes_xyxy, np.float32)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return geometry.to_input(boxes[[int(np.argmax(area))]])[0]


def batches(
    pictures: Pictures, scaling: str, augmentation: AugmentConfig | None, seed: int, first_epoch: int, one_box: bool
) -> Iterator[tuple[NDArray, dict[str, NDArray], dict[str, NDArray]]]:
    """Endless batches (inputs, targets, weights of films) from `first_epoch` on; each epoch sees every film once.

    Order and changes follow from the seed and the epoch, so that a resumed run sees what the first would have seen.
    """
    epoch = first_epoch
    while True:
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(pictures))
        for start in range(0, len(order), BATCH_SIZE):
            chosen = order[start : start + BATCH_SIZE]
            grey = pictures.images[chosen]
            if augmentation is not None:
                grey = np.stack([augment(g[..., 0], _NO_BOXES, rng, augmentation)[0] for g in grey])[..., np.newaxis]
            targets = {"image_logit": pictures.labels[chosen, np.newaxis]}
            weights = {"image_logit": pictures.weights[chosen]}
            if one_box:
                targets["box"] = pictures.boxes[chosen]
                weights["box"] = pictures.weights[chosen] * pictures.boxed[chosen]
            yield to_network(grey, scaling), targets, weights
        epoch += 1


_NO_BOXES = np.zeros((0, 4), np.float32)


def outputs(model: Any, images: NDArray[np.uint8], scaling: str) -> dict[str, NDArray[np.float32]]:
    """Run a system on preprocessed pictures (n, s, s, 1) uint8: `image_logit` (n,), and `box` (n, 4) if it has one."""
    parts: list[dict[str, NDArray]] = []
    for start in range(0, len(images), BATCH_SIZE):
        answer = model(to_network(images[start : start + BATCH_SIZE], scaling), training=False)
        parts.append({name: np.asarray(value, np.float32) for name, value in answer.items()})
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    joined["image_logit"] = joined["image_logit"][:, 0]
    return joined
