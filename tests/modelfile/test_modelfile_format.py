"""The file's form: any zip tool and any TFLite runtime read it; the flatbuffer reader agrees with LiteRT."""

from __future__ import annotations

import hashlib
import json
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edge_pneumo.edge_runtime import trailer
from edge_pneumo.edge_runtime.bundle import Bundle, describe_decode, describe_input, open_bundle, write_bundle
from edge_pneumo.edge_runtime.decode import DecodeSpec
from edge_pneumo.edge_runtime.flatbuffer import Graph, read_graph
from edge_pneumo.edge_runtime.golden import golden_inputs
from edge_pneumo.edge_runtime.preprocess import InputSpec
from edge_pneumo.errors import ModelFileError, WriteFailed

litert = pytest.importorskip("ai_edge_litert.interpreter")


def test_python_zipfile_reads_the_trailer(tiny_path: Path) -> None:
    with zipfile.ZipFile(tiny_path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [n for n in trailer.ORDER if n != trailer.SIGNATURE]
        metadata = json.loads(archive.read(trailer.METADATA))
        assert {i.compress_type for i in archive.infolist()} == {zipfile.ZIP_STORED}
    data = tiny_path.read_bytes()
    assert metadata["tflite"]["sha256"] == hashlib.sha256(data[: metadata["tflite"]["bytes"]]).hexdigest()
    assert metadata["schema"] == 1


def test_litert_loads_the_whole_file_unchanged(tiny: Bundle, tiny_path: Path) -> None:
    whole = litert.Interpreter(model_path=str(tiny_path))
    bare = litert.Interpreter(model_content=tiny.tflite)
    assert whole.get_signature_list() == bare.get_signature_list()
    assert sorted(whole.get_signature_list()["serving_default"]["outputs"]) == ["heat", "image_logit", "ltrb"]


def test_bundle_fields(tiny: Bundle, tiny_path: Path) -> None:
    assert tiny.sha256 == hashlib.sha256(tiny_path.read_bytes()).hexdigest()
    assert (tiny.name, tiny.labels) == ("tiny-test-model", ("opacity",))
    assert tiny.input_spec == InputSpec(64)
    assert tiny.decode_spec.operating_points == {"balanced": 0.5, "sensitive": 0.2}
    assert tiny.metadata["outputs"]["heat"]["shape"] == [1, 4, 4, 1]
    assert tiny.golden is not None and tiny.golden.inputs.shape == (4, 64, 64, 1)


def test_flatbuffer_reader_agrees_with_litert(tiny: Bundle) -> None:
    graph = read_graph(tiny.tflite)
    interpreter = litert.Interpreter(
        model_content=tiny.tflite,
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    details = interpreter.get_tensor_details()
    assert len(graph.tensors) == len(details)
    for ours, theirs in zip(graph.tensors, details, strict=True):
        assert (ours.name, ours.dtype) == (theirs["name"], np.dtype(theirs["dtype"]).name)
        assert ours.shape == tuple(theirs["shape"])
        assert np.array_equal(np.asarray(ours.scales, np.float32), theirs["quantization_parameters"]["scales"])
        assert np.array_equal(ours.zero_points, theirs["quantization_parameters"]["zero_points"])
    assert graph.counts() == tiny.metadata["tensors"]
    assert graph.float_tensors() == ()
    assert graph.operators == len(interpreter._get_ops_details())


def test_flatbuffer_reader_never_fails_otherwise_than_by_refusing(tiny: Bundle) -> None:
    draw = random.Random(1)
    refused = 0
    for _ in range(200):
        damaged = bytearray(tiny.tflite)
        for _ in range(draw.choice((1, 4, 64))):
            damaged[draw.randrange(8, len(damaged))] ^= 1 << draw.randrange(8)
        cut = bytes(damaged[: draw.randrange(8, len(damaged))] if draw.random() < 0.3 else damaged)
        try:
            assert isinstance(read_graph(cut), Graph)
        except ModelFileError:
            refused += 1
    assert 0 < refused < 200


def write(path: Path, tiny: Bundle, **changes: object) -> Bundle:
    metadata = {
        "name": "m",
        "version": "1",
        "input": describe_input(InputSpec(64)),
        "decode": describe_decode(DecodeSpec()),
        **changes,
    }
    return write_bundle(path, tiny.tflite, metadata, card="# m\n")


def test_write_then_open(tiny: Bundle, tmp_path: Path) -> None:
    bundle = write(tmp_path / "new" / "m.tflite", tiny, licence="MIT")
    again = open_bundle(tmp_path / "new" / "m.tflite", trial=False)
    assert again == bundle
    assert again.metadata["licence"] == "MIT"
    assert again.metadata["operating_points"] == {"balanced": 0.5}
    assert again.golden is None and again.card == "# m\n"


CANNOT_BE_WRITTEN = [
    ({"decode": {**describe_decode(DecodeSpec()), "soft_nms": 1}}, "soft_nms"),
    ({"decode": {**describe_decode(DecodeSpec()), "default_operating_point": "nope"}}, "nope"),
    ({"decode": {**describe_decode(DecodeSpec()), "bias": "x"}}, "bias is 'x'"),
    ({"decode": {**describe_decode(DecodeSpec()), "bias": float("nan")}}, "bias is nan"),
    ({"input": {**describe_input(InputSpec(64)), "size_px": 65}}, "size_px is 65"),
    ({"input": None}, "does not describe"),
    ({"name": 3}, "name is 3"),
]


@pytest.mark.parametrize(("changes", "message"), CANNOT_BE_WRITTEN)
def test_metadata_that_makes_no_sense_is_not_written(
    tiny: Bundle, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ModelFileError, match=message):
        write(tmp_path / "m.tflite", tiny, **changes)
    assert list(tmp_path.glob("*.tflite")) == []


def test_a_place_that_cannot_be_written(tiny: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WriteFailed, match="cannot write"):
        write(tmp_path / "file" / "m.tflite", tiny)


def test_golden_inputs_are_the_same_everywhere() -> None:
    films = golden_inputs(InputSpec(64), 2, seed=0)
    assert films.dtype == np.uint8
    assert films.max() - films.min() > 200
    # by this very code on x86-64 and on an emulated Cortex-A53, A72 and A76
    digest = hashlib.sha256(films.tobytes()).hexdigest()
    assert digest == "ed6f7f121c31be58153f166714ff8e8be80cb2ebad593b1a0a45e7bf31ead1b0"
