"""`edge-pneumo benchmark systems`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click


@click.command(
    epilog="""\b
Examples:
  edge-pneumo benchmark systems --data rsna/ --kermany chest_xray/ --out docs/results
  edge-pneumo benchmark systems --data rsna/ --out results --only cnn --epochs cnn=5
  edge-pneumo benchmark systems --data rsna/ --out results \\
      --weights mobilenetv2-transfer=mobilenet_v2.h5 --weights densenet121-chexnet=model.pth.tar

Run the same command again after an interruption: finished rows are kept, the row that was cut short resumes.
"""
)
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    help="Labelled films with splits train and val, any layout.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Where systems.json and systems.md go.")
@click.option(
    "--runs", type=click.Path(path_type=Path), help="Where the run directories go (large).  [default: OUT/runs]"
)
@click.option(
    "--kermany", type=click.Path(path_type=Path),
    help="A folder of classes (NORMAL, PNEUMONIA) for rows 3 to 5 once more, judged on its test split.",
)  # fmt: skip
@click.option("--split", default="val", show_default=True, help="Split of --data to judge on.")
@click.option("--only", multiple=True, metavar="NAME", help="Only this system, or `detector`. May be given again.")
@click.option(
    "--epochs", multiple=True, metavar="[NAME=]N",
    help="Epochs of one system, or of all that are not named.  [default: each system's own]",
)  # fmt: skip
@click.option(
    "--weights", multiple=True, metavar="NAME=FILE|none",
    help="Starting weights of one system or of `detector`.  [default: Keras's download, else scratch]",
)  # fmt: skip
@click.option(
    "--detector", default="quick", show_default=True, metavar="PRESET|MODEL",
    help="Preset to train our detector by, or a finished run or .tflite to judge.",
)  # fmt: skip
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of training and resampling."
)
@click.option(
    "--bootstrap", type=click.IntRange(min=0), default=1000, show_default=True, help="Resamples for the 95 % intervals."
)
def systems(
    data: Path, out: Path, runs: Path | None, kermany: Path | None, split: str, only: tuple[str, ...],
    epochs: tuple[str, ...], weights: tuple[str, ...], detector: str, seed: int, bootstrap: int,
) -> None:  # fmt: skip
    """Train and judge the reference report's seven systems and our detector on the same films.

    A row is written as soon as it is done. Ends with exit code 3 when a row failed; a row whose weights nobody has
    (CheXNet's are not downloaded) is listed as not run.
    """
    from edge_pneumo.train.run import require_tensorflow

    require_tensorflow()
    from edge_pneumo.train.systems.catalogue import SYSTEMS
    from edge_pneumo.train.systems.table import DETECTOR, Plan, make_table
    from edge_pneumo.train.systems.text import to_markdown

    names = [*(system.name for system in SYSTEMS), DETECTOR]
    plan = Plan(
        data=data, kermany=kermany, systems=only, split=split, epochs=_epochs(epochs, names), weights=_named(weights),
        detector=detector, seed=seed, bootstrap=bootstrap,
    )  # fmt: skip
    table = make_table(plan, out, runs or out / "runs", lambda text: click.echo(text, err=True))
    click.echo(to_markdown(table), nl=False)
    if any(row["status"] == "failed" for row in table["rows"]):
        click.get_current_context().exit(3)


def _named(values: Sequence[str]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    if wrong := [value for value, (_, equals, right) in zip(values, pairs, strict=True) if not (equals and right)]:
        raise click.UsageError(f"--weights takes NAME=FILE or NAME=none, found {wrong[0]!r}")
    return {name: right for name, _, right in pairs}


def _epochs(values: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    chosen: dict[str, int] = {}
    for value in values:
        name, equals, number = value.rpartition("=")
        if not number.isdigit() or int(number) < 1:
            raise click.UsageError(f"--epochs takes N or NAME=N with N of at least 1, found {value!r}")
        everywhere_else = {each: int(number) for each in names if each not in chosen}
        chosen |= {name: int(number)} if equals else everywhere_else
    return chosen
