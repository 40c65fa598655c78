"""What the tests of the model file share: the tiny real model, an empty verdict cache, and rewritten copies."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_pneumo.edge_runtime import trailer
from edge_pneumo.edge_runtime.bundle import Bundle, open_bundle, write_parts
from edge_pneumo.edge_runtime.flatbuffer import _Table

TINY = Path(__file__).parents[1] / "data" / "tiny.tflite"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Verdicts of trial runs go to a folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def tiny_path() -> Path:
    return TINY


@pytest.fixture(scope="session")
def tiny() -> Bundle:
    return open_bundle(TINY, trial=False)


@pytest.fixture
def rewrite(tiny: Bundle, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the tiny model with another network or other members, its manifest made to fit."""

    def write(tflite: bytes | None = None, name: str = "copy.tflite", **replaced: bytes) -> Path:
        network = tiny.tflite if tflite is None else tflite
        names = {"metadata": trailer.METADATA, "card": trailer.CARD, "labels": trailer.LABELS, "golden": trailer.GOLDEN}
        members = {**tiny.members, **{names[key]: value for key, value in replaced.items()}}
        members[trailer.MANIFEST] = trailer.manifest(network, members)
        write_parts(tmp_path / name, network, members)
        return tmp_path / name

    return write


@pytest.fixture(scope="session")
def deadly_network(tiny: Bundle) -> bytes:
    """The network with the weights of its first convolution declared absent: LiteRT 2.3 dies of it (SIGSEGV)."""
    graph = _Table(tiny.tflite, struct.unpack_from("<I", tiny.tflite)[0]).tables(2)[0]
    start, _ = graph.tables(3)[1]._vector(1)
    changed = bytearray(tiny.tflite)
    struct.pack_into("<i", changed, start + 4, -1)
    return bytes(changed)
