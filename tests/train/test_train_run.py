"""A whole training run of the detector, small: what it leaves, how it goes on after a kill, and what it refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_pneumo.edge_runtime.preprocess import Geometry, InputSpec
from edge_pneumo.errors import DataError, UsageFault, WriteFailed
from edge_pneumo.train.config import Stage, TrainConfig, preset
from edge_pneumo.train.data.film import Film
from edge_pneumo.train.feed import FilmSource, TrainingSet, one_epoch
from edge_pneumo.train.labels import film_label
from edge_pneumo.train.targets import FilmLabel

TINY = TrainConfig(
    "tiny", size_px=64, alpha=0.35, head_channels=16, dropout=0.0, stages=(Stage("joint", epochs=2, batch_size=16),)
)


class PowerCut(BaseException):
    """What ends a run between two epochs, as far as the run can tell."""


def go(films, out, config=TINY, **options):
    from edge_pneumo.train.fit import train_detector

    said: list[str] = []
    train_detector(config, films, out, weights="none", say=options.pop("say", said.append), **options)
    return said


@pytest.fixture(scope="module")
def run(films, eager, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    go(films, out)
    return out


@pytest.mark.train
def test_a_run_holds_what_the_next_commands_need(run):
    assert {path.name for path in run.iterdir()} == {
        "config.json", "model.weights.h5", "decode.json", "metrics.json", "log.csv", "curves.svg",
    }  # fmt: skip
    assert len((run / "log.csv").read_text().splitlines()) == 3
    assert json.loads((run / "metrics.json").read_text())["n"] == 12

    from edge_pneumo.train.run import load_run

    raw = load_run(run).raw_outputs(np.zeros((1, 64, 64, 1), np.uint8))[0]
    assert raw.heat.shape == (4, 4)


@pytest.mark.train
def test_a_run_knows_the_films_it_has_met_however_few_of_them_it_is_shown(run, films):
    from edge_pneumo.train.judge import judge

    folder = Path(films.root)
    few = folder.with_name("few")
    shutil.copytree(folder, few)
    kept = {film.film_id for film in [*films.split("train").films[:4], *films.split("val").films[:3]]}
    for name in ("stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"):
        head, *rows = (few / name).read_text().splitlines()
        (few / name).write_text("\n".join([head, *(row for row in rows if row.split(",")[0] in kept)]) + "\n")
    (few / "splits.csv").unlink()
    said = judge(run, few, bootstrap=0).result["warnings"]
    assert any("was trained on 4 of these 7 films" in warning for warning in said)
    assert any("thresholds were chosen on 3 of these 7 films" in warning for warning in said)
    assert not any("brings no splits" in warning for warning in said)


@pytest.mark.train
def test_a_run_that_failed_before_its_first_epoch_is_out_of_the_way(films, eager, tmp_path):
    """The mended command must not be told that a run is there already."""

    def cut(sentence: str) -> None:
        if sentence.startswith("detector:"):
            raise PowerCut

    for out in (tmp_path / "new", tmp_path / "there"):
        if out.name == "there":
            out.mkdir()
        with pytest.raises(PowerCut):
            go(films, out, say=cut)
    assert [path.name for path in tmp_path.iterdir()] == ["there"] and not list((tmp_path / "there").iterdir())
    taught = replace(TINY, teachers=1)
    with pytest.raises(PowerCut):
        go(films, tmp_path / "taught", taught, say=lambda s: cut(s.removeprefix("teacher1: ")))
    assert not (tmp_path / "taught").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda place: None, "no such folder"),
        (lambda place: place.write_text("a"), "a file, not a folder"),
        (lambda place: place.mkdir(), r"no index\.csv \(patientId, class"),
    ],
)
def test_a_folder_that_holds_no_masked_films_is_told_before_anything_is_done(films, tmp_path, make, message):
    make(tmp_path / "masked")
    with pytest.raises(DataError, match=message):
        go(films, tmp_path / "run", masked=[tmp_path / "masked"])
    assert not (tmp_path / "run").exists()


@pytest.mark.train
def test_a_run_killed_between_epochs_goes_on_as_if_nothing_had_been(run, films, tmp_path):
    """Same order, same changes, same optimiser: without dropout, whose draws are the process's, the same weights."""
    from edge_pneumo.train.run import load_run

    def cut(sentence: str) -> None:
        if sentence.startswith("joint 2/2"):
            raise PowerCut

    out = tmp_path / "cut"
    with pytest.raises(PowerCut):
        go(films, out, say=cut)
    assert not (out / "model.weights.h5").exists()
    with pytest.raises(DataError, match="Training did not finish: go on with --resume"):
        load_run(out)
    with pytest.raises(UsageFault, match="holds a run already; go on with --resume"):
        go(films, out)
    assert "resumed after epoch 1 of stage joint" in go(films, out, resume=True)
    for resumed, whole in zip(load_run(out).model.get_weights(), load_run(run).model.get_weights(), strict=True):
        np.testing.assert_allclose(resumed, whole, atol=1e-5)
    assert len((out / "log.csv").read_text().splitlines()) == 3
    assert not (out / "state.npz").exists()
    assert go(films, out, resume=True)[-1].endswith("is finished already")
    with pytest.raises(UsageFault, match="is finished, with another seed;"):
        go(films, out, replace(TINY, seed=5), resume=True)


@pytest.mark.train
def test_a_stage_that_takes_channels_out_also_resumes_and_is_trained_on(films, eager, tmp_path):
    """The kept network is the smaller one, cut short or not, and further training keeps its shape."""

    from edge_pneumo.train.detector import hidden_channels
    from edge_pneumo.train.run import load_run

    first = replace(TINY.stages[0], name="first", epochs=1)
    config = replace(TINY, stages=(first, replace(first, name="joint", epochs=2, prune=0.2)))

    def cut(sentence: str) -> None:
        if sentence.startswith("joint 2/2"):
            raise PowerCut

    said = go(films, tmp_path / "whole", config)
    assert any(sentence.startswith("joint: channels taken out") for sentence in said)
    with pytest.raises(PowerCut):
        go(films, tmp_path / "cut", config, say=cut)
    assert not any("taken out" in sentence for sentence in go(films, tmp_path / "cut", config, resume=True))
    whole, resumed = (load_run(tmp_path / name) for name in ("whole", "cut"))
    hidden = tuple(whole.config["hidden"])
    assert sum(hidden) < sum(hidden_channels(TINY.alpha))
    assert whole.model.get_layer("block16_project").get_weights()[0].shape[2] == hidden[16]
    for a, b in zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)

    from edge_pneumo.train.fit import train_detector

    train_detector(
        replace(TINY, stages=(first,)), films, tmp_path / "on", weights=tmp_path / "whole", say=lambda _: None
    )
    assert tuple(load_run(tmp_path / "on").config["hidden"]) == hidden


@pytest.mark.train
def test_unreadable_films_among_good_ones_are_named_and_the_rest_is_trained_on(eager, tmp_path, capsys):
    """A film of train and one of val: both left out, said once, and exit code 3 with a finished run."""
    from edge_pneumo import cli
    from edge_pneumo.train.data.index import load_dataset
    from edge_pneumo.train.data.phantom import make_phantom

    data, out = tmp_path / "films", tmp_path / "run"
    make_phantom(data, 60, size_px=128)
    broken = [next(film for film in load_dataset(data) if film.split == split) for split in ("train", "val")]
    for film in broken:
        Path(film.path).write_bytes(b"not a film")
    recipe = tmp_path / "tiny.toml"
    recipe.write_text('size_px = 64\nalpha = 0.35\n[[stages]]\nname = "joint"\nepochs = 1\nbatch_size = 32\n')
    words = ("train", "--data", data, "--config", recipe, "--weights", "none", "--out", out)
    with pytest.raises(SystemExit) as end:
        cli.main([str(word) for word in words])
    said = capsys.readouterr()
    assert end.value.code == 3, said.err
    assert said.out == f"{out}\n"
    assert (out / "model.weights.h5").is_file()
    for film in broken:
        assert said.err.count(film.film_id) == 1
    assert "2 films could not be read; everything else was done" in said.err


@pytest.mark.train
def test_a_full_disk_leaves_no_half_written_file(films, eager, tmp_path, monkeypatch):
    import errno

    from edge_pneumo.train import resume

    def full(stream, **arrays):
        stream.write(b"PK\x03\x04 the first bytes")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(resume.np, "savez", full)
    with pytest.raises(WriteFailed, match=r"state\.npz: No space left on device\. Free space"):
        go(films, tmp_path / "full")
    assert not (tmp_path / "full").exists()  # not one epoch is worth keeping


def test_what_cannot_work_is_said_before_anything_is_loaded(films, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageFault, match="is a file; --out names a directory"):
        go(films, tmp_path / "file")
    only_masked = TrainConfig(stages=(Stage("masked", films="masked"),))
    with pytest.raises(UsageFault, match="needs lung-masked films; give --masked DIR"):
        go(films, tmp_path / "run", only_masked)


@pytest.mark.train
def test_films_that_are_kept_apart_teach_but_do_not_move_the_statistics():
    from edge_pneumo.train.detector import DetectorConfig, build_detector
    from edge_pneumo.train.step import Stepper

    source = FilmSource(
        np.random.default_rng(0).integers(0, 255, (4, 64, 64, 1), np.uint8),
        [FilmLabel(float(k % 2), np.array([[8, 8, 40, 40]], np.float32)[: k % 2]) for k in range(4)],
    )
    model = build_detector(DetectorConfig(64, 0.35, 16))
    stepper = Stepper(model, Stage("x", freeze_blocks=0), preset("quick"), 16, 10, 0)

    def weights(moving: bool) -> list:
        return [w.numpy() for w in model.weights if ("moving_" in w.name) == moving]

    def changed(apart: bool) -> tuple[bool, bool]:
        before = weights(True), weights(False)
        feed = one_epoch(TrainingSet([source]), InputSpec(64), 16, 4, preset("quick").augment, 0.22, (0, 0, 0), 0)
        stepper.run_epoch([(*batch[:2], apart) for batch in feed], 1, "x")
        after = weights(True), weights(False)
        return tuple(
            any((a != b).any() for a, b in zip(*pair, strict=True)) for pair in zip(before, after, strict=True)
        )

    assert changed(apart=True) == (False, True)
    assert changed(apart=False) == (True, True)


@pytest.mark.train
def test_a_mixed_stage_shows_whole_and_masked_films(films, eager, tmp_path):
    folder = tmp_path / "masked"
    (folder / "images").mkdir(parents=True)
    (folder / "labels.csv").write_text("patientId,x,y,width,height,Target\na,100,100,200,200,1\nb,,,,,0\n")
    (folder / "index.csv").write_text("patientId,class\na,Lung Opacity\nb,Normal\n")
    for name in "ab":
        Image.new("L", (128, 128), 90).save(folder / "images" / f"{name}.jpg")
    mixed = TrainConfig(
        "mixed",
        size_px=64,
        alpha=0.35,
        head_channels=16,
        stages=(Stage("both", films="mixed", epochs=1, batch_size=1),),
    )
    said = go(films, tmp_path / "run", mixed, masked=[folder])
    assert any("2 masked films" in sentence for sentence in said)
    assert (tmp_path / "run" / "model.weights.h5").exists()


@pytest.mark.parametrize(
    ("findings", "weight", "opacity", "taught", "film_weight"),
    [
        ((), 0.5, 0.06, True, 0.25),
        (("Hernia",), 0.5, 0.06, False, 0.25),
        (("Edema", "Effusion"), 0.5, 1 - 0.94 * 0.4 * 0.6, False, 0.25),
        (("Edema",), 1.0, 0.0, True, 1.0),  # a radiologist saw it and found no opacity
    ],
)
def test_what_is_believed_of_a_weak_film(findings, weight, opacity, taught, film_weight):
    film = Film("a", "a.jpg", 0, bytes, findings=findings, weight=weight)
    label = film_label(film, Geometry(1, 1, 0, 0, 64, 64), weak_box=0.5, weak_film=0.25)
    assert label.opacity == pytest.approx(opacity)
    assert (label.boxes_known, label.weight) == (taught, film_weight)


@pytest.mark.parametrize(
    ("class_name", "normal"),
    [("Normal", 1.0), ("No Lung Opacity / Not Normal", 0.0), ("Lung Opacity", 0.0), ("Negative", None), (None, None)],
)
def test_the_class_of_a_film_says_whether_it_is_normal_and_nothing_of_its_findings(class_name, normal):
    label = film_label(Film("a", "a.jpg", 0, bytes, class_name=class_name), Geometry(1, 1, 0, 0, 64, 64), 0.5)
    if normal is None:
        assert label.findings is None
    else:
        assert label.findings is not None and label.findings[-1] == normal
        assert np.isnan(label.findings[:-1]).all() and len(label.findings) == 15


def test_weak_films_of_patients_who_are_judged_are_left_out(films):
    from edge_pneumo.train.fit import _others

    judged = films.split("val").films[0].group
    weak = [Film("a", "a.jpg", 0, bytes, group=judged), Film("b", "b.jpg", 0, bytes, group="someone else")]
    said: list[str] = []
    assert [film.film_id for film in _others(weak, films, said.append)] == ["b"]
    assert said == ["1 weak films left out: their patients are in val"]


def test_a_positive_film_without_boxes_does_not_teach_an_empty_heat_map():
    geometry = Geometry(1, 1, 0, 0, 64, 64)
    boxed = Film("a", "a.jpg", 1, bytes, boxes_xyxy=((1, 1, 9, 9),))
    assert film_label(boxed, geometry, 0.5).boxes_known
    assert film_label(Film("b", "b.jpg", 0, bytes), geometry, 0.5).boxes_known
    assert not film_label(Film("c", "c.jpg", 1, bytes), geometry, 0.5).boxes_known
