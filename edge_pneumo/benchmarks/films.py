"""The films of a benchmark: paths to measure, labels where there are any, and names that tell no patient."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_pneumo.errors import InputRefused

FILM_SUFFIXES = (".dcm", ".dicom", ".png", ".jpg", ".jpeg", "")


@dataclass(frozen=True)
class FilmSet:
    """Films on a disk.

    Attributes
    ----------
    paths : the files, measured in turn.
    source : "phantom", "folder" or "data": a result on phantoms says nothing about accuracy.
    labelled : objects with film_id, label, boxes_xyxy, group, sex, age_years and view, parallel to `paths`; or None.
    facts : more for the result file (split, hash of the split).
    reference : labelled films that the evaluator's trivial baselines learn from (the train split); None where these
        films are part of it, or there is none.
    """

    paths: tuple[str, ...]
    source: str
    labelled: tuple[Any, ...] | None = None
    facts: dict[str, Any] | None = None
    reference: tuple[Any, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The `films` entry of a result file. A film's id is the start of its bytes' SHA-256, so that two files can
        be compared film by film without a patient's name or number in either."""
        sizes = [Path(path).stat().st_size for path in self.paths]
        return {
            "source": self.source,
            "n": len(self.paths),
            "labelled": self.labelled is not None,
            "mean_bytes": round(sum(sizes) / len(sizes)),
            "ids": [hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12] for path in self.paths],
            **(self.facts or {}),
        }


def films_in(places: Iterable[str | Path], limit: int | None = None) -> FilmSet:
    """Films in folders (recursively) and files, in sorted order.

    Raises
    ------
    InputRefused : a place does not exist, or there is no film in any.
    """
    found: list[str] = []
    places = [Path(place) for place in places]
    for place in places:
        if not place.exists():
            raise InputRefused(f"{place}: no such file or folder; give films or a folder of films")
        files = sorted(place.rglob("*")) if place.is_dir() else [place]
        found += [str(file) for file in files if file.is_file() and file.suffix.lower() in FILM_SUFFIXES]
    if not found:
        raise InputRefused(f"{', '.join(map(str, places))}: no film (.dcm, .png, .jpg) found; give another folder")
    return FilmSet(tuple(found[:limit]), "folder")


def labelled_films(
    films: Sequence[Any], scratch: Path, facts: dict[str, Any], reference: Sequence[Any] | None = None
) -> FilmSet:
    """Films of a data set (objects with `path` and `read`); those inside an archive are copied to `scratch` first.

    Raises
    ------
    InputRefused : no films.
    """
    if not films:
        raise InputRefused("the data set has no films in this split; choose another with --split")
    paths = []
    for index, film in enumerate(films):
        path = Path(film.path)
        if not path.is_file():
            path = scratch / f"film{index:06d}{Path(film.path).suffix}"
            path.write_bytes(film.read())
        paths.append(str(path))
    return FilmSet(tuple(paths), "data", tuple(films), facts, tuple(reference) if reference else None)
