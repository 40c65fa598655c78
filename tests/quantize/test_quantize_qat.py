"""Quantisation-aware training: what TFMOT would refuse is said in our words; the rest trains, resumes, converts."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from quantize_mini import SIZE, SPEC, build_short, fit_mini, mini_run, pictures

from edge_pneumo.edge_runtime.bundle import open_bundle
from edge_pneumo.edge_runtime.flatbuffer import read_graph
from edge_pneumo.errors import DataError, MissingExtra, UsageFault

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def short(blobs, tmp_path_factory):
    """A float run of the shorter miniature."""
    pytest.importorskip("tensorflow", reason="needs the extra `train`")
    from edge_pneumo.train.run import require_tensorflow

    require_tensorflow()
    return mini_run(fit_mini(blobs, build_short), tmp_path_factory.mktemp("short"))


@pytest.fixture(scope="module")
def trained(short, blobs, tmp_path_factory):
    """A QAT run of the short detector, interrupted after its first epoch and resumed."""
    from edge_pneumo.quantize import qat
    from edge_pneumo.quantize.qat_fit import QatOptions, _Fitting, quantise_run

    source = short
    out = tmp_path_factory.mktemp("qat") / "run"
    options = QatOptions(epochs=2, batch_size=8)
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qat, "build_from_config", lambda config: build_short())
        run_epoch = _Fitting.run_epoch

        def killed(fitting):
            if fitting.epoch == 1:
                raise KeyboardInterrupt
            return run_epoch(fitting)

        patch.setattr(_Fitting, "run_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            quantise_run(source, blobs, out, options, say=said.append)
        assert (out / "state.npz").exists() and not (out / "model.weights.h5").exists()
        with pytest.raises(UsageFault, match="holds a run already"):
            quantise_run(source, blobs, out, options)
        patch.setattr(_Fitting, "run_epoch", run_epoch)
        quantise_run(source, blobs, out, options, resume=True, say=said.append)
        quantise_run(source, blobs, out, options, resume=True, say=said.append)
        assert said[-1] == f"{out} is finished already"
        with pytest.raises(UsageFault, match="is finished, with another epochs;"):
            quantise_run(source, blobs, out, QatOptions(epochs=3, batch_size=8), resume=True)
        patch.setattr("edge_pneumo.train.run.build_from_config", lambda config: build_short())
        yield out, said


@pytest.fixture(scope="module")
def loaded(trained):
    """That run, read back."""
    from edge_pneumo.train.run import load_run

    return load_run(trained[0])


def test_it_resumes_from_the_last_epoch(trained):
    out, said = trained
    assert any("resumed after epoch 1" in sentence for sentence in said)
    assert len((out / "log.csv").read_text().splitlines()) == 3
    assert not (out / "state.npz").exists()


def test_the_best_epoch_is_never_worse_than_the_start(trained):
    out, said = trained
    start = next(float(s.rsplit(" ", 1)[1]) for s in said if s.startswith("before training"))
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["n"] == 16 and start < 0.5  # ranges set from films: the rounded network starts close to float


def test_a_qat_run_loads_and_converts_to_integers(loaded, blobs, tmp_path):
    from edge_pneumo.quantize.convert import ConvertOptions, convert_run

    run = loaded
    assert run.kind == "qat" and run.input_spec == SPEC
    report = convert_run(run, tmp_path / "q.tflite", blobs, options=ConvertOptions(calibration_films=8, bootstrap=20))
    assert report["gate"]["passed"] and report["calibration"]["method"] == "learnt"
    bundle = open_bundle(tmp_path / "q.tflite")
    graph = read_graph(bundle.tflite)
    assert graph.float_tensors() == () and graph.tensor("film").dtype == "uint8"
    assert graph.tensor("film").scales[0] == pytest.approx(1 / 127.5, rel=1e-6)
    with pytest.raises(UsageFault, match="converts to int8 only"):
        convert_run(run, tmp_path / "h.tflite", blobs, "float16")


def test_post_training_and_qat_are_compared_on_the_same_films(loaded, blobs):
    from edge_pneumo.quantize.compare import compare_with_post_training

    result = compare_with_post_training(loaded, blobs, bootstrap=20)
    assert [row["name"] for row in result["rows"]] == ["nearest", "post-training", "qat"]
    first, *_, second = result["rows"]
    assert first["auc"]["float"] == second["auc"]["float"] and result["split_hash"] == blobs.split_hash


def test_a_lost_float_original_is_said(loaded, tmp_path):
    from dataclasses import replace

    from edge_pneumo.quantize.qat import load_float_reference

    with pytest.raises(DataError, match=r"no float\.weights\.h5"):
        load_float_reference(replace(loaded, path=tmp_path))


def test_a_qat_run_is_no_start_for_another(loaded, blobs, tmp_path):
    from edge_pneumo.quantize.qat_fit import quantise_run

    with pytest.raises(UsageFault, match="starts from a float detector run"):
        quantise_run(loaded, blobs, tmp_path / "again")


def test_ranges_are_those_of_films(short, blobs):
    """Each range holds the extremes of the float layer over batches, and the input's is exactly grey levels'."""
    from tf_keras import Model

    from edge_pneumo.quantize.qat import quantise_aware, set_ranges

    model = short.model
    student = quantise_aware(model)
    batch = SPEC.normalise(pictures(blobs)[:8])
    assert set_ranges(student, model, SPEC, [batch]) > 10
    values = {w.name.split(":")[0]: float(np.min(w)) for w in student.weights if w.shape.rank == 0}
    top = np.asarray(Model(model.input, model.get_layer("joined4").output)(batch, training=False))
    assert values["quant_joined4/output_max"] == pytest.approx(float(top.max()), rel=0.02)
    film = {name.rsplit("_", 1)[-1]: value for name, value in values.items() if name.startswith("quantize_layer")}
    assert film["min"] == pytest.approx(-128 / 127.5, rel=1e-6) and film["max"] == pytest.approx(127 / 127.5, rel=1e-6)


def nested():
    from tf_keras import Input, Model, layers

    film = Input((SIZE, SIZE, 1))
    inner = Model(film, layers.Conv2D(4, 3, name="inner_conv")(film), name="backbone")
    other = Input((SIZE, SIZE, 1))
    return Model(other, layers.ReLU()(inner(other)))


def subclassed():
    import tf_keras

    class Own(tf_keras.Model):
        pass

    return Own(name="own")


def sequential():
    import tf_keras

    return tf_keras.Sequential([tf_keras.layers.Input((8,)), tf_keras.layers.Dense(1)], name="line")


def unsupported():
    from tf_keras import Input, Model, layers

    film = Input((SIZE, SIZE, 1))
    return Model(film, layers.Lambda(lambda x: x * 2, name="doubled")(film))


def shared():
    from tf_keras import Input, Model, layers

    film = Input((SIZE, SIZE, 1))
    once = layers.Conv2D(1, 3, padding="same", name="twice")
    return Model(film, once(once(film)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (nested, "layer 'backbone' is itself a model.*flat graphs"),
        (subclassed, "'own' is a subclassed model"),
        (sequential, "'line' is a Sequential model"),
        (unsupported, r"layer 'doubled' \(Lambda\) has no eight-bit form"),
        (shared, "layer 'twice' is used 2 times"),
        (lambda: 3, "needs a tf_keras model, found builtins.int"),
    ],
)
def test_what_tfmot_cannot_do_is_said_before_it_is_called(make, message):
    from edge_pneumo.quantize.qat import check_quantisable

    with pytest.raises(UsageFault, match=message):
        check_quantisable(make())


def test_a_python_without_distutils_is_told_what_to_install(monkeypatch):
    """TFMOT imports distutils, which Python 3.12 left out; setuptools brings it."""
    from edge_pneumo.quantize.qat import check_quantisable

    monkeypatch.delitem(sys.modules, "tensorflow_model_optimization", raising=False)
    monkeypatch.setitem(sys.modules, "distutils.version", None)
    with pytest.raises(MissingExtra, match="needs setuptools"):
        check_quantisable(sequential())


@pytest.mark.parametrize("rate", [0.0, -1e-5, float("nan")])
def test_a_learning_rate_is_above_zero(rate):
    from edge_pneumo.quantize.qat_fit import QatOptions

    with pytest.raises(UsageFault, match="expected a number above 0"):
        QatOptions(learning_rate=rate)
