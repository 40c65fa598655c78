"""Loss and accuracy per epoch as a picture, as the report draws them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_pneumo.edge_runtime.files import atomic_write


def draw_course(path: Path, rows: Sequence[dict[str, Any]], always_no: float) -> None:
    """Draw the rows of log.csv as SVG.

    Parameters
    ----------
    always_no : accuracy on val of answering "no opacity" always, drawn as the line to beat.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in rows]
    for name, label in (("loss", "train"), ("val_loss", "val")):
        left.plot(epochs, [row[name] for row in rows], marker=".", label=label)
    for name, label in (("accuracy", "accuracy, train"), ("val_accuracy", "accuracy, val"), ("val_auc", "AUC, val")):
        right.plot(epochs, [row[name] for row in rows], marker=".", label=label)
    right.axhline(always_no, color="grey", linestyle=":", label="always no: accuracy, val")
    left.set(xlabel="epoch", ylabel="loss")
    right.set(xlabel="epoch", ylim=(0, 1))
    for axis in (left, right):
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3)
    with atomic_write(path, "w") as stream:
        figure.savefig(stream, format="svg", metadata={"Date": None})
