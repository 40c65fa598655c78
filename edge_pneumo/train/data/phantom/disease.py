"""What can be wrong in a chest: opacities, which get boxes, and other disease, which does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge_pneumo.train.data.phantom.anatomy import LEFT, RIGHT, Anatomy, chest_wall, lung_base
from edge_pneumo.train.data.phantom.canvas import Canvas, Mask, cloud

ZONES = ((RIGHT, "low"), (LEFT, "low"), (RIGHT, "high"), (LEFT, "high"))
"""Where an opacity may lie; one a zone, so that boxes do not overlap."""

_ZONE_WEIGHTS = np.array([0.36, 0.32, 0.17, 0.15])

BUILD_CHANGES = ("large heart", "hyperinflation")
LUNG_CHANGES = ("effusion", "nodules", "bands", "pneumothorax", "reticular", "congestion", "hilum")
OTHER_DISEASE = BUILD_CHANGES + LUNG_CHANGES
"""Disease of class "No Lung Opacity / Not Normal"."""


def pick_zones(rng: np.random.Generator, n: int) -> list[tuple[int, str]]:
    """n different zones, the lower ones more often."""
    return [ZONES[i] for i in rng.choice(len(ZONES), size=n, replace=False, p=_ZONE_WEIGHTS)]


def opacity(canvas: Canvas, body: Anatomy, lung: Mask, zone: tuple[int, str], rng: np.random.Generator) -> Mask:
    """One pneumonia: a lumpy, ill-edged patch of filled lung, 0..1, with air-filled bronchi left in it."""
    side, height = zone
    top, base = body.apex, lung_base(body, side)
    share = rng.uniform(0.60, 0.86) if height == "low" else rng.uniform(0.18, 0.36)
    y = top + share * (base + 0.1 - top)
    wall = float(chest_wall(body, np.asarray(share, np.float32)))
    x = side * rng.uniform(body.mediastinum + 0.10, wall - 0.12)
    size = rng.uniform(0.11, 0.21)
    fx, fy = canvas.frame
    field = np.zeros_like(lung)
    for _ in range(rng.integers(2, 5)):
        cx, cy = x + rng.normal(0, size * 0.45), y + rng.normal(0, size * 0.65)
        rx, ry = size * rng.uniform(0.5, 0.9), size * rng.uniform(0.6, 1.3)
        field += np.exp(-(((fx - cx) / rx) ** 2) - ((fy - cy) / ry) ** 2)
    field = np.clip(field, 0, 1.1) * np.clip(1 + 0.35 * cloud(rng, canvas.px, 10), 0.1, 1.8)
    bronchi = []
    for _ in range(rng.integers(0, 4)):
        start = np.array([x, y]) + rng.normal(0, size * 0.4, 2)
        bronchi.append(([start, start + rng.normal(0, size * 0.6, 2)], 0.014, 0.5))
    if bronchi:
        field = field * (1 - canvas.draw(bronchi, blur=2))
    return np.clip(field, 0, 1.2) * lung


def box_of(field: Mask, size_px: int) -> tuple[int, int, int, int] | None:
    """x, y, width, height on a film of `size_px` around what an eye would outline; None when hardly anything shows."""
    strong = field > 0.30 * float(field.max())
    rows, columns = np.flatnonzero(strong.sum(1) > 1), np.flatnonzero(strong.sum(0) > 1)
    if float(field.max()) < 0.4 or min(len(rows), len(columns)) < 0.07 * len(field):
        return None
    unit = size_px / field.shape[0]
    x1, y1, x2, y2 = (round(edge * unit) for edge in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    return x1, y1, min(x2, size_px) - x1, min(y2, size_px) - y1


def change_build(body: Anatomy, disease: str, rng: np.random.Generator) -> Anatomy:
    """Disease that changes the chest's shape."""
    if disease == "large heart":
        return replace(body, heart=min(0.80, body.heart * float(rng.uniform(1.25, 1.5))))
    return replace(body, base_right=body.base_right + 0.12, heart=body.heart * 0.82, markings=body.markings * 0.6)


def other_disease(canvas: Canvas, body: Anatomy, lung: Mask, disease: str, rng: np.random.Generator) -> Mask:
    """What a disease without a box adds to the film (negative: takes away)."""
    side = RIGHT if rng.random() < 0.5 else LEFT
    fx, fy = canvas.frame
    on_side = lung * (side * fx > 0)
    if disease == "effusion":
        level = lung_base(body, side) - rng.uniform(-0.06, 0.22)
        slope = np.clip(side * fx - body.mediastinum, 0, 1) / body.width
        return 0.34 * on_side * np.clip((fy - level + 0.20 * slope**2) / 0.06, 0, 1)
    if disease == "nodules":
        total = np.zeros_like(lung)
        for _ in range(rng.integers(1, 7)):
            x, y = rng.choice([-1, 1]) * rng.uniform(0.22, body.width * 0.85), rng.uniform(body.apex + 0.15, 0.3)
            radius = rng.uniform(0.018, 0.06)
            total += rng.uniform(0.10, 0.22) * canvas.blob(x, y, radius, radius * rng.uniform(0.85, 1.15), edge=0.3)
        return total * lung
    if disease == "bands":
        lines = []
        for _ in range(rng.integers(1, 4)):
            x, y = side * rng.uniform(0.25, 0.5), lung_base(body, side) - rng.uniform(0.03, 0.2)
            lines.append(([(x - 0.12, y + rng.normal(0, 0.03)), (x + 0.12, y + rng.normal(0, 0.03))], 0.022, 1.0))
        return rng.uniform(0.10, 0.18) * canvas.draw(lines, blur=2) * lung
    if disease == "pneumothorax":
        gap = rng.uniform(0.07, 0.16)
        depth = (fy - body.apex) / (lung_base(body, side) + 0.2 - body.apex)
        edge = chest_wall(body, depth) - gap * np.clip(1.15 - depth, 0.2, 1)
        beyond = np.clip((side * fx - edge) / 0.006, -1.5, 1.5)
        return on_side * (0.05 * np.exp(-(beyond**2) * 2) - 0.09 * (beyond > 0))
    if disease == "reticular":
        where = np.clip(0.4 + 0.6 * (fy - body.apex), 0, 1.2)
        return rng.uniform(0.05, 0.09) * lung * where * (1 - np.abs(cloud(rng, canvas.px, 40)))
    if disease == "congestion":
        away = np.clip((np.abs(fx) - body.mediastinum) / 0.42, 0, 1)
        near = np.exp(-(((fy + 0.02) / 0.38) ** 2)) * (1 - away) ** 1.3
        return rng.uniform(0.10, 0.20) * lung * near * (1 + 0.2 * cloud(rng, canvas.px, 10))
    x, y = side * (body.mediastinum + 0.08), -0.08 + rng.normal(0, 0.04)
    return rng.uniform(0.14, 0.24) * canvas.blob(x, y, rng.uniform(0.07, 0.12), rng.uniform(0.08, 0.16), 0.6)
