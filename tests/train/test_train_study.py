"""`benchmark study`: variants, shares, folds, and the table of a small real study."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from edge_pneumo.errors import UsageFault
from edge_pneumo.train.config import preset
from edge_pneumo.train.study import Films, Variant, folded, read_study, run_study, to_markdown
from edge_pneumo.train.study_jobs import run_at_once
from edge_pneumo.train.study_share import share_of

STUDY = """
name = "small"
title = "A small study"
base = "quick"
seeds = [0, 1]
[[variants]]
name = "as it is"
start = "none"
recipe = { size_px = 64, alpha = 0.35, head_channels = 16 }
stage = { epochs = 1, batch_size = 32 }
[[variants]]
name = "half the films"
start = "none"
share = 0.5
recipe = { size_px = 64, alpha = 0.35, head_channels = 16 }
stage = { epochs = 1, batch_size = 32 }
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "study.toml"
    path.write_text(text)
    return path


def test_a_variant_changes_only_what_it_names():
    base = preset("default")
    config = Variant("x", recipe={"augment": {"flip": 0.0}}, stage={"epochs": 3}).config(base, 5, False)
    assert config.augment.flip == 0.0 and config.augment.rotate_deg == base.augment.rotate_deg
    assert (config.seed, config.stages[-1].epochs, config.stages[0]) == (5, 3, base.stages[0])
    both = {"stages": [{"name": "both", "films": "mixed"}, {"name": "joint"}]}
    assert [s.name for s in Variant("x", recipe=both).config(base, 0, True).stages] == ["joint"]
    alone = {"stages": [{"name": "hidden", "films": "masked"}, {"name": "joint"}]}
    assert [s.name for s in Variant("x", recipe=alone).config(base, 0, False).stages] == ["hidden", "joint"]
    assert [s.name for s in Variant("x", recipe=alone, masked=False).config(base, 0, False).stages] == ["joint"]


def test_a_recipe_of_masked_films_alone_cannot_go_on_from_a_run_that_has_seen_them():
    both = {"stages": [{"name": "both", "films": "mixed"}]}
    with pytest.raises(UsageFault, match="there is none to go on with"):
        Variant("x", recipe=both).config(preset("default"), 0, True)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("name = 1 = 2", "not valid TOML"),
        ('name = "x"\ntitle = "x"', "names that differ"),
        ('name = "x"\ntitle = "x"\ncolour = 1', "colour"),
        ('name = "x"\ntitle = "x"\n[[variants]]\nname = "a"\nshare = 0.0', "share must be over 0"),
        ('name = "x"\ntitle = "x"\n[[variants]]\nname = "a"\nrecipe = { size = 3 }', "unknown field size"),
        ('name = "x"\ntitle = "x"\n[[variants]]\nname = "a"\n[[variants]]\nname = "A!"', "names that differ"),
        ('name = "x"\ntitle = "x"\nfolds = 1\n[[variants]]\nname = "a"', "folds must be"),
    ],
)
def test_a_study_that_cannot_be_run_is_refused_before_anything_is_trained(tmp_path, text, match):
    with pytest.raises(UsageFault, match=match):
        read_study(written(tmp_path, text))


def test_shares_are_nested_by_patient_and_leave_val_alone(films):
    half, quarter = share_of(films, 0.5), share_of(films, 0.25)
    names = [{film.film_id for film in one if film.split == "train"} for one in (quarter, half, films)]
    assert names[0] < names[1] < names[2]
    assert [f.film_id for f in half if f.split == "val"] == [f.film_id for f in films if f.split == "val"]


def test_folds_judge_each_film_once_and_no_patient_twice(films):
    pytest.importorskip("sklearn", reason="folds need the extra bench")
    judged = []
    for fold in range(3):
        cut = folded(films, 3, fold)
        train, val = cut.split("train"), cut.split("val")
        assert not {f.group for f in train} & {f.group for f in val}
        judged += [film.film_id for film in val]
    assert sorted(judged) == sorted(film.film_id for film in films if film.split in ("train", "val"))


@pytest.mark.train
def test_a_study_trains_judges_and_goes_on_where_it_stood(films, eager, tmp_path):
    study = read_study(written(tmp_path, STUDY))
    work, out = tmp_path / "work", tmp_path / "study.json"

    class PowerCut(BaseException):
        pass

    def cut(sentence: str) -> None:
        if sentence.startswith("half the films, seed 1"):
            raise PowerCut

    with pytest.raises(PowerCut):
        run_study(study, Films(films), work, out, cut)
    assert [len(row["runs"]) for row in json.loads(out.read_text())["variants"]] == [2, 1]
    said: list[str] = []
    result = run_study(study, Films(films), work, out, said.append)
    assert sum(sentence.startswith("detector:") for sentence in said) == 1  # only what was missing is trained
    assert result == json.loads(out.read_text())
    first, second = (row["figures"]["auc"] for row in result["variants"])
    runs = [run["auc"] for run in result["variants"][1]["runs"]]
    assert first["difference"] is None and second["seeds"] == 2
    assert second["mean"] == pytest.approx(sum(runs) / 2, abs=1e-4)
    assert second["difference"] == pytest.approx(second["mean"] - first["mean"], abs=2e-4)
    assert f"| half the films | 2 | {second['mean']:.3f}" in to_markdown(result)


@pytest.mark.train
def test_two_runs_at_once_give_what_one_after_the_other_gives(films, tmp_path):
    study = read_study(written(tmp_path, STUDY.replace("seeds = [0, 1]", "seeds = [0]")))
    results = []
    for jobs in (1, 2):
        results.append(run_study(study, Films(films), tmp_path / str(jobs), tmp_path / "o.json", print, jobs))
    for one, other in zip(*(result["variants"] for result in results), strict=True):
        assert one["figures"]["auc"]["mean"] == pytest.approx(other["figures"]["auc"]["mean"], abs=0.02)


def test_an_error_in_one_of_several_runs_at_once_is_raised():
    with pytest.raises(ZeroDivisionError):
        run_at_once([("a", partial(divide, 1)), ("b", partial(divide, 0))], 2)


def divide(by: int, say) -> None:
    say(f"{1 / by}")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_runs_at_once_end_with_the_one_who_waits_for_them(tmp_path, sent):
    script = tmp_path / "two.py"
    script.write_text(TWO_SLEEPERS)
    run = subprocess.Popen([sys.executable, script], stderr=subprocess.PIPE, text=True)
    sleepers = [int(run.stderr.readline().split()[-1]) for _ in range(2)]
    run.send_signal(sent)  # to the parent alone, as `kill` does
    run.communicate(timeout=30)
    assert run.returncode == 1
    for pid in sleepers:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


TWO_SLEEPERS = """
import os, signal, sys, time
from edge_pneumo.train.study_jobs import run_at_once
from edge_pneumo.train.study_share import share_of

def sleep(say):
    say(str(os.getpid()))
    time.sleep(100)

def stop(*_):
    raise KeyboardInterrupt

if __name__ == "__main__":
    for sent in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: what a shell starts in the background ignores it
        signal.signal(sent, stop)
    try:
        run_at_once([("a", sleep), ("b", sleep)], 2)
    except KeyboardInterrupt:
        sys.exit(1)
"""


@pytest.mark.train
def test_sizes_are_those_of_the_files_and_the_picture_names_every_variant(films, eager, tmp_path):
    from edge_pneumo.edge_runtime.bundle import open_bundle
    from edge_pneumo.quantize.sizes import add_sizes
    from edge_pneumo.train.study import run_folder
    from edge_pneumo.train.study_plot import draw_study

    text = STUDY.replace("seeds = [0, 1]", "seeds = [0]").replace(
        "share = 0.5\nrecipe = { size_px = 64", "recipe = { size_px = 96"
    )
    study = read_study(written(tmp_path, text))
    result = run_study(study, Films(films), tmp_path / "work", tmp_path / "study.json", lambda sentence: None)
    draw_study(tmp_path / "beside.svg", result)
    runs = {variant.name: run_folder(tmp_path / "work", study, variant, 0) for variant in study.variants}
    add_sizes(result, runs, films, None, lambda sentence: None)
    for row in result["variants"]:
        path = runs[row["name"]] / "int8.tflite"
        assert row["int8"]["bytes"] == path.stat().st_size
        assert row["int8"]["auc"] == open_bundle(path).metadata["gate"]["auc"]["converted"]
    small, large = (row["int8"]["invoke_ms"] for row in result["variants"])
    assert 0 < small < large  # 64 px against 96 px: more than twice the work
    draw_study(tmp_path / "timed.svg", result)
    assert "int8: AUC" in to_markdown(result)
    for row in result["variants"]:
        assert row["name"] in (tmp_path / "beside.svg").read_text()  # matplotlib notes each text in a comment
        assert row["name"] in (tmp_path / "timed.svg").read_text()
