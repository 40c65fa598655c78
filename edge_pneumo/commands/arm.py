"""`edge-pneumo benchmark arm`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    epilog="""\b
Examples:
  edge-pneumo benchmark arm --film film.dcm
  edge-pneumo benchmark arm --model default --model float32.tflite --film film.dcm -o counts.json
  edge-pneumo benchmark arm --film tests/data/phantom.dcm --against docs/results/arm-instructions.json

Needs Linux with Debian's qemu-user (QEMU 7 or 8) and gcc. How it works, and what it cannot say: docs/arm.md.
"""
)
@click.option(
    "--model", "models", metavar="MODEL", multiple=True, default=("default",), show_default=True,
    help="Model file; may be given several times (int8 and float32 of one network). Of a .tflite that is not ours, "
    "the network alone is counted.",
)  # fmt: skip
@click.option(
    "--film", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="DICOM film for the rows of a whole film.",
)  # fmt: skip
@click.option(
    "--board",
    "boards",
    type=click.Choice(["pi3", "pi4", "pi5"]),
    multiple=True,
    help="Only this board.  [default: all]",
)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Also write the counts as JSON.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Also write the tables as a Markdown page.")
@click.option(
    "--against", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Earlier counts (JSON): end with exit code 5 if a row differs by more than 0.1 %.",
)  # fmt: skip
@click.option(
    "--work-dir", type=click.Path(file_okay=False, path_type=Path),
    help="Where the boards are built (200 MB, reused).  [default: ~/.cache/edge-pneumo/arm]",
)  # fmt: skip
@click.option(
    "--format", "output_format", type=click.Choice(["table", "json"]), default="table", show_default=True,
    help="How to print.",
)  # fmt: skip
def arm(
    models: tuple[str, ...], film: Path, boards: tuple[str, ...], out: Path | None,
    markdown: Path | None, against: Path | None, work_dir: Path | None, output_format: str,
) -> None:  # fmt: skip
    """Count instructions on emulated Raspberry Pi 3, 4 and 5.

    For each model and board: the network alone, a whole film by our runtime, and the same by the usual way (pydicom's
    pixel_array, a resize, LiteRT). The numbers are instructions, not time: they are the same on every host to 0.1 %,
    show which kernels run (`dot`: dot products), and tell when a change costs work. They do not tell milliseconds.
    """
    import json

    from edge_pneumo.benchmarks.arm import count
    from edge_pneumo.benchmarks.arm.against import compare, read_counts, same_conditions
    from edge_pneumo.benchmarks.arm.table import to_markdown, to_text
    from edge_pneumo.benchmarks.arm.userland import build
    from edge_pneumo.edge_runtime.files import atomic_write
    from edge_pneumo.errors import VerificationFailed

    earlier = read_counts(against) if against else None
    click.echo("building the emulated boards (once: about 200 MB of packages) ...", err=True)
    works = dict.fromkeys(boards or ("pi3", "pi4", "pi5"), count.WORKS)
    result = count.measure(build(work_dir), models, film, works, progress=lambda line: click.echo(line, err=True))
    as_json = json.dumps(result, indent=1)
    click.echo(as_json if output_format == "json" else to_text(result))
    for path, text in ((out, as_json + "\n"), (markdown, to_markdown(result))):
        if path is not None:
            with atomic_write(path, "w") as stream:
                stream.write(text)
            click.echo(f"wrote {path}", err=True)
    if earlier is None:
        return
    if why_not := same_conditions(result, earlier):
        click.echo(f"NOT COMPARED with {against}: other versions ({why_not})", err=True)
        return
    comparison = compare(result, earlier)
    for line in comparison.left_out:
        click.echo(line, err=True)
    if comparison.changed:
        raise VerificationFailed("instruction counts changed:\n" + "\n".join(comparison.changed))
    if not comparison.compared:
        raise VerificationFailed(f"{against}: no row has the same board, work and network: nothing was compared")
    click.echo(f"{len(comparison.compared)} rows within 0.1 % of {against}", err=True)
