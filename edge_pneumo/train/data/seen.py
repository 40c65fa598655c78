"""Which films a model has met, kept in the model so that `evaluate` can warn; names themselves never travel with it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_pneumo.train.data.film import Film

MARK_CHARS = 8
"""Of a film's hash: of 500 films of another data set one in 20,000 times one seems to be among 500 known ones."""


def film_marks(films: Iterable[Film]) -> str:
    """The first 32 bits of the SHA-256 of each film's id, as hexadecimal, sorted, one after the other."""
    return "".join(sorted(_mark(film) for film in films))


def count_met(films: Iterable[Film], marks: str) -> int:
    """How many of `films` have a mark in `marks`."""
    known = {marks[k : k + MARK_CHARS] for k in range(0, len(marks), MARK_CHARS)}
    return sum(_mark(film) in known for film in films)


def _mark(film: Film) -> str:
    return hashlib.sha256(film.film_id.encode()).hexdigest()[:MARK_CHARS]
