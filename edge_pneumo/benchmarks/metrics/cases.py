"""Films and findings, paired and laid out as arrays: what every figure is computed from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.benchmarks.metrics.detection import predicted_array, true_array
from edge_pneumo.edge_runtime.decode import Finding
from edge_pneumo.errors import FilmRefused, UsageFault


class LabelledFilm(Protocol):
    """What the evaluator reads of a film; `train.data.index.Film` is one."""

    @property
    def film_id(self) -> str: ...
    @property
    def label(self) -> int: ...
    @property
    def boxes_xyxy(self) -> Sequence[Sequence[float]]: ...
    @property
    def group(self) -> str: ...
    @property
    def sex(self) -> str | None: ...
    @property
    def age_years(self) -> float | None: ...
    @property
    def view(self) -> str | None: ...


@dataclass(frozen=True)
class Cases:
    """The films that were answered.

    Attributes
    ----------
    films : (n,) as given, refused and unlabelled ones left out.
    labels : (n,) bool.
    probabilities : (n,) float64, 0..1.
    threshold : operating point of the findings (NaN without any).
    group : (n,) index of the patient, 0..patients-1.
    true_boxes, predicted_boxes : per film (k, 4) and (k, 5), source pixels.
    candidate_boxes : per film (k, 5), boxes before the threshold; the predicted ones where there are no others.
    boxed : (n,) whether a film can be judged by its boxes: negatives, and positives that have any.
    refused : reason -> count.
    refused_positives : of the refused films, those with an opacity.
    warnings : sentences about what was left out.
    """

    films: tuple[LabelledFilm, ...]
    labels: NDArray[np.bool_]
    probabilities: NDArray[np.float64]
    threshold: float
    group: NDArray[np.int64]
    true_boxes: tuple[NDArray[np.float64], ...]
    predicted_boxes: tuple[NDArray[np.float64], ...]
    candidate_boxes: tuple[NDArray[np.float64], ...]
    boxed: NDArray[np.bool_]
    refused: dict[str, int]
    refused_positives: int
    warnings: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.films)

    def subset(self, mask: NDArray[np.bool_]) -> Cases:
        """The cases where `mask` (n,) is true; patients keep their index."""
        keep = np.flatnonzero(mask)
        return replace(
            self,
            films=tuple(self.films[i] for i in keep),
            labels=self.labels[keep],
            probabilities=self.probabilities[keep],
            group=self.group[keep],
            true_boxes=tuple(self.true_boxes[i] for i in keep),
            predicted_boxes=tuple(self.predicted_boxes[i] for i in keep),
            candidate_boxes=tuple(self.candidate_boxes[i] for i in keep),
            boxed=self.boxed[keep],
        )


def pair(
    films: Sequence[LabelledFilm],
    findings: Sequence[Finding | FilmRefused],
    candidates: Sequence[Finding | FilmRefused] | None = None,
) -> Cases:
    """Lay films and their findings out for the evaluator; `candidates` are findings with boxes before the threshold.

    Raises
    ------
    UsageFault : there are not as many findings as films, or they were made at different thresholds.
    """
    for given in (findings, candidates):
        if given is not None and len(films) != len(given):
            raise UsageFault(f"{len(films)} films but {len(given)} findings: one finding or refusal is needed per film")
    kept: list[tuple[Any, Finding]] = []
    offered: list[Finding | FilmRefused] = []
    refused: Counter[str] = Counter()
    refused_positives, unlabelled, broken = 0, 0, 0
    for film, finding, candidate in zip(films, findings, candidates or findings, strict=True):
        if film.label not in (0, 1):
            unlabelled += 1
        elif isinstance(finding, FilmRefused):
            refused[finding.reason] += 1
            refused_positives += film.label
        elif not np.isfinite(finding.probability):
            broken += 1
            refused["not-finite"] += 1
            refused_positives += film.label
        else:
            kept.append((film, finding))
            offered.append(candidate)
    thresholds = {finding.threshold for _, finding in kept}
    if len(thresholds) > 1:
        raise UsageFault(f"the findings were made at {len(thresholds)} different thresholds; evaluate one at a time")
    labels = np.array([film.label == 1 for film, _ in kept], bool)
    true = tuple(true_array(film.boxes_xyxy) for film, _ in kept)
    boxed = ~labels | np.array([len(t) > 0 for t in true], bool)
    groups = np.unique([str(film.group) for film, _ in kept], return_inverse=True)[1] if kept else np.zeros(0, np.int64)
    return Cases(
        films=tuple(film for film, _ in kept),
        labels=labels,
        probabilities=np.array([finding.probability for _, finding in kept], np.float64),
        threshold=thresholds.pop() if thresholds else float("nan"),
        group=np.asarray(groups, np.int64),
        true_boxes=true,
        predicted_boxes=tuple(_boxes(finding) for _, finding in kept),
        candidate_boxes=tuple(_boxes(candidate) for candidate in offered),
        boxed=boxed,
        refused=dict(refused.most_common()),
        refused_positives=refused_positives,
        warnings=tuple(_warnings(labels, boxed, refused, refused_positives, unlabelled, broken)),
    )


def _boxes(finding: Finding | FilmRefused) -> NDArray[np.float64]:
    """Boxes of a finding (k, 5) by falling score; none of a refusal."""
    boxes = () if isinstance(finding, FilmRefused) else finding.boxes
    return predicted_array([(b.x1, b.y1, b.x2, b.y2, b.score) for b in boxes])


def _warnings(
    labels: NDArray, boxed: NDArray, refused: Counter[str], refused_positives: int, unlabelled: int, broken: int
) -> list[str]:
    lines = []
    positives, n = int(labels.sum()), len(labels)
    if not n:
        lines.append("No film was answered: every figure is null.")
    elif positives in (0, n):
        which = "an opacity" if positives else "no opacity"
        lines.append(f"All films ({n}) have {which}: figures that need both kinds (AUC and others) are null.")
    elif min(positives, n - positives) < 20:
        lines.append(
            f"Only {positives} films with and {n - positives} without an opacity: the intervals are wide;"
            " read them, not the values."
        )
    if unlabelled:
        lines.append(f"{_films(unlabelled)} without a label left out.")
    if refused:
        reasons = ", ".join(f"{reason} {count}" for reason, count in refused.most_common())
        lines.append(
            f"{_films(sum(refused.values()))} refused ({reasons}), {refused_positives} with an opacity; counted in no"
            " figure."
        )
    if broken:
        lines.append(f"The model gave a probability that is not a number for {broken} films: the model is broken.")
    without = int((~boxed).sum())
    if without and without == positives:
        lines.append("No film with an opacity has a true box: box figures (RSNA score, AP, FROC, IoU) are null.")
    elif without:
        lines.append(f"{_films(without)} with an opacity but no true box left out of the box figures.")
    return lines


def _films(n: int) -> str:
    return "1 film" if n == 1 else f"{n} films"
