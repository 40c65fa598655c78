"""Everything that is wrong with a data set, at once."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_pneumo.edge_runtime.radiograph import Radiograph, read_radiograph
from edge_pneumo.errors import DataError, FilmRefused
from edge_pneumo.progress import watched
from edge_pneumo.train.data.film import SEVERITIES, Fault, Film, Reading
from edge_pneumo.train.data.index import box_faults, group_faults, read_layout
from edge_pneumo.train.data.pack import content_key

OLDEST_YEARS = 110
"""RSNA's headers have ages up to 155."""

_DECODE_PX = 64  # enough to find out whether a film can be decoded, and quick


@dataclass(frozen=True)
class CheckReport:
    """What `data check` found."""

    path: str
    layout: str
    films: int
    positives: int
    faults: tuple[Fault, ...]

    @property
    def trainable(self) -> bool:
        """False where training would be wrong, or would silently leave films out."""
        return all(fault.severity == "note" for fault in self.faults)

    def by_kind(self) -> list[tuple[str, str, list[Fault]]]:
        """(severity, kind, faults), the gravest and most frequent first."""
        kinds: dict[tuple[str, str], list[Fault]] = defaultdict(list)
        for fault in self.faults:
            kinds[fault.severity, fault.kind].append(fault)
        order = sorted(kinds.items(), key=lambda item: (SEVERITIES.index(item[0][0]), -len(item[1]), item[0][1]))
        return [(severity, kind, faults) for (severity, kind), faults in order]

    def to_dict(self, first: int = 5) -> dict[str, Any]:
        """The JSON document; `first` offenders of each kind are named."""
        return {
            "schema": 1,
            "path": self.path,
            "layout": self.layout,
            "films": self.films,
            "positives": self.positives,
            "trainable": self.trainable,
            "faults": [
                {
                    "kind": kind,
                    "severity": severity,
                    "count": len(faults),
                    "first": [{"where": fault.where, "detail": fault.detail} for fault in faults[:first]],
                }
                for severity, kind, faults in self.by_kind()
            ],
        }


def check_dataset(path: str | Path, *, decode: bool = True, progress: bool = True) -> CheckReport:
    """Look for everything that can be wrong with a data set.

    Parameters
    ----------
    path : a folder or zip in any layout that `load_dataset` knows.
    decode : read every film's pixels too.

    Raises
    ------
    DataError : there is no data set at `path` at all. A table that cannot be used is a fault of the report.
    """
    if not Path(path).exists():
        raise DataError(f"{path}: no such folder or file.")
    try:
        reading = read_layout(path)
    except DataError as error:
        fault = Fault("layout", "stop", str(path), str(error))
        return CheckReport(str(path), "unknown", 0, 0, (fault,))
    films = reading.films
    faults = [
        *reading.faults, *emptiness(reading, str(path)), *box_faults(films), *group_faults(films),
        *age_faults(films), *class_faults(films), *split_faults(films),
    ]  # fmt: skip
    if decode:
        faults += pixel_faults(films, progress=progress)
    return CheckReport(str(path), reading.layout, len(films), sum(film.label for film in films), tuple(faults))


def emptiness(reading: Reading, place: str) -> list[Fault]:
    """A data set without a single labelled film, where nothing else says so."""
    if reading.films or any(fault.kind == "layout" for fault in reading.faults):
        return []
    return [Fault("layout", "stop", place, f"{reading.layout} layout without a single labelled film")]


def age_faults(films: Sequence[Film]) -> list[Fault]:
    """Ages that cannot be; they spoil subgroups, not training."""
    faults = []
    for film in films:
        age, text = film.age_years, film.facts.age_text
        if (age is None and text) or (age is not None and not 0 <= age <= OLDEST_YEARS):
            detail = f"expected 0 to {OLDEST_YEARS} years, found {text!r}"
            faults.append(Fault("impossible-age", "note", film.film_id, detail))
    return faults


def class_faults(films: Sequence[Film]) -> list[Fault]:
    """Data sets, or training splits, with films of one label only: nothing can be learned from those."""
    training = [film for film in films if film.split in (None, "train")]
    if len({film.label for film in training}) == 1:
        label = training[0].label
        detail = f"all {len(training)} training films have label {label}; both 0 and 1 are needed"
        return [Fault("one-label", "stop", "training films", detail)]
    return []


def split_faults(films: Sequence[Film]) -> list[Fault]:
    """Splits that training needs and that have no film, where the data set brings splits of its own."""
    there = {film.split for film in films} - {None}
    return [
        Fault("empty-split", "note", name, f"no film; the data set has {', '.join(sorted(filter(None, there)))}")
        for name in ("train", "val")
        if there and name not in there
    ]


def pixel_faults(films: Sequence[Film], *, progress: bool = True) -> list[Fault]:
    """Films that cannot be read, and films that are in the data set twice under different names."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        answers = list(watched(pool.map(_look, films), len(films), "checking films", show=progress))
    faults: list[Fault] = []
    twins: dict[bytes, list[Film]] = defaultdict(list)
    for film, (seen, trouble) in zip(films, answers, strict=True):
        if seen is None:
            faults.append(Fault("unreadable-film", "skip", film.film_id, trouble))
            continue
        twins[seen.key].append(film)
        stated = (film.facts.width, film.facts.height)
        if film.boxes_xyxy and all(stated) and stated != (seen.width, seen.height):
            detail = f"{seen.width} x {seen.height} pixels, where its boxes are of {stated[0]} x {stated[1]}"
            faults.append(Fault("wrong-size", "stop", film.film_id, detail))
        if trouble:
            faults.append(Fault("refused-at-door", "note", film.film_id, f"{trouble} Training uses it all the same."))
    for same in twins.values():
        if len(same) > 1:
            faults.append(_twin_fault(same))
    return faults


@dataclass(frozen=True)
class _Seen:
    """A film that could be read: its size, and a hash of what it shows, whatever header or file it is in."""

    key: bytes
    width: int
    height: int


def _look(film: Film) -> tuple[_Seen | None, str]:
    """What a film is, None when it cannot be read; and what is wrong with it, "" for nothing."""
    try:
        data = film.read()
    except OSError as error:
        return None, f"unreadable: {error.strerror or error}"
    try:
        return _seen(read_radiograph(data, size_px=_DECODE_PX, name=film.path)), ""
    except FilmRefused as error:
        refusal = f"{error.reason}: {error}"
    try:
        return _seen(read_radiograph(data, size_px=_DECODE_PX, name=film.path, force=True)), refusal
    except FilmRefused:
        return None, refusal


def _seen(film: Radiograph) -> _Seen:
    size = f"{film.width} x {film.height}:".encode()
    return _Seen(content_key(size + film.pixels.tobytes()), film.width, film.height)


def _twin_fault(same: Sequence[Film]) -> Fault:
    names = ", ".join(film.film_id for film in same)
    if len({(film.label, film.boxes_xyxy) for film in same}) > 1:
        return Fault("same-film-twice", "stop", names, "the same picture with different labels")
    if len({film.split for film in same}) > 1:
        return Fault("same-film-twice", "stop", names, "the same picture in different splits")
    return Fault("same-film-twice", "note", names, "the same picture, with the same label and split")
