"""Read the tensors of a file made by `torch.save`, without PyTorch and without running anything that is in it.

Such files hold a pickle, and a pickle can name any function to be called. Here a name from the file is looked up in the
short table `_KNOWN` and nowhere else: nothing is imported, and every other name becomes an inert placeholder. Both
layouts are read: the zip of PyTorch 1.6 and later, and the stream of pickles before it (`.pth.tar` of 2017).
Format: torch/serialization.py and torch/_utils.py.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.errors import DataError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_MOST_PICKLE_BYTES = 64 << 20
_DEEPEST = 8

_DTYPES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "<i1", "ByteStorage": "<u1",
    "BoolStorage": "?",
}  # fmt: skip


@dataclass(frozen=True)
class _Storage:
    """A reference to a run of numbers elsewhere in the file."""

    key: str
    dtype: str
    numel: int
    offset: int = 0


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage, not yet read."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Inert:
    """Stands for everything in the pickle that is not a tensor or plain data; does nothing whatever is done to it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __new__(cls, *args: Any, **kwargs: Any) -> _Inert:
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, item: Any) -> None: ...

    def extend(self, items: Any) -> None: ...


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Any:
    if not isinstance(storage, _Storage):
        return _Inert()
    return _Tensor(storage, int(offset), tuple(map(int, size)), tuple(map(int, stride)))


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


_KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}


class _StorageType:
    """`torch.FloatStorage` and its like, as far as the file needs them."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype


class _Unpickler(pickle.Unpickler):
    """Plain data, tensors and placeholders; see the module. `widths`: bytes a number of every storage it met."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream, encoding="latin1")  # Python 2's strings, in files of that time
        self.widths: dict[str, int] = {}

    def find_class(self, module_name: str, global_name: str) -> Any:
        if module_name == "torch" and global_name in _DTYPES:
            return _StorageType(_DTYPES[global_name])
        return _KNOWN.get((module_name, global_name), _Inert)

    def persistent_load(self, pid: Any) -> Any:
        if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage"):
            return _Inert()
        kind, key, numel = pid[1], str(pid[2]), int(pid[4])
        if not isinstance(kind, _StorageType):
            return _Inert()
        self.widths[key] = _item_bytes(kind.dtype)
        view = pid[5] if len(pid) > 5 else None  # old files: (key of the view, offset, size)
        return _Storage(key, kind.dtype, int(view[2]) if view else numel, int(view[1]) if view else 0)


def read_torch_tensors(path: str | Path) -> dict[str, NDArray]:
    """The state dict in a file made by `torch.save`: name -> array, in the file's order.

    The state dict may lie at the top or under a key of a checkpoint (`state_dict`, say): the mapping with the most
    tensors is taken.

    Raises
    ------
    DataError : not such a file, damaged, or without a state dict.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            content, storages = _read_zip(stream) if zipfile.is_zipfile(stream) else _read_legacy(stream)
            tensors = _largest_state(content)
            if not tensors:
                raise ValueError("it has no state dict; save model.state_dict(), not the model itself")
            return {name: _to_array(tensor, storages) for name, tensor in tensors.items()}
    except OSError as error:
        raise DataError(f"cannot read the weights {path}: {error.strerror or error}") from error
    # a damaged pickle can raise nearly anything that plain data can
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, EOFError, MemoryError, OverflowError,
            RecursionError, pickle.UnpicklingError, zipfile.BadZipFile) as error:  # fmt: skip
        raise DataError(
            f"{path} cannot be read as a PyTorch file: {error}. Expected a state dict saved by torch.save"
        ) from error


Storages = Callable[[_Storage], NDArray]


def _read_zip(stream: BinaryIO) -> tuple[Any, Storages]:
    archive = zipfile.ZipFile(stream)
    names = [name for name in archive.namelist() if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(names) != 1:
        raise ValueError("a zip without data.pkl")
    root = names[0].removesuffix("data.pkl")
    if archive.getinfo(names[0]).file_size > _MOST_PICKLE_BYTES:
        raise ValueError(f"its data.pkl is larger than {_MOST_PICKLE_BYTES >> 20} MiB")
    if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder").strip() != b"little":
        raise ValueError("it was saved on a big-endian machine")
    content = _unpickle(io.BytesIO(archive.read(names[0])))

    def storage(wanted: _Storage) -> NDArray:
        info = archive.getinfo(f"{root}data/{wanted.key}")
        if info.compress_type != zipfile.ZIP_STORED:  # torch never compresses: a compressed member may be a bomb
            raise ValueError(f"storage {wanted.key} is compressed")
        return _from_bytes(archive.read(info), wanted)

    return content, storage


def _read_legacy(stream: BinaryIO) -> tuple[Any, Storages]:
    stream.seek(0)
    if _unpickle(stream) != LEGACY_MAGIC:
        raise ValueError("no PyTorch magic number")
    if _unpickle(stream) != 1001:
        raise ValueError("unknown protocol version")
    if not _unpickle(stream).get("little_endian", True):
        raise ValueError("it was saved on a big-endian machine")
    unpickler = _Unpickler(stream)
    content, widths = unpickler.load(), unpickler.widths
    keys, places = _unpickle(stream), {}
    for key in map(str, keys):
        count = int.from_bytes(stream.read(8), "little", signed=True)
        if key not in widths:
            raise ValueError(f"storage {key} is not named by its contents")
        places[key] = (stream.tell(), count)
        stream.seek(count * widths[key], io.SEEK_CUR)

    def storage(wanted: _Storage) -> NDArray:
        place, count = places[wanted.key]
        if wanted.offset < 0 or wanted.offset + wanted.numel > count:
            raise ValueError(f"storage {wanted.key} holds {count} numbers")
        width = _item_bytes(wanted.dtype)
        stream.seek(place + wanted.offset * width)
        return _from_bytes(stream.read(wanted.numel * width), wanted)

    return content, storage


def _unpickle(stream: Any) -> Any:
    return _Unpickler(stream).load()


def _item_bytes(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _from_bytes(raw: bytes, storage: _Storage) -> NDArray:
    if len(raw) < storage.numel * _item_bytes(storage.dtype):
        raise ValueError(f"storage {storage.key} is cut short")
    if storage.dtype == "bfloat16":  # the upper half of a float32
        return (np.frombuffer(raw, "<u2", storage.numel).astype("<u4") << 16).view("<f4")
    return np.frombuffer(raw, storage.dtype, storage.numel)


def _to_array(tensor: _Tensor, storages: Storages) -> NDArray:
    numbers = storages(tensor.storage)
    count = math.prod(tensor.size)
    if len(tensor.size) != len(tensor.stride) or min((*tensor.size, *tensor.stride, tensor.offset), default=0) < 0:
        raise ValueError("a tensor with an impossible shape")
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.size, tensor.stride, strict=True))
    if count and (last >= len(numbers) or count > len(numbers)):
        raise ValueError(f"a tensor of shape {tensor.size} reaches beyond its storage of {len(numbers)} numbers")
    strides = [step * numbers.itemsize for step in tensor.stride]
    view = np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.size, strides, writeable=False)
    return view.copy()


def _largest_state(content: Any, depth: int = 0) -> dict[str, _Tensor]:
    """The mapping from names to tensors with the most tensors, at any depth."""
    if not isinstance(content, Mapping) or depth > _DEEPEST:
        return {}
    own = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, _Tensor)}
    return max([own, *(_largest_state(value, depth + 1) for value in content.values())], key=len)
