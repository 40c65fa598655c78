"""A study as a picture: mean over seeds as a dot, the least and the most (of seeds or folds) as a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_pneumo.edge_runtime.files import atomic_write

SHOWN = (("auc", "AUC"), ("rsna_score", "RSNA score"))


def draw_study(path: Path, result: dict[str, Any]) -> None:
    """Draw the result of `run_study` as SVG.

    Against milliseconds of inference where every variant was converted, against the share of the films where shares
    differ, and otherwise one line a variant with a rule at the first.
    """
    import matplotlib
    from matplotlib.figure import Figure

    rows = result["variants"]
    timed = all("int8" in row for row in rows)
    shared = len({row["share"] for row in rows}) > 1
    height = 3.4 if timed or shared else 1.2 + 0.36 * len(rows)
    with matplotlib.rc_context({"svg.hashsalt": result["study"]}):
        figure = Figure(figsize=(9, height), layout="constrained")
        axes = figure.subplots(1, 2, sharey=not (timed or shared))
        for axis, (name, title) in zip(axes, SHOWN, strict=True):
            if timed:
                _against(
                    axis, rows, name, [row["int8"]["invoke_ms"] for row in rows], "ms of inference, int8, one core", "o"
                )
                for row in rows:
                    place = row["int8"]["invoke_ms"], row["figures"][name]["mean"]
                    text = f"{row['name']}, {row['int8']['bytes'] / 1e6:.1f} MB"
                    axis.annotate(text, place, textcoords="offset points", xytext=(7, -3), fontsize=8)
                axis.margins(y=0.15)
                axis.set_xlim(0, 1.4 * max(row["int8"]["invoke_ms"] for row in rows))
            elif shared:
                _against(axis, rows, name, [100 * row["share"] for row in rows], "per cent of the patients", "o-")
                axis.set_xlim(0, 110)
            else:
                _beside(axis, rows, name)
            axis.set_title(title, fontsize=10)
            axis.grid(alpha=0.3)
        with atomic_write(path, "w") as stream:
            figure.savefig(stream, format="svg", metadata={"Date": None})


def _against(axis: Any, rows: list[dict[str, Any]], name: str, x: list[float], label: str, style: str) -> None:
    order = sorted(range(len(rows)), key=x.__getitem__)
    figures = [rows[k]["figures"][name] for k in order]
    places = [x[k] for k in order]
    axis.plot(places, [f["mean"] for f in figures], style)
    axis.vlines(places, [f["least"] for f in figures], [f["most"] for f in figures], alpha=0.6)
    axis.set_xlabel(label)


def _beside(axis: Any, rows: list[dict[str, Any]], name: str) -> None:
    figures = [row["figures"][name] for row in rows]
    places = list(range(len(rows)))[::-1]
    axis.hlines(places, [f["least"] for f in figures], [f["most"] for f in figures], alpha=0.6)
    for place, row in zip(places, rows, strict=True):
        each = [run[name] for run in row["runs"] if run.get(name) is not None]
        axis.plot(each, [place] * len(each), "|", color="C0")
    axis.plot([f["mean"] for f in figures], places, "o", color="C0")
    axis.axvline(figures[0]["mean"], linewidth=0.8, linestyle="--", alpha=0.6)
    axis.set_yticks(places, [row["name"] for row in rows])
    axis.margins(y=0.1)
