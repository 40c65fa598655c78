"""Result files: whole or refused with a reason, old ones accepted; tables; comparison."""

from __future__ import annotations

import copy
import csv
import io
import json

import pytest
from bench_results import cannot_run, entry, result

from edge_pneumo.benchmarks.comparing import compare_results, comparison_text
from edge_pneumo.benchmarks.results import check, dump, read_result, write_result
from edge_pneumo.benchmarks.tables import COLUMNS, number, to_csv, to_markdown
from edge_pneumo.cli import main
from edge_pneumo.errors import InputRefused


def test_round_trip(tmp_path):
    data = result("pi", [entry(), cannot_run()])
    write_result(tmp_path / "pi.json", data)
    again = read_result(tmp_path / "pi.json")
    assert again["results"][0]["samples_ms"] == data["results"][0]["samples_ms"]
    assert json.loads(dump(data)) == data


def test_label_comes_from_the_file_name_where_there_is_none(tmp_path):
    data = result("x", [entry()])
    del data["label"]
    write_result(tmp_path / "kitchen.json", data)
    assert read_result(tmp_path / "kitchen.json")["label"] == "kitchen"


def test_schema_0_with_the_contract_s_fields_only():
    full = entry()
    fields = ("backend", "threads", "cold_start_ms", "stages_ms", "samples_ms", "films_per_second", "peak_rss_mb")
    old = {
        "device": {"board": "b", "cores": 4},
        "results": [{key: full[key] for key in fields} | {"model": "m.tflite"}],
    }
    upgraded = check(old, "old.json")
    assert upgraded["schema"] == 1
    assert upgraded["results"][0]["model"] == {"name": "m.tflite"}
    assert upgraded["results"][0]["unstable"] is None


def damaged(change):
    data = result("pi", [entry()])
    change(data)
    return json.dumps(data)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "not a whole JSON file"),
        (dump(result("pi", [entry()]))[:-40], "may be cut short"),
        ("[1, 2]", "no benchmark result"),
        ('{"probability": 0.5}', "no benchmark result"),
        (damaged(lambda d: d.update(schema=2)), "schema 2; this version reads up to 1. Upgrade"),
        (damaged(lambda d: d["results"][0].pop("stages_ms")), r"results\[0\]: stages_ms.total needs p50"),
        (damaged(lambda d: d["results"][0].update(samples_ms=[])), "samples_ms needs the raw totals"),
        (damaged(lambda d: d["results"].append("x")), r"results\[1\]: expected an object"),
    ],
)
def test_wrong_files_are_refused_with_the_reason(tmp_path, text, match):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(InputRefused, match=match):
        read_result(path)


@pytest.mark.parametrize("command", [["report", "-o", "out.html"], ["compare", "also-missing.json"]])
def test_missing_file_ends_with_3_and_no_traceback(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["benchmark", command[0], "missing.json", *command[1:]])
    assert end.value.code == 3
    assert "missing.json: cannot be read" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_csv_has_a_row_for_each_entry_and_every_column():
    rows = list(csv.DictReader(io.StringIO(to_csv([check(result("pi", [entry(auc=0.8), cannot_run()]), "x")]))))
    assert list(rows[0]) == list(COLUMNS)
    assert float(rows[0]["auc"]) == 0.8
    assert rows[1]["note"] == "cannot run: no usable GPU"


def test_markdown_has_notes_for_what_a_reader_must_know():
    software = entry(backend="gpu", software=True)
    text = to_markdown([check(result("pi", [entry(), software]), "x")])
    assert "[1] software GPU: proves that the path works, says nothing of speed" in text
    assert all(line.count("|") == text.splitlines()[0].count("|") for line in text.splitlines() if line.startswith("|"))


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.01234, "0.0123"), (12.345, "12.3"), (1234.5, "1234"), (4, "4"), ("a", "a")]
)
def test_numbers_in_tables(value, text):
    assert number(value) == text


def pair(before, after):
    return compare_results(check(result("a", [before]), "a"), check(result("b", [after]), "b"))


UNSTABLE = {"reason": "busy", "next": "stop"}


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (entry(10, seed=1), entry(10, seed=2), "cannot tell"),
        (entry(10, seed=1), entry(7, seed=2), "faster"),
        (entry(10, seed=1), entry(14, seed=2), "slower"),
        (entry(10, seed=1), entry(10.2, seed=2), "cannot tell"),  # within what two runs differ by
        (entry(10, seed=1), entry(9.0, seed=2, unstable=UNSTABLE), "cannot tell"),
        (entry(10, seed=1), entry(5.0, seed=2, unstable=UNSTABLE), "faster"),
        (entry(10, seed=1), entry(2.0, seed=2, software=True), "cannot tell"),
    ],
)
def test_verdicts(before, after, verdict):
    comparison = pair(before, after)
    assert comparison["rows"][0]["verdict"] == verdict
    assert comparison["verdict"] == verdict


def test_versions_of_a_model_are_paired_when_only_the_name_differs():
    other = copy.deepcopy(entry(5, seed=2))
    other["model"]["name"] = "detector-next"
    comparison = pair(entry(10, seed=1), other)
    assert "→" in comparison["rows"][0]["name"]
    assert comparison["verdict"] == "faster"


def test_what_is_in_one_file_only_is_listed():
    comparison = compare_results(
        check(result("a", [entry(), entry(threads=2)]), "a"), check(result("b", [entry(), entry(backend="gpu")]), "b")
    )
    assert comparison["only_before"] == ["detector int8 · cpu · 2 threads"]
    assert comparison["only_after"] == ["detector int8 · gpu · 1 thread"]
    assert "only in a: detector int8 · cpu · 2 threads" in comparison_text(comparison)


@pytest.mark.parametrize(("limit", "code"), [(None, 0), ("2.0", 0), ("1.2", 5)])
def test_compare_ends_with_0_unless_asked_to_fail(tmp_path, capsys, limit, code):
    write_result(tmp_path / "a.json", result("a", [entry(10, seed=1)]))
    write_result(tmp_path / "b.json", result("b", [entry(14, seed=2)]))
    words = ["benchmark", "compare", str(tmp_path / "a.json"), str(tmp_path / "b.json"), "--format", "json"]
    with pytest.raises(SystemExit) as end:
        main(words + (["--fail-if-slower", limit] if limit else []))
    assert end.value.code == code
    assert json.loads(capsys.readouterr().out)["verdict"] == "slower"
