"""The pipeline: film -> `Radiograph` -> uint8 tensor -> network -> `Finding`, as one object.

from edge_pneumo.edge_runtime.predict import Detector

with Detector.open("default") as detector:
    result = detector.predict("film.dcm")
    print(result.probability, result.decision, result.boxes)
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from edge_pneumo.edge_runtime.bundle import Bundle, open_bundle
from edge_pneumo.edge_runtime.decode import RawOutputs, decode
from edge_pneumo.edge_runtime.engine import Engine, open_engine
from edge_pneumo.edge_runtime.preprocess import Geometry, preprocess
from edge_pneumo.edge_runtime.radiograph import Radiograph, read_radiograph, source_name
from edge_pneumo.edge_runtime.result import FilmResult, ModelIdentity
from edge_pneumo.errors import FilmRefused, UsageFault

if TYPE_CHECKING:  # numpy's and pydicom's types are only for the reader
    import numpy as np
    import pydicom
    from numpy.typing import NDArray

    from edge_pneumo.edge_runtime.sources import Source

    FilmSource = str | Path | bytes | BinaryIO | NDArray[np.generic] | pydicom.Dataset | Source


@dataclass(frozen=True)
class Examination:
    """A result with what it was made from, for overlays and DICOM objects.

    Attributes
    ----------
    result : the answer.
    film : the film as the network's preprocess got it (maybe smaller than the source).
    raw : the network's outputs; `raw.heat` is the map of where it looked.
    geometry : where the film lies in the network's input.
    """

    result: FilmResult
    film: Radiograph
    raw: RawOutputs
    geometry: Geometry


class Detector:
    """A model, ready to look at films.

    Thread-safe: threads may share one detector. A TFLite interpreter serves one caller at a time, so the detector
    keeps as many as there are calls at once, and hands each call one that is free. There is no global state; two
    detectors know nothing of each other. Use it as a context manager, or call `close()`.
    """

    def __init__(self, bundle: Bundle, *, backend: str = "auto", threads: int = 1) -> None:
        if threads < 1:
            raise UsageFault(f"threads must be at least 1, found {threads}")
        self.bundle = bundle
        self.backend = backend
        self.threads = threads
        self.model = ModelIdentity(bundle.name, bundle.version, bundle.sha256)
        self.input_spec = bundle.input_spec
        self.decode_spec = bundle.decode_spec
        # deque.append and deque.pop are atomic, so the free engines need no lock
        self._free: deque[Engine] = deque([self._new_engine()])

    @classmethod
    def open(
        cls,
        model: str | Path = "default",
        *,
        backend: str = "auto",
        threads: int = 1,
        require_signature: str | Path | None = None,
    ) -> Detector:
        """Open and verify a model file.

        Parameters
        ----------
        model : path of a `.tflite` made by `edge-pneumo convert`, or "default" for the embedded one.
        backend : "auto", "cpu", "gpu" or "tflite-runtime".
        threads : threads that one film's inference may use.
        require_signature : path of an Ed25519 public key; the file must be signed by it.

        Raises
        ------
        ModelFileError : the file is cut short, changed, foreign, too new, or not signed as required.
        UsageFault : unknown backend or number of threads, or the key cannot be used.
        MissingExtra : no runtime for this backend, or `cryptography` for the signature.
        """
        return cls(open_bundle(model, require_signature=require_signature), backend=backend, threads=threads)

    def _new_engine(self) -> Engine:
        return open_engine(self.bundle.tflite, spec=self.bundle.input_spec, backend=self.backend, threads=self.threads)

    def close(self) -> None:
        """Let go of the interpreters. A closed detector opens a new one if it is used again."""
        self._free.clear()

    def __enter__(self) -> Detector:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def examine(
        self,
        source: FilmSource,
        *,
        operating_point: str | None = None,
        force: bool = False,
        name: str | None = None,
    ) -> Examination:
        """Look at one film and keep what the answer was made from (heat map, geometry).

        Parameters and `UsageFault` as in `predict`.

        Raises
        ------
        FilmRefused : the film cannot be read as a frontal chest radiograph; `reason` says why.
        """
        self.check_operating_point(operating_point)
        file = name or source_name(source)
        clock = time.perf_counter
        started = clock()
        film = read_radiograph(source, size_px=self.input_spec.size_px, name=file, force=force)
        read = clock()
        tensor, geometry = preprocess(film, self.input_spec)
        prepared = clock()
        try:
            engine = self._free.pop()
        except IndexError:  # all are in use by other threads
            engine = self._new_engine()
        raw = engine.run(tensor[None])
        self._free.append(engine)
        invoked = clock()
        finding = decode(raw, self.decode_spec, geometry, operating_point)
        decoded = clock()
        timing_ms = {
            "read": (read - started) * 1e3,
            "preprocess": (prepared - read) * 1e3,
            "invoke": (invoked - prepared) * 1e3,
            "decode": (decoded - invoked) * 1e3,
            "total": (decoded - started) * 1e3,
        }
        return Examination(FilmResult.answered(film, finding, self.model, timing_ms, file), film, raw, geometry)

    def predict(
        self,
        source: FilmSource,
        *,
        operating_point: str | None = None,
        force: bool = False,
        name: str | None = None,
    ) -> FilmResult:
        """Look at one film.

        Parameters
        ----------
        source : path, the bytes of a DICOM, PNG or JPEG file, such a file open for reading, a grey (h, w) uint8 or
            uint16 array in display polarity (bright bone), or a pydicom Dataset.
        operating_point : name of a threshold in the model file (`detector.operating_points`); None for its default.
        force : answer films that the door would refuse (not a chest, not frontal …).
        name : what to call the film in the result; the path by default.

        Returns
        -------
        FilmResult with status "ok", or "refused" with the reason: a bad film raises nothing.

        Raises
        ------
        UsageFault : the model has no such operating point.
        """
        file = name or source_name(source)
        try:
            return self.examine(source, operating_point=operating_point, force=force, name=file).result
        except FilmRefused as refusal:
            return FilmResult.refused(file, refusal.reason, str(refusal))

    def predict_many(
        self,
        sources: Iterable[FilmSource],
        *,
        jobs: int = 1,
        operating_point: str | None = None,
        force: bool = False,
    ) -> Iterator[FilmResult]:
        """Look at many films; results come in the order of `sources`, the first as soon as it is there.

        Parameters
        ----------
        sources : taken one by one as there is room, so it may be endless; memory stays bounded.
        jobs : 1 works in this process. More start so many worker processes (and need a model opened from a file): a
            film that crashes a worker or takes over ten seconds is then refused, and the others go on.
        operating_point, force : as in `predict`.
        """
        self.check_operating_point(operating_point)
        if jobs < 1:
            raise UsageFault(f"jobs must be at least 1, found {jobs}")
        if jobs == 1:
            return (self.predict(source, operating_point=operating_point, force=force) for source in sources)
        from edge_pneumo.edge_runtime.pool import FilmPool, Task
        from edge_pneumo.edge_runtime.worker import WorkerSetup

        setup = WorkerSetup(
            model=str(self.bundle.path),
            sha256=self.bundle.sha256,
            backend=self.backend,
            threads=self.threads,
            operating_point=operating_point,
            force=force,
        )
        tasks = (Task(source_name(source), source) for source in sources)
        return (outcome.result for outcome in FilmPool(setup, jobs).run(tasks))

    @property
    def operating_points(self) -> dict[str, float]:
        """Thresholds on the probability, by name, as the model file has them."""
        return dict(self.decode_spec.operating_points)

    def check_operating_point(self, name: str | None) -> None:
        """Raise UsageFault when the model has no operating point of this name; None is always fine."""
        if name is not None and name not in self.decode_spec.operating_points:
            known = ", ".join(sorted(self.decode_spec.operating_points))
            raise UsageFault(f"the model {self.model.name} has no operating point {name!r}; choose one of: {known}")
