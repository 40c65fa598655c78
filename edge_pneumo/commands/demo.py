"""`edge-pneumo demo`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click


@click.command(
    epilog="""\b
Example:
  edge-pneumo demo -o demo-output
Then open demo-output/report.html in a browser.
"""
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("demo-output"), show_default=True,
    help="Folder to fill; one that an earlier demonstration filled is emptied first.",
)  # fmt: skip
@click.option("-n", "--films", type=click.IntRange(min=60), default=400, show_default=True, help="Films to make up.")
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs of training, in place of the demo recipe's.")
def demo(output: Path, films: int, epochs: int | None) -> None:
    """The whole path on made-up films, in minutes: no data and no accelerator needed.

    Makes chest phantoms with opacities, fine-tunes the embedded detector on them at a small size, trains it on for
    int8, converts it with proof, reads films with it, measures its speed and writes one self-contained report. Every
    step is a command that you could type; the demonstration prints them. What it learns is about phantoms: its accuracy
    says nothing of patients.
    """
    from edge_pneumo.demo import run_demo
    from edge_pneumo.train.run import require_tensorflow

    require_tensorflow()
    report = run_demo(output, films=films, epochs=epochs, say=_say, run=_run)
    _say("\nDone. Made:")
    for name, what in MADE.items():
        click.echo(f"{output / name}\t{what}")
    _say(f"\nOpen {report} in a browser.")


MADE = {
    "report.html": "everything on one page",
    "films/": "made-up films in the Kaggle layout",
    "run/": "the float detector: weights, log, curves",
    "run-qat/": "the same after quantisation-aware training",
    "model.tflite": "int8, with its metadata, card and test vectors inside",
    "overlays/": "films with boxes",
    "predictions.jsonl": "one answer a film",
    "benchmark.json": "latency, with raw samples",
}


def _run(arguments: Sequence[str]) -> int:
    """Run a command in this process, as the command line would."""
    from edge_pneumo.cli import main

    try:
        main(list(arguments))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


def _say(text: str) -> None:
    click.echo(text, err=True)
