"""What the data room hands out: films with their labels, and what was wrong with the folder they came from."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from edge_pneumo.errors import DataError
from edge_pneumo.train.data.headers import Facts, read_facts

BoxXyxy = tuple[float, float, float, float]


@dataclass(frozen=True)
class Film:
    """One labelled film.

    Attributes
    ----------
    film_id : unique in its data set (`patientId` in the Kaggle layout).
    path : where it lies, for messages and links; "archive.zip!member" inside an archive.
    label : 1 opacity, 0 none.
    boxes_xyxy : opacities, in pixels of the source film. A positive film without boxes means that nobody drew them
        (weak labels): a box loss must leave it out.
    class_name : the data set's own word, such as "Normal"; None when it has none.
    group : films of one group (patient) never straddle a split.
    source : the layout it came from ("kaggle", "coco", "yolo", "classes", "nih").
    split : "train", "val", "test", or None.
    weight : how far the label may be trusted, 1.0 for a radiologist's.
    read : gives the file's bytes. Can be pickled, so that films may travel to other processes.
    findings : NIH's text-mined words for the film (empty: "No Finding"); None where no such table speaks of it.
    known : facts that a table gave; None to have them read from the film's own header when first asked for.
    """

    film_id: str
    path: str
    label: int
    read: Callable[[], bytes] = field(repr=False, compare=False)
    class_name: str | None = None
    boxes_xyxy: tuple[BoxXyxy, ...] = ()
    group: str = ""
    source: str = ""
    split: str | None = None
    weight: float = 1.0
    known: Facts | None = field(default=None, compare=False)
    findings: tuple[str, ...] | None = None

    @cached_property
    def facts(self) -> Facts:
        """Sex, age, view and size; read once from the header, empty where that is unreadable."""
        return self.known if self.known is not None else read_facts(self.read)

    @property
    def sex(self) -> str | None:
        """ "M", "F", "O", or None when not stated."""
        return self.facts.sex

    @property
    def age_years(self) -> float | None:
        """Age in years as stated, impossible ones included; None when not stated."""
        return self.facts.age_years

    @property
    def view(self) -> str | None:
        """ "AP", "PA", …, or None when not stated."""
        return self.facts.view


SEVERITIES = ("stop", "skip", "note")


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a data set.

    Attributes
    ----------
    kind : a short fixed name, such as "box-off-film".
    severity : "stop" - training on it would be wrong; "skip" - that film is left out; "note" - worth knowing, nothing
        is wrong for training.
    where : the film, row or file concerned.
    detail : expected and found.
    """

    kind: str
    severity: str
    where: str
    detail: str


@dataclass(frozen=True)
class Reading:
    """What a reader found: films, in the order of their ids, and faults."""

    layout: str
    films: list[Film]
    faults: list[Fault]


@dataclass(frozen=True)
class DataSet:
    """Films of one data set, ready to train or to judge on. Iterable; `len()` is the number of films.

    Attributes
    ----------
    made_splits : the data set brought no splits, so they were drawn (see `load_dataset`).
    """

    films: tuple[Film, ...]
    root: str = ""
    layout: str = ""
    warnings: tuple[str, ...] = ()
    made_splits: bool = False

    def __iter__(self) -> Iterator[Film]:
        return iter(self.films)

    def __len__(self) -> int:
        return len(self.films)

    def split(self, name: str) -> DataSet:
        """The films of one split; "all" gives every film.

        Raises
        ------
        DataError : no film is in that split; the message names those there are.
        """
        if name == "all":
            return self
        films = tuple(film for film in self.films if film.split == name)
        if not films:
            there = ", ".join(f"{split} ({n})" for split, n in sorted(self.split_sizes.items())) or "none"
            drawn = ", drawn at random since it brings none" if self.made_splits else ""
            raise DataError(
                f"{self.root}: no films in split '{name}'. It has: {there}{drawn}. Use one of those, or 'all'."
            )
        return replace(self, films=films)

    def split_warning(self, name: str | None) -> str | None:
        """What to say to someone who asks for a split that the data set did not bring; None where nothing is amiss."""
        if not self.made_splits or name in (None, "all"):
            return None
        return (
            f"{self.root} brings no splits: '{name}' ({self.split_sizes.get(name, 0)} films) was drawn from it at "
            "random, by patient, where patients are known. Without a split all its films are used."
        )

    @property
    def split_sizes(self) -> dict[str, int]:
        """Number of films in each split."""
        return dict(Counter(film.split for film in self.films if film.split is not None))

    @property
    def prevalence(self) -> float:
        """Share of films with an opacity."""
        return sum(film.label for film in self.films) / max(1, len(self.films))

    @cached_property
    def split_hash(self) -> str:
        """SHA-256 over the sorted lines "film_id,group,split": the same films in the same splits, the same hash."""
        lines = sorted(f"{film.film_id},{film.group},{film.split or ''}\n" for film in self.films)
        return hashlib.sha256("".join(lines).encode()).hexdigest()
