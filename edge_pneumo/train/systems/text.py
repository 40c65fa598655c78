"""The results table as Markdown; every figure in it is taken from systems.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

BOX_SYSTEMS = ("detector", "mobilenetv2-box")
"""Rows that answer with boxes; the others have no box figures."""


def to_markdown(table: dict[str, Any]) -> str:
    """The table that `table.make_table` made, one section for each data set."""
    lines = [
        "# The reference report's systems and our detector, measured alike", "",
        "Made by `edge-pneumo benchmark systems`; every figure is in systems.json. In brackets: 95 % interval over "
        f"patients ({table['bootstrap']} resamples). Calibration and threshold of every row, the detector's too, were "
        "chosen on the data set's val split. Figures of a threshold (accuracy, F1, precision, recall) judged on val "
        "are therefore a little flattered, in all rows alike; AUC does not depend on the threshold.", "",
        f"Trained on {table['machine']['cores']} {table['machine']['architecture']} cores; seed {table['seed']}; "
        f"edge-pneumo {table['version']}; {_duration(_training_seconds(table))} of training in all. `ms a film` is "
        "file to answer in TensorFlow on that machine, not the light runtime.", "",
    ]  # fmt: skip
    if not table["complete"]:
        lines += ["**Unfinished**: run the same command again to go on.", ""]
    for name, data in table["data"].items():
        rows = [row for row in table["rows"] if row["data"] == name]
        if rows:
            lines += [*_section(name, data, rows), ""]
    return "\n".join(lines).rstrip() + "\n"


def _section(name: str, data: dict[str, Any], rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = [
        f"## Trained on {name} train, judged on {name} {data['judged_on']}", "",
        f"{data['train']} films to train on ({data['train_prevalence']:.1%} positive), {data['judged']} to judge "
        f"({data['judged_prevalence']:.1%} positive){_refused(rows)}; splits {data['split_hash'][:12]}.",
    ]  # fmt: skip
    done = [row for row in rows if row["status"] == "done"]
    if done:
        lines += [_without_a_network([row["baselines"] for row in done], data)]
    lines += ["", *_rows(("row", "system", "AUC", "accuracy", "precision", "recall", "F1", "report claims"), [
        (_row_number(row), _named(row), *_figures(row), _claims(row["reported"])) for row in rows
    ])]  # fmt: skip
    boxed = [row for row in done if row["system"] in BOX_SYSTEMS and row["rsna_score"]["value"] is not None]
    if boxed:
        lines += ["", *_rows(("system", "RSNA score", "AP50", "mean IoU"), [
            (_named(row), *(_interval(row, figure) for figure in ("rsna_score", "ap50", "mean_iou"))) for row in boxed
        ])]  # fmt: skip
    lines += ["", *_rows(("system", "start", "epochs", "parameters", "MB", "training", "ms a film"), [
        (_named(row), row["start"], str(row.get("epochs", "-")), _count(row.get("parameters")),
         f"{row['file_bytes'] / 1e6:.1f}", _duration(row.get("train_seconds")), f"{row['ms_per_film']:.0f}")
        for row in done
    ])]  # fmt: skip
    for row in rows:
        if row["status"] != "done":
            lines += ["", f"Row {_row_number(row)}, {row['title']}: {row['status']}. {row['reason']}"]
    return lines


def _without_a_network(baselines: Sequence[dict[str, Any]], data: dict[str, Any]) -> str:
    prevalence = data["judged_prevalence"]
    text = f"Without any network: always giving the commoner answer is {max(prevalence, 1 - prevalence):.1%} accurate"
    view = baselines[0].get("view", {}).get("auc", {}).get("value")
    if view is not None and view != 0.5:
        text += f"; the view position alone has AUC {view:.3f}"
    gated = [one.get("mean_boxes", {}).get("rsna_score", {}).get("value") for one in baselines]
    text += f"; how bright the middle of the film is has AUC {data['middle_brightness_auc']:.3f}"
    if boxes := [score for score in gated if score is not None]:
        text += f"; mean boxes, drawn where the best of these systems says so, have an RSNA score of {max(boxes):.3f}"
    return text + "."


def _rows(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)]


def _named(row: dict[str, Any]) -> str:
    """The title; with the recipe, where a system has several."""
    return f"{row['title']} (preset {row['preset']})" if "preset" in row else row["title"]


def _refused(rows: Sequence[dict[str, Any]]) -> str:
    """Films that were judged by no row, as none could or would be answered."""
    counts = sorted({row["refused"] for row in rows if row.get("refused")})
    return f", of which {' to '.join(map(str, counts))} were refused and are in no figure" if counts else ""


def _row_number(row: dict[str, Any]) -> str:
    return str(row["reference"] or "ours")


def _figures(row: dict[str, Any]) -> list[str]:
    if row["status"] != "done":
        return [row["status"], "-", "-", "-", "-"]
    return [_interval(row, figure) for figure in ("auc", "accuracy", "precision", "recall", "f1")]


def _interval(row: dict[str, Any], figure: str) -> str:
    found = row[figure]
    if found["value"] is None:
        return "-"
    if found["low"] is None:
        return f"{found['value']:.3f}"
    return f"{found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})"


def _claims(reported: dict[str, float]) -> str:
    short = {"accuracy": "acc", "auc": "AUC", "precision": "P", "recall": "R", "f1": "F1"}
    return ", ".join(f"{short[name]} {value:g}" for name, value in reported.items()) or "-"


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _training_seconds(table: dict[str, Any]) -> float:
    return sum(row.get("train_seconds") or 0.0 for row in table["rows"])


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
