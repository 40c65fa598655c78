"""Fit the two small tables of `edge_runtime.door_picture` to folders of frontal films, and print them as base64.

    python -m edge_pneumo.benchmarks.door_fit DIR ...

`MEAN_FILM` is the mean of the films; `WEIGHTS` is Fisher's discriminant between them and what is not an upright frontal
film: the same films turned and inverted, pages, blobs, and smooth random pictures. (Hands are left out, so that
`door_check` can show it a kind that it has not met.)
"""

from __future__ import annotations

import base64
from collections.abc import Iterable

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from edge_pneumo.benchmarks.door_check import SIZE_PX, page
from edge_pneumo.edge_runtime.door_picture import SIDE, shrink
from edge_pneumo.edge_runtime.radiograph import read_radiograph
from edge_pneumo.edge_runtime.sources import find_films
from edge_pneumo.errors import FilmRefused

RIDGE = 0.3
"""Added to the covariance, as a share of its mean variance: what 256 weights learn from few films must be smooth."""


def unit(tiny: NDArray) -> NDArray[np.float64]:
    """Pictures (n, side, side) -> (n, side * side), each without its mean and of unit length."""
    flat = tiny.reshape(len(tiny), -1).astype(np.float64)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)


def other_pictures(films: NDArray[np.uint8], seed: int = 0) -> NDArray[np.float64]:
    """What is not an upright frontal film, shrunk: (n, side, side)."""
    rng = np.random.default_rng(seed)
    half = films[::2].astype(np.float64)
    turned = [half[:, ::-1], half[:, ::-1, ::-1], np.rot90(half, 1, (1, 2)), np.rot90(half, -1, (1, 2)), 255 - half]
    pages = [shrink(page(rng)).astype(np.float64) for _ in range(200)]
    blobs = [shrink(_blobs(rng)).astype(np.float64) for _ in range(1500)]
    return np.concatenate([*turned, np.stack(pages), np.stack(blobs), _smooth(rng, 1500)])


def _smooth(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Random pictures whose power falls with frequency, as that of natural pictures does."""
    axis = np.fft.fftfreq(SIDE)
    frequency = np.hypot(axis[:, None], axis)
    frequency[0, 0] = 1
    spectra = np.fft.fft2(rng.normal(size=(count, SIDE, SIDE)))
    return np.fft.ifft2(spectra / frequency ** rng.uniform(1, 2.5, (count, 1, 1))).real


def _blobs(rng: np.random.Generator) -> NDArray[np.uint8]:
    picture = Image.new("L", (128, 128), int(rng.integers(0, 40)))
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(1, 6))):
        (x, y), (a, b) = rng.integers(30, 98, 2), rng.integers(10, 55, 2)
        draw.ellipse((int(x - a), int(y - b), int(x + a), int(y + b)), fill=int(rng.integers(60, 255)))
    return np.asarray(picture)


def fit(films: NDArray[np.uint8]) -> tuple[bytes, bytes, float]:
    """Mean film (uint8), weights (int8) and the films' median score with these weights, from (n, side, side)."""
    frontal, other = unit(films), unit(other_pictures(films))
    mean = frontal.mean(axis=0)
    mean_film = np.round((mean - mean.min()) * (255 / np.ptp(mean))).astype(np.uint8)
    within = (np.cov(frontal.T) + np.cov(other.T)) / 2
    within += RIDGE * np.trace(within) / len(within) * np.eye(len(within))
    direction = np.linalg.solve(within, mean - other.mean(axis=0))
    weights = np.round(direction * (127 / np.abs(direction).max())).astype(np.int8)
    return mean_film.tobytes(), weights.tobytes(), float(np.median(frontal @ weights))


def read_all(folders: Iterable[str]) -> NDArray[np.uint8]:
    """Every film of the folders, shrunk; what cannot be read is left out, what the door would refuse is not."""
    tiny = []
    for source in find_films(folders):
        try:
            tiny.append(shrink(read_radiograph(source, size_px=SIZE_PX, force=True).pixels))
        except FilmRefused as error:
            click.echo(f"left out: {error}", err=True)
    return np.stack(tiny)


@click.command()
@click.argument("folders", nargs=-1, required=True)
def main(folders: tuple[str, ...]) -> None:
    """Fit the door's tables to folders of frontal chest films."""
    mean_film, weights, score = fit(read_all(folders))
    click.echo(f"MEAN_FILM {base64.b64encode(mean_film).decode()}")
    click.echo(f"WEIGHTS {base64.b64encode(weights).decode()}")
    click.echo(f"TYPICAL_SCORE {score:.1f}")


if __name__ == "__main__":
    main()
