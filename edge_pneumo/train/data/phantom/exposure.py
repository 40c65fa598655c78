"""A case -> the film a machine would have made of it, with the boxes of its opacities."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_pneumo.train.data.phantom import anatomy, devices, disease
from edge_pneumo.train.data.phantom.anatomy import Anatomy
from edge_pneumo.train.data.phantom.canvas import Canvas, Mask

_GRID = 512  # bodies are drawn at this size, whatever the film's
_SOFT_GRID = 256  # and what has no sharp edge at this


@dataclass(frozen=True)
class Case:
    """What is to be on a film.

    Attributes
    ----------
    body : the patient.
    opacities : how many, 0 to 4.
    diseases : names from `disease.OTHER_DISEASE`.
    seed : of everything that differs between two films of one patient.
    """

    body: Anatomy
    opacities: int
    diseases: tuple[str, ...]
    seed: int


def expose(case: Case, size_px: int) -> tuple[NDArray[np.uint8], list[tuple[int, int, int, int]]]:
    """Make the film.

    Returns
    -------
    (size, size) uint8 in display polarity, and the opacities' boxes as x, y, width, height in its pixels.
    """
    rng = np.random.default_rng(case.seed)
    body = case.body
    for name in case.diseases:
        if name in disease.BUILD_CHANGES:
            body = disease.change_build(body, name, rng)
    turn, shift = rng.normal(0, 1.6 if body.view == "AP" else 0.8), rng.normal(0, 0.03, 2)
    canvas = Canvas(_GRID, turn, rng.uniform(1.0, 1.2), *(float(s) for s in shift))
    shadow, lung = _healthy(canvas, body, rng)
    added, boxes = _sick(replace(canvas, px=_SOFT_GRID), body, lung, case, rng, size_px)
    if added is not None:
        shadow += _resized(added, _GRID)
    things = devices.devices(canvas, body, rng, 0.35 if body.view == "AP" else 0.06)
    if things is not None:
        shadow += 0.28 * things
    film = _develop(canvas, shadow, rng)
    return _grain(_bordered(film, rng, size_px), rng), boxes


def _healthy(canvas: Canvas, body: Anatomy, rng: np.random.Generator) -> tuple[Mask, Mask]:
    """Attenuation without disease (0 air, about 1 spine), and the share of lung in each pixel."""
    core = anatomy.heart(canvas, body)
    lung = anatomy.lungs(canvas, body) * (1 - 0.88 * core)
    tissue = anatomy.soft_tissue(canvas, body)
    inside = np.minimum(tissue, 1)
    shadow = 0.60 * tissue + 0.10 * core * inside
    shadow += 0.13 * anatomy.abdomen(canvas, body, lung, rng) * inside
    shadow -= lung * (0.39 - 0.02 * anatomy.lung_texture(canvas, rng))
    shadow += 0.125 * anatomy.bones(canvas, body) * inside * (1 - 0.4 * core)
    shadow += 0.11 * anatomy.vessels(canvas, body, rng) * lung
    shadow -= 0.10 * anatomy.airway(canvas, body) * (1 - lung)
    return shadow, lung


def _sick(
    canvas: Canvas, body: Anatomy, lung: Mask, case: Case, rng: np.random.Generator, size_px: int
) -> tuple[Mask | None, list[tuple[int, int, int, int]]]:
    """What disease adds, on the coarse grid, and the boxes of opacities."""
    if not case.opacities and not case.diseases:
        return None, []
    lung = lung[:: _GRID // _SOFT_GRID, :: _GRID // _SOFT_GRID]
    added, boxes = np.zeros_like(lung), []
    for zone in disease.pick_zones(rng, case.opacities):
        box = None
        while box is None:  # a patch that fell behind the heart shows too little to be called an opacity
            field = disease.opacity(canvas, body, lung, zone, rng)
            box = disease.box_of(field, size_px)
        added += rng.uniform(0.13, 0.30) * field
        boxes.append(box)
    for name in case.diseases:
        if name in disease.LUNG_CHANGES:
            added += disease.other_disease(canvas, body, lung, name, rng)
    return added, boxes


def _develop(canvas: Canvas, shadow: Mask, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Attenuation -> grey levels: exposure, contrast and the machine's tone curve differ from film to film."""
    low, high = rng.uniform(0.0, 0.12), rng.uniform(0.80, 1.0)
    grey = np.clip((shadow - low) / (high - low), 0, 1)
    grey **= np.float32(rng.uniform(0.75, 1.25))
    knee = rng.uniform(0, 0.6)
    grey = (1 - knee) * grey + knee * grey * grey * (3 - 2 * grey)
    if rng.random() < 0.8:
        grey = np.maximum(grey, devices.side_marker(replace(canvas, turn_deg=0.0), rng) * 0.95)
    return np.round(grey * rng.uniform(225, 252)).astype(np.uint8)


def _bordered(film: NDArray[np.uint8], rng: np.random.Generator, size_px: int) -> NDArray[np.uint8]:
    """The film at its full size, with the black borders that collimation leaves on some."""
    grown = np.array(Image.fromarray(film).resize((size_px, size_px), Image.Resampling.BICUBIC))
    if rng.random() < 0.25:
        for side in range(4):
            if rng.random() < 0.5:
                edge = int(rng.uniform(0.01, 0.05) * size_px)
                np.rot90(grown, side)[:edge] = 0
    return grown


def _grain(film: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Add quantum noise of a strength that differs from film to film."""
    tile = _noise(film.shape[0] + 64)
    y, x = rng.integers(0, 64, 2)
    strength = np.int16(rng.integers(3, 10))
    noise = (tile[y : y + film.shape[0], x : x + film.shape[1]] * strength) >> 6
    noise += film
    return np.clip(noise, 0, 255).astype(np.uint8)


@lru_cache(maxsize=2)
def _noise(px: int) -> NDArray[np.int16]:
    """One sheet of noise of deviation about 32; films take different windows, turned by their own strength."""
    rng = np.random.default_rng(20180826)
    return np.round(rng.standard_normal((px, px), np.float32) * 32).astype(np.int16)


def _resized(field: Mask, px: int) -> Mask:
    return np.asarray(Image.fromarray(field.astype(np.float32)).resize((px, px), Image.Resampling.BILINEAR))
