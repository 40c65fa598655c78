"""What runs inside an emulated board while its instructions are counted. Not imported by anything on the host.

    python -m edge_pneumo.benchmarks.arm.guest network MODEL
    python -m edge_pneumo.benchmarks.arm.guest film    MODEL FILM        our runtime, from the file to the finding
    python -m edge_pneumo.benchmarks.arm.guest plain   MODEL FILM        the usual way, same network and same decode
    python -m edge_pneumo.benchmarks.arm.guest bare    MODEL             any other network, one inference

The work is done three times, each between two marks; the third is the one that counts (caches filled, code translated).
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge_pneumo.edge_runtime.bundle import Bundle, open_bundle
from edge_pneumo.edge_runtime.decode import decode
from edge_pneumo.edge_runtime.engine import open_engine
from edge_pneumo.edge_runtime.golden import golden_inputs
from edge_pneumo.edge_runtime.predict import Detector
from edge_pneumo.edge_runtime.preprocess import Geometry

ROUNDS = 3
_GETPRIORITY, _MAGIC = 141, 0x45504E55


def mark(label: int) -> None:
    """Ask the counting plugin for a snapshot (a system call that does nothing else)."""
    ctypes.CDLL(None).syscall(ctypes.c_long(_GETPRIORITY), ctypes.c_long(_MAGIC), ctypes.c_long(label))


def network(bundle: Bundle) -> Callable[[], object]:
    """One inference on a tensor that is already there."""
    engine = open_engine(bundle.tflite, spec=bundle.input_spec, backend="cpu", threads=1)
    film = golden_inputs(bundle.input_spec, 1)
    return lambda: engine.run_quantised(film)


def film(bundle: Bundle, path: str) -> Callable[[], object]:
    """Our runtime: a DICOM file in, a finding out."""
    detector = Detector(bundle, backend="cpu", threads=1)
    return lambda: detector.predict(path)


def plain(bundle: Bundle, path: str) -> Callable[[], object]:
    """The way of most tutorials: pydicom's pixel_array, a resize, LiteRT; no door, no DCT scaling."""
    import pydicom
    from PIL import Image

    spec = bundle.input_spec
    engine = open_engine(bundle.tflite, spec=spec, backend="cpu", threads=1)

    def once() -> object:
        pixels = pydicom.dcmread(path).pixel_array
        height, width = pixels.shape
        small = Image.fromarray(pixels).resize((spec.size_px, spec.size_px), Image.Resampling.BILINEAR)
        geometry = Geometry(spec.size_px / width, spec.size_px / height, 0, 0, width, height)
        raw = engine.run(np.asarray(small)[np.newaxis, ..., np.newaxis])
        return decode(raw, bundle.decode_spec, geometry)

    return once


def bare(path: str) -> Callable[[], object]:
    """One inference of a network that is not ours, on a tensor of drawn numbers."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    info = interpreter.get_input_details()[0]
    drawn = np.random.default_rng(0).integers(0, 128, info["shape"])
    interpreter.set_tensor(info["index"], (drawn if info["dtype"] != np.float32 else drawn / 128).astype(info["dtype"]))
    return interpreter.invoke


def prepare(kind: str, model: str, films: list[str]) -> Callable[[], object]:
    """The work of that kind, ready to be done."""
    if kind == "bare":
        return bare(model)
    bundle = open_bundle(model if model == "default" else Path(model), trial=False)
    return {"network": network, "film": film, "plain": plain}[kind](bundle, *films)


def main(arguments: list[str]) -> None:
    """Run the work named by the first argument between marks."""
    kind, model, *films = arguments
    work = prepare(kind, model, films)
    gc.disable()  # a collection falls in one round or another, and would be the only thing that varies
    for label in range(ROUNDS):
        mark(2 * label)
        work()
        mark(2 * label + 1)


if __name__ == "__main__":
    main(sys.argv[1:])
