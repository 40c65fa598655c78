"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from edge_pneumo.errors import UsageFault, WriteFailed


@contextmanager
def atomic_write(path: str | Path, mode: str = "wb") -> Iterator[IO]:
    """Open a temporary file beside `path`; give it its final name only when the block ends without an error.

    A link stays one: the file it points to is replaced. Pipes and devices are written to as they are.

    Parameters
    ----------
    path : final name; missing parent folders are made.
    mode : "wb" or "w" (UTF-8).

    Raises
    ------
    WriteFailed : the folder cannot be made or written, or the disk is full; nothing is left under `path` that was
        not there before.
    """
    path = Path(path)
    temporary = None
    encoding = None if "b" in mode else "utf-8"
    try:
        if is_special(path):
            with path.open(mode, encoding=encoding) as stream:
                yield stream
            return
        path = path.resolve() if path.is_symlink() else path
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        with os.fdopen(handle, mode, encoding=encoding) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        umask = os.umask(0)  # mkstemp makes 0600; give the file the mode that open() would have given it
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
        temporary = None
    except OSError as error:
        raise WriteFailed(f"cannot write {path}: {error.strerror or error}. {advice(error)}") from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def advice(error: OSError) -> str:
    """What may help where something could not be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "Free space or choose another place." if full else "Choose another place."


def is_special(path: Path) -> bool:
    """Whether something is there that is neither a file nor a folder: a pipe, a terminal, a device."""
    return path.exists() and not path.is_file() and not path.is_dir()


def check_writable(path: Path) -> None:
    """Find out before minutes of work, not after, that a result has no place.

    Raises
    ------
    UsageFault : `path` is a folder. WriteFailed : the nearest existing folder above it cannot be written, or is a file.
    """
    if path.is_dir():
        raise UsageFault(f"{path} is a folder; give the name of a file")
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise WriteFailed(f"cannot write {path}: {parent} is not a folder that you may write. Choose another place.")
