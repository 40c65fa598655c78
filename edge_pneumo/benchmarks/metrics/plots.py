"""The evaluator's plots as inline SVG that takes its colours from the page, light or dark.

matplotlib draws with a few marker colours; they are then replaced by CSS variables (`--ink`, `--grid` and so on), so
that one picture serves both schemes. Its text stays text.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from typing import Any

# what matplotlib draws with -> what the page decides
_INK, _GRID, _MAIN, _SECOND, _SOFT = "#010101", "#020202", "#030303", "#040404", "#050505"
_VARIABLES = {
    _INK: "var(--ink)",
    _GRID: "var(--grid)",
    _MAIN: "var(--main)",
    _SECOND: "var(--second)",
    _SOFT: "var(--soft)",
}
# where no page decides: a picture that is a file of its own
_ON_WHITE = {_INK: "#1b1f24", _GRID: "#cfd5dc", _MAIN: "#0b63b0", _SECOND: "#c2410c", _SOFT: "#9db7d0"}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "edge-pneumo",  # the same data gives the same bytes
    "font.family": "sans-serif",
    "font.size": 10.5,
    "text.color": _INK,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
}


def draw(result: Mapping[str, Any]) -> dict[str, str]:
    """The plots of a result that can be drawn: name -> `<svg>` element.

    Names: roc, precision_recall, reliability, histogram, froc, subgroups_auc, subgroups_sensitivity.
    """
    curves = result["curves"]
    wanted: dict[str, tuple[bool, Callable[[Any, Mapping[str, Any]], None]]] = {
        "roc": (bool(curves["roc"]), _roc),
        "precision_recall": (bool(curves["precision_recall"]), _precision_recall),
        "histogram": (bool(curves["histogram"]), _histogram),
        "reliability": (bool(curves["reliability"]), _reliability),
        "froc": (bool(curves["froc"]), _froc),
    }
    drawn = {name: _svg(painter, result, (4.4, 3.7), name) for name, (there, painter) in wanted.items() if there}
    height = 0.9 + 0.3 * sum(len(rows) for rows in result["subgroups"].values())
    for figure, painter in (("auc", _forest_auc), ("sensitivity", _forest_sensitivity)):
        if any(row[figure]["value"] is not None for rows in result["subgroups"].values() for row in rows.values()):
            drawn[f"subgroups_{figure}"] = _svg(painter, result, (4.4, height), figure)
    return drawn


def draw_reliability(bins: list[dict[str, float]]) -> str:
    """The reliability diagram alone (`classification.reliability`), as an SVG file's text, dark on white."""
    svg = _svg(_reliability, {"curves": {"reliability": bins}}, (4.4, 3.7), "reliability")
    for marker, colour in _ON_WHITE.items():
        svg = svg.replace(_VARIABLES[marker], colour)
    return svg.replace("<svg", '<svg width="440" style="background:#fff"', 1)


def _svg(painter: Callable[[Any, Mapping[str, Any]], None], result: Mapping[str, Any], size: tuple, name: str) -> str:
    """Run a painter on a fresh figure and give its SVG with the page's colours."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        painter(figure, result)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r'\1 role="img"', text, count=1)
    # ids of clip paths and glyphs must not clash between the pictures of one page
    text = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", text)
    for marker, variable in _VARIABLES.items():
        text = text.replace(marker, variable)
    return re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px system-ui, sans-serif", text)


def _unit_axes(figure: Any, x: str, y: str) -> Any:
    axes = figure.subplots()
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), xlabel=x, ylabel=y)
    return axes


def _operating_marks(axes: Any, result: Mapping[str, Any], at: Callable[[Mapping[str, Any]], tuple]) -> None:
    for name, row in result["operating_points"].items():
        x, y = at(row)
        if x is not None and y is not None:
            axes.plot(x, y, "o", color=_SECOND, markersize=6)
            axes.annotate(name, (x, y), textcoords="offset points", xytext=(8, -10), fontsize=9.5)


def _roc(figure: Any, result: Mapping[str, Any]) -> None:
    axes = _unit_axes(figure, "1 − specificity (false alarms)", "sensitivity")
    axes.plot([0, 1], [0, 1], "--", color=_GRID, linewidth=1)
    axes.plot(result["curves"]["roc"]["x"], result["curves"]["roc"]["y"], color=_MAIN, linewidth=2)

    def at(row: Mapping[str, Any]) -> tuple:
        specificity = row["specificity"]["value"]
        return (None if specificity is None else 1 - specificity), row["sensitivity"]["value"]

    _operating_marks(axes, result, at)


def _precision_recall(figure: Any, result: Mapping[str, Any]) -> None:
    axes = _unit_axes(figure, "recall (sensitivity)", "precision")
    axes.axhline(result["prevalence"], linestyle="--", color=_GRID, linewidth=1)
    axes.annotate("prevalence", (0, result["prevalence"]), ha="left", va="bottom", fontsize=9.5)
    curve = result["curves"]["precision_recall"]
    axes.plot(curve["x"], curve["y"], color=_MAIN, linewidth=2)
    _operating_marks(axes, result, lambda row: (row["sensitivity"]["value"], row["precision"]["value"]))


def _histogram(figure: Any, result: Mapping[str, Any]) -> None:
    histogram = result["curves"]["histogram"]
    edges, width = histogram["edges"], histogram["edges"][1] - histogram["edges"][0]
    axes = figure.subplots()
    axes.set(xlim=(0, 1), xlabel="probability", ylabel="films")
    middle = [low + width / 2 for low in edges[:-1]]
    axes.bar(middle, histogram["negative"], width * 0.9, color=_SOFT, label="no opacity")
    axes.bar(middle, histogram["positive"], width * 0.9, bottom=histogram["negative"], color=_MAIN, label="opacity")
    if result["threshold"] is not None:
        axes.axvline(result["threshold"], color=_SECOND, linewidth=1.5, label="threshold")
    axes.grid(axis="x", visible=False)
    axes.legend(fontsize=9.5)


def _reliability(figure: Any, result: Mapping[str, Any]) -> None:
    axes = _unit_axes(figure, "probability said", "share with an opacity")
    axes.plot([0, 1], [0, 1], "--", color=_GRID, linewidth=1)
    bins = result["curves"]["reliability"]
    most = max(row["n"] for row in bins)
    x, y = [row["mean_probability"] for row in bins], [row["observed"] for row in bins]
    axes.plot(x, y, color=_MAIN, linewidth=1)
    axes.scatter(x, y, s=[20 + 140 * row["n"] / most for row in bins], color=_MAIN)
    for row in bins:
        axes.annotate(
            row["n"],
            (row["mean_probability"], row["observed"]),
            textcoords="offset points",
            xytext=(7, -11),
            fontsize=9,
        )


def _froc(figure: Any, result: Mapping[str, Any]) -> None:
    axes = figure.subplots()
    curve = result["curves"]["froc"]
    axes.step(curve["x"], curve["y"], where="post", color=_MAIN, linewidth=2)
    axes.set(xlim=(0, max(0.5, *curve["x"]) * 1.02), ylim=(-0.01, 1.02))
    axes.set(xlabel="false boxes a film", ylabel="share of opacities found")


def _forest_auc(figure: Any, result: Mapping[str, Any]) -> None:
    _forest(figure, result, "auc", "AUC")


def _forest_sensitivity(figure: Any, result: Mapping[str, Any]) -> None:
    _forest(figure, result, "sensitivity", "sensitivity")


def _forest(figure: Any, result: Mapping[str, Any], name: str, title: str) -> None:
    """A line for each subgroup: value and interval; the dashed line is all films."""
    from edge_pneumo.benchmarks.metrics.table import ATTRIBUTES

    axes = figure.subplots()
    if result[name]["value"] is not None:
        axes.axvline(result[name]["value"], linestyle="--", color=_GRID, linewidth=1)
    labels = []
    for attribute, rows in result["subgroups"].items():
        for value, row in rows.items():
            y, found, color = len(labels), row[name], _SECOND if row["warning"] else _MAIN if row["judged"] else _SOFT
            labels.append(f"{ATTRIBUTES[attribute]} {value} ({row['n']})")
            if found["low"] is not None:
                axes.plot([found["low"], found["high"]], [y, y], color=color, linewidth=2)
            if found["value"] is not None:
                axes.plot(found["value"], y, "o", color=color, markersize=5)
    axes.set(xlim=(-0.02, 1.02), ylim=(len(labels) - 0.5, -0.5), xlabel=title)
    axes.set_yticks(range(len(labels)), labels)
    axes.grid(axis="y", visible=False)
