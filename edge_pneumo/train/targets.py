"""Boxes and labels of a film -> the arrays that the losses compare the outputs with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class FilmLabel:
    """What is known of a training film, boxes in input pixels of the preprocessed picture.

    Attributes
    ----------
    opacity : probability 0..1 that the film shows an opacity (1 or 0 where a radiologist said so, soft for weak films).
    boxes_xyxy : (k, 4) float32, possibly empty.
    boxes_known : False where boxes may be missing; the heat map is then only taught through its maximum.
    box_weight : weight of heat and box terms.
    findings : (f,) 0/1 of the auxiliary outputs, nan where unknown; None where all are.
    weight : weight of the film's image-level terms.
    """

    opacity: float
    boxes_xyxy: NDArray[np.float32]
    boxes_known: bool = True
    box_weight: float = 1.0
    findings: NDArray[np.float32] | None = None
    weight: float = 1.0


def dense_targets(
    boxes_xyxy: NDArray[np.float32], size_px: int, stride: int, gaussian: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Heat map, boxes and box weights on the output grid.

    Parameters
    ----------
    boxes_xyxy : (k, 4) in input pixels.
    gaussian : standard deviation of a box's heat as a fraction of its sides.

    Returns
    -------
    heat (g, g, 1) in 0..1, the largest of the boxes' gaussians; 1 at the cell nearest a box's centre.
    box (g, g, 4) xyxy in input pixels, of the box whose gaussian is largest there.
    weight (g, g, 1) how much the box term counts: the gaussian where it passes 0.3 and the cell lies in the box.
    """
    g = size_px // stride
    centres = (np.arange(g, dtype=np.float32) + 0.5) * stride
    heat = np.zeros((g, g, 1), np.float32)
    box = np.zeros((g, g, 4), np.float32)
    weight = np.zeros((g, g, 1), np.float32)
    for x1, y1, x2, y2 in np.asarray(boxes_xyxy, np.float32).reshape(-1, 4):
        width, height = x2 - x1, y2 - y1
        if width < 1 or height < 1:
            continue
        along_x = np.exp(-0.5 * ((centres - (x1 + x2) / 2) / max(gaussian * width, stride / 3)) ** 2)
        along_y = np.exp(-0.5 * ((centres - (y1 + y2) / 2) / max(gaussian * height, stride / 3)) ** 2)
        here = along_y[:, None] * along_x[None, :]
        here = here / here.max()
        stronger = here > heat[..., 0]
        heat[..., 0] = np.where(stronger, here, heat[..., 0])
        box[stronger] = (x1, y1, x2, y2)
        inside = ((centres > x1) & (centres < x2))[None, :] & ((centres > y1) & (centres < y2))[:, None]
        weight[..., 0] = np.where(stronger, np.where(inside & (here > 0.3), here, 0), weight[..., 0])
    return heat, box, weight
