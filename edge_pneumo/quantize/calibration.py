"""Which films set the ranges: from the training split, balanced by class and view, drawn by seed, named by hash."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_pneumo.errors import DataError

FEWEST = 8


def choose_calibration(films: Sequence[Any], count: int, seed: int = 0) -> list[Any]:
    """`count` films, as equally as can be from each class and view (AP, PA, unknown); fewer if there are fewer.

    Parameters
    ----------
    films : objects with film_id, label and view.
    count : how many; a hundred or so is enough for ranges to settle.
    seed : the draw follows from it alone, not from the order of `films`.

    Raises
    ------
    DataError : fewer than 8 films: ranges would be an accident.
    """
    if len(films) < min(FEWEST, count):
        raise DataError(f"calibration needs at least {FEWEST} films, found {len(films)} in the training split")
    cells: dict[tuple[int, str], list[Any]] = defaultdict(list)
    for film in sorted(films, key=lambda film: film.film_id):
        cells[int(film.label), film.view if film.view in ("AP", "PA") else ""].append(film)
    rng = np.random.default_rng(seed)
    queues = [[cells[key][i] for i in rng.permutation(len(cells[key]))] for key in sorted(cells)]
    chosen: list[Any] = []
    while len(chosen) < min(count, len(films)):  # one from each cell in turn
        for queue in queues:
            if queue and len(chosen) < count:
                chosen.append(queue.pop())
    return chosen


def film_hash(films: Sequence[Any]) -> str:
    """SHA-256 over the sorted film ids: which films calibrated a file, without naming them in it."""
    ids = sorted(f"{film.film_id}\n" for film in films)
    return hashlib.sha256("".join(ids).encode()).hexdigest()


def composition(films: Sequence[Any]) -> dict[str, int]:
    """How many films of each class and view, such as {"opacity/AP": 30}."""
    counts: dict[str, int] = defaultdict(int)
    for film in films:
        counts[f"{'opacity' if film.label else 'no-opacity'}/{film.view or 'unknown'}"] += 1
    return dict(sorted(counts.items()))
