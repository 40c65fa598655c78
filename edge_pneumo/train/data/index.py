"""One way into every data set: `load_dataset` finds out the layout by itself.

    stage_2_train_labels.csv and stage_2_train_images/      Kaggle (RSNA challenge)
    Data_Entry_2017*.csv, or labels.csv of NIH images       NIH ChestX-ray14
    *.json with images and annotations                      COCO
    NORMAL/ and PNEUMONIA/, maybe in train/, val/, test/    folders of classes
    images/ and labels/*.txt                                YOLO

Each may be a folder or a zip.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from edge_pneumo.errors import DataError
from edge_pneumo.train.data.classes import is_classes, read_classes_folder
from edge_pneumo.train.data.coco import coco_documents, read_coco
from edge_pneumo.train.data.film import DataSet, Fault, Film, Reading
from edge_pneumo.train.data.kaggle import IMAGES, LABELS, is_kaggle, read_kaggle
from edge_pneumo.train.data.nih import is_nih, read_nih
from edge_pneumo.train.data.splits import split_films
from edge_pneumo.train.data.store import open_store
from edge_pneumo.train.data.yolo import is_yolo, read_yolo

__all__ = ["DataSet", "Film", "load_dataset", "read_layout"]

SPLIT_SEED = 0
"""Seed of the splits that are made where a data set brings none; fixed, so that every command sees the same ones."""

_SLACK_PX = 1.0  # a box may touch the film's edge and be rounded up
_FEW = 3


def load_dataset(path: str | Path, *, split: str | None = None) -> DataSet:
    """Films and labels at `path`, whatever its layout.

    Splits are the data set's own (splits.csv, or folders named train, val, test); where it has none they are made by
    patient group, stratified by class, with a fixed seed, 80/10/10.

    Parameters
    ----------
    path : a folder, or a zip.
    split : keep only this one.

    Raises
    ------
    DataError : nothing usable is there, or training on it would be wrong; the message names the first faults and the
        command that lists all of them.
    """
    reading = read_layout(path)
    faults = [*reading.faults, *box_faults(reading.films), *group_faults(reading.films)]
    refuse(faults, str(path))
    if not reading.films:
        raise DataError(f"{path}: {reading.layout} layout without a single labelled film.")
    films = reading.films
    made = all(film.split is None for film in films)
    if made:
        films = split_films(films, seed=SPLIT_SEED)
    dataset = DataSet(tuple(films), str(path), reading.layout, summarise(faults, str(path)), made)
    return dataset if split is None else dataset.split(split)


def read_layout(path: str | Path) -> Reading:
    """Find out the layout of a data set and read its tables; films are not opened.

    Raises
    ------
    DataError : no reader knows the layout, or a table or folder that it needs is missing.
    """
    path = Path(path)
    if path.suffix.lower() == ".json" and path.is_file():
        store = open_store(path.parent)
        return read_coco(store, coco_documents(store, only=path.name))
    store = open_store(path)
    if is_kaggle(store):
        return read_kaggle(store)
    if is_nih(store):
        return read_nih(store)
    if documents := coco_documents(store):
        return read_coco(store, documents)
    if is_classes(store):
        return read_classes_folder(store)
    if is_yolo(store):
        return read_yolo(store)
    raise DataError(
        f"{path}: no data set found. Expected one of: {LABELS} with {IMAGES}/ (Kaggle), Data_Entry_2017.csv (NIH), "
        "a .json with images and annotations (COCO), folders NORMAL/ and PNEUMONIA/, images/ with labels/*.txt (YOLO)."
    )


def read_tables(path: str | Path) -> Reading:
    """The same, where the films may be elsewhere: the challenge's tables alone are enough."""
    store = open_store(path)
    if is_kaggle(store) and next(iter(store.files(IMAGES, deep=True)), None) is None:
        return read_kaggle(store, films_elsewhere=True)
    return read_layout(path)


def box_faults(films: Sequence[Film]) -> list[Fault]:
    """Boxes that are empty or lie off their film; opens the headers of films that have boxes."""
    faults = []
    for film in films:
        for x1, y1, x2, y2 in film.boxes_xyxy:
            found = f"x={x1:g} y={y1:g} width={x2 - x1:g} height={y2 - y1:g}"
            if x2 <= x1 or y2 <= y1:
                faults.append(Fault("empty-box", "stop", film.film_id, f"{found}: width and height must be above 0"))
                continue
            width, height = film.facts.width, film.facts.height
            off = min(x1, y1) < -_SLACK_PX or (width and x2 > width + _SLACK_PX) or (height and y2 > height + _SLACK_PX)
            if off:
                size = f"{width} x {height}" if width else "unknown size"
                faults.append(Fault("box-off-film", "stop", film.film_id, f"{found} on a film of {size}"))
    return faults


def group_faults(films: Sequence[Film]) -> list[Fault]:
    """Groups (patients) whose films are in more than one split."""
    splits: dict[str, set[str]] = defaultdict(set)
    for film in films:
        if film.split is not None:
            splits[film.group].add(film.split)
    return [
        Fault("patient-in-two-splits", "stop", group, f"group has films in {', '.join(sorted(names))}")
        for group, names in sorted(splits.items())
        if len(names) > 1
    ]


def refuse(faults: Sequence[Fault], place: str) -> None:
    """Raise DataError when training on a data set with these faults would be wrong."""
    stops = [fault for fault in faults if fault.severity == "stop"]
    if stops:
        first = "; ".join(f"{fault.kind}: {fault.where}: {fault.detail}" for fault in stops[:_FEW])
        more = f" … and {len(stops) - _FEW} more" if len(stops) > _FEW else ""
        raise DataError(f"{place}: {first}{more}. `edge-pneumo data check {place}` lists everything to mend.")


def summarise(faults: Sequence[Fault], place: str) -> tuple[str, ...]:
    """One sentence for each kind of fault that did not stop the reading; names no film, since logs keep it."""
    kinds = Counter(fault.kind for fault in faults)
    return tuple(f"{n} x {kind}; `edge-pneumo data check {place}` names them" for kind, n in sorted(kinds.items()))
