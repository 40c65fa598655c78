"""A clinic's own calibration: the same network, its probabilities and thresholds fitted to the clinic's labelled films.

Nothing is trained. The new model file holds the same network, and says what it was tuned on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.benchmarks.answers import examine_films
from edge_pneumo.benchmarks.metrics import classification
from edge_pneumo.benchmarks.metrics.bootstrap import interval, patient_weights
from edge_pneumo.benchmarks.operating import choose_box_threshold, choose_operating_points, recalibrate
from edge_pneumo.edge_runtime.bundle import Bundle, describe_decode, write_bundle
from edge_pneumo.edge_runtime.decode import DecodeSpec, RawOutputs, decode, film_probability
from edge_pneumo.edge_runtime.files import check_writable
from edge_pneumo.edge_runtime.predict import Detector
from edge_pneumo.edge_runtime.preprocess import Geometry
from edge_pneumo.errors import DataError, FilmRefused, UsageFault
from edge_pneumo.progress import watched
from edge_pneumo.train.data.index import load_dataset
from edge_pneumo.train.data.seen import film_marks

if TYPE_CHECKING:
    from edge_pneumo.train.data.film import Film

LEAST_FILMS = 10
"""Films with, and without, an opacity below which nothing is fitted."""

ENOUGH_FILMS = 50
"""Films with, and without, an opacity below which the result carries a warning."""

LEAST_BOXED = 20
"""Films with boxes below which the box threshold is moved along, not fitted."""

FOLDS = 10
THRESHOLD_RESAMPLES = 200


@dataclass(frozen=True)
class Seen:
    """What the network says of the clinic's films."""

    films: tuple[Film, ...]
    raw: tuple[RawOutputs, ...]
    geometries: tuple[Geometry, ...]
    labels: NDArray[np.int64]
    group: NDArray[np.int64]

    @property
    def image(self) -> NDArray[np.float64]:
        """(n,) `image_logit`."""
        return np.array([raw.image_logit for raw in self.raw], np.float64)

    @property
    def heat(self) -> NDArray[np.float64]:
        """(n,) largest `heat`."""
        return np.array([raw.heat.max() for raw in self.raw], np.float64)


def tune(
    model: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    split: str | None = None,
    default_point: str | None = None,
    prevalence: float | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    jobs: int | None = None,
) -> dict[str, Any]:
    """Fit calibration, operating points and box threshold to labelled films, and write a new model file.

    Parameters
    ----------
    model : `default` or a .tflite with our trailer.
    data : labelled films, in any layout that `load_dataset` knows.
    out : the new model file.
    split : only these films.
    default_point : operating point that the new file uses unless told otherwise; None keeps the model's.
    prevalence : share of films with an opacity in the clinic's daily work, where the labelled films were picked.
    bootstrap, seed : of the intervals.
    jobs : films at a time.

    Returns
    -------
    What `edge-pneumo tune --format json` prints. Sensitivity and specificity are cross-validated: each patient's films
    are judged with thresholds that were fitted without them.

    Raises
    ------
    DataError : too few films of a kind, or the model is no better than chance on them.
    UsageFault : `out` is the model itself; an operating point or prevalence that cannot be.
    """
    if prevalence is not None and not 0 < prevalence < 1:
        raise UsageFault(f"the prevalence must lie between 0 and 1, found {prevalence}")
    check_writable(Path(out))
    dataset = load_dataset(data)
    chosen = dataset if split is None else dataset.split(split)
    with Detector.open(model) as detector:
        bundle = detector.bundle
        if Path(out).resolve() == bundle.path.resolve():
            raise UsageFault(f"{out} is the model to be tuned: give the new file another name")
        answers = watched(examine_films(detector, chosen.films, jobs=jobs), len(chosen), "reading films")
        seen, refused = _collect(chosen.films, list(answers))
    _check_enough(seen, str(data))
    before = bundle.decode_spec
    after = fit(before, seen, prevalence)
    after = replace(after, default_operating_point=default_point or _kept_default(before, after))
    if after.default_operating_point not in after.operating_points:
        known = ", ".join(after.operating_points)
        raise UsageFault(f"no operating point {after.default_operating_point!r}; choose one of: {known}")
    report = _report(before, after, seen, prevalence, bootstrap, seed)
    facts = {"films": len(seen.films), "positives": int(seen.labels.sum()), "patients": int(seen.group.max()) + 1}
    marks = {"marks": {"tuned": film_marks(seen.films)}}
    facts |= {"split": split or "all", "split_hash": dataset.split_hash, "prevalence_assumed": prevalence}
    made = _write(bundle, after, out, {"data": facts | marks, **report})
    return {
        "schema": 1,
        "model": {"name": bundle.name, "version": bundle.version, "sha256": bundle.sha256},
        "out": {"path": str(out), "name": made.name, "version": made.version, "sha256": made.sha256},
        "data": facts | {"path": str(data)},
        "refused": refused,
        **report,
        "warnings": [*filter(None, [dataset.split_warning(split)]), *_warnings(seen, after, report, refused)],
    }


def fit(spec: DecodeSpec, seen: Seen, prevalence: float | None) -> DecodeSpec:
    """`spec` with calibration, operating points and box threshold of these films."""
    groups = [str(g) for g in seen.group]
    platt = recalibrate(spec, seen.image, seen.heat, seen.labels, groups, prevalence=prevalence)
    points = choose_operating_points(seen.labels, platt.probability(seen.image, seen.heat))
    tuned = replace(platt.apply(spec), operating_points=points, default_operating_point=next(iter(points)))
    return _fit_boxes(spec, tuned, seen)


def _fit_boxes(before: DecodeSpec, after: DecodeSpec, seen: Seen) -> DecodeSpec:
    """The box threshold: by the RSNA score where there are boxes enough, else so that as many boxes are shown."""
    boxed = np.array([bool(film.boxes_xyxy) for film in seen.films])
    if boxed.sum() >= LEAST_BOXED:
        keep = [k for k in range(len(seen.films)) if boxed[k] or not seen.labels[k]]
        return choose_box_threshold(
            [seen.raw[k] for k in keep],
            [seen.geometries[k] for k in keep],
            [seen.films[k].boxes_xyxy for k in keep],
            after,
            nms_ious=(before.nms_iou,),
            max_boxes=(before.max_boxes,),
            box_scales=(before.box_scale,),
        )
    shown = sum(len(_boxes(raw, before, where)) for raw, where in zip(seen.raw, seen.geometries, strict=True))
    wide = replace(after, box_threshold=0.0)
    scores = sorted(
        (score for raw, where in zip(seen.raw, seen.geometries, strict=True) for score in _boxes(raw, wide, where)),
        reverse=True,
    )
    # a box's score is multiplied by the film's probability, whose scale has just changed
    if not scores or not shown:
        return after
    edge = scores[min(shown, len(scores)) - 1 : min(shown, len(scores)) + 1]
    return replace(after, box_threshold=round(float(np.mean(edge)), 4))


def _boxes(raw: RawOutputs, spec: DecodeSpec, where: Geometry) -> list[float]:
    return [box.score for box in decode(raw, spec, where).boxes]


def _collect(films: Sequence[Film], answers: Sequence[Any]) -> tuple[Seen, int]:
    """The films that were answered, and how many were not."""
    pairs = [(f, a) for f, a in zip(films, answers, strict=True) if not isinstance(a, FilmRefused)]
    groups = np.unique([film.group or film.film_id for film, _ in pairs], return_inverse=True)[1] if pairs else []
    labels = np.array([film.label for film, _ in pairs], np.int64)
    raw, geometries = tuple(a.raw for _, a in pairs), tuple(a.geometry for _, a in pairs)
    seen = Seen(tuple(f for f, _ in pairs), raw, geometries, labels, np.asarray(groups, np.int64))
    return seen, len(films) - len(pairs)


def _check_enough(seen: Seen, data: str) -> None:
    positives = int(seen.labels.sum())
    negatives = len(seen.labels) - positives
    if min(positives, negatives) < LEAST_FILMS:
        raise DataError(
            f"{data}: {positives} readable films with an opacity and {negatives} without; tuning needs at least"
            f" {LEAST_FILMS} of each, and {ENOUGH_FILMS} to be of use. Label more films, or keep the model as it is."
        )


def _kept_default(before: DecodeSpec, after: DecodeSpec) -> str:
    """The model's own default where it still exists, else `balanced`."""
    return before.default_operating_point if before.default_operating_point in after.operating_points else "balanced"


def _report(
    before: DecodeSpec, after: DecodeSpec, seen: Seen, prevalence: float | None, bootstrap: int, seed: int
) -> dict[str, Any]:
    """Before and after, with cross-validated rates at each operating point."""
    outside, decisions = _cross_validate(before, seen, prevalence)
    old = np.array([film_probability(raw, before) for raw in seen.raw])
    thresholds = _threshold_samples(before, seen, prevalence, seed)
    weights = np.concatenate([np.ones((1, len(seen.labels))), *patient_weights(seen.group, bootstrap, seed)])
    positives, points = int(seen.labels.sum()), {}
    for name, value in after.operating_points.items():
        rates = classification.rates(seen.labels, decisions[name], weights)
        points[name] = {
            "before": before.operating_points.get(name),
            "threshold": interval(np.append(value, thresholds[name])),
            "sensitivity": interval(rates["sensitivity"], positives),
            "specificity": interval(rates["specificity"], len(seen.labels) - positives),
        }

    def error(probabilities: NDArray) -> dict[str, float | None]:
        return interval(classification.weighted_calibration(seen.labels, probabilities, weights))

    fields = ("image_weight", "heat_weight", "bias")
    return {
        "auc": interval(classification.weighted_auc(seen.labels, old, weights)),
        "calibration": {
            "before": {name: getattr(before, name) for name in fields},
            "after": {name: getattr(after, name) for name in fields},
            "ece_before": error(old),
            # with an assumed prevalence the probabilities are for other films than these
            "ece_after": error(outside) if prevalence is None else None,
        },
        "operating_points": points,
        "default_operating_point": after.default_operating_point,
        "box_threshold": {"before": before.box_threshold, "after": after.box_threshold},
    }


def _cross_validate(
    spec: DecodeSpec, seen: Seen, prevalence: float | None
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.bool_]]]:
    """Probability (n,) and decision (n,) at each point of films whose patients were left out of the fit."""
    fold = _folds(seen)
    probability = np.zeros(len(seen.labels))
    decisions: dict[str, NDArray[np.bool_]] = {}
    for k in range(int(fold.max()) + 1):
        kept, left = fold != k, fold == k
        points, predict = _fit_points(spec, seen, kept, prevalence)
        probability[left] = predict(left)
        for name, threshold in points.items():
            decisions.setdefault(name, np.zeros(len(seen.labels), bool))[left] = probability[left] >= threshold
    return probability, decisions


def _folds(seen: Seen) -> NDArray[np.int64]:
    """A fold for each film: patients dealt out in turn, those with an opacity first, so that every fold has some."""
    patients = int(seen.group.max()) + 1
    ill = np.zeros(patients, bool)
    np.logical_or.at(ill, seen.group, seen.labels == 1)
    dealt = np.empty(patients, np.int64)
    dealt[np.argsort(~ill, kind="stable")] = np.arange(patients) % min(FOLDS, patients)
    return dealt[seen.group]


def _fit_points(
    spec: DecodeSpec, seen: Seen, rows: NDArray, prevalence: float | None
) -> tuple[dict[str, float], Callable[[NDArray], NDArray]]:
    """Operating points fitted on some rows, and the calibrated probability of any rows."""
    image, heat, labels = seen.image, seen.heat, seen.labels
    groups = [str(g) for g in seen.group[rows]]
    platt = recalibrate(spec, image[rows], heat[rows], labels[rows], groups, prevalence=prevalence)
    points = choose_operating_points(labels[rows], platt.probability(image[rows], heat[rows]))
    return points, lambda wanted: platt.probability(image[wanted], heat[wanted])


def _threshold_samples(spec: DecodeSpec, seen: Seen, prevalence: float | None, seed: int) -> dict[str, NDArray]:
    """Each threshold refitted on resampled patients: how far it would have moved with other films."""
    rng = np.random.default_rng(seed)
    patients = int(seen.group.max()) + 1
    members = [np.flatnonzero(seen.group == g) for g in range(patients)]
    found: dict[str, list[float]] = {}
    for _ in range(THRESHOLD_RESAMPLES):
        rows = np.concatenate([members[g] for g in rng.integers(0, patients, patients)])
        if 0 < seen.labels[rows].sum() < len(rows):
            try:
                points, _ = _fit_points(spec, seen, rows, prevalence)
            except DataError:  # a resample on which the model is no better than chance has no thresholds
                continue
            for name, value in points.items():
                found.setdefault(name, []).append(value)
    return {name: np.array(values) for name, values in found.items()}


def _warnings(seen: Seen, after: DecodeSpec, report: dict[str, Any], refused: int) -> list[str]:
    positives = int(seen.labels.sum())
    negatives, lines = len(seen.labels) - positives, []
    if min(positives, negatives) < ENOUGH_FILMS:
        lines.append(
            f"Only {positives} films with and {negatives} without an opacity: thresholds may move as far as their"
            f" intervals say. {ENOUGH_FILMS} of each are a fair start."
        )
    before, now = (report["calibration"][name] for name in ("ece_before", "ece_after"))
    if now is not None and now["value"] > before["value"]:
        lines.append(
            "On films that were left out of the fit probabilities are further off than before (calibration error"
            f" {now['value']:.3f}, before {before['value']:.3f}): unless more films are labelled, the model as it was"
            " may serve better."
        )
    useless = [name for name, row in report["operating_points"].items() if _no_better_than_chance(row)]
    if useless:
        lines.append(
            f"At {', '.join(useless)} films with an opacity are called no more often than films without one: of no use"
            " on these films."
        )
    boxed = sum(bool(film.boxes_xyxy) for film in seen.films)
    if boxed < LEAST_BOXED:
        lines.append(
            f"{boxed} films have boxes, fewer than {LEAST_BOXED}: the box threshold ({after.box_threshold:.3f}) was not"
            " fitted, only moved along with the calibration."
        )
    if refused:
        lines.append(f"{refused} film{'s were' if refused > 1 else ' was'} refused and not used.")
    return lines


def _no_better_than_chance(row: dict[str, Any]) -> bool:
    """Youden's index, sensitivity + specificity - 1, of an operating point is not above 0."""
    rates = [row[name]["value"] for name in ("sensitivity", "specificity")]
    return None not in rates and sum(rates) <= 1


def _write(bundle: Bundle, spec: DecodeSpec, out: str | Path, tuned: dict[str, Any]) -> Bundle:
    """The same network under a new trailer that says what it was tuned from, on what, and with which result."""
    source = {"name": bundle.name, "version": bundle.version, "sha256": bundle.sha256}
    metadata = {k: v for k, v in bundle.metadata.items() if k not in ("created", "tflite", "outputs", "tensors")}
    metadata |= {
        "version": f"{bundle.version.split('+')[0]}+tuned.{datetime.now(UTC):%Y%m%d}",
        "decode": describe_decode(spec),
        "operating_points": spec.operating_points,
        "default_operating_point": spec.default_operating_point,
        "tuned": {"from": source, **tuned},
    }
    card = f"{bundle.card.rstrip()}\n\n{_card_section(bundle, spec, tuned)}"
    return write_bundle(out, bundle.tflite, metadata, card=card, labels=bundle.labels, golden=bundle.golden)


def _card_section(bundle: Bundle, spec: DecodeSpec, tuned: dict[str, Any]) -> str:
    data, rows = tuned["data"], tuned["operating_points"]

    def cell(figure: dict[str, float | None]) -> str:
        low, high = figure["low"], figure["high"]
        return f"{figure['value']:.3f}" + ("" if low is None else f" ({low:.3f} to {high:.3f})")

    lines = [
        f"- {name}: threshold {cell(row['threshold'])}, sensitivity {cell(row['sensitivity'])}, specificity"
        f" {cell(row['specificity'])}"
        for name, row in rows.items()
    ]
    return "\n".join(
        [
            "## Tuned",
            f"Calibration and thresholds of {bundle.name} {bundle.version} ({bundle.sha256[:12]}) were fitted again on"
            f" {data['films']} films of {data['patients']} patients ({data['positives']} with an opacity); the network"
            " is unchanged. Cross-validated, with 95 % intervals over patients; default:"
            f" {spec.default_operating_point}.",
            "Figures above this section are those of the model before.",
            "",
            *lines,
            "",
        ]
    )
