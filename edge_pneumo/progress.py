"""How far a long job is, on stderr: a bar on a terminal, elsewhere a plain line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

LINE_EVERY_S = 10.0


def watched(items: Iterable[T], n: int, what: str, *, show: bool = True, every_s: float = LINE_EVERY_S) -> Iterator[T]:
    """Pass the items on, and say how far of `n` it is; quick jobs off a terminal say nothing."""
    if not show:
        yield from items
    elif sys.stderr.isatty():
        import click

        with click.progressbar(items, length=n, label=what, file=sys.stderr) as bar:
            yield from bar
    else:
        said = time.monotonic()
        for i, item in enumerate(items, 1):
            if time.monotonic() - said > every_s:
                said = time.monotonic()
                print(f"{what}: {i} of {n}", file=sys.stderr, flush=True)
            yield item
