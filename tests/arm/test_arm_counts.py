"""The arithmetic around instruction counts, and what is said where boards cannot be emulated. Needs no emulator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge_pneumo.benchmarks.arm import count, userland
from edge_pneumo.benchmarks.arm.boards import BOARDS, write_board
from edge_pneumo.benchmarks.arm.estimate import estimate_ms
from edge_pneumo.benchmarks.arm.userland import EmulatorUnavailable
from edge_pneumo.errors import VerificationFailed


def result(total: int, **row: Any) -> dict[str, Any]:
    counts = {**dict.fromkeys(count.CLASSES, 0), "total": total}
    facts = {"board": "pi4", "model": "m", "precision": "int8", "work": "network", "sha256": "a", **row}
    versions = {"qemu": "7.2.22", "python": "3.11", "wheels": ["numpy==2"]}
    return {"schema": 1, "unit": count.UNIT, **versions, "rows": [{**facts, **counts}]}


@pytest.mark.parametrize(
    ("total", "differs"), [(1_000_000, False), (1_000_900, False), (1_001_100, True), (998_000, True)]
)
def test_a_tenth_of_a_percent(total: int, differs: bool) -> None:
    lines = count.compare(result(total), result(1_000_000))
    assert bool(lines) is differs
    assert all("instructions, not time" in line and "pi4 network m" in line for line in lines)


def test_nothing_to_compare() -> None:
    with pytest.raises(VerificationFailed, match="nothing to compare with"):
        count.compare(result(1), result(1, sha256="b"))


def test_other_versions_are_named() -> None:
    assert count.same_conditions(result(1), result(1)) == ""
    assert "7.2.22 here, 8 committed" in count.same_conditions(result(1), {**result(1), "qemu": "8"})


def test_the_estimate_gives_back_what_was_published() -> None:
    assert estimate_ms("pi4", 113_280_000) == pytest.approx(17.0)
    assert estimate_ms("pi5", 98_000_000) == pytest.approx(8.0)


def test_the_table_says_what_it_is() -> None:
    text = count.to_text(result(12_340_000))
    assert "instructions, not time" in text.splitlines()[0]
    assert "12.34" in text


def test_board_files(tmp_path: Path) -> None:
    (tmp_path / "root" / "usr").mkdir(parents=True)
    write_board(BOARDS["pi5"], tmp_path / "root", tmp_path / "pi5")
    cpuinfo = (tmp_path / "pi5" / "proc" / "cpuinfo").read_text()
    assert cpuinfo.count("CPU part\t: 0xd0b") == 4 and "asimddp" in cpuinfo
    assert (tmp_path / "pi5" / "usr").resolve() == tmp_path / "root" / "usr"
    for board in ("pi3", "pi4"):
        assert "asimddp" not in BOARDS[board].features  # ARMv8.0 cores have no dot product


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(userland.shutil, "which", lambda tool: None)
    with pytest.raises(EmulatorUnavailable, match=r"qemu-aarch64 not found\. On Debian: apt-get install qemu-user"):
        userland.build(tmp_path)
    monkeypatch.setattr(userland.shutil, "which", lambda tool: f"/usr/bin/{tool}")
    monkeypatch.setattr(userland.platform, "freedesktop_os_release", lambda: {"VERSION_CODENAME": "noble"})
    with pytest.raises(EmulatorUnavailable, match="this is 'noble'"):
        userland.build(tmp_path)
