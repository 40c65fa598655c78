"""The page's charts: matplotlib draws each twice, wide and narrow, as SVG whose colours are the page's CSS variables,
so that one drawing serves light, dark and print. Text stays text.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from edge_pneumo.benchmarks.report.filters import digits
from edge_pneumo.benchmarks.report.sustained import PANELS, throttled, told

# Colours that matplotlib writes, and the CSS variables that replace them.
INK, MUTED, RULE, PAPER = "#010101", "#020202", "#030303", "#040404"
SERIES = ("#010110", "#010120", "#010130", "#010140", "#010150", "#010160")
VARIABLES = {INK: "--ink", MUTED: "--muted", RULE: "--rule", PAPER: "--paper"} | {
    colour: f"--c{index}" for index, colour in enumerate(SERIES, 1)
}

WIDE, SQUARE, NARROW = 9.0, 4.4, 3.9
"""Widths in inches; the page shows one or the other, scaled to its column."""

STAGE_NAMES = {
    "read": "read the file",
    "preprocess": "preprocess",
    "invoke": "network",
    "decode": "decode",
    "write": "write",
}
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a device may be called "$5 board"
    "font.family": "sans-serif",
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}

Draw = Callable[[Any, float], None]


def draw_all(view: dict[str, Any]) -> dict[str, dict[str, str] | None]:
    """SVG text by chart, {"wide", "narrow"} each; None where there is nothing to draw."""
    latency = [row for row in view["latency"] if not row["software"]]
    models = {(row["model"], row["precision"]) for row in view["pareto"]}
    plans: dict[str, tuple[bool, Draw, float]] = {
        "latency": (bool(latency), lambda fig, w: _latency(fig, latency, w), 0.5 + 0.46 * len(latency)),
        "stages": (bool(latency), lambda fig, w: _stages(fig, latency, w), 0.95 + 0.46 * len(latency)),
        "pareto": (len(view["pareto"]) > 0, lambda fig, w: _pareto(fig, view["pareto"]), 3.2 + legend(len(models))),
        "threads": (
            bool(view["threads"]),
            lambda fig, w: _threads(fig, view["threads"], w),
            2.9 + legend(len(view["threads"])),
        ),
        "sustained": (
            bool(view["sustained"]),
            lambda fig, w: _sustained(fig, view["sustained"]),
            2.4 + len(told(view["sustained"])) + legend(len(view["sustained"])),
        ),
        "agreement": (
            bool(view["agreement"]),
            lambda fig, w: _agreement(fig, view["agreement"]),
            3.4 + legend(len(view["agreement"])),
        ),
    }
    several = len({row["device"] for row in latency}) > 1
    taller = 0.16 * len(latency) * several  # inches, for names of two lines
    lines: dict[str, float] = {"latency": taller, "stages": taller}
    drawn: dict[str, dict[str, str] | None] = {}
    for name, (wanted, draw, height) in plans.items():
        drawn[name] = (
            {
                "wide": figure_svg(draw, SQUARE if name == "agreement" else WIDE, height, f"{name}-wide"),
                "narrow": figure_svg(draw, NARROW, height + lines.get(name, 0.0), f"{name}-narrow"),
            }
            if wanted
            else None
        )
    return drawn


def legend(lines: int) -> float:
    """Inches that a legend of more than four lines takes, or it would leave no room for the picture."""
    return 0.18 * max(0, lines - 4)


def figure_svg(draw: Draw, width: float, height: float, salt: str) -> str:
    """Run `draw(figure, width)` and return its SVG with CSS colours and no ids that another chart might have."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**SETTINGS, "svg.hashsalt": salt}):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure, width)
        out = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        with warnings.catch_warnings():  # the browser has the fonts that matplotlib misses
            warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
            figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    return themed(out.getvalue(), salt)


def themed(svg: str, salt: str) -> str:
    """Strip the XML prologue, fixed sizes and metadata; put CSS variables for colours; make ids unique by `salt`."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{salt}-\1"', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{salt}-", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg.replace("<svg ", '<svg role="img" ', 1)


def _axes_for_bars(figure: Any, rows: Sequence[dict[str, Any]]) -> Any:
    axes = figure.subplots()
    axes.set_ylim(len(rows) - 0.35, -0.75)
    axes.set_yticks([])
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("milliseconds a film")
    return axes


def _label(axes: Any, row: dict[str, Any], index: int, many: bool, width: float) -> None:
    """A bar's number and name above it: two lines where the picture is narrow and devices are to be told apart.

    The number comes first, since a long name is cut at the end of the line.
    """
    room = 130 if width == WIDE else 62  # letters of a line
    words = f"{digits(row['p50'])} ms{' (unstable)' if row['unstable'] else ''} · {row['name']}"
    if many and width == WIDE:
        words = f"{words} · {row['device']}"
    elif many:
        words = f"{shortened(row['device'], room)}\n{shortened(words, room)}"
    words = words if "\n" in words else shortened(words, room)
    place = {"xytext": (0, 1.5), "textcoords": "offset points", "va": "bottom"}
    note = axes.annotate(words, (0, index - 0.3), fontsize=7.8, **place)
    note.set_in_layout(False)  # or a long name would squeeze the bars


def shortened(text: str, letters: int) -> str:
    """`text`, or its beginning and an ellipsis, so that it is no longer than `letters`."""
    return text if len(text) <= letters else text[: letters - 1].rstrip() + "…"


def _latency(figure: Any, rows: Sequence[dict[str, Any]], width: float) -> None:
    """Bars at the median; a thin line on to the 90th, and a dot at the 99th percentile."""
    axes = _axes_for_bars(figure, rows)
    devices = list(dict.fromkeys(row["device"] for row in rows))
    for index, row in enumerate(rows):
        colour = SERIES[devices.index(row["device"]) % len(SERIES)]
        axes.barh(index, row["p50"], height=0.42, color=colour, alpha=0.45 if row["unstable"] else 1.0)
        axes.plot([row["p50"], row["p90"]], [index, index], color=INK, linewidth=1.1)
        axes.plot([row["p99"]], [index], marker="o", markersize=3.4, color=INK, markerfacecolor=PAPER)
        _label(axes, row, index, len(devices) > 1, width)
    axes.set_xlim(0, _bar_limit(rows))


def _bar_limit(rows: Sequence[dict[str, Any]]) -> float:
    """Right end of the latency axis: one row with wild outliers must not flatten all bars."""
    medians = [row["p50"] for row in rows]
    tails = [row["p99"] for row in rows]
    return min(1.05 * max(tails), 2.5 * max(medians))


def _stages(figure: Any, rows: Sequence[dict[str, Any]], width: float) -> None:
    """Mean milliseconds of each stage, stacked."""
    axes = _axes_for_bars(figure, rows)
    many = len({row["device"] for row in rows}) > 1
    for index, row in enumerate(rows):
        left = 0.0
        for number, (stage, name) in enumerate(STAGE_NAMES.items()):
            span = row["stages"].get(stage, 0.0)
            axes.barh(index, span, left=left, height=0.42, color=SERIES[number], label=name if index == 0 else None)
            left += span
        _label(axes, row, index, many, width)
    axes.set_xlim(0, None)
    figure.legend(
        loc="outside upper left", ncols=5 if width == WIDE else 2, handlelength=1, columnspacing=1.2, labelcolor=INK
    )


def _pareto(figure: Any, rows: Sequence[dict[str, Any]]) -> None:
    """AUC against median latency; the area of a dot is the model file's size; the line joins what nothing beats."""
    axes = figure.subplots()
    names = list(dict.fromkeys((row["model"], row["precision"]) for row in rows))
    largest = max(row["bytes"] or 1 for row in rows)
    for row in rows:
        colour = SERIES[names.index((row["model"], row["precision"])) % len(SERIES)]
        low, high = row["auc_interval"] or (None, None)
        if low is not None:
            axes.plot([row["p50"]] * 2, [low, high], color=colour, linewidth=1, alpha=0.5)
        axes.scatter(
            row["p50"], row["auc"], s=25 + 170 * (row["bytes"] or 1) / largest, color=colour, alpha=0.85, linewidths=0
        )
    front = pareto_front([(row["p50"], row["auc"]) for row in rows])
    axes.plot([x for x, _ in front], [y for _, y in front], color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=3)
    for index, (model, precision) in enumerate(names):
        axes.scatter(
            [], [], s=40, color=SERIES[index % len(SERIES)], label=shortened(f"{model} {precision}", 60), linewidths=0
        )
    figure.legend(loc="outside upper left", handlelength=1, labelcolor=INK)
    axes.set(xlabel="median milliseconds a film", ylabel="AUC (line: 95 % interval)")
    if max(row["p50"] for row in rows) > 5 * min(row["p50"] for row in rows):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: digits(value))
        axes.xaxis.set_minor_formatter(lambda value, _: digits(value) if str(value)[0] in "25" else "")
        axes.margins(x=0.12)
    else:
        axes.set_xlim(0, 1.1 * max(row["p50"] for row in rows))  # room for the last dot


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points that no other beats in both (lower first, higher second), by rising first coordinate."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return front


def _threads(figure: Any, lines: Sequence[dict[str, Any]], width: float) -> None:
    """Median latency against threads."""
    axes = figure.subplots()
    ticks = sorted({int(x) for line in lines for x, _ in line["points"]})
    many = len({line["device"] for line in lines}) > 1
    for index, line in enumerate(lines):
        label = f"{line['device']} · {line['name']}" if many else line["name"]
        style = "-" if index < len(SERIES) else "--"
        axes.plot(
            *zip(*line["points"], strict=True),
            style,
            marker="o",
            markersize=4,
            color=SERIES[index % len(SERIES)],
            label=shortened(label, 60),
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(0, 1.1 * max(y for line in lines for _, y in line["points"]))
    axes.set(xlabel="threads", ylabel="median ms a film")
    figure.legend(loc="outside upper left", ncols=2 if width == WIDE else 1, handlelength=1.4, labelcolor=INK)


def _sustained(figure: Any, runs: Sequence[dict[str, Any]]) -> None:
    """Latency over time under constant load; below it temperature and clock where the system tells them.

    A cross on the time axis is an interval in which the board throttled.
    """
    panels = told(runs)
    top, *below = figure.subplots(1 + len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for index, run in enumerate(runs):
        colour, points = SERIES[index % len(SERIES)], run["points"]
        minutes = [point["time_s"] / 60 for point in points]
        name = shortened(f"{run['device']} · {run['name']}", 60)
        top.plot(minutes, [point["p50_ms"] for point in points], color=colour, label=name)
        slowed = [x for x, point in zip(minutes, points, strict=True) if throttled(point)]
        if slowed:
            top.plot(slowed, [0] * len(slowed), "x", color=colour, markersize=5, clip_on=False)
        for axes, key in zip(below, panels, strict=True):
            axes.plot(minutes, [point.get(key) for point in points], color=colour)
    top.set_ylim(0, None)
    top.set_ylabel("median ms a film")
    for axes, key in zip(below, panels, strict=True):
        axes.set_ylabel(PANELS[key])
    (below or [top])[-1].set_xlabel("minutes under load")
    figure.legend(loc="outside upper left", handlelength=1.4, labelcolor=INK)


def _agreement(figure: Any, found: Sequence[dict[str, Any]]) -> None:
    """Probability of each film by the int8 network against the float one."""
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=RULE, linewidth=1)
    for index, pair in enumerate(found):
        axes.scatter(
            *zip(*pair["points"], strict=True),
            s=14,
            color=SERIES[index % len(SERIES)],
            alpha=0.75,
            linewidths=0,
            label=shortened(pair["device"], 60),
        )
        axes.axhline(pair["thresholds"][1], color=MUTED, linewidth=0.7, linestyle=(0, (4, 3)))
        axes.axvline(pair["thresholds"][0], color=MUTED, linewidth=0.7, linestyle=(0, (4, 3)))
    axes.set(
        xlabel="probability, float network",
        ylabel="probability, int8 network",
        xlim=(0, 1),
        ylim=(0, 1),
        aspect="equal",
    )
    if len(found) > 1:
        figure.legend(loc="outside upper left", handlelength=1, labelcolor=INK)
