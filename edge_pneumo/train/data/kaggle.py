"""Reader of the Kaggle layout of the RSNA challenge: DICOM films, a label table, a class table, and splits.

    stage_2_train_images/<patientId>.dcm        or stage_2_train_images.zip beside the tables
    stage_2_train_labels.csv                    patientId, x, y, width, height, Target; a row for each box
    stage_2_detailed_class_info.csv             optional: patientId, class
    splits.csv                                  optional: patientId, split, and group where a patient has several films

Tables may be plain, .gz or .zip. The whole may be the zip as Kaggle serves it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from edge_pneumo.errors import DataError
from edge_pneumo.train.data.film import BoxXyxy, Fault, Film, Reading
from edge_pneumo.train.data.findings import OPACITY
from edge_pneumo.train.data.splits import NAMES
from edge_pneumo.train.data.store import Store, ZipStore, find_table
from edge_pneumo.train.data.tables import number, read_table

LABELS, CLASSES, SPLITS = "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv", "splits.csv"
IMAGES = "stage_2_train_images"


@dataclass
class Patient:
    """The rows of one patientId, gathered from all tables."""

    targets: set[int] = field(default_factory=set)
    boxes: list[BoxXyxy] = field(default_factory=list)
    classes: set[str] = field(default_factory=set)
    group: str = ""
    split: str | None = None


def is_kaggle(store: Store) -> bool:
    """True when the store has the challenge's label table, or its image folder."""
    return find_table(store, LABELS) is not None or next(iter(store.files(IMAGES, deep=True)), None) is not None


def read_kaggle(store: Store, *, films_elsewhere: bool = False) -> Reading:
    """Read a data set in the Kaggle layout; with `films_elsewhere`, its tables alone (such films cannot be read).

    Raises
    ------
    DataError : the label table is missing or lacks a column.
    """
    labels = find_table(store, LABELS)
    if labels is None:
        raise DataError(f"{store.root}: no {LABELS} (nor .gz or .zip) beside {IMAGES}/. Put the label table there.")
    faults: list[Fault] = []
    patients = read_labels(store, labels, faults)
    for name, read in ((CLASSES, read_classes), (SPLITS, read_splits)):
        if table := find_table(store, name):
            try:
                read(store, table, patients, faults)
            except DataError as error:  # one of several faults, so that all are said at once
                faults.append(Fault("layout", "stop", table, str(error).rstrip(".")))
    if films_elsewhere:
        images, names = store, {patient_id: f"{IMAGES}/{patient_id}.dcm" for patient_id in patients}
    else:
        try:
            images, names = _images(store, faults)
            faults += _matching_faults(patients, names)
        except DataError as error:
            images, names = store, {}
            faults.append(Fault("layout", "stop", IMAGES, str(error).rstrip(".")))
    films = [
        Film(
            film_id=patient_id,
            path=images.place(names[patient_id]),
            label=int(1 in patient.targets),
            read=images.reader(names[patient_id]),
            class_name=min(patient.classes, default=None),
            boxes_xyxy=tuple(patient.boxes),
            group=patient.group or patient_id,
            source="kaggle",
            split=patient.split,
        )
        for patient_id, patient in sorted(patients.items())
        if patient_id in names
    ]
    return Reading("kaggle", films, faults)


def read_labels(store: Store, table: str, faults: list[Fault]) -> dict[str, Patient]:
    """Targets and boxes by patientId; adds what is wrong with the rows to `faults`."""
    patients: dict[str, Patient] = defaultdict(Patient)
    seen: set[tuple[str | float | None, ...]] = set()
    for line, row in read_table(store, table, ("patientId", "x", "y", "width", "height", "Target"), faults):
        patient_id = row[0].strip()
        where = f"{table} line {line} ({patient_id})"
        try:
            x, y, width, height, target = (number(cell) for cell in row[1:])
        except ValueError as error:
            faults.append(Fault("bad-value", "stop", where, f"expected numbers, found {error}"))
            continue
        if not patient_id or target not in (0, 1):
            faults.append(Fault("bad-value", "stop", where, f"expected patientId and Target 0 or 1, found {row}"))
            continue
        values = (patient_id, x, y, width, height, target)  # as numbers: "100" and "100.0" are the same box
        if values in seen:
            faults.append(Fault("duplicate-row", "note", where, "the same row again; used once"))
            continue
        seen.add(values)
        patient = patients[patient_id]
        patient.targets.add(int(target))
        if target == 0:
            if any((x, y, width, height)):  # zeros too are read as no box: some fill empty cells with them
                detail = "Target 0 with a box; expected empty x to height"
                faults.append(Fault("box-without-target", "stop", where, detail))
            continue
        if x is None or y is None or width is None or height is None:
            faults.append(Fault("target-without-box", "stop", where, "Target 1 needs x, y, width and height"))
            continue
        patient.boxes.append((x, y, x + width, y + height))
    for patient_id, patient in patients.items():
        if len(patient.targets) > 1:
            faults.append(Fault("conflicting-target", "stop", patient_id, "rows with Target 0 and with Target 1"))
    return dict(patients)


def read_classes(store: Store, table: str, patients: dict[str, Patient], faults: list[Fault]) -> None:
    """Add classes to the patients; the table has one row per box, as the label table."""
    for _, (patient_id, name) in read_table(store, table, ("patientId", "class"), faults):
        patient_id = patient_id.strip()
        if patient_id in patients:
            patients[patient_id].classes.add(name.strip())
        else:
            faults.append(Fault("class-without-label", "note", patient_id, f"in {table}, not in the label table"))
    for patient_id, patient in patients.items():
        if len(patient.classes) > 1:
            detail = f"more than one class: {', '.join(sorted(patient.classes))}"
            faults.append(Fault("conflicting-class", "stop", patient_id, detail))
        elif patient.classes and (OPACITY in patient.classes) != (1 in patient.targets):
            found = f"class '{min(patient.classes)}' with Target {max(patient.targets)}"
            faults.append(Fault("conflicting-class", "stop", patient_id, found))
        elif not patient.classes:
            faults.append(Fault("label-without-class", "note", patient_id, f"no row in {table}"))


def read_splits(store: Store, table: str, patients: dict[str, Patient], faults: list[Fault]) -> None:
    """Add group and split to the patients."""
    for line, row in read_table(store, table, ("patientId", "split"), faults, optional=("group",)):
        patient_id, split, group = (cell.strip() for cell in row)
        patient = patients.get(patient_id)
        if patient is None:
            faults.append(Fault("split-without-label", "note", patient_id, f"in {table}, not in the label table"))
            continue
        if patient.split is not None and patient.split != split:
            detail = f"line {line} says '{split}', an earlier one '{patient.split}'"
            faults.append(Fault("patient-in-two-splits", "stop", patient_id, detail))
        if split and split not in NAMES:
            detail = f"line {line} says '{split}'; training knows {', '.join(NAMES)}"
            faults.append(Fault("unknown-split", "note", patient_id, detail))
        patient.group, patient.split = group or patient_id, split or None
    unplaced = [patient_id for patient_id, patient in patients.items() if patient.split is None]
    for patient_id in unplaced:
        faults.append(Fault("label-without-split", "note", patient_id, f"no row in {table}: in no split"))


def _images(store: Store, faults: list[Fault]) -> tuple[Store, dict[str, str]]:
    """The store that holds the films, and their paths by patientId, in whatever folder of it they lie."""
    inner = find_table(store, IMAGES)  # stage_2_train_images.zip beside the tables
    if (
        next(iter(store.files(IMAGES, deep=True)), None) is None
        and inner is not None
        and not isinstance(store, ZipStore)
    ):
        store = ZipStore(store.place(inner))
        found = list(store.files(deep=True))
    else:
        found = list(store.files(IMAGES, deep=True))
    found = [name for name in found if name.lower().endswith((".dcm", ".dicom"))]
    if not found:
        raise DataError(f"{store.root}: no films in {IMAGES}/. Expected {IMAGES}/<patientId>.dcm.")
    names: dict[str, str] = {}
    for name in found:
        first = names.setdefault(PurePosixPath(name).stem, name)
        if first != name:
            detail = f"{first} and {name} are both of this patientId; keep one"
            faults.append(Fault("two-films-of-one-id", "stop", PurePosixPath(name).stem, detail))
    return store, names


def _matching_faults(patients: dict[str, Patient], names: dict[str, str]) -> list[Fault]:
    rows_only = sorted(set(patients) - set(names))
    films_only = sorted(set(names) - set(patients))
    return [
        *(Fault("row-without-film", "skip", patient_id, f"no {IMAGES}/{patient_id}.dcm") for patient_id in rows_only),
        *(Fault("film-without-row", "note", names[name], "not in the label table; not used") for name in films_only),
    ]
