"""The page: every number can be found in its JSON, nothing is loaded, hostile names stay text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
from bench_results import cannot_run, entry, result, sustained

from edge_pneumo.benchmarks.report import ReportOptions, render_report
from edge_pneumo.benchmarks.report.agreement import agreements
from edge_pneumo.benchmarks.report.charts import pareto_front, shortened
from edge_pneumo.benchmarks.report.clinic import cost_row, waiting_s
from edge_pneumo.benchmarks.report.filters import digits
from edge_pneumo.benchmarks.report.sustained import sustained_row
from edge_pneumo.benchmarks.report.verdict import best_entry
from edge_pneumo.benchmarks.report.view import distinct_labels
from edge_pneumo.benchmarks.results import check
from edge_pneumo.benchmarks.tables import to_markdown

pytest.importorskip("matplotlib", reason="the report needs the extra bench")
pytest.importorskip("jinja2", reason="the report needs the extra bench")


@pytest.fixture(scope="module")
def page() -> str:
    shaky = {"reason": "other processes kept 1.2 cores busy", "next": "Stop other work, then run again."}
    laptop = [
        entry(4, seed=1, auc=0.87),
        entry(3.5, threads=2, seed=2, auc=0.87),
        entry(6, precision="float32", seed=3, auc=0.88, unstable=shaky),
        entry(20, backend="gpu", seed=4, software=True),
        cannot_run("tflite-runtime", "not installed"),
    ]
    laptop[1] |= {
        "name": "OpenVINO",
        "times_ours": {key: {"value": 1.75, "low": 1.5, "high": 2.0} for key in ("total", "invoke")},
    }
    pi = [entry(30, seed=5, sustained=sustained()), entry(17, threads=4, seed=6)]
    return render_report(
        [check(result("laptop", laptop), "a"), check(result("Pi <4> & co", pi, board="Raspberry Pi 4"), "b")],
        [{"title": "Training", "html": "<p id='mark'>curves</p>"}],
        ReportOptions(watts={"laptop": 28.0}, price_per_kwh=0.3, device_price={"laptop": 500.0}),
    )


class Values(HTMLParser):
    """Collects `data-v` values, and addresses of anything that a browser would load."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[str] = []
        self.loads: list[str] = []
        self.scripts: list[str | None] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        if "data-v" in known:
            self.values.append(known["data-v"] or "")
        self.loads += [
            v or "" for k, v in attrs if k in ("src", "href", "xlink:href") and not (v or "").startswith("#")
        ]
        if known.get("id"):
            self.ids.append(known["id"] or "")
        if tag == "script":
            self.scripts.append(known.get("type"))


def numbers_in(value):
    if isinstance(value, dict):
        return {n for item in value.values() for n in numbers_in(item)}
    if isinstance(value, list):
        return {n for item in value for n in numbers_in(item)}
    return {float(value)} if isinstance(value, int | float) and not isinstance(value, bool) else set()


def embedded(page: str):
    return json.loads(re.search(r'<script type="application/json" id="numbers">(.*?)</script>', page, re.S).group(1))


def test_every_number_is_in_the_json_at_the_end(page):
    parser = Values()
    parser.feed(page)
    known = numbers_in(embedded(page))
    assert len(parser.values) > 100
    assert {float(v) for v in parser.values} <= known


def test_measured_numbers_are_those_of_the_result_file(page):
    total = entry(4, seed=1, auc=0.87)["stages_ms"]["total"]
    row = embedded(page)["latency"][0]
    assert {key: row[key] for key in ("p50", "p90", "p99", "mean", "n")} == total
    assert f"{digits(total['p50'])} ms" in page  # beside its bar


def test_nothing_is_loaded_and_no_script_runs(page):
    parser = Values()
    parser.feed(page)
    assert parser.loads == []
    assert parser.scripts == ["application/json"]
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_ids_are_unique_and_every_reference_has_its_target(page):
    parser = Values()
    parser.feed(page)
    assert len(parser.ids) == len(set(parser.ids))
    assert set(re.findall(r'(?:xlink:href="|url\()#([^")]+)', page)) <= set(parser.ids)


def test_colours_follow_light_and_dark(page):
    drawn = "".join(re.findall(r"<svg.*?</svg>", page, re.S))
    assert not re.search(r"#0101|#0[1-4]0[1-4]0", drawn)
    assert "var(--c1)" in drawn
    assert "prefers-color-scheme: dark" in page


def test_names_are_escaped_and_extra_sections_are_not(page):
    assert "Pi &lt;4&gt; &amp; co" in page
    assert "<4>" not in re.sub(r"<script.*?</script>", "", page, flags=re.S)
    assert "<p id='mark'>curves</p>" in page


NAMES = [
    "$5 board, $x_{",
    "$\\frac{$",
    "A" * 200,
    "日本語 ünï",
    "two\nlines\x1b[31m\x00",
    "<!--<script>",
    "_hidden",
    " ",
    "|",
]


@pytest.mark.filterwarnings("error")
def test_any_name_makes_a_page():
    results = []
    for name in NAMES:
        rows = [entry(4, auc=0.9, sustained=sustained()), entry(3, threads=2), entry(5, precision="float32")]
        for row in rows:
            row["model"]["name"] = name
        results.append(check(result(name, rows), "a"))
    html = render_report(results)
    assert "\x1b" not in html and "\x00" not in html and "<!--<script" not in html
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in to_markdown(results).splitlines()} == {13}


def test_a_long_name_is_cut_behind_the_number(page):
    html = render_report([check(result("B" * 300, [entry(4.25)]), "a"), check(result("other", [entry(5)]), "b")])
    assert shortened("x" * 50, 10) == "x" * 9 + "…" and shortened("short", 10) == "short"
    assert re.search(r"\b4\.\d\d ms · detector int8 · cpu · 1 thread · B+…", html)


def test_sustained_load_shows_heat_clock_and_throttling():
    hot = sustained()
    for point in hot["points"][60:]:
        point |= {"clock_mhz": 1200, "throttle": ["throttled now", "throttling has occurred"]}
    row = sustained_row("pi", check(result("pi", [entry(17, sustained=hot)]), "a")["results"][0])
    assert row["clock_mhz"] == [1200, 1800] and (row["throttled"], row["intervals"]) == (40, 100)
    assert row["hottest_c"] == max(point["temperature_c"] for point in hot["points"])
    html = render_report([check(result("pi", [entry(17, sustained=hot)]), "a")])
    assert html.count(">MHz</text>") == 2 and html.count(">°C</text>") == 2, "both panels, wide and narrow"
    quiet = {"points": [{"time_s": 1.0, "p50_ms": 2.0, "temperature_c": None}], "minutes": 1}
    row = sustained_row("vm", check(result("vm", [entry(2, sustained=quiet)]), "a")["results"][0])
    assert (row["hottest_c"], row["clock_mhz"], row["throttled"]) == (None, None, None)


def test_made_up_films_are_named_where_others_are_real():
    real, drawn = result("a", [entry(4)]), result("b", [entry(5)])
    drawn["films"] = {"source": "phantom", "n": 24}
    assert "made-up films (b): the times" in render_report([check(real, "a"), check(drawn, "b")])
    assert "made-up films: the times" in render_report([check(drawn, "b")])


def test_software_gpu_is_shown_but_never_drawn_or_recommended(page):
    assert "software GPU: proves that the path works" in page
    drawn = "".join(re.findall(r"<svg.*?</svg>", page, re.S))
    assert "gpu" not in drawn


def test_peers_have_their_ratios(page):
    assert embedded(page)["peers"][0]["times"] == {"value": 1.75, "low": 1.5, "high": 2.0}
    assert "Against other runtimes" in page


def test_verdict_speaks_of_each_device_and_of_unstable_rows(page):
    texts = [line["text"] for line in embedded(page)["verdict"]]
    assert texts[0].startswith("laptop answers a film in ")
    assert any(text.startswith("Pi <4> & co takes 4.") for text in texts)
    assert any("int8 and float decide alike on" in text for text in texts)
    assert any(text.startswith("Unstable rows: 1 of 6") for text in texts)


def test_a_page_of_extra_sections_only():
    html = render_report([], [{"title": "Only this", "html": "<b>x</b>"}])
    assert "Only this" in html
    assert "Time to answer a film" not in html


def test_a_device_where_nothing_ran():
    html = render_report([check(result("dead", [cannot_run()]), "x")])
    assert "nothing could be measured" in html


def test_the_same_label_twice_is_told_apart():
    named = distinct_labels([result("pi", []), result("pi", []), result("mac", [])])
    assert [r["label"] for r in named] == ["pi", "pi (2)", "mac"]


def test_best_row_is_our_runtime_even_if_a_peer_is_faster():
    best = best_entry(
        check(result("x", [entry(5), entry(2, backend="openvino"), entry(1, backend="gpu", software=True)]), "x")
    )
    assert best is not None
    assert best["backend"] == "cpu"


def test_waiting_time_of_constant_service_is_that_of_m_d_1():
    # rate 0.5/s, service 1 s: load 0.5, W = load * service / (2 (1 - load)) = 0.5 s
    assert waiting_s([1000.0] * 10, films_per_day=0.5 * 8 * 3600, hours_per_day=8) == pytest.approx(0.5)


def test_waiting_time_without_end_is_none():
    assert waiting_s([1000.0], films_per_day=40_000, hours_per_day=8) is None


def test_cost_by_hand():
    e = entry(10, films_per_second=100.0)
    options = ReportOptions(
        films_per_day=100, hours_per_day=10, watts={"x": 5.0}, price_per_kwh=0.2, device_price={"x": 73.0}, years=2
    )
    row = cost_row("x", e, None, options)
    assert row is not None
    # 1,000 films: 10 s at 5 W = 50 J = 0.0139 Wh of work; ten days of 10 h at 5 W = 500 Wh = 0.10; 73 / 73,000 = 0.001
    assert row["work_wh"] == pytest.approx(0.0139, abs=1e-4)
    assert (row["day_wh"], row["energy_cost"], row["device_cost"], row["cost"]) == (500.0, 0.1, 1.0, 1.1)


def test_no_power_no_cost():
    assert cost_row("x", entry(), None, ReportOptions()) is None


def test_agreement_by_hand():
    small = entry(probabilities=[0.2, 0.6, None, 0.4])
    large = entry(precision="float32", probabilities=[0.25, 0.7, 0.1, 0.55])
    (found,) = agreements([check(result("x", [small, large]), "x")])
    assert (found["n"], found["same_decision"], found["largest"], found["mean"]) == (3, 2, 0.15, 0.1)


def test_pareto_front_by_hand():
    assert pareto_front([(3, 0.9), (1, 0.8), (2, 0.7), (4, 0.85), (1, 0.75)]) == [(1, 0.8), (3, 0.9)]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (8.0, "8"),
        (1234.5, "1,234"),
        (12.34, "12.3"),
        (1.234, "1.23"),
        (0.1234, "0.123"),
        (0.00012, "0.0001"),
        (1e-6, "1.0e-06"),
    ],
)
def test_digits(value, text):
    assert digits(value) == text
