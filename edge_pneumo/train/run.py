"""A run directory: what training leaves behind, and how it is read again.

config.json        kind, the resolved configuration, starting weights, split hash, versions
model.weights.h5   the weights (averaged over steps)
decode.json        how outputs become findings, fitted on validation films
metrics.json       the evaluator's JSON on the validation films
log.csv, curves.svg
state.npz          only while training: everything that --resume needs
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.edge_runtime.decode import DecodeSpec, Finding, RawOutputs, decode
from edge_pneumo.edge_runtime.files import atomic_write
from edge_pneumo.edge_runtime.preprocess import Geometry, InputSpec
from edge_pneumo.errors import DataError, FilmRefused, MissingExtra, UsageFault
from edge_pneumo.train.half import WEIGHTS as HALF_WEIGHTS
from edge_pneumo.train.half import default_run_path, load_half

if TYPE_CHECKING:
    from edge_pneumo.train.data.index import Film

OUTPUTS = ("heat", "image_logit", "ltrb")


@dataclass(frozen=True)
class TrainedRun:
    """A float or quantisation-aware detector, ready to answer.

    `model` is a tf_keras model from float32 (n, s, s, 1), as `input_spec.normalise` gives, to a dict of outputs.
    """

    path: Path
    kind: str
    config: dict[str, Any]
    model: Any
    input_spec: InputSpec
    decode_spec: DecodeSpec

    def raw_outputs(self, images: NDArray[np.uint8], batch_size: int = 16) -> list[RawOutputs]:
        """Outputs for preprocessed pictures (n, s, s, 1) uint8."""
        return raw_outputs(self.model, self.input_spec, images, batch_size)

    def findings(self, films: Iterable[Film], batch_size: int = 16) -> Iterator[tuple[Film, Finding | FilmRefused]]:
        """Read, preprocess and answer films, in order; a film that cannot be read gives its refusal."""
        for chunk in chunks(films, batch_size):
            read = [read_film(film, self.input_spec) for film in chunk]
            pictures = [r[0] for r in read if not isinstance(r, FilmRefused)]
            outputs = iter(self.raw_outputs(np.stack(pictures), batch_size) if pictures else [])
            for film, answer in zip(chunk, read, strict=True):
                if isinstance(answer, FilmRefused):
                    yield film, answer
                else:
                    yield film, decode(next(outputs), self.decode_spec, answer[1])


def chunks(films: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of `size` films, the last one shorter."""
    chunk: list[Any] = []
    for film in films:
        chunk.append(film)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def read_film(film: Film, spec: InputSpec) -> tuple[NDArray[np.uint8], Geometry] | FilmRefused:
    """A film as the network sees it, (s, s, 1) uint8, with its geometry; or why it cannot be read."""
    from edge_pneumo.edge_runtime.preprocess import preprocess
    from edge_pneumo.edge_runtime.radiograph import read_radiograph

    try:
        return preprocess(read_radiograph(film.read(), size_px=spec.size_px, name=film.film_id), spec)
    except FilmRefused as refusal:
        return refusal


def raw_outputs(model: Any, spec: InputSpec, images: NDArray[np.uint8], batch_size: int = 16) -> list[RawOutputs]:
    """Run a tf_keras detector on preprocessed pictures (n, s, s, 1) uint8."""
    answers: list[RawOutputs] = []
    for start in range(0, len(images), batch_size):
        out = model(spec.normalise(images[start : start + batch_size]), training=False)
        values = {name: np.asarray(out[name], np.float32) for name in OUTPUTS}
        for row in range(len(values["heat"])):
            logit = float(values["image_logit"][row, 0])
            answers.append(RawOutputs(logit, values["heat"][row, ..., 0], values["ltrb"][row]))
    return answers


def expect_tensorflow() -> None:
    """Raise MissingExtra where TensorFlow or tf_keras is not installed; imports neither, which would take seconds."""
    from importlib.util import find_spec

    for package in ("tensorflow", "tf_keras"):
        if find_spec(package) is None:
            raise MissingExtra("training, quantising and converting", package, "train")


def require_tensorflow() -> None:
    """Import TensorFlow without its start-up chatter; raise MissingExtra where it or tf_keras is not installed."""
    from edge_pneumo.edge_runtime.quiet import quiet_runtime

    expect_tensorflow()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if platform.machine().lower() in ("x86_64", "amd64"):
        # TensorFlow itself does so only where the CPU has VNNI; elsewhere its own kernels leave a second core idle
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with quiet_runtime(everything=True):
        import tensorflow as tf
        import tf_keras  # noqa: F401  (it chatters too)

        tf.get_logger().setLevel("ERROR")
        tf.zeros(()).numpy()  # the runtime starts, and looks for GPUs, with the first operation


def read_json(path: Path) -> Any:
    """Read a JSON file of a run; DataError says which file is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; is {path.parent} a finished run directory?") from error
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON ({error}); was it cut short?") from error


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all."""
    with atomic_write(path, "w") as stream:
        json.dump(value, stream, indent=1, default=_plain)
        stream.write("\n")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"cannot store {type(value).__name__} as JSON")


def input_spec(config: dict[str, Any]) -> InputSpec:
    """The input contract that a run's configuration states."""
    return InputSpec(**config["input"])


def write_decode(path: Path, spec: DecodeSpec) -> None:
    """Store how outputs become findings."""
    write_json(path / "decode.json", asdict(spec))


def build_from_config(config: dict[str, Any], findings: bool = False) -> Any:
    """The detector's graph as a run's configuration describes it, without the outputs that only training uses."""
    from edge_pneumo.train.detector import DetectorConfig, build_detector

    train = config["train"]
    shape = DetectorConfig(
        train["size_px"], train["alpha"], train["head_channels"],
        config.get("findings", 0) if findings else 0, train["dropout"], tuple(config.get("hidden", ())),
    )  # fmt: skip
    return build_detector(shape)


def run_path(path: str | Path) -> Path:
    """The directory of a run, "default" being the embedded model's."""
    return default_run_path() if str(path) == "default" else Path(path)


def load_run(path: str | Path) -> Any:
    """Open a run directory: a `TrainedRun` for a detector, float or quantisation-aware, or a reference system.

    "default" is the float original of the embedded model, which the package carries in half precision.

    Raises
    ------
    UsageFault : no such directory. DataError : not a finished run, or damaged. MissingExtra : no TensorFlow.
    """
    path = run_path(path)
    if not path.is_dir():
        raise UsageFault(
            f"no run directory at {path}; give the --out of `edge-pneumo train`, a .tflite file, or `default`"
        )
    require_tensorflow()
    config = read_json(path / "config.json")
    kind = config.get("kind")
    if kind == "system":
        from edge_pneumo.train.systems import load_system

        return load_system(path)
    if kind not in ("detector", "qat"):
        raise DataError(f"{path / 'config.json'}: expected kind detector, qat or system, found {kind!r}")
    weights, half = path / "model.weights.h5", path / HALF_WEIGHTS
    if not weights.is_file() and not half.is_file():
        unfinished = " Training did not finish: go on with --resume." if (path / "state.npz").exists() else ""
        raise DataError(f"{path} has no model.weights.h5.{unfinished}")
    spec = DecodeSpec(**read_json(path / "decode.json"))
    if kind == "qat":
        from edge_pneumo.quantize.qat import load_qat_model

        model = load_qat_model(path)
    else:
        model = build_from_config(config)
        if weights.is_file():
            load_weights(model, weights)
        else:
            load_half(model, half)
    return TrainedRun(path, kind, config, model, input_spec(config), spec)


def load_weights(model: Any, path: Path) -> None:
    """Load weights into a graph; DataError where the file is damaged or of another graph."""
    try:
        model.load_weights(str(path))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"cannot read the weights {path}: {str(error).splitlines()[0]}") from error


def save_weights(model: Any, path: Path) -> None:
    """Save weights whole or not at all."""
    part = path.with_name(f".{path.stem}.part.weights.h5")
    with atomic_write(path) as stream:
        try:
            model.save_weights(str(part))
            stream.write(part.read_bytes())
        finally:
            part.unlink(missing_ok=True)
