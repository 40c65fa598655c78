"""Training, resuming, answering and tabulating on made-up films; the FCNN, which is quick and draws no random numbers
while it trains."""

import csv
import json

import numpy as np
import pytest

from edge_pneumo.edge_runtime.decode import Finding
from edge_pneumo.edge_runtime.preprocess import InputSpec
from edge_pneumo.errors import DataError, FilmRefused, UsageFault
from edge_pneumo.train.data.film import Film
from edge_pneumo.train.data.index import load_dataset
from edge_pneumo.train.data.phantom import make_phantom
from edge_pneumo.train.systems import load_system, train_system
from edge_pneumo.train.systems.feed import batches, load_pictures, outputs
from edge_pneumo.train.systems.fit import calibrate

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_phantom(tmp_path_factory.mktemp("phantom") / "films", 48, size_px=128)


@pytest.fixture(scope="module")
def films(folder):
    return load_dataset(folder)


def silent(_: str) -> None:
    """Progress that nobody reads."""


@pytest.fixture(scope="module")
def run(films, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "fcnn"
    return train_system("fcnn", films, out, epochs=3, say=silent)


def log_of(run):
    with (run / "log.csv").open(newline="") as stream:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(stream)]


def test_a_run_directory_holds_all_that_a_reader_needs(run, films):
    names = {"config.json", "model.weights.h5", "decode.json", "metrics.json", "log.csv", "curves.svg"}
    assert {path.name for path in run.iterdir()} == names
    config = json.loads((run / "config.json").read_text())
    assert (config["kind"], config["system"], config["reference"], config["epochs"]) == ("system", "fcnn", 3, 3)
    assert config["data"]["split_hash"] == films.split_hash and config["start"]["source"] == "random start"
    assert [row["epoch"] for row in log_of(run)] == [1, 2, 3]
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["n"] == len(films.split("val")) and metrics["auc"]["value"] is not None
    assert (run / "curves.svg").read_text().startswith("<?xml")
    assert (run / "model.weights.h5").stat().st_size < 4.2 * 6_291_713  # the weights alone, without the optimizer's


def test_a_loaded_system_answers_in_order_and_passes_refusals_on(run, films):
    system = load_system(run)
    assert system.kind == "system" and system.input_spec == InputSpec(128)
    broken = Film("broken", "broken.dcm", 0, lambda: b"not a film")
    asked = [*films.films[:3], broken, *films.films[3:5]]
    answers = list(system.findings(asked, batch_size=4))
    assert [film.film_id for film, _ in answers] == [film.film_id for film in asked]
    assert isinstance(answers[3][1], FilmRefused)
    found = [answer for _, answer in answers if isinstance(answer, Finding)]
    assert len(found) == 5 and all(0 < f.probability < 1 and not f.boxes for f in found)
    alone = next(system.findings([films.films[4]]))[1]
    assert alone.probability == pytest.approx(found[4].probability, abs=1e-6)


def test_a_system_cannot_be_converted_or_quantised(run, films, tmp_path):
    from edge_pneumo.quantize.convert import convert_run
    from edge_pneumo.quantize.qat_fit import quantise_run

    with pytest.raises(UsageFault, match="only detector runs can be converted"):
        convert_run(run, tmp_path / "model.tflite", films)
    with pytest.raises(UsageFault, match="this one is of kind 'system'"):
        quantise_run(run, films, tmp_path / "out")


def test_the_run_reader_and_the_evaluator_take_a_system(run, folder):
    from edge_pneumo.train.judge import judge

    result = judge(str(run), folder, "val", bootstrap=20).result
    assert result["schema"] == 1 and result["model"]["kind"] == "system"
    kept = json.loads((run / "metrics.json").read_text())
    for name in ("auc", "accuracy", "rsna_score", "ap50", "mean_iou"):
        assert result[name]["value"] == kept[name]["value"], name
    assert result["threshold"] == kept["threshold"] and result["confusion"] == kept["confusion"]


class Killed(Exception):
    """Stands for a power cut."""


def test_a_killed_run_goes_on_from_its_last_epoch(run, films, tmp_path):
    def power_cut(text: str) -> None:
        if text.startswith("fcnn 2/3"):
            raise Killed

    out = tmp_path / "cut"
    with pytest.raises(Killed):
        train_system("fcnn", films, out, epochs=3, say=power_cut)
    with pytest.raises(DataError, match="Training did not finish: go on with --resume"):
        load_system(out)
    with pytest.raises(UsageFault, match="holds a run already; go on with --resume"):
        train_system("fcnn", films, out, epochs=3, say=silent)
    with pytest.raises(UsageFault, match="belongs to a run with another configuration"):
        train_system("fcnn", films, out, epochs=3, seed=1, resume=True, say=silent)
    said: list[str] = []
    train_system("fcnn", films, out, epochs=3, resume=True, say=said.append)
    assert "resumed after epoch 2" in said
    whole, resumed = log_of(run), log_of(out)
    for name in ("epoch", "loss", "val_loss", "val_auc", "learning_rate"):
        assert [row[name] for row in resumed] == pytest.approx([row[name] for row in whole], rel=1e-4), name
    said.clear()
    train_system("fcnn", films, out, epochs=3, resume=True, say=said.append)
    assert said == [f"{out} is finished already"]
    with pytest.raises(UsageFault, match="is finished, with another epochs, seed;"):
        train_system("fcnn", films, out, epochs=4, seed=1, resume=True, say=said.append)


def test_the_rate_falls_when_val_loss_stands_still_also_across_a_resume(tmp_path):
    from tf_keras import Model, layers, optimizers
    from tf_keras.callbacks import ReduceLROnPlateau

    from edge_pneumo.train.resume import State
    from edge_pneumo.train.systems import find_system
    from edge_pneumo.train.systems.keeper import keeper

    dot = layers.Input((1,))
    model = Model(dot, layers.Dense(1)(dot))
    model.compile(optimizers.Adam(0.01), "mse")
    model.optimizer.build(model.trainable_variables)
    plateau = ReduceLROnPlateau(patience=2)
    arrays = {
        "weights": model.get_weights(), "optimizer": [v.numpy() for v in model.optimizer.variables],
        "plateau": [np.array([0.005, 0.4, 1, 0])],
    }  # fmt: skip
    keep = keeper(find_system("fcnn"), None, plateau, tmp_path, "f", State(0, 4, [], arrays), 6, silent)
    plateau.set_model(model)
    keep.save.set_model(model)
    plateau.on_train_begin()
    keep.save.on_train_begin()
    assert (plateau.best, plateau.wait) == (0.4, 1)
    plateau.on_epoch_end(4, {"val_loss": 0.5})  # the second epoch without progress
    assert float(model.optimizer.learning_rate.numpy()) == pytest.approx(0.0005)


def test_event_files_hold_the_log_as_scalars(tmp_path):
    import tensorflow as tf

    from edge_pneumo.train.systems.events import event_writer

    events = event_writer(tmp_path)
    events.on_epoch_end(0, {"loss": 0.75, "val_loss": 0.5})
    events.on_train_end()
    for kind, value in (("train", 0.75), ("val", 0.5)):
        (path,) = (tmp_path / kind).iterdir()
        records = [tf.compat.v1.Event.FromString(r.numpy()) for r in tf.data.TFRecordDataset(str(path))]
        (found,) = [v for record in records for v in record.summary.value]
        assert (found.tag, found.metadata.plugin_data.plugin_name) == ("loss", "scalars")
        assert tf.make_ndarray(found.tensor) == value


def test_batches_see_every_film_once_an_epoch_and_follow_from_the_seed(films):
    pictures = load_pictures(films.split("train").films, InputSpec(128), None, silent)
    steps = -(-len(pictures) // 32)

    def labels(first: int, count: int) -> list[np.ndarray]:
        feed = batches(pictures, "unit", None, 7, first, one_box=True)
        return [next(feed)[1]["box"] for _ in range(count)]

    both = labels(0, 2 * steps)
    np.testing.assert_array_equal(np.concatenate(both[steps:]), np.concatenate(labels(1, steps)))
    for epoch in (both[:steps], both[steps:]):
        seen = np.concatenate(epoch)
        assert len(seen) == len(pictures)
        np.testing.assert_allclose(np.sort(seen, axis=0), np.sort(pictures.boxes, axis=0))
    _, _, weights = next(batches(pictures, "unit", None, 7, 0, one_box=True))
    assert set(np.unique(weights["box"])) <= {0.0, 1.0} and (weights["image_logit"] == 1).all()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_system_below_chance_is_measured_as_it_is(sign, films):
    pictures = load_pictures(films.split("train").films, InputSpec(128), None, silent)
    noise = np.random.default_rng(0).normal(size=len(pictures))
    logits = sign * (pictures.labels - 0.5) + noise
    spec = calibrate(logits, pictures)
    assert spec.image_weight > 0 and spec.heat_weight == 0
    if sign < 0:
        assert (spec.image_weight, spec.bias) == (1.0, 0.0)
    assert spec.box_threshold == spec.operating_points["balanced"]


def test_one_class_alone_cannot_be_trained_on(films, tmp_path):
    normal = type(films)(tuple(film for film in films if film.label == 0), "normal")
    with pytest.raises(DataError, match="films with and without opacities are needed"):
        train_system("fcnn", normal, tmp_path / "run", say=silent)


def test_the_box_system_answers_with_one_box(films, tmp_path):
    run = train_system("mobilenetv2-box", films, tmp_path / "box", weights="none", epochs=1, say=silent)
    system = load_system(run)
    answers = [answer for _, answer in system.findings(films.split("val").films)]
    positive = [f for f in answers if f.probability >= f.threshold]
    assert all(len(f.boxes) <= 1 for f in positive)
    assert all(not f.boxes for f in answers if f.probability < f.threshold)
    noise = np.random.default_rng(0).integers(0, 256, (8, 128, 128, 1), np.uint8)
    corners = outputs(system.model, noise, system.system.scaling)["box"]
    assert np.abs(corners).max() < 2  # shares of the side: they have not been thrown off the film


def test_the_table_is_written_row_by_row_and_goes_on(folder, tmp_path, monkeypatch):
    from edge_pneumo.train.systems import table
    from edge_pneumo.train.systems.table import Plan, make_table

    plan = Plan(folder, systems=("densenet121-chexnet", "fcnn"), epochs={"fcnn": 1}, bootstrap=20)
    made = make_table(plan, tmp_path / "out", tmp_path / "runs", silent)
    assert [row["status"] for row in made["rows"]] == ["not run", "done"] and made["complete"]
    assert json.loads((tmp_path / "out" / "systems.json").read_text()) == made
    row = made["rows"][1]
    assert (row["parameters"], row["epochs"], row["reported"]["accuracy"]) == (6_291_713, 1, 0.939)
    text = (tmp_path / "out" / "systems.md").read_text()
    auc = "{value:.3f} ({low:.3f} to {high:.3f})".format(**row["auc"])
    assert f"| 3 | FCNN: two dense layers on the pixels | {auc} |" in text
    assert "| 2 | DenseNet-121, CheXNet weights | not run |" in text and str(tmp_path) not in text

    def no_more(*_, **__):
        raise AssertionError("a finished row must not be trained again")

    monkeypatch.setattr(table, "train_system", no_more)
    again = make_table(Plan(folder, systems=("fcnn",), epochs={"fcnn": 1}, bootstrap=20), tmp_path / "out",
                       tmp_path / "runs", silent)  # fmt: skip
    assert again["rows"] == [row]
