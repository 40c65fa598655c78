"""CSV tables with named columns, and messages that say which row is wrong."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence

from edge_pneumo.errors import DataError
from edge_pneumo.train.data.film import Fault
from edge_pneumo.train.data.store import Store, table_text


def read_table(
    store: Store, name: str, required: Sequence[str], faults: list[Fault] | None = None, optional: Sequence[str] = ()
) -> Iterator[tuple[int, list[str]]]:
    """Line number and the required columns of each row, in the order asked for; blank lines are left out.

    Parameters
    ----------
    optional : further columns; "" in every row where the table has none of that name.
    faults : takes rows that are too short, which are then left out.

    Raises
    ------
    DataError : the file cannot be read, has no header, lacks a column, or (without `faults`) a row is too short.
    """
    place = store.place(name)
    try:
        text = table_text(store.reader(name)(), place)
    except OSError as error:
        raise DataError(f"{place}: cannot be read ({error.strerror or error}).") from error
    yield from rows_of(text, place, required, faults, optional)


def rows_of(
    text: str, place: str, required: Sequence[str], faults: list[Fault] | None = None, optional: Sequence[str] = ()
) -> Iterator[tuple[int, list[str]]]:
    """The same for text already in memory; `place` is its name in messages."""
    reader = csv.reader(text.splitlines())
    header = [column.strip() for column in next(_rows(reader, place), [])]
    missing = [column for column in required if column not in header]
    if missing:
        raise DataError(
            f"{place}: missing column{'s' * (len(missing) > 1)} {', '.join(missing)}. "
            f"Expected {', '.join(required)}; found {', '.join(header) or 'an empty file'}.{_separator_hint(header)}"
        )
    wanted = [header.index(column) for column in required]
    last = max(wanted)
    further = [header.index(column) if column in header else None for column in optional]
    for row in _rows(reader, place):
        if not any(row):
            continue
        if len(row) <= last:
            where, detail = f"{place} line {reader.line_num}", f"{len(row)} fields where the header has {len(header)}"
            if faults is None:
                raise DataError(f"{where}: {detail}.")
            faults.append(Fault("bad-value", "stop", where, detail))
            continue
        more = ["" if i is None or i >= len(row) else row[i] for i in further]
        yield reader.line_num, [*(row[i] for i in wanted), *more]


def _rows(reader: Iterator[list[str]], place: str) -> Iterator[list[str]]:
    """The reader's rows; what it chokes on (a cell of megabytes, say) is said as a fault of the table."""
    try:
        yield from reader
    except csv.Error as error:
        raise DataError(f"{place}: not a csv table ({error}).") from error


def _separator_hint(header: Sequence[str]) -> str:
    other = next((name for sign, name in ((";", "semicolons"), ("\t", "tabs")) if any(sign in h for h in header)), "")
    return f" Its columns are separated by {other}: save it with commas." if other else ""


def number(text: str) -> float | None:
    """A finite number, or None for an empty cell.

    Raises
    ------
    ValueError : it is neither.
    """
    text = text.strip()
    return None if not text or text.lower() in ("nan", "none", "null") else finite(text)


def finite(value: str | float) -> float:
    """A finite number from text or JSON.

    Raises
    ------
    ValueError : it is none.
    """
    if not math.isfinite(found := float(value)):
        raise ValueError(f"{value!r} is not a finite number")
    return found
