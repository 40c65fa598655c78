"""`edge-pneumo train`."""

from __future__ import annotations

from pathlib import Path

import click

PRESET_NAMES = ("quick", "default", "rsna", "demo")


@click.command(
    epilog="""\b
Examples:
  edge-pneumo train --data rsna/ --preset quick --out runs/first
  edge-pneumo train --data clinic/ --weights default --out runs/ours   # fine-tune the embedded detector
  edge-pneumo train --data rsna/ --extra nih/ --preset default --out runs/best
  edge-pneumo train --data rsna/ --out runs/best --resume          # after a power cut
  edge-pneumo train --data rsna/ --system cnn --out runs/cnn       # a system of the reference study
  edge-pneumo train --list-systems
"""
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Labelled films with splits `train` and `val` (Kaggle layout, folder or zip, and others).",
)
@click.option(
    "--extra",
    multiple=True,
    type=click.Path(path_type=Path),
    help="More films with weak labels, all used for training. May be given again.",
)
@click.option(
    "--masked",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Lung-masked films for presets with a `masked` or `mixed` stage. May be given again.",
)
@click.option("--preset", type=click.Choice(PRESET_NAMES), help="A recipe; `quick` takes minutes.  [default: quick]")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="A recipe of your own (TOML); see the presets for the fields.",
)
@click.option("--system", metavar="NAME", help="Train a reference system instead of the detector (see --list-systems).")
@click.option("--list-systems", is_flag=True, help="List the reference systems with their sizes, and stop.")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How --list-systems prints.",
)
@click.option(
    "--weights",
    metavar="RUN|FILE|none",
    help="Starting weights: `default` to fine-tune the embedded detector, a RUN to go on from, a file, or `none`.  "
    "[default: Keras's ImageNet weights, downloaded]",
)
@click.option("--out", type=click.Path(path_type=Path), help="Run directory to make.")
@click.option("--resume", is_flag=True, help="Go on from the last finished epoch of --out.")
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs of every stage, in place of the recipe's.")
@click.option("--size", "size_px", type=int, help="Input side in pixels, a multiple of 32, in place of the recipe's.")
@click.option("--alpha", type=float, help="Width of MobileNetV2, 0.35 to 1.0, in place of the recipe's.")
@click.option(
    "--seed", type=click.IntRange(min=0), help="Seed of order, changes and dropout, in place of the recipe's."
)
@click.option(
    "--cache", "cache_dir", type=click.Path(path_type=Path), help="Keep decoded films here, for the next run."
)
@click.option("--tensorboard", is_flag=True, help="With --system: also write event files to OUT/tensorboard.")
def train(
    data: Path | None, extra: tuple[Path, ...], masked: tuple[Path, ...], preset: str | None, config_file: Path | None,
    system: str | None, list_systems: bool, output_format: str, weights: str | None, out: Path | None, resume: bool,
    epochs: int | None, size_px: int | None, alpha: float | None, seed: int | None, cache_dir: Path | None,
    tensorboard: bool,
) -> None:  # fmt: skip
    """Train the detector (or one of the reference study's systems) and leave a run directory.

    The run holds the weights, the configuration, the log with its curves, and what was measured on the `val` films.
    Next: `edge-pneumo quantize` or `edge-pneumo convert`.

    Ends with exit code 3 when some films could not be read; it was trained on the others.
    """
    from edge_pneumo.train.run import expect_tensorflow, require_tensorflow

    if list_systems:
        require_tensorflow()
        from edge_pneumo.train.systems import list_systems as rows

        _print_systems(rows(), output_format)
        return
    if data is None or out is None:
        raise click.UsageError("give --data DIR and --out RUN (or --list-systems)")
    if preset and config_file:
        raise click.UsageError("give --preset or --config, not both")
    if system is not None and (preset or config_file or masked or size_px or alpha):
        raise click.UsageError("--system is a recipe: leave out --preset, --config, --masked, --size and --alpha")
    expect_tensorflow()
    from edge_pneumo.commands.telling import Teller
    from edge_pneumo.train.config import preset as read_preset
    from edge_pneumo.train.config import read_config
    from edge_pneumo.train.data.index import load_dataset

    # Recipe and films first: TensorFlow takes seconds to load, and a wrong path should not have to wait for it.
    changes = {"epochs": epochs, "size_px": size_px, "alpha": alpha, "seed": seed}
    config = read_config(config_file, **changes) if config_file else read_preset(preset or "quick", **changes)
    dataset, more = load_dataset(data), [load_dataset(path) for path in extra]
    tell = Teller()
    for warning in dataset.warnings:
        tell(f"{data}: {warning}")
    if system is not None:
        from edge_pneumo.train.systems import train_system

        train_system(
            system, dataset, out, extra=more, weights=weights, epochs=epochs, seed=seed or 0, resume=resume,
            cache_dir=cache_dir, tensorboard=tensorboard, say=tell,
        )  # fmt: skip
    else:
        from edge_pneumo.train.fit import train_detector

        try:
            train_detector(
                config, dataset, out, extra=more, masked=masked, weights=weights, resume=resume, cache_dir=cache_dir,
                say=tell,
            )  # fmt: skip
        except KeyboardInterrupt:
            if any(out.rglob("state.npz")):
                tell(f"{out} holds the finished epochs: the same command with --resume goes on from there")
            raise
    click.echo(out)
    tell.finish()


def _print_systems(rows: list[dict], output_format: str) -> None:
    if output_format == "json":
        import json

        click.echo(json.dumps(rows, indent=1))
        return
    click.echo(f"{'name':24} {'reference':>9} {'input':>14} {'parameters':>12} {'trainable':>12}")
    for row in rows:
        size = "x".join(str(n) for n in row["input"])
        click.echo(
            f"{row['name']:24} {row['reference'] or '-':>9} {size:>14} {row['parameters']:>12,} {row['trainable']:>12,}"
        )
