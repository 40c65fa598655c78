"""The parent's side of a measuring process (see `worker`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import IO, Any

from edge_pneumo.benchmarks.backends import CannotRun
from edge_pneumo.benchmarks.job import Job
from edge_pneumo.errors import EdgePneumoError, InputRefused, UsageFault, VerificationFailed

ERRORS = {2: UsageFault, 3: InputRefused, 5: VerificationFailed}
OPEN_TIMEOUT_S = 600.0
"""Converting a model for a peer and starting TensorFlow take long on a small board."""


class Measurer:
    """A fresh process for one job, as a context manager. `spawned_s` is `time.monotonic()` just before it started."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        environment = {
            **os.environ,
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "OMP_NUM_THREADS": str(job.threads),
        }
        self.spawned_s = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "edge_pneumo.benchmarks.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            text=True,
            encoding="utf-8",
        )

    def __enter__(self) -> Measurer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process: politely, then firmly."""
        if self._process.poll() is None:
            try:
                self.send({"op": "quit"})
                self._process.stdin.close()  # pyright: ignore[reportOptionalMemberAccess]
                self._process.wait(timeout=10)
            except (BrokenPipeError, subprocess.TimeoutExpired):
                self._process.kill()
                self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            with suppress(BrokenPipeError):  # the worker died with our last request unread
                pipe.close()  # pyright: ignore[reportOptionalMemberAccess]

    def open(self) -> dict[str, Any]:
        """Load the model; see `worker.Worker.open`.

        Raises
        ------
        CannotRun : this backend cannot run here, or its process died; says why.
        EdgePneumoError : the model file or the films are at fault.
        """
        return self.ask({"op": "open", "job": self.job.to_dict()}, timeout_s=OPEN_TIMEOUT_S)

    def measure(self, *, seconds: float = 0.0, films: int = 1, collect: bool = False) -> dict[str, Any]:
        """Measure films; see `worker.Worker.measure`."""
        request = {"op": "measure", "seconds": seconds, "films": films, "collect": collect}
        return self.ask(request, timeout_s=OPEN_TIMEOUT_S + 10 * seconds)

    def memory(self) -> float | None:
        """Peak resident memory of the process, MB."""
        return self.ask({"op": "memory"})["peak_rss_mb"]

    def ask(self, request: dict[str, Any], timeout_s: float = OPEN_TIMEOUT_S) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        try:
            self.send(request)
        except BrokenPipeError as error:
            raise CannotRun(self._epitaph()) from error
        return self.receive(timeout_s)

    def send(self, request: dict[str, Any]) -> None:
        """Send a request without waiting, so that several processes can work at once."""
        stream = self._process.stdin
        if stream is None or stream.closed:
            raise BrokenPipeError("the measuring process is closed")
        stream.write(json.dumps(request) + "\n")
        stream.flush()

    def receive(self, timeout_s: float = OPEN_TIMEOUT_S) -> dict[str, Any]:
        """Wait for the answer to the last request."""
        watchdog = threading.Timer(timeout_s, self._process.kill)
        watchdog.start()
        try:
            line = self._process.stdout.readline()  # pyright: ignore[reportOptionalMemberAccess]
        finally:
            watchdog.cancel()
        if not line:
            raise CannotRun(self._epitaph())
        answer = json.loads(line)
        if answer.pop("ok"):
            return answer
        if answer["kind"] == "refused":
            raise ERRORS.get(answer["exit_code"], EdgePneumoError)(answer["reason"])
        raise CannotRun(answer["reason"], answer.get("exit_code", 2))

    def _epitaph(self) -> str:
        """Why the process died, from its exit code and the end of its log."""
        code = self._process.wait(timeout=10)
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        if code < 0:
            return f"the measuring process was killed by signal {-code} (out of memory, or it took too long)"
        return f"the measuring process ended with code {code}: {lines[-1] if lines else 'no message'}"
