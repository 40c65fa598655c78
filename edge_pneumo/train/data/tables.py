"""CSV tables with named columns, and messages that say which row is wrong."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence

from edge_pneumo.errors import DataError
from edge_pneumo.train.data.store import Store, table_text


def read_table(store: Store, name: str, required: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Line number and the required columns of each row, in the order asked for; blank lines are left out.

    Raises
    ------
    DataError : the file cannot be read, has no header, lacks a column, or a row is too short.
    """
    place = store.place(name)
    try:
        text = table_text(store.reader(name)(), place)
    except OSError as error:
        raise DataError(f"{place}: cannot be read ({error.strerror or error}).") from error
    yield from rows_of(text, place, required)


def rows_of(text: str, place: str, required: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """The same for text already in memory; `place` is its name in messages."""
    reader = csv.reader(text.splitlines())
    header = [column.strip() for column in next(reader, [])]
    missing = [column for column in required if column not in header]
    if missing:
        raise DataError(
            f"{place}: missing column{'s' * (len(missing) > 1)} {', '.join(missing)}. "
            f"Expected {', '.join(required)}; found {', '.join(header) or 'an empty file'}."
        )
    wanted = [header.index(column) for column in required]
    last = max(wanted)
    for row in reader:
        if not any(row):
            continue
        if len(row) <= last:
            raise DataError(f"{place} line {reader.line_num}: {len(row)} fields where the header has {len(header)}.")
        yield reader.line_num, [row[i] for i in wanted]


def number(text: str) -> float | None:
    """A finite number, or None for an empty cell.

    Raises
    ------
    ValueError : it is neither.
    """
    text = text.strip()
    if not text or text.lower() in ("nan", "none", "null"):
        return None
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a finite number")
    return value
