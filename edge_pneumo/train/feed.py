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

Batch = tuple[NDArray[np.float32], dict[str, NDArray[np.float32]], bool]
"""Pictures, targets, and whether the films are of a kind that is kept apart."""


@dataclass(frozen=True)
class FilmSource:
    """Films of one size with what is known of them.

    Attributes
    ----------
    images : (n, s, s, 1) uint8.
    labels : one for each film.
    repeat : how often a film is shown in an epoch.
    apart : its films look unlike those that the detector will meet. Beside other films they come in batches of their
        own, which leave the statistics of batch norm alone (see step.py).
    """

    images: NDArray[np.uint8]
    labels: Sequence[FilmLabel]
    repeat: int = 1
    apart: bool = False

    def film(self, index: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], FilmLabel]:
        """One film, (s, s) uint8, and its label; a source may draw some of it anew each time."""
        return self.images[index, ..., 0], self.labels[index]


@dataclass(frozen=True)
class TrainingSet:
    """Films of several sources; a film is named by its source and its place there."""

    sources: Sequence[FilmSource]

    def __len__(self) -> int:
        """Films shown in an epoch, repeats counted."""
        return sum(len(source.labels) * source.repeat for source in self.sources)

    def places(self) -> NDArray[np.int64]:
        """(len, 2) source and index of every film of an epoch, in order."""
        pairs = [
            np.stack([np.full(len(one.labels), number), np.arange(len(one.labels))], 1).repeat(one.repeat, axis=0)
            for number, one in enumerate(self.sources)
        ]
        return np.concatenate(pairs).astype(np.int64)

    def batches(self, batch_size: int, rng: np.random.Generator) -> list[tuple[NDArray[np.int64], bool]]:
        """Places of every film of an epoch in random order, in whole batches (last short ones are left out), and
        whether a batch is of films that are kept apart."""
        order = self.places()
        rng.shuffle(order)
        apart = np.array([source.apart for source in self.sources])[order[:, 0]]
        kinds = [(order, False)] if apart.all() or not apart.any() else [(order[~apart], False), (order[apart], True)]
        cut = [
            (places[start : start + batch_size], kind)
            for places, kind in kinds
            for start in range(0, max(len(places) - batch_size, 0) + 1, batch_size)
        ]
        return [cut[k] for k in rng.permutation(len(cut))] if len(kinds) > 1 else cut

    def film(self, place: Sequence[int], rng: np.random.Generator) -> tuple[NDArray[np.uint8], FilmLabel]:
        """The film at a place, as its source gives it."""
        source, index = place
        return self.sources[source].film(index, rng)


def one_epoch(
    films: TrainingSet, spec: InputSpec, stride: int, batch_size: int, augmentation: AugmentConfig, gaussian: float,
    seed: Sequence[int], findings: int,
) -> Iterator[Batch]:  # fmt: skip
    """Every film `repeat` times in random order, in whole batches; see `TrainingSet.batches`.

    The order and every change follow from `seed` alone, so that a resumed run sees what the first would have seen.
    """
    batches = films.batches(batch_size, np.random.default_rng([*seed, 0]))

    def make() -> Iterator[Batch]:
        for number, (chosen, apart) in enumerate(batches):
            rng = np.random.default_rng([*seed, 1, number])
            yield (*_batch(films, chosen, spec, stride, augmentation, gaussian, rng, findings), apart)

    return ahead(make())


def _batch(
    films: TrainingSet, chosen: NDArray[np.int64], spec: InputSpec, stride: int, augmentation: AugmentConfig,
    gaussian: float, rng: np.random.Generator, findings: int,
) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:  # fmt: skip
    size, grid = spec.size_px, spec.size_px // stride
    count = len(chosen)
    pictures = np.empty((count, size, size, 1), np.uint8)
    shapes = {
        "opacity": (), "weight": (), "heat_weight": (), "findings_known": (findings,), "findings": (findings,),
        "heat": (grid, grid, 1), "box": (grid, grid, 4), "box_weight": (grid, grid, 1),
    }  # fmt: skip
    targets = {name: np.zeros((count, *shape), np.float32) for name, shape in shapes.items()}
    for row, place in enumerate(chosen):
        picture, label = films.film(place, rng)
        pictures[row, ..., 0], boxes = augment(picture, label.boxes_xyxy, rng, augmentation)
        heat, box, weight = dense_targets(boxes, size, stride, gaussian)
        targets["opacity"][row], targets["weight"][row] = label.opacity, label.weight
        targets["heat"][row], targets["box"][row] = heat, box
        targets["box_weight"][row] = weight * label.box_weight
        targets["heat_weight"][row] = label.box_weight if label.boxes_known else 0.0
        if findings and label.findings is not None:
            targets["findings_known"][row] = np.isfinite(label.findings[:findings])
            targets["findings"][row] = np.nan_to_num(label.findings[:findings])
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
