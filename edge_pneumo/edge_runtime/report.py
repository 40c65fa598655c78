"""One run of `predict` from request to printed results: where they go, what is left out, what is said on stderr."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edge_pneumo.edge_runtime.batch import Request, look
from edge_pneumo.edge_runtime.worker import Outcome, Task
from edge_pneumo.errors import DataError, UsageFault

if TYPE_CHECKING:
    from edge_pneumo.edge_runtime.result import FilmResult

_ENDINGS = {".json": "json", ".jsonl": "jsonl", ".csv": "csv"}
_MESSAGES = 10  # problems spelled out on stderr; a full disk would say the same of every film
_EVERY_S = 30.0  # how often progress is told where there is no terminal


def run(request: Request, *, format_: str | None = None, output: str | None = None, skip_done: bool = False) -> bool:
    """Look at films and print the results.

    Parameters
    ----------
    request : films, model and output folders.
    format_ : one of `outputs.text.FORMATS`; None takes it from the ending of `output`, else "table".
    output : file for the results; None is stdout.
    skip_done : leave out films that `output`, or else the first output folder, has.

    Returns
    -------
    True when every film was answered and every output written.

    Raises
    ------
    DataError : no film was found.
    UsageFault : options that make no sense together.
    MissingExtra : DICOM outputs without highdicom; before any film is read.
    WriteFailed : the results cannot be written.
    """
    format_ = format_ or _ENDINGS.get(Path(output or "").suffix.lower(), "table")
    if set(request.outputs) & {"sr", "gsps", "sc"}:
        from edge_pneumo.edge_runtime.outputs.dicom import require_highdicom

        require_highdicom()
    tally = _Tally()
    skipped = 0

    def remember_skipped(is_done: Callable[[Task], bool]) -> Callable[[Task], bool]:
        def ask(task: Task) -> bool:
            nonlocal skipped
            done = is_done(task)
            skipped += done
            return done

        return ask

    if output not in (None, "-") and os.path.realpath(output) in {os.path.realpath(path) for path in request.paths}:
        raise UsageFault(f"the results would be written over the film {output}. Give -o another name.")
    if output is not None:  # results written into the folder of films are no film
        request = dataclasses.replace(request, leave_out=(output, f"{output}.part"))
    with _results(request, format_, output, skip_done) as (write, is_done):
        if is_done is not None:
            request = dataclasses.replace(request, is_done=remember_skipped(is_done))
        from edge_pneumo.edge_runtime.outputs.text import Writer

        writer = Writer(format_, write, single=_single(request))
        try:
            for outcome in look(request):
                writer.result(tally.add(outcome))
        finally:
            if writer.count or skipped:
                writer.finish()
        if not writer.count and not skipped:
            places = ", ".join(request.paths)
            raise DataError(f"no film in {places}. Give DICOM, PNG or JPEG files, or folders or zip files of them.")
    tally.summary(skipped)
    return not tally.refused and not tally.problems


def _single(request: Request) -> bool:
    """True when exactly one film was asked for by its own name."""
    if len(request.paths) != 1:
        return False
    path = request.paths[0]
    if path == "-" or not Path(path).is_file():
        return not Path(path).is_dir()
    with Path(path).open("rb") as stream:
        return stream.read(4) != b"PK\x03\x04"


@contextmanager
def _results(
    request: Request, format_: str, output: str | None, skip_done: bool
) -> Iterator[tuple[Callable[[str], object], Callable[[Task], bool] | None]]:
    """Where results go, and how to know a film that is done."""
    if skip_done and output is not None and format_ != "jsonl":
        raise UsageFault("--skip-done goes on with JSON lines only: give -o a name that ends with .jsonl.")
    if output is None or output == "-":
        if skip_done and not request.outputs:
            raise UsageFault("--skip-done needs a place that shows what is done: -o FILE.jsonl or --overlay DIR.")
        yield _to_stdout, _has_outputs if skip_done else None
    elif format_ == "jsonl":
        from edge_pneumo.edge_runtime.resume import ResultLines

        lines = ResultLines(output, resume=skip_done)
        if lines.models:
            lines.check_model(*_model_and_threshold(request))
        lines.start()
        try:
            yield lines.write, (lambda task: task.name in lines.done) if skip_done else None
        except BaseException:
            if lines.leave():
                print(f"edge-pneumo: stopped; what is done is in {lines.part}, --skip-done goes on.", file=sys.stderr)
            raise
        lines.finish()
    else:
        from edge_pneumo.edge_runtime.files import atomic_write

        try:
            with atomic_write(output, "w") as stream:
                yield stream.write, None
        except KeyboardInterrupt:
            hint = "a name that ends with .jsonl would have kept what is done"
            print(f"edge-pneumo: stopped; {output} was not written, {hint}.", file=sys.stderr)
            raise


def _to_stdout(text: str) -> None:
    # bytes, so that a name that is no valid text in this locale is printed all the same
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
    sys.stdout.buffer.flush()


def _has_outputs(task: Task) -> bool:
    return all(Path(path).exists() for path in task.outputs.values())


def _model_and_threshold(request: Request) -> tuple[str, float]:
    from edge_pneumo.edge_runtime.bundle import open_bundle

    bundle = open_bundle(request.setup.model, require_signature=request.setup.require_signature)
    spec = bundle.decode_spec
    name = request.setup.operating_point or spec.default_operating_point
    if name not in spec.operating_points:
        raise UsageFault(f"the model {bundle.name} has no operating point {name!r}; see `edge-pneumo inspect`.")
    return bundle.sha256, spec.operating_points[name]


class _Tally:
    """Counts, and what is said on stderr."""

    def __init__(self) -> None:
        self.started = self.told = time.monotonic()
        self.films = self.opacities = self.refused = self.problems = 0
        # results scrolling by on the terminal are progress enough
        self.live = sys.stderr.isatty() and not sys.stdout.isatty()

    def add(self, outcome: Outcome) -> FilmResult:
        """Count an outcome; returns its result with its problems among the warnings."""
        result = outcome.result
        self.films += 1
        self.refused += not result.ok
        self.opacities += result.decision == "opacity"
        for problem in outcome.problems:
            self.problems += 1
            if self.problems <= _MESSAGES:
                self._say(f"edge-pneumo: {problem}")
            elif self.problems == _MESSAGES + 1:
                self._say("edge-pneumo: further outputs could not be written; see the results' warnings.")
        now = time.monotonic()
        if now - self.told > (0.2 if self.live else _EVERY_S):
            self.told = now
            rate = self.films / (now - self.started)
            text = f"{self.films} films, {rate:.0f} a second, {self.refused} refused"
            print(f"\r{text}" if self.live else text, end="" if self.live else "\n", file=sys.stderr, flush=True)
        if outcome.problems:
            return dataclasses.replace(result, warnings=(*result.warnings, *outcome.problems))
        return result

    def summary(self, skipped: int) -> None:
        """One line when there were several films."""
        if self.films + skipped < 2:
            return
        seconds = time.monotonic() - self.started
        done = f"{skipped} were done before; " if skipped else ""
        self._say(
            f"{self.films} films in {seconds:.1f} s: {done}{self.opacities} opacity, "
            f"{self.films - self.opacities - self.refused} no opacity, {self.refused} refused. "
            "Research use only: not a medical device."
        )

    def _say(self, text: str) -> None:
        print(f"\r\x1b[K{text}" if self.live else text, file=sys.stderr, flush=True)
