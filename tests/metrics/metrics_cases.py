"""Made-up films and findings for the tests of the metrics."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from edge_pneumo.edge_runtime.decode import Box, Finding


def film(film_id="f", label=0, boxes=(), group=None, sex=None, age_years=None, view=None):
    return SimpleNamespace(
        film_id=film_id, label=label, boxes_xyxy=tuple(boxes), group=group or film_id, sex=sex, age_years=age_years,
        view=view,
    )  # fmt: skip


def finding(probability, boxes=(), threshold=0.5):
    return Finding(float(probability), threshold, tuple(Box(*box) for box in boxes))


def clinic(n=120, seed=0, films_a_patient=2, separation=1.8):
    """Films with 1 to 3 boxes where positive, and findings of a middling model; two films a patient."""
    rng = np.random.default_rng(seed)
    films, findings = [], []
    for i in range(n):
        label = int(rng.random() < 0.4)
        true = []
        for _ in range(rng.integers(1, 4) if label else 0):
            x, y, w, h = *rng.uniform(50, 600, 2), *rng.uniform(100, 350, 2)
            true.append((x, y, x + w, y + h))
        view = str(rng.choice(["AP", "PA"], p=[0.7, 0.3] if label else [0.4, 0.6]))
        age = float(rng.integers(1, 95))
        films.append(film(f"film-{i}", label, true, f"patient-{i // films_a_patient}", "MF"[i % 2], age, view))
        probability = 1 / (1 + np.exp(-(rng.normal() * 1.2 + separation * label - separation / 2)))
        boxes = [
            (*(np.array(box) + rng.normal(size=4) * 25), probability * rng.uniform(0.4, 1))
            for box in true
            if rng.random() < probability
        ]
        if rng.random() < 0.6 * probability:
            boxes.append((300, 300, 500, 600, probability * rng.uniform(0.2, 0.9)))
        findings.append(finding(probability, boxes))
    return films, findings
