"""Folders, zip files and stdin -> one `Source` a film, in a fixed order, each answered."""

from __future__ import annotations

import os
import pickle
import warnings
import zipfile

import pytest
from ingest_films import chest, film, written

from edge_pneumo.edge_runtime import limits
from edge_pneumo.edge_runtime.radiograph import read_radiograph
from edge_pneumo.edge_runtime.sources import Source, find_films
from edge_pneumo.errors import DataError, FilmRefused

FILM = written(film())


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "b" / "deep").mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    for name in ("b/deep/IM1", "b/2.dcm", "a.dcm", ".DS_Store", ".hidden/x.dcm"):
        (tmp_path / name).write_bytes(FILM)
    with zipfile.ZipFile(tmp_path / "c.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("z/1.dcm", "0.dcm", "__MACOSX/._0.dcm", "z/.DS_Store"):
            archive.writestr(name, FILM)
    return tmp_path


def test_order_names_and_bytes(folder):
    found = list(find_films([folder, "-"]))
    names = [os.path.relpath(s.name, folder) for s in found[:-1]]
    assert names == ["a.dcm", "c.zip/z/1.dcm", "c.zip/0.dcm", "b/2.dcm", "b/deep/IM1"]
    assert found[-1] == Source("<stdin>", "-")
    for source in found[:-1]:
        assert pickle.loads(pickle.dumps(source)).read() == FILM
        assert (read_radiograph(source).pixels == chest()).all()
        assert read_radiograph(source).source == source.name


def test_a_missing_path_is_said_at_once(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        list(find_films([tmp_path / "nothing"]))


@pytest.mark.parametrize("damage", ["cut", "bits", "not a zip"])
def test_damaged_zip_files_are_refused_and_do_not_stop(folder, damage):
    path = folder / "c.zip"
    data = path.read_bytes()
    path.write_bytes(
        {"cut": data[:-60], "bits": data[:60] + b"\xff" * 200 + data[260:], "not a zip": b"PK\3\4 no"}[damage]
    )
    refused = 0
    for source in find_films([path]):
        try:
            read_radiograph(source)
        except FilmRefused as refusal:
            assert refusal.reason in ("unreadable", "not-dicom")
            refused += 1
    assert refused


def test_a_zip_member_that_swells_is_stopped(folder, monkeypatch):
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", 1000)
    with pytest.raises(FilmRefused, match="over 1,000 bytes"):
        read_radiograph(next(find_films([folder / "c.zip"])))


def test_pipes_and_devices_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(FilmRefused, match="not a regular file"):
            read_radiograph(path)
    with pytest.raises(FilmRefused, match="a folder"):
        read_radiograph(tmp_path)


def test_odd_entries_of_a_zip_are_answered_each_with_its_own_bytes(tmp_path):
    """Names that lead out of the folder (nothing is unpacked) and names given twice."""
    path = tmp_path / "odd.zip"
    other = written(film(chest(seed=2)))
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile says that a name comes twice
        for name, data in (("1.dcm", FILM), ("1.dcm", other), ("../../2.dcm", FILM), ("./3.dcm", FILM)):
            archive.writestr(name, data)
    found = list(find_films([path]))
    assert [source.name.removeprefix(f"{path}/") for source in found] == [
        "1.dcm",
        "1.dcm (2)",
        "../../2.dcm",
        "./3.dcm",
    ]
    assert [source.read() for source in found] == [FILM, other, FILM, FILM]


def test_a_folder_that_may_not_be_read_is_answered(folder, monkeypatch):
    """Its films would otherwise be missing without a word. (Root may read all, so the refusal is played.)"""
    real = os.scandir

    def shut(path):
        if os.fspath(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", shut)
    names = [os.path.relpath(source.name, folder) for source in find_films([folder])]
    assert names == ["a.dcm", "c.zip/z/1.dcm", "c.zip/0.dcm", "b/2.dcm", "b/deep"]


def test_links_that_lead_round_are_walked_once(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "film.dcm").write_bytes(b"x")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert [source.path for source in find_films([tmp_path])] == [str(tmp_path / "a" / "film.dcm")]
