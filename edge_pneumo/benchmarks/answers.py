"""A model file's answers on labelled films, made by the clinic's own pipeline, several films at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from edge_pneumo.benchmarks.metrics.cases import LabelledFilm
from edge_pneumo.errors import FilmRefused

if TYPE_CHECKING:
    from edge_pneumo.edge_runtime.predict import Detector, Examination

T = TypeVar("T")
_LINE_EVERY_S = 10.0


class ReadableFilm(LabelledFilm, Protocol):
    """A labelled film whose bytes can be had."""

    @property
    def path(self) -> str: ...
    @property
    def read(self) -> Callable[[], bytes]: ...


def examine_films(
    detector: Detector, films: Sequence[Any], *, operating_point: str | None = None, jobs: int | None = None
) -> Iterator[Examination | FilmRefused]:
    """Examine `ReadableFilm`s in order; a film that cannot be read or answered gives its refusal.

    Parameters
    ----------
    jobs : threads; None for one a core. Decoding and inference leave Python's lock, so they do run side by side.
    """

    def one(film: ReadableFilm) -> Examination | FilmRefused:
        try:
            return detector.examine(film.read(), operating_point=operating_point, name=film.path)
        except FilmRefused as refusal:
            return refusal
        except OSError as error:
            return FilmRefused("unreadable", f"{film.path}: {error.strerror or error}")

    detector.check_operating_point(operating_point)
    with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
        yield from pool.map(one, films)
