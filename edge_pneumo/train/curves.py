"""The course of a training run as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_pneumo.edge_runtime.files import atomic_write


def draw_curves(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Draw losses and validation AUC per epoch as SVG. `rows` are those of log.csv."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = list(range(1, len(rows) + 1))
    names = [n for n in ("loss", "heat", "box", "image", "pooled_heat", "findings") if any(n in row for row in rows)]
    for name in names:
        left.plot(epochs, [row.get(name) for row in rows], marker=".", label=name)
    for name in sorted({n for row in rows for n in row if n.startswith("val_")}):
        right.plot(
            epochs, [row.get(name) for row in rows], marker=".", label=name.removeprefix("val_").replace("_", " ")
        )
    left.set(xlabel="epoch", ylabel="training loss")
    right.set(xlabel="epoch", ylabel="AUC on val (averaged weights)", ylim=(0.4, 1.0))
    for axis in (left, right):
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3)
    with atomic_write(path, "w") as stream:
        figure.savefig(stream, format="svg", metadata={"Date": None})
