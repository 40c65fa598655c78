"""One self-contained HTML page from any number of result files.

    html = render_report([read_result("pi4.json"), read_result("laptop.json")], options=ReportOptions(films_per_day=80))

Every number on the page stands in the JSON at its end (`<script id="numbers">`), which is what `view.build_view` made.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_pneumo.benchmarks.report.options import ReportOptions
from edge_pneumo.errors import MissingExtra

__all__ = ["ReportOptions", "render_report"]

TEMPLATE = Path(__file__).parent.parent / "templates" / "report.html"


def render_report(
    results: Sequence[dict[str, Any]],
    extra_sections: Sequence[dict[str, str]] = (),
    options: ReportOptions | None = None,
) -> str:
    """Render the page.

    Parameters
    ----------
    results : from `results.read_result` (or `results.check`); may be empty if there are extra sections.
    extra_sections : {"title", "html"} each, put before the measurements; the HTML is trusted and inserted as it is.
        The page's CSS colours (`var(--ink)`, `var(--c1)` … `var(--c6)`) and classes (`cards`, `table`) may be used.
    options : figures of the clinic and of the devices.

    Returns
    -------
    HTML with inline CSS and SVG: no script runs, nothing is loaded from anywhere.

    Raises
    ------
    MissingExtra : jinja2 or matplotlib is not installed.
    """
    try:
        import jinja2
        import matplotlib  # noqa: F401 - the charts need it; say so before any work is done
    except ImportError as error:
        raise MissingExtra("the benchmark report", error.name or "jinja2", "bench") from error
    from edge_pneumo.benchmarks.report import charts
    from edge_pneumo.benchmarks.report.filters import FILTERS
    from edge_pneumo.benchmarks.report.view import build_view

    chosen = options or ReportOptions()
    view = build_view(results, chosen)
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= FILTERS
    template = environment.from_string(TEMPLATE.read_text("utf-8"))
    return template.render(
        view=view,
        charts=charts.draw_all(view),
        extra_sections=list(extra_sections),
        numbers=json.dumps(view, ensure_ascii=False).replace("<", "\\u003c"),  # "<!--<script" would eat the page
    )
