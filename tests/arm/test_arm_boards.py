"""The same bits on emulated Raspberry Pi 3, 4 and 5 as here: golden vectors, and whole films through `predict`."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_pneumo.benchmarks.arm import count
from edge_pneumo.benchmarks.arm.against import compare, read_counts, same_conditions
from edge_pneumo.benchmarks.arm.table import to_text
from edge_pneumo.benchmarks.arm.userland import Emulator, EmulatorUnavailable
from edge_pneumo.edge_runtime.bundle import default_model_path
from edge_pneumo.train.data.phantom import make_phantom

pytestmark = pytest.mark.arm
DATA = Path(__file__).parents[1] / "data"
TINY, FILM = DATA / "tiny.tflite", DATA / "phantom.dcm"
COMMITTED = Path(__file__).parents[2] / "docs" / "results" / "arm-instructions.json"
MODELS = [str(TINY), *(["default"] if default_model_path().exists() else [])]
BOARDS = ("pi3", "pi4", "pi5")


def say(capsys: pytest.CaptureFixture[str], line: str) -> None:
    """Put a line into the log of scripts/test-arm."""
    with capsys.disabled():
        print(f"\n{line}")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("board", BOARDS)
def test_golden_vectors(emulator: Emulator, board: str, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["-m", "edge_pneumo", "doctor", "--model", model, "--format", "json"]
    report = json.loads(emulator.run(board, arguments).stdout)
    backend = next(check["found"] for check in report["checks"] if check["name"] == "backend")
    assert "aarch64" in backend
    assert report["golden"]["bit_exact"], report["golden"]
    say(capsys, f"{board}: {Path(model).stem}: bit-exact on {report['golden']['vectors']} golden vectors ({backend})")


def without_timings(jsonl: str) -> list[dict[str, Any]]:
    return [{k: v for k, v in json.loads(line).items() if k != "timing_ms"} for line in jsonl.splitlines()]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Five films: real ones where there are any, else made-up ones."""
    real = Path(os.environ.get("EDGE_PNEUMO_DATA", "/nonexistent")) / "rsna-mini" / "stage_2_train_images"
    if real.is_dir():
        return [str(path) for path in sorted(real.glob("*.dcm"))[:5]]
    folder = tmp_path_factory.mktemp("phantom")
    make_phantom(folder, 5, seed=3)
    return [str(path) for path in sorted(folder.rglob("*.dcm"))]


@pytest.mark.parametrize("board", BOARDS)
def test_whole_films(emulator: Emulator, board: str, films: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["-m", "edge_pneumo", "predict", *films, "--model", MODELS[-1], "--format", "jsonl", "--jobs", "1"]
    here = subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True)
    there = emulator.run(board, arguments)
    expected = without_timings(here.stdout)
    assert len(expected) == 5 and {film["status"] for film in expected} == {"ok"}
    assert without_timings(there.stdout) == expected
    boxes = sum(len(film["boxes"]) for film in expected)
    say(capsys, f"{board}: five films through predict: JSON identical to this machine's ({boxes} boxes)")


def elf(words: list[int]) -> bytes:
    """A static arm64 program of these instructions (System V ABI, ELF-64: one loaded segment)."""
    code = struct.pack(f"<{len(words)}I", *words)
    base, size = 0x400000, 120 + len(code)
    ident = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, base + 120, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return ident + header + struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000) + code


def movz(register: int, value: int) -> int:
    return 0xD2800000 | value << 5 | register


def mark(label: int) -> list[int]:
    return [movz(8, 141), movz(0, 0x4E55), 0xF2A00000 | 0x4550 << 5, movz(1, label), 0xD4000001]


def test_the_counter_counts(emulator: Emulator, tmp_path: Path) -> None:
    """Hand-made machine code with known counts: a loop of one instruction of each class."""
    try:
        plugin = count.build_plugin(emulator)
    except EmulatorUnavailable as error:
        pytest.skip(f"INSTRUCTIONS NOT COUNTED: {error}")
    rounds = 10_000
    body = [
        0x4E829420,  # sdot v0.4s, v1.16b, v2.16b
        0x0E25C083,  # smull v3.8h, v4.8b, v5.8b
        0x4E28CCE6,  # fmla v6.4s, v7.4s, v8.4s
        0xF94003E9,  # ldr x9, [sp]
        0x9100054A,  # add x10, x10, #1
        0xF1000673,  # subs x19, x19, #1
    ]
    loop = [*body, 0x54000001 | (-len(body) & 0x7FFFF) << 5]  # b.ne to the start
    program = [*mark(0), movz(19, rounds), *loop, *mark(1), movz(8, 93), movz(0, 0), 0xD4000001]
    path, out = tmp_path / "loop", tmp_path / "counts"
    path.write_bytes(elf(program))
    path.chmod(0o755)
    command = ["qemu-aarch64", "-cpu", "cortex-a76", "-plugin", f"{plugin},out={out}", str(path)]
    subprocess.run(command, check=True)
    first, second = ([int(word) for word in line.split()[1:]] for line in out.read_text().splitlines())
    counted = {name: b - a for name, a, b in zip(count.CLASSES, first, second, strict=True)}
    expected = {"total": 7, "load_store": 1, "branch": 1, "integer": 2, "vector": 3}
    expected |= {"dot": 1, "wide_multiply": 1, "fused_float": 1, "other": 0}
    for name, each in expected.items():
        assert 0 <= counted[name] - each * rounds < 20, (name, counted)


def test_dot_products_and_committed_counts(emulator: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        count.build_plugin(emulator)
    except EmulatorUnavailable as error:
        pytest.skip(f"INSTRUCTIONS NOT COUNTED: {error}")
    committed = read_counts(COMMITTED)
    networks = {"pi3": ["network"], "pi4": ["network"], "pi5": ["network"]}
    found = count.measure(emulator, [TINY], FILM, {**networks, "pi5": ["network", "film"]})
    found["rows"] += count.measure(emulator, MODELS[1:], FILM, networks)["rows"]
    for row in found["rows"]:
        if row["work"] == "network":
            assert (row["dot"] > 100_000) == (row["board"] == "pi5"), row
    dots = next(row["dot"] for row in found["rows"] if row["board"] == "pi5")
    say(
        capsys,
        f"pi5 (Cortex-A76): XNNPACK's dot-product kernels are in use: {dots:,} SDOT/UDOT in one inference of "
        f"{found['rows'][0]['model']}; pi3, pi4: none, as their cores have no such instruction",
    )
    say(capsys, to_text(found))
    why_not = same_conditions(found, committed)
    if why_not:
        pytest.skip(f"COUNTS NOT COMPARED: other versions than the committed ones ({why_not})")
    comparison = compare(found, committed)
    for line in comparison.left_out:
        say(capsys, line)
    assert comparison.changed == ()
    tiny = {(row["board"], row["work"], row["model"]) for row in found["rows"][:4]}
    assert tiny <= set(comparison.compared), "tiny.tflite is committed, so its counts must be too"
    say(capsys, f"{len(comparison.compared)} of {len(found['rows'])} counts within 0.1 % of {COMMITTED.name}")
