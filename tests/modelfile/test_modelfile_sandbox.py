"""A stranger's network meets the interpreter in a child process first."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_pneumo.edge_runtime import bundle as bundle_module
from edge_pneumo.edge_runtime import sandbox
from edge_pneumo.edge_runtime.backends import BackendUnavailable
from edge_pneumo.edge_runtime.bundle import Bundle, open_bundle, pinned_sha256
from edge_pneumo.errors import ModelFileError


def forbid_children(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a child process was started")

    monkeypatch.setattr(subprocess, "run", refuse)


def test_a_network_that_kills_the_interpreter_does_not_kill_us(
    deadly_network: bytes, rewrite: Callable[..., Path]
) -> None:
    """Most often it crashes; what undefined behaviour does is up to the machine's memory of that moment."""
    path = rewrite(deadly_network)
    with pytest.raises(ModelFileError, match=r"(crashed the interpreter|failed) in a trial run"):
        open_bundle(path)


@pytest.mark.parametrize("signal_name", ["SIGSEGV", "SIGABRT", "SIGBUS"])
def test_a_child_that_crashed_is_told_by_its_signal(
    tiny_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, signal_name: str
) -> None:
    number = getattr(signal, signal_name).value
    real = subprocess.run

    def crash(command: list[str], **options: object) -> subprocess.CompletedProcess:
        return real([sys.executable, "-c", f"import os; os.kill(os.getpid(), {number})"], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", crash)
    with pytest.raises(ModelFileError, match=rf"crashed the interpreter in a trial run \({signal_name}\)"):
        open_bundle(tiny_path)


def test_a_damaged_network_with_a_fitting_manifest(tiny: Bundle, rewrite: Callable[..., Path]) -> None:
    damaged = bytearray(tiny.tflite)
    damaged[0:4] = (len(damaged) * 2).to_bytes(4, "little")  # the root offset leads outside
    with pytest.raises(ModelFileError, match="cut short or damaged"):
        open_bundle(rewrite(bytes(damaged)))


def test_a_grid_that_is_not_as_the_metadata_says(tiny: Bundle, rewrite: Callable[..., Path]) -> None:
    metadata = {**tiny.metadata, "decode": {**tiny.metadata["decode"], "stride": 8}}
    with pytest.raises(ModelFileError, match=r"has 4 cells a side, its metadata says 64 px in strides of 8\. Do not"):
        open_bundle(rewrite(metadata=json.dumps(metadata).encode()))


def test_the_verdict_is_remembered(tiny_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_bundle(tiny_path)
    (verdict,) = (own_cache / "edge-pneumo" / "admitted").iterdir()
    assert verdict.name.startswith(open_bundle(tiny_path).sha256)
    forbid_children(monkeypatch)
    open_bundle(tiny_path)


def test_a_refusal_is_not_remembered(deadly_network: bytes, rewrite: Callable[..., Path], own_cache: Path) -> None:
    path = rewrite(deadly_network)
    for _ in range(2):
        with pytest.raises(ModelFileError, match="in a trial run"):
            open_bundle(path)
    assert not (own_cache / "edge-pneumo" / "admitted").exists()


def test_the_pinned_default_needs_no_child(
    tiny: Bundle, tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "default.tflite"
    model.write_bytes(tiny_path.read_bytes())
    monkeypatch.setattr(bundle_module, "default_model_path", lambda: model)
    forbid_children(monkeypatch)
    model.with_suffix(".sha256").write_text(f"{tiny.sha256}  default.tflite\n")
    assert open_bundle("default").sha256 == tiny.sha256
    assert open_bundle(tiny_path).sha256 == tiny.sha256
    model.with_suffix(".sha256").write_text("0" * 64 + "  default.tflite\n")
    with pytest.raises(ModelFileError, match="the embedded model was changed"):
        open_bundle("default")


def test_the_embedded_default_is_pinned() -> None:
    path = bundle_module.default_model_path()
    if not path.exists():
        pytest.skip("NO DEFAULT MODEL in this tree yet: scripts/embed-default makes it")
    assert open_bundle("default", trial=False).sha256 == pinned_sha256()


def test_a_system_without_child_processes(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_processes(*_: Any, **__: Any) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "run", no_processes)
    with pytest.raises(ModelFileError, match="needs a child process"):
        open_bundle(tiny_path)


def test_a_network_that_never_ends(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(command: list[str], **options: Any) -> None:
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(subprocess, "run", slow)
    with pytest.raises(ModelFileError, match="did not answer within 60 s"):
        open_bundle(tiny_path)


def test_a_cache_that_cannot_be_written(tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert open_bundle(tiny_path).name == "tiny-test-model"


def test_a_user_without_a_home(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr(sandbox, "_remember", lambda verdict: None)
    assert open_bundle(tiny_path).name == "tiny-test-model"


def test_the_child_looks_only_at_the_file_it_was_told_of(tiny_path: Path) -> None:
    with pytest.raises(ModelFileError, match="changed while it was being checked"):
        sandbox.admit(tiny_path, "0" * 64)


def test_a_machine_that_cannot_run_anything_does_not_blame_the_model(
    tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def child(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, sandbox.CANNOT_RUN, "", "tflite-runtime needs numpy<2\n")

    monkeypatch.setattr(subprocess, "run", child)
    with pytest.raises(BackendUnavailable, match=r"^tflite-runtime needs numpy<2$"):
        open_bundle(tiny_path)
