"""What one measuring process is asked to do: a model, a backend, threads, a batch, and the films."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

READERS = ("ours", "plain")


@dataclass(frozen=True)
class Job:
    """One combination to measure, in a process of its own.

    Attributes
    ----------
    model : "default", a .tflite made by `convert`, or a RUN folder (Keras backends).
    backend : a name of `backends.BACKENDS`.
    threads : threads of one inference.
    batch : films in one inference.
    films : paths, measured in turn.
    reader : "ours" (read_radiograph and preprocess), or "plain" (pydicom's pixel_array, then a resize), as
        most code does.
    run_loader : "module:function" that loads a RUN folder; the caller names it, since this room knows nothing of
        `train`.
    scratch : folder for files converted for a peer; one for all processes of a run.
    """

    model: str
    backend: str = "cpu"
    threads: int = 1
    batch: int = 1
    films: tuple[str, ...] = ()
    reader: str = "ours"
    run_loader: str | None = None
    scratch: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Job:
        """The reverse of `to_dict`."""
        return cls(**{**fields, "films": tuple(fields.get("films", ()))})

    @property
    def key(self) -> str:
        """Short name of the combination, for progress lines and resuming."""
        return f"{Path(self.model).name} {self.backend} threads={self.threads} batch={self.batch}"
