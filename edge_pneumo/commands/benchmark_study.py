"""`edge-pneumo benchmark study`: options only; the work is `train.study.run_study`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    epilog="""\b
Examples:
  edge-pneumo benchmark study docs/studies/ablation.toml --data rsna/ --extra nih/ --work runs/ablation \\
      -o docs/results/ablation.json --markdown docs/results/ablation.md --plot docs/results/ablation.svg
  edge-pneumo benchmark study docs/studies/learning-curve.toml --data rsna/ --work runs/curve -o curve.json

Run the same command again after an interruption: finished runs are kept, the one that was cut short resumes.
"""
)
@click.argument("study_file", metavar="STUDY.toml", type=click.Path(path_type=Path))
@click.option(
    "--data", required=True, type=click.Path(path_type=Path), help="Labelled films with splits train and val."
)
@click.option("--extra", multiple=True, type=click.Path(path_type=Path), help="Weakly labelled films, as for `train`.")
@click.option("--masked", multiple=True, type=click.Path(path_type=Path), help="Lung-masked films, as for `train`.")
@click.option("--weights", metavar="RUN|FILE|none", help="Starting weights, as for `train`.")
@click.option(
    "--pretrained", type=click.Path(path_type=Path),
    help="RUN whose stage of masked films is done: variants that use them start from it instead of repeating it.",
)  # fmt: skip
@click.option("--work", required=True, type=click.Path(path_type=Path), help="Where the run directories go (large).")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="JSON with every run's figures.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Write the table there too.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw it there, as SVG.")
@click.option("--cache", "cache_dir", type=click.Path(path_type=Path), help="Keep decoded films here.")
@click.option(
    "--jobs", type=click.IntRange(1), default=1, show_default=True,
    help="Train so many at once, each with its share of the cores and 2 GB of memory.",
)  # fmt: skip
def study(
    study_file: Path, data: Path, extra: tuple[Path, ...], masked: tuple[Path, ...], weights: str | None,
    pretrained: Path | None, work: Path, out: Path, markdown: Path | None, plot: Path | None,
    cache_dir: Path | None, jobs: int,
) -> None:  # fmt: skip
    """Train the detector in several ways over several seeds, and compare: ablation, learning curve, sizes.

    The study file names a preset and its variants (docs/studies/ has ours). Figures are on `val`, or by
    cross-validation grouped by patient (`folds = 5`).
    """
    from edge_pneumo.train.run import require_tensorflow

    require_tensorflow()
    from edge_pneumo.edge_runtime.files import atomic_write
    from edge_pneumo.train.data.index import load_dataset
    from edge_pneumo.train.study import Films, read_study, run_folder, run_study, to_markdown

    plan = read_study(study_file)
    films = Films(load_dataset(data), [load_dataset(one) for one in extra], masked, weights, pretrained, cache_dir)

    def say(text: str) -> None:
        click.echo(text, err=True)

    result = run_study(plan, films, work, out, say, jobs)
    if plan.convert:
        from edge_pneumo.quantize.sizes import add_sizes
        from edge_pneumo.train.run import write_json

        places = {variant.name: run_folder(work, plan, variant, plan.seeds[0]) for variant in plan.variants}
        add_sizes(result, places, films.data, cache_dir, say)
        write_json(out, result)
    if plot is not None:
        from edge_pneumo.train.study_plot import draw_study

        draw_study(plot, result)
    table = to_markdown(result)
    if markdown is not None:
        with atomic_write(markdown, "w") as stream:
            stream.write(table)
    click.echo(table, nl=False)
