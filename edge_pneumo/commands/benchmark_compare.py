"""`edge-pneumo benchmark compare`: options only; the work is `benchmarks.comparing.compare_results`."""

from __future__ import annotations

import json

import click


@click.command(
    epilog="""Examples:

\b
  edge-pneumo benchmark compare main.json branch.json
  edge-pneumo benchmark compare main.json branch.json --fail-if-slower 1.10"""
)
@click.argument("before", type=click.Path())
@click.argument("after", type=click.Path())
@click.option(
    "--fail-if-slower",
    type=click.FloatRange(1, min_open=True),
    metavar="X",
    help="End with exit code 5 if any row is surely slower than X times (the lower end of its interval is above X).",
)
@click.option(
    "--noise", type=click.FloatRange(0, 0.5), default=0.03, show_default=True, help="Differences never called."
)
@click.option("--format", "style", type=click.Choice(["table", "json"]), default="table", show_default=True)
def compare(before: str, after: str, fail_if_slower: float | None, noise: float, style: str) -> None:
    """Compare result file AFTER with BEFORE: ratios with intervals, and faster, slower or cannot tell.

    Ends with 0 whatever the verdict, unless --fail-if-slower is given.
    """
    from edge_pneumo.benchmarks.comparing import compare_results, comparison_text
    from edge_pneumo.benchmarks.results import read_result
    from edge_pneumo.errors import VerificationFailed

    comparison = compare_results(read_result(before), read_result(after), noise=noise)
    text = (
        json.dumps(comparison, indent=2, ensure_ascii=False) + "\n" if style == "json" else comparison_text(comparison)
    )
    click.echo(text, nl=False)
    if fail_if_slower is None:
        return
    slow = [
        row["name"]
        for row in comparison["rows"]
        if (ratio := row["stages"]["total"]["ratio"]) and ratio["low"] > fail_if_slower
    ]
    if slow:
        raise VerificationFailed(f"slower than {fail_if_slower:g} times: {'; '.join(slow)}")
    if not comparison["rows"]:
        raise VerificationFailed(f"{before} and {after} have no combination in common: nothing was checked")
