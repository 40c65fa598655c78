"""What `predict` was given -> outcomes, in order: which films, which output files, in this process or in a pool."""

from __future__ import annotations

import hashlib
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge_pneumo.edge_runtime.outputs import SUFFIXES
from edge_pneumo.edge_runtime.sources import Source, find_films
from edge_pneumo.edge_runtime.worker import Outcome, Task, WorkerSetup, answer, open_detector
from edge_pneumo.errors import UsageFault

FEW = 8  # done here: a worker must first import numpy and open the model, as this process has to do anyway
_FILM_ENDINGS = (".dcm", ".dicom", ".ima", ".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Request:
    """What to look at and what to make of it.

    Attributes
    ----------
    paths : files, folders, zip files, or "-" for stdin.
    setup : how to look at films.
    outputs : kind of output (`outputs.SUFFIXES`) -> folder.
    jobs : worker processes; None lets the number of films, cores and the free memory decide, 1 works in this process.
    is_done : films (by name and output files) to leave out.
    leave_out : files that are no films, though they may lie among them.
    """

    paths: Sequence[str]
    setup: WorkerSetup
    outputs: dict[str, str] = field(default_factory=dict)
    jobs: int | None = None
    is_done: Callable[[Task], bool] | None = None
    leave_out: tuple[str, ...] = ()


def look(request: Request) -> Iterator[Outcome]:
    """Outcomes in the order of the films; the first as soon as it is there.

    A few films are done in this process: starting workers would take longer. More go to a pool, which also outlives a
    film that hangs or crashes its worker.

    Raises
    ------
    ModelFileError, UsageFault, MissingExtra : the model cannot be opened this way.
    """
    tasks = plan(request)
    first = list(itertools.islice(tasks, FEW + 1))
    if not first:
        return
    few = len(first) <= FEW or request.setup.backend == "gpu"  # one process owns the graphics card
    if request.jobs == 1 or (request.jobs is None and few):
        detector = open_detector(request.setup)
        for task in itertools.chain(first, tasks):
            yield answer(detector, request.setup, task)
        return
    from edge_pneumo.edge_runtime.pool import FilmPool, default_jobs

    jobs = request.jobs or default_jobs(request.setup.threads)
    yield from FilmPool(request.setup, jobs).run(itertools.chain(first, tasks))


def plan(request: Request) -> Iterator[Task]:
    """One task a film that is still to be done, with the names of its output files.

    Names are given in the order of the films, done or not, so that a resumed run gives the same ones.

    Raises
    ------
    UsageFault : output files would lie among the films.
    """
    named = {os.path.realpath(path) for path in request.paths}
    made = [os.path.realpath(folder) + os.sep for folder in request.outputs.values()]
    for path in request.paths:  # whose films nothing would tell from what an earlier run made of them
        if Path(path).is_dir() and any((os.path.realpath(path) + os.sep).startswith(folder) for folder in made):
            raise UsageFault(
                f"output files would lie among the films of {path} and be taken for films by the next run. Give them a "
                f"folder of their own beside it, for example {os.path.normpath(path)}-findings"
            )
    left_out = {os.path.realpath(path) for path in request.leave_out}
    taken: dict[str, str] = {}
    for source in _sources(request.paths):
        if (made or left_out) and source.member is None:
            real = os.path.realpath(source.path)
            # an overlay of an earlier run, in a folder within the folder of films
            if real in left_out or (real not in named and any(real.startswith(folder) for folder in made)):
                continue
        stem = _stem(source, taken, request.outputs, named)
        outputs = {kind: str(Path(folder) / f"{stem}{SUFFIXES[kind]}") for kind, folder in request.outputs.items()}
        task = Task(source.name, source, outputs)
        if request.is_done is not None and request.is_done(task):
            continue
        # workers have no stdin of their own
        yield Task(task.name, _stdin(source), outputs) if source.path == "-" else task


def _sources(paths: Sequence[str]) -> Iterator[Source]:
    for path in paths:
        if path == "-" or Path(path).exists():
            found = find_films([path])
            first = next(found, None)
            if first is not None:
                yield first
                yield from found
            elif len(paths) > 1:  # alone, it is an error
                print(f"edge-pneumo: no film in {path}", file=sys.stderr)
        else:
            yield Source(path, path)  # refused when it is read, so that the other paths are still answered


def _stdin(source: Source) -> bytes:
    if sys.stdin.isatty():
        raise UsageFault("`-` reads one film from standard input, and nothing is piped in. Try: predict - < film.dcm")
    return source.read()


def _stem(source: Source, taken: dict[str, str], outputs: dict[str, str], named: set[str]) -> str:
    """A file name for a film's outputs that no other film of this run has, and that is no film: not this one, nor
    another that was asked for by name."""
    if not outputs:
        return ""
    base = Path(source.member or source.path).name if source.path != "-" else "stdin"
    for ending in _FILM_ENDINGS:  # not Path.stem: it would cut the last number off a file named by its UID
        if base.lower().endswith(ending) and len(base) > len(ending):
            base = base[: -len(ending)]
            break
    base = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "_" for c in base)[:120]
    films = named | {os.path.realpath(source.path)}
    itself = any(
        os.path.realpath(Path(folder) / f"{base}{SUFFIXES[kind]}") in films for kind, folder in outputs.items()
    )
    # compared without case: two films must not share a file on a case-blind disk either
    if itself or taken.setdefault(base.casefold(), source.name) != source.name:
        base = f"{base}-{hashlib.sha256(source.name.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
    return base
