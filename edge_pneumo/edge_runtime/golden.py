"""Golden vectors: a few inputs and the exact outputs they must give, carried in the model file, so that any machine can
prove that it computes the same bits as the machine that made the model.

The inputs are drawn, not taken from films: a model file must not carry anybody's pixels.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.edge_runtime.backends import OUTPUT_NAMES
from edge_pneumo.edge_runtime.decode import DecodeSpec, film_probability
from edge_pneumo.edge_runtime.engine import Engine, open_engine
from edge_pneumo.edge_runtime.preprocess import InputSpec
from edge_pneumo.errors import ModelFileError


@dataclass(frozen=True)
class Golden:
    """Inputs (n, s, s, 1) uint8 and what the network stored for each, by output name, (n, ...) in its own dtype."""

    inputs: NDArray[np.uint8]
    outputs: dict[str, NDArray]
    runtime: str

    def to_bytes(self) -> bytes:
        """The vectors as `golden.npz`."""
        stream = io.BytesIO()
        stored: dict[str, Any] = {f"output_{name}": array for name, array in self.outputs.items()}
        np.savez_compressed(stream, inputs=self.inputs, runtime=np.array(self.runtime), **stored)
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Golden:
        """Read `golden.npz`.

        Raises
        ------
        ModelFileError : not an npz file with our arrays.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                outputs = {name: arrays[f"output_{name}"] for name in OUTPUT_NAMES}
                return cls(arrays["inputs"], outputs, str(arrays["runtime"]))
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ModelFileError(f"golden.npz cannot be read ({error}). Convert the model again.") from error


@dataclass(frozen=True)
class GoldenResult:
    """How far a machine is from the golden outputs.

    Attributes
    ----------
    vectors : inputs run.
    differing : stored numbers that differ.
    total : stored numbers compared.
    largest : largest difference, in units of the stored number (levels of 256 for int8).
    probability : largest difference of the film's probability, 0..1.
    """

    vectors: int
    differing: int
    total: int
    largest: float
    probability: float

    @property
    def bit_exact(self) -> bool:
        """Whether every stored number is the same."""
        return self.differing == 0


def golden_inputs(spec: InputSpec, count: int = 4, seed: int = 0) -> NDArray[np.uint8]:
    """Drawn inputs (count, s, s, 1) uint8: soft shapes with a full range of greys, as a film has, then fine noise.

    Whole-number arithmetic only, so that every machine draws the same.
    """
    random = np.random.default_rng(seed)
    size = spec.size_px
    rows, columns = np.mgrid[0:size, 0:size]
    films = np.empty((count, size, size, 1), np.uint8)
    for film in films:
        grey = (rows * random.integers(0, 64) + columns * random.integers(0, 64)) // size + random.integers(0, 96)
        for _ in range(8):
            centre, reach = random.integers(0, size, 2), random.integers(size // 8, size // 2, 2)
            distance = ((rows - centre[0]) * 256 // reach[0]) ** 2 + ((columns - centre[1]) * 256 // reach[1]) ** 2
            grey = grey + np.maximum(65536 - distance, 0) * random.integers(-96, 160) // 65536
        coarse = random.integers(-12, 13, (size // 4 + 1, size // 4 + 1))
        film[..., 0] = np.clip(grey + coarse[rows // 4, columns // 4], 0, 255)
    return films


def make_golden(tflite: bytes, spec: InputSpec, count: int = 4, seed: int = 0) -> Golden:
    """Golden vectors of a network, from the light runtime on this machine's CPU with its default kernels."""
    engine = open_engine(tflite, spec=spec, backend="cpu", threads=1)
    inputs = golden_inputs(spec, count, seed)
    results = [engine.run_quantised(film[np.newaxis]) for film in inputs]
    outputs = {name: np.concatenate([result[name] for result in results]) for name in OUTPUT_NAMES}
    return Golden(inputs, outputs, engine.runtime)


def check_golden(engine: Engine, golden: Golden, decode: DecodeSpec | None = None) -> GoldenResult:
    """Run the golden inputs on an engine and compare every stored number with the golden outputs.

    Parameters
    ----------
    decode : how the model turns outputs into a probability, to say what a difference means.

    Raises
    ------
    ModelFileError : the vectors do not fit the network.
    """
    differing = total = 0
    largest = probability = 0.0
    spec = decode or DecodeSpec()
    for index, film in enumerate(golden.inputs):
        if film[np.newaxis].shape != engine.input.shape or film.dtype != np.uint8:
            raise ModelFileError(
                f"golden.npz has inputs of shape {film.shape}, the network takes {engine.input.shape}."
            )
        found = engine.run_quantised(film[np.newaxis])
        wanted = {name: golden.outputs[name][index : index + 1] for name in OUTPUT_NAMES}
        for name in OUTPUT_NAMES:
            expected, actual = wanted[name], found[name]
            if expected.shape != actual.shape or expected.dtype != actual.dtype:
                raise ModelFileError(f"golden.npz does not fit the network's output {name}. Convert the model again.")
            gap = np.abs(expected.astype(np.float64) - actual.astype(np.float64))
            differing, total = differing + int((expected != actual).sum()), total + gap.size
            largest = max(largest, float(gap.max()))
        pair = [film_probability(engine.dequantise(stored), spec) for stored in (wanted, found)]
        probability = max(probability, abs(pair[0] - pair[1]))
    return GoldenResult(len(golden.inputs), differing, total, largest, probability)
