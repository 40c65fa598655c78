"""Many films on all cores: a pool of worker processes that survives what single films do to it.

Why not `concurrent.futures`: one killed worker breaks its whole pool, and it cannot end a film that hangs. Why not
`multiprocessing`: fork is unsafe under a caller's threads, and spawn runs the caller's main module again. Here each
worker is a plain child process with two pipes, which costs a start-up and is worth it for many films.
"""

from __future__ import annotations

import itertools
import os
import pickle
import selectors
import subprocess
import sys
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

from edge_pneumo import errors
from edge_pneumo.edge_runtime.worker import HEADER, Failure, Outcome, Ready, Task, WorkerSetup

TIME_LIMIT_S = 10.0  # a film takes milliseconds; one that takes this long is broken or made to harm
START_LIMIT_S = 120.0  # importing from a slow SD card takes seconds
WINDOW = 1024  # results kept back while an earlier film is still being read; about 2 kB each
AHEAD = 2  # films a worker is given at least: it starts on the next while the parent still takes in the last answer
MOST_AHEAD = 8  # the same where films are quick
GATHER_S = 0.01  # how long answers may wait to be taken in together: waking up for each costs the workers their caches
ATTEMPTS = 2  # the out-of-memory killer may hit a worker whose film is innocent, so a film gets a second worker


class FilmPool:
    """Worker processes that look at films.

    Parameters
    ----------
    setup : how to look at films.
    jobs : number of processes; no more are started than there are films.
    time_limit_s : a film that takes longer is refused with reason "timeout", and its worker replaced.
    """

    def __init__(self, setup: WorkerSetup, jobs: int, *, time_limit_s: float = TIME_LIMIT_S) -> None:
        self.setup, self.jobs, self.time_limit_s = setup, jobs, time_limit_s

    def run(self, tasks: Iterable[Task]) -> Generator[Outcome, None, None]:
        """Outcomes in the order of `tasks`, which are taken as there is room.

        However the iteration ends (all done, error, Ctrl-C, the caller stops), no process is left behind.

        Raises
        ------
        EdgePneumoError : what a worker raised on opening the model (ModelFileError, UsageFault …).
        """
        tasks = iter(tasks)
        first = list(itertools.islice(tasks, self.jobs))
        if not first:
            return
        crew = _Crew(self.setup, len(first), self.time_limit_s)
        try:
            yield from crew.work(itertools.chain(first, tasks))
        finally:
            crew.dismiss()


_Job = tuple[int, Task, int]
"""A film's place in the order, the film, and which attempt at it this is."""


class _Worker:
    """A child process, its pipes, and what it is doing."""

    def __init__(self, setup: WorkerSetup) -> None:
        self.process = subprocess.Popen(
            # -P: a file named numpy.py in the folder of films must not be imported
            [sys.executable, "-P", "-c", "from edge_pneumo.edge_runtime.worker import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(),
            bufsize=0,
        )
        self.ready = False
        self.jobs: deque[_Job] = deque()
        self.deadline = time.monotonic() + START_LIMIT_S
        self._received = bytearray()
        self._send(setup)

    def fileno(self) -> int:
        """The pipe to wait on, for `selectors`."""
        return self.process.stdout.fileno()  # type: ignore[union-attr]

    def give(self, job: _Job, time_limit_s: float) -> None:
        """Hand over a film; its clock starts when the worker has done those before it."""
        if not self.jobs:
            self.deadline = time.monotonic() + time_limit_s
        self.jobs.append(job)
        self._send(job[1])

    def finished(self, time_limit_s: float) -> _Job:
        """The film whose answer has come; the next one's clock starts."""
        self.deadline = time.monotonic() + time_limit_s
        return self.jobs.popleft()

    def _send(self, message: Any) -> None:
        view = memoryview(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))
        try:
            while view:
                view = view[os.write(self.process.stdin.fileno(), view) :]  # type: ignore[union-attr]
        except BrokenPipeError:
            pass  # it died; the end of its other pipe says so too, and is handled in one place

    def receive(self) -> tuple[bool, list[Any]]:
        """(still alive, whole messages that have arrived). Call when the pipe is readable."""
        chunk = os.read(self.fileno(), 1 << 16)
        self._received += chunk
        messages = []
        while len(self._received) >= HEADER.size:
            end = HEADER.size + HEADER.unpack_from(self._received)[0]
            if len(self._received) < end:
                break
            messages.append(pickle.loads(self._received[HEADER.size : end]))
            del self._received[:end]
        return bool(chunk), messages

    def end(self, patience_s: float = 0.0) -> int:
        """Let it finish its film if it does so within `patience_s`, else kill it; returns the exit status."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()
        try:
            return self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class _Crew:
    """The workers of one run and the films on their way."""

    def __init__(self, setup: WorkerSetup, jobs: int, time_limit_s: float) -> None:
        self.setup, self.time_limit_s = setup, time_limit_s
        self.selector = selectors.DefaultSelector()
        self.workers: list[_Worker] = []
        self.again: deque[_Job] = deque()
        self.done: dict[int, Outcome] = {}
        self.taken = self.given_back = 0
        self.exhausted = False
        self.began, self.answered = 0.0, 0
        try:
            for _ in range(jobs):
                self.hire()
        except BaseException:
            self.dismiss()
            raise

    def hire(self) -> None:
        worker = _Worker(self.setup)
        self.workers.append(worker)
        self.selector.register(worker.fileno(), selectors.EVENT_READ, worker)

    def part_with(self, worker: _Worker, patience_s: float = 0.0) -> int:
        self.selector.unregister(worker.fileno())
        self.workers.remove(worker)
        return worker.end(patience_s)

    def dismiss(self) -> None:
        for worker in self.workers:  # all at once, so that they finish side by side
            if worker.process.stdin is not None:
                worker.process.stdin.close()
        for worker in list(self.workers):
            self.part_with(worker, patience_s=1.0)
        self.selector.close()

    def work(self, tasks: Iterator[Task]) -> Iterator[Outcome]:
        while True:
            self.feed(tasks)  # before every result that is given out: it may make room in the window
            if self.given_back in self.done:
                outcome = self.done.pop(self.given_back)
                self.given_back += 1
                yield outcome
            elif self.exhausted and self.given_back == self.taken:
                return
            else:
                self.wait()

    def feed(self, tasks: Iterator[Task]) -> None:
        """Give every free worker a film, then each one more, as long as there are films and the window has room."""
        for held in range(self.ahead()):
            for worker in self.workers:
                if worker.ready and len(worker.jobs) == held:
                    job = self.again.popleft() if self.again else self.take(tasks)
                    if job is None:
                        return
                    if held and not _fits_a_pipe(job[1]):  # writing it to a worker that hangs would never end
                        self.again.appendleft(job)
                        return
                    worker.give(job, self.time_limit_s)

    def ahead(self) -> int:
        """Films to give a worker at once: enough for thrice the time that answers may wait, but few where each takes
        long, lest one worker has a queue while others have none."""
        if not self.answered:
            return AHEAD
        each_s = (time.monotonic() - self.began) * len(self.workers) / self.answered
        return max(AHEAD, min(MOST_AHEAD, round(3 * GATHER_S / max(each_s, 1e-6))))

    def take(self, tasks: Iterator[Task]) -> _Job | None:
        if self.exhausted or self.taken - self.given_back >= WINDOW:
            return None
        task = next(tasks, None)
        if task is None:
            self.exhausted = True
            return None
        self.taken += 1
        return self.taken - 1, task, 1

    def wait(self) -> None:
        """Sleep until a worker says something or one is past its time; put results into `done`."""
        deadlines = [worker.deadline for worker in self.workers if worker.jobs or not worker.ready]
        timeout = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
        if self.answered and all(len(worker.jobs) > AHEAD for worker in self.workers):
            time.sleep(GATHER_S)  # everyone is busy for longer than that
        for key, _ in self.selector.select(timeout):
            worker: _Worker = key.data
            alive, messages = worker.receive()
            for message in messages:
                self.take_in(worker, message)
            if not alive:
                self.lost(worker)
        now = time.monotonic()
        for worker in [w for w in self.workers if now > w.deadline and (w.jobs or not w.ready)]:
            self.overdue(worker)

    def take_in(self, worker: _Worker, message: Outcome | Failure | Ready) -> None:
        if isinstance(message, Failure):  # it could not open the model: so can no other
            raise message.error()
        if isinstance(message, Outcome) and worker.jobs:
            self.done[worker.finished(self.time_limit_s)[0]] = message
            self.answered += 1
        else:
            worker.ready = True
            self.began = self.began or time.monotonic()

    def lost(self, worker: _Worker) -> None:
        """A worker died by itself."""
        status = self.part_with(worker, patience_s=5.0)  # an interpreter closes its pipes before it has ended
        if not worker.ready:  # go on with fewer: there may not be memory for more
            if not self.workers:
                raise errors.InputRefused(
                    f"no worker process can start here: it {_how_it_ended(status)}. Try --jobs 1, or free some memory."
                )
            return
        if not worker.jobs:
            self.hire()
            return
        index, task, attempt = worker.jobs.popleft()
        self.again.extend(worker.jobs)  # it had not begun these
        if attempt < ATTEMPTS:
            self.again.append((index, task, attempt + 1))
        else:
            self.refuse(index, task, "unreadable", f"the process reading {task.name} {_how_it_ended(status)}, twice")
        self.hire()

    def overdue(self, worker: _Worker) -> None:
        self.part_with(worker)
        if not worker.jobs:
            if not self.workers:
                raise errors.InputRefused(f"no worker process was ready within {START_LIMIT_S:.0f} s. Try --jobs 1.")
            return
        index, task, _ = worker.jobs.popleft()
        self.again.extend(worker.jobs)
        self.refuse(index, task, "timeout", f"{task.name} took longer than {self.time_limit_s:g} s")
        self.hire()

    def refuse(self, index: int, task: Task, reason: str, message: str) -> None:
        from edge_pneumo.edge_runtime.result import FilmResult

        self.done[index] = Outcome(FilmResult.refused(task.name, reason, message))


def _fits_a_pipe(task: Task) -> bool:
    """Whether a task is only a film's name, which a pipe holds until it is read."""
    from edge_pneumo.edge_runtime.sources import Source

    return isinstance(task.source, (str, Path, Source))


def usable_cores() -> int:
    """Cores this process may use: its affinity mask, cut by the control group's quota (containers)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no control groups here, or no limit ("max")
        pass
    return cores


def default_jobs(threads: int = 1) -> int:
    """Workers of `threads` threads that this machine has cores and memory for (one holds about 100 MB).

    One thread a worker keeps the cores busiest: reading and decoding a film, the longer part, is done by one thread
    whatever `threads` is, so threads within a film leave cores idle meanwhile; `benchmark floor` measures it.
    """
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        room = int(fields["MemAvailable"].split()[0]) // 150_000
    except (OSError, KeyError, ValueError):
        room = usable_cores()
    return max(1, min(usable_cores() // threads, room))


def _environment() -> dict[str, str]:
    """The parent's, with this package importable and without threads that nobody uses."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.environ.get("PYTHONPATH")
    return {
        # numpy's BLAS would start a thread a core in every worker, and reserve memory for each
        "OPENBLAS_NUM_THREADS": "1",
        **os.environ,
        "PYTHONPATH": os.pathsep.join([root, path]) if path else root,
    }


def _how_it_ended(status: int) -> str:
    if status == -9:
        return "was killed (most often because memory ran out)"
    return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
