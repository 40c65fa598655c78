"""A trained reference system, read back from its run directory; answers films like any other model of the project."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.edge_runtime.decode import Box, DecodeSpec, Finding, RawOutputs, film_probability
from edge_pneumo.edge_runtime.preprocess import Geometry, InputSpec
from edge_pneumo.errors import DataError, FilmRefused
from edge_pneumo.train.run import chunks, input_spec, load_weights, read_film, read_json, require_tensorflow
from edge_pneumo.train.systems.catalogue import System, find_system
from edge_pneumo.train.systems.feed import BATCH_SIZE, outputs

if TYPE_CHECKING:
    from edge_pneumo.train.data.index import Film

NO_HEAT = np.zeros((1, 1), np.float32)


@dataclass(frozen=True)
class TrainedSystem:
    """A reference system, ready to answer. `model` is a tf_keras model (see `graphs`); `kind` is "system"."""

    path: Path
    kind: str
    config: dict[str, Any]
    system: System
    model: Any
    input_spec: InputSpec
    decode_spec: DecodeSpec

    def findings(
        self, films: Iterable[Film], batch_size: int = BATCH_SIZE
    ) -> Iterator[tuple[Film, Finding | FilmRefused]]:
        """Read, preprocess and answer films, in order; a film that cannot be read gives its refusal."""
        for chunk in chunks(films, batch_size):
            read = [read_film(film, self.input_spec) for film in chunk]
            pictures = [answer[0] for answer in read if not isinstance(answer, FilmRefused)]
            out = outputs(self.model, np.stack(pictures), self.system.scaling) if pictures else {}
            row = 0
            for film, answer in zip(chunk, read, strict=True):
                if isinstance(answer, FilmRefused):
                    yield film, answer
                    continue
                box = out["box"][row] * self.input_spec.size_px if self.system.one_box else None
                yield film, finding(float(out["image_logit"][row]), box, self.decode_spec, answer[1])
                row += 1


def finding(logit: float, box: NDArray[np.float32] | None, spec: DecodeSpec, geometry: Geometry) -> Finding:
    """What a system says of one film.

    Parameters
    ----------
    logit : of an opacity.
    box : (4,) xyxy in input pixels, or None for a system without one. It is shown where the film's probability reaches
        `box_threshold`, with that probability as its score.
    """
    probability = film_probability(RawOutputs(logit, NO_HEAT, NO_HEAT), spec)
    threshold = spec.operating_points[spec.default_operating_point]
    boxes: tuple[Box, ...] = ()
    if box is not None and probability >= spec.box_threshold:
        x1, y1, x2, y2 = (round(float(v), 1) for v in geometry.to_source(box)[0])
        boxes = (Box(x1, y1, x2, y2, probability),) if x2 > x1 and y2 > y1 else ()
    return Finding(probability, threshold, boxes)


def load_system(path: str | Path) -> TrainedSystem:
    """Open the run directory of a reference system.

    Raises
    ------
    DataError : not a finished run of a system, or damaged. MissingExtra : no TensorFlow.
    """
    from edge_pneumo.train.systems.graphs import build_system

    require_tensorflow()
    path = Path(path)
    config = read_json(path / "config.json")
    if config.get("kind") != "system":
        raise DataError(f"{path / 'config.json'}: expected kind system, found {config.get('kind')!r}")
    if not (path / "model.weights.h5").is_file():
        unfinished = " Training did not finish: go on with --resume." if (path / "state.npz").exists() else ""
        raise DataError(f"{path} has no model.weights.h5.{unfinished}")
    system = find_system(config["system"])
    model = build_system(system)
    load_weights(model, path / "model.weights.h5")
    decode = DecodeSpec(**read_json(path / "decode.json"))
    return TrainedSystem(path, "system", config, system, model, input_spec(config), decode)
