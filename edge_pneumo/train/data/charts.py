"""Charts as text: HTML bars that fit any width, and SVG where a picture is needed.

Colours are classes of the page's style sheet, so that every chart follows the reader's light or dark theme.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import ArrayLike, NDArray

_WIDTH, _HEIGHT = 420, 230
_LEFT, _RIGHT, _BOTTOM, _TOP = 44, 14, 28, 10


def bars(values: Mapping[str, float], *, log: bool = False, unit: str = "", total: float | None = None) -> str:
    """One bar a value, with its figure and, given a `total`, its share."""
    scale = [np.log10(value + 1) if log else value for value in values.values()]
    most = max(scale, default=0) or 1
    rows = []
    for (name, value), length in zip(values.items(), scale, strict=True):
        share = f" <small>{100 * value / total:.1f} %</small>" if total else ""
        rows.append(
            f"<div class=bar><span>{escape(name)}</span><div><i style='width:{100 * length / most:.2f}%'></i></div>"
            f"<b>{_figure(value)}{unit}{share}</b></div>"
        )
    note = "<p class=note>Bars are on a logarithmic scale.</p>" if log else ""
    return f"<div class=bars>{''.join(rows)}</div>{note}"


def stacks(groups: Mapping[str, Mapping[str, float]], parts: Sequence[str]) -> str:
    """One bar a group, cut into the parts' shares, with a legend."""
    legend = "".join(f"<span><i class=c{i}></i>{escape(part)}</span>" for i, part in enumerate(parts))
    rows = []
    for group, counts in groups.items():
        total = sum(counts.values())
        cuts = "".join(
            f"<i class=c{i} style='flex:{counts[part]}' title='{escape(part, quote=True)}: {_figure(counts[part])} of "
            f"{_figure(total)}'></i>"
            for i, part in enumerate(parts)
            if counts.get(part)
        )
        few = " class=few" if total < 30 else ""
        rows.append(f"<div class=stack><span>{escape(group)}</span><div{few}>{cuts}</div><b>{_figure(total)}</b></div>")
    return f"<div class=legend>{legend}</div><div class=bars>{''.join(rows)}</div>"


def histogram(
    counts: Sequence[float], label: str, *, first: float = 0, step: float = 1, odd_above: float | None = None
) -> str:
    """Counts in bins from `first` on; bins above `odd_above` stand out."""
    most = max(counts, default=0) or 1
    width = (_WIDTH - _LEFT - _RIGHT) / max(1, len(counts))
    marks = []
    for i, count in enumerate(counts):
        if not count:
            continue
        start = first + i * step
        odd = odd_above is not None and start > odd_above
        tall = max(2.5, (_HEIGHT - _BOTTOM - _TOP) * count / most) if odd else (_HEIGHT - _BOTTOM - _TOP) * count / most
        marks.append(
            f"<rect class={'odd' if odd else 'c0'} x={_LEFT + i * width:.1f} y={_HEIGHT - _BOTTOM - tall:.1f} "
            f"width={max(0.6, width - 0.6):.1f} height={tall:.1f}><title>{start:g}: {_figure(count)}</title></rect>"
        )
    return _plot("".join(marks), label, most, first, first + len(counts) * step)


def lines(series: Mapping[str, Sequence[float]], label: str, last: float) -> str:
    """Shares (each series sums to 1) over 0 to `last`, drawn as filled lines."""
    most = max(max(values) for values in series.values()) or 1
    shapes = []
    for i, (name, values) in enumerate(series.items()):
        x = np.linspace(_LEFT, _WIDTH - _RIGHT, len(values))
        y = _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * np.asarray(values) / most
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        foot = f"{_WIDTH - _RIGHT},{_HEIGHT - _BOTTOM} {_LEFT},{_HEIGHT - _BOTTOM}"
        shapes.append(f"<polygon class='c{i} faint' points='{path} {foot}'/><polyline class=s{i} points='{path}'/>")
        shapes.append(f"<title>{escape(name)}</title>")
    legend = "".join(f"<span><i class=c{i}></i>{escape(name)}</span>" for i, name in enumerate(series))
    return f"<div class=legend>{legend}</div>" + _plot("".join(shapes), label, 100 * most, 0, last, unit=" %")


def heat(grid: ArrayLike, label: str, *, boxes: Mapping[str, Sequence[float]] | None = None, under: str = "") -> str:
    """A square map of counts, over an image (a data URI) where there is one, with outlined boxes in shares of it."""
    cells: NDArray[np.float64] = np.asarray(grid, float)
    n, most = len(cells), cells.max() or 1
    side = 100 / n
    marks = [_image(under) if under else "<rect class=film width=100 height=100 />"]
    for row, column in np.argwhere(cells > 0):
        count = cells[row, column]
        marks.append(
            f"<rect class=hot x={column * side:.3f} y={row * side:.3f} width={side:.3f} height={side:.3f} "
            f"fill-opacity={0.08 + 0.82 * count / most:.2f}><title>{count:.0f}</title></rect>"
        )
    for name, box in (boxes or {}).items():
        marks.append(_outline(box, f"mean box, {name}"))
    return _square("".join(marks), label)


def film(picture: str, boxes: Sequence[Sequence[float]], caption: str) -> str:
    """A film (a data URI) with boxes in shares of it, and words below."""
    outlines = "".join(_outline(box, "opacity") for box in boxes)
    return f"<figure>{_square(_image(picture) + outlines, caption)}<figcaption>{escape(caption)}</figcaption></figure>"


def _square(marks: str, label: str) -> str:
    name = escape(label, quote=True)
    return f"<svg class=square viewBox='0 0 100 100' role=img aria-label='{name}'>{marks}</svg>"


def _image(data_uri: str) -> str:
    return f"<image href='{data_uri}' width=100 height=100 />"


def _outline(box: Sequence[float], title: str) -> str:
    x1, y1, x2, y2 = (100 * side for side in box)
    place = f"x={x1:.2f} y={y1:.2f} width={x2 - x1:.2f} height={y2 - y1:.2f}"
    return f"<rect class=outline {place}><title>{escape(title)}</title></rect>"


def _plot(marks: str, label: str, top: float, first: float, last: float, unit: str = "") -> str:
    base = _HEIGHT - _BOTTOM
    axis = [f"<line x1={_LEFT} x2={_WIDTH - _RIGHT} y1={base} y2={base} class=axis />"]
    for share in (0.5, 1.0):
        y = base - share * (base - _TOP)
        axis.append(f"<line x1={_LEFT} x2={_WIDTH - _RIGHT} y1={y:.1f} y2={y:.1f} class=grid />")
        axis.append(f"<text x={_LEFT - 5} y={y + 4:.1f} text-anchor=end>{_figure(top * share)}{unit}</text>")
    for value in _ticks(first, last):
        x = _LEFT + (value - first) / (last - first) * (_WIDTH - _RIGHT - _LEFT)
        axis.append(f"<text x={x:.1f} y={_HEIGHT - 9} text-anchor=middle>{value:g}</text>")
    name = escape(label, quote=True)
    return f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT}' role=img aria-label='{name}'>{''.join(axis)}{marks}</svg>"


def _ticks(first: float, last: float) -> list[float]:
    rough = (last - first) / 6
    size = 10 ** np.floor(np.log10(rough))
    step = next(size * k for k in (1, 2, 2.5, 5, 10) if size * k >= rough)
    return [float(round(v, 6)) for v in np.arange(np.ceil(first / step) * step, last + step * 1e-6, step)]


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:.1f}"
