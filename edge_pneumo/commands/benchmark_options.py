"""What the `benchmark` commands share: comma-separated options, progress lines, and where the films come from."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edge_pneumo.benchmarks.films import FilmSet

RUN_LOADER = "edge_pneumo.train.run:load_run"
"""Who loads a RUN folder for the Keras backends; `benchmarks` itself knows nothing of `train`."""

PHANTOM_FILMS = 24


class Names(click.ParamType):
    """Words from a fixed list, separated by commas."""

    name = "name,name"

    def __init__(self, choices: tuple[str, ...]) -> None:
        self.choices = choices

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        names = tuple(dict.fromkeys(word.strip() for word in str(value).split(",") if word.strip()))
        if unknown := [name for name in names if name not in self.choices]:
            self.fail(f"{', '.join(unknown)}: choose from {', '.join(self.choices)}", param, ctx)
        if not names:
            self.fail("at least one name is needed", param, ctx)
        return names


class Counts(click.ParamType):
    """Whole numbers of 1 or more, separated by commas."""

    name = "n,n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        words = [word.strip() for word in str(value).split(",") if word.strip()]
        if not words or any(not word.isdigit() or int(word) < 1 for word in words):
            self.fail(f"{value!r}: expected whole numbers of 1 or more, separated by commas, such as 1,2,4", param, ctx)
        return tuple(dict.fromkeys(int(word) for word in words))


def check_model(model: str) -> None:
    """Refuse a model that is not there, or a folder that is no RUN, before anything is measured.

    Raises
    ------
    UsageFault : says what was found.
    """
    from edge_pneumo.errors import UsageFault

    path = Path(model)
    if model == "default" or path.is_file() or (path / "config.json").is_file():
        return
    found = "a folder without config.json, so no training run" if path.is_dir() else "nothing"
    raise UsageFault(
        f"--model {model}: expected `default`, a model file or a RUN folder made by `edge-pneumo train`; found {found}."
    )


def progress_line() -> Callable[[str], None]:
    """Progress on stderr: one line that rewrites itself on a terminal, a plain line for each new subject elsewhere."""
    if sys.stderr.isatty():
        return lambda text: click.echo(f"\r\x1b[2K{text}", err=True, nl=False)
    last = {"subject": ""}

    def plain(text: str) -> None:
        subject = text.partition(": ")[0]
        if subject != last["subject"]:
            last["subject"] = subject
            click.echo(subject if ": " in text and text.startswith("[") else text, err=True)

    return plain


def end_progress() -> None:
    """Leave the self-rewriting line."""
    if sys.stderr.isatty():
        click.echo(err=True)


def gather_films(
    places: tuple[str, ...], data: str | None, split: str | None, limit: int | None, scratch: Path
) -> FilmSet:
    """The films to measure: a labelled data set, or files and folders, or else made-up films.

    Raises
    ------
    UsageFault : both films and data were given.
    InputRefused : nothing there.
    """
    from edge_pneumo.benchmarks.films import FilmSet, films_in, labelled_films
    from edge_pneumo.errors import UsageFault

    if places and data:
        raise UsageFault("give --films (any films) or --data (labelled films), not both")
    if data:
        from edge_pneumo.train.data.index import load_dataset

        dataset = load_dataset(data)
        chosen = list(dataset.split(split or "all"))[:limit]
        facts = {"split": split or "all", "split_hash": dataset.split_hash}
        train = [film for film in dataset if film.split == "train"]  # as `evaluate` has it, or it would differ
        return labelled_films(chosen, scratch, facts, None if any(f.split == "train" for f in chosen) else train)
    if places:
        return films_in(places, limit)
    from edge_pneumo.train.data.phantom import make_phantom

    made = scratch / "phantom"
    make_phantom(made, limit or PHANTOM_FILMS)
    return FilmSet(films_in([made / "stage_2_train_images"]).paths, "phantom")


def command_line() -> str:
    """The command as typed, with folders left out of paths: a result file is made to be sent to others."""
    words = [Path(word).name if "/" in word else word for word in sys.argv[1:]]
    return " ".join(["edge-pneumo", *words])
