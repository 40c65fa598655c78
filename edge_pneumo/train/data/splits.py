"""Train, validation and test splits: by patient group, stratified, seeded."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_pneumo.edge_runtime.files import atomic_write
from edge_pneumo.errors import UsageFault
from edge_pneumo.train.data.film import DataSet, Film
from edge_pneumo.train.data.store import FileBytes, table_text
from edge_pneumo.train.data.tables import rows_of

NAMES = ("train", "val", "test")
FRACTIONS = (0.8, 0.1, 0.1)


def make_splits(
    groups: Sequence[str],
    strata: Sequence[str],
    *,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
) -> list[str]:
    """Put every film in a split so that no group straddles two, and each stratum is spread as the whole is.

    The films are taken group by group in an order drawn from SHA-256 of the seed and the group's name (the same on
    every machine and numpy version), each to the split that is emptiest for its size. Val and test get the rounded-down
    share, train the rest: 26,684 single films at 80/10/10 give 21,348 / 2,668 / 2,668.

    Parameters
    ----------
    groups, strata : one name per film; a group is of the rarest stratum among its films.
    fractions : shares of train, val and test; they sum to 1.

    Raises
    ------
    UsageFault : fractions that are not three shares of one.
    """
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6 or fractions[0] == 0:
        given = "/".join(f"{fraction:g}" for fraction in fractions)
        raise UsageFault(f"split fractions must be three shares (train, val, test) that sum to 1, found {given}.")
    members: dict[str, int] = defaultdict(int)
    films_in: dict[str, int] = defaultdict(int)
    for group, stratum in zip(groups, strata, strict=True):
        members[group] += 1
        films_in[stratum] += 1
    stratum_of: dict[str, str] = {}
    for group, stratum in zip(groups, strata, strict=True):
        stratum_of[group] = min(stratum_of.get(group, stratum), stratum, key=lambda name: (films_in[name], name))
    order = sorted(members, key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).digest())
    chosen: dict[str, str] = {}
    filled = dict.fromkeys(NAMES, 0)
    seen = 0
    for stratum in sorted(films_in, key=lambda name: (films_in[name], name)):
        inside = [group for group in order if stratum_of[group] == stratum]
        seen += sum(members[group] for group in inside)
        # Targets run on from stratum to stratum, so that rounding never adds up.
        goal = dict(zip(NAMES, _shares(seen, fractions), strict=True))
        want = {name: goal[name] - filled[name] for name in NAMES}
        left = dict(want)
        for group in inside:
            # On a tie the smallest split goes first: few films should rather give a val of one than none.
            name = max(NAMES, key=lambda name: (left[name] / want[name] if want[name] > 0 else -1.0, -want[name]))
            chosen[group] = name
            left[name] -= members[group]
            filled[name] += members[group]
    return [chosen[group] for group in groups]


def _shares(n: int, fractions: Sequence[float]) -> tuple[int, int, int]:
    val, test = int(n * fractions[1] + 1e-9), int(n * fractions[2] + 1e-9)
    return n - val - test, val, test


def split_films(films: Sequence[Film], *, fractions: Sequence[float] = FRACTIONS, seed: int = 0) -> list[Film]:
    """The films with `split` set, stratified by class (or by label, where a film has no class)."""
    names = make_splits(
        [film.group for film in films],
        [film.class_name or str(film.label) for film in films],
        fractions=fractions,
        seed=seed,
    )
    return [replace(film, split=name) for film, name in zip(films, names, strict=True)]


def split_dataset(
    path: str | Path,
    output: str | Path,
    *,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
    groups: str | Path | None = None,
) -> dict[str, Any]:
    """Write a splits table (patientId, group, split) for the data set at `path`, and return its counts and hash.

    Parameters
    ----------
    groups : table with patientId and group; None to take the data set's own groups.

    Raises
    ------
    DataError : a table is missing or wrong.
    UsageFault : fractions that are not three shares of one.
    """
    from edge_pneumo.train.data.index import read_tables, refuse

    reading = read_tables(path)
    refuse(reading.faults, str(path))
    films = reading.films
    if groups is not None:
        text = table_text(FileBytes(str(groups))(), str(groups))
        named = {row[0]: row[1] for _, row in rows_of(text, str(groups), ("patientId", "group"))}
        films = [replace(film, group=named.get(film.film_id, film.group)) for film in films]
    dataset = DataSet(tuple(split_films(films, fractions=fractions, seed=seed)), str(path))
    with atomic_write(output, "w") as stream:
        stream.write("patientId,group,split\n")
        stream.writelines(f"{film.film_id},{film.group},{film.split}\n" for film in dataset)
    counts = {}
    for name in sorted(dataset.split_sizes, key=NAMES.index):
        part = dataset.split(name)
        n_groups = len({film.group for film in part})
        counts[name] = {"films": len(part), "groups": n_groups, "prevalence": round(part.prevalence, 4)}
    return {"schema": 1, "path": str(output), "seed": seed, "splits": counts, "hash": dataset.split_hash}
