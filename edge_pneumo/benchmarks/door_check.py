"""How many films the door refuses, and how many pictures that are no frontal chest film it lets through.

    python -m edge_pneumo.benchmarks.door_check DIR ...     JSON on stdout

Films are refused or not as `predict` would. For the other side there are no labelled pictures, so each film is also
shown turned, inverted, cut off and blank, beside made-up pages, hands and noise; the last three are caricatures, and
say only that the door is not open to everything.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from edge_pneumo.edge_runtime import door_picture
from edge_pneumo.edge_runtime.grey import Picture
from edge_pneumo.edge_runtime.radiograph import read_radiograph
from edge_pneumo.edge_runtime.sources import find_films
from edge_pneumo.errors import FilmRefused

SIZE_PX = 224
DISTORTIONS: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    "upside down": lambda p: p[::-1],
    "turned by 180 degrees": lambda p: p[::-1, ::-1],
    "on its left side": lambda p: np.rot90(p),
    "on its right side": lambda p: np.rot90(p, -1),
    "inverted": lambda p: 255 - p,
    "lower half missing": lambda p: np.where(np.arange(len(p))[:, None] < len(p) // 2, p, np.uint8(128)),
    "blank": lambda p: np.full_like(p, 90),
}


def verdict(pixels: NDArray[np.uint8]) -> str:
    """`pass`, `warn`, or the reason for which the picture is refused."""
    picture = Picture(np.ascontiguousarray(pixels), pixels.shape[1], pixels.shape[0], None)
    reason, sentence = door_picture.judge(door_picture.look(picture), polarity_stated=False)
    return reason or ("warn" if sentence else "pass")


def made_up(seed: int = 0, count: int = 50) -> dict[str, list[NDArray[np.uint8]]]:
    """Caricatures of what is not a chest film: pages with lines of text, hands, and noise, 256 x 256 grey."""
    rng = np.random.default_rng(seed)
    return {
        "page (made up)": [page(rng) for _ in range(count)],
        "hand (made up)": [_hand(rng) for _ in range(count)],
        "noise": [rng.integers(0, 256, (256, 256), np.uint8) for _ in range(count)],
    }


def page(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A white page with dark lines of words, 256 x 256."""
    paper = Image.new("L", (256, 256), int(rng.integers(240, 256)))
    draw = ImageDraw.Draw(paper)
    for y in range(int(rng.integers(10, 40)), int(rng.integers(120, 250)), int(rng.integers(7, 14))):
        x = 20
        while x < rng.integers(120, 240):
            width = int(rng.integers(5, 30))
            draw.rectangle((x, y, x + width, y + 4), fill=int(rng.integers(0, 90)))
            x += width + 5
    return np.asarray(paper)


def _hand(rng: np.random.Generator) -> NDArray[np.uint8]:
    film = Image.new("L", (256, 256), int(rng.integers(5, 30)))
    draw = ImageDraw.Draw(film)
    x0, y0 = int(rng.integers(70, 110)), int(rng.integers(120, 150))
    draw.ellipse((x0, y0, x0 + 90, y0 + 100), fill=110)
    for finger, lean in enumerate((-40, -18, 0, 18, 45)):
        x = x0 + 9 + finger * 18
        top = y0 - 20 if finger == 4 else y0 - int(rng.integers(60, 95))
        draw.line((x, y0 + 40, x + lean, top), fill=120, width=16)
        draw.line((x, y0 + 40, x + lean, top), fill=200, width=7)
    return np.asarray(film)


def check_folder(folder: str) -> dict[str, Any]:
    """Counts of what the door says of every film of a folder, and of the same films distorted; names go to stderr."""
    answers: Counter[str] = Counter()
    distorted = {name: Counter() for name in DISTORTIONS}
    for source in find_films([folder]):
        try:
            film = read_radiograph(source, name=source.name, size_px=SIZE_PX)
        except FilmRefused as error:
            answers[error.reason] += 1
            click.echo(f"{error.reason}: {error}", err=True)
            continue
        answers["warn" if film.warnings else "pass"] += 1
        for name, distort in DISTORTIONS.items():
            distorted[name][verdict(distort(film.pixels))] += 1
    n, taken = sum(answers.values()), answers["pass"] + answers["warn"]
    return {
        "folder": Path(folder).name,
        "n": n,
        "refused_share": round(1 - taken / max(1, n), 4),
        "answers": dict(answers.most_common()),
        "distorted": {name: dict(counts.most_common()) for name, counts in distorted.items()},
    }


@click.command()
@click.argument("folders", nargs=-1, required=True)
def main(folders: tuple[str, ...]) -> None:
    """Measure the door on folders of films."""
    pictures = {name: dict(Counter(map(verdict, shown)).most_common()) for name, shown in made_up().items()}
    result = {"schema": 1, "size_px": SIZE_PX, "folders": [check_folder(f) for f in folders], "made_up": pictures}
    json.dump(result, sys.stdout, indent=1)
    click.echo()


if __name__ == "__main__":
    main()
