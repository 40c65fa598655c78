"""Films that do harm to the process that reads them; workers import this module by PYTHONPATH."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Hangs:
    """Never answers."""

    def read(self, limit: int) -> bytes:
        threading.Event().wait()
        return b""


@dataclass(frozen=True)
class Kills:
    """Has its reader killed, as the out-of-memory killer does; once only, if `marker` is a path."""

    marker: str | None
    data: bytes

    def read(self, limit: int) -> bytes:
        if self.marker is None or not Path(self.marker).exists():
            if self.marker is not None:
                Path(self.marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.data
