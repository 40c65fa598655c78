"""The numbers of the exploratory report: what a data set holds, and where it can mislead."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge_pneumo.errors import DataError
from edge_pneumo.train.data.film import BoxXyxy, Fault, Film
from edge_pneumo.train.data.headers import parse_age, parse_sex
from edge_pneumo.train.data.kaggle import CLASSES, IMAGES, LABELS, read_labels
from edge_pneumo.train.data.store import FolderStore, find_table
from edge_pneumo.train.data.tables import read_table

GRID = 32  # cells along each side of the box-centre map
OLD_YEARS = 100
"""Above it, the reference report calls an age an error."""

HEADERS = "dicom_headers.csv"
"""A table of header facts beside the challenge's own: PatientID, PatientSex, PatientAge, ViewPosition."""

_DEFAULT_FRAME_PX = 1024  # RSNA's films, when only tables are at hand


@dataclass
class Subject:
    """One patientId: in RSNA's tables, one film."""

    rows: int
    label: int
    boxes_xyxy: list[BoxXyxy] = field(default_factory=list)
    class_name: str | None = None
    sex: str | None = None
    age_years: float | None = None
    view: str | None = None
    width: int = _DEFAULT_FRAME_PX
    height: int = _DEFAULT_FRAME_PX


def subjects_of_films(films: Iterable[Film]) -> list[Subject]:
    """Subjects of films in any layout; a film with n boxes counts n rows, as in the challenge's tables."""
    return [
        Subject(
            rows=max(1, len(film.boxes_xyxy)),
            label=film.label,
            boxes_xyxy=list(film.boxes_xyxy),
            class_name=film.class_name,
            sex=film.sex,
            age_years=film.age_years,
            view=film.view,
            width=film.facts.width or _DEFAULT_FRAME_PX,
            height=film.facts.height or _DEFAULT_FRAME_PX,
        )
        for film in films
    ]


def tables_in(directory: Path) -> tuple[Path, Path | None, Path | None] | None:
    """Label, class and header tables of a folder that has no films beside them; None where it is no such folder."""
    if not directory.is_dir():
        return None
    store = FolderStore(str(directory))
    if find_table(store, IMAGES) or next(iter(store.files(IMAGES, deep=True)), None) is not None:
        return None
    found = (find_table(store, name) for name in (LABELS, CLASSES, HEADERS))
    labels, classes, headers = (directory / name if name else None for name in found)
    return (labels, classes, headers) if labels else None


def subjects_of_tables(labels: Path, classes: Path | None = None, headers: Path | None = None) -> list[Subject]:
    """Subjects of the challenge's tables, plain, gzip or zip; the films may be elsewhere.

    Parameters
    ----------
    labels : patientId, x, y, width, height, Target.
    classes : patientId, class.
    headers : PatientID, PatientSex, PatientAge, ViewPosition.

    Raises
    ------
    DataError : a table is missing, lacks a column, or has rows that are no numbers.
    """
    for table in filter(None, (labels, classes, headers)):
        if not table.is_file():
            raise DataError(f"{table}: no such table.")
    faults: list[Fault] = []
    patients = read_labels(FolderStore(str(labels.parent)), labels.name, faults)
    stops = [fault for fault in faults if fault.severity == "stop"]
    if stops:
        raise DataError(
            f"{labels}: {stops[0].where}: {stops[0].detail} ({len(stops)} such rows). Mend the table first."
        )
    repeated = Counter(fault.where.rpartition("(")[2].rstrip(")") for fault in faults if fault.kind == "duplicate-row")
    subjects = {
        name: Subject(max(1, len(patient.boxes)) + repeated[name], max(patient.targets), patient.boxes)
        for name, patient in patients.items()
    }
    if classes is not None:
        for _, (name, class_name) in read_table(FolderStore(str(classes.parent)), classes.name, ("patientId", "class")):
            if name in subjects:
                subjects[name].class_name = class_name
    if headers is not None:
        columns = ("PatientID", "PatientSex", "PatientAge", "ViewPosition")
        for _, (name, sex, age, view) in read_table(FolderStore(str(headers.parent)), headers.name, columns):
            if name in subjects:
                subject = subjects[name]
                subject.sex, subject.age_years, subject.view = parse_sex(sex), parse_age(age), view or None
    return list(subjects.values())


def explore(subjects: Sequence[Subject], source: str) -> dict[str, Any]:
    """Every figure of the report, as one JSON document.

    "rows" counts as the label table does, a row for each box; "patients" counts every patientId once.

    Raises
    ------
    DataError : there are no subjects.
    """
    if not subjects:
        raise DataError(f"{source}: no labelled films to explore.")
    rows = sum(subject.rows for subject in subjects)
    return {
        "schema": 1,
        "source": source,
        "rows": rows,
        "patients": len(subjects),
        "duplicates": rows - len(subjects),
        "rows_per_patient": _ordered(Counter(subject.rows for subject in subjects)),
        "boxes_per_patient": _ordered(Counter(len(subject.boxes_xyxy) for subject in subjects)),
        "rows_with_box": sum(len(subject.boxes_xyxy) for subject in subjects),
        "target": _balance(subjects, lambda subject: str(subject.label)),
        "prevalence": _round(sum(subject.label for subject in subjects) / len(subjects)),
        "classes": _balance(subjects, lambda subject: subject.class_name),
        "sex": _balance(subjects, lambda subject: subject.sex),
        "male_percent_of_rows": _percent(subjects, lambda subject: subject.sex, "M"),
        "view": _balance(subjects, lambda subject: subject.view),
        "ap_percent_of_rows": _percent(subjects, lambda subject: subject.view, "AP"),
        "prevalence_by_sex": _prevalence(subjects, lambda subject: subject.sex),
        "prevalence_by_view": _prevalence(subjects, lambda subject: subject.view),
        "auc_of_view_alone": _view_auc(subjects),
        "age": _ages(subjects),
        "age_groups": _ordered_groups(_count_rows(subjects, _age_group)),
        "by_age_group": {
            "class": _crossed(subjects, lambda subject: subject.class_name),
            "target": _crossed(subjects, lambda subject: str(subject.label)),
            "sex": _crossed(subjects, lambda subject: subject.sex),
            "view": _crossed(subjects, lambda subject: subject.view),
        },
        "boxes": _boxes(subjects),
    }


Key = Callable[[Subject], str | None]


def _count_rows(subjects: Sequence[Subject], key: Key) -> Counter[str]:
    counts: Counter[str] = Counter()
    for subject in subjects:
        value = key(subject)
        if value is not None:
            counts[value] += subject.rows
    return counts


def _balance(subjects: Sequence[Subject], key: Key) -> dict[str, dict[str, int]]:
    patients = Counter(value for value in map(key, subjects) if value is not None)
    return {"rows": dict(_count_rows(subjects, key).most_common()), "patients": dict(patients.most_common())}


def _percent(subjects: Sequence[Subject], key: Key, value: str) -> float | None:
    counts = _count_rows(subjects, key)
    return round(100 * counts[value] / counts.total(), 2) if counts.total() else None


def _prevalence(subjects: Sequence[Subject], key: Key) -> dict[str, float]:
    labels: dict[str, list[int]] = defaultdict(list)
    for subject in subjects:
        value = key(subject)
        if value is not None:
            labels[value].append(subject.label)
    return {value: _round(float(np.mean(some))) for value, some in sorted(labels.items())}


def _view_auc(subjects: Sequence[Subject]) -> float | None:
    """AUC of calling every AP film positive: what a model can score without looking at the lungs."""
    ap = {label: [s.view == "AP" for s in subjects if s.label == label and s.view in ("AP", "PA")] for label in (0, 1)}
    if not ap[0] or not ap[1]:
        return None
    return _round(0.5 + 0.5 * (float(np.mean(ap[1])) - float(np.mean(ap[0]))))


def _ages(subjects: Sequence[Subject]) -> dict[str, Any]:
    known = [subject for subject in subjects if subject.age_years is not None]
    ages = np.array([subject.age_years for subject in known], float)
    if not len(ages):
        return {"known_patients": 0}
    weights = np.array([subject.rows for subject in known])
    labels = np.array([subject.label for subject in known])
    last = int(np.ceil(ages.max())) + 1
    each = np.arange(0, last + 1)
    return {
        "known_patients": len(known),
        "min": float(ages.min()),
        "max": float(ages.max()),
        "mean": _round(float(ages.mean()), 2),
        "median": float(np.median(ages)),
        f"over_{OLD_YEARS}": sorted(float(age) for age in ages[ages > OLD_YEARS]),
        "rows_by_year": np.histogram(ages, each, weights=weights)[0].astype(int).tolist(),
        "by_target": {
            str(label): {
                "patients": int((labels == label).sum()),
                "mean": _round(float(ages[labels == label].mean()), 2),
                "quartiles": [float(q) for q in np.percentile(ages[labels == label], [25, 50, 75])],
                "patients_by_year": np.histogram(ages[labels == label], each)[0].astype(int).tolist(),
            }
            for label in (0, 1)
            if (labels == label).any()
        },
    }


def _age_group(subject: Subject) -> str | None:
    """Ten years, closed above as in the reference: 10 years old is in "0-10"."""
    if subject.age_years is None:
        return None
    start = max(0, int(np.ceil(subject.age_years / 10)) - 1) * 10
    return f"{start}-{start + 10}"


def _crossed(subjects: Sequence[Subject], key: Key) -> dict[str, dict[str, int]]:
    """Rows by age group and by `key`."""
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for subject in subjects:
        group, value = _age_group(subject), key(subject)
        if group is not None and value is not None:
            table[group][value] += subject.rows
    return {group: dict(sorted(counts.items())) for group, counts in _ordered_groups(table).items()}


def _boxes(subjects: Sequence[Subject]) -> dict[str, Any]:
    """Places and sizes of boxes, as shares of their film."""
    shares = np.array(
        [
            (x1 / subject.width, y1 / subject.height, x2 / subject.width, y2 / subject.height)
            for subject in subjects
            for x1, y1, x2, y2 in subject.boxes_xyxy
        ],
        float,
    ).reshape(-1, 4)
    if not len(shares):
        return {"n": 0}
    x, y = (shares[:, 0] + shares[:, 2]) / 2, (shares[:, 1] + shares[:, 3]) / 2
    width, height = shares[:, 2] - shares[:, 0], shares[:, 3] - shares[:, 1]
    grid = np.histogram2d(y, x, bins=GRID, range=((0, 1), (0, 1)))[0].astype(int)
    right = x < 0.5
    return {
        "n": len(shares),
        "centres": grid.tolist(),
        "left_half_of_film": int(right.sum()),
        "width": _quantiles(width),
        "height": _quantiles(height),
        "area": _quantiles(width * height),
        "area_histogram": np.histogram(width * height, np.linspace(0, 0.3, 31))[0].astype(int).tolist(),
        "mean_box": {
            side: [_round(float(v), 4) for v in shares[mask].mean(0)]
            for side, mask in (("left half", right), ("right half", ~right))
            if mask.any()
        },
    }


def _quantiles(values: np.ndarray) -> dict[str, float]:
    return {f"p{q}": _round(float(np.percentile(values, q)), 4) for q in (5, 25, 50, 75, 95)}


def _ordered(counts: Counter[int]) -> dict[str, int]:
    return {str(key): counts[key] for key in sorted(counts)}


def _ordered_groups(groups: dict[str, Any]) -> dict[str, Any]:
    return {group: groups[group] for group in sorted(groups, key=lambda name: int(name.split("-")[0]))}


def _round(value: float, digits: int = 4) -> float:
    return round(value, digits)
