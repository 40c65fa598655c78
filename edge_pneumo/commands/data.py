"""`edge-pneumo data`: check, explore, split and make up data sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

FORMAT = click.option("--format", "style", type=click.Choice(["table", "json"]), default="table", show_default=True)
SOURCE = click.Path(path_type=Path)


@click.group()
def data() -> None:
    """Check, explore, split or make up data sets.

    DIR may be the Kaggle layout (folder or the zip as served), COCO, YOLO, folders named NORMAL and PNEUMONIA, or NIH's
    csv with its images: the layout is found out by itself.
    """


@data.command(epilog="Example: edge-pneumo data check rsna/ --format json | jq '.faults[].kind'")
@click.argument("directory", metavar="DIR", type=SOURCE)
@click.option("--first", type=click.IntRange(1), default=5, show_default=True, help="Offenders to name of each kind.")
@click.option("--no-decode", is_flag=True, help="Look at tables and headers only; much faster, finds no broken pixels.")
@FORMAT
def check(directory: Path, first: int, no_decode: bool, style: str) -> None:
    """Report everything wrong with a data set at once.

    Ends with 3 where training would be wrong ("stop") or would leave films out ("skip"), with 0 when there are only
    notes.
    """
    from edge_pneumo.train.data.check import check_dataset

    report = check_dataset(directory, decode=not no_decode)
    if style == "json":
        _print_json(report.to_dict(first))
    else:
        click.echo(f"{report.path}: {report.layout} layout, {report.films} films, {report.positives} with opacity")
        for severity, kind, faults in report.by_kind():
            click.echo(f"{severity:5} {len(faults):6}  {kind}")
            for fault in faults[:first]:
                click.echo(f"                {fault.where}: {fault.detail}")
        verdict = "can be trained on" if report.trainable else "mend what is marked stop or skip before training"
        click.echo(f"{len(report.faults)} faults: {verdict}")
    if not report.trainable:
        click.get_current_context().exit(3)


@data.command(epilog="Example: edge-pneumo data eda rsna/ -o eda.html; open it in a browser.")
@click.argument("directory", metavar="[DIR]", type=SOURCE, required=False)
@click.option("-o", "--output", type=SOURCE, help="Page to write: one HTML file, nothing loaded from elsewhere.")
@click.option("--labels", type=SOURCE, help="stage_2_train_labels.csv (.gz, .zip) when the films are elsewhere.")
@click.option("--classes", type=SOURCE, help="stage_2_detailed_class_info.csv, with --labels.")
@click.option(
    "--headers", type=SOURCE, help="Table with PatientID, PatientSex, PatientAge, ViewPosition, with --labels."
)
@FORMAT
def eda(
    directory: Path | None,
    output: Path | None,
    labels: Path | None,
    classes: Path | None,
    headers: Path | None,
    style: str,
) -> None:
    """Show what is in a data set, as a page.

    Balance, people, views, ages, boxes and sample films: as figures, and as one page to look at.

    Give DIR, or the challenge's tables alone: with --labels, or as a DIR that holds nothing else (and perhaps
    dicom_headers.csv). Without -o only the figures are printed.
    """
    from edge_pneumo.edge_runtime.files import atomic_write
    from edge_pneumo.train.data.explore import explore, subjects_of_films, subjects_of_tables, tables_in
    from edge_pneumo.train.data.index import read_layout, refuse

    if (directory is None) == (labels is None):
        raise click.UsageError("give DIR, or --labels with --classes and --headers; not both, not neither.")
    if labels is None and (classes or headers):
        raise click.UsageError("--classes and --headers go with --labels; DIR brings its own.")
    tables = (labels, classes, headers) if labels else tables_in(directory) if directory else None
    source = labels.name if labels else (directory.resolve().name or str(directory)) if directory else ""
    if tables is not None:
        films, figures = [], explore(subjects_of_tables(*tables), source)
    else:
        reading = read_layout(directory or "")
        films = reading.films
        if not films:
            refuse(reading.faults, str(directory))
        figures = explore(subjects_of_films(films), source)
    if output is not None:
        from edge_pneumo.train.data.explore_page import explore_page

        page = explore_page(figures, films)
        with atomic_write(output, "w") as stream:
            stream.write(page)
        click.echo(f"wrote {output}", err=True)
    if style == "json":
        _print_json(figures)
    else:
        _print_figures(figures)


@data.command(epilog="Example: edge-pneumo data split rsna/ -o rsna/splits.csv --seed 7")
@click.argument("directory", metavar="DIR", type=SOURCE)
@click.option("-o", "--output", required=True, type=SOURCE, help="Table to write: patientId, group, split.")
@click.option("--fractions", default="0.8,0.1,0.1", show_default=True, help="Shares of train, val and test.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed, another split.")
@click.option("--groups", type=SOURCE, help="Table with patientId and group, so that one patient stays in one split.")
@FORMAT
def split(directory: Path, output: Path, fractions: str, seed: int, groups: Path | None, style: str) -> None:
    """Split a data set by patient group, stratified by class.

    Needs only the tables: films may be elsewhere. Groups come from --groups, else from a splits.csv in DIR, else every
    patientId is its own.
    """
    from edge_pneumo.errors import UsageFault
    from edge_pneumo.train.data.splits import split_dataset

    try:
        shares = [float(share) for share in fractions.replace("/", ",").split(",")]
    except ValueError as error:
        raise UsageFault(f"--fractions: expected three numbers such as 0.8,0.1,0.1, found {fractions!r}.") from error
    result = split_dataset(directory, output, fractions=shares, seed=seed, groups=groups)
    if style == "json":
        _print_json(result)
        return
    click.echo(f"{'split':6} {'films':>7} {'groups':>7} {'opacity':>8}")
    for name, counts in result["splits"].items():
        click.echo(f"{name:6} {counts['films']:7} {counts['groups']:7} {counts['prevalence']:8.1%}")
    click.echo(f"hash   {result['hash']}")


@data.command(epilog="Example: edge-pneumo data phantom -o phantom/ -n 200")
@click.option("-o", "--output", required=True, type=SOURCE, help="Folder to fill; must not hold a data set.")
@click.option("-n", "count", type=click.IntRange(1), default=200, show_default=True, help="Number of films.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="The same seed, the same films.")
@click.option(
    "--size", "size_px", type=click.IntRange(128, 4096), default=1024, show_default=True, help="Side in pixels."
)
@click.option("--jobs", type=click.IntRange(1), help="Threads; one a core by default.")
@FORMAT
def phantom(output: Path, count: int, seed: int, size_px: int, jobs: int | None, style: str) -> None:
    """Make up chest films in the Kaggle layout.

    With opacities, boxes and other disease, headers as RSNA's, MONOCHROME1 among them. Nobody's films: good for a demo,
    a test or a bug report, never for a claim about accuracy.
    """
    from edge_pneumo.train.data.index import load_dataset
    from edge_pneumo.train.data.phantom import make_phantom

    make_phantom(output, count, seed, size_px, jobs=jobs, progress=True)
    made = load_dataset(output)
    result = {
        "schema": 1,
        "path": str(output),
        "films": len(made),
        "positives": sum(film.label for film in made),
        "boxes": sum(len(film.boxes_xyxy) for film in made),
        "splits": made.split_sizes,
        "hash": made.split_hash,
    }
    if style == "json":
        _print_json(result)
    else:
        sizes = ", ".join(f"{name} {n}" for name, n in result["splits"].items())
        click.echo(f"{output}: {len(made)} films, {result['positives']} with {result['boxes']} boxes; {sizes}")


@data.command(epilog="Example: edge-pneumo data export rsna/ -o png/ --size 224 --channels 3 --step stretch")
@click.argument("directory", metavar="DIR", type=SOURCE)
@click.option("-o", "--output", required=True, type=SOURCE, help="Folder for images/ and annotations/.")
@click.option("--as", "kind", type=click.Choice(["png", "jpg"]), default="png", show_default=True)
@click.option(
    "--size",
    "size_px",
    type=click.IntRange(32),
    help="Side in pixels, aspect kept, without wide borders and upright, as for the network.  [default: as it is]",
)
@click.option("--channels", type=click.Choice(["1", "3"]), default="1", show_default=True, help="3: equal ones.")
@click.option("--step", "steps", multiple=True, help="Pre-processing step, repeatable; `data steps --help` names them.")
@FORMAT
def export(
    directory: Path, output: Path, kind: str, size_px: int | None, channels: str, steps: tuple[str, ...], style: str
) -> None:
    """Write films as PNG or JPEG, boxes as COCO.

    For other tools. Our own training reads DICOM directly, and gains nothing from an export.
    """
    from edge_pneumo.train.data.export import export_dataset
    from edge_pneumo.train.data.index import load_dataset

    dataset = load_dataset(directory)
    result = export_dataset(dataset, output, kind=kind, size_px=size_px, channels=int(channels), steps=steps)
    if style == "json":
        _print_json(result)
    else:
        click.echo(f"{output}: {result['films']} films, {result['boxes']} boxes")
        for film in result["refused"]:
            click.echo(f"refused {film['film']}: {film['reason']}")
    if result["refused"]:
        click.get_current_context().exit(3)


@data.command(epilog="Example: edge-pneumo data steps rsna/ --weights imagenet.npz --format json > steps.json")
@click.argument("directory", metavar="DIR", type=SOURCE)
@click.option("--weights", type=SOURCE, help="ImageNet start, as `train --weights` takes it; Keras's own by default.")
@click.option("--size", "size_px", type=click.IntRange(32), default=192, show_default=True, help="A multiple of 32.")
@click.option("--step", "steps", multiple=True, help="Only this step, repeatable.")
@FORMAT
def steps(directory: Path, weights: Path | None, size_px: int, steps: tuple[str, ...], style: str) -> None:
    """Measure whether pre-processing steps help.

    The change in AUC of a frozen MobileNetV2 with a logistic regression, five folds over patients, with a 95 %
    interval. Done to every film: stretch, equalise, threshold, erode, dilate, mask. As augmentation: rotate,
    flip-horizontal, flip-vertical, shear, shift, crop.
    """
    from edge_pneumo.errors import UsageFault
    from edge_pneumo.train.data.index import load_dataset
    from edge_pneumo.train.data.step_probe import probe_steps
    from edge_pneumo.train.data.steps import STEPS

    unknown = [name for name in steps if name not in STEPS]
    if unknown:
        raise UsageFault(f"--step: expected {', '.join(STEPS)}; found {', '.join(unknown)}.")
    result = probe_steps(load_dataset(directory), weights, size_px=size_px, names=steps or tuple(STEPS))
    if style == "json":
        _print_json(result)
        return
    click.echo(f"AUC without any step: {result['auc']:.3f}")
    for step in result["steps"]:
        interval = f"{step['change']:+.3f} ({step['low']:+.3f} to {step['high']:+.3f})"
        click.echo(f"{step['step']:16} {interval:28} {step['verdict']:20} {step['about']}")


def _print_figures(figures: dict[str, Any]) -> None:
    """The figures that fit a terminal; nested ones are on the page and in the JSON."""
    for name, value in figures.items():
        if name in ("schema", "by_age_group", "boxes", "age"):
            continue
        if isinstance(value, dict):
            rows = value.get("rows", value)
            value = ", ".join(f"{key} {count:,}" for key, count in rows.items()) or "not stated"
        click.echo(f"{name:22} {value if value is not None else 'not stated'}")


def _print_json(document: dict[str, Any]) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))
