"""Where `predict -o` writes: links, pipes, devices, a file that another run has; and how many workers it starts."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from predict_films import MODEL, dicom_chest

from edge_pneumo.edge_runtime import pool as pool_module
from edge_pneumo.edge_runtime.pool import FilmPool
from edge_pneumo.edge_runtime.resume import ResultLines
from edge_pneumo.edge_runtime.worker import Task, WorkerSetup
from edge_pneumo.errors import UsageFault


@pytest.mark.parametrize("ending", ["json", "jsonl", "csv"])
def test_a_link_stays_one_and_its_file_is_written(cli, films: Path, model: str, tmp_path: Path, ending: str) -> None:
    target, link = tmp_path / "real" / f"file.{ending}", tmp_path / f"link.{ending}"
    target.parent.mkdir()
    target.write_text("old")
    link.symlink_to(target)
    code, _, _ = cli("predict", films / "a.dcm", "--model", model, "-o", link)
    assert code == 0
    assert link.is_symlink()
    assert "a.dcm" in target.read_text()
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_pipe_is_written_to(cli, films: Path, model: str, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    heard: list[str] = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()), daemon=True)
    reader.start()
    code, _, _ = cli("predict", films / "a.dcm", "--model", model, "--format", "json", "-o", pipe)
    reader.join(10)
    assert code == 0
    assert json.loads(heard[0])["status"] == "ok"
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_that_is_full_says_so_and_stays_a_device(films: Path, tmp_path: Path) -> None:
    """A device of the test's own: were the machine's replaced, every program on it would suffer."""
    full = tmp_path / "full"
    try:
        os.mknod(full, 0o666 | stat.S_IFCHR, os.makedev(1, 7))
        full.open("wb").close()
    except OSError as error:
        pytest.skip(f"DEVICES NOT TESTED: none can be made here ({error})")
    done = subprocess.run(
        [sys.executable, "-m", "edge_pneumo", "predict", str(films / "a.dcm"), "--model", MODEL, "-o", str(full)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert stat.S_ISCHR(full.stat().st_mode)
    assert f"cannot write {full}: No space left on device" in done.stderr


def test_json_lines_need_a_file_to_grow_in(cli, films: Path, model: str, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jsonl"
    os.mkfifo(pipe)
    code, _, err = cli("predict", films / "a.dcm", "--model", model, "-o", pipe)
    assert code == 2
    assert "leave out -o and pipe stdout" in err


def test_two_runs_cannot_write_into_one_file(tmp_path: Path) -> None:
    first, second = ResultLines(tmp_path / "x.jsonl"), ResultLines(tmp_path / "x.jsonl")
    first.start()
    first.write("one\n")
    with pytest.raises(UsageFault, match=r"another run is writing .*x\.jsonl\.part"):
        second.start()
    first.write("two\n")
    first.finish()
    assert (tmp_path / "x.jsonl").read_text() == "one\ntwo\n"
    third = ResultLines(tmp_path / "x.jsonl")
    third.start()
    third.finish()
    assert (tmp_path / "x.jsonl").read_text() == ""


def test_an_empty_folder_among_others_is_said(cli, films: Path, model: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = cli("predict", films / "a.dcm", tmp_path / "empty", "--model", model)
    assert code == 0
    assert f"no film in {tmp_path / 'empty'}" in err


def test_no_more_workers_than_films(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hired = []
    real = pool_module._Crew.hire
    monkeypatch.setattr(pool_module._Crew, "hire", lambda crew: (hired.append(1), real(crew)))
    outcomes = list(FilmPool(WorkerSetup(model), 64).run(Task(str(n), dicom_chest(n)) for n in range(2)))
    assert [outcome.result.ok for outcome in outcomes] == [True, True]
    assert len(hired) == 2
    assert list(FilmPool(WorkerSetup(model), 64).run(())) == []
