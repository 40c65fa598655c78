"""Where a data set's files lie: a folder, or a zip that is read without unpacking it."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from edge_pneumo.errors import DataError

_TABLE_ENDINGS = ("", ".gz", ".zip")  # Kaggle serves single tables as .csv.zip


@dataclass(frozen=True)
class FileBytes:
    """Reads one file; can be pickled."""

    path: str

    def __call__(self) -> bytes:
        return Path(self.path).read_bytes()

    def open(self) -> BinaryIO:
        return Path(self.path).open("rb")


@dataclass(frozen=True)
class MemberBytes:
    """Reads one member of a zip; can be pickled."""

    archive: str
    member: str

    def __call__(self) -> bytes:
        try:
            return _open_zip(self.archive, os.getpid()).read(self.member)
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError) as error:  # RuntimeError: a password
            raise OSError(f"{self.archive}!{self.member}: damaged in the archive ({error})") from error

    def open(self) -> BinaryIO:
        """A stream: a header costs the unpacking of its first few kilobytes only."""
        return cast(BinaryIO, _open_zip(self.archive, os.getpid()).open(self.member))


@lru_cache(maxsize=4)
def _open_zip(archive: str, process: int) -> zipfile.ZipFile:
    """One handle per archive and process: a handle shared over a fork would mix up file positions."""
    try:
        return zipfile.ZipFile(archive)
    except zipfile.BadZipFile as error:
        raise DataError(f"{archive}: not a zip, or cut short ({error}). Download it again.") from error


def _walk(top: Path) -> Iterator[Path]:
    """What lies below a folder. Links to folders are followed, but into no folder twice: links may go round."""
    seen = {os.path.realpath(top)}
    for at, folders, names in os.walk(top, followlinks=True):
        folders[:] = sorted(name for name in folders if os.path.realpath(f"{at}/{name}") not in seen)
        seen.update(os.path.realpath(f"{at}/{name}") for name in folders)
        yield from (Path(at, name) for name in names)


@dataclass(frozen=True)
class FolderStore:
    """A folder on disk. Paths inside it are relative, with forward slashes, in both kinds of store."""

    root: str

    def files(self, folder: str = "", *, deep: bool = False) -> Iterator[str]:
        """Paths of the files in a folder (and below it, when `deep`), sorted."""
        top = Path(self.root, folder)
        if not top.is_dir():
            return
        found = _walk(top) if deep else top.iterdir()
        names = (path.relative_to(self.root).as_posix() for path in found if not path.name.startswith("."))
        yield from sorted(name for name in names if Path(self.root, name).is_file())

    def reader(self, name: str) -> FileBytes:
        return FileBytes(self.place(name))

    def place(self, name: str) -> str:
        """The full path, for messages."""
        return str(Path(self.root, name))


@dataclass(frozen=True)
class ZipStore:
    """A zip; `prefix` is the folder inside it that holds the data set ("" or "name/")."""

    root: str
    prefix: str = ""

    def files(self, folder: str = "", *, deep: bool = False) -> Iterator[str]:
        start = self.prefix + (folder.rstrip("/") + "/" if folder else "")
        for member in sorted(_open_zip(self.root, os.getpid()).namelist()):
            rest = member.removeprefix(start)
            hidden = member.rpartition("/")[2].startswith(".")  # what a Mac puts beside every file
            if member.startswith(start) and not hidden and not member.endswith("/") and (deep or "/" not in rest):
                yield member.removeprefix(self.prefix)

    def reader(self, name: str) -> MemberBytes:
        return MemberBytes(self.root, self.prefix + name)

    def place(self, name: str) -> str:
        return f"{self.root}!{self.prefix}{name}"


Store = FolderStore | ZipStore


def open_store(path: str | Path) -> Store:
    """The store at `path`: a folder, or a zip (whose data set may lie one folder down).

    Raises
    ------
    DataError : there is nothing there, or it is neither.
    """
    path = Path(path)
    if path.is_dir():
        return FolderStore(str(path))
    if not path.exists():
        raise DataError(f"{path}: no such folder or file. Give a data set's folder, or the zip as Kaggle serves it.")
    if path.suffix.lower() != ".zip":
        raise DataError(f"{path}: expected a folder or a .zip, found a {path.suffix or 'plain'} file.")
    names = _open_zip(str(path), os.getpid()).namelist()
    tops = {PurePosixPath(name).parts[0] for name in names if not name.startswith("__MACOSX")}
    only = tops.pop() if len(tops) == 1 else None
    nested = only is not None and any(name.startswith(f"{only}/") for name in names)
    return ZipStore(str(path), f"{only}/" if nested else "")


def find_table(store: Store, name: str) -> str | None:
    """The path of a table in the store, plain, .gz or .zip; None when it has none."""
    there = set(store.files())
    return next((name + ending for ending in _TABLE_ENDINGS if name + ending in there), None)


def table_text(data: bytes, name: str) -> str:
    """The text of a table file, unpacked when it is gzip or a zip of one file.

    Raises
    ------
    DataError : it cannot be unpacked, or is not UTF-8.
    """
    try:
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        elif data[:4] == b"PK\x03\x04":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                data = archive.read(archive.namelist()[0])
        return data.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise DataError(
            f"{name}: cannot be read as a table ({error}). Expected UTF-8 csv, plain, .gz or .zip."
        ) from error
