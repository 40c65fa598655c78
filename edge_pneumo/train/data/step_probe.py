"""Does a pre-processing step help? A quick answer for every step, on the same films, with an interval.

Features of a frozen ImageNet MobileNetV2 and a logistic regression on top, judged by five-fold cross-validation over
patients. A step done to every film is done to training and test films alike; a random one adds a changed copy of every
training film. What is reported is the change in AUC against no step, with a 95 % interval over patients, on the same
films and folds. A full training run could still differ; a step that shows nothing here has to earn its place there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.edge_runtime.preprocess import InputSpec
from edge_pneumo.progress import watched
from edge_pneumo.train.data.cache import load_images
from edge_pneumo.train.data.film import DataSet
from edge_pneumo.train.data.steps import STEPS, Step

FOLDS = 5
_REPLICATES = 1_000
_BATCH = 32

Features = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""(n, s, s, 1) uint8 -> (n, d) float32."""


def probe_steps(
    dataset: DataSet,
    weights: str | Path | None,
    *,
    size_px: int = 192,
    names: Sequence[str] = tuple(STEPS),
    cache_dir: str | Path | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure the steps on a data set.

    Parameters
    ----------
    weights : ImageNet start as `train --weights` takes it.
    size_px : side of the films, a multiple of 32.

    Returns
    -------
    JSON document: AUC without a step, and for each step its AUC and the change with `low` and `high`.

    Raises
    ------
    DataError : too many films cannot be read, or the weights do not fit.
    """
    images, _, kept, _ = load_images(dataset.films, InputSpec(size_px), cache_dir, progress=progress)
    films = [dataset.films[i] for i in kept]
    labels = np.array([film.label for film in films])
    group = np.unique([film.group for film in films], return_inverse=True)[1]
    features = backbone_features(weights, size_px)
    plain = features(images)
    base = fold_scores(plain, plain, None, labels, group)
    results = []
    for name in watched(names, len(names), "measuring steps", show=progress):
        step = STEPS[name]
        changed = features(changed_copies(images, step))
        scores = fold_scores(plain, plain, changed, labels, group) if step.random else None
        if scores is None:
            scores = fold_scores(changed, changed, None, labels, group)
        results.append(
            {"step": name, "about": step.about, "random": step.random} | _change(labels, base, scores, group)
        )
    return {
        "schema": 1,
        "data": {"n": len(films), "positives": int(labels.sum()), "patients": int(group.max()) + 1},
        "split_hash": dataset.split_hash,
        "size_px": size_px,
        "folds": FOLDS,
        "auc": _auc(labels, base),
        "steps": results,
    }


def changed_copies(images: NDArray[np.uint8], step: Step) -> NDArray[np.uint8]:
    """Every film once through the step, with a fixed seed."""
    rng = np.random.default_rng(0)
    return np.stack([step.apply(image[..., 0], rng) for image in images])[..., np.newaxis]


def backbone_features(weights: str | Path | None, size_px: int) -> Features:
    """The mean of MobileNetV2's last feature map, as a function of grey films."""
    from tf_keras import Model, layers

    from edge_pneumo.train.detector import DetectorConfig, build_detector
    from edge_pneumo.train.weights import backbone_convolutions, load_start

    detector = build_detector(DetectorConfig(size_px=size_px, alpha=1.0))
    load_start(detector, weights)
    last = detector.get_layer(f"{backbone_convolutions(detector)[-1].name}_relu").output
    network = Model(detector.input, layers.GlobalAveragePooling2D()(last))
    spec = InputSpec(size_px)

    def features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        batches = (spec.normalise(images[i : i + _BATCH]) for i in range(0, len(images), _BATCH))
        return np.concatenate([np.asarray(network(batch, training=False)) for batch in batches])

    return features


def fold_scores(
    train: NDArray[np.float32],
    test: NDArray[np.float32],
    extra: NDArray[np.float32] | None,
    labels: NDArray[np.int64],
    group: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Out-of-fold scores (n,) of a logistic regression; `extra` are changed copies that only training sees."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fold = np.random.default_rng(0).permutation(int(group.max()) + 1)[group] % FOLDS
    scores = np.empty(len(labels))
    for k in range(FOLDS):
        inside = fold != k
        x, y = train[inside], labels[inside]
        if extra is not None:
            x, y = np.concatenate([x, extra[inside]]), np.concatenate([y, y])
        model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=2_000)).fit(x, y)
        scores[~inside] = model.decision_function(test[~inside])
    return scores


def _auc(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> float:
    from edge_pneumo.benchmarks.metrics.classification import auc

    return round(float(auc(labels, scores)), 4)


def _change(
    labels: NDArray[np.int64], base: NDArray[np.float64], scores: NDArray[np.float64], group: NDArray[np.int64]
) -> dict[str, Any]:
    from edge_pneumo.benchmarks.metrics.bootstrap import patient_weights
    from edge_pneumo.benchmarks.metrics.classification import weighted_auc

    changes = np.concatenate(
        [
            weighted_auc(labels, scores, weights) - weighted_auc(labels, base, weights)
            for weights in patient_weights(group, _REPLICATES, seed=0)
        ]
    )
    low, high = np.nanpercentile(changes, (2.5, 97.5))
    after = _auc(labels, scores)
    change = round(after - _auc(labels, base), 4)
    verdict = "helps" if low > 0 else "harms" if high < 0 else "no difference seen"
    return {
        "auc": after,
        "change": change,
        "low": round(float(low), 4),
        "high": round(float(high), 4),
        "verdict": verdict,
    }
