"""A whole data set of phantom films in the Kaggle layout: DICOM films, label and class tables, splits."""

from __future__ import annotations

import hashlib
import io
import os
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_pneumo.edge_runtime.files import atomic_write
from edge_pneumo.errors import UsageFault, WriteFailed
from edge_pneumo.progress import watched
from edge_pneumo.train.data.findings import NORMAL, NOT_NORMAL, OPACITY
from edge_pneumo.train.data.kaggle import CLASSES, IMAGES, LABELS, SPLITS
from edge_pneumo.train.data.phantom.anatomy import draw_anatomy
from edge_pneumo.train.data.phantom.dicom import film_bytes
from edge_pneumo.train.data.phantom.disease import OTHER_DISEASE
from edge_pneumo.train.data.phantom.exposure import Case, expose
from edge_pneumo.train.data.splits import make_splits

CLASS_SHARES = {OPACITY: 0.36, NOT_NORMAL: 0.34, NORMAL: 0.30}
SPLIT_SHARES = (0.7, 0.2, 0.1)
"""More to val than usual, since data sets of phantoms are small."""

_OPACITY_SHARES = (0.46, 0.40, 0.09, 0.05)  # 1, 2, 3, 4 on a film that has any
_AP_CHANCE = {OPACITY: 0.70, NOT_NORMAL: 0.50, NORMAL: 0.32}  # sick people are filmed lying, as in RSNA's data
_SECOND_FILM = 0.12
_INVERTED = 0.10

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Plan:
    """One film to be made; `patient` seeds the body, `seed` the film."""

    film_id: str
    group: str
    class_name: str
    case: Case
    inverted: bool


def make_phantom(
    directory: str | Path,
    n: int,
    seed: int = 0,
    size_px: int = 1024,
    *,
    jobs: int | None = None,
    progress: bool = False,
) -> Path:
    """Write `n` made-up films with labels, classes and splits; the same seed and size make the same data set.

    Parameters
    ----------
    directory : folder to fill; it must not hold another data set.
    n : number of films, from 1.
    seed : 0 and above.
    size_px : side of the square films, 128 to 4096.
    jobs : threads; None for one a core.
    progress : say on stderr how far it is.

    Raises
    ------
    UsageFault : a number out of range, or a folder that already holds a data set.
    WriteFailed : the disk is full or the folder cannot be written. The tables are written last: a folder with a label
        table is whole.
    """
    directory = Path(directory)
    if n < 1 or seed < 0 or not 128 <= size_px <= 4096:
        raise UsageFault(
            f"phantom: expected n >= 1, seed >= 0, size 128 to 4096; found n={n} seed={seed} size={size_px}."
        )
    if (directory / LABELS).exists() or next(iter((directory / IMAGES).glob("*")), None) is not None:
        raise UsageFault(f"{directory}: already holds films or a {LABELS}. Choose an empty folder, or remove it first.")
    try:
        (directory / IMAGES).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteFailed(f"cannot make {directory / IMAGES}: {error.strerror}. Choose another place.") from error
    plans = plan_films(n, seed)

    def make(plan: Plan) -> list[Box]:
        pixels, boxes = expose(plan.case, size_px)
        with atomic_write(directory / IMAGES / f"{plan.film_id}.dcm") as stream:
            stream.write(_dicom(plan, pixels))
        return boxes

    with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
        boxes = list(watched(pool.map(make, plans), n, "making films", show=progress))
    _write_tables(directory, plans, boxes, seed)
    return directory


def plan_films(n: int, seed: int) -> list[Plan]:
    """Who is filmed and with what; classes come in fixed shares, so that small data sets are balanced too."""
    rng = np.random.default_rng([seed, 0])
    classes = _dealt(rng, n, list(CLASS_SHARES), list(CLASS_SHARES.values()))
    opacities = iter(_dealt(rng, classes.count(OPACITY), [1, 2, 3, 4], _OPACITY_SHARES))
    inverted = _dealt(rng, n, [True, False], (_INVERTED, 1 - _INVERTED))
    plans, patient = [], -1
    for i, class_name in enumerate(classes):
        if i == 0 or rng.random() >= _SECOND_FILM or plans[-1].group != f"phantom-{patient:05d}" or _has_two(plans):
            patient += 1
            person = np.random.default_rng([seed, 1, patient])
            sex = "M" if person.random() < 0.57 else "F"
            age = int(np.clip(person.normal(47, 17), 3, 94))
        view = "AP" if rng.random() < _AP_CHANCE[class_name] else "PA"
        body = draw_anatomy(np.random.default_rng([seed, 2, patient]), view, sex, age)
        count = next(opacities) if class_name == OPACITY else 0
        case = Case(body, count, _diseases(rng, class_name), int(rng.integers(2**62)))
        film_id = str(uuid.UUID(bytes=hashlib.sha256(f"{seed}:{i}".encode()).digest()[:16], version=4))
        plans.append(Plan(film_id, f"phantom-{patient:05d}", class_name, case, inverted[i]))
    return plans


def _dealt(rng: np.random.Generator, n: int, values: list, shares: Sequence[float]) -> list:
    """n values in these shares, rounded to whole ones, in random order."""
    edges = np.round(np.cumsum(shares) / np.sum(shares) * n).astype(int)
    counts = np.diff(edges, prepend=0)
    dealt = [value for value, count in zip(values, counts, strict=True) for _ in range(count)]
    rng.shuffle(dealt)
    return dealt


def _has_two(plans: list[Plan]) -> bool:
    return len(plans) > 1 and plans[-1].group == plans[-2].group


def _diseases(rng: np.random.Generator, class_name: str) -> tuple[str, ...]:
    """Disease beside opacities: one to three kinds where it makes the class, now and then one with an opacity."""
    if class_name == NOT_NORMAL:
        return tuple(rng.choice(OTHER_DISEASE, size=rng.integers(1, 4), replace=False).tolist())
    if class_name == OPACITY and rng.random() < 0.35:
        return (str(rng.choice(OTHER_DISEASE)),)
    return ()


def _dicom(plan: Plan, pixels: NDArray[np.uint8]) -> bytes:
    jpeg = io.BytesIO()
    Image.fromarray(255 - pixels if plan.inverted else pixels).save(jpeg, "JPEG", quality=88)
    body = plan.case.body
    return film_bytes(
        jpeg.getvalue(),
        film_id=plan.film_id,
        size_px=pixels.shape[0],
        sex=body.sex,
        age_years=body.age_years,
        view=body.view,
        photometric="MONOCHROME1" if plan.inverted else "MONOCHROME2",
    )


def _write_tables(directory: Path, plans: list[Plan], boxes: list[list[Box]], seed: int) -> None:
    groups, classes = [plan.group for plan in plans], [plan.class_name for plan in plans]
    splits = make_splits(groups, classes, fractions=SPLIT_SHARES, seed=seed)
    labels, names, places = ["patientId,x,y,width,height,Target"], ["patientId,class"], ["patientId,group,split"]
    for plan, found, split in zip(plans, boxes, splits, strict=True):
        rows = [f"{plan.film_id},{x}.0,{y}.0,{w}.0,{h}.0,1" for x, y, w, h in found] or [f"{plan.film_id},,,,,0"]
        labels += rows
        names += [f"{plan.film_id},{plan.class_name}"] * len(rows)
        places.append(f"{plan.film_id},{plan.group},{split}")
    for name, lines in ((CLASSES, names), (SPLITS, places), (LABELS, labels)):
        with atomic_write(directory / name, "w") as stream:
            stream.write("\n".join(lines) + "\n")
