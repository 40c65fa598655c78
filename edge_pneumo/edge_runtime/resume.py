"""Results in a file, so that an archive's run can be interrupted and gone on with.

While a run goes on its lines grow in `FILE.part`, each whole and flushed; `FILE` appears when the run has ended. With
`resume`, the films that either of them answers are done, and their lines are kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from edge_pneumo.edge_runtime.files import advice, atomic_write, is_special
from edge_pneumo.errors import DataError, UsageFault, WriteFailed


class ResultLines:
    """JSON lines growing in `path`.part, which takes the name `path` when `finish` is called.

    Parameters
    ----------
    path : the final name.
    resume : keep what an earlier run answered; `done` then has its films, `models` what answered them.

    Raises
    ------
    DataError : a line of an earlier run is no result.
    WriteFailed : the place cannot be read.
    """

    def __init__(self, path: str | Path, *, resume: bool = False) -> None:
        path = Path(path).resolve() if Path(path).is_symlink() else Path(path)
        self.path, self.part = path, Path(f"{path}.part")
        if is_special(self.path):
            raise UsageFault(
                f"{path} is no file, and JSON lines grow in one. Print them: leave out -o and pipe stdout."
            )
        self.done: set[str] = set()
        self.models: set[tuple[str, float]] = set()
        self._earlier = [p for p in (self.part, self.path) if resume and p.exists()]
        self._stream: IO[bytes] | None = None
        with _writing(self.path):
            for _ in self._earlier_lines():
                pass

    def check_model(self, sha256: str, threshold: float) -> None:
        """Raise UsageFault when the earlier lines came from another model or operating point: one file, one meaning."""
        for other_sha256, other_threshold in self.models:
            if (other_sha256, other_threshold) != (sha256, threshold):
                raise UsageFault(
                    f"{self.path} holds results of model {other_sha256[:12]} at threshold {other_threshold:g}; this "
                    f"run uses {sha256[:12]} at {threshold:g}. Give another -o, or the same --model and "
                    "--operating-point."
                )

    def start(self) -> None:
        """Open the .part file, with the earlier lines in it. Nothing was written before.

        Raises
        ------
        WriteFailed : the place cannot be written.
        """
        with _writing(self.part):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self._claimed()
            if self._earlier:
                self.done.clear()
                with atomic_write(self.part) as stream:
                    stream.writelines(self._earlier_lines())
                self._stream.close()
                self._stream = self._claimed()
            else:
                self._stream.truncate(0)

    def _claimed(self) -> IO[bytes]:
        stream = self.part.open("ab", buffering=0)
        _claim(stream, self.part)
        return stream

    def _earlier_lines(self) -> Iterator[bytes]:
        """Lines of earlier runs, one a film: an unfinished run's first, then a finished one's."""
        for path in self._earlier:
            with path.open("rb") as stream:
                for line in stream:
                    # what follows the last line feed of a .part file was being written when its run ended
                    if (path != self.part or line.endswith(b"\n")) and self._note(line, path):
                        yield line.rstrip(b"\n") + b"\n"

    def _note(self, line: bytes, where: Path) -> bool:
        """Remember a line's film and model; False when the film is known already."""
        try:
            answer: dict[str, Any] = json.loads(line)
            name = answer["file"]
            if answer["status"] == "ok":
                self.models.add((answer["model"]["sha256"], answer["threshold"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{where}: expected one result of `predict --format jsonl` a line, found {line[:60]!r}. "
                "Give another -o, or leave out --skip-done to write it anew."
            ) from error
        if name in self.done:
            return False
        self.done.add(name)
        return True

    def write(self, text: str) -> None:
        """Append whole lines; only after `start`."""
        if self._stream is None:
            raise ValueError("not started")
        data = memoryview(text.encode())
        with _writing(self.part):
            while data:
                data = data[self._stream.write(data) :]

    def finish(self) -> None:
        """Give the lines their final name."""
        if self._stream is None:
            raise ValueError("not started")
        with _writing(self.path):
            os.fsync(self._stream.fileno())
            self._stream.close()
            self.part.replace(self.path)

    def leave(self) -> bool:
        """Stop here; True when there are lines, which then stay in the .part file for a run with `resume`."""
        if self._stream is None:
            return False
        self._stream.close()
        if self.part.exists() and self.part.stat().st_size:
            return True
        self.part.unlink(missing_ok=True)
        return False


def _claim(stream: IO[bytes], part: Path) -> None:
    """Keep the file for this process, as long as it is open; two runs would write into each other's lines.

    Raises
    ------
    UsageFault : another run has it.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no such lock
        return
    try:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        stream.close()
        raise UsageFault(f"another run is writing {part}; wait for it, or give another -o.") from error
    except OSError:  # a file system without locks
        pass


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WriteFailed(f"cannot write {path}: {error.strerror or error}. {advice(error)}") from error
