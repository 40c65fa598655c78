"""One number per film and no network: how much of a data set a single look at brightness gives away."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.benchmarks.metrics import auc
from edge_pneumo.edge_runtime.preprocess import InputSpec

if TYPE_CHECKING:
    from edge_pneumo.train.data.film import DataSet

SIZE_PX = 128


def middle_brightness(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean grey of the middle half of each side minus that of the whole film: (n, s, s, 1) uint8 -> (n,)."""
    quarter = images.shape[1] // 4
    middle = images[:, quarter:-quarter, quarter:-quarter, 0]
    return middle.mean(axis=(1, 2)) - images[..., 0].mean(axis=(1, 2))


def middle_auc(data: DataSet, judged: str, cache_dir: Path | None) -> float:
    """AUC of `middle_brightness` on the split `judged`; which way round it counts is learnt on `train`."""
    from edge_pneumo.train.data.cache import load_images

    def of(split: str) -> float:
        films = data.split(split).films
        images, _, kept, _ = load_images(films, InputSpec(SIZE_PX), cache_dir, progress=False)
        return auc([films[index].label for index in kept], middle_brightness(images))

    value = of(judged)
    return value if of("train") >= 0.5 else 1 - value
