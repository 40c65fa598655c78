"""Several runs of a study at once, each in a process of its own with its share of the cores."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import active_children, get_context
from typing import Any

Call = Callable[[Callable[[str], None]], Any]


def run_at_once(calls: Sequence[tuple[str, Call]], jobs: int) -> None:
    """Make calls that can be pickled, `jobs` at a time, each with a function that tells what it does on stderr.

    Parameters
    ----------
    calls : title, which its sentences begin with, and what to call.

    The first error stops what has not begun and is raised when what has begun is through; Ctrl-C and SIGTERM end that
    too.
    """
    context = get_context("spawn")  # TensorFlow does not survive a fork
    with ProcessPoolExecutor(jobs, context, _share_cores, (jobs,)) as pool:
        running = [pool.submit(_call, title, call) for title, call in calls]
        try:
            for one in as_completed(running):
                one.result()
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            if not isinstance(error, Exception):  # nobody waits an hour for what goes on from its last epoch anyway
                for child in active_children():
                    child.terminate()
            raise


def _call(title: str, call: Call) -> None:
    def say(sentence: str) -> None:
        sys.stderr.write(f"[{title}] {sentence}\n")  # at once: print writes the line's end apart, and runs would mix
        sys.stderr.flush()

    call(say)


def _share_cores(jobs: int) -> None:
    threads = str(max(len(os.sched_getaffinity(0)) // jobs, 1) if hasattr(os, "sched_getaffinity") else 1)
    os.environ.update(TF_NUM_INTRAOP_THREADS=threads, TF_NUM_INTEROP_THREADS="1")
    sys.stderr = _Lines(sys.stderr)


class _Lines:
    """A stream that does not say that it is a terminal: the bars of several processes would overwrite each other."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def isatty(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)
