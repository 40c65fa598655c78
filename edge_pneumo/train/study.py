"""Studies: the detector trained in several ways over several seeds (and folds), judged alike.

An ablation, a learning curve and a family of sizes are the same work: variants of one recipe. A run that is finished is
kept and one that was cut short resumes, so a study may be stopped at any time and started again.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edge_pneumo import __version__
from edge_pneumo.errors import UsageFault
from edge_pneumo.train.config import TrainConfig, config_from_dict, preset
from edge_pneumo.train.data.film import DataSet
from edge_pneumo.train.fit import train_detector
from edge_pneumo.train.run import read_json, write_json
from edge_pneumo.train.study_jobs import run_at_once
from edge_pneumo.train.study_share import share_of, share_of_masked

FIGURES = ("auc", "rsna_score", "ap50", "sensitivity", "specificity")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Variant:
    """One way of training.

    Attributes
    ----------
    name, about : for the table; the name also names the folder of its runs.
    extra, masked : whether weak films and lung-masked films are used.
    share : share of the patients (of train films, weak and masked ones), 0..1; smaller shares lie within larger ones.
    start : "given" = the study's --weights (or --pretrained, where `masked`); "none" = random.
    recipe : fields of `TrainConfig` in place of the preset's; its tables `augment` and `loss` are merged.
    stage : fields of the last stage in place of the preset's.
    """

    name: str
    about: str = ""
    extra: bool = True
    masked: bool = True
    share: float = 1.0
    start: str = "given"
    recipe: dict[str, Any] = field(default_factory=dict)
    stage: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise UsageFault(f"variant {self.name}: share must be over 0 and at most 1, found {self.share}")
        if self.start not in ("given", "none"):
            raise UsageFault(f'variant {self.name}: start must be "given" or "none", found {self.start!r}')

    def config(self, base: TrainConfig, seed: int, pretrained: bool) -> TrainConfig:
        """The recipe of this variant; without its stages of masked films where they are not wanted or already done."""
        fields = base.to_dict()
        for name, value in self.recipe.items():
            fields[name] = {**fields[name], **value} if isinstance(value, dict) and name in fields else value
        left_out = ("masked", "mixed") if pretrained else () if self.masked else ("masked",)
        stages = [stage for stage in fields["stages"] if stage.get("films") not in left_out]
        if not stages:
            raise UsageFault(
                f"variant {self.name}: every stage of its recipe shows lung-masked films, so there is none to go on "
                "with where they are done or not wanted; leave --pretrained out, or give the recipe a stage of others"
            )
        stages[-1] = {**stages[-1], **self.stage}
        return config_from_dict({**fields, "stages": stages, "seed": seed}, f"variant {self.name}")


@dataclass(frozen=True)
class Study:
    """What to compare: the first variant is the one that others are held against.

    `convert`: also make one run of each variant int8, and measure bytes and milliseconds (`quantize.sizes`).
    """

    name: str
    title: str
    base: str = "default"
    seeds: tuple[int, ...] = (0, 1, 2)
    folds: int = 0
    convert: bool = False
    variants: tuple[Variant, ...] = ()


@dataclass(frozen=True)
class Films:
    """What every variant may draw on; see `train_detector`. `pretrained`: a RUN whose masked stage is done."""

    data: DataSet
    extra: Sequence[DataSet] = ()
    masked: Sequence[Path] = ()
    weights: str | Path | None = None
    pretrained: Path | None = None
    cache_dir: Path | None = None


def read_study(path: Path) -> Study:
    """Read a study from TOML: name, title, base, seeds, folds and `[[variants]]`.

    Raises
    ------
    UsageFault : it cannot be read, or a field is unknown or makes no sense.
    """
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
        variants = tuple(Variant(**one) for one in fields.pop("variants", []))
        study = Study(**{**fields, "seeds": tuple(fields.get("seeds", (0, 1, 2))), "variants": variants})
    except OSError as error:
        raise UsageFault(f"cannot read the study {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageFault(f"{path} is not valid TOML: {error}") from error
    except TypeError as error:  # an unknown or missing field, as dataclasses put it
        raise UsageFault(f"{path}: {str(error).replace('__init__() ', '')}") from error
    names = [_slug(variant.name) for variant in study.variants]
    if not names or len(set(names)) < len(names):
        raise UsageFault(f"{path}: expected [[variants]] with names that differ")
    if study.folds == 1 or study.folds < 0 or not study.seeds:
        raise UsageFault(f"{path}: folds must be 0 (judge on val) or 2 and more, and seeds a list of whole numbers")
    base = preset(study.base)
    for variant in study.variants:
        variant.config(base, 0, False)  # a wrong field is found now, not hours later
    return study


def run_study(study: Study, films: Films, work: Path, out: Path, say: Say, jobs: int = 1) -> dict[str, Any]:
    """Train and judge every variant, and write the result after each run.

    Parameters
    ----------
    work : the run directories (10 MB each); finished ones are kept.
    out : the JSON to write.
    jobs : how many runs are trained at once.

    Returns
    -------
    JSON-ready: for each variant `runs` (seed, fold, figures) and, by figure, the mean over seeds, the least and the
    largest of the seeds (or folds), and the mean difference from the first variant over the seeds that both have.
    """
    base = preset(study.base)
    result: dict[str, Any] = {
        "schema": 1, "study": study.name, "title": study.title, "base": study.base, "version": __version__,
        "judged_on": f"{study.folds} folds by patient" if study.folds else "val",
        "data": {"n": len(films.data), "split_hash": films.data.split_hash, "extra": sum(map(len, films.extra))},
        "variants": [],
    }  # fmt: skip
    rows = [{"name": v.name, "about": v.about, "share": v.share, "runs": []} for v in study.variants]
    if jobs > 1:
        every = [(v, s, f) for s in study.seeds for v in study.variants for f in range(study.folds or 1)]
        calls = [
            (
                _title(v, s, f, study.folds),
                partial(_one, v, base, s, f, study.folds, films, run_folder(work, study, v, s, f)),
            )
            for v, s, f in every
        ]
        run_at_once(calls, jobs)
    for seed in study.seeds:  # all variants once, then again: an unfinished study compares them already
        for variant, row in zip(study.variants, rows, strict=True):
            for fold in range(study.folds or 1):
                place = run_folder(work, study, variant, seed, fold)
                say(_title(variant, seed, fold, study.folds))
                metrics = _one(variant, base, seed, fold, study.folds, films, place, say)
                figures = {name: metrics[name]["value"] for name in FIGURES if name in metrics}
                facts = {"seed": seed, "fold": fold if study.folds else None, "n": metrics["n"]}
                row["runs"].append({**facts, **figures, **_kept(place)})
            result["variants"] = [{**one, **_summary(one, rows[0])} for one in rows if one["runs"]]
            write_json(out, result)
    return result


def _title(variant: Variant, seed: int, fold: int, folds: int) -> str:
    return f"{variant.name}, seed {seed}" + (f", fold {fold + 1} of {folds}" if folds else "")


def run_folder(work: Path, study: Study, variant: Variant, seed: int, fold: int = 0) -> Path:
    """Where a run of the study lies."""
    return work / _slug(variant.name) / f"seed{seed}{f'-fold{fold}' if study.folds else ''}"


def _kept(place: Path) -> dict[str, Any]:
    config = read_json(place / "config.json")["train"]
    return {"size_px": config["size_px"], "alpha": config["alpha"]}


def _one(
    variant: Variant, base: TrainConfig, seed: int, fold: int, folds: int, films: Films, place: Path, say: Say
) -> dict[str, Any]:
    pretrained = variant.masked and films.pretrained is not None and variant.start == "given"
    config = variant.config(base, seed, pretrained)
    data = share_of(folded(films.data, folds, fold) if folds else films.data, variant.share)
    extra = [share_of(one, variant.share) for one in films.extra] if variant.extra else []
    if not (place / "metrics.json").exists() or (place / "state.npz").exists():
        weights = "none" if variant.start == "none" else films.pretrained if pretrained else films.weights
        masked = share_of_masked(films.masked, variant.share, place.with_suffix(".masked")) if variant.masked else ()
        train_detector(
            config, data, place, extra=extra, masked=masked, weights=weights,
            resume=(place / "config.json").exists(), cache_dir=films.cache_dir, say=say,
        )  # fmt: skip
    return read_json(place / "metrics.json")


def folded(data: DataSet, folds: int, fold: int) -> DataSet:
    """All films with one fold as `val` and the rest as `train`; by patient group, stratified by label, not random."""
    from sklearn.model_selection import StratifiedGroupKFold

    films = [film for film in data.films if film.split in ("train", "val")]
    labels, groups = [film.label for film in films], [film.group for film in films]
    cut = list(StratifiedGroupKFold(folds, shuffle=True, random_state=0).split(labels, labels, groups))
    judged = set(cut[fold][1].tolist())
    split = (replace(film, split="val" if k in judged else "train") for k, film in enumerate(films))
    return replace(data, films=tuple(split))


def _summary(row: dict[str, Any], first: dict[str, Any]) -> dict[str, Any]:
    figures = {}
    for name in FIGURES:
        ours, theirs = _by_seed(row, name), _by_seed(first, name)
        if not ours:
            continue
        spread = [run[name] for run in row["runs"] if run["fold"] is not None] or list(ours.values())
        shared = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
        figures[name] = {
            "mean": round(float(np.mean(list(ours.values()))), 4),
            "least": round(min(spread), 4),
            "most": round(max(spread), 4),
            "seeds": len(ours),
            "difference": round(float(np.mean(shared)), 4) if shared and row is not first else None,
        }
    return {"figures": figures}


def _by_seed(row: dict[str, Any], figure: str) -> dict[int, float]:
    """Seed -> mean over its folds."""
    values: dict[int, list[float]] = {}
    for run in row["runs"]:
        if run.get(figure) is not None:
            values.setdefault(run["seed"], []).append(run[figure])
    return {seed: float(np.mean(found)) for seed, found in values.items()}


def to_markdown(result: dict[str, Any]) -> str:
    """The study as a table: mean over seeds, least and most in brackets, difference from the first row."""
    spread = "folds" if "folds" in result["judged_on"] else "seeds"
    sized = any("int8" in row for row in result["variants"])
    more = (" int8: AUC | RSNA score | ms | MB |", " ---: | ---: | ---: | ---: |") if sized else ("", "")
    lines = [
        f"# {result['title']}",
        "",
        f"Variants of the recipe `{result['base']}`, judged on {result['judged_on']}; splits"
        f" {result['data']['split_hash'][:12]}. Mean over seeds, in brackets the least and the most of the {spread};"
        " difference from the first row over the same seeds. Thresholds were chosen on the films judged, which flatters"
        " the RSNA score in all rows alike; one seed says little."
        + (" Columns of int8 are of the first seed; milliseconds of one inference on one core." if sized else ""),
        "",
        "| variant | seeds | AUC | difference | RSNA score | difference | AP50 |" + more[0],
        "| --- | ---: | --- | ---: | --- | ---: | --- |" + more[1],
    ]
    for row in result["variants"]:
        figures = row["figures"]
        cells = [row["name"] + (f": {row['about']}" if row["about"] else ""), str(figures["auc"]["seeds"])]
        for name in ("auc", "rsna_score"):
            one = figures[name]
            cells.append(f"{one['mean']:.3f} ({one['least']:.3f} to {one['most']:.3f})")
            cells.append("" if one["difference"] is None else f"{one['difference']:+.3f}")
        cells.append(f"{figures['ap50']['mean']:.3f}" if "ap50" in figures else "")
        if sized:
            shown = (
                ("auc", "{:.3f}", 1),
                ("rsna_score", "{:.3f}", 1),
                ("invoke_ms", "{:.1f}", 1),
                ("bytes", "{:.1f}", 1e6),
            )
            cells += [form.format(row["int8"][key] / unit) for key, form, unit in shown]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
