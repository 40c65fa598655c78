"""What the settings of the decoder are worth: film scores and box settings of trained detectors, on validation films.

    python -m edge_pneumo.train.decode_check --data DIR -o decode.json default runs/other

For each run: AUC of the heat map's maximum, mixed with the pooled logit, and averaged with the mirrored film; and the
best RSNA score over box thresholds (averaged with its neighbours, as `choose_box_threshold` does it) without and with
box voting and with boxes shrunk or grown. Chosen on the films judged: the differences are of use, not the heights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from edge_pneumo.benchmarks.metrics import auc
from edge_pneumo.benchmarks.operating import BOX_THRESHOLDS, box_scores, smooth
from edge_pneumo.edge_runtime.decode import DecodeSpec, RawOutputs
from edge_pneumo.edge_runtime.preprocess import Geometry

IMAGE_SHARES = (0.0, 0.1, 0.25, 0.5, 1.0)
"""Share of the pooled logit in the film score; both are standardised first."""
VOTES = (1.0, 0.6, 0.5, 0.4)
SCALES = (0.9, 0.95, 1.05, 1.1)


def film_scores(raw: Sequence[RawOutputs], mirrored: Sequence[RawOutputs], labels: NDArray) -> dict[str, float]:
    """AUC of each way to make one score of a film's outputs."""

    def unit(values: list[float]) -> NDArray[np.float64]:
        x = np.asarray(values, np.float64)
        return (x - float(x.mean())) / max(float(x.std()), 1e-9)

    heat, image = unit([float(r.heat.max()) for r in raw]), unit([r.image_logit for r in raw])
    found = {f"pooled logit {share:g}": auc(labels, (1 - share) * heat + share * image) for share in IMAGE_SHARES}
    both = [float(a.heat.max() + b.heat.max()) for a, b in zip(raw, mirrored, strict=True)]
    return {**found, "mean with the mirrored film": auc(labels, np.array(both))}


def box_settings(
    raw: Sequence[RawOutputs], geometries: Sequence[Geometry], true: Sequence[Any], spec: DecodeSpec
) -> dict[str, float]:
    """Best RSNA score of each setting; `spec` gives calibration, overlap of suppression and number of boxes."""
    found = {}
    plans = [(f"voting from IoU {vote:g}" if vote < 1 else "no voting", vote, 1.0) for vote in VOTES]
    plans += [(f"voting from IoU 0.5, sides x {scale:g}", 0.5, scale) for scale in SCALES]
    for name, vote, scale in plans:
        plan = replace(spec, vote_iou=vote)
        fixed = (spec.nms_iou,), (spec.max_boxes,), (scale,)
        scores = box_scores(raw, geometries, true, plan, tuple(BOX_THRESHOLDS), *fixed)
        found[name] = float(smooth(scores, axis=3, width=3).max())
    return found


def check_run(path: str, data: Any, cache_dir: Path | None) -> dict[str, Any]:
    """Both, for one run, on the films of split `val`."""
    from edge_pneumo.train.fit import load_validation
    from edge_pneumo.train.run import load_run

    run = load_run(path)
    films = load_validation(data, run.input_spec, cache_dir, lambda sentence: click.echo(sentence, err=True))
    raw, mirrored = run.raw_outputs(films.images), run.raw_outputs(films.images[:, :, ::-1])
    true = [np.array(film.boxes_xyxy, np.float32).reshape(-1, 4) for film in films.films]
    return {
        "run": "/".join(Path(path).parts[-3:]),
        "n": len(raw),
        "auc": film_scores(raw, mirrored, np.array([film.label for film in films.films])),
        "rsna_score": box_settings(raw, films.geometries, true, run.decode_spec),
    }


@click.command()
@click.argument("runs", nargs=-1, required=True)
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Labelled films with a split val.")
@click.option("--cache", "cache_dir", type=click.Path(path_type=Path), help="Keep decoded films here.")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="JSON to write.")
def main(runs: tuple[str, ...], data: Path, cache_dir: Path | None, out: Path) -> None:
    """What the decoder's settings are worth for RUNS."""
    from edge_pneumo.train.data.index import load_dataset
    from edge_pneumo.train.run import write_json

    films = load_dataset(data)
    found = [check_run(run, films, cache_dir) for run in runs]
    write_json(out, {"schema": 1, "split_hash": films.split_hash, "runs": found})
    for row in found:
        click.echo(f"{row['run']} ({row['n']} films)")
        for figure in ("auc", "rsna_score"):
            for name, value in row[figure].items():
                click.echo(f"  {figure:10} {name:38} {value:.4f}")


if __name__ == "__main__":
    main()
