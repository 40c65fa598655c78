"""One film, stage by stage, with a clock between the stages: the functions are those of `predict`, in its order.

A peer gets the same films and either our input path or the plain one (pydicom's `pixel_array` and a resize), so that a
table can show what the network costs and what the rest costs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_pneumo.benchmarks.backends import Opened
from edge_pneumo.edge_runtime.decode import Finding, RawOutputs, decode
from edge_pneumo.edge_runtime.preprocess import Geometry, InputSpec, preprocess
from edge_pneumo.edge_runtime.radiograph import Radiograph, read_radiograph
from edge_pneumo.edge_runtime.result import FilmResult, ModelIdentity

STAGES = ("read", "preprocess", "invoke", "decode", "write", "total")


@dataclass(frozen=True)
class Timed:
    """Findings of one inference (one film, or a batch) and the milliseconds of each stage of `STAGES`.

    `raws` and `geometries` are what the findings were decoded from, to decode them otherwise off the clock.
    """

    findings: tuple[Finding, ...]
    stages_ms: dict[str, float]
    raws: tuple[RawOutputs, ...] = ()
    geometries: tuple[Geometry, ...] = ()


def run_films(paths: Sequence[str], opened: Opened, reader: str = "ours") -> Timed:
    """Read, preprocess, invoke, decode and write out a batch of films.

    Parameters
    ----------
    paths : as many films as one inference takes.
    opened : the network.
    reader : one of `job.READERS`.

    Raises
    ------
    FilmRefused : a film cannot be read.
    """
    clock = time.perf_counter_ns
    read_ns = prepare_ns = 0
    films: list[Radiograph] = []
    pictures: list[NDArray[np.uint8]] = []
    geometries: list[Geometry] = []
    spec = opened.input_spec
    started = clock()
    for path in paths:
        begin = clock()
        film = read_radiograph(path, size_px=spec.size_px) if reader == "ours" else read_plain(path)
        middle = clock()
        picture, geometry = preprocess(film, spec) if reader == "ours" else prepare_plain(film, spec)
        prepare_ns += clock() - middle
        read_ns += middle - begin
        films.append(film)
        pictures.append(picture)
        geometries.append(geometry)
    before = clock()
    raws = opened.network.infer(pictures[0][None] if len(pictures) == 1 else np.stack(pictures))
    invoked = clock()
    findings = tuple(decode(raw, opened.decode_spec, geometry) for raw, geometry in zip(raws, geometries, strict=True))
    decoded = clock()
    identity = ModelIdentity(opened.model["name"], opened.model["version"], opened.model["sha256"] or "")
    for path, film, finding in zip(paths, films, findings, strict=True):
        json.dumps(FilmResult.answered(film, finding, identity, {}, path).to_dict())
    written = clock()
    spans = {
        "read": read_ns,
        "preprocess": prepare_ns,
        "invoke": invoked - before,
        "decode": decoded - invoked,
        "write": written - decoded,
        "total": written - started,
    }
    return Timed(findings, {stage: ns / 1e6 for stage, ns in spans.items()}, tuple(raws), tuple(geometries))


def read_plain(path: str) -> Radiograph:
    """How most code reads a film: every pixel decoded by pydicom (or Pillow), 16 bit scaled to 8 by its maximum."""
    if Path(path).suffix.lower() in (".png", ".jpg", ".jpeg"):
        pixels = np.asarray(Image.open(path).convert("L"))
    else:
        from pydicom import dcmread

        pixels = dcmread(path, force=True).pixel_array
    if pixels.dtype != np.uint8:
        pixels = (pixels / max(1, int(pixels.max())) * 255).astype(np.uint8)
    return Radiograph(pixels, pixels.shape[1], pixels.shape[0], path)


def prepare_plain(film: Radiograph, spec: InputSpec) -> tuple[NDArray[np.uint8], Geometry]:
    """How most code prepares it: one bilinear resize to the square, aspect not kept."""
    size = spec.size_px
    picture = np.asarray(Image.fromarray(film.pixels).resize((size, size), Image.Resampling.BILINEAR))
    return picture[..., None], Geometry(size / film.width, size / film.height, 0, 0, film.width, film.height)
