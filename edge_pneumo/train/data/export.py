"""Films as PNG or JPEG with their boxes as COCO JSON: for other tools, and for looking at."""

from __future__ import annotations

import io
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edge_pneumo.edge_runtime.files import atomic_write
from edge_pneumo.edge_runtime.preprocess import InputSpec, preprocess
from edge_pneumo.edge_runtime.radiograph import read_radiograph
from edge_pneumo.errors import FilmRefused, UsageFault
from edge_pneumo.progress import watched
from edge_pneumo.train.data.film import DataSet, Film
from edge_pneumo.train.data.findings import OPACITY
from edge_pneumo.train.data.steps import STEPS

KINDS = ("png", "jpg")


def export_dataset(
    dataset: DataSet,
    directory: str | Path,
    *,
    kind: str = "png",
    size_px: int | None = None,
    channels: int = 1,
    steps: Sequence[str] = (),
    progress: bool = True,
) -> dict[str, Any]:
    """Write films to images/ and labels to annotations/<split>.json; `load_dataset` reads the result back.

    Parameters
    ----------
    kind : "png" (lossless) or "jpg" (quality 95).
    size_px : letterbox to this side, as the network's input is; None keeps the film's own size.
    channels : 1, or 3 equal ones for networks made for colour.
    steps : names of `STEPS` that leave pixels in their place, done in this order.

    Returns
    -------
    Counts of films and boxes written, and the refused films with their reasons.

    Raises
    ------
    UsageFault : an unknown step or one that moves pixels (boxes would be wrong), or a bad kind or number of channels.
    WriteFailed : the disk is full or the folder cannot be written.
    """
    moving = [name for name in steps if name not in STEPS or STEPS[name].moves]
    if moving or kind not in KINDS or channels not in (1, 3):
        still = ", ".join(name for name, step in STEPS.items() if not step.moves)
        raise UsageFault(
            f"export: expected png or jpg, 1 or 3 channels, and steps among {still}; found {moving or kind}."
        )
    images: dict[str, list[dict[str, Any]]] = defaultdict(list)
    boxes: dict[str, list[dict[str, Any]]] = defaultdict(list)
    refused = []
    rng = np.random.default_rng(0)
    for film in watched(dataset.films, len(dataset), "exporting", show=progress):
        try:
            pixels, placed = _pixels(film, size_px)
        except (FilmRefused, OSError) as error:
            refused.append({"film": film.film_id, "reason": str(error)})
            continue
        for name in steps:
            pixels = STEPS[name].apply(pixels, rng)
        name = f"{film.film_id}.{kind}"
        _write(Path(directory, "images", name), pixels, kind, channels)
        split = film.split or "all"
        number = len(images[split]) + 1  # ids start at 1: COCO's evaluation takes a match with id 0 for none
        images[split].append(_image(film, number, name, pixels.shape))
        for x1, y1, x2, y2 in placed:
            box = {"id": len(boxes[split]) + 1, "image_id": number, "category_id": 1, "iscrowd": 0}
            boxes[split].append(box | {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)})
    for split, some in images.items():
        document = {"images": some, "annotations": boxes[split], "categories": [{"id": 1, "name": OPACITY}]}
        with atomic_write(Path(directory, "annotations", f"{split}.json"), "w") as stream:
            json.dump(document, stream)
    written = sum(map(len, images.values()))
    return {"schema": 1, "films": written, "boxes": sum(map(len, boxes.values())), "refused": refused}


def _pixels(film: Film, size_px: int | None) -> tuple[np.ndarray, list[list[float]]]:
    radiograph = read_radiograph(film.read(), size_px=size_px, name=film.path, force=True)
    if size_px is None:
        return radiograph.pixels, [list(box) for box in film.boxes_xyxy]
    pixels, geometry = preprocess(radiograph, InputSpec(size_px))
    boxes = geometry.to_input(np.array(film.boxes_xyxy, np.float32))
    return pixels[..., 0], [[round(float(side), 2) for side in box] for box in boxes]


def _write(path: Path, pixels: np.ndarray, kind: str, channels: int) -> None:
    picture = Image.fromarray(pixels)
    if channels == 3:
        picture = picture.convert("RGB")
    stream = io.BytesIO()
    picture.save(stream, "PNG") if kind == "png" else picture.save(stream, "JPEG", quality=95)
    with atomic_write(path) as out:
        out.write(stream.getvalue())


def _image(film: Film, number: int, name: str, shape: tuple[int, ...]) -> dict[str, Any]:
    facts = {"sex": film.sex, "age": film.facts.age_text, "view": film.view}
    return {
        "id": number,
        "file_name": name,
        "width": shape[1],
        "height": shape[0],
        "label": film.label,  # a positive film that nobody boxed would otherwise read back as negative
        "class": film.class_name,
        "group": film.group,
        **{key: value for key, value in facts.items() if value},
    }
