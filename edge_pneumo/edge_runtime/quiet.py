"""Keep a runtime's chatter off the user's terminal: C++ code writes to descriptors 1 and 2, not to `sys.stderr`."""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_one_at_a_time = threading.Lock()
# LiteRT's own log lines: `INFO: …`, `WARNING: [file.cc:12] …`, and the second lines of nested ones
_CHATTER = (b"INFO: ", b"VERBOSE: ", b"WARNING: [", b"\xe2\x94\x94 ")


@contextmanager
def quiet_runtime(*, everything: bool = False) -> Iterator[list[str]]:
    """Hold back what is written to standard error while the block runs, then pass on all but LiteRT's informational
    lines.

    Parameters
    ----------
    everything : hold back standard output too (LiteRT's GPU part writes there, where only our data may go) and pass on
        nothing; for a caller that turns the log into a message of its own.

    Yields
    ------
    a list that holds the lines once the block has ended.
    """
    log: list[str] = []
    with _one_at_a_time:
        try:
            held = _memory_file()
            saved = {number: os.dup(number) for number in ((1, 2) if everything else (2,))}
        except OSError:  # no such stream, or nowhere to hold it: then nothing is kept quiet
            yield log
            return
        if everything:
            _flush()
        for number in saved:
            os.dup2(held, number)
        try:
            yield log
        finally:
            if everything:
                _flush()
            for number, original in saved.items():
                os.dup2(original, number)
            os.lseek(held, 0, os.SEEK_SET)
            with os.fdopen(held, "rb") as lines:
                for line in lines:
                    log.append(line.decode("utf-8", "replace").rstrip())
                    if not everything and not line.startswith(_CHATTER):
                        os.write(2, line)
            for original in saved.values():
                os.close(original)


def _flush() -> None:
    """Empty Python's and C's buffers, so that each line lands on its own side of the switch."""
    sys.stdout.flush()
    if sys.platform != "win32":
        ctypes.CDLL(None).fflush(None)


def _memory_file() -> int:
    """A descriptor to write to and read back; in memory where the system can (a Pi's disk may be read-only)."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("edge-pneumo-log")
    with tempfile.TemporaryFile() as stream:
        return os.dup(stream.fileno())
