"""`edge-pneumo benchmark report`: options only; the work is `benchmarks.report.render_report`."""

from __future__ import annotations

import click

from edge_pneumo.errors import UsageFault


def _by_label(option: str, pairs: tuple[str, ...]) -> dict[str, float]:
    """LABEL=NUMBER options as a dict.

    Raises
    ------
    UsageFault : not of that form.
    """
    found: dict[str, float] = {}
    for pair in pairs:
        label, sign, number = pair.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not sign or not label or not 0 <= value < float("inf"):
            raise UsageFault(f"{option} {pair!r}: expected LABEL=NUMBER, such as pi4=6.5")
        found[label] = value
    return found


@click.command(
    epilog="""Examples:

\b
  edge-pneumo benchmark report pi4.json laptop.json -o report.html
  edge-pneumo benchmark report pi4.json -o report.html --films-per-day 80 --watts pi4=6.5 --price-per-kwh 0.30
  edge-pneumo benchmark report *.json -o report.html --csv table.csv --markdown table.md"""
)
@click.argument("files", nargs=-1, required=True, type=click.Path())
@click.option("-o", "--out", required=True, type=click.Path(dir_okay=False), help="HTML page to write.")
@click.option("--csv", "csv_path", type=click.Path(dir_okay=False), help="All rows as CSV too.")
@click.option(
    "--markdown", "markdown_path", type=click.Path(dir_okay=False), help="The main columns as a Markdown table too."
)
@click.option("--title", default=None, help="Title of the page.")
@click.option(
    "--films-per-day",
    type=click.FloatRange(0, min_open=True),
    default=200.0,
    show_default=True,
    help="The clinic's load.",
)
@click.option(
    "--hours-per-day",
    type=click.FloatRange(0, 24, min_open=True),
    default=8.0,
    show_default=True,
    help="Its opening hours.",
)
@click.option("--watts", multiple=True, metavar="LABEL=W", help="Power of a device while it is on.")
@click.option("--price-per-kwh", type=click.FloatRange(0), help="Price of electricity.")
@click.option("--device-price", multiple=True, metavar="LABEL=P", help="Price of a device, written off over --years.")
@click.option(
    "--years", type=click.FloatRange(0, min_open=True), default=3.0, show_default=True, help="Useful life of a device."
)
@click.option("--currency", default="USD", show_default=True, help="Word behind prices.")
def report(
    files: tuple[str, ...],
    out: str,
    csv_path: str | None,
    markdown_path: str | None,
    title: str | None,
    films_per_day: float,
    hours_per_day: float,
    watts: tuple[str, ...],
    price_per_kwh: float | None,
    device_price: tuple[str, ...],
    years: float,
    currency: str,
) -> None:
    """Make one self-contained HTML page from result FILES of any number of devices."""
    from edge_pneumo.benchmarks.report import ReportOptions, render_report
    from edge_pneumo.benchmarks.results import read_result
    from edge_pneumo.benchmarks.tables import to_csv, to_markdown
    from edge_pneumo.edge_runtime.files import atomic_write

    results = [read_result(path) for path in files]
    labels = {str(result["label"]) for result in results}
    given = {"--watts": _by_label("--watts", watts), "--device-price": _by_label("--device-price", device_price)}
    for option, values in given.items():
        if unknown := sorted(set(values) - labels):
            raise UsageFault(
                f"{option}: no device is called {', '.join(unknown)}; the files have {', '.join(sorted(labels))}"
            )
    options = ReportOptions(
        title=title or ReportOptions.title,
        films_per_day=films_per_day,
        hours_per_day=hours_per_day,
        watts=given["--watts"],
        price_per_kwh=price_per_kwh,
        device_price=given["--device-price"],
        years=years,
        currency=currency,
    )
    pages = {out: render_report(results, options=options)}
    if csv_path:
        pages[csv_path] = to_csv(results)
    if markdown_path:
        pages[markdown_path] = to_markdown(results)
    for path, text in pages.items():
        with atomic_write(path, "w") as stream:
            stream.write(text)
        click.echo(f"wrote {path}", err=True)
