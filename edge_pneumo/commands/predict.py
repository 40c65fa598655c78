"""`edge-pneumo predict`: films in, findings out."""

from __future__ import annotations

import click

# kept here as plain words: importing the modules that define them would cost --help half a second on a small computer
FORMATS = ("table", "json", "jsonl", "csv")
BACKENDS = ("auto", "cpu", "gpu", "tflite-runtime")


@click.command(
    epilog="""\b
Examples:
  edge-pneumo predict film.dcm                         one film, its boxes listed
  edge-pneumo predict films/ --overlay pictures/       a folder, with a picture of each film
  edge-pneumo predict archive.zip -o results.jsonl     go on with an interrupted run: add --skip-done
  edge-pneumo predict - --format json < film.dcm       a film from standard input

Exit code 0: all answered; 3: some films were refused or some outputs not written, the rest was done.
Research use only: not a medical device.
"""
)
@click.argument("paths", metavar="FILE|DIR...", nargs=-1, required=True)
@click.option(
    "--model", default="default", metavar="MODEL", help="Model file (.tflite); `default` is the embedded one."
)
@click.option(
    "--operating-point",
    metavar="NAME",
    help="Threshold to decide by, as the model file names it (see `edge-pneumo inspect`). Default: the model's own.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    help="jsonl is one object a line, each as soon as it is there. Default: by the ending of -o, else table.",
)
@click.option("-o", "--output", metavar="FILE", help="Write results there instead of to stdout.")
@click.option("--overlay", metavar="DIR", help="Write a PNG of each film with boxes, heat map and caption.")
@click.option("--heat/--no-heat", default=True, help="Draw the heat map of where the detector looked.  [default: heat]")
@click.option("--sr", metavar="DIR", help="Write DICOM structured reports (TID 1500). Needs the extra `dicom`.")
@click.option("--gsps", metavar="DIR", help="Write DICOM presentation states with the boxes. Needs the extra `dicom`.")
@click.option("--sc", metavar="DIR", help="Write the overlays as DICOM secondary captures. Needs the extra `dicom`.")
@click.option("--backend", type=click.Choice(BACKENDS), default="auto", help="Where the network runs.  [default: auto]")
@click.option("--threads", type=click.IntRange(1, 256), default=1, help="Threads one film may use.  [default: 1]")
@click.option(
    "--jobs",
    type=click.IntRange(1, 256),
    help="Films at once, each in a process of its own. Default: one a core for many films, none for a few.",
)
@click.option("--force", is_flag=True, help="Answer films that the door would refuse (not a chest, lateral ...).")
@click.option("--skip-done", is_flag=True, help="Leave out films that -o FILE (jsonl), or else the output folder, has.")
@click.option("--require-signature", metavar="KEY", help="Refuse a model not signed by this Ed25519 public key.")
def predict(
    paths: tuple[str, ...],
    model: str,
    operating_point: str | None,
    format_: str | None,
    output: str | None,
    overlay: str | None,
    heat: bool,
    sr: str | None,
    gsps: str | None,
    sc: str | None,
    backend: str,
    threads: int,
    jobs: int | None,
    force: bool,
    skip_done: bool,
    require_signature: str | None,
) -> None:
    """Look for pneumonia on frontal chest radiographs.

    Give DICOM, PNG or JPEG films, folders (searched recursively), zip files, or - for one film on standard input. Each
    film gets a calibrated probability, a decision at the model's threshold and zero to many boxes in the film's own
    pixels; or a refusal with its reason, if it is not a frontal chest film or cannot be read.
    """
    from edge_pneumo.edge_runtime.batch import Request
    from edge_pneumo.edge_runtime.report import run
    from edge_pneumo.edge_runtime.worker import WorkerSetup

    folders = {"overlay": overlay, "sr": sr, "gsps": gsps, "sc": sc}
    outputs = {kind: folder for kind, folder in folders.items() if folder is not None}
    setup = WorkerSetup(
        model=model,
        backend=backend,
        threads=threads,
        operating_point=operating_point,
        force=force,
        heat=heat,
        require_signature=require_signature,
        outputs=tuple(outputs),
    )
    request = Request(paths, setup, outputs, jobs)
    if not run(request, format_=format_, output=output, skip_done=skip_done):
        click.get_current_context().exit(3)
