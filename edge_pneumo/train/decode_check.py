"""What the settings of the decoder are worth: film scores and box settings of trained detectors, on validation films.

    python -m edge_pneumo.train.decode_check --data DIR -o decode.json default
    python -m edge_pneumo.train.decode_check --data DIR -o decode.json --folds 3 WORK/parts/a WORK/parts/b

For each run: AUC of the heat map's maximum, mixed with the pooled logit, averaged over its highest cells, and averaged
with the mirrored film; and the best RSNA score over box thresholds (averaged with its neighbours, as
`choose_box_threshold` does it) without and with box voting and with boxes shrunk or grown. Of several runs of one input
size, the same of their mean outputs. Chosen on the films judged: the differences are of use, not the heights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
HIGHEST = (2, 3, 5)
"""How many of the highest cells of the heat map make the film score."""
VOTES = (1.0, 0.6, 0.5, 0.4)
SCALES = (0.9, 0.95, 1.05, 1.1)


def film_scores(raw: Sequence[RawOutputs], mirrored: Sequence[RawOutputs], labels: NDArray) -> dict[str, float]:
    """AUC of each way to make one score of a film's outputs."""

    def unit(values: list[float]) -> NDArray[np.float64]:
        x = np.asarray(values, np.float64)
        return (x - float(x.mean())) / max(float(x.std()), 1e-9)

    heat, image = unit([float(r.heat.max()) for r in raw]), unit([r.image_logit for r in raw])
    found = {f"pooled logit {share:g}": auc(labels, (1 - share) * heat + share * image) for share in IMAGE_SHARES}
    cells = [np.sort(r.heat, axis=None)[::-1] for r in raw]
    for count in HIGHEST:
        found[f"mean of the {count} highest cells"] = auc(labels, np.array([c[:count].mean() for c in cells]))
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


@dataclass(frozen=True)
class Judged:
    """What a run says of the films it is judged on, and of their mirror images."""

    films: Any
    raw: Sequence[RawOutputs]
    mirrored: Sequence[RawOutputs]
    spec: DecodeSpec

    def figures(self) -> dict[str, dict[str, float]]:
        """AUC and RSNA score of each setting."""
        true = [np.array(film.boxes_xyxy, np.float32).reshape(-1, 4) for film in self.films.films]
        labels = np.array([film.label for film in self.films.films])
        return {
            "auc": film_scores(self.raw, self.mirrored, labels),
            "rsna_score": box_settings(self.raw, self.films.geometries, true, self.spec),
        }


def mean_of(runs: Sequence[Judged]) -> Judged:
    """One detector that says of each film what several say on average: of its heat, boxes and logit."""

    def mean(each: Sequence[Sequence[RawOutputs]]) -> list[RawOutputs]:
        return [
            RawOutputs(
                float(np.mean([r.image_logit for r in film])),
                np.mean([r.heat for r in film], axis=0),
                np.mean([r.ltrb for r in film], axis=0),
            )
            for film in zip(*each, strict=True)
        ]

    return replace(runs[0], raw=mean([r.raw for r in runs]), mirrored=mean([r.mirrored for r in runs]))


def judge(path: str | Path, data: Any, cache_dir: Path | None) -> Judged:
    """Ask a run about the films of split `val`."""
    from edge_pneumo.train.fit import load_validation
    from edge_pneumo.train.run import load_run

    run = load_run(path)
    films = load_validation(data, run.input_spec, cache_dir, lambda sentence: click.echo(sentence, err=True))
    raw, mirrored = run.raw_outputs(films.images), run.raw_outputs(films.images[:, :, ::-1])
    return Judged(films, raw, mirrored, run.decode_spec)


def check(runs: Sequence[str], data: Any, folds: int, seed: int, cache_dir: Path | None) -> list[dict[str, Any]]:
    """A row for each run, and one for the mean of all that have one input size; over folds the mean of the figures."""
    from edge_pneumo.train.study import folded

    if len({_name(run) for run in runs}) < len(runs):
        raise click.UsageError("RUNS must differ in their last two folders, by which the result names them")
    found: dict[str, list[dict[str, dict[str, float]]]] = {}
    count = 0
    for fold in range(folds or 1):
        films = folded(data, folds, fold) if folds else data
        places = [f"{run}/seed{seed}-fold{fold}" if folds else run for run in runs]
        judged = {_name(run): judge(place, films, cache_dir) for run, place in zip(runs, places, strict=True)}
        if len(judged) > 1 and len({one.raw[0].heat.shape for one in judged.values()}) == 1:
            judged[f"mean of the {len(judged)}"] = mean_of(list(judged.values()))
        for name, one in judged.items():
            found.setdefault(name, []).append(one.figures())
        count += len(films.split("val"))
    return [{"run": name, "n": count, **_mean_figures(each)} for name, each in found.items()]


def _name(run: str) -> str:
    return "/".join(Path(run).parts[-2:])


def _mean_figures(each: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    return {
        kind: {name: float(np.mean([one[kind][name] for one in each])) for name in each[0][kind]} for kind in each[0]
    }


@click.command()
@click.argument("runs", nargs=-1, required=True)
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Labelled films with a split val.")
@click.option(
    "--folds", default=0, help="RUNS are variants of a study with so many folds; each fold is judged by its own run."
)
@click.option("--seed", default=0, show_default=True, help="Which of the study's seeds, with --folds.")
@click.option("--cache", "cache_dir", type=click.Path(path_type=Path), help="Keep decoded films here.")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="JSON to write.")
def main(runs: tuple[str, ...], data: Path, folds: int, seed: int, cache_dir: Path | None, out: Path) -> None:
    """What the decoder's settings are worth for RUNS."""
    from edge_pneumo.train.data.index import load_dataset
    from edge_pneumo.train.run import write_json

    films = load_dataset(data)
    found = check(runs, films, folds, seed, cache_dir)
    judged_on = f"{folds} folds by patient" if folds else "val"
    write_json(out, {"schema": 1, "split_hash": films.split_hash, "judged_on": judged_on, "runs": found})
    for row in found:
        click.echo(f"{row['run']} ({row['n']} films)")
        for figure in ("auc", "rsna_score"):
            for name, value in row[figure].items():
                click.echo(f"  {figure:10} {name:38} {value:.4f}")


if __name__ == "__main__":
    main()
