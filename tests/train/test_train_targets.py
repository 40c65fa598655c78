"""Targets, augmentation and batches: what training believes, in numbers worked by hand."""

from dataclasses import replace

import numpy as np
import pytest

from edge_pneumo.edge_runtime.preprocess import InputSpec
from edge_pneumo.train.augment import augment
from edge_pneumo.train.config import AugmentConfig, Stage, TrainConfig, config_from_dict, preset, read_config
from edge_pneumo.train.feed import FilmSource, TrainingSet, one_epoch
from edge_pneumo.train.targets import FilmLabel, dense_targets

STILL = AugmentConfig(
    flip=0, rotate_deg=0, shift=0, scale_log2=0, stretch_log2=0, gamma_log2=0, contrast_log2=0, brightness=0, noise=0,
    cutout=0,
)  # fmt: skip


def test_heat_is_one_at_the_cell_of_the_centre_and_falls_off():
    heat, box, weight = dense_targets(np.array([[40, 24, 88, 72]]), size_px=128, stride=16, gaussian=0.22)
    assert np.unravel_index(heat.argmax(), (8, 8)) in {(2, 3), (2, 4)}  # centre (64, 48) lies on a cell's edge
    assert heat.max() == pytest.approx(1.0)
    assert heat[7, 7, 0] < 0.01
    np.testing.assert_array_equal(box[2, 3], (40, 24, 88, 72))
    assert weight[2, 3, 0] > 0.3
    assert weight[0, 0, 0] == 0


def test_overlapping_boxes_each_own_their_centre():
    boxes = np.array([[0, 0, 64, 64], [48, 0, 112, 64]], np.float32)
    _, box, _ = dense_targets(boxes, 128, 16, 0.22)
    np.testing.assert_array_equal(box[2, 2], boxes[0])
    np.testing.assert_array_equal(box[2, 5], boxes[1])


def test_a_film_without_boxes_and_a_box_without_area_give_no_heat():
    for boxes in (np.zeros((0, 4)), np.array([[5, 5, 5, 50]])):
        heat, _, weight = dense_targets(boxes, 64, 16, 0.22)
        assert heat.sum() == 0
        assert weight.sum() == 0


def test_no_change_asked_for_leaves_film_and_boxes():
    grey = np.arange(64 * 64, dtype=np.uint32).reshape(64, 64) % 251
    box = np.array([[8, 8, 24, 40]], np.float32)
    changed, boxes = augment(grey.astype(np.uint8), box, np.random.default_rng(0), STILL)
    np.testing.assert_array_equal(changed, grey)
    np.testing.assert_allclose(boxes, box)


@pytest.mark.parametrize("seed", range(5))
def test_boxes_move_with_the_picture(seed):
    """A bright rectangle stays under its box whatever happens to the film."""
    grey = np.zeros((128, 128), np.uint8)
    grey[40:72, 24:56] = 255
    settings = AugmentConfig(gamma_log2=0, contrast_log2=0, brightness=0, noise=0, cutout=0)
    changed, boxes = augment(grey, np.array([[24, 40, 56, 72]], np.float32), np.random.default_rng(seed), settings)
    ys, xs = np.nonzero(changed > 127)
    centre = (boxes[0, :2] + boxes[0, 2:]) / 2
    assert abs(xs.mean() + 0.5 - centre[0]) < 1.0
    assert abs(ys.mean() + 0.5 - centre[1]) < 1.0
    assert (boxes[0, 2] - boxes[0, 0]) * (boxes[0, 3] - boxes[0, 1]) == pytest.approx(len(xs), rel=0.1)


def test_a_box_that_left_the_film_is_gone():
    settings = AugmentConfig(flip=0, rotate_deg=0, scale_log2=0, stretch_log2=0, shift=0.5, cutout=0)
    film, box = np.zeros((64, 64), np.uint8), np.array([[0, 0, 8, 8]], np.float32)
    gone = [len(augment(film, box, np.random.default_rng(seed), settings)[1]) for seed in range(40)]
    assert set(gone) == {0, 1}


def _films(count: int, repeat: int = 1) -> FilmSource:
    images = np.random.default_rng(0).integers(0, 255, (count, 64, 64, 1), np.uint8)
    labels = [FilmLabel(float(n % 2), np.array([[8, 8, 40, 40]], np.float32)[: n % 2]) for n in range(count)]
    return FilmSource(images, labels, repeat)


def test_an_epoch_shows_every_film_and_depends_on_the_seed_alone():
    films = TrainingSet([_films(2, repeat=2), _films(4)])

    def run(seed: int) -> list:
        return list(one_epoch(films, InputSpec(64), 16, 4, AugmentConfig(), 0.22, (seed, 0, 0), 0))

    first, again, other = run(1), run(1), run(2)
    assert [len(images) for images, _, _ in first] == [4, 4]
    assert sum(targets["opacity"].sum() for _, targets, _ in first) == 2 * 1 + 2
    np.testing.assert_array_equal(first[0][0], again[0][0])
    assert not np.array_equal(first[0][0], other[0][0])


def test_films_that_are_kept_apart_share_no_batch_with_others():
    whole, masked = _films(9), replace(_films(6), apart=True)
    films = TrainingSet([whole, masked])
    shown = films.batches(3, np.random.default_rng(0))
    assert (
        sorted((place[0], apart) for places, apart in shown for place in places) == [(0, False)] * 9 + [(1, True)] * 6
    )
    assert sorted(tuple(place) for places, _ in shown for place in places) == sorted(map(tuple, films.places()))
    orders = {tuple(apart for _, apart in films.batches(3, np.random.default_rng(seed))) for seed in range(9)}
    assert len(orders) > 2  # kinds take turns at random
    assert not any(apart for _, apart in TrainingSet([masked]).batches(3, np.random.default_rng(0)))


def test_an_error_while_making_batches_is_raised_where_they_are_used():
    broken = TrainingSet([FilmSource(np.zeros((0, 64, 64, 1), np.uint8), [FilmLabel(0.0, np.zeros((0, 4)))] * 2)])
    with pytest.raises((IndexError, ValueError)):
        list(one_epoch(broken, InputSpec(64), 16, 3, STILL, 0.22, (0, 0, 0), 0))


def test_a_target_that_is_not_known_is_neither_taught_nor_counted():
    findings = np.array([np.nan, 1.0, 0.0], np.float32)
    known = FilmLabel(0.0, np.zeros((0, 4), np.float32), findings=findings)
    films = TrainingSet([FilmSource(np.zeros((1, 64, 64, 1), np.uint8), [known]), _films(1)])
    for count in (2, 3):  # a recipe may leave out the last
        [(_, targets, _)] = one_epoch(films, InputSpec(64), 16, 2, STILL, 0.22, (0, 0, 0), count)
        assert sorted(targets["findings_known"].tolist()) == [[0, 0, 0][:count], [0, 1, 1][:count]]
        assert np.isfinite(targets["findings"]).all()


def test_presets_read_and_round_trip():
    for name in ("quick", "default", "rsna", "demo"):
        config = preset(name)
        assert config_from_dict(config.to_dict()) == config
    assert preset("quick", seed=3, epochs=1).stages[0].epochs == 1


def test_a_recipe_with_an_unknown_field_names_it(tmp_path):
    from edge_pneumo.errors import UsageFault

    recipe = tmp_path / "r.toml"
    recipe.write_text("sise_px = 3\n")
    with pytest.raises(UsageFault, match="unknown field sise_px"):
        read_config(recipe)
    recipe.write_text("= =")
    with pytest.raises(UsageFault, match="not valid TOML"):
        read_config(recipe)
    assert Stage("x") == TrainConfig(stages=(Stage("x"),)).stages[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('size_px = "big"', "size_px must be a whole number, found 'big'"),
        ("size_px = 64.5", "size_px must be a whole number, found 64.5"),
        ("size_px = 50", "expected size_px a multiple of 32, at most 2048, found 50"),
        ("alpha = 2", "expected alpha 0.35 to 1.0, found 2.0"),
        ("alpha = nan", "alpha must be a number, found nan"),
        ("interim = 1", "interim must be true or false, found 1"),
        ("seed = -1", "expected seed 0 to"),
        ("ema = 1.0", "expected ema 0 or more and below 1"),
        ("stages = 3", "stages must be tables"),
        ("stages = []", "expected stages one or more"),
        ("augment = 3", r"\[augment\]: expected a table of fields, found 3"),
        ("[augment]\nnoise = -1", "augment: expected noise 0 or more, found -1"),
        ("[loss]\nboks = 1", r"\[loss\]: unknown field boks"),
        ("[[stages]]\nepochs = 1", r"\[\[stages\]\]: every stage needs a name"),
        ('[[stages]]\nname = "a"\nepochs = "five"', "epochs must be a whole number, found 'five'"),
        ('[[stages]]\nname = "a"\nepochs = 0', "stage a: expected epochs 1 or more, found 0"),
        ('[[stages]]\nname = "a"\nbatch_size = 0', "stage a: expected batch_size 1 or more"),
        ('[[stages]]\nname = "a"\nsize_px = 50', "stage a: expected size_px a multiple of 32"),
        ('[[stages]]\nname = "a"\nfilms = "some"', "expected films to be one of all, masked, mixed, found some"),
        ('[[stages]]\nname = "a"\nlearning_rate = inf', "learning_rate must be a number, found inf"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused_by_field(text, message, tmp_path):
    from edge_pneumo.errors import UsageFault

    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(UsageFault, match=message):
        read_config(tmp_path / "r.toml")


def test_a_recipe_that_is_no_text_or_no_file_is_refused(tmp_path):
    from edge_pneumo.errors import UsageFault

    (tmp_path / "r.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageFault, match="not valid TOML"):
        read_config(tmp_path / "r.toml")
    with pytest.raises(UsageFault, match="cannot read the configuration"):
        read_config(tmp_path)
