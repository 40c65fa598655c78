"""What films of little contrast, other curves and other depths cost, with greys spread out for the network and without.

    python -m edge_pneumo.benchmarks.contrast_check DATA [--split val] [--model default]     JSON on stdout

Every film of the split is written again as DICOM with other greys and judged by the evaluator: once as `predict` reads
it, once with its greys left as the header (or 8 bits) gives them. Films that the door refuses are left out of the
figures and counted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import click
import numpy as np
from numpy.typing import NDArray

from edge_pneumo.benchmarks.framing_check import as_dicom, check_each
from edge_pneumo.edge_runtime import grey
from edge_pneumo.edge_runtime.levels import flat_range
from edge_pneumo.edge_runtime.radiograph import read_radiograph

if TYPE_CHECKING:
    from edge_pneumo.train.data.film import Film

Curve = Callable[[NDArray[np.floating]], NDArray[np.floating]]


@dataclass(frozen=True)
class Change:
    """Other greys: a curve over 0..1, stored in so many bits, with header entries; `border` (a stored value) covers the
    outer tenth of the film."""

    name: str
    curve: Curve
    bits: int = 8
    tags: Mapping[str, Any] = field(default_factory=dict)
    border: int | None = None

    def __call__(self, film: Film) -> Film:
        """The film, changed; its bytes are made when asked for."""

        def read() -> bytes:
            shown = read_radiograph(film.read(), name=film.path, force=True).pixels
            most = (1 << self.bits) - 1
            table = np.rint(self.curve(np.arange(256) / 255) * most).astype(np.uint8 if self.bits <= 8 else np.uint16)
            pixels = table[shown]
            if self.border is not None:
                edge = round(0.1 * min(pixels.shape))
                pixels[:edge] = pixels[-edge:] = pixels[:, :edge] = pixels[:, -edge:] = self.border
            return as_dicom(pixels, "", BitsStored=self.bits, HighBit=self.bits - 1, **self.tags)

        return replace(film, read=read)


def _between(low: float, high: float) -> Curve:
    return lambda grey: low + (high - low) * grey


def _gamma(power: float) -> Curve:
    return lambda grey: grey**power


def _window(low: float, high: float, bits: int) -> dict[str, Any]:
    width = (high - low) * (1 << bits)
    return {"WindowCenter": round(low * (1 << bits) + width / 2, 1), "WindowWidth": round(width, 1)}


CHANGES = (
    Change("as they are", _between(0, 1)),
    *(Change(f"dark, {share:.0%} of the greys", _between(0, share)) for share in (0.7, 0.5, 0.25, 0.1)),
    *(Change(f"bright, {share:.0%} of the greys", _between(1 - share, 1)) for share in (0.5, 0.25, 0.1)),
    *(Change(f"grey, {share:.0%} of the greys", _between(0.5 - share / 2, 0.5 + share / 2)) for share in (0.5, 0.25)),
    *(Change(f"gamma {power:g}", _gamma(power)) for power in (0.25, 0.5, 2, 4)),
    Change("12 bits", _between(0, 1), 12),
    Change("12 bits, a quarter of them used", _between(0.5, 0.75), 12),
    Change("12 bits, a window four times too wide", _between(0.4, 0.6), 12, _window(0.1, 0.9, 12)),
    Change("12 bits, a window that fits", _between(0.4, 0.6), 12, _window(0.4, 0.6, 12)),
    Change("12 bits, a quarter used, under a black border", _between(0.5, 0.75), 12, border=0),
    Change("12 bits, half used, under a white border", _between(0, 0.5), 12, border=4095),
    Change("16 bits, a hundredth used, a window that fits, under a black border", _between(0.45, 0.46), 16,
           _window(0.45, 0.46, 16), border=0),
)  # fmt: skip


def stretched_as_they_are(films: Iterable[Film]) -> dict[str, int]:
    """How many films, unchanged, span too few greys."""
    asked = found = 0
    with patch.object(grey, "evened", lambda picture: picture):
        for film in films:
            shown = read_radiograph(film.read(), size_px=256, name=film.path, force=True)
            asked, found = asked + 1, found + (flat_range(shown.pixels) is not None)
    return {"asked": asked, "stretched": found}


@click.command()
@click.argument("data")
@click.option("--split", default="val", show_default=True, help="Which of its films.")
@click.option("--model", default="default", show_default=True, help="A model file, or `default`.")
def main(data: str, split: str, model: str) -> None:
    """Measure what little contrast and other greys cost, with greys spread out and without."""
    from edge_pneumo.train.data.index import load_dataset
    from edge_pneumo.train.judge import open_model

    every = load_dataset(data)
    without = partial(patch.multiple, grey, evened=lambda picture: picture, FLAT=0.0, FILLS=0.0)
    names = "spread", "as_given"
    result = check_each(open_model(model), every.split(split), split, CHANGES, names, without)
    json.dump({**result, "as_they_are": stretched_as_they_are(every.films)}, sys.stdout, indent=1)
    click.echo()


if __name__ == "__main__":
    main()
