"""Splits: by group, stratified, the same everywhere, and of the reference's sizes."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from edge_pneumo.errors import UsageFault
from edge_pneumo.train.data.index import load_dataset
from edge_pneumo.train.data.splits import make_splits

REFERENCE = {"train": 21_348, "val": 2_668, "test": 2_668}
STRATA = ["Not Normal"] * 11_821 + ["Normal"] * 8_851 + ["Opacity"] * 6_012


def test_reference_sizes_and_balance() -> None:
    splits = make_splits([str(i) for i in range(len(STRATA))], STRATA)
    assert Counter(splits) == REFERENCE
    for name, n in REFERENCE.items():
        opacities = sum(s == name and stratum == "Opacity" for s, stratum in zip(splits, STRATA, strict=True))
        assert abs(opacities / n - 6_012 / 26_684) < 0.0005


def test_groups_stay_together_and_large_ones_reach_every_split() -> None:
    groups = [f"patient{i % 37}" if i < 400 else f"single{i}" for i in range(2_000)]
    strata = [("a", "b", "c")[i % 3] for i in range(2_000)]
    splits = make_splits(groups, strata, seed=5)
    of_group = defaultdict(set)
    for group, split in zip(groups, splits, strict=True):
        of_group[group].add(split)
    assert all(len(names) == 1 for names in of_group.values())
    assert {min(of_group[f"patient{i}"]) for i in range(37)} == {"train", "val", "test"}
    assert abs(Counter(splits)["train"] - 1_600) <= 12


def test_order_of_films_and_seed() -> None:
    groups = [f"g{i}" for i in range(300)]
    strata = ["x" if i % 3 else "y" for i in range(300)]
    one = dict(zip(groups, make_splits(groups, strata, seed=1), strict=True))
    turned = dict(zip(groups[::-1], make_splits(groups[::-1], strata[::-1], seed=1), strict=True))
    assert one == turned
    assert one != dict(zip(groups, make_splits(groups, strata, seed=2), strict=True))


@pytest.mark.parametrize("fractions", [(0.8, 0.1), (0.8, 0.1, 0.2), (1.2, -0.1, -0.1), (0, 0.5, 0.5)])
def test_fractions_that_are_none(fractions: tuple[float, ...]) -> None:
    with pytest.raises(UsageFault, match="three shares"):
        make_splits(["a"], ["x"], fractions=fractions)


def test_command_writes_what_the_reader_then_uses(phantom: Path, cli) -> None:
    code, out, _ = cli(
        "data",
        "split",
        phantom,
        "-o",
        phantom / "splits.csv",
        "--seed",
        9,
        "--fractions",
        "0.5,0.25,0.25",
        "--format",
        "json",
    )
    result = json.loads(out)
    assert code == 0
    assert {name: part["films"] for name, part in result["splits"].items()} == load_dataset(phantom).split_sizes
    assert result["hash"] == load_dataset(phantom).split_hash


def test_command_takes_groups_and_refuses_nonsense(phantom: Path, tmp_path: Path, cli) -> None:
    rows = list(csv.DictReader((phantom / "splits.csv").read_text().splitlines()))
    groups = tmp_path / "groups.csv"
    groups.write_text("patientId,group\n" + "".join(f"{row['patientId']},g{i // 5}\n" for i, row in enumerate(rows)))
    code, _, _ = cli(
        "data", "split", phantom, "-o", tmp_path / "new.csv", "--groups", groups, "--fractions", "0.5/0.25/0.25"
    )
    made = {row["patientId"]: row for row in csv.DictReader((tmp_path / "new.csv").read_text().splitlines())}
    assert code == 0
    assert len({(row["group"], row["split"]) for row in made.values()}) == 4
    assert cli("data", "split", phantom, "-o", tmp_path / "x.csv", "--fractions", "most,some,none")[0] == 2
    assert cli("data", "split", tmp_path / "none", "-o", tmp_path / "x.csv")[0] == 3
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.data
def test_whole_challenge_from_its_tables(tmp_path: Path, cli) -> None:
    if "EDGE_PNEUMO_DATA" not in os.environ:
        pytest.skip("EDGE_PNEUMO_DATA is not set")
    tables = Path(os.environ["EDGE_PNEUMO_DATA"]) / "rsna-labels"
    code, out, _ = cli("data", "split", tables, "-o", tmp_path / "splits.csv", "--format", "json")
    assert code == 0
    assert {name: part["films"] for name, part in json.loads(out)["splits"].items()} == REFERENCE
