"""Reader of YOLO text labels: images/x.png with labels/x.txt, a line "class cx cy w h" (shares of the film) per box.

Folders may be images/ and labels/, images/train/ and labels/train/, or train/images/ and train/labels/. An empty text
is a negative film; a film without a text is not used. Class names come from classes.txt or data.yaml, if there is one.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from edge_pneumo.train.data.film import BoxXyxy, Fault, Film, Reading
from edge_pneumo.train.data.findings import OPACITY, is_film, opacity_classes, split_named
from edge_pneumo.train.data.headers import read_facts
from edge_pneumo.train.data.store import Store
from edge_pneumo.train.data.tables import finite

_NAMES_LINE = re.compile(r"^names:\s*\[(.*)\]", re.MULTILINE)
_NAMES_BLOCK = re.compile(r"^names:\s*\n((?:[ \t]+.*\n?|-.*\n?)+)", re.MULTILINE)


def is_yolo(store: Store) -> bool:
    """True when there is a folder of films and one of texts beside it."""
    names = list(store.files(deep=True))
    return any("labels" in PurePosixPath(name).parts and name.endswith(".txt") for name in names) and any(
        "images" in PurePosixPath(name).parts and is_film(name) for name in names
    )


def read_yolo(store: Store) -> Reading:
    """Films and boxes of a YOLO data set; classes that name an opacity count, or all where none is known by name."""
    names = list(store.files(deep=True))
    texts = {name for name in names if "labels" in PurePosixPath(name).parts and name.endswith(".txt")}
    classes = _class_names(store, set(names))
    wanted = opacity_classes(classes)
    faults: list[Fault] = []
    films: list[Film] = []
    for name in names:
        if not is_film(name) or "images" not in PurePosixPath(name).parts:
            continue
        text = _text_of(name)
        if text not in texts:
            faults.append(Fault("film-without-row", "note", name, f"no {text}; not used (an empty one is a negative)"))
            continue
        texts.remove(text)
        film = _film(store, name, text, classes, wanted, faults)
        if film is not None:
            films.append(film)
    for text in sorted(texts):
        faults.append(Fault("row-without-film", "skip", text, "no film of that name in images/"))
    return Reading("yolo", films, faults)


def _film(store: Store, name: str, text: str, classes: list[str], wanted: set[str], faults: list[Fault]) -> Film | None:
    shares = _lines(store.reader(text)().decode("utf-8", "replace"), text, classes, wanted, faults)
    facts = read_facts(store.reader(name)) if shares else None
    if facts is not None and not facts.width:
        faults.append(Fault("unreadable-film", "skip", name, "its size cannot be read, so its boxes have no place"))
        return None
    boxes: list[BoxXyxy] = []
    for cx, cy, w, h in shares:
        width, height = (facts.width, facts.height) if facts else (0, 0)
        boxes.append(((cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height))
    path = PurePosixPath(name)
    film_id = str(path.with_suffix(""))
    return Film(
        film_id=film_id,
        path=store.place(name),
        label=int(bool(boxes)),
        read=store.reader(name),
        class_name=OPACITY if boxes else None,
        boxes_xyxy=tuple(boxes),
        group=film_id,
        source="yolo",
        split=next(filter(None, (split_named(part) for part in path.parts[:-1])), None),
        known=facts,
    )


def _lines(
    content: str, text: str, classes: list[str], wanted: set[str], faults: list[Fault]
) -> list[tuple[float, float, float, float]]:
    boxes: list[tuple[float, float, float, float]] = []
    for number, line in enumerate(content.splitlines(), 1):
        cells = line.split()
        if not cells:
            continue
        try:
            kind = int(cells[0])
            cx, cy, w, h = (finite(cell) for cell in cells[1:5])
        except ValueError:
            detail = f"expected 'class cx cy w h', found {line.strip()!r}"
            faults.append(Fault("bad-value", "stop", f"{text} line {number}", detail))
            continue
        if classes and not 0 <= kind < len(classes):
            detail = f"class {kind}, but there are {len(classes)} class names"
            faults.append(Fault("bad-value", "stop", f"{text} line {number}", detail))
        elif (cx, cy, w, h) in boxes:
            faults.append(Fault("duplicate-row", "note", f"{text} line {number}", "the same box again; used once"))
        elif not classes or classes[kind] in wanted:
            boxes.append((cx, cy, w, h))
    return boxes


def _text_of(name: str) -> str:
    parts = list(PurePosixPath(name).with_suffix(".txt").parts)
    parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return "/".join(parts)


def _class_names(store: Store, there: set[str]) -> list[str]:
    """Names in the order of their numbers; none where no file gives them."""
    if "classes.txt" in there:
        return [line.strip() for line in store.reader("classes.txt")().decode("utf-8", "replace").splitlines() if line]
    if "data.yaml" not in there:
        return []
    content = store.reader("data.yaml")().decode("utf-8", "replace")
    if line := _NAMES_LINE.search(content):
        return [name.strip(" '\"") for name in line[1].split(",") if name.strip()]
    if block := _NAMES_BLOCK.search(content):
        return [re.sub(r"^\s*(-|\d+\s*:)\s*", "", line).strip(" '\"") for line in block[1].splitlines() if line.strip()]
    return []
