"""The evaluator's JSON as one self-contained HTML page with plots; nothing is fetched from anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edge_pneumo.benchmarks.metrics.cases import LabelledFilm
from edge_pneumo.benchmarks.metrics.table import ATTRIBUTES, TITLES, spell
from edge_pneumo.edge_runtime.decode import Finding
from edge_pneumo.edge_runtime.files import atomic_write
from edge_pneumo.errors import FilmRefused, MissingExtra

CAPTIONS = {
    "roc": "ROC: every threshold's sensitivity against its false alarms; the diagonal is chance.",
    "precision_recall": "Precision and recall; precision depends on how common opacities are among these films.",
    "histogram": "Probabilities of films with and without an opacity.",
    "reliability": "Calibration: of films given a probability, how many have an opacity. Numbers are films.",
    "froc": "FROC: opacities found (IoU at least .40) against false boxes, over all thresholds.",
    "subgroups_auc": "AUC of subgroups with 95 % intervals; dashed: all films; pale: too few to judge.",
    "subgroups_sensitivity": "Sensitivity of subgroups with 95 % intervals; dashed: all films; pale: too few to judge.",
}


def require_page() -> None:
    """Raise MissingExtra where matplotlib or jinja2 is not installed."""
    for package in ("matplotlib", "jinja2"):
        if find_spec(package) is None:
            raise MissingExtra("the HTML report", package, "bench")


def write_page(path: str | Path, result: Mapping[str, Any], worst: Mapping[str, Any] | None = None) -> None:
    """Write the report.

    Parameters
    ----------
    path : the .html file.
    result : what `evaluate` gave.
    worst : what `worst_films` gave, to list films by name; None for none.

    Raises
    ------
    MissingExtra : matplotlib or jinja2 is not installed. WriteFailed : the file cannot be written.
    """
    require_page()
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    from edge_pneumo.benchmarks.metrics.plots import draw

    environment = Environment(
        loader=PackageLoader("edge_pneumo.benchmarks", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["spell"] = spell
    text = environment.get_template("evaluate.html").render(
        result=result,
        model={"name": "Model", "version": None} | dict(result["model"]),
        summary=_summary(result),
        origin=_origin(result),
        plots={name: Markup(svg) for name, svg in draw(result).items()},
        captions=CAPTIONS,
        titles=TITLES,
        attributes=ATTRIBUTES,
        worst=worst,
    )
    with atomic_write(path, "w") as stream:
        stream.write(text)


def _summary(result: Mapping[str, Any]) -> str:
    """What was judged, in a few sentences."""
    parts = [f"{result['patients']} patients"]
    if result["prevalence"] is not None:
        parts.append(f"{result['prevalence']:.1%} of films with an opacity")
    refused = f"{result['refused']} films refused"
    parts.append(refused + (f" ({result['refused_positives']} with an opacity)" if result["refused"] else ""))
    lines = [", ".join(parts) + "."]
    if result["data"].get("path"):
        lines.append(f"Data {result['data']['path']}, split {result['data']['split']}.")
    if result["threshold"] is not None:
        point = result["model"].get("operating_point")
        lines.append(f"Judged at {f'{point}, ' if point else ''}threshold {result['threshold']:.3f}.")
    return " ".join(lines)


def _origin(result: Mapping[str, Any]) -> str:
    """What made this page, for whoever wants to make it again."""
    from edge_pneumo import __version__

    how = result["bootstrap"]
    lines = [f"edge-pneumo {__version__}; {how['replicates']} resamples of patients, seed {how['seed']}."]
    if result["model"].get("sha256"):
        lines.append(f"Model sha256 {result['model']['sha256']}.")
    if result["data"].get("split_hash"):
        lines.append(f"Data and splits {result['data']['split_hash']}.")
    return " ".join([*lines, "Research and education only: not a medical device."])


def worst_films(
    films: Sequence[LabelledFilm], answers: Sequence[Finding | FilmRefused], count: int
) -> dict[str, list[dict[str, Any]]]:
    """The films that the model is most wrong about: `missed` (lowest first) and `false_alarms` (highest first)."""
    rows = [
        {"film_id": film.film_id, "probability": answer.probability, "label": film.label, "decision": answer.decision}
        for film, answer in zip(films, answers, strict=True)
        if isinstance(answer, Finding)
    ]
    missed = [row for row in rows if row["label"] == 1 and row["decision"] == "no-opacity"]
    false = [row for row in rows if row["label"] == 0 and row["decision"] == "opacity"]
    return {
        "missed": sorted(missed, key=lambda row: row["probability"])[:count],
        "false_alarms": sorted(false, key=lambda row: -row["probability"])[:count],
    }
