"""`benchmark run` and `peers`: sweeps with a stand-in for the clock, and the real thing once on a tiny network."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from bench_results import cannot_run, entry

from edge_pneumo.benchmarks.backends import BACKENDS, CannotRun, onnx_runtime, open_backend
from edge_pneumo.benchmarks.client import Measurer
from edge_pneumo.benchmarks.films import films_in
from edge_pneumo.benchmarks.job import Job
from edge_pneumo.benchmarks.peering import contestants, paired_ratio, peers_markdown, run_peers
from edge_pneumo.benchmarks.pipeline import STAGES, run_films
from edge_pneumo.benchmarks.results import read_result
from edge_pneumo.benchmarks.session import Measurement, Settings, combinations, others_cores
from edge_pneumo.benchmarks.stats import StopRule
from edge_pneumo.benchmarks.sweep import run_sweep
from edge_pneumo.cli import main
from edge_pneumo.edge_runtime.decode import decode
from edge_pneumo.edge_runtime.engine import open_engine
from edge_pneumo.edge_runtime.predict import Detector
from edge_pneumo.edge_runtime.preprocess import preprocess
from edge_pneumo.edge_runtime.radiograph import read_radiograph
from edge_pneumo.errors import InputRefused, ModelFileError, WriteFailed
from edge_pneumo.train.data.phantom import make_phantom

TINY = str(Path(__file__).parent.parent / "data" / "tiny.tflite")
QUICK = [
    "--threads",
    "1",
    "--min-seconds",
    "0",
    "--max-seconds",
    "0.2",
    "--cold-starts",
    "1",
    "--offline-seconds",
    "0.2",
]


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Four made-up films as DICOM."""
    folder = tmp_path_factory.mktemp("phantom")
    make_phantom(folder / "data", 4, size_px=256)
    return folder / "data" / "stage_2_train_images"


def finding(probability=0.6):
    return {
        "probability": probability,
        "threshold": 0.5,
        "boxes": [{"x1": 1.0, "y1": 2.0, "x2": 30.0, "y2": 40.0, "score": 0.5}],
        "candidates": [{"x1": 1.0, "y1": 2.0, "x2": 30.0, "y2": 40.0, "score": 0.5}],
    }


def stand_in(calls):
    """A `measure_job` that answers at once and counts."""

    def measure(job, settings, *, collect, progress):
        calls.append(job.key)
        if job.backend == "gpu":
            return Measurement(cannot_run())
        return Measurement(
            entry(5, backend=job.backend, threads=job.threads), {i: finding() for i in range(len(job.films))}
        )

    return measure


def test_combinations_sweep_every_option():
    jobs = combinations(["a", "b"], ["cpu", "gpu"], [1, 2], [1, 4], ["film"])
    assert len(jobs) == 16
    assert len({job.key for job in jobs}) == 16


def test_sweep_writes_after_each_row_and_resumes(films, tmp_path):
    chosen, out, calls = films_in([films]), tmp_path / "r.json", []
    jobs = combinations([TINY], ["cpu", "gpu"], [1, 2], [1], chosen.paths)
    run_sweep(jobs[:2], chosen, out, Settings(), measure=stand_in(calls))
    result = run_sweep(jobs, chosen, out, Settings(), resume=True, measure=stand_in(calls))
    assert len(calls) == 2 + 2  # the first two were taken over
    assert [e["status"] for e in result["results"]] == ["ok", "ok", "cannot-run", "cannot-run"]
    assert result["results"][0]["probabilities"] == [0.6] * 4
    assert read_result(out) == result


def test_resume_starts_again_when_the_films_changed(films, tmp_path):
    chosen, out, calls = films_in([films]), tmp_path / "r.json", []
    run_sweep(combinations([TINY], ["cpu"], [1], [1], chosen.paths), chosen, out, Settings(), measure=stand_in(calls))
    fewer = films_in([films], limit=2)
    run_sweep(
        combinations([TINY], ["cpu"], [1], [1], fewer.paths),
        fewer,
        out,
        Settings(),
        resume=True,
        measure=stand_in(calls),
    )
    assert len(calls) == 2


def test_a_place_that_cannot_be_written_is_told_before_measuring(films, tmp_path):
    (tmp_path / "file").write_text("x")
    chosen, calls = films_in([films]), []
    jobs = combinations([TINY], ["cpu"], [1], [1], chosen.paths)
    with pytest.raises(WriteFailed, match="Choose another place"):
        run_sweep(jobs, chosen, tmp_path / "file" / "r.json", Settings(), measure=stand_in(calls))
    assert calls == []


def test_result_holds_no_path_and_no_film_name(films, tmp_path):
    chosen = films_in([films])
    run_sweep(
        combinations([TINY], ["cpu"], [1], [1], chosen.paths),
        chosen,
        tmp_path / "r.json",
        Settings(),
        measure=stand_in([]),
    )
    text = (tmp_path / "r.json").read_text()
    assert str(films) not in text
    assert not any(Path(path).stem in text for path in chosen.paths)


def test_films_in_an_empty_or_missing_folder(tmp_path):
    with pytest.raises(InputRefused, match="no film"):
        films_in([tmp_path])
    with pytest.raises(InputRefused, match="no such file or folder"):
        films_in([tmp_path / "missing"])


def test_stages_give_what_the_pipeline_gives(films):
    chosen = films_in([films])
    opened = open_backend(Job(TINY, films=chosen.paths))
    timed = run_films(chosen.paths[:1], opened)
    spec = opened.input_spec
    picture, geometry = preprocess(read_radiograph(chosen.paths[0], size_px=spec.size_px), spec)
    raw = open_engine(TINY, spec=spec).run(picture[None])
    assert timed.findings == (decode(raw, opened.decode_spec, geometry),)
    assert set(timed.stages_ms) == set(STAGES)
    parts = sum(ms for stage, ms in timed.stages_ms.items() if stage != "total")
    assert parts <= timed.stages_ms["total"] * 1.001


def probabilities(backend, paths):
    opened = open_backend(Job(TINY, backend))
    return [found.probability for path in paths for found in run_films([path], opened).findings]


def test_the_plain_loop_answers_as_our_engine_does(films):
    paths = films_in([films]).paths
    assert probabilities("litert-plain", paths) == probabilities("cpu", paths)


def test_without_xnnpack_only_rounding_differs(films):
    # the tiny network is untrained, so that a unit in one layer grows through the next ones
    paths = films_in([films]).paths
    assert probabilities("cpu-no-xnnpack", paths) == pytest.approx(probabilities("cpu", paths), abs=0.15)


def test_a_batch_answers_as_single_films_do(films):
    chosen = films_in([films])
    single = [run_films([path], open_backend(Job(TINY))).findings[0].probability for path in chosen.paths]
    batch = run_films(chosen.paths, open_backend(Job(TINY, batch=4))).findings
    assert [f.probability for f in batch] == pytest.approx(single, abs=0.03)


def test_stages_answer_as_the_detector_does(films):
    (path, *_) = films_in([films]).paths
    with Detector.open(TINY) as detector:
        assert run_films([path], open_backend(Job(TINY))).findings[0] == detector.predict(path).finding


@pytest.mark.train
@pytest.mark.parametrize("backend", ["keras", "tensorflow"])
def test_keras_runs_a_run_folder_through_the_loader_it_is_given(films, tmp_path, monkeypatch, backend):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    job = Job(str(tmp_path), backend, films=films_in([films]).paths, run_loader="bench_run_loader:load_tiny")
    with Measurer(job) as measurer:
        facts = measurer.open()
        found = measurer.measure(films=4, collect=True)["findings"]
    assert facts["model"]["precision"] == "float32"
    assert all(0 < answer["probability"] < 1 for answer in found.values())
    assert len(found) == 4


@pytest.mark.train
def test_cuda_without_a_card_says_so(films, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    job = Job(str(tmp_path), "tensorflow-cuda", films=("x",), run_loader="bench_run_loader:load_tiny")
    with Measurer(job) as measurer, pytest.raises(CannotRun, match="sees no CUDA GPU"):
        measurer.open()


@pytest.mark.parametrize("backend", sorted(set(BACKENDS) - {"keras", "tensorflow", "tensorflow-cuda"}))
def test_a_folder_is_no_model_file_and_says_so(tmp_path, backend):
    with pytest.raises(CannotRun, match=r"not a RUN folder|is not installed"):
        open_backend(Job(str(tmp_path), backend))


@pytest.mark.parametrize("backend", ["keras", "tensorflow", "tensorflow-cuda"])
def test_keras_needs_a_run_folder_and_says_so(backend):
    with pytest.raises(CannotRun, match="Add --model RUN"):
        open_backend(Job(TINY, backend))


def test_worker_answers_in_a_process_of_its_own(films):
    chosen = films_in([films])
    with Measurer(Job(TINY, films=chosen.paths)) as measurer:
        facts = measurer.open()
        assert facts["model"]["precision"] == "int8"
        part = measurer.measure(films=6, collect=True)
        assert part["films"] == 6
        assert set(part["findings"]) == {"0", "1", "2", "3"}
        memory = measurer.memory()
    assert memory is None or 10 < memory < 1000


def test_a_killed_worker_is_a_reason_and_not_a_crash(films):
    with Measurer(Job(TINY, films=films_in([films]).paths)) as measurer:
        measurer.open()
        measurer._process.kill()
        with pytest.raises(CannotRun, match="killed by signal 9"):
            measurer.measure(films=1)


def test_a_damaged_model_file_is_named(films, tmp_path):
    broken = tmp_path / "cut.tflite"
    broken.write_bytes(Path(TINY).read_bytes()[:5000])
    with pytest.raises(SystemExit) as end:
        main(
            ["benchmark", "run", "-o", str(tmp_path / "r.json"), "--model", str(broken), "--films", str(films), *QUICK]
        )
    assert end.value.code == ModelFileError.exit_code
    assert not (tmp_path / "r.json").exists()


def test_run_end_to_end(films, tmp_path, capsys):
    out = tmp_path / "r.json"
    folder = tmp_path / "with-bad"
    folder.mkdir()
    for path in films.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "broken.dcm").write_bytes(b"no film")
    words = ["benchmark", "run", "-o", str(out), "--model", TINY, "--films", str(folder), "--format", "json"]
    with pytest.raises(SystemExit) as end:
        main([*words, *QUICK])
    assert end.value.code == 3  # one film was refused, the rest was measured
    data = json.loads(capsys.readouterr().out)
    assert data == json.loads(out.read_text())
    assert data["schema"] == 1
    assert {"board", "cpu", "cores", "memory", "os", "governor", "temperature_c", "throttle", "gpu"} <= set(
        data["device"]
    )
    (row,) = data["results"]
    assert set(STAGES) <= set(row["stages_ms"])
    assert row["stages_ms"]["total"]["n"] == len(row["samples_ms"])
    assert row["cold_start_ms"] > row["stages_ms"]["total"]["p50"]
    assert row["films_per_second"] > 0
    assert row["accuracy"] is None
    assert len(data["refused"]) == 1
    assert sum(p is not None for p in row["probabilities"]) == 4


def test_accuracy_is_what_evaluate_says_of_the_same_films(tmp_path, capsys):
    pytest.importorskip("sklearn", reason="accuracy needs the extra bench")
    data, out = tmp_path / "data", tmp_path / "r.json"
    make_phantom(data, 40, size_px=256)
    words = ["--model", TINY, "--data", str(data), "--split", "val", *QUICK]
    with pytest.raises(SystemExit) as end:
        main(["benchmark", "run", "-o", str(out), *words, "--cold-starts", "0", "--offline-seconds", "0"])
    assert end.value.code == 0
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["evaluate", TINY, "--data", str(data), "--split", "val", "--format", "json"])
    judged = json.loads(capsys.readouterr().out)
    found = read_result(out)["results"][0]["accuracy"]
    assert found["froc_sensitivity"]["2"]["value"] is not None  # read from boxes below the threshold
    told = {"model", "data"}  # which file it was, and where: a result file holds no folder
    assert {k: v for k, v in found.items() if k not in told} == {k: v for k, v in judged.items() if k not in told}
    assert "operating_points" in found and found["n"] == judged["n"]


@pytest.mark.parametrize(
    ("option", "match"),
    [
        (["--backend", "cpu,abacus"], "abacus: choose from cpu"),
        (["--threads", "0"], "whole numbers of 1 or more"),
        (["--threads", "two"], "whole numbers of 1 or more"),
        (["--min-seconds", "9", "--max-seconds", "1"], "is more than --max-seconds"),
        (["--films", "x", "--data", "y"], "not both"),
        (["--model", "."], "a folder without config.json, so no training run"),
        (["--model", "default", "--model", "nowhere.tflite"], "--model nowhere.tflite: expected .*; found nothing"),
    ],
)
def test_wrong_options_end_with_2(tmp_path, capsys, option, match):
    with pytest.raises(SystemExit) as end:
        main(["benchmark", "run", "-o", str(tmp_path / "r.json"), *option])
    assert end.value.code == 2
    assert re.search(match, capsys.readouterr().err)


@pytest.mark.parametrize(("backend", "code"), [("keras", 2), ("onnxruntime", 4)])
def test_where_nothing_could_be_measured_the_exit_code_says_so(tmp_path, capsys, monkeypatch, backend, code):
    monkeypatch.setattr(onnx_runtime, "find_spec", lambda package: None)
    out = tmp_path / "r.json"
    command = ["benchmark", "run", "-o", str(out), "--model", TINY, "--backend", backend, "--limit", "2"]
    with pytest.raises(SystemExit) as end:
        main(command)
    assert end.value.code == code
    assert "nothing could be measured" in capsys.readouterr().err
    assert {row["status"] for row in read_result(out)["results"]} == {"cannot-run"}


@pytest.mark.parametrize("command", [[], ["run"], ["report"], ["compare"], ["peers"]])
def test_help_imports_nothing_heavy(command):
    code = (
        "import sys; from edge_pneumo.cli import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "heavy = {'tensorflow', 'matplotlib', 'jinja2', 'sklearn', 'ai_edge_litert', 'PIL'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "benchmark", *command, "--help"], capture_output=True, text=True, check=True
    )
    assert "Usage: edge-pneumo benchmark" in done.stdout
    assert done.stderr.strip() == "[]"


def test_peers_take_turns_and_absent_ones_say_why(films):
    chosen = films_in([films])
    entrants = [
        c
        for c in contestants(TINY, None, None, threads=1, loader="", scratch="")
        if "ONNX" not in c.name and "OpenVINO" not in c.name
    ]
    result = run_peers(entrants, chosen, rounds=3, block=2, warmup_films=1)
    by_name = {e["name"]: e for e in result["results"]}
    ours, plain = by_name["edge-pneumo int8"], by_name["plain LiteRT loop, int8"]
    assert ours["times_ours"]["total"]["value"] == 1.0
    assert len(plain["samples_ms"]) == 6
    assert by_name["Keras predict, float32"]["reason"] == "no RUN folder was given (--run)"
    table = peers_markdown(result)
    assert "| edge-pneumo int8 |" in table
    assert "cannot run here: no float model was given" in table


def test_paired_ratio_by_hand():
    ours = [{"total": [1.0, 2.0, 3.0]}, {"total": [10.0]}, {"total": [4.0]}]
    peer = [{"total": [4.0]}, {"total": [30.0]}, {"total": [4.0]}]
    ratio = paired_ratio(peer, ours, "total")  # 2, 3 and 1
    assert ratio["value"] == 2.0
    assert (ratio["low"], ratio["high"]) == (1.0, 3.0)


def test_others_cores():
    assert others_cores(100.0, 103.0, own_s=1.0, wall_s=2.0) == 1.0
    assert others_cores(None, 103.0, 1.0, 2.0) is None
    assert others_cores(100.0, 100.5, own_s=1.0, wall_s=2.0) == 0.0


def test_stop_rule_defaults_are_those_of_the_documentation():
    assert StopRule() == StopRule(0.02, 2.0, 20.0, 30)
