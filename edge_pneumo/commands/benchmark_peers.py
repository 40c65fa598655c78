"""`edge-pneumo benchmark peers`: options only; the work is `benchmarks.peering.run_peers`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from edge_pneumo.commands.benchmark_options import RUN_LOADER, command_line, end_progress, gather_films, progress_line


@click.command(
    epilog="""Examples:

\b
  edge-pneumo benchmark peers -o peers.json
  edge-pneumo benchmark peers -o peers.json --float-model float.tflite --run RUN --films films/ --markdown peers.md

Make the float file by: edge-pneumo convert RUN -o float.tflite --data DIR --precision float32.
Peers come with: pip install 'edge-pneumo[peers,train]'"""
)
@click.option("-o", "--out", required=True, type=click.Path(dir_okay=False), help="Result file (JSON).")
@click.option("--model", default="default", show_default=True, help="The int8 model file.")
@click.option("--float-model", type=click.Path(), help="The same network as a float32 model file.")
@click.option("--run", "run_folder", type=click.Path(), help="The RUN folder it came from, for Keras.")
@click.option(
    "--films", "places", multiple=True, type=click.Path(), help="Films or folders; made-up films if not given."
)
@click.option("--limit", type=click.IntRange(1), help="At most so many films.")
@click.option(
    "--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads of one inference, for all."
)
@click.option("--rounds", type=click.IntRange(2), default=20, show_default=True, help="Turns for each contestant.")
@click.option("--block", type=click.IntRange(1), default=8, show_default=True, help="Films in one turn.")
@click.option("--label", default="peers", show_default=True, help="What to call this device in reports.")
@click.option("--markdown", "markdown_path", type=click.Path(dir_okay=False), help="The ratio table as a file too.")
@click.option("--format", "style", type=click.Choice(["table", "json"]), default="table", show_default=True)
def peers(
    out: str,
    model: str,
    float_model: str | None,
    run_folder: str | None,
    places: tuple[str, ...],
    limit: int | None,
    threads: int,
    rounds: int,
    block: int,
    label: str,
    markdown_path: str | None,
    style: str,
) -> None:
    """Our path against other runtimes, end to end from the DICOM file, on the same films, taking turns in one run.

    Peers read the film as most code does (pydicom's pixel_array and a resize); rows "behind our reader" show what is
    left of the difference when only the engine differs. One that cannot run says why.
    """
    from edge_pneumo.benchmarks.peering import contestants, peers_markdown, run_peers
    from edge_pneumo.benchmarks.results import dump, write_result
    from edge_pneumo.edge_runtime.files import atomic_write

    with tempfile.TemporaryDirectory(prefix="edge-pneumo-peers-") as scratch:
        films = gather_films(places, None, None, limit, Path(scratch))
        entrants = contestants(model, float_model, run_folder, threads=threads, loader=RUN_LOADER, scratch=scratch)
        result = run_peers(
            entrants, films, rounds=rounds, block=block, command=command_line(), label=label, progress=progress_line()
        )
    end_progress()
    write_result(out, result)
    table = peers_markdown(result)
    if markdown_path:
        with atomic_write(markdown_path, "w") as stream:
            stream.write(table)
    click.echo(dump(result) if style == "json" else table, nl=False)
    click.echo(f"wrote {out}", err=True)
