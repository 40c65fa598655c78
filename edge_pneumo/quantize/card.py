"""MODEL_CARD.md, made from what is known of a model: nothing in it is typed by hand."""

from __future__ import annotations

from typing import Any

from edge_pneumo.train.detector import hidden_channels

INTENDED_USE = (
    "Research and education: triage experiments on frontal chest radiographs of adults, and the study of small "
    "detectors on small computers. Not a medical device; no diagnosis or treatment may rest on it."
)
LICENCE = (
    "Weights: academic research and education, non-commercial, because they learnt from labels of the RSNA Pneumonia "
    "Detection Challenge, whose terms allow no more. The program around them: Apache-2.0."
)
ACKNOWLEDGEMENT = (
    "Films: NIH Clinical Center, ChestX-ray14 (Wang et al., CVPR 2017). Boxes: RSNA Pneumonia Detection Challenge 2018."
)
SYNTHETIC_LICENCE = "Apache-2.0. The model learnt from generated films only."

_FIGURES = (
    ("auc", "AUC"),
    ("average_precision", "average precision"),
    ("rsna_score", "RSNA challenge score"),
    ("ap50", "AP at IoU 0.5"),
    ("sensitivity", "sensitivity"),
    ("specificity", "specificity"),
    ("ece", "expected calibration error"),
)


def model_card(metadata: dict[str, Any]) -> str:
    """The card of a model file, Markdown, from its metadata (see docs/quantization.md)."""
    interim = metadata.get("interim", False)
    parts = [
        f"# {metadata['name']} {metadata['version']}",
        "**Interim**: made by a quick recipe so that every command works; a better model replaces it."
        if interim
        else "",
        f"## Intended use\n{metadata['intended_use']}",
        f"## Licence\n{metadata['licence']}",
        f"## Network\n{_network(metadata)}",
        f"## Data\n{_data(metadata.get('training_data', {}))}",
        f"## Accuracy\n{_accuracy(metadata.get('metrics', {}))}",
        f"## Operating points\n{_operating(metadata.get('metrics', {}))}",
        f"## Calibration\n{_calibration(metadata.get('metrics', {}))}",
        f"## Subgroups\n{_subgroups(metadata.get('metrics', {}))}",
        f"## Where it fails\n{_failures(metadata.get('metrics', {}))}",
        *(_study(study) for study in metadata.get("studies", ())),
        f"## Conversion\n{_conversion(metadata)}",
        "## Limits\n"
        "Children, lateral views, portable films with heavy collimation and diseases other than lung opacity were "
        "hardly trained for, or not at all. An opacity is not a diagnosis: pneumonia, oedema, atelectasis and tumours "
        "look alike here. Measure it on your own films (`edge-pneumo evaluate`) before any use.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _network(metadata: dict[str, Any]) -> str:
    film, points = metadata["input"], metadata["operating_points"]
    listed = ", ".join(f"{name} {value:.3f}" for name, value in points.items())
    training = metadata.get("training", {})
    hidden, slim = training.get("hidden"), ""
    if hidden and sum(hidden) < (whole := sum(hidden_channels(training["alpha"]))):
        slim = f"; {whole - sum(hidden):,} of the {whole:,} channels between its narrow layers taken out"
    taught = f"; taught by {teachers} of other seeds" if (teachers := training.get("teachers")) else ""
    return (
        f"MobileNetV2 with an image logit and a dense box head{slim}{taught}; "
        f"input {film['size_px']} x {film['size_px']} grey, {metadata['precision']}. "
        f"Operating points (probability): {listed}; default {metadata['default_operating_point']}."
    )


def _data(data: dict[str, Any]) -> str:
    if not data:
        return "Not recorded."
    lines = [f"- {key.replace('_', ' ')}: {value}" for key, value in data.items() if not isinstance(value, dict | list)]
    return "\n".join(lines) or "Not recorded."


def _accuracy(metrics: dict[str, Any]) -> str:
    rows = [f"| {title} | {_figure(metrics[key])} |" for key, title in _FIGURES if _known(metrics.get(key))]
    if not rows:
        return "Not measured on labelled films."
    films = f"{metrics.get('n', '?')} films, {metrics.get('positives', '?')} with an opacity"
    of = metrics.get("of", "float")
    judged = "The float model, before it was converted," if of == "float" else f"This file ({of})"
    split = metrics.get("data", {}).get("split", "val")
    where = "validation films" if split == "val" else f"films of split {split}"
    head = (
        f"{judged} on the {where} ({films}); 95 % bootstrap intervals over patients. "
        "Validation films set the thresholds and may have been in sight while the recipe was chosen, so films that "
        "were not are the honest test. Resampling makes the calibration error larger, so its interval lies high and "
        "need not hold the value.\n"
    )
    return "\n".join([head, "| figure | value (95 % interval) |", "|---|---|", *rows])


def _known(figure: Any) -> bool:
    return isinstance(figure, dict) and figure.get("value") is not None


def _figure(figure: dict[str, Any]) -> str:
    low, high = figure.get("low"), figure.get("high")
    interval = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
    return f"{figure['value']:.3f}{interval}"


def _operating(metrics: dict[str, Any]) -> str:
    rows = [
        f"| {name} | {row['threshold']:.3f} | {_figure(row['sensitivity'])} | {_figure(row['specificity'])} |"
        for name, row in metrics.get("operating_points", {}).items()
        if _known(row.get("sensitivity")) and _known(row.get("specificity"))
    ]
    head = "Thresholds were chosen on the films they are judged on here, which flatters them.\n"
    table = ["| name | probability | sensitivity | specificity |", "|---|---|---|---|"]
    return "\n".join([head, *table, *rows]) if rows else "Not measured on labelled films."


def _calibration(metrics: dict[str, Any]) -> str:
    """The calibration plot as lines: what was said against what was so."""
    rows = [
        f"| {row['low']:.1f} to {row['high']:.1f} | {row['n']} | {row['mean_probability']:.2f} | {row['observed']:.2f} "
        f"| {'#' * round(20 * row['observed'])} |"
        for row in metrics.get("reliability", [])
        if row["n"]
    ]
    table = ["| probability | films | mean | share with an opacity | |", "|---|---|---|---|---|"]
    return "\n".join([*table, *rows]) if rows else "Not measured on labelled films."


def _failures(metrics: dict[str, Any]) -> str:
    rows = [
        f"- {name}: {row['called_opacity']} of {row['n']} films called opacity at the default operating point"
        for name, row in metrics.get("by_class", {}).items()
    ]
    behind = (group["facts"].get("warning") for group in _flat_groups(metrics.get("subgroups")))
    rows += [f"- A subgroup falls behind: {warning}" for warning in behind if warning]
    return "\n".join(rows) or "Not measured on labelled films."


def _study(study: dict[str, Any]) -> str:
    spread = "folds" if "folds" in study["judged_on"] else "seeds"
    head = (
        f"## {study['title']}\nVariants of the recipe `{study['base']}`, judged on {study['judged_on']}; mean over "
        f"seeds, in brackets the least and the most of the {spread}.\n"
    )
    rows = []
    for row in study["variants"]:
        auc, score = row["figures"]["auc"], row["figures"]["rsna_score"]
        said = row["name"] + (f" ({row['about']})" if row["about"] else "")
        rows.append(f"| {said} | {auc['seeds']} | {_spread(auc)} | {_spread(score)} |")
    return "\n".join([head, "| variant | seeds | AUC | RSNA score |", "|---|---|---|---|", *rows])


def _spread(figure: dict[str, Any]) -> str:
    return f"{figure['mean']:.3f} ({figure['least']:.3f} to {figure['most']:.3f})"


def _subgroups(metrics: dict[str, Any]) -> str:
    columns = ("auc", "sensitivity", "specificity")
    rows = []
    for group in _flat_groups(metrics.get("subgroups")):
        facts = group["facts"]
        cells = [_figure(facts[name]) if _known(facts.get(name)) else "-" for name in columns]
        few = "" if facts.get("judged", True) else " (too few to judge)"
        rows.append(f"| {group['name']}{few} | {facts.get('n', '?')} | {' | '.join(cells)} |")
    table = ["| films | n | AUC | sensitivity | specificity |", "|---|---|---|---|---|"]
    return "\n".join([*table, *rows]) if rows else "Not measured."


def _flat_groups(groups: Any) -> list[dict[str, Any]]:
    """{"sex": {"F": facts}} as rows; anything else gives none."""
    if not isinstance(groups, dict):
        return []
    return [
        {"name": f"{axis} {name}", "facts": facts}
        for axis, members in groups.items()
        if isinstance(members, dict)
        for name, facts in members.items()
        if isinstance(facts, dict)
    ]


def _conversion(metadata: dict[str, Any]) -> str:
    gate, calibration = metadata.get("gate", {}), metadata.get("calibration", {})
    lines = []
    if calibration:
        lines.append(f"Ranges from {calibration.get('films', '?')} films ({calibration.get('method', '?')}).")
    lines.append(f"Gate ({gate.get('kind', 'none')}, {gate.get('films', 0)} films): {gate.get('reason', 'not run')}.")
    for key in ("auc", "rsna_score", "sensitivity"):
        if key in gate and gate[key]["drop"] is not None:
            f = gate[key]
            lines.append(f"- {key}: float {f['float']:.4f}, converted {f['converted']:.4f}, drop {f['drop']:+.4f}")
    return "\n".join(lines)
