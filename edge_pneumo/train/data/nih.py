"""Reader of NIH ChestX-ray14: findings mined from reports ("weak" labels), with boxes for a few.

    Data_Entry_2017*.csv with BBox_List_2017.csv and images*/      as NIH serves it, or
    labels.csv (image, nih_patient, nih_findings, age, sex, view, nih_boxes) and images/
    chestxdet10_boxes.csv                                          optional: radiologists' boxes (ChestX-Det10)

Boxes are in pixels of the 1024 x 1024 original, whatever the films' size here. Where a radiologist has looked, his word
counts and not the report's. A positive film that nobody boxed keeps no boxes: its place is unknown, not empty.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from edge_pneumo.errors import DataError
from edge_pneumo.train.data.film import BoxXyxy, Fault, Film, Reading
from edge_pneumo.train.data.findings import NORMAL, NOT_NORMAL, OPACITY, is_film, is_normal, is_opacity
from edge_pneumo.train.data.headers import Facts, parse_age, parse_sex, read_facts
from edge_pneumo.train.data.store import Store
from edge_pneumo.train.data.tables import number, read_table

WEAK_WEIGHT = 0.5
"""Weight of a label that was mined from a report: half a radiologist's."""

_ORIGINAL_PX = 1024
_OWN, _RADIOLOGISTS, _OFFICIAL, _OFFICIAL_BOXES = "labels.csv", "chestxdet10_boxes.csv", "Data_Entry_2017", "BBox_List_"
_OWN_COLUMNS = ("image", "nih_patient", "nih_findings", "age", "sex", "view", "nih_boxes")


@dataclass
class Row:
    """What the tables say of one image."""

    patient: str
    findings: list[str]
    age: str
    sex: str
    view: str
    boxes: list[BoxXyxy] = field(default_factory=list)  # of opacities, in the original's pixels
    seen_by_radiologist: bool = False


def is_nih(store: Store) -> bool:
    """True when the store has NIH's table, or one of the same content."""
    names = list(store.files())
    if any(name.startswith(_OFFICIAL) for name in names):
        return True
    return _OWN in names and store.reader(_OWN)()[:200].decode("utf-8", "replace").startswith("image,nih_patient")


def read_nih(store: Store) -> Reading:
    """Films of NIH, labelled as the challenge would: consolidation, infiltration or pneumonia is an opacity.

    Raises
    ------
    DataError : a table lacks a column or has values that are no numbers.
    """
    names = list(store.files())
    official = next((name for name in names if name.startswith(_OFFICIAL)), None)
    rows = _official(store, official, names) if official else _own(store)
    if _RADIOLOGISTS in names:
        _radiologists(store, rows)
    films, faults = [], []
    found = {PurePosixPath(name).name: name for name in store.files(deep=True) if is_film(name)}
    for image, row in sorted(rows.items()):
        if image not in found:
            faults.append(Fault("row-without-film", "skip", image, "in the table, no such film"))
        else:
            films.append(_film(store, image, found[image], row))
    for image in sorted(set(found) - set(rows)):
        faults.append(Fault("film-without-row", "note", found[image], "not in the table; not used"))
    return Reading("nih", films, faults)


def _film(store: Store, image: str, name: str, row: Row) -> Film:
    label = int(any(is_opacity(word) for word in row.findings))
    healthy = all(is_normal(word) for word in row.findings)
    facts = Facts(parse_sex(row.sex), parse_age(row.age), row.view or None, row.age)
    boxes: tuple[BoxXyxy, ...] = ()
    if row.boxes:
        size = read_facts(store.reader(name))
        facts = Facts(facts.sex, facts.age_years, facts.view, facts.age_text, size.width, size.height)
        sx, sy = (size.width or _ORIGINAL_PX) / _ORIGINAL_PX, (size.height or _ORIGINAL_PX) / _ORIGINAL_PX
        boxes = tuple((x1 * sx, y1 * sy, x2 * sx, y2 * sy) for x1, y1, x2, y2 in row.boxes)
    return Film(
        film_id=PurePosixPath(image).stem,
        path=store.place(name),
        label=label,
        read=store.reader(name),
        class_name=OPACITY if label else NORMAL if healthy else NOT_NORMAL,
        boxes_xyxy=boxes if label else (),
        group=row.patient,
        source="nih",
        weight=1.0 if row.seen_by_radiologist or boxes else WEAK_WEIGHT,
        known=facts,
        findings=tuple(word for word in row.findings if not is_normal(word)),
    )


def _own(store: Store) -> dict[str, Row]:
    rows = {}
    for line, (image, patient, findings, age, sex, view, boxes) in read_table(store, _OWN, _OWN_COLUMNS):
        row = Row(patient, findings.split("|"), age, sex, view)
        for text in filter(None, boxes.split(";")):
            finding, _, sides = text.partition(":")
            row.boxes += _opacity_box(finding, sides.split(","), f"{store.place(_OWN)} line {line}")
        rows[image] = row
    return rows


def _official(store: Store, table: str, names: list[str]) -> dict[str, Row]:
    header = store.reader(table)()[:400].decode("utf-8-sig", "replace").split("\n")[0]
    sex = "Patient Sex" if "Patient Sex" in header else "Patient Gender"  # the column was renamed between releases
    columns = ("Image Index", "Patient ID", "Finding Labels", "Patient Age", sex, "View Position")
    rows = {
        image: Row(patient, findings.split("|"), age, sex, view)
        for _, (image, patient, findings, age, sex, view) in read_table(store, table, columns)
    }
    for name in names:
        if name.startswith(_OFFICIAL_BOXES):
            # The header really reads "Bbox [x,y,w,h]": four columns by its commas.
            wanted = ("Image Index", "Finding Label", "Bbox [x", "y", "w", "h]")
            for line, (image, finding, *sides) in read_table(store, name, wanted):
                if image in rows:
                    rows[image].boxes += _opacity_box(finding, sides, f"{store.place(name)} line {line}")
    return rows


def _opacity_box(finding: str, sides: list[str], where: str) -> list[BoxXyxy]:
    x, y, width, height = _numbers(sides, where, "x, y, width, height")
    return [(x, y, x + width, y + height)] if is_opacity(finding) else []


def _radiologists(store: Store, rows: dict[str, Row]) -> None:
    """Replace mined findings by what radiologists saw, for the images that they looked at."""
    seen: dict[str, list[tuple[str, BoxXyxy]]] = defaultdict(list)
    columns = ("image", "finding", "x1", "y1", "x2", "y2")
    for line, (image, finding, *sides) in read_table(store, _RADIOLOGISTS, columns):
        boxes = seen[image]  # an empty finding: looked at, nothing found
        if finding:
            x1, y1, x2, y2 = _numbers(sides, f"{store.place(_RADIOLOGISTS)} line {line}", "x1, y1, x2, y2")
            boxes.append((finding, (x1, y1, x2, y2)))
    for image, found in seen.items():
        if image in rows:
            row = rows[image]
            others = [word for word in row.findings if not is_opacity(word) and not is_normal(word)]
            row.findings = [*(finding for finding, _ in found), *others] or ["No Finding"]
            row.boxes = [box for finding, box in found if is_opacity(finding)]
            row.seen_by_radiologist = True


def _numbers(cells: list[str], where: str, names: str) -> list[float]:
    try:
        values = [number(cell) for cell in cells]
    except ValueError as error:
        raise DataError(f"{where}: expected numbers {names}, found {error}.") from error
    if len(values) != 4 or any(value is None for value in values):
        raise DataError(f"{where}: expected four numbers {names}, found {cells}.")
    return [value for value in values if value is not None]
