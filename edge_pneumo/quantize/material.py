"""What a conversion works with: the float network, films to calibrate on, films to be judged on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.edge_runtime.decode import RawOutputs
from edge_pneumo.edge_runtime.engine import Engine
from edge_pneumo.edge_runtime.preprocess import InputSpec
from edge_pneumo.errors import DataError
from edge_pneumo.quantize.calibration import choose_calibration
from edge_pneumo.quantize.gate import Proof
from edge_pneumo.train.data.film import DataSet, Film

Say = Callable[[str], None]
CALIBRATION_SPLIT = "train"
GENERATED_FILMS = 160


def load_films(path: str | Path) -> tuple[DataSet, bool]:
    """A data set, and whether its films are labelled: a folder of films without tables will do for calibration.

    Raises
    ------
    DataError : neither a data set nor a folder with films.
    """
    from edge_pneumo.edge_runtime.sources import find_films
    from edge_pneumo.train.data.index import load_dataset

    try:
        return load_dataset(path), True
    except DataError as error:
        if not Path(path).is_dir() or any(Path(path).glob("*.csv")) or any(Path(path).glob("*.json")):
            raise
        sources = list(find_films([path]))
        if not sources:
            raise DataError(f"{path}: neither a labelled data set ({error}) nor a folder with films") from error
    films = [Film(source.name, source.name, 0, source.read, source="folder") for source in sources]
    return DataSet(tuple(films), str(path), "folder"), False


def calibration_images(
    dataset: DataSet,
    count: int,
    seed: int,
    spec: InputSpec,
    cache_dir: Path | None = None,
    say: Say = lambda sentence: None,
) -> tuple[list[Film], NDArray[np.uint8]]:
    """Calibration films and their pictures (n, s, s, 1) uint8; from the training split where there are splits."""
    from edge_pneumo.train.data.cache import LeftOut, load_images

    train = [film for film in dataset.films if film.split == CALIBRATION_SPLIT]
    chosen = choose_calibration(train or dataset.films, count, seed)
    images, _, kept, refused = load_images(chosen, spec, cache_dir)
    for one in refused:
        say(LeftOut.of(one))
    return [chosen[k] for k in kept], images


def proof_films(
    dataset: DataSet, labelled: bool, split: str, spec: InputSpec, cache_dir: Path | None = None
) -> tuple[Proof, Sequence[str]]:
    """The films to be judged on, and a sentence for each that could not be read.

    A split without films of both classes cannot judge accuracy: the proof is then marked as not labelled.
    """
    from edge_pneumo.train.data.cache import LeftOut, load_images

    films = dataset.split(split).films if labelled else dataset.films
    images, geometry, kept, refused = load_images(films, spec, cache_dir)
    films = [films[k] for k in kept]
    if not films:
        raise DataError(f"{dataset.root}: none of the films of split '{split}' could be read; nothing to judge on")
    both = len({film.label for film in films}) == 2
    return Proof(images, geometry, films, labelled and both), [LeftOut.of(one) for one in refused]


def engine_outputs(engine: Engine, images: NDArray[np.uint8]) -> list[RawOutputs]:
    """What the light runtime answers for pictures (n, s, s, 1) uint8."""
    return [engine.run(image[np.newaxis]) for image in images]


def median_ms(engine: Engine, images: NDArray[np.uint8], repeats: int = 30) -> float:
    """Median time of one inference on this machine, in ms, after a warm-up of 3."""
    import time

    times: list[float] = []
    for number in range(repeats + 3):
        film = images[number % len(images)][np.newaxis]
        began = time.perf_counter()
        engine.run_quantised(film)
        times.append((time.perf_counter() - began) * 1e3)
    return float(np.median(times[3:]))


def listed(names: Sequence[Any], most: int = 5) -> str:
    """The first few names in words."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(str(name) for name in names[:most]) + more


@contextmanager
def films_for(data: str | Path | None, say: Say = lambda sentence: None) -> Iterator[tuple[DataSet, bool]]:
    """The films of a conversion and whether they are labelled; without `data`, generated ones for as long as needed."""
    if data is not None:
        dataset, labelled = load_films(data)
        for warning in dataset.warnings:
            say(f"{data}: {warning}")
        yield dataset, labelled
        return
    from edge_pneumo.train.data.index import load_dataset
    from edge_pneumo.train.data.phantom import make_phantom

    say(f"no --data: generating {GENERATED_FILMS} films; they calibrate, but cannot say anything about accuracy")
    with TemporaryDirectory(prefix="edge-pneumo-films-") as folder:
        make_phantom(folder, GENERATED_FILMS)
        dataset = load_dataset(folder)
        yield replace(dataset, root="generated films"), False
