"""`edge-pneumo benchmark floor`: options only; the work is `benchmarks.floor.run_floor`."""

from __future__ import annotations

import json
import tempfile
from importlib.util import find_spec
from pathlib import Path

import click

from edge_pneumo.commands.benchmark_options import end_progress, gather_films, progress_line


@click.command(
    epilog="""Examples:

\b
  edge-pneumo benchmark floor
  edge-pneumo benchmark floor --films stage_2_train_images --limit 60 --run RUN -o floor.json --format json"""
)
@click.option("--model", default="default", show_default=True, help="Model file.")
@click.option(
    "--films",
    "places",
    multiple=True,
    type=click.Path(),
    help="JPEG DICOM films or folders; made-up films if not given.",
)
@click.option("--limit", type=click.IntRange(1), default=40, show_default=True, help="At most so many films.")
@click.option("--rounds", type=click.IntRange(2), default=15, show_default=True, help="Turns over the films.")
@click.option(
    "--run",
    "run_folder",
    type=click.Path(),
    help="RUN of the float network, for the usual way; the default model's own where TensorFlow is installed.",
)
@click.option("-o", "--out", type=click.Path(dir_okay=False), help="Write the result as JSON too.")
@click.option("--format", "style", type=click.Choice(["table", "json"]), default="table", show_default=True)
def floor(
    model: str,
    places: tuple[str, ...],
    limit: int,
    rounds: int,
    run_folder: str | None,
    out: str | None,
    style: str,
) -> None:
    """How near the product is to the floor, as ratios measured in one run.

    The floor is what no program can avoid: Pillow's JPEG decode at the smallest sufficient scale, and the network.
    Shown are the warm time of a film, a cold process and its memory, two workers against one, and (where TensorFlow is
    installed) the usual way: pydicom's pixel_array, a resize, and Keras' predict.
    """
    from edge_pneumo.benchmarks.floor import Plan, floor_table, run_floor
    from edge_pneumo.edge_runtime.files import atomic_write

    keras_model = None
    if run_folder is None and model == "default" and find_spec("tf_keras"):
        run_folder = "default"
    if run_folder is not None:
        from edge_pneumo.train.run import load_run

        keras_model = load_run(run_folder).model
    else:
        click.echo("the usual way is left out: it needs the extra `train`, or --run", err=True)
    with tempfile.TemporaryDirectory() as scratch:
        films = gather_films(places, None, None, limit, Path(scratch))
        result = run_floor(model, films.paths, Plan(rounds=rounds), keras_model=keras_model, progress=progress_line())
    end_progress()
    result["films"] = films.source
    document = json.dumps(result, indent=1)
    if out is not None:
        with atomic_write(out, "w") as stream:
            stream.write(document + "\n")
    click.echo(document if style == "json" else floor_table(result))
