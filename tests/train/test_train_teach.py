"""Detectors that teach another one: who they are, what they say, and what is learnt of it."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_pneumo.errors import UsageFault
from edge_pneumo.train.config import LossConfig, Stage, TrainConfig, config_from_dict, preset
from edge_pneumo.train.study import read_study
from edge_pneumo.train.teach import teacher_recipes

TINY = TrainConfig(
    "tiny", size_px=64, alpha=0.35, head_channels=16, dropout=0.0, teachers=2,
    stages=(Stage("joint", epochs=2, batch_size=32),),
)  # fmt: skip


def test_teachers_are_untaught_and_of_seeds_that_no_other_detector_has():
    recipes = teacher_recipes(TINY) + teacher_recipes(replace(TINY, seed=1))
    assert len({one.seed for one in recipes} | {0, 1}) == 6
    assert {replace(one, seed=0) for one in recipes} == {replace(TINY, teachers=0)}
    assert teacher_recipes(preset("quick")) == []


def test_what_is_for_the_pupil_alone_teachers_are_spared():
    stages = (TINY.stages[0], Stage("last", pupil=True))
    assert [one.stages for one in teacher_recipes(replace(TINY, stages=stages))] == [TINY.stages] * 2


def test_the_study_of_seeds_trains_the_teachers_of_the_default():
    """Its runs may be taken from theirs (docs/studies/seeds.toml), so its recipe must be theirs."""
    study = read_study(Path(__file__).parents[2] / "docs/studies/seeds.toml")
    (variant,) = study.variants
    theirs = [one for seed in (0, 1, 2) for one in teacher_recipes(replace(preset("default"), seed=seed))]
    assert [variant.config(preset(study.base), seed, False) for seed in study.seeds] == theirs


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"teachers": -1}, "teachers 0 or more"),
        ({"loss": {"taught": 1.5}}, "taught at most 1"),
        ({"teachers": 1, "stages": [{"name": "a", "pupil": True}]}, "none but the pupil's"),
    ],
)
def test_what_makes_no_sense_is_refused(fields, match):
    with pytest.raises(UsageFault, match=match):
        config_from_dict(fields)


@pytest.mark.train
def test_a_lesson_is_the_mean_of_what_teachers_say():
    import tensorflow as tf

    from edge_pneumo.train.teach import lessons

    def says(logit: float, reach: float):
        heat = tf.fill((1, 2, 2, 1), logit)
        return lambda images, training: {
            "heat": heat, "image_logit": tf.fill((1, 1), logit), "ltrb": tf.fill((1, 2, 2, 4), reach),
        }  # fmt: skip

    sure = float(np.log(9))  # a probability of 0.9
    lesson = lessons([says(sure, 1.0), says(-sure, 3.0)], tf.zeros((1, 32, 32, 1)))
    np.testing.assert_allclose(lesson["heat"], 0.5, atol=1e-6)
    np.testing.assert_allclose(lesson["image"], 0.5, atol=1e-6)
    np.testing.assert_allclose(lesson["ltrb"], 2.0)


@pytest.mark.train
def test_nothing_is_left_to_learn_for_who_says_what_the_teacher_says():
    import tensorflow as tf

    from edge_pneumo.train.teach import lessons, taught_loss

    rng = np.random.default_rng(0)
    said = {
        "heat": tf.constant(rng.normal(size=(2, 4, 4, 1)), tf.float32),
        "image_logit": tf.constant(rng.normal(size=(2, 1)), tf.float32),
        "ltrb": tf.constant(rng.normal(size=(2, 4, 4, 4)), tf.float32),
    }
    lesson = lessons([lambda images, training: said], tf.zeros((2, 64, 64, 1)))
    held = {name: tf.Variable(value) for name, value in said.items()}
    with tf.GradientTape() as tape:
        terms = taught_loss(held, lesson)
        loss = tf.add_n(list(terms.values()))
    assert float(terms["heat"]) == pytest.approx(0, abs=1e-6) and float(terms["box"]) == 0
    for gradient in tape.gradient(loss, list(held.values())):
        np.testing.assert_allclose(gradient, 0, atol=1e-6)


@pytest.mark.train
def test_a_taught_run_goes_on_where_its_teachers_stood(films, eager, tmp_path, go):
    from edge_pneumo.train.run import load_run

    go(films, tmp_path / "whole", TINY)
    go(films, tmp_path / "cut", TINY, cut_at="teacher2: joint 2/2")
    with pytest.raises(UsageFault, match="holds a run already; go on with --resume"):
        go(films, tmp_path / "cut", TINY)
    said = go(films, tmp_path / "cut", TINY, resume=True)
    assert any(one.startswith("teacher1: ") and one.endswith("is finished already") for one in said)
    assert "teacher2: resumed after epoch 1 of stage joint" in said
    again, whole, teacher = (weights_of(tmp_path / place) for place in ("cut", "whole", "whole/teacher1"))
    for resumed, uncut in zip(again, whole, strict=True):
        np.testing.assert_allclose(resumed, uncut, atol=1e-5)
    assert load_run(tmp_path / "whole/teacher1").config["train"]["seed"] == 1000
    assert not all(np.allclose(a, b) for a, b in zip(whole, teacher, strict=True))


@pytest.mark.train
def test_who_does_not_listen_learns_what_one_without_teachers_learns(films, eager, tmp_path, go):
    deaf = replace(TINY, teachers=1, loss=LossConfig(taught=0.0))
    go(films, tmp_path / "deaf", deaf)
    assert not any("teacher" in sentence for sentence in go(films, tmp_path / "untaught", replace(TINY, teachers=0)))
    go(films, tmp_path / "taught", replace(TINY, teachers=1))
    deaf, untaught, taught = (first_loss(tmp_path / place) for place in ("deaf", "untaught", "taught"))
    assert deaf == pytest.approx(untaught, rel=1e-4)
    assert taught != pytest.approx(untaught, rel=1e-2)


def first_loss(run):
    """Of the first epoch, one step: before Adam makes much of what rounding does to gradients near zero."""
    with (run / "log.csv").open() as stream:
        return float(next(csv.DictReader(stream))["loss"])


def weights_of(place):
    from edge_pneumo.train.run import load_run

    return load_run(place).model.get_weights()
