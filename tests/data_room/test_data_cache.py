"""Films as the network sees them, and the cache that must never change what it sees."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_pneumo.edge_runtime.preprocess import InputSpec, preprocess
from edge_pneumo.edge_runtime.radiograph import read_radiograph
from edge_pneumo.errors import DataError
from edge_pneumo.train.data import pack
from edge_pneumo.train.data.cache import load_images
from edge_pneumo.train.data.film import DataSet
from edge_pneumo.train.data.index import load_dataset
from edge_pneumo.train.data.pack import content_key, open_cache

SPEC = InputSpec(96)


@pytest.fixture
def films(phantom: Path) -> DataSet:
    return load_dataset(phantom)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the films that were decoded, not taken from the cache."""
    names: list[str] = []

    def counted(source, **options):
        names.append(options["name"])
        return read_radiograph(source, **options)

    monkeypatch.setattr("edge_pneumo.train.data.cache.read_radiograph", counted)
    return names


def test_pixels_are_the_runtimes_own(films: DataSet) -> None:
    inputs, geometry, kept, refused = load_images(films.films, SPEC)
    assert (inputs.shape, inputs.dtype, kept, refused) == ((20, 96, 96, 1), np.uint8, list(range(20)), [])
    for film, pixels, where in zip(films, inputs, geometry, strict=True):
        expected, place = preprocess(read_radiograph(film.read(), size_px=96), SPEC)
        np.testing.assert_array_equal(pixels, expected)
        assert where == place


def test_second_run_decodes_nothing_and_gives_the_same(films: DataSet, tmp_path: Path, decoded: list[str]) -> None:
    first = load_images(films.films, SPEC, tmp_path / "cache", jobs=3)
    assert len(decoded) == 20
    second = load_images(films.films, SPEC, tmp_path / "cache", jobs=3)
    assert len(decoded) == 20
    np.testing.assert_array_equal(first[0], second[0])
    assert first[1:] == second[1:]


def test_a_killed_run_is_gone_on_with(films: DataSet, tmp_path: Path, decoded: list[str]) -> None:
    load_images(films.films[:12], SPEC, tmp_path)
    file = next(tmp_path.glob("*.pack"))
    file.write_bytes(file.read_bytes()[:-1000])  # killed while it wrote the twelfth
    inputs, *_ = load_images(films.films, SPEC, tmp_path)
    assert len(decoded) == 12 + 9
    np.testing.assert_array_equal(inputs, load_images(films.films, SPEC)[0])
    decoded.clear()
    load_images(films.films, SPEC, tmp_path)
    assert decoded == []


def test_changed_films_are_noticed_and_moved_ones_are_not(films: DataSet, tmp_path: Path, decoded: list[str]) -> None:
    load_images(films.films, SPEC, tmp_path / "cache")
    a, b = Path(films.films[0].path), Path(films.films[1].path)
    kept_times = a.stat()
    a.write_bytes(b.read_bytes().ljust(kept_times.st_size, b"\0")[: max(kept_times.st_size, b.stat().st_size)])
    os.utime(a, ns=(kept_times.st_atime_ns, kept_times.st_mtime_ns))
    for path in films.films[2:]:
        Path(path.path).rename(Path(path.path).with_suffix(".dicom"))
    decoded.clear()
    moved = load_dataset(Path(films.root))
    load_images(moved.films, SPEC, tmp_path / "cache")
    assert decoded in ([str(a)], [])  # [] when the padded copy is exactly the other film
    again, *_ = load_images(moved.films, SPEC)
    np.testing.assert_array_equal(load_images(moved.films, SPEC, tmp_path / "cache")[0], again)


@pytest.mark.parametrize("spec", [InputSpec(64), InputSpec(96, fill=7)])
def test_changed_settings_are_another_cache(
    films: DataSet, tmp_path: Path, decoded: list[str], spec: InputSpec
) -> None:
    load_images(films.films, SPEC, tmp_path)
    load_images(films.films, spec, tmp_path)
    assert len(decoded) == 40
    assert len(list(tmp_path.glob("*.pack"))) == 2


def test_changed_code_is_another_cache(films: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    before = pack.settings_key(SPEC)
    monkeypatch.setattr(pack.PIL, "__version__", "0.0")
    assert pack.settings_key(SPEC) != before


@pytest.mark.parametrize("spoil", ["flip", "header", "garbage", "empty", "zeros"])
def test_a_corrupt_cache_is_rebuilt(films: DataSet, tmp_path: Path, decoded: list[str], spoil: str) -> None:
    good, *_ = load_images(films.films, SPEC, tmp_path)
    file = next(tmp_path.glob("*.pack"))
    data = bytearray(file.read_bytes())
    if spoil == "flip":
        data[len(data) // 2] ^= 0xFF
    elif spoil == "header":
        data[0] ^= 0xFF
    elif spoil == "garbage":
        data = bytearray(os.urandom(len(data)))
    elif spoil == "empty":
        data = bytearray()
    else:
        data[16:] = bytes(len(data) - 16)
    file.write_bytes(data)
    decoded.clear()
    rebuilt, *_ = load_images(films.films, SPEC, tmp_path)
    np.testing.assert_array_equal(rebuilt, good)
    assert len(decoded) == (1 if spoil == "flip" else 20)
    decoded.clear()
    np.testing.assert_array_equal(load_images(films.films, SPEC, tmp_path)[0], good)
    assert decoded == []


def test_a_full_disk_costs_the_cache_and_nothing_else(
    films: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, written = os.write, []

    def full(file: int, data: bytes) -> int:
        written.append(len(data))
        if len(written) > 4:
            real(file, bytes(data[:100]))  # a disk fills in the middle of a record
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, data)

    monkeypatch.setattr(pack.os, "write", full)
    inputs, *_ = load_images(films.films, SPEC, tmp_path)
    monkeypatch.undo()
    assert caplog.text.count("cannot write the film cache (No space left on device)") == 1
    np.testing.assert_array_equal(inputs, load_images(films.films, SPEC)[0])
    cache = open_cache(tmp_path, SPEC)
    assert cache is not None
    assert len(cache) == 3  # what was whole stays; the half record is gone
    cache.close()


def test_a_folder_that_cannot_be_used(films: DataSet, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    inputs, *_ = load_images(films.films, SPEC, tmp_path / "file" / "cache")
    assert len(inputs) == 20
    assert "going on without it" in caplog.text


def test_one_unreadable_film_is_skipped_and_reported(films: DataSet, tmp_path: Path) -> None:
    bad = films.films[4]
    Path(bad.path).write_bytes(bad.read()[:5000])
    Path(films.films[7].path).unlink()
    inputs, geometry, kept, refused = load_images(films.films, SPEC, tmp_path)
    assert len(inputs) == len(geometry) == len(kept) == 18
    assert [film.film_id for film, _ in refused] == [bad.film_id, films.films[7].film_id]
    assert [film.label for film in films][5] == films.films[kept[4]].label
    assert refused[1][1].reason == "unreadable"


def test_too_many_unreadable_films_stop(films: DataSet) -> None:
    for film in films.films[:5]:
        Path(film.path).write_bytes(b"not a film")
    with pytest.raises(DataError, match=r"5 of 20 films cannot be read .*First: .*data check"):
        load_images(films.films, SPEC)


def test_content_key_is_of_bytes(films: DataSet) -> None:
    film = films.films[0]
    assert content_key(film.read()) == content_key(replace(film, film_id="other").read())
    assert content_key(b"a") != content_key(b"b")
