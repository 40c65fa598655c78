"""The exploratory report as one self-contained page, to be looked at rather than read."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np
from PIL import Image

from edge_pneumo import __version__
from edge_pneumo.edge_runtime.preprocess import InputSpec
from edge_pneumo.train.data import charts
from edge_pneumo.train.data.cache import load_images
from edge_pneumo.train.data.explore import OLD_YEARS
from edge_pneumo.train.data.film import Film

_SAMPLES_EACH = 4
_SAMPLE_PX = 288  # a multiple of 32, as the network's inputs are
_MEAN_OF = 120


def explore_page(figures: dict[str, Any], films: Sequence[Film] = (), *, seed: int = 0) -> str:
    """HTML of the report.

    Parameters
    ----------
    figures : what `explore` returned.
    films : the films, when their pixels are at hand: some are shown with their boxes; their mean lies under the map.
    seed : picks the films that are shown.
    """
    samples, mean = _pictures(films, seed) if films else ("", "")
    parts = [
        f"<h1>What is in {escape(figures['source'])}</h1>",
        f"<p class=soft>{figures['rows']:,} rows of labels on {figures['patients']:,} films. A film with several boxes "
        "has several rows; both counts are shown where they differ.</p>",
        _tiles(figures),
        _balance(figures),
        _people(figures),
        _by_age(figures),
        _places(figures, mean),
        samples,
        f"<footer>Made by edge-pneumo {__version__}, `data eda`. The same figures: --format json. "
        "Research and education only.</footer>",
    ]
    template = Template(files("edge_pneumo.train").joinpath("templates/explore.html").read_text("utf-8"))
    return template.substitute(title=f"Exploring {escape(figures['source'])}", body="\n".join(filter(None, parts)))


def _tiles(figures: dict[str, Any]) -> str:
    tiles = [
        (f"{figures['rows']:,}", "rows"),
        (f"{figures['patients']:,}", "films (patientIds)"),
        (f"{figures['duplicates']:,}", "rows beyond a film's first"),
        (f"{figures['prevalence']:.1%}", "films with an opacity"),
        (f"{figures['boxes']['n']:,}", "boxes"),
    ]
    if figures["male_percent_of_rows"] is not None:
        tiles.append((f"{figures['male_percent_of_rows']:.2f} %", "of rows are of men"))
    if figures["ap_percent_of_rows"] is not None:
        tiles.append((f"{figures['ap_percent_of_rows']:.1f} %", "of rows are AP views"))
    if figures["auc_of_view_alone"] is not None:
        tiles.append((f"{figures['auc_of_view_alone']:.3f}", "AUC of the view alone"))
    return f"<div class=tiles>{''.join(f'<div><b>{value}</b><span>{name}</span></div>' for value, name in tiles)}</div>"


def _balance(figures: dict[str, Any]) -> str:
    cards = []
    if figures["classes"]["rows"]:
        cards.append(_card("Classes, rows", charts.bars(figures["classes"]["rows"], total=figures["rows"])))
        cards.append(_card("Classes, films", charts.bars(figures["classes"]["patients"], total=figures["patients"])))
    names = {"0": "0: no opacity", "1": "1: opacity"}
    target = {f"{names[key]}, films": n for key, n in sorted(figures["target"]["patients"].items())}
    target |= {f"{names[key]}, rows": n for key, n in sorted(figures["target"]["rows"].items())}
    cards.append(_card("Target", charts.bars(target)))
    rows = {f"{n} row{'s' * (n != '1')}": count for n, count in figures["rows_per_patient"].items()}
    cards.append(_card("Rows per film", charts.bars(rows, log=True)))
    boxes = {f"{n} box{'es' * (n != '1')}": count for n, count in figures["boxes_per_patient"].items()}
    many = sum(count for n, count in figures["boxes_per_patient"].items() if int(n) > 1)
    note = ""
    if many:
        share = many / max(1, figures["patients"] - figures["boxes_per_patient"].get("0", 0))
        note = f"<p class=note>{share:.0%} of the films with boxes have more than one: a single box cannot answer.</p>"
    cards.append(_card("Boxes per film", charts.bars(boxes, log=True) + note))
    return _section("Balance", "How often each answer is the right one.", cards)


def _people(figures: dict[str, Any]) -> str:
    cards = []
    if figures["sex"]["rows"]:
        rows = {f"{name}, rows": n for name, n in figures["sex"]["rows"].items()}
        sick = {f"{name}, with opacity": 100 * share for name, share in figures["prevalence_by_sex"].items()}
        cards.append(_card("Sex", charts.bars(rows, total=figures["rows"]) + charts.bars(sick, unit=" %")))
    if figures["view"]["rows"]:
        rows = {f"{name}, rows": n for name, n in figures["view"]["rows"].items()}
        sick = {f"{name}, with opacity": 100 * share for name, share in figures["prevalence_by_view"].items()}
        note = ""
        if figures["auc_of_view_alone"] is not None:
            note = (
                "<p class=note>AP films are taken of people too ill to stand. Calling each of them positive gives an "
                f"AUC of {figures['auc_of_view_alone']:.3f} without a look at the lungs: judge a model within each "
                "view.</p>"
            )
        cards.append(_card("View", charts.bars(rows, total=figures["rows"]) + charts.bars(sick, unit=" %") + note))
    age = figures["age"]
    if age["known_patients"]:
        odd = age[f"over_{OLD_YEARS}"]
        note = f"<p class=note>Median {age['median']:g}, from {age['min']:g} to {age['max']:g} years."
        if odd:
            stated = ", ".join(f"{value:g}" for value in odd[:8])
            note += f" {len(odd)} films say {stated}: errors, to be dropped or clipped."
        chart = charts.histogram(age["rows_by_year"], "rows by age in years", odd_above=OLD_YEARS)
        cards.append(_card("Age, rows by year", chart + note + "</p>"))
        shares = {
            {"0": "no opacity", "1": "opacity"}[label]: _smooth(some["patients_by_year"][: OLD_YEARS + 1])
            for label, some in age["by_target"].items()
        }
        means = "; ".join(f"target {label}: mean {some['mean']:g}" for label, some in age["by_target"].items())
        chart = charts.lines(shares, "share of films by age, for each target", len(next(iter(shares.values()))))
        cards.append(_card("Age by target", f"{chart}<p class=note>Share of films a year of age. {means}.</p>"))
        cards.append(_card("Age groups, rows", charts.bars(figures["age_groups"], total=figures["rows"])))
    return _section("People", "Who was filmed, and how.", cards) if cards else ""


def _by_age(figures: dict[str, Any]) -> str:
    cards = []
    for name, table in figures["by_age_group"].items():
        if table:
            totals: dict[str, int] = {}
            for counts in table.values():
                for part, count in counts.items():
                    totals[part] = totals.get(part, 0) + count
            order = sorted(totals) if name == "target" else sorted(totals, key=lambda part: -totals[part])
            cards.append(_card(f"{name.capitalize()} by age group", charts.stacks(table, order[:4])))
    about = "Rows in each group of ten years, cut by share; groups under 30 rows are pale. Groups are closed above."
    return _section("By age", about, cards) if cards else ""


def _places(figures: dict[str, Any], mean: str) -> str:
    boxes = figures["boxes"]
    if not boxes["n"]:
        return ""
    share = boxes["left_half_of_film"] / boxes["n"]
    chart = charts.heat(boxes["centres"], "centres of boxes on the film", boxes=boxes["mean_box"], under=mean)
    under = " over the mean film" if mean else ""
    where = (
        f"<p class=note>Centres of all boxes{under}; outlined, the mean box of each half. {share:.0%} lie in the "
        "film's left half (the patient's right lung).</p>"
    )
    sizes = {
        f"{side}, {name}": 100 * boxes[side][q]
        for side in ("width", "height")
        for q, name in (("p5", "small (5 %)"), ("p50", "median"), ("p95", "large (95 %)"))
    }
    area = charts.histogram([float(n) for n in boxes["area_histogram"]], "boxes by share of the film", step=1)
    cards = [
        _card("Where boxes lie", chart + where),
        _card("How large boxes are", charts.bars(sizes, unit=" %") + "<p class=note>Share of the film's side.</p>"),
        _card("Area", area + "<p class=note>Boxes by the share of the film that they cover, in per cent.</p>"),
    ]
    return _section("Boxes", "Where opacities are, and how large.", cards)


def _pictures(films: Sequence[Film], seed: int) -> tuple[str, str]:
    """The section of sample films, and the mean film as a data URI."""
    rng = np.random.default_rng(seed)
    by_class: dict[str, list[Film]] = {}
    for film in films:
        by_class.setdefault(film.class_name or f"Target {film.label}", []).append(film)
    chosen = [
        film for some in by_class.values() for film in [some[i] for i in rng.permutation(len(some))[:_SAMPLES_EACH]]
    ]
    pictures, geometry, kept, _ = load_images(chosen, InputSpec(_SAMPLE_PX), progress=False)
    figures = []
    for picture, where, i in zip(pictures, geometry, kept, strict=True):
        film = chosen[i]
        boxes = where.to_input(np.array(film.boxes_xyxy, np.float32)) / _SAMPLE_PX
        facts = [
            film.class_name or f"Target {film.label}",
            film.view,
            film.sex,
            film.age_years and f"{film.age_years:g} years",
        ]
        figures.append(charts.film(_jpeg(picture[..., 0]), boxes.tolist(), ", ".join(str(f) for f in facts if f)))
    some = [films[i] for i in rng.permutation(len(films))[:_MEAN_OF]]
    many, *_ = load_images(some, InputSpec(_SAMPLE_PX), progress=False)
    mean = _jpeg(np.round(many.mean(0)[..., 0]).astype(np.uint8)) if len(many) else ""
    title = "<h2>Films</h2><p class=soft>Some of each class, with the boxes that were drawn on them.</p>"
    return f"{title}<div class=films>{''.join(figures)}</div>", mean


def _jpeg(pixels: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=70, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def _smooth(counts: Sequence[int]) -> list[float]:
    """Shares of a histogram, smoothed so that the eye sees the shape; the fewer films, the more."""
    reach = 2 if sum(counts) > 2000 else 6
    kernel = np.hanning(2 * reach + 3)
    smooth = np.convolve(counts, kernel / kernel.sum(), mode="same")[: len(counts)]
    return (smooth / max(1, sum(counts))).tolist()


def _card(title: str, content: str) -> str:
    return f"<div class=card><h3>{escape(title)}</h3>{content}</div>"


def _section(title: str, about: str, cards: Sequence[str]) -> str:
    return f"<h2>{escape(title)}</h2><p class=soft>{escape(about)}</p><div class=cards>{''.join(cards)}</div>"
