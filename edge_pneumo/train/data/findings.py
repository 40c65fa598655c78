"""Which words of other data sets mean an opacity, and which files are films."""

from __future__ import annotations

import re
from collections.abc import Iterable

OPACITY, NOT_NORMAL, NORMAL = "Lung Opacity", "No Lung Opacity / Not Normal", "Normal"
"""The challenge's classes; readers of other layouts use the same words."""

OPACITY_WORDS = frozenset(
    ("opacity", "lung opacity", "pneumonia", "consolidation", "infiltration", "infiltrate", "airspace opacity")
)
"""Findings that a radiologist of the challenge would have boxed as "Lung Opacity", in lower case."""

NORMAL_WORDS = frozenset(("normal", "no finding", "no opacity", "negative", "healthy"))

FILM_ENDINGS = (".dcm", ".dicom", ".png", ".jpg", ".jpeg")

_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def is_film(name: str) -> bool:
    """True for the names of files that the runtime may read."""
    return name.lower().endswith(FILM_ENDINGS)


def is_opacity(word: str) -> bool:
    """True for a finding that counts as an opacity."""
    return _plain(word) in OPACITY_WORDS


def is_normal(word: str) -> bool:
    """True for a word that says that nothing was found."""
    return _plain(word) in NORMAL_WORDS


def split_named(text: str) -> str | None:
    """The split that a folder or file name speaks of: "train2017" and "instances_train" both are train."""
    words = re.findall(r"[a-z]+", text.lower())
    return next((_SPLITS[word] for word in words if word in _SPLITS), None)


def opacity_classes(names: Iterable[str]) -> set[str]:
    """Those classes of a box data set that are opacities; all of them where none is known by name."""
    every = set(names)
    return {name for name in every if is_opacity(name)} or every


def _plain(word: str) -> str:
    return " ".join(re.split(r"[\s_-]+", word.strip().lower()))
