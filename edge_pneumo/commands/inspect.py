"""`edge-pneumo inspect`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    epilog="""\b
Examples:
  edge-pneumo inspect
  edge-pneumo inspect model.tflite --format json
  edge-pneumo inspect default --card-to card            # card/MODEL_CARD.md, card/calibration.svg
  edge-pneumo inspect model.tflite --require-signature maker.pem.pub

The format of the file is in docs/model-file.md.
"""
)
@click.argument("model", metavar="MODEL", default="default")
@click.option(
    "--format", "output_format", type=click.Choice(["table", "json"]), default="table", show_default=True,
    help="How to print.",
)  # fmt: skip
@click.option(
    "--require-signature", metavar="KEY", type=click.Path(path_type=Path),
    help="Public key (PEM or OpenSSH, Ed25519) that must have signed the file.",
)  # fmt: skip
@click.option("--card", is_flag=True, help="Print the model card (Markdown) instead.")
@click.option(
    "--card-to", metavar="DIR", type=click.Path(file_okay=False, path_type=Path),
    help="Write the model card and its calibration plot (SVG; needs the extra bench) into this folder instead.",
)  # fmt: skip
def inspect(model: str, output_format: str, require_signature: Path | None, card: bool, card_to: Path | None) -> None:
    """Show what is in a model file, and verify it.

    MODEL is a .tflite made by `edge-pneumo convert`, or `default`, the embedded one. Every byte is checked against the
    hashes in the file; a file that is neither the embedded one nor signed by KEY is then run once in a child process.

    `tensors` counts the numbers inside by type: `integer_only` is true when not one tensor is in floating point.

    Ends with exit code 5 when the file does not verify.
    """
    if card or card_to:
        from edge_pneumo.edge_runtime.bundle import open_bundle

        bundle = open_bundle(model, require_signature=require_signature)
        if card:
            click.echo(bundle.card)
        if card_to:
            from edge_pneumo.quantize.card_folder import write_card

            for path in write_card(card_to, bundle.card, bundle.metadata):
                click.echo(f"wrote {path}", err=True)
        return
    from edge_pneumo.edge_runtime.inspection import inspect_model, to_text

    report = inspect_model(model, require_signature)
    if output_format == "json":
        import json

        click.echo(json.dumps(report, indent=1, ensure_ascii=False))
    else:
        click.echo(to_text(report))
    if not report["verified"]:
        if output_format == "json":
            click.echo(f"edge-pneumo: {report['problem']}", err=True)
        click.get_current_context().exit(5)
