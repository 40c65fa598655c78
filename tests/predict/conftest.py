"""Fixtures of the tests of `predict`; the films are drawn in `predict_films.py`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from predict_films import MODEL, dicom_chest, drawn_chest


@pytest.fixture
def model() -> str:
    """Path of a real int8 detector of 64 px, untrained."""
    return MODEL


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A folder: two DICOM films, a PNG and a JPEG of one name each, a text file."""
    folder = tmp_path / "films"
    (folder / "deeper").mkdir(parents=True)
    (folder / "a.dcm").write_bytes(dicom_chest(1))
    (folder / "deeper" / "a.dcm").write_bytes(dicom_chest(2))
    drawn_chest(3).save(folder / "b.png")
    drawn_chest(4).save(folder / "c.jpg", quality=90)
    (folder / "notes.txt").write_text("not a film")
    return folder


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `edge-pneumo` in this process: (exit code, stdout, stderr)."""
    from edge_pneumo.cli import main

    def run(*args: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in args])
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    return run
