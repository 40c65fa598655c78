"""Paths, folders, zip files and stdin -> the films in them, one `Source` each, in a fixed order.

Every file is answered, whatever its name: DICOM files often have none that says so. Hidden files are left out, and so
are macOS's `__MACOSX` companions.
"""

from __future__ import annotations

import os
import stat
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_pneumo.edge_runtime import limits
from edge_pneumo.errors import DataError, FilmRefused

ZIP_MAGIC = b"PK\x03\x04"


@dataclass(frozen=True)
class Source:
    """One film still to be read; small and picklable, so that a pool can be handed many.

    Attributes
    ----------
    name : what to call it: the path, `archive.zip/member`, or `<stdin>`.
    path : file, zip file, or `-`.
    member : name within the zip file.
    nth : which one, where a zip file has several of that name; 0 is the first.
    """

    name: str
    path: str
    member: str | None = None
    nth: int = 0

    def read(self, limit: int = limits.MAX_FILE_BYTES + 1) -> bytes:
        """At most `limit` bytes of the film.

        Raises
        ------
        FilmRefused : `unreadable` when the file or the zip member cannot be read.
        """
        try:
            if self.path == "-":
                return sys.stdin.buffer.read(limit)
            if self.member is None:
                return _regular(self.path, self.name, limit)
        except OSError as error:
            raise _unreadable(self.name, error) from error
        return _member(self, limit)


def _unreadable(name: str, error: Exception) -> FilmRefused:
    detail = getattr(error, "strerror", None) or error
    advice = "Copy it again."
    if isinstance(error, PermissionError):
        advice = "Give yourself the right to read it."
    elif "encrypted" in str(error):
        advice = "Unpack it with its password."
    return FilmRefused("unreadable", f"{name}: cannot be read ({detail}). {advice}")


def _member(source: Source, limit: int) -> bytes:
    import zipfile
    import zlib

    try:
        with zipfile.ZipFile(source.path) as archive:
            entry = [info for info in archive.infolist() if info.filename == source.member][source.nth]
            with archive.open(entry) as stream:
                return stream.read(limit)  # bounded, whatever size the archive claims
    except (OSError, zipfile.BadZipFile, zlib.error, LookupError, RuntimeError, EOFError, ValueError) as error:
        raise _unreadable(source.name, error) from error  # RuntimeError: encrypted, or a method of packing not known


def _regular(path: str, name: str, limit: int) -> bytes:
    """A regular file's bytes; nothing else is opened to the end, since a pipe or a device may have none."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise FilmRefused("unreadable", f"{name}: {kind}. Give a DICOM, PNG or JPEG file.")
        # The exact size: asking for `limit` would have Python set aside that much for every film.
        return os.read(handle, min(limit, status.st_size + 1))
    finally:
        os.close(handle)


def find_films(paths: Iterable[str | Path]) -> Iterator[Source]:
    """Films in the order given; folders are walked by name, zip files by their own order.

    Raises
    ------
    DataError : a path does not exist.
    """
    for path in paths:
        text = str(path)
        if text == "-":
            yield Source("<stdin>", "-")
        elif Path(text).is_dir():
            yield from _folder(text)
        elif Path(text).exists():
            yield from _file(text)
        else:
            raise DataError(
                f"{text}: no such file or folder. Give radiographs (DICOM, PNG, JPEG), folders or zip files of them."
            )


def _folder(folder: str) -> Iterator[Source]:
    seen: set[str] = set()
    shut: list[str] = []  # folders that may not be read: answered as such, lest their films be missed in silence
    for parent, folders, files in os.walk(folder, onerror=lambda error: shut.append(error.filename), followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # a link to a folder it lies in, or two links to one: each is walked once
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "__MACOSX")
        for file in sorted(files):
            if not file.startswith("."):
                yield from _file(str(Path(parent) / file))
    for one in sorted(shut):
        yield Source(one, one)


def _file(path: str) -> Iterator[Source]:
    members = _zip_members(path)
    if members is None:
        yield Source(path, path)
        return
    met: Counter[str] = Counter()
    for member in members:
        nth = met[member]
        met[member] += 1
        yield Source(f"{path}/{member}" + (f" ({nth + 1})" if nth else ""), path, member, nth)


def _zip_members(path: str) -> list[str] | None:
    """Names of the files in a zip; None where `path` is none (or a broken one, which reading it will then say)."""
    try:
        if not Path(path).is_file():
            return None
        with Path(path).open("rb") as stream:
            if stream.read(4) != ZIP_MAGIC:
                return None
            import zipfile

            try:
                with zipfile.ZipFile(stream) as archive:
                    names = [i.filename for i in archive.infolist() if not i.is_dir()]
            except (zipfile.BadZipFile, ValueError, NotImplementedError):
                return None
    except OSError:
        return None
    return [name for name in names if not any(map(_hidden, name.split("/")))]


def _hidden(part: str) -> bool:
    # "..": nothing is unpacked, so a name that would lead out of a folder does no harm
    return part == "__MACOSX" or (part.startswith(".") and part not in (".", ".."))
