"""Every file that is not exactly what `convert` wrote is refused, with a message and without a crash."""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_pneumo.edge_runtime import trailer
from edge_pneumo.edge_runtime.bundle import Bundle, open_bundle
from edge_pneumo.edge_runtime.engine import open_engine
from edge_pneumo.edge_runtime.golden import Golden, check_golden
from edge_pneumo.errors import ModelFileError, UsageFault


def zip_of_nothing(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")


FOREIGN: list[tuple[str, Callable[[Path, Bundle], object], str]] = [
    ("plain .tflite", lambda p, b: p.write_bytes(b.tflite), "without our trailer"),
    ("text", lambda p, b: p.write_text("hello, this is no model"), "expected the mark TFL3"),
    ("empty", lambda p, b: p.write_bytes(b""), "expected the mark TFL3"),
    ("onnx", lambda p, b: p.write_bytes(b"\x08\x08\x12\x07pytorch" + bytes(500)), "expected the mark TFL3"),
    ("folder", lambda p, b: p.mkdir(), "found a folder"),
    ("zip", lambda p, b: zip_of_nothing(p), "expected the mark TFL3"),
    ("mark only", lambda p, b: p.write_bytes(b"\0\0\0\0TFL3"), "without our trailer"),
    ("noise", lambda p, b: p.write_bytes(random.Random(0).randbytes(9999)), "expected the mark TFL3"),
    ("text after", lambda p, b: p.write_bytes(b.path.read_bytes() + b"\n"), "without our trailer"),
    ("twice", lambda p, b: p.write_bytes(b.path.read_bytes() * 2), "without our trailer"),
]


@pytest.mark.parametrize(("make", "message"), [case[1:] for case in FOREIGN], ids=[case[0] for case in FOREIGN])
def test_foreign_files(make: Callable[[Path, Bundle], object], message: str, tiny: Bundle, tmp_path: Path) -> None:
    make(tmp_path / "m.tflite", tiny)
    with pytest.raises(ModelFileError, match=message):
        open_bundle(tmp_path / "m.tflite")


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="no such model file"):
        open_bundle(tmp_path / "m.tflite")


def test_a_zip_tool_that_rewrites_the_trailer_is_noticed(tiny_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(tiny_path.read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("note.txt", "added by hand")
    with pytest.raises(ModelFileError, match=r"rewritten by another tool|without our trailer"):
        open_bundle(path)


SCHEMAS = [
    (2, "Upgrade edge-pneumo"),
    (99, "reads schema 1"),
    (0, "Convert the model again"),
    ("1", "schema '1'"),
    (None, "schema None"),
    (True, "schema True"),
]


@pytest.mark.parametrize(("schema", "message"), SCHEMAS)
def test_other_schemas(schema: object, message: str, tiny: Bundle, rewrite: Callable[..., Path]) -> None:
    path = rewrite(metadata=json.dumps({**tiny.metadata, "schema": schema}).encode())
    with pytest.raises(ModelFileError, match=message):
        open_bundle(path)


BAD_METADATA = [
    (b"{", "is not JSON"),
    (b"[1]", "holds no JSON object"),
    (b"\xff\xfe", "is not JSON"),
    (b"[" * 100_000, "is not JSON"),
    (b'{"schema": 1}', "does not describe"),
    (b'{"schema": 1, "name": "a", "version": "1", "input": {}, "decode": {}}', "does not describe"),
    (b'{"schema": 1, "name": "a", "version": "1", "input": 5, "decode": {}}', "does not describe"),
]


@pytest.mark.parametrize(("metadata", "message"), BAD_METADATA)
def test_bad_metadata(metadata: bytes, message: str, rewrite: Callable[..., Path]) -> None:
    with pytest.raises(ModelFileError, match=message):
        open_bundle(rewrite(metadata=metadata))


def test_golden_vectors_that_are_none(rewrite: Callable[..., Path]) -> None:
    bundle = open_bundle(rewrite(golden=b"not an npz"), trial=False)
    with pytest.raises(ModelFileError, match=r"golden\.npz cannot be read"):
        _ = bundle.golden


def test_golden_vectors_of_another_network(tiny: Bundle) -> None:
    golden = tiny.golden
    assert golden is not None
    wide = Golden(np.zeros((1, 96, 96, 1), np.uint8), golden.outputs, "x")
    with pytest.raises(ModelFileError, match="the network takes"):
        check_golden(open_engine(tiny.tflite, spec=tiny.input_spec), wide)


def test_swapped_trailers(tiny: Bundle, rewrite: Callable[..., Path], tmp_path: Path) -> None:
    other_network = bytearray(tiny.tflite)
    other_network[len(other_network) // 2] ^= 1
    other = rewrite(bytes(other_network), name="other.tflite").read_bytes()[len(tiny.tflite) :]
    path = tmp_path / "swapped.tflite"
    path.write_bytes(tiny.tflite + other)
    with pytest.raises(ModelFileError, match="the network was changed"):
        open_bundle(path)


@pytest.mark.parametrize("member", [trailer.METADATA, trailer.CARD, trailer.LABELS, trailer.GOLDEN])
def test_a_member_changed_after_the_manifest(member: str, tiny: Bundle, tmp_path: Path) -> None:
    members = {**tiny.members, member: tiny.members[member] + b" "}
    path = tmp_path / "m.tflite"
    path.write_bytes(tiny.tflite + trailer.pack(members, len(tiny.tflite)))
    with pytest.raises(ModelFileError, match=f"changed after the manifest was made: {member}"):
        open_bundle(path)


def mutate(data: bytes, tiny: Bundle, draw: random.Random) -> bytes:
    """One damaged copy: cut, bits flipped anywhere or in the trailer, bytes put in or taken out, or trailers mixed."""
    start, size = len(tiny.tflite), len(data)
    kind = draw.randrange(6)
    if kind == 0:
        return data[: draw.randrange(size)]
    if kind in (1, 2):
        damaged = bytearray(data)
        for _ in range(draw.choice((1, 1, 8))):
            damaged[draw.randrange(start if kind == 2 else 0, size)] ^= 1 << draw.randrange(8)
        return bytes(damaged)
    if kind == 3:
        at = draw.randrange(size)
        return data[:at] + draw.randbytes(draw.randrange(1, 64)) + data[at:]
    if kind == 4:
        at = draw.randrange(size)
        return data[:at] + data[at + draw.randrange(1, 64) :]
    members = {**tiny.members, trailer.LABELS: draw.randbytes(6)}
    return tiny.tflite + trailer.pack(members, start + draw.choice((0, 1, -1)))


def test_a_thousand_mutated_copies(tiny: Bundle, tiny_path: Path, tmp_path: Path) -> None:
    data, draw, path = tiny_path.read_bytes(), random.Random(42), tmp_path / "m.tflite"
    messages = set()
    for number in range(1000):
        copy = mutate(data, tiny, draw)
        if copy == data:  # two flips of the same bit
            continue
        path.write_bytes(copy)  # no trial run: such a copy must fail before it
        with pytest.raises(ModelFileError) as refusal:
            open_bundle(path)
        messages.add(str(refusal.value).replace(str(path), "").split(":")[1].split("(")[0][:40])
        assert str(path) in str(refusal.value), number
    assert len(messages) >= 4


BAD_NUMBERS = [
    ("decode", "stride", 0),
    ("decode", "stride", 16.0),
    ("decode", "max_boxes", -3),
    ("decode", "max_boxes", 10**12),
    ("decode", "nms_iou", -1.0),
    ("decode", "box_scale", -1.0),
    ("decode", "vote_iou", 0.0),
    ("input", "scale", 0.0),
    ("input", "fill", 300),
    ("input", "zero_point", 3.5),
]


@pytest.mark.parametrize(("part", "key", "value"), BAD_NUMBERS)
def test_numbers_that_cannot_be_meant(
    part: str, key: str, value: float, tiny: Bundle, rewrite: Callable[..., Path]
) -> None:
    metadata = {**tiny.metadata, part: {**tiny.metadata[part], key: value}}
    with pytest.raises(ModelFileError, match=rf"{part}\.{key} is {value!r}, expected".replace("+", r"\+")):
        open_bundle(rewrite(metadata=json.dumps(metadata).encode()), trial=False)
