"""The pool: order, and what single films do to it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from hostile_sources import Hangs, Kills
from predict_films import dicom_chest

from edge_pneumo.edge_runtime import pool as pool_module
from edge_pneumo.edge_runtime.pool import FilmPool, default_jobs, usable_cores
from edge_pneumo.edge_runtime.worker import Task, WorkerSetup
from edge_pneumo.errors import InputRefused, ModelFileError, UsageFault


@pytest.fixture(autouse=True)
def workers_find_hostile_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


def children() -> set[int]:
    """Processes whose parent we are, dead ones not yet waited for included."""
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def test_films_that_hang_or_kill_are_refused_and_the_others_go_on(model: str, tmp_path: Path) -> None:
    film = dicom_chest(1)
    tasks = [
        Task("good 0", film),
        Task("hangs", Hangs()),
        Task("kills", Kills(None, film)),
        Task("good 1", film),
        Task("killed by chance", Kills(str(tmp_path / "marker"), film)),
        *(Task(f"good {n}", film) for n in range(2, 40)),
    ]
    before = children()
    outcomes = list(FilmPool(WorkerSetup(model), 2, time_limit_s=1.5).run(tasks))
    assert [o.result.file for o in outcomes] == [t.name for t in tasks]
    refused = {o.result.file: (o.result.reason, o.result.message) for o in outcomes if not o.result.ok}
    assert refused == {
        "hangs": ("timeout", "hangs took longer than 1.5 s"),
        "kills": (
            "unreadable",
            "the process reading kills was killed (most often because memory ran out), twice",
        ),
    }
    assert children() == before


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP])
def test_films_a_lost_worker_had_before_it_go_to_another(model: str, tmp_path: Path, sign: signal.Signals) -> None:
    """A worker holds a film it has not begun: that one is no less innocent than the rest, and keeps its place."""
    films = [tmp_path / f"{n}.dcm" for n in range(60)]
    for film in films:
        film.write_bytes(dicom_chest(1))
    before = children()
    results = FilmPool(WorkerSetup(model), 2, time_limit_s=1.0).run(Task(film.name, str(film)) for film in films)
    outcomes = [next(results) for _ in range(10)]
    os.kill(min(children() - before), sign)
    outcomes += results
    assert [outcome.result.file for outcome in outcomes] == [film.name for film in films]
    refused = [outcome.result.reason for outcome in outcomes if not outcome.result.ok]
    assert refused in ([], ["timeout"] if sign == signal.SIGSTOP else [])
    assert children() == before


def test_a_caller_who_stops_early_leaves_no_process(model: str) -> None:
    before = children()
    run = FilmPool(WorkerSetup(model), 2).run(Task(str(n), dicom_chest(1)) for n in range(1000))
    assert next(run).result.file == "0"
    assert len(children()) == len(before) + 2
    run.close()
    assert children() == before


@pytest.mark.parametrize(("answered", "ahead"), [(0, 2), (4, 2), (100, 2), (400, 6), (10_000, 8)])
def test_workers_get_more_films_at_once_where_films_are_quick(model: str, answered: int, ahead: int) -> None:
    """Two workers for a second: 400 films are 5 ms each, and thrice the 10 ms that answers may wait are six of them."""
    crew = pool_module._Crew(WorkerSetup(model), 0, 1.0)
    crew.workers = [None, None]
    crew.began, crew.answered = time.monotonic() - 1.0, answered
    assert crew.ahead() == ahead


def test_results_held_back_are_bounded(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "WINDOW", 6)
    taken = 0

    def tasks():
        nonlocal taken
        film = dicom_chest(1)
        yield Task("hangs", Hangs())
        for n in range(60):
            taken += 1
            yield Task(str(n), film)

    run = FilmPool(WorkerSetup(model), 2, time_limit_s=1.5).run(tasks())
    assert next(run).result.reason == "timeout"
    assert taken <= 6
    assert len(list(run)) == 60


@pytest.mark.parametrize(
    ("setup", "error", "message"),
    [
        (WorkerSetup("/no/such.tflite"), UsageFault, "no such model file"),
        (WorkerSetup(operating_point="none"), UsageFault, "no operating point 'none'"),
        (WorkerSetup(sha256="00"), ModelFileError, "changed while it was in use"),
    ],
)
def test_a_model_that_cannot_be_opened_is_said_once(model: str, setup: WorkerSetup, error, message: str) -> None:
    if setup.model == "default":
        setup = WorkerSetup(model, sha256=setup.sha256, operating_point=setup.operating_point)
    before = children()
    with pytest.raises(error, match=message):
        list(FilmPool(setup, 2).run([Task("film", dicom_chest(1))]))
    assert children() == before


def test_workers_that_cannot_start(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module.sys, "executable", "/bin/false")
    with pytest.raises(InputRefused, match=r"no worker process can start here: it ended with status 1\. Try"):
        list(FilmPool(WorkerSetup(model), 2).run([Task("film", dicom_chest(1))]))


def test_an_idle_worker_that_dies_is_replaced(model: str) -> None:
    def tasks():
        yield Task("first", dicom_chest(1))
        for pid in children() - before:
            os.kill(pid, signal.SIGKILL)
        yield Task("second", dicom_chest(2))

    before = children()
    outcomes = list(FilmPool(WorkerSetup(model), 1).run(tasks()))
    assert [o.result.ok for o in outcomes] == [True, True]


def test_cores_and_memory_decide_how_many() -> None:
    assert 1 <= default_jobs() <= usable_cores() <= (os.cpu_count() or 1)
