"""`edge-pneumo predict` as a user meets it: formats, exit codes, resume, names of outputs, signals."""

from __future__ import annotations

import csv
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from predict_films import MODEL, dicom_chest, drawn_chest

OK_KEYS = {"schema", "file", "status", "probability", "decision", "threshold", "boxes", "image", "sop_instance_uid"} | {
    *("model", "timing_ms", "warnings")
}


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def command(*args: object, **kwargs) -> subprocess.Popen[bytes]:
    """`edge-pneumo predict` as a program of its own, which hears Ctrl-C even where these tests run in a shell's
    background: there SIGINT is ignored, and children inherit that."""
    prepare = kwargs.pop("preexec_fn", lambda: None)

    def hear_ctrl_c() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        prepare()

    return subprocess.Popen(
        [sys.executable, "-m", "edge_pneumo", "predict", *map(str, args), "--model", MODEL],
        stdout=kwargs.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        preexec_fn=hear_ctrl_c,
        **kwargs,
    )


def test_json_of_one_film_is_its_object(cli, films: Path, model: str) -> None:
    code, out, err = cli("predict", films / "b.png", "--model", model, "--format", "json")
    assert (code, err) == (0, "")
    assert set(json.loads(out)) == OK_KEYS


def test_json_of_a_folder_is_one_document(cli, films: Path, model: str) -> None:
    code, out, err = cli("predict", films, "--model", model, "--format", "json")
    document = json.loads(out)
    assert (code, document["schema"], len(document["films"])) == (3, 1, 5)
    assert "5 films in" in err


def test_jsonl_answers_every_file_in_order_and_refuses_what_is_no_film(cli, films: Path, model: str) -> None:
    code, out, _ = cli("predict", films, "--model", model, "--format", "jsonl")
    found = lines(out)
    assert [Path(f["file"]).relative_to(films).as_posix() for f in found] == [
        *("a.dcm", "b.png", "c.jpg", "notes.txt", "deeper/a.dcm")
    ]
    assert code == 3
    assert [f.get("reason") for f in found] == [None, None, None, "not-dicom", None]


def test_csv_has_a_row_a_film(cli, films: Path, model: str) -> None:
    _, out, _ = cli("predict", films, "--model", model, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["status"] for row in rows] == ["ok", "ok", "ok", "refused", "ok"]
    assert rows[3]["reason"] == "not-dicom"
    assert 0 <= float(rows[0]["probability"]) <= 1
    assert all(len(box.split()) == 5 for row in rows for box in row["boxes"].split(";") if box)


def test_table_escapes_what_would_steer_the_terminal(cli, tmp_path: Path, model: str) -> None:
    path = tmp_path / "a\x1b[2Jb.png"
    drawn_chest(1).save(path)
    code, out, _ = cli("predict", path, "--model", model)
    assert code == 0
    assert "\x1b" not in out
    assert "a\\x1b[2Jb.png" in out


def test_name_that_is_no_text(cli, tmp_path: Path, model: str) -> None:
    path = os.fsencode(tmp_path) + b"/\xff\xfe.png"
    shutil.copy(__file__, path)
    for format_ in ("table", "json", "jsonl", "csv"):
        code, out, _ = cli("predict", tmp_path, "--model", model, "--format", format_)
        assert code == 3
        assert "not-dicom" in out


def test_a_bug_in_one_film_or_output_does_not_stop_the_others(
    cli, films: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_pneumo.edge_runtime import predict
    from edge_pneumo.edge_runtime.outputs import overlay

    def broken(film, *_):
        if film.source.endswith("b.png"):
            raise ZeroDivisionError("a bug")
        return preprocess(film, *_)

    def broken_overlay(*_, **__):
        raise ZeroDivisionError("another bug")

    preprocess = predict.preprocess
    monkeypatch.setattr(predict, "preprocess", broken)
    monkeypatch.setattr(overlay, "render_overlay", broken_overlay)
    (films / "notes.txt").unlink()
    code, out, err = cli("predict", films, "--model", model, "--format", "jsonl", "--overlay", tmp_path / "o")
    assert code == 3
    assert [f["status"] for f in lines(out)] == ["ok", "refused", "ok", "ok"]
    assert "a bug shown by" in err and "Traceback" in err
    assert "no overlay could be made (ZeroDivisionError: another bug)" in lines(out)[0]["warnings"][-1]


def test_zip_and_stdin(cli, tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "films.zip", "w") as archive:
        archive.writestr("x/one.dcm", dicom_chest(1))
        archive.writestr("two.dcm", dicom_chest(2))
    code, out, _ = cli("predict", tmp_path / "films.zip", "--model", model, "--format", "jsonl")
    assert code == 0
    assert [f["file"] for f in lines(out)] == [f"{tmp_path}/films.zip/x/one.dcm", f"{tmp_path}/films.zip/two.dcm"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(dicom_chest(1))))
    code, out, _ = cli("predict", "-", "--model", model, "--format", "json", "--overlay", tmp_path / "o")
    assert (code, json.loads(out)["file"]) == (0, "<stdin>")
    assert (tmp_path / "o" / "stdin.png").exists()


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ([], 2, "Missing argument 'FILE|DIR...'"),
        (["{films}", "--backend", "abacus"], 2, "abacus"),
        (["{films}", "--jobs", "0"], 2, "0 is not in the range"),
        (["{films}", "--operating-point", "none"], 2, "no operating point 'none'; choose one of: balanced"),
        (["{films}", "--skip-done"], 2, "--skip-done needs a place"),
        (["{films}", "--skip-done", "-o", "x.csv"], 2, "--skip-done goes on with JSON lines only"),
        (["{films}", "--model", "{films}/none.tflite"], 2, "no such model file"),
        (["{films}/empty"], 3, "no film in"),
        (["{films}", "--model", "{films}/notes.txt"], 5, "not a TFLite model"),
    ],
)
def test_mistakes(cli, films: Path, model: str, args: list[str], code: int, message: str) -> None:
    (films / "empty").mkdir()
    filled = [a.format(films=films) for a in args]
    found = cli("predict", *filled, *([] if "--model" in args else ["--model", model]))
    assert (found[0], found[1]) == (code, "")
    assert message in found[2]
    assert "Traceback" not in found[2]


def test_a_missing_path_is_refused_and_the_others_are_answered(cli, films: Path, model: str) -> None:
    code, out, _ = cli("predict", films / "none.dcm", films / "b.png", "--model", model, "--format", "jsonl")
    assert code == 3
    assert [(f["status"], f.get("reason")) for f in lines(out)] == [("refused", "unreadable"), ("ok", None)]


def test_films_of_one_name_keep_their_overlays_apart(cli, films: Path, model: str, tmp_path: Path) -> None:
    code, _, _ = cli("predict", films, films / "deeper" / "a.dcm", "--model", model, "--overlay", tmp_path / "o")
    names = sorted(p.name for p in (tmp_path / "o").iterdir())
    assert code == 3
    assert len(names) == 4
    assert {"a.png", "b.png", "c.png"} < set(names)
    first = {p.name: p.read_bytes() for p in (tmp_path / "o").iterdir()}
    cli("predict", films, "--model", model, "--overlay", tmp_path / "o")
    assert {p.name: p.read_bytes() for p in (tmp_path / "o").iterdir()} == first


def test_an_overlay_never_replaces_its_film(cli, tmp_path: Path, model: str) -> None:
    drawn_chest(1).save(tmp_path / "film.png")
    before = (tmp_path / "film.png").read_bytes()
    assert cli("predict", tmp_path / "film.png", "--model", model, "--overlay", tmp_path)[0] == 0
    assert (tmp_path / "film.png").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_an_output_never_replaces_another_film_of_the_run(cli, tmp_path: Path, model: str) -> None:
    drawn_chest(1).save(tmp_path / "film.jpg")
    drawn_chest(2).save(tmp_path / "film.png")
    before = (tmp_path / "film.png").read_bytes()
    code, _, _ = cli("predict", tmp_path / "film.jpg", tmp_path / "film.png", "--model", model, "--overlay", tmp_path)
    assert code == 0
    assert (tmp_path / "film.png").read_bytes() == before
    assert len(list(tmp_path.glob("film-*.png"))) == 2


def test_outputs_within_the_folder_of_films_are_no_films(cli, films: Path, model: str) -> None:
    for _ in range(2):
        _, out, _ = cli("predict", films, "--model", model, "--overlay", films / "o", "--format", "jsonl")
        assert len(lines(out)) == 5


def test_uid_as_name_is_kept_whole(cli, tmp_path: Path, model: str) -> None:
    for number in (1, 2):
        (tmp_path / f"1.2.840.{number}").write_bytes(dicom_chest(number))
    cli("predict", tmp_path / "1.2.840.1", tmp_path / "1.2.840.2", "--model", model, "--overlay", tmp_path / "o")
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == ["1.2.840.1.png", "1.2.840.2.png"]


@pytest.mark.parametrize("folder", [".", ".."])
def test_output_files_have_a_folder_of_their_own(cli, films: Path, model: str, folder: str) -> None:
    before = sorted(films.rglob("*"))
    code, out, err = cli("predict", films, "--model", model, "--overlay", films / folder)
    assert (code, out) == (2, "")
    assert "would lie among the films" in err and f"{films}-findings" in err
    assert sorted(films.rglob("*")) == before


def test_results_are_not_written_over_a_film(cli, films: Path, model: str) -> None:
    film = next(path for path in sorted(films.iterdir()) if path.is_file())
    before = film.read_bytes()
    code, _, err = cli("predict", film, "--model", model, "-o", film)
    assert code == 2
    assert "over the film" in err
    assert film.read_bytes() == before


def test_overlay_that_cannot_be_written(cli, films: Path, model: str, tmp_path: Path) -> None:
    (tmp_path / "o").write_text("a file, not a folder")
    film = films / "b.png"
    code, out, err = cli("predict", film, "--model", model, "--overlay", tmp_path / "o", "--format", "json")
    assert code == 3
    assert "cannot write" in err
    assert "cannot write" in json.loads(out)["warnings"][-1]


def test_full_disk(films: Path, tmp_path: Path) -> None:
    def no_room() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))

    overlay = command(films / "b.png", "--overlay", tmp_path / "o", "--format", "json", preexec_fn=no_room)
    out, err = overlay.communicate()
    assert (overlay.returncode, json.loads(out)["status"]) == (3, "ok")
    assert b"cannot write" in err
    assert list((tmp_path / "o").iterdir()) == []
    with Path("/dev/full").open("wb") as full:
        table = command(films / "b.png", stdout=full)
        err = table.communicate()[1]
    assert table.returncode == 3
    assert b"No space left" in err
    assert b"Traceback" not in err


def test_dicom_outputs_without_highdicom_are_refused_before_any_work(
    cli, films: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib import util

    monkeypatch.setattr(util, "find_spec", lambda name: None)
    code, out, err = cli("predict", films, "--model", model, "--sr", tmp_path / "sr")
    assert (code, out) == (4, "")
    assert "pip install 'edge-pneumo[dicom]'" in err
    assert not (tmp_path / "sr").exists()


def test_required_signature(cli, films: Path, model: str, tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="signatures need the extra `sign`")
    from edge_pneumo.edge_runtime.signing import load_private_key, new_key, sign_model

    public = new_key(tmp_path / "key")
    other = new_key(tmp_path / "other")
    signed = tmp_path / "signed.tflite"
    sign_model(model, load_private_key(tmp_path / "key"), signed)
    film = films / "b.png"
    assert cli("predict", film, "--model", signed, "--require-signature", public)[0] == 0
    for wrong in ((signed, other), (model, public)):
        code, out, err = cli("predict", film, "--model", wrong[0], "--require-signature", wrong[1])
        assert (code, out) == (5, "")
        assert "sign" in err


def test_results_in_a_file(cli, films: Path, model: str, tmp_path: Path) -> None:
    for name in ("r.jsonl", "r.json", "r.csv", "r.txt"):
        code, out, _ = cli("predict", films, "--model", model, "-o", tmp_path / name)
        assert (code, out) == (3, "")
    assert len(lines((tmp_path / "r.jsonl").read_text())) == 5
    assert len(json.loads((tmp_path / "r.json").read_text())["films"]) == 5
    assert len((tmp_path / "r.csv").read_text().splitlines()) == 6
    assert (tmp_path / "r.txt").read_text().startswith("film ")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["films", "r.csv", "r.json", "r.jsonl", "r.txt"]


def test_results_among_the_films_are_no_film(cli, films: Path, model: str) -> None:
    for _ in range(2):
        cli("predict", films, "--model", model, "-o", films / "r.jsonl")
        assert len(lines((films / "r.jsonl").read_text())) == 5


def test_a_run_without_films_leaves_earlier_results(cli, films: Path, model: str, tmp_path: Path) -> None:
    results = tmp_path / "r.jsonl"
    cli("predict", films, "--model", model, "-o", results)
    before = results.read_text()
    (tmp_path / "empty").mkdir()
    assert cli("predict", tmp_path / "empty", "--model", model, "-o", results)[0] == 3
    assert results.read_text() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "films", "r.jsonl"]


def test_skip_done_goes_on_after_a_kill(cli, films: Path, model: str, tmp_path: Path) -> None:
    results = tmp_path / "r.jsonl"
    cli("predict", films, "--model", model, "-o", results)
    whole = results.read_text()
    # what a killed run leaves: two whole lines and one cut short, under the unfinished name
    second = whole.index("\n", whole.index("\n") + 1) + 1
    results.unlink()
    Path(f"{results}.part").write_text(whole[: second + 40])
    code, _, err = cli("predict", films, "--model", model, "-o", results, "--skip-done")
    assert code == 3
    assert "3 films in" in err
    assert "2 were done before" in err
    assert results.read_text()[:second] == whole[:second]
    assert [f["file"] for f in lines(results.read_text())] == [f["file"] for f in lines(whole)]
    assert not Path(f"{results}.part").exists()
    drawn_chest(9).save(films / "new.png")
    code, _, err = cli("predict", films, "--model", model, "-o", results, "--skip-done")
    assert code == 0
    assert len(lines(results.read_text())) == 6
    code, _, err = cli("predict", films, "--model", model, "-o", results, "--skip-done")
    assert code == 0
    assert "0 films in" in err
    assert len(lines(results.read_text())) == 6


def test_skip_done_keeps_models_and_thresholds_apart(cli, films: Path, model: str, tmp_path: Path) -> None:
    results = tmp_path / "r.jsonl"
    cli("predict", films, "--model", model, "-o", results)
    code, _, err = cli(
        *("predict", films, "--model", model, "-o", results, "--skip-done", "--operating-point", "sensitive")
    )
    assert code == 2
    assert "holds results of model" in err
    results.write_text('{"something": "else"}\n')
    code, _, err = cli("predict", films, "--model", model, "-o", results, "--skip-done")
    assert code == 3
    assert "expected one result" in err
    assert results.read_text() == '{"something": "else"}\n'
    assert not Path(f"{results}.part").exists()


def test_skip_done_by_overlays(cli, films: Path, model: str, tmp_path: Path) -> None:
    (films / "notes.txt").unlink()
    code, _, _ = cli("predict", films, "--model", model, "--overlay", tmp_path / "o")
    assert code == 0
    (tmp_path / "o" / "b.png").unlink()
    code, out, _ = cli(
        *("predict", films, "--model", model, "--overlay", tmp_path / "o", "--skip-done", "--format", "jsonl")
    )
    assert code == 0
    assert [Path(f["file"]).name for f in lines(out)] == ["b.png"]


def test_many_films_through_workers_are_as_one_by_one(cli, films: Path, model: str) -> None:
    def told(*args: object) -> list[dict]:
        found = lines(cli("predict", films, films, "--model", model, "--format", "jsonl", *args)[1])
        return [{k: v for k, v in f.items() if k != "timing_ms"} for f in found]

    assert told("--jobs", 2) == told("--jobs", 1)


def test_the_reader_of_stdout_may_leave(films: Path) -> None:
    run = command(*[films] * 40, "--format", "jsonl", "--jobs", 1)
    assert json.loads(run.stdout.readline())["status"] == "ok"
    run.stdout.close()
    err = run.stderr.read()
    assert (run.wait(), err) == (141, b"")
    run.stderr.close()


@pytest.mark.parametrize(
    ("stop", "whom", "code", "word"),
    [
        (signal.SIGINT, os.killpg, 130, "interrupted"),  # Ctrl-C
        (signal.SIGTERM, os.kill, 143, "terminated"),  # `kill`
        (signal.SIGTERM, os.killpg, 143, "terminated"),  # a service manager
    ],
)
def test_a_stop_leaves_whole_lines_and_no_process(
    films: Path, tmp_path: Path, stop, whom, code: int, word: str
) -> None:
    results = tmp_path / "r.jsonl"
    run = command(*[films] * 2000, "--jobs", 2, "-o", results, start_new_session=True, stdout=subprocess.DEVNULL)
    part = Path(f"{results}.part")
    while not part.exists() or not part.stat().st_size:
        assert run.poll() is None, run.stderr.read()
    whom(run.pid, stop)
    err = run.communicate()[1]
    assert run.returncode == code
    assert [line for line in err.decode().splitlines() if line] == [
        f"edge-pneumo: stopped; what is done is in {part}, --skip-done goes on.",
        f"edge-pneumo: {word}",
    ]
    with pytest.raises(ProcessLookupError):
        os.killpg(run.pid, 0)
    assert part.read_text().endswith("\n")
    assert all(f["schema"] == 1 for f in lines(part.read_text()))
    assert not results.exists()


def test_a_termination_while_a_file_is_written_leaves_no_hidden_part(tmp_path: Path) -> None:
    code = (
        "import pathlib, time\n"
        "from edge_pneumo import cli\n"
        "from edge_pneumo.edge_runtime.files import atomic_write\n"
        "def write(**_):\n"
        "    with atomic_write('made.json', 'w') as stream:\n"
        "        print('writing', flush=True)\n"
        "        time.sleep(60)\n"
        "cli.group.main = write\n"
        "cli.main([])\n"
    )
    run = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert run.stdout.readline() == b"writing\n"
    assert len(list(tmp_path.iterdir())) == 1
    run.terminate()
    assert (run.communicate()[1], run.returncode) == (b"edge-pneumo: terminated\n", 143)
    assert list(tmp_path.iterdir()) == []


def test_overlay_is_a_picture(cli, films: Path, model: str, tmp_path: Path) -> None:
    cli("predict", films / "b.png", "--model", model, "--overlay", tmp_path / "o", "--no-heat")
    with Image.open(tmp_path / "o" / "b.png") as picture:
        assert (picture.mode, picture.size[0]) == ("RGB", 512)
