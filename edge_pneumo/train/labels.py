"""A film's row in a data set -> what training may believe of it (`FilmLabel`).

Films with radiologists' labels are believed. Films with NIH's text-mined findings get a soft opacity label: a
noisy-or of `OPACITY_GIVEN`, the chance that a film with this finding shows what RSNA's readers box as an opacity. The
chances are a prior written down here, not a measurement; see docs/training.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.edge_runtime.preprocess import Geometry
from edge_pneumo.train.data.findings import NORMAL, NOT_NORMAL, OPACITY
from edge_pneumo.train.targets import FilmLabel

if TYPE_CHECKING:
    from edge_pneumo.train.data.index import Film

FINDINGS = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis", "Hernia",
    "Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax",
)  # fmt: skip
"""The fourteen findings of ChestX-ray14 (Wang et al., CVPR 2017)."""

AUXILIARY = (*FINDINGS, NORMAL)
"""What the auxiliary outputs say: the findings, and that the film is normal, as the challenge says too."""

OPACITY_GIVEN = {
    "Pneumonia": 0.8,
    "Consolidation": 0.75,
    "Infiltration": 0.55,
    "Edema": 0.6,
    "Effusion": 0.4,
    "Atelectasis": 0.35,
    "Mass": 0.35,
    "Nodule": 0.15,
}
OPACITY_OTHERWISE = 0.06


def film_label(film: Film, geometry: Geometry, weak_box: float, weak_film: float = 0.0) -> FilmLabel:
    """What training believes of a film.

    Parameters
    ----------
    geometry : of the film's preprocessed picture; boxes are mapped through it.
    weak_box : weight of heat and box terms where boxes are NIH's own, which are fewer and looser than RSNA's.
    weak_film : weight of the film's soft label where it is only text-mined.
    """
    boxes = geometry.to_input(np.array(film.boxes_xyxy, np.float32).reshape(-1, 4))
    drawn = bool(len(boxes)) or not film.label
    if film.findings is None:
        return FilmLabel(float(film.label), boxes, drawn, 1.0, of_class(film.class_name), film.weight)
    findings = np.array([*(name in film.findings for name in FINDINGS), not film.findings], np.float32)
    if film.weight == 1.0:  # boxed, or seen by a radiologist
        return FilmLabel(float(film.label), boxes, drawn, weak_box, findings)
    miss = 1 - OPACITY_OTHERWISE
    for name in film.findings:
        miss *= 1 - OPACITY_GIVEN.get(name, 0.0)
    return FilmLabel(1 - miss, boxes, not film.findings, weak_box, findings, weak_film)


def of_class(class_name: str | None) -> NDArray[np.float32] | None:
    """Targets of the auxiliary outputs from the challenge's class: normal or not, the findings unknown (nan)."""
    if class_name not in (NORMAL, NOT_NORMAL, OPACITY):
        return None
    targets = np.full(len(AUXILIARY), np.nan, np.float32)
    targets[-1] = class_name == NORMAL
    return targets
