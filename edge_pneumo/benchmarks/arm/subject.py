"""What is counted: one of our model files, or a bare .tflite of somebody else's network.

Counts are compared network by network, not file by file: the instructions of a network depend on the shapes and types
of its tensors, not on its weights, so a model that was trained again is still the same network.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from edge_pneumo.edge_runtime import trailer
from edge_pneumo.edge_runtime.bundle import open_bundle
from edge_pneumo.edge_runtime.flatbuffer import Graph, read_graph
from edge_pneumo.errors import UsageFault


@dataclass(frozen=True)
class Subject:
    """A model file whose instructions are counted.

    Attributes
    ----------
    file : its path, or "default".
    name : the name it gives itself; of a bare network, the file's.
    precision : "int8", "float32" ...
    size_px : side of its input.
    sha256 : of the file.
    network : the shapes and types of all tensors as 16 hexadecimal digits; weights and names do not matter.
    bare : it has no trailer of ours, so nobody knows how to feed it a film: only the network alone is counted.
    """

    file: str
    name: str
    precision: str
    size_px: int
    sha256: str
    network: str
    bare: bool = False


def open_subject(model: str | Path) -> Subject:
    """Read a model file; a .tflite without our trailer counts as a bare network.

    Raises
    ------
    UsageFault : there is no such file.
    ModelFileError : it is damaged.
    """
    if model != "default" and Path(model).is_file() and (bare := _bare(Path(model))) is not None:
        return bare
    bundle = open_bundle(model)
    return Subject(
        file=str(model),
        name=bundle.name,
        precision=str(bundle.metadata.get("precision")),
        size_px=bundle.input_spec.size_px,
        sha256=bundle.sha256,
        network=fingerprint(read_graph(bundle.tflite, str(model))),
    )


def fingerprint(graph: Graph) -> str:
    """The same for two graphs with as many operators and tensors of the same shapes and types."""
    tensors = sorted(f"{tensor.dtype} {tensor.shape}" for tensor in graph.tensors)
    return hashlib.sha256("\n".join([str(graph.operators), *tensors]).encode()).hexdigest()[:16]


def _bare(path: Path) -> Subject | None:
    """The file as a bare network, or None if it ends in a trailer or is no .tflite at all."""
    data = path.read_bytes()
    if not trailer.is_tflite(data[:8]) or trailer.find(data, len(data)) is not None:
        return None
    graph = read_graph(data, str(path))
    inputs = [graph.tensors[index] for index in graph.inputs]
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise UsageFault(f"{path}: expected one input of four dimensions, found {[t.shape for t in inputs]}")
    return Subject(
        file=str(path),
        name=path.stem,
        precision=inputs[0].dtype,
        size_px=inputs[0].shape[1],
        sha256=hashlib.sha256(data).hexdigest(),
        network=fingerprint(graph),
        bare=True,
    )
