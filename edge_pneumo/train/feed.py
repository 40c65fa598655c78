"""Batches for training: preprocessed films in memory, changed anew each time, made ready by a thread while the
network works on the batch before."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.edge_runtime.preprocess import InputSpec
from edge_pneumo.train.augment import augment
from edge_pneumo.train.config import AugmentConfig
from edge_pneumo.train.targets import FilmLabel, dense_targets

Batch = tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]


@dataclass(frozen=True)
class TrainingSet:
    """Films of one size with what is known of them: images (n, s, s, 1) uint8, one label each."""

    images: NDArray[np.uint8]
    labels: Sequence[FilmLabel]
    repeats: NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.repeats.sum())


def joined(sets: Sequence[TrainingSet]) -> TrainingSet:
    """One set of several."""
    labels = [label for one in sets for label in one.labels]
    return TrainingSet(np.concatenate([s.images for s in sets]), labels, np.concatenate([s.repeats for s in sets]))


def one_epoch(
    films: TrainingSet, spec: InputSpec, stride: int, batch_size: int, augmentation: AugmentConfig, gaussian: float,
    seed: Sequence[int], findings: int,
) -> Iterator[Batch]:  # fmt: skip
    """Every film `repeats` times in random order, in whole batches (a last short one is left out).

    The order and every change follow from `seed` alone, so that a resumed run sees what the first would have seen.
    """
    order = np.repeat(np.arange(len(films.labels)), films.repeats)
    np.random.default_rng([*seed, 0]).shuffle(order)
    starts = list(range(0, max(len(order) - batch_size, 0) + 1, batch_size))

    def make() -> Iterator[Batch]:
        for number, start in enumerate(starts):
            rng = np.random.default_rng([*seed, 1, number])
            chosen = order[start : start + batch_size]
            yield _batch(films, chosen, spec, stride, augmentation, gaussian, rng, findings)

    return ahead(make())


def _batch(
    films: TrainingSet, chosen: NDArray[np.int64], spec: InputSpec, stride: int, augmentation: AugmentConfig,
    gaussian: float, rng: np.random.Generator, findings: int,
) -> Batch:  # fmt: skip
    size, grid = spec.size_px, spec.size_px // stride
    count = len(chosen)
    pictures = np.empty((count, size, size, 1), np.uint8)
    shapes = {
        "opacity": (), "weight": (), "heat_weight": (), "findings_known": (), "findings": (findings,),
        "heat": (grid, grid, 1), "box": (grid, grid, 4), "box_weight": (grid, grid, 1),
    }  # fmt: skip
    targets = {name: np.zeros((count, *shape), np.float32) for name, shape in shapes.items()}
    for row, index in enumerate(chosen):
        label = films.labels[index]
        pictures[row, ..., 0], boxes = augment(films.images[index, ..., 0], label.boxes_xyxy, rng, augmentation)
        heat, box, weight = dense_targets(boxes, size, stride, gaussian)
        targets["opacity"][row], targets["weight"][row] = label.opacity, label.weight
        targets["heat"][row], targets["box"][row] = heat, box
        targets["box_weight"][row] = weight * label.box_weight
        targets["heat_weight"][row] = label.box_weight if label.boxes_known else 0.0
        if findings and label.findings is not None:
            targets["findings"][row], targets["findings_known"][row] = label.findings, 1.0
    return spec.normalise(pictures), targets


def ahead(batches: Iterator[Batch], depth: int = 4) -> Iterator[Batch]:
    """The same batches, made by a thread up to `depth` ahead; an error there is raised here."""
    ready: queue.Queue = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: object) -> None:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.2)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for batch in batches:
                put(batch)
                if stopped.is_set():
                    return
            put(None)
        except BaseException as error:  # a thread is a process boundary: hand the error over, whatever it is
            put(error)

    thread = threading.Thread(target=work, daemon=True, name="films-ahead")
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()
