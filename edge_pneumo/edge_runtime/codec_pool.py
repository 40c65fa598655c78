"""Rare codecs in child processes that can be killed: see `codec_child` for why.

A child takes a quarter of a second to start, so idle ones are kept for the next film. This is the package's only state
beyond a call: a cache of processes, safe to use from threads, started anew after a fork, ended with the interpreter.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edge_pneumo
from edge_pneumo.edge_runtime.limits import Deadline
from edge_pneumo.errors import FilmRefused

# -P: nothing is imported from the folder that the user happens to be in; the package is found where this one is.
CHILD = "import sys; sys.path.append(sys.argv[1]); from edge_pneumo.edge_runtime.codec_child import main; main()"


class CodecPool:
    """Idle children of this process; as many are started as films are decoded at once."""

    def __init__(self) -> None:
        self._idle: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._owner = os.getpid()
        atexit.register(self.close)

    def decode(self, syntax: str, stream: bytes | memoryview, options: dict[str, Any], deadline: Deadline) -> NDArray:
        """Decode one frame; `options` are those of pydicom's decoders.

        Raises
        ------
        FilmRefused : `unreadable`, `too-large` or `timeout`.
        """
        child = self._take(deadline.name)
        timer = threading.Timer(deadline.left_s, child.kill)
        timer.daemon = True
        timer.start()
        try:
            head, body = _ask(child, syntax, stream, options)
        except (OSError, ValueError) as error:
            _end(child)
            deadline.check()
            raise FilmRefused(
                "unreadable", f"{deadline.name}: its pixels made the codec of {syntax} crash. Export it again."
            ) from error
        except KeyboardInterrupt:
            _end(child)
            raise
        finally:
            timer.cancel()
        with self._lock:
            self._idle.append(child)
        if head["status"] != "ok":
            raise FilmRefused(head["status"], f"{deadline.name}: its pixels cannot be decoded ({head['message']}).")
        return np.frombuffer(body, np.dtype(head["dtype"])).reshape(head["shape"])

    def _take(self, name: str) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._owner != os.getpid():  # after a fork the children are the parent's
                self._idle, self._owner = [], os.getpid()
            while self._idle:
                child = self._idle.pop()
                if child.poll() is None:
                    return child
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        try:
            return subprocess.Popen(
                [sys.executable, "-P", "-c", CHILD, str(Path(edge_pneumo.__file__).parents[1])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
        except OSError as error:
            raise FilmRefused("unreadable", f"{name}: no process can be started to decode it ({error}).") from error

    def close(self) -> None:
        """End the idle children of this process."""
        with self._lock:
            children, self._idle = (self._idle if self._owner == os.getpid() else []), []
        for child in children:
            _end(child)


def _ask(
    child: subprocess.Popen[bytes], syntax: str, stream: bytes | memoryview, options: dict[str, Any]
) -> tuple[dict[str, Any], bytes]:
    """Send one request and read its answer; ValueError or OSError when the child has gone."""
    if child.stdin is None or child.stdout is None:
        raise ValueError("the child has no pipes")
    request = {"syntax": syntax, "size": len(stream), "options": options}
    child.stdin.write(json.dumps(request).encode() + b"\n")
    child.stdin.write(stream)
    child.stdin.flush()
    head = json.loads(child.stdout.readline())
    if head["status"] != "ok":
        return head, b""
    size = int(np.prod(head["shape"], dtype=np.int64)) * np.dtype(head["dtype"]).itemsize
    body = child.stdout.read(size)
    if len(body) < size:
        raise ValueError("the child ended within its answer")
    return head, body


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:  # what was still unsent is of no interest any more
                continue
    child.wait()


POOL = CodecPool()
