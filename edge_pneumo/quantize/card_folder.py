"""The model card as a folder to look at: the Markdown and its calibration plot."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edge_pneumo.edge_runtime.files import atomic_write
from edge_pneumo.edge_runtime.trailer import CARD
from edge_pneumo.errors import MissingExtra

PLOT = "calibration.svg"
_HEADING = "## Calibration\n"


def write_card(folder: str | Path, card: str, metadata: Mapping[str, Any]) -> list[Path]:
    """Write MODEL_CARD.md and, where the model was measured on labelled films, the picture that it then shows.

    Parameters
    ----------
    folder : made where missing; other files in it are left alone.
    card, metadata : of a model file (`open_bundle`).

    Returns
    -------
    The files written, the card first.

    Raises
    ------
    MissingExtra : there is a plot to draw and matplotlib is not installed. WriteFailed : a file cannot be written.
    """
    folder = Path(folder)
    files = {CARD: card}
    if bins := _bins(metadata.get("metrics")):
        if find_spec("matplotlib") is None:
            raise MissingExtra("the calibration plot", "matplotlib", "bench")
        from edge_pneumo.benchmarks.metrics.plots import draw_reliability

        shown = (
            f"{_HEADING}![Share of films with an opacity against the probability said; numbers are films]({PLOT})\n\n"
        )
        files = {CARD: card.replace(_HEADING, shown, 1), PLOT: draw_reliability(bins)}
    for name in reversed(files):  # the picture first: a card never names one that is not there
        with atomic_write(folder / name, "w") as stream:
            stream.write(files[name])
    return [folder / name for name in files]


def _bins(metrics: Any) -> list[dict[str, float]]:
    """The bins that hold films; none where metadata (anybody's) say nothing that can be drawn."""
    rows = metrics.get("reliability") if isinstance(metrics, Mapping) else None
    said = [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
    drawn: list[dict[str, Any]] = [
        {name: row.get(name) for name in ("n", "mean_probability", "observed")} for row in said
    ]
    return [row for row in drawn if all(isinstance(value, int | float) for value in row.values()) and row["n"] > 0]
