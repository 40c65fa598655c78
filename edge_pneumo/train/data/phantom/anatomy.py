"""The healthy chest: body, lungs, heart, spine, ribs and vessels, as attenuation on a film."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.train.data.phantom.canvas import Canvas, Mask, Shape, cloud

RIGHT, LEFT = -1, 1
"""Side of the patient; the right lung is on the left of the film."""


@dataclass(frozen=True)
class Anatomy:
    """One patient's build, in units of the frame (half the film's side)."""

    view: str
    sex: str
    age_years: int
    width: float  # outer border of the lungs at their widest
    apex: float  # y of the lungs' tops
    base_right: float  # y of the top of the right diaphragm; the left lies lower
    base_drop: float
    heart: float  # half width, as a share of `width`
    heart_height: float
    mediastinum: float  # half width of the shadow between the lungs
    lean: float  # scoliosis: how far the spine swings to a side
    bone: float  # how dense bones are
    fat: float  # soft tissue over the chest
    rib_pitch: float
    rib_slope: float
    ribs_off: float
    markings: float  # how strongly vessels show


def draw_anatomy(rng: np.random.Generator, view: str, sex: str, age_years: int) -> Anatomy:
    """A patient of that view, sex and age; AP films are of sick people who lie: wide heart, high diaphragm."""
    lying = view == "AP"
    child = min(1.0, age_years / 16)
    old = max(0.0, (age_years - 50) / 40)
    return Anatomy(
        view=view,
        sex=sex,
        age_years=age_years,
        width=float(rng.normal(0.72 if sex == "M" else 0.68, 0.035)),
        apex=float(rng.normal(-0.74 if lying else -0.78, 0.035)),
        base_right=float(rng.normal(0.34 if lying else 0.46, 0.06)),
        base_drop=float(rng.uniform(0.02, 0.09)),
        heart=float(np.clip(rng.normal(0.54 if lying else 0.46, 0.04), 0.36, 0.66)),
        heart_height=float(rng.normal(0.36, 0.03)),
        mediastinum=float(rng.normal(0.15 if lying else 0.125, 0.015)),
        lean=float(rng.normal(0, 0.012 + 0.02 * old)),
        bone=float(np.clip(rng.normal(1.0, 0.12) * (0.55 + 0.45 * child) * (1 - 0.25 * old), 0.4, 1.3)),
        fat=float(np.clip(rng.normal(0.3, 0.2), 0, 0.9)),
        rib_pitch=float(rng.normal(0.142, 0.006)),
        rib_slope=float(rng.normal(0.16 if lying else 0.22, 0.03)),
        ribs_off=float(rng.uniform(-0.04, 0.04)),
        markings=float(rng.uniform(0.7, 1.3)),
    )


def lung_base(body: Anatomy, side: int) -> float:
    """y of the top of that side's diaphragm."""
    return body.base_right + (body.base_drop if side == LEFT else 0.0)


def spine_x(body: Anatomy, y: NDArray[np.floating]) -> NDArray[np.floating]:
    """x of the spine at heights y."""
    return body.lean * np.sin(2.2 * y + 0.6)


def chest_wall(body: Anatomy, depth: NDArray[np.floating]) -> NDArray[np.floating]:
    """Half width of the rib cage at a share of its depth (0 apex, 1 lowest)."""
    return body.width * (1 - (1 - np.clip(depth, 0, 1)) ** 2.6) ** 0.52 * (1 - 0.05 * np.clip(depth, 0, 1.2) ** 3)


def lung_outline(body: Anatomy, side: int) -> NDArray[np.floating]:
    """(n, 2) outline of one lung, as it shows beside heart and mediastinum."""
    dome, top = lung_base(body, side), body.apex
    bottom = dome + 0.22
    depth = np.linspace(0.0, 1.0, 28, dtype=np.float32)
    outer_y = top + depth * (bottom - top)
    outer_x = chest_wall(body, depth) * 0.985
    across = np.linspace(1.0, 0.0, 18, dtype=np.float32)
    inner = body.mediastinum * 0.8
    floor_x = inner + across * (outer_x[-1] - inner)
    reach = across - 0.40
    floor_y = dome + np.where(reach > 0, 0.20 * (np.abs(reach) / 0.6) ** 2.2, 0.05 * (reach / 0.4) ** 2)
    up = np.linspace(1.0, 0.0, 16, dtype=np.float32)
    inner_y = top + 0.05 + up * (floor_y[-1] - top - 0.05)
    inner_x = body.mediastinum * (0.75 + 0.35 * np.sin(np.pi * up) ** 2 - 0.1 * (1 - up))
    x = np.concatenate([outer_x[1:], floor_x[1:], inner_x])
    y = np.concatenate([outer_y[1:], floor_y[1:], inner_y])
    return np.stack([side * x + spine_x(body, y) * 0.5, y], axis=1)


def lungs(canvas: Canvas, body: Anatomy) -> Mask:
    """Both lungs."""
    return canvas.fill(lung_outline(body, RIGHT), lung_outline(body, LEFT), blur=4)


def heart_outline(body: Anatomy) -> NDArray[np.floating]:
    """(n, 2) outline of heart and great vessels: a third right of the middle, two thirds left, aortic knob on top."""
    half, base = body.heart * body.width, body.base_right + body.base_drop + 0.06
    t = np.linspace(0, 1, 24, dtype=np.float32)
    left_y = -0.52 + t * (base + 0.52)
    knob = 0.055 * np.exp(-(((left_y + 0.33) / 0.075) ** 2))
    start = base - 2 * body.heart_height
    belly = np.clip((left_y - start) / (base - start), 0, 1)
    left_x = body.mediastinum * 0.95 + knob + (1.32 * half - body.mediastinum) * np.sin(belly * np.pi * 0.62) ** 1.5
    right_y = left_y[::-1]
    belly = np.clip((right_y - start) / (base - start), 0, 1)
    right_x = -(body.mediastinum * 0.9 + max(0.02, 0.68 * half - body.mediastinum) * np.sin(belly * np.pi * 0.7) ** 1.4)
    x, y = np.concatenate([left_x, right_x]), np.concatenate([left_y, right_y])
    return np.stack([x + spine_x(body, y) * 0.6, y], axis=1)


def heart(canvas: Canvas, body: Anatomy) -> Mask:
    """Heart and great vessels."""
    return canvas.fill(heart_outline(body), blur=5)


def soft_tissue(canvas: Canvas, body: Anatomy) -> Mask:
    """Neck, shoulders, trunk, breasts; about 1 in the middle of the chest, 0 in the air around."""
    rim = body.width + 0.10 + 0.16 * body.fat
    trunk = [(-0.17, -1.3), (-0.19, -0.93), (-0.45, -0.84), (-rim - 0.12, -0.70), (-1.4, -0.42), (-1.4, -0.28)]
    trunk += [(-rim - 0.12, -0.2), (-rim, 0.05), (-rim - 0.02, 0.5), (-rim + 0.02, 1.4)]
    outline = trunk + [(-x, y) for x, y in reversed(trunk)]
    tissue = canvas.fill(outline, blur=9)
    x, y = canvas.frame
    tissue = tissue * (1 + 0.22 * np.clip(np.abs(x) - 0.55, 0, 1) * (0.5 + body.fat) - 0.04 * x * body.lean * 10)
    if body.sex == "F" and body.age_years > 13:
        sag = 0.42 + 0.12 * body.fat
        for side in (RIGHT, LEFT):
            breast = canvas.blob(side * 0.47, sag, 0.30 + 0.06 * body.fat, 0.26, edge=0.5)
            tissue = tissue + (0.07 + 0.10 * body.fat) * breast * np.clip(1.25 - (y - sag) * 1.5, 0, 1)
    return tissue.astype(np.float32)


def abdomen(canvas: Canvas, body: Anatomy, lung: Mask, rng: np.random.Generator) -> Mask:
    """What lies under the diaphragm, with the stomach's air in most."""
    x, y = canvas.frame
    below = np.clip((y - body.base_right - 0.02) / 0.10, 0, 1) * (1 - lung)
    below = below * np.clip((body.width + 0.06 - np.abs(x)) / 0.25, 0, 1)
    if rng.random() < 0.6:
        air = canvas.blob(rng.uniform(0.22, 0.4), lung_base(body, LEFT) + rng.uniform(0.12, 0.2), 0.13, 0.08, edge=0.5)
        below = below - 1.1 * air * (1 - lung)
    return below


def bones(canvas: Canvas, body: Anatomy) -> Mask:
    """Ribs, clavicles, shoulder blades, upper arms and spine; about 1 where dense."""
    lines: list[Shape] = []
    t = np.linspace(0, 1, 13, dtype=np.float32)
    bottom = body.base_right + 0.5
    for i in range(11):
        y0 = body.apex + 0.03 + body.ribs_off + i * body.rib_pitch
        for side in (RIGHT, LEFT):
            lines += _rib(body, side, y0, t, bottom, behind=True)
            if 1 <= i <= 7:
                lines += _rib(body, side, y0 + 0.10, t, bottom, behind=False)
    lift = -0.10 if body.view == "AP" else 0.0
    for side in (RIGHT, LEFT):
        x = np.linspace(0.09, body.width + 0.05, 9)
        s = (x - 0.09) / (body.width - 0.04)
        y = body.apex + 0.20 + lift * 0.6 - 0.13 * s + 0.05 * np.sin(s * np.pi * 2)
        points = np.stack([side * x, y], 1)
        lines += [(points, 0.062, 0.75), (points, 0.036, 0.5)]
    dense = canvas.draw(lines, blur=1.6)
    _, y = canvas.frame
    dense = dense * np.clip(1.1 - 3.0 * (y - body.base_right), 0.25, 1)  # the belly's thickness drowns the lowest ribs
    return (dense + _shoulders(canvas, body) + _spine(canvas, body)) * np.float32(body.bone)


def _rib(body: Anatomy, side: int, y0: float, t: NDArray, bottom: float, *, behind: bool) -> list[Shape]:
    """One rib as strokes: posterior from the spine out and down, anterior from the wall in and down."""
    depth = (y0 - body.apex + 0.10) / (bottom - body.apex)
    wall = float(chest_wall(body, np.asarray(min(1.0, depth + 0.09), np.float32)))
    if behind:
        x = 0.07 + t * (wall - 0.07)
        y = y0 - 0.045 * np.sin(np.pi * np.minimum(t * 1.5, 1)) + body.rib_slope * t**2.1
        strong, width = 0.95, 0.056
    else:
        reach = max(0.16, 0.62 - 0.05 * depth * 10 * 0.3)
        x = wall - t * (wall * reach)
        y = y0 + body.rib_slope * 0.9 + 0.24 * t**0.9 + 0.02 * np.sin(np.pi * t)
        strong, width = 0.42, 0.066
    points = np.stack([side * x, y], 1)
    return [(points, width, strong), (points, width * 0.55, strong * 0.66)]


def _shoulders(canvas: Canvas, body: Anatomy) -> Mask:
    inward = 0.20 if body.view == "AP" else 0.04  # blades turn out of the lungs only when a patient stands (PA)
    blades, arms = [], []
    for side in (RIGHT, LEFT):
        w = body.width + 0.12 - inward
        blades.append([(side * (w + x), y - 0.05) for x, y in ((0.0, -0.5), (0.24, -0.62), (0.2, -0.3), (0.02, 0.12))])
        arms.append([(side * (body.width + 0.2), -0.82), (side * (body.width + 0.42), -0.42)])
    shapes: list[Shape] = [(blade, 0.0, 0.3) for blade in blades]
    shapes += [(line, 0.17, 0.8) for line in arms]
    shapes += [(line, 0.10, 0.5) for line in arms]
    return canvas.draw(shapes, blur=5)


def _spine(canvas: Canvas, body: Anatomy) -> Mask:
    y = np.arange(-1.15, 1.2, body.rib_pitch * 0.97, dtype=np.float32)
    x = spine_x(body, y)
    shapes: list[Shape] = []
    for cx, cy in zip(x, y, strict=True):
        h, w = body.rib_pitch * 0.40, 0.066 + 0.016 * (cy + 1)
        block = [(cx - w, cy - h), (cx + w, cy - h), (cx + w * 0.92, cy), (cx + w, cy + h), (cx - w, cy + h)]
        shapes.append(([*block, (cx - w * 0.92, cy)], 0.0, 0.42))
        shapes.append(([(cx, cy + h * 0.2), (cx, cy + h)], 0.02, 0.62))
    return canvas.draw(shapes, blur=4.5)


def vessels(canvas: Canvas, body: Anatomy, rng: np.random.Generator) -> Mask:
    """Branching vessels from both hila, thinner as they go out."""
    lines: list[Shape] = []
    for side in (RIGHT, LEFT):
        hilum = np.array([side * (body.mediastinum + 0.09), -0.10 + (0.03 if side == RIGHT else -0.02)])
        for angle in np.linspace(-1.15, 1.3, 9):
            heading = angle + rng.normal(0, 0.12)
            _branch(lines, rng, hilum + rng.normal(0, 0.02, 2), heading, side, 0.026, 0.21, 3)
    return canvas.draw(lines[::-1], blur=1.8) * np.float32(body.markings)


def _branch(
    lines: list[Shape],
    rng: np.random.Generator,
    start: NDArray,
    heading: float,
    side: int,
    width: float,
    length: float,
    depth: int,
) -> None:
    bend = heading + rng.normal(0, 0.15)
    middle = start + 0.5 * length * np.array([side * np.cos(heading), np.sin(heading)])
    end = middle + 0.5 * length * np.array([side * np.cos(bend), np.sin(bend)])
    lines.append(([start, middle, end], width, min(1.0, 0.15 + width * 20)))
    if depth:
        for turn in (rng.uniform(0.15, 0.5), -rng.uniform(0.15, 0.5)):
            _branch(lines, rng, end, bend + turn, side, width * 0.66, length * rng.uniform(0.6, 0.85), depth - 1)


def airway(canvas: Canvas, body: Anatomy) -> Mask:
    """Trachea and main bronchi: air in the middle."""
    y = np.array([-1.1, -0.7, -0.40, -0.22])
    x = spine_x(body, y.astype(np.float32)) - np.array([0, 0, 0.01, 0.02])
    fork = (x[-1], y[-1])
    lines = [(np.stack([x, y], 1), 0.085, 1.0)]
    lines += [([fork, (fork[0] - 0.17, -0.08)], 0.05, 0.8), ([fork, (fork[0] + 0.19, -0.09)], 0.045, 0.8)]
    return canvas.draw(lines, blur=5)


def lung_texture(canvas: Canvas, rng: np.random.Generator) -> Mask:
    """Fine unevenness of healthy lung."""
    return cloud(rng, canvas.px, 24)
