"""Smaller data sets for a study: a share of the patients, the same ones whenever the share is the same or larger."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edge_pneumo.edge_runtime.files import atomic_write
from edge_pneumo.train.data.film import DataSet
from edge_pneumo.train.data.store import FolderStore
from edge_pneumo.train.data.tables import read_table
from edge_pneumo.train.masked import check_masked, labels_file


def in_share(patient: str, share: float) -> bool:
    """Whether a patient is among the share (0..1); smaller shares lie within larger ones."""
    return int.from_bytes(hashlib.sha256(patient.encode()).digest()[:8], "big") / 2**64 < share


def share_of(data: DataSet, share: float) -> DataSet:
    """A share of the patients whose films are trained on; films of val stay."""
    if share >= 1:
        return data
    kept = (film for film in data.films if film.split == "val" or in_share(str(film.group), share))
    return replace(data, films=tuple(kept))


def share_of_masked(folders: Sequence[Path], share: float, place: Path) -> list[Path]:
    """The same of folders of lung-masked films: new ones in `place` with a shorter `index.csv` and links to the rest.

    A film whose row names no patient (`nih_patient`) is a patient of its own.

    Raises
    ------
    DataError : a folder is not one of lung-masked films.
    """
    if share >= 1:
        return list(folders)
    check_masked(folders)
    return [_fewer(folder.resolve(), share, place / f"{number}-{folder.name}") for number, folder in enumerate(folders)]


def _fewer(folder: Path, share: float, place: Path) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    for source in (folder / "images", labels_file(folder)):
        link = place / source.name
        if not link.is_symlink():
            link.symlink_to(source)
    columns = ("patientId", "class", "nih_patient", "view")
    rows = read_table(FolderStore(str(folder)), "index.csv", columns[:2], optional=columns[2:])
    with atomic_write(place / "index.csv", "w") as stream:
        table = csv.writer(stream)
        table.writerow(columns)
        table.writerows(row for _, row in rows if in_share(row[2] or row[0], share))
    return place
