"""Random changes of a training film and its boxes together. NumPy and Pillow, about a millisecond a film."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_pneumo.train.config import AugmentConfig


def augment(
    grey: NDArray[np.uint8], boxes_xyxy: NDArray[np.float32], rng: np.random.Generator, config: AugmentConfig
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Change one film.

    Parameters
    ----------
    grey : (s, s) uint8. boxes_xyxy : (k, 4) float32 in its pixels.

    Returns
    -------
    The same shapes; boxes that have left the picture by more than three quarters are gone. A rotated box stays upright
    about its rotated centre: the radiologists' boxes are loose, and circumscribing would make them grow.
    """
    size = grey.shape[0]
    matrix = _affine(size, rng, config)
    inverse = np.linalg.inv(matrix)
    picture = Image.fromarray(grey).transform(
        (size, size), Image.Transform.AFFINE, tuple(inverse[:2].ravel()), Image.Resampling.BILINEAR
    )
    value = _tone(np.asarray(picture, np.float32), rng, config)
    boxes = _move(np.asarray(boxes_xyxy, np.float32).reshape(-1, 4), matrix, size)
    if rng.random() < config.cutout:
        _cut(value, rng)
    return value.astype(np.uint8), boxes


def _affine(size: int, rng: np.random.Generator, config: AugmentConfig) -> NDArray[np.float64]:
    """Source -> result, 3 x 3, about the centre."""
    angle = np.deg2rad(rng.uniform(-1, 1) * config.rotate_deg)
    scale = 2 ** rng.uniform(-config.scale_log2, config.scale_log2)
    stretch = 2 ** (rng.uniform(-1, 1) * config.stretch_log2)
    mirror = -1.0 if rng.random() < config.flip else 1.0
    shift = rng.uniform(-1, 1, 2) * config.shift * size
    c, s = np.cos(angle), np.sin(angle)
    linear = np.array([[c, -s], [s, c]]) @ np.diag([scale * stretch * mirror, scale / stretch])
    centre = np.array([size / 2, size / 2])
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = centre + shift - linear @ centre
    return matrix


def _tone(value: NDArray[np.float32], rng: np.random.Generator, config: AugmentConfig) -> NDArray[np.float32]:
    gamma = 2 ** rng.uniform(-config.gamma_log2, config.gamma_log2)
    contrast = 2 ** rng.uniform(-config.contrast_log2, config.contrast_log2)
    levels = 255 * (np.arange(256, dtype=np.float32) / 255) ** np.float32(gamma)
    levels = (levels - 128) * np.float32(contrast) + 128 + np.float32(rng.uniform(-1, 1) * config.brightness)
    value = levels.astype(np.float32)[np.rint(value).astype(np.uint8)]
    if config.noise and rng.random() < 0.5:
        value += rng.standard_normal(value.shape, np.float32) * np.float32(rng.uniform(0, config.noise))
    return np.clip(value, 0, 255, dtype=np.float32)


def _move(boxes: NDArray[np.float32], matrix: NDArray[np.float64], size: int) -> NDArray[np.float32]:
    if not len(boxes):
        return boxes
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 @ matrix[:2, :2].T + matrix[:2, 2]
    gain = np.sqrt(np.square(matrix[:2, :2]).sum(0))  # column lengths: how much x and y grew
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * gain
    moved = np.concatenate([centre - half, centre + half], 1)
    clipped = np.clip(moved, 0, size)
    area = np.prod(moved[:, 2:] - moved[:, :2], 1)
    left = np.prod(clipped[:, 2:] - clipped[:, :2], 1)
    return clipped[left > 0.25 * area].astype(np.float32)


def _cut(value: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Cover one rectangle with a flat grey (DeVries & Taylor, 2017)."""
    size = value.shape[0]
    width, height = rng.integers(size // 12, size // 4, 2)
    x, y = rng.integers(0, size - width), rng.integers(0, size - height)
    value[y : y + height, x : x + width] = rng.uniform(0, 255)
