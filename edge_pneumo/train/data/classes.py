"""Reader of a folder of classes: NORMAL/ and PNEUMONIA/ with films in them, at the top or in train/, val/ and test/."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from edge_pneumo.train.data.film import Fault, Film, Reading
from edge_pneumo.train.data.findings import is_film, is_normal, is_opacity, split_named
from edge_pneumo.train.data.store import Store

_PERSON = re.compile(r"(person\d+)_|((?:NORMAL\d-)?IM-\d+)-", re.IGNORECASE)


def is_classes(store: Store) -> bool:
    """True when some film lies in a folder named after a class."""
    return any(_label(name) is not None for name in store.files(deep=True) if is_film(name))


def read_classes_folder(store: Store) -> Reading:
    """Films labelled by the folder that they lie in. They have no boxes; positives are for a classifier.

    Groups are the persons of Kermany's file names ("person12_bacteria_47"), else the film. The numbering there starts
    again in each split's folder, so the split is part of the group.
    """
    films, faults = [], []
    for name in store.files(deep=True):
        if not is_film(name):
            continue
        label = _label(name)
        if label is None:
            faults.append(
                Fault("film-without-row", "note", name, "not in a folder named NORMAL or PNEUMONIA; not used")
            )
            continue
        path = PurePosixPath(name)
        split = next(filter(None, (split_named(part) for part in path.parts[:-2])), None)
        person = _PERSON.match(path.stem)
        group = (person[1] or person[2]) if person else path.stem
        films.append(
            Film(
                film_id=str(path.with_suffix("")),
                path=store.place(name),
                label=label,
                read=store.reader(name),
                class_name=path.parent.name,
                group=f"{split}/{group}" if split else group,
                source="classes",
                split=split,
            )
        )
    return Reading("classes", films, faults)


def _label(name: str) -> int | None:
    parts = PurePosixPath(name).parts
    folder = parts[-2] if len(parts) > 1 else ""
    return 1 if is_opacity(folder) else 0 if is_normal(folder) else None
