"""Tubes, wires and markers: what lies on a sick patient and says nothing of pneumonia by itself."""

from __future__ import annotations

import numpy as np

from edge_pneumo.train.data.phantom.anatomy import LEFT, RIGHT, Anatomy
from edge_pneumo.train.data.phantom.canvas import Canvas, Mask, Shape


def devices(canvas: Canvas, body: Anatomy, rng: np.random.Generator, chance: float) -> Mask | None:
    """Metal and plastic over the chest, 0..1; None when there is none. `chance` is that of each kind."""
    lines: list[Shape] = []
    if rng.random() < chance:  # tube in the windpipe
        x = rng.normal(0, 0.012)
        lines += _tube([(x + 0.02, -1.1), (x, -0.8), (x, rng.uniform(-0.55, -0.35))], 0.026, 0.42)
    if rng.random() < chance:  # feeding tube to the stomach
        x = rng.normal(0.0, 0.015)
        lines += _tube([(x, -1.1), (x + 0.01, -0.2), (x + 0.05, 0.3), (rng.uniform(0.15, 0.35), 0.72)], 0.018, 0.40)
    if rng.random() < chance:  # central line
        side = RIGHT if rng.random() < 0.7 else LEFT
        down = (-0.11, rng.uniform(-0.2, 0.0))
        lines += _tube([(side * 0.28, -0.98), (side * 0.2, -0.7), (-0.09, -0.45), down], 0.014, 0.5)
    if rng.random() < chance:  # electrodes and their wires
        for _ in range(rng.integers(2, 5)):
            x, y = rng.uniform(-0.7, 0.7), rng.uniform(-0.6, 0.5)
            bend = (x + rng.normal(0, 0.25), y + rng.uniform(0.2, 0.5))
            lines.append(([(x, y), bend, (bend[0] + rng.normal(0, 0.3), 1.2)], 0.009, 0.45))
            lines.append(([(x - 0.022, y), (x + 0.022, y)], 0.044, 0.9))
    if rng.random() < chance * 0.35:  # pacemaker
        x, y = LEFT * rng.uniform(0.5, 0.6), rng.uniform(-0.62, -0.5)
        lines.append(([(x - 0.08, y), (x + 0.08, y)], 0.13, 1.0))
        lines.append(([(x - 0.08, y), (0.15, -0.5), (-0.08, -0.2), (0.05, 0.22)], 0.010, 0.8))
    if rng.random() < chance * 0.3:  # wires of a split breastbone
        for y in np.arange(-0.45, 0.2, 0.12):
            lines.append(([(-0.03, y), (0.0, y - 0.015), (0.03, y)], 0.012, 1.0))
    return canvas.draw(lines) if lines else None


def _tube(points: list, width: float, value: float) -> list[Shape]:
    """A tube: two walls and a hollow, with a bright thread along it."""
    return [(points, width, value), (points, width * 0.55, value * 0.45), (points, 0.005, value * 1.6)]


def side_marker(canvas: Canvas, rng: np.random.Generator) -> Mask:
    """The lead letter that tells left from right."""
    x, y = (-0.86, rng.uniform(-0.9, -0.75)) if rng.random() < 0.5 else (0.86, rng.uniform(-0.9, -0.75))
    h = 0.045
    stem = [(x - 0.025, y - h), (x - 0.025, y + h)]
    if x < 0:  # R
        strokes = [stem, [(x - 0.025, y - h), (x + 0.02, y - h), (x + 0.02, y), (x - 0.025, y), (x + 0.025, y + h)]]
    else:  # L
        strokes = [stem, [(x - 0.025, y + h), (x + 0.025, y + h)]]
    return canvas.draw([(stroke, 0.014, 1.0) for stroke in strokes])
