"""`evaluate` and `tune` from the command line, with a real model file on made-up films; no TensorFlow."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner
from metrics_cases import clinic

from edge_pneumo.benchmarks.metrics import evaluate
from edge_pneumo.benchmarks.metrics.page import worst_films, write_page
from edge_pneumo.benchmarks.metrics.table import to_text
from edge_pneumo.cli import main
from edge_pneumo.edge_runtime.bundle import open_bundle
from edge_pneumo.errors import FilmRefused
from edge_pneumo.train.data.phantom import make_phantom

TINY = Path(__file__).parents[1] / "data" / "tiny.tflite"


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    return make_phantom(tmp_path_factory.mktemp("phantom") / "films", 48, seed=1, size_px=128)


@pytest.fixture
def run(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in arguments])
        out = capsys.readouterr()
        return stop.value.code, out.out, out.err

    return call


def test_evaluate_prints_one_json_document(run, films):
    code, out, err = run("evaluate", TINY, "--data", films, "--format", "json", "--bootstrap", 20)
    result = json.loads(out)
    assert code == 0 and result["schema"] == 1 and result["n"] == 48
    assert result["model"]["sha256"] == open_bundle(TINY).sha256
    assert result["data"]["split"] == "all" and re.fullmatch("[0-9a-f]{64}", result["data"]["split_hash"])
    assert "Traceback" not in err


def test_evaluate_of_a_split_learns_baselines_from_train(run, films):
    _, out, _ = run("evaluate", TINY, "--data", films, "--split", "val", "--format", "json", "--bootstrap", 0)
    result = json.loads(out)
    assert 0 < result["n"] < 48 and result["baselines"]["learnt_on"] == "reference films"


def test_evaluate_judges_what_predict_says(run, films, tmp_path):
    """The same films through both commands: the same probabilities, boxes and decisions."""
    lines = tmp_path / "films.jsonl"
    run("evaluate", TINY, "--data", films, "--bootstrap", 0, "--predictions", lines)
    judged = {row["film_id"]: row for row in map(json.loads, lines.read_text().splitlines())}
    _, out, _ = run("predict", films / "stage_2_train_images", "--model", TINY, "--format", "jsonl")
    said = {Path(row["file"]).stem: row for row in map(json.loads, out.splitlines())}
    assert set(judged) == set(said)
    for name, row in said.items():
        assert {k: judged[name][k] for k in ("probability", "decision", "threshold", "boxes")} == {
            k: row[k] for k in ("probability", "decision", "threshold", "boxes")
        }


def test_evaluate_at_an_operating_point(run, films):
    arguments = ("evaluate", TINY, "--data", films, "--format", "json", "--bootstrap", 0)
    low = json.loads(run(*arguments, "--operating-point", "sensitive")[1])
    assert low["threshold"] == 0.2 and low["model"]["operating_point"] == "sensitive"
    assert low["sensitivity"]["value"] == low["operating_points"]["sensitive"]["sensitivity"]["value"]


def test_a_refused_film_gives_exit_code_3_and_the_rest(run, films, tmp_path):
    broken = tmp_path / "films"
    (broken / "stage_2_train_images").mkdir(parents=True)
    for path in films.rglob("*"):
        if path.is_file():
            (broken / path.relative_to(films)).write_bytes(path.read_bytes())
    victim = sorted((broken / "stage_2_train_images").iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:900])
    code, out, _ = run("evaluate", TINY, "--data", broken, "--format", "json", "--bootstrap", 0)
    result = json.loads(out)
    assert code == 3 and result["refused"] == 1 and result["n"] == 47


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nowhere", "--data", "FILMS"), 2, "no model at nowhere. Give `default`"),
        (("TINY", "--data", "FILMS", "--split", "holdout"), 3, r"no films in split 'holdout'\. It has: .*train"),
        (
            ("TINY", "--data", "FILMS", "--operating-point", "best"),
            2,
            "no operating point 'best'; choose one of: balanc",
        ),
        (("TINY", "--data", "nowhere"), 3, "nowhere"),
        (("FILMS", "--data", "FILMS"), 3, "finished run directory"),
        ((str(Path(__file__)), "--data", "FILMS"), 5, "not a TFLite model"),
        (("TINY", "--data", "FILMS", "--worst", "3"), 2, "give --html"),
    ],
)
def test_wrong_use_of_evaluate_is_answered(run, films, arguments, code, message):
    names = {"FILMS": films, "TINY": TINY}
    found, out, err = run("evaluate", *(names.get(a, a) for a in arguments))
    assert found == code and not out and "Traceback" not in err
    assert re.search(message, err)


class Page(HTMLParser):
    """What a browser would fetch, and the text."""

    def __init__(self, text):
        super().__init__()
        self.fetched, self.ids, self.svgs = [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.fetched += [v for k, v in attrs if k in ("src", "href", "xlink:href") and not v.startswith("#")]
        self.ids += [values["id"]] if "id" in values else []
        self.svgs += tag == "svg"


def test_the_page_is_self_contained_and_names_no_film_unless_asked(tmp_path):
    pytest.importorskip("matplotlib")
    films, findings = clinic(60)
    findings[0] = FilmRefused("truncated", "cut")
    result = evaluate(films, findings, bootstrap=20, model={"name": "<m>"}, operating_points={"screening": 0.3})
    write_page(tmp_path / "plain.html", result)
    text = (tmp_path / "plain.html").read_text()
    page = Page(text)
    assert page.fetched == [] and page.svgs == 7 and len(page.ids) == len(set(page.ids))
    assert "film-" not in text and "<m>" not in text and "&lt;m&gt;" in text
    assert not re.search(r"#0[1-5]0[1-5]0[1-5]", text)  # every colour comes from the page's scheme
    write_page(tmp_path / "named.html", result, worst_films(films, findings, 2))
    worst = worst_films(films, findings, 2)
    named = (tmp_path / "named.html").read_text()
    assert all(row["film_id"] in named for rows in worst.values() for row in rows)
    missed = [row["probability"] for row in worst["missed"]]
    assert missed == sorted(missed) and all(row["label"] == 1 for row in worst["missed"])


@pytest.mark.parametrize("n", [0, 1])
def test_table_and_page_of_next_to_nothing(tmp_path, n):
    films, findings = clinic(1)
    result = evaluate(films[:n], findings[:n], bootstrap=5)
    assert "warning:" in to_text(result)
    pytest.importorskip("matplotlib")
    write_page(tmp_path / "page.html", result)


def test_the_table_shows_every_part(run, films):
    _, out, _ = run("evaluate", TINY, "--data", films, "--bootstrap", 20)
    for part in (
        "RSNA challenge score",
        "confusion at 0.500",
        "macro average",
        "Sex F",
        "view position alone",
        "sensitive",
    ):
        assert part in out


def test_tune_writes_a_verified_model_that_says_what_it_is(run, films, tmp_path):
    out = tmp_path / "clinic.tflite"
    code, text, err = run(
        "tune", TINY, "--data", films, "-o", out, "--default-point", "specific", "--format", "json", "--bootstrap", 50
    )
    if code == 3 and "no better than chance" in err:
        pytest.fail("the random network ranks these films upside down; choose another seed for the films")
    result, source, made = json.loads(text), open_bundle(TINY), open_bundle(out)
    assert code == 0 and made.sha256 == result["out"]["sha256"] and made.tflite == source.tflite
    assert made.decode_spec.default_operating_point == "specific"
    assert set(made.decode_spec.operating_points) == {"screening", "balanced", "specific"}
    assert made.metadata["tuned"]["from"]["sha256"] == source.sha256
    assert made.metadata["tuned"]["data"]["films"] == 48 and made.version.startswith(f"{source.version}+tuned.")
    assert "## Tuned" in made.card and made.golden is not None
    for row in result["operating_points"].values():
        assert row["threshold"]["low"] <= row["threshold"]["value"] <= row["threshold"]["high"]
        assert row["sensitivity"]["value"] is not None and row["specificity"]["value"] is not None
    assert any("Only" in warning for warning in result["warnings"])
    assert "film" not in json.dumps(made.metadata["tuned"]["from"])  # no film names in the model file
    code, text, _ = run("evaluate", out, "--data", films, "--format", "json", "--bootstrap", 0)
    judged = json.loads(text)
    assert judged["model"]["operating_point"] == "specific"
    assert any("thresholds were tuned on 48 of these 48 films" in warning for warning in judged["warnings"])


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (("-o", "TINY"), 2, "is the model to be tuned"),
        (("-o", "OUT", "--prevalence", "1.5"), 2, "between 0 and 1, found 1.5"),
        (("-o", "OUT", "--default-point", "best"), 2, "no operating point 'best'; choose one of: screening"),
        (("-o", "OUT", "--split", "val"), 3, r"tuning needs at least 10 of each"),
    ],
)
def test_wrong_use_of_tune_is_answered_and_writes_nothing(run, films, tmp_path, change, code, message):
    names = {"TINY": TINY, "OUT": tmp_path / "out.tflite"}
    before = TINY.read_bytes()
    found, out, err = run("tune", TINY, "--data", films, *(names.get(a, a) for a in change))
    assert found == code and not out and re.search(message, err)
    assert not (tmp_path / "out.tflite").exists() and TINY.read_bytes() == before


def test_evaluate_of_a_tflite_needs_neither_tensorflow_nor_scikit_learn(films):
    code = (
        "import sys\n"
        "from edge_pneumo.cli import main\n"
        "try:\n"
        f"    main(['evaluate', {str(TINY)!r}, '--data', {str(films)!r}, '--bootstrap', '5'])\n"
        "except SystemExit as stop:\n"
        "    assert stop.code == 0, stop.code\n"
        "heavy = {'tensorflow', 'tf_keras', 'sklearn', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["evaluate", "tune"])
def test_help_teaches(command):
    from edge_pneumo.cli import group

    answer = CliRunner().invoke(group, [command, "--help"])
    assert answer.exit_code == 0 and f"edge-pneumo {command} " in answer.output and "--data" in answer.output
