"""Lung-masked films for pre-training: many films whose outside was blacked out, made fit to learn from.

Where the lung mask failed to see a consolidated lung it is small, so its size alone separates the classes; a network
would learn the mask. Therefore the outside is filled (flat grey, noise, or the surroundings in a film without
opacities), every other showing is cut by a second film's mask as well, and a box counts by the share of it that can be
seen. Nor has a whole film a seam: the dark fringe of the mask is cut off, the edge fades, and the surroundings get
the contrast and brightness that they would have in the film within. They are of a film taken from the same side and as
healthy or ill, for tubes, wires and the heart's size say something of a film's label that must not be unlearnt.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from edge_pneumo.edge_runtime.preprocess import InputSpec
from edge_pneumo.errors import DataError
from edge_pneumo.train.data.findings import NORMAL, OPACITY
from edge_pneumo.train.data.store import FolderStore
from edge_pneumo.train.data.tables import number, read_table
from edge_pneumo.train.feed import FilmSource
from edge_pneumo.train.labels import OPACITY_GIVEN, of_class
from edge_pneumo.train.targets import FilmLabel

if TYPE_CHECKING:
    from edge_pneumo.train.data.film import Film

SOURCE_PX = 1024
"""Side of the frame that the challenge's boxes are in."""

VISIBLE = 10
"""Grey level above which a pixel belongs to the mask; JPEG leaves a fringe below it."""

HOLE_PX, FRINGE_PX, FADE_PX = 2, 3, 1.2
"""In pixels of the masked film: half the width of holes that are dark lung, not mask; width of the dark fringe inside
the mask; standard deviation of the fading edge."""

FEW = 20
"""Surroundings of one kind below which those of other kinds are used too: a few films would be learnt by heart."""


@dataclass(frozen=True)
class Surroundings:
    """Whole films without opacities, to fill the outside of masked ones with.

    Attributes
    ----------
    images : (m, s, s, 1) uint8.
    kinds : (m,) view ("AP", "PA" or "") of each, and whether it is normal.
    """

    images: NDArray[np.uint8]
    kinds: Sequence[tuple[str, bool]]


def load_surroundings(films: Sequence[Film], spec: InputSpec, cache_dir: Path | None) -> Surroundings:
    """Of labelled and weak films those without opacities: with another film's opacity around it, a film's label would
    be wrong. Films that cannot be read are left out."""
    from edge_pneumo.train.data.cache import load_images

    fit = [film for film in films if not film.label and not any(map(_may_be_opaque, film.findings or ()))]
    images, _, kept, _ = load_images(fit, spec, cache_dir)
    return Surroundings(images, [(fit[k].view or "", fit[k].class_name == NORMAL) for k in kept])


def _may_be_opaque(finding: str) -> bool:
    return OPACITY_GIVEN.get(finding, 0.0) > 0.3


def check_masked(folders: Sequence[Path]) -> int:
    """Find out before TensorFlow is loaded that a folder is not one of lung-masked films.

    Returns
    -------
    How many films the folders list.

    Raises
    ------
    DataError : it is not there, is a file, or lacks a table; the message says which.
    """
    films = 0
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"--masked {folder}: {'a file, not a folder' if folder.exists() else 'no such folder'}")
        if not (folder / "index.csv").is_file():
            raise DataError(
                f"--masked {folder}: no index.csv (patientId, class; nih_patient and view where known) in it"
            )
        labels_file(folder)
        films += len(_rows(folder / "index.csv", ("patientId", "class")))
    return films


def load_masked(
    folders: Sequence[Path], spec: InputSpec, surroundings: Surroundings,
    say: Callable[[str], None], *, without: Collection[str] = (), apart: bool = False,
) -> MaskedSource:  # fmt: skip
    """Read folders of masked films, each with `index.csv` (patientId, class; nih_patient and view where known),
    `images/<patientId>.jpg` and `labels.csv` or `stage_2_train_labels.csv[.gz]` in it or in a sibling folder
    `rsna-labels`.

    Parameters
    ----------
    surroundings : to fill the outside with.
    without : patients whose films are left out.
    apart : see `FilmSource`.

    Raises
    ------
    DataError : a file, a column or a picture is missing or damaged.
    """
    pictures: list[NDArray[np.uint8]] = []
    lungs: list[NDArray[np.uint8]] = []
    labels: list[FilmLabel] = []
    kinds: list[tuple[str, bool]] = []
    for folder in folders:
        boxes = _boxes(labels_file(folder))
        every = _rows(folder / "index.csv", ("patientId", "class"), ("nih_patient", "view"))
        rows = [row for row in every if row[2] not in without]
        if not every:
            raise DataError(f"{folder / 'index.csv'}: no films; expected a row (patientId, class) for each")
        if not rows:
            raise DataError(
                f"{folder / 'index.csv'}: every film is of a patient who is judged on; none is left to train"
            )
        for film_id, class_name, _, view in rows:
            picture = _picture(folder / "images" / f"{film_id}.jpg")
            scale = spec.size_px / picture.width
            lung = _lungs(picture)
            if picture.size != (spec.size_px, spec.size_px):
                picture = picture.resize((spec.size_px, spec.size_px), Image.Resampling.BICUBIC)
                lung = lung.resize(picture.size, Image.Resampling.BILINEAR)
            pictures.append(np.asarray(picture))
            lungs.append(np.asarray(lung))
            own = np.array(boxes.get(film_id, ()), np.float32).reshape(-1, 4) * (spec.size_px / SOURCE_PX)
            labels.append(FilmLabel(float(class_name == OPACITY), own, findings=of_class(class_name)))
            kinds.append((view, class_name == NORMAL))
        left = f", {len(every) - len(rows)} of patients who are judged on left out" if len(every) > len(rows) else ""
        say(f"{len(rows)} masked films from {folder.name}, scaled by {scale:.2f}{left}")
    images = np.stack(pictures)[..., None]
    return MaskedSource(images, labels, apart=apart, lungs=np.stack(lungs), kinds=kinds, surroundings=surroundings)


@dataclass(frozen=True)
class MaskedSource(FilmSource):
    """Films black outside a mask; each time one is shown its outside is filled anew.

    Attributes
    ----------
    lungs : (n, s, s) uint8, 255 where a film is seen, 0 where it is not, between at the fading edge.
    kinds : (n,) view and whether it is normal, as in `Surroundings`.
    surroundings : to fill the outside with.
    """

    lungs: NDArray[np.uint8] = field(kw_only=True)
    kinds: Sequence[tuple[str, bool]] = field(kw_only=True)
    surroundings: Surroundings = field(kw_only=True)

    @cached_property
    def like(self) -> dict[tuple[str, bool], NDArray[np.uint8]]:
        """Surroundings for each kind of film: of that kind, or where these are few of that view, or any."""
        kinds, images = self.surroundings.kinds, self.surroundings.images
        found = {}
        for kind in set(self.kinds):
            same = [k for k, other in enumerate(kinds) if other == kind]
            view = [k for k, other in enumerate(kinds) if other[0] == kind[0]]
            found[kind] = images[next((some for some in (same, view) if len(some) >= FEW), slice(None))]
        return found

    def film(self, index: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], FilmLabel]:
        """The film within its own mask or within that and another film's, and the label of what is left to see."""
        image = self.images[index, ..., 0]
        own = lungs = self.lungs[index]
        if rng.random() < 0.5:
            lungs = np.minimum(own, self.lungs[rng.integers(len(self.lungs))])
            if (lungs > 127).mean() < 0.5 * (own > 127).mean():
                lungs = own
        share = lungs.astype(np.float32) / 255
        outside = _outside(image, lungs > 127, rng, self.like[self.kinds[index]])
        return np.rint(outside + (image - outside) * share).astype(np.uint8), _seen(self.labels[index], lungs > 127)


def _lungs(picture: Image.Image) -> Image.Image:
    """Where a masked film shows lung: its mask without the dark fringe, fading at the edge."""
    from scipy import ndimage  # Pillow's rank filters give the same and take much longer

    mask = np.where(np.asarray(picture) > VISIBLE, np.uint8(255), np.uint8(0))
    closed = ndimage.maximum_filter(mask, 2 * HOLE_PX + 1, mode="nearest")
    inner = ndimage.minimum_filter(closed, 2 * (HOLE_PX + FRINGE_PX) + 1, mode="nearest")
    return Image.fromarray(inner).filter(ImageFilter.GaussianBlur(FADE_PX))


def labels_file(folder: Path) -> Path:
    """The table of boxes of a folder of masked films; DataError where there is none."""
    name = "stage_2_train_labels.csv"
    places = [folder / "labels.csv", folder / name, folder / f"{name}.gz", folder.parent / "rsna-labels" / f"{name}.gz"]
    for place in places:
        if place.is_file():
            return place
    raise DataError(f"{folder}: no table of boxes; looked for {', '.join(str(p) for p in places)}")


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


def _outside(
    image: NDArray[np.uint8], inside: NDArray[np.bool_], rng: np.random.Generator, surroundings: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Grey levels for outside the lungs: (s, s) float32, 0 to 255."""
    kind = rng.random()
    if kind < 0.7 and len(surroundings) and inside.any():
        other = surroundings[rng.integers(len(surroundings)), ..., 0].astype(np.float32)
        return _as_within(other[:, ::-1] if rng.random() < 0.5 else other, image, inside)
    level = rng.uniform(0, 255)
    if kind < 0.85:
        return np.full(image.shape, level, np.float32)
    return np.clip(level + rng.standard_normal(image.shape, np.float32) * rng.uniform(5, 60), 0, 255)


def _as_within(other: NDArray[np.float32], image: NDArray[np.uint8], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """`other` with the mean and, within bounds, the contrast that `image` has inside."""
    here, there = image[inside].astype(np.float32), other[inside]
    contrast = np.clip(here.std() / max(there.std(), 1.0), 0.6, 1.6)
    return np.clip((other - there.mean()) * contrast + here.mean(), 0, 255)


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
