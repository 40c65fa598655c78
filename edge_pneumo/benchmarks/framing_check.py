"""What another resolution, wide borders and films that do not stand upright cost, with framing and without.

    python -m edge_pneumo.benchmarks.framing_check DATA [--split val] [--model default]     JSON on stdout

Every film of the split is written again as DICOM: resized, with a border, or turned with Patient Orientation saying so,
and judged by the evaluator: once as `predict` frames it, once with the whole frame shown as it is, as if there were no
framing. Films that the door refuses are left out of the figures and counted.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_pneumo.benchmarks.metrics import evaluate
from edge_pneumo.edge_runtime import door_picture
from edge_pneumo.edge_runtime.grey import Picture
from edge_pneumo.edge_runtime.preprocess import turned_boxes
from edge_pneumo.edge_runtime.radiograph import read_radiograph
from edge_pneumo.errors import FilmRefused
from edge_pneumo.progress import watched

if TYPE_CHECKING:
    from edge_pneumo.train.data.film import Film

HEADS = {0: "L\\F", 1: "F\\R", 2: "R\\H", 3: "H\\L"}
"""Patient Orientation of an upright film turned so many quarter turns counter-clockwise."""


@dataclass(frozen=True)
class Change:
    """What is done to a film: a `longer` side of so many pixels, borders as shares of its sides (top, bottom, left,
    right), in a grey level, with `grain` (standard deviation), darker by `shade` at the middle of the sheet's sides and
    by twice that in its corners, and quarter turns, counter-clockwise; `header` says so where it does not lie.
    `squashed` films have so many times fewer rows, and pixels that much higher, as Pixel Spacing says
    where it has `spacing`."""

    name: str
    border: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    grey: int = 0
    grain: float = 0.0
    shade: float = 0.0
    quarter_turns: int = 0
    header: bool = True
    squashed: float = 1.0
    spacing: bool = True
    longer: int | None = None

    def __call__(self, film: Film) -> Film:
        """The film, changed; its bytes are made when asked for."""
        shown = read_radiograph(film.read(), name=film.path, force=True)
        pixels, scale = shown.pixels, 1.0
        if self.longer is not None:
            scale = self.longer / max(pixels.shape)
            size = round(shown.width * scale), round(shown.height * scale)
            pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
        if self.squashed != 1.0:
            size = pixels.shape[1], round(pixels.shape[0] / self.squashed)
            pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
        top, bottom, left, right = (
            round(share * side) for share, side in zip(self.border, np.repeat(pixels.shape, 2), strict=True)
        )
        sheet = self._sheet(pixels.shape[0] + top + bottom, pixels.shape[1] + left + right, film.film_id)
        sheet[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
        pixels = sheet
        boxes = np.asarray(film.boxes_xyxy, np.float32).reshape(-1, 4) * scale
        boxes = boxes / np.array([1, self.squashed, 1, self.squashed], np.float32)
        boxes = boxes + np.array([left, top, left, top], np.float32)
        height, width = pixels.shape
        boxes = turned_boxes(boxes, width, height, self.quarter_turns)
        stated = HEADS[self.quarter_turns if self.header else 1]
        spacing = [0.143 * self.squashed, 0.143] if self.spacing else None
        data = as_dicom(np.ascontiguousarray(np.rot90(pixels, self.quarter_turns)), stated, PixelSpacing=spacing)
        return replace(film, boxes_xyxy=tuple(tuple(map(float, box)) for box in boxes), read=lambda: data)  # type: ignore[misc]

    def _sheet(self, rows: int, columns: int, film_id: str) -> NDArray[np.uint8]:
        """What the film lies on: the same for a film each time."""
        if not (self.grain or self.shade):
            return np.full((rows, columns), self.grey, np.uint8)
        across, along = np.linspace(-1, 1, rows)[:, np.newaxis] ** 2, np.linspace(-1, 1, columns) ** 2
        grain = np.random.default_rng(list(film_id.encode())).normal(0, self.grain, (rows, columns))
        return np.clip(np.rint(self.grey - self.shade * (across + along) + grain), 0, 255).astype(np.uint8)


ROUND = (1.0, 1.0, 1.0, 1.0)
WIDE = (0.2, 0.2, 0.2, 0.2)
CHANGES = (
    Change("as they are"),
    *(Change(f"resized to {side} pixels (Lanczos)", longer=side) for side in (900, 1100, 1500, 2048, 3000)),
    *(
        Change(f"{colour} border all round, {share:.0%} of the side", tuple(share * one for one in ROUND), grey)  # type: ignore[arg-type]
        for colour, grey in (("black", 0), ("white", 255))
        for share in (0.02, 0.05, 0.1, 0.2, 0.4, 1.0)
    ),
    Change("grey border with grain (standard deviation 8), 20% of the side", WIDE, 60, grain=8),
    Change("white border with grain (standard deviation 16), 20% of the side", WIDE, 200, grain=16),
    Change("light box: white border, darker by 60 at its corners, with grain, 20% of the side", WIDE, 230, 3, 30),
    Change("black border left and right, half of the width each", (0.0, 0.0, 0.5, 0.5)),
    Change("black border, wider at the bottom right", (0.1, 0.3, 0.1, 0.3)),
    Change("half the rows, of pixels twice as high, as the header says", squashed=2.0),
    Change("half the rows, and the header does not say it", squashed=2.0, spacing=False),
    Change("on its left side, and so says the header", quarter_turns=1),
    Change("upside down, and so says the header", quarter_turns=2),
    Change("on its right side, and so says the header", quarter_turns=3),
    Change("on its side in a black border of 40 %", (0.4, 0.4, 0.4, 0.4), quarter_turns=1),
    Change("upright, though the header says it lies", header=False),
)


def as_dicom(pixels: NDArray[np.uint8 | np.uint16], orientation: str, **tags: Any) -> bytes:
    """A frontal chest film (h, w) as an uncompressed DICOM file with this Patient Orientation and these `tags`."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ComputedRadiographyImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    film.SOPClassUID, film.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    film.Modality, film.BodyPartExamined, film.ViewPosition, film.PatientOrientation = "CR", "CHEST", "PA", orientation
    film.Rows, film.Columns = pixels.shape
    film.SamplesPerPixel, film.PhotometricInterpretation, film.PixelRepresentation = 1, "MONOCHROME2", 0
    bits = 8 * pixels.itemsize
    film.BitsAllocated, film.BitsStored, film.HighBit = bits, bits, bits - 1
    film.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    film["PixelData"].VR = "OB" if bits == 8 else "OW"
    for name, value in tags.items():
        setattr(film, name, value)
    stream = io.BytesIO()
    film.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def check(model: Any, films: tuple[Film, ...], change: Callable[[Film], Film]) -> dict[str, Any]:
    """AUC and RSNA score of a model (`train.judge.open_model`) on changed films, and how many are refused."""

    def changed() -> Any:
        for film in films:  # one at a time: all of them uncompressed would fill the memory
            other = change(film)
            yield other, next(iter(model.answers([other], 1)))

    pairs = list(watched(changed(), len(films), getattr(change, "name", "changed")))
    result = evaluate([film for film, _ in pairs], [answer for _, answer in pairs], bootstrap=0)
    refused = sum(isinstance(answer, FilmRefused) for _, answer in pairs)
    figures = {name: (result.get(name) or {}).get("value") for name in ("auc", "rsna_score")}
    return {"refused": refused, **{name: value and round(value, 4) for name, value in figures.items()}}


def check_each(
    opened: Any, dataset: Any, split: str, changes: Iterable[Any], names: tuple[str, str], without: Callable[[], Any]
) -> dict[str, Any]:
    """Figures of a model on the films of a split, changed each way: as they are read, and `without` (makes a context)
    what is measured; the two go under `names`."""
    rows = []
    for change in changes:
        row: dict[str, Any] = {"films": change.name, names[0]: check(opened, dataset.films, change)}
        with without():
            row[names[1]] = check(opened, dataset.films, change)
        rows.append(row)
    facts = {name: opened.facts.get(name) for name in ("name", "version", "sha256")}
    about = {"split": split, "n": len(dataset), "prevalence": round(dataset.prevalence, 4)}
    return {"schema": 1, "model": facts, "data": about, "rows": rows}


def headers_believed(films: Sequence[Film]) -> dict[str, int]:
    """Of films turned each way with a header that says so, and of upright ones with one that lies, how many are judged
    wrongly."""
    wrong = {"asked": 3 * len(films), "right_but_not_believed": 0, "lying_but_believed": 0}
    for film in films:
        shown = read_radiograph(film.read(), size_px=256, name=film.path, force=True)
        for turns in (1, 2, 3):
            lying = np.ascontiguousarray(np.rot90(shown.pixels, turns))
            believed = [
                door_picture.look(Picture(pixels, pixels.shape[1], pixels.shape[0], None), 4 - turns).lies
                for pixels in (lying, shown.pixels)
            ]
            wrong["right_but_not_believed"] += not believed[0]
            wrong["lying_but_believed"] += believed[1]
    return wrong


@click.command()
@click.argument("data")
@click.option("--split", default="val", show_default=True, help="Which of its films.")
@click.option("--model", default="default", show_default=True, help="A model file, or `default`.")
def main(data: str, split: str, model: str) -> None:
    """Measure what borders and turns cost, with and without framing."""
    from edge_pneumo.train.data.index import load_dataset
    from edge_pneumo.train.judge import open_model

    every = load_dataset(data)
    without = partial(patch.object, door_picture, "framing", lambda *_: None)
    names = "framed", "whole_frame"
    result = check_each(open_model(model), every.split(split), split, CHANGES, names, without)
    json.dump({**result, "headers": headers_believed(every.films)}, sys.stdout, indent=1)
    click.echo()


if __name__ == "__main__":
    main()
