"""Data sets made on the spot: a small phantom, and helpers that spoil a copy of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_pneumo.cli import main
from edge_pneumo.train.data.phantom import make_phantom


@pytest.fixture(scope="session")
def phantom_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty films of 128 px in the Kaggle layout; not to be written to."""
    return make_phantom(tmp_path_factory.mktemp("phantom") / "films", 20, seed=3, size_px=128)


@pytest.fixture
def phantom(phantom_once: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(phantom_once, tmp_path / "films"))


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line; gives exit code, stdout and stderr."""

    def run(*args: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in args])
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run
