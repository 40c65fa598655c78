"""Lung-masked films for pre-training: many films whose outside was blacked out, made fit to learn from.

Where the lung mask failed to see a consolidated lung it is small, so its size alone separates the classes; a network
would learn the mask. Therefore the outside is filled (flat grey, noise, or another film's surroundings), every other
showing is cut by a second film's mask as well, and a box counts by the share of it that can be seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_pneumo.edge_runtime.preprocess import InputSpec
from edge_pneumo.errors import DataError
from edge_pneumo.train.data.findings import OPACITY
from edge_pneumo.train.data.store import FolderStore
from edge_pneumo.train.data.tables import number, read_table
from edge_pneumo.train.feed import FilmSource
from edge_pneumo.train.labels import of_class
from edge_pneumo.train.targets import FilmLabel

SOURCE_PX = 1024
"""Side of the frame that the challenge's boxes are in."""

VISIBLE = 10
"""Grey level above which a pixel belongs to the mask; JPEG leaves a fringe below it."""


def load_masked(
    folders: Sequence[Path], spec: InputSpec, surroundings: NDArray[np.uint8],
    say: Callable[[str], None], *, without: Collection[str] = (), apart: bool = False,
) -> MaskedSource:  # fmt: skip
    """Read folders of masked films, each with `index.csv` (patientId, class, and nih_patient where it is known),
    `images/<patientId>.jpg` and `labels.csv` or `stage_2_train_labels.csv[.gz]` in it or in a sibling folder
    `rsna-labels`.

    Parameters
    ----------
    surroundings : (m, s, s, 1) uint8 whole films, to fill the outside with.
    without : patients whose films are left out.
    apart : see `FilmSource`.

    Raises
    ------
    DataError : a file, a column or a picture is missing or damaged.
    """
    pictures: list[NDArray[np.uint8]] = []
    labels: list[FilmLabel] = []
    for folder in folders:
        boxes = _boxes(_labels_file(folder))
        every = _rows(folder / "index.csv", ("patientId", "class"), ("nih_patient",))
        rows = [row for row in every if row[2] not in without]
        if not every:
            raise DataError(f"{folder / 'index.csv'}: no films; expected a row (patientId, class) for each")
        if not rows:
            raise DataError(
                f"{folder / 'index.csv'}: every film is of a patient who is judged on; none is left to train"
            )
        for film_id, class_name, _ in rows:
            picture = _picture(folder / "images" / f"{film_id}.jpg")
            scale = spec.size_px / picture.width
            if picture.size != (spec.size_px, spec.size_px):
                picture = picture.resize((spec.size_px, spec.size_px), Image.Resampling.BICUBIC)
            pictures.append(np.asarray(picture))
            own = np.array(boxes.get(film_id, ()), np.float32).reshape(-1, 4) * (spec.size_px / SOURCE_PX)
            labels.append(FilmLabel(float(class_name == OPACITY), own, findings=of_class(class_name)))
        left = f", {len(every) - len(rows)} of patients who are judged on left out" if len(every) > len(rows) else ""
        say(f"{len(rows)} masked films from {folder.name}, scaled by {scale:.2f}{left}")
    return MaskedSource(np.stack(pictures)[..., None], labels, apart=apart, surroundings=surroundings)


@dataclass(frozen=True)
class MaskedSource(FilmSource):
    """Films black outside a mask; each time one is shown its outside is filled anew.

    Attributes
    ----------
    surroundings : (m, s, s, 1) uint8 whole films, to fill the outside with.
    """

    surroundings: NDArray[np.uint8] = field(kw_only=True)

    def film(self, index: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], FilmLabel]:
        """The film within its own mask or within that and another film's, and the label of what is left to see."""
        image = self.images[index, ..., 0]
        own = mask = image > VISIBLE
        if rng.random() < 0.5:
            mask = own & (self.images[rng.integers(len(self.images)), ..., 0] > VISIBLE)
            if mask.mean() < 0.5 * own.mean():
                mask = own
        return np.where(mask, image, _outside(image, rng, self.surroundings)), _seen(self.labels[index], mask)


def _labels_file(folder: Path) -> Path:
    name = "stage_2_train_labels.csv"
    places = [folder / "labels.csv", folder / name, folder / f"{name}.gz", folder.parent / "rsna-labels" / f"{name}.gz"]
    for place in places:
        if place.is_file():
            return place
    raise DataError(f"{folder}: no labels; looked for {', '.join(str(p) for p in places)}")


def _rows(table: Path, required: Sequence[str], optional: Sequence[str] = ()) -> list[list[str]]:
    return [row for _, row in read_table(FolderStore(str(table.parent)), table.name, required, optional=optional)]


def _picture(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            return picture.convert("L")
    except OSError as error:  # Pillow's own "not a picture" and "cut short" are OSErrors too
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); mend it or leave its row out") from error


def _boxes(path: Path) -> dict[str, list[tuple[float, float, float, float]]]:
    found = defaultdict(list)
    for film_id, *cells in _rows(path, ("patientId", "x", "y", "width", "height")):
        try:
            x, y, width, height = (number(cell) for cell in cells)
        except ValueError as error:
            raise DataError(f"{path} ({film_id}): expected numbers for the box, found {error}") from error
        if x is not None and y is not None and width is not None and height is not None:
            found[film_id].append((x, y, x + width, y + height))
    return found


def _outside(image: NDArray[np.uint8], rng: np.random.Generator, surroundings: NDArray[np.uint8]) -> NDArray[np.uint8]:
    kind = rng.random()
    if kind < 0.7 and len(surroundings):
        other = surroundings[rng.integers(len(surroundings)), ..., 0]
        return other[:, ::-1] if rng.random() < 0.5 else other
    level = rng.uniform(0, 255)
    if kind < 0.85:
        return np.full_like(image, level)
    return np.clip(level + rng.standard_normal(image.shape, np.float32) * rng.uniform(5, 60), 0, 255).astype(np.uint8)


def _seen(label: FilmLabel, mask: NDArray[np.bool_]) -> FilmLabel:
    """The label with boxes that can be seen; a positive film whose boxes are all hidden teaches nothing."""
    seen = []
    for x1, y1, x2, y2 in label.boxes_xyxy.astype(int):
        part = mask[max(y1, 0) : y2, max(x1, 0) : x2]
        seen.append(bool(part.size and part.mean() > 0.3))
    if label.opacity == 0:
        return label
    known = bool(seen) and all(seen)
    boxes = label.boxes_xyxy[np.array(seen, bool)]
    return replace(label, boxes_xyxy=boxes, boxes_known=known, weight=float(any(seen)))
