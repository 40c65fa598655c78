"""How numbers are written on the page. Each is wrapped with its full value, so that a reader, or a test, can find it
in the JSON at the page's end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup


def digits(value: float) -> str:
    """Three significant digits without an exponent: 0.0123, 1.23, 12.3, 123, 12,345."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 100 or float(value).is_integer():
        return f"{value:,.0f}"
    places = 1 if size >= 10 else 2 if size >= 1 else 3 if size >= 0.1 else 4
    text = f"{value:.{places}f}"
    return text if float(text) else f"{value:.1e}"


def num(value: Any, unit: str = "") -> str | Markup:
    """A number with its unit, or a dash."""
    from markupsafe import Markup, escape

    if value is None:
        return Markup('<span class="none">–</span>')
    if isinstance(value, bool | str):
        return escape(str(value))
    tail = Markup('<span class="unit">{}</span>').format(unit) if unit else ""
    return Markup('<span class="num" data-v="{}">{}{}</span>').format(repr(value), digits(value), tail)


def percent(value: float | None) -> str | Markup:
    """A fraction as a percentage."""
    from markupsafe import Markup

    if value is None:
        return Markup('<span class="none">–</span>')
    shown = f"{100 * value:.2g}" if value < 0.1 else f"{100 * value:.1f}"
    return Markup('<span class="num" data-v="{}">{}<span class="unit">%</span></span>').format(repr(value), shown)


def seconds(value: float | None) -> str | Markup:
    """A time in the unit that suits it: µs, ms, s, min or h."""
    if value is None:
        return num(None)
    scales = ((1e-3, 1e6, "µs"), (1, 1e3, "ms"), (120, 1, "s"), (7200, 1 / 60, "min"), (float("inf"), 1 / 3600, "h"))
    factor, unit = next((factor, unit) for limit, factor, unit in scales if value < limit)
    return scaled(value, factor, unit)


def scaled(value: float, factor: float, unit: str) -> Markup:
    """A number shown in another unit than it is stored in; `data-v` keeps the stored one."""
    from markupsafe import Markup

    return Markup('<span class="num" data-v="{}">{}<span class="unit">{}</span></span>').format(
        repr(value), digits(value * factor), unit
    )


def megabytes(value: float | None) -> str | Markup:
    """Bytes as MB or kB (powers of ten)."""
    if value is None:
        return num(None)
    return scaled(value, 1e-6, "MB") if value >= 1e6 else scaled(value, 1e-3, "kB")


def milliseconds(value: float | None) -> str | Markup:
    """Milliseconds in the unit that suits them; `data-v` keeps milliseconds."""
    if value is None:
        return num(None)
    factor, unit = (1000, "µs") if value < 0.1 else (1, "ms") if value < 10_000 else (1e-3, "s")
    return scaled(value, factor, unit)


FILTERS = {"num": num, "percent": percent, "seconds": seconds, "milliseconds": milliseconds, "megabytes": megabytes}
