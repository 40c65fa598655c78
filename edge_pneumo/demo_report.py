"""The demonstration's page: what was done, how it learned, the proof, films with boxes; then the benchmark's report."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

Done = tuple[str, Sequence[str], float]
SHOWN = 6


def render(
    folder: Path, documents: dict[str, Any], answers: Sequence[dict[str, Any]], done: Sequence[Done], seconds: float
) -> str:
    """One self-contained HTML page.

    Parameters
    ----------
    folder : the demonstration's output, with `run/curves.svg` and `overlays/`.
    documents : JSON of the steps convert, evaluate, inspect and benchmark.
    answers : one object a film, from predict.
    done : title, arguments and seconds of each step.
    seconds : the whole time.
    """
    from edge_pneumo.benchmarks.report import render_report

    sections = [
        {"title": "The whole path, on made-up films", "html": _steps(done, seconds)},
        {"title": "How it learned", "html": _svg(folder / "run" / "curves.svg")},
        {"title": "The proof of the conversion", "html": _proof(documents["convert"])},
        {"title": "Accuracy on films it was not trained on", "html": _accuracy(documents["evaluate"])},
        {"title": "Films with boxes", "html": _films(folder / "overlays", answers)},
        {"title": "What the model file says of itself", "html": _file(documents["inspect"])},
    ]
    return render_report([documents["benchmark"]], sections)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(word)}</th>" for word in header)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div style="overflow-x:auto"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _steps(done: Sequence[Done], seconds: float) -> str:
    rows = [
        (escape(title), f"<code>edge-pneumo {escape(shlex.join(arguments))}</code>", f"{took:.0f} s")
        for title, arguments, took in done
    ]
    return (
        "<p>The films are drawn by a program, not taken of patients: the figures below show that every step works, and "
        f"say nothing of how well anything reads real films. {seconds / 60:.1f} minutes in all. "
        "<strong>Research and education only: not a medical device.</strong></p>"
    ) + _table(("step", "command", "time"), rows)


def _svg(path: Path) -> str:
    """An SVG file as an image, which scales with the page and cannot disturb its style."""
    data = base64.b64encode(path.read_bytes()).decode()
    style = "width:100%;background:#fff"
    return f'<img alt="losses and validation AUC per epoch" style="{style}" src="data:image/svg+xml;base64,{data}">'


def _proof(report: dict[str, Any]) -> str:
    gate = report["gate"]
    rows = []
    for name, title in (("auc", "AUC"), ("rsna_score", "RSNA score")):
        figure = gate.get(name)
        if figure:
            rows.append((title, *(_number(figure.get(key)) for key in ("float", "converted", "drop", "allowed"))))
    verdict = "passed" if gate["passed"] else "failed"
    tensors = ", ".join(f"{count} {escape(kind)}" for kind, count in report["tensors"].items())
    return (
        f"<p>The written file was run by the light runtime on the validation films, side by side with the float model. "
        f"The gate <strong>{verdict}</strong>. {report['bytes'] / 1e6:.2f} MB, tensors: {tensors}.</p>"
        + _table(("figure", "float", "int8", "drop", "allowed"), rows)
    )


def _accuracy(report: dict[str, Any]) -> str:
    names = (
        ("auc", "AUC"), ("sensitivity", "sensitivity"), ("specificity", "specificity"), ("rsna_score", "RSNA score"),
        ("ap50", "AP at IoU 0.5"), ("mean_iou", "mean IoU"), ("ece", "calibration error"),
    )  # fmt: skip
    rows = [
        (title, _number(report[key]["value"]), f"{_number(report[key]['low'])} to {_number(report[key]['high'])}")
        for key, title in names
    ]
    share = report["positives"] / report["n"]
    return (
        f"<p>{report['n']} films, {report['positives']} with opacities ({share:.0%}); 95 % bootstrap intervals over "
        "patients. Thresholds were chosen on these films.</p>" + _table(("figure", "value", "95 % interval"), rows)
    )


def _films(overlays: Path, answers: Sequence[dict[str, Any]]) -> str:
    """The films with the most boxes and highest scores, and the two most doubtful."""
    read = [a for a in answers if a["status"] == "ok"]
    sure = sorted(read, key=lambda a: (-len(a["boxes"]), -a["probability"]))[: SHOWN - 2]
    doubtful = sorted((a for a in read if a not in sure), key=lambda a: abs(a["probability"] - a["threshold"]))[:2]
    pictures = []
    for answer in (*sure, *doubtful):
        path = next(overlays.glob(f"{Path(answer['file']).stem}*.png"), None)
        if path is not None:
            data = base64.b64encode(path.read_bytes()).decode()
            pictures.append(
                f'<img alt="probability {answer["probability"]:.2f}, {len(answer["boxes"])} boxes" '
                f'style="width:100%" src="data:image/png;base64,{data}">'
            )
    grid = "display:grid;gap:12px;grid-template-columns:repeat(auto-fill,minmax(220px,1fr))"
    return (
        f"<p>{len(read)} films read, {len(answers) - len(read)} refused. Four with the most boxes, and two that the "
        f'detector is least sure of.</p><div style="{grid}">{"".join(pictures)}</div>'
    )


def _file(report: dict[str, Any]) -> str:
    words = [
        ("name", f"{report['name']} {report['version']}"), ("SHA-256", report["sha256"]),
        ("verified", "yes" if report["verified"] else "no"), ("licence", report["licence"]),
        ("intended use", report["intended_use"]),
    ]  # fmt: skip
    return _table(
        ("field", "value"),
        [(escape(k), f'<span style="overflow-wrap:anywhere">{escape(str(v))}</span>') for k, v in words],
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
