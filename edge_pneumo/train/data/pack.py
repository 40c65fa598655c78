"""Decoded films on disk, so that a second run does not decode again.

One file for each setting, `films-<settings>.pack`: fixed-size records, only ever appended, each with a CRC.

- Keyed by content: a record is found by the hash of the film's bytes, so a changed film is decoded again, and a moved,
  copied or zipped one is not. Hashing costs a fraction of a millisecond a film; decoding several.
- Keyed by settings: the file's name is a hash of the input spec, of the code that reads films and of its libraries'
  versions. Any of them changed means another file.
- Resumable: what is in the file when a run is killed, is used by the next; half a record at the end is cut off.
- A corrupt record fails its CRC and is decoded again; a corrupt file is begun again.
- A full disk, or a folder that cannot be written: one warning, and on without the cache.
"""

from __future__ import annotations

import hashlib
import logging
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path

import numpy as np
import PIL
import pydicom
from numpy.typing import NDArray

from edge_pneumo import edge_runtime
from edge_pneumo.edge_runtime.preprocess import Geometry, InputSpec

_log = logging.getLogger(__name__)

_MAGIC = b"edgepneumo-pack1"
_KEY_BYTES = 16
_GEOMETRY = struct.Struct("<dd7i")
_CRC = struct.Struct("<I")


def content_key(data: bytes) -> bytes:
    """The 16-byte hash by which a film is found, whatever its name."""
    return hashlib.blake2b(data, digest_size=_KEY_BYTES).digest()


def settings_key(spec: InputSpec) -> str:
    """Name of everything beside the film itself that decides the decoded pixels."""
    digest = hashlib.sha256(f"{spec.size_px},{spec.fill},{PIL.__version__},{pydicom.__version__}".encode())
    for source in sorted(Path(edge_runtime.__path__[0]).glob("*.py")):
        digest.update(source.read_bytes())
    return f"{spec.size_px}px-{digest.hexdigest()[:16]}"


class PixelCache:
    """An open pack file. Safe for many threads, and for several processes on one machine.

    Parameters
    ----------
    path : the pack file; made when it is not there.
    size_px : side of the inputs that it holds.

    Raises
    ------
    OSError : the file can neither be read nor made.
    """

    def __init__(self, path: Path, size_px: int) -> None:
        self.size_px = size_px
        self._pixel_bytes = size_px * size_px
        self._record_bytes = _KEY_BYTES + _GEOMETRY.size + self._pixel_bytes + _CRC.size
        self._lock = threading.Lock()
        self._path = path
        self._file = -1
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        self._offsets: dict[bytes, int] = {}
        try:
            self._scan()
        except OSError:
            self.close()
            raise
        self.writable = True

    def __len__(self) -> int:
        return len(self._offsets)

    def close(self) -> None:
        """Let the file go; a closed cache is not used again."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __del__(self) -> None:
        self.close()

    def get(self, key: bytes) -> tuple[NDArray[np.uint8], Geometry] | None:
        """The (size, size, 1) input and its geometry, or None when the film is not there or its record is damaged."""
        offset = self._offsets.get(key)
        if offset is None:
            return None
        record = os.pread(self._file, self._record_bytes, offset)
        body, crc = record[: -_CRC.size], record[-_CRC.size :]
        if len(record) != self._record_bytes or body[:_KEY_BYTES] != key or _CRC.unpack(crc)[0] != zlib.crc32(body):
            with self._lock:
                self._offsets.pop(key, None)
            return None
        geometry = Geometry(*_GEOMETRY.unpack_from(body, _KEY_BYTES))
        pixels = np.frombuffer(body, np.uint8, self._pixel_bytes, _KEY_BYTES + _GEOMETRY.size)
        return pixels.reshape(self.size_px, self.size_px, 1), geometry

    def put(self, key: bytes, pixels: NDArray[np.uint8], geometry: Geometry) -> None:
        """Append one film; a failure to write is said once, and the cache is then only read."""
        if not self.writable:
            return
        where = _GEOMETRY.pack(*astuple(geometry))
        body = key + where + pixels.tobytes()
        record = body + _CRC.pack(zlib.crc32(body))
        with self._lock:
            if not self.writable or key in self._offsets:
                return
            try:
                with _only_process(self._file):
                    end = self._whole_end()
                    self._append(record, end)
                self._offsets[key] = end
            except OSError as error:
                self.writable = False
                _log.warning(
                    "%s: cannot write the film cache (%s); going on without it. "
                    "Free space or choose another folder to save time on the next run.",
                    self._path,
                    error.strerror,
                )

    def _append(self, record: bytes, end: int) -> None:
        try:
            view = memoryview(record)
            while view:
                view = view[os.write(self._file, view) :]
        except OSError:
            os.ftruncate(self._file, end)
            raise

    def _whole_end(self) -> int:
        """Where the last whole record ends; what a killed writer left behind it is cut off."""
        size = os.fstat(self._file).st_size
        end = size - (size - len(_MAGIC)) % self._record_bytes
        if end != size:
            os.ftruncate(self._file, end)
        return end

    def _scan(self) -> None:
        """Find the records by their keys; begin the file again when it is not one of ours."""
        with _only_process(self._file):
            if os.pread(self._file, len(_MAGIC), 0) != _MAGIC:
                os.ftruncate(self._file, 0)
                self._append(_MAGIC, 0)
            end = self._whole_end()
        for offset in range(len(_MAGIC), end, self._record_bytes):
            self._offsets[os.pread(self._file, _KEY_BYTES, offset)] = offset


@contextmanager
def _only_process(file: int) -> Iterator[None]:
    """Hold the file's lock against other processes, where the system has such locks."""
    try:
        import fcntl
    except ImportError:  # Windows: one process at a time is then up to the user
        yield
        return
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def open_cache(directory: str | Path, spec: InputSpec) -> PixelCache | None:
    """The cache for these settings; None, with a warning, when the folder cannot be used."""
    path = Path(directory) / f"films-{settings_key(spec)}.pack"
    try:
        return PixelCache(path, spec.size_px)
    except OSError as error:
        _log.warning("%s: cannot use the film cache (%s); going on without it.", path, error.strerror or error)
        return None
