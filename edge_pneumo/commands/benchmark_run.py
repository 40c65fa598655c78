"""`edge-pneumo benchmark run`: options only; the work is `benchmarks.sweep.run_sweep`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from edge_pneumo.benchmarks.backends import BACKENDS
from edge_pneumo.commands.benchmark_options import (
    RUN_LOADER,
    Counts,
    Names,
    check_model,
    command_line,
    end_progress,
    gather_films,
    progress_line,
)

BACKEND_LINES = "\n".join(f"  {name:<16} {line}" for name, (_, line) in BACKENDS.items())


@click.command(
    epilog=f"""Backends:

\b
{BACKEND_LINES}

Examples:

\b
  edge-pneumo benchmark run -o pi4.json
  edge-pneumo benchmark run -o pi4.json --threads 1,2,4 --backend cpu,cpu-no-xnnpack --minutes 30
  edge-pneumo benchmark run -o here.json --model default --model RUN --backend cpu,keras --data rsna-mini --split val

What it measures and how: docs/benchmarks.md."""
)
@click.option("-o", "--out", required=True, type=click.Path(dir_okay=False), help="Result file (JSON).")
@click.option(
    "--model",
    "models",
    multiple=True,
    default=("default",),
    show_default=True,
    help="Model file, `default`, or a RUN folder (for the Keras backends). May be given more than once.",
)
@click.option(
    "--backend",
    "backends",
    type=Names(tuple(BACKENDS)),
    default="cpu",
    show_default=True,
    help="Comma-separated, from the list below. One that cannot run says why in the result.",
)
@click.option(
    "--threads",
    type=Counts(),
    default=None,
    help="Threads of one inference, comma-separated.  [default: 1 and all cores]",
)
@click.option(
    "--batch", "batches", type=Counts(), default="1", show_default=True, help="Films in one inference, comma-separated."
)
@click.option(
    "--films",
    "places",
    multiple=True,
    type=click.Path(),
    help="Films or folders to measure with; made-up films if nothing is given.",
)
@click.option(
    "--data",
    type=click.Path(),
    help="Labelled films (Kaggle layout): accuracy is taken from the answers that were timed.",
)
@click.option("--split", default="val", show_default=True, help="Which split of --data.")
@click.option("--limit", type=click.IntRange(1), help="At most so many films.")
@click.option("--label", help="What to call this device in reports.  [default: the file's name]")
@click.option(
    "--min-seconds", type=click.FloatRange(0), default=2.0, show_default=True, help="Measure at least so long."
)
@click.option(
    "--max-seconds", type=click.FloatRange(0.1), default=20.0, show_default=True, help="Measure at most so long."
)
@click.option(
    "--relative-interval",
    type=click.FloatRange(0, min_open=True),
    default=0.02,
    show_default=True,
    help="Stop once the 95 % interval of the median is within this fraction of it.",
)
@click.option(
    "--cold-starts",
    type=click.IntRange(0),
    default=5,
    show_default=True,
    help="Fresh processes to time until their first answer.",
)
@click.option(
    "--offline-seconds",
    type=click.FloatRange(0),
    default=3.0,
    show_default=True,
    help="Length of the throughput run; 0 leaves it out.",
)
@click.option(
    "--jobs", type=click.IntRange(1), help="Processes at once in the throughput run.  [default: cores / threads]"
)
@click.option(
    "--minutes",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Sustained load after each measurement: latency, heat and clock against time.",
)
@click.option("--resume", is_flag=True, help="Take over finished rows from an earlier, interrupted result file.")
@click.option(
    "--format",
    "style",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="What goes to stdout.",
)
def run(
    out: str,
    models: tuple[str, ...],
    backends: tuple[str, ...],
    threads: tuple[int, ...] | None,
    batches: tuple[int, ...],
    places: tuple[str, ...],
    data: str | None,
    split: str,
    limit: int | None,
    label: str | None,
    min_seconds: float,
    max_seconds: float,
    relative_interval: float,
    cold_starts: int,
    offline_seconds: float,
    jobs: int | None,
    minutes: float,
    resume: bool,
    style: str,
) -> None:
    """Measure every model x backend x threads x batch asked for, on this machine.

    Each row runs in a process of its own: cold start, warm-up (kept apart), one film after another until the median
    is known well enough, then all cores at once. The raw samples are kept in the result file. Rows that should not be
    trusted say why and what to try.
    """
    from edge_pneumo.benchmarks.results import dump
    from edge_pneumo.benchmarks.session import Settings, combinations
    from edge_pneumo.benchmarks.stats import StopRule
    from edge_pneumo.benchmarks.sweep import default_threads, run_sweep
    from edge_pneumo.benchmarks.tables import text_table
    from edge_pneumo.errors import UsageFault

    if min_seconds > max_seconds:
        raise UsageFault(f"--min-seconds {min_seconds:g} is more than --max-seconds {max_seconds:g}")
    for model in models:
        check_model(model)
    rule = StopRule(relative_interval, min_seconds, max_seconds)
    settings = Settings(rule, cold_starts=cold_starts, offline_seconds=offline_seconds, jobs=jobs, minutes=minutes)
    progress = progress_line()
    with tempfile.TemporaryDirectory(prefix="edge-pneumo-bench-") as scratch:
        films = gather_films(places, data, split, limit, Path(scratch))
        combos = combinations(
            models, backends, threads or tuple(default_threads()), batches, films.paths, RUN_LOADER, scratch
        )
        result = run_sweep(
            combos, films, out, settings, command=command_line(), label=label, resume=resume, progress=progress
        )
    end_progress()
    click.echo(dump(result) if style == "json" else text_table([result]), nl=False)
    click.echo(f"wrote {out}; next: edge-pneumo benchmark report {out} -o report.html", err=True)
    if result["refused"]:
        click.echo(f"{len(result['refused'])} films were refused; the reasons are in {out}", err=True)
    if result["results"] and all(row["status"] != "ok" for row in result["results"]):
        click.echo("nothing could be measured; the reasons are in the table", err=True)
        click.get_current_context().exit(max(row.get("exit_code", 2) for row in result["results"]))
    if result["refused"]:
        click.get_current_context().exit(3)
