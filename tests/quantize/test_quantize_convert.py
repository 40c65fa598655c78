"""Conversion of a real, if small, detector: what is written, what is proved, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from quantize_mini import SPEC, pictures

from edge_pneumo.edge_runtime.bundle import open_bundle
from edge_pneumo.edge_runtime.engine import open_engine
from edge_pneumo.edge_runtime.flatbuffer import read_graph
from edge_pneumo.edge_runtime.golden import check_golden
from edge_pneumo.errors import UsageFault, VerificationFailed

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def converted(mini, blobs, tmp_path_factory):
    from edge_pneumo.quantize.convert import ConvertOptions, convert_run

    path = tmp_path_factory.mktemp("converted") / "mini.tflite"
    options = ConvertOptions(calibration="all", calibration_films=16, bootstrap=50)
    return path, convert_run(mini, path, blobs, options=options)


def test_int8_passes_its_gate_and_says_so(converted):
    _, report = converted
    gate = report["gate"]
    assert gate["passed"] and gate["kind"] == "accuracy"
    for figure in ("auc", "rsna_score"):
        assert {"float", "converted", "drop", "allowed"} <= set(gate[figure])
    assert gate["auc"]["float"] > 0.9  # the miniature really finds blobs, so that a drop would mean something
    assert 0 < report["parity"] == max(report["parity_outputs"].values())


def test_int8_holds_no_float_tensor_and_grey_levels_exactly(converted):
    path, report = converted
    graph = read_graph(path.read_bytes())
    assert graph.float_tensors() == () and set(report["tensors"]) == {"int8", "int32", "uint8"}
    film = graph.tensor("film")
    assert film.dtype == "uint8" and film.zero_points == (128,) and film.scales[0] == np.float32(1 / 127.5)
    assert set(graph.signatures[0].outputs) == {"image_logit", "heat", "ltrb"}
    assert all(graph.tensor(name).dtype == "int8" for name in ("image_logit", "heat", "ltrb"))


def test_kernels_have_a_scale_for_each_channel(converted):
    path, _ = converted
    kernels = [
        t for t in read_graph(path.read_bytes()).tensors if t.dtype == "int8" and len(t.shape) == 4 and t.shape[0] != 1
    ]
    assert kernels and all(len(t.scales) == t.shape[0] for t in kernels)


def test_the_file_describes_itself(converted, mini):
    path, report = converted
    bundle = open_bundle(path)
    assert bundle.sha256 == report["sha256"] and path.stat().st_size == report["bytes"]
    assert bundle.name == "edge-pneumo-mini" and bundle.decode_spec == mini.decode_spec and bundle.input_spec == SPEC
    calibration = bundle.metadata["calibration"]
    assert calibration["films"] == 16 and len(calibration["films_sha256"]) == 64
    assert [row["method"] for row in calibration["compared"]] == ["minmax", "percentile", "mse"]
    assert sum(row["chosen"] for row in calibration["compared"]) == 1
    assert bundle.metadata["gate"]["passed"] is True
    assert "Not a medical device" in bundle.card and "Interim" in bundle.card
    assert check_golden(open_engine(bundle.tflite, spec=SPEC), bundle.golden).bit_exact


def test_only_the_final_name_is_left(converted):
    path, _ = converted
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_methods_are_tried_until_one_passes(mini, blobs, tmp_path, monkeypatch):
    from edge_pneumo.quantize import convert

    judge, judged = convert._Workshop.judge, []

    def first_refused(workshop, tflite):
        judged.append(tflite)
        return judge(workshop, tflite) | {"passed": len(judged) > 1, "reason": "planted"}

    monkeypatch.setattr(convert._Workshop, "judge", first_refused)
    options = convert.ConvertOptions(calibration_films=8, bootstrap=20)
    report = convert.convert_run(mini, tmp_path / "m.tflite", blobs, options=options)
    tried = [(row["method"], row["passed"], row["chosen"]) for row in report["calibration"]["compared"]]
    assert tried == [("minmax", False, False), ("percentile", True, True)]


@pytest.mark.parametrize(
    ("precision", "largest", "dtype"),
    [("float32", 1e-3, "float32"), ("float16", 0.05, "float16"), ("dynamic", 2.0, "int8"), ("int16x8", 0.5, "int16")],
)
def test_other_precisions(mini, blobs, tmp_path, precision, largest, dtype):
    from edge_pneumo.quantize.convert import ConvertOptions, convert_run

    report = convert_run(
        mini, tmp_path / "m.tflite", blobs, precision, options=ConvertOptions(calibration_films=8, bootstrap=20)
    )
    assert report["gate"]["passed"] and report["parity"] < largest and dtype in report["tensors"]
    assert open_bundle(tmp_path / "m.tflite").metadata["precision"] == precision


def test_without_labels_the_gate_is_parity_and_the_file_says_so(mini, blobs, tmp_path):
    from edge_pneumo.quantize.convert import ConvertOptions, convert_run

    report = convert_run(
        mini, tmp_path / "m.tflite", blobs, labelled=False, options=ConvertOptions(calibration_films=8, bootstrap=20)
    )
    assert report["gate"]["kind"] == "parity" and "auc" not in report["gate"]
    assert "no labelled films" in open_bundle(tmp_path / "m.tflite").metadata["gate"]["reason"]


def test_int8_answers_like_the_float_model(converted, mini, blobs):
    """The engine on the file against Keras on the same pixels: an oracle apart from the gate."""
    from edge_pneumo.train.run import raw_outputs

    path, _ = converted
    images = pictures(blobs)[-8:]
    engine = open_engine(open_bundle(path).tflite, spec=SPEC)
    after = np.array([engine.run(image[np.newaxis]).heat for image in images])
    before = np.array([raw.heat for raw in raw_outputs(mini.model, SPEC, images)])
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.99


def test_an_input_range_that_is_not_grey_levels_is_refused(mini, blobs):
    from edge_pneumo.quantize import export
    from edge_pneumo.quantize.post_training import check_input, quantise_int8
    from edge_pneumo.quantize.ranges import choose_ranges, observe
    from edge_pneumo.quantize.surgery import input_index

    float_bytes = export.float_tflite(mini.model)
    ranges = choose_ranges(observe(float_bytes, pictures(blobs)[:4], SPEC), "minmax", float_bytes, SPEC)
    ranges[input_index(float_bytes)] = (-0.9, 0.9)
    with pytest.raises(VerificationFailed, match="not that of grey levels"):
        quantise_int8(float_bytes, ranges, SPEC)
    with pytest.raises(VerificationFailed, match="expected uint8"):
        check_input(float_bytes, SPEC)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int4"}, "unknown precision 'int4'"),
        ({"calibration": "guess"}, "unknown calibration 'guess'"),
    ],
)
def test_options_are_checked(options, message):
    from edge_pneumo.quantize.convert import ConvertOptions

    with pytest.raises(UsageFault, match=message):
        ConvertOptions(**options)
