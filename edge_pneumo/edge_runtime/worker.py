"""One film at a time: what a worker process of the pool does, and what `predict` does itself when films are few.

A worker is a Python process that `pool.py` starts to run `main`. It reads pickles from stdin, first its `WorkerSetup`
and then `Task`s, and answers each with one length-prefixed pickle on stdout; it ends when stdin ends. Only its parent,
which started it, can reach those pipes.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import struct
import sys
import traceback
from dataclasses import dataclass, field
from io import RawIOBase
from typing import TYPE_CHECKING, Any

from edge_pneumo.errors import EdgePneumoError, FilmRefused, InputRefused, ModelFileError

if TYPE_CHECKING:
    from edge_pneumo.edge_runtime.predict import Detector
    from edge_pneumo.edge_runtime.result import FilmResult

HEADER = struct.Struct("<Q")


@dataclass(frozen=True)
class WorkerSetup:
    """How a worker is to look at films.

    Attributes
    ----------
    model : path of the model file, or "default".
    sha256 : if given, the file must still be this one.
    backend, threads, operating_point, force : as in `Detector`.
    heat : draw the heat map into overlays.
    require_signature : path of the public key that must have signed the model.
    outputs : kinds of output files there will be (`outputs.SUFFIXES`).
    """

    model: str = "default"
    sha256: str | None = None
    backend: str = "auto"
    threads: int = 1
    operating_point: str | None = None
    force: bool = False
    heat: bool = True
    require_signature: str | None = None
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """One film to look at.

    Attributes
    ----------
    name : what to call it.
    source : path, bytes, array, Dataset or `sources.Source`, as `Detector.predict` takes it.
    outputs : files to make besides the answer: kind ("overlay", "sr", "gsps", "sc") -> path.
    """

    name: str
    source: Any
    outputs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """A film's result, and one sentence for each output file that could not be made."""

    result: FilmResult
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ready:
    """A worker's first word: the model is open."""


@dataclass(frozen=True)
class Failure:
    """A worker's first and last word: the model could not be opened."""

    kind: type[EdgePneumoError]
    message: str

    def error(self) -> EdgePneumoError:
        """The error as it was raised; not pickled itself, for some take other arguments than their message."""
        error = self.kind.__new__(self.kind)
        Exception.__init__(error, self.message)
        return error


def open_detector(setup: WorkerSetup) -> Detector:
    """The detector a setup describes.

    Raises
    ------
    ModelFileError : the model file is bad, or is not the one that `sha256` names.
    UsageFault : unknown backend or operating point.
    """
    from edge_pneumo.edge_runtime.predict import Detector

    detector = Detector.open(
        setup.model, backend=setup.backend, threads=setup.threads, require_signature=setup.require_signature
    )
    if setup.sha256 and detector.model.sha256 != setup.sha256:
        raise ModelFileError(
            f"{setup.model} changed while it was in use: expected SHA-256 {setup.sha256}, "
            f"found {detector.model.sha256}. Run the command again."
        )
    detector.check_operating_point(setup.operating_point)
    return detector


def answer(detector: Detector, setup: WorkerSetup, task: Task) -> Outcome:
    """Look at one film and write its output files. A bad film raises nothing: it is refused.

    This is a process boundary: a bug that one film brings out is logged with its traceback and the film refused, so
    that the rest of an archive is still done.
    """
    from edge_pneumo.edge_runtime.result import FilmResult

    try:
        examination = detector.examine(
            task.source, operating_point=setup.operating_point, force=setup.force, name=task.name
        )
    except FilmRefused as refusal:
        return Outcome(FilmResult.refused(task.name, refusal.reason, str(refusal)))
    except ModelFileError as error:  # the network answers with NaN, say: not a bug, and not the next film's fault
        return Outcome(FilmResult.refused(task.name, "unreadable", f"{task.name}: {error}"))
    except MemoryError:
        message = f"{task.name} needs more memory than this machine has free"
        return Outcome(FilmResult.refused(task.name, "too-large", message))
    except Exception as error:
        _log_bug(task)
        message = f"{task.name} could not be read ({type(error).__name__}: {error})"
        return Outcome(FilmResult.refused(task.name, "unreadable", message))
    if not task.outputs:
        return Outcome(examination.result)
    from edge_pneumo.edge_runtime.outputs import write_output

    problems = []
    for kind, path in task.outputs.items():
        try:
            write_output(kind, path, task.source, examination, heat=setup.heat)
        except InputRefused as error:
            problems.append(str(error))
        except Exception as error:
            _log_bug(task)
            problems.append(f"{task.name}: no {kind} could be made ({type(error).__name__}: {error}).")
    return Outcome(examination.result, tuple(dict.fromkeys(problems)))  # what ails all DICOM kinds is said once


def _log_bug(task: Task) -> None:
    print(f"edge-pneumo: a bug shown by {task.name}, please report it:", file=sys.stderr)
    traceback.print_exc()


def send(stream: RawIOBase, message: Any) -> None:
    """Write one frame: length, pickle."""
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    frame = memoryview(HEADER.pack(len(body)) + body)
    while frame:
        frame = frame[stream.write(frame) :]


def main() -> None:
    """Serve the parent until it closes the pipe."""
    for name in (signal.SIGINT, signal.SIGTERM):  # they may reach the whole group; the parent decides when to end
        signal.signal(name, signal.SIG_IGN)
    inbox, outbox = sys.stdin.buffer, os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # a native library that prints to stdout must not break into the frames
    with contextlib.suppress(BrokenPipeError, EOFError):  # the parent is gone, or has no more films
        setup: WorkerSetup = pickle.load(inbox)
        try:
            detector = open_detector(setup)
            if setup.outputs:  # highdicom takes seconds to import on a small computer: not on the first film's time
                from edge_pneumo.edge_runtime.outputs import prepare

                prepare(setup.outputs)
        except EdgePneumoError as error:
            send(outbox, Failure(type(error), str(error)))
            return
        send(outbox, Ready())
        while True:
            send(outbox, answer(detector, setup, pickle.load(inbox)))
