"""`edge-pneumo benchmark`: a lazy group of its own, so that asking for one table does not import the rest."""

from __future__ import annotations

import click

from edge_pneumo.cli import LazyGroup

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("edge_pneumo.commands.benchmark_run:run", "Measure models, backends and threads on this machine."),
    "report": ("edge_pneumo.commands.benchmark_report:report", "One HTML page from any number of result files."),
    "compare": ("edge_pneumo.commands.benchmark_compare:compare", "Is B faster than A? Ratios with intervals."),
    "peers": (
        "edge_pneumo.commands.benchmark_peers:peers",
        "Our path against other runtimes, same films, interleaved.",
    ),
    "floor": ("edge_pneumo.commands.floor:floor", "What no implementation can beat: the cost of the bytes."),
    "arm": ("edge_pneumo.commands.arm:arm", "Count instructions on emulated Raspberry Pis (not time)."),
    "systems": ("edge_pneumo.commands.systems:systems", "The reference report's systems, measured alike."),
    "study": (
        "edge_pneumo.commands.benchmark_study:study",
        "Ways of training compared: ablation, learning curve.",
    ),
}


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    epilog="Start with: edge-pneumo benchmark run -o here.json && edge-pneumo benchmark report here.json -o here.html",
)
def benchmark() -> None:
    """Measure speed honestly: what ran, on what, how often, how warm, and how accurate it was while it ran."""
