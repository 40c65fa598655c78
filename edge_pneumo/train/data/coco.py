"""Reader of COCO JSON: images, annotations with bbox [x, y, width, height], categories.

The file may be given itself, or lie in the folder: *.json, annotations/*.json, or train/_annotations.coco.json and its
like. A file whose name speaks of train, val or test gives that split. Images without annotation are negative.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from edge_pneumo.errors import DataError
from edge_pneumo.train.data.film import BoxXyxy, Fault, Film, Reading
from edge_pneumo.train.data.findings import OPACITY, is_film, opacity_classes, split_named
from edge_pneumo.train.data.headers import Facts, parse_age, parse_sex
from edge_pneumo.train.data.store import Store
from edge_pneumo.train.data.tables import finite


@dataclass(frozen=True)
class Document:
    """One parsed annotation file."""

    name: str
    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    categories: dict[Any, str]


def coco_documents(store: Store, only: str | None = None) -> list[Document]:
    """The COCO files of a store; `only` names one.

    Raises
    ------
    DataError : `only` is not a COCO file.
    """
    places = ("", "annotations", *(path.split("/")[0] for path in store.files(deep=True) if path.count("/") == 1))
    names = [only] if only else [name for folder in dict.fromkeys(places) for name in store.files(folder)]
    found = []
    for name in names:
        if not name.lower().endswith(".json"):
            continue
        try:
            content = json.loads(store.reader(name)())
            kinds = {category["id"]: str(category["name"]) for category in content.get("categories", [])}
            found.append(Document(name, list(content["images"]), list(content["annotations"]), kinds))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if only:
                raise DataError(
                    f"{store.place(name)}: not COCO JSON ({type(error).__name__}: {error}). "
                    "Expected images, annotations and categories."
                ) from error
    return found


def read_coco(store: Store, documents: list[Document]) -> Reading:
    """Films and boxes of COCO files; categories that name an opacity count, or all where none is known by name."""
    there = set(store.files(deep=True))
    films: dict[str, Film] = {}
    faults: list[Fault] = []
    for document in documents:
        boxes = _boxes(document, faults)
        for image in document.images:
            try:
                image_id, file_name = image["id"], str(image["file_name"])
                size = int(image.get("width") or 0), int(image.get("height") or 0)
                drawn = boxes.get(str(image_id), [])
            except (KeyError, TypeError, ValueError, AttributeError):
                detail = "an image without id or file_name, or whose width and height are no numbers"
                faults.append(Fault("bad-value", "stop", document.name, detail))
                continue
            name = _find(there, document.name, file_name)
            if name is None:
                faults.append(Fault("row-without-film", "skip", file_name, f"in {document.name}, no such file"))
                continue
            if name in films:
                faults.append(Fault("duplicate-row", "note", file_name, f"again in {document.name}; used once"))
                continue
            films[name] = _film(store, name, image, size, drawn, split_named(document.name))
    for name in sorted(there - set(films)):
        if is_film(name):
            faults.append(Fault("film-without-row", "note", name, "in no annotation file; not used"))
    return Reading("coco", [films[name] for name in sorted(films)], faults)


def _boxes(document: Document, faults: list[Fault]) -> dict[str, list[BoxXyxy]]:
    """Boxes of opacities by image id, as text: some tools write 7 in one place and "7" in the other."""
    wanted = opacity_classes(document.categories.values())
    images = {str(image.get("id")) for image in document.images if isinstance(image, dict)}
    boxes: dict[str, list[BoxXyxy]] = defaultdict(list)
    for annotation in document.annotations:
        where = f"{document.name} annotation {annotation.get('id') if isinstance(annotation, dict) else annotation}"
        try:
            x, y, width, height = (finite(side) for side in annotation["bbox"])
            image_id, category = annotation["image_id"], annotation.get("category_id")
            known = category in document.categories
        except (KeyError, TypeError, ValueError):
            faults.append(Fault("bad-value", "stop", where, "expected image_id and bbox [x, y, width, height]"))
            continue
        if str(image_id) not in images:
            faults.append(Fault("box-without-image", "stop", where, f"image_id {image_id} is not among the images"))
        elif document.categories and not known:
            faults.append(Fault("bad-value", "stop", where, f"category_id {category} is not among the categories"))
        elif not document.categories or document.categories[category] in wanted:
            box = (x, y, x + width, y + height)
            if box in boxes[str(image_id)]:
                faults.append(Fault("duplicate-row", "note", where, "the same box again; used once"))
            else:
                boxes[str(image_id)].append(box)
    return boxes


def _film(
    store: Store, name: str, image: dict[str, Any], size: tuple[int, int], boxes: list[BoxXyxy], split: str | None
) -> Film:
    width, height = size
    age = str(image.get("age", ""))
    sex, view = parse_sex(str(image.get("sex", ""))), image.get("view")
    stated = bool(age or sex or view) or (width > 0 and not name.lower().endswith((".dcm", ".dicom")))
    film_id = str(PurePosixPath(name).with_suffix(""))
    label = int(bool(boxes) or image.get("label") == 1)  # "label" and "class": our own additions, see export
    return Film(
        film_id=film_id,
        path=store.place(name),
        label=label,
        read=store.reader(name),
        class_name=image.get("class") or (OPACITY if label else None),
        boxes_xyxy=tuple(boxes),
        group=str(image.get("group") or image.get("patient_id") or film_id),
        source="coco",
        split=split,
        known=Facts(sex, parse_age(age), view, age, width, height) if stated else None,
    )


def _find(there: set[str], document: str, file_name: str) -> str | None:
    """Where an image lies: beside its file, at the top, in images/, or in a folder named as the file is."""
    folder = PurePosixPath(document).parent
    own = PurePosixPath(document).stem.removeprefix("instances_")
    tries = (folder, PurePosixPath(), PurePosixPath("images"), PurePosixPath(own), PurePosixPath("images", own))
    return next((str(at / file_name) for at in tries if str(at / file_name) in there), None)
