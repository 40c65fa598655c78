"""Films -> network inputs, in parallel, through the runtime's own reading and preprocess, with a cache where given."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.edge_runtime.preprocess import Geometry, InputSpec, preprocess
from edge_pneumo.edge_runtime.radiograph import read_radiograph
from edge_pneumo.errors import DataError, FilmRefused
from edge_pneumo.progress import watched
from edge_pneumo.train.data.film import Film
from edge_pneumo.train.data.pack import PixelCache, content_key, open_cache

_MOST_REFUSED = 0.2  # share of films; above it, something is wrong with the folder and not with a film

Refused = tuple[Film, FilmRefused]


class LeftOut(str):
    """What is said of a film that was left out; a command that said one ends with exit code 3, its work done."""

    __slots__ = ()

    @classmethod
    def of(cls, refused: Refused) -> LeftOut:
        """The sentence for a film that could not be read; the refusal names it."""
        return cls(f"left out {refused[1]}")


def load_images(
    films: Sequence[Film],
    spec: InputSpec,
    cache_dir: str | Path | None = None,
    jobs: int | None = None,
    progress: bool = True,
) -> tuple[NDArray[np.uint8], list[Geometry], list[int], list[Refused]]:
    """Read films as the network will see them.

    The runtime's door (is this a frontal chest film?) stands open here: a data set's labels vouch for its films, and
    training must not lose the odd-looking ones. Evaluation and prediction keep it shut.

    Parameters
    ----------
    films : films to read, in the order of the result.
    spec : the network's input.
    cache_dir : folder for decoded films (see `pack`); None for none. Can be deleted at any time.
    jobs : threads; None for one a core. Decoding leaves Python's lock, so threads do run side by side.
    progress : say on stderr how far it is.

    Returns
    -------
    inputs : (n, s, s, 1) uint8, of the n films that could be read.
    geometry : n maps between film and input pixels.
    kept : n indices into `films`.
    refused : the other films, each with its reason.

    Raises
    ------
    DataError : more than a fifth of the films cannot be read.
    """
    cache = open_cache(cache_dir, spec) if cache_dir is not None else None
    inputs = np.empty((len(films), spec.size_px, spec.size_px, 1), np.uint8)
    geometry: list[Geometry] = []
    kept: list[int] = []
    refused: list[Refused] = []
    with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
        answers = pool.map(lambda film: _read_one(film, spec, cache), films)
        for i, answer in enumerate(watched(answers, len(films), "reading films", show=progress)):
            if isinstance(answer, FilmRefused):
                refused.append((films[i], answer))
                continue
            inputs[len(kept)], where = answer
            geometry.append(where)
            kept.append(i)
    if len(refused) > _MOST_REFUSED * len(films):
        film, error = refused[0]
        raise DataError(
            f"{len(refused)} of {len(films)} films cannot be read (at most {_MOST_REFUSED:.0%} may fail). "
            f"First: {film.path}: {error}. `edge-pneumo data check` lists them all."
        )
    return inputs[: len(kept)], geometry, kept, refused


def _read_one(film: Film, spec: InputSpec, cache: PixelCache | None) -> tuple[NDArray, Geometry] | FilmRefused:
    try:
        data = film.read()
    except OSError as error:
        return FilmRefused("unreadable", f"{film.path}: {error.strerror or error}")
    key = content_key(data) if cache is not None else b""
    found = cache.get(key) if cache is not None else None
    if found is not None:
        return found
    try:
        answer = preprocess(read_radiograph(data, size_px=spec.size_px, name=film.path, force=True), spec)
    except FilmRefused as error:
        return error
    if cache is not None:
        cache.put(key, *answer)
    return answer
