"""`edge-pneumo sign`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    epilog="""\b
Examples:
  edge-pneumo sign --new-key maker.pem                     makes maker.pem (keep it secret) and maker.pem.pub
  edge-pneumo sign model.tflite --key maker.pem
  edge-pneumo predict films/ --model model.tflite --require-signature maker.pem.pub

Needs the extra `sign`: pip install 'edge-pneumo[sign]'
"""
)
@click.argument("model", metavar="MODEL", required=False)
@click.option("--key", metavar="KEY", type=click.Path(path_type=Path), help="Ed25519 private key (PEM) to sign with.")
@click.option(
    "-o", "--out", metavar="FILE", type=click.Path(path_type=Path),
    help="Where to write the signed file.  [default: MODEL itself]",
)  # fmt: skip
@click.option(
    "--new-key",
    metavar="KEY",
    type=click.Path(path_type=Path),
    help="Make a key pair: KEY and KEY.pub. Never overwrites.",
)
@click.option("--passphrase", is_flag=True, help="Ask for a passphrase that protects the private key.")
def sign(model: str | None, key: Path | None, out: Path | None, new_key: Path | None, passphrase: bool) -> None:
    """Sign a model file with an Ed25519 key, or make a key.

    A signature says who made the file. It covers the network, the metadata, the card and the golden vectors. Whoever
    runs the model checks it with `--require-signature KEY.pub`; the key must reach them by a way they trust, not
    together with the model.
    """
    from edge_pneumo.edge_runtime import signing

    if (new_key is None) == (model is None):
        raise click.UsageError("give a MODEL to sign with --key KEY, or --new-key KEY to make a key")
    secret = None
    if passphrase:
        secret = click.prompt("Passphrase", hide_input=True, confirmation_prompt=new_key is not None, err=True).encode()
    if new_key is not None:
        public = signing.new_key(new_key, secret)
        click.echo(f"wrote {new_key} (private: keep it to yourself) and {public} (public: hand it out)", err=True)
        return
    if key is None or model is None:
        raise click.UsageError("give --key KEY, the private key to sign with")
    if model == "default" and out is None:
        raise click.UsageError("the embedded model is not signed in place: give -o FILE")
    signature = signing.sign_model(model, signing.load_private_key(key, secret), out)
    click.echo(f"signed {out or model} with key id {signature['key_id']}", err=True)
