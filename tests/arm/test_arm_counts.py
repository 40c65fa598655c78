"""The arithmetic around instruction counts, and what is said where boards cannot be emulated. Needs no emulator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_pneumo.benchmarks.arm import count, userland
from edge_pneumo.benchmarks.arm.against import compare, read_counts, same_conditions
from edge_pneumo.benchmarks.arm.boards import BOARDS, write_board
from edge_pneumo.benchmarks.arm.estimate import REFERENCES, estimate_ms
from edge_pneumo.benchmarks.arm.subject import fingerprint, open_subject
from edge_pneumo.benchmarks.arm.table import to_markdown, to_text
from edge_pneumo.benchmarks.arm.userland import EmulatorUnavailable
from edge_pneumo.edge_runtime.bundle import open_bundle
from edge_pneumo.edge_runtime.flatbuffer import Graph, Tensor
from edge_pneumo.errors import InputRefused, ModelFileError, UsageFault

TINY = Path(__file__).parents[1] / "data" / "tiny.tflite"


COMMITTED = Path(__file__).parents[2] / "docs" / "results" / "arm-instructions.json"


def result(total: int, **row: Any) -> dict[str, Any]:
    counts = {**dict.fromkeys(count.CLASSES, 0), "total": total}
    facts = {"board": "pi4", "model": "m", "precision": "int8", "work": "network", "sha256": "a", "network": "n", **row}
    versions = {"qemu": "7.2.22", "python": "3.11", "wheels": ["numpy==2"]}
    return {"schema": 1, "unit": count.UNIT, **versions, "film_sha256": "f", "rows": [{**facts, **counts}]}


@pytest.mark.parametrize(
    ("total", "differs"), [(1_000_000, False), (1_000_900, False), (1_001_100, True), (998_000, True)]
)
def test_a_tenth_of_a_percent(total: int, differs: bool) -> None:
    comparison = compare(result(total), result(1_000_000))
    assert bool(comparison.changed) is differs and comparison.compared == (("pi4", "network", "m"),)
    assert all("instructions, not time" in line and "pi4 network m" in line for line in comparison.changed)


def test_a_network_trained_again_is_the_same_network() -> None:
    assert compare(result(2), result(1, sha256="b")).changed
    comparison = compare(result(2, network="other"), result(1))
    assert not comparison.compared and "NOT COMPARED, no such network" in comparison.left_out[0]


def test_a_whole_film_is_the_same_only_with_the_same_weights_and_film() -> None:
    assert compare(result(2, work="film"), result(1, work="film")).changed
    other_film = {**result(1, work="film"), "film_sha256": "g"}
    for earlier in (result(1, work="film", sha256="b"), other_film):
        comparison = compare(result(2, work="film"), earlier)
        assert not comparison.changed and not comparison.compared
        assert "NOT COMPARED, other weights or another film" in comparison.left_out[0]
        assert "scripts/results DATA RUN arm" in comparison.left_out[0]


def test_other_versions_are_named() -> None:
    assert same_conditions(result(1), result(1)) == ""
    assert "7.2.22 here, 8 committed" in same_conditions(result(1), {**result(1), "qemu": "8"})


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"qemu": 1, "python": 1, "wheels": 1, "rows": [{}]}'])
def test_a_foreign_file_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputRefused, match=r"a\.json: no instruction counts"):
        read_counts(tmp_path / "a.json")


def test_the_fingerprint_knows_shapes_and_types_and_nothing_else() -> None:
    kernel = Tensor("kernel", (3, 3, 1, 8), "int8", (0.1,), (0,), 72)
    graph = Graph((kernel,), (0,), (0,), 1, ())
    again = Tensor("renamed", (3, 3, 1, 8), "int8", (0.2,), (1,), 72)
    assert fingerprint(graph) == fingerprint(replace(graph, tensors=(again,)))
    assert fingerprint(graph) != fingerprint(replace(graph, tensors=(replace(kernel, shape=(3, 3, 1, 9)),)))
    assert fingerprint(graph) != fingerprint(replace(graph, tensors=(replace(kernel, dtype="float32"),)))


def test_a_network_without_our_trailer_is_bare(tmp_path: Path) -> None:
    ours = open_subject(TINY)
    assert (ours.name, ours.precision, ours.size_px, ours.bare) == ("tiny-test-model", "int8", 64, False)
    (tmp_path / "theirs.tflite").write_bytes(open_bundle(TINY, trial=False).tflite)
    theirs = open_subject(tmp_path / "theirs.tflite")
    assert theirs.bare and theirs.name == "theirs" and theirs.size_px == 64 and theirs.network == ours.network
    (tmp_path / "cut.tflite").write_bytes(TINY.read_bytes()[:30_000])
    with pytest.raises(ModelFileError):
        open_subject(tmp_path / "cut.tflite")
    with pytest.raises(UsageFault, match="no such model file"):
        open_subject(tmp_path / "nothing")


def test_the_estimate_gives_back_what_was_published_and_nothing_far_from_it() -> None:
    assert estimate_ms("pi4", 113_370_000) == pytest.approx(17.0)
    assert estimate_ms("pi5", 90_000_000) == pytest.approx(4 * 90 / 49.09)
    assert estimate_ms("pi5", 1_500_000) is None and estimate_ms("pi3", 300_000_000) is None


def test_the_estimate_rests_on_committed_counts() -> None:
    committed = read_counts(COMMITTED)
    rows = {row["board"]: row["total"] for row in committed["rows"] if row["model"] == "mobilenetv2-224"}
    assert {board: round(total / 1e6, 2) for board, total in rows.items()} == {
        board: reference.counted / 1e6 for board, reference in REFERENCES.items()
    }


def test_the_committed_page_is_what_the_command_writes() -> None:
    assert COMMITTED.with_suffix(".md").read_text("utf-8") == to_markdown(read_counts(COMMITTED))


def test_the_table_says_what_it_is() -> None:
    text = to_text(result(12_340_000))
    assert "instructions, not time" in text.splitlines()[0]
    assert "12.34" in text and "ESTIMATE" not in text
    guessed = to_text(result(113_370_000, estimated_ms_4_threads=17.0))
    assert "ROUGH ESTIMATE" in guessed and "somewhere around 17 ms (from 11 to 26)" in guessed


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
