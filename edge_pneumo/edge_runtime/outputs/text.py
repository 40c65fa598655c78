"""Results as text: a table for eyes, JSON, JSON lines and CSV for programs. Each result is printed when it comes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from edge_pneumo.edge_runtime.result import SCHEMA, FilmResult, box_to_dict

FORMATS = ("table", "json", "jsonl", "csv")
CSV_COLUMNS = (
    "file",
    "status",
    "probability",
    "decision",
    "threshold",
    "boxes",
    "width",
    "height",
    "photometric",
    "transfer_syntax",
    "sop_instance_uid",
    "model",
    "model_version",
    "total_ms",
    "reason",
    "message",
    "warnings",
)
_NAME_WIDTH = 44


class Writer:
    """Prints results in one of `FORMATS`, whole lines at a time.

    Parameters
    ----------
    kind : one of `FORMATS`.
    write : takes text that ends with a line feed.
    single : one film was asked for: `json` is then its object itself and not a document with a list of films, and
        `table` also lists its boxes.
    """

    def __init__(self, kind: str, write: Callable[[str], Any], *, single: bool = False) -> None:
        self.kind, self.single, self.count = kind, single, 0
        self._write = write

    def result(self, result: FilmResult) -> None:
        """Print one film's result."""
        first, self.count = self.count == 0, self.count + 1
        if self.kind == "jsonl" or (self.kind == "json" and self.single):
            self._write(json.dumps(result.to_dict()) + "\n")
        elif self.kind == "json":
            opening = f'{{"schema": {SCHEMA}, "films": [\n' if first else ","
            self._write(opening + json.dumps(result.to_dict()) + "\n")
        elif self.kind == "csv":
            self._write((_csv_line(CSV_COLUMNS) if first else "") + _csv_line(_csv_row(result)))
        else:
            self._write(
                (_TABLE_HEAD if first else "") + table_line(result) + (_box_lines(result) if self.single else "")
            )

    def finish(self) -> None:
        """Print what closes the document, also after an interruption, so that it stays readable."""
        if self.kind == "json" and not self.single:
            self._write("]}\n" if self.count else f'{{"schema": {SCHEMA}, "films": []}}\n')


_TABLE_HEAD = f"{'film':{_NAME_WIDTH}}  {'finding':10}  {'probability':>11}  {'boxes':>5}  {'ms':>6}\n"


def table_line(result: FilmResult) -> str:
    """One line of the table; the end of a long name is kept, for it tells films apart."""
    name = printable(result.file)
    if len(name) > _NAME_WIDTH:
        name = "…" + name[-(_NAME_WIDTH - 1) :]
    if result.finding is None:
        return f"{name:{_NAME_WIDTH}}  {'refused':10}  {result.reason}: {printable(result.message or '')}\n"
    finding = result.finding
    words = "opacity" if finding.decision == "opacity" else "no opacity"
    total = result.timing_ms.get("total", 0.0)
    line = f"{name:{_NAME_WIDTH}}  {words:10}  {finding.probability:11.3f}  {len(finding.boxes):5d}  {total:6.1f}\n"
    return line + "".join(f"{'':4}! {printable(warning)}\n" for warning in result.warnings)


def _box_lines(result: FilmResult) -> str:
    return "".join(
        f"    box {number}: x {box.x1:.0f}, y {box.y1:.0f}, width {box.x2 - box.x1:.0f}, "
        f"height {box.y2 - box.y1:.0f}, score {box.score:.2f}\n"
        for number, box in enumerate(result.boxes, 1)
    )


def printable(text: str) -> str:
    """Text without control characters and broken encodings: a file's name must not steer the terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _csv_row(result: FilmResult) -> list[Any]:
    facts = result.to_dict()
    image, model = facts.get("image", {}), facts.get("model", {})
    boxes = ";".join("{x} {y} {width} {height} {score}".format(**box) for box in (box_to_dict(b) for b in result.boxes))
    return [
        printable(result.file),
        result.status,
        facts.get("probability"),
        facts.get("decision"),
        facts.get("threshold"),
        boxes,
        image.get("width"),
        image.get("height"),
        image.get("photometric"),
        image.get("transfer_syntax"),
        facts.get("sop_instance_uid"),
        model.get("name"),
        model.get("version"),
        facts.get("timing_ms", {}).get("total"),
        result.reason,
        printable(result.message or "") or None,
        "; ".join(result.warnings),
    ]


def _csv_line(values: Any) -> str:
    import csv
    import io

    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow("" if value is None else value for value in values)
    return buffer.getvalue()
