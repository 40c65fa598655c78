"""The evaluator's JSON as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TITLES = {
    "auc": "AUC",
    "average_precision": "average precision",
    "sensitivity": "sensitivity (recall)",
    "specificity": "specificity",
    "precision": "precision (PPV)",
    "negative_predictive_value": "negative predictive value",
    "f1": "F1",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "ece": "calibration error (ECE)",
    "brier": "Brier score",
    "rsna_score": "RSNA challenge score",
    "ap50": "AP at IoU .50",
    "coco_ap": "COCO AP",
    "mean_iou": "mean IoU",
}
ATTRIBUTES = {"sex": "Sex", "age_band": "Age", "view": "View"}


def spell(figure: Mapping[str, float | None] | None, places: int = 3) -> str:
    """`.812 (.74 to .88)`, or `-` for a figure that does not exist."""
    if not figure or figure["value"] is None:
        return "-"
    text = f"{figure['value']:.{places}f}"
    return text if figure["low"] is None else f"{text} ({figure['low']:.{places}f} to {figure['high']:.{places}f})"


def to_text(result: Mapping[str, Any]) -> str:
    """The result as lines: figures with their 95 % intervals, classes, subgroups, baselines, warnings."""
    lines = [*_head(result), "", *_figures(result), "", *_points(result), *_classes(result), ""]
    lines += [*_subgroups(result), "", *_baselines(result)]
    if result["warnings"]:
        lines += ["", *(f"warning: {text}" for text in result["warnings"])]
    return "\n".join(lines)


def _head(result: Mapping[str, Any]) -> list[str]:
    model, data = result["model"], result["data"]
    name = " ".join(str(model[key]) for key in ("name", "version") if model.get(key))
    place = f"{data['path']}, split {data['split']}" if data.get("path") else f"{data['n']} films"
    share = "" if result["prevalence"] is None else f", {result['prevalence']:.1%} with an opacity"
    films = f"{result['n']} films of {result['patients']} patients{share}; {result['refused']} refused"
    return [f"{name or 'model'} on {place}", films]


def _figures(result: Mapping[str, Any]) -> list[str]:
    threshold = result["threshold"]
    note = "95 % interval over patients" if result["bootstrap"]["replicates"] else "no intervals"
    lines = [f"{'figure':28} value ({note})"]
    lines += [f"{title:28} {spell(result[name])}" for name, title in TITLES.items()]
    lines += [f"{f'found at {rate} false a film':28} {spell(v)}" for rate, v in result["froc_sensitivity"].items()]
    cells = result["confusion"]
    if threshold is not None:
        text = f"tn {cells['tn']}  fp {cells['fp']}  fn {cells['fn']}  tp {cells['tp']}"
        lines.append(f"{f'confusion at {threshold:.3f}':28} {text}")
    return lines


def _points(result: Mapping[str, Any]) -> list[str]:
    if not result["operating_points"]:
        return []
    lines = [f"{'operating point':16} {'threshold':>9}  {'sensitivity':24} {'specificity':24} precision"]
    for name, row in result["operating_points"].items():
        cells = " ".join(f"{spell(row[key]):24}" for key in ("sensitivity", "specificity", "precision"))
        lines.append(f"{name:16} {row['threshold']:>9.3f}  {cells}".rstrip())
    return [*lines, ""]


def _classes(result: Mapping[str, Any]) -> list[str]:
    lines = [f"{'class':18} {'precision':>9} {'recall':>9} {'F1':>9} {'films':>7}"]
    for name, row in result["classes"].items():
        numbers = " ".join(f"{row[key]:>9.3f}" for key in ("precision", "recall", "f1"))
        lines.append(f"{name:18} {numbers} {row['support']:>7}")
    return lines


def _subgroups(result: Mapping[str, Any]) -> list[str]:
    lines = [f"{'subgroup':16} {'films':>6} {'with':>6}  {'AUC':24} {'sensitivity':24} specificity"]
    for attribute, rows in result["subgroups"].items():
        for value, row in rows.items():
            cells = " ".join(f"{spell(row[key]):24}" for key in ("auc", "sensitivity", "specificity"))
            mark = "  << behind" if row["warning"] else "" if row["judged"] else "  (too few to judge)"
            name = f"{ATTRIBUTES[attribute]} {value}"
            lines.append(f"{name:16} {row['n']:>6} {row['positives']:>6}  {cells.rstrip()}{mark}")
    return lines


def _baselines(result: Mapping[str, Any]) -> list[str]:
    rows = result["baselines"]
    prevalence = rows["prevalence"]
    return [
        f"without a network (learnt on {rows['learnt_on']})",
        f"{'view position alone':28} AUC {spell(rows['view']['auc'])}",
        f"{'prevalence alone':28} AUC {spell(prevalence['auc'])}; accuracy {spell(prevalence['accuracy'])}",
        f"{'mean boxes, gated by model':28} RSNA score {spell(rows['mean_boxes']['rsna_score'])}",
    ]
