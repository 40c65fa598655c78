"""The explanation as a page and as JSON: where the error of int8 comes from, worst first and along the network."""

# ruff: noqa: E501 - lines of CSS and HTML
from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

from edge_pneumo.edge_runtime.files import atomic_write

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#5c6670;--line:#d8dde2;--bar:#2f6f9f;--bad:#b3432b;--page:#fff}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ec;--soft:#9aa5af;--line:#39424b;--bar:#6fb1e0;--bad:#ee8a70;--page:#14181c}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);max-width:64rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}td,th{padding:.25rem .6rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
td:first-child,th:first-child,td:nth-child(2),th:nth-child(2){text-align:left}th{color:var(--soft);font-weight:600}
svg.bars{width:100%;max-width:44rem}svg text{fill:var(--soft);font:11px system-ui,sans-serif}.bar{fill:var(--bar)}.bad{fill:var(--bad)}.axis{stroke:var(--line)}
.note{color:var(--soft)}
"""
_BAD_SPREAD = 10.0


def write_explanation(path: Path, explanation: dict[str, Any], report: dict[str, Any]) -> tuple[Path, Path]:
    """Write `path` (HTML) and the same name with .json; returns both."""
    page, data = path.with_suffix(".html"), path.with_suffix(".json")
    document = {"schema": 1, "gate": report["gate"], **explanation}
    if "repair" in report:
        document["repair"] = report["repair"]
    with atomic_write(data, "w") as stream:
        json.dump(document, stream, indent=1)
        stream.write("\n")
    with atomic_write(page, "w") as stream:
        stream.write(explanation_page(explanation, report))
    return page, data


def explanation_page(explanation: dict[str, Any], report: dict[str, Any]) -> str:
    """One self-contained HTML page."""
    rows = explanation["layers"]
    gate = report["gate"]
    verdict = f"The gate {'passed' if gate['passed'] else 'failed'}: {gate['reason']}."
    cells = "\n".join(
        f"<tr><td>{escape(r['name'])}</td><td>{escape(r['kind'])}</td><td>{r['share']:.1%}</td><td>{r['snr_db']:.1f}</td>"
        f"<td>{r['final_snr_db']:.1f}</td><td>{r['weight_spread']:.1f}</td><td>{r['weights']:,}</td></tr>"
        for r in rows
    )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>Where int8 loses</title><style>{_STYLE}</style>
<h1>Where int8 loses</h1>
<p>{escape(verdict)}{_repair_sentence(report)}</p>
<p class="note">Each layer was quantised alone, all others in float32, and run on {explanation["films"]} calibration films.
Share: its part of the summed error at the outputs; dB: signal to noise at the layer's own output and at the network's.</p>
<h2>Share of the error at the outputs, worst first</h2>
{_bars(rows[:20])}
<h2>All layers</h2>
<div class="wide"><table><thead><tr><th>layer</th><th>operator</th><th>share</th><th>own dB</th><th>dB at outputs</th>
<th>weight spread</th><th>parameters</th></tr></thead><tbody>
{cells}
</tbody></table></div>
<p class="note">Weight spread: largest over median of the channels' largest weights. Above {_BAD_SPREAD:.0f} (red bars), one scale for
the whole kernel rounds most channels to nothing; one scale a channel does not mind.</p>
</html>
"""


def _repair_sentence(report: dict[str, Any]) -> str:
    repair = report.get("repair")
    if repair is None:
        return ""
    sizes, times = repair["bytes"], repair["ms"]
    return escape(
        f" Repaired with {len(repair['layers'])} layers in float ({', '.join(repair['layers'])}): "
        f"{sizes['before']:,} to {sizes['after']:,} bytes, {times['before']:.2f} to {times['after']:.2f} ms."
    )


def _bars(rows: list[dict[str, Any]]) -> str:
    """Horizontal bars as inline SVG; they scale with the page."""
    top = max((row["share"] for row in rows), default=0) or 1.0
    height, label, width = 20, 125, 460
    parts = [
        f'<svg viewBox="0 0 {width} {height * len(rows) + 8}" class="bars" role="img" aria-label="share of the error">'
    ]
    for index, row in enumerate(rows):
        y, length = index * height + 4, (width - label - 60) * row["share"] / top
        kind = "bad" if row["weight_spread"] > _BAD_SPREAD else "bar"
        parts.append(
            f'<text x="{label - 6}" y="{y + 12}" text-anchor="end">{escape(row["name"])}</text>'
            f'<rect class="{kind}" x="{label}" y="{y}" width="{max(length, 0.5):.1f}" height="{height - 5}"/>'
            f'<text x="{label + length + 5:.1f}" y="{y + 12}">{row["share"]:.1%}</text>'
        )
    parts.append(f'<line class="axis" x1="{label}" x2="{label}" y1="0" y2="{height * len(rows) + 4}"/></svg>')
    return "".join(parts)
