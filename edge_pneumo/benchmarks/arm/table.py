"""Instruction counts for people: a table for the terminal, and a Markdown page for the repository."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from edge_pneumo.benchmarks.arm.count import CLASSES, UNIT
from edge_pneumo.benchmarks.arm.estimate import FACTOR, REFERENCES

FACTS = ("board", "model", "precision", "work")
GUESS = (
    "ROUGH ESTIMATE of one inference of the network alone on a real board, 4 threads. Nobody ran it there: it is a "
    f"ratio to one published time a board, and may be wrong by a factor of {FACTOR:g} or more (docs/arm.md)"
)


def to_text(result: dict[str, Any]) -> str:
    """The table: millions of instructions, one row a board and work."""
    head = f"Millions of guest {UNIT} (QEMU {result['qemu']}, one thread, warm)"
    table: list[tuple[str, ...]] = [(*FACTS, *CLASSES)]
    for row in result["rows"]:
        table.append((*(str(row[name]) for name in FACTS), *(_millions(row[name]) for name in CLASSES)))
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    lines = []
    for line in table:
        facts = [f"{cell:<{width}}" for cell, width in zip(line[:4], widths[:4], strict=True)]
        numbers = [f"{cell:>{width}}" for cell, width in zip(line[4:], widths[4:], strict=True)]
        lines.append("  ".join(facts + numbers))
    guesses = [f"  {row['board']} {row['model']}: {_guess(row)}" for row in _guessed(result)]
    return "\n".join([head, *lines, *([f"{GUESS}:", *guesses] if guesses else [])])


def to_markdown(result: dict[str, Any]) -> str:
    """The page `docs/results/arm-instructions.md`: all counts, what int8 and our runtime save, and the estimates."""
    versions = f"QEMU {result['qemu']}, Python {result['python']}, {', '.join(result['wheels'])}"
    rows = result["rows"]
    parts = [
        "# Instructions on emulated Raspberry Pis: not time",
        f"Written by `edge-pneumo benchmark arm --markdown`; what the rows mean: [arm.md](../arm.md). {versions}.",
        f"Millions of guest {UNIT}; the third run of three, one thread:",
        _markdown(
            (*FACTS, *(name.replace("_", " ") for name in CLASSES)),
            ((*(str(row[name]) for name in FACTS), *(_millions(row[name]) for name in CLASSES)) for row in rows),
        ),
    ]
    detectors = [row for row in rows if not row.get("bare")]  # the float file of a detector may have another name
    if pairs := list(_pairs(detectors, ("board", "size_px", "work"), "precision", ("float32", "int8"))):
        parts += [
            "## What int8 saves",
            _markdown(("board", "size px", "work", "float32", "int8", "times fewer"), pairs),
        ]
    if pairs := list(_pairs(rows, ("board", "model", "precision"), "work", ("plain", "film"))):
        parts += [
            "## What our runtime saves on a whole film",
            _markdown(("board", "model", "precision", "plain", "ours", "times fewer"), pairs),
        ]
    if guessed := _guessed(result):
        anchors = "; ".join(
            f"{board} {reference.published_ms:g} ms for {_millions(reference.counted)} million"
            for board, reference in REFERENCES.items()
        )
        parts += [
            "## Rough estimates, not measurements",
            f"{GUESS.replace('docs/arm.md', '[arm.md](../arm.md)')}. Published: {anchors}.",
            _markdown(("board", "model", "estimate"), ((row["board"], row["model"], _guess(row)) for row in guessed)),
        ]
    return "\n\n".join(parts) + "\n"


def _pairs(
    rows: list[dict[str, Any]], same: tuple[str, ...], by: str, values: tuple[str, str]
) -> Iterable[tuple[str, ...]]:
    """Totals of rows that agree in `same` and whose `by` is the first and the second of `values`, and their ratio."""
    totals = {(*(row[name] for name in same), row[by]): row["total"] for row in rows}
    for (*facts, value), total in totals.items():
        if value == values[1] and (other := totals.get((*facts, values[0]))):
            yield (*map(str, facts), _millions(other), _millions(total), f"{other / total:.2f}")


def _guessed(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in result["rows"] if "estimated_ms_4_threads" in row]


def _guess(row: dict[str, Any]) -> str:
    value = row["estimated_ms_4_threads"]
    return f"somewhere around {value:.2g} ms (from {value / FACTOR:.2g} to {value * FACTOR:.2g})"


def _millions(count: float) -> str:
    return f"{count / 1e6:.2f}"


def _markdown(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    table = list(rows)
    numeric = [bool(table) and all(_is_number(row[column]) for row in table) for column in range(len(head))]
    rule = tuple("--:" if number else "---" for number in numeric)
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *table))


def _is_number(cell: str) -> bool:
    return cell.replace(".", "").isdigit()
