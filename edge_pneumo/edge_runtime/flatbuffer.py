"""What is inside a .tflite file, read without any runtime and with every offset checked against the file's end.

A flatbuffer is a graph of little-endian offsets (https://flatbuffers.dev/internals/); LiteRT follows them without
checking, so a damaged file can crash the process that loads it. Reading it here first turns such a file into an error
message (in the trial run of `sandbox.py`) and gives `inspect` its tensor table. Field numbers are those of TensorFlow's
`schema.fbs`.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass

from edge_pneumo.edge_runtime.trailer import is_tflite
from edge_pneumo.errors import ModelFileError

# schema.fbs, enum TensorType, in its order
TENSOR_TYPES = (
    *("float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16", "complex64", "int8", "float64"),
    *("complex128", "uint64", "resource", "variant", "uint32", "uint16", "int4", "bfloat16"),
)
MAX_VTABLE = 256
FLOAT_TYPES = frozenset({"float32", "float16", "float64", "bfloat16", "complex64", "complex128"})


@dataclass(frozen=True)
class Tensor:
    """One tensor: real = (q - zero_points[c]) * scales[c]; no scales where it is not quantised."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    buffer_bytes: int


@dataclass(frozen=True)
class Signature:
    """A named entry point: public tensor name -> index into `Graph.tensors`."""

    key: str
    inputs: dict[str, int]
    outputs: dict[str, int]


@dataclass(frozen=True)
class Graph:
    """The graph of a model, and its signatures."""

    tensors: tuple[Tensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: int
    signatures: tuple[Signature, ...]

    def counts(self) -> dict[str, int]:
        """Number of tensors by dtype, weights and biases included, most frequent first."""
        return dict(Counter(tensor.dtype for tensor in self.tensors).most_common())

    def float_tensors(self) -> tuple[str, ...]:
        """Names of tensors in floating point; empty for a model that is integer from end to end."""
        return tuple(tensor.name for tensor in self.tensors if tensor.dtype in FLOAT_TYPES)

    def tensor(self, name: str) -> Tensor:
        """The tensor a signature calls `name`, input or output."""
        for signature in self.signatures:
            index = {**signature.inputs, **signature.outputs}.get(name)
            if index is not None:
                return self.tensors[index]
        raise ModelFileError(f"the model has no input or output named {name!r}")


def read_graph(data: bytes, what: str = "the model") -> Graph:
    """Read the tensors, inputs, outputs and signatures of a .tflite file.

    Parameters
    ----------
    data : the flatbuffer; bytes after it (a zip trailer) do no harm.
    what : how messages call the file.

    Raises
    ------
    ModelFileError : not a TFLite file, cut short, or with offsets that lead outside the file.
    """
    if not is_tflite(data):
        raise ModelFileError(
            f"{what}: not a TFLite model: expected the mark TFL3 at byte 4, found {bytes(data[4:8])!r}. "
            "Give a file made by `edge-pneumo convert`."
        )
    try:
        return _read(data)
    except (struct.error, IndexError, ValueError, RecursionError) as error:
        raise ModelFileError(
            f"{what}: the TFLite part is cut short or damaged ({error}). Copy or convert the model again."
        ) from error


class _Table:
    """A flatbuffer table at `position`; fields are found through its vtable."""

    def __init__(self, data: bytes, position: int) -> None:
        self.data, self.position = data, position
        vtable = position - _unpack("<i", data, position)
        size = _unpack("<H", data, vtable)
        if not 4 <= size <= MAX_VTABLE or size % 2:
            raise ValueError(f"a table of {size} bytes of fields at byte {vtable}")
        self._fields = struct.unpack_from(f"<{(size - 4) // 2}H", data, vtable + 4)

    def _at(self, field: int) -> int | None:
        offset = self._fields[field] if field < len(self._fields) else 0
        return self.position + offset if offset else None

    def number(self, field: int, form: str, default: int = 0) -> int:
        at = self._at(field)
        return default if at is None else _unpack(form, self.data, at)

    def _vector(self, field: int) -> tuple[int, int]:
        at = self._at(field)
        if at is None:
            return 0, 0
        start = at + _unpack("<I", self.data, at)
        return start + 4, _unpack("<I", self.data, start)

    def numbers(self, field: int, form: str) -> tuple:
        start, length = self._vector(field)
        if start + length * struct.calcsize(form) > len(self.data):
            raise ValueError(f"a list of {length} numbers at byte {start}")
        return struct.unpack_from(f"<{length}{form}", self.data, start)

    def text(self, field: int) -> str:
        start, length = self._vector(field)
        if start + length > len(self.data):
            raise ValueError(f"a name of {length} bytes at byte {start}")
        return bytes(self.data[start : start + length]).decode("utf-8", "replace")

    def vector_bytes(self, field: int) -> int:
        start, length = self._vector(field)
        if start + length > len(self.data):
            raise ValueError(f"a buffer of {length} bytes at byte {start}")
        return length

    def table(self, field: int) -> _Table | None:
        at = self._at(field)
        return None if at is None else _Table(self.data, at + _unpack("<I", self.data, at))

    def tables(self, field: int) -> list[_Table]:
        start, length = self._vector(field)
        if start + 4 * length > len(self.data):
            raise ValueError(f"a list of {length} tables at byte {start}")
        places = range(start, start + 4 * length, 4)
        return [_Table(self.data, at + _unpack("<I", self.data, at)) for at in places]


def _unpack(form: str, data: bytes, at: int) -> int:
    if at < 0:
        raise ValueError(f"an offset of {at}")
    return struct.unpack_from(form, data, at)[0]


def _read(data: bytes) -> Graph:
    model = _Table(data, _unpack("<I", data, 0))
    subgraphs = model.tables(2)
    if len(subgraphs) != 1:  # a second one could hide tensors; the converter makes one for each signature
        raise ValueError(f"{len(subgraphs)} graphs where one is expected")
    buffers = [buffer.vector_bytes(0) for buffer in model.tables(4)]
    main = subgraphs[0]
    tensors = tuple(_tensor(table, buffers) for table in main.tables(0))
    codes = len(model.tables(1))
    operators = main.tables(3)
    for operator in operators:
        if operator.number(0, "<I") >= codes:
            raise ValueError("an operator of unknown kind")
        _check_indices(operator.numbers(1, "i") + operator.numbers(2, "i"), len(tensors), lowest=-1)
    inputs, outputs = main.numbers(1, "i"), main.numbers(2, "i")
    _check_indices(inputs + outputs, len(tensors))
    signatures = tuple(_signature(table, len(tensors)) for table in model.tables(7))
    return Graph(tensors, inputs, outputs, len(operators), signatures)


def _tensor(table: _Table, buffers: list[int]) -> Tensor:
    kind = table.number(1, "<b")
    if not 0 <= kind < len(TENSOR_TYPES):
        raise ValueError(f"a tensor of unknown type {kind}")
    scales, zero_points, quantisation = (), (), table.table(4)
    if quantisation is not None:
        scales, zero_points = quantisation.numbers(2, "f"), quantisation.numbers(3, "q")
    size = buffers[table.number(2, "<I")]
    return Tensor(table.text(3), table.numbers(0, "i"), TENSOR_TYPES[kind], scales, zero_points, size)


def _signature(table: _Table, tensors: int) -> Signature:
    inputs, outputs = ({entry.text(0): entry.number(1, "<I") for entry in table.tables(side)} for side in (0, 1))
    _check_indices((*inputs.values(), *outputs.values()), tensors)
    return Signature(table.text(2), inputs, outputs)


def _check_indices(indices: tuple[int, ...], tensors: int, lowest: int = 0) -> None:
    for index in indices:
        if not lowest <= index < tensors:
            raise ValueError(f"tensor {index} of {tensors}")
