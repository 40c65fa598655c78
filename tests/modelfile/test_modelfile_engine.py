"""The engine: one interface over the runtimes, with exact numbers and refusals that say what to do."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edge_pneumo.edge_runtime import engine as engine_module
from edge_pneumo.edge_runtime.backends import BackendUnavailable, TensorInfo, signature_names
from edge_pneumo.edge_runtime.bundle import Bundle
from edge_pneumo.edge_runtime.engine import available_cores, check_outputs, input_levels, open_engine
from edge_pneumo.edge_runtime.golden import check_golden, golden_inputs
from edge_pneumo.edge_runtime.preprocess import InputSpec
from edge_pneumo.edge_runtime.quiet import quiet_runtime
from edge_pneumo.errors import MissingExtra, ModelFileError, UsageFault

litert = pytest.importorskip("ai_edge_litert.interpreter")


def test_outputs_are_litert_s_own(tiny: Bundle) -> None:
    """The oracle: LiteRT's signature runner, dequantised by hand in float64."""
    films = golden_inputs(tiny.input_spec, 3, seed=5)
    runner = litert.Interpreter(model_content=tiny.tflite).get_signature_runner("serving_default")
    engine = open_engine(tiny.tflite, spec=tiny.input_spec)
    for film in films:
        theirs, ours = runner(film=film[np.newaxis]), engine.run_quantised(film[np.newaxis])
        for name in ("image_logit", "heat", "ltrb"):
            assert np.array_equal(ours[name], theirs[name])
        raw = engine.run(film[np.newaxis])
        details = runner.get_output_details()["heat"]["quantization"]
        assert np.allclose(raw.heat, (theirs["heat"][0, ..., 0].astype(float) - details[1]) * details[0])
        assert (raw.heat.shape, raw.ltrb.shape) == ((4, 4), (4, 4, 4))
        assert raw.heat.dtype == raw.ltrb.dtype == np.float32
        assert isinstance(raw.image_logit, float)


def test_a_path_gives_what_bytes_give(tiny: Bundle, tiny_path: Path) -> None:
    film = golden_inputs(tiny.input_spec, 1)
    by_path = open_engine(tiny_path, spec=tiny.input_spec).run_quantised(film)
    by_bytes = open_engine(tiny.tflite, spec=tiny.input_spec).run_quantised(film)
    assert all(np.array_equal(by_path[name], by_bytes[name]) for name in by_path)


def test_golden_vectors_hold_at_any_thread_count(tiny: Bundle) -> None:
    golden = tiny.golden
    assert golden is not None
    for threads in (1, 2):
        result = check_golden(open_engine(tiny.tflite, spec=tiny.input_spec, threads=threads), golden)
        assert result.bit_exact and result.vectors == 4 and result.total == 4 * (1 + 16 + 64)


def test_other_kernels_differ_and_the_check_says_so(tiny: Bundle) -> None:
    golden = tiny.golden
    assert golden is not None
    result = check_golden(open_engine(tiny.tflite, spec=tiny.input_spec, kernels="reference"), golden)
    assert not result.bit_exact and result.largest >= 1 and 0 < result.probability < 1


def test_threads_never_exceed_cores(tiny: Bundle) -> None:
    engine = open_engine(tiny.tflite, spec=tiny.input_spec, threads=999)
    assert engine.threads == engine.details()["threads"] == available_cores()


REFUSED = [
    ({"backend": "npu"}, UsageFault, "unknown backend 'npu'; choose one of auto, cpu, gpu, tflite-runtime"),
    ({"threads": 0}, UsageFault, "threads must be 1 or more, found 0"),
    ({"kernels": "fast"}, UsageFault, "unknown kernels 'fast'"),
    ({"spec": InputSpec(96)}, ModelFileError, "its metadata says"),
]


@pytest.mark.parametrize(("options", "error", "message"), REFUSED)
def test_refusals(tiny: Bundle, options: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        open_engine(tiny.tflite, **{"spec": tiny.input_spec, **options})


WITHOUT = [
    ("auto", set(), MissingExtra, r"pip install 'edge-pneumo\[legacy-runtime\]'"),
    ("tflite-runtime", {"ai_edge_litert"}, MissingExtra, "tflite-runtime backend needs tflite-runtime"),
    ("cpu", {"tflite_runtime"}, BackendUnavailable, "or use --backend tflite-runtime"),
    ("gpu", set(), BackendUnavailable, "pip install ai-edge-litert"),
]


@pytest.mark.parametrize(("backend", "installed", "error", "message"), WITHOUT)
def test_runtimes_that_are_not_there(
    backend: str, installed: set[str], error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "_installed", lambda module: module in installed)
    with pytest.raises(error, match=message):
        engine_module.choose_backend(backend)


def test_a_runtime_that_cannot_be_imported(tiny: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(BackendUnavailable, match="ai-edge-litert is installed but cannot be imported"):
        open_engine(tiny.tflite, spec=tiny.input_spec, backend="cpu")


def test_tflite_runtime_under_numpy_2(tiny: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """It imports, and dies with SystemError when an interpreter is built."""

    def build(**_: object) -> None:
        raise SystemError("initialization of _pywrap_tensorflow_interpreter_wrapper raised unreported exception")

    module = SimpleNamespace(Interpreter=build, OpResolverType=litert.OpResolverType)
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", module)
    monkeypatch.setattr(engine_module, "_installed", lambda name: name == "tflite_runtime")
    with pytest.raises(BackendUnavailable, match=r"needs numpy<2. Run: pip install 'edge-pneumo\[legacy-runtime\]'"):
        open_engine(tiny.tflite, spec=tiny.input_spec)


@pytest.mark.parametrize("network", [b"", b"\0\0\0\0TFL3", b"nonsense" * 9])
def test_bytes_that_are_no_network(network: bytes, tiny: Bundle) -> None:
    with pytest.raises(ModelFileError, match="does not accept it as a TFLite model"):
        open_engine(network, spec=tiny.input_spec)


def test_a_network_without_our_outputs() -> None:
    with pytest.raises(ModelFileError, match=r"found \{'serving_default': \['scores'\]\}"):
        signature_names({"serving_default": {"inputs": ["x"], "outputs": ["scores"]}}, "m.tflite")
    with pytest.raises(ModelFileError, match="found no signature at all"):
        signature_names({}, "m.tflite")


SHAPES = {"image_logit": (1, 1), "heat": (1, 14, 14, 1), "ltrb": (1, 14, 14, 4)}


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("image_logit", (1, 3)),
        ("image_logit", ()),
        ("heat", (1, 14, 7, 1)),
        ("heat", (196,)),
        ("heat", (1, 0, 0, 1)),
        ("ltrb", (1, 14, 14, 1)),
        ("ltrb", (1, 7, 7, 4)),
    ],
)
def test_outputs_of_another_shape(name: str, shape: tuple[int, ...]) -> None:
    assert check_outputs(SHAPES) == 14
    with pytest.raises(ModelFileError, match=r"outputs have the wrong shape: .*expected image_logit \(1, 1\)"):
        check_outputs({**SHAPES, name: shape})


def test_an_answer_that_is_no_number_is_no_answer(tiny: Bundle) -> None:
    """NaN is below every threshold: it must not read as "no opacity"."""
    engine = open_engine(tiny.tflite, spec=tiny.input_spec)
    engine.outputs = {name: TensorInfo(name, info.shape, "float32", 0.0, 0) for name, info in engine.outputs.items()}
    stored = {name: np.zeros(info.shape, np.float32) for name, info in engine.outputs.items()}
    stored["heat"][0, 1, 1, 0] = np.nan
    with pytest.raises(ModelFileError, match="output heat is not finite"):
        engine.dequantise(stored)


def test_wrong_tensors_are_not_quantised_silently(tiny: Bundle) -> None:
    engine = open_engine(tiny.tflite, spec=tiny.input_spec)
    with pytest.raises(ValueError, match="takes uint8"):
        engine.run(np.zeros((1, 64, 64, 1), np.float32))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="takes uint8"):
        engine.run(np.zeros((64, 64, 1), np.uint8))


GREY = np.arange(256)
LEVELS = [
    ("uint8", 1 / 127.5, 128, None),
    ("uint8", 1 / 127.5, 127, np.clip(GREY - 1, 0, 255)),
    ("int8", 1 / 127.5, 0, np.clip(GREY - 128, -128, 127)),
    ("int16", 1 / 32767, 0, np.clip(np.rint((GREY - 128) / 127.5 * 32767), -32768, 32767)),
    ("float32", 0.0, 0, ((GREY - 128) / 127.5).astype(np.float32)),
]


@pytest.mark.parametrize(("dtype", "scale", "zero_point", "expected"), LEVELS)
def test_grey_levels_in_every_precision(dtype: str, scale: float, zero_point: int, expected: np.ndarray | None) -> None:
    levels = input_levels(TensorInfo("film", (1, 64, 64, 1), dtype, scale, zero_point), InputSpec(64))
    if expected is None:
        assert levels is None
    else:
        assert levels is not None and levels.dtype == dtype
        assert np.allclose(levels, expected, rtol=1e-6)


def test_dequantising_does_not_wrap() -> None:
    info = TensorInfo("heat", (3,), "int8", 0.5, 127)
    assert info.dequantise(np.array([-128, 0, 127], np.int8)).tolist() == [-127.5, -63.5, 0.0]


def test_many_threads_one_engine(tiny: Bundle) -> None:
    engine = open_engine(tiny.tflite, spec=tiny.input_spec)
    films = golden_inputs(tiny.input_spec, 8, seed=3)
    expected = [engine.run_quantised(film[np.newaxis])["heat"] for film in films]
    wrong: list[int] = []

    def work(index: int) -> None:
        for _ in range(20):
            if not np.array_equal(engine.run_quantised(films[index][np.newaxis])["heat"], expected[index]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_chatter_is_held_back_and_the_rest_is_not(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_runtime() as log:
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\nERROR: something real\n")
        os.write(1, b"data\n")
    out, err = capfd.readouterr()
    assert (out, err) == ("data\n", "ERROR: something real\n")
    assert log == ["INFO: Created TensorFlow Lite XNNPACK delegate for CPU.", "ERROR: something real"]


def test_errors_leave_the_streams_as_they_were(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), quiet_runtime(everything=True):
        os.write(1, b"lost\n")
        raise KeyError
    os.write(1, b"kept\n")
    assert capfd.readouterr().out == "kept\n"


def test_opening_a_model_prints_nothing(tiny_path: Path) -> None:
    code = (
        "import sys; from edge_pneumo.edge_runtime.bundle import open_bundle\n"
        "from edge_pneumo.edge_runtime.engine import open_engine\n"
        "b = open_bundle(sys.argv[1], trial=False); open_engine(b.tflite, spec=b.input_spec)\n"
        "sys.exit('tensorflow' in sys.modules)"
    )
    child = subprocess.run([sys.executable, "-c", code, str(tiny_path)], capture_output=True, text=True, check=True)
    assert (child.stdout, child.stderr) == ("", "")
