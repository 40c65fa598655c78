"""`edge-pneumo doctor`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    epilog="""\b
Examples:
  edge-pneumo doctor
  edge-pneumo doctor --model model.tflite --backend gpu
  edge-pneumo doctor --format json > this-machine.json
"""
)
@click.option(
    "--model", metavar="MODEL", default="default", show_default=True, help="Model file to check, and to check with."
)
@click.option(
    "--backend", type=click.Choice(["auto", "cpu", "gpu", "tflite-runtime"]), default="auto", show_default=True,
    help="What should run the network.",
)  # fmt: skip
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of one inference.")
@click.option(
    "--require-signature",
    metavar="KEY",
    type=click.Path(path_type=Path),
    help="Public key that must have signed the model.",
)
@click.option(
    "--format", "output_format", type=click.Choice(["table", "json"]), default="table", show_default=True,
    help="How to print.",
)  # fmt: skip
def doctor(model: str, backend: str, threads: int, require_signature: Path | None, output_format: str) -> None:
    """Check this machine and say what to mend.

    Looks at Python, the packages, codecs, cores, memory and disk, verifies the model file, and runs its golden vectors:
    inputs stored with the outputs they must give. "bit-exact" means that this machine computes the same numbers, to the
    last bit, as the one that measured the model's accuracy.

    Ends with exit code 5 when something FAILED.
    """
    from edge_pneumo.edge_runtime.doctor import examine, to_text

    report = examine(model, backend=backend, threads=threads, require_signature=require_signature)
    if output_format == "json":
        import json

        click.echo(json.dumps(report, indent=1, ensure_ascii=False))
    else:
        click.echo(to_text(report))
    if not report["healthy"]:
        click.get_current_context().exit(5)
